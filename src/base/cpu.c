/* Owns: the answer to "what can this machine's processor do": features and their cap, cores, cache, name.
 * Promises: asks the machine once; thread-safe; sane answers where the system tells nothing.
 * Leaves to others: the instructions that detect features (cpu_x86.c, cpu_arm.c), which thread goes where (pool.c). */
#include "base/cpu.h"
#include <hwloc.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/cpu_detect.h"
#include "base/mem.h"
#include "base/os.h"

/* --- Features --- */

static pthread_once_t features_once = PTHREAD_ONCE_INIT;
static unsigned detected;
static _Atomic unsigned allowed = ~0u;

static void detect(void) {
    detected = cpu_detect();
}

unsigned cpu_features(void) {
    pthread_once(&features_once, detect);
    return detected & allowed;
}

/* Each level has all that the levels before it have. The ARM features stand beside the x86 ones of the same kind, and
 * their names beside the names of those levels. */
static const struct { const char *name; unsigned adds; } levels[] = {
    { "scalar", 0 },
    { "avx2", CPU_SSE42 | CPU_AVX2 | CPU_NEON },
    { "neon", 0 },
    { "avx512", CPU_AVX512 },
    { "vnni", CPU_VNNI | CPU_VBMI | CPU_AVXVNNI | CPU_DOTPROD },
    { "dotprod", 0 },
    { "amx", CPU_BF16 | CPU_AMX_INT8 | CPU_AMX_BF16 | CPU_I8MM },
    { "i8mm", 0 },
    { "native", ~0u },
};

bool cpu_limit(const char *level) {
    unsigned sum = 0;
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        sum |= levels[i].adds;
        if (strcmp(level, levels[i].name) != 0) continue;
        allowed = sum;
        return true;
    }
    return false;
}

const char *cpu_features_text(unsigned features, char *buf, unsigned size) {
    static const char *const names[] = { /* in the order of the bits */
        "SSE4.2", "AVX2", "AVX512", "VNNI", "AVX-VNNI", "BF16", "AMX-INT8", "AMX-BF16", "NEON", "DOTPROD", "I8MM",
        "VBMI",
    };
    unsigned n = 0;
    if (size) buf[0] = 0;
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (!(features >> i & 1) || n >= size) continue;
        n += (unsigned)snprintf(buf + n, size - n, "%s%s", n ? " " : "", names[i]);
    }
    if (n == 0) snprintf(buf, size, "scalar");
    return buf;
}

/* --- Topology --- */

static pthread_once_t topology_once = PTHREAD_ONCE_INIT;
static struct {
    char name[96];
    unsigned cores, n_places;
    uint64_t cache;
    hwloc_topology_t topology; /* kept for binding, as long as the process lives; NULL if it could not be read */
    hwloc_bitmap_t *place;     /* (n_places): the hardware threads of each core that may run this process */
} machine;

/* Cores of which at least one hardware thread may run this process. */
static void find_places(hwloc_topology_t t) {
    int n = hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_CORE);
    hwloc_bitmap_t mine = hwloc_bitmap_alloc();
    machine.place = n > 0 ? NEW_ARRAY(hwloc_bitmap_t, (size_t)n) : NULL;
    if (!mine || !machine.place) goto out;
    if (hwloc_get_cpubind(t, mine, HWLOC_CPUBIND_PROCESS))
        hwloc_bitmap_copy(mine, hwloc_topology_get_allowed_cpuset(t));
    for (hwloc_obj_t core = NULL; (core = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_CORE, core)) != NULL;) {
        hwloc_bitmap_t *place = &machine.place[machine.n_places];
        if (!hwloc_bitmap_intersects(core->cpuset, mine)) continue;
        *place = hwloc_bitmap_alloc();
        if (!*place || hwloc_bitmap_and(*place, core->cpuset, mine)) break;
        machine.n_places++;
    }
out:
    hwloc_bitmap_free(mine);
}

/* The cache farthest from the first core that still is a cache of it. */
static uint64_t last_cache(hwloc_topology_t t) {
    uint64_t size = 0;
    for (hwloc_obj_t o = hwloc_get_obj_by_type(t, HWLOC_OBJ_PU, 0); o; o = o->parent)
        if (hwloc_obj_type_is_dcache(o->type)) size = o->attr->cache.size;
    return size;
}

static void name_machine(hwloc_topology_t t) {
    const char *name = NULL;
    hwloc_obj_t package = hwloc_get_obj_by_type(t, HWLOC_OBJ_PACKAGE, 0);
    if (package) name = hwloc_obj_get_info_by_name(package, "CPUModel");
    if (!name) name = hwloc_obj_get_info_by_name(hwloc_get_root_obj(t), "CPUModel");
    if (!name) return;
    while (*name == ' ') name++;
    snprintf(machine.name, sizeof(machine.name), "%s", name);
    for (size_t n = strlen(machine.name); n && machine.name[n - 1] == ' '; n--) machine.name[n - 1] = 0;
}

static void look(void) {
    hwloc_topology_t t;
    if (hwloc_topology_init(&t) == 0) {
        if (hwloc_topology_load(t) == 0) {
            find_places(t);
            machine.cache = last_cache(t);
            name_machine(t);
            machine.topology = t;
        } else {
            hwloc_topology_destroy(t);
        }
    }
    machine.cores = machine.n_places;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (machine.cores == 0) machine.cores = online > 0 ? (unsigned)online : 1;
    double quota = os_cpu_quota();
    if (quota > 0 && ceil(quota) < machine.cores) machine.cores = (unsigned)ceil(quota);
    if (!machine.name[0]) strcpy(machine.name, "unknown");
}

const char *cpu_name(char *buf, unsigned size) {
    pthread_once(&topology_once, look);
    snprintf(buf, size, "%s", machine.name);
    return buf;
}

unsigned cpu_physical_cores(void) {
    pthread_once(&topology_once, look);
    return machine.cores;
}

unsigned cpu_places(void) {
    pthread_once(&topology_once, look);
    return machine.n_places;
}

unsigned cpu_place(void) {
    pthread_once(&topology_once, look);
    hwloc_bitmap_t here = machine.topology ? hwloc_bitmap_alloc() : NULL;
    unsigned i = machine.n_places;
    if (here && hwloc_get_last_cpu_location(machine.topology, here, HWLOC_CPUBIND_THREAD) == 0)
        for (i = 0; i < machine.n_places && !hwloc_bitmap_intersects(machine.place[i], here);) i++;
    hwloc_bitmap_free(here);
    return i;
}

bool cpu_bind(unsigned place) {
    pthread_once(&topology_once, look);
    return place < machine.n_places &&
           hwloc_set_cpubind(machine.topology, machine.place[place], HWLOC_CPUBIND_THREAD) == 0;
}

uint64_t cpu_last_level_cache(void) {
    pthread_once(&topology_once, look);
    return machine.cache;
}
