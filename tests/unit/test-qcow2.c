/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/qcow2*.c, reading: images that qemu-img made read as qemu-img reads them; what is hostile is refused. */
#include "tests/unit/disk-driver.h"

#include "disk/compression.h"

static bool have_qemu_img(void)
{
	return !shell("command -v qemu-img >/dev/null && command -v qemu-io >/dev/null");
}

/* ---- as qemu-img reads them ---- */

/* Each line makes top.qcow2 in the current folder; $S stands for qemu-io's commands below. */
static const struct { const char *what, *make; } images[] = {
	{ "plain", "qemu-img create -q -f qcow2 top.qcow2 5M && qemu-io -c \"$S\" top.qcow2" },
	{ "version 2", "qemu-img create -q -f qcow2 -o compat=0.10 top.qcow2 5M && qemu-io -c \"$S\" top.qcow2" },
	{ "512-byte clusters", "qemu-img create -q -f qcow2 -o cluster_size=512 top.qcow2 5M && qemu-io -c \"$S\" top.qcow2" },
	{ "4 KiB clusters", "qemu-img create -q -f qcow2 -o cluster_size=4k top.qcow2 5M && qemu-io -c \"$S\" top.qcow2" },
	{ "2 MiB clusters", "qemu-img create -q -f qcow2 -o cluster_size=2M top.qcow2 5M && qemu-io -c \"$S\" top.qcow2" },
	{ "extended L2", "qemu-img create -q -f qcow2 -o extended_l2=on top.qcow2 5M && qemu-io -c \"$S\" top.qcow2" },
	{ "preallocated", "qemu-img create -q -f qcow2 -o preallocation=metadata top.qcow2 5M && qemu-io -c \"$S\" top.qcow2" },
	{ "zero clusters", "qemu-img create -q -f qcow2 top.qcow2 5M && qemu-io -c \"$S\" top.qcow2 && "
		"qemu-io -c 'write -z 64k 512k' -c 'write -z -u 2M 256k' -c 'discard 3M 128k' top.qcow2" },
	{ "compressed by zlib", "qemu-img create -q -f raw r 5M && qemu-io -f raw -c \"$S\" r && "
		"qemu-img convert -c -O qcow2 r top.qcow2 && qemu-io -c 'write -P 9 100k 3k' top.qcow2" },
	{ "compressed, 4 KiB clusters", "qemu-img create -q -f raw r 5M && qemu-io -f raw -c \"$S\" r && "
		"qemu-img convert -c -O qcow2 -o cluster_size=4k r top.qcow2" },
	{ "compressed, extended L2", "qemu-img create -q -f raw r 5M && qemu-io -f raw -c \"$S\" r && "
		"qemu-img convert -c -O qcow2 -o extended_l2=on r top.qcow2 && qemu-io -c 'write -P 9 100k 3k' top.qcow2" },
	{ "raw backing", "qemu-img create -q -f raw base 4M && qemu-io -f raw -c 'write -P 77 0 4M' base && "
		"qemu-img create -q -f qcow2 -b base -F raw top.qcow2 5M && qemu-io -c \"$S\" top.qcow2" },
	{ "extended L2 over raw", "qemu-img create -q -f raw base 4M && qemu-io -f raw -c 'write -P 77 0 4M' base && "
		"qemu-img create -q -f qcow2 -o extended_l2=on -b base -F raw top.qcow2 5M && qemu-io -c \"$S\" top.qcow2 && "
		"qemu-io -c 'write -z 5k 9k' -c 'write -z 128k 64k' -c 'discard 192k 64k' top.qcow2" },
	{ "three in a chain", "qemu-img create -q -f raw base 3M && qemu-io -f raw -c 'write -P 77 0 3M' base && "
		"qemu-img create -q -f qcow2 -b base -F raw mid.qcow2 4M && qemu-io -c 'write -P 3 300k 900k' -c 'write -P 4 3500k 100k' mid.qcow2 && "
		"qemu-img create -q -f qcow2 -o cluster_size=4k -b mid.qcow2 -F qcow2 top.qcow2 5M && qemu-io -c \"$S\" top.qcow2" },
	{ "zero over backing", "qemu-img create -q -f raw base 5M && qemu-io -f raw -c 'write -P 77 0 5M' base && "
		"qemu-img create -q -f qcow2 -b base -F raw top.qcow2 && qemu-io -c 'write -z 1M 1M' -c 'discard 3M 1M' top.qcow2" },
	{ "compressed backing", "qemu-img create -q -f raw r 5M && qemu-io -f raw -c \"$S\" r && "
		"qemu-img convert -c -O qcow2 r base.qcow2 && qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2 6M && "
		"qemu-io -c 'write -P 9 100k 3k' top.qcow2" },
	{ "a snapshot", "qemu-img create -q -f qcow2 top.qcow2 5M && qemu-io -c \"$S\" top.qcow2 && "
		"qemu-img snapshot -c one top.qcow2 && qemu-io -c 'write -P 8 10k 900k' top.qcow2" },
	{ "an external data file", "qemu-img create -q -f qcow2 -o data_file=data.raw top.qcow2 5M && qemu-io -c \"$S\" top.qcow2" },
	{ "lazy refcounts", "qemu-img create -q -f qcow2 -o lazy_refcounts=on top.qcow2 5M && qemu-io -c \"$S\" top.qcow2" },
	{ "one-bit refcounts", "qemu-img create -q -f qcow2 -o refcount_bits=1 top.qcow2 5M && qemu-io -c \"$S\" top.qcow2" },
	{ "an odd size", "qemu-img create -q -f qcow2 top.qcow2 5242368 && qemu-io -c \"$S\" top.qcow2" },
	{ "compressed by zstd", "qemu-img create -q -f raw r 5M && qemu-io -f raw -c \"$S\" r && "
		"qemu-img convert -c -O qcow2 -o compression_type=zstd r top.qcow2" },
};

