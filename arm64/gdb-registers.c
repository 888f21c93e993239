/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU's registers in the order and with the names of gdb's descriptions of AArch64 ("AArch64 Features" in its
 * manual): general, FP and SIMD, and, in a feature of our own, the system registers of EL1 by the names of the Arm ARM,
 * which is how the kernel's gdb scripts ask for SP_EL0.
 *
 * struct arm64_file is the register file, the tables below name its members in the same order.
 */
#include "arm64.h"

#include <string.h>
#include <sys/ioctl.h>

#include "kvm/gdb.h"

#define SYSTEM_REGISTERS	20
#define SVE_Z_BYTES		256
#define PSTATE_SP		BIT(0)	/* of EL1: which stack pointer is in use */

struct __packed arm64_file {
	uint64_t x[31], sp, pc;
	uint32_t cpsr;
	uint8_t v[32][16];
	uint32_t fpsr, fpcr;
	uint64_t system[SYSTEM_REGISTERS];
};
_Static_assert(sizeof(struct arm64_file) <= GDB_FILE_MAX, "the register file holds all of them");

const char arch_gdb_architecture[] = "aarch64";

/* ---- the description ---- */

#define X(n)		{ "x" #n, 64, "int", NULL }
#define V(n)		{ "v" #n, 128, "aarch64v", NULL }
#define SYSTEM(name)	{ name, 64, "uint64", "system" }

static const struct gdb_register core_registers[] = {
	X(0), X(1), X(2), X(3), X(4), X(5), X(6), X(7), X(8), X(9), X(10), X(11), X(12), X(13), X(14), X(15), X(16), X(17),
	X(18), X(19), X(20), X(21), X(22), X(23), X(24), X(25), X(26), X(27), X(28), X(29), X(30),
	{ "sp", 64, "data_ptr", NULL }, { "pc", 64, "code_ptr", NULL }, { "cpsr", 32, "cpsr_flags", NULL },
};
static const char core_types[] =
	"<flags id=\"cpsr_flags\" size=\"4\">"
	"<field name=\"SP\" start=\"0\" end=\"0\"/><field name=\"EL\" start=\"2\" end=\"3\"/>"
	"<field name=\"nRW\" start=\"4\" end=\"4\"/><field name=\"F\" start=\"6\" end=\"6\"/>"
	"<field name=\"I\" start=\"7\" end=\"7\"/><field name=\"A\" start=\"8\" end=\"8\"/>"
	"<field name=\"D\" start=\"9\" end=\"9\"/><field name=\"BTYPE\" start=\"10\" end=\"11\"/>"
	"<field name=\"SSBS\" start=\"12\" end=\"12\"/><field name=\"IL\" start=\"20\" end=\"20\"/>"
	"<field name=\"SS\" start=\"21\" end=\"21\"/><field name=\"PAN\" start=\"22\" end=\"22\"/>"
	"<field name=\"UAO\" start=\"23\" end=\"23\"/><field name=\"DIT\" start=\"24\" end=\"24\"/>"
	"<field name=\"TCO\" start=\"25\" end=\"25\"/><field name=\"V\" start=\"28\" end=\"28\"/>"
	"<field name=\"C\" start=\"29\" end=\"29\"/><field name=\"Z\" start=\"30\" end=\"30\"/>"
	"<field name=\"N\" start=\"31\" end=\"31\"/></flags>";

static const struct gdb_register fpu_registers[] = {
	V(0), V(1), V(2), V(3), V(4), V(5), V(6), V(7), V(8), V(9), V(10), V(11), V(12), V(13), V(14), V(15), V(16), V(17),
	V(18), V(19), V(20), V(21), V(22), V(23), V(24), V(25), V(26), V(27), V(28), V(29), V(30), V(31),
	{ "fpsr", 32, "int", "float" }, { "fpcr", 32, "int", "float" },
};
static const char fpu_types[] =
	"<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/><vector id=\"v2u\" type=\"uint64\" count=\"2\"/>"
	"<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v4u\" type=\"uint32\" count=\"4\"/>"
	"<vector id=\"v8u\" type=\"uint16\" count=\"8\"/><vector id=\"v16u\" type=\"uint8\" count=\"16\"/>"
	"<vector id=\"v1u\" type=\"uint128\" count=\"1\"/>"
	"<union id=\"vnd\"><field name=\"f\" type=\"v2d\"/><field name=\"u\" type=\"v2u\"/></union>"
	"<union id=\"vns\"><field name=\"f\" type=\"v4f\"/><field name=\"u\" type=\"v4u\"/></union>"
	"<union id=\"vnh\"><field name=\"u\" type=\"v8u\"/></union>"
	"<union id=\"vnb\"><field name=\"u\" type=\"v16u\"/></union>"
	"<union id=\"vnq\"><field name=\"u\" type=\"v1u\"/></union>"
	"<union id=\"aarch64v\"><field name=\"d\" type=\"vnd\"/><field name=\"s\" type=\"vns\"/>"
	"<field name=\"h\" type=\"vnh\"/><field name=\"b\" type=\"vnb\"/><field name=\"q\" type=\"vnq\"/></union>";

