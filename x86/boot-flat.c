/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A flat binary in real mode, when --boot=flat asks for it: loaded at 1000:0000 and begun there, with no
 * services but the hardware. Tiny guests of tests and benches come in this way.
 */
#include "kvm/boot.h"
#include "kvm/log.h"
#include "kvm/x86.h"

#define FLAT_MAX	(X86_LOW_RAM_END - X86_FLAT_BASE)

static int flat_probe(struct kvm *kvm, const struct boot *boot)
{
	(void)kvm;
	(void)boot;
	return 1;
}

static int flat_init(struct kvm *kvm, struct boot *boot)
{
	(void)kvm;
	if (boot->kernel.size > FLAT_MAX)
		return log_error(EFBIG, "kernel '%s': a flat binary has at most %llu bytes", boot->kernel.path,
				 (unsigned long long)FLAT_MAX);
	return 0;
}

static void flat_exit(struct kvm *kvm, struct boot *boot)
{
	(void)kvm;
	(void)boot;
}

static int flat_load(struct kvm *kvm, struct boot *boot)
{
	*x86_entry(kvm) = (struct x86_entry){ .mode = X86_REAL, .cs = X86_FLAT_BASE >> 4, .ds = X86_FLAT_BASE >> 4, .rsp = 0xfff0 };
	return boot_file_load(kvm, &boot->kernel, 0, boot->kernel.size, gpa(X86_FLAT_BASE));
}

static const struct boot_protocol flat_protocol = {
	.name = "flat",
	.kind = "flat binary",
	.explicit_only = true,
	.probe = flat_probe,
	.init = flat_init,
	.exit = flat_exit,
	.load = flat_load,
};
BOOT_PROTOCOL(flat_protocol);
