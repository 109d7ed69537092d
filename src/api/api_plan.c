/* snug_plan: what a model takes and where it would go, before anything is loaded. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include "api/api.h"
#include "base/num.h"
#include "base/os.h"
#include "base/str.h"
#include "plan/inventory.h"
#include "plan/place.h"
#include "plan/speed.h"

enum { PREFILL_BYTES = 24 << 20, PREFILL_TOKENS = 256, DECODE_DEPTH = 64 };

struct planning {
    const struct snug_plan_options *o;
    struct snug_plan_result *r;
    struct model *m;
    struct backend *be;
    struct inventory inv;
    struct pass_desc pass;
    struct pass_memory mem;
    uint64_t vram, ram;
};

/* Weights where they lie in the file: shapes and types are all that counting needs. */
static tensor_id planned_weight(void *user, struct graph *g, enum slot s, uint32_t layer) {
    const struct weight *w = model_weight(user, s, layer);
    if (!w) return NO_TENSOR;
    enum qtype type = slot_info(s)->matrix ? w->type : QTYPE_F32;
    return graph_weight(g, w->name, type, w->ne, TENSOR_DIMS, (struct place){ 1, 0 });
}

static void set_sizes(struct snug_plan_result *r, double parameters) {
    r->sizes.f32 = (uint64_t)(parameters * 4);
    r->sizes.f16 = (uint64_t)(parameters * 2);
    r->sizes.q8 = (uint64_t)parameters;
    r->sizes.q4 = (uint64_t)(parameters / 2);
}

static double rounded_bpw(double bytes, double parameters) {
    double bpw = bytes * 8 / parameters;
    return bpw > 16 ? 16 : bpw > 0 ? (double)(uint64_t)(bpw * 100) / 100 : 0;
}

/* --- From a number of parameters alone --- */

static void plan_parameters(struct planning *p) {
    struct snug_plan_result *r = p->r;
    double n = p->o->parameters;
    set_sizes(r, n);
    r->model.parameters = (uint64_t)n;
    uint64_t both[] = { p->vram, p->vram + p->ram, p->ram };
    bool given[] = { p->vram > 0, p->vram > 0 && p->o->ram > 0, p->o->ram > 0 || !p->vram };
    for (int i = 0; i < 3; i++) {
        if (!given[i]) continue;
        double bpw = rounded_bpw((double)both[i], n);
        r->budgets[r->n_budgets++] = (struct snug_plan_budget){
            .vram = i < 2 ? p->vram : 0, .ram = i ? p->ram : 0, .bytes = both[i],
            .max_bits_per_weight = bpw, .reachable = bpw >= qtype_bpw(smallest_type(256)) };
    }
    r->fits = r->sizes.f16 <= both[p->vram ? 1 : 2];
    if (!r->fits) snprintf(r->why, sizeof r->why, "16 bits a weight need more than the memory given");
}

/* --- From a model --- */

/* Longest context whose cache fits in what weights and compute leave of the budget. */
static uint32_t longest_context(const struct planning *p, uint64_t budget, uint64_t weights) {
    uint64_t fixed = weights + p->mem.act_bytes + p->mem.io_bytes + p->mem.scratch_bytes;
    if (budget <= fixed) return 0;
    uint64_t tokens = (budget - fixed) / pass_kv_token_bytes(&p->m->hp, p->pass.kv) / KV_PAGE * KV_PAGE;
    return (uint32_t)min_u64(tokens, p->m->hp.n_ctx_train);
}

/* One word of a shell's command line. */
static void add_word(struct buf *b, const char *word) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+=:,./@%";
    if (*word && !word[strspn(word, plain)]) {
        buf_addz(b, word);
        return;
    }
    buf_addc(b, '\'');
    for (; *word; word++) {
        if (*word == '\'') buf_addz(b, "'\\''");
        else buf_addc(b, *word);
    }
    buf_addc(b, '\'');
}

/* What makes the file that fits. 16 bits need no measuring; a line that has no room stays empty. */
static void set_command(const struct planning *p, struct snug_plan_budget *b) {
    char file[sizeof p->m->hp.name + 24];
    bool half = b->max_bits_per_weight >= 16;
    struct buf line = { 0 };
    if (half) snprintf(file, sizeof file, "%s-f16.gguf", p->m->hp.name);
    else snprintf(file, sizeof file, "%s-%.2fbpw.gguf", p->m->hp.name, b->max_bits_per_weight);
    for (char *c = file; *c; c++)
        if (*c == '/' || *c == ' ') *c = '-';
    buf_addz(&line, half ? "snug convert " : "snug quantize ");
    add_word(&line, p->o->model);
    buf_addz(&line, " -o ");
    add_word(&line, file);
    if (half) buf_addz(&line, " --outtype f16");
    else buf_addf(&line, " -b %.2f", b->max_bits_per_weight);
    if (!line.failed && line.n < sizeof b->command) memcpy(b->command, line.p, line.n + 1);
    buf_fini(&line);
}

