/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A forked VM, from its process's first step until its guest runs.
 *
 * The process is a copy of the nursery's, which is one of the parent's: the parent's machine lies in it as memory that
 * nobody looks at again, but for its options, the saved state, and the guest's own memory. The machine is made anew, by
 * the options, and loads that state. The nursery hears when its main loop runs, or what was said last before it ended.
 * Main thread.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "kvm/guest-life.h"
#include "kvm/log.h"
#include "kvm/option.h"
#include "state/fork.h"
#include "state/machine.h"

static const char fork_child_key[] = "fork-child";

char *fork_name(const struct fork_nursery *nursery, unsigned int index)
{
	char *name;

	return asprintf(&name, "%s-%u", nursery->prefix, nursery->numbers[index]) < 0 ? NULL : name;
}

char *fork_log(const struct fork_nursery *nursery, unsigned int index)
{
	char *path;

	return asprintf(&path, "%s/%s-%u.log", nursery->folder, nursery->prefix, nursery->numbers[index]) < 0 ? NULL : path;
}

/* ---- options ---- */

struct options_walk {
	const struct fork_child *child;
	struct config *config;
	int result;
};

static void option_take(const struct option_def *def, const char *text, void *opaque)
{
	struct options_walk *walk = opaque;
	const struct kvm *parent = walk->child->nursery->kvm;
	_cleanup_free_ char *changed = NULL;
	int there;

	/* given beside the fork */
	if (walk->result || (strcmp(def->name, "network") == 0 && walk->child->nursery->networks))
		return;
	there = fork_option(def->name, text, walk->child->name, parent->origin ? parent->name : NULL, &changed);
	if (there > 0)
		there = config_set(walk->config, def->name, changed);
	walk->result = there < 0 ? log_error(there, "fork: option --%s %s", def->name, text) : 0;
}

int fork_config(const struct fork_child *child, struct config *config)
{
	struct options_walk walk = { .child = child, .config = config };
	const char *const *network = child->nursery->networks;

	config_each_given(child->nursery->kvm->config, option_take, &walk);
	for (; !walk.result && network && *network; network++)
		walk.result = config_set(config, "network", *network);
	return walk.result ? walk.result : config_set(config, "name", child->name);
}

/* ---- the machine ---- */

static void report_send(struct fork_child *child)
{
	if (child->report_fd < 0)
		return;
	/* a nursery that is gone has ended us as well */
	if (write(child->report_fd, &child->report, sizeof(child->report)) < 0)
		log_debug("fork: the nursery doesn't hear");
	close(child->report_fd);
	child->report_fd = -1;
}

/* In the main loop's first round: all that it needs has been opened, and its vCPUs run. */
static void child_runs(struct event_work *work)
{
	struct fork_child *child = container_of(work, struct fork_child, running);

	child->report.error = 0;
	report_send(child);
}

static int child_restore(struct kvm *kvm)
{
	struct fork_child *child = kvm_get_state(kvm, fork_child_key);
	struct state_reader reader = { .data = child->nursery->state.data, .length = child->nursery->state.length };
	int result = machine_load(kvm, &reader);

	if (!result && child->nursery->booted)
		guest_life_booted(kvm);
	if (!result)
		event_work_post(&child->running);
	return result;
}

int fork_attach(struct fork_child *child, struct kvm *kvm)
{
	int result = kvm_set_state(kvm, fork_child_key, child);

	if (result)
		return result;
	kvm->origin = &child->nursery->origin;
	kvm->restore = child_restore;
	event_work_init(kvm->loop, &child->running, child_runs);
	return 0;
}

/* The last line of what it said, which is why it failed. */
static void last_line(const char *path, char line[FORK_TEXT])
{
	FILE *file = fopen(path, "re");
	char text[FORK_TEXT];

	while (file && fgets(text, sizeof(text), file)) {
		text[strcspn(text, "\r\n")] = '\0';
		if (text[0])
			memcpy(line, text, sizeof(text));
	}
	if (file)
		fclose(file);
}

void fork_failed(struct fork_child *child)
{
	if (child->report_fd < 0)
		return;
	last_line(child->log, child->report.text);
	report_send(child);
}

/* ---- its process ---- */

static int output_open(const char *path)
{
	_cleanup_close_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int log = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	if (null < 0 || log < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
		return -errno;
	return 0;
}

int fork_child_begin(struct fork_child **out, const struct fork_nursery *nursery, unsigned int index, int report_fd)
{
	struct fork_child *child = calloc(1, sizeof(*child));
	int result;

	if (!child)
		return -ENOMEM;
	*out = child;
	child->nursery = nursery;
	child->index = index;
	child->report_fd = report_fd;
	child->report = (struct fork_report){ .index = index, .pid = getpid(), .error = -ECHILD };
	child->name = fork_name(nursery, index);
	child->log = fork_log(nursery, index);
	if (!child->name || !child->log)
		return -ENOMEM;
	setsid();
	result = output_open(child->log);
	if (result)
		snprintf(child->report.text, FORK_TEXT, "'%s', where its output would go: %s", child->log, strerrordesc_np(-result));
	return result;
}
