/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What all shares of a VM have together: an event loop of their own, and the host's open files, which are dealt out.
 */
#include <sys/resource.h>

#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/share.h"

#define FDS_KEPT	512UL		/* for everything but shares */
#define HANDLES_MAX	262144UL
#define HANDLES_MIN	128UL

static const char shares_key[] = "shares";

struct shares {
	struct event_loop *loop;
	size_t handles;
};

struct event_loop *shares_loop(const struct kvm *kvm)
{
	return ((struct shares *)kvm_get_state(kvm, shares_key))->loop;
}

size_t shares_handles(const struct kvm *kvm)
{
	return ((struct shares *)kvm_get_state(kvm, shares_key))->handles;
}

/* What a guest has in use keeps files of the host's open: as many as its hard limit allows, in equal parts. */
static size_t handles_allot(size_t shares)
{
	struct rlimit limit;
	size_t each = 0;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return HANDLES_MIN;
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0 && getrlimit(RLIMIT_NOFILE, &limit) < 0)
			return HANDLES_MIN;
	}
	if (limit.rlim_cur > 2 * FDS_KEPT)
		each = (limit.rlim_cur - FDS_KEPT) / shares;
	each = MIN(each, HANDLES_MAX);
	return MAX(each, HANDLES_MIN);
}

static void shares_exit(struct kvm *kvm)
{
	struct shares *shares = kvm_get_state(kvm, shares_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (kvm_set_state(kvm, shares_key, NULL))
		return;
	event_loop_destroy(shares->loop);
	free(shares);
}

static int shares_init(struct kvm *kvm)
{
	size_t count = config_count(kvm->config, "9p") + config_count(kvm->config, "fs") + (share_root_option(kvm->config) != NULL);
	struct shares *shares;
	int result;

	if (!count)
		return INIT_SKIP;
	shares = calloc(1, sizeof(*shares));
	if (!shares)
		return log_errno(ENOMEM, "shares");
	shares->handles = handles_allot(count);
	result = event_loop_create(&shares->loop, "share");
	if (!result)
		result = event_loop_start_thread(shares->loop);
	if (!result)
		result = kvm_set_state(kvm, shares_key, shares);
	if (result) {
		event_loop_destroy(shares->loop);
		free(shares);
	}
	return result;
}
dev_base_init(shares_init);
dev_base_exit(shares_exit);
