/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a payload starts: real mode, anywhere on a 16-byte boundary below 1 MiB, with some stack.
 *
 * It moves to a segment of its own that starts at its first byte, clears its BSS, gives FS a limit of 4 GiB
 * ("unreal" mode: the way to MMIO), fills the interrupt vectors and calls main_. Software KVM emulates every
 * instruction of this, which rules out protected-mode interrupts and much else.
 */
	.code16
	.section .start, "ax"
	.globl start
start:
	cli
	cld
	cmpw	$0, %cs:others_wanted
	jne	other_cpu
	call	1f
1:	popw	%bx
	subw	$(1b - start), %bx
	shrw	$4, %bx
	movw	%cs, %ax
	addw	%bx, %ax
	pushw	%ax
	pushw	$2f
	lretw
2:	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$0xfff0, %esp

	movl	$data_end, %edi
	movl	$bss_end, %ecx
	subl	%edi, %ecx
	xorl	%eax, %eax
	rep stosb

	movw	%cs, %ax
	movzwl	%ax, %eax
	shll	$4, %eax
	movl	%eax, load_base

	/* FS: flat. Its selector is not touched again, so the limit stays. */
	addl	$gdt, %eax
	movl	%eax, gdt_pointer + 2
	lgdtl	gdt_pointer
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	jmp	3f
3:	movw	$8, %bx
	movw	%bx, %fs
	andb	$0xfe, %al
	movl	%eax, %cr0
	jmp	4f
4:
	/* vectors 0 to 0x7f */
	xorl	%edi, %edi
	movw	$vector_stubs, %dx
	movw	%cs, %bx
5:	movw	%dx, %fs:(%edi)
	movw	%bx, %fs:2(%edi)
	addw	$(vector_stub_1 - vector_stubs), %dx
	addl	$4, %edi
	cmpl	$0x80 * 4, %edi
	jb	5b

	calll	main_
6:	cli
	hlt
	jmp	6b

/* Another CPU, by INIT and SIPI: it is counted and sleeps. */
other_cpu:
	lock incw %cs:others_started
	hlt
	jmp	other_cpu
	.globl	others_wanted, others_started
others_wanted:
	.word	0
others_started:
	.word	0

	.balign 4
vector_stubs:
	.set	vector, 0
	.rept	0x80
	.if	vector == 1
vector_stub_1:
	.endif
	pushw	$vector
	.byte	0xe9				/* jmp vector_common, always in its long form */
	.word	vector_common - (. + 2)
	.set	vector, vector + 1
	.endr

vector_common:
	pushal
	pushw	%ds
	pushw	%es
	movw	%cs, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movl	%esp, %ebp
	movzwl	36(%bp), %eax			/* past es, ds and eight registers: the number */
	pushl	%eax
	calll	interrupt_
	addl	$4, %esp
	popw	%es
	popw	%ds
	popal
	addw	$2, %sp
	iretw

	.balign 8
gdt:	.quad	0
	.quad	0x00cf92000000ffff
gdt_pointer:
	.word	15
	.long	0
	.globl	load_base
load_base:
	.long	0
	.section .note.GNU-stack, "", @progbits
