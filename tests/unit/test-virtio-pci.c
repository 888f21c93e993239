/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/pci.c and virtio/pci-legacy.c: the registers of both interfaces, as a driver and as a fuzzer see them. */
#include "tests/unit/board.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#include "kvm/pci.h"
#include "tests/unit/echo-device.h"

#define ACK		VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER		VIRTIO_CONFIG_S_DRIVER
#define FEATURES_OK	VIRTIO_CONFIG_S_FEATURES_OK
#define DRIVER_OK	VIRTIO_CONFIG_S_DRIVER_OK
#define NO_VECTOR	VIRTIO_MSI_NO_VECTOR

static struct kvm *kvm;
static struct guest_ram guest;
static struct echo echo;
static struct ring rings[ECHO_QUEUES];
static const struct platform_layout *layout;
static unsigned int devfn;

/* Where the structures are, as the capabilities say. */
static struct { uint64_t common, isr, config, notify; uint32_t multiplier; unsigned int window; } place;
static uint16_t ports;

/* ---- accesses ---- */

static uint32_t config_get(unsigned int offset, unsigned int size)
{
	uint32_t value = pci_config_read(pci_bus(kvm), 0, devfn, offset, size);

	return size == 4 ? value : value & ((1U << 8 * size) - 1);
}

static void config_put(unsigned int offset, unsigned int size, uint32_t value)
{
	pci_config_write(pci_bus(kvm), 0, devfn, offset, value, size);
}

static uint32_t in(uint64_t address, unsigned int size)
{
	uint64_t value;

	space_io_read(ports ? &kvm->ports : &kvm->memory, address, size, &value);
	return (uint32_t)value;
}

static void out(uint64_t address, unsigned int size, uint32_t value)
{
	space_io_write(ports ? &kvm->ports : &kvm->memory, address, size, value);
}

static uint64_t bar_address(unsigned int bar)
{
	uint64_t low = config_get(PCI_BASE_ADDRESS_0 + 4 * bar, 4), high = 0;

	if (low & PCI_BASE_ADDRESS_SPACE_IO)
		return low & ~3ULL;
	if (low & PCI_BASE_ADDRESS_MEM_TYPE_64)
		high = config_get(PCI_BASE_ADDRESS_0 + 4 * bar + 4, 4);
	return (low & ~15ULL) | high << 32;
}

static void find_structures(void)
{
	for (unsigned int at = config_get(PCI_CAPABILITY_LIST, 1); at; at = config_get(at + 1, 1)) {
		uint64_t address;

		if (config_get(at, 1) != PCI_CAP_ID_VNDR)
			continue;
		address = bar_address(config_get(at + VIRTIO_PCI_CAP_BAR, 1) % PCI_BARS) +
			  config_get(at + VIRTIO_PCI_CAP_OFFSET, 4);
		switch (config_get(at + VIRTIO_PCI_CAP_CFG_TYPE, 1)) {
		case VIRTIO_PCI_CAP_COMMON_CFG: place.common = address; break;
		case VIRTIO_PCI_CAP_ISR_CFG:	place.isr = address; break;
		case VIRTIO_PCI_CAP_DEVICE_CFG:	place.config = address; break;
		case VIRTIO_PCI_CAP_PCI_CFG:	place.window = at; break;
		case VIRTIO_PCI_CAP_NOTIFY_CFG:
			place.notify = address;
			place.multiplier = config_get(at + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
			break;
		}
	}
}

static void create(const char *transport)
{
	log_set_sink(board_hush);
	kvm = board_create();
	ck_assert_int_eq(config_set(kvm->config, "virtio-transport", transport), 0);
	board_add(kvm, "pci_init");
	layout = arch_platform(kvm);
	guest_ram_add(&guest, &kvm->memory);
	echo_add(kvm, &echo);
	board_listen(kvm);
	devfn = 1 << 3;
	for (unsigned int i = 0; i < ECHO_QUEUES; i++)
		ring_init(&rings[i], &guest, ECHO_QUEUE_SIZE, ECHO_RING(i));
	config_put(PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	memset(&place, 0, sizeof(place));
	ports = 0;
}

static void setup(void)
{
	create("pci");
	find_structures();
}

static void setup_legacy(void)
{
	create("pci-legacy");
	ports = (uint16_t)bar_address(0);
}

static void teardown(void)
{
	virtio_device_del(&echo.device);
	guest_ram_remove(&guest);
	board_destroy(kvm);
	log_set_sink(NULL);
}

static uint32_t common_in(unsigned int offset, unsigned int size)
{
	return in(place.common + offset, size);
}

static void common_out(unsigned int offset, unsigned int size, uint32_t value)
{
	out(place.common + offset, size, value);
}

/* ---- a modern driver ---- */

static void write_address(unsigned int offset, uint64_t address)
{
	common_out(offset, 4, (uint32_t)address);
	common_out(offset + 4, 4, (uint32_t)(address >> 32));
}

static void negotiate(uint64_t features)
{
	common_out(VIRTIO_PCI_COMMON_STATUS, 1, 0);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_STATUS, 1), 0);
	common_out(VIRTIO_PCI_COMMON_STATUS, 1, ACK | DRIVER);
	for (unsigned int i = 0; i < 2; i++) {
		common_out(VIRTIO_PCI_COMMON_GFSELECT, 4, i);
		common_out(VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> 32 * i));
	}
	common_out(VIRTIO_PCI_COMMON_STATUS, 1, ACK | DRIVER | FEATURES_OK);
}

