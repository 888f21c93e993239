/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bzImage without its decompressor, the default: lkvm unpacks the kernel as fast as the host can, moves it to a random
 * virtual address as the decompressor would, and begins at its 64-bit entry. Where that is more than is known here,
 * the decompressor does it.
 */
#include <asm/bootparam.h>
#include <string.h>
#include <sys/random.h>

#include "kvm/boot.h"
#include "kvm/log.h"
#include "kvm/unpack.h"
#include "kvm/x86.h"
#include "x86/boot-linux.h"
#include "x86/cpuid.h"
#include "x86/unpacked.h"

#define CPUID_7_ECX_LA57	(1U << 16)
#define KERNEL_IMAGE_SIZE	GIB(1)		/* of virtual addresses, for kernels that can be moved */

static bool has_word(const char *line, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = strstr(line, word); at; at = strstr(at + 1, word))
		if ((at == line || at[-1] == ' ') && (at[length] == ' ' || !at[length]))
			return true;
	return false;
}

/* Only the decompressor turns 5-level paging on. */
static bool wants_five_levels(const struct kvm *kvm, const struct boot *boot, const struct setup_header *header)
{
	const struct kvm_cpuid2 *cpuid = x86_host_cpuid(kvm);
	const struct kvm_cpuid_entry2 *features = cpuid ? cpuid_find((struct kvm_cpuid2 *)cpuid, 7, 0) : NULL;

	return features && (features->ecx & CPUID_7_ECX_LA57) && (header->xloadflags & XLF_5LEVEL_ENABLED) &&
	       !has_word(boot->command_line, "no5lvl");
}

static const struct unpack_format *format_of(const struct boot *boot, const struct setup_header *header)
{
	return unpack_format(&boot->kernel, linux_payload_offset(header) + header->payload_offset);
}

static int unpacked_probe(struct kvm *kvm, const struct boot *boot)
{
	struct setup_header header;
	int is = linux_probe(kvm, boot), result;

	if (is <= 0)
		return is;
	result = linux_read_header(boot, &header);
	return result ? result : header.version >= 0x20a && header.pref_address && header.payload_length &&
			 format_of(boot, &header) && !wants_five_levels(kvm, boot, &header);
}

/* As far up as the kernel's mapping has room, in steps of its alignment; 0: where it was linked for. */
static uint32_t random_delta(const struct linux_boot *linux_boot)
{
	uint64_t step = linux_boot->header.kernel_alignment, pref = linux_boot->header.pref_address, slots;
	uint32_t random;

	if (!IS_POWER_OF_2(step) || pref >= KERNEL_IMAGE_SIZE || linux_boot->init_size > KERNEL_IMAGE_SIZE - pref ||
	    getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		return 0;
	slots = 1 + (KERNEL_IMAGE_SIZE - pref - linux_boot->init_size) / step;
	return (uint32_t)(random % slots * step);
}

static int unpacked_place(struct unpacked *unpacked, const struct boot *boot, struct setup_header *header)
{
	int result = unpacked_whole(unpacked);

	if (result || has_word(boot->command_line, "nokaslr") || !unpacked_can_move(unpacked))
		return result;
	header->loadflags |= KASLR_FLAG;
	return unpacked_move(unpacked, random_delta(boot->private));
}

/* 1: nothing is written, it is for the decompressor */
static int unpacked_unpack(struct kvm *kvm, const struct boot *boot, struct setup_header *header, uint64_t *entry)
{
	const struct linux_boot *linux_boot = boot->private;
	const struct unpack_format *format = format_of(boot, header);
	struct unpacked unpacked = { .memory = &kvm->memory, .path = boot->kernel.path, .pref = header->pref_address,
				     .load = linux_boot->load, .size = linux_boot->init_size, .clean = !kvm->started_ns };
	int result = !format ? 1 :
		     unpack_run(format, &boot->kernel, linux_boot->payload_offset + header->payload_offset,
				header->payload_length, unpacked_take, &unpacked);

	if (!result)
		result = unpacked_place(&unpacked, boot, header);
	*entry = unpacked.entry;
	unpacked_free(&unpacked);
	return result;
}

static int unpacked_load(struct kvm *kvm, struct boot *boot)
{
	const struct linux_boot *linux_boot = boot->private;
	struct setup_header header = linux_boot->header;
	uint64_t entry;
	int result = unpacked_unpack(kvm, boot, &header, &entry);

	if (result > 0)
		return linux_load(kvm, boot);
	if (!result)
		result = linux_load_zero_page(kvm, boot, &header, linux_boot->initrd);
	if (!result)
		result = x86_load_long_mode(kvm);
	*x86_entry(kvm) = (struct x86_entry){
		.mode = X86_LONG, .rip = entry, .rsi = X86_ZERO_PAGE, .rsp = X86_BOOT_STACK,
	};
	return result;
}

static const struct boot_protocol unpacked_protocol = {
	.name = "unpacked",
	.kind = "bzImage",
	.priority = 30,
	.probe = unpacked_probe,
	.init = linux_init,
	.exit = linux_exit,
	.load = unpacked_load,
};
BOOT_PROTOCOL(unpacked_protocol);
