/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How mode=tap comes by its interface: made by us, one that exists, a macvtap's device, or descriptors that somebody
 * else opened. Main thread, before the VM starts.
 */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "kvm/spawn.h"
#include "tap.h"

#define TUN_DEVICE	"/dev/net/tun"
/* Newer than the kernel headers of Debian 12 */
#ifndef TUN_F_USO4
#define TUN_F_USO4	0x20
#define TUN_F_USO6	0x40
#endif
#define OFFLOADS_OLD	(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)
#define OFFLOADS_ALL	(OFFLOADS_OLD | TUN_F_USO4 | TUN_F_USO6)

/* ---- the keys ---- */

static const char *key_or_none(struct net_setup *setup, const char *key)
{
	const char *text = keyval_get(&setup->keyval, key);

	return text && *text && strcmp(text, "none") ? text : NULL;
}

int tap_options_parse(struct net_setup *setup, struct tap_options *options)
{
	struct keyval *keyval = &setup->keyval;

	*options = (struct tap_options){
		.name = keyval_get(keyval, "tapif"), .fds = keyval_get(keyval, "fd"), .bridge = keyval_get(keyval, "bridge"),
		.script = key_or_none(setup, "script"), .downscript = key_or_none(setup, "downscript"),
	};
	if (options->name && (!*options->name || (*options->name != '/' && strlen(options->name) >= IFNAMSIZ)))
		return log_error(EUSAGE, "option --network: tapif=%s is no name of an interface (at most %d characters)",
				 options->name, IFNAMSIZ - 1);
	if (options->bridge && (!*options->bridge || strlen(options->bridge) >= IFNAMSIZ))
		return log_error(EUSAGE, "option --network: bridge=%s is no name of a bridge", options->bridge);
	if (options->name && options->fds)
		return log_error(EUSAGE, "option --network: tapif= and fd= name two interfaces");
	return 0;
}

/* ---- descriptors ---- */

static int name_needs(const char *name, int error)
{
	if (error == EPERM || error == EACCES)
		return log_error(error, "option --network: mode=tap: no permission for an interface: it needs CAP_NET_ADMIN, or "
				 "tapif= of one made by: ip tuntap add %s mode tap user $USER", name ? name : "tap0");
	if (error == EBUSY)
		return log_error(error, "option --network: tapif=%s: somebody else uses it", name ? name : "");
	if (error == EINVAL)
		return log_error(error, "option --network: tapif=%s: it is no tap, or was made for another number of queues "
				 "(ip tuntap add ... multi_queue for mq=)", name ? name : "");
	return log_errno(error, "option --network: mode=tap: can't open an interface");
}

static int device_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT && !strcmp(path, TUN_DEVICE))
		return log_error(ENOENT, "option --network: mode=tap: there is no " TUN_DEVICE " (modprobe tun)");
	if (errno == EACCES || errno == EPERM)
		return name_needs(NULL, errno);
	return log_errno(errno, "option --network: mode=tap: %s", path);
}

/* One queue of the interface, which the first one names. */
static int queue_open(struct tap_interface *interface, unsigned int pairs)
{
	struct ifreq request = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (pairs > 1 ? IFF_MULTI_QUEUE : 0)) };
	_cleanup_close_ int fd = device_open(TUN_DEVICE);

	if (fd < 0)
		return fd;
	memcpy(request.ifr_name, interface->name, IFNAMSIZ);
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		return name_needs(strchr(interface->name, '%') ? NULL : interface->name, errno);
	memcpy(interface->name, request.ifr_name, IFNAMSIZ);
	interface->has_header = true;
	interface->fds[interface->count++] = take_fd(&fd);
	return 0;
}

static int queues_open(struct tap_interface *interface, const struct tap_options *options, unsigned int pairs)
{
	int result = 0;

	snprintf(interface->name, sizeof(interface->name), "%s", options->name ? options->name : "tap%d");
	while (interface->count < pairs && !result)
		result = queue_open(interface, pairs);
	return result;
}

/* A tap that somebody else opened; @what names it in messages. */
static int queue_take(struct tap_interface *interface, int fd, const char *what)
{
	struct ifreq request = { .ifr_flags = 0 };
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return log_errno(errno, "option --network: %s", what);
	if (ioctl(fd, TUNGETIFF, &request) < 0 || !(request.ifr_flags & IFF_TAP))
		return log_error(EINVAL, "option --network: %s is no tap interface", what);
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return log_errno(errno, "option --network: %s", what);
	memcpy(interface->name, request.ifr_name, IFNAMSIZ);
	interface->has_header = request.ifr_flags & IFF_VNET_HDR;
	interface->fds[interface->count++] = fd;
	return 0;
}

static int queues_take(struct tap_interface *interface, const char *fds, unsigned int pairs)
{
	char digits[16], what[32];
	int result = 0;

	for (const char *at = fds; !result; ) {
		size_t length = strcspn(at, ":");
		uint64_t fd;

		snprintf(digits, sizeof(digits), "%.*s", (int)MIN(length, sizeof(digits) - 1), at);
		if (parse_uint(digits, &fd) || fd > INT32_MAX)
			return log_error(EUSAGE, "option --network: fd=%s is no descriptor", fds);
		if (interface->count == pairs)
			return log_error(EUSAGE, "option --network: fd=%s names more than mq=%u descriptors", fds, pairs);
		snprintf(what, sizeof(what), "fd=%s", digits);
		result = queue_take(interface, (int)fd, what);
		if (!at[length])
			break;
		at += length + 1;
	}
	return result;
}

