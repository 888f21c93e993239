/* SPDX-License-Identifier: BSD-2-Clause */
#include "x86/unpacked.h"

#include <string.h>
#include <sys/uio.h>

#include "kvm/log.h"

#define PAGE		4096U
#define KERNEL_MAP	0xffffffff80000000ULL	/* __START_KERNEL_map: p_paddr plus this is the virtual address */

static int damaged(const struct unpacked *unpacked, const char *what)
{
	return log_error(EINVAL, "kernel '%s': what is packed in it is damaged: %s", unpacked->path, what);
}

/* ---- its headers ---- */

static uint64_t segment_at(const struct unpacked *unpacked, const Elf64_Phdr *segment)
{
	return segment->p_paddr - unpacked->pref + unpacked->load;
}

/* Nothing is written yet: what is odd is left to the kernel's own decompressor. */
static bool segment_known(const struct unpacked *unpacked, const Elf64_Phdr *segment)
{
	return segment->p_offset >= UNPACKED_HEAD && segment->p_filesz <= segment->p_memsz &&
	       range_contains(0, unpacked->end, segment->p_offset, segment->p_filesz) &&
	       range_contains(unpacked->pref, unpacked->size, segment->p_paddr, segment->p_memsz);
}

static bool headers_read(struct unpacked *unpacked)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	memcpy(&header, unpacked->head, sizeof(header));
	if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
	    header.e_machine != EM_X86_64 || header.e_phentsize != sizeof(segment) ||
	    header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shoff > UNPACKED_MAX ||
	    !range_contains(0, UNPACKED_HEAD, header.e_phoff, header.e_phnum * sizeof(segment)) ||
	    !range_contains(unpacked->pref, unpacked->size, header.e_entry, 1))
		return false;
	unpacked->end = header.e_shoff + header.e_shnum * sizeof(Elf64_Shdr);
	unpacked->entry = header.e_entry - unpacked->pref + unpacked->load;
	for (unsigned int i = 0; i < header.e_phnum; i++) {
		memcpy(&segment, unpacked->head + header.e_phoff + i * sizeof(segment), sizeof(segment));
		if (segment.p_type != PT_LOAD || !segment.p_memsz)
			continue;
		if (unpacked->count == UNPACKED_SEGMENTS || !segment_known(unpacked, &segment))
			return false;
		unpacked->segments[unpacked->count++] = segment;
	}
	return unpacked->count > 0;
}

/* ---- its pieces ---- */

static bool is_zero(const uint8_t *data, size_t length)
{
	return length == 0 || (data[0] == 0 && !memcmp(data, data + 1, length - 1));
}

/* .bss is in the file, as zeroes: half of some kernels. RAM that reads so already needn't be made. */
static int write_clean(struct unpacked *unpacked, uint64_t to, const uint8_t *data, size_t length)
{
	size_t done = 0, start = 0;
	int result = 0;

	while (done < length && !result) {
		size_t n = MIN(length - done, PAGE - ((to + done) & (PAGE - 1)));
		bool zero = is_zero(data + done, n);

		if (zero && done > start)
			result = memory_write(unpacked->memory, gpa(to + start), data + start, done - start);
		done += n;
		if (zero)
			start = done;
	}
	return result || done == start ? result :
	       memory_write(unpacked->memory, gpa(to + start), data + start, done - start);
}

static int segment_take(struct unpacked *unpacked, const Elf64_Phdr *segment, const uint8_t *data, size_t length)
{
	uint64_t first = MAX(unpacked->at, segment->p_offset);
	uint64_t end = MIN(unpacked->at + length, segment->p_offset + segment->p_filesz);
	uint64_t to = segment_at(unpacked, segment) + (first - segment->p_offset);
	int result;

	if (first >= end)
		return 0;
	data += first - unpacked->at;
	result = unpacked->clean ? write_clean(unpacked, to, data, end - first) :
				   memory_write(unpacked->memory, gpa(to), data, end - first);
	return result ? log_errno(-result, "kernel '%s': can't be put into RAM", unpacked->path) : 0;
}

/* Too many of them are as good as none. */
static int relocations_take(struct unpacked *unpacked, const uint8_t *data, size_t length)
{
	size_t skip = unpacked->at < unpacked->end ? MIN(length, unpacked->end - unpacked->at) : 0;
	uint8_t *more;

	length -= skip;
	if (!length || unpacked->relocations_length > UNPACKED_RELOCATIONS)
		return 0;
	more = realloc(unpacked->relocations, unpacked->relocations_length + length);
	if (!more)
		return log_errno(ENOMEM, "kernel '%s'", unpacked->path);
	memcpy(more + unpacked->relocations_length, data + skip, length);
	unpacked->relocations = more;
	unpacked->relocations_length += length;
	return 0;
}

