/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Places in a vmlinux, by elfutils' libdw. It is loaded when there is something to decode, which few VMs live to see.
 */
#include <dlfcn.h>
#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <string.h>

#include "guest/decode.h"
#include "kvm/library.h"
#include "kvm/log.h"

#define LIBRARY_NAME	"libdw.so.1"
#define INLINED_MAX	16

/* Each by its name in the library. */
#define LIBDW_FUNCTIONS(each)										\
	each(dwfl_begin) each(dwfl_end) each(dwfl_report_offline) each(dwfl_report_end)			\
	each(dwfl_offline_section_address) each(dwfl_module_getsymtab) each(dwfl_module_getsym_info)	\
	each(dwfl_module_addrdie) each(dwarf_getscopes) each(dwarf_getscopes_die) each(dwarf_getsrc_die)	\
	each(dwarf_linesrc) each(dwarf_lineno) each(dwarf_diename) each(dwarf_tag) each(dwarf_attr)		\
	each(dwarf_formudata) each(dwarf_getsrcfiles) each(dwarf_filesrc) each(dwfl_errno) each(dwfl_errmsg)

struct libdw {
#define MEMBER(function) __typeof__(function) *function;
	LIBDW_FUNCTIONS(MEMBER)
#undef MEMBER
};

struct symbols {
	struct libdw dw;
	Dwfl_Callbacks callbacks;
	Dwfl *dwfl;
	Dwfl_Module *module;
	int count;		/* of its symbols */
};

static int load(struct libdw *dw)
{
	const struct library_function functions[] = {
#define ROW(function) { (void **)&dw->function, #function },
		LIBDW_FUNCTIONS(ROW)
#undef ROW
	};

	if (library_load(LIBRARY_NAME, functions, ARRAY_SIZE(functions), NULL))
		return log_error(ENOENT, "a panic can't be decoded: " LIBRARY_NAME " can't be loaded: %s (install libdw1)", dlerror());
	return 0;
}

/* What isn't in vmlinux isn't looked for, least of all on the network. */
static int find_no_debuginfo(Dwfl_Module *module, void **data, const char *name, Dwarf_Addr base, const char *file,
			     const char *link, GElf_Word crc, char **found)
{
	(void)module, (void)data, (void)name, (void)base, (void)file, (void)link, (void)crc, (void)found;
	return -1;
}

static int open_file(struct symbols *symbols, const char *vmlinux, bool say)
{
	struct libdw *dw = &symbols->dw;
	int result = load(dw);

	if (result)
		return result;
	symbols->callbacks = (Dwfl_Callbacks){
		.find_debuginfo = find_no_debuginfo, .section_address = dw->dwfl_offline_section_address };
	symbols->dwfl = dw->dwfl_begin(&symbols->callbacks);
	if (!symbols->dwfl)
		return log_errno(ENOMEM, "a panic can't be decoded");
	symbols->module = dw->dwfl_report_offline(symbols->dwfl, "vmlinux", vmlinux, -1);
	dw->dwfl_report_end(symbols->dwfl, NULL, NULL);
	if (symbols->module)
		symbols->count = dw->dwfl_module_getsymtab(symbols->module);
	if (symbols->module && symbols->count >= 0)
		return 0;
	if (say)
		return log_error(ENOEXEC, "a panic can't be decoded: '%s': %s", vmlinux, dw->dwfl_errmsg(dw->dwfl_errno()));
	return -ENOEXEC;
}

int symbols_open(struct symbols **out, const char *vmlinux, bool say)
{
	struct symbols *symbols = calloc(1, sizeof(*symbols));
	int result;

	if (!symbols)
		return log_errno(ENOMEM, "a panic can't be decoded");
	result = open_file(symbols, vmlinux, say);
	if (result) {
		symbols_close(symbols);
		return result;
	}
	*out = symbols;
	return 0;
}

void symbols_close(struct symbols *symbols)
{
	if (symbols && symbols->dwfl)
		symbols->dw.dwfl_end(symbols->dwfl);
	free(symbols);
}

