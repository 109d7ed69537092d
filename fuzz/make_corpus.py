#!/usr/bin/env python3
"""Writes the seed corpora of the fuzz targets: small files of each format, composed byte by byte from the formats'
definitions (docs/formats), without any code of this project. Run in fuzz/: python3 make_corpus.py"""
import json
import os
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
PACK = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}
T_F32, T_F16, T_Q8_0 = 0, 1, 8


def save(folder, name, data):
    os.makedirs(os.path.join("corpus", folder), exist_ok=True)
    with open(os.path.join("corpus", folder, name), "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


# --- GGUF ---

def text(s):
    b = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(b)) + b


def value(t, v):
    return text(v) if t == STR else struct.pack("<" + PACK[t], v)


def kv(key, t, v, elem=None):
    head = text(key) + struct.pack("<I", t)
    if t == ARR:
        return head + struct.pack("<IQ", elem, len(v)) + b"".join(value(elem, x) for x in v)
    return head + value(t, v)


def gguf(kvs, tensors, version=3, align=32, order="<"):
    """tensors: (name, dims fastest first, type, data)"""
    out = b"GGUF" + struct.pack(order + "IQQ", version, len(tensors), len(kvs)) + b"".join(kvs)
    at = 0
    for name, ne, t, data in tensors:
        out += text(name) + struct.pack("<I", len(ne)) + struct.pack("<%dQ" % len(ne), *ne) + struct.pack("<IQ", t, at)
        at += -(-len(data) // align) * align
    for _, _, _, data in tensors:
        out += bytes(-len(out) % align) + data
    return out + bytes(-len(out) % align)


def f32s(n):
    return struct.pack("<%df" % n, *[i * 0.5 - 1 for i in range(n)])


def q8_0(rows):
    return b"".join(struct.pack("<e32b", 0.25, *[i - 16 for i in range(32)]) for _ in range(rows))


SCALARS = [
    kv("general.architecture", STR, "llama"), kv("a.u8", U8, 200), kv("a.i8", I8, -100), kv("a.u16", U16, 60000),
    kv("a.i16", I16, -30000), kv("a.u32", U32, 4000000000), kv("a.i32", I32, -2000000000), kv("a.f32", F32, 1.5),
    kv("a.yes", BOOL, True), kv("a.no", BOOL, False), kv("a.u64", U64, 1 << 63), kv("a.i64", I64, -(1 << 62)),
    kv("a.f64", F64, -0.1), kv("a.empty", STR, ""), kv("a.text", STR, "größer"),
]
ARRAYS = [
    kv("b.u8", ARR, [1, 2, 255], U8), kv("b.i8", ARR, [-1, 0, 1], I8), kv("b.u16", ARR, [65535], U16),
    kv("b.i16", ARR, [-32768], I16), kv("b.u32", ARR, [8, 8, 4], U32), kv("b.i32", ARR, [-5, 7], I32),
    kv("b.f32", ARR, [0.0, -2.5], F32), kv("b.bool", ARR, [True, False, True], BOOL), kv("b.u64", ARR, [1 << 40], U64),
    kv("b.i64", ARR, [-1], I64), kv("b.f64", ARR, [1e300], F64), kv("b.none", ARR, [], U32),
    kv("b.str", ARR, ["", "a", "zwei", "a\0b"], STR),
]
TENSORS = [("token_embd.weight", [4, 3], T_F32, f32s(12)), ("blk.0.ffn_up.weight", [32, 2, 2], T_Q8_0, q8_0(4)),
           ("scalar", [], T_F32, f32s(1)), ("output_norm.weight", [3], T_F16, struct.pack("<3e", 1, 2, 3))]


def make_gguf():
    save("gguf", "all_types.gguf", gguf(SCALARS + ARRAYS, TENSORS))
    save("gguf", "version2.gguf", gguf(SCALARS[:3], TENSORS[:1], version=2))
    save("gguf", "aligned64.gguf", gguf([kv("general.alignment", U32, 64)], TENSORS[:2], align=64))
    save("gguf", "empty.gguf", gguf([], []))
    for i in range(2):
        keys = [kv("split.no", U16, i), kv("split.count", U16, 2), kv("split.tensors.count", I32, 4)]
        save("gguf", "set-%05d-of-00002.gguf" % (i + 1), gguf((SCALARS[:2] if i == 0 else []) + keys, TENSORS[2 * i:2 * i + 2]))
    save("gguf", "bad_big_endian.gguf", gguf([], [], order=">"))
    save("gguf", "bad_array_of_arrays.gguf", gguf([text("k") + struct.pack("<IIQIQ", ARR, ARR, 1, U8, 0)], []))
    save("gguf", "bad_huge_counts.gguf", b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60) + bytes(64))
    save("gguf", "bad_huge_string.gguf", gguf([struct.pack("<Q", (1 << 64) - 4) + b"key!" + bytes(32)], []))
    save("gguf", "bad_huge_dims.gguf", gguf([], [("t", [1 << 40, 1 << 40], T_F32, b"")]))


