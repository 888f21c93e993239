/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * disk/qcow2-order.c by force: a run is recorded at the file, then the power is cut at every one of its writes, with
 * what wasn't flushed lost, torn or reordered. Each image must be whole but for leaks, and each sector must have what
 * the guest's last flush saw, or something written to it later.
 */
#include "kvm/image.h"
#include "tests/unit/disk-driver.h"
#include "tests/unit/qcow2-image.h"

#define DISK_BYTES	KIB(384)
#define SECTORS		(DISK_BYTES / 512)
#define IMAGE_MAX	MIB(4)
#define ALLOWED		40u

/* ---- the record ---- */

enum happening { FILE_WRITE, FILE_ZEROES, FILE_RESIZE, FILE_FLUSH, GUEST_VALUES, GUEST_FLUSHED, GUEST_THROUGH };

struct event {
	enum happening what;
	uint64_t at, length;
	uint8_t *data;			/* GUEST_VALUES: a value for each sector */
	bool fua, durable;		/* durable: that, and the guest's request was done */
};

static struct event *events;
static size_t event_count, event_room;

static struct event *happen(enum happening what, uint64_t at, uint64_t length)
{
	if (event_count == event_room) {
		event_room = event_room ? 2 * event_room : 1024;
		events = realloc(events, event_room * sizeof(events[0]));
	}
	events[event_count] = (struct event){ .what = what, .at = at, .length = length };
	return &events[event_count++];
}

static int record(struct disk_file_tap *tap, enum disk_op op, uint64_t offset, uint64_t length, const struct iovec *iov,
		  unsigned int iov_count, bool fua)
{
	struct event *event;

	(void)tap;
	if (op == DISK_FLUSH) {
		happen(FILE_FLUSH, 0, 0);
	} else if (op == DISK_WRITE) {
		event = happen(FILE_WRITE, offset, length);
		event->data = malloc(length);
		event->fua = fua;
		for (unsigned int i = 0, at = 0; i < iov_count; at += (unsigned int)iov[i].iov_len, i++)
			memcpy(event->data + at, iov[i].iov_base, iov[i].iov_len);
	} else {
		happen(length ? FILE_ZEROES : FILE_RESIZE, offset, length);
	}
	return 0;
}

static struct disk_file_tap tap = { .change = record };

/* ---- the run ---- */

static uint32_t guest[SECTORS];		/* the value of each sector as the guest would read it now */

static void guest_values(uint64_t at, uint64_t length)
{
	struct event *event = happen(GUEST_VALUES, at, length);

	event->data = malloc(length / 512 * 4);
	ck_assert_ptr_nonnull(event->data);
	memcpy(event->data, &guest[at / 512], length / 512 * 4);
}

static void guest_write(uint64_t at, uint64_t length, uint32_t value, bool fua)
{
	static uint32_t data[DISK_BYTES / 4];
	const struct iovec iov = { data, length };
	struct driver_request request;

	for (uint64_t i = 0; i < length / 4; i++)
		data[i] = value;
	for (uint64_t i = 0; i < length / 512; i++)
		guest[at / 512 + i] = value;
	guest_values(at, length);
	driver_queue(&request, DISK_WRITE, at, length, &iov, 1);
	request.io.fua = fua;
	disk_submit(driver_disk);
	disk_drain(driver_disk);
	ck_assert_int_eq(request.result, 0);
	if (fua)
		happen(GUEST_THROUGH, at, length);
}

static void guest_zero(uint64_t at, uint64_t length, bool discard, bool may_unmap, bool fua)
{
	static uint32_t data[DISK_BYTES / 4];
	struct driver_request request;

	memset(&guest[at / 512], 0, length / 512 * sizeof(uint32_t));
	guest_values(at, length);
	driver_queue(&request, discard ? DISK_DISCARD : DISK_WRITE_ZEROES, at, length, NULL, 0);
	request.io.may_unmap = may_unmap;
	request.io.fua = fua;
	disk_submit(driver_disk);
	disk_drain(driver_disk);
	ck_assert_int_eq(request.result, 0);
	if (fua && !discard)
		happen(GUEST_THROUGH, at, length);
	if (!discard)
		return;
	/* What a discard leaves is the disk's choice. */
	ck_assert_int_eq(driver_run(DISK_READ, at, data, length), 0);
	for (uint64_t i = 0; i < length / 512; i++)
		guest[at / 512 + i] = data[i * 128];
	guest_values(at, length);
}

/* @through: now and then, for one request */
static void run(uint64_t *state, unsigned int steps, bool through)
{
	for (unsigned int i = 0; i < steps; i++) {
		uint32_t kind = random_next(state) % 20;
		uint64_t at = random_next(state) % SECTORS, room = SECTORS - at, length = random_next(state) % 24 + 1;

		bool fua = through && random_next(state) % 3 == 0;

		if (kind == 0)
			length = 200;
		length = MIN(length, room) * 512;
		if (kind < 12) {
			guest_write(at * 512, length, i + 1000, fua);
		} else if (kind < 16) {
			guest_zero(at * 512, length, kind < 14, kind & 1, fua);
		} else {
			ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
			happen(GUEST_FLUSHED, 0, 0);
		}
	}
}

