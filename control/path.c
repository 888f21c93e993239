/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Control sockets in the runtime directory, for both sides.
 *
 * A VM that was killed leaves its socket behind. Nobody listens there, so whoever comes across it takes it
 * away, under a lock of the directory: else it might be the socket of a VM that has bound but not listened
 * yet. Blocking here is for as long as another lkvm makes three system calls.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>

#include "control-internal.h"
#include "kvm/log.h"

#define SOCKET_SUFFIX ".sock"

int control_address(struct sockaddr_un *address, const char *dir, int dir_fd, const char *name)
{
	int length;

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	length = snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s" SOCKET_SUFFIX, dir,
			  name);
	if (length > 0 && (size_t)length < sizeof(address->sun_path))
		return 0;
	/* sun_path holds 107 characters; a descriptor is a short name for a long path */
	length = snprintf(address->sun_path, sizeof(address->sun_path),
			  "/proc/self/fd/%d/%s" SOCKET_SUFFIX, dir_fd, name);
	if (length > 0 && (size_t)length < sizeof(address->sun_path))
		return 0;
	return log_error(ENAMETOOLONG, "control socket: the name '%s' is too long", name);
}

int control_open_directory(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	/* without a lock (some network file systems) two starts in the same instant may collide, no more */
	(void)!flock(fd, LOCK_EX);
	return fd;
}

int control_probe(const struct sockaddr_un *address)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
		return 0;
	return -errno;
}

void control_remove_dead(const char *dir, const char *name)
{
	_cleanup_close_ int dir_fd = control_open_directory(dir);
	struct sockaddr_un address;

	if (dir_fd >= 0 && control_address(&address, dir, dir_fd, name) == 0 &&
	    control_probe(&address) == -ECONNREFUSED)
		unlink(address.sun_path);
}
