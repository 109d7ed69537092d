// Asks llama.cpp about a GGUF file that snug wrote: the same token ids, and the same probabilities as snug's logits?
// usage: PEER=FOLDER node llamacpp.mjs MODEL.gguf LINES TOKENS LOGITS LIMIT
//   LINES: a text file; TOKENS: one JSON array of ids a line, snug's for LINES, without special tokens
//   LOGITS: safetensors of snug, `logits` F32 (n, n_vocab) after each id of the file LOGITS.json
//   LIMIT: how large the mean KL divergence of llama.cpp's probabilities from snug's may be
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , path, linesFile, tokensFile, logitsFile, limit] = process.argv;
const entry = createRequire(process.env.PEER + "/x.js").resolve("node-llama-cpp");
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: 2 });
const model = await llama.loadModel({ modelPath: path });

function fail(text) {
    console.log(text);
    process.exit(1);
}

const tokens = readFileSync(tokensFile, "utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
const lines = readFileSync(linesFile, "utf8").trimEnd().split("\n");
if (lines.length !== tokens.length) fail(`${lines.length} lines, ${tokens.length} lists of tokens`);
lines.forEach((line, i) => {
    const theirs = JSON.stringify(Array.from(model.tokenize(line, false)));
    if (theirs !== JSON.stringify(tokens[i])) fail(`line ${i + 1}: llama.cpp has ${theirs}, snug ${JSON.stringify(tokens[i])}`);
});

const file = readFileSync(logitsFile);
const headerBytes = Number(file.readBigUInt64LE(0));
const { shape, data_offsets } = JSON.parse(file.toString("utf8", 8, 8 + headerBytes)).logits;
const [n, vocabulary] = shape.slice(-2);
const start = file.byteOffset + 8 + headerBytes + data_offsets[0];
const logits = new Float32Array(file.buffer.slice(start, start + 4 * n * vocabulary));
const ids = JSON.parse(readFileSync(logitsFile + ".json", "utf8"));

const context = await model.createContext({ contextSize: 512 });
const wanted = { generateNext: { probabilities: true, options: { temperature: 0 } } }; // 0: of the logits as they are
const answers = await context.getSequence().controlledEvaluate(ids.map((id) => [id, wanted]));
let sum = 0, sameBest = 0;
answers.forEach((answer, row) => {
    const ours = logits.subarray(row * vocabulary, (row + 1) * vocabulary);
    const best = ours.reduce((a, x, i) => (x > ours[a] ? i : a), 0);
    const total = ours.reduce((a, x) => a + Math.exp(x - ours[best]), 0);
    const theirs = answer.next.probabilities;
    if ([...theirs.keys()][0] === best) sameBest++;
    for (const [token, q] of theirs) {
        const logP = ours[token] - ours[best] - Math.log(total);
        if (q > 0) sum += Math.exp(logP) * (logP - Math.log(q));
    }
});
const mean = sum / answers.length;
console.log(`mean KL divergence ${mean.toExponential(2)} over ${answers.length} positions, same best ${sameBest}`);
process.exit(Math.abs(mean) <= Number(limit) && sameBest >= 0.9 * answers.length ? 0 : 1);
