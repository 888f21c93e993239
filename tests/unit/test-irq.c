/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/irq.c without a chip: who may have which line, and what the eventfds of lines and messages count. What KVM
 * makes of them is in x86/test-irq-kvm.c.
 */
#include "tests/unit/board.h"

#include <fcntl.h>

#define GSI	5

static struct kvm *kvm;

static void setup(void)
{
	log_set_sink(board_hush);
	kvm = board_create();
	kvm->vm_fd = -1;
}

static void teardown(void)
{
	board_destroy(kvm);
	log_set_sink(NULL);
}

static unsigned int open_fds(void)
{
	unsigned int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* ---- lines ---- */

START_TEST(a_gsi_past_the_last_line_is_refused)
{
	struct irq_line line;

	ck_assert_int_eq(irq_line_init(kvm, &line, arch_irq_lines(), IRQ_LEVEL), -EINVAL);
	ck_assert_int_eq(irq_line_init(kvm, &line, UINT32_MAX, IRQ_EDGE), -EINVAL);
	ck_assert_int_eq(irq_line_init(kvm, &line, arch_irq_lines() - 1, IRQ_EDGE), 0);
	irq_line_exit(&line);
}
END_TEST

START_TEST(an_edge_line_has_its_gsi_alone_until_it_goes)
{
	struct irq_line edge, other;

	ck_assert_int_eq(irq_line_init(kvm, &edge, GSI, IRQ_EDGE), 0);
	ck_assert_int_eq(irq_line_init(kvm, &other, GSI, IRQ_EDGE), -EBUSY);
	ck_assert_int_eq(irq_line_init(kvm, &other, GSI, IRQ_LEVEL), -EBUSY);
	ck_assert_int_eq(irq_line_init(kvm, &other, GSI + 1, IRQ_EDGE), 0);
	irq_line_exit(&other);
	irq_line_exit(&edge);

	ck_assert_int_eq(irq_line_init(kvm, &other, GSI, IRQ_LEVEL), 0);
	ck_assert_int_eq(irq_line_init(kvm, &edge, GSI, IRQ_EDGE), -EBUSY);
	irq_line_exit(&other);
}
END_TEST

START_TEST(level_lines_share_a_gsi_and_leave_it_in_any_order)
{
	struct irq_line lines[3];

	for (unsigned int i = 0; i < 3; i++)
		ck_assert_int_eq(irq_line_init(kvm, &lines[i], GSI, IRQ_LEVEL), 0);
	ck_assert_ptr_eq(irq_line_find(kvm, GSI), &lines[2]);
	irq_line_exit(&lines[1]);
	irq_line_exit(&lines[2]);
	ck_assert_ptr_eq(irq_line_find(kvm, GSI), &lines[0]);
	irq_line_exit(&lines[0]);
	ck_assert_ptr_null(irq_line_find(kvm, GSI));
	/* a second exit does nothing, as after an init that failed */
	irq_line_exit(&lines[0]);
}
END_TEST

START_TEST(each_pulse_of_an_edge_line_is_told)
{
	struct irq_line line;

	ck_assert_int_eq(irq_line_init(kvm, &line, GSI, IRQ_EDGE), 0);
	board_listen(kvm);
	irq_line_pulse(&line);
	irq_line_pulse(&line);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 2);
	irq_line_exit(&line);
}
END_TEST

START_TEST(only_the_rise_of_a_level_line_is_told)
{
	struct irq_line line;

	ck_assert_int_eq(irq_line_init(kvm, &line, GSI, IRQ_LEVEL), 0);
	board_listen(kvm);
	irq_line_set(&line, false);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 0);
	irq_line_set(&line, true);
	irq_line_set(&line, true);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 1);
	irq_line_set(&line, false);
	irq_line_set(&line, false);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 0);
	irq_line_set(&line, true);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 1);
	irq_line_exit(&line);
}
END_TEST

