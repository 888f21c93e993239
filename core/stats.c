/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * KVM's binary statistics: a file for the VM and one for each vCPU, of a header, descriptions and numbers.
 *
 * Opened when somebody asks for the first time, so that a VM that nobody looks at makes no call for them. A vCPU's
 * file is asked for by an ioctl that waits while the vCPU is in KVM_RUN, hence the pause. Main thread.
 */
#include "kvm/stats.h"

#include <string.h>
#include <sys/ioctl.h>

#include "kvm/kvm-cpu.h"
#include "kvm/kvm.h"
#include "kvm/log.h"

#define STATS_MAX	4096u		/* far more than any KVM counts */
#define NAME_SIZE_MAX	256u
#define DATA_MAX	65536u		/* no number lies further on */

static const char stats_key[] = "stats";

struct stats_file {
	int fd;
	struct kvm_stats_header header;
	char *descriptions;		/* header.num_desc of them, stats_description_size() each */
	size_t data_size;		/* bytes from header.data_offset on that hold the plain numbers */
};

struct stats {
	unsigned int count;		/* files: the VM's and one for each in kvm->cpus; 0: not open yet */
	struct stats_file *files;
};

static size_t stats_description_size(const struct kvm_stats_header *header)
{
	return sizeof(struct kvm_stats_desc) + header->name_size;
}

static int stats_file_read(const struct stats_file *file, void *buffer, size_t size, uint64_t offset)
{
	ssize_t got = pread(file->fd, buffer, size, (off_t)offset);

	if (got < 0)
		return -errno;
	return (size_t)got == size ? 0 : -EIO;
}

static struct kvm_stats_desc *stats_description(const struct stats_file *file, uint32_t index)
{
	return (void *)(file->descriptions + index * stats_description_size(&file->header));
}

/* One number in one place: the rest are histograms. */
static bool stats_is_plain(const struct kvm_stats_desc *description)
{
	uint32_t type = description->flags & KVM_STATS_TYPE_MASK;

	return description->size == 1 && type <= KVM_STATS_TYPE_PEAK && description->offset < DATA_MAX;
}

static int stats_read_descriptions(struct stats_file *file)
{
	const struct kvm_stats_header *header = &file->header;
	size_t size = header->num_desc * stats_description_size(header);
	int result;

	file->descriptions = malloc(size + 1);
	if (!file->descriptions)
		return -ENOMEM;
	result = stats_file_read(file, file->descriptions, size, header->desc_offset);
	for (uint32_t i = 0; i < header->num_desc && !result; i++) {
		struct kvm_stats_desc *description = stats_description(file, i);

		description->name[header->name_size - 1] = '\0';
		if (stats_is_plain(description))
			file->data_size = MAX(file->data_size, description->offset + sizeof(uint64_t));
	}
	return result;
}

static int stats_file_open(struct stats_file *file, int of)
{
	struct kvm_stats_header *header = &file->header;
	int result;

	file->fd = ioctl(of, KVM_GET_STATS_FD, NULL);
	if (file->fd < 0)
		return -errno;
	result = stats_file_read(file, header, sizeof(*header), 0);
	if (result)
		return result;
	if (header->num_desc > STATS_MAX || !header->name_size || header->name_size > NAME_SIZE_MAX)
		return -EPROTO;
	return stats_read_descriptions(file);
}

static void stats_close(struct stats *stats)
{
	for (unsigned int i = 0; i < stats->count; i++) {
		if (stats->files[i].fd >= 0)
			close(stats->files[i].fd);
		free(stats->files[i].descriptions);
	}
	free(stats->files);
	stats->files = NULL;
	stats->count = 0;
}

static int stats_open_files(struct kvm *kvm, struct stats *stats)
{
	int result;

	stats->count = kvm->cpu_count + 1;
	stats->files = calloc(stats->count, sizeof(*stats->files));
	if (!stats->files) {
		stats->count = 0;
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < stats->count; i++)
		stats->files[i].fd = -1;
	result = stats_file_open(&stats->files[0], kvm->vm_fd);
	for (unsigned int i = 0; i < kvm->cpu_count && !result; i++)
		result = stats_file_open(&stats->files[i + 1], kvm->cpus[i]->fd);
	if (result)
		stats_close(stats);
	return result;
}

int kvm_stats_open(struct kvm *kvm)
{
	struct stats *stats = kvm_get_state(kvm, stats_key);
	bool runs = atomic_load(&kvm->state) != KVM_STOPPED;
	int result;

	if (!stats || kvm_check_extension(kvm, KVM_CAP_BINARY_STATS_FD) <= 0)
		return -EOPNOTSUPP;
	if (stats->count == kvm->cpu_count + 1)
		return 0;
	/* one has come since */
	stats_close(stats);
	result = runs ? kvm_pause(kvm) : 0;
	if (result)
		return result;
	result = stats_open_files(kvm, stats);
	if (runs)
		kvm_resume(kvm);
	return result;
}

int kvm_stats_each(struct kvm *kvm, int cpu, void (*each)(const struct kvm_stat *stat, void *opaque), void *opaque)
{
	const struct stats *stats = kvm_get_state(kvm, stats_key);
	_cleanup_free_ char *data = NULL;
	const struct stats_file *file;
	int result;

	if (!stats || cpu < KVM_STATS_VM || (unsigned int)(cpu + 1) >= stats->count)
		return -ENOENT;
	file = &stats->files[cpu + 1];
	data = malloc(file->data_size + 1);
	if (!data)
		return -ENOMEM;
	result = stats_file_read(file, data, file->data_size, file->header.data_offset);
	for (uint32_t i = 0; i < file->header.num_desc && !result; i++) {
		const struct kvm_stats_desc *description = stats_description(file, i);
		struct kvm_stat stat = { .name = description->name, .flags = description->flags, .exponent = description->exponent };

		if (!stats_is_plain(description))
			continue;
		memcpy(&stat.value, data + description->offset, sizeof(stat.value));
		each(&stat, opaque);
	}
	return result;
}

static int stats_init(struct kvm *kvm)
{
	struct stats *stats = calloc(1, sizeof(*stats));
	int result;

	if (!stats)
		return log_errno(ENOMEM, "statistics");
	result = kvm_set_state(kvm, stats_key, stats);
	if (result)
		free(stats);
	return result;
}

static void stats_exit(struct kvm *kvm)
{
	struct stats *stats = kvm_get_state(kvm, stats_key);

	stats_close(stats);
	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, stats_key, NULL))
		free(stats);
}

late_init(stats_init);
late_exit(stats_exit);
