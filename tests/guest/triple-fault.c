/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A triple fault: an empty interrupt table, then an exception.
 *
 * status: 115
 */
#include "guest.h"

TEST(triple_fault_has_a_status_of_its_own)
{
	static const struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) empty = { 0, 0 };

	end_report();
	__asm__ volatile("lidtl %0\n"
			 "movl %%cr0, %%eax\n"
			 "orb $1, %%al\n"
			 "movl %%eax, %%cr0\n"
			 "jmp 1f\n"
			 "1: movw $0x18, %%ax\n"
			 "movw %%ax, %%gs\n"
			 : : "m"(empty) : "eax");
}

TESTS(RUN(triple_fault_has_a_status_of_its_own));
