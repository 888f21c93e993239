/* SPDX-License-Identifier: BSD-2-Clause */
/* core/guest-life.c: whose VM is ended, by which status, and whose isn't. */
#include "tests/unit/board.h"

#include "kvm/guest-life.h"

static struct kvm *kvm;

static void setup(void)
{
	log_set_sink(board_hush);
	kvm = board_create();
	atomic_store(&kvm->state, KVM_RUNNING);
}

static void teardown(void)
{
	board_destroy(kvm);
	log_set_sink(NULL);
}

static void watch(const char *option, const char *value)
{
	ck_assert_int_eq(config_set(kvm->config, option, value), 0);
	board_add(kvm, "life_init");
}

/* With a sign of life each 50 ms */
static void live(int milliseconds)
{
	for (int i = 0; i < milliseconds; i += 50) {
		guest_life_sign(kvm);
		board_poll(kvm, 50);
	}
}

START_TEST(silence_is_a_hang)
{
	watch("watchdog-timeout", "1");
	live(1300);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_NONE);
	board_poll(kvm, 1400);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_HANG);
	ck_assert_int_eq(kvm_end_status(kvm), LKVM_STATUS_HANG);
}
END_TEST

START_TEST(a_boot_may_be_silent_as_long_as_it_may_take)
{
	ck_assert_int_eq(config_set(kvm->config, "boot-timeout", "60"), 0);
	watch("watchdog-timeout", "1");
	board_poll(kvm, 1400);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_NONE);
	guest_life_booted(kvm);
	board_poll(kvm, 1400);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_HANG);
}
END_TEST

START_TEST(a_paused_guest_may_be_silent)
{
	watch("watchdog-timeout", "1");
	atomic_store(&kvm->state, KVM_PAUSED);
	board_poll(kvm, 1400);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_NONE);
}
END_TEST

START_TEST(a_boot_that_takes_too_long_ends_however_much_it_says)
{
	watch("boot-timeout", "1");
	live(1500);
	ck_assert_int_eq(kvm_end_status(kvm), LKVM_STATUS_BOOT_TIMEOUT);
}
END_TEST

START_TEST(a_guest_that_has_booted_may_take_its_time)
{
	watch("boot-timeout", "1");
	guest_life_user_space(kvm);
	live(1500);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_NONE);
}
END_TEST

START_TEST(an_oops_ends_the_vm_once_it_was_told)
{
	watch("oops", "fail");
	guest_life_oops(kvm);
	live(700);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_NONE);
	board_poll(kvm, 900);
	ck_assert_int_eq(kvm_end_status(kvm), LKVM_STATUS_OOPS);
}
END_TEST

START_TEST(an_oops_may_be_ignored)
{
	watch("watchdog-timeout", "60");
	guest_life_oops(kvm);
	kvm_end_request(kvm, KVM_END_POWEROFF);
	ck_assert_int_eq(kvm_end_status(kvm), 0);
}
END_TEST

START_TEST(an_oops_is_why_a_guest_leaves_and_a_panic_outdoes_it)
{
	static const enum kvm_end ends[] = { KVM_END_POWEROFF, KVM_END_REBOOT, KVM_END_TRIPLE_FAULT, KVM_END_HANG, KVM_END_COMMAND };

	watch("oops", "fail");
	guest_life_oops(kvm);
	if (_i == ARRAY_SIZE(ends))
		kvm_panic_seen(kvm);
	kvm_end_request(kvm, ends[_i % ARRAY_SIZE(ends)]);
	ck_assert_int_eq(kvm_end_status(kvm), _i == ARRAY_SIZE(ends) ? LKVM_STATUS_PANIC : LKVM_STATUS_OOPS);
}
END_TEST

START_TEST(a_reset_begins_anew)
{
	watch("boot-timeout", "1");
	live(700);
	kvm_notify(kvm, "RESET");
	live(700);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_NONE);
	live(700);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_BOOT_TIMEOUT);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "guest life", setup, teardown);

	tcase_add_test(tests, silence_is_a_hang);
	tcase_add_test(tests, a_boot_may_be_silent_as_long_as_it_may_take);
	tcase_add_test(tests, a_paused_guest_may_be_silent);
	tcase_add_test(tests, a_boot_that_takes_too_long_ends_however_much_it_says);
	tcase_add_test(tests, a_guest_that_has_booted_may_take_its_time);
	tcase_add_test(tests, an_oops_ends_the_vm_once_it_was_told);
	tcase_add_test(tests, an_oops_may_be_ignored);
	tcase_add_loop_test(tests, an_oops_is_why_a_guest_leaves_and_a_panic_outdoes_it, 0, 6);
	tcase_add_test(tests, a_reset_begins_anew);
}
SUITE_MAIN("guest-life", add_tests)
