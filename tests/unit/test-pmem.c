/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/pmem.c and virtio/pmem-file.c: files as memory of the guest's, and flushes through the real queue. */
#include "tests/unit/board.h"

#include <fcntl.h>
#include <linux/virtio_pmem.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "kvm/arch.h"
#include "tests/unit/virtio-driver.h"
#include "virtio/pmem.h"

#define REQUEST		(RAM_BASE + 0x10000)
#define RESPONSE	(RAM_BASE + 0x11000)
#define UNTOUCHED	0xeeeeeeee

static struct kvm *kvm;
static char path[64], said[512];

static void keep(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static void file_make(uint64_t size)
{
	int fd;

	strcpy(path, "/tmp/lkvm-test-pmem-XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static uint64_t file_size(void)
{
	struct stat status;

	ck_assert_int_eq(stat(path, &status), 0);
	return (uint64_t)status.st_size;
}

static uint8_t file_byte(uint64_t at)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t value = 0;

	ck_assert_int_eq(pread(fd, &value, 1, (off_t)at), 1);
	close(fd);
	return value;
}

static void option(const char *more)
{
	char text[128];

	snprintf(text, sizeof(text), "%s%s", path, more);
	ck_assert_int_eq(config_set(kvm->config, "pmem", text), 0);
}

static void machine(const char *more)
{
	log_set_sink(keep);
	file_make(MIB(4));
	kvm = driver_machine();
	option(more);
	board_add(kvm, "pmem_files_init");
	board_add(kvm, "pmem_init");
	driver_start(0, 1);
}

static void setup(void)
{
	machine("");
}

static void setup_read_only(void)
{
	machine(",ro");
}

static void setup_none(void)
{
	log_set_sink(keep);
	file_make(MIB(4));
	kvm = driver_machine();
}

static void teardown(void)
{
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	unlink(path);
	log_set_sink(NULL);
}

static struct virtio_pmem_config config(void)
{
	struct virtio_pmem_config config;

	virtio_config_read(driven, 0, &config, sizeof(config));
	return config;
}

static uint32_t ask(uint32_t type)
{
	const struct driver_buffer buffers[] = { { REQUEST, 4, false }, { RESPONSE, 4, true } };
	uint32_t untouched = UNTOUCHED, encoded = htole32(type);

	guest_poke(&driver_ram, REQUEST, &encoded, 4);
	guest_poke(&driver_ram, RESPONSE, &untouched, 4);
	driver_offer(0, 0, buffers, 2);
	driver_finish(kvm, 0);
	ck_assert_uint_eq(driver_used_length(0, 0), 4);
	return guest_peek32(&driver_ram, RESPONSE);
}

/* ---- as drivers do ---- */

START_TEST(what_is_written_to_it_is_in_the_file)
{
	const struct virtio_pmem_config where = config();
	uint64_t start = le64toh(where.start);
	uint8_t byte = 0x5a, seen = 0;

	ck_assert_uint_eq(le64toh(where.size), MIB(4));
	ck_assert_uint_eq(start % MIB(2), 0);
	ck_assert_int_eq(memory_write(&kvm->memory, gpa(start + MIB(4) - 1), &byte, 1), 0);
	ck_assert_int_eq(memory_write(&kvm->memory, gpa(start), &byte, 1), 0);
	ck_assert_uint_eq(ask(VIRTIO_PMEM_REQ_TYPE_FLUSH), 0);
	ck_assert_uint_eq(file_byte(0), 0x5a);
	ck_assert_uint_eq(file_byte(MIB(4) - 1), 0x5a);
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(start + MIB(4) - 1), &seen, 1), 0);
	ck_assert_uint_eq(seen, 0x5a);
	/* behind it is nothing */
	ck_assert_int_eq(memory_write(&kvm->memory, gpa(start + MIB(4)), &byte, 1), -EFAULT);
	ck_assert_int_eq(memory_write(&kvm->memory, gpa(start + MIB(4) - 1), "xx", 2), -EFAULT);
	ck_assert_uint_eq(file_size(), MIB(4));
	/* nor can it be given back, which would make holes in a file that somebody wants to keep */
	ck_assert_int_eq((int)memory_discard(&kvm->memory, gpa(start), MIB(2)), -EFAULT);
	ck_assert_uint_eq(file_byte(0), 0x5a);
}
END_TEST

/* ---- a file that somebody cuts short ---- */

static uint8_t memory_byte(uint64_t at)
{
	uint8_t seen = 0xee;

	ck_assert_int_eq(memory_read(&kvm->memory, gpa(le64toh(config().start) + at), &seen, 1), 0);
	return seen;
}

