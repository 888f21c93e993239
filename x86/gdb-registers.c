/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU's registers in the order and with the names of gdb's descriptions of x86-64 ("i386 Features" in its
 * manual): general, segment selectors, x87, SSE, AVX, and, in a feature of our own, those that kernels use.
 *
 * struct x86_file is the register file, the tables below name its members in the same order.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/gdb.h"
#include "x86/cpuid.h"

#define CPUID_1_ECX_AVX		BIT(28)
#define CPUID_1_ECX_XSAVE	BIT(26)
#define MSR_KERNEL_GS_BASE	0xc0000102

/* In the XSAVE area: standard format, as KVM gives it (Intel SDM volume 1, 13.4) */
#define XSAVE_XSTATE_BV		512
#define XSAVE_YMM		576
#define XSTATE_SSE		BIT(1)
#define XSTATE_YMM		BIT(2)

struct __packed x86_file {
	uint64_t general[16], rip;
	uint32_t eflags, selectors[6];
	uint8_t st[8][10];
	uint32_t fctrl, fstat, ftag, fiseg, fioff, foseg, fooff, fop;
	uint8_t xmm[16][16];
	uint32_t mxcsr;
	uint64_t fs_base, gs_base;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer, k_gs_base, gdt_base, idt_base, tr_base;
	uint8_t ymmh[16][16];	/* last: not every vCPU has them */
};
_Static_assert(sizeof(struct x86_file) <= GDB_FILE_MAX, "the register file holds all of them");

const char arch_gdb_architecture[] = "i386:x86-64";

/* ---- the description ---- */

#define INT64(name)	{ name, 64, "int64", NULL }
#define INT32(name)	{ name, 32, "int32", NULL }
#define X87(name)	{ name, 80, "i387_ext", NULL }
#define X87_CONTROL(name)	{ name, 32, "int", "float" }
#define XMM(name)	{ name, 128, "vec128", NULL }
#define YMMH(name)	{ name, 128, "uint128", NULL }
#define SYSTEM(name)	{ name, 64, "int64", "system" }

static const struct gdb_register core_registers[] = {
	INT64("rax"), INT64("rbx"), INT64("rcx"), INT64("rdx"), INT64("rsi"), INT64("rdi"),
	{ "rbp", 64, "data_ptr", NULL }, { "rsp", 64, "data_ptr", NULL },
	INT64("r8"), INT64("r9"), INT64("r10"), INT64("r11"), INT64("r12"), INT64("r13"), INT64("r14"), INT64("r15"),
	{ "rip", 64, "code_ptr", NULL }, { "eflags", 32, "x86_eflags", NULL },
	INT32("cs"), INT32("ss"), INT32("ds"), INT32("es"), INT32("fs"), INT32("gs"),
	X87("st0"), X87("st1"), X87("st2"), X87("st3"), X87("st4"), X87("st5"), X87("st6"), X87("st7"),
	X87_CONTROL("fctrl"), X87_CONTROL("fstat"), X87_CONTROL("ftag"), X87_CONTROL("fiseg"),
	X87_CONTROL("fioff"), X87_CONTROL("foseg"), X87_CONTROL("fooff"), X87_CONTROL("fop"),
};
static const char core_types[] =
	"<flags id=\"x86_eflags\" size=\"4\">"
	"<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/>"
	"<field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"AF\" start=\"4\" end=\"4\"/>"
	"<field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" start=\"7\" end=\"7\"/>"
	"<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/>"
	"<field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"OF\" start=\"11\" end=\"11\"/>"
	"<field name=\"NT\" start=\"14\" end=\"14\"/><field name=\"RF\" start=\"16\" end=\"16\"/>"
	"<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/>"
	"<field name=\"VIF\" start=\"19\" end=\"19\"/><field name=\"VIP\" start=\"20\" end=\"20\"/>"
	"<field name=\"ID\" start=\"21\" end=\"21\"/></flags>";

