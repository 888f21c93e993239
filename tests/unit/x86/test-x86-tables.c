/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tests what firmware tells a kernel: ACPI tables and the AML inside, the MP table, and CPUID's topology. Needs
 * no KVM; where iasl is installed, it must understand every table.
 */
#include <linux/kvm.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/board.h"
#include "kvm/acpi-power.h"
#include "kvm/numa.h"
#include "kvm/x86.h"
#include "x86/aml.h"
#include "x86/cpuid.h"
#include "x86/mptable.h"

static struct kvm *kvm;
static struct region ram;
static uint8_t *host;

static void set_up(void)
{
	kvm = board_create();
	host = mmap(NULL, MIB(1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(host, MAP_FAILED);
	ram = (struct region){ .kind = REGION_RAM, .name = "ram", .size = MIB(1), .host = host, .fd = -1 };
	ck_assert_int_eq(region_add(&kvm->memory, &ram, 0, 0), 0);
	kvm->cpu_count = 1;
}

static void tear_down(void)
{
	board_destroy(kvm);
	munmap(host, MIB(1));
}

static uint32_t get(const uint8_t *at, unsigned int bytes)
{
	uint32_t value = 0;

	for (unsigned int i = 0; i < bytes; i++)
		value |= (uint32_t)at[i] << (8 * i);
	return value;
}

static uint8_t sum(const uint8_t *data, size_t length)
{
	uint8_t total = 0;

	for (size_t i = 0; i < length; i++)
		total = (uint8_t)(total + data[i]);
	return total;
}

/* ---- ACPI ---- */

static void load_tables(unsigned int cpus)
{
	kvm->cpu_count = cpus;
	board_add(kvm, "acpi_init");
	for (struct firmware *at = kvm->firmware; at; at = at->next)
		ck_assert_int_eq(at->load(kvm), 0);
}

/* A pointer from one table to another must stay in the reserved area; so must the whole table, with a right sum. */
static const uint8_t *table_at(uint64_t address)
{
	const uint8_t *table;

	ck_assert_uint_ge(address, X86_TABLES);
	ck_assert_uint_lt(address, X86_MP_TABLE - 36);
	table = host + address;
	ck_assert_uint_le(address + get(table + 4, 4), X86_MP_TABLE);
	if (memcmp(table, "FACS", 4) != 0)
		ck_assert_uint_eq(sum(table, get(table + 4, 4)), 0);
	return table;
}

/* From the RSDP by way of the XSDT, as a kernel does; NULL if there is none. */
static const uint8_t *table_find(const char *signature)
{
	const uint8_t *rsdp = host + X86_TABLES, *xsdt, *table;

	ck_assert_mem_eq(rsdp, "RSD PTR ", 8);
	ck_assert_uint_eq(sum(rsdp, 20), 0);
	ck_assert_uint_eq(sum(rsdp, 36), 0);
	xsdt = table_at(get(rsdp + 24, 4));
	ck_assert_mem_eq(xsdt, "XSDT", 4);
	for (uint32_t at = 36; at < get(xsdt + 4, 4); at += 8) {
		table = table_at(get(xsdt + at, 4));
		if (!memcmp(table, signature, 4))
			return table;
	}
	return NULL;
}

static unsigned int madt_count(const uint8_t *madt, uint8_t type)
{
	unsigned int count = 0;
	uint32_t at = 44;

	for (; at < get(madt + 4, 4); at += madt[at + 1]) {
		ck_assert_uint_ge(madt[at + 1], 2);
		count += madt[at] == type;
	}
	ck_assert_uint_eq(at, get(madt + 4, 4));
	return count;
}

START_TEST(fadt_points_at_the_dsdt_and_the_power_ports)
{
	const uint8_t *fadt;

	board_add(kvm, "acpi_power_init");
	load_tables(1);

	fadt = table_find("FACP");
	ck_assert_ptr_nonnull(fadt);
	ck_assert_mem_eq(table_at(get(fadt + 40, 4)), "DSDT", 4);
	ck_assert_uint_eq(get(fadt + 140, 4), get(fadt + 40, 4));
	ck_assert_mem_eq(table_at(get(fadt + 36, 4)), "FACS", 4);
	ck_assert_uint_eq(get(fadt + 36, 4) % 64, 0);
	ck_assert_uint_eq(get(fadt + 46, 2), ACPI_SCI_GSI);
	ck_assert_uint_eq(get(fadt + 56, 4), ACPI_PM1A_EVENT_PORT);
	ck_assert_uint_eq(get(fadt + 64, 4), ACPI_PM1A_CONTROL_PORT);
	ck_assert_uint_eq(get(fadt + 120, 4), ACPI_RESET_PORT);
	ck_assert_uint_eq(fadt[128], ACPI_RESET_VALUE);
	ck_assert_msg(get(fadt + 112, 4) & BIT(10), "reset isn't announced");
	ck_assert_msg(!(get(fadt + 112, 4) & BIT(4)), "a power button of fixed hardware has its flag clear");
	ck_assert_msg(!(get(fadt + 109, 2) & BIT(1)), "kernels would probe the keyboard controller for half a second");
}
END_TEST

START_TEST(madt_lists_every_processor)
{
	static const unsigned int counts[] = { 1, 2, 64, 255, 300, 1024 };
	const uint8_t *madt;

	load_tables(counts[_i]);

	madt = table_find("APIC");
	ck_assert_ptr_nonnull(madt);
	ck_assert_uint_eq(madt_count(madt, 0), MIN(counts[_i], 255U));
	ck_assert_uint_eq(madt_count(madt, 9), counts[_i] - MIN(counts[_i], 255U));
	ck_assert_uint_eq(madt_count(madt, 1), 1);
	ck_assert_uint_eq(madt_count(madt, 2), 2);
	ck_assert_uint_eq(madt_count(madt, 4), 1);
}
END_TEST

/* RAM as it lies on a PC with 4 GiB of it, whose second half ends behind the hole for PCI */
static void add_nodes(void)
{
	static const char *const items[] = { "node,cpus=0-1,,3,mem=1G", "node,cpus=2", "dist,src=0,dst=1,val=31" };

	ck_assert_int_eq(config_set(kvm->config, "cpus", "4"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(items); i++)
		ck_assert_int_eq(config_set(kvm->config, "numa", items[i]), 0);
	kvm->ram_size = GIB(4);
	kvm->ram[0].size = GIB(3);
	kvm->ram[1] = (struct ram_range){ .base = GIB(4), .size = GIB(1), .offset = GIB(3) };
	kvm->ram_count = 2;
	ck_assert_int_eq(numa_parse(kvm->config, kvm->ram_size, &kvm->numa), 0);
}

START_TEST(srat_and_slit_tell_of_the_nodes)
{
	static const uint64_t memory[][3] = { { 0, 0, GIB(1) }, { 1, GIB(1), GIB(2) }, { 1, GIB(4), GIB(1) } };
	static const uint8_t nodes[] = { 0, 0, 1, 0 }, distances[] = { 10, 31, 31, 10 };
	const uint8_t *srat, *slit, *at;

	add_nodes();
	load_tables(4);
	srat = table_find("SRAT");
	slit = table_find("SLIT");

	ck_assert(srat && slit);
	at = srat + 48;
	for (uint8_t i = 0; i < 4; i++, at += at[1]) {
		ck_assert_uint_eq(at[0], 0);
		ck_assert_uint_eq(at[2], nodes[i]);
		ck_assert_uint_eq(at[3], i);
		ck_assert_uint_eq(get(at + 4, 4), 1);
	}
	for (size_t i = 0; i < ARRAY_SIZE(memory); i++, at += at[1]) {
		ck_assert_uint_eq(at[0], 1);
		ck_assert_uint_eq(get(at + 2, 4), memory[i][0]);
		ck_assert_uint_eq(get(at + 8, 4) | (uint64_t)get(at + 12, 4) << 32, memory[i][1]);
		ck_assert_uint_eq(get(at + 16, 4) | (uint64_t)get(at + 20, 4) << 32, memory[i][2]);
		ck_assert_uint_eq(get(at + 28, 4), 1);
	}
	ck_assert_ptr_eq(at, srat + get(srat + 4, 4));
	ck_assert_uint_eq(get(slit + 36, 4), 2);
	ck_assert_mem_eq(slit + 44, distances, 4);
	free(kvm->numa);
}
END_TEST

/* Kernels must know how far addresses may go; there is a node then, whether one was asked for or not. */
START_TEST(srat_tells_of_ram_that_may_come)
{
	const uint8_t *srat, *at;

	if (_i)
		add_nodes();
	else
		ck_assert_int_eq(config_set(kvm->config, "mem", "128M,max=1G"), 0);
	kvm->ram_more = MIB(896);
	kvm->ram_size += kvm->ram_more;
	kvm->ram[kvm->ram_count] = (struct ram_range){ .base = GIB(6), .size = kvm->ram_more, .offset = kvm_boot_ram(kvm) };
	if (!_i)
		ck_assert_int_eq(numa_parse(kvm->config, kvm_boot_ram(kvm), &kvm->numa), 0);
	load_tables(_i ? 4 : 1);
	srat = table_find("SRAT");
	ck_assert_ptr_nonnull(srat);
	at = srat + get(srat + 4, 4) - 40;
	ck_assert_uint_eq(at[0], 1);
	ck_assert_uint_eq(get(at + 2, 4), (uint32_t)_i);
	ck_assert_uint_eq(get(at + 8, 4) | (uint64_t)get(at + 12, 4) << 32, GIB(6));
	ck_assert_uint_eq(get(at + 16, 4), MIB(896));
	ck_assert_uint_eq(get(at + 28, 4), 3);
	free(kvm->numa);
}
END_TEST

START_TEST(without_nodes_there_is_no_word_of_them)
{
	load_tables(2);
	ck_assert_ptr_null(table_find("SRAT"));
	ck_assert_ptr_null(table_find("SLIT"));
}
END_TEST

START_TEST(mcfg_is_there_with_a_pci_bus_only)
{
	const uint8_t *mcfg;

	load_tables(1);
	ck_assert_ptr_null(table_find("MCFG"));
	board_destroy(kvm);
	munmap(host, MIB(1));
	set_up();

	board_add(kvm, "pci_init");
	load_tables(1);

	mcfg = table_find("MCFG");
	ck_assert_ptr_nonnull(mcfg);
	ck_assert_uint_eq(get(mcfg + 44, 4), X86_ECAM);
	ck_assert_uint_eq(mcfg[54], 0);
	ck_assert_uint_eq(mcfg[55], X86_PCI_BUSES - 1);
}
END_TEST

/* Runs a shell command; its exit status. */
static int run(const char *command)
{
	int status = system(command);

	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* In the folder that the test is in: taken apart without a complaint, a DSDT put together again. */
static void assert_iasl(const uint8_t *table)
{
	FILE *out = fopen("table.aml", "w");

	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(fwrite(table, 1, get(table + 4, 4), out), get(table + 4, 4));
	fclose(out);
	ck_assert_msg(!run("iasl -d table.aml > log 2>&1"), "iasl -d fails on %.4s", (const char *)table);
	ck_assert_msg(run("grep -E 'Error|Warning|Invalid' log") == 1, "%.4s", (const char *)table);
	ck_assert_msg(run("grep -E 'Invalid|ncorrect|Unknown|\\*\\*\\*' table.dsl") == 1, "%.4s", (const char *)table);
	if (!memcmp(table, "DSDT", 4))
		ck_assert_msg(!run("grep -A3 'Method (_OSC, 4' table.dsl | grep -q CreateDWordField && grep -q 33db4d5b-1ff7-401c-9657-7441c03dd766 table.dsl"),
			      "no _OSC in the DSDT of a machine with root ports");
	if (!memcmp(table, "DSDT", 4))
		ck_assert_msg(!run("iasl table.dsl > log 2>&1 && grep -q ' 0 Errors, 0 Warnings' log || ! cat log"),
			      "iasl finds fault with the DSDT");
}

START_TEST(iasl_understands_every_table)
{
	static const char *const signatures[] = { "FACP", "APIC", "MCFG", "SRAT", "SLIT" };
	static struct platform_device devices[] = {
		{ .acpi_hid = "LNRO0005", .base = X86_PLATFORM_MMIO, .size = 0x200, .gsi = 5, .trigger = IRQ_EDGE },
		{ .acpi_hid = "LNRO0005", .base = X86_PLATFORM_MMIO + 0x200, .size = 0x200, .gsi = 23, .trigger = IRQ_LEVEL },
	};
	char folder[] = "/tmp/lkvm-test-acpi.XXXXXX";

	if (run("command -v iasl > /dev/null")) {
		printf("SKIP iasl_understands_every_table: no iasl\n");
		return;
	}
	ck_assert_int_eq(config_set(kvm->config, "root-ports", "2"), 0);
	board_add(kvm, "pci_init");
	board_add(kvm, "pci_ports_init");
	board_add(kvm, "acpi_power_init");
	board_add(kvm, "serial_isa_init");
	board_add(kvm, "rtc_init");
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
		platform_device_add(kvm, &devices[i]);
	add_nodes();
	kvm->numa = realloc(kvm->numa, sizeof(*kvm->numa) + 300);
	memset(kvm->numa->cpu_node + 4, 1, 300 - 4);
	load_tables(300);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);

	for (size_t i = 0; i < ARRAY_SIZE(signatures); i++)
		assert_iasl(table_find(signatures[i]));
	assert_iasl(table_at(get(table_find("FACP") + 40, 4)));
	free(kvm->numa);

	ck_assert_int_eq(run("rm -f table.aml table.dsl log"), 0);
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(rmdir(folder), 0);
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
		platform_device_del(kvm, &devices[i]);
}
END_TEST

/* A machine that begins with vCPUs 0 and 2 of 300. */
static struct kvm_cpu first_cpu, third_cpu = { .index = 2 }, fifth_cpu = { .index = 4 };
static struct kvm_cpu *some_cpus[] = { &first_cpu, &third_cpu, &fifth_cpu };

static void let_cpus_come(void)
{
	kvm->cpus = some_cpus;
	kvm->cpu_possible = 300;
	kvm->cpu_plug = true;
	ck_assert_int_eq(config_set(kvm->config, "cpus", "2,max=300"), 0);
}

/* Of a MADT's entry for vCPU @number, of either form. */
static uint32_t madt_flags(unsigned int number)
{
	const uint8_t *entry = table_find("APIC") + 44 + 8 * MIN(number, 255U) + (number > 255 ? 16 * (number - 255) : 0);

	ck_assert_uint_eq(entry[0], number < 255 ? 0 : 9);
	return get(entry + (number < 255 ? 4 : 8), 4);
}

START_TEST(vcpus_that_may_come_are_told_and_are_there_after_a_reset)
{
	let_cpus_come();
	load_tables(2);

	ck_assert_uint_eq(madt_count(table_find("APIC"), 0), 255);
	ck_assert_uint_eq(madt_count(table_find("APIC"), 9), 45);
	for (unsigned int i = 0; i < 300; i++)
		ck_assert_uint_eq(madt_flags(i), i == 0 || i == 2 ? 1 : 2);

	kvm->cpu_count = 3;
	atomic_store(&third_cpu.requests, CPU_REQUEST_OFF);
	for (struct firmware *at = kvm->firmware; at; at = at->next)
		ck_assert_int_eq(at->load(kvm), 0);
	for (unsigned int i = 0; i < 300; i++)
		ck_assert_uint_eq(madt_flags(i), i == 0 || i == 4 ? 1 : 2);
	ck_assert_ptr_nonnull(table_at(get(table_find("FACP") + 40, 4)));
	atomic_store(&third_cpu.requests, 0);
	kvm->cpus = NULL;
	kvm->cpu_count = 0;
}
END_TEST

START_TEST(iasl_understands_vcpus_that_come)
{
	char folder[] = "/tmp/lkvm-test-acpi.XXXXXX";

	if (run("command -v iasl > /dev/null")) {
		printf("SKIP iasl_understands_vcpus_that_come: no iasl\n");
		return;
	}
	let_cpus_come();
	ck_assert_int_eq(config_set(kvm->config, "root-ports", "2"), 0);
	board_add(kvm, "pci_init");
	board_add(kvm, "pci_ports_init");
	load_tables(2);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);

	assert_iasl(table_find("APIC"));
	assert_iasl(table_at(get(table_find("FACP") + 40, 4)));
	ck_assert_int_eq(run("grep -A2 'Method (_EJ0' table.dsl | grep -q 'CPUR (0x012B, 0x03, Zero)'"), 0);
	ck_assert_int_eq(run("grep -A2 'Method (_OST, 3' table.dsl | grep -q 'CPUR (0x02, (Arg0 | 0x00010000), Arg1)'"), 0);
	ck_assert_int_eq(run("[ $(grep -c 'Method (_STA' table.dsl) = 299 ]"), 0);
	ck_assert_int_eq(run("grep -A6 'Method (_E06' table.dsl | grep -q CSCN"), 0);

	ck_assert_int_eq(run("rm -f table.aml table.dsl log"), 0);
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(rmdir(folder), 0);
	kvm->cpus = NULL;
	kvm->cpu_count = 0;
}
END_TEST

/* ---- AML ---- */

static void assert_aml(struct aml *aml, const void *want, size_t length)
{
	ck_assert(!aml->failed);
	ck_assert_uint_eq(aml->length, length);
	ck_assert_mem_eq(aml->data, want, length);
	aml_free(aml);
}

START_TEST(integers_take_the_shortest_form)
{
	static const struct {
		uint64_t value;
		uint8_t want[9];
		size_t length;
	} cases[] = {
		{ 0, { 0x00 }, 1 },
		{ 1, { 0x01 }, 1 },
		{ 2, { 0x0a, 2 }, 2 },
		{ 0xff, { 0x0a, 0xff }, 2 },
		{ 0x100, { 0x0b, 0x00, 0x01 }, 3 },
		{ 0x10000, { 0x0c, 0, 0, 1, 0 }, 5 },
		{ 0x100000000, { 0x0e, 0, 0, 0, 0, 1, 0, 0, 0 }, 9 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct aml aml = { 0 };

		aml_integer(&aml, cases[i].value);
		assert_aml(&aml, cases[i].want, cases[i].length);
	}
}
END_TEST

START_TEST(an_eisa_id_is_packed_into_a_double_word)
{
	static const uint8_t pnp0a08[] = { 0x0c, 0x41, 0xd0, 0x0a, 0x08 };
	struct aml aml = { 0 };

	aml_eisaid(&aml, "PNP0A08");

	assert_aml(&aml, pnp0a08, sizeof(pnp0a08));
}
END_TEST

/* PkgLength counts itself: ACPI 6.5, 20.2.4. */
START_TEST(package_lengths_count_their_own_bytes)
{
	static const size_t bodies[] = { 1, 40, 58, 59, 60, 61, 62, 63, 64, 4000, 4085, 4090, 4095, 5000 };

	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		struct aml aml = { 0 };
		size_t mark = aml_device_begin(&aml, "DEV0"), at = 2, length, bytes;

		for (size_t n = 0; n < bodies[i]; n++)
			aml_byte(&aml, 0xa3);
		aml_end(&aml, mark);

		ck_assert(!aml.failed);
		ck_assert_uint_eq(aml.data[0], 0x5b);
		ck_assert_uint_eq(aml.data[1], 0x82);
		bytes = aml.data[at] >> 6;
		length = bytes ? aml.data[at] & 0xf : aml.data[at] & 0x3f;
		for (size_t n = 0; n < bytes; n++)
			length |= (size_t)aml.data[at + 1 + n] << (4 + 8 * n);
		ck_assert_uint_eq(length, aml.length - 2);
		ck_assert_mem_eq(aml.data + at + 1 + bytes, "DEV0", 4);
		aml_free(&aml);
	}
}
END_TEST

/* ---- the MP table ---- */

START_TEST(the_mp_table_adds_up)
{
	static const unsigned int counts[] = { 1, 64, 255, 300 };
	static const uint8_t sizes[] = { 20, 8, 8, 8, 8 };
	const uint8_t *table, *end;
	unsigned int entries = 0, cpus = 0;
	struct aml out = { 0 };

	kvm->cpu_count = counts[_i];
	board_add(kvm, "pci_init");
	mp_table_build(kvm, &out);

	ck_assert(!out.failed);
	ck_assert_mem_eq(out.data, "_MP_", 4);
	ck_assert_uint_eq(sum(out.data, 16), 0);
	ck_assert_uint_eq(get(out.data + 4, 4), X86_MP_TABLE + 16);
	table = out.data + 16;
	ck_assert_uint_eq(get(table + 4, 2), out.length - 16);
	ck_assert_uint_eq(sum(table, out.length - 16), 0);
	end = out.data + out.length;
	for (const uint8_t *at = table + 44; at < end; at += sizes[*at], entries++) {
		ck_assert_uint_lt(*at, ARRAY_SIZE(sizes));
		cpus += *at == 0;
		if (*at == 3)
			ck_assert_uint_lt(at[7], X86_IRQ_LINES);
	}
	ck_assert_uint_eq(entries, get(table + 34, 2));
	ck_assert_uint_eq(cpus, MIN(counts[_i], 255U));
	ck_assert_uint_le(out.length, X86_BIOS - X86_MP_TABLE);
	aml_free(&out);
}
END_TEST

/* ---- CPUID ---- */

#define CPUID_ENTRIES	16

struct cpuid_case {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES + CPUID_SPARE];
};

static struct kvm_cpuid_entry2 *leaf(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function && cpuid->entries[i].index == index)
			return &cpuid->entries[i];
	return NULL;
}

