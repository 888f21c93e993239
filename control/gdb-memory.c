/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory by virtual addresses, as the guest's own page tables say at this moment: page by page, and through
 * the checked accessors. Breakpoints in it are not seen, and what is written over one is kept behind it.
 */
#include <string.h>

#include "gdb-internal.h"

#define PAGE	4096	/* nobody's pages are smaller */

static size_t page_part(uint64_t address, size_t length)
{
	return MIN(length, (size_t)(PAGE - address % PAGE));
}

size_t gdb_memory_read(struct gdb *gdb, struct kvm_cpu *cpu, uint64_t address, void *data, size_t length)
{
	uint8_t *to = data;
	size_t done = 0;

	while (done < length) {
		size_t part = page_part(address + done, length - done);
		uint64_t physical;

		if (arch_gdb_translate(cpu, address + done, &physical) < 0 ||
		    memory_read(&gdb->kvm->memory, gpa(physical), to + done, part) < 0)
			break;
		gdb_points_hide(gdb, physical, to + done, part);
		done += part;
	}
	return done;
}

static bool is_writable(struct gdb *gdb, struct kvm_cpu *cpu, uint64_t address, size_t length)
{
	for (size_t done = 0, part; done < length; done += part) {
		struct iovec segments[2];
		uint64_t physical;

		part = page_part(address + done, length - done);
		if (arch_gdb_translate(cpu, address + done, &physical) < 0 ||
		    memory_iov(&gdb->kvm->memory, gpa(physical), part, true, segments, ARRAY_SIZE(segments)) < 0)
			return false;
	}
	return true;
}

int gdb_memory_write(struct gdb *gdb, struct kvm_cpu *cpu, uint64_t address, void *data, size_t length)
{
	uint8_t *from = data;

	if (!is_writable(gdb, cpu, address, length))
		return -EFAULT;
	for (size_t done = 0, part; done < length; done += part) {
		uint64_t physical;

		part = page_part(address + done, length - done);
		if (arch_gdb_translate(cpu, address + done, &physical) < 0)
			return -EFAULT;
		gdb_points_show(gdb, physical, from + done, part);
		if (memory_write(&gdb->kvm->memory, gpa(physical), from + done, part) < 0)
			return -EFAULT;
		arch_gdb_code_changed(gdb->kvm, physical, part);
	}
	return 0;
}
