/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QMP's balloon and query-balloon. The event BALLOON_CHANGE comes from the device itself.
 */
#include "kvm/balloon.h"

#include <stdio.h>
#include <string.h>

#include "kvm/control.h"

static int no_balloon(char **error)
{
	*error = strdup("The VM has no balloon (lkvm run --balloon)");
	return -ENODEV;
}

static int query_balloon(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	struct balloon_info info;

	(void)arguments;
	if (!balloon_query(kvm, &info))
		return no_balloon(error);
	*result = json_pack("{s:I,s:I}", "actual", (json_int_t)info.actual, "x-target", (json_int_t)info.target);
	return *result ? 0 : -ENOMEM;
}

static struct qmp_command query_balloon_command = {
	.name = "query-balloon", .help = "How much memory the guest has", .returns = "any", .run = query_balloon };
QMP_COMMAND(query_balloon_command);

static int balloon(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const json_t *value = json_object_get(arguments, "value");

	(void)result;
	if (json_integer_value(value) <= 0) {
		*error = strdup("Parameter 'value' has to be a number of bytes above 0");
		return -EINVAL;
	}
	if (balloon_set_target(kvm, (uint64_t)json_integer_value(value)))
		return no_balloon(error);
	return 0;
}

/* Asks for free pages, or gives them back, and says what is known by now. */
static int hints(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const json_t *on = json_object_get(arguments, "on");
	struct balloon_info info;

	if (!balloon_query(kvm, &info))
		return no_balloon(error);
	if (json_is_true(on) && balloon_hint_start(kvm)) {
		*error = strdup("The guest has no driver that hints at free pages");
		return -ENODEV;
	}
	if (json_is_false(on))
		balloon_hint_done(kvm);
	balloon_query(kvm, &info);
	*result = json_pack("{s:I,s:b}", "bytes", (json_int_t)info.hinted, "finished", info.hints_finished);
	return *result ? 0 : -ENOMEM;
}

static const char *const hints_arguments[] = { "on?:bool", NULL };
static struct qmp_command hints_command = {
	.name = "x-lkvm-balloon-hints", .help = "Ask the guest for free pages, or how many it has named",
	.arguments = hints_arguments, .returns = "any", .run = hints };
QMP_COMMAND(hints_command);

static const char *const balloon_arguments[] = { "value:int", NULL };
static struct qmp_command balloon_command = {
	.name = "balloon", .help = "Ask the guest to keep this many bytes of memory", .arguments = balloon_arguments,
	.run = balloon };
QMP_COMMAND(balloon_command);
