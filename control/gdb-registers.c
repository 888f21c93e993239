/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The target description: which registers a vCPU has, told to gdb as XML ("Target Descriptions", appendix G of its
 * manual), and where each of them lies in the register file. Numbers are the order of the architecture's tables.
 */
#include <stdio.h>
#include <string.h>

#include "gdb-internal.h"

#define DESCRIPTION_MAX	KIB(32)

static void describe_feature(struct gdb_reply *xml, const struct gdb_feature *feature)
{
	gdb_reply_format(xml, "<feature name=\"%s\">", feature->name);
	if (feature->types)
		gdb_reply_bytes(xml, feature->types, strlen(feature->types));
	for (size_t i = 0; i < feature->count; i++) {
		const struct gdb_register *reg = &feature->registers[i];

		gdb_reply_format(xml, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"%s%s%s/>", reg->name, reg->bits, reg->type,
				 reg->group ? " group=\"" : "", reg->group ? reg->group : "", reg->group ? "\"" : "");
	}
	gdb_reply_format(xml, "</feature>");
}

const char *gdb_description(struct gdb *gdb)
{
	const struct gdb_feature *features[GDB_FEATURES_MAX];
	size_t count = arch_gdb_features(gdb->kvm, features);
	struct gdb_reply xml = { .size = DESCRIPTION_MAX - 1 };

	if (gdb->description)
		return gdb->description;
	xml.data = malloc(DESCRIPTION_MAX);
	if (!xml.data)
		return NULL;
	gdb_reply_format(&xml, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
			 "<target version=\"1.0\"><architecture>%s</architecture>", arch_gdb_architecture);
	for (size_t i = 0; i < count; i++)
		describe_feature(&xml, features[i]);
	gdb_reply_format(&xml, "</target>");
	if (xml.overflow) {
		free(xml.data);
		return NULL;
	}
	xml.data[xml.length] = '\0';
	gdb->description = xml.data;
	return gdb->description;
}

bool gdb_register_place(struct gdb *gdb, uint64_t number, size_t *offset, size_t *size)
{
	const struct gdb_feature *features[GDB_FEATURES_MAX];
	size_t count = arch_gdb_features(gdb->kvm, features);

	*offset = 0;
	for (size_t i = 0; i < count; i++) {
		for (size_t n = 0; n < features[i]->count; n++, number--) {
			*size = features[i]->registers[n].bits / 8;
			if (!number)
				return true;
			*offset += *size;
		}
	}
	return false;
}

size_t gdb_registers_size(struct gdb *gdb)
{
	size_t offset, size;

	/* past the last one */
	gdb_register_place(gdb, UINT64_MAX, &offset, &size);
	return offset;
}
