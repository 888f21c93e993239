/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of `lkvm run` share. */
#ifndef CMD_RUN_H
#define CMD_RUN_H

#include "kvm/kvm.h"

/** run_bisect_status() - what `git bisect run` makes of a VM that ended by @end with @status: see lkvm.1 */
int run_bisect_status(enum kvm_end end, int status);
/** run_config_files() - takes what --config and --profile name into @config; 0 or -EUSAGE (said) */
int __must_check run_config_files(struct config *config);
/** run_print_config() - what --print-config prints; the exit status */
int run_print_config(const struct config *config);
/** run_print_trouble() - if an oops or panic ended @kvm, its log, decoded, if its vmlinux is found */
void run_print_trouble(const struct kvm *kvm);
/** run_report_open() - what --report names, emptied, as *@fd, the caller's; without it *@fd stays; 0 or negative errno (said) */
int __must_check run_report_open(const struct config *config, int *fd);
/** run_report() - how @kvm ended, with its @status, and when it came to what since @started_ns, as JSON to @fd */
void run_report(const struct kvm *kvm, int status, int fd, uint64_t started_ns);
/** run_judge() - the status of a VM that has ended: with --bisect, run_bisect_status(), for run_judged() to know */
int run_judge(const struct kvm *kvm, int status);
/** run_judged() - the status of all: with --bisect, what failed without a judgement can't be judged */
int run_judged(const struct config *config, int status);
/** run_usage_status() - the status of a command line that can't be parsed */
int run_usage_status(int argc, char **argv);
/**
 * run_daemonize() - with --daemonize: in the foreground the exit status, once the VM runs or has failed; -1: go on, in the
 *		     background or without it. Before there are threads.
 */
int run_daemonize(struct config *config);
struct fork_nursery;
/** run_forks() - kvm->run_forks: what is left for the new process to do, which ends here */
__attribute__((noreturn)) void run_forks(struct fork_nursery *nursery);
/** run_vm() - kvm_init() to kvm_exit(); the exit status */
int run_vm(struct kvm *kvm);
/**
 * run_machine() - with a config of run_options(), and operands as in front of a `--`; the exit status
 * @words: the command behind it, NULL-terminated; NULL: there was no `--`
 */
int run_machine(struct config *config, int operands, char **argv, char **words);

#endif
