/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gdb server's sockets: listens, reads and writes for one client on the VM's main loop, without ever waiting.
 *
 * A client has the VM from its first good packet on, not before: who only connects, or sends no packets, neither stops the
 * guest nor keeps gdb out. Input and output are bounded; a client that breaks the protocol again and again, that
 * doesn't read, or that vanishes loses the connection, its breakpoints go, and the guest goes on.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "gdb-address.h"
#include "gdb-internal.h"
#include "kvm/boot.h"
#include "kvm/control.h"
#include "kvm/log.h"

#define OUTPUT_MAX	(GDB_ENCODED_MAX + 256)	/* a reply, its acknowledgement, a stop reply behind it */
#define ERRORS_MAX	16			/* broken packets, garbage, and packets sent again, in a row */
#define DRAIN_MAX	64			/* reads of a refused client's bytes */
#define REFUSAL		"E.another gdb debugs this VM (detach it first)"

struct gdb_client {
	struct event_source source;
	char input[GDB_INPUT_MAX];
	size_t input_length, scanned;
	char output[OUTPUT_MAX];
	size_t output_start, output_length;	/* what lies between waits to be sent */
	size_t packet_start;			/* of the last packet in it, for when it has to be sent again */
	unsigned int errors;
	bool dead;
};

struct gdb_server {
	struct gdb gdb;
	struct gdb_address address;
	struct event_source source;
	struct event_work more;			/* packets left over from a turn */
	struct kvm_listener listener;
	struct gdb_client *client;
	struct event_source refused;		/* the last client that was turned away, until it has heard so */
	unsigned int drained;
	bool bound;
};

static const char gdb_key;

static const struct option_def gdb_options[] = {
	{ .name = "gdb", .type = OPTION_STRING, .argument = "ADDRESS", .optional_argument = true,
	  .help = "Serve gdb's remote protocol at tcp:PORT (of the loopback; default 1234; 0: a free one) or unix:PATH" },
	{ .name = "gdb-wait", .type = OPTION_FLAG,
	  .help = "Begin with the guest stopped, until gdb lets it go on (means --gdb)" },
};
RUN_OPTIONS(gdb_options_group, "Debug options", gdb_options);

/* ---- sending ---- */

static void client_flush(struct gdb_client *client)
{
	while (!client->dead && client->output_start < client->output_length) {
		ssize_t sent = send(client->source.fd, client->output + client->output_start,
				    client->output_length - client->output_start, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent < 0)
			client->dead = true;
		else
			client->output_start += (size_t)sent;
	}
}

static void client_watch(struct gdb_client *client)
{
	bool waiting = client->output_start < client->output_length;

	/* what it doesn't read keeps it from asking for more */
	if (!client->dead && event_modify(&client->source, waiting ? EPOLLOUT : EPOLLIN) < 0)
		client->dead = true;
}

static void client_make_room(struct gdb_client *client, size_t length)
{
	if (client->output_start == client->output_length)
		client->output_start = client->output_length = 0;
	/* at most a reply and a stop reply wait: who lets more pile up doesn't read */
	if (length > OUTPUT_MAX - client->output_length)
		client->dead = true;
}

static void client_send(struct gdb_client *client, const char *bytes, size_t length)
{
	client_make_room(client, length);
	if (client->dead)
		return;
	memcpy(client->output + client->output_length, bytes, length);
	client->output_length += length;
}

static void client_send_packet(struct gdb_client *client, const struct gdb_reply *reply)
{
	/* a long one is sent alone: its room is known */
	client_make_room(client, MIN(2 * reply->length + 8, (size_t)GDB_ENCODED_MAX));
	if (client->dead)
		return;
	client->packet_start = client->output_length;
	client->output_length += gdb_encode(reply->data, reply->length, client->output + client->output_length);
	client_flush(client);
}

static void client_send_again(struct gdb_client *client)
{
	if (++client->errors > ERRORS_MAX)
		client->dead = true;
	else if (client->output_start == client->output_length && client->packet_start < client->output_length)
		client->output_start = client->packet_start;
	client_flush(client);
}

/* ---- the session ---- */

