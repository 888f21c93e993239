/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPU models: a guest that is to go from host to host sees what all of them have, and nothing else.
 *
 * A model is its features by name, on those of another. A guest gets all of them or isn't started: half a model would be
 * one more, which no other host has. What KVM emulates whatever the CPU (the x2APIC, its own clock) belongs to each, as far
 * as this KVM has it. Snapshots keep the whole of CPUID, so caches and the like may be the first host's.
 *
 * Intel SDM volume 2 (CPUID), AMD APM volume 3 appendix E; the levels: x86-64 psABI, 3.1.1. Main thread.
 */
#include "x86/cpu-model.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "kvm/arch.h"
#include "kvm/log.h"
#include "x86/cpuid.h"

/* ARCH_CAPABILITIES: RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, MDS_NO; PSCHANGE_MC_NO; TAA_NO; SBDR_SSDP_NO, FBSDP_NO, PSDP_NO */
#define ARCH_CASCADELAKE	0x2b
#define ARCH_ICELAKE		(ARCH_CASCADELAKE | 1 << 6 | 1 << 8)
#define ARCH_SAPPHIRERAPIDS	(ARCH_ICELAKE | 7 << 13)

static const struct cpu_model_def models[] = {
	{ "x86-64-v1", NULL, VENDOR_ANY, 0, 0,
	  "fpu de pse tsc msr pae mce cx8 sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 syscall nx lm" },
	{ "x86-64-v2", "x86-64-v1", VENDOR_ANY, 0, 0, "cx16 lahf_lm popcnt sse3 ssse3 sse4_1 sse4_2" },
	{ "x86-64-v3", "x86-64-v2", VENDOR_ANY, 0, 0, "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave" },
	{ "x86-64-v4", "x86-64-v3", VENDOR_ANY, 0, 0, "avx512f avx512bw avx512cd avx512dq avx512vl" },
	{ "Nehalem", "x86-64-v2", VENDOR_INTEL, 0x106a5, 0, "vme rdtscp" },
	{ "SandyBridge", "Nehalem", VENDOR_INTEL, 0x206d7, 0, "aes pclmulqdq pcid pdpe1gb xsave avx xsaveopt" },
	{ "Haswell", "SandyBridge", VENDOR_INTEL, 0x306f2, 0,
	  "avx2 bmi1 bmi2 f16c fma abm movbe rdrand fsgsbase smep erms invpcid" },
	{ "Skylake-Server", "Haswell", VENDOR_INTEL, 0x50654, 0,
	  "rdseed adx smap 3dnowprefetch clflushopt clwb xsavec xgetbv1 xsaves pku avx512f avx512dq avx512cd avx512bw avx512vl" },
	{ "Cascadelake-Server", "Skylake-Server", VENDOR_INTEL, 0x50657, ARCH_CASCADELAKE,
	  "avx512_vnni spec_ctrl stibp ssbd md_clear arch_capabilities" },
	{ "Icelake-Server", "Cascadelake-Server", VENDOR_INTEL, 0x606a6, ARCH_ICELAKE,
	  "avx512ifma avx512vbmi avx512_vbmi2 avx512_bitalg avx512_vpopcntdq gfni vaes vpclmulqdq sha_ni umip rdpid la57 fsrm wbnoinvd" },
	{ "SapphireRapids", "Icelake-Server", VENDOR_INTEL, 0x806f8, ARCH_SAPPHIRERAPIDS,
	  "avx_vnni avx512_bf16 avx512_fp16 serialize movdiri movdir64b fzrm fsrs fsrc" },
	{ "EPYC", "x86-64-v3", VENDOR_AMD, 0x800f12, 0,
	  "aes pclmulqdq rdrand rdseed adx sha_ni fsgsbase smep smap clflushopt xsaveopt xsavec xgetbv1 cr8_legacy sse4a misalignsse "
	  "3dnowprefetch osvw topoext mmxext fxsr_opt pdpe1gb rdtscp clzero xsaveerptr ibpb" },
	{ "EPYC-Rome", "EPYC", VENDOR_AMD, 0x830f10, 0, "clwb rdpid umip wbnoinvd amd_stibp amd_ssbd" },
	{ "EPYC-Milan", "EPYC-Rome", VENDOR_AMD, 0xa00f11, 0, "pcid invpcid pku erms fsrm vaes vpclmulqdq ibrs xsaves" },
	{ "EPYC-Genoa", "EPYC-Milan", VENDOR_AMD, 0xa10f11, 0,
	  "avx512f avx512dq avx512cd avx512bw avx512vl avx512ifma avx512vbmi avx512_vbmi2 gfni avx512_vnni avx512_bitalg "
	  "avx512_vpopcntdq avx512_bf16 la57 autoibrs no_nested_data_bp lfence_always_serializing null_sel_clr_base" },
};

/* What every model has as far as KVM has it: emulated, or for the guest's dealings with KVM */
static const char platform_features[] =
	"apic x2apic tsc_deadline_timer hypervisor tsc_adjust kvmclock kvm_nopiodelay kvmclock2 kvm_steal_time kvm_pv_eoi "
	"kvm_pv_unhalt kvm_pv_tlb_flush kvm_pv_ipi kvm_poll_control kvm_pv_sched_yield kvmclock_stable";

