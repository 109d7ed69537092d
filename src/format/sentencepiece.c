/* Owns reading of SentencePiece's model files: a message in protobuf's encoding with the pieces, how the model was
 * trained and how text is normalized (docs/formats/sentencepiece.md has the fields). Unknown fields are skipped. What
 * would make other ids than the record says is refused rather than ignored. */
#include "format/sentencepiece.h"

#include <string.h>

#include "base/num.h"

/* Far above any vocabulary. */
#define MAX_PIECES (1u << 24)

/* --- Protobuf's encoding --- */

/* One message within the file. */
struct message { const uint8_t *file; size_t at, end; };

enum wire { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };
struct field { uint64_t number; enum wire wire; uint64_t value; /* varint or fixed */ struct message bytes; };

static enum err_code read_varint(struct message *m, uint64_t *out, struct err *e) {
    size_t start = m->at;
    *out = 0;
    for (unsigned shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        uint8_t byte = m->file[m->at++];
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return ERR_NONE;
    }
    return err_set_at(e, ERR_FORMAT, start, "a number does not end: this is no SentencePiece model, or a part of one");
}

static enum err_code read_fixed(struct message *m, size_t n, uint64_t *out, struct err *e) {
    if (m->end - m->at < n) return err_set_at(e, ERR_FORMAT, m->at, "the file ends within a number");
    *out = 0;
    memcpy(out, m->file + m->at, n); /* little-endian, as the machine is */
    m->at += n;
    return ERR_NONE;
}

/* The next field of m; *more false at its end. */
static enum err_code next_field(struct message *m, struct field *f, bool *more, struct err *e) {
    uint64_t tag, n;
    size_t start = m->at;
    *more = m->at < m->end;
    if (!*more) return ERR_NONE;
    TRY(read_varint(m, &tag, e));
    f->number = tag >> 3;
    switch (tag & 7) {
    case WIRE_VARINT: TRY(read_varint(m, &f->value, e)); break;
    case WIRE_64: TRY(read_fixed(m, 8, &f->value, e)); break;
    case WIRE_32: TRY(read_fixed(m, 4, &f->value, e)); break;
    case WIRE_BYTES:
        TRY(read_varint(m, &n, e));
        if (n > m->end - m->at) {
            return err_set_at(e, ERR_FORMAT, start, "field %llu has %llu bytes, more than are left",
                              (unsigned long long)f->number, (unsigned long long)n);
        }
        f->bytes = (struct message){ m->file, m->at, m->at + (size_t)n };
        m->at += (size_t)n;
        break;
    default:
        return err_set_at(e, ERR_FORMAT, start, "a field of encoding %u: this is no SentencePiece model",
                          (unsigned)(tag & 7));
    }
    f->wire = (enum wire)(tag & 7);
    return ERR_NONE;
}

static enum err_code want_wire(const struct field *f, enum wire wire, const struct message *m, struct err *e) {
    if (f->wire == wire) return ERR_NONE;
    return err_set_at(e, ERR_FORMAT, m->at, "field %llu has encoding %d where %d is expected",
                      (unsigned long long)f->number, (int)f->wire, (int)wire);
}

static struct str text_of(struct message m) {
    return (struct str){ (const char *)m.file + m.at, m.end - m.at };
}

static enum err_code keep(struct hf_tokenizer *t, struct str s, struct str *out, struct err *e) {
    char *copy = arena_strndup(&t->mem, s.p, s.n);
    if (!copy) return err_no_memory(e, s.n);
    *out = (struct str){ copy, s.n };
    return ERR_NONE;
}

/* --- The messages --- */

enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

/* What decides about the ids, with the values that an absent field has. */
struct settings {
    uint64_t model_type; /* 1 unigram, 2 BPE, 3 word, 4 character */
    uint64_t byte_fallback, space_as_suffix, bos, eos, pad;
    uint64_t dummy_prefix, remove_extra_spaces, escape_spaces;
    struct message charsmap;
};
static const struct settings absent = {
    .model_type = 1, .bos = 1, .eos = 2, .pad = UINT64_MAX /* -1 */, .dummy_prefix = 1, .remove_extra_spaces = 1,
    .escape_spaces = 1,
};

struct setting { uint64_t number; size_t at; };
#define SETTING(number, name) { number, offsetof(struct settings, name) }
static const struct setting trainer_settings[] = {
    SETTING(3, model_type), SETTING(24, space_as_suffix), SETTING(35, byte_fallback), SETTING(41, bos),
    SETTING(42, eos), SETTING(43, pad),
};
static const struct setting normalizer_settings[] = {
    SETTING(3, dummy_prefix), SETTING(4, remove_extra_spaces), SETTING(5, escape_spaces),
};
enum { NORMALIZER_CHARSMAP = 2 };

static enum err_code read_settings(struct message m, const struct setting *list, size_t n, struct settings *s,
                                   struct err *e) {
    struct field f;
    for (bool more; ; ) {
        TRY(next_field(&m, &f, &more, e));
        if (!more) return ERR_NONE;
        for (size_t i = 0; i < n; i++) {
            if (f.number != list[i].number) continue;
            TRY(want_wire(&f, WIRE_VARINT, &m, e));
            memcpy((char *)s + list[i].at, &f.value, sizeof(f.value));
        }
        if (list == normalizer_settings && f.number == NORMALIZER_CHARSMAP) {
            TRY(want_wire(&f, WIRE_BYTES, &m, e));
            s->charsmap = f.bytes;
        }
    }
}

struct pieces { struct str *text; float *score; uint8_t *type; };

