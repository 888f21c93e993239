/* SPDX-License-Identifier: BSD-2-Clause */
/* What a guest prints may be anything: escape sequences for the user's terminal, bytes that no report may have. */
#include "text.h"

#include <string.h>

/* How many bytes the character at @bytes has; 0: it is none that may be printed. */
static size_t character(const unsigned char *bytes, size_t length)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t size = bytes[0] < 0x80 ? 1 : bytes[0] < 0xc2 ? 0 : bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : bytes[0] < 0xf5 ? 4 : 0;
	uint32_t code;

	if (!size || size > length)
		return 0;
	if (size == 1)
		return bytes[0] >= ' ' && bytes[0] != 0x7f;
	code = bytes[0] & (0x7fU >> size);
	for (size_t i = 1; i < size; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (bytes[i] & 0x3f);
	}
	/* too long a form, another control character, half of a pair, what XML has not */
	if (code < least[size] || code < 0xa0 || (code >= 0xd800 && code < 0xe000) || (code & 0xfffe) == 0xfffe || code > 0x10ffff)
		return 0;
	return size;
}

size_t text_clean(char *to, size_t room, const char *from, size_t length, bool lines)
{
	size_t used = 0;

	for (size_t i = 0; i < length;) {
		size_t size = character((const unsigned char *)from + i, length - i);

		if (used + MAX(size, (size_t)1) >= room)
			break;
		if (lines && from[i] == '\r') {
			i++;
			continue;
		}
		if (size)
			memcpy(to + used, from + i, size);
		else
			to[used] = from[i] == '\t' || (lines && from[i] == '\n') ? from[i] : '?';
		used += MAX(size, (size_t)1);
		i += MAX(size, (size_t)1);
	}
	to[used] = '\0';
	return used;
}

char *text_copy(const char *from, size_t length, bool lines)
{
	char *copy = malloc(length + 1);

	if (copy)
		text_clean(copy, length + 1, from, length, lines);
	return copy;
}

void text_escape(FILE *file, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&': fputs("&amp;", file); break;
		case '<': fputs("&lt;", file); break;
		case '>': fputs("&gt;", file); break;
		case '"': fputs("&quot;", file); break;
		case '\'': fputs("&#39;", file); break;
		default: fputc(*text, file);
		}
	}
}
