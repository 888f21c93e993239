# SPDX-License-Identifier: BSD-2-Clause
#
# The libraries of lkvm, a row each; they are looked for nowhere else. `make config` shows what was found.
#
# A new one is a row below and its package in scripts/deps. The fields:
#   kind      required: without it make ends with the name of the package. optional: see below. tests: unit tests only
#   name      what pkg-config calls it
#   header    finds it where pkg-config doesn't know it, which is how Debian has libaio and libfdt
#   flags     and link it in that case
#   package   Debian's
#   use       what needs it, in a few words (no comma)
#   sources   of an optional one: the files, tests included, that are built only with it; may be left out
# For an optional library that is there, libraries.h (of the build) defines HAVE_ and its name, libzstd's being
# HAVE_LIBZSTD. `make WITHOUT=libzstd` (or zstd) builds as on a host without it, WITHOUT=optional without all of them.

LIBRARIES	:=

# In a cross build nothing of the host's may be found; the sysroot is filled by scripts/deps.
ifneq ($(CROSS_COMPILE),)
PKG_CONFIG_ENV	:= PKG_CONFIG_SYSROOT_DIR=$(SYSROOT) \
		   PKG_CONFIG_LIBDIR=$(SYSROOT)/usr/lib/$(TRIPLET)/pkgconfig:$(SYSROOT)/usr/share/pkgconfig
endif
pkg-config	= $(shell $(PKG_CONFIG_ENV) $(PKG_CONFIG) $(if $(STATIC),--static) $1 2>/dev/null)
can-link	= $(shell echo 'int main(void) { return 0; }' | $(CC) $(CPPFLAGS) $(CFLAGS) -include $1 -x c - $(LDFLAGS) $2 \
		  -o /dev/null 2>/dev/null && echo yes)

# A start relocates a few thousand pointers: said in a fiftieth of the room. glibc knows how since 2.36.
ifeq ($(SANITIZE)$(STATIC),)
relocations	:= -Wl,-z,pack-relative-relocs
relocations	:= $(if $(call can-link,stdint.h,$(relocations)),$(relocations))
LDFLAGS		+= $(relocations)
endif

# $(call library,KIND,NAME,HEADER,FLAGS,PACKAGE,USE,SOURCES)
library		= $(eval $(call library-row,$(strip $1),$(strip $2),$(strip $3),$(strip $4),$(strip $5),$(strip $6),$(strip $7)))
define library-row
LIBRARIES	+= $2
kind-$2		:= $1
use-$2		:= $6
sources-$2	:= $7
module-$2	:= $(if $(filter $1 $2 $(patsubst lib%,%,$2),$(WITHOUT)),,$(call pkg-config,--modversion $2))
found-$2	:= $$(or $$(module-$2),$(if $(filter $1 $2 $(patsubst lib%,%,$2),$(WITHOUT)),,$$(call can-link,$3,$4)))
flags-$2	:= $$(if $$(found-$2),$$(if $$(module-$2),,$4))
missing-$2	:= not found: $(if $(CROSS_COMPILE),run scripts/deps cross,install $5)
endef

#              kind      name     header     flags      package        use, sources
$(call library,required, libaio,  libaio.h,  -laio,     libaio-dev,    disks)
$(call library,required, zlib,    zlib.h,    -lz,       zlib1g-dev,    compressed kernels and images)
$(call library,required, jansson, jansson.h, -ljansson, libjansson-dev,QMP and --json)
# A few kilobytes of its archive.
$(call library,optional, liburing,liburing.h,-luring,   liburing-dev,  disks with aio=io_uring, disk/uring.c)
# Loaded when it is used as well, but in a static program, which has it linked in.
$(call library,optional, libzstd, zstd.h,    -lzstd,    libzstd-dev,   images and kernels compressed by zstd, disk/compression-zstd.c \
		core/unpack-zstd.c)
$(call library,optional, liblzma, lzma.h,    -llzma,    liblzma-dev,   kernels compressed by xz, core/unpack-xz.c)
$(call library,optional, liblz4,  lz4.h,     -llz4,     liblz4-dev,    kernels compressed by lz4, core/unpack-lz4.c)
# Loaded when it is used (net/user-library.c): only its header is needed, and a static program can't.
ifeq ($(STATIC),)
$(call library,optional, libslirp,slirp/libslirp.h,,  libslirp-dev,  user mode networks, net/user.c net/user-options.c \
		net/user-library.c tests/unit/test-net-user.c)
# As libslirp.
$(call library,optional, libnbd,  libnbd.h,  ,          libnbd-dev,    disks on NBD servers, disk/nbd.c disk/nbd-attempt.c \
		disk/nbd-connection.c disk/nbd-library.c tests/unit/test-nbd.c tests/unit/test-nbd-reconnect.c)
