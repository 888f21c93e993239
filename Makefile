# SPDX-License-Identifier: BSD-2-Clause
#
# The whole build of lkvm. `make`, `make check`, `make help`.
#
# A source file that lies in one of the rooms below is part of the build: nothing is listed by name. Tests,
# benches and documentation bring their own rules.mk.

VERSION		:= 0.1.0
ARCH		?= $(shell uname -m | sed -e 's/aarch64/arm64/')
CROSS_COMPILE	?=
CC		:= $(if $(filter default undefined,$(origin CC)),$(CROSS_COMPILE)gcc,$(CC))
STRIP		:= $(CROSS_COMPILE)strip
PKG_CONFIG	?= pkg-config
PREFIX		?= /usr/local
DESTDIR		?=
LKVM_CACHE	?= $(if $(HOME),$(HOME)/.cache/lkvm,/var/tmp/lkvm-cache)
V		?= 0
Q		:= $(if $(filter 1,$(V)),,@)

ARCHDIR_x86_64	:= x86
ARCHDIR_arm64	:= arm64
ARCHDIR		:= $(ARCHDIR_$(ARCH))
ifeq ($(ARCHDIR),)
$(error ARCH=$(ARCH) is not one that lkvm knows: x86_64 or arm64)
endif

# A sanitizer, a static build or one without some library keeps its objects apart: make SANITIZE=address,undefined,
# make STATIC=1, make WITHOUT=NAME (a name of libraries.mk), make SHARED_LIBS=1
SANITIZE	?=
STATIC		?=
WITHOUT		?=
comma		:= ,
empty		:=
space		:= $(empty) $(empty)
VARIANT		:= $(ARCH)$(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))$(if $(STATIC),-static)$(if \
		   $(WITHOUT),-without-$(subst $(space),-,$(strip $(WITHOUT))))
BUILD		?= build/$(VARIANT)

# KVM's headers end in flexible arrays, and are given their elements by a struct around them.
WARNINGS	:= -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings \
		   -Wformat=2 -Wpointer-arith -Wno-gnu-variable-sized-type-not-at-end
WERROR		?=
OPT		?= -Os
CPPFLAGS	+= -iquote . -Iinclude -I$(BUILD)/include -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
		   $(if $(STATIC),-DSTATIC_PROGRAM)
CFLAGS		?= -g
CFLAGS		+= -std=gnu11 $(OPT) $(WARNINGS) $(if $(WERROR),-Werror) -pthread -fno-strict-aliasing \
		   -fvisibility=hidden -ffile-prefix-map=$(CURDIR)=.
LDFLAGS		+= -pthread -Wl,--as-needed -Wl,--build-id=sha1
ifeq ($(SANITIZE),)
# Debuggers find frames by -g; nothing unwinds at run time, and the tables would be a tenth of the stripped program.
CFLAGS		+= -fno-asynchronous-unwind-tables -fno-unwind-tables
CFLAGS		+= -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 $(if $(STATIC),,-fPIE)
LDFLAGS		+= -Wl,-z,relro,-z,now $(if $(STATIC),-static,-pie)
else
CFLAGS		+= -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=undefined
# gcc's ThreadSanitizer doesn't know fences and says so: those of virtqueues order guest memory, which it can't see
CFLAGS		+= $(if $(findstring thread,$(SANITIZE)),$(if $(findstring clang,$(CC)),,-Wno-tsan))
LDFLAGS		+= -fsanitize=$(SANITIZE)
endif

# Cross builds find their libraries in a sysroot that `scripts/deps cross` unpacks.
ifneq ($(CROSS_COMPILE),)
SYSROOT		?= $(LKVM_CACHE)/sysroot-$(ARCH)
TRIPLET		:= $(patsubst %-,%,$(notdir $(CROSS_COMPILE)))
CPPFLAGS	+= -isystem $(SYSROOT)/usr/include -isystem $(SYSROOT)/usr/include/$(TRIPLET)
LDFLAGS		+= -L$(SYSROOT)/usr/lib/$(TRIPLET) -Wl,-rpath-link,$(SYSROOT)/usr/lib/$(TRIPLET)
endif

