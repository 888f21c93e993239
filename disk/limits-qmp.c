/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QMP's block_set_io_throttle: other limits for a disk, or none, while the guest runs. What isn't said is no limit.
 */
#include <string.h>

#include "disk/limits.h"
#include "kvm/control.h"

struct throttle_arguments {
	const json_t *arguments;
	char **error;
};

static int get_limit(void *opaque, const char *name, uint64_t *value)
{
	const struct throttle_arguments *from = opaque;
	const json_t *limit = json_object_get(from->arguments, name);

	if (!limit)
		return 0;
	if (!json_is_integer(limit) || json_integer_value(limit) < 0)
		return qmp_fail(from->error, EINVAL, "Parameter '%s' has to be a number from 0 on", name);
	*value = (uint64_t)json_integer_value(limit);
	return 1;
}

static int set_io_throttle(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	struct throttle_arguments from = { arguments, error };
	const char *name = json_string_value(json_object_get(arguments, "id"));
	struct disk_limits limits;
	struct disk *disk;
	char why[128];
	int status;

	(void)result;
	if (!name)
		name = json_string_value(json_object_get(arguments, "device"));
	if (!name)
		return qmp_fail(error, EINVAL, "Parameter 'device' is missing");
	disk = disks_find(kvm, name);
	if (!disk)
		return qmp_fail(error, EINVAL, "Device '%s' not found (say virtio-blk0, disk0 or a disk's serial=)", name);
	status = disk_limits_fill(&limits, get_limit, &from);
	if (status)
		return status;
	if (disk_limits_check(&limits, why, sizeof(why)))
		return qmp_fail(error, EINVAL, "%s", why);
	status = disk_set_limits(disk, &limits);
	return status ? qmp_fail(error, EINVAL, "%s: %s", name, strerrordesc_np(-status)) : 0;
}

static const char *const throttle_arguments[] = {
	"device?:str", "id?:str", "bps?:int", "bps_rd?:int", "bps_wr?:int", "iops?:int", "iops_rd?:int",
	"iops_wr?:int", "bps_max?:int", "bps_rd_max?:int", "bps_wr_max?:int",
	"iops_max?:int", "iops_rd_max?:int", "iops_wr_max?:int", "bps_max_length?:int", "bps_rd_max_length?:int", "bps_wr_max_length?:int",
	"iops_max_length?:int", "iops_rd_max_length?:int", "iops_wr_max_length?:int", "iops_size?:int", NULL,
};
static struct qmp_command throttle_command = {
	.name = "block_set_io_throttle", .help = "Limit a disk's requests and bytes a second",
	.arguments = throttle_arguments, .run = set_io_throttle,
};
QMP_COMMAND(throttle_command);
