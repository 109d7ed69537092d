#!/bin/sh
# What snug writes loads in llama.cpp unchanged: same tokens, same probabilities. llama.cpp comes from npm, as a test
# tool only; where npm cannot fetch it, this says so and is skipped. usage: llamacpp.sh SNUG BUILD_FOLDER
set -eu
. tests/tree/lib.sh
snug=$1
peer=$2/peer-llamacpp
model=models/tiny
version=3.22.1 # of node-llama-cpp; its prebuilt programs hold llama.cpp

give_up() { echo "llama.cpp was not asked: $1"; exit 77; }
command -v node >/dev/null && command -v npm >/dev/null || give_up "node and npm are not here"
case $(uname -m) in x86_64) machine=x64 ;; aarch64) machine=arm64 ;; *) give_up "no prebuilt llama.cpp for $(uname -m)" ;; esac
if [ ! -d "$peer/node_modules/node-llama-cpp" ]; then
    mkdir -p "$peer"
    echo '{"private": true}' >"$peer/package.json"
    timeout 240 npm install --prefix "$peer" --no-save --ignore-scripts --omit=optional --no-audit --no-fund --silent \
        "node-llama-cpp@$version" "@node-llama-cpp/linux-$machine@$version" >"$peer/log" 2>&1 </dev/null ||
        { rm -rf "$peer"; give_up "npm could not fetch node-llama-cpp $version"; }
fi

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
