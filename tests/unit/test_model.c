/* Models: tensors bound to slots, the order of rows in both formats, and the graphs that blocks become. */
#include <math.h>
#include <unistd.h>

#include "../remove_all.h"
#include "base/num.h"
#include "format/gguf_write.h"
#include "format/safetensors.h"
#include "model_data.h"

/* --- Binding --- */

static struct model *open_ok(const char *path, bool shapes_only) {
    struct model *m;
    struct err e = { 0 };
    assert_ok(model_open(path, shapes_only, &m, &e), &e);
    return m;
}

/* Every family's folder: two matrices' shapes by the hyper-parameters, and every weight found by slot and by name. */
static void folders_bind(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        struct model *m = open_ok(source("%s%s", families[i].name, "").p, false);
        uint32_t per_block = 9 + (families[i].bias ? 7 : 0);
        assert_int_equal(m->n_weights, 2 + !families[i].tied + families[i].n_layer * per_block);
        assert_string_equal(m->hp.name, families[i].name);
        assert_string_equal(m->weights[0].name, "token_embd.weight");
        assert_string_equal(m->weights[1].name, "output_norm.weight");
        assert_int_equal(m->weights[0].ne[1], families[i].n_vocab);
        assert_null(model_weight(m, SLOT_ROPE_FREQS, 0));
        assert_null(model_weight(m, SLOT_ATTN_Q, families[i].n_layer));
        assert_int_equal(model_weight(m, SLOT_ATTN_Q_B, 0) != NULL, families[i].bias);
        const struct weight *k = model_weight(m, SLOT_ATTN_K, 1), *v = model_weight(m, SLOT_ATTN_V, 1);
        assert_string_equal(k->name, "blk.1.attn_k.weight");
        assert_string_equal(k->src->name, "model.layers.1.self_attn.k_proj.weight");
        assert_int_equal(k->ne[0], families[i].n_embd);
        assert_int_equal(k->ne[1], families[i].n_head_kv * families[i].head_dim);
        assert_int_equal(k->type, families[i].type);
        assert_int_equal(k->permute_heads, families[i].n_head_kv);
        assert_int_equal(v->permute_heads, 0);
        for (uint32_t w = 0; w < m->n_weights; w++)
            assert_ptr_equal(model_weight(m, m->weights[w].slot, m->weights[w].layer), &m->weights[w]);
        uint64_t stored = 0;
        for (size_t t = 0; t < m->file->n_tensors; t++) stored += tfile_tensor_weights(&m->file->tensors[t]);
        assert_int_equal(model_parameters(m), stored);
        model_close(m);
    }
}

static void parameters_of_public_configs(void **state) {
    (void)state;
    char *text;
    read_text(shared("models/configs/parameters.json").p, &text);
    static const char *const names[] = { "llama-2-7b", "llama-2-13b", "llama-2-70b", "llama-3.1-8b", "llama-3.2-1b",
                                         "llama-3.3-70b", "mistral-7b-v0.1", "mixtral-8x7b-v0.1", "qwen2.5-72b",
                                         "qwen3-30b-a3b", "gpt-oss-120b", "deepseek-v3" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char name[64];
        struct buf key = { 0 };
        snprintf(name, sizeof name, "models/configs/%s", names[i]);
        struct model *m = open_ok(shared(name).p, true);
        assert_null(m->weights[0].src);
        assert_int_equal(m->weights[0].type, m->hp.float_type);
        /* The names hold dots, which separate keys in a path: look the number up in the text. */
        buf_addf(&key, "\"%s\": ", names[i]);
        const char *at = strstr(text, key.p);
        assert_non_null(at);
        /* DeepSeek's biases for choosing experts are tensors of the file, but no parameters of the framework. */
        uint64_t beside = strcmp(names[i], "deepseek-v3") ? 0 : 58 * 256;
        assert_int_equal(model_parameters(m), strtoull(at + key.n, NULL, 10) + beside);
        buf_fini(&key);
        model_close(m);
    }
    mem_free(text);
}

