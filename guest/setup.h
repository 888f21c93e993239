/* SPDX-License-Identifier: BSD-2-Clause */
/* What the host tells guest/init: the records of guest/init/init.h, in an initramfs with init and the kernel's modules. */
#ifndef GUEST_SETUP_H
#define GUEST_SETUP_H

#include "guest/user.h"
#include "kvm/types.h"

#define GUEST_ROOT_TAG		"lkvm.root"
#define GUEST_ROOT_SERIAL	"lkvm-root"
/* Where a script of --sandbox is in the guest */
#define GUEST_SCRIPT		"/run/lkvm-sandbox"
/* As guest/init has them. */
#define GUEST_SETUP_MAX		((size_t)MIB(1) - 1)
#define GUEST_WORDS_MAX		4096

/** struct guest_task - a command, and who and where it is */
struct guest_task {
	const struct guest_user *user;
	char **words;			/* NULL-terminated; NULL: none, which is for a guest that has its own init */
	const char *cwd_below;		/* where in the guest the host's root is; NULL: it is the guest's own */
	const char *cwd;		/* where it is, if not where its caller is */
	bool tty, stderr_apart;
	bool heartbeat;			/* it shall say once a second that it lives */
	unsigned int rows, columns;	/* 0: not known */
};

/** enum guest_mount_kind - LAYERED: read, with a layer over it that takes what is written */
enum guest_mount_kind { GUEST_MOUNT_WRITABLE, GUEST_MOUNT_LAYERED, GUEST_MOUNT_READ };

/** struct guest_mount - a share of the host's */
struct guest_mount {
	const char *folder;		/* the host's */
	const char *path;		/* in the guest; absolute */
	enum guest_mount_kind kind;
};

struct guest_setup {
	const char *name;		/* of the VM, for its hostname */
	const char *modules;		/* folder, or NULL: all that is needed is built in */
	const struct guest_mount *mounts;	/* in the order in which they are mounted; that of the tags */
	size_t mount_count;
	const char *init;		/* that is to be PID 1, or NULL */
	const char *script;		/* a file that the guest has as GUEST_SCRIPT, or NULL */
	bool virtiofs;			/* shares are by virtio-fs */
	bool image;			/* the root is a disk */
	bool root_writable;		/* without a layer */
	struct guest_task task;
};

/** guest_mount_tag() - the tag of mount @index */
void guest_mount_tag(char tag[32], size_t index);
/** guest_setup_image() - the initramfs as a file in memory; or a negative errno (said) */
int __must_check guest_setup_image(const struct guest_setup *setup);
/** guest_task_text() - the task's records alone, as a new string of *@length bytes; 0 or negative errno (said) */
int __must_check guest_task_text(const struct guest_task *task, char **text, size_t *length);

#endif
