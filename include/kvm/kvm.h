/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a VM: create, run, pause, reset, end.
 *
 * Everything of a VM hangs from its struct kvm; several live in one process. The main thread owns the main
 * event loop, changes the machine, and joins the vCPUs; the vCPU threads only run the guest.
 */
#ifndef KVM_KVM_H
#define KVM_KVM_H

#include <pthread.h>
#include <stdatomic.h>

#include "kvm/event.h"
#include "kvm/init.h"
#include "kvm/irq.h"
#include "kvm/log.h"
#include "kvm/memory.h"
#include "kvm/option.h"
#include "kvm/types.h"

struct device;
struct fork_nursery;
struct fork_origin;
struct incoming;
struct kvm_cpu;
struct memslots;
struct numa;
struct platform_device;
struct trouble_log;

enum kvm_state { KVM_STOPPED, KVM_RUNNING, KVM_PAUSED };

/** enum kvm_end - why a VM ended; kvm_end_status() says the exit status (documented in lkvm.1) */
enum kvm_end {
	KVM_END_NONE,
	KVM_END_POWEROFF,	/* the guest powered off */
	KVM_END_REBOOT,		/* the guest asked for a reset and --on-reboot=exit */
	KVM_END_QUIT,		/* the user or a client ended it */
	KVM_END_SIGNAL,		/* SIGINT, SIGTERM, ... to the process */
	KVM_END_PANIC,		/* the guest's kernel panicked, then reset or powered off */
	KVM_END_TRIPLE_FAULT,
	KVM_END_INTERNAL_ERROR,	/* KVM_EXIT_INTERNAL_ERROR and exits nobody knows */
	KVM_END_FAILED_ENTRY,
	KVM_END_HOST_ERROR,	/* KVM_RUN or the host failed */
	KVM_END_OOPS,		/* the guest's kernel oopsed, and --oops=fail */
	KVM_END_HANG,		/* no sign of life for --watchdog-timeout */
	KVM_END_BOOT_TIMEOUT,	/* no user space within --boot-timeout */
	KVM_END_SETUP,		/* what was to be run in the guest could not be started there */
	KVM_END_COMMAND,	/* what was to be run in the guest has ended */
};

/** enum kvm_mark - what a VM passes on its way, for --report */
enum kvm_mark {
	KVM_MARK_RUN,		/* the first KVM_RUN */
	KVM_MARK_CONSOLE,	/* the first that a console was told */
	KVM_MARK_INIT,		/* the kernel is about to run init, or our init has spoken */
	KVM_MARK_COMMAND,	/* the command has been started */
	KVM_MARK_END,		/* it is known how it ends */
	KVM_MARKS,
};

/** struct ram_range - guest RAM at @base, backed by the RAM file from @offset on */
struct ram_range {
	uint64_t base, size, offset;
};
#define RAM_RANGES_MAX 4

/** struct firmware - what puts software into RAM before the first run and again after each reset */
struct firmware {
	const char *name;
	int (*load)(struct kvm *kvm);
	struct firmware *next;
};

/** struct kvm_listener - who wants to know of state changes (control socket events); main thread */
struct kvm_listener {
	void (*changed)(struct kvm_listener *listener, const char *event, enum kvm_end end);
	struct kvm_listener *next;
};

/**
 * struct kvm_debugger - who is told of a vCPU's KVM_EXIT_DEBUG, on that vCPU's thread
 * Hung up and taken off by the main thread while the vCPUs are parked.
 */
struct kvm_debugger {
	void (*stopped)(struct kvm_debugger *debugger, struct kvm_cpu *cpu);
	/** @io: NULL, or whether a KVM_EXIT_IO was a breakpoint and no I/O */
	bool (*io)(struct kvm_debugger *debugger, struct kvm_cpu *cpu);
};

struct kvm {
	struct config *config;		/* owned by the creator, outlives the VM */
	const char *name;		/* --name or guest-PID */
	struct init_done init_done;

	/* set by core_init, constant after */
	int dev_fd, vm_fd;
	size_t run_size;		/* of a vCPU's mmap */
	unsigned int cpu_max;		/* KVM's ceiling */

	struct event_loop *loop;	/* the main loop, from kvm_create() on */
	bool closing;			/* main thread, no vCPU runs: what KVM frees with the VM needs no call of its own */
	bool process_ends;		/* right behind kvm_exit(), which leaves vCPUs, VM and RAM to the kernel: it is faster */

	struct address_space memory;	/* guest physical */
	struct address_space ports;	/* x86 I/O ports: 64 KiB; arm64: the PCI I/O window */
	struct memslots *memslots;	/* core/memslot.c */

