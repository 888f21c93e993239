/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The user's tty: raw mode that is undone on every way out, job control, and descriptions of our own.
 *
 * A tty belongs to the process, not to a VM: the first VM that asks gets it.
 */
#ifndef KVM_TTY_H
#define KVM_TTY_H

#include "kvm/types.h"

/**
 * tty_take() - claims the tty behind @fd, catches the signals that would leave it raw, enters raw mode if
 * this process is in the foreground
 *
 * Returns an eventfd (the caller's to watch, tty_release() closes it) that is signalled when the window's
 * size or the foreground may have changed; -EBUSY if the process has given away its tty already. Main thread.
 */
int __must_check tty_take(int fd);

/** tty_raw_output() - the taken tty's output is raw, too, for a guest whose own terminal does all that; main thread */
void tty_raw_output(int fd);

/** tty_release() - restores the tty and the signals; main thread */
void tty_release(int fd);

/** tty_after_fork() - in a new process: the tty is the other's still, and left as it is */
void tty_after_fork(void);

/** tty_enter_raw() - raw mode again, if this process is in the foreground; whether it is */
bool tty_enter_raw(int fd);

/** tty_reopen() - a non-blocking description of the tty or pipe behind @fd, so that ours isn't shared; or -errno */
int __must_check tty_reopen(int fd, int flags);

#endif
