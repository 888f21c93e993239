/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest without a CPU, for tests of virtio: RAM in an address space of its own, and a driver's half of a split
 * ring in it.
 *
 * RAM is two adjacent regions whose host memory is not adjacent, with a page of ROM and a device's page behind:
 *
 *	0x100000 RAM  0x140000 RAM  0x180000 ROM  0x181000 a device  0x182000 nothing
 */
#ifndef TESTS_UNIT_GUEST_RING_H
#define TESTS_UNIT_GUEST_RING_H

#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/mman.h>

#include "kvm/log.h"
#include "kvm/memory.h"
#include "kvm/rcu.h"

#define RAM_BASE	0x100000ULL
#define RAM_PART	0x40000ULL
#define RAM_SECOND	(RAM_BASE + RAM_PART)
#define RAM_END		(RAM_BASE + 2 * RAM_PART)
#define ROM_BASE	RAM_END
#define IO_BASE		(ROM_BASE + 0x1000)
#define NOWHERE		(IO_BASE + 0x1000)

struct guest_ram {
	struct address_space *space;
	char *host[2], *rom;
	struct region ram[2], rom_region, io;
};

static inline char *guest_map(size_t size)
{
	/* A guard page on each side: whoever leaves RAM is caught. */
	char *at = mmap(NULL, size + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(at, MAP_FAILED);
	ck_assert_int_eq(mprotect(at + 4096, size, PROT_READ | PROT_WRITE), 0);
	return at + 4096;
}

static const struct io_ops guest_io_ops = { .min_size = 0 };

static inline void guest_ram_add(struct guest_ram *guest, struct address_space *space)
{
	guest->space = space;
	for (unsigned int i = 0; i < 2; i++) {
		guest->host[i] = guest_map(RAM_PART);
		region_init_ram(&guest->ram[i], "ram", guest->host[i], RAM_PART, -1, 0);
		ck_assert_int_eq(region_add(space, &guest->ram[i], RAM_BASE + i * RAM_PART, 0), 0);
	}
	guest->rom = guest_map(0x1000);
	region_init_rom(&guest->rom_region, "rom", guest->rom, 0x1000, -1, 0);
	ck_assert_int_eq(region_add(space, &guest->rom_region, ROM_BASE, 0), 0);
	region_init_io(&guest->io, "io", &guest_io_ops, NULL, 0x1000);
	ck_assert_int_eq(region_add(space, &guest->io, IO_BASE, 1), 0);
}

static inline void guest_ram_remove(struct guest_ram *guest)
{
	region_del(&guest->ram[0]);
	region_del(&guest->ram[1]);
	region_del(&guest->rom_region);
	region_del(&guest->io);
	rcu_synchronize();
	for (unsigned int i = 0; i < 2; i++)
		munmap(guest->host[i] - 4096, RAM_PART + 8192);
	munmap(guest->rom - 4096, 0x1000 + 8192);
}

/* Whether host memory of the guest's RAM, or of its ROM, holds all of @iov. */
static inline bool guest_owns(const struct guest_ram *guest, const struct iovec *iov)
{
	uintptr_t at = (uintptr_t)iov->iov_base;

	return range_contains((uintptr_t)guest->host[0], RAM_PART, at, iov->iov_len) ||
	       range_contains((uintptr_t)guest->host[1], RAM_PART, at, iov->iov_len) ||
	       range_contains((uintptr_t)guest->rom, 0x1000, at, iov->iov_len);
}

/* ---- what lies there ---- */

static inline void guest_poke(struct guest_ram *guest, uint64_t at, const void *data, size_t length)
{
	ck_assert_int_eq(memory_write(guest->space, gpa(at), data, length), 0);
}

static inline void guest_poke16(struct guest_ram *guest, uint64_t at, uint16_t value)
{
	le16 encoded = le16_of(value);

	guest_poke(guest, at, &encoded, sizeof(encoded));
}

static inline uint16_t guest_peek16(struct guest_ram *guest, uint64_t at)
{
	le16 value;

	ck_assert_int_eq(memory_read(guest->space, gpa(at), &value, sizeof(value)), 0);
	return le16_get(value);
}

static inline uint32_t guest_peek32(struct guest_ram *guest, uint64_t at)
{
	le32 value;

	ck_assert_int_eq(memory_read(guest->space, gpa(at), &value, sizeof(value)), 0);
	return le32_get(value);
}

/* One descriptor at @at: a ring's own table, or an indirect one. */
static inline void guest_describe(struct guest_ram *guest, uint64_t at, uint64_t address, uint32_t length, uint16_t flags,
				  uint16_t next)
{
	struct { le64 address; le32 length; le16 flags, next; } desc = {
		le64_of(address), le32_of(length), le16_of(flags), le16_of(next)
	};

	guest_poke(guest, at, &desc, sizeof(desc));
}

/* ---- the driver's half of a ring ---- */

/* The descriptors of a packed ring's chains, by the indexes that a split one would have for them. */
#define RING_TABLE	256

struct ring {
	struct guest_ram *guest;
	uint64_t desc, avail, used;
	uint16_t size;
	uint16_t next_avail;		/* how many were offered */

	bool packed;			/* else nothing of what follows is used */
	bool avail_odd, used_odd;	/* laps: the wrap counters, inverted */
	uint16_t avail_slot, used_slot, used_count;
	struct { uint64_t address; uint32_t length; uint16_t flags, next; } table[RING_TABLE];
	uint16_t slots[RING_TABLE];	/* by buffer ID, which is the head's index */
	struct { uint16_t id; uint32_t length; } log[RING_TABLE];	/* of used ones, by their number */
};

static inline void ring_init(struct ring *ring, struct guest_ram *guest, uint16_t size, uint64_t at)
{
	*ring = (struct ring){ .guest = guest, .size = size, .desc = at, .avail = at + 16ULL * size };
	ring->used = ALIGN_UP(ring->avail + 6 + 2ULL * size, 4096);
}

/* As after a reset of the queue; what lies in guest memory stays. */
static inline void ring_restart(struct ring *ring)
{
	ring->next_avail = ring->avail_slot = ring->used_slot = ring->used_count = 0;
	ring->avail_odd = ring->used_odd = false;
}

static inline void ring_describe(struct ring *ring, unsigned int index, uint64_t address, uint32_t length,
				 uint16_t flags, uint16_t next)
{
	if (!ring->packed) {
		guest_describe(ring->guest, ring->desc + 16ULL * index, address, length, flags, next);
		return;
	}
	ck_assert(index < RING_TABLE);
	ring->table[index].address = address;
	ring->table[index].length = length;
	ring->table[index].flags = flags;
	ring->table[index].next = next;
}

static inline void ring_set_avail_index(struct ring *ring, uint16_t index)
{
	guest_poke16(ring->guest, ring->avail + 2, index);
}

#define PACKED_AVAIL	BIT(VRING_PACKED_DESC_F_AVAIL)
#define PACKED_USED	BIT(VRING_PACKED_DESC_F_USED)

static inline void packed_advance(const struct ring *ring, uint16_t *slot, bool *odd, uint16_t by)
{
	*slot = (uint16_t)(*slot + by);
	if (*slot < ring->size)
		return;
	*slot = (uint16_t)(*slot - ring->size);
	*odd = !*odd;
}

static inline uint16_t packed_used_index(struct ring *ring)
{
	for (;;) {
		uint64_t at = ring->desc + 16ULL * ring->used_slot;
		uint16_t flags = guest_peek16(ring->guest, at + 14), id;

		if (!(flags & PACKED_USED) != ring->used_odd || !(flags & PACKED_AVAIL) != ring->used_odd)
			return ring->used_count;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		id = guest_peek16(ring->guest, at + 12);
		ck_assert(id < RING_TABLE);
		ring->log[ring->used_count % RING_TABLE].id = id;
		ring->log[ring->used_count % RING_TABLE].length = guest_peek32(ring->guest, at + 8);
		ring->used_count++;
		ck_assert(ring->slots[id]);
		packed_advance(ring, &ring->used_slot, &ring->used_odd, ring->slots[id]);
	}
}

/* As Linux does: the ID is in all of a chain's descriptors, and the first one's flags are written last. */
static inline void packed_offer(struct ring *ring, uint16_t head)
{
	const uint64_t first = ring->desc + 16ULL * ring->avail_slot;
	uint16_t index = head, count = 0, first_flags = 0;

	/* An ID may be free by now. */
	packed_used_index(ring);
	for (bool more = true; more && count < ring->size && index < RING_TABLE; count++) {
		uint16_t flags = (uint16_t)((ring->table[index].flags & 7) | (ring->avail_odd ? PACKED_USED : PACKED_AVAIL));
		uint64_t at = ring->desc + 16ULL * ring->avail_slot;

		/* In guest_describe()'s terms the ID lies where a split one's flags do. */
		guest_describe(ring->guest, at, ring->table[index].address, ring->table[index].length, head,
			       count ? flags : guest_peek16(ring->guest, at + 14));
		if (!count)
			first_flags = flags;
		more = flags & VRING_DESC_F_NEXT;
		index = ring->table[index].next;
		packed_advance(ring, &ring->avail_slot, &ring->avail_odd, 1);
	}
	ring->slots[head % RING_TABLE] = count;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	guest_poke16(ring->guest, first + 14, first_flags);
}

static inline void ring_offer(struct ring *ring, uint16_t head)
{
	if (ring->packed) {
		packed_offer(ring, head);
		ring->next_avail++;
		return;
	}
	guest_poke16(ring->guest, ring->avail + 4 + 2ULL * (ring->next_avail % ring->size), head);
	ring_set_avail_index(ring, ++ring->next_avail);
}

/* How many came back. */
static inline uint16_t ring_used_index(struct ring *ring)
{
	return ring->packed ? packed_used_index(ring) : guest_peek16(ring->guest, ring->used + 2);
}

/* Of the one that came back as number @index: its head, and how many bytes the device says it wrote. */
static inline uint32_t ring_used_id(struct ring *ring, uint16_t index)
{
	if (!ring->packed)
		return guest_peek32(ring->guest, ring->used + 4 + 8ULL * (index % ring->size));
	packed_used_index(ring);
	return ring->log[index % RING_TABLE].id;
}

static inline uint32_t ring_used_length(struct ring *ring, uint16_t index)
{
	if (!ring->packed)
		return guest_peek32(ring->guest, ring->used + 8 + 8ULL * (index % ring->size));
	packed_used_index(ring);
	return ring->log[index % RING_TABLE].length;
}

/* Whether the device wants to be told of what is offered, without event indexes. */
static inline bool ring_wants_kick(struct ring *ring)
{
	if (ring->packed)
		return guest_peek16(ring->guest, ring->used + 2) != VRING_PACKED_EVENT_FLAG_DISABLE;
	return !(guest_peek16(ring->guest, ring->used) & VRING_USED_F_NO_NOTIFY);
}

#endif