static void server_report(struct gdb *gdb)
{
	struct gdb_server *server = container_of(gdb, struct gdb_server, gdb);
	char text[128];
	struct gdb_reply reply = { .data = text, .size = sizeof(text) };

	if (!server->client)
		return;
	gdb_stop_reply(gdb, &reply);
	client_send_packet(server->client, &reply);
	client_watch(server->client);
}

/* The guest stands still before a packet is looked at. One that comes while it runs stops it, as Ctrl-C does. */
static bool server_stop_guest(struct gdb_server *server)
{
	struct gdb *gdb = &server->gdb;
	bool running = gdb->attached;

	if (gdb->attached && gdb->holding)
		return true;
	if ((running ? gdb_interrupt(gdb) : gdb_attach(gdb)) < 0)
		return false;
	if (running)
		server_report(gdb);
	return true;
}

static void server_packet(struct gdb_server *server, struct gdb_frame *frame)
{
	struct gdb_client *client = server->client;
	_cleanup_free_ char *data = malloc(GDB_PACKET_MAX);
	struct gdb_reply reply = { .data = data, .size = GDB_PACKET_MAX };

	if (!data || !server_stop_guest(server)) {
		client->dead = true;
		return;
	}
	client->errors = 0;
	if (!server->gdb.no_ack)
		client_send(client, "+", 1);
	if (gdb_packet(&server->gdb, frame->payload, frame->length, &reply)) {
		if (reply.overflow)
			gdb_reply_error(&reply, -E2BIG);
		client_send_packet(client, &reply);
	}
	client_flush(client);
	client->dead |= server->gdb.closing;
}

static void server_frame(struct gdb_server *server, struct gdb_frame *frame)
{
	struct gdb_client *client = server->client;

	switch (frame->kind) {
	case GDB_FRAME_PACKET:
		server_packet(server, frame);
		return;
	case GDB_FRAME_INTERRUPT:
		if (server->gdb.attached && !server->gdb.holding)
			client->dead |= !server_stop_guest(server);
		return;
	case GDB_FRAME_NAK:
		client_send_again(client);
		return;
	case GDB_FRAME_BROKEN:
	case GDB_FRAME_GARBAGE:
		/* where nothing is sent again, a broken packet is lost, and its sender would wait for ever */
		client->dead |= ++client->errors > ERRORS_MAX || server->gdb.no_ack;
		if (frame->kind == GDB_FRAME_BROKEN)
			client_send(client, "-", 1);
		client_flush(client);
		return;
	default:
		return;
	}
}

static void client_take(struct gdb_client *client, size_t used)
{
	client->input_length -= used;
	memmove(client->input, client->input + used, client->input_length);
	client->scanned = 0;
}

/* One thing a turn, so that the devices on this loop have theirs. */
static void server_work(struct gdb_server *server)
{
	struct gdb_client *client = server->client;
	struct gdb_frame frame;

	if (client->output_start < client->output_length)
		return;
	gdb_frame(client->input, client->input_length, &client->scanned, &frame);
	if (frame.kind == GDB_FRAME_MORE) {
		/* a packet that fills the buffer and has no end never gets one */
		client->dead |= client->input_length == GDB_INPUT_MAX;
		return;
	}
	server_frame(server, &frame);
	client_take(client, frame.used);
	if (client->input_length)
		event_work_post(&server->more);
}

static void client_read(struct gdb_client *client)
{
	ssize_t length;

	if (client->input_length == GDB_INPUT_MAX)
		return;
	length = recv(client->source.fd, client->input + client->input_length, GDB_INPUT_MAX - client->input_length,
		      MSG_DONTWAIT);
	if (length > 0)
		client->input_length += (size_t)length;
	else
		client->dead |= length == 0 || (errno != EAGAIN && errno != EINTR);
}

/* ---- clients come and go ---- */

static void client_drop(struct gdb_server *server)
{
	struct gdb_client *client = server->client;
	int fd = client->source.fd;

	server->client = NULL;
	event_work_cancel(&server->more);
	event_del(&client->source);
	close(fd);
	free(client);
	if (server->gdb.attached)
		gdb_detach(&server->gdb);
}

