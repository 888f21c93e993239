/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm run --metrics unix:PATH: what x-lkvm-stats and x-lkvm-info tell, for Prometheus: each GET is answered with its text format,
 * version 0.0.4, by HTTP/1.0, and the connection closed. A few clients at a time, on the main loop, never blocking; what they
 * ask for isn't looked at further. The socket's mode is the umask's.
 */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "control-internal.h"
#include "kvm/log.h"

#define CLIENTS		4
#define BACKLOG		16
#define REQUEST_MAX	4096u

struct metrics_client {
	struct event_source source;	/* fd -1: free */
	struct metrics *metrics;
	char request[REQUEST_MAX];
	size_t length;
	char *reply;
	size_t reply_length, sent;
	uint64_t since_ns;
};

struct metrics {
	struct kvm *kvm;
	struct event_source source;
	struct metrics_client clients[CLIENTS];
	const char *path;
	ino_t inode;
};

static const char metrics_key;

static const struct option_def metrics_options[] = {
	{ .name = "metrics", .type = OPTION_STRING, .argument = "unix:PATH", .help = "Numbers for Prometheus, by HTTP on a Unix socket" },
};
RUN_OPTIONS(metrics_options_group, "Basic options", metrics_options);

/* ---- the text ---- */

static json_t *ask(struct kvm *kvm, const char *name)
{
	_cleanup_free_ char *error = NULL;
	json_t *result = NULL;

	return qmp_command_run(kvm, qmp_command_find(name), NULL, &result, &error) ? NULL : result;
}

static void put_number(FILE *out, const json_t *value)
{
	if (json_is_integer(value))
		fprintf(out, " %lld\n", (long long)json_integer_value(value));
	else
		fprintf(out, " %.9g\n", json_number_value(value));
}

static void put(FILE *out, const char *name, const char *type, const json_t *value)
{
	if (!json_is_number(value))
		return;
	fprintf(out, "# TYPE lkvm_%s %s\nlkvm_%s", name, type, name);
	put_number(out, value);
}

static void put_label(FILE *out, const char *text)
{
	fputc('"', out);
	for (; text && *text; text++)
		fprintf(out, *text == '"' || *text == '\\' ? "\\%c" : *text == '\n' ? "\\n" : "%c", *text);
	fputc('"', out);
}

static void put_devices(FILE *out, const json_t *devices, const char *name, const char *key)
{
	json_t *device;
	size_t i;

	fprintf(out, "# TYPE lkvm_%s counter\n", name);
	json_array_foreach((json_t *)(uintptr_t)devices, i, device) {
		fprintf(out, "lkvm_%s{device=", name);
		put_label(out, json_string_value(json_object_get(device, "name")));
		fputc('}', out);
		put_number(out, json_object_get(device, key));
	}
}

/* KVM's own have no type here: some go up and down. */
static void put_kvm(FILE *out, const char *of, const json_t *stats)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)stats, key, value) {
		fprintf(out, "lkvm_kvm_%s_%s", of, key);
		put_number(out, value);
	}
}

static void put_all(FILE *out, const json_t *info, const json_t *stats)
{
	const json_t *memory = json_object_get(stats, "memory"), *balloon = json_object_get(memory, "balloon");
	const char *state = json_string_value(json_object_get(info, "state"));
	json_t *exits;
	size_t i;

	fputs("# TYPE lkvm_running gauge\nlkvm_running{name=", out);
	put_label(out, json_string_value(json_object_get(info, "name")));
	fprintf(out, "} %d\n", state && !strcmp(state, "running"));
	put(out, "uptime_seconds", "gauge", json_object_get(info, "uptime"));
	put(out, "vcpus", "gauge", json_object_get(info, "vcpus"));
	put(out, "memory_bytes", "gauge", json_object_get(memory, "size"));
	put(out, "memory_held_bytes", "gauge", json_object_get(memory, "held"));
	put(out, "balloon_actual_bytes", "gauge", json_object_get(balloon, "actual"));
	fputs("# TYPE lkvm_vcpu_exits_total counter\n", out);
	json_array_foreach(json_object_get(stats, "exits"), i, exits) {
		fprintf(out, "lkvm_vcpu_exits_total{vcpu=\"%zu\"}", i);
		put_number(out, exits);
	}
	put_devices(out, json_object_get(stats, "devices"), "device_requests_total", "requests");
	put_devices(out, json_object_get(stats, "devices"), "device_from_guest_bytes_total", "from-guest");
	put_devices(out, json_object_get(stats, "devices"), "device_to_guest_bytes_total", "to-guest");
	put_kvm(out, "vm", json_object_get(stats, "vm"));
	put_kvm(out, "vcpus", json_object_get(stats, "vcpus"));
}

/* What the client is sent: a new string, or NULL without memory. */
static char *answer(struct kvm *kvm, const char *request, size_t *length)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, length);

	if (!out)
		return NULL;
	if (strncmp(request, "GET ", 4) != 0) {
		fputs("HTTP/1.0 405 Method Not Allowed\r\nAllow: GET\r\n\r\n", out);
	} else {
		json_t *info = ask(kvm, "x-lkvm-info"), *stats = ask(kvm, "x-lkvm-stats");

		fputs("HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n", out);
		put_all(out, info, stats);
		json_decref(info);
		json_decref(stats);
	}
	if (!fclose(out))
		return text;
	free(text);
	return NULL;
}