static void enable(unsigned int queue, uint16_t size, uint16_t vector)
{
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	ring_init(&rings[queue], &guest, size, ECHO_RING(queue));
	common_out(VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
	write_address(VIRTIO_PCI_COMMON_Q_DESCLO, rings[queue].desc);
	write_address(VIRTIO_PCI_COMMON_Q_AVAILLO, rings[queue].avail);
	write_address(VIRTIO_PCI_COMMON_Q_USEDLO, rings[queue].used);
	common_out(VIRTIO_PCI_COMMON_Q_MSIX, 2, vector);
	common_out(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static void drive(uint16_t size)
{
	negotiate(BIT(VIRTIO_F_VERSION_1));
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_STATUS, 1), ACK | DRIVER | FEATURES_OK);
	enable(0, size, 1);
	enable(1, size, 2);
	common_out(VIRTIO_PCI_COMMON_STATUS, 1, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_STATUS, 1), ACK | DRIVER | FEATURES_OK | DRIVER_OK);
}

static void exchange(unsigned int queue, const char *text)
{
	echo_offer(&rings[queue], text);
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	out(place.notify + place.multiplier * common_in(VIRTIO_PCI_COMMON_Q_NOFF, 2), 2, queue);
	board_poll(kvm, 2);
	echo_check(&rings[queue], text);
}

START_TEST(a_modern_function_says_what_it_is)
{
	ck_assert_uint_eq(config_get(PCI_VENDOR_ID, 4), (0x1040U + VIRTIO_ID_RNG) << 16 | 0x1af4);
	ck_assert_uint_ge(config_get(PCI_REVISION_ID, 1), 1);
	ck_assert_uint_ge(config_get(PCI_SUBSYSTEM_ID, 2), 0x40);
	ck_assert_uint_eq(config_get(PCI_CLASS_REVISION, 4) >> 8, 0x00ff00);
	ck_assert(place.common && place.isr && place.config && place.notify && place.window);
	ck_assert_uint_eq(place.multiplier, 4);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_NUMQ, 2), ECHO_QUEUES);
	ck_assert_uint_eq(place.common % 4, 0);
}
END_TEST

START_TEST(a_modern_driver_is_served)
{
	drive(ECHO_QUEUE_SIZE);
	exchange(0, "first");
	exchange(1, "second");
}
END_TEST

#define COMMON_QUEUE_RESET	58

START_TEST(a_queue_is_reset_by_its_register)
{
	negotiate(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_RESET));
	enable(0, 16, 1);
	enable(1, 16, 2);
	common_out(VIRTIO_PCI_COMMON_STATUS, 1, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	exchange(0, "before");
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	common_out(COMMON_QUEUE_RESET, 2, 0);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	common_out(COMMON_QUEUE_RESET, 2, 1);

	ck_assert_uint_eq(common_in(COMMON_QUEUE_RESET, 2), 0);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_SIZE, 2), ECHO_QUEUE_SIZE);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	exchange(1, "other");
	enable(0, 8, 1);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	for (unsigned int i = 0; i < 20; i++)
		exchange(0, "after");
	ck_assert_uint_eq(echo.device.queues[0].size, 8);
	/* Of a queue that isn't there. */
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, 2, ECHO_QUEUES);
	common_out(COMMON_QUEUE_RESET, 2, 1);
	ck_assert_uint_eq(common_in(COMMON_QUEUE_RESET, 2), 0);
}
END_TEST

