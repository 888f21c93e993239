/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost/: packed rings that a daemon works on, where it has such. */
#include "tests/unit/board.h"

#include "tests/unit/vhost-daemon.h"
#include "tests/unit/virtio-driver.h"

#define OUT(n)		(RAM_BASE + 0x20000 + 0x100ULL * (n))
#define IN(n)		(RAM_SECOND + 0x1000 + 0x100ULL * (n))
#define LENGTH		64
#define SLOTS		(DRIVER_QUEUE_SIZE / 2)

static struct kvm *kvm;
static struct daemon daemons[2];

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
	ck_assert_int_eq(setenv("LKVM_TEST_RING", "packed", 1), 0);
	log_set_sink(board_hush);
	kvm = driver_machine();
	share_ram();
	memset(daemons, 0, sizeof(daemons));
	for (unsigned int i = 0; i < 2; i++) {
		snprintf(daemons[i].path, sizeof(daemons[i].path), "/tmp/lkvm-vhost-packed-%d.sock", getpid());
		daemons[i].features = DAEMON_FEATURES | BIT(USER_F_PROTOCOL_FEATURES);
		daemons[i].protocol = BIT(USER_PROTOCOL_MQ) | BIT(USER_PROTOCOL_REPLY_ACK) | BIT(USER_PROTOCOL_CONFIG) |
				      BIT(USER_PROTOCOL_INFLIGHT) | BIT(USER_PROTOCOL_RESET_DEVICE);
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

static void plug(void)
{
	char text[128];

	daemon_start(&daemons[0]);
	snprintf(text, sizeof(text), "type=blk,socket=%s", daemons[0].path);
	ck_assert_int_eq(config_set(kvm->config, "vhost-user", text), 0);
	board_add(kvm, "user_devices_init");
}

static void begin(void)
{
	plug();
	driver_start(0, 1);
	ck_assert(virtio_has_feature(driven, VIRTIO_F_RING_PACKED));
}

static void offer(unsigned int n)
{
	const struct driver_buffer buffers[] = { { OUT(n % SLOTS), LENGTH, false }, { IN(n % SLOTS), LENGTH, true } };
	uint8_t bytes[LENGTH];

	memset(bytes, (int)n + 1, sizeof(bytes));
	guest_poke(&driver_ram, OUT(n % SLOTS), bytes, sizeof(bytes));
	driver_offer(0, (uint16_t)(2 * (n % SLOTS)), buffers, 2);
}

static void answered(unsigned int n)
{
	for (unsigned int i = 0; i < LENGTH; i++)
		ck_assert_uint_eq(driver_peek(IN(n % SLOTS) + i), (uint8_t)~(n + 1));
}

static void serve(unsigned int n)
{
	offer(n);
	driver_finish(kvm, 0);
	answered(n);
}

static bool the_second_is_asked(void)	{ return atomic_load(&daemons[1].connections); }

START_TEST(a_daemon_that_has_them_works_on_them)
{
	begin();
	ck_assert_uint_eq(daemons[0].rings[0].base, 0x80008000);
	for (unsigned int n = 0; n < 200; n++)
		serve(n);
	ck_assert_uint_eq(atomic_load(&daemons[0].served), 200);
	ck_assert(daemon_is_packed(&daemons[0]));
}
END_TEST

START_TEST(a_daemon_that_has_none_isn_t_asked_to)
{
	daemons[0].features &= ~BIT(VIRTIO_F_RING_PACKED);
	plug();
	ck_assert_uint_eq(driven->features_offered & BIT(VIRTIO_F_RING_PACKED), 0);
	driver_rings[0].packed = false;
	driver_start(0, 1);
	for (unsigned int n = 0; n < 20; n++)
		serve(n);
	ck_assert(!daemon_is_packed(&daemons[0]));
}
END_TEST

START_TEST(paused_saved_and_loaded_it_goes_on_where_the_daemon_stopped)
{
	struct state_writer writer = { 0 };
	struct state_reader reader;
	struct device *device;

	begin();
	for (unsigned int n = 0; n < 37; n++)
		serve(n);
	device = &driven->device;
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	/* 37 requests of two: one lap of 64, and 10. */
	ck_assert_uint_eq(virtqueue_base(&driven->queues[0]), 10 << 16 | 10);
	offer(37);
	virtio_notify(driven, 0);
	device->ops->save(device, &writer);
	ck_assert_int_eq(writer.error, 0);
	device->ops->reset(device);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	atomic_store(&driver_interrupts, 0);
	device->ops->resume(device);
	ck_assert(driver_wait(kvm, driver_all_used));
	answered(37);
	ck_assert_uint_eq(daemons[0].rings[0].base, 10 << 16 | 10);
	serve(38);
	state_writer_free(&writer);
}
END_TEST

START_TEST(a_queue_is_reset_alone)
{
	static const uint8_t zeroes[0x8000];
	struct ring *ring = &driver_rings[0];

	begin();
	for (unsigned int n = 0; n < 5; n++)
		serve(n);
	virtio_queue_reset(driven, 0);
	ck_assert_int_eq(daemons[0].rings[0].kick_fd, -1);
	guest_poke(&driver_ram, DRIVER_RING(0), zeroes, sizeof(zeroes));
	ring_restart(ring);
	virtio_queue_setup(driven, 0, ring->size, gpa(ring->desc), gpa(ring->avail), gpa(ring->used));
	virtio_queue_enable(driven, 0);
	ck_assert_uint_eq(daemons[0].rings[0].base, 0x80008000);
	for (unsigned int n = 0; n < 5; n++)
		serve(n);
}
END_TEST

/* Its ring doesn't tell, so nobody goes on by guessing. */
START_TEST(when_the_daemon_is_lost_the_device_waits_for_its_reset)
{
	begin();
	for (unsigned int n = 0; n < 5; n++)
		serve(n);
	daemon_kill(&daemons[0]);
	daemon_start(&daemons[1]);
	ck_assert(driver_wait(kvm, driver_needs_reset));
	ck_assert(driver_wait(kvm, the_second_is_asked));
	driver_start(0, 1);
	for (unsigned int n = 0; n < 5; n++)
		serve(n);
	ck_assert_uint_eq(atomic_load(&daemons[1].served), 5);
}
END_TEST

START_TEST(a_daemon_that_was_nowhere_possible_breaks_its_device)
{
	struct device *device;

	daemons[0].fault = FAULT_BASE_TOO_LARGE;
	daemons[0].fault_request = USER_GET_VRING_BASE;
	begin();
	serve(0);
	device = &driven->device;
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	ck_assert(driver_needs_reset());
	daemons[0].fault = FAULT_NONE;
	device->ops->resume(device);
	driver_start(0, 1);
	serve(0);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "packed", setup, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, a_daemon_that_has_them_works_on_them);
	tcase_add_test(tests, a_daemon_that_has_none_isn_t_asked_to);
	tcase_add_test(tests, paused_saved_and_loaded_it_goes_on_where_the_daemon_stopped);
	tcase_add_test(tests, a_queue_is_reset_alone);
	tcase_add_test(tests, when_the_daemon_is_lost_the_device_waits_for_its_reset);
	tcase_add_test(tests, a_daemon_that_was_nowhere_possible_breaks_its_device);
}
SUITE_MAIN("vhost-packed", add_tests)
