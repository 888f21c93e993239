/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost-user as a vhost back end: guest RAM, rings and the record of what is in flight, by messages.
 */
#include "user.h"

static int user_tell_fd(struct vhost_user *user, uint32_t request, uint64_t number, int fd)
{
	const struct user_exchange exchange = { .request = request, .payload = &number, .size = sizeof(number), .fds = &fd, .fd_count = 1 };

	return user_exchange(user, &exchange, NULL);
}

static int user_tell_state(struct vhost_user *user, uint32_t request, unsigned int index, uint32_t value)
{
	const struct user_ring_state state = { index, value };

	return user_tell(user, request, &state, sizeof(state));
}

static int user_set_memory(struct vhost_user *user, const struct vhost_region *regions, unsigned int count)
{
	struct user_memory memory = { .count = count };
	int fds[VHOST_REGIONS_MAX];
	const struct user_exchange exchange = { .request = USER_SET_MEM_TABLE, .payload = &memory, .fds = fds, .fd_count = count,
					   .size = offsetof(struct user_memory, regions) + count * sizeof(memory.regions[0]) };

	for (unsigned int i = 0; i < count; i++) {
		memory.regions[i].guest = regions[i].guest;
		memory.regions[i].size = regions[i].size;
		memory.regions[i].user = (uintptr_t)regions[i].host;
		memory.regions[i].offset = regions[i].fd_offset;
		fds[i] = regions[i].fd;
	}
	return user_exchange(user, &exchange, NULL);
}

/* The record of what is in flight: the daemon makes it, we keep it for the next one. Nobody looks into it here. */
static int user_get_inflight(struct vhost_user *user)
{
	struct user_inflight wish = { .queues = (uint16_t)user->vhost.count };
	const struct user_exchange exchange = { .request = USER_GET_INFLIGHT_FD, .payload = &wish, .size = sizeof(wish),
					   .answer_size = sizeof(wish), .answer_fd = true };
	struct user_message answer;
	int result;

	for (unsigned int i = 0; i < user->vhost.count; i++)
		wish.queue_size = MAX(wish.queue_size, user->vhost.device->queues[user->vhost.first + i].size);
	result = user_exchange(user, &exchange, &answer);
	if (result)
		return result;
	if (answer.fd < 0)
		return user_away(user, -EPROTO, exchange.request);
	user->inflight_fd = answer.fd;
	user->inflight = answer.payload.inflight;
	user->inflight.queues = wish.queues;
	user->inflight.queue_size = wish.queue_size;
	return 0;
}

static int user_set_inflight(struct vhost_user *user)
{
	const struct user_exchange exchange = { .request = USER_SET_INFLIGHT_FD, .payload = &user->inflight,
					   .size = sizeof(user->inflight), .fds = &user->inflight_fd, .fd_count = 1 };
	int result = 0;

	if (!user_can(user, USER_PROTOCOL_INFLIGHT))
		return 0;
	if (user->inflight_fd < 0)
		result = user_get_inflight(user);
	return result ? result : user_exchange(user, &exchange, NULL);
}

static int user_begin(struct vhost *vhost, uint64_t features, const struct vhost_region *regions, unsigned int count)
{
	struct vhost_user *user = user_of(vhost);
	int result;

	result = user_tell_number(user, USER_SET_FEATURES, features | (user->offered & BIT(USER_F_PROTOCOL_FEATURES)));
	if (!result)
		result = user_set_memory(user, regions, count);
	if (!result)
		result = user_set_inflight(user);
	vhost->repeats = user_can(user, USER_PROTOCOL_INFLIGHT);
	return result;
}

/* The way to interrupt stands before the way to be woken: what was in flight may be done at once. */
static int user_ring_begin(struct vhost *vhost, const struct vhost_ring *ring)
{
	struct vhost_user *user = user_of(vhost);
	const struct user_ring_address address = {
		.index = ring->index, .desc = (uintptr_t)ring->desc, .used = (uintptr_t)ring->used, .avail = (uintptr_t)ring->avail,
	};
	int result;

	result = user_tell_state(user, USER_SET_VRING_NUM, ring->index, ring->size);
	if (!result)
		result = user_tell_state(user, USER_SET_VRING_BASE, ring->index, ring->base);
	if (!result)
		result = user_tell(user, USER_SET_VRING_ADDR, &address, sizeof(address));
	if (!result)
		result = user_tell_fd(user, USER_SET_VRING_CALL, ring->index, ring->call_fd);
	if (!result)
		result = user_tell_fd(user, USER_SET_VRING_KICK, ring->index, ring->kick_fd);
	return result;
}

static int user_ring_call(struct vhost *vhost, unsigned int index, int fd)
{
	return user_tell_fd(user_of(vhost), USER_SET_VRING_CALL, index, fd);
}

/* Without the protocol's features a ring that runs is enabled. */
static int user_ring_enable(struct vhost *vhost, unsigned int index, bool enabled)
{
	struct vhost_user *user = user_of(vhost);

	if (!(user->offered & BIT(USER_F_PROTOCOL_FEATURES)))
		return 0;
	return user_tell_state(user, USER_SET_VRING_ENABLE, index, enabled);
}

static int user_ring_end(struct vhost *vhost, unsigned int index, uint32_t *base)
{
	struct vhost_user *user = user_of(vhost);
	const struct user_ring_state state = { index, 0 };
	const struct user_exchange exchange = { .request = USER_GET_VRING_BASE, .payload = &state, .size = sizeof(state),
					   .answer_size = sizeof(state) };
	struct user_message answer;
	int result = user_exchange(user, &exchange, &answer);

	if (result)
		return result;
	if (answer.payload.state.index != index ||
	    (answer.payload.state.value > UINT16_MAX && !virtio_has_feature(vhost->device, VIRTIO_F_RING_PACKED)))
		return user_away(user, -EPROTO, exchange.request);
	*base = answer.payload.state.value;
	return 0;
}

static void user_reset(struct vhost *vhost)
{
	struct vhost_user *user = user_of(vhost);

	if (user->inflight_fd >= 0)
		close(user->inflight_fd);
	user->inflight_fd = -1;
	if (user->fd >= 0 && user_can(user, USER_PROTOCOL_RESET_DEVICE) && user_tell(user, USER_RESET_DEVICE, NULL, 0))
		log_debug("vhost-user: %s: no reset", user->address.sun_path);
}

const struct vhost_ops user_ops = {
	.begin		= user_begin,
	.ring_begin	= user_ring_begin,
	.ring_call	= user_ring_call,
	.ring_enable	= user_ring_enable,
	.ring_end	= user_ring_end,
	.reset		= user_reset,
	.close		= user_close,
};

