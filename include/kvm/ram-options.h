/* SPDX-License-Identifier: BSD-2-Clause */
/* What --mem says of the host's memory behind the guest's: --mem SIZE,prealloc,hugepages=2M|1G,thp=on|off,ksm=on,max=SIZE. */
#ifndef KVM_RAM_OPTIONS_H
#define KVM_RAM_OPTIONS_H

#include "kvm/option.h"

struct ram_options {
	bool prealloc;		/* all of it is there before the guest runs */
	bool thp;		/* transparent huge pages, where the host allows them */
	bool ksm;		/* pages that are equal may be one */
	uint64_t huge_page;	/* bytes of a page of the host's pools, or 0 */
	uint64_t max;		/* what it may grow to while the guest runs, or 0 */
};

/** ram_options_parse() - 0 or -EUSAGE (said) */
int __must_check ram_options_parse(const struct config *config, struct ram_options *options);

/** ram_is_hugetlb() - whether memory is of the host's pools of huge pages, by --hugetlbfs or hugepages= */
bool ram_is_hugetlb(const struct config *config);

#endif
