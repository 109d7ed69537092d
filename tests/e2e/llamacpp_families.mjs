// Asks llama.cpp about every family of models: the same probabilities from the GGUF that snug makes as from the
// original framework's reference logits? usage: PEER=FOLDER node llamacpp_families.mjs SNUG WORK_FOLDER [FAMILY...]
//
// The reference models have no tokenizer, and llama.cpp loads no model without one: each gets a stub of the right size.
import { createRequire } from "node:module";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

// What llama.cpp has not, or computes otherwise, is taken out of a model by changing config.json and by leaving out or
// renaming weights (weights: name -> new names). The reference is then what snug computes from the changed folder,
// which tests/golden holds against the original framework's logits with nothing changed. refused: llama.cpp does not
// load the model, and why.
const withoutLayer = (out) => (name) => {
    const n = Number(name.match(/layers\.(\d+)\./)?.[1] ?? -1);
    return n === out ? [] : [name.replace(/layers\.\d+\./, `layers.${n > out ? n - 1 : n}.`)];
};
// The second block n - 1 times: llama.cpp knows some variants by their number of blocks.
const withBlocks = (n) => (name) =>
    name.includes("layers.1.") ? Array.from({ length: n - 1 }, (_, i) => name.replace(".1.", `.${i + 1}.`)) : [name];
const families = [
    { name: "llama" }, { name: "llama-mha" }, { name: "llama-rope3" }, { name: "llama-yarn" }, { name: "llama-linear" },
    { name: "llama-bias" }, { name: "llama-sharded" }, { name: "mistral-nemo" },
    { name: "mistral", config: { sliding_window: null } }, // architecture llama has no windows there
    { name: "mixtral" }, { name: "mixtral-sharded" },
    // Dense blocks among those with experts are known of few architectures.
    { name: "qwen2-moe", config: { num_hidden_layers: 1, layer_types: null }, weights: withoutLayer(1) },
    { name: "qwen3-moe", config: { num_hidden_layers: 1, mlp_only_layers: [] }, weights: withoutLayer(0) },
    { name: "olmoe" }, { name: "granitemoe" }, { name: "glm4-moe" }, { name: "ernie4_5_moe" }, { name: "hunyuan-moe" },
    { name: "deepseek-v2", config: { n_group: 1, topk_group: 1 } }, // there a group is worth its two best, in V2 one
    { name: "deepseek-v2-lite", config: { num_hidden_layers: 27 }, weights: withBlocks(27) },
    { name: "deepseek-v3" },
    // The ends of yarn's ramp are whole dimensions there.
    { name: "gpt-oss", config: { rope_parameters: { rope_theta: 150000, rope_type: "default" } } },
    { name: "gpt-oss-mxfp4", config: { rope_parameters: { rope_theta: 150000, rope_type: "default" } } },
    { name: "glm4" }, { name: "olmo2" }, { name: "olmo3" }, { name: "granite" }, { name: "cohere" },
    { name: "cohere-qknorm", config: { num_hidden_layers: 64 }, weights: withBlocks(64) },
    { name: "cohere2" },
    { name: "starcoder2", config: { sliding_window: null }, limit: 2e-3 }, // its gelu is a table of half floats
    { name: "stablelm" }, { name: "stablelm-12b" },
    { name: "ernie4_5", config: { use_bias: false }, weights: (name) => (name.endsWith(".bias") ? [] : [name]) },
    { name: "exaone4", refused: "all heads together must be as wide as the model" },
    { name: "hunyuan-dense" },
    { name: "qwen2" }, { name: "qwen2-window", config: { use_sliding_window: false, layer_types: null } },
    { name: "qwen3" }, { name: "seed-oss" }, { name: "smollm3" }, { name: "ministral3" },
    // Its gelu is a table of half floats, and Gemma's scores are divided by the head's size.
    { name: "gemma", limit: 2e-3 }, { name: "gemma2", config: { query_pre_attn_scalar: 24 }, limit: 2e-3 },
    { name: "gemma3", config: { query_pre_attn_scalar: 24 }, limit: 2e-3 },
    { name: "phi3", config: { sliding_window: null } }, { name: "phi3-longrope" }, { name: "minimax-m2" },
];

const [, , snug, work, ...chosen] = process.argv;
const entry = createRequire(join(process.env.PEER, "x.js")).resolve("node-llama-cpp");
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: 2 });

function folderOf(name) {
    const places = [join("tests/data/arch", name), join(process.env.SNUG_SHARED ?? "/nowhere", "models/arch", name)];
    return places.map((place) => resolve(place)).find((place) => existsSync(place));
}

// A byte-level vocabulary of n pieces: the bytes, and pieces that no text leads to.
function stubTokenizer(n) {
    const shown = (b) => (b > 32 && b < 127) || (b > 160 && b < 173) || b > 173;
    const vocab = {};
    let next = 256; // bytes that are no visible character have one from here on
    for (let b = 0; b < 256; b++) vocab[String.fromCodePoint(shown(b) ? b : next++)] = b;
    for (let i = 256; i < n; i++) vocab["stub" + i] = i;
    const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
    return { version: "1.0", added_tokens: [], normalizer: null, pre_tokenizer: bytes, post_processor: null,
             decoder: bytes, model: { type: "BPE", vocab, merges: [] } };
}

