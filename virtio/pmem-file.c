/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files as guest memory: what --pmem names, opened, locked, mapped, and put into the address space behind RAM.
 *
 * They are there before the devices are and go after them, since a guest may have any device write into them. So that
 * no such write finds nothing behind it, which would be a SIGBUS here: a mapping ends where its file does, and all of
 * the file has its space on the host's disk from the start. A file that somebody cuts short nevertheless loses its end
 * (kvm/file-memory.h), and its flushes fail from then on.
 */
#include "virtio/pmem.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "kvm/arch.h"
#include "kvm/log.h"
#include "kvm/rcu.h"

#define PMEM_GRAIN	MIB(2)		/* what guests can map, and hosts like to */
#define PMEM_ALIGN	GIB(1)

static const char pmem_files_key[] = "pmem-files";

struct pmem_file *pmem_files(const struct kvm *kvm)
{
	return kvm_get_state(kvm, pmem_files_key);
}

/* ---- the file ---- */

struct pmem_options {
	struct keyval keyval;
	const char *path;
	bool read_only;
	uint64_t size;			/* 0: the file's */
};

static int options_parse(struct pmem_options *options, const char *text)
{
	int result = keyval_parse(&options->keyval, "pmem", text, true);
	const char *size;

	if (result)
		return result;
	options->path = options->keyval.first;
	size = keyval_get(&options->keyval, "size");
	result = keyval_bool(&options->keyval, "pmem", "ro", &options->read_only);
	if (!result && !*options->path)
		result = log_error(EUSAGE, "option --pmem: no file named (say --pmem FILE[,ro][,size=SIZE])");
	if (!result && size && (parse_size(size, 1, &options->size) || !options->size))
		result = log_error(EUSAGE, "option --pmem: size=%s is no size", size);
	return result ? result : keyval_done(&options->keyval, "pmem", "ro, size=");
}

/* With a size a file that isn't there is made, as long as somebody can write to it. */
static int file_make(const struct pmem_options *options)
{
	int fd;

	if (!options->size || options->read_only)
		return 0;
	fd = open(options->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd >= 0)
		close(fd);
	else if (errno != EEXIST)
		return log_errno(errno, "option --pmem: '%s': can't be made", options->path);
	return 0;
}

/* How much of it is memory, and where; the file is as it was. */
static int file_choose(struct kvm *kvm, struct pmem_file *pmem, const struct pmem_options *options, uint64_t from)
{
	const struct platform_layout *layout = arch_platform(kvm);

	pmem->size = options->size ? options->size : pmem->file->size;
	if (!pmem->size || pmem->size % PMEM_GRAIN)
		return log_error(EUSAGE, "option --pmem: '%s': %llu bytes are not a multiple of 2M (say ,size=%lluM)", options->path,
				 (unsigned long long)pmem->size, (unsigned long long)(pmem->size / PMEM_GRAIN + 1) * 2);
	pmem->base = ALIGN_UP(from ? from : layout->pmem_base, PMEM_ALIGN);
	if (!range_contains(layout->pmem_base, layout->pmem_size, pmem->base, pmem->size))
		return log_error(ENOSPC, "option --pmem: no room for '%s' behind RAM (%llu MiB are there on this host for all of them)",
				 options->path, (unsigned long long)(layout->pmem_size >> 20));
	if (pmem->size > pmem->file->size && options->read_only)
		return log_error(EUSAGE, "option --pmem: '%s' has %llu bytes, and can't grow with ,ro", options->path,
				 (unsigned long long)pmem->file->size);
	return 0;
}

/*
 * Space for all of it. It is looked for first: what a file system finds out on the way it leaves as a file that takes up
 * the whole disk.
 */
static int file_allocate(const struct pmem_file *pmem)
{
	struct statvfs fs;
	struct stat status;

	if (fstat(pmem->file->fd, &status) || fstatvfs(pmem->file->fd, &fs))
		return -errno;
	if (pmem->size > (uint64_t)status.st_blocks * 512 &&
	    pmem->size - (uint64_t)status.st_blocks * 512 > (uint64_t)fs.f_bavail * fs.f_frsize)
		return -ENOSPC;
	return fallocate(pmem->file->fd, 0, 0, (off_t)pmem->size) ? -errno : 0;
}

static int file_fit(const struct pmem_file *pmem)
{
	struct disk_file *file = pmem->file;
	uint64_t size = file->size;
	int result = 0;

	if (pmem->read_only || (file->block_device && pmem->size <= size))
		return 0;
	if (pmem->size > size)
		result = disk_file_resize(file, pmem->size);
	if (!result && !file->block_device)
		result = file_allocate(pmem);
	/* a file system that can't do it in advance says so, and its users know it */
	if (!result || result == -EOPNOTSUPP || result == -ENOSYS)
		return 0;
	if (pmem->size > size && disk_file_resize(file, size))
		log_warn("option --pmem: '%s' stays %llu bytes long", file->path, (unsigned long long)pmem->size);
	return log_errno(result, "option --pmem: '%s': no room for all of its %llu MiB", file->path,
			 (unsigned long long)(pmem->size >> 20));
}

