/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whole VMs on this host's KVM, hardware or software: the init lists with each callback failing, in shuffled
 * order, ten VMs at once, and the saved state of every device.
 */
#include "tests/unit/suite.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kvm/arch.h"
#include "kvm/device.h"
#include "kvm/dirty.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/ram-blocks.h"

static char folder[32], kernel[64], disk[64];

static void quiet(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

/* mov $0xfe, %al; out %al, $0x64; hlt: resets at once */
static const uint8_t payload[] = { 0xb0, 0xfe, 0xe6, 0x64, 0xf4 };

static void make_files(void)
{
	int fd;

	snprintf(folder, sizeof(folder), "/tmp/lkvm-test-vm.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(kernel, sizeof(kernel), "%s/kernel", folder);
	snprintf(disk, sizeof(disk), "%s/disk", folder);
	setenv("XDG_RUNTIME_DIR", folder, 1);
	fd = open(kernel, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, payload, sizeof(payload)), sizeof(payload));
	close(fd);
	fd = open(disk, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, MIB(1)), 0);
	close(fd);
}

static void remove_files(void)
{
	char path[96];

	unlink(disk);
	unlink(kernel);
	snprintf(path, sizeof(path), "%s/lkvm", folder);
	rmdir(path);
	rmdir(folder);
}

static struct config *make_config(const char *name)
{
	static const char *const settings[][2] = {
		{ "boot", "flat" }, { "mem", "16M,max=64M" }, { "cpus", "2" }, { "rng", "true" }, { "console", "virtio" },
		{ "balloon", "true" }, { "pvpanic", "true" }, { "watchdog", "reset" },
	};
	struct config *config;
	char option[80];

	ck_assert_int_eq(config_new(&config, run_options()), 0);
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		ck_assert_int_eq(config_set(config, settings[i][0], settings[i][1]), 0);
	ck_assert_int_eq(config_set(config, "kernel", kernel), 0);
	/* read-only, so that ten VMs may share it */
	snprintf(option, sizeof(option), "%s,ro", disk);
	ck_assert_int_eq(config_set(config, "disk", option), 0);
	ck_assert_int_eq(config_set(config, "name", name), 0);
	return config;
}

static unsigned int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int count = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* Mappings of devices, memfds and the like: the heap and its arenas may grow. */
static unsigned int count_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned int count = 0;
	char line[512];

	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof(line), maps))
		count += strstr(line, "memfd:") || strstr(line, "kvm-vcpu") || strstr(line, "[aio]") || strstr(line, "/aio");
	fclose(maps);
	return count;
}

/* ---- each callback fails in turn ---- */

struct names {
	const char *name[128];
	size_t count;
};

static void collect(const struct init_item *item, void *opaque)
{
	struct names *names = opaque;

	ck_assert_uint_lt(names->count, ARRAY_SIZE(names->name));
	names->name[names->count++] = item->name;
}

static int start_and_stop(const struct init_options *options)
{
	struct config *config = make_config("test-vm");
	struct kvm *kvm;
	int result;

	ck_assert_int_eq(kvm_create(&kvm, config), 0);
	result = kvm_init(kvm, options);
	if (!result)
		kvm_exit(kvm);
	kvm_free(kvm);
	config_free(config);
	return result;
}

START_TEST(each_callback_failing_leaks_nothing)
{
	struct names names = { .count = 0 };
	unsigned int fds, threads, mappings;

	ck_assert_int_eq(start_and_stop(NULL), 0);
	fds = count_entries("/proc/self/fd");
	threads = count_entries("/proc/self/task");
	mappings = count_mappings();
	init_for_each(collect, &names);
	ck_assert_uint_gt(names.count, 10);

	for (size_t i = 0; i < names.count; i++) {
		const struct init_options options = { .fail = names.name[i] };

		ck_assert_msg(start_and_stop(&options) == -ECANCELED, "%s: its failure is not kvm_init()'s", names.name[i]);
		ck_assert_msg(count_entries("/proc/self/fd") == fds, "%s failing leaks fds: %u, seen %u", names.name[i], fds,
			      count_entries("/proc/self/fd"));
		ck_assert_msg(count_entries("/proc/self/task") == threads, "%s failing leaks a thread", names.name[i]);
		ck_assert_msg(count_mappings() == mappings, "%s failing leaks a mapping", names.name[i]);
	}
}
END_TEST

START_TEST(any_order_inside_levels_boots)
{
	for (unsigned int seed = 1; seed <= 12; seed++) {
		const struct init_options options = { .shuffle = seed };
		struct config *config = make_config("test-vm");
		struct kvm *kvm;

		ck_assert_int_eq(kvm_create(&kvm, config), 0);
		ck_assert_msg(!kvm_init(kvm, &options), "seed %u: doesn't start", seed);
		ck_assert_msg(!kvm_run(kvm), "seed %u: doesn't run", seed);
		ck_assert_msg(atomic_load(&kvm->end) == KVM_END_REBOOT, "seed %u: expected %s, seen %s", seed,
			      kvm_end_name(KVM_END_REBOOT), kvm_end_name(atomic_load(&kvm->end)));
		kvm_exit(kvm);
		kvm_free(kvm);
		config_free(config);
	}
}
END_TEST

