/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-balloon: memory that the guest can spare goes back to the host (VirtIO 1.3, 5.5).
 *
 * Pages that the driver inflates the balloon with, and free ones that it reports, become holes in the RAM file; a
 * deflated page needs nothing, since touching it fills the hole. The driver's word is taken for no more than that:
 * kvm/memory.h decides what is RAM. All on the main loop, a bounded number of pages at a turn. The statistics
 * queue's one buffer stays in the ring until somebody wants new ones.
 */
#include "kvm/balloon.h"

#include <linux/virtio_balloon.h>
#include <string.h>

#include "balloon-hints.h"
#include "kvm/control.h"
#include "kvm/ram-options.h"
#include "kvm/virtio.h"

enum { INFLATE, DEFLATE, STATS, HINTS, REPORTING, BALLOON_QUEUES };

#define PAGE_SHIFT	VIRTIO_BALLOON_PFN_SHIFT
#define BATCH		1024u		/* page numbers sorted at a time; Linux sends 256 */
#define REQUEST_MAX	16384u		/* page numbers looked at in one request */
#define TURN_PAGES	16384u		/* pages that may go before other devices have their turn */
#define EVENT_PERIOD_NS	1000000000ULL

static const char balloon_key[] = "virtio-balloon";

struct balloon {
	struct virtio_device device;
	atomic_uint target, actual;	/* pages in the balloon: wished by the host, said by the driver */
	atomic_uint poison;
	unsigned int turn;		/* pages given back in this turn */
	bool keeps;			/* RAM of a kind that can't be given back */
	uint64_t given_back;
	struct balloon_hints hints;
	/* statistics */
	bool stats_held, stats_wanted;	/* the buffer in the ring has been read; is to go back to the driver */
	unsigned int stats_round;
	uint64_t stats_ns, stats[BALLOON_STATS];
	uint32_t stats_valid;
	/* BALLOON_CHANGE, which a driver may cause as often as it likes */
	struct event_timer event;
	uint64_t event_ns;
};

static struct balloon *balloon_of(struct virtio_device *device)
{
	return container_of(device, struct balloon, device);
}

/* ---- inflate, deflate ---- */

static void balloon_gave(struct balloon *balloon, int64_t bytes, uint64_t pages)
{
	balloon->turn += (unsigned int)MIN(pages, (uint64_t)TURN_PAGES);
	if (bytes > 0)
		balloon->given_back += (uint64_t)bytes;
	else if (bytes < 0)
		log_guest(&balloon->device.log_limit, "%s: memory can't be given back: %s", balloon->device.device.name,
			  bytes == -EFAULT ? "it is no RAM" : strerrordesc_np((int)-bytes));
}

