/* SPDX-License-Identifier: BSD-2-Clause */
/* Between cmd/monitor.c and cmd/monitor-edit.c: lines typed at a terminal, with history and completion. */
#ifndef CMD_MONITOR_EDIT_H
#define CMD_MONITOR_EDIT_H

#include <stdbool.h>

/** monitor_edit_begin() - false: there is no such library here. @names, NULL-terminated, is what a line may begin with */
bool monitor_edit_begin(char **names) __attribute__((weak));
/** monitor_edit_line() - the next line, to be freed; NULL at the end */
char *monitor_edit_line(const char *prompt) __attribute__((weak));

#endif
