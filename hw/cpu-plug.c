/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vCPUs that come and go: the registers that the guest's ACPI works (x86/dsdt-cpus.c), and the kind of plug that `lkvm device`
 * and QMP put in and take out (kvm/plug.h). Only where --cpus says max=, and an architecture can (arch_has_cpu_plug).
 *
 * Of each vCPU there are three bits: it is there, it has come, it is to go. The guest hears by arch_cpu_event(), asks NEXT what
 * there is until that says 0, and tells by VALUE that it has let go of one, or what has become of it (ACPI 6.5, 6.3.5). Whatever
 * it writes, a vCPU goes on the main loop, while it is parked like all others; vCPU 0 stays, for much hangs from it.
 *
 * Registers, each 32 bits: SELECT and WHAT are remembered; VALUE is what is done about the vCPU SELECT, by WHAT, and reads as
 * its _STA; NEXT is read. vCPUs access them, the main thread does the rest; `lock` guards them and the bits.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/acpi-power.h"
#include "kvm/arch.h"
#include "kvm/control.h"
#include "kvm/device.h"
#include "kvm/kvm-cpu.h"
#include "kvm/log.h"
#include "kvm/migrate.h"
#include "kvm/plug.h"
#include "kvm/rcu.h"

#define REGISTER_SELECT	0
#define REGISTER_WHAT	4
#define REGISTER_VALUE	8
#define REGISTER_NEXT	12
#define REGISTERS_SIZE	16

#define STATUS_THERE	0xf		/* as _STA returns it (ACPI 6.5, 6.3.7) */
#define WHAT_EJECT	3
#define WHAT_TELL	0x10000		/* and the event that it is about: VALUE is its status */

/* ACPI's notifications (5.6.6), which are NEXT's upper half, and sources of _OST */
#define EVENT_COME	1
#define EVENT_GO	3
#define EVENT_EJECTING	0x103		/* of itself */
#define OST_SUCCESS	0
#define OST_GOING_ON	0x84

#define SLOT_THERE	BIT(0)		/* until the guest has let go of it */
#define SLOT_COMES	BIT(1)		/* the guest is to hear of it */
#define SLOT_GOES	BIT(2)		/* likewise */
#define SLOT_GONE	BIT(3)		/* the main loop is to take it out */
#define SLOT_TOLD	BIT(4)		/* the main loop is to hear what the guest made of it */
#define SLOT_SAVED	(SLOT_THERE | SLOT_COMES | SLOT_GOES | SLOT_GONE)

#define TELLS_MAX	4		/* answers to one question that clients are told of */
#define RETRY_NS	1000000000ULL

struct slot {
	uint8_t bits, tells;
	uint32_t event, status;		/* SLOT_TOLD: the last */
};

struct cpu_plug {
	struct device device;
	struct region region;
	struct event_work work;
	struct event_timer retry;
	pthread_mutex_t lock;
	uint32_t select, what;
	unsigned int count;
	struct slot slots[];
};

static const char cpu_plug_key[] = "vCPUs that come and go";

static struct cpu_plug *cpu_plug(struct kvm *kvm)
{
	return kvm_get_state(kvm, cpu_plug_key);
}

/* ---- the guest's side ---- */

static uint32_t next_locked(struct cpu_plug *cpus)
{
	for (uint32_t i = 0; i < cpus->count; i++) {
		struct slot *slot = &cpus->slots[i];
		uint8_t bit = slot->bits & SLOT_COMES ? SLOT_COMES : slot->bits & SLOT_GOES;

		if (!bit)
			continue;
		slot->bits &= (uint8_t)~bit;
		return i | (bit == SLOT_COMES ? EVENT_COME : EVENT_GO) << 16;
	}
	return 0;
}

