/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket's client, for `lkvm list`, `stop` and the like: connects, greets, calls, waits.
 *
 * Single-threaded, and every wait has a deadline: a VM that hangs, or a stranger's socket, must not hang the
 * command. What the other side sends is bounded too.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "control-internal.h"
#include "kvm/log.h"
#include "kvm/runtime-directory.h"

#define MESSAGE_MAX	MIB(8)
#define EVENTS_MAX	256
#define RETRY_MS	10

struct qmp_client {
	int fd;
	int timeout_ms;
	char *name;
	char *buffer;			/* what came and has not been parsed */
	size_t length, capacity;
	json_t *events;			/* array: came while something else was waited for */
	json_int_t last_id;
};

static int remaining_ms(uint64_t deadline_ns)
{
	uint64_t now = event_now_ns();

	return now >= deadline_ns ? 0 : (int)((deadline_ns - now) / 1000000 + 1);
}

static uint64_t deadline_after(int timeout_ms)
{
	return event_now_ns() + (uint64_t)MAX(timeout_ms, 0) * 1000000;
}

static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd pollfd = { .fd = fd, .events = events };
	int r;

	do {
		r = poll(&pollfd, 1, remaining_ms(deadline_ns));
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return r ? 0 : -ETIMEDOUT;
}

/* ---- messages ---- */

