/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QMP's device_add and device_del, blockdev-add and -del, netdev_add and _del, for devices in root ports' slots, with QEMU's
 * names as far as they have a meaning here; and under names of our own, what `lkvm device` says and shows. Main thread.
 */
#include <stdio.h>
#include <string.h>

#include "control-internal.h"
#include "kvm/log.h"
#include "kvm/migrate.h"
#include "kvm/plug.h"

static const char *get_text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* ---- what was said while something was tried: the client's answer ---- */

int qmp_said(char **error, int result)
{
	const char *line = log_first_error();

	return result ? qmp_fail(error, -result, "%s", *line ? line : strerrordesc_np(-result)) : 0;
}

/* ---- texts of options ---- */

/* ",key=value", or only the value without a key, with its commas doubled. */
static void put(FILE *file, const char *key, const char *value)
{
	if (!value)
		return;
	if (key)
		fprintf(file, ",%s=", key);
	for (; *value; value++)
		fprintf(file, *value == ',' ? ",," : "%c", *value);
}

/* Closes @file; NULL: no memory. */
static char *text_done(FILE *file, char **text)
{
	if (file && !fclose(file))
		return *text;
	free(*text);
	return *text = NULL;
}

/* ---- lkvm device ---- */

static int x_lkvm_device_add(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *option = get_text(arguments, "option"), *text = get_text(arguments, "text");
	struct plug *plug;
	int status;

	if (!option || !text)
		return qmp_fail(error, EINVAL, "Parameters 'option' and 'text' have to be strings");
	log_forget_error();
	status = plug_open(kvm, option, text, NULL, &plug);
	if (status)
		return qmp_said(error, status);
	status = plug_insert(plug, NULL);
	if (status) {
		qmp_said(error, status);
		plug_close(plug);
		return status;
	}
	*result = json_pack("{s:s,s:i}", "id", plug->id, "port", (int)plug->port_index);
	return 0;
}

static json_t *describe(const struct plug *plug)
{
	json_t *port = plug->state != PLUG_OUT ? json_integer(plug->port_index) : NULL;

	return json_pack("{s:s*,s:s*,s:s,s:s,s:s,s:o*}", "id", plug->id, "node", plug->node, "option", plug->kind->option, "text",
			 plug->text, "state", plug_state_name(plug->state), "port", port);
}

static int x_lkvm_query_devices(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)arguments;
	(void)error;
	*result = json_array();
	for (const struct plug *plug = plug_first(kvm); plug; plug = plug->next)
		json_array_insert_new(*result, 0, describe(plug));
	return *result ? 0 : -ENOMEM;
}

/* ---- devices ---- */

static int device_del(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const json_t *timeout = json_object_get(arguments, "x-timeout-ms");
	json_int_t timeout_ms = timeout ? json_integer_value(timeout) : PLUG_TIMEOUT_MS;
	const char *id = get_text(arguments, "id");
	struct plug *plug = id ? plug_find(kvm, id) : NULL;

	(void)result;
	if (!id)
		return qmp_fail(error, EINVAL, "Parameter 'id' is missing");
	if (!plug)
		return qmp_fail(error, ENODEV, "Device '%s' not found", id);
	if (migration_is_active(kvm))
		return qmp_fail(error, EBUSY, "The VM moves to another process: no device goes now");
	if (timeout_ms <= 0 || timeout_ms > 3600000)
		return qmp_fail(error, EINVAL, "Parameter 'x-timeout-ms' is from 1 to 3600000");
	if (json_is_true(json_object_get(arguments, "x-force"))) {
		plug_remove(plug);
		return 0;
	}
	return plug_ask(plug, (unsigned int)timeout_ms) ?
	       qmp_fail(error, EALREADY, "Device '%s' is already in the process of unplug", plug->id) : 0;
}

/* What is said of a device that belongs to its back here. */
static char *device_more(const json_t *arguments, bool disk)
{
	static const struct { const char *key, *ours; bool disk; } keys[] = {
		{ "serial", "serial", true }, { "iothread", "iothread", true }, { "mac", "guest_mac", false },
	};
	const json_t *queues = json_object_get(arguments, "num-queues");
	char *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);

	for (size_t i = 0; file && i < ARRAY_SIZE(keys); i++)
		if (keys[i].disk == disk)
			put(file, keys[i].ours, get_text(arguments, keys[i].key));
	if (file && disk && queues)
		fprintf(file, ",queues=%lld", (long long)json_integer_value(queues));
	return text_done(file, &text);
}

/* "virtio-blk-pci" and "virtio-blk" are one. */
static bool driver_is(const char *driver, const char *name)
{
	size_t length = strlen(name);

	return !strncmp(driver, name, length) && (!driver[length] || !strcmp(driver + length, "-pci"));
}

