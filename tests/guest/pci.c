/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI configuration space, by mechanism 1 and by ECAM, on the host bridge and a virtio-rng.
 *
 * args: --rng
 */
#include "guest.h"

#define VIRTIO_RNG_ID	0x10441af4u

/* The ECAM window as the ACPI MCFG table says; 0 without one. */
static uint32_t find_ecam(void)
{
	uint32_t rsdp = 0, xsdt, length;

	for (uint32_t at = 0xe0000; at < 0x100000 && !rsdp; at += 16)
		if (peek32(at) == 0x20445352 && peek32(at + 4) == 0x20525450)
			rsdp = at;
	if (!rsdp)
		return 0;
	xsdt = peek32(rsdp + 24);
	length = peek32(xsdt + 4);
	for (uint32_t at = xsdt + 36; at < xsdt + length; at += 8)
		if (peek32(peek32(at)) == 0x4746434d)
			return peek32(peek32(at) + 44);
	return 0;
}

TEST(host_bridge_is_there)
{
	uint32_t id = pci_read(0, 0);

	CHECK(id != 0xffffffff);
	CHECK_EQ(pci_read(0, 8) >> 16, 0x0600);
	CHECK_EQ(pci_read16(0, 0), id & 0xffff);
	CHECK_EQ(pci_read16(0, 2), id >> 16);
	CHECK_EQ(pci_read8(0, 3), id >> 24);
}

TEST(absent_functions_read_as_ones)
{
	CHECK_EQ(pci_read(0xff, 0), 0xffffffff);
	CHECK_EQ(pci_read16(0xff, 0), 0xffff);
	CHECK_EQ(pci_read8(0xff, 0x0e), 0xff);
	pci_write(0xff, 0x10, 0);
	outl(0xcf8, 0x80ff0000);
	CHECK_EQ(inl(0xcfc), 0xffffffff);
}

TEST(data_port_needs_the_enable_bit)
{
	outl(0xcf8, 0);
	CHECK_EQ(inl(0xcfc), 0xffffffff);
	outl(0xcf8, 0x80000000);
	CHECK_EQ(inl(0xcf8), 0x80000000);
}

TEST(bar_sizing_shows_size_and_keeps_type)
{
	unsigned int devfn = pci_find(0x1af4, 0x1044), found = 0;

	if (devfn == PCI_NONE)
		SKIP("no virtio-rng");
	for (unsigned int bar = 0; bar < 6; bar++) {
		unsigned int at = 0x10 + bar * 4;
		uint32_t before = pci_read(devfn, at), mask, type = before & 1 ? 3 : 15;

		pci_write(devfn, at, 0xffffffff);
		mask = pci_read(devfn, at);
		pci_write(devfn, at, before);
		CHECK_EQ(pci_read(devfn, at), before);
		if (!mask)
			continue;
		found++;
		CHECK_EQ(mask & type, before & type);
		/* ~(size - 1): a run of ones down to the size */
		CHECK_EQ((~(mask & ~type) + 1) & ~(mask & ~type), 0);
		if ((before & 7) == 4)
			bar++;
	}
	CHECK(found >= 1);
}

TEST(decode_follows_command)
{
	unsigned int devfn = pci_find(0x1af4, 0x1044), at;
	uint32_t base;

	if (devfn == PCI_NONE)
		SKIP("no virtio-rng");
	at = pci_capability(devfn, 9, 0);
	CHECK(at != 0);
	base = pci_bar(devfn, pci_read8(devfn, at + 4));
	CHECK(base != 0);
	base += pci_read(devfn, at + 8);
	pci_write16(devfn, 4, 0);
	CHECK_EQ(peek32(base), 0xffffffff);
	pci_write16(devfn, 4, 2);
	CHECK(peek32(base) != 0xffffffff);
	pci_write16(devfn, 4, 0);
	CHECK_EQ(peek32(base), 0xffffffff);
}

TEST(read_only_registers_stay)
{
	unsigned int devfn = pci_find(0x1af4, 0x1044);

	if (devfn == PCI_NONE)
		SKIP("no virtio-rng");
	pci_write(devfn, 0, 0);
	CHECK_EQ(pci_read(devfn, 0), VIRTIO_RNG_ID);
	pci_write(devfn, 8, 0);
	CHECK(pci_read(devfn, 8) != 0);
	pci_write8(devfn, 0x34, 0);
	CHECK(pci_read8(devfn, 0x34) != 0);
	pci_write8(devfn, 0x3c, 0x5a);
	CHECK_EQ(pci_read8(devfn, 0x3c), 0x5a);
}

TEST(ecam_shows_the_same)
{
	uint32_t ecam = find_ecam();

	if (!ecam)
		SKIP("no MCFG table");
	for (unsigned int devfn = 0; devfn < 64; devfn++)
		for (unsigned int at = 0; at < 0x40; at += 4)
			CHECK_EQ(peek32(ecam + (devfn << 12) + at), pci_read(devfn, at));
	CHECK_EQ(peek16(ecam + 2), pci_read16(0, 2));
	CHECK_EQ(peek8(ecam + 0x0b), pci_read8(0, 0x0b));
	CHECK_EQ(peek32(ecam + 0x100), 0);
}

TEST(any_access_is_harmless)
{
	for (unsigned int at = 0; at < 256; at++) {
		outl(0xcf8, 0x80000000 | at);
		inb((uint16_t)(0xcf8 + at % 8));
		inw((uint16_t)(0xcf8 + at % 7));
		inl((uint16_t)(0xcf8 + at % 5));
		outw(0xcfe, (uint16_t)(at * 0x1111));
	}
	CHECK_EQ(pci_read(0, 8) >> 16, 0x0600);
}

TESTS(RUN(host_bridge_is_there), RUN(absent_functions_read_as_ones), RUN(data_port_needs_the_enable_bit),
      RUN(bar_sizing_shows_size_and_keeps_type), RUN(decode_follows_command), RUN(read_only_registers_stay),
      RUN(ecam_shows_the_same), RUN(any_access_is_harmless));