static const struct gdb_register sse_registers[] = {
	XMM("xmm0"), XMM("xmm1"), XMM("xmm2"), XMM("xmm3"), XMM("xmm4"), XMM("xmm5"), XMM("xmm6"), XMM("xmm7"),
	XMM("xmm8"), XMM("xmm9"), XMM("xmm10"), XMM("xmm11"), XMM("xmm12"), XMM("xmm13"), XMM("xmm14"), XMM("xmm15"),
	{ "mxcsr", 32, "x86_mxcsr", "vector" },
};
static const char sse_types[] =
	"<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
	"<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
	"<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
	"<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
	"<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
	"<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
	"<field name=\"uint128\" type=\"uint128\"/></union>"
	"<flags id=\"x86_mxcsr\" size=\"4\">"
	"<field name=\"IE\" start=\"0\" end=\"0\"/><field name=\"DE\" start=\"1\" end=\"1\"/>"
	"<field name=\"ZE\" start=\"2\" end=\"2\"/><field name=\"OE\" start=\"3\" end=\"3\"/>"
	"<field name=\"UE\" start=\"4\" end=\"4\"/><field name=\"PE\" start=\"5\" end=\"5\"/>"
	"<field name=\"DAZ\" start=\"6\" end=\"6\"/><field name=\"IM\" start=\"7\" end=\"7\"/>"
	"<field name=\"DM\" start=\"8\" end=\"8\"/><field name=\"ZM\" start=\"9\" end=\"9\"/>"
	"<field name=\"OM\" start=\"10\" end=\"10\"/><field name=\"UM\" start=\"11\" end=\"11\"/>"
	"<field name=\"PM\" start=\"12\" end=\"12\"/><field name=\"FZ\" start=\"15\" end=\"15\"/></flags>";

static const struct gdb_register segment_registers[] = { INT64("fs_base"), INT64("gs_base") };

static const struct gdb_register system_registers[] = {
	SYSTEM("cr0"), SYSTEM("cr2"), SYSTEM("cr3"), SYSTEM("cr4"), SYSTEM("cr8"), SYSTEM("efer"), SYSTEM("k_gs_base"),
	SYSTEM("gdt_base"), SYSTEM("idt_base"), SYSTEM("tr_base"),
};

static const struct gdb_register avx_registers[] = {
	YMMH("ymm0h"), YMMH("ymm1h"), YMMH("ymm2h"), YMMH("ymm3h"), YMMH("ymm4h"), YMMH("ymm5h"), YMMH("ymm6h"),
	YMMH("ymm7h"), YMMH("ymm8h"), YMMH("ymm9h"), YMMH("ymm10h"), YMMH("ymm11h"), YMMH("ymm12h"), YMMH("ymm13h"),
	YMMH("ymm14h"), YMMH("ymm15h"),
};

#define FEATURE(name, types, registers) { name, types, registers, ARRAY_SIZE(registers) }
static const struct gdb_feature core_feature = FEATURE("org.gnu.gdb.i386.core", core_types, core_registers);
static const struct gdb_feature sse_feature = FEATURE("org.gnu.gdb.i386.sse", sse_types, sse_registers);
static const struct gdb_feature segments_feature = FEATURE("org.gnu.gdb.i386.segments", NULL, segment_registers);
static const struct gdb_feature system_feature = FEATURE("org.lkvm.x86.system", NULL, system_registers);
static const struct gdb_feature avx_feature = FEATURE("org.gnu.gdb.i386.avx", NULL, avx_registers);

static bool has_avx(const struct kvm *kvm)
{
	const struct kvm_cpuid2 *cpuid = x86_host_cpuid(kvm);
	const uint32_t wanted = CPUID_1_ECX_AVX | CPUID_1_ECX_XSAVE;

	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 1)
			return (cpuid->entries[i].ecx & wanted) == wanted && kvm_check_extension(kvm, KVM_CAP_XSAVE) > 0;
	return false;
}

size_t arch_gdb_features(struct kvm *kvm, const struct gdb_feature *features[GDB_FEATURES_MAX])
{
	size_t count = 0;

	features[count++] = &core_feature;
	features[count++] = &sse_feature;
	features[count++] = &segments_feature;
	features[count++] = &system_feature;
	if (has_avx(kvm))
		features[count++] = &avx_feature;
	return count;
}

