/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/qcow2*.c, writing: random requests against a model, several at once; then qemu-img checks and compares. */
#include "tests/unit/disk-driver.h"

#define DISK_BYTES	(MIB(6) - 1536)
#define SECTORS		(DISK_BYTES / 512)

static uint8_t *model;

static bool have_qemu_img(void)
{
	return !shell("command -v qemu-img >/dev/null && command -v qemu-io >/dev/null");
}

static const struct { const char *what, *options, *more; } images[] = {
	{ "plain", "", "" },
	{ "version 2", "-o compat=0.10", "" },
	{ "512-byte clusters", "-o cluster_size=512", "" },
	{ "4 KiB clusters", "-o cluster_size=4k", "" },
	{ "2 MiB clusters", "-o cluster_size=2M", "" },
	{ "extended L2", "-o extended_l2=on", "" },
	{ "extended L2, 16 KiB clusters", "-o extended_l2=on,cluster_size=16k", "" },
	{ "1-bit refcounts", "-o refcount_bits=1,cluster_size=512", "" },
	{ "2-bit refcounts", "-o refcount_bits=2,cluster_size=4k", "" },
	{ "64-bit refcounts", "-o refcount_bits=64,cluster_size=512", "" },
	{ "lazy refcounts", "-o lazy_refcounts=on", "" },
	{ "preallocated", "-o preallocation=metadata", "" },
	{ "backing", "-b base -F raw", "" },
	{ "backing, version 2", "-b base -F raw -o compat=0.10,cluster_size=4k", "" },
	{ "backing, extended L2", "-b base -F raw -o extended_l2=on", "" },
	{ "snapshot", "-o cluster_size=4k",
	  "qemu-io -t unsafe -c 'write -P 7 100k 3M' top.qcow2 && qemu-img snapshot -c one top.qcow2 && "
	  "qemu-io -t unsafe -c 'write -P 8 200k 500k' top.qcow2 && qemu-img snapshot -c two top.qcow2" },
	{ "snapshot, extended L2", "-o extended_l2=on",
	  "qemu-io -t unsafe -c 'write -P 7 100k 3M' -c 'write -z 150k 64k' top.qcow2 && qemu-img snapshot -c one top.qcow2" },
	{ "compressed", "-o cluster_size=4k", "qemu-io -t unsafe -c 'write -c -P 7 0 4k' -c 'write -c -P 9 4k 4k' -c 'write -c -P 7 1M 4k' "
	  "-c 'write -c -P 3 1028k 4k' top.qcow2" },
	{ "compressed, extended L2", "-o extended_l2=on", "qemu-io -t unsafe -c 'write -c -P 7 0 64k' -c 'write -c -P 9 64k 64k' top.qcow2" },
};

static void image_make(size_t kind)
{
	if (strstr(images[kind].options, "base"))
		ck_assert_int_eq(shell("truncate -s 5M base && qemu-io -t unsafe -f raw -c 'write -P 77 64k 3M' -c 'write -P 78 4500k 500k' base "
				       ">qemu.log 2>&1"), 0);
	ck_assert_int_eq(shell("qemu-img create -q -f qcow2 %s top.qcow2 %llu >qemu.log 2>&1", images[kind].options,
			       (unsigned long long)DISK_BYTES), 0);
	if (*images[kind].more)
		ck_assert_int_eq(shell("( %s ) >qemu.log 2>&1", images[kind].more), 0);
	ck_assert_int_eq(shell("qemu-img convert -O raw top.qcow2 before"), 0);
	{
		uint64_t size;

		model = file_read("before", &size);
		ck_assert_uint_eq(size, DISK_BYTES);
	}
}

/* ---- random requests ---- */

struct change {
	struct driver_request request;
	enum disk_op op;
	uint64_t at, length;
	uint8_t *data;
	struct iovec iov[3];
};

static uint64_t pick_length(uint64_t *state)
{
	uint32_t kind = random_next(state) % 10;

	return (kind < 5 ? random_next(state) % 16 + 1 : kind < 9 ? random_next(state) % 300 + 1 : random_next(state) % 2500 + 1) * 512ULL;
}