static int find_back(struct kvm *kvm, const json_t *arguments, const char *key, const char *option, struct plug **plug, char **error)
{
	const char *node = get_text(arguments, key);

	if (!node)
		return qmp_fail(error, EINVAL, "Parameter '%s' is missing", key);
	*plug = plug_find_node(kvm, node);
	if (!*plug || strcmp((*plug)->kind->option, option) != 0)
		return qmp_fail(error, ENODEV, "Property '%s' can't find value '%s'", key, node);
	return (*plug)->state == PLUG_OUT ? 0 : qmp_fail(error, EBUSY, "'%s' is in use by device '%s'", node, (*plug)->id);
}

#define BUS_NAME	"root-port"

/* Its settings first, since a back is opened by them; a slot by its name, if one is said. */
static int insert(struct plug *plug, const json_t *arguments, const char *id, char **error)
{
	const char *bus = get_text(arguments, "bus");
	_cleanup_free_ char *more = device_more(arguments, !strcmp(plug->kind->option, "disk"));
	uint64_t index = 0;
	int status;

	plug->port_index = PLUG_PORT_ANY;
	if (bus && (strncmp(bus, BUS_NAME, strlen(BUS_NAME)) != 0 || parse_uint(bus + strlen(BUS_NAME), &index) < 0 ||
		    index >= PLUG_PORT_ANY))
		return qmp_fail(error, EINVAL, "Bus '%s' not found (say root-port0 for the first)", bus);
	if (bus)
		plug->port_index = (unsigned int)index;
	if (!more)
		return -ENOMEM;
	status = *more ? plug_change(plug, more + 1) : 0;
	return qmp_said(error, status ? status : plug_insert(plug, id));
}

static int device_add(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *driver = get_text(arguments, "driver"), *id = get_text(arguments, "id");
	struct plug *plug = NULL;
	int status = 0;

	(void)result;
	if (!driver)
		return qmp_fail(error, EINVAL, "Parameter 'driver' is missing");
	log_forget_error();
	if (driver_is(driver, "virtio-blk"))
		status = find_back(kvm, arguments, "drive", "disk", &plug, error);
	else if (driver_is(driver, "virtio-net"))
		status = find_back(kvm, arguments, "netdev", "network", &plug, error);
	else if (!strcmp(driver, QMP_CPU_DRIVER))
		return qmp_cpu_insert(kvm, arguments, id, error);
	else if (!driver_is(driver, "virtio-rng"))
		return qmp_fail(error, EINVAL, "'%s' is not a device that can be plugged in (virtio-blk-pci, virtio-net-pci, virtio-rng-pci "
			    "and " QMP_CPU_DRIVER " are)", driver);
	if (status)
		return status;
	if (plug)
		return insert(plug, arguments, id, error);
	status = qmp_said(error, plug_open(kvm, "rng", "", NULL, &plug));
	if (status)
		return status;
	status = insert(plug, arguments, id, error);
	if (status)
		plug_close(plug);
	return status;
}

/* ---- backs ---- */

static int back_add(struct kvm *kvm, const char *option, const char *text, const char *node, char **error)
{
	struct plug *plug;

	if (!text)
		return -ENOMEM;
	if (!plug_id_is_good(node))
		return qmp_fail(error, EINVAL, "'%s' is no name: a letter, then letters, digits, '-', '.' and '_'", node);
	if (plug_find_node(kvm, node))
		return qmp_fail(error, EEXIST, "Duplicate name '%s'", node);
	log_forget_error();
	return qmp_said(error, plug_open(kvm, option, text, node, &plug));
}

static int back_del(struct kvm *kvm, const char *option, const char *node, char **error)
{
	struct plug *plug = node ? plug_find_node(kvm, node) : NULL;

	if (!plug || strcmp(plug->kind->option, option) != 0)
		return qmp_fail(error, ENOENT, "Failed to find '%s'", node ? node : "");
	if (plug->state != PLUG_OUT)
		return qmp_fail(error, EBUSY, "'%s' is in use by device '%s'", node, plug->id);
	plug_close(plug);
	return 0;
}

/* The members that a file's node and a format's have in common, of the outer one first. */
static char *disk_text(const json_t *node, const json_t *file_node, const char *path)
{
	const char *driver = get_text(node, "driver");
	const json_t *cache = json_object_get(node, "cache");
	const char *aio = get_text(file_node, "aio");
	char *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);

	if (!file)
		return NULL;
	cache = cache ? cache : json_object_get(file_node, "cache");
	put(file, NULL, path);
	put(file, "format", !strncmp(driver, "file", 4) || !strncmp(driver, "host_", 5) ? "raw" : driver);
	if (json_is_true(json_object_get(node, "read-only")))
		fputs(",ro", file);
	if (json_is_true(json_object_get(cache, "no-flush")))
		fputs(",cache=unsafe", file);
	else if (json_is_true(json_object_get(cache, "direct")))
		fputs(",cache=none", file);
	put(file, "aio", aio);
	return text_done(file, &text);
}

