/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keys of mode=user: addresses, ports that lead into the guest, restrict=on.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "user.h"

#define FORWARD_FORM	"say hostfwd=tcp:[ADDRESS]:PORT-[ADDRESS]:PORT, or udp"

static int forward_wrong(const char *text, const char *what)
{
	return log_error(EUSAGE, "option --network: hostfwd=%s: %s (" FORWARD_FORM ")", text, what);
}

/* "[ADDRESS]:PORT" up to @end; an address that isn't there leaves *@address alone. */
static bool parse_endpoint(const char *text, const char *end, struct in_addr *address, uint16_t *port)
{
	char name[INET_ADDRSTRLEN], digits[8];
	const char *colon = memchr(text, ':', (size_t)(end - text));
	uint64_t value;

	if (!colon || colon - text >= (ptrdiff_t)sizeof(name) || end - colon > (ptrdiff_t)sizeof(digits))
		return false;
	snprintf(name, sizeof(name), "%.*s", (int)(colon - text), text);
	snprintf(digits, sizeof(digits), "%.*s", (int)(end - colon - 1), colon + 1);
	if (*name && inet_pton(AF_INET, name, address) != 1)
		return false;
	if (parse_uint(digits, &value) || !value || value > UINT16_MAX)
		return false;
	*port = (uint16_t)value;
	return true;
}

/* Loopback is the host's side unless an address is named: to lead a network into a guest is to be said. */
static int parse_forward(const char *text, struct user_forward *forward)
{
	const char *at = strchr(text, ':'), *dash;

	*forward = (struct user_forward){ .text = text, .host.s_addr = htonl(INADDR_LOOPBACK) };
	if (!at || (strncmp(text, "tcp:", 4) && strncmp(text, "udp:", 4) && at != text))
		return forward_wrong(text, "no protocol");
	forward->udp = *text == 'u';
	dash = strchr(at + 1, '-');
	if (!dash)
		return forward_wrong(text, "leads nowhere");
	if (!parse_endpoint(at + 1, dash, &forward->host, &forward->host_port))
		return forward_wrong(text, "no address and port of the host");
	if (!parse_endpoint(dash + 1, dash + 1 + strlen(dash + 1), &forward->guest, &forward->guest_port))
		return forward_wrong(text, "no address and port of the guest");
	return 0;
}

/* A key that may be said several times. */
static int parse_forwards(struct keyval *keyval, struct user_options *options)
{
	for (size_t i = 0; i < keyval->count; i++) {
		const char *text = keyval->pairs[i].value ? keyval->pairs[i].value : "";
		int result;

		if (strcmp(keyval->pairs[i].key, "hostfwd"))
			continue;
		keyval->pairs[i].used = true;
		if (options->forward_count == USER_FORWARDS_MAX)
			return log_error(EUSAGE, "option --network: more than %d hostfwd=", USER_FORWARDS_MAX);
		result = parse_forward(text, &options->forwards[options->forward_count++]);
		if (result)
			return result;
	}
	return 0;
}

/* Networks of one guest must differ by IPv6 as well: 192.168.33.0/24 has fd00:33::/64. */
static void fill_prefix(SlirpConfig *config, uint32_t host)
{
	char prefix[16];

	snprintf(prefix, sizeof(prefix), "fd00:%u::", host >> 8 & 0xff);
	inet_pton(AF_INET6, prefix, &config->vprefix_addr6);
	config->vprefix_len = 64;
	config->vhost6 = config->vnameserver6 = config->vprefix_addr6;
	config->vhost6.s6_addr[15] = 1;
	config->vnameserver6.s6_addr[15] = 3;
}

/* The host and the guest, and a name server at .3 of their network of 24 bits (or at .4, if one of them is that). */
static int fill_addresses(const struct net_setup *setup, SlirpConfig *config)
{
	uint32_t mask = 0xffffff00, host = ntohl(setup->host_ip.s_addr), guest = ntohl(setup->guest_ip.s_addr);
	uint32_t name_server = (host & mask) | 3;

	if ((host & mask) != (guest & mask) || host == guest)
		return log_error(EUSAGE, "option --network: guest_ip= and host_ip= are not two addresses of one network of 24 bits");
	while (name_server == host || name_server == guest)
		name_server++;
	config->in_enabled = true;
	config->vnetmask.s_addr = htonl(mask);
	config->vnetwork.s_addr = htonl(host & mask);
	config->vhost = setup->host_ip;
	config->vdhcp_start = setup->guest_ip;
	config->vnameserver.s_addr = htonl(name_server);
	fill_prefix(config, host);
	return 0;
}

int user_options_parse(struct net_setup *setup, struct user_options *options)
{
	SlirpConfig *config = &options->config;
	bool restricted = false, ipv6 = true;
	int result;

	memset(options, 0, sizeof(*options));
	config->version = 1;
	config->if_mtu = config->if_mru = setup->mtu;
	result = fill_addresses(setup, config);
	if (!result)
		result = keyval_bool(&setup->keyval, "network", "restrict", &restricted);
	if (!result)
		result = keyval_bool(&setup->keyval, "network", "ipv6", &ipv6);
	if (!result)
		result = parse_forwards(&setup->keyval, options);
	config->restricted = restricted;
	config->in6_enabled = ipv6;
	config->vhostname = keyval_get(&setup->keyval, "hostname");
	return result;
}
