/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI tables (ACPI 6.5): RSDP, XSDT, FADT, FACS, MADT, MCFG, with --numa SRAT and SLIT, and the DSDT, below 1 MiB where kernels look.
 *
 * Built once at firmware_init, when every device exists, and copied into RAM before each start.
 */
#include <string.h>
#include <sys/mman.h>

#include "kvm/acpi-power.h"
#include "kvm/arch.h"
#include "kvm/log.h"
#include "kvm/pci.h"
#include "kvm/x86.h"
#include "x86/acpi-numa.h"
#include "x86/acpi.h"

#define ACPI_TABLES_SIZE	(X86_VMGENID - X86_TABLES)

static const char acpi_key[] = "ACPI tables";

struct acpi {
	struct firmware firmware;
	uint8_t *data;			/* ACPI_TABLES_SIZE bytes, of which those past length are untouched pages */
	size_t length;
	uint64_t tables[8];		/* for the XSDT */
	size_t table_count;
	bool full;
};

struct acpi_header {
	char signature[4];
	le32 length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	le32 oem_revision;
	char creator[4];
	le32 creator_revision;
} __packed;
_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 6.5, 5.2.6");

struct acpi_address {
	uint8_t space, bit_width, bit_offset, access_size;
	le64 address;
} __packed;
_Static_assert(sizeof(struct acpi_address) == 12, "ACPI 6.5, 5.2.3.2");

struct acpi_fadt {
	struct acpi_header header;
	le32 facs, dsdt;
	uint8_t reserved0, pm_profile;
	le16 sci;
	le32 smi_command;
	uint8_t acpi_enable, acpi_disable, s4bios, pstate;
	le32 pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
	uint8_t pm1_event_length, pm1_control_length, pm2_control_length, pm_timer_length, gpe0_length, gpe1_length;
	uint8_t gpe1_base, cst;
	le16 c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	le16 boot_flags;
	uint8_t reserved1;
	le32 flags;
	struct acpi_address reset;
	uint8_t reset_value;
	le16 arm_boot_flags;
	uint8_t minor;
	le64 x_facs, x_dsdt;
	struct acpi_address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control, x_pm_timer;
	struct acpi_address x_gpe0, x_gpe1, sleep_control, sleep_status;
	le64 hypervisor;
} __packed;
_Static_assert(sizeof(struct acpi_fadt) == 276, "ACPI 6.5, 5.2.9");

#define FADT_WBINVD		BIT(0)
#define FADT_PROC_C1		BIT(2)
#define FADT_SLEEP_BUTTON	BIT(5)		/* no fixed sleep button */
#define FADT_TIMER_32		BIT(8)
#define FADT_RESET_SUPPORTED	BIT(10)
#define BOOT_LEGACY_DEVICES	BIT(0)
#define BOOT_NO_VGA		BIT(2)

/* ---- putting tables together ---- */

/* Room for @size bytes; NULL when the area is full. Offsets are RAM addresses less X86_TABLES. */
static void *acpi_reserve(struct acpi *acpi, size_t size, size_t align)
{
	size_t at = ALIGN_UP(acpi->length, align);

	if (at > ACPI_TABLES_SIZE || size > ACPI_TABLES_SIZE - at) {
		acpi->full = true;
		return NULL;
	}
	acpi->length = at + size;
	return acpi->data + at;
}

static uint64_t acpi_address_of(const struct acpi *acpi, const void *table)
{
	return X86_TABLES + (uint64_t)((const uint8_t *)table - acpi->data);
}

static uint8_t acpi_sum(const void *data, size_t length)
{
	const uint8_t *bytes = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < length; i++)
		sum = (uint8_t)(sum + bytes[i]);
	return sum;
}

static void acpi_header_fill(struct acpi_header *header, const char *signature, uint8_t revision, size_t length)
{
	memcpy(header->signature, signature, 4);
	header->length = le32_of((uint32_t)length);
	header->revision = revision;
	memcpy(header->oem_id, "LKVM  ", 6);
	memcpy(header->oem_table_id, "LKVMTABL", 8);
	header->oem_revision = le32_of(1);
	memcpy(header->creator, "LKVM", 4);
	header->creator_revision = le32_of(1);
	header->checksum = 0;
	header->checksum = (uint8_t)-acpi_sum(header, length);
}

/* A finished table is listed in the XSDT. */
static void acpi_list(struct acpi *acpi, const void *table)
{
	if (table && acpi->table_count < ARRAY_SIZE(acpi->tables))
		acpi->tables[acpi->table_count++] = acpi_address_of(acpi, table);
}

/* ---- the tables ---- */

static struct acpi_address acpi_port(uint64_t port, uint8_t bytes)
{
	return (struct acpi_address){
		.space = 1, .bit_width = (uint8_t)(bytes * 8),
		.access_size = bytes == 1 ? 1 : bytes == 2 ? 2 : 3, .address = le64_of(port),
	};
}

