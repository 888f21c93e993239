/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the gdb server (control/gdb-*.c) asks of an architecture: x86/gdb-*.c and arm64/gdb-*.c define each of
 * these. All are called on the main thread while the vCPU is parked, but for the two that say so.
 */
#ifndef KVM_GDB_H
#define KVM_GDB_H

#include "kvm/kvm-cpu.h"
#include "kvm/kvm.h"

/* ---- registers ---- */

/** struct gdb_register - one of the target description; they lie behind one another in the file, in this order */
struct gdb_register {
	const char *name;
	uint16_t bits;
	const char *type;	/* as in gdb's descriptions: "int64", "data_ptr"; or one of the feature's @types */
	const char *group;	/* NULL: what gdb makes of the type */
};

/** struct gdb_feature - registers that belong together, under a name that gdb knows (or ours) */
struct gdb_feature {
	const char *name;
	const char *types;	/* XML of the types that its registers use, or NULL */
	const struct gdb_register *registers;
	size_t count;
};

#define GDB_FEATURES_MAX	8
#define GDB_FILE_MAX		4096	/* bytes of all registers */

/** arch_gdb_architecture - what gdb calls it: "i386:x86-64" */
extern const char arch_gdb_architecture[];

/** arch_gdb_usable() - whether gdb can be served for this guest; if not, -EUSAGE having said so */
int __must_check arch_gdb_usable(const struct kvm *kvm);

/** arch_gdb_features() - fills @features with what @kvm's vCPUs have; returns how many */
size_t arch_gdb_features(struct kvm *kvm, const struct gdb_feature *features[GDB_FEATURES_MAX]);

/**
 * arch_gdb_fetch() - all registers into @file, little-endian, in the order of the features
 * arch_gdb_store() - those of @features' register @number (all: GDB_ALL_REGISTERS) out of @file into the vCPU, with
 * what KVM sets in the same call
 */
int __must_check arch_gdb_fetch(struct kvm_cpu *cpu, uint8_t file[GDB_FILE_MAX]);
int __must_check arch_gdb_store(struct kvm_cpu *cpu, const uint8_t file[GDB_FILE_MAX], unsigned int number);
#define GDB_ALL_REGISTERS	(~0u)

/** arch_gdb_translate() - the guest physical address of @address by the vCPU's own tables as they are now; or -EFAULT */
int __must_check arch_gdb_translate(struct kvm_cpu *cpu, uint64_t address, uint64_t *physical);

/** arch_gdb_code_changed() - @length bytes of code at @physical were written: what caches instructions shall see it */
void arch_gdb_code_changed(struct kvm *kvm, uint64_t physical, size_t length);

/* ---- breakpoints ---- */

/** enum gdb_point_kind - numbered as gdb's Z packets do */
enum gdb_point_kind { GDB_SOFTWARE, GDB_HARDWARE, GDB_WRITE, GDB_READ, GDB_ACCESS };

/** struct gdb_point - a hardware breakpoint, or a watchpoint on @length bytes */
struct gdb_point {
	enum gdb_point_kind kind;
	uint64_t address, length;
};
#define GDB_POINTS_MAX	32

/** struct gdb_debug - what a vCPU has to stop at */
struct gdb_debug {
	bool software;		/* the breakpoint instruction */
	bool step;		/* after one instruction */
	const struct gdb_point *points;
	size_t count;
};

/** arch_gdb_trap - the breakpoint instruction, arch_gdb_trap_size bytes */
extern const uint8_t arch_gdb_trap[];
extern const size_t arch_gdb_trap_size;

/** arch_gdb_probe() - which of these this host's KVM really reports; takes milliseconds */
unsigned int arch_gdb_probe(struct kvm *kvm);
#define GDB_CAN_TRAP	BIT(0)	/* arch_gdb_trap */
#define GDB_CAN_BREAK	BIT(1)	/* hardware breakpoints */
#define GDB_CAN_WATCH	BIT(2)	/* watchpoints */

/**
 * arch_gdb_weak_trap - an instruction of the same size that makes an exit for I/O on any KVM, in the kernel's code
 * only; NULL if there is none
 * arch_gdb_weak_stop() - whether the exit in cpu->run was one at an @address that is @own; the vCPU then stands at it. The
 * vCPU's thread
 */
extern const uint8_t *const arch_gdb_weak_trap;
bool arch_gdb_weak_stop(struct kvm_cpu *cpu, bool (*own)(void *opaque, struct kvm_cpu *cpu, uint64_t address),
			void *opaque, uint64_t *address);

/** arch_gdb_points_fit() - 0 if the CPU can watch all of @points, else -ENOSPC, or -EINVAL for one it never can */
int __must_check arch_gdb_points_fit(struct kvm *kvm, const struct gdb_point *points, size_t count);

/** arch_gdb_set_debug() - @debug NULL: no debugging, the debug registers are the guest's own again */
int __must_check arch_gdb_set_debug(struct kvm_cpu *cpu, const struct gdb_debug *debug);

/* ---- why a vCPU stopped ---- */

enum gdb_stop_kind {
	GDB_STOP_NONE,
	GDB_STOP_STEP,
	GDB_STOP_SOFTWARE,	/* @address is that of the instruction */
	GDB_STOP_POINT,		/* @point of the vCPU's gdb_debug was hit; @address is what was accessed */
};

struct gdb_stop {
	enum gdb_stop_kind kind;
	uint64_t address;
	size_t point;
	bool done;		/* the access has happened, and will not again when the vCPU goes on */
};

/** arch_gdb_stop() - what KVM_EXIT_DEBUG in cpu->run means, given what arch_gdb_set_debug() asked for; vCPU's thread */
void arch_gdb_stop(struct kvm_cpu *cpu, const struct gdb_debug *debug, struct gdb_stop *stop);

/** arch_gdb_to_guest() - the exception of the last KVM_EXIT_DEBUG was the guest's own: gives it to it; vCPU's thread */
int __must_check arch_gdb_to_guest(struct kvm_cpu *cpu, const struct gdb_debug *debug);

#endif
