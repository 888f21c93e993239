/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reset that restarts the machine in place: RAM as loaded, devices as after power-on, CMOS on its battery.
 *
 * args: --on-reboot=restart
 */
#include "guest.h"

#define MARK	0x50	/* CMOS: how often we have started */

static volatile uint32_t memory = 0x600d;

TEST(machine_starts_afresh)
{
	uint8_t starts = cmos_read(MARK);

	CHECK_EQ(memory, 0x600d);
	CHECK_EQ(inb(COM1 + 7), 0);
	CHECK_EQ(inb(COM1 + 1), 0);
	CHECK_EQ(inw(ACPI_PM1A_EVENT_PORT + 2), 0);
	CHECK_EQ(cmos_read(0x0b), 0x02);
	if (starts >= 3) {
		print("# started 4 times\n");
		return;
	}
	cmos_write(MARK, (uint8_t)(starts + 1));
	memory = 0xbad;
	outb(COM1 + 7, 0x5a);
	outb(COM1 + 1, 0x01);
	outw(ACPI_PM1A_EVENT_PORT + 2, 0x0100);
	cmos_write(0x0b, 0x42);
	outb(0x64, 0xfe);
	halt();
}

TESTS(RUN(machine_starts_afresh));
