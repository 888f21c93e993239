/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The options of a kernel that lkvm has a use for, and .config files that have them or not.
 *
 * The table stands for `lkvm config --check` and for the fragment by which `make tinyconfig` gives a kernel that runs
 * `lkvm run -- COMMAND`; so it names what an option depends on, too, where that isn't on by itself. A module will do, as
 * lkvm loads what it needs.
 */
#include "kvm/kernel-config.h"

#include <string.h>

#include "kvm/log.h"

static const struct kernel_option options[] = {
	{ "64BIT", KERNEL_X86, "lkvm boots 64-bit kernels" },
	{ "PRINTK", 0, "the console" },
	{ "TTY", 0, "the console" },
	{ "SERIAL_8250", 0, "the console" },
	{ "SERIAL_8250_CONSOLE", 0, "the console" },
	{ "SERIAL_OF_PLATFORM", KERNEL_ARM64, "the console" },
	{ "PCI", 0, "devices" },
	{ "PCI_MSI", 0, "devices" },
	{ "PCI_HOST_GENERIC", KERNEL_ARM64, "devices" },
	{ "ACPI", KERNEL_X86, "interrupts of devices, more than one CPU, power off" },
	{ "VIRTIO_MENU", 0, "devices" },
	{ "VIRTIO_PCI", 0, "devices" },
	{ "BLK_DEV_INITRD", 0, "lkvm run -- COMMAND: its first program comes in an initramfs" },
	{ "BINFMT_ELF", 0, "lkvm run -- COMMAND: programs" },
	{ "BINFMT_SCRIPT", 0, "lkvm run -- COMMAND: programs" },
	{ "MULTIUSER", 0, "lkvm run -- COMMAND: programs" },
	{ "FUTEX", 0, "lkvm run -- COMMAND: what programs ask of a kernel" },
	{ "EPOLL", 0, "lkvm run -- COMMAND: what programs ask of a kernel" },
	{ "EVENTFD", 0, "lkvm run -- COMMAND: what programs ask of a kernel" },
	{ "SIGNALFD", 0, "lkvm run -- COMMAND: what programs ask of a kernel" },
	{ "TIMERFD", 0, "lkvm run -- COMMAND: what programs ask of a kernel" },
	{ "POSIX_TIMERS", 0, "lkvm run -- COMMAND: what programs ask of a kernel" },
	{ "FILE_LOCKING", 0, "lkvm run -- COMMAND: what programs ask of a kernel" },
	{ "ADVISE_SYSCALLS", 0, "lkvm run -- COMMAND: what programs ask of a kernel" },
	{ "MEMBARRIER", 0, "lkvm run -- COMMAND: what programs ask of a kernel" },
	{ "INOTIFY_USER", 0, "lkvm run -- COMMAND: what programs ask of a kernel" },
	{ "UNIX98_PTYS", 0, "lkvm run -- COMMAND: its terminal" },
	{ "PROC_FS", 0, "lkvm run -- COMMAND: the guest's file systems" },
	{ "SYSFS", 0, "lkvm run -- COMMAND: the guest's file systems" },
	{ "DEVTMPFS", 0, "lkvm run -- COMMAND: the guest's file systems" },
	{ "SHMEM", 0, "lkvm run -- COMMAND: the guest's file systems" },
	{ "TMPFS", 0, "lkvm run -- COMMAND: the guest's file systems" },
	{ "TMPFS_XATTR", 0, "lkvm run -- COMMAND: the guest's file systems" },
	{ "OVERLAY_FS", 0, "lkvm run -- COMMAND: what the guest writes stays in it" },
	{ "NET", 0, "lkvm run -- COMMAND, --9p: the host's files" },
	{ "NETWORK_FILESYSTEMS", 0, "lkvm run -- COMMAND, --9p: the host's files" },
	{ "NET_9P", 0, "lkvm run -- COMMAND, --9p: the host's files" },
	{ "NET_9P_VIRTIO", 0, "lkvm run -- COMMAND, --9p: the host's files" },
	{ "9P_FS", 0, "lkvm run -- COMMAND, --9p: the host's files" },
	{ "VIRTIO_CONSOLE", 0, "lkvm run -- COMMAND, --port, --console virtio: streams of bytes to the host" },
	{ "UNIX", 0, "what programs talk with each other by" },
	{ "INET", 0, "networks" },
	{ "NETDEVICES", 0, "networks" },
	{ "VIRTIO_NET", 0, "networks" },
	{ "BLOCK", 0, "disks" },
	{ "BLK_DEV", 0, "disks" },
	{ "VIRTIO_BLK", 0, "disks" },
	{ "SMP", 0, "more than one CPU" },
	{ "HIGH_RES_TIMERS", 0, "a clock that is worth its name" },
	{ "HYPERVISOR_GUEST", KERNEL_X86, "a kernel that knows that it is a guest" },
	{ "PARAVIRT", KERNEL_X86, "a kernel that knows that it is a guest" },
	{ "KVM_GUEST", KERNEL_X86, "a kernel that knows that it is a guest" },
	{ "PVH", KERNEL_X86, "lkvm run vmlinux" },
	{ "RTC_CLASS", 0, "the time of day" },
	{ "RTC_DRV_CMOS", KERNEL_X86, "the time of day" },
	{ "ARM_AMBA", KERNEL_ARM64, "the time of day, and the power button" },
	{ "RTC_DRV_PL031", KERNEL_ARM64, "the time of day" },
	{ "INPUT", 0, "lkvm stop: the power button" },
	{ "INPUT_EVDEV", 0, "lkvm stop: the power button" },
	{ "ACPI_BUTTON", KERNEL_X86, "lkvm stop: the power button" },
	{ "GPIOLIB", KERNEL_ARM64, "lkvm stop: the power button" },
	{ "GPIO_PL061", KERNEL_ARM64, "lkvm stop: the power button" },
	{ "INPUT_KEYBOARD", KERNEL_ARM64, "lkvm stop: the power button" },
	{ "KEYBOARD_GPIO", KERNEL_ARM64, "lkvm stop: the power button" },
	{ "MAGIC_SYSRQ", 0, "lkvm debug --sysrq" },
	{ "KALLSYMS", 0, "names in an oops" },
	{ "VIRTIO_BALLOON", 0, "--balloon" },
	{ "HW_RANDOM", 0, "--rng" },
	{ "HW_RANDOM_VIRTIO", 0, "--rng" },
	{ "FUSE_FS", 0, "--fs" },
	{ "VIRTIO_FS", 0, "--fs" },
	{ "VSOCKETS", 0, "--vsock" },
	{ "VIRTIO_VSOCKETS", 0, "--vsock" },
	{ "VIRTIO_MMIO", 0, "--virtio-transport mmio" },
	{ "WATCHDOG", 0, "--watchdog" },
	{ "I6300ESB_WDT", 0, "--watchdog" },
	{ "PVPANIC", 0, "--pvpanic" },
	{ "PVPANIC_PCI", 0, "--pvpanic" },
};

