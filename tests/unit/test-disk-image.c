/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/image.c, disk/create.c and what formats do for tools: images are made, described, copied, and stay whole. */
#include "tests/unit/disk-driver.h"

#include "kvm/image.h"
#include "kvm/option.h"

static struct image image;

static bool have_qemu_img(void)
{
	return !shell("command -v qemu-img >/dev/null && command -v qemu-io >/dev/null");
}

static void teardown(void)
{
	(void)image_close(&image);
	disk_driver_teardown();
}

static void open_image(const char *path, bool read_only)
{
	const struct disk_options options = { .path = (char *)(uintptr_t)path, .read_only = read_only };
	int result = image_open(&image, &options);

	ck_assert_msg(!result, "%s: %s", path, driver_said);
}

static void create(const struct image_options *options)
{
	int result = image_create(options);

	ck_assert_msg(!result, "%d: %s", result, driver_said);
}

static void create_refused(const struct image_options *options, int error, const char *because)
{
	struct stat status;

	driver_said[0] = 0;
	ck_assert_int_eq(image_create(options), error);
	ck_assert_msg(strstr(driver_said, because) != NULL, "expected '%s' in '%s'", because, driver_said);
	if (error != -EEXIST && error != -EBUSY)
		ck_assert_msg(stat(options->path, &status) < 0, "%s is left", options->path);
}

/* ---- making ---- */

static const struct image_options kinds[] = {
	{ .size = MIB(5) },
	{ .size = 512 },
	{ .size = MIB(5), .cluster_size = 512 },
	{ .size = GIB(3), .cluster_size = 512 },
	{ .size = GIB(64), .cluster_size = 4096 },
	{ .size = GIB(10), .cluster_size = (uint32_t)MIB(2) },
	{ .size = GIB(5), .extended_l2 = true },
	{ .size = MIB(5), .lazy_refcounts = true },
	{ .size = GIB(60000) },
};

START_TEST(a_new_image_is_whole_to_qemu_img_and_to_us)
{
	struct image_options options = kinds[_i];
	json_t *facts;

	options.path = "new";
	options.format = "qcow2";
	create(&options);
	open_image("new", true);
	ck_assert_uint_eq(disk_info(image.disk)->size, options.size);
	facts = image_describe(&image, 0);
	ck_assert_int_eq(json_integer_value(json_object_get(facts, "cluster-size")), options.cluster_size ? options.cluster_size : 65536);
	json_decref(facts);
	ck_assert_ptr_null(image_describe(&image, 1));
	if (have_qemu_img())
		ck_assert_int_eq(shell("qemu-img check -q new && qemu-img info new | grep -q '(%llu bytes)'",
				       (unsigned long long)options.size), 0);
}
END_TEST

START_TEST(a_new_raw_image_is_a_hole)
{
	struct stat status;

	create(&(struct image_options){ .path = "new", .size = GIB(1) });
	ck_assert_int_eq(stat("new", &status), 0);
	ck_assert_int_eq(status.st_size, (off_t)GIB(1));
	ck_assert_int_lt(status.st_blocks, 16);
}
END_TEST

START_TEST(an_image_over_another_has_its_size_and_names_its_format)
{
	json_t *facts;

	ck_assert_int_eq(mkdir("in", 0700), 0);
	create(&(struct image_options){ .path = "in/base", .size = MIB(3) });
	create(&(struct image_options){ .path = "in/top", .backing = "base" });
	open_image("in/top", true);
	ck_assert_uint_eq(disk_info(image.disk)->size, MIB(3));
	facts = image_describe(&image, 0);
	ck_assert_str_eq(json_string_value(json_object_get(facts, "backing-filename")), "base");
	ck_assert_str_eq(json_string_value(json_object_get(facts, "full-backing-filename")), "in/base");
	ck_assert_str_eq(json_string_value(json_object_get(facts, "backing-filename-format")), "raw");
	json_decref(facts);
	facts = image_describe(&image, 1);
	ck_assert_str_eq(json_string_value(json_object_get(facts, "filename")), "in/base");
	json_decref(facts);
	if (have_qemu_img())
		ck_assert_int_eq(shell("qemu-img check -q in/top && qemu-img info --backing-chain in/top | grep -q 'image: in/base'"), 0);
}
END_TEST

