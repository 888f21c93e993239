/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MSRs at power-on and at reset (Intel SDM volume 4; Documentation/virt/kvm/x86/msr.rst for KVM's own).
 *
 * What a fresh vCPU has right already is written at a reset only: the first start has no time for it. Main
 * thread, vCPU not running.
 */
#include "x86/msr.h"

#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/log.h"

#define MISC_ENABLE_FAST_STRING	0x1
#define MTRR_ENABLED_WRITEBACK	0x806
#define PAT_POWER_ON		0x0007040600070406ULL

#define MSRS_MAX		80

static const struct kvm_msr_entry power_on[] = {
	{ .index = 0x00000010 },	/* TSC: on all vCPUs close together, so that KVM keeps them in step */
	{ .index = 0x000001a0, .data = MISC_ENABLE_FAST_STRING },
	{ .index = 0x000002ff, .data = MTRR_ENABLED_WRITEBACK },
};

/*
 * KVM's own matter most: a clock, steal time or end-of-interrupt page that the last kernel registered would be
 * written into the next kernel's memory.
 */
static const struct kvm_msr_entry at_reset[] = {
	{ .index = 0x4b564d01 },	/* kvmclock */
	{ .index = 0x4b564d02 },	/* asynchronous page faults */
	{ .index = 0x4b564d03 },	/* steal time */
	{ .index = 0x4b564d04 },	/* end of interrupt */
	{ .index = 0x4b564d05, .data = 1 },	/* host-side polling is allowed */
	{ .index = 0x00000174 },	/* SYSENTER_CS, ESP, EIP */
	{ .index = 0x00000175 },
	{ .index = 0x00000176 },
	{ .index = 0xc0000081 },	/* STAR, LSTAR, CSTAR, FMASK */
	{ .index = 0xc0000082 },
	{ .index = 0xc0000083 },
	{ .index = 0xc0000084 },
	{ .index = 0xc0000102 },	/* KERNEL_GS_BASE */
	{ .index = 0x0000003b },	/* TSC_ADJUST */
	{ .index = 0x00000048 },	/* SPEC_CTRL */
	{ .index = 0x0000017a },	/* MCG_STATUS */
	{ .index = 0x000001d9 },	/* DEBUGCTL */
	{ .index = 0x00000277, .data = PAT_POWER_ON },
	{ .index = 0x000006e0 },	/* TSC_DEADLINE */
	{ .index = 0x00000da0 },	/* XSS */
	{ .index = 0xc0000103 },	/* TSC_AUX */
	/* counters: Intel's, then AMD's */
	{ .index = 0x00000186 }, { .index = 0x00000187 }, { .index = 0x00000188 }, { .index = 0x00000189 },
	{ .index = 0x0000038d },
	{ .index = 0xc0010000 }, { .index = 0xc0010001 }, { .index = 0xc0010002 }, { .index = 0xc0010003 },
	/* MTRRs: variable ranges, then fixed ones */
	{ .index = 0x200 }, { .index = 0x201 }, { .index = 0x202 }, { .index = 0x203 }, { .index = 0x204 },
	{ .index = 0x205 }, { .index = 0x206 }, { .index = 0x207 }, { .index = 0x208 }, { .index = 0x209 },
	{ .index = 0x20a }, { .index = 0x20b }, { .index = 0x20c }, { .index = 0x20d }, { .index = 0x20e },
	{ .index = 0x20f },
	{ .index = 0x250 }, { .index = 0x258 }, { .index = 0x259 }, { .index = 0x268 }, { .index = 0x269 },
	{ .index = 0x26a }, { .index = 0x26b }, { .index = 0x26c }, { .index = 0x26d }, { .index = 0x26e },
	{ .index = 0x26f },
};
_Static_assert(ARRAY_SIZE(power_on) <= MSRS_MAX && ARRAY_SIZE(at_reset) <= MSRS_MAX, "msr_set() has room");

/* KVM stops at the first that it doesn't take (which depends on the CPU): that one is left out. */
static int msr_set(struct kvm_cpu *cpu, const struct kvm_msr_entry *entries, size_t count)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[MSRS_MAX];
	} msrs = { .head.nmsrs = 0 };

	while (count) {
		size_t taken;
		int set;

		msrs.head.nmsrs = (uint32_t)count;
		memcpy(msrs.entries, entries, count * sizeof(entries[0]));
		set = ioctl(cpu->fd, KVM_SET_MSRS, &msrs);
		if (set < 0)
			return log_errno(errno, "vCPU %u: KVM_SET_MSRS", cpu->index);
		taken = MIN((size_t)set, count);
		if (taken < count)
			log_debug("vCPU %u: KVM doesn't take MSR 0x%x", cpu->index, entries[taken++].index);
		entries += taken;
		count -= taken;
	}
	return 0;
}

int msr_set_power_on(struct kvm_cpu *cpu, bool again)
{
	int result = again ? msr_set(cpu, at_reset, ARRAY_SIZE(at_reset)) : 0;

	return result ? result : msr_set(cpu, power_on, ARRAY_SIZE(power_on));
}
