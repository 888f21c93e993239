/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/convert.c, disk/image-copy.c and their commands: the disk is the same in the new image, or there is none. */
#include "tests/unit/suite.h"
#include "tests/unit/disk-command.h"

#include <signal.h>
#include <sys/resource.h>

/* ---- raw ---- */

START_TEST(a_copy_has_the_same_bytes_and_no_more_blocks)
{
	make_raw("a", MIB(64));
	/* written zeroes become a hole */
	ck_assert_int_eq(shell("dd if=/dev/zero of=a bs=1M seek=8 count=4 conv=notrunc status=none"), 0);
	lkvm_ok("disk convert a b");
	ck_assert_int_eq(shell("cmp a b"), 0);
	ck_assert_uint_lt(file_allocated("b"), KIB(64));
	lkvm_ok("disk compare a b");
	ck_assert_ptr_nonnull(strstr(output, "alike"));
}
END_TEST

START_TEST(a_disk_that_ends_inside_a_block_is_copied_whole)
{
	make_raw("a", MIB(3) + 512);
	lkvm_ok("disk convert a b");
	ck_assert_int_eq(shell("cmp a b"), 0);
}
END_TEST

START_TEST(the_new_image_is_described_as_json)
{
	json_t *facts;

	make_raw("a", MIB(4));
	lkvm_ok("disk convert --json a b");
	facts = json_loads(output, 0, NULL);
	ck_assert_str_eq(json_string_value(json_object_get(facts, "filename")), "b");
	ck_assert_int_eq(json_integer_value(json_object_get(facts, "virtual-size")), (json_int_t)MIB(4));
	json_decref(facts);
}
END_TEST

/* ---- refusals ---- */

START_TEST(what_is_there_stays_until_the_new_image_is_whole)
{
	make_raw("a", MIB(4));
	file_poke("b", 0, "precious", 8);
	ck_assert_int_eq(chmod("b", 0640), 0);
	lkvm_fails(LKVM_STATUS_ERROR, "--force", "disk convert a b");
	lkvm_fails(LKVM_STATUS_ERROR, "nothing", "disk convert --force nothing b");
	lkvm_fails(LKVM_STATUS_USAGE, "can't be compressed", "disk convert --force -c a b");
	lkvm_fails(LKVM_STATUS_USAGE, "only a size", "disk convert --force --cluster-size 4096 a b");
	ck_assert_uint_eq(file_size("b"), 8);
	lkvm_ok("disk convert --force a b");
	ck_assert_int_eq(shell("cmp a b && test $(stat -c %%a b) = 640"), 0);
	ck_assert_uint_eq(files_in_folder(), 2);
}
END_TEST

START_TEST(usage_is_said_as_such)
{
	make_raw("a", MIB(1));
	lkvm_fails(LKVM_STATUS_USAGE, "too few operands (say IMAGE NEW-IMAGE)", "disk convert a");
	lkvm_fails(LKVM_STATUS_USAGE, "one operand too many", "disk convert a b c");
	lkvm_fails(LKVM_STATUS_USAGE, "say raw", "disk convert -O nonsense a b");
	lkvm_fails(LKVM_STATUS_USAGE, "nonsense", "disk convert -o nonsense=1 a b");
	lkvm_fails(LKVM_STATUS_USAGE, "zlib or zstd", "disk convert -o compression_type=lzma a b.qcow2");
	lkvm_fails(LKVM_STATUS_USAGE, "power of 2", "disk convert -o cluster_size=3M a b.qcow2");
	lkvm_fails(LKVM_STATUS_USAGE, "power of 2", "disk convert -o cluster_size=1000 a b.qcow2");
	lkvm_fails(LKVM_STATUS_USAGE, "option --options: extended_l2=maybe", "disk convert -o extended_l2=maybe a b.qcow2");
	ck_assert_uint_eq(files_in_folder(), 1);
}
END_TEST

START_TEST(an_image_is_not_converted_over_itself_or_one_in_use)
{
	make_raw("a", MIB(1));
	make_raw("b", MIB(2));
	lkvm_fails(LKVM_STATUS_ERROR, "in use", "disk convert --force a a");
	driver_open("b");
	lkvm_fails(LKVM_STATUS_ERROR, "in use", "disk convert --force a b");
	ck_assert_uint_eq(file_size("b"), MIB(2));
	ck_assert_uint_eq(files_in_folder(), 2);
}
END_TEST

