/* SPDX-License-Identifier: BSD-2-Clause */
/* What stands behind --port: the option (port-option.c), and its listening socket (port-socket.c). */
#ifndef VIRTIO_PORT_OPTION_H
#define VIRTIO_PORT_OPTION_H

#include "kvm/types.h"

struct kvm;
struct port_socket;

/* A port on the clients of a Unix socket at @path, one at a time. Says what is wrong. */
int __must_check port_socket_create(struct kvm *kvm, const char *name, const char *path, struct port_socket **socket);
void port_socket_destroy(struct port_socket *socket);

#endif