/* The parts of the file that one call of KVM's sets */
enum part { PART_GENERAL, PART_SYSTEM, PART_FPU, PART_MSR, PART_YMM };

static enum part register_part(unsigned int number)
{
	const unsigned int selectors = 18, x87 = 24, segments = ARRAY_SIZE(core_registers) + ARRAY_SIZE(sse_registers);
	const unsigned int system = segments + ARRAY_SIZE(segment_registers), avx = system + ARRAY_SIZE(system_registers);

	if (number < selectors)
		return PART_GENERAL;
	if (number < x87)
		return PART_SYSTEM;
	if (number < segments)
		return PART_FPU;
	if (number >= avx)
		return PART_YMM;
	/* k_gs_base */
	return number == system + 6 ? PART_MSR : PART_SYSTEM;
}

/* ---- general registers ---- */

/* In gdb's order */
static const size_t general_offsets[16] = {
	offsetof(struct kvm_regs, rax), offsetof(struct kvm_regs, rbx), offsetof(struct kvm_regs, rcx),
	offsetof(struct kvm_regs, rdx), offsetof(struct kvm_regs, rsi), offsetof(struct kvm_regs, rdi),
	offsetof(struct kvm_regs, rbp), offsetof(struct kvm_regs, rsp), offsetof(struct kvm_regs, r8),
	offsetof(struct kvm_regs, r9), offsetof(struct kvm_regs, r10), offsetof(struct kvm_regs, r11),
	offsetof(struct kvm_regs, r12), offsetof(struct kvm_regs, r13), offsetof(struct kvm_regs, r14),
	offsetof(struct kvm_regs, r15),
};

static int cpu_call(const struct kvm_cpu *cpu, unsigned long request, void *argument)
{
	return ioctl(cpu->fd, request, argument) < 0 ? -errno : 0;
}

static int fetch_general(struct kvm_cpu *cpu, struct x86_file *file)
{
	struct kvm_regs regs;
	int result = cpu_call(cpu, KVM_GET_REGS, &regs);

	if (result)
		return result;
	for (size_t i = 0; i < ARRAY_SIZE(general_offsets); i++)
		memcpy(&file->general[i], (char *)&regs + general_offsets[i], 8);
	file->rip = regs.rip;
	file->eflags = (uint32_t)regs.rflags;
	return 0;
}

static int store_general(struct kvm_cpu *cpu, const struct x86_file *file)
{
	struct kvm_regs regs = { .rip = file->rip, .rflags = file->eflags };

	for (size_t i = 0; i < ARRAY_SIZE(general_offsets); i++)
		memcpy((char *)&regs + general_offsets[i], &file->general[i], 8);
	return cpu_call(cpu, KVM_SET_REGS, &regs);
}

/* ---- segments and control registers ---- */

static int fetch_system(struct kvm_cpu *cpu, struct x86_file *file)
{
	struct kvm_sregs s;
	int result = cpu_call(cpu, KVM_GET_SREGS, &s);

	if (result)
		return result;
	file->selectors[0] = s.cs.selector;
	file->selectors[1] = s.ss.selector;
	file->selectors[2] = s.ds.selector;
	file->selectors[3] = s.es.selector;
	file->selectors[4] = s.fs.selector;
	file->selectors[5] = s.gs.selector;
	file->fs_base = s.fs.base;
	file->gs_base = s.gs.base;
	file->cr0 = s.cr0;
	file->cr2 = s.cr2;
	file->cr3 = s.cr3;
	file->cr4 = s.cr4;
	file->cr8 = s.cr8;
	file->efer = s.efer;
	file->gdt_base = s.gdt.base;
	file->idt_base = s.idt.base;
	file->tr_base = s.tr.base;
	return 0;
}

