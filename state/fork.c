/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Forking a running VM, asked for over the control socket.
 *
 * The VM is paused while disks are flushed, the machine is saved to memory, and guest memory becomes copy on write
 * (state/fork-memory.c). Then its process forks, and the guest goes on; the new process raises the VMs that were asked for
 * (state/fork-nursery.c) and tells by a pipe how that went. One such job at a time. Main thread.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "kvm/control.h"
#include "kvm/disk.h"
#include "kvm/log.h"
#include "kvm/migrate.h"
#include "kvm/net.h"
#include "kvm/runtime-directory.h"
#include "kvm/snapshot.h"
#include "state/fork.h"
#include "state/machine.h"

#define NAME_MAX_LENGTH	64
#define NUMBER_MAX	1000000

static const char fork_key[] = "fork";

enum fork_status { FORK_NONE, FORK_RUNNING, FORK_COMPLETED, FORK_FAILED };
static const char *const status_names[] = { "none", "running", "completed", "failed" };

struct fork_job {
	struct kvm *kvm;
	enum fork_status status;
	unsigned int count, heard;
	pid_t nursery;
	struct event_source reports;
	json_t *names, *pids;
	char *folder;
	char error[FORK_TEXT + NAME_MAX_LENGTH + 8];
	uint64_t paused_ns, began_ns, took_ns;
};

/* ---- what comes of it ---- */

static void job_end(struct fork_job *job)
{
	int fd = job->reports.fd;

	event_del(&job->reports);
	close(fd);
	/* it has closed its end, which is the last thing it does */
	waitpid(job->nursery, NULL, 0);
	job->took_ns = event_now_ns() - job->began_ns;
	if (job->heard < job->count && !job->error[0])
		snprintf(job->error, sizeof(job->error), "the process that starts them has ended");
	job->status = job->error[0] ? FORK_FAILED : FORK_COMPLETED;
	if (job->error[0])
		log_warn("fork: %s", job->error);
	control_event(job->kvm, "X_LKVM_FORK", json_pack("{s:s}", "status", status_names[job->status]));
}

static void job_hear(struct fork_job *job, struct fork_report *report)
{
	const char *name = json_string_value(json_array_get(job->names, report->index));

	report->text[FORK_TEXT - 1] = '\0';
	job->heard++;
	if (report->error && !job->error[0])
		snprintf(job->error, sizeof(job->error), "%s: %s", name ? name : "?",
			 strncmp(report->text, "lkvm: ", 6) == 0 ? report->text + 6 : report->text);
	json_array_append_new(job->pids, json_integer(report->pid));
}

static void reports_ready(struct event_source *source, uint32_t events)
{
	struct fork_job *job = container_of(source, struct fork_job, reports);
	struct fork_report report;
	ssize_t length = read(source->fd, &report, sizeof(report));

	(void)events;
	if (length < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (length == sizeof(report))
		job_hear(job, &report);
	else
		job_end(job);
}

/* ---- names ---- */

static bool is_prefix(const char *prefix)
{
	json_t *text = json_string(prefix);
	bool good = text && *prefix && *prefix != '.' && strlen(prefix) <= NAME_MAX_LENGTH - 8;

	json_decref(text);
	for (; *prefix; prefix++)
		good = good && (unsigned char)*prefix > ' ' && *prefix != 0x7f && *prefix != '/';
	return good;
}

/* Whether a VM may have it, or had: its socket is there. */
static bool name_is_taken(const char *sockets, const char *prefix, unsigned int number)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/%s-%u.sock", sockets, prefix, number) < 0)
		path = NULL;
	return path && access(path, F_OK) == 0;
}

