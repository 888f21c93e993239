/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio/mem.c and core/ram-blocks.c: blocks that come and go, what is in them, saved state, and drivers that lie.
 */
#include "tests/unit/board.h"

#include <linux/virtio_mem.h>

#include "kvm/memory-device.h"
#include "tests/unit/growing-ram.h"
#include "tests/unit/virtio-driver.h"

#define BLOCKS		300u
#define BLOCK		GROWING_BLOCK
#define REQUEST		(RAM_BASE + 0x20000)
#define ANSWER		(RAM_BASE + 0x21000)
#define AT(block)	(GROWING_BASE + (block) * BLOCK)
#define NO_ANSWER	0xffff

enum { PLUG = VIRTIO_MEM_REQ_PLUG, UNPLUG = VIRTIO_MEM_REQ_UNPLUG, ALL = VIRTIO_MEM_REQ_UNPLUG_ALL, STATE = VIRTIO_MEM_REQ_STATE };
enum { ACK = VIRTIO_MEM_RESP_ACK, NACK = VIRTIO_MEM_RESP_NACK, ERROR = VIRTIO_MEM_RESP_ERROR };

static struct kvm *kvm;
static uint16_t state;

static void setup(void)
{
	log_set_sink(board_hush);
	kvm = driver_machine();
	ck_assert(growing_ram_add(kvm, BLOCKS));
	board_add(kvm, "mem_init");
	driver_start(0, 1);
}

static void teardown(void)
{
	growing_ram_remove(kvm);
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	log_set_sink(NULL);
}

static uint64_t config(size_t field)
{
	le64 encoded;

	virtio_config_read(driven, field, &encoded, sizeof(encoded));
	return le64_get(encoded);
}

#define CONFIG(field) config(offsetof(struct virtio_mem_config, field))

static void offer(uint32_t request_length, uint32_t answer_length)
{
	const struct driver_buffer buffers[] = { { REQUEST, request_length, false }, { ANSWER, answer_length, true } };

	guest_poke16(&driver_ram, ANSWER, NO_ANSWER);
	driver_offer(0, 0, buffers, answer_length ? 2 : 1);
	driver_finish(kvm, 0);
}

static uint16_t ask(unsigned int type, uint64_t address, unsigned int count)
{
	const struct virtio_mem_req request = {
		.type = htole16((uint16_t)type), .u.plug = { .addr = htole64(address), .nb_blocks = htole16((uint16_t)count) },
	};

	guest_poke(&driver_ram, REQUEST, &request, sizeof(request));
	offer(sizeof(request), sizeof(struct virtio_mem_resp));
	ck_assert_uint_eq(driver_used_length(0, 0), sizeof(struct virtio_mem_resp));
	state = guest_peek16(&driver_ram, ANSWER + offsetof(struct virtio_mem_resp, u));
	return guest_peek16(&driver_ram, ANSWER);
}

static void wish(uint64_t blocks)
{
	ck_assert_int_eq(memory_device_request(kvm, blocks * BLOCK), 0);
}

static bool is_ram(uint64_t address)
{
	return memory_write(&kvm->memory, gpa(address), "x", 1) == 0;
}

START_TEST(a_driver_finds_where_memory_may_be_and_how_much_is_wished)
{
	unsigned int before = atomic_load(&driver_config_interrupts);

	ck_assert_uint_eq(CONFIG(block_size), BLOCK);
	ck_assert_uint_eq(CONFIG(addr), GROWING_BASE);
	ck_assert_uint_eq(CONFIG(region_size), BLOCKS * BLOCK);
	ck_assert_uint_eq(CONFIG(usable_region_size), MIB(256));
	ck_assert_uint_eq(CONFIG(requested_size), 0);
	ck_assert(virtio_has_feature(driven, 1));
	wish(10);
	ck_assert_uint_eq(atomic_load(&driver_config_interrupts), before + 1);
	ck_assert_uint_eq(CONFIG(requested_size), 10 * BLOCK);
	ck_assert_uint_eq(CONFIG(usable_region_size), 10 * BLOCK + MIB(256));
	wish(BLOCKS);
	ck_assert_uint_eq(CONFIG(usable_region_size), BLOCKS * BLOCK);
	/* nothing may go before the driver lets it */
	wish(0);
	ck_assert_uint_eq(CONFIG(usable_region_size), BLOCKS * BLOCK);
	ck_assert_int_eq(memory_device_request(kvm, BLOCK / 2), -EINVAL);
	ck_assert_int_eq(memory_device_request(kvm, (BLOCKS + 1) * BLOCK), -EINVAL);
	ck_assert_int_eq(memory_device_request(kvm, UINT64_MAX), -EINVAL);
	ck_assert_uint_eq(CONFIG(requested_size), 0);
}
END_TEST

