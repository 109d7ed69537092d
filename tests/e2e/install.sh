#!/bin/sh
# Installs into an empty folder and uses what is there as a stranger would. usage: install.sh BUILD_FOLDER
set -eu
. tests/tree/lib.sh
build=$1
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

check "meson install" meson install -C "$build" --no-rebuild --quiet --destdir "$root"
[ "$failed" -eq 0 ] || exit 1
prefix=$root$(meson introspect "$build" --buildoptions | tr '{' '\n' | sed -n 's/.*"name": "prefix".*"value": "\([^"]*\)".*/\1/p')
library=$(find "$root" -name 'libsnug.so')

has() { for file in "$@"; do [ -s "$prefix/$file" ] || { echo "$file is not installed"; return 1; }; done; }
check "files are in place" has bin/snug include/snug.h share/man/man1/snug.1 \
    share/bash-completion/completions/snug share/zsh/site-functions/_snug

# Only what snug.h promises is visible from outside.
foreign_symbols() { nm -D --defined-only "$library" | awk '$3 !~ /^snug_/ { print $3 }'; }
check "the library exports snug_* alone" prints_nothing foreign_symbols
missing_symbols() {
    nm -D --defined-only "$library" | awk '{ print $3 }' | sort >"$root/exported"
    grep -o 'SNUG_API[^;]*' "$prefix/include/snug.h" | sed -n 's/.*[ *]\(snug_[a-z0-9_]*\)(.*/\1/p' | sort -u |
        comm -23 - "$root/exported"
}
check "every call of snug.h is exported" prints_nothing missing_symbols

# A function that two instruction sets share by accident would be taken from either: each carries its set's name.
foreign_kernels() {
    for archive in "$build"/src/backend/cpu/libkern_*.a; do
        isa=$(basename "$archive" .a)
        isa=${isa#libkern_}
        nm -g --defined-only "$archive" | awk -v isa="$isa" 'NF == 3 && $3 !~ "_" isa "$" { print isa ": " $3 }'
    done
}
check "kernels carry their instruction set's name" prints_nothing foreign_kernels

PKG_CONFIG_PATH=$(dirname "$(find "$root" -name snug.pc)")
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR="$root"
build_program() {
    # shellcheck disable=SC2046 # several words
    ${CC:-cc} -std=c11 -Wall -Wextra -Werror tests/e2e/use_snug.c -o "$root/use_snug" $(pkg-config --cflags --libs snug)
}
check "a program builds by pkg-config" build_program
export LD_LIBRARY_PATH="${library%/*}"
# The tokens are those of the model's reference implementation in float (transformers, greedy): " there was a man who
# had a son".
generates() {
    output=$("$root/use_snug" models/tiny) || return 1
    echo "$output" | grep -q '^457 311 260 450 416 344 260 884 $' || { echo "$output"; return 1; }
}
check "the program generates" generates
refuses() {
    status=0
    "$root/use_snug" models 2>"$root/message" || status=$?
    [ $status -eq 1 ] && [ "$(wc -l <"$root/message")" -eq 1 ] && grep -q config.json "$root/message" ||
        { cat "$root/message"; return 1; }
}
check "the program gets an error as a value" refuses
runs() { "$prefix/bin/snug" --version | grep -q '^snug [0-9]'; }
check "the installed snug runs" runs

# complete WORDS...: what bash offers after these words, the last being begun.
complete_words() {
    bash -c '. "$1"; shift; COMP_WORDS=(snug "$@"); COMP_CWORD=$#; _snug 2>/dev/null; echo "${COMPREPLY[@]}"' \
        bash "$prefix/share/bash-completion/completions/snug" "$@"
}
offers() { expected=$1; shift; found=$(complete_words "$@"); [ "$found" = "$expected" ] || { echo "$found"; return 1; }; }
check "bash completes a command" offers "quantize" quan
check "bash completes an option" offers "--calib --calib-rows --calib-length" quantize --cal
check "bash completes a choice" offers "cpu" run --backend c
check "bash completes a file" offers "tests/e2e/install.sh" run tests/e2e/inst
if command -v zsh >/dev/null; then
    check "zsh reads its completion" zsh -n "$prefix/share/zsh/site-functions/_snug"
else
    skip "zsh reads its completion" "zsh is not here"
fi
if command -v man >/dev/null && command -v groff >/dev/null; then
    check "man page has no warnings" prints_nothing groff -man -ww -Tutf8 -z "$prefix/share/man/man1/snug.1"
else
    skip "man page has no warnings" "groff is not here"
fi
exit $failed