static const char script[] =
	"write -P 1 0 1k' -c 'write -P 2 3k 130k' -c 'write -P 3 1000k 24k' -c 'write -P 4 1M 512' -c 'write -P 5 2047k 2k' "
	"-c 'write -P 6 3M 200k' -c 'write -P 7 5118k 1k";

/* Runs @make with the script, quoted, in the place of "$S", and without waiting for the medium. */
static void image_make(const char *make)
{
	char command[2048], *at = command;

	for (; *make; make++) {
		if (!strncmp(make, "\"$S\"", 4)) {
			at += snprintf(at, sizeof(command) - (size_t)(at - command), "'%s'", script);
			make += 3;
		} else if (!strncmp(make, "qemu-io ", 8)) {
			at += snprintf(at, sizeof(command) - (size_t)(at - command), "qemu-io -t unsafe ");
			make += 7;
		} else {
			*at++ = *make;
		}
	}
	*at = 0;
	ck_assert_msg(!shell("( %s ) >qemu.log 2>&1", command), "%s", command);
}

START_TEST(every_kind_reads_as_qemu_img_reads_it)
{
	uint8_t *expected, *seen;
	uint64_t size, state = 7;

	if (!have_qemu_img() || (strstr(images[_i].what, "zstd") && !disk_compression(1)))
		return;
	image_make(images[_i].make);
	ck_assert_int_eq(shell("qemu-img convert -O raw top.qcow2 expected"), 0);
	expected = file_read("expected", &size);
	ck_assert_uint_ge(size, 512);
	seen = malloc(size);
	driver_open("top.qcow2,ro");
	ck_assert_uint_eq(disk_info(driver_disk)->size, size);
	/* At once, then in pieces that begin and end anywhere. */
	ck_assert_int_eq(driver_run(DISK_READ, 0, seen, size), 0);
	ck_assert_mem_eq(seen, expected, size);
	for (unsigned int i = 0; i < 300; i++) {
		uint64_t at = random_next(&state) % (size / 512) * 512, room = size - at;
		uint64_t length = MIN((random_next(&state) % 300 + 1) * 512ULL, room);

		memset(seen, 0xa5, length);
		ck_assert_int_eq(driver_run(DISK_READ, at, seen, length), 0);
		ck_assert_msg(!memcmp(seen, expected + at, length), "%s: %llu bytes at %llu differ", images[_i].what,
			      (unsigned long long)length, (unsigned long long)at);
	}
	free(expected);
	free(seen);
}
END_TEST

