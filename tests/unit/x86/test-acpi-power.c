/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests hw/x86/acpi-power.c and hw/x86/ports.c: all ways to end, reset and wake a PC. */
#include "../board.h"
#include "kvm/acpi-power.h"

#define STATUS	ACPI_PM1A_EVENT_PORT
#define ENABLE	(ACPI_PM1A_EVENT_PORT + 2)

static struct kvm *kvm;

static void setup(void)
{
	kvm = board_create();
	board_add(kvm, "acpi_power_init");
	board_add(kvm, "ports_init");
}

static void teardown(void)
{
	board_destroy(kvm);
}

static void out16(uint16_t port, uint16_t value)
{
	space_io_write(&kvm->ports, port, 2, value);
}

static uint16_t in16(uint16_t port)
{
	return (uint16_t)board_in_size(kvm, port, 2);
}

static bool sci(void)
{
	return atomic_load(&irq_line_find(kvm, ACPI_SCI_GSI)->raised);
}

static bool reset_asked(void)
{
	return atomic_load(&kvm->reset_wanted) || atomic_load(&kvm->end) == KVM_END_REBOOT;
}

START_TEST(power_button_raises_the_sci_when_enabled)
{
	ck_assert_int_eq(kvm_power_button(kvm), 0);
	ck_assert_uint_eq(in16(STATUS), 0x0100);
	ck_assert(!sci());

	out16(ENABLE, 0x0100);
	ck_assert(sci());
	out16(STATUS, 0x0100);

	ck_assert(!sci());
	ck_assert_uint_eq(in16(STATUS), 0);
}
END_TEST

START_TEST(status_is_cleared_by_ones_byte_by_byte)
{
	ck_assert_int_eq(kvm_power_button(kvm), 0);
	board_out(kvm, STATUS, 0xff);
	ck_assert_uint_eq(in16(STATUS), 0x0100);
	ck_assert_uint_eq(board_in(kvm, STATUS + 1), 0x01);
	board_out(kvm, STATUS + 1, 0x01);
	ck_assert_uint_eq(in16(STATUS), 0);
}
END_TEST

START_TEST(machine_is_in_acpi_mode)
{
	ck_assert_uint_eq(in16(ACPI_PM1A_CONTROL_PORT) & 1, 1);
	out16(ACPI_PM1A_CONTROL_PORT, 0);
	ck_assert_uint_eq(in16(ACPI_PM1A_CONTROL_PORT) & 1, 1);
}
END_TEST

START_TEST(sleep_type_5_turns_the_machine_off)
{
	out16(ACPI_PM1A_CONTROL_PORT, 5 << 10);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_NONE);
	out16(ACPI_PM1A_CONTROL_PORT, 5 << 10 | 1 << 13);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_POWEROFF);
	ck_assert_uint_eq(in16(ACPI_PM1A_CONTROL_PORT) & 0x2000, 0);
}
END_TEST

START_TEST(other_sleep_types_do_nothing)
{
	log_set_sink(board_hush);
	for (unsigned int type = 0; type < 8; type++) {
		if (type != ACPI_SLEEP_TYPE_S5)
			out16(ACPI_PM1A_CONTROL_PORT, (uint16_t)(type << 10 | 1 << 13));
	}
	log_set_sink(NULL);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_NONE);
}
END_TEST

START_TEST(reset_register_resets_with_its_value_only)
{
	board_out(kvm, ACPI_RESET_PORT, ACPI_RESET_VALUE ^ 0x10);
	ck_assert(!reset_asked());
	board_out(kvm, ACPI_RESET_PORT, ACPI_RESET_VALUE);
	ck_assert(reset_asked());
}
END_TEST

START_TEST(port_92_resets_on_the_rise_of_bit_0)
{
	ck_assert_uint_eq(board_in(kvm, 0x92), 0x02);
	board_out(kvm, 0x92, 0x00);
	ck_assert(!reset_asked());
	board_out(kvm, 0x92, 0x03);
	ck_assert(reset_asked());
}
END_TEST

START_TEST(pm_timer_runs_at_its_frequency)
{
	uint64_t start = event_now_ns();
	uint32_t first = (uint32_t)board_in_size(kvm, ACPI_PM_TIMER_PORT, 4), ticks;
	uint64_t passed;

	usleep(100000);
	ticks = (uint32_t)board_in_size(kvm, ACPI_PM_TIMER_PORT, 4) - first;
	passed = event_now_ns() - start;

	ck_assert_uint_le(ticks, passed * 3579545 / 1000000000 + 1);
	ck_assert_uint_ge(ticks, 100000ULL * 3579545 / 1000000);
}
END_TEST

