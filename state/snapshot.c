/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Taking a snapshot of a running VM, asked for over the control socket.
 *
 * The VM is paused while disks are flushed and the machine is saved to memory. Then guest memory is protected against
 * writes and the guest goes on, while a thread writes the file; where the host can't protect it, or the guest is to stay
 * paused, it stands still until the file is whole. Meanwhile no memory is given back to the host: what the guest has
 * freed since was not free then.
 *
 * The job is the main thread's; its thread touches the file and reads memory only.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "kvm/control.h"
#include "kvm/disk.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/migrate.h"
#include "kvm/snapshot.h"
#include "kvm/thread.h"
#include "state/machine.h"
#include "state/protect.h"
#include "state/snapshot-file.h"
#include "state/snapshot-info.h"

static const char snapshot_key[] = "snapshot";

enum snapshot_status { SNAPSHOT_NONE, SNAPSHOT_RUNNING, SNAPSHOT_COMPLETED, SNAPSHOT_FAILED };
static const char *const status_names[] = { "none", "running", "completed", "failed" };

struct snapshot {
	struct kvm *kvm;
	/* main thread */
	enum snapshot_status status;
	bool stays;			/* paused when it is done */
	struct snapshot_writer file;
	struct state_writer state;
	char *info;
	struct protect *protect;	/* while the guest runs over memory that isn't written yet; or NULL */
	bool stands;			/* the job holds a pause */
	uint64_t paused_ns, discard_page;
	pthread_t thread;
	struct event_work written, finished;
	int result;			/* the thread's, once it has finished */
	/* any thread */
	_Atomic uint64_t done;		/* bytes of memory */
	atomic_bool cancelled;
};

/* ---- the thread ---- */

static int block_write(void *opaque, uint64_t offset, size_t length)
{
	struct snapshot *job = opaque;
	struct kvm *kvm = job->kvm;
	off_t data = kvm->ram_fd >= 0 ? lseek(kvm->ram_fd, (off_t)offset, SEEK_DATA) : (off_t)offset;

	/* what the guest never touched isn't touched now either */
	if ((data < 0 && errno == ENXIO) || data >= (off_t)(offset + length))
		return 0;
	return snapshot_writer_block(&job->file, offset, (const char *)kvm->ram_host + offset, length);
}

static int memory_write_all(struct snapshot *job)
{
	uint64_t size = job->kvm->ram_size;
	int result = 0;

	for (uint64_t at = 0; at < size && !result; at += SNAPSHOT_BLOCK) {
		if (atomic_load(&job->cancelled))
			return -ECANCELED;
		result = job->protect ? protect_save(job->protect, at) :
					block_write(job, at, (size_t)MIN(size - at, SNAPSHOT_BLOCK));
		atomic_store(&job->done, MIN(at + SNAPSHOT_BLOCK, size));
	}
	return result ? log_errno(result, "snapshot '%s'", job->file.path) : 0;
}

static int file_write(struct snapshot *job)
{
	int result = snapshot_writer_put(&job->file, "info", job->info, strlen(job->info));

	if (!result)
		result = snapshot_writer_put(&job->file, "state", job->state.data, job->state.length);
	if (!result)
		result = snapshot_writer_memory(&job->file, job->kvm->ram_size);
	return result;
}

/* The guest needs its memory back before the file has reached the medium. */
static void *snapshot_thread(void *opaque)
{
	struct snapshot *job = opaque;
	int result = memory_write_all(job);

	/* a block that the guest made somebody else write */
	if (!result && job->protect && protect_error(job->protect))
		result = log_errno(protect_error(job->protect), "snapshot '%s'", job->file.path);
	event_work_post(&job->written);
	job->result = result ? result : snapshot_writer_commit(&job->file);
	event_work_post(&job->finished);
	return NULL;
}

/* ---- the main thread ---- */

static void job_clean(struct snapshot *job)
{
	snapshot_writer_close(&job->file);
	state_writer_free(&job->state);
	free(job->info);
	job->info = NULL;
}

