/* SPDX-License-Identifier: BSD-2-Clause */
/* Programs that a VM needs beside it, started with the signals that programs expect. */
#ifndef KVM_SPAWN_H
#define KVM_SPAWN_H

#include <spawn.h>
#include <sys/types.h>

/**
 * spawn_program() - runs @path, or what PATH has by the name @arguments[0] if @path is NULL; @actions may be NULL
 *
 * lkvm blocks signals and ignores some, which a child would inherit: this one has none blocked, and SIGPIPE and SIGXFSZ
 * end it. Its environment is lkvm's. Returns 0 or an errno (positive, as posix_spawn(3)), and says nothing.
 */
int spawn_program(pid_t *child, const char *path, char *const *arguments, const posix_spawn_file_actions_t *actions);

#endif
