#ifndef TEXT_TOK_H
#define TEXT_TOK_H
/* Tokenizer: text to ids and back. Immutable after tok_open, so one tokenizer serves any number of threads. */
#include "text/vocab.h"

struct tok;
/* Borrows v, which must outlive the tokenizer. Unknown pre-tokenizer names get the default rule and a warning. */
enum err_code tok_open(const struct vocab *v, struct tok **out, struct err *e);
void tok_close(struct tok *t);

enum tok_flags {
    TOK_ADD_SPECIAL = 1,   /* BOS and EOS where the vocabulary says so */
    TOK_PARSE_SPECIAL = 2, /* control tokens written in the text become their ids; otherwise they are plain text */
};
/* Ids of text; *ids is the caller's (mem_free). Any bytes are fine; time is linear in the length, give or take a
 * logarithm. */
enum err_code tok_encode(const struct tok *t, struct str text, unsigned flags, int32_t **ids, size_t *n,
                         struct err *e);
/* Text of ids appended to out, always valid UTF-8: broken bytes become U+FFFD. The space that encoding put before the
 * text is gone. skip_special leaves control tokens out. Ids out of range are ERR_USAGE. */
enum err_code tok_decode(const struct tok *t, const int32_t *ids, size_t n, bool skip_special, struct buf *out,
                         struct err *e);
/* The piece of one id as bytes of text (byte alphabet undone, no prefix-space stripping) appended to out. */
enum err_code tok_piece(const struct tok *t, int32_t id, struct buf *out, struct err *e);
/* End of generation: EOS, EOT and pieces that are known by their text (<|eot_id|>, <|im_end|>, ...). */
bool tok_is_eog(const struct tok *t, int32_t id);
const struct vocab *tok_vocab(const struct tok *t);

/* Streaming decode: gives text as soon as it is whole characters. */
struct tok_stream { const struct tok *t; struct buf pending; bool started, skip_special; };
void tok_stream_init(struct tok_stream *s, const struct tok *t, bool skip_special);
/* Appends to out what became final with this id; never half a character. */
enum err_code tok_stream_push(struct tok_stream *s, int32_t id, struct buf *out, struct err *e);
/* What is left; broken bytes become U+FFFD. */
void tok_stream_end(struct tok_stream *s, struct buf *out);
void tok_stream_fini(struct tok_stream *s);
#endif
