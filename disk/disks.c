/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The disks of a VM: what -d names, opened and locked before any device exists, in the order given. A folder is no
 * disk: it is shared with the guest as its root file system (virtio/9p.c).
 */
#include <stdio.h>
#include <string.h>

#include "disk/disks.h"
#include "kvm/fork.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/share.h"
#include "kvm/vhost-option.h"

static const char disks_key[] = "disks";

struct disks *disks_of(struct kvm *kvm)
{
	return kvm_get_state(kvm, disks_key);
}

size_t disks_count(struct kvm *kvm)
{
	struct disks *disks = disks_of(kvm);

	return disks ? disks->count : 0;
}

struct disk *disks_get(struct kvm *kvm, size_t index)
{
	struct disks *disks = disks_of(kvm);

	return disks && index < disks->count ? disks->items[index]->disk : NULL;
}

const struct disk_place *disks_place(struct kvm *kvm, size_t index)
{
	const struct disks *disks = disks_of(kvm);

	return &disks->items[index]->place;
}

size_t disks_index(struct kvm *kvm, const char *name)
{
	struct disks *disks = disks_of(kvm);

	for (size_t i = 0; disks && i < disks->count; i++) {
		const struct disks_item *item = disks->items[i];
		char device[32], number[32];

		if (item->id && !strcmp(name, item->id))
			return i;

		snprintf(device, sizeof(device), "virtio-blk%zu", i);
		snprintf(number, sizeof(number), "disk%zu", i);
		if ((!item->id && ((!item->place.scsi && !strcmp(name, device)) || !strcmp(name, number))) ||
		    (*name && !strcmp(name, disk_info(item->disk)->serial)))
			return i;
	}
	return SIZE_MAX;
}

struct disk *disks_find(struct kvm *kvm, const char *name)
{
	return disks_get(kvm, disks_index(kvm, name));
}

const struct disk_device_options *disks_device_options(struct kvm *kvm, size_t index)
{
	struct disks *disks = disks_of(kvm);

	return disks && index < disks->count ? &disks->items[index]->options : NULL;
}

struct event_loop *disks_loop(struct kvm *kvm)
{
	struct disks *disks = disks_of(kvm);

	return disks && disks->loop ? disks->loop : kvm->loop;
}

/* In a fork: what was written before it; how many images that is. */
static size_t disks_written(const struct kvm *kvm, size_t index, int fds[FORK_LAYERS_MAX])
{
	const struct fork_origin *origin = kvm->origin;
	size_t count = 0;

	for (size_t i = origin ? origin->layer_count : 0; i-- > 0 && count < FORK_LAYERS_MAX; )
		if (origin->layers[i].disk == index)
			fds[count++] = origin->layers[i].fd;
	return count;
}

static int disks_start_loop(struct disks *disks)
{
	int result;

	if (disks->loop)
		return 0;
	result = event_loop_create(&disks->loop, "disk");
	return result ? result : event_loop_start_thread(disks->loop);
}

static void item_free(struct disks_item *item)
{
	disk_close(item->disk);
	disk_device_options_free(&item->options);
	free(item->id);
	free(item);
}

/* Takes @item, which goes with a failure. */
static int disks_add_item(struct disks *disks, struct disks_item *item, struct disk_options *options)
{
	struct disks_item **items = reallocarray(disks->items, disks->count + 1, sizeof(struct disks_item *));
	int result;

	if (items)
		disks->items = items;
	result = items ? disk_open(&item->disk, options) : log_errno(ENOMEM, "--disk");
	if (result) {
		item_free(item);
		return result;
	}
	item->place = options->place;
	item->options = options->device;
	options->device.iothread = NULL;
	disks->items[disks->count++] = item;
	return 0;
}

static int disks_open_one(struct disks *disks, const struct kvm *kvm, size_t option)
{
	struct disks_item *item = calloc(1, sizeof(*item));
	struct disk_options options;
	int result = item ? disk_options_parse(&options, config_item(kvm->config, "disk", option)) : log_errno(ENOMEM, "--disk");
	int written[FORK_LAYERS_MAX];

	if (result) {
		free(item);
		return result;
	}
	options.written = written;
	options.written_count = disks_written(kvm, disks->count, written);
	item->option = option;
	result = disks_add_item(disks, item, &options);
	disk_options_free(&options);
	return result;
}

static void disks_close(struct disks *disks)
{
	while (disks->count)
		item_free(disks->items[--disks->count]);
	free(disks->items);
	event_loop_destroy(disks->loop);
	free(disks);
}

static void disks_exit(struct kvm *kvm)
{
	struct disks *disks = disks_of(kvm);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, disks_key, NULL))
		disks_close(disks);
}

/* Neither a folder nor a disk that a daemon has, or the host's kernel (vhost/user-option.c, vhost/scsi.c). */
static bool disk_is_image(const char *text)
{
	return !share_names_folder(text) && !disk_is_vhost_user(text) && !disk_is_vhost_scsi(text);
}

