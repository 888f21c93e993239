/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices in root ports' slots; see kvm/plug.h. They come with their back open already, so that an image that can't be had
 * costs the guest nothing; they go when the guest has switched their slot off, was reset, or nobody asks it.
 *
 * The option --plug says what is in which slot, and is changed with it: a snapshot has the machine as it is then.
 */
#include "kvm/plug.h"

#include <stdio.h>
#include <string.h>

#include "kvm/control.h"
#include "kvm/kvm-cpu.h"
#include "kvm/migrate.h"
#include "kvm/pci-port.h"
#include "kvm/virtio.h"

static const char plugs_key[] = "plugged devices";
static REGISTRY struct plug_kind *registered_plug_kinds;

struct plugs {
	struct plug *first;
};

REGISTERS void plug_kind_register(struct plug_kind *kind)
{
	kind->next = registered_plug_kinds;
	registered_plug_kinds = kind;
}

static const struct plug_kind *kind_find(const char *option, size_t length)
{
	const struct plug_kind *kind = registered_plug_kinds;

	while (kind && (strlen(kind->option) != length || strncmp(kind->option, option, length) != 0))
		kind = kind->next;
	return kind;
}

struct plug *plug_first(struct kvm *kvm)
{
	struct plugs *plugs = kvm_get_state(kvm, plugs_key);

	return plugs ? plugs->first : NULL;
}

struct plug *plug_find(struct kvm *kvm, const char *id)
{
	struct plug *plug = plug_first(kvm);

	while (plug && (!plug->id || strcmp(plug->id, id) != 0))
		plug = plug->next;
	return plug;
}

struct plug *plug_find_node(struct kvm *kvm, const char *node)
{
	struct plug *plug = plug_first(kvm);

	while (plug && (!plug->node || strcmp(plug->node, node) != 0))
		plug = plug->next;
	return plug;
}

const char *plug_state_name(enum plug_state state)
{
	static const char *const names[] = {
		[PLUG_OUT] = "out", [PLUG_IN] = "in", [PLUG_ASKED] = "asked", [PLUG_REFUSED] = "refused",
		[PLUG_UNANSWERED] = "unanswered",
	};

	return names[state];
}

bool plug_id_is_good(const char *id)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", more[] = "0123456789-._";
	size_t length = strlen(id);

	for (size_t i = 0; i < length; i++)
		if (!strchr(letters, id[i]) && (!i || !strchr(more, id[i])))
			return false;
	return length && length <= PLUG_ID_MAX;
}

/* ---- its text ---- */

/* How long the piece up to the next comma is; one that is written twice is part of a value. */
static size_t piece_length(const char *text)
{
	size_t length = strcspn(text, ",");

	while (text[length] == ',' && text[length + 1] == ',')
		length += 2 + strcspn(text + length + 2, ",");
	return length;
}

/* The value of piece @key ("id="), taken out of @text, which is changed; NULL: there is none, or no memory. */
static char *text_take(char *text, const char *key)
{
	char *at = text;

	/* the first piece is no setting: an image, a mode */
	for (size_t length = piece_length(at); at[length]; length = piece_length(at)) {
		char *value, *end;

		at += length + 1;
		if (strncmp(at, key, strlen(key)) != 0)
			continue;
		end = at + piece_length(at);
		value = strndup(at + strlen(key), (size_t)(end - at) - strlen(key));
		memmove(at - 1, end, strlen(end) + 1);
		return value;
	}
	return NULL;
}

static int plug_take_port(struct plug *plug)
{
	_cleanup_free_ char *text = text_take(plug->text, "port=");
	uint64_t index;

	plug->port_index = PLUG_PORT_ANY;
	if (!text)
		return 0;
	if (parse_uint(text, &index) || index >= pci_ports_count(plug->kvm))
		return log_error(EUSAGE, "option --%s: port=%s is none of the %u root ports, from 0", plug->kind->option, text,
				 pci_ports_count(plug->kvm));
	plug->port_index = (unsigned int)index;
	return 0;
}

static int id_check(struct kvm *kvm, const char *id)
{
	if (!plug_id_is_good(id))
		return log_error(EUSAGE, "'%s' is no name for a device (a letter, then letters, digits, '-', '.' and '_', %d at most)", id,
				 PLUG_ID_MAX);
	return plug_find(kvm, id) ? log_error(EEXIST, "a device is called '%s' already", id) : 0;
}

