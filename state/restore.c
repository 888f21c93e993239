/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine from a snapshot: `lkvm run --restore FILE`.
 *
 * The options in the file make the machine as they did before; then, in place of a kernel and of power-on state, comes
 * what was saved. Guest memory is the file itself, mapped so that what the guest writes is its own copy: only what is
 * touched is read. With --prefault, in huge pages of hugetlbfs, and where vhost-user shares it, it is read at once and every
 * checksum compared.
 *
 * The guest may have run on from the same state elsewhere: it is told so by what the architecture has for that, and
 * mixes its random pool anew. Main thread.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/ram-options.h"
#include "kvm/snapshot.h"
#include "state/machine.h"
#include "state/protect.h"
#include "state/snapshot-file.h"
#include "state/snapshot-info.h"

static const char restore_key[] = "restore";

struct restore {
	struct snapshot_file file;
	uint64_t memory_offset, memory_length;
	bool load;			/* memory is read instead of mapped */
};

static int restore_machine(struct kvm *kvm)
{
	struct restore *restore = kvm_get_state(kvm, restore_key);
	_cleanup_free_ uint8_t *state = NULL;
	struct state_reader reader = { .data = NULL };
	int result;

	if (restore->memory_length != kvm->ram_size)
		return log_error(EINVAL, "snapshot '%s': has %llu bytes of memory for a machine of %llu", restore->file.path,
				 (unsigned long long)restore->memory_length, (unsigned long long)kvm->ram_size);
	result = restore->load ? snapshot_file_load_memory(&restore->file, kvm->ram_host, kvm->ram_size) : 0;
	if (!result)
		result = snapshot_file_read(&restore->file, "state", SNAPSHOT_STATE_MAX, &state, &reader.length);
	reader.data = state;
	if (!result)
		result = machine_load(kvm, &reader);
	if (result)
		log_error(EINVAL, "snapshot '%s': can't be restored here", restore->file.path);
	return result;
}

int restore_prepare(struct restore **out, struct config *config)
{
	const char *path = config_string(config, "restore");
	struct restore *restore = calloc(1, sizeof(*restore));
	bool disks_given = config_given(config, "disk");
	int result;

	if (!restore)
		return log_errno(ENOMEM, "snapshot");
	result = snapshot_file_open(&restore->file, path);
	if (result) {
		free(restore);
		return result;
	}
	result = snapshot_file_memory(&restore->file, &restore->memory_offset, &restore->memory_length);
	if (!result)
		result = snapshot_apply(restore->file.info, path, config);
	/* who names disks answers for them */
	if (!result && !disks_given)
		result = snapshot_check_disks(restore->file.info, path);
	restore->load = config_flag(config, "prefault") || ram_is_hugetlb(config) || memory_is_shared(config);
	if (result)
		restore_free(restore);
	else
		*out = restore;
	return result;
}

int restore_attach(struct restore *restore, struct kvm *kvm)
{
	int result = kvm_set_state(kvm, restore_key, restore);

	if (result)
		return result;
	kvm->restore = restore_machine;
	if (restore->load)
		return 0;
	kvm->ram_image = restore->file.fd;
	kvm->ram_image_offset = restore->memory_offset;
	return 0;
}

void restore_free(struct restore *restore)
{
	if (!restore)
		return;
	snapshot_file_close(&restore->file);
	free(restore);
}

/* ---- for lkvm snapshot --info and --check ---- */

/* A string of the file, which anybody may have written, on somebody's terminal. */
static void print_string(const json_t *value)
{
	const char *text = json_string_value(value);

	for (text = text ? text : "?"; *text; text++)
		putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
}

static void print_option(const char *name, const json_t *value)
{
	json_t *said = json_string(name);

	printf("option\t--");
	print_string(said);
	printf(" ");
	print_string(value);
	printf("\n");
	json_decref(said);
}

static void print_options(json_t *options)
{
	const char *name;
	json_t *value, *item;
	size_t index;

	json_object_foreach(options, name, value) {
		if (!json_is_array(value))
			print_option(name, value);
		json_array_foreach(value, index, item)
			print_option(name, item);
	}
}

static void print_disks(const json_t *disks)
{
	size_t index, n;
	json_t *disk, *file;

	json_array_foreach(disks, index, disk) {
		json_array_foreach(json_object_get(disk, "files"), n, file) {
			printf("disk %zu\t%s", index, n ? "behind it " : "");
			print_string(json_object_get(file, "path"));
			printf(", %lld bytes%s\n", (long long)json_integer_value(json_object_get(file, "bytes")),
			       json_is_true(json_object_get(file, "writable")) ? "" : ", read only");
		}
	}
}

static void print_text(const json_t *info)
{
	static const char *const strings[] = { "name", "machine", "lkvm" };
	time_t seconds = (time_t)(json_integer_value(json_object_get(info, "time-ns")) / 1000000000);
	char time[32] = "?";
	struct tm local;

	for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
		printf("%s\t", strings[i]);
		print_string(json_object_get(info, strings[i]));
		printf("\n");
	}
	if (localtime_r(&seconds, &local))
		strftime(time, sizeof(time), "%Y-%m-%d %H:%M:%S %z", &local);
	printf("time\t%s\n", time);
	printf("vcpus\t%lld\n", (long long)json_integer_value(json_object_get(info, "vcpus")));
	printf("memory\t%lld MiB\n", (long long)json_integer_value(json_object_get(info, "memory")) >> 20);
	print_options(json_object_get(info, "options"));
	print_disks(json_object_get(info, "disks"));
}

int snapshot_print_info(const char *path, bool json)
{
	struct snapshot_file file;
	int result = snapshot_file_open(&file, path);

	if (result)
		return result;
	if (json) {
		json_dumpf(file.info, stdout, JSON_INDENT(1));
		printf("\n");
	} else {
		print_text(file.info);
	}
	snapshot_file_close(&file);
	return 0;
}

int snapshot_check(const char *path)
{
	_cleanup_free_ uint8_t *state = NULL;
	struct snapshot_file file;
	uint64_t offset, length;
	size_t state_length;
	int result = snapshot_file_open(&file, path);

	if (result)
		return result;
	result = snapshot_file_read(&file, "state", SNAPSHOT_STATE_MAX, &state, &state_length);
	if (!result)
		result = snapshot_file_memory(&file, &offset, &length);
	if (!result)
		result = snapshot_file_load_memory(&file, NULL, length);
	snapshot_file_close(&file);
	return result;
}

static const struct option_def restore_options[] = {
	{ .name = "restore", .type = OPTION_STRING, .argument = "FILE",
	  .help = "Go on from a snapshot (lkvm snapshot), whose machine this is; its memory stays in the file until it is touched" },
	{ .name = "prefault", .type = OPTION_FLAG,
	  .help = "With --restore: read all of its memory first, and check it" },
};
RUN_OPTIONS(restore_options_group, "Basic options", restore_options);
