# SPDX-License-Identifier: BSD-2-Clause
# Unit tests: tests/unit/test-NAME.c is one program, linked with every object of lkvm but main.o.

UNIT_TESTS	:= $(patsubst tests/unit/test-%.c,%,$(sort $(wildcard tests/unit/test-*.c) \
		     $(wildcard tests/unit/$(ARCHDIR)/test-*.c)))
UNIT_PROGRAMS	:= $(patsubst tests/unit/test-%.c,$(BUILD)/tests/unit/test-%,$(sort $(wildcard tests/unit/test-*.c)))
CHECK_LIBS	:= -lcheck -lsubunit -lrt -lm

.PHONY: unit
unit: $(UNIT_PROGRAMS)

$(BUILD)/tests/unit/test-%: $(BUILD)/tests/unit/test-%.o $(OBJECTS)
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) $(CHECK_LIBS)

# make check-unit runs them all, T=NAME one; each prints libcheck's own summary
.PHONY: check-unit
check-unit: $(if $(T),$(BUILD)/tests/unit/test-$(T),$(UNIT_PROGRAMS))
	$(Q)failed=0; for t in $^; do timeout 120 $$t || failed=1; done; exit $$failed