START_TEST(a_line_that_kvm_refuses_leaks_nothing)
{
	unsigned int before = open_fds();
	struct irq_line line;

	ck_assert_int_eq(irq_line_init(kvm, &line, GSI, _i ? IRQ_LEVEL : IRQ_EDGE), 0);
	ck_assert_uint_eq(open_fds(), before);
	for (unsigned int i = 0; i < 10; i++) {
		if (_i)
			irq_line_set(&line, i % 2);
		else
			irq_line_pulse(&line);
		ck_assert_int_eq(atomic_load(&line.fd), -1);
		/* a level line keeps the eventfd that KVM would ask by */
		ck_assert_uint_le(open_fds(), before + 1);
	}
	irq_line_exit(&line);
	ck_assert_uint_eq(open_fds(), before);
}
END_TEST

START_TEST(platform_lines_are_given_once_and_run_out)
{
	uint32_t first, count;
	struct irq_line line;

	arch_irq_alloc_range(&first, &count);
	ck_assert_uint_gt(count, 2);
	/* one has a line already */
	ck_assert_int_eq(irq_line_init(kvm, &line, first + 1, IRQ_LEVEL), 0);
	for (uint32_t i = 0; i < count - 1; i++)
		ck_assert_int_eq(irq_line_alloc(kvm), (int)(first + i + (i >= 1)));
	ck_assert_int_eq(irq_line_alloc(kvm), -ENOSPC);

	irq_line_free(kvm, first + 2);
	ck_assert_int_eq(irq_line_alloc(kvm), (int)first + 2);
	ck_assert_int_eq(irq_line_alloc(kvm), -ENOSPC);
	irq_line_exit(&line);
	ck_assert_int_eq(irq_line_alloc(kvm), (int)first + 1);
	irq_line_free(kvm, UINT32_MAX);
}
END_TEST

/* ---- messages ---- */

START_TEST(a_message_without_a_route_is_pending_until_it_is_consumed)
{
	struct irq_message message;

	ck_assert_int_eq(irq_message_init(kvm, &message, 0), 0);
	ck_assert(!irq_message_consume(&message));
	irq_message_raise(&message);
	irq_message_raise(&message);
	ck_assert(irq_message_consume(&message));
	ck_assert(!irq_message_consume(&message));
	irq_message_unroute(&message);
	irq_message_exit(&message);
}
END_TEST

START_TEST(messages_that_come_and_go_leak_nothing)
{
	unsigned int before = open_fds();
	struct irq_message message;

	for (unsigned int i = 0; i < 100; i++) {
		ck_assert_int_eq(irq_message_init(kvm, &message, 0), 0);
		ck_assert_uint_eq(open_fds(), before + 1);
		irq_message_exit(&message);
		/* again, and one that never was */
		irq_message_exit(&message);
		memset(&message, 0, sizeof(message));
		irq_message_exit(&message);
		irq_message_unroute(&message);
		ck_assert_uint_eq(open_fds(), before);
	}
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *lines = suite_case(suite, "lines", setup, teardown);
	TCase *messages = suite_case(suite, "messages", setup, teardown);

	tcase_add_test(lines, a_gsi_past_the_last_line_is_refused);
	tcase_add_test(lines, an_edge_line_has_its_gsi_alone_until_it_goes);
	tcase_add_test(lines, level_lines_share_a_gsi_and_leave_it_in_any_order);
	tcase_add_test(lines, each_pulse_of_an_edge_line_is_told);
	tcase_add_test(lines, only_the_rise_of_a_level_line_is_told);
	tcase_add_loop_test(lines, a_line_that_kvm_refuses_leaks_nothing, 0, 2);
	tcase_add_test(lines, platform_lines_are_given_once_and_run_out);
	tcase_add_test(messages, a_message_without_a_route_is_pending_until_it_is_consumed);
	tcase_add_test(messages, messages_that_come_and_go_leak_nothing);
}
SUITE_MAIN("irq", add_tests)