START_TEST(a_queue_is_not_reset_unless_that_was_negotiated)
{
	drive(16);
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	common_out(COMMON_QUEUE_RESET, 2, 1);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	exchange(0, "still here");
}
END_TEST

/* 4.1.5.2: the queue's number, and how far the driver is. */
START_TEST(a_notification_may_have_data)
{
	drive(16);
	echo_offer(&rings[1], "data");
	out(place.notify + place.multiplier, 4, 0x80010001);
	board_poll(kvm, 2);
	echo_check(&rings[1], "data");
}
END_TEST

START_TEST(a_smaller_queue_size_is_honoured)
{
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_SIZE, 2), ECHO_QUEUE_SIZE);
	drive(8);
	for (unsigned int i = 0; i < 20; i++)
		exchange(0, "round and round");
	ck_assert_uint_eq(echo.device.queues[0].size, 8);
}
END_TEST

START_TEST(offered_features_are_shown_by_halves)
{
	common_out(VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
	ck_assert_uint_ne(common_in(VIRTIO_PCI_COMMON_DF, 4) & BIT(ECHO_FEATURE), 0);
	common_out(VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
	ck_assert_uint_ne(common_in(VIRTIO_PCI_COMMON_DF, 4) & 1, 0);
	common_out(VIRTIO_PCI_COMMON_DFSELECT, 4, 2);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_DF, 4), 0);
	common_out(VIRTIO_PCI_COMMON_DFSELECT, 4, UINT32_MAX);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_DF, 4), 0);
}
END_TEST

START_TEST(features_that_were_not_offered_are_refused)
{
	negotiate(BIT(VIRTIO_F_VERSION_1) | BIT(_i ? 60 : 3));
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_STATUS, 1), ACK | DRIVER);
}
END_TEST

START_TEST(a_queue_that_does_not_exist_has_size_0)
{
	static const uint16_t queues[] = { ECHO_QUEUES, 63, 64, 0xffff };

	drive(8);
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, 2, queues[_i]);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	common_out(VIRTIO_PCI_COMMON_Q_SIZE, 2, 8);
	common_out(VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
	write_address(VIRTIO_PCI_COMMON_Q_DESCLO, RAM_BASE);
	common_out(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_MSIX, 2), NO_VECTOR);
	out(place.notify + 4U * (queues[_i] & 0x3ff), 2, queues[_i]);
	exchange(0, "the others work");
}
END_TEST

START_TEST(a_queue_rewritten_after_driver_ok_stays)
{
	drive(8);
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	common_out(VIRTIO_PCI_COMMON_Q_SIZE, 2, 64);
	write_address(VIRTIO_PCI_COMMON_Q_DESCLO, NOWHERE);
	write_address(VIRTIO_PCI_COMMON_Q_AVAILLO, IO_BASE);
	write_address(VIRTIO_PCI_COMMON_Q_USEDLO, UINT64_MAX);
	common_out(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
	common_out(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	exchange(0, "where it was");
}
END_TEST

START_TEST(a_vector_past_the_table_reads_back_as_none)
{
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	for (unsigned int offset = VIRTIO_PCI_COMMON_MSIX; offset <= VIRTIO_PCI_COMMON_Q_MSIX; offset += 10) {
		ck_assert_uint_eq(common_in(offset, 2), NO_VECTOR);
		common_out(offset, 2, ECHO_QUEUES);
		ck_assert_uint_eq(common_in(offset, 2), ECHO_QUEUES);
		common_out(offset, 2, ECHO_QUEUES + 1);
		ck_assert_uint_eq(common_in(offset, 2), NO_VECTOR);
		common_out(offset, 2, 0xfffe);
		ck_assert_uint_eq(common_in(offset, 2), NO_VECTOR);
	}
}
END_TEST

START_TEST(the_pci_cfg_window_reaches_the_registers)
{
	unsigned int at = place.window;

	/* COMMON is at the start of BAR 4. */
	ck_assert_uint_eq(place.common, bar_address(4));
	config_put(at + VIRTIO_PCI_CAP_BAR, 1, 4);
	config_put(at + VIRTIO_PCI_CAP_OFFSET, 4, VIRTIO_PCI_COMMON_NUMQ);
	config_put(at + VIRTIO_PCI_CAP_LENGTH, 4, 2);
	ck_assert_uint_eq(config_get(at + 16, 2), ECHO_QUEUES);
	config_put(at + VIRTIO_PCI_CAP_OFFSET, 4, VIRTIO_PCI_COMMON_STATUS);
	config_put(at + VIRTIO_PCI_CAP_LENGTH, 4, 1);
	config_put(at + 16, 1, ACK);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_STATUS, 1), ACK);
	ck_assert_uint_eq(config_get(at + 16, 1), ACK);
}
END_TEST

