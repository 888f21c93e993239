/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All fuzz targets as one program, to which libFuzzer brings main(): FUZZ_TARGET=qcow2 build/fuzz/tests/fuzz/fuzz FOLDER.
 * Without that variable it says which targets there are.
 */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

static const struct fuzz_target *chosen;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *name = getenv("FUZZ_TARGET");

	(void)argc;
	(void)argv;
	for (const struct fuzz_target *target = fuzz_targets(); target; target = target->next)
		if (!name)
			puts(target->name);
		else if (!strcmp(name, target->name))
			chosen = target;
	if (!chosen) {
		if (name)
			fprintf(stderr, "fuzz: there is no target '%s'\n", name);
		exit(name ? 1 : 0);
	}
	fuzz_begin(chosen);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	fuzz_one(chosen, data, length);
	return 0;
}
