/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SCSI controllers of a VM: one for all disks and drives that the shared loop of disks serves, and one for those of
 * each iothread, since a device is owned by one loop. Main thread.
 */
#include <stdio.h>
#include <string.h>

#include "kvm/iothread.h"
#include "kvm/kvm-cpu.h"
#include "virtio/scsi.h"

#define TARGETS		256

static const char scsi_key[] = "virtio-scsi";

/* ---- configuration ---- */

static void scsi_fill_config(struct scsi *scsi, unsigned int queues)
{
	struct virtio_scsi_config *config = &scsi->config;
	uint8_t last = 0;

	for (const struct scsi_unit *unit = scsi->bus.first; unit; unit = unit->next)
		last = unit->target;
	config->num_queues = htole32(queues);
	config->seg_max = htole32(SCSI_QUEUE_SIZE - 2);
	config->max_sectors = htole32(0xffff);
	config->cmd_per_lun = htole32(SCSI_QUEUE_SIZE / 2);
	config->event_info_size = htole32(sizeof(struct virtio_scsi_event));
	/* drivers ask each target up to here who it is */
	config->max_target = htole16(last);
	config->max_lun = htole32(16383);
	scsi->device.features_offered = BIT(VIRTIO_SCSI_F_CHANGE);
	scsi->device.queue_count = SCSI_QUEUE_REQUESTS + queues;
}

/* ---- units ---- */

static bool same_iothread(const char *one, const char *other)
{
	return one && other ? !strcmp(one, other) : one == other;
}

/* Whether -d number @index has its unit on the controller of @iothread. */
static bool disk_belongs(struct kvm *kvm, size_t index, const char *iothread)
{
	return disks_place(kvm, index)->scsi && same_iothread(disks_device_options(kvm, index)->iothread, iothread);
}

static void scsi_unit_resize(struct disk_owner *owner)
{
	scsi_unit_resized(&container_of(owner, struct scsi_unit_slot, owner)->unit);
}

static int scsi_add_unit(struct kvm *kvm, struct scsi *scsi, size_t index, uint8_t target)
{
	const struct disk_device_options *options = disks_device_options(kvm, index);
	const struct disk_place *place = disks_place(kvm, index);
	struct scsi_unit_slot *slot = &scsi->slots[scsi->count];
	int result;

	slot->unit.physical_block_size = options->physical_block_size;
	slot->unit.min_io_size = options->min_io_size;
	slot->unit.opt_io_size = options->opt_io_size;
	slot->owner = (struct disk_owner){ .kvm = kvm, .name = slot->name, .read_error = options->read_error,
					   .write_error = options->write_error, .resized = scsi_unit_resize };
	snprintf(slot->name, sizeof(slot->name), "disk%zu", index);
	if (place->cdrom)
		scsi_drive_init(slot);
	result = scsi_bus_add(&scsi->bus, &slot->unit, disks_get(kvm, index), place->cdrom, target, (uint16_t)place->lun);
	scsi->count += !result;
	return result;
}

/* Those that the user put somewhere come first, the others where there is still room. */
static int scsi_add_units(struct kvm *kvm, struct scsi *scsi, const char *iothread, bool placed)
{
	int result = 0;

	for (size_t i = 0; i < disks_count(kvm) && !result; i++) {
		int target = disks_place(kvm, i)->target;

		if (!disk_belongs(kvm, i, iothread) || (target >= 0) != placed)
			continue;
		for (target = MAX(target, 0); !placed && target < TARGETS && scsi_bus_has_target(&scsi->bus, (uint8_t)target);)
			target++;
		if (target == TARGETS)
			return log_error(ENOSPC, "option --disk: more than %d on a SCSI bus (put some at lun=)", TARGETS);
		result = scsi_add_unit(kvm, scsi, i, (uint8_t)target);
	}
	return result;
}

/* The most that one of its disks asks for; one a vCPU, if none does. */
static unsigned int scsi_queues(struct kvm *kvm, const char *iothread)
{
	unsigned int queues = 0;

	for (size_t i = 0; i < disks_count(kvm); i++)
		if (disk_belongs(kvm, i, iothread))
			queues = MAX(queues, disks_device_options(kvm, i)->queues);
	return MIN(queues ? queues : MAX(kvm_cpus_possible(kvm), 1U), SCSI_QUEUES_MAX);
}

