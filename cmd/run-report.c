/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm run --report: how a VM ended and when it came to what, as JSON, for programs that run many. Unlike the exit status
 * it tells a guest that panicked from a command that ended with the same number.
 */
#include <fcntl.h>
#include <jansson.h>

#include "kvm/log.h"
#include "run.h"

#define NS_PER_S	1e9

int run_report_open(const struct config *config, int *fd)
{
	const char *path = config_string(config, "report");

	if (!path)
		return 0;
	*fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	return *fd < 0 ? log_errno(errno, "option --report: '%s'", path) : 0;
}

static json_t *report_times(const struct kvm *kvm, uint64_t started_ns)
{
	json_t *times = json_object();

	for (size_t i = 0; i < KVM_MARKS; i++) {
		uint64_t at = atomic_load(&kvm->marks[i]);

		if (at)
			json_object_set_new(times, kvm_mark_name((enum kvm_mark)i), json_real((double)(at - started_ns) / NS_PER_S));
	}
	return times;
}

void run_report(const struct kvm *kvm, int status, int fd, uint64_t started_ns)
{
	enum kvm_end end = atomic_load(&kvm->end);
	json_t *report = json_pack("{s:s,s:s,s:i,s:f,s:o}", "name", kvm->name,
				   "end", end == KVM_END_NONE ? "not-started" : kvm_end_name(end), "status", status,
				   "started", (double)started_ns / NS_PER_S, "times", report_times(kvm, started_ns));

	if (!report || json_dumpfd(report, fd, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) || write(fd, "\n", 1) != 1)
		log_error(EIO, "option --report: can't be written");
	json_decref(report);
}

static const struct option_def report_options[] = {
	{ .name = "report", .type = OPTION_STRING, .argument = "FILE",
	  .help = "Write to FILE, as JSON, how the VM ended, and when it came to its first KVM_RUN, its console, init and command" },
};
RUN_OPTIONS(report_options_group, "Options for scripts", report_options);