/* Guest memory is written, or nobody will. */
static void memory_release(struct snapshot *job)
{
	if (job->protect)
		protect_stop(job->protect);
	job->protect = NULL;
	machine_set_discards(job->kvm, job->discard_page);
}

static void job_resume(struct snapshot *job)
{
	if (!job->stands)
		return;
	job->stands = false;
	job->paused_ns = event_now_ns() - job->paused_ns;
	kvm_resume(job->kvm);
}

static void snapshot_written(struct event_work *work)
{
	struct snapshot *job = container_of(work, struct snapshot, written);

	memory_release(job);
	if (!job->stays)
		job_resume(job);
}

static void snapshot_finished(struct event_work *work)
{
	struct snapshot *job = container_of(work, struct snapshot, finished);

	pthread_join(job->thread, NULL);
	job->status = job->result ? SNAPSHOT_FAILED : SNAPSHOT_COMPLETED;
	job_clean(job);
	/* the user's pause beside the job's */
	if (job->stays && !job->result && kvm_user_pause(job->kvm))
		log_debug("snapshot: the VM isn't paused");
	job_resume(job);
	control_event(job->kvm, "X_LKVM_SNAPSHOT", json_pack("{s:s}", "status", status_names[job->status]));
}

static int disks_sync(struct kvm *kvm)
{
	int result = 0;

	for (size_t i = 0; i < disks_count(kvm) && !result; i++)
		result = disk_sync(disks_get(kvm, i));
	return result;
}

static int machine_take(struct snapshot *job)
{
	int result = disks_sync(job->kvm);
	json_t *info = result ? NULL : snapshot_describe(job->kvm, job->stays);

	if (!info)
		return result ? result : -ENOTSUP;
	job->info = json_dumps(info, JSON_INDENT(1));
	json_decref(info);
	if (!job->info)
		return log_errno(ENOMEM, "snapshot");
	return machine_save(job->kvm, &job->state);
}

/* With the VM paused: from here on memory is what it is now, or the VM stays paused. */
static int memory_hold(struct snapshot *job)
{
	int result = job->stays ? -EOPNOTSUPP : protect_start(&job->protect, job->kvm, SNAPSHOT_BLOCK, block_write, job);

	if (result && result != -EOPNOTSUPP)
		return log_errno(result, "snapshot: guest memory can't be protected");
	if (result && !job->stays)
		log_info("snapshot: this host can't protect the guest's memory against writes, so the VM stands still until it is written");
	return 0;
}

static int job_fill(struct snapshot *job)
{
	int result = machine_take(job);

	/* room for the memory is made before anybody may wait for a block of it */
	if (!result)
		result = file_write(job);
	if (!result)
		result = memory_hold(job);
	if (result)
		return result;
	job->discard_page = machine_set_discards(job->kvm, 0);
	result = thread_start(&job->thread, snapshot_thread, job, "snapshot");
	if (result)
		memory_release(job);
	return result;
}

static int job_start(struct snapshot *job, const char *path)
{
	int result = snapshot_writer_open(&job->file, path);

	if (result)
		return result;
	job->paused_ns = event_now_ns();
	result = kvm_pause(job->kvm);
	job->stands = !result;
	if (!result)
		result = job_fill(job);
	if (result || job->protect)
		job_resume(job);
	if (result)
		job_clean(job);
	return result;
}

/* ---- commands ---- */

bool snapshot_is_written(const struct kvm *kvm)
{
	const struct snapshot *job = kvm_get_state(kvm, snapshot_key);

	return job && job->status == SNAPSHOT_RUNNING;
}

/* What is written to such memory is in its file alone, which goes on. */
static bool has_writable_pmem(const struct config *config)
{
	for (size_t i = 0; i < config_count(config, "pmem"); i++)
		if (!strstr(config_item(config, "pmem", i), ",ro"))
			return true;
	return false;
}

