/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's calls, and what C needs of a library, for programs that run in a guest before there is a libc.
 *
 * Only calls that every architecture has are used, so the numbers of <asm/unistd.h> will do. Results are the
 * kernel's own: negative errno on failure.
 */
#ifndef GUEST_INIT_SYS_H
#define GUEST_INIT_SYS_H

#include <asm/unistd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- a call ---- */

static inline long sys6(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
#else
#error "this architecture's system call is not known"
#endif
}

#define SYS_PICK(_0, _1, _2, _3, _4, _5, _6, name, ...)	name
#define SYS_0(n)			sys6(n, 0, 0, 0, 0, 0, 0)
#define SYS_1(n, a)			sys6(n, (long)(a), 0, 0, 0, 0, 0)
#define SYS_2(n, a, b)			sys6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS_3(n, a, b, c)		sys6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS_4(n, a, b, c, d)		sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS_5(n, a, b, c, d, e)		sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYS_6(n, a, b, c, d, e, f)	sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/** sys() - sys(__NR_write, fd, bytes, length) */
#define sys(...)			SYS_PICK(__VA_ARGS__, SYS_6, SYS_5, SYS_4, SYS_3, SYS_2, SYS_1, SYS_0)(__VA_ARGS__)

#define AT_FDCWD	(-100)

static inline int sys_open(const char *path, int flags)
{
	return (int)sys(__NR_openat, AT_FDCWD, path, flags, 0);
}

static inline void sys_close(int fd)
{
	sys(__NR_close, fd);
}

static inline int sys_mkdir(const char *path)
{
	return (int)sys(__NR_mkdirat, AT_FDCWD, path, 0755);
}

static inline int sys_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
	return (int)sys(__NR_mount, source, target, type, flags, data);
}

static inline void sys_sleep_ms(long ms)
{
	const long time[2] = { ms / 1000, ms % 1000 * 1000000 };

	sys(__NR_nanosleep, time, NULL);
}

/* ---- C's own, which the compiler calls by name ---- */

void *memcpy(void *restrict to, const void *restrict from, size_t length);
void *memmove(void *to, const void *from, size_t length);
void *memset(void *to, int byte, size_t length);

size_t text_length(const char *text);
bool text_equal(const char *a, const char *b);
/** text_after() - what follows @prefix in @text; NULL if it begins otherwise */
const char *text_after(const char *text, const char *prefix);
/** text_number() - decimal digits from *@text on, which moves behind them and one blank */
uint64_t text_number(const char **text);

/** struct line - a short text that is put together; what doesn't fit is cut */
struct line {
	char text[4096];
	size_t length;
};
void line_add(struct line *line, const char *text);
void line_add_number(struct line *line, uint64_t number);

#endif