/* Behind everything that a client caused. */
static void client_settle(struct gdb_server *server)
{
	if (server->client->dead)
		client_drop(server);
	else
		client_watch(server->client);
}

static void client_ready(struct event_source *source, uint32_t events)
{
	struct gdb_client *client = container_of(source, struct gdb_client, source);
	struct gdb_server *server = source->opaque;

	if (events & EPOLLOUT)
		client_flush(client);
	if (events & EPOLLIN)
		client_read(client);
	else if (events & (EPOLLHUP | EPOLLERR))
		client->dead = true;
	if (!client->dead)
		server_work(server);
	client_settle(server);
}

static void server_more(struct event_work *work)
{
	struct gdb_server *server = container_of(work, struct gdb_server, more);

	if (!server->client)
		return;
	server_work(server);
	client_settle(server);
}

static bool peer_allowed(const struct gdb_server *server, int fd)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (!server->address.path)
		return true;
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && (peer.uid == geteuid() || peer.uid == 0);
}

static void client_add(struct gdb_server *server, int fd)
{
	struct gdb_client *client = calloc(1, sizeof(*client));

	if (!client || event_add(server->gdb.kvm->loop, &client->source, fd, EPOLLIN, client_ready) < 0) {
		free(client);
		close(fd);
		return;
	}
	client->source.opaque = server;
	server->client = client;
	server->gdb.no_ack = false;
}

/* ---- the second client ---- */

static void refused_close(struct gdb_server *server)
{
	int fd = server->refused.fd;

	if (!server->refused.loop)
		return;
	event_del(&server->refused);
	close(fd);
}

