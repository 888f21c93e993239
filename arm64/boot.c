/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Booting arm64: where kernel, initrd and device tree go, and how vCPU 0 starts.
 *
 *	RAM base		+ text_offset: the kernel, with the room its header asks for
 *	...
 *	initrd			page-aligned, below the tree
 *	device tree		2 MiB at the end of RAM, or of its first 32 GiB
 *
 * Documentation/arch/arm64/booting.rst: the initrd lies in the same 32 GiB window, aligned to 1 GiB, as the
 * kernel; the tree is aligned to 8 bytes and lies within 2 MiB of its own. A 32-bit guest gets it all within
 * the first 256 MiB, its directly mapped memory whatever its configuration. Main thread.
 */
#include "arm64.h"

#include <fcntl.h>
#include <string.h>

#include "fdt.h"
#include "image.h"
#include "kvm/log.h"

#define KERNEL_ALIGN		MIB(2)
#define WINDOW_ARM64		GIB(32)
#define WINDOW_AARCH32		MIB(256)

#define PSTATE_EL1H_MASKED	0x3c5	/* DAIF set */
#define PSTATE_SVC_MASKED	0x1d3	/* AIF set */

struct arm64_boot {
	struct boot_entry entry;	/* first: boot->private is it, too */
	struct image image;
	uint64_t kernel, kernel_room;
	uint64_t initrd;
	uint64_t fdt;
};

/* ---- what goes where ---- */

static int place_too_big(const struct kvm *kvm, const struct boot_file *file, uint64_t size)
{
	return log_error(EFBIG,
			 "%s '%s': needs %llu bytes, more than is free in the guest's %llu MiB "
			 "of RAM (give it more with --mem)",
			 file->what, file->path, (unsigned long long)size,
			 (unsigned long long)(kvm_boot_ram(kvm) >> 20));
}

static int place(const struct kvm *kvm, const struct boot *boot, struct arm64_boot *arm)
{
	uint64_t window = arm->image.kind == IMAGE_ZIMAGE ? WINDOW_AARCH32 : WINDOW_ARM64;
	uint64_t base = kvm->ram[0].base, end = base + MIN(kvm->ram[0].size, window);
	uint64_t need = MAX(arm->image.size, arm->image.packed ? 0 : arm->image.length);

	if (end - base < FDT_SIZE_MAX + KERNEL_ALIGN)
		return log_error(EINVAL, "option --mem: %llu KiB is too little for any kernel",
				 (unsigned long long)(kvm_boot_ram(kvm) >> 10));
	arm->fdt = end = ALIGN_DOWN(end - FDT_SIZE_MAX, FDT_SIZE_MAX);
	if (boot_file_has(&boot->initrd)) {
		if (boot->initrd.size > end - base)
			return place_too_big(kvm, &boot->initrd, boot->initrd.size);
		arm->initrd = end = ALIGN_DOWN(end - boot->initrd.size, KIB(64));
	}
	if (end < base || !range_contains(base, end - base, base + arm->image.text_offset, need) ||
	    arm->image.text_offset > end - base)
		return boot_file_has(&boot->initrd) && need < arm->fdt - base ?
		       place_too_big(kvm, &boot->initrd, boot->initrd.size) :
		       place_too_big(kvm, &boot->kernel, need);
	arm->kernel = base + arm->image.text_offset;
	arm->kernel_room = arm->image.size ? need : end - arm->kernel;
	return 0;
}

/* COMMAND_LINE_SIZE of the two, less the end: no header says it, and Linux drops the rest without a word. */
static int check_command_line(const struct boot *boot, enum image_kind kind)
{
	size_t length = strlen(boot->command_line);
	size_t max = kind == IMAGE_ARM64 ? 2047 : kind == IMAGE_ZIMAGE ? 1023 : SIZE_MAX;

	if (length > max)
		return log_error(E2BIG, "option --params: the kernel command line has %zu bytes, this kernel takes %zu",
				 length, max);
	return 0;
}

static void entry_set(struct arm64_boot *arm)
{
	if (arm->image.kind == IMAGE_ZIMAGE)
		/* No machine number: the device tree says it all. */
		arm->entry = (struct boot_entry){ .pstate = PSTATE_SVC_MASKED,
						  .x = { 0, UINT32_MAX, arm->fdt } };
	else
		arm->entry = (struct boot_entry){ .pstate = PSTATE_EL1H_MASKED, .x = { arm->fdt } };
	arm->entry.pc = arm->kernel;
}

/* ---- the device tree ---- */

static int build_fdt(struct kvm *kvm, const struct boot *boot, void **blob)
{
	const struct arm64_boot *arm = boot->private;
	struct fdt_machine machine;
	int error = fdt_machine_fill(kvm, &machine);

	if (error < 0)
		return error;
	machine.command_line = boot->command_line;
	machine.initrd_start = arm->initrd;
	machine.initrd_size = boot_file_has(&boot->initrd) ? boot->initrd.size : 0;
	error = fdt_build(&machine, blob);
	fdt_machine_free(&machine);
	return error;
}

static int dump_fdt(struct kvm *kvm, const struct boot *boot, const char *path)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ void *blob = NULL;
	ssize_t n;
	int error = build_fdt(kvm, boot, &blob);

	if (error < 0)
		return error;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return log_errno(errno, "option --dump-dtb: can't write '%s'", path);
	n = write(fd, blob, fdt_size(blob));
	if (n < 0 || (size_t)n != fdt_size(blob))
		return log_errno(n < 0 ? errno : ENOSPC, "option --dump-dtb: can't write '%s'",
				 path);
	return 0;
}

