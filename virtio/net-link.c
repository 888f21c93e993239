/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QMP's set_link: pulls a network device's cable, and puts it back.
 */
#include <string.h>

#include "kvm/control.h"
#include "net.h"

struct link_call {
	struct net *net;
	bool up;
};

static void link_on_loop(void *opaque)
{
	const struct link_call *call = opaque;

	net_unplug(call->net, !call->up);
}

static int set_link(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *name = json_string_value(json_object_get(arguments, "name"));
	const json_t *up = json_object_get(arguments, "up");
	struct link_call call = { .up = json_is_true(up) };

	(void)result;
	call.net = net_find(kvm, name);
	if (!call.net) {
		*error = strdup("there is no network device of this name (the first one is virtio-net0)");
		return -ENOENT;
	}
	event_loop_call(call.net->device.loop, link_on_loop, &call);
	return 0;
}

static const char *const set_link_arguments[] = { "name:str", "up:bool", NULL };

static struct qmp_command set_link_command = {
	.name = "set_link", .help = "Takes a network device's link down or up", .arguments = set_link_arguments, .run = set_link,
};
QMP_COMMAND(set_link_command);
