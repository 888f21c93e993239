/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tests the x86 boot protocols' reading of kernel files, honest and hostile, where things go in RAM, and the
 * zero page. No KVM is needed: what only the vCPUs see of it is for tests/integration.
 */
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm/boot.h"
#include "kvm/x86.h"
#include "tests/unit/board.h"
#include "x86/boot-linux.h"

#define SETUP_SECTS	1
#define PAYLOAD		4096
#define FILE_SIZE	8192

static char path[64], initrd[64], said[512];
static struct kvm *kvm;
static uint8_t image[FILE_SIZE];
static size_t image_size;

static void listen_in(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static void write_file(const char *to, const void *bytes, size_t length)
{
	FILE *out = fopen(to, "w");

	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(fwrite(bytes, 1, length, out), length);
	ck_assert_int_eq(fclose(out), 0);
}

static void set_up(void)
{
	snprintf(path, sizeof(path), "/tmp/lkvm-test-kernel.%d", getpid());
	snprintf(initrd, sizeof(initrd), "/tmp/lkvm-test-initrd.%d", getpid());
	kvm = board_create();
	ck_assert_int_eq(config_set(kvm->config, "kernel", path), 0);
	memset(image, 0, sizeof(image));
	said[0] = '\0';
	log_set_sink(listen_in);
}

static void tear_down(void)
{
	log_set_sink(NULL);
	board_destroy(kvm);
	unlink(path);
	unlink(initrd);
}

static void set(const char *option, const char *value)
{
	ck_assert_int_eq(config_set(kvm->config, option, value), 0);
}

/* What firmware_init does with the image; undone again. Returns its result. */
static int try_boot(void)
{
	struct board_pick pick = { .name = "boot_init" };
	struct init_done done = { 0 };
	int result;

	write_file(path, image, image_size);
	init_for_each(board_pick_item, &pick);
	ck_assert_ptr_nonnull(pick.item);
	result = pick.item->init(kvm);
	if (!result) {
		done.items = malloc(sizeof(*done.items));
		ck_assert_ptr_nonnull(done.items);
		done.items[done.count++] = pick.item;
		init_unwind(kvm, &done);
		/* The list is the VM's, which ends as a rule when this is unwound. */
		kvm->firmware = NULL;
	}
	return result;
}

static void assert_refused(const char *why)
{
	int result = try_boot();

	ck_assert_msg(result < 0, "expected a refusal that speaks of '%s', but it boots", why);
	ck_assert_msg(strstr(said, why) != NULL, "expected '%s' in the message, seen '%s'", why, said);
}

/* ---- bzImage ---- */

static struct setup_header *bzimage(void)
{
	struct setup_header *header = (void *)(image + 0x1f1);

	memset(image, 0, sizeof(image));
	header->setup_sects = SETUP_SECTS;
	header->boot_flag = 0xaa55;
	header->jump = 0x6aeb;
	header->header = 0x53726448;
	header->version = 0x20f;
	header->syssize = PAYLOAD / 16;
	header->loadflags = LOADED_HIGH;
	header->xloadflags = XLF_KERNEL_64;
	header->initrd_addr_max = 0x7fffffff;
	header->kernel_alignment = (uint32_t)MIB(2);
	header->relocatable_kernel = 1;
	header->cmdline_size = 2047;
	header->pref_address = MIB(16);
	header->init_size = (uint32_t)MIB(8);
	image_size = (SETUP_SECTS + 1) * 512 + PAYLOAD;
	return header;
}

START_TEST(an_honest_bzimage_boots_by_both_of_its_protocols)
{
	bzimage();

	ck_assert_msg(!try_boot(), "%s", said);
	set("boot", "linux64");
	ck_assert_msg(!try_boot(), "%s", said);
	set("boot", "bios16");
	ck_assert_msg(!try_boot(), "%s", said);
}
END_TEST

START_TEST(a_truncated_bzimage_is_refused)
{
	bzimage();
	image_size -= 16;
	assert_refused("truncated");
	image_size = (SETUP_SECTS + 1) * 512;
	assert_refused("truncated");
	image_size = 0x206;
	assert_refused("truncated");
	bzimage();
	image_size -= 16;
	set("boot", "bios16");
	assert_refused("truncated");
}
END_TEST

START_TEST(a_size_of_setup_that_lies_is_refused)
{
	bzimage()->setup_sects = 255;
	assert_refused("truncated");
	/* 0 means 4 */
	bzimage()->setup_sects = 0;
	assert_refused("truncated");
	image_size = 5 * 512 + PAYLOAD;
	ck_assert_msg(!try_boot(), "%s", said);
}
END_TEST

START_TEST(old_protocols_and_low_kernels_are_refused)
{
	bzimage()->version = 0x205;
	assert_refused("at least 2.06");
	bzimage()->loadflags = 0;
	assert_refused("zImage");
}
END_TEST

START_TEST(a_kernel_of_32_bits_goes_by_the_16_bit_way)
{
	bzimage()->xloadflags = 0;
	ck_assert_msg(!try_boot(), "%s", said);
	set("boot", "linux64");
	assert_refused("is not bzImage");
}
END_TEST

START_TEST(text_is_no_kernel_and_the_message_says_what_is)
{
	snprintf((char *)image, sizeof(image), "#!/bin/sh\necho no kernel\n");
	image_size = FILE_SIZE;
	assert_refused("bzImage");
	set("boot", "nonsense");
	assert_refused("linux64");
}
END_TEST

START_TEST(a_command_line_too_long_is_an_error_and_never_cut)
{
	char line[128];

	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	set("params", line);
	set("nodefaults", "true");
	bzimage()->cmdline_size = sizeof(line) - 1;
	ck_assert_msg(!try_boot(), "%s", said);
	bzimage()->cmdline_size = sizeof(line) - 2;
	assert_refused("command line");
	set("boot", "bios16");
	assert_refused("command line");
}
END_TEST

START_TEST(a_kernel_that_needs_more_memory_is_refused)
{
	struct setup_header *header = bzimage();

	header->init_size = (uint32_t)MIB(127);
	assert_refused("--mem");
	header->init_size = UINT32_MAX;
	assert_refused("--mem");
	header->init_size = (uint32_t)MIB(8);
	header->pref_address = UINT64_MAX - 4096;
	ck_assert_msg(!try_boot(), "a relocatable kernel may lie lower: %s", said);
	header->relocatable_kernel = 0;
	assert_refused("--mem");
}
END_TEST

START_TEST(an_initrd_with_no_room_is_refused)
{
	bzimage();
	write_file(initrd, "", 0);
	ck_assert_int_eq(truncate(initrd, (off_t)MIB(110)), 0);
	set("initrd", initrd);
	assert_refused("initrd");
	ck_assert_int_eq(truncate(initrd, (off_t)MIB(129)), 0);
	assert_refused("more than the machine's RAM");
	ck_assert_int_eq(truncate(initrd, (off_t)MIB(64)), 0);
	ck_assert_msg(!try_boot(), "%s", said);
}
END_TEST

/* Every byte made hostile: booted or refused, but never out of bounds (the sanitizers watch). */
static void try_each_byte(size_t first, size_t last)
{
	static const uint8_t values[] = { 0x00, 0x7f, 0x80, 0xff };

	for (size_t at = first; at < last; at++) {
		uint8_t saved = image[at];

		for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
			int result;

			image[at] = values[i];
			said[0] = '\0';
			result = try_boot();
			ck_assert_msg(result <= 0, "byte %zu", at);
			ck_assert_msg(!result || said[0], "byte %zu: refused without a word", at);
		}
		image[at] = saved;
	}
}