static int snapshot_possible(struct kvm *kvm, const struct snapshot *job, char **error)
{
	const char *why = NULL;

	if (!kvm->started_ns || atomic_load(&kvm->end) != KVM_END_NONE)
		why = "The guest doesn't run";
	else if (migration_is_active(kvm))
		why = "The VM is being migrated";
	else if (job->status == SNAPSHOT_RUNNING)
		why = "Another snapshot is being written";
	else if (config_split(kvm->config) != SIZE_MAX || config_flag(kvm->config, "systemd"))
		why = "A VM that runs a command of the host's (run -- COMMAND) can't be restored without it";
	else if (has_writable_pmem(kvm->config))
		why = "Memory of a file (--pmem) can't be in a snapshot, unless it is read only";
	*error = why ? strdup(why) : NULL;
	return why ? -EBUSY : 0;
}

static int x_lkvm_snapshot(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *path = json_string_value(json_object_get(arguments, "file"));
	struct snapshot *job = kvm_get_state(kvm, snapshot_key);
	int r = snapshot_possible(kvm, job, error);

	(void)result;
	if (r)
		return r;
	if (!path || *path != '/') {
		*error = strdup("Parameter 'file' has to be an absolute path");
		return -EINVAL;
	}
	atomic_store(&job->done, 0);
	atomic_store(&job->cancelled, false);
	job->stays = json_is_true(json_object_get(arguments, "pause"));
	job->status = SNAPSHOT_RUNNING;
	r = job_start(job, path);
	if (!r)
		return 0;
	job->status = SNAPSHOT_FAILED;
	if (asprintf(error, "The snapshot can't be taken: %s (the VM's own messages say more)", strerrordesc_np(-r)) < 0)
		*error = NULL;
	return r;
}

static const char *const snapshot_arguments[] = { "file:str", "pause?:bool", NULL };
static struct qmp_command snapshot_command = {
	.name = "x-lkvm-snapshot", .help = "Save the VM's state to a file", .arguments = snapshot_arguments,
	.run = x_lkvm_snapshot };
QMP_COMMAND(snapshot_command);

static int x_lkvm_query_snapshot(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const struct snapshot *job = kvm_get_state(kvm, snapshot_key);
	(void)arguments;
	(void)error;
	*result = json_pack("{s:s,s:I,s:I,s:f}", "status", status_names[job->status], "done", (json_int_t)atomic_load(&job->done),
			    "total", (json_int_t)kvm->ram_size, "paused",
			    (double)(job->stands ? event_now_ns() - job->paused_ns : job->paused_ns) / 1e9);
	return *result ? 0 : -ENOMEM;
}

static struct qmp_command query_snapshot_command = {
	.name = "x-lkvm-query-snapshot", .help = "How far the snapshot is, and how long the guest stood still for it",
	.returns = "any", .run = x_lkvm_query_snapshot };
QMP_COMMAND(query_snapshot_command);

/* ---- life ---- */

static int snapshot_init(struct kvm *kvm)
{
	struct snapshot *job = calloc(1, sizeof(*job));
	int result;

	if (!job)
		return log_errno(ENOMEM, "snapshot");
	job->kvm = kvm;
	job->file.fd = -1;
	event_work_init(kvm->loop, &job->written, snapshot_written);
	event_work_init(kvm->loop, &job->finished, snapshot_finished);
	result = kvm_set_state(kvm, snapshot_key, job);
	if (result)
		free(job);
	return result;
}

static void snapshot_exit(struct kvm *kvm)
{
	struct snapshot *job = kvm_get_state(kvm, snapshot_key);

	atomic_store(&job->cancelled, true);
	if (job->status == SNAPSHOT_RUNNING) {
		pthread_join(job->thread, NULL);
		memory_release(job);
		log_warn("snapshot '%s': the VM has ended before it was whole", job->file.path);
		job_clean(job);
	}
	event_work_cancel(&job->written);
	event_work_cancel(&job->finished);
	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, snapshot_key, NULL))
		free(job);
}
late_init(snapshot_init);
late_exit(snapshot_exit);
