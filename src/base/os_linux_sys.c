/* Owns: what Linux tells about the machine and this process: time, memory, quotas, randomness, sleeping threads.
 * Promises: a container's limits count as the machine's; what cannot be found out is 0, or the kernel's own word.
 * Leaves to others: files (os_linux.c), the processor (cpu.c). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "base/num.h"
#include "base/os.h"

uint64_t os_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t os_random_u64(void) {
    uint64_t seed;
    if (getrandom(&seed, sizeof(seed), 0) == (ssize_t)sizeof(seed)) return seed;
    /* Only a sandbox that forbids the call comes here: the clock and where the stack lies are the next best. */
    return os_now_ns() * 0x9E3779B97F4A7C15u ^ (uint64_t)(uintptr_t)&seed ^ (uint64_t)getpid() << 40;
}

/* --- Files of the kernel --- */

/* The first size - 1 bytes of a file of /proc or /sys as a string; false if it cannot be read. */
static bool slurp(const char *path, char *buf, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    size_t n = 0;
    for (ssize_t got; n < size - 1 && (got = read(fd, buf + n, size - 1 - n)) > 0;) n += (size_t)got;
    close(fd);
    buf[n] = 0;
    return n > 0;
}

/* The number behind `key` at the beginning of a line; 0 if there is none. */
static uint64_t number_after(const char *text, const char *key) {
    size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, key, n) == 0) return strtoull(line + n, NULL, 10);
    }
    return 0;
}

/* --- Control groups --- */

/* Where this process stands in one hierarchy; version 1 has one hierarchy a controller, version 2 one for all. */
struct cgroup { char mount[64], path[512]; bool v2; };

/* Finds `controller` in /proc/self/cgroup, whose lines are "7:cpu,cpuacct:/path" and, for version 2, "0::/path". */
static bool cgroup_find(const char *controller, struct cgroup *g) {
    char text[4096], *save = NULL;
    if (!slurp("/proc/self/cgroup", text, sizeof(text))) return false;
    bool found = false;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        names++;
        size_t n = strlen(controller);
        bool v1 = false;
        for (char *at = names; (at = strstr(at, controller)) != NULL; at += n)
            v1 |= (at == names || at[-1] == ',') && (at[n] == 0 || at[n] == ',');
        if (!v1 && (*names || found)) continue;
        g->v2 = !v1;
        snprintf(g->mount, sizeof(g->mount), "/sys/fs/cgroup%s%s", v1 ? "/" : "", v1 ? controller : "");
        snprintf(g->path, sizeof(g->path), "%s", strcmp(path, "/") ? path : "");
        found = true;
        if (v1) break;
    }
    return found;
}

static bool cgroup_read(const struct cgroup *g, const char *file, char *buf, size_t size) {
    char name[sizeof(g->mount) + sizeof(g->path) + 64];
    snprintf(name, sizeof(name), "%s%s/%s", g->mount, g->path, file);
    return slurp(name, buf, size);
}

/* Goes to the parent group; false at the root. A container may see a path that its mount does not have: the walk then
 * ends at the mount, which is the container's own group. */
static bool cgroup_up(struct cgroup *g) {
    char *slash = strrchr(g->path, '/');
    if (!slash) return false;
    *slash = 0;
    return true;
}

double os_cpu_quota(void) {
    struct cgroup g;
    char text[64];
    double least = 0;
    if (!cgroup_find("cpu", &g)) return 0;
    do {
        long long quota = 0, period = 0;
        if (g.v2) {
            if (cgroup_read(&g, "cpu.max", text, sizeof(text))) {
                char *rest; /* "max 100000" without a quota */
                quota = strtoll(text, &rest, 10);
                period = strtoll(rest, NULL, 10);
            }
        } else {
            if (cgroup_read(&g, "cpu.cfs_quota_us", text, sizeof(text))) quota = strtoll(text, NULL, 10);
            if (cgroup_read(&g, "cpu.cfs_period_us", text, sizeof(text))) period = strtoll(text, NULL, 10);
        }
        if (quota <= 0 || period <= 0) continue;
        double cpus = (double)quota / (double)period;
        if (least == 0 || cpus < least) least = cpus;
    } while (cgroup_up(&g));
    return least;
}

/* The tightest memory limit above this process and what is left of it; files in the cache can be given back. */
static bool memory_limit(uint64_t *limit, uint64_t *left) {
    struct cgroup g;
    char text[8192];
    *limit = *left = UINT64_MAX;
    if (!cgroup_find("memory", &g)) return false;
    do {
        if (!cgroup_read(&g, g.v2 ? "memory.max" : "memory.limit_in_bytes", text, sizeof(text))) continue;
        uint64_t max = strtoull(text, NULL, 10), used = 0, cache = 0;
        if (max == 0) continue; /* "max": no limit */
        if (cgroup_read(&g, g.v2 ? "memory.current" : "memory.usage_in_bytes", text, sizeof(text)))
            used = strtoull(text, NULL, 10);
        if (cgroup_read(&g, "memory.stat", text, sizeof(text)))
            cache = number_after(text, g.v2 ? "inactive_file " : "total_inactive_file ") +
                    number_after(text, g.v2 ? "active_file " : "total_active_file ");
        used -= min_u64(used, cache);
        *limit = min_u64(*limit, max);
        *left = min_u64(*left, max - min_u64(max, used));
    } while (cgroup_up(&g));
    return true;
}

/* --- Memory --- */

static uint64_t meminfo(const char *key) {
    char text[8192];
    return slurp("/proc/meminfo", text, sizeof(text)) ? number_after(text, key) * 1024 : 0;
}

uint64_t os_total_memory(void) {
    uint64_t total = meminfo("MemTotal:"), limit, left;
    return memory_limit(&limit, &left) ? min_u64(total, limit) : total;
}

uint64_t os_free_memory(void) {
    uint64_t available = meminfo("MemAvailable:"), limit, left;
    return memory_limit(&limit, &left) ? min_u64(available, left) : available;
}

uint64_t os_peak_rss(void) {
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) ? 0 : (uint64_t)u.ru_maxrss * 1024; /* Linux counts in KiB */
}

uint64_t os_rss(void) {
    char text[256];
    if (!slurp("/proc/self/statm", text, sizeof(text))) return 0;
    const char *second = strchr(text, ' '); /* the first number is all that is mapped */
    return second ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

void os_zero(void *p, size_t n) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)p, end = begin + n;
    uintptr_t first = round_up(begin, page), last = end & ~(page - 1);
    char *bytes = p;
    /* Pages of the heap are private and anonymous: dropped, they read as zero. Locked or huge ones refuse. */
    if (first >= last || madvise(bytes + (first - begin), last - first, MADV_DONTNEED)) {
        memset(bytes, 0, n);
        return;
    }
    memset(bytes, 0, first - begin);
    memset(bytes + (last - begin), 0, end - last);
}

/* --- Threads --- */

void os_wait(_Atomic uint32_t *word, uint32_t value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

void os_wake_all(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

bool os_enable_amx(void) {
#if defined(__x86_64__)
    /* ARCH_REQ_XCOMP_PERM and the number of the tile data in XCR0: the kernel's Documentation/arch/x86/xstate. */
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}
