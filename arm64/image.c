/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernel files of arm64: Image, raw, packed or wrapped as EFI zboot (drivers/firmware/efi/libstub/
 * zboot-header.S), and the 32-bit zImage. Everything in them is checked before it is used: a file may be
 * truncated, hostile, or change while it is read. Called by boot.c on the main thread.
 */
#include "image.h"

#include <string.h>

#include "kvm/log.h"

#define IMAGE_MAGIC		0x644d5241U	/* "ARM\x64" */
#define IMAGE_MAGIC_AT		56
#define ZIMAGE_MAGIC		0x016f2818U
#define ZIMAGE_MAGIC_AT		0x24
#define ZBOOT_MAGIC		0x676d697aU	/* "zimg" */
#define BZIMAGE_MAGIC		0x53726448U	/* "HdrS" */
#define BZIMAGE_MAGIC_AT	0x202

#define HEAD_SIZE		1024

struct zboot_header {
	le32 msdos_magic;
	le32 magic;
	le32 payload_offset;
	le32 payload_size;
	le32 reserved[2];
	char compression[32];
};
_Static_assert(sizeof(struct zboot_header) == 56, "zboot-header.S: 32 bytes of name at 24");

static uint32_t head_le32(const uint8_t *head, size_t at)
{
	le32 value;

	memcpy(&value, head + at, sizeof(value));
	return le32_get(value);
}

static uint64_t head_le64(const uint8_t *head, size_t at)
{
	return head_le32(head, at) | (uint64_t)head_le32(head, at + 4) << 32;
}

/* ---- what is packed in it ---- */

struct peek {
	uint8_t *head;
	size_t length, have;
};

static int peek_take(void *taker, const uint8_t *data, size_t length)
{
	struct peek *peek = taker;
	size_t n = MIN(length, peek->length - peek->have);

	memcpy(peek->head + peek->have, data, n);
	peek->have += n;
	return peek->have == peek->length;
}

/* packed_peek() - the first unpacked bytes; 0 or negative errno (said) */
static int packed_peek(const struct boot_file *file, const struct image *image, uint8_t *head, size_t length)
{
	struct peek peek = { .head = head, .length = length };
	int result = unpack_run(image->packed, file, image->offset, image->length, peek_take, &peek);

	if (result == 0)
		return log_error(EINVAL, "%s '%s': not a kernel: only %zu bytes are packed in it", file->what, file->path, peek.have);
	return MIN(result, 0);
}

struct load {
	struct kvm *kvm;
	const struct boot_file *file;
	gpa_t to;
	uint64_t room;
};

static int load_take(void *taker, const uint8_t *data, size_t length)
{
	struct load *load = taker;

	if (length > load->room || memory_write(&load->kvm->memory, load->to, data, length) < 0)
		return log_error(EFBIG, "%s '%s': more is packed in it than its header and the guest's RAM have room for",
				 load->file->what, load->file->path);
	load->to = gpa_add(load->to, length);
	load->room -= length;
	return 0;
}

/* ---- what a file is ---- */

bool image_parse_header(const uint8_t header[IMAGE_HEADER_SIZE], struct image *image)
{
	if (head_le32(header, IMAGE_MAGIC_AT) != IMAGE_MAGIC)
		return false;
	image->kind = IMAGE_ARM64;
	image->text_offset = head_le64(header, 8);
	image->size = head_le64(header, 16);
	/* Before Linux 3.17 there was no size, and the offset's byte order was the kernel's. */
	if (image->size == 0)
		image->text_offset = IMAGE_FLAT_OFFSET;
	return true;
}