static int plug_set_id(struct plug *plug, const char *id)
{
	char made[PLUG_ID_MAX];
	int result = id ? id_check(plug->kvm, id) : 0;

	if (result)
		return result;
	for (unsigned int i = 0; !id; i++) {
		snprintf(made, sizeof(made), "plug%u", i);
		id = plug_find(plug->kvm, made) ? NULL : made;
	}
	plug->id = strdup(id);
	return plug->id ? 0 : log_errno(ENOMEM, "--plug");
}

/* ---- --plug says what is in ---- */

static char *plug_option(const struct plug *plug)
{
	char *option;

	return asprintf(&option, "%s:%s,id=%s,port=%u", plug->kind->option, plug->text, plug->id, plug->port_index) < 0 ? NULL : option;
}

static int plug_record(const struct plug *plug)
{
	_cleanup_free_ char *option = plug->kind->ask ? NULL : plug_option(plug);

	if (plug->kind->ask)
		return 0;
	return option ? config_set(plug->kvm->config, "plug", option) : -ENOMEM;
}

static void plug_unrecord(const struct plug *plug)
{
	_cleanup_free_ char *ending = NULL;
	struct config *config = plug->kvm->config;

	if (asprintf(&ending, ",id=%s,port=%u", plug->id, plug->port_index) < 0) {
		ending = NULL;
		return;
	}
	for (size_t i = config_count(config, "plug"); i-- > 0; ) {
		const char *text = config_item(config, "plug", i);

		if (strlen(text) >= strlen(ending) && !strcmp(text + strlen(text) - strlen(ending), ending))
			config_drop_item(config, "plug", i);
	}
}

/* ---- in and out ---- */

/* Before the VM runs no vCPU does; and who has paused it has parked them. */
static bool cpus_hold(struct kvm *kvm)
{
	bool hold = kvm->started_ns && !kvm->pause_depth;

	if (hold)
		kvm_cpus_park(kvm);
	return hold;
}

static void plug_event(struct kvm *kvm, const char *name, const char *id)
{
	control_event(kvm, name, json_pack("{s:s,s:o}", "device", id, "path", json_sprintf("/machine/peripheral/%s", id)));
}

static void plug_free(struct plug *plug)
{
	struct plugs *plugs = kvm_get_state(plug->kvm, plugs_key);
	struct plug **at;

	for (at = &plugs->first; *at && *at != plug; at = &(*at)->next)
		;
	if (*at)
		*at = plug->next;
	event_timer_cancel(&plug->timer);
	free(plug->id);
	free(plug->wanted_id);
	free(plug->text);
	free(plug->node);
	free(plug);
}

void plug_close(struct plug *plug)
{
	if (plug->kind->close)
		plug->kind->close(plug);
	plug_free(plug);
}

/* The front goes. The machine is as if it had never been, but for the guest's memory of it. */
static void plug_take_out(struct plug *plug)
{
	struct kvm *kvm = plug->kvm;
	bool hold = cpus_hold(kvm);

	event_timer_cancel(&plug->timer);
	plug->kind->del(plug);
	plug->device = NULL;
	if (plug->port)
		pci_port_set_client(plug->port, NULL, NULL);
	if (hold)
		kvm_cpus_unpark(kvm);
	plug->port = NULL;
	plug->state = PLUG_OUT;
}

void plug_remove(struct plug *plug)
{
	_cleanup_free_ char *id = plug->id;
	struct kvm *kvm = plug->kvm;

	plug_take_out(plug);
	plug_unrecord(plug);
	plug->id = NULL;
	if (!plug->node)
		plug_close(plug);
	plug_event(kvm, "DEVICE_DELETED", id);
}

static void plug_gone(void *opaque)
{
	plug_remove(opaque);
}

/* As after a power cycle: what its driver had in flight is at rest when the guest may see it again. */
static void plug_off(void *opaque)
{
	struct plug *plug = opaque;
	struct device *device = &plug->device->device;
	bool hold = cpus_hold(plug->kvm);

	device->ops->reset(device);
	if (hold)
		kvm_cpus_unpark(plug->kvm);
	pci_port_settled(plug->port);
}

