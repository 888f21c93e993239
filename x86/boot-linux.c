/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bzImage by the 64-bit boot protocol: its own decompressor unpacks it.
 *
 * Documentation/arch/x86/boot.rst. The setup header is copied once, checked, then used; the protected-mode
 * part goes where the kernel prefers it, vCPU 0 begins 0x200 into it in long mode.
 */
#include <asm/bootparam.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "kvm/boot.h"
#include "kvm/log.h"
#include "kvm/x86.h"
#include "x86/boot-linux.h"

#define HEADER_OFFSET	0x1f1
#define MAGIC_OFFSET	0x202
#define ENTRY_64	0x200
#define SEED_BYTES	32

bool linux_is_bzimage(const struct boot *boot)
{
	char magic[4];

	return boot_file_peek(&boot->kernel, MAGIC_OFFSET, magic, sizeof(magic)) == sizeof(magic) &&
	       !memcmp(magic, "HdrS", sizeof(magic));
}

uint64_t linux_payload_offset(const struct setup_header *header)
{
	return ((header->setup_sects ? header->setup_sects : 4) + 1) * 512ULL;
}

/* syssize counts the protected-mode part in 16 bytes, rounded up; signatures and padding may follow it. */
static int linux_check_size(const struct boot *boot, const struct setup_header *header)
{
	uint64_t needed = linux_payload_offset(header) + MAX(header->syssize, 1U) * 16ULL;

	if (boot->kernel.size + 15 < needed)
		return log_error(ENOEXEC, "kernel '%s': truncated: it should have %llu bytes, it has %llu", boot->kernel.path,
				 (unsigned long long)needed, (unsigned long long)boot->kernel.size);
	return 0;
}

int linux_read_header(const struct boot *boot, struct setup_header *header)
{
	uint8_t jump[2];
	size_t length;
	int result = boot_file_read(&boot->kernel, 0x200, jump, sizeof(jump));

	if (result)
		return result;
	/* The header ends where the jump over it lands: 0x202 plus the jump's operand. */
	length = MIN((size_t)MAGIC_OFFSET + jump[1] - HEADER_OFFSET, sizeof(*header));
	memset(header, 0, sizeof(*header));
	result = boot_file_read(&boot->kernel, HEADER_OFFSET, header, length);
	if (result)
		return result;
	if (header->version < 0x206)
		return log_error(ENOEXEC, "kernel '%s': boot protocol %u.%02u, at least 2.06 is needed (Linux 2.6.22)",
				 boot->kernel.path, header->version >> 8, header->version & 0xff);
	if (!(header->loadflags & LOADED_HIGH))
		return log_error(ENOEXEC, "kernel '%s': a zImage (make bzImage instead)", boot->kernel.path);
	return linux_check_size(boot, header);
}

int linux_check_command_line(const struct boot *boot, const struct setup_header *header)
{
	size_t length = strlen(boot->command_line), max = MIN((uint64_t)header->cmdline_size, X86_COMMAND_LINE_MAX - 1);

	if (length > max)
		return log_error(E2BIG, "option --params: the kernel command line has %zu bytes, this kernel takes %zu", length, max);
	return 0;
}

int linux_probe(struct kvm *kvm, const struct boot *boot)
{
	struct setup_header header;
	int result;

	(void)kvm;
	if (!linux_is_bzimage(boot))
		return 0;
	result = linux_read_header(boot, &header);
	if (result)
		return result;
	return header.xloadflags & XLF_KERNEL_64 ? 1 : 0;
}

/* Where the kernel wants to be, if RAM reaches that far; else as low as its alignment lets it. */
static int linux_place(struct kvm *kvm, const struct boot *boot, struct linux_boot *linux_boot)
{
	const struct setup_header *header = &linux_boot->header;
	uint64_t align = IS_POWER_OF_2(header->kernel_alignment) ? header->kernel_alignment : MIB(2);
	uint64_t end = kvm->ram[0].size;

	linux_boot->init_size = MAX((uint64_t)header->init_size, linux_boot->payload_size);
	linux_boot->load = header->version >= 0x20a && header->pref_address ? header->pref_address : MIB(1);
	if (range_contains(MIB(1), end > MIB(1) ? end - MIB(1) : 0, linux_boot->load, linux_boot->init_size))
		return 0;
	linux_boot->load = ALIGN_UP(MIB(1), align);
	if (header->relocatable_kernel &&
	    range_contains(MIB(1), end > MIB(1) ? end - MIB(1) : 0, linux_boot->load, linux_boot->init_size))
		return 0;
	return log_error(ENOMEM, "kernel '%s': needs %llu MiB from %llu MiB on, --mem has %llu MiB", boot->kernel.path,
			 (unsigned long long)(linux_boot->init_size >> 20) + 1, (unsigned long long)(linux_boot->load >> 20),
			 (unsigned long long)(kvm_boot_ram(kvm) >> 20));
}

int linux_place_initrd(struct kvm *kvm, const struct boot *boot, uint64_t last, uint64_t load, uint64_t size,
		       uint64_t *address)
{
	*address = 0;
	if (!boot_file_has(&boot->initrd))
		return 0;
	*address = x86_place_initrd(kvm, boot->initrd.size, last, load, size);
	if (!*address)
		return log_error(ENOMEM, "initrd '%s': %llu MiB don't fit beside the kernel into %llu MiB (say more --mem)",
				 boot->initrd.path, (unsigned long long)(boot->initrd.size >> 20) + 1,
				 (unsigned long long)(kvm_boot_ram(kvm) >> 20));
	return 0;
}

