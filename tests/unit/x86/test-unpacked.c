/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tests how the kernel in a bzImage is put into RAM: segments from an ELF file that comes in pieces, moved by its
 * relocations, of both kinds of lists; and files that lie.
 */
#include <sys/mman.h>

#include "kvm/x86.h"
#include "tests/unit/board.h"
#include "x86/unpacked.h"

#define RAM		MIB(32)
#define PREF		MIB(16)
#define SIZE		MIB(2)		/* of the kernel in RAM */
#define TEXT		0x1000U		/* in the file, 8 KiB */
#define DATA		0x4000U		/* in the file, 4 KiB of 64 KiB; 1 MiB on in RAM */
#define SECTIONS	0x6000U
#define VIRTUAL		0xffffffff80000000ULL

static struct kvm *kvm;
static struct region ram;
static uint8_t *host, file[0x8000], seen[0x2000];
static size_t file_size;
static struct unpacked unpacked;
static Elf64_Ehdr *elf;
static Elf64_Phdr *segments;

static void put32(size_t at, uint32_t value)
{
	memcpy(file + at, &value, sizeof(value));
}

static void add_word(uint32_t value)
{
	put32(file_size, value);
	file_size += sizeof(value);
}

static void make_elf(void)
{
	memset(file, 0, sizeof(file));
	elf = (void *)file;
	segments = (void *)(file + sizeof(*elf));
	memcpy(elf->e_ident, ELFMAG, SELFMAG);
	elf->e_ident[EI_CLASS] = ELFCLASS64;
	elf->e_machine = EM_X86_64;
	elf->e_entry = PREF + 0x40;
	elf->e_phoff = sizeof(*elf);
	elf->e_phentsize = sizeof(*segments);
	elf->e_phnum = 3;
	elf->e_shoff = SECTIONS;
	elf->e_shentsize = sizeof(Elf64_Shdr);
	elf->e_shnum = 2;
	segments[0] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_offset = TEXT, .p_paddr = PREF, .p_filesz = 0x2000, .p_memsz = 0x2000 };
	segments[1] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = 1, .p_filesz = UINT64_MAX };
	segments[2] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_offset = DATA, .p_paddr = PREF + MIB(1), .p_filesz = 0x1000,
				    .p_memsz = 0x10000 };
	memset(file + TEXT, 0x11, 0x1000);
	memset(file + TEXT + 0x1f00, 0x22, 0x100);	/* zeroes before it */
	memset(file + DATA, 0x33, 0x1000);
	file_size = SECTIONS + 2 * sizeof(Elf64_Shdr);
}

static void set_up(void)
{
	kvm = board_create();
	host = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(host, MAP_FAILED);
	ram = (struct region){ .kind = REGION_RAM, .name = "ram", .size = RAM, .host = host };
	ck_assert_int_eq(region_add(&kvm->memory, &ram, 0, 0), 0);
	make_elf();
}

static void tear_down(void)
{
	unpacked_free(&unpacked);
	region_del(&ram);
	munmap(host, RAM);
	board_destroy(kvm);
}

/* Hands the file over in pieces of @piece bytes; what the last one returned. */
static int take(uint64_t load, bool clean, size_t piece)
{
	int result = 0;

	unpacked_free(&unpacked);
	unpacked = (struct unpacked){ .memory = &kvm->memory, .path = "vmlinux", .pref = PREF, .load = load, .size = SIZE,
				      .clean = clean };
	for (size_t at = 0; at < file_size && !result; at += piece)
		result = unpacked_take(&unpacked, file + at, MIN(piece, file_size - at));
	return result;
}

static void assert_loaded(uint64_t load)
{
	ck_assert_mem_eq(host + load, file + TEXT, 0x2000);
	ck_assert_mem_eq(host + load + MIB(1), file + DATA, 0x1000);
	ck_assert_uint_eq(unpacked.entry, load + 0x40);
}

