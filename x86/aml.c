/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The AML encoder: bytes appended to a buffer, package lengths put in when a package ends.
 *
 * Package lengths always take four bytes, so that nothing has to move; the specification allows any length
 * to be written long (ACPI 6.5, 20.2.4). Resource descriptors: chapter 6.4.
 */
#include "x86/aml.h"

#include <string.h>

#define OP_ZERO		0x00
#define OP_ONE		0x01
#define OP_NAME		0x08
#define OP_BYTE		0x0a
#define OP_WORD		0x0b
#define OP_DWORD	0x0c
#define OP_STRING	0x0d
#define OP_QWORD	0x0e
#define OP_SCOPE	0x10
#define OP_BUFFER	0x11
#define OP_PACKAGE	0x12
#define OP_METHOD	0x14
#define OP_DUAL_NAME	0x2e
#define OP_EXTENDED	0x5b
#define OP_IF		0xa0
#define OP_ELSE		0xa1
#define OP_WHILE	0xa2
#define OP_DEVICE	0x82
#define OP_NOTIFY	0x86

#define PACKAGE_LENGTH_BYTES	4
#define CAPACITY_STEP		512	/* of most scopes there is little, and they are many at once */

void aml_free(struct aml *aml)
{
	free(aml->data);
	memset(aml, 0, sizeof(*aml));
}

static bool aml_grow(struct aml *aml, size_t length)
{
	size_t capacity = MAX(aml->capacity * 2, aml->length + length + CAPACITY_STEP);
	uint8_t *grown = aml->failed ? NULL : realloc(aml->data, capacity);

	if (!grown) {
		aml->failed = true;
		aml->capacity = aml->length;
		return false;
	}
	aml->data = grown;
	aml->capacity = capacity;
	return true;
}

/* After a failure there is no room, so only aml_grow() has to look whether there was one. */
static bool aml_room(struct aml *aml, size_t length)
{
	return length <= aml->capacity - aml->length || aml_grow(aml, length);
}

void aml_bytes(struct aml *aml, const void *bytes, size_t length)
{
	if (!aml_room(aml, length))
		return;
	memcpy(aml->data + aml->length, bytes, length);
	aml->length += length;
}

void aml_byte(struct aml *aml, uint8_t byte)
{
	if (aml_room(aml, 1))
		aml->data[aml->length++] = byte;
}

static void aml_number(struct aml *aml, uint64_t value, size_t size)
{
	if (!aml_room(aml, size))
		return;
	for (; size; size--, value >>= 8)
		aml->data[aml->length++] = (uint8_t)value;
}

void aml_name(struct aml *aml, const char *name)
{
	if (*name == '\\') {
		aml_byte(aml, '\\');
		name++;
	}
	if (strlen(name) == 8)
		aml_byte(aml, OP_DUAL_NAME);
	aml_bytes(aml, name, strlen(name));
}

void aml_integer(struct aml *aml, uint64_t value)
{
	if (value <= 1) {
		aml_byte(aml, value ? OP_ONE : OP_ZERO);
		return;
	}
	aml_byte(aml, value <= UINT8_MAX ? OP_BYTE : value <= UINT16_MAX ? OP_WORD :
		      value <= UINT32_MAX ? OP_DWORD : OP_QWORD);
	aml_number(aml, value, value <= UINT8_MAX ? 1 : value <= UINT16_MAX ? 2 : value <= UINT32_MAX ? 4 : 8);
}

void aml_string(struct aml *aml, const char *text)
{
	aml_byte(aml, OP_STRING);
	aml_bytes(aml, text, strlen(text) + 1);
}

/* Three letters of five bits each, four hexadecimal digits; stored with the first byte first (ACPI 6.5, 19.3.4). */
void aml_eisaid(struct aml *aml, const char *id)
{
	uint32_t value = 0;

	for (int i = 0; i < 3; i++)
		value = value << 5 | (uint32_t)(id[i] - '@');
	value = value << 16 | (uint32_t)strtoul(id + 3, NULL, 16);
	aml_byte(aml, OP_DWORD);
	aml_number(aml, __builtin_bswap32(value), 4);
}

/* ---- packages ---- */

static size_t aml_begin(struct aml *aml)
{
	size_t mark = aml->length;

	aml_number(aml, 0, PACKAGE_LENGTH_BYTES);
	return mark;
}

/* In one piece, for there are a hundred and more of them: no number of it has more than one way to be written. */
void aml_pci_route(struct aml *aml, uint16_t slot, uint8_t pin, uint8_t gsi)
{
	const uint8_t row[] = {
		OP_PACKAGE, 12, 4,				/* bytes from here on; elements */
		OP_DWORD, 0xff, 0xff, (uint8_t)slot, (uint8_t)(slot >> 8),
		OP_BYTE, pin, OP_ZERO, OP_BYTE, gsi,
	};

	aml_bytes(aml, row, sizeof(row));
}

void aml_end(struct aml *aml, size_t mark)
{
	size_t length = aml->length - mark;

	if (aml->failed)
		return;
	/* The lead byte holds the count of further bytes in its upper, the lowest nibble in its lower bits. */
	aml->data[mark] = (uint8_t)((PACKAGE_LENGTH_BYTES - 1) << 6 | (length & 0xf));
	aml->data[mark + 1] = (uint8_t)(length >> 4);
	aml->data[mark + 2] = (uint8_t)(length >> 12);
	aml->data[mark + 3] = (uint8_t)(length >> 20);
}