static int linux_check(struct kvm *kvm, struct boot *boot, struct linux_boot *linux_boot)
{
	struct setup_header *header = &linux_boot->header;
	uint64_t last;
	int result = linux_read_header(boot, header);

	if (!result)
		result = linux_check_command_line(boot, header);
	if (result)
		return result;
	linux_boot->payload_offset = linux_payload_offset(header);
	linux_boot->payload_size = boot->kernel.size - linux_boot->payload_offset;
	result = linux_place(kvm, boot, linux_boot);
	last = header->xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G ? UINT64_MAX : header->initrd_addr_max;
	if (!result)
		result = linux_place_initrd(kvm, boot, last, linux_boot->load, linux_boot->init_size, &linux_boot->initrd);
	return result;
}

int linux_init(struct kvm *kvm, struct boot *boot)
{
	struct linux_boot *linux_boot = calloc(1, sizeof(*linux_boot));
	int result;

	if (!linux_boot)
		return log_errno(ENOMEM, "boot");
	result = linux_check(kvm, boot, linux_boot);
	if (result) {
		free(linux_boot);
		return result;
	}
	boot->private = linux_boot;
	return 0;
}

void linux_exit(struct kvm *kvm, struct boot *boot)
{
	(void)kvm;
	free(boot->private);
	boot->private = NULL;
}

/* ---- the zero page ---- */

void linux_fill_e820(const struct kvm *kvm, struct boot_params *zero)
{
	struct x86_memory map[X86_MEMORY_MAX];
	size_t count = x86_memory_map(kvm, map);

	for (size_t i = 0; i < count; i++)
		zero->e820_table[i] = (struct boot_e820_entry){ map[i].base, map[i].size, map[i].type };
	zero->e820_entries = (uint8_t)count;
}

/* A seed for the guest's random pool, so that it needn't wait for entropy. */
static int linux_load_seed(struct kvm *kvm, struct setup_header *header)
{
	struct {
		struct setup_data head;
		uint8_t seed[SEED_BYTES];
	} data = { .head = { .next = 0, .type = 9 /* SETUP_RNG_SEED */, .len = SEED_BYTES } };

	if (getrandom(data.seed, sizeof(data.seed), GRND_NONBLOCK) != sizeof(data.seed))
		return 0;
	header->setup_data = X86_SETUP_DATA;
	return memory_write(&kvm->memory, gpa(X86_SETUP_DATA), &data, sizeof(data));
}

int linux_load_zero_page(struct kvm *kvm, struct boot *boot, const struct setup_header *header, uint64_t initrd)
{
	struct boot_params zero;
	struct setup_header *out = &zero.hdr;
	int result;

	memset(&zero, 0, sizeof(zero));
	*out = *header;
	out->type_of_loader = 0xff;
	out->vid_mode = 0xffff;
	out->cmd_line_ptr = X86_COMMAND_LINE;
	out->setup_data = 0;
	zero.acpi_rsdp_addr = X86_TABLES;
	out->ramdisk_image = (uint32_t)initrd;
	out->ramdisk_size = (uint32_t)boot->initrd.size;
	zero.ext_ramdisk_image = (uint32_t)(initrd >> 32);
	zero.ext_ramdisk_size = (uint32_t)(boot->initrd.size >> 32);
	linux_fill_e820(kvm, &zero);
	result = header->version >= 0x209 ? linux_load_seed(kvm, out) : 0;
	if (!result)
		result = memory_write(&kvm->memory, gpa(X86_COMMAND_LINE), boot->command_line,
				      strlen(boot->command_line) + 1);
	if (!result)
		result = memory_write(&kvm->memory, gpa(X86_ZERO_PAGE), &zero, sizeof(zero));
	if (!result && initrd)
		result = boot_file_load(kvm, &boot->initrd, 0, boot->initrd.size, gpa(initrd));
	return result ? log_errno(result, "boot: the zero page can't be written") : 0;
}

int linux_load(struct kvm *kvm, struct boot *boot)
{
	const struct linux_boot *linux_boot = boot->private;
	int result = linux_load_zero_page(kvm, boot, &linux_boot->header, linux_boot->initrd);

	if (!result)
		result = x86_load_long_mode(kvm);
	if (!result)
		result = boot_file_load(kvm, &boot->kernel, linux_boot->payload_offset, linux_boot->payload_size,
					gpa(linux_boot->load));
	*x86_entry(kvm) = (struct x86_entry){
		.mode = X86_LONG, .rip = linux_boot->load + ENTRY_64, .rsi = X86_ZERO_PAGE, .rsp = X86_BOOT_STACK,
	};
	return result;
}

static const struct boot_protocol linux64_protocol = {
	.name = "linux64",
	.kind = "bzImage",
	.priority = 20,
	.probe = linux_probe,
	.init = linux_init,
	.exit = linux_exit,
	.load = linux_load,
};
BOOT_PROTOCOL(linux64_protocol);