const struct kernel_option *kernel_option_next(const struct kernel_option *option, enum kernel_arch arch)
{
	size_t at = option ? (size_t)(option - options) + 1 : 0;

	while (at < ARRAY_SIZE(options) && options[at].arches && !(options[at].arches & arch))
		at++;
	return at < ARRAY_SIZE(options) ? &options[at] : NULL;
}

enum kernel_arch kernel_arch_of(const char *name)
{
	if (strcmp(name, "x86_64") == 0 || strcmp(name, "x86") == 0)
		return KERNEL_X86;
	return strcmp(name, "arm64") == 0 || strcmp(name, "aarch64") == 0 ? KERNEL_ARM64 : 0;
}

/* ---- .config ---- */

/* The name within "CONFIG_NAME=..." or "# CONFIG_NAME is not set", and what is behind it. */
static const char *line_option(const char *line, size_t *length, const char **behind)
{
	if (strncmp(line, "# ", 2) == 0)
		line += 2;
	if (strncmp(line, "CONFIG_", 7) != 0)
		return NULL;
	line += 7;
	*length = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
	*behind = line + *length;
	return line;
}

static bool is_option(const struct kernel_option *option, const char *name, size_t length)
{
	return strncmp(option->name, name, length) == 0 && !option->name[length];
}

