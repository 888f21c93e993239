/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Real-mode services: as much of a BIOS as 16-bit boot code asks for. Copied to X86_BIOS (F000:C000) by
 * x86/boot-bios16.c, which fills the data at the end. Every address is relative to bios16_start, since the
 * program that carries this code lies elsewhere.
 *
 * Services: INT 10h (characters go to COM1), 11h, 12h, 13h (no disks), 15h (E820, E801, 88h, A20), 16h (no
 * keys), 1Ah (no clock). What is not known fails with CF set, as it should.
 */
	.section .rodata
	.code16
	.globl bios16_start, bios16_end, bios16_data
	.hidden bios16_start, bios16_end, bios16_data

	.set ORIGIN, 0xc000		/* offset in segment F000 */
#define AT(label)	(label - bios16_start + ORIGIN)
#define FLAGS		4		/* of the caller, above IP and CS */
#define CARRY		0x0001
#define ZERO		0x0040

bios16_start:
/* Entry points in a fixed order, four bytes each: boot-bios16.c points the vectors here. */
	iret;			.balign 4
	jmp int10;		.balign 4
	jmp int11;		.balign 4
	jmp int12;		.balign 4
	jmp int13;		.balign 4
	jmp int15;		.balign 4
	jmp int16;		.balign 4
	jmp int1a;		.balign 4

fail:
	push	%bp
	mov	%sp, %bp
	orw	$CARRY, (FLAGS + 2)(%bp)
	pop	%bp
	iret

succeed:
	push	%bp
	mov	%sp, %bp
	andw	$~CARRY, (FLAGS + 2)(%bp)
	pop	%bp
	iret

/* Video: a teletype, and enough of a text mode for code that asks. */
int10:
	cmp	$0x0e, %ah
	je	1f
	cmp	$0x0f, %ah
	je	2f
	cmp	$0x03, %ah
	je	3f
	cmp	$0x1a, %ah
	jne	4f
	xor	%al, %al		/* no display combination codes */
4:	iret
1:	push	%dx
	mov	$0x3f8, %dx
	out	%al, %dx
	pop	%dx
	iret
2:	mov	$0x5003, %ax		/* 80 columns, mode 3 */
	xor	%bh, %bh
	iret
3:	xor	%cx, %cx
	xor	%dx, %dx
	iret

int11:	xor	%ax, %ax
	iret

int12:	mov	$639, %ax
	iret

int13:	mov	$0x01, %ah
	jmp	fail

int15:
	cmp	$0xe820, %ax
	je	e820
	cmp	$0xe801, %ax
	je	e801
	cmp	$0x88, %ah
	je	88f
	cmp	$0x24, %ah		/* A20 is always on */
	je	a20
	mov	$0x86, %ah
	jmp	fail
a20:	xor	%ax, %ax
	jmp	succeed
88:	mov	%cs:AT(bios16_kib_above_1m), %ax
	jmp	succeed
e801:	mov	%cs:AT(bios16_kib_below_16m), %ax
	mov	%cs:AT(bios16_blocks_above_16m), %bx
	mov	%ax, %cx
	mov	%bx, %dx
	jmp	succeed

/* EBX is the index of the entry that is asked for, and becomes the next one's, 0 after the last. */
e820:
	cmp	$0x534d4150, %edx
	jne	fail
	cmp	%cs:AT(bios16_e820_count), %ebx
	jae	fail
	push	%si
	push	%di
	push	%ds
	push	%cs
	pop	%ds
	imul	$20, %bx, %si
	add	$AT(bios16_e820), %si
	mov	$20, %cx
	cld
	rep	movsb
	pop	%ds
	pop	%di
	pop	%si
	inc	%ebx
	cmp	%cs:AT(bios16_e820_count), %ebx
	jb	1f
	xor	%ebx, %ebx
1:	mov	$0x534d4150, %eax
	mov	$20, %ecx
	jmp	succeed

/* Keyboard: no key is ever there. */
int16:
	cmp	$0x01, %ah
	je	1f
	cmp	$0x11, %ah
	je	1f
	xor	%ax, %ax
	iret
1:	push	%bp
	mov	%sp, %bp
	orw	$ZERO, (FLAGS + 2)(%bp)
	pop	%bp
	iret

int1a:
	test	%ah, %ah
	jnz	fail
	xor	%al, %al
	xor	%cx, %cx
	xor	%dx, %dx
	jmp	succeed

	.balign 16
/* struct bios16_data of boot-bios16.c */
bios16_data:
bios16_e820_count:	.long 0
bios16_kib_above_1m:	.word 0
bios16_kib_below_16m:	.word 0
bios16_blocks_above_16m: .word 0
			.word 0
bios16_e820:		.fill 16 * 20, 1, 0
bios16_end:

	.section .note.GNU-stack, "", @progbits