START_TEST(blocks_are_ram_from_plug_to_unplug_and_no_longer)
{
	wish(8);
	ck_assert(!is_ram(AT(0)));
	ck_assert_uint_eq(ask(PLUG, AT(2), 4), ACK);
	ck_assert(is_ram(AT(2)) && is_ram(AT(6) - 1));
	ck_assert(!is_ram(AT(2) - 1) && !is_ram(AT(6)));
	/* across the border of two */
	ck_assert_int_eq(memory_set(&kvm->memory, gpa(AT(3) - 4), 0x5a, 8), 0);
	ck_assert_uint_eq(CONFIG(plugged_size), 4 * BLOCK);
	ck_assert_uint_eq(ask(UNPLUG, AT(3), 2), ACK);
	ck_assert(is_ram(AT(2)) && is_ram(AT(5)));
	ck_assert(!is_ram(AT(3)) && !is_ram(AT(5) - 1));
	ck_assert_uint_eq(CONFIG(plugged_size), 2 * BLOCK);
	ck_assert_uint_eq(ask(STATE, AT(2), 1), ACK);
	ck_assert_uint_eq(state, VIRTIO_MEM_STATE_PLUGGED);
	ck_assert_uint_eq(ask(STATE, AT(3), 2), ACK);
	ck_assert_uint_eq(state, VIRTIO_MEM_STATE_UNPLUGGED);
	ck_assert_uint_eq(ask(STATE, AT(2), 4), ACK);
	ck_assert_uint_eq(state, VIRTIO_MEM_STATE_MIXED);
}
END_TEST

START_TEST(what_is_unplugged_goes_back_to_the_host)
{
	wish(8);
	ck_assert_uint_eq(growing_ram_held(kvm), 0);
	ck_assert_uint_eq(ask(PLUG, AT(0), 8), ACK);
	ck_assert_uint_eq(growing_ram_held(kvm), 0);
	ck_assert_int_eq(memory_set(&kvm->memory, gpa(AT(0)), 1, 8 * BLOCK), 0);
	ck_assert_uint_eq(growing_ram_held(kvm), 8 * BLOCK);
	ck_assert_uint_eq(ask(UNPLUG, AT(1), 5), ACK);
	ck_assert_uint_eq(growing_ram_held(kvm), 3 * BLOCK);
	ck_assert_uint_eq(driver_peek(AT(0)), 1);
	ck_assert_uint_eq(driver_peek(AT(6)), 1);
	ck_assert_uint_eq(ask(PLUG, AT(1), 1), ACK);
	ck_assert_uint_eq(driver_peek(AT(1)), 0);
	ck_assert_uint_eq(ask(ALL, 0, 0), ACK);
	ck_assert_uint_eq(growing_ram_held(kvm), 0);
	ck_assert_uint_eq(CONFIG(plugged_size), 0);
}
END_TEST

/* A device's thread, or a vhost back end, that had an address from before. */
START_TEST(what_was_written_behind_the_devices_back_goes_when_a_driver_begins)
{
	wish(8);
	ck_assert_uint_eq(ask(PLUG, AT(4), 1), ACK);
	memset((char *)kvm->ram_host + MIB(128), 1, 6 * BLOCK);
	driver_start(0, 1);
	ck_assert_uint_eq(growing_ram_held(kvm), BLOCK);
	ck_assert_uint_eq(driver_peek(AT(4)), 1);
}
END_TEST

