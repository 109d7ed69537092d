#ifndef BACKEND_CPU_DEV_H
#define BACKEND_CPU_DEV_H
/* The CPU as a device: a pool of threads and the kernels that fit this machine (kern.h). */
#include "backend/backend.h"

/* Features are those of cpu_features() at this moment. */
enum err_code cpu_open(const struct backend_options *o, struct backend **out, struct err *e);
#endif
