/* SPDX-License-Identifier: BSD-2-Clause */
/* hw/pci-port.c: root ports, what is behind them, and a guest that takes devices out, or won't, or does all at once. */
#include "tests/unit/pci-function.h"

#include "kvm/pci-port.h"

#define PORTS	2

static struct pci_port *port;
static struct pci_device *bridge;
static unsigned int express, gone, off, refused;

static void client_gone(void *opaque)
{
	(void)opaque;
	gone++;
}

static void client_off(void *opaque)
{
	(void)opaque;
	off++;
}

static void client_refused(void *opaque)
{
	(void)opaque;
	refused++;
}

static const struct pci_port_client client = { .gone = client_gone, .off = client_off, .refused = client_refused };

/* ---- registers ---- */

static uint32_t bridge_get(unsigned int offset, unsigned int size)
{
	uint32_t value = pci_config_read(bus, 0, bridge->devfn, offset, size);

	return size == 4 ? value : value & ((1U << 8 * size) - 1);
}

static void bridge_set(unsigned int offset, unsigned int size, uint32_t value)
{
	pci_config_write(bus, 0, bridge->devfn, offset, value, size);
}

static unsigned int status(void)
{
	return bridge_get(express + PCI_EXP_SLTSTA, 2);
}

static void control(unsigned int value)
{
	bridge_set(express + PCI_EXP_SLTCTL, 2, value);
}

static void clear(void)
{
	bridge_set(express + PCI_EXP_SLTSTA, 2, 0xffff);
}

static bool link_is_up(void)
{
	return bridge_get(express + PCI_EXP_LNKSTA, 2) & PCI_EXP_LNKSTA_DLLLA;
}

static uint32_t behind_get(unsigned int number, unsigned int offset)
{
	return pci_config_read(bus, number, 0, offset, 4);
}

/* What the loop has to do about it is done. */
static void turn(void)
{
	event_loop_poll(kvm->loop, 0);
}

/* ---- a device that comes and goes ---- */

static struct function *behind;

static void plug(void)
{
	behind = function_new(0x4444);
	behind->pci.bridge = bridge;
	ck_assert_int_eq(pci_device_add(bus, &behind->pci, -1, VECTORS, MSIX_BAR), 0);
}

static void unplug(void)
{
	function_del(behind);
	behind = NULL;
}

static void setup_ports(void)
{
	log_set_sink(board_hush);
	kvm = board_create();
	ck_assert_int_eq(config_set(kvm->config, "root-ports", "2"), 0);
	board_add(kvm, "pci_init");
	bus = pci_bus(kvm);
	layout = arch_platform(kvm);
	board_add(kvm, "pci_ports_init");
	ck_assert_uint_eq(pci_ports_count(kvm), PORTS);
	port = pci_port(kvm, 0);
	bridge = pci_port_bridge(port);
	pci_port_set_client(port, &client, NULL);
	for (express = bridge_get(PCI_CAPABILITY_LIST, 1); bridge_get(express, 1) != PCI_CAP_ID_EXP; )
		express = bridge_get(express + 1, 1);
	gone = off = refused = 0;
	behind = NULL;
	/* the guest runs */
	kvm->started_ns = 1;
}

static void teardown_ports(void)
{
	if (behind)
		unplug();
	board_destroy(kvm);
	log_set_sink(NULL);
}

/* A kernel that works the slot: its events are on, and its power. */
#define WORKING	(PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_PDCE | PCI_EXP_SLTCTL_CCIE | PCI_EXP_SLTCTL_HPIE | \
		 PCI_EXP_SLTCTL_DLLSCE | PCI_EXP_SLTCTL_PWR_IND_ON)

static void setup_plugged(void)
{
	setup_ports();
	plug();
	control(WORKING);
	clear();
}

/* ---- registers ---- */

