/* SPDX-License-Identifier: BSD-2-Clause */
/* Text that guests wrote, made fit for terminals, JSON, XML and HTML. */
#ifndef KTEST_TEXT_H
#define KTEST_TEXT_H

#include <stdio.h>

#include "kvm/types.h"

/**
 * text_clean() - @length bytes of @from as one line of good UTF-8 without control characters, in @to, NUL-terminated
 * Each byte of what is neither becomes a '?', but for tabs and, with @lines, line breaks, whose carriage returns are left out. What finds no room in @room is
 * left out, whole characters at a time. Returns the length.
 */
size_t text_clean(char *to, size_t room, const char *from, size_t length, bool lines);
/** text_copy() - the same, allocated; NULL: no memory */
char *text_copy(const char *from, size_t length, bool lines);
/** text_escape() - clean text as XML and HTML have it, in elements and in attributes */
void text_escape(FILE *file, const char *text);

#endif