START_TEST(ten_vms_live_in_one_process)
{
	struct config *configs[10];
	struct kvm *vms[10];
	char name[32];

	for (unsigned int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "test-vm-%u", i);
		configs[i] = make_config(name);
		ck_assert_int_eq(kvm_create(&vms[i], configs[i]), 0);
		ck_assert_msg(!kvm_init(vms[i], NULL), "VM %u doesn't start", i);
	}
	for (unsigned int i = 0; i < 10; i++) {
		ck_assert_int_eq(kvm_run(vms[i]), 0);
		ck_assert_int_eq(atomic_load(&vms[i]->end), KVM_END_REBOOT);
	}
	for (unsigned int i = 0; i < 10; i++) {
		kvm_exit(vms[i]);
		kvm_free(vms[i]);
		config_free(configs[i]);
	}
}
END_TEST

/* ---- saved state ---- */

static struct config *state_config;
static struct kvm *state_vm;

static void state_set_up(void)
{
	state_config = make_config("test-vm");
	ck_assert_int_eq(kvm_create(&state_vm, state_config), 0);
	ck_assert_int_eq(kvm_init(state_vm, NULL), 0);
	ck_assert_int_eq(devices_quiesce(state_vm), 0);
}

static void state_tear_down(void)
{
	devices_resume(state_vm);
	kvm_exit(state_vm);
	kvm_free(state_vm);
	config_free(state_config);
}

/* A clock goes on between two saves: the elements of these fields (a name, a size, a count, then they) don't count. */
static void blank_clocks(struct state_writer *writer)
{
	static const char *const clocks[] = { "ticks", "looked_ns" };

	for (size_t i = 0; i < ARRAY_SIZE(clocks); i++) {
		size_t length = strlen(clocks[i]);
		uint8_t *at = memmem(writer->data, writer->length, clocks[i], length);

		if (at && range_contains(0, writer->length, (uint64_t)(at - writer->data), length + 5 + at[length]))
			memset(at + length + 5, 0, at[length]);
	}
}

static void check_device(struct device *device, void *opaque)
{
	struct state_writer first = { 0 }, second = { 0 };
	struct state_reader reader;
	unsigned int *count = opaque;

	if (!device->ops->save)
		return;
	ck_assert_msg(device->ops->load != NULL, "%s saves and doesn't load", device->name);
	device->ops->save(device, &first);
	ck_assert_msg(!first.error && first.length, "%s: saves nothing", device->name);
	reader = (struct state_reader){ first.data, first.length, 0 };
	ck_assert_msg(!device->ops->load(device, &reader), "%s: doesn't load what it saved", device->name);
	ck_assert_msg(reader.position == reader.length, "%s: loads %zu of %zu bytes", device->name, reader.position,
		      reader.length);
	device->ops->save(device, &second);
	blank_clocks(&first);
	blank_clocks(&second);
	ck_assert_msg(first.length == second.length && !memcmp(first.data, second.data, first.length),
		      "%s: saved, loaded and saved again is not the same", device->name);
	state_writer_free(&first);
	state_writer_free(&second);
	(*count)++;
}

START_TEST(each_device_saves_loads_and_saves_the_same)
{
	unsigned int count = 0;

	device_for_each(state_vm, check_device, &count);

	ck_assert_uint_ge(count, 7);
}
END_TEST

START_TEST(damaged_state_is_refused_or_harmless)
{
	struct state_writer good = { 0 }, after = { 0 };
	struct state_reader reader;
	uint8_t *damaged;
	uint32_t random = 12345;

	log_set_sink(quiet);
	devices_save(state_vm, &good);
	ck_assert_int_eq(good.error, 0);
	damaged = malloc(good.length);
	ck_assert_ptr_nonnull(damaged);
	for (int i = 0; i < 3000; i++) {
		int result;

		memcpy(damaged, good.data, good.length);
		random = random * 1664525 + 1013904223;
		damaged[(random >> 3) % good.length] ^= (uint8_t)(1 << (random & 7));
		/* every tenth is cut off instead */
		reader = (struct state_reader){ damaged, i % 10 ? good.length : random % good.length, 0 };
		result = devices_load(state_vm, &reader);
		ck_assert_int_le(result, 0);
	}
	reader = (struct state_reader){ good.data, good.length, 0 };
	ck_assert_int_eq(devices_load(state_vm, &reader), 0);
	devices_save(state_vm, &after);
	ck_assert_uint_eq(after.length, good.length);
	log_set_sink(NULL);
	free(damaged);
	state_writer_free(&good);
	state_writer_free(&after);
}
END_TEST

