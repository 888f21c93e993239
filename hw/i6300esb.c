/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The watchdog of Intel's 6300ESB (its datasheet, chapter 16), which Linux's i6300esb drives.
 *
 * Two stages of 20 bits, one after the other: the first sets a status bit (its interrupt, which no driver asks for, is
 * not wired), the second pulls the reset line, or does what --watchdog says instead. Registers need an unlocking sequence before each write; that a bite was
 * the reason outlives the reset.
 *
 * Registers are written on vCPU threads, the timer is the main loop's; `lock` guards them. The timer is never cancelled
 * while vCPUs run, as that would wait for a callback that wants the lock: it looks whether its time has come.
 */
#include <pthread.h>
#include <string.h>

#include "kvm/guest-life.h"
#include "kvm/arch.h"
#include "kvm/control.h"
#include "kvm/device.h"
#include "kvm/kvm-cpu.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/pci.h"

/* config space */
#define CONFIG_REGISTER		0x60	/* 16 bits */
#define CONFIG_INTERRUPT	0x03	/* what stage 1 does: 3 is nothing */
#define CONFIG_1MHZ		0x04	/* else 1 kHz */
#define CONFIG_NO_OUTPUT	0x20	/* stage 2 does nothing */
#define CONFIG_MASK		(CONFIG_INTERRUPT | CONFIG_1MHZ | CONFIG_NO_OUTPUT)
#define LOCK_REGISTER		0x68	/* 8 bits */
#define LOCK_LOCKED		0x01	/* until a reset */
#define LOCK_ENABLE		0x02
#define LOCK_FREE_RUNNING	0x04	/* stage 1 again after stage 2 */
#define LOCK_MASK		(LOCK_LOCKED | LOCK_ENABLE | LOCK_FREE_RUNNING)

/* memory BAR */
#define TIMER_1			0x00
#define TIMER_2			0x04
#define INTERRUPT_STATUS	0x08
#define RELOAD			0x0c
#define RELOAD_NOW		0x0100
#define RELOAD_BITTEN		0x0200	/* read: stage 2 has ended once; written as 1: forget that */
#define REGISTERS_SIZE		0x10
#define TIMER_MASK		0xfffffU

#define UNLOCK_FIRST		0x80
#define UNLOCK_SECOND		0x86

/* The 33 MHz clock of PCI over 2^15 or 2^5; a guest can't have the loop to itself. */
#define CLOCK_NS		30ULL
#define STAGE_MIN_NS		1000000ULL

static const char i6300esb_key[] = "i6300esb";

enum action { ACTION_RESET, ACTION_POWEROFF, ACTION_DUMP, ACTION_NONE };
static const char *const action_names[] = { "reset", "poweroff", "dump", "none", NULL };
/* as QMP's event has them */
static const char *const action_events[] = { "reset", "poweroff", "debug", "none" };

struct i6300esb {
	struct device device;
	struct pci_device pci;
	struct region region;
	enum action action;
	struct event_timer timer;
	struct log_limit log_limit;	/* of bites: a guest may ask for many */

	pthread_mutex_t lock;		/* guards all below */
	uint32_t preload[2];
	uint16_t config;
	uint8_t lock_bits;
	uint8_t unlock;			/* how many of the sequence's two writes have come */
	uint8_t stage;			/* that counts: 0 or 1 */
	uint8_t interrupt_status;
	bool bitten;
	bool quiesced;
	uint64_t deadline_ns;		/* 0: doesn't count */
	uint64_t left_ns;		/* of the stage, while quiesced */
};

/* ---- counting ---- */

static void i6300esb_start_locked(struct i6300esb *watchdog, uint8_t stage)
{
	unsigned int shift = watchdog->config & CONFIG_1MHZ ? 5 : 15;
	uint64_t length = ((uint64_t)watchdog->preload[stage] << shift) * CLOCK_NS;

	watchdog->stage = stage;
	watchdog->deadline_ns = event_now_ns() + MAX(length, STAGE_MIN_NS);
	event_timer_set(&watchdog->timer, watchdog->deadline_ns);
}

