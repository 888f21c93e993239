/* SPDX-License-Identifier: BSD-2-Clause */
/* A daemon that works on the rings of a network device: net/vhost-user.c, for who starts one. */
#ifndef NET_VHOST_USER_H
#define NET_VHOST_USER_H

#include "kvm/net.h"

/**
 * net_vhost_user_open() - fills in @network's back end and vhost, which is behind the socket @path
 * @fd: connected already, and taken whatever comes; -1: none
 * Says its errors; what was filled in by then is for network's owner to close. The daemon is asked for @setup->pairs.
 */
int __must_check net_vhost_user_open(const struct net_setup *setup, struct network *network, const char *path, int fd);

#endif