static const struct gdb_register system_registers[] = {
	SYSTEM("SP_EL0"), SYSTEM("SP_EL1"), SYSTEM("ELR_EL1"), SYSTEM("SPSR_EL1"), SYSTEM("SCTLR_EL1"), SYSTEM("CPACR_EL1"),
	SYSTEM("TTBR0_EL1"), SYSTEM("TTBR1_EL1"), SYSTEM("TCR_EL1"), SYSTEM("MAIR_EL1"), SYSTEM("AFSR0_EL1"),
	SYSTEM("AFSR1_EL1"), SYSTEM("ESR_EL1"), SYSTEM("FAR_EL1"), SYSTEM("PAR_EL1"), SYSTEM("VBAR_EL1"),
	SYSTEM("CONTEXTIDR_EL1"), SYSTEM("TPIDR_EL0"), SYSTEM("TPIDR_EL1"), SYSTEM("MPIDR_EL1"),
};
static const uint64_t system_ids[SYSTEM_REGISTERS] = {
	CPU_CORE_REGISTER(regs.sp), CPU_CORE_REGISTER(sp_el1), CPU_CORE_REGISTER(elr_el1), CPU_CORE_REGISTER(spsr[0]),
	CPU_SCTLR_EL1, ARM64_SYS_REG(3, 0, 1, 0, 2), CPU_TTBR0_EL1, CPU_TTBR1_EL1, CPU_TCR_EL1,
	ARM64_SYS_REG(3, 0, 10, 2, 0), ARM64_SYS_REG(3, 0, 5, 1, 0), ARM64_SYS_REG(3, 0, 5, 1, 1), CPU_ESR_EL1, CPU_FAR_EL1,
	ARM64_SYS_REG(3, 0, 7, 4, 0), CPU_VBAR_EL1, ARM64_SYS_REG(3, 0, 13, 0, 1), ARM64_SYS_REG(3, 3, 13, 0, 2),
	ARM64_SYS_REG(3, 0, 13, 0, 4), CPU_MPIDR_EL1,
};
_Static_assert(ARRAY_SIZE(system_registers) == SYSTEM_REGISTERS, "each has its ID");

#define FEATURE(name, types, registers) { name, types, registers, ARRAY_SIZE(registers) }
static const struct gdb_feature core_feature = FEATURE("org.gnu.gdb.aarch64.core", core_types, core_registers);
static const struct gdb_feature fpu_feature = FEATURE("org.gnu.gdb.aarch64.fpu", fpu_types, fpu_registers);
static const struct gdb_feature system_feature = FEATURE("org.lkvm.arm.system", NULL, system_registers);

size_t arch_gdb_features(struct kvm *kvm, const struct gdb_feature *features[GDB_FEATURES_MAX])
{
	(void)kvm;
	features[0] = &core_feature;
	features[1] = &fpu_feature;
	features[2] = &system_feature;
	return 3;
}

#define NUMBER_SP	31
#define NUMBER_PC	32
#define NUMBER_CPSR	33
#define NUMBER_V0	ARRAY_SIZE(core_registers)
#define NUMBER_FPSR	(NUMBER_V0 + 32)
#define NUMBER_FPCR	(NUMBER_FPSR + 1)
#define NUMBER_SYSTEM	(NUMBER_FPCR + 1)
#define NUMBER_END	(NUMBER_SYSTEM + SYSTEM_REGISTERS)

/* ---- FP and SIMD ---- */

static int register_call(const struct kvm_cpu *cpu, unsigned long request, uint64_t id, void *value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)value };

	return ioctl(cpu->fd, request, &reg) < 0 ? -errno : 0;
}

/* With SVE, KVM has a V register only as the low part of its Z register. */
static int v_call(const struct kvm_cpu *cpu, bool set, unsigned int n, uint8_t value[16])
{
	bool sve = cpu->arch->init.features[0] & BIT(KVM_ARM_VCPU_SVE);
	unsigned long request = set ? KVM_SET_ONE_REG : KVM_GET_ONE_REG;
	uint64_t id = KVM_REG_ARM64_SVE_ZREG(n, 0);
	uint8_t z[SVE_Z_BYTES];
	int result;

	if (!sve) {
		id = KVM_REG_ARM64 | KVM_REG_SIZE_U128 | KVM_REG_ARM_CORE |
		     ((offsetof(struct kvm_regs, fp_regs.vregs) + n * 16UL) / sizeof(uint32_t));
		return register_call(cpu, request, id, value);
	}
	result = register_call(cpu, KVM_GET_ONE_REG, id, z);
	if (result)
		return result;
	if (!set) {
		memcpy(value, z, 16);
		return 0;
	}
	memcpy(z, value, 16);
	return register_call(cpu, KVM_SET_ONE_REG, id, z);
}

