// Speeds of llama.cpp through node-llama-cpp, for bench/compare. Reads one test a line from standard input,
// {"prompt":P,"gen":N,"depth":D,"reps":R}, and answers each with a line {"tok_s":...}; the first line that it prints
// says which of its CPU back ends was loaded. What is timed is what `snug bench` times: a prompt in one go, or one token
// after another at the likeliest, on a context that already holds D tokens; one run to warm up, then the mean of R.
//
//   node llama.mjs FOLDER-OF-NODE_MODULES MODEL.gguf THREADS CONTEXT
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [, , folder, path, threads, contextSize] = process.argv;
const BATCH = 512; // tokens that the model computes at once, on both sides

const entry = createRequire(join(folder, "x.js")).resolve("node-llama-cpp");
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: +threads });
const model = await llama.loadModel({ modelPath: path });
const context = await model.createContext({
    contextSize: +contextSize, batchSize: BATCH, threads: { ideal: +threads, min: +threads }, flashAttention: true,
});
const sequence = context.getSequence();

// Speed does not depend on which tokens they are.
const vocabulary = model.fileInfo.metadata.tokenizer.ggml.tokens.length;
const token = (i) => (i * 7919) % vocabulary;
const tokens = (from, n) => Array.from({ length: n }, (_, i) => token(from + i));
const feed = (from, n) => sequence.evaluateWithoutGeneratingNewTokens(tokens(from, n));

async function truncate(n) {
    const length = sequence.nextTokenIndex;
    if (length > n) await sequence.eraseContextTokenRanges([{ start: n, end: length }]);
}

async function generate(n, from) {
    let left = n;
    for await (const _ of sequence.evaluate([token(from)], { temperature: 0, yieldEogToken: true }))
        if (--left === 0) break;
}

async function seconds({ prompt, gen, depth }) {
    await truncate(depth);
    const start = performance.now();
    if (prompt) await feed(depth, prompt);
    if (gen) await generate(gen, depth + prompt);
    return (performance.now() - start) / 1000;
}

async function measure(test) {
    await truncate(0);
    if (test.depth) await feed(0, test.depth);
    await seconds(test);
    let sum = 0;
    for (let r = 0; r < test.reps; r++) sum += (test.prompt + test.gen) / (await seconds(test));
    return sum / test.reps;
}

const loaded = readFileSync("/proc/self/maps", "utf8").match(/libggml-cpu[^/\s]*\.so/);
console.log(JSON.stringify({ library: loaded ? loaded[0] : "unknown" }));
for await (const line of createInterface({ input: process.stdin }))
    console.log(JSON.stringify({ tok_s: await measure(JSON.parse(line)) }));
process.exit(0);
