/* SPDX-License-Identifier: BSD-2-Clause */
/* QMP's commands of migration, by the names and units that QEMU's have. */
#include <string.h>

#include "kvm/dirty.h"
#include "state/migrate.h"

static int migrate(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *uri = json_string_value(json_object_get(arguments, "uri"));

	(void)result;
	if (json_is_true(json_object_get(arguments, "resume")))
		return migration_resume(migration_of(kvm), uri ? uri : "", error);
	return migration_begin(migration_of(kvm), uri ? uri : "", error);
}

static const char *const migrate_arguments[] = { "uri:str", "detach?:bool", "resume?:bool", NULL };
static struct qmp_command migrate_command = {
	.name = "migrate", .help = "Move the VM to another process, while its guest runs", .arguments = migrate_arguments, .run = migrate };
QMP_COMMAND(migrate_command);

static int migrate_cancel(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	int r = migration_cancel(migration_of(kvm));

	(void)arguments;
	(void)result;
	if (r)
		*error = strdup("It is too late: the guest has been handed over");
	return r;
}

static struct qmp_command cancel_command = {
	.name = "migrate_cancel", .help = "The guest stays here after all", .run = migrate_cancel };
QMP_COMMAND(cancel_command);

static int start_postcopy(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)arguments;
	(void)result;
	return migration_switch(migration_of(kvm)) ? qmp_fail(error, EINVAL, "No migration is under way that was begun with x-postcopy") : 0;
}

static struct qmp_command postcopy_command = {
	.name = "migrate-start-postcopy", .help = "The guest goes over now, and its memory behind it", .run = start_postcopy };
QMP_COMMAND(postcopy_command);

/* ---- how far it is ---- */

static json_int_t count(const _Atomic uint64_t *counter)
{
	return (json_int_t)atomic_load(counter);
}

static json_t *describe_memory(struct migration *job)
{
	struct migration_counts *counts = &job->counts;
	json_int_t page = dirty_page_size(job->kvm);

	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:I,s:I,s:I}", "transferred", count(&counts->sent), "remaining",
			 count(&counts->remaining), "total", (json_int_t)job->kvm->ram_size, "duplicate", count(&counts->zero), "normal",
			 count(&counts->normal), "normal-bytes", count(&counts->normal) * page, "dirty-sync-count", count(&counts->rounds),
			 "mbps", (double)count(&counts->bandwidth) * 8 / 1e6, "page-size", page, "x-dirty-pages",
			 count(&counts->dirty_pages), "postcopy-requests", count(&counts->wanted));
}

static int query_migrate(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	struct migration *job = migration_of(kvm);
	enum migration_status status = atomic_load(&job->status);
	uint64_t until = job->ended_ns ? job->ended_ns : event_now_ns();

	(void)arguments;
	(void)error;
	*result = json_object();
	if (!*result || status == MIGRATION_NONE)
		return *result ? 0 : -ENOMEM;
	json_object_set_new(*result, "status", json_string(migration_status_name(status)));
	json_object_set_new(*result, "total-time", json_integer((json_int_t)((until - job->began_ns) / 1000000)));
	json_object_set_new(*result, "setup-time", json_integer((json_int_t)(job->setup_ns / 1000000)));
	json_object_set_new(*result, "expected-downtime", json_integer(count(&job->counts.expected_downtime_ns) / 1000000));
	if (atomic_load(&job->counts.downtime_ns)) {
		json_object_set_new(*result, "downtime", json_integer(count(&job->counts.downtime_ns) / 1000000));
		json_object_set_new(*result, "x-downtime-us", json_integer(count(&job->counts.downtime_ns) / 1000));
	}
	json_object_set_new(*result, "ram", describe_memory(job));
	if (atomic_load(&job->counts.throttle))
		json_object_set_new(*result, "cpu-throttle-percentage", json_integer(atomic_load(&job->counts.throttle)));
	if (status == MIGRATION_FAILED || status == MIGRATION_POSTCOPY_PAUSED)
		json_object_set_new(*result, "error-desc", json_string(job->error));
	return 0;
}

static struct qmp_command query_command = {
	.name = "query-migrate", .help = "How far the VM is on its way to another process", .returns = "any", .run = query_migrate };
QMP_COMMAND(query_command);

/* ---- parameters ---- */

static bool take_number(const json_t *arguments, const char *name, json_int_t max, _Atomic uint64_t *to, uint64_t unit)
{
	const json_t *value = json_object_get(arguments, name);

	if (!value)
		return true;
	if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > max)
		return false;
	atomic_store(to, (uint64_t)json_integer_value(value) * unit);
	return true;
}

static bool take_flag(const json_t *arguments, const char *name, atomic_bool *to)
{
	const json_t *value = json_object_get(arguments, name);

	if (value && json_is_boolean(value))
		atomic_store(to, json_is_true(value));
	return !value || json_is_boolean(value);
}

static int set_parameters(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	struct migration_parameters *parameters = &migration_of(kvm)->parameters;

	(void)result;
	if (take_number(arguments, "max-bandwidth", INT64_MAX, &parameters->max_bandwidth, 1) &&
	    take_number(arguments, "downtime-limit", 2000000, &parameters->downtime_limit_ns, 1000000) &&
	    take_number(arguments, "x-postcopy-after", UINT32_MAX, &parameters->postcopy_after, 1) &&
	    take_flag(arguments, "x-auto-converge", &parameters->auto_converge) &&
	    take_flag(arguments, "x-postcopy", &parameters->postcopy) &&
	    take_flag(arguments, "x-compress", &parameters->compress))
		return 0;
	*error = strdup("'max-bandwidth' is a number of bytes a second (0: no limit), 'downtime-limit' one of ms up to 2000000, the others are flags");
	return -EINVAL;
}

static const char *const parameters_arguments[] = { "max-bandwidth", "downtime-limit", "x-auto-converge", "x-compress",
						"x-postcopy", "x-postcopy-after", NULL };
static struct qmp_command parameters_command = {
	.name = "migrate-set-parameters", .help = "How fast a VM may go to another process, and how long its guest may stand still",
	.arguments = parameters_arguments, .run = set_parameters };
QMP_COMMAND(parameters_command);

static int query_parameters(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const struct migration_parameters *parameters = &migration_of(kvm)->parameters;

	(void)arguments;
	(void)error;
	*result = json_pack("{s:I,s:I,s:b,s:b,s:b,s:I}", "max-bandwidth", count(&parameters->max_bandwidth), "downtime-limit",
			    count(&parameters->downtime_limit_ns) / 1000000, "x-auto-converge", atomic_load(&parameters->auto_converge),
			    "x-compress", atomic_load(&parameters->compress), "x-postcopy", atomic_load(&parameters->postcopy),
			    "x-postcopy-after", count(&parameters->postcopy_after));
	return *result ? 0 : -ENOMEM;
}

static struct qmp_command query_parameters_command = {
	.name = "query-migrate-parameters", .help = "What migrate-set-parameters has set", .returns = "any",
	.run = query_parameters };
QMP_COMMAND(query_parameters_command);
