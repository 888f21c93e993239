/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost/: the real front end before a daemon of the test's own, which dies, comes back, and lies. */
#include "tests/unit/board.h"

#include <fcntl.h>

#include "tests/unit/vhost-daemon.h"
#include "tests/unit/virtio-driver.h"

#define OUT(n)		(RAM_BASE + 0x20000 + 0x100ULL * (n))
#define IN(n)		(RAM_SECOND + 0x1000 + 0x100ULL * (n))
#define LENGTH		64
#define PROTOCOL_ALL	(BIT(USER_PROTOCOL_MQ) | BIT(USER_PROTOCOL_REPLY_ACK) | BIT(USER_PROTOCOL_BACKEND_REQ) | \
			 BIT(USER_PROTOCOL_CONFIG) | BIT(USER_PROTOCOL_INFLIGHT) | BIT(USER_PROTOCOL_RESET_DEVICE))

static struct kvm *kvm;
static struct daemon daemons[2];
static unsigned int lines;

static void count_lines(enum log_level level, const char *line)
{
	(void)line;
	lines += level == LOG_LEVEL_ERROR;
}

/* RAM that another process can map. */
static void share_ram(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		int fd = memfd_create("ram", MFD_CLOEXEC);

		ck_assert_int_eq(ftruncate(fd, 2 * RAM_PART), 0);
		ck_assert_ptr_eq(mmap(driver_ram.host[i], RAM_PART, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, RAM_PART),
				 driver_ram.host[i]);
		driver_ram.ram[i].fd = fd;
		driver_ram.ram[i].fd_offset = RAM_PART;
	}
}

static void setup(void)
{
	log_set_sink(count_lines);
	lines = 0;
	kvm = driver_machine();
	share_ram();
	memset(daemons, 0, sizeof(daemons));
	for (unsigned int i = 0; i < 2; i++) {
		snprintf(daemons[i].path, sizeof(daemons[i].path), "/tmp/lkvm-vhost-%d.sock", getpid());
		daemons[i].features = DAEMON_FEATURES | BIT(USER_F_PROTOCOL_FEATURES);
		daemons[i].protocol = PROTOCOL_ALL;
		daemons[i].config[1] = 1;
	}
}

static void teardown(void)
{
	board_destroy(kvm);
	daemon_kill(&daemons[0]);
	daemon_kill(&daemons[1]);
	guest_ram_remove(&driver_ram);
	log_set_sink(NULL);
}

static void plug(const char *more)
{
	char text[128];

	snprintf(text, sizeof(text), "type=blk,socket=%s%s", daemons[0].path, more);
	ck_assert_int_eq(config_set(kvm->config, "vhost-user", text), 0);
}

/* A device before daemons[0], as its driver has it running. */
static void begin(unsigned int queues)
{
	daemon_start(&daemons[0]);
	plug(queues > 1 ? ",queues=2" : "");
	board_add(kvm, "user_devices_init");
	driver_start(0, queues);
}

static void offer(unsigned int queue, unsigned int n)
{
	const struct driver_buffer buffers[] = { { OUT(n), LENGTH, false }, { IN(n), LENGTH, true } };
	uint8_t bytes[LENGTH];

	memset(bytes, (int)n + 1, sizeof(bytes));
	guest_poke(&driver_ram, OUT(n), bytes, sizeof(bytes));
	memset(bytes, 0, sizeof(bytes));
	guest_poke(&driver_ram, IN(n), bytes, sizeof(bytes));
	driver_offer(queue, (uint16_t)(2 * n), buffers, 2);
}

static void answered(unsigned int n)
{
	for (unsigned int i = 0; i < LENGTH; i++)
		ck_assert_uint_eq(driver_peek(IN(n) + i), (uint8_t)~(n + 1));
}

static void serve(unsigned int queue, unsigned int n)
{
	offer(queue, n);
	driver_finish(kvm, queue);
	answered(n);
}

static void wait_for(bool (*reached)(void))
{
	ck_assert_msg(driver_wait(kvm, reached), "it did not come to that within 10 s");
}

