/* SPDX-License-Identifier: BSD-2-Clause */
/* hw/pci.c, hw/pci-msix.c, hw/pci-host.c: config space, BARs, INTx and MSI-X, without a guest and without KVM. */
#include "tests/unit/board.h"

#include <linux/pci_regs.h>

#include "hw/pci.h"
#include "tests/unit/guest-ring.h"

#define IO_BAR		0
#define MEM_BAR		1
#define MSIX_BAR	2
#define MEM64_BAR	4
#define IO_SIZE		32U
#define MEM_SIZE	0x10000U
#define MEM64_SIZE	0x100000U
#define VECTORS		3

struct function {
	struct pci_device pci;
	struct region io, mem, mem64;
	atomic_uint accesses;
};

static struct kvm *kvm;
static struct pci_bus *bus;
static struct guest_ram guest;
static struct function *function;
static const struct platform_layout *layout;

/* ---- functions ---- */

/* Reads tell which function it was. */
static uint64_t function_read(struct function *of, uint64_t offset, unsigned int size)
{
	(void)size;
	atomic_fetch_add(&of->accesses, 1);
	return of->pci.device_id + (offset << 16);
}

static void function_write(struct function *of, uint64_t offset, uint64_t value, unsigned int size)
{
	(void)offset;
	(void)value;
	(void)size;
	atomic_fetch_add(&of->accesses, 1);
}
IO_OPS(function_ops, struct function, function_read, function_write, 1, 4);

static struct function *function_new(uint16_t id)
{
	struct function *of = calloc(1, sizeof(*of));

	of->pci.name = "test";
	of->pci.vendor_id = 0x1234;
	of->pci.device_id = id;
	of->pci.subsystem_vendor_id = 0x5678;
	of->pci.subsystem_id = 0x9abc;
	of->pci.class_code = 0x020304;
	of->pci.revision = 7;
	of->pci.intx = true;
	region_init_io(&of->io, "io", &function_ops, of, IO_SIZE);
	region_init_io(&of->mem, "mem", &function_ops, of, MEM_SIZE);
	region_init_io(&of->mem64, "mem64", &function_ops, of, MEM64_SIZE);
	of->pci.bars[IO_BAR] = (struct pci_bar){ .kind = PCI_BAR_IO, .region = &of->io };
	of->pci.bars[MEM_BAR] = (struct pci_bar){ .kind = PCI_BAR_MEM32, .region = &of->mem };
	of->pci.bars[MEM64_BAR] = (struct pci_bar){ .kind = PCI_BAR_MEM64, .prefetch = true, .region = &of->mem64 };
	return of;
}

static struct function *function_add(uint16_t id, int devfn)
{
	struct function *of = function_new(id);

	ck_assert_int_eq(pci_device_add(bus, &of->pci, devfn, VECTORS, MSIX_BAR), 0);
	return of;
}

static void function_del(struct function *of)
{
	pci_device_del(&of->pci);
	free(of);
}

static void setup(void)
{
	log_set_sink(board_hush);
	kvm = board_create();
	board_add(kvm, "pci_init");
	bus = pci_bus(kvm);
	ck_assert_ptr_nonnull(bus);
	layout = arch_platform(kvm);
	guest_ram_add(&guest, &kvm->memory);
	function = function_add(0x1111, -1);
}

static void teardown(void)
{
	function_del(function);
	guest_ram_remove(&guest);
	board_destroy(kvm);
	log_set_sink(NULL);
}

/* ---- accesses ---- */

static uint32_t get(const struct function *of, unsigned int offset, unsigned int size)
{
	uint32_t value = pci_config_read(bus, 0, of->pci.devfn, offset, size);

	return size == 4 ? value : value & ((1U << 8 * size) - 1);
}

static void set(const struct function *of, unsigned int offset, unsigned int size, uint32_t value)
{
	pci_config_write(bus, 0, of->pci.devfn, offset, value, size);
}

static unsigned int bar(unsigned int index)
{
	return PCI_BASE_ADDRESS_0 + 4 * index;
}

static uint32_t mem_address(const struct function *of, unsigned int index)
{
	return get(of, bar(index), 4) & ~15U;
}

