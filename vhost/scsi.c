/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * -d scsi:WWPN: a target of the host's kernel (LIO's vhost fabric) as the guest's SCSI controller (VirtIO 1.3, 5.6).
 *
 * The kernel has all of the rings, and answers what is on them; here is the config space alone. Its sizes are the
 * kernel's, so that a driver's writes to them change nothing. virtio/scsi.c is what needs no module.
 */
#include <linux/virtio_scsi.h>
#include <stdio.h>
#include <string.h>

#include "kvm/kvm.h"
#include "kvm/vhost-option.h"
#include "vhost/device.h"

#define SCSI_QUEUES	3		/* control, events, requests */
#define TPGT_MAX	65534U

static const char scsi_key[] = "vhost-scsi";

struct vhost_scsi {
	struct vhost_device base;
	struct vhost_scsi *next;
};

static void scsi_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	const struct virtio_scsi_config config = {
		.num_queues = htole32(SCSI_QUEUES - 2), .seg_max = htole32(126), .max_sectors = htole32(0xffff),
		.cmd_per_lun = htole32(128), .event_info_size = htole32(sizeof(struct virtio_scsi_event)),
		.sense_size = htole32(VIRTIO_SCSI_SENSE_DEFAULT_SIZE), .cdb_size = htole32(VIRTIO_SCSI_CDB_DEFAULT_SIZE),
		.max_target = htole16(255), .max_lun = htole32(16383),
	};

	(void)device;
	memcpy(buffer, (const char *)&config + offset, size);
}

static const struct virtio_device_ops scsi_ops = {
	.name		= "virtio-scsi",
	.id		= VIRTIO_ID_SCSI,
	.class_code	= 0x010000,
	.queues		= SCSI_QUEUES,
	.queue_size	= 128,
	.config_size	= sizeof(struct virtio_scsi_config),
	.handle_queue	= vhost_device_handle_queue,
	.config_read	= scsi_config_read,
	.start		= vhost_device_start,
	.interrupts_moved = vhost_device_interrupts_moved,
	.reset		= vhost_device_reset,
	.quiesce	= vhost_device_quiesce,
	.resume		= vhost_device_resume,
};

/* ---- life ---- */

bool disk_is_vhost_scsi(const char *text)
{
	return !strncmp(text, DISK_VHOST_SCSI, strlen(DISK_VHOST_SCSI));
}

/* "scsi:WWPN[:TPGT]", as kvmtool has it; a name of the vhost fabric is "naa." and 16 hexadecimal digits. */
static int scsi_parse(const char *text, char *wwpn, size_t size, uint16_t *tpgt)
{
	const char *name = text + strlen(DISK_VHOST_SCSI), *colon = strchr(name, ':');
	size_t length = colon ? (size_t)(colon - name) : strlen(name);
	uint64_t number = 0;

	if (strncmp(name, "naa.", 4) || length != 20 || strspn(name + 4, "0123456789abcdefABCDEF") != 16 || length >= size)
		return log_error(EUSAGE, "option --disk: '%s' names no target (say scsi:naa. and 16 hexadecimal digits, as in "
				 "/sys/kernel/config/target/vhost)", text);
	if (colon && (parse_uint(colon + 1, &number) || number > TPGT_MAX))
		return log_error(EUSAGE, "option --disk: '%s': '%s' is no portal group (0 to %u)", text, colon + 1, TPGT_MAX);
	memcpy(wwpn, name, length);
	wwpn[length] = 0;
	*tpgt = (uint16_t)number;
	return 0;
}

static void scsi_free_all(struct vhost_scsi *scsi)
{
	for (struct vhost_scsi *next; scsi; scsi = next) {
		next = scsi->next;
		virtio_device_del(&scsi->base.virtio);
		vhost_close(scsi->base.vhost);
		free(scsi);
	}
}

static int scsi_add(struct kvm *kvm, struct vhost_scsi **at, const char *text, unsigned int index)
{
	struct vhost_scsi *scsi = calloc(1, sizeof(*scsi));
	char wwpn[32];
	uint16_t tpgt = 0;
	int result;

	if (!scsi)
		return log_errno(ENOMEM, "option --disk");
	*at = scsi;
	result = scsi_parse(text, wwpn, sizeof(wwpn), &tpgt);
	if (!result)
		result = vhost_scsi_open(&scsi->base.vhost, wwpn, tpgt);
	if (result)
		return result;
	scsi->base.virtio.features_offered = scsi->base.vhost->features;
	scsi->base.virtio.features_refused = ~scsi->base.vhost->features;
	result = virtio_device_add(kvm, &scsi->base.virtio, &scsi_ops, "vhost-scsi%u", index);
	return result ? result : vhost_attach(scsi->base.vhost, &scsi->base.virtio, 0, SCSI_QUEUES);
}

static void vhost_scsi_exit(struct kvm *kvm)
{
	struct vhost_scsi *first = kvm_get_state(kvm, scsi_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, scsi_key, NULL))
		scsi_free_all(first);
}

static int vhost_scsi_init(struct kvm *kvm)
{
	struct vhost_scsi *first = NULL, **at = &first;
	unsigned int index = 0;
	int result = 0;

	for (size_t i = 0; i < config_count(kvm->config, "disk") && !result; i++) {
		const char *text = config_item(kvm->config, "disk", i);

		if (!disk_is_vhost_scsi(text))
			continue;
		result = scsi_add(kvm, at, text, index++);
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
virtio_dev_init(vhost_scsi_init);
virtio_dev_exit(vhost_scsi_exit);
