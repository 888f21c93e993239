/* SPDX-License-Identifier: BSD-2-Clause */
/* guest/decode.c and guest/decode-symbols.c: a made-up log, and a little ELF file that the test compiles. */
#include "tests/unit/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/decode.h"
#include "kvm/log.h"

static char folder[] = "/tmp/lkvm-test-decode.XXXXXX";
static struct symbols *symbols;
static char said[512];

/* Linked where kernels are. The volatile accesses keep the lines apart. */
static const char source[] =
	"volatile int place;\n"				/* 1 */
	"static inline __attribute__((always_inline)) void inner(int *p)\n"
	"{\n"
	"	*p = 5;\n"				/* 4 */
	"}\n"
	"static inline __attribute__((always_inline)) void middle(int *p)\n"
	"{\n"
	"	inner(p);\n"				/* 8 */
	"}\n"
	"__attribute__((noinline)) void crash(int *p)\n"
	"{\n"
	"	middle(p);\n"				/* 12 */
	"}\n"
	"__attribute__((noinline)) void caller(int *p)\n"
	"{\n"
	"	crash(p);\n"				/* 16 */
	"	place = 1;\n"
	"}\n"
	"void _start(void)\n"
	"{\n"
	"	caller(0);\n"
	"	for (;;) place = 2;\n"
	"}\n";

static void remember(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static void setup(void)
{
	FILE *file;

	memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	file = fopen("tiny.c", "w");
	ck_assert_ptr_nonnull(file);
	fputs(source, file);
	fclose(file);
	ck_assert_int_eq(system("cc -g -O1 -fno-pie -no-pie -nostdlib -static -fcf-protection=none -Wl,-Ttext=0x40100000,--build-id=none "
				"tiny.c -o vmlinux 2>cc.log || gcc -g -O1 -fno-pie -no-pie -nostdlib -static tiny.c -o vmlinux"), 0);
	log_set_sink(remember);
	said[0] = '\0';
	ck_assert_int_eq(symbols_open(&symbols, "vmlinux", true), 0);
}

static void teardown(void)
{
	char command[64];

	symbols_close(symbols);
	symbols = NULL;
	log_set_sink(NULL);
	ck_assert_int_eq(chdir("/"), 0);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

static char *decoded(const char *text)
{
	char *out = NULL;
	size_t length;
	FILE *file = open_memstream(&out, &length);

	decode_text(symbols, text, file);
	fclose(file);
	return out;
}

static void expect(const char *text, const char *expected)
{
	char *out = decoded(text);

	ck_assert_msg(strstr(out, expected), "expected '%s', seen '%s'", expected, out);
	free(out);
}

START_TEST(what_was_inlined_is_told_from_the_inside)
{
	expect("[    1.0] RIP: 0010:crash+0x0/0x10\n", "RIP: 0010:crash+0x0/0x10 (inner at ");
	expect("[    1.0] RIP: 0010:crash+0x0/0x10\n",
	       "tiny.c:4, inlined into middle at ");
	expect("[    1.0] RIP: 0010:crash+0x0/0x10\n", "tiny.c:8, inlined into crash at ");
	expect("[    1.0] RIP: 0010:crash+0x0/0x10\n", "tiny.c:12)\n");
}
END_TEST

/* The call's return address is the first instruction of line 17. */
START_TEST(a_return_address_is_that_of_the_call)
{
	char line[64];
	bool seen = false;

	for (unsigned int offset = 1; offset < 32; offset++) {
		char *exact, *stack;

		snprintf(line, sizeof(line), "pc : caller+0x%x/0x20", offset);
		exact = decoded(line);
		snprintf(line, sizeof(line), " caller+0x%x/0x20", offset);
		stack = decoded(line);
		seen |= strstr(exact, "tiny.c:17") && strstr(stack, "tiny.c:16");
		free(exact);
		free(stack);
	}
	ck_assert(seen);
}
END_TEST

START_TEST(an_address_is_taken_back_by_the_kernels_offset)
{
	uint64_t address;
	char text[256];

	ck_assert(symbols_find(symbols, "crash", 16, &address));
	/* this file is linked low: the offset leads from the kernel's half down there */
	snprintf(text, sizeof(text), "RIP: 0010:0x%llx\nRAX: %llx\nKernel Offset: 0x%llx from 0xffffffff81000000\n",
		 0xffffffff90000000ULL, 0xffffffff90000000ULL, 0xffffffff90000000ULL - (unsigned long long)address);
	expect(text, "RIP: 0010:0xffffffff90000000 (inner at ");
	expect(text, "\nRAX: ffffffff90000000\n");
}
END_TEST

static const char *const unchanged[] = {
	"no place at all\n", "no_such_function+0x1/0x2\n", " crash+0x1/0x2 [module]\n", "crash+1/2\n", "crash+0x1\n", "+0x1/0x2\n",
	"crash+0x/0x\n", "crash+0xfffffffffffffffff/0x1\n", "[<ffffffff81000000>]\n", "", "\n",
	"RIP: 0010:crash+0xffffffff/0x10\n",
};

START_TEST(what_is_not_known_stays_as_it_is)
{
	char *out = decoded(unchanged[_i]);

	ck_assert_str_eq(out, unchanged[_i]);
	free(out);
}
END_TEST

START_TEST(what_a_terminal_would_obey_is_left_out)
{
	char *out = decoded("a\033[2Jb\r\ncrash\001\n");

	ck_assert_str_eq(out, "a?[2Jb\ncrash?\n");
	free(out);
}
END_TEST

START_TEST(no_bytes_do_harm)
{
	static char text[70000];
	uint32_t seed = 7;

	for (int round = 0; round < 10; round++) {
		for (size_t i = 0; i < sizeof(text) - 1; i++) {
			seed = seed * 1664525 + 1013904223;
			text[i] = "crash+0x/f <[]\n\xff_"[seed >> 24 & 15];
		}
		free(decoded(text));
	}
}
END_TEST

START_TEST(a_file_that_is_no_vmlinux_is_named)
{
	struct symbols *none = NULL;

	ck_assert_int_lt(symbols_open(&none, "tiny.c", true), 0);
	ck_assert_ptr_nonnull(strstr(said, "'tiny.c'"));
	ck_assert_int_lt(symbols_open(&none, "nothing", true), 0);
	ck_assert_ptr_nonnull(strstr(said, "'nothing'"));
	said[0] = '\0';
	ck_assert_int_eq(symbols_open(&none, "nothing", false), -ENOEXEC);
	ck_assert_str_eq(said, "");
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "decode", setup, teardown);

	tcase_add_test(tests, what_was_inlined_is_told_from_the_inside);
	tcase_add_test(tests, a_return_address_is_that_of_the_call);
	tcase_add_test(tests, an_address_is_taken_back_by_the_kernels_offset);
	tcase_add_loop_test(tests, what_is_not_known_stays_as_it_is, 0, ARRAY_SIZE(unchanged));
	tcase_add_test(tests, what_a_terminal_would_obey_is_left_out);
	tcase_add_test(tests, no_bytes_do_harm);
	tcase_add_test(tests, a_file_that_is_no_vmlinux_is_named);
}

int main(void)
{
	if (system("cc --version > /dev/null 2>&1") != 0) {
		printf("SKIP decode: no compiler\n");
		return 0;
	}
	return suite_run("decode", add_tests);
}
