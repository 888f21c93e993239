/* SPDX-License-Identifier: BSD-2-Clause */
/* x86/cpuid-cache.c: an answer of KVM's comes back on the same host only, and only whole. */
#include "x86/cpuid-cache.h"

#include <dirent.h>

#include "tests/unit/suite.h"
#include "tests/unit/folder.h"
#include "x86/cpuid.h"

#define ENTRIES	3

struct answer {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[ENTRIES];
};

static const struct answer answer = {
	{ .nent = ENTRIES },
	{ { .function = 0, .eax = 0x10 }, { .function = 7, .index = 1, .flags = 1, .ebx = 0x1234 }, { .function = 0x80000000 } },
};
static struct cpuid_key key;

static void setup(void)
{
	folder_enter();
	key = (struct cpuid_key){ .boot_id = "0f5c", .kvm = 6109, .leaves = { { 1, 2, 3, 4 }, { 5, 6, 7, 8 } } };
	cpuid_cache_store("cpuid", &key, &answer.head);
}

static bool found(void)
{
	struct kvm_cpuid2 *cpuid = cpuid_cache_load("cpuid", &key);
	bool same = cpuid && cpuid->nent == ENTRIES && !memcmp(cpuid->entries, answer.entries, sizeof(answer.entries));

	ck_assert_msg(!cpuid || same, "what was loaded isn't what was stored");
	free(cpuid);
	return same;
}

static unsigned int files(void)
{
	DIR *dir = opendir(".");
	unsigned int count = 0;

	ck_assert_ptr_nonnull(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

START_TEST(what_was_stored_comes_back)
{
	struct stat st;

	ck_assert(found());
	ck_assert_int_eq(stat("cpuid", &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	cpuid_cache_store("cpuid", &key, &answer.head);
	ck_assert(found());
	ck_assert_uint_eq(files(), 1);
}
END_TEST

START_TEST(another_boot_kvm_or_cpu_is_another_answer)
{
	for (size_t byte = 0; byte < sizeof(key); byte++) {
		((uint8_t *)&key)[byte] ^= 1;
		ck_assert_msg(!found(), "found with byte %zu of the key changed", byte);
		((uint8_t *)&key)[byte] ^= 1;
	}
	ck_assert(found());
}
END_TEST

START_TEST(a_cut_or_grown_file_is_none)
{
	struct stat st;

	ck_assert_int_eq(stat("cpuid", &st), 0);
	ck_assert_int_eq(truncate("cpuid", st.st_size + 1), 0);
	ck_assert(!found());
	for (off_t size = st.st_size - 1; size >= 0; size--) {
		ck_assert_int_eq(truncate("cpuid", size), 0);
		ck_assert_msg(!found(), "found in %lld bytes of %lld", (long long)size, (long long)st.st_size);
	}
}
END_TEST

START_TEST(a_count_that_the_file_does_not_hold_is_refused)
{
	static const uint32_t counts[] = { 0, 2, 4, CPUID_MAX, CPUID_MAX + 1, UINT32_MAX };
	const off_t at = 16 + sizeof(struct cpuid_key);
	int fd = open("cpuid", O_RDWR | O_CLOEXEC);

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		ck_assert_int_eq(pwrite(fd, &counts[i], sizeof(counts[i]), at), sizeof(counts[i]));
		ck_assert_msg(!found(), "found with a count of %u", counts[i]);
	}
	close(fd);
}
END_TEST

START_TEST(what_others_could_have_written_is_not_read)
{
	ck_assert_int_eq(chmod("cpuid", 0620), 0);
	ck_assert(!found());
	ck_assert_int_eq(chmod("cpuid", 0602), 0);
	ck_assert(!found());
	ck_assert_int_eq(chmod("cpuid", 0600), 0);
	ck_assert_int_eq(rename("cpuid", "elsewhere"), 0);
	ck_assert_int_eq(symlink("elsewhere", "cpuid"), 0);
	ck_assert(!found());
	ck_assert_int_eq(unlink("cpuid"), 0);
	ck_assert_int_eq(mkfifo("cpuid", 0600), 0);
	ck_assert(!found());
}
END_TEST

START_TEST(nowhere_to_store_is_no_trouble)
{
	cpuid_cache_store("missing/cpuid", &key, &answer.head);
	ck_assert_uint_eq(files(), 1);
	ck_assert_int_eq(unlink("cpuid"), 0);
	ck_assert_int_eq(mkdir("cpuid", 0700), 0);
	cpuid_cache_store("cpuid", &key, &answer.head);
	ck_assert(!found());
	ck_assert_uint_eq(files(), 1);
}
END_TEST

START_TEST(a_hosts_key_stays_the_same)
{
	struct cpuid_key again;

	if (!cpuid_key_read(&key)) {
		printf("SKIP cpuid-cache/key: no boot_id, or no KVM in sysfs\n");
		return;
	}
	ck_assert_uint_ne(key.kvm, 0);
	ck_assert(cpuid_key_read(&again));
	ck_assert_mem_eq(&key, &again, sizeof(key));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "cache", setup, folder_leave);

	tcase_add_test(tests, what_was_stored_comes_back);
	tcase_add_test(tests, another_boot_kvm_or_cpu_is_another_answer);
	tcase_add_test(tests, a_cut_or_grown_file_is_none);
	tcase_add_test(tests, a_count_that_the_file_does_not_hold_is_refused);
	tcase_add_test(tests, what_others_could_have_written_is_not_read);
	tcase_add_test(tests, nowhere_to_store_is_no_trouble);
	tcase_add_test(tests, a_hosts_key_stays_the_same);
}
SUITE_MAIN("cpuid-cache", add_tests)
