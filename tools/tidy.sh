#!/bin/sh
# clang-tidy over the sources with the checks of .clang-tidy: several minutes, so it is no part of `make test`.
# usage: tidy.sh [FILES...], from the top of the tree. Prints what it finds; silence is success.
set -eu
[ -f build-clang/compile_commands.json ] || CC=clang meson setup build-clang >/dev/null
ninja -C build-clang >/dev/null # headers and tables that are made
[ $# -gt 0 ] || set -- $(find src -name '*.c' ! -path '*/aarch64/*' ! -name '*_arm.c')
# One file a run: in the second file of a run, clang 14 takes every va_list for one that was not started.
printf '%s\n' "$@" | xargs -P "$(nproc)" -n 1 clang-tidy -p build-clang --quiet 2>/dev/null
