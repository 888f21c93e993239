# SPDX-License-Identifier: BSD-2-Clause
# Guest tests: tests/guest/NAME.c is one payload, a flat real-mode binary with lib/ in front. See tests/guest/run.

ifeq ($(ARCH),x86_64)
GUEST_CC	?= $(CC)
GUEST_DIR	:= $(BUILD)/tests/guest
GUEST_CFLAGS	:= -m16 -march=i386 -Os -std=gnu11 -ffreestanding -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables \
		   -fcf-protection=none -fno-strict-aliasing -mgeneral-regs-only -ffunction-sections -g0 \
		   -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes $(if $(WERROR),-Werror) \
		   -Itests/guest/lib
GUEST_LIB	:= $(GUEST_DIR)/lib/start.S.o $(patsubst tests/guest/lib/%,$(GUEST_DIR)/lib/%.o,$(sort $(wildcard tests/guest/lib/*.c)))
GUEST_PAYLOADS	:= $(patsubst tests/guest/%.c,$(GUEST_DIR)/%.bin,$(sort $(wildcard tests/guest/*.c)))

.PHONY: guest-payloads check-guest
guest-payloads: $(GUEST_PAYLOADS)

$(GUEST_DIR)/%.c.o: tests/guest/%.c tests/guest/rules.mk
	@echo "  CC      $<"
	$(Q)mkdir -p $(@D)
	$(Q)$(GUEST_CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

$(GUEST_DIR)/%.S.o: tests/guest/%.S tests/guest/rules.mk
	@echo "  AS      $<"
	$(Q)mkdir -p $(@D)
	$(Q)$(GUEST_CC) -m32 -c -o $@ $<

$(GUEST_DIR)/%.bin: $(GUEST_DIR)/%.c.o $(GUEST_LIB) tests/guest/lib/flat.ld
	@echo "  LD      $@"
	$(Q)$(LD) -m elf_i386 -T tests/guest/lib/flat.ld --gc-sections --oformat binary -o $@ \
		$(GUEST_DIR)/lib/start.S.o $(filter %.o,$(filter-out %start.S.o,$^))

-include $(wildcard $(GUEST_DIR)/*.d $(GUEST_DIR)/lib/*.d)
.SECONDARY: $(GUEST_LIB) $(GUEST_PAYLOADS:.bin=.c.o)

# As lint-input in scripts/rules.mk.
.PHONY: guest-lint-input
guest-lint-input:
	@echo '$(GUEST_CFLAGS)'
	@printf '%s\n' $(wildcard tests/guest/*.c tests/guest/lib/*.c)

# make check-guest runs them all, T=NAME one
check-guest: guest-payloads $(PROGRAM)
	$(Q)tests/guest/run --lkvm $(PROGRAM) --payloads $(GUEST_DIR) $(T)
endif

# arm64's payloads are flat as well, one file of assembly each; tests/integration/arm64.sh runs them.
ifeq ($(ARCH),arm64)
GUEST_DIR	:= $(BUILD)/tests/guest
GUEST_PAYLOADS	:= $(patsubst tests/guest/arm64/%.S,$(GUEST_DIR)/%.flat,$(sort $(wildcard tests/guest/arm64/*.S)))

.PHONY: guest-payloads
guest-payloads: $(GUEST_PAYLOADS)

$(GUEST_DIR)/%.flat: tests/guest/arm64/%.S tests/guest/rules.mk
	@echo "  AS      $<"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -c -o $(@:.flat=.o) $<
	$(Q)$(CROSS_COMPILE)objcopy -O binary $(@:.flat=.o) $@
endif
