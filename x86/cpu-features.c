/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPUID's features by name: Intel SDM volume 2 (CPUID), AMD APM volume 3 appendix E, Documentation/virt/kvm/x86/cpuid.rst.
 * Names are those of /proc/cpuinfo where it has one. No state: any thread.
 */
#include "x86/cpu-features.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const struct feature_word feature_words[FEATURE_WORDS] = {
	{ 0x1, 0, CPUID_ECX, 1U << 31 | 1U << 27 | 1U << 24 | 1U << 3,	/* hypervisor, OSXSAVE, TSC deadline, MONITOR */
	  "sse3 pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic "
	  "movbe popcnt tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor" },
	{ 0x1, 0, CPUID_EDX, 1U << 28 | 1U << 9,			/* HTT, APIC */
	  "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 ss - tm "
	  "ia64 pbe" },
	{ 0x7, 0, CPUID_EBX, 0,
	  "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed adx smap "
	  "avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl" },
	{ 0x7, 0, CPUID_ECX, 1U << 4,					/* OSPKE */
	  "- avx512vbmi umip pku - waitpkg avx512_vbmi2 shstk gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq - "
	  "la57 - - - - - rdpid keylocker bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc pks" },
	{ 0x7, 0, CPUID_EDX, 0,
	  "- sgx_keys avx512_4vnniw avx512_4fmaps fsrm uintr - - avx512_vp2intersect srbds_ctrl md_clear rtm_always_abort - - "
	  "serialize - tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 spec_ctrl stibp flush_l1d "
	  "arch_capabilities core_capabilities ssbd" },
	{ 0x7, 1, CPUID_EAX, 0,
	  "sha512 sm3 sm4 - avx_vnni avx512_bf16 lass cmpccxadd - - fzrm fsrs fsrc - - - - fred lkgs wrmsrns - amx_fp16 hreset "
	  "avx_ifma - - lam" },
	{ 0x7, 1, CPUID_EDX, 0, "- - - - avx_vnni_int8 avx_ne_convert - - amx_complex - avx_vnni_int16 - - - prefetchiti" },
	{ 0x7, 2, CPUID_EDX, 0, "psfd ipred_ctrl rrsba_ctrl ddpd_u bhi_ctrl mcdt_no" },
	{ 0xd, 0, CPUID_EAX, 0, "" },
	{ 0xd, 0, CPUID_EDX, 0, "" },
	{ 0xd, 1, CPUID_EAX, 0, "xsaveopt xsavec xgetbv1 xsaves xfd" },
	{ 0xd, 1, CPUID_ECX, 0, "" },
	{ 0x40000001, 0, CPUID_EAX, 0,
	  "kvmclock kvm_nopiodelay kvm_mmu kvmclock2 kvm_asyncpf kvm_steal_time kvm_pv_eoi kvm_pv_unhalt - kvm_pv_tlb_flush "
	  "kvm_asyncpf_vmexit kvm_pv_ipi kvm_poll_control kvm_pv_sched_yield kvm_asyncpf_int kvm_msi_ext_dest_id kvm_hc_map_gpa_range "
	  "kvm_migration_control - - - - - - kvmclock_stable" },
	{ 0x80000001, 0, CPUID_ECX, 1U << 1,				/* CmpLegacy */
	  "lahf_lm - svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid_msr - "
	  "tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx" },
	{ 0x80000001, 0, CPUID_EDX, 1U << 9,				/* APIC */
	  "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow" },
	{ 0x80000007, 0, CPUID_EDX, 0, "- - - - - - - - invtsc" },
	{ 0x80000008, 0, CPUID_EBX, 0,
	  "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd - - ibpb - ibrs amd_stibp - stibp_always_on - - - - - amd_ppin amd_ssbd "
	  "virt_ssbd amd_ssb_no - amd_psfd btc_no ibpb_ret" },
	{ 0x8000000a, 0, CPUID_EDX, 0,
	  "npt lbrv svm_lock nrip_save tsc_scale vmcb_clean flushbyasid decodeassists - - pausefilter - pfthreshold avic - "
	  "v_vmsave_vmload vgif - - - - - - - - vnmi - - svme_addr_chk" },
	{ 0x80000021, 0, CPUID_EAX, 0,
	  "no_nested_data_bp - lfence_always_serializing - - - null_sel_clr_base - autoibrs no_smm_ctl_msr - - - - - - - - - - prefetchi - "
	  "- - - - - sbpb ibpb_brtype srso_no srso_user_kernel_no" },
	{ 0x80000022, 0, CPUID_EAX, 0, "perfmon_v2" },
};