#define FP_REGISTER(member)	(KVM_REG_ARM64 | KVM_REG_SIZE_U32 | KVM_REG_ARM_CORE | \
				 (offsetof(struct kvm_regs, fp_regs.member) / sizeof(uint32_t)))

/* ---- one register, and all ---- */

/* The stack pointer that the vCPU uses now */
static uint64_t sp_id(const struct kvm_cpu *cpu)
{
	uint64_t pstate;

	if (cpu_get_register(cpu, CPU_CORE_REGISTER(regs.pstate), &pstate) == 0 && (pstate & PSTATE_SP))
		return CPU_CORE_REGISTER(sp_el1);
	return CPU_CORE_REGISTER(regs.sp);
}

static int fetch_fpu(struct kvm_cpu *cpu, struct arm64_file *file)
{
	uint32_t status = 0, control = 0;
	int result = 0;

	for (unsigned int n = 0; n < 32 && !result; n++)
		result = v_call(cpu, false, n, file->v[n]);
	if (!result)
		result = register_call(cpu, KVM_GET_ONE_REG, FP_REGISTER(fpsr), &status);
	if (!result)
		result = register_call(cpu, KVM_GET_ONE_REG, FP_REGISTER(fpcr), &control);
	file->fpsr = status;
	file->fpcr = control;
	return result;
}

int arch_gdb_fetch(struct kvm_cpu *cpu, uint8_t bytes[GDB_FILE_MAX])
{
	struct arm64_file file = { .cpsr = 0 };
	uint64_t value = 0;
	int result = 0;

	for (unsigned int n = 0; n < ARRAY_SIZE(file.x) && !result; n++) {
		result = cpu_get_register(cpu, CPU_REGISTER_X(n), &value);
		file.x[n] = value;
	}
	if (!result)
		result = cpu_get_register(cpu, sp_id(cpu), &value);
	file.sp = value;
	if (!result)
		result = cpu_get_register(cpu, CPU_CORE_REGISTER(regs.pc), &value);
	file.pc = value;
	if (!result)
		result = cpu_get_register(cpu, CPU_CORE_REGISTER(regs.pstate), &value);
	file.cpsr = (uint32_t)value;
	if (!result)
		result = fetch_fpu(cpu, &file);
	/* one that this KVM keeps to itself reads as zero */
	for (unsigned int i = 0; i < SYSTEM_REGISTERS && !result; i++) {
		value = 0;
		file.system[i] = cpu_get_register(cpu, system_ids[i], &value) ? 0 : value;
	}
	memcpy(bytes, &file, sizeof(file));
	return result;
}

static int store_one(struct kvm_cpu *cpu, struct arm64_file *file, unsigned int number)
{
	uint32_t status = file->fpsr, control = file->fpcr;

	if (number < NUMBER_SP)
		return cpu_set_register(cpu, CPU_REGISTER_X(number), file->x[number]);
	if (number == NUMBER_SP)
		return cpu_set_register(cpu, sp_id(cpu), file->sp);
	if (number == NUMBER_PC)
		return cpu_set_register(cpu, CPU_CORE_REGISTER(regs.pc), file->pc);
	if (number == NUMBER_CPSR)
		return cpu_set_register(cpu, CPU_CORE_REGISTER(regs.pstate), file->cpsr);
	if (number < NUMBER_FPSR)
		return v_call(cpu, true, number - (unsigned int)NUMBER_V0, file->v[number - NUMBER_V0]);
	if (number == NUMBER_FPSR)
		return register_call(cpu, KVM_SET_ONE_REG, FP_REGISTER(fpsr), &status);
	if (number == NUMBER_FPCR)
		return register_call(cpu, KVM_SET_ONE_REG, FP_REGISTER(fpcr), &control);
	return cpu_set_register(cpu, system_ids[number - NUMBER_SYSTEM], file->system[number - NUMBER_SYSTEM]);
}

int arch_gdb_store(struct kvm_cpu *cpu, const uint8_t bytes[GDB_FILE_MAX], unsigned int number)
{
	struct arm64_file file;
	int result;

	memcpy(&file, bytes, sizeof(file));
	if (number != GDB_ALL_REGISTERS)
		return store_one(cpu, &file, number);
	/* first the one that says which stack pointer is meant; system registers one by one only, some being fixed */
	result = store_one(cpu, &file, NUMBER_CPSR);
	for (unsigned int n = 0; n < NUMBER_SYSTEM && !result; n++)
		result = store_one(cpu, &file, n);
	return result;
}
