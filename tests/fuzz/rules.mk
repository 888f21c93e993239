# SPDX-License-Identifier: BSD-2-Clause
#
# Fuzzing by libFuzzer, never part of make check, which replays what was found (tests/unit/test-fuzz-replay.c):
#
#	make fuzz                          each target for ten seconds, from the corpora of tests/fuzz/corpus
#	make fuzz T=qcow2 SECONDS=600      one target (or several, in quotes), for so long each
#	make fuzz-keep [T=qcow2]           takes what was found into tests/fuzz/corpus, minimized

FUZZ_CC		?= clang
FUZZ_BUILD	:= build/fuzz
SECONDS		?= 10

FUZZ_SOURCES	:= $(sort $(filter-out $(LEFT_OUT) tests/fuzz/libfuzzer.c tests/fuzz/pack.c,$(wildcard tests/fuzz/*.c tests/fuzz/$(ARCHDIR)/*.c)))
# Kernels of arm64 are parsed without anything of arm64's.
FUZZ_OBJECTS	:= $(patsubst %.c,$(BUILD)/%.o,$(FUZZ_SOURCES) $(filter-out $(SOURCES),arm64/image.c))
# Threads, and what only KVM knows.
FUZZ_WRAPPED	:= event_loop_start_thread event_loop_destroy pool_submit arch_vm_reset \
		   $(addprefix arch_gdb_,fetch store translate code_changed probe set_debug) $(if $(filter x86,$(ARCHDIR)),x86_entry x86_host_cpuid)
FUZZ_LDFLAGS	:= $(addprefix -Wl$(comma)--wrap=,$(FUZZ_WRAPPED))

.PHONY: fuzz fuzz-keep fuzz-programs
fuzz fuzz-keep:
	$(Q)$(MAKE) -s CC=$(FUZZ_CC) SANITIZE=fuzzer-no-link,address,undefined OPT=-O1 BUILD=$(FUZZ_BUILD) fuzz-programs
	$(Q)tests/fuzz/run $(if $(filter fuzz-keep,$@),-k) -t $(SECONDS) $(T)

fuzz-programs: $(BUILD)/tests/fuzz/fuzz $(BUILD)/tests/fuzz/pack

$(BUILD)/tests/fuzz/fuzz: $(FUZZ_OBJECTS) $(BUILD)/tests/fuzz/libfuzzer.o $(OBJECTS)
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(FUZZ_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

# It is a tool of the host's, and libFuzzer's runtime has no place in it.
$(BUILD)/tests/fuzz/pack: tests/fuzz/pack.c
	@echo "  CC      $<"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -O1 -D_GNU_SOURCE $(WARNINGS) -o $@ $<

$(BUILD)/tests/unit/test-fuzz-replay: $(FUZZ_OBJECTS)
$(BUILD)/tests/unit/test-fuzz-replay: LDFLAGS += $(FUZZ_LDFLAGS)

-include $(FUZZ_OBJECTS:.o=.d) $(BUILD)/tests/fuzz/libfuzzer.d
