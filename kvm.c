/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a VM: create, init, run, pause, reset, end.
 *
 * Everything here runs on the main thread, but for the *_request() functions and kvm_panic_seen(), which any
 * thread may call: they note what is wanted, kick the vCPUs out of the guest and post work to the main loop.
 */
#include "kvm/kvm.h"

#include <stdio.h>
#include <string.h>

#include "kvm/arch.h"
#include "kvm/device.h"
#include "kvm/guest-life.h"
#include "kvm/kvm-cpu.h"
#include "kvm/log.h"
#include "kvm/trouble-log.h"

/* What a subsystem hung from the VM. */
struct kvm_state_slot {
	const void *key;
	void *state;
	struct kvm_state_slot *next;
};

/* ---- endings ---- */

static const struct {
	const char *name;
	int status;
} kvm_ends[] = {
	[KVM_END_NONE]		 = { "running", 0 },
	[KVM_END_POWEROFF]	 = { "guest-shutdown", 0 },
	[KVM_END_REBOOT]	 = { "guest-reset", 0 },
	[KVM_END_QUIT]		 = { "host-qmp-quit", 0 },
	[KVM_END_SIGNAL]	 = { "host-signal", 0 },
	[KVM_END_PANIC]		 = { "guest-panic", LKVM_STATUS_PANIC },
	[KVM_END_TRIPLE_FAULT]	 = { "triple-fault", LKVM_STATUS_TRIPLE_FAULT },
	[KVM_END_INTERNAL_ERROR] = { "internal-error", LKVM_STATUS_INTERNAL_ERROR },
	[KVM_END_FAILED_ENTRY]	 = { "failed-entry", LKVM_STATUS_FAILED_ENTRY },
	[KVM_END_HOST_ERROR]	 = { "host-error", LKVM_STATUS_HOST_ERROR },
	[KVM_END_OOPS]		 = { "guest-oops", LKVM_STATUS_OOPS },
	[KVM_END_HANG]		 = { "guest-hang", LKVM_STATUS_HANG },
	[KVM_END_BOOT_TIMEOUT]	 = { "boot-timeout", LKVM_STATUS_BOOT_TIMEOUT },
	[KVM_END_SETUP]		 = { "guest-setup", LKVM_STATUS_ERROR },
	[KVM_END_COMMAND]	 = { "guest-command", 0 },
};

int kvm_end_status(const struct kvm *kvm)
{
	enum kvm_end end = atomic_load(&kvm->end);

	if (end == KVM_END_SIGNAL)
		return 128 + atomic_load(&kvm->end_signal);
	return end == KVM_END_COMMAND ? atomic_load(&kvm->command_status) : kvm_ends[end].status;
}

const char *kvm_end_name(enum kvm_end end)
{
	return kvm_ends[end].name;
}

const char *kvm_mark_name(enum kvm_mark mark)
{
	static const char *const names[] = {
		[KVM_MARK_RUN] = "kvm-run", [KVM_MARK_CONSOLE] = "console", [KVM_MARK_INIT] = "init",
		[KVM_MARK_COMMAND] = "command", [KVM_MARK_END] = "end",
	};

	return names[mark];
}

static void kvm_kick_all(struct kvm *kvm)
{
	for (unsigned int i = 0; i < kvm->cpu_count; i++)
		kvm_cpu_request(kvm->cpus[i], 0);
}

/* However a kernel that panicked leaves, or doesn't, the panic is why; or the oops that was to be a failure. */
static enum kvm_end kvm_why(struct kvm *kvm, enum kvm_end reason)
{
	switch (reason) {
	case KVM_END_POWEROFF:
	case KVM_END_REBOOT:
	case KVM_END_TRIPLE_FAULT:
	case KVM_END_OOPS:
	case KVM_END_HANG:
	case KVM_END_BOOT_TIMEOUT:
		if (atomic_load(&kvm->panicked))
			return KVM_END_PANIC;
		return atomic_load(&kvm->oopsed) ? KVM_END_OOPS : reason;
	case KVM_END_COMMAND:
		return atomic_load(&kvm->oopsed) ? KVM_END_OOPS : reason;
	default:
		return reason;
	}
}

void kvm_end_request(struct kvm *kvm, enum kvm_end reason)
{
	enum kvm_end none = KVM_END_NONE;

	reason = kvm_why(kvm, reason);
	if (!atomic_compare_exchange_strong(&kvm->end, &none, reason))
		return;
	guest_life_mark(kvm, KVM_MARK_END);
	kvm_kick_all(kvm);
	event_work_post(&kvm->control_work);
}

void kvm_reset_request(struct kvm *kvm)
{
	const char *action = config_string(kvm->config, "on-reboot");

	if (atomic_load(&kvm->panicked) || atomic_load(&kvm->oopsed) || !action || strcmp(action, "restart")) {
		kvm_end_request(kvm, KVM_END_REBOOT);
		return;
	}
	if (atomic_exchange(&kvm->reset_wanted, true))
		return;
	kvm_kick_all(kvm);
	event_work_post(&kvm->control_work);
}

