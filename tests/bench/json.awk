# SPDX-License-Identifier: BSD-2-Clause
# The bench's figures as JSON: see row() in tests/bench/run for the fields.
function number(text)
{
	return text + 0 > 0 ? text : "null"
}
BEGIN {
	FS = "|"
	print "["
}
{
	printf "%s  {\"figure\": \"%s\", \"unit\": \"%s\", \"lkvm\": %s, \"beside\": %s, \"what\": \"%s\", " \
		"\"ratio\": %s, \"target\": %s, \"direction\": \"%s\"}", (NR > 1 ? ",\n" : ""), $1, $2, number($3), number($4),
		$5, ($3 + 0 > 0 && $4 + 0 > 0 ? sprintf("%.4f", $3 / $4) : "null"), number($6), $7
}
END {
	print "\n]"
}