/* ---- RAM that grows ---- */

START_TEST(room_for_ram_lies_before_the_window_for_pci)
{
	const struct platform_layout *layout = arch_platform(state_vm);
	const struct ram_range *more = &state_vm->ram[state_vm->ram_count];

	ck_assert_uint_eq(kvm_boot_ram(state_vm), MIB(16));
	ck_assert_uint_eq(state_vm->ram[0].size, MIB(16));
	ck_assert_uint_eq(more->base, GIB(4));
	ck_assert_uint_eq(more->size, MIB(48));
	ck_assert_uint_eq(more->offset, MIB(16));
	ck_assert_uint_ge(layout->pci_mmio64_base, more->base + more->size);
	ck_assert_uint_eq(ram_block_count(state_vm), 24);
}
END_TEST

static bool is_written(unsigned long *pages, uint64_t offset)
{
	uint64_t page = offset / 4096;

	return pages[page / 64] >> (page % 64) & 1;
}

/* With KVM's slots, and its record of what is written: a block that went takes its record along, and all of it counts. */
START_TEST(blocks_come_and_go_in_kvm_while_writes_are_recorded)
{
	unsigned long *pages = calloc(dirty_words(state_vm), sizeof(*pages));
	const gpa_t third = gpa(GIB(4) + MIB(4));

	ck_assert_ptr_nonnull(pages);
	ck_assert_int_eq(ram_blocks_plug(state_vm, 0, 24), 0);
	ck_assert_int_eq(dirty_start(state_vm), 0);
	ck_assert_int_eq(ram_blocks_unplug(state_vm, 2, 5), 0);
	ck_assert_int_lt(memory_write(&state_vm->memory, third, "x", 1), 0);
	ck_assert_int_eq(dirty_collect(state_vm, pages), 0);
	memset(pages, 0, dirty_words(state_vm) * sizeof(*pages));
	ck_assert_int_eq(ram_blocks_plug(state_vm, 2, 1), 0);
	ck_assert_int_eq(memory_write(&state_vm->memory, third, "x", 1), 0);
	ck_assert_int_eq(dirty_collect(state_vm, pages), 0);
	ck_assert(is_written(pages, MIB(16) + MIB(4)));
	ck_assert(!is_written(pages, MIB(16) + MIB(4) + 4096));
	dirty_stop(state_vm);
	ck_assert_uint_eq(atomic_load(&state_vm->ram_plugged), 20 * MIB(2));
	free(pages);
}
END_TEST

static int make(const char *mem)
{
	struct config *config = make_config("test-vm");
	struct kvm *kvm;
	int result;

	ck_assert_int_eq(config_set(config, "mem", mem), 0);
	ck_assert_int_eq(kvm_create(&kvm, config), 0);
	result = kvm_make_ram(kvm);
	if (!result) {
		ck_assert_uint_le(ram_block_count(kvm), RAM_BLOCKS_MAX);
		ck_assert_uint_gt(ram_block_count(kvm), RAM_BLOCKS_MAX / 4);
		ck_assert_uint_eq(kvm_boot_ram(kvm), MIB(16));
		kvm_free_ram(kvm);
	}
	kvm_free(kvm);
	config_free(config);
	return result;
}

START_TEST(sizes_to_grow_to_are_checked)
{
	static const char *const bad[] = { "16M,max=16M", "16M,max=15M", "15M,max=32M", "16M,max=33M", "16M,max=0", "16M,max=65T", "16M,max=16383P" };
	/* ThreadSanitizer's own map leaves no room for terabytes */
	static const char *const good[] = { "16M,max=2G", "16M,max=4G",
#ifndef __SANITIZE_THREAD__
					    "16M,max=1T", "16M,max=64T",
#endif
	};

	log_set_sink(quiet);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(make(bad[i]) == -EUSAGE, "%s is taken", bad[i]);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		ck_assert_msg(make(good[i]) == 0, "%s is refused", good[i]);
	log_set_sink(NULL);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *lists = suite_case(suite, "lists", NULL, NULL);
	TCase *state = suite_case(suite, "state", state_set_up, state_tear_down);

	tcase_add_unchecked_fixture(lists, make_files, remove_files);
	tcase_add_test(lists, each_callback_failing_leaks_nothing);
	tcase_add_test(lists, any_order_inside_levels_boots);
	tcase_add_test(lists, ten_vms_live_in_one_process);
	tcase_add_unchecked_fixture(state, make_files, remove_files);
	tcase_add_test(state, each_device_saves_loads_and_saves_the_same);
	tcase_add_test(state, damaged_state_is_refused_or_harmless);
	tcase_add_test(state, room_for_ram_lies_before_the_window_for_pci);
	tcase_add_test(state, blocks_come_and_go_in_kvm_while_writes_are_recorded);
	tcase_add_test(lists, sizes_to_grow_to_are_checked);
}
SUITE_MAIN_KVM("vm", add_tests)
