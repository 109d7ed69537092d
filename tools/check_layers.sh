#!/bin/sh
# Fails when a file under src/ includes what its folder may not see (tools/layers.txt), when an include of the
# project's own is not written from src/, or when a file includes a .c file. Run from the top of the tree.
set -eu
find src -name '*.[ch]' -o -name '*.def' -o -name '*.inc' | sort | xargs awk '
FILENAME ~ /layers\.txt$/ {
    sub(/#.*/, "")
    if (!sub(/:/, "")) next
    known[$1] = may_see[$1, $1] = 1
    for (i = 2; i <= NF; i++) may_see[$1, $i] = 1
    next
}
function report(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; bad = 1 }
/^[ \t]*#[ \t]*include[ \t]*"/ {
    split(FILENAME, path, "/"); from = path[2]
    split($0, quoted, "\""); name = quoted[2]
    depth = split(name, parts, "/"); to = parts[1]
    if (name ~ /\.c$/) report("a .c file is compiled, not included: " name)
    if (!(from in known)) report("tools/layers.txt has no line for the folder " from)
    else if (name == "snug.h") { if (!((from, name) in may_see)) report(from " may not include snug.h") }
    else if (depth < 2 || !(to in known)) report("write the include from src/: " name)
    else if (!((from, to) in may_see)) report(from " may not include " to)
}
END { exit bad }' tools/layers.txt
