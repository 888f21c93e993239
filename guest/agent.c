/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's end of the agent's port: many clients' frames (guest/frame.h) over one stream of bytes.
 *
 * One frame is on its way to the guest, and clients have their turns; so a guest that doesn't read makes its clients
 * wait, and them alone. What comes from the guest is taken at once, since there is room for it kept by whom it is for.
 * A guest that breaks the rules loses its clients, and is given another chance after a while. Main loop.
 */
#include "guest/agent.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "kvm/control.h"
#include "kvm/guest-command.h"
#include "kvm/log.h"
#include "kvm/port.h"

#define AGAIN_NS	1000000000ULL

struct agent {
	struct port *port;
	struct event_timer again;
	struct log_limit limit;
	struct agent_client *clients[FRAME_SESSIONS];
	bool busy[FRAME_SESSIONS];	/* the guest knows of it, and its last frame hasn't come */
	bool close_due[FRAME_SESSIONS];	/* its client has gone, which the guest doesn't know */
	bool reset_due;
	unsigned int turn;
	size_t in_length, out_start, out_length;
	uint8_t in[FRAME_SIZE_MAX], out[FRAME_SIZE_MAX];
};

static const char agent_key;

/* ---- clients come and go ---- */

static void drop_client(struct agent *agent, unsigned int number)
{
	if (!agent->clients[number])
		return;
	agent_client_free(agent->clients[number]);
	agent->clients[number] = NULL;
	agent->close_due[number] = agent->busy[number];
}

/* The guest's end is new, or has gone: nothing of what was is left. */
static void forget_all(struct agent *agent)
{
	for (unsigned int i = 0; i < FRAME_SESSIONS; i++) {
		if (agent->busy[i])
			drop_client(agent, i);
		agent->busy[i] = agent->close_due[i] = false;
	}
	agent->in_length = agent->out_start = agent->out_length = 0;
}

/* ---- to the guest ---- */

static void put_frame(struct agent *agent, struct frame frame, const uint8_t *bytes)
{
	frame_encode(agent->out, frame);
	memcpy(agent->out + FRAME_HEADER, bytes, frame.length);
	agent->out_start = 0;
	agent->out_length = FRAME_HEADER + (size_t)frame.length;
}

/* One of client @number, if there is one. */
static bool take_turn(struct agent *agent, unsigned int number)
{
	struct agent_client *client = agent->clients[number];
	struct frame frame = { .session = (uint16_t)number, .type = FRAME_CLOSE };

	if (agent->close_due[number]) {
		agent->close_due[number] = false;
		put_frame(agent, frame, agent->in);
		return true;
	}
	if (!client || !agent_client_frame(client, &frame))
		return false;
	frame.session = (uint16_t)number;
	agent->busy[number] = true;
	put_frame(agent, frame, client->in + FRAME_HEADER);
	if (!agent_client_sent(client))
		drop_client(agent, number);
	return true;
}

static bool next_frame(struct agent *agent)
{
	if (agent->reset_due) {
		agent->reset_due = false;
		put_frame(agent, (struct frame){ .type = FRAME_RESET }, agent->in);
		return true;
	}
	for (unsigned int i = 0; i < FRAME_SESSIONS; i++)
		if (take_turn(agent, agent->turn++ % FRAME_SESSIONS))
			return true;
	return false;
}

static void pump(struct agent *agent)
{
	if (!port_is_open(agent->port))
		return;
	do {
		size_t n = port_write(agent->port, agent->out + agent->out_start, agent->out_length);

		agent->out_start += n;
		agent->out_length -= n;
	} while (!agent->out_length && next_frame(agent));
}

void agent_client_ready(struct agent_client *client)
{
	pump(client->agent);
}

void agent_client_gone(struct agent_client *client)
{
	struct agent *agent = client->agent;

	drop_client(agent, client->number);
	pump(agent);
}

/* ---- from the guest ---- */

static void agent_again(struct event_timer *timer)
{
	port_open(container_of(timer, struct agent, again)->port);
}

static void give_up(struct agent *agent)
{
	log_guest(&agent->limit, "port '%s': what comes from there is no agent's; its clients are dropped", FRAME_PORT);
	forget_all(agent);
	port_close(agent->port);
	event_timer_set(&agent->again, event_now_ns() + AGAIN_NS);
}

/* False: the guest may not send that. */
static bool take_frame(struct agent *agent, struct frame frame, const uint8_t *bytes)
{
	struct agent_client *client = agent->clients[frame.session];
	int result;

	/* Of one whose client has gone; only its end is of interest. */
	if (!client || !agent->busy[frame.session]) {
		if (frame.type == FRAME_EXIT)
			agent->busy[frame.session] = agent->close_due[frame.session] = false;
		return true;
	}
	result = agent_client_take(client, frame, bytes);
	/* One that is over has nothing to be told when it is dropped. */
	if (result != -EPROTO && frame.type == FRAME_EXIT)
		agent->busy[frame.session] = false;
	if (result == -EPIPE)
		drop_client(agent, frame.session);
	return result != -EPROTO;
}

