/* SPDX-License-Identifier: BSD-2-Clause */
/* What the x86 boot protocols for Linux share: the setup header and the zero page. */
#ifndef X86_BOOT_LINUX_H
#define X86_BOOT_LINUX_H

#include <asm/bootparam.h>

#include "kvm/boot.h"

/** struct linux_boot - a bzImage that is booted by a 64-bit entry, its kernel's decompressor's or its kernel's own */
struct linux_boot {
	struct setup_header header;
	uint64_t payload_offset, payload_size;	/* of the protected-mode part, in the file */
	uint64_t load, init_size;
	uint64_t initrd;
};

/** linux_probe(), linux_init(), linux_exit(), linux_load() - of a struct boot_protocol: by the decompressor's entry */
int linux_probe(struct kvm *kvm, const struct boot *boot);
int linux_init(struct kvm *kvm, struct boot *boot);
void linux_exit(struct kvm *kvm, struct boot *boot);
int linux_load(struct kvm *kvm, struct boot *boot);

/** linux_is_bzimage() - whether the kernel file has a setup header */
bool linux_is_bzimage(const struct boot *boot);
/** linux_read_header() - the setup header, as much as the file has of it; 0 or -ENOEXEC (said) */
int __must_check linux_read_header(const struct boot *boot, struct setup_header *header);
/** linux_payload_offset() - where the protected-mode part begins in the file */
uint64_t linux_payload_offset(const struct setup_header *header);
/** linux_check_command_line() - -E2BIG (said) when it is longer than the kernel takes */
int __must_check linux_check_command_line(const struct boot *boot, const struct setup_header *header);
/** linux_place_initrd() - *@address for the initrd, 0 when there is none; -ENOMEM (said) */
int __must_check linux_place_initrd(struct kvm *kvm, const struct boot *boot, uint64_t last, uint64_t load,
				    uint64_t size, uint64_t *address);
/** linux_fill_e820() - the memory map */
void linux_fill_e820(const struct kvm *kvm, struct boot_params *zero);
/** linux_load_zero_page() - zero page, command line, seed and initrd into RAM */
int __must_check linux_load_zero_page(struct kvm *kvm, struct boot *boot, const struct setup_header *header,
				      uint64_t initrd);

#endif