static int compare_pages(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

/* Sorted, neighbours go together: one call each, and pages larger than 4 KiB go at all. */
static void balloon_give(struct balloon *balloon, uint32_t *pages, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pages[i] = le32toh(pages[i]);
	qsort(pages, count, sizeof(*pages), compare_pages);
	for (size_t i = 0, next; i < count; i = next) {
		uint64_t run;

		for (next = i + 1; next < count && pages[next] - pages[next - 1] <= 1; next++)
			;
		run = (uint64_t)pages[next - 1] - pages[i] + 1;
		balloon_gave(balloon, memory_discard(&balloon->device.kvm->memory, gpa((uint64_t)pages[i] << PAGE_SHIFT),
						     run << PAGE_SHIFT), run);
	}
}

/* True when this turn has had its share: the queue looks again when others have had theirs. */
static bool balloon_must_yield(struct balloon *balloon, struct virtqueue *vq, struct virtio_request *req)
{
	if (balloon->turn < TURN_PAGES)
		return false;
	virtqueue_unpop(vq, req);
	virtio_notify(&balloon->device, vq->index);
	return true;
}

static int balloon_inflate(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct balloon *balloon = balloon_of(device);
	uint32_t pages[BATCH];
	size_t got;

	if (balloon_must_yield(balloon, vq, req))
		return 0;
	for (size_t at = 0; at < REQUEST_MAX * sizeof(*pages) && !balloon->keeps; at += got) {
		got = virtio_request_read(req, at, pages, sizeof(pages));
		if (got < sizeof(*pages))
			break;
		balloon_give(balloon, pages, got / sizeof(*pages));
	}
	balloon->turn++;
	virtqueue_push(vq, req, 0);
	return 1;
}

static int balloon_deflate(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	(void)device;
	virtqueue_push(vq, req, 0);
	return 1;
}

/* ---- free page reporting ---- */

/* What the driver wants to find again in a free page, zeroes are not. */
static bool balloon_is_poisoned(const struct balloon *balloon)
{
	return virtio_has_feature(&balloon->device, VIRTIO_BALLOON_F_PAGE_POISON) && atomic_load(&balloon->poison);
}

static int balloon_report(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct balloon *balloon = balloon_of(device);

	if (balloon_must_yield(balloon, vq, req))
		return 0;
	for (unsigned int i = 0; i < req->writable && !balloon->keeps && !balloon_is_poisoned(balloon); i++) {
		const struct iovec *segment = &req->segments[req->readable + i];

		balloon_gave(balloon, memory_discard_segment(&device->kvm->memory, segment),
			     segment->iov_len >> PAGE_SHIFT);
	}
	balloon->turn++;
	virtqueue_push(vq, req, 0);
	return 1;
}

/* ---- free page hints ---- */

/* 5.5.2 has the queue of reports as number 4; Linux doesn't count the one for hints if those weren't negotiated. */
static int balloon_hint(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct balloon *balloon = balloon_of(device);

	if (!virtio_has_feature(device, VIRTIO_BALLOON_F_FREE_PAGE_HINT))
		return balloon_report(device, vq, req);
	if (balloon_must_yield(balloon, vq, req))
		return 0;
	balloon_hints_take(&balloon->hints, device->kvm, req);
	balloon->turn += 1 + req->writable_bytes / (64u << PAGE_SHIFT);
	virtqueue_push(vq, req, 0);
	return 1;
}

int balloon_hint_start(struct kvm *kvm)
{
	struct balloon *balloon = kvm_get_state(kvm, balloon_key);
	int result;

	if (!balloon || !balloon->device.running || !virtio_has_feature(&balloon->device, VIRTIO_BALLOON_F_FREE_PAGE_HINT))
		return -ENODEV;
	result = balloon_hints_start(&balloon->hints, kvm);
	if (!result)
		virtio_config_changed(&balloon->device);
	return result;
}

void balloon_hint_done(struct kvm *kvm)
{
	struct balloon *balloon = kvm_get_state(kvm, balloon_key);

	if (!balloon || !balloon->hints.pages)
		return;
	balloon_hints_done(&balloon->hints);
	virtio_config_changed(&balloon->device);
}

bool balloon_hinted(struct kvm *kvm, uint64_t ram_offset)
{
	const struct balloon *balloon = kvm_get_state(kvm, balloon_key);
	uint64_t page = ram_offset >> PAGE_SHIFT;

	return balloon && page < balloon->hints.page_count && (balloon->hints.pages[page / 64] & BIT(page % 64));
}

/* ---- statistics ---- */

static void balloon_read_stats(struct balloon *balloon, const struct virtio_request *req)
{
	struct virtio_balloon_stat stats[2 * BALLOON_STATS];
	size_t count = virtio_request_read(req, 0, stats, sizeof(stats)) / sizeof(*stats);

	balloon->stats_valid = 0;
	for (size_t i = 0; i < count; i++) {
		uint16_t tag = le16toh(stats[i].tag);

		if (tag >= BALLOON_STATS)
			continue;
		balloon->stats[tag] = le64toh(stats[i].val);
		balloon->stats_valid |= (uint32_t)BIT(tag);
	}
	balloon->stats_ns = event_now_ns();
	balloon->stats_round++;
}

static int balloon_stats(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct balloon *balloon = balloon_of(device);

	if (balloon->stats_held && balloon->stats_wanted) {
		balloon->stats_held = balloon->stats_wanted = false;
		virtqueue_push(vq, req, 0);
		return 1;
	}
	if (!balloon->stats_held)
		balloon_read_stats(balloon, req);
	balloon->stats_held = true;
	virtqueue_unpop(vq, req);
	return 0;
}

void balloon_ask_stats(struct kvm *kvm)
{
	struct balloon *balloon = kvm_get_state(kvm, balloon_key);

	/* Without a buffer the driver is about to answer anyway. */
	if (!balloon || !balloon->stats_held)
		return;
	balloon->stats_wanted = true;
	virtio_kick(&balloon->device, STATS);
}

const char *balloon_stat_name(unsigned int index)
{
	static const char *const names[BALLOON_STATS] = {
		"swap-in", "swap-out", "major-faults", "minor-faults", "free-memory", "total-memory", "available-memory",
		"disk-caches", "htlb-pgalloc", "htlb-pgfail", "oom-kill", "alloc-stall", "async-scan", "direct-scan",
		"async-reclaim", "direct-reclaim",
	};

	return index < BALLOON_STATS ? names[index] : "unknown";
}

static void balloon_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	static int (*const handlers[BALLOON_QUEUES])(struct virtio_device *device, struct virtqueue *vq,
						     struct virtio_request *req) = {
		[INFLATE] = balloon_inflate, [DEFLATE] = balloon_deflate, [STATS] = balloon_stats,
		[HINTS] = balloon_hint, [REPORTING] = balloon_report,
	};

	balloon_of(device)->turn = 0;
	virtio_process(device, vq, handlers[vq->index]);
}

