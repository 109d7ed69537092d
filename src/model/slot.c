/* The table of slots, and names made from its patterns. */
#include "model/slot.h"

#include <stdio.h>
#include <string.h>

enum shape { SMALL, MATRIX, STACK, EXPERTS };

const struct slot_info *slot_info(enum slot s) {
    static const struct slot_info table[SLOT_COUNT] = {
#define SLOT(name, gguf, shape, part) \
    [SLOT_##name] = { gguf, part, (shape) != SMALL, (shape) == EXPERTS,                                  \
                      gguf[0] == 'b' && gguf[1] == 'l' && gguf[2] == 'k' },
#include "model/slots.def"
#undef SLOT
    };
    return &table[s];
}

void slot_format_name(const char *pattern, uint32_t layer, uint32_t expert, char out[SLOT_NAME_BYTES]) {
    size_t n = 0;
    for (const char *p = pattern; *p && n < SLOT_NAME_BYTES - 1; p++) {
        if (*p != '%') {
            out[n++] = *p;
            continue;
        }
        int wrote = snprintf(out + n, SLOT_NAME_BYTES - n, "%u", *++p == 'x' ? expert : layer);
        n = n + (size_t)wrote < SLOT_NAME_BYTES ? n + (size_t)wrote : SLOT_NAME_BYTES - 1;
    }
    out[n] = 0;
}

bool slot_name_has_expert(const char *pattern) { return strstr(pattern, "%x"); }
