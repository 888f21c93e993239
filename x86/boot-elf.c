/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ELF vmlinux, which needs no decompression: by PVH (the fastest way in) and by the 64-bit entry.
 *
 * PVH: the Xen x86/HVM direct boot ABI, note XEN_ELFNOTE_PHYS32_ENTRY. The 64-bit entry: startup_64 of
 * Documentation/arch/x86/boot.rst with a zero page. Every header field comes from a file that may lie.
 */
#include <elf.h>
#include <string.h>

#include "kvm/boot.h"
#include "kvm/log.h"
#include "kvm/x86.h"
#include "x86/boot-linux.h"

#define ELF_SEGMENTS_MAX	64
#define NOTE_PHYS32_ENTRY	18
#define NOTES_MAX		KIB(64)
#define ELF_COMMAND_LINE	2047	/* COMMAND_LINE_SIZE less the end: no header says it, and Linux drops the rest */

struct elf_boot {
	Elf64_Phdr segments[ELF_SEGMENTS_MAX];
	unsigned int count;
	uint64_t base, end;		/* physical, of all segments */
	uint64_t entry;
	uint64_t pvh_entry;		/* 0: no note */
	uint64_t initrd;
};

/* ---- reading ---- */

static bool elf_is(const struct boot *boot, Elf64_Ehdr *header)
{
	return boot_file_peek(&boot->kernel, 0, header, sizeof(*header)) == sizeof(*header) &&
	       !memcmp(header->e_ident, ELFMAG, SELFMAG) && header->e_ident[EI_CLASS] == ELFCLASS64 &&
	       header->e_ident[EI_DATA] == ELFDATA2LSB && header->e_machine == EM_X86_64;
}

static int elf_bad(const struct boot *boot, const char *what)
{
	return log_error(ENOEXEC, "kernel '%s': %s", boot->kernel.path, what);
}

static int elf_read_segments(const struct boot *boot, const Elf64_Ehdr *header, struct elf_boot *elf)
{
	if (header->e_phentsize != sizeof(Elf64_Phdr) || !header->e_phnum || header->e_phnum > ELF_SEGMENTS_MAX)
		return elf_bad(boot, "not a kernel: its program headers make no sense");
	elf->count = header->e_phnum;
	elf->entry = header->e_entry;
	return boot_file_read(&boot->kernel, header->e_phoff, elf->segments, elf->count * sizeof(Elf64_Phdr));
}

/* Loadable segments must lie in the file and in RAM above 1 MiB. */
static int elf_check_segments(const struct kvm *kvm, const struct boot *boot, struct elf_boot *elf)
{
	elf->base = UINT64_MAX;
	for (unsigned int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];

		if (segment->p_type != PT_LOAD || !segment->p_memsz)
			continue;
		if (!range_contains(0, boot->kernel.size, segment->p_offset, segment->p_filesz))
			return elf_bad(boot, "truncated: a segment lies past the file's end");
		if (segment->p_filesz > segment->p_memsz || segment->p_paddr < MIB(1) ||
		    segment->p_paddr + segment->p_memsz < segment->p_paddr)
			return elf_bad(boot, "a segment's addresses make no sense");
		if (!range_contains(0, kvm->ram[0].size, segment->p_paddr, segment->p_memsz))
			return log_error(ENOMEM, "kernel '%s': needs memory up to %llu MiB, --mem has %llu MiB", boot->kernel.path,
					 (unsigned long long)((segment->p_paddr + segment->p_memsz) >> 20) + 1,
					 (unsigned long long)(kvm_boot_ram(kvm) >> 20));
		elf->base = MIN(elf->base, segment->p_paddr);
		elf->end = MAX(elf->end, segment->p_paddr + segment->p_memsz);
	}
	return elf->end ? 0 : elf_bad(boot, "not a kernel: it has nothing to load");
}

/* Walks one note segment for Xen's 32-bit entry. */
static uint64_t elf_find_entry(const uint8_t *notes, size_t length)
{
	size_t at = 0;

	while (length - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		size_t name, description;
		uint64_t entry = 0;

		memcpy(&note, notes + at, sizeof(note));
		at += sizeof(note);
		name = ALIGN_UP((size_t)note.n_namesz, (size_t)4);
		description = ALIGN_UP((size_t)note.n_descsz, (size_t)4);
		if (name > length - at || description > length - at - name)
			return 0;
		if (note.n_type == NOTE_PHYS32_ENTRY && note.n_namesz == 4 && !memcmp(notes + at, "Xen", 4) &&
		    (note.n_descsz == 4 || note.n_descsz == 8)) {
			memcpy(&entry, notes + at + name, note.n_descsz);
			return le64toh(entry);
		}
		at += name + description;
	}
	return 0;
}

