#!/bin/sh
# snug run as people use it: streams, pipes, limits, interruption. usage: run.sh SNUG
set -eu
. tests/tree/lib.sh
snug=$1
model=models/tiny
prompt='Once upon a time,'
# What the reference implementation (transformers, float, greedy) goes on with.
story=' there was a man who had a son called Jack, and he was a man, and'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

same() { [ "$1" = "$2" ] || { printf 'expected: %s\n   found: %s\n' "$1" "$2"; return 1; }; }
greedy() { "$snug" run $model --temp 0 -n 18 "$@" 2>"$work/err"; }
tells() { same "$story" "$(greedy "$@")"; }
check "prompt as an argument" tells -p "$prompt"
printf '%s' "$prompt" >"$work/prompt"
check "prompt in a file" tells -f "$work/prompt"
from_stdin() { same "$story" "$(greedy <"$work/prompt")"; }
check "prompt on standard input" from_stdin
for threads in 1 2 3; do check "$threads threads" tells -p "$prompt" -t $threads; done
check "in float" tells -p "$prompt" --exact
check "ref back end" tells -p "$prompt" --backend ref
check "scalar kernels" tells -p "$prompt" --cpu scalar

# A seed fixes the text, whatever the threads; another seed changes it.
sampled() { "$snug" run $model -p "$prompt" -n 40 --temp 1.0 "$@" 2>/dev/null; }
same_seed() { same "$(sampled --seed 7 -t 1)" "$(sampled --seed 7 -t 2)"; }
other_seed() { [ "$(sampled --seed 7)" != "$(sampled --seed 8)" ]; }
check "a seed fixes the text" same_seed
check "another seed, another text" other_seed

stops() { same " there was a man who had a son" "$(greedy -p "$prompt" --stop ' called')"; }
check "a stop text is not given out" stops

field() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^,\"}]*\).*/\1/p" "$work/json" | head -n 1; }
json() {
    greedy -p "$prompt" --json >"$work/json"
    for name in text tokens prompt_tokens generated_tokens stop_reason load_ns prompt_eval_ns eval_ns bytes_per_token \
        share_of_limit; do
        grep -q "\"$name\":" "$work/json" || { echo "no field $name"; return 1; }
    done
    same 6 "$(field prompt_tokens)" && same 18 "$(field generated_tokens)" && same length "$(field stop_reason)"
}
check "--json" json

statistics() {
    greedy -p "$prompt" --verbose >/dev/null
    for line in 'total duration: ' 'load duration: ' 'prompt eval count: *6 token' 'prompt eval duration: ' \
        'prompt eval rate: .*tokens/s' 'eval count: *18 token' 'eval duration: ' 'eval rate: .*tokens/s' 'seed: '; do
        grep -qE "^$line" "$work/err" || { echo "no line $line"; cat "$work/err"; return 1; }
    done
}
check "--verbose" statistics

too_long() {
    status=0
    "$snug" run $model -f "$model/evaluation.txt" -n 4 >"$work/out" 2>"$work/err" || status=$?
    [ $status -ne 0 ] && [ ! -s "$work/out" ] && [ "$(wc -l <"$work/err")" -eq 1 ] &&
        grep -q 1024 "$work/err" && grep -qE '1[0-9]{5}' "$work/err" || { cat "$work/err"; return 1; }
}
check "a prompt beyond the context names both lengths" too_long

to_the_end() {
    "$snug" run $model -p "$prompt" -n -1 -c 64 --ignore-eos --json >"$work/json" 2>"$work/err"
    # 64 positions hold 6 tokens of the prompt and 58 generated ones, and the last position still predicts a 59th.
    same context "$(field stop_reason)" && same 59 "$(field generated_tokens)"
}
check "until the context's end" to_the_end

