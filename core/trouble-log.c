/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A panic's log. It costs a VM nothing until its kernel is in trouble.
 *
 * Consoles write it, on vCPU threads and on the main loop; `lock` guards it, innermost.
 */
#include "kvm/trouble-log.h"

#include <pthread.h>
#include <string.h>

#include "kvm/kvm.h"

/* An oops ends in a panic, or isn't what the panic is about. */
#define BELONGS_NS	5000000000ULL

struct trouble_log {
	pthread_mutex_t lock;
	uint64_t begun_ns;
	size_t length;
	char text[TROUBLE_LOG_SIZE + 1];
};

static struct trouble_log *trouble_log_get(struct kvm *kvm)
{
	struct trouble_log *log = atomic_load(&kvm->trouble_log), *none = NULL;

	if (log)
		return log;
	log = calloc(1, sizeof(*log));
	if (!log)
		return NULL;
	pthread_mutex_init(&log->lock, NULL);
	if (atomic_compare_exchange_strong(&kvm->trouble_log, &none, log))
		return log;
	pthread_mutex_destroy(&log->lock);
	free(log);
	return none;
}

void trouble_log_begin(struct kvm *kvm)
{
	struct trouble_log *log = trouble_log_get(kvm);
	uint64_t now = event_now_ns();

	if (!log)
		return;
	pthread_mutex_lock(&log->lock);
	if (now - log->begun_ns > BELONGS_NS || log->length > TROUBLE_LOG_SIZE / 2)
		log->length = 0;
	log->begun_ns = now;
	pthread_mutex_unlock(&log->lock);
}

void trouble_log_write(struct kvm *kvm, const void *data, size_t length)
{
	struct trouble_log *log = atomic_load(&kvm->trouble_log);
	size_t room;

	if (!log)
		return;
	pthread_mutex_lock(&log->lock);
	room = TROUBLE_LOG_SIZE - log->length;
	memcpy(log->text + log->length, data, MIN(length, room));
	log->length += MIN(length, room);
	pthread_mutex_unlock(&log->lock);
}

const char *trouble_log_text(const struct kvm *kvm)
{
	struct trouble_log *log = atomic_load(&kvm->trouble_log);

	if (!log)
		return NULL;
	/* What the guest says may hold NULs, which nobody wants to see. */
	for (size_t i = 0; i < log->length; i++)
		if (!log->text[i])
			log->text[i] = ' ';
	log->text[log->length] = '\0';
	return log->text;
}

void trouble_log_free(struct kvm *kvm)
{
	struct trouble_log *log = atomic_load(&kvm->trouble_log);

	if (!log)
		return;
	pthread_mutex_destroy(&log->lock);
	free(log);
}
