/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MP table, for kernels without ACPI (Intel MultiProcessor Specification 1.4): processors, buses, the
 * IOAPIC, and how interrupts are wired. Bus 0 is PCI, bus 1 ISA.
 */
#include <string.h>

#include "kvm/acpi-power.h"
#include "kvm/arch.h"
#include "kvm/log.h"
#include "kvm/pci.h"
#include "kvm/x86.h"
#include "x86/aml.h"
#include "x86/mptable.h"

#define APIC_VERSION	0x14
#define IOAPIC_ID	0
#define PCI_BUS		0
#define ISA_BUS		1
#define LEVEL_HIGH	0xd
#define INT_VECTORED	0
#define INT_NMI		1
#define INT_EXTINT	3
#define HEADER_SIZE	44

static const char mp_key[] = "MP table";

struct mp_table {
	struct firmware firmware;
	struct aml bytes;		/* a growing array: the floating pointer, then the table */
};

static void mp_processor(struct aml *out, unsigned int index, uint32_t apic_id)
{
	const uint8_t entry[20] = {
		0, (uint8_t)apic_id, APIC_VERSION, (uint8_t)(1 | (index ? 0 : 2)),
		0x00, 0x06, 0, 0,		/* family 6 */
		0x01, 0x02, 0, 0,		/* FPU, APIC */
	};

	aml_bytes(out, entry, sizeof(entry));
}

static void mp_bus(struct aml *out, uint8_t id, const char *type)
{
	const uint8_t head[2] = { 1, id };

	aml_bytes(out, head, sizeof(head));
	aml_bytes(out, type, 6);
}

static void mp_interrupt(struct aml *out, uint8_t entry_type, uint8_t type, uint8_t flags, uint8_t bus, uint8_t source,
			 uint8_t destination, uint8_t pin)
{
	const uint8_t entry[8] = { entry_type, type, flags, 0, bus, source, destination, pin };

	aml_bytes(out, entry, sizeof(entry));
}

static unsigned int mp_isa(struct aml *out)
{
	unsigned int count = 0;

	for (uint8_t irq = 0; irq < 16; irq++) {
		if (irq == 2)
			continue;
		mp_interrupt(out, 3, INT_VECTORED, irq == ACPI_SCI_GSI ? LEVEL_HIGH : 0, ISA_BUS, irq, IOAPIC_ID, irq ? irq : 2);
		count++;
	}
	return count;
}

static unsigned int mp_pci(struct kvm *kvm, struct aml *out)
{
	const uint32_t *gsi = arch_platform(kvm)->pci_intx_gsi;
	unsigned int count = 0;

	for (unsigned int slot = 0; pci_bus(kvm) && slot < 32; slot++)
		for (unsigned int pin = 0; pin < 4; pin++, count++)
			mp_interrupt(out, 3, INT_VECTORED, LEVEL_HIGH, PCI_BUS, (uint8_t)(slot << 2 | pin), IOAPIC_ID,
				     (uint8_t)gsi[(slot + pin) % 4]);
	return count;
}

static uint8_t mp_checksum(const uint8_t *data, size_t length)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < length; i++)
		sum = (uint8_t)(sum + data[i]);
	return (uint8_t)-sum;
}

static void mp_fill_header(uint8_t *table, size_t length, unsigned int entries)
{
	memcpy(table, "PCMP", 4);
	table[4] = (uint8_t)length;
	table[5] = (uint8_t)(length >> 8);
	table[6] = 4;
	memcpy(table + 8, "LKVM    LKVM        ", 20);
	table[34] = (uint8_t)entries;
	table[35] = (uint8_t)(entries >> 8);
	memcpy(table + 36, &(le32){ htole32((uint32_t)X86_LAPIC) }, 4);
	table[7] = mp_checksum(table, length);
}

static void mp_fill_pointer(uint8_t *pointer)
{
	memcpy(pointer, "_MP_", 4);
	memcpy(pointer + 4, &(le32){ htole32((uint32_t)X86_MP_TABLE + 16) }, 4);
	pointer[8] = 1;
	pointer[9] = 4;
	pointer[10] = mp_checksum(pointer, 16);
}

void mp_table_build(struct kvm *kvm, struct aml *out)
{
	static const uint8_t room[16 + HEADER_SIZE];
	const uint8_t io_apic[8] = { 2, IOAPIC_ID, 0x11, 1, 0, 0, 0xc0, 0xfe };
	unsigned int entries = 3;

	aml_bytes(out, room, sizeof(room));
	/* its entries have a byte for the APIC id, of which 0xff is everyone */
	for (unsigned int i = 0; i < kvm_cpus_possible(kvm) && x86_apic_id(kvm, i) < 255; i++) {
		if (!kvm_cpu_is_there(kvm, i))
			continue;
		mp_processor(out, i, x86_apic_id(kvm, i));
		entries++;
	}
	mp_bus(out, PCI_BUS, "PCI   ");
	mp_bus(out, ISA_BUS, "ISA   ");
	aml_bytes(out, io_apic, sizeof(io_apic));
	entries += mp_isa(out) + mp_pci(kvm, out);
	mp_interrupt(out, 4, INT_EXTINT, 0, ISA_BUS, 0, 0xff, 0);
	mp_interrupt(out, 4, INT_NMI, 0, ISA_BUS, 0, 0xff, 1);
	entries += 2;
	if (out->failed)
		return;
	mp_fill_header(out->data + 16, out->length - 16, entries);
	mp_fill_pointer(out->data);
}

/* ---- registration ---- */

static int mp_load(struct kvm *kvm)
{
	struct mp_table *table = kvm_get_state(kvm, mp_key);

	return memory_write(&kvm->memory, gpa(X86_MP_TABLE), table->bytes.data, table->bytes.length);
}

static void mp_free(struct mp_table *table)
{
	aml_free(&table->bytes);
	free(table);
}

static void mp_table_exit(struct kvm *kvm)
{
	struct mp_table *table = kvm_get_state(kvm, mp_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, mp_key, NULL))
		mp_free(table);
}

static int mp_table_init(struct kvm *kvm)
{
	struct mp_table *table;
	int result;

	if (kvm->ram[0].size < X86_TABLES_END)
		return INIT_SKIP;
	table = calloc(1, sizeof(*table));
	if (!table)
		return log_errno(ENOMEM, "MP table");
	mp_table_build(kvm, &table->bytes);
	result = table->bytes.failed || table->bytes.length > X86_BIOS - X86_MP_TABLE ?
		 log_error(ENOSPC, "MP table: no room for it") : kvm_set_state(kvm, mp_key, table);
	if (result) {
		mp_free(table);
		return result;
	}
	table->firmware = (struct firmware){ .name = "mptable", .load = mp_load };
	kvm_add_firmware(kvm, &table->firmware);
	return 0;
}
firmware_init(mp_table_init);
firmware_exit(mp_table_exit);
