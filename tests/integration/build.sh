#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The build itself: the same bytes wherever it is built, what `make dist` packs builds again, `make install`
# installs, a static build runs, and the stripped program is small.
#
# usage: tests/integration/build.sh     exit 0: passed, 1: failed, 77: no git checkout
set -u
cd "$(dirname "$0")/../.." || exit 1
git rev-parse --git-dir > /dev/null 2>&1 || { echo "SKIP build: not a git checkout"; exit 77; }

dir=$(mktemp -d /tmp/lkvm-build.XXXXXX)
trap 'rm -rf "$dir"' EXIT
build=build/$(uname -m | sed 's/aarch64/arm64/')
failed=0

# verdict NAME WHY: WHY empty when all is well
verdict()
{
	if [ -z "$2" ]; then
		echo "ok   build/$1"
	else
		echo "FAIL build/$1: $2"
		tail -5 "$dir/log" | sed 's/^/     | /'
		failed=1
	fi
}

# What is committed, so that a change that isn't doesn't come in by half.
mkdir "$dir/one"
git archive HEAD | tar -x -C "$dir/one"
make -s -j"$(nproc)" -C "$dir/one" > "$dir/log" 2>&1 || verdict one "expected it to build"

strip -o "$dir/stripped" "$dir/one/$build/lkvm"
size=$(stat -c %s "$dir/stripped")
verdict small "$([ "$size" -lt 1048576 ] || echo "expected less than 1 MiB stripped, seen $size bytes")"

make -s -C "$dir/one" install DESTDIR="$dir/root" PREFIX=/usr > "$dir/log" 2>&1
missing=
for file in usr/bin/lkvm usr/share/man/man1/{lkvm,lkvm-run,lkvm-disk-create}.1; do
	[ -s "$dir/root/$file" ] || [ -s "$dir/root/$file.gz" ] || missing="$missing $file"
done
verdict install "${missing:+expected$missing, seen $(cd "$dir/root" 2>/dev/null && find . -type f | tr '\n' ' ')}"

make -s -j"$(nproc)" -C "$dir/one" STATIC=1 > "$dir/log" 2>&1
why=$("$dir/one/$build-static/lkvm" version 2>&1) && why=
! ldd "$dir/one/$build-static/lkvm" 2> /dev/null | grep -q 'libc\.so' || why="expected no shared library"
verdict static "$why"

make -s dist > "$dir/log" 2>&1
tarball=$(find . -maxdepth 2 -name 'lkvm-*.tar.*' -newer "$dir/stripped" | head -1)
why="expected a tarball"
if [ -n "$tarball" ]; then
	cp "$tarball" "$dir/first.tar"
	sleep 1.1
	make -s dist > "$dir/log" 2>&1
	why=$(cmp "$tarball" "$dir/first.tar" 2>&1)
	mkdir -p "$dir/unpacked/deeper/there" && tar -x -f "$tarball" -C "$dir/unpacked/deeper/there" --strip-components=1
	make -s -j"$(nproc)" -C "$dir/unpacked/deeper/there" > "$dir/log" 2>&1 || why="${why:-expected what it holds to build}"
	rm -f "$tarball"
	rmdir "$(dirname "$tarball")" 2> /dev/null
fi
verdict dist "$why"
# Deeper, and under another name.
verdict reproducible "$(cmp "$dir/one/$build/lkvm" "$dir/unpacked/deeper/there/$build/lkvm" 2>&1)"

exit "$failed"