# --- safetensors ---

def safetensors(header, data, pad=8):
    b = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    b += b" " * (-len(b) % pad)
    return struct.pack("<Q", len(b)) + b + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def make_safetensors():
    save("safetensors", "mixed.safetensors", safetensors({
        "__metadata__": {"format": "pt"},
        "model.norm.weight": entry("F32", [2], 24, 32), "model.w": entry("BF16", [2, 3], 0, 12),
        "model.h": entry("F16", [3, 1, 2], 12, 24), "ids": entry("I64", [1], 32, 40), "scalar": entry("F32", [], 40, 44),
        "none": entry("F32", [0, 5], 44, 44), "conv": entry("U8", [1, 2, 1, 2, 2], 44, 52)}, bytes(range(52))))
    save("safetensors", "empty.safetensors", safetensors({}, b""))
    save("safetensors", "bad_overlap.safetensors",
         safetensors({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, bytes(12)))
    save("safetensors", "bad_hole.safetensors",
         safetensors({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 8, 12)}, bytes(12)))
    save("safetensors", "bad_shape.safetensors",
         safetensors({"a": entry("F32", [1 << 40, 1 << 40], 0, 4)}, bytes(4)))
    save("safetensors", "bad_length.safetensors", struct.pack("<Q", 1 << 62) + b"{}")
    save("safetensors", "index.json", json.dumps({"metadata": {"total_size": 24}, "weight_map": {
        "model.w": "model-00001-of-00002.safetensors", "model.h": "model-00002-of-00002.safetensors",
        "model.b": "model-00001-of-00002.safetensors"}}))


# --- JSON ---

def make_json():
    save("config", "llama.json", json.dumps({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 2048, "rms_norm_eps": 1e-05, "head_dim": None,
        "rope_parameters": {"rope_theta": 500000.0, "rope_type": "llama3", "factor": 32.0},
        "eos_token_id": [128001, 128008], "tie_word_embeddings": True, "vocab_size": 128256.0, "layers.3": 1}, indent=2))
    save("config", "tokenizer_config.json",
         '{"model_max_length": 1000000000000000019884624838656, "bos_token": {"content": "<s>"}, "add_bos_token": true}')
    save("config", "empty.json", "{}")
    save("config", "bad_duplicate.json", '{"a": 1, "a": 2}')
    save("config", "bad_deep.json", '{"a":' + "[" * 2100)
    lines = [{"text": "Once upon a time, größer"}, {"content": "two"}, {"messages": [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]}]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}]
    save("jsonl", "records.jsonl", "\n".join(json.dumps(x) for x in lines) + "\n\n")
    save("jsonl", "bad_line.jsonl", '{"text": "a"}\n{"text": \n')
    save("jsonl", "bad_record.jsonl", '{"text": "a"}\r\n{"other": 1}')
    save("jsonl", "ids.json", "[[1, 2, 3], [4]]")
    save("jsonl", "flat_ids.json", "[128000, 9906, 0]")


make_gguf()
make_safetensors()
make_json()
