/* snug_eval: perplexity of a model on a text, divergence from a reference, logits of given ids. */
#include <string.h>
#include "api/api.h"
#include "base/os.h"
#include "format/safetensors.h"
#include "runtime/score.h"
#include "runtime/token_stream.h"
#include "runtime/vocab_file.h"

static int32_t window_bos(const struct engine *en) { return en->tok && en->vocab.add_bos ? en->vocab.bos : -1; }

/* --- Log-probabilities in a file: "tokens" (n), whole windows as float, and "log_probs" (n_vocab, scored rows) --- */

struct base_out { struct safetensors_writer *w; struct tstream *s; size_t row_floats; };

static enum err_code base_create(struct base_out *b, const char *path, const struct windows *w, struct err *e) {
    uint64_t n = (uint64_t)w->n_windows * w->n_ctx, ne[] = { w->n_vocab, (uint64_t)windows_rows(w) * w->n_windows };
    TRY(safetensors_writer_new(&b->w, e));
    TRY(safetensors_writer_tensor(b->w, "tokens", QTYPE_F32, 1, &n, e));
    TRY(safetensors_writer_tensor(b->w, "log_probs", QTYPE_F32, 2, ne, e));
    TRY(safetensors_writer_open_file(b->w, path, &b->s, e));
    b->row_floats = (size_t)windows_rows(w) * w->n_vocab;
    for (uint64_t i = 0; i < n; i++) {
        float id = (float)w->ids[i];
        TRY(tstream_put(b->s, &id, sizeof id, e));
    }
    return ERR_NONE;
}

static enum err_code base_add(struct base_out *b, const float *log_probs, struct err *e) {
    return tstream_put(b->s, log_probs, b->row_floats * sizeof *log_probs, e);
}

static enum err_code base_finish(struct base_out *b, enum err_code rc, struct err *e) {
    if (b->s && !rc) rc = tstream_commit(b->s, e);
    else tstream_abandon(b->s, false);
    safetensors_writer_free(b->w);
    return rc;
}

struct base_in { struct os_map map; struct safetensors *file; const uint8_t *rows; size_t window_bytes; };

static const struct tfile_tensor *base_tensor(const struct base_in *b, const char *name) {
    for (size_t i = 0; i < b->file->n_tensors; i++)
        if (!strcmp(b->file->tensors[i].name, name) && b->file->tensors[i].type == QTYPE_F32)
            return &b->file->tensors[i];
    return NULL;
}

/* The file must hold at least the windows asked for, of the same tokens and vocabulary. */
static enum err_code base_check(struct base_in *b, const struct windows *w, struct err *e) {
    const struct tfile_tensor *tokens = base_tensor(b, "tokens"), *rows = base_tensor(b, "log_probs");
    uint64_t n = (uint64_t)w->n_windows * w->n_ctx;
    if (!tokens || !rows)
        return err_set(e, ERR_FORMAT, "it is no file of --save-base: tokens or log_probs are missing");
    if (rows->ne[0] != w->n_vocab)
        return err_set(e, ERR_FORMAT, "it was made with a vocabulary of %llu, the model has %u",
                       (unsigned long long)rows->ne[0], w->n_vocab);
    if (tokens->ne[0] < n || rows->ne[1] < (uint64_t)windows_rows(w) * w->n_windows)
        return err_set(e, ERR_FORMAT, "it holds fewer windows than are to be scored: use --chunks or make it again");
    for (uint64_t i = 0; i < n; i++) {
        float id;
        memcpy(&id, tokens->data + i * sizeof id, sizeof id);
        if (id != (float)w->ids[i])
            return err_set(e, ERR_FORMAT, "it was made from another text, context or tokenizer");
    }
    b->rows = rows->data;
    b->window_bytes = (size_t)windows_rows(w) * w->n_vocab * sizeof(float);
    return ERR_NONE;
}

