/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests state/protect.c: memory that is written to is saved as it was before. */
#include "state/protect.h"

#include <pthread.h>
#include <sys/mman.h>

#include "tests/unit/suite.h"

#define SIZE	MIB(5)
#define BLOCK	KIB(256)

static struct kvm kvm;
static struct config *config;
static uint8_t *memory, saved[SIZE];
static atomic_uint calls;
static int failing;

static void setup(void)
{
	memset(&kvm, 0, sizeof(kvm));
	ck_assert_int_eq(config_new(&config, run_options()), 0);
	kvm.config = config;
	kvm.ram_size = SIZE;
	kvm.ram_fd = memfd_create("lkvm-test", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(kvm.ram_fd, SIZE), 0);
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, kvm.ram_fd, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	/* two mappings, as the PC's RAM has */
	madvise(memory, MIB(2), MADV_NOHUGEPAGE);
	kvm.ram_host = memory;
	for (size_t at = 0; at < SIZE; at += 4096)
		memory[at] = (uint8_t)(at / 4096 + 1);
	/* a hole that nobody has touched */
	ck_assert_int_eq(madvise(memory + 3 * BLOCK, BLOCK, MADV_REMOVE), 0);
}

static void teardown(void)
{
	munmap(memory, SIZE);
	close(kvm.ram_fd);
	config_free(config);
}

static int save(void *opaque, uint64_t offset, size_t length)
{
	(void)opaque;
	atomic_fetch_add(&calls, 1);
	memcpy(saved + offset, memory + offset, length);
	return offset / BLOCK == 5 ? failing : 0;
}

/* NULL: this host can't */
static struct protect *start(const char *test)
{
	struct protect *protect = NULL;
	int result = protect_start(&protect, &kvm, BLOCK, save, NULL);

	if (result == -EOPNOTSUPP)
		printf("SKIP protect/%s: no userfaultfd that protects shared memory\n", test);
	else
		ck_assert_int_eq(result, 0);
	return protect;
}

static void *scribble(void *opaque)
{
	(void)opaque;
	for (size_t at = SIZE; at >= 4096; at -= 4096)
		memory[at - 4096] = 0xee;
	return NULL;
}

START_TEST(writers_get_on_and_what_was_there_is_saved)
{
	struct protect *protect = start("writers");
	uint8_t *before;
	pthread_t writer;

	if (!protect)
		return;
	before = malloc(SIZE);
	memcpy(before, memory, SIZE);
	ck_assert_int_eq(pthread_create(&writer, NULL, scribble, NULL), 0);
	for (uint64_t at = 0; at < SIZE; at += BLOCK)
		ck_assert_int_eq(protect_save(protect, at), 0);
	pthread_join(writer, NULL);
	ck_assert_int_eq(protect_error(protect), 0);
	protect_stop(protect);

	ck_assert_uint_eq(atomic_load(&calls), SIZE / BLOCK);
	ck_assert(!memcmp(saved, before, SIZE));
	for (size_t at = 0; at < SIZE; at += 4096)
		ck_assert_uint_eq(memory[at], 0xee);
	free(before);
}
END_TEST

START_TEST(writer_alone_has_its_blocks_saved)
{
	struct protect *protect = start("alone");
	pthread_t writer;

	if (!protect)
		return;
	ck_assert_int_eq(pthread_create(&writer, NULL, scribble, NULL), 0);
	pthread_join(writer, NULL);
	ck_assert_uint_eq(atomic_load(&calls), SIZE / BLOCK);
	protect_stop(protect);
}
END_TEST

START_TEST(failure_is_kept_and_holds_up_nobody)
{
	struct protect *protect;
	pthread_t writer;

	failing = -ENOSPC;
	protect = start("failure");
	if (!protect)
		return;
	ck_assert_int_eq(pthread_create(&writer, NULL, scribble, NULL), 0);
	pthread_join(writer, NULL);
	ck_assert_int_eq(protect_error(protect), -ENOSPC);
	protect_stop(protect);
}
END_TEST

START_TEST(stopping_lets_memory_be_written)
{
	struct protect *protect = start("stopping");

	if (!protect)
		return;
	protect_stop(protect);
	scribble(NULL);
	ck_assert_uint_eq(atomic_load(&calls), 0);
}
END_TEST

START_TEST(memory_that_is_not_shared_is_not_protected)
{
	struct protect *protect = NULL;
	int fd = kvm.ram_fd;

	kvm.ram_fd = -1;
	ck_assert_int_eq(protect_start(&protect, &kvm, BLOCK, save, NULL), -EOPNOTSUPP);
	kvm.ram_fd = fd;
}
END_TEST

START_TEST(memory_that_a_daemon_has_is_shared)
{
	static const struct { const char *option, *text; bool shared; } cases[] = {
		{ "network", "mode=user", false }, { "network", "mode=vhost-user,socket=/a", true }, { "network", "mode=passt", true },
		{ "disk", "/image", false }, { "disk", "vhost-user:/a", true }, { "fs", "/dir,tag", false },
		{ "fs", "tag,socket=/a", true }, { "vhost-user", "type=rng,socket=/a", true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct config *one;

		ck_assert_int_eq(config_new(&one, run_options()), 0);
		ck_assert_int_eq(config_set(one, cases[i].option, cases[i].text), 0);
		ck_assert_msg(memory_is_shared(one) == cases[i].shared, "--%s %s", cases[i].option, cases[i].text);
		config_free(one);
	}
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "memory", setup, teardown);

	tcase_add_test(tests, writers_get_on_and_what_was_there_is_saved);
	tcase_add_test(tests, writer_alone_has_its_blocks_saved);
	tcase_add_test(tests, failure_is_kept_and_holds_up_nobody);
	tcase_add_test(tests, stopping_lets_memory_be_written);
	tcase_add_test(tests, memory_that_is_not_shared_is_not_protected);
	tcase_add_test(tests, memory_that_a_daemon_has_is_shared);
}
SUITE_MAIN("protect", add_tests)
