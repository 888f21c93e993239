/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The runtime directory: what lkvm keeps for as long as the host is up, the user's own and closed to all others.
 * Control sockets are there, and what one VM may tell the next.
 */
#ifndef KVM_RUNTIME_DIRECTORY_H
#define KVM_RUNTIME_DIRECTORY_H

#include "kvm/types.h"

/**
 * runtime_directory() - where it is; @create: make it, mode 0700
 * @path: receives a new string, to be freed; also in an error that is about a path, else left as it is
 *
 * $XDG_RUNTIME_DIR/lkvm if that variable names a directory, else $HOME/.lkvm. Says nothing. -ENOENT: neither is
 * set, or nothing was ever made there; -EPERM: it belongs to another user.
 */
int __must_check runtime_directory(char **path, bool create);

#endif
