/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Saved state: sections of named fields in a buffer.
 *
 * A section is: "SECT", its name, its version, the number of fields, the length of what follows; then each
 * field: its name, element size, element count, the elements, little-endian. A name is a byte of length and
 * its bytes. Loading finds fields by name, so order and additions don't matter, and checks everything before
 * it changes the object.
 */
#include "kvm/state.h"

#include <stdio.h>
#include <string.h>

#include "kvm/log.h"

static const char state_magic[4] = { 'S', 'E', 'C', 'T' };

/* ---- writing ---- */

static void writer_append(struct state_writer *writer, const void *data, size_t length)
{
	if (writer->error)
		return;
	if (writer->length + length > writer->capacity) {
		size_t capacity = MAX(writer->capacity * 2, ALIGN_UP(writer->length + length, (size_t)4096));
		uint8_t *grown = realloc(writer->data, capacity);

		if (!grown) {
			writer->error = -ENOMEM;
			return;
		}
		writer->data = grown;
		writer->capacity = capacity;
	}
	if (length)
		memcpy(writer->data + writer->length, data, length);
	writer->length += length;
}

static void writer_number(struct state_writer *writer, uint64_t value, size_t size)
{
	le64 encoded = le64_of(value);

	writer_append(writer, &encoded, size);
}

static void writer_name(struct state_writer *writer, const char *name)
{
	size_t length = strlen(name);

	if (length > UINT8_MAX)
		writer->error = -EINVAL;
	writer_number(writer, length, 1);
	writer_append(writer, name, length);
}

void state_writer_free(struct state_writer *writer)
{
	free(writer->data);
	memset(writer, 0, sizeof(*writer));
}

static size_t field_element(const struct state_field *field)
{
	return field->size / field->count;
}

static uint64_t field_get(const struct state_field *field, const void *object, size_t index)
{
	const char *at = (const char *)object + field->offset + index * field_element(field);

	switch (field_element(field)) {
	case 1:	return *(const uint8_t *)at;
	case 2:	return *(const uint16_t *)at;
	case 4:	return *(const uint32_t *)at;
	default: return *(const uint64_t *)at;
	}
}

static void field_set(const struct state_field *field, void *object, size_t index, uint64_t value)
{
	char *at = (char *)object + field->offset + index * field_element(field);

	switch (field_element(field)) {
	case 1:	*(uint8_t *)at = (uint8_t)value; break;
	case 2:	*(uint16_t *)at = (uint16_t)value; break;
	case 4:	*(uint32_t *)at = (uint32_t)value; break;
	default: *(uint64_t *)at = value; break;
	}
}

static void writer_section(struct state_writer *writer, const char *name, unsigned int version, size_t fields,
			   size_t *length_at)
{
	writer_append(writer, state_magic, sizeof(state_magic));
	writer_name(writer, name);
	writer_number(writer, version, 4);
	writer_number(writer, fields, 4);
	*length_at = writer->length;
	writer_number(writer, 0, 8);
}

static void writer_section_end(struct state_writer *writer, size_t length_at)
{
	le64 length = le64_of(writer->length - length_at - 8);

	if (!writer->error)
		memcpy(writer->data + length_at, &length, sizeof(length));
}

void state_save(struct state_writer *writer, const struct state_table *table, const void *object)
{
	size_t length_at = 0;

	writer_section(writer, table->name, table->version, table->count, &length_at);
	for (size_t i = 0; i < table->count; i++) {
		const struct state_field *field = &table->fields[i];

		writer_name(writer, field->name);
		writer_number(writer, field_element(field), 1);
		writer_number(writer, field->count, 4);
		for (size_t n = 0; n < field->count; n++)
			writer_number(writer, field_get(field, object, n), field_element(field));
	}
	writer_section_end(writer, length_at);
}

void state_save_blob(struct state_writer *writer, const char *name, const void *data, size_t length)
{
	size_t length_at = 0;

	writer_section(writer, name, 1, 0, &length_at);
	writer_append(writer, data, length);
	writer_section_end(writer, length_at);
}

/* ---- reading ---- */

