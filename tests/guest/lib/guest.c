/* SPDX-License-Identifier: BSD-2-Clause */
/* The payloads' library: reporting, time, interrupts, PCI. See guest.h. */
#include "guest.h"

volatile uint16_t interrupts[0x80];
void (*volatile interrupt_hook)(unsigned int vector);

static bool failed, skipped;
static const char *current;

void main_(void);
void interrupt_(unsigned int vector);
void *memset(void *to, int byte, size_t length);
void *memcpy(void *to, const void *from, size_t length);

/* The compiler calls these by itself. */
void *memset(void *to, int byte, size_t length)
{
	uint8_t *at = to;

	while (length--)
		*at++ = (uint8_t)byte;
	return to;
}

void *memcpy(void *to, const void *from, size_t length)
{
	const uint8_t *source = from;
	uint8_t *at = to;

	while (length--)
		*at++ = *source++;
	return to;
}

void fill(void *to, uint8_t byte, size_t length)
{
	memset(to, byte, length);
}

/* ---- reporting ---- */

void print(const char *text)
{
	while (*text)
		outb(COM1, (uint8_t)*text++);
}

void print_hex(uint32_t value)
{
	print("0x");
	for (int shift = 28; shift >= 0; shift -= 4)
		outb(COM1, (uint8_t)"0123456789abcdef"[value >> shift & 15]);
}

void print_decimal(uint32_t value)
{
	char digits[11];
	unsigned int count = 0;

	do
		digits[count++] = (char)('0' + value % 10);
	while (value /= 10);
	while (count)
		outb(COM1, (uint8_t)digits[--count]);
}

static void report(const char *verdict, const char *text)
{
	print(verdict);
	print(" ");
	print(current);
	if (text) {
		print(": ");
		print(text);
	}
}

void test_fail(unsigned int line, const char *what)
{
	failed = true;
	report("FAIL", "line ");
	print_decimal(line);
	print(": ");
	print(what);
	print("\n");
}

void test_fail_eq(unsigned int line, const char *what, uint32_t seen, uint32_t wanted)
{
	failed = true;
	report("FAIL", "line ");
	print_decimal(line);
	print(": ");
	print(what);
	print(" is ");
	print_hex(seen);
	print(", not ");
	print_hex(wanted);
	print("\n");
}

void test_skip(const char *reason)
{
	skipped = true;
	report("skip", reason);
	print("\n");
}

void end_report(void)
{
	print("end\n");
}

void halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

void power_off(void)
{
	outw(ACPI_PM1A_CONTROL_PORT, 5 << 10 | 1 << 13);
	halt();
}

void main_(void)
{
	for (unsigned int i = 0; i < test_count; i++) {
		failed = skipped = false;
		current = tests[i].name;
		interrupt_hook = NULL;
		tests[i].run();
		if (!failed && !skipped) {
			report("ok", NULL);
			print("\n");
		}
	}
	end_report();
	power_off();
}

/* ---- time ---- */

void wait_ms(uint32_t milliseconds)
{
	uint32_t start = ticks();

	while (!passed(start, milliseconds))
		;
}

/* ---- interrupts ---- */

void interrupt_(unsigned int vector)
{
	if (vector >= ARRAY_SIZE(interrupts))
		return;
	interrupts[vector]++;
	if (interrupt_hook)
		interrupt_hook(vector);
	if (vector >= VECTOR_PIC && vector < VECTOR_PIC + 16) {
		if (vector >= VECTOR_PIC + 8)
			outb(0xa0, 0x20);
		outb(0x20, 0x20);
	} else if (vector >= 0x30) {
		poke32(LAPIC + 0xb0, 0);
	}
}

void pic_init(uint16_t lines)
{
	uint16_t masked = (uint16_t)~lines;

	if (lines & 0xff00)
		masked &= (uint16_t)~4;
	outb(0x20, 0x11);
	outb(0xa0, 0x11);
	outb(0x21, VECTOR_PIC);
	outb(0xa1, VECTOR_PIC + 8);
	outb(0x21, 4);
	outb(0xa1, 2);
	outb(0x21, 1);
	outb(0xa1, 1);
	outb(0x21, (uint8_t)masked);
	outb(0xa1, (uint8_t)(masked >> 8));
}

void apic_init(bool external)
{
	poke32(LAPIC + 0xf0, 0x17f);
	poke32(LAPIC + 0x350, external ? 0x700 : 0x10700);
}

