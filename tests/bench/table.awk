# SPDX-License-Identifier: BSD-2-Clause
# The bench's figures as a table: see row() in tests/bench/run for the fields.
BEGIN {
	FS = "|"
	form = "%-33s %11s %11s %-6s %-24s %6s  %-7s %s\n"
	printf form, "figure", "lkvm", "beside", "", "", "ratio", "target", ""
}
{
	known = $3 + 0 > 0 && $4 + 0 > 0
	ratio = known ? $3 / $4 : 0
	verdict = $6 == "" ? "" : ($7 == "less" ? ratio <= $6 : ratio >= $6) ? "reached" : "MISSED"
	target = $6 == "" ? "none" : sprintf("%s %.2f", $7 == "less" ? "<=" : ">=", $6)
	printf form, $1, $3, $4, $2, $5, known ? sprintf("%.2f", ratio) : "-", target, known ? verdict : "not measured"
}
