/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 16-bit way in, --boot=bios16: a bzImage begins in its own real-mode setup code, anything else as a boot
 * sector would, at 0000:7C00, with the services of x86/bios16.S behind the interrupt vectors.
 *
 * Documentation/arch/x86/boot.rst, "The 16-bit boot protocol".
 */
#include <string.h>

#include "kvm/boot.h"
#include "kvm/log.h"
#include "kvm/x86.h"
#include "x86/boot-linux.h"

#define SETUP_SEGMENT	0x1000		/* X86_FLAT_BASE */
#define SETUP_MAX	KIB(32)
#define HEAP_END	0xe000
#define HIGH_LOAD	MIB(1)
#define SECTOR_LOAD	0x7c00
#define BIOS_SEGMENT	0xf000U
#define BIOS_OFFSET	(X86_BIOS - BIOS_SEGMENT * 16ULL)

extern const uint8_t bios16_start[], bios16_data[], bios16_end[];

/* As at bios16_data. */
struct bios16_data {
	le32 e820_count;
	le16 kib_above_1m, kib_below_16m, blocks_above_16m, reserved;
	struct {
		le64 base, size;
		le32 type;
	} __packed e820[X86_MEMORY_MAX];
} __packed;

struct bios16_boot {
	struct setup_header header;	/* bzImage */
	bool bzimage;
	uint64_t setup_size, payload_size, initrd;
};

/* ---- before the VM starts ---- */

static int bios16_probe(struct kvm *kvm, const struct boot *boot)
{
	(void)kvm;
	return linux_is_bzimage(boot);
}

static int bios16_check_bzimage(struct kvm *kvm, struct boot *boot, struct bios16_boot *bios)
{
	uint64_t room = kvm->ram[0].size > HIGH_LOAD ? kvm->ram[0].size - HIGH_LOAD : 0;
	int result = linux_read_header(boot, &bios->header);

	if (!result)
		result = linux_check_command_line(boot, &bios->header);
	if (result)
		return result;
	bios->setup_size = linux_payload_offset(&bios->header);
	if (bios->setup_size > SETUP_MAX)
		return log_error(ENOEXEC, "kernel '%s': its real-mode part of %llu bytes is too large", boot->kernel.path,
				 (unsigned long long)bios->setup_size);
	bios->payload_size = boot->kernel.size - bios->setup_size;
	if (MAX(bios->payload_size, (uint64_t)bios->header.init_size) > room)
		return log_error(ENOMEM, "kernel '%s': doesn't fit into %llu MiB (say more --mem)", boot->kernel.path,
				 (unsigned long long)(kvm_boot_ram(kvm) >> 20));
	return linux_place_initrd(kvm, boot, bios->header.initrd_addr_max, HIGH_LOAD,
				  bios->payload_size + bios->header.init_size, &bios->initrd);
}

static int bios16_init(struct kvm *kvm, struct boot *boot)
{
	struct bios16_boot *bios = calloc(1, sizeof(*bios));
	int result = 0;

	if (!bios)
		return log_errno(ENOMEM, "boot");
	bios->bzimage = linux_is_bzimage(boot);
	if (bios->bzimage)
		result = bios16_check_bzimage(kvm, boot, bios);
	else if (boot->kernel.size > X86_LOW_RAM_END - SECTOR_LOAD)
		result = log_error(EFBIG, "kernel '%s': no bzImage, and too large for a real-mode program", boot->kernel.path);
	if (result) {
		free(bios);
		return result;
	}
	boot->private = bios;
	return 0;
}

static void bios16_exit(struct kvm *kvm, struct boot *boot)
{
	(void)kvm;
	free(boot->private);
	boot->private = NULL;
}

/* ---- services ---- */

