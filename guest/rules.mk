# SPDX-License-Identifier: BSD-2-Clause
# guest/init: the first program of the guests of `lkvm run -- COMMAND`. It has no libc, and is carried inside lkvm.

GUEST_INIT_SOURCES := $(sort $(wildcard guest/init/*.c))
# Loops stay loops: memcpy() must not become a call of memcpy().
GUEST_INIT_CFLAGS := -std=gnu11 -Os -g0 -Wall -Wextra $(if $(WERROR),-Werror) -ffreestanding -fno-stack-protector -fno-pic -fno-pie \
		     -fno-asynchronous-unwind-tables $(if $(findstring clang,$(CC)),-fno-builtin,-fno-tree-loop-distribute-patterns)

$(BUILD)/guest/init.elf: $(GUEST_INIT_SOURCES) $(wildcard guest/init/*.h) guest/frame.h guest/rules.mk
	@echo "  CC      guest/init"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(filter-out -I%,$(CPPFLAGS)) $(GUEST_INIT_CFLAGS) -static -nostdlib -Wl,--build-id=none,-z,max-page-size=4096,-z,noseparate-code \
		-s -o $@ $(GUEST_INIT_SOURCES)

$(BUILD)/guest/init.gz: $(BUILD)/guest/init.elf
	$(Q)gzip -9nc $< > $@

$(BUILD)/guest/init-image.o: $(BUILD)/guest/init.gz
$(BUILD)/guest/init-image.o: CPPFLAGS += -Wa,-I$(BUILD)