static int elf_read_notes(const struct boot *boot, struct elf_boot *elf)
{
	for (unsigned int i = 0; i < elf->count && !elf->pvh_entry; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];
		_cleanup_free_ uint8_t *notes = NULL;
		int result;

		if (segment->p_type != PT_NOTE || !segment->p_filesz || segment->p_filesz > NOTES_MAX)
			continue;
		notes = malloc(segment->p_filesz);
		if (!notes)
			return log_errno(ENOMEM, "boot");
		result = boot_file_read(&boot->kernel, segment->p_offset, notes, segment->p_filesz);
		if (result)
			return result;
		elf->pvh_entry = elf_find_entry(notes, segment->p_filesz);
	}
	return 0;
}

static int elf_read(const struct boot *boot, struct elf_boot *elf)
{
	Elf64_Ehdr header;
	int result;

	memset(elf, 0, sizeof(*elf));
	if (!elf_is(boot, &header))
		return elf_bad(boot, "not an x86-64 ELF kernel (a vmlinux)");
	result = elf_read_segments(boot, &header, elf);
	return result ? result : elf_read_notes(boot, elf);
}

static bool elf_inside(const struct elf_boot *elf, uint64_t address)
{
	return address >= elf->base && address < elf->end;
}

/* ---- both ways ---- */

static void elf_exit(struct kvm *kvm, struct boot *boot)
{
	(void)kvm;
	free(boot->private);
	boot->private = NULL;
}

static int elf_prepare(struct kvm *kvm, struct boot *boot, struct elf_boot *elf, bool pvh)
{
	int result = elf_read(boot, elf);

	if (!result)
		result = elf_check_segments(kvm, boot, elf);
	if (!result && !elf_inside(elf, pvh ? elf->pvh_entry : elf->entry))
		result = elf_bad(boot, pvh ? "has no PVH entry (build it with CONFIG_PVH, or say --boot=elf64)" :
					     "its entry point lies outside it");
	if (!result && strlen(boot->command_line) > ELF_COMMAND_LINE)
		result = log_error(E2BIG, "option --params: the kernel command line has %zu bytes, Linux takes %d",
				   strlen(boot->command_line), ELF_COMMAND_LINE);
	if (!result)
		result = linux_place_initrd(kvm, boot, UINT32_MAX, elf->base, elf->end - elf->base, &elf->initrd);
	return result;
}

static int elf_init(struct kvm *kvm, struct boot *boot, bool pvh)
{
	struct elf_boot *elf = calloc(1, sizeof(*elf));
	int result;

	if (!elf)
		return log_errno(ENOMEM, "boot");
	result = elf_prepare(kvm, boot, elf, pvh);
	if (result) {
		free(elf);
		return result;
	}
	boot->private = elf;
	return 0;
}

/* After a reset RAM holds the last kernel's data, so what a segment has beyond the file is zeroed. */
static int elf_load_segments(struct kvm *kvm, const struct boot *boot, const struct elf_boot *elf)
{
	for (unsigned int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];
		int result = 0;

		if (segment->p_type != PT_LOAD || !segment->p_memsz)
			continue;
		if (segment->p_filesz)
			result = boot_file_load(kvm, &boot->kernel, segment->p_offset, segment->p_filesz, gpa(segment->p_paddr));
		if (!result && kvm->started_ns)
			result = memory_set(&kvm->memory, gpa(segment->p_paddr + segment->p_filesz), 0,
					    segment->p_memsz - segment->p_filesz);
		if (result)
			return result;
	}
	return 0;
}

/* ---- PVH ---- */

struct hvm_start_info {
	le32 magic, version, flags, nr_modules;
	le64 modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	le32 memmap_entries, reserved;
};
struct hvm_modlist_entry {
	le64 paddr, size, cmdline_paddr, reserved;
};
struct hvm_memmap_entry {
	le64 addr, size;
	le32 type, reserved;
};
_Static_assert(sizeof(struct hvm_start_info) == 56, "PVH boot ABI, version 1");
_Static_assert(sizeof(struct hvm_memmap_entry) == 24, "PVH boot ABI, version 1");

#define HVM_START_MAGIC	0x336ec578
#define HVM_MODULES	(X86_HVM_START_INFO + 0x80)
#define HVM_MEMORY_MAP	(X86_HVM_START_INFO + 0x100)

