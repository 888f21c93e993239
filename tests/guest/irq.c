/* SPDX-License-Identifier: BSD-2-Clause */
/* The way of an interrupt: PIT and devices through the 8259s and through the IOAPIC, masks, edges. */
#include "guest.h"

#define SERIAL_VECTOR	0x51
#define RTC_VECTOR	0x58

static void reset_counts(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(interrupts); i++)
		interrupts[i] = 0;
}

/* One edge on IRQ 4: THRI raised by enabling it. */
static void raise_serial(void)
{
	outb(COM1 + 1, 0);
	inb(COM1 + 2);
	outb(COM1 + 1, 2);
}

static void quiet_serial(unsigned int vector)
{
	(void)vector;
	inb(COM1 + 2);
	outb(COM1 + 1, 0);
}

static void read_rtc(unsigned int vector)
{
	(void)vector;
	cmos_read(0x0c);
}

TEST(pit_interrupts_through_the_pic)
{
	reset_counts();
	apic_init(true);
	pic_init(1 << 0);
	outb(0x43, 0x34);
	outb(0x40, 0xa9);	/* 1193182 / 1193: a millisecond */
	outb(0x40, 0x04);
	CHECK(wait_interrupt(VECTOR_PIC + 0, 3, 3000));
	pic_init(0);
}

TEST(serial_interrupts_through_the_pic)
{
	reset_counts();
	pic_init(1 << 4);
	interrupt_hook = quiet_serial;
	raise_serial();
	CHECK(wait_interrupt(VECTOR_PIC + 4, 1, 2000));
	let_interrupts(5);
	CHECK_EQ(interrupts[VECTOR_PIC + 4], 1);
}

TEST(rtc_interrupts_through_the_second_pic)
{
	reset_counts();
	pic_init(1 << 8);
	interrupt_hook = read_rtc;
	cmos_write(0x0a, 0x26);
	cmos_read(0x0c);
	cmos_write(0x0b, 0x42);
	CHECK(wait_interrupt(VECTOR_PIC + 8, 5, 3000));
	cmos_write(0x0b, 0x02);
	cmos_read(0x0c);
}

TEST(masked_line_is_silent_and_remembered)
{
	reset_counts();
	pic_init(1 << 5);
	raise_serial();
	let_interrupts(5);
	CHECK_EQ(interrupts[VECTOR_PIC + 4], 0);
	interrupt_hook = quiet_serial;
	outb(0x21, (uint8_t)~(1 << 4));
	CHECK(wait_interrupt(VECTOR_PIC + 4, 1, 2000));
	pic_init(0);
}

TEST(serial_interrupts_through_the_ioapic)
{
	reset_counts();
	pic_init(0);
	apic_init(false);
	ioapic_route(4, SERIAL_VECTOR, false);
	interrupt_hook = quiet_serial;
	raise_serial();
	CHECK(wait_interrupt(SERIAL_VECTOR, 1, 2000));
	let_interrupts(5);
	CHECK_EQ(interrupts[SERIAL_VECTOR], 1);
	ioapic_mask(4);
	raise_serial();
	let_interrupts(5);
	CHECK_EQ(interrupts[SERIAL_VECTOR], 1);
	quiet_serial(0);
}

TEST(rtc_interrupts_through_the_ioapic)
{
	reset_counts();
	ioapic_route(8, RTC_VECTOR, false);
	interrupt_hook = read_rtc;
	cmos_write(0x0a, 0x26);
	cmos_read(0x0c);
	cmos_write(0x0b, 0x42);
	CHECK(wait_interrupt(RTC_VECTOR, 5, 3000));
	cmos_write(0x0b, 0x02);
	cmos_read(0x0c);
	ioapic_mask(8);
}

TESTS(RUN(pit_interrupts_through_the_pic), RUN(serial_interrupts_through_the_pic),
      RUN(rtc_interrupts_through_the_second_pic), RUN(masked_line_is_silent_and_remembered),
      RUN(serial_interrupts_through_the_ioapic), RUN(rtc_interrupts_through_the_ioapic));
