/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gdb's packets, one by one ("Packets" in appendix E of its manual): registers, memory, breakpoints, going on. The
 * server calls with the guest stopped; an unknown packet has an empty reply, which is how gdb finds out.
 */
#include <string.h>

#include "gdb-internal.h"
#include "kvm/log.h"

void gdb_reply_error(struct gdb_reply *reply, int error)
{
	reply->length = 0;
	if (error != -EOPNOTSUPP)
		gdb_reply_format(reply, "E%02x", (unsigned int)-error & 0xff);
}

static void reply_result(struct gdb_reply *reply, int result)
{
	if (result)
		gdb_reply_error(reply, result);
	else
		gdb_reply_format(reply, "OK");
}

static struct kvm_cpu *current_cpu(struct gdb *gdb)
{
	return gdb->kvm->cpus[gdb->thread];
}

/* ---- threads: vCPU n is thread n + 1 ---- */

bool gdb_thread(struct gdb *gdb, const char **at, int *index)
{
	uint64_t number;

	if (gdb_skip(at, "-1")) {
		*index = GDB_THREAD_ALL;
		return true;
	}
	if (!gdb_number(at, &number) || number > gdb->kvm->cpu_count)
		return false;
	*index = number ? (int)number - 1 : GDB_THREAD_ANY;
	return true;
}

static int packet_set_thread(struct gdb *gdb, const char *at)
{
	bool general = gdb_skip(&at, "g");
	int index;

	if ((!general && !gdb_skip(&at, "c")) || !gdb_thread(gdb, &at, &index) || *at)
		return -EINVAL;
	if (!general)
		gdb->step_thread = index;
	else if (index >= 0)
		gdb->thread = (unsigned int)index;
	return 0;
}

static int packet_thread_alive(struct gdb *gdb, const char *at)
{
	int index;

	return gdb_thread(gdb, &at, &index) && index >= 0 && !*at ? 0 : -ESRCH;
}

/* ---- why it stopped ---- */

static void reply_point(struct gdb *gdb, struct gdb_reply *reply)
{
	static const char *const names[] = { [GDB_WRITE] = "watch", [GDB_READ] = "rwatch", [GDB_ACCESS] = "awatch" };
	size_t index = gdb->stop.point;
	enum gdb_point_kind kind = index < gdb->points.hardware_count ? gdb->points.hardware[index].kind : GDB_WRITE;

	if (kind != GDB_HARDWARE)
		gdb_reply_format(reply, "%s:%llx;", names[kind], (unsigned long long)gdb->stop.address);
	else if (gdb->points.instead[index] && gdb->swbreak)
		gdb_reply_format(reply, "swbreak:;");
	else if (!gdb->points.instead[index] && gdb->hwbreak)
		gdb_reply_format(reply, "hwbreak:;");
}

void gdb_stop_reply(struct gdb *gdb, struct gdb_reply *reply)
{
	gdb_reply_format(reply, "T%02x", gdb->signal);
	if (gdb->stop.kind == GDB_STOP_POINT)
		reply_point(gdb, reply);
	else if (gdb->stop.kind == GDB_STOP_SOFTWARE && gdb->swbreak)
		gdb_reply_format(reply, "swbreak:;");
	gdb_reply_format(reply, "thread:%x;", gdb->stopped_thread + 1);
}

/* ---- registers ---- */

static void packet_read_registers(struct gdb *gdb, struct gdb_reply *reply)
{
	uint8_t file[GDB_FILE_MAX] = { 0 };
	int result = arch_gdb_fetch(current_cpu(gdb), file);

	if (result)
		gdb_reply_error(reply, result);
	else
		gdb_reply_hex(reply, file, gdb_registers_size(gdb));
}

static int packet_write_registers(struct gdb *gdb, const char *digits)
{
	uint8_t file[GDB_FILE_MAX];
	size_t size = gdb_registers_size(gdb);

	if (strlen(digits) != 2 * size || !gdb_hex(digits, file, size))
		return -EINVAL;
	return arch_gdb_store(current_cpu(gdb), file, GDB_ALL_REGISTERS);
}

static void packet_read_register(struct gdb *gdb, const char *at, struct gdb_reply *reply)
{
	uint8_t file[GDB_FILE_MAX] = { 0 };
	size_t offset, size;
	uint64_t number;
	int result = -EINVAL;

	if (gdb_number(&at, &number) && !*at && gdb_register_place(gdb, number, &offset, &size))
		result = arch_gdb_fetch(current_cpu(gdb), file);
	if (result)
		gdb_reply_error(reply, result);
	else
		gdb_reply_hex(reply, file + offset, size);
}

