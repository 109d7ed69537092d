#ifndef FORMAT_TFILE_H
#define FORMAT_TFILE_H
/* One view of any set of weight files: a GGUF file or split set, a safetensors file, a Hugging Face directory. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "format/gguf_read.h"
#include "format/hf_config.h"
#include "format/tfile_tensor.h"

enum tfile_kind { TFILE_GGUF, TFILE_SAFETENSORS, TFILE_HF };

enum tfile_flag {
    TFILE_NO_WEIGHTS_OK = 1u << 0, /* a directory with config.json alone, or the path of a config.json, opens with no
                                    * tensors: enough to plan */
};

/* Read-only for others; safe to read from several threads. */
struct tfile {
    enum tfile_kind kind;
    char *path;                        /* as given */
    const struct tfile_tensor *tensors; /* in file order, shard by shard */
    size_t n_tensors;
    size_t n_files;      /* mapped weight files */
    uint64_t file_bytes; /* all of them together */
    const struct gguf *gguf;                  /* metadata, of the first shard; NULL unless kind is TFILE_GGUF */
    const struct hf_config *config;           /* config.json; never NULL for TFILE_HF, NULL for TFILE_GGUF */
    const struct hf_config *generation;       /* generation_config.json or NULL */
    const struct hf_config *tokenizer_config; /* tokenizer_config.json or NULL */
    char *dir; /* where the side files (tokenizer.json, chat_template.jinja) stand; NULL for TFILE_GGUF */
    struct tfile_private *priv;
};

/* Opens what path names, found out from its content: any shard of a GGUF set (all are opened), a .safetensors file
 * (with config.json beside it if there), or a directory with config.json and weights (model.safetensors.index.json,
 * else model.safetensors, else every *.safetensors in order of name). flags: enum tfile_flag. The files stay mapped
 * until tfile_close. On error *out is NULL. */
enum err_code tfile_open(const char *path, unsigned flags, struct tfile **out, struct err *e);
void tfile_close(struct tfile *f); /* NULL is fine */
/* NULL if there is none of that name. O(log n). */
const struct tfile_tensor *tfile_find(const struct tfile *f, const char *name);
/* Path of file number i < n_files: what an error about a tensor names. */
const char *tfile_file_path(const struct tfile *f, size_t i);
/* Whether one of the weight files was written after the file at path was; false if there is none at path. */
bool tfile_changed_since(const struct tfile *f, const char *path);
#endif
