/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-blk as a device: what its driver is told of the disk, reset, saved state, and one for each disk of the VM.
 * Requests are served by virtio/blk.c.
 */
#include "virtio/blk.h"

#include <string.h>

#include "kvm/iothread.h"
#include "kvm/kvm-cpu.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/pci-port.h"
#include "kvm/plug.h"

static const char blk_key[] = "virtio-blk";

/* ---- configuration ---- */

static void blk_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	const struct blk *blk = container_of(device, struct blk, device);
	struct virtio_blk_config config = blk->config;

	config.capacity = htole64(atomic_load(&blk->capacity));
	config.wce = atomic_load(&blk->write_back);
	memcpy(buffer, (char *)&config + offset, size);
}

static void blk_config_write(struct virtio_device *device, size_t offset, const void *buffer, size_t size)
{
	struct blk *blk = container_of(device, struct blk, device);
	size_t wce = offsetof(struct virtio_blk_config, wce);

	if (virtio_has_feature(device, VIRTIO_BLK_F_CONFIG_WCE) && offset <= wce && wce - offset < size)
		atomic_store(&blk->write_back, !!((const uint8_t *)buffer)[wce - offset]);
}

/* ---- life ---- */

/* 5.2.5.2: without a flush there is nothing to write back by. */
static int blk_start(struct virtio_device *device)
{
	if (!virtio_has_feature(device, VIRTIO_BLK_F_FLUSH))
		atomic_store(&container_of(device, struct blk, device)->write_back, 0);
	return 0;
}

static void blk_reset(struct virtio_device *device)
{
	struct blk *blk = container_of(device, struct blk, device);

	disk_drain(blk->disk);
	blk_drop_requests(blk);
	atomic_store(&blk->write_back, !disk_info(blk->disk)->write_through);
}

static void blk_queue_reset(struct virtio_device *device, struct virtqueue *vq)
{
	blk_drop_queue(container_of(device, struct blk, device), vq);
}

static int blk_quiesce(struct virtio_device *device)
{
	disk_drain(container_of(device, struct blk, device)->disk);
	return 0;
}

static void blk_resume(struct virtio_device *device)
{
	blk_resume_requests(container_of(device, struct blk, device));
}

static void blk_resized(struct disk_owner *owner)
{
	struct blk *blk = container_of(owner, struct blk, owner);

	atomic_store(&blk->capacity, disk_info(blk->disk)->size / BLK_SECTOR);
	virtio_config_changed(&blk->device);
}

struct replace_call {
	struct blk *blk;
	struct disk *disk;
};

static void replace_on_loop(void *opaque)
{
	const struct replace_call *call = opaque;

	call->blk->disk = call->disk;
}

static int blk_replace(struct disk_owner *owner, struct disk *disk)
{
	struct blk *blk = container_of(owner, struct blk, owner);
	struct replace_call call = { blk, disk };
	struct disk *old = blk->disk;
	int result = disk_attach(disk, blk->device.loop, blk_batch_done, blk);

	if (result)
		return result;
	disk_set_owner(disk, owner);
	event_loop_call(blk->device.loop, replace_on_loop, &call);
	disk_set_owner(old, NULL);
	disk_detach(old);
	return 0;
}

/* ---- saved state ---- */

static const struct state_field blk_fields[] = {
	STATE_U8_MAX(struct blk, write_back, 1),
};
STATE_TABLE(blk_table, "virtio-blk", 1, blk_fields);

#define WAITING_SECTION	"virtio-blk waiting"

static void blk_save(struct virtio_device *device, struct state_writer *writer)
{
	struct blk *blk = container_of(device, struct blk, device);
	struct virtio_waiting kept = { 0 };

	state_save(writer, &blk_table, blk);
	if (blk_waiting(blk, &kept))
		writer->error = -ENOMEM;
	/* what was loaded waits in place of what was kept, until the device resumes */
	virtio_waiting_save(blk->waiting.count ? &blk->waiting : &kept, WAITING_SECTION, writer);
	virtio_waiting_free(&kept);
}

static int blk_load(struct virtio_device *device, struct state_reader *reader)
{
	struct blk *blk = container_of(device, struct blk, device);
	int result = state_load(reader, &blk_table, blk);

	return result ? result : virtio_waiting_load(&blk->waiting, WAITING_SECTION, device, 0, reader);
}

/* ---- the devices of a VM ---- */

static const struct virtio_device_ops blk_ops = {
	.name		= "virtio-blk",
	.id		= VIRTIO_ID_BLOCK,
	.class_code	= 0x010000,
	.queues		= 1,
	.queue_size	= BLK_QUEUE_SIZE,
	.config_size	= sizeof(struct virtio_blk_config),
	.handle_queue	= blk_handle_queue,
	.config_read	= blk_config_read,
	.config_write	= blk_config_write,
	.start		= blk_start,
	.queue_reset	= blk_queue_reset,
	.reset		= blk_reset,
	.quiesce	= blk_quiesce,
	.resume		= blk_resume,
	.save		= blk_save,
	.load		= blk_load,
};

/* 5.2.4: sizes in logical blocks. */
static void blk_fill_topology(struct virtio_blk_config *config, const struct disk_info *info,
			      const struct disk_device_options *options)
{
	uint32_t block = info->block_size, physical = options->physical_block_size;

	physical = MAX(physical ? physical : info->physical_block_size, block);
	config->blk_size = htole32(block);
	config->physical_block_exp = (uint8_t)__builtin_ctz(physical / block);
	config->min_io_size = htole16((uint16_t)MAX(options->min_io_size / block, 1U));
	config->opt_io_size = htole32(options->opt_io_size / block);
	config->discard_sector_alignment = htole32(MAX(physical, 4096U) / (uint32_t)BLK_SECTOR);
}

