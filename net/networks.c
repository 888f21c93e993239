/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The networks of a VM: what -n asks for, opened before any device exists, in the order given.
 *
 * A bad -n ends the run here, with one line, before the guest starts.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "kvm/kvm.h"
#include "kvm/net.h"
#include "kvm/vhost.h"
#include "kvm/virtio.h"

#define COMMON_KEYS	"mode=, trans=, guest_mac=, host_mac=, guest_ip=, host_ip=, mtu=, vhost=, mq=, pcap="
#define MODE_DEFAULT	"user"
#define MTU_MIN		68
#define MTU_MAX		65520

static const char networks_key[] = "networks";
static REGISTRY struct net_backend_item *net_backends;

struct networks {
	size_t count;
	bool started;			/* @loop has its thread */
	struct event_loop *loop;	/* NULL: there was no network yet */
	struct network networks[];	/* those that are there from the start */
};

REGISTERS void net_backend_register(struct net_backend_item *item)
{
	item->next = net_backends;
	net_backends = item;
}

size_t networks_count(struct kvm *kvm)
{
	struct networks *networks = kvm_get_state(kvm, networks_key);

	return networks ? networks->count : 0;
}

struct network *networks_get(struct kvm *kvm, size_t index)
{
	struct networks *networks = kvm_get_state(kvm, networks_key);

	return networks && index < networks->count ? &networks->networks[index] : NULL;
}

struct event_loop *networks_loop(struct kvm *kvm)
{
	struct networks *networks = kvm_get_state(kvm, networks_key);

	return networks && networks->loop ? networks->loop : kvm->loop;
}

int net_start(struct net_backend *backend, const struct net_client *client, void *opaque)
{
	backend->client = client;
	backend->opaque = opaque;
	return backend->ops->start(backend);
}

/* ---- what -n says ---- */

static int hex_digit(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	digit |= 0x20;
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

bool net_parse_mac(const char *text, uint8_t mac[6])
{
	for (unsigned int i = 0; i < 6; i++, text += 3) {
		int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);

		if (low < 0 || text[2] != (i < 5 ? ':' : '\0'))
			return false;
		mac[i] = (uint8_t)(high << 4 | low);
	}
	return !(mac[0] & 1);
}

int net_setup_address(struct net_setup *setup, const char *key, struct in_addr *address)
{
	const char *text = keyval_get(&setup->keyval, key);

	if (text && inet_pton(AF_INET, text, address) != 1)
		return log_error(EUSAGE, "option --network: %s=%s is no IPv4 address", key, text);
	return 0;
}

int net_setup_done(struct net_setup *setup, const struct net_backend_type *type)
{
	char known[512];

	snprintf(known, sizeof(known), COMMON_KEYS "%s%s", *type->keys ? "; " : "", type->keys);
	return keyval_done(&setup->keyval, "network", known);
}

static int setup_macs(struct net_setup *setup)
{
	const char *guest = keyval_get(&setup->keyval, "guest_mac"), *host = keyval_get(&setup->keyval, "host_mac");

	if (guest && !net_parse_mac(guest, setup->guest_mac))
		return log_error(EUSAGE, "option --network: guest_mac=%s is no MAC address of one device", guest);
	if (host && !net_parse_mac(host, setup->host_mac))
		return log_error(EUSAGE, "option --network: host_mac=%s is no MAC address of one device", host);
	setup->host_mac_given = host;
	return 0;
}

static int setup_mtu(struct net_setup *setup)
{
	const char *text = keyval_get(&setup->keyval, "mtu");
	uint64_t value;

	if (!text)
		return 0;
	if (parse_uint(text, &value) || value < MTU_MIN || value > MTU_MAX)
		return log_error(EUSAGE, "option --network: mtu=%s is not between %d and %d", text, MTU_MIN, MTU_MAX);
	setup->mtu = (uint16_t)value;
	return 0;
}

static int setup_pairs(struct net_setup *setup)
{
	const char *text = keyval_get(&setup->keyval, "mq");
	uint64_t value = 1;

	if (text && (parse_uint(text, &value) || value > NET_PAIRS_MAX))
		return log_error(EUSAGE, "option --network: mq=%s is no number of queue pairs up to %d", text, NET_PAIRS_MAX);
	setup->pairs = (unsigned int)MAX(value, (uint64_t)1);
	return 0;
}

static int setup_transport(struct net_setup *setup)
{
	const char *vhost = keyval_get(&setup->keyval, "vhost");

	if (vhost && !*vhost)
		setup->vhost = true;
	else if (vhost && strcmp(vhost, "0") && strcmp(vhost, "off")) {
		if (strcmp(vhost, "1") && strcmp(vhost, "on"))
			return log_error(EUSAGE, "option --network: vhost=%s is neither 0 nor 1", vhost);
		setup->vhost = true;
	}
	setup->transport = keyval_get(&setup->keyval, "trans");
	if (setup->transport && !virtio_transport_find(setup->transport))
		return log_error(EUSAGE, "option --network: trans=%s is no transport (pci, pci-legacy, mmio, mmio-legacy)",
				 setup->transport);
	return 0;
}

