#!/bin/sh
# What snug writes loads in llama.cpp unchanged: same tokens, same probabilities. llama.cpp comes from npm, as a test
# tool only; where npm cannot fetch it, this says so and is skipped. usage: llamacpp.sh SNUG BUILD_FOLDER
set -eu
. tests/tree/lib.sh
snug=$1
build=$2
model=models/tiny
. tests/e2e/peer.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Lines of prose as they are, and some that tokenizers trip over.
{ sed -n '200,400p' $model/evaluation.txt | grep . | head -n 40
  printf '%s\n' "don't  stop   (here)!" "1234567 89" "Ärger, naïve, 東京, 🙂 <|end_of_text|>"; } >"$work/lines"
"$snug" tokenize $model -f "$work/lines" --json >"$work/all.json"
while IFS= read -r line; do
    "$snug" tokenize $model -p "$line" --no-bos --no-parse-special --json | tr -d '\n ' |
        sed 's/.*"ids":\(\[[0-9,]*\]\).*/\1/'
    echo
done <"$work/lines" >"$work/tokens"
tr -d '\n ' <"$work/all.json" | sed 's/.*"ids":\[\([0-9,]*\)\].*/\1/' | cut -d, -f1-200 | sed 's/.*/[&]/' >"$work/ids.json"

agrees() { # agrees FILE LIMIT
    "$snug" eval "$1" --ids "$work/ids.json" --save-logits "$work/logits" --exact &&
        cp "$work/ids.json" "$work/logits.json" &&
        PEER=$peer node tests/e2e/llamacpp.mjs "$1" "$work/lines" "$work/tokens" "$work/logits" "$2"
}
# llama.cpp rounds activations to 8 bits before it multiplies with a quantized matrix, snug with --exact does not: on
# this model that rounding alone costs about 0.001.
check "convert to f16" "$snug" convert $model -o "$work/f16.gguf" --outtype f16
check "llama.cpp agrees on f16" agrees "$work/f16.gguf" 0.0001
check "convert to q8_0" "$snug" convert $model -o "$work/q8_0.gguf" --outtype q8_0
check "llama.cpp agrees on q8_0" agrees "$work/q8_0.gguf" 0.003
check "quantize to a mix" "$snug" quantize $model -o "$work/mix.gguf" -b 3.5 --calib-rows 8
check "llama.cpp agrees on the mix" agrees "$work/mix.gguf" 0.003
exit $failed