static void plug_answered(struct plug *plug, enum plug_state state)
{
	event_timer_cancel(&plug->timer);
	plug->state = state;
	plug_event(plug->kvm, "DEVICE_UNPLUG_GUEST_ERROR", plug->id);
}

void plug_refused(struct plug *plug)
{
	if (plug->state == PLUG_ASKED)
		plug_answered(plug, PLUG_REFUSED);
}

static void plug_port_refused(void *opaque)
{
	plug_answered(opaque, PLUG_REFUSED);
}

static void plug_expired(struct event_timer *timer)
{
	struct plug *plug = container_of(timer, struct plug, timer);

	if (plug->port)
		pci_port_ask_no_more(plug->port);
	else
		plug->kind->ask_no_more(plug);
	plug_answered(plug, PLUG_UNANSWERED);
}

static const struct pci_port_client plug_client = { .gone = plug_gone, .off = plug_off, .refused = plug_port_refused };

int plug_ask(struct plug *plug, unsigned int timeout_ms)
{
	if (plug->state == PLUG_ASKED)
		return -EALREADY;
	plug->state = PLUG_ASKED;
	event_timer_set(&plug->timer, event_now_ns() + timeout_ms * 1000000ULL);
	if (plug->port)
		return pci_port_ask(plug->port);
	plug->kind->ask(plug);
	return 0;
}

static int plug_choose_port(struct plug *plug)
{
	unsigned int count = pci_ports_count(plug->kvm), index = plug->port_index;

	if (plug->kind->ask)
		return 0;
	if (index != PLUG_PORT_ANY && (index >= count || !pci_port_is_empty(pci_port(plug->kvm, index))))
		return log_error(ENOSPC, "root port %u has a device already, or is none of the %u that there are", index, count);
	if (index == PLUG_PORT_ANY)
		for (index = 0; index < count && !pci_port_is_empty(pci_port(plug->kvm, index)); index++)
			;
	if (index >= count)
		return log_error(ENOSPC, "all %u root ports have a device (--root-ports: how many there are)", count);
	plug->port_index = index;
	plug->port = pci_port(plug->kvm, index);
	return 0;
}

static int plug_add(struct plug *plug)
{
	bool hold = cpus_hold(plug->kvm);
	int result;

	if (plug->port)
		pci_port_set_client(plug->port, &plug_client, plug);
	result = plug->kind->add(plug);
	if (result && plug->port)
		pci_port_set_client(plug->port, NULL, NULL);
	if (hold)
		kvm_cpus_unpark(plug->kvm);
	return result;
}

int plug_insert(struct plug *plug, const char *id)
{
	int result;

	if (plug->state != PLUG_OUT)
		return log_error(EBUSY, "device '%s' is in a slot", plug->id);
	/* the machine at the other end is made already */
	if (migration_is_active(plug->kvm))
		return log_error(EBUSY, "the VM moves to another process: no device comes now");
	result = plug_set_id(plug, id ? id : plug->wanted_id);
	if (!result)
		result = plug_choose_port(plug);
	if (!result)
		result = plug_add(plug);
	if (!result) {
		plug->state = PLUG_IN;
		result = plug_record(plug);
		if (!result)
			return 0;
		plug_take_out(plug);
	}
	plug->port = NULL;
	free(plug->id);
	plug->id = NULL;
	return result;
}

/* ---- backs ---- */

static int plug_reopen(struct plug *plug)
{
	return plug->kind->open ? plug->kind->open(plug) : 0;
}

int plug_change(struct plug *plug, const char *more)
{
	char *text, *old = plug->text;
	int result;

	if (asprintf(&text, "%s%s%s", old, *more ? "," : "", more) < 0)
		return log_errno(ENOMEM, "--plug");
	if (plug->kind->close)
		plug->kind->close(plug);
	plug->text = text;
	result = plug_reopen(plug);
	if (!result) {
		free(old);
		return 0;
	}
	plug->text = old;
	free(text);
	/* it was open a moment ago; if somebody else has it now, there is no back any more */
	if (plug_reopen(plug)) {
		log_error(EBUSY, "option --%s: '%s' can't be had again", plug->kind->option, old);
		plug_free(plug);
	}
	return result;
}

