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

/**
 * config_file_walk() - calls @each for each section and each option of @path, in order
 *
 * @where: "FILE:LINE: "; @section: what stands between its brackets, "" before the first; @option, @value: NULL where a section
 * begins. What @each returns, 0 or a negative errno (said), ends the walk and is returned; or what is wrong with the file.
 */
typedef int config_file_each(void *opaque, const char *where, const char *section, const char *option, const char *value);
int __must_check config_file_walk(const char *path, config_file_each *each, void *opaque);
/** config_file_section() - of the @section [@kind "NAME"] or [@kind NAME] the name, in @buffer; NULL: it is something else */
const char *config_file_section(const char *section, const char *kind, char *buffer, size_t room);

struct config_file_names {
	char **names;
	size_t count;
};

/** config_file_names() - the VMs that @path has, in order; 0 or negative errno (said); freed by _free(), also after an error */
int __must_check config_file_names(struct config_file_names *names, const char *path);
void config_file_names_free(struct config_file_names *names);

#endif
