# SPDX-License-Identifier: BSD-2-Clause
#
# A man page for each command, out of lkvm.1: lkvm-run.1, lkvm-disk-create.1, ... in the folder `dir`.
#
# What lkvm itself says of a command stands under COMMANDS, as "lkvm NAME". Sections that belong to a page say so in a comment
# behind their title, `.\" pages: run gdb`; "disk" is all members of that family. A section brings its subsections.

function title_of(line)
{
	sub(/^\.S[hs] /, "", line)
	return line
}

# Whether section i is for the command: one of its pages is the command's name, or the name's first word.
function belongs(i, name,	words, n, first)
{
	first = name
	sub(/ .*/, "", first)
	n = split(pages[i], words, " ")
	for (; n; n--)
		if (words[n] == name || words[n] == first)
			return 1
	return 0
}

# A line as it reads in another page: lkvm is called by its name, and what is not in this page is in lkvm(1).
function put(line,	target, mark, before)
{
	if (line ~ /^\.Nm($| [^l])/)
		sub(/^\.Nm/, ".Nm lkvm", line)
	if (!match(line, /Sx .*$/) || line ~ /^\.\\"/) {
		print line > out
		return
	}
	before = substr(line, 1, RSTART - 1)
	target = substr(line, RSTART + 3)
	mark = ""
	if (match(target, / [.,;:]$/)) {
		mark = substr(target, RSTART)
		target = substr(target, 1, RSTART - 1)
	}
	if (target in here)
		print line > out
	else if (before == ".")
		print ".Dq " target "\nin\n.Xr lkvm 1" mark > out
	else
		print before target " in Xr lkvm 1" mark > out
}

function put_section(i,	n)
{
	for (n = begin[i]; n < end[i]; n++)
		put(lines[n])
}

# Of those that are for the command: level 2 goes into DESCRIPTION, level 1 behind it.
function put_sections(name, wanted,	i, until)
{
	for (i = 1; i <= sections; i++) {
		if (begin[i] < until || !belongs(i, name))
			continue
		if (level[i] == 1)
			until = end[i]
		if (level[i] == wanted)
			put_section(i)
	}
}

# The titles that the page has.
function know(name,	i, n, line)
{
	delete here
	for (i = 1; i <= sections; i++) {
		if (!belongs(i, name))
			continue
		for (n = begin[i]; n < end[i]; n++)
			if (lines[n] ~ /^\.S[hs] /)
				here[title_of(lines[n])] = 1
	}
}

function put_options(n, last,	line)
{
	if (n >= last)
		return
	print ".Sh OPTIONS" > out
	for (; n < last; n++) {
		line = lines[n]
		if (line == ".Pp" && lines[n + 1] ~ /^\.Em /)
			continue
		if (line ~ /^\.Em /) {
			if (line == ".Em Options")
				continue
			sub(/^\.Em/, ".Ss", line)
		}
		print line > out
	}
}

function put_page(i,	name, file, n, what)
{
	name = title[i]
	sub(/^lkvm /, "", name)
	file = name
	gsub(/ /, "-", file)
	out = dir "/lkvm-" file ".1"
	know(name)
	for (n = begin[i]; lines[n] != ".Pp"; n++)
		;
	what = lines[n + 1]
	sub(/\.$/, "", what)
	print ".\\\" SPDX-License-Identifier: BSD-2-Clause\n" date "\n.Dt LKVM-" toupper(file) " 1\n.Os\n.Sh NAME" > out
	print ".Nm lkvm-" file "\n.Nd " tolower(substr(what, 1, 1)) substr(what, 2) "\n.Sh SYNOPSIS" > out
	for (n = begin[i] + 1; lines[n] != ".Pp"; n++)
		print lines[n] > out
	print ".Sh DESCRIPTION\n" lines[n + 1] > out
	put_sections(name, 2)
	put_options(n + 2, end[i])
	put_sections(name, 1)
	if (!("EXIT STATUS" in here))
		print ".Sh EXIT STATUS\nSee\n.Xr lkvm 1 ." > out
	print ".Sh SEE ALSO\n.Xr lkvm 1" > out
	close(out)
}

{ lines[NR] = $0 }

/^\.Dd / { date = $0 }

/^\.S[hs] / {
	kind = /^\.Sh/ ? 1 : 2
	# a subsection ends where any begins, a section where the next one does
	for (i = sections; i && !end[i] && level[i] >= kind; i--)
		end[i] = NR
	if (kind == 1)
		for (i = sections; i; i--)
			if (!end[i])
				end[i] = NR
	level[++sections] = kind
	begin[sections] = NR
	title[sections] = title_of($0)
}

/^\.\\" pages: / { pages[sections] = substr($0, index($0, ":") + 2) }

END {
	for (i = 1; i <= sections; i++)
		if (!end[i])
			end[i] = NR + 1
	for (i = 1; i <= sections; i++)
		if (title[i] ~ /^lkvm /)
			put_page(i)
}
