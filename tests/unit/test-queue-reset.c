/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/device-queues.c: a queue that its driver resets alone (VIRTIO_F_RING_RESET), and sets up again. */
#include "tests/unit/board.h"

#include "tests/unit/echo-device.h"
#include "tests/unit/virtio-driver.h"

static struct kvm *kvm;
static struct echo echo;
static struct virtio_device_ops ops;
static unsigned int quiesced, resumed, queue_resets;
static bool refuse_quiesce;

static int count_quiesce(struct virtio_device *device)
{
	ck_assert(device->quiesced);
	quiesced++;
	return refuse_quiesce ? -EIO : 0;
}

static void count_resume(struct virtio_device *device)
{
	ck_assert(!device->quiesced);
	resumed++;
}

/* What the device knows of the queue is as it was: it may put requests back. */
static void count_queue_reset(struct virtio_device *device, struct virtqueue *vq)
{
	ck_assert(device->quiesced && vq->enabled && vq->desc_host);
	ck_assert_uint_eq(vq->index, 0);
	queue_resets++;
}

static void setup(void)
{
	log_set_sink(board_hush);
	kvm = driver_machine();
	memset(&echo, 0, sizeof(echo));
	pthread_mutex_init(&echo.lock, NULL);
	ops = echo_ops;
	ops.quiesce = count_quiesce;
	ops.resume = count_resume;
	ops.queue_reset = count_queue_reset;
	ck_assert_int_eq(virtio_device_add(kvm, &echo.device, &ops, "virtio-echo0"), 0);
	quiesced = resumed = queue_resets = 0;
	refuse_quiesce = false;
	driver_start(0, 2);
}

static void teardown(void)
{
	virtio_device_del(&echo.device);
	guest_ram_remove(&driver_ram);
	board_destroy(kvm);
	log_set_sink(NULL);
}

static void exchange(unsigned int queue, const char *text)
{
	echo_offer(&driver_rings[queue], text);
	driver_kick(kvm, queue);
	echo_check(&driver_rings[queue], text);
}

static void enable_again(unsigned int queue, uint16_t size, uint64_t at)
{
	static const uint8_t zeroes[0x4000];
	struct ring *ring = &driver_rings[queue];

	guest_poke(&driver_ram, at, zeroes, sizeof(zeroes));
	ring_init(ring, &driver_ram, size, at);
	ring->packed = driver_is_packed();
	virtio_queue_setup(driven, queue, ring->size, gpa(ring->desc), gpa(ring->avail), gpa(ring->used));
	virtio_queue_enable(driven, queue);
}

START_TEST(one_queue_is_reset_and_the_other_goes_on)
{
	const struct virtqueue *vq = &driven->queues[0];

	for (unsigned int i = 0; i < 40; i++)
		exchange(0, "before");
	exchange(1, "other");
	virtio_queue_reset(driven, 0);

	ck_assert(!vq->enabled && !vq->resetting);
	ck_assert_uint_eq(vq->size, ECHO_QUEUE_SIZE);
	ck_assert_uint_eq(vq->last_avail | vq->used_index | vq->avail_at | vq->used_at, 0);
	ck_assert(driven->running && !driven->quiesced);
	ck_assert_uint_eq(queue_resets, 1);
	ck_assert_uint_eq(quiesced, 1);
	ck_assert_uint_eq(resumed, 1);
	exchange(1, "it goes on");
	/* What is in the ring, and a doorbell, are nobody's now. */
	echo_offer(&driver_rings[0], "dead");
	driver_kick(kvm, 0);
	virtio_kick(driven, 0);
	ck_assert_uint_eq(ring_used_index(&driver_rings[0]), 40);
}
END_TEST

START_TEST(it_is_set_up_again_elsewhere_and_smaller)
{
	exchange(0, "before");
	for (unsigned int round = 0; round < 5; round++) {
		virtio_queue_reset(driven, 0);
		enable_again(0, round % 2 ? 64 : 8, RAM_SECOND + 0x8000 * (uint64_t)(round % 3));
		for (unsigned int i = 0; i < 20; i++) {
			exchange(0, "again");
			exchange(1, "other");
		}
	}
	ck_assert(!driver_needs_reset());
}
END_TEST

/* No doorbell comes for what the driver put there before it enabled the queue. */
START_TEST(what_lies_in_the_ring_when_it_is_enabled_is_served)
{
	struct ring *ring = &driver_rings[0];

	virtio_queue_reset(driven, 0);
	ring_restart(ring);
	guest_poke(&driver_ram, DRIVER_RING(0), (const uint8_t[0x4000]){ 0 }, 0x4000);
	echo_offer(ring, "early");
	virtio_queue_setup(driven, 0, ring->size, gpa(ring->desc), gpa(ring->avail), gpa(ring->used));
	virtio_queue_enable(driven, 0);
	echo_check(ring, "early");
}
END_TEST

