#!/bin/sh
# clang-tidy over the sources with the checks of .clang-tidy. Prints what it finds; silence is success.
# usage: tidy.sh [FILES...], from the top of the tree. What was clean is looked at again after it, a header, a table or
# the checks have changed. The kernels of 64-bit ARM are looked at where build-arm is set up (docs/testing.md).
set -eu
[ -f build-clang/compile_commands.json ] || CC=clang meson setup build-clang >/dev/null
ninja -C build-clang >/dev/null # headers and tables that are made
[ $# -gt 0 ] || set -- $(find src -name '*.c')
# One file a run: in the second file of a run, clang 14 takes every va_list for one that was not started.
printf '%s\n' "$@" | xargs -P "$(nproc)" -n 1 sh -c '
    build=build-clang
    case $1 in */arm/* | *_arm.c) [ "$(uname -m)" = aarch64 ] || build=build-arm ;; esac
    case $1 in */x86/* | *_x86.c) [ "$(uname -m)" = x86_64 ] || exit 0 ;; esac
    [ -f $build/compile_commands.json ] || exit 0
    clean=$build/tidy/$1
    later=$(find "$1" src include .clang-tidy \( -path "$1" -o -name "*.h" -o -name "*.def" -o -name .clang-tidy \) \
            -newer "$clean" 2>&1 | head -n 1) # says so where there is no such file
    [ -n "$later" ] || exit 0
    clang-tidy -p $build --quiet "$1" 2>/dev/null || { echo "$1 is not clean"; exit 1; }
    mkdir -p "${clean%/*}"
    touch "$clean"' sh