static enum err_code read_piece(struct hf_tokenizer *t, struct message m, const struct pieces *to, uint32_t id,
                                struct err *e) {
    struct field f;
    to->type[id] = TYPE_NORMAL;
    to->text[id] = STR("");
    for (bool more; ; ) {
        TRY(next_field(&m, &f, &more, e));
        if (!more) return ERR_NONE;
        if (f.number == PIECE_TEXT) {
            TRY(want_wire(&f, WIRE_BYTES, &m, e));
            TRY(keep(t, text_of(f.bytes), &to->text[id], e));
        } else if (f.number == PIECE_SCORE) {
            TRY(want_wire(&f, WIRE_32, &m, e));
            to->score[id] = f32_from_bits((uint32_t)f.value);
        } else if (f.number == PIECE_TYPE) {
            TRY(want_wire(&f, WIRE_VARINT, &m, e));
            if (f.value < TYPE_NORMAL || f.value > TYPE_BYTE) {
                return err_set_at(e, ERR_FORMAT, m.at, "piece %u has type %llu; there are 1 to 6", id,
                                  (unsigned long long)f.value);
            }
            to->type[id] = (uint8_t)f.value;
        }
    }
}

/* --- The whole --- */

/* Counts the pieces and reads everything else. */
static enum err_code read_outline(struct span file, struct settings *s, uint32_t *n, struct err *e) {
    struct message m = { file.p, 0, file.n };
    struct field f;
    *n = 0;
    for (bool more; ; ) {
        TRY(next_field(&m, &f, &more, e));
        if (!more) break;
        bool part = f.number >= MODEL_PIECES && f.number <= MODEL_NORMALIZER;
        if (part) TRY(want_wire(&f, WIRE_BYTES, &m, e));
        if (f.number == MODEL_PIECES && ++*n > MAX_PIECES) {
            return err_set_at(e, ERR_TOO_LARGE, m.at, "more than %u pieces", MAX_PIECES);
        }
        if (f.number == MODEL_TRAINER) {
            TRY(read_settings(f.bytes, trainer_settings, ARRAY_LEN(trainer_settings), s, e));
        } else if (f.number == MODEL_NORMALIZER) {
            TRY(read_settings(f.bytes, normalizer_settings, ARRAY_LEN(normalizer_settings), s, e));
        }
    }
    return *n ? ERR_NONE : err_set(e, ERR_FORMAT, "there are no pieces: this is no SentencePiece model");
}

static enum err_code read_pieces(struct hf_tokenizer *t, struct span file, uint32_t n, struct err *e) {
    struct message m = { file.p, 0, file.n };
    struct field f = { 0 };
    struct pieces to = { arena_alloc(&t->mem, n, sizeof(*to.text)), arena_alloc(&t->mem, n, sizeof(*to.score)),
                         arena_alloc(&t->mem, n, 1) };
    if (!to.text || !to.score || !to.type) return err_no_memory(e, 21ull * n);
    t->n = n;
    t->piece = to.text;
    t->score = to.score;
    t->type = to.type;
    bool more;
    for (uint32_t i = 0; i < n; ) {
        TRY(next_field(&m, &f, &more, e));
        if (f.number == MODEL_PIECES) TRY(read_piece(t, f.bytes, &to, i++, e));
    }
    return ERR_NONE;
}

/* A special id counts where its piece is a control token. */
static int32_t control_id(const struct hf_tokenizer *t, uint64_t id) {
    return id < t->n && t->type[id] == TYPE_CONTROL ? (int32_t)id : -1;
}

static enum err_code apply(struct hf_tokenizer *t, const struct settings *s, struct err *e) {
    if (s->model_type != 1 && s->model_type != 2) {
        return err_set(e, ERR_UNSUPPORTED, "a SentencePiece model of type %llu; snug has 1 (unigram) and 2 (BPE)",
                       (unsigned long long)s->model_type);
    }
    if (s->space_as_suffix || !s->escape_spaces) {
        return err_set(e, ERR_UNSUPPORTED, "a SentencePiece model that %s, which snug cannot tokenize with",
                       s->space_as_suffix ? "puts spaces at the ends of words" : "does not write spaces as U+2581");
    }
    t->model = s->model_type == 1 ? HF_TOK_UNIGRAM : HF_TOK_SENTENCEPIECE;
    t->byte_fallback = s->byte_fallback;
    t->prefix = s->dummy_prefix ? HF_TOK_PREFIX_EACH : HF_TOK_PREFIX_NONE;
    t->remove_extra_spaces = s->remove_extra_spaces;
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->type[i] == TYPE_UNKNOWN && t->unk < 0) t->unk = (int32_t)i;
        if (t->type[i] == TYPE_BYTE && !s->byte_fallback) {
            return err_set(e, ERR_FORMAT, "piece %u is a byte, but the model has no byte fallback", i);
        }
    }
    t->bos = control_id(t, s->bos);
    t->eos = control_id(t, s->eos);
    t->pad = control_id(t, s->pad);
    t->add_bos = s->model_type == 2 && t->bos >= 0;
    return s->charsmap.end ? keep(t, text_of(s->charsmap), &t->charsmap, e) : ERR_NONE;
}

enum err_code sentencepiece_parse(struct span file, struct hf_tokenizer **out, struct err *e) {
    struct settings s = absent;
    enum err_code rc;
    uint32_t n;
    *out = NULL;
    struct hf_tokenizer *t = hf_tokenizer_new();
    if (!t) return err_no_memory(e, sizeof(*t));
    TRY_OUT(rc, read_outline(file, &s, &n, e));
    TRY_OUT(rc, read_pieces(t, file, n, e));
    TRY_OUT(rc, apply(t, &s, e));
    *out = t;
    t = NULL;
out:
    hf_tokenizer_close(t);
    return rc;
}
