# SPDX-License-Identifier: BSD-2-Clause
#
# The man page: doc/lkvm.1.in, with the section on commands from the program's own option tables and the exit
# statuses from its header. A cross build has no program that runs here; its page then says where to look, unless
# CROSS_RUN names an emulator (qemu-aarch64-static -L ...). Out of it come the pages of the commands, in $(MAN_FOLDER).

MAN_PAGE	:= $(BUILD)/lkvm.1
MAN_FOLDER	:= $(BUILD)/man
CROSS_RUN	?=
# the page's date is that of its source, so that two builds of one commit agree
MAN_DATE	:= $(shell git log -1 --format=%ct -- doc/lkvm.1.in 2>/dev/null)

.PHONY: man check-man
man: $(MAN_FOLDER)/made

$(MAN_PAGE): doc/lkvm.1.in include/kvm/kvm.h $(PROGRAM) doc/rules.mk
	@echo "  MAN     $@"
	$(Q){ $(CROSS_RUN) $(PROGRAM) help --man-options > $@.options; } 2>/dev/null || \
		echo 'See the output of lkvm help and lkvm help COMMAND.' > $@.options
	$(Q)sed -n 's/^#define LKVM_\(STATUS_[A-Z_]*\)[[:space:]]*\([0-9]*\)$$/s|@\1@|\2|/p' include/kvm/kvm.h > $@.sed
	$(Q)sed -e "s|@DATE@|$$(LC_ALL=C date -u -d @$(or $(SOURCE_DATE_EPOCH),$(MAN_DATE),0) '+%B %-d, %Y')|" \
		-e '/^@COMMANDS@$$/{r $@.options' -e 'd}' -f $@.sed doc/lkvm.1.in > $@.tmp
	$(Q)rm -f $@.options $@.sed
	$(Q)mv $@.tmp $@

$(MAN_FOLDER)/made: $(MAN_PAGE) doc/pages.awk
	$(Q)rm -rf $(MAN_FOLDER)
	$(Q)mkdir -p $(MAN_FOLDER)
	$(Q)awk -v dir=$(MAN_FOLDER) -f doc/pages.awk $(MAN_PAGE)
	$(Q)touch $@

# Complaints of mandoc are failures; so are placeholders that were not filled in.
check-man: $(MAN_FOLDER)/made
	$(Q)! grep -n '@[A-Z_]*@' $(MAN_PAGE)
	$(Q)if command -v mandoc >/dev/null; then mandoc -T lint -W warning $(MAN_PAGE) $(MAN_FOLDER)/*.1; else \
		echo "SKIP check-man: no mandoc"; fi
