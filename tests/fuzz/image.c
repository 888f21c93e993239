/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernels of arm64 under fuzz (arm64/image.c), on any host: Image, gzipped, as EFI zboot, zImage, flat; a byte in front says flat. */
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>

#include "arm64/image.h"
#include "tests/unit/board.h"

#define RAM_BASE	GIB(1)
#define RAM_SIZE	MIB(16)

static struct kvm *kvm;
static struct region ram_region;
static void *ram;

static void image_begin(const struct fuzz_target *target)
{
	(void)target;
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	FUZZ_CHECK(ram != MAP_FAILED);
	kvm = board_create();
	region_init_ram(&ram_region, "ram", ram, RAM_SIZE, -1, 0);
	FUZZ_CHECK(!region_add(&kvm->memory, &ram_region, RAM_BASE, 0));
}

static void image_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	struct fuzz_input input = { data, length };
	bool flat = fuzz_u8(&input) & 1;
	struct boot_file file = { .fd = -1 };
	struct image image;

	(void)target;
	if (boot_file_open(&file, "kernel", fuzz_write_file("kernel", input.at, input.left)))
		return;
	if (image_identify(&file, flat, &image) == 1)
		(void)!image_load(kvm, &file, &image, gpa(RAM_BASE + KIB(512)), RAM_SIZE - KIB(512));
	boot_file_close(&file);
}
FUZZ_TARGET(image, .name = "image", .begin = image_begin, .one = image_one);
