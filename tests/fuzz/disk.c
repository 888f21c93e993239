/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Image formats (disk/): an image is opened, mapped, read, checked, and, if the input says so, mended, written, grown,
 * given snapshots. An image that was found whole before must be whole behind it, and read as it was written.
 *
 * The input: a byte of FLAGS, then the image in pieces (fuzz_write_image()). Checksums are put right on demand: nobody
 * would find them. "base" lies beside the image, for one that has something behind it.
 */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "disk/engine.h"
#include "disk/vhd.h"
#include "kvm/image.h"
#include "kvm/log.h"

enum { WRITES = 1, REPAIRS = 2, SUMS = 4, SNAPSHOTS = 8, RESIZES = 16, EMPTIES = 32, PACKS = 64 };

#define EXTENTS_MAX	64
#define PIECE		KIB(4)

static void format_begin(const struct fuzz_target *target)
{
	static uint8_t bytes[KIB(64)];

	(void)target;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + (i >> 8));
	fuzz_write_file("base", bytes, sizeof(bytes));
}

/* ---- checksums ---- */

static void vhd_fix_sum(int fd, uint64_t at, size_t length, size_t sum_at)
{
	uint8_t bytes[sizeof(struct vhd_header)];
	be32 sum;

	if (pread(fd, bytes, length, (off_t)at) != (ssize_t)length)
		return;
	sum = be32_of(vhd_checksum(bytes, length, sum_at));
	FUZZ_CHECK(pwrite(fd, &sum, sizeof(sum), (off_t)(at + sum_at)) == sizeof(sum));
}

static void vhd_fix(int fd, uint64_t size)
{
	struct vhd_footer footer;

	vhd_fix_sum(fd, 0, sizeof(footer), offsetof(struct vhd_footer, checksum));
	if (size >= sizeof(footer))
		vhd_fix_sum(fd, size - sizeof(footer), sizeof(footer), offsetof(struct vhd_footer, checksum));
	if (pread(fd, &footer, sizeof(footer), 0) == sizeof(footer) && be64_get(footer.data_offset) < size)
		vhd_fix_sum(fd, be64_get(footer.data_offset), sizeof(struct vhd_header), offsetof(struct vhd_header, checksum));
}

/* CRC-32C with its own field, at 4, as zeroes. */
static void vhdx_fix_sum(int fd, uint64_t at, size_t length)
{
	uint8_t *bytes = malloc(length);
	uint32_t crc = UINT32_MAX;
	le32 sum;

	FUZZ_CHECK(bytes);
	if (pread(fd, bytes, length, (off_t)at) == (ssize_t)length) {
		memset(bytes + 4, 0, 4);
		for (size_t i = 0; i < length; i++) {
			crc ^= bytes[i];
			for (unsigned int bit = 0; bit < 8; bit++)
				crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
		}
		sum = le32_of(~crc);
		FUZZ_CHECK(pwrite(fd, &sum, sizeof(sum), (off_t)at + 4) == sizeof(sum));
	}
	free(bytes);
}

static void vhdx_fix(int fd, uint64_t size)
{
	(void)size;
	vhdx_fix_sum(fd, KIB(64), KIB(4));
	vhdx_fix_sum(fd, KIB(128), KIB(4));
	vhdx_fix_sum(fd, KIB(192), KIB(64));
	vhdx_fix_sum(fd, KIB(256), KIB(64));
}

static uint64_t file_size(const char *path)
{
	struct stat status;

	FUZZ_CHECK(!stat(path, &status));
	return (uint64_t)status.st_size;
}

static void fix_sums(const char *path, void (*fix)(int fd, uint64_t size))
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	FUZZ_CHECK(fd >= 0);
	if (fix)
		fix(fd, file_size(path));
	close(fd);
}

/* ---- what may be done to an image ---- */

static void say_nothing(struct image_check *check, const char *line)
{
	(void)check;
	FUZZ_CHECK(*line);
}

static bool check_whole(struct image *image, bool repair)
{
	struct image_check found = { .say = say_nothing };

	return !image_check(image, repair, &found) && !found.corruptions;
}

static void read_range(struct image *image, uint64_t offset, uint64_t length)
{
	static uint8_t bytes[KIB(64)];
	bool zeroes;

	(void)!image_read(image, offset, bytes, (size_t)MIN(length, sizeof(bytes)));
	(void)!disk_reads_as_zeroes(image->disk, offset, length, &zeroes);
}

static void read_all(struct image *image)
{
	uint64_t size = disk_info(image->disk)->size, at = 0;
	struct image_extent extent;

	for (unsigned int i = 0; i < EXTENTS_MAX && at < size; i++) {
		if (image_map(image, at, size - at, &extent)) {
			/* what one cluster has wrong the next need not */
			at += PIECE;
			continue;
		}
		FUZZ_CHECK(extent.length && extent.length <= size - at);
		read_range(image, at, extent.length);
		at += extent.length;
	}
	if (size > PIECE)
		read_range(image, size - PIECE, PIECE);
	read_range(image, size / 2, PIECE);
}

static void describe(struct image *image)
{
	for (unsigned int depth = 0; depth < 3; depth++)
		json_decref(image_describe(image, depth));
	json_decref(image_snapshots(image));
}

static bool holds(struct image *image, uint64_t at, const uint8_t *bytes, size_t length)
{
	uint8_t seen[KIB(1)];

	FUZZ_CHECK(length <= sizeof(seen));
	return !image_read(image, at, seen, length) && !memcmp(seen, bytes, length);
}

