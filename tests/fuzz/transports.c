/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The registers of virtio's transports under fuzz: PCI and MMIO, modern and legacy, each before a device that echoes, on one
 * bus. The input is a list of accesses; see enum access.
 */
#include "tests/fuzz/fuzz.h"

#include "tests/unit/board.h"

#include <linux/pci_regs.h>

#include "kvm/pci.h"
#include "tests/unit/echo-device.h"

#define DEVICES		4
#define ACCESSES_MAX	256

/* Anything above is READ or WRITE of the memory that a device has. */
enum access { CONFIG_READ, CONFIG_WRITE, PORT, RING, SAVE, SETTLE, ACCESSES = 16 };

static const char *const names[DEVICES] = { "pci", "pci-legacy", "mmio", "mmio-legacy" };
static struct kvm *kvm;
static struct guest_ram ram;
static struct echo echoes[DEVICES];
static struct state_writer power_on;	/* the whole board's */

static void transports_end(void)
{
	for (unsigned int i = 0; i < DEVICES; i++)
		virtio_device_del(&echoes[i].device);
	state_writer_free(&power_on);
	guest_ram_remove(&ram);
	board_destroy(kvm);
}

static void transports_begin(const struct fuzz_target *target)
{
	(void)target;
	kvm = board_create();
	board_add(kvm, "pci_init");
	guest_ram_add(&ram, &kvm->memory);
	for (unsigned int i = 0; i < DEVICES; i++) {
		pthread_mutex_init(&echoes[i].lock, NULL);
		echoes[i].device.features_offered = BIT(ECHO_FEATURE);
		echoes[i].device.transport_name = names[i];
		FUZZ_CHECK(!virtio_device_add(kvm, &echoes[i].device, &echo_ops, "virtio-echo%u", i));
	}
	board_listen(kvm);
	devices_save(kvm, &power_on);
	FUZZ_CHECK(!power_on.error);
	atexit(transports_end);
}

/* Where the memory or the ports of a device lie now; 0: nowhere. */
static uint64_t bar_address(unsigned int device, unsigned int bar)
{
	struct pci_bus *bus = pci_bus(kvm);
	unsigned int devfn = (device + 1) << 3;
	uint32_t low = pci_config_read(bus, 0, devfn, PCI_BASE_ADDRESS_0 + 4 * bar, 4);
	uint64_t address = low & (low & PCI_BASE_ADDRESS_SPACE_IO ? ~3ULL : ~15ULL);

	if (!(low & PCI_BASE_ADDRESS_SPACE_IO) && (low & PCI_BASE_ADDRESS_MEM_TYPE_64) && bar < 5)
		address |= (uint64_t)pci_config_read(bus, 0, devfn, PCI_BASE_ADDRESS_0 + 4 * bar + 4, 4) << 32;
	return address;
}

static uint64_t slot_address(unsigned int index)
{
	const struct platform_device *slot = platform_devices(kvm);

	for (; slot && index; index--)
		slot = slot->next;
	return slot ? slot->base : 0;
}

static void access_space(struct address_space *space, uint64_t address, struct fuzz_input *input)
{
	uint8_t how = fuzz_u8(input);
	unsigned int size = 1U << how % 4;
	uint64_t value;

	if (how & 0x80)
		space_io_read(space, address, size, &value);
	else
		space_io_write(space, address, size, fuzz_number(input, size));
}

static void access_config(struct fuzz_input *input, bool write)
{
	unsigned int devfn = fuzz_u8(input) % 4U << 3, offset = fuzz_u16(input) % 4096, size = 1U << fuzz_u8(input) % 3;

	if (offset & 0x800)
		offset %= 256;
	if (write)
		pci_config_write(pci_bus(kvm), 0, devfn, offset, fuzz_u32(input), size);
	else
		(void)pci_config_read(pci_bus(kvm), 0, devfn, offset, size);
}

static void access_memory(struct fuzz_input *input)
{
	uint8_t where = fuzz_u8(input);
	uint64_t offset = fuzz_u16(input);

	if (where & 1)
		access_space(&kvm->memory, slot_address(where / 2 % 2) + offset % 0x400, input);
	else
		access_space(&kvm->memory, bar_address(where / 2 % 2, where / 4 % PCI_BARS) + offset, input);
}

static void load_all(const struct state_writer *saved, struct fuzz_input *input)
{
	struct state_writer changed = { 0 };
	struct state_reader reader;
	unsigned int changes = input ? fuzz_u8(input) % 4U : 0;

	changed.data = malloc(saved->length);
	FUZZ_CHECK(changed.data && !devices_quiesce(kvm));
	memcpy(changed.data, saved->data, saved->length);
	for (unsigned int i = 0; i < changes; i++) {
		uint16_t at = fuzz_u16(input);

		changed.data[at % saved->length] = fuzz_u8(input);
	}
	devices_reset(kvm);
	reader = (struct state_reader){ .data = changed.data, .length = saved->length };
	FUZZ_CHECK(!devices_load(kvm, &reader) || changes);
	devices_resume(kvm);
	free(changed.data);
}

static void save_and_load(struct fuzz_input *input)
{
	struct state_writer writer = { 0 };

	FUZZ_CHECK(!devices_quiesce(kvm));
	devices_save(kvm, &writer);
	devices_resume(kvm);
	FUZZ_CHECK(!writer.error);
	load_all(&writer, input);
	state_writer_free(&writer);
}

static void write_ring(struct fuzz_input *input)
{
	uint64_t at = RAM_BASE + fuzz_u32(input) % (2 * RAM_PART - 8);
	size_t got;
	const uint8_t *bytes = fuzz_bytes(input, 1 + fuzz_u8(input) % 8, &got);

	guest_poke(&ram, at, bytes, got);
}

static void transports_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	struct fuzz_input input = { data, length };

	(void)target;
	load_all(&power_on, NULL);
	for (unsigned int i = 0; i < 2; i++)
		memset(ram.host[i], 0, RAM_PART);
	for (unsigned int i = 0; i < ACCESSES_MAX && input.left; i++) {
		switch ((enum access)(fuzz_u8(&input) % ACCESSES)) {
		case CONFIG_READ: access_config(&input, false); break;
		case CONFIG_WRITE: access_config(&input, true); break;
		case PORT: access_space(&kvm->ports, bar_address(1, 0) + fuzz_u8(&input) % 128, &input); break;
		case RING: write_ring(&input); break;
		case SAVE: save_and_load(&input); break;
		case SETTLE: fuzz_settle(kvm->loop); break;
		default: access_memory(&input); break;
		}
	}
	fuzz_settle(kvm->loop);
}
FUZZ_TARGET(transports, .name = "transports", .begin = transports_begin, .one = transports_one);
