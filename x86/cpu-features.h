/* SPDX-License-Identifier: BSD-2-Clause */
/* The features that CPUID tells, by name: for --cpu, and for what saved state needs of a host. */
#ifndef X86_CPU_FEATURES_H
#define X86_CPU_FEATURES_H

#include <linux/kvm.h>

#include "kvm/types.h"

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

/** struct feature_word - a register of CPUID that is a set of features */
struct feature_word {
	uint32_t function, index;
	enum cpuid_register reg;
	uint32_t own;		/* bits that follow the vCPU's state, or are ours to set */
	const char *names;	/* of its bits from 0 on, blanks between; "-": has none */
};

#define FEATURE_WORDS	20
extern const struct feature_word feature_words[FEATURE_WORDS];

/* Some words by what they are */
enum { WORD_1_ECX, WORD_1_EDX, WORD_7_EBX, WORD_7_ECX, WORD_7_EDX, WORD_XCR0 = 8, WORD_XSS = 11, WORD_KVM, WORD_80000001_EDX = 14 };

/** struct feature_set - what there is of each word */
struct feature_set {
	uint32_t words[FEATURE_WORDS];
};

/** struct feature_bit - one feature's place */
struct feature_bit {
	unsigned int word, bit;
};

/** feature_find() - by name, in which '-', '_' and '.' make no difference; false: there is none */
bool feature_find(const char *name, size_t length, struct feature_bit *bit);
static inline bool feature_has(const struct feature_set *set, struct feature_bit bit)
{
	return set->words[bit.word] >> bit.bit & 1;
}

/** feature_append() - ", name" of a bit behind @text; one without a name is said by its place */
void feature_append(char *text, size_t size, struct feature_bit bit);
/** feature_append_all() - the same with all of @set; returns how many */
unsigned int feature_append_all(char *text, size_t size, const struct feature_set *set);

/** features_read() - those that @cpuid has; features_write() - makes it have these, where it has the leaf */
void features_read(const struct kvm_cpuid2 *cpuid, struct feature_set *set);
void features_write(struct kvm_cpuid2 *cpuid, const struct feature_set *set);

#endif
