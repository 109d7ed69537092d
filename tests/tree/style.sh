#!/bin/sh
# What a reader of any line may rely on: no tabs, no trailing space, C of at most 120 columns, file names that are
# unique, errors that are values, memory from base/mem, and a text that speaks of the project alone.
set -eu
. tests/tree/lib.sh
sources=$(find src include tests bench tools -name '*.[ch]' -o -name '*.def' -o -name '*.sh' -o -name '*.awk' \
    -o -name meson.build | sort)
texts="$sources $(find . -path './build*' -prune -o -path ./.git -prune -o \( -name '*.md' -o -name '*.1.in' -o -path './tools/*' \
    -o -name Makefile -o -path './.ci/*' \) -type f -print | sort)"
library=$(find src -name '*.c' ! -path 'src/cli/*' ! -path 'src/server/*' | sort)
tab=$(printf '\t')

grep_in() { # grep_in FILES GREP-ARGUMENTS...: matching lines with their place; the files are one word
    files=$1
    shift
    # shellcheck disable=SC2086 # one word a file
    grep -nH "$@" $files
}
long_lines() {
    # shellcheck disable=SC2086
    awk 'length($0) > 120 { printf "%s:%d: %d columns\n", FILENAME, FNR, length($0) }' \
        $(printf '%s\n' $sources | grep '\.[ch]$')
}
same_names() { find src include -name '*.[ch]' -o -name '*.def' | sed 's|.*/||' | sort | uniq -d; }
# Calls of the C library that only cli may make; a match after a letter, digit, dot or arrow is another function.
calls() { grep_in "$1" -E "(^|[^A-Za-z0-9_.>\"])($2)\(" | grep -vE ':[0-9]+: *(/?\*|//)'; }

check "no tabs" prints_nothing grep_in "$sources" "$tab"
check "no trailing space" prints_nothing grep_in "$texts" -E '[[:space:]]$'
check "lines of 120 columns" prints_nothing long_lines
check "file names are unique" prints_nothing same_names
check "no exit or output below cli" prints_nothing calls "$(printf '%s\n' $library | grep -v '^src/base/log\.c$')" \
    'exit|_exit|abort|printf|puts|putchar|perror'
check "memory from base/mem" prints_nothing calls "$(printf '%s\n' $library | grep -v '^src/base/mem\.c$')" \
    'malloc|calloc|realloc|strdup|strndup|aligned_alloc|posix_memalign'
check "nothing unfinished" prints_nothing grep_in "$sources" -wE 'T[O]DO|F[I]XME|X[X]X|H[A]CK'
check "no machine's paths or hosts" prints_nothing grep_in "$texts" -E \
    '(^|[^A-Za-z0-9_.}$])/(work|farm|root|home)/|deb[.]debian|pypi[.]org|python[h]osted|npmj[s][.]org'
exit $failed
