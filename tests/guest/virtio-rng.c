/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtio rings driven by hand on virtio-rng: requests, interrupts, and what a hostile driver tries.
 *
 * args: --rng
 */
#include "virtio.h"

#define VECTOR_MSIX	0x55
#define VECTOR_LINE	0x56

static struct virtio rng;
static uint8_t buffer[256];
static volatile struct descriptor table[4] __attribute__((aligned(16)));

static bool all_zero(unsigned int from, unsigned int length)
{
	for (unsigned int i = from; i < from + length; i++)
		if (buffer[i])
			return false;
	return true;
}

/* Opens and starts the device; leaves the test when it isn't there. */
#define START(features)									\
	do {										\
		if (!virtio_open(&rng, VIRTIO_RNG))					\
			SKIP("no virtio-rng");						\
		CHECK(virtio_start(&rng, features));					\
		fill(buffer, 0, sizeof(buffer));					\
	} while (0)

static bool needs_reset(void)
{
	uint32_t start = ticks();

	while (!(virtio_status(&rng) & STATUS_NEEDS_RESET))
		if (passed(start, 1000))
			return false;
	return true;
}

TEST(request_is_filled_with_random_bytes)
{
	START(0);
	virtio_describe(0, physical(buffer), 64, DESC_WRITE, 0);
	virtio_offer(0);
	virtio_notify(&rng, 0);
	CHECK(virtio_wait_used(1));
	CHECK_EQ(ring.used.ring[0].id, 0);
	CHECK_EQ(ring.used.ring[0].length, 64);
	CHECK(!all_zero(0, 64));
	CHECK(all_zero(64, 192));
	CHECK(virtio_acknowledge(&rng) & 1);
	CHECK_EQ(virtio_acknowledge(&rng), 0);
}

TEST(chains_and_batches_complete)
{
	START(0);
	virtio_describe(0, physical(buffer), 32, DESC_WRITE | DESC_NEXT, 5);
	virtio_describe(5, physical(buffer + 128), 32, DESC_WRITE, 0);
	virtio_describe(1, physical(buffer + 192), 16, DESC_WRITE, 0);
	virtio_offer(0);
	virtio_offer(1);
	virtio_notify(&rng, 0);
	CHECK(virtio_wait_used(2));
	CHECK(!all_zero(0, 32));
	CHECK(!all_zero(128, 32));
	CHECK(!all_zero(192, 16));
	CHECK(all_zero(32, 96));
}

TEST(ring_wraps_many_times)
{
	START(0);
	virtio_describe(3, physical(buffer), 16, DESC_WRITE, 0);
	for (uint16_t i = 1; i <= 50; i++) {
		virtio_offer(3);
		virtio_notify(&rng, 0);
		CHECK(virtio_wait_used(i));
		CHECK_EQ(ring.used.ring[(i - 1) % RING_SIZE].id, 3);
	}
}

TEST(indirect_table_is_followed)
{
	if (!virtio_open(&rng, VIRTIO_RNG))
		SKIP("no virtio-rng");
	if (!(virtio_features(&rng, 0) & 1u << VIRTIO_INDIRECT))
		SKIP("indirect descriptors aren't offered");
	START(1u << VIRTIO_INDIRECT);
	table[0].address = physical(buffer);
	table[0].length = 32;
	table[0].flags = DESC_WRITE | DESC_NEXT;
	table[0].next = 1;
	table[1].address = physical(buffer + 64);
	table[1].length = 32;
	table[1].flags = DESC_WRITE;
	virtio_describe(0, physical(table), 32, DESC_INDIRECT, 0);
	virtio_offer(0);
	virtio_notify(&rng, 0);
	CHECK(virtio_wait_used(1));
	CHECK(!all_zero(0, 32));
	CHECK(!all_zero(64, 32));
}