/* As a host with a topology of its own gives it. */
static struct kvm_cpuid2 *host_leaves(void)
{
	static const struct kvm_cpuid_entry2 leaves[] = {
		{ .function = 0, .eax = 0x1f },
		{ .function = 1, .ebx = 0x17400800, .ecx = 0x01000001, .edx = 0x0f8bfbff },
		{ .function = 4, .index = 0, .flags = 1, .eax = 0xfc004121 },
		{ .function = 4, .index = 3, .flags = 1, .eax = 0xfc1fc163 },
		{ .function = 0xa, .eax = 0x07300002 },
		{ .function = 0xb, .index = 0, .flags = 1, .eax = 7, .ebx = 99, .edx = 77 },
		{ .function = 0x1f, .index = 0, .flags = 1, .eax = 7, .ebx = 99, .edx = 77 },
		{ .function = 0x40000000, .eax = 0x40000001, .ebx = 0x4b4d564b, .ecx = 0x564b4d56, .edx = 0x4d },
		{ .function = 0x80000008, .eax = 0x3030, .ecx = 0x703f },
		{ .function = 0x8000001e, .eax = 55, .ebx = 0x1ff },
	};
	struct cpuid_case *made = calloc(1, sizeof(*made));

	ck_assert_ptr_nonnull(made);
	made->head.nent = ARRAY_SIZE(leaves);
	memcpy(made->entries, leaves, sizeof(leaves));
	return &made->head;
}

