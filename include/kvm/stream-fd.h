/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Somebody else's file descriptor (stdout, a pipe, a socket, a tty), read and written without waiting and without
 * a change that its other holders would see: O_NONBLOCK belongs to the description, which a shell may share.
 *
 * A pipe or a tty is opened anew, which gives a description of our own; a socket is told with each call. What can't be
 * opened anew (another user's pipe, a pty's master) is asked by poll(2) first, and written in pieces that fit then; who
 * else writes there meanwhile can make us wait. Files never say that they would wait. Any thread, one at a time.
 */
#ifndef KVM_STREAM_FD_H
#define KVM_STREAM_FD_H

#include "kvm/types.h"

enum stream_kind { STREAM_PLAIN, STREAM_SOCKET, STREAM_POLLED };

struct stream_fd {
	int fd;			/* our own: to be watched, and nothing else; -1: closed */
	enum stream_kind kind;
	size_t polled_max;	/* STREAM_POLLED: what fits once poll() says that something does */
};

/**
 * stream_fd_open() - on @fd, which stays the caller's, and may be closed
 * @mode: O_RDONLY or O_WRONLY: what it will be used for
 * Returns 0 or a negative errno (@stream is closed then); says nothing.
 */
int __must_check stream_fd_open(struct stream_fd *stream, int fd, int mode);
/** stream_fd_close() - one that is closed is fine */
void stream_fd_close(struct stream_fd *stream);

/**
 * stream_fd_read(), stream_fd_write() - as read(2) and write(2), or a negative errno: -EAGAIN where they would wait
 * A write may take less than it could. No SIGPIPE for sockets; the caller ignores it for pipes.
 */
ssize_t stream_fd_read(const struct stream_fd *stream, void *data, size_t length);
ssize_t stream_fd_write(const struct stream_fd *stream, const void *data, size_t length);

#endif
