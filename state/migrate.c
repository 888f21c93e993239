/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moving a VM to another process: what the main thread does of it, and whose the guest is at its end (migrate.h).
 */
#include "state/migrate.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "kvm/dirty.h"
#include "kvm/disk.h"
#include "kvm/fork.h"
#include "kvm/kvm-cpu.h"
#include "kvm/snapshot.h"
#include "kvm/thread.h"
#include "state/machine.h"
#include "state/postcopy.h"
#include "state/snapshot-info.h"

static const char migration_key[] = "migration";

#define THROTTLE_PERIOD_NS	10000000u
#define RETRY_NS		100000000u
#define RETRIES_NS		60000000000u	/* for the other side to let go of the disks: it waits for GO half as long */
#define UNDECIDED_NS		5000000000u	/* that it has ended without having run is known at once, or not at all */
#define DOWNTIME_NS		300000000u

struct migration *migration_of(const struct kvm *kvm)
{
	return kvm_get_state(kvm, migration_key);
}

const char *migration_status_name(enum migration_status status)
{
	static const char *const names[] = {
		[MIGRATION_NONE] = "none", [MIGRATION_SETUP] = "setup", [MIGRATION_ACTIVE] = "active", [MIGRATION_DEVICE] = "device",
		[MIGRATION_COMPLETED] = "completed", [MIGRATION_FAILED] = "failed", [MIGRATION_CANCELLING] = "cancelling",
		[MIGRATION_CANCELLED] = "cancelled", [MIGRATION_POSTCOPY] = "postcopy-active",
		[MIGRATION_POSTCOPY_PAUSED] = "postcopy-paused",
	};

	return names[status];
}

static void status_set(struct migration *job, enum migration_status status)
{
	atomic_store(&job->status, status);
	control_event(job->kvm, "MIGRATION", json_pack("{s:s}", "status", migration_status_name(status)));
}

static bool is_running(enum migration_status status)
{
	return status == MIGRATION_SETUP || status == MIGRATION_ACTIVE || status == MIGRATION_DEVICE || status == MIGRATION_CANCELLING ||
	       status == MIGRATION_POSTCOPY;
}

bool migration_is_active(const struct kvm *kvm)
{
	const struct migration *job = migration_of(kvm);

	return postcopy_is_active(kvm) || (job && (is_running(atomic_load(&job->status)) || job->stopped));
}

/* ---- disks ---- */

static int disks_sync(struct kvm *kvm)
{
	int result = 0;

	for (size_t i = 0; i < disks_count(kvm) && !result; i++)
		result = disk_sync(disks_get(kvm, i));
	return result;
}

static void disks_hand_over(struct migration *job)
{
	struct kvm *kvm = job->kvm;

	job->tells = false;
	for (size_t i = 0; i < disks_count(kvm); i++) {
		job->tells = job->tells || disk_is_held(disks_get(kvm, i));
		disk_hand_over(disks_get(kvm, i));
	}
	job->handed_over = true;
}

/* All or none. */
static int disks_take_back(struct migration *job)
{
	struct kvm *kvm = job->kvm;
	size_t taken = 0;
	int result = 0;

	while (job->handed_over && taken < disks_count(kvm) && !result) {
		result = disk_take_back(disks_get(kvm, taken));
		taken += !result;
	}
	if (!result)
		job->handed_over = false;
	while (result && taken)
		disk_hand_over(disks_get(kvm, --taken));
	return result;
}

/* ---- the guest stands still ---- */

static int machine_take(struct migration *job)
{
	int result = disks_sync(job->kvm);

	if (!result)
		result = machine_save(job->kvm, &job->state);
	if (!result)
		disks_hand_over(job);
	return result;
}

/* Asked for by the thread, which waits. */
static void migration_stop(struct event_work *work)
{
	struct migration *job = container_of(work, struct migration, stop);
	struct kvm *kvm = job->kvm;
	int result = -ECANCELED;

	if (atomic_load(&job->phase) == PHASE_OPEN && atomic_load(&kvm->end) == KVM_END_NONE) {
		job->stopped_ns = event_now_ns();
		job->user_paused = kvm->user_paused;
		result = kvm_pause(kvm);
		job->stopped = !result;
		if (!result)
			result = machine_take(job);
		status_set(job, MIGRATION_DEVICE);
	}
	job->stop_result = result;
	sem_post(&job->stop_done);
}

/* ---- its end ---- */

static void job_clean(struct migration *job)
{
	state_writer_free(&job->state);
	free(job->pages);
	free(job->there);
	free(job->address);
	free(job->info);
	job->pages = job->there = NULL;
	job->address = job->info = NULL;
}