static void write_places(struct image *image, bool whole)
{
	const uint64_t size = disk_info(image->disk)->size & ~511ULL;
	const uint64_t places[] = { 0, size / 2 & ~511ULL, size > PIECE ? size - PIECE : 0, PIECE };
	static const uint8_t zeroes[KIB(1)];
	uint8_t bytes[KIB(1)];

	for (unsigned int i = 0; i < ARRAY_SIZE(places); i++) {
		memset(bytes, 0x30 + (int)i, sizeof(bytes));
		if (places[i] + sizeof(bytes) > size || image_write(image, places[i], bytes, sizeof(bytes)))
			continue;
		FUZZ_CHECK(!whole || holds(image, places[i], bytes, sizeof(bytes)));
	}
	if (size >= 2 * PIECE && !image_write_zeroes(image, 0, MIN(size & ~(PIECE - 1), 16 * PIECE)))
		FUZZ_CHECK(!whole || holds(image, 0, zeroes, sizeof(zeroes)));
	(void)!image_flush(image);
}

static void pack(struct image *image)
{
	struct disk *disk = image->disk;
	size_t unit = disk->compress_unit;
	uint8_t *bytes = unit && disk->info.size >= unit ? calloc(1, unit) : NULL;

	if (bytes && disk->format->compress)
		(void)!disk->format->compress(disk, 0, bytes, unit);
	free(bytes);
}

static void change(struct image *image, unsigned int flags, bool whole)
{
	uint64_t size = disk_info(image->disk)->size;

	write_places(image, whole);
	if (flags & PACKS)
		pack(image);
	if (flags & SNAPSHOTS) {
		if (!image_snapshot(image, IMAGE_SNAPSHOT_CREATE, "one"))
			write_places(image, whole);
		(void)!image_snapshot(image, IMAGE_SNAPSHOT_APPLY, "one");
		(void)!image_snapshot(image, IMAGE_SNAPSHOT_DELETE, "0");
	}
	if (flags & RESIZES) {
		(void)!image_resize(image, size + MIB(1), false);
		write_places(image, whole);
		(void)!image_resize(image, size & ~511ULL, true);
	}
	if ((flags & EMPTIES) && image->disk->format->empty)
		(void)!image->disk->format->empty(image->disk);
	read_all(image);
	/* what the medium has no room for (RLIMIT_FSIZE) may be lost, but nothing else may be damaged */
	FUZZ_CHECK(!whole || check_whole(image, false));
}

/* ---- an input ---- */

struct format {
	void (*fix)(int fd, uint64_t size);
};

static uint64_t file_sum(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t sum = 0, words[512];
	off_t at = 0, data;

	FUZZ_CHECK(fd >= 0);
	/* holes are not gone through: a guest's gigabyte */
	while ((data = lseek(fd, at, SEEK_DATA)) >= 0) {
		memset(words, 0, sizeof(words));
		if (pread(fd, words, sizeof(words), data) <= 0)
			break;
		for (size_t i = 0; i < ARRAY_SIZE(words); i++)
			sum = (sum << 7 | sum >> 57) ^ words[i] ^ (uint64_t)data;
		at = data + (off_t)sizeof(words);
	}
	close(fd);
	return sum;
}

static void format_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	const struct format *format = target->opaque;
	struct fuzz_input input = { data, length };
	unsigned int flags = fuzz_u8(&input);
	const char *path = fuzz_write_image("image", &input);
	struct disk_options options = {
		.path = (char *)(uintptr_t)path, .format = (char *)(uintptr_t)target->name, .read_only = !(flags & WRITES),
		.repair = (flags & WRITES) && (flags & REPAIRS), .aio = disk_aio_find("threads"), .beneath = fuzz_folder(),
		.no_flush = true, .snapshot = (char *)(uintptr_t)(!(flags & WRITES) && (flags & SNAPSHOTS) ? "1" : NULL),
	};
	struct image image;
	uint64_t sum, size;
	bool whole;

	if (flags & SUMS)
		fix_sums(path, format->fix);
	size = file_size(path);
	sum = file_sum(path);
	/* the format's name is a word of -d's: "raw" is not among the targets */
	FUZZ_CHECK(disk_format_find(target->name) && options.aio);
	if (image_open(&image, &options)) {
		FUZZ_CHECK((flags & WRITES) || (file_size(path) == size && file_sum(path) == sum));
		return;
	}
	describe(&image);
	read_all(&image);
	whole = check_whole(&image, options.repair);
	if (flags & WRITES)
		change(&image, flags, whole);
	(void)!image_close(&image);
	FUZZ_CHECK((flags & WRITES) || (file_size(path) == size && file_sum(path) == sum));
}

static const struct format plain = { NULL }, vhd_format = { vhd_fix }, vhdx_format = { vhdx_fix };

FUZZ_TARGET(qcow2, .name = "qcow2", .begin = format_begin, .one = format_one, .opaque = &plain);
FUZZ_TARGET(vhd, .name = "vhd", .begin = format_begin, .one = format_one, .opaque = &vhd_format);
FUZZ_TARGET(vhdx, .name = "vhdx", .begin = format_begin, .one = format_one, .opaque = &vhdx_format);
FUZZ_TARGET(vmdk, .name = "vmdk", .begin = format_begin, .one = format_one, .opaque = &plain);
