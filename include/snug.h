#ifndef SNUG_H
#define SNUG_H
/* snug: fits a large language model into the memory a person has, and runs it there.
 *
 * Every call that can fail returns 0 or an error code and fills `struct snug_error *`, which may be NULL. Option
 * structs: zero-initialise, then set what you need; zero always means the default. Strings are UTF-8 and borrowed for
 * the call; results that own memory have a free function of their own. A model serves one thread at a time. Nothing
 * here prints: messages go to the callback of snug_set_log, progress to the callback in the options. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#define SNUG_API __attribute__((visibility("default")))

/* --- Errors, messages, progress --- */
struct snug_error {
    int code;           /* 0: none */
    int exit_status;    /* what a command line should exit with: 1 the work failed, 2 the arguments are wrong */
    char message[800];  /* one line: where, what is wrong, what to do */
};
SNUG_API const char *snug_version(void);
enum snug_log_level { SNUG_LOG_DEBUG, SNUG_LOG_INFO, SNUG_LOG_WARN };
/* Set once, before anything else; NULL silences. line has no newline. */
SNUG_API void snug_set_log(void (*fn)(void *user, int level, const char *line), void *user);
/* Caps the CPU features: "scalar", "avx2", "avx512", "vnni", "amx", "native"; on ARM "scalar", "neon", "dotprod",
 * "i8mm", "native". Before anything else. */
SNUG_API int snug_limit_cpu(const char *level, struct snug_error *e);
/* Whether the worker threads of what is opened later are kept on cores of their own (the default is no). Meant for a
 * machine that does nothing else: on a shared one it slows down. Threads of the program itself are left alone. */
SNUG_API void snug_bind_threads(bool on);
/* Long work calls this now and then; false stops it with an error of its own. done / total grows evenly with time. */
struct snug_progress { bool (*step)(void *user, const char *what, double done, double total); void *user; };
/* "22G" is 22e9 bytes, "22GiB" 22 * 2^30. */
SNUG_API int snug_parse_bytes(const char *text, uint64_t *bytes, struct snug_error *e);
SNUG_API void snug_free(void *p); /* what a call says is freed with snug_free; NULL is fine */

/* --- Models --- */
typedef struct snug_model snug_model;
struct snug_open_options {
    const char *backend;  /* "cpu" (default) or "ref", the slow oracle */
    unsigned threads;     /* 0: one per physical core */
    bool exact;           /* float arithmetic throughout: no rounding of activations, KV cache in float */
    const char *cache_type_k, *cache_type_v; /* of the KV cache: "f32", "f16", "q8_0"; NULL: f16, or f32 if exact */
};
/* path: a GGUF file (any shard of it) or a Hugging Face directory. Close with snug_close. */
SNUG_API int snug_open(const char *path, const struct snug_open_options *o, snug_model **out, struct snug_error *e);
SNUG_API void snug_close(snug_model *m);
struct snug_model_info {
    char name[128], arch[32];
    uint64_t parameters, file_bytes;
    double bits_per_weight;       /* 8 * weight bytes / parameters */
    uint32_t n_vocab, n_ctx_train, n_embd, n_layer;
    bool has_tokenizer;
    uint64_t mapped_bytes;        /* weights used in place from the mapped file */
    uint64_t buffer_bytes;        /* memory of its own: converted vectors, and what sessions and graphs took so far */
    uint64_t load_ns;
    int32_t bos, eos;             /* -1: none */
};
SNUG_API void snug_model_info(const snug_model *m, struct snug_model_info *out);

/* --- Text and tokens --- */
struct snug_tokens { int32_t *ids; size_t n; };
SNUG_API int snug_tokenize(const snug_model *m, const char *text, size_t n_bytes, bool add_bos, bool parse_special,
                           struct snug_tokens *out /* ids: snug_free */, struct snug_error *e);
/* Text of one id, as bytes (a piece may be part of a character); snug_free. */
SNUG_API int snug_piece(const snug_model *m, int32_t id, char **text, size_t *n_bytes, struct snug_error *e);
/* Opens the tokenizer of a model without its weights. */
SNUG_API int snug_open_vocab(const char *path, snug_model **out, struct snug_error *e);

/* --- Generating --- */
struct snug_sampling {           /* llama.cpp's names and meaning; `set` says which fields count, others are defaults */
    unsigned set;                /* SNUG_SET_* bits */
    float temp, top_p, min_p, repeat_penalty, presence_penalty, frequency_penalty;
    int32_t top_k, repeat_last_n;
    uint64_t seed;
};
enum { SNUG_SET_TEMP = 1, SNUG_SET_TOP_K = 2, SNUG_SET_TOP_P = 4, SNUG_SET_MIN_P = 8, SNUG_SET_REPEAT_PENALTY = 16,
       SNUG_SET_PRESENCE = 32, SNUG_SET_FREQUENCY = 64, SNUG_SET_REPEAT_LAST_N = 128, SNUG_SET_SEED = 256 };
