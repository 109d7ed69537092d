/* The CPU device: buffers and graphs of host_dev, a pool of threads, the kernels of this machine.
 *
 * A program runs inside submit, operation after operation, each spread over the pool. Nothing is allocated there:
 * scratch memory is sized when graphs are compiled, for the operation that needs most. */
#include "backend/cpu/cpu_dev.h"

#include "backend/cpu/cpu_matmul.h"
#include "backend/cpu/cpu_ops.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/os.h"

static struct cpu_dev *dev(struct backend *b) { return (struct cpu_dev *)b; }

static void close_dev(struct backend *b) {
    pool_close(dev(b)->pool);
    host_fini(&dev(b)->host);
    mem_free(b);
}

static void info(struct backend *b, struct device_info *out) {
    (void)b;
    *out = (struct device_info){ .kind = "cpu", .memory_bytes = os_total_memory(), .host_memory = true };
    cpu_name(out->name, sizeof out->name);
}

static uint64_t matmul_scratch(const struct cpu_dev *d, const struct graph *g, const struct op *op) {
    const struct tensor *w = graph_tensor(g, op->src[0]), *x = graph_tensor(g, op->src[1]);
    return cpu_matmul_scratch((enum qtype)w->type, w->ne[0], tensor_rows(x), pool_size(d->pool), d->exact);
}

static struct matmul product_of(const struct program *p, const struct op *op) {
    const struct tensor *w = src_tensor(p, op, 0); // (n_in, n_out)
    const struct tensor *x = src_tensor(p, op, 1); // (n_in, n_tok)
    return (struct matmul){
        .type = (enum qtype)w->type,
        .w = p->at[op->src[0]],
        .row_bytes = tensor_row_bytes(w),
        .n_in = w->ne[0],
        .n_out = w->ne[1],
        .n_tok = x->ne[1],
        .x = src_f32(p, op, 1),
        .x_stride = x->ne[0],
        .bias = op->src[2] == NO_TENSOR ? NULL : src_f32(p, op, 2),
        .out = dst_f32(p, op),
        .out_stride = w->ne[1],
    };
}

/* With the operations that follow and have the same activations: queries, keys and values; gate and up. */
static void run_matmul(struct cpu_run *r) {
    const struct op *op = r->op, *end = r->p->g->ops + r->p->g->n_ops;
    struct matmul m[MATMUL_GROUP];
    uint32_t n = 0;
    while (n < MATMUL_GROUP && op < end && op->kind == OP_MATMUL && op->src[1] == r->op->src[1])
        m[n++] = product_of(r->p, op++);
    cpu_matmul(&r->d->kern, r->d->pool, m, n, r->scratch, r->d->exact);
    r->n_done = n;
}

/* A row for every operation. */
static const struct { void (*run)(struct cpu_run *r); cpu_scratch_fn *scratch; } bodies[OP_KINDS] = {
    [OP_GET_ROWS] = { cpu_get_rows, NULL },
    [OP_NORM] = { cpu_norm, NULL },
    [OP_MATMUL] = { run_matmul, matmul_scratch },
    [OP_MATMUL_ID] = { cpu_matmul_id_op, cpu_matmul_id_op_scratch },
    [OP_ADD] = { cpu_add, NULL },
    [OP_SCALE] = { cpu_scale, NULL },
    [OP_GATE_ROWS] = { cpu_gate_rows, NULL },
    [OP_GLU] = { cpu_glu, NULL },
    [OP_SLICE] = { cpu_slice, NULL },
    [OP_CONCAT] = { cpu_concat, NULL },
    [OP_ROPE] = { cpu_rope, NULL },
    [OP_KV_STORE] = { cpu_kv_store, NULL },
    [OP_ATTENTION] = { cpu_attention, cpu_attention_scratch },
    [OP_PICK_EXPERTS] = { cpu_pick_experts, cpu_experts_scratch },
    [OP_WEIGH_EXPERTS] = { cpu_weigh_experts, cpu_experts_scratch },
    [OP_SUM_EXPERTS] = { cpu_sum_experts, NULL },
};

static uint64_t scratch_bytes(struct backend *b, const struct graph *g) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < g->n_ops; i++) {
        cpu_scratch_fn *bytes = bodies[g->ops[i].kind].scratch;
        if (bytes) most = max_u64(most, bytes(dev(b), g, &g->ops[i]));
    }
    return add_u64(most, cpu_turns_bytes(g), &most) ? most : UINT64_MAX;
}

static enum err_code submit(struct backend *b, struct program *p, ticket *t, struct err *e) {
    uint8_t *scratch = dev(b)->host.scratch;
    struct cpu_run r = { .d = dev(b), .p = p, .turns = (float *)(void *)scratch };
    if (scratch) r.scratch = scratch + cpu_turns_bytes(p->g);
    for (uint32_t i = 0; i < p->g->n_ops; i += r.n_done) {
        TRY(host_go_on(b, p, i, e));
        r.op = &p->g->ops[i];
        r.n_done = 1;
        bodies[r.op->kind].run(&r);
    }
    *t = ++dev(b)->host.last;
    return ERR_NONE;
}

static const struct backend_ops ops = {
    .name = "cpu",
    .close = close_dev,
    .info = info,
    .alloc = host_alloc,
    .import = host_import,
    .release = host_release,
    .upload = host_upload,
    .download = host_download,
    .weight_bytes = host_weight_bytes,
    .supports = host_supports,
    .scratch_bytes = scratch_bytes,
    .compile = host_compile,
    .program_free = host_program_free,
    .submit = submit,
    .wait = host_wait,
};

enum err_code cpu_open(const struct backend_options *o, struct backend **out, struct err *e) {
    struct cpu_dev *d = NEW(struct cpu_dev);
    if (!d) return err_no_memory(e, sizeof *d);
    d->host.base.ops = &ops;
    d->exact = o->exact;
    kern_init(&d->kern, cpu_features());
    enum err_code rc = pool_open(o->threads, &d->pool, e);
    if (rc) {
        close_dev(&d->host.base);
        return rc;
    }
    *out = &d->host.base;
    return ERR_NONE;
}