START_TEST(requests_out_of_bounds_are_errors_and_change_nothing)
{
	static const struct { uint64_t address; unsigned int count; } cases[] = {
		{ AT(0), 0 }, { AT(0) + 1, 1 }, { AT(0) + BLOCK / 2, 1 }, { AT(0) - BLOCK, 2 }, { 0, 1 }, { 0, 0xffff },
		{ UINT64_MAX, 1 }, { ALIGN_DOWN(UINT64_MAX, BLOCK), 1 }, { ALIGN_DOWN(UINT64_MAX, BLOCK), 0xffff },
		{ AT(0), 0xffff }, { AT(131), 2 }, { AT(132), 1 }, { AT(BLOCKS), 1 }, { AT(BLOCKS - 1), 2 }, { RAM_BASE, 1 },
	};
	static const unsigned int types[] = { PLUG, UNPLUG, STATE };

	/* 132 blocks are usable */
	wish(4);
	ck_assert_uint_eq(ask(PLUG, AT(1), 2), ACK);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (size_t t = 0; t < ARRAY_SIZE(types); t++)
			ck_assert_msg(ask(types[t], cases[i].address, cases[i].count) == ERROR, "case %zu, type %u", i, types[t]);
	ck_assert_uint_eq(ask(4, AT(0), 1), ERROR);
	ck_assert_uint_eq(ask(0xffff, AT(0), 1), ERROR);
	/* twice, and what isn't there, in part too */
	ck_assert_uint_eq(ask(PLUG, AT(1), 1), ERROR);
	ck_assert_uint_eq(ask(PLUG, AT(0), 2), ERROR);
	ck_assert_uint_eq(ask(UNPLUG, AT(0), 1), ERROR);
	ck_assert_uint_eq(ask(UNPLUG, AT(2), 2), ERROR);
	ck_assert_uint_eq(CONFIG(plugged_size), 2 * BLOCK);
	ck_assert(!is_ram(AT(0)) && is_ram(AT(1)) && is_ram(AT(2)) && !is_ram(AT(3)));
}
END_TEST

START_TEST(no_more_is_plugged_than_was_wished)
{
	ck_assert_uint_eq(ask(PLUG, AT(0), 1), NACK);
	wish(2);
	ck_assert_uint_eq(ask(PLUG, AT(0), 3), NACK);
	ck_assert_uint_eq(ask(PLUG, AT(5), 1), ACK);
	ck_assert_uint_eq(ask(PLUG, AT(0), 2), NACK);
	ck_assert_uint_eq(ask(PLUG, AT(0), 1), ACK);
	wish(1);
	ck_assert_uint_eq(ask(PLUG, AT(1), 1), NACK);
	ck_assert_uint_eq(CONFIG(plugged_size), 2 * BLOCK);
}
END_TEST

START_TEST(unplug_all_makes_the_usable_region_small_again)
{
	wish(BLOCKS);
	ck_assert_uint_eq(ask(PLUG, AT(BLOCKS - 1), 1), ACK);
	wish(0);
	ck_assert_uint_eq(ask(ALL, 0, 0), ACK);
	ck_assert_uint_eq(CONFIG(usable_region_size), MIB(256));
	ck_assert_uint_eq(ask(STATE, AT(BLOCKS - 1), 1), ERROR);
	ck_assert_uint_eq(ask(ALL, 0, 0), ACK);
}
END_TEST

START_TEST(requests_that_cant_be_read_or_answered_do_nothing)
{
	const struct virtio_mem_req request = {
		.type = htole16(PLUG), .u.plug = { .addr = htole64(AT(0)), .nb_blocks = htole16(1) },
	};

	wish(4);
	guest_poke(&driver_ram, REQUEST, &request, sizeof(request));
	offer(sizeof(request) - 1, sizeof(struct virtio_mem_resp));
	ck_assert_uint_eq(guest_peek16(&driver_ram, ANSWER), ERROR);
	offer(sizeof(request), sizeof(struct virtio_mem_resp) - 1);
	offer(sizeof(request), 0);
	ck_assert_uint_eq(CONFIG(plugged_size), 0);
	ck_assert(!driver_needs_reset());
	ck_assert_uint_eq(ask(PLUG, AT(0), 1), ACK);
}
END_TEST

/* A kernel may run in there, and a driver that comes next asks what is plugged. */
START_TEST(a_drivers_reset_leaves_memory_and_the_machines_takes_it)
{
	struct device *device = device_find(kvm, "virtio-mem");

	wish(4);
	ck_assert_uint_eq(ask(PLUG, AT(0), 4), ACK);
	ck_assert_int_eq(memory_set(&kvm->memory, gpa(AT(0)), 1, BLOCK), 0);
	driver_start(0, 1);
	ck_assert_uint_eq(CONFIG(plugged_size), 4 * BLOCK);
	ck_assert_uint_eq(driver_peek(AT(0)), 1);
	device->ops->reset(device);
	ck_assert_uint_eq(CONFIG(plugged_size), 0);
	ck_assert_uint_eq(growing_ram_held(kvm), 0);
	/* the host's wish */
	ck_assert_uint_eq(CONFIG(requested_size), 4 * BLOCK);
}
END_TEST

