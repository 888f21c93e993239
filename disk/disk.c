/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks: opening, choosing the format, and the way of requests from a device to the format.
 *
 * A disk is opened on the main thread and then owned by the loop that it is attached to.
 */
#include "kvm/disk.h"

#include <string.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "disk/limits.h"
#include "disk/remote.h"
#include "kvm/log.h"
#include "kvm/option.h"

static REGISTRY struct disk_format_item *disk_formats;

REGISTERS void disk_format_register(struct disk_format_item *item)
{
	item->next = disk_formats;
	disk_formats = item;
}

static bool format_is_called(const struct disk_format *format, const char *name)
{
	return *name && (!strcmp(format->name, name) || (format->alias && !strcmp(format->alias, name)));
}

const struct disk_format *disk_format_find(const char *name)
{
	for (struct disk_format_item *item = disk_formats; item; item = item->next)
		if (format_is_called(item->format, name))
			return item->format;
	return NULL;
}

/* ---- opening ---- */

const struct disk_format *disk_probe(const uint8_t *head)
{
	const struct disk_format *format = NULL;
	int best = 0;

	for (struct disk_format_item *item = disk_formats; item; item = item->next) {
		int sure = item->format->probe(head, DISK_HEAD_BYTES);

		if (sure > best) {
			best = sure;
			format = item->format;
		}
	}
	return format;
}

static int disk_choose_format(struct disk *disk, const char *name)
{
	uint8_t head[DISK_HEAD_BYTES] = { 0 };
	int result = name ? 0 : disk_file_read(disk->file, 0, head, sizeof(head));

	if (result)
		return log_errno(result, "disk '%s': can't be read", disk->file->path);
	disk->format = name ? disk_format_find(name) : disk_probe(head);
	disk->guessed = !name;
	return disk->format ? 0 : log_error(EUSAGE, "disk '%s': format '%s' is not known (say raw, qcow2, vhd, vhdx or vmdk)",
						   disk->file->path, name ? name : "?");
}

/* An image that was only guessed to be one may be the work of a guest: it must not lead to the host's other files. */
static int disk_confine(struct disk *disk, const char *beneath)
{
	char *slash;

	if (disk->parent && disk->parent->folder)
		beneath = disk->parent->folder;
	if (beneath) {
		disk->folder = strdup(beneath);
		return disk->folder ? 0 : -ENOMEM;
	}
	if (!disk->guessed || disk->backing_any)
		return 0;
	/* A server's image is in no folder of ours: no file is beneath this one. */
	if (disk->file->remote_ops) {
		disk->folder = strdup("//");
		return disk->folder ? 0 : -ENOMEM;
	}
	disk->folder = disk_file_real_path(disk->file);
	slash = disk->folder ? strrchr(disk->folder, '/') : NULL;
	if (!slash)
		return log_error(EIO, "disk '%s': can't tell which folder it is in (is /proc mounted?)", disk->file->path);
	slash[slash == disk->folder] = 0;
	return 0;
}

static int disk_open_file(struct disk *disk, const struct disk_options *options)
{
	const struct disk_file_options file_options = {
		.path = options->path, .shown = options->shown, .read_only = options->read_only && !options->repair, .direct = options->direct,
		.no_flush = options->no_flush, .beneath = disk->parent ? disk->parent->folder : options->beneath,
	};
	int result = disk_file_open(&disk->file, &file_options);

	if (result)
		return result;
	disk->info.size = disk->file->size;
	disk->info.block_size = disk->file->block_size;
	disk->info.physical_block_size = disk->file->physical_block_size;
	return 0;
}

/* With all that an image has no part in. */
static struct disk *disk_make(const struct disk_options *options, const struct disk *parent)
{
	struct disk *disk = calloc(1, sizeof(*disk));

	if (!disk)
		return NULL;
	disk->engine = parent ? parent->engine : &disk->own_engine;
	disk->own_engine.wanted = options->aio;
	disk->parent = parent;
	disk->direct = options->direct;
	disk->backing_any = options->backing_any;
	disk->alone = options->alone;
	disk->queued_tail = &disk->queued;
	disk->errors.kept_tail = &disk->errors.kept;
	disk->info.read_only = options->read_only;
	disk->info.write_through = options->write_through;
	if (options->serial)
		strncpy(disk->info.serial, options->serial, sizeof(disk->info.serial) - 1);
	if (!disk_throttle_set(disk, &options->limits))
		return disk;
	free(disk);
	return NULL;
}