static void ioapic_write(uint8_t reg, uint32_t value)
{
	poke32(IOAPIC, reg);
	poke32(IOAPIC + 0x10, value);
}

void ioapic_route(unsigned int pin, uint8_t vector, bool level)
{
	ioapic_write((uint8_t)(0x11 + pin * 2), 0);
	ioapic_write((uint8_t)(0x10 + pin * 2), vector | (level ? 0x8000u : 0));
}

void ioapic_mask(unsigned int pin)
{
	ioapic_write((uint8_t)(0x10 + pin * 2), 0x10000);
}

/* Open while the clock is read: software KVM may miss a window of a few instructions without an exit in it. */
bool wait_interrupt(unsigned int vector, unsigned int count, uint32_t milliseconds)
{
	uint32_t start = ticks();

	__asm__ volatile("sti" : : : "memory");
	while (interrupts[vector] < count && !passed(start, milliseconds))
		;
	__asm__ volatile("cli" : : : "memory");
	return interrupts[vector] >= count;
}

void let_interrupts(uint32_t milliseconds)
{
	uint32_t start = ticks();

	__asm__ volatile("sti" : : : "memory");
	while (!passed(start, milliseconds))
		;
	__asm__ volatile("cli" : : : "memory");
}

/* ---- PCI by configuration mechanism 1 ---- */

#define PCI_WINDOW	0xd0000000u	/* below 4 GiB, for BARs, and not where the host puts any */

static void pci_select(unsigned int devfn, unsigned int offset)
{
	outl(0xcf8, 0x80000000u | devfn << 8 | (offset & 0xfc));
}

uint32_t pci_read(unsigned int devfn, unsigned int offset)
{
	pci_select(devfn, offset);
	return inl(0xcfc);
}

void pci_write(unsigned int devfn, unsigned int offset, uint32_t value)
{
	pci_select(devfn, offset);
	outl(0xcfc, value);
}

uint16_t pci_read16(unsigned int devfn, unsigned int offset)
{
	pci_select(devfn, offset);
	return inw((uint16_t)(0xcfc + (offset & 2)));
}

void pci_write16(unsigned int devfn, unsigned int offset, uint16_t value)
{
	pci_select(devfn, offset);
	outw((uint16_t)(0xcfc + (offset & 2)), value);
}

uint8_t pci_read8(unsigned int devfn, unsigned int offset)
{
	pci_select(devfn, offset);
	return inb((uint16_t)(0xcfc + (offset & 3)));
}

void pci_write8(unsigned int devfn, unsigned int offset, uint8_t value)
{
	pci_select(devfn, offset);
	outb((uint16_t)(0xcfc + (offset & 3)), value);
}

unsigned int pci_find(uint16_t vendor, uint16_t device)
{
	for (unsigned int devfn = 0; devfn < 256; devfn++)
		if (pci_read(devfn, 0) == ((uint32_t)device << 16 | vendor))
			return devfn;
	return PCI_NONE;
}

unsigned int pci_capability(unsigned int devfn, uint8_t id, unsigned int after)
{
	unsigned int at = after ? pci_read8(devfn, after + 1) : pci_read8(devfn, 0x34);

	for (unsigned int i = 0; at && i < 48; i++) {
		if (pci_read8(devfn, at) == id)
			return at;
		at = pci_read8(devfn, at + 1);
	}
	return 0;
}

/* Gives a BAR that lies above 4 GiB, where a payload can't reach, a place below. */
static uint32_t pci_move_down(unsigned int devfn, unsigned int at)
{
	static uint32_t next = PCI_WINDOW;
	uint32_t size;

	pci_write(devfn, at, 0xffffffff);
	size = ~(pci_read(devfn, at) & ~15u) + 1;
	next = (next + size - 1) & ~(size - 1);
	pci_write(devfn, at, next);
	pci_write(devfn, at + 4, 0);
	next += size;
	return next - size;
}

uint32_t pci_bar(unsigned int devfn, unsigned int bar)
{
	unsigned int at = 0x10 + bar * 4;
	uint32_t low = pci_read(devfn, at);

	if (low & 1)
		return low & ~3u;
	if ((low & 6) == 4 && pci_read(devfn, at + 4))
		return pci_move_down(devfn, at);
	return low & ~15u;
}

/* ---- CMOS ---- */

uint8_t cmos_read(uint8_t index)
{
	outb(0x70, index);
	return inb(0x71);
}

void cmos_write(uint8_t index, uint8_t value)
{
	outb(0x70, index);
	outb(0x71, value);
}
