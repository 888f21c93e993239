/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/mmio.c: the registers of versions 2 and 1, as a driver and as a fuzzer see them. */
#include "tests/unit/board.h"

#include <linux/virtio_mmio.h>

#include "tests/unit/echo-device.h"

#define ACK		VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER		VIRTIO_CONFIG_S_DRIVER
#define FEATURES_OK	VIRTIO_CONFIG_S_FEATURES_OK
#define DRIVER_OK	VIRTIO_CONFIG_S_DRIVER_OK

static struct kvm *kvm;
static struct guest_ram guest;
static struct echo echo;
static struct ring rings[ECHO_QUEUES];
static struct platform_device *slot;

static uint64_t read_size(uint64_t offset, unsigned int size)
{
	uint64_t value;

	space_io_read(&kvm->memory, slot->base + offset, size, &value);
	return value;
}

static uint32_t in(uint64_t offset)
{
	return (uint32_t)read_size(offset, 4);
}

static void out(uint64_t offset, uint32_t value)
{
	space_io_write(&kvm->memory, slot->base + offset, 4, value);
}

static void create(const char *transport)
{
	log_set_sink(board_hush);
	kvm = board_create();
	ck_assert_int_eq(config_set(kvm->config, "virtio-transport", transport), 0);
	guest_ram_add(&guest, &kvm->memory);
	echo_add(kvm, &echo);
	board_listen(kvm);
	slot = platform_devices(kvm);
	ck_assert_ptr_nonnull(slot);
}

static void setup(void)
{
	create("mmio");
}

static void setup_legacy(void)
{
	create("mmio-legacy");
}

static void teardown(void)
{
	virtio_device_del(&echo.device);
	ck_assert_ptr_null(platform_devices(kvm));
	guest_ram_remove(&guest);
	board_destroy(kvm);
	log_set_sink(NULL);
}

static void exchange(unsigned int queue, const char *text)
{
	echo_offer(&rings[queue], text);
	out(VIRTIO_MMIO_QUEUE_NOTIFY, queue);
	board_poll(kvm, 2);
	echo_check(&rings[queue], text);
}

static unsigned int interrupts(void)
{
	return board_interrupts(kvm, (uint32_t)slot->gsi);
}

/* ---- version 2 ---- */

static void negotiate(uint64_t features)
{
	out(VIRTIO_MMIO_STATUS, 0);
	out(VIRTIO_MMIO_STATUS, ACK | DRIVER);
	for (unsigned int i = 0; i < 2; i++) {
		out(VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
		out(VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32 * i));
	}
	out(VIRTIO_MMIO_STATUS, ACK | DRIVER | FEATURES_OK);
}

static void write_address(uint64_t offset, uint64_t address)
{
	out(offset, (uint32_t)address);
	out(offset + 4, (uint32_t)(address >> 32));
}

static void enable(unsigned int queue, uint16_t size)
{
	ring_init(&rings[queue], &guest, size, ECHO_RING(queue));
	out(VIRTIO_MMIO_QUEUE_SEL, queue);
	ck_assert_uint_eq(in(VIRTIO_MMIO_QUEUE_READY), 0);
	out(VIRTIO_MMIO_QUEUE_NUM, size);
	write_address(VIRTIO_MMIO_QUEUE_DESC_LOW, rings[queue].desc);
	write_address(VIRTIO_MMIO_QUEUE_AVAIL_LOW, rings[queue].avail);
	write_address(VIRTIO_MMIO_QUEUE_USED_LOW, rings[queue].used);
	out(VIRTIO_MMIO_QUEUE_READY, 1);
	ck_assert_uint_eq(in(VIRTIO_MMIO_QUEUE_READY), 1);
}