/* The first of each is no use to the rest without: taken away with it, and brought by each of them */
static const char *const needed_by[] = {
	"fxsr sse", "sse sse2", "sse2 sse3 aes pclmulqdq sha_ni gfni", "sse3 ssse3", "ssse3 sse4_1", "sse4_1 sse4_2",
	"sse4_2 avx", "xsave avx xsaveopt xsavec xgetbv1 mpx pku xfd", "xsavec xsaves", "xfd amx_tile",
	"avx avx2 f16c fma fma4 xop vaes vpclmulqdq sm3 sm4 sha512",
	"avx2 avx512f avx_vnni avx_ifma avx_vnni_int8 avx_vnni_int16 avx_ne_convert",
	("avx512f avx512dq avx512cd avx512bw avx512vl avx512ifma avx512vbmi avx512_vbmi2 avx512_vnni avx512_bitalg "
	 "avx512_vpopcntdq avx512_4vnniw avx512_4fmaps avx512_vp2intersect avx512_bf16 avx512_fp16 avx512pf avx512er"),
	"amx_tile amx_bf16 amx_int8 amx_fp16 amx_complex", "lm lahf_lm syscall la57 pdpe1gb", "pae lm nx", "pcid invpcid", "mmx mmxext 3dnow",
	"3dnow 3dnowext", "apic x2apic tsc_deadline_timer",
	("svm npt lbrv svm_lock nrip_save tsc_scale vmcb_clean flushbyasid decodeassists pausefilter pfthreshold avic "
	 "v_vmsave_vmload vgif vnmi svme_addr_chk"),
};

/* ---- sets by name ---- */

static void set_put(struct feature_set *set, struct feature_bit bit, bool on)
{
	uint32_t mask = 1U << bit.bit;

	set->words[bit.word] = (set->words[bit.word] & ~mask) | (on ? mask : 0);
}

/* The next of names with blanks between; false at the end. Names that no table has are a mistake in here: see the tests. */
static bool next_feature(const char **names, struct feature_bit *bit)
{
	size_t length = strcspn(*names, " ");
	bool found = feature_find(*names, length, bit);

	*names += length + ((*names)[length] == ' ');
	return found;
}

static void set_add(struct feature_set *set, const char *names)
{
	struct feature_bit bit;

	while (next_feature(&names, &bit))
		set_put(set, bit, true);
}

/* What is there without what it needs goes, or brings that along: until nothing changes, which each round makes less. */
static void set_close(struct feature_set *set, bool bring)
{
	bool changed = true;

	while (changed) {
		changed = false;
		for (size_t i = 0; i < ARRAY_SIZE(needed_by); i++) {
			const char *names = needed_by[i];
			struct feature_bit first, bit;

			if (!next_feature(&names, &first))
				continue;
			while (next_feature(&names, &bit)) {
				if (feature_has(set, first) || !feature_has(set, bit))
					continue;
				set_put(set, bring ? first : bit, bring);
				changed = true;
			}
		}
	}
}

/* ---- models ---- */

static const struct cpu_model_def *model_find(const char *name)
{
	for (size_t i = 0; name && i < ARRAY_SIZE(models); i++)
		if (strcasecmp(models[i].name, name) == 0)
			return &models[i];
	return NULL;
}

static void model_features(const struct cpu_model_def *def, struct feature_set *set)
{
	memset(set, 0, sizeof(*set));
	for (; def; def = model_find(def->base))
		set_add(set, def->features);
}

static uint32_t cpuid_vendor(const struct kvm_cpuid2 *cpuid)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (!cpuid->entries[i].function)
			return cpuid->entries[i].ecx == VENDOR_HYGON ? VENDOR_AMD : cpuid->entries[i].ecx;
	return VENDOR_ANY;
}

static void set_minus(struct feature_set *set, const struct feature_set *other)
{
	for (unsigned int word = 0; word < FEATURE_WORDS; word++)
		set->words[word] &= ~other->words[word];
}

/* What isn't KVM's to give, but the vCPU's own state or ours, isn't missing where KVM doesn't list it. */
static bool host_lacks(const struct feature_set *wanted, const struct kvm_cpuid2 *host, char *names, size_t size)
{
	struct feature_set has, lacks = *wanted;

	features_read(host, &has);
	for (unsigned int word = 0; word < FEATURE_WORDS; word++)
		has.words[word] |= feature_words[word].own;
	set_minus(&lacks, &has);
	*names = '\0';
	return feature_append_all(names, size, &lacks);
}

