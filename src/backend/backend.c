/* The registry of devices: one row a back end. */
#include "backend/backend.h"
#include <string.h>
#include "backend/cpu/cpu_dev.h"
#include "backend/ref/ref_dev.h"

static const struct {
    const char *name;
    enum err_code (*open)(const struct backend_options *o, struct backend **out, struct err *e);
} devices[] = {
    { "ref", ref_open },
    { "cpu", cpu_open },
};

enum err_code backend_open(const char *name, const struct backend_options *o, struct backend **out, struct err *e) {
    *out = NULL;
    for (size_t i = 0; i < ARRAY_LEN(devices); i++)
        if (strcmp(devices[i].name, name) == 0) return devices[i].open(o, out, e);
    return err_set(e, ERR_USAGE, "there is no back end \"%s\"; choose ref or cpu", name);
}
