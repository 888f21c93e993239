/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests x86/cpu-features.c and x86/cpu-model*.c: what --cpu makes of a host's CPUID, and what it refuses. Needs no KVM. */
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

#include "kvm/log.h"
#include "kvm/option.h"
#include "x86/cpu-model.h"
#include "x86/cpuid.h"

#define INTEL_EBX	0x756e6547
#define AMD_EBX		0x68747541

static struct host {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[64];
} host;
static char said[1024];
static struct cpu_model model;

static void remember(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static struct kvm_cpuid_entry2 *leaf(uint32_t function, uint32_t index)
{
	struct kvm_cpuid_entry2 *entry = cpuid_find(&host.head, function, index);

	ck_assert_msg(entry != NULL, "no leaf 0x%x.%u", function, index);
	return entry;
}

/* A host with every feature that has a name, of @vendor; its XSAVE is Skylake's, with Sapphire Rapids' tiles. */
static void host_make(uint32_t vendor)
{
	static const struct kvm_cpuid_entry2 leaves[] = {
		{ .function = 0, .eax = 0x20 }, { .function = 1, .eax = 0x123456 }, { .function = 6, .eax = 0xff, .ecx = 9 },
		{ .function = 7, .index = 0, .flags = 1, .eax = 2 }, { .function = 7, .index = 1, .flags = 1 },
		{ .function = 7, .index = 2, .flags = 1 }, { .function = 0xa, .eax = 0x08300805 },
		{ .function = 0xd, .index = 0, .flags = 1, .eax = 0x602ff, .ebx = 576, .ecx = 11008 },
		{ .function = 0xd, .index = 1, .flags = 1, .ebx = 960, .ecx = 0x9900 },
		{ .function = 0xd, .index = 2, .flags = 1, .eax = 256, .ebx = 576 },
		{ .function = 0xd, .index = 3, .flags = 1, .eax = 64, .ebx = 960 },
		{ .function = 0xd, .index = 4, .flags = 1, .eax = 64, .ebx = 1024 },
		{ .function = 0xd, .index = 5, .flags = 1, .eax = 64, .ebx = 1088 },
		{ .function = 0xd, .index = 6, .flags = 1, .eax = 512, .ebx = 1152 },
		{ .function = 0xd, .index = 7, .flags = 1, .eax = 1024, .ebx = 1664 },
		{ .function = 0xd, .index = 8, .flags = 1, .eax = 128, .ecx = 1 },
		{ .function = 0xd, .index = 9, .flags = 1, .eax = 8, .ebx = 2688 },
		{ .function = 0xd, .index = 17, .flags = 1, .eax = 64, .ebx = 2752 },
		{ .function = 0xd, .index = 18, .flags = 1, .eax = 8192, .ebx = 2816 },
		{ .function = 0x14, .flags = 1, .ebx = 0xf }, { .function = 0x40000000, .ebx = 0x4b4d564b }, { .function = 0x40000001 },
		{ .function = 0x80000000, .eax = 0x80000022 }, { .function = 0x80000001 },
		{ .function = 0x80000002, .eax = 0x64616552 }, { .function = 0x80000003 }, { .function = 0x80000004 },
		{ .function = 0x80000007 }, { .function = 0x80000008, .eax = 0x3030 }, { .function = 0x8000000a, .eax = 1 },
		{ .function = 0x8000001f, .eax = 3 }, { .function = 0x80000021 }, { .function = 0x80000022 },
	};
	struct feature_set all = { { 0 } };
	struct kvm_cpuid2 *cpuid = &host.head;

	memset(&host, 0, sizeof(host));
	cpuid->nent = ARRAY_SIZE(leaves);
	memcpy(host.entries, leaves, sizeof(leaves));
	features_read(cpuid, &all);
	for (unsigned int word = 0; word < FEATURE_WORDS; word++) {
		const char *name = feature_words[word].names;

		for (unsigned int bit = 0; *name; bit++) {
			size_t length = strcspn(name, " ");

			all.words[word] |= *name == '-' ? 0U : 1U << bit;
			name += length + (name[length] == ' ');
			ck_assert_uint_lt(bit, 32);
		}
	}
	features_write(cpuid, &all);
	leaf(0, 0)->ebx = vendor == VENDOR_INTEL ? INTEL_EBX : AMD_EBX;
	leaf(0, 0)->ecx = vendor;
}

static int choose(const char *text)
{
	int result;

	said[0] = '\0';
	log_set_sink(remember);
	result = cpu_model_choose(text, &host.head, &model);
	log_set_sink(NULL);
	return result;
}

static bool has(const char *name)
{
	struct feature_bit bit;

	ck_assert_msg(feature_find(name, strlen(name), &bit), "%s is no name", name);
	return feature_has(&model.features, bit);
}

static void setup(void)
{
	host_make(VENDOR_INTEL);
}

START_TEST(a_name_is_one_bit_however_it_is_separated)
{
	struct feature_bit a, b;

	for (unsigned int word = 0; word < FEATURE_WORDS; word++) {
		const char *name = feature_words[word].names;

		for (unsigned int bit = 0; *name; bit++) {
			size_t length = strcspn(name, " ");

			if (*name != '-') {
				ck_assert(feature_find(name, length, &a));
				ck_assert_msg(a.word == word && a.bit == bit, "%.*s is two bits", (int)length, name);
			}
			name += length + (name[length] == ' ');
		}
	}
	ck_assert(feature_find("sse4_1", 6, &a) && feature_find("SSE4.1", 6, &b) && a.word == b.word && a.bit == b.bit);
	ck_assert(feature_find("avx512vnni", 10, &a) && feature_find("avx512-vnni", 11, &b) && a.bit == b.bit && a.bit == 11);
	ck_assert(feature_find("pni", 3, &a) && !a.word && !a.bit);
	ck_assert(!feature_find("", 0, &a));
	ck_assert(!feature_find("-", 1, &a));
	ck_assert(!feature_find("avx5", 4, &a));
	ck_assert(!feature_find("sse3 pclmulqdq", 14, &a));
}
END_TEST

/* The last of a list is reached only if all before it are known. */
START_TEST(each_model_has_all_that_it_names)
{
	static const struct {
		const char *name, *last, *not;
		uint32_t vendor;
	} cases[] = {
		{ "x86-64-v1", "lm", "cx16", VENDOR_AMD }, { "x86-64-v2", "sse4_2", "avx", VENDOR_AMD },
		{ "x86-64-v3", "xsave", "avx512f", VENDOR_INTEL }, { "x86-64-v4", "avx512vl", "aes", VENDOR_INTEL },
		{ "Nehalem", "rdtscp", "aes", VENDOR_INTEL }, { "SandyBridge", "xsaveopt", "avx2", VENDOR_INTEL },
		{ "Haswell", "invpcid", "adx", VENDOR_INTEL }, { "Skylake-Server", "avx512vl", "rtm", VENDOR_INTEL },
		{ "cascadelake-server", "arch_capabilities", "vaes", VENDOR_INTEL }, { "Icelake-Server", "wbnoinvd", "avx_vnni", VENDOR_INTEL },
		{ "SapphireRapids", "fsrc", "amx_tile", VENDOR_INTEL }, { "EPYC", "ibpb", "clwb", VENDOR_AMD },
		{ "EPYC-Rome", "amd_ssbd", "pku", VENDOR_AMD }, { "EPYC-Milan", "xsaves", "avx512f", VENDOR_AMD },
		{ "EPYC-Genoa", "null_sel_clr_base", "svm", VENDOR_AMD }, { "host", "amx_complex", NULL, VENDOR_INTEL },
		{ "max", "perfmon_v2", NULL, VENDOR_AMD },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		host_make(cases[i].vendor);
		ck_assert_msg(choose(cases[i].name) == 0, "%s: %s", cases[i].name, said);
		ck_assert_msg(has(cases[i].last), "%s has no %s", cases[i].name, cases[i].last);
		ck_assert_msg(!cases[i].not || !has(cases[i].not), "%s has %s", cases[i].name, cases[i].not);
		ck_assert(has("kvmclock_stable") && has("x2apic") && has("hypervisor"));
	}
}
END_TEST

START_TEST(what_needs_a_feature_goes_with_it_and_brings_it)
{
	static const char *const gone[] = {
		"sse", "sse2", "ssse3", "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_fp16", "vaes", "sha512", "aes", "gfni",
	};

	ck_assert_int_eq(choose("host,-fxsr"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
		ck_assert_msg(!has(gone[i]), "%s is left", gone[i]);
	ck_assert(has("xsave") && has("bmi1") && has("mmx"));
	ck_assert_int_eq(choose("host,-xsave"), 0);
	ck_assert(!has("xsaves") && !has("pku") && !has("amx_complex") && !has("avx512vl") && has("sse4_2"));
	ck_assert_int_eq(choose("host,-svm,-pae"), 0);
	ck_assert(!has("svme_addr_chk") && !has("pdpe1gb") && !has("nx"));

	ck_assert_int_eq(choose("x86-64-v1,+avx512_vnni"), 0);
	ck_assert(has("avx512f") && has("avx2") && has("avx") && has("xsave") && has("sse4_2") && !has("avx512vl"));
	ck_assert_int_eq(choose("x86-64-v3,+aes,,-avx,+avx"), 0);
	ck_assert(has("aes") && has("avx") && !has("avx2"));
}
END_TEST

static const char *const nonsense[] = {
	"", "x86-64-v5", "x86-64", "none", "host,avx", "host,+", "host,-", "host,+avx7", "host,--avx", "+avx", "help,+avx", "Haswell ,+avx",
};

START_TEST(nonsense_is_refused_by_name)
{
	ck_assert_int_eq(choose(nonsense[_i]), -EUSAGE);
	ck_assert_msg(strstr(said, "option --cpu: ") != NULL, "%s", said);
}
END_TEST

START_TEST(what_the_host_lacks_is_named)
{
	leaf(7, 0)->ebx &= ~(1U << 5);
	leaf(0x80000001, 0)->ecx &= ~(1U << 5);
	ck_assert_int_eq(choose("Haswell,+rdseed"), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(said, "lacks avx2, abm"));
	ck_assert_int_eq(choose("Haswell,-avx2,-abm"), 0);
	ck_assert_int_eq(choose("host,+avx2"), -ENOTSUP);
	ck_assert_int_eq(choose("EPYC"), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(said, "is AMD's"));
	host_make(VENDOR_AMD);
	ck_assert_int_eq(choose("Nehalem"), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(said, "is Intel's"));
	leaf(0, 0)->ecx = VENDOR_HYGON;
	ck_assert_int_eq(choose("EPYC"), 0);
}
END_TEST

START_TEST(without_a_model_or_as_the_host_nothing_changes)
{
	struct host before = host;

	model = (struct cpu_model){ .given = false };
	cpu_model_apply(&model, &host.head);
	cpu_model_finish(&model, &host.head);
	ck_assert_mem_eq(&host, &before, sizeof(host));

	ck_assert_int_eq(choose("host"), 0);
	cpu_model_apply(&model, &host.head);
	cpu_model_finish(&model, &host.head);
	/* KVM sets the size for what is turned on by itself */
	before.entries[cpuid_find(&before.head, 0xd, 1) - before.entries].ebx = 0;
	ck_assert_mem_eq(&host, &before, sizeof(host));
}
END_TEST

START_TEST(xsave_has_room_for_what_there_is)
{
	static const struct {
		const char *model;
		uint32_t xcr0, size, xss;
	} cases[] = {
		{ "x86-64-v2", 0, 0, 0 }, { "x86-64-v3", 0x7, 832, 0 }, { "x86-64-v4", 0xe7, 2688, 0 },
		{ "Skylake-Server", 0x2e7, 2696, 0 }, { "host", 0x602ff, 11008, 0x9900 }, { "host,-amx_tile,-mpx", 0x2e7, 2696, 0x9900 },
		{ "host,-pku", 0x600ff, 11008, 0x9900 }, { "host,-avx", 0x6021b, 11008, 0x9900 }, { "host,-xsaves", 0x602ff, 11008, 0 },
		{ "host,-arch_lbr", 0x602ff, 11008, 0x1900 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		host_make(VENDOR_INTEL);
		ck_assert_msg(choose(cases[i].model) == 0, "%s", said);
		cpu_model_apply(&model, &host.head);

		ck_assert_msg(leaf(0xd, 0)->eax == cases[i].xcr0, "%s: XCR0 0x%x", cases[i].model, leaf(0xd, 0)->eax);
		ck_assert_msg(leaf(0xd, 0)->ecx == cases[i].size, "%s: %u bytes", cases[i].model, leaf(0xd, 0)->ecx);
		ck_assert_msg(leaf(0xd, 1)->ecx == cases[i].xss, "%s: XSS 0x%x", cases[i].model, leaf(0xd, 1)->ecx);
		for (uint32_t n = 2; n < 20; n++) {
			const struct kvm_cpuid_entry2 *state = cpuid_find(&host.head, 0xd, n);
			bool there = (cases[i].xcr0 | cases[i].xss) >> n & 1;

			if (state)
				ck_assert_msg((state->eax > 0) == there, "%s: state %u", cases[i].model, n);
		}
	}
}
END_TEST

START_TEST(a_model_has_its_own_name_and_no_leaf_of_the_hosts)
{
	static const uint32_t empty[] = { 0xa, 0x14, 0x8000000a, 0x8000001f, 0x80000022 };

	ck_assert_int_eq(choose("Skylake-Server"), 0);
	cpu_model_apply(&model, &host.head);

	ck_assert_uint_eq(leaf(1, 0)->eax, 0x50654);
	ck_assert_mem_eq(&leaf(0x80000002, 0)->eax, "Skyl", 4);
	ck_assert_mem_eq(&leaf(0x80000002, 0)->ecx, "Server", 6);
	for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
		ck_assert_uint_eq(leaf(empty[i], 0)->eax | leaf(empty[i], 0)->ebx, 0);
	ck_assert_uint_eq(leaf(6, 0)->eax, 4);
	ck_assert_uint_eq(leaf(6, 0)->ecx, 0);
	ck_assert_uint_eq(leaf(7, 0)->eax, 2);
	ck_assert_uint_eq(leaf(0x40000000, 0)->ebx, 0x4b4d564b);
	ck_assert_uint_eq(leaf(0x80000001, 0)->ecx & 1U << 2, 0);

	host_make(VENDOR_INTEL);
	ck_assert_int_eq(choose("x86-64-v2"), 0);
	cpu_model_apply(&model, &host.head);
	ck_assert_uint_eq(leaf(1, 0)->eax, 0x123456);
}
END_TEST

/* Leaf 1's EDX is in AMD's 0x80000001 again; what isn't in the one isn't in the other. */
START_TEST(amds_second_copy_follows_the_first)
{
	host_make(VENDOR_AMD);
	leaf(0x80000001, 0)->edx |= 0x0183f3ff;
	ck_assert_int_eq(choose("host,-mtrr"), 0);
	cpu_model_apply(&model, &host.head);

	ck_assert_uint_eq(leaf(0x80000001, 0)->edx & 0x0183f3ff, 0x0183f3ff & ~(1U << 12));
	ck_assert_uint_eq(leaf(1, 0)->edx >> 12 & 1, 0);
}
END_TEST

START_TEST(what_every_vcpu_gets_can_be_taken_away)
{
	const uint32_t both = 1U << 31 | 1U << 24;

	ck_assert_int_eq(choose("host,-hypervisor,-tsc-deadline"), 0);
	cpu_model_apply(&model, &host.head);
	leaf(1, 0)->ecx |= both;
	cpu_model_finish(&model, &host.head);
	ck_assert_uint_eq(leaf(1, 0)->ecx & both, 0);

	ck_assert_int_eq(choose("host"), 0);
	leaf(1, 0)->ecx |= both;
	cpu_model_finish(&model, &host.head);
	ck_assert_uint_eq(leaf(1, 0)->ecx & both, both);
}
END_TEST

/* kvmtool takes what is unique of an option's name, and --cpu 4 was --cpus 4 before there were models. */
START_TEST(a_bare_number_is_how_many)
{
	struct config *config;

	ck_assert_int_eq(config_new(&config, run_options()), 0);
	ck_assert_int_eq(config_set(config, "cpu", "4"), 0);
	ck_assert_uint_eq(config_uint(config, "cpus"), 4);
	ck_assert_ptr_null(config_string(config, "cpu"));
	ck_assert_int_eq(config_set(config, "cpu", "6,threads=2"), 0);
	ck_assert_str_eq(config_string(config, "cpus"), "threads=2");
	ck_assert_int_eq(config_set(config, "cpu", "x86-64-v2"), 0);
	ck_assert_str_eq(config_string(config, "cpu"), "x86-64-v2");
	ck_assert_uint_eq(config_uint(config, "cpus"), 6);
	config_free(config);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "models", setup, NULL);

	tcase_add_test(tests, a_name_is_one_bit_however_it_is_separated);
	tcase_add_test(tests, each_model_has_all_that_it_names);
	tcase_add_test(tests, what_needs_a_feature_goes_with_it_and_brings_it);
	tcase_add_loop_test(tests, nonsense_is_refused_by_name, 0, ARRAY_SIZE(nonsense));
	tcase_add_test(tests, what_the_host_lacks_is_named);
	tcase_add_test(tests, without_a_model_or_as_the_host_nothing_changes);
	tcase_add_test(tests, xsave_has_room_for_what_there_is);
	tcase_add_test(tests, a_model_has_its_own_name_and_no_leaf_of_the_hosts);
	tcase_add_test(tests, amds_second_copy_follows_the_first);
	tcase_add_test(tests, what_every_vcpu_gets_can_be_taken_away);
	tcase_add_test(tests, a_bare_number_is_how_many);
}
SUITE_MAIN("cpu-model", add_tests)
