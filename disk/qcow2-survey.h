/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything that a qcow2 image refers to, counted. It is done without the cache, and finds its way through damaged
 * and malicious images: each table is read once, and memory goes by what the file really holds.
 */
#ifndef DISK_QCOW2_SURVEY_H
#define DISK_QCOW2_SURVEY_H

#include "disk/qcow2.h"

/* A number for each cluster of the file; memory only where it isn't 0. */
struct qcow2_counts {
	uint64_t clusters;
	uint32_t **pages;
};

int __must_check qcow2_counts_init(struct qcow2_counts *counts, uint64_t clusters);
void qcow2_counts_free(struct qcow2_counts *counts);
uint32_t qcow2_counts_get(const struct qcow2_counts *counts, uint64_t cluster);
int __must_check qcow2_counts_add(struct qcow2_counts *counts, uint64_t cluster, uint32_t times);
/** qcow2_counts_next() - the first cluster in [@from, @end) that has one; @end if none has */
uint64_t qcow2_counts_next(const struct qcow2_counts *counts, uint64_t from, uint64_t end);

struct qcow2_survey {
	struct qcow2 *q;
	struct image_check *check;	/* problems are counted and said there */
	struct qcow2_counts used;	/* how often each cluster is referred to */
	struct qcow2_counts tables;	/* and each L2 table, by entries of L1 tables */
	bool unmendable;		/* a reference leads nowhere: what it meant may look like a leak */
};

/**
 * qcow2_survey() - counts all but the refcounts themselves
 *
 * Returns a negative errno (said) where so much is broken that the count means nothing. Ended by qcow2_survey_end().
 */
int __must_check qcow2_survey(struct qcow2_survey *survey, struct qcow2 *q, struct image_check *check);
/** qcow2_survey_refcounts() - and these: the table and its blocks */
int __must_check qcow2_survey_refcounts(struct qcow2_survey *survey);
void qcow2_survey_end(struct qcow2_survey *survey);
/** qcow2_survey_problem() - one more corruption */
void qcow2_survey_problem(struct qcow2_survey *survey, const char *format, ...) printf_like(2, 3);

/** qcow2_rebuild_refcounts() - makes table and blocks anew, behind all else, and lets the header point to them */
int __must_check qcow2_rebuild_refcounts(struct qcow2 *q);

#endif