static void change_queue(struct change *change, uint64_t *state, uint64_t from, uint64_t room)
{
	uint32_t kind = random_next(state) % 20;
	uint64_t wanted = pick_length(state);

	ck_assert_uint_ge(room, 512);
	change->at = from + random_next(state) % (room / 512) * 512;
	change->length = MIN(wanted, from + room - change->at);
	change->op = kind < 10 ? DISK_WRITE : kind < 14 ? DISK_READ : kind < 16 ? DISK_DISCARD : kind < 19 ? DISK_WRITE_ZEROES : DISK_FLUSH;
	if (kind < 2) {
		/* whole clusters of any size, now and then */
		change->at = ALIGN_DOWN(change->at, 65536ULL);
		change->at = MAX(change->at, from);
		change->length = MIN(65536 * 3ULL, from + room - change->at);
	}
	change->data = malloc(change->length);
	memset(change->data, (int)random_next(state), change->length);
	change->iov[0] = (struct iovec){ change->data, change->length / 1536 * 512 };
	change->iov[1] = (struct iovec){ change->data + change->iov[0].iov_len, change->length - change->iov[0].iov_len };
	driver_queue(&change->request, change->op, change->op == DISK_FLUSH ? 0 : change->at, change->op == DISK_FLUSH ? 0 : change->length,
		     change->iov + !change->iov[0].iov_len, change->iov[0].iov_len ? 2 : 1);
	change->request.io.may_unmap = kind & 1;
}

static void change_check(struct change *change)
{
	ck_assert(change->request.done);
	ck_assert_msg(!change->request.result, "request %d: %d (%s)", change->op, change->request.result, driver_said);
	if (change->op == DISK_WRITE)
		memcpy(model + change->at, change->data, change->length);
	else if (change->op == DISK_WRITE_ZEROES)
		memset(model + change->at, 0, change->length);
	else if (change->op == DISK_READ)
		ck_assert_mem_eq(change->data, model + change->at, change->length);
	else if (change->op == DISK_DISCARD) {
		/* What is left of each sector is as it was, or zero. */
		static const uint8_t zeroes[512];

		ck_assert_int_eq(driver_run(DISK_READ, change->at, change->data, change->length), 0);
		for (uint64_t i = 0; i < change->length; i += 512)
			EXPECT(!memcmp(change->data + i, model + change->at + i, 512) || !memcmp(change->data + i, zeroes, 512),
			       "a sector that was discarded has other bytes");
		memcpy(model + change->at, change->data, change->length);
	}
	free(change->data);
}

/* Several at once: in ranges of their own, so that the model knows what comes of it, but not in clusters of their own. */
static void churn(uint64_t *state, unsigned int rounds)
{
	static struct change changes[8];

	for (unsigned int round = 0; round < rounds; round++) {
		unsigned int count = random_next(state) % 8 + 1;
		uint64_t room = ALIGN_DOWN(DISK_BYTES / count, 512ULL), near = random_next(state) % 2 ? 0 : room;

		/* half the rounds in a few clusters' space */
		if (!near && room > 16384)
			room = 16384;
		near = near ? 0 : random_next(state) % (DISK_BYTES / 512 - count * room / 512) * 512;
		for (unsigned int i = 0; i < count; i++)
			change_queue(&changes[i], state, near + i * room, room);
		disk_submit(driver_disk);
		disk_drain(driver_disk);
		for (unsigned int i = 0; i < count; i++)
			change_check(&changes[i]);
	}
}

static void verify(const char *what)
{
	uint8_t *seen = malloc(DISK_BYTES);
	int status;

	ck_assert_int_eq(driver_run(DISK_READ, 0, seen, DISK_BYTES), 0);
	for (uint64_t i = 0; i < DISK_BYTES; i += 512)
		EXPECT(!memcmp(seen + i, model + i, 512), "%s: the sector at %llu differs", what, (unsigned long long)i);
	free(seen);
	driver_close();
	ck_assert_msg(!driver_said[0], "%s", driver_said);
	unlink("model");
	file_poke("model", 0, model, DISK_BYTES);
	status = shell("qemu-img check top.qcow2 >check.log 2>&1");
	ck_assert_msg(!status, "%s: qemu-img check: %d: %s", what, status, (shell("head -5 %s/check.log >&2", folder_path), ""));
	ck_assert_msg(!shell("qemu-img compare -f raw -F qcow2 model top.qcow2 >check.log 2>&1"), "%s: qemu-img compare", what);
}

