/* Calibration sources: what begins with a bracket as token ids, all else as lines of records. */
#include "format/calib_text.h"
#include "fuzz.h"

enum err_code fuzz_one(struct span data, struct err *e) {
    struct calib_text *c;
    bool list = data.n && data.p[0] == '[';
    enum err_code rc = list ? calib_text_json(data, NULL, &c, e) : calib_text_jsonl(data, NULL, &c, e);
    if (rc) return rc;
    for (size_t i = 0; i < c->n_records; i++) {
        const struct calib_record *r = &c->records[i];
        fuzz_touch(r->text.p, r->text.n);
        fuzz_touch(r->ids, r->n_ids * sizeof(*r->ids));
        for (size_t k = 0; k < r->n_messages; k++) {
            fuzz_touch(r->messages[k].role.p, r->messages[k].role.n);
            fuzz_touch(r->messages[k].content.p, r->messages[k].content.n);
        }
    }
    calib_text_close(c);
    return ERR_NONE;
}
