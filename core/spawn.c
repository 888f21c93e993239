/* SPDX-License-Identifier: BSD-2-Clause */
#include "kvm/spawn.h"

#include <signal.h>
#include <unistd.h>

int spawn_program(pid_t *child, const char *path, char *const *arguments, const posix_spawn_file_actions_t *actions)
{
	posix_spawnattr_t attributes;
	sigset_t none, usual;
	int result;

	sigemptyset(&none);
	sigemptyset(&usual);
	sigaddset(&usual, SIGPIPE);
	sigaddset(&usual, SIGXFSZ);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &usual);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	result = path ? posix_spawn(child, path, actions, &attributes, arguments, environ) :
		 posix_spawnp(child, arguments[0], actions, &attributes, arguments, environ);
	posix_spawnattr_destroy(&attributes);
	return result;
}