static int setup_common(struct net_setup *setup)
{
	int result = setup_macs(setup);

	if (!result)
		result = setup_mtu(setup);
	if (!result)
		result = setup_pairs(setup);
	if (!result)
		result = setup_transport(setup);
	if (!result)
		result = net_setup_address(setup, "host_ip", &setup->host_ip);
	if (!result)
		result = net_setup_address(setup, "guest_ip", &setup->guest_ip);
	setup->pcap = keyval_get(&setup->keyval, "pcap");
	if (!result && setup->pcap && !*setup->pcap)
		result = log_error(EUSAGE, "option --network: pcap= names no file");
	return result;
}

/* Different for each VM on a host, the same for each run of one that has a name: what bridges and leases need. */
static void default_mac(const struct kvm *kvm, unsigned int index, const char *id, uint8_t mac[6])
{
	uint32_t hash = 2166136261U;

	for (const char *at = kvm->name ? kvm->name : ""; *at; at++)
		hash = (hash ^ (uint8_t)*at) * 16777619U;
	hash = (hash ^ index) * 16777619U;
	for (; *id; id++)
		hash = (hash ^ (uint8_t)*id) * 16777619U;
	mac[0] = 0x02;
	mac[1] = mac[2] = 0x15;
	mac[3] = (uint8_t)(hash >> 16);
	mac[4] = (uint8_t)(hash >> 8);
	mac[5] = (uint8_t)hash;
}

/* ---- modes ---- */

/* What -n may name and this build has no file for: why. */
static const struct { const char *mode, *why; } modes_missing[] = {
	{ "user", "is not in this build, which was made without libslirp" },
};

static int mode_unknown(const char *mode)
{
	char known[128] = "none";
	size_t length = 4;

	for (size_t i = 0; i < ARRAY_SIZE(modes_missing); i++)
		if (!strcmp(modes_missing[i].mode, mode))
			return log_error(EUSAGE, "option --network: mode=%s %s", mode, modes_missing[i].why);
	for (struct net_backend_item *item = net_backends; item && length < sizeof(known); item = item->next)
		length += (size_t)snprintf(known + length, sizeof(known) - length, ", %s", item->type->name);
	return log_error(EUSAGE, "option --network: no mode is called '%s' (known: %s)", mode, known);
}

static const struct net_backend_type *mode_find(const char *mode)
{
	for (struct net_backend_item *item = net_backends; item; item = item->next)
		if (!strcmp(item->type->name, mode))
			return item->type;
	return NULL;
}

/* "user" for "mode=user"; kvmtool's own default is tap. */
static const char *setup_mode(struct net_setup *setup)
{
	struct keyval *keyval = &setup->keyval;
	const char *mode = keyval_get(keyval, "mode");

	if (!mode && keyval->count && !keyval->pairs[0].value) {
		mode = keyval->pairs[0].key;
		keyval->pairs[0].used = true;
	}
	return mode ? mode : "tap";
}

static void network_close(struct network *network)
{
	while (network->vhost_count)
		vhost_close(network->vhosts[--network->vhost_count]);
	while (network->backend_count) {
		struct net_backend *backend = network->backends[--network->backend_count];

		backend->ops->close(backend);
	}
	if (network->closed)
		network->closed(network);
	network->closed = NULL;
	event_loop_destroy(network->loop);
	network->loop = NULL;
}

static int network_describe(struct network *network, const struct net_setup *setup)
{
	if (setup->vhost && !network->vhost_count)
		return log_error(EUSAGE, "option --network: vhost= is for mode=tap");
	if (setup->pcap && network->vhost_count)
		return log_error(EUSAGE, "option --network: pcap= sees nothing of frames that don't pass here (say vhost=0)");
	network->pairs = setup->pairs;
	network->mac_given = keyval_get((struct keyval *)&setup->keyval, "guest_mac");
	network->mtu = setup->mtu;
	memcpy(network->mac, setup->guest_mac, sizeof(network->mac));
	if (setup->transport)
		network->transport = virtio_transport_find(setup->transport)->name;
	return setup->pcap ? net_pcap_wrap(network, setup->pcap) : 0;
}

/* Returns 1 for a network, 0 for mode=none. */
static int network_open(struct net_setup *setup, struct network *network)
{
	const char *mode = setup_mode(setup);
	const struct net_backend_type *type = mode_find(mode);
	int result;

	if (!strcmp(mode, "none"))
		return keyval_done(&setup->keyval, "network", "none behind mode=none");
	if (!type)
		return mode_unknown(mode);
	result = setup_common(setup);
	if (!result)
		result = type->create(setup, network);
	if (!result)
		result = network_describe(network, setup);
	if (!result)
		return 1;
	network_close(network);
	return result;
}

