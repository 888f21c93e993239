# SPDX-License-Identifier: BSD-2-Clause
# Unit tests: tests/unit/test-NAME.c is one program, linked with every object of lkvm but main.o.

# Those of one architecture are in tests/unit/x86 and tests/unit/arm64.
UNIT_SOURCES	:= $(sort $(filter-out $(LEFT_OUT),$(wildcard tests/unit/test-*.c tests/unit/$(ARCHDIR)/test-*.c)))
UNIT_PROGRAMS	:= $(patsubst %.c,$(BUILD)/%,$(UNIT_SOURCES))
# Programs of another architecture run under QEMU's user mode.
UNIT_RUNNER	?= $(if $(CROSS_COMPILE),qemu-$(subst arm64,aarch64,$(ARCH))-static)

.PHONY: unit
unit: $(UNIT_PROGRAMS)
$(UNIT_PROGRAMS:=.o): CPPFLAGS += $(CHECK_CPPFLAGS)

$(UNIT_PROGRAMS): %: %.o $(OBJECTS)
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) $(CHECK_LIBS)

# These are run with packed rings too: tests/unit/virtio-driver.h.
PACKED_TESTS	:= $(addprefix test-,9p agent balloon blk blk-errors blk-queues console fs fuzz-replay mem net net-control net-stream pmem \
			queue-reset rng scsi scsi-errors vsock)

# make check-unit runs them all, T=NAME those called so or NAME-something; each prints libcheck's own summary
.PHONY: check-unit
check-unit: $(foreach p,$(UNIT_PROGRAMS),$(if $(if $(T),$(filter test-$(T) test-$(T)-%,$(notdir $(p))),all),$(p)))
	$(Q)failed=0; for t in $^; do \
		timeout 120 $(UNIT_RUNNER) $$t || failed=1; \
		case " $(PACKED_TESTS) " in *" $${t##*/} "*) \
			LKVM_TEST_RING=packed timeout 120 $(UNIT_RUNNER) $$t || failed=1 ;; esac; \
	done; exit $$failed

# The code blocks of the page on adding a device, as the toy device that its test includes.
$(BUILD)/include/toy-device.h: doc/adding-a-device.md
	$(Q)mkdir -p $(@D)
	$(Q)awk '/^```c$$/ {on = 1; next} /^```$$/ {on = 0} on' $< > $@
$(BUILD)/tests/unit/test-toy-device.o: $(BUILD)/include/toy-device.h

-include $(UNIT_PROGRAMS:=.d)