size_t aml_scope_begin(struct aml *aml, const char *name)
{
	size_t mark;

	aml_byte(aml, OP_SCOPE);
	mark = aml_begin(aml);
	aml_name(aml, name);
	return mark;
}

size_t aml_device_begin(struct aml *aml, const char *name)
{
	size_t mark;

	aml_byte(aml, OP_EXTENDED);
	aml_byte(aml, OP_DEVICE);
	mark = aml_begin(aml);
	aml_name(aml, name);
	return mark;
}

size_t aml_if_begin(struct aml *aml)
{
	aml_byte(aml, OP_IF);
	return aml_begin(aml);
}

size_t aml_while_begin(struct aml *aml)
{
	aml_byte(aml, OP_WHILE);
	return aml_begin(aml);
}

size_t aml_else_begin(struct aml *aml)
{
	aml_byte(aml, OP_ELSE);
	return aml_begin(aml);
}

size_t aml_method_begin(struct aml *aml, const char *name, uint8_t arguments)
{
	size_t mark;

	aml_byte(aml, OP_METHOD);
	mark = aml_begin(aml);
	aml_name(aml, name);
	aml_byte(aml, arguments);
	return mark;
}

void aml_notify(struct aml *aml, const char *name, uint8_t value)
{
	aml_byte(aml, OP_NOTIFY);
	aml_name(aml, name);
	aml_integer(aml, value);
}

size_t aml_package_begin(struct aml *aml, uint8_t count)
{
	size_t mark;

	aml_byte(aml, OP_PACKAGE);
	mark = aml_begin(aml);
	aml_byte(aml, count);
	return mark;
}

/* ---- names ---- */

void aml_named(struct aml *aml, const char *name)
{
	aml_byte(aml, OP_NAME);
	aml_name(aml, name);
}

void aml_named_integer(struct aml *aml, const char *name, uint64_t value)
{
	aml_named(aml, name);
	aml_integer(aml, value);
}

void aml_named_string(struct aml *aml, const char *name, const char *text)
{
	aml_named(aml, name);
	aml_string(aml, text);
}

void aml_named_eisaid(struct aml *aml, const char *name, const char *id)
{
	aml_named(aml, name);
	aml_eisaid(aml, id);
}

/* ---- resources ---- */

size_t aml_resources_begin(struct aml *aml)
{
	size_t mark;

	aml_named(aml, "_CRS");
	aml_byte(aml, OP_BUFFER);
	mark = aml_begin(aml);
	/* The buffer's size, filled in at the end: a word, whatever it is. */
	aml_byte(aml, OP_WORD);
	aml_number(aml, 0, 2);
	return mark;
}

void aml_resources_end(struct aml *aml, size_t mark)
{
	size_t start = mark + PACKAGE_LENGTH_BYTES + 3, size;

	/* End tag with a checksum of 0, which means "don't look" (6.4.2.9). */
	aml_byte(aml, 0x79);
	aml_byte(aml, 0);
	if (aml->failed)
		return;
	size = aml->length - start;
	aml->data[start - 2] = (uint8_t)size;
	aml->data[start - 1] = (uint8_t)(size >> 8);
	aml_end(aml, mark);
}

void aml_io(struct aml *aml, uint16_t base, uint8_t length)
{
	aml_byte(aml, 0x47);
	aml_byte(aml, 1);		/* decodes 16 bits */
	aml_number(aml, base, 2);
	aml_number(aml, base, 2);
	aml_byte(aml, 1);
	aml_byte(aml, length);
}

/* Extended interrupt descriptor (6.4.3.6): consumer; level interrupts are active high in this machine. */
void aml_irq(struct aml *aml, uint32_t gsi, bool level)
{
	aml_byte(aml, 0x89);
	aml_number(aml, 6, 2);
	aml_byte(aml, (uint8_t)(1 | (level ? 0 : 1 << 1)));
	aml_byte(aml, 1);
	aml_number(aml, gsi, 4);
}

void aml_memory32(struct aml *aml, uint32_t base, uint32_t length)
{
	aml_byte(aml, 0x86);
	aml_number(aml, 9, 2);
	aml_byte(aml, 1);		/* writable */
	aml_number(aml, base, 4);
	aml_number(aml, length, 4);
}

/* Word and qword address space descriptors (6.4.3.5): both ends fixed, produced by a bridge. */
static void aml_window(struct aml *aml, uint8_t tag, uint8_t type, uint8_t specific, uint64_t first, uint64_t last,
		       size_t size)
{
	aml_byte(aml, tag);
	aml_number(aml, 3 + 5 * size, 2);
	aml_byte(aml, type);
	aml_byte(aml, 0x0c);
	aml_byte(aml, specific);
	aml_number(aml, 0, size);
	aml_number(aml, first, size);
	aml_number(aml, last, size);
	aml_number(aml, 0, size);
	aml_number(aml, last - first + 1, size);
}

void aml_bus_numbers(struct aml *aml, uint16_t first, uint16_t last)
{
	aml_window(aml, 0x88, 2, 0, first, last, 2);
}

void aml_io_window(struct aml *aml, uint16_t first, uint16_t last)
{
	aml_window(aml, 0x88, 1, 3, first, last, 2);
}

void aml_memory_window(struct aml *aml, uint64_t base, uint64_t length)
{
	uint64_t last = base + length - 1;

	if (last <= UINT32_MAX)
		aml_window(aml, 0x87, 0, 1, base, last, 4);
	else
		aml_window(aml, 0x8a, 0, 1, base, last, 8);
}
