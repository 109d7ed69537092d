#!/bin/sh
# `snug COMMAND --help` and the table behind the completions and the man page know the same options.
# usage: help.sh SNUG
set -eu
. tests/tree/lib.sh
snug=$1
table=tools/completions/options.txt

listed() { awk -F ' [|] ' -v c="$1" '$1 == "option" && ($2 == "*" || index(" " $2 " ", " " c " ")) { print $3 }' $table |
    tr ' ' '\n' | sort -u; }
# Spellings at the start of a help line: "  -p, --prompt TEXT   the prompt".
helped() { "$snug" "$1" --help | sed -n 's/^ *\(-[^ ].*\)/\1/p' | sed 's/  .*//' | grep -oE '(^|[ ,])--?[a-z][a-z0-9-]*' |
    tr -d ' ,' | sort -u; }
same_options() {
    listed "$1" >"$listed_file"
    helped "$1" | diff "$listed_file" - # < only in the table, > only in the help
}
listed_file=$(mktemp)
trap 'rm -f "$listed_file"' EXIT
for command in $(awk -F ' [|] ' '$1 == "command" { print $2 }' $table); do
    check "options of snug $command" same_options "$command"
done
commands_in_help() {
    for command in $(awk -F ' [|] ' '$1 == "command" { print $2 }' $table); do
        "$snug" --help | grep -qE "^ +$command( |\$)" || { echo "snug --help does not say $command"; return 1; }
    done
}
check "commands of snug" commands_in_help
exit $failed
