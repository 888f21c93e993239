/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/qcow2-check.c, disk/qcow2-survey.c, disk/qcow2-rebuild.c and their command: damage is found, and mended. */
#include "tests/unit/suite.h"
#include "tests/unit/disk-command.h"

static uint64_t number_at(uint64_t offset)
{
	uint8_t raw[8];
	FILE *file = fopen("b.qcow2", "r");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fseek(file, (long)offset, SEEK_SET), 0);
	ck_assert_uint_eq(fread(raw, 8, 1, file), 1);
	fclose(file);
	return be64_load(raw);
}

static void put_number(uint64_t offset, uint64_t value)
{
	uint8_t raw[8];

	be64_store(raw, value);
	file_poke("b.qcow2", offset, raw, 8);
}

static uint64_t l1_at(void)
{
	return number_at(40);
}

static uint64_t refcounts_at(void)
{
	return number_at(number_at(48));
}

/* The first L2 entry of the disk. */
static uint64_t entry_at(void)
{
	return number_at(l1_at()) & 0x00fffffffffffe00ULL;
}

/* With a snapshot, so that some clusters have more than one reference. */
static void make_image(const char *options)
{
	uint8_t bytes[KIB(300)];

	ck_assert_int_eq(shell("rm -f b.qcow2; yes abc | head -c 3000000 > a; truncate -s 6M a"), 0);
	lkvm_ok("disk convert %s a b.qcow2", options);
	lkvm_ok("disk snapshot create b.qcow2 one");
	memset(bytes, 'x', sizeof(bytes));
	driver_open("b.qcow2");
	ck_assert_int_eq(driver_run(DISK_WRITE, 102400, bytes, sizeof(bytes)), 0);
	driver_close();
	lkvm_ok("disk convert --force b.qcow2 changed");
}

static const char *const options[] = { "", "-o cluster_size=512", "-o cluster_size=2M", "-o extended_l2=on", "-c" };

/* ---- damages ---- */

static void damage_nothing(void)
{
}

static void damage_leak(void)
{
	uint64_t cluster = 1ULL << (number_at(16) & 0xff), size = ALIGN_UP(file_size("b.qcow2"), cluster);

	if (size / cluster * 2 + 2 > cluster)
		file_poke("b.qcow2", refcounts_at() + 6, "\0\7", 2);
	else
		file_poke("b.qcow2", refcounts_at() + size / cluster * 2, "\0\1", 2);
	ck_assert_int_eq(truncate("b.qcow2", (off_t)(size + cluster)), 0);
}

static void damage_refcounts(void)
{
	static const char zeroes[40];

	file_poke("b.qcow2", refcounts_at() + 6, zeroes, sizeof(zeroes));
}

static void damage_place_of_block(void)
{
	put_number(number_at(48), BIT(50));
}

static void damage_block_on_table(void)
{
	put_number(number_at(48), number_at(48));
}

static void damage_no_block(void)
{
	put_number(number_at(48), 0);
}

static void damage_l1_flag(void)
{
	put_number(l1_at(), number_at(l1_at()) ^ BIT(63));
}

static void damage_l2_flag(void)
{
	put_number(entry_at(), number_at(entry_at()) ^ BIT(63));
}

static void damage_marks(void)
{
	put_number(72, number_at(72) | 3);
}

static const struct {
	void (*damage)(void);
	int status;
	bool not_compressed;
} damages[] = {
	{ damage_nothing, 0, false },
	{ damage_leak, LKVM_STATUS_LEAKS, false },
	{ damage_refcounts, LKVM_STATUS_ERROR, false },
	{ damage_place_of_block, LKVM_STATUS_ERROR, false },
	{ damage_block_on_table, LKVM_STATUS_ERROR, false },
	{ damage_no_block, LKVM_STATUS_ERROR, false },
	{ damage_l1_flag, LKVM_STATUS_ERROR, false },
	{ damage_l2_flag, LKVM_STATUS_ERROR, true },
	{ damage_marks, 0, false },
};

