/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest whose memory changes all the time, to be forked (tests/integration/fork.sh).
 *
 * Run by itself it only looks for a while. The word in page n of its area is the round that was last written there, and
 * `at` how far this round has come; so whenever it is copied, the copy knows what each page has to hold. It learns that
 * it is one by its generation ID, checks all, writes what only it would, and checks that nobody else does.
 */
#include "guest.h"

#define VMGENID		0x000f7000u
#define AREA		0x00200000u
#define PAGES		512u
#define PAGE		4096u
#define ROUNDS		20u

static volatile uint32_t round = 1, at;	/* of the round */
static uint32_t id[4];

/* Once is enough for all time. */
static bool typed(void)
{
	uint32_t start = ticks();

	while (!(inb(COM1 + 5) & 1))
		if (passed(start, 100))
			return false;
	return true;
}

static bool is_forked(void)
{
	for (unsigned int i = 0; i < 4; i++)
		if (peek32(VMGENID + 4 * i) != id[i])
			return true;
	return false;
}

static void fill_all(uint32_t value)
{
	for (uint32_t page = 0; page < PAGES; page++)
		poke32(AREA + page * PAGE, value);
}

static uint32_t count_others(uint32_t value)
{
	uint32_t others = 0;

	for (uint32_t page = 0; page < PAGES; page++)
		others += peek32(AREA + page * PAGE) != value;
	return others;
}

/* Returns when this is a fork; or after a few rounds, unless somebody types. */
static void change_until_forked(void)
{
	for (;; round++) {
		for (at = 0; at < PAGES; at++) {
			if (is_forked())
				return;
			poke32(AREA + at * PAGE, round);
		}
		if (round == ROUNDS && !typed())
			return;
	}
}

static void check_copy(void)
{
	for (uint32_t page = 0; page < PAGES; page++)
		CHECK_EQ(peek32(AREA + page * PAGE), page < at ? round : round - 1);
}

static void check_own(void)
{
	const uint32_t mine = peek32(VMGENID) | 0x80000000u;

	fill_all(mine);
	for (unsigned int i = 0; i < 5; i++) {
		wait_ms(2);
		CHECK_EQ(count_others(mine), 0);
	}
}

TEST(memory_is_that_of_the_moment)
{
	for (unsigned int i = 0; i < 4; i++)
		id[i] = peek32(VMGENID + 4 * i);
	fill_all(0);
	print("# changes\n");
	change_until_forked();
	check_copy();
}

TEST(memory_is_its_own)
{
	check_own();
}

TESTS(RUN(memory_is_that_of_the_moment), RUN(memory_is_its_own));