int unpacked_take(void *taker, const uint8_t *data, size_t length)
{
	struct unpacked *unpacked = taker;
	int result = 0;

	if (unpacked->at < UNPACKED_HEAD) {
		size_t n = MIN(length, UNPACKED_HEAD - unpacked->at);

		memcpy(unpacked->head + unpacked->at, data, n);
		if (unpacked->at + n == UNPACKED_HEAD && !headers_read(unpacked))
			return 1;
	}
	if (length > UNPACKED_MAX - unpacked->at)
		return damaged(unpacked, "it is larger than a kernel can be");
	for (unsigned int i = 0; i < unpacked->count && !result; i++)
		result = segment_take(unpacked, &unpacked->segments[i], data, length);
	if (!result && unpacked->count)
		result = relocations_take(unpacked, data, length);
	unpacked->at += length;
	return result;
}

/* RAM that isn't clean holds the last kernel's data where this one has none in its file. */
static int segment_clear(const struct unpacked *unpacked, const Elf64_Phdr *segment)
{
	int result = memory_set(unpacked->memory, gpa(segment_at(unpacked, segment) + segment->p_filesz), 0,
				segment->p_memsz - segment->p_filesz);

	return result ? log_errno(-result, "kernel '%s': can't be put into RAM", unpacked->path) : 0;
}

int unpacked_whole(const struct unpacked *unpacked)
{
	int result = 0;

	if (!unpacked->count || unpacked->at < unpacked->end)
		return damaged(unpacked, "its end is missing");
	for (unsigned int i = 0; i < unpacked->count && !unpacked->clean && !result; i++)
		result = segment_clear(unpacked, &unpacked->segments[i]);
	return result;
}

/* ---- relocations ---- */

static uint32_t relocation(const struct unpacked *unpacked, size_t at)
{
	le32 value;

	memcpy(&value, unpacked->relocations + at * sizeof(value), sizeof(value));
	return le32_get(value);
}

/* The lists' ends: two for kernels of 6.15 and later, else three. 0: no such lists. */
static unsigned int list_ends(const struct unpacked *unpacked, size_t ends[3])
{
	size_t count = unpacked->relocations_length / sizeof(le32);
	unsigned int lists = 0;

	for (size_t i = 1; i < count; i++) {
		if (relocation(unpacked, i))
			continue;
		if (lists == 2)
			return 0;
		ends[lists++] = i;
	}
	if (lists)
		ends[lists++] = count;
	return lists;
}

/* Where the address lies that is @width wide and that @value says, from the kernel's start; UINT64_MAX: not in it. */
static uint64_t place(const struct unpacked *unpacked, uint32_t value, unsigned int width)
{
	uint64_t at = (uint64_t)(int64_t)(int32_t)value - KERNEL_MAP - unpacked->pref;

	return range_contains(0, unpacked->size, at, width) ? at : UINT64_MAX;
}

bool unpacked_can_move(const struct unpacked *unpacked)
{
	size_t count = unpacked->relocations_length / sizeof(le32), ends[3];

	if (count < 3 || unpacked->relocations_length > UNPACKED_RELOCATIONS ||
	    unpacked->relocations_length % sizeof(le32) || relocation(unpacked, 0) || !list_ends(unpacked, ends))
		return false;
	for (size_t i = 1; i < count; i++)
		if (relocation(unpacked, i) && place(unpacked, relocation(unpacked, i), sizeof(uint64_t)) == UINT64_MAX)
			return false;
	return true;
}

static void move_one(uint8_t *at, unsigned int width, uint64_t delta)
{
	uint64_t value = 0;

	memcpy(&value, at, width);
	value += delta;
	memcpy(at, &value, width);
}

int unpacked_move(struct unpacked *unpacked, uint32_t delta)
{
	size_t ends[3], i = 1;
	unsigned int lists = list_ends(unpacked, ends);
	struct iovec kernel;

	if (memory_iov(unpacked->memory, gpa(unpacked->load), unpacked->size, true, &kernel, 1) != 1)
		return log_error(EINVAL, "kernel '%s': its RAM is not in one piece", unpacked->path);
	for (unsigned int list = 0; list < lists; list++) {
		unsigned int width = list == 0 ? sizeof(uint64_t) : sizeof(uint32_t);
		bool down = lists == 3 && list == 1;

		for (; i < ends[list]; i++)
			move_one((uint8_t *)kernel.iov_base + place(unpacked, relocation(unpacked, i), width), width,
				 down ? -(uint64_t)delta : delta);
		i++;
	}
	memory_dirty(unpacked->memory, kernel.iov_base, kernel.iov_len);
	return 0;
}

void unpacked_free(struct unpacked *unpacked)
{
	free(unpacked->relocations);
	unpacked->relocations = NULL;
}
