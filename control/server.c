/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket's server: listens, reads and writes for any number of clients, without ever waiting.
 *
 * Everything runs on the VM's main loop. Each client has a bounded input buffer (one message) and a bounded
 * output buffer; one that doesn't read its replies is not read from, and one that lets events pile up is
 * dropped. This file is on the way to the first KVM_RUN: a dozen system calls, no JSON before a client comes.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "control-internal.h"
#include "kvm/log.h"
#include "kvm/runtime-directory.h"

#define CLIENTS_MAX		32
#define COMMANDS_A_TURN		16	/* then the devices on this loop have theirs */
#define ERRORS_MAX		8	/* messages that were no JSON */
#define OUTPUT_PAUSE		KIB(64) /* with more than this unread, no further command is taken */
#define OUTPUT_MAX		MIB(4)
#define NAME_TRIES		100
#define LISTEN_FD		3	/* SD_LISTEN_FDS_START */

struct control;

struct control_client {
	struct event_source source;
	struct control *control;
	struct control_client *next;
	struct qmp_session session;
	struct qmp_framer framer;
	char *input, *output;
	size_t input_length, scanned; /* of QMP_MESSAGE_MAX; how far the framer has looked */
	size_t output_start, output_length;	/* what lies between waits to be sent */
	uint64_t heard_ns;
	bool eof, dead;
};

struct control {
	struct kvm *kvm;
	struct event_source source;
	struct event_work more;			/* commands left over from a turn */
	struct kvm_listener listener;
	struct control_client *clients;
	unsigned int client_count;
	unsigned int busy; /* depth of callbacks: clients are freed at none only */
	char *name, *path;
	ino_t inode;
};

static const char control_key;

static const struct option_def control_options[] = {
	{ .name = "control", .type = OPTION_FLAG, .fallback = "true",
	  .help = "Have a control socket, which is the default (--no-control: none)" },
};
RUN_OPTIONS(control_options_group, "Basic options", control_options);

/* ---- sending ---- */

static void client_watch(struct control_client *client)
{
	size_t waiting = client->output_length - client->output_start;
	uint32_t events =
		(waiting ? EPOLLOUT : 0) | (client->eof || waiting > OUTPUT_PAUSE ? 0 : EPOLLIN);

	if (!client->dead && event_modify(&client->source, events) < 0)
		client->dead = true;
}

static void client_flush(struct control_client *client)
{
	while (!client->dead && client->output_start < client->output_length) {
		ssize_t sent = send(client->source.fd, client->output + client->output_start,
				    client->output_length - client->output_start,
				    MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent < 0)
			client->dead = true;
		else
			client->output_start += (size_t)sent;
	}
	free(client->output);
	client->output = NULL;
	client->output_start = client->output_length = 0;
}

/* @text is taken over and freed */
static void client_send(struct control_client *client, char *text)
{
	size_t waiting = client->output_length - client->output_start;
	size_t length = text ? strlen(text) : 0;
	char *grown;

	if (!text || client->dead || waiting + length + 2 > OUTPUT_MAX)
		goto drop;
	if (client->output_start) {
		memmove(client->output, client->output + client->output_start, waiting);
		client->output_start = 0;
		client->output_length = waiting;
	}
	grown = realloc(client->output, waiting + length + 2);
	if (!grown)
		goto drop;
	client->output = grown;
	memcpy(grown + waiting, text, length);
	memcpy(grown + waiting + length, "\r\n", 2);
	client->output_length = waiting + length + 2;
	free(text);
	client_flush(client);
	client_watch(client);
	return;
drop:
	free(text);
	client->dead = true;
}

/* ---- receiving ---- */

/* Runs what has arrived whole; true when more of it is left for another turn. */
static bool client_process(struct control_client *client)
{
	for (unsigned int turn = 0; !client->dead && !client->session.take; turn++) {
		size_t end = client->scanned;
		char *reply;

		if (client->output_length - client->output_start > OUTPUT_PAUSE)
			return false;
		if (turn == COMMANDS_A_TURN)
			return true;
		if (!qmp_frame(&client->framer, client->input, client->input_length, &end)) {
			client->scanned = end;
			/* a message that fills the buffer and has no end never gets one */
			client->dead |= client->input_length == QMP_MESSAGE_MAX;
			return false;
		}
		reply = qmp_handle(&client->session, client->input, end);
		client->input_length -= end;
		memmove(client->input, client->input + end, client->input_length);
		client->scanned = 0;
		client_send(client, reply);
		client->dead |= client->session.errors > ERRORS_MAX;
	}
	return false;
}