static void drive(uint16_t size)
{
	negotiate(BIT(VIRTIO_F_VERSION_1));
	ck_assert_uint_eq(in(VIRTIO_MMIO_STATUS), ACK | DRIVER | FEATURES_OK);
	enable(0, size);
	enable(1, size);
	out(VIRTIO_MMIO_STATUS, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	ck_assert_uint_eq(in(VIRTIO_MMIO_STATUS), ACK | DRIVER | FEATURES_OK | DRIVER_OK);
}

START_TEST(a_slot_says_what_it_is)
{
	ck_assert_uint_eq(in(VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	ck_assert_uint_eq(in(VIRTIO_MMIO_VERSION), 2);
	ck_assert_uint_eq(in(VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_RNG);
	ck_assert_uint_eq(slot->size, 0x200);
	out(VIRTIO_MMIO_SHM_SEL, 0);
	ck_assert_uint_eq(in(VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
	ck_assert_uint_eq(in(VIRTIO_MMIO_SHM_LEN_HIGH), UINT32_MAX);
	ck_assert_str_eq(slot->compatible, "virtio,mmio");
	ck_assert_str_eq(slot->acpi_hid, "LNRO0005");
	ck_assert_int_eq(slot->trigger, IRQ_EDGE);
}
END_TEST

START_TEST(a_driver_of_version_2_is_served)
{
	drive(16);
	exchange(0, "first");
	exchange(1, "second");
	ck_assert_uint_eq(interrupts(), 2);
	ck_assert_uint_eq(in(VIRTIO_MMIO_INTERRUPT_STATUS), 1);
	virtio_config_changed(&echo.device);
	ck_assert_uint_eq(in(VIRTIO_MMIO_INTERRUPT_STATUS), 3);
	out(VIRTIO_MMIO_INTERRUPT_ACK, 1);
	ck_assert_uint_eq(in(VIRTIO_MMIO_INTERRUPT_STATUS), 2);
	out(VIRTIO_MMIO_INTERRUPT_ACK, UINT32_MAX);
	ck_assert_uint_eq(in(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	ck_assert_uint_eq(in(VIRTIO_MMIO_CONFIG_GENERATION), 1);
}
END_TEST

START_TEST(features_that_were_not_offered_are_refused)
{
	negotiate(BIT(VIRTIO_F_VERSION_1) | BIT(_i ? 60 : 3));
	ck_assert_uint_eq(in(VIRTIO_MMIO_STATUS), ACK | DRIVER);
	out(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	ck_assert_uint_eq(in(VIRTIO_MMIO_DEVICE_FEATURES) & 1, 1);
	out(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	ck_assert_uint_eq(in(VIRTIO_MMIO_DEVICE_FEATURES), 0);
}
END_TEST

START_TEST(a_queue_that_does_not_exist_has_size_0)
{
	static const uint32_t queues[] = { ECHO_QUEUES, 64, 0xffff, UINT32_MAX };

	drive(16);
	out(VIRTIO_MMIO_QUEUE_SEL, queues[_i]);
	ck_assert_uint_eq(in(VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	ck_assert_uint_eq(in(VIRTIO_MMIO_QUEUE_READY), 0);
	out(VIRTIO_MMIO_QUEUE_NUM, 8);
	write_address(VIRTIO_MMIO_QUEUE_DESC_LOW, RAM_BASE);
	out(VIRTIO_MMIO_QUEUE_READY, 1);
	out(VIRTIO_MMIO_QUEUE_NOTIFY, queues[_i]);
	exchange(0, "the others work");
}
END_TEST

START_TEST(a_queue_of_a_wrong_size_breaks_the_device)
{
	static const uint32_t sizes[] = { 3, 63 };

	negotiate(BIT(VIRTIO_F_VERSION_1));
	out(VIRTIO_MMIO_QUEUE_SEL, 0);
	out(VIRTIO_MMIO_QUEUE_NUM, sizes[_i]);
	write_address(VIRTIO_MMIO_QUEUE_DESC_LOW, RAM_BASE);
	write_address(VIRTIO_MMIO_QUEUE_AVAIL_LOW, RAM_BASE + 0x1000);
	write_address(VIRTIO_MMIO_QUEUE_USED_LOW, RAM_BASE + 0x2000);
	out(VIRTIO_MMIO_QUEUE_READY, 1);
	out(VIRTIO_MMIO_STATUS, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	ck_assert_uint_ne(in(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	drive(16);
	exchange(0, "healed");
}
END_TEST

START_TEST(registers_are_read_and_written_as_words_only)
{
	ck_assert_uint_eq(read_size(VIRTIO_MMIO_MAGIC_VALUE, 1), 0);
	ck_assert_uint_eq(read_size(VIRTIO_MMIO_VERSION, 2), 0);
	space_io_write(&kvm->memory, slot->base + VIRTIO_MMIO_STATUS, 1, ACK);
	ck_assert_uint_eq(in(VIRTIO_MMIO_STATUS), 0);
	/* Device config is as wide as its fields. */
	ck_assert_uint_eq(read_size(VIRTIO_MMIO_CONFIG, 1), 0xa0);
	ck_assert_uint_eq(read_size(VIRTIO_MMIO_CONFIG + 2, 2), 0xa3a2);
	ck_assert_uint_eq(read_size(VIRTIO_MMIO_CONFIG + 8, 8), 0xafaeadacabaaa9a8);
	ck_assert_uint_eq(read_size(VIRTIO_MMIO_CONFIG + 1, 4), 0xa4a3a2a1);
	ck_assert_uint_eq(read_size(VIRTIO_MMIO_CONFIG + ECHO_CONFIG_SIZE, 4), 0);
}
END_TEST

START_TEST(version_1_registers_do_nothing_in_version_2)
{
	negotiate(BIT(VIRTIO_F_VERSION_1));
	out(VIRTIO_MMIO_GUEST_PAGE_SIZE, 4096);
	out(VIRTIO_MMIO_QUEUE_SEL, 0);
	out(VIRTIO_MMIO_QUEUE_PFN, RAM_BASE >> 12);
	ck_assert_uint_eq(in(VIRTIO_MMIO_QUEUE_PFN), 0);
	ck_assert_uint_eq(in(VIRTIO_MMIO_QUEUE_READY), 0);
}
END_TEST

#define QUEUE_RESET	0xc0

START_TEST(a_queue_is_reset_by_its_register)
{
	negotiate(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_RESET));
	enable(0, 16);
	enable(1, 16);
	out(VIRTIO_MMIO_STATUS, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	exchange(0, "before");
	out(VIRTIO_MMIO_QUEUE_SEL, 0);
	out(QUEUE_RESET, 1);
	ck_assert_uint_eq(in(QUEUE_RESET), 0);
	ck_assert_uint_eq(in(VIRTIO_MMIO_QUEUE_READY), 0);
	exchange(1, "other");
	enable(0, 8);
	for (unsigned int i = 0; i < 20; i++)
		exchange(0, "after");
	out(VIRTIO_MMIO_QUEUE_SEL, ECHO_QUEUES);
	out(QUEUE_RESET, 1);
	ck_assert_uint_eq(in(VIRTIO_MMIO_STATUS), ACK | DRIVER | FEATURES_OK | DRIVER_OK);
}
END_TEST

START_TEST(a_queue_is_not_reset_unless_that_was_negotiated)
{
	drive(16);
	out(VIRTIO_MMIO_QUEUE_SEL, 0);
	out(QUEUE_RESET, 1);
	ck_assert_uint_eq(in(VIRTIO_MMIO_QUEUE_READY), 1);
	exchange(0, "still here");
}
END_TEST

/* 4.2.3.3: such a one matches no doorbell of KVM's. */
START_TEST(a_notification_may_have_data)
{
	drive(16);
	echo_offer(&rings[1], "data");
	out(VIRTIO_MMIO_QUEUE_NOTIFY, 0x80010001);
	board_poll(kvm, 2);
	echo_check(&rings[1], "data");
}
END_TEST

START_TEST(a_reset_clears_the_registers)
{
	drive(16);
	exchange(0, "before");
	out(VIRTIO_MMIO_STATUS, 0);
	ck_assert_uint_eq(in(VIRTIO_MMIO_STATUS), 0);
	ck_assert_uint_eq(in(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	for (unsigned int i = 0; i < ECHO_QUEUES; i++) {
		out(VIRTIO_MMIO_QUEUE_SEL, i);
		ck_assert_uint_eq(in(VIRTIO_MMIO_QUEUE_READY), 0);
	}
}
END_TEST

/* ---- version 1 ---- */

static void legacy_drive(uint16_t size, uint32_t align)
{
	/* As Linux does it: the page size once, then a reset. */
	out(VIRTIO_MMIO_GUEST_PAGE_SIZE, 4096);
	out(VIRTIO_MMIO_STATUS, 0);
	out(VIRTIO_MMIO_STATUS, ACK | DRIVER);
	out(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	out(VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)BIT(ECHO_FEATURE));
	for (unsigned int i = 0; i < ECHO_QUEUES; i++) {
		ring_init(&rings[i], &guest, size, ECHO_RING(i));
		rings[i].used = ALIGN_UP(rings[i].avail + 6 + 2ULL * size, align);
		out(VIRTIO_MMIO_QUEUE_SEL, i);
		ck_assert_uint_eq(in(VIRTIO_MMIO_QUEUE_PFN), 0);
		out(VIRTIO_MMIO_QUEUE_NUM, size);
		out(VIRTIO_MMIO_QUEUE_ALIGN, align);
		out(VIRTIO_MMIO_QUEUE_PFN, (uint32_t)(ECHO_RING(i) >> 12));
		ck_assert_uint_eq(in(VIRTIO_MMIO_QUEUE_PFN), ECHO_RING(i) >> 12);
	}
	out(VIRTIO_MMIO_STATUS, ACK | DRIVER | DRIVER_OK);
	ck_assert_uint_eq(in(VIRTIO_MMIO_STATUS), ACK | DRIVER | DRIVER_OK);
}

START_TEST(a_driver_of_version_1_is_served)
{
	ck_assert_uint_eq(in(VIRTIO_MMIO_VERSION), 1);
	legacy_drive(16, _i ? 64 : 4096);
	exchange(0, "first");
	exchange(1, "second");
	ck_assert_uint_eq(interrupts(), 2);
}
END_TEST

START_TEST(a_ring_that_no_page_size_places_does_no_harm)
{
	static const uint32_t sizes[] = { 0, 1, 3, UINT32_MAX };

	out(VIRTIO_MMIO_GUEST_PAGE_SIZE, sizes[_i]);
	out(VIRTIO_MMIO_STATUS, ACK | DRIVER);
	out(VIRTIO_MMIO_QUEUE_SEL, 0);
	out(VIRTIO_MMIO_QUEUE_NUM, 16);
	out(VIRTIO_MMIO_QUEUE_PFN, UINT32_MAX);
	out(VIRTIO_MMIO_STATUS, ACK | DRIVER | DRIVER_OK);
	out(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	board_poll(kvm, 2);
	legacy_drive(16, 4096);
	exchange(0, "healed");
}
END_TEST

/* ---- both ---- */

static void save_load(void)
{
	struct state_writer before = { 0 }, after = { 0 };
	struct state_reader reader;

	exchange(0, "before");
	ck_assert_int_eq(devices_quiesce(kvm), 0);
	devices_save(kvm, &before);
	devices_reset(kvm);
	ck_assert_uint_eq(in(VIRTIO_MMIO_STATUS), 0);
	reader = (struct state_reader){ .data = before.data, .length = before.length };
	ck_assert_int_eq(devices_load(kvm, &reader), 0);
	devices_save(kvm, &after);
	ck_assert_uint_eq(after.length, before.length);
	ck_assert_mem_eq(after.data, before.data, before.length);
	devices_resume(kvm);
	ck_assert_uint_eq(in(VIRTIO_MMIO_INTERRUPT_STATUS), 1);
	exchange(0, "after");
	exchange(1, "after that");
	state_writer_free(&before);
	state_writer_free(&after);
}

START_TEST(what_is_saved_and_loaded_goes_on)
{
	drive(16);
	save_load();
}
END_TEST

START_TEST(what_is_saved_and_loaded_goes_on_in_version_1)
{
	legacy_drive(16, 4096);
	save_load();
}
END_TEST

static void poke(void)
{
	event_loop_poll(kvm->loop, 0);
	for (uint64_t offset = 0; offset < 0x100; offset += 4)
		in(offset);
	virtio_config_changed(&echo.device);
}

START_TEST(hostile_saved_state_is_harmless)
{
	drive(16);
	board_load_hostile(kvm, "virtio-echo0", poke);
}
END_TEST

/* Values that mean something more often than chance has it. */
static uint64_t hostile_value(uint32_t *seed)
{
	switch (echo_random(seed) % 4) {
	case 0:		return echo_random(seed) % 16;
	case 1:		return (RAM_BASE >> 12) + echo_random(seed) % 64;
	case 2:		return RAM_BASE + (echo_random(seed) & 0x3fff0);
	default:	return (uint64_t)echo_random(seed) << 32 | echo_random(seed);
	}
}

static void hammer_without_loop(uint32_t seed, unsigned int times)
{
	static const unsigned int sizes[] = { 1, 2, 4, 4, 4, 4, 4, 8 };

	for (unsigned int i = 0; i < times; i++) {
		uint32_t dice = echo_random(&seed);
		uint64_t offset = dice >> 8 & 1 ? echo_random(&seed) % 64 * 4 : echo_random(&seed) % 0x200;
		unsigned int size = sizes[dice & 7];

		if (dice >> 5 & 1)
			space_io_write(&kvm->memory, slot->base + offset, size, hostile_value(&seed));
		else
			read_size(offset, size);
	}
}

static void heal(void)
{
	memset(guest.host[0], 0, RAM_PART);
	devices_reset(kvm);
}

static void hammer(uint32_t seed)
{
	for (unsigned int i = 0; i < 600; i++) {
		hammer_without_loop(seed + i * 7919, 100);
		event_loop_poll(kvm->loop, 0);
	}
	heal();
}

/* Two vCPUs write all over the registers while the loop that owns the device runs: ThreadSanitizer watches. */
static atomic_uint vcpus_running;

static void *vcpu(void *opaque)
{
	hammer_without_loop(*(const uint32_t *)opaque, 3000);
	atomic_fetch_sub(&vcpus_running, 1);
	return NULL;
}

static void run_vcpus(uint32_t first_seed)
{
	uint32_t seeds[2] = { first_seed, first_seed + 100 };
	pthread_t threads[2];

	atomic_store(&vcpus_running, 2);
	for (unsigned int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, vcpu, &seeds[i]), 0);
	while (atomic_load(&vcpus_running))
		event_loop_poll(kvm->loop, 1);
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	heal();
}

START_TEST(vcpus_may_access_a_device_at_once)
{
	drive(16);
	run_vcpus((uint32_t)_i);
	drive(16);
	exchange(0, "healed");
}
END_TEST

START_TEST(vcpus_may_access_a_device_at_once_in_version_1)
{
	legacy_drive(16, 4096);
	run_vcpus((uint32_t)_i);
	legacy_drive(16, 4096);
	exchange(0, "healed");
}
END_TEST

START_TEST(accesses_at_every_offset_and_size_are_harmless)
{
	drive(16);
	hammer((uint32_t)_i);
	drive(16);
	exchange(0, "healed");
}
END_TEST

START_TEST(accesses_at_every_offset_and_size_are_harmless_in_version_1)
{
	legacy_drive(16, 4096);
	hammer((uint32_t)_i);
	legacy_drive(16, 4096);
	exchange(0, "healed");
}
END_TEST

START_TEST(slots_run_out_with_a_message)
{
	static struct virtio_device many[160];
	unsigned int count = 0;
	int result;

	memset(many, 0, sizeof(many));
	do
		result = virtio_device_add(kvm, &many[count], &echo_ops, "virtio-many%u", count);
	while (!result && ++count < ARRAY_SIZE(many));
	ck_assert_int_lt(result, 0);
	ck_assert_uint_gt(count, 4);
	while (count)
		virtio_device_del(&many[--count]);
	ck_assert_ptr_eq(platform_devices(kvm), slot);
	ck_assert_ptr_null(slot->next);
	drive(16);
	exchange(0, "the first one stays");
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *modern = suite_case(suite, "version 2", setup, teardown);
	TCase *legacy = suite_case(suite, "version 1", setup_legacy, teardown);

	tcase_add_test(modern, a_slot_says_what_it_is);
	tcase_add_test(modern, a_driver_of_version_2_is_served);
	tcase_add_loop_test(modern, features_that_were_not_offered_are_refused, 0, 2);
	tcase_add_loop_test(modern, a_queue_that_does_not_exist_has_size_0, 0, 4);
	tcase_add_loop_test(modern, a_queue_of_a_wrong_size_breaks_the_device, 0, 2);
	tcase_add_test(modern, registers_are_read_and_written_as_words_only);
	tcase_add_test(modern, version_1_registers_do_nothing_in_version_2);
	tcase_add_test(modern, a_queue_is_reset_by_its_register);
	tcase_add_test(modern, a_queue_is_not_reset_unless_that_was_negotiated);
	tcase_add_test(modern, a_notification_may_have_data);
	tcase_add_test(modern, a_reset_clears_the_registers);
	tcase_add_test(modern, what_is_saved_and_loaded_goes_on);
	tcase_add_test(modern, hostile_saved_state_is_harmless);
	tcase_add_loop_test(modern, accesses_at_every_offset_and_size_are_harmless, 0, 4);
	tcase_add_loop_test(modern, vcpus_may_access_a_device_at_once, 0, 4);
	tcase_add_test(modern, slots_run_out_with_a_message);
	tcase_add_loop_test(legacy, a_driver_of_version_1_is_served, 0, 2);
	tcase_add_loop_test(legacy, a_ring_that_no_page_size_places_does_no_harm, 0, 4);
	tcase_add_test(legacy, what_is_saved_and_loaded_goes_on_in_version_1);
	tcase_add_loop_test(legacy, accesses_at_every_offset_and_size_are_harmless_in_version_1, 0, 4);
	tcase_add_loop_test(legacy, vcpus_may_access_a_device_at_once_in_version_1, 0, 4);
}
SUITE_MAIN("virtio mmio", add_tests)
