#!/bin/sh
# The table of options is built into the program: what the code asks for is in it, and what is in it the code asks for.
# usage: help.sh SNUG
set -eu
. tests/tree/lib.sh
snug=$1
table=tools/completions/options.txt
fields() { awk -F ' [|] ' -v kind="$1" '$1 == kind' $table; }
commands=$(fields command | awk -F ' [|] ' '{ print $2 }')

# An option is asked for by its last spelling.
spelled=$(fields option | awk -F ' [|] ' '{ n = split($3, w, " "); print w[n] }' | sort -u)
asked=$(grep -ohE '"--?[a-z][a-z0-9-]+"' src/cli/*.c | tr -d '"' | grep -vx -- --version | sort -u)
differ() { [ "$spelled" = "$asked" ] || { printf '%s\n' "$spelled" >"$work/a"; printf '%s\n' "$asked" | diff "$work/a" -; }; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
check "options of the table are those of the code" prints_nothing differ

helps() { "$snug" "$1" --help >"$work/help" && grep -q "^usage: snug $1 " "$work/help" && grep -q -- '--json' "$work/help"; }
listed() { "$snug" --help | grep -qE "^ +$1 "; }
for command in $commands; do
    check "snug $command --help" helps "$command"
    check "snug --help says $command" listed "$command"
done

# fails STATUS WORDS...: that exit status, nothing on standard output, one line on standard error.
fails() {
    expected=$1 status=0
    shift
    "$snug" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
    [ "$status" -eq "$expected" ] && [ ! -s "$work/out" ] && [ "$(wc -l <"$work/err")" -eq 1 ] ||
        { echo "status $status"; cat "$work/out" "$work/err"; return 1; }
}
check "unknown command" fails 2 juggle
check "unknown option" fails 2 run models/tiny --temprature 1
suggests() { # suggests TEXT OPTION: what the line on standard error ends with
    "$snug" run models/tiny "$2" 2>"$work/err" || true
    grep -q -- "$1\$" "$work/err" || { cat "$work/err"; return 1; }
}
check "one letter wrong" suggests 'did you mean --temp?' --tmp
check "two letters swapped" suggests 'did you mean --threads?' --therads
check "nothing alike" suggests 'see snug run --help' --frob
check "nothing alike, long" suggests 'see snug run --help' --no-such-option
check "missing value" fails 2 run models/tiny -n
check "bad number" fails 2 run models/tiny -n many
check "half a pair" fails 2 bench models/tiny -pg 512,
check "a pair of which one is beyond 32 bits" fails 2 bench models/tiny -pg 512,4294967297
check "a list with no thread at all" fails 2 bench models/tiny -p 1 -n 0 -r 1 -t 1,0
check "no model" fails 2 run
check "model that is not there" fails 1 run "$work/nothing.gguf" -p x
check "folder without a model" fails 1 run "$work" -p x
exit $failed
