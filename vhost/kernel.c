/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Vhost in the host's kernel: rings worked on by its threads, set up by ioctls (linux/vhost.h).
 *
 * vhost-net moves frames between a queue pair and a tap; vhost-vsock connects the guest's sockets with the host's own
 * AF_VSOCK; vhost-scsi has a SCSI controller's rings in front of a target. What enables a ring is another thing for each,
 * so each says how. Nothing here waits for anybody.
 */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_net.h>
#include <linux/virtio_scsi.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/dirty.h"
#include "kvm/vhost.h"

struct vhost_kernel {
	struct vhost vhost;
	int fd;
	int tap_fd;			/* vhost-net: the tap's queue, not ours */
	struct vhost_scsi_target target;	/* vhost-scsi */
};

static struct vhost_kernel *kernel_of(struct vhost *vhost)
{
	return container_of(vhost, struct vhost_kernel, vhost);
}

/* What fails here is a bug of ours or a host without memory: said, since a guest only sees a device that hangs. */
static int kernel_call(struct vhost *vhost, unsigned long request, const void *argument, const char *what)
{
	if (ioctl(kernel_of(vhost)->fd, request, argument) >= 0)
		return 0;
	return log_errno(errno, "%s: vhost: %s", vhost->device->device.name, what);
}

/* While the VM is migrated: behind the table of memory, whose pages it counts. */
static int kernel_log(struct vhost *vhost, uint64_t features)
{
	const struct dirty_map *map = atomic_load(&vhost->device->kvm->memory.written);
	uint64_t base = map ? (uintptr_t)map->outside : 0;
	int result;

	if (!map)
		return 0;
	features |= BIT(VHOST_F_LOG_ALL);
	result = kernel_call(vhost, VHOST_SET_LOG_BASE, &base, "a log of written pages");
	return result ? result : kernel_call(vhost, VHOST_SET_FEATURES, &features, "features");
}

static int kernel_begin(struct vhost *vhost, uint64_t features, const struct vhost_region *regions, unsigned int count)
{
	struct {
		struct vhost_memory head;
		struct vhost_memory_region regions[VHOST_REGIONS_MAX];
	} memory = { .head.nregions = count };
	int result;

	for (unsigned int i = 0; i < count; i++) {
		memory.regions[i].guest_phys_addr = regions[i].guest;
		memory.regions[i].memory_size = regions[i].size;
		memory.regions[i].userspace_addr = (uintptr_t)regions[i].host;
	}
	result = kernel_call(vhost, VHOST_SET_FEATURES, &features, "features");
	if (!result)
		result = kernel_call(vhost, VHOST_SET_MEM_TABLE, &memory, "guest memory");
	return result || !vhost->logs ? result : kernel_log(vhost, features);
}

static int kernel_ring_fd(struct vhost *vhost, unsigned long request, unsigned int index, int fd, const char *what)
{
	const struct vhost_vring_file file = { .index = index, .fd = fd };

	return kernel_call(vhost, request, &file, what);
}

static int kernel_ring_begin(struct vhost *vhost, const struct vhost_ring *ring)
{
	const struct vhost_vring_state size = { .index = ring->index, .num = ring->size };
	const struct vhost_vring_state base = { .index = ring->index, .num = ring->base };
	const struct vhost_vring_addr address = {
		.index = ring->index, .desc_user_addr = (uintptr_t)ring->desc, .avail_user_addr = (uintptr_t)ring->avail,
		.used_user_addr = (uintptr_t)ring->used,
	};
	int result;

	result = kernel_call(vhost, VHOST_SET_VRING_NUM, &size, "a ring's size");
	if (!result)
		result = kernel_call(vhost, VHOST_SET_VRING_BASE, &base, "a ring's base");
	if (!result)
		result = kernel_call(vhost, VHOST_SET_VRING_ADDR, &address, "a ring's addresses");
	if (!result)
		result = kernel_ring_fd(vhost, VHOST_SET_VRING_CALL, ring->index, ring->call_fd, "a ring's interrupt");
	if (!result)
		result = kernel_ring_fd(vhost, VHOST_SET_VRING_KICK, ring->index, ring->kick_fd, "a ring's doorbell");
	return result;
}

static int kernel_ring_call(struct vhost *vhost, unsigned int index, int fd)
{
	return kernel_ring_fd(vhost, VHOST_SET_VRING_CALL, index, fd, "a ring's interrupt");
}

