/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VM itself: /dev/kvm, the VM fd, the architecture's chips, and guest RAM in one shared file.
 *
 * One core_init callback, since each step stands on the one before. Main thread.
 */
#include <fcntl.h>
#include <grp.h>
#include <linux/kvm.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>

#include "core/irq.h"
#include "core/memslot.h"
#include "core/ram-file.h"
#include "kvm/arch.h"
#include "kvm/fork.h"
#include "kvm/kvm.h"
#include "kvm/io.h"
#include "kvm/log.h"
#include "kvm/numa.h"
#include "kvm/ram-blocks.h"
#include "kvm/ram-options.h"

#define RAM_ALIGN	MIB(2)
#define RAM_MAX		(64ULL << 40)

/* Of Linux 5.14, newer than some distributions' headers */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif

int kvm_check_extension(const struct kvm *kvm, int capability)
{
	int result = ioctl(kvm->vm_fd >= 0 ? kvm->vm_fd : kvm->dev_fd, KVM_CHECK_EXTENSION, capability);

	return MAX(result, 0);
}

/* ---- /dev/kvm ---- */

/* Names are in databases that a static program can't reach: usermod takes a number as well. */
static const char *group_name(gid_t gid, char number[16])
{
#ifndef STATIC_PROGRAM
	const struct group *group = getgrgid(gid);

	if (group)
		return group->gr_name;
#endif
	snprintf(number, 16, "%u", gid);
	return number;
}

static int vm_open_refused(const char *path, int error)
{
	const char *group = NULL;
	struct stat status;
	char number[16];

	/* a node without its module says ENODEV */
	if (error == ENOENT || error == ENODEV || error == ENXIO)
		return log_error(error, "option --dev: '%s': no such device (x86: load kvm_intel or kvm_amd, or turn "
				 "virtualization on in the firmware; arm64: the host has to boot at EL2)", path);
	if (error != EACCES && error != EPERM)
		return log_errno(error, "option --dev: '%s': can't open it", path);
	/* root's own group is nobody's way in */
	if (!stat(path, &status) && status.st_gid && (status.st_mode & 060) == 060)
		group = group_name(status.st_gid, number);
	if (group)
		return log_error(error, "option --dev: '%s': no permission (be in group %s: usermod -aG %s $USER, "
				 "and log in again)", path, group, group);
	return log_error(error, "option --dev: '%s': no permission, and no group has it (as root: chgrp kvm %s; "
			 "chmod 660 %s; then be in group kvm)", path, path, path);
}