static int names_choose(struct fork_job *job, struct fork_nursery *nursery)
{
	_cleanup_free_ char *sockets = NULL;
	int result = runtime_directory(&sockets, true);

	if (result)
		return log_errno(result, "fork: the folder of control sockets%s%s", sockets ? " " : "", sockets ? sockets : "");
	nursery->folder = strdup(job->folder ? job->folder : sockets);
	nursery->numbers = calloc(nursery->count, sizeof(*nursery->numbers));
	if (!nursery->folder || !nursery->numbers)
		return log_errno(ENOMEM, "fork");
	for (unsigned int i = 0, number = 1; i < nursery->count; number++) {
		_cleanup_free_ char *name = NULL;

		if (number > NUMBER_MAX)
			return log_error(EEXIST, "fork: no names are left behind '%s'", nursery->prefix);
		if (name_is_taken(sockets, nursery->prefix, number))
			continue;
		nursery->numbers[i] = number;
		name = fork_name(nursery, i++);
		if (!name || json_array_append_new(job->names, json_string(name)))
			return log_errno(ENOMEM, "fork");
	}
	return 0;
}

/* ---- the machine ---- */

/* Takes @fd over. */
static int layer_add(struct fork_origin *origin, size_t disk, int fd)
{
	struct fork_layer *layers = fd < 0 ? NULL : realloc(origin->layers, (origin->layer_count + 1) * sizeof(*layers));

	if (!layers) {
		int error = fd < 0 ? errno : ENOMEM;

		if (fd >= 0)
			close(fd);
		return log_errno(error, "fork: disk %zu", disk);
	}
	origin->layers = layers;
	layers[origin->layer_count++] = (struct fork_layer){ disk, fd };
	return 0;
}

/* What the VM, a fork itself, has already below what was written to it since. */
static int layers_take(const struct kvm *kvm, size_t disk, struct fork_origin *origin)
{
	const struct fork_origin *own = kvm->origin;
	size_t count = 0;
	int result = 0;

	for (size_t i = 0; own && i < own->layer_count && !result; i++) {
		if (own->layers[i].disk != disk)
			continue;
		count++;
		result = layer_add(origin, disk, fcntl(own->layers[i].fd, F_DUPFD_CLOEXEC, 0));
	}
	if (!result && count >= FORK_LAYERS_MAX)
		result = log_error(ELOOP, "fork: disk %zu: a fork of a fork, %d times, is as far as it goes", disk, FORK_LAYERS_MAX);
	return result;
}

static int disk_take(struct kvm *kvm, size_t index, struct fork_origin *origin)
{
	struct disk *disk = disks_get(kvm, index);
	int fd = -1, result = disk_sync(disk);

	if (!result)
		result = layers_take(kvm, index, origin);
	if (!result)
		result = disk_copy_writes(disk, &fd);
	return result || fd < 0 ? result : layer_add(origin, index, fd);
}

static int disks_take(struct kvm *kvm, struct fork_origin *origin)
{
	int result = 0;

	for (size_t i = 0; i < disks_count(kvm) && !result; i++)
		result = disk_take(kvm, i, origin);
	return result;
}

static int machine_take(struct kvm *kvm, struct fork_nursery *nursery)
{
	int result = disks_take(kvm, &nursery->origin);

	if (!result)
		result = machine_save(kvm, &nursery->state);
	/* behind it: KVM may write tables into guest memory */
	if (!result)
		result = fork_memory_share(kvm);
	nursery->origin.ram = kvm->ram_host;
	nursery->origin.ram_size = kvm->ram_size;
	nursery->origin.parent = kvm->name;
	nursery->booted = atomic_load(&kvm->booted);
	return result;
}

static int process_fork(struct fork_job *job, struct fork_nursery *nursery)
{
	int ends[2], result;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return log_errno(errno, "fork: its pipe");
	nursery->report_fd = ends[1];
	result = fcntl(ends[1], F_SETFL, 0) < 0 ? -errno : event_add(job->kvm->loop, &job->reports, ends[0], EPOLLIN, reports_ready);
	if (!result) {
		job->nursery = fork();
		if (!job->nursery)
			job->kvm->run_forks(nursery);
		if (job->nursery < 0) {
			result = -errno;
			event_del(&job->reports);
		}
	}
	close(ends[1]);
	if (result)
		close(ends[0]);
	return result ? log_errno(result, "fork: its process") : 0;
}

