/* SPDX-License-Identifier: BSD-2-Clause */
/* The user's end of `lkvm exec`: standard streams or a terminal on one side, frames (guest/frame.h) on the other. */
#ifndef GUEST_ATTACH_H
#define GUEST_ATTACH_H

#include "kvm/types.h"

struct attach_options {
	const char *name;		/* of the VM, for messages */
	const char *setup;		/* the task's records */
	size_t setup_length;
	bool tty;			/* stdin and stdout are one, and so is what the command gets */
};

/**
 * attach_run() - until the command has ended; the exit status (said, if it isn't the command's)
 * @fd: the connection, which is closed. Blocks the signals that end a process, and sends them to the command.
 */
int attach_run(int fd, const struct attach_options *options);

#endif
