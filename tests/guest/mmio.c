/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory as the guest sees it: RAM, holes, MMIO in every width and across pages. */
#include "guest.h"

#define HOLE	0xdeadb000u
#define HIGH	0x00900000u	/* RAM above 1 MiB: payloads run with 16 MiB at least */

TEST(ram_above_1_mib_is_memory)
{
	poke32(HIGH, 0x12345678);
	CHECK_EQ(peek32(HIGH), 0x12345678);
	CHECK_EQ(peek8(HIGH + 3), 0x12);
	poke16(HIGH + 0xfff, 0xabcd);
	CHECK_EQ(peek8(HIGH + 0x1000), 0xab);
}

TEST(holes_read_as_ones_and_swallow_writes)
{
	CHECK_EQ(peek8(HOLE), 0xff);
	CHECK_EQ(peek16(HOLE + 2), 0xffff);
	CHECK_EQ(peek32(HOLE + 4), 0xffffffff);
	poke32(HOLE, 0);
	CHECK_EQ(peek32(HOLE), 0xffffffff);
}

TEST(access_across_a_page_of_a_hole_is_whole)
{
	CHECK_EQ(peek32(HOLE + 0xffe), 0xffffffff);
	poke32(HOLE + 0xffd, 0x01020304);
	CHECK_EQ(peek16(HOLE + 0xfff), 0xffff);
}

TEST(interrupt_controllers_are_there)
{
	poke32(IOAPIC, 1);
	CHECK_EQ(peek32(IOAPIC + 0x10) >> 16 & 0xff, 23);
	CHECK_EQ(peek32(LAPIC + 0x30) & 0xf0, 0x10);
}

TESTS(RUN(ram_above_1_mib_is_memory), RUN(holes_read_as_ones_and_swallow_writes),
      RUN(access_across_a_page_of_a_hole_is_whole), RUN(interrupt_controllers_are_there));