static uint64_t cpu_plug_read(struct cpu_plug *cpus, uint64_t offset, unsigned int size)
{
	uint32_t value = 0;

	(void)size;
	pthread_mutex_lock(&cpus->lock);
	switch (offset) {
	case REGISTER_SELECT:
		value = cpus->select;
		break;
	case REGISTER_WHAT:
		value = cpus->what;
		break;
	case REGISTER_VALUE:
		value = cpus->select < cpus->count && (cpus->slots[cpus->select].bits & SLOT_THERE) ? STATUS_THERE : 0;
		break;
	case REGISTER_NEXT:
		value = next_locked(cpus);
		break;
	}
	pthread_mutex_unlock(&cpus->lock);
	return value;
}

/* Whether there is something to do on the main loop. */
static bool slot_write_locked(struct slot *slot, uint32_t what, uint32_t value)
{
	if (what == WHAT_EJECT && (slot->bits & SLOT_THERE)) {
		slot->bits = (uint8_t)((slot->bits & ~(SLOT_THERE | SLOT_COMES | SLOT_GOES)) | SLOT_GONE);
		return true;
	}
	if (what < WHAT_TELL || !slot->tells)
		return false;
	slot->tells--;
	slot->event = what - WHAT_TELL;
	slot->status = value;
	slot->bits |= SLOT_TOLD;
	return true;
}

static void cpu_plug_write(struct cpu_plug *cpus, uint64_t offset, uint64_t value, unsigned int size)
{
	bool more = false;

	(void)size;
	pthread_mutex_lock(&cpus->lock);
	if (offset == REGISTER_SELECT)
		cpus->select = (uint32_t)value;
	else if (offset == REGISTER_WHAT)
		cpus->what = (uint32_t)value;
	else if (offset == REGISTER_VALUE && cpus->select && cpus->select < cpus->count)
		more = slot_write_locked(&cpus->slots[cpus->select], cpus->what, (uint32_t)value);
	pthread_mutex_unlock(&cpus->lock);
	if (more)
		event_work_post(&cpus->work);
}

IO_OPS(cpu_plug_io, struct cpu_plug, cpu_plug_read, cpu_plug_write, 4, 4);

/* ---- the main loop's ---- */

/* What is in as vCPU @number; NULL: nothing. */
static struct plug *plug_of(struct kvm *kvm, unsigned int number)
{
	struct plug *plug = plug_first(kvm);

	while (plug && (!plug->kind->ask || plug->port_index != number || plug->state == PLUG_OUT))
		plug = plug->next;
	return plug;
}

static uint8_t slot_take(struct cpu_plug *cpus, unsigned int number, uint8_t bits, struct slot *copy)
{
	struct slot *slot = &cpus->slots[number];

	pthread_mutex_lock(&cpus->lock);
	*copy = *slot;
	slot->bits &= (uint8_t)~bits;
	pthread_mutex_unlock(&cpus->lock);
	return copy->bits & bits;
}

static void slot_told(struct kvm *kvm, unsigned int number, const struct slot *slot)
{
	struct plug *plug = plug_of(kvm, number);
	char name[16];

	snprintf(name, sizeof(name), "%u", number);
	control_event(kvm, "ACPI_DEVICE_OST", json_pack("{s:{s:s*,s:s,s:s,s:I,s:I}}", "info", "device", plug ? plug->id : NULL, "slot", name,
							"slot-type", "CPU", "source", (json_int_t)slot->event, "status",
							(json_int_t)slot->status));
	if (plug && (slot->event == EVENT_GO || slot->event == EVENT_EJECTING) && slot->status != OST_SUCCESS &&
	    slot->status != OST_GOING_ON)
		plug_refused(plug);
}

static void slots_serve(struct cpu_plug *cpus)
{
	struct kvm *kvm = cpus->device.kvm;
	/* the machine at the other end is made already, and will hear by what is saved */
	bool may_go = !migration_is_active(kvm);
	struct slot slot;

	for (unsigned int i = 1; i < cpus->count; i++) {
		if (slot_take(cpus, i, SLOT_TOLD, &slot))
			slot_told(kvm, i, &slot);
		if (!(slot.bits & SLOT_GONE))
			continue;
		if (!may_go)
			event_timer_set(&cpus->retry, event_now_ns() + RETRY_NS);
		else if (plug_of(kvm, i))
			plug_remove(plug_of(kvm, i));
	}
}

