/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The breakpoints and watchpoints that gdb has set.
 *
 * A software breakpoint is the CPU's trap instruction in guest memory, found again by its physical address, so that
 * it is one whatever tables a vCPU has. Where nothing is mapped yet, as before a kernel has made its page tables,
 * a hardware breakpoint stands in for it. Not every KVM reports what it is asked to: it is probed at the first
 * breakpoint, and then each kind stands in for the other, with an instruction that is no breakpoint as the last
 * resort. The lists change while all vCPUs are parked only.
 */
#include <string.h>

#include "gdb-internal.h"
#include "kvm/log.h"

/* ---- breakpoints in memory ---- */

static struct gdb_software *software_find(struct gdb *gdb, uint64_t address)
{
	for (size_t i = 0; i < gdb->points.software_count; i++)
		if (gdb->points.software[i].address == address)
			return &gdb->points.software[i];
	return NULL;
}

static const struct gdb_software *software_at(const struct gdb *gdb, uint64_t physical)
{
	for (size_t i = 0; i < gdb->points.software_count; i++)
		if (gdb->points.software[i].physical == physical)
			return &gdb->points.software[i];
	return NULL;
}

static int trap_put(struct gdb *gdb, uint64_t physical, const uint8_t *bytes)
{
	int result = memory_write(&gdb->kvm->memory, gpa(physical), bytes, arch_gdb_trap_size);

	if (!result)
		arch_gdb_code_changed(gdb->kvm, physical, arch_gdb_trap_size);
	return result;
}