START_TEST(many_segments_and_many_requests_at_once)
{
	enum { COUNT = 64, SEGMENTS = 7 };
	static struct driver_request requests[COUNT];
	static struct iovec iov[COUNT][SEGMENTS];
	uint8_t *expected, *seen;
	uint64_t size;

	if (!have_qemu_img())
		return;
	image_make(images[13].make);
	ck_assert_int_eq(shell("qemu-img convert -O raw top.qcow2 expected"), 0);
	expected = file_read("expected", &size);
	seen = calloc(1, size);
	driver_open("top.qcow2,ro");
	for (unsigned int i = 0; i < COUNT; i++) {
		uint64_t at = i * 65536ULL, length = 65536;

		for (unsigned int n = 0; n < SEGMENTS; n++) {
			size_t part = n == SEGMENTS - 1 ? length : (n * 1717u + 1) % 13000;

			iov[i][n] = (struct iovec){ seen + at, part };
			at += part;
			length -= part;
		}
		driver_queue(&requests[i], DISK_READ, i * 65536ULL, 65536, iov[i], SEGMENTS);
	}
	disk_submit(driver_disk);
	disk_drain(driver_disk);
	for (unsigned int i = 0; i < COUNT; i++)
		ck_assert(requests[i].done && !requests[i].result);
	ck_assert_mem_eq(seen, expected, COUNT * 65536);
	free(expected);
	free(seen);
}
END_TEST

/* Two states, one after the disk grew; the second's name is the first one's number. */
static const char *const with_snapshots[] = {
	"qemu-img create -q -f qcow2 top.qcow2 5M && qemu-io -c \"$S\" top.qcow2 && qemu-img snapshot -c one top.qcow2 && "
	"qemu-io -c 'write -P 8 10k 900k' -c 'discard 3M 128k' top.qcow2 && qemu-img snapshot -c 7 top.qcow2 && "
	"qemu-io -c 'write -P 9 0 1M' top.qcow2",
	"qemu-img create -q -f qcow2 -o extended_l2=on top.qcow2 5M && qemu-io -c \"$S\" top.qcow2 && qemu-img snapshot -c one top.qcow2 && "
	"qemu-io -c 'write -P 8 10k 900k' -c 'write -z 2M 5k' top.qcow2 && qemu-img resize -q top.qcow2 7M && "
	"qemu-io -c 'write -P 3 6M 1M' top.qcow2 && qemu-img snapshot -c 7 top.qcow2 && qemu-io -c 'write -P 9 0 1M' top.qcow2",
	"qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=4k top.qcow2 5M && qemu-io -c \"$S\" top.qcow2 && "
	"qemu-img snapshot -c one top.qcow2 && qemu-img snapshot -c 7 top.qcow2 && qemu-io -c 'write -P 8 10k 900k' top.qcow2",
};

/* qemu-img gives every snapshot the size that the disk has now: what is there beyond it doesn't count. */
static void reads_as(const char *text, const char *expected_path, uint64_t size)
{
	uint64_t expected_size;
	uint8_t *expected = file_read(expected_path, &expected_size), *seen = malloc(size);

	ck_assert_ptr_nonnull(seen);
	driver_open(text);
	ck_assert(disk_info(driver_disk)->read_only);
	ck_assert_uint_eq(disk_info(driver_disk)->size, size);
	ck_assert_uint_ge(expected_size, size);
	ck_assert_int_eq(driver_run(DISK_READ, 0, seen, size), 0);
	ck_assert_mem_eq(seen, expected, size);
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, seen, 512), -EROFS);
	driver_close();
	free(expected);
	free(seen);
}

START_TEST(a_snapshot_reads_as_the_disk_was)
{
	uint64_t second = _i == 1 ? MIB(7) : MIB(5);

	if (!have_qemu_img())
		return;
	image_make(with_snapshots[_i]);
	ck_assert_int_eq(shell("qemu-img convert -O raw -l snapshot.name=one top.qcow2 one && "
			       "qemu-img convert -O raw -l snapshot.name=7 top.qcow2 seven"), 0);
	reads_as("top.qcow2,snapshot-name=one", "one", MIB(5));
	reads_as("top.qcow2,snapshot-name=7", "seven", second);
	/* by number, where no name is such */
	reads_as("top.qcow2,snapshot-name=1", "one", MIB(5));
	reads_as("top.qcow2,snapshot-name=2,format=qcow2,direct", "seven", second);
	ck_assert_int_eq(shell("qemu-img check -q top.qcow2"), 0);
	driver_refused("top.qcow2,snapshot-name=two", "no snapshot 'two'");
	driver_refused("one,snapshot-name=one", "no snapshots");
}
END_TEST

/* ---- refusals ---- */

