/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libnbd, loaded when a disk is on an NBD server: with what it needs itself it is some megabytes.
 */
#include <dlfcn.h>

#include "disk/nbd.h"
#include "kvm/library.h"
#include "kvm/log.h"

#define LIBRARY_NAME	"libnbd.so.0"

static struct nbd_library library_nbd;

const struct nbd_library *nbd_library(void)
{
	const struct library_function functions[] = {
		{ (void **)&library_nbd.create, "nbd_create" },
		{ (void **)&library_nbd.close, "nbd_close" },
		{ (void **)&library_nbd.get_error, "nbd_get_error" },
		{ (void **)&library_nbd.get_errno, "nbd_get_errno" },
		{ (void **)&library_nbd.set_request_block_size, "nbd_set_request_block_size" },
		{ (void **)&library_nbd.get_size, "nbd_get_size" },
		{ (void **)&library_nbd.is_read_only, "nbd_is_read_only" },
		{ (void **)&library_nbd.can_flush, "nbd_can_flush" },
		{ (void **)&library_nbd.can_fua, "nbd_can_fua" },
		{ (void **)&library_nbd.can_trim, "nbd_can_trim" },
		{ (void **)&library_nbd.can_zero, "nbd_can_zero" },
		{ (void **)&library_nbd.poll, "nbd_poll" },
		{ (void **)&library_nbd.connect_uri, "nbd_aio_connect_uri" },
		{ (void **)&library_nbd.disconnect, "nbd_aio_disconnect" },
		{ (void **)&library_nbd.get_fd, "nbd_aio_get_fd" },
		{ (void **)&library_nbd.get_direction, "nbd_aio_get_direction" },
		{ (void **)&library_nbd.notify_read, "nbd_aio_notify_read" },
		{ (void **)&library_nbd.notify_write, "nbd_aio_notify_write" },
		{ (void **)&library_nbd.is_ready, "nbd_aio_is_ready" },
		{ (void **)&library_nbd.is_processing, "nbd_aio_is_processing" },
		{ (void **)&library_nbd.is_dead, "nbd_aio_is_dead" },
		{ (void **)&library_nbd.is_closed, "nbd_aio_is_closed" },
		{ (void **)&library_nbd.pread, "nbd_aio_pread" },
		{ (void **)&library_nbd.pwrite, "nbd_aio_pwrite" },
		{ (void **)&library_nbd.flush, "nbd_aio_flush" },
		{ (void **)&library_nbd.trim, "nbd_aio_trim" },
		{ (void **)&library_nbd.zero, "nbd_aio_zero" },
	};

	if (!library_load(LIBRARY_NAME, functions, ARRAY_SIZE(functions), NULL))
		return &library_nbd;
	log_error(ENOENT, "disks on NBD servers need " LIBRARY_NAME " 1.12 or later, which can't be loaded: %s (install libnbd0)",
		  dlerror());
	return NULL;
}
