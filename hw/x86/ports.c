/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PC's odd ports: 0x80 (diagnostics, which kernels write to for the delay), 0x92 (A20 and fast reset) and
 * 0x61 (for a KVM whose PIT doesn't answer there).
 *
 * A20 is never masked; its bit only remembers. No state but two bytes, guarded by being atomic.
 */
#include <stdatomic.h>

#include "kvm/device.h"
#include "kvm/kvm.h"
#include "kvm/rcu.h"

#define PORT_SPEAKER		0x61
#define PORT_DIAGNOSTICS	0x80
#define PORT_A20		0x92

#define SPEAKER_WRITABLE	0x0f
#define SPEAKER_REFRESH		0x10	/* toggles every 15 µs: old delay loops count it */
#define A20_RESET		0x01
#define A20_ENABLED		0x02

struct ports {
	struct device device;
	struct region speaker_region, diagnostics_region, a20_region;
	struct coalesced diagnostics_writes;
	_Atomic uint8_t speaker, a20;
};

static const char ports_key;

static uint64_t speaker_read(struct ports *ports, uint64_t offset, unsigned int size)
{
	(void)offset;
	(void)size;
	return atomic_load(&ports->speaker) | (event_now_ns() / 15085 & 1 ? SPEAKER_REFRESH : 0);
}

static void speaker_write(struct ports *ports, uint64_t offset, uint64_t value, unsigned int size)
{
	(void)offset;
	(void)size;
	atomic_store(&ports->speaker, (uint8_t)value & SPEAKER_WRITABLE);
}

static uint64_t diagnostics_read(struct ports *ports, uint64_t offset, unsigned int size)
{
	(void)ports;
	(void)offset;
	(void)size;
	return 0xff;
}

static void diagnostics_write(struct ports *ports, uint64_t offset, uint64_t value, unsigned int size)
{
	(void)ports;
	(void)offset;
	(void)value;
	(void)size;
}

static uint64_t a20_read(struct ports *ports, uint64_t offset, unsigned int size)
{
	(void)offset;
	(void)size;
	return atomic_load(&ports->a20);
}

static void a20_write(struct ports *ports, uint64_t offset, uint64_t value, unsigned int size)
{
	uint8_t before = atomic_exchange(&ports->a20, (uint8_t)value & (A20_RESET | A20_ENABLED));

	(void)offset;
	(void)size;
	if ((value & A20_RESET) && !(before & A20_RESET))
		kvm_reset_request(ports->device.kvm);
}

IO_OPS(speaker_ops, struct ports, speaker_read, speaker_write, 1, 1);
IO_OPS(diagnostics_ops, struct ports, diagnostics_read, diagnostics_write, 1, 1);
IO_OPS(a20_ops, struct ports, a20_read, a20_write, 1, 1);

static void ports_reset(struct device *device)
{
	struct ports *ports = container_of(device, struct ports, device);

	atomic_store(&ports->speaker, 0);
	atomic_store(&ports->a20, A20_ENABLED);
}

struct ports_saved {
	uint8_t speaker, a20;
};

static const struct state_field ports_fields[] = {
	STATE_U8_MAX(struct ports_saved, speaker, SPEAKER_WRITABLE),
	STATE_U8_MAX(struct ports_saved, a20, A20_RESET | A20_ENABLED),
};
STATE_TABLE(ports_state, "ports", 1, ports_fields);

static void ports_save(struct device *device, struct state_writer *writer)
{
	struct ports *ports = container_of(device, struct ports, device);
	struct ports_saved saved = { atomic_load(&ports->speaker), atomic_load(&ports->a20) };

	state_save(writer, &ports_state, &saved);
}

static int ports_load(struct device *device, struct state_reader *reader)
{
	struct ports *ports = container_of(device, struct ports, device);
	struct ports_saved saved = { 0 };
	int error = state_load(reader, &ports_state, &saved);

	if (error)
		return error;
	atomic_store(&ports->speaker, saved.speaker);
	atomic_store(&ports->a20, saved.a20);
	return 0;
}

static const struct device_ops ports_device_ops = {
	.reset	= ports_reset,
	.save	= ports_save,
	.load	= ports_load,
};

static void ports_free(struct ports *ports)
{
	region_del(&ports->speaker_region);
	region_del(&ports->diagnostics_region);
	region_del(&ports->a20_region);
	rcu_synchronize();
	device_del(&ports->device);
	free(ports);
}

static int ports_init(struct kvm *kvm)
{
	struct ports *ports = calloc(1, sizeof(*ports));
	int error;

	if (!ports)
		return -ENOMEM;
	error = device_add(kvm, &ports->device, &ports_device_ops, "ports");
	if (error) {
		free(ports);
		return error;
	}
	ports_reset(&ports->device);
	region_init_io(&ports->speaker_region, "speaker", &speaker_ops, ports, 1);
	region_init_io(&ports->diagnostics_region, "diagnostics", &diagnostics_ops, ports, 1);
	region_init_io(&ports->a20_region, "a20", &a20_ops, ports, 1);
	ports->diagnostics_writes.size = 1;
	error = region_add(&kvm->ports, &ports->speaker_region, PORT_SPEAKER, 1);
	if (!error)
		error = region_add(&kvm->ports, &ports->diagnostics_region, PORT_DIAGNOSTICS, 1);
	/* Nothing reads them: they need not leave the kernel. */
	if (!error)
		error = region_coalesce(&ports->diagnostics_region, &ports->diagnostics_writes);
	if (!error)
		error = region_add(&kvm->ports, &ports->a20_region, PORT_A20, 1);
	if (!error)
		error = kvm_set_state(kvm, &ports_key, ports);
	if (error)
		ports_free(ports);
	return error;
}
dev_init(ports_init);

static void ports_exit(struct kvm *kvm)
{
	struct ports *ports = kvm_get_state(kvm, &ports_key);

	if (kvm_set_state(kvm, &ports_key, NULL) < 0)
		return;
	region_uncoalesce(&ports->diagnostics_region, &ports->diagnostics_writes);
	ports_free(ports);
}
dev_exit(ports_exit);