void kvm_poweroff_request(struct kvm *kvm)
{
	kvm_end_request(kvm, KVM_END_POWEROFF);
}

void kvm_panic_seen(struct kvm *kvm)
{
	atomic_store(&kvm->panicked, true);
}

/* On the main loop, after any of the requests above. */
static void kvm_control(struct event_work *work)
{
	struct kvm *kvm = container_of(work, struct kvm, control_work);

	if (atomic_load(&kvm->end) != KVM_END_NONE) {
		event_loop_stop(kvm->loop);
		return;
	}
	if (atomic_load(&kvm->reset_wanted) && kvm_reset(kvm))
		kvm_end_request(kvm, KVM_END_HOST_ERROR);
}

/* ---- pause ---- */

int kvm_pause(struct kvm *kvm)
{
	int result;

	if (kvm->pause_depth++)
		return 0;
	kvm_cpus_park(kvm);
	result = devices_quiesce(kvm);
	if (result) {
		kvm->pause_depth--;
		kvm_cpus_unpark(kvm);
		return result;
	}
	atomic_store(&kvm->state, KVM_PAUSED);
	return 0;
}

void kvm_resume(struct kvm *kvm)
{
	if (!kvm->pause_depth || --kvm->pause_depth)
		return;
	devices_resume(kvm);
	atomic_store(&kvm->state, KVM_RUNNING);
	kvm_cpus_unpark(kvm);
}

int kvm_user_pause(struct kvm *kvm)
{
	int result;

	if (kvm->user_paused)
		return 0;
	result = kvm_pause(kvm);
	if (result)
		return result;
	kvm->user_paused = true;
	kvm_notify(kvm, "STOP");
	return 0;
}

int kvm_error_pause(struct kvm *kvm)
{
	int result;

	if (kvm->user_paused)
		return 0;
	kvm->io_error = true;
	result = kvm_user_pause(kvm);
	kvm->io_error = !result;
	return result;
}

int kvm_user_resume(struct kvm *kvm)
{
	if (!kvm->user_paused)
		return 0;
	kvm->user_paused = kvm->io_error = false;
	kvm_resume(kvm);
	kvm_notify(kvm, "RESUME");
	return 0;
}

/* ---- start and reset ---- */

/* Software into RAM, then registers that suit it. */
static int kvm_load(struct kvm *kvm)
{
	int result = 0;

	for (struct firmware *firmware = kvm->firmware; firmware && !result; firmware = firmware->next)
		result = firmware->load(kvm);
	for (unsigned int i = 0; i < kvm->cpu_count && !result; i++)
		result = arch_cpu_reset(kvm->cpus[i]);
	return result;
}

int kvm_reset(struct kvm *kvm)
{
	int result = kvm_pause(kvm);

	if (result)
		return result;
	devices_reset(kvm);
	result = arch_vm_reset(kvm);
	if (!result)
		result = kvm_load(kvm);
	atomic_store(&kvm->panicked, false);
	atomic_store(&kvm->oopsed, false);
	atomic_store(&kvm->booted, false);
	/* After the registers are set: a vCPU that asked for the reset waits for this. */
	atomic_store(&kvm->reset_wanted, false);
	kvm_notify(kvm, "RESET");
	kvm_resume(kvm);
	return result;
}

int kvm_run(struct kvm *kvm)
{
	int result = kvm->restore ? kvm->restore(kvm) : kvm_load(kvm);

	if (result)
		return result;
	kvm->started_ns = event_now_ns();
	/* who waits for a debugger has paused it already */
	atomic_store(&kvm->state, kvm->pause_depth ? KVM_PAUSED : KVM_RUNNING);
	result = kvm_cpus_start(kvm);
	if (!result)
		result = event_loop_run(kvm->loop);
	kvm_cpus_stop(kvm);
	atomic_store(&kvm->state, KVM_STOPPED);
	if (result)
		kvm_end_request(kvm, KVM_END_HOST_ERROR);
	kvm_notify(kvm, "SHUTDOWN");
	return result;
}

int kvm_nmi(struct kvm *kvm)
{
	if (!arch_has_nmi)
		return -EOPNOTSUPP;
	for (unsigned int i = 0; i < kvm->cpu_count; i++)
		kvm_cpu_request(kvm->cpus[i], CPU_REQUEST_NMI);
	return 0;
}

void kvm_set_power_button(struct kvm *kvm, void (*press)(void *opaque), void *opaque)
{
	kvm->power_button = press;
	kvm->power_button_opaque = opaque;
}

int kvm_power_button(struct kvm *kvm)
{
	if (!kvm->power_button)
		return -EOPNOTSUPP;
	kvm->power_button(kvm->power_button_opaque);
	kvm_notify(kvm, "POWERDOWN");
	return 0;
}