/* The VM is paused. */
static void memory_release(struct migration *job)
{
	dirty_stop(job->kvm);
	machine_set_discards(job->kvm, job->discard_page);
}

static void guest_resume(struct migration *job)
{
	if (!job->stopped)
		return;
	atomic_store(&job->counts.downtime_ns, event_now_ns() - job->stopped_ns);
	memory_release(job);
	job->stopped = job->undecided = false;
	kvm_resume(job->kvm);
}

/* Until then the other side may still have the disks, because it hasn't noticed yet that it won't get the guest. */
static void guest_take_back(struct event_timer *timer)
{
	struct migration *job = container_of(timer, struct migration, retry);

	int result = disks_take_back(job);

	if (!result) {
		if (job->undecided)
			log_warn("migration: the other side is gone, and the guest goes on here");
		guest_resume(job);
	} else if (result == -EBUSY && event_now_ns() < job->retry_until_ns) {
		event_timer_set(&job->retry, event_now_ns() + RETRY_NS);
	} else {
		job->undecided = true;
		log_error(EBUSY, "migration: the guest's disks are in use elsewhere, or were, so it stays paused (lkvm resume %s tries again)",
			  job->kvm->name);
	}
}

static void guest_is_anywhere(struct migration *job)
{
	job->undecided = true;
	job->retry_until_ns = event_now_ns() + UNDECIDED_NS;
	log_error(job->result, "migration: the connection was lost in the moment of the handing over, so the guest stays paused here: if it "
		  "runs there, lkvm stop %s; if not, lkvm resume %s", job->kvm->name, job->kvm->name);
	if (job->tells)
		guest_take_back(&job->retry);
}

static void guest_is_here(struct migration *job)
{
	job->retry_until_ns = event_now_ns() + RETRIES_NS;
	if (job->stopped) {
		guest_take_back(&job->retry);
		return;
	}
	/* what counts written pages goes while nobody writes */
	if (kvm_pause(job->kvm))
		return;
	memory_release(job);
	kvm_resume(job->kvm);
}

static void error_note(struct migration *job)
{
	char text[MIGRATE_TEXT];

	if (job->error[0])
		snprintf(text, sizeof(text), "the other side refused: %.300s", job->error);
	else
		snprintf(text, sizeof(text), "%s", job->result == -EPIPE ? "The other side hung up" : strerrordesc_np(-job->result));
	memcpy(job->error, text, sizeof(text));
	if (job->outcome == GUEST_IS_THERE)
		log_error(job->result, "migration to '%s': %s, and the guest there needs the memory that is here (lkvm migrate --recover %s)",
			  job->address, text, job->kvm->name);
	if (job->outcome == GUEST_IS_HERE)
		log_error(job->result, "migration to '%s': %s; the guest goes on here", job->address, text);
}

static void migration_finished(struct event_work *work)
{
	struct migration *job = container_of(work, struct migration, finished);
	bool cancelled = atomic_load(&job->phase) == PHASE_CANCELLED;

	pthread_join(job->thread, NULL);
	job->ended_ns = event_now_ns();
	event_timer_cancel(&job->throttle);
	if (job->result && !cancelled)
		error_note(job);
	if (job->outcome == GUEST_IS_THERE && job->result) {
		status_set(job, MIGRATION_POSTCOPY_PAUSED);
		return;
	}
	if (job->outcome == GUEST_IS_HERE)
		guest_is_here(job);
	else if (job->outcome == GUEST_IS_ANYWHERE)
		guest_is_anywhere(job);
	job_clean(job);
	status_set(job, job->outcome == GUEST_IS_THERE ? MIGRATION_COMPLETED : cancelled ? MIGRATION_CANCELLED : MIGRATION_FAILED);
}

const char *migration_pause_name(const struct kvm *kvm)
{
	const struct migration *job = migration_of(kvm);

	if (job && job->stopped)
		return atomic_load(&job->status) == MIGRATION_COMPLETED ? "postmigrate" : "finish-migrate";
	return kvm->incoming ? "inmigrate" : "paused";
}

const char *migration_holds(struct kvm *kvm)
{
	struct migration *job = migration_of(kvm);

	if (kvm->incoming)
		return "The guest isn't here yet";
	if (!job || !job->stopped)
		return NULL;
	if (!job->undecided)
		return atomic_load(&job->status) == MIGRATION_COMPLETED ? "The guest runs elsewhere by now (quit ends this VM)" :
		       "The guest is about to go elsewhere";
	if (disks_take_back(job))
		return "The guest's disks are in use elsewhere, so it may run there";
	event_timer_cancel(&job->retry);
	guest_resume(job);
	return NULL;
}

