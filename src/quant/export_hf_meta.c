/* Owns the way back from hyper-parameters to config.json, in the spelling that most public models have ("rope_theta"
 * beside "rope_scaling"). Promises that hparams_read gets the same numbers out of it. */
#include "quant/export_hf_meta.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/num.h"
#include "base/os.h"
#include "model/arch.h"
#include "model/hparams_keys.h"

static const double pi = 3.14159265358979323846;
enum { LLAMA3_ORIGINAL_CTX = 8192, MAX_CONFIG_BYTES = 16 << 20 };

static int add_text(const char *p, size_t n, void *out) {
    buf_add(out, p, n);
    return 0;
}

enum err_code hf_meta_json(struct json_t *v, struct buf *out, struct err *e) {
    if (!v) return err_no_memory(e, 0);
    int failed = json_dump_callback(v, add_text, out, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    json_decref(v);
    buf_addc(out, '\n');
    return failed ? err_set(e, ERR_FORMAT, "a text in the metadata is not valid UTF-8") : buf_status(out, e);
}

/* The double with the fewest digits that is this float: 1e-05 instead of 9.9999997e-06. */
static json_t *real(float v) {
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v) break;
    }
    return json_real(strtod(text, NULL));
}

static void put(json_t *o, const char *key, json_t *v) { json_object_set_new(o, key, v); }

/* --- Rotary scaling --- */

/* Share of the unscaled angle in a divisor: 1 for pairs that turn often, 0 for those that hardly turn. */
static double smooth_of(float divisor, float factor) { return (1.0 / divisor - 1.0 / factor) / (1 - 1.0 / factor); }

static bool same_divisors(const struct rope_params *r, const float *divisors, float *scratch) {
    rope_freq_divisors(r, scratch);
    for (uint32_t i = 0; i < r->n_rot / 2; i++)
        if (fabsf(scratch[i] - divisors[i]) > 1e-5f * divisors[i]) return false;
    return true;
}

/* Between the bands the share is linear in the angle: share = a * angle - b, with a = original / (2 pi (high - low))
 * and b = low / (high - low). Least squares over the pairs there; two at least are needed. */
static bool fit_bands(struct rope_params *r, const float *divisors) {
    double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (uint32_t i = 0; i < r->n_rot / 2; i++) {
        if (divisors[i] <= 1 || divisors[i] >= r->factor) continue;
        double x = pow(r->base, -2.0 * i / r->n_rot), y = smooth_of(divisors[i], r->factor);
        n++, sx += x, sy += y, sxx += x * x, sxy += x * y;
    }
    if (n < 2) return false;
    double a = (n * sxy - sx * sy) / (n * sxx - sx * sx), b = (a * sx - sy) / n;
    double width = r->original_ctx / (2 * pi * a); /* high - low */
    r->low_freq_factor = (float)(b * width);
    r->high_freq_factor = (float)((1 + b) * width);
    return r->low_freq_factor > 0 && r->high_freq_factor > r->low_freq_factor;
}

enum err_code hf_meta_llama3(struct rope_params *r, const float *divisors, struct err *e) {
    float *scratch = mem_alloc(r->n_rot / 2, sizeof *scratch);
    if (!scratch) return err_no_memory(e, r->n_rot * sizeof *scratch);
    r->scaling = ROPE_SCALE_LLAMA3;
    r->original_ctx = LLAMA3_ORIGINAL_CTX;
    r->factor = 1;
    for (uint32_t i = 0; i < r->n_rot / 2; i++) r->factor = fmaxf(r->factor, divisors[i]);
    bool found = fit_bands(r, divisors);
    struct rope_params round = *r; /* what people write: 1 and 4 */
    round.low_freq_factor = roundf(1000 * r->low_freq_factor) / 1000;
    round.high_freq_factor = roundf(1000 * r->high_freq_factor) / 1000;
    if (found && round.low_freq_factor > 0 && same_divisors(&round, divisors, scratch)) *r = round;
    found = found && same_divisors(r, divisors, scratch);
    mem_free(scratch);
    if (found) return ERR_NONE;
    return err_set(e, ERR_UNSUPPORTED, "rope_freqs.weight is no scaling that config.json has a name for");
}

static json_t *scaling_json(const struct rope_params *r) {
    static const char *const names[] = { [ROPE_SCALE_LINEAR] = "linear", [ROPE_SCALE_YARN] = "yarn",
                                         [ROPE_SCALE_LLAMA3] = "llama3" };
    json_t *o = json_object();
    put(o, "rope_type", json_string(names[r->scaling]));
    put(o, "factor", real(r->factor));
    if (r->scaling != ROPE_SCALE_LINEAR) put(o, "original_max_position_embeddings", json_integer(r->original_ctx));
    if (r->scaling == ROPE_SCALE_LLAMA3) {
        put(o, "low_freq_factor", real(r->low_freq_factor));
        put(o, "high_freq_factor", real(r->high_freq_factor));
    }
    if (r->scaling == ROPE_SCALE_YARN) {
        put(o, "beta_fast", real(r->beta_fast));
        put(o, "beta_slow", real(r->beta_slow));
        put(o, "attention_factor", real(r->attn_factor));
    }
    return o;
}

