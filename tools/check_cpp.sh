#!/bin/sh
# cppcheck over the sources: warnings, performance and portability. Prints what it finds; silence is success.
# usage: check_cpp.sh [FILES...], from the top of the tree.
set -eu
[ $# -gt 0 ] || set -- src
cppcheck --enable=warning,performance,portability --error-exitcode=1 --quiet -j 2 --std=c11 -D_GNU_SOURCE -D__x86_64__ \
    -Isrc -Iinclude --suppressions-list=tools/cppcheck.txt --suppress=unmatchedSuppression "$@"