START_TEST(ports_are_on_the_last_slots_and_say_what_their_slots_have)
{
	uint32_t slot = bridge_get(express + PCI_EXP_SLTCAP, 4), link = bridge_get(express + PCI_EXP_LNKCAP, 4);

	ck_assert_uint_eq(bridge->devfn, 31 << 3);
	ck_assert_uint_eq(pci_port_bridge(pci_port(kvm, 1))->devfn, 30 << 3);
	ck_assert_uint_eq(bridge_get(PCI_CLASS_DEVICE, 2), 0x0604);
	ck_assert_uint_eq(bridge_get(PCI_HEADER_TYPE, 1), 1);
	ck_assert_uint_eq(bridge_get(PCI_SECONDARY_BUS, 1), 1);
	ck_assert_uint_eq(bridge_get(express + PCI_EXP_FLAGS, 2), 2 | PCI_EXP_TYPE_ROOT_PORT << 4 | PCI_EXP_FLAGS_SLOT);
	ck_assert_uint_eq(slot, 1 << 19 | PCI_EXP_SLTCAP_ABP | PCI_EXP_SLTCAP_PCP | PCI_EXP_SLTCAP_AIP | PCI_EXP_SLTCAP_PIP |
			  PCI_EXP_SLTCAP_HPS | PCI_EXP_SLTCAP_HPC);
	ck_assert(link & PCI_EXP_LNKCAP_DLLLARC);
	ck_assert_uint_eq(status(), 0);
	ck_assert_uint_eq(bridge_get(express + PCI_EXP_SLTCTL, 2), PCI_EXP_SLTCTL_ATTN_IND_OFF | PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF);
	/* windows that are shut, and no I/O */
	ck_assert_uint_gt(bridge_get(PCI_MEMORY_BASE, 2), bridge_get(PCI_MEMORY_LIMIT, 2));
	bridge_set(PCI_IO_BASE, 2, 0xffff);
	ck_assert_uint_eq(bridge_get(PCI_IO_BASE, 2), 0);
	bridge_set(PCI_PREF_MEMORY_BASE, 4, 0);
	ck_assert_uint_eq(bridge_get(PCI_PREF_MEMORY_BASE, 4), 0x00010001);
}
END_TEST

START_TEST(each_write_of_slot_control_is_a_command_that_completes)
{
	control(PCI_EXP_SLTCTL_PWR_OFF);
	ck_assert_uint_eq(status(), PCI_EXP_SLTSTA_CC);
	bridge_set(express + PCI_EXP_SLTSTA, 2, PCI_EXP_SLTSTA_PDC);
	ck_assert_uint_eq(status(), PCI_EXP_SLTSTA_CC);
	clear();
	ck_assert_uint_eq(status(), 0);
	/* by bytes, and as half of a word that clears too */
	bridge_set(express + PCI_EXP_SLTCTL + 1, 1, 4);
	ck_assert_uint_eq(status(), PCI_EXP_SLTSTA_CC);
	bridge_set(express + PCI_EXP_SLTSTA, 1, 0xff);
	ck_assert_uint_eq(status(), 0);
	bridge_set(express + PCI_EXP_SLTCTL, 4, 0xffffffff);
	ck_assert_uint_eq(status(), PCI_EXP_SLTSTA_CC);
	ck_assert_uint_eq(bridge_get(express + PCI_EXP_SLTCTL, 2), 0x17ff);
}
END_TEST

