/* SPDX-License-Identifier: BSD-2-Clause */
/* What C and texts need without a library. */
#include "sys.h"

void *memcpy(void *restrict to, const void *restrict from, size_t length)
{
	char *t = to;
	const char *f = from;

	while (length--)
		*t++ = *f++;
	return to;
}

void *memmove(void *to, const void *from, size_t length)
{
	char *t = to;
	const char *f = from;

	if (t <= f)
		return memcpy(to, from, length);
	while (length--)
		t[length] = f[length];
	return to;
}

void *memset(void *to, int byte, size_t length)
{
	char *t = to;

	while (length--)
		*t++ = (char)byte;
	return to;
}

size_t text_length(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	return length;
}

bool text_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

const char *text_after(const char *text, const char *prefix)
{
	while (*prefix)
		if (*text++ != *prefix++)
			return NULL;
	return text;
}

uint64_t text_number(const char **text)
{
	uint64_t number = 0;

	while (**text >= '0' && **text <= '9')
		number = number * 10 + (uint64_t)(*(*text)++ - '0');
	if (**text == ' ')
		(*text)++;
	return number;
}

void line_add(struct line *line, const char *text)
{
	while (*text && line->length < sizeof(line->text) - 1)
		line->text[line->length++] = *text++;
	line->text[line->length] = '\0';
}

void line_add_number(struct line *line, uint64_t number)
{
	char digits[24] = "";
	size_t at = sizeof(digits) - 1;

	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	line_add(line, digits + at);
}
