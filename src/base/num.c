/* How a number of bytes is written for people. */
#include "base/num.h"
#include <stdio.h>
#include "base/compiler.h"

const char *format_bytes(uint64_t n, char *buf, size_t size) {
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
    double v = (double)n;
    size_t unit = 0;
    /* What would round to 1000 is 1.00 of the next unit. */
    for (; v >= 999.5 && unit + 1 < ARRAY_LEN(units); unit++) v /= 1000;
    int digits = unit == 0 || v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2;
    snprintf(buf, size, "%.*f %s", digits, v, units[unit]);
    return buf;
}
