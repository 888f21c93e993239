/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-scsi's controllers: how many queues, on which iothread, and what -d says of a unit's blocks and limits. */
#include "tests/unit/scsi-driver.h"

#include <sys/prctl.h>

static char names[2][64];

/* A machine with an image for each of @options, behind "if=scsi"; no devices yet. */
static void machine_with(const char *const *options, size_t count)
{
	char text[192];

	log_set_sink(board_hush);
	kvm = driver_machine();
	for (size_t i = 0; i < count; i++) {
		file_make(names[i], SECTORS * 512);
		snprintf(text, sizeof(text), "%s,if=scsi,format=raw%s", names[i], options[i]);
		ck_assert_int_eq(config_set(kvm->config, "disk", text), 0);
	}
	ck_assert_int_eq(config_set(kvm->config, "iothread", "fast"), 0);
	board_add(kvm, "iothreads_init");
}

static void controllers_with(unsigned int cpus)
{
	board_add(kvm, "disks_init");
	kvm->cpu_count = cpus;
	board_add(kvm, "scsi_init");
	kvm->cpu_count = 0;
}

static void one_disk(const char *options, unsigned int cpus)
{
	machine_with(&options, 1);
	controllers_with(cpus);
}

static void teardown(void)
{
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (*names[i])
			unlink(names[i]);
	log_set_sink(NULL);
}

static int refused(const char *init_name)
{
	struct board_pick pick = { .name = init_name };

	init_for_each(board_pick_item, &pick);
	return pick.item->init(kvm);
}

static const struct { const char *options; unsigned int cpus, queues; } queues[] = {
	{ "", 1, 1 }, { "", 3, 3 }, { "", 12, 12 }, { "", 200, 62 }, { ",queues=2", 8, 2 }, { ",queues=64", 1, 62 },
};

START_TEST(there_is_a_queue_for_each_vcpu_or_as_many_as_are_said)
{
	struct virtio_scsi_config config;

	one_disk(queues[_i].options, queues[_i].cpus);
	ck_assert_uint_eq(driven->queue_count, 2 + queues[_i].queues);
	virtio_config_read(driven, 0, &config, sizeof(config));
	ck_assert_uint_eq(le32toh(config.num_queues), queues[_i].queues);
}
END_TEST

START_TEST(disks_on_one_controller_have_the_most_that_one_asks_for)
{
	machine_with((const char *const[]){ ",queues=2", ",queues=5" }, 2);
	controllers_with(9);
	ck_assert_uint_eq(driven->queue_count, 2 + 5);
}
END_TEST

static char loop_thread[16];

static void note_thread(void *opaque)
{
	(void)opaque;
	prctl(PR_GET_NAME, loop_thread);
}

/* The one that was added first is on the loop that disks share; both have a target 0. */
START_TEST(an_iothread_has_a_controller_of_its_own)
{
	struct virtio_device *second;

	machine_with((const char *const[]){ "", ",iothread=fast" }, 2);
	controllers_with(1);
	second = driven;
	ck_assert_str_eq(second->device.name, "virtio-scsi-fast");
	event_loop_call(second->loop, note_thread, NULL);
	ck_assert_str_eq(loop_thread, "lkvm-fast");
	driver_start(0, 3);
	is_check(ask(CDB(0x00), 0, 0), 0x062900);
	is_good(ask(CDB(0x28, 0, BE32(5), 0, BE16(1)), 0, 512), 0);
	ck_assert_uint_eq(data_byte(0), pattern_byte(5 * 512));
	board_save_load(kvm, "virtio-scsi-fast");

	driven = container_of(device_find(kvm, "virtio-scsi"), struct virtio_device, device);
	event_loop_call(driven->loop, note_thread, NULL);
	ck_assert_str_eq(loop_thread, "lkvm-disk");
	virtio_set_status(second, 0);
	driver_start(0, 3);
	is_check(ask(CDB(0x00), 0, 0), 0x062900);
	is_good(ask(CDB(0x28, 0, BE32(5), 0, BE16(1)), 0, 512), 0);
}
END_TEST

START_TEST(an_iothread_that_is_not_there_is_refused)
{
	machine_with((const char *const[]){ "", ",iothread=slow" }, 2);
	board_add(kvm, "disks_init");
	ck_assert_int_eq(refused("scsi_init"), -EUSAGE);
}
END_TEST

static const char *const bad_options[] = { ",queues=0", ",queues=65", ",rerror=enospc", ",werror=panic", ",physical-block-size=100" };

START_TEST(options_that_cannot_be_are_refused)
{
	machine_with(&bad_options[_i], 1);
	ck_assert_int_eq(refused("disks_init"), -EUSAGE);
}
END_TEST

START_TEST(a_disk_says_how_it_is_best_written)
{
	one_disk(",physical-block-size=4K,min-io-size=64K,opt-io-size=1M", 1);
	driver_start(0, 3);
	is_check(ask(CDB(0x00), 0, 0), 0x062900);
	is_good(ask(CDB(0x12, 1, 0xb0, BE16(64)), 0, 64), 0);
	ck_assert_uint_eq(data_be(6, 2), 128);
	ck_assert_uint_eq(data_be(12, 4), 2048);
	ck_assert_uint_eq(data_be(28, 4), 8);
	is_good(ask(CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, BE32(32)), 0, 32), 0);
	ck_assert_uint_eq(data_byte(13), 3);
}
END_TEST

/* 50 a second: ten more than the tenth of a second that is free take a fifth of one. */
START_TEST(limits_hold_commands_back)
{
	uint64_t begin;

	one_disk(",iops=50", 1);
	driver_start(0, 3);
	is_check(ask(CDB(0x00), 0, 0), 0x062900);
	begin = event_now_ns();
	for (unsigned int i = 0; i < 15; i++)
		is_good(ask(CDB(0x28, 0, BE32(i), 0, BE16(1)), 0, 512), 0);
	ck_assert_uint_ge(event_now_ns() - begin, 150000000);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "controllers", NULL, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_loop_test(tests, there_is_a_queue_for_each_vcpu_or_as_many_as_are_said, 0, (int)ARRAY_SIZE(queues));
	tcase_add_test(tests, disks_on_one_controller_have_the_most_that_one_asks_for);
	tcase_add_test(tests, an_iothread_has_a_controller_of_its_own);
	tcase_add_test(tests, an_iothread_that_is_not_there_is_refused);
	tcase_add_loop_test(tests, options_that_cannot_be_are_refused, 0, (int)ARRAY_SIZE(bad_options));
	tcase_add_test(tests, a_disk_says_how_it_is_best_written);
	tcase_add_test(tests, limits_hold_commands_back);
}
SUITE_MAIN("scsi-queues", add_tests)
