/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes of a guest's request that failed, as rerror= and werror= say: the guest is told, or not, or the VM
 * stands still with the request kept until it goes on. The device asks on the disk's loop; clients are told, and the
 * VM is paused, by work on the main loop, once for all errors that there have been by then.
 */
#include <string.h>

#include "disk/engine.h"
#include "kvm/control.h"
#include "kvm/kvm.h"
#include "kvm/log.h"

/* errors.last: 0, or what the next event says. */
#define LAST_ERRNO	0xffffU
#define LAST_WRITE	BIT(16)
#define LAST_ACTION	18		/* and up: an enum disk_policy */

static const char *const action_names[] = { [DISK_REPORT] = "report", [DISK_IGNORE] = "ignore", [DISK_STOP] = "stop" };

static enum disk_policy last_action(uint32_t last)
{
	return (enum disk_policy)(last >> LAST_ACTION);
}

static bool no_room(int error)
{
	return error == ENOSPC || error == EDQUOT;
}

static enum disk_policy errors_decide(const struct disk_owner *owner, enum disk_op op, int error)
{
	enum disk_policy policy = op == DISK_READ ? owner->read_error : owner->write_error;

	if (policy != DISK_STOP_ENOSPC)
		return policy;
	return no_room(error) ? DISK_STOP : DISK_REPORT;
}

/* ---- on the disk's loop ---- */

void disk_keep(struct disk *disk, struct disk_request *request)
{
	struct disk_errors *errors = &disk->errors;

	request->next = NULL;
	*errors->kept_tail = request;
	errors->kept_tail = &request->next;
	atomic_fetch_add(&errors->kept_count, 1);
	/* the main loop may have looked while it was taken off */
	event_work_post(&errors->tell);
}

enum disk_policy disk_failed(struct disk *disk, struct disk_request *request, int result)
{
	struct disk_errors *errors = &disk->errors;
	enum disk_policy policy;

	if (!disk->owner)
		return DISK_REPORT;
	log_guest(&disk->owner->log_limit, "%s: host I/O at %llu failed: %s", disk->owner->name,
		  (unsigned long long)request->offset, strerrordesc_np(-result));
	policy = errors_decide(disk->owner, request->op, -result);
	/* Why it stands still is worth more than what came later. */
	if (last_action(atomic_load(&errors->last)) != DISK_STOP)
		atomic_store(&errors->last, ((uint32_t)-result & LAST_ERRNO) | (request->op == DISK_READ ? 0 : (uint32_t)LAST_WRITE) |
			     (uint32_t)policy << LAST_ACTION);
	if (policy == DISK_STOP)
		disk_keep(disk, request);
	else
		event_work_post(&errors->tell);
	return policy;
}

struct disk_request *disk_kept(struct disk *disk)
{
	return disk->errors.kept;
}

struct disk_request *disk_take_kept(struct disk *disk)
{
	struct disk_errors *errors = &disk->errors;
	struct disk_request *request = errors->kept;

	if (!request)
		return NULL;
	errors->kept = request->next;
	if (!errors->kept)
		errors->kept_tail = &errors->kept;
	atomic_fetch_sub(&errors->kept_count, 1);
	return request;
}

void disk_retry(struct disk *disk)
{
	struct disk_request *request;

	while ((request = disk_take_kept(disk)))
		disk_queue(disk, request);
	disk_submit(disk);
}

/* ---- on the main loop ---- */

static void errors_tell(struct event_work *work)
{
	struct disk *disk = container_of(work, struct disk, errors.tell);
	const struct disk_owner *owner = disk->owner;
	uint32_t last = atomic_exchange(&disk->errors.last, 0);
	int error = (int)(last & LAST_ERRNO);

	if (last)
		control_event(owner->kvm, "BLOCK_IO_ERROR",
			      json_pack("{s:s,s:s,s:s,s:b,s:s}", "device", owner->name, "operation",
					last & LAST_WRITE ? "write" : "read", "action", action_names[last_action(last)],
					"nospace", no_room(error), "reason", strerrordesc_np(error)));
	/* None is left where the guest has reset its device, or has gone on meanwhile. */
	if (!atomic_load(&disk->errors.kept_count) || atomic_load(&owner->kvm->end) != KVM_END_NONE)
		return;
	if (last)
		log_warn("%s: a %s failed: %s; the guest stands still (lkvm resume %s tries again)", owner->name,
			 last & LAST_WRITE ? "write" : "read", strerrordesc_np(error), owner->kvm->name);
	if (kvm_error_pause(owner->kvm))
		log_warn("%s: the guest can't be paused", owner->name);
}

void disk_set_owner(struct disk *disk, struct disk_owner *owner)
{
	if (disk->owner)
		event_work_cancel(&disk->errors.tell);
	disk->owner = owner;
	if (owner)
		event_work_init(owner->kvm->loop, &disk->errors.tell, errors_tell);
}

struct disk_owner *disk_owner(const struct disk *disk)
{
	return disk->owner;
}