START_TEST(general_purpose_event_raises_the_sci)
{
	out16(ACPI_GPE0_PORT + 2, 1 << 3);
	acpi_gpe_raise(kvm, 2);
	acpi_gpe_raise(kvm, 99);
	ck_assert(!sci());
	acpi_gpe_raise(kvm, 3);
	ck_assert(sci());
	ck_assert_uint_eq(in16(ACPI_GPE0_PORT), 1 << 2 | 1 << 3);
	out16(ACPI_GPE0_PORT, 0xffff);
	ck_assert(!sci());
}
END_TEST

START_TEST(refresh_bit_toggles_and_diagnostics_are_swallowed)
{
	bool seen[2] = { false, false };

	board_out(kvm, 0x80, 0x55);
	ck_assert_uint_eq(board_in(kvm, 0x80), 0xff);
	for (int i = 0; i < 10000; i++)
		seen[board_in(kvm, 0x61) >> 4 & 1] = true;
	ck_assert(seen[0] && seen[1]);
	board_out(kvm, 0x61, 0xff);
	ck_assert_uint_eq(board_in(kvm, 0x61) & 0x0f, 0x0f);
}
END_TEST

START_TEST(saved_state_loads_the_same)
{
	out16(ENABLE, 0x0120);
	out16(ACPI_GPE0_PORT + 2, 0x5a5a);
	acpi_gpe_raise(kvm, 1);
	out16(ACPI_PM1A_CONTROL_PORT, 5 << 10);
	board_out(kvm, 0x61, 0x03);

	board_save_load(kvm, "ports");
	device_find(kvm, "acpi-power")->ops->quiesce(device_find(kvm, "acpi-power"));

	ck_assert_uint_eq(board_in(kvm, 0x61) & 0x0f, 0x03);
}
END_TEST

START_TEST(saved_power_state_comes_back)
{
	struct device *device = device_find(kvm, "acpi-power");
	struct state_writer writer = { 0 };
	struct state_reader reader;
	uint32_t ticks;

	out16(ENABLE, 0x0120);
	out16(ACPI_GPE0_PORT + 2, 0x5a5a);
	acpi_gpe_raise(kvm, 1);
	usleep(20000);
	ticks = (uint32_t)board_in_size(kvm, ACPI_PM_TIMER_PORT, 4);
	device->ops->quiesce(device);
	device->ops->save(device, &writer);
	device->ops->reset(device);
	ck_assert(!sci());
	ck_assert_uint_lt(board_in_size(kvm, ACPI_PM_TIMER_PORT, 4), ticks);

	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	device->ops->resume(device);

	ck_assert(sci());
	ck_assert_uint_eq(in16(ENABLE), 0x0120);
	ck_assert_uint_eq(in16(ACPI_GPE0_PORT + 2), 0x5a5a);
	ck_assert_uint_ge(board_in_size(kvm, ACPI_PM_TIMER_PORT, 4), ticks);
	state_writer_free(&writer);
}
END_TEST

START_TEST(hostile_state_is_refused_or_harmless)
{
	board_load_hostile(kvm, "acpi-power", NULL);
	board_load_hostile(kvm, "ports", NULL);
}
END_TEST

START_TEST(any_access_of_any_size_is_harmless)
{
	log_set_sink(board_hush);
	board_hammer(kvm, 0x5f8, 0x20, 2000);
	board_hammer(kvm, 0x60, 0x40, 500);
	log_set_sink(NULL);
	device_find(kvm, "acpi-power")->ops->reset(device_find(kvm, "acpi-power"));
	ck_assert_uint_eq(in16(STATUS), 0);
	ck_assert(!sci());
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "ACPI power and ports", setup, teardown);

	tcase_add_test(tests, power_button_raises_the_sci_when_enabled);
	tcase_add_test(tests, status_is_cleared_by_ones_byte_by_byte);
	tcase_add_test(tests, machine_is_in_acpi_mode);
	tcase_add_test(tests, sleep_type_5_turns_the_machine_off);
	tcase_add_test(tests, other_sleep_types_do_nothing);
	tcase_add_test(tests, reset_register_resets_with_its_value_only);
	tcase_add_test(tests, port_92_resets_on_the_rise_of_bit_0);
	tcase_add_test(tests, pm_timer_runs_at_its_frequency);
	tcase_add_test(tests, general_purpose_event_raises_the_sci);
	tcase_add_test(tests, refresh_bit_toggles_and_diagnostics_are_swallowed);
	tcase_add_test(tests, saved_state_loads_the_same);
	tcase_add_test(tests, saved_power_state_comes_back);
	tcase_add_test(tests, hostile_state_is_refused_or_harmless);
	tcase_add_test(tests, any_access_of_any_size_is_harmless);
}
SUITE_MAIN("acpi-power", add_tests)
