/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The processes of `lkvm fork`: each is a copy of a VM's, deep in a command of its client's, and ends here.
 */
#include <unistd.h>

#include "kvm/fork.h"
#include "kvm/log.h"
#include "run.h"

static int fork_run(struct fork_child *child)
{
	struct config *config;
	struct kvm *kvm;
	int result, status = LKVM_STATUS_ERROR;

	if (config_new(&config, run_options()) < 0)
		return status;
	result = fork_config(child, config);
	if (!result)
		result = kvm_create(&kvm, config);
	if (result) {
		config_free(config);
		return status;
	}
	/* a fork has forks as any VM */
	kvm->run_forks = run_forks;
	if (!fork_attach(child, kvm))
		status = run_judge(kvm, run_vm(kvm));
	fork_failed(child);
	kvm_free(kvm);
	config_free(config);
	return status;
}

void run_forks(struct fork_nursery *nursery)
{
	struct fork_child *child;
	int status = LKVM_STATUS_ERROR;

	if (!fork_raise(nursery, &child))
		status = child ? fork_run(child) : 0;
	if (child)
		fork_failed(child);
	/* what was to be done at the other process's end is not done at this one's */
	_exit(status);
}
