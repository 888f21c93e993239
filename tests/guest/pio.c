/* SPDX-License-Identifier: BSD-2-Clause */
/* Port I/O as the CPU makes it: every width, ports that nobody has, string instructions. */
#include "guest.h"

#define NOBODY	0x5550
#define SCRATCH	(COM1 + 7)

TEST(unclaimed_ports_read_as_ones)
{
	CHECK_EQ(inb(NOBODY), 0xff);
	CHECK_EQ(inw(NOBODY), 0xffff);
	CHECK_EQ(inl(NOBODY), 0xffffffff);
	outb(NOBODY, 1);
	outw(NOBODY, 1);
	outl(NOBODY, 1);
	CHECK_EQ(inb(0xffff), 0xff);
	CHECK_EQ(inl(0xffff), 0xffffffff);
}

TEST(bytes_read_back)
{
	for (unsigned int value = 0; value < 256; value += 17) {
		outb(SCRATCH, (uint8_t)value);
		CHECK_EQ(inb(SCRATCH), value);
	}
}

TEST(wide_access_is_its_bytes)
{
	outb(COM1 + 1, 0);
	outw(SCRATCH - 1, 0x5a00);
	CHECK_EQ(inb(SCRATCH), 0x5a);
	CHECK_EQ(inw(SCRATCH - 1) >> 8, 0x5a);
	/* the last register, and then nobody */
	CHECK_EQ(inw(SCRATCH), 0xff5a);
	CHECK_EQ(inl(SCRATCH), 0xffffff5a);
}

TEST(string_output_arrives_in_order)
{
	static const char text[] = "# string output\n";
	const char *at = text;
	uint32_t count = sizeof(text) - 1;

	__asm__ volatile("rep outsb" : "+S"(at), "+c"(count) : "d"(COM1) : "memory");
	CHECK_EQ(count, 0);
	CHECK_EQ(at - text, sizeof(text) - 1);
}

TEST(string_input_reads_each_time)
{
	uint8_t bytes[9] = { 0 };
	uint8_t *at = bytes;
	uint32_t count = 8;

	outb(SCRATCH, 0xc3);
	__asm__ volatile("rep insb" : "+D"(at), "+c"(count) : "d"(SCRATCH) : "memory");
	for (unsigned int i = 0; i < 8; i++)
		CHECK_EQ(bytes[i], 0xc3);
	CHECK_EQ(bytes[8], 0);
}

TESTS(RUN(unclaimed_ports_read_as_ones), RUN(bytes_read_back), RUN(wide_access_is_its_bytes),
      RUN(string_output_arrives_in_order), RUN(string_input_reads_each_time));
