#ifndef QUANT_JOURNAL_H
#define QUANT_JOURNAL_H
/* What a measuring run has done so far, line by line in "PATH.part", so that a killed run need not begin again. */
#include "quant/measurement.h"

struct journal;
/* resume: reads what an earlier run of the same model and settings left there; anything else is dropped. path NULL:
 * nothing is kept. Another process at work on the same journal is an error. */
enum err_code journal_open(const char *path, bool resume, const struct measurement *identity, struct journal **out,
                           struct err *e);
/* remove: the work is complete and the file goes. NULL is fine. */
void journal_close(struct journal *j, bool remove);

/* Fill t's tries or probes with what was kept for its name; true if there was something. */
bool journal_find_tries(const struct journal *j, struct arena *mem, struct measured_tensor *t);
bool journal_find_probes(const struct journal *j, struct arena *mem, struct measured_tensor *t);
/* Keep t's: they survive the end of the process, not that of the machine. */
enum err_code journal_keep_tries(struct journal *j, const struct measured_tensor *t, struct err *e);
enum err_code journal_keep_probes(struct journal *j, const struct measured_tensor *t, struct err *e);
#endif