static void nursery_free(struct fork_nursery *nursery)
{
	for (size_t i = 0; i < nursery->origin.layer_count; i++)
		close(nursery->origin.layers[i].fd);
	free(nursery->origin.layers);
	state_writer_free(&nursery->state);
	free(nursery->numbers);
	free(nursery->folder);
}

static int job_start(struct fork_job *job, struct fork_nursery *nursery)
{
	int result = names_choose(job, nursery);

	if (result)
		return result;
	job->began_ns = event_now_ns();
	result = kvm_pause(job->kvm);
	if (result)
		return result;
	result = machine_take(job->kvm, nursery);
	if (!result)
		result = process_fork(job, nursery);
	kvm_resume(job->kvm);
	job->paused_ns = event_now_ns() - job->began_ns;
	return result;
}

/* ---- commands ---- */

static int fork_possible(struct kvm *kvm, const struct fork_job *job, bool networks, char **error)
{
	if (!kvm->started_ns || atomic_load(&kvm->end) != KVM_END_NONE)
		return qmp_fail(error, EBUSY, "The guest doesn't run");
	if (job->status == FORK_RUNNING)
		return qmp_fail(error, EBUSY, "The VM is being forked already");
	if (migration_is_active(kvm))
		return qmp_fail(error, EBUSY, "The VM is being migrated");
	if (snapshot_is_written(kvm))
		return qmp_fail(error, EBUSY, "A snapshot is being written");
	if (kvm->debugger)
		return qmp_fail(error, EBUSY, "A debugger's breakpoints may be in the guest's memory: let gdb go first");
	if (!kvm->run_forks)
		return qmp_fail(error, EOPNOTSUPP, "This VM wasn't started by lkvm run");
	*error = fork_refusal(kvm->config, networks);
	return *error ? -EOPNOTSUPP : 0;
}

static int networks_take(const json_t *list, const char ***networks)
{
	size_t count = json_array_size(list);
	const char **texts = list ? calloc(count + 1, sizeof(*texts)) : NULL;

	*networks = texts;
	if (!list)
		return 0;
	if (!texts || !json_is_array(list))
		return texts ? -EINVAL : -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		texts[i] = json_string_value(json_array_get(list, i));
		if (!texts[i])
			return -EINVAL;
	}
	return count ? 0 : -EINVAL;
}

static int arguments_take(struct fork_job *job, struct fork_nursery *nursery, const json_t *arguments, char **error)
{
	const json_t *count = json_object_get(arguments, "count"), *name = json_object_get(arguments, "name");
	const json_t *folder = json_object_get(arguments, "log");

	if (count && (json_integer_value(count) < 1 || json_integer_value(count) > FORKS_MAX))
		return qmp_fail(error, EINVAL, "Parameter 'count' has to be a number from 1 to 1000");
	if (name && (!json_is_string(name) || !is_prefix(json_string_value(name))))
		return qmp_fail(error, EINVAL, "Parameter 'name' won't do (1 to 56 bytes of printable UTF-8, no blanks, no '/', no '.' in front)");
	if (!name && !is_prefix(job->kvm->name))
		return qmp_fail(error, EINVAL, "The VM's own name is too long for a number behind it: say 'name'");
	if (folder && (!json_is_string(folder) || *json_string_value(folder) != '/'))
		return qmp_fail(error, EINVAL, "Parameter 'log' has to be the absolute path of a folder");
	nursery->count = count ? (unsigned int)json_integer_value(count) : 1;
	nursery->prefix = name ? json_string_value(name) : job->kvm->name;
	free(job->folder);
	job->folder = folder ? strdup(json_string_value(folder)) : NULL;
	return folder && !job->folder ? -ENOMEM : 0;
}

static int job_prepare(struct fork_job *job)
{
	json_decref(job->names);
	json_decref(job->pids);
	job->names = json_array();
	job->pids = json_array();
	job->error[0] = '\0';
	job->heard = 0;
	job->paused_ns = job->took_ns = 0;
	return job->names && job->pids ? 0 : -ENOMEM;
}

