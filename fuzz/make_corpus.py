#!/usr/bin/env python3
"""Writes the seed corpora of the fuzz targets: small files of each format, composed byte by byte from the formats'
definitions (docs/formats), without any code of this project. Run in fuzz/: python3 make_corpus.py"""
import json
import os
import struct
import zlib

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


# --- Parquet ---

REQUIRED, OPTIONAL, REPEATED = range(3)
INT64, BYTE_ARRAY = 2, 6
PLAIN_PAGES, SNAPPY, GZIP, BROTLI, LZ4, ZSTD, LZ4_RAW = 0, 1, 2, 4, 5, 6, 7
PLAIN, RLE, DELTA_LENGTH, DELTA_STRINGS, RLE_DICTIONARY = 0, 3, 6, 7, 8


def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def zigzag(n):
    return varint(n << 1 if n >= 0 else (-n << 1) - 1)


class Long(int):
    """A number that its field keeps as i64, others are i32."""


def thrift(*fields):
    """A struct of (id, value): int, bool, bytes, list of ints, bytes or structs (tuples)."""
    out, last = b"", 0
    for i, v in fields:
        kind, data = thrift_value(v)
        out += bytes([i - last << 4 | kind]) + data
        last = i
    return out + b"\0"


def thrift_value(v):
    if isinstance(v, bool):
        return (1 if v else 2), b""
    if isinstance(v, int):
        return (6 if isinstance(v, Long) else 5), zigzag(v)
    if isinstance(v, bytes):
        return 8, varint(len(v)) + v
    if isinstance(v, tuple):
        return 12, thrift(*v)
    elements = [thrift_value(x) for x in v]
    kind = elements[0][0] if elements else 12
    head = bytes([len(v) << 4 | kind]) if len(v) < 15 else bytes([15 << 4 | kind]) + varint(len(v))
    return 9, head + b"".join(data for _, data in elements)


def snappy_stored(b):  # one literal
    return varint(len(b)) + (bytes([len(b) - 1 << 2]) if len(b) <= 60 else bytes([60 << 2, len(b) - 1])) + b


def lz4_stored(b):  # a last sequence without a match
    return (bytes([len(b) << 4]) if len(b) < 15 else bytes([15 << 4, len(b) - 15])) + b


def lz4_hadoop(b):  # two pieces, the first of two blocks
    blocks = [b[:5], b[5:9], b[9:]]
    piece = [lz4_stored(x) for x in blocks]
    framed = [struct.pack(">I", len(x)) + x for x in piece]
    return struct.pack(">I", 9) + framed[0] + framed[1] + struct.pack(">I", len(blocks[2])) + framed[2]


def zstd_stored(b):  # magic, a frame of one segment with its size, a last raw block
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(b)]) + (len(b) << 3 | 1).to_bytes(3, "little") + b


def brotli_stored(b):  # window of 16 bits; a block of plain bytes; an empty last block
    head = 0 | 0 << 1 | 0 << 2 | (len(b) - 1) << 4 | 1 << 20
    return head.to_bytes(3, "little") + b + b"\x03"


def gzip_two(b):  # two members, as some writers leave them
    def member(x):
        z = zlib.compressobj(9, zlib.DEFLATED, 31)
        return z.compress(x) + z.flush()
    return member(b[:4]) + member(b[4:])


PACKERS = {PLAIN_PAGES: bytes, SNAPPY: snappy_stored, GZIP: gzip_two, BROTLI: brotli_stored, LZ4: lz4_hadoop,
           ZSTD: zstd_stored, LZ4_RAW: lz4_stored}


