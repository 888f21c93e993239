/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The settings of --mem. Read when RAM is made; whoever only wants to know what kind it is asks the options again. Any
 * thread: options are constant.
 */
#include "kvm/ram-options.h"

#include <string.h>

#include "kvm/log.h"
#include "state/protect.h"

static int huge_page_parse(struct keyval *keyval, uint64_t *size)
{
	const char *text = keyval_get(keyval, "hugepages");

	if (!text || strcmp(text, "off") == 0)
		return 0;
	if (parse_size(text, 1, size) || (*size != MIB(2) && *size != GIB(1)))
		return log_error(EUSAGE, "option --mem: hugepages=%s: pages are of 2M or 1G", text);
	return 0;
}

static int max_parse(struct keyval *keyval, uint64_t *max)
{
	const char *text = keyval_get(keyval, "max");

	return text && (parse_size(text, MIB(1), max) || !*max) ? log_error(EUSAGE, "option --mem: max=%s is no size", text) : 0;
}

static int settings_parse(struct keyval *keyval, struct ram_options *options, bool *thp_said)
{
	int result = huge_page_parse(keyval, &options->huge_page);

	if (!result)
		result = keyval_bool(keyval, "mem", "prealloc", &options->prealloc);
	if (!result)
		result = keyval_bool(keyval, "mem", "ksm", &options->ksm);
	if (!result)
		result = max_parse(keyval, &options->max);
	*thp_said = keyval_get(keyval, "thp");
	if (!result)
		result = keyval_bool(keyval, "mem", "thp", &options->thp);
	return result ? result : keyval_done(keyval, "mem", "prealloc, hugepages, thp, ksm, max");
}

/* What excludes each other. */
static int options_check(const struct config *config, const struct ram_options *options, bool thp_said)
{
	bool hugetlbfs = config_given(config, "hugetlbfs");

	if (options->huge_page && hugetlbfs)
		return log_error(EUSAGE, "option --mem: hugepages= and --hugetlbfs say the same thing twice");
	if (!options->huge_page && !hugetlbfs)
		return options->ksm && memory_is_shared(config) ?
			log_error(EUSAGE, "option --mem: ksm=on: another process shares this VM's memory (vhost-user, passt)") : 0;
	if (options->max)
		return log_error(EUSAGE, "option --mem: max=: huge pages of the host's pools are taken once and for all");
	if (options->ksm)
		return log_error(EUSAGE, "option --mem: ksm=on: the host merges no pages of its pools of huge ones");
	if (thp_said && options->thp)
		return log_error(EUSAGE, "option --mem: thp=on: pages are huge already");
	return 0;
}

int ram_options_parse(const struct config *config, struct ram_options *options)
{
	const char *settings = config_string(config, "mem");
	struct keyval keyval;
	bool thp_said;
	int result;

	*options = (struct ram_options){ .thp = true };
	if (!settings)
		return 0;
	result = keyval_parse(&keyval, "mem", settings, false);
	if (result)
		return result;
	result = settings_parse(&keyval, options, &thp_said);
	keyval_free(&keyval);
	return result ? result : options_check(config, options, thp_said);
}

bool ram_is_hugetlb(const struct config *config)
{
	struct ram_options options;

	/* nonsense was refused when RAM was made */
	return config_given(config, "hugetlbfs") || (config_string(config, "mem") && !ram_options_parse(config, &options) && options.huge_page);
}