START_TEST(no_byte_of_a_setup_header_breaks_anything)
{
	bzimage();
	try_each_byte(0x1f1, 0x270);
}
END_TEST

/* ---- ELF ---- */

#define NOTE_OFFSET	0x200
#define LOAD_OFFSET	0x1000

static Elf64_Ehdr *elf_header(void)
{
	return (void *)image;
}

static Elf64_Phdr *elf_segment(unsigned int i)
{
	return (Elf64_Phdr *)(void *)(image + sizeof(Elf64_Ehdr)) + i;
}

static uint32_t *elf_note(void)
{
	return (uint32_t *)(void *)(image + NOTE_OFFSET);
}

/* Segment 0 is loaded at 16 MiB, segment 1 holds the PVH note. */
static void vmlinux(void)
{
	Elf64_Ehdr *header = elf_header();

	memset(image, 0, sizeof(image));
	memcpy(header->e_ident, ELFMAG, SELFMAG);
	header->e_ident[EI_CLASS] = ELFCLASS64;
	header->e_ident[EI_DATA] = ELFDATA2LSB;
	header->e_machine = EM_X86_64;
	header->e_entry = MIB(16);
	header->e_phoff = sizeof(*header);
	header->e_phentsize = sizeof(Elf64_Phdr);
	header->e_phnum = 2;
	*elf_segment(0) = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_offset = LOAD_OFFSET, .p_paddr = MIB(16), .p_filesz = 4096, .p_memsz = MIB(1),
	};
	*elf_segment(1) = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = NOTE_OFFSET, .p_filesz = 20 };
	elf_note()[0] = 4;
	elf_note()[1] = 4;
	elf_note()[2] = 18;
	memcpy(elf_note() + 3, "Xen", 4);
	elf_note()[4] = (uint32_t)MIB(16) + 0x100;
	image_size = FILE_SIZE;
}

