/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checks and repairs of qcow2 images: what the survey counted against the refcounts that the image has, and against
 * the flags that say whose clusters are the disk's alone.
 *
 * Mended is what follows from the references: refcounts and flags. A reference that leads nowhere is left, and so are
 * then all leaks, since one of them may be what it meant.
 */
#include <stdio.h>
#include <string.h>

#include "disk/qcow2-survey.h"
#include "kvm/log.h"

struct comparison {
	struct qcow2_survey *survey;
	bool repair;
	bool rebuild;			/* can't be mended in place */
};

/* ---- refcounts ---- */

static void wrong_refcount(struct comparison *comparison, uint64_t cluster, uint64_t stored, uint32_t used)
{
	struct image_check *check = comparison->survey->check;
	char line[128];

	if (stored < used) {
		qcow2_survey_problem(comparison->survey, "cluster %llu: refcount %llu, and %u references", (unsigned long long)cluster,
				     (unsigned long long)stored, used);
		return;
	}
	check->leaks++;
	if (!check->say)
		return;
	snprintf(line, sizeof(line), "cluster %llu: leaked: refcount %llu, and %u references", (unsigned long long)cluster,
		 (unsigned long long)stored, used);
	check->say(check, line);
}

static int compare_block(struct comparison *comparison, uint64_t index, uint64_t offset, uint8_t *block)
{
	struct qcow2_survey *survey = comparison->survey;
	struct qcow2 *q = survey->q;
	uint64_t in_block = qcow2_clusters_in_block(q), max = q->refcount_order == 6 ? UINT64_MAX : BIT(1u << q->refcount_order) - 1;
	bool changed = false;
	int result = disk_file_read(q->file, offset, block, q->cluster_size);

	for (uint64_t n = 0; n < in_block && !result; n++) {
		uint64_t stored = qcow2_refcount_entry_get(block, q->refcount_order, n);
		uint32_t used = qcow2_counts_get(&survey->used, index * in_block + n);

		if (stored == used)
			continue;
		wrong_refcount(comparison, index * in_block + n, stored, used);
		if (!comparison->repair || used > max || (stored > used && survey->unmendable))
			continue;
		qcow2_refcount_entry_set(block, q->refcount_order, n, used);
		changed = true;
	}
	return changed ? disk_file_write(q->file, offset, block, q->cluster_size) : result;
}

/* Used clusters that no block counts. */
static void compare_uncounted(struct comparison *comparison, uint64_t first, uint64_t end)
{
	const struct qcow2_counts *used = &comparison->survey->used;

	end = MIN(end, used->clusters);
	while ((first = qcow2_counts_next(used, first, end)) < end) {
		wrong_refcount(comparison, first, 0, qcow2_counts_get(used, first));
		comparison->rebuild = true;
		first++;
	}
}

static bool block_usable(struct comparison *comparison, uint64_t offset)
{
	struct qcow2 *q = comparison->survey->q;

	if (!qcow2_offset_in_cluster(q, offset) && range_contains(0, q->file->size, offset, q->cluster_size) &&
	    qcow2_counts_get(&comparison->survey->used, offset >> q->cluster_bits) == 1)
		return true;
	qcow2_survey_problem(comparison->survey, "a refcount block at %llu: misaligned, past the end of the file, or not alone there",
			     (unsigned long long)offset);
	comparison->rebuild = true;
	return false;
}

static int compare_refcounts(struct comparison *comparison)
{
	struct qcow2 *q = comparison->survey->q;
	uint64_t in_block = qcow2_clusters_in_block(q);
	_cleanup_free_ uint8_t *block = malloc(q->cluster_size);
	int result = block ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < q->refcount_blocks && !result; i++) {
		uint64_t offset = q->refcount_table[i] & QCOW2_REFCOUNT_OFFSET;

		if (!offset)
			compare_uncounted(comparison, i * in_block, (i + 1) * in_block);
		else if (block_usable(comparison, offset))
			result = compare_block(comparison, i, offset, block);
	}
	if (!result)
		compare_uncounted(comparison, q->refcount_blocks * in_block, UINT64_MAX);
	return result;
}