	/* RAM, set by core_init */
	uint64_t ram_size;		/* of its file: what is there from the start, and behind that what may be plugged */
	uint64_t ram_more, ram_block;	/* what may be (kvm/ram-blocks.h), in blocks of such a size; 0: nothing */
	_Atomic uint64_t ram_plugged;	/* bytes of it that are */
	int ram_fd;
	int ram_mount;			/* what ram_fd was made on, until ram_unmount_work has closed it; else -1 */
	struct event_work ram_unmount_work;
	void *ram_host;
	int ram_image;			/* RAM is mapped from this file, copied as it is written; -1: it begins empty */
	uint64_t ram_image_offset;
	struct ram_range ram[RAM_RANGES_MAX];	/* what is there from the start; then one for what may be plugged, or one of no size */
	unsigned int ram_count;			/* without that one */
	struct region *ram_regions;	/* one a range, then one a block that may be plugged */
	struct numa *numa;		/* kvm/numa.h; NULL: none were asked for */

	/* set by base_init */
	struct kvm_cpu **cpus;		/* room for @cpu_possible; in the order in which they were made */
	unsigned int cpu_possible;	/* those that there may be; constant */
	bool cpu_plug;			/* they come and go (kvm/plug.h); constant */
	atomic_uint cpu_count;		/* those that were made; any thread may read it, and then that many of @cpus */

	/* owned by the main thread */
	struct device *devices;
	struct platform_device *platform_devices;
	struct firmware *firmware;
	struct kvm_listener *listeners;
	struct kvm_state_slot *states;	/* kvm_set_state() */
	struct irqs *irqs;		/* core/irq.c */
	void (*power_button)(void *opaque);
	void *power_button_opaque;
	struct kvm_debugger *debugger;	/* NULL: none; the vCPUs read it */
	/* set before kvm_init(), or NULL: instead of the firmware, the first start loads saved state (state/restore.c) */
	int (*restore)(struct kvm *kvm);
	struct incoming *incoming;	/* set before kvm_init(): of a VM that is moved here, until it is (kvm/migrate.h); else NULL */
	const struct fork_origin *origin;	/* set before kvm_init(): of a forked VM (kvm/fork.h); else NULL */
	/* set before kvm_init(), or NULL: in a new process, which it ends, raises the VM's forks (cmd/run-fork.c) */
	void (*run_forks)(struct fork_nursery *nursery);
	unsigned int pause_depth;
	bool user_paused;
	bool io_error;			/* user_paused, because a disk's request failed */
	uint64_t started_ns;

	/* any thread, atomic */
	_Atomic enum kvm_state state;
	_Atomic enum kvm_end end;
	atomic_int end_signal;		/* KVM_END_SIGNAL: which; set before it is requested */
	atomic_int command_status;	/* KVM_END_COMMAND: the exit status; likewise */
	atomic_uint throttle_us;	/* CPU_REQUEST_THROTTLE: below a second */
	atomic_bool reset_wanted;
	atomic_bool panicked;		/* a panic was seen on a console */
	atomic_bool oopsed;		/* an oops was, and --oops=fail */
	atomic_bool booted;		/* user space, or the command, was reached */
	atomic_uint life_signs;		/* kvm/guest-life.h */
	atomic_uint_fast64_t marks[KVM_MARKS];	/* event_now_ns() of each; 0: not yet; kvm/guest-life.h */
	_Atomic(struct trouble_log *) trouble_log;	/* NULL: no trouble was seen */
	struct event_work control_work;	/* posted by kvm_end(), kvm_reset_request() */

	/* batched writes: the ring lies in the vCPUs' shared mapping; the lock guards its consumer side */
	struct kvm_coalesced_mmio_ring *coalesced;
	unsigned int coalesced_max;
	pthread_mutex_t coalesced_lock;

	/* set before the vCPUs start, constant after */
	bool debug_ioport, debug_mmio;
	unsigned int debug_iodelay_ms;
	struct log_limit io_log;

	pthread_mutex_t pause_lock;	/* guards the two counts; innermost but for event loops' locks */
	pthread_cond_t pause_cond;
	unsigned int parked, exited;
};

/** kvm_boot_ram() - bytes that are there from the start */
static inline uint64_t kvm_boot_ram(const struct kvm *kvm)
{
	return kvm->ram_size - kvm->ram_more;
}

/** kvm_create() - an empty VM that will be made by @config; nothing of the host is touched yet but the loop */
int __must_check kvm_create(struct kvm **kvm, struct config *config);
/** kvm_init() - walks the init lists; on failure all is unwound and kvm_free() is what is left to do */
int __must_check kvm_init(struct kvm *kvm, const struct init_options *options);
/** kvm_run() - loads the firmware, starts the vCPUs, runs the main loop until the VM ends, joins the vCPUs */
int __must_check kvm_run(struct kvm *kvm);
/**
 * kvm_make_ram() - guest memory, before kvm_init() does it: for who has something to put there; 0 or negative errno (said)
 * kvm_free_ram() - takes it away again, if kvm_init() was not called
 */