static void add_budget(struct planning *p, uint64_t vram, uint64_t ram) {
    struct snug_plan_result *r = p->r;
    struct snug_plan_budget *b = &r->budgets[r->n_budgets++];
    uint64_t beside = pass_memory_total(&p->mem);
    *b = (struct snug_plan_budget){ .vram = vram, .ram = ram, .bytes = vram + ram };
    double left = b->bytes > beside ? (double)(b->bytes - beside) : 0;
    b->max_bits_per_weight = rounded_bpw(left, (double)p->inv.parameters);
    b->reachable = left >= (double)p->inv.smallest_bytes;
    if (!b->reachable) return;
    uint64_t weights = p->inv.matrix_bytes + p->inv.vector_bytes;
    b->fits_as_is = (double)weights <= left;
    if (!b->fits_as_is) weights = (uint64_t)(b->max_bits_per_weight * (double)p->inv.parameters / 8);
    b->max_ctx = longest_context(p, b->bytes, weights);
    if (!b->fits_as_is) set_command(p, b);
}

static void add_device(struct snug_plan_result *r, const char *name, const char *kind, uint64_t memory,
                       const struct place_share *s) {
    struct snug_plan_device *d = &r->devices[r->n_devices++];
    *d = (struct snug_plan_device){ .kind = kind, .memory_bytes = memory, .weights_bytes = s->weights,
                                    .kv_bytes = s->kv,
                                    .compute_bytes = s->compute, .total_bytes = s->total };
    snprintf(d->name, sizeof d->name, "%s", name);
}

/* Without a GPU the computer's memory holds exactly what a run takes; blocks of one size are assumed only for GPUs. */
static void place_on_devices(struct planning *p) {
    struct snug_plan_result *r = p->r;
    uint64_t weights = p->inv.matrix_bytes + p->inv.vector_bytes,
        compute = pass_memory_total(&p->mem) - p->mem.kv_bytes;
    struct placement at = { .cpu = { p->m->hp.n_layer, weights, p->mem.kv_bytes, compute,
                                     weights + compute + p->mem.kv_bytes } };
    at.fits = at.cpu.total <= p->ram;
    if (!at.fits) at.missing = at.cpu.total - p->ram;
    if (p->o->n_vram) {
        struct place_request q = { .n_layer = p->m->hp.n_layer, .layer_bytes = p->inv.layer_bytes,
                                   .outside_bytes = p->inv.outside_bytes,
                                   .kv_bytes = p->mem.kv_bytes, .compute_bytes = compute, .ram = p->ram };
        for (size_t i = 0; i < p->o->n_vram && i < PLACE_MAX_GPUS; i++) q.vram[q.n_gpus++] = p->o->vram[i];
        place_layers(&q, &at);
        for (uint32_t i = 0; i < q.n_gpus; i++) {
            char name[32];
            snprintf(name, sizeof name, "GPU %u", i);
            add_device(r, name, "gpu", q.vram[i], &at.gpu[i]);
        }
    }
    struct device_info info;
    p->be->ops->info(p->be, &info);
    add_device(r, info.name, "cpu", p->ram, &at.cpu);
    r->gpu_layers = at.gpu_layers;
    r->fits = at.fits;
    char lack[24];
    if (!at.fits)
        snprintf(r->why, sizeof r->why, "%s more memory is needed: fewer bits, a shorter context, or more memory",
                 format_bytes(at.missing, lack, sizeof lack));
}

/* Blocks whose prompt is timed: two, and more of a small model, whose times would be too short to measure. */
static uint32_t timed_layers(const struct planning *p) {
    uint64_t n = 1 + PREFILL_BYTES / max_u64(p->inv.layer_bytes, 1);
    return (uint32_t)min_u64(max_u64(n, 2), p->m->hp.n_layer);
}