/* ---- tables that something else lies on ---- */

static void not_alone(struct qcow2_survey *survey, uint64_t cluster, const char *what)
{
	unsigned long long offset = cluster << survey->q->cluster_bits;

	survey->unmendable = true;
	qcow2_survey_problem(survey, "%s at %llu: something else lies there, too", what, offset);
}

/* Before the refcounts are counted, which can move. */
static void check_overlaps(struct qcow2_survey *survey)
{
	struct qcow2 *q = survey->q;
	uint64_t end = survey->tables.clusters, cluster = q->l1_offset >> q->cluster_bits;

	if (qcow2_counts_get(&survey->used, 0) > 1)
		not_alone(survey, 0, "the header");
	for (; cluster << q->cluster_bits < q->l1_offset + q->l1_size * 8ULL; cluster++)
		if (qcow2_counts_get(&survey->used, cluster) > 1)
			not_alone(survey, cluster, "the L1 table");
	for (cluster = 0; (cluster = qcow2_counts_next(&survey->tables, cluster, end)) < end; cluster++)
		if (qcow2_counts_get(&survey->used, cluster) != qcow2_counts_get(&survey->tables, cluster))
			not_alone(survey, cluster, "an L2 table");
}

static void check_refcount_table(struct comparison *comparison)
{
	const struct qcow2 *q = comparison->survey->q;
	uint64_t first = q->refcount_table_offset >> q->cluster_bits;

	for (uint32_t i = 0; i < q->refcount_table_clusters; i++) {
		unsigned long long offset = (first + i) << q->cluster_bits;

		if (qcow2_counts_get(&comparison->survey->used, first + i) <= 1)
			continue;
		qcow2_survey_problem(comparison->survey, "the refcount table at %llu: something else lies there, too", offset);
		comparison->rebuild = true;
	}
}

/* ---- the flags for clusters of one owner, and what the disk has ---- */

/* @entry with the flag as it should be; *wrong is set if it wasn't. */
static uint64_t flag_check(struct qcow2_survey *survey, uint64_t entry, const char *what, bool *wrong)
{
	uint32_t used = qcow2_counts_get(&survey->used, (entry & QCOW2_OFFSET) >> survey->q->cluster_bits);
	uint64_t right = used == 1 ? entry | QCOW2_COPIED : entry & ~QCOW2_COPIED;

	/* 0: it leads nowhere, which was said */
	if (!used || right == entry)
		return entry;
	*wrong = true;
	qcow2_survey_problem(survey, "%s at %llu: %u references, and its flag says %s", what,
			     (unsigned long long)(entry & QCOW2_OFFSET), used, used == 1 ? "more" : "one");
	return right;
}

static int flags_of_table(struct comparison *comparison, uint64_t table, uint8_t *bytes)
{
	struct qcow2_survey *survey = comparison->survey;
	struct qcow2 *q = survey->q;
	bool wrong = false;
	int result = disk_file_read(q->file, table, bytes, q->cluster_size);

	for (uint32_t at = 0; at < q->cluster_size && !result; at += q->entry_size) {
		uint64_t entry = be64_load(bytes + at);

		survey->check->allocated += !!(entry & (QCOW2_COMPRESSED | QCOW2_OFFSET));
		if ((entry & QCOW2_COMPRESSED) || !(entry & QCOW2_OFFSET) || q->data_file != q->file)
			continue;
		be64_store(bytes + at, flag_check(survey, entry, "a guest cluster", &wrong));
	}
	return !result && wrong && comparison->repair ? disk_file_write(q->file, table, bytes, q->cluster_size) : result;
}

static int flag_of_l1(struct comparison *comparison, uint32_t index)
{
	struct qcow2 *q = comparison->survey->q;
	uint8_t raw[8];
	bool wrong = false;
	uint64_t right = flag_check(comparison->survey, q->l1[index], "an L2 table", &wrong);

	if (!wrong || !comparison->repair)
		return 0;
	q->l1[index] = right;
	be64_store(raw, right);
	return disk_file_write(q->file, q->l1_offset + index * 8ULL, raw, sizeof(raw));
}

