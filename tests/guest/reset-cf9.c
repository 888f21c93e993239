/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One of a PC's ways to reset, with the default --on-reboot=exit: the program ends with 0.
 *
 * status: 0
 */
#include "guest.h"

TEST(reset_ends_the_program)
{
	end_report();
	outb(0xcf9, 0x06);
	/* Whoever gets here has not been reset. */
	wait_ms(2000);
	print("FAIL reset_ends_the_program: still running\n");
}

TESTS(RUN(reset_ends_the_program));
