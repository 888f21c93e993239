/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SRAT and SLIT (ACPI 6.5, 5.2.16 and 5.2.17): which vCPUs and which RAM are which node's, and how far apart those are.
 *
 * A proximity domain has its node's number. Main thread, once.
 */
#include "x86/acpi-numa.h"

#include "kvm/numa.h"
#include "kvm/x86.h"

#define SRAT_ENABLED	1
#define SRAT_HOT_PLUGGABLE	2

static void srat_processor(struct aml *out, uint32_t apic_id, uint32_t node)
{
	if (apic_id < 255) {
		/* a node's number has one byte of four that matters */
		const uint8_t head[4] = { 0, 16, (uint8_t)node, (uint8_t)apic_id };
		const le32 rest[3] = { le32_of(SRAT_ENABLED), le32_of(0), le32_of(0) };

		aml_bytes(out, head, sizeof(head));
		aml_bytes(out, rest, sizeof(rest));
	} else {
		const uint8_t head[4] = { 2, 24 };
		const le32 rest[5] = { le32_of(node), le32_of(apic_id), le32_of(SRAT_ENABLED), le32_of(0), le32_of(0) };

		aml_bytes(out, head, sizeof(head));
		aml_bytes(out, rest, sizeof(rest));
	}
}

struct srat_memory {
	uint8_t type, length;
	le32 node;
	le16 reserved0;
	le64 base, size;
	le32 reserved1, flags;
	le64 reserved2;
} __packed;
_Static_assert(sizeof(struct srat_memory) == 40, "ACPI 6.5, 5.2.16.2");

static void srat_memory(struct aml *out, uint64_t base, uint64_t size, uint32_t node, uint32_t flags)
{
	const struct srat_memory entry = {
		.type = 1, .length = sizeof(entry), .node = le32_of(node), .base = le64_of(base), .size = le64_of(size),
		.flags = le32_of(SRAT_ENABLED | flags),
	};

	aml_bytes(out, &entry, sizeof(entry));
}

void acpi_build_srat(const struct kvm *kvm, struct aml *out)
{
	const struct numa *numa = kvm->numa;
	const le32 head[3] = { le32_of(1), le32_of(0), le32_of(0) };
	uint64_t base, size;

	aml_bytes(out, head, sizeof(head));
	for (unsigned int i = 0; i < kvm_cpus_possible(kvm); i++)
		srat_processor(out, x86_apic_id(kvm, i), numa->cpu_node[i]);
	for (unsigned int i = 0; i < numa->count; i++)
		for (unsigned int n = 0; n < kvm->ram_count; n++)
			if (numa_part(&numa->nodes[i], &kvm->ram[n], &base, &size))
				srat_memory(out, base, size, i, 0);
	/* RAM that may come is nowhere else: kernels must know how far addresses go, and whose it will be */
	if (kvm->ram_more)
		srat_memory(out, kvm->ram[kvm->ram_count].base, kvm->ram_more, numa->count - 1, SRAT_HOT_PLUGGABLE);
}

void acpi_build_slit(const struct kvm *kvm, struct aml *out)
{
	const le64 count = le64_of(kvm->numa->count);

	aml_bytes(out, &count, sizeof(count));
	for (unsigned int i = 0; i < kvm->numa->count; i++)
		aml_bytes(out, kvm->numa->distance[i], kvm->numa->count);
}
