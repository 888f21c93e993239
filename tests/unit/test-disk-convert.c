/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/convert.c, disk/image-copy.c and their commands: the disk is the same in the new image, or there is none. */
#include "tests/unit/suite.h"
#include "tests/unit/disk-command.h"

#include "disk/compression.h"

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

/* ---- qcow2 ---- */

static const char *const qcow2_options[] = {
	"", "-o cluster_size=512", "-o cluster_size=2M", "-o extended_l2=on", "-o lazy_refcounts=on --cluster-size 4096",
	"--zstd", "-o cluster_size=512,compression_type=zstd", "-o extended_l2,compression_type=zstd",
};

/* Mixed: what compresses well, what doesn't, holes; the disk ends inside a cluster. */
static void make_mixed(const char *path)
{
	ck_assert_int_eq(shell("for i in 0 3 4 9 17; do head -c 200000 /dev/urandom | dd of=%s bs=100007 seek=$i conv=notrunc status=none;"
			       "yes text$i | head -c 150000 | dd of=%s bs=100007 seek=$((i + 2)) conv=notrunc status=none; done;"
			       "truncate -s 4195328 %s", path, path, path), 0);
}

START_TEST(a_qcow2_image_has_what_the_raw_one_has)
{
	const char *options = qcow2_options[_i % (int)ARRAY_SIZE(qcow2_options)];
	const char *compress = _i < (int)ARRAY_SIZE(qcow2_options) ? "" : "-c";

	if (strstr(options, "zstd") && !disk_compression(1))
		return;
	make_mixed("a");
	lkvm_ok("disk convert %s %s a b.qcow2", compress, options);
	lkvm_ok("disk compare a b.qcow2");
	lkvm_ok("disk convert b.qcow2 c");
	ck_assert_int_eq(shell("cmp a c"), 0);
	if (have_qemu_img())
		ck_assert_int_eq(shell("qemu-img check -q b.qcow2 && qemu-img compare -q -f raw a b.qcow2"), 0);
}
END_TEST

START_TEST(compressing_saves_room)
{
	ck_assert_int_eq(shell("yes text | head -c 4194304 > a"), 0);
	lkvm_ok("disk convert a plain.qcow2");
	lkvm_ok("disk convert -c a packed.qcow2");
	ck_assert_uint_gt(file_allocated("plain.qcow2"), MIB(4));
	/* header, tables, and all clusters in one */
	ck_assert_uint_le(file_size("packed.qcow2"), 6 * KIB(64));
}
END_TEST

static const char *const qemu_options[] = {
	"-O qcow2 -o compat=0.10", "-O qcow2 -c", "-O qcow2 -o cluster_size=1024 -c", "-O qcow2 -o extended_l2=on",
	"-O qcow2 -o compression_type=zstd -c", "-O qcow2 -o refcount_bits=1",
};

START_TEST(what_qemu_img_made_is_converted)
{
	if (!have_qemu_img() || (strstr(qemu_options[_i], "zstd") && !disk_compression(1)))
		return;
	make_mixed("a");
	ck_assert_int_eq(shell("qemu-img convert -f raw %s a b", qemu_options[_i]), 0);
	lkvm_ok("disk convert b c");
	ck_assert_int_eq(shell("cmp a c"), 0);
	lkvm_ok("disk convert -c b d.qcow2");
	ck_assert_int_eq(shell("qemu-img check -q d.qcow2 && qemu-img compare -q a d.qcow2"), 0);
}
END_TEST

START_TEST(a_chain_becomes_one_image)
{
	uint8_t text[4096];

	memset(text, 'x', sizeof(text));
	make_mixed("base");
	lkvm_ok("disk create --backing base top.qcow2");
	driver_open("top.qcow2");
	ck_assert_int_eq(driver_run(DISK_WRITE, 65536, text, sizeof(text)), 0);
	driver_close();
	lkvm_ok("disk convert top.qcow2 flat");
	file_poke("base", 65536, text, sizeof(text));
	ck_assert_int_eq(shell("cmp base flat"), 0);
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
	tcase_add_loop_test(tests, a_qcow2_image_has_what_the_raw_one_has, 0, 2 * (int)ARRAY_SIZE(qcow2_options));
	tcase_add_test(tests, compressing_saves_room);
	tcase_add_loop_test(tests, what_qemu_img_made_is_converted, 0, (int)ARRAY_SIZE(qemu_options));
	tcase_add_test(tests, a_chain_becomes_one_image);
	tcase_add_test(tests, what_is_there_stays_until_the_new_image_is_whole);
	tcase_add_test(tests, usage_is_said_as_such);
	tcase_add_test(tests, an_image_is_not_converted_over_itself_or_one_in_use);
	tcase_add_test(tests, a_copy_that_is_stopped_leaves_nothing);
	tcase_add_test(tests, a_full_disk_leaves_nothing);
	tcase_add_test(tests, a_difference_is_found_where_it_is);
	tcase_add_test(tests, zeroes_past_the_end_are_no_difference_unless_that_is_asked);
}

int main(void)
{
	if (!have_qemu_img())
		printf("SKIP disk-convert: comparisons with qemu-img, which isn't installed (scripts/deps test)\n");
	return suite_run("disk-convert", add_tests);
}
