/* SPDX-License-Identifier: BSD-2-Clause */
/* core/discard.c: what goes back to the host is what was asked for, seen by the RAM file's own count of blocks. */
#include "tests/unit/board.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include "core/ram-file.h"
#include "kvm/memory.h"

#define BASE	MIB(16)
#define SIZE	MIB(8)
#define PAGE	((uint64_t)sysconf(_SC_PAGESIZE))

static struct address_space space;
static struct region ram, rom, io, plain, anonymous;
static int fd;
static char *host, *other;

static const struct io_ops no_ops = { .min_size = 0 };

/* RAM of two file halves that lie apart, a device over it, RAM that is to stay, RAM without a file. */
static void setup(void)
{
	int mount;

	fd = ram_file_open(&mount);
	ck_assert_int_ge(fd, 0);
	if (mount >= 0)
		close(mount);
	ck_assert_int_eq(ftruncate(fd, (off_t)SIZE), 0);
	host = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	other = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert(host != MAP_FAILED && other != MAP_FAILED);
	memset(host, 0xaa, SIZE);
	memset(other, 0xaa, 4 * PAGE);
	ck_assert_int_eq(address_space_init(&space, "test", 0), 0);
	region_init_ram(&ram, "ram", host + MIB(2), SIZE - MIB(2), fd, MIB(2));
	region_init_ram(&plain, "plain", host, MIB(1), fd, 0);
	region_init_rom(&rom, "rom", host + MIB(1), PAGE, fd, MIB(1));
	region_init_ram(&anonymous, "anonymous", other, 4 * PAGE, -1, 0);
	region_init_io(&io, "io", &no_ops, NULL, PAGE);
	ram.discard_page = rom.discard_page = anonymous.discard_page = PAGE;
	ck_assert_int_eq(region_add(&space, &ram, BASE, 0), 0);
	ck_assert_int_eq(region_add(&space, &plain, BASE + SIZE, 0), 0);
	ck_assert_int_eq(region_add(&space, &rom, BASE + 2 * SIZE, 0), 0);
	ck_assert_int_eq(region_add(&space, &anonymous, BASE + 3 * SIZE, 0), 0);
	ck_assert_int_eq(region_add(&space, &io, BASE + MIB(4), 1), 0);
}

static void teardown(void)
{
	struct region *all[] = { &ram, &plain, &rom, &anonymous, &io };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		region_del(all[i]);
	rcu_synchronize();
	address_space_exit(&space);
	munmap(host, SIZE);
	munmap(other, 4 * PAGE);
	close(fd);
}

static uint64_t held(void)
{
	struct stat status;

	ck_assert_int_eq(fstat(fd, &status), 0);
	return (uint64_t)status.st_blocks * 512;
}

START_TEST(a_range_goes_back_to_the_host_and_reads_as_zeroes)
{
	ck_assert_uint_eq(held(), SIZE);
	ck_assert_int_eq(memory_discard(&space, gpa(BASE), MIB(2)), (int64_t)MIB(2));
	ck_assert_uint_eq(held(), SIZE - MIB(2));
	ck_assert_int_eq(host[MIB(2)], 0);
	ck_assert_int_eq((uint8_t)host[MIB(2) - 1], 0xaa);
	ck_assert_int_eq((uint8_t)host[MIB(4)], 0xaa);
}
END_TEST

START_TEST(one_page_out_of_a_large_one_goes_back)
{
	ck_assert_int_eq(memory_discard(&space, gpa(BASE + 5 * PAGE), PAGE), (int64_t)PAGE);
	ck_assert_uint_eq(held(), SIZE - PAGE);
	ck_assert_int_eq((uint8_t)host[MIB(2) + 5 * PAGE - 1], 0xaa);
	ck_assert_int_eq(host[MIB(2) + 5 * PAGE], 0);
	ck_assert_int_eq((uint8_t)host[MIB(2) + 6 * PAGE], 0xaa);
}
END_TEST

