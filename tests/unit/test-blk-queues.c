/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-blk with several queues, on an iothread, and what it tells of the disk's blocks. */
#define DRIVER_RINGS 4
#include "tests/unit/blk-driver.h"

#include <sys/prctl.h>

static struct virtio_blk_config read_config(void)
{
	struct virtio_blk_config config;

	virtio_config_read(driven, 0, &config, sizeof(config));
	return config;
}

static void setup(void)
{
	machine(",queues=4");
}

/* What @init_name says of a machine that can't be made. */
static int refused(const char *init_name)
{
	struct board_pick pick = { .name = init_name };

	init_for_each(board_pick_item, &pick);
	return pick.item->init(kvm);
}

static void disk_with(const char *options, unsigned int cpus)
{
	machine_without_device(options);
	board_add(kvm, "disks_init");
	kvm->cpu_count = cpus;
	board_add(kvm, "blk_init");
	kvm->cpu_count = 0;
}

START_TEST(there_is_a_queue_for_each_vcpu)
{
	disk_with("", 3);
	ck_assert_uint_eq(driven->queue_count, 3);
	ck_assert_uint_eq(le16toh(read_config().num_queues), 3);
	ck_assert(driven->features_offered & BIT(VIRTIO_BLK_F_MQ));
}
END_TEST

START_TEST(one_vcpu_has_one_queue_and_no_word_of_more)
{
	disk_with("", 1);
	ck_assert_uint_eq(driven->queue_count, 1);
	ck_assert(!(driven->features_offered & BIT(VIRTIO_BLK_F_MQ)));
}
END_TEST

START_TEST(more_vcpus_than_queues_can_be_share_them)
{
	disk_with("", 200);
	ck_assert_uint_eq(driven->queue_count, 64);
}
END_TEST

START_TEST(an_option_says_how_many_queues)
{
	disk_with(",queues=2", 4);
	ck_assert_uint_eq(driven->queue_count, 2);
	ck_assert_uint_eq(le16toh(read_config().num_queues), 2);
}
END_TEST

START_TEST(each_queue_gets_its_own_requests_back)
{
	driver_start(0, 4);
	for (unsigned int queue = 0; queue < 4; queue++) {
		ck_assert_uint_eq(ask_queue(queue, VIRTIO_BLK_T_IN, 10 + queue, 512, true), VIRTIO_BLK_S_OK);
		ck_assert_uint_eq(driver_peek(DATA), pattern_byte((10 + queue) * 512));
	}
	for (unsigned int queue = 0; queue < 4; queue++)
		ck_assert_uint_eq(ring_used_index(&driver_rings[queue]), 1);
}
END_TEST

/* All are served by one batch of completions, and the driver hears of each queue. */
START_TEST(queues_that_are_busy_together_all_come_back)
{
	driver_start(0, 4);
	for (unsigned int round = 0; round < 10; round++) {
		for (unsigned int i = 0; i < 64; i++) {
			struct virtio_blk_outhdr header = { .type = htole32(VIRTIO_BLK_T_IN), .sector = htole64(round * 64 + i) };
			const struct driver_buffer buffers[] = {
				{ HEADER + 0x1000 + i * 16ULL, sizeof(header), false }, { DATA + i * 512ULL, 512, true },
				{ HEADER + 0x2000 + i, 1, true },
			};

			guest_poke(&driver_ram, buffers[0].address, &header, sizeof(header));
			driver_offer(i % 4, (uint16_t)(i / 4 * 3), buffers, 3);
		}
		for (unsigned int queue = 1; queue < 4; queue++)
			driver_kick(kvm, queue);
		driver_finish(kvm, 0);
		for (unsigned int i = 0; i < 64; i++)
			ck_assert_uint_eq(driver_peek(DATA + i * 512ULL + 9), pattern_byte((round * 64 + i) * 512ULL + 9));
	}
}
END_TEST

START_TEST(a_saved_disk_of_several_queues_loads_as_it_was)
{
	driver_start(0, 4);
	ck_assert_uint_eq(ask_queue(3, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	board_save_load(kvm, "virtio-blk0");
	driver_start(0, 4);
	ck_assert_uint_eq(ask_queue(2, VIRTIO_BLK_T_IN, 1, 512, true), VIRTIO_BLK_S_OK);
}
END_TEST

/* ---- blocks ---- */

START_TEST(a_disk_says_how_it_is_best_written)
{
	struct virtio_blk_config config;

	disk_with(",physical-block-size=4K,min-io-size=64K,opt-io-size=1M", 1);
	config = read_config();
	ck_assert(driven->features_offered & BIT(VIRTIO_BLK_F_TOPOLOGY));
	ck_assert_uint_eq(le32toh(config.blk_size), 512);
	ck_assert_uint_eq(config.physical_block_exp, 3);
	ck_assert_uint_eq(le16toh(config.min_io_size), 128);
	ck_assert_uint_eq(le32toh(config.opt_io_size), 2048);
	ck_assert_uint_eq(le32toh(config.seg_max), 254);
}
END_TEST

static const char *const bad_options[] = {
	",queues=0", ",queues=65", ",queues=x", ",physical-block-size=100", ",physical-block-size=2M", ",min-io-size=0",
	",opt-io-size=17M",
};

START_TEST(options_that_cannot_be_are_refused)
{
	machine_without_device(bad_options[_i]);
	ck_assert_int_eq(refused("disks_init"), -EUSAGE);
}
END_TEST

/* ---- iothreads ---- */

static char loop_thread[16];

static void note_thread(void *opaque)
{
	(void)opaque;
	prctl(PR_GET_NAME, loop_thread);
}

START_TEST(an_iothread_serves_the_disk_that_names_it)
{
	machine_without_device(",iothread=fast");
	ck_assert_int_eq(config_set(kvm->config, "iothread", "fast"), 0);
	board_add(kvm, "iothreads_init");
	board_add(kvm, "disks_init");
	board_add(kvm, "blk_init");
	event_loop_call(driven->loop, note_thread, NULL);
	ck_assert_str_eq(loop_thread, "lkvm-fast");
	driver_start(0, 1);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 3, 512, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_peek(DATA), pattern_byte(3 * 512));
	board_save_load(kvm, "virtio-blk0");
}
END_TEST

START_TEST(an_iothread_that_is_not_there_is_refused)
{
	machine_without_device(",iothread=slow");
	ck_assert_int_eq(config_set(kvm->config, "iothread", "fast"), 0);
	board_add(kvm, "iothreads_init");
	board_add(kvm, "disks_init");
	ck_assert_int_eq(refused("blk_init"), -EUSAGE);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *queues = suite_case(suite, "queues", setup, teardown);
	TCase *options = suite_case(suite, "options", NULL, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(queues, each_queue_gets_its_own_requests_back);
	tcase_add_test(queues, queues_that_are_busy_together_all_come_back);
	tcase_add_test(queues, a_saved_disk_of_several_queues_loads_as_it_was);
	tcase_add_test(options, there_is_a_queue_for_each_vcpu);
	tcase_add_test(options, one_vcpu_has_one_queue_and_no_word_of_more);
	tcase_add_test(options, more_vcpus_than_queues_can_be_share_them);
	tcase_add_test(options, an_option_says_how_many_queues);
	tcase_add_test(options, a_disk_says_how_it_is_best_written);
	tcase_add_loop_test(options, options_that_cannot_be_are_refused, 0, (int)ARRAY_SIZE(bad_options));
	tcase_add_test(options, an_iothread_serves_the_disk_that_names_it);
	tcase_add_test(options, an_iothread_that_is_not_there_is_refused);
}
SUITE_MAIN("blk-queues", add_tests)