/* A directory with a changed config.json beside links to the weights of a family. */
static struct path changed_folder(const char *family, const char *from, const char *to) {
    struct path dir, file;
    snprintf(dir.p, sizeof dir.p, "/tmp/snug-test-model-XXXXXX");
    assert_non_null(mkdtemp(dir.p));
    char *json;
    read_text(source("%s/%s", family, "config.json").p, &json);
    const char *at = strstr(json, from);
    if (!at) fail_msg("%s has no %s", family, from);
    struct buf b = { 0 };
    buf_add(&b, json, (size_t)(at - json));
    buf_addz(&b, to);
    buf_addz(&b, at + strlen(from));
    snprintf(file.p, sizeof file.p, "%.400s/config.json", dir.p);
    struct err e;
    assert_ok(os_write_file(file.p, b.p, b.n, &e), &e);
    snprintf(file.p, sizeof file.p, "%.400s/model.safetensors", dir.p);
    char full[4096];
    assert_non_null(realpath(source("%s/%s", family, "model.safetensors").p, full));
    assert_int_equal(symlink(full, file.p), 0);
    buf_fini(&b);
    mem_free(json);
    return dir;
}

static void misfits_are_named(void **state) {
    (void)state;
    static const struct { const char *family, *from, *to; enum err_code code; const char *says[2]; } cases[] = {
        { "llama", "\"vocab_size\": 325", "\"vocab_size\": 326", ERR_FORMAT, { "embed_tokens", "(256, 325)" } },
        { "llama", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", ERR_FORMAT, { "layers.2.", "missing" } },
        { "llama", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", ERR_UNSUPPORTED, { "layers.1.", "place" } },
        { "llama", "\"attention_bias\": false", "\"attention_bias\": true", ERR_FORMAT, { "q_proj.bias", "missing" } },
        { "llama-bias", "\"mlp_bias\": true", "\"mlp_bias\": false", ERR_UNSUPPORTED, { "proj.bias", "place" } },
        { "llama-rope3", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", ERR_FORMAT,
          { "lm_head.weight", "missing" } },
        { "llama", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4", ERR_FORMAT, { "k_proj", "(256, 128)" } },
        { "mistral-nemo", "\"head_dim\": 32", "\"head_dim\": 20", ERR_FORMAT, { "q_proj", "(80, 80)" } },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct path dir = changed_folder(cases[i].family, cases[i].from, cases[i].to);
        struct model *m = (struct model *)1;
        struct err e = { 0 };
        enum err_code rc = model_open(dir.p, false, &m, &e);
        assert_null(m);
        if (rc != cases[i].code || !strstr(e.msg, cases[i].says[0]) || !strstr(e.msg, cases[i].says[1]))
            fail_msg("%s: %s, \"%s\"", cases[i].to, err_name(rc), e.msg);
        if (!strstr(e.where, dir.p)) fail_msg("%s: the place is \"%s\"", cases[i].to, e.where);
        remove_all(dir.p);
    }
    /* A window is kept. A tied checkpoint may hold its head all the same. */
    struct path dir = changed_folder("mistral-nemo", "\"sliding_window\": null", "\"sliding_window\": 8");
    struct model *m = open_ok(dir.p, false);
    assert_int_equal(m->hp.window, 8);
    assert_true(layer_set_has(&m->hp.windowed, 2));
    model_close(m);
    remove_all(dir.p);
    dir = changed_folder("llama", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    m = open_ok(dir.p, false);
    assert_null(model_weight(m, SLOT_OUTPUT, 0));
    model_close(m);
    remove_all(dir.p);
}

/* Writes the tensors of m under dir with "model." cut from their names, and one more of four floats. */
static void write_bare(const struct model *m, const char *dir, const char *one_more) {
    struct safetensors_writer *w;
    struct tstream *s;
    struct err e;
    static const float four[4] = { 1, 2, 3, 4 };
    assert_ok(safetensors_writer_new(&w, &e), &e);
    for (size_t i = 0; i < m->file->n_tensors; i++) {
        const struct tfile_tensor *t = &m->file->tensors[i];
        const char *name = strncmp(t->name, "model.", 6) ? t->name : t->name + 6;
        assert_ok(safetensors_writer_tensor(w, name, t->type, t->n_dims, t->ne, &e), &e);
    }
    assert_ok(safetensors_writer_tensor(w, one_more, QTYPE_F32, 1, (const uint64_t[]){ 4 }, &e), &e);
    assert_ok(safetensors_writer_open(w, dir, &s, &e), &e);
    for (size_t i = 0; i < m->file->n_tensors; i++)
        assert_ok(tstream_put(s, m->file->tensors[i].data, m->file->tensors[i].bytes, &e), &e);
    assert_ok(tstream_put(s, four, sizeof four, &e), &e);
    assert_ok(tstream_commit(s, &e), &e);
    safetensors_writer_free(w);
}

static void prefixes_and_extras(void **state) {
    (void)state;
    struct model *m = open_ok(source("%s%s", "llama-mha", "").p, false), *bare;
    struct path dir = changed_folder("llama-mha", "\"llama\"", "\"llama\""), old;
    snprintf(old.p, sizeof old.p, "%.400s/model.safetensors", dir.p);
    unlink(old.p);
    write_bare(m, dir.p, "layers.0.self_attn.rotary_emb.inv_freq");
    bare = open_ok(dir.p, false);
    assert_int_equal(bare->n_weights, m->n_weights);
    assert_string_equal(bare->weights[0].src->name, "embed_tokens.weight");
    model_close(bare);
    unlink(old.p);
    write_bare(m, dir.p, "layers.0.self_attn.sinks");
    struct err e = { 0 };
    assert_int_equal(model_open(dir.p, false, &bare, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "layers.0.self_attn.sinks"));
    remove_all(dir.p);
    model_close(m);
}

/* --- Rows --- */

/* A head of 8: halves pair (0, 4) (1, 5) (2, 6) (3, 7), which GGUF puts side by side. */
static void rows_change_places(void **state) {
    (void)state;
    static const uint64_t halves[8] = { 0, 4, 1, 5, 2, 6, 3, 7 };
    for (uint64_t r = 0; r < 24; r++) {
        uint64_t expected = r / 8 * 8 + halves[r % 8];
        assert_int_equal(rope_row_in_halves(24, 3, r), expected);
        assert_int_equal(rope_row_in_neighbours(24, 3, expected), r);
    }
    struct model *m = open_ok(source("%s%s", "llama-bias", "").p, false);
    const struct weight *q = model_weight(m, SLOT_ATTN_Q, 1), *b = model_weight(m, SLOT_ATTN_K_B, 1);
    const struct weight *v = model_weight(m, SLOT_ATTN_V, 0);
    assert_int_equal(q->permute_heads, 4);
    assert_int_equal(model_file_row(q, 17), 16 + 8); /* head 1 of 16, i = 0, j = 1 */
    assert_int_equal(model_file_row(v, 17), 17);
    float rows[3 * 64], bias[32], plain[32];
    model_read_rows(q, 16, 3, rows);
    const float *file = (const float *)(const void *)q->src->data; /* llama-bias is F32 */
    for (unsigned i = 0; i < 64; i++) {
        assert_true(rows[i] == file[16 * 64 + i]);
        assert_true(rows[64 + i] == file[24 * 64 + i]);
        assert_true(rows[128 + i] == file[17 * 64 + i]);
    }
    model_read_rows(b, 0, 1, bias);
    model_read_file_rows(b, 0, 1, plain);
    for (unsigned i = 0; i < 32; i++) assert_true(bias[i] == plain[i / 16 * 16 + i % 2 * 8 + i % 16 / 2]);
    model_close(m);
}

/* llama.cpp's own files of tiny against the directory: the same hyper-parameters, and rows in the same order, as far as
 * 6-bit weights can say: a wrong order would differ by the weights' own size. */
static void llama_cpp_files_agree(void **state) {
    (void)state;
    struct model *hf = open_ok(shared("models/tiny").p, false);
    struct model *gguf = open_ok(shared("models/tiny/llamacpp/Q6_K.gguf").p, false);
    assert_same_hparams(&hf->hp, &gguf->hp);
    assert_int_equal(hf->hp.rope.pairing, ROPE_HALVES);
    assert_int_equal(gguf->hp.rope.pairing, ROPE_NEIGHBOURS);
    assert_int_equal(hf->n_weights, gguf->n_weights);
    for (uint32_t i = 0; i < hf->n_weights; i++) {
        const struct weight *a = &hf->weights[i], *b = &gguf->weights[i];
        assert_string_equal(a->name, b->name);
        assert_memory_equal(a->ne, b->ne, sizeof a->ne);
        assert_int_equal(b->permute_heads, 0);
        uint64_t n = a->ne[0] * a->ne[1];
        float *x = calloc(n, sizeof *x), *y = calloc(n, sizeof *y);
        model_read_rows(a, 0, a->ne[1], x);
        model_read_rows(b, 0, b->ne[1], y);
        double diff = 0, size = 0;
        for (uint64_t j = 0; j < n; j++) {
            diff += (x[j] - y[j]) * (x[j] - y[j]);
            size += x[j] * x[j];
        }
        if (sqrt(diff / size) > (qtype_is_float(b->type) ? 0 : 0.03)) fail_msg("%s: %g", a->name, sqrt(diff / size));
        free(x); free(y);
    }
    model_close(hf);
    model_close(gguf);
}

/* Writes m as GGUF, all F32, with divisors for llama3 scaling and, if odd is given, one more vector of zeros. */
static void write_gguf(const struct model *m, const char *path, const char *odd) {
    const struct hparams *hp = &m->hp;
    const struct { const char *key; uint32_t v; } counts[] = {
        { "llama.vocab_size", hp->n_vocab }, { "llama.context_length", hp->n_ctx_train },
        { "llama.embedding_length", hp->n_embd }, { "llama.block_count", hp->n_layer },
        { "llama.attention.head_count", hp->n_head }, { "llama.attention.head_count_kv", hp->n_head_kv },
        { "llama.attention.key_length", hp->head_dim }, { "llama.attention.value_length", hp->head_dim },
        { "llama.feed_forward_length", hp->n_ff },
    };
    const uint64_t half = hp->rope.n_rot / 2;
    bool llama3 = hp->rope.scaling == ROPE_SCALE_LLAMA3;
    struct gguf_writer *w;
    struct tstream *s;
    struct err e;
    float divisors[64] = { 0 };
    assert_ok(gguf_writer_new(&w, &e), &e);
    gguf_writer_str(w, "general.architecture", STR("llama"));
    gguf_writer_str(w, "general.name", STR("Some name"));
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) gguf_writer_u32(w, counts[i].key, counts[i].v);
    gguf_writer_f32(w, "llama.attention.layer_norm_rms_epsilon", hp->norm_eps);
    gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)hp->bos);
    gguf_writer_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)hp->eos);
    for (uint32_t i = 0; i < m->n_weights; i++) {
        const struct weight *x = &m->weights[i];
        unsigned n_dims = slot_info(x->slot)->matrix ? 2 : 1;
        assert_ok(gguf_writer_tensor(w, x->name, QTYPE_F32, n_dims, x->ne, &e), &e);
    }
    if (llama3) assert_ok(gguf_writer_tensor(w, "rope_freqs.weight", QTYPE_F32, 1, &half, &e), &e);
    if (odd) assert_ok(gguf_writer_tensor(w, odd, QTYPE_F32, 1, &half, &e), &e);
    assert_ok(gguf_writer_open(w, path, NULL, &s, &e), &e);
    for (uint32_t i = 0; i < m->n_weights; i++) {
        const struct weight *x = &m->weights[i];
        uint64_t n = x->ne[0] * x->ne[1];
        float *rows = calloc(n, sizeof *rows);
        model_read_rows(x, 0, x->ne[1], rows);
        assert_ok(tstream_put(s, rows, n * sizeof *rows, &e), &e);
        free(rows);
    }
    if (llama3) {
        rope_freq_divisors(&hp->rope, divisors);
        assert_ok(tstream_put(s, divisors, half * sizeof *divisors, &e), &e);
    }
    if (odd) assert_ok(tstream_put(s, (const float[64]){ 0 }, half * sizeof(float), &e), &e);
    assert_ok(tstream_commit(s, &e), &e);
    gguf_writer_free(w);
}