/* ---- the protocols ---- */

static bool flat_wanted(const struct kvm *kvm, const struct boot *boot)
{
	const char *protocol = config_string(kvm->config, "boot"), *path = boot->kernel.path;
	size_t length = strlen(path);

	/* kvm-unit-tests' payloads have no header, and runners don't say --boot. */
	return protocol ? strcmp(protocol, "flat") == 0
			: length > 5 && strcmp(path + length - 5, ".flat") == 0;
}

static int probe(struct kvm *kvm, const struct boot *boot, enum image_kind wanted)
{
	struct image image;
	int is = image_identify(&boot->kernel, flat_wanted(kvm, boot), &image);

	return is <= 0 ? is : image.kind == wanted;
}

static int image_probe(struct kvm *kvm, const struct boot *boot)
{
	int is = probe(kvm, boot, IMAGE_ARM64);

	if (is > 0 && config_flag(kvm->config, "aarch32"))
		return log_error(EINVAL, "kernel '%s': is a 64-bit kernel (leave out --aarch32)",
				 boot->kernel.path);
	return is;
}

static int zimage_probe(struct kvm *kvm, const struct boot *boot)
{
	int is = probe(kvm, boot, IMAGE_ZIMAGE);

	if (is > 0 && !config_flag(kvm->config, "aarch32"))
		return log_error(EINVAL, "kernel '%s': is a 32-bit ARM zImage (say --aarch32)",
				 boot->kernel.path);
	return is;
}

static int flat_probe(struct kvm *kvm, const struct boot *boot)
{
	return probe(kvm, boot, IMAGE_FLAT);
}

static void arm64_boot_exit(struct kvm *kvm, struct boot *boot)
{
	(void)kvm;
	free(boot->private);
	boot->private = NULL;
}

static int arm64_boot_init(struct kvm *kvm, struct boot *boot)
{
	const char *dump = config_string(kvm->config, "dump-dtb");
	struct arm64_boot *arm = calloc(1, sizeof(*arm));
	int error;

	if (!arm)
		return log_errno(ENOMEM, "kernel '%s'", boot->kernel.path);
	boot->private = arm;
	/* Identified for the second time: the file may have changed since it was probed. */
	error = image_identify(&boot->kernel, flat_wanted(kvm, boot), &arm->image);
	if (error == 0)
		error = log_error(EINVAL, "kernel '%s': changed while it was read",
				  boot->kernel.path);
	if (error > 0)
		error = check_command_line(boot, arm->image.kind);
	if (error == 0)
		error = place(kvm, boot, arm);
	if (error == 0) {
		entry_set(arm);
		if (dump)
			error = dump_fdt(kvm, boot, dump);
	}
	if (error < 0)
		arm64_boot_exit(kvm, boot);
	return error;
}

static int arm64_boot_load(struct kvm *kvm, struct boot *boot)
{
	const struct arm64_boot *arm = boot->private;
	_cleanup_free_ void *blob = NULL;
	int error;

	error = image_load(kvm, &boot->kernel, &arm->image, gpa(arm->kernel), arm->kernel_room);
	if (error == 0 && boot_file_has(&boot->initrd))
		error = boot_file_load(kvm, &boot->initrd, 0, boot->initrd.size, gpa(arm->initrd));
	if (error == 0)
		error = build_fdt(kvm, boot, &blob);
	if (error < 0)
		return error;
	error = memory_write(&kvm->memory, gpa(arm->fdt), blob, fdt_size(blob));
	if (error < 0)
		return log_errno(-error, "device tree: no RAM at 0x%llx",
				 (unsigned long long)arm->fdt);
	return 0;
}

static const struct boot_protocol image_protocol = {
	.name = "image",
	.kind = "arm64 Image (raw, packed or EFI zboot)",
	.priority = 2,
	.probe = image_probe,
	.init = arm64_boot_init,
	.exit = arm64_boot_exit,
	.load = arm64_boot_load,
};
BOOT_PROTOCOL(image_protocol);

static const struct boot_protocol zimage_protocol = {
	.name = "zimage",
	.kind = "32-bit ARM zImage (with --aarch32)",
	.priority = 1,
	.probe = zimage_probe,
	.init = arm64_boot_init,
	.exit = arm64_boot_exit,
	.load = arm64_boot_load,
};
BOOT_PROTOCOL(zimage_protocol);

static const struct boot_protocol flat_protocol = {
	.name = "flat",
	.kind = "flat binary (*.flat, or --boot=flat)",
	.probe = flat_probe,
	.init = arm64_boot_init,
	.exit = arm64_boot_exit,
	.load = arm64_boot_load,
};
BOOT_PROTOCOL(flat_protocol);

static const struct option_def arm64_boot_options[] = {
	{ .name = "dump-dtb", .type = OPTION_STRING, .argument = "FILE",
	  .help = "Write the device tree to FILE, too" },
	{ .name = "kaslr-seed", .type = OPTION_UINT, .argument = "SEED",
	  .help = "Seed for the kernel's address randomization (default: random)" },
};
RUN_OPTIONS(arm64_boot_options_group, "Kernel options", arm64_boot_options);
