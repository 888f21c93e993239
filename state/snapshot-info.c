/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The description in a snapshot, written and taken over. Main thread.
 *
 * The machine is made again by the options that made it: what they recorded is given to the same parser as a command
 * line. What says where lkvm's own output goes, or what the host connects to, may differ; the rest is the guest's
 * hardware. A disk that was written to since would contradict what the guest remembers of it, and it would destroy both.
 */
#include "state/snapshot-info.h"

#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "kvm/arch.h"
#include "kvm/device.h"
#include "kvm/disk.h"
#include "kvm/kvm-cpu.h"
#include "version.h"

/* How long an image may be worked on by its own VM's end. */
#define ENDING_NS	10000000000LL

/* They belong to the one run, not to the machine. */
static const char *const of_the_run[] = {
	"name", "restore", "prefault", "loglevel", "debug", "debug-ioport", "debug-mmio", "debug-iodelay", "trace-init", "list-init",
	"dev", "gdb", "tty", "incoming", "daemonize", "pidfile", "ready-fd", "metrics", NULL
};
/* They belong to the machine, and may be given anew: the same devices with something else behind them. */
static const char *const may_differ[] = { "network", "disk", "kernel", "initrd", "on-reboot", NULL };
/* Their text begins with a path. */
static const char *const begin_with_path[] = { "disk", "kernel", "initrd", "9p", "fs", "pmem", NULL };

static bool is_one_of(const char *name, const char *const *names)
{
	while (*names && strcmp(*names, name) != 0)
		names++;
	return *names;
}

/* ---- writing ---- */

struct options_walk {
	json_t *options;
	const char *folder;
};

/* A relative path is relative to where this process is, and the next one may be elsewhere. */
static json_t *option_text(const struct options_walk *walk, const struct option_def *def, const char *text)
{
	/* what is in a slot: a kind of device, then that one's text */
	size_t kind = strncmp(text, "disk:", 5) || strcmp(def->name, "plug") ? 0 : 5, length = strcspn(text + kind, ",");
	_cleanup_free_ char *path = strndup(text + kind, length);

	if ((!kind && !is_one_of(def->name, begin_with_path)) || text[kind] == '/' || !text[kind] || !walk->folder ||
	    strchr(walk->folder, ',') || !path || access(path, F_OK))
		return json_string(text);
	return json_sprintf("%.*s%s/%s", (int)kind, text, walk->folder, text + kind);
}

static void option_add(const struct option_def *def, const char *text, void *opaque)
{
	const struct options_walk *walk = opaque;
	json_t *list;

	if (is_one_of(def->name, of_the_run))
		return;
	if (def->type != OPTION_LIST) {
		json_object_set_new(walk->options, def->name, option_text(walk, def, text));
		return;
	}
	list = json_object_get(walk->options, def->name);
	if (!list) {
		list = json_array();
		json_object_set_new(walk->options, def->name, list);
	}
	json_array_append_new(list, option_text(walk, def, text));
}

static json_t *describe_options(const struct kvm *kvm)
{
	_cleanup_free_ char *folder = getcwd(NULL, 0);
	struct options_walk walk = { json_object(), folder };

	config_each_given(kvm->config, option_add, &walk);
	return walk.options;
}

static json_t *describe_disk(const struct disk *disk)
{
	json_t *files = json_array();

	for (unsigned int depth = 0;; depth++) {
		struct disk_identity file;
		int there = disk_identify(disk, depth, &file);

		if (!there)
			return json_pack("{s:I,s:b,s:o}", "size", (json_int_t)disk_info(disk)->size, "read-only",
					 disk_info(disk)->read_only, "files", files);
		if (there > 0 && file.nameless)
			log_error(ENOTSUP, "snapshot: a disk with snapshot=on can't be in it: what was written goes with the VM "
				  "(run it with overlay=FILE)");
		if (there < 0 || file.nameless) {
			json_decref(files);
			free(there < 0 ? NULL : file.path);
			return NULL;
		}
		json_array_append_new(files, json_pack("{s:s,s:I,s:I,s:b}", "path", file.path, "bytes", (json_int_t)file.bytes,
						       "changed-ns", (json_int_t)file.changed_ns, "writable", file.writable));
		free(file.path);
	}
}

static json_t *describe_disks(struct kvm *kvm)
{
	json_t *disks = json_array();

	for (size_t i = 0; i < disks_count(kvm); i++) {
		json_t *disk = describe_disk(disks_get(kvm, i));

		if (!disk) {
			json_decref(disks);
			return NULL;
		}
		json_array_append_new(disks, disk);
	}
	return disks;
}

static void device_add_name(struct device *device, void *opaque)
{
	json_array_append_new(opaque, json_string(device->name));
}