def runs(levels, width):  # one run a level
    return b"".join(varint(1 << 1) + v.to_bytes((width + 7) // 8, "little") for v in levels)


def packed(values, width):  # one bit-packed run, filled up to a multiple of eight
    n = -(-len(values) // 8)
    bits = sum(v << i * width for i, v in enumerate(values))
    return varint(n << 1 | 1) + bits.to_bytes(n * width, "little")


def plain(strings):
    return b"".join(struct.pack("<I", len(x)) + x for x in strings)


def deltas(values):
    """DELTA_BINARY_PACKED with blocks of 128 in 4 miniblocks; only the miniblocks that hold values are there."""
    out = varint(128) + varint(4) + varint(len(values)) + zigzag(values[0] if values else 0)
    steps = [b - a for a, b in zip(values, values[1:])]
    for at in range(0, len(steps), 128):
        block = steps[at:at + 128]
        least = min(block)
        minis = [[x - least for x in block[i:i + 32]] for i in range(0, len(block), 32)]
        widths = [max(m).bit_length() for m in minis]
        out += zigzag(least) + bytes(widths + [0] * (4 - len(widths)))
        for m, w in zip(minis, widths):
            out += sum(v << i * w for i, v in enumerate(m)).to_bytes(4 * w, "little")
    return out


def shared(a, b):
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n


def strings(encoding, values):
    if encoding == PLAIN:
        return plain(values)
    if encoding == DELTA_LENGTH:
        return deltas([len(x) for x in values]) + b"".join(values)
    if encoding == DELTA_STRINGS:
        prefixes = [shared(a, b) for a, b in zip([b""] + values, values)]
        rest = [x[n:] for x, n in zip(values, prefixes)]
        return deltas(prefixes) + deltas([len(x) for x in rest]) + b"".join(rest)
    width = max(1, (len(set(values)) - 1).bit_length())
    order = sorted(set(values))
    return bytes([width]) + packed([order.index(x) for x in values], width)


def page(kind, codec, body, header, plain_head=b"", crc=False):
    stored = plain_head + PACKERS[codec](body)
    field = {0: 5, 2: 7, 3: 8}[kind]
    check = [(4, zlib.crc32(stored) - (1 << 32 if zlib.crc32(stored) >> 31 else 0))] if crc else []
    return thrift((1, kind), (2, len(plain_head) + len(body)), (3, len(stored)), *check, (field, header)) + stored


def chunk(rows, encoding=PLAIN, codec=PLAIN_PAGES, version=1, levels=None, max_def=1, max_rep=0, crc=False):
    """Pages of one column: dictionary if there is one, then data. rows: bytes or None; levels: (rep, def) or from rows."""
    values = [x for x in rows if x is not None]
    levels = levels or [(0, max_def if x is not None else max_def - 1) for x in rows]
    reps = runs([r for r, _ in levels], max_rep.bit_length()) if max_rep else b""
    defs = runs([d for _, d in levels], max_def.bit_length()) if max_def else b""
    out = b""
    if encoding == RLE_DICTIONARY:
        order = sorted(set(values))
        out += page(2, codec, plain(order), ((1, len(order)), (2, PLAIN)), crc=crc)
    data = strings(encoding, values)
    if version == 1:
        body = b"".join(struct.pack("<I", len(x)) + x for x in (reps, defs) if x) + data
        return out + page(0, codec, body, ((1, len(levels)), (2, encoding), (3, RLE), (4, RLE)), crc=crc), len(out)
    header = ((1, len(levels)), (2, len(levels) - len(values)), (3, sum(r == 0 for r, _ in levels)), (4, encoding),
              (5, len(defs)), (6, len(reps)))
    return out + page(3, codec, data, header, reps + defs, crc), len(out)


def leaf(name, repetition=OPTIONAL, kind=BYTE_ARRAY):
    return ((1, kind), (3, repetition), (4, name))


def group(name, n, repetition=OPTIONAL):
    return ((3, repetition), (4, name), (5, n))


def parquet(schema, groups, n_rows, extra=b""):
    """schema: elements without the root; groups: lists of (pages, dictionary bytes, codec, kind, values, path)."""
    out, described, at = b"PAR1", [], []
    for columns, rows in groups:
        chunks = []
        for pages, dictionary, codec, kind, n_values, path in columns:
            begin = len(out)
            out += pages
            where = [(9, Long(begin + dictionary))] + ([(11, Long(begin))] if dictionary else [])
            chunks.append(((2, Long(begin)), (3, (
                (1, kind), (2, [PLAIN, RLE]), (3, path), (4, codec), (5, Long(n_values)), (6, Long(len(pages))),
                (7, Long(len(pages))), *where))))
        described.append(((1, chunks), (2, Long(0)), (3, Long(rows))))
    top, i = 0, 0
    while i < len(schema):
        top, i = top + 1, after(schema, i)
    footer = thrift((1, 2), (2, [((4, b"schema"), (5, top))] + schema), (3, Long(n_rows)), (4, described), (6, b"made by hand"))
    return out + footer + extra + struct.pack("<I", len(footer) + len(extra)) + b"PAR1"


def after(schema, i):
    n, i = dict(schema[i]).get(5, 0), i + 1
    for _ in range(n):
        i = after(schema, i) if i < len(schema) else i
    return i


WORDS = [b"Once upon a time", None, b"Once upon a hill", "größer".encode(), b"", b"Once upon a time"]


def text_file(groups=1, **how):
    pages, dictionary = chunk(WORDS, **how)
    column = (pages, dictionary, how.get("codec", PLAIN_PAGES), BYTE_ARRAY, len(WORDS), [b"text"])
    ids = page(0, PLAIN_PAGES, struct.pack("<6q", *range(6)), ((1, 6), (2, PLAIN), (3, RLE), (4, RLE)))
    number = (ids, 0, PLAIN_PAGES, INT64, 6, [b"id"])
    return parquet([leaf(b"id", REQUIRED, INT64), leaf(b"text")], [([number, column], 6)] * groups, 6 * groups)


MESSAGES = [[(b"user", b"Hi"), (b"assistant", b"Hello")], None, [], [(b"gpt", None)]]


def chat_file(names=(b"role", b"content"), two_level=False, version=1, column=b"messages"):
    list_def = 1 if two_level else 2  # from which level on an element is there
    levels, values = [], [[], []]
    for row in MESSAGES:
        if not row:
            levels.append([(0, 0 if row is None else list_def - 1)] * 2)
        for i, message in enumerate(row or []):
            full = list_def + 1
            levels.append([(min(i, 1), full if x is not None else full - 1) for x in message])
            for k in range(2):
                values[k].append(message[k])
    columns = []
    for k in range(2):
        pages, _ = chunk(values[k], levels=[x[k] for x in levels], max_def=list_def + 1, max_rep=1, version=version)
        columns.append((pages, 0, PLAIN_PAGES, BYTE_ARRAY, len(levels), [column, names[k]]))
    struct_leaves = [leaf(names[0]), leaf(names[1])]
    if two_level:
        schema = [group(column, 2, REPEATED)] + struct_leaves
    else:
        schema = [group(column, 1), group(b"list", 1, REPEATED), group(b"element", 2, REQUIRED)] + struct_leaves
    return parquet(schema, [(columns, len(MESSAGES))], len(MESSAGES))


def make_parquet():
    def keep(name, data):
        save("parquet", name + ".parquet", data)
    keep("plain", text_file(groups=2))
    for name, codec in (("snappy", SNAPPY), ("gzip", GZIP), ("brotli", BROTLI), ("lz4", LZ4), ("zstd", ZSTD),
                        ("lz4_raw", LZ4_RAW)):
        keep(name, text_file(codec=codec, crc=True))
    for name, encoding in (("delta_length", DELTA_LENGTH), ("delta_strings", DELTA_STRINGS), ("dictionary", RLE_DICTIONARY)):
        keep(name, text_file(encoding=encoding))
        keep(name + "_v2", text_file(encoding=encoding, version=2, codec=ZSTD))
    keep("messages", chat_file())
    keep("messages_v2", chat_file(version=2))
    keep("conversations", chat_file((b"from", b"value"), two_level=True, column=b"conversations"))
    keep("no_rows", parquet([leaf(b"text")], [], 0))
    keep("bad_no_text", parquet([leaf(b"id", REQUIRED, INT64)], [], 0))
    keep("bad_cut", text_file()[:-1])
    keep("bad_encrypted", text_file()[:-4] + b"PARE")
    pages, _ = chunk(WORDS)

    def one(pages=pages, n_values=len(WORDS), rows=len(WORDS), codec=PLAIN_PAGES, schema=(leaf(b"text"),)):
        return parquet(list(schema), [([(pages, 0, codec, BYTE_ARRAY, n_values, [b"text"])], rows)], rows)
    keep("bad_rows", one(rows=1 << 40))
    keep("bad_values", one(n_values=1 << 40))
    keep("bad_codec", one(codec=3))
    keep("bad_children", one(schema=(group(b"text", 1 << 20),)))
    huge = thrift((1, 0), (2, 1 << 28), (3, 4), (5, ((1, 6), (2, PLAIN), (3, RLE), (4, RLE)))) + b"\xff\xff\xff\xff"
    for name, codec in (("snappy", SNAPPY), ("zstd", ZSTD), ("gzip", GZIP), ("lz4", LZ4_RAW), ("brotli", BROTLI)):
        keep("bad_bomb_" + name, one(huge, codec=codec))
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = bomb.compress(bytes(1 << 20)) + bomb.flush()
    keep("bad_bomb_more", one(thrift((1, 0), (2, 64), (3, len(bomb)), (5, ((1, 6), (2, PLAIN), (3, RLE), (4, RLE)))) + bomb,
                              codec=GZIP))
    cyclic = parquet([leaf(b"text")], [([(pages, 0, 0, BYTE_ARRAY, 6, [b"text"])], 6)] * 2, 12)
    second = zigzag(4 + len(pages))  # where the second row group begins: made the first's 4, in as many bytes
    keep("bad_cyclic", cyclic.replace(b"\x26" + second, b"\x26\x88\x00"))
    keep("bad_utf8", one(chunk([b"\xc0\x80"])[0], 1, 1))
    deep = [group(b"g%d" % i, 1) for i in range(60)] + [leaf(b"text")]
    keep("bad_deep", parquet(deep, [], 0))


# --- SentencePiece and tekken ---

def message(*fields):
    """(number, value): int is a varint, float 32 bits, bytes and str have a length; a message is its bytes."""
    out = b""
    for number, v in fields:
        if isinstance(v, int):
            out += varint(number << 3) + varint(v)
        elif isinstance(v, float):
            out += varint(number << 3 | 5) + struct.pack("<f", v)
        else:
            v = v.encode() if isinstance(v, str) else v
            out += varint(number << 3 | 2) + varint(len(v)) + v
    return out


def double_array(rules):
    """A precompiled charsmap: one block of 256 units for each node of the trie, so that children never collide."""
    nodes, texts, leaves = [{}], b"", {}
    for key, to in rules.items():
        at = 0
        for byte in key.encode():
            if byte not in nodes[at]:
                nodes[at][byte] = len(nodes)
                nodes.append({})
            at = nodes[at][byte]
        leaves[at] = len(texts)
        texts += to.encode() + b"\0"
    # A node's children stand at place[node] ^ byte, its leaf at place[node] itself.
    place = {n: 256 * (n + 1) for n in range(len(nodes))}
    units = [0] * (256 * (len(nodes) + 1))

    def unit(at, to, label, leaf):
        units[at] = (at ^ to) << 10 | leaf << 8 | label
    unit(0, place[0], 0, 0)
    for n, children in enumerate(nodes):
        for byte, child in children.items():
            unit(place[n] ^ byte, place[child], byte, child in leaves)
        if n in leaves:
            units[place[n]] = 1 << 31 | leaves[n]
    while units[-1] == 0:
        units.pop()
    blob = struct.pack("<%dI" % len(units), *units)
    return struct.pack("<I", len(blob)) + blob + texts


NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
SPACE = "\u2581"


def piece(text, score=0.0, kind=NORMAL):
    return 1, message((1, text), (2, score), (3, kind)) if kind != NORMAL else message((1, text), (2, score))


def make_sentencepiece():
    def keep(name, *fields):
        save("sentencepiece", name + ".model", message(*fields))
    special = [piece("<unk>", 0.0, UNKNOWN), piece("<s>", 0.0, CONTROL), piece("</s>", 0.0, CONTROL)]
    words = [piece(SPACE, -2.0), piece("a", -3.0), piece("b", -3.5), piece("ab", -2.5), piece(SPACE + "ab", -4.0),
             piece("h", -5.0), piece("e", -5.0), piece("he", -4.5), piece("TM", -6.0), piece("old", -1.0, UNUSED)]
    charsmap = double_array({"~": "TM"})
    keep("unigram", *special, piece("<tool>", 0.0, USER), *words, (2, message((3, 1), (4, 17), (43, 2**64 - 1))),
         (3, message((1, "small"), (2, charsmap))), (9, b"unknown"))
    keep("bpe", *special, piece("<0xC3>", 0.0, BYTE), piece("<0xA9>", 0.0, BYTE), *words,
         (2, message((3, 2), (35, 1))), (3, message((3, 1), (4, 0))))
    keep("bad_word_model", *words, (2, message((3, 3))))
    keep("bad_bytes", piece("<0x00>", 0.0, BYTE))
    keep("bad_type", (1, message((1, "a"), (3, 9))))
    keep("bad_score", (1, message((1, "a"), (2, 3))))
    keep("bad_none", (2, message((3, 1))))
    save("sentencepiece", "bad_cut.model", message(*words)[:-1])
    save("sentencepiece", "bad_group.model", b"\x0b")


def make_tekken():
    def tekken(pieces, n, special, listed=None):
        ranks = [{"rank": i, "token_bytes": b, "token_str": None} for i, b in enumerate(pieces)]
        root = {"config": {"pattern": "\\p{L}+|\\s+", "num_vocab_tokens": len(pieces), "default_vocab_size": n,
                           "default_num_special_tokens": special, "version": "v3"}, "vocab": ranks}
        return json.dumps({**root, "special_tokens": listed} if listed else root)
    five = ["YQ==", "Yg==", "IA==", "YWI=", "IGFi"]  # a, b, space, ab, space ab
    listed = [{"rank": 0, "token_str": "<unk>", "is_control": True}, {"rank": 1, "token_str": "<s>", "is_control": True},
              {"rank": 2, "token_str": "<tool>", "is_control": False}]
    save("tekken", "listed.json", tekken(five, 9, 4, listed))
    save("tekken", "plain.json", tekken(five + ["Yw=="], 27, 22))
    save("tekken", "bad_missing.json", tekken(five, 12, 4))
    save("tekken", "bad_base64.json", tekken(["YQ=", "Yg=="], 3, 1))
    save("tekken", "bad_specials.json", tekken(five, 1 << 24, (1 << 24) - 5))
    save("tekken", "bad_twice.json", tekken(five, 9, 4, listed + listed))


# --- Importances ---

def imatrix(entries, keys=True):
    """entries: (name, n_in, experts' counts, sums)"""
    about = [kv("general.type", STR, "imatrix"), kv("imatrix.datasets", ARR, ["a.txt", "b.txt"], STR),
             kv("imatrix.chunk_count", U32, 3), kv("imatrix.chunk_size", U32, 8)]
    tensors = []
    for name, n_in, counts, sums in entries:
        tensors += [(name + ".in_sum2", [n_in, len(counts)], T_F32, struct.pack("<%df" % len(sums), *sums)),
                    (name + ".counts", [1, len(counts)], T_F32, struct.pack("<%df" % len(counts), *counts))]
    return gguf(about if keys else about[1:], tensors)


def older(entries, origin=True):
    """entries: (name, calls, sums)"""
    out = struct.pack("<i", len(entries))
    for name, calls, sums in entries:
        out += struct.pack("<i", len(name)) + name + struct.pack("<ii", calls, len(sums)) + f32_list(sums)
    return out + (struct.pack("<ii", 3, 5) + b"a.txt" if origin else b"")


def f32_list(values):
    return struct.pack("<%df" % len(values), *values)


def make_imatrix():
    plain = [("blk.0.attn_q.weight", 4, [24], [24, 48, 0, 12]), ("blk.0.ffn_down.weight", 2, [0], [0, 0])]
    experts = [("blk.0.ffn_up_exps.weight", 2, [8, 0, 16], [8, 16, 0, 0, 64, 32])]
    old = [(b"blk.0.attn_q.weight", 3, [3, 6, 0, 1.5]), (b"blk.0.ffn_up_exps.weight", 0, [1, 2, 0, 0, 4, 2])]
    save("imatrix", "plain.gguf", imatrix(plain))
    save("imatrix", "experts.gguf", imatrix(experts))
    save("imatrix", "older.dat", older(old))
    save("imatrix", "oldest.dat", older(old, origin=False))
    save("imatrix", "bad_type.gguf", imatrix(plain, keys=False))
    save("imatrix", "bad_empty.gguf", imatrix([]))
    save("imatrix", "bad_counts.gguf", imatrix([("w", 3, [1, 1], [1, 1, 1, 1, 1, 1])]).replace(b"w.counts", b"w.countz"))
    save("imatrix", "bad_negative.gguf", imatrix([("w", 2, [1], [1, -1])]))
    save("imatrix", "bad_nan.dat", older([(b"w", 1, [1, float("nan")])]))
    save("imatrix", "bad_twice.dat", older([(b"w", 1, [1]), (b"w", 1, [2])]))
    save("imatrix", "bad_huge.dat", struct.pack("<iii", 1, 1, 0x77) + struct.pack("<ii", 1, 0x7fffffff))
    save("imatrix", "bad_many.dat", struct.pack("<i", 0x7fffffff) + bytes(64))
    save("imatrix", "bad_text.dat", b"Once upon a time there was no importance file.")


make_gguf()
make_safetensors()
make_json()
make_sentencepiece()
make_tekken()
make_parquet()
make_imatrix()
