/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI fixed hardware: power button, soft-off, reset register, PM timer, general purpose events, SCI.
 *
 * ACPI 6.5, 4.8. The machine is in ACPI mode from the start (SCI_EN reads as 1, there is no SMI). The SCI is
 * a level line that is up while an enabled event is pending. The timer counts on the host's monotonic clock
 * and is worked out when it is read; its carry is an event of its own for the guest that enables it.
 *
 * vCPUs access the registers, the main thread presses the button; `lock` guards them.
 */
#include "kvm/acpi-power.h"

#include <pthread.h>

#include "kvm/device.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/rcu.h"

#define PM1_TIMER		0x0001
#define PM1_BUS_MASTER		0x0010
#define PM1_GLOBAL		0x0020
#define PM1_POWER_BUTTON	0x0100
#define PM1_SLEEP_BUTTON	0x0200
#define PM1_RTC			0x0400
#define PM1_WAKE		0x8000
#define PM1_STATUS_MASK		(PM1_TIMER | PM1_BUS_MASTER | PM1_GLOBAL | PM1_POWER_BUTTON | \
				 PM1_SLEEP_BUTTON | PM1_RTC | PM1_WAKE)
#define PM1_ENABLE_MASK		(PM1_TIMER | PM1_GLOBAL | PM1_POWER_BUTTON | PM1_SLEEP_BUTTON | PM1_RTC)

#define CONTROL_SCI_ENABLE	0x0001
#define CONTROL_BUS_MASTER	0x0002
#define CONTROL_GLOBAL_RELEASE	0x0004
#define CONTROL_SLEEP_TYPE	0x1c00
#define CONTROL_SLEEP_ENABLE	0x2000

#define TIMER_HZ		3579545ULL
#define TIMER_CARRY		BIT(31)		/* the top bit: TMR_STS is set whenever it changes */
#define NS_PER_S		1000000000ULL

struct acpi_power {
	struct device device;
	struct region event_region, control_region, timer_region, gpe_region, reset_region;
	struct irq_line sci;
	struct event_timer carry;
	struct log_limit sleep_limit;

	pthread_mutex_t lock;		/* guards all below */
	uint16_t status, enable;	/* PM1a event block */
	uint16_t control;
	uint16_t gpe_status, gpe_enable;
	uint64_t ticks_offset;		/* the timer's count minus the host clock's */
	uint64_t carry_ticks;		/* the count at which TMR_STS was brought up to date */
	bool quiesced;
};

static const char acpi_power_key;

/* ---- timer and SCI ---- */

static uint64_t acpi_ticks(const struct acpi_power *power)
{
	uint64_t now = event_now_ns();

	return now / NS_PER_S * TIMER_HZ + now % NS_PER_S * TIMER_HZ / NS_PER_S + power->ticks_offset;
}

static void acpi_update_locked(struct acpi_power *power)
{
	uint64_t ticks = acpi_ticks(power), left;

	if ((ticks ^ power->carry_ticks) & ~(TIMER_CARRY - 1))
		power->status |= PM1_TIMER;
	power->carry_ticks = ticks;
	irq_line_set(&power->sci, (power->status & power->enable & PM1_ENABLE_MASK) ||
				  (power->gpe_status & power->gpe_enable));
	/* An armed timer may fire for nothing: cancelling it would wait for a callback that wants the lock. */
	if (!(power->enable & PM1_TIMER) || (power->status & PM1_TIMER) || power->quiesced)
		return;
	left = TIMER_CARRY - (ticks & (TIMER_CARRY - 1));
	event_timer_set(&power->carry, event_now_ns() + left * NS_PER_S / TIMER_HZ + 1000);
}

static void acpi_carry_expired(struct event_timer *timer)
{
	struct acpi_power *power = container_of(timer, struct acpi_power, carry);

	pthread_mutex_lock(&power->lock);
	if (!power->quiesced)
		acpi_update_locked(power);
	pthread_mutex_unlock(&power->lock);
}

static void acpi_power_button(void *opaque)
{
	struct acpi_power *power = opaque;

	pthread_mutex_lock(&power->lock);
	power->status |= PM1_POWER_BUTTON;
	acpi_update_locked(power);
	pthread_mutex_unlock(&power->lock);
}