static bool three_are_kept(void)	{ return atomic_load(&daemons[0].kept) == 3; }
static bool one_is_served(void)		{ return atomic_load(&daemons[0].served) == 1; }
static bool the_second_is_asked(void)	{ return atomic_load(&daemons[1].connections); }
static bool it_came_again(void)		{ return atomic_load(&daemons[0].connections) > 1; }
static bool it_has_a_doorbell(void)	{ return atomic_load(&daemons[0].seen[USER_SET_VRING_KICK]); }
static bool the_driver_was_told(void)	{ return atomic_load(&driver_config_interrupts); }

static void replace_daemon(void)
{
	daemon_kill(&daemons[0]);
	daemon_start(&daemons[1]);
	wait_for(the_second_is_asked);
}

/* ---- good daemons ---- */

START_TEST(requests_go_to_the_daemon_and_interrupts_come_back)
{
	uint8_t config[8];

	begin(1);
	for (unsigned int n = 0; n < 20; n++)
		serve(0, n);
	ck_assert_uint_eq(atomic_load(&daemons[0].served), 20);
	ck_assert_uint_eq(atomic_load(&daemons[0].wrong_fd_counts), 0);
	virtio_config_read(driven, 0, config, sizeof(config));
	ck_assert_uint_eq(config[1], 1);
	virtio_config_read(driven, offsetof(struct { uint8_t before[34]; uint16_t queues; }, queues), config, 2);
	ck_assert_uint_eq(config[0], 1);
}
END_TEST

START_TEST(features_that_rings_here_don_t_have_are_not_offered)
{
	begin(1);
	ck_assert_uint_eq(driven->features_offered & (BIT(VIRTIO_F_RING_PACKED) | BIT(26) | BIT(USER_F_PROTOCOL_FEATURES) | BIT(12)), 0);
	ck_assert_uint_eq(atomic_load(&daemons[0].features_set) & ~BIT(USER_F_PROTOCOL_FEATURES),
			  driven->features & ~BIT(VIRTIO_F_RING_RESET));
}
END_TEST

START_TEST(a_daemon_without_any_of_the_protocol_s_features_will_do_for_types_without_config)
{
	char text[128];

	daemons[0].features &= ~BIT(USER_F_PROTOCOL_FEATURES);
	daemon_start(&daemons[0]);
	snprintf(text, sizeof(text), "type=rng,socket=%s", daemons[0].path);
	ck_assert_int_eq(config_set(kvm->config, "vhost-user", text), 0);
	board_add(kvm, "user_devices_init");
	/* Rings that run are enabled then: this daemon's is by itself. */
	driver_start(0, 1);
	wait_for(it_has_a_doorbell);
	ck_assert_uint_eq(atomic_load(&daemons[0].seen[USER_SET_VRING_ENABLE]), 0);
}
END_TEST

START_TEST(two_queues_are_served_apart)
{
	begin(2);
	serve(0, 1);
	serve(1, 2);
	serve(0, 3);
	ck_assert_uint_eq(atomic_load(&daemons[0].served), 3);
}
END_TEST

START_TEST(a_driver_s_reset_is_passed_on_and_it_may_start_again)
{
	begin(1);
	serve(0, 1);
	driver_start(0, 1);
	ck_assert_uint_ge(atomic_load(&daemons[0].seen[USER_RESET_DEVICE]), 1);
	ck_assert_uint_eq(daemons[0].rings[0].base, 0);
	serve(0, 2);
}
END_TEST

START_TEST(paused_saved_and_loaded_it_goes_on_where_the_daemon_stopped)
{
	struct state_writer writer = { 0 };
	struct state_reader reader;
	struct device *device;

	begin(1);
	for (unsigned int n = 0; n < 5; n++)
		serve(0, n);
	device = &driven->device;
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	ck_assert_uint_eq(driven->queues[0].last_avail, 5);
	ck_assert_uint_eq(driven->queues[0].used_index, 5);
	/* The daemon doesn't look now. */
	offer(0, 6);
	virtio_notify(driven, 0);
	device->ops->save(device, &writer);
	ck_assert_int_eq(writer.error, 0);
	device->ops->reset(device);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	ck_assert_uint_eq(atomic_load(&daemons[0].served), 5);
	atomic_store(&driver_interrupts, 0);
	device->ops->resume(device);
	wait_for(driver_all_used);
	answered(6);
	ck_assert_uint_eq(daemons[0].rings[0].base, 5);
	serve(0, 7);
	state_writer_free(&writer);
	board_save_load(kvm, "vhost-user-blk0");
}
END_TEST