/* Aligned for 2 MiB pages, so that KVM and the host can map it by those where the file system has them. */
static int file_map(struct pmem_file *pmem)
{
	size_t reserved = pmem->size + PMEM_GRAIN;
	char *area = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *host;

	if (area == MAP_FAILED)
		return log_errno(errno, "option --pmem: '%s'", pmem->file->path);
	host = (char *)ALIGN_UP((uintptr_t)area, (uintptr_t)PMEM_GRAIN);
	if (mmap(host, pmem->size, PROT_READ | (pmem->read_only ? 0 : PROT_WRITE), MAP_SHARED | MAP_FIXED, pmem->file->fd, 0) ==
	    MAP_FAILED) {
		int error = errno;

		munmap(area, reserved);
		return log_errno(error, "option --pmem: '%s': can't be mapped", pmem->file->path);
	}
	if (host > area)
		munmap(area, (size_t)(host - area));
	munmap(host + pmem->size, (size_t)(area + reserved - (host + pmem->size)));
	pmem->host = host;
	/* advice only: a core dump without it */
	madvise(host, pmem->size, MADV_DONTDUMP);
	return 0;
}

/* ---- cut short ---- */

static void file_was_cut(struct event_source *source, uint32_t events)
{
	const struct pmem_file *pmem = container_of(source, struct pmem_file, cut);
	uint64_t times;

	(void)events;
	if (read(source->fd, &times, sizeof(times)) != sizeof(times))
		return;
	log_warn("persistent memory '%s': somebody has cut the file short, to %llu KiB of %llu; what lay behind is lost, what the guest "
		 "writes there goes with the VM, and its flushes fail", pmem->file->path,
		 (unsigned long long)file_memory_kept(&pmem->memory) >> 10, (unsigned long long)pmem->size >> 10);
}

static int file_watch(struct kvm *kvm, struct pmem_file *pmem)
{
	pmem->memory = (struct file_memory){ .host = pmem->host, .size = pmem->size, .fd = pmem->file->fd, .read_only = pmem->read_only,
					     .event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	if (pmem->memory.event < 0 || event_add(kvm->loop, &pmem->cut, pmem->memory.event, EPOLLIN, file_was_cut))
		return log_errno(errno, "option --pmem: '%s'", pmem->file->path);
	file_memory_watch(&pmem->memory);
	return 0;
}

static void file_unwatch(struct pmem_file *pmem)
{
	if (!pmem->memory.host)
		return;
	file_memory_unwatch(&pmem->memory);
	event_del(&pmem->cut);
	if (pmem->memory.event >= 0)
		close(pmem->memory.event);
}

/* ---- in the guest ---- */

static int file_place(struct kvm *kvm, struct pmem_file *pmem)
{
	if (pmem->read_only)
		region_init_rom(&pmem->region, "pmem", pmem->host, pmem->size, pmem->file->fd, 0);
	else
		region_init_ram(&pmem->region, "pmem", pmem->host, pmem->size, pmem->file->fd, 0);
	return region_add(&kvm->memory, &pmem->region, pmem->base, 0);
}

static int file_open(struct kvm *kvm, struct pmem_file *pmem, const struct pmem_options *options, uint64_t from)
{
	const struct disk_file_options file = { .path = options->path, .read_only = options->read_only };
	int result = file_make(options);

	pmem->read_only = options->read_only;
	if (!result)
		result = disk_file_open(&pmem->file, &file);
	if (!result)
		result = file_choose(kvm, pmem, options, from);
	if (!result)
		result = file_fit(pmem);
	if (!result)
		result = file_map(pmem);
	if (!result)
		result = file_watch(kvm, pmem);
	return result ? result : file_place(kvm, pmem);
}

/* ---- life ---- */

static void files_free(struct pmem_file *pmem)
{
	for (struct pmem_file *each = pmem; each; each = each->next)
		region_del(&each->region);
	rcu_synchronize();
	for (struct pmem_file *next; pmem; pmem = next) {
		next = pmem->next;
		file_unwatch(pmem);
		if (pmem->host)
			munmap(pmem->host, pmem->size);
		disk_file_close(pmem->file);
		free(pmem);
	}
}

static int files_add(struct kvm *kvm, struct pmem_file **at, const char *text, uint64_t from)
{
	struct pmem_options options = { 0 };
	int result;

	*at = calloc(1, sizeof(**at));
	if (!*at)
		return log_errno(ENOMEM, "--pmem");
	result = options_parse(&options, text);
	if (!result)
		result = file_open(kvm, *at, &options, from);
	keyval_free(&options.keyval);
	return result;
}

static void pmem_files_exit(struct kvm *kvm)
{
	struct pmem_file *first = pmem_files(kvm);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, pmem_files_key, NULL))
		files_free(first);
}

static int pmem_files_init(struct kvm *kvm)
{
	size_t count = config_count(kvm->config, "pmem");
	struct pmem_file *first = NULL, **at = &first;
	uint64_t from = 0;
	int result = 0;

	if (!count)
		return INIT_SKIP;
	for (size_t i = 0; i < count && !result; i++) {
		result = files_add(kvm, at, config_item(kvm->config, "pmem", i), from);
		if (!result) {
			from = (*at)->base + (*at)->size;
			at = &(*at)->next;
		}
	}
	if (!result)
		result = kvm_set_state(kvm, pmem_files_key, first);
	if (result)
		files_free(first);
	return result;
}

static const struct option_def pmem_options[] = {
	{ .name = "pmem", .type = OPTION_LIST, .argument = "FILE[,ro][,size=SIZE]",
	  .help = "Persistent memory from a file, of a multiple of 2M; repeat for more" },
};
RUN_OPTIONS(pmem_options_group, "Basic options", pmem_options);

dev_base_init(pmem_files_init);
dev_base_exit(pmem_files_exit);