START_TEST(an_elf_kernels_command_line_is_never_cut_either)
{
	static char line[2049];

	memset(line, 'x', sizeof(line) - 1);
	vmlinux();
	set("nodefaults", "true");
	set("params", line);
	assert_refused("command line");
	set("boot", "elf64");
	assert_refused("command line");
	line[2047] = '\0';
	set("params", line);
	ck_assert_msg(!try_boot(), "%s", said);
}
END_TEST

START_TEST(an_honest_vmlinux_boots_by_both_of_its_protocols)
{
	vmlinux();

	ck_assert_msg(!try_boot(), "%s", said);
	set("boot", "pvh");
	ck_assert_msg(!try_boot(), "%s", said);
	set("boot", "elf64");
	ck_assert_msg(!try_boot(), "%s", said);
}
END_TEST

START_TEST(a_vmlinux_without_the_note_boots_by_its_64_bit_entry)
{
	vmlinux();
	elf_note()[2] = 17;
	ck_assert_msg(!try_boot(), "%s", said);
	set("boot", "pvh");
	assert_refused("ELF vmlinux");
}
END_TEST

START_TEST(program_headers_that_lie_are_refused)
{
	set("boot", "elf64");
	vmlinux();
	elf_header()->e_phoff = FILE_SIZE - 8;
	assert_refused("truncated");
	elf_header()->e_phoff = UINT64_MAX - 8;
	assert_refused("kernel");
	vmlinux();
	elf_header()->e_phnum = 0;
	assert_refused("program headers");
	elf_header()->e_phnum = 0xffff;
	assert_refused("program headers");
	vmlinux();
	elf_header()->e_phentsize = 8;
	assert_refused("program headers");
	vmlinux();
	elf_segment(0)->p_type = PT_NULL;
	assert_refused("nothing to load");
}
END_TEST

START_TEST(segments_that_lie_are_refused)
{
	set("boot", "elf64");
	vmlinux();
	elf_segment(0)->p_memsz = UINT64_MAX - MIB(16) + 2;
	assert_refused("make no sense");
	vmlinux();
	elf_segment(0)->p_memsz = MIB(113);
	assert_refused("--mem");
	vmlinux();
	elf_segment(0)->p_filesz = MIB(2);
	assert_refused("truncated");
	vmlinux();
	elf_segment(0)->p_offset = UINT64_MAX - 100;
	assert_refused("truncated");
	vmlinux();
	elf_segment(0)->p_memsz = 100;
	assert_refused("make no sense");
	vmlinux();
	elf_segment(0)->p_paddr = 0x1000;
	assert_refused("make no sense");
	vmlinux();
	elf_header()->e_entry = MIB(64);
	assert_refused("entry point");
}
END_TEST

