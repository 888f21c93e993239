/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm disk: images outside of VMs. Its members are commands of their own, cmd/disk-*.c; here is what they share.
 */
#include "disk.h"

#include <stdio.h>

#include "kvm/kvm.h"
#include "kvm/log.h"

int disk_command_status(int result)
{
	return result == -EUSAGE ? LKVM_STATUS_USAGE : result < 0 ? LKVM_STATUS_ERROR : 0;
}

bool disk_command_operands(const char *names, int argc, char **argv, int least, int most)
{
	if (argc < least)
		log_error(EUSAGE, "lkvm disk: too few operands (say %s)", names);
	else if (argc > most)
		log_error(EUSAGE, "%s: one operand too many (say %s)", argv[most], names);
	return argc >= least && argc <= most;
}

int disk_command_size(const char *text, uint64_t *size)
{
	if (!parse_size(text, 1, size) && *size && *size % 512 == 0)
		return 0;
	return log_error(EUSAGE, "'%s' is no size of a disk (say 512M, 10G, or bytes, a multiple of 512)", text);
}

int disk_command_open(struct image *image, const struct config *config, const char *path, struct disk_options options)
{
	/* disk_open() copies what it keeps */
	options.path = (char *)(uintptr_t)path;
	if (!options.format)
		options.format = (char *)(uintptr_t)config_string(config, "format");
	options.backing_any = config_flag(config, "backing-any");
	return image_open(image, &options);
}

/* ---- the bar ---- */

#define BAR_WIDTH 40

void progress_begin(struct progress *progress, const char *what, uint64_t total)
{
	*progress = (struct progress){ .what = what, .total = total, .shown = -1 };
	if (!isatty(STDERR_FILENO) || !total)
		return;
	progress->shown = 0;
	progress_at(progress, 0);
}

void progress_at(struct progress *progress, uint64_t done)
{
	int percent = progress->total ? (int)((double)done * 100 / (double)progress->total) : 100;
	char bar[BAR_WIDTH + 1];

	if (progress->shown < 0 || (percent == progress->shown && done))
		return;
	progress->shown = percent;
	for (int i = 0; i < BAR_WIDTH; i++)
		bar[i] = i * 100 < percent * BAR_WIDTH ? '#' : '.';
	bar[BAR_WIDTH] = '\0';
	dprintf(STDERR_FILENO, "\r%s %s %3d %%", progress->what, bar, percent);
}

void progress_end(struct progress *progress)
{
	if (progress->shown >= 0)
		dprintf(STDERR_FILENO, "\r\033[K");
	progress->shown = -1;
}

static struct command disk_command = {
	.name = "disk",
	.help = "Make, describe, check and convert images",
	.family = true,
};
COMMAND(disk_command);