/* ---- the medium ---- */

struct medium {
	uint8_t *bytes;
	uint64_t size;
};

static void medium_extend(struct medium *medium, uint64_t size)
{
	ck_assert_uint_le(size, IMAGE_MAX);
	if (size > medium->size)
		memset(medium->bytes + medium->size, 0, size - medium->size);
	medium->size = size;
}

enum luck { NOTHING, EVERYTHING, SOME, TORN };

/* What of a change reaches the medium that was not flushed. */
static void medium_apply(struct medium *medium, const struct event *event, enum luck luck, uint64_t *state)
{
	uint64_t end = event->at + event->length;
	bool lost = luck == NOTHING || (luck == SOME && random_next(state) % 2);

	if (event->what == FILE_RESIZE) {
		/* a file that is cut stays longer at worst; one that grows may be short */
		if (!lost)
			medium_extend(medium, event->at);
		return;
	}
	if (lost)
		return;
	if (end > medium->size)
		medium_extend(medium, end);
	for (uint64_t at = event->at; at < end;) {
		uint64_t part = MIN(512 - at % 512, end - at);

		if (luck != TORN || random_next(state) % 2) {
			if (event->what == FILE_WRITE)
				memcpy(medium->bytes + at, event->data + (at - event->at), part);
			else
				memset(medium->bytes + at, 0, part);
		}
		at += part;
	}
}

/* ---- what each sector may be ---- */

static uint32_t (*allowed)[ALLOWED];
static unsigned int allowed_count[SECTORS];
static uint32_t latest[SECTORS];

static void allow(uint64_t sector, uint32_t value)
{
	for (unsigned int i = 0; i < allowed_count[sector]; i++)
		if (allowed[sector][i] == value)
			return;
	ck_assert_uint_lt(allowed_count[sector], ALLOWED);
	allowed[sector][allowed_count[sector]++] = value;
}

static void allow_latest(uint64_t at, uint64_t length)
{
	for (uint64_t i = at / 512; i < (at + length) / 512; i++) {
		allowed_count[i] = 0;
		allow(i, latest[i]);
	}
}

static void check_sectors(struct qcow2_image *image, size_t cut)
{
	for (uint64_t i = 0; i < SECTORS; i++) {
		static const uint8_t zeroes[512];
		const uint8_t *sector = qcow2_image_sector(image, i * 512);
		uint32_t first, last;
		bool found = false;

		sector = sector ? sector : zeroes;
		memcpy(&first, sector, 4);
		memcpy(&last, sector + 508, 4);
		for (unsigned int n = 0; n < allowed_count[i]; n++)
			found |= allowed[i][n] == first;
		EXPECT(found && first == last, "cut at event %zu: sector %llu is %u, and was %u or later", cut,
		       (unsigned long long)i, first, allowed[i][0]);
	}
}

/* ---- cutting ---- */

/* By qemu-img and by lkvm disk check's code. */
static void check_by_others(const struct qcow2_image *image, size_t cut)
{
	struct disk_options options = { .path = (char *)(uintptr_t)"cut", .format = (char *)(uintptr_t)"qcow2", .read_only = true, .alone = true };
	struct image opened;
	struct image_check found = { .checked = false };
	int status;

	unlink("cut");
	file_poke("cut", 0, image->bytes, image->size);
	status = shell("qemu-img check -f qcow2 cut >check.log 2>&1");
	/* 3: leaks */
	ck_assert_msg(!status || status == 3 << 8, "cut at event %zu: qemu-img check says %d", cut, status >> 8);
	ck_assert_int_eq(image_open(&opened, &options), 0);
	ck_assert_int_eq(image_check(&opened, false, &found), 0);
	ck_assert_msg(!found.corruptions, "cut at event %zu: lkvm disk check counts %llu", cut, (unsigned long long)found.corruptions);
	ck_assert_msg(!!found.leaks == (status == 3 << 8), "cut at event %zu: %llu leaks", cut, (unsigned long long)found.leaks);
	(void)image_close(&opened);
}

static void check_cut(const struct medium *durable, size_t first, size_t cut, enum luck luck, uint64_t *state, struct qcow2_image *image)
{
	struct medium medium = { image->bytes, durable->size };

	memcpy(medium.bytes, durable->bytes, durable->size);
	for (size_t i = first; i <= cut; i++)
		if (events[i].what <= FILE_RESIZE)
			medium_apply(&medium, &events[i], events[i].durable ? EVERYTHING : luck, state);
	image->size = medium.size;
	qcow2_image_check(image);
	ck_assert_msg(!image->wrong[0], "cut at event %zu (%d): %s", cut, luck, image->wrong);
	check_sectors(image, cut);
}

