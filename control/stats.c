/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * x-lkvm-stats: the numbers that `lkvm stat` shows. Main thread.
 *
 * Memory as the host and, by its balloon driver, the guest sees it; exits and what else KVM counts; requests and
 * bytes of each virtio device. The guest's own numbers come later than they are asked for: stats-round tells.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "control-internal.h"
#include "kvm/balloon.h"
#include "kvm/kvm-cpu.h"
#include "kvm/memory-device.h"
#include "kvm/stats.h"
#include "kvm/virtio.h"

static json_t *stats_balloon(struct kvm *kvm)
{
	struct balloon_info info;
	json_t *guest;

	if (!balloon_query(kvm, &info))
		return NULL;
	guest = json_object();
	for (unsigned int i = 0; i < BALLOON_STATS; i++)
		if (info.stats_valid & BIT(i))
			json_object_set_new(guest, balloon_stat_name(i), json_integer((json_int_t)info.stats[i]));
	return json_pack("{s:b,s:I,s:I,s:I,s:I,s:o}", "driven", info.driven, "actual", (json_int_t)info.actual, "target",
			 (json_int_t)info.target, "given-back", (json_int_t)info.given_back, "stats-round",
			 (json_int_t)info.stats_round, "guest", guest);
}

static json_t *stats_memory(struct kvm *kvm)
{
	json_t *memory = json_pack("{s:I}", "size", (json_int_t)(kvm_boot_ram(kvm) + atomic_load(&kvm->ram_plugged)));
	json_t *balloon = stats_balloon(kvm);
	struct memory_device_info more;
	struct stat status;

	if (memory_device_query(kvm, &more)) {
		json_object_set_new(memory, "requested", json_integer((json_int_t)(kvm_boot_ram(kvm) + more.requested)));
		json_object_set_new(memory, "max", json_integer((json_int_t)kvm->ram_size));
	}
	if (kvm->ram_fd >= 0 && fstat(kvm->ram_fd, &status) == 0)
		json_object_set_new(memory, "held", json_integer((json_int_t)status.st_blocks * 512));
	if (balloon)
		json_object_set_new(memory, "balloon", balloon);
	return memory;
}

static void add_number(const struct kvm_stat *stat, void *sums)
{
	json_int_t before = json_integer_value(json_object_get(sums, stat->name));

	json_object_set_new(sums, stat->name, json_integer(before + (json_int_t)stat->value));
}

/* What KVM has no numbers of is null. */
static void stats_kvm(struct kvm *kvm, json_t *stats)
{
	json_t *vm = json_object(), *vcpus = json_object();
	int result = kvm_stats_open(kvm);

	if (!result)
		result = kvm_stats_each(kvm, KVM_STATS_VM, add_number, vm);
	for (unsigned int i = 0; i < kvm->cpu_count && !result; i++)
		result = kvm_stats_each(kvm, (int)i, add_number, vcpus);
	json_object_set_new(stats, "vm", result ? json_null() : json_incref(vm));
	json_object_set_new(stats, "vcpus", result ? json_null() : json_incref(vcpus));
	json_decref(vm);
	json_decref(vcpus);
}

/* Exits to lkvm itself, which are the costly ones. */
static json_t *stats_exits(struct kvm *kvm)
{
	json_t *exits = json_array();

	for (unsigned int i = 0; i < kvm->cpu_count; i++)
		json_array_append_new(exits, json_integer((json_int_t)atomic_load(&kvm->cpus[i]->exits)));
	return exits;
}

static void add_device(struct device *device, void *devices)
{
	struct virtio_counts counts;

	if (virtio_count(device, &counts))
		json_array_append_new(devices, json_pack("{s:s,s:I,s:I,s:I}", "name", device->name, "requests",
							 (json_int_t)counts.requests, "from-guest",
							 (json_int_t)counts.bytes_read, "to-guest",
							 (json_int_t)counts.bytes_written));
}

static int x_lkvm_stats(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	json_t *devices = json_array();

	(void)arguments;
	(void)error;
	balloon_ask_stats(kvm);
	device_for_each(kvm, add_device, devices);
	*result = json_pack("{s:f,s:o,s:o,s:o}", "time", (double)event_now_ns() / 1e9, "memory", stats_memory(kvm), "exits",
			    stats_exits(kvm), "devices", devices);
	if (!*result)
		return -ENOMEM;
	stats_kvm(kvm, *result);
	return 0;
}

static struct qmp_command stats_command = {
	.name = "x-lkvm-stats", .help = "What `lkvm stat` shows", .returns = "any", .run = x_lkvm_stats };
QMP_COMMAND(stats_command);
