/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PID 1 of `lkvm run -- COMMAND`: what its files share.
 *
 * /lkvm/setup, which the host wrote into the initramfs, says what to do: records "KEY VALUE", each ended by a NUL:
 *	module PATH		load it
 *	type 9p|virtiofs	what shares are mounted as
 *	share TAG		the share that becomes the root, or
 *	disk SERIAL		the disk that does
 *	writable 0|1		without a layer: what is written there stays
 *	mount writable TAG PATH	a share to mount over PATH, for writing
 *	mount layered TAG PATH	one that is only read, with a layer over it for what is written
 *	mount read TAG PATH	one that is only read
 *	hostname NAME
 *	init PATH		this program shall be PID 1; the command, if there is one, is a service of it
 * and of the command:
 *	user UID, group GID (the first is the primary one)
 *	cwd PATH
 *	tty 0|1			the command gets a terminal of its own
 *	stderr 0|1		it gets a stderr of its own
 *	heartbeat 0|1		the host wants to hear once a second that we live
 *	size ROWS COLUMNS	of the terminal
 *	env NAME=VALUE, arg WORD
 * /lkvm/script, where there is one, becomes SCRIPT.
 *
 * Talk with the host goes over virtio-console ports. lkvm.control has lines, to the host:
 *	error TEXT		nothing will be run, and why
 *	started			the command is about to run
 *	alive			the heartbeat
 *	exit N OUT ERR, signal N OUT ERR	how it ended, and how many bytes went to each port before
 * and to the guest:
 *	size ROWS COLUMNS	of the terminal
 *	eof N			standard input ends after N bytes
 *	closed stdout|stderr	nobody reads it any more
 */
#ifndef GUEST_INIT_INIT_H
#define GUEST_INIT_INIT_H

#include "sys.h"

#define SETUP_MAX	(1024 * 1024)
#define WORDS_MAX	4096
#define GROUPS_MAX	256

struct setup {
	char *text;
	size_t length;
};

/** setup_next() - the next value of @key behind *@at (0 at first), or NULL */
const char *setup_next(const struct setup *setup, const char *key, size_t *at);
/** setup_get() - the only value of @key, or NULL */
const char *setup_get(const struct setup *setup, const char *key);
bool setup_flag(const struct setup *setup, const char *key);

/** fail() - tells the host, or who reads the console, and turns the machine off */
__attribute__((noreturn)) void fail(const char *what, const char *which, long error);
__attribute__((noreturn)) void power_off(void);

/* mounts.c */
void mount_early(void);
void load_modules(const struct setup *setup);
/** mount_root() - makes the root, and goes there */
void mount_root(const struct setup *setup);

/* become.c */
/** become_init() - the root's own init takes over, from the root */
__attribute__((noreturn)) void become_init(const struct setup *setup, const char *init, int program_fd);
#define SERVICE_FOLDER	"/run/lkvm"
#define SERVICE_SETUP	SERVICE_FOLDER "/setup"
#define SCRIPT		"/run/lkvm-sandbox"
/** copy_file() - what @from, which is closed, still has to read, as the new file @path */
void copy_file(int from, const char *path, int mode);

/* ports.c */
/** port_find() - the port called @name, once the host is at its other end; -1 if that doesn't come */
int port_find(const char *name);
/** port_open() - the same, which fails the guest without it */
int port_open(const char *name);
/** control_open() - from then on fail() has whom to tell */
void control_open(void);
void control_say(const char *text);
extern int control_fd;

/* child.c */
struct child {
	long pid;
	bool tty, heartbeat;
	int in, out, error;	/* our ends: pipes, or the terminal's master as in and out; error -1: none of its own */
};
/** child_start() - runs the command in a process of its own, and a session of its own; or negative errno */
long child_start(const struct setup *setup, struct child *child);
/** child_close() - our ends */
void child_close(struct child *child);
/** terminal_resize() - @size: "ROWS COLUMNS" */
void terminal_resize(int fd, const char *size);

/* agent.c */
/** agent_start() - a process that runs what `lkvm exec` asks for, once the host asks */
void agent_start(void);

/* relay.c */
/** relay_run() - carries bytes to and fro until the child has ended, and says how it did */
__attribute__((noreturn)) void relay_run(const struct child *child);

#endif