struct snug_generate_options {
    const char *prompt; size_t prompt_bytes;         /* raw text; BOS is added once where the model wants it */
    const int32_t *prompt_ids; size_t n_prompt_ids;  /* instead of text */
    int32_t max_tokens;                              /* 0 or -1: until the end token or the context's end */
    uint32_t n_ctx;                                  /* 0: min(4096, the model's) */
    bool ignore_eos;
    const char *const *stop; size_t n_stop;          /* texts that end the generation, themselves not given out */
    struct snug_sampling sampling;
    /* Whole characters as soon as they are final; n_bytes is 0 now and then while the prompt is read, and after tokens
     * that give no text yet. false ends the generation cleanly. May be NULL. */
    bool (*on_text)(void *user, const char *text, size_t n_bytes);
    void *user;
};
enum snug_stop { SNUG_STOP_EOS, SNUG_STOP_LENGTH, SNUG_STOP_CONTEXT, SNUG_STOP_WORD, SNUG_STOP_INTERRUPTED };
struct snug_generate_result {
    char *text; size_t text_bytes;                   /* terminated */
    int32_t *tokens; size_t generated_tokens;
    size_t prompt_tokens;
    enum snug_stop stop;
    uint64_t seed;                                   /* the one used */
    uint64_t load_ns, prompt_eval_ns, eval_ns, total_ns;
    uint64_t bytes_per_token;                        /* weights and KV read for the last token */
    uint64_t buffer_bytes, mapped_bytes;             /* memory taken, as the plan counts it */
};
SNUG_API const char *snug_stop_name(enum snug_stop s); /* "stop", "length", "context", "word", "interrupted" */
SNUG_API int snug_generate(snug_model *m, const struct snug_generate_options *o, struct snug_generate_result *out,
                           struct snug_error *e);
SNUG_API void snug_generate_free(struct snug_generate_result *r);

/* --- Evaluating --- */
struct snug_eval_options {
    const char *model, *ref;        /* paths; ref may be NULL */
    const char *text_file;          /* .txt, .jsonl or a JSON array of ids */
    const char *ids_file, *save_logits; /* together: logits of one JSON array of ids, no scores */
    const char *save_base, *base;   /* log-probabilities of the model into a file; a file instead of ref */
    uint32_t n_ctx;                 /* 0: 512 */
    uint32_t chunks;                /* 0: all */
    struct snug_open_options open;
    struct snug_progress progress;
    void (*on_chunk)(void *user, uint32_t chunk, uint32_t chunks, double ppl);
    void *user;
};
struct snug_eval_result {
    double ppl, ppl_error;
    uint64_t tokens;                /* scored */
    uint32_t chunks;
    bool has_ref;
    double ref_ppl;
    struct { double mean, error, median, p90, p99, p999, max; } kld;
    double top1;                    /* percent of positions with the same likeliest token */
    double dp_mean, dp_rms;         /* change of the right token's probability, percent */
};
SNUG_API int snug_eval(const struct snug_eval_options *o, struct snug_eval_result *out, struct snug_error *e);

/* --- The machine and benchmarks --- */
struct snug_machine {
    char cpu[96], features[128];
    unsigned threads;
    double read_gb_s;               /* measured memory read bandwidth, 1e9 bytes */
    double int8_gops, f32_gflops;   /* measured peaks of the best kernel class in use */
    uint64_t memory_bytes;
};
/* Measures for about a second. */
SNUG_API int snug_measure_machine(unsigned threads, struct snug_machine *out, struct snug_error *e);
struct snug_bench_options {
    uint32_t n_prompt, n_gen;       /* one of them 0: only the other; both: pg test */
    uint32_t depth, repeat;         /* repeat 0: 3 */
    struct snug_open_options open;
    const struct snug_machine *machine;
};
struct snug_bench_result {
    char test[48];                  /* "pp512", "tg128", "pp512+tg128", "tg128 @ d4096" */
    uint32_t n_prompt, n_gen, depth;
    double tok_s, tok_s_stddev, share_of_limit;
};
SNUG_API int snug_bench(snug_model *m, const struct snug_bench_options *o, struct snug_bench_result *out,
                        struct snug_error *e);