static void read_line(struct kernel_config *config, const char *line)
{
	const char *behind, *name;
	size_t length;
	bool on;

	name = line_option(line, &length, &behind);
	if (!name)
		return;
	on = behind[0] == '=' && (behind[1] == 'y' || behind[1] == 'm');
	if (on && length == 3 && memcmp(name, "X86", 3) == 0)
		config->arch = KERNEL_X86;
	if (on && length == 5 && memcmp(name, "ARM64", 5) == 0)
		config->arch = KERNEL_ARM64;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (is_option(&options[i], name, length))
			config->has[i] = on;
}

int kernel_config_read(struct kernel_config *config, const char *path)
{
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	FILE *file;
	int result;

	*config = (struct kernel_config){ .has = calloc(ARRAY_SIZE(options), sizeof(bool)) };
	if (!config->has)
		return log_errno(ENOMEM, "%s", path);
	file = fopen(path, "re");
	if (!file)
		return log_errno(errno, "%s", path);
	while (getline(&line, &room, file) > 0)
		read_line(config, line);
	result = ferror(file) ? log_error(EIO, "%s: can't be read", path) : 0;
	fclose(file);
	return result;
}

bool kernel_config_has(const struct kernel_config *config, const struct kernel_option *option)
{
	return config->has[option - options];
}

void kernel_config_free(struct kernel_config *config)
{
	free(config->has);
	config->has = NULL;
}

unsigned int kernel_config_print(FILE *file, enum kernel_arch arch, const struct kernel_config *config)
{
	const char *why = "";
	unsigned int count = 0;

	for (const struct kernel_option *option = NULL; (option = kernel_option_next(option, arch));) {
		if (config && kernel_config_has(config, option))
			continue;
		if (strcmp(why, option->why) != 0)
			fprintf(file, "# %s\n", option->why);
		why = option->why;
		fprintf(file, "CONFIG_%s=y\n", option->name);
		count++;
	}
	return count;
}

/* ---- merging ---- */

/* Whether the line is about an option that is going to be said anew. */
static bool is_replaced(const struct kernel_config *config, enum kernel_arch arch, const char *line)
{
	const char *behind, *name;
	size_t length;

	name = line_option(line, &length, &behind);
	for (const struct kernel_option *option = NULL; name && (option = kernel_option_next(option, arch));)
		if (is_option(option, name, length))
			return !kernel_config_has(config, option);
	return false;
}

static int merge_lines(const struct kernel_config *config, enum kernel_arch arch, FILE *from, FILE *to)
{
	_cleanup_free_ char *line = NULL;
	size_t room = 0;

	while (getline(&line, &room, from) > 0)
		if (!is_replaced(config, arch, line))
			fputs(line, to);
	if (ferror(from))
		return -EIO;
	fprintf(to, "#\n# for lkvm\n#\n");
	kernel_config_print(to, arch, config);
	return fflush(to) ? -errno : 0;
}

int kernel_config_merge(const struct kernel_config *config, enum kernel_arch arch, const char *path)
{
	_cleanup_free_ char *new_path = NULL;
	FILE *from, *to;
	int result;

	if (asprintf(&new_path, "%s.lkvm", path) < 0)
		return log_errno(ENOMEM, "%s", path);
	from = fopen(path, "re");
	if (!from)
		return log_errno(errno, "%s", path);
	to = fopen(new_path, "we");
	result = to ? merge_lines(config, arch, from, to) : -errno;
	fclose(from);
	if (to && fclose(to) && !result)
		result = -errno;
	if (!result && rename(new_path, path))
		result = -errno;
	if (!result)
		return 0;
	if (to)
		unlink(new_path);
	return log_errno(result, "%s: can't be written anew", path);
}
