/* SPDX-License-Identifier: BSD-2-Clause */
/* What of the command line asks for devices of daemons. */
#ifndef VHOST_USER_OPTION_H
#define VHOST_USER_OPTION_H

struct kvm;

/** struct user_option - one device; the texts live while @each runs */
struct user_option {
	const char *type, *path;
	const char *tag;		/* type=fs: what the guest mounts; else "" */
	unsigned int queues;		/* 0: not said */
};

/** user_options_each() - calls @each for each device in the order given, until one returns not 0 */
int __attribute__((warn_unused_result)) user_options_each(struct kvm *kvm, int (*each)(struct kvm *kvm, const struct user_option *option, void *opaque),
							  void *opaque);

#endif