int __must_check kvm_make_ram(struct kvm *kvm);
void kvm_free_ram(struct kvm *kvm);
/** kvm_exit() - walks the exit lists; kvm_free() - frees what kvm_create() made */
void kvm_exit(struct kvm *kvm);
void kvm_free(struct kvm *kvm);

/** kvm_end_request() - ends the VM for @reason (the first one counts); any thread; returns at once */
void kvm_end_request(struct kvm *kvm, enum kvm_end reason);
/**
 * kvm_reset_request() - the guest asked for a reset: restarts in place or ends, as --on-reboot says; any
 * thread; returns at once. A vCPU that calls it from an exit must not enter the guest again: the loop in
 * kvm-cpu.c parks it until the reset is done.
 */
void kvm_reset_request(struct kvm *kvm);
/** kvm_reset() - restarts in place whatever --on-reboot says (system_reset); main thread */
int __must_check kvm_reset(struct kvm *kvm);
/** kvm_poweroff_request() - the guest turned itself off; any thread */
void kvm_poweroff_request(struct kvm *kvm);
/** kvm_panic_seen() - a console saw the kernel's panic line: decides the exit status later; any thread */
void kvm_panic_seen(struct kvm *kvm);

/**
 * kvm_pause() - all vCPUs are out of the guest and all devices quiesced when it returns; nests; main thread
 * kvm_resume() undoes one kvm_pause().
 */
int __must_check kvm_pause(struct kvm *kvm);
void kvm_resume(struct kvm *kvm);

/** kvm_user_pause(), kvm_user_resume() - what a client's stop and cont mean: idempotent, with events; main thread */
int __must_check kvm_user_pause(struct kvm *kvm);
int __must_check kvm_user_resume(struct kvm *kvm);
/** kvm_error_pause() - a disk's own kvm_user_pause(): query-status says io-error until the guest goes on */
int __must_check kvm_error_pause(struct kvm *kvm);

/** kvm_nmi() - an NMI to every vCPU (x86); -EOPNOTSUPP where there is none; any thread */
int __must_check kvm_nmi(struct kvm *kvm);

/** kvm_power_button() - presses it (ACPI on x86, GPIO key on arm64); -EOPNOTSUPP without one; main thread */
int __must_check kvm_power_button(struct kvm *kvm);
/** kvm_set_power_button() - the board device that has the button says how to press it */
void kvm_set_power_button(struct kvm *kvm, void (*press)(void *opaque), void *opaque);

/** kvm_end_status() - the exit status of `lkvm run` that stands for how @kvm ended */
int kvm_end_status(const struct kvm *kvm);
/** kvm_end_name() - an end in words */
const char *kvm_end_name(enum kvm_end end);
/** kvm_mark_name() - as --report has it: "kvm-run", "console", ... */
const char *kvm_mark_name(enum kvm_mark mark);

#define LKVM_STATUS_ERROR		1
#define LKVM_STATUS_USAGE		2
#define LKVM_STATUS_DIFFERENT		3
#define LKVM_STATUS_LEAKS		4
#define LKVM_STATUS_HOST_ERROR		114
#define LKVM_STATUS_TRIPLE_FAULT	115
#define LKVM_STATUS_INTERNAL_ERROR	116
#define LKVM_STATUS_FAILED_ENTRY	117
#define LKVM_STATUS_PANIC		118
#define LKVM_STATUS_OOPS		119
#define LKVM_STATUS_HANG		120
#define LKVM_STATUS_BOOT_TIMEOUT	121

/** kvm_add_firmware() - @firmware->load runs before the first KVM_RUN and after every reset; firmware_init only */
void kvm_add_firmware(struct kvm *kvm, struct firmware *firmware);
void kvm_add_listener(struct kvm *kvm, struct kvm_listener *listener);
void kvm_del_listener(struct kvm *kvm, struct kvm_listener *listener);
/** kvm_notify() - tells the listeners of @event (QMP's names: "STOP", "RESUME", "RESET", "SHUTDOWN", ...) */
void kvm_notify(struct kvm *kvm, const char *event);

/**
 * kvm_set_state(), kvm_get_state() - a subsystem's own state, hung from the VM under a key of its own
 * @key: the address of anything static and const in the subsystem's file
 *
 * NULL takes the state away. Set from init and exit callbacks only; get from any thread.
 */
int __must_check kvm_set_state(struct kvm *kvm, const void *key, void *state);
void *kvm_get_state(const struct kvm *kvm, const void *key);

/** kvm_check_extension() - KVM_CHECK_EXTENSION on the VM: 0 if absent, else KVM's number */
int kvm_check_extension(const struct kvm *kvm, int capability);

#endif