/* ---- its beginning ---- */

/* A vCPU that sleeps for its part of each period writes that much less. */
static void throttle_tick(struct event_timer *timer)
{
	struct migration *job = container_of(timer, struct migration, throttle);
	unsigned int percent = atomic_load(&job->counts.throttle);

	if (percent && !job->stopped) {
		atomic_store(&job->kvm->throttle_us, percent * (THROTTLE_PERIOD_NS / 1000) / 100);
		for (unsigned int i = 0; i < job->kvm->cpu_count; i++)
			kvm_cpu_request(job->kvm->cpus[i], CPU_REQUEST_THROTTLE);
	}
	event_timer_set(timer, event_now_ns() + THROTTLE_PERIOD_NS);
}

static int info_make(struct migration *job)
{
	json_t *info = snapshot_describe(job->kvm, false);

	if (!info)
		return -ENOTSUP;
	job->info = json_dumps(info, JSON_COMPACT);
	json_decref(info);
	return job->info ? 0 : log_errno(ENOMEM, "migration");
}

/* The VM is paused, so that nobody writes between what is counted and what isn't. */
static int job_fill(struct migration *job)
{
	size_t words = dirty_words(job->kvm);
	int result = info_make(job);

	job->pages = calloc(words, sizeof(*job->pages));
	job->there = calloc(words, sizeof(*job->there));
	if (!result && (!job->pages || !job->there || !job->address))
		result = log_errno(ENOMEM, "migration");
	if (!result)
		result = dirty_start(job->kvm);
	if (result)
		return result;
	job->discard_page = machine_set_discards(job->kvm, 0);
	result = thread_start(&job->thread, migration_thread, job, "migration");
	if (result)
		memory_release(job);
	return result;
}

static void job_reset(struct migration *job, const char *address)
{
	struct migration_counts *counts = &job->counts;

	memset(counts, 0, sizeof(*counts));
	job->address = strdup(address);
	job->error[0] = '\0';
	job->frames = job->ended_ns = job->setup_ns = job->stopped_ns = job->cursor = job->sent_before = 0;
	job->stopped = job->handed_over = job->undecided = job->direct = job->postcopy = job->again = false;
	atomic_store(&job->switches, false);
	job->result = job->stop_result = 0;
	job->fd = -1;
	atomic_store(&job->phase, PHASE_OPEN);
	job->began_ns = event_now_ns();
}

static bool has_writable_pmem(const struct config *config)
{
	for (size_t i = 0; i < config_count(config, "pmem"); i++)
		if (!strstr(config_item(config, "pmem", i), ",ro"))
			return true;
	return false;
}

static int migration_possible(const struct migration *job, char **error)
{
	const struct kvm *kvm = job->kvm;

	if (!kvm->started_ns || atomic_load(&kvm->end) != KVM_END_NONE)
		return qmp_fail(error, EBUSY, "The guest doesn't run");
	if (kvm->incoming)
		return qmp_fail(error, EBUSY, "The guest isn't here yet");
	if (job->stopped)
		return qmp_fail(error, EBUSY, "The guest runs elsewhere by now, or may do so");
	if (postcopy_is_active(kvm))
		return qmp_fail(error, EBUSY, "Some of the guest's memory isn't here yet");
	if (is_running(atomic_load(&job->status)))
		return qmp_fail(error, EBUSY, "The VM is being migrated already");
	if (snapshot_is_written(kvm))
		return qmp_fail(error, EBUSY, "A snapshot is being written");
	if (kvm->debugger)
		return qmp_fail(error, EBUSY, "A debugger's breakpoints may be in the guest's memory: let gdb go first");
	if (config_split(kvm->config) != SIZE_MAX || config_flag(kvm->config, "systemd") || config_given(kvm->config, "sandbox"))
		return qmp_fail(error, EOPNOTSUPP, "A VM that runs a command of the host's (run -- COMMAND) can't go on without it");
	if (has_writable_pmem(kvm->config))
		return qmp_fail(error, EOPNOTSUPP, "Memory of a file (--pmem) can't be migrated, unless it is read only");
	return 0;
}

