/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See kvm/file-memory.h. A SIGBUS comes to whatever thread touched the memory, anywhere in the program, so that its handler
 * takes no lock that others hold for long, and calls nothing that may not be called there: fstat, mmap and write are system
 * calls and no more. A SIGBUS for any other reason is as deadly as ever.
 */
#include "kvm/file-memory.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE	4096U

static struct {
	_Atomic(struct file_memory *) first;
	atomic_uint readers;		/* that go through the list */
	atomic_uint mends;
	atomic_flag mending;		/* one at a time: a second one would take away what was written behind the first */
	struct sigaction before;	/* the main thread's, but for the handler */
} registered_file_memory = { .mending = ATOMIC_FLAG_INIT };

static uint64_t page_size(const struct stat *status)
{
	uint64_t block = (uint64_t)status->st_blksize;

	return block == MIB(2) || block == GIB(1) ? block : PAGE;
}

/* With the flag taken: what the file lost since it was last looked at. */
static void mend_one(struct file_memory *memory)
{
	uint64_t kept = atomic_load(&memory->kept), end, one = 1;
	int protection = PROT_READ | (memory->read_only ? 0 : PROT_WRITE);
	struct stat status;

	if (fstat(memory->fd, &status) || !S_ISREG(status.st_mode) || status.st_size < 0)
		return;
	/* a file of huge pages loses whole ones */
	end = ALIGN_UP((uint64_t)status.st_size, page_size(&status));
	if (end >= kept)
		return;
	if (mmap((char *)memory->host + end, kept - end, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) ==
	    MAP_FAILED)
		return;
	atomic_store(&memory->kept, end);
	atomic_fetch_add(&registered_file_memory.mends, 1);
	if (memory->event >= 0 && write(memory->event, &one, sizeof(one)) < 0)
		return;
}

/* Whether @address lies in watched memory; all that is watched is mended. */
static bool mend_all(const void *address)
{
	bool found = false;

	atomic_fetch_add(&registered_file_memory.readers, 1);
	while (atomic_flag_test_and_set(&registered_file_memory.mending))
		sched_yield();
	for (struct file_memory *memory = atomic_load(&registered_file_memory.first); memory; memory = atomic_load(&memory->next)) {
		mend_one(memory);
		found |= range_contains((uintptr_t)memory->host, memory->size, (uintptr_t)address, 1) &&
			 (uintptr_t)address - (uintptr_t)memory->host >= atomic_load(&memory->kept);
	}
	atomic_flag_clear(&registered_file_memory.mending);
	atomic_fetch_sub(&registered_file_memory.readers, 1);
	return found;
}

/* Back to the same instruction: either there is memory now, or this is the end as it would have been without us. */
static void bus_error(int number, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)context;
	if (info->si_code != BUS_ADRERR || !mend_all(info->si_addr))
		sigaction(number, &registered_file_memory.before, NULL);
	errno = saved;
}

void file_memory_watch(struct file_memory *memory)
{
	struct sigaction action = { .sa_sigaction = bus_error, .sa_flags = (int)(SA_SIGINFO | SA_RESTART) };

	atomic_store(&memory->kept, memory->size);
	atomic_store(&memory->next, atomic_load(&registered_file_memory.first));
	if (!atomic_load(&registered_file_memory.first)) {
		/* no other signal's handler in between, which might want the flag */
		sigfillset(&action.sa_mask);
		sigaction(SIGBUS, &action, &registered_file_memory.before);
	}
	atomic_store(&registered_file_memory.first, memory);
}

void file_memory_unwatch(struct file_memory *memory)
{
	_Atomic(struct file_memory *) *at = &registered_file_memory.first;

	while (atomic_load(at) && atomic_load(at) != memory)
		at = &atomic_load(at)->next;
	if (!atomic_load(at))
		return;
	atomic_store(at, atomic_load(&memory->next));
	/* who goes through it now may have it still */
	while (atomic_load(&registered_file_memory.readers))
		sched_yield();
	if (!atomic_load(&registered_file_memory.first))
		sigaction(SIGBUS, &registered_file_memory.before, NULL);
}

unsigned int file_memory_mend(void)
{
	mend_all(NULL);
	return atomic_load(&registered_file_memory.mends);
}

uint64_t file_memory_kept(const struct file_memory *memory)
{
	return atomic_load(&memory->kept);
}
