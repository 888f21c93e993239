/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/console.c between a driver and a terminal: both ways, with and without buffers, and hostile requests. */
#include "tests/unit/board.h"

#include <fcntl.h>
#include <linux/virtio_console.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm/terminal.h"
#include "tests/unit/virtio-driver.h"

#define RECEIVE		0
#define TRANSMIT	1
#define DATA		(RAM_BASE + 0x20000)

static struct kvm *kvm;
static int input, output;		/* our ends of the terminal's pipes */

/* Terminal 0 is standard input and output: @from and @to while it is opened. */
static void machine(int from, int to)
{
	log_set_sink(board_hush);
	dup2(from, 0);
	dup2(to, 1);
	close(from);
	close(to);
	kvm = driver_machine();
	ck_assert_int_eq(config_set(kvm->config, "console", "virtio"), 0);
	board_add(kvm, "terminals_init");
	board_add(kvm, "console_init");
}

static void setup(void)
{
	int in[2], out[2];

	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
	input = in[1];
	output = out[0];
	machine(in[0], out[1]);
	driver_start(0, 2);
}

static void setup_tty(void)
{
	const struct winsize size = { .ws_col = 77, .ws_row = 33 };

	input = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(input, 0);
	ck_assert_int_eq(unlockpt(input), 0);
	ck_assert_int_eq(ioctl(input, TIOCSWINSZ, &size), 0);
	output = dup(input);
	machine(open(ptsname(input), O_RDWR | O_NOCTTY | O_CLOEXEC), open(ptsname(input), O_RDWR | O_NOCTTY | O_CLOEXEC));
	atomic_store(&driver_config_interrupts, 0);
	driver_start(BIT(VIRTIO_CONSOLE_F_SIZE), 2);
}

static void teardown(void)
{
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	close(input);
	close(output);
	log_set_sink(NULL);
}

static void send_bytes(uint64_t at, uint32_t length)
{
	const struct driver_buffer buffer = { at, length, false };

	driver_offer(TRANSMIT, 0, &buffer, 1);
}

/* What the terminal wrote so far, waiting for at least @wanted bytes. */
static size_t terminal_said(char *text, size_t size, size_t wanted)
{
	uint64_t end = event_now_ns() + DRIVER_WAIT_NS;
	size_t length = 0;

	while (length < wanted && event_now_ns() < end) {
		ssize_t got = read(output, text + length, size - length);

		if (got > 0)
			length += (size_t)got;
		else
			event_loop_poll(kvm->loop, 5);
	}
	return length;
}

START_TEST(what_the_guest_sends_comes_out_in_order)
{
	char text[64], words[] = "first second third ";
	const struct driver_buffer cut[] = { { DATA + 6, 3, false }, { DATA + 9, 4, false } };

	guest_poke(&driver_ram, DATA, words, sizeof(words) - 1);
	send_bytes(DATA, 6);
	driver_offer(TRANSMIT, 4, cut, 2);
	driver_offer(TRANSMIT, 8, &(struct driver_buffer){ DATA + 13, 6, false }, 1);
	driver_finish(kvm, TRANSMIT);
	ck_assert_uint_eq(driver_used_length(TRANSMIT, 0), 0);
	ck_assert_uint_eq(terminal_said(text, sizeof(text), 19), 19);
	ck_assert_mem_eq(text, words, 19);
}
END_TEST

START_TEST(input_waits_for_buffers_and_fills_them_in_order)
{
	char text[16] = "";

	ck_assert_int_eq(write(input, "abcdef", 6), 6);
	board_poll(kvm, 20);
	ck_assert_uint_eq(ring_used_index(&driver_rings[RECEIVE]), 0);
	driver_offer(RECEIVE, 0, &(struct driver_buffer){ DATA, 4, true }, 1);
	driver_finish(kvm, RECEIVE);
	ck_assert_uint_eq(driver_used_length(RECEIVE, 0), 4);
	driver_offer(RECEIVE, 1, &(struct driver_buffer){ DATA + 4, 16, true }, 1);
	driver_finish(kvm, RECEIVE);
	ck_assert_uint_eq(driver_used_length(RECEIVE, 0), 2);
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(DATA), text, 6), 0);
	ck_assert_str_eq(text, "abcdef");
}
END_TEST

