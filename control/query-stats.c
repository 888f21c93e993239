/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QMP's query-stats and query-stats-schemas: KVM's own numbers, by QEMU's form. Histograms are left out, as they are
 * from x-lkvm-stats (control/stats.c), which sums the vCPUs up and has the devices' numbers too. Main thread.
 */
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>

#include "control-internal.h"
#include "kvm/kvm-cpu.h"
#include "kvm/stats.h"

/* A wish for some of the names: NULL is all. */
struct wanted {
	const json_t *names;
	json_t *list;
};

static bool is_in(const json_t *list, const char *name)
{
	size_t i;
	json_t *item;

	json_array_foreach((json_t *)(uintptr_t)list, i, item)
		if (json_is_string(item) && !strcmp(json_string_value(item), name))
			return true;
	return !list;
}

static void add_value(const struct kvm_stat *stat, void *opaque)
{
	const struct wanted *wanted = opaque;
	bool flag = (stat->flags & KVM_STATS_UNIT_MASK) == KVM_STATS_UNIT_BOOLEAN;

	if (is_in(wanted->names, stat->name))
		json_array_append_new(wanted->list, json_pack("{s:s,s:o}", "name", stat->name, "value", flag ? json_boolean(stat->value) :
							      json_integer((json_int_t)stat->value)));
}

static void add_schema(const struct kvm_stat *stat, void *list)
{
	static const char *const types[] = { "cumulative", "instant", "peak" };
	static const char *const units[] = { NULL, "bytes", "seconds", "cycles", "boolean" };
	size_t type = (stat->flags & KVM_STATS_TYPE_MASK) >> KVM_STATS_TYPE_SHIFT;
	size_t unit = (stat->flags & KVM_STATS_UNIT_MASK) >> KVM_STATS_UNIT_SHIFT;
	json_t *entry = json_pack("{s:s,s:s,s:i}", "name", stat->name, "type", types[MIN(type, ARRAY_SIZE(types) - 1)], "exponent",
				  stat->exponent);

	if (unit && unit < ARRAY_SIZE(units))
		json_object_set_new(entry, "unit", json_string(units[unit]));
	if (stat->exponent)
		json_object_set_new(entry, "base", json_integer((stat->flags & KVM_STATS_BASE_MASK) == KVM_STATS_BASE_POW10 ? 10 : 2));
	json_array_append_new(list, entry);
}

/* Whether KVM's are among the @providers that are asked for; *@names: of what. */
static bool kvm_is_wanted(const json_t *providers, const json_t **names)
{
	size_t i;
	json_t *item;

	*names = NULL;
	json_array_foreach((json_t *)(uintptr_t)providers, i, item) {
		const char *provider = json_string_value(json_object_get(item, "provider"));

		if (provider && !strcmp(provider, "kvm")) {
			*names = json_object_get(item, "names");
			return true;
		}
	}
	return !providers;
}

static int say(char **error, int result)
{
	return qmp_fail(error, -result, "KVM's statistics can't be read: %s", strerrordesc_np(-result));
}

/* Of one vCPU, or of the VM; nothing, if none of its names was asked for. */
static int add_target(struct kvm *kvm, int cpu, const char *path, const json_t *names, json_t *targets)
{
	struct wanted wanted = { names, json_array() };
	int result = kvm_stats_each(kvm, cpu, add_value, &wanted);

	if (!result && json_array_size(wanted.list))
		json_array_append_new(targets, json_pack("{s:s,s:s*,s:O}", "provider", "kvm", "qom-path", path, "stats", wanted.list));
	json_decref(wanted.list);
	return result;
}

static int query_stats(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *target = json_string_value(json_object_get(arguments, "target"));
	const json_t *vcpus = json_object_get(arguments, "vcpus"), *names;
	int status = 0;

	*result = json_array();
	if (!kvm_is_wanted(json_object_get(arguments, "providers"), &names) || !strcmp(target, "cryptodev"))
		return 0;
	status = kvm_stats_open(kvm);
	if (!status && !strcmp(target, "vm"))
		status = add_target(kvm, KVM_STATS_VM, NULL, names, *result);
	for (unsigned int i = 0; i < kvm->cpu_count && !strcmp(target, "vcpu") && !status; i++) {
		char path[QOM_PATH_SIZE];

		cpu_qom_path(kvm->cpus[i]->index, path);
		if (is_in(vcpus, path))
			status = add_target(kvm, (int)i, path, names, *result);
	}
	return status ? say(error, status) : 0;
}

static const char *const stats_arguments[] = { "target:vm|vcpu|cryptodev", "vcpus?:[str]", "providers?:[any]", NULL };
static struct qmp_command stats_command = {
	.name = "query-stats", .help = "What KVM counts of the VM, or of each vCPU", .arguments = stats_arguments, .returns = "[any]",
	.run = query_stats };
QMP_COMMAND(stats_command);

static int query_schemas(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *provider = json_string_value(json_object_get(arguments, "provider"));
	json_t *vm = json_array(), *vcpu = json_array();
	int status = kvm_stats_open(kvm);

	if (!status)
		status = kvm_stats_each(kvm, KVM_STATS_VM, add_schema, vm);
	if (!status)
		status = kvm_stats_each(kvm, 0, add_schema, vcpu);
	*result = status || (provider && strcmp(provider, "kvm") != 0) ? json_array() :
		  json_pack("[{s:s,s:s,s:O},{s:s,s:s,s:O}]", "provider", "kvm", "target", "vm", "stats", vm, "provider", "kvm", "target",
			    "vcpu", "stats", vcpu);
	json_decref(vm);
	json_decref(vcpu);
	return status ? say(error, status) : 0;
}

static const char *const schemas_arguments[] = { "provider?:kvm|cryptodev", NULL };
static struct qmp_command schemas_command = {
	.name = "query-stats-schemas", .help = "What query-stats can tell, and in what units", .arguments = schemas_arguments,
	.returns = "[any]", .run = query_schemas };
QMP_COMMAND(schemas_command);