int migration_begin(struct migration *job, const char *address, char **error)
{
	int result = migration_possible(job, error);

	if (result)
		return result;
	if (migrate_address_check(address))
		return qmp_fail(error, EINVAL, "Parameter 'uri' has to be tcp:HOST:PORT, unix:PATH, exec:COMMAND or fd:N");
	job_reset(job, address);
	status_set(job, MIGRATION_SETUP);
	result = kvm_pause(job->kvm);
	if (!result) {
		result = job_fill(job);
		job->setup_ns = event_now_ns() - job->began_ns;
		kvm_resume(job->kvm);
	}
	if (!result) {
		if (atomic_load(&job->parameters.auto_converge))
			event_timer_set(&job->throttle, event_now_ns() + THROTTLE_PERIOD_NS);
		return 0;
	}
	job_clean(job);
	status_set(job, MIGRATION_FAILED);
	if (asprintf(error, "It can't be migrated: %s (the VM's own messages say more)", strerrordesc_np(-result)) < 0)
		*error = NULL;
	return result;
}

int migration_switch(struct migration *job)
{
	const enum migration_status status = atomic_load(&job->status);

	if (!atomic_load(&job->parameters.postcopy) || (status != MIGRATION_SETUP && status != MIGRATION_ACTIVE))
		return -EINVAL;
	atomic_store(&job->switches, true);
	return 0;
}

int migration_resume(struct migration *job, const char *address, char **error)
{
	char *copy;
	int result;

	if (atomic_load(&job->status) != MIGRATION_POSTCOPY_PAUSED)
		return qmp_fail(error, EINVAL, "Post-copy hasn't lost its connection");
	if (migrate_address_check(address))
		return qmp_fail(error, EINVAL, "Parameter 'uri' has to be tcp:HOST:PORT, unix:PATH, exec:COMMAND or fd:N");
	copy = strdup(address);
	if (!copy)
		return -ENOMEM;
	free(job->address);
	job->address = copy;
	job->error[0] = '\0';
	job->again = true;
	job->cursor = 0;
	status_set(job, MIGRATION_SETUP);
	result = thread_start(&job->thread, migration_thread, job, "migration");
	if (result)
		status_set(job, MIGRATION_POSTCOPY_PAUSED);
	return result;
}

static void connection_cut(struct migration *job)
{
	pthread_mutex_lock(&job->lock);
	if (job->fd >= 0)
		shutdown(job->fd, SHUT_RDWR);
	pthread_mutex_unlock(&job->lock);
}

int migration_cancel(struct migration *job)
{
	enum migration_phase open = PHASE_OPEN;

	if (!is_running(atomic_load(&job->status)))
		return 0;
	if (!atomic_compare_exchange_strong(&job->phase, &open, PHASE_CANCELLED))
		return open == PHASE_CANCELLED ? 0 : -EBUSY;
	status_set(job, MIGRATION_CANCELLING);
	connection_cut(job);
	return 0;
}

/* ---- life ---- */

static int migration_init(struct kvm *kvm)
{
	struct migration *job = calloc(1, sizeof(*job));
	int result;

	if (!job)
		return log_errno(ENOMEM, "migration");
	job->kvm = kvm;
	job->fd = job->connection.fd = -1;
	atomic_store(&job->parameters.downtime_limit_ns, DOWNTIME_NS);
	atomic_store(&job->parameters.auto_converge, true);
	pthread_mutex_init(&job->lock, NULL);
	sem_init(&job->stop_done, 0, 0);
	event_work_init(kvm->loop, &job->stop, migration_stop);
	event_work_init(kvm->loop, &job->finished, migration_finished);
	event_timer_init(kvm->loop, &job->throttle, throttle_tick);
	event_timer_init(kvm->loop, &job->retry, guest_take_back);
	result = kvm_set_state(kvm, migration_key, job);
	if (result)
		free(job);
	return result;
}

static void migration_exit(struct kvm *kvm)
{
	struct migration *job = migration_of(kvm);

	if (is_running(atomic_load(&job->status))) {
		enum migration_phase open = PHASE_OPEN;

		atomic_compare_exchange_strong(&job->phase, &open, PHASE_CANCELLED);
		connection_cut(job);
		/* it may wait to be let in */
		sem_post(&job->stop_done);
		pthread_join(job->thread, NULL);
		if (job->outcome != GUEST_IS_THERE)
			log_warn("migration: the VM has ended before it was elsewhere");
	}
	if (atomic_load(&job->status) == MIGRATION_POSTCOPY || atomic_load(&job->status) == MIGRATION_POSTCOPY_PAUSED)
		log_warn("migration: the VM has ended with memory that its guest, elsewhere, has not");
	job_clean(job);
	event_timer_cancel(&job->throttle);
	event_timer_cancel(&job->retry);
	event_work_cancel(&job->stop);
	event_work_cancel(&job->finished);
	dirty_stop(kvm);
	sem_destroy(&job->stop_done);
	pthread_mutex_destroy(&job->lock);
	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, migration_key, NULL))
		free(job);
}
late_init(migration_init);
late_exit(migration_exit);
