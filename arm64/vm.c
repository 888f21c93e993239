/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An arm64 VM: the size of its address space, where RAM and devices lie, the capabilities that must come
 * before the first vCPU. Called by core/vm.c on the main thread; constant afterwards.
 */
#include "arm64.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kvm/log.h"
#include "kvm/topology.h"

const char arch_name[] = "arm64";
const bool arch_has_nmi = false;
const bool arch_has_cpu_plug = false;
const char *const arch_kernel_names[] = { "Image", "Image.gz", "vmlinuz.efi", NULL };

static const char arm64_vm_key;

#define IPA_BITS_DEFAULT	40U	/* KVM's, where the host can't say */
#define PCI_MMIO64_SIZE		GIB(64)
#define PCI_MMIO64_MIN		GIB(1)

struct arm64_vm *arm64_vm(const struct kvm *kvm)
{
	return kvm_get_state(kvm, &arm64_vm_key);
}

/* ---- the map ---- */

static const struct platform_layout fixed_layout = {
	.mmio_base = ARM64_VIRTIO_MMIO_BASE,
	.mmio_size = ARM64_VIRTIO_MMIO_SIZE,
	.pci_ecam_base = ARM64_PCI_ECAM_BASE,
	.pci_ecam_size = ARM64_PCI_ECAM_SIZE,
	.pci_mmio32_base = ARM64_PCI_MMIO_BASE,
	.pci_mmio32_size = ARM64_PCI_MMIO_SIZE,
	.pmem_base = GIB(256),
	.pmem_size = GIB(256),
	/* Ports below 4 KiB are what drivers take for legacy devices. */
	.pci_io_base = 0x1000,
	.pci_io_size = 0xf000,
	.pci_io_window = ARM64_PCI_IO_WINDOW,
	.pci_intx_gsi = { ARM64_SPI_PCI, ARM64_SPI_PCI + 1, ARM64_SPI_PCI + 2, ARM64_SPI_PCI + 3 },
};

const struct platform_layout *arch_platform(const struct kvm *kvm)
{
	const struct arm64_vm *vm = arm64_vm(kvm);

	/* Before arch_vm_init() all is known but the window behind RAM. */
	return vm ? &vm->layout : &fixed_layout;
}

static unsigned int address_bits(uint64_t last)
{
	return last ? 64 - (unsigned int)__builtin_clzll(last) : 0;
}

static unsigned int ipa_bits_max(const struct kvm *kvm)
{
	int bits = ioctl(kvm->dev_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);

	return bits > 0 ? (unsigned int)bits : IPA_BITS_DEFAULT;
}

/* --mem SIZE@ADDRESS */
static uint64_t ram_base(const struct kvm *kvm)
{
	uint64_t base;

	return config_address(kvm->config, "mem", &base) ? base : ARM64_RAM_BASE;
}

/* RAM that may be plugged: where the largest of Linux's own memory blocks may begin. */
static uint64_t more_ram_base(const struct kvm *kvm)
{
	return ALIGN_UP(ram_base(kvm) + kvm_boot_ram(kvm), MAX(GIB(1), kvm->ram_block));
}

static bool ram_end(const struct kvm *kvm, uint64_t *end)
{
	uint64_t room;

	/* what is lost to alignment is less than one more of it */
	if (__builtin_add_overflow(ram_base(kvm), kvm->ram_size + GIB(1) + kvm->ram_block, &room))
		return false;
	*end = kvm->ram_more ? more_ram_base(kvm) + kvm->ram_more : ram_base(kvm) + kvm->ram_size;
	return true;
}

/*
 * ipa_bits_choose() - the smallest space that holds RAM and a 64-bit PCI window, not less than KVM's own
 * default where the host has that much: more would cost a level of page tables, less would buy nothing
 */
static int ipa_bits_choose(const struct kvm *kvm, unsigned int *bits)
{
	unsigned int max = ipa_bits_max(kvm);
	uint64_t end, window_end;
	unsigned int wanted;

	if (!ram_end(kvm, &end) || address_bits(end - 1) > max)
		return log_error(EINVAL,
				 "option --mem: %llu MiB of RAM from %llu MiB on need more than the "
				 "%u address bits that this host gives a guest",
				 (unsigned long long)(kvm->ram_size >> 20),
				 (unsigned long long)(ram_base(kvm) >> 20), max);
	window_end = ALIGN_UP(end, GIB(1)) + PCI_MMIO64_SIZE;
	wanted = MAX(address_bits(window_end - 1), IPA_BITS_DEFAULT);
	*bits = MIN(wanted, max);
	return 0;
}