static void acpi_fill_fadt(struct acpi_fadt *fadt, uint64_t dsdt, uint64_t facs)
{
	*fadt = (struct acpi_fadt){
		.facs = le32_of((uint32_t)facs), .dsdt = le32_of((uint32_t)dsdt), .x_dsdt = le64_of(dsdt),
		.sci = le16_of(ACPI_SCI_GSI),
		.pm1a_event = le32_of(ACPI_PM1A_EVENT_PORT), .pm1_event_length = 4,
		.pm1a_control = le32_of(ACPI_PM1A_CONTROL_PORT), .pm1_control_length = 2,
		.pm_timer = le32_of(ACPI_PM_TIMER_PORT), .pm_timer_length = 4,
		.gpe0 = le32_of(ACPI_GPE0_PORT), .gpe0_length = 4,
		.x_pm1a_event = acpi_port(ACPI_PM1A_EVENT_PORT, 4), .x_pm1a_control = acpi_port(ACPI_PM1A_CONTROL_PORT, 2),
		.x_pm_timer = acpi_port(ACPI_PM_TIMER_PORT, 4), .x_gpe0 = acpi_port(ACPI_GPE0_PORT, 4),
		.reset = acpi_port(ACPI_RESET_PORT, 1), .reset_value = ACPI_RESET_VALUE,
		.c2_latency = le16_of(0xfff), .c3_latency = le16_of(0xfff), .century = 0x32,
		/* BOOT_8042 is missing on purpose: there is one, for resets, but nothing on it is worth a probe. */
		.boot_flags = le16_of(BOOT_LEGACY_DEVICES | BOOT_NO_VGA),
		.flags = le32_of(FADT_WBINVD | FADT_PROC_C1 | FADT_SLEEP_BUTTON | FADT_TIMER_32 | FADT_RESET_SUPPORTED),
		.minor = 5,
	};
	acpi_header_fill(&fadt->header, "FACP", 6, sizeof(*fadt));
}

static void madt_override(struct aml *out, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	const uint8_t entry[10] = { 2, 10, 0, irq, (uint8_t)gsi, 0, 0, 0, (uint8_t)flags, (uint8_t)(flags >> 8) };

	aml_bytes(out, entry, sizeof(entry));
}

void acpi_madt_processor(struct aml *out, uint32_t uid, uint32_t apic_id, uint8_t flags)
{
	if (apic_id < 255) {
		const uint8_t entry[8] = { 0, 8, (uint8_t)uid, (uint8_t)apic_id, flags };

		aml_bytes(out, entry, sizeof(entry));
	} else {
		const uint8_t head[4] = { 9, 16 };
		const le32 rest[3] = { le32_of(apic_id), le32_of(flags), le32_of(uid) };

		aml_bytes(out, head, sizeof(head));
		aml_bytes(out, rest, sizeof(rest));
	}
}

/* The aml buffer serves as a growing array of bytes here: a MADT is no AML. */
static void acpi_build_madt(const struct kvm *kvm, struct aml *out)
{
	const le32 head[2] = { le32_of((uint32_t)X86_LAPIC), le32_of(1) };
	const uint8_t io_apic[12] = { 1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0 };
	const uint8_t lint_nmi[6] = { 4, 6, 0xff, 0, 0, 1 };
	const uint8_t x2apic_nmi[12] = { 0xa, 12, 0, 0, 0xff, 0xff, 0xff, 0xff, 1 };
	unsigned int count = kvm_cpus_possible(kvm);

	aml_bytes(out, head, sizeof(head));
	for (unsigned int i = 0; i < count; i++)
		acpi_madt_processor(out, i, x86_apic_id(kvm, i), kvm_cpu_is_there(kvm, i) ? MADT_ENABLED : MADT_ONLINE_CAPABLE);
	aml_bytes(out, io_apic, sizeof(io_apic));
	madt_override(out, 0, 2, 0);
	madt_override(out, ACPI_SCI_GSI, ACPI_SCI_GSI, 0xd);	/* level, active high */
	aml_bytes(out, lint_nmi, sizeof(lint_nmi));
	if (x86_apic_id(kvm, count - 1) >= 255)
		aml_bytes(out, x2apic_nmi, sizeof(x2apic_nmi));
}

static void acpi_build_mcfg(const struct platform_layout *layout, struct aml *out)
{
	const le64 reserved = le64_of(0), base = le64_of(layout->pci_ecam_base);
	const uint8_t rest[8] = { 0, 0, 0, (uint8_t)(layout->pci_ecam_size / MIB(1) - 1) };

	aml_bytes(out, &reserved, sizeof(reserved));
	aml_bytes(out, &base, sizeof(base));
	aml_bytes(out, rest, sizeof(rest));
}

/* Copies a built body behind a header; returns the table, or NULL. */
static void *acpi_add(struct acpi *acpi, const char *signature, uint8_t revision, struct aml *body)
{
	size_t length = sizeof(struct acpi_header) + body->length;
	struct acpi_header *table = body->failed ? NULL : acpi_reserve(acpi, length, 16);

	if (table) {
		memcpy(table + 1, body->data, body->length);
		acpi_header_fill(table, signature, revision, length);
	} else {
		acpi->full = true;
	}
	aml_free(body);
	return table;
}

