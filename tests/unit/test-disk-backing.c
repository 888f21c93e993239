/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/backing.c, disk/qcow2-backing.c and their commands: what a guest sees stays, whatever lies behind an image. */
#include "tests/unit/suite.h"
#include "tests/unit/disk-command.h"

static const char *const options[] = { "", "--cluster-size 512", "--extended-l2" };

static void change_image(const char *path, enum disk_op op, char with, uint64_t offset, size_t length)
{
	uint8_t *bytes = malloc(length);

	ck_assert_ptr_nonnull(bytes);
	memset(bytes, with, length);
	driver_open(path);
	ck_assert_int_eq(driver_run(op, offset, op == DISK_WRITE ? bytes : NULL, length), 0);
	driver_close();
	free(bytes);
}

/* "top" over the shorter "base", with data, zeroes and holes of its own; "flat": what it shows. */
static void make_chain(const char *how)
{
	ck_assert_int_eq(shell("yes base | head -c 3000000 > base; truncate -s 6M base; yes other | head -c 2500000 > other"), 0);
	lkvm_ok("disk create -f qcow2 %s -b base top 8M", how);
	change_image("top", DISK_WRITE, 'x', MIB(1) + 512, 300032);
	change_image("top", DISK_WRITE, 'y', MIB(7), 65536);
	change_image("top", DISK_WRITE_ZEROES, 0, MIB(2), 131072);
	lkvm_ok("disk convert top flat");
}

static void shows(const char *path, const char *what)
{
	lkvm_ok("disk compare --strict %s %s", what, path);
	lkvm_ok("disk check %s", path);
	if (have_qemu_img())
		ck_assert_int_eq(shell("qemu-img check -q %s && qemu-img compare -q %s %s", path, what, path), 0);
}

/* ---- commit ---- */

START_TEST(what_was_written_goes_behind)
{
	make_chain(options[_i]);
	lkvm_ok("disk commit top");
	shows("top", "flat");
	ck_assert_int_eq(shell("cmp base flat"), 0);
	lkvm_ok("disk map top");
	ck_assert_ptr_null(strstr(output, "top"));
}
END_TEST

START_TEST(it_goes_behind_into_qcow2_which_grows)
{
	make_chain(options[_i]);
	lkvm_ok("disk convert -O qcow2 base base2");
	lkvm_ok("disk rebase --unsafe -b base2 top");
	lkvm_ok("disk commit --keep top");
	shows("base2", "flat");
	lkvm_ok("disk rebase --none --unsafe base2");
	shows("top", "flat");
}
END_TEST

START_TEST(a_commit_that_cannot_be_changes_nothing)
{
	make_chain("");
	lkvm_fails(LKVM_STATUS_ERROR, "nothing lies behind it", "disk commit base");
	driver_open("base,ro");
	lkvm_fails(LKVM_STATUS_ERROR, "in use", "disk commit top");
	driver_close();
	shows("top", "flat");
	ck_assert_int_eq(unlink("base"), 0);
	lkvm_fails(LKVM_STATUS_ERROR, "no such file", "disk commit top");
	/* not by an image that was only guessed to be one */
	ck_assert_int_eq(shell("mkdir sub && cp flat elsewhere"), 0);
	lkvm_ok("disk rebase --unsafe -F raw -b ../elsewhere top");
	ck_assert_int_eq(rename("top", "sub/top"), 0);
	lkvm_fails(LKVM_STATUS_ERROR, "outside the folder", "disk commit sub/top");
	lkvm_ok("disk commit -f qcow2 sub/top");
}
END_TEST

/* ---- rebase ---- */

START_TEST(a_disk_stays_the_same_over_another_image)
{
	make_chain(options[_i]);
	lkvm_ok("disk rebase -b other top");
	shows("top", "flat");
	lkvm_ok("disk info top");
	ck_assert_ptr_nonnull(strstr(output, "backing filename: other\n"));
	lkvm_ok("disk rebase --none top");
	shows("top", "flat");
	ck_assert_int_eq(unlink("other") | unlink("base"), 0);
	shows("top", "flat");
}
END_TEST

START_TEST(only_the_name_changes_when_that_is_said)
{
	make_chain("");
	ck_assert_int_eq(rename("base", "moved"), 0);
	lkvm_fails(LKVM_STATUS_ERROR, "no such file", "disk rebase -b moved top");
	lkvm_ok("disk rebase --unsafe -b moved top");
	shows("top", "flat");
	lkvm_ok("disk rebase --unsafe -b other top");
	ck_assert_int_eq(lkvm("disk compare flat top"), LKVM_STATUS_DIFFERENT);
	lkvm_ok("disk rebase --unsafe -F raw -b not-there-yet top");
	lkvm_fails(LKVM_STATUS_ERROR, "not-there-yet", "disk info --chain top");
}
END_TEST

START_TEST(a_rebase_that_cannot_be_changes_nothing)
{
	char name[501];

	make_chain("--cluster-size 512");
	lkvm_fails(LKVM_STATUS_USAGE, "say --backing IMAGE, or --none", "disk rebase top");
	lkvm_fails(LKVM_STATUS_USAGE, "say --backing IMAGE, or --none", "disk rebase -b base --none top");
	lkvm_fails(LKVM_STATUS_ERROR, "behind itself", "disk rebase -b top top");
	lkvm_fails(LKVM_STATUS_ERROR, "no such file", "disk rebase -b nothing top");
	lkvm_fails(LKVM_STATUS_ERROR, "nothing can lie behind a raw image", "disk rebase -b other base");
	memset(name, 'n', 500);
	name[500] = '\0';
	lkvm_fails(LKVM_STATUS_ERROR, "too long for its header", "disk rebase -u -F raw -b %s top", name);
	shows("top", "flat");
}
END_TEST

/* ---- sizes ---- */

START_TEST(a_disk_grows_by_zeroes_and_shrinks_for_good)
{
	make_chain(options[_i]);
	lkvm_ok("disk resize top 400M");
	lkvm_ok("disk compare flat top");
	lkvm_ok("disk check top");
	lkvm_fails(LKVM_STATUS_USAGE, "--shrink", "disk resize top 1M");
	lkvm_ok("disk resize --shrink top 1M");
	lkvm_ok("disk resize top 8M");
	ck_assert_int_eq(shell("truncate -s 1M flat && truncate -s 8M flat"), 0);
	shows("top", "flat");
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "backing", disk_driver_setup, disk_driver_teardown);

	tcase_add_loop_test(tests, what_was_written_goes_behind, 0, (int)ARRAY_SIZE(options));
	tcase_add_loop_test(tests, it_goes_behind_into_qcow2_which_grows, 0, (int)ARRAY_SIZE(options));
	tcase_add_test(tests, a_commit_that_cannot_be_changes_nothing);
	tcase_add_loop_test(tests, a_disk_stays_the_same_over_another_image, 0, (int)ARRAY_SIZE(options));
	tcase_add_test(tests, only_the_name_changes_when_that_is_said);
	tcase_add_test(tests, a_rebase_that_cannot_be_changes_nothing);
	tcase_add_loop_test(tests, a_disk_grows_by_zeroes_and_shrinks_for_good, 0, (int)ARRAY_SIZE(options));
}

int main(void)
{
	if (!have_qemu_img())
		printf("SKIP disk-backing: comparisons with qemu-img, which isn't installed (scripts/deps test)\n");
	return suite_run("disk-backing", add_tests);
}
