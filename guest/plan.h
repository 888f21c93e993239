/* SPDX-License-Identifier: BSD-2-Clause */
/* What `lkvm run -- COMMAND` has found out before there is a VM: from the command line, the caller and the host's files. */
#ifndef GUEST_PLAN_H
#define GUEST_PLAN_H

#include "guest/setup.h"
#include "kvm/option.h"

#define GUEST_MOUNTS_MAX	16
/* Of a root that `lkvm setup` made: the host's own is there, and it is known by this file. */
#define GUEST_ROOT_HOST		"/host"
#define GUEST_ROOT_MARK		"/etc/lkvm-root"
/* Below the user's home */
#define GUEST_ROOTS		".lkvm"

struct guest_plan {
	char *root;			/* the folder or the image that becomes the root, a path without symlinks */
	bool image;			/* it is an image */
	bool virtiofs;			/* shares come by virtio-fs, as the kernel has no 9p */
	char *script;			/* of --sandbox: it is the command, or NULL */
	char *modules;
	struct guest_user user;
	char *shell[2];			/* the words where none were given */
	char **words;			/* those behind a script's, with it, or NULL */
	struct guest_mount mounts[GUEST_MOUNTS_MAX];	/* outer ones first; their paths, and those alone, are the plan's */
	size_t mount_count;
	bool tty, stderr_apart;
	bool systemd;			/* the root's own init runs the machine */
	bool login;			/* and there is no command: the console is the user's */
	int initrd;			/* or -1 */
};

/**
 * guest_plan_make() - and says in @config what the VM must have
 * @words: NULL-terminated; none: a shell; NULL: only with --systemd or --sandbox. 0 or negative errno (said); free it either way
 */
int __must_check guest_plan_make(struct guest_plan *plan, struct config *config, char **words);
void guest_plan_free(struct guest_plan *plan);
/** guest_root_find() - the folder or image that --root @name means: a path, or a root of `lkvm setup`; to be freed, NULL: said */
char *guest_root_find(const char *name);
/** guest_root_named() - whether @name is no path here, and a root of `lkvm setup` */
bool guest_root_named(const char *name);
/** guest_root_cwd() - where a command is in @root, if it can't be where its caller is; else NULL */
const char *guest_root_cwd(const char *root);
/** guest_root_below() - where a root of `lkvm setup` has the host's files, as a prefix; NULL: @root is another */
const char *guest_root_below(const char *root);
/** guest_shell() - @user's shell as far as @root has it, else /bin/sh; a path that lives as long as @user */
char *guest_shell(const struct guest_user *user, const char *root);

#endif
