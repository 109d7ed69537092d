/* Owns: what an x86-64 processor says of itself (Intel SDM volume 2, CPUID; volume 1 chapter 13, XGETBV).
 * Promises: a feature counts only if the operating system saves its registers, and AMX only if it lets us use it.
 * Leaves to others: which kernel is chosen. */
#include <cpuid.h>
#include "base/cpu_detect.h"
#include "base/os.h"

/* Bits of XCR0: register state that the operating system saves. */
enum {
    XCR0_YMM = 0x6,      /* SSE and AVX */
    XCR0_ZMM = 0xE6,     /* and opmask, upper halves, upper registers */
    XCR0_TILE = 0x60000, /* tile configuration and tile data */
};

/* Of leaf 7, register D; compilers name these bits differently. */
enum { LEAF7_AMX_BF16 = 1 << 22, LEAF7_AMX_TILE = 1 << 24, LEAF7_AMX_INT8 = 1 << 25 };

struct leaf { unsigned a, b, c, d; };

static struct leaf leaf_of(unsigned number, unsigned sub) {
    struct leaf l = { 0 };
    if (!__get_cpuid_count(number, sub, &l.a, &l.b, &l.c, &l.d)) l = (struct leaf){ 0 };
    return l;
}

static bool has(unsigned value, unsigned bits) {
    return (value & bits) == bits;
}

static unsigned xcr0(void) {
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

unsigned cpu_detect(void) {
    struct leaf one = leaf_of(1, 0), seven = leaf_of(7, 0), seven_one = leaf_of(7, 1);
    unsigned saved = has(one.c, bit_OSXSAVE) ? xcr0() : 0, f = 0;
    if (has(one.c, bit_SSE4_2 | bit_POPCNT)) f |= CPU_SSE42;
    if (!has(saved, XCR0_YMM) || !has(one.c, bit_AVX | bit_FMA | bit_F16C) || !has(seven.b, bit_AVX2)) return f;
    f |= CPU_AVX2;
    if (has(seven_one.a, bit_AVXVNNI)) f |= CPU_AVXVNNI;
    if (!has(saved, XCR0_ZMM) || !has(seven.b, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL)) return f;
    f |= CPU_AVX512;
    if (has(seven.c, bit_AVX512VNNI)) f |= CPU_VNNI;
    if (has(seven.c, bit_AVX512VBMI)) f |= CPU_VBMI;
    if (has(seven_one.a, bit_AVX512BF16)) f |= CPU_BF16;
    if (has(saved, XCR0_TILE) && has(seven.d, LEAF7_AMX_TILE) && os_enable_amx()) {
        if (has(seven.d, LEAF7_AMX_INT8)) f |= CPU_AMX_INT8;
        if (has(seven.d, LEAF7_AMX_BF16)) f |= CPU_AMX_BF16;
    }
    return f;
}