static void set_memory(uint64_t at, uint8_t value)
{
	ck_assert_int_eq(memory_write(&kvm->memory, gpa(le64toh(config().start) + at), &value, 1), 0);
}

START_TEST(a_file_that_is_cut_short_loses_its_end_and_no_more)
{
	set_memory(0, 1);
	set_memory(MIB(1), 2);
	set_memory(MIB(3), 3);
	ck_assert_int_eq(truncate(path, (off_t)MIB(2) + 100), 0);
	ck_assert_uint_eq(memory_byte(MIB(3)), 0);
	ck_assert_uint_eq(memory_byte(0), 1);
	ck_assert_uint_eq(memory_byte(MIB(1)), 2);
	ck_assert_uint_eq(memory_byte(MIB(2) + 4095), 0);
	/* what is written behind the end is there for the guest, and what it flushes isn't */
	set_memory(MIB(4) - 1, 4);
	set_memory(MIB(3), 5);
	ck_assert_uint_eq(memory_byte(MIB(4) - 1), 4);
	ck_assert_uint_ne(ask(VIRTIO_PMEM_REQ_TYPE_FLUSH), 0);
	ck_assert_uint_eq(file_size(), MIB(2) + 100);
	/* what is the file's still goes there */
	set_memory(MIB(1), 6);
	ck_assert_uint_eq(file_byte(MIB(1)), 6);
	/* and again */
	ck_assert_int_eq(truncate(path, (off_t)MIB(1)), 0);
	ck_assert_uint_eq(memory_byte(MIB(1)), 0);
	ck_assert_uint_eq(memory_byte(MIB(3)), 5);
	ck_assert_uint_eq(memory_byte(0), 1);
	board_poll(kvm, 20);
	ck_assert_msg(strstr(said, "cut the file short, to 1024 KiB of 4096"), "seen '%s'", said);
	/* one that grows again is another file */
	ck_assert_int_eq(truncate(path, (off_t)MIB(4)), 0);
	ck_assert_uint_eq(memory_byte(MIB(3)), 5);
	ck_assert_uint_eq(file_byte(MIB(3)), 0);
	ck_assert_uint_ne(ask(VIRTIO_PMEM_REQ_TYPE_FLUSH), 0);
}
END_TEST

START_TEST(a_flush_notices_what_nobody_touched)
{
	ck_assert_uint_eq(ask(VIRTIO_PMEM_REQ_TYPE_FLUSH), 0);
	ck_assert_int_eq(truncate(path, 0), 0);
	ck_assert_uint_ne(ask(VIRTIO_PMEM_REQ_TYPE_FLUSH), 0);
	ck_assert_uint_eq(memory_byte(0), 0);
}
END_TEST

static void *write_all(void *opaque)
{
	for (uint64_t at = (uintptr_t)opaque; at < MIB(4); at += 4096)
		set_memory(at, 7);
	return NULL;
}

/* Threads that meet the cut at once: none takes away what another has written behind it. */
START_TEST(many_threads_meet_the_cut_at_once)
{
	pthread_t threads[8];

	ck_assert_int_eq(truncate(path, 0), 0);
	for (uintptr_t i = 0; i < ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_all, (void *)i), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	for (uint64_t at = 0; at < MIB(4); at += 4096)
		for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
			ck_assert_uint_eq(memory_byte(at + i), 7);
}
END_TEST

/* Elsewhere it is what it always was; under a sanitizer, the sanitizer's. */
#ifndef __SANITIZE_ADDRESS__
START_TEST(another_bus_error_ends_the_process)
{
	char other[] = "/tmp/lkvm-test-bus-XXXXXX";
	int fd = mkstemp(other);
	volatile char *memory;

	unlink(other);
	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	unlink(path);
	(void)*memory;
}
END_TEST
#endif

START_TEST(many_flushes_all_come_back)
{
	for (unsigned int round = 0; round < 20; round++) {
		uint32_t type = htole32(VIRTIO_PMEM_REQ_TYPE_FLUSH), untouched = UNTOUCHED;

		guest_poke(&driver_ram, REQUEST, &type, 4);
		for (uint16_t i = 0; i < 30; i++) {
			const struct driver_buffer buffers[] = { { REQUEST, 4, false }, { RESPONSE + i * 4ULL, 4, true } };

			guest_poke(&driver_ram, RESPONSE + i * 4ULL, &untouched, 4);
			driver_offer(0, (uint16_t)(i * 2), buffers, 2);
		}
		driver_finish(kvm, 0);
		for (unsigned int i = 0; i < 30; i++)
			ck_assert_uint_eq(guest_peek32(&driver_ram, RESPONSE + i * 4ULL), 0);
	}
}
END_TEST