START_TEST(parts_of_pages_stay)
{
	ck_assert_int_eq(memory_discard(&space, gpa(BASE + 1), PAGE - 1), 0);
	ck_assert_int_eq(memory_discard(&space, gpa(BASE), PAGE - 1), 0);
	ck_assert_int_eq(memory_discard(&space, gpa(BASE + PAGE / 2), PAGE), 0);
	ck_assert_int_eq(memory_discard(&space, gpa(BASE), 0), 0);
	ck_assert_uint_eq(held(), SIZE);
	ck_assert_int_eq(memory_discard(&space, gpa(BASE + 1), 3 * PAGE), (int64_t)(2 * PAGE));
	ck_assert_int_eq((uint8_t)host[MIB(2) + PAGE - 1], 0xaa);
	ck_assert_int_eq((uint8_t)host[MIB(2) + 3 * PAGE], 0xaa);
}
END_TEST

START_TEST(memory_without_a_file_goes_too)
{
	ck_assert_int_eq(memory_discard(&space, gpa(BASE + 3 * SIZE + PAGE), PAGE), (int64_t)PAGE);
	ck_assert_int_eq((uint8_t)other[PAGE - 1], 0xaa);
	ck_assert_int_eq(other[PAGE], 0);
	ck_assert_int_eq((uint8_t)other[2 * PAGE], 0xaa);
}
END_TEST

static const struct { uint64_t at, length; } outside[] = {
	{ 0, 4096 }, { BASE + MIB(4), 4096 }, { BASE + SIZE, 65536 }, { BASE + 2 * SIZE, 4096 }, { UINT64_MAX - 4095, 8192 },
	{ BASE, SIZE }, { BASE, UINT64_MAX }, { UINT64_MAX - 4095, 4096 }, { BASE + 4 * SIZE, 65536 },
};

START_TEST(what_is_not_ram_to_give_stays)
{
	/* A range that begins well may lose its beginning. */
	uint64_t before = outside[_i].length == SIZE ? SIZE - MIB(4) : SIZE;

	ck_assert_int_eq(memory_discard(&space, gpa(outside[_i].at), outside[_i].length), -EFAULT);
	ck_assert_uint_eq(held(), before);
	ck_assert_int_eq((uint8_t)host[0], 0xaa);
	ck_assert_int_eq((uint8_t)host[MIB(1)], 0xaa);
	ck_assert_int_eq((uint8_t)host[MIB(6)], 0xaa);
}
END_TEST

START_TEST(segments_go_back_where_they_lie_in_ram_to_give)
{
	const struct iovec good = { host + MIB(3), MIB(2) }, mixed = { host, SIZE }, alien = { other + 4 * PAGE, PAGE };

	/* The device's page is no RAM, though its host memory is there. */
	ck_assert_int_eq(memory_discard_segment(&space, &good), (int64_t)MIB(2));
	ck_assert_uint_eq(held(), SIZE - MIB(2));
	ck_assert_int_eq(memory_discard_segment(&space, &alien), 0);
	ck_assert_int_eq(memory_discard_segment(&space, &mixed), (int64_t)(SIZE - MIB(2) - PAGE));
	ck_assert_uint_eq(held(), MIB(2) + PAGE);
	ck_assert_int_eq((uint8_t)host[0], 0xaa);
	ck_assert_int_eq((uint8_t)host[MIB(2) - 1], 0xaa);
	ck_assert_int_eq(host[MIB(2)], 0);
	ck_assert_int_eq((uint8_t)host[MIB(6)], 0xaa);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "discard", setup, teardown);

	tcase_add_test(tests, a_range_goes_back_to_the_host_and_reads_as_zeroes);
	tcase_add_test(tests, one_page_out_of_a_large_one_goes_back);
	tcase_add_test(tests, parts_of_pages_stay);
	tcase_add_test(tests, memory_without_a_file_goes_too);
	tcase_add_loop_test(tests, what_is_not_ram_to_give_stays, 0, (int)ARRAY_SIZE(outside));
	tcase_add_test(tests, segments_go_back_where_they_lie_in_ram_to_give);
}
SUITE_MAIN("discard", add_tests)