static enum err_code put_rope(json_t *o, const struct model *m, struct err *e) {
    struct rope_params r = m->hp.rope;
    const struct weight *freqs = model_weight(m, SLOT_ROPE_FREQS, 0);
    put(o, "rope_theta", real(r.base));
    if (r.n_rot != m->hp.head_dim)
        return err_set(e, ERR_UNSUPPORTED, "%u of %u dimensions of a head rotate: these models have no directory yet",
                       r.n_rot, m->hp.head_dim);
    if (freqs) {
        float *divisors = mem_alloc(freqs->ne[0], sizeof *divisors);
        if (!divisors) return err_no_memory(e, freqs->ne[0] * sizeof *divisors);
        model_read_rows(freqs, 0, 1, divisors);
        enum err_code rc = r.scaling == ROPE_SCALE_NONE
                               ? hf_meta_llama3(&r, divisors, e)
                               : err_set(e, ERR_UNSUPPORTED, "two kinds of rope scaling at once");
        mem_free(divisors);
        TRY(rc);
    }
    if (r.scaling != ROPE_SCALE_NONE) put(o, "rope_scaling", scaling_json(&r));
    return ERR_NONE;
}

/* --- config.json --- */

static json_t *dtype_json(enum qtype t) {
    return json_string(t == QTYPE_F32 ? "float32" : t == QTYPE_F16 ? "float16" : "bfloat16");
}

/* A key's first name, unless it says what every model without it has. */
static void put_key(json_t *o, const struct hparams *hp, const struct hparams_key *k) {
    const void *v = hparams_value(hp, k);
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(k->hf, "|"), k->hf);
    if (!*name || (k->need == HPARAMS_ZERO && hparams_is_default(hp, k))) return;
    if (k->kind == HPARAMS_U32) put(o, name, json_integer(*(const uint32_t *)v));
    else if (k->kind == HPARAMS_F32) put(o, name, real(*(const float *)v));
    else put(o, name, json_boolean(*(const bool *)v));
}

static enum err_code make_config(const struct model *m, enum qtype dtype, struct buf *out, struct err *e) {
    const struct hparams *hp = &m->hp;
    json_t *o = json_loads(hp->arch->hf_constants, 0, NULL);
    if (!o) return err_no_memory(e, strlen(hp->arch->hf_constants));
    for (size_t i = 0; i < hparams_n_keys; i++) put_key(o, hp, &hparams_keys[i]);
    put(o, "rms_norm_eps", real(hp->norm_eps));
    put(o, "attention_bias", json_boolean(hp->attn_bias));
    put(o, "mlp_bias", json_boolean(hp->ffn_bias));
    put(o, "tie_word_embeddings", json_boolean(hp->tied));
    if (hp->bos >= 0) put(o, "bos_token_id", json_integer(hp->bos));
    if (hp->eos >= 0) put(o, "eos_token_id", json_integer(hp->eos));
    put(o, "torch_dtype", dtype_json(dtype));
    enum err_code rc = put_rope(o, m, e);
    if (!rc) return hf_meta_json(o, out, e);
    json_decref(o);
    return rc;
}

/* The source's own, to the byte if its weights keep their type. */
static enum err_code keep_config(const struct model *m, enum qtype dtype, struct buf *out, struct err *e) {
    char *path = os_path_join(m->file->dir, "config.json"), *text;
    size_t n;
    if (!path) return err_no_memory(e, strlen(m->file->dir));
    enum err_code rc = os_read_file(path, MAX_CONFIG_BYTES, &text, &n, e);
    mem_free(path);
    TRY(rc);
    json_t *o = dtype == m->hp.float_type ? NULL : json_loadb(text, n, 0, NULL);
    if (o) {
        put(o, json_object_get(o, "dtype") ? "dtype" : "torch_dtype", dtype_json(dtype));
        rc = hf_meta_json(o, out, e);
    } else {
        buf_add(out, text, n);
    }
    mem_free(text);
    return rc;
}

enum err_code hf_meta_config(const struct model *m, enum qtype dtype, struct buf *out, struct err *e) {
    return m->file->kind == TFILE_GGUF ? make_config(m, dtype, out, e) : keep_config(m, dtype, out, e);
}

enum err_code hf_meta_generation(const struct hparams *hp, struct buf *out, struct err *e) {
    json_t *o = json_object();
    if (hp->bos >= 0) put(o, "bos_token_id", json_integer(hp->bos));
    if (hp->eos >= 0) put(o, "eos_token_id", json_integer(hp->eos));
    return hf_meta_json(o, out, e);
}
