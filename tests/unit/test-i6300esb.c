/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hw/i6300esb.c: the unlocking, the two stages in their order, each action, what a reset keeps, pauses, and registers
 * that are hammered on.
 */
#include "tests/unit/board.h"

#include <linux/pci_regs.h>

#include "kvm/pci.h"

#define CONFIG		0x60
#define LOCK		0x68
#define ENABLE		2
#define TIMER_1		0
#define TIMER_2		4
#define STATUS		8
#define RELOAD		12
#define NOW		0x100
#define BITTEN		0x200
/* at 1 MHz a count is 960 ns */
#define COUNTS_20MS	20833U

static struct kvm *kvm;
static struct pci_bus *bus;
static unsigned int devfn;
static uint64_t bar;
static char said[256];

static void remember(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static const char *const actions[] = { "reset", "poweroff", "dump", "none" };

static void start(const char *action)
{
	log_set_sink(remember);
	said[0] = '\0';
	kvm = board_create();
	ck_assert_int_eq(config_set(kvm->config, "watchdog", action), 0);
	board_add(kvm, "pci_init");
	board_add(kvm, "i6300esb_init");
	bus = pci_bus(kvm);
	for (devfn = 0; devfn < 256; devfn++)
		if (pci_config_read(bus, 0, devfn, 0, 4) == 0x25ab8086)
			break;
	ck_assert_uint_lt(devfn, 256);
	bar = pci_config_read(bus, 0, devfn, PCI_BASE_ADDRESS_0, 4) & ~15U;
	pci_config_write(bus, 0, devfn, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
}

static void setup(void)
{
	start("none");
}

static void teardown(void)
{
	board_destroy(kvm);
	log_set_sink(NULL);
}

static void raw(uint64_t offset, unsigned int size, uint32_t value)
{
	space_io_write(&kvm->memory, bar + offset, size, value);
}

static void set(uint64_t offset, unsigned int size, uint32_t value)
{
	raw(RELOAD, 2, 0x80);
	raw(RELOAD, 2, 0x86);
	raw(offset, size, value);
}

static uint32_t get(uint64_t offset, unsigned int size)
{
	uint64_t value;

	space_io_read(&kvm->memory, bar + offset, size, &value);
	return (uint32_t)value;
}

static void lock(uint8_t value)
{
	pci_config_write(bus, 0, devfn, LOCK, value, 1);
}

static uint8_t lock_bits(void)
{
	return (uint8_t)pci_config_read(bus, 0, devfn, LOCK, 1);
}

/* As drivers begin: no interrupt, a fast clock, two stages of so many counts. */
static void arm(uint32_t first, uint32_t second)
{
	pci_config_write(bus, 0, devfn, CONFIG, 0x07, 2);
	set(TIMER_1, 4, first);
	set(TIMER_2, 4, second);
	lock(ENABLE);
}

static bool bitten(void)
{
	return get(RELOAD, 2) & BITTEN;
}

/* Until it has bitten; how long that took, in ms. 0: it didn't in @limit_ms. */
static uint64_t wait_bite(uint64_t limit_ms)
{
	uint64_t begin = event_now_ns(), took = 0;

	while (!bitten() && took < limit_ms * 1000000) {
		event_loop_poll(kvm->loop, 1);
		took = event_now_ns() - begin;
	}
	return bitten() ? took / 1000000 + 1 : 0;
}

START_TEST(it_bites_after_both_stages)
{
	uint64_t took;

	arm(2 * COUNTS_20MS, COUNTS_20MS);
	took = wait_bite(5000);
	ck_assert_uint_ge(took, 60);
	ck_assert_ptr_nonnull(strstr(said, "watchdog: the guest has not served it"));
	ck_assert_uint_eq(get(STATUS, 4), 0);
	set(RELOAD, 2, BITTEN);
	ck_assert(!bitten());
	/* Once is all, until it is enabled anew. */
	ck_assert_uint_eq(wait_bite(100), 0);
	lock(0);
	lock(ENABLE);
	ck_assert_uint_gt(wait_bite(5000), 0);
}
END_TEST

START_TEST(served_in_time_it_is_quiet)
{
	arm(5 * COUNTS_20MS, 5 * COUNTS_20MS);
	for (unsigned int i = 0; i < 30; i++) {
		board_poll(kvm, 10);
		set(RELOAD, 2, NOW);
	}
	ck_assert(!bitten());
	lock(0);
	ck_assert_uint_eq(wait_bite(300), 0);
}
END_TEST

START_TEST(the_first_stage_says_so_where_it_is_to)
{
	pci_config_write(bus, 0, devfn, CONFIG, 0x04, 2);
	set(TIMER_1, 4, 1);
	set(TIMER_2, 4, 0xfffff);
	lock(ENABLE);
	board_poll(kvm, 20);
	ck_assert_uint_eq(get(STATUS, 4), 1);
	set(STATUS, 4, 1);
	ck_assert_uint_eq(get(STATUS, 4), 0);
}
END_TEST

START_TEST(without_an_output_or_running_free_there_is_no_end)
{
	pci_config_write(bus, 0, devfn, CONFIG, 0x27, 2);
	set(TIMER_1, 4, 0);
	set(TIMER_2, 4, 0);
	lock(ENABLE | 4);
	ck_assert_uint_eq(wait_bite(50), 0);
	pci_config_write(bus, 0, devfn, CONFIG, 0x07, 2);
	ck_assert_uint_gt(wait_bite(5000), 0);
	set(RELOAD, 2, BITTEN);
	ck_assert_uint_gt(wait_bite(5000), 0);
}
END_TEST

START_TEST(what_is_not_unlocked_is_not_written)
{
	arm(0xfffff, 0xfffff);
	raw(TIMER_1, 4, 0);
	raw(RELOAD, 2, NOW);
	/* half the sequence, the wrong order, something between */
	raw(RELOAD, 2, 0x86);
	raw(TIMER_1, 4, 0);
	raw(RELOAD, 2, 0x80);
	raw(TIMER_1, 4, 0);
	raw(RELOAD, 2, 0x86);
	raw(TIMER_1, 4, 0);
	/* one write for each unlocking */
	set(TIMER_2, 4, 0xfffff);
	raw(TIMER_1, 4, 0);
	lock(0);
	lock(ENABLE);
	ck_assert_uint_eq(wait_bite(50), 0);
	board_poll(kvm, 5);
	ck_assert_uint_eq(get(STATUS, 4), 0);
}
END_TEST

START_TEST(locked_it_can_not_be_turned_off)
{
	arm(COUNTS_20MS, COUNTS_20MS);
	lock(ENABLE | 1);
	lock(0);
	ck_assert_uint_eq(lock_bits(), ENABLE | 1);
	pci_config_write(bus, 0, devfn, LOCK, 0, 4);
	ck_assert_uint_eq(lock_bits(), ENABLE | 1);
	ck_assert_uint_gt(wait_bite(5000), 0);
}
END_TEST

START_TEST(each_action_is_taken)
{
	start(actions[_i]);
	ck_assert_int_eq(config_set(kvm->config, "on-reboot", "restart"), 0);
	arm(0, 0);
	ck_assert_uint_gt(wait_bite(5000), 0);
	board_poll(kvm, 2);
	ck_assert_int_eq(atomic_load(&kvm->end), _i == 1 ? KVM_END_POWEROFF : KVM_END_NONE);
	ck_assert_ptr_nonnull(strstr(said, actions[_i]));
	teardown();
}
END_TEST

/* The VM's own reset would want vCPUs: the wish for one is what can be seen here. */
START_TEST(a_reset_ends_the_vm_where_reboots_do)
{
	start("reset");
	ck_assert_int_eq(config_set(kvm->config, "on-reboot", "exit"), 0);
	arm(0, 0);
	ck_assert_uint_gt(wait_bite(5000), 0);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_REBOOT);
	teardown();
}
END_TEST

START_TEST(a_reset_stops_it_and_keeps_the_reason)
{
	struct device *device = device_find(kvm, "i6300esb");

	arm(0, 0);
	lock(ENABLE | 1);
	ck_assert_uint_gt(wait_bite(5000), 0);
	devices_reset(kvm);
	pci_config_write(bus, 0, devfn, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert(bitten());
	ck_assert_uint_eq(lock_bits(), 0);
	set(RELOAD, 2, BITTEN);
	ck_assert_uint_eq(wait_bite(20), 0);
	ck_assert_ptr_nonnull(device);
}
END_TEST

START_TEST(a_paused_guest_is_not_bitten)
{
	struct device *device = device_find(kvm, "i6300esb");

	arm(COUNTS_20MS, COUNTS_20MS);
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	ck_assert_uint_eq(wait_bite(200), 0);
	device->ops->resume(device);
	ck_assert_uint_ge(wait_bite(5000), 20);
}
END_TEST

START_TEST(saved_and_loaded_it_counts_on)
{
	arm(COUNTS_20MS, COUNTS_20MS);
	board_save_load(kvm, "i6300esb");
	ck_assert_uint_gt(wait_bite(5000), 0);
	board_load_hostile(kvm, "i6300esb", NULL);
}
END_TEST

START_TEST(any_access_does_no_harm)
{
	uint32_t seed = 4711;

	for (unsigned int i = 0; i < 20000; i++) {
		unsigned int size = 1U << (seed >> 30 & 3);

		seed = seed * 1664525 + 1013904223;
		if (seed & 0x100)
			raw(seed >> 20 & 15, size, seed >> 3);
		else
			get(seed >> 20 & 15, size);
		if (!(i % 16))
			pci_config_write(bus, 0, devfn, 0x5c + (seed >> 24 & 15), seed >> 5 & ~1U, 1);
		if (!(i % 512))
			board_poll(kvm, 0);
	}
	pci_config_write(bus, 0, devfn, LOCK, 0, 1);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "i6300esb", setup, teardown), *own = suite_case(suite, "actions", NULL, NULL);

	tcase_add_test(tests, it_bites_after_both_stages);
	tcase_add_test(tests, served_in_time_it_is_quiet);
	tcase_add_test(tests, the_first_stage_says_so_where_it_is_to);
	tcase_add_test(tests, without_an_output_or_running_free_there_is_no_end);
	tcase_add_test(tests, what_is_not_unlocked_is_not_written);
	tcase_add_test(tests, locked_it_can_not_be_turned_off);
	tcase_add_test(tests, a_reset_stops_it_and_keeps_the_reason);
	tcase_add_test(tests, a_paused_guest_is_not_bitten);
	tcase_add_test(tests, saved_and_loaded_it_counts_on);
	tcase_add_test(tests, any_access_does_no_harm);
	tcase_add_loop_test(own, each_action_is_taken, 1, (int)ARRAY_SIZE(actions));
	tcase_add_test(own, a_reset_ends_the_vm_where_reboots_do);
}
SUITE_MAIN("i6300esb", add_tests)