START_TEST(a_pci_cfg_window_to_elsewhere_is_harmless)
{
	static const uint32_t lengths[] = { 0, 1, 2, 3, 4, 5, 8, UINT32_MAX };
	static const uint32_t offsets[] = { 0, 1, 2, 3, 0x3ffc, 0x3fff, 0x4000, 0xfffffffc, UINT32_MAX };

	for (unsigned int bar = 0; bar < 256; bar += bar < 8 ? 1 : 31) {
		for (unsigned int i = 0; i < ARRAY_SIZE(lengths) * ARRAY_SIZE(offsets); i++) {
			config_put(place.window + VIRTIO_PCI_CAP_BAR, 1, bar);
			config_put(place.window + VIRTIO_PCI_CAP_OFFSET, 4, offsets[i / ARRAY_SIZE(lengths)]);
			config_put(place.window + VIRTIO_PCI_CAP_LENGTH, 4, lengths[i % ARRAY_SIZE(lengths)]);
			config_get(place.window + 16, 4);
			config_put(place.window + 16, 4, 0x12345678);
			config_put(place.window + 19, 1, 0);
		}
	}
	drive(8);
	exchange(0, "unharmed");
}
END_TEST

/* ---- interrupts ---- */

static uint32_t gsi(void)
{
	return layout->pci_intx_gsi[devfn >> 3 & 3];
}

START_TEST(without_msix_the_isr_says_what_happened_and_reading_drops_the_line)
{
	drive(8);
	ck_assert_uint_eq(board_interrupts(kvm, gsi()), 0);
	exchange(0, "interrupt");
	ck_assert_uint_eq(board_interrupts(kvm, gsi()), 1);
	virtio_config_changed(&echo.device);
	ck_assert_uint_ne(config_get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	ck_assert_uint_eq(in(place.isr, 1), 3);
	ck_assert_uint_eq(config_get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	ck_assert_uint_eq(in(place.isr, 1), 0);
	exchange(0, "again");
	ck_assert_uint_eq(board_interrupts(kvm, gsi()), 1);
	ck_assert_uint_eq(in(place.isr, 1), 1);
}
END_TEST

static uint32_t pending(void)
{
	unsigned int at = config_get(PCI_CAPABILITY_LIST, 1);
	uint32_t pba;
	uint64_t value;

	while (config_get(at, 1) != PCI_CAP_ID_MSIX)
		at = config_get(at + 1, 1);
	pba = config_get(at + PCI_MSIX_PBA, 4);
	space_io_read(&kvm->memory, bar_address(pba & 7) + (pba & ~7U), 4, &value);
	return (uint32_t)value;
}

static void msix_enable(void)
{
	unsigned int at = config_get(PCI_CAPABILITY_LIST, 1);

	while (config_get(at, 1) != PCI_CAP_ID_MSIX)
		at = config_get(at + 1, 1);
	config_put(at + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
}

START_TEST(with_msix_each_queue_has_its_vector)
{
	msix_enable();
	drive(8);
	common_out(VIRTIO_PCI_COMMON_MSIX, 2, 0);
	exchange(1, "second");
	/* Masked, as they are at first: what fires can be seen in the pending bits. */
	ck_assert_uint_eq(pending(), BIT(2));
	exchange(0, "first");
	ck_assert_uint_eq(pending(), BIT(1) | BIT(2));
	virtio_config_changed(&echo.device);
	ck_assert_uint_eq(pending(), BIT(0) | BIT(1) | BIT(2));
	ck_assert_uint_eq(board_interrupts(kvm, gsi()), 0);
	ck_assert_uint_eq(in(place.isr, 1), 0);
}
END_TEST

START_TEST(a_queue_without_a_vector_is_silent)
{
	msix_enable();
	drive(8);
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	common_out(VIRTIO_PCI_COMMON_Q_MSIX, 2, NO_VECTOR);
	exchange(0, "silence");
	ck_assert_uint_eq(pending(), 0);
	ck_assert_uint_eq(board_interrupts(kvm, gsi()), 0);
}
END_TEST

/* ---- resets and saved state ---- */

START_TEST(a_drivers_reset_clears_the_registers_but_not_config_space)
{
	uint64_t bar = bar_address(4);

	drive(8);
	exchange(0, "before");
	common_out(VIRTIO_PCI_COMMON_STATUS, 1, 0);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_STATUS, 1), 0);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_MSIX, 2), NO_VECTOR);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_GF, 4), 0);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_SELECT, 2), 0);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_SIZE, 2), ECHO_QUEUE_SIZE);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0);
	ck_assert_uint_eq(in(place.isr, 1), 0);
	ck_assert_uint_eq(config_get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	ck_assert_uint_eq(bar_address(4), bar);
	ck_assert_uint_ne(config_get(PCI_COMMAND, 2) & PCI_COMMAND_MEMORY, 0);
}
END_TEST