START_TEST(a_change_of_the_configuration_reaches_the_driver)
{
	const struct user_header header = { .request = USER_BACKEND_CONFIG_CHANGE, .flags = USER_VERSION | (uint32_t)USER_NEED_REPLY };
	struct daemon_message answer;
	uint8_t config[8];

	begin(1);
	serve(0, 1);
	daemons[0].config[1] = 9;
	atomic_store(&driver_config_interrupts, 0);
	daemon_send(daemons[0].requests_fd, &header, NULL, 0, NULL, 0);
	ck_assert(daemon_receive(daemons[0].requests_fd, &answer));
	ck_assert_uint_eq(answer.payload.number, 0);
	wait_for(the_driver_was_told);
	virtio_config_read(driven, 0, config, sizeof(config));
	ck_assert_uint_eq(config[1], 9);
}
END_TEST

static atomic_int straight_fd;

static int straight_interrupt_fd(struct virtio_device *device, unsigned int queue)
{
	(void)device;
	(void)queue;
	return atomic_load(&straight_fd);
}

static bool it_was_told_once_more(void)
{
	return atomic_load(&daemons[0].seen[USER_SET_VRING_CALL]) == 2;
}

static bool it_was_told_twice_more(void)
{
	return atomic_load(&daemons[0].seen[USER_SET_VRING_CALL]) == 3;
}

static void nothing(void *opaque)
{
	(void)opaque;
}

START_TEST(interrupts_go_straight_to_where_the_transport_says)
{
	struct virtio_transport_ops ops = driver_transport_ops;
	struct pollfd entry = { .fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN };

	ops.interrupt_fd = straight_interrupt_fd;
	atomic_store(&straight_fd, -1);
	begin(1);
	driven->transport_ops = &ops;
	serve(0, 0);
	atomic_store(&straight_fd, entry.fd);
	virtio_interrupts_moved(driven);
	wait_for(it_was_told_once_more);
	event_loop_call(driven->loop, nothing, NULL);
	atomic_store(&driver_interrupts, 0);
	offer(0, 1);
	virtio_notify(driven, 0);
	ck_assert_int_eq(poll(&entry, 1, 10000), 1);
	answered(1);
	event_loop_call(driven->loop, nothing, NULL);
	ck_assert_uint_eq(atomic_load(&driver_interrupts), 0);
	atomic_store(&straight_fd, -1);
	virtio_interrupts_moved(driven);
	wait_for(it_was_told_twice_more);
	serve(0, 2);
	driven->transport_ops = &driver_transport_ops;
	close(entry.fd);
}
END_TEST

/* ---- daemons that die ---- */

START_TEST(what_a_dead_daemon_was_at_is_done_by_the_next_one)
{
	begin(1);
	serve(0, 0);
	atomic_store(&daemons[0].keep, true);
	for (unsigned int n = 1; n < 4; n++)
		offer(0, n);
	virtio_notify(driven, 0);
	wait_for(three_are_kept);
	atomic_store(&driver_interrupts, 0);
	replace_daemon();
	wait_for(driver_all_used);
	for (unsigned int n = 1; n < 4; n++)
		answered(n);
	ck_assert(!driver_needs_reset());
	ck_assert_uint_eq(daemons[1].rings[0].base, 1);
	/* Its own record went with it. */
	ck_assert_uint_eq(atomic_load(&daemons[1].seen[USER_GET_INFLIGHT_FD]), 0);
	ck_assert_uint_ne(atomic_load(&daemons[0].inflight_inode), 0);
	ck_assert_uint_eq(atomic_load(&daemons[1].inflight_inode), atomic_load(&daemons[0].inflight_inode));
	serve(0, 5);
}
END_TEST

START_TEST(requests_made_while_there_is_no_daemon_wait_for_one)
{
	begin(1);
	serve(0, 0);
	daemon_kill(&daemons[0]);
	offer(0, 1);
	virtio_notify(driven, 0);
	atomic_store(&driver_interrupts, 0);
	usleep(300000);
	daemon_start(&daemons[1]);
	wait_for(driver_all_used);
	answered(1);
}
END_TEST

