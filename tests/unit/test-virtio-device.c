/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/device.c: the status machine, features, queues, kicks and saved state, behind a transport of the test's. */
#include "tests/unit/board.h"

#include "tests/unit/echo-device.h"

#define ACK		VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER		VIRTIO_CONFIG_S_DRIVER
#define FEATURES_OK	VIRTIO_CONFIG_S_FEATURES_OK
#define DRIVER_OK	VIRTIO_CONFIG_S_DRIVER_OK
#define NEEDS_RESET	VIRTIO_CONFIG_S_NEEDS_RESET

static struct kvm *kvm;
static struct guest_ram guest;
static struct echo echo;
static struct virtio_device *device = &echo.device;
static struct ring rings[ECHO_QUEUES];
static unsigned int queue_interrupts[ECHO_QUEUES], config_interrupts, transport_resets, power_ons;

/* ---- the transport ---- */

static void fake_interrupt_queue(struct virtio_device *of, unsigned int queue)
{
	ck_assert_ptr_eq(of, device);
	ck_assert_uint_lt(queue, ECHO_QUEUES);
	queue_interrupts[queue]++;
}

static void fake_interrupt_config(struct virtio_device *of)
{
	ck_assert_ptr_eq(of, device);
	config_interrupts++;
}

static void fake_reset(struct virtio_device *of)
{
	ck_assert_ptr_eq(of, device);
	transport_resets++;
}

static void fake_power_on(struct virtio_device *of)
{
	ck_assert_ptr_eq(of, device);
	power_ons++;
}

static void fake_save(struct virtio_device *of, struct state_writer *writer)
{
	(void)of;
	(void)writer;
}

static int fake_load(struct virtio_device *of, struct state_reader *reader)
{
	(void)of;
	(void)reader;
	return 0;
}

static void fake_del(struct virtio_device *of)
{
	ck_assert_ptr_eq(of, device);
}

static const struct virtio_transport_ops fake_ops = {
	.name = "fake", .interrupt_queue = fake_interrupt_queue, .interrupt_config = fake_interrupt_config,
	.reset = fake_reset, .power_on = fake_power_on, .save = fake_save, .load = fake_load, .del = fake_del,
};

static int fake_add(struct virtio_device *of, const struct virtio_transport *transport)
{
	(void)transport;
	of->transport_ops = &fake_ops;
	return 0;
}

/* Registered last, hence found first: behind the names of the real ones. */
static struct virtio_transport fake_modern = { .name = "pci", .add = fake_add };
static struct virtio_transport fake_legacy = { .name = "pci-legacy", .legacy = true, .add = fake_add };

/* ---- a driver ---- */

static void create(const char *transport)
{
	log_set_sink(board_hush);
	kvm = board_create();
	ck_assert_int_eq(config_set(kvm->config, "virtio-transport", transport), 0);
	guest_ram_add(&guest, &kvm->memory);
	echo_add(kvm, &echo);
	memset(queue_interrupts, 0, sizeof(queue_interrupts));
	config_interrupts = transport_resets = power_ons = 0;
	for (unsigned int i = 0; i < ECHO_QUEUES; i++)
		ring_init(&rings[i], &guest, ECHO_QUEUE_SIZE, ECHO_RING(i));
}

static void setup(void)
{
	create("pci");
}

static void setup_legacy(void)
{
	create("pci-legacy");
}

static void teardown(void)
{
	virtio_device_del(device);
	guest_ram_remove(&guest);
	board_destroy(kvm);
	log_set_sink(NULL);
}

static uint8_t status(void)
{
	return atomic_load(&device->status);
}

static void negotiate(uint64_t features)
{
	virtio_set_status(device, 0);
	virtio_set_status(device, ACK);
	virtio_set_status(device, ACK | DRIVER);
	virtio_set_features(device, features);
	virtio_set_status(device, ACK | DRIVER | FEATURES_OK);
}

static void enable(unsigned int queue)
{
	virtio_queue_setup(device, queue, rings[queue].size, gpa(rings[queue].desc), gpa(rings[queue].avail),
			   gpa(rings[queue].used));
	virtio_queue_enable(device, queue);
}

