/* SPDX-License-Identifier: BSD-2-Clause */
#include "x86/cpuid-cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/platform/x86.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kvm/io.h"
#include "x86/cpuid.h"

/* Raise it whenever lkvm asks KVM otherwise. */
#define CACHE_MAGIC	"lkvm cpuid 1"

/* The file: this, then the entries. Host byte order: no other host reads it. */
struct cache_header {
	char magic[16];
	struct cpuid_key key;
	uint32_t count;
	uint32_t reserved;
};

bool cpuid_key_read(struct cpuid_key *key)
{
	/* A host that moved to another CPU differs here already. The C library has asked: each CPUID may be a trap. */
	static const uint32_t leaves[ARRAY_SIZE(key->leaves)] = { CPUID_INDEX_1, CPUID_INDEX_7 };
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	struct stat st;

	memset(key, 0, sizeof(*key));
	if (fd < 0 || read(fd, key->boot_id, sizeof(key->boot_id) - 1) < 36 ||
	    stat("/sys/devices/virtual/misc/kvm", &st) < 0)
		return false;
	key->kvm = st.st_ino;
	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++) {
		const struct cpuid_feature *feature = __x86_get_cpuid_feature_leaf(leaves[i]);

		memcpy(key->leaves[i], feature->cpuid_array, sizeof(key->leaves[i]));
	}
	key->leaves[0][1] &= 0xffff;	/* leaf 1 EBX[31:16]: the APIC id and how many there are */
	return true;
}

/* Only what this user wrote, and nobody else could have written to. */
static bool cache_is_ours(int fd, size_t *size)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
		return false;
	*size = (size_t)st.st_size;
	return true;
}

struct kvm_cpuid2 *cpuid_cache_load(const char *path, const struct cpuid_key *key)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct cache_header header;
	struct kvm_cpuid2 *cpuid;
	struct iovec parts[2] = { { &header, sizeof(header) }, { 0 } };
	size_t size, length;

	if (fd < 0 || !cache_is_ours(fd, &size) || size <= sizeof(header))
		return NULL;
	length = size - sizeof(header);
	if (length % sizeof(cpuid->entries[0]) || length > CPUID_MAX * sizeof(cpuid->entries[0]))
		return NULL;
	cpuid = calloc(1, sizeof(*cpuid) + length);
	if (!cpuid)
		return NULL;
	cpuid->nent = (uint32_t)(length / sizeof(cpuid->entries[0]));
	parts[1] = (struct iovec){ cpuid->entries, length };
	if (readv(fd, parts, 2) == (ssize_t)size && strncmp(header.magic, CACHE_MAGIC, sizeof(header.magic)) == 0 &&
	    memcmp(&header.key, key, sizeof(*key)) == 0 && header.count == cpuid->nent)
		return cpuid;
	free(cpuid);
	return NULL;
}

static bool cache_write(int fd, const struct cpuid_key *key, const struct kvm_cpuid2 *cpuid)
{
	struct cache_header header = { .magic = CACHE_MAGIC, .key = *key, .count = cpuid->nent };

	return fd_write_at(fd, 0, &header, sizeof(header)) == 0 &&
	       fd_write_at(fd, sizeof(header), cpuid->entries, cpuid->nent * sizeof(cpuid->entries[0])) == 0;
}

void cpuid_cache_store(const char *path, const struct cpuid_key *key, const struct kvm_cpuid2 *cpuid)
{
	_cleanup_free_ char *temporary = NULL;
	_cleanup_close_ int fd = -1;

	if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
		temporary = NULL;
		return;
	}
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd >= 0 && (!cache_write(fd, key, cpuid) || rename(temporary, path) < 0))
		unlink(temporary);
}