/* ---- names ---- */

/* What else they are called */
static const char *const aliases[][2] = {
	{ "pni", "sse3" }, { "lzcnt", "abm" }, { "cmpxchg16b", "cx16" }, { "sha", "sha_ni" }, 
	{ "tsc_deadline", "tsc_deadline_timer" }, { "constant_tsc", "invtsc" }, { "nonstop_tsc", "invtsc" },
};

static bool is_separator(char letter)
{
	return letter == '-' || letter == '_' || letter == '.';
}

static bool same_name(const char *a, size_t a_length, const char *b, size_t b_length)
{
	for (;;) {
		for (; a_length && is_separator(*a); a_length--)
			a++;
		for (; b_length && is_separator(*b); b_length--)
			b++;
		if (!a_length || !b_length)
			return a_length == b_length;
		if (tolower((unsigned char)*a++) != *b++)
			return false;
		a_length--;
		b_length--;
	}
}

/* The name of one bit in a word's list; its length is 0 if there is none. */
static const char *bit_name(const char *names, unsigned int bit, size_t *length)
{
	for (*length = strcspn(names, " "); bit && names[*length]; bit--) {
		names += *length + 1;
		*length = strcspn(names, " ");
	}
	if (bit || *names == '-')
		*length = 0;
	return names;
}

bool feature_find(const char *name, size_t length, struct feature_bit *bit)
{
	if (!length || is_separator(*name))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(aliases); i++) {
		if (!same_name(name, length, aliases[i][0], strlen(aliases[i][0])))
			continue;
		name = aliases[i][1];
		length = strlen(name);
		break;
	}
	for (unsigned int word = 0; word < FEATURE_WORDS; word++) {
		for (unsigned int n = 0; n < 32; n++) {
			size_t known;
			const char *at = bit_name(feature_words[word].names, n, &known);

			if (!known || !same_name(name, length, at, known))
				continue;
			*bit = (struct feature_bit){ word, n };
			return true;
		}
	}
	return false;
}

void feature_append(char *text, size_t size, struct feature_bit bit)
{
	static const char *const registers[] = { "EAX", "EBX", "ECX", "EDX" };
	const struct feature_word *word = &feature_words[bit.word];
	size_t used = strlen(text), length;
	const char *name = bit_name(word->names, bit.bit, &length), *comma = used ? ", " : "";

	if (length)
		snprintf(text + used, size - used, "%s%.*s", comma, (int)length, name);
	else
		snprintf(text + used, size - used, "%sCPUID 0x%x.%u %s bit %u", comma, word->function, word->index, registers[word->reg],
			 bit.bit);
}

unsigned int feature_append_all(char *text, size_t size, const struct feature_set *set)
{
	unsigned int count = 0;

	for (unsigned int word = 0; word < FEATURE_WORDS; word++) {
		for (unsigned int n = 0; n < 32; n++) {
			if (!(set->words[word] >> n & 1))
				continue;
			feature_append(text, size, (struct feature_bit){ word, n });
			count++;
		}
	}
	return count;
}

/* ---- sets ---- */

static uint32_t *entry_register(struct kvm_cpuid_entry2 *entry, enum cpuid_register reg)
{
	uint32_t *const registers[] = { &entry->eax, &entry->ebx, &entry->ecx, &entry->edx };

	return registers[reg];
}

void features_read(const struct kvm_cpuid2 *cpuid, struct feature_set *set)
{
	memset(set, 0, sizeof(*set));
	for (unsigned int word = 0; word < FEATURE_WORDS; word++) {
		for (uint32_t i = 0; i < cpuid->nent; i++) {
			struct kvm_cpuid_entry2 entry = cpuid->entries[i];

			if (entry.function == feature_words[word].function && entry.index == feature_words[word].index)
				set->words[word] = *entry_register(&entry, feature_words[word].reg);
		}
	}
}

void features_write(struct kvm_cpuid2 *cpuid, const struct feature_set *set)
{
	for (unsigned int word = 0; word < FEATURE_WORDS; word++)
		for (uint32_t i = 0; i < cpuid->nent; i++)
			if (cpuid->entries[i].function == feature_words[word].function &&
			    cpuid->entries[i].index == feature_words[word].index)
				*entry_register(&cpuid->entries[i], feature_words[word].reg) = set->words[word];
}
