/* SPDX-License-Identifier: BSD-2-Clause */
/* What the members of `lkvm disk` share: opening the images they are given, exit statuses, and a bar while they work. */
#ifndef CMD_DISK_H
#define CMD_DISK_H

#include "kvm/command.h"
#include "kvm/image.h"

/* For the option table of a command that opens images. */
#define DISK_IMAGE_OPTIONS									\
	{ .name = "format", .letter = 'f', .type = OPTION_STRING, .argument = "FORMAT",		\
	  .help = "The image's format (default: what its first bytes look like)" },		\
	{ .name = "backing-any", .type = OPTION_FLAG,						\
	  .help = "Let an image whose format wasn't said refer to files in other folders" }
#define DISK_JSON_OPTION { .name = "json", .type = OPTION_FLAG, .help = "Print JSON" }

/** disk_command_status() - the exit status for a negative errno, or for 0 */
int disk_command_status(int result);
/** disk_command_operands() - whether there are @least to @most of them; says which are missing, or too many */
bool disk_command_operands(const char *names, int argc, char **argv, int least, int most);
/** disk_command_size() - @text as a size in bytes, a multiple of 512; -EUSAGE (said) */
int __must_check disk_command_size(const char *text, uint64_t *size);

/** disk_command_open() - @options gives how; its path and what DISK_IMAGE_OPTIONS say is filled in */
int __must_check disk_command_open(struct image *image, const struct config *config, const char *path,
				   struct disk_options options);

/* A bar on stderr, if that is a terminal. */
struct progress {
	const char *what;
	uint64_t total;
	int shown;			/* percent, or -1: no bar */
};

void progress_begin(struct progress *progress, const char *what, uint64_t total);
void progress_at(struct progress *progress, uint64_t done);
/** progress_end() - takes the bar away */
void progress_end(struct progress *progress);

#endif