struct stopper {
	struct image_progress progress;
	uint64_t last;
};

static int stop_halfway(struct image_progress *progress, uint64_t done, uint64_t total)
{
	struct stopper *stopper = container_of(progress, struct stopper, progress);

	ck_assert_uint_ge(done, stopper->last);
	ck_assert_uint_le(done, total);
	stopper->last = done;
	return done > total / 2 ? -EINTR : 0;
}

START_TEST(a_copy_that_is_stopped_leaves_nothing)
{
	struct stopper stopper = { .progress.at = stop_halfway };
	const struct image_copy how = { .progress = &stopper.progress };

	make_raw("a", MIB(64));
	ck_assert_int_eq(image_convert(&(struct disk_options){ .path = (char *)"a", .read_only = true },
				       &(struct image_options){ .path = "b" }, &how), -EINTR);
	ck_assert_uint_gt(stopper.last, MIB(32));
	ck_assert_uint_eq(files_in_folder(), 1);
}
END_TEST

START_TEST(a_full_disk_leaves_nothing)
{
	struct rlimit limit;

	make_raw("a", MIB(4));
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	signal(SIGXFSZ, SIG_IGN);
	limit.rlim_cur = MIB(2);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	lkvm_fails(LKVM_STATUS_ERROR, "disk 'b'", "disk convert a b");
	ck_assert_uint_eq(files_in_folder(), 1);
}
END_TEST

/* ---- comparing ---- */

START_TEST(a_difference_is_found_where_it_is)
{
	make_raw("a", MIB(8));
	make_raw("b", MIB(8));
	file_poke("b", MIB(5) + 77, "x", 1);
	ck_assert_int_eq(lkvm("disk compare a b"), LKVM_STATUS_DIFFERENT);
	ck_assert_ptr_nonnull(strstr(output, "5242957"));
	ck_assert_int_eq(lkvm("disk compare --json b a"), LKVM_STATUS_DIFFERENT);
	ck_assert_str_eq(output, "{\"identical\": false, \"same-size\": true, \"offset\": 5242957}\n");
}
END_TEST

START_TEST(zeroes_past_the_end_are_no_difference_unless_that_is_asked)
{
	make_raw("a", MIB(2));
	make_raw("b", MIB(2));
	ck_assert_int_eq(truncate("b", (off_t)MIB(3)), 0);
	ck_assert_int_eq(lkvm("disk compare a b"), 0);
	ck_assert_int_eq(lkvm("disk compare --strict a b"), LKVM_STATUS_DIFFERENT);
	file_poke("b", MIB(3) - 1, "x", 1);
	ck_assert_int_eq(lkvm("disk compare a b"), LKVM_STATUS_DIFFERENT);
	ck_assert_int_eq(lkvm("disk compare b a"), LKVM_STATUS_DIFFERENT);
	lkvm_fails(LKVM_STATUS_ERROR, "no such file", "disk compare a c");
	lkvm_fails(LKVM_STATUS_ERROR, "no such file", "disk compare c a");
	lkvm_fails(LKVM_STATUS_USAGE, "too few", "disk compare a");
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "convert", disk_driver_setup, disk_driver_teardown);

	tcase_add_test(tests, a_copy_has_the_same_bytes_and_no_more_blocks);
	tcase_add_test(tests, a_disk_that_ends_inside_a_block_is_copied_whole);
	tcase_add_test(tests, the_new_image_is_described_as_json);
	tcase_add_test(tests, what_is_there_stays_until_the_new_image_is_whole);
	tcase_add_test(tests, usage_is_said_as_such);
	tcase_add_test(tests, an_image_is_not_converted_over_itself_or_one_in_use);
	tcase_add_test(tests, a_copy_that_is_stopped_leaves_nothing);
	tcase_add_test(tests, a_full_disk_leaves_nothing);
	tcase_add_test(tests, a_difference_is_found_where_it_is);
	tcase_add_test(tests, zeroes_past_the_end_are_no_difference_unless_that_is_asked);
}
SUITE_MAIN("disk-convert", add_tests)