static enum err_code base_open(struct base_in *b, const char *path, const struct windows *w, struct err *e) {
    TRY(os_map_open(path, &b->map, e));
    enum err_code rc = safetensors_open((struct span){ b->map.p, b->map.n }, &b->file, e);
    if (!rc) rc = base_check(b, w, e);
    return rc ? err_where(e, rc, "%s", path) : ERR_NONE;
}

static enum err_code base_rows(void *base_in, uint32_t window, float *logits, struct err *e) {
    const struct base_in *b = base_in;
    (void)e;
    memcpy(logits, b->rows + window * b->window_bytes, b->window_bytes);
    return ERR_NONE;
}

/* --- Scoring --- */

struct eval {
    const struct snug_eval_options *o;
    struct engine *en, *ref;
    struct windows w;
    int32_t *window_ids;
    struct model_source model, ref_model;
    struct base_in base;
    struct base_out save;
};

static void eval_fini(struct eval *v) {
    model_source_close(&v->model);
    model_source_close(&v->ref_model);
    safetensors_close(v->base.file);
    os_map_close(&v->base.map);
    engine_close(v->en);
    engine_close(v->ref);
    mem_free(v->window_ids);
}

static enum err_code keep_rows(void *user, uint32_t window, const float *log_probs, struct err *e) {
    struct eval *v = user;
    (void)window;
    return base_add(&v->save, log_probs, e);
}

static void tell_window(void *user, uint32_t window, double ppl) {
    struct eval *v = user;
    if (v->o->on_chunk) v->o->on_chunk(v->o->user, window, v->w.n_windows, ppl);
}

static enum err_code cut_text(struct eval *v, struct err *e) {
    struct token_stream all = { 0 };
    enum err_code rc = token_stream_source(&all, v->en, v->o->text_file, e);
    v->w.n_ctx = v->o->n_ctx ? v->o->n_ctx : 512;
    v->w.n_vocab = v->en->model->hp.n_vocab;
    if (!rc && v->w.n_ctx < 4) rc = err_set(e, ERR_USAGE, "a context of %u is too short to score", v->w.n_ctx);
    if (!rc)
        rc = windows_cut(all.ids, all.n, v->w.n_ctx, v->o->chunks, window_bos(v->en), &v->window_ids,
                         &v->w.n_windows, e);
    v->w.ids = v->window_ids;
    mem_free(all.ids);
    return rc;
}

static enum err_code open_reference(struct eval *v, struct err *e) {
    struct engine_options eo = api_engine_options(&v->o->open);
    TRY(engine_open(v->o->ref, &eo, &v->ref, e));
    char why[120] = "their sizes";
    bool same_size = v->ref->model->hp.n_vocab == v->en->model->hp.n_vocab;
    if (!same_size || !vocab_same(&v->ref->vocab, &v->en->vocab, why, sizeof why))
        return err_set(e, ERR_USAGE, "%s and %s cannot be compared, their vocabularies differ: %s", v->o->model,
                       v->o->ref, why);
    return model_source_open(&v->ref_model, v->ref, &v->w, e);
}

static enum err_code score(struct eval *v, struct snug_eval_result *out, struct err *e) {
    const struct snug_eval_options *o = v->o;
    struct engine_options eo = api_engine_options(&o->open);
    TRY(engine_open(o->model, &eo, &v->en, e));
    TRY(cut_text(v, e));
    TRY(model_source_open(&v->model, v->en, &v->w, e));
    struct score_desc d = { .windows = &v->w, .model = model_source_rows, .model_user = &v->model,
                            .on_window = tell_window,
                            .user = v, .progress = api_progress(&o->progress) };
    if (o->ref) {
        TRY(open_reference(v, e));
        d.ref = model_source_rows;
        d.ref_user = &v->ref_model;
    } else if (o->base) {
        TRY(base_open(&v->base, o->base, &v->w, e));
        d.ref = base_rows;
        d.ref_user = &v->base;
    }
    enum err_code rc = ERR_NONE;
    struct score_result r;
    if (o->save_base) {
        rc = base_create(&v->save, o->save_base, &v->w, e);
        d.keep = keep_rows;
    }
    if (!rc) rc = score_run(&d, &r, e);
    rc = base_finish(&v->save, rc, e);
    if (rc) return rc;
    *out = (struct snug_eval_result){ .ppl = r.ppl, .ppl_error = r.ppl_error, .tokens = r.tokens,
                                      .chunks = v->w.n_windows,
        .has_ref = d.ref != NULL, .ref_ppl = r.ref_ppl,
        .kld = { r.kld_mean, r.kld_error, r.kld_median, r.kld_p90, r.kld_p99, r.kld_p999, r.kld_max },
        .top1 = r.top1, .dp_mean = r.dp_mean, .dp_rms = r.dp_rms };
    return ERR_NONE;
}