static int macvtap_open(struct tap_interface *interface, const char *path)
{
	_cleanup_close_ int fd = device_open(path);
	char what[128];
	int result;

	if (fd < 0)
		return fd;
	snprintf(what, sizeof(what), "tapif=%s", path);
	result = queue_take(interface, fd, what);
	if (!result)
		take_fd(&fd);
	return result;
}

/* ---- settings ---- */

static int set_failed(const struct tap_interface *interface, const char *what)
{
	return log_errno(errno, "option --network: %s: can't set its %s", interface->name, what);
}

static int set_address(const struct tap_interface *interface, int control, const struct net_setup *setup)
{
	struct ifreq request = { .ifr_flags = 0 };
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = setup->host_ip };

	memcpy(request.ifr_name, interface->name, IFNAMSIZ);
	memcpy(&request.ifr_addr, &address, sizeof(address));
	if (ioctl(control, SIOCSIFADDR, &request) < 0)
		return set_failed(interface, "address");
	address.sin_addr.s_addr = htonl(0xffffff00);
	memcpy(&request.ifr_netmask, &address, sizeof(address));
	return ioctl(control, SIOCSIFNETMASK, &request) < 0 ? set_failed(interface, "netmask") : 0;
}

static int set_mac(const struct tap_interface *interface, int control, const uint8_t mac[6])
{
	struct ifreq request = { .ifr_flags = 0 };

	memcpy(request.ifr_name, interface->name, IFNAMSIZ);
	request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(request.ifr_hwaddr.sa_data, mac, 6);
	return ioctl(control, SIOCSIFHWADDR, &request) < 0 ? set_failed(interface, "MAC address (host_mac=)") : 0;
}

static int set_mtu(const struct tap_interface *interface, int control, uint16_t mtu)
{
	struct ifreq request = { .ifr_mtu = mtu };

	memcpy(request.ifr_name, interface->name, IFNAMSIZ);
	return ioctl(control, SIOCSIFMTU, &request) < 0 ? set_failed(interface, "MTU") : 0;
}

static int set_bridge(const struct tap_interface *interface, int control, const char *bridge)
{
	struct ifreq request = { .ifr_ifindex = (int)if_nametoindex(interface->name) };

	snprintf(request.ifr_name, IFNAMSIZ, "%s", bridge);
	if (ioctl(control, SIOCBRADDIF, &request) < 0 && errno != EBUSY)
		return log_errno(errno, "option --network: bridge=%s: can't put %s on it", bridge, interface->name);
	return 0;
}

static int set_up(const struct tap_interface *interface, int control)
{
	struct ifreq request = { .ifr_flags = 0 };

	memcpy(request.ifr_name, interface->name, IFNAMSIZ);
	if (ioctl(control, SIOCGIFFLAGS, &request) < 0)
		return set_failed(interface, "flags");
	request.ifr_flags |= IFF_UP;
	return ioctl(control, SIOCSIFFLAGS, &request) < 0 ? set_failed(interface, "flags") : 0;
}

/* What is ours is set up; what somebody else made only as far as keys say so. */
static int interface_set(const struct tap_interface *interface, const struct net_setup *setup, const struct tap_options *options)
{
	bool ours = !options->name && !options->fds;
	_cleanup_close_ int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int result = 0;

	if (control < 0)
		return log_errno(errno, "option --network: mode=tap");
	if (setup->host_mac_given)
		result = set_mac(interface, control, setup->host_mac);
	if (!result && ours && setup->mtu)
		result = set_mtu(interface, control, setup->mtu);
	if (!result && options->bridge)
		result = set_bridge(interface, control, options->bridge);
	else if (!result && ours && !options->script)
		result = set_address(interface, control, setup);
	if (!result && (options->bridge || (ours && !options->script)))
		result = set_up(interface, control);
	return result;
}

static int headers_set(struct tap_interface *interface)
{
	const int size = NET_HEADER;

	for (unsigned int i = 0; i < interface->count && interface->has_header; i++)
		if (ioctl(interface->fds[i], TUNSETVNETHDRSZ, &size) < 0)
			return log_errno(errno, "option --network: %s: can't have headers of %d bytes", interface->name, size);
	if (!interface->has_header)
		return 0;
	if (!ioctl(interface->fds[0], TUNSETOFFLOAD, OFFLOADS_ALL))
		interface->offloads = OFFLOADS_ALL;
	else if (!ioctl(interface->fds[0], TUNSETOFFLOAD, OFFLOADS_OLD))
		interface->offloads = OFFLOADS_OLD;
	return 0;
}

/* ---- scripts ---- */

int tap_script(const char *path, const char *interface)
{
	char *const arguments[] = { (char *)path, (char *)interface, NULL };
	int status, result;
	pid_t child;

	result = spawn_program(&child, path, arguments, NULL);
	if (result)
		return log_errno(result, "option --network: can't run the script '%s'", path);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return log_errno(errno, "option --network: the script '%s'", path);
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	return log_error(EIO, "option --network: the script '%s' failed for %s (%s %d)", path, interface,
			 WIFEXITED(status) ? "status" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

int tap_open(const struct net_setup *setup, const struct tap_options *options, struct tap_interface *interface)
{
	int result;

	*interface = (struct tap_interface){ .count = 0 };
	if (options->fds)
		result = queues_take(interface, options->fds, setup->pairs);
	else if (options->name && *options->name == '/')
		result = macvtap_open(interface, options->name);
	else
		result = queues_open(interface, options, setup->pairs);
	if (!result)
		result = headers_set(interface);
	if (!result)
		result = interface_set(interface, setup, options);
	if (!result && options->script)
		result = tap_script(options->script, interface->name);
	while (result && interface->count)
		close(interface->fds[--interface->count]);
	return result;
}