START_TEST(a_machines_reset_clears_all)
{
	drive(8);
	devices_reset(kvm);
	ck_assert_uint_eq(config_get(PCI_COMMAND, 2), 0);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_STATUS, 1), 0xff);
	config_put(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	ck_assert_uint_eq(common_in(VIRTIO_PCI_COMMON_STATUS, 1), 0);
}
END_TEST

static void save_load_and_go_on(void (*go_on)(unsigned int queue, const char *text))
{
	struct state_writer before = { 0 }, after = { 0 };
	struct state_reader reader;

	ck_assert_int_eq(devices_quiesce(kvm), 0);
	devices_save(kvm, &before);
	devices_reset(kvm);
	reader = (struct state_reader){ .data = before.data, .length = before.length };
	ck_assert_int_eq(devices_load(kvm, &reader), 0);
	devices_save(kvm, &after);
	ck_assert_uint_eq(after.length, before.length);
	ck_assert_mem_eq(after.data, before.data, before.length);
	devices_resume(kvm);
	go_on(0, "after");
	go_on(1, "after that");
	state_writer_free(&before);
	state_writer_free(&after);
}

START_TEST(what_is_saved_and_loaded_goes_on)
{
	if (_i)
		msix_enable();
	drive(8);
	exchange(0, "before");
	save_load_and_go_on(exchange);
	ck_assert_uint_eq(_i ? pending() : in(place.isr, 1), _i ? 6 : 1);
}
END_TEST

static void poke(void)
{
	event_loop_poll(kvm->loop, 0);
	if (echo.device.transport_ops)
		echo.device.transport_ops->interrupt_queue(&echo.device, 0);
	virtio_config_changed(&echo.device);
}

START_TEST(hostile_saved_state_is_harmless)
{
	drive(8);
	board_load_hostile(kvm, "virtio-echo0", poke);
}
END_TEST

/* ---- any access at all ---- */

static void hammer_without_loop(struct address_space *space, uint64_t base, uint64_t length, uint32_t seed,
				unsigned int times)
{
	static const unsigned int sizes[] = { 1, 2, 4, 8 };
	uint64_t value;

	for (unsigned int i = 0; i < times; i++) {
		uint32_t dice = echo_random(&seed);
		uint64_t offset = dice >> 8 & 1 ? echo_random(&seed) % 64 : echo_random(&seed) % length;
		unsigned int size = sizes[dice & 3];
		uint64_t written = dice >> 4 & 1 ? (uint64_t)echo_random(&seed) << 32 | echo_random(&seed) :
				   RAM_BASE + (echo_random(&seed) & 0x3fff0);

		if (dice >> 5 & 1)
			space_io_write(space, base + offset, size, dice >> 6 & 3 ? written : dice >> 10 & 15);
		else
			space_io_read(space, base + offset, size, &value);
	}
}

static void hammer(struct address_space *space, uint64_t base, uint64_t length, uint32_t seed)
{
	for (unsigned int i = 0; i < 600; i++) {
		hammer_without_loop(space, base, length, seed + i * 7919, 100);
		event_loop_poll(kvm->loop, 0);
	}
}

