#ifndef FORMAT_CALIB_TEXT_H
#define FORMAT_CALIB_TEXT_H
/* Calibration records: text, conversations, token ids; and the readers of plain text and JSON, which hold a file whole.
 * calib_source.h opens any source. Rendering and tokenizing is for callers. */
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

enum calib_kind { CALIB_TEXT, CALIB_CHAT, CALIB_IDS };

struct calib_message { struct str role, content; };

struct calib_record {
    enum calib_kind kind;
    struct str text;                      /* CALIB_TEXT */
    const struct calib_message *messages; /* CALIB_CHAT */
    size_t n_messages;
    const uint32_t *ids; /* CALIB_IDS */
    size_t n_ids;
};

struct calib_text {
    struct calib_record *records;
    size_t n_records;
    struct arena mem; /* owns everything that records point to */
};

/* A file's content, which is copied. JSON lines: one object a line, with "text" or "content" (a string), or "messages"
 * or "conversations" (an array of role/content or from/value objects); JSON: an array of token ids, or an array of such
 * arrays or of objects as above; plain: one text, UTF-8. field: the only name to look for in objects; NULL: those
 * above, lists first. Errors name the line or the element; a source without records is an error. On error *out is
 * NULL. */
enum err_code calib_text_plain(struct span data, struct calib_text **out, struct err *e);
enum err_code calib_text_jsonl(struct span data, const char *field, struct calib_text **out, struct err *e);
enum err_code calib_text_json(struct span data, const char *field, struct calib_text **out, struct err *e);
void calib_text_close(struct calib_text *c); /* NULL is fine */

/* A conversation as text where no template renders it: a line "role: content" a message, appended to out. */
void calib_chat_text(const struct calib_record *r, struct buf *out);

/* The names of the ShareGPT form in the words of the usual one: "human" is "user", "gpt" is "assistant". */
struct str calib_plain_role(struct str role);
#endif