static void cpu_plug_work(struct event_work *work)
{
	slots_serve(container_of(work, struct cpu_plug, work));
}

static void cpu_plug_retry(struct event_timer *timer)
{
	slots_serve(container_of(timer, struct cpu_plug, retry));
}

/* ---- the kind of plug ---- */

/* The text is the vCPU's number, or empty: the first that isn't there. */
static int cpu_plug_open(struct plug *plug)
{
	unsigned int count = plug->kvm->cpu_possible;
	uint64_t number;

	for (number = 1; number < count && kvm_cpu_find(plug->kvm, (unsigned int)number); number++)
		;
	if (!plug->kvm->cpu_plug || (!*plug->text && number == count))
		return log_error(ENOSPC, "the VM has all the vCPUs that it may have (start it with -c N,max=MORE)");
	if (*plug->text && (parse_uint(plug->text, &number) || !number || number >= count))
		return log_error(EUSAGE, "vCPU %s: the numbers of those that may come are 1 to %u", plug->text, count - 1);
	plug->port_index = (unsigned int)number;
	if (plug->wanted_id)
		return 0;
	if (asprintf(&plug->wanted_id, "cpu%u", plug->port_index) >= 0)
		return 0;
	plug->wanted_id = NULL;
	return log_errno(ENOMEM, "vCPU %u", plug->port_index);
}

static int cpu_plug_may_come(struct kvm *kvm, unsigned int number)
{
	if (kvm_cpu_find(kvm, number))
		return log_error(EEXIST, "the VM has vCPU %u already", number);
	if (!kvm->started_ns)
		return log_error(EAGAIN, "the guest has not started yet: no vCPU comes now");
	return kvm->debugger ? log_error(EBUSY, "a debugger has the guest's vCPUs: let gdb go first") : 0;
}

static int cpu_plug_add(struct plug *plug)
{
	struct kvm *kvm = plug->kvm;
	struct cpu_plug *cpus = cpu_plug(kvm);
	int result;

	/* what the VM begins with */
	if (!kvm->started_ns && kvm_cpu_find(kvm, plug->port_index))
		return 0;
	result = cpu_plug_may_come(kvm, plug->port_index);
	if (!result)
		result = kvm_cpu_plug(kvm, plug->port_index);
	if (result)
		return result;
	pthread_mutex_lock(&cpus->lock);
	cpus->slots[plug->port_index] = (struct slot){ .bits = SLOT_THERE | SLOT_COMES, .tells = TELLS_MAX };
	pthread_mutex_unlock(&cpus->lock);
	arch_cpu_event(kvm);
	return 0;
}

static void cpu_plug_del(struct plug *plug)
{
	struct kvm *kvm = plug->kvm;
	struct kvm_cpu *cpu = kvm_cpu_find(kvm, plug->port_index);
	struct slot unused;

	/* the VM ends, or never began: all go together */
	if (!cpu || !kvm->started_ns || kvm->closing)
		return;
	kvm_cpu_unplug(cpu);
	/* what it still says about its going is let through */
	slot_take(cpu_plug(kvm), plug->port_index, SLOT_THERE | SLOT_COMES | SLOT_GOES | SLOT_GONE, &unused);
}

static void cpu_plug_ask(struct plug *plug)
{
	struct cpu_plug *cpus = cpu_plug(plug->kvm);
	struct slot *slot = &cpus->slots[plug->port_index];

	pthread_mutex_lock(&cpus->lock);
	if (slot->bits & SLOT_THERE)
		slot->bits |= SLOT_GOES;
	slot->tells = TELLS_MAX;
	pthread_mutex_unlock(&cpus->lock);
	arch_cpu_event(plug->kvm);
}

