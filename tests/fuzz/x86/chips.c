/* SPDX-License-Identifier: BSD-2-Clause */
/* A PC's devices, and the I/O ports that are looked at when one was loaded. */
#include "tests/fuzz/fuzz.h"

#include "tests/fuzz/chips.h"
#include "tests/unit/board.h"

static void use_ports(struct kvm *kvm, uint16_t port, uint16_t count)
{
	for (uint16_t i = 0; i < count; i++) {
		(void)board_in(kvm, (uint16_t)(port + i));
		board_out(kvm, (uint16_t)(port + i), (uint8_t)(i * 37));
	}
}

static void rtc_use(struct kvm *kvm)
{
	for (unsigned int i = 0; i < 128; i++) {
		board_out(kvm, 0x70, (uint8_t)i);
		(void)board_in(kvm, 0x71);
	}
}

static void i8042_use(struct kvm *kvm)
{
	for (unsigned int i = 0; i < 64; i++)
		(void)board_in(kvm, 0x60);
	use_ports(kvm, 0x60, 5);
}

static void power_use(struct kvm *kvm)
{
	use_ports(kvm, 0x600, 0x20);
}

static void pci_use(struct kvm *kvm)
{
	use_ports(kvm, 0xcf8, 8);
}

static void ports_use(struct kvm *kvm)
{
	use_ports(kvm, 0x92, 1);
	use_ports(kvm, 0x80, 1);
}

const struct fuzz_chip fuzz_chips[] = {
	{ "rtc_init", "rtc", rtc_use }, { "i8042_init", "i8042", i8042_use }, { "ports_init", "ports", ports_use },
	{ "acpi_power_init", "acpi-power", power_use }, { "pci_init", "pci", pci_use }, { "i6300esb_init", "i6300esb", NULL },
};
const size_t fuzz_chip_count = ARRAY_SIZE(fuzz_chips);
