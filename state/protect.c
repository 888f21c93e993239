/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Write protection of guest memory by userfaultfd (Documentation/admin-guide/mm/userfaultfd.rst).
 *
 * It catches every writer: vCPUs in the guest, devices' threads, the kernel's own I/O. Linux has it for shared memory
 * since 5.19 on x86, since 6.12 on arm64; it needs /dev/userfaultfd or CAP_SYS_PTRACE, since the faults that count
 * happen in the kernel. A thread of its own answers faults, so that a guest waits for one block, not for the file.
 *
 * A block goes from TODO over BUSY to DONE, under `lock`; whoever finds it BUSY waits.
 */
#include "state/protect.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "kvm/log.h"
#include "kvm/ram-options.h"
#include "kvm/thread.h"
#include "kvm/vhost-option.h"

/* Of Linux 5.19, newer than some distributions' headers */
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM	(1 << 12)
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW		_IO(0xAA, 0x00)
#endif

bool memory_is_shared(const struct config *config)
{
	/* passt is asked for vhost-user wherever it has that */
	for (size_t i = 0; i < config_count(config, "network"); i++)
		if (strstr(config_item(config, "network", i), "vhost-user") || strstr(config_item(config, "network", i), "passt"))
			return true;
	for (size_t i = 0; i < config_count(config, "disk"); i++)
		if (disk_is_vhost_user(config_item(config, "disk", i)))
			return true;
	for (size_t i = 0; i < config_count(config, "fs"); i++)
		if (fs_is_vhost_user(config_item(config, "fs", i)))
			return true;
	return config_count(config, "vhost-user");
}

enum { TODO, BUSY, DONE };

struct protect {
	struct kvm *kvm;
	uint64_t block;
	int (*save)(void *opaque, uint64_t offset, size_t length);
	void *opaque;
	int fd, stop_fd;
	pthread_t thread;
	pthread_mutex_t lock;		/* guards the two below */
	pthread_cond_t saved;
	uint8_t *states;
	int error;			/* the first */
};

static int protect_set(const struct protect *protect, uint64_t offset, uint64_t length, bool on)
{
	struct uffdio_writeprotect range = {
		.range = { (uintptr_t)protect->kvm->ram_host + offset, length },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	while (ioctl(protect->fd, UFFDIO_WRITEPROTECT, &range) < 0)
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	return 0;
}

/* Whether the block is the caller's to save; else somebody has. */
static bool block_take(struct protect *protect, size_t index)
{
	bool mine;

	pthread_mutex_lock(&protect->lock);
	while (protect->states[index] == BUSY)
		pthread_cond_wait(&protect->saved, &protect->lock);
	mine = protect->states[index] == TODO;
	if (mine)
		protect->states[index] = BUSY;
	pthread_mutex_unlock(&protect->lock);
	return mine;
}

int protect_save(struct protect *protect, uint64_t offset)
{
	uint64_t length = MIN(protect->block, protect->kvm->ram_size - offset);
	size_t index = (size_t)(offset / protect->block);
	int result = 0;

	if (block_take(protect, index)) {
		result = protect->save(protect->opaque, offset, (size_t)length);
		pthread_mutex_lock(&protect->lock);
		protect->states[index] = DONE;
		protect->error = protect->error ? protect->error : result;
		pthread_cond_broadcast(&protect->saved);
		pthread_mutex_unlock(&protect->lock);
	}
	/* a block that was saved already too: who came late waits to be woken */
	if (protect_set(protect, offset, length, false))
		log_debug("snapshot: a block of memory stays protected");
	return result;
}

static void serve_fault(struct protect *protect)
{
	struct uffd_msg message;
	uint64_t offset;

	if (read(protect->fd, &message, sizeof(message)) != sizeof(message) || message.event != UFFD_EVENT_PAGEFAULT)
		return;
	offset = message.arg.pagefault.address - (uintptr_t)protect->kvm->ram_host;
	/* its error is kept, and the guest must go on whatever becomes of the file */
	if (offset < protect->kvm->ram_size && protect_save(protect, ALIGN_DOWN(offset, protect->block)))
		log_debug("snapshot: a block can't be written");
}

static void *serve_faults(void *opaque)
{
	struct protect *protect = opaque;
	struct pollfd fds[] = { { .fd = protect->fd, .events = POLLIN }, { .fd = protect->stop_fd, .events = POLLIN } };

	while (poll(fds, ARRAY_SIZE(fds), -1) >= 0 || errno == EINTR) {
		if (fds[1].revents)
			break;
		if (fds[0].revents)
			serve_fault(protect);
	}
	return NULL;
}

/* ---- life ---- */

int userfault_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	_cleanup_close_ int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int fd = device >= 0 ? ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK) :
					       (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0)
		return -EOPNOTSUPP;
	return take_fd(&fd);
}