static int receive(struct qmp_client *client, uint64_t deadline_ns)
{
	ssize_t length;
	int r;

	if (client->capacity - client->length < KIB(4)) {
		size_t capacity = MAX(client->capacity * 2, (size_t)KIB(16));
		char *grown = capacity > MESSAGE_MAX ? NULL : realloc(client->buffer, capacity);

		if (!grown)
			return -EMSGSIZE;
		client->buffer = grown;
		client->capacity = capacity;
	}
	r = wait_for(client->fd, POLLIN, deadline_ns);
	if (r < 0)
		return r;
	length = recv(client->fd, client->buffer + client->length,
		      client->capacity - client->length, 0);
	if (length < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -EPIPE;
	if (length == 0)
		return -EPIPE;
	client->length += (size_t)length;
	return 0;
}

/* The next line, parsed; the other side ends each message with a newline. */
static int next_message(struct qmp_client *client, uint64_t deadline_ns, json_t **message)
{
	for (;;) {
		char *newline =
			client->length ? memchr(client->buffer, '\n', client->length) : NULL;
		size_t used;
		int r;

		if (!newline) {
			r = receive(client, deadline_ns);
			if (r < 0)
				return r;
			continue;
		}
		used = (size_t)(newline - client->buffer) + 1;
		*message = json_loadb(client->buffer, used, 0, NULL);
		client->length -= used;
		memmove(client->buffer, client->buffer + used, client->length);
		return json_is_object(*message) ? 0 : (json_decref(*message), -EPROTO);
	}
}

static int send_text(struct qmp_client *client, const char *text, uint64_t deadline_ns)
{
	size_t left = strlen(text);

	while (left) {
		ssize_t sent = send(client->fd, text, left, MSG_NOSIGNAL);
		int r;

		if (sent >= 0) {
			text += sent;
			left -= (size_t)sent;
			continue;
		}
		if (errno != EAGAIN && errno != EINTR)
			return -EPIPE;
		r = wait_for(client->fd, POLLOUT, deadline_ns);
		if (r < 0)
			return r;
	}
	return 0;
}

static int send_command(struct qmp_client *client, const char *command, json_t *arguments,
			uint64_t deadline_ns)
{
	json_t *message = json_pack("{s:s,s:I}", "execute", command, "id", ++client->last_id);
	_cleanup_free_ char *text = NULL, *line = NULL;

	if (message && arguments)
		json_object_set(message, "arguments", arguments);
	if (message)
		text = json_dumps(message, JSON_COMPACT);
	json_decref(message);
	/* in one piece: after a quit there may be nobody left to take a newline that comes late */
	if (!text || asprintf(&line, "%s\n", text) < 0) {
		line = NULL;
		return -ENOMEM;
	}
	return send_text(client, line, deadline_ns);
}

static void keep_event(struct qmp_client *client, json_t *message)
{
	if (json_object_get(message, "event") && json_array_size(client->events) < EVENTS_MAX)
		json_array_append(client->events, message);
}

/* The reply to the last command sent; events that come before it are kept. */
static int await_reply(struct qmp_client *client, uint64_t deadline_ns, json_t **reply)
{
	for (;;) {
		json_t *message;
		int r = next_message(client, deadline_ns, &message);

		if (r < 0)
			return r;
		if (json_integer_value(json_object_get(message, "id")) == client->last_id) {
			*reply = message;
			return 0;
		}
		keep_event(client, message);
		json_decref(message);
	}
}

static int say_failure(const struct qmp_client *client, const char *command, int error)
{
	switch (error) {
	case -ETIMEDOUT:
		return log_error(ETIMEDOUT, "%s: doesn't answer (%s, waited %d ms)", client->name,
				 command, client->timeout_ms);
	case -EPIPE:
		return log_error(EPIPE, "%s: closed the connection (%s)", client->name, command);
	default:
		return log_errno(-error, "%s: %s", client->name, command);
	}
}

int control_call(struct qmp_client *client, const char *command, json_t *arguments, json_t **result)
{
	uint64_t deadline = deadline_after(client->timeout_ms);
	json_t *reply, *value;
	const char *description;
	int r = send_command(client, command, arguments, deadline);

	json_decref(arguments);
	if (r == 0)
		r = await_reply(client, deadline, &reply);
	if (r < 0)
		return say_failure(client, command, r);
	value = json_object_get(reply, "return");
	if (value) {
		if (result)
			*result = json_incref(value);
	} else {
		description =
			json_string_value(json_object_get(json_object_get(reply, "error"), "desc"));
		r = log_error(EREMOTEIO, "%s: %s: %s", client->name, command,
			      description ? description : "failed");
	}
	json_decref(reply);
	return r;
}

static bool is_event(json_t *message, const char *name)
{
	const char *event = json_string_value(json_object_get(message, "event"));

	return event && strcmp(event, name) == 0;
}

int control_wait_event(struct qmp_client *client, const char *name, int timeout_ms)
{
	uint64_t deadline = deadline_after(timeout_ms);

	for (size_t i = 0; i < json_array_size(client->events); i++) {
		if (is_event(json_array_get(client->events, i), name)) {
			json_array_remove(client->events, i);
			return 0;
		}
	}
	for (;;) {
		json_t *message;
		int r = next_message(client, deadline, &message);

		if (r < 0)
			return r;
		if (is_event(message, name)) {
			json_decref(message);
			return 0;
		}
		keep_event(client, message);
		json_decref(message);
	}
}

/* ---- connections ---- */

/* A full backlog says EAGAIN and can't be polled for, so it is tried again until the deadline. */
static int connect_to(int fd, const struct sockaddr_un *address, uint64_t deadline_ns)
{
	while (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		if (!remaining_ms(deadline_ns))
			return -ETIMEDOUT;
		poll(NULL, 0, RETRY_MS);
	}
	return 0;
}

static int open_socket(const char *name, uint64_t deadline_ns, int *fd_out)
{
	_cleanup_free_ char *dir = NULL;
	_cleanup_close_ int dir_fd = -1, fd = -1;
	struct sockaddr_un address;
	int r = runtime_directory(&dir, false);

	if (r < 0)
		return r;
	dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (dir_fd < 0 || fd < 0)
		return -errno;
	r = control_address(&address, dir, dir_fd, name);
	if (r == 0)
		r = connect_to(fd, &address, deadline_ns);
	if (r == -ECONNREFUSED)
		control_remove_dead(dir, name);
	if (r == 0)
		*fd_out = take_fd(&fd);
	return r;
}

static int greet(struct qmp_client *client, uint64_t deadline_ns)
{
	json_t *message;
	int r = next_message(client, deadline_ns, &message);

	if (r < 0)
		return r;
	r = json_object_get(message, "QMP")
		    ? send_command(client, "qmp_capabilities", NULL, deadline_ns)
		    : -EPROTO;
	json_decref(message);
	if (r == 0)
		r = await_reply(client, deadline_ns, &message);
	if (r < 0)
		return r;
	r = json_object_get(message, "return") ? 0 : -EPROTO;
	json_decref(message);
	return r;
}

static int say_no_vm(const char *name, int error)
{
	if (error == -ENOENT || error == -ECONNREFUSED)
		return log_error(ENOENT, "%s: no VM of this name runs (see lkvm list)", name);
	if (error == -ETIMEDOUT)
		return log_error(ETIMEDOUT,
				 "%s: the VM doesn't accept connections (is its lkvm stopped?)",
				 name);
	return log_errno(-error, "%s: can't reach the VM", name);
}

int control_connect(const char *name, int timeout_ms, struct qmp_client **client)
{
	uint64_t deadline = deadline_after(timeout_ms);
	struct qmp_client *new;
	int fd = -1, r;

	if (!*name || strchr(name, '/'))
		return log_error(EINVAL, "%s: no name for a VM (see lkvm list)", name);
	r = open_socket(name, deadline, &fd);
	if (r < 0)
		return say_no_vm(name, r);
	new = calloc(1, sizeof(*new));
	if (!new) {
		close(fd);
		return log_errno(ENOMEM, "%s", name);
	}
	new->fd = fd;
	new->timeout_ms = timeout_ms;
	new->name = strdup(name);
	new->events = json_array();
	r = new->name && new->events ? greet(new, deadline) : -ENOMEM;
	if (r < 0) {
		r = new->name ? say_failure(new, "greeting", r) : r;
		control_disconnect(new);
		return r;
	}
	*client = new;
	return 0;
}

void control_disconnect(struct qmp_client *client)
{
	if (!client)
		return;
	if (client->fd >= 0)
		close(client->fd);
	json_decref(client->events);
	free(client->buffer);
	free(client->name);
	free(client);
}

int control_take(struct qmp_client *client)
{
	int fd = client->fd;

	client->fd = -1;
	control_disconnect(client);
	return fd;
}

/* ---- all VMs ---- */

static int is_socket_name(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return entry->d_name[0] != '.' && length > 5 &&
	       strcmp(entry->d_name + length - 5, ".sock") == 0;
}

static bool is_alive(const char *dir, int dir_fd, const char *name)
{
	struct sockaddr_un address;
	int r;

	if (control_address(&address, dir, dir_fd, name) < 0)
		return false;
	r = control_probe(&address);
	if (r == -ECONNREFUSED)
		control_remove_dead(dir, name);
	return r == 0;
}

int control_for_each(void (*each)(const char *name, void *opaque), void *opaque)
{
	_cleanup_free_ char *dir = NULL;
	_cleanup_close_ int dir_fd = -1;
	struct dirent **entries;
	int count, r = runtime_directory(&dir, false);

	/* nothing was ever started here */
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return log_error(-r, "control directory '%s': %s (it has to be a folder of yours)", dir ? dir : "?",
				 strerrordesc_np(-r));
	dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	count = dir_fd < 0 ? -1 : scandir(dir, &entries, is_socket_name, alphasort);
	if (count < 0)
		return log_errno(errno, "control directory '%s'", dir);
	for (int i = 0; i < count; i++) {
		char *name = entries[i]->d_name;

		name[strlen(name) - 5] = '\0';
		if (is_alive(dir, dir_fd, name))
			each(name, opaque);
		free(entries[i]);
	}
	free(entries);
	return 0;
}