bool symbols_find(struct symbols *symbols, const char *name, uint64_t size, uint64_t *address)
{
	uint64_t nearest = UINT64_MAX, distance;

	for (int i = 0; i < symbols->count; i++) {
		GElf_Addr value;
		GElf_Sym symbol;
		GElf_Word section;
		const char *found = symbols->dw.dwfl_module_getsym_info(symbols->module, i, &symbol, &value, &section, NULL, NULL);

		if (!found || strcmp(found, name) != 0)
			continue;
		distance = symbol.st_size > size ? symbol.st_size - size : size - symbol.st_size;
		if (distance >= nearest)
			continue;
		nearest = distance;
		*address = value;
	}
	return nearest != UINT64_MAX;
}

/* ---- lines ---- */

/* Of a build: its own folder's name says nothing. */
static const char *short_path(const char *path)
{
	const char *inside = strstr(path, "/./");

	if (inside)
		return inside + 3;
	return strncmp(path, "./", 2) == 0 ? path + 2 : path;
}

static uint64_t die_number(const struct libdw *dw, Dwarf_Die *die, unsigned int name)
{
	Dwarf_Attribute attribute;
	Dwarf_Word number = 0;

	return dw->dwarf_attr(die, name, &attribute) && dw->dwarf_formudata(&attribute, &number) == 0 ? number : 0;
}

/* Where an inlined function was called; @file stays NULL if that isn't said. */
static void call_site(const struct libdw *dw, Dwarf_Die *unit, Dwarf_Die *inlined, const char **file, int *line)
{
	uint64_t index = die_number(dw, inlined, DW_AT_call_file);
	Dwarf_Files *files;
	size_t count;

	*file = NULL;
	*line = (int)die_number(dw, inlined, DW_AT_call_line);
	if (dw->dwarf_getsrcfiles(unit, &files, &count) == 0 && index < count)
		*file = dw->dwarf_filesrc(files, index, NULL, NULL);
}

/* "(helper at a.h:3, inlined into caller at b.c:4)", or just "(b.c:4)" */
static void print_scopes(const struct libdw *dw, Dwarf_Die *unit, Dwarf_Die *scopes, int count, const char *file, int line, FILE *out)
{
	bool inlined = false;

	fprintf(out, " (");
	for (int i = 0, depth = 0; i < count && file && depth < INLINED_MAX; i++) {
		int tag = dw->dwarf_tag(&scopes[i]);
		const char *name = dw->dwarf_diename(&scopes[i]);

		if (tag == DW_TAG_inlined_subroutine) {
			fprintf(out, "%s at %s:%d, inlined into ", name ? name : "?", short_path(file), line);
			call_site(dw, unit, &scopes[i], &file, &line);
			inlined = true;
			depth++;
		} else if (tag == DW_TAG_subprogram) {
			if (inlined)
				fprintf(out, "%s at ", name ? name : "?");
			break;
		}
	}
	fprintf(out, "%s:%d)", file ? short_path(file) : "?", line);
}

void symbols_print(struct symbols *symbols, uint64_t address, FILE *out)
{
	const struct libdw *dw = &symbols->dw;
	Dwarf_Addr bias;
	Dwarf_Die *unit = dw->dwfl_module_addrdie(symbols->module, address, &bias), *scopes = NULL, *whole = NULL, innermost;
	Dwarf_Line *source = unit ? dw->dwarf_getsrc_die(unit, address - bias) : NULL;
	const char *file = source ? dw->dwarf_linesrc(source, NULL, NULL) : NULL;
	int line = 0, count;

	if (!file || dw->dwarf_lineno(source, &line))
		return;
	/* The scopes of an address end with the innermost inlined function's own; all its callers are that one's scopes. */
	count = dw->dwarf_getscopes(unit, address - bias, &scopes);
	if (count > 0) {
		innermost = scopes[0];
		count = dw->dwarf_getscopes_die(&innermost, &whole);
	}
	print_scopes(dw, unit, whole, count, file, line, out);
	free(scopes);
	free(whole);
}
