/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mode=tap in two files: the back end (tap.c), and how its interface is come by (tap-open.c).
 */
#ifndef NET_TAP_H
#define NET_TAP_H

#include <net/if.h>

#include "kvm/net.h"

/** struct tap_options - the keys of mode=tap; the texts live as long as the net_setup */
struct tap_options {
	const char *name;		/* tapif=, or NULL: the kernel chooses */
	const char *script, *downscript, *bridge;	/* or NULL */
	const char *fds;		/* "3" or "3:4"; or NULL */
};

/** struct tap_interface - one opened, a queue a descriptor */
struct tap_interface {
	char name[IFNAMSIZ];
	int fds[NET_PAIRS_MAX];
	unsigned int count;
	bool has_header;		/* IFF_VNET_HDR: frames stand behind a struct virtio_net_hdr_v1 */
	unsigned int offloads;		/* TUN_F_, those that it takes */
};

/** tap_options_parse() - -EUSAGE (said) for what won't do */
int __must_check tap_options_parse(struct net_setup *setup, struct tap_options *options);

/**
 * tap_open() - makes or takes the interface, sets it up as the keys say, runs script=
 * Says its errors; leaves nothing open then.
 */
int __must_check tap_open(const struct net_setup *setup, const struct tap_options *options, struct tap_interface *interface);

/** tap_script() - runs @path with the interface's name and waits for it; says if it fails */
int tap_script(const char *path, const char *interface);

#endif
