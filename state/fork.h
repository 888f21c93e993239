/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of state/fork*.c share; nobody else includes it.
 */
#ifndef STATE_FORK_H
#define STATE_FORK_H

#include "kvm/fork.h"
#include "kvm/state.h"

#define FORK_TEXT	400		/* of a message, with its end */

/** struct fork_report - what goes through the pipes, from a fork to the nursery and from there to the VM; in one write */
struct fork_report {
	uint32_t index;			/* which of the forks */
	int32_t pid;
	int32_t error;			/* 0: it runs; else a negative errno, and @text */
	char text[FORK_TEXT];
};

/** struct fork_nursery - all that forks are made from; in the parent until it has forked, then in the nursery */
struct fork_nursery {
	struct kvm *kvm;		/* the parent; to read from */
	struct fork_origin origin;
	struct state_writer state;
	unsigned int count;
	unsigned int *numbers;		/* of each, behind its name */
	const char *prefix;		/* "NAME", for NAME-1 and on */
	char *folder;			/* of the logs */
	const char *const *networks;	/* instead of the parent's -n; NULL-terminated; or NULL */
	int report_fd;			/* to the VM */
	bool booted;			/* the guest was in user space */
};

/** struct fork_child - one fork */
struct fork_child {
	const struct fork_nursery *nursery;
	unsigned int index;
	char *name, *log;
	int report_fd;			/* to the nursery; -1: it has heard */
	struct fork_report report;
	struct event_work running;
};

/** fork_memory_share() - guest memory as copy on write: 0, or negative errno (said) with nothing changed. The VM is paused. */
int __must_check fork_memory_share(struct kvm *kvm);

/** fork_name(), fork_log() - of fork @index, new, NULL without memory */
char *fork_name(const struct fork_nursery *nursery, unsigned int index);
char *fork_log(const struct fork_nursery *nursery, unsigned int index);

/** fork_child_begin() - in the process that is to be fork @index: its session, its output, its reports; 0 or negative errno */
int __must_check fork_child_begin(struct fork_child **child, const struct fork_nursery *nursery, unsigned int index, int report_fd);

/**
 * fork_option() - what option @name of a VM is for a fork called @vm, to be freed
 * @parent: the name of that VM, if it is a fork itself and @text has it; else NULL
 * Returns 1, 0: it has no place there, or -ENOMEM.
 */
int __must_check fork_option(const char *name, const char *text, const char *vm, const char *parent, char **changed);
/** fork_network_is_none() - a -n that makes no device */
bool fork_network_is_none(const char *text);
/** fork_refusal() - why the VM can't be forked by its options, as a new string; NULL: it can. @networks: see struct fork_nursery */
char *fork_refusal(const struct config *config, bool networks);

#endif
