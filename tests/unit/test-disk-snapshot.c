/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/qcow2-snapshot.c, disk/qcow2-snapshots.c and their command: what was kept comes back, and the image stays whole. */
#include "tests/unit/suite.h"
#include "tests/unit/disk-command.h"

static void make_image(const char *options)
{
	ck_assert_int_eq(shell("yes abc | head -c 3000000 > a; truncate -s 6M a; rm -f b.qcow2"), 0);
	lkvm_ok("disk convert %s a b.qcow2", options);
}

static void check_whole(void)
{
	if (have_qemu_img())
		ck_assert_int_eq(shell("qemu-img check -q b.qcow2"), 0);
}

/* As a guest does, across clusters. */
static void change_image(char with, uint64_t offset, size_t length)
{
	uint8_t *bytes = malloc(length);

	ck_assert_ptr_nonnull(bytes);
	memset(bytes, with, length);
	driver_open("b.qcow2");
	ck_assert_int_eq(driver_run(DISK_WRITE, offset, bytes, length), 0);
	driver_close();
	free(bytes);
}

/* ---- what they are for ---- */

static const char *const options[] = {
	"", "-o cluster_size=512", "-o cluster_size=2M", "-o extended_l2=on", "-c", "-c -o cluster_size=1024",
};

START_TEST(a_disk_goes_back_to_what_it_was)
{
	make_image(options[_i]);
	lkvm_ok("disk snapshot create b.qcow2 one");
	check_whole();
	change_image('x', 102400, 307200);
	change_image('y', MIB(5), 65536);
	check_whole();
	lkvm_ok("disk convert b.qcow2 changed");
	lkvm_ok("disk snapshot create b.qcow2 two");
	check_whole();
	lkvm_ok("disk snapshot apply b.qcow2 one");
	check_whole();
	lkvm_ok("disk compare a b.qcow2");
	change_image('z', 0, MIB(1));
	check_whole();
	lkvm_ok("disk snapshot apply b.qcow2 2");
	lkvm_ok("disk compare changed b.qcow2");
	lkvm_ok("disk snapshot delete b.qcow2 one");
	check_whole();
	lkvm_ok("disk snapshot delete b.qcow2 two");
	check_whole();
	lkvm_ok("disk compare changed b.qcow2");
}
END_TEST

START_TEST(a_snapshot_that_is_gone_leaves_its_room_to_others)
{
	uint64_t size;

	make_image("");
	lkvm_ok("disk snapshot create b.qcow2 one");
	change_image('x', 0, MIB(2));
	lkvm_ok("disk snapshot delete b.qcow2 one");
	size = file_size("b.qcow2");
	change_image('y', MIB(4), MIB(1));
	ck_assert_uint_eq(file_size("b.qcow2"), size);
	check_whole();
}
END_TEST

START_TEST(they_are_listed)
{
	json_t *list;

	make_image("");
	lkvm_ok("disk snapshot list --json b.qcow2");
	ck_assert_str_eq(output, "[]\n");
	lkvm_ok("disk snapshot create b.qcow2 one");
	lkvm_ok("disk snapshot create b.qcow2 two");
	lkvm_ok("disk snapshot list b.qcow2");
	ck_assert_ptr_nonnull(strstr(output, "\n1      one "));
	lkvm_ok("disk snapshot list --json b.qcow2");
	list = json_loads(output, 0, NULL);
	ck_assert_uint_eq(json_array_size(list), 2);
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(list, 1), "name")), "two");
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(list, 1), "id")), "2");
	json_decref(list);
}
END_TEST

/* ---- with QEMU's ---- */

START_TEST(those_of_qemu_img_are_used)
{
	if (!have_qemu_img())
		return;
	make_raw("a", MIB(4));
	ck_assert_int_eq(shell("qemu-img convert -O qcow2 -o compat=%s a b.qcow2 && qemu-img snapshot -c one b.qcow2 &&"
			       "qemu-io -c 'write -P 7 0 2M' b.qcow2 >/dev/null && qemu-img snapshot -c two b.qcow2",
			       _i ? "0.10" : "1.1"), 0);
	change_image('x', MIB(1), MIB(1));
	lkvm_ok("disk snapshot apply b.qcow2 one");
	check_whole();
	lkvm_ok("disk compare a b.qcow2");
	ck_assert_int_eq(shell("qemu-img snapshot -a two b.qcow2 && qemu-io -c 'read -P 7 0 2M' b.qcow2 | grep -vq mismatch"), 0);
	lkvm_ok("disk snapshot delete b.qcow2 two");
	check_whole();
}
END_TEST

START_TEST(a_snapshot_brings_its_size_back)
{
	if (!have_qemu_img())
		return;
	make_raw("a", MIB(4));
	ck_assert_int_eq(shell("qemu-img convert -O qcow2 a b.qcow2 && qemu-img snapshot -c one b.qcow2 &&"
			       "qemu-img resize -q b.qcow2 3G && qemu-io -c 'write -P 7 2G 1M' b.qcow2 >/dev/null"), 0);
	lkvm_ok("disk snapshot create b.qcow2 large");
	lkvm_ok("disk snapshot apply b.qcow2 one");
	check_whole();
	lkvm_ok("disk compare --strict a b.qcow2");
	lkvm_ok("disk snapshot apply b.qcow2 large");
	check_whole();
	ck_assert_int_eq(shell("qemu-io -c 'read -P 7 2G 1M' b.qcow2 | grep -q mismatch"), 256);
}
END_TEST

