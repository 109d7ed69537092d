#!/usr/bin/env bash
# Builds and runs every test: the suite, the suite under ASan and UBSan, the threaded part under TSan, the kernels on
# emulated processors, the checks of the tree and of an installation, what clang, cppcheck and clang-tidy say. Each test
# is a process of its own with a time limit. The last line is "N passed, N failed" (", N skipped"); the status is 0
# only if something ran and nothing failed. docs/testing.md tells the parts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Reference data that is too large for the repository. Tests that need it say that they skip when it is absent.
if [ -z "${SNUG_SHARED-}" ] && [ -d ../shared ]; then
    SNUG_SHARED=$(cd ../shared && pwd)
    export SNUG_SHARED
fi
jobs=$(nproc)
passed=0 failed=0 skipped=0
problems=

problem() { # counts a failure that no test program could report
    failed=$((failed + 1))
    problems+="FAILED  $*"$'\n'
}

skip() { # says why a part was left out
    skipped=$((skipped + 1))
    problems+="SKIPPED $*"$'\n'
}

# setup DIR MESON-OPTIONS...: configures a build folder if that was not done yet.
setup() {
    local dir=$1
    [ -f "$dir/build.ninja" ] || meson setup "$@" || { rm -rf "$dir"; problem "meson setup $dir"; return 1; }
}

# suite NAME DIR MESON-TEST-OPTIONS...: builds what the chosen tests need, runs them, adds up what their log says.
suite() {
    local name=$1 dir=$2 log counts status=0
    shift 2
    echo "== $name"
    log=$dir/meson-logs/$name
    rm -f "$log"*.txt
    "${fixed_layout[@]}" meson test -C "$dir" --num-processes "$jobs" --print-errorlogs --logbase "$name" "$@" ||
        status=$?
    counts=$({ cat "$log"*.txt 2>/dev/null || true; } | awk -f tests/count.awk)
    local p f s # of this suite
    read -r p f s <<<"$(tail -n 1 <<<"$counts")"
    [ "$status" -eq 0 ] || [ "$f" -gt 0 ] || { problem "$name: meson test ended with status $status"; }
    [ $((p + f + s)) -gt 0 ] || problem "$name: no test ran"
    problems+=$(sed '$d' <<<"$counts" | sed "s/^\([A-Z]* *\)/\1$name: /")$'\n'
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    echo "== $name: $p passed, $f failed, $s skipped"
}

# step NAME PROGRAM COMMAND...: one test, which needs PROGRAM and passes if the command succeeds.
step() {
    local name=$1 program=$2
    shift 2
    echo "== $name"
    if ! command -v "$program" >/dev/null; then
        skip "$name: $program is not here"
    elif "$@"; then
        passed=$((passed + 1))
    else
        problem "$name"
    fi
}

# Both compilers' warnings are errors; each has some that the other lacks.
clang_build() { CC=clang setup build-clang && ninja -C build-clang -j "$jobs"; }

# ThreadSanitizer of older compilers cannot place its tables where a kernel randomises many address bits.
fixed_layout=()
if setarch -R true 2>/dev/null; then fixed_layout=(setarch -R); fi

if setup build-test && { ninja -C build-test -j "$jobs" || { problem "build in build-test"; false; }; }; then
    suite plain build-test
    if command -v qemu-x86_64 >/dev/null && [ "$(uname -m)" = x86_64 ]; then
        # SSE4.2 and nothing newer: code of a later instruction set that leaks into the scalar path dies here.
        suite nehalem build-test --suite kernel --wrapper 'qemu-x86_64 -cpu Nehalem' --timeout-multiplier 8
    else
        skip "nehalem: qemu-x86_64 is not here, so no old processor to try the kernels on"
    fi
fi

# The same kernels as another compiler back end translates them, on an emulated 64-bit ARM; on a real one the suite has
# run them already.
arm_root=build-arm-root
arm_libraries() { [ -f $arm_root/cross.ini ] || tools/arm_root.sh $arm_root; }
if [ "$(uname -m)" != aarch64 ]; then
    if ! command -v qemu-aarch64 >/dev/null || ! command -v aarch64-linux-gnu-gcc >/dev/null; then
        skip "aarch64: qemu-aarch64 or aarch64-linux-gnu-gcc is not here"
    elif ! arm_libraries; then
        rm -rf $arm_root
        skip "aarch64: the package mirror gave no arm64 libraries to link to"
    elif setup build-arm --cross-file $arm_root/cross.ini -Dbench=false; then
        suite aarch64 build-arm test_kern test_device test_elem test_ops --timeout-multiplier 8
        # Armv8.0: neither dot products nor matrix products.
        QEMU_CPU=cortex-a53 suite cortex-a53 build-arm test_kern --timeout-multiplier 8
    fi
fi

step "clang build" clang clang_build
step cppcheck cppcheck tools/check_cpp.sh
step clang-tidy clang-tidy tools/tidy.sh

# Warnings are errors in builds without sanitizers only: what the sanitizers insert makes compilers warn about nothing.
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
if setup build-asan -Db_sanitize=address,undefined -Db_lundef=false -Dwerror=false -Dbench=false; then
    suite asan-ubsan build-asan --no-suite tree --no-suite e2e --no-suite long --timeout-multiplier 4
fi

export TSAN_OPTIONS=halt_on_error=1
if setup build-tsan -Db_sanitize=thread -Db_lundef=false -Dwerror=false -Dbench=false; then
    suite tsan build-tsan --suite threads --timeout-multiplier 8
fi

echo
printf '%s' "$problems" | grep . || true
line="$passed passed, $failed failed"
[ "$skipped" -eq 0 ] || line+=", $skipped skipped"
echo "$line"
[ "$failed" -eq 0 ] && [ $((passed + failed)) -gt 0 ]
