/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the payload of trips.c starts: by PVH in 32-bit protected mode without paging, on the other CPUs by SIPI
 * in real mode. All come to C with a stack of their own; the trampoline is copied below 1 MiB first.
 */
#include "trips.h"

	.section .note.pvh, "a", @note
	.long	4, 8, 18			/* XEN_ELFNOTE_PHYS32_ENTRY, in 8 bytes: QEMU reads so many */
	.asciz	"Xen"
	.long	start, 0

	.code32
	.text
	.globl	start
start:
	cli
	cld
	movl	$stacks + STACK_SIZE, %esp
	lgdt	gdt_pointer
	ljmp	$8, $1f
1:	movl	$16, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$trampoline, %esi
	movl	$TRAMPOLINE, %edi
	movl	$(trampoline_end - trampoline), %ecx
	rep movsb
	call	first_cpu
2:	cli
	hlt
	jmp	2b

	.code16
trampoline:
	cli
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	trampoline_table - trampoline
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmpl	$8, $other_start
trampoline_table:
	.word	23
	.long	gdt
trampoline_end:

	.code32
other_start:
	movl	$16, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$1, %eax
	lock xaddl %eax, cpus
	cmpl	$CPUS_MAX, %eax
	jae	2b
	leal	1(%eax), %esp
	imull	$STACK_SIZE, %esp
	addl	$stacks, %esp
	pushl	%eax
	call	other_cpu
	jmp	2b

	.data
	.balign 8
gdt:	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
gdt_pointer:
	.word	23
	.long	gdt
	/* The first CPU is number 0. */
	.globl	cpus
cpus:	.long	1
	.bss
	.balign 16
stacks:	.skip	STACK_SIZE * CPUS_MAX
	.section .note.GNU-stack, "", @progbits