TEST(unoffered_features_are_refused)
{
	if (!virtio_open(&rng, VIRTIO_RNG))
		SKIP("no virtio-rng");
	virtio_set_status(&rng, 0);
	virtio_set_status(&rng, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	virtio_accept(&rng, 0, 0x00ffffff);
	virtio_accept(&rng, 1, 1);
	virtio_set_status(&rng, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
	CHECK(!(virtio_status(&rng) & STATUS_FEATURES_OK));
}

TEST(absent_queue_has_size_0_and_is_harmless)
{
	START(0);
	CHECK_EQ(virtio_queue(&rng, 1), 0);
	CHECK_EQ(virtio_queue(&rng, 0xffff), 0);
	virtio_set_queue(&rng, 8, 0, 0, 0);
	virtio_notify(&rng, 0xffff);
	virtio_describe(0, physical(buffer), 8, DESC_WRITE, 0);
	virtio_offer(0);
	virtio_notify(&rng, 0);
	CHECK(virtio_wait_used(1));
}

#ifdef ON_MMIO
#define RUN_MSIX
#else
#define RUN_MSIX	RUN(msix_interrupts),

TEST(msix_interrupts)
{
	unsigned int at;
	uint32_t entry;

	START(0);
	CHECK(!rng.mmio);
	at = pci_capability(rng.devfn, 0x11, 0);
	CHECK(at != 0);
	entry = pci_bar(rng.devfn, pci_read8(rng.devfn, at + 4) & 7);
	CHECK(entry != 0);
	entry += (pci_read(rng.devfn, at + 4) & ~7u) + 16;
	pci_write16(rng.devfn, at + 2, 0x8000);
	poke32(entry, LAPIC);
	poke32(entry + 4, 0);
	poke32(entry + 8, VECTOR_MSIX);
	poke32(entry + 12, 1);
	CHECK_EQ(virtio_queue(&rng, 0) >= RING_SIZE, true);
	CHECK_EQ(virtio_set_vector(&rng, 0x7777), 0xffff);
	CHECK_EQ(virtio_set_vector(&rng, 1), 1);
	apic_init(false);
	interrupts[VECTOR_MSIX] = 0;
	virtio_describe(0, physical(buffer), 8, DESC_WRITE, 0);

	/* masked: pending, and fires when it is unmasked */
	virtio_offer(0);
	virtio_notify(&rng, 0);
	CHECK(virtio_wait_used(1));
	let_interrupts(5);
	CHECK_EQ(interrupts[VECTOR_MSIX], 0);
	poke32(entry + 12, 0);
	CHECK(wait_interrupt(VECTOR_MSIX, 1, 2000));

	virtio_offer(0);
	virtio_notify(&rng, 0);
	CHECK(wait_interrupt(VECTOR_MSIX, 2, 2000));
	pci_write16(rng.devfn, at + 2, 0);
}
#endif

static void acknowledge(unsigned int vector)
{
	(void)vector;
	virtio_acknowledge(&rng);
}

/* The line's pin of the IOAPIC, as PCI says; on MMIO it is any that the board's own devices leave. */
static void route_line(bool on)
{
	unsigned int first = rng.mmio ? 5 : pci_read8(rng.devfn, 0x3c), last = rng.mmio ? 23 : first;

	for (unsigned int pin = first; pin <= last; pin++) {
		if (on)
			ioapic_route(pin, VECTOR_LINE, !rng.mmio);
		else
			ioapic_mask(pin);
	}
}

TEST(line_interrupts_until_the_status_is_read)
{
	START(0);
	if (!rng.mmio)
		CHECK(pci_read8(rng.devfn, 0x3c) > 0 && pci_read8(rng.devfn, 0x3c) < 24);
	apic_init(false);
	interrupts[VECTOR_LINE] = 0;
	route_line(true);
	virtio_describe(0, physical(buffer), 8, DESC_WRITE, 0);
	virtio_offer(0);
	virtio_notify(&rng, 0);

	/* A level that nobody clears is still there after the end of interrupt; an edge comes once. */
	CHECK(wait_interrupt(VECTOR_LINE, rng.mmio ? 1 : 2, 2000));
	interrupt_hook = acknowledge;
	if (rng.mmio)
		acknowledge(0);
	let_interrupts(20);
	interrupts[VECTOR_LINE] = 0;
	let_interrupts(20);
	CHECK_EQ(interrupts[VECTOR_LINE], 0);

	virtio_offer(0);
	virtio_notify(&rng, 0);
	CHECK(wait_interrupt(VECTOR_LINE, 1, 2000));
	CHECK(virtio_wait_used(2));
	let_interrupts(5);
	/* No storm: software KVM delivers a level once more than hardware does. */
	CHECK(interrupts[VECTOR_LINE] <= (rng.mmio ? 1 : 2));
	route_line(false);
}

/* ---- a hostile driver: the device asks for a reset, works again after it, and lkvm lives ---- */

static void hostile(uint32_t address, uint32_t high, uint32_t length, uint16_t flags, uint16_t next, uint16_t head)
{
	START(0);
	virtio_describe(0, address, length, flags, next);
	ring.descriptors[0].address_high = high;
	virtio_offer(head);
	virtio_notify(&rng, 0);
	CHECK(needs_reset());
	CHECK_EQ(ring.used.index, 0);

	START(0);
	virtio_describe(0, physical(buffer), 8, DESC_WRITE, 0);
	virtio_offer(0);
	virtio_notify(&rng, 0);
	CHECK(virtio_wait_used(1));
}

TEST(descriptor_outside_ram)
{
	hostile(0xf0000000, 0, 64, DESC_WRITE, 0, 0);
}

TEST(descriptor_that_wraps)
{
	hostile(0xfffffff0, 0xffffffff, 64, DESC_WRITE, 0, 0);
}

TEST(descriptor_longer_than_ram)
{
	hostile(physical(buffer), 0, 0xffffffff, DESC_WRITE, 0, 0);
}

TEST(chain_that_loops)
{
	hostile(physical(buffer), 0, 8, DESC_WRITE | DESC_NEXT, 0, 0);
}

TEST(next_past_the_queue)
{
	hostile(physical(buffer), 0, 8, DESC_WRITE | DESC_NEXT, 0x4000, 0);
}

TEST(head_past_the_queue)
{
	hostile(physical(buffer), 0, 8, DESC_WRITE, 0, 0x1234);
}

TEST(available_index_that_jumps)
{
	START(0);
	virtio_describe(0, physical(buffer), 8, DESC_WRITE, 0);
	ring.available.index = 0x4000;
	virtio_notify(&rng, 0);
	CHECK(needs_reset());
}

TEST(ring_outside_ram)
{
	if (!virtio_open(&rng, VIRTIO_RNG))
		SKIP("no virtio-rng");
	virtio_set_status(&rng, 0);
	virtio_set_status(&rng, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	virtio_accept(&rng, 0, 0);
	virtio_accept(&rng, 1, 1);
	virtio_set_status(&rng, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
	virtio_queue(&rng, 0);
	virtio_set_queue(&rng, RING_SIZE, 0xf0000000, 0xffffff00, 0xa0000);
	virtio_set_status(&rng, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
	virtio_notify(&rng, 0);
	wait_ms(20);

	START(0);
	virtio_describe(0, physical(buffer), 8, DESC_WRITE, 0);
	virtio_offer(0);
	virtio_notify(&rng, 0);
	CHECK(virtio_wait_used(1));
}

TESTS(RUN(request_is_filled_with_random_bytes), RUN(chains_and_batches_complete), RUN(ring_wraps_many_times),
      RUN(indirect_table_is_followed), RUN(unoffered_features_are_refused),
      RUN(absent_queue_has_size_0_and_is_harmless), RUN_MSIX RUN(line_interrupts_until_the_status_is_read),
      RUN(descriptor_outside_ram), RUN(descriptor_that_wraps), RUN(descriptor_longer_than_ram), RUN(chain_that_loops),
      RUN(next_past_the_queue), RUN(head_past_the_queue), RUN(available_index_that_jumps), RUN(ring_outside_ram));