/* A small image of our own, so that these run everywhere: header, refcount table and block, L1. */
static void small_image_write(const char *path)
{
	static uint8_t bytes[4 * 65536];
	static const uint8_t header[] = {
		'Q', 'F', 'I', 0xfb, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16,
		0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0,
		0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0,
		[99] = 4, [103] = 104,
	};

	memset(bytes, 0, sizeof(bytes));
	memcpy(bytes, header, sizeof(header));
	be64_store(bytes + 65536, 2 * 65536);
	for (unsigned int i = 0; i < 4; i++)
		bytes[2 * 65536 + 2 * i + 1] = 1;
	unlink(path);
	file_poke(path, 0, bytes, sizeof(bytes));
}

static const struct { uint64_t at; unsigned int length; const char *bytes, *because; } broken_headers[] = {
	{ 4, 4, "\0\0\0\4", "version 4" },
	{ 4, 4, "\0\0\0\1", "version 1" },
	{ 20, 4, "\0\0\0\10", "clusters of 2^8" },
	{ 20, 4, "\0\0\0\26", "clusters of 2^22" },
	{ 20, 4, "\377\377\377\377", "clusters of 2^" },
	{ 24, 8, "\377\377\377\377\377\377\377\377", "a disk of" },
	{ 24, 8, "\0\0\0\0\0\0\0\0", "no size" },
	{ 24, 8, "\0\0\1\0\0\0\0\0", "its L1 table has" },
	{ 32, 4, "\0\0\0\1", "AES" },
	{ 32, 4, "\0\0\0\2", "LUKS" },
	{ 36, 4, "\377\377\377\377", "an L1 table of" },
	{ 36, 4, "\0\0\0\0", "its L1 table has 0" },
	{ 36, 4, "\0\1\0\0", "L1 table lies" },
	{ 40, 8, "\0\0\0\0\0\3\0\1", "L1 table lies" },
	{ 40, 8, "\0\0\0\0\0\0\0\0", "L1 table lies" },
	{ 40, 8, "\377\377\377\377\377\377\0\0", "L1 table lies" },
	{ 48, 8, "\0\0\0\0\0\4\0\0", "refcount table lies" },
	{ 48, 8, "\200\0\0\0\0\0\0\0", "refcount table lies" },
	{ 56, 4, "\0\0\0\0", "a refcount table of 0" },
	{ 56, 4, "\377\377\377\377", "a refcount table of 4294967295" },
	{ 60, 4, "\377\377\377\377", "snapshots" },
	{ 60, 12, "\0\0\0\1\0\0\0\0\0\0\0\1", "snapshot table" },
	{ 72, 8, "\0\0\0\0\0\0\0\40", "bit 5" },
	{ 72, 8, "\200\0\0\0\0\0\0\0", "bit 63" },
	{ 72, 8, "\0\0\0\0\0\0\0\10", "compression type 0" },
	{ 72, 8, "\0\0\0\0\0\0\0\4", "data file has no name" },
	{ 96, 4, "\0\0\0\7", "refcounts of 2^7" },
	{ 100, 4, "\0\0\0\140", "a header of 96" },
	{ 100, 4, "\0\0\0\151", "a header of 105" },
	{ 100, 4, "\377\377\377\370", "a header of" },
	{ 104, 8, "\0\0\0\1\377\377\377\377", "extension of 4294967295" },
	{ 8, 12, "\0\0\0\0\0\1\0\0\0\0\0\4", "name of 4 bytes" },
	{ 8, 12, "\377\377\377\377\377\377\377\377\0\0\0\4", "name of 4 bytes" },
	{ 8, 12, "\0\0\0\0\0\0\2\0\0\0\4\0", "name of 1024 bytes" },
	{ 8, 12, "\0\0\0\0\0\0\2\0\0\0\0\4", "no string" },
};

START_TEST(a_broken_header_is_refused_by_what_is_wrong)
{
	small_image_write("image");
	driver_open("image,ro");
	driver_close();
	file_poke("image", broken_headers[_i].at, broken_headers[_i].bytes, broken_headers[_i].length);
	driver_refused("image,ro", broken_headers[_i].because);
	driver_refused("image,ro,format=qcow2", broken_headers[_i].because);
}
END_TEST

START_TEST(an_unknown_feature_is_refused_by_its_own_name)
{
	static const char table[] = "\x68\x03\xf8\x57\0\0\0\x30\0\x07time travel\0\0\0\0";

	small_image_write("image");
	file_poke("image", 104, table, sizeof(table) - 1);
	file_poke("image", 79, "\x80", 1);
	driver_refused("image,ro", "'time travel'");
}
END_TEST

START_TEST(a_damaged_image_can_be_read_only)
{
	small_image_write("image");
	file_poke("image", 79, "\2", 1);
	driver_refused("image", "marked corrupt");
	driver_open("image,ro");
}
END_TEST

