/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMs in a file: options of `lkvm run`, NAME = VALUE each, for all VMs of the file or behind [vm "NAME"] for one.
 * lkvm.1 describes it. Read by libinih; without it all calls fail and say so.
 */
#ifndef KVM_CONFIG_FILE_H
#define KVM_CONFIG_FILE_H

#include "kvm/option.h"

/**
 * config_file_read() - what the file @path says, as @source
 *
 * Of several VMs it takes the one called --name, and the only one if there is no --name, which is then its name.
 * Returns 0, or a negative errno (said: the file, the line, what is wrong).
 */
int __must_check config_file_read(struct config *config, enum config_source source, const char *path);
/** config_file_profile() - as config_file_read(), of ~/.config/lkvm/@name.conf */
int __must_check config_file_profile(struct config *config, enum config_source source, const char *name);

struct config_file_names {
	char **names;
	size_t count;
};

/** config_file_names() - the VMs that @path has, in order; 0 or negative errno (said); freed by _free(), also after an error */
int __must_check config_file_names(struct config_file_names *names, const char *path);
void config_file_names_free(struct config_file_names *names);

#endif
