/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A kernel that panics and then resets: the status tells of the panic.
 *
 * status: 118
 */
#include "guest.h"

TEST(panic_has_a_status_of_its_own)
{
	end_report();
	print("[    0.123456] Kernel panic - not syncing: VFS: Unable to mount root fs\n");
	outb(0x64, 0xfe);
	halt();
}

TESTS(RUN(panic_has_a_status_of_its_own));
