/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gdb's queries ("General Query Packets" in appendix E of its manual): what this server can do, the threads, the
 * description of the target, and `monitor` commands.
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "gdb-internal.h"
#include "kvm/arch.h"
#include "version.h"

#define MONITOR_MAX	256

static void query_supported(struct gdb *gdb, const char *at, struct gdb_reply *reply)
{
	gdb->swbreak = strstr(at, "swbreak+") != NULL;
	gdb->hwbreak = strstr(at, "hwbreak+") != NULL;
	gdb_reply_format(reply, "PacketSize=%x;qXfer:features:read+;qXfer:threads:read+;QStartNoAckMode+;vContSupported+"
			 ";swbreak+;hwbreak+;multiprocess-", (unsigned int)GDB_PACKET_MAX);
}

/* ---- threads ---- */

static void query_threads(struct gdb *gdb, struct gdb_reply *reply)
{
	char separator = 'm';

	/* many at a time, but any number fits no packet */
	for (unsigned int n = 0; n < 256 && gdb->thread_next < gdb->kvm->cpu_count; n++, gdb->thread_next++) {
		gdb_reply_format(reply, "%c%zx", separator, gdb->thread_next + 1);
		separator = ',';
	}
	if (separator == 'm')
		gdb_reply_format(reply, "l");
}

static const char *cpu_state(const struct kvm_cpu *cpu)
{
	struct kvm_mp_state state;

	if (ioctl(cpu->fd, KVM_GET_MP_STATE, &state) < 0)
		return "state unknown";
	if (kvm_cpu_is_off(cpu))
		return "taken out";
	switch (state.mp_state) {
	case KVM_MP_STATE_RUNNABLE:
		return "running";
	case KVM_MP_STATE_HALTED:
		return "halted";
	case KVM_MP_STATE_STOPPED:
		return "off";
	default:
		return "not started";
	}
}

static void query_thread_extra(struct gdb *gdb, const char *at, struct gdb_reply *reply)
{
	char text[64];
	int index, length;

	if (!gdb_thread(gdb, &at, &index) || index < 0) {
		gdb_reply_error(reply, -ESRCH);
		return;
	}
	length = snprintf(text, sizeof(text), "vCPU %u (%s)", gdb->kvm->cpus[index]->index,
			  cpu_state(gdb->kvm->cpus[index]));
	gdb_reply_hex(reply, text, (size_t)length);
}

/* ---- objects ---- */

/* One slice of a text: "m" if more is to come, "l" if it is the last. */
static void reply_slice(struct gdb_reply *reply, const char *text, size_t size, const char *at)
{
	uint64_t offset, length;

	if (!gdb_number(&at, &offset) || !gdb_skip(&at, ",") || !gdb_number(&at, &length) || *at) {
		gdb_reply_error(reply, -EINVAL);
		return;
	}
	offset = MIN(offset, (uint64_t)size);
	length = MIN(length, (uint64_t)GDB_PACKET_MAX - 1);
	length = MIN(length, size - offset);
	gdb_reply_format(reply, "%c", offset + length < size ? 'm' : 'l');
	gdb_reply_bytes(reply, text + offset, length);
}

static void transfer_features(struct gdb *gdb, const char *at, struct gdb_reply *reply)
{
	const char *description = gdb_description(gdb);

	if (!gdb_skip(&at, "target.xml:"))
		gdb_reply_format(reply, "E00");
	else if (!description)
		gdb_reply_error(reply, -ENOMEM);
	else
		reply_slice(reply, description, strlen(description), at);
}

static void transfer_threads(struct gdb *gdb, const char *at, struct gdb_reply *reply)
{
	size_t size = 64 * (size_t)gdb->kvm->cpu_count + 64;
	_cleanup_free_ char *text = malloc(size);
	struct gdb_reply xml = { .data = text, .size = size };

	if (!text || !gdb_skip(&at, ":")) {
		gdb_reply_format(reply, "E00");
		return;
	}
	gdb_reply_format(&xml, "<threads>");
	for (unsigned int i = 0; i < gdb->kvm->cpu_count; i++)
		gdb_reply_format(&xml, "<thread id=\"%x\" core=\"%u\" name=\"vCPU %u\"/>", i + 1, gdb->kvm->cpus[i]->index,
				 gdb->kvm->cpus[i]->index);
	gdb_reply_format(&xml, "</threads>");
	reply_slice(reply, text, xml.length, at);
}

/* ---- monitor ---- */

static void reply_text(struct gdb_reply *reply, const char *text)
{
	gdb_reply_hex(reply, text, strlen(text));
}

static void query_monitor(struct gdb *gdb, const char *digits, struct gdb_reply *reply)
{
	char line[MONITOR_MAX] = "";
	size_t length = strlen(digits) / 2;

	if (length >= sizeof(line) || !gdb_hex(digits, line, length))
		gdb_reply_error(reply, -EINVAL);
	else if (strcmp(line, "info version") == 0 || strcmp(line, "version") == 0)
		reply_text(reply, "lkvm " LKVM_VERSION "\n");
	else if (strcmp(line, "system_reset") == 0 || strcmp(line, "reset") == 0)
		reply_text(reply, kvm_reset(gdb->kvm) ? "failed\n" : "The machine was reset.\n");
	else if (strcmp(line, "nmi") == 0)
		reply_text(reply, kvm_nmi(gdb->kvm) ? "This architecture has no NMI.\n" :
			   "Each vCPU gets an NMI when it goes on.\n");
	else
		reply_text(reply, "monitor info version    lkvm's version\n"
			   "monitor system_reset    restart the machine, and stay stopped (read registers anew: flushregs)\n"
			   "monitor nmi             an NMI to every vCPU\n");
}

/* ---- all of them ---- */

bool gdb_query(struct gdb *gdb, const char *packet, struct gdb_reply *reply)
{
	const char *at = packet;

	if (gdb_skip(&at, "qSupported")) {
		query_supported(gdb, at, reply);
	} else if (strcmp(packet, "QStartNoAckMode") == 0) {
		gdb->no_ack = true;
		gdb_reply_format(reply, "OK");
	} else if (strcmp(packet, "qC") == 0) {
		gdb_reply_format(reply, "QC%x", gdb->thread + 1);
	} else if (gdb_skip(&at, "qAttached")) {
		/* when gdb ends, the guest shall not */
		gdb_reply_format(reply, "1");
	} else if (strcmp(packet, "qfThreadInfo") == 0 || strcmp(packet, "qsThreadInfo") == 0) {
		if (packet[1] == 'f')
			gdb->thread_next = 0;
		query_threads(gdb, reply);
	} else if (gdb_skip(&at, "qThreadExtraInfo,")) {
		query_thread_extra(gdb, at, reply);
	} else if (gdb_skip(&at, "qXfer:features:read:")) {
		transfer_features(gdb, at, reply);
	} else if (gdb_skip(&at, "qXfer:threads:read:")) {
		transfer_threads(gdb, at, reply);
	} else if (gdb_skip(&at, "qRcmd,")) {
		query_monitor(gdb, at, reply);
	} else {
		return false;
	}
	return true;
}