START_TEST(notes_that_lie_give_no_entry)
{
	set("boot", "pvh");
	vmlinux();
	elf_note()[0] = UINT32_MAX;
	assert_refused("ELF vmlinux");
	vmlinux();
	elf_note()[1] = UINT32_MAX;
	assert_refused("ELF vmlinux");
	vmlinux();
	elf_note()[1] = 8;
	assert_refused("ELF vmlinux");
	vmlinux();
	elf_segment(1)->p_offset = FILE_SIZE - 4;
	assert_refused("truncated");
	vmlinux();
	elf_note()[4] = 0x1000;
	assert_refused("PVH");
}
END_TEST

START_TEST(no_byte_of_an_elf_file_breaks_anything)
{
	vmlinux();
	try_each_byte(0, sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr));
	try_each_byte(NOTE_OFFSET, NOTE_OFFSET + 20);
}
END_TEST

START_TEST(a_flat_binary_is_taken_only_by_name_and_only_if_it_fits)
{
	image_size = 100;
	assert_refused("not a kernel");
	set("boot", "flat");
	ck_assert_msg(!try_boot(), "%s", said);
}
END_TEST

/* ---- memory ---- */

static void set_ram(uint64_t size)
{
	kvm->ram_size = size;
	ck_assert_int_eq(arch_ram_layout(kvm), 0);
}

START_TEST(the_memory_map_is_sorted_and_adds_up)
{
	static const uint64_t sizes[] = { MIB(16), MIB(128), MIB(3072) - 4096, MIB(3072), MIB(3072) + 4096, GIB(6), GIB(512) };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct x86_memory map[X86_MEMORY_MAX];
		uint64_t ram = 0, end = 0;
		size_t count;

		set_ram(sizes[i]);
		count = x86_memory_map(kvm, map);
		for (size_t n = 0; n < count; n++) {
			ck_assert_uint_ge(map[n].base, end);
			end = map[n].base + map[n].size;
			ram += map[n].type == X86_MEMORY_RAM ? map[n].size : 0;
			ck_assert(map[n].type != X86_MEMORY_RAM || end <= X86_PCI_HOLE || map[n].base >= GIB(4));
		}
		/* All but what lies from the EBDA up to 1 MiB. */
		ck_assert_uint_eq(ram, sizes[i] - (MIB(1) - X86_LOW_RAM_END));
		ck_assert_uint_eq(map[0].size, 0x9fc00);
	}
}
END_TEST