static int software_insert(struct gdb *gdb, uint64_t address, uint64_t physical)
{
	struct gdb_points *points = &gdb->points;
	struct gdb_software point = { .address = address, .physical = physical };
	struct gdb_software *grown;
	int result;

	/* traps don't lie across pages, nor across each other */
	if (address % arch_gdb_trap_size)
		return -EINVAL;
	if (points->software_count == GDB_SOFTWARE_MAX)
		return -ENOSPC;
	grown = realloc(points->software, (points->software_count + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	points->software = grown;
	result = memory_read(&gdb->kvm->memory, gpa(physical), point.saved, arch_gdb_trap_size);
	if (result)
		return result;
	/* the same instruction by another address has its trap already */
	gdb_points_hide(gdb, physical, point.saved, arch_gdb_trap_size);
	result = trap_put(gdb, physical, points->trap);
	if (!result)
		points->software[points->software_count++] = point;
	return result;
}

static void software_remove(struct gdb *gdb, struct gdb_software *at)
{
	struct gdb_points *points = &gdb->points;
	const struct gdb_software point = *at;
	uint8_t now[GDB_TRAP_MAX];

	*at = points->software[--points->software_count];
	if (software_at(gdb, point.physical))
		return;
	/* what the guest, or a reset, has written over it stays */
	if (memory_read(&gdb->kvm->memory, gpa(point.physical), now, arch_gdb_trap_size) ||
	    memcmp(now, points->trap, arch_gdb_trap_size) != 0)
		return;
	if (trap_put(gdb, point.physical, point.saved))
		log_warn("gdb: the breakpoint at 0x%llx can't be taken out", (unsigned long long)point.address);
}

bool gdb_points_own(const struct gdb *gdb, struct kvm_cpu *cpu, uint64_t address)
{
	uint64_t physical;

	if (!gdb->points.software_count)
		return false;
	for (size_t i = 0; i < gdb->points.software_count; i++)
		if (gdb->points.software[i].address == address)
			return true;
	/* by another address of the same instruction: no guest expects a trap there either */
	return !arch_gdb_translate(cpu, address, &physical) && software_at(gdb, physical);
}

/* The part of @data, read from or bound for @physical, that lies under the trap of @point */
static bool trap_overlap(const struct gdb_software *point, uint64_t physical, size_t length, size_t *data_at,
			 size_t *trap_at, size_t *count)
{
	if (!length || !ranges_overlap(point->physical, arch_gdb_trap_size, physical, length))
		return false;
	*data_at = point->physical > physical ? (size_t)(point->physical - physical) : 0;
	*trap_at = point->physical > physical ? 0 : (size_t)(physical - point->physical);
	*count = MIN(length - *data_at, arch_gdb_trap_size - *trap_at);
	return true;
}

void gdb_points_hide(const struct gdb *gdb, uint64_t physical, uint8_t *data, size_t length)
{
	for (size_t i = 0; i < gdb->points.software_count; i++) {
		const struct gdb_software *point = &gdb->points.software[i];
		size_t data_at, trap_at, count;

		if (trap_overlap(point, physical, length, &data_at, &trap_at, &count))
			memcpy(data + data_at, point->saved + trap_at, count);
	}
}

void gdb_points_show(struct gdb *gdb, uint64_t physical, uint8_t *data, size_t length)
{
	/* first all of them take what they cover: two may cover the same */
	for (unsigned int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < gdb->points.software_count; i++) {
			struct gdb_software *point = &gdb->points.software[i];
			size_t data_at, trap_at, count;

			if (!trap_overlap(point, physical, length, &data_at, &trap_at, &count))
				continue;
			if (pass == 0)
				memcpy(point->saved + trap_at, data + data_at, count);
			else
				memcpy(data + data_at, gdb->points.trap + trap_at, count);
		}
	}
}

/* ---- the CPU's own ---- */

static int hardware_add(struct gdb *gdb, const struct gdb_point *point, bool instead)
{
	struct gdb_points *points = &gdb->points;
	int result;

	if (points->hardware_count == GDB_POINTS_MAX)
		return -ENOSPC;
	points->hardware[points->hardware_count] = *point;
	result = arch_gdb_points_fit(gdb->kvm, points->hardware, points->hardware_count + 1);
	if (!result)
		points->instead[points->hardware_count++] = instead;
	return result;
}

static bool hardware_remove(struct gdb *gdb, const struct gdb_point *point, bool instead)
{
	struct gdb_points *points = &gdb->points;

	for (size_t i = 0; i < points->hardware_count; i++) {
		const struct gdb_point *at = &points->hardware[i];

		if (at->kind != point->kind || at->address != point->address || points->instead[i] != instead ||
		    (at->kind != GDB_HARDWARE && at->length != point->length))
			continue;
		points->hardware_count--;
		points->hardware[i] = points->hardware[points->hardware_count];
		points->instead[i] = points->instead[points->hardware_count];
		return true;
	}
	return false;
}

static struct gdb_point stand_in(uint64_t address)
{
	return (struct gdb_point){ .kind = GDB_HARDWARE, .address = address, .length = arch_gdb_trap_size };
}

static bool hardware_has(const struct gdb *gdb, const struct gdb_point *point, bool instead)
{
	for (size_t i = 0; i < gdb->points.hardware_count; i++)
		if (gdb->points.hardware[i].kind == point->kind && gdb->points.hardware[i].address == point->address &&
		    gdb->points.hardware[i].length == point->length && gdb->points.instead[i] == instead)
			return true;
	return false;
}

/* ---- what this KVM can do ---- */

static void probe(struct gdb *gdb)
{
	struct gdb_points *points = &gdb->points;

	if (points->probed)
		return;
	points->can = arch_gdb_probe(gdb->kvm);
	points->probed = true;
	points->trap = points->can & GDB_CAN_TRAP ? arch_gdb_trap : arch_gdb_weak_trap;
	if (points->trap == arch_gdb_weak_trap)
		gdb->debugger.io = gdb_cpu_io;
	if (!(points->can & GDB_CAN_TRAP))
		log_warn("gdb: this host's KVM doesn't report breakpoint instructions: %s", points->can & GDB_CAN_BREAK ?
			 "hardware breakpoints stand in for them" : "breakpoints work in the kernel's code only");
	if (!(points->can & GDB_CAN_WATCH))
		log_warn("gdb: this host's KVM doesn't report watchpoints: gdb single-steps instead");
}

/* A breakpoint of either kind, by what there is */
static int code_add(struct gdb *gdb, uint64_t address)
{
	const struct gdb_points *points = &gdb->points;
	const struct gdb_point hardware = stand_in(address);
	uint64_t physical;
	bool mapped = !arch_gdb_translate(gdb->kvm->cpus[gdb->thread], address, &physical);
	int result = -EFAULT;

	if (mapped && (points->can & GDB_CAN_TRAP))
		return software_insert(gdb, address, physical);
	if (points->can & GDB_CAN_BREAK)
		result = hardware_add(gdb, &hardware, true);
	if (result && mapped && points->trap)
		result = software_insert(gdb, address, physical);
	return result;
}

/* ---- what gdb asks for: adding one that is there, or removing one that isn't, is no error ---- */

/* As which kind a point is kept: a hardware breakpoint is one of software where KVM reports none */
static bool is_code(const struct gdb *gdb, const struct gdb_point *point)
{
	return point->kind == GDB_SOFTWARE || (point->kind == GDB_HARDWARE && !(gdb->points.can & GDB_CAN_BREAK));
}

int gdb_point_add(struct gdb *gdb, const struct gdb_point *point)
{
	const struct gdb_point hardware = stand_in(point->address);

	probe(gdb);
	if (is_code(gdb, point)) {
		bool there = software_find(gdb, point->address) || hardware_has(gdb, &hardware, true);

		return there ? 0 : code_add(gdb, point->address);
	}
	if (point->kind != GDB_HARDWARE && !(gdb->points.can & GDB_CAN_WATCH))
		return -EOPNOTSUPP;
	return hardware_has(gdb, point, false) ? 0 : hardware_add(gdb, point, false);
}

int gdb_point_remove(struct gdb *gdb, const struct gdb_point *point)
{
	const struct gdb_point hardware = stand_in(point->address);
	struct gdb_software *software;

	if (!is_code(gdb, point)) {
		hardware_remove(gdb, point, false);
		return 0;
	}
	software = software_find(gdb, point->address);
	if (software)
		software_remove(gdb, software);
	else
		hardware_remove(gdb, &hardware, true);
	return 0;
}

void gdb_points_clear(struct gdb *gdb)
{
	while (gdb->points.software_count)
		software_remove(gdb, &gdb->points.software[gdb->points.software_count - 1]);
	free(gdb->points.software);
	gdb->points.software = NULL;
	gdb->points.hardware_count = 0;
}

void gdb_points_reset(struct gdb *gdb)
{
	while (gdb->points.software_count) {
		struct gdb_software *last = &gdb->points.software[gdb->points.software_count - 1];
		const struct gdb_point hardware = stand_in(last->address);

		software_remove(gdb, last);
		if (!(gdb->points.can & GDB_CAN_BREAK) || hardware_add(gdb, &hardware, true))
			log_warn("gdb: the breakpoint at 0x%llx is lost by the reset (no hardware breakpoint is left for it)",
				 (unsigned long long)hardware.address);
	}
}