static int packet_write_register(struct gdb *gdb, const char *at)
{
	uint8_t file[GDB_FILE_MAX] = { 0 };
	size_t offset, size;
	uint64_t number;
	int result;

	if (!gdb_number(&at, &number) || !gdb_skip(&at, "=") || !gdb_register_place(gdb, number, &offset, &size) ||
	    strlen(at) != 2 * size)
		return -EINVAL;
	result = arch_gdb_fetch(current_cpu(gdb), file);
	if (result)
		return result;
	return gdb_hex(at, file + offset, size) ? arch_gdb_store(current_cpu(gdb), file, (unsigned int)number) : -EINVAL;
}

/* ---- memory ---- */

static bool take_range(const char **at, uint64_t *address, uint64_t *length)
{
	return gdb_number(at, address) && gdb_skip(at, ",") && gdb_number(at, length);
}

static void packet_read_memory(struct gdb *gdb, const char *at, struct gdb_reply *reply)
{
	uint64_t address, length;
	uint8_t *data;
	size_t done;

	if (!take_range(&at, &address, &length) || *at) {
		gdb_reply_error(reply, -EINVAL);
		return;
	}
	/* a shorter answer than was asked for is one */
	length = MIN(length, (uint64_t)GDB_PACKET_MAX / 2);
	data = malloc(length + 1);
	done = data ? gdb_memory_read(gdb, current_cpu(gdb), address, data, length) : 0;
	if (!done && length)
		gdb_reply_error(reply, data ? -EFAULT : -ENOMEM);
	else if (data)
		gdb_reply_hex(reply, data, done);
	free(data);
}

static int packet_write_memory(struct gdb *gdb, const char *at, size_t left, bool binary)
{
	const char *start = at;
	uint64_t address, length;
	uint8_t *data;
	int result;

	if (!take_range(&at, &address, &length) || !gdb_skip(&at, ":"))
		return -EINVAL;
	left -= (size_t)(at - start);
	if (length > GDB_PACKET_MAX || left != (binary ? length : 2 * length))
		return -EINVAL;
	data = malloc(length + 1);
	if (!data)
		return -ENOMEM;
	if (binary)
		memcpy(data, at, length);
	result = binary || gdb_hex(at, data, length) ? gdb_memory_write(gdb, current_cpu(gdb), address, data, length) : -EINVAL;
	free(data);
	return result;
}

/* ---- breakpoints ---- */

static int packet_point(struct gdb *gdb, const char *at, bool add)
{
	struct gdb_point point;
	uint64_t kind;

	if (!gdb_number(&at, &kind) || !gdb_skip(&at, ",") || !take_range(&at, &point.address, &point.length) || *at)
		return -EINVAL;
	if (kind > GDB_ACCESS)
		return -EOPNOTSUPP;
	point.kind = (enum gdb_point_kind)kind;
	return add ? gdb_point_add(gdb, &point) : gdb_point_remove(gdb, &point);
}

/* ---- going on ---- */

static enum gdb_action *actions_new(struct gdb *gdb, enum gdb_action all)
{
	enum gdb_action *actions = calloc(gdb->kvm->cpu_count, sizeof(*actions));

	for (unsigned int i = 0; actions && i < gdb->kvm->cpu_count; i++)
		actions[i] = all;
	return actions;
}

/* Returns whether there is something to send now. */
static bool go(struct gdb *gdb, const enum gdb_action *actions, struct gdb_reply *reply)
{
	int result = actions ? gdb_go(gdb, actions) : -ENOMEM;

	if (result > 0)
		gdb_stop_reply(gdb, reply);
	else if (result)
		gdb_reply_error(reply, result);
	return result != 0;
}

/* c, s, C and S: without an address to go on at, which gdb sets by the program counter */
static bool packet_go(struct gdb *gdb, const char *packet, struct gdb_reply *reply)
{
	bool with_signal = *packet == 'C' || *packet == 'S', step = *packet == 's' || *packet == 'S';
	_cleanup_free_ enum gdb_action *actions = actions_new(gdb, GDB_CONTINUE);
	const char *at = packet + 1;
	uint64_t signal;

	if ((with_signal && !gdb_number(&at, &signal)) || *at) {
		gdb_reply_error(reply, -EINVAL);
		return true;
	}
	if (actions && step)
		actions[gdb->step_thread >= 0 ? (unsigned int)gdb->step_thread : gdb->thread] = GDB_STEP;
	return go(gdb, actions, reply);
}

