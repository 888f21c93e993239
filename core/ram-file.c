/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file behind guest RAM.
 *
 * A memfd lies on the kernel's own tmpfs, which gives 4 KiB pages unless the administrator turned shmem_enabled
 * on, and hardly one host has. A guest then takes one EPT violation for each 4 KiB that it ever touches, and
 * keeps the longer page walks for life. A tmpfs of our own, mounted nowhere, may say huge= by itself; but for that
 * its file is what a memfd is. Mounting asks for CAP_SYS_ADMIN over the mount namespace: who lacks it borrows that
 * from a user namespace, whose only process is a child that lives for these few system calls. A host that allows
 * neither (or has set shmem_enabled=deny) gives a memfd's small pages, and nothing else changes.
 */
#include "core/ram-file.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kvm/types.h"

#define RAM_FILE_NAME		"lkvm-ram"	/* as /proc/PID/maps shows it */
#define RAM_FILE_STACK		KIB(32)

static int ram_file_on(int mount)
{
	int fd = openat(mount, RAM_FILE_NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	unlinkat(mount, RAM_FILE_NAME, 0);
	return fd;
}

/* within_size: a file whose end isn't a multiple of 2 MiB doesn't get a page beyond it. size=0: no ceiling. */
static int ram_file_huge(int *mount)
{
	_cleanup_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "huge", "within_size", 0) ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "size", "0", 0) || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return -errno;
	*mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (*mount < 0)
		return -errno;
	fd = ram_file_on(*mount);
	if (fd < 0) {
		close(*mount);
		*mount = -1;
	}
	return fd;
}

/* ---- with a borrowed capability ---- */

struct ram_file_child {
	uid_t uid;
	gid_t gid;
	int *mount;
	int result;
};

static int write_text(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* A file's owner must have a name in the namespace, so each of the two is mapped to itself. */
static int ram_file_map_owner(const struct ram_file_child *child)
{
	char text[48];
	int result = write_text("/proc/self/setgroups", "deny");

	if (result)
		return result;
	snprintf(text, sizeof(text), "%u %u 1", child->uid, child->uid);
	result = write_text("/proc/self/uid_map", text);
	if (result)
		return result;
	snprintf(text, sizeof(text), "%u %u 1", child->gid, child->gid);
	return write_text("/proc/self/gid_map", text);
}

static int ram_file_child(void *opaque)
{
	struct ram_file_child *child = opaque;

	child->result = ram_file_map_owner(child);
	if (!child->result)
		child->result = ram_file_huge(child->mount);
	return 0;
}

/* CLONE_FILES hands the descriptor over; CLONE_VFORK keeps this thread, and so its stack and errno, still. */
static int ram_file_by_child(int *mount)
{
	struct ram_file_child child = { .uid = geteuid(), .gid = getegid(), .mount = mount, .result = -EPERM };
	char *stack = mmap(NULL, RAM_FILE_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	pid_t pid;

	if (stack == MAP_FAILED)
		return -errno;
	pid = clone(ram_file_child, stack + RAM_FILE_STACK,
		    CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_NEWUSER | CLONE_NEWNS, &child);
	if (pid < 0)
		child.result = -errno;
	else
		while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
			;
	munmap(stack, RAM_FILE_STACK);
	return child.result;
}

int ram_file_open(int *mount)
{
	int fd;

	*mount = -1;
	fd = ram_file_huge(mount);
	if (fd == -EPERM)
		fd = ram_file_by_child(mount);
	if (fd >= 0)
		return fd;
	fd = memfd_create(RAM_FILE_NAME, MFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
