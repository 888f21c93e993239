/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bench's round-trip payload: a kernel of its own that lkvm and QEMU both boot by PVH.
 *
 * Starts the other CPUs, then all of them read at once: for a second from a port that nobody has, for another
 * from an address that nobody has. Every read is one exit to the VMM and back. Prints on COM1
 *	TRIPS PORT_READS_PER_SECOND MMIO_READS_PER_SECOND CPUS
 * and asks the keyboard controller for a reset. Each CPU goes by its own time stamp counter, so theirs need not
 * agree; PIT channel 2 says how fast they count.
 */
#include <stdint.h>
#include "trips.h"

#define COM1			0x3f8
#define PIT_HZ			1193182u
#define CALIBRATION_MS		50u
#define FREE_PORT		0xe0
#define FREE_ADDRESS		0xd8000000u
#define LAPIC_SPURIOUS		0xfee000f0u
#define LAPIC_COMMAND		0xfee00300u
#define OTHERS_INIT		0x000c4500u
#define OTHERS_SIPI		0x000c4600u
#define READS_BETWEEN_LOOKS	32

enum phase { WAIT, WARM_UP, PORT, ADDRESS, PHASES };

extern volatile uint32_t cpus;
static volatile uint32_t phase, busy;
static volatile uint32_t reads[CPUS_MAX];
static uint32_t tsc_per_ms;

void first_cpu(void);
void other_cpu(uint32_t number);

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline volatile uint32_t *mmio(uint32_t address)
{
	return (volatile uint32_t *)address;
}

static inline uint64_t tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/* The compiler would call a library for a 64-bit quotient. */
static uint32_t divide(uint64_t value, uint32_t by)
{
	uint32_t quotient, rest;

	__asm__("divl %4" : "=a"(quotient), "=d"(rest) : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "r"(by) : "cc");
	return quotient;
}

static void print(const char *text)
{
	for (; *text; text++) {
		while (!(inb(COM1 + 5) & 0x20))
			;
		outb(COM1, (uint8_t)*text);
	}
}

static void print_number(uint32_t value)
{
	char text[11], *at = text + sizeof(text) - 1;

	*at = 0;
	do
		*--at = (char)('0' + value % 10);
	while (value /= 10);
	print(at);
}

/* Channel 2, mode 0: its output, which port 0x61 shows, rises when the count is over. */
static void wait_ms(uint32_t milliseconds)
{
	uint32_t count = PIT_HZ / 1000 * milliseconds;

	outb(0x61, (uint8_t)((inb(0x61) & ~2) | 1));
	outb(0x43, 0xb0);
	outb(0x42, (uint8_t)count);
	outb(0x42, (uint8_t)(count >> 8));
	while (!(inb(0x61) & 0x20))
		;
}

static void calibrate(void)
{
	uint64_t begin = tsc();

	wait_ms(CALIBRATION_MS);
	tsc_per_ms = divide(tsc() - begin, CALIBRATION_MS);
}

static uint32_t read_ports(uint64_t end)
{
	uint32_t count = 0;

	do {
		for (int i = 0; i < READS_BETWEEN_LOOKS; i++)
			(void)inb(FREE_PORT);
		count += READS_BETWEEN_LOOKS;
	} while (tsc() < end);
	return count;
}

static uint32_t read_addresses(uint64_t end)
{
	uint32_t count = 0;

	do {
		for (int i = 0; i < READS_BETWEEN_LOOKS; i++)
			(void)*mmio(FREE_ADDRESS);
		count += READS_BETWEEN_LOOKS;
	} while (tsc() < end);
	return count;
}

static void do_phase(uint32_t number, uint32_t what)
{
	uint64_t end = tsc() + (uint64_t)tsc_per_ms * (what == WARM_UP ? 100 : 1000);

	reads[number] = what == ADDRESS ? read_addresses(end) : read_ports(end);
	__atomic_fetch_sub(&busy, 1, __ATOMIC_SEQ_CST);
}

void other_cpu(uint32_t number)
{
	for (uint32_t what = WARM_UP; what < PHASES; what++) {
		while (phase < what)
			__builtin_ia32_pause();
		do_phase(number, what);
	}
}

/* From the release of all to the end of the last: with more CPUs than the host has, their seconds may not agree. */
static uint32_t all_do(uint32_t what)
{
	uint64_t begin = tsc();
	uint32_t total = 0, elapsed;

	busy = cpus;
	phase = what;
	do_phase(0, what);
	while (busy)
		__builtin_ia32_pause();
	elapsed = divide(tsc() - begin, tsc_per_ms);
	for (uint32_t i = 0; i < cpus; i++)
		total += reads[i];
	return divide((uint64_t)total * 1000, elapsed);
}

/* 300 ms in all: an emulated host takes its time to run four CPUs on two. */
static void start_others(void)
{
	*mmio(LAPIC_SPURIOUS) = 0x1ff;
	*mmio(LAPIC_COMMAND) = OTHERS_INIT;
	wait_ms(10);
	*mmio(LAPIC_COMMAND) = OTHERS_SIPI | TRAMPOLINE >> 12;
	for (int i = 0; i < 6; i++)
		wait_ms(50);
}

void first_cpu(void)
{
	uint32_t port, address;

	calibrate();
	start_others();
	all_do(WARM_UP);
	port = all_do(PORT);
	address = all_do(ADDRESS);
	print("\nTRIPS ");
	print_number(port);
	print(" ");
	print_number(address);
	print(" ");
	print_number(cpus);
	print("\n");
	outb(0x64, 0xfe);
}