START_TEST(segments_go_where_they_say_whatever_the_pieces)
{
	static const size_t pieces[] = { 1, 7, 4095, 4096, 5000, sizeof(file) };

	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		memset(host, 0, RAM);
		ck_assert_int_eq(take(PREF, true, pieces[i]), 0);
		ck_assert_int_eq(unpacked_whole(&unpacked), 0);
		assert_loaded(PREF);
	}
	memset(host, 0, RAM);
	ck_assert_int_eq(take(MIB(2), true, 4096), 0);
	assert_loaded(MIB(2));
}
END_TEST

START_TEST(ram_that_reads_as_zeroes_is_left_alone_and_other_ram_is_cleared)
{
	unsigned char resident[2] = { 0 };

	ck_assert_int_eq(take(PREF, true, 4096), 0);
	ck_assert_int_eq(mincore(host + PREF, 0x2000, resident), 0);
	ck_assert_uint_eq(resident[0] & 1, 1);
	ck_assert_int_eq(mincore(host + PREF + MIB(1) + 0x1000, 0x1000, resident), 0);
	ck_assert_uint_eq(resident[0] & 1, 0);

	memset(host, 0xee, RAM);
	ck_assert_int_eq(take(PREF, false, 4096), 0);
	ck_assert_int_eq(unpacked_whole(&unpacked), 0);
	assert_loaded(PREF);
	memset(seen, 0, sizeof(seen));
	ck_assert_mem_eq(host + PREF + MIB(1) + 0x1000, seen, sizeof(seen));
	ck_assert_uint_eq(host[PREF + MIB(1) + 0x10000], 0xee);
}
END_TEST

#define AT64	0x100U
#define AT32	0x208U
#define DOWN32	0x300U

/* @inverse: the third list, of kernels before 6.15 */
static void add_relocations(bool inverse)
{
	const uint64_t address = VIRTUAL + PREF + 0x1234;

	memcpy(file + TEXT + AT64, &address, sizeof(address));
	put32(TEXT + AT32, (uint32_t)address);
	put32(TEXT + DOWN32, 0x5000);
	add_word(0);
	add_word((uint32_t)(VIRTUAL + PREF) + AT64);
	add_word(0);
	if (inverse) {
		add_word((uint32_t)(VIRTUAL + PREF) + DOWN32);
		add_word(0);
	}
	add_word((uint32_t)(VIRTUAL + PREF) + AT32);
}

static uint64_t ram64(uint64_t at)
{
	uint64_t value;

	memcpy(&value, host + at, sizeof(value));
	return value;
}

START_TEST(a_kernel_moves_by_its_relocations)
{
	const bool inverse = _i != 0;
	const uint32_t delta = (uint32_t)MIB(42);

	add_relocations(inverse);
	ck_assert_int_eq(take(MIB(4), true, 4096), 0);
	ck_assert_int_eq(unpacked_whole(&unpacked), 0);
	ck_assert(unpacked_can_move(&unpacked));
	ck_assert_int_eq(unpacked_move(&unpacked, delta), 0);

	ck_assert_uint_eq(ram64(MIB(4) + AT64), VIRTUAL + PREF + 0x1234 + delta);
	ck_assert_uint_eq((uint32_t)ram64(MIB(4) + AT32), (uint32_t)(VIRTUAL + PREF + 0x1234 + delta));
	ck_assert_uint_eq((uint32_t)ram64(MIB(4) + DOWN32), inverse ? 0x5000 - delta : 0x5000);
	/* and nothing beside them */
	ck_assert_uint_eq(host[MIB(4) + AT64 - 1], 0x11);
	ck_assert_uint_eq(host[MIB(4) + AT64 + 8], 0x11);
	ck_assert_uint_eq(host[MIB(4) + AT32 + 4], 0x11);
}
END_TEST

static void assert_cannot_move(const char *what)
{
	ck_assert_int_eq(take(PREF, true, 4096), 0);
	ck_assert_msg(!unpacked_can_move(&unpacked), "expected %s not to be taken for relocations", what);
}

