/* SPDX-License-Identifier: BSD-2-Clause */
/* core/file-memory.c and kvm-cpu.c: a guest that touches memory whose file somebody has cut short, on this host's KVM. */
#include "tests/unit/suite.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm/file-memory.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/memory.h"
#include "kvm/rcu.h"

#define BASE	0x80000ULL
#define SIZE	0x4000ULL

/*
 * mov $0x8000, %ax; mov %ax, %ds
 * again: mov 0x2000, %al; test %al, %al; jnz again
 * mov $0xfe, %al; out %al, $0x64; hlt: resets, which ends the VM
 */
static const uint8_t payload[] = { 0xb8, 0x00, 0x80, 0x8e, 0xd8, 0xa0, 0x00, 0x20, 0x84, 0xc0, 0x75, 0xf9, 0xb0, 0xfe, 0xe6, 0x64, 0xf4 };

static char kernel[64];

static void quiet(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

static struct config *make_config(void)
{
	struct config *config;

	ck_assert_int_eq(config_new(&config, run_options()), 0);
	ck_assert_int_eq(config_set(config, "boot", "flat"), 0);
	ck_assert_int_eq(config_set(config, "mem", "16M"), 0);
	ck_assert_int_eq(config_set(config, "kernel", kernel), 0);
	ck_assert_int_eq(config_set(config, "on-reboot", "exit"), 0);
	return config;
}

static void *cut_soon(void *opaque)
{
	usleep(300000);
	ck_assert_int_eq(ftruncate(*(int *)opaque, 0x1000), 0);
	return NULL;
}

START_TEST(a_guest_reads_zeroes_where_its_file_was_cut)
{
	struct file_memory memory = { .size = SIZE, .fd = memfd_create("test", MFD_CLOEXEC), .event = -1 };
	struct config *config = make_config();
	struct region region;
	pthread_t cutter;
	struct kvm *kvm;

	ck_assert_int_eq(ftruncate(memory.fd, SIZE), 0);
	memory.host = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd, 0);
	ck_assert_ptr_ne(memory.host, MAP_FAILED);
	memset(memory.host, 1, SIZE);
	ck_assert_int_eq(kvm_create(&kvm, config), 0);
	ck_assert_int_eq(kvm_init(kvm, NULL), 0);
	region_init_ram(&region, "test", memory.host, SIZE, memory.fd, 0);
	ck_assert_int_eq(region_add(&kvm->memory, &region, BASE, 1), 0);
	file_memory_watch(&memory);
	ck_assert_int_eq(pthread_create(&cutter, NULL, cut_soon, &memory.fd), 0);

	ck_assert_int_eq(kvm_run(kvm), 0);

	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_REBOOT);
	ck_assert_uint_eq(file_memory_kept(&memory), 0x1000);
	pthread_join(cutter, NULL);
	region_del(&region);
	rcu_synchronize();
	kvm_exit(kvm);
	file_memory_unwatch(&memory);
	kvm_free(kvm);
	config_free(config);
	munmap(memory.host, SIZE);
	close(memory.fd);
}
END_TEST

static void setup(void)
{
	int fd;

	log_set_sink(quiet);
	strcpy(kernel, "/tmp/lkvm-test-cut-XXXXXX");
	fd = mkstemp(kernel);
	ck_assert_int_eq(write(fd, payload, sizeof(payload)), sizeof(payload));
	close(fd);
}

static void teardown(void)
{
	unlink(kernel);
	log_set_sink(NULL);
}

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "cut", setup, teardown);

	tcase_add_test(tests, a_guest_reads_zeroes_where_its_file_was_cut);
}

int main(void)
{
	if (access("/dev/kvm", R_OK | W_OK)) {
		printf("SKIP file-memory: no /dev/kvm\n");
		return 0;
	}
	return suite_run("file-memory", add_tests);
}
