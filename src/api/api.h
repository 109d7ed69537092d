#ifndef API_API_H
#define API_API_H
/* What the implementations of snug.h share. The only place that turns struct err into the public form. */
#include "base/err.h"
#include "runtime/engine.h"
#include "runtime/session.h"
#include "snug.h"

struct snug_model {
    struct engine *en;
    struct session *session;    /* kept between calls while its description stays the same */
    struct pass_desc desc;
    bool vocab_only;
};

/* Fills out (if not NULL) from rc and err; returns rc. */
int api_result(enum err_code rc, const struct err *err, struct snug_error *out);
struct engine_options api_engine_options(const struct snug_open_options *o);
struct progress api_progress(const struct snug_progress *p);
/* A session of that description for m, emptied: the kept one if it fits. Owned by m. */
enum err_code api_session(struct snug_model *m, const struct pass_desc *d, struct session **out, struct err *e);
void api_model_info(const struct engine *en, struct snug_model_info *out);
#endif