static void client_read(struct control_client *client)
{
	ssize_t length;

	if (!client->input)
		client->input = malloc(QMP_MESSAGE_MAX);
	if (!client->input) {
		client->dead = true;
		return;
	}
	if (client->input_length == QMP_MESSAGE_MAX)
		return;
	length = recv(client->source.fd, client->input + client->input_length,
		      QMP_MESSAGE_MAX - client->input_length, MSG_DONTWAIT);
	if (length < 0) {
		client->dead |= errno != EAGAIN && errno != EINTR;
		return;
	}
	client->heard_ns = event_now_ns();
	client->eof = length == 0;
	client->input_length += (size_t)length;
}

/* ---- clients come and go ---- */

static void client_free(struct control_client *client)
{
	int fd = client->source.fd;

	event_del(&client->source);
	if (fd >= 0)
		close(fd);
	free(client->input);
	free(client->output);
	free(client);
}

static void control_enter(struct control *control)
{
	control->busy++;
}

/* A command may send events to the client that it runs for, so clients are freed when no callback is left. */
static void control_leave(struct control *control)
{
	struct control_client **at = &control->clients;

	if (--control->busy)
		return;
	while (*at) {
		struct control_client *client = *at;

		if (!client->dead) {
			at = &client->next;
			continue;
		}
		*at = client->next;
		control->client_count--;
		client_free(client);
	}
}

/* What it is to say now is not for us, and it has to know that first. */
static void client_hand_over(struct control_client *client)
{
	int fd = client->source.fd;

	if (client->dead || client->output_length > client->output_start)
		return;
	client->dead = true;
	/* A newline behind the command is all that may have come. */
	for (size_t i = 0; i < client->input_length; i++)
		if (client->input[i] != '\n' && client->input[i] != '\r')
			return;
	if (client->eof)
		return;
	event_del(&client->source);
	client->source.fd = -1;
	client->session.take(client->control->kvm, fd);
}

static void client_work(struct control_client *client)
{
	if (client->session.take) {
		client_hand_over(client);
		return;
	}
	if (client_process(client))
		event_work_post(&client->control->more);
	else if (client->eof && client->output_length == client->output_start)
		client->dead = true;
	if (client->session.take)
		client_hand_over(client);
	else
		client_watch(client);
}

static void client_ready(struct event_source *source, uint32_t events)
{
	struct control_client *client = container_of(source, struct control_client, source);
	struct control *control = client->control;

	control_enter(control);
	if (events & EPOLLOUT)
		client_flush(client);
	if (events & EPOLLIN)
		client_read(client);
	else if (events & (EPOLLHUP | EPOLLERR))
		client->dead = true;
	client_work(client);
	control_leave(control);
}

static void control_more(struct event_work *work)
{
	struct control *control = container_of(work, struct control, more);

	control_enter(control);
	for (struct control_client *client = control->clients; client; client = client->next)
		client_work(client);
	control_leave(control);
}

static bool peer_allowed(int fd)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
	       (peer.uid == geteuid() || peer.uid == 0);
}

/* Room for one more: the client that was silent longest goes, so that no crowd of idlers locks us out. */
static void drop_idlest(struct control *control)
{
	struct control_client *idlest = NULL;

	for (struct control_client *client = control->clients; client; client = client->next)
		if (!idlest || client->heard_ns < idlest->heard_ns)
			idlest = client;
	if (idlest)
		idlest->dead = true;
}

static void client_add(struct control *control, int fd)
{
	struct control_client *client = calloc(1, sizeof(*client));

	if (!client || !peer_allowed(fd)) {
		free(client);
		close(fd);
		return;
	}
	if (control->client_count >= CLIENTS_MAX)
		drop_idlest(control);
	client->control = control;
	client->session.kvm = control->kvm;
	client->heard_ns = event_now_ns();
	if (event_add(control->kvm->loop, &client->source, fd, EPOLLIN, client_ready) < 0) {
		free(client);
		close(fd);
		return;
	}
	client->next = control->clients;
	control->clients = client;
	control->client_count++;
	client_send(client, qmp_greeting());
}