/* refuse_foreign() - says what a known file is that can't be booted; 0 for one that isn't known */
static int refuse_foreign(const struct boot_file *file, const uint8_t *head)
{
	static const struct {
		const char *name, *magic;
		size_t length;
		const char *tool;
	} packed[] = {
		{ "xz", "\xfd\x37zXZ", 6, "xz -d" },
		{ "zstd", "\x28\xb5\x2f\xfd", 4, "zstd -d" },
		{ "lz4", "\x02\x21\x4c\x18", 4, "lz4 -d" },
		{ "lz4", "\x04\x22\x4d\x18", 4, "lz4 -d" },
		{ "bzip2", "BZh", 3, "bzip2 -d" },
		{ "lzo", "\x89LZO", 4, "lzop -d" },
		{ "lzma", "\x5d\0\0", 3, "xz -d --format=lzma" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(packed); i++)
		if (memcmp(head, packed[i].magic, packed[i].length) == 0)
			return log_error(EINVAL,
					 "kernel '%s': is packed with %s, which is not unpacked "
					 "here (use gzip, or %s it first)",
					 file->path, packed[i].name, packed[i].tool);
	if (memcmp(head, "\177ELF", 4) == 0)
		return log_error(EINVAL,
				 "kernel '%s': is an ELF file (arm64 boots arch/arm64/boot/Image)",
				 file->path);
	if (head_le32(head, BZIMAGE_MAGIC_AT) == BZIMAGE_MAGIC)
		return log_error(EINVAL, "kernel '%s': is an x86 bzImage, not an arm64 kernel",
				 file->path);
	return 0;
}

static int identify_packed(const struct boot_file *file, struct image *image)
{
	uint8_t header[IMAGE_HEADER_SIZE];
	int error = packed_peek(file, image, header, sizeof(header));

	if (error < 0)
		return error;
	if (!image_parse_header(header, image))
		return log_error(EINVAL, "kernel '%s': what is packed in it is not an arm64 Image",
				 file->path);
	return 1;
}

static int identify_zboot(const struct boot_file *file, const uint8_t *head, struct image *image)
{
	struct zboot_header header;

	memcpy(&header, head, sizeof(header));
	image->offset = le32_get(header.payload_offset);
	image->length = le32_get(header.payload_size);
	if (!range_contains(0, file->size, image->offset, image->length) || image->length == 0)
		return log_error(EINVAL,
				 "kernel '%s': truncated: its zboot payload should end at byte "
				 "%llu, it has %llu",
				 file->path, (unsigned long long)(image->offset + image->length),
				 (unsigned long long)file->size);
	image->packed = unpack_format(file, image->offset);
	if (!image->packed)
		return log_error(EINVAL,
				 "kernel '%s': an EFI zboot image packed with '%.*s', which is not unpacked here "
				 "(boot arch/arm64/boot/Image)",
				 file->path, (int)strnlen(header.compression, 8),
				 header.compression);
	return identify_packed(file, image);
}

int image_identify(const struct boot_file *file, bool flat, struct image *image)
{
	uint8_t head[HEAD_SIZE] = { 0 };
	ssize_t n = boot_file_peek(file, 0, head, sizeof(head));

	if (n < 0)
		return log_errno((int)-n, "%s '%s': can't read it", file->what, file->path);
	*image = (struct image){ .kind = IMAGE_FLAT, .length = file->size, .text_offset = IMAGE_FLAT_OFFSET };
	if (flat)
		return 1;
	image->packed = unpack_format(file, 0);
	if (image->packed)
		return identify_packed(file, image);
	if (head[0] == 'M' && head[1] == 'Z' && head_le32(head, 4) == ZBOOT_MAGIC)
		return identify_zboot(file, head, image);
	if (image_parse_header(head, image))
		return 1;
	if (head_le32(head, ZIMAGE_MAGIC_AT) == ZIMAGE_MAGIC) {
		image->kind = IMAGE_ZIMAGE;
		image->text_offset = IMAGE_ZIMAGE_OFFSET;
		return 1;
	}
	return refuse_foreign(file, head);
}

int image_load(struct kvm *kvm, const struct boot_file *file, const struct image *image, gpa_t to,
	       uint64_t room)
{
	struct load load = { .kvm = kvm, .file = file, .to = to, .room = room };

	if (image->packed)
		return unpack_run(image->packed, file, image->offset, image->length, load_take, &load);
	if (image->length > room)
		return log_error(EFBIG,
				 "%s '%s': its %llu bytes don't fit into the guest's RAM (give "
				 "it more with --mem)",
				 file->what, file->path, (unsigned long long)image->length);
	return boot_file_load(kvm, file, image->offset, image->length, to);
}
