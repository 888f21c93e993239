/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prioritized init and exit lists: how a file becomes part of lkvm.
 *
 *	static int rtc_init(struct kvm *kvm) { ... return 0; }
 *	static void rtc_exit(struct kvm *kvm) { ... }
 *	dev_init(rtc_init);
 *	dev_exit(rtc_exit);
 *
 * A constructor registers each callback; init_walk() calls the inits from level core up to late, and
 * init_unwind() calls the exit twins of those that succeeded, in reverse. An init and an exit are twins when
 * they stand in the same file, at the same level, and their names differ only in _init and _exit. Callbacks
 * of one level must not depend on each other: tests shuffle them. List items hold code only; what a callback
 * makes hangs from its struct kvm.
 */
#ifndef KVM_INIT_H
#define KVM_INIT_H

#include "kvm/types.h"

struct kvm;

enum init_level {
	INIT_CORE	= 0,	/* /dev/kvm, VM, TSS, irqchip, PIT, RAM */
	INIT_BASE	= 2,	/* vCPUs, event loops, control socket */
	INIT_DEV_BASE	= 4,	/* buses, interrupt routing, disk images */
	INIT_DEV	= 5,	/* board devices */
	INIT_VIRTIO_DEV	= 6,	/* virtio devices */
	INIT_FIRMWARE	= 7,	/* e820, zero page, ACPI, MP table, FDT */
	INIT_LATE	= 9,	/* what watches: gdb server, statistics */
};

/** INIT_SKIP - what an init callback returns when it is not configured: not a failure, and no exit follows */
#define INIT_SKIP 1

struct init_item {
	const char *file;
	const char *name;
	enum init_level level;
	int (*init)(struct kvm *kvm);
	struct init_item *next;
};

struct exit_item {
	const char *file;
	const char *name;
	enum init_level level;
	void (*exit)(struct kvm *kvm);
	struct exit_item *next;
};

/** init_register(), exit_register() - used by the macros below, from constructors only */
void init_register(struct init_item *item);
void exit_register(struct exit_item *item);

#define INIT_ITEM_(fn, level_)							\
	static struct init_item init_item_##fn = {				\
		.file = __FILE__, .name = #fn, .level = (level_), .init = (fn),	\
	};									\
	static void __attribute__((constructor)) init_register_##fn(void)	\
	{									\
		init_register(&init_item_##fn);					\
	}									\
	struct kvm /* swallows the semicolon */

#define EXIT_ITEM_(fn, level_)							\
	static struct exit_item exit_item_##fn = {				\
		.file = __FILE__, .name = #fn, .level = (level_), .exit = (fn),	\
	};									\
	static void __attribute__((constructor)) exit_register_##fn(void)	\
	{									\
		exit_register(&exit_item_##fn);					\
	}									\
	struct kvm /* swallows the semicolon */

#define core_init(fn)		INIT_ITEM_(fn, INIT_CORE)
#define core_exit(fn)		EXIT_ITEM_(fn, INIT_CORE)
#define base_init(fn)		INIT_ITEM_(fn, INIT_BASE)
#define base_exit(fn)		EXIT_ITEM_(fn, INIT_BASE)
#define dev_base_init(fn)	INIT_ITEM_(fn, INIT_DEV_BASE)
#define dev_base_exit(fn)	EXIT_ITEM_(fn, INIT_DEV_BASE)
#define dev_init(fn)		INIT_ITEM_(fn, INIT_DEV)
#define dev_exit(fn)		EXIT_ITEM_(fn, INIT_DEV)
#define virtio_dev_init(fn)	INIT_ITEM_(fn, INIT_VIRTIO_DEV)
#define virtio_dev_exit(fn)	EXIT_ITEM_(fn, INIT_VIRTIO_DEV)
#define firmware_init(fn)	INIT_ITEM_(fn, INIT_FIRMWARE)
#define firmware_exit(fn)	EXIT_ITEM_(fn, INIT_FIRMWARE)
#define late_init(fn)		INIT_ITEM_(fn, INIT_LATE)
#define late_exit(fn)		EXIT_ITEM_(fn, INIT_LATE)

/** struct init_options - how to walk; all zero is the normal walk */
struct init_options {
	bool trace;		/* print each callback, its level and microseconds to stderr */
	unsigned int shuffle;	/* not 0: seed for shuffling the order inside each level (tests) */
	const char *fail;	/* not NULL: this callback is not called and fails with -ECANCELED (tests) */
};

/** struct init_done - which inits have succeeded for one VM, in order; owned by the caller of init_walk() */
struct init_done {
	const struct init_item **items;
	size_t count;
};

/**
 * init_walk() - calls every init callback, lowest level first
 * @done: zero-initialised; receives what succeeded, and must go to init_unwind() later
 *
 * Inside a level the order is that of the names, so that it does not depend on the linker. On failure what
 * had succeeded is unwound before this returns, and @done is empty again. Returns 0 or the negative errno
 * of the callback that failed (which has said why).
 */
int __must_check init_walk(struct kvm *kvm, const struct init_options *options, struct init_done *done);

/** init_unwind() - calls the exit twins of @done in reverse and empties it */
void init_unwind(struct kvm *kvm, struct init_done *done);

/** init_for_each() - calls @each for every item in the resolved order (lkvm run --list-init, tests); or -ENOMEM */
int init_for_each(void (*each)(const struct init_item *item, void *opaque), void *opaque);

/** init_level_name() - "core", "base", ... */
const char *init_level_name(enum init_level level);

#endif