/* True for a bite, which is the caller's to carry out without the lock. */
static bool i6300esb_expire_locked(struct i6300esb *watchdog)
{
	if (!watchdog->stage) {
		if ((watchdog->config & CONFIG_INTERRUPT) != CONFIG_INTERRUPT)
			watchdog->interrupt_status = 1;
		i6300esb_start_locked(watchdog, 1);
		return false;
	}
	watchdog->deadline_ns = 0;
	if (watchdog->lock_bits & LOCK_FREE_RUNNING)
		i6300esb_start_locked(watchdog, 0);
	if (watchdog->config & CONFIG_NO_OUTPUT)
		return false;
	watchdog->bitten = true;
	return true;
}

static void i6300esb_dump(struct kvm *kvm)
{
	if (kvm_pause(kvm))
		return;
	for (unsigned int i = 0; i < kvm->cpu_count; i++)
		arch_cpu_dump(kvm->cpus[i], STDERR_FILENO);
	kvm_resume(kvm);
}

static void i6300esb_bite(struct i6300esb *watchdog)
{
	struct kvm *kvm = watchdog->device.kvm;
	bool silent = atomic_load(&watchdog->log_limit.count) >= LOG_GUEST_MAX;

	log_guest(&watchdog->log_limit, "watchdog: the guest has not served it in time (%s)", action_names[watchdog->action]);
	control_event(kvm, "WATCHDOG", json_pack("{s:s}", "action", action_events[watchdog->action]));
	switch (watchdog->action) {
	case ACTION_RESET:
		kvm_reset_request(kvm);
		return;
	case ACTION_POWEROFF:
		kvm_poweroff_request(kvm);
		return;
	case ACTION_DUMP:
		if (!silent)
			i6300esb_dump(kvm);
		return;
	case ACTION_NONE:
		return;
	}
}

static void i6300esb_expired(struct event_timer *timer)
{
	struct i6300esb *watchdog = container_of(timer, struct i6300esb, timer);
	bool bite = false;

	pthread_mutex_lock(&watchdog->lock);
	if (watchdog->deadline_ns && !watchdog->quiesced) {
		if (event_now_ns() >= watchdog->deadline_ns)
			bite = i6300esb_expire_locked(watchdog);
		else
			event_timer_set(&watchdog->timer, watchdog->deadline_ns);
	}
	pthread_mutex_unlock(&watchdog->lock);
	if (bite)
		i6300esb_bite(watchdog);
}

/* ---- config space ---- */

static void i6300esb_write_lock_locked(struct i6300esb *watchdog, uint8_t value)
{
	uint8_t old = watchdog->lock_bits;

	if (old & LOCK_LOCKED)
		return;
	watchdog->lock_bits = value & LOCK_MASK;
	if (!(value & LOCK_ENABLE))
		watchdog->deadline_ns = 0;
	else if (!(old & LOCK_ENABLE))
		i6300esb_start_locked(watchdog, 0);
}

static void i6300esb_config_write(struct pci_device *pci, unsigned int offset, unsigned int size)
{
	struct i6300esb *watchdog = container_of(pci, struct i6300esb, pci);

	if (!ranges_overlap(offset, size, CONFIG_REGISTER, LOCK_REGISTER + 1 - CONFIG_REGISTER))
		return;
	pthread_mutex_lock(&watchdog->lock);
	watchdog->config = (uint16_t)pci_config_get(pci, CONFIG_REGISTER, 2) & CONFIG_MASK;
	i6300esb_write_lock_locked(watchdog, (uint8_t)pci_config_get(pci, LOCK_REGISTER, 1));
	/* What is locked reads as it was locked. */
	pci_config_put(pci, LOCK_REGISTER, 1, watchdog->lock_bits);
	pthread_mutex_unlock(&watchdog->lock);
}

static const struct pci_device_ops i6300esb_pci_ops = {
	.config_write = i6300esb_config_write,
};

/* ---- registers ---- */

static uint64_t i6300esb_read(struct i6300esb *watchdog, uint64_t offset, unsigned int size)
{
	uint64_t value = 0;

	pthread_mutex_lock(&watchdog->lock);
	if (offset == INTERRUPT_STATUS)
		value = watchdog->interrupt_status;
	else if (offset == RELOAD && size >= 2)
		value = watchdog->bitten ? RELOAD_BITTEN : 0;
	else if (offset == RELOAD + 1)
		value = watchdog->bitten ? RELOAD_BITTEN >> 8 : 0;
	pthread_mutex_unlock(&watchdog->lock);
	return value;
}