/* Returns 1 for a network, 0 for mode=none. @text: NULL: the default */
static int network_add(struct kvm *kvm, struct networks *networks, size_t index, const char *text, struct network *network)
{
	struct net_setup setup = { .index = (unsigned int)index, .loop = networks->loop, .implied = !text };
	int result = keyval_parse(&setup.keyval, "network", text ? text : MODE_DEFAULT, false);

	if (result)
		return result;
	inet_pton(AF_INET, "192.168.33.1", &setup.host_ip);
	inet_pton(AF_INET, "192.168.33.15", &setup.guest_ip);
	default_mac(kvm, setup.index, "", setup.guest_mac);
	result = network_open(&setup, network);
	keyval_free(&setup.keyval);
	return result;
}

static int networks_add(struct kvm *kvm, struct networks *networks, size_t index)
{
	int result = network_add(kvm, networks, index, config_item(kvm->config, "network", index), &networks->networks[networks->count]);

	if (result < 0)
		return result;
	networks->count += (size_t)result;
	return 0;
}

/* ---- life ---- */

static void networks_close(struct networks *networks)
{
	while (networks->count)
		network_close(&networks->networks[--networks->count]);
	event_loop_destroy(networks->loop);
	free(networks);
}

static void networks_exit(struct kvm *kvm)
{
	struct networks *networks = kvm_get_state(kvm, networks_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, networks_key, NULL))
		networks_close(networks);
}

static int networks_start_loop(struct networks *networks)
{
	int result = networks->loop ? 0 : event_loop_create(&networks->loop, "net");

	if (result || networks->started)
		return result;
	result = event_loop_start_thread(networks->loop);
	networks->started = !result;
	return result;
}

/* As in kvmtool: a VM that says nothing has a network, if this build can. */
static size_t networks_wanted(const struct kvm *kvm)
{
	if (config_count(kvm->config, "network"))
		return config_count(kvm->config, "network");
	return !config_flag(kvm->config, "nodefaults") && mode_find(MODE_DEFAULT);
}

/* Whether they are that many times none, plainly said: then nothing needs a loop. */
static bool networks_are_none(const struct kvm *kvm, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const char *text = config_item(kvm->config, "network", i);

		if (!text || (strcmp(text, "none") != 0 && strcmp(text, "mode=none") != 0))
			return false;
	}
	return true;
}

static int networks_init(struct kvm *kvm)
{
	size_t count = networks_wanted(kvm);
	struct networks *networks;
	int result;

	/* with slots there may be some later */
	if (!count && !config_uint(kvm->config, "root-ports"))
		return INIT_SKIP;
	networks = calloc(1, sizeof(*networks) + count * sizeof(networks->networks[0]));
	if (!networks)
		return log_errno(ENOMEM, "--network");
	result = networks_are_none(kvm, count) ? 0 : event_loop_create(&networks->loop, "net");
	for (size_t i = 0; i < count && !result; i++)
		result = networks_add(kvm, networks, i);
	if (!result && networks->count)
		result = networks_start_loop(networks);
	for (size_t i = 0; i < networks->count && !result; i++)
		if (networks->networks[i].loop)
			result = event_loop_start_thread(networks->networks[i].loop);
	if (!result)
		result = kvm_set_state(kvm, networks_key, networks);
	if (result)
		networks_close(networks);
	return result;
}

/* ---- networks that come and go ---- */

void networks_unplug(struct network *network)
{
	network_close(network);
	free(network);
}

int networks_plug(struct kvm *kvm, const char *text, struct network **out)
{
	struct networks *networks = kvm_get_state(kvm, networks_key);
	struct network *network = calloc(1, sizeof(*network));
	int result = network ? networks_start_loop(networks) : 0;

	if (!network)
		return log_errno(ENOMEM, "--network");
	if (!result)
		result = network_add(kvm, networks, networks->count, text, network);
	if (!result)
		result = log_error(EUSAGE, "option --network: no network is nothing that could be put into a slot");
	if (result > 0)
		result = network->loop ? event_loop_start_thread(network->loop) : 0;
	if (result) {
		networks_unplug(network);
		return result;
	}
	*out = network;
	return 0;
}

void network_default_mac(const struct kvm *kvm, struct network *network, const char *id)
{
	if (!network->mac_given)
		default_mac(kvm, 0, id, network->mac);
}

static const struct option_def networks_options[] = {
	{ .name = "network", .letter = 'n', .type = OPTION_LIST, .argument = "mode=user|tap|passt|vhost-user|stream|none[,KEY=VALUE...]",
	  .help = "A network device; repeat for more (see NETWORK in lkvm(1))" },
	{ .name = "no-dhcp", .type = OPTION_FLAG,
	  .help = "kvmtool's: no ip=dhcp for a guest that runs from a shared folder; nothing else adds it" },
};
RUN_OPTIONS(networks_options_group, "Networking options", networks_options);

dev_base_init(networks_init);
dev_base_exit(networks_exit);