START_TEST(identity_and_topology_follow_the_machine)
{
	static const struct {
		struct cpu_topology topology;
		uint32_t apic_id, thread_bits, all_bits;
	} cases[] = {
		{ { 1, 1, 1, 1, 1, 1, false }, 0, 0, 0 },
		{ { 1, 2, 1, 1, 1, 2, false }, 1, 0, 1 },
		{ { 1, 3, 1, 1, 1, 3, false }, 2, 0, 2 },
		{ { 2, 4, 1, 1, 1, 8, false }, 5, 1, 3 },
		{ { 1, 64, 1, 1, 1, 64, false }, 63, 0, 6 },
		{ { 1, 255, 1, 1, 1, 255, false }, 254, 0, 8 },
		{ { 2, 3, 1, 1, 2, 12, false }, 13, 1, 3 },
	};
	const struct cpu_topology *topology = &cases[_i].topology;
	unsigned int logical = topology->threads * topology->cores;
	struct kvm_cpuid2 *cpuid = host_leaves();
	const struct kvm_cpuid_entry2 *one;

	ck_assert_int_eq(cpuid_fill(cpuid, CPUID_ENTRIES + CPUID_SPARE, topology, cases[_i].apic_id, true), 0);

	one = leaf(cpuid, 1, 0);
	ck_assert_uint_eq(one->ebx >> 24, cases[_i].apic_id);
	ck_assert_uint_ge((one->ebx >> 16) & 0xff, MIN(logical, 255U));
	ck_assert_uint_eq((one->edx >> 28) & 1, logical > 1);
	ck_assert_msg(one->ecx >> 31, "the hypervisor bit is missing");
	for (unsigned int i = 0; i < 2; i++) {
		const uint32_t function = i ? 0x1f : 0xb;

		ck_assert_uint_eq(leaf(cpuid, function, 0)->eax, cases[_i].thread_bits);
		ck_assert_uint_eq(leaf(cpuid, function, 0)->ebx, topology->threads);
		ck_assert_uint_eq(leaf(cpuid, function, 0)->ecx, 0x100);
		ck_assert_uint_eq(leaf(cpuid, function, 1)->eax, cases[_i].all_bits);
		ck_assert_uint_eq(leaf(cpuid, function, 1)->ebx, logical);
		ck_assert_uint_eq(leaf(cpuid, function, 1)->ecx, 0x201);
		ck_assert_uint_eq(leaf(cpuid, function, 1)->edx, cases[_i].apic_id);
		ck_assert_uint_eq(leaf(cpuid, function, 2)->ebx, 0);
	}
	/* a core's own cache, and the socket's */
	ck_assert_uint_eq((leaf(cpuid, 4, 0)->eax >> 14) & 0xfff, (1U << cases[_i].thread_bits) - 1);
	ck_assert_uint_eq((leaf(cpuid, 4, 3)->eax >> 14) & 0xfff, (1U << cases[_i].all_bits) - 1);
	ck_assert_uint_eq(leaf(cpuid, 0x8000001e, 0)->eax, cases[_i].apic_id);
	ck_assert_uint_eq(leaf(cpuid, 0x80000008, 0)->ecx & 0xff, MIN(logical - 1, 255U));
	ck_assert_uint_eq(leaf(cpuid, 0x40000000, 0)->ebx, 0x4b4d564b);
	free(cpuid);
}
END_TEST