START_TEST(a_driver_may_reset_and_start_its_device_while_there_is_no_daemon)
{
	begin(1);
	serve(0, 0);
	daemon_kill(&daemons[0]);
	driver_start(0, 1);
	offer(0, 1);
	virtio_notify(driven, 0);
	atomic_store(&driver_interrupts, 0);
	daemon_start(&daemons[1]);
	wait_for(driver_all_used);
	answered(1);
}
END_TEST

START_TEST(without_a_record_requests_out_of_order_stop_the_device_and_are_not_guessed_at)
{
	daemons[0].protocol &= ~BIT(USER_PROTOCOL_INFLIGHT);
	begin(1);
	atomic_store(&daemons[0].keep, true);
	atomic_store(&daemons[0].reverse, true);
	for (unsigned int n = 1; n < 4; n++)
		offer(0, n);
	virtio_notify(driven, 0);
	wait_for(one_is_served);
	daemon_kill(&daemons[0]);
	wait_for(driver_needs_reset);
	daemon_start(&daemons[1]);
	wait_for(the_second_is_asked);
	driver_start(0, 1);
	serve(0, 1);
}
END_TEST

START_TEST(without_a_record_requests_in_order_are_done_again)
{
	daemons[0].protocol &= ~BIT(USER_PROTOCOL_INFLIGHT);
	daemons[1].protocol &= ~BIT(USER_PROTOCOL_INFLIGHT);
	begin(1);
	for (unsigned int n = 0; n < 30; n++)
		serve(0, n);
	/* The last of three goes round the ring. */
	for (unsigned int n = 0; n < 33; n++)
		serve(0, n % 30);
	atomic_store(&daemons[0].keep, true);
	for (unsigned int n = 1; n < 4; n++)
		offer(0, n);
	virtio_notify(driven, 0);
	wait_for(three_are_kept);
	atomic_store(&driver_interrupts, 0);
	replace_daemon();
	wait_for(driver_all_used);
	for (unsigned int n = 1; n < 4; n++)
		answered(n);
	ck_assert(!driver_needs_reset());
}
END_TEST

START_TEST(a_daemon_that_can_less_than_the_one_before_is_not_taken)
{
	daemons[1].features &= ~BIT(2);
	begin(1);
	serve(0, 1);
	replace_daemon();
	usleep(200000);
	ck_assert_uint_eq(atomic_load(&daemons[1].seen[USER_SET_MEM_TABLE]), 0);
	ck_assert(!driver_needs_reset());
}
END_TEST

START_TEST(paused_over_the_daemon_s_death_it_goes_on_with_the_next_one)
{
	struct device *device;

	begin(1);
	serve(0, 0);
	device = &driven->device;
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	replace_daemon();
	usleep(100000);
	ck_assert_uint_eq(atomic_load(&daemons[1].seen[USER_SET_VRING_KICK]), 0);
	device->ops->resume(device);
	serve(0, 1);
}
END_TEST

/* ---- daemons that lie ---- */

static const struct {
	uint32_t request;
	enum daemon_fault fault;
} lies[] = {
	{ USER_GET_FEATURES, FAULT_OTHER_REQUEST }, { USER_GET_FEATURES, FAULT_NO_REPLY_FLAG }, { USER_GET_FEATURES, FAULT_OTHER_VERSION },
	{ USER_GET_FEATURES, FAULT_SHORT }, { USER_GET_FEATURES, FAULT_LONG }, { USER_GET_FEATURES, FAULT_HUGE },
	{ USER_GET_FEATURES, FAULT_CUT_OFF }, { USER_GET_FEATURES, FAULT_LEAVE }, { USER_GET_FEATURES, FAULT_TWENTY_FDS },
	{ USER_GET_PROTOCOL_FEATURES, FAULT_SHORT }, { USER_GET_QUEUE_NUM, FAULT_LONG }, { USER_GET_CONFIG, FAULT_SHORT },
	{ USER_GET_CONFIG, FAULT_HUGE }, { USER_GET_CONFIG, FAULT_CUT_OFF }, { USER_GET_CONFIG, FAULT_LEAVE },
	{ USER_SET_BACKEND_REQ_FD, FAULT_REFUSE },
};

