/* SPDX-License-Identifier: BSD-2-Clause */
/* The last of what the guest's kernel said on its console, kept for when something goes wrong. Main thread. */
#ifndef GUEST_CONSOLE_LOG_H
#define GUEST_CONSOLE_LOG_H

#include "kvm/event.h"

#define CONSOLE_LOG_SIZE	KIB(64)

struct console_log;

/** console_log_open() - @copy: print it on stderr at once, too; *@fd: what the console writes to, the log's own */
int __must_check console_log_open(struct console_log **log, struct event_loop *loop, bool copy, int *fd);
/** console_log_print() - what is kept, on stderr; nothing if it was printed at once */
void console_log_print(struct console_log *log);
/** console_log_close() - NULL is fine */
void console_log_close(struct console_log *log);

#endif
