/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Address spaces: guest memory and I/O ports as prioritized regions, flattened into an immutable view.
 *
 * A region is RAM, ROM, I/O (a device's callbacks) or an alias of part of another region. Where regions
 * overlap, the higher priority is seen. After each change the regions are flattened into a sorted array of
 * disjoint ranges, which is swapped whole, so that vCPUs and event loops look up without a lock
 * (kvm/rcu.h). KVM's memory slots, ioeventfds and coalesced zones follow the view.
 *
 * Guest memory is touched through the checked accessors below and nowhere else.
 */
#ifndef KVM_MEMORY_H
#define KVM_MEMORY_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "kvm/types.h"

struct address_space;
struct dirty_map;

enum region_kind { REGION_RAM, REGION_ROM, REGION_IO, REGION_ALIAS };

/**
 * struct io_ops - a device's register callbacks; define one with IO_OPS()
 *
 * @offset is relative to the region. The bus calls with a size of 1, 2, 4 or 8 between @min_size and
 * @max_size, naturally aligned and inside the region: an access that is wider, or misaligned, is split into
 * the largest pieces the device takes, ascending; one that is narrower than @min_size is refused (reads as
 * all ones, writes are dropped). Callbacks run on the thread of the vCPU that made the access, several at
 * once, inside an RCU read section: the device locks its own state.
 */
struct io_ops {
	uint64_t (*read)(void *device, uint64_t offset, unsigned int size);
	void (*write)(void *device, uint64_t offset, uint64_t value, unsigned int size);
	uint8_t min_size;	/* 0 means 1 */
	uint8_t max_size;	/* 0 means 8 */
};

/**
 * IO_OPS() - a static const struct io_ops from typed callbacks
 *
 *	static uint64_t rtc_read(struct rtc *rtc, uint64_t offset, unsigned int size);
 *	static void rtc_write(struct rtc *rtc, uint64_t offset, uint64_t value, unsigned int size);
 *	IO_OPS(rtc_io_ops, struct rtc, rtc_read, rtc_write, 1, 1);
 */
#define IO_OPS(ops, type, read_fn, write_fn, min_, max_)					\
	static uint64_t ops##_read(void *device, uint64_t offset, unsigned int size)		\
	{											\
		type *typed_ = device;								\
		return read_fn(typed_, offset, size);						\
	}											\
	static void ops##_write(void *device, uint64_t offset, uint64_t value, unsigned int size) \
	{											\
		type *typed_ = device;								\
		write_fn(typed_, offset, value, size);						\
	}											\
	static const struct io_ops ops = {							\
		.read = ops##_read, .write = ops##_write, .min_size = (min_), .max_size = (max_), \
	}

/**
 * struct region - a piece of an address space, embedded in its owner
 *
 * Filled by one of the region_init_*() functions; the fields below are private to core/space.c but for
 * reading. Must outlive its last use by a reader: after region_del() call rcu_synchronize() before freeing
 * the owner (not from inside an I/O callback). Any thread may move or delete it, while it is added to a space by
 * its owner alone.
 */
struct region {
	const char *name;
	enum region_kind kind;
	int priority;
	uint64_t base;		/* address in the space, valid while added */
	uint64_t size;
	_Atomic(struct address_space *) space;	/* NULL while not added; changed under that space's lock */
	/* RAM, ROM */
	void *host;
	int fd;			/* memfd behind @host, or -1 */
	uint64_t fd_offset;
	uint64_t discard_page;	/* RAM that memory_discard() may give back: the size of its pages; 0: it stays */
	/* I/O */
	const struct io_ops *ops;
	void *device;
	/* alias */
	struct region *target;
	uint64_t target_offset;
	/* I/O: writes that need no userspace, following the region where it goes */
	struct doorbell *doorbells;
	_Atomic(struct coalesced *) coalesced;
	struct region *next;
};

/** struct doorbell - an ioeventfd: a write of @size bytes at @offset (of @datamatch, if set) signals @fd */
struct doorbell {
	uint64_t offset;
	unsigned int size;	/* 1, 2, 4, 8, or 0 for a write of any size (KVM_CAP_IOEVENTFD_ANY_LENGTH) */
	bool match;
	uint64_t datamatch;
	int fd;			/* owned by the caller */
	struct doorbell *next;
};

/**
 * struct coalesced - writes in this part may reach the device late, but before any other access exits
 *
 * KVM is told after COALESCE_AFTER writes: a zone costs the VM's end some milliseconds in the kernel, which a
 * guest that hardly uses it should not pay.
 */
struct coalesced {
	uint64_t offset;
	uint64_t size;
	atomic_uint writes;		/* counted by the vCPUs until it is active */
	_Atomic(struct coalesced *) next;	/* read by vCPUs without a lock */
};
#define COALESCE_AFTER	64

void region_init_ram(struct region *region, const char *name, void *host, uint64_t size, int fd, uint64_t fd_offset);
void region_init_rom(struct region *region, const char *name, void *host, uint64_t size, int fd, uint64_t fd_offset);
void region_init_io(struct region *region, const char *name, const struct io_ops *ops, void *device, uint64_t size);
void region_init_alias(struct region *region, const char *name, struct region *target, uint64_t offset, uint64_t size);

/* ---- address spaces ---- */

/** struct flat_range - one entry of a view: addresses [@base, @base + @size) belong to @region at @offset */
struct flat_range {
	uint64_t base;
	uint64_t size;
	struct region *region;	/* never an alias: resolved */
	uint64_t offset;
};

/** struct flat_view - immutable, sorted, disjoint; freed by RCU */
struct flat_view {
	size_t count;
	struct flat_range ranges[];
};

/**
 * struct space_listener - who follows the view (KVM's memslots, ioeventfds); called with the space's lock held
 *
 * @commit: the view changes from @old to @next. Called before the swap. A negative errno refuses the change,
 * and the space stays as it was.
 */
struct space_listener {
	int (*commit)(struct space_listener *listener, const struct flat_view *old, const struct flat_view *next);
	/** @doorbell: @add or remove an ioeventfd at an absolute address */
	int (*doorbell)(struct space_listener *listener, uint64_t address, const struct doorbell *doorbell, bool add);
	/** @coalesce: @add or remove a coalesced zone at absolute addresses */
	int (*coalesce)(struct space_listener *listener, uint64_t address, uint64_t size, bool add);
};

struct address_space {
	const char *name;
	uint64_t limit;		/* first address past the space; 0 means 2^64 */
	_Atomic(struct flat_view *) view;
	_Atomic(struct dirty_map *) written;	/* kvm/dirty.h; NULL: nobody asks which pages were written */
	pthread_mutex_t lock;	/* guards all below; see doc/architecture.md for its place in the order */
	struct region *regions;
	struct space_listener *listener;
	unsigned int transaction;	/* depth of address_space_begin() */
	bool dirty;
	struct space_binding *bindings;	/* the doorbells and coalesced zones that KVM has now */
	size_t binding_count;
};

/** struct space_binding - a doorbell or a coalesced zone where it lies now; private to core/space.c */
struct space_binding {
	uint64_t address;
	uint64_t size;			/* coalesced zone */
	struct doorbell *doorbell;	/* NULL: a coalesced zone */
};

/** address_space_init() - an empty space; address_space_exit() frees its view (all regions must be gone or dead) */
int __must_check address_space_init(struct address_space *space, const char *name, uint64_t limit);
void address_space_exit(struct address_space *space);

/** address_space_set_listener() - @listener hears all later changes; for core/ only */
void address_space_set_listener(struct address_space *space, struct space_listener *listener);

/**
 * region_add() - puts @region at @base
 * @priority: higher hides lower where they overlap; RAM is 0, devices 1 unless they must be hidden
 *
 * Returns 0, -EEXIST if it is added already, -ERANGE if it doesn't fit in the space, -ENOMEM, or what KVM
 * said; on failure nothing has changed. Any thread but one inside a listener.
 */
int __must_check region_add(struct address_space *space, struct region *region, uint64_t base, int priority);

/** region_del() - takes @region out; a region that is not added is left alone. Any thread. */
void region_del(struct region *region);

/** region_move() - as region_del() and region_add() in one step, keeping the priority */
int __must_check region_move(struct region *region, uint64_t base);

/**
 * region_add_doorbell() - from now on @doorbell follows @region; the caller owns it until region_del_doorbell()
 * Returns 0, -EEXIST if the same one exists, -ENOMEM. Where KVM refuses it (its ceiling), the write exits to
 * the region's callback instead, which must do the same thing.
 */
int __must_check region_add_doorbell(struct region *region, struct doorbell *doorbell);
void region_del_doorbell(struct region *region, struct doorbell *doorbell);

/**
 * region_coalesce() - lets writes to @coalesced be batched (index registers: the data access drains them)
 * The caller owns @coalesced until region_uncoalesce() and, behind that, rcu_synchronize(). Returns 0, -ENOMEM, or
 * what KVM said, and then nothing has changed.
 */
int __must_check region_coalesce(struct region *region, struct coalesced *coalesced);
void region_uncoalesce(struct region *region, struct coalesced *coalesced);

/**
 * address_space_begin(), address_space_commit() - several changes, one new view
 * Other threads' changes wait meanwhile. If the commit fails the old view stays in place, while the regions
 * keep what was changed: take back what was added, and commit again.
 */
void address_space_begin(struct address_space *space);
int __must_check address_space_commit(struct address_space *space);

/** region_count_coalesced() - a write of the guest's reached @offset by an exit; for core/memory.c, in its read section */
void region_count_coalesced(struct region *region, uint64_t offset);

/** flat_view_find() - the range of @view that holds @address, or NULL */
const struct flat_range *flat_view_find(const struct flat_view *view, uint64_t address);

/** address_space_find() - the range that holds @address, or NULL; inside an RCU read section */
const struct flat_range *address_space_find(struct address_space *space, uint64_t address);

/** address_space_for_each() - every range of the current view, ascending (debug, e820-like tables) */
void address_space_for_each(struct address_space *space,
			    void (*each)(const struct flat_range *range, void *opaque), void *opaque);

/* ---- device I/O: what a vCPU's exit does ---- */

/**
 * space_io_read() - @size bytes (1 to 8) at @address, little-endian in the low bytes
 * Nobody there: all ones, and false is returned. RAM and ROM are read as memory. Nothing is past 2^64.
 */
bool space_io_read(struct address_space *space, uint64_t address, unsigned int size, uint64_t *value);

/** space_io_write() - the same for a write; false when nobody took it (writes to ROM are dropped and true) */
bool space_io_write(struct address_space *space, uint64_t address, unsigned int size, uint64_t value);

/* ---- guest memory ---- */

/**
 * memory_read() - copies @length bytes out of guest RAM or ROM
 *
 * May span adjacent regions. Returns 0, or -EFAULT if any byte is not memory: nothing is promised of @buffer
 * then. Any thread.
 */
int __must_check memory_read(struct address_space *space, gpa_t from, void *buffer, size_t length);

/** memory_write() - copies into guest RAM; -EFAULT if any byte is not RAM (nothing is written then) */
int __must_check memory_write(struct address_space *space, gpa_t to, const void *buffer, size_t length);

/** memory_set() - fills guest RAM; as memory_write() */
int __must_check memory_set(struct address_space *space, gpa_t to, int byte, size_t length);

/**
 * memory_iov() - host segments for a range of guest RAM, for zero-copy I/O
 * @iov: filled with at most @max entries; adjacent host memory is one entry
 *
 * The pointers stay valid as long as the RAM region exists. Returns the number of entries (0 for a length of
 * 0), -EFAULT if any byte is not RAM (ROM counts when not @for_write), -E2BIG if @max is too small.
 */
int __must_check memory_iov(struct address_space *space, gpa_t at, uint64_t length, bool for_write,
			    struct iovec *iov, int max);

/**
 * memory_window() - a host pointer to @length contiguous bytes of guest RAM, for rings
 *
 * Only virtio/queue.c and core/ may hold it, and must use atomic accesses on what the guest changes
 * meanwhile. Returns NULL if the range isn't wholly in one RAM region.
 */
void *memory_window(struct address_space *space, gpa_t at, uint64_t length);

/** memory_dirty_mark() - of memory_dirty(), while somebody asks */
void memory_dirty_mark(struct dirty_map *map, const void *host, size_t length);

/**
 * memory_dirty() - @length bytes at @host, of memory_iov() or memory_window(), have been written; any thread
 * Whoever writes by those says so behind the write. The accessors above, and virtqueues, do so by themselves.
 */
static inline void memory_dirty(struct address_space *space, const void *host, size_t length)
{
	struct dirty_map *map = atomic_load_explicit(&space->written, memory_order_relaxed);

	if (__builtin_expect(map != NULL, 0))
		memory_dirty_mark(map, host, length);
}

/**
 * memory_discard() - gives the host back what lies in a range of guest RAM; the guest reads zeroes there
 *
 * Only whole pages of the host, and only RAM whose region allows it: a file that somebody wants to keep must not get
 * holes. Returns how many bytes went, -EFAULT if the range leaves such RAM (what lies before has gone), or
 * what the host said. Any thread.
 */
int64_t __must_check memory_discard(struct address_space *space, gpa_t at, uint64_t length);

/** memory_discard_segment() - the same for a segment of memory_iov(); what isn't such RAM stays as it is */
int64_t __must_check memory_discard_segment(struct address_space *space, const struct iovec *segment);

#endif
