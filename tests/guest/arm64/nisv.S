/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An access without a syndrome, outside RAM: a load of a pair has none that KVM could hand on. The guest must
 * get a synchronous external abort (EC 0x25, DFSC 0x10) with the right address, and live on.
 */
#define NOWHERE		0x20000000
#define UART		0x1000000
#define SYSTEM_OFF	0x84000008

	.text
	.globl _start
_start:
	adr	x0, vectors
	msr	vbar_el1, x0
	isb
	mov	x0, #NOWHERE
	ldp	x1, x2, [x0]
	adr	x0, not_aborted
	b	say

	.balign 2048
vectors:
	.org	vectors + 0x200		// synchronous, from this level, on its own stack
	mrs	x1, esr_el1
	lsr	w2, w1, #26		// 32 bits: KVM of Linux 6.1 extends the sign
	cmp	w2, #0x25
	b.ne	wrong
	and	x2, x1, #0x3f
	cmp	x2, #0x10
	b.ne	wrong
	mrs	x1, far_el1
	mov	x2, #NOWHERE
	cmp	x1, x2
	b.ne	wrong
	adr	x0, aborted
	b	say
wrong:
	mrs	x1, esr_el1
	bl	say_hex
	mrs	x1, far_el1
	bl	say_hex
	adr	x0, wrong_abort
	b	say

/* x1 as 16 digits */
say_hex:
	mov	x3, #UART
	mov	x4, #16
1:	ror	x1, x1, #60
	and	x2, x1, #15
	cmp	x2, #10
	add	x5, x2, #'0'
	add	x6, x2, #'a' - 10
	csel	x2, x5, x6, lo
	strb	w2, [x3]
	subs	x4, x4, #1
	b.ne	1b
	mov	w2, #' '
	strb	w2, [x3]
	ret

say:
	mov	x1, #UART
1:	ldrb	w2, [x0], #1
	cbz	w2, off
	strb	w2, [x1]
	b	1b
off:
	ldr	w0, =SYSTEM_OFF
	hvc	#0
	b	.
	.ltorg

aborted:	.asciz "ok nisv/pair_from_nowhere_aborts\n"
not_aborted:	.asciz "FAIL nisv/pair_from_nowhere_aborts: no abort\n"
wrong_abort:	.asciz "FAIL nisv/pair_from_nowhere_aborts: another exception\n"
