/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the gdb server (control/gdb-*.c) share; nobody else includes it.
 *
 * gdb-server.c has the sockets, gdb-session.c and gdb-query.c know the packets, gdb-run.c stops the vCPUs and lets them
 * go, gdb-points.c has the breakpoints, gdb-memory.c and gdb-registers.c what their names say. All on the main
 * thread, but for what a vCPU does of itself when it stops (gdb-run.c).
 */
#ifndef CONTROL_GDB_INTERNAL_H
#define CONTROL_GDB_INTERNAL_H

#include "gdb-packet.h"
#include "kvm/event.h"
#include "kvm/gdb.h"
#include "kvm/kvm.h"

#define GDB_DEFAULT_PORT	1234
#define GDB_SOFTWARE_MAX	1024
#define GDB_TRAP_MAX		4

#define GDB_SIGINT		2
#define GDB_SIGTRAP		5

/** struct gdb_cpu - a vCPU as the server knows it */
struct gdb_cpu {
	struct gdb_debug debug;	/* written while the vCPU is parked, read by its thread */
	struct gdb_stop stop;	/* written by its thread before it parks, read while it is parked */
};

/** struct gdb_software - a breakpoint instruction in guest memory */
struct gdb_software {
	uint64_t address, physical;
	uint8_t saved[GDB_TRAP_MAX];
};

/** struct gdb_points - what gdb asked for; changed while all vCPUs are parked only, so that their threads may look */
struct gdb_points {
	struct gdb_software *software;
	size_t software_count;
	struct gdb_point hardware[GDB_POINTS_MAX];
	bool instead[GDB_POINTS_MAX];	/* gdb asked for a software breakpoint where nothing was mapped */
	size_t hardware_count;
	bool probed;
	unsigned int can;		/* GDB_CAN_*, once it is probed */
	const uint8_t *trap;		/* the instruction that is put into memory; NULL: none works */
};

struct gdb_client;

struct gdb {
	struct kvm *kvm;
	struct kvm_debugger debugger;
	struct event_work stopped;	/* posted by vCPUs that have */
	struct gdb_cpu *cpus;
	struct gdb_points points;

	bool attached;			/* a client speaks the protocol */
	bool holding;			/* one kvm_pause() is ours: gdb has the prompt */
	/** @report: the guest stopped while gdb waited for that; sends the stop reply */
	void (*report)(struct gdb *gdb);

	/* the session */
	unsigned int thread;		/* Hg: whose registers and tables; an index */
	unsigned int stopped_thread;	/* of the last stop reply, which ? repeats */
	int step_thread;		/* Hc: an index, or -1 */
	unsigned int signal;		/* of the last stop */
	struct gdb_stop stop;
	bool swbreak, hwbreak;		/* gdb understands these in a stop reply */
	bool no_ack;
	bool closing;			/* the connection ends behind the reply */
	size_t thread_next;		/* qsThreadInfo */
	char *description;		/* target.xml, made when it is first asked for */
};

/* ---- gdb-run.c ---- */

/** gdb_attach() - stops the guest for a client that begins; gdb_detach() - forgets all of it and lets the guest go */
int __must_check gdb_attach(struct gdb *gdb);
void gdb_detach(struct gdb *gdb);

/** gdb_interrupt() - stops the guest as Ctrl-C does; the caller reports */
int __must_check gdb_interrupt(struct gdb *gdb);

enum gdb_action { GDB_STAY, GDB_CONTINUE, GDB_STEP };

/** gdb_go() - lets each vCPU go as @actions (one each) says; 1 if there is a stop to report at once, 0, or -errno */
int __must_check gdb_go(struct gdb *gdb, const enum gdb_action *actions);

/** gdb_cpu_stopped() - the debugger's callback, on the vCPU's thread */
void gdb_cpu_stopped(struct kvm_debugger *debugger, struct kvm_cpu *cpu);

/** gdb_cpu_io() - the same for an exit that may be the weak trap's */
bool gdb_cpu_io(struct kvm_debugger *debugger, struct kvm_cpu *cpu);

/** gdb_stopped_work() - the main thread's side of it */
void gdb_stopped_work(struct event_work *work);

/* ---- gdb-points.c ---- */

/** gdb_point_add(), gdb_point_remove() - -EOPNOTSUPP if this CPU knows no such kind */
int __must_check gdb_point_add(struct gdb *gdb, const struct gdb_point *point);
int __must_check gdb_point_remove(struct gdb *gdb, const struct gdb_point *point);
void gdb_points_clear(struct gdb *gdb);
/** gdb_points_reset() - the machine was reset and its software loaded anew: breakpoints in memory become hardware's */
void gdb_points_reset(struct gdb *gdb);
/** gdb_points_own() - whether the breakpoint instruction at @address is one of ours; the vCPU's thread */
bool gdb_points_own(const struct gdb *gdb, struct kvm_cpu *cpu, uint64_t address);
/** gdb_points_hide() - puts what was there before breakpoints into @data, read from @physical */
void gdb_points_hide(const struct gdb *gdb, uint64_t physical, uint8_t *data, size_t length);
/** gdb_points_show() - takes from @data what is now behind breakpoints, and puts the breakpoints into it */
void gdb_points_show(struct gdb *gdb, uint64_t physical, uint8_t *data, size_t length);

/* ---- gdb-memory.c: by the tables of the vCPU @cpu ---- */

/** gdb_memory_read() - returns how many bytes from @address on could be read */
size_t gdb_memory_read(struct gdb *gdb, struct kvm_cpu *cpu, uint64_t address, void *data, size_t length);
/** gdb_memory_write() - all or nothing: 0 or -EFAULT */
int __must_check gdb_memory_write(struct gdb *gdb, struct kvm_cpu *cpu, uint64_t address, void *data, size_t length);

/* ---- gdb-registers.c ---- */

/** gdb_description() - target.xml, kept in @gdb; NULL: no memory */
const char *gdb_description(struct gdb *gdb);
/** gdb_registers_size() - of all registers together */
size_t gdb_registers_size(struct gdb *gdb);
/** gdb_register_place() - where register @number lies in the file; false if there is none */
bool gdb_register_place(struct gdb *gdb, uint64_t number, size_t *offset, size_t *size);

/* ---- gdb-session.c, gdb-query.c ---- */

/** gdb_packet() - carries out one packet; true if *@reply is to be sent now, false if the guest runs */
bool gdb_packet(struct gdb *gdb, char *packet, size_t length, struct gdb_reply *reply);
/** gdb_query() - those that begin with q and Q; false if it isn't known */
bool gdb_query(struct gdb *gdb, const char *packet, struct gdb_reply *reply);
/** gdb_stop_reply() - why the guest stands still */
void gdb_stop_reply(struct gdb *gdb, struct gdb_reply *reply);
void gdb_reply_error(struct gdb_reply *reply, int error);
/** gdb_thread() - takes a thread id: an index, -1 for all, -2 for any; false if it is none of ours */
bool gdb_thread(struct gdb *gdb, const char **at, int *index);
#define GDB_THREAD_ALL	(-1)
#define GDB_THREAD_ANY	(-2)

#endif