void acpi_gpe_raise(struct kvm *kvm, unsigned int number)
{
	struct acpi_power *power = kvm_get_state(kvm, &acpi_power_key);

	if (!power || number >= 16)
		return;
	pthread_mutex_lock(&power->lock);
	power->gpe_status |= (uint16_t)(1U << number);
	acpi_update_locked(power);
	pthread_mutex_unlock(&power->lock);
}

/* ---- registers ---- */

/* The bits of a 16-bit register that an access of @size at @offset touches, and where @value has them. */
static uint16_t acpi_lane(uint64_t offset, unsigned int size)
{
	return size >= 2 ? 0xffff : (uint16_t)(0xff << (offset & 1) * 8);
}

static uint16_t acpi_shifted(uint64_t offset, uint64_t value)
{
	return (uint16_t)(value << (offset & 1) * 8);
}

static uint64_t acpi_event_read(struct acpi_power *power, uint64_t offset, unsigned int size)
{
	uint16_t value;

	(void)size;
	pthread_mutex_lock(&power->lock);
	acpi_update_locked(power);
	value = offset < 2 ? power->status : power->enable;
	pthread_mutex_unlock(&power->lock);
	return value >> (offset & 1) * 8;
}

static void acpi_event_write(struct acpi_power *power, uint64_t offset, uint64_t value, unsigned int size)
{
	uint16_t lane = acpi_lane(offset, size), bits = acpi_shifted(offset, value) & lane;

	pthread_mutex_lock(&power->lock);
	acpi_update_locked(power);
	if (offset < 2)
		power->status &= (uint16_t)~bits;
	else
		power->enable = (uint16_t)((power->enable & ~lane) | bits) & PM1_ENABLE_MASK;
	acpi_update_locked(power);
	pthread_mutex_unlock(&power->lock);
}

static uint64_t acpi_control_read(struct acpi_power *power, uint64_t offset, unsigned int size)
{
	uint16_t value;

	(void)size;
	pthread_mutex_lock(&power->lock);
	value = power->control | CONTROL_SCI_ENABLE;
	pthread_mutex_unlock(&power->lock);
	return value >> (offset & 1) * 8;
}

static void acpi_control_write(struct acpi_power *power, uint64_t offset, uint64_t value, unsigned int size)
{
	uint16_t lane = acpi_lane(offset, size), bits = acpi_shifted(offset, value) & lane;
	unsigned int type;

	pthread_mutex_lock(&power->lock);
	power->control = (uint16_t)((power->control & ~lane) | bits) & (CONTROL_BUS_MASTER | CONTROL_SLEEP_TYPE);
	type = (power->control & CONTROL_SLEEP_TYPE) >> 10;
	pthread_mutex_unlock(&power->lock);
	if (!(bits & CONTROL_SLEEP_ENABLE))
		return;
	if (type == ACPI_SLEEP_TYPE_S5)
		kvm_poweroff_request(power->device.kvm);
	else
		log_guest(&power->sleep_limit, "acpi: the guest wants sleep type %u, which isn't offered", type);
}

static uint64_t acpi_timer_read(struct acpi_power *power, uint64_t offset, unsigned int size)
{
	uint64_t ticks;

	(void)size;
	pthread_mutex_lock(&power->lock);
	ticks = acpi_ticks(power);
	pthread_mutex_unlock(&power->lock);
	return (uint32_t)ticks >> offset * 8;
}

static void acpi_timer_write(struct acpi_power *power, uint64_t offset, uint64_t value, unsigned int size)
{
	(void)power;
	(void)offset;
	(void)value;
	(void)size;
}

static uint64_t acpi_gpe_read(struct acpi_power *power, uint64_t offset, unsigned int size)
{
	uint16_t value;

	(void)size;
	pthread_mutex_lock(&power->lock);
	value = offset < 2 ? power->gpe_status : power->gpe_enable;
	pthread_mutex_unlock(&power->lock);
	return value >> (offset & 1) * 8;
}