START_TEST(without_the_feature_nothing_is_reset)
{
	driver_start(BIT(VIRTIO_F_RING_RESET), 2);
	virtio_queue_reset(driven, 0);
	virtio_queue_reset(driven, ECHO_QUEUES);
	ck_assert_uint_eq(queue_resets, 0);
	exchange(0, "still here");
}
END_TEST

START_TEST(a_queue_that_is_not_enabled_stays_so)
{
	virtio_queue_reset(driven, 0);
	virtio_queue_reset(driven, 0);
	ck_assert_uint_eq(queue_resets, 1);
	ck_assert(driven->running);
}
END_TEST

START_TEST(a_paused_device_stays_paused)
{
	struct device *device = &driven->device;

	ck_assert_int_eq(device->ops->quiesce(device), 0);
	virtio_queue_reset(driven, 0);
	ck_assert(driven->quiesced && !driven->holding);
	ck_assert_uint_eq(resumed, 0);
	enable_again(0, 8, RAM_SECOND);
	ck_assert(driven->quiesced);
	device->ops->resume(device);
	exchange(0, "after");
}
END_TEST

START_TEST(a_device_that_can_t_stand_still_waits_for_its_reset)
{
	refuse_quiesce = true;
	virtio_queue_reset(driven, 0);
	ck_assert(driver_needs_reset());
	ck_assert_uint_eq(queue_resets, 0);
	refuse_quiesce = false;
	driver_start(0, 2);
	exchange(0, "anew");
}
END_TEST

START_TEST(a_ring_that_lies_nowhere_breaks_the_device_when_it_comes_back)
{
	virtio_queue_reset(driven, 0);
	virtio_queue_setup(driven, 0, 8, gpa(NOWHERE), gpa(NOWHERE), gpa(NOWHERE));
	virtio_queue_enable(driven, 0);
	ck_assert(driver_needs_reset());
	driver_start(0, 2);
	exchange(0, "anew");
}
END_TEST

START_TEST(saved_without_the_queue_it_is_loaded_so)
{
	struct device *device = &driven->device;
	struct state_writer writer = { 0 };
	struct state_reader reader;

	exchange(0, "before");
	virtio_queue_reset(driven, 0);
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	device->ops->save(device, &writer);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	device->ops->resume(device);
	ck_assert(!driven->queues[0].enabled);
	exchange(1, "other");
	enable_again(0, 8, RAM_SECOND);
	exchange(0, "again");
	state_writer_free(&writer);
}
END_TEST

START_TEST(features_go_by_the_device_and_the_options)
{
	const uint64_t modern = BIT(VIRTIO_F_RING_RESET) | BIT(VIRTIO_F_VERSION_1);

	ck_assert_uint_eq(driven->features_offered & modern, modern);
	ck_assert_int_eq(!!(driven->features_offered & BIT(VIRTIO_F_RING_PACKED)), driver_is_packed());
	ck_assert_uint_eq(driven->features_offered & (BIT(VIRTIO_F_IN_ORDER) | BIT(VIRTIO_F_NOTIFICATION_DATA)), 0);
	virtio_device_del(&echo.device);
	ops.in_order = true;
	ck_assert_int_eq(config_set(kvm->config, "virtio-notification-data", "1"), 0);
	echo.device = (struct virtio_device){ .features_refused = BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_RING_RESET) };
	ck_assert_int_eq(virtio_device_add(kvm, &echo.device, &ops, "virtio-echo0"), 0);
	/* A back end has no say in what is done without it. */
	ck_assert_uint_eq(driven->features_offered & ~(modern | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX)),
			  BIT(VIRTIO_F_IN_ORDER) | BIT(VIRTIO_F_NOTIFICATION_DATA));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "queue reset", setup, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, one_queue_is_reset_and_the_other_goes_on);
	tcase_add_test(tests, it_is_set_up_again_elsewhere_and_smaller);
	tcase_add_test(tests, what_lies_in_the_ring_when_it_is_enabled_is_served);
	tcase_add_test(tests, without_the_feature_nothing_is_reset);
	tcase_add_test(tests, a_queue_that_is_not_enabled_stays_so);
	tcase_add_test(tests, a_paused_device_stays_paused);
	tcase_add_test(tests, a_device_that_can_t_stand_still_waits_for_its_reset);
	tcase_add_test(tests, a_ring_that_lies_nowhere_breaks_the_device_when_it_comes_back);
	tcase_add_test(tests, saved_without_the_queue_it_is_loaded_so);
	tcase_add_test(tests, features_go_by_the_device_and_the_options);
}
SUITE_MAIN("queue-reset", add_tests)
