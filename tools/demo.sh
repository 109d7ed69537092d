#!/bin/sh
# The main job, whole, on the model that ships: measure it, quantize it to 3 bits per weight, plan its memory, compare
# it with the original, generate from it, time it. Under a minute after the build, on two cores.
#
# usage: tools/demo.sh SNUG FOLDER-FOR-THE-RESULT        (from the top of the tree)
set -eu
snug=$1
mkdir -p "$2"
model=models/tiny
small=$2/tiny-3bpw.gguf

# Shows a command as one would type it, then runs it.
try() {
    printf '\n$ snug'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_./=+:-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$snug" "$@"
}

# Half of the default calibration: a model this small needs no more, and the whole demo stays under a minute.
try quantize "$model" -o "$small" -b 3.0 --calib-rows 64 --force
try plan "$small"
try eval "$small" --ref "$model" -f "$model/evaluation.txt" --chunks 16
try run "$small" -p 'Once upon a time,' -n 100 --seed 1 --verbose
try bench "$small" -p 256 -n 64 -r 2
printf '\nThe model is %s: %s bytes; the original has %s.\n' \
    "$small" "$(wc -c <"$small")" "$(wc -c <"$model/model.safetensors")"
