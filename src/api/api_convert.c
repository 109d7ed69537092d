/* snug_convert. */
#include <string.h>
#include <strings.h>
#include "api/api.h"
#include "base/os.h"
#include "quant/convert.h"

static enum err_code outtype(const char *name, enum qtype *out, struct err *e) {
    static const enum qtype types[] = { QTYPE_F32, QTYPE_F16, QTYPE_BF16, QTYPE_Q8_0 };
    *out = QTYPE_NONE;
    if (!name || !strcasecmp(name, "auto")) return ERR_NONE;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (!strcasecmp(name, qtype_name(types[i]))) *out = types[i];
    if (*out != QTYPE_NONE) return ERR_NONE;
    return err_set(e, ERR_USAGE, "--outtype %s: f32, f16, bf16, q8_0 or auto is needed; snug quantize makes other "
                   "types", name);
}

int snug_convert(const struct snug_convert_options *o, struct snug_convert_result *out, struct snug_error *error) {
    struct err e = { 0 };
    struct convert_options c = { .in = o->in, .out = o->out, .split_max_size = o->split_max_size, .force = o->force,
                                 .threads = o->threads, .progress = api_progress(&o->progress) };
    struct convert_result r = { 0 };
    uint64_t t0 = os_now_ns();
    enum err_code rc = ERR_NONE;
    if (!o->in || !o->out) rc = err_set(&e, ERR_USAGE, "an input and an output are needed");
    if (!rc) rc = outtype(o->outtype, &c.type, &e);
    if (!rc) rc = convert_run(&c, &r, &e);
    *out = (struct snug_convert_result){ .file = r.file, .file_bytes = r.file_bytes, .n_files = r.n_files,
                                         .tensors = r.n_tensors, .seconds = (double)(os_now_ns() - t0) * 1e-9 };
    return api_result(rc, &e, error);
}