/* In real mode the selector is the base; else only what the descriptor's next load would see changes. */
static void set_selector(struct kvm_segment *segment, uint32_t selector, bool real)
{
	if (segment->selector == (uint16_t)selector)
		return;
	segment->selector = (uint16_t)selector;
	if (real)
		segment->base = (uint64_t)segment->selector << 4;
}

static int store_system(struct kvm_cpu *cpu, const struct x86_file *file)
{
	struct kvm_sregs s, old;
	int result = cpu_call(cpu, KVM_GET_SREGS, &s);
	bool real;

	if (result)
		return result;
	old = s;
	real = !(file->cr0 & 1);
	s.fs.base = file->fs_base;
	s.gs.base = file->gs_base;
	set_selector(&s.cs, file->selectors[0], real);
	set_selector(&s.ss, file->selectors[1], real);
	set_selector(&s.ds, file->selectors[2], real);
	set_selector(&s.es, file->selectors[3], real);
	set_selector(&s.fs, file->selectors[4], real);
	set_selector(&s.gs, file->selectors[5], real);
	s.cr0 = file->cr0;
	s.cr2 = file->cr2;
	s.cr3 = file->cr3;
	s.cr4 = file->cr4;
	s.cr8 = file->cr8;
	s.efer = file->efer;
	s.gdt.base = file->gdt_base;
	s.idt.base = file->idt_base;
	s.tr.base = file->tr_base;
	/* it empties the TLB, among others */
	return memcmp(&s, &old, sizeof(s)) == 0 ? 0 : cpu_call(cpu, KVM_SET_SREGS, &s);
}

static int fetch_msr(struct kvm_cpu *cpu, struct x86_file *file)
{
	struct { struct kvm_msrs head; struct kvm_msr_entry entry; } msr = {
		.head.nmsrs = 1, .entry.index = MSR_KERNEL_GS_BASE };
	int result = cpu_call(cpu, KVM_GET_MSRS, &msr);

	if (!result)
		file->k_gs_base = msr.entry.data;
	return result;
}

static int store_msr(struct kvm_cpu *cpu, const struct x86_file *file)
{
	struct { struct kvm_msrs head; struct kvm_msr_entry entry; } msr = {
		.head.nmsrs = 1, .entry.index = MSR_KERNEL_GS_BASE, .entry.data = file->k_gs_base };
	int set = ioctl(cpu->fd, KVM_SET_MSRS, &msr);

	return set == 1 ? 0 : set < 0 ? -errno : -EINVAL;
}

/* ---- x87 and SSE ---- */

/* The full tag word: two bits a physical register, where FXSAVE keeps only whether it is empty (Intel SDM volume 1, 8.1.7) */
static uint32_t tag_word(const struct kvm_fpu *fpu)
{
	unsigned int top = fpu->fsw >> 11 & 7;
	uint32_t tags = 0;

	for (unsigned int n = 0; n < 8; n++) {
		const uint8_t *value = fpu->fpr[(n - top) & 7];
		unsigned int exponent = (value[8] | value[9] << 8) & 0x7fff;
		uint64_t mantissa;
		uint32_t tag = 0;

		memcpy(&mantissa, value, sizeof(mantissa));
		if (!(fpu->ftwx >> n & 1))
			tag = 3;
		else if (!exponent && !mantissa)
			tag = 1;
		else if (!exponent || exponent == 0x7fff || !(mantissa >> 63))
			tag = 2;
		tags |= tag << 2 * n;
	}
	return tags;
}

static int fetch_fpu(struct kvm_cpu *cpu, struct x86_file *file)
{
	struct kvm_fpu fpu;
	int result = cpu_call(cpu, KVM_GET_FPU, &fpu);

	if (result)
		return result;
	for (unsigned int i = 0; i < 8; i++)
		memcpy(file->st[i], fpu.fpr[i], sizeof(file->st[i]));
	file->fctrl = fpu.fcw;
	file->fstat = fpu.fsw;
	file->ftag = tag_word(&fpu);
	file->fop = fpu.last_opcode;
	/* in 64-bit code the pointers are whole addresses, and what gdb calls segments their upper halves */
	file->fioff = (uint32_t)fpu.last_ip;
	file->fiseg = (uint32_t)(fpu.last_ip >> 32);
	file->fooff = (uint32_t)fpu.last_dp;
	file->foseg = (uint32_t)(fpu.last_dp >> 32);
	memcpy(file->xmm, fpu.xmm, sizeof(file->xmm));
	file->mxcsr = fpu.mxcsr;
	return 0;
}

