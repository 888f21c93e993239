/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Iothreads: event loops with a thread of their own, made by --iothread before any device. A device still belongs to
 * one loop: the one that its iothread= names, or the one that its kind shares. Main thread.
 */
#include "kvm/iothread.h"

#include <string.h>

#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/thread.h"

/* What is left of a thread's 15 characters behind "lkvm-". */
#define NAME_LENGTH_MAX	10
#define POLL_US_MAX	10000

static const char iothreads_key[] = "iothreads";

struct iothread {
	char name[NAME_LENGTH_MAX + 1];
	struct event_loop *loop;
};

struct iothreads {
	size_t count;
	struct iothread threads[];
};

static struct iothread *iothread_find(struct iothreads *iothreads, const char *name)
{
	for (size_t i = 0; iothreads && i < iothreads->count; i++)
		if (!strcmp(iothreads->threads[i].name, name))
			return &iothreads->threads[i];
	return NULL;
}

int iothread_loop(struct kvm *kvm, const char *option, const char *name, struct event_loop **loop)
{
	const struct iothread *thread = name ? iothread_find(kvm_get_state(kvm, iothreads_key), name) : NULL;

	if (thread)
		*loop = thread->loop;
	return thread || !name ? 0 : log_error(EUSAGE, "option --%s: no iothread is called '%s' (make it: --iothread %s)", option,
					       name, name);
}

/* ---- --iothread ---- */

static int iothread_set_name(struct iothreads *iothreads, struct iothread *thread, const char *name)
{
	size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");

	if (!length || name[length] || length > NAME_LENGTH_MAX)
		return log_error(EUSAGE, "option --iothread: '%s' is no name for a thread (1 to %d letters, digits, '_', '.', '-')",
				 name, NAME_LENGTH_MAX);
	if (iothread_find(iothreads, name))
		return log_error(EUSAGE, "option --iothread: '%s' is said twice", name);
	memcpy(thread->name, name, length);
	return 0;
}

static int iothread_set_polling(struct keyval *keyval, unsigned int *us)
{
	const char *text = keyval_get(keyval, "poll-us");
	uint64_t value = 0;

	if (text && (parse_uint(text, &value) || value > POLL_US_MAX))
		return log_error(EUSAGE, "option --iothread: poll-us=%s is no number of microseconds up to %d", text, POLL_US_MAX);
	*us = (unsigned int)value;
	return 0;
}

static int iothread_start(struct iothread *thread, const cpu_set_t *cpus, unsigned int poll_us)
{
	int result = event_loop_create(&thread->loop, thread->name);

	if (!result)
		event_loop_set_polling(thread->loop, poll_us);
	if (!result)
		result = event_loop_start_thread(thread->loop);
	if (!result && cpus && event_loop_pin(thread->loop, cpus))
		result = log_error(EINVAL, "option --iothread: %s can't be kept on its CPUs", thread->name);
	return result;
}

static int iothread_make(struct iothreads *iothreads, struct keyval *keyval)
{
	struct iothread *thread = &iothreads->threads[iothreads->count];
	const char *list = keyval_get(keyval, "cpus");
	int result = iothread_set_name(iothreads, thread, keyval->first);
	unsigned int poll_us = 0;
	cpu_set_t cpus;

	if (!result && list)
		result = cpu_list_parse("iothread", list, &cpus);
	if (!result)
		result = iothread_set_polling(keyval, &poll_us);
	if (!result)
		result = keyval_done(keyval, "iothread", "poll-us=, and cpus=, its commas written twice");
	if (result)
		return result;
	/* from here on there is a loop to be destroyed */
	iothreads->count++;
	return iothread_start(thread, list ? &cpus : NULL, poll_us);
}

static int iothread_add(struct iothreads *iothreads, const char *text)
{
	struct keyval keyval;
	int result = keyval_parse(&keyval, "iothread", text, true);

	if (result)
		return result;
	result = iothread_make(iothreads, &keyval);
	keyval_free(&keyval);
	return result;
}

/* ---- life ---- */

static void iothreads_free(struct iothreads *iothreads)
{
	while (iothreads->count)
		event_loop_destroy(iothreads->threads[--iothreads->count].loop);
	free(iothreads);
}

static void iothreads_exit(struct kvm *kvm)
{
	struct iothreads *iothreads = kvm_get_state(kvm, iothreads_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, iothreads_key, NULL))
		iothreads_free(iothreads);
}

static int iothreads_init(struct kvm *kvm)
{
	size_t count = config_count(kvm->config, "iothread");
	struct iothreads *iothreads;
	int result = 0;

	if (!count)
		return INIT_SKIP;
	iothreads = calloc(1, sizeof(*iothreads) + count * sizeof(iothreads->threads[0]));
	if (!iothreads)
		return log_errno(ENOMEM, "--iothread");
	for (size_t i = 0; i < count && !result; i++)
		result = iothread_add(iothreads, config_item(kvm->config, "iothread", i));
	if (!result)
		result = kvm_set_state(kvm, iothreads_key, iothreads);
	if (result)
		iothreads_free(iothreads);
	return result;
}
base_init(iothreads_init);
base_exit(iothreads_exit);

static const struct option_def iothread_options[] = {
	{ .name = "iothread", .type = OPTION_LIST, .argument = "NAME[,cpus=CPUS][,poll-us=N]",
	  .help = "A thread for the devices that say iothread=NAME, on these of the host's CPUs; repeat for more" },
};
RUN_OPTIONS(iothread_options_group, "Basic options", iothread_options);
