/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A kernel's modules, by depmod's modules.dep: lines "PATH: NEEDED...", where what is needed last stands first.
 */
#include "guest/modules.h"

#include <libgen.h>
#include <stdio.h>
#include <string.h>

#include "kvm/log.h"

/* ---- where ---- */

static bool has_modules(const char *folder)
{
	_cleanup_free_ char *path = NULL;

	return asprintf(&path, "%s/modules.dep", folder) >= 0 && access(path, R_OK) == 0;
}

static char *folder_if_there(const char *root, const char *release)
{
	char *folder;

	if (asprintf(&folder, "%s/lib/modules/%s", root, release) < 0)
		return NULL;
	if (has_modules(folder))
		return folder;
	free(folder);
	return NULL;
}

/* TREE/arch/ARCH/boot/bzImage */
static char *find_tree(const char *kernel)
{
	const char *arch = strstr(kernel, "arch/");

	if (!arch)
		return NULL;
	return arch == kernel ? strdup(".") : strndup(kernel, (size_t)(arch - kernel) - 1);
}

/* A build tree says its release in a file, and `make modules_install INSTALL_MOD_PATH=.` may have been run there. */
static char *find_by_tree(const char *kernel)
{
	_cleanup_free_ char *tree = find_tree(kernel);
	_cleanup_free_ char *path = NULL;
	char release[256], *found = NULL;
	FILE *file;

	if (!tree || asprintf(&path, "%s/include/config/kernel.release", tree) < 0)
		return NULL;
	file = fopen(path, "re");
	if (!file)
		return NULL;
	if (fgets(release, sizeof(release), file)) {
		release[strcspn(release, "\n")] = '\0';
		found = folder_if_there(tree, release);
		if (!found)
			found = folder_if_there("", release);
	}
	fclose(file);
	return found;
}

char *modules_find(const char *kernel)
{
	_cleanup_free_ char *copy = realpath(kernel, NULL);
	char *slash = copy ? strrchr(copy, '/') : NULL, *name, *found;

	if (!slash)
		return NULL;
	*slash = '\0';
	name = slash + 1;
	/* /lib/modules/RELEASE/vmlinuz */
	if (has_modules(copy))
		return strdup(copy);
	/* ROOT/boot/vmlinuz-RELEASE */
	slash = strrchr(copy, '/');
	if (slash && strncmp(name, "vmlinuz-", 8) == 0) {
		*slash = '\0';
		found = folder_if_there(copy, name + 8);
		return found ? found : folder_if_there("", name + 8);
	}
	return find_by_tree(kernel);
}

/* ---- what there is ---- */

static bool file_has(const char *folder, const char *name, const char *text)
{
	_cleanup_free_ char *path = NULL, *line = NULL;
	bool has = false;
	size_t room = 0;
	FILE *file;

	if (asprintf(&path, "%s/%s", folder, name) < 0)
		return false;
	file = fopen(path, "re");
	if (!file)
		return false;
	while (!has && getline(&line, &room, file) > 0)
		has = strstr(line, text) != NULL;
	fclose(file);
	return has;
}

bool modules_want_virtiofs(const char *folder, const char *kernel)
{
	_cleanup_free_ char *tree = !folder && kernel ? find_tree(kernel) : NULL;

	if (tree)
		return file_has(tree, ".config", "CONFIG_VIRTIO_FS=y") && !file_has(tree, ".config", "CONFIG_9P_FS=y");
	if (!folder || file_has(folder, "modules.builtin", "/9p.ko") || file_has(folder, "modules.dep", "/9p.ko"))
		return false;
	return file_has(folder, "modules.dep", "/virtiofs.ko") || file_has(folder, "modules.builtin", "/virtiofs.ko");
}

/* ---- which, in order ---- */

/* "kernel/net/9p/9pnet_virtio.ko.xz" is 9pnet_virtio; '-' and '_' are the same. */
static bool path_is(const char *path, const char *name)
{
	const char *base = strrchr(path, '/');

	for (base = base ? base + 1 : path; *base && *base != '.' && *name; base++, name++)
		if (*base != *name && !(strchr("-_", *base) && strchr("-_", *name)))
			return false;
	return *base == '.' && !*name;
}

static bool has_path(const struct modules *modules, const char *path)
{
	for (size_t i = 0; i < modules->count; i++)
		if (strcmp(modules->paths[i], path) == 0)
			return true;
	return false;
}

static int add_path(struct modules *modules, const char *path)
{
	char **grown, *copy;

	if (has_path(modules, path))
		return 0;
	grown = reallocarray(modules->paths, modules->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	modules->paths = grown;
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	modules->paths[modules->count++] = copy;
	return 0;
}

/* @line: "PATH: A B C", of which C must be loaded first and PATH last. */
static int add_line(struct modules *modules, char *line)
{
	char *words = strchr(line, ':'), *last;
	int result = 0;

	if (!words)
		return 0;
	*words++ = '\0';
	words[strcspn(words, "\n")] = '\0';
	while (!result && (last = strrchr(words, ' '))) {
		*last = '\0';
		if (last[1])
			result = add_path(modules, last + 1);
	}
	return result ? result : add_path(modules, line);
}

static int resolve_one(struct modules *modules, FILE *file, const char *name)
{
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	int result = 0;

	rewind(file);
	while (!result && getline(&line, &room, file) > 0) {
		char *colon = strchr(line, ':');
		bool is;

		if (!colon)
			continue;
		*colon = '\0';
		is = path_is(line, name);
		*colon = ':';
		if (!is)
			continue;
		result = add_line(modules, line);
		break;
	}
	return result;
}

int modules_resolve(struct modules *modules, const char *folder, const char *const *wanted)
{
	_cleanup_free_ char *path = NULL;
	FILE *file;
	int result = 0;

	*modules = (struct modules){ .folder = strdup(folder) };
	if (!modules->folder || asprintf(&path, "%s/modules.dep", folder) < 0)
		return log_errno(ENOMEM, "modules");
	file = fopen(path, "re");
	if (!file)
		return log_errno(errno, "option --modules: '%s': can't read the modules.dep there (depmod makes it)", folder);
	for (; *wanted && !result; wanted++)
		result = resolve_one(modules, file, *wanted);
	fclose(file);
	return result ? log_errno(result, "modules") : 0;
}

void modules_free(struct modules *modules)
{
	for (size_t i = 0; i < modules->count; i++)
		free(modules->paths[i]);
	free(modules->paths);
	free(modules->folder);
	*modules = (struct modules){ .folder = NULL };
}
