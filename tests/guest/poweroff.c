/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Soft-off: other sleep types are refused, S5 ends the program with 0.
 *
 * status: 0
 */
#include "guest.h"

TEST(only_sleep_type_5_turns_off)
{
	for (unsigned int type = 0; type < 5; type++)
		outw(ACPI_PM1A_CONTROL_PORT, (uint16_t)(type << 10 | 1 << 13));
	outw(ACPI_PM1A_CONTROL_PORT, 5 << 10);
	CHECK_EQ(inw(ACPI_PM1A_CONTROL_PORT) & 1, 1);
}

TESTS(RUN(only_sleep_type_5_turns_off));