static int compare_flags(struct comparison *comparison)
{
	struct qcow2_survey *survey = comparison->survey;
	struct qcow2 *q = survey->q;
	_cleanup_free_ uint8_t *bytes = malloc(q->cluster_size);
	struct qcow2_counts seen;
	int result = qcow2_counts_init(&seen, survey->used.clusters);

	if (!result && !bytes)
		result = -ENOMEM;
	for (uint32_t i = 0; i < q->l1_size && !result; i++) {
		uint64_t table = q->l1[i] & QCOW2_OFFSET, cluster = table >> q->cluster_bits;

		if (!table || !qcow2_counts_get(&survey->tables, cluster) || qcow2_counts_get(&seen, cluster))
			continue;
		result = flag_of_l1(comparison, i);
		if (!result)
			result = qcow2_counts_add(&seen, cluster, 1);
		if (!result)
			result = flags_of_table(comparison, table, bytes);
	}
	qcow2_counts_free(&seen);
	return result;
}

/* ---- the whole ---- */

/* Looks, and with @repair mends what it finds; the numbers are what it found. */
static int look(struct qcow2 *q, struct image_check *check, bool repair, bool *rebuild)
{
	struct qcow2_survey survey;
	struct comparison comparison = { .survey = &survey, .repair = repair };
	int result = qcow2_survey(&survey, q, check);

	if (!result)
		check_overlaps(&survey);
	if (!result)
		result = qcow2_survey_refcounts(&survey);
	if (!result)
		check_refcount_table(&comparison);
	if (!result)
		result = compare_refcounts(&comparison);
	if (!result && repair)
		result = disk_file_flush(q->file);
	if (!result)
		result = compare_flags(&comparison);
	if (!result && repair)
		result = disk_file_flush(q->file);
	*rebuild = comparison.rebuild && !survey.unmendable;
	qcow2_survey_end(&survey);
	return result;
}

static int clear_marks(struct qcow2 *q)
{
	uint64_t marks = QCOW2_DIRTY | QCOW2_CORRUPT;
	uint8_t raw[8];
	int result;

	if (!(q->incompatible & marks))
		return 0;
	be64_store(raw, q->incompatible & ~marks);
	result = disk_file_write(q->file, QCOW2_AT_INCOMPATIBLE, raw, sizeof(raw));
	if (!result)
		result = disk_file_flush(q->file);
	if (!result)
		q->incompatible &= ~marks;
	return result;
}

static int mend(struct qcow2 *q, struct image_check *found, bool rebuild)
{
	struct image_check before = *found, silent = { .progress = found->progress }, after = silent;
	int result = rebuild ? qcow2_rebuild_refcounts(q) : 0;

	if (!result)
		result = look(q, &silent, true, &rebuild);
	if (!result)
		result = look(q, &after, false, &rebuild);
	if (!result && !after.corruptions)
		result = clear_marks(q);
	if (result)
		return result;
	found->corruptions = after.corruptions;
	found->leaks = after.leaks;
	found->corruptions_fixed = before.corruptions - MIN(before.corruptions, after.corruptions);
	found->leaks_fixed = before.leaks - MIN(before.leaks, after.leaks);
	return 0;
}

int qcow2_check(struct disk *disk, bool repair, struct image_check *found)
{
	struct qcow2 *q = disk->format_state;
	bool rebuild = false;
	int result = q->refcount_table ? 0 : qcow2_read_refcount_table(q);

	found->clusters = (q->size + q->cluster_size - 1) >> q->cluster_bits;
	if (!result)
		result = look(q, found, false, &rebuild);
	if (!result && repair)
		result = mend(q, found, rebuild);
	if (!result || result == -EINTR || result == -EIO || result == -EINVAL)
		return result;
	return log_errno(result, "disk '%s': can't be %s", q->file->path, repair ? "repaired" : "checked");
}