START_TEST(random_requests_leave_what_the_model_has)
{
	uint64_t state = (uint64_t)_i + 1;

	if (!have_qemu_img())
		return;
	image_make((size_t)_i % ARRAY_SIZE(images));
	for (unsigned int session = 0; session < 3; session++) {
		driver_open((size_t)_i < ARRAY_SIZE(images) ? "top.qcow2" : "top.qcow2,direct");
		churn(&state, 60);
		verify(images[(size_t)_i % ARRAY_SIZE(images)].what);
	}
	if (strstr(images[(size_t)_i % ARRAY_SIZE(images)].what, "snapshot")) {
		ck_assert_int_eq(shell("qemu-img snapshot -a one top.qcow2"), 0);
		ck_assert_int_eq(shell("qemu-io -c 'read -P 7 220k 300k' -c 'read -P 7 1M 1M' top.qcow2 | grep -c 'verification failed' "
				       "| grep -q 0"), 0);
	}
	free(model);
}
END_TEST

/* ---- particular things ---- */

START_TEST(a_discard_gives_clusters_back_and_they_are_used_again)
{
	uint8_t *data;
	uint64_t full;

	if (!have_qemu_img())
		return;
	data = malloc(MIB(4));
	image_make(0);
	driver_open("top.qcow2");
	memset(data, 5, MIB(4));
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, data, MIB(4)), 0);
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
	driver_close();
	full = file_size("top.qcow2");
	for (unsigned int i = 0; i < 4; i++) {
		driver_open("top.qcow2");
		ck_assert_int_eq(driver_run(DISK_DISCARD, 0, NULL, MIB(4)), 0);
		ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
		ck_assert_int_eq(driver_run(DISK_READ, 0, data, MIB(4)), 0);
		ck_assert_uint_eq(data[MIB(2)], 0);
		{
			struct stat status;

			ck_assert_int_eq(stat("top.qcow2", &status), 0);
			ck_assert_int_lt(status.st_blocks * 512, (int64_t)MIB(2));
		}
		memset(data, 6, MIB(4));
		ck_assert_int_eq(driver_run(DISK_WRITE, MIB(1), data, MIB(4)), 0);
		driver_close();
		ck_assert_uint_le(file_size("top.qcow2"), full + 65536);
	}
	ck_assert_int_eq(shell("qemu-img check -q top.qcow2"), 0);
	free(data);
	free(model);
}
END_TEST

/* With 512-byte clusters and 64-bit refcounts a block has 32 KiB, a cluster of the table 2 MiB. */
START_TEST(the_refcount_table_grows)
{
	uint8_t *data;

	if (!have_qemu_img())
		return;
	data = malloc(MIB(1));
	ck_assert_int_eq(shell("qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 top.qcow2 40M"), 0);
	driver_open("top.qcow2");
	for (unsigned int i = 0; i < 40; i++) {
		memset(data, (int)i + 1, MIB(1));
		ck_assert_int_eq(driver_run(DISK_WRITE, i * MIB(1), data, MIB(1)), 0);
	}
	driver_close();
	ck_assert_int_eq(shell("qemu-img check -q top.qcow2"), 0);
	driver_open("top.qcow2,ro");
	for (unsigned int i = 0; i < 40; i++) {
		ck_assert_int_eq(driver_run(DISK_READ, i * MIB(1), data, MIB(1)), 0);
		ck_assert_uint_eq(data[0], i + 1);
		ck_assert_uint_eq(data[MIB(1) - 1], i + 1);
	}
	free(data);
}
END_TEST

START_TEST(what_is_not_known_is_cleared_at_the_first_write_only)
{
	static const uint8_t bits[] = { 0x80, 0, 0, 0, 0, 0, 0, 1 };
	uint8_t data[512] = { 1 }, *bytes;
	uint64_t size;

	if (!have_qemu_img())
		return;
	image_make(0);
	file_poke("top.qcow2", 88, bits, 8);
	driver_open("top.qcow2");
	ck_assert_int_eq(driver_run(DISK_READ, 0, data, 512), 0);
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
	driver_close();
	bytes = file_read("top.qcow2", &size);
	ck_assert_mem_eq(bytes + 88, bits, 8);
	free(bytes);
	driver_open("top.qcow2");
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, data, 512), 0);
	driver_close();
	bytes = file_read("top.qcow2", &size);
	ck_assert_uint_eq(be64_load(bytes + 88), 0);
	free(bytes);
	free(model);
}
END_TEST

/* ---- marks ---- */