START_TEST(quiesced_and_resumed_it_serves_what_came_meanwhile)
{
	const struct virtio_mem_req request = {
		.type = htole16(PLUG), .u.plug = { .addr = htole64(AT(0)), .nb_blocks = htole16(1) },
	};
	const struct driver_buffer buffers[] = { { REQUEST, sizeof(request), false }, { ANSWER, 16, true } };
	struct device *device = device_find(kvm, "virtio-mem");

	wish(4);
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	guest_poke(&driver_ram, REQUEST, &request, sizeof(request));
	driver_offer(0, 0, buffers, 2);
	driver_kick(kvm, 0);
	ck_assert_uint_eq(CONFIG(plugged_size), 0);
	atomic_store(&driver_interrupts, 0);
	device->ops->resume(device);
	ck_assert(driver_wait(kvm, driver_all_used));
	ck_assert_uint_eq(CONFIG(plugged_size), BLOCK);
}
END_TEST

/* More than a turn of the loop has, one request behind the other. */
START_TEST(much_at_once_is_done_in_several_turns)
{
	struct virtio_mem_req request = { .type = htole16(PLUG) };

	wish(BLOCKS);
	for (unsigned int i = 0; i < 30; i++) {
		const struct driver_buffer buffers[] = { { REQUEST + 64 * i, sizeof(request), false }, { ANSWER + 64 * i, 16, true } };

		request.u.plug.addr = htole64(AT(10 * i));
		request.u.plug.nb_blocks = htole16(10);
		guest_poke(&driver_ram, REQUEST + 64 * i, &request, sizeof(request));
		driver_offer(0, (uint16_t)(2 * i), buffers, 2);
	}
	driver_finish(kvm, 0);
	ck_assert_uint_eq(CONFIG(plugged_size), BLOCKS * BLOCK);
}
END_TEST

/* ---- saved state ---- */

START_TEST(a_wish_is_saved_and_loaded)
{
	wish(8);
	board_save_load(kvm, "virtio-mem");
	ck_assert_uint_eq(CONFIG(requested_size), 8 * BLOCK);
}
END_TEST

static void look_around(void)
{
	ck_assert_uint_le(CONFIG(usable_region_size), BLOCKS * BLOCK);
	ck_assert_uint_le(CONFIG(requested_size), CONFIG(usable_region_size));
}

START_TEST(hostile_state_is_refused)
{
	wish(8);
	board_load_hostile(kvm, "virtio-mem", look_around);
}
END_TEST

static int load_blocks(const uint8_t *data, size_t length)
{
	struct state_reader reader = { .data = data, .length = length };

	return ram_blocks_load(kvm, &reader);
}

START_TEST(plugged_blocks_are_saved_with_the_machine_and_keep_what_is_in_them)
{
	struct state_writer writer = { 0 };

	wish(100);
	ck_assert_uint_eq(ask(PLUG, AT(0), 3), ACK);
	ck_assert_uint_eq(ask(PLUG, AT(64), 1), ACK);
	ck_assert_int_eq(memory_set(&kvm->memory, gpa(AT(64)), 7, 4096), 0);
	ram_blocks_save(kvm, &writer);
	ck_assert_uint_eq(ask(UNPLUG, AT(1), 1), ACK);
	ck_assert_uint_eq(ask(PLUG, AT(70), 2), ACK);
	ck_assert_int_eq(load_blocks(writer.data, writer.length), 0);
	ck_assert_uint_eq(CONFIG(plugged_size), 4 * BLOCK);
	ck_assert_uint_eq(driver_peek(AT(64)), 7);
	ck_assert(is_ram(AT(1)) && is_ram(AT(64)) && !is_ram(AT(65)) && !is_ram(AT(70)));
	/* into a machine whose blocks aren't there yet */
	ck_assert_int_eq(ram_blocks_unplug(kvm, 0, BLOCKS), 0);
	memset((char *)kvm->ram_host + MIB(128) + 64 * BLOCK, 9, 4096);
	ck_assert_int_eq(load_blocks(writer.data, writer.length), 0);
	ck_assert_uint_eq(driver_peek(AT(64)), 9);
	state_writer_free(&writer);
}
END_TEST