static int model_begin(const char *name, const struct kvm_cpuid2 *host, struct cpu_model *model)
{
	bool amd = cpuid_vendor(host) == VENDOR_AMD;
	struct feature_set has, platform = { { 0 } };

	features_read(host, &has);
	if (strcmp(name, "host") == 0 || strcmp(name, "max") == 0) {
		model->features = has;
		/* KVM may list these or not: a guest has them unless they are taken away */
		set_add(&model->features, "hypervisor tsc_deadline_timer");
		return 0;
	}
	model->def = model_find(name);
	if (!model->def)
		return log_error(EUSAGE, "option --cpu: no model is called '%s' (--cpu help lists them)", name);
	if (model->def->vendor && model->def->vendor != cpuid_vendor(host))
		return log_error(ENOTSUP, "option --cpu: %s is %s, and this host's CPU is not (say a level, as x86-64-v2)", name,
				 amd ? "Intel's" : "AMD's");
	model_features(model->def, &model->features);
	set_add(&platform, platform_features);
	for (unsigned int word = 0; word < FEATURE_WORDS; word++)
		model->features.words[word] |= platform.words[word] & (has.words[word] | feature_words[word].own);
	return 0;
}

/* "+avx2" or "-avx2"; what needs it, or what it needs, goes along */
static int model_change(const char *word, struct cpu_model *model)
{
	bool on = *word == '+';
	struct feature_bit bit;

	if (!on && *word != '-')
		return log_error(EUSAGE, "option --cpu: '%s' is no feature to have or not (say +%s or -%s)", word, word, word);
	if (!feature_find(word + 1, strlen(word + 1), &bit))
		return log_error(EUSAGE, "option --cpu: no feature is called '%s' (--cpu help lists them)", word + 1);
	set_put(&model->features, bit, on);
	set_close(&model->features, on);
	return 0;
}

/* @words: the option's text, taken apart in place */
static int model_read(char *words, const struct kvm_cpuid2 *host, struct cpu_model *model)
{
	const char *name = strsep(&words, ",");
	int result = model_begin(name, host, model);

	while (!result && words) {
		const char *word = strsep(&words, ",");

		result = *word ? model_change(word, model) : 0;
	}
	return result;
}

int cpu_model_choose(const char *text, const struct kvm_cpuid2 *host, struct cpu_model *model)
{
	_cleanup_free_ char *words = strdup(text);
	char lacks[512];
	int result;

	*model = (struct cpu_model){ .given = true };
	result = words ? model_read(words, host, model) : log_errno(ENOMEM, "option --cpu");
	if (result || !host_lacks(&model->features, host, lacks, sizeof(lacks)))
		return result;
	return log_error(ENOTSUP, "option --cpu: %s: this host's CPU or KVM lacks %s", text, lacks);
}

/* ---- help ---- */

static void help_model(const struct cpu_model_def *def, const struct kvm_cpuid2 *host)
{
	struct feature_set features;
	char lacks[512];

	printf("  %-20s", def->name);
	model_features(def, &features);
	if (!host)
		printf("\n");
	else if (def->vendor && def->vendor != cpuid_vendor(host))
		printf("not here: %s CPUs only\n", def->vendor == VENDOR_INTEL ? "Intel's" : "AMD's");
	else if (host_lacks(&features, host, lacks, sizeof(lacks)))
		printf("not here: this host lacks %s\n", lacks);
	else
		printf("yes\n");
}

void cpu_model_help(const struct kvm_cpuid2 *host)
{
	printf("Models, and whether this host can be one:\n  host, max           yes, all that KVM has\n");
	for (size_t i = 0; i < ARRAY_SIZE(models); i++)
		help_model(&models[i], host);
	printf("Features, to be had by ,+NAME and not by ,-NAME:\n");
	for (unsigned int word = 0, column = 0; word < FEATURE_WORDS; word++) {
		for (const char *name = feature_words[word].names; *name;) {
			size_t length = strcspn(name, " ");

			if (column + length > 100) {
				printf("\n");
				column = 0;
			}
			if (*name != '-')
				column += (unsigned int)printf("%s%.*s", column ? " " : "  ", (int)length, name);
			name += length + (name[length] == ' ');
		}
	}
	printf("\n");
}

/* Without a KVM to ask, what there is is worth reading all the same. */
bool arch_answers(const struct config *config)
{
	const char *text = config_string(config, "cpu"), *path = config_string(config, "dev");
	_cleanup_free_ struct kvm_cpuid2 *host = NULL;
	struct kvm *probe;

	if (!text || strcmp(text, "help") != 0)
		return false;
	probe = calloc(1, sizeof(*probe));
	if (probe) {
		probe->dev_fd = open(path ? path : "/dev/kvm", O_RDWR | O_CLOEXEC);
		host = probe->dev_fd >= 0 ? cpuid_host(probe) : NULL;
		if (probe->dev_fd >= 0)
			close(probe->dev_fd);
	}
	free(probe);
	cpu_model_help(host);
	return true;
}

static const struct option_def cpu_options[] = {
	{ .name = "cpu", .type = OPTION_STRING, .argument = "MODEL[,+FEATURE|-FEATURE...]", .same_as = "cpus",
	  .help = "What the vCPUs are: host, max, x86-64-v1 to -v4, or a model and its features (help lists them)" },
};
RUN_OPTIONS(cpu_options_group, "Architecture options", cpu_options);
