/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine for tests of board devices: a struct kvm without /dev/kvm, with the init callbacks a test names.
 *
 * Interrupt lines have no chip to go to, so that their eventfds count what the device raised. The main
 * loop's thread is the test's own: board_poll() dispatches.
 */
#ifndef TESTS_UNIT_BOARD_H
#define TESTS_UNIT_BOARD_H

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "core/irq.h"
#include "kvm/arch.h"
#include "kvm/device.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/rcu.h"
#include "tests/unit/suite.h"

struct board_pick {
	const char *name;
	const struct init_item *item;
};

static inline void board_pick_item(const struct init_item *item, void *opaque)
{
	struct board_pick *pick = opaque;

	if (strcmp(item->name, pick->name) == 0)
		pick->item = item;
}

/* A machine with no devices and 128 MiB of RAM that isn't there. */
static inline struct kvm *board_create(void)
{
	struct config *config;
	struct kvm *kvm;

	ck_assert_int_eq(config_new(&config, run_options()), 0);
	ck_assert_int_eq(kvm_create(&kvm, config), 0);
	ck_assert_int_eq(irqs_init(kvm), 0);
	kvm->ram_size = MIB(128);
	kvm->ram[0] = (struct ram_range){ .base = 0, .size = MIB(128) };
	kvm->ram_count = 1;
	return kvm;
}

/* Gives the lines that were made so far an eventfd to count in, as they have no chip to go to. */
static inline void board_listen(struct kvm *kvm)
{
	struct irq_line *line;

	for (uint32_t gsi = 0; gsi < arch_irq_lines(); gsi++) {
		line = irq_line_find(kvm, gsi);
		if (line && atomic_load(&line->fd) < 0)
			atomic_store(&line->fd, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	}
}

/* Calls the named init callback; board_destroy() calls its twin. */
static inline void board_add(struct kvm *kvm, const char *init_name)
{
	struct board_pick pick = { .name = init_name };
	struct init_done *done = &kvm->init_done;

	init_for_each(board_pick_item, &pick);
	ck_assert_msg(pick.item != NULL, "no init callback is called %s", init_name);
	ck_assert_int_eq(pick.item->init(kvm), 0);
	done->items = realloc(done->items, (done->count + 1) * sizeof(*done->items));
	done->items[done->count++] = pick.item;
	board_listen(kvm);
}

static inline void board_destroy(struct kvm *kvm)
{
	struct config *config = kvm->config;

	init_unwind(kvm, &kvm->init_done);
	irqs_exit(kvm);
	kvm_free(kvm);
	config_free(config);
}

static inline uint8_t board_in(struct kvm *kvm, uint16_t port)
{
	uint64_t value;

	space_io_read(&kvm->ports, port, 1, &value);
	return (uint8_t)value;
}

static inline void board_out(struct kvm *kvm, uint16_t port, uint8_t value)
{
	space_io_write(&kvm->ports, port, 1, value);
}

static inline uint64_t board_in_size(struct kvm *kvm, uint16_t port, unsigned int size)
{
	uint64_t value;

	space_io_read(&kvm->ports, port, size, &value);
	return value;
}

/* Interrupts raised on @gsi since the last call. */
static inline unsigned int board_interrupts(struct kvm *kvm, uint32_t gsi)
{
	struct irq_line *line = irq_line_find(kvm, gsi);
	uint64_t count = 0;

	ck_assert_ptr_nonnull(line);
	if (read(atomic_load(&line->fd), &count, sizeof(count)) < 0)
		return 0;
	return (unsigned int)count;
}

static inline void board_poll(struct kvm *kvm, int milliseconds)
{
	uint64_t end = event_now_ns() + (uint64_t)milliseconds * 1000000;

	do
		event_loop_poll(kvm->loop, 1);
	while (event_now_ns() < end);
}

static inline void board_hush(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

/* Runs the device's quiesce, save, reset, load and save: both saves must be the same bytes. */
static inline void board_save_load(struct kvm *kvm, const char *device_name)
{
	struct device *device = device_find(kvm, device_name);
	struct state_writer before = { 0 }, after = { 0 };
	struct state_reader reader;

	ck_assert_ptr_nonnull(device);
	if (device->ops->quiesce)
		ck_assert_int_eq(device->ops->quiesce(device), 0);
	device->ops->save(device, &before);
	ck_assert_int_eq(before.error, 0);
	device->ops->reset(device);
	reader = (struct state_reader){ .data = before.data, .length = before.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	ck_assert_uint_eq(reader.position, before.length);
	device->ops->save(device, &after);
	ck_assert_int_eq(after.error, 0);
	ck_assert_uint_eq(after.length, before.length);
	ck_assert_mem_eq(after.data, before.data, before.length);
	/* A torn stream is refused. */
	log_set_sink(board_hush);
	reader = (struct state_reader){ .data = before.data, .length = before.length - 1 };
	ck_assert_int_lt(device->ops->load(device, &reader), 0);
	log_set_sink(NULL);
	if (device->ops->resume)
		device->ops->resume(device);
	state_writer_free(&before);
	state_writer_free(&after);
}

/*
 * Loads the device's state with each byte in turn made hostile, and pokes at the device after each: most are
 * refused, and none may make it read or write out of its bounds (the sanitizers watch).
 */
static inline void board_load_hostile(struct kvm *kvm, const char *device_name, void (*poke)(void))
{
	struct device *device = device_find(kvm, device_name);
	struct state_writer writer = { 0 };
	struct state_reader reader;
	unsigned int refused = 0;
	uint8_t saved;

	log_set_sink(board_hush);
	if (device->ops->quiesce)
		ck_assert_int_eq(device->ops->quiesce(device), 0);
	device->ops->save(device, &writer);
	for (size_t i = 0; i < writer.length; i++) {
		saved = writer.data[i];
		writer.data[i] = 0xff;
		reader = (struct state_reader){ .data = writer.data, .length = writer.length };
		refused += device->ops->load(device, &reader) < 0;
		if (poke)
			poke();
		writer.data[i] = saved;
	}
	ck_assert_uint_gt(refused, 10);
	state_writer_free(&writer);
	if (device->ops->resume)
		device->ops->resume(device);
	log_set_sink(NULL);
}

/* Every size at every offset in and around a range of ports, with values from a fixed seed. */
static inline void board_hammer(struct kvm *kvm, uint16_t first, uint16_t count, unsigned int rounds)
{
	static const unsigned int sizes[] = { 1, 2, 4, 8 };
	uint32_t seed = 12345;
	uint64_t value;

	for (unsigned int round = 0; round < rounds; round++) {
		for (uint32_t port = first; port < (uint32_t)first + count; port++) {
			for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
				seed = seed * 1664525 + 1013904223;
				if (seed & 0x10000)
					space_io_write(&kvm->ports, port, sizes[i], (uint64_t)seed << 16 | seed >> 7);
				else
					space_io_read(&kvm->ports, port, sizes[i], &value);
			}
		}
	}
}

/* Runs a suite that its caller has built; the exit status is the program's. New tests use SUITE_MAIN(). */
static inline int board_main(Suite *suite)
{
	return suite_finish(suite);
}

#endif
