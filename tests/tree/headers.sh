#!/bin/sh
# Every header compiles alone, twice in one file too, and guards itself by its path in capitals.
set -eu
. tests/tree/lib.sh
flags="-std=c11 -D_GNU_SOURCE -Isrc -Iinclude -Wall -Wextra -Werror"
flags="$flags $(pkg-config --cflags jansson libpcre2-8 libutf8proc hwloc)"

headers=$(find include src -name '*.h' | sort | sed 's|^src/||; s|^include/||')

compile_alone() { # the last declaration is there because a translation unit must not be empty
    for header in $headers; do
        isa=
        case $header:$(uname -m) in
            */x86/*:x86_64 | */vec/*:x86_64) isa="-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl" ;;
            */arm/*:aarch64 | */vec/*:aarch64) isa="-march=armv8.2-a+dotprod+i8mm" ;;
            */x86/* | */arm/* | */vec/*) continue ;;
        esac
        # shellcheck disable=SC2086 # CC and flags are several words
        printf '#include "%s"\n#include "%s"\nextern int header_test;\n' "$header" "$header" |
            ${CC:-cc} $flags $isa -x c -fsyntax-only -
    done
}
are_guarded() { # base/err.h by BASE_ERR_H; in a subfolder the folder's name may stand once: backend/cpu/cpu_x.h
    for header in $headers; do
        file=src/$header
        [ -f "$file" ] || file=include/$header
        guard=$(printf '%s' "$header" | tr 'a-z/.' 'A-Z__')
        short=$(printf '%s' "$header" | sed 's|/\([a-z0-9]*\)/\1_|/\1_|' | tr 'a-z/.' 'A-Z__')
        grep -qxE "#ifndef ($guard|$short)" "$file" || echo "$file: expected the guard $guard"
    done
}
check "headers compile alone" prints_nothing compile_alone
check "headers guard themselves" prints_nothing are_guarded
exit $failed
