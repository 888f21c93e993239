/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/overlay.c: an image under an overlay stays as it is, whatever a guest writes. */
#include "tests/unit/suite.h"
#include "tests/unit/disk-command.h"

static char text[4096];

static void setup(void)
{
	disk_driver_setup();
	ck_assert_int_eq(setenv("TMPDIR", folder_path, 1), 0);
	make_raw("a", MIB(6));
	ck_assert_int_eq(shell("cp a before"), 0);
	memset(text, 'x', sizeof(text));
}

static void reads_as(char first)
{
	char seen[4096];

	ck_assert_int_eq(driver_run(DISK_READ, 0, seen, sizeof(seen)), 0);
	ck_assert_int_eq(seen[0], first);
}

START_TEST(what_is_written_goes_with_the_disk)
{
	char first;
	int fd = open("a", O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(read(fd, &first, 1), 1);
	close(fd);
	driver_open("a,snapshot=on");
	ck_assert(!disk_info(driver_disk)->read_only);
	ck_assert_uint_eq(disk_info(driver_disk)->size, MIB(6));
	ck_assert_uint_eq(files_in_folder(), 2);
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, text, sizeof(text)), 0);
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
	reads_as('x');
	driver_close();
	driver_open("a,ro");
	reads_as(first);
	ck_assert_int_eq(shell("cmp a before"), 0);
}
END_TEST

START_TEST(an_overlay_is_kept_and_taken_up_again)
{
	driver_open("a,overlay=b");
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, text, sizeof(text)), 0);
	driver_close();
	driver_open("a,snapshot=on,overlay=b");
	reads_as('x');
	driver_close();
	ck_assert_int_eq(shell("cmp a before"), 0);
	if (have_qemu_img())
		ck_assert_int_eq(shell("qemu-img check -q b && qemu-io -r -c 'read -P 120 0 4k' b | grep -vq mismatch"), 0);
	lkvm_ok("disk commit b");
	ck_assert_int_eq(lkvm("disk compare a before"), LKVM_STATUS_DIFFERENT);
}
END_TEST

START_TEST(qcow2_lies_under_an_overlay_too)
{
	lkvm_ok("disk convert a c.qcow2");
	driver_open("c.qcow2,snapshot=on");
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, text, sizeof(text)), 0);
	reads_as('x');
	driver_close();
	lkvm_ok("disk compare a c.qcow2");
}
END_TEST

START_TEST(two_share_an_image)
{
	struct disk *other;
	struct disk_options options;

	ck_assert_int_eq(disk_options_parse(&options, "a,snapshot=on"), 0);
	ck_assert_int_eq(disk_open(&other, &options), 0);
	disk_options_free(&options);
	driver_open("a,snapshot=on");
	driver_close();
	disk_close(other);
}
END_TEST

START_TEST(an_overlay_that_cannot_be_is_refused)
{
	driver_refused("a,snapshot=on,ro", "say one of the two");
	driver_refused("nothing,snapshot=on", "no such file");
	driver_refused("a,overlay=not/there", "can't be made");
	driver_refused("a,overlay=before", "not a qcow2 image");
	driver_refused("a,overlay=a", "in use");
	driver_open("before,overlay=b");
	driver_close();
	driver_refused("a,overlay=b", "is one of '");
	/* an image that was only guessed to be one leads nowhere from under an overlay either */
	ck_assert_int_eq(shell("mkdir sub"), 0);
	lkvm_ok("disk create -f qcow2 --backing ../a sub/c");
	driver_refused("sub/c,snapshot=on", "outside the folder");
	driver_refused("sub/c,overlay=d", "outside the folder");
	ck_assert(!file_exists("d"));
	driver_open("sub/c,snapshot=on,backing=any");
	driver_close();
	ck_assert_int_eq(setenv("TMPDIR", "/nowhere", 1), 0);
	driver_refused("a,snapshot=on", "TMPDIR");
}
END_TEST

static int layers[2];			/* the newest first */
static size_t layer_count;

/* Opens a disk over copies of what was written to the driver's, which is closed, and which was such a one itself or not. */
static void go_on_over_copy(void)
{
	struct disk_options options;

	ck_assert_int_eq(disk_sync(driver_disk), 0);
	layers[1] = layers[0];
	layer_count++;
	ck_assert_int_eq(disk_copy_writes(driver_disk, &layers[0]), 0);
	ck_assert_int_ge(layers[0], 0);
	driver_close();
	ck_assert_int_eq(disk_options_parse(&options, "a,snapshot=on"), 0);
	options.written = layers;
	options.written_count = layer_count;
	ck_assert_int_eq(disk_open(&driver_disk, &options), 0);
	disk_options_free(&options);
	ck_assert_int_eq(disk_attach(driver_disk, driver_loop, NULL, NULL), 0);
}