/* In flight when the driver resets: they are waited for, and nothing is written to the guest behind it. */
START_TEST(a_reset_waits_for_flushes)
{
	uint32_t type = htole32(VIRTIO_PMEM_REQ_TYPE_FLUSH), untouched = UNTOUCHED;

	guest_poke(&driver_ram, REQUEST, &type, 4);
	for (unsigned int round = 0; round < 20; round++) {
		for (uint16_t i = 0; i < 30; i++) {
			const struct driver_buffer buffers[] = { { REQUEST, 4, false }, { RESPONSE, 4, true } };

			driver_offer(0, (uint16_t)(i * 2), buffers, 2);
		}
		driver_kick(kvm, 0);
		virtio_set_status(driven, 0);
		guest_poke(&driver_ram, RESPONSE, &untouched, 4);
		board_poll(kvm, 2);
		ck_assert_uint_eq(guest_peek32(&driver_ram, RESPONSE), UNTOUCHED);
		driver_start(0, 1);
	}
	ck_assert_uint_eq(ask(VIRTIO_PMEM_REQ_TYPE_FLUSH), 0);
}
END_TEST

START_TEST(read_only_memory_is_read)
{
	uint64_t start = le64toh(config().start);
	uint8_t byte = 1;

	ck_assert_int_eq(memory_write(&kvm->memory, gpa(start), &byte, 1), -EFAULT);
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(start), &byte, 1), 0);
	ck_assert_uint_eq(byte, 0);
	ck_assert_uint_eq(ask(VIRTIO_PMEM_REQ_TYPE_FLUSH), 0);
}
END_TEST

START_TEST(state_is_saved_and_only_the_same_memory_loads_it)
{
	struct device *device = device_find(kvm, "virtio-pmem0");
	struct state_writer writer = { 0 };
	struct state_reader reader;

	board_save_load(kvm, "virtio-pmem0");
	log_set_sink(keep);
	device->ops->save(device, &writer);
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	kvm = driver_machine();
	option(",size=2M");
	board_add(kvm, "pmem_files_init");
	board_add(kvm, "pmem_init");
	device = device_find(kvm, "virtio-pmem0");
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), -EINVAL);
	ck_assert_msg(strstr(said, "persistent memory") != NULL, "%s", said);
	state_writer_free(&writer);
}
END_TEST

START_TEST(saved_state_that_is_hostile_is_refused)
{
	board_load_hostile(kvm, "virtio-pmem0", NULL);
}
END_TEST

/* ---- as hostile ones do ---- */

static const struct { struct driver_buffer buffers[2]; unsigned int count; } shapeless[] = {
	{ { { REQUEST, 4, false } }, 1 },
	{ { { REQUEST, 3, false }, { RESPONSE, 4, true } }, 2 },
	{ { { REQUEST, 4, false }, { RESPONSE, 3, true } }, 2 },
	{ { { RESPONSE, 4, true } }, 1 },
	{ { { NOWHERE, 4, false }, { RESPONSE, 4, true } }, 2 },
	{ { { REQUEST, 4, false }, { ROM_BASE, 4, true } }, 2 },
};

START_TEST(a_request_without_shape_stops_the_device_until_reset)
{
	driver_offer(0, 0, shapeless[_i].buffers, shapeless[_i].count);
	driver_kick(kvm, 0);
	ck_assert(driver_wait(kvm, driver_needs_reset));
	driver_start(0, 1);
	ck_assert_uint_eq(ask(VIRTIO_PMEM_REQ_TYPE_FLUSH), 0);
}
END_TEST

START_TEST(unknown_requests_fail)
{
	ck_assert_uint_ne(ask(1), 0);
	ck_assert_uint_ne(ask(UINT32_MAX), 0);
	ck_assert_uint_eq(ask(VIRTIO_PMEM_REQ_TYPE_FLUSH), 0);
}
END_TEST

/* A device may write where the guest says, and that may be in here: up to its last byte. */
START_TEST(buffers_may_lie_in_it_but_not_beyond)
{
	uint64_t end = le64toh(config().start) + MIB(4);
	uint32_t type = htole32(VIRTIO_PMEM_REQ_TYPE_FLUSH);
	const struct driver_buffer last[] = { { REQUEST, 4, false }, { end - 4, 4, true } };
	const struct driver_buffer beyond[] = { { REQUEST, 4, false }, { end - 3, 4, true } };

	guest_poke(&driver_ram, REQUEST, &type, 4);
	driver_offer(0, 0, last, 2);
	driver_finish(kvm, 0);
	driver_offer(0, 0, beyond, 2);
	driver_kick(kvm, 0);
	ck_assert(driver_wait(kvm, driver_needs_reset));
}
END_TEST

/* ---- options ---- */