static int store_fpu(struct kvm_cpu *cpu, const struct x86_file *file)
{
	struct kvm_fpu fpu = { .fcw = (uint16_t)file->fctrl, .fsw = (uint16_t)file->fstat,
			       .last_opcode = (uint16_t)file->fop, .mxcsr = file->mxcsr };

	for (unsigned int i = 0; i < 8; i++) {
		memcpy(fpu.fpr[i], file->st[i], sizeof(file->st[i]));
		if ((file->ftag >> 2 * i & 3) != 3)
			fpu.ftwx |= (uint8_t)(1 << i);
	}
	fpu.last_ip = file->fioff | (uint64_t)file->fiseg << 32;
	fpu.last_dp = file->fooff | (uint64_t)file->foseg << 32;
	memcpy(fpu.xmm, file->xmm, sizeof(file->xmm));
	return cpu_call(cpu, KVM_SET_FPU, &fpu);
}

/* ---- AVX: the upper halves lie in the XSAVE area ---- */

static int fetch_ymm(struct kvm_cpu *cpu, struct x86_file *file)
{
	struct kvm_xsave xsave;
	int result = cpu_call(cpu, KVM_GET_XSAVE, &xsave);

	if (!result)
		memcpy(file->ymmh, (char *)xsave.region + XSAVE_YMM, sizeof(file->ymmh));
	return result;
}

static int store_ymm(struct kvm_cpu *cpu, const struct x86_file *file)
{
	struct kvm_xsave xsave;
	uint64_t present;
	int result = cpu_call(cpu, KVM_GET_XSAVE, &xsave);

	if (result)
		return result;
	memcpy(&present, (char *)xsave.region + XSAVE_XSTATE_BV, sizeof(present));
	present |= XSTATE_SSE | XSTATE_YMM;
	memcpy((char *)xsave.region + XSAVE_XSTATE_BV, &present, sizeof(present));
	memcpy((char *)xsave.region + XSAVE_YMM, file->ymmh, sizeof(file->ymmh));
	return cpu_call(cpu, KVM_SET_XSAVE, &xsave);
}

/* ---- all ---- */

int arch_gdb_fetch(struct kvm_cpu *cpu, uint8_t bytes[GDB_FILE_MAX])
{
	struct x86_file file = { .eflags = 0 };
	int result = fetch_general(cpu, &file);

	if (!result)
		result = fetch_system(cpu, &file);
	if (!result)
		result = fetch_msr(cpu, &file);
	if (!result)
		result = fetch_fpu(cpu, &file);
	if (!result && has_avx(cpu->kvm))
		result = fetch_ymm(cpu, &file);
	memcpy(bytes, &file, sizeof(file));
	return result;
}

int arch_gdb_store(struct kvm_cpu *cpu, const uint8_t bytes[GDB_FILE_MAX], unsigned int number)
{
	bool all = number == GDB_ALL_REGISTERS;
	enum part part = all ? PART_GENERAL : register_part(number);
	struct x86_file file;
	int result = 0;

	memcpy(&file, bytes, sizeof(file));
	/* first what decides which of the others are valid */
	if (all || part == PART_SYSTEM)
		result = store_system(cpu, &file);
	if (!result && (all || part == PART_GENERAL))
		result = store_general(cpu, &file);
	if (!result && (all || part == PART_MSR))
		result = store_msr(cpu, &file);
	if (!result && (all || part == PART_FPU))
		result = store_fpu(cpu, &file);
	if (!result && (all || part == PART_YMM) && has_avx(cpu->kvm))
		result = store_ymm(cpu, &file);
	return result;
}
