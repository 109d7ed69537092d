/* libFuzzer's entry to a target. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct err e = { 0 };
    fuzz_one((struct span){ data, n }, &e);
    return 0;
}
