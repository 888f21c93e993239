/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 16550A from inside: what Linux probes for, and input from a pipe.
 *
 * input: hello, guest
 */
#include "guest.h"

TEST(linux_probe_finds_a_16550a)
{
	outb(COM1 + 1, 0);
	CHECK_EQ(inb(COM1 + 1) & 0x0f, 0);
	outb(COM1 + 1, 0x0f);
	CHECK_EQ(inb(COM1 + 1) & 0x0f, 0x0f);
	outb(COM1 + 1, 0);
	outb(COM1 + 4, 0x1a);
	CHECK_EQ(inb(COM1 + 6) & 0xf0, 0x90);
	outb(COM1 + 4, 0x08);
	outb(COM1 + 2, 0x01);
	CHECK_EQ(inb(COM1 + 2) >> 6, 3);
	outb(COM1 + 2, 0x00);
	CHECK_EQ(inb(COM1 + 2) >> 6, 0);
}

TEST(input_arrives_in_order)
{
	static const char wanted[] = "hello, guest";
	uint32_t start = ticks();

	outb(COM1 + 4, 0x0b);
	for (unsigned int i = 0; i < sizeof(wanted) - 1; i++) {
		while (!(inb(COM1 + 5) & 1)) {
			if (passed(start, 3000)) {
				test_fail_eq(__LINE__, "bytes of input", i, sizeof(wanted) - 1);
				return;
			}
		}
		CHECK_EQ(inb(COM1), wanted[i]);
	}
	CHECK_EQ(inb(COM1 + 5) & 0x60, 0x60);
}

TEST(long_output_is_complete)
{
	/* The runner looks for the last line: more than one batch, so that buffers wrap. */
	for (unsigned int line = 0; line < 150; line++)
		print("# a line of output that is long enough to fill a batch quickly\n");
	print("# the last of 150 lines\n");
}

TESTS(RUN(linux_probe_finds_a_16550a), RUN(input_arrives_in_order), RUN(long_output_is_complete));