static int kernel_ring_end(struct vhost *vhost, unsigned int index, uint32_t *base)
{
	struct vhost_vring_state state = { .index = index };
	int result = kernel_call(vhost, VHOST_GET_VRING_BASE, &state, "a ring's base");

	*base = state.num;
	return result;
}

static void kernel_close(struct vhost *vhost)
{
	close(kernel_of(vhost)->fd);
	free(kernel_of(vhost));
}

/* ---- net ---- */

/* The tap's frames stand behind the header that was negotiated, which vhost passes on as it is. */
static int net_begin(struct vhost *vhost, uint64_t features, const struct vhost_region *regions, unsigned int count)
{
	const int size = features & (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MRG_RXBUF)) ? sizeof(struct virtio_net_hdr_v1) :
			 sizeof(struct virtio_net_hdr);

	if (ioctl(kernel_of(vhost)->tap_fd, TUNSETVNETHDRSZ, &size) < 0)
		return log_errno(errno, "%s: the interface can't have headers of %d bytes", vhost->device->device.name, size);
	return kernel_begin(vhost, features, regions, count);
}

static int net_ring_enable(struct vhost *vhost, unsigned int index, bool enabled)
{
	return kernel_ring_fd(vhost, VHOST_NET_SET_BACKEND, index, enabled ? kernel_of(vhost)->tap_fd : -1, "a ring's interface");
}

static const struct vhost_ops net_ops = {
	.begin		= net_begin,
	.ring_begin	= kernel_ring_begin,
	.ring_call	= kernel_ring_call,
	.ring_enable	= net_ring_enable,
	.ring_end	= kernel_ring_end,
	.close		= kernel_close,
};

/* ---- vsock ---- */

/* The device is enabled as a whole. */
static int no_ring_enable(struct vhost *vhost, unsigned int index, bool enabled)
{
	(void)vhost;
	(void)index;
	(void)enabled;
	return 0;
}

static int vsock_run(struct vhost *vhost, bool running)
{
	const int value = running;

	return kernel_call(vhost, VHOST_VSOCK_SET_RUNNING, &value, "running");
}

static const struct vhost_ops vsock_ops = {
	.begin		= kernel_begin,
	.ring_begin	= kernel_ring_begin,
	.ring_call	= kernel_ring_call,
	.ring_enable	= no_ring_enable,
	.ring_end	= kernel_ring_end,
	.run		= vsock_run,
	.close		= kernel_close,
};

/* ---- scsi ---- */

/* The target is what enables all of the rings, which must be there by then; taking it away waits for its commands. */
static int scsi_run(struct vhost *vhost, bool running)
{
	const struct vhost_scsi_target *target = &kernel_of(vhost)->target;

	if (ioctl(kernel_of(vhost)->fd, running ? VHOST_SCSI_SET_ENDPOINT : VHOST_SCSI_CLEAR_ENDPOINT, target) >= 0)
		return 0;
	return log_errno(errno, "%s: vhost: target %s (has it a portal group with a nexus?)", vhost->device->device.name,
			 target->vhost_wwpn);
}

static const struct vhost_ops scsi_ops = {
	.begin		= kernel_begin,
	.ring_begin	= kernel_ring_begin,
	.ring_call	= kernel_ring_call,
	.ring_enable	= no_ring_enable,
	.ring_end	= kernel_ring_end,
	.run		= scsi_run,
	.close		= kernel_close,
};

/* ---- opening ---- */

static int kernel_open_said(const char *option, const char *path, const char *module)
{
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return log_error(errno, "option --%s: there is no %s (modprobe %s)", option, path, module);
	if (errno == EACCES || errno == EPERM)
		return log_error(errno, "option --%s: no permission for %s (it needs a group that may write it)", option, path);
	return log_errno(errno, "option --%s: %s", option, path);
}