static void cpu_plug_ask_no_more(struct plug *plug)
{
	struct slot unused;

	slot_take(cpu_plug(plug->kvm), plug->port_index, SLOT_GOES, &unused);
}

static struct plug_kind cpu_plug_item = {
	.option = "cpu", .open = cpu_plug_open, .add = cpu_plug_add, .del = cpu_plug_del, .ask = cpu_plug_ask,
	.ask_no_more = cpu_plug_ask_no_more,
};
PLUG_KIND(cpu_plug_item);

/* ---- the device ---- */

/* Firmware tells the next kernel which there are. One that was to go doesn't come back, as a device in a slot doesn't. */
static void cpu_plug_reset(struct device *device)
{
	struct cpu_plug *cpus = container_of(device, struct cpu_plug, device);
	bool may_go = !migration_is_active(device->kvm);

	pthread_mutex_lock(&cpus->lock);
	cpus->select = cpus->what = 0;
	pthread_mutex_unlock(&cpus->lock);
	for (unsigned int i = 1; i < cpus->count; i++) {
		struct plug *plug = plug_of(device->kvm, i);
		struct slot slot;

		slot_take(cpus, i, SLOT_COMES, &slot);
		if (!plug || (plug->state != PLUG_ASKED && !(slot.bits & SLOT_GONE)))
			continue;
		if (may_go) {
			plug_remove(plug);
			continue;
		}
		/* It can't go now, and the tables name it: the next kernel has it, until it is asked again. */
		pthread_mutex_lock(&cpus->lock);
		cpus->slots[i].bits = SLOT_THERE;
		pthread_mutex_unlock(&cpus->lock);
	}
}

static int cpu_plug_quiesce(struct device *device)
{
	event_timer_cancel(&container_of(device, struct cpu_plug, device)->retry);
	return 0;
}

/* Also what was saved by a machine that could not do it any more. */
static void cpu_plug_resume(struct device *device)
{
	event_work_post(&container_of(device, struct cpu_plug, device)->work);
}

static const struct state_field cpu_plug_fields[] = {
	STATE_U32(struct cpu_plug, select), STATE_U32(struct cpu_plug, what),
};
STATE_TABLE(cpu_plug_table, "cpu-plug", 1, cpu_plug_fields);

static void cpu_plug_save(struct device *device, struct state_writer *writer)
{
	struct cpu_plug *cpus = container_of(device, struct cpu_plug, device);
	_cleanup_free_ uint8_t *bits = malloc(cpus->count);

	if (!bits) {
		writer->error = -ENOMEM;
		return;
	}
	pthread_mutex_lock(&cpus->lock);
	for (unsigned int i = 0; i < cpus->count; i++)
		bits[i] = cpus->slots[i].bits & SLOT_SAVED;
	state_save(writer, &cpu_plug_table, cpus);
	pthread_mutex_unlock(&cpus->lock);
	state_save_blob(writer, "vcpus", bits, cpus->count);
}

/* A vCPU is there, or has just been let go of, exactly if the machine has it. */
static bool bits_are_good(const struct kvm *kvm, const uint8_t *bits, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		bool there = bits[i] & SLOT_THERE, gone = bits[i] == SLOT_GONE && i;

		if ((bits[i] & ~SLOT_SAVED) || (there && (bits[i] & SLOT_GONE)) || (!there && bits[i] && !gone) ||
		    (there || gone) != (kvm_cpu_find(kvm, i) != NULL))
			return false;
	}
	return true;
}

