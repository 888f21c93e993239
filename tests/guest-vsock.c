/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For guests of tests/integration: what socat would be to vsock, static and small.
 *
 * usage: vsock echo PORT           gives each connection back what it sends
 *        vsock connect CID PORT    stdin and stdout
 */
#include <sys/socket.h>

#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* False at the end, whichever. */
static int copy(int from, int to)
{
	static char buffer[65536];
	ssize_t got = read(from, buffer, sizeof(buffer)), put;

	for (ssize_t at = 0; at < got; at += put) {
		put = write(to, buffer + at, (size_t)(got - at));
		if (put <= 0)
			return 0;
	}
	return got > 0;
}

static int echo(int fd, const struct sockaddr_vm *address)
{
	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) || listen(fd, 16))
		return 1;
	puts("listening");
	fflush(stdout);
	for (;;) {
		int peer = accept(fd, NULL, NULL);

		if (peer < 0)
			return 1;
		if (!fork()) {
			while (copy(peer, peer))
				;
			return 0;
		}
		close(peer);
	}
}

static int relay(int fd, const struct sockaddr_vm *address)
{
	struct pollfd watched[] = { { .fd = fd, .events = POLLIN }, { .fd = STDIN_FILENO, .events = POLLIN } };

	if (connect(fd, (const struct sockaddr *)address, sizeof(*address))) {
		perror("connect");
		return 1;
	}
	for (;;) {
		poll(watched, 2, -1);
		if (watched[0].revents && !copy(fd, STDOUT_FILENO))
			return 0;
		if (watched[1].revents && !copy(STDIN_FILENO, fd)) {
			shutdown(fd, SHUT_WR);
			watched[1].fd = -1;
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0 || argc < 3) {
		perror("vsock");
		return 2;
	}
	address.svm_port = (unsigned int)strtoul(argv[argc - 1], NULL, 10);
	if (!strcmp(argv[1], "echo"))
		return echo(fd, &address);
	address.svm_cid = (unsigned int)strtoul(argv[2], NULL, 10);
	return relay(fd, &address);
}
