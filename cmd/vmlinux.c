/* SPDX-License-Identifier: BSD-2-Clause */
/* Where kernel builds and Debian's debug packages put the vmlinux of a kernel. */
#include "vmlinux.h"

#include <stdio.h>
#include <string.h>

#include "kvm/types.h"

static bool is_elf(const char *path)
{
	FILE *file = fopen(path, "re");
	char magic[4] = "";
	bool elf;

	if (!file)
		return false;
	elf = fread(magic, 1, sizeof(magic), file) == sizeof(magic) && memcmp(magic, "\177ELF", sizeof(magic)) == 0;
	fclose(file);
	return elf;
}

/* The path, if it is an ELF file; else it is freed. */
static char *take_elf(char *path)
{
	if (path && is_elf(path))
		return path;
	free(path);
	return NULL;
}

static char *join(const char *a, size_t a_length, const char *b, const char *c)
{
	char *path;

	return asprintf(&path, "%.*s%s%s", (int)a_length, a, b, c) < 0 ? NULL : path;
}

/* TREE/arch/ARCH/boot/bzImage comes of TREE/vmlinux, and a vmlinux may lie beside a kernel. */
static char *find_in_tree(const char *kernel)
{
	const char *arch = strstr(kernel, "/arch/"), *slash = strrchr(kernel, '/');
	char *path = NULL;

	if (arch && strstr(arch, "/boot/"))
		path = take_elf(join(kernel, (size_t)(arch - kernel), "/vmlinux", ""));
	if (!path && slash)
		path = take_elf(join(kernel, (size_t)(slash - kernel), "/vmlinux", ""));
	return path;
}

/* What was installed as vmlinuz-RELEASE */
static char *find_installed(const char *kernel)
{
	static const char *const places[][2] = {
		{ "/usr/lib/debug/boot/vmlinux-", "" }, { "/usr/lib/debug/lib/modules/", "/vmlinux" },
		{ "/lib/modules/", "/build/vmlinux" }, { "/boot/vmlinux-", "" },
	};
	const char *slash = strrchr(kernel, '/'), *dash = strchr(slash ? slash : kernel, '-');
	char *path = NULL;

	for (size_t i = 0; dash && !path && i < ARRAY_SIZE(places); i++)
		path = take_elf(join(places[i][0], strlen(places[i][0]), dash + 1, places[i][1]));
	return path;
}

char *vmlinux_find(const char *kernel)
{
	char *path = is_elf(kernel) ? strdup(kernel) : NULL;

	if (!path)
		path = find_in_tree(kernel);
	return path ? path : find_installed(kernel);
}
