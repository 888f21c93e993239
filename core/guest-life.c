/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ends the VM of a guest that doesn't get on, for who runs guests by the hundred: one that is silent for too long,
 * one that doesn't boot in time, one whose kernel has oopsed.
 *
 * A timer of the main loop looks now and then; time in which the VM is paused, as by a debugger, doesn't count.
 * Nothing of it is there unless it is asked for.
 */
#include "kvm/guest-life.h"

#include <string.h>

#include "kvm/arch.h"
#include "kvm/log.h"

#define NS_PER_S	1000000000ULL
#define WATCHED_MAX_S	604800		/* a week */
#define TICK_MIN_NS	20000000ULL
#define TICKS		16		/* in the shortest time that is watched for */
#define OOPS_TICK_NS	50000000ULL
/* An oops is told in many lines: until nothing more came for a while */
#define OOPS_SILENCE_NS	500000000ULL
#define OOPS_MAX_NS	(5 * NS_PER_S)

static const char life_key[] = "guest-life";

struct guest_life {
	struct kvm *kvm;
	struct event_timer timer;
	struct event_work oops_work;
	struct kvm_listener listener;
	uint64_t silence_max_ns, boot_max_ns, tick_ns;	/* 0: not watched */

	/* main loop */
	uint64_t looked_ns, silent_ns, booting_ns, oopsed_ns;
	unsigned int signs;
};

void guest_life_booted(struct kvm *kvm)
{
	atomic_store(&kvm->booted, true);
}

void guest_life_user_space(struct kvm *kvm)
{
	guest_life_mark(kvm, KVM_MARK_INIT);
	if (config_split(kvm->config) == SIZE_MAX)
		guest_life_booted(kvm);
}

void guest_life_oops(struct kvm *kvm)
{
	const char *action = config_string(kvm->config, "oops");
	struct guest_life *life = kvm_get_state(kvm, life_key);

	if (!life || !action || strcmp(action, "fail") != 0 || atomic_exchange(&kvm->oopsed, true))
		return;
	event_work_post(&life->oops_work);
}

static void life_arm(struct guest_life *life)
{
	uint64_t tick = atomic_load(&life->kvm->oopsed) ? OOPS_TICK_NS : life->tick_ns;

	if (tick)
		event_timer_set(&life->timer, life->looked_ns + tick);
}

static void life_restart(struct guest_life *life)
{
	life->looked_ns = event_now_ns();
	life->silent_ns = life->booting_ns = life->oopsed_ns = 0;
	life_arm(life);
}

static void life_oopsed(struct event_work *work)
{
	struct guest_life *life = container_of(work, struct guest_life, oops_work);

	life->looked_ns = event_now_ns();
	life->silent_ns = life->oopsed_ns = 0;
	life_arm(life);
}

/* A boot may be silent: as long as it may take, if that was said. */
static bool life_watches_silence(const struct guest_life *life)
{
	return !life->boot_max_ns || atomic_load(&life->kvm->booted) || atomic_load(&life->kvm->oopsed);
}

/* Notes how long what has lasted. */
static void life_count(struct guest_life *life)
{
	unsigned int signs = atomic_load_explicit(&life->kvm->life_signs, memory_order_relaxed);
	uint64_t now = event_now_ns(), passed = now - life->looked_ns;

	life->looked_ns = now;
	if (atomic_load(&life->kvm->state) != KVM_RUNNING)
		return;
	life->silent_ns = signs == life->signs && life_watches_silence(life) ? life->silent_ns + passed : 0;
	life->signs = signs;
	life->booting_ns += passed;
	if (atomic_load(&life->kvm->oopsed))
		life->oopsed_ns += passed;
}

/* What it was doing instead is all that can be learnt from it. */
static void life_give_up(struct kvm *kvm, enum kvm_end end, const char *what, uint64_t limit_ns)
{
	if (!atomic_load(&kvm->panicked)) {
		log_error(ETIMEDOUT, "%s: the guest %s in %llu s", kvm->name, what, (unsigned long long)(limit_ns / NS_PER_S));
		if (!kvm_pause(kvm))
			for (unsigned int i = 0; i < kvm->cpu_count; i++)
				arch_cpu_dump(kvm->cpus[i], STDERR_FILENO);
	}
	kvm_end_request(kvm, end);
}

