/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libslirp, loaded at run time.
 */
#include <dlfcn.h>

#include "kvm/library.h"
#include "user.h"

#define LIBRARY_NAME	"libslirp.so.0"

/* GLib's, by which libslirp speaks */
typedef void log_function(const char *domain, unsigned int level, const char *message, void *opaque);
typedef unsigned int log_set_handler_function(const char *domain, unsigned int levels, log_function *function, void *opaque);
#define LOG_LEVELS_ALL	0xfffffffeU

/* A guest can cause them without end. */
static void say(const char *domain, unsigned int level, const char *message, void *opaque)
{
	(void)level;
	(void)opaque;
	log_debug("%s: %s", domain, message);
}

static void hear(void *handle)
{
	log_set_handler_function *set_handler = NULL;

	*(void **)&set_handler = dlsym(handle, "g_log_set_handler");
	if (set_handler)
		set_handler("Slirp", LOG_LEVELS_ALL, say, NULL);
}

int slirp_library_load(struct slirp_library *library)
{
	const struct library_function functions[] = {
		{ (void **)&library->create, "slirp_new" },
		{ (void **)&library->cleanup, "slirp_cleanup" },
		{ (void **)&library->input, "slirp_input" },
		{ (void **)&library->pollfds_fill, "slirp_pollfds_fill" },
		{ (void **)&library->pollfds_poll, "slirp_pollfds_poll" },
		{ (void **)&library->add_hostfwd, "slirp_add_hostfwd" },
	};

	if (library_load(LIBRARY_NAME, functions, ARRAY_SIZE(functions), &library->handle))
		return log_error(ENOENT, "option --network: mode=user needs " LIBRARY_NAME ", which can't be loaded: %s "
				 "(install libslirp0)", dlerror());
	hear(library->handle);
	return 0;
}
