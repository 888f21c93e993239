/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The marks in the header of an image that is damaged, or was not closed. Whoever finds that tables contradict each
 * other marks the image corrupt and writes no more, since what it takes for free may be somebody's; so does everyone
 * who opens it later, until it is repaired.
 */
#include "disk/qcow2.h"

#include "kvm/log.h"

/* ---- corrupt ---- */

/* Version 2 has no place for it: there it holds until the image is closed. */
static void mark_corrupt(struct qcow2 *q)
{
	uint8_t raw[8];

	q->incompatible |= QCOW2_CORRUPT;
	if (q->version < 3)
		return;
	be64_store(raw, q->incompatible);
	if (disk_file_write(q->file, QCOW2_AT_INCOMPATIBLE, raw, sizeof(raw)) || disk_file_flush(q->file))
		log_error(EIO, "disk '%s': qcow2: can't be marked corrupt", q->file->path);
}

int qcow2_complain(struct qcow2 *q, const char *what, uint64_t where)
{
	if (!q->complained)
		log_error(EIO, "disk '%s': qcow2: %s (at %llu); the image is damaged (lkvm disk check)", q->file->path, what,
			  (unsigned long long)where);
	q->complained = true;
	return -EIO;
}

int qcow2_broken(struct qcow2 *q, const char *what, uint64_t where)
{
	if (q->begun && !(q->incompatible & QCOW2_CORRUPT))
		mark_corrupt(q);
	return qcow2_complain(q, what, where);
}

/* ---- dirty ---- */

int qcow2_mend_dirty(struct qcow2 *q)
{
	struct image_check found = { .checked = true };
	int result = qcow2_check(q->disk, true, &found);

	if (result)
		return result;
	if (q->incompatible & QCOW2_DIRTY)
		return log_error(EROFS, "disk '%s': qcow2: not closed the last time, and damaged: see lkvm disk check, or add ',ro'",
				 q->file->path);
	log_warn("disk '%s': qcow2: not closed the last time; its refcounts are mended", q->file->path);
	return 0;
}
