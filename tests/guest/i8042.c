/* SPDX-License-Identifier: BSD-2-Clause */
/* The keyboard controller and its interrupt. */
#include "guest.h"

static unsigned int answer(void)
{
	uint32_t start = ticks();

	while (!(inb(0x64) & 1))
		if (passed(start, 1000))
			return 0x100;
	return inb(0x60);
}

TEST(controller_passes_its_tests)
{
	outb(0x64, 0xaa);
	CHECK_EQ(answer(), 0x55);
	outb(0x64, 0xab);
	CHECK_EQ(answer(), 0x00);
}

TEST(keyboard_resets)
{
	outb(0x60, 0xff);
	CHECK_EQ(answer(), 0xfa);
	CHECK_EQ(answer(), 0xaa);
}

TEST(keyboard_interrupts)
{
	interrupts[VECTOR_PIC + 1] = 0;
	apic_init(true);
	pic_init(1 << 1);
	outb(0x64, 0x60);
	outb(0x60, 0x01);
	outb(0x60, 0xee);
	CHECK(wait_interrupt(VECTOR_PIC + 1, 1, 2000));
	CHECK_EQ(answer(), 0xee);
	outb(0x64, 0x60);
	outb(0x60, 0x00);
	pic_init(0);
}

TESTS(RUN(controller_passes_its_tests), RUN(keyboard_resets), RUN(keyboard_interrupts));
