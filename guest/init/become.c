/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `--systemd`: the root's own init as PID 1. The command becomes a service of it, whose program is this one again: a unit
 * in /run, which systemd reads beside those of /etc. /run is mounted already, and stays as it is.
 */
#include "init.h"

#include <asm/fcntl.h>

#define UNITS		"/run/systemd/system"
#define UNIT		UNITS "/lkvm-command.service"
#define WANTED		UNITS "/multi-user.target.wants"
#define SERVICE_PROGRAM	SERVICE_FOLDER "/init"

static const char unit[] =
	"[Unit]\n"
	"Description=The command of lkvm run\n"
	"After=basic.target network.target dbus.service systemd-user-sessions.service\n"
	"[Service]\n"
	"ExecStart=" SERVICE_PROGRAM "\n"
	"IgnoreSIGPIPE=no\n"
	"TimeoutStopSec=5\n";

/* Debian's would empty /tmp first, which is the host's, and where the command may be at home. */
#define TMPFILES	UNITS "/systemd-tmpfiles-setup.service.d"

static const char tmpfiles[] =
	"[Service]\n"
	"ExecStart=\n"
	"ExecStart=systemd-tmpfiles --create --boot --exclude-prefix=/dev --exclude-prefix=/tmp --exclude-prefix=/var/tmp\n";

static int create(const char *path, int mode)
{
	int fd = (int)sys(__NR_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	if (fd < 0)
		fail("can't write ", path, fd);
	return fd;
}

static void write_bytes(int fd, const char *path, const char *bytes, size_t length)
{
	while (length) {
		long n = sys(__NR_write, fd, bytes, length);

		if (n <= 0)
			fail("can't write ", path, n);
		bytes += n;
		length -= (size_t)n;
	}
}

static void write_file(const char *path, int mode, const char *bytes, size_t length)
{
	int fd = create(path, mode);

	write_bytes(fd, path, bytes, length);
	sys_close(fd);
}

void copy_file(int from, const char *path, int mode)
{
	static char buffer[65536];
	int to = create(path, mode);
	long n;

	while ((n = sys(__NR_read, from, buffer, sizeof(buffer))) > 0)
		write_bytes(to, path, buffer, (size_t)n);
	if (n < 0)
		fail("can't read what becomes ", path, n);
	sys_close(to);
	sys_close(from);
}

static void make_service(const struct setup *setup, int program)
{
	sys_mkdir(SERVICE_FOLDER);
	sys(__NR_fchmodat, AT_FDCWD, SERVICE_FOLDER, 0700);
	copy_file(program, SERVICE_PROGRAM, 0700);
	write_file(SERVICE_SETUP, 0600, setup->text, setup->length);
	sys_mkdir(WANTED);
	write_file(UNIT, 0644, unit, sizeof(unit) - 1);
	sys(__NR_symlinkat, UNIT, AT_FDCWD, WANTED "/lkvm-command.service");
}

void become_init(const struct setup *setup, const char *init, int program)
{
	const char *const words[] = { init, NULL };
	const char *const environment[] = { "TERM=linux", NULL };
	long result;

	sys_mkdir("/run/systemd");
	sys_mkdir(UNITS);
	sys_mkdir(TMPFILES);
	write_file(TMPFILES "/lkvm.conf", 0644, tmpfiles, sizeof(tmpfiles) - 1);
	if (setup_get(setup, "arg"))
		make_service(setup, program);
	result = sys(__NR_execve, init, words, environment);
	fail("the root's init can't be run: ", init, result);
}