START_TEST(a_cut_file_is_refused)
{
	static const uint64_t sizes[] = { 8, 72, 104, 65536, 3 * 65536 };

	small_image_write("image");
	ck_assert_int_eq(truncate("image", (off_t)sizes[_i]), 0);
	ck_assert_int_lt(driver_try_open("image,ro"), 0);
}
END_TEST

/* L2 entries that lead nowhere are I/O errors of their range, said once. */
static const struct { uint64_t l1, entry; int result; } broken_entries[] = {
	{ 0x40001, 0, 0 }, { 0x40200, 0, -EIO }, { 1ULL << 55, 0, -EIO }, { 0x40000, 0x8000000000050200ULL, -EIO },
	{ 0x40000, 0x80fffffffffe0000ULL, 0 }, { 0x40000, 0x4000000000000000ULL, -EIO }, { 0x40000, 0x7fffffffffffffffULL, -EIO },
	{ 0x40000, 0x4000000000050000ULL, -EIO }, { 0x40000, 0x8000000000000000ULL, 0 },
};

START_TEST(an_entry_that_leads_nowhere_is_an_error_of_its_range)
{
	uint8_t entry[8], data[512];

	small_image_write("image");
	ck_assert_int_eq(truncate("image", 0x60000), 0);
	be64_store(entry, broken_entries[_i].l1);
	file_poke("image", 0x30000, entry, 8);
	be64_store(entry, broken_entries[_i].entry);
	file_poke("image", 0x40000, entry, 8);
	driver_open("image,ro");
	ck_assert_int_eq(driver_run(DISK_READ, 0, data, 512), broken_entries[_i].result);
	if (broken_entries[_i].result)
		ck_assert_ptr_nonnull(strstr(driver_said, "image"));
}
END_TEST

/* ---- chains ---- */

/* An image whose backing file is @name, of format @format unless that is NULL. */
static void overlay_write(const char *path, const char *name, const char *format)
{
	uint8_t field[12] = { 0 };

	small_image_write(path);
	if (format) {
		be32_store(field, 0xe2792aca);
		be32_store(field + 4, (uint32_t)strlen(format));
		file_poke(path, 104, field, 8);
		file_poke(path, 112, format, strlen(format));
	}
	be64_store(field, 1024);
	be32_store(field + 8, (uint32_t)strlen(name));
	file_poke(path, 8, field, 12);
	file_poke(path, 1024, name, strlen(name));
}

START_TEST(a_chain_that_loops_is_refused)
{
	overlay_write("a", "b", "qcow2");
	overlay_write("b", "a", "qcow2");
	driver_refused("a,ro", "behind itself");
	overlay_write("a", "a", "qcow2");
	driver_refused("a,ro", "behind itself");
}
END_TEST

START_TEST(a_chain_has_a_limit)
{
	char name[16], next[16];

	for (int i = 0; i < 70; i++) {
		snprintf(name, sizeof(name), "i%d", i);
		snprintf(next, sizeof(next), "i%d", i + 1);
		overlay_write(name, next, "qcow2");
	}
	small_image_write("i64");
	driver_refused("i0,ro", "more than 64");
	driver_open("i1,ro");
}
END_TEST

START_TEST(what_a_chain_lacks_or_is_not_is_refused)
{
	overlay_write("a", "nothing", "qcow2");
	driver_refused("a,ro", "'nothing': no such file");
	overlay_write("a", "b", "tar");
	small_image_write("b");
	driver_refused("a,ro", "'tar' is not known");
	overlay_write("a", "nbd://host/x", "raw");
	driver_refused("a,ro", "not a file");
	overlay_write("a", "json:{}", NULL);
	driver_refused("a,ro", "not a file");
	overlay_write("a", "/dev/null", "raw");
	driver_refused("a,ro,format=qcow2", "neither a file");
	overlay_write("a", "file:b", "qcow2");
	driver_open("a,ro");
	driver_close();
	overlay_write("a", "b", NULL);
	driver_open("a,ro");
}
END_TEST

