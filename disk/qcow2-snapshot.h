/* SPDX-License-Identifier: BSD-2-Clause */
/* The snapshot table of a qcow2 image: an L1 table with a name for each. Read for tools only; guests don't see it. */
#ifndef DISK_QCOW2_SNAPSHOT_H
#define DISK_QCOW2_SNAPSHOT_H

#include "disk/qcow2.h"

struct qcow2_snapshot {
	uint64_t l1_offset, disk_size, vm_state_size, vm_clock_ns;
	uint32_t l1_size;		/* entries */
	uint32_t date_s, date_ns;
	char *id, *name;
	uint8_t *extra;			/* of the table, as it stands there */
	uint32_t extra_length;
};

struct qcow2_snapshots {
	struct qcow2_snapshot *list;
	uint32_t count;
	uint64_t length;		/* bytes of the table in the file */
};

/** qcow2_snapshots_read() - says what is wrong; free them either way */
int __must_check qcow2_snapshots_read(struct qcow2 *q, struct qcow2_snapshots *snapshots);
void qcow2_snapshots_free(struct qcow2_snapshots *snapshots);
void qcow2_snapshot_free(struct qcow2_snapshot *snapshot);
/** qcow2_snapshots_find() - by name, or failing that by its number; UINT32_MAX: none */
uint32_t qcow2_snapshots_find(const struct qcow2_snapshots *snapshots, const char *name);
/** qcow2_snapshots_write() - a new table, to which the header then points; the old one's clusters are given back */
int __must_check qcow2_snapshots_write(struct qcow2 *q, struct qcow2_snapshots *snapshots);
/** qcow2_l1_read() - an L1 table that is not the active one, in the host's byte order; to be freed */
int __must_check qcow2_l1_read(struct qcow2 *q, uint64_t offset, uint32_t entries, uint64_t **l1);

/* ---- for all tools that write (disk/qcow2-tool.c) ---- */

/** qcow2_begin_tool() - before the first change; all that is cached is written */
int __must_check qcow2_begin_tool(struct qcow2 *q);
/** qcow2_l1_write() - an L1 table, into new clusters */
int __must_check qcow2_l1_write(struct qcow2 *q, const uint64_t *l1, uint32_t entries, uint64_t *offset);
/** qcow2_header_switch() - another size, and another L1 table that is written already */
int __must_check qcow2_header_switch(struct qcow2 *q, uint64_t size, uint32_t entries, uint64_t offset);
/** qcow2_unreference() - later, one reference less to all that an L1 table leads to (disk/qcow2-snapshot.c) */
int __must_check qcow2_unreference(struct qcow2 *q, const uint64_t *l1, uint32_t entries);
/** qcow2_allocate_row() - clusters in a row for @length bytes of a table; forgets what was cached of them */
int __must_check qcow2_allocate_row(struct qcow2 *q, uint64_t length, uint64_t *host);

#endif
