#ifndef BACKEND_REF_DEV_H
#define BACKEND_REF_DEV_H
/* The oracle: one thread, scalar float arithmetic, weights decoded row by row by the codecs of qtype. */
#include "backend/backend.h"

/* Options say nothing to it: it has one thread and is always exact. */
enum err_code ref_open(const struct backend_options *o, struct backend **out, struct err *e);
#endif