static void life_look(struct event_timer *timer)
{
	struct guest_life *life = container_of(timer, struct guest_life, timer);
	struct kvm *kvm = life->kvm;

	life_count(life);
	if (atomic_load(&kvm->oopsed) && (life->silent_ns >= OOPS_SILENCE_NS || life->oopsed_ns >= OOPS_MAX_NS))
		kvm_end_request(kvm, KVM_END_OOPS);
	else if (life->boot_max_ns && !atomic_load(&kvm->booted) && life->booting_ns >= life->boot_max_ns)
		life_give_up(kvm, KVM_END_BOOT_TIMEOUT, "has not booted", life->boot_max_ns);
	else if (life->silence_max_ns && life->silent_ns >= life->silence_max_ns)
		life_give_up(kvm, KVM_END_HANG, "gave no sign of life", life->silence_max_ns);
	life_arm(life);
}

static void life_changed(struct kvm_listener *listener, const char *event, enum kvm_end end)
{
	(void)end;
	if (strcmp(event, "RESET") == 0)
		life_restart(container_of(listener, struct guest_life, listener));
}

static uint64_t shorter(uint64_t a, uint64_t b)
{
	return a && (!b || a < b) ? a : b;
}

static int life_init(struct kvm *kvm)
{
	const char *oops = config_string(kvm->config, "oops");
	uint64_t silence = config_uint(kvm->config, "watchdog-timeout"), boot = config_uint(kvm->config, "boot-timeout");
	struct guest_life *life;
	int result;

	if (!silence && !boot && (!oops || strcmp(oops, "fail") != 0))
		return INIT_SKIP;
	life = calloc(1, sizeof(*life));
	if (!life)
		return log_errno(ENOMEM, "option --watchdog-timeout");
	result = kvm_set_state(kvm, life_key, life);
	if (result) {
		free(life);
		return result;
	}
	life->kvm = kvm;
	life->silence_max_ns = silence * NS_PER_S;
	life->boot_max_ns = boot * NS_PER_S;
	if (silence || boot)
		life->tick_ns = MAX(shorter(life->silence_max_ns, life->boot_max_ns) / TICKS, TICK_MIN_NS);
	life->listener.changed = life_changed;
	event_timer_init(kvm->loop, &life->timer, life_look);
	event_work_init(kvm->loop, &life->oops_work, life_oopsed);
	kvm_add_listener(kvm, &life->listener);
	life_restart(life);
	return 0;
}
base_init(life_init);

static void life_exit(struct kvm *kvm)
{
	struct guest_life *life = kvm_get_state(kvm, life_key);

	kvm_del_listener(kvm, &life->listener);
	event_work_cancel(&life->oops_work);
	event_timer_cancel(&life->timer);
	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, life_key, NULL))
		free(life);
}
base_exit(life_exit);

static const char *const oops_actions[] = { "fail", "ignore", NULL };

static const struct option_def life_options[] = {
	{ .name = "oops", .type = OPTION_CHOICE, .argument = "fail|ignore", .choices = oops_actions, .fallback = "ignore",
	  .help = "What an oops of the guest's kernel does: ends the VM with a status of its own, or nothing" },
	{ .name = "watchdog-timeout", .type = OPTION_UINT, .argument = "SECONDS", .max = WATCHED_MAX_S,
	  .help = "End the VM as one that hangs when it has printed nothing, and given no other sign of life, for so long" },
	{ .name = "boot-timeout", .type = OPTION_UINT, .argument = "SECONDS", .max = WATCHED_MAX_S,
	  .help = "End the VM if it is not in user space, or at the command, by then" },
};
RUN_OPTIONS(life_options_group, "Options for scripts", life_options);
