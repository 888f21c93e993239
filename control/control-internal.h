/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of control/ share; nobody else includes it.
 */
#ifndef CONTROL_CONTROL_INTERNAL_H
#define CONTROL_CONTROL_INTERNAL_H

#include <sys/un.h>

#include "kvm/control.h"

/* ---- path.c: where sockets are ---- */

/** control_address() - the address of VM @name's socket in the directory open as @dir_fd, called @dir */
int __must_check control_address(struct sockaddr_un *address, const char *dir, int dir_fd,
				 const char *name);
/** control_open_directory() - opened and locked against others that bind or clear away; close it to unlock */
int __must_check control_open_directory(const char *dir);
/** control_probe() - 0 if somebody listens at @address, -ECONNREFUSED for a dead socket, or another errno */
int __must_check control_probe(const struct sockaddr_un *address);
/** control_remove_dead() - takes away VM @name's socket if nobody listens there */
void control_remove_dead(const char *dir, const char *name);

/* ---- qmp.c: the protocol, without sockets ---- */

/** struct qmp_session - one client's side of the protocol */
struct qmp_session {
	struct kvm *kvm;
	bool negotiated;	/* qmp_capabilities came: commands and events flow */
	unsigned int errors;	/* messages that were no JSON */
	void (*take)(struct kvm *kvm, int fd);	/* a command's, that has the connection from now on */
};

/** struct qmp_framer - finds the ends of JSON objects in a stream of bytes */
struct qmp_framer {
	unsigned int depth;
	bool in_string, escaped, garbage;
};

#define QMP_MESSAGE_MAX		KIB(64)
#define QMP_DEPTH_MAX		64

/**
 * qmp_frame() - looks for the end of a message
 * @scanned: in and out: how many bytes of @data have been looked at
 *
 * Returns true when the message ends at *@scanned; false: more bytes are needed. What is no JSON object ends
 * at its newline.
 */
bool qmp_frame(struct qmp_framer *framer, const char *data, size_t length, size_t *scanned);

/** qmp_greeting(), qmp_handle(), qmp_event() - what to send, new, without the newline; NULL: no memory */
char *qmp_greeting(void);
char *qmp_handle(struct qmp_session *session, const char *message, size_t length);
char *qmp_event(const char *name, json_t *data);

/** struct qmp_argument - one that a command takes, as its table says it: "NAME", "NAME?:TYPE" or "NAME:TYPE" */
struct qmp_argument {
	char name[48];
	bool optional;
	const char *type;
};

/** qmp_argument() - reads a line of the table; qmp_type_json() - QEMU's word for what a plain type is in JSON; NULL: it is none */
struct qmp_argument qmp_argument(const char *text);
const char *qmp_type_json(const char *type);
/** qmp_arguments_check() - whether @arguments (or NULL) are what @command takes; *@error is a new string */
int __must_check qmp_arguments_check(const struct qmp_command *command, json_t *arguments, char **error);

/** qmp_command_find() - or NULL; qmp_command_run() - checks the arguments first; as struct qmp_command's run() */
const struct qmp_command *qmp_command_find(const char *name);
int __must_check qmp_command_run(struct kvm *kvm, const struct qmp_command *command, json_t *arguments, json_t **result, char **error);

/** qmp_command_first() - all commands, sorted by name */
const struct qmp_command *qmp_command_first(void);

/** cpu_qom_path() - what clients call a vCPU */
#define QOM_PATH_SIZE	48
void cpu_qom_path(unsigned int index, char path[QOM_PATH_SIZE]);

/** qmp_said() - 0, or what was said since log_forget_error() as the client's answer to @result, which it returns */
int qmp_said(char **error, int result);

/** qmp_cpu_insert() - device_add of a vCPU (cpu-plug.c) */
#define QMP_CPU_DRIVER	"cpu"
int qmp_cpu_insert(struct kvm *kvm, const json_t *arguments, const char *id, char **error);

/** control_name() - the name that the socket has: kvm->name, or that with a number where it was taken */
const char *control_name(struct kvm *kvm);

#endif