/* The device, whatever came before, is as good as new after a reset. */
static void heal(void)
{
	memset(guest.host[0], 0, RAM_PART);
	devices_reset(kvm);
	config_put(PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
}

START_TEST(modern_accesses_at_every_offset_and_size_are_harmless)
{
	drive(8);
	hammer(&kvm->memory, bar_address(4), 0x4000, (uint32_t)_i);
	heal();
	drive(8);
	exchange(0, "healed");
}
END_TEST

/* Two vCPUs write all over the registers while the loop that owns the device runs: ThreadSanitizer watches. */
static atomic_uint vcpus_running;

static void *vcpu(void *opaque)
{
	const uint32_t *seed = opaque;

	if (ports)
		hammer_without_loop(&kvm->ports, ports, 0x200, *seed, 3000);
	else
		hammer_without_loop(&kvm->memory, bar_address(4), 0x4000, *seed, 3000);
	atomic_fetch_sub(&vcpus_running, 1);
	return NULL;
}

static void run_vcpus(uint32_t first_seed)
{
	uint32_t seeds[2] = { first_seed, first_seed + 100 };
	pthread_t threads[2];

	atomic_store(&vcpus_running, 2);
	for (unsigned int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, vcpu, &seeds[i]), 0);
	while (atomic_load(&vcpus_running))
		event_loop_poll(kvm->loop, 1);
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

START_TEST(vcpus_may_access_a_modern_device_at_once)
{
	drive(8);
	run_vcpus((uint32_t)_i);
	heal();
	drive(8);
	exchange(0, "healed");
}
END_TEST

/* ---- legacy ---- */

static void legacy_exchange(unsigned int queue, const char *text)
{
	echo_offer(&rings[queue], text);
	out(ports + VIRTIO_PCI_QUEUE_NOTIFY, 2, queue);
	board_poll(kvm, 2);
	echo_check(&rings[queue], text);
}

static void legacy_drive(void)
{
	out(ports + VIRTIO_PCI_STATUS, 1, 0);
	out(ports + VIRTIO_PCI_STATUS, 1, ACK | DRIVER);
	out(ports + VIRTIO_PCI_GUEST_FEATURES, 4, in(ports + VIRTIO_PCI_HOST_FEATURES, 4) & BIT(ECHO_FEATURE));
	for (unsigned int i = 0; i < ECHO_QUEUES; i++) {
		out(ports + VIRTIO_PCI_QUEUE_SEL, 2, i);
		ck_assert_uint_eq(in(ports + VIRTIO_PCI_QUEUE_NUM, 2), ECHO_QUEUE_SIZE);
		ring_init(&rings[i], &guest, ECHO_QUEUE_SIZE, ECHO_RING(i));
		out(ports + VIRTIO_PCI_QUEUE_PFN, 4, (uint32_t)(ECHO_RING(i) >> 12));
		ck_assert_uint_eq(in(ports + VIRTIO_PCI_QUEUE_PFN, 4), ECHO_RING(i) >> 12);
	}
	out(ports + VIRTIO_PCI_STATUS, 1, ACK | DRIVER | DRIVER_OK);
	ck_assert_uint_eq(in(ports + VIRTIO_PCI_STATUS, 1), ACK | DRIVER | DRIVER_OK);
}

START_TEST(a_legacy_function_says_what_it_is)
{
	ck_assert_uint_eq(config_get(PCI_VENDOR_ID, 4), 0x10051af4);
	ck_assert_uint_eq(config_get(PCI_REVISION_ID, 1), 0);
	ck_assert_uint_eq(config_get(PCI_SUBSYSTEM_ID, 2), VIRTIO_ID_RNG);
	ck_assert_uint_eq(echo.device.features_offered >> 32, 0);
}
END_TEST

START_TEST(a_legacy_driver_is_served)
{
	legacy_drive();
	legacy_exchange(0, "first");
	legacy_exchange(1, "second");
	ck_assert_uint_eq(board_interrupts(kvm, gsi()), 1);
	ck_assert_uint_eq(in(ports + VIRTIO_PCI_ISR, 1), 1);
	ck_assert_uint_eq(in(ports + VIRTIO_PCI_ISR, 1), 0);
}
END_TEST

START_TEST(legacy_config_moves_when_msix_is_on)
{
	ck_assert_uint_eq(in(ports + 20U, 1), 0xa0);
	ck_assert_uint_eq(in(ports + 24U, 4), 0xa7a6a5a4);
	msix_enable();
	ck_assert_uint_eq(in(ports + 24U, 1), 0xa0);
	ck_assert_uint_eq(in(ports + VIRTIO_MSI_CONFIG_VECTOR, 2), NO_VECTOR);
	out(ports + VIRTIO_MSI_CONFIG_VECTOR, 2, 1);
	ck_assert_uint_eq(in(ports + VIRTIO_MSI_CONFIG_VECTOR, 2), 1);
	out(ports + VIRTIO_MSI_QUEUE_VECTOR, 2, ECHO_QUEUES + 1);
	ck_assert_uint_eq(in(ports + VIRTIO_MSI_QUEUE_VECTOR, 2), NO_VECTOR);
}
END_TEST

START_TEST(what_is_saved_and_loaded_goes_on_with_a_legacy_driver)
{
	legacy_drive();
	legacy_exchange(0, "before");
	save_load_and_go_on(legacy_exchange);
}
END_TEST

START_TEST(vcpus_may_access_a_legacy_device_at_once)
{
	legacy_drive();
	run_vcpus((uint32_t)_i);
	heal();
	legacy_drive();
	legacy_exchange(0, "healed");
}
END_TEST

START_TEST(legacy_accesses_at_every_offset_and_size_are_harmless)
{
	legacy_drive();
	hammer(&kvm->ports, ports, 0x200, (uint32_t)_i);
	heal();
	legacy_drive();
	legacy_exchange(0, "healed");
}
END_TEST

static void add_modern(TCase *tcase)
{
	tcase_add_test(tcase, a_modern_function_says_what_it_is);
	tcase_add_test(tcase, a_modern_driver_is_served);
	tcase_add_test(tcase, a_queue_is_reset_by_its_register);
	tcase_add_test(tcase, a_queue_is_not_reset_unless_that_was_negotiated);
	tcase_add_test(tcase, a_notification_may_have_data);
	tcase_add_test(tcase, a_smaller_queue_size_is_honoured);
	tcase_add_test(tcase, offered_features_are_shown_by_halves);
	tcase_add_loop_test(tcase, features_that_were_not_offered_are_refused, 0, 2);
	tcase_add_loop_test(tcase, a_queue_that_does_not_exist_has_size_0, 0, 4);
	tcase_add_test(tcase, a_queue_rewritten_after_driver_ok_stays);
	tcase_add_test(tcase, a_vector_past_the_table_reads_back_as_none);
	tcase_add_test(tcase, the_pci_cfg_window_reaches_the_registers);
	tcase_add_test(tcase, a_pci_cfg_window_to_elsewhere_is_harmless);
	tcase_add_test(tcase, without_msix_the_isr_says_what_happened_and_reading_drops_the_line);
	tcase_add_test(tcase, with_msix_each_queue_has_its_vector);
	tcase_add_test(tcase, a_queue_without_a_vector_is_silent);
	tcase_add_test(tcase, a_drivers_reset_clears_the_registers_but_not_config_space);
	tcase_add_test(tcase, a_machines_reset_clears_all);
	tcase_add_loop_test(tcase, what_is_saved_and_loaded_goes_on, 0, 2);
	tcase_add_test(tcase, hostile_saved_state_is_harmless);
	tcase_add_loop_test(tcase, modern_accesses_at_every_offset_and_size_are_harmless, 0, 4);
	tcase_add_loop_test(tcase, vcpus_may_access_a_modern_device_at_once, 0, 4);
}

static void add_legacy(TCase *tcase)
{
	tcase_add_test(tcase, a_legacy_function_says_what_it_is);
	tcase_add_test(tcase, a_legacy_driver_is_served);
	tcase_add_test(tcase, legacy_config_moves_when_msix_is_on);
	tcase_add_test(tcase, what_is_saved_and_loaded_goes_on_with_a_legacy_driver);
	tcase_add_loop_test(tcase, legacy_accesses_at_every_offset_and_size_are_harmless, 0, 4);
	tcase_add_loop_test(tcase, vcpus_may_access_a_legacy_device_at_once, 0, 4);
}

static void add_tests(Suite *suite)
{
	add_modern(suite_case(suite, "modern", setup, teardown));
	add_legacy(suite_case(suite, "legacy", setup_legacy, teardown));
}
SUITE_MAIN("virtio pci", add_tests)