/* Dies and clusters are leaf 0x1F's alone, which a host that ends at 0xD is given. */
START_TEST(dies_and_clusters_have_levels_between)
{
	struct cpu_topology topology = { .threads = 2, .cores = 3, .clusters = 2, .dies = 2, .sockets = 2 };
	static const uint32_t want[][3] = { { 1, 2, 1 }, { 3, 6, 2 }, { 4, 12, 3 }, { 5, 24, 5 }, { 0, 0, 0 } };
	struct kvm_cpuid2 *cpuid = host_leaves();
	struct cpu_place place = cpu_topology_place(&topology, 47);
	uint32_t id = cpuid_apic_id(&topology, &place);

	ck_assert_uint_eq(id, 0x20 | 0x10 | 0x8 | 2 << 1 | 1);
	leaf(cpuid, 0, 0)->eax = 0xd;
	ck_assert_int_eq(cpuid_fill(cpuid, CPUID_ENTRIES + CPUID_SPARE, &topology, id, true), 0);

	ck_assert_uint_eq(leaf(cpuid, 0, 0)->eax, 0x1f);
	for (uint32_t i = 0; i < ARRAY_SIZE(want); i++) {
		ck_assert_uint_eq(leaf(cpuid, 0x1f, i)->eax, want[i][0]);
		ck_assert_uint_eq(leaf(cpuid, 0x1f, i)->ebx, want[i][1]);
		ck_assert_uint_eq(leaf(cpuid, 0x1f, i)->ecx, want[i][2] << 8 | i);
		ck_assert_uint_eq(leaf(cpuid, 0x1f, i)->edx, id);
	}
	ck_assert_uint_eq(leaf(cpuid, 0xb, 1)->eax, 5);
	ck_assert_uint_eq(leaf(cpuid, 0xb, 1)->ebx, 24);
	/* L3 is the die's, L1 the core's; the socket has 2^4 numbers for cores */
	ck_assert_uint_eq((leaf(cpuid, 4, 3)->eax >> 14) & 0xfff, 15);
	ck_assert_uint_eq((leaf(cpuid, 4, 0)->eax >> 14) & 0xfff, 1);
	ck_assert_uint_eq(leaf(cpuid, 4, 0)->eax >> 26, 15);
	ck_assert_uint_eq(leaf(cpuid, 0x80000008, 0)->ecx & 0xff, 23);
	ck_assert_uint_eq(leaf(cpuid, 0x80000008, 0)->ecx >> 12 & 0xf, 5);
	ck_assert_uint_eq(leaf(cpuid, 0x8000001e, 0)->ebx >> 8, 1);
	ck_assert_uint_eq(leaf(cpuid, 0x8000001e, 0)->ecx, 0);
	free(cpuid);
}
END_TEST

