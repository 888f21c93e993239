/* SPDX-License-Identifier: BSD-2-Clause */
/* What tests of networks share: a machine with a network device, options that are refused. Include after board.h. */
#ifndef TESTS_UNIT_NET_DRIVER_H
#define TESTS_UNIT_NET_DRIVER_H

#include "kvm/net.h"
#include "tests/unit/virtio-driver.h"

#define FRAME		(RAM_BASE + 0x30000)
#define BUFFERS		RAM_SECOND
#define HEADER_SIZE	sizeof(struct virtio_net_hdr_v1)

static struct kvm *kvm;
static char net_said[256];

static inline void net_hear(enum log_level level, const char *line)
{
	(void)level;
	snprintf(net_said, sizeof(net_said), "%s", line);
}

/* The part of a machine that reads -n, without the rest; its result. */
static inline int net_parse(const char *network)
{
	struct board_pick pick = { .name = "networks_init" };

	kvm = board_create();
	ck_assert_int_eq(config_set(kvm->config, "network", network), 0);
	init_for_each(board_pick_item, &pick);
	return pick.item->init(kvm);
}

static inline void net_refused(const char *network, int error, const char *why)
{
	log_set_sink(net_hear);
	ck_assert_int_eq(net_parse(network), -error);
	log_set_sink(NULL);
	ck_assert_msg(strstr(net_said, why) != NULL, "%s: '%s' has no '%s'", network, net_said, why);
	board_destroy(kvm);
}

/* A machine with the device of -n @network, or of no -n (NULL); its driver isn't started. */
static inline void net_machine(const char *network)
{
	kvm = driver_machine();
	if (network)
		ck_assert_int_eq(config_set(kvm->config, "network", network), 0);
	board_add(kvm, "networks_init");
	board_add(kvm, "net_init");
}

static inline bool net_frame_arrived(void)
{
	return ring_used_index(&driver_rings[0]) != 0;
}

#endif