/* --- Quantizing --- */
struct snug_try { const char *tensor, *type; double bpw, rfn_error; };
struct snug_tensor_choice {
    char *name; const char *type, *part;
    double bpw, rfn_error; /* rfn_error negative: not measured */
    uint64_t bytes, parameters;
};
struct snug_quantize_options {
    const char *model, *out;
    double bits_per_weight;         /* exactly one of these four says the target */
    uint64_t size_bytes;            /* whole file */
    uint64_t vram_bytes; uint32_t n_ctx; /* what is left beside KV cache and activations at this context */
    const char *type;               /* llama.cpp's recipe name: Q4_K_M, or a plain type with pure */
    bool pure;
    const char *calib; uint32_t calib_rows, calib_length; /* FILE or FILE:COLUMN, NULL: the built-in text; rows 0: 128,
                                                           * length 0: 512 */
    const char *measurement;        /* read if it exists, else written */
    const char *imatrix;            /* llama.cpp's importances to use; with type, no calibration is needed then */
    const char *save_imatrix;       /* the importances that were used go here: GGUF, or the older form for NAME.dat.
                                     * Without out and target, they are all that is made */
    bool measure_only;
    const char *const *keep; size_t n_keep; /* "PATTERN=TYPE": shell patterns over tensor names */
    bool dry_run, force, no_resume, check;
    unsigned threads;
    struct snug_progress progress;
    void (*on_try)(void *user, const struct snug_try *t);
    void *user;
};
struct snug_quantize_result {
    char *file;
    uint64_t file_bytes, target_bytes, parameters;
    double bits_per_weight, min_bits_per_weight;
    double predicted_kld, measured_kld;   /* negative: not known */
    struct snug_tensor_choice *tensors; size_t n_tensors;
    uint64_t tries;
    double seconds;
    uint64_t peak_rss_bytes;
};
SNUG_API int snug_quantize(const struct snug_quantize_options *o, struct snug_quantize_result *out,
                           struct snug_error *e);
SNUG_API void snug_quantize_free(struct snug_quantize_result *r);

/* --- Planning --- */
struct snug_plan_options {
    const char *model;              /* path, config.json alone is enough; or NULL with parameters */
    double parameters;              /* --params */
    const uint64_t *vram; size_t n_vram; /* one number a GPU; none: no GPU */
    uint64_t ram;                   /* 0: this machine's */
    uint32_t n_ctx;                 /* 0: min(4096, the model's) */
    const char *cache_type_k, *cache_type_v; /* as snug_open_options */
    bool exact;
    unsigned threads;
    const struct snug_machine *machine; /* for speed; NULL: not predicted */
};
struct snug_plan_device {
    char name[96]; const char *kind; /* "cpu", "gpu", "disk" */
    uint64_t memory_bytes, weights_bytes, kv_bytes, compute_bytes, total_bytes;
};
struct snug_plan_budget {
    uint64_t vram, ram, bytes;
    double max_bits_per_weight; bool reachable;       /* of a quantized model; false: no type is small enough */
    bool fits_as_is;                                  /* the model itself fits with the context asked for */
    uint32_t max_ctx;                                 /* longest context with that many bits, or as it is */
    char command[400];                                /* what makes the file that fits; "" if none is needed */
};
struct snug_plan_part { const char *part; uint64_t bytes, parameters; };
struct snug_plan_result {
    struct snug_model_info model;
    uint32_t context, n_layer, gpu_layers;
    char kv_type[16];                                 /* "f16", or "q8_0/f16" for K and V of two types */
    struct snug_plan_device devices[8]; size_t n_devices;
    struct snug_plan_part parts[8]; size_t n_parts;   /* weights by kind */
    bool fits;
    char why[200];                                    /* why not, when it does not fit */
    struct { uint64_t f32, f16, q8, q4; } sizes;
    struct snug_plan_budget budgets[8]; size_t n_budgets;
    double decode_tok_s, prefill_tok_s;               /* 0: not predicted */
};
SNUG_API int snug_plan(const struct snug_plan_options *o, struct snug_plan_result *out, struct snug_error *e);

/* --- Looking into files --- */
struct snug_meta { char *key, *value; /* as people read it; long arrays are cut */ char *json; /* whole value */ };
struct snug_tensor { char *name; const char *type; uint64_t ne[4]; unsigned n_dims; uint64_t bytes; };
struct snug_file { struct snug_meta *meta; size_t n_meta; struct snug_tensor *tensors; size_t n_tensors;
                   uint64_t file_bytes, parameters; };
SNUG_API int snug_show(const char *path, struct snug_file *out, struct snug_error *e);
SNUG_API void snug_file_free(struct snug_file *f);

/* --- Converting --- */
struct snug_convert_options {
    const char *in, *out;           /* out ending in .gguf: GGUF; otherwise a Hugging Face directory */
    const char *outtype;            /* "f32" "f16" "bf16" "q8_0" "auto" (default: as stored) */
    uint64_t split_max_size;        /* 0: one file */
    bool force;
    unsigned threads;
    struct snug_progress progress;
};
struct snug_convert_result { char *file; uint64_t file_bytes; uint32_t n_files; uint64_t tensors; double seconds; };
SNUG_API int snug_convert(const struct snug_convert_options *o, struct snug_convert_result *out, struct snug_error *e);

#ifdef __cplusplus
}
#endif
#endif
