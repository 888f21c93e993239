/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames over a stream socket: net/stream.c, for who has one that is connected. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "kvm/net.h"

/** net_stream_take() - fills in @network's back end: frames to and from @fd, which is taken whatever comes */
int __must_check net_stream_take(const struct net_setup *setup, struct network *network, int fd);

#endif