static int disk_open_nothing(struct disk **out, const struct disk_options *options)
{
	struct disk *disk = disk_make(options, NULL);

	if (!disk)
		return log_errno(ENOMEM, "a drive without a medium");
	disk->format = &disk_no_medium_format;
	disk->info.no_medium = true;
	disk->info.block_size = disk->info.physical_block_size = 512;
	*out = disk;
	return 0;
}

int disk_open(struct disk **out, const struct disk_options *options)
{
	if (!*options->path)
		return disk_open_nothing(out, options);
	return options->throw_away || options->overlay ? disk_open_overlay(out, options) : disk_open_chained(out, options, NULL);
}

int disk_open_chained(struct disk **out, const struct disk_options *options, const struct disk *parent)
{
	struct disk *disk = disk_make(options, parent);
	int result;

	if (!disk)
		return log_errno(ENOMEM, "disk '%s'", options->path);
	result = disk_open_file(disk, options);
	if (!result)
		result = disk_choose_format(disk, options->format);
	if (!result)
		result = disk_confine(disk, options->beneath);
	if (!result && options->snapshot && (!disk->format->snapshots || !options->read_only))
		result = log_error(EUSAGE, "disk '%s': %s", options->path, disk->format->snapshots ?
				   "a snapshot can be read only (add ',ro')" : "has no snapshots, as its format has none");
	disk->snapshot = options->snapshot;
	if (!result)
		result = disk->format->open(disk);
	disk->snapshot = NULL;
	if (result) {
		disk->format = NULL;
		disk_close(disk);
		return result;
	}
	*out = disk;
	return 0;
}

void disk_close(struct disk *disk)
{
	if (!disk)
		return;
	if (disk->format && disk->format->close)
		disk->format->close(disk);
	disk_close(disk->backing);
	disk_file_close(disk->file);
	disk_throttle_free(disk);
	free(disk->folder);
	free(disk);
}

const struct disk_info *disk_info(const struct disk *disk)
{
	return &disk->info;
}

/* ---- requests ---- */

static void disk_start_on_loop(void *opaque)
{
	struct disk *disk = opaque;
	struct disk_engine *engine = disk->engine;

	if (disk_engine_start(engine)) {
		engine->loop = NULL;
		return;
	}
	for (; disk; disk = disk->backing) {
		if (!disk->file || !disk->file->remote_ops)
			continue;
		engine->remote_ops = disk->file->remote_ops;
		engine->remote_ops->attach(engine, disk->file);
	}
}

int disk_attach(struct disk *disk, struct event_loop *loop, void (*batch_done)(void *opaque), void *opaque)
{
	struct disk_engine *engine = disk->engine;

	engine->loop = loop;
	engine->batch_done = batch_done;
	engine->opaque = opaque;
	event_loop_call(loop, disk_start_on_loop, disk);
	disk_throttle_attach(disk);
	return engine->loop ? 0 : -EIO;
}

static void disk_stop_on_loop(void *opaque)
{
	struct disk *disk = opaque;

	disk_drain(disk);
	disk_throttle_detach(disk);
	disk_engine_stop(disk->engine);
}

void disk_detach(struct disk *disk)
{
	if (!disk->engine->loop)
		return;
	event_loop_call(disk->engine->loop, disk_stop_on_loop, disk);
	disk->engine->loop = NULL;
}

void disk_queue(struct disk *disk, struct disk_request *request)
{
	request->engine = disk->engine;
	request->next = NULL;
	*disk->queued_tail = request;
	disk->queued_tail = &request->next;
	disk->engine->in_flight++;
}

void disk_submit(struct disk *disk)
{
	if (disk->throttle)
		disk_throttle_pass(disk);
	if (!disk->queued)
		return;
	disk->engine->held = disk->engine->remote_ops && !disk->engine->remote_ops->ready(disk->engine);
	if (!disk->engine->held)
		disk->format->submit(disk);
}

void disk_drain(struct disk *disk)
{
	disk_throttle_open(disk, true);
	disk_submit(disk);
	disk_engine_drain(disk->engine);
	disk_throttle_open(disk, false);
}

/* ---- limits ---- */

struct limits_call {
	struct disk *disk;
	const struct disk_limits *limits;
	int result;
};

static void disk_set_limits_on_loop(void *opaque)
{
	struct limits_call *call = opaque;

	call->result = disk_throttle_set(call->disk, call->limits);
}

int disk_set_limits(struct disk *disk, const struct disk_limits *limits)
{
	struct limits_call call = { disk, limits, 0 };

	if (disk->engine->loop)
		event_loop_call(disk->engine->loop, disk_set_limits_on_loop, &call);
	else
		disk_set_limits_on_loop(&call);
	return call.result;
}