static int pvh_load_info(struct kvm *kvm, const struct boot *boot, const struct elf_boot *elf)
{
	struct x86_memory map[X86_MEMORY_MAX];
	struct hvm_memmap_entry entries[X86_MEMORY_MAX];
	size_t count = x86_memory_map(kvm, map);
	struct hvm_modlist_entry module = { .paddr = le64_of(elf->initrd), .size = le64_of(boot->initrd.size) };
	struct hvm_start_info info = {
		.magic = le32_of(HVM_START_MAGIC), .version = le32_of(1), .nr_modules = le32_of(elf->initrd ? 1 : 0),
		.modlist_paddr = le64_of(elf->initrd ? HVM_MODULES : 0), .cmdline_paddr = le64_of(X86_COMMAND_LINE),
		.rsdp_paddr = le64_of(X86_TABLES), .memmap_paddr = le64_of(HVM_MEMORY_MAP),
		.memmap_entries = le32_of((uint32_t)count),
	};
	int result;

	for (size_t i = 0; i < count; i++)
		entries[i] = (struct hvm_memmap_entry){ .addr = le64_of(map[i].base), .size = le64_of(map[i].size),
							.type = le32_of(map[i].type) };
	result = memory_write(&kvm->memory, gpa(X86_HVM_START_INFO), &info, sizeof(info));
	if (!result)
		result = memory_write(&kvm->memory, gpa(HVM_MODULES), &module, sizeof(module));
	if (!result)
		result = memory_write(&kvm->memory, gpa(HVM_MEMORY_MAP), entries, count * sizeof(entries[0]));
	if (!result)
		result = memory_write(&kvm->memory, gpa(X86_COMMAND_LINE), boot->command_line, strlen(boot->command_line) + 1);
	if (!result && elf->initrd)
		result = boot_file_load(kvm, &boot->initrd, 0, boot->initrd.size, gpa(elf->initrd));
	return result;
}

static int pvh_load(struct kvm *kvm, struct boot *boot)
{
	const struct elf_boot *elf = boot->private;
	int result = elf_load_segments(kvm, boot, elf);

	if (!result)
		result = pvh_load_info(kvm, boot, elf);
	if (!result)
		result = x86_load_long_mode(kvm);
	*x86_entry(kvm) = (struct x86_entry){
		.mode = X86_PROTECTED, .rip = elf->pvh_entry, .rbx = X86_HVM_START_INFO,
	};
	return result;
}

static int pvh_probe(struct kvm *kvm, const struct boot *boot)
{
	struct elf_boot elf;
	Elf64_Ehdr header;
	int result;

	(void)kvm;
	if (!elf_is(boot, &header))
		return 0;
	result = elf_read(boot, &elf);
	return result ? result : elf.pvh_entry != 0;
}

static int pvh_init(struct kvm *kvm, struct boot *boot)
{
	return elf_init(kvm, boot, true);
}

static const struct boot_protocol pvh_protocol = {
	.name = "pvh",
	.kind = "ELF vmlinux",
	.priority = 15,
	.probe = pvh_probe,
	.init = pvh_init,
	.exit = elf_exit,
	.load = pvh_load,
};
BOOT_PROTOCOL(pvh_protocol);

/* ---- the 64-bit entry ---- */

static int elf64_load(struct kvm *kvm, struct boot *boot)
{
	const struct elf_boot *elf = boot->private;
	/* A vmlinux has no setup header of its own: what startup_64 reads of it is made up here. */
	const struct setup_header header = {
		.boot_flag = 0xaa55, .header = 0x53726448, .version = 0x20c, .loadflags = LOADED_HIGH,
		.cmdline_size = ELF_COMMAND_LINE, .kernel_alignment = (uint32_t)MIB(2),
	};
	int result = elf_load_segments(kvm, boot, elf);

	if (!result)
		result = linux_load_zero_page(kvm, boot, &header, elf->initrd);
	if (!result)
		result = x86_load_long_mode(kvm);
	*x86_entry(kvm) = (struct x86_entry){
		.mode = X86_LONG, .rip = elf->entry, .rsi = X86_ZERO_PAGE, .rsp = X86_BOOT_STACK,
	};
	return result;
}

static int elf64_probe(struct kvm *kvm, const struct boot *boot)
{
	Elf64_Ehdr header;

	(void)kvm;
	return elf_is(boot, &header);
}

static int elf64_init(struct kvm *kvm, struct boot *boot)
{
	return elf_init(kvm, boot, false);
}

static const struct boot_protocol elf64_protocol = {
	.name = "elf64",
	.kind = "ELF vmlinux",
	.priority = 10,
	.probe = elf64_probe,
	.init = elf64_init,
	.exit = elf_exit,
	.load = elf64_load,
};
BOOT_PROTOCOL(elf64_protocol);