static int userfault_register(const struct protect *protect)
{
	struct uffdio_register all = {
		.range = { (uintptr_t)protect->kvm->ram_host, protect->kvm->ram_size }, .mode = UFFDIO_REGISTER_MODE_WP,
	};

	uint64_t first = MIN(protect->kvm->ram_size, MIB(2));
	int result;

	if (ioctl(protect->fd, UFFDIO_REGISTER, &all) < 0 || !(all.ioctls & BIT(_UFFDIO_WRITEPROTECT)))
		return -EOPNOTSUPP;
	/* Linux before 6.4 takes a range of one mapping only, and on x86 RAM's first 2 MiB are one (arch_ram_layout()). */
	result = protect_set(protect, 0, first, true);
	if (!result && first < protect->kvm->ram_size)
		result = protect_set(protect, first, protect->kvm->ram_size - first, true);
	return result;
}

static void protect_free(struct protect *protect)
{
	/* closing it takes the protection off and wakes all who wait */
	if (protect->fd >= 0)
		close(protect->fd);
	if (protect->stop_fd >= 0)
		close(protect->stop_fd);
	pthread_cond_destroy(&protect->saved);
	pthread_mutex_destroy(&protect->lock);
	free(protect->states);
	free(protect);
}

int protect_start(struct protect **out, struct kvm *kvm, uint64_t block,
		  int (*save)(void *opaque, uint64_t offset, size_t length), void *opaque)
{
	struct protect *protect = calloc(1, sizeof(*protect));
	int result = 0;

	if (!protect)
		return -ENOMEM;
	*protect = (struct protect){ .kvm = kvm, .block = block, .save = save, .opaque = opaque, .fd = -1, .stop_fd = -1 };
	pthread_mutex_init(&protect->lock, NULL);
	pthread_cond_init(&protect->saved, NULL);
	protect->states = calloc(1, (size_t)(kvm->ram_size / block + 1));
	/*
	 * huge pages of hugetlbfs are larger than a block, a private mapping of a file can't be protected, and neither can
	 * what another process writes to by a mapping of its own
	 */
	if (kvm->ram_fd < 0 || ram_is_hugetlb(kvm->config) || memory_is_shared(kvm->config))
		result = -EOPNOTSUPP;
	if (!result && !protect->states)
		result = -ENOMEM;
	if (!result)
		result = protect->fd = userfault_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	if (result >= 0)
		result = protect->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (result >= 0)
		result = userfault_register(protect);
	if (result >= 0)
		result = thread_start(&protect->thread, serve_faults, protect, "snapshot-faults");
	if (result < 0) {
		protect_free(protect);
		return result;
	}
	*out = protect;
	return 0;
}

int protect_error(struct protect *protect)
{
	int error;

	pthread_mutex_lock(&protect->lock);
	error = protect->error;
	pthread_mutex_unlock(&protect->lock);
	return error;
}

void protect_stop(struct protect *protect)
{
	static const uint64_t one = 1;

	if (write(protect->stop_fd, &one, sizeof(one)) < 0)
		log_debug("snapshot: its thread isn't told to end");
	pthread_join(protect->thread, NULL);
	protect_free(protect);
}