static bool reader_take(struct state_reader *reader, void *data, size_t length)
{
	if (length > reader->length - reader->position)
		return false;
	memcpy(data, reader->data + reader->position, length);
	reader->position += length;
	return true;
}

static bool reader_number(struct state_reader *reader, uint64_t *value, size_t size)
{
	le64 encoded = le64_of(0);

	if (!reader_take(reader, &encoded, size))
		return false;
	*value = le64_get(encoded);
	return true;
}

static bool reader_name(struct state_reader *reader, char name[UINT8_MAX + 1])
{
	uint64_t length;

	if (!reader_number(reader, &length, 1) || !reader_take(reader, name, (size_t)length))
		return false;
	name[length] = '\0';
	return true;
}

/* The header of the section that must be @name; leaves @body over its contents, @reader behind them. */
static int reader_section(struct state_reader *reader, const char *name, uint64_t *version, uint64_t *fields,
			  struct state_reader *body)
{
	char magic[sizeof(state_magic)], found[UINT8_MAX + 1];
	uint64_t length;

	if (!reader_take(reader, magic, sizeof(magic)) || memcmp(magic, state_magic, sizeof(magic)) ||
	    !reader_name(reader, found) || !reader_number(reader, version, 4) ||
	    !reader_number(reader, fields, 4) || !reader_number(reader, &length, 8) ||
	    length > reader->length - reader->position)
		return log_error(EINVAL, "saved state: no intact section where %s should be", name);
	if (strcmp(found, name))
		return log_error(EINVAL, "saved state: section %s where %s should be", found, name);
	*body = (struct state_reader){ reader->data + reader->position, (size_t)length, 0 };
	reader->position += (size_t)length;
	return 0;
}

/* Fields mostly come in the table's order: @hint is where it may be. */
static const struct state_field *table_find(const struct state_table *table, const char *name, uint64_t hint)
{
	if (hint < table->count && !strcmp(table->fields[hint].name, name))
		return &table->fields[hint];
	for (size_t i = 0; i < table->count; i++)
		if (!strcmp(table->fields[i].name, name))
			return &table->fields[i];
	return NULL;
}

/* Field @index of the section; written to @object unless it is NULL, which only checks. */
static int field_load(const struct state_table *table, struct state_reader *body, uint64_t index, void *object)
{
	const struct state_field *field;
	char name[UINT8_MAX + 1];
	uint64_t element, count, value;

	if (!reader_name(body, name) || !reader_number(body, &element, 1) || !reader_number(body, &count, 4))
		return log_error(EINVAL, "saved state: section %s is cut off", table->name);
	field = table_find(table, name, index);
	if (!field)
		return log_error(EINVAL, "saved state: %s has a field %s that this build doesn't know",
				 table->name, name);
	if (element != field_element(field) || count != field->count)
		return log_error(EINVAL, "saved state: %s.%s has %llu elements of %llu bytes, not %u of %zu",
				 table->name, name, (unsigned long long)count, (unsigned long long)element,
				 field->count, field_element(field));
	for (size_t n = 0; n < field->count; n++) {
		if (!reader_number(body, &value, field_element(field)))
			return log_error(EINVAL, "saved state: section %s is cut off", table->name);
		if (value > field->max)
			return log_error(EINVAL, "saved state: %s.%s is %llu, past %llu", table->name, name,
					 (unsigned long long)value, (unsigned long long)field->max);
		if (object)
			field_set(field, object, n, value);
	}
	return 0;
}

/* Every field that sections of @version have must be there, once: a device half loaded is worse than none. */
static int fields_check(const struct state_table *table, struct state_reader body, uint64_t version, uint64_t fields)
{
	_cleanup_free_ uint8_t *found = calloc(table->count + 1, 1);
	char name[UINT8_MAX + 1];

	if (!found)
		return log_errno(ENOMEM, "saved state: section %s", table->name);
	/* each has been looked at, so that it is there and of the table */
	for (uint64_t n = 0; n < fields && reader_name(&body, name); n++) {
		const struct state_field *field = table_find(table, name, n);

		found[field - table->fields] = MIN(found[field - table->fields] + 1, 2);
		body.position += 5 + field->size;
	}
	for (size_t i = 0; i < table->count; i++) {
		const struct state_field *field = &table->fields[i];

		if (found[i] > 1 || (!found[i] && field->since <= version))
			return log_error(EINVAL, "saved state: %s.%s is there %s", table->name, field->name,
					 found[i] ? "more than once" : "0 times");
	}
	return 0;
}

