#ifndef TESTS_ASSERT_OK_H
#define TESTS_ASSERT_OK_H
/* cmocka with what it wants included first, and its assertion of our errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"

/* The test fails with the error's whole sentence. */
static inline void assert_ok(enum err_code rc, const struct err *e) {
    char text[800];
    if (rc == ERR_NONE) return;
    err_format(e, text, sizeof text);
    fail_msg("%s", text);
}
#endif
