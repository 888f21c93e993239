/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What kvmtool's `run` knows and lkvm does not build yet: named, so that a caller hears which part is
 * missing instead of "no such option". Whoever builds one takes its row away here.
 */
#include "kvm/option.h"

#define DISPLAY	"displays come later"
#define DEVICES	"device assignment comes later"
#define BIOS	"firmware and flash come later"

static const struct option_def pending_options[] = {
	{ .name = "gtk", .type = OPTION_FLAG,
	  .help = "Display in a GTK window", .pending = DISPLAY },
	{ .name = "sdl", .type = OPTION_FLAG,
	  .help = "Display in an SDL window", .pending = DISPLAY },
	{ .name = "vnc", .type = OPTION_FLAG, .help = "Display over VNC", .pending = DISPLAY },
	{ .name = "vidmode", .type = OPTION_UINT, .argument = "MODE",
	  .help = "Video mode", .pending = DISPLAY },
	{ .name = "vfio-pci", .type = OPTION_LIST, .argument = "ADDRESS",
	  .help = "Pass a host PCI device through",
	  .pending = DEVICES },
	{ .name = "firmware", .letter = 'f', .type = OPTION_STRING, .argument = "FILE",
	  .help = "Boot firmware instead of a kernel", .pending = BIOS },
	{ .name = "flash", .letter = 'F', .type = OPTION_STRING, .argument = "FILE",
	  .help = "CFI flash image",
	  .pending = BIOS },
};
RUN_OPTIONS(pending_options_group, "Not built yet", pending_options);