static void i6300esb_write_reload_locked(struct i6300esb *watchdog, uint64_t value)
{
	if (value & RELOAD_BITTEN)
		watchdog->bitten = false;
	if (value & RELOAD_NOW)
		guest_life_sign(watchdog->device.kvm);
	if ((value & RELOAD_NOW) && (watchdog->lock_bits & LOCK_ENABLE))
		i6300esb_start_locked(watchdog, 0);
}

static void i6300esb_write_register_locked(struct i6300esb *watchdog, uint64_t offset, uint64_t value)
{
	switch (offset) {
	case TIMER_1:
	case TIMER_2:
		watchdog->preload[offset == TIMER_2] = (uint32_t)value & TIMER_MASK;
		return;
	case INTERRUPT_STATUS:
		watchdog->interrupt_status &= (uint8_t)~value;
		return;
	case RELOAD:
		i6300esb_write_reload_locked(watchdog, value);
		return;
	}
}

static void i6300esb_write(struct i6300esb *watchdog, uint64_t offset, uint64_t value, unsigned int size)
{
	(void)size;
	pthread_mutex_lock(&watchdog->lock);
	if (offset == RELOAD && value == UNLOCK_FIRST) {
		watchdog->unlock = 1;
	} else if (offset == RELOAD && value == UNLOCK_SECOND && watchdog->unlock == 1) {
		watchdog->unlock = 2;
	} else {
		if (watchdog->unlock == 2)
			i6300esb_write_register_locked(watchdog, offset, value);
		watchdog->unlock = 0;
	}
	pthread_mutex_unlock(&watchdog->lock);
}
IO_OPS(i6300esb_io_ops, struct i6300esb, i6300esb_read, i6300esb_write, 1, 4);

/* ---- life ---- */

static void i6300esb_reset(struct device *device)
{
	struct i6300esb *watchdog = container_of(device, struct i6300esb, device);

	event_timer_cancel(&watchdog->timer);
	pthread_mutex_lock(&watchdog->lock);
	watchdog->preload[0] = watchdog->preload[1] = TIMER_MASK;
	watchdog->config = 0;
	watchdog->lock_bits = watchdog->unlock = watchdog->stage = watchdog->interrupt_status = 0;
	watchdog->deadline_ns = watchdog->left_ns = 0;
	pthread_mutex_unlock(&watchdog->lock);
}

/* A guest that stands still can't serve it, so it stands still, too. */
static int i6300esb_quiesce(struct device *device)
{
	struct i6300esb *watchdog = container_of(device, struct i6300esb, device);
	uint64_t now = event_now_ns();

	pthread_mutex_lock(&watchdog->lock);
	watchdog->quiesced = true;
	watchdog->left_ns = 0;
	if (watchdog->deadline_ns)
		watchdog->left_ns = watchdog->deadline_ns > now ? watchdog->deadline_ns - now : 1;
	pthread_mutex_unlock(&watchdog->lock);
	event_timer_cancel(&watchdog->timer);
	return 0;
}

static void i6300esb_resume(struct device *device)
{
	struct i6300esb *watchdog = container_of(device, struct i6300esb, device);

	pthread_mutex_lock(&watchdog->lock);
	watchdog->quiesced = false;
	watchdog->deadline_ns = 0;
	if (watchdog->left_ns) {
		watchdog->deadline_ns = event_now_ns() + watchdog->left_ns;
		event_timer_set(&watchdog->timer, watchdog->deadline_ns);
	}
	pthread_mutex_unlock(&watchdog->lock);
}

#define LEFT_MAX_NS	(((uint64_t)TIMER_MASK << 15) * CLOCK_NS)

static const struct state_field i6300esb_fields[] = {
	STATE_FIELD_(struct i6300esb, preload, STATE_TYPE_U32, 2, TIMER_MASK),
	STATE_U16_MAX(struct i6300esb, config, CONFIG_MASK),
	STATE_U8_MAX(struct i6300esb, lock_bits, LOCK_MASK),
	STATE_U8_MAX(struct i6300esb, unlock, 2),
	STATE_U8_MAX(struct i6300esb, stage, 1),
	STATE_U8_MAX(struct i6300esb, interrupt_status, 1),
	STATE_BOOL(struct i6300esb, bitten),
	STATE_FIELD_(struct i6300esb, left_ns, STATE_TYPE_U64, 1, LEFT_MAX_NS),
};
STATE_TABLE(i6300esb_table, "i6300esb", 1, i6300esb_fields);

