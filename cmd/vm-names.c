/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which VMs a command means, and a connection to each in turn. Used by stop, pause, resume and debug.
 */
#include "vm-names.h"

#include <string.h>

#include "kvm/log.h"

struct walk {
	struct config *config;
	int (*each)(const char *name, struct qmp_client *client, struct config *config);
	unsigned int count;
	int status;
};

static void visit(const char *name, void *opaque)
{
	struct walk *walk = opaque;
	struct qmp_client *client;

	walk->count++;
	if (control_connect(name, CONTROL_TIMEOUT_MS, &client) < 0) {
		walk->status = LKVM_STATUS_ERROR;
		return;
	}
	if (walk->each(name, client, walk->config) < 0)
		walk->status = LKVM_STATUS_ERROR;
	control_disconnect(client);
}

int vm_names_each(struct config *config, int argc, char **argv,
		  int (*each)(const char *name, struct qmp_client *client, struct config *config))
{
	struct walk walk = { .config = config, .each = each };

	if (config_flag(config, "all")) {
		if (argc || config_count(config, "name")) {
			log_error(EINVAL,
				  "option --all: means every VM, so no name can go with it");
			return LKVM_STATUS_USAGE;
		}
		if (control_for_each(visit, &walk) < 0)
			return LKVM_STATUS_ERROR;
		return walk.status;
	}
	for (size_t i = 0; i < config_count(config, "name"); i++)
		visit(config_item(config, "name", i), &walk);
	for (int i = 0; i < argc; i++)
		visit(argv[i], &walk);
	if (!walk.count) {
		log_error(EINVAL, "which VM? (say its NAME, or --all; lkvm list shows them)");
		return LKVM_STATUS_USAGE;
	}
	return walk.status;
}