START_TEST(an_initrd_lies_as_high_as_it_may)
{
	static const struct {
		uint64_t ram, size, last, kernel, kernel_size, want;
	} cases[] = {
		{ MIB(128), MIB(8), 0x7fffffff, MIB(16), MIB(8), MIB(120) },
		{ MIB(128), MIB(8) - 1, 0x7fffffff, MIB(16), MIB(8), MIB(120) },
		/* the kernel's limit */
		{ GIB(2), MIB(8), 0x37ffffff, MIB(16), MIB(8), 0x38000000 - MIB(8) },
		/* below the hole, though there is RAM above it */
		{ GIB(6), MIB(8), UINT64_MAX, MIB(16), MIB(8), X86_PCI_HOLE - MIB(8) },
		{ GIB(6), MIB(8), UINT32_MAX, MIB(16), MIB(8), X86_PCI_HOLE - MIB(8) },
		/* above 4 GiB when it fits nowhere else and the kernel takes it there */
		{ GIB(10), GIB(4), UINT64_MAX, MIB(16), MIB(8), GIB(4) + GIB(3) },
		{ GIB(10), GIB(4), UINT32_MAX, MIB(16), MIB(8), 0 },
		/* the kernel at the top: under it */
		{ MIB(32), MIB(8), 0x7fffffff, MIB(20), MIB(12), MIB(12) },
		{ MIB(32), MIB(8), 0x7fffffff, MIB(16), MIB(12), MIB(8) },
		{ MIB(32), MIB(8), 0x7fffffff, MIB(2), MIB(30), 0 },
		{ MIB(32), MIB(40), 0x7fffffff, MIB(16), MIB(8), 0 },
		{ MIB(32), UINT64_MAX, 0x7fffffff, MIB(16), MIB(8), 0 },
		{ MIB(32), MIB(8), 0, MIB(16), MIB(8), 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t seen;

		set_ram(cases[i].ram);
		seen = x86_place_initrd(kvm, cases[i].size, cases[i].last, cases[i].kernel, cases[i].kernel_size);
		ck_assert_msg(seen == cases[i].want, "case %zu: expected 0x%llx, seen 0x%llx", i,
			      (unsigned long long)cases[i].want, (unsigned long long)seen);
	}
}
END_TEST

START_TEST(the_zero_page_says_what_was_decided)
{
	uint8_t *host = mmap(NULL, MIB(1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct region ram = { .kind = REGION_RAM, .name = "ram", .size = MIB(1), .host = host };
	const struct setup_header header = { .version = 0x20f, .header = 0x53726448, .loadflags = LOADED_HIGH };
	const struct boot_params *zero = (void *)(host + X86_ZERO_PAGE);
	char line[] = "console=ttyS0 lkvm";
	struct boot boot = { .command_line = line };
	const struct setup_data *seed;

	ck_assert_ptr_ne(host, MAP_FAILED);
	memset(host + X86_COMMAND_LINE, 0xee, 64);
	ck_assert_int_eq(region_add(&kvm->memory, &ram, 0, 0), 0);
	set_ram(GIB(6));

	ck_assert_int_eq(linux_load_zero_page(kvm, &boot, &header, 0), 0);

	ck_assert_uint_eq(zero->hdr.type_of_loader, 0xff);
	ck_assert_uint_eq(zero->hdr.cmd_line_ptr, X86_COMMAND_LINE);
	ck_assert_uint_eq(zero->hdr.ramdisk_size, 0);
	ck_assert_uint_eq(zero->acpi_rsdp_addr, X86_TABLES);
	ck_assert_mem_eq(host + X86_COMMAND_LINE, line, sizeof(line));
	ck_assert_uint_eq(zero->e820_table[zero->e820_entries - 1].addr, GIB(4));
	ck_assert_uint_eq(zero->e820_table[zero->e820_entries - 1].size, GIB(3));
	seed = (void *)(host + zero->hdr.setup_data);
	ck_assert_uint_eq(seed->type, 9);
	ck_assert_uint_eq(seed->len, 32);
	ck_assert_uint_eq(seed->next, 0);

	region_del(&ram);
	munmap(host, MIB(1));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "files", set_up, tear_down);

	tcase_add_test(tests, an_honest_bzimage_boots_by_both_of_its_protocols);
	tcase_add_test(tests, a_truncated_bzimage_is_refused);
	tcase_add_test(tests, a_size_of_setup_that_lies_is_refused);
	tcase_add_test(tests, old_protocols_and_low_kernels_are_refused);
	tcase_add_test(tests, a_kernel_of_32_bits_goes_by_the_16_bit_way);
	tcase_add_test(tests, text_is_no_kernel_and_the_message_says_what_is);
	tcase_add_test(tests, a_command_line_too_long_is_an_error_and_never_cut);
	tcase_add_test(tests, an_elf_kernels_command_line_is_never_cut_either);
	tcase_add_test(tests, a_kernel_that_needs_more_memory_is_refused);
	tcase_add_test(tests, an_initrd_with_no_room_is_refused);
	tcase_add_test(tests, no_byte_of_a_setup_header_breaks_anything);
	tcase_add_test(tests, an_honest_vmlinux_boots_by_both_of_its_protocols);
	tcase_add_test(tests, a_vmlinux_without_the_note_boots_by_its_64_bit_entry);
	tcase_add_test(tests, program_headers_that_lie_are_refused);
	tcase_add_test(tests, segments_that_lie_are_refused);
	tcase_add_test(tests, notes_that_lie_give_no_entry);
	tcase_add_test(tests, no_byte_of_an_elf_file_breaks_anything);
	tcase_add_test(tests, a_flat_binary_is_taken_only_by_name_and_only_if_it_fits);
	tcase_add_test(tests, the_memory_map_is_sorted_and_adds_up);
	tcase_add_test(tests, an_initrd_lies_as_high_as_it_may);
	tcase_add_test(tests, the_zero_page_says_what_was_decided);
}
SUITE_MAIN("x86-boot", add_tests)
