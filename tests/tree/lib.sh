# For the script tests: `check NAME COMMAND...` runs one check and prints the marks that cmocka prints, which
# tests/count.awk counts; `skip NAME REASON` says why one is not run. End a script with `exit $failed`.
failed=0
check() {
    echo "[ RUN      ] $1"
    check_name=$1
    shift
    if "$@"; then
        echo "[       OK ] $check_name"
    else
        echo "[  FAILED  ] $check_name"
        failed=1
    fi
}
skip() {
    echo "[ RUN      ] $1"
    echo "$2"
    echo "[  SKIPPED ] $1"
}
# Succeeds when the command prints nothing; what it prints is shown.
prints_nothing() {
    found=$("$@" 2>&1) || true
    [ -z "$found" ] || { printf '%s\n' "$found" | head -n 40; return 1; }
}
