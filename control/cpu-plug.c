/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QMP's words for vCPUs that come and go: which there may be, and device_add of one, by its place among sockets and cores or as
 * the first that isn't there. They go as other devices do (plug.c). Main thread.
 */
#include <stdio.h>

#include "control-internal.h"
#include "kvm/kvm-cpu.h"
#include "kvm/plug.h"
#include "kvm/topology.h"

static json_t *cpu_props(const struct cpu_topology *topology, unsigned int number)
{
	struct cpu_place place = cpu_topology_place(topology, number);

	return json_pack("{s:i,s:i,s:i,s:i,s:i}", "socket-id", (int)place.socket, "die-id", (int)place.die, "cluster-id", (int)place.cluster,
			 "core-id", (int)place.core, "thread-id", (int)place.thread);
}

/* Which vCPU @arguments mean by its place: what isn't said is 0. -1: none. */
static int cpu_number(const struct cpu_topology *topology, const json_t *arguments)
{
	for (unsigned int i = 0; i < topology->cpus; i++) {
		json_t *props = cpu_props(topology, i), *value;
		bool equal = true;
		const char *key;

		json_object_foreach(props, key, value)
			equal &= json_integer_value(json_object_get(arguments, key)) == json_integer_value(value);
		json_decref(props);
		if (equal)
			return (int)i;
	}
	return -1;
}

int qmp_cpu_insert(struct kvm *kvm, const json_t *arguments, const char *id, char **error)
{
	struct cpu_topology topology;
	bool any = !json_object_get(arguments, "core-id") && !json_object_get(arguments, "socket-id") && !json_object_get(arguments, "thread-id") &&
		   !json_object_get(arguments, "die-id") && !json_object_get(arguments, "cluster-id");
	char text[16] = "";
	struct plug *plug;
	int number, status = cpu_topology_parse(kvm->config, &topology);

	if (!status && !any) {
		number = cpu_number(&topology, arguments);
		if (number < 0)
			return qmp_fail(error, EINVAL, "There is no such place for a vCPU (see query-hotpluggable-cpus)");
		snprintf(text, sizeof(text), "%d", number);
	}
	if (!status)
		status = plug_open(kvm, "cpu", text, NULL, &plug);
	if (status)
		return qmp_said(error, status);
	status = plug_insert(plug, id);
	if (!status)
		return 0;
	qmp_said(error, status);
	plug_close(plug);
	return status;
}

/* The last first, as QEMU has them. */
static int query_hotpluggable_cpus(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	struct cpu_topology topology;

	(void)arguments;
	if (!kvm->cpu_plug || cpu_topology_parse(kvm->config, &topology))
		return qmp_fail(error, EOPNOTSUPP, "This VM's vCPUs don't come and go (start it with -c N,max=MORE)");
	*result = json_array();
	for (unsigned int i = 0; i < topology.cpus; i++) {
		json_t *cpu = json_pack("{s:s,s:i,s:o}", "type", QMP_CPU_DRIVER, "vcpus-count", 1, "props", cpu_props(&topology, i));

		if (kvm_cpu_find(kvm, i))
			json_object_set_new(cpu, "qom-path", json_sprintf("/machine/cpu[%u]", i));
		json_array_insert_new(*result, 0, cpu);
	}
	return *result ? 0 : -ENOMEM;
}

static struct qmp_command query_cpus_command = {
	.name = "query-hotpluggable-cpus", .help = "The vCPUs that there are and that may come", .returns = "[any]", .run = query_hotpluggable_cpus };
QMP_COMMAND(query_cpus_command);