static int kernel_open(struct vhost_kernel **out, const struct vhost_ops *ops, const char *option, const char *path,
		       const char *module, bool *logs)
{
	struct vhost_kernel *kernel = calloc(1, sizeof(*kernel));
	int result;

	if (!kernel)
		return log_errno(ENOMEM, "option --%s", option);
	kernel->vhost.ops = ops;
	kernel->fd = open(path, O_RDWR | O_CLOEXEC);
	if (kernel->fd < 0) {
		result = kernel_open_said(option, path, module);
		free(kernel);
		return result;
	}
	if (ioctl(kernel->fd, VHOST_SET_OWNER, NULL) < 0 || ioctl(kernel->fd, VHOST_GET_FEATURES, &kernel->vhost.features) < 0) {
		result = log_errno(errno, "option --%s: %s", option, path);
		kernel_close(&kernel->vhost);
		return result;
	}
	*logs = kernel->vhost.features & BIT(VHOST_F_LOG_ALL);
	/* Logging is migration's, IOMMUs are nobody's here, and a ring is reset without its knowing. */
	kernel->vhost.features &= ~(BIT(VHOST_F_LOG_ALL) | BIT(VIRTIO_F_ACCESS_PLATFORM) | BIT(VHOST_NET_F_VIRTIO_NET_HDR) |
				    BIT(VIRTIO_F_RING_RESET) | BIT(VIRTIO_F_NOTIFICATION_DATA) | BIT(VIRTIO_F_NOTIFY_ON_EMPTY));
	*out = kernel;
	return 0;
}

int vhost_net_open(struct vhost **vhost, int tap_fd)
{
	struct vhost_kernel *kernel = NULL;
	bool logs = false;
	int result = kernel_open(&kernel, &net_ops, "network", "/dev/vhost-net", "vhost_net", &logs);

	if (result)
		return result;
	kernel->tap_fd = tap_fd;
	/* vsock's and SCSI's don't log what they write into buffers */
	kernel->vhost.logs = logs;
	*vhost = &kernel->vhost;
	return 0;
}

int vhost_vsock_open(struct vhost **vhost, uint64_t cid)
{
	struct vhost_kernel *kernel = NULL;
	bool logs;
	int result = kernel_open(&kernel, &vsock_ops, "vsock", "/dev/vhost-vsock", "vhost_vsock", &logs);

	if (result)
		return result;
	if (ioctl(kernel->fd, VHOST_VSOCK_SET_GUEST_CID, &cid) < 0) {
		result = errno == EADDRINUSE ? log_error(errno, "option --vsock: another VM has the CID %llu", (unsigned long long)cid) :
		         log_errno(errno, "option --vsock: the CID %llu", (unsigned long long)cid);
		kernel_close(&kernel->vhost);
		return result;
	}
	*vhost = &kernel->vhost;
	return 0;
}

/* Which targets there are, where that can be seen: the kernel only says so once a driver is there. */
static int scsi_look_for(const char *wwpn)
{
	static const char fabric[] = "/sys/kernel/config/target/vhost";
	char path[sizeof(fabric) + 64];

	snprintf(path, sizeof(path), "%s/%s", fabric, wwpn);
	if (!access(fabric, F_OK) && access(path, F_OK))
		return log_error(ENOENT, "option --disk: the host has no target %s (see %s, and targetcli)", wwpn, fabric);
	return 0;
}

int vhost_scsi_open(struct vhost **vhost, const char *wwpn, uint16_t tpgt)
{
	struct vhost_kernel *kernel = NULL;
	bool logs;
	int result = kernel_open(&kernel, &scsi_ops, "disk", "/dev/vhost-scsi", "vhost_scsi", &logs), version;

	if (result)
		return result;
	if (ioctl(kernel->fd, VHOST_SCSI_GET_ABI_VERSION, &version) < 0)
		result = log_errno(errno, "option --disk: /dev/vhost-scsi");
	else if (version > VHOST_SCSI_ABI_VERSION)
		result = log_error(EPROTO, "option --disk: /dev/vhost-scsi has version %d, and %d is known here", version,
				   VHOST_SCSI_ABI_VERSION);
	else
		result = scsi_look_for(wwpn);
	if (result) {
		kernel_close(&kernel->vhost);
		return result;
	}
	kernel->vhost.features &= ~BIT(VIRTIO_SCSI_F_T10_PI);
	kernel->target.abi_version = VHOST_SCSI_ABI_VERSION;
	kernel->target.vhost_tpgt = tpgt;
	snprintf(kernel->target.vhost_wwpn, sizeof(kernel->target.vhost_wwpn), "%s", wwpn);
	*vhost = &kernel->vhost;
	return 0;
}
