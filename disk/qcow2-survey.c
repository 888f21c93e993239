/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Walks through all that a qcow2 image refers to: header, L1 and L2 tables of the disk and of its snapshots, guest
 * clusters, persistent bitmaps, and the refcounts themselves.
 */
#include "disk/qcow2-survey.h"

#include <stdarg.h>
#include <stdio.h>

#include "disk/qcow2-snapshot.h"
#include "kvm/log.h"

#define PAGE		4096u		/* counts that are allocated together */
#define EXTENSION_BITMAPS	0x23852875u
#define BITMAP_TABLE_ENTRY	0x00fffffffffffe00ULL
#define BITMAP_DIRECTORY_MAX	MIB(64)

/* ---- counts ---- */

int qcow2_counts_init(struct qcow2_counts *counts, uint64_t clusters)
{
	*counts = (struct qcow2_counts){ .clusters = clusters };
	counts->pages = calloc(clusters / PAGE + 1, sizeof(counts->pages[0]));
	return counts->pages ? 0 : -ENOMEM;
}

void qcow2_counts_free(struct qcow2_counts *counts)
{
	for (uint64_t i = 0; counts->pages && i <= counts->clusters / PAGE; i++)
		free(counts->pages[i]);
	free(counts->pages);
	counts->pages = NULL;
}

uint32_t qcow2_counts_get(const struct qcow2_counts *counts, uint64_t cluster)
{
	const uint32_t *page = cluster < counts->clusters ? counts->pages[cluster / PAGE] : NULL;

	return page ? page[cluster % PAGE] : 0;
}

int qcow2_counts_add(struct qcow2_counts *counts, uint64_t cluster, uint32_t times)
{
	uint32_t **page = &counts->pages[cluster / PAGE], *count;

	if (!*page)
		*page = calloc(PAGE, sizeof(**page));
	if (!*page)
		return -ENOMEM;
	count = &(*page)[cluster % PAGE];
	if (__builtin_add_overflow(*count, times, count))
		*count = UINT32_MAX;
	return 0;
}

uint64_t qcow2_counts_next(const struct qcow2_counts *counts, uint64_t from, uint64_t end)
{
	end = MIN(end, counts->clusters);
	while (from < end) {
		const uint32_t *page = counts->pages[from / PAGE];

		if (page && page[from % PAGE])
			return from;
		from = page ? from + 1 : (from / PAGE + 1) * PAGE;
	}
	return end;
}

/* ---- what is found ---- */

void qcow2_survey_problem(struct qcow2_survey *survey, const char *format, ...)
{
	struct image_check *check = survey->check;
	char line[256];
	va_list arguments;

	check->corruptions++;
	if (!check->say)
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	check->say(check, line);
}

static void leads_nowhere(struct qcow2_survey *survey, const char *what, uint64_t offset)
{
	survey->unmendable = true;
	qcow2_survey_problem(survey, "%s at %llu: misaligned, or past the end of the file", what, (unsigned long long)offset);
}

static bool range_fits(const struct qcow2 *q, uint64_t offset, uint64_t length)
{
	return range_contains(0, ALIGN_UP(q->file->size, (uint64_t)q->cluster_size), offset, length);
}

static int count_range(struct qcow2_survey *survey, uint64_t offset, uint64_t length, uint32_t times, const char *what)
{
	uint32_t bits = survey->q->cluster_bits;
	int result = 0;

	if (!length)
		return 0;
	if (!range_fits(survey->q, offset, length)) {
		leads_nowhere(survey, what, offset);
		return 0;
	}
	for (uint64_t cluster = offset >> bits; cluster <= (offset + length - 1) >> bits && !result; cluster++)
		result = qcow2_counts_add(&survey->used, cluster, times);
	return result;
}

/* As count_range(), for what lies at the beginning of a cluster. */
static int count_clusters(struct qcow2_survey *survey, uint64_t offset, uint64_t length, uint32_t times, const char *what)
{
	if (!length || !qcow2_offset_in_cluster(survey->q, offset))
		return count_range(survey, offset, length, times, what);
	leads_nowhere(survey, what, offset);
	return 0;
}

/* ---- L1 and L2 ---- */

