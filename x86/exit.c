/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exits that only x86 has, and the dump of a vCPU's registers.
 */
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/arch.h"
#include "kvm/log.h"

#define DUMP_CODE_BEFORE	16
#define DUMP_CODE_BYTES		64

int arch_cpu_handle_exit(struct kvm_cpu *cpu)
{
	switch (cpu->run->exit_reason) {
	case KVM_EXIT_HLT:		/* never with KVM's own irqchip, but harmless */
	case KVM_EXIT_SET_TPR:
	case KVM_EXIT_TPR_ACCESS:
	case KVM_EXIT_IOAPIC_EOI:
		return 1;
	default:
		return 0;
	}
}

static void dump_segment(int fd, const char *name, const struct kvm_segment *segment)
{
	dprintf(fd, "  %-4s %04x  base %016llx  limit %08x  type %x dpl %u p %u s %u l %u db %u g %u\n", name,
		segment->selector, (unsigned long long)segment->base, segment->limit, segment->type, segment->dpl,
		segment->present, segment->s, segment->l, segment->db, segment->g);
}

static void dump_general(int fd, const struct kvm_regs *r)
{
	dprintf(fd, "  rip %016llx  rflags %016llx\n", r->rip, r->rflags);
	dprintf(fd, "  rax %016llx  rbx %016llx  rcx %016llx  rdx %016llx\n", r->rax, r->rbx, r->rcx, r->rdx);
	dprintf(fd, "  rsi %016llx  rdi %016llx  rbp %016llx  rsp %016llx\n", r->rsi, r->rdi, r->rbp, r->rsp);
	dprintf(fd, "  r8  %016llx  r9  %016llx  r10 %016llx  r11 %016llx\n", r->r8, r->r9, r->r10, r->r11);
	dprintf(fd, "  r12 %016llx  r13 %016llx  r14 %016llx  r15 %016llx\n", r->r12, r->r13, r->r14, r->r15);
}

static void dump_system(int fd, const struct kvm_sregs *s)
{
	dprintf(fd, "  cr0 %016llx  cr2 %016llx  cr3 %016llx  cr4 %016llx\n", s->cr0, s->cr2, s->cr3, s->cr4);
	dprintf(fd, "  cr8 %016llx  efer %016llx  apic base %016llx\n", s->cr8, s->efer, s->apic_base);
	dprintf(fd, "  gdt base %016llx limit %04x  idt base %016llx limit %04x\n", s->gdt.base, s->gdt.limit,
		s->idt.base, s->idt.limit);
	dump_segment(fd, "cs", &s->cs);
	dump_segment(fd, "ss", &s->ss);
	dump_segment(fd, "ds", &s->ds);
	dump_segment(fd, "es", &s->es);
	dump_segment(fd, "fs", &s->fs);
	dump_segment(fd, "gs", &s->gs);
	dump_segment(fd, "tr", &s->tr);
	dump_segment(fd, "ldt", &s->ldt);
}

/* One byte at a guest virtual address; false if it isn't mapped to memory. */
static bool dump_read(struct kvm_cpu *cpu, uint64_t linear, void *data, size_t length)
{
	struct kvm_translation translation = { .linear_address = linear };

	return !ioctl(cpu->fd, KVM_TRANSLATE, &translation) && translation.valid &&
	       !memory_read(&cpu->kvm->memory, gpa(translation.physical_address), data, length);
}

static void dump_code(struct kvm_cpu *cpu, int fd, uint64_t linear)
{
	char line[DUMP_CODE_BYTES * 5 + 1];
	size_t length = 0;

	for (int i = -DUMP_CODE_BEFORE; i < DUMP_CODE_BYTES - DUMP_CODE_BEFORE; i++) {
		uint8_t byte;

		if (!dump_read(cpu, linear + (uint64_t)(int64_t)i, &byte, 1))
			length += (size_t)snprintf(line + length, sizeof(line) - length, "?? ");
		else
			length += (size_t)snprintf(line + length, sizeof(line) - length, i ? "%02x " : "<%02x> ", byte);
	}
	dprintf(fd, "  code %s\n", line);
}

static void dump_stack(struct kvm_cpu *cpu, int fd, uint64_t linear)
{
	for (unsigned int row = 0; row < 4; row++, linear += 32) {
		dprintf(fd, "  stack %016llx:", (unsigned long long)linear);
		for (uint64_t i = 0; i < 4; i++) {
			le64 word;

			if (dump_read(cpu, linear + i * 8, &word, sizeof(word)))
				dprintf(fd, " %016llx", (unsigned long long)le64_get(word));
			else
				dprintf(fd, " ????????????????");
		}
		dprintf(fd, "\n");
	}
}

void arch_cpu_dump(struct kvm_cpu *cpu, int fd)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	if (ioctl(cpu->fd, KVM_GET_REGS, &regs) < 0 || ioctl(cpu->fd, KVM_GET_SREGS, &sregs) < 0) {
		dprintf(fd, "  vCPU %u: registers can't be read: %s\n", cpu->index, strerrordesc_np(errno));
		return;
	}
	dprintf(fd, "vCPU %u registers:\n", cpu->index);
	dump_general(fd, &regs);
	dump_system(fd, &sregs);
	dump_code(cpu, fd, sregs.cs.base + regs.rip);
	dump_stack(cpu, fd, sregs.ss.base + regs.rsp);
}