START_TEST(relocations_that_make_no_sense_are_none)
{
	assert_cannot_move("nothing");
	add_word(0);
	assert_cannot_move("a zero");
	add_relocations(true);
	assert_cannot_move("a list too many");
	make_elf();
	add_relocations(false);
	file[file_size++] = 1;
	assert_cannot_move("part of a word");
	make_elf();
	add_relocations(false);
	add_word((uint32_t)(VIRTUAL + PREF + SIZE) - 7);
	assert_cannot_move("a place that ends behind the kernel");
	make_elf();
	add_relocations(false);
	add_word((uint32_t)(VIRTUAL + PREF) - 1);
	assert_cannot_move("a place before it");
	make_elf();
	add_word(1);
	add_word(0);
	add_word(0);
	assert_cannot_move("a list without its zero");
}
END_TEST

static void assert_left(const char *what)
{
	ck_assert_msg(take(PREF, true, 4096) == 1, "expected %s to be left to the decompressor", what);
	make_elf();
}

START_TEST(what_is_not_known_is_left_to_the_decompressor)
{
	file[0] = 'x';
	assert_left("what isn't ELF");
	elf->e_ident[EI_CLASS] = ELFCLASS32;
	assert_left("32 bits");
	elf->e_phoff = UNPACKED_HEAD - 3 * sizeof(*segments) + 1;
	assert_left("program headers far away");
	elf->e_phnum = 0;
	assert_left("no segment");
	elf->e_shoff = UINT64_MAX - 64;
	assert_left("sections past any end");
	elf->e_entry = PREF + SIZE;
	assert_left("an entry behind the kernel");
	segments[0].p_paddr = PREF - 1;
	assert_left("a segment before the kernel");
	segments[2].p_memsz = SIZE;
	assert_left("a segment that ends behind the kernel");
	segments[2].p_memsz = UINT64_MAX;
	assert_left("a segment without end");
	segments[2].p_filesz = 0x10001;
	assert_left("a segment larger in the file");
	segments[2].p_offset = UINT64_MAX - 1;
	assert_left("a segment out of the file");
	segments[0].p_offset = 64;
	assert_left("a segment in the headers");
	ck_assert_uint_eq(host[PREF], 0);
}
END_TEST

START_TEST(a_file_that_ends_early_is_an_error)
{
	file_size = SECTIONS;
	ck_assert_int_eq(take(PREF, true, 4096), 0);
	ck_assert_int_eq(unpacked_whole(&unpacked), -EINVAL);
	file_size = 100;
	ck_assert_int_eq(take(PREF, true, 4096), 0);
	ck_assert_int_eq(unpacked_whole(&unpacked), -EINVAL);
}
END_TEST

START_TEST(no_byte_of_the_headers_breaks_anything)
{
	add_relocations(true);
	for (size_t at = 0; at < sizeof(*elf) + 3 * sizeof(*segments); at++) {
		static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };

		for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
			uint8_t was = file[at];
			int result;

			file[at] = values[i];
			result = take(MIB(4), true, 0x1800);
			ck_assert_int_le(result, 1);
			if (!result && unpacked_can_move(&unpacked))
				ck_assert_int_eq(unpacked_move(&unpacked, (uint32_t)MIB(2)), 0);
			file[at] = was;
		}
	}
	/* Nothing outside the kernel's own room. */
	for (uint64_t at = 0; at < MIB(4); at += 4096)
		ck_assert_uint_eq(ram64(at), 0);
	ck_assert_uint_eq(ram64(MIB(4) + SIZE), 0);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "unpacked", set_up, tear_down);

	tcase_add_test(tests, segments_go_where_they_say_whatever_the_pieces);
	tcase_add_test(tests, ram_that_reads_as_zeroes_is_left_alone_and_other_ram_is_cleared);
	tcase_add_loop_test(tests, a_kernel_moves_by_its_relocations, 0, 2);
	tcase_add_test(tests, relocations_that_make_no_sense_are_none);
	tcase_add_test(tests, what_is_not_known_is_left_to_the_decompressor);
	tcase_add_test(tests, a_file_that_ends_early_is_an_error);
	tcase_add_test(tests, no_byte_of_the_headers_breaks_anything);
}
SUITE_MAIN("unpacked", add_tests)