/* The lock word of FACS must be aligned to 64 bytes; it has no checksum. */
static void *acpi_add_facs(struct acpi *acpi)
{
	uint8_t *facs = acpi_reserve(acpi, 64, 64);

	if (facs) {
		memcpy(facs, "FACS", 4);
		facs[4] = 64;
		facs[32] = 2;
	}
	return facs;
}

struct acpi_rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	le32 rsdt, length;
	le64 xsdt;
	uint8_t extended_checksum, reserved[3];
} __packed;
_Static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 6.5, 5.2.5.3");

static void acpi_fill_rsdp(struct acpi_rsdp *rsdp, uint64_t xsdt)
{
	memcpy(rsdp->signature, "RSD PTR ", 8);
	memcpy(rsdp->oem_id, "LKVM  ", 6);
	rsdp->revision = 2;
	rsdp->length = le32_of(sizeof(*rsdp));
	rsdp->xsdt = le64_of(xsdt);
	rsdp->checksum = (uint8_t)-acpi_sum(rsdp, 20);
	rsdp->extended_checksum = (uint8_t)-acpi_sum(rsdp, sizeof(*rsdp));
}

static void acpi_build(struct kvm *kvm, struct acpi *acpi)
{
	struct acpi_rsdp *rsdp = acpi_reserve(acpi, sizeof(*rsdp), 16);
	struct aml dsdt_body = { 0 }, body = { 0 };
	void *dsdt, *facs, *xsdt;
	struct acpi_fadt *fadt;

	acpi_build_dsdt(kvm, &dsdt_body);
	dsdt = acpi_add(acpi, "DSDT", 2, &dsdt_body);
	facs = acpi_add_facs(acpi);
	fadt = acpi_reserve(acpi, sizeof(*fadt), 16);
	if (!dsdt || !facs || !fadt)
		return;
	acpi_fill_fadt(fadt, acpi_address_of(acpi, dsdt), acpi_address_of(acpi, facs));
	acpi_list(acpi, fadt);

	acpi_build_madt(kvm, &body);
	acpi_list(acpi, acpi_add(acpi, "APIC", 5, &body));
	if (pci_bus(kvm)) {
		acpi_build_mcfg(arch_platform(kvm), &body);
		acpi_list(acpi, acpi_add(acpi, "MCFG", 1, &body));
	}
	if (kvm->numa) {
		acpi_build_srat(kvm, &body);
		acpi_list(acpi, acpi_add(acpi, "SRAT", 3, &body));
		acpi_build_slit(kvm, &body);
		acpi_list(acpi, acpi_add(acpi, "SLIT", 1, &body));
	}
	for (size_t i = 0; i < acpi->table_count; i++) {
		le64 address = le64_of(acpi->tables[i]);

		aml_bytes(&body, &address, sizeof(address));
	}
	xsdt = acpi_add(acpi, "XSDT", 1, &body);
	if (xsdt)
		acpi_fill_rsdp(rsdp, acpi_address_of(acpi, xsdt));
}

/* ---- registration ---- */

static void acpi_free(struct acpi *acpi)
{
	munmap(acpi->data, ACPI_TABLES_SIZE);
	free(acpi);
}

static struct acpi *acpi_new(void)
{
	struct acpi *acpi = calloc(1, sizeof(*acpi));

	if (!acpi)
		return NULL;
	acpi->data = mmap(NULL, ACPI_TABLES_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (acpi->data != MAP_FAILED)
		return acpi;
	free(acpi);
	return NULL;
}

static int acpi_load(struct kvm *kvm)
{
	struct acpi *acpi = kvm_get_state(kvm, acpi_key);

	/* after a reset there are those vCPUs that came before it; all else, and so each place, is as it was */
	if (kvm->cpu_plug) {
		memset(acpi->data, 0, acpi->length);
		acpi->length = acpi->table_count = 0;
		acpi_build(kvm, acpi);
	}
	return memory_write(&kvm->memory, gpa(X86_TABLES), acpi->data, acpi->length);
}

static void acpi_exit(struct kvm *kvm)
{
	struct acpi *acpi = kvm_get_state(kvm, acpi_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (acpi && !kvm_set_state(kvm, acpi_key, NULL))
		acpi_free(acpi);
}

static int acpi_init(struct kvm *kvm)
{
	struct acpi *acpi;
	int result;

	if (kvm->ram[0].size < X86_TABLES_END)
		return INIT_SKIP;
	acpi = acpi_new();
	if (!acpi)
		return log_errno(ENOMEM, "ACPI tables");
	acpi_build(kvm, acpi);
	if (acpi->full) {
		acpi_free(acpi);
		return log_error(ENOSPC, "ACPI tables: more than %llu KiB", (unsigned long long)ACPI_TABLES_SIZE >> 10);
	}
	result = kvm_set_state(kvm, acpi_key, acpi);
	if (result) {
		acpi_free(acpi);
		return result;
	}
	acpi->firmware = (struct firmware){ .name = "acpi", .load = acpi_load };
	kvm_add_firmware(kvm, &acpi->firmware);
	return 0;
}
firmware_init(acpi_init);
firmware_exit(acpi_exit);
