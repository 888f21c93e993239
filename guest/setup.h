/* SPDX-License-Identifier: BSD-2-Clause */
/* What the host tells guest/init: the records of guest/init/init.h, in an initramfs with init and the kernel's modules. */
#ifndef GUEST_SETUP_H
#define GUEST_SETUP_H

#include "kvm/types.h"

#define GUEST_ROOT_TAG		"lkvm.root"
/* As guest/init has them. */
#define GUEST_SETUP_MAX		((size_t)MIB(1) - 1)
#define GUEST_WORDS_MAX		4096
#define GUEST_GROUPS_MAX	256

struct guest_setup {
	const char *name;		/* of the VM, for its hostname */
	const char *modules;		/* folder, or NULL: all that is needed is built in */
	char **words;			/* the command, NULL-terminated */
	const char *const *writable;	/* folders, absolute, NULL-terminated; share N has the tag guest_writable_tag(N) */
	bool tty, stderr_apart;
	bool heartbeat;			/* it shall say once a second that it lives */
	unsigned int rows, columns;	/* 0: not known */
};

/** guest_writable_tag() - the tag of writable folder @index */
void guest_writable_tag(char tag[32], size_t index);
/** guest_setup_image() - the initramfs as a file in memory; or a negative errno (said) */
int __must_check guest_setup_image(const struct guest_setup *setup);

#endif
