/* Parquet: the description, then every record of the column with a usual name. A few bytes can stand for millions of
 * equal rows, so the walk ends after some thousands. */
#include "format/parquet.h"
#include "fuzz.h"

enum { MAX_RECORDS = 20000 };

enum err_code fuzz_one(struct span data, struct err *e) {
    struct parquet *p;
    struct calib_record r;
    bool more = true;
    TRY(parquet_open(data, NULL, &p, e));
    enum err_code rc = parquet_next(p, &r, &more, e);
    for (size_t i = 0; !rc && more && i < MAX_RECORDS; i++) {
        fuzz_touch(r.text.p, r.text.n);
        for (size_t k = 0; k < r.n_messages; k++) {
            fuzz_touch(r.messages[k].role.p, r.messages[k].role.n);
            fuzz_touch(r.messages[k].content.p, r.messages[k].content.n);
        }
        rc = parquet_next(p, &r, &more, e);
    }
    parquet_close(p);
    return rc;
}