static void drive(void)
{
	negotiate(BIT(VIRTIO_F_VERSION_1) | BIT(ECHO_FEATURE));
	enable(0);
	enable(1);
	virtio_set_status(device, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	ck_assert_uint_eq(status(), ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	ck_assert(device->running);
}

static void doorbell(unsigned int queue)
{
	uint64_t one = 1;

	ck_assert_int_eq(write(device->kicks[queue].fd, &one, sizeof(one)), sizeof(one));
	board_poll(kvm, 2);
}

static void exchange(unsigned int queue, const char *text)
{
	echo_offer(&rings[queue], text);
	doorbell(queue);
	echo_check(&rings[queue], text);
}

/* ---- status and features ---- */

START_TEST(a_driver_that_does_as_it_should_is_served)
{
	drive();
	ck_assert_uint_eq(echo.started, 1);
	exchange(0, "first");
	exchange(1, "second");
	ck_assert_uint_eq(echo.handled, 2);
	ck_assert_uint_eq(queue_interrupts[0], 1);
	ck_assert_uint_eq(queue_interrupts[1], 1);
	ck_assert_uint_eq(config_interrupts, 0);
}
END_TEST

START_TEST(features_that_were_not_offered_are_refused)
{
	static const unsigned int bits[] = { 0, 63, 41, VIRTIO_F_RING_PACKED };

	negotiate(BIT(VIRTIO_F_VERSION_1) | BIT(bits[_i]));
	ck_assert_uint_eq(status(), ACK | DRIVER);
	/* It may think again. */
	virtio_set_features(device, BIT(VIRTIO_F_VERSION_1));
	virtio_set_status(device, ACK | DRIVER | FEATURES_OK);
	ck_assert_uint_eq(status(), ACK | DRIVER | FEATURES_OK);
}
END_TEST

START_TEST(a_modern_driver_must_accept_version_1)
{
	negotiate(BIT(ECHO_FEATURE));
	ck_assert_uint_eq(status(), ACK | DRIVER);
}
END_TEST

START_TEST(features_are_settled_by_features_ok)
{
	negotiate(BIT(VIRTIO_F_VERSION_1));
	virtio_set_features(device, ~0ULL);
	ck_assert_uint_eq(device->features, BIT(VIRTIO_F_VERSION_1));
	/* Taking the bit back doesn't open them again. */
	virtio_set_status(device, ACK);
	virtio_set_features(device, ~0ULL);
	ck_assert_uint_eq(device->features, BIT(VIRTIO_F_VERSION_1));
	ck_assert_uint_eq(status(), ACK | DRIVER | FEATURES_OK);
}
END_TEST

START_TEST(driver_ok_without_features_ok_breaks_the_device)
{
	virtio_set_features(device, ~0ULL);
	enable(0);
	virtio_set_status(device, ACK | DRIVER | DRIVER_OK);
	ck_assert_uint_ne(status() & NEEDS_RESET, 0);
	ck_assert(!device->running);
	ck_assert_uint_eq(echo.started, 0);
	echo_offer(&rings[0], "nobody");
	doorbell(0);
	ck_assert_uint_eq(ring_used_index(&rings[0]), 0);
	drive();
}
END_TEST

START_TEST(a_driver_cannot_set_or_clear_needs_reset)
{
	drive();
	virtio_set_status(device, status() | NEEDS_RESET);
	ck_assert_uint_eq(status() & NEEDS_RESET, 0);
	exchange(0, "fine");
	virtio_needs_reset(device);
	ck_assert_uint_eq(config_interrupts, 1);
	virtio_set_status(device, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	ck_assert_uint_ne(status() & NEEDS_RESET, 0);
	ck_assert(!device->running);
}
END_TEST

START_TEST(a_device_that_can_not_start_needs_a_reset)
{
	echo.refuse_start = true;
	negotiate(BIT(VIRTIO_F_VERSION_1));
	virtio_set_status(device, status() | DRIVER_OK);
	ck_assert_uint_ne(status() & NEEDS_RESET, 0);
	ck_assert(!device->running);
}
END_TEST

START_TEST(driver_ok_twice_starts_once)
{
	drive();
	virtio_set_status(device, status());
	ck_assert_uint_eq(echo.started, 1);
}
END_TEST

START_TEST(a_legacy_driver_has_no_features_ok)
{
	virtio_set_status(device, ACK | DRIVER);
	virtio_set_features(device, BIT(ECHO_FEATURE));
	virtio_queue_legacy(device, 0, ECHO_RING(0), 4096);
	virtio_set_status(device, ACK | DRIVER | DRIVER_OK);
	ck_assert(device->running);
	exchange(0, "legacy");
}
END_TEST

START_TEST(a_legacy_driver_may_set_a_queue_up_late)
{
	virtio_set_status(device, ACK | DRIVER | DRIVER_OK);
	virtio_queue_legacy(device, 1, ECHO_RING(1), 4096);
	exchange(1, "late");
}
END_TEST

START_TEST(a_legacy_driver_that_accepts_what_was_not_offered_breaks_the_device)
{
	virtio_set_features(device, BIT(0));
	virtio_set_status(device, ACK | DRIVER | DRIVER_OK);
	ck_assert_uint_ne(status() & NEEDS_RESET, 0);
}
END_TEST

START_TEST(a_legacy_ring_may_lie_anywhere_and_do_no_harm)
{
	static const uint64_t places[] = { IO_BASE, NOWHERE, RAM_END - 4096, UINT64_MAX - 4095, 0x7fffffffffff000 };
	static const uint64_t aligns[] = { 4096, 0, 3, 1ULL << 63, 1 };

	virtio_queue_legacy(device, 0, places[_i % 5], aligns[_i / 5]);
	virtio_set_status(device, ACK | DRIVER | DRIVER_OK);
	doorbell(0);
	ck_assert_uint_eq(echo.handled, 0);
}
END_TEST

/* ---- queues ---- */

START_TEST(what_was_offered_before_driver_ok_is_served)
{
	negotiate(BIT(VIRTIO_F_VERSION_1));
	enable(0);
	echo_offer(&rings[0], "early");
	doorbell(0);
	ck_assert_uint_eq(echo.handled, 0);
	virtio_set_status(device, status() | DRIVER_OK);
	echo_check(&rings[0], "early");
}
END_TEST

START_TEST(a_queue_in_use_keeps_its_place)
{
	drive();
	virtio_queue_setup(device, 0, 2, gpa(NOWHERE), gpa(NOWHERE), gpa(NOWHERE));
	virtio_queue_enable(device, 0);
	virtio_queue_legacy(device, 0, NOWHERE, 4096);
	exchange(0, "where it was");
}
END_TEST

START_TEST(a_queue_that_does_not_exist_is_left_alone)
{
	static const unsigned int queues[] = { ECHO_QUEUES, 63, 64, 0xffff, UINT32_MAX };

	drive();
	virtio_queue_setup(device, queues[_i], 8, gpa(RAM_BASE), gpa(RAM_BASE), gpa(RAM_BASE));
	virtio_queue_enable(device, queues[_i]);
	virtio_queue_disable(device, queues[_i]);
	virtio_queue_legacy(device, queues[_i], RAM_BASE, 4096);
	virtio_notify(device, queues[_i]);
	virtio_kick(device, queues[_i]);
	exchange(0, "the others work");
}
END_TEST

START_TEST(a_ring_outside_ram_breaks_the_device_at_driver_ok)
{
	negotiate(BIT(VIRTIO_F_VERSION_1));
	rings[1].used = _i ? IO_BASE : RAM_END - 8;
	enable(0);
	enable(1);
	virtio_set_status(device, status() | DRIVER_OK);
	ck_assert_uint_ne(status() & NEEDS_RESET, 0);
	ck_assert_uint_eq(config_interrupts, 1);
	ck_assert_uint_eq(echo.started, 0);
	doorbell(0);
}
END_TEST

START_TEST(a_queue_taken_away_in_use_breaks_the_device)
{
	drive();
	virtio_queue_disable(device, 0);
	ck_assert_uint_ne(status() & NEEDS_RESET, 0);
	doorbell(0);
	doorbell(1);
}
END_TEST

START_TEST(a_bad_request_breaks_the_device_until_it_is_reset)
{
	drive();
	ring_offer(&rings[0], ECHO_QUEUE_SIZE);
	doorbell(0);
	ck_assert_uint_ne(status() & NEEDS_RESET, 0);
	ck_assert_uint_eq(config_interrupts, 1);
	echo_offer(&rings[1], "nobody");
	doorbell(1);
	ck_assert_uint_eq(ring_used_index(&rings[1]), 0);

	for (unsigned int i = 0; i < ECHO_QUEUES; i++) {
		memset(guest.host[0] + (ECHO_RING(i) - RAM_BASE), 0, 0x8000);
		rings[i].next_avail = 0;
	}
	drive();
	exchange(0, "well again");
}
END_TEST

START_TEST(kicks_are_off_while_requests_are_served_and_on_after)
{
	drive();
	ck_assert_uint_eq(guest_peek16(&guest, rings[0].used), 0);
	echo.put_back = true;
	echo_offer(&rings[0], "later");
	doorbell(0);
	/* The device stopped in the middle: it will look again by itself. */
	ck_assert_uint_eq(guest_peek16(&guest, rings[0].used), VRING_USED_F_NO_NOTIFY);
	echo.put_back = false;
	virtio_kick(device, 0);
	echo_check(&rings[0], "later");
	ck_assert_uint_eq(guest_peek16(&guest, rings[0].used), 0);
}
END_TEST

START_TEST(a_notification_by_an_exit_is_as_good_as_a_doorbell)
{
	drive();
	echo_offer(&rings[1], "exit");
	virtio_notify(device, 1);
	board_poll(kvm, 2);
	echo_check(&rings[1], "exit");
}
END_TEST

static int never_ending(struct virtio_device *of, struct virtqueue *vq, struct virtio_request *req)
{
	/* The driver has the next one ready before this one is done. */
	(void)of;
	echo.handled++;
	virtqueue_push(vq, req, 0);
	ring_offer(&rings[0], 0);
	return 1;
}

START_TEST(a_driver_that_never_pauses_leaves_the_loop_to_others)
{
	drive();
	echo_offer(&rings[0], "again and again");
	virtio_process(device, &device->queues[0], never_ending);
	ck_assert_uint_lt(echo.handled, 100000);
	/* What is left is served in the next turn, without a kick. */
	board_poll(kvm, 2);
	ck_assert_uint_eq(ring_used_index(&rings[0]), rings[0].next_avail);
}
END_TEST

/* ---- reset, quiesce, resume ---- */

START_TEST(a_reset_clears_every_trace)
{
	struct virtqueue fresh[ECHO_QUEUES];

	memcpy(fresh, device->queues, sizeof(fresh));
	drive();
	exchange(0, "trace");
	virtio_config_changed(device);
	_i ? devices_reset(kvm) : virtio_set_status(device, 0);

	ck_assert_uint_eq(status(), 0);
	ck_assert_uint_eq(device->features, 0);
	ck_assert_uint_eq(atomic_load(&device->config_generation), 0);
	ck_assert(!device->running);
	ck_assert_uint_eq(echo.resets, 2);
	ck_assert_uint_eq(transport_resets, 2);
	ck_assert_uint_eq(power_ons, _i ? 1 : 0);
	for (unsigned int i = 0; i < ECHO_QUEUES; i++) {
		fresh[i].memory = device->queues[i].memory;
		/* What was done stays done: `lkvm stat` counts over a VM's life. */
		fresh[i].requests = device->queues[i].requests;
		fresh[i].bytes_read = device->queues[i].bytes_read;
		fresh[i].bytes_written = device->queues[i].bytes_written;
		ck_assert_mem_eq(&device->queues[i], &fresh[i], sizeof(fresh[i]));
	}
	/* Nothing is served any more. */
	echo_offer(&rings[0], "nobody");
	doorbell(0);
	ck_assert_uint_eq(echo.handled, 1);
}
END_TEST

START_TEST(a_quiesced_device_waits_for_resume)
{
	drive();
	exchange(0, "before");
	ck_assert_int_eq(devices_quiesce(kvm), 0);
	echo_offer(&rings[0], "meanwhile");
	doorbell(0);
	virtio_kick(device, 0);
	ck_assert_uint_eq(echo.handled, 1);
	devices_resume(kvm);
	echo_check(&rings[0], "meanwhile");
	exchange(0, "after");
}
END_TEST

START_TEST(a_quiesced_device_may_be_reset_and_driven)
{
	drive();
	ck_assert_int_eq(devices_quiesce(kvm), 0);
	devices_reset(kvm);
	devices_resume(kvm);
	drive();
	exchange(0, "restarted");
}
END_TEST

/* ---- config space ---- */

START_TEST(config_space_has_bounds_at_every_offset_and_size)
{
	static const uint64_t far[] = { 0xff, 0x100, 0xfff, UINT32_MAX, UINT64_MAX - 7, UINT64_MAX };
	uint8_t bytes[8], zero[8] = { 0 };

	for (uint64_t offset = 0; offset < 64; offset++) {
		for (size_t size = 1; size <= 8; size *= 2) {
			bool inside = offset + size <= ECHO_CONFIG_SIZE;

			memset(bytes, 0x55, sizeof(bytes));
			virtio_config_read(device, offset, bytes, size);
			ck_assert_mem_eq(bytes, inside ? echo.config + offset : zero, size);
			virtio_config_write(device, offset, bytes, size);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(far); i++) {
		virtio_config_read(device, far[i], bytes, 8);
		ck_assert_mem_eq(bytes, zero, 8);
		virtio_config_write(device, far[i], bytes, 8);
	}
	for (unsigned int i = 0; i < ECHO_CONFIG_SIZE; i++)
		ck_assert_uint_eq(echo.config[i], 0xa0 + i);
}
END_TEST

START_TEST(a_driver_hears_of_config_changes_once_it_runs)
{
	virtio_config_changed(device);
	ck_assert_uint_eq(atomic_load(&device->config_generation), 1);
	ck_assert_uint_eq(config_interrupts, 0);
	drive();
	virtio_config_changed(device);
	ck_assert_uint_eq(atomic_load(&device->config_generation), 1);
	ck_assert_uint_eq(config_interrupts, 1);
}
END_TEST

/* ---- saved state ---- */

START_TEST(a_device_saved_and_loaded_is_the_same_and_goes_on)
{
	struct state_writer writer = { 0 };
	struct state_reader reader;

	drive();
	exchange(0, "before");
	ck_assert_int_eq(devices_quiesce(kvm), 0);
	devices_save(kvm, &writer);
	devices_reset(kvm);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(devices_load(kvm, &reader), 0);
	devices_resume(kvm);
	exchange(0, "after");
	exchange(1, "other");

	board_save_load(kvm, "virtio-echo0");
	ck_assert_uint_eq(status(), 0);		/* the torn stream at its end */
	state_writer_free(&writer);
}
END_TEST

static void poke(void)
{
	for (unsigned int i = 0; i < ECHO_QUEUES; i++)
		virtio_notify(device, i);
	event_loop_poll(kvm->loop, 0);
	virtio_set_status(device, 0);
}

START_TEST(hostile_saved_state_is_harmless)
{
	drive();
	exchange(0, "before");
	board_load_hostile(kvm, "virtio-echo0", poke);
}
END_TEST

START_TEST(saved_features_must_be_offered)
{
	struct device *base = device_find(kvm, "virtio-echo0");
	struct state_writer writer = { 0 };
	struct state_reader reader;

	drive();
	base->ops->save(base, &writer);
	device->features_offered &= ~BIT(ECHO_FEATURE);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(base->ops->load(base, &reader), -EINVAL);
	ck_assert_uint_eq(status(), 0);
	state_writer_free(&writer);
}
END_TEST

/* As a driver leaves it that was refused, or hasn't come to FEATURES_OK: that is no reason not to restore a machine. */
START_TEST(features_that_nobody_settled_are_saved_and_loaded)
{
	virtio_set_status(device, 0);
	virtio_set_status(device, ACK | DRIVER);
	virtio_set_features(device, BIT(40) | BIT(ECHO_FEATURE));
	virtio_set_status(device, ACK | DRIVER | (device->legacy ? DRIVER_OK : FEATURES_OK));
	ck_assert(!device->running);

	board_save_load(kvm, "virtio-echo0");
}
END_TEST

START_TEST(a_name_can_only_be_taken_once)
{
	static struct virtio_device twin;

	memset(&twin, 0, sizeof(twin));
	ck_assert_int_eq(virtio_device_add(kvm, &twin, &echo_ops, "virtio-echo0"), -EEXIST);
	ck_assert_ptr_null(twin.queues);
	drive();
	exchange(0, "the first one stays");
}
END_TEST

static void add_modern(TCase *tcase)
{
	tcase_add_test(tcase, a_driver_that_does_as_it_should_is_served);
	tcase_add_loop_test(tcase, features_that_were_not_offered_are_refused, 0, 4);
	tcase_add_test(tcase, a_modern_driver_must_accept_version_1);
	tcase_add_test(tcase, features_are_settled_by_features_ok);
	tcase_add_test(tcase, driver_ok_without_features_ok_breaks_the_device);
	tcase_add_test(tcase, a_driver_cannot_set_or_clear_needs_reset);
	tcase_add_test(tcase, a_device_that_can_not_start_needs_a_reset);
	tcase_add_test(tcase, driver_ok_twice_starts_once);
	tcase_add_test(tcase, what_was_offered_before_driver_ok_is_served);
	tcase_add_test(tcase, a_queue_in_use_keeps_its_place);
	tcase_add_loop_test(tcase, a_queue_that_does_not_exist_is_left_alone, 0, 5);
	tcase_add_loop_test(tcase, a_ring_outside_ram_breaks_the_device_at_driver_ok, 0, 2);
	tcase_add_test(tcase, a_queue_taken_away_in_use_breaks_the_device);
	tcase_add_test(tcase, a_bad_request_breaks_the_device_until_it_is_reset);
	tcase_add_test(tcase, kicks_are_off_while_requests_are_served_and_on_after);
	tcase_add_test(tcase, a_notification_by_an_exit_is_as_good_as_a_doorbell);
	tcase_add_test(tcase, a_driver_that_never_pauses_leaves_the_loop_to_others);
	tcase_add_loop_test(tcase, a_reset_clears_every_trace, 0, 2);
	tcase_add_test(tcase, a_quiesced_device_waits_for_resume);
	tcase_add_test(tcase, a_quiesced_device_may_be_reset_and_driven);
	tcase_add_test(tcase, config_space_has_bounds_at_every_offset_and_size);
	tcase_add_test(tcase, a_driver_hears_of_config_changes_once_it_runs);
	tcase_add_test(tcase, a_device_saved_and_loaded_is_the_same_and_goes_on);
	tcase_add_test(tcase, hostile_saved_state_is_harmless);
	tcase_add_test(tcase, saved_features_must_be_offered);
	tcase_add_test(tcase, features_that_nobody_settled_are_saved_and_loaded);
	tcase_add_test(tcase, a_name_can_only_be_taken_once);
}

static void add_tests(Suite *suite)
{
	TCase *legacy = suite_case(suite, "legacy", setup_legacy, teardown);

	virtio_transport_register(&fake_modern);
	virtio_transport_register(&fake_legacy);
	add_modern(suite_case(suite, "modern", setup, teardown));
	tcase_add_test(legacy, a_legacy_driver_has_no_features_ok);
	tcase_add_test(legacy, a_legacy_driver_may_set_a_queue_up_late);
	tcase_add_test(legacy, a_legacy_driver_that_accepts_what_was_not_offered_breaks_the_device);
	tcase_add_test(legacy, features_that_nobody_settled_are_saved_and_loaded);
	tcase_add_loop_test(legacy, a_legacy_ring_may_lie_anywhere_and_do_no_harm, 0, 25);
}
SUITE_MAIN("virtio device", add_tests)