static void bios16_fill_data(const struct kvm *kvm, struct bios16_data *data)
{
	struct x86_memory map[X86_MEMORY_MAX];
	size_t count = x86_memory_map(kvm, map);
	uint64_t low = kvm->ram[0].size, below_16m = MIN(low, MIB(16));

	memset(data, 0, sizeof(*data));
	data->e820_count = le32_of((uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		data->e820[i].base = le64_of(map[i].base);
		data->e820[i].size = le64_of(map[i].size);
		data->e820[i].type = le32_of(map[i].type);
	}
	/* core_init refuses less than 1 MiB. */
	data->kib_above_1m = le16_of((uint16_t)MIN((low - MIB(1)) >> 10, (uint64_t)0xfc00));
	data->kib_below_16m = le16_of((uint16_t)((below_16m - MIB(1)) >> 10));
	data->blocks_above_16m = le16_of((uint16_t)MIN((low - below_16m) >> 16, (uint64_t)0xffff));
}

/* Interrupt vectors: the services' entries are four bytes apart, the first is a bare IRET. */
static int bios16_load_vectors(struct kvm *kvm)
{
	static const uint8_t services[] = { 0x10, 0x11, 0x12, 0x13, 0x15, 0x16, 0x1a };
	le32 vectors[256];

	for (unsigned int i = 0; i < ARRAY_SIZE(vectors); i++)
		vectors[i] = le32_of(BIOS_SEGMENT << 16 | (uint32_t)BIOS_OFFSET);
	for (unsigned int i = 0; i < ARRAY_SIZE(services); i++)
		vectors[services[i]] = le32_of(BIOS_SEGMENT << 16 | ((uint32_t)BIOS_OFFSET + 4 * (i + 1)));
	return memory_write(&kvm->memory, gpa(0), vectors, sizeof(vectors));
}

/* The BIOS data area: COM1, the EBDA, base memory, text mode 3. */
static int bios16_load_data_area(struct kvm *kvm)
{
	uint8_t area[256] = {
		[0x00] = 0xf8, [0x01] = 0x03,
		[0x0e] = (X86_EBDA >> 4) & 0xff, [0x0f] = (X86_EBDA >> 12) & 0xff,
		[0x13] = 639 & 0xff, [0x14] = 639 >> 8,
		[0x49] = 3, [0x4a] = 80, [0x84] = 24,
	};

	return memory_write(&kvm->memory, gpa(0x400), area, sizeof(area));
}

static int bios16_load_services(struct kvm *kvm)
{
	struct bios16_data data;
	int result = memory_write(&kvm->memory, gpa(X86_BIOS), bios16_start, (size_t)(bios16_end - bios16_start));

	bios16_fill_data(kvm, &data);
	if (!result)
		result = memory_write(&kvm->memory, gpa(X86_BIOS + (uint64_t)(bios16_data - bios16_start)), &data, sizeof(data));
	if (!result)
		result = bios16_load_vectors(kvm);
	return result ? result : bios16_load_data_area(kvm);
}

/* ---- load ---- */

static int bios16_load_bzimage(struct kvm *kvm, struct boot *boot, const struct bios16_boot *bios)
{
	struct setup_header header = bios->header;
	size_t length = MIN((size_t)bios->setup_size - 0x1f1, sizeof(header));
	int result;

	header.type_of_loader = 0xff;
	header.loadflags |= CAN_USE_HEAP;
	header.heap_end_ptr = HEAP_END - 0x200;
	header.vid_mode = 0xffff;
	header.cmd_line_ptr = X86_COMMAND_LINE;
	header.ramdisk_image = (uint32_t)bios->initrd;
	header.ramdisk_size = (uint32_t)boot->initrd.size;
	/* Only what the file's header has: behind it lies the setup code. */
	length = MIN(length, (size_t)(0x202 + bios->header.jump / 256 - 0x1f1));
	result = boot_file_load(kvm, &boot->kernel, 0, bios->setup_size, gpa(X86_FLAT_BASE));
	if (!result)
		result = memory_write(&kvm->memory, gpa(X86_FLAT_BASE + 0x1f1), &header, length);
	if (!result)
		result = memory_write(&kvm->memory, gpa(X86_COMMAND_LINE), boot->command_line, strlen(boot->command_line) + 1);
	if (!result)
		result = boot_file_load(kvm, &boot->kernel, bios->setup_size, bios->payload_size, gpa(HIGH_LOAD));
	if (!result && bios->initrd)
		result = boot_file_load(kvm, &boot->initrd, 0, boot->initrd.size, gpa(bios->initrd));
	*x86_entry(kvm) = (struct x86_entry){
		.mode = X86_REAL, .cs = SETUP_SEGMENT + 0x20, .ds = SETUP_SEGMENT, .rsp = HEAP_END,
	};
	return result;
}

static int bios16_load(struct kvm *kvm, struct boot *boot)
{
	const struct bios16_boot *bios = boot->private;
	int result = bios16_load_services(kvm);

	if (result || bios->bzimage)
		return result ? result : bios16_load_bzimage(kvm, boot, bios);
	*x86_entry(kvm) = (struct x86_entry){ .mode = X86_REAL, .rip = SECTOR_LOAD, .rsp = SECTOR_LOAD };
	return boot_file_load(kvm, &boot->kernel, 0, boot->kernel.size, gpa(SECTOR_LOAD));
}

static const struct boot_protocol bios16_protocol = {
	.name = "bios16",
	.kind = "bzImage",
	.priority = 5,
	.any_file = true,
	.probe = bios16_probe,
	.init = bios16_init,
	.exit = bios16_exit,
	.load = bios16_load,
};
BOOT_PROTOCOL(bios16_protocol);
