/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What -d says of the device that the guest sees, rather than of the image behind it.
 */
#include <string.h>

#include "kvm/disk.h"
#include "kvm/log.h"
#include "kvm/option.h"

#define QUEUES_MAX	64u
#define BLOCK_SIZE_MAX	MIB(1)
#define IO_SIZE_MAX	MIB(16)

static const struct { const char *name; enum disk_policy policy; } policies[] = {
	{ "report", DISK_REPORT }, { "ignore", DISK_IGNORE }, { "stop", DISK_STOP }, { "enospc", DISK_STOP_ENOSPC },
};

static int set_policy(struct keyval *keyval, const char *key, bool write, enum disk_policy *policy)
{
	const char *text = keyval_get(keyval, key);

	if (!text)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
		if (strcmp(policies[i].name, text) || (policies[i].policy == DISK_STOP_ENOSPC && !write))
			continue;
		*policy = policies[i].policy;
		return 0;
	}
	return log_error(EUSAGE, "--disk: %s=%s is not known (say report, stop%s or ignore)", key, text, write ? ", enospc" : "");
}

static int set_queues(struct keyval *keyval, unsigned int *queues)
{
	const char *text = keyval_get(keyval, "queues");
	uint64_t value;

	if (!text)
		return 0;
	if (parse_uint(text, &value) || !value || value > QUEUES_MAX)
		return log_error(EUSAGE, "--disk: queues=%s is not between 1 and %u", text, QUEUES_MAX);
	*queues = (unsigned int)value;
	return 0;
}

static int set_size(struct keyval *keyval, const char *key, uint64_t max, uint32_t *size)
{
	const char *text = keyval_get(keyval, key);
	uint64_t value;

	if (!text)
		return 0;
	if (parse_size(text, 1, &value) || value < 512 || value > max || !IS_POWER_OF_2(value))
		return log_error(EUSAGE, "--disk: %s=%s is no power of 2 from 512 to %lluM", key, text, (unsigned long long)max >> 20);
	*size = (uint32_t)value;
	return 0;
}

int disk_device_options_fill(struct disk_device_options *options, struct keyval *keyval)
{
	const char *iothread = keyval_get(keyval, "iothread");
	int result = set_queues(keyval, &options->queues);

	options->write_error = DISK_STOP_ENOSPC;
	if (!result)
		result = set_policy(keyval, "rerror", false, &options->read_error);
	if (!result)
		result = set_policy(keyval, "werror", true, &options->write_error);
	if (!result)
		result = set_size(keyval, "physical-block-size", BLOCK_SIZE_MAX, &options->physical_block_size);
	if (!result)
		result = set_size(keyval, "min-io-size", BLOCK_SIZE_MAX, &options->min_io_size);
	if (!result)
		result = set_size(keyval, "opt-io-size", IO_SIZE_MAX, &options->opt_io_size);
	if (result || !iothread)
		return result;
	options->iothread = strdup(iothread);
	return options->iothread ? 0 : log_errno(ENOMEM, "--disk");
}

void disk_device_options_free(struct disk_device_options *options)
{
	free(options->iothread);
	memset(options, 0, sizeof(*options));
}