START_TEST(blocks_of_another_machine_are_refused)
{
	struct state_writer writer = { 0 }, other = { 0 };
	uint8_t bits[RAM_BLOCKS_MAX / 8 + 1] = { 0 };
	const size_t bytes = (BLOCKS + 7) / 8;
	static const size_t lengths[] = { 0, 1, 37, 39, 128 };

	ram_blocks_save(kvm, &writer);
	for (size_t cut = 0; cut < writer.length; cut++)
		ck_assert_int_lt(load_blocks(writer.data, cut), 0);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		other.length = 0;
		state_save_blob(&other, "ram-blocks", bits, lengths[i]);
		ck_assert_int_lt(load_blocks(other.data, other.length), 0);
	}
	/* one more than there are */
	bits[bytes - 1] = 1 << (BLOCKS % 8);
	other.length = 0;
	state_save_blob(&other, "ram-blocks", bits, bytes);
	ck_assert_int_lt(load_blocks(other.data, other.length), 0);
	ck_assert_uint_eq(CONFIG(plugged_size), 0);
	state_writer_free(&writer);
	state_writer_free(&other);
}
END_TEST

/* ---- other kinds of memory ---- */

/* As after a fork, or over a snapshot's file: what the file has must not come to light again. */
START_TEST(private_memory_over_a_file_is_replaced_and_not_holed)
{
	char *more = (char *)kvm->ram_host + MIB(128);

	memset(more, 3, 2 * BLOCK);
	kvm->ram_host = mmap(kvm->ram_host, kvm->ram_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, kvm->ram_fd, 0);
	close(kvm->ram_fd);
	kvm->ram_fd = -1;
	kvm->ram_regions[0].discard_page = 0;
	wish(2);
	ck_assert_uint_eq(ask(PLUG, AT(0), 2), ACK);
	ck_assert_uint_eq(driver_peek(AT(0)), 3);
	ck_assert_int_eq(memory_set(&kvm->memory, gpa(AT(0)), 4, 2 * BLOCK), 0);
	ck_assert_uint_eq(ask(UNPLUG, AT(0), 1), ACK);
	ck_assert_uint_eq(ask(PLUG, AT(0), 1), ACK);
	ck_assert_uint_eq(driver_peek(AT(0)), 0);
	ck_assert_uint_eq(driver_peek(AT(1)), 4);
}
END_TEST

START_TEST(memory_that_doesnt_grow_has_no_device)
{
	struct memory_device_info info;
	struct kvm *plain = board_create();
	struct board_pick pick = { .name = "mem_init" };

	init_for_each(board_pick_item, &pick);
	ck_assert_int_eq(pick.item->init(plain), INIT_SKIP);
	ck_assert(!memory_device_query(plain, &info));
	ck_assert_int_eq(memory_device_request(plain, 0), -ENODEV);
	board_destroy(plain);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "mem", setup, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, a_driver_finds_where_memory_may_be_and_how_much_is_wished);
	tcase_add_test(tests, blocks_are_ram_from_plug_to_unplug_and_no_longer);
	tcase_add_test(tests, what_is_unplugged_goes_back_to_the_host);
	tcase_add_test(tests, what_was_written_behind_the_devices_back_goes_when_a_driver_begins);
	tcase_add_test(tests, requests_out_of_bounds_are_errors_and_change_nothing);
	tcase_add_test(tests, no_more_is_plugged_than_was_wished);
	tcase_add_test(tests, unplug_all_makes_the_usable_region_small_again);
	tcase_add_test(tests, requests_that_cant_be_read_or_answered_do_nothing);
	tcase_add_test(tests, a_drivers_reset_leaves_memory_and_the_machines_takes_it);
	tcase_add_test(tests, quiesced_and_resumed_it_serves_what_came_meanwhile);
	tcase_add_test(tests, much_at_once_is_done_in_several_turns);
	tcase_add_test(tests, a_wish_is_saved_and_loaded);
	tcase_add_test(tests, hostile_state_is_refused);
	tcase_add_test(tests, plugged_blocks_are_saved_with_the_machine_and_keep_what_is_in_them);
	tcase_add_test(tests, blocks_of_another_machine_are_refused);
	tcase_add_test(tests, private_memory_over_a_file_is_replaced_and_not_holed);
	tcase_add_test(tests, memory_that_doesnt_grow_has_no_device);
}
SUITE_MAIN("mem", add_tests)
