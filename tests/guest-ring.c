/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * In a test's guest: gives a network device's queues another size, as ethtool -G does; with virtio that resets them.
 *
 * usage: ring INTERFACE RX TX
 */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int call(int fd, struct ifreq *request, struct ethtool_ringparam *ring, unsigned int command)
{
	ring->cmd = command;
	request->ifr_data = (void *)ring;
	return ioctl(fd, SIOCETHTOOL, request);
}

int main(int argc, char **argv)
{
	struct ethtool_ringparam ring = { 0 };
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc != 4)
		return 2;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", argv[1]);
	if (call(fd, &request, &ring, ETHTOOL_GRINGPARAM) < 0) {
		perror("ETHTOOL_GRINGPARAM");
		return 1;
	}
	ring.rx_pending = (unsigned int)atoi(argv[2]);
	ring.tx_pending = (unsigned int)atoi(argv[3]);
	if (call(fd, &request, &ring, ETHTOOL_SRINGPARAM) < 0 || call(fd, &request, &ring, ETHTOOL_GRINGPARAM) < 0) {
		perror("ETHTOOL_SRINGPARAM");
		return 1;
	}
	printf("rings of %u and %u\n", ring.rx_pending, ring.tx_pending);
	return 0;
}
