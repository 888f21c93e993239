/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reader of KTAP, as Linux' Documentation/dev-tools/ktap.rst has it: what KUnit prints on the console and kselftest's
 * programs and runner on standard output, and plain TAP beside it.
 *
 * It takes lines of any text and remembers the tests that are told in them. All is bounded, whatever a guest prints.
 */
#ifndef KTEST_KTAP_H
#define KTEST_KTAP_H

#include "kvm/types.h"

enum ktap_result {
	KTAP_PASS,
	KTAP_FAIL,
	KTAP_SKIP,
	KTAP_TODO,		/* it failed, as was expected */
	KTAP_LOST,		/* planned or begun, and no result came */
	KTAP_RESULTS,
};

struct ktap_test {
	char *name;
	char *reason;		/* what stands behind the result: "no such device"; or NULL */
	char *detail;		/* of a failure, the lines before it; or NULL */
	enum ktap_result result;
	struct ktap_test *children, *next;
};

enum ktap_source {
	KTAP_OUTPUT,		/* a program's: a result may come without a head */
	KTAP_CONSOLE,		/* the kernel's: lines begin with times, and other lines come in between */
};

struct ktap;

#define KTAP_BYTES_MAX	MIB(4)	/* of tests that are remembered, some 40000; more are counted only */
#define KTAP_NAME_MAX	256
#define KTAP_DEPTH_MAX	16

/** ktap_new() - NULL: no memory; freed by ktap_free(), for which NULL is fine */
struct ktap *ktap_new(enum ktap_source source);
void ktap_free(struct ktap *ktap);
/** ktap_line() - the next line, without its end */
void ktap_line(struct ktap *ktap, const char *line, size_t length);
/** ktap_end() - no more will come: what was begun and not ended is lost */
void ktap_end(struct ktap *ktap);

/** ktap_tests() - those of the outermost level; NULL: none. After ktap_end() */
const struct ktap_test *ktap_tests(const struct ktap *ktap);
/** ktap_count() - tests without subtests, by result; also before the end */
unsigned long ktap_count(const struct ktap *ktap, enum ktap_result result);
/** ktap_skipped() - why there was nothing to be done ("1..0 # SKIP why"; may be ""); NULL: nobody said so */
const char *ktap_skipped(const struct ktap *ktap);
/** ktap_failed() - whether one of @tests, or of their subtests, failed or is lost */
bool ktap_failed(const struct ktap_test *tests);
/** ktap_result_name() - "pass", "fail", "skip", "todo", "lost" */
const char *ktap_result_name(enum ktap_result result);

#endif