static void reads_at(uint64_t offset, const char *wanted)
{
	static char seen[sizeof(text)];

	ck_assert_int_eq(driver_run(DISK_READ, offset, seen, sizeof(seen)), 0);
	ck_assert_mem_eq(seen, wanted, sizeof(seen));
}

START_TEST(copy_goes_on_with_what_was_written)
{
	static char other[sizeof(text)];

	memset(other, 'y', sizeof(other));
	driver_open("a,snapshot=on");
	ck_assert_int_eq(driver_run(DISK_WRITE, MIB(2), text, sizeof(text)), 0);
	ck_assert_int_eq(driver_run(DISK_WRITE, MIB(3), text, sizeof(text)), 0);
	go_on_over_copy();
	reads_at(MIB(2), text);
	ck_assert_int_eq(driver_run(DISK_WRITE, MIB(3), other, sizeof(other)), 0);
	go_on_over_copy();
	reads_at(MIB(2), text);
	reads_at(MIB(3), other);
	driver_close();
	ck_assert_int_eq(shell("cmp a before"), 0);
	ck_assert_uint_eq(files_in_folder(), 2);
}
END_TEST

START_TEST(copy_is_of_the_moment)
{
	static char other[sizeof(text)];
	struct disk_options options;
	struct disk *disk;
	int layer;

	memset(other, 'y', sizeof(other));
	driver_open("a,snapshot=on");
	ck_assert_int_eq(driver_run(DISK_WRITE, MIB(2), text, sizeof(text)), 0);
	ck_assert_int_eq(disk_sync(driver_disk), 0);
	ck_assert_int_eq(disk_copy_writes(driver_disk, &layer), 0);
	ck_assert_int_eq(driver_run(DISK_WRITE, MIB(2), other, sizeof(other)), 0);
	ck_assert_int_eq(disk_options_parse(&options, "a,snapshot=on"), 0);
	options.written = &layer;
	options.written_count = 1;
	ck_assert_int_eq(disk_open(&disk, &options), 0);
	disk_options_free(&options);
	reads_at(MIB(2), other);
	driver_close();
	driver_disk = disk;
	ck_assert_int_eq(disk_attach(driver_disk, driver_loop, NULL, NULL), 0);
	reads_at(MIB(2), text);
}
END_TEST

START_TEST(disk_that_grew_is_copied_as_it_is)
{
	static struct kvm kvm;
	struct disk_owner owner = { .kvm = &kvm, .name = "test" };

	kvm.loop = driver_loop;
	driver_open("a,snapshot=on");
	disk_set_owner(driver_disk, &owner);
	ck_assert_int_eq(disk_grow(driver_disk, MIB(9)), 0);
	disk_set_owner(driver_disk, NULL);
	go_on_over_copy();
	ck_assert_uint_eq(disk_info(driver_disk)->size, MIB(9));
}
END_TEST

START_TEST(disk_that_stays_is_not_copied)
{
	int fd;

	driver_open("a,ro");
	ck_assert_int_eq(disk_copy_writes(driver_disk, &fd), 0);
	ck_assert_int_eq(fd, -1);
	driver_close();
	driver_open("a");
	ck_assert_int_eq(disk_copy_writes(driver_disk, &fd), -ENOTSUP);
	ck_assert_msg(strstr(driver_said, "snapshot=on") != NULL, "seen '%s'", driver_said);
	driver_close();
	driver_open("a,overlay=b");
	ck_assert_int_eq(disk_copy_writes(driver_disk, &fd), -ENOTSUP);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "overlay", setup, disk_driver_teardown);

	tcase_add_test(tests, what_is_written_goes_with_the_disk);
	tcase_add_test(tests, an_overlay_is_kept_and_taken_up_again);
	tcase_add_test(tests, qcow2_lies_under_an_overlay_too);
	tcase_add_test(tests, two_share_an_image);
	tcase_add_test(tests, copy_goes_on_with_what_was_written);
	tcase_add_test(tests, copy_is_of_the_moment);
	tcase_add_test(tests, disk_that_grew_is_copied_as_it_is);
	tcase_add_test(tests, disk_that_stays_is_not_copied);
	tcase_add_test(tests, an_overlay_that_cannot_be_is_refused);
}
SUITE_MAIN("disk-overlay", add_tests)