static unsigned int open_descriptors(void)
{
	unsigned int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

START_TEST(a_daemon_that_lies_before_the_vm_starts_is_one_clear_line)
{
	struct board_pick pick = { .name = "user_devices_init" };
	unsigned int before;

	daemons[0].fault_request = lies[_i].request;
	daemons[0].fault = lies[_i].fault;
	daemon_start(&daemons[0]);
	plug("");
	init_for_each(board_pick_item, &pick);
	before = open_descriptors();
	ck_assert_int_lt(pick.item->init(kvm), 0);
	ck_assert_uint_ge(lines, 1);
	daemon_kill(&daemons[0]);
	/* The daemon's own three are gone, and none of those it sent is left. */
	ck_assert_uint_le(open_descriptors(), before);
}
END_TEST

static const struct {
	uint32_t request;
	enum daemon_fault fault;
} late_lies[] = {
	{ USER_SET_MEM_TABLE, FAULT_REFUSE }, { USER_SET_MEM_TABLE, FAULT_LEAVE }, { USER_SET_VRING_ADDR, FAULT_REFUSE },
	{ USER_SET_VRING_KICK, FAULT_LEAVE }, { USER_SET_VRING_ENABLE, FAULT_OTHER_REQUEST }, { USER_GET_INFLIGHT_FD, FAULT_NO_FD },
	{ USER_GET_INFLIGHT_FD, FAULT_LONG }, { USER_GET_INFLIGHT_FD, FAULT_TWENTY_FDS },
};

START_TEST(a_daemon_that_lies_to_a_running_vm_is_hung_up_on_and_tried_again)
{
	daemons[0].fault_request = late_lies[_i].request;
	daemons[0].fault = late_lies[_i].fault;
	begin(1);
	wait_for(it_came_again);
	ck_assert(!driver_needs_reset());
	atomic_store(&driver_interrupts, 0);
	offer(0, 1);
	virtio_notify(driven, 0);
	replace_daemon();
	wait_for(driver_all_used);
	answered(1);
}
END_TEST

static const enum daemon_fault base_lies[] = { FAULT_NOT_THE_RING, FAULT_BASE_TOO_LARGE, FAULT_SHORT, FAULT_LEAVE };

START_TEST(what_a_daemon_says_of_its_place_is_checked)
{
	struct device *device;

	daemons[0].fault_request = USER_GET_VRING_BASE;
	daemons[0].fault = base_lies[_i];
	begin(1);
	serve(0, 0);
	serve(0, 1);
	device = &driven->device;
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	ck_assert_uint_eq(driven->queues[0].last_avail, 2);
	device->ops->resume(device);
	offer(0, 2);
	virtio_notify(driven, 0);
	atomic_store(&driver_interrupts, 0);
	wait_for(driver_all_used);
	answered(2);
}
END_TEST

START_TEST(words_that_nobody_asked_for_cost_a_daemon_its_connection)
{
	const struct user_header header = { .request = USER_GET_FEATURES, .flags = USER_VERSION | (uint32_t)USER_REPLY };

	begin(1);
	serve(0, 0);
	daemon_send(daemons[0].fd, &header, NULL, 0, NULL, 0);
	wait_for(it_came_again);
	serve(0, 1);
}
END_TEST

static const struct user_header odd_requests[] = {
	{ .request = USER_BACKEND_CONFIG_CHANGE, .flags = 2 },
	{ .request = USER_BACKEND_CONFIG_CHANGE, .flags = USER_VERSION, .size = UINT32_MAX },
};

START_TEST(requests_that_break_the_rules_cost_a_daemon_its_connection)
{
	begin(1);
	serve(0, 0);
	daemon_send(daemons[0].requests_fd, &odd_requests[_i], NULL, 0, NULL, 0);
	wait_for(it_came_again);
	serve(0, 1);
}
END_TEST

START_TEST(requests_of_no_known_sort_are_refused_and_what_came_with_them_is_closed)
{
	const struct user_header header = { .request = 3, .flags = USER_VERSION | (uint32_t)USER_NEED_REPLY };
	struct daemon_message answer;
	unsigned int before;

	begin(1);
	serve(0, 0);
	before = open_descriptors();
	daemon_send(daemons[0].requests_fd, &header, NULL, 0, &daemons[0].listen_fd, 1);
	ck_assert(daemon_receive(daemons[0].requests_fd, &answer));
	ck_assert_uint_ne(answer.payload.number, 0);
	ck_assert_uint_eq(open_descriptors(), before);
	serve(0, 1);
}
END_TEST

/* ---- options ---- */

static const char *const wrong[] = {
	"type=blk", "socket=/tmp/x", "type=teapot,socket=/tmp/x", "type=blk,socket=/nonexistent/lkvm.sock", "type=blk,socket=/tmp/x,queues=0",
	"type=blk,socket=/tmp/x,queues=100", "type=blk,socket=/tmp/x,colour=red", "type=fs,socket=/tmp/x", "type=blk,socket=",
	"type=fs,tag=0123456789012345678901234567890123456,socket=/tmp/x",
};

START_TEST(a_wrong_option_is_one_line)
{
	struct board_pick pick = { .name = "user_devices_init" };

	ck_assert_int_eq(config_set(kvm->config, "vhost-user", wrong[_i]), 0);
	init_for_each(board_pick_item, &pick);
	ck_assert_int_lt(pick.item->init(kvm), 0);
	ck_assert_uint_eq(lines, 1);
}
END_TEST

START_TEST(more_queues_than_the_daemon_has_are_refused)
{
	struct board_pick pick = { .name = "user_devices_init" };

	daemon_start(&daemons[0]);
	plug(",queues=3");
	init_for_each(board_pick_item, &pick);
	ck_assert_int_lt(pick.item->init(kvm), 0);
	ck_assert_uint_eq(lines, 1);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *good = suite_case(suite, "good daemons", setup, teardown);
	TCase *dead = suite_case(suite, "daemons that die", setup, teardown);
	TCase *liars = suite_case(suite, "daemons that lie", setup, teardown);
	TCase *options = suite_case(suite, "options", setup, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(good, requests_go_to_the_daemon_and_interrupts_come_back);
	tcase_add_test(good, features_that_rings_here_don_t_have_are_not_offered);
	tcase_add_test(good, a_daemon_without_any_of_the_protocol_s_features_will_do_for_types_without_config);
	tcase_add_test(good, two_queues_are_served_apart);
	tcase_add_test(good, a_driver_s_reset_is_passed_on_and_it_may_start_again);
	tcase_add_test(good, paused_saved_and_loaded_it_goes_on_where_the_daemon_stopped);
	tcase_add_test(good, a_change_of_the_configuration_reaches_the_driver);
	tcase_add_test(good, interrupts_go_straight_to_where_the_transport_says);
	tcase_add_test(dead, what_a_dead_daemon_was_at_is_done_by_the_next_one);
	tcase_add_test(dead, requests_made_while_there_is_no_daemon_wait_for_one);
	tcase_add_test(dead, a_driver_may_reset_and_start_its_device_while_there_is_no_daemon);
	tcase_add_test(dead, without_a_record_requests_out_of_order_stop_the_device_and_are_not_guessed_at);
	tcase_add_test(dead, without_a_record_requests_in_order_are_done_again);
	tcase_add_test(dead, a_daemon_that_can_less_than_the_one_before_is_not_taken);
	tcase_add_test(dead, paused_over_the_daemon_s_death_it_goes_on_with_the_next_one);
	tcase_add_loop_test(liars, a_daemon_that_lies_before_the_vm_starts_is_one_clear_line, 0, (int)ARRAY_SIZE(lies));
	tcase_add_loop_test(liars, a_daemon_that_lies_to_a_running_vm_is_hung_up_on_and_tried_again, 0, (int)ARRAY_SIZE(late_lies));
	tcase_add_loop_test(liars, what_a_daemon_says_of_its_place_is_checked, 0, (int)ARRAY_SIZE(base_lies));
	tcase_add_test(liars, words_that_nobody_asked_for_cost_a_daemon_its_connection);
	tcase_add_loop_test(liars, requests_that_break_the_rules_cost_a_daemon_its_connection, 0, (int)ARRAY_SIZE(odd_requests));
	tcase_add_test(liars, requests_of_no_known_sort_are_refused_and_what_came_with_them_is_closed);
	tcase_add_loop_test(options, a_wrong_option_is_one_line, 0, (int)ARRAY_SIZE(wrong));
	tcase_add_test(options, more_queues_than_the_daemon_has_are_refused);
}
SUITE_MAIN("vhost-user", add_tests)
