# SPDX-License-Identifier: BSD-2-Clause
# The bench is never part of make check: shared machines are noisy. See tests/bench/run.
.PHONY: bench
bench:
	$(Q)tests/bench/run
