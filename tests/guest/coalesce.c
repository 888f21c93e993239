/* SPDX-License-Identifier: BSD-2-Clause */
/* Coalesced writes: late, but never too late, in order, and not lost when there are more than the ring holds. */
#include "guest.h"

TEST(index_is_there_before_the_data)
{
	for (unsigned int i = 0; i < 64; i++)
		cmos_write((uint8_t)(0x40 + i % 32), (uint8_t)i);
	for (unsigned int i = 0; i < 32; i++)
		CHECK_EQ(cmos_read((uint8_t)(0x40 + i)), i + 32);
}

TEST(last_of_many_index_writes_counts)
{
	cmos_write(0x41, 0x77);
	for (unsigned int i = 0; i < 1000; i++)
		outb(0x70, (uint8_t)(0x42 + i % 8));
	outb(0x70, 0x41);
	CHECK_EQ(inb(0x71), 0x77);
}

TEST(index_reads_back)
{
	outb(0x70, 0x33);
	outb(0x70, 0x35);
	CHECK_EQ(inb(0x70), 0x35);
}

TEST(diagnostics_port_takes_any_number_of_writes)
{
	for (unsigned int i = 0; i < 5000; i++)
		outb(0x80, (uint8_t)i);
	CHECK_EQ(inb(0x80), 0xff);
}

TESTS(RUN(index_is_there_before_the_data), RUN(last_of_many_index_writes_counts), RUN(index_reads_back),
      RUN(diagnostics_port_takes_any_number_of_writes));
