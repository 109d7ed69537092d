#ifndef BASE_POOL_H
#define BASE_POOL_H
/* A pool of worker threads for parallel loops whose split does not depend on timing. */
#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"

struct pool;
/* Whether the workers of pools that are opened from now on are kept on cores of their own, where there are enough. The
 * default is no: the system then moves a thread away from a core that another program takes. The caller of pool_open is
 * never bound, since its thread is not the pool's, but the core on which it opens the pool is left to it. */
void pool_bind(bool on);
/* n_threads >= 1 counts the caller, who works too; 0 means one per physical core. */
enum err_code pool_open(unsigned n_threads, struct pool **out, struct err *e);
void pool_close(struct pool *p); /* NULL is fine */
unsigned pool_size(const struct pool *p); /* NULL: 1 */

/* body(arg, begin, end, thread): works on [begin, end); thread < pool_size names a scratch slot of its own. */
typedef void pool_body(void *arg, size_t begin, size_t end, unsigned thread);
/* Cuts [0, n) into pieces of `grain` (the last may be shorter) and runs them all. Each thread has as many neighbouring
 * pieces and takes them in order, then those that others have not come to; so a piece's result must not depend on which
 * thread runs it. Returns when all are done. One caller at a time; body must not call pool_run on the same pool.
 * NULL is no pool: the caller runs all pieces in order as thread 0, wherever it is called from. */
void pool_run(struct pool *p, size_t n, size_t grain, pool_body *body, void *arg);
#endif
