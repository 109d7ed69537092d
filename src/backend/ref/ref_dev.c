/* The reference device: buffers and graphs of host_dev, operations of ref_ops, run in submit one after the other. */
#include "backend/ref/ref_dev.h"
#include "backend/ref/ref_ops.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/os.h"

static void ref_close(struct backend *b) {
    host_fini((struct host_dev *)b);
    mem_free(b);
}

static void ref_info(struct backend *b, struct device_info *out) {
    (void)b;
    *out = (struct device_info){ .kind = "cpu", .memory_bytes = os_total_memory(), .host_memory = true };
    cpu_name(out->name, sizeof out->name);
}

static uint64_t ref_scratch_bytes(struct backend *b, const struct graph *g) {
    (void)b;
    uint64_t most = 0, bytes;
    for (uint32_t i = 0; i < g->n_ops; i++) most = max_u64(most, ref_op_scratch(g, &g->ops[i]));
    return mul_u64(most, sizeof(float), &bytes) ? bytes : UINT64_MAX;
}

static enum err_code ref_submit(struct backend *b, struct program *p, ticket *t, struct err *e) {
    struct host_dev *d = (struct host_dev *)b;
    for (uint32_t i = 0; i < p->g->n_ops; i++) {
        TRY(host_go_on(b, p, i, e));
        ref_op_run(p, &p->g->ops[i], d->scratch);
    }
    *t = ++d->last;
    return ERR_NONE;
}

static const struct backend_ops ref_ops = {
    .name = "ref",
    .close = ref_close,
    .info = ref_info,
    .alloc = host_alloc,
    .import = host_import,
    .release = host_release,
    .upload = host_upload,
    .download = host_download,
    .weight_bytes = host_weight_bytes,
    .supports = host_supports,
    .scratch_bytes = ref_scratch_bytes,
    .compile = host_compile,
    .program_free = host_program_free,
    .submit = ref_submit,
    .wait = host_wait,
};

enum err_code ref_open(const struct backend_options *o, struct backend **out, struct err *e) {
    (void)o;
    struct host_dev *d = NEW(struct host_dev);
    if (!d) return err_no_memory(e, sizeof *d);
    d->base.ops = &ref_ops;
    *out = &d->base;
    return ERR_NONE;
}