static void control_ready(struct event_source *source, uint32_t events)
{
	struct control *control = container_of(source, struct control, source);
	int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	control_enter(control);
	client_add(control, fd);
	control_leave(control);
}

/* ---- events ---- */

void control_event(struct kvm *kvm, const char *name, json_t *data)
{
	struct control *control = kvm_get_state(kvm, &control_key);

	if (control) {
		control_enter(control);
		for (struct control_client *client = control->clients; client;
		     client = client->next)
			if (client->session.negotiated && !client->session.take && !client->dead)
				client_send(client, qmp_event(name, data));
		control_leave(control);
	}
	json_decref(data);
}

/* QEMU's ShutdownCause, as far as it has words for our ends */
static const char *shutdown_reason(enum kvm_end end)
{
	switch (end) {
	case KVM_END_COMMAND:
	case KVM_END_POWEROFF:		return "guest-shutdown";
	case KVM_END_REBOOT:
	case KVM_END_TRIPLE_FAULT:	return "guest-reset";
	case KVM_END_OOPS:
	case KVM_END_PANIC:		return "guest-panic";
	case KVM_END_QUIT:		return "host-qmp-quit";
	case KVM_END_SIGNAL:		return "host-signal";
	default:			return "host-error";
	}
}

static bool ended_by_guest(enum kvm_end end)
{
	return end == KVM_END_POWEROFF || end == KVM_END_REBOOT || end == KVM_END_TRIPLE_FAULT ||
	       end == KVM_END_PANIC || end == KVM_END_OOPS || end == KVM_END_COMMAND;
}

static void control_changed(struct kvm_listener *listener, const char *event, enum kvm_end end)
{
	struct control *control = container_of(listener, struct control, listener);
	json_t *data = NULL;

	if (!control->clients)
		return;
	if (strcmp(event, "SHUTDOWN") == 0) {
		if (end == KVM_END_PANIC)
			control_event(control->kvm, "GUEST_PANICKED",
				      json_pack("{s:s}", "action", "poweroff"));
		data = json_pack("{s:b,s:s,s:s,s:i}", "guest", ended_by_guest(end), "reason",
				 shutdown_reason(end), "x-end", kvm_end_name(end), "x-status",
				 kvm_end_status(control->kvm));
	} else if (strcmp(event, "RESET") == 0) {
		/* inside a client's command it was that command, else the guest itself */
		bool host = control->busy > 0;

		data = json_pack("{s:b,s:s}", "guest", !host, "reason",
				 host ? "host-qmp-system-reset" : "guest-reset");
	}
	control_event(control->kvm, event, data);
}

/* ---- the socket ---- */

