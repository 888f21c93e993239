/* SPDX-License-Identifier: BSD-2-Clause */
/* The program guest/init, gzipped (guest/rules.mk builds it), for guest/setup.c to hand to guests. */
	.section .rodata
	.globl guest_init_start, guest_init_size
	.hidden guest_init_start, guest_init_size
	.balign 8
guest_init_start:
	.incbin "guest/init.gz"
guest_init_end:
	.balign 8
guest_init_size:
	.quad guest_init_end - guest_init_start
	.section .note.GNU-stack, "", %progbits
