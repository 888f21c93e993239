/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-vsock under fuzz, with programs on the host's side that listen, connect, talk and leave. */
#include "tests/fuzz/virtio.h"

#include <limits.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "kvm/kvm.h"

#define HOST_PORT	5000		/* that a program of the host listens on */
#define SOCKETS		8

static char path[sizeof(((struct sockaddr_un *)0)->sun_path) - 16];
static int listener = -1, sockets[SOCKETS];

static struct sockaddr_un address_of(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", name);
	return address;
}

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	FUZZ_CHECK(fd >= 0);
	return fd;
}

static void vsock_machine(struct kvm *kvm)
{
	char option[sizeof(path) + 16], name[sizeof(path) + 16];
	struct sockaddr_un address;

	FUZZ_CHECK((size_t)snprintf(path, sizeof(path), "%s/v", fuzz_folder()) < sizeof(path));
	snprintf(name, sizeof(name), "%s_%u", path, HOST_PORT);
	address = address_of(name);
	listener = new_socket();
	FUZZ_CHECK(!bind(listener, (const struct sockaddr *)&address, sizeof(address)) && !listen(listener, 64));
	for (unsigned int i = 0; i < SOCKETS; i++)
		sockets[i] = -1;
	snprintf(option, sizeof(option), "42,path=%s", path);
	fuzz_machine_set(kvm, "vsock", option);
	fuzz_machine_add(kvm, "vsock_init");
}

static void put_socket(unsigned int slot, int fd)
{
	if (sockets[slot] >= 0)
		close(sockets[slot]);
	sockets[slot] = fd;
}

static void connect_to_guest(unsigned int slot, unsigned int port)
{
	const struct sockaddr_un address = address_of(path);
	char text[32];

	put_socket(slot, new_socket());
	if (connect(sockets[slot], (const struct sockaddr *)&address, sizeof(address)))
		return;
	snprintf(text, sizeof(text), "CONNECT %u\n", port);
	(void)!write(sockets[slot], text, strlen(text));
}

static void vsock_event(struct kvm *kvm, struct virtio_device *device, struct fuzz_input *input)
{
	static uint8_t bytes[KIB(64)];
	uint8_t what = fuzz_u8(input);
	unsigned int slot = what / 16 % SOCKETS;
	size_t got;
	const uint8_t *text;

	(void)kvm;
	(void)device;
	switch (what % 7) {
	case 0: connect_to_guest(slot, fuzz_u16(input)); break;
	case 1: put_socket(slot, accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)); break;
	case 2:
		text = fuzz_bytes(input, fuzz_u8(input), &got);
		(void)!write(sockets[slot], text, got);
		break;
	case 3: (void)!write(sockets[slot], bytes, fuzz_u16(input)); break;
	case 4: (void)!read(sockets[slot], bytes, fuzz_u16(input)); break;
	case 5: shutdown(sockets[slot], fuzz_u8(input) % 3); break;
	default: put_socket(slot, -1); break;
	}
}

static void vsock_between(struct virtio_device *device)
{
	int fd;

	(void)device;
	for (unsigned int i = 0; i < SOCKETS; i++)
		put_socket(i, -1);
	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(fd);
}

/* receive, transmit, events */
static const struct fuzz_virtio vsock_spec = { .machine = vsock_machine, .queues = 3, .event = vsock_event, .between = vsock_between };
FUZZ_VIRTIO(vsock, "vsock", vsock_spec);