START_TEST(damage_is_found_and_mended)
{
	size_t kind = (size_t)_i / ARRAY_SIZE(options);
	const char *how = options[(size_t)_i % ARRAY_SIZE(options)];

	if (damages[kind].not_compressed && !strcmp(how, "-c"))
		return;
	make_image(how);
	damages[kind].damage();
	ck_assert_int_eq(lkvm("disk check b.qcow2"), damages[kind].status);
	lkvm_ok("disk check --repair b.qcow2");
	lkvm_ok("disk check -q b.qcow2");
	ck_assert_str_eq(output, "");
	ck_assert_uint_eq(number_at(72) & 3, 0);
	if (have_qemu_img())
		ck_assert_int_eq(shell("qemu-img check -q b.qcow2"), 0);
	lkvm_ok("disk compare changed b.qcow2");
	lkvm_ok("disk snapshot apply b.qcow2 one");
	lkvm_ok("disk compare a b.qcow2");
	lkvm_ok("disk check b.qcow2");
}
END_TEST

START_TEST(a_check_without_repair_writes_nothing)
{
	uint8_t *before, *after;
	uint64_t size, size_after;

	make_image("");
	damage_refcounts();
	before = file_read("b.qcow2", &size);
	ck_assert_int_eq(lkvm("disk check b.qcow2"), LKVM_STATUS_ERROR);
	ck_assert_ptr_nonnull(strstr(output, "refcount 0, and"));
	ck_assert_ptr_nonnull(strstr(output, "Damaged: "));
	after = file_read("b.qcow2", &size_after);
	ck_assert_uint_eq(size, size_after);
	ck_assert_mem_eq(before, after, size);
	free(before);
	free(after);
}
END_TEST

/* ---- what needs a guess ---- */

static void lost_entry(void)
{
	put_number(entry_at(), BIT(50) | BIT(63));
}

static void misaligned_entry(void)
{
	put_number(entry_at(), number_at(entry_at()) + 512);
}

static void lost_table(void)
{
	put_number(l1_at(), BIT(50));
}

static void entry_on_l1(void)
{
	put_number(entry_at(), l1_at() | BIT(63));
}

static void (*const unmendable[])(void) = { lost_entry, misaligned_entry, lost_table, entry_on_l1 };

START_TEST(what_a_lost_reference_may_have_meant_is_not_freed)
{
	make_image("");
	damage_leak();
	unmendable[_i]();
	ck_assert_int_eq(lkvm("disk check --repair b.qcow2"), LKVM_STATUS_ERROR);
	ck_assert_ptr_nonnull(strstr(output, "leaked"));
	ck_assert_ptr_nonnull(strstr(output, "Damaged: "));
	ck_assert_int_eq(lkvm("disk check b.qcow2"), LKVM_STATUS_ERROR);
	ck_assert_ptr_nonnull(strstr(output, "leaked"));
}
END_TEST

START_TEST(a_snapshot_table_that_cannot_be_read_stops_all)
{
	uint64_t before;

	make_image("");
	damage_leak();
	before = number_at(refcounts_at());
	file_poke("b.qcow2", number_at(64) + 36, "\1\1\1\1", 4);
	lkvm_fails(LKVM_STATUS_ERROR, "snapshot table", "disk check --repair b.qcow2");
	ck_assert_uint_eq(number_at(refcounts_at()), before);
}
END_TEST

/* ---- others' images ---- */

static const char *const qemu_options[] = {
	"compat=0.10", "refcount_bits=1", "refcount_bits=2", "refcount_bits=64", "lazy_refcounts=on", "cluster_size=512",
};