/* ---- what hangs from a VM ---- */

void kvm_add_firmware(struct kvm *kvm, struct firmware *firmware)
{
	struct firmware **at = &kvm->firmware;

	while (*at && strcmp((*at)->name, firmware->name) < 0)
		at = &(*at)->next;
	firmware->next = *at;
	*at = firmware;
}

void kvm_add_listener(struct kvm *kvm, struct kvm_listener *listener)
{
	listener->next = kvm->listeners;
	kvm->listeners = listener;
}

void kvm_del_listener(struct kvm *kvm, struct kvm_listener *listener)
{
	struct kvm_listener **at = &kvm->listeners;

	while (*at && *at != listener)
		at = &(*at)->next;
	if (*at)
		*at = listener->next;
}

void kvm_notify(struct kvm *kvm, const char *event)
{
	for (struct kvm_listener *listener = kvm->listeners, *next; listener; listener = next) {
		next = listener->next;
		listener->changed(listener, event, atomic_load(&kvm->end));
	}
}

static struct kvm_state_slot **kvm_find_state(const struct kvm *kvm, const void *key)
{
	struct kvm_state_slot **at = (struct kvm_state_slot **)&kvm->states;

	while (*at && (*at)->key != key)
		at = &(*at)->next;
	return at;
}

int kvm_set_state(struct kvm *kvm, const void *key, void *state)
{
	struct kvm_state_slot **at = kvm_find_state(kvm, key), *slot = *at;

	if (!state) {
		if (slot) {
			*at = slot->next;
			free(slot);
		}
		return 0;
	}
	if (!slot) {
		slot = calloc(1, sizeof(*slot));
		if (!slot)
			return log_errno(ENOMEM, "VM state");
		slot->key = key;
		*at = slot;
	}
	slot->state = state;
	return 0;
}

void *kvm_get_state(const struct kvm *kvm, const void *key)
{
	struct kvm_state_slot *slot = *kvm_find_state(kvm, key);

	return slot ? slot->state : NULL;
}

/* ---- create and free ---- */

static int kvm_make_name(struct kvm *kvm)
{
	const char *given = config_string(kvm->config, "name");
	char *name = NULL;

	if (given)
		name = strdup(given);
	else if (asprintf(&name, "guest-%d", (int)getpid()) < 0)
		name = NULL;
	kvm->name = name;
	return name ? 0 : log_errno(ENOMEM, "VM");
}

int kvm_create(struct kvm **kvm_out, struct config *config)
{
	struct kvm *kvm = calloc(1, sizeof(*kvm));
	int result;

	if (!kvm)
		return log_errno(ENOMEM, "VM");
	kvm->config = config;
	kvm->dev_fd = kvm->vm_fd = kvm->ram_fd = kvm->ram_mount = kvm->ram_image = -1;
	pthread_mutex_init(&kvm->pause_lock, NULL);
	pthread_cond_init(&kvm->pause_cond, NULL);
	pthread_mutex_init(&kvm->coalesced_lock, NULL);
	kvm->debug_ioport = config_flag(config, "debug-ioport");
	kvm->debug_mmio = config_flag(config, "debug-mmio");
	kvm->debug_iodelay_ms = (unsigned int)config_uint(config, "debug-iodelay");
	result = kvm_make_name(kvm);
	if (!result)
		result = event_loop_create(&kvm->loop, "main");
	if (!result)
		result = address_space_init(&kvm->memory, "memory", 0);
	if (!result)
		result = address_space_init(&kvm->ports, "ports", KIB(64));
	if (result) {
		kvm_free(kvm);
		return result;
	}
	event_work_init(kvm->loop, &kvm->control_work, kvm_control);
	*kvm_out = kvm;
	return 0;
}

int kvm_init(struct kvm *kvm, const struct init_options *options)
{
	return init_walk(kvm, options, &kvm->init_done);
}

void kvm_exit(struct kvm *kvm)
{
	/* Each irqfd, ioeventfd or zone taken off alone costs a grace period in the kernel, 4 ms and more. */
	kvm->closing = true;
	init_unwind(kvm, &kvm->init_done);
}

void kvm_free(struct kvm *kvm)
{
	if (!kvm)
		return;
	address_space_exit(&kvm->memory);
	address_space_exit(&kvm->ports);
	event_loop_destroy(kvm->loop);
	pthread_mutex_destroy(&kvm->coalesced_lock);
	pthread_cond_destroy(&kvm->pause_cond);
	pthread_mutex_destroy(&kvm->pause_lock);
	for (struct kvm_state_slot *slot = kvm->states, *next; slot; slot = next) {
		next = slot->next;
		free(slot);
	}
	trouble_log_free(kvm);
	free((char *)kvm->name);
	free(kvm);
}