/* As QEMU leaves it when it writes refcounts lazily and dies: clusters in use are counted as free. */
static void make_dirty(void)
{
	uint8_t *data = malloc(MIB(1)), *bytes;
	uint64_t size, block;

	ck_assert_int_eq(shell("qemu-img create -q -f qcow2 -o lazy_refcounts=on top.qcow2 8M"), 0);
	driver_open("top.qcow2");
	memset(data, 5, MIB(1));
	ck_assert_int_eq(driver_run(DISK_WRITE, MIB(2), data, MIB(1)), 0);
	driver_close();
	bytes = file_read("top.qcow2", &size);
	block = be64_load(bytes + be64_load(bytes + 48));
	memset(bytes + block + 5 * 2, 0, 64);
	bytes[79] |= 1;
	file_poke("top.qcow2", 0, bytes, size);
	free(bytes);
	free(data);
}

START_TEST(an_image_that_was_not_closed_is_mended_when_it_is_to_be_written)
{
	uint8_t data[65536], *bytes;
	uint64_t size;

	if (!have_qemu_img())
		return;
	make_dirty();
	driver_open("top.qcow2,ro");
	driver_close();
	bytes = file_read("top.qcow2", &size);
	ck_assert_uint_eq(bytes[79] & 1, 1);
	free(bytes);
	driver_open("top.qcow2");
	ck_assert_ptr_nonnull(strstr(driver_said, "mended"));
	memset(data, 9, sizeof(data));
	for (unsigned int i = 0; i < 16; i++)
		ck_assert_int_eq(driver_run(DISK_WRITE, i * sizeof(data), data, sizeof(data)), 0);
	ck_assert_int_eq(driver_run(DISK_READ, MIB(3) - sizeof(data), data, sizeof(data)), 0);
	ck_assert_uint_eq(data[0], 5);
	driver_close();
	ck_assert_int_eq(shell("qemu-img check -q top.qcow2"), 0);
	ck_assert_int_eq(shell("qemu-io -c 'read -P 5 2M 1M' -c 'read -P 9 0 1M' top.qcow2 | grep -q 'verification failed'"), 1 << 8);
}
END_TEST

/* An L2 entry that leads onto the L1 table: with the first write that would go there nothing is written any more. */
START_TEST(a_contradiction_marks_the_image_corrupt)
{
	uint8_t data[512] = { 1 }, entry[8], *bytes;
	uint64_t size, l1;

	if (!have_qemu_img())
		return;
	ck_assert_int_eq(shell("qemu-img create -q -f qcow2 top.qcow2 8M"), 0);
	driver_open("top.qcow2");
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, data, 512), 0);
	ck_assert_int_eq(driver_run(DISK_WRITE, 65536, data, 512), 0);
	driver_close();
	bytes = file_read("top.qcow2", &size);
	l1 = be64_load(bytes + 40);
	be64_store(entry, l1 | 1ULL << 63);
	file_poke("top.qcow2", (be64_load(bytes + l1) & 0x00fffffffffffe00ULL) + 8, entry, 8);
	free(bytes);
	driver_open("top.qcow2");
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, data, 512), 0);
	ck_assert_int_eq(driver_run(DISK_WRITE, 65536, data, 512), -EIO);
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, data, 512), -EIO);
	ck_assert_int_eq(driver_run(DISK_DISCARD, 0, NULL, 65536), -EIO);
	ck_assert_int_eq(driver_run(DISK_READ, 0, data, 512), 0);
	ck_assert_uint_eq(data[0], 1);
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
	driver_close();
	driver_refused("top.qcow2", "marked corrupt");
	ck_assert_int_eq(shell("qemu-io -c 'write 0 512' top.qcow2 2>&1 | grep -q 'marked as corrupt\\|is corrupt'"), 0);
	driver_open("top.qcow2,ro");
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "model", disk_driver_setup, disk_driver_teardown);
	TCase *single = suite_case(suite, "single", disk_driver_setup, disk_driver_teardown);

	/* and a few with direct I/O; an engine makes no difference to all of them */
	tcase_add_loop_test(tests, random_requests_leave_what_the_model_has, engines_first() ? 0 : (int)ARRAY_SIZE(images) - 1,
			    (int)ARRAY_SIZE(images) + 2);
	if (!engines_first())
		return;
	tcase_add_test(single, a_discard_gives_clusters_back_and_they_are_used_again);
	tcase_add_test(single, the_refcount_table_grows);
	tcase_add_test(single, an_image_that_was_not_closed_is_mended_when_it_is_to_be_written);
	tcase_add_test(single, a_contradiction_marks_the_image_corrupt);
	tcase_add_test(single, what_is_not_known_is_cleared_at_the_first_write_only);
}
SUITE_MAIN_ENGINES("qcow2-write", add_tests)