static int blockdev_add(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *driver = get_text(arguments, "driver"), *node = get_text(arguments, "node-name"), *path;
	const json_t *file = json_object_get(arguments, "file");
	_cleanup_free_ char *text = NULL;

	(void)result;
	if (!driver || !node)
		return qmp_fail(error, EINVAL, "Parameter '%s' is missing", driver ? "node-name" : "driver");
	if (json_is_string(file))
		return qmp_fail(error, ENOTSUP, "Parameter 'file' has to be an object here: nodes of files have no names of their own");
	file = file ? file : arguments;
	path = get_text(file, "filename");
	if (!path || !*path)
		return qmp_fail(error, EINVAL, "Parameter 'filename' is missing");
	text = disk_text(arguments, file, path);
	return back_add(kvm, "disk", text, node, error);
}

static int blockdev_del(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)result;
	return back_del(kvm, "disk", get_text(arguments, "node-name"), error);
}

static char *network_text(const json_t *arguments, const char *type)
{
	const json_t *forwards = json_object_get(arguments, "hostfwd"), *forward;
	char *text = NULL;
	size_t length, i;
	FILE *file = open_memstream(&text, &length);

	if (!file)
		return NULL;
	put(file, NULL, type);
	json_array_foreach((json_t *)forwards, i, forward)
		put(file, "hostfwd", json_is_string(forward) ? json_string_value(forward) : get_text(forward, "str"));
	put(file, "tapif", get_text(arguments, "ifname"));
	put(file, "script", get_text(arguments, "script"));
	put(file, "downscript", get_text(arguments, "downscript"));
	if (json_is_true(json_object_get(arguments, "vhost")))
		fputs(",vhost=1", file);
	return text_done(file, &text);
}

static int netdev_add(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *type = get_text(arguments, "type"), *id = get_text(arguments, "id");
	_cleanup_free_ char *text = NULL;

	(void)result;
	if (!type || !id)
		return qmp_fail(error, EINVAL, "Parameter '%s' is missing", type ? "id" : "type");
	text = network_text(arguments, type);
	return back_add(kvm, "network", text, id, error);
}

static int netdev_del(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)result;
	return back_del(kvm, "network", get_text(arguments, "id"), error);
}

#define PLUG_COMMAND(function, name_, help_, ...)						\
	static const char *const function##_arguments[] = { __VA_ARGS__, NULL };		\
	static struct qmp_command function##_command = {					\
		.name = (name_), .help = (help_), .arguments = function##_arguments, .run = (function) };	\
	QMP_COMMAND(function##_command)

PLUG_COMMAND(device_add, "device_add", "Put a device into a root port's slot", "driver:str", "id?:str", "bus?:str", "drive?:str", "netdev?:str",
	     "serial?:str", "iothread?:str", "num-queues?:int", "mac?:str", "socket-id?:int", "die-id?:int",
	     "cluster-id?:int", "core-id?:int", "thread-id?:int");
PLUG_COMMAND(device_del, "device_del", "Ask the guest to let go of a device in a slot", "id:str", "x-timeout-ms?:int",
	     "x-force?:bool");
PLUG_COMMAND(blockdev_add, "blockdev-add", "Open an image for a device that comes", "driver:str", "node-name:str", "file?", "filename?:str",
	     "read-only?:bool", "auto-read-only?:bool", "cache?", "aio?:str", "discard?:str", "detect-zeroes?:str");
PLUG_COMMAND(blockdev_del, "blockdev-del", "Close an image that no device has", "node-name:str");
PLUG_COMMAND(netdev_add, "netdev_add", "Open a network for a device that comes", "type:str", "id:str", "hostfwd?:[any]", "ifname?:str",
	     "script?:str", "downscript?:str", "vhost?:bool");
PLUG_COMMAND(netdev_del, "netdev_del", "Close a network that no device has", "id:str");
PLUG_COMMAND(x_lkvm_device_add, "x-lkvm-device-add", "Put a device into a slot, by an option of lkvm run", "option:str", "text:str");
static struct qmp_command query_devices_command = {
	.name = "x-lkvm-query-devices", .help = "What is in the slots, and what waits to be", .returns = "[any]", .run = x_lkvm_query_devices };
QMP_COMMAND(query_devices_command);