static int survey_l1(struct qcow2_survey *survey, const uint64_t *l1, uint32_t entries)
{
	struct qcow2 *q = survey->q;
	int result = 0;

	for (uint32_t i = 0; i < entries && !result; i++) {
		uint64_t table = l1[i] & QCOW2_OFFSET;

		if (!table)
			continue;
		if (qcow2_offset_in_cluster(q, table) || !range_fits(q, table, q->cluster_size)) {
			leads_nowhere(survey, "an L2 table", table);
			continue;
		}
		result = qcow2_counts_add(&survey->used, table >> q->cluster_bits, 1);
		if (!result)
			result = qcow2_counts_add(&survey->tables, table >> q->cluster_bits, 1);
	}
	return result;
}

static int survey_entry(struct qcow2_survey *survey, uint64_t entry, uint64_t bitmap, uint32_t times)
{
	struct qcow2 *q = survey->q;
	bool external = q->data_file != q->file;
	uint64_t offset, length;

	if (entry & QCOW2_COMPRESSED) {
		qcow2_compressed_place(q, entry, &offset, &length);
		if (external)
			qcow2_survey_problem(survey, "a compressed cluster beside an external data file");
		return external ? 0 : count_range(survey, offset, length, times, "a compressed cluster");
	}
	if (q->extended && (bitmap & bitmap >> QCOW2_SUBCLUSTERS & 0xffffffffu)) {
		survey->unmendable = true;
		qcow2_survey_problem(survey, "an L2 entry whose bitmap %#llx contradicts itself", (unsigned long long)bitmap);
	}
	offset = entry & QCOW2_OFFSET;
	return offset && !external ? count_clusters(survey, offset, q->cluster_size, times, "a guest cluster") : 0;
}

static int survey_table(struct qcow2_survey *survey, uint64_t table, uint8_t *bytes)
{
	struct qcow2 *q = survey->q;
	uint32_t times = qcow2_counts_get(&survey->tables, table >> q->cluster_bits);
	int result = disk_file_read(q->file, table, bytes, q->cluster_size);

	for (uint32_t at = 0; at < q->cluster_size && !result; at += q->entry_size)
		result = survey_entry(survey, be64_load(bytes + at), q->extended ? be64_load(bytes + at + 8) : 0, times);
	return result;
}

static int survey_tables(struct qcow2_survey *survey)
{
	struct qcow2 *q = survey->q;
	_cleanup_free_ uint8_t *bytes = malloc(q->cluster_size);
	uint64_t end = survey->tables.clusters, cluster = 0;
	int result = bytes ? 0 : -ENOMEM;

	while (!result && (cluster = qcow2_counts_next(&survey->tables, cluster, end)) < end) {
		if (survey->check->progress)
			result = survey->check->progress->at(survey->check->progress, cluster, end);
		if (!result)
			result = survey_table(survey, cluster << q->cluster_bits, bytes);
		cluster++;
	}
	return result;
}

/* ---- snapshots ---- */

static int survey_snapshots(struct qcow2_survey *survey)
{
	struct qcow2 *q = survey->q;
	struct qcow2_snapshots snapshots;
	uint64_t bytes = 0;
	int result = qcow2_snapshots_read(q, &snapshots);

	if (!result)
		result = count_clusters(survey, q->snapshots_offset, snapshots.length, 1, "the snapshot table");
	for (uint32_t i = 0; i < snapshots.count && !result; i++) {
		const struct qcow2_snapshot *snapshot = &snapshots.list[i];
		_cleanup_free_ uint64_t *l1 = NULL;

		/* Else a small file could have us read for days. */
		bytes += snapshot->l1_size * 8ULL;
		if (bytes > q->file->size)
			result = qcow2_broken(q, "L1 tables of snapshots that lie on one another", snapshot->l1_offset);
		if (!result)
			result = qcow2_l1_read(q, snapshot->l1_offset, snapshot->l1_size, &l1);
		if (!result)
			result = count_clusters(survey, snapshot->l1_offset, snapshot->l1_size * 8ULL, 1, "a snapshot's L1 table");
		if (!result)
			result = survey_l1(survey, l1, snapshot->l1_size);
	}
	qcow2_snapshots_free(&snapshots);
	return result;
}

/* ---- bitmaps ---- */