/* The guest has its devices; more or fewer would not load. */
static bool networks_fit(struct kvm *kvm, const char *const *networks)
{
	size_t count = 0;

	for (; *networks; networks++)
		count += !fork_network_is_none(*networks);
	return count == networks_count(kvm);
}

static int fork_start(struct fork_job *job, struct fork_nursery *nursery, const json_t *arguments, char **error)
{
	int result = arguments_take(job, nursery, arguments, error);

	if (!result)
		result = job_prepare(job);
	if (result)
		return result;
	job->count = nursery->count;
	result = job_start(job, nursery);
	job->status = result ? FORK_FAILED : FORK_RUNNING;
	if (result && asprintf(error, "It can't be forked: %s (the VM's own messages say more)", strerrordesc_np(-result)) < 0)
		*error = NULL;
	return result;
}

static int x_lkvm_fork(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const json_t *list = json_object_get(arguments, "network");
	struct fork_nursery nursery = { .kvm = kvm };
	struct fork_job *job = kvm_get_state(kvm, fork_key);
	const char **networks = NULL;
	int r = fork_possible(kvm, job, list != NULL, error);

	if (!r && networks_take(list, &networks))
		r = qmp_fail(error, EINVAL, "Parameter 'network' has to be a list of texts, each as behind -n");
	if (!r && list && !networks_fit(kvm, networks))
		r = qmp_fail(error, EINVAL, "Parameter 'network' (-n) has to name as many networks as the guest has devices");
	nursery.networks = networks;
	if (!r)
		r = fork_start(job, &nursery, arguments, error);
	nursery_free(&nursery);
	free(networks);
	if (!r)
		*result = json_pack("{s:O}", "names", job->names);
	return r;
}

static const char *const fork_arguments[] = { "count?:int", "name?:str", "log?:str", "network?:[str]", NULL };
static struct qmp_command fork_command = {
	.name = "x-lkvm-fork", .help = "Start copies of the VM as it is now", .arguments = fork_arguments, .returns = "any",
	.run = x_lkvm_fork };
QMP_COMMAND(fork_command);

static int x_lkvm_query_fork(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const struct fork_job *job = kvm_get_state(kvm, fork_key);
	bool done = job->status == FORK_COMPLETED;

	(void)arguments;
	(void)error;
	*result = json_pack("{s:s,s:f,s:f,s:s*,s:O*,s:O*}", "status", status_names[job->status], "paused", (double)job->paused_ns / 1e9,
			    "took", (double)job->took_ns / 1e9, "error", job->error[0] ? job->error : NULL, "names",
			    done ? job->names : NULL, "pids", done ? job->pids : NULL);
	return *result ? 0 : -ENOMEM;
}

static struct qmp_command query_fork_command = {
	.name = "x-lkvm-query-fork", .help = "What became of the last fork, and how long the guest stood still for it",
	.returns = "any", .run = x_lkvm_query_fork };
QMP_COMMAND(query_fork_command);

/* ---- life ---- */

static int fork_init(struct kvm *kvm)
{
	struct fork_job *job = calloc(1, sizeof(*job));
	int result;

	if (!job)
		return log_errno(ENOMEM, "fork");
	job->kvm = kvm;
	result = kvm_set_state(kvm, fork_key, job);
	if (result)
		free(job);
	return result;
}

static void fork_exit(struct kvm *kvm)
{
	struct fork_job *job = kvm_get_state(kvm, fork_key);

	if (job->status == FORK_RUNNING) {
		int fd = job->reports.fd;

		/* it goes on by itself, and init is told of its end */
		event_del(&job->reports);
		close(fd);
	}
	json_decref(job->names);
	json_decref(job->pids);
	free(job->folder);
	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, fork_key, NULL))
		free(job);
}
late_init(fork_init);
late_exit(fork_exit);
