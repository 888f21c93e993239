/* SPDX-License-Identifier: BSD-2-Clause */
/* The ports to the host: found by their names in sysfs, as there is no udev. */
#include "init.h"

#include <asm/fcntl.h>
#include <asm/poll.h>

#define PORTS_WAIT_MS	10000
#define SYS_PORTS	"/sys/class/virtio-ports"

int control_fd = -1;

struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

/* Whether the port @entry has that name. */
static bool port_is(const char *entry, const char *name)
{
	struct line path = { .length = 0 };
	char found[64];
	long n;
	int fd;

	line_add(&path, SYS_PORTS "/");
	line_add(&path, entry);
	line_add(&path, "/name");
	fd = sys_open(path.text, O_RDONLY);
	if (fd < 0)
		return false;
	n = sys(__NR_read, fd, found, sizeof(found) - 1);
	sys_close(fd);
	if (n <= 0)
		return false;
	found[found[n - 1] == '\n' ? n - 1 : n] = '\0';
	return text_equal(found, name);
}

static int port_try(const char *name)
{
	static char entries[4096] __attribute__((aligned(8)));
	int folder = sys_open(SYS_PORTS, O_RDONLY | O_DIRECTORY), fd = -1;
	long n;

	if (folder < 0)
		return -1;
	while (fd < 0 && (n = sys(__NR_getdents64, folder, entries, sizeof(entries))) > 0) {
		for (long at = 0; at < n && fd < 0;) {
			const struct entry *entry = (const struct entry *)(entries + at);
			struct line path = { .length = 0 };

			at += entry->length;
			if (!port_is(entry->name, name))
				continue;
			line_add(&path, "/dev/");
			line_add(&path, entry->name);
			fd = sys_open(path.text, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		}
	}
	sys_close(folder);
	return fd;
}

/* POLLHUP: the host isn't there yet, and what is written would be lost. */
static bool port_connected(int fd)
{
	struct pollfd poll = { .fd = fd, .events = POLLIN | POLLOUT };
	const long now[2] = { 0, 0 };

	return sys(__NR_ppoll, &poll, 1, now, NULL, 0) >= 0 && !(poll.revents & POLLHUP);
}

int port_find(const char *name)
{
	int fd = -1;

	for (int waited = 0; waited < PORTS_WAIT_MS; waited++) {
		if (fd < 0)
			fd = port_try(name);
		if (fd >= 0 && port_connected(fd))
			return fd;
		sys_sleep_ms(1);
	}
	sys_close(fd);
	return -1;
}

int port_open(const char *name)
{
	int fd = port_find(name);

	if (fd >= 0)
		return fd;
	fail("this kernel found no port of virtio-console: it wants CONFIG_VIRTIO_CONSOLE, and CONFIG_VIRTIO_PCI or "
	     "CONFIG_VIRTIO_MMIO; missing is ", name, 0);
}

void control_open(void)
{
	control_fd = port_open("lkvm.control");
}

static void write_all(int fd, const char *text)
{
	size_t length = text_length(text);

	while (length) {
		struct pollfd poll = { .fd = fd, .events = POLLOUT };
		long n = sys(__NR_write, fd, text, length);

		if (n > 0) {
			text += n;
			length -= (size_t)n;
		} else if (n != -11 || sys(__NR_ppoll, &poll, 1, NULL, NULL, 0) < 0) {
			return;
		}
	}
}

void control_say(const char *text)
{
	int console;

	if (control_fd >= 0) {
		write_all(control_fd, text);
		return;
	}
	console = sys_open("/dev/console", O_WRONLY | O_NOCTTY);
	if (console < 0)
		return;
	write_all(console, "lkvm: ");
	write_all(console, text);
	sys_close(console);
}