static int survey_bitmap(struct qcow2_survey *survey, uint64_t table, uint32_t entries)
{
	struct qcow2 *q = survey->q;
	uint8_t entry[8];
	int result = count_clusters(survey, table, entries * 8ULL, 1, "a bitmap's table");

	if (!range_fits(q, table, entries * 8ULL))
		return result;
	for (uint32_t i = 0; i < entries && !result; i++) {
		result = disk_file_read(q->file, table + i * 8ULL, entry, sizeof(entry));
		if (!result && (be64_load(entry) & BITMAP_TABLE_ENTRY))
			result = count_clusters(survey, be64_load(entry) & BITMAP_TABLE_ENTRY, q->cluster_size, 1, "a bitmap");
	}
	return result;
}

static int survey_directory(struct qcow2_survey *survey, uint32_t count, uint64_t offset, uint64_t length)
{
	struct qcow2 *q = survey->q;
	uint64_t at = 0;
	int result = count_clusters(survey, offset, length, 1, "the bitmap directory");

	if (length > BITMAP_DIRECTORY_MAX || !range_fits(q, offset, length))
		return result;
	for (; count && !result && at + 24 <= length; count--) {
		uint8_t entry[24];

		result = disk_file_read(q->file, offset + at, entry, sizeof(entry));
		if (!result)
			result = survey_bitmap(survey, be64_load(entry), be32_load(entry + 8));
		/* the name's length is the lower half of the word at 16 */
		at += ALIGN_UP(24ULL + (be32_load(entry + 16) & 0xffff) + be32_load(entry + 20), 8ULL);
	}
	return result;
}

/* While their autoclear bit says that they are true. */
static int survey_bitmaps(struct qcow2_survey *survey)
{
	struct qcow2 *q = survey->q;
	uint64_t at = q->header_length;
	uint8_t head[8], body[24];

	if (!(q->autoclear & 1))
		return 0;
	while (at + 8 <= q->cluster_size) {
		int result = disk_file_read(q->file, at, head, sizeof(head));

		if (!result && !be32_load(head))
			return 0;
		if (!result && be32_load(head) == EXTENSION_BITMAPS)
			result = disk_file_read(q->file, at + 8, body, sizeof(body));
		if (result)
			return result;
		if (be32_load(head) == EXTENSION_BITMAPS)
			return survey_directory(survey, be32_load(body), be64_load(body + 16), be64_load(body + 8));
		at += 8 + ALIGN_UP((uint64_t)be32_load(head + 4), 8ULL);
	}
	return 0;
}

/* ---- the whole ---- */

int qcow2_survey_refcounts(struct qcow2_survey *survey)
{
	struct qcow2 *q = survey->q;
	int result = count_clusters(survey, q->refcount_table_offset, (uint64_t)q->refcount_table_clusters << q->cluster_bits, 1,
				    "the refcount table");

	for (uint64_t i = 0; i < q->refcount_blocks && !result; i++) {
		uint64_t block = q->refcount_table[i] & QCOW2_REFCOUNT_OFFSET;

		/* those that lead nowhere are the comparison's matter */
		if (block && !qcow2_offset_in_cluster(q, block) && range_fits(q, block, q->cluster_size))
			result = qcow2_counts_add(&survey->used, block >> q->cluster_bits, 1);
	}
	return result;
}

int qcow2_survey(struct qcow2_survey *survey, struct qcow2 *q, struct image_check *check)
{
	uint64_t clusters = (q->file->size + q->cluster_size - 1) >> q->cluster_bits;
	int result;

	*survey = (struct qcow2_survey){ .q = q, .check = check };
	result = qcow2_counts_init(&survey->used, clusters);
	if (!result)
		result = qcow2_counts_init(&survey->tables, clusters);
	if (!result)
		result = count_clusters(survey, 0, q->cluster_size, 1, "the header");
	if (!result)
		result = count_clusters(survey, q->l1_offset, q->l1_size * 8ULL, 1, "the L1 table");
	if (!result)
		result = survey_l1(survey, q->l1, q->l1_size);
	if (!result && q->snapshots)
		result = survey_snapshots(survey);
	if (!result)
		result = survey_tables(survey);
	if (!result)
		result = survey_bitmaps(survey);
	return result;
}

void qcow2_survey_end(struct qcow2_survey *survey)
{
	qcow2_counts_free(&survey->used);
	qcow2_counts_free(&survey->tables);
}