START_TEST(an_interrupt_is_an_event_that_is_enabled)
{
	uint32_t gsi = layout->pci_intx_gsi[31 % 4];

	board_interrupts(kvm, gsi);
	control(PCI_EXP_SLTCTL_CCIE);
	ck_assert_uint_eq(board_interrupts(kvm, gsi), 0);
	control(PCI_EXP_SLTCTL_CCIE | PCI_EXP_SLTCTL_HPIE);
	ck_assert_uint_eq(board_interrupts(kvm, gsi), 1);
	ck_assert(bridge_get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	clear();
	ck_assert(!(bridge_get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT));
	plug();
	ck_assert_uint_eq(status(), PCI_EXP_SLTSTA_PDS | PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC);
	ck_assert_uint_eq(board_interrupts(kvm, gsi), 0);
	control(WORKING);
	ck_assert_uint_eq(board_interrupts(kvm, gsi), 1);
}
END_TEST

START_TEST(what_comes_into_a_slot_is_seen_when_its_power_is_on)
{
	plug();
	/* the button is pressed too, or nobody would hear of it */
	ck_assert_uint_eq(status(), PCI_EXP_SLTSTA_PDS | PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_ABP);
	ck_assert(!link_is_up());
	ck_assert_uint_eq(behind_get(1, 0), UINT32_MAX);
	clear();
	control(WORKING);
	ck_assert_uint_eq(status(), PCI_EXP_SLTSTA_PDS | PCI_EXP_SLTSTA_DLLSC | PCI_EXP_SLTSTA_CC);
	ck_assert(link_is_up());
	ck_assert_uint_eq(behind_get(1, 0), 0x44441234);
	/* it is the only one there, and on no other bus */
	ck_assert_uint_eq(pci_config_read(bus, 1, 8, 0, 4), UINT32_MAX);
	ck_assert_uint_eq(pci_config_read(bus, 1, 1, 0, 4), UINT32_MAX);
	ck_assert_uint_eq(behind_get(2, 0), UINT32_MAX);
	ck_assert_uint_eq(behind_get(255, 0), UINT32_MAX);
	/* whatever number the guest gives that bus: its messages come from there too */
	bridge_set(PCI_SECONDARY_BUS, 1, 0x77);
	ck_assert_uint_eq(behind_get(1, 0), UINT32_MAX);
	ck_assert_uint_eq(behind_get(0x77, 0), 0x44441234);
	ck_assert_uint_eq(pci_requester_id(&behind->pci), 0x7700);
	bridge_set(PCI_SECONDARY_BUS, 1, 0);
	ck_assert_uint_eq(behind_get(0, 0), pci_config_read(bus, 0, 0, 0, 4));
}
END_TEST

START_TEST(a_slot_holds_one_device)
{
	struct function *second = function_new(0x5555);

	plug();
	second->pci.bridge = bridge;
	ck_assert_int_eq(pci_device_add(bus, &second->pci, -1, VECTORS, MSIX_BAR), -ENOSPC);
	free(second);
	ck_assert(!pci_port_is_empty(port));
	unplug();
	ck_assert(pci_port_is_empty(port));
}
END_TEST

START_TEST(a_bridge_passes_on_what_lies_in_its_windows)
{
	uint32_t at = (uint32_t)layout->pci_mmio32_base + 0x4000000;

	pci_config_write(bus, 1, 0, PCI_BASE_ADDRESS_1, at, 4);
	pci_config_write(bus, 1, 0, PCI_BASE_ADDRESS_0, 0x8000, 4);
	pci_config_write(bus, 1, 0, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO, 2);
	ck_assert(!is_mapped(&behind->mem));
	bridge_set(PCI_MEMORY_BASE, 4, (at & 0xfff00000) | at >> 16);
	ck_assert(!is_mapped(&behind->mem));
	bridge_set(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	ck_assert(is_mapped(&behind->mem));
	ck_assert_uint_eq(memory_in(at, 2), 0x4444);
	ck_assert(!is_mapped(&behind->io));
	bridge_set(PCI_MEMORY_BASE, 4, 0x0000fff0);
	ck_assert(!is_mapped(&behind->mem));
	/* the other window will do, above 4 GiB too */
	bridge_set(PCI_PREF_MEMORY_BASE, 4, (at & 0xfff00000) | at >> 16);
	ck_assert(is_mapped(&behind->mem));
	bridge_set(PCI_PREF_BASE_UPPER32, 4, 1);
	ck_assert(!is_mapped(&behind->mem));
	bridge_set(PCI_PREF_BASE_UPPER32, 4, 0);
	ck_assert(is_mapped(&behind->mem));
	control(WORKING | PCI_EXP_SLTCTL_PCC);
	ck_assert(!is_mapped(&behind->mem));
}
END_TEST

/* ---- out again ---- */

START_TEST(a_guest_that_is_asked_lets_go)
{
	ck_assert_int_eq(pci_port_ask(port), 0);
	ck_assert_uint_eq(status(), PCI_EXP_SLTSTA_PDS | PCI_EXP_SLTSTA_ABP);
	ck_assert_int_eq(pci_port_ask(port), -EALREADY);
	clear();
	control(WORKING ^ (PCI_EXP_SLTCTL_PWR_IND_ON ^ PCI_EXP_SLTCTL_PWR_IND_BLINK));
	turn();
	ck_assert_uint_eq(gone + off + refused, 0);
	control(WORKING | PCI_EXP_SLTCTL_PCC);
	ck_assert_uint_eq(behind_get(1, 0), UINT32_MAX);
	ck_assert(!(status() & PCI_EXP_SLTSTA_PDS));
	/* twice is once */
	control(WORKING);
	control(WORKING | PCI_EXP_SLTCTL_PCC);
	ck_assert_uint_eq(behind_get(1, 0), UINT32_MAX);
	turn();
	ck_assert_uint_eq(gone, 1);
	ck_assert_uint_eq(off + refused, 0);
	unplug();
	turn();
	ck_assert_uint_eq(gone, 1);
}
END_TEST

START_TEST(a_light_that_stops_blinking_is_a_no)
{
	ck_assert_int_eq(pci_port_ask(port), 0);
	/* as it was: nothing is said by that */
	control(WORKING);
	turn();
	ck_assert_uint_eq(refused, 0);
	control(WORKING ^ (PCI_EXP_SLTCTL_PWR_IND_ON ^ PCI_EXP_SLTCTL_PWR_IND_BLINK));
	control(WORKING);
	turn();
	ck_assert_uint_eq(refused, 1);
	ck_assert_uint_eq(behind_get(1, 0), 0x44441234);
	ck_assert_int_eq(pci_port_ask(port), 0);
	pci_port_ask_no_more(port);
	ck_assert_int_eq(pci_port_ask(port), 0);
}
END_TEST

START_TEST(power_that_nobody_asked_for_to_go_resets_what_is_there)
{
	pci_config_write(bus, 1, 0, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	control(WORKING | PCI_EXP_SLTCTL_PCC);
	/* back at once: not before it has been reset */
	control(WORKING);
	ck_assert(!link_is_up());
	ck_assert_uint_eq(behind_get(1, 0), UINT32_MAX);
	turn();
	ck_assert_uint_eq(off, 1);
	clear();
	pci_port_settled(port);
	ck_assert(link_is_up());
	ck_assert_uint_eq(status(), PCI_EXP_SLTSTA_PDS | PCI_EXP_SLTSTA_DLLSC);
	ck_assert_uint_eq(behind_get(1, PCI_COMMAND) & 0xffff, 0);
	/* and who has it off lets it be taken */
	control(WORKING | PCI_EXP_SLTCTL_PCC);
	turn();
	pci_port_settled(port);
	ck_assert_int_eq(pci_port_ask(port), 0);
	turn();
	ck_assert_uint_eq(off, 2);
	ck_assert_uint_eq(gone, 1);
}
END_TEST

START_TEST(what_is_torn_out_is_an_event)
{
	unplug();
	ck_assert_uint_eq(status(), PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC);
	ck_assert(!link_is_up());
	ck_assert_uint_eq(behind_get(1, 0), UINT32_MAX);
}
END_TEST

/* ---- reset, save and load ---- */

static void bus_do_reset(void)
{
	struct device *device = device_find(kvm, "pci");

	device->ops->reset(device);
}

START_TEST(a_reset_powers_what_is_there)
{
	control(WORKING | PCI_EXP_SLTCTL_PCC);
	turn();
	pci_port_settled(port);
	bridge_set(PCI_SECONDARY_BUS, 1, 9);
	bus_do_reset();
	ck_assert(link_is_up());
	ck_assert_uint_eq(status(), PCI_EXP_SLTSTA_PDS);
	ck_assert_uint_eq(bridge_get(express + PCI_EXP_SLTCTL, 2), PCI_EXP_SLTCTL_ATTN_IND_OFF | PCI_EXP_SLTCTL_PWR_IND_ON);
	ck_assert_uint_eq(behind_get(1, 0), 0x44441234);
}
END_TEST

START_TEST(a_reset_lets_go_of_what_the_guest_was_asked_for)
{
	ck_assert_int_eq(pci_port_ask(port), 0);
	bus_do_reset();
	ck_assert_uint_eq(behind_get(1, 0), UINT32_MAX);
	ck_assert_uint_eq(status(), 0);
	/* a kernel that comes up meanwhile does not get it either */
	control(WORKING);
	ck_assert_uint_eq(behind_get(1, 0), UINT32_MAX);
	turn();
	ck_assert_uint_eq(gone, 1);
}
END_TEST

START_TEST(ports_and_what_is_behind_them_are_saved)
{
	uint32_t at = (uint32_t)layout->pci_mmio32_base + 0x4000000;

	bridge_set(PCI_MEMORY_BASE, 4, (at & 0xfff00000) | at >> 16);
	bridge_set(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	bridge_set(PCI_SECONDARY_BUS, 1, 5);
	pci_config_write(bus, 5, 0, PCI_BASE_ADDRESS_1, at, 4);
	pci_config_write(bus, 5, 0, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	board_save_load(kvm, "pci");
	ck_assert_uint_eq(memory_in(at, 2), 0x4444);
	ck_assert_uint_eq(behind_get(5, 0), 0x44441234);
	/* an event that was not taken yet, and its interrupt */
	unplug();
	board_save_load(kvm, "pci");
	ck_assert_uint_eq(status(), PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC);
	ck_assert(bridge_get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
}
END_TEST

static void poke(void)
{
	control(WORKING);
	clear();
	behind_get(bridge_get(PCI_SECONDARY_BUS, 1), 0);
	turn();
}

START_TEST(hostile_saved_state_is_refused_or_harmless)
{
	board_load_hostile(kvm, "pci", poke);
}
END_TEST

/* Any write, of any size, to the port and to what is behind it, while it comes and goes and is asked for. */
START_TEST(a_guest_that_writes_anything_breaks_nothing)
{
	uint32_t seed = 99;

	for (unsigned int i = 0; i < 60000; i++) {
		unsigned int size = 1U << (seed >> 30) % 3, offset = (seed >> 8) % 256;

		seed = seed * 1664525 + 1013904223;
		pci_config_write(bus, seed & 0x40000 ? bridge_get(PCI_SECONDARY_BUS, 1) : 0, seed & 0x40000 ? 0 : bridge->devfn,
				 seed & 0x100 ? express + PCI_EXP_SLTCTL + offset % 4 : offset, seed, size);
		if (i % 7 == 0)
			turn();
		if (i % 64 == 0 && pci_port_ask(port) < 0)
			pci_port_ask_no_more(port);
		if (off) {
			pci_port_settled(port);
			off = 0;
		}
		if (i % 1024 == 0)
			bus_do_reset();
		if (gone || i % 512 == 0) {
			unplug();
			plug();
			gone = 0;
		}
	}
	bus_do_reset();
	turn();
	ck_assert(gone || behind_get(1, 0) == 0x44441234);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *empty = suite_case(suite, "slots", setup_ports, teardown_ports);
	TCase *plugged = suite_case(suite, "devices", setup_plugged, teardown_ports);

	tcase_add_test(empty, ports_are_on_the_last_slots_and_say_what_their_slots_have);
	tcase_add_test(empty, each_write_of_slot_control_is_a_command_that_completes);
	tcase_add_test(empty, an_interrupt_is_an_event_that_is_enabled);
	tcase_add_test(empty, what_comes_into_a_slot_is_seen_when_its_power_is_on);
	tcase_add_test(empty, a_slot_holds_one_device);
	tcase_add_test(plugged, a_bridge_passes_on_what_lies_in_its_windows);
	tcase_add_test(plugged, a_guest_that_is_asked_lets_go);
	tcase_add_test(plugged, a_light_that_stops_blinking_is_a_no);
	tcase_add_test(plugged, power_that_nobody_asked_for_to_go_resets_what_is_there);
	tcase_add_test(plugged, what_is_torn_out_is_an_event);
	tcase_add_test(plugged, a_reset_powers_what_is_there);
	tcase_add_test(plugged, a_reset_lets_go_of_what_the_guest_was_asked_for);
	tcase_add_test(plugged, ports_and_what_is_behind_them_are_saved);
	tcase_add_test(plugged, hostile_saved_state_is_refused_or_harmless);
	tcase_add_test(plugged, a_guest_that_writes_anything_breaks_nothing);
}
SUITE_MAIN("pci-port", add_tests)
