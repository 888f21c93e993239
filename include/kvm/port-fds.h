/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port (kvm/port.h) whose host's end is a pair of file descriptors: pipes, sockets, ttys, files.
 *
 * What can be read from one goes to the guest's program, as fast as that reads; what it writes goes to the other, as
 * fast as that takes it. At the end of the input, and behind its last byte, the host's end of the port is closed. As
 * the guest can't write then either, one that reads and answers to a fixed input wants two ports. Main thread.
 */
#ifndef KVM_PORT_FDS_H
#define KVM_PORT_FDS_H

#include "kvm/types.h"

struct kvm;
struct port_fds;

/**
 * port_fds_create() - as port_create(), with no fds as yet
 * @ended: NULL, or called on the main loop when what port_fds_attach() began is over, by the end of the input or by an
 *	   error of either fd; it may attach others
 */
int __must_check port_fds_create(struct kvm *kvm, const char *name, void (*ended)(void *opaque), void *opaque,
				 struct port_fds **fds);
/** port_fds_destroy() - detaches, and destroys the port when port_destroy() may; NULL is fine */
void port_fds_destroy(struct port_fds *fds);

/**
 * port_fds_attach() - opens the host's end of the port on two fds
 * @in_fd, @out_fd: may be the same, or -1: a port that only one side writes to
 *
 * The caller keeps its fds, may close them, and finds them as they were: that they may not block is arranged on
 * descriptions of our own. Ends what was attached before, without a word to @ended. Returns 0 or a negative errno;
 * says nothing.
 */
int __must_check port_fds_attach(struct port_fds *fds, int in_fd, int out_fd);
/** port_fds_detach() - closes the host's end of the port, if it is open; @ended is not called */
void port_fds_detach(struct port_fds *fds);
/** port_fds_guest_is_open() - whether a program of the guest has the port open */
bool port_fds_guest_is_open(const struct port_fds *fds);

#endif
