# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
#
# What the harness's scripts share: where the cache is, how to speak, how to get Debian packages of either
# architecture without touching the user's own dpkg, and how to pack an initramfs. Sourced, never run.

# The cache must be found without $HOME too: CI and systemd units often have none.
if [ -n "${HOME-}" ]; then
	lkvm_cache=${LKVM_CACHE:-$HOME/.cache/lkvm}
else
	lkvm_cache=${LKVM_CACHE:-/var/tmp/lkvm-cache}
fi
mkdir -p "$lkvm_cache"
lkvm_cache=$(readlink -f "$lkvm_cache")

say()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# Scripts whose exit status carries meaning of its own set fail_status.
fail()
{
	say "$@"
	exit "${fail_status:-1}"
}

need()
{
	local tool
	for tool; do
		PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null ||
			fail "'$tool' is missing (run: scripts/deps test)"
	done
}

# Takes the cache's lock NAME until the script ends, so that two runs don't build one thing twice.
cache_lock()
{
	exec {cache_lock_fd}>"$lkvm_cache/.lock-$1"
	flock "$cache_lock_fd"
}

cache_unlock()
{
	exec {cache_lock_fd}>&-
}

debian_arch()
{
	case $1 in
	x86_64) echo amd64 ;;
	arm64|aarch64) echo arm64 ;;
	*) fail "architecture '$1' is not x86_64 or arm64" ;;
	esac
}

host_arch()
{
	case $(uname -m) in
	x86_64) echo x86_64 ;;
	aarch64) echo arm64 ;;
	*) uname -m ;;
	esac
}

# private_apt DEBARCH COMMAND ARGS: apt-get or apt-cache with lists and a dpkg status of its own, so that
# packages of any architecture can be resolved and downloaded by anyone, with the system's own signed sources.
private_apt()
{
	local arch=$1 tool=$2 dir=$lkvm_cache/apt/$1
	shift 2
	"$tool" -o APT::Architecture="$arch" -o APT::Architectures="$arch" \
		-o Dir::State="$dir/state" -o Dir::State::status="$dir/status" \
		-o Dir::Cache="$dir/cache" -o Dir::Etc::sourcelist="$dir/sources.list" \
		-o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferences=/dev/null \
		-o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none \
		-o Acquire::Retries=3 -qq "$@"
}

private_apt_update()
{
	local arch=$1 dir=$lkvm_cache/apt/$1 signed=
	mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial"
	: >"$dir/status"
	[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] &&
		signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] '
	# Debian's own archive only: a vendor's repository seldom has the other architecture.
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' \
		'Origin: Debian' | sort -u | sed "s|^|deb $signed|" >"$dir/sources.list"
	[ -s "$dir/sources.list" ] ||
		fail "apt knows no Debian archive yet (run: apt-get update, or scripts/deps test)"
	private_apt "$arch" apt-get update || fail "apt-get update for $arch failed"
}

# package_unpack DEBARCH DIRECTORY PACKAGE...: downloads (apt checks the archive's signature and the hashes)
# and unpacks into DIRECTORY without installing.
package_unpack()
{
	local arch=$1 into=$2 tmp deb
	shift 2
	[ -s "$lkvm_cache/apt/$arch/sources.list" ] || private_apt_update "$arch"
	tmp=$(mktemp -d "$lkvm_cache/download.XXXXXX")
	# Lists kept from an earlier day may name versions that the archive has dropped since.
	(cd "$tmp" && private_apt "$arch" apt-get download "$@") ||
		{ private_apt_update "$arch" && (cd "$tmp" && private_apt "$arch" apt-get download "$@"); } ||
		{ rm -rf "$tmp"; fail "can't download $* for $arch"; }
	mkdir -p "$into"
	for deb in "$tmp"/*.deb; do
		dpkg -x "$deb" "$into" || { rm -rf "$tmp"; fail "can't unpack ${deb##*/}"; }
	done
	rm -rf "$tmp"
}

# modules_copy MODULES INTO NAME...: copies the named modules of the tree MODULES (…/lib/modules/RELEASE) with
# all that they depend on into INTO/lib/modules/RELEASE, uncompressed, with their own modules.dep. Built-in
# ones are left out; with a leading '-' a module may be missing, as it is from some of Debian's flavours.
modules_copy()
{
	local tree into release file
	tree=$(readlink -f "$1") into=$2
	release=${tree##*/}
	shift 2
	mkdir -p "$into/lib/modules/$release"
	printf '%s\n' "$@" | awk -v tree="$tree" '
		function name(path) {
			sub(".*/", "", path); sub("[.]ko.*", "", path); gsub("-", "_", path); return path
		}
		BEGIN {
			while ((getline line <(tree "/modules.builtin")) > 0)
				builtin[name(line)] = 1
			while ((getline line <(tree "/modules.dep")) > 0) {
				split(line, part, ":"); deps[name(part[1])] = part[1] part[2]
			}
		}
		{
			optional = sub("^-", ""); wanted = name($0)
			if (wanted in deps) {
				count = split(deps[wanted], file, " ")
				for (i = 1; i <= count; i++)
					if (!seen[file[i]]++)
						print file[i]
			} else if (!(wanted in builtin) && !optional) {
				print "no module " $0 " in " tree >"/dev/stderr"; exit 1
			}
		}' >"$into/modules.list" || return 1
	while read -r file; do
		mkdir -p "$into/lib/modules/$release/${file%/*}"
		cp "$tree/$file" "$into/lib/modules/$release/$file"
		case $file in
		*.xz) xz -d "$into/lib/modules/$release/$file" ;;
		*.zst) zstd -q -d --rm "$into/lib/modules/$release/$file" ;;
		*.gz) gzip -d "$into/lib/modules/$release/$file" ;;
		esac
	done <"$into/modules.list"
	rm "$into/modules.list"
	cp "$tree"/modules.builtin* "$tree/modules.order" "$into/lib/modules/$release/"
	PATH=$PATH:/usr/sbin:/sbin depmod -b "$into" "$release"
}

# cpio_pack DIRECTORY: the folder as an initramfs on stdout, owned by root and the same bytes for the same files.
cpio_pack()
{
	(cd "$1" && find . -exec touch -h -d @0 {} + && find . | LC_ALL=C sort |
		cpio --quiet --reproducible -o -H newc -R 0:0)
}

# busybox_install ARCH INTO: the static busybox with a link for each applet. Both architectures have the same
# version and so the same applets: the one that runs here is asked for the list.
busybox_install()
{
	local applet
	mkdir -p "$2/bin" "$2/dev" "$2/proc" "$2/sys" "$2/tmp" "$2/run" "$2/root" "$2/etc"
	cp -L "$lkvm_cache/kernels/$1/busybox" "$2/bin/busybox"
	for applet in $("$lkvm_cache/kernels/$(host_arch)/busybox" --list); do
		[ "$applet" = busybox ] || ln -s busybox "$2/bin/$applet"
	done
	ln -s bin "$2/sbin"
	mkdir -p "$2/usr"
	ln -s ../bin "$2/usr/bin"
	ln -s ../bin "$2/usr/sbin"
	echo root:x:0:0:root:/root:/bin/sh >"$2/etc/passwd"
	echo root:x:0: >"$2/etc/group"
}
