/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Finds the places that a kernel's log names: "function+0x12/0x34", which needs no address, so that it doesn't matter
 * where a kernel put itself; or an address, of which its "Kernel Offset:" is taken off. Those in a stack are return
 * addresses: the call stands before them.
 *
 * What the guest says is only compared and searched for.
 */
#include "guest/decode.h"

#include <string.h>

#define NAME_CHARACTERS	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.$"
#define HEX_DIGITS	"0123456789abcdef"
#define NAME_SIZE	256
#define LINE_SIZE	1024

struct place {
	char name[NAME_SIZE];
	uint64_t offset, size;
	size_t end;		/* behind it, in the line */
};

/* "0x12", of which *@length characters were taken. */
static bool take_hex(const char *text, uint64_t *value, size_t *length)
{
	char *end;
	size_t digits;

	if (text[0] != '0' || text[1] != 'x')
		return false;
	digits = strspn(text + 2, HEX_DIGITS);
	if (!digits || digits > 16)
		return false;
	*value = strtoull(text + 2, &end, 16);
	*length = digits + 2;
	return true;
}

/* NAME+0xOFFSET/0xSIZE, at @line + @at, where a name begins and has @length characters. */
static bool take_place(const char *line, size_t at, size_t length, struct place *place)
{
	size_t used;

	if (length >= sizeof(place->name))
		return false;
	memcpy(place->name, line + at, length);
	place->name[length] = '\0';
	at += length + 1;
	if (!take_hex(line + at, &place->offset, &used) || line[at + used] != '/')
		return false;
	at += used + 1;
	if (!take_hex(line + at, &place->size, &used))
		return false;
	place->end = at + used;
	/* "[name]" behind it is a module's, which vmlinux knows nothing of */
	return line[place->end] != ' ' || line[place->end + 1] != '[';
}

static bool find_place(const char *line, struct place *place)
{
	size_t at = 0;

	while (line[at]) {
		size_t length = strspn(line + at, NAME_CHARACTERS);

		if (length && line[at + length] == '+' && take_place(line, at, length, place))
			return true;
		at += length ? length : 1;
	}
	return false;
}

/* An address of the kernel's half: 16 digits, with or without 0x, from ffff8... on */
static bool find_address(const char *line, uint64_t *address, size_t *end)
{
	const char *at = line;

	while ((at = strstr(at, "ffff"))) {
		size_t digits = strspn(at, HEX_DIGITS);

		if (digits == 16 && (at == line || strchr(" [<x:", at[-1]))) {
			*address = strtoull(at, NULL, 16);
			*end = (size_t)(at - line) + 16;
			return *address >= 0xffff800000000000;
		}
		at += digits;
	}
	return false;
}

/* Registers have values that look like addresses, and aren't where it was. */
static bool is_trace_line(const char *line)
{
	return strstr(line, "[<") || strstr(line, "RIP") || strstr(line, "pc :") || strstr(line, " 0xffff");
}

static bool is_exact(const char *line)
{
	return strstr(line, "RIP: ") || strstr(line, "pc : ");
}

static uint64_t kernel_offset(const char *text)
{
	static const char key[] = "Kernel Offset: ";
	const char *at = strstr(text, key);
	uint64_t offset;
	size_t used;

	return at && take_hex(at + sizeof(key) - 1, &offset, &used) ? offset : 0;
}

static void decode_line(struct symbols *symbols, const char *line, uint64_t offset, FILE *out)
{
	uint64_t address;
	struct place place;
	size_t end;

	if (find_place(line, &place) && symbols_find(symbols, place.name, place.size, &address)) {
		address += place.offset;
		end = place.end;
	} else if (is_trace_line(line) && find_address(line, &address, &end)) {
		address -= offset;
	} else {
		fprintf(out, "%s\n", line);
		return;
	}
	fprintf(out, "%.*s", (int)end, line);
	symbols_print(symbols, is_exact(line) ? address : address - 1, out);
	fprintf(out, "%s\n", line + end);
}

/* One line, or what of it finds room; returns what is behind it. What a terminal would obey stays out. */
static const char *next_line(const char *text, char line[LINE_SIZE])
{
	size_t length = strcspn(text, "\n"), taken = MIN(length, (size_t)LINE_SIZE - 1);

	memcpy(line, text, taken);
	if (taken && line[taken - 1] == '\r')
		taken--;
	line[taken] = '\0';
	for (char *c = line; *c; c++)
		if (*c != '\t' && ((unsigned char)*c < ' ' || *c == 0x7f))
			*c = '?';
	return text + length + (text[length] == '\n');
}

void decode_text(struct symbols *symbols, const char *text, FILE *out)
{
	uint64_t offset = kernel_offset(text);
	char line[LINE_SIZE];

	while (*text) {
		text = next_line(text, line);
		decode_line(symbols, line, offset, out);
	}
}
