/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that is moved about (tests/integration/migrate.sh): its memory changes all the time, by its own writes and by a
 * device's, and all of it is checked again and again.
 *
 * Run by itself it ends after a few rounds; once something was typed it goes on until that is a q.
 *
 * args: --rng
 */
#include "virtio.h"

#define AREA		0x00200000u
#define PAGES		1024u
#define PAGE		4096u
#define ROUNDS		3u
#define BUFFERS		64u		/* of a page each, behind the area */
#define BUFFER(n)	(AREA + (PAGES + (n)) * PAGE)
#define BYTES		256u
#define ALIVE_MS	50u
#define POLLS		100u

static volatile uint32_t round = 1;
static uint32_t sums[BUFFERS], spoken;
static bool goes_on, ends;
static struct virtio rng;

/* The device asks for what is typed once it has been looked at often enough, with nothing said in between. */
static void listen(void)
{
	for (unsigned int i = 0; i < POLLS; i++) {
		if (!(inb(COM1 + 5) & 1))
			continue;
		goes_on = true;
		ends = inb(COM1) == 'q';
		return;
	}
}

static void speak_and_listen(void)
{
	if (!passed(spoken, ALIVE_MS) && round != ROUNDS)
		return;
	spoken = ticks();
	if (goes_on)
		print("# alive\n");
	listen();
}

static uint32_t sum_of(unsigned int buffer)
{
	uint32_t sum = 1;

	for (uint32_t i = 0; i < BYTES; i += 4)
		sum = sum * 31 + peek32(BUFFER(buffer) + i);
	return sum;
}

/* Who comes too late is seen: each word was written in the round before, or in this one. */
static bool write_and_check(void)
{
	for (uint32_t page = 0; page < PAGES; page++) {
		uint32_t at = AREA + page * PAGE + (page % 1024) * 4;

		if (peek32(at) != round - 1)
			return false;
		poke32(at, round);
	}
	return true;
}

static bool device_writes(unsigned int buffer)
{
	static uint16_t used;

	virtio_describe(0, BUFFER(buffer), BYTES, DESC_WRITE, 0);
	virtio_offer(0);
	virtio_notify(&rng, 0);
	if (!virtio_wait_used(++used))
		return false;
	sums[buffer] = sum_of(buffer);
	return true;
}

static bool buffers_hold(void)
{
	for (unsigned int i = 0; i < BUFFERS; i++)
		if (sums[i] && sum_of(i) != sums[i])
			return false;
	return true;
}

TEST(memory_stays_whole)
{
	CHECK(virtio_open(&rng, VIRTIO_RNG) && virtio_start(&rng, 0));
	for (uint32_t page = 0; page < PAGES; page++)
		poke32(AREA + page * PAGE + (page % 1024) * 4, 0);
	for (; !ends && (goes_on || round <= ROUNDS); round++) {
		CHECK(write_and_check());
		CHECK(device_writes(round % BUFFERS));
		CHECK(buffers_hold());
		speak_and_listen();
	}
}

TESTS(RUN(memory_stays_whole));
