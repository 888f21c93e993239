/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The other CPUs: asleep until INIT and SIPI, then all of them run.
 *
 * args: -c 4
 */
#include "guest.h"

#define ICR		(LAPIC + 0x300)
#define OTHERS_INIT	0x000c4500u
#define OTHERS_SIPI	0x000c4600u

static bool wait_others(uint16_t count)
{
	uint32_t start = ticks();

	while (others_started < count && !passed(start, 3000))
		;
	return others_started == count;
}

TEST(others_wait_for_their_sipi)
{
	others_wanted = 1;
	wait_ms(5);
	CHECK_EQ(others_started, 0);
}

TEST(sipi_starts_all)
{
	apic_init(false);
	poke32(ICR, OTHERS_INIT);
	wait_ms(10);
	CHECK_EQ(load_base & 0xfff, 0);
	poke32(ICR, OTHERS_SIPI | load_base >> 12);
	CHECK(wait_others(3));
}

TEST(init_and_sipi_start_them_again)
{
	others_started = 0;
	poke32(ICR, OTHERS_INIT);
	wait_ms(10);
	CHECK_EQ(others_started, 0);
	poke32(ICR, OTHERS_SIPI | load_base >> 12);
	CHECK(wait_others(3));
}

TESTS(RUN(others_wait_for_their_sipi), RUN(sipi_starts_all), RUN(init_and_sipi_start_them_again));
