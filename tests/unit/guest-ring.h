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

/* ---- the driver's half of a ring ---- */

struct ring {
	struct guest_ram *guest;
	uint64_t desc, avail, used;
	uint16_t size, next_avail;
};

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

static inline void ring_init(struct ring *ring, struct guest_ram *guest, uint16_t size, uint64_t at)
{
	*ring = (struct ring){ .guest = guest, .size = size, .desc = at, .avail = at + 16ULL * size };
	ring->used = ALIGN_UP(ring->avail + 6 + 2ULL * size, 4096);
}

static inline void ring_describe(struct ring *ring, unsigned int index, uint64_t address, uint32_t length,
				 uint16_t flags, uint16_t next)
{
	guest_describe(ring->guest, ring->desc + 16ULL * index, address, length, flags, next);
}

static inline void ring_set_avail_index(struct ring *ring, uint16_t index)
{
	guest_poke16(ring->guest, ring->avail + 2, index);
}

static inline void ring_offer(struct ring *ring, uint16_t head)
{
	guest_poke16(ring->guest, ring->avail + 4 + 2ULL * (ring->next_avail % ring->size), head);
	ring_set_avail_index(ring, ++ring->next_avail);
}

static inline uint16_t ring_used_index(struct ring *ring)
{
	return guest_peek16(ring->guest, ring->used + 2);
}

#endif