static void blk_fill_config(struct blk *blk, const struct disk_info *info, const struct disk_device_options *options)
{
	struct virtio_blk_config *config = &blk->config;

	/* A header and a status go with each: no more fits a ring without indirect descriptors. No limit to a segment. */
	config->seg_max = htole32(BLK_QUEUE_SIZE - 2);
	config->num_queues = htole16((uint16_t)blk->device.queue_count);
	blk_fill_topology(config, info, options);
	config->max_discard_sectors = htole32(BLK_DISCARD_SECTORS);
	config->max_discard_seg = htole32(1);
	config->max_write_zeroes_sectors = htole32(BLK_DISCARD_SECTORS);
	config->max_write_zeroes_seg = htole32(1);
	config->write_zeroes_may_unmap = 1;
	atomic_store(&blk->capacity, info->size / BLK_SECTOR);
	atomic_store(&blk->write_back, !info->write_through);
	blk->device.features_offered = BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_TOPOLOGY) |
				       BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_CONFIG_WCE) | (info->read_only ? BIT(VIRTIO_BLK_F_RO) : 0) |
				       (blk->device.queue_count > 1 ? BIT(VIRTIO_BLK_F_MQ) : 0) |
				       (info->discard ? BIT(VIRTIO_BLK_F_DISCARD) : 0) |
				       (info->write_zeroes ? BIT(VIRTIO_BLK_F_WRITE_ZEROES) : 0);
}

static int blk_prepare(struct kvm *kvm, size_t index, struct blk *blk)
{
	const struct disk_device_options *options = disks_device_options(kvm, index);

	blk->disk = disks_get(kvm, index);
	blk->device.loop = disks_loop(kvm);
	blk->device.queue_count = options->queues ? options->queues : MIN(MAX(kvm_cpus_possible(kvm), 1U), (unsigned int)VIRTIO_QUEUES_MAX);
	blk_fill_config(blk, disk_info(blk->disk), options);
	blk->owner = (struct disk_owner){ .kvm = kvm, .read_error = options->read_error, .write_error = options->write_error,
					  .resized = blk_resized, .replace = blk_replace };
	return iothread_loop(kvm, "disk", options->iothread, &blk->device.loop);
}

/* @plug: what it belongs to; NULL: it is there from the start */
static int blk_add(struct kvm *kvm, size_t index, const struct plug *plug, struct blk **out)
{
	struct blk *blk = calloc(1, sizeof(*blk));
	int result;

	if (!blk)
		return log_errno(ENOMEM, "virtio-blk");
	result = blk_prepare(kvm, index, blk);
	if (!result)
		result = disk_attach(blk->disk, blk->device.loop, blk_batch_done, blk);
	if (!result) {
		blk->device.bridge = plug ? pci_port_bridge(plug->port) : NULL;
		result = plug ? virtio_device_add(kvm, &blk->device, &blk_ops, "virtio-blk-%s", plug->id) :
			 virtio_device_add(kvm, &blk->device, &blk_ops, "virtio-blk%zu", index);
		if (result)
			disk_detach(blk->disk);
	}
	if (result) {
		free(blk);
		return result;
	}
	blk->owner.name = blk->device.device.name;
	disk_set_owner(blk->disk, &blk->owner);
	*out = blk;
	return 0;
}

static void blk_free(struct blk *blk)
{
	virtio_device_del(&blk->device);
	disk_set_owner(blk->disk, NULL);
	disk_detach(blk->disk);
	free(blk);
}

static void blk_free_all(struct blk *blk)
{
	for (struct blk *next; blk; blk = next) {
		next = blk->next;
		blk_free(blk);
	}
}

static void blk_exit(struct kvm *kvm)
{
	struct blk *first = kvm_get_state(kvm, blk_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, blk_key, NULL))
		blk_free_all(first);
}

static int blk_init(struct kvm *kvm)
{
	struct blk *first = NULL, **at = &first;
	int result = 0;

	for (size_t i = 0; i < disks_count(kvm) && !result; i++) {
		if (disks_place(kvm, i)->scsi)
			continue;
		result = blk_add(kvm, i, NULL, at);
		if (!result)
			at = &(*at)->next;
	}
	if (!result && !first)
		return INIT_SKIP;
	if (!result)
		result = kvm_set_state(kvm, blk_key, first);
	if (result)
		blk_free_all(first);
	return result;
}
virtio_dev_init(blk_init);
virtio_dev_exit(blk_exit);

/* ---- those that come and go ---- */

static int blk_plug_open(struct plug *plug)
{
	struct disk *disk;
	int result = disks_plug(plug->kvm, plug->text, plug->node, &disk);

	if (!result)
		plug->back = disk;
	return result;
}

static void blk_plug_close(struct plug *plug)
{
	disks_unplug(plug->kvm, plug->back);
}

static int blk_plug_add(struct plug *plug)
{
	struct blk *blk;
	int result = disks_name(plug->kvm, plug->back, plug->id);

	if (!result)
		result = blk_add(plug->kvm, disks_place_of(plug->kvm, plug->back), plug, &blk);
	if (!result)
		plug->device = &blk->device;
	return result;
}

static void blk_plug_del(struct plug *plug)
{
	blk_free(container_of(plug->device, struct blk, device));
}

static struct plug_kind blk_plug_item = {
	.option = "disk", .open = blk_plug_open, .close = blk_plug_close, .add = blk_plug_add, .del = blk_plug_del,
};
PLUG_KIND(blk_plug_item);
