/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a payload has: ports, memory anywhere, interrupts, a clock, and tests that report on COM1.
 *
 * A payload defines its tests with TEST() and lists them with TESTS(). Pointers reach the payload's own 64 KiB
 * only; everything else goes through peek and poke by physical address.
 */
#ifndef TESTS_GUEST_H
#define TESTS_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COM1			0x3f8
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))

/* As include/kvm/acpi-power.h has them: a payload is 16-bit code and includes nothing of lkvm's. */
#define ACPI_PM1A_EVENT_PORT	0x600
#define ACPI_PM1A_CONTROL_PORT	0x604
#define ACPI_PM_TIMER_PORT	0x608
#define ACPI_GPE0_PORT		0x60c
#define ACPI_RESET_PORT		0x610
#define ACPI_RESET_VALUE	0x01

/* ---- tests ---- */

struct test {
	const char *name;
	void (*run)(void);
};
extern const struct test tests[];
extern const unsigned int test_count;

#define TEST(name)	static void name(void)
#define TESTS(...)	const struct test tests[] = { __VA_ARGS__ }; \
			const unsigned int test_count = ARRAY_SIZE(tests)
#define RUN(test)	{ #test, test }

/* Both leave the test when they fail. */
#define CHECK(condition)	do { if (!(condition)) { test_fail(__LINE__, #condition); return; } } while (0)
#define CHECK_EQ(seen, wanted)	do {								\
		uint32_t seen_ = (uint32_t)(seen), wanted_ = (uint32_t)(wanted);		\
		if (seen_ != wanted_) { test_fail_eq(__LINE__, #seen, seen_, wanted_); return; }	\
	} while (0)
#define SKIP(reason)		do { test_skip(reason); return; } while (0)

void test_fail(unsigned int line, const char *what);
void test_fail_eq(unsigned int line, const char *what, uint32_t seen, uint32_t wanted);
void test_skip(const char *reason);

void print(const char *text);
void print_hex(uint32_t value);
void print_decimal(uint32_t value);

/** end_report() - prints the closing line: the runner takes a payload without it for dead. main_ calls it too. */
void end_report(void);
/** power_off() - by ACPI; doesn't return */
void power_off(void) __attribute__((noreturn));
void halt(void) __attribute__((noreturn));

/* ---- ports ---- */

#define PORT_OPS(suffix, type)										\
	static inline void out##suffix(uint16_t port, type value)					\
	{												\
		__asm__ volatile("out" #suffix " %0, %1" : : "a"(value), "Nd"(port) : "memory");	\
	}												\
	static inline type in##suffix(uint16_t port)							\
	{												\
		type value;										\
		__asm__ volatile("in" #suffix " %1, %0" : "=a"(value) : "Nd"(port) : "memory");	\
		return value;										\
	}
PORT_OPS(b, uint8_t)
PORT_OPS(w, uint16_t)
PORT_OPS(l, uint32_t)

/* ---- memory by physical address, through the flat FS ---- */

#define MEMORY_OPS(bits, suffix, constraint)								\
	static inline uint##bits##_t peek##bits(uint32_t address)					\
	{												\
		uint##bits##_t value;									\
		__asm__ volatile("mov" #suffix " %%fs:(%1), %0" : "=" constraint(value) : "r"(address) : "memory"); \
		return value;										\
	}												\
	static inline void poke##bits(uint32_t address, uint##bits##_t value)				\
	{												\
		__asm__ volatile("mov" #suffix " %0, %%fs:(%1)" : : constraint(value), "r"(address) : "memory"); \
	}
MEMORY_OPS(8, b, "q")
MEMORY_OPS(16, w, "r")
MEMORY_OPS(32, l, "r")

extern uint32_t load_base;

/** physical() - the address that a device must be told for @pointer */
static inline uint32_t physical(const volatile void *pointer)
{
	return load_base + (uint32_t)pointer;
}

void fill(void *to, uint8_t byte, size_t length);

/* ---- time ---- */

#define TICKS_PER_MS	3580	/* of the ACPI PM timer, whose reading costs an exit */

static inline uint32_t ticks(void)
{
	return inl(ACPI_PM_TIMER_PORT);
}

/** passed() - whether @milliseconds are over since @start */
static inline bool passed(uint32_t start, uint32_t milliseconds)
{
	return ticks() - start >= milliseconds * TICKS_PER_MS;
}

void wait_ms(uint32_t milliseconds);

/* ---- interrupts: vectors below 0x80 are counted ---- */

#define VECTOR_PIC	0x20	/* IRQ 0 to 15 by pic_init() */
#define LAPIC		0xfee00000u
#define IOAPIC		0xfec00000u

extern volatile uint16_t interrupts[0x80];

/** interrupt_hook - called with the vector, interrupts off, before the end of interrupt is told */
extern void (*volatile interrupt_hook)(unsigned int vector);

/** pic_init() - both 8259s to VECTOR_PIC, all lines masked but those in @lines */
void pic_init(uint16_t lines);
/** apic_init() - LAPIC on, LINT0 ExtINT or masked */
void apic_init(bool external);
/** ioapic_route() - pin to vector, edge or level, on the first CPU; ioapic_mask() */
void ioapic_route(unsigned int pin, uint8_t vector, bool level);
void ioapic_mask(unsigned int pin);

/** wait_interrupt() - opens interrupts until @vector has come @count times, at most @milliseconds; whether it has */
bool wait_interrupt(unsigned int vector, unsigned int count, uint32_t milliseconds);
/** let_interrupts() - opens them for a while */
void let_interrupts(uint32_t milliseconds);

/* ---- other CPUs: SIPI with the payload's own page as its vector; they count themselves and sleep ---- */

extern volatile uint16_t others_wanted, others_started;

/* ---- PCI ---- */

#define PCI_NONE	0xffffffffu

uint32_t pci_read(unsigned int devfn, unsigned int offset);
void pci_write(unsigned int devfn, unsigned int offset, uint32_t value);
uint16_t pci_read16(unsigned int devfn, unsigned int offset);
void pci_write16(unsigned int devfn, unsigned int offset, uint16_t value);
uint8_t pci_read8(unsigned int devfn, unsigned int offset);
void pci_write8(unsigned int devfn, unsigned int offset, uint8_t value);
/** pci_find() - the function on bus 0 with vendor and device, or PCI_NONE */
unsigned int pci_find(uint16_t vendor, uint16_t device);
/** pci_capability() - offset of the capability after @after (0: the first) with @id, or 0 */
unsigned int pci_capability(unsigned int devfn, uint8_t id, unsigned int after);
/** pci_bar() - the memory or port address of a BAR, which is moved if it lies above 4 GiB */
uint32_t pci_bar(unsigned int devfn, unsigned int bar);

/* ---- CMOS ---- */

uint8_t cmos_read(uint8_t index);
void cmos_write(uint8_t index, uint8_t value);

#endif
