/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-blk and virtio-scsi under fuzz, on raw images that no guest makes grow. */
#include "tests/fuzz/virtio.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "control/control-internal.h"
#include "kvm/disk.h"
#include "kvm/kvm.h"

#define IMAGE_SIZE	MIB(1)
#define DISC_SIZE	(300 * KIB(2))

static char image[PATH_MAX], disc[PATH_MAX];
static uint64_t image_size;		/* what the host made of it */

static void file_make(char path[PATH_MAX], const char *name, size_t size)
{
	uint8_t *bytes = malloc(size);

	FUZZ_CHECK(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i * 5 + (i >> 9) * 11 + 3);
	snprintf(path, PATH_MAX, "%s", fuzz_write_file(name, bytes, size));
	free(bytes);
}

static void add_disk(struct kvm *kvm, const char *path, const char *options)
{
	char text[PATH_MAX + 64];

	snprintf(text, sizeof(text), "%s,format=raw,aio=threads%s", path, options);
	fuzz_machine_set(kvm, "disk", text);
}

static void blk_machine(struct kvm *kvm)
{
	file_make(image, "disk", IMAGE_SIZE);
	image_size = IMAGE_SIZE;
	add_disk(kvm, image, ",queues=2,serial=fuzzed");
	fuzz_machine_add(kvm, "disks_init");
	fuzz_machine_add(kvm, "blk_init");
}

static void scsi_machine(struct kvm *kvm)
{
	file_make(image, "disk", IMAGE_SIZE);
	file_make(disc, "disc", DISC_SIZE);
	/* where a client's "disc" is */
	FUZZ_CHECK(!chdir(fuzz_folder()));
	image_size = IMAGE_SIZE;
	add_disk(kvm, image, ",if=scsi");
	add_disk(kvm, disc, ",cdrom");
	add_disk(kvm, disc, ",if=scsi,ro,target=5,lun=3");
	fuzz_machine_add(kvm, "disks_init");
	kvm->cpu_count = 2;
	fuzz_machine_add(kvm, "scsi_init");
	kvm->cpu_count = 0;
}

/* What a client may ask for meanwhile. */
static const char *const commands[] = {
	"{\"execute\": \"eject\", \"arguments\": {\"device\": \"disk1\"}}",
	"{\"execute\": \"eject\", \"arguments\": {\"device\": \"disk1\", \"force\": true}}",
	"{\"execute\": \"blockdev-close-tray\", \"arguments\": {\"device\": \"disk1\"}}",
	"{\"execute\": \"blockdev-change-medium\", \"arguments\": {\"device\": \"disk1\", \"filename\": \"disc\", \"format\": \"raw\"}}",
	"{\"execute\": \"block_set_io_throttle\", \"arguments\": {\"id\": \"disk0\", \"bps\": 0, \"bps_rd\": 0, \"bps_wr\": 0, \"iops\": 1000000, \"iops_rd\": 0, \"iops_wr\": 0}}",
	"{\"execute\": \"query-block\"}",
};

static void disk_event(struct kvm *kvm, struct virtio_device *device, struct fuzz_input *input)
{
	struct qmp_session session = { .kvm = kvm, .negotiated = true };
	uint8_t what = fuzz_u8(input) % 16;
	uint64_t size = image_size + 512ULL * (what % 4);

	(void)device;
	if (what >= 4) {
		const char *command = commands[(what - 4) % ARRAY_SIZE(commands)];

		free(qmp_handle(&session, command, strlen(command)));
	} else if (size <= 2 * IMAGE_SIZE && !disk_grow(disks_get(kvm, 0), size)) {
		image_size = size;
	}
}

static void disk_between(struct virtio_device *device)
{
	struct stat status;

	(void)device;
	FUZZ_CHECK(!stat(image, &status) && (uint64_t)status.st_size == image_size);
}

static const struct fuzz_virtio blk_spec = {
	.machine = blk_machine, .queues = 2, .event = disk_event, .between = disk_between,
};
FUZZ_VIRTIO(blk, "blk", blk_spec);

static const struct fuzz_virtio blk_packed_spec = {
	.machine = blk_machine, .queues = 2, .packed = true, .event = disk_event, .between = disk_between,
};
FUZZ_VIRTIO(blk_packed, "blk-packed", blk_packed_spec);

/* control, events, two of requests */
static const struct fuzz_virtio scsi_spec = {
	.machine = scsi_machine, .queues = 4, .event = disk_event, .between = disk_between,
};
FUZZ_VIRTIO(scsi, "scsi", scsi_spec);