static int vm_open(struct kvm *kvm)
{
	const char *path = config_string(kvm->config, "dev");
	int version;

	path = path ? path : "/dev/kvm";
	kvm->dev_fd = open(path, O_RDWR | O_CLOEXEC);
	if (kvm->dev_fd < 0)
		return vm_open_refused(path, errno);
	version = ioctl(kvm->dev_fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return log_error(ENOTTY, "option --dev: '%s': is not KVM's device, or of API version %d instead of %d",
				 path, version, KVM_API_VERSION);
	return 0;
}

static int vm_create(struct kvm *kvm)
{
	unsigned long type = 0;
	int result = arch_vm_type(kvm, &type), size;

	if (result)
		return result;
	do {
		kvm->vm_fd = ioctl(kvm->dev_fd, KVM_CREATE_VM, type);
	} while (kvm->vm_fd < 0 && errno == EINTR);
	if (kvm->vm_fd < 0)
		return log_errno(errno, "KVM can't create a VM");
	size = ioctl(kvm->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		return log_error(ENOTTY, "KVM has no size for a vCPU's mapping");
	kvm->run_size = (size_t)size;
	kvm->cpu_max = (unsigned int)MAX(kvm_check_extension(kvm, KVM_CAP_MAX_VCPUS),
					 kvm_check_extension(kvm, KVM_CAP_NR_VCPUS));
	return 0;
}

/* ---- RAM ---- */

/* Few blocks, since each is a memory slot of KVM's while it is plugged; they begin where host and guest have huge pages. */
static int ram_make_room(struct kvm *kvm, uint64_t max)
{
	uint64_t boot = kvm->ram_size, block = RAM_ALIGN;

	if (boot % RAM_ALIGN || max % RAM_ALIGN || max <= boot || max > RAM_MAX)
		return log_error(EUSAGE, "option --mem: max=: has to be more than the %llu MiB that are there first, both multiples of 2M",
				 (unsigned long long)(boot >> 20));
	while ((max - boot) / block > RAM_BLOCKS_MAX)
		block *= 2;
	kvm->ram_block = block;
	kvm->ram_more = ALIGN_DOWN(max - boot, block);
	kvm->ram_size = boot + kvm->ram_more;
	return 0;
}

static int ram_check_size(struct kvm *kvm)
{
	struct ram_options options;
	struct sysinfo host;
	uint64_t there;
	int result = ram_options_parse(kvm->config, &options);

	if (result)
		return result;
	kvm->ram_size = config_uint(kvm->config, "mem");
	if (!kvm->ram_size)
		kvm->ram_size = MIB(512);
	if (kvm->ram_size < MIB(1))
		return log_error(EINVAL, "option --mem: %llu bytes is too little (at least 1M)",
				 (unsigned long long)kvm->ram_size);
	there = sysinfo(&host) ? UINT64_MAX : ((uint64_t)host.totalram + host.totalswap) * host.mem_unit;
	if (kvm->ram_size > there)
		return log_error(ENOMEM, "option --mem: %llu MiB, but this host has only %llu MiB",
				 (unsigned long long)(kvm->ram_size >> 20), (unsigned long long)(there >> 20));
	kvm->ram_size = ALIGN_UP(kvm->ram_size, (uint64_t)4096);
	return options.max ? ram_make_room(kvm, options.max) : 0;
}

/* A file on the user's hugetlbfs mount that is gone from it at once. */
static int ram_open_hugetlbfs(const char *path, uint64_t *page)
{
	char name[4096];
	struct statfs fs;
	int fd;

	if (statfs(path, &fs))
		return log_errno(errno, "option --hugetlbfs: '%s'", path);
	if (fs.f_type != HUGETLBFS_MAGIC)
		return log_error(EINVAL, "option --hugetlbfs: '%s' is no hugetlbfs mount (or say --hugetlbfs alone)",
				 path);
	*page = (uint64_t)fs.f_bsize;
	fd = temporary_file(path, name, sizeof(name));
	if (fd < 0)
		return log_errno(fd, "option --hugetlbfs: '%s': can't make a file there", path);
	unlink(name);
	return fd;
}

/* For messages: who wants huge pages. */
static const char *huge_option(const struct kvm *kvm)
{
	return config_given(kvm->config, "hugetlbfs") ? "--hugetlbfs" : "--mem";
}

static int ram_open_huge(const struct kvm *kvm, uint64_t page)
{
	int fd = memfd_create("lkvm-ram", MFD_CLOEXEC | MFD_HUGETLB | (page == GIB(1) ? MFD_HUGE_1GB : MFD_HUGE_2MB));

	if (fd < 0)
		return log_errno(errno, "option %s: this host has no huge pages of %llu MiB", huge_option(kvm),
				 (unsigned long long)(page >> 20));
	return fd;
}

static int ram_open(struct kvm *kvm, const struct ram_options *options, uint64_t *page)
{
	const char *path = config_string(kvm->config, "hugetlbfs");
	int fd;

	*page = options->huge_page;
	if (!*page && config_given(kvm->config, "hugetlbfs"))
		*page = MIB(2);
	if (path && *path)
		return ram_open_hugetlbfs(path, page);
	if (*page)
		return ram_open_huge(kvm, *page);
	*page = 4096;
	fd = options->thp ? ram_file_open(&kvm->ram_mount) : memfd_create("lkvm-ram", MFD_CLOEXEC);
	return fd < 0 ? log_errno(options->thp ? -fd : errno, "guest memory") : fd;
}

/* Aligned for 2 MiB pages, so that KVM and the host can map it by those. */
static int ram_map(struct kvm *kvm, const struct ram_options *options, uint64_t page)
{
	bool huge = ram_is_hugetlb(kvm->config), image = kvm->ram_image >= 0;
	int flags = MAP_FIXED | (image || kvm->ram_fd < 0 ? MAP_PRIVATE : MAP_SHARED) | (huge ? 0 : MAP_NORESERVE) |
		    (!image && kvm->ram_fd < 0 ? MAP_ANONYMOUS : 0);
	uint64_t align = MAX(page, RAM_ALIGN);
	size_t size = kvm->ram_size, reserved = size + align;
	char *area, *host;

	area = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return log_errno(errno, "guest memory: no room for %zu MiB of addresses", size >> 20);
	host = (char *)ALIGN_UP((uintptr_t)area, (uintptr_t)align);
	/* Huge pages are reserved here: a pool that is too small is an error now, and would be a SIGBUS later. */
	if (mmap(host, size, PROT_READ | PROT_WRITE, flags, image ? kvm->ram_image : kvm->ram_fd,
		 (off_t)(image ? kvm->ram_image_offset : 0)) == MAP_FAILED) {
		int error = errno;

		munmap(area, reserved);
		if (huge && error == ENOMEM)
			return log_error(error, "option %s: %zu MiB are not free in huge pages of %llu KiB (see "
					 "HugePages_Free in /proc/meminfo, and write to /proc/sys/vm/nr_hugepages)",
					 huge_option(kvm), size >> 20, (unsigned long long)(page >> 10));
		return log_errno(error, "guest memory: can't map %zu MiB", size >> 20);
	}
	if (host > area)
		munmap(area, (size_t)(host - area));
	munmap(host + size, (size_t)(area + reserved - (host + size)));
	kvm->ram_host = host;
	/* Advice only: a core dump without guest RAM, and huge pages where the host's policy allows them. */
	madvise(host, size, MADV_DONTDUMP);
	madvise(host, size, options->thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	if (options->ksm && madvise(host, size, MADV_MERGEABLE))
		return log_errno(errno, "option --mem: ksm=on: this host's kernel merges no pages");
	return 0;
}

static void ram_unmount(struct event_work *work)
{
	struct kvm *kvm = container_of(work, struct kvm, ram_unmount_work);

	if (kvm->ram_mount >= 0)
		close(kvm->ram_mount);
	kvm->ram_mount = -1;
}

/* It is there, where it was in the process that this one is a copy of. */
static int ram_take_forked(struct kvm *kvm)
{
	if (kvm->ram_size != kvm->origin->ram_size)
		return log_error(EINVAL, "guest memory: %llu bytes, but %s has %llu", (unsigned long long)kvm->ram_size,
				 kvm->origin->parent, (unsigned long long)kvm->origin->ram_size);
	kvm->ram_host = kvm->origin->ram;
	return 0;
}

static int ram_allocate(struct kvm *kvm)
{
	struct ram_options options;
	uint64_t page;
	int fd, error = ram_options_parse(kvm->config, &options);

	if (error)
		return error;
	if (kvm->origin)
		return ram_take_forked(kvm);
	/* a file's pages are never merged: no file then, and what is to be told from others is the VM's alone anyway */
	if (kvm->ram_image >= 0 || options.ksm)
		return ram_map(kvm, &options, 4096);
	fd = ram_open(kvm, &options, &page);
	/* Milliseconds on a busy host: by the main loop's first round, beside the vCPUs. */
	if (kvm->ram_mount >= 0)
		event_work_post(&kvm->ram_unmount_work);
	if (fd < 0)
		return fd;
	kvm->ram_fd = fd;
	kvm->ram_size = ALIGN_UP(kvm->ram_size, page);
	error = ftruncate(fd, (off_t)kvm->ram_size) < 0 ? errno : 0;
	if (error == EFBIG)
		return log_error(error, "guest memory: %llu MiB are more than a file may have here (see ulimit -f)",
				 (unsigned long long)(kvm->ram_size >> 20));
	if (error)
		return log_errno(error, "guest memory: %llu MiB", (unsigned long long)(kvm->ram_size >> 20));
	return ram_map(kvm, &options, page);
}

/* Behind what says where it comes from. Kernels before 5.14 give a file its pages, and to others nothing. */
static int ram_fill(const struct kvm *kvm)
{
	struct ram_options options;

	if (ram_options_parse(kvm->config, &options) || !options.prealloc || kvm->origin || kvm->ram_image >= 0)
		return 0;
	if (!madvise(kvm->ram_host, kvm_boot_ram(kvm), MADV_POPULATE_WRITE))
		return 0;
	if (errno == EINVAL && kvm->ram_fd >= 0 && !fallocate(kvm->ram_fd, 0, 0, (off_t)kvm_boot_ram(kvm)))
		return 0;
	return log_errno(errno, "option --mem: prealloc: %llu MiB", (unsigned long long)(kvm_boot_ram(kvm) >> 20));
}

/* A fork has the memory that is there. */
static int ram_spread(struct kvm *kvm)
{
	int result = numa_parse(kvm->config, kvm_boot_ram(kvm), &kvm->numa);

	return !result && kvm->numa && !kvm->origin ? numa_bind(kvm->numa, kvm->ram_host) : result;
}

static int ram_add_regions(struct kvm *kvm)
{
	int result = arch_ram_layout(kvm);

	if (result)
		return result;
	kvm->ram_regions = calloc(kvm->ram_count + ram_block_count(kvm), sizeof(*kvm->ram_regions));
	if (!kvm->ram_regions)
		return log_errno(ENOMEM, "guest memory");
	for (unsigned int i = 0; i < kvm->ram_count && !result; i++) {
		const struct ram_range *range = &kvm->ram[i];

		region_init_ram(&kvm->ram_regions[i], "ram", (char *)kvm->ram_host + range->offset, range->size,
				kvm->ram_fd, range->offset);
		/*
		 * A hole in hugetlbfs gives its reservation up: the guest's next touch could be a SIGBUS. Where RAM lies
		 * over a file, or is shared with forks, what is given back would be that file's again.
		 */
		if (!ram_is_hugetlb(kvm->config) && kvm->ram_image < 0 && !kvm->origin)
			kvm->ram_regions[i].discard_page = (uint64_t)sysconf(_SC_PAGESIZE);
		result = region_add(&kvm->memory, &kvm->ram_regions[i], range->base, 0);
	}
	return result;
}

/* In one step: each costs a new view, and there may be many. */
static void ram_regions_del(struct kvm *kvm)
{
	if (!kvm->ram_regions)
		return;
	address_space_begin(&kvm->memory);
	for (unsigned int i = 0; i < kvm->ram_count + ram_block_count(kvm); i++)
		region_del(&kvm->ram_regions[i]);
	if (address_space_commit(&kvm->memory))
		log_debug("guest memory: stays in the address space");
}

int kvm_make_ram(struct kvm *kvm)
{
	int result = ram_check_size(kvm);

	event_work_init(kvm->loop, &kvm->ram_unmount_work, ram_unmount);
	return result ? result : ram_allocate(kvm);
}

void kvm_free_ram(struct kvm *kvm)
{
	if (kvm->ram_host)
		munmap(kvm->ram_host, kvm->ram_size);
	if (kvm->ram_fd >= 0)
		close(kvm->ram_fd);
	event_work_cancel(&kvm->ram_unmount_work);
	ram_unmount(&kvm->ram_unmount_work);
	kvm->ram_host = NULL;
	kvm->ram_fd = -1;
}

/* ---- registration ---- */

static void vm_exit(struct kvm *kvm)
{
	if (kvm->process_ends)
		return;
	ram_regions_del(kvm);
	if (kvm->vm_fd >= 0)
		arch_vm_exit(kvm);
	memslots_exit(kvm);
	irqs_exit(kvm);
	if (kvm->vm_fd >= 0)
		close(kvm->vm_fd);
	if (kvm->dev_fd >= 0)
		close(kvm->dev_fd);
	kvm->vm_fd = kvm->dev_fd = -1;
	kvm_free_ram(kvm);
	free(kvm->ram_regions);
	kvm->ram_regions = NULL;
	free(kvm->numa);
	kvm->numa = NULL;
}

static int vm_init(struct kvm *kvm)
{
	bool made = kvm->ram_host != NULL;
	int result = made ? 0 : ram_check_size(kvm);

	if (!made)
		event_work_init(kvm->loop, &kvm->ram_unmount_work, ram_unmount);
	if (!result)
		result = vm_open(kvm);
	if (!result)
		result = vm_create(kvm);
	if (!result)
		result = irqs_init(kvm);
	if (!result)
		result = memslots_init(kvm);
	if (!result)
		result = arch_vm_init(kvm);
	if (!result)
		result = made ? 0 : ram_allocate(kvm);
	if (!result)
		result = ram_spread(kvm);
	if (!result)
		result = ram_fill(kvm);
	if (!result)
		result = ram_add_regions(kvm);
	if (result)
		vm_exit(kvm);
	return result;
}
core_init(vm_init);
core_exit(vm_exit);
