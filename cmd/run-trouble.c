/* SPDX-License-Identifier: BSD-2-Clause */
/* A panic's log, printed last and read by the kernel's vmlinux. */
#include <stdio.h>

#include "guest/decode.h"
#include "kvm/log.h"
#include "kvm/trouble-log.h"
#include "libraries.h"
#include "run.h"
#include "vmlinux.h"

static bool ended_in_trouble(const struct kvm *kvm)
{
	enum kvm_end end = atomic_load(&kvm->end);

	return end == KVM_END_PANIC || end == KVM_END_OOPS;
}

#ifdef HAVE_LIBDW
/* @given: the user named it, so that it must do; one that was found may have been stripped */
static void print_decoded(const char *text, const char *vmlinux, bool given)
{
	struct symbols *symbols;

	if (symbols_open(&symbols, vmlinux, given))
		return;
	fprintf(stderr, "\nThe guest's kernel failed, as '%s' tells it:\n", vmlinux);
	decode_text(symbols, text, stderr);
	fflush(stderr);
	symbols_close(symbols);
}

void run_print_trouble(const struct kvm *kvm)
{
	const char *given = config_string(kvm->config, "vmlinux"), *kernel = config_string(kvm->config, "kernel");
	const char *text = ended_in_trouble(kvm) ? trouble_log_text(kvm) : NULL;
	_cleanup_free_ char *found = NULL;

	if (!text || (!given && !kernel))
		return;
	if (!given)
		found = vmlinux_find(kernel);
	if (given || found)
		print_decoded(text, given ? given : found, given != NULL);
}
#else
void run_print_trouble(const struct kvm *kvm)
{
	if (config_given(kvm->config, "vmlinux") && ended_in_trouble(kvm))
		log_warn("option --vmlinux: this lkvm was built without libdw (make config says more)");
}
#endif

static const struct option_def trouble_options[] = {
	{ .name = "vmlinux", .type = OPTION_STRING, .argument = "FILE",
	  .help = "The kernel with its symbols, by which an oops or a panic is printed again at the end, with files and lines "
		  "(default: looked for near the kernel, and where debug packages have it)" },
};
RUN_OPTIONS(trouble_options_group, "Debug options", trouble_options);