/* --- Logits of one list of ids --- */

static enum err_code write_logits(const char *path, const float *logits, uint64_t n_vocab, uint64_t n_tok,
                                  struct err *e) {
    struct safetensors_writer *w;
    struct tstream *s = NULL;
    TRY(safetensors_writer_new(&w, e));
    enum err_code rc = safetensors_writer_tensor(w, "logits", QTYPE_F32, 2, (uint64_t[]){ n_vocab, n_tok }, e);
    if (!rc) rc = safetensors_writer_open_file(w, path, &s, e);
    if (!rc) rc = tstream_put(s, logits, n_vocab * n_tok * sizeof *logits, e);
    if (!rc) rc = tstream_commit(s, e);
    else tstream_abandon(s, false);
    safetensors_writer_free(w);
    return rc;
}

static enum err_code save_logits(struct eval *v, struct err *e) {
    struct engine_options eo = api_engine_options(&v->o->open);
    struct token_stream all = { 0 };
    struct session *s = NULL;
    bool *want = NULL;
    float *logits = NULL;
    enum err_code rc;
    TRY(engine_open(v->o->model, &eo, &v->en, e));
    uint64_t n_vocab = v->en->model->hp.n_vocab;
    TRY_OUT(rc, token_stream_source(&all, v->en, v->o->ids_file, e));
    if (!all.n) TRY_OUT(rc, err_set(e, ERR_USAGE, "%s: it holds no token ids", v->o->ids_file));
    struct pass_desc d = { .n_ctx = (uint32_t)all.n, .n_batch = (uint32_t)all.n, .n_out = (uint32_t)all.n };
    TRY_OUT(rc, session_open(v->en, &d, &s, e));
    want = mem_alloc(all.n, sizeof *want);
    logits = mem_alloc(all.n, n_vocab * sizeof *logits);
    if (!want || !logits) TRY_OUT(rc, err_no_memory(e, all.n * n_vocab * sizeof *logits));
    memset(want, 1, all.n * sizeof *want);
    TRY_OUT(rc, session_eval(s, &(struct batch){ .n = all.n, .ids = all.ids, .want = want }, logits, e));
    rc = write_logits(v->o->save_logits, logits, n_vocab, all.n, e);
out:
    session_close(s);
    mem_free(all.ids);
    mem_free(want);
    mem_free(logits);
    return rc;
}

static enum err_code check_options(const struct snug_eval_options *o, struct err *e) {
    if (!o->ids_file != !o->save_logits) return err_set(e, ERR_USAGE, "--ids and --save-logits go together");
    if (!o->ids_file && !o->text_file) return err_set(e, ERR_USAGE, "no text to evaluate: give one with -f FILE");
    if (o->ref && o->base) return err_set(e, ERR_USAGE, "--ref and --base exclude each other");
    return ERR_NONE;
}

int snug_eval(const struct snug_eval_options *o, struct snug_eval_result *out, struct snug_error *error) {
    struct err e = { 0 };
    struct eval v = { .o = o };
    memset(out, 0, sizeof *out);
    enum err_code rc = check_options(o, &e);
    if (!rc) rc = o->ids_file ? save_logits(&v, &e) : score(&v, out, &e);
    eval_fini(&v);
    return api_result(rc, &e, error);
}