START_TEST(refcounts_of_one_bit_leave_no_room)
{
	if (!have_qemu_img())
		return;
	make_raw("a", MIB(4));
	ck_assert_int_eq(shell("qemu-img convert -O qcow2 -o refcount_bits=1 a b.qcow2"), 0);
	lkvm_fails(LKVM_STATUS_ERROR, "refcounts of 1 bits leave no room", "disk snapshot create b.qcow2 one");
	check_whole();
	lkvm_ok("disk compare a b.qcow2");
}
END_TEST

/* ---- refusals ---- */

START_TEST(what_cannot_be_is_said)
{
	make_image("");
	lkvm_ok("disk snapshot create b.qcow2 one");
	lkvm_fails(LKVM_STATUS_ERROR, "has a snapshot 'one' already", "disk snapshot create b.qcow2 one");
	lkvm_fails(LKVM_STATUS_ERROR, "no snapshot 'two'", "disk snapshot apply b.qcow2 two");
	lkvm_fails(LKVM_STATUS_ERROR, "no snapshot 'two'", "disk snapshot delete b.qcow2 two");
	lkvm_fails(LKVM_STATUS_ERROR, "raw images have no snapshots", "disk snapshot create a one");
	lkvm_fails(LKVM_STATUS_ERROR, "raw images have no snapshots", "disk snapshot list a");
	lkvm_fails(LKVM_STATUS_USAGE, "say list, create, apply or delete", "disk snapshot make b.qcow2 one");
	lkvm_fails(LKVM_STATUS_USAGE, "too few", "disk snapshot create b.qcow2");
	lkvm_fails(LKVM_STATUS_USAGE, "too many", "disk snapshot list b.qcow2 one");
	driver_open("b.qcow2,ro");
	lkvm_fails(LKVM_STATUS_ERROR, "in use", "disk snapshot create b.qcow2 two");
	driver_close();
	check_whole();
}
END_TEST

/* At the entry of the only snapshot: offset in it, bytes. */
static const struct {
	uint64_t at;
	uint8_t bytes[8];
	size_t length;
	const char *because;
	bool listed;
} damages[] = {
	{ 36, { 0, 0, 4, 1 }, 4, "too much extra data", false },
	{ 36, { 0xff, 0xff, 0xff, 0xff }, 4, "too much extra data", false },
	{ 0, { 0, 0, 0, 0, 0, 0, 2, 0 }, 8, "misaligned", true },
	{ 0, { 0x7f, 0xff, 0, 0, 0, 0, 0, 0 }, 8, "past the end", true },
	{ 8, { 0, 0x80, 0, 0 }, 4, "too long", true },
	{ 8, { 0, 0, 0, 0 }, 4, "too short for its size", true },
};

START_TEST(a_damaged_table_is_refused_and_nothing_written)
{
	uint8_t *before, *after, place[8];
	uint64_t size, size_after;
	FILE *file;

	make_image("");
	lkvm_ok("disk snapshot create b.qcow2 one");
	file = fopen("b.qcow2", "r");
	ck_assert_int_eq(fseek(file, 64, SEEK_SET), 0);
	ck_assert_uint_eq(fread(place, 8, 1, file), 1);
	fclose(file);
	file_poke("b.qcow2", be64_load(place) + damages[_i].at, damages[_i].bytes, damages[_i].length);
	before = file_read("b.qcow2", &size);
	lkvm_fails(LKVM_STATUS_ERROR, damages[_i].because, "disk snapshot apply b.qcow2 one");
	ck_assert_int_eq(lkvm("disk snapshot list b.qcow2"), damages[_i].listed ? 0 : LKVM_STATUS_ERROR);
	after = file_read("b.qcow2", &size_after);
	ck_assert_uint_eq(size, size_after);
	ck_assert_mem_eq(before, after, size);
	free(before);
	free(after);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "snapshot", disk_driver_setup, disk_driver_teardown);

	tcase_add_loop_test(tests, a_disk_goes_back_to_what_it_was, 0, (int)ARRAY_SIZE(options));
	tcase_add_test(tests, a_snapshot_that_is_gone_leaves_its_room_to_others);
	tcase_add_test(tests, they_are_listed);
	tcase_add_loop_test(tests, those_of_qemu_img_are_used, 0, 2);
	tcase_add_test(tests, a_snapshot_brings_its_size_back);
	tcase_add_test(tests, refcounts_of_one_bit_leave_no_room);
	tcase_add_test(tests, what_cannot_be_is_said);
	tcase_add_loop_test(tests, a_damaged_table_is_refused_and_nothing_written, 0, (int)ARRAY_SIZE(damages));
}

int main(void)
{
	if (!have_qemu_img())
		printf("SKIP disk-snapshot: checks by qemu-img, which isn't installed (scripts/deps test)\n");
	return suite_run("disk-snapshot", add_tests);
}