static void cut_everywhere(struct medium *durable, uint64_t *state, struct qcow2_image *image)
{
	size_t first = 0;

	for (size_t cut = 0; cut < event_count; cut++) {
		const struct event *event = &events[cut];

		if (event->what == GUEST_VALUES) {
			for (uint64_t i = 0; i < event->length / 512; i++) {
				memcpy(&latest[event->at / 512 + i], event->data + i * 4, 4);
				allow(event->at / 512 + i, latest[event->at / 512 + i]);
			}
		} else if (event->what == GUEST_FLUSHED) {
			allow_latest(0, DISK_BYTES);
			check_cut(durable, first, cut, NOTHING, state, image);
		} else if (event->what == GUEST_THROUGH) {
			allow_latest(event->at, event->length);
			for (size_t i = first; i < cut; i++)
				events[i].durable = events[i].fua;
			check_cut(durable, first, cut, NOTHING, state, image);
		} else if (event->what == FILE_FLUSH) {
			for (; first < cut; first++)
				if (events[first].what <= FILE_RESIZE)
					medium_apply(durable, &events[first], EVERYTHING, state);
		} else {
			for (enum luck luck = NOTHING; luck <= TORN; luck++)
				check_cut(durable, first, cut, luck, state, image);
		}
		if (cut % (event_count / 6 + 1) == 5)
			check_by_others(image, cut);
	}
}

/* ---- tests ---- */

static const struct { const char *options, *more; } images[] = {
	{ "-o cluster_size=4k", "" },
	{ "-o cluster_size=512", "" },
	{ "-o cluster_size=512,refcount_bits=64", "" },
	{ "-o cluster_size=16k,extended_l2=on", "" },
	{ "-o cluster_size=4k -b base -F raw", "" },
	{ "-o cluster_size=16k,extended_l2=on -b base -F raw", "" },
	{ "-o cluster_size=4k,compat=0.10", "" },
	{ "-o cluster_size=4k", "qemu-img snapshot -c one top.qcow2" },
	{ "-o cluster_size=512,refcount_bits=2", "qemu-img snapshot -c one top.qcow2" },
};

/* An image in which half of all is there. */
static void image_make(size_t kind)
{
	static uint32_t base[DISK_BYTES / 4];

	for (uint64_t i = 0; i < DISK_BYTES / 4; i++)
		base[i] = (uint32_t)(i / 128) + 1;
	file_poke("base", 0, base, DISK_BYTES - 65536);
	ck_assert_int_eq(shell("qemu-img create -q -f qcow2 %s top.qcow2 %llu >qemu.log 2>&1", images[kind].options,
			       (unsigned long long)DISK_BYTES), 0);
	driver_open("top.qcow2");
	for (uint64_t at = 0; at < DISK_BYTES; at += 65536)
		ck_assert_int_eq(driver_run(DISK_WRITE, at, base, 24576), 0);
	driver_close();
	if (*images[kind].more)
		ck_assert_int_eq(shell("%s", images[kind].more), 0);
}

START_TEST(a_power_cut_at_any_write_costs_leaks_at_most)
{
	static uint32_t seen[DISK_BYTES / 4];
	size_t kind = (size_t)_i % ARRAY_SIZE(images);
	struct qcow2_image image = { .bytes = NULL };
	struct medium durable = { .bytes = NULL };
	uint64_t state = (uint64_t)_i * 31 + 5;
	uint8_t *bytes;

	if (shell("command -v qemu-img >/dev/null"))
		return;
	image.bytes = malloc(IMAGE_MAX);
	durable.bytes = malloc(IMAGE_MAX);
	image_make(kind);
	bytes = file_read("top.qcow2", &durable.size);
	memcpy(durable.bytes, bytes, durable.size);
	free(bytes);
	if (strstr(images[kind].options, "base"))
		image.backing = file_read("base", &image.backing_size);
	driver_open("top.qcow2");
	ck_assert_int_eq(driver_run(DISK_READ, 0, seen, DISK_BYTES), 0);
	allowed = calloc(SECTORS, sizeof(allowed[0]));
	for (uint64_t i = 0; i < SECTORS; i++)
		latest[i] = guest[i] = seen[i * 128];
	allow_latest(0, DISK_BYTES);
	driver_disk->file->tap = &tap;

	run(&state, 120, (size_t)_i >= ARRAY_SIZE(images));
	driver_close();

	cut_everywhere(&durable, &state, &image);
	ck_assert_uint_gt(event_count, 200);
	for (size_t i = 0; i < event_count; i++)
		free(events[i].data);
	free(events);
	free(allowed);
	free(image.bytes);
	free(durable.bytes);
	free((void *)(uintptr_t)image.backing);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "power cuts", disk_driver_setup, disk_driver_teardown);

	tcase_add_loop_test(tests, a_power_cut_at_any_write_costs_leaks_at_most, 0, 2 * (int)ARRAY_SIZE(images));
}
SUITE_MAIN("qcow2-crash", add_tests)
