/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that is idle with 256 MiB in use, to be migrated: it fills them, says so on COM1 and halts. Starts as trips.c
 * does.
 */
#include "trips.h"

typedef unsigned int uint32_t;

#define FROM	(64u << 20)
#define BYTES	(256u << 20)

void first_cpu(void);
void other_cpu(uint32_t number);

static void say(const char *text)
{
	for (; *text; text++)
		__asm__ volatile("outb %0, %1" : : "a"(*text), "Nd"((unsigned short)0x3f8));
}

void other_cpu(uint32_t number)
{
	(void)number;
}

void first_cpu(void)
{
	uint32_t value = 1;

	/* something in each page, and no two alike: more of it would be the same to both, and take a software KVM long */
	for (volatile uint32_t *at = (uint32_t *)FROM; at < (uint32_t *)(FROM + BYTES); at += 1024)
		*at = value = value * 1664525u + 1013904223u;
	say("filled\n");
}
