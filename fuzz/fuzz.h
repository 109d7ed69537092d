#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H
/* What a fuzz target is: a function over bytes, one a program. libfuzzer.c feeds it from libFuzzer, replay.c from the
 * files of its corpus, tests/fail/cut_and_flip.c from damaged copies of one good file. */
#include "base/err.h"
#include "base/str.h"

/* Parses data and uses everything that a parse promises: each value is read, each byte of each tensor. Returns what the
 * parser said; crashes, leaks and reads out of bounds are for the sanitizers to see. */
enum err_code fuzz_one(struct span data, struct err *e);

/* Reads all bytes in a way that no compiler leaves out. */
static inline void fuzz_touch(const void *p, size_t n) {
    const volatile uint8_t *bytes = p;
    for (size_t i = 0; i < n; i++) (void)bytes[i];
}
#endif