/* ---- clients ---- */

static void client_close(struct metrics_client *client)
{
	int fd = client->source.fd;

	if (fd < 0)
		return;
	event_del(&client->source);
	close(fd);
	free(client->reply);
	client->reply = NULL;
	client->source.fd = -1;
}

static void client_send(struct metrics_client *client)
{
	ssize_t sent = send(client->source.fd, client->reply + client->sent, client->reply_length - client->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent > 0)
		client->sent += (size_t)sent;
	if ((sent < 0 && errno != EAGAIN && errno != EINTR) || client->sent == client->reply_length ||
	    event_modify(&client->source, EPOLLOUT) < 0)
		client_close(client);
}

/* HTTP/1.0: a blank line ends what a GET has to say. */
static void client_receive(struct metrics_client *client)
{
	ssize_t got = recv(client->source.fd, client->request + client->length, REQUEST_MAX - 1 - client->length, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		client_close(client);
		return;
	}
	client->length += (size_t)got;
	client->request[client->length] = '\0';
	if (!strstr(client->request, "\r\n\r\n") && !strstr(client->request, "\n\n")) {
		if (client->length == REQUEST_MAX - 1)
			client_close(client);
		return;
	}
	client->reply = answer(client->metrics->kvm, client->request, &client->reply_length);
	if (client->reply)
		client_send(client);
	else
		client_close(client);
}

static void client_ready(struct event_source *source, uint32_t events)
{
	struct metrics_client *client = container_of(source, struct metrics_client, source);

	if (client->reply)
		client_send(client);
	else if (events & EPOLLIN)
		client_receive(client);
	else
		client_close(client);
}

/* The one that is there longest makes room. */
static struct metrics_client *client_free(struct metrics *metrics)
{
	struct metrics_client *oldest = &metrics->clients[0];

	for (size_t i = 0; i < CLIENTS; i++) {
		if (metrics->clients[i].source.fd < 0)
			return &metrics->clients[i];
		if (metrics->clients[i].since_ns < oldest->since_ns)
			oldest = &metrics->clients[i];
	}
	client_close(oldest);
	return oldest;
}

static void metrics_ready(struct event_source *source, uint32_t events)
{
	struct metrics *metrics = container_of(source, struct metrics, source);
	int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct metrics_client *client;

	(void)events;
	if (fd < 0)
		return;
	client = client_free(metrics);
	client->length = client->sent = 0;
	client->since_ns = event_now_ns();
	if (event_add(metrics->kvm->loop, &client->source, fd, EPOLLIN, client_ready) < 0) {
		client->source.fd = -1;
		close(fd);
	}
}

/* ---- life ---- */

static int metrics_bind(int fd, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat status;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	/* A socket of a VM that was killed goes. What is no socket refuses connections too, and stays. */
	if (lstat(path, &status) || !S_ISSOCK(status.st_mode) || control_probe(&address) != -ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(path) || bind(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
}

static int metrics_listen(struct metrics *metrics)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat status = { 0 };
	int result = fd < 0 ? -errno : metrics_bind(fd, metrics->path);

	if (!result && (listen(fd, BACKLOG) || lstat(metrics->path, &status)))
		result = -errno;
	if (!result)
		result = event_add(metrics->kvm->loop, &metrics->source, fd, EPOLLIN, metrics_ready);
	if (result)
		return log_errno(result, "option --metrics: '%s'", metrics->path);
	metrics->inode = status.st_ino;
	take_fd(&fd);
	return 0;
}

static int metrics_init(struct kvm *kvm)
{
	const char *address = config_string(kvm->config, "metrics");
	struct metrics *metrics;
	int result;

	if (!address)
		return INIT_SKIP;
	if (strncmp(address, "unix:", 5) != 0 || !address[5])
		return log_error(EUSAGE, "option --metrics: '%s' is no address (say unix:PATH)", address);
	metrics = calloc(1, sizeof(*metrics));
	if (!metrics)
		return log_errno(ENOMEM, "option --metrics");
	metrics->kvm = kvm;
	metrics->path = address + 5;
	for (size_t i = 0; i < CLIENTS; i++) {
		metrics->clients[i].source.fd = -1;
		metrics->clients[i].metrics = metrics;
	}
	result = kvm_set_state(kvm, &metrics_key, metrics);
	if (!result)
		result = metrics_listen(metrics);
	if (result) {
		(void)!kvm_set_state(kvm, &metrics_key, NULL);
		free(metrics);
	}
	return result;
}
late_init(metrics_init);

static void metrics_exit(struct kvm *kvm)
{
	struct metrics *metrics = kvm_get_state(kvm, &metrics_key);
	int fd = metrics->source.fd;
	struct stat status;

	for (size_t i = 0; i < CLIENTS; i++)
		client_close(&metrics->clients[i]);
	event_del(&metrics->source);
	close(fd);
	/* not what somebody else has put there since */
	if (!lstat(metrics->path, &status) && status.st_ino == metrics->inode)
		unlink(metrics->path);
	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, &metrics_key, NULL))
		free(metrics);
}
late_exit(metrics_exit);