static uint64_t memory_in(uint64_t address, unsigned int size)
{
	uint64_t value;

	space_io_read(&kvm->memory, address, size, &value);
	return value;
}

static uint64_t ecam_in(unsigned int devfn, unsigned int offset, unsigned int size)
{
	return memory_in(layout->pci_ecam_base + (devfn << 12) + offset, size);
}

static void count_region(const struct flat_range *range, void *opaque)
{
	struct { const struct region *region; unsigned int ranges; } *count = opaque;

	count->ranges += range->region == count->region;
}

static bool is_mapped(struct region *region)
{
	struct { const struct region *region; unsigned int ranges; } count = { region, 0 };

	address_space_for_each(&kvm->memory, count_region, &count);
	address_space_for_each(&kvm->ports, count_region, &count);
	return count.ranges;
}

static void decode(const struct function *of, uint16_t command)
{
	set(of, PCI_COMMAND, 2, command);
}

/* ---- config space ---- */

START_TEST(an_absent_function_reads_as_ones)
{
	for (unsigned int size = 1; size <= 4; size *= 2) {
		uint64_t ones = size == 4 ? UINT32_MAX : (1U << 8 * size) - 1;

		ck_assert_uint_eq(pci_config_read(bus, 0, 0xff, 0, size) & ones, ones);
		ck_assert_uint_eq(pci_config_read(bus, 1, 0, 0, size) & ones, ones);
		ck_assert_uint_eq(ecam_in(0xff, 0x40, size), ones);
		ck_assert_uint_eq(ecam_in(0x100, 0, size), ones);
	}
	ck_assert_uint_eq(ecam_in(0xff, 0, 8), UINT64_MAX);
	pci_config_write(bus, 0, 0xff, PCI_COMMAND, 7, 2);
	pci_config_write(bus, 255, 0, PCI_COMMAND, 7, 2);
}
END_TEST

START_TEST(the_host_bridge_is_function_0)
{
	ck_assert_uint_eq(ecam_in(0, PCI_CLASS_DEVICE, 2), 0x0600);
	ck_assert_uint_eq(ecam_in(0, PCI_HEADER_TYPE, 1), 0);
}
END_TEST