int arch_vm_type(struct kvm *kvm, unsigned long *type)
{
	uint64_t base = ram_base(kvm);
	unsigned int bits;
	int error;

	if (base < ARM64_RAM_BASE || base % MIB(2))
		return log_error(EUSAGE, "option --mem: RAM can't begin at 0x%llx (a multiple of 2M from 2G on)",
				 (unsigned long long)base);
	error = ipa_bits_choose(kvm, &bits);
	if (error < 0)
		return error;
	/* 0 is 40 bits as well, and all that old kernels take. */
	*type = bits == IPA_BITS_DEFAULT ? 0 : KVM_VM_TYPE_ARM_IPA_SIZE(bits);
	return 0;
}

static int layout_choose(const struct kvm *kvm, struct platform_layout *layout)
{
	unsigned int bits;
	int error = ipa_bits_choose(kvm, &bits);
	uint64_t base;

	if (error < 0 || !ram_end(kvm, &base))
		return error;
	base = ALIGN_UP(base, GIB(1));
	*layout = fixed_layout;
	layout->pmem_base = layout->pmem_size = 0;
	/* A 32-bit guest can't reach it. */
	if (config_flag(kvm->config, "aarch32"))
		return 0;
	base = MAX(base, GIB(4));
	if (base + PCI_MMIO64_MIN > BIT(bits))
		return 0;
	layout->pci_mmio64_base = base;
	layout->pci_mmio64_size = MIN(PCI_MMIO64_SIZE, BIT(bits) - base);
	if (!config_count(kvm->config, "pmem"))
		return 0;
	/* such memory has the upper half of the window */
	layout->pci_mmio64_size /= 2;
	layout->pmem_base = base + layout->pci_mmio64_size;
	layout->pmem_size = layout->pci_mmio64_size;
	return 0;
}

int arch_ram_layout(struct kvm *kvm)
{
	uint64_t end;

	if (config_flag(kvm->config, "aarch32") && (!ram_end(kvm, &end) || end > GIB(4)))
		return log_error(EINVAL, "option --mem: a 32-bit guest's RAM ends at 4 GiB");
	kvm->ram[0] = (struct ram_range){ .base = ram_base(kvm), .size = kvm_boot_ram(kvm) };
	kvm->ram_count = 1;
	if (kvm->ram_more)
		kvm->ram[1] = (struct ram_range){ .base = more_ram_base(kvm), .size = kvm->ram_more, .offset = kvm_boot_ram(kvm) };
	return 0;
}

/* ---- memory tagging ---- */

/*
 * mte_tags_shared_memory() - whether this KVM takes tagged memory that is mapped shared
 *
 * Linux before 6.2 refuses such a memory slot once tagging is on, and it can't be turned off again; RAM is a
 * shared memfd. So a VM that is thrown away tries it.
 */
static bool mte_tags_shared_memory(const struct kvm *kvm)
{
	size_t page = sysconf(_SC_PAGESIZE);
	struct kvm_enable_cap mte = { .cap = KVM_CAP_ARM_MTE };
	struct kvm_userspace_memory_region slot = { .memory_size = page };
	_cleanup_close_ int memory = memfd_create("lkvm-mte", MFD_CLOEXEC);
	_cleanup_close_ int vm = ioctl(kvm->dev_fd, KVM_CREATE_VM, 0UL);
	void *host;
	bool taken;

	if (vm < 0 || memory < 0 || ftruncate(memory, (off_t)page) < 0)
		return false;
	host = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (host == MAP_FAILED)
		return false;
	slot.userspace_addr = (uintptr_t)host;
	taken = ioctl(vm, KVM_ENABLE_CAP, &mte) == 0 &&
		ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0;
	munmap(host, page);
	return taken;
}