static size_t disks_images(const struct config *config)
{
	size_t images = 0;

	for (size_t i = 0; i < config_count(config, "disk"); i++)
		images += disk_is_image(config_item(config, "disk", i));
	return images;
}

/* Whether the guest has it on a SCSI bus; *@disc: in a drive of CD-ROMs there. */
static bool disk_is_scsi(const char *text, bool *disc)
{
	struct disk_options options;
	bool scsi;

	*disc = false;
	if (!disk_is_image(text) || disk_options_parse(&options, text))
		return disk_is_vhost_scsi(text);
	scsi = options.place.scsi;
	*disc = options.place.cdrom;
	disk_options_free(&options);
	return scsi;
}

const char *disks_root(const struct config *config)
{
	const char *root = NULL;

	for (size_t i = 0; i < config_count(config, "disk"); i++) {
		bool disc;

		if (!disk_is_scsi(config_item(config, "disk", i), &disc))
			return "root=/dev/vda rw";
		if (!disc)
			root = "root=/dev/sda rw";
	}
	return root;
}

static size_t disks_folders(const struct config *config)
{
	size_t folders = 0;

	for (size_t i = 0; i < config_count(config, "disk"); i++)
		folders += share_names_folder(config_item(config, "disk", i));
	return folders;
}

static int disks_init(struct kvm *kvm)
{
	size_t count = disks_images(kvm->config), folders = disks_folders(kvm->config);
	struct disks *disks;
	int result = 0;

	if (folders > 1)
		return log_error(EUSAGE, "option --disk: one folder is enough, as the root file system (share others with --9p)");
	/* with slots there may be some later */
	if (!count && !config_uint(kvm->config, "root-ports"))
		return INIT_SKIP;
	disks = calloc(1, sizeof(*disks));
	if (!disks)
		return log_errno(ENOMEM, "--disk");
	for (size_t i = 0; i < config_count(kvm->config, "disk") && !result; i++)
		if (disk_is_image(config_item(kvm->config, "disk", i)))
			result = disks_open_one(disks, kvm, i);
	if (!result && count)
		result = disks_start_loop(disks);
	if (!result)
		result = kvm_set_state(kvm, disks_key, disks);
	if (result)
		disks_close(disks);
	return result;
}

/* ---- disks that come and go ---- */

int disks_plug(struct kvm *kvm, const char *text, const char *id, struct disk **disk)
{
	struct disks_item *item;
	struct disk_options options;
	int result;

	if (!disk_is_image(text))
		return log_error(EUSAGE, "disk '%s': can't be put into a slot: it is no image", text);
	result = disk_options_parse(&options, text);
	if (result)
		return result;
	item = calloc(1, sizeof(*item));
	if (item && id)
		item->id = strdup(id);
	if (options.place.scsi)
		result = log_error(EUSAGE, "disk '%s': can't be put into a slot as a SCSI disk (leave if=scsi and cdrom out)", text);
	else if (!item || (id && !item->id))
		result = log_errno(ENOMEM, "--disk");
	else
		result = disks_start_loop(disks_of(kvm));
	if (!result) {
		item->option = SIZE_MAX;
		result = disks_add_item(disks_of(kvm), item, &options);
	} else if (item) {
		item_free(item);
	}
	if (!result)
		*disk = item->disk;
	disk_options_free(&options);
	return result;
}

size_t disks_place_of(struct kvm *kvm, const struct disk *disk)
{
	struct disks *disks = disks_of(kvm);
	size_t i = 0;

	while (disks->items[i]->disk != disk)
		i++;
	return i;
}

int disks_name(struct kvm *kvm, const struct disk *disk, const char *id)
{
	struct disks_item *item = disks_of(kvm)->items[disks_place_of(kvm, disk)];
	char *copy = strdup(id);

	if (!copy)
		return log_errno(ENOMEM, "--disk");
	free(item->id);
	item->id = copy;
	return 0;
}

void disks_unplug(struct kvm *kvm, struct disk *disk)
{
	struct disks *disks = disks_of(kvm);
	size_t i = disks_place_of(kvm, disk);

	item_free(disks->items[i]);
	disks->count--;
	memmove(&disks->items[i], &disks->items[i + 1], (disks->count - i) * sizeof(struct disks_item *));
}

static const struct option_def disks_options[] = {
	{ .name = "disk", .letter = 'd', .type = OPTION_LIST, .argument = "IMAGE|nbd://HOST/EXPORT[,ro][,direct][,cache=writeback|writethrough|none|directsync|unsafe][,aio=native|io_uring|threads][,serial=TEXT][,format=raw|qcow2][,snapshot-name=NAME][,snapshot=on][,overlay=FILE][,backing=any][,iops=N][,bps=SIZE][,if=virtio|scsi][,cdrom][,target=N[,lun=N]][,queues=N][,iothread=NAME][,rerror=POLICY][,werror=POLICY]",
	  .help = "A disk from an image file or a block device; repeat for more; a folder is shared as the root file system" },
};
RUN_OPTIONS(disks_options_group, "Basic options", disks_options);

dev_base_init(disks_init);
dev_base_exit(disks_exit);