.DEFAULT_GOAL	:= all
include libraries.mk

ROOMS		:= core cmd hw hw/$(ARCHDIR) virtio vhost disk share net control state guest ktest ui $(ARCHDIR)
SOURCES		:= $(wildcard kvm.c kvm-cpu.c) $(sort $(filter-out $(LEFT_OUT),$(foreach r,$(ROOMS),$(wildcard $(r)/*.c))))
OBJECTS		:= $(patsubst %.c,$(BUILD)/%.o,$(SOURCES)) \
		   $(patsubst %.S,$(BUILD)/%.o,$(sort $(foreach r,$(ROOMS),$(wildcard $(r)/*.S))))
MAIN_OBJECT	:= $(BUILD)/main.o

PROGRAM		:= $(BUILD)/lkvm

.PHONY: all objects clean help
all: $(PROGRAM)
	$(Q)ln -sfn $(PROGRAM) $(if $(filter $(ARCH),$(shell uname -m)),$(if $(SANITIZE)$(STATIC)$(WITHOUT),lkvm-$(VARIANT),lkvm),lkvm-$(VARIANT))

objects: $(OBJECTS) $(if $(wildcard main.c),$(MAIN_OBJECT))

$(PROGRAM): $(OBJECTS) $(MAIN_OBJECT) $(BUILD)/include/libraries.h
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS)

# The version that `lkvm version` prints: rewritten only when it changes.
$(BUILD)/include/version.h: FORCE
	$(Q)mkdir -p $(@D)
	$(Q)printf '#define LKVM_VERSION "%s"\n' "$(VERSION)" | cmp -s - $@ || \
		printf '#define LKVM_VERSION "%s"\n' "$(VERSION)" > $@

# What a request, a packet or an exit goes through is to be fast. All else waits for people or the kernel, and is to be small.
FAST_PATH	:= kvm-cpu $(addprefix core/,event event-poll memory pool rcu space) \
		   $(addprefix disk/,aio disk engine file file-io merge qcow2-cache qcow2-io qcow2-map raw uring) \
		   $(addprefix net/,frame tap user) \
		   $(addprefix virtio/,9p-io blk device-queues fs-io kicks net net-receive queue queue-packed queue-split transfer)
$(FAST_PATH:%=$(BUILD)/%.o): OPT := -O2
# Tests are built more often than they run.
$(BUILD)/tests/unit/%.o: OPT := -O1

$(BUILD)/%.o: %.c Makefile | $(BUILD)/include/version.h $(BUILD)/include/libraries.h
	@echo "  CC      $<"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/%.o: %.S Makefile
	@echo "  AS      $<"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(filter-out -fPIE,$(CFLAGS)) -MMD -MP -c -o $@ $<

clean:
	rm -rf build lkvm lkvm-*

help:
	@echo "make                 build ./lkvm"
	@echo "make check [T=NAME]  build and run the tests that this host can run (one by name)"
	@echo "make fuzz [T=NAME] [SECONDS=N]    fuzz the parsers of hostile input, 10 s each (scripts/deps fuzz first)"
	@echo "make lint            what compilers don't check; clang-tidy is a minute of it (scripts/lint quick: without it)"
	@echo "make ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-   cross-build (scripts/deps cross first)"
	@echo "make config          show the libraries that were found, and what to install for those that were not"
	@echo "make WITHOUT=NAME    build without an optional library (WITHOUT=optional: without any)"
	@echo "make SHARED_LIBS=1   leave all libraries to the dynamic linker (they are linked in where there is an archive)"
	@echo "make STATIC=1        a static binary;  SANITIZE=address,undefined | thread;  V=1: show commands"
	@echo "make demo            set up, build, boot a stock kernel (what scripts/demo does)"
	@echo "make install [PREFIX=DIR] [DESTDIR=DIR]    the program and its man pages"
	@echo "make man | lint | bench | dist | clean"

FORCE:

-include $(OBJECTS:.o=.d) $(MAIN_OBJECT:.o=.d)
include $(wildcard guest/rules.mk tests/*/rules.mk doc/rules.mk scripts/rules.mk)
