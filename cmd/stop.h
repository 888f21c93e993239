/* SPDX-License-Identifier: BSD-2-Clause */
/* How VMs are stopped: what lkvm stop and lkvm down share. */
#ifndef CMD_STOP_H
#define CMD_STOP_H

#include "kvm/control.h"

#define STOP_WAIT_SECONDS	"30"

#define STOP_OPTIONS									\
	{ .name = "timeout", .letter = 't', .type = OPTION_UINT,			\
	  .argument = "SECONDS", .max = 86400,						\
	  .help = "Cut the power if the guest has not shut down by then (default: only wait, "	\
		  STOP_WAIT_SECONDS " seconds)" },					\
	{ .name = "force", .letter = 'f', .type = OPTION_FLAG, .help = "Cut the power at once" }

/** stop_one() - presses the power button of VM @name and waits for its end, as STOP_OPTIONS say; 0 or negative errno (said) */
int stop_one(const char *name, struct qmp_client *client, struct config *config);

#endif