/* Linux reads AMD's topology with TOPOEXT only. */
START_TEST(an_amd_without_topoext_gets_it_for_threads)
{
	static const struct cpu_topology plain = { 1, 4, 1, 1, 1, 4, false }, threads = { 2, 2, 1, 1, 1, 4, false };
	static const struct kvm_cpuid_entry2 leaves[] = {
		{ .function = 0, .eax = 0xd, .ebx = 0x68747541, .edx = 0x69746e65, .ecx = 0x444d4163 },
		{ .function = 0x80000000, .eax = 0x8000000a }, { .function = 0x80000001, .ecx = 4 },
	};
	struct cpuid_case made = { .head.nent = ARRAY_SIZE(leaves) };

	memcpy(made.entries, leaves, sizeof(leaves));
	ck_assert_int_eq(cpuid_fill(&made.head, CPUID_ENTRIES, &plain, 3, true), 0);
	ck_assert_uint_eq(leaf(&made.head, 0x80000000, 0)->eax, 0x8000000a);
	ck_assert_uint_eq(leaf(&made.head, 0x80000001, 0)->ecx, 4);

	ck_assert_int_eq(cpuid_fill(&made.head, CPUID_ENTRIES, &threads, 3, true), 0);
	ck_assert_uint_eq(leaf(&made.head, 0x80000000, 0)->eax, 0x8000001e);
	ck_assert_uint_eq(leaf(&made.head, 0x80000001, 0)->ecx, 4 | 1 << 22);
	ck_assert_uint_eq(leaf(&made.head, 0x8000001e, 0)->eax, 3);
	ck_assert_uint_eq(leaf(&made.head, 0x8000001e, 0)->ebx, 0x101);
	ck_assert_uint_eq(leaf(&made.head, 0x8000001d, 0)->eax, 0);
	made.entries[0].ecx = 0x6c65746e;
	leaf(&made.head, 0x80000001, 0)->ecx = 0;
	ck_assert_int_eq(cpuid_fill(&made.head, CPUID_ENTRIES, &threads, 3, true), 0);
	ck_assert_uint_eq(leaf(&made.head, 0x80000001, 0)->ecx, 0);
}
END_TEST