await_text() { # until what was started in the background has written into "out", which it made anew
    tries=0
    while [ ! -s "$work/out" ] && [ $tries -lt 400 ]; do sleep 0.02; tries=$((tries + 1)); done
}
# Interrupted once the text has begun: the program ends by itself, with its statistics.
interrupt() {
    rm -f "$work/out"
    "$snug" run $model -p "$prompt" -n -1 --ignore-eos --backend ref --verbose >"$work/out" 2>"$work/err" </dev/null &
    process=$!
    await_text
    kill -INT $process
    status=0
    wait $process || status=$?
    count=$(sed -n 's/^eval count: *\([0-9]*\).*/\1/p' "$work/err")
    # 1018 tokens would fill the context.
    [ -s "$work/out" ] && [ -n "$count" ] && [ "$count" -lt 1018 ] || { echo "status $status"; cat "$work/err"; return 1; }
}
closed_pipe() { # the reader goes away: no message about a signal, no hang
    "$snug" run $model -p "$prompt" -n 200 2>"$work/err" | head -c 10 >/dev/null
    ! grep -qi 'terminated\|core dumped' "$work/err"
}
full_disk() {
    status=0
    "$snug" run $model -p "$prompt" -n 8 >/dev/full 2>"$work/err" || status=$?
    [ $status -eq 1 ] && [ "$(wc -l <"$work/err")" -eq 1 ] || { echo "status $status"; cat "$work/err"; return 1; }
}
# Address space for the program and its libraries and nothing beside: a library that starts threads when it is loaded
# would not find room for their stacks.
little_memory() {
    for kilobytes in 100000 150000; do
        (ulimit -v $kilobytes && timeout 20 "$snug" --version) >"$work/out" 2>&1 ||
            { echo "status $? with $kilobytes kB"; cat "$work/out"; return 1; }
    done
}
no_foreign_threads() { # one thread asked for: one thread is there, half-way through a generation
    rm -f "$work/out"
    "$snug" run $model -p "$prompt" -n -1 --ignore-eos --backend ref -t 1 >"$work/out" 2>/dev/null </dev/null &
    process=$!
    await_text
    threads=$(find /proc/$process/task -mindepth 1 -maxdepth 1 | wc -l)
    kill -INT $process
    wait $process || true
    same 1 "$threads"
}
# A conversion that is asked to end, once its file has begun: nothing of it stays.
asked_to_end() {
    for signal in INT TERM; do
        "$snug" convert $model -o "$work/c.gguf" --outtype q8_0 --force >/dev/null 2>"$work/err" &
        process=$!
        tries=0
        while [ ! -e "$work/c.gguf.part" ] && [ $tries -lt 400 ] && kill -0 $process 2>/dev/null; do
            tries=$((tries + 1))
        done
        kill -$signal $process 2>/dev/null || :
        wait $process || :
        [ ! -e "$work/c.gguf.part" ] || { echo "SIG$signal leaves a part"; return 1; }
    done
}
check "a conversion that is asked to end" asked_to_end
plan_by_options() { # 22e9 bytes times 8, divided by 70e9 weights, is 2.51
    "$snug" plan --params 70e9 --vram 22G --kv-type f16 | grep -q 'up to 2.51 bits' || return 1
    "$snug" plan $model --kv-type q8_0 | grep -q 'KV cache in q8_0' || return 1
    "$snug" plan $model --kv-type q8_0 -ctk f32 | grep -q 'KV cache in f32/q8_0'
}
check "plans" plan_by_options
beyond_training() { # the model has seen 1024 tokens: more is done, with a warning
    for words in "run -p a -n 1" plan; do
        # shellcheck disable=SC2086 # one word an argument
        for context in 1024 1025; do
            "$snug" $words $model --ctx $context >"$work/out" 2>"$work/$context" || { cat "$work/$context"; return 1; }
        done
        [ ! -s "$work/1024" ] || { cat "$work/1024"; return 1; }
        grep -q 'warning: a context of 1025 tokens is more than the 1024' "$work/1025" || { echo "$words"; return 1; }
    done
}
check "a context beyond the training" beyond_training
missing_model() { # every command says so in one line and nothing else
    for words in "run -p a" "eval -f $0" "bench" "plan" "show" "tokenize -p a" "quantize -b 4 -o $work/none.gguf" \
        "convert -o $work/none.gguf"; do
        status=0
        # shellcheck disable=SC2086 # one word an argument
        "$snug" $words "$work/missing" >"$work/out" 2>"$work/err" </dev/null || status=$?
        [ $status -eq 1 ] && [ ! -s "$work/out" ] && [ "$(wc -l <"$work/err")" -eq 1 ] &&
            grep -q "$work/missing: cannot open" "$work/err" || { echo "$words"; cat "$work/out" "$work/err"; return 1; }
    done
}
check "a missing model" missing_model
check "interrupted" interrupt
check "little memory" little_memory
check "no threads but its own" no_foreign_threads
check "closed pipe" closed_pipe
check "full disk" full_disk
exit $failed