static void acpi_gpe_write(struct acpi_power *power, uint64_t offset, uint64_t value, unsigned int size)
{
	uint16_t lane = acpi_lane(offset, size), bits = acpi_shifted(offset, value) & lane;

	pthread_mutex_lock(&power->lock);
	if (offset < 2)
		power->gpe_status &= (uint16_t)~bits;
	else
		power->gpe_enable = (uint16_t)((power->gpe_enable & ~lane) | bits);
	acpi_update_locked(power);
	pthread_mutex_unlock(&power->lock);
}

static uint64_t acpi_reset_read(struct acpi_power *power, uint64_t offset, unsigned int size)
{
	(void)power;
	(void)offset;
	(void)size;
	return 0;
}

static void acpi_reset_write(struct acpi_power *power, uint64_t offset, uint64_t value, unsigned int size)
{
	(void)offset;
	(void)size;
	if (value == ACPI_RESET_VALUE)
		kvm_reset_request(power->device.kvm);
}

IO_OPS(acpi_event_ops, struct acpi_power, acpi_event_read, acpi_event_write, 1, 2);
IO_OPS(acpi_control_ops, struct acpi_power, acpi_control_read, acpi_control_write, 1, 2);
IO_OPS(acpi_timer_ops, struct acpi_power, acpi_timer_read, acpi_timer_write, 1, 4);
IO_OPS(acpi_gpe_ops, struct acpi_power, acpi_gpe_read, acpi_gpe_write, 1, 2);
IO_OPS(acpi_reset_ops, struct acpi_power, acpi_reset_read, acpi_reset_write, 1, 1);

/* ---- device ---- */

static void acpi_power_reset(struct device *device)
{
	struct acpi_power *power = container_of(device, struct acpi_power, device);

	pthread_mutex_lock(&power->lock);
	power->status = power->enable = power->control = 0;
	power->gpe_status = power->gpe_enable = 0;
	power->ticks_offset = 0;
	power->ticks_offset -= acpi_ticks(power);
	power->carry_ticks = 0;
	acpi_update_locked(power);
	pthread_mutex_unlock(&power->lock);
}

static int acpi_power_quiesce(struct device *device)
{
	struct acpi_power *power = container_of(device, struct acpi_power, device);

	pthread_mutex_lock(&power->lock);
	power->quiesced = true;
	pthread_mutex_unlock(&power->lock);
	event_timer_cancel(&power->carry);
	return 0;
}

static void acpi_power_resume(struct device *device)
{
	struct acpi_power *power = container_of(device, struct acpi_power, device);

	pthread_mutex_lock(&power->lock);
	power->quiesced = false;
	acpi_update_locked(power);
	pthread_mutex_unlock(&power->lock);
}

/* What is saved: the timer's count instead of its distance to this host's clock. */
struct acpi_power_saved {
	uint16_t status, enable, control, gpe_status, gpe_enable;
	uint64_t ticks;
};

static const struct state_field acpi_power_fields[] = {
	STATE_U16_MAX(struct acpi_power_saved, status, PM1_STATUS_MASK),
	STATE_U16_MAX(struct acpi_power_saved, enable, PM1_ENABLE_MASK),
	STATE_U16_MAX(struct acpi_power_saved, control, CONTROL_SLEEP_TYPE | CONTROL_BUS_MASTER),
	STATE_U16(struct acpi_power_saved, gpe_status),
	STATE_U16(struct acpi_power_saved, gpe_enable),
	STATE_U64(struct acpi_power_saved, ticks),
};
STATE_TABLE(acpi_power_state, "acpi-power", 1, acpi_power_fields);

static void acpi_power_save(struct device *device, struct state_writer *writer)
{
	struct acpi_power *power = container_of(device, struct acpi_power, device);
	struct acpi_power_saved saved;

	pthread_mutex_lock(&power->lock);
	saved = (struct acpi_power_saved){
		.status = power->status, .enable = power->enable, .control = power->control,
		.gpe_status = power->gpe_status, .gpe_enable = power->gpe_enable, .ticks = acpi_ticks(power),
	};
	pthread_mutex_unlock(&power->lock);
	state_save(writer, &acpi_power_state, &saved);
}