START_TEST(a_hybrid_host_makes_no_hybrid_guest)
{
	struct cpu_topology topology = { 1, 1, 1, 1, 1, 1, false };
	struct kvm_cpuid2 *cpuid = host_leaves();
	struct kvm_cpuid_entry2 *seven = &cpuid->entries[cpuid->nent++], *kind = &cpuid->entries[cpuid->nent++];

	*seven = (struct kvm_cpuid_entry2){ .function = 7, .flags = 1, .edx = 0xffffffff };
	*kind = (struct kvm_cpuid_entry2){ .function = 0x1a, .eax = 0x40000001 };
	ck_assert_int_eq(cpuid_fill(cpuid, CPUID_ENTRIES + CPUID_SPARE, &topology, 0, true), 0);

	ck_assert_uint_eq(leaf(cpuid, 7, 0)->edx, 0xffff7fff);
	ck_assert_uint_eq(leaf(cpuid, 0x1a, 0)->eax, 0);
	free(cpuid);
}
END_TEST

START_TEST(tables_have_the_apic_ids_of_the_topology)
{
	/* three cores have two bits */
	static const uint8_t want[] = { 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14 };
	struct aml out = { 0 };
	const uint8_t *madt;

	ck_assert_int_eq(config_set(kvm->config, "cpus", "12,sockets=2,dies=2,clusters=1,cores=3"), 0);
	load_tables(12);
	madt = table_find("APIC");
	mp_table_build(kvm, &out);

	for (unsigned int i = 0; i < 12; i++) {
		ck_assert_uint_eq(madt[44 + 8 * i + 3], want[i]);
		ck_assert_uint_eq(madt[44 + 8 * i + 2], i);
		ck_assert_uint_eq(out.data[16 + 44 + 20 * i + 1], want[i]);
	}
	aml_free(&out);
}
END_TEST

