/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vCPUs that come and go, by the registers that ACPI would work: by itself what a guest may do to them, and with somebody who
 * types (tests/integration/cpus.sh) also those that come while it runs, which it starts, and lets go when it is asked.
 *
 * args: -c 3,max=6
 */
#include "guest.h"

#define SELECT		0x620
#define WHAT		0x624
#define VALUE		0x628
#define NEXT		0x62c
#define NOTHING		0
#define EJECT		3
#define TELL		0x10000u
#define COME		1u
#define GO		3u
#define GPE_CPUS	0x40
#define ICR		(LAPIC + 0x300)
#define ICR_HIGH	(LAPIC + 0x310)
#define INIT		0x00004500u
#define SIPI		0x00004600u

static uint32_t work(uint32_t cpu, uint32_t what, uint32_t value)
{
	outl(SELECT, cpu);
	outl(WHAT, what);
	outl(VALUE, value);
	return inl(VALUE);
}

static bool is_there(uint32_t cpu)
{
	return work(cpu, NOTHING, 0) == 0xf;
}

/* Whether it has counted itself: -c has its APIC id be its number. */
static bool starts(uint32_t cpu)
{
	uint16_t before = others_started;
	uint32_t start;

	others_wanted = 1;
	poke32(ICR_HIGH, cpu << 24);
	poke32(ICR, INIT);
	wait_ms(2);
	poke32(ICR_HIGH, cpu << 24);
	poke32(ICR, SIPI | load_base >> 12);
	for (start = ticks(); others_started == before && !passed(start, 300); )
		;
	return others_started == (uint16_t)(before + 1);
}

TEST(those_that_are_there_say_so)
{
	apic_init(false);
	for (uint32_t cpu = 0; cpu < 6; cpu++)
		CHECK_EQ(is_there(cpu), cpu < 3);
	CHECK_EQ(is_there(6), false);
	CHECK_EQ(is_there(0xffffffffu), false);
	CHECK_EQ(inl(NEXT), 0);
	CHECK(starts(1));
	CHECK(!starts(3));
}

TEST(vcpu_0_stays)
{
	CHECK_EQ(work(0, EJECT, 0), 0xf);
	wait_ms(20);
	CHECK(is_there(0));
}

TEST(rubbish_is_taken)
{
	uint32_t seed = 0x12345;

	for (unsigned int i = 0; i < 300; i++) {
		seed = seed * 1103515245 + 12345;
		/* no number of these is one that is there */
		work(seed | 0x80, seed >> 7, seed >> 3);
		outb((uint16_t)(SELECT + (seed & 15)), (uint8_t)seed);
		outw((uint16_t)(SELECT + (seed & 14)), (uint16_t)seed);
		outl((uint16_t)(SELECT + 1 + (seed & 7)), seed | 0x80);
		work(3 + seed % 3, EJECT, seed);
		work(3 + seed % 3, TELL + (seed & 0xff), seed);
		inl(NEXT);
	}
	for (uint32_t cpu = 0; cpu < 6; cpu++)
		CHECK_EQ(is_there(cpu), cpu < 3);
	CHECK(starts(2));
}

TEST(one_that_is_ejected_starts_no_more)
{
	CHECK_EQ(work(2, EJECT, 0), 0);
	CHECK_EQ(work(2, EJECT, 0), 0);
	wait_ms(50);
	CHECK(!starts(2));
	CHECK(!is_there(2));
	CHECK(starts(1));
}

static void say(const char *what, uint32_t cpu)
{
	print(what);
	print_decimal(cpu);
	print("\n");
}

static void one_comes(uint32_t cpu)
{
	say(is_there(cpu) && starts(cpu) ? "# started " : "# failed ", cpu);
	work(cpu, TELL + COME, 0);
}

/* 4 is kept for good, 5 gets no answer. */
static void one_is_to_go(uint32_t cpu)
{
	if (cpu == 4) {
		work(cpu, TELL + GO, 0x84);
		work(cpu, TELL + GO, 1);
		say("# kept ", cpu);
	} else if (cpu == 5) {
		say("# ignored ", cpu);
	} else {
		work(cpu, EJECT, 0);
		work(cpu, TELL + GO, 0);
		say("# gone ", cpu);
	}
}

static void look(void)
{
	uint32_t next;

	if (!(inw(ACPI_GPE0_PORT) & GPE_CPUS))
		return;
	outw(ACPI_GPE0_PORT, GPE_CPUS);
	while ((next = inl(NEXT))) {
		if (next >> 16 == COME)
			one_comes(next & 0xffff);
		else
			one_is_to_go(next & 0xffff);
	}
}

/* With somebody who types, until he does so again: 's' starts all that are there. */
TEST(they_come_and_go)
{
	uint32_t start = ticks();
	int typed = 0;

	while (!(inb(COM1 + 5) & 1))
		if (passed(start, 100))
			SKIP("nobody types");
	inb(COM1);
	print("# ready\n");
	for (; typed != 'q'; typed = inb(COM1 + 5) & 1 ? inb(COM1) : 0) {
		look();
		for (uint32_t cpu = 1; typed == 's' && cpu < 6; cpu++)
			if (is_there(cpu))
				say(starts(cpu) ? "# started " : "# failed ", cpu);
		wait_ms(1);
	}
}

TESTS(RUN(those_that_are_there_say_so), RUN(vcpu_0_stays), RUN(rubbish_is_taken), RUN(one_that_is_ejected_starts_no_more),
      RUN(they_come_and_go));
