/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QMP's block_resize. The event BLOCK_IO_ERROR comes from the disks themselves (disk/errors.c).
 */
#include <string.h>

#include "kvm/control.h"
#include "kvm/disk.h"

/* QEMU's clients name a device by its id or a node by its name: here both are the device's name. */
static const char *device_argument(const json_t *arguments)
{
	const char *name = json_string_value(json_object_get(arguments, "device"));

	return name ? name : json_string_value(json_object_get(arguments, "node-name"));
}

static int block_resize(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const json_t *size = json_object_get(arguments, "size");
	const char *name = device_argument(arguments);
	struct disk *disk = name ? disks_find(kvm, name) : NULL;
	int status;

	(void)result;
	if (!disk)
		return qmp_fail(error, ENODEV, "There is no disk '%s' (say disk0 for the first)", name ? name : "");
	if (json_integer_value(size) <= 0)
		return qmp_fail(error, EINVAL, "Parameter 'size' has to be a number of bytes above 0");
	status = disk_grow(disk, (uint64_t)json_integer_value(size));
	if (!status)
		return 0;
	if (status == -EUSAGE)
		return qmp_fail(error, EINVAL, "Disk '%s' can grow only, to whole blocks", name);
	if (status == -EROFS)
		return qmp_fail(error, EROFS, "Disk '%s' is read-only", name);
	if (status == -ENOTSUP)
		return qmp_fail(error, ENOTSUP, "Disk '%s' has an image or a device that can't grow", name);
	return qmp_fail(error, -status, "The disk can't be made that large: %s", strerrordesc_np(-status));
}

static const char *const resize_arguments[] = { "device?:str", "node-name?:str", "size:int", NULL };
static struct qmp_command resize_command = {
	.name = "block_resize", .help = "Make a disk larger while the guest uses it", .arguments = resize_arguments,
	.run = block_resize };
QMP_COMMAND(resize_command);