/* ---- the wish, and what the driver says ---- */

/* What was plugged since the start counts. */
static uint64_t balloon_ram(const struct kvm *kvm)
{
	return kvm_boot_ram(kvm) + atomic_load(&kvm->ram_plugged);
}

static uint64_t balloon_bytes_left(const struct balloon *balloon, uint32_t pages)
{
	uint64_t ram = balloon_ram(balloon->device.kvm), away = (uint64_t)pages << PAGE_SHIFT;

	return ram - MIN(ram, away);
}

bool balloon_query(struct kvm *kvm, struct balloon_info *info)
{
	struct balloon *balloon = kvm_get_state(kvm, balloon_key);

	if (!balloon)
		return false;
	*info = (struct balloon_info){
		.target = balloon_bytes_left(balloon, atomic_load(&balloon->target)),
		.actual = balloon_bytes_left(balloon, atomic_load(&balloon->actual)),
		.given_back = balloon->given_back,
		.driven = balloon->device.running,
		.hinted = balloon->hints.bytes,
		.hints_finished = balloon->hints.finished,
		.stats_round = balloon->stats_round,
		.stats_ns = balloon->stats_ns,
		.stats_valid = balloon->stats_valid,
	};
	memcpy(info->stats, balloon->stats, sizeof(info->stats));
	return true;
}

int balloon_set_target(struct kvm *kvm, uint64_t bytes)
{
	struct balloon *balloon = kvm_get_state(kvm, balloon_key);
	uint64_t pages;

	if (!balloon)
		return -ENODEV;
	pages = (balloon_ram(kvm) - MIN(bytes, balloon_ram(kvm))) >> PAGE_SHIFT;
	atomic_store(&balloon->target, (uint32_t)MIN(pages, (uint64_t)UINT32_MAX));
	virtio_config_changed(&balloon->device);
	return 0;
}

static void balloon_tell(struct balloon *balloon)
{
	balloon->event_ns = event_now_ns();
	control_event(balloon->device.kvm, "BALLOON_CHANGE",
		      json_pack("{s:I}", "actual",
				(json_int_t)balloon_bytes_left(balloon, atomic_load(&balloon->actual))));
}

static void balloon_event_expired(struct event_timer *timer)
{
	balloon_tell(container_of(timer, struct balloon, event));
}

/* Once a second at most, and the last one counts. */
static void balloon_changed(struct balloon *balloon)
{
	if (event_now_ns() - balloon->event_ns >= EVENT_PERIOD_NS)
		balloon_tell(balloon);
	else if (!balloon->event.deadline_ns)
		event_timer_set(&balloon->event, balloon->event_ns + EVENT_PERIOD_NS);
}

static void balloon_config_get(struct balloon *balloon, struct virtio_balloon_config *config)
{
	*config = (struct virtio_balloon_config){
		.num_pages = htole32(atomic_load(&balloon->target)),
		.actual = htole32(atomic_load(&balloon->actual)),
		.free_page_hint_cmd_id = htole32(atomic_load(&balloon->hints.command)),
		.poison_val = htole32(atomic_load(&balloon->poison)),
	};
}

static void balloon_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	struct virtio_balloon_config config;

	balloon_config_get(balloon_of(device), &config);
	memcpy(buffer, (char *)&config + offset, size);
}

static void balloon_config_write(struct virtio_device *device, size_t offset, const void *buffer, size_t size)
{
	struct balloon *balloon = balloon_of(device);
	struct virtio_balloon_config config;
	uint32_t actual;

	balloon_config_get(balloon, &config);
	memcpy((char *)&config + offset, buffer, size);
	actual = le32toh(config.actual);
	atomic_store(&balloon->poison, le32toh(config.poison_val));
	if (atomic_exchange(&balloon->actual, actual) != actual)
		balloon_changed(balloon);
}

