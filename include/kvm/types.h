/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Types and small helpers that every file of lkvm may use: guest addresses and little-endian integers that
 * can't be mixed up with host values, scope-bound clean-up, overflow-free bounds.
 */
#ifndef KVM_TYPES_H
#define KVM_TYPES_H

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

/** gpa_t - a guest physical address (arm64: an IPA). Never a host pointer, never added to one. */
typedef struct { uint64_t value; } gpa_t;

static inline gpa_t gpa(uint64_t value)
{
	return (gpa_t){ value };
}

/** gpa_add() - @offset bytes further on; wraps as the hardware does, so check ranges with range_contains() */
static inline gpa_t gpa_add(gpa_t base, uint64_t offset)
{
	return (gpa_t){ base.value + offset };
}

/* Little-endian integers as they lie in guest memory, in tables and in files. */
typedef struct { uint16_t raw; } le16;
typedef struct { uint32_t raw; } le32;
typedef struct { uint64_t raw; } le64;

static inline uint16_t le16_get(le16 v) { return le16toh(v.raw); }
static inline uint32_t le32_get(le32 v) { return le32toh(v.raw); }
static inline uint64_t le64_get(le64 v) { return le64toh(v.raw); }
static inline le16 le16_of(uint16_t v) { return (le16){ htole16(v) }; }
static inline le32 le32_of(uint32_t v) { return (le32){ htole32(v) }; }
static inline le64 le64_of(uint64_t v) { return (le64){ htole64(v) }; }

/* Big-endian ones, of headers that are. */
typedef struct { uint32_t raw; } be32;
typedef struct { uint64_t raw; } be64;

static inline uint32_t be32_get(be32 v) { return be32toh(v.raw); }
static inline uint64_t be64_get(be64 v) { return be64toh(v.raw); }
static inline be32 be32_of(uint32_t v) { return (be32){ htobe32(v) }; }
static inline be64 be64_of(uint64_t v) { return (be64){ htobe64(v) }; }

/** be32_load(), be64_load(), be32_store(), be64_store() - at any address */
static inline uint32_t be32_load(const void *from)
{
	uint32_t raw;

	__builtin_memcpy(&raw, from, sizeof(raw));
	return be32toh(raw);
}

static inline uint64_t be64_load(const void *from)
{
	uint64_t raw;

	__builtin_memcpy(&raw, from, sizeof(raw));
	return be64toh(raw);
}

static inline void be32_store(void *to, uint32_t v)
{
	uint32_t raw = htobe32(v);

	__builtin_memcpy(to, &raw, sizeof(raw));
}

static inline void be64_store(void *to, uint64_t v)
{
	uint64_t raw = htobe64(v);

	__builtin_memcpy(to, &raw, sizeof(raw));
}

/** range_contains() - whether [@at, @at + @length) lies inside [@base, @base + @size), without overflow */
static inline bool range_contains(uint64_t base, uint64_t size, uint64_t at, uint64_t length)
{
	return at >= base && length <= size && at - base <= size - length;
}

/** ranges_overlap() - whether two non-empty ranges share a byte; both must not wrap */
static inline bool ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a <= b ? b - a < a_size : a - b < b_size;
}

#define __must_check		__attribute__((warn_unused_result))
#define printf_like(f, a)	__attribute__((format(printf, f, a)))
#define __packed		__attribute__((packed))

/*
 * A list that constructors fill, and the functions that they fill it by: beside the items and the constructors, whose
 * pages a start touches anyway. Each page more costs it 3 us.
 */
#define REGISTRY		__attribute__((section(".data")))
#define REGISTERS		__attribute__((section(".text.startup")))

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define BIT(n)		(1ULL << (n))
#define KIB(n)		((uint64_t)(n) << 10)
#define MIB(n)		((uint64_t)(n) << 20)
#define GIB(n)		((uint64_t)(n) << 30)

#define ALIGN_DOWN(v, a)	((v) & ~((__typeof__(v))(a) - 1))
#define ALIGN_UP(v, a)		ALIGN_DOWN((v) + ((__typeof__(v))(a) - 1), (a))
#define IS_POWER_OF_2(v)	((v) && !((v) & ((v) - 1)))

#define MIN(a, b) ({ __typeof__(a) min_a_ = (a); __typeof__(b) min_b_ = (b); \
		     min_a_ < min_b_ ? min_a_ : min_b_; })
#define MAX(a, b) ({ __typeof__(a) max_a_ = (a); __typeof__(b) max_b_ = (b); \
		     max_a_ > max_b_ ? max_a_ : max_b_; })

#define container_of(pointer, type, member) \
	((type *)((char *)(pointer) - offsetof(type, member)))

static inline void cleanup_close_(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline void cleanup_free_(void *pointer)
{
	int saved = errno;

	free(*(void **)pointer);
	errno = saved;
}

/** _cleanup_close_, _cleanup_free_ - released when the variable goes out of scope; start as -1 or NULL */
#define _cleanup_close_	__attribute__((cleanup(cleanup_close_)))
#define _cleanup_free_	__attribute__((cleanup(cleanup_free_)))

/** take_fd() - hands an fd out of a _cleanup_close_ variable */
static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/** take_pointer() - hands an allocation out of a _cleanup_free_ variable */
#define take_pointer(p) ({ __typeof__(*(p)) taken_ = *(p); *(p) = NULL; taken_; })

#endif