/* Its bytes are read until it closes: a close from this side with bytes unread would take the answer back. */
static void refused_ready(struct event_source *source, uint32_t events)
{
	struct gdb_server *server = container_of(source, struct gdb_server, refused);
	char bytes[512];
	ssize_t length = recv(source->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	(void)events;
	if (length > 0 && ++server->drained < DRAIN_MAX)
		return;
	if (length < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	refused_close(server);
}

static void client_refuse(struct gdb_server *server, int fd)
{
	char packet[1 + 2 * sizeof(REFUSAL) + 8] = "+";
	size_t length = 1 + gdb_encode(REFUSAL, strlen(REFUSAL), packet + 1);

	refused_close(server);
	server->drained = 0;
	(void)!send(fd, packet, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	if (event_add(server->gdb.kvm->loop, &server->refused, fd, EPOLLIN, refused_ready) < 0)
		close(fd);
}

static void server_ready(struct event_source *source, uint32_t events)
{
	struct gdb_server *server = container_of(source, struct gdb_server, source);
	int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	const int one = 1;

	(void)events;
	if (fd < 0)
		return;
	if (!peer_allowed(server, fd)) {
		close(fd);
		return;
	}
	/* packets are small, and each waits for the other side */
	if (!server->address.path)
		(void)!setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (server->gdb.attached) {
		client_refuse(server, fd);
		return;
	}
	/* one that has said nothing yet is no debugger */
	if (server->client)
		client_drop(server);
	client_add(server, fd);
}

/* ---- what happens to the VM ---- */

static void server_changed(struct kvm_listener *listener, const char *event, enum kvm_end end)
{
	struct gdb_server *server = container_of(listener, struct gdb_server, listener);
	char text[16];
	struct gdb_reply reply = { .data = text, .size = sizeof(text) };

	(void)end;
	if (!server->gdb.attached)
		return;
	if (strcmp(event, "RESET") == 0)
		gdb_points_reset(&server->gdb);
	if (strcmp(event, "SHUTDOWN") != 0 || server->gdb.holding || !server->client)
		return;
	gdb_reply_format(&reply, "W%02x", (unsigned int)kvm_end_status(server->gdb.kvm) & 0xff);
	client_send_packet(server->client, &reply);
}

static int query_gdb(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const struct gdb_server *server = kvm_get_state(kvm, &gdb_key);
	const struct boot *boot = boot_get(kvm);
	_cleanup_free_ char *kernel = boot && boot->kernel.path ? realpath(boot->kernel.path, NULL) : NULL;

	(void)arguments;
	if (!server) {
		*error = strdup("This VM has no gdb server (lkvm run --gdb)");
		return -ENOENT;
	}
	*result = json_pack("{s:s,s:b,s:b,s:s?}", "address", server->address.text, "attached", server->gdb.attached, "stopped",
			    server->gdb.holding, "kernel", kernel);
	return *result ? 0 : -ENOMEM;
}
static struct qmp_command query_gdb_command = {
	.name = "x-lkvm-query-gdb", .help = "Where the gdb server listens, and whether gdb is there", .returns = "any", .run = query_gdb };
QMP_COMMAND(query_gdb_command);

/* ---- life ---- */

static int server_listen(struct gdb_server *server)
{
	int fd = gdb_address_listen(&server->address), result;

	if (fd < 0)
		return fd;
	server->bound = true;
	result = event_add(server->gdb.kvm->loop, &server->source, fd, EPOLLIN, server_ready);
	if (result) {
		close(fd);
		return log_errno(result, "option --gdb");
	}
	return 0;
}

static void server_free(struct gdb_server *server)
{
	int fd = server->source.fd;

	if (server->client) {
		struct gdb_client *client = server->client;
		int client_fd = client->source.fd;

		event_del(&client->source);
		close(client_fd);
		free(client);
	}
	refused_close(server);
	if (server->source.loop) {
		event_del(&server->source);
		close(fd);
	}
	if (server->bound)
		gdb_address_unlink(&server->address);
	gdb_address_free(&server->address);
	free(server->gdb.points.software);
	free(server->gdb.description);
	free(server->gdb.cpus);
	free(server);
}

static int server_start(struct gdb_server *server)
{
	struct kvm *kvm = server->gdb.kvm;
	int result = gdb_address_parse(&server->address, config_string(kvm->config, "gdb"));

	if (!result && config_flag(kvm->config, "debug-single-step"))
		result = log_error(EUSAGE, "option --gdb: not together with --debug-single-step");
	if (!result)
		result = arch_gdb_usable(kvm);
	if (!result)
		result = server_listen(server);
	if (!result && config_flag(kvm->config, "gdb-wait")) {
		result = kvm_pause(kvm);
		server->gdb.holding = !result;
	}
	return result;
}

static int gdb_init(struct kvm *kvm)
{
	struct gdb_server *server;
	int result;

	if (!config_given(kvm->config, "gdb") && !config_flag(kvm->config, "gdb-wait"))
		return INIT_SKIP;
	server = calloc(1, sizeof(*server));
	if (!server)
		return log_errno(ENOMEM, "gdb server");
	server->gdb.kvm = kvm;
	server->gdb.report = server_report;
	server->gdb.debugger.stopped = gdb_cpu_stopped;
	server->listener.changed = server_changed;
	server->gdb.cpus = calloc(kvm_cpus_possible(kvm), sizeof(*server->gdb.cpus));
	event_work_init(kvm->loop, &server->gdb.stopped, gdb_stopped_work);
	event_work_init(kvm->loop, &server->more, server_more);
	result = server->gdb.cpus ? server_start(server) : log_errno(ENOMEM, "gdb server");
	if (!result)
		result = kvm_set_state(kvm, &gdb_key, server);
	if (result) {
		server_free(server);
		return result;
	}
	kvm_add_listener(kvm, &server->listener);
	log_info("gdb: listening on %s%s", server->address.text, server->gdb.holding ? ", and the guest waits for it" : "");
	return 0;
}
late_init(gdb_init);

static void gdb_exit(struct kvm *kvm)
{
	struct gdb_server *server = kvm_get_state(kvm, &gdb_key);

	/* the guest is gone: nothing of it has to be put back */
	kvm->debugger = NULL;
	kvm_del_listener(kvm, &server->listener);
	event_work_cancel(&server->gdb.stopped);
	event_work_cancel(&server->more);
	(void)!kvm_set_state(kvm, &gdb_key, NULL);
	server_free(server);
}
late_exit(gdb_exit);