START_TEST(a_waiting_buffer_is_filled_when_input_comes)
{
	driver_offer(RECEIVE, 0, &(struct driver_buffer){ DATA, 64, true }, 1);
	atomic_store(&driver_interrupts, 0);
	driver_kick(kvm, RECEIVE);
	board_poll(kvm, 10);
	ck_assert_uint_eq(ring_used_index(&driver_rings[RECEIVE]), 0);
	ck_assert_int_eq(write(input, "x", 1), 1);
	ck_assert(driver_wait(kvm, driver_all_used));
	ck_assert_uint_eq(driver_used_length(RECEIVE, 0), 1);
	ck_assert_uint_eq(driver_peek(DATA), 'x');
}
END_TEST

static const struct { unsigned int queue; struct driver_buffer buffer; } odd[] = {
	{ TRANSMIT, { NOWHERE, 64, false } }, { TRANSMIT, { IO_BASE, 64, false } }, { TRANSMIT, { RAM_END - 8, 0x10000, false } },
	{ TRANSMIT, { UINT64_MAX - 8, 64, false } }, { RECEIVE, { NOWHERE, 64, true } }, { RECEIVE, { ROM_BASE, 64, true } },
};

START_TEST(a_buffer_outside_memory_stops_the_device_until_reset)
{
	char text[8];

	ck_assert_int_eq(write(input, "i", 1), 1);
	driver_offer(odd[_i].queue, 0, &odd[_i].buffer, 1);
	driver_kick(kvm, odd[_i].queue);
	ck_assert(driver_wait(kvm, driver_needs_reset));
	driver_start(0, 2);
	guest_poke(&driver_ram, DATA, "ok", 2);
	send_bytes(DATA, 2);
	driver_finish(kvm, TRANSMIT);
	ck_assert_uint_eq(terminal_said(text, sizeof(text), 2), 2);
	ck_assert_mem_eq(text, "ok", 2);
}
END_TEST

START_TEST(buffers_that_point_the_wrong_way_move_nothing)
{
	ck_assert_int_eq(write(input, "i", 1), 1);
	driver_offer(RECEIVE, 0, &(struct driver_buffer){ DATA, 64, false }, 1);
	driver_offer(TRANSMIT, 0, &(struct driver_buffer){ DATA, 64, true }, 1);
	driver_kick(kvm, RECEIVE);
	driver_kick(kvm, TRANSMIT);
	board_poll(kvm, 20);
	ck_assert_uint_eq(driver_peek(DATA), 0);
	/* The input is still there for a buffer that can take it. */
	driver_start(0, 2);
	driver_offer(RECEIVE, 0, &(struct driver_buffer){ DATA, 64, true }, 1);
	driver_finish(kvm, RECEIVE);
	ck_assert_uint_eq(driver_peek(DATA), 'i');
}
END_TEST

static bool size_was_told(void)
{
	return atomic_load(&driver_config_interrupts) != 0;
}

START_TEST(a_driver_is_told_of_the_size_when_it_starts)
{
	uint8_t size[4];

	ck_assert(driver_wait(kvm, size_was_told));
	virtio_config_read(driven, 0, size, sizeof(size));
	ck_assert_mem_eq(size, ((uint8_t[]){ 77, 0, 33, 0 }), 4);
}
END_TEST

START_TEST(saved_and_loaded_it_is_the_same)
{
	board_save_load(kvm, "virtio-console");
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "console", setup, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, what_the_guest_sends_comes_out_in_order);
	tcase_add_test(tests, input_waits_for_buffers_and_fills_them_in_order);
	tcase_add_test(tests, a_waiting_buffer_is_filled_when_input_comes);
	tcase_add_loop_test(tests, a_buffer_outside_memory_stops_the_device_until_reset, 0, (int)ARRAY_SIZE(odd));
	tcase_add_test(tests, buffers_that_point_the_wrong_way_move_nothing);
	tcase_add_test(tests, saved_and_loaded_it_is_the_same);
	tests = suite_case(suite, "on a tty", setup_tty, teardown);
	tcase_add_test(tests, a_driver_is_told_of_the_size_when_it_starts);
}
SUITE_MAIN("console", add_tests)