START_TEST(a_guessed_image_leads_no_further_than_its_folder)
{
	char outside[80];

	ck_assert_int_eq(mkdir("in", 0700) | mkdir("in/deep", 0700) | mkdir("in2", 0700), 0);
	small_image_write("secret");
	small_image_write("in2/secret");
	small_image_write("in/deep/fine");
	snprintf(outside, sizeof(outside), "%s/secret", folder_path);
	ck_assert_int_eq(symlink("../secret", "in/link"), 0);
	static const char *const names[] = { "../secret", NULL, "link", "deep/../../secret", "../in2/secret" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		overlay_write("in/image", names[i] ? names[i] : outside, "qcow2");
		driver_refused("in/image,ro", "outside the folder");
		driver_open("in/image,ro,backing=any");
		driver_close();
		driver_open("in/image,ro,format=qcow2");
		driver_close();
	}
	/* nor through an image in the folder that names its formats */
	overlay_write("in/middle", "../secret", "qcow2");
	overlay_write("in/image", "middle", "qcow2");
	driver_refused("in/image,ro", "outside the folder");
	overlay_write("in/image", "deep/fine", "qcow2");
	driver_open("in/image,ro");
}
END_TEST

/* ---- noise ---- */

/* Flips bits in tables and header of a real image: whatever it then is, opening and reading it ends well. */
START_TEST(noise_neither_crashes_nor_hangs)
{
	uint64_t size, state = (uint64_t)_i * 77 + 1;
	uint8_t *bytes, *data;

	if (!have_qemu_img())
		return;
	data = calloc(1, 65536);
	image_make(images[(size_t)_i % ARRAY_SIZE(images)].make);
	bytes = file_read("top.qcow2", &size);
	for (unsigned int round = 0; round < 60; round++) {
		char name[] = "noise";

		unlink(name);
		file_poke(name, 0, bytes, size);
		for (unsigned int flips = random_next(&state) % 8 + 1; flips; flips--) {
			bool header = random_next(&state) % 3 == 0;
			uint64_t at = header ? random_next(&state) % 128 : random_next(&state) % MIN(size, 0x60000ULL);
			uint8_t flipped = bytes[at] ^ (uint8_t)(1u << random_next(&state) % 8);

			file_poke(name, at, &flipped, 1);
		}
		if (driver_try_open(round % 2 ? "noise,ro,backing=any" : "noise,backing=any"))
			continue;
		ck_assert_int_eq(disk_attach(driver_disk, driver_loop, NULL, NULL), 0);
		for (unsigned int i = 0; i < 40; i++) {
			uint64_t room = disk_info(driver_disk)->size / 512;
			uint64_t at = (i < 20 ? i * 512 : random_next(&state)) % room, length = room - at;
			enum disk_op op = round % 2 ? DISK_READ : (enum disk_op)(random_next(&state) % 5);

			driver_run(op, op == DISK_FLUSH ? 0 : at * 512, op == DISK_READ || op == DISK_WRITE ? data : NULL,
				   op == DISK_FLUSH ? 0 : MIN(length, 128ULL) * 512);
		}
		driver_close();
	}
	free(bytes);
	free(data);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *reading = suite_case(suite, "reading", disk_driver_setup, disk_driver_teardown);
	TCase *refusing = suite_case(suite, "refusing", disk_driver_setup, disk_driver_teardown);
	TCase *noise = suite_case(suite, "noise", disk_driver_setup, disk_driver_teardown);

	tcase_add_loop_test(reading, every_kind_reads_as_qemu_img_reads_it, 0, (int)ARRAY_SIZE(images));
	tcase_add_loop_test(reading, a_snapshot_reads_as_the_disk_was, 0, (int)ARRAY_SIZE(with_snapshots));
	tcase_add_test(reading, many_segments_and_many_requests_at_once);
	tcase_add_loop_test(refusing, a_broken_header_is_refused_by_what_is_wrong, 0, (int)ARRAY_SIZE(broken_headers));
	tcase_add_test(refusing, an_unknown_feature_is_refused_by_its_own_name);
	tcase_add_test(refusing, a_damaged_image_can_be_read_only);
	tcase_add_loop_test(refusing, a_cut_file_is_refused, 0, 5);
	tcase_add_loop_test(refusing, an_entry_that_leads_nowhere_is_an_error_of_its_range, 0, (int)ARRAY_SIZE(broken_entries));
	tcase_add_test(refusing, a_chain_that_loops_is_refused);
	tcase_add_test(refusing, a_chain_has_a_limit);
	tcase_add_test(refusing, what_a_chain_lacks_or_is_not_is_refused);
	tcase_add_test(refusing, a_guessed_image_leads_no_further_than_its_folder);
	tcase_add_loop_test(noise, noise_neither_crashes_nor_hangs, 0, (int)ARRAY_SIZE(images));
}
SUITE_MAIN("qcow2", add_tests)
