/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How the guest stops for gdb and goes on: all vCPUs together, by kvm_pause(), or some of them while the others are
 * held.
 *
 * A vCPU that meets a breakpoint notes why, sets its own CPU_REQUEST_HOLD, and posts work; the main thread then
 * pauses the VM and reports one of the vCPUs that stopped. What another met at the same time it meets again when it
 * goes on, but for an access that is done: that is kept for the next time. Exceptions that are the guest's own go back to it
 * at once, without the main thread.
 */
#include <string.h>

#include "gdb-internal.h"
#include "kvm/log.h"

/* ---- on a vCPU's thread ---- */

static void cpu_stops(struct gdb *gdb, struct kvm_cpu *cpu, const struct gdb_stop *stop)
{
	gdb->cpus[cpu->place].stop = *stop;
	kvm_cpu_request(cpu, CPU_REQUEST_HOLD);
	event_work_post(&gdb->stopped);
}

void gdb_cpu_stopped(struct kvm_debugger *debugger, struct kvm_cpu *cpu)
{
	struct gdb *gdb = container_of(debugger, struct gdb, debugger);
	struct gdb_cpu *state = &gdb->cpus[cpu->place];
	struct gdb_stop stop = { .kind = GDB_STOP_NONE };
	int result;

	arch_gdb_stop(cpu, &state->debug, &stop);
	if (stop.kind == GDB_STOP_SOFTWARE && !gdb_points_own(gdb, cpu, stop.address))
		stop.kind = GDB_STOP_NONE;
	if (stop.kind == GDB_STOP_NONE) {
		result = arch_gdb_to_guest(cpu, &state->debug);
		if (result)
			log_errno(result, "vCPU %u: a debug exception of the guest's own is lost", cpu->index);
		return;
	}
	cpu_stops(gdb, cpu, &stop);
}

static bool own_trap(void *opaque, struct kvm_cpu *cpu, uint64_t address)
{
	return gdb_points_own(opaque, cpu, address);
}

bool gdb_cpu_io(struct kvm_debugger *debugger, struct kvm_cpu *cpu)
{
	struct gdb *gdb = container_of(debugger, struct gdb, debugger);
	struct gdb_stop stop = { .kind = GDB_STOP_SOFTWARE };

	if (!gdb->points.software_count || !arch_gdb_weak_stop(cpu, own_trap, gdb, &stop.address))
		return false;
	cpu_stops(gdb, cpu, &stop);
	return true;
}

/* ---- on the main thread ---- */

static int hold(struct gdb *gdb)
{
	int result;

	if (gdb->holding)
		return 0;
	result = kvm_pause(gdb->kvm);
	if (result)
		return result;
	gdb->holding = true;
	for (unsigned int i = 0; i < gdb->kvm->cpu_count; i++) {
		struct kvm_cpu *cpu = gdb->kvm->cpus[i];

		/* the pause holds it now */
		atomic_fetch_and(&cpu->requests, ~CPU_REQUEST_HOLD);
		if (gdb->cpus[i].debug.step) {
			gdb->cpus[i].debug.step = false;
			if (arch_gdb_set_debug(cpu, &gdb->cpus[i].debug))
				log_warn("gdb: vCPU %u can't be told to step no more", i);
		}
	}
	return 0;
}

static void release(struct gdb *gdb)
{
	if (!gdb->holding)
		return;
	gdb->holding = false;
	kvm_resume(gdb->kvm);
}

/* The vCPU whose stop is reported: a breakpoint says more than the end of a step. */
static int choose_stop(struct gdb *gdb)
{
	int chosen = -1;

	for (unsigned int i = 0; i < gdb->kvm->cpu_count; i++) {
		if (gdb->cpus[i].stop.kind == GDB_STOP_NONE)
			continue;
		if (chosen < 0 || gdb->cpus[chosen].stop.kind == GDB_STOP_STEP)
			chosen = (int)i;
	}
	return chosen;
}

/* Takes one stop to be reported, and of the others those only that won't come again. */
static bool take_stop(struct gdb *gdb)
{
	int chosen = choose_stop(gdb);

	if (chosen < 0)
		return false;
	gdb->stop = gdb->cpus[chosen].stop;
	gdb->signal = GDB_SIGTRAP;
	gdb->thread = gdb->stopped_thread = (unsigned int)chosen;
	gdb->cpus[chosen].stop.kind = GDB_STOP_NONE;
	for (unsigned int i = 0; i < gdb->kvm->cpu_count; i++)
		if (!gdb->cpus[i].stop.done)
			gdb->cpus[i].stop.kind = GDB_STOP_NONE;
	return true;
}

