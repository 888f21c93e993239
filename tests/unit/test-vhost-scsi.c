/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost/scsi.c: what -d scsi:WWPN takes and what it says; its rings are the kernel's. And which disk is the root. */
#include "tests/unit/board.h"

#include "kvm/disk.h"
#include "kvm/vhost-option.h"

static char said[512];

static void keep(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static void board_disks(struct kvm *kvm)
{
	struct board_pick pick = { .name = "disks_init" };

	init_for_each(board_pick_item, &pick);
	ck_assert_int_eq(pick.item->init(kvm), INIT_SKIP);
}

static void refused(const char *text, const char *because)
{
	struct board_pick pick = { .name = "vhost_scsi_init" };
	struct kvm *kvm;

	log_set_sink(keep);
	said[0] = 0;
	kvm = board_create();
	ck_assert_int_eq(config_set(kvm->config, "disk", text), 0);
	init_for_each(board_pick_item, &pick);
	ck_assert_ptr_nonnull(pick.item);
	/* it is no image's name */
	board_disks(kvm);
	ck_assert_int_lt(pick.item->init(kvm), 0);
	ck_assert_msg(strstr(said, because) != NULL, "%s: expected '%s' in '%s'", text, because, said);
	board_destroy(kvm);
	log_set_sink(NULL);
}

START_TEST(names_that_are_no_target_s_are_refused)
{
	static const char *const texts[] = {
		"scsi:", "scsi:disk.img", "scsi:naa.", "scsi:naa.5001405a11fe3f2", "scsi:naa.5001405a11fe3f2b0", "scsi:naa.5001405a11fe3f2g",
		"scsi:naa.../../../../../x", "scsi:iqn.2001-04.com.example",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		refused(texts[i], "names no target");
	refused("scsi:naa.5001405a11fe3f2b:65535", "is no portal group");
	refused("scsi:naa.5001405a11fe3f2b:x", "is no portal group");
}
END_TEST

START_TEST(a_host_without_it_is_told_what_is_missing)
{
	refused("scsi:naa.5001405a11fe3f2b", access("/dev/vhost-scsi", F_OK) ? "modprobe vhost_scsi" : "option --disk");
	refused("scsi:naa.5001405a11fe3f2b:3", "option --disk");
}
END_TEST

static const char *root_of(const char *first, const char *second)
{
	struct config *config;
	const char *root;

	ck_assert_int_eq(config_new(&config, run_options()), 0);
	ck_assert_int_eq(config_set(config, "disk", first), 0);
	if (second)
		ck_assert_int_eq(config_set(config, "disk", second), 0);
	root = disks_root(config);
	config_free(config);
	return root ? root : "none";
}

START_TEST(the_root_is_the_first_virtio_disk_or_else_the_first_of_scsi)
{
	ck_assert_str_eq(root_of("a", NULL), "root=/dev/vda rw");
	ck_assert_str_eq(root_of("a,if=scsi", "b"), "root=/dev/vda rw");
	ck_assert_str_eq(root_of("a,if=scsi", "b,cdrom"), "root=/dev/sda rw");
	ck_assert_str_eq(root_of("scsi:naa.5001405a11fe3f2b", "b,cdrom"), "root=/dev/sda rw");
	ck_assert_str_eq(root_of("vhost-user:/x", "a,if=scsi"), "root=/dev/vda rw");
	ck_assert_str_eq(root_of("b,cdrom", NULL), "none");
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "options", NULL, NULL);

	tcase_add_test(tests, names_that_are_no_target_s_are_refused);
	tcase_add_test(tests, a_host_without_it_is_told_what_is_missing);
	tcase_add_test(tests, the_root_is_the_first_virtio_disk_or_else_the_first_of_scsi);
}
SUITE_MAIN("vhost-scsi", add_tests)
