/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What lkvm wants of a Linux kernel's configuration: one table, from which .config files are checked and completed.
 */
#ifndef KVM_KERNEL_CONFIG_H
#define KVM_KERNEL_CONFIG_H

#include <stdio.h>

#include "kvm/types.h"

enum kernel_arch { KERNEL_X86 = 1, KERNEL_ARM64 = 2 };

struct kernel_option {
	const char *name;	/* without CONFIG_ */
	unsigned int arches;	/* enum kernel_arch; 0: each */
	const char *why;	/* equal for neighbours: said once */
};

/** kernel_option_next() - the option of @arch behind @option (NULL: the first); NULL at the end */
const struct kernel_option *kernel_option_next(const struct kernel_option *option, enum kernel_arch arch);
/** kernel_arch_of() - by the name that uname or a kernel's ARCH= has, x86_64, x86, arm64 or aarch64; 0 for others */
enum kernel_arch kernel_arch_of(const char *name);

/** struct kernel_config - which options of the table a .config has */
struct kernel_config {
	enum kernel_arch arch;	/* as the file says; 0: neither */
	bool *has;		/* =y or =m; by the table's order */
};

/** kernel_config_read() - 0 or negative errno (said, naming @path); freed by kernel_config_free(), also after an error */
int __must_check kernel_config_read(struct kernel_config *config, const char *path);
bool kernel_config_has(const struct kernel_config *config, const struct kernel_option *option);
void kernel_config_free(struct kernel_config *config);

/**
 * kernel_config_print() - the options of @arch as a fragment of a .config, with the reasons as comments
 * @config: those that it lacks only; NULL: all
 * Returns how many there were.
 */
unsigned int kernel_config_print(FILE *file, enum kernel_arch arch, const struct kernel_config *config);

/**
 * kernel_config_merge() - writes @path anew, with what @config, read from it, lacks for @arch
 * Returns 0 or negative errno (said); @path is then as it was.
 */
int __must_check kernel_config_merge(const struct kernel_config *config, enum kernel_arch arch, const char *path);

#endif