// One safetensors file with the tensors under the names that rename gives them.
function copyWeights(from, to, rename) {
    const file = readFileSync(from), headerEnd = 8 + Number(file.readBigUInt64LE(0));
    const header = {}, parts = [];
    let end = 0;
    for (const [name, tensor] of Object.entries(JSON.parse(file.toString("utf8", 8, headerEnd)))) {
        for (const renamed of name === "__metadata__" ? [] : rename(name)) {
            const [first, last] = tensor.data_offsets;
            parts.push(file.subarray(headerEnd + first, headerEnd + last));
            header[renamed] = { ...tensor, data_offsets: [end, end + last - first] };
            end += last - first;
        }
    }
    const text = Buffer.from(JSON.stringify(header)), size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(text.length));
    writeFileSync(to, Buffer.concat([size, text, ...parts]));
}

// The family's model as it is compared, with a stub vocabulary.
function makeFolder({ config: changes, weights }, folder) {
    const dir = mkdtempSync(join(work, "model-")); // the folder's name is the model's, which llama.cpp looks into
    const config = { ...JSON.parse(readFileSync(join(folder, "config.json"), "utf8")), ...changes };
    writeFileSync(join(dir, "config.json"), JSON.stringify(config));
    writeFileSync(join(dir, "tokenizer.json"), JSON.stringify(stubTokenizer(config.vocab_size)));
    for (const file of readdirSync(folder).filter((file) => file.startsWith("model"))) {
        if (weights) copyWeights(join(folder, file), join(dir, file), weights);
        else symlinkSync(join(folder, file), join(dir, file));
    }
    return dir;
}

function readTensor(file, name) {
    const headerBytes = Number(file.readBigUInt64LE(0));
    const { shape, data_offsets: [from, to], dtype } = JSON.parse(file.toString("utf8", 8, 8 + headerBytes))[name];
    const start = file.byteOffset + 8 + headerBytes, bytes = file.buffer.slice(start + from, start + to);
    return { shape, data: dtype === "I32" ? new Int32Array(bytes) : new Float32Array(bytes) };
}

function softmax(logits) {
    const best = logits.reduce((a, x) => Math.max(a, x));
    const powers = Float64Array.from(logits, (x) => Math.exp(x - best));
    const sum = powers.reduce((a, x) => a + x);
    return powers.map((x) => x / sum);
}

// Token ids of each reference sequence and, for the last of them, the logits: [{ ids, rows: [logits, ...] }, ...].
function readReference(row, folder, dir) {
    const file = readFileSync(join(folder, "reference.safetensors"));
    const { shape: [n, length], data: ids } = readTensor(file, "input_ids"), given = readTensor(file, "logits");
    return Array.from({ length: n }, (_, s) => {
        const sequence = Array.from(ids.subarray(s * length, (s + 1) * length));
        const logits = row.config ? snugLogits(dir, sequence) : given;
        const [rows, vocabulary] = logits.shape.slice(-2), first = row.config ? 0 : s * rows;
        const rowOf = (_, i) => logits.data.subarray((first + i) * vocabulary, (first + i + 1) * vocabulary);
        return { ids: sequence, rows: Array.from({ length: rows }, rowOf) };
    });
}

function snugLogits(dir, ids) {
    const [list, out] = [join(work, "ids.json"), join(work, "logits")];
    writeFileSync(list, JSON.stringify(ids));
    execFileSync(snug, ["eval", dir, "--ids", list, "--save-logits", out, "--exact"], { stdio: "ignore" });
    return readTensor(readFileSync(out), "logits");
}

// The largest difference of any probability.
async function largestDifference(model, reference) {
    const context = await model.createContext({ contextSize: 256, sequences: reference.length, flashAttention: false,
        experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32" });
    const wanted = { generateNext: { probabilities: true, options: { temperature: 0 } } }; // of the logits as they are
    let worst = 0;
    for (const { ids, rows } of reference) {
        const answers = await context.getSequence().controlledEvaluate(ids.map((id) => [id, wanted]));
        rows.forEach((logits, i) => {
            const ours = softmax(logits), theirs = answers[ids.length - rows.length + i].next.probabilities;
            for (const [token, p] of theirs) worst = Math.max(worst, Math.abs(p - ours[token]));
        });
    }
    await context.dispose();
    return worst;
}

// The mark that the test deserves.
async function compare(row, folder) {
    const dir = makeFolder(row, folder), gguf = join(work, row.name + ".gguf");
    execFileSync(snug, ["convert", dir, "-o", gguf, "--outtype", "f32"], { stdio: "ignore" });
    let model;
    try {
        model = await llama.loadModel({ modelPath: gguf });
    } catch (error) {
        console.log(`${error.message.split("\n")[0]}${row.refused ? `, as expected: ${row.refused}` : ""}`);
        return row.refused ? " SKIPPED" : " FAILED ";
    }
    const worst = await largestDifference(model, readReference(row, folder, dir));
    console.log(`${row.name}: largest difference of a probability ${worst.toExponential(1)}`);
    await model.dispose();
    return worst < (row.limit ?? 1e-4) && !row.refused ? "      OK" : " FAILED ";
}

let failed = 0;
for (const row of families) {
    if (chosen.length && !chosen.includes(row.name)) continue;
    const folder = folderOf(row.name), mark = (kind) => console.log(`[ ${kind} ] ${row.name} in llama.cpp`);
    mark("RUN     ");
    if (!folder) console.log("the reference model is not at hand (SNUG_SHARED)");
    const result = folder ? await compare(row, folder) : " SKIPPED";
    mark(result);
    if (result === " FAILED ") failed = 1;
}
process.exit(failed);