START_TEST(a_pmu_without_counters_is_none)
{
	struct cpu_topology topology = { 1, 1, 1, 1, 1, 1, false };
	struct kvm_cpuid2 *cpuid = host_leaves();

	ck_assert_int_eq(cpuid_fill(cpuid, CPUID_ENTRIES + CPUID_SPARE, &topology, 0, true), 0);

	ck_assert_uint_eq(leaf(cpuid, 0xa, 0)->eax, 0);
	free(cpuid);
}
END_TEST

START_TEST(cpuid_without_room_is_refused)
{
	struct cpu_topology topology = { 1, 1, 1, 1, 1, 1, false };
	struct kvm_cpuid2 *cpuid = host_leaves();

	ck_assert_int_eq(cpuid_fill(cpuid, cpuid->nent, &topology, 0, true), -E2BIG);
	free(cpuid);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "tables", set_up, tear_down);

	tcase_add_test(tests, fadt_points_at_the_dsdt_and_the_power_ports);
	tcase_add_loop_test(tests, madt_lists_every_processor, 0, 6);
	tcase_add_test(tests, srat_and_slit_tell_of_the_nodes);
	tcase_add_loop_test(tests, srat_tells_of_ram_that_may_come, 0, 2);
	tcase_add_test(tests, without_nodes_there_is_no_word_of_them);
	tcase_add_test(tests, mcfg_is_there_with_a_pci_bus_only);
	tcase_add_test(tests, iasl_understands_every_table);
	tcase_add_test(tests, vcpus_that_may_come_are_told_and_are_there_after_a_reset);
	tcase_add_test(tests, iasl_understands_vcpus_that_come);
	tcase_add_test(tests, integers_take_the_shortest_form);
	tcase_add_test(tests, an_eisa_id_is_packed_into_a_double_word);
	tcase_add_test(tests, package_lengths_count_their_own_bytes);
	tcase_add_loop_test(tests, the_mp_table_adds_up, 0, 4);
	tcase_add_loop_test(tests, identity_and_topology_follow_the_machine, 0, 7);
	tcase_add_test(tests, dies_and_clusters_have_levels_between);
	tcase_add_test(tests, an_amd_without_topoext_gets_it_for_threads);
	tcase_add_test(tests, a_hybrid_host_makes_no_hybrid_guest);
	tcase_add_test(tests, tables_have_the_apic_ids_of_the_topology);
	tcase_add_test(tests, a_pmu_without_counters_is_none);
	tcase_add_test(tests, cpuid_without_room_is_refused);
}
SUITE_MAIN("x86-tables", add_tests)