START_TEST(images_of_qemu_img_are_whole)
{
	if (!have_qemu_img())
		return;
	make_raw("a", MIB(6));
	ck_assert_int_eq(shell("qemu-img convert -O qcow2 -o %s a b.qcow2", qemu_options[_i]), 0);
	lkvm_ok("disk check --json b.qcow2");
	ck_assert_ptr_nonnull(strstr(output, "\"corruptions\": 0"));
	put_number(number_at(48), 0);
	ck_assert_int_eq(lkvm("disk check b.qcow2"), LKVM_STATUS_ERROR);
	lkvm_ok("disk check --repair b.qcow2");
	ck_assert_int_eq(shell("qemu-img check -q b.qcow2 && qemu-img compare -q a b.qcow2"), 0);
}
END_TEST

START_TEST(bitmaps_and_external_data_files_are_counted)
{
	if (!have_qemu_img())
		return;
	make_raw("a", MIB(6));
	ck_assert_int_eq(shell("qemu-img convert -O qcow2 a b.qcow2 && qemu-img bitmap --add --enable b.qcow2 map &&"
			       "qemu-io -c 'write 0 3M' b.qcow2 >/dev/null"), 0);
	lkvm_ok("disk check b.qcow2");
	ck_assert_int_eq(shell("qemu-img create -q -f qcow2 -o data_file=data c.qcow2 6M && qemu-io -c 'write 0 3M' c.qcow2 >/dev/null"), 0);
	lkvm_ok("disk check c.qcow2");
}
END_TEST

START_TEST(formats_without_tables_have_nothing_to_check)
{
	make_raw("a", MIB(1));
	lkvm_ok("disk check a");
	lkvm_fails(LKVM_STATUS_ERROR, "no such file", "disk check nothing");
	lkvm_fails(LKVM_STATUS_USAGE, "too few", "disk check");
	driver_open("a");
	lkvm_fails(LKVM_STATUS_ERROR, "in use", "disk check --repair a");
}
END_TEST

/* ---- whatever the damage ---- */

START_TEST(random_damage_ends_in_an_answer)
{
	uint64_t state = (uint64_t)_i + 1;

	make_image(_i & 1 ? "-o cluster_size=512" : "-o cluster_size=4096,extended_l2=off");
	for (int round = 0; round < 6; round++) {
		uint64_t size = file_size("b.qcow2"), places[] = { l1_at(), number_at(48), refcounts_at(), entry_at(), number_at(64) };

		for (int i = 0; i < 3; i++) {
			uint64_t at = places[random_next(&state) % ARRAY_SIZE(places)] + random_next(&state) % 256 / 8 * 8;

			if (at < size)
				put_number(at, random_next(&state) % 2 ? (uint64_t)random_next(&state) << (random_next(&state) % 30) : number_at(at) ^
					   BIT(random_next(&state) % 64));
		}
		if (!lkvm("disk check --repair b.qcow2") && have_qemu_img())
			ck_assert_int_eq(shell("qemu-img check -q b.qcow2"), 0);
	}
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "check", disk_driver_setup, disk_driver_teardown);

	tcase_add_loop_test(tests, damage_is_found_and_mended, 0, (int)(ARRAY_SIZE(options) * ARRAY_SIZE(damages)));
	tcase_add_test(tests, a_check_without_repair_writes_nothing);
	tcase_add_loop_test(tests, what_a_lost_reference_may_have_meant_is_not_freed, 0, (int)ARRAY_SIZE(unmendable));
	tcase_add_test(tests, a_snapshot_table_that_cannot_be_read_stops_all);
	tcase_add_loop_test(tests, images_of_qemu_img_are_whole, 0, (int)ARRAY_SIZE(qemu_options));
	tcase_add_test(tests, bitmaps_and_external_data_files_are_counted);
	tcase_add_test(tests, formats_without_tables_have_nothing_to_check);
	tcase_add_loop_test(tests, random_damage_ends_in_an_answer, 0, 12);
}

int main(void)
{
	if (!have_qemu_img())
		printf("SKIP disk-check: comparisons with qemu-img, which isn't installed (scripts/deps test)\n");
	return suite_run("disk-check", add_tests);
}