int plug_open(struct kvm *kvm, const char *option, const char *text, const char *node, struct plug **out)
{
	struct plugs *plugs = kvm_get_state(kvm, plugs_key);
	const struct plug_kind *kind = kind_find(option, strlen(option));
	struct plug *plug;
	int result;

	if (!kind)
		return log_error(EUSAGE, "option --%s: such a device can't be put into a slot", option);
	if (!plugs || (!kind->ask && !pci_ports_count(kvm)))
		return log_error(ENODEV, kind->ask ? "the VM has all the vCPUs that it may have (start it with -c N,max=MORE)" :
				 "the VM has no slots for devices (start it with --root-ports N)");
	plug = calloc(1, sizeof(*plug));
	if (!plug)
		return log_errno(ENOMEM, "--plug");
	plug->kvm = kvm;
	plug->kind = kind;
	event_timer_init(kvm->loop, &plug->timer, plug_expired);
	plug->text = strdup(text);
	plug->node = node ? strdup(node) : NULL;
	plug->next = plugs->first;
	plugs->first = plug;
	result = !plug->text || (node && !plug->node) ? log_errno(ENOMEM, "--plug") : kind->ask ? 0 : plug_take_port(plug);
	if (!result) {
		plug->wanted_id = text_take(plug->text, "id=");
		result = plug_reopen(plug);
	}
	if (result)
		plug_free(plug);
	else
		*out = plug;
	return result;
}

/* ---- what is in from the start ---- */

static int plug_from_option(struct kvm *kvm, const char *text)
{
	size_t length = strcspn(text, ":");
	_cleanup_free_ char *option = strndup(text, length);
	struct plug *plug;
	int result;

	if (!option)
		return log_errno(ENOMEM, "--plug");
	if (text[length] != ':')
		return log_error(EUSAGE, "option --plug: '%s' names no kind of device (say disk:FILE,id=NAME, network:user, rng:)", text);
	result = plug_open(kvm, option, text + length + 1, NULL, &plug);
	if (result)
		return result;
	result = plug_insert(plug, NULL);
	if (result)
		plug_close(plug);
	return result;
}

/* Each is recorded as it is put in: what was said goes. */
static int plugs_add_all(struct kvm *kvm)
{
	size_t count = config_count(kvm->config, "plug");
	int result = 0;

	while (count-- && !result) {
		_cleanup_free_ char *text = strdup(config_item(kvm->config, "plug", 0));

		config_drop_item(kvm->config, "plug", 0);
		result = text ? plug_from_option(kvm, text) : log_errno(ENOMEM, "--plug");
	}
	return result;
}

static void plugs_free(struct kvm *kvm, struct plugs *plugs)
{
	for (struct plug *plug = plugs->first, *next; plug; plug = next) {
		next = plug->next;
		if (plug->state != PLUG_OUT)
			plug_take_out(plug);
		plug_close(plug);
	}
	if (!kvm_set_state(kvm, plugs_key, NULL))
		free(plugs);
}

static void plugs_exit(struct kvm *kvm)
{
	plugs_free(kvm, kvm_get_state(kvm, plugs_key));
}

static int plugs_init(struct kvm *kvm)
{
	struct plugs *plugs;
	int result;

	if (!pci_ports_count(kvm) && config_count(kvm->config, "plug"))
		return log_error(EUSAGE, "option --plug: there are no slots (add --root-ports N)");
	if (!pci_ports_count(kvm) && !kvm->cpu_plug)
		return INIT_SKIP;
	plugs = calloc(1, sizeof(*plugs));
	if (!plugs)
		return log_errno(ENOMEM, "--plug");
	result = kvm_set_state(kvm, plugs_key, plugs);
	if (result) {
		free(plugs);
		return result;
	}
	result = plugs_add_all(kvm);
	if (result)
		plugs_free(kvm, plugs);
	return result;
}

static const struct option_def plugs_options[] = {
	{ .name = "plug", .type = OPTION_LIST, .argument = "KIND:TEXT[,id=NAME][,port=N]",
	  .help = "A device in a root port's slot, which can be taken out again: KIND is disk, network or rng, TEXT that option's" },
};
RUN_OPTIONS(plugs_options_group, "Device options", plugs_options);

virtio_dev_init(plugs_init);
virtio_dev_exit(plugs_exit);