else
LEFT_OUT_STATIC	:= core/library.c cmd/monitor-edit.c net/user.c net/user-options.c net/user-library.c tests/unit/test-net-user.c \
		   disk/nbd.c disk/nbd-connection.c disk/nbd-library.c tests/unit/test-nbd.c
endif
ifeq ($(ARCH),arm64)
$(call library,required, libfdt,  libfdt.h,  -lfdt,     libfdt-dev,    the device tree)
endif
$(call library,optional, inih,    ini.h,     -linih,    libinih-dev,   VMs in files, core/config-file.c ktest/plan-file.c cmd/up.c cmd/down.c \
		tests/unit/test-config-file.c tests/unit/test-ktest-plan.c)
# Loaded when there is an oops to decode: only its header is needed, and a static program can't.
ifeq ($(STATIC),)
$(call library,optional, libdw,   elfutils/libdwfl.h,,libdw-dev,    files and lines in an oops, guest/decode.c \
		guest/decode-symbols.c tests/unit/test-decode.c)
else
LEFT_OUT_STATIC	+= guest/decode.c guest/decode-symbols.c tests/unit/test-decode.c
endif
$(call library,tests,    check,   check.h,   -lcheck -lsubunit -lrt -lm,check, unit tests)

# $(call libraries-of,KIND): those of a kind that were found; $(call library-flags,--libs or --cflags,NAMES)
libraries-of	= $(foreach l,$(LIBRARIES),$(if $(filter $(kind-$l),$1),$(if $(found-$l),$l)))
library-flags	= $(strip $(foreach l,$2,$(if $(filter --libs,$1),$(flags-$l))) \
		  $(if $(foreach l,$2,$(module-$l)),$(call pkg-config,$1 $(foreach l,$2,$(if $(module-$l),$l)))))

LIBS		:= $(call library-flags,--libs,$(call libraries-of,required optional))
# Linked in where Debian's -dev package has the archive: loading and relocating them anew at each start is a good part of
# the CPU time of a VM that ends at once. `make SHARED_LIBS=1` leaves them to the dynamic linker.
archive		= $(if $(CROSS_COMPILE),$(wildcard $(SYSROOT)/usr/lib/$(TRIPLET)/$1),\
		  $(filter /%,$(shell $(CC) -print-file-name=$1)))
linked-in	= $(if $(call archive,$(patsubst -l%,lib%.a,$1)),$(patsubst -l%,-l:lib%.a,$1),$1)
ifeq ($(SHARED_LIBS),)
LIBS		:= $(foreach flag,$(LIBS),$(if $(filter -l%,$(flag)),$(call linked-in,$(flag)),$(flag)))
endif
# (the sysroot's own folder is a system one)
CPPFLAGS	+= $(filter-out -I$(SYSROOT)/usr/include,\
		   $(call library-flags,--cflags-only-I,$(call libraries-of,required optional)))
CHECK_LIBS	:= $(call library-flags,--libs,$(call libraries-of,tests))
CHECK_CPPFLAGS	:= $(filter-out -I$(SYSROOT)/usr/include,$(call library-flags,--cflags-only-I,$(call libraries-of,tests)))
LEFT_OUT	:= $(LEFT_OUT_STATIC) $(foreach l,$(LIBRARIES),$(if $(found-$l),,$(sources-$l)))

# $(call library-error,KIND): what to say of those of a kind that are missing
library-error	= $(subst $(space);,;,$(wordlist 2,999,$(strip $(foreach l,$(LIBRARIES),$(if $(filter $(kind-$l),$1),$(if $(found-$l),,\
		  ; $l (for $(use-$l)) $(missing-$l)))))))
LIBRARY_ERROR	:= $(call library-error,required $(if $(filter unit check-unit,$(MAKECMDGOALS)),tests))
ifneq ($(filter-out config help clean dist demo,$(or $(MAKECMDGOALS),all)),)
$(if $(LIBRARY_ERROR),$(error $(LIBRARY_ERROR)))
endif

# Rewritten only when it changes.
$(BUILD)/include/libraries.h: FORCE
	$(Q)mkdir -p $(@D)
	$(Q)printf '%s\n' $(call libraries-of,optional) | sed -E '/./!d; s/.*/\U&/; s/[^A-Z0-9]/_/g; s/.*/#define HAVE_& 1/' > $@.new
	$(Q)if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

.PHONY: config
config:
	@printf '%-12s %-9s %-32s %s\n' LIBRARY KIND 'NEEDED FOR' VERSION $(foreach l,$(LIBRARIES),\
		'$l' '$(kind-$l)' '$(use-$l)' '$(if $(filter yes,$(found-$l)),found (says no version),$(or $(found-$l),$(missing-$l)))')
	@$(if $(LIBRARY_ERROR),exit 1)