static size_t agent_receive(struct port *port, void *opaque, const void *data, size_t length)
{
	struct agent *agent = opaque;
	const uint8_t *bytes = data;

	(void)port;
	for (size_t at = 0; at < length;) {
		struct frame frame = { .length = 0 };
		size_t wanted = FRAME_HEADER, piece;

		if (agent->in_length >= FRAME_HEADER && frame_decode(agent->in, &frame))
			wanted += frame.length;
		piece = MIN(wanted - agent->in_length, length - at);
		memcpy(agent->in + agent->in_length, bytes + at, piece);
		agent->in_length += piece;
		at += piece;
		if (agent->in_length < FRAME_HEADER)
			continue;
		if (!frame_decode(agent->in, &frame)) {
			give_up(agent);
			return length;
		}
		if (agent->in_length < FRAME_HEADER + (size_t)frame.length)
			continue;
		agent->in_length = 0;
		if (!take_frame(agent, frame, agent->in + FRAME_HEADER)) {
			give_up(agent);
			return length;
		}
	}
	pump(agent);
	return length;
}

static void agent_opened(struct port *port, void *opaque)
{
	struct agent *agent = opaque;

	(void)port;
	forget_all(agent);
	agent->reset_due = true;
	pump(agent);
}

static void agent_closed(struct port *port, void *opaque)
{
	(void)port;
	forget_all(opaque);
}

static void agent_writable(struct port *port, void *opaque)
{
	(void)port;
	pump(opaque);
}

static const struct port_ops agent_ops = {
	.opened = agent_opened, .closed = agent_closed, .receive = agent_receive, .writable = agent_writable,
};

/* ---- with the VM ---- */

int agent_add(struct kvm *kvm)
{
	struct agent *agent = calloc(1, sizeof(*agent));
	int result;

	if (!agent)
		return log_errno(ENOMEM, "port '%s'", FRAME_PORT);
	event_timer_init(kvm->loop, &agent->again, agent_again);
	result = kvm_set_state(kvm, &agent_key, agent);
	if (!result)
		result = port_create(kvm, FRAME_PORT, &agent_ops, agent, &agent->port);
	if (result) {
		(void)!kvm_set_state(kvm, &agent_key, NULL);
		free(agent);
		return result;
	}
	port_open(agent->port);
	return 0;
}

void agent_remove(struct kvm *kvm)
{
	struct agent *agent = kvm_get_state(kvm, &agent_key);

	event_timer_cancel(&agent->again);
	for (unsigned int i = 0; i < FRAME_SESSIONS; i++)
		drop_client(agent, i);
	port_destroy(agent->port);
	(void)!kvm_set_state(kvm, &agent_key, NULL);
	free(agent);
}

static int agent_init(struct kvm *kvm)
{
	return guest_command_root(kvm) ? agent_add(kvm) : INIT_SKIP;
}
dev_init(agent_init);

static void agent_exit(struct kvm *kvm)
{
	agent_remove(kvm);
}
dev_exit(agent_exit);

/* ---- clients, by the control socket ---- */

static int free_number(const struct agent *agent)
{
	for (unsigned int i = 0; i < FRAME_SESSIONS; i++)
		if (!agent->clients[i] && !agent->busy[i])
			return (int)i;
	return -EBUSY;
}

static int exec_begin(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const struct agent *agent = kvm_get_state(kvm, &agent_key);

	(void)arguments;
	if (!agent || free_number(agent) < 0) {
		*error = strdup(agent ? "the guest runs as many commands as it can already" :
					"there is no agent in this guest (it has to be started by lkvm run -- COMMAND, or with --systemd)");
		return agent ? -EBUSY : -ENOTSUP;
	}
	*result = json_pack("{s:s}", "root", guest_command_root(kvm));
	return *result ? 0 : -ENOMEM;
}

int agent_take(struct kvm *kvm, int fd)
{
	struct agent *agent = kvm_get_state(kvm, &agent_key);
	int number = agent ? free_number(agent) : -ENOTSUP;

	if (number < 0) {
		close(fd);
		return number;
	}
	agent->clients[number] = agent_client_add(agent, kvm->loop, (uint16_t)number, fd);
	return agent->clients[number] ? 0 : -ENOMEM;
}

static void exec_take(struct kvm *kvm, int fd)
{
	/* The client finds its connection closed. */
	(void)!agent_take(kvm, fd);
}

static struct qmp_command exec_command = {
	.name = "x-lkvm-exec", .help = "The connection becomes that of a command in the guest (lkvm exec)", .returns = "any",
	.run = exec_begin,
	.take = exec_take,
};
QMP_COMMAND(exec_command);