/* Binds @control->name in @dir, whose lock the caller holds; -EADDRINUSE if a VM that lives has it. */
static int bind_name(int fd, const char *dir, int dir_fd, const char *name)
{
	struct sockaddr_un address;
	int r = control_address(&address, dir, dir_fd, name);

	if (r < 0)
		return r;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	if (control_probe(&address) != -ECONNREFUSED)
		return -EADDRINUSE;
	/* its VM was killed */
	if (unlink(address.sun_path) < 0 && errno != ENOENT)
		return -errno;
	return bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

/* A name that was asked for must be free; one that was made up (guest-PID) gets a number behind it. */
static int bind_some_name(struct control *control, int fd, const char *dir, int dir_fd)
{
	bool asked = config_given(control->kvm->config, "name");
	int r = -EADDRINUSE;

	for (unsigned int i = 1; r == -EADDRINUSE && i <= (asked ? 1 : NAME_TRIES); i++) {
		free(control->name);
		if (asprintf(&control->name, i == 1 ? "%s" : "%s-%u", control->kvm->name, i) < 0) {
			control->name = NULL;
			return -ENOMEM;
		}
		r = bind_name(fd, dir, dir_fd, control->name);
	}
	return r;
}

/*
 * systemd's way to hand over a socket that listens (sd_listen_fds(3)): fd 3 is the control socket. Its name in the file
 * system is systemd's, so control->path stays NULL. -1: there is none.
 */
static int inherited_socket(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	int domain = 0, listens = 0;
	socklen_t size = sizeof(domain);

	if (!pid || !count || strtol(pid, NULL, 10) != getpid() || strtol(count, NULL, 10) < 1)
		return -1;
	if (getsockopt(LISTEN_FD, SOL_SOCKET, SO_DOMAIN, &domain, &size) || domain != AF_UNIX ||
	    getsockopt(LISTEN_FD, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) || !listens) {
		log_warn("control socket: $LISTEN_FDS says that fd %d is one, but it is no Unix socket that listens", LISTEN_FD);
		return -1;
	}
	if (fcntl(LISTEN_FD, F_SETFD, FD_CLOEXEC) < 0 || fcntl(LISTEN_FD, F_SETFL, O_NONBLOCK) < 0)
		return -1;
	return LISTEN_FD;
}

static int control_inherit(struct control *control, int fd)
{
	control->name = strdup(control->kvm->name);
	return control->name ? event_add(control->kvm->loop, &control->source, fd, EPOLLIN, control_ready) : -ENOMEM;
}

static int control_listen(struct control *control, const char *dir)
{
	_cleanup_close_ int dir_fd = control_open_directory(dir);
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	if (dir_fd < 0)
		return dir_fd;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* the mode of a socket before bind() is that of the name it makes, whatever the umask */
	if (fd < 0 || fchmod(fd, 0600) < 0)
		return -errno;
	r = bind_some_name(control, fd, dir, dir_fd);
	if (r < 0)
		return r;
	if (asprintf(&control->path, "%s/%s.sock", dir, control->name) < 0) {
		control->path = NULL;
		return -ENOMEM;
	}
	if (listen(fd, CLIENTS_MAX) < 0 || lstat(control->path, &st) < 0)
		return -errno;
	control->inode = st.st_ino;
	r = event_add(control->kvm->loop, &control->source, fd, EPOLLIN, control_ready);
	if (r == 0)
		take_fd(&fd);
	return r;
}

static void control_free(struct control *control)
{
	struct stat st;

	/* not what somebody else has put there since */
	if (control->path && control->inode && lstat(control->path, &st) == 0 &&
	    st.st_ino == control->inode)
		unlink(control->path);
	free(control->path);
	free(control->name);
	free(control);
}

const char *control_name(struct kvm *kvm)
{
	const struct control *control = kvm_get_state(kvm, &control_key);

	return control ? control->name : kvm->name;
}

static int control_start(struct control *control)
{
	_cleanup_free_ char *dir = NULL;
	int inherited = control->kvm->origin ? -1 : inherited_socket();
	int r = inherited < 0 ? runtime_directory(&dir, true) : control_inherit(control, inherited);

	if (r == 0 && inherited < 0)
		r = control_listen(control, dir);
	if (r == -EADDRINUSE)
		return log_error(EADDRINUSE,
				 "option --name: '%s' is taken by a VM that runs (see lkvm list)",
				 control->kvm->name);
	if (r < 0) {
		log_warn("control socket: none, so lkvm list and stop won't see this VM: %s%s%s",
			 dir ? dir : "",
			 dir ? ": " : "$XDG_RUNTIME_DIR/lkvm or ~/.lkvm: ", strerrordesc_np(-r));
		return INIT_SKIP;
	}
	return 0;
}

static int control_init(struct kvm *kvm)
{
	struct control *control;
	int r;

	if (!config_flag(kvm->config, "control"))
		return INIT_SKIP;
	control = calloc(1, sizeof(*control));
	if (!control)
		return log_errno(ENOMEM, "control socket");
	control->kvm = kvm;
	r = control_start(control);
	if (r != 0) {
		control_free(control);
		return r;
	}
	r = kvm_set_state(kvm, &control_key, control);
	if (r < 0) {
		int fd = control->source.fd;

		event_del(&control->source);
		close(fd);
		control_free(control);
		return r;
	}
	event_work_init(kvm->loop, &control->more, control_more);
	control->listener.changed = control_changed;
	kvm_add_listener(kvm, &control->listener);
	return 0;
}
base_init(control_init);

static void control_exit(struct kvm *kvm)
{
	struct control *control = kvm_get_state(kvm, &control_key);
	int fd = control->source.fd;

	kvm_del_listener(kvm, &control->listener);
	event_work_cancel(&control->more);
	(void)!kvm_set_state(kvm, &control_key, NULL);
	event_del(&control->source);
	close(fd);
	while (control->clients) {
		struct control_client *client = control->clients;

		control->clients = client->next;
		client_free(client);
	}
	control_free(control);
}
base_exit(control_exit);
