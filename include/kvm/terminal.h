/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Terminals: where consoles write and read: the user's tty, a pipe, a file, or a pty of its own.
 *
 * Terminal 0 is stdin and stdout unless --tty moved it; 1 to 3 exist with --tty only. Output is batched: it
 * is written when a buffer is full, and a few milliseconds after its first byte (kvm/output.h); a reader that
 * is slow never blocks the guest (past the buffer's ceiling the oldest output is dropped and counted). A tty
 * is put into raw mode and restored on every way out. On terminal 0 Ctrl-A is the escape: Ctrl-A x leaves,
 * Ctrl-A h lists the keys, Ctrl-A Ctrl-A sends one.
 */
#ifndef KVM_TERMINAL_H
#define KVM_TERMINAL_H

#include "kvm/event.h"
#include "kvm/output.h"
#include "kvm/types.h"

struct kvm;
struct terminal;

#define TERMINALS_MAX		4
#define TERMINAL_FLUSH_MS	OUTPUT_FLUSH_MS
#define TERMINAL_INPUT_SIZE	16384	/* input that waits for its reader */

/** terminal_get() - terminal @index of the VM, NULL if it goes nowhere; from dev_init on */
struct terminal *terminal_get(struct kvm *kvm, unsigned int index);

/**
 * terminal_redirect() - terminal 0 shall be on other fds, unless --tty moves it; before the init lists run
 * @fds: the caller's, as they; outlives the VM. 0 or negative errno.
 */
struct terminal_fds {
	int in, out;
};
int __must_check terminal_redirect(struct kvm *kvm, struct terminal_fds *fds);

/**
 * terminal_open() - a terminal on two fds of the caller's (the same, or -1 for none), which must outlive it
 * Index 0 has the escape keys, and raw mode if @in_fd is a tty. terminal_close() flushes; NULL is fine. Main
 * thread. The VM's own terminals are made by the init lists; this is for them and for tests.
 */
int __must_check terminal_open(struct kvm *kvm, unsigned int index, int in_fd, int out_fd,
			       struct terminal **terminal);
void terminal_close(struct terminal *terminal);

/** terminal_write() - appends guest output; any thread; never blocks */
void terminal_write(struct terminal *terminal, const void *data, size_t length);

/** terminal_flush() - writes out what is there (VM end, panic); any thread */
void terminal_flush(struct terminal *terminal);

/**
 * terminal_set_reader() - who gets the input: @ready is called on the main loop when there is some
 * The reader takes what it has room for with terminal_read(); what is left stays (back-pressure).
 */
void terminal_set_reader(struct terminal *terminal, void (*ready)(void *opaque), void *opaque);
/** terminal_read() - up to @length bytes; 0 when empty; any thread */
size_t terminal_read(struct terminal *terminal, void *data, size_t length);
/** terminal_at_end() - nothing is there and nothing will come; readers are told once more at the end; main thread */
bool terminal_at_end(struct terminal *terminal);
/** terminal_unread() - puts back the last bytes that were read, TERMINAL_UNREAD_MAX at most; any thread */
void terminal_unread(struct terminal *terminal, const void *data, size_t length);
#define TERMINAL_UNREAD_MAX	16

/** terminal_set_break() - @on_break is called on the main loop when the user sends a break; NULL: nobody cares */
void terminal_set_break(struct terminal *terminal, void (*on_break)(void *opaque), void *opaque);

/**
 * terminal_sysrq() - a break, then @key, in front of all input that waits: Linux's SysRq on a serial console
 * Returns 0, or -EOPNOTSUPP if the terminal's reader knows no break. Main thread.
 */
int __must_check terminal_sysrq(struct terminal *terminal, char key);

/** terminal_size() - columns and rows, or false if it is no tty; @resized is called on the main loop at SIGWINCH */
bool terminal_size(struct terminal *terminal, uint16_t *columns, uint16_t *rows);
void terminal_set_resize(struct terminal *terminal, void (*resized)(void *opaque), void *opaque);

/** terminal_restore_all() - puts the tty back; async-signal-safe; for cmd/ and fatal signals */
void terminal_restore_all(void);

#endif