/* ---- life ---- */

/* The wish outlives a reset: it is the host's. */
static void balloon_reset(struct virtio_device *device)
{
	struct balloon *balloon = balloon_of(device);

	event_timer_cancel(&balloon->event);
	balloon->stats_held = balloon->stats_wanted = false;
	balloon->stats_valid = 0;
	balloon_hints_reset(&balloon->hints);
	atomic_store(&balloon->poison, 0);
	if (atomic_exchange(&balloon->actual, 0) && !device->kvm->closing)
		balloon_tell(balloon);
}

static void balloon_queue_reset(struct virtio_device *device, struct virtqueue *vq)
{
	struct balloon *balloon = balloon_of(device);

	if (vq->index == STATS)
		balloon->stats_held = balloon->stats_wanted = false;
}

static int balloon_quiesce(struct virtio_device *device)
{
	struct balloon *balloon = balloon_of(device);

	if (!balloon->event.deadline_ns)
		return 0;
	event_timer_cancel(&balloon->event);
	balloon_tell(balloon);
	return 0;
}

static const struct state_field balloon_fields[] = {
	STATE_U32(struct balloon, target),
	STATE_U32(struct balloon, actual),
	STATE_U32(struct balloon, poison),
	/* The driver would not answer to an id that it has answered to. */
	STATE_U32(struct balloon, hints.last_id),
};
STATE_TABLE(balloon_table, "virtio-balloon", 1, balloon_fields);

static void balloon_save(struct virtio_device *device, struct state_writer *writer)
{
	state_save(writer, &balloon_table, balloon_of(device));
}

static int balloon_load(struct virtio_device *device, struct state_reader *reader)
{
	balloon_hints_reset(&balloon_of(device)->hints);
	return state_load(reader, &balloon_table, balloon_of(device));
}

static const struct virtio_device_ops balloon_ops = {
	.name		= "virtio-balloon",
	.id		= VIRTIO_ID_BALLOON,
	.class_code	= 0x00ff00,
	.queues		= BALLOON_QUEUES,
	.queue_size	= 128,
	.config_size	= sizeof(struct virtio_balloon_config),
	.in_order	= true,
	.handle_queue	= balloon_handle_queue,
	.config_read	= balloon_config_read,
	.config_write	= balloon_config_write,
	.queue_reset	= balloon_queue_reset,
	.reset		= balloon_reset,
	.quiesce	= balloon_quiesce,
	.save		= balloon_save,
	.load		= balloon_load,
};

static void balloon_exit(struct kvm *kvm)
{
	struct balloon *balloon = kvm_get_state(kvm, balloon_key);

	virtio_device_del(&balloon->device);
	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, balloon_key, NULL))
		free(balloon);
}

static int balloon_add(struct kvm *kvm, struct balloon *balloon)
{
	int result;

	event_timer_init(kvm->loop, &balloon->event, balloon_event_expired);
	balloon->keeps = ram_is_hugetlb(kvm->config);
	if (balloon->keeps)
		log_warn("option --balloon: memory of huge pages can be taken from the guest, but not given to the host");
	balloon->device.features_offered = BIT(VIRTIO_BALLOON_F_STATS_VQ) | BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) |
					   BIT(VIRTIO_BALLOON_F_PAGE_POISON) | BIT(VIRTIO_BALLOON_F_REPORTING) |
					   BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT);
	result = virtio_device_add(kvm, &balloon->device, &balloon_ops, "virtio-balloon");
	if (result)
		return result;
	result = kvm_set_state(kvm, balloon_key, balloon);
	if (result)
		virtio_device_del(&balloon->device);
	return result;
}

static int balloon_init(struct kvm *kvm)
{
	struct balloon *balloon;
	int result;

	if (!config_flag(kvm->config, "balloon"))
		return INIT_SKIP;
	balloon = calloc(1, sizeof(*balloon));
	if (!balloon)
		return log_errno(ENOMEM, "virtio-balloon");
	result = balloon_add(kvm, balloon);
	if (result)
		free(balloon);
	return result;
}

static const struct option_def balloon_options[] = {
	{ .name = "balloon", .type = OPTION_FLAG,
	  .help = "Give the guest a memory balloon; free memory goes back to the host, and lkvm balloon takes more" },
};
RUN_OPTIONS(balloon_options_group, "Device options", balloon_options);

virtio_dev_init(balloon_init);
virtio_dev_exit(balloon_exit);
