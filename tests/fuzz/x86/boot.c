/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernels of x86 under fuzz: bzImage, ELF, PVH, flat and 16-bit ones are recognized, checked, and loaded into RAM.
 *
 * The input: a byte that says by which protocol (0: by what it looks like) and whether there is an initrd, and the file.
 */
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>

#include "kvm/boot.h"
#include "tests/unit/board.h"

#define RAM_SIZE	MIB(128)

static const char *const protocols[] = { NULL, "linux64", "elf64", "pvh", "flat", "bios16" };
static void *ram;
static struct region ram_region;

static void boot_begin(const struct fuzz_target *target)
{
	(void)target;
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	FUZZ_CHECK(ram != MAP_FAILED);
}

static void try_boot(struct kvm *kvm)
{
	struct board_pick pick = { .name = "boot_init" };
	struct init_done done = { 0 };

	init_for_each(board_pick_item, &pick);
	FUZZ_CHECK(pick.item);
	if (pick.item->init(kvm))
		return;
	done.items = malloc(sizeof(*done.items));
	FUZZ_CHECK(done.items && kvm->firmware);
	done.items[done.count++] = pick.item;
	(void)!kvm->firmware->load(kvm);
	init_unwind(kvm, &done);
	kvm->firmware = NULL;
}

static void boot_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	struct fuzz_input input = { data, length };
	uint8_t how = fuzz_u8(&input);
	const char *protocol = protocols[how % 8 % ARRAY_SIZE(protocols)];
	struct kvm *kvm = board_create();

	(void)target;
	if (how & 8)
		FUZZ_CHECK(!config_set(kvm->config, "initrd", fuzz_write_file("initrd", "an initrd", 9)));
	FUZZ_CHECK(!config_set(kvm->config, "kernel", fuzz_write_file("kernel", input.at, input.left)));
	if (protocol)
		FUZZ_CHECK(!config_set(kvm->config, "boot", protocol));
	region_init_ram(&ram_region, "ram", ram, RAM_SIZE, -1, 0);
	FUZZ_CHECK(!region_add(&kvm->memory, &ram_region, 0, 0));
	kvm->ram_host = ram;
	try_boot(kvm);
	region_del(&ram_region);
	rcu_synchronize();
	kvm->ram_host = NULL;
	/* as it was: zeroes, which nobody keeps */
	FUZZ_CHECK(!madvise(ram, RAM_SIZE, MADV_DONTNEED));
	board_destroy(kvm);
}
FUZZ_TARGET(boot, .name = "boot", .begin = boot_begin, .one = boot_one);