static int acpi_power_load(struct device *device, struct state_reader *reader)
{
	struct acpi_power *power = container_of(device, struct acpi_power, device);
	struct acpi_power_saved saved = { 0 };
	int error = state_load(reader, &acpi_power_state, &saved);

	if (error)
		return error;
	pthread_mutex_lock(&power->lock);
	power->status = saved.status & PM1_STATUS_MASK;
	power->enable = saved.enable & PM1_ENABLE_MASK;
	power->control = saved.control & (CONTROL_SLEEP_TYPE | CONTROL_BUS_MASTER);
	power->gpe_status = saved.gpe_status;
	power->gpe_enable = saved.gpe_enable;
	power->ticks_offset = 0;
	power->ticks_offset = saved.ticks - acpi_ticks(power);
	power->carry_ticks = saved.ticks;
	acpi_update_locked(power);
	pthread_mutex_unlock(&power->lock);
	return 0;
}

static const struct device_ops acpi_power_device_ops = {
	.reset		= acpi_power_reset,
	.quiesce	= acpi_power_quiesce,
	.resume		= acpi_power_resume,
	.save		= acpi_power_save,
	.load		= acpi_power_load,
};

static void acpi_power_unmap(struct acpi_power *power)
{
	region_del(&power->event_region);
	region_del(&power->control_region);
	region_del(&power->timer_region);
	region_del(&power->gpe_region);
	region_del(&power->reset_region);
	rcu_synchronize();
}

static int acpi_power_map(struct acpi_power *power)
{
	const struct {
		struct region *region;
		const char *name;
		const struct io_ops *ops;
		uint16_t port, size;
	} blocks[] = {
		{ &power->event_region, "acpi-pm1a-event", &acpi_event_ops, ACPI_PM1A_EVENT_PORT, 4 },
		{ &power->control_region, "acpi-pm1a-control", &acpi_control_ops, ACPI_PM1A_CONTROL_PORT, 2 },
		{ &power->timer_region, "acpi-pm-timer", &acpi_timer_ops, ACPI_PM_TIMER_PORT, 4 },
		{ &power->gpe_region, "acpi-gpe0", &acpi_gpe_ops, ACPI_GPE0_PORT, 4 },
		{ &power->reset_region, "acpi-reset", &acpi_reset_ops, ACPI_RESET_PORT, 1 },
	};
	int error;

	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
		region_init_io(blocks[i].region, blocks[i].name, blocks[i].ops, power, blocks[i].size);
		error = region_add(&power->device.kvm->ports, blocks[i].region, blocks[i].port, 1);
		if (error)
			return error;
	}
	return 0;
}

static int acpi_power_init(struct kvm *kvm)
{
	struct acpi_power *power = calloc(1, sizeof(*power));
	int error;

	if (!power)
		return -ENOMEM;
	pthread_mutex_init(&power->lock, NULL);
	event_timer_init(kvm->loop, &power->carry, acpi_carry_expired);
	error = irq_line_init(kvm, &power->sci, ACPI_SCI_GSI, IRQ_LEVEL);
	if (error)
		goto out_free;
	error = device_add(kvm, &power->device, &acpi_power_device_ops, "acpi-power");
	if (error)
		goto out_irq;
	acpi_power_reset(&power->device);
	error = acpi_power_map(power);
	if (!error)
		error = kvm_set_state(kvm, &acpi_power_key, power);
	if (error)
		goto out_unmap;
	kvm_set_power_button(kvm, acpi_power_button, power);
	return 0;

out_unmap:
	acpi_power_unmap(power);
	device_del(&power->device);
out_irq:
	irq_line_exit(&power->sci);
out_free:
	pthread_mutex_destroy(&power->lock);
	free(power);
	return error;
}
dev_init(acpi_power_init);

static void acpi_power_exit(struct kvm *kvm)
{
	struct acpi_power *power = kvm_get_state(kvm, &acpi_power_key);

	if (kvm_set_state(kvm, &acpi_power_key, NULL) < 0)
		return;
	kvm_set_power_button(kvm, NULL, NULL);
	acpi_power_unmap(power);
	event_timer_cancel(&power->carry);
	device_del(&power->device);
	irq_line_exit(&power->sci);
	pthread_mutex_destroy(&power->lock);
	free(power);
}
dev_exit(acpi_power_exit);
