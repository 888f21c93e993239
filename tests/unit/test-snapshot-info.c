/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests state/snapshot-info.c: which options a snapshot brings along, and what it refuses to go on with. */
#include "state/snapshot-info.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "kvm/arch.h"
#include "tests/unit/suite.h"

static struct config *config;
static char said[1024];

static void keep(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static void setup(void)
{
	ck_assert_int_eq(config_new(&config, run_options()), 0);
	log_set_sink(keep);
	said[0] = '\0';
}

static void teardown(void)
{
	log_set_sink(NULL);
	config_free(config);
}

static int apply(json_t *options)
{
	json_t *info = json_pack("{s:s,s:o}", "machine", arch_name, "options", options);
	int result = snapshot_apply(info, "file", config);

	json_decref(info);
	return result;
}

START_TEST(machine_is_made_by_the_recorded_options)
{
	ck_assert_int_eq(apply(json_pack("{s:s,s:s,s:s,s:[s,s]}", "mem", "268435456B", "rng", "true", "console", "virtio",
					 "disk", "/one,ro", "/two")), 0);
	ck_assert_uint_eq(config_uint(config, "mem"), MIB(256));
	ck_assert(config_flag(config, "rng"));
	ck_assert_uint_eq(config_count(config, "disk"), 2);
	ck_assert_str_eq(config_item(config, "disk", 1), "/two");
}
END_TEST

START_TEST(what_may_differ_is_the_users)
{
	ck_assert_int_eq(config_set(config, "name", "mine"), 0);
	ck_assert_int_eq(config_set(config, "disk", "/elsewhere"), 0);
	ck_assert_int_eq(apply(json_pack("{s:[s],s:[s]}", "disk", "/recorded", "network", "mode=user")), 0);
	ck_assert_uint_eq(config_count(config, "disk"), 1);
	ck_assert_str_eq(config_item(config, "disk", 0), "/elsewhere");
	ck_assert_str_eq(config_item(config, "network", 0), "mode=user");
}
END_TEST

START_TEST(options_of_the_machine_are_refused_beside_it)
{
	ck_assert_int_eq(config_set(config, "mem", "1G"), 0);
	ck_assert_int_eq(apply(json_pack("{s:s}", "mem", "268435456B")), -EUSAGE);
	ck_assert_msg(strstr(said, "--mem") != NULL, "seen: %s", said);
}
END_TEST

START_TEST(hostile_options_are_refused)
{
	static const char *const options[] = {
		"{\"no-such-option\": \"1\"}", "{\"mem\": \"many\"}", "{\"mem\": 5}", "{\"mem\": null}", "{\"disk\": [7]}",
		"{\"mem\": {}}", "{\"cpus\": \"0\"}", "{\"cpus\": \"99999999999999999999\"}", "{\"rng\": \"perhaps\"}",
		"{\"restore\": \"/other\"}", "{\"dev\": \"/dev/mem\"}", "{\"name\": \"x\"}", "{\"\": \"x\"}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		ck_assert_msg(apply(json_loads(options[i], 0, NULL)) < 0, "%s is taken", options[i]);
	/* none at all is a machine of defaults, which its state will not fit */
	ck_assert_int_eq(apply(json_string("x")), 0);
}
END_TEST

START_TEST(other_machines_are_named)
{
	json_t *info = json_pack("{s:s}", "machine", "s390x");

	ck_assert_int_eq(snapshot_apply(info, "file", config), -ENOTSUP);
	ck_assert_msg(strstr(said, "s390x") != NULL, "seen: %s", said);
	json_decref(info);
}
END_TEST

/* One disk of one file, which was last written to at @changed_ns. */
static int check_disk(const char *path, int64_t changed_ns, bool ends, int64_t time_ns)
{
	json_t *info = json_pack("{s:b,s:I,s:[{s:[{s:s,s:I,s:b}]}]}", "ends", ends, "time-ns", (json_int_t)time_ns, "disks", "files",
				 "path", path, "changed-ns", (json_int_t)changed_ns, "writable", 1);
	int result = snapshot_check_disks(info, "file");

	ck_assert_ptr_nonnull(info);
	json_decref(info);
	return result;
}

START_TEST(disk_that_changed_is_refused_by_name)
{
	const int64_t second = 1000000000;
	char path[] = "/tmp/lkvm-disk.XXXXXX";
	struct stat status;
	int64_t now;

	close(mkostemp(path, O_CLOEXEC));
	ck_assert_int_eq(stat(path, &status), 0);
	now = status.st_mtim.tv_sec * second + status.st_mtim.tv_nsec;
	ck_assert_int_eq(check_disk(path, now, false, now), 0);
	ck_assert_int_eq(check_disk(path, now - 1, false, now), -ESTALE);
	ck_assert_msg(strstr(said, path) != NULL, "seen: %s", said);
	/* the VM that was ended by it closes its images behind it, and not for ever */
	ck_assert_int_eq(check_disk(path, now - second, true, now - second), 0);
	ck_assert_int_eq(check_disk(path, now - 60 * second, true, now - 60 * second), -ESTALE);
	ck_assert_int_eq(check_disk(path, now + second, true, now), -ESTALE);
	ck_assert_int_eq(check_disk(path, now - second, true, INT64_MAX), 0);
	unlink(path);
	ck_assert_int_eq(check_disk(path, now, false, now), -ENOENT);
	ck_assert_int_lt(check_disk("relative", now, false, now), 0);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "options and disks", setup, teardown);

	tcase_add_test(tests, machine_is_made_by_the_recorded_options);
	tcase_add_test(tests, what_may_differ_is_the_users);
	tcase_add_test(tests, options_of_the_machine_are_refused_beside_it);
	tcase_add_test(tests, hostile_options_are_refused);
	tcase_add_test(tests, other_machines_are_named);
	tcase_add_test(tests, disk_that_changed_is_refused_by_name);
}
SUITE_MAIN("snapshot-info", add_tests)
