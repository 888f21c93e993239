/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket: QMP (newline-framed JSON) over a Unix socket, one a VM.
 *
 * The socket is $XDG_RUNTIME_DIR/lkvm/NAME.sock, else ~/.lkvm/NAME.sock, mode 0600, its peers checked to be
 * the same user or root. Clients are served on the main loop, never blocking: a client that doesn't read its
 * replies, or goes on sending what is no JSON, loses its connection.
 */
#ifndef KVM_CONTROL_H
#define KVM_CONTROL_H

#include <jansson.h>

#include "kvm/kvm.h"

struct qmp_client;

/** struct qmp_command - registered by whoever owns what it does: QMP_COMMAND(query_status) */
struct qmp_command {
	const char *name;
	const char *help;
	/**
	 * @arguments: what it takes, NULL-terminated; NULL: nothing. Each is "NAME:TYPE", "NAME?:TYPE" (it may be left out) or
	 * "NAME" (that too, and of any type). A type is str, int, bool, number, any, [TYPE] for a list, or "one|of|these".
	 * What doesn't fit is refused before @run, and query-qmp-schema shows the same.
	 */
	const char *const *arguments;
	const char *returns;		/* the type of its result; NULL: nothing */
	/**
	 * @run: @arguments is an object or NULL; sets *@result (NULL: {}) and returns 0, or a negative errno with
	 * *@error a new string (freed by the caller). Main thread.
	 */
	int (*run)(struct kvm *kvm, const json_t *arguments, json_t **result, char **error);
	/** @take: NULL, or takes the client's connection over once the reply is sent: it is QMP's no more, and @fd not ours */
	void (*take)(struct kvm *kvm, int fd);
	struct qmp_command *next;
};

#define QMP_COMMAND(command_)								\
	static void __attribute__((constructor)) command_##_register(void)		\
	{										\
		qmp_command_register(&command_);					\
	}										\
	struct qmp_command /* swallows the semicolon */

void qmp_command_register(struct qmp_command *command);

/** qmp_fail() - what a command ends with: puts the text into *@error (NULL: out of memory) and returns -@code */
int qmp_fail(char **error, int code, const char *format, ...) printf_like(3, 4);

/** control_event() - sends an event with @data (stolen; NULL: none) to every client; main thread */
void control_event(struct kvm *kvm, const char *name, json_t *data);

/* ---- the client's side: lkvm list, stop, pause, ... ---- */

/** control_connect() - to VM @name, greeted and with qmp_capabilities done; a dead socket is removed */
int __must_check control_connect(const char *name, int timeout_ms, struct qmp_client **client);
/** control_call() - one command; *@result is the new "return" value; the error's text is logged; bounded by the timeout */
int __must_check control_call(struct qmp_client *client, const char *command, json_t *arguments, json_t **result);
/** control_wait_event() - until an event called @name came, the peer left (-EPIPE) or @timeout_ms passed (-ETIMEDOUT) */
int __must_check control_wait_event(struct qmp_client *client, const char *name, int timeout_ms);
void control_disconnect(struct qmp_client *client);
/** control_take() - the socket of a connection that @take has taken over there, non-blocking; @client is freed */
int control_take(struct qmp_client *client);
/** control_for_each() - the names of all VMs that answer */
int __must_check control_for_each(void (*each)(const char *name, void *opaque), void *opaque);

#endif