static bool take_action(const char **at, enum gdb_action *action)
{
	uint64_t signal;
	char letter = **at;

	if (!letter || !strchr("cCsS", letter))
		return false;
	++*at;
	*action = letter == 'c' || letter == 'C' ? GDB_CONTINUE : GDB_STEP;
	/* signals are the guest's kernel's business */
	return letter == 'c' || letter == 's' || gdb_number(at, &signal);
}

/* vCont;ACTION:THREAD;...: of the actions that fit a thread the first counts, and a thread that none fits stays */
static bool take_actions(struct gdb *gdb, const char *at, enum gdb_action *actions)
{
	for (;;) {
		enum gdb_action action;
		int index = GDB_THREAD_ALL;

		if (!*at)
			return true;
		if (!gdb_skip(&at, ";") || !take_action(&at, &action))
			return false;
		if (gdb_skip(&at, ":") && !gdb_thread(gdb, &at, &index))
			return false;
		if (index == GDB_THREAD_ANY)
			index = (int)gdb->thread;
		for (unsigned int i = 0; i < gdb->kvm->cpu_count; i++)
			if ((index == GDB_THREAD_ALL || (unsigned int)index == i) && actions[i] == GDB_STAY)
				actions[i] = action;
	}
}

static bool packet_vcont(struct gdb *gdb, const char *at, struct gdb_reply *reply)
{
	_cleanup_free_ enum gdb_action *actions = actions_new(gdb, GDB_STAY);

	if (actions && (*at != ';' || !take_actions(gdb, at, actions))) {
		gdb_reply_error(reply, -EINVAL);
		return true;
	}
	return go(gdb, actions, reply);
}

static void packet_kill(struct gdb *gdb)
{
	gdb->closing = true;
	kvm_end_request(gdb->kvm, KVM_END_QUIT);
}

static bool packet_v(struct gdb *gdb, const char *packet, struct gdb_reply *reply)
{
	const char *at = packet;

	if (strcmp(packet, "vCont?") == 0) {
		gdb_reply_format(reply, "vCont;c;C;s;S");
	} else if (gdb_skip(&at, "vCont")) {
		return packet_vcont(gdb, at, reply);
	} else if (gdb_skip(&at, "vKill;")) {
		packet_kill(gdb);
		gdb_reply_format(reply, "OK");
	}
	return true;
}

/* ---- all of them ---- */

bool gdb_packet(struct gdb *gdb, char *packet, size_t length, struct gdb_reply *reply)
{
	const char *arguments = packet + 1;

	switch (*packet) {
	case '?':
		gdb_stop_reply(gdb, reply);
		return true;
	case 'g':
		packet_read_registers(gdb, reply);
		return true;
	case 'G':
		reply_result(reply, packet_write_registers(gdb, arguments));
		return true;
	case 'p':
		packet_read_register(gdb, arguments, reply);
		return true;
	case 'P':
		reply_result(reply, packet_write_register(gdb, arguments));
		return true;
	case 'm':
		packet_read_memory(gdb, arguments, reply);
		return true;
	case 'M':
		reply_result(reply, packet_write_memory(gdb, arguments, length - 1, false));
		return true;
	case 'X':
		reply_result(reply, packet_write_memory(gdb, arguments, length - 1, true));
		return true;
	case 'Z':
		reply_result(reply, packet_point(gdb, arguments, true));
		return true;
	case 'z':
		reply_result(reply, packet_point(gdb, arguments, false));
		return true;
	case 'H':
		reply_result(reply, packet_set_thread(gdb, arguments));
		return true;
	case 'T':
		reply_result(reply, packet_thread_alive(gdb, arguments));
		return true;
	case 'c': case 'C': case 's': case 'S':
		return packet_go(gdb, packet, reply);
	case 'v':
		return packet_v(gdb, packet, reply);
	case 'D':
		gdb->closing = true;
		gdb_reply_format(reply, "OK");
		return true;
	case 'k':
		packet_kill(gdb);
		return false;
	case 'q': case 'Q':
		gdb_query(gdb, packet, reply);
		return true;
	default:
		return true;
	}
}
