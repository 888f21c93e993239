/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * User mode in three files: the back end (user.c), its options (user-options.c), the library (user-library.c).
 */
#ifndef NET_USER_H
#define NET_USER_H

#include <slirp/libslirp.h>

#include "kvm/net.h"

#define USER_FORWARDS_MAX	16

/** struct user_forward - a port of the host that leads into the guest */
struct user_forward {
	const char *text;		/* as said, for messages */
	bool udp;
	struct in_addr host, guest;
	uint16_t host_port, guest_port;
};

struct user_options {
	SlirpConfig config;
	unsigned int forward_count;
	struct user_forward forwards[USER_FORWARDS_MAX];
};

/** user_options_parse() - the keys of mode=user; -EUSAGE (said) */
int __must_check user_options_parse(struct net_setup *setup, struct user_options *options);

/**
 * struct slirp_library - libslirp's functions. It is loaded when a VM asks for it, as it is slow to load, with all
 * that it needs itself, and few VMs do.
 */
struct slirp_library {
	void *handle;
	__typeof__(slirp_new) *create;
	__typeof__(slirp_cleanup) *cleanup;
	__typeof__(slirp_input) *input;
	__typeof__(slirp_pollfds_fill) *pollfds_fill;
	__typeof__(slirp_pollfds_poll) *pollfds_poll;
	__typeof__(slirp_add_hostfwd) *add_hostfwd;
};

/** slirp_library_load() - says what to install if it isn't there; it stays loaded */
int __must_check slirp_library_load(struct slirp_library *library);

#endif
