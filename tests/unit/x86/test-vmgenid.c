/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests hw/x86/vmgenid.c: when a machine's generation changes, and that the guest hears of it. */
#include <sys/mman.h>

#include "../board.h"
#include "kvm/acpi-power.h"
#include "kvm/x86.h"

static struct kvm *kvm;
static struct region ram;
static uint8_t *host;

static void setup(void)
{
	kvm = board_create();
	host = mmap(NULL, MIB(2), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	region_init_ram(&ram, "ram", host, MIB(2), -1, 0);
	ck_assert_int_eq(region_add(&kvm->memory, &ram, 0, 0), 0);
	board_add(kvm, "acpi_power_init");
	board_add(kvm, "vmgenid_init");
	ck_assert_ptr_nonnull(kvm->firmware);
	ck_assert_int_eq(kvm->firmware->load(kvm), 0);
	space_io_write(&kvm->ports, ACPI_GPE0_PORT + 2, 2, 1U << ACPI_GPE_VMGENID);
}

static void teardown(void)
{
	region_del(&ram);
	board_destroy(kvm);
	munmap(host, MIB(2));
}

static bool event(void)
{
	return atomic_load(&irq_line_find(kvm, ACPI_SCI_GSI)->raised);
}

static int restore(struct kvm *unused)
{
	(void)unused;
	return 0;
}

static void save_and_load(void)
{
	struct device *device = device_find(kvm, "vmgenid");
	struct state_writer writer = { 0 };
	struct state_reader reader;

	device->ops->save(device, &writer);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	state_writer_free(&writer);
}

START_TEST(each_machine_has_another)
{
	static const uint8_t zero[16];
	uint8_t before[16];

	memcpy(before, host + X86_VMGENID, sizeof(before));
	ck_assert_mem_ne(before, zero, sizeof(before));
	teardown();
	setup();
	ck_assert_mem_ne(before, host + X86_VMGENID, sizeof(before));
}
END_TEST

START_TEST(it_stays_when_the_machine_is_reset_or_moved)
{
	uint8_t before[16];

	memcpy(before, host + X86_VMGENID, sizeof(before));
	memset(host + X86_VMGENID, 0, 16);
	ck_assert_int_eq(kvm->firmware->load(kvm), 0);
	save_and_load();
	ck_assert_mem_eq(before, host + X86_VMGENID, sizeof(before));
	ck_assert(!event());
}
END_TEST

START_TEST(restored_machine_is_told_of_a_new_one)
{
	uint8_t before[16];

	memcpy(before, host + X86_VMGENID, sizeof(before));
	kvm->restore = restore;
	save_and_load();
	ck_assert_mem_ne(before, host + X86_VMGENID, sizeof(before));
	ck_assert(event());
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "vmgenid", setup, teardown);

	tcase_add_test(tests, each_machine_has_another);
	tcase_add_test(tests, it_stays_when_the_machine_is_reset_or_moved);
	tcase_add_test(tests, restored_machine_is_told_of_a_new_one);
}
SUITE_MAIN("vmgenid", add_tests)
