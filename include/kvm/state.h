/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Saved state: a table of named fields, never a struct dump.
 *
 * A device describes what it saves once, as a table; saving, loading, `lkvm debug` and the fuzzer all walk
 * it. The encoding names each field, so that an older or newer build can say what it doesn't know. Loading
 * treats the stream as hostile: every field has a bound, and nothing is changed until a whole section has
 * been checked.
 */
#ifndef KVM_STATE_H
#define KVM_STATE_H

#include "kvm/types.h"

#define STATE_FIELD_NAME	34

enum state_type { STATE_TYPE_U8, STATE_TYPE_U16, STATE_TYPE_U32, STATE_TYPE_U64, STATE_TYPE_BOOL, STATE_TYPE_BYTES };

struct state_field {
	uint64_t max;			/* largest valid value of each element */
	uint32_t offset;
	uint32_t size;			/* of the member, all elements */
	uint32_t count;			/* elements; 1 for a scalar */
	uint8_t type;			/* enum state_type */
	uint8_t since;			/* first version of the section that has it */
	char name[STATE_FIELD_NAME];	/* here, not elsewhere: a table without pointers isn't relocated at each start */
};

/* The array type has a negative size where the name and its end don't fit. */
#define STATE_FIELD_(s, m, t, n, mx)										\
	{ .name = #m, .type = (t), .offset = offsetof(s, m), .size = sizeof(((s *)0)->m), .max = (mx),		\
	  .count = (n) + 0 * sizeof(char[sizeof(#m) <= STATE_FIELD_NAME ? 1 : -1]) }
#define STATE_U8(s, m)		STATE_FIELD_(s, m, STATE_TYPE_U8, 1, UINT8_MAX)
#define STATE_U8_MAX(s, m, mx)	STATE_FIELD_(s, m, STATE_TYPE_U8, 1, mx)
#define STATE_U16(s, m)		STATE_FIELD_(s, m, STATE_TYPE_U16, 1, UINT16_MAX)
#define STATE_U16_MAX(s, m, mx)	STATE_FIELD_(s, m, STATE_TYPE_U16, 1, mx)
#define STATE_U32(s, m)		STATE_FIELD_(s, m, STATE_TYPE_U32, 1, UINT32_MAX)
#define STATE_U32_MAX(s, m, mx)	STATE_FIELD_(s, m, STATE_TYPE_U32, 1, mx)
#define STATE_U64(s, m)		STATE_FIELD_(s, m, STATE_TYPE_U64, 1, UINT64_MAX)
#define STATE_U64_MAX(s, m, mx)	STATE_FIELD_(s, m, STATE_TYPE_U64, 1, mx)
#define STATE_BOOL(s, m)	STATE_FIELD_(s, m, STATE_TYPE_BOOL, 1, 1)
#define STATE_BYTES(s, m)	STATE_FIELD_(s, m, STATE_TYPE_BYTES, sizeof(((s *)0)->m), UINT8_MAX)
#define STATE_U16_ARRAY(s, m)	STATE_FIELD_(s, m, STATE_TYPE_U16, ARRAY_SIZE(((s *)0)->m), UINT16_MAX)
#define STATE_U32_ARRAY(s, m)	STATE_FIELD_(s, m, STATE_TYPE_U32, ARRAY_SIZE(((s *)0)->m), UINT32_MAX)
#define STATE_U64_ARRAY(s, m)	STATE_FIELD_(s, m, STATE_TYPE_U64, ARRAY_SIZE(((s *)0)->m), UINT64_MAX)

/** struct state_table - one section's layout; ends in the array's length, not in a marker */
struct state_table {
	const char *name;
	unsigned int version;
	const struct state_field *fields;
	size_t count;
};

#define STATE_TABLE(table, name_, version_, fields_) \
	static const struct state_table table = { \
		.name = (name_), .version = (version_), .fields = (fields_), .count = ARRAY_SIZE(fields_) }

/** struct state_writer - a growing buffer; zero-initialise; an allocation failure sticks in @error */
struct state_writer {
	uint8_t *data;
	size_t length, capacity;
	int error;
};

struct state_reader {
	const uint8_t *data;
	size_t length, position;
};

void state_writer_free(struct state_writer *writer);

/** state_save() - appends the section of @object by @table; errors stick in @writer */
void state_save(struct state_writer *writer, const struct state_table *table, const void *object);

/**
 * state_load() - reads the section that must come next into @object
 *
 * Checks the name, the version (older is fine: missing fields keep their value) and each bound before it
 * writes anything. Returns 0 or -EINVAL, having said which section and field is wrong.
 */
int __must_check state_load(struct state_reader *reader, const struct state_table *table, void *object);

/** state_save_blob(), state_load_blob() - a section of raw bytes, at most @max; *@length is what was stored */
void state_save_blob(struct state_writer *writer, const char *name, const void *data, size_t length);
int __must_check state_load_blob(struct state_reader *reader, const char *name, void *data, size_t max, size_t *length);

/** state_print() - the fields of @object as text, one a line, for `lkvm debug` */
void state_print(const struct state_table *table, const void *object, int fd);
/** state_print_stream() - all that @writer holds as text: every section and field */
void state_print_stream(const struct state_writer *writer, int fd);

#endif