static void mte_enable(const struct kvm *kvm, struct arm64_vm *vm)
{
	struct kvm_enable_cap mte = { .cap = KVM_CAP_ARM_MTE };

	if (config_flag(kvm->config, "disable-mte") || config_flag(kvm->config, "aarch32") ||
	    kvm_check_extension(kvm, KVM_CAP_ARM_MTE) <= 0)
		return;
	if (!mte_tags_shared_memory(kvm)) {
		log_debug("no memory tagging: this host's KVM can't tag shared memory");
		return;
	}
	if (ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &mte) < 0)
		log_debug("no memory tagging: KVM: %s", strerrordesc_np(errno));
	else
		vm->mte = true;
}

/* ---- stolen time ---- */

/* Arm DEN0057: a structure of 64 bytes a vCPU in memory that the guest finds by a hypercall. */
static int pvtime_create(struct kvm *kvm, struct arm64_vm *vm)
{
	void *memory;
	int error;

	if (!config_flag(kvm->config, "pvtime") ||
	    kvm_check_extension(kvm, KVM_CAP_STEAL_TIME) <= 0)
		return 0;
	memory = mmap(NULL, ARM64_PVTIME_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	if (memory == MAP_FAILED)
		return log_errno(errno, "stolen time");
	region_init_ram(&vm->pvtime_region, "pvtime", memory, ARM64_PVTIME_SIZE, -1, 0);
	error = region_add(&kvm->memory, &vm->pvtime_region, ARM64_PVTIME_BASE, 1);
	if (error < 0) {
		munmap(memory, ARM64_PVTIME_SIZE);
		return error;
	}
	vm->pvtime = memory;
	return 0;
}

static void pvtime_destroy(struct arm64_vm *vm)
{
	if (!vm->pvtime)
		return;
	region_del(&vm->pvtime_region);
	munmap(vm->pvtime, ARM64_PVTIME_SIZE);
	vm->pvtime = NULL;
}

/* ---- life ---- */

/* The device tree's binding has none, and Linux takes clusters of clusters for one another. */
static int topology_check(const struct kvm *kvm)
{
	struct cpu_topology topology;
	int error = cpu_topology_parse(kvm->config, &topology);

	if (error == 0 && topology.dies > 1)
		return log_error(EUSAGE, "option --cpus: an arm64 guest has no dies (say clusters=%u)",
				 topology.dies * topology.clusters);
	return error;
}

int arch_vm_init(struct kvm *kvm)
{
	struct kvm_enable_cap nisv = { .cap = KVM_CAP_ARM_NISV_TO_USER };
	struct arm64_vm *vm = calloc(1, sizeof(*vm));
	uint64_t cpus = config_uint(kvm->config, "cpus");
	int error;

	if (!vm)
		return log_errno(ENOMEM, "VM");
	error = layout_choose(kvm, &vm->layout);
	if (error == 0)
		error = kvm_set_state(kvm, &arm64_vm_key, vm);
	if (error < 0) {
		free(vm);
		return error;
	}
	/* From here on arch_vm_exit() cleans up. */
	if (cpus > kvm->cpu_max)
		return log_error(EINVAL,
				 "option --cpus: %llu, but this host's KVM allows at most %u",
				 (unsigned long long)cpus, kvm->cpu_max);
	error = topology_check(kvm);
	if (error < 0)
		return error;
	mte_enable(kvm, vm);
	if (kvm_check_extension(kvm, KVM_CAP_ARM_INJECT_EXT_DABT) <= 0 ||
	    ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &nisv) < 0)
		log_debug("accesses without a syndrome will end the VM: this host's KVM is too "
			  "old to hand them out");
	error = gic_create(kvm, &vm->gic, cpus ? (unsigned int)cpus : 1);
	if (error < 0)
		return error;
	return pvtime_create(kvm, vm);
}

void arch_vm_exit(struct kvm *kvm)
{
	struct arm64_vm *vm = arm64_vm(kvm);

	if (!vm)
		return;
	pvtime_destroy(vm);
	gic_destroy(&vm->gic);
	if (kvm_set_state(kvm, &arm64_vm_key, NULL) == 0)
		free(vm);
}

int arch_vm_reset(struct kvm *kvm)
{
	struct arm64_vm *vm = arm64_vm(kvm);

	/* The timers are the vCPUs', and go with them. */
	return gic_reset(kvm, &vm->gic);
}
