# SPDX-License-Identifier: BSD-2-Clause
# The bench's figures as a picture: a bar a figure, as long as its ratio, with a mark at its target. See row()
# in tests/bench/run for the fields.
function escape(text)
{
	gsub(/&/, "\\&amp;", text)
	gsub(/</, "\\&lt;", text)
	return text
}

# 1234567 us reads better as 1.23 s, and bytes as MiB
function human(value, unit)
{
	if (value + 0 <= 0)
		return "-"
	if (unit == "us")
		return value >= 1e6 ? sprintf("%.2f s", value / 1e6) : sprintf("%.2f ms", value / 1e3)
	if (unit == "bytes")
		return sprintf("%.0f KiB", value / 1024)
	if (unit == "KiB")
		return value >= 10240 ? sprintf("%.1f MiB", value / 1024) : sprintf("%.0f KiB", value)
	return (value >= 1e6 ? sprintf("%.2f M", value / 1e6) : value >= 1e4 ? sprintf("%.0f k", value / 1e3) : \
		sprintf("%.0f ", value)) unit
}

function text(x, y, style, what)
{
	printf "<text x=\"%d\" y=\"%d\" class=\"%s\">%s</text>\n", x, y, style, escape(what)
}

function line(x, top, bottom, style)
{
	printf "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" class=\"%s\"/>\n", x, x, top, bottom, style
}

BEGIN {
	FS = "|"
}
{
	for (i = 1; i <= 7; i++)
		field[NR, i] = $i
}
END {
	LEFT = 330; SCALE = 220; MOST = 2; TOP = 96; ROW = 46; BAR = 18
	right = LEFT + SCALE * MOST
	height = TOP + NR * ROW + 20
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"DejaVu Sans, Arial, sans-serif\">\n", right + 230, height
	print "<style>.title{font-size:18px;fill:#2b3440} .name{font-size:14px;fill:#2b3440} .small{font-size:11.5px;fill:#6b7683}"
	print ".mid{font-size:11.5px;fill:#6b7683;text-anchor:middle} .grid{stroke:#e4e8ec} .one{stroke:#aab4be}"
	print ".target{stroke:#2b3440;stroke-width:2.5} .good{fill:#a9cdb0} .bad{fill:#e8b79c} .none{fill:#bccbdb}</style>"
	print "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
	text(20, 32, "title", "lkvm: each figure as a multiple of what stands beside it")
	legend_x = 20
	split("good bad none", class, " ")
	split("target reached|target missed|no target", legend, "|")
	for (i = 1; i <= 3; i++) {
		printf "<rect x=\"%d\" y=\"46\" width=\"14\" height=\"12\" class=\"%s\"/>\n", legend_x, class[i]
		text(legend_x + 20, 56, "small", legend[i])
		legend_x += 130
	}
	line(legend_x + 6, 44, 60, "target")
	text(legend_x + 16, 56, "small", "the target")
	for (tick = 0; tick <= MOST * 2; tick++) {
		x = LEFT + tick * SCALE / 2
		line(x, TOP - 10, height - 16, tick == 2 ? "one" : "grid")
		text(x, TOP - 14, "mid", sprintf("%.1f", tick / 2))
	}
	for (row = 1; row <= NR; row++) {
		ours = field[row, 3]; theirs = field[row, 4]; unit = field[row, 2]; target = field[row, 6]
		known = ours + 0 > 0 && theirs + 0 > 0
		ratio = known ? ours / theirs : 0
		less = field[row, 7] == "less"
		style = target == "" ? "none" : (less ? ratio <= target : ratio >= target) ? "good" : "bad"
		y = TOP + (row - 1) * ROW
		text(20, y + 14, "name", field[row, 1])
		text(20, y + 31, "small", human(ours, unit) " beside " human(theirs, unit) ", " field[row, 5])
		length_px = (ratio > MOST ? MOST : ratio) * SCALE
		printf "<rect x=\"%d\" y=\"%d\" width=\"%.0f\" height=\"%d\" class=\"%s\"/>\n", LEFT, y + 6, length_px, BAR, style
		if (target != "")
			line(LEFT + target * SCALE, y + 1, y + BAR + 11, "target")
		text(right + 14, y + 20, "name", known ? sprintf("%.2f", ratio) (ratio > MOST ? " \xe2\x86\x92" : "") : "-")
		text(right + 70, y + 20, "small", !known ? "not measured" : target == "" ? (less ? "no target; less is better" : "no target; more is better") : \
			sprintf("target: at %s %.2f", less ? "most" : "least", target))
	}
	print "</svg>"
}