static int cpu_plug_load(struct device *device, struct state_reader *reader)
{
	struct cpu_plug *cpus = container_of(device, struct cpu_plug, device), loaded = { .count = 0 };
	_cleanup_free_ uint8_t *bits = malloc(cpus->count);
	size_t length = 0;
	int result;

	if (!bits)
		return log_errno(ENOMEM, "saved state");
	result = state_load(reader, &cpu_plug_table, &loaded);
	if (!result)
		result = state_load_blob(reader, "vcpus", bits, cpus->count, &length);
	if (!result && (length != cpus->count || !bits_are_good(device->kvm, bits, cpus->count)))
		result = log_error(EINVAL, "saved state: cpu-plug: of other vCPUs than this machine has");
	if (result)
		return result;
	pthread_mutex_lock(&cpus->lock);
	cpus->select = loaded.select;
	cpus->what = loaded.what;
	for (unsigned int i = 0; i < cpus->count; i++)
		cpus->slots[i] = (struct slot){ .bits = bits[i] };
	pthread_mutex_unlock(&cpus->lock);
	return 0;
}

static const struct device_ops cpu_plug_device_ops = {
	.reset		= cpu_plug_reset,
	.quiesce	= cpu_plug_quiesce,
	.resume		= cpu_plug_resume,
	.save		= cpu_plug_save,
	.load		= cpu_plug_load,
};

static void cpu_plug_free(struct cpu_plug *cpus)
{
	region_del(&cpus->region);
	rcu_synchronize();
	event_work_cancel(&cpus->work);
	event_timer_cancel(&cpus->retry);
	device_del(&cpus->device);
	pthread_mutex_destroy(&cpus->lock);
	free(cpus);
}

static void cpu_plug_exit(struct kvm *kvm)
{
	struct cpu_plug *cpus = cpu_plug(kvm);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, cpu_plug_key, NULL))
		cpu_plug_free(cpus);
}

static int cpu_plug_init(struct kvm *kvm)
{
	struct cpu_plug *cpus;
	int result;

	if (!kvm->cpu_plug)
		return INIT_SKIP;
	cpus = calloc(1, sizeof(*cpus) + kvm->cpu_possible * sizeof(cpus->slots[0]));
	if (!cpus)
		return log_errno(ENOMEM, "vCPUs");
	cpus->count = kvm->cpu_possible;
	for (unsigned int i = 0; i < cpus->count; i++)
		cpus->slots[i].bits = kvm_cpu_find(kvm, i) ? SLOT_THERE : 0;
	pthread_mutex_init(&cpus->lock, NULL);
	event_work_init(kvm->loop, &cpus->work, cpu_plug_work);
	event_timer_init(kvm->loop, &cpus->retry, cpu_plug_retry);
	region_init_io(&cpus->region, "cpu-plug", &cpu_plug_io, cpus, REGISTERS_SIZE);
	result = device_add(kvm, &cpus->device, &cpu_plug_device_ops, "cpu-plug");
	if (!result)
		result = region_add(&kvm->ports, &cpus->region, ACPI_CPUS_PORT, 1);
	if (!result)
		result = kvm_set_state(kvm, cpu_plug_key, cpus);
	if (result)
		cpu_plug_free(cpus);
	return result;
}
dev_init(cpu_plug_init);
dev_exit(cpu_plug_exit);

/* What the VM begins with can go as well; behind hw/plug.c's own init, whose exit takes them away again. */
static int cpu_plugs_init(struct kvm *kvm)
{
	int result = 0;

	if (!kvm->cpu_plug)
		return INIT_SKIP;
	for (unsigned int i = 1; i < kvm->cpu_possible && !result; i++) {
		char text[16];
		struct plug *plug;

		if (!kvm_cpu_find(kvm, i) || plug_of(kvm, i))
			continue;
		snprintf(text, sizeof(text), "%u", i);
		result = plug_open(kvm, cpu_plug_item.option, text, NULL, &plug);
		/* something else has that name: any other will do */
		if (!result && plug->wanted_id && plug_find(kvm, plug->wanted_id)) {
			free(plug->wanted_id);
			plug->wanted_id = NULL;
		}
		if (!result)
			result = plug_insert(plug, NULL);
	}
	return result;
}
firmware_init(cpu_plugs_init);