/* One token through the whole model; a prompt, whose blocks take long, through a few of them. */
static enum err_code predict_speed(struct planning *p, struct err *e) {
    struct speed_desc d = { .m = p->m, .kv = p->pass.kv, .n_layer = p->m->hp.n_layer, .head = true,
                            .n_tok = 1, .depth = DECODE_DEPTH };
    double one, many;
    TRY(speed_measure(p->be, &d, &one, e));
    d = (struct speed_desc){ .m = p->m, .kv = p->pass.kv, .n_layer = timed_layers(p),
                             .n_tok = PREFILL_TOKENS };
    TRY(speed_measure(p->be, &d, &many, e));
    p->r->decode_tok_s = 1 / one;
    p->r->prefill_tok_s = PREFILL_TOKENS / many * d.n_layer / p->m->hp.n_layer;
    return ERR_NONE;
}

/* In small letters, both where they differ. */
static void name_kv(struct kv_types kv, char *out, size_t size) {
    if (kv.k == kv.v) snprintf(out, size, "%s", qtype_name(kv.k));
    else snprintf(out, size, "%s/%s", qtype_name(kv.k), qtype_name(kv.v));
    for (; *out; out++) *out = (char)tolower((unsigned char)*out);
}

static void describe_model(struct planning *p) {
    struct snug_plan_result *r = p->r;
    const struct hparams *hp = &p->m->hp;
    r->model = (struct snug_model_info){ .parameters = p->inv.parameters, .n_vocab = hp->n_vocab,
                                         .n_ctx_train = hp->n_ctx_train,
        .n_embd = hp->n_embd, .n_layer = hp->n_layer, .file_bytes = p->m->file->file_bytes, .bos = hp->bos,
        .eos = hp->eos };
    if (!r->model.file_bytes) r->model.file_bytes = p->inv.matrix_bytes + p->inv.vector_bytes;
    r->model.bits_per_weight = 8 * (double)(p->inv.matrix_bytes + p->inv.vector_bytes) / (double)p->inv.parameters;
    snprintf(r->model.name, sizeof r->model.name, "%s", hp->name);
    snprintf(r->model.arch, sizeof r->model.arch, "%s", hp->arch->name);
    r->n_layer = hp->n_layer;
    for (uint32_t i = 0; i < p->inv.n_parts; i++)
        r->parts[r->n_parts++] = (struct snug_plan_part){ p->inv.parts[i].part, p->inv.parts[i].bytes,
                                                          p->inv.parts[i].parameters };
    set_sizes(r, (double)p->inv.parameters);
}

static enum err_code plan_model(struct planning *p, struct err *e) {
    struct kv_types kv;
    TRY(kv_types_named(p->o->cache_type_k, p->o->cache_type_v, p->o->exact, &kv, e));
    TRY(model_open(p->o->model, true, &p->m, e));
    struct backend_options bo = { .threads = p->o->threads, .exact = p->o->exact };
    TRY(backend_open("cpu", &bo, &p->be, e));
    inventory_take(p->m, &p->inv);
    struct pass_desc d = { .n_ctx = p->o->n_ctx, .kv = kv };
    p->pass = pass_defaults(&p->m->hp, &d);
    struct pass_weights w = { planned_weight, p->m };
    TRY(pass_memory(p->be, p->m, &p->pass, &w, &p->mem, e));
    pass_warn(&p->m->hp, &p->pass);
    describe_model(p);
    p->r->context = p->pass.n_ctx;
    name_kv(kv, p->r->kv_type, sizeof p->r->kv_type);
    place_on_devices(p);
    if (p->vram) add_budget(p, p->vram, 0);
    if (p->vram && p->o->ram) add_budget(p, p->vram, p->ram);
    if (p->o->ram || !p->vram) add_budget(p, 0, p->ram);
    return p->o->machine && !p->o->n_vram && p->r->fits ? predict_speed(p, e) : ERR_NONE;
}

int snug_plan(const struct snug_plan_options *o, struct snug_plan_result *out, struct snug_error *error) {
    struct err e = { 0 };
    struct planning p = { .o = o, .r = out, .ram = o->ram ? o->ram : os_total_memory() };
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < o->n_vram; i++) p.vram += o->vram[i];
    enum err_code rc = ERR_NONE;
    if (!o->model == !(o->parameters > 0)) rc = err_set(&e, ERR_USAGE, "give either a model or --params N");
    else if (o->n_vram > PLACE_MAX_GPUS) rc = err_set(&e, ERR_USAGE, "at most %d GPUs", (int)PLACE_MAX_GPUS);
    else if (o->model) rc = plan_model(&p, &e);
    else plan_parameters(&p);
    backend_close(p.be);
    model_close(p.m);
    return api_result(rc, &e, error);
}
