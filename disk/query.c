/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QMP's query-block and query-named-block-nodes: the disks as clients of QEMU know them. Main thread; what a disk's loop
 * owns is looked at there.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "disk/disks.h"
#include "disk/engine.h"
#include "disk/file.h"
#include "disk/limits.h"
#include "kvm/control.h"

struct query {
	struct disk *disk;
	struct disk_limits limits;
	json_t *image;
};

/* The file and, in it, what lies behind. */
static json_t *describe_image(const struct disk *disk)
{
	json_t *image = json_pack("{s:s,s:s,s:I,s:b}", "filename", disk->file->path, "format", disk->format->name, "virtual-size",
				  (json_int_t)disk->info.size, "dirty-flag", 0);
	struct stat status;

	if (!disk->file->remote_ops && !fstat(disk->file->fd, &status))
		json_object_set_new(image, "actual-size", json_integer((json_int_t)status.st_blocks * 512));
	if (disk->backing && disk->backing->file) {
		json_object_set_new(image, "backing-filename", json_string(disk->backing->file->path));
		json_object_set_new(image, "backing-filename-format", json_string(disk->backing->format->name));
		json_object_set_new(image, "backing-image", describe_image(disk->backing));
	}
	return image;
}

static void query_on_loop(void *opaque)
{
	struct query *query = opaque;
	const struct disk_limits *limits = disk_throttle_limits(query->disk);

	query->image = describe_image(query->disk);
	if (limits)
		query->limits = *limits;
}

static unsigned int depth_of(const struct disk *disk)
{
	unsigned int depth = 0;

	for (; disk->backing; disk = disk->backing)
		depth++;
	return depth;
}

static void set_limits(json_t *node, const char *kind, const struct disk_limit *limits)
{
	static const char *const suffixes[DISK_LIMIT_KINDS] = { "", "_rd", "_wr" };

	for (size_t i = 0; i < DISK_LIMIT_KINDS; i++) {
		char key[24];

		snprintf(key, sizeof(key), "%s%s", kind, suffixes[i]);
		json_object_set_new(node, key, json_integer((json_int_t)limits[i].rate));
		snprintf(key, sizeof(key), "%s%s_max", kind, suffixes[i]);
		if (limits[i].max)
			json_object_set_new(node, key, json_integer((json_int_t)limits[i].max));
	}
}

static json_t *describe_node(struct disk *disk, const char *name)
{
	struct query query = { .disk = disk };
	json_t *node;

	if (disk->engine->loop)
		event_loop_call(disk->engine->loop, query_on_loop, &query);
	else
		query_on_loop(&query);
	node = json_pack("{s:s,s:s,s:b,s:s,s:b,s:i,s:s,s:i,s:o}", "file", disk->file->path, "node-name", name, "ro", disk->info.read_only,
			 "drv", disk->format->name, "encrypted", 0, "backing_file_depth", (int)depth_of(disk), "detect_zeroes", "off",
			 "write_threshold", 0, "image", query.image);
	json_object_set_new(node, "cache", json_pack("{s:b,s:b,s:b}", "writeback", !disk->info.write_through, "direct",
						     disk->file->direct, "no-flush", disk->file->no_flush));
	if (disk->backing && disk->backing->file)
		json_object_set_new(node, "backing_file", json_string(disk->backing->file->path));
	set_limits(node, "bps", query.limits.bytes);
	set_limits(node, "iops", query.limits.ops);
	return node;
}

void disks_label(struct kvm *kvm, size_t index, char *name, size_t size)
{
	const struct disks_item *item = disks_of(kvm)->items[index];

	if (item->id)
		snprintf(name, size, "%s", item->id);
	else
		snprintf(name, size, "disk%zu", index);
}

static json_t *describe_device(struct kvm *kvm, size_t index)
{
	struct disk *disk = disks_get(kvm, index);
	const struct disk_owner *owner = disk_owner(disk);
	bool drive = owner && owner->drive;
	char name[DISKS_LABEL_SIZE];
	json_t *device;

	disks_label(kvm, index, name, sizeof(name));
	device = json_pack("{s:s,s:s*,s:s,s:b,s:b}", "device", name, "qdev", owner ? owner->name : NULL, "type", "unknown", "locked", 0,
			   "removable", drive);
	if (drive)
		json_object_set_new(device, "tray_open", json_boolean(owner->drive->tray_is_open((struct disk_owner *)(uintptr_t)owner)));
	if (atomic_load(&disk->errors.kept_count))
		json_object_set_new(device, "io-status", json_string("failed"));
	else if (!drive)
		json_object_set_new(device, "io-status", json_string("ok"));
	if (!disk->info.no_medium)
		json_object_set_new(device, "inserted", describe_node(disk, name));
	return device;
}

static int query_block(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)arguments;
	(void)error;
	*result = json_array();
	for (size_t i = 0; i < disks_count(kvm); i++)
		json_array_append_new(*result, describe_device(kvm, i));
	return *result ? 0 : -ENOMEM;
}

static struct qmp_command query_block_command = {
	.name = "query-block", .help = "The disks, and what is in them", .returns = "[any]", .run = query_block };
QMP_COMMAND(query_block_command);

static int query_nodes(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)arguments;
	(void)error;
	*result = json_array();
	for (size_t i = 0; i < disks_count(kvm); i++) {
		struct disk *disk = disks_get(kvm, i);
		char name[DISKS_LABEL_SIZE];

		disks_label(kvm, i, name, sizeof(name));
		if (!disk->info.no_medium)
			json_array_append_new(*result, describe_node(disk, name));
	}
	return *result ? 0 : -ENOMEM;
}

static const char *const nodes_arguments[] = { "flat?:bool", NULL };
static struct qmp_command query_nodes_command = {
	.name = "query-named-block-nodes", .help = "The images in front that are open", .arguments = nodes_arguments,
	.returns = "[any]", .run = query_nodes };
QMP_COMMAND(query_nodes_command);