static void i6300esb_save(struct device *device, struct state_writer *writer)
{
	state_save(writer, &i6300esb_table, container_of(device, struct i6300esb, device));
}

static int i6300esb_load(struct device *device, struct state_reader *reader)
{
	struct i6300esb *watchdog = container_of(device, struct i6300esb, device);
	int result = state_load(reader, &i6300esb_table, watchdog);

	if (result || !watchdog->left_ns || (watchdog->lock_bits & LOCK_ENABLE))
		return result;
	watchdog->left_ns = 0;
	return log_error(EINVAL, "saved state: a watchdog that counts without being enabled");
}

static const struct device_ops i6300esb_ops = {
	.reset = i6300esb_reset,
	.quiesce = i6300esb_quiesce,
	.resume = i6300esb_resume,
	.save = i6300esb_save,
	.load = i6300esb_load,
};

static void i6300esb_free(struct i6300esb *watchdog)
{
	event_timer_cancel(&watchdog->timer);
	pthread_mutex_destroy(&watchdog->lock);
	free(watchdog);
}

static void i6300esb_exit(struct kvm *kvm)
{
	struct i6300esb *watchdog = kvm_get_state(kvm, i6300esb_key);

	pci_device_del(&watchdog->pci);
	device_del(&watchdog->device);
	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, i6300esb_key, NULL))
		i6300esb_free(watchdog);
}

static void i6300esb_describe(struct i6300esb *watchdog)
{
	watchdog->pci = (struct pci_device){
		.name = "i6300esb", .ops = &i6300esb_pci_ops, .vendor_id = 0x8086, .device_id = 0x25ab,
		.class_code = 0x088000, .bars[0] = { .kind = PCI_BAR_MEM32, .region = &watchdog->region },
	};
	memset(watchdog->pci.write_mask + CONFIG_REGISTER, CONFIG_MASK, 1);
	memset(watchdog->pci.write_mask + LOCK_REGISTER, LOCK_MASK, 1);
}

static int i6300esb_add(struct kvm *kvm, struct i6300esb *watchdog)
{
	int result = device_add(kvm, &watchdog->device, &i6300esb_ops, "i6300esb");

	if (result)
		return result;
	i6300esb_describe(watchdog);
	result = pci_device_add(pci_bus(kvm), &watchdog->pci, -1, 0, 0);
	if (result)
		goto no_pci;
	i6300esb_reset(&watchdog->device);
	result = kvm_set_state(kvm, i6300esb_key, watchdog);
	if (!result)
		return 0;
	pci_device_del(&watchdog->pci);
no_pci:
	device_del(&watchdog->device);
	return result;
}

static enum action i6300esb_action(const struct kvm *kvm)
{
	const char *name = config_string(kvm->config, "watchdog");
	enum action action = ACTION_RESET;

	while (action_names[action] && strcmp(action_names[action], name))
		action++;
	return action;
}

static int i6300esb_init(struct kvm *kvm)
{
	struct i6300esb *watchdog;
	int result;

	if (!config_given(kvm->config, "watchdog"))
		return INIT_SKIP;
	if (!pci_bus(kvm))
		return log_error(EUSAGE, "option --watchdog: this machine has no PCI bus");
	watchdog = calloc(1, sizeof(*watchdog));
	if (!watchdog)
		return log_errno(ENOMEM, "watchdog");
	watchdog->action = i6300esb_action(kvm);
	pthread_mutex_init(&watchdog->lock, NULL);
	event_timer_init(kvm->loop, &watchdog->timer, i6300esb_expired);
	region_init_io(&watchdog->region, "i6300esb", &i6300esb_io_ops, watchdog, REGISTERS_SIZE);
	result = i6300esb_add(kvm, watchdog);
	if (result)
		i6300esb_free(watchdog);
	return result;
}

static const struct option_def i6300esb_options[] = {
	{ .name = "watchdog", .type = OPTION_CHOICE, .argument = "ACTION", .choices = action_names,
	  .help = "Give the guest a watchdog (i6300esb); what is done when it isn't served: reset as --on-reboot says, "
		  "cut the power, dump all vCPUs' registers, or nothing" },
};
RUN_OPTIONS(i6300esb_options_group, "Device options", i6300esb_options);

dev_init(i6300esb_init);
dev_exit(i6300esb_exit);
