/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages to stderr: `lkvm: subject: what (what to do)`, one line each.
 *
 * Who first knows a reason says it, once; callers pass the negative errno on. What a guest can cause goes
 * through log_guest(), which is rate-limited, so that a hostile guest can't fill a disk.
 */
#ifndef KVM_LOG_H
#define KVM_LOG_H

#include <stdarg.h>
#include <stdatomic.h>

#include "kvm/types.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/** log_set_level() - says nothing that is less urgent than @level from now on; any thread */
void log_set_level(enum log_level level);

/** log_get_level() - the current threshold; any thread */
enum log_level log_get_level(void);

/** log_wants_colour() - whether @fd is a terminal that has colours, and NO_COLOR and TERM don't say otherwise */
bool log_wants_colour(int fd);
#define LOG_RED		"\033[1;31m"
#define LOG_YELLOW	"\033[33m"
#define LOG_PLAIN	"\033[0m"

/** log_set_sink() - hands each finished line (no newline) to @sink instead of stderr; NULL: stderr. For tests. */
void log_set_sink(void (*sink)(enum log_level level, const char *line));

void log_message(enum log_level level, const char *format, ...) printf_like(2, 3);
void log_message_v(enum log_level level, const char *format, va_list arguments) printf_like(2, 0);

#define log_warn(...)	log_message(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)

/**
 * log_error() - says an error that has no errno of its own
 * @error: positive or negative errno to be returned
 *
 * Returns -|@error|, so that `return log_error(EINVAL, "option --mem: ...")` reads as one step.
 */
int log_error(int error, const char *format, ...) printf_like(2, 3);

/**
 * log_first_error() - what this thread said of the first error since log_forget_error(), without the program's name; "": nothing
 * For whoever is told why something failed elsewhere than on stderr; cut at 255 bytes.
 */
const char *log_first_error(void);
void log_forget_error(void);

/** log_errno() - as log_error(), with `: strerror(error)` behind the message */
int log_errno(int error, const char *format, ...) printf_like(2, 3);

/*
 * clang's analyser doesn't look into them from other files, and would follow each error path as if it went on with 0.
 * The functions' definitions have their names in parentheses for this.
 */
#ifdef __clang_analyzer__
#define log_failed_(call) ({ int failed_ = (call); if (failed_ >= 0) __builtin_unreachable(); failed_; })
#define log_error(error, ...)	log_failed_((log_error)(error, __VA_ARGS__))
#define log_errno(error, ...)	log_failed_((log_errno)(error, __VA_ARGS__))
#endif

/** struct log_limit - how often one cause may be logged; zero-initialised, one per device and cause */
struct log_limit {
	atomic_uint count;
};

/**
 * log_guest() - says what a guest did wrong, the first few times only
 *
 * The first LOG_GUEST_MAX messages of @limit are warnings; the last of them says that more are left out.
 * Any thread.
 */
void log_guest(struct log_limit *limit, const char *format, ...) printf_like(2, 3);
#define LOG_GUEST_MAX 3

#endif