START_TEST(what_cannot_be_made_leaves_no_file)
{
	create_refused(&(struct image_options){ .path = "new" }, -EUSAGE, "of which size");
	create_refused(&(struct image_options){ .path = "new", .size = 513 }, -EUSAGE, "multiple of 512");
	create_refused(&(struct image_options){ .path = "new", .size = UINT64_MAX - 511 }, -EUSAGE, "multiple of 512");
	create_refused(&(struct image_options){ .path = "new", .size = MIB(1), .format = "qcow" }, -EUSAGE, "say raw, qcow2 or vhd");
	create_refused(&(struct image_options){ .path = "new", .size = MIB(1), .format = "" }, -EUSAGE, "say raw, qcow2 or vhd");
	create_refused(&(struct image_options){ .path = "new.qcow2", .size = MIB(1), .cluster_size = 1000 }, -EUSAGE, "power of 2");
	create_refused(&(struct image_options){ .path = "new.qcow2", .size = MIB(1), .cluster_size = 256 }, -EUSAGE, "power of 2");
	create_refused(&(struct image_options){ .path = "new", .size = MIB(1), .cluster_size = 4096 }, -EUSAGE, "only a size");
	create_refused(&(struct image_options){ .path = "new.qcow2", .size = GIB(1024), .cluster_size = 512 }, -EFBIG, "larger ones");
	create_refused(&(struct image_options){ .path = "new.qcow2", .backing = "nothing" }, -ENOENT, "nothing");
	create_refused(&(struct image_options){ .path = "not/there", .size = MIB(1) }, -ENOENT, "can't be made");
	create(&(struct image_options){ .path = "old", .size = MIB(1) });
	create_refused(&(struct image_options){ .path = "old", .size = MIB(2) }, -EEXIST, "--force");
	ck_assert_uint_eq(file_size("old"), MIB(1));
	create(&(struct image_options){ .path = "old", .size = MIB(2), .force = true });
	ck_assert_uint_eq(file_size("old"), MIB(2));
}
END_TEST

START_TEST(an_image_in_use_is_not_made_anew)
{
	create(&(struct image_options){ .path = "old", .size = MIB(1) });
	driver_open("old");
	create_refused(&(struct image_options){ .path = "old", .size = MIB(2), .force = true }, -EBUSY, "in use");
	ck_assert_uint_eq(file_size("old"), MIB(1));
}
END_TEST

/* ---- sizes and maps ---- */

START_TEST(a_raw_image_grows_and_shrinks_only_when_that_is_meant)
{
	create(&(struct image_options){ .path = "raw", .size = MIB(1) });
	open_image("raw", false);
	ck_assert_int_eq(image_resize(&image, MIB(2), false), 0);
	ck_assert_uint_eq(file_size("raw"), MIB(2));
	ck_assert_int_eq(image_resize(&image, MIB(1), false), -EUSAGE);
	ck_assert_ptr_nonnull(strstr(driver_said, "--shrink"));
	ck_assert_int_eq(image_resize(&image, 1000, true), -EUSAGE);
	ck_assert_int_eq(image_resize(&image, MIB(1), true), 0);
	ck_assert_uint_eq(file_size("raw"), MIB(1));
}
END_TEST

START_TEST(a_map_tells_holes_from_data)
{
	struct image_extent extent;

	create(&(struct image_options){ .path = "raw", .size = MIB(4) });
	file_poke("raw", MIB(1), "data", 4);
	create(&(struct image_options){ .path = "top", .backing = "raw" });
	open_image("top", true);
	ck_assert_int_eq(image_map(&image, 0, MIB(4), &extent), 0);
	ck_assert(extent.zero && extent.allocated && extent.depth == 1 && !extent.file);
	ck_assert_uint_eq(extent.length, MIB(1));
	ck_assert_int_eq(image_map(&image, MIB(1), MIB(3), &extent), 0);
	ck_assert(!extent.zero && extent.depth == 1 && extent.offset == MIB(1));
	ck_assert_str_eq(extent.file, "raw");
	ck_assert_uint_lt(extent.length, MIB(1));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("disk-image");
	TCase *tests = tcase_create("image");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, disk_driver_setup, teardown);
	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, a_new_image_is_whole_to_qemu_img_and_to_us, 0, (int)ARRAY_SIZE(kinds));
	tcase_add_test(tests, a_new_raw_image_is_a_hole);
	tcase_add_test(tests, an_image_over_another_has_its_size_and_names_its_format);
	tcase_add_test(tests, what_cannot_be_made_leaves_no_file);
	tcase_add_test(tests, an_image_in_use_is_not_made_anew);
	tcase_add_test(tests, a_raw_image_grows_and_shrinks_only_when_that_is_meant);
	tcase_add_test(tests, a_map_tells_holes_from_data);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