static void gguf_of_a_folder_is_the_same_model(void **state) {
    (void)state;
    static const char *const names[] = { "llama-rope3", "llama-bias", "mistral-nemo" };
    struct path path;
    snprintf(path.p, sizeof path.p, "/tmp/snug-test-model-%ld.gguf", (long)getpid());
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct model *hf = open_ok(source("%s%s", names[i], "").p, false);
        write_gguf(hf, path.p, NULL);
        struct model *gguf = open_ok(path.p, false);
        assert_string_equal(gguf->hp.name, "Some name");
        assert_int_equal(gguf->hp.head_dim, hf->hp.head_dim);
        assert_int_equal(gguf->hp.tied, hf->hp.tied);
        assert_int_equal(gguf->hp.attn_bias, hf->hp.attn_bias);
        assert_int_equal(gguf->hp.ffn_bias, hf->hp.ffn_bias);
        assert_int_equal(model_parameters(gguf), model_parameters(hf));
        /* Row r of GGUF's q is where the halves say it is in the directory's. */
        const struct weight *q = model_weight(gguf, SLOT_ATTN_Q, 0), *q_hf = model_weight(hf, SLOT_ATTN_Q, 0);
        float a[256], b[256];
        for (uint64_t r = 0; r < q->ne[1]; r++) {
            model_read_rows(q, r, 1, a);
            model_read_file_rows(q_hf, rope_row_in_halves(q->ne[1], hf->hp.n_head, r), 1, b);
            assert_memory_equal(a, b, q->ne[0] * sizeof *a);
        }
        const struct weight *freqs = model_weight(gguf, SLOT_ROPE_FREQS, 0);
        assert_int_equal(freqs != NULL, hf->hp.rope.scaling == ROPE_SCALE_LLAMA3);
        if (freqs) {
            float divisors[64];
            model_read_rows(freqs, 0, 1, divisors);
            rope_inv_freq(&gguf->hp.rope, divisors, 1, a);
            rope_inv_freq(&hf->hp.rope, NULL, 1, b);
            for (uint32_t p = 0; p < hf->hp.rope.n_rot / 2; p++) assert_float_equal(a[p] / b[p], 1, 2e-7);
        }
        model_close(gguf);
        struct err e = { 0 };
        write_gguf(hf, path.p, "blk.0.attn_sinks.weight");
        assert_int_equal(model_open(path.p, false, &gguf, &e), ERR_UNSUPPORTED);
        assert_non_null(strstr(e.msg, "blk.0.attn_sinks.weight"));
        assert_non_null(strstr(e.where, path.p));
        write_gguf(hf, path.p, "blk.0.attn_rot_embd.weight"); /* what old converters left in */
        model_close(open_ok(path.p, false));
        model_close(hf);
    }
    /* Divisors of zero. */
    struct model *hf = open_ok(source("%s%s", "llama-mha", "").p, false), *gguf;
    struct err e = { 0 };
    write_gguf(hf, path.p, "rope_freqs.weight");
    assert_int_equal(model_open(path.p, false, &gguf, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "rope_freqs.weight holds 0"));
    unlink(path.p);
    model_close(hf);
}