static int scsi_attach(struct scsi *scsi)
{
	int result = 0;

	for (size_t i = 0; i < scsi->count && !result; i++) {
		struct scsi_unit_slot *slot = &scsi->slots[i];

		result = disk_attach(slot->unit.disk, scsi->device.loop, scsi_batch_done, scsi);
		slot->attached = !result;
		if (!result)
			disk_set_owner(slot->unit.disk, &slot->owner);
	}
	return result;
}

/* ---- life ---- */

static void scsi_free(struct scsi *scsi)
{
	virtio_device_del(&scsi->device);
	for (size_t i = 0; i < scsi->count; i++) {
		scsi_drive_exit(&scsi->slots[i]);
		if (!scsi->slots[i].attached)
			continue;
		disk_set_owner(scsi->slots[i].unit.disk, NULL);
		disk_detach(scsi->slots[i].unit.disk);
	}
	scsi_bus_exit(&scsi->bus);
	scsi_requests_free(scsi);
	free(scsi);
}

static void scsi_free_all(struct scsi *scsi)
{
	for (struct scsi *next; scsi; scsi = next) {
		next = scsi->next;
		scsi_free(scsi);
	}
}

/* What fails here is freed by scsi_free(). */
static int scsi_make(struct kvm *kvm, struct scsi *scsi, const char *iothread)
{
	int result = scsi_add_units(kvm, scsi, iothread, true);

	if (!result)
		result = scsi_add_units(kvm, scsi, iothread, false);
	if (result)
		return result;
	scsi_fill_config(scsi, scsi_queues(kvm, iothread));
	scsi_power_on(scsi);
	result = scsi_attach(scsi);
	if (result)
		return result;
	return virtio_device_add(kvm, &scsi->device, &scsi_ops, "virtio-scsi%s%s", iothread ? "-" : "", iothread ? iothread : "");
}

static int scsi_add(struct kvm *kvm, const char *iothread, struct scsi **out)
{
	struct event_loop *loop = disks_loop(kvm);
	size_t count = 0;
	int result = iothread_loop(kvm, "disk", iothread, &loop);
	struct scsi *scsi;

	if (result)
		return result;
	for (size_t i = 0; i < disks_count(kvm); i++)
		count += disk_belongs(kvm, i, iothread);
	scsi = calloc(1, sizeof(*scsi) + count * sizeof(scsi->slots[0]));
	if (!scsi)
		return log_errno(ENOMEM, "virtio-scsi");
	scsi->bus.changed = scsi_unit_changed;
	scsi->bus.batch = scsi_bus_batch;
	scsi->device.loop = loop;
	scsi_bus_init(&scsi->bus, loop);
	result = scsi_make(kvm, scsi, iothread);
	if (result)
		scsi_free(scsi);
	else
		*out = scsi;
	return result;
}

static void scsi_exit(struct kvm *kvm)
{
	struct scsi *first = kvm_get_state(kvm, scsi_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, scsi_key, NULL))
		scsi_free_all(first);
}

/* Whether an earlier -d has made the controller of number @index's. */
static bool has_controller(struct kvm *kvm, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (disk_belongs(kvm, i, disks_device_options(kvm, index)->iothread))
			return true;
	return false;
}

static int scsi_init(struct kvm *kvm)
{
	struct scsi *first = NULL, **at = &first;
	int result = 0;

	for (size_t i = 0; i < disks_count(kvm) && !result; i++) {
		if (!disks_place(kvm, i)->scsi || has_controller(kvm, i))
			continue;
		result = scsi_add(kvm, disks_device_options(kvm, i)->iothread, at);
		if (!result)
			at = &(*at)->next;
	}
	if (!result && !first)
		return INIT_SKIP;
	if (!result)
		result = kvm_set_state(kvm, scsi_key, first);
	if (result)
		scsi_free_all(first);
	return result;
}
virtio_dev_init(scsi_init);
virtio_dev_exit(scsi_exit);
