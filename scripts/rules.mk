# SPDX-License-Identifier: BSD-2-Clause
# What README names, for those who have make; installing; source archives; lint.

.PHONY: demo check install dist lint lint-input
demo:
	$(Q)scripts/demo

check:
	$(Q)scripts/check $(T)

lint:
	$(Q)scripts/lint

# What clang-tidy reads, for scripts/lint: the preprocessor's flags on the first line, then this build's files.
lint-input: $(BUILD)/include/version.h $(BUILD)/include/libraries.h $(BUILD)/include/toy-device.h
	@echo '$(CPPFLAGS) $(CHECK_CPPFLAGS) -std=gnu11'
	@printf '%s\n' main.c $(SOURCES) $(UNIT_SOURCES) $(FUZZ_SOURCES) $(sort $(wildcard tests/*.c tests/bench/*.c))

install: $(PROGRAM) $(MAN_FOLDER)/made
	install -D -m 755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/lkvm
	install -D -m 644 $(MAN_PAGE) $(DESTDIR)$(PREFIX)/share/man/man1/lkvm.1
	for page in $(MAN_FOLDER)/*.1; do [ ! -e "$$page" ] || install -m 644 "$$page" $(DESTDIR)$(PREFIX)/share/man/man1; done
	install -D -m 644 README.md $(DESTDIR)$(PREFIX)/share/doc/lkvm/README.md
	for unit in lkvm@.service lkvm@.socket; do install -d $(DESTDIR)$(PREFIX)/lib/systemd/system; \
		sed 's|@BINDIR@|$(PREFIX)/bin|' scripts/$$unit.in > $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit; done
	install -D -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/lkvm/LICENSE

# The archive is made by git from the commit, with the commit's time, so that two of it are the same.
dist:
	$(Q)mkdir -p dist
	git archive --format=tar --prefix=lkvm-$(VERSION)/ HEAD | gzip -9n > dist/lkvm-$(VERSION).tar.gz