void gdb_stopped_work(struct event_work *work)
{
	struct gdb *gdb = container_of(work, struct gdb, stopped);

	/* whoever paused for another reason meanwhile has seen the stop too */
	if (!gdb->attached || gdb->holding || hold(gdb))
		return;
	if (take_stop(gdb))
		gdb->report(gdb);
	else
		release(gdb);
}

int gdb_interrupt(struct gdb *gdb)
{
	int result = hold(gdb);

	if (result)
		return result;
	if (!take_stop(gdb)) {
		gdb->signal = GDB_SIGINT;
		gdb->stop.kind = GDB_STOP_NONE;
	}
	return 0;
}

int gdb_attach(struct gdb *gdb)
{
	int result = hold(gdb);

	if (result)
		return result;
	gdb->kvm->debugger = &gdb->debugger;
	gdb->attached = true;
	gdb->thread = gdb->stopped_thread = 0;
	gdb->step_thread = GDB_THREAD_ALL;
	gdb->signal = GDB_SIGTRAP;
	gdb->stop.kind = GDB_STOP_NONE;
	gdb->swbreak = gdb->hwbreak = gdb->no_ack = gdb->closing = false;
	return 0;
}

void gdb_detach(struct gdb *gdb)
{
	bool paused = !hold(gdb);

	/* without a pause no vCPU may be touched; it then stops at breakpoints that are the guest's to handle */
	if (!paused)
		log_warn("gdb: the guest can't be paused, and keeps its breakpoints");
	event_work_cancel(&gdb->stopped);
	for (unsigned int i = 0; paused && i < gdb->kvm->cpu_count; i++) {
		gdb->cpus[i] = (struct gdb_cpu){ .stop.kind = GDB_STOP_NONE };
		if (gdb->attached && arch_gdb_set_debug(gdb->kvm->cpus[i], NULL))
			log_warn("gdb: vCPU %u keeps its debug registers", i);
	}
	if (paused) {
		gdb_points_clear(gdb);
		gdb->kvm->debugger = NULL;
		gdb->attached = false;
	}
	release(gdb);
}

/* ---- going on ---- */

static bool still_watched(const struct gdb *gdb, uint64_t address)
{
	for (size_t i = 0; i < gdb->points.hardware_count; i++) {
		const struct gdb_point *point = &gdb->points.hardware[i];

		if (point->kind != GDB_HARDWARE && range_contains(point->address, point->length, address, 1))
			return true;
	}
	return false;
}

static bool has_kept_stop(struct gdb *gdb, const enum gdb_action *actions)
{
	bool kept = false;

	for (unsigned int i = 0; i < gdb->kvm->cpu_count; i++) {
		struct gdb_stop *stop = &gdb->cpus[i].stop;

		if (stop->kind != GDB_STOP_NONE && !still_watched(gdb, stop->address))
			stop->kind = GDB_STOP_NONE;
		kept |= stop->kind != GDB_STOP_NONE && actions[i] != GDB_STAY;
	}
	return kept;
}

static int set_debug(struct gdb *gdb, unsigned int index, bool step)
{
	struct gdb_debug *debug = &gdb->cpus[index].debug;
	bool nothing;

	debug->software = gdb->points.software_count && (gdb->points.can & GDB_CAN_TRAP);
	debug->step = step;
	debug->points = gdb->points.hardware;
	debug->count = gdb->points.hardware_count;
	nothing = !debug->software && !step && !debug->count;
	return arch_gdb_set_debug(gdb->kvm->cpus[index], nothing ? NULL : debug);
}

int gdb_go(struct gdb *gdb, const enum gdb_action *actions)
{
	if (has_kept_stop(gdb, actions) && take_stop(gdb))
		return 1;
	for (unsigned int i = 0; i < gdb->kvm->cpu_count; i++) {
		int result = set_debug(gdb, i, actions[i] == GDB_STEP);

		if (result)
			return result;
	}
	for (unsigned int i = 0; i < gdb->kvm->cpu_count; i++)
		if (actions[i] == GDB_STAY)
			atomic_fetch_or(&gdb->kvm->cpus[i]->requests, CPU_REQUEST_HOLD);
	release(gdb);
	return 0;
}