static int fields_load(const struct state_table *table, struct state_reader body, uint64_t fields, void *object)
{
	for (uint64_t i = 0; i < fields; i++) {
		int result = field_load(table, &body, i, object);

		if (result)
			return result;
	}
	return body.position == body.length ? 0 :
	       log_error(EINVAL, "saved state: section %s has bytes behind its fields", table->name);
}

int state_load(struct state_reader *reader, const struct state_table *table, void *object)
{
	struct state_reader body;
	uint64_t version, fields;
	int result = reader_section(reader, table->name, &version, &fields, &body);

	if (result)
		return result;
	if (version > table->version)
		return log_error(EINVAL, "saved state: %s is of version %llu, this build knows up to %u",
				 table->name, (unsigned long long)version, table->version);
	result = fields_load(table, body, fields, NULL);
	if (!result)
		result = fields_check(table, body, version, fields);
	return result ? result : fields_load(table, body, fields, object);
}

int state_load_blob(struct state_reader *reader, const char *name, void *data, size_t max, size_t *length)
{
	struct state_reader body;
	uint64_t version, fields;
	int result = reader_section(reader, name, &version, &fields, &body);

	if (result)
		return result;
	if (body.length > max)
		return log_error(EINVAL, "saved state: %s has %zu bytes, at most %zu fit", name, body.length, max);
	if (body.length)
		memcpy(data, body.data, body.length);
	*length = body.length;
	return 0;
}

void state_print(const struct state_table *table, const void *object, int fd)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct state_field *field = &table->fields[i];

		dprintf(fd, "  %s.%s =", table->name, field->name);
		for (size_t n = 0; n < MIN(field->count, (size_t)16); n++)
			dprintf(fd, " 0x%llx", (unsigned long long)field_get(field, object, n));
		dprintf(fd, "%s\n", field->count > 16 ? " ..." : "");
	}
}

/* One section's fields as text; false when the stream is not what the writer above makes. */
static bool print_section(struct state_reader *reader, int fd)
{
	char magic[sizeof(state_magic)], section[UINT8_MAX + 1], field[UINT8_MAX + 1];
	uint64_t version, fields, length, size, count, value;

	if (!reader_take(reader, magic, sizeof(magic)) || memcmp(magic, state_magic, sizeof(magic)) ||
	    !reader_name(reader, section) || !reader_number(reader, &version, 4) ||
	    !reader_number(reader, &fields, 4) || !reader_number(reader, &length, 8) ||
	    length > reader->length - reader->position)
		return false;
	/* an empty section is only the mark before a device's own */
	if (fields || length)
		dprintf(fd, "%s (version %llu)\n", section, (unsigned long long)version);
	if (!fields && length) {
		dprintf(fd, "  %llu bytes\n", (unsigned long long)length);
		reader->position += (size_t)length;
	}
	for (; fields; fields--) {
		if (!reader_name(reader, field) || !reader_number(reader, &size, 1) ||
		    !reader_number(reader, &count, 4) || size > sizeof(value))
			return false;
		dprintf(fd, "  %s =", field);
		for (uint64_t n = 0; n < count; n++) {
			if (!reader_number(reader, &value, (size_t)size))
				return false;
			if (n < 16)
				dprintf(fd, " 0x%llx", (unsigned long long)value);
		}
		dprintf(fd, "%s\n", count > 16 ? " ..." : "");
	}
	return true;
}

void state_print_stream(const struct state_writer *writer, int fd)
{
	struct state_reader reader = { .data = writer->data, .length = writer->length };

	while (reader.position < reader.length)
		if (!print_section(&reader, fd))
			return;
}