json_t *snapshot_describe(struct kvm *kvm, bool ends)
{
	json_t *disks = describe_disks(kvm), *devices = json_array(), *info;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	device_for_each(kvm, device_add_name, devices);
	info = disks ? json_pack("{s:s,s:s,s:s,s:I,s:i,s:I,s:b,s:o,s:O,s:o}", "lkvm", LKVM_VERSION, "machine", arch_name, "name",
				 kvm->name, "time-ns", (json_int_t)(now.tv_sec * 1000000000LL + now.tv_nsec), "vcpus",
				 (int)kvm_cpus_present(kvm), "memory", (json_int_t)kvm->ram_size, "ends", ends, "options",
				 describe_options(kvm), "disks", disks, "devices", devices) : NULL;
	if (disks)
		json_decref(disks);
	if (!disks)
		json_decref(devices);
	else if (!info)
		log_error(EINVAL, "snapshot: an option or a path is no UTF-8, which its description has to be");
	return info;
}

/* ---- taking over ---- */

static int option_set(struct config *config, const char *name, const json_t *value, const char *path)
{
	const char *text = json_string_value(value);

	if (!text)
		return log_error(EINVAL, "snapshot '%s': its option --%s is no text", path, name);
	return config_set(config, name, text) ? log_error(ENOTSUP, "snapshot '%s': was made with --%s %s, which this lkvm doesn't take",
							  path, name, text) : 0;
}

static int option_apply(struct config *config, const char *name, const json_t *value, const char *path)
{
	int result = 0;

	if (is_one_of(name, of_the_run))
		return log_error(EINVAL, "snapshot '%s': --%s has no place in it", path, name);
	if (!json_is_array(value))
		return option_set(config, name, value, path);
	for (size_t i = 0; i < json_array_size(value) && !result; i++)
		result = option_set(config, name, json_array_get(value, i), path);
	return result;
}

struct given_walk {
	const char *refused;
};

static void given_check(const struct option_def *def, const char *text, void *opaque)
{
	struct given_walk *walk = opaque;

	(void)text;
	if (!is_one_of(def->name, of_the_run) && !is_one_of(def->name, may_differ))
		walk->refused = def->name;
}

int snapshot_apply(const json_t *info, const char *path, struct config *config)
{
	const char *machine = json_string_value(json_object_get(info, "machine"));
	json_t *options = json_object_get(info, "options"), *value;
	struct given_walk walk = { NULL };
	const char *name;
	int result = 0;

	if (!machine || strcmp(machine, arch_name) != 0)
		return log_error(ENOTSUP, "snapshot '%s': of an %s machine, and this host is %s", path, machine ? machine : "unknown",
				 arch_name);
	config_each_given(config, given_check, &walk);
	if (walk.refused)
		return log_error(EUSAGE, "option --%s: the machine is made already (beside --restore and --incoming may stand --name, --network, --disk, "
				 "--tty and what is about messages)", walk.refused);
	json_object_foreach(options, name, value) {
		if (!config_given(config, name))
			result = option_apply(config, name, value, path);
		if (result)
			break;
	}
	return result;
}

/* ---- disks ---- */

static int file_check(const json_t *file, const char *snapshot, int64_t until_ns)
{
	const char *path = json_string_value(json_object_get(file, "path"));
	int64_t then = json_integer_value(json_object_get(file, "changed-ns")), now;
	struct stat status;

	if (!path)
		return log_error(EINVAL, "snapshot '%s': one of its disks has no name", snapshot);
	if (*path != '/' && !then)
		return 0;
	if (stat(path, &status))
		return log_errno(errno, "snapshot '%s': its disk '%s' (say where it is now by --disk)", snapshot, path);
	if (!S_ISREG(status.st_mode))
		return 0;
	now = status.st_mtim.tv_sec * 1000000000LL + status.st_mtim.tv_nsec;
	if (now == then || (json_is_true(json_object_get(file, "writable")) && now > then && now <= until_ns))
		return 0;
	return log_error(ESTALE, "snapshot '%s': its disk '%s' was written to since, and the guest would not know (put back a copy "
			 "of that time, and name it by --disk)", snapshot, path);
}

int snapshot_check_disks(const json_t *info, const char *path)
{
	const json_t *disks = json_object_get(info, "disks"), *time = json_object_get(info, "time-ns");
	/* a VM that the snapshot ended closes its images behind it */
	int64_t until_ns = json_is_true(json_object_get(info, "ends")) ? json_integer_value(time) : 0;
	int result = 0;

	if (until_ns && until_ns < INT64_MAX - ENDING_NS)
		until_ns += ENDING_NS;
	for (size_t i = 0; i < json_array_size(disks); i++) {
		const json_t *files = json_object_get(json_array_get(disks, i), "files");

		for (size_t n = 0; n < json_array_size(files) && !result; n++)
			result = file_check(json_array_get(files, n), path, until_ns);
	}
	return result;
}
