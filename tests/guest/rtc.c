/* SPDX-License-Identifier: BSD-2-Clause */
/* The clocks: CMOS time and alarm, and the ACPI PM timer beside it. */
#include "guest.h"

static unsigned int bcd(uint8_t value)
{
	return (value >> 4) * 10U + (value & 15);
}

TEST(time_is_plausible)
{
	CHECK(bcd(cmos_read(0)) < 60);
	CHECK(bcd(cmos_read(2)) < 60);
	CHECK(bcd(cmos_read(4)) < 24);
	CHECK(bcd(cmos_read(8)) >= 1 && bcd(cmos_read(8)) <= 12);
	CHECK(bcd(cmos_read(0x32)) >= 20);
	CHECK_EQ(cmos_read(0x0d), 0x80);
}

TEST(pm_timer_goes_forward)
{
	uint32_t before = ticks(), after;

	for (unsigned int i = 0; i < 100; i++) {
		after = ticks();
		CHECK((int32_t)(after - before) >= 0);
		before = after;
	}
}

TEST(a_second_lasts_3579545_ticks)
{
	uint8_t second = cmos_read(0);
	uint32_t start = ticks(), first;

	while (cmos_read(0) == second)
		CHECK(!passed(start, 2000));
	second = cmos_read(0);
	first = ticks();
	while (cmos_read(0) == second)
		CHECK(!passed(start, 4000));
	CHECK(ticks() - first > 3400000 && ticks() - first < 3900000);
}

TEST(nvram_keeps_its_bytes)
{
	for (unsigned int i = 0x40; i < 0x5b; i++)
		cmos_write((uint8_t)i, (uint8_t)(i * 7));
	for (unsigned int i = 0x40; i < 0x5b; i++)
		CHECK_EQ(cmos_read((uint8_t)i), i * 7 & 0xff);
}

TESTS(RUN(time_is_plausible), RUN(pm_timer_goes_forward), RUN(a_second_lasts_3579545_ticks),
      RUN(nvram_keeps_its_bytes));