START_TEST(a_function_says_who_it_is)
{
	ck_assert_uint_eq(get(function, PCI_VENDOR_ID, 4), 0x11111234);
	ck_assert_uint_eq(get(function, PCI_CLASS_REVISION, 4), 0x02030407);
	ck_assert_uint_eq(get(function, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x9abc5678);
	ck_assert_uint_eq(get(function, PCI_COMMAND, 2), 0);
	ck_assert_uint_eq(get(function, PCI_INTERRUPT_PIN, 1), 1);
	ck_assert_uint_eq(get(function, PCI_INTERRUPT_LINE, 1), layout->pci_intx_gsi[1] & 0xff);
}
END_TEST

START_TEST(ecam_and_functions_show_the_same)
{
	for (unsigned int offset = 0; offset < 256; offset++)
		for (unsigned int size = 1; size <= 4; size *= 2)
			if (!(offset % size))
				ck_assert_uint_eq(ecam_in(function->pci.devfn, offset, size), get(function, offset, size));
	ck_assert_uint_eq(ecam_in(function->pci.devfn, 0x100, 4), 0);
	ck_assert_uint_eq(ecam_in(function->pci.devfn, 0, 8),
			  get(function, 0, 4) | (uint64_t)get(function, 4, 4) << 32);
	/* Misaligned: the bytes, one after the other. */
	ck_assert_uint_eq(ecam_in(function->pci.devfn, 1, 4), 0x00111112);
}
END_TEST

START_TEST(only_what_the_mask_allows_can_be_written_bit_for_bit)
{
	uint8_t before[PCI_CONFIG_SIZE], patterns[] = { 0xff, 0x00, 0xa5, 0x5a };

	memcpy(before, function->pci.config, sizeof(before));
	for (unsigned int i = 0; i < ARRAY_SIZE(patterns); i++) {
		for (unsigned int offset = 0; offset < PCI_CONFIG_SIZE; offset++) {
			uint8_t mask = function->pci.write_mask[offset];

			set(function, offset, 1, patterns[i]);
			if (offset == PCI_STATUS)
				continue;
			ck_assert_uint_eq(get(function, offset, 1), (before[offset] & ~mask) | (patterns[i] & mask));
		}
	}
	/* What must be constant is. */
	for (unsigned int offset = 0; offset < PCI_COMMAND; offset++)
		ck_assert_uint_eq(function->pci.write_mask[offset], 0);
	ck_assert_uint_eq(function->pci.write_mask[PCI_CAPABILITY_LIST], 0);
	ck_assert_uint_eq(function->pci.write_mask[PCI_INTERRUPT_PIN], 0);
	ck_assert_uint_eq(function->pci.write_mask[PCI_HEADER_TYPE], 0);
	ck_assert_uint_eq(get(function, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
}
END_TEST

START_TEST(capabilities_are_a_list_in_the_order_they_were_added)
{
	struct function *of = function_new(0x2222);
	int first = pci_add_capability(&of->pci, PCI_CAP_ID_VNDR, 17);
	int second = pci_add_capability(&of->pci, PCI_CAP_ID_PM, 8);

	ck_assert_int_eq(first, 0x40);
	ck_assert_int_eq(second, 0x54);
	ck_assert_int_eq(pci_device_add(bus, &of->pci, -1, VECTORS, MSIX_BAR), 0);
	ck_assert_uint_eq(get(of, PCI_CAPABILITY_LIST, 1), 0x40);
	ck_assert_uint_eq(get(of, 0x40, 2), PCI_CAP_ID_VNDR | 0x54 << 8);
	ck_assert_uint_eq(get(of, 0x54, 2), PCI_CAP_ID_PM | 0x5c << 8);
	ck_assert_uint_eq(get(of, 0x5c, 2), PCI_CAP_ID_MSIX);
	function_del(of);
}
END_TEST

START_TEST(capabilities_that_have_no_room_are_refused)
{
	struct function *of = function_new(0x2222);
	unsigned int count = 0;

	while (pci_add_capability(&of->pci, PCI_CAP_ID_VNDR, 16) > 0)
		ck_assert_uint_lt(++count, 13);
	ck_assert_uint_ge(count, 11);
	ck_assert_int_lt(pci_add_capability(&of->pci, PCI_CAP_ID_VNDR, 255), 0);
	ck_assert_uint_eq(of->pci.config[PCI_CAPABILITY_LIST], 0x40);
	ck_assert_uint_eq(of->pci.config[0x40], PCI_CAP_ID_VNDR);
	free(of);
}
END_TEST

/* ---- BARs ---- */

static const struct { unsigned int index; uint32_t size, type; bool io; } bars[] = {
	{ IO_BAR, IO_SIZE, PCI_BASE_ADDRESS_SPACE_IO, true },
	{ MEM_BAR, MEM_SIZE, 0, false },
	{ MSIX_BAR, 4096, 0, false },
	{ MEM64_BAR, MEM64_SIZE, PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH, false },
};

START_TEST(sizing_shows_the_size_with_the_type_and_never_decodes_there)
{
	unsigned int at = bar(bars[_i].index);
	uint32_t before = get(function, at, 4);
	struct region *region = function->pci.bars[bars[_i].index].region;

	/* Decode is on, as with drivers that forget to turn it off. */
	decode(function, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	ck_assert(is_mapped(region));
	set(function, at, 4, UINT32_MAX);
	ck_assert_uint_eq(get(function, at, 4), ~(bars[_i].size - 1) | bars[_i].type);
	if (bars[_i].index == MEM64_BAR) {
		set(function, at + 4, 4, UINT32_MAX);
		ck_assert_uint_eq(get(function, at + 4, 4), UINT32_MAX);
		ck_assert(!is_mapped(region));
		set(function, at + 4, 4, 0);
	}
	ck_assert(bars[_i].index == MEM64_BAR || !is_mapped(region));
	set(function, at, 4, before);
	ck_assert_uint_eq(get(function, at, 4), before);
	ck_assert(is_mapped(region));
	/* By bytes it is the same. */
	for (unsigned int i = 0; i < 4; i++)
		set(function, at + i, 1, 0xff);
	ck_assert_uint_eq(get(function, at, 4), ~(bars[_i].size - 1) | bars[_i].type);
	set(function, at, 4, 0);
	ck_assert_uint_eq(get(function, at, 4), bars[_i].type);
}
END_TEST

START_TEST(absent_bars_are_zero)
{
	set(function, bar(3), 4, UINT32_MAX);
	ck_assert_uint_eq(get(function, bar(3), 4), 0);
	set(function, PCI_ROM_ADDRESS, 4, UINT32_MAX);
	ck_assert_uint_eq(get(function, PCI_ROM_ADDRESS, 4), 0);
}
END_TEST

START_TEST(bars_have_addresses_of_their_own_in_the_windows)
{
	struct function *more[4];
	struct { uint64_t at, size; } taken[16];
	unsigned int count = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(more); i++) {
		more[i] = function_add(0x3333, -1);
		for (unsigned int k = MEM_BAR; k <= MEM64_BAR; k++) {
			uint64_t at = mem_address(more[i], k), size = k == 3 ? 0 : more[i]->pci.bars[k].region->size;

			if (!size)
				continue;
			ck_assert(range_contains(layout->pci_mmio32_base, layout->pci_mmio32_size, at, size));
			ck_assert_uint_eq(at % size, 0);
			for (unsigned int j = 0; j < count; j++)
				ck_assert(!ranges_overlap(at, size, taken[j].at, taken[j].size));
			taken[count].at = at;
			taken[count++].size = size;
		}
		ck_assert(range_contains(layout->pci_io_base, layout->pci_io_size, get(more[i], bar(IO_BAR), 4) & ~3U, IO_SIZE));
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(more); i++)
		function_del(more[i]);
}
END_TEST

START_TEST(command_turns_decode_on_and_off)
{
	uint64_t io = get(function, bar(IO_BAR), 4) & ~3U, mem = mem_address(function, MEM_BAR);

	ck_assert_uint_eq(memory_in(mem, 4), UINT32_MAX);
	decode(function, PCI_COMMAND_MEMORY);
	ck_assert_uint_eq(memory_in(mem + 4, 4), 0x00041111);
	ck_assert_uint_eq(board_in_size(kvm, (uint16_t)io, 2), 0xffff);
	decode(function, PCI_COMMAND_IO);
	ck_assert_uint_eq(memory_in(mem, 4), UINT32_MAX);
	ck_assert_uint_eq(board_in_size(kvm, (uint16_t)io, 2), 0x1111);
	decode(function, 0);
	ck_assert_uint_eq(board_in_size(kvm, (uint16_t)io, 2), 0xffff);
}
END_TEST

START_TEST(a_bar_is_seen_where_it_was_moved_to)
{
	uint32_t old = mem_address(function, MEM_BAR), fresh = (uint32_t)(layout->pci_mmio32_base + layout->pci_mmio32_size / 2);

	decode(function, PCI_COMMAND_MEMORY);
	set(function, bar(MEM_BAR), 4, fresh | 0xf);
	ck_assert_uint_eq(get(function, bar(MEM_BAR), 4), fresh);
	ck_assert_uint_eq(memory_in(fresh, 2), 0x1111);
	ck_assert_uint_eq(memory_in(old, 2), 0xffff);
	/* By its upper half alone. */
	set(function, bar(MEM_BAR) + 2, 2, old >> 16);
	ck_assert_uint_eq(memory_in(old, 2), 0x1111);
}
END_TEST

START_TEST(a_bar_over_ram_leaves_ram_as_it_is)
{
	decode(function, PCI_COMMAND_MEMORY);
	guest_poke16(&guest, RAM_BASE + 0x2000, 0x7788);
	set(function, bar(MEM_BAR), 4, RAM_BASE);
	ck_assert_uint_eq(memory_in(RAM_BASE + 0x2000, 2), 0x7788);
	guest_poke16(&guest, RAM_BASE + 0x2000, 0x99aa);
	ck_assert_uint_eq(guest_peek16(&guest, RAM_BASE + 0x2000), 0x99aa);
	ck_assert_ptr_nonnull(memory_window(&kvm->memory, gpa(RAM_BASE), RAM_PART));
	ck_assert_uint_eq(atomic_load(&function->accesses), 0);
}
END_TEST

START_TEST(a_bar_over_config_space_or_another_bar_does_no_harm)
{
	struct function *other = function_add(0x2222, -1);

	decode(function, PCI_COMMAND_MEMORY);
	decode(other, PCI_COMMAND_MEMORY);
	set(other, bar(MEM_BAR), 4, mem_address(function, MEM_BAR));
	memory_in(mem_address(function, MEM_BAR), 4);
	set(other, bar(MEM_BAR), 4, (uint32_t)layout->pci_ecam_base);
	ck_assert_uint_eq(ecam_in(0, PCI_CLASS_DEVICE, 2), 0x0600);
	set(other, bar(MEM_BAR), 4, 0xfffff000);
	set(other, bar(MEM_BAR), 4, 0);
	function_del(other);
	ck_assert_uint_eq(memory_in(mem_address(function, MEM_BAR), 2), 0x1111);
}
END_TEST

static atomic_bool stop;

static void *access_all_the_time(void *opaque)
{
	(void)opaque;
	while (!atomic_load(&stop)) {
		/* A byte: the parts of a wider access may fall before and after a move. */
		uint64_t value = memory_in(layout->pci_mmio32_base + 0x100000, 1);

		ck_assert(value == 0x11 || value == 0xff);
	}
	return NULL;
}

START_TEST(a_bar_may_move_while_others_access_it)
{
	uint32_t at = (uint32_t)layout->pci_mmio32_base + 0x100000;
	pthread_t threads[2];

	atomic_store(&stop, false);
	for (unsigned int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, access_all_the_time, NULL), 0);
	for (unsigned int i = 0; i < 2000; i++) {
		set(function, bar(MEM_BAR), 4, i % 3 == 1 ? (uint32_t)RAM_BASE : i % 3 == 2 ? UINT32_MAX : at);
		decode(function, i % 5 ? PCI_COMMAND_MEMORY : 0);
	}
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

/* ---- slots ---- */

START_TEST(slots_are_given_in_order_and_run_out)
{
	struct function *all[32];
	unsigned int count = 0;

	while (count < ARRAY_SIZE(all)) {
		all[count] = function_new(0x4444);
		if (pci_device_add(bus, &all[count]->pci, -1, 0, 0))
			break;
		ck_assert_uint_eq(all[count]->pci.devfn, (count + 2) << 3);
		count++;
	}
	ck_assert_uint_eq(count, 30);
	free(all[count]);
	function_del(all[7]);
	all[7] = function_add(0x5555, -1);
	ck_assert_uint_eq(all[7]->pci.devfn, 9 << 3);
	while (count)
		function_del(all[--count]);
}
END_TEST

START_TEST(a_slot_that_is_taken_is_refused)
{
	struct function *of = function_new(0x2222);

	ck_assert_int_lt(pci_device_add(bus, &of->pci, function->pci.devfn, 0, 0), 0);
	ck_assert_uint_eq(get(function, PCI_DEVICE_ID, 2), 0x1111);
	free(of);
}
END_TEST

START_TEST(a_bar_without_room_leaves_nothing_behind)
{
	struct function *of = function_new(0x2222);

	of->mem.size = GIB(2);
	ck_assert_int_lt(pci_device_add(bus, &of->pci, 8 << 3, VECTORS, MSIX_BAR), 0);
	ck_assert_uint_eq(ecam_in(8 << 3, 0, 4), UINT32_MAX);
	free(of);
	function_del(function_add(0x2222, 8 << 3));
}
END_TEST

START_TEST(functions_that_come_and_go_use_up_nothing)
{
	uint32_t first = 0;

	for (unsigned int i = 0; i < 2000; i++) {
		struct function *of = function_add(0x2222, -1);

		first = first ? first : mem_address(of, MEM64_BAR);
		ck_assert_uint_eq(mem_address(of, MEM64_BAR), first);
		ck_assert_uint_eq(of->pci.devfn, 2 << 3);
		function_del(of);
	}
}
END_TEST

START_TEST(a_function_that_went_is_gone)
{
	struct function *of = function_add(0x2222, -1);
	uint8_t devfn = of->pci.devfn;
	uint64_t mem = mem_address(of, MEM_BAR);

	decode(of, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	pci_intx_set(&of->pci, true);
	function_del(of);
	ck_assert_uint_eq(ecam_in(devfn, 0, 4), UINT32_MAX);
	ck_assert_uint_eq(memory_in(mem, 4), UINT32_MAX);
	ck_assert(!atomic_load(&bus->lines[devfn >> 3 & 3].raised));
}
END_TEST

/* ---- INTx ---- */

static bool line_is_up(unsigned int line)
{
	return atomic_load(&bus->lines[line].raised);
}

START_TEST(inta_is_swizzled_by_slot)
{
	struct function *of = function_add(0x2222, (int)(8 + _i) << 3);

	board_listen(kvm);
	pci_intx_set(&of->pci, true);
	for (unsigned int line = 0; line < 4; line++) {
		ck_assert_int_eq(line_is_up(line), line == (unsigned int)_i % 4);
		ck_assert_uint_eq(board_interrupts(kvm, layout->pci_intx_gsi[line]), line == (unsigned int)_i % 4);
	}
	function_del(of);
}
END_TEST

START_TEST(a_line_that_is_shared_is_up_while_anyone_holds_it)
{
	struct function *other = function_add(0x2222, 5 << 3);

	pci_intx_set(&function->pci, true);
	pci_intx_set(&other->pci, true);
	pci_intx_set(&function->pci, false);
	ck_assert(line_is_up(1));
	pci_intx_set(&other->pci, false);
	ck_assert(!line_is_up(1));
	function_del(other);
}
END_TEST

START_TEST(intx_disable_holds_the_line_down_but_not_the_status)
{
	ck_assert_uint_eq(get(function, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	decode(function, PCI_COMMAND_INTX_DISABLE);
	pci_intx_set(&function->pci, true);
	ck_assert(!line_is_up(1));
	ck_assert_uint_ne(get(function, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	set(function, PCI_STATUS, 2, 0xffff);
	ck_assert_uint_ne(get(function, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	decode(function, 0);
	ck_assert(line_is_up(1));
	pci_intx_set(&function->pci, false);
	ck_assert_uint_eq(get(function, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	ck_assert(!line_is_up(1));
}
END_TEST

/* ---- MSI-X ---- */

static unsigned int msix_at(void)
{
	return function->pci.msix.capability;
}

static uint64_t msix_table(void)
{
	return mem_address(function, MSIX_BAR);
}

static uint32_t pending(void)
{
	uint64_t pba = msix_table() + (get(function, msix_at() + PCI_MSIX_PBA, 4) & ~7U);

	return (uint32_t)memory_in(pba, 4);
}

static void table_set(unsigned int vector, unsigned int word, uint32_t value)
{
	space_io_write(&kvm->memory, msix_table() + vector * 16 + word, 4, value);
}

static uint32_t table_get(unsigned int vector, unsigned int word)
{
	return (uint32_t)memory_in(msix_table() + vector * 16 + word, 4);
}

START_TEST(the_msix_capability_is_read_only_but_for_two_bits)
{
	unsigned int at = msix_at();
	uint32_t table = get(function, at + PCI_MSIX_TABLE, 4), pba = get(function, at + PCI_MSIX_PBA, 4);

	ck_assert_uint_eq(get(function, at, 1), PCI_CAP_ID_MSIX);
	ck_assert_uint_eq(get(function, at + PCI_MSIX_FLAGS, 2), VECTORS - 1);
	ck_assert_uint_eq(table, MSIX_BAR);
	ck_assert_uint_eq(pba & 7, MSIX_BAR);
	ck_assert_uint_ge(pba & ~7U, VECTORS * 16);
	for (unsigned int i = 0; i < 12; i += 4)
		set(function, at + i, 4, UINT32_MAX);
	ck_assert_uint_eq(get(function, at + PCI_MSIX_FLAGS, 2), 0xc000 | (VECTORS - 1));
	ck_assert_uint_eq(get(function, at + PCI_MSIX_TABLE, 4), table);
	ck_assert_uint_eq(get(function, at + PCI_MSIX_PBA, 4), pba);
}
END_TEST

START_TEST(vectors_are_masked_at_first_and_keep_what_is_written)
{
	decode(function, PCI_COMMAND_MEMORY);
	for (unsigned int i = 0; i < VECTORS; i++) {
		ck_assert_uint_eq(table_get(i, 12), 1);
		table_set(i, 0, 0xfee00ffb);
		table_set(i, 4, 0x12345678);
		table_set(i, 8, 0x9abcdef0 + i);
		table_set(i, 12, 0xffffffff);
		ck_assert_uint_eq(table_get(i, 0), 0xfee00ff8);
		ck_assert_uint_eq(table_get(i, 4), 0x12345678);
		ck_assert_uint_eq(table_get(i, 8), 0x9abcdef0 + i);
		ck_assert_uint_eq(table_get(i, 12), 1);
	}
	ck_assert_uint_eq(memory_in(msix_table() + 16, 8), 0x12345678fee00ff8);
}
END_TEST

START_TEST(a_masked_vector_that_fires_is_pending)
{
	decode(function, PCI_COMMAND_MEMORY);
	set(function, msix_at() + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	ck_assert_uint_eq(pending(), 0);
	pci_msix_raise(&function->pci, 2);
	pci_msix_raise(&function->pci, 0);
	pci_msix_raise(&function->pci, 0);
	ck_assert_uint_eq(pending(), 5);
	/* The bits are read-only, and reading doesn't clear them. */
	space_io_write(&kvm->memory, msix_table() + function->pci.msix.pba_offset, 4, 0);
	ck_assert_uint_eq(pending(), 5);
	devices_reset(kvm);
	decode(function, PCI_COMMAND_MEMORY);
	ck_assert_uint_eq(pending(), 0);
}
END_TEST

START_TEST(a_vector_that_does_not_exist_is_nothing)
{
	decode(function, PCI_COMMAND_MEMORY);
	set(function, msix_at() + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	pci_msix_raise(&function->pci, VECTORS);
	pci_msix_raise(&function->pci, 0xffff);
	pci_msix_raise(&function->pci, UINT32_MAX);
	ck_assert_uint_eq(pending(), 0);
	table_set(VECTORS, 0, 0x1234);
	ck_assert_uint_eq(table_get(VECTORS, 0), 0);
}
END_TEST

START_TEST(with_msix_on_inta_is_quiet)
{
	pci_intx_set(&function->pci, true);
	ck_assert(!pci_msix_enabled(&function->pci));
	set(function, msix_at() + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	ck_assert(pci_msix_enabled(&function->pci));
	ck_assert(!line_is_up(1));
	set(function, msix_at() + PCI_MSIX_FLAGS, 2, 0);
	ck_assert(line_is_up(1));
}
END_TEST

/* ---- everything, at any offset and size ---- */

START_TEST(accesses_at_every_offset_and_size_are_harmless)
{
	uint32_t seed = (uint32_t)_i + 1;
	uint64_t value;

	for (unsigned int i = 0; i < 100000; i++) {
		static const unsigned int sizes[] = { 1, 2, 4, 8 };
		unsigned int size;
		uint64_t base, offset;

		seed = seed * 1664525 + 1013904223;
		size = sizes[seed >> 13 & 3];
		offset = seed >> 16 & 0xfff;
		base = seed & 0x400 ? layout->pci_ecam_base + ((uint64_t)function->pci.devfn << 12) : msix_table();
		if (seed & 0x800)
			offset &= 0x7f;
		if (seed & 0x200)
			space_io_write(&kvm->memory, base + offset, size, (uint64_t)seed << 32 | ~seed);
		else
			space_io_read(&kvm->memory, base + offset, size, &value);
		if (seed & 0x100)
			space_io_write(&kvm->ports, 0xcf8 + (seed & 7), size, seed * 7U & 0xfffffffb);
		if (!(i % 1000))
			pci_msix_raise(&function->pci, seed & 3);
	}
	ck_assert_uint_eq(get(function, PCI_VENDOR_ID, 4), 0x11111234);
}
END_TEST

/* ---- saved state ---- */

START_TEST(a_function_saved_and_loaded_is_the_same)
{
	uint32_t place = (uint32_t)(layout->pci_mmio32_base + layout->pci_mmio32_size / 2);

	decode(function, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	set(function, msix_at() + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	table_set(1, 0, 0xfee01000);
	table_set(1, 8, 0x31);
	pci_msix_raise(&function->pci, 1);
	pci_intx_set(&function->pci, true);
	set(function, bar(MEM_BAR), 4, place);

	board_save_load(kvm, "pci");

	ck_assert_uint_eq(table_get(1, 0), 0xfee01000);
	ck_assert_uint_eq(pending(), 2);
	ck_assert_uint_eq(memory_in(place, 2), 0x1111);
	ck_assert(pci_msix_enabled(&function->pci));
	ck_assert_uint_ne(get(function, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
}
END_TEST

START_TEST(the_state_of_another_function_is_refused)
{
	struct device *device = device_find(kvm, "pci");
	struct state_writer writer = { 0 };
	struct state_reader reader;

	device->ops->save(device, &writer);
	function_del(function);
	function = function_add(0x1112, -1);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), -EINVAL);
	ck_assert_uint_eq(get(function, PCI_DEVICE_ID, 2), 0x1112);
	state_writer_free(&writer);
}
END_TEST

START_TEST(hostile_saved_state_is_harmless)
{
	board_load_hostile(kvm, "pci", NULL);
}
END_TEST

static void add_config(TCase *tcase)
{
	tcase_add_test(tcase, an_absent_function_reads_as_ones);
	tcase_add_test(tcase, the_host_bridge_is_function_0);
	tcase_add_test(tcase, a_function_says_who_it_is);
	tcase_add_test(tcase, ecam_and_functions_show_the_same);
	tcase_add_test(tcase, only_what_the_mask_allows_can_be_written_bit_for_bit);
	tcase_add_test(tcase, capabilities_are_a_list_in_the_order_they_were_added);
	tcase_add_test(tcase, capabilities_that_have_no_room_are_refused);
	tcase_add_test(tcase, slots_are_given_in_order_and_run_out);
	tcase_add_test(tcase, a_slot_that_is_taken_is_refused);
	tcase_add_test(tcase, a_bar_without_room_leaves_nothing_behind);
	tcase_add_test(tcase, functions_that_come_and_go_use_up_nothing);
	tcase_add_test(tcase, a_function_that_went_is_gone);
	tcase_add_loop_test(tcase, accesses_at_every_offset_and_size_are_harmless, 0, 3);
	tcase_add_test(tcase, a_function_saved_and_loaded_is_the_same);
	tcase_add_test(tcase, the_state_of_another_function_is_refused);
	tcase_add_test(tcase, hostile_saved_state_is_harmless);
}

static void add_bars(TCase *tcase)
{
	tcase_add_loop_test(tcase, sizing_shows_the_size_with_the_type_and_never_decodes_there, 0, ARRAY_SIZE(bars));
	tcase_add_test(tcase, absent_bars_are_zero);
	tcase_add_test(tcase, bars_have_addresses_of_their_own_in_the_windows);
	tcase_add_test(tcase, command_turns_decode_on_and_off);
	tcase_add_test(tcase, a_bar_is_seen_where_it_was_moved_to);
	tcase_add_test(tcase, a_bar_over_ram_leaves_ram_as_it_is);
	tcase_add_test(tcase, a_bar_over_config_space_or_another_bar_does_no_harm);
	tcase_add_test(tcase, a_bar_may_move_while_others_access_it);
}

static void add_interrupts(TCase *tcase)
{
	tcase_add_loop_test(tcase, inta_is_swizzled_by_slot, 0, 8);
	tcase_add_test(tcase, a_line_that_is_shared_is_up_while_anyone_holds_it);
	tcase_add_test(tcase, intx_disable_holds_the_line_down_but_not_the_status);
	tcase_add_test(tcase, the_msix_capability_is_read_only_but_for_two_bits);
	tcase_add_test(tcase, vectors_are_masked_at_first_and_keep_what_is_written);
	tcase_add_test(tcase, a_masked_vector_that_fires_is_pending);
	tcase_add_test(tcase, a_vector_that_does_not_exist_is_nothing);
	tcase_add_test(tcase, with_msix_on_inta_is_quiet);
}

static void add_tests(Suite *suite)
{
	add_config(suite_case(suite, "config space", setup, teardown));
	add_bars(suite_case(suite, "BARs", setup, teardown));
	add_interrupts(suite_case(suite, "interrupts", setup, teardown));
}
SUITE_MAIN("pci", add_tests)