/* --- Graphs --- */

struct stage { const struct model *m; struct { enum slot s; tensor_id x; } taps[16]; unsigned n_taps; };
static tensor_id place_weight(void *user, struct graph *g, enum slot s, uint32_t layer) {
    const struct weight *w = model_weight(((struct stage *)user)->m, s, layer);
    bool matrix = slot_info(s)->matrix;
    return graph_weight(g, w->name, matrix ? w->type : QTYPE_F32, w->ne, matrix ? 2 : 1, (struct place){ 1, 0 });
}
static void note_tap(void *user, enum slot s, uint32_t layer, tensor_id x) {
    struct stage *st = user;
    (void)layer;
    st->taps[st->n_taps].s = s;
    st->taps[st->n_taps++].x = x;
}

static void blocks_are_built(void **state) {
    (void)state;
    static const enum op_kind whole[] = {
        OP_GET_ROWS, OP_NORM, OP_MATMUL, OP_MATMUL, OP_MATMUL, OP_ROPE, OP_ROPE, OP_KV_STORE, OP_KV_STORE,
        OP_ATTENTION, OP_MATMUL, OP_ADD, OP_NORM, OP_MATMUL, OP_MATMUL, OP_GLU, OP_MATMUL, OP_ADD,
        OP_NORM, OP_MATMUL,
    };
    static const enum slot tapped[] = { SLOT_ATTN_Q, SLOT_ATTN_K, SLOT_ATTN_V, SLOT_ATTN_OUT, SLOT_FFN_GATE,
                                        SLOT_FFN_UP, SLOT_FFN_DOWN };
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        struct model *m = open_ok(source("%s%s", families[i].name, "").p, false);
        struct stage st = { .m = m };
        struct graph *g = graph_new();
        const uint64_t kv[2] = { m->hp.n_head_kv * m->hp.head_dim, 64 }, n_tok = 3, half = m->hp.rope.n_rot / 2;
        struct build b = { .g = g, .m = m, .weight = place_weight, .user = &st, .tap = note_tap, .page = 16 };
        b.pos = graph_input(g, "pos", TENSOR_I32, &n_tok, 1);
        b.seq = graph_input(g, "seq", TENSOR_I32, &n_tok, 1);
        b.cells = graph_input(g, "cells", TENSOR_I32, &n_tok, 1);
        b.pages = graph_input(g, "pages", TENSOR_I32, (const uint64_t[]){ 4, 2 }, 2);
        b.inv_freq = graph_input(g, "inv_freq", QTYPE_F32, &half, 1);
        b.k_cache = graph_kv(g, "k", QTYPE_F32, kv, 2, (struct place){ 2, 0 });
        b.v_cache = graph_kv(g, "v", QTYPE_F32, kv, 2, (struct place){ 3, 0 });
        tensor_id ids = graph_input(g, "ids", TENSOR_I32, &n_tok, 1);
        tensor_id logits = model_build_head(&b, model_build_block(&b, 1, model_build_embed(&b, ids)));
        struct err e = { 0 };
        if (logits != NO_TENSOR) graph_output(g, logits);
        assert_ok(graph_finish(g, &e), &e);
        assert_int_equal(graph_tensor(g, logits)->ne[0], families[i].n_vocab);
        assert_int_equal(graph_tensor(g, logits)->ne[1], 3);
        assert_int_equal(g->n_ops, ARRAY_LEN(whole));
        for (size_t k = 0; k < ARRAY_LEN(whole); k++) assert_int_equal(g->ops[k].kind, whole[k]);
        assert_true(g->ops[5].rope.magnitude == m->hp.rope.attn_factor);
        assert_int_equal(g->ops[5].rope.pairing, ROPE_HALVES);
        assert_float_equal(g->ops[9].attn.scale, 1 / sqrt(families[i].head_dim), 1e-7);
        assert_int_equal(g->ops[2].src[2] != NO_TENSOR, families[i].bias);
        assert_int_equal(g->ops[16].src[2] != NO_TENSOR, families[i].bias);
        assert_string_equal(graph_tensor(g, g->ops[19].src[0])->name,
                            families[i].tied ? "token_embd.weight" : "output.weight");
        /* Taps name each matrix and see what goes into it. */
        assert_int_equal(st.n_taps, ARRAY_LEN(tapped) + 1);
        for (size_t k = 0; k < ARRAY_LEN(tapped); k++) assert_int_equal(st.taps[k].s, tapped[k]);
        assert_int_equal(st.taps[7].s, families[i].tied ? SLOT_TOKEN_EMBD : SLOT_OUTPUT);
        assert_int_equal(st.taps[0].x, g->ops[1].dst);
        assert_int_equal(st.taps[3].x, g->ops[9].dst);
        assert_int_equal(st.taps[6].x, g->ops[15].dst);
        graph_free(g);
        model_close(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_bind),          cmocka_unit_test(parameters_of_public_configs),
        cmocka_unit_test(misfits_are_named),     cmocka_unit_test(prefixes_and_extras),
        cmocka_unit_test(rows_change_places),    cmocka_unit_test(llama_cpp_files_agree),
        cmocka_unit_test(blocks_are_built),      cmocka_unit_test(gguf_of_a_folder_is_the_same_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