static void refused(const char *more, const char *because)
{
	struct board_pick pick = { .name = "pmem_files_init" };

	config_free(kvm->config);
	ck_assert_int_eq(config_new(&kvm->config, run_options()), 0);
	option(more);
	init_for_each(board_pick_item, &pick);
	ck_assert_int_lt(pick.item->init(kvm), 0);
	ck_assert_msg(strstr(said, because) != NULL, "expected '%s' in '%s'", because, said);
	ck_assert_ptr_null(pmem_files(kvm));
}

START_TEST(sizes_that_do_not_fit_are_refused)
{
	refused(",size=3M", "not a multiple of 2M");
	refused(",size=0", "is no size");
	refused(",size=1T", "no room");
	refused(",size=8M,ro", "can't grow");
	refused(",dax", "no setting is called");
	ck_assert_uint_eq(file_size(), MIB(4));
	ck_assert_int_eq(truncate(path, 5000), 0);
	refused("", "not a multiple of 2M");
	ck_assert_int_eq(truncate(path, 0), 0);
	refused("", "not a multiple of 2M");
}
END_TEST

/* More than there is: refused before a byte of it is taken. */
START_TEST(a_file_that_the_disk_has_no_room_for_stays_as_it_is)
{
	struct statvfs fs;
	struct stat status;
	char text[32];

	ck_assert_int_eq(statvfs("/tmp", &fs), 0);
	snprintf(text, sizeof(text), ",size=%lluG", (unsigned long long)fs.f_bavail * fs.f_frsize / GIB(1) * 2 + 2);
	refused(text, "no room for");
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_int_eq(status.st_size, MIB(4));
	ck_assert_int_eq(status.st_blocks, 0);
}
END_TEST

START_TEST(a_size_makes_the_file_and_its_space)
{
	struct stat status;

	unlink(path);
	option(",size=6M");
	board_add(kvm, "pmem_files_init");
	ck_assert_uint_eq(file_size(), MIB(6));
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_uint_ge((uint64_t)status.st_blocks * 512, MIB(6));
}
END_TEST

START_TEST(several_lie_side_by_side)
{
	const struct pmem_file *first;

	option(",ro");
	option(",ro,size=2M");
	board_add(kvm, "pmem_files_init");
	first = pmem_files(kvm);
	ck_assert_uint_eq(first->size, MIB(4));
	ck_assert_uint_eq(first->next->size, MIB(2));
	ck_assert_uint_ge(first->next->base, first->base + first->size);
	ck_assert_uint_ge(first->base, arch_platform(kvm)->pmem_base);
}
END_TEST

START_TEST(a_file_that_is_in_use_is_refused)
{
	option("");
	option("");
	{
		struct board_pick pick = { .name = "pmem_files_init" };

		init_for_each(board_pick_item, &pick);
		ck_assert_int_eq(pick.item->init(kvm), -EBUSY);
		ck_assert_msg(strstr(said, "in use") != NULL, "%s", said);
	}
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "drivers", setup, teardown);
	TCase *read_only = suite_case(suite, "read-only", setup_read_only, teardown);
	TCase *options = suite_case(suite, "options", setup_none, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, a_file_that_is_cut_short_loses_its_end_and_no_more);
	tcase_add_test(tests, a_flush_notices_what_nobody_touched);
	tcase_add_test(tests, many_threads_meet_the_cut_at_once);
#ifndef __SANITIZE_ADDRESS__
	tcase_add_test_raise_signal(tests, another_bus_error_ends_the_process, SIGBUS);
#endif
	tcase_add_test(tests, what_is_written_to_it_is_in_the_file);
	tcase_add_test(tests, many_flushes_all_come_back);
	tcase_add_test(tests, a_reset_waits_for_flushes);
	tcase_add_test(tests, state_is_saved_and_only_the_same_memory_loads_it);
	tcase_add_test(tests, saved_state_that_is_hostile_is_refused);
	tcase_add_loop_test(tests, a_request_without_shape_stops_the_device_until_reset, 0, (int)ARRAY_SIZE(shapeless));
	tcase_add_test(tests, unknown_requests_fail);
	tcase_add_test(tests, buffers_may_lie_in_it_but_not_beyond);
	tcase_add_test(read_only, read_only_memory_is_read);
	tcase_add_test(options, sizes_that_do_not_fit_are_refused);
	tcase_add_test(options, a_file_that_the_disk_has_no_room_for_stays_as_it_is);
	tcase_add_test(options, a_size_makes_the_file_and_its_space);
	tcase_add_test(options, several_lie_side_by_side);
	tcase_add_test(options, a_file_that_is_in_use_is_refused);
}
SUITE_MAIN("pmem", add_tests)
