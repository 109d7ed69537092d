/* Owns: what Linux tells about files and lets one do with them: mapping, reading, listing, atomic writing. Memory, time
 * and threads stand in os_linux_sys.c.
 * Promises: every failure names the path; a file written here appears under its name complete or not at all; two
 * processes never write one partial file; descriptors are not inherited by child processes.
 * Leaves to others: formats. A mapped file that someone shortens meanwhile raises SIGBUS, as everywhere. */
#include "base/os.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/num.h"

/* --- Reading --- */

static enum err_code refuse_kind(mode_t mode, const char *path, struct err *e) {
    bool device = S_ISCHR(mode) || S_ISBLK(mode);
    const char *kind = S_ISDIR(mode) ? "directory" : device ? "device" : "pipe or socket";
    return err_where(e, err_set(e, ERR_USAGE, "is a %s, but a regular file is needed", kind), "%s", path);
}

static enum err_code fail_errno(const char *path, const char *what, struct err *e) {
    return err_where(e, err_set_errno(e, "%s", what), "%s", path);
}

enum err_code os_map_open(const char *path, struct os_map *m, struct err *e) {
    enum err_code rc = ERR_NONE;
    struct stat st;
    *m = (struct os_map){ 0 };
    /* Without O_NONBLOCK a named pipe would wait here for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return fail_errno(path, "cannot open", e);
    if (fstat(fd, &st)) {
        rc = fail_errno(path, "cannot examine", e);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = refuse_kind(st.st_mode, path, e);
        goto out;
    }
    if (st.st_size == 0) goto out;
    if ((uint64_t)st.st_size > PTRDIFF_MAX) {
        rc = err_where(e, err_set(e, ERR_TOO_LARGE, "the file is larger than the address space"), "%s", path);
        goto out;
    }
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) rc = fail_errno(path, "cannot map into memory", e);
    else *m = (struct os_map){ p, (size_t)st.st_size };
out:
    close(fd);
    return rc;
}

void os_map_close(struct os_map *m) {
    if (m->p) munmap((void *)m->p, m->n);
    *m = (struct os_map){ 0 };
}

void os_advise(const void *p, size_t n, enum os_advice advice) {
    static const int values[] = {
        [OS_SEQUENTIAL] = MADV_SEQUENTIAL,
        [OS_RANDOM] = MADV_RANDOM,
        [OS_WILLNEED] = MADV_WILLNEED,
        [OS_DONTNEED] = MADV_DONTNEED,
        [OS_HUGE] = MADV_HUGEPAGE,
    };
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)p, begin = at, end = at + n;
    if (advice == OS_DONTNEED || advice == OS_HUGE) { /* a page shared with a neighbour stays as it is */
        begin = round_up(begin, page);
        end &= ~(page - 1);
    } else {
        begin &= ~(page - 1);
    }
    if (begin < end) (void)madvise((char *)p + (ptrdiff_t)(begin - at), end - begin, values[advice]);
}

/* Reads fd to its end into *data; the size that it seems to have is a hint only, for pipes have none. */
static enum err_code read_all(int fd, size_t hint, size_t max, struct buf *b, const char *path, struct err *e) {
    size_t cap = hint + 1; /* one more, so that the end is seen without growing */
    for (;;) {
        char *p = mem_realloc(b->p, b->n, cap, 1);
        if (!p) return err_where(e, err_no_memory(e, cap), "%s", path);
        b->p = p;
        while (b->n < cap) {
            ssize_t got = read(fd, b->p + b->n, cap - b->n);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return fail_errno(path, "cannot read", e);
            if (got == 0) return ERR_NONE;
            b->n += (size_t)got;
            if (b->n <= max) continue;
            return err_where(e, err_set(e, ERR_TOO_LARGE, "has more than the %zu bytes allowed here", max), "%s", path);
        }
        cap = max_u64(2 * cap, 4096);
    }
}

enum err_code os_read_file(const char *path, size_t max, char **data, size_t *n, struct err *e) {
    enum err_code rc = ERR_NONE;
    struct stat st;
    struct buf b = { 0 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_errno(path, "cannot open", e);
    if (fstat(fd, &st)) {
        rc = fail_errno(path, "cannot examine", e);
        goto out;
    }
    if (S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode)) {
        rc = refuse_kind(st.st_mode, path, e);
        goto out;
    }
    uint64_t hint = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    if (hint > max) {
        rc = err_set(e, ERR_TOO_LARGE, "has %llu bytes, more than the %zu allowed here", (unsigned long long)hint, max);
        rc = err_where(e, rc, "%s", path);
        goto out;
    }
    TRY_OUT(rc, read_all(fd, hint, max, &b, path, e));
    char *whole = mem_realloc(b.p, b.n, b.n + 1, 1);
    if (!whole) {
        rc = err_where(e, err_no_memory(e, b.n + 1), "%s", path);
        goto out;
    }
    whole[b.n] = 0;
    *data = whole;
    *n = b.n;
    b.p = NULL;
out:
    mem_free(b.p);
    close(fd);
    return rc;
}

bool os_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool os_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

bool os_is_newer(const char *a, const char *b) {
    struct stat x, y;
    if (stat(a, &x) || stat(b, &y)) return false;
    if (x.st_mtim.tv_sec != y.st_mtim.tv_sec) return x.st_mtim.tv_sec > y.st_mtim.tv_sec;
    return x.st_mtim.tv_nsec > y.st_mtim.tv_nsec;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum err_code os_list_dir(const char *path, char ***names, size_t *n, struct err *e) {
    enum err_code rc = ERR_NONE;
    char **list = NULL;
    size_t count = 0, cap = 0;
    DIR *dir = opendir(path);
    if (!dir) return fail_errno(path, "cannot list", e);
    for (struct dirent *d; errno = 0, (d = readdir(dir)) != NULL;) {
        if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..")) continue;
        if (count == cap) {
            size_t more = cap ? 2 * cap : 32;
            char **grown = mem_realloc(list, count, more, sizeof(*list));
            if (!grown) goto no_memory;
            list = grown;
            cap = more;
        }
        list[count] = mem_strdup(d->d_name);
        if (!list[count]) goto no_memory;
        count++;
    }
    if (errno) {
        rc = fail_errno(path, "cannot list", e);
        goto out;
    }
    if (!list && !(list = mem_alloc(0, sizeof(*list)))) goto no_memory;
    if (count) qsort(list, count, sizeof(*list), by_name);
    *names = list;
    *n = count;
    list = NULL;
    count = 0;
    goto out;
no_memory:
    rc = err_where(e, err_no_memory(e, (cap + 1) * sizeof(*list)), "%s", path);
out:
    for (size_t i = 0; i < count; i++) mem_free(list[i]);
    mem_free(list);
    closedir(dir);
    return rc;
}

char *os_path_join(const char *dir, const char *name) {
    struct buf b = { 0 };
    buf_addz(&b, dir);
    if (b.n && b.p[b.n - 1] != '/') buf_addc(&b, '/');
    buf_addz(&b, name);
    if (b.failed) buf_fini(&b);
    return b.p;
}

enum err_code os_make_dir(const char *path, struct err *e) {
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && os_is_dir(path))) return ERR_NONE;
    if (errno == EEXIST)
        return err_where(e, err_set(e, ERR_EXISTS, "is in the way: a directory is needed here"), "%s", path);
    return fail_errno(path, "cannot make this directory", e);
}

/* --- Writing --- */

enum { OUT_BUFFER = 1 << 16 };

/* The directory that path stands in; caller frees. */
static char *parent_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return mem_strdup(".");
    return mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* Takes the partial file for this process alone. Where the file system has no locks, none is taken. */
static enum err_code lock_part(int fd, const char *part, struct err *e) {
    struct stat mine, named;
    bool busy = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (fstat(fd, &mine)) return fail_errno(part, "cannot examine", e);
    /* Between open and flock another process may have finished and renamed what was opened. */
    if (!busy && (stat(part, &named) || mine.st_ino != named.st_ino || mine.st_dev != named.st_dev)) busy = true;
    if (!busy) return ERR_NONE;
    return err_where(e, err_set(e, ERR_EXISTS, "another process is writing this file"), "%s", part);
}

static enum err_code open_part(struct os_out *o, uint64_t keep, struct err *e) {
    enum err_code rc = ERR_NONE;
    struct stat st;
    /* The first byte of a resumed file is never made anew: keep > 0 asks for a file that exists. */
    int fd = open(o->part, O_RDWR | O_CLOEXEC | (keep ? 0 : O_CREAT), 0666);
    if (fd < 0) return fail_errno(o->part, "cannot open for writing", e);
    TRY_OUT(rc, lock_part(fd, o->part, e));
    if (fstat(fd, &st)) {
        rc = fail_errno(o->part, "cannot examine", e);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = refuse_kind(st.st_mode, o->part, e);
        goto out;
    }
    if ((uint64_t)st.st_size < keep) {
        rc = err_set(e, ERR_FORMAT, "has %llu bytes where an earlier run wrote %llu: delete it to start again",
                     (unsigned long long)st.st_size, (unsigned long long)keep);
        rc = err_where(e, rc, "%s", o->part);
        goto out;
    }
    if (ftruncate(fd, (off_t)keep) || lseek(fd, (off_t)keep, SEEK_SET) < 0) {
        rc = fail_errno(o->part, "cannot cut to the part that is kept", e);
        goto out;
    }
    o->is_open = true;
    o->fd = fd;
    o->n = keep;
    return ERR_NONE;
out:
    close(fd);
    return rc;
}

enum err_code os_out_open(struct os_out *o, const char *path, bool resume, uint64_t keep, struct err *e) {
    enum err_code rc = ERR_NONE;
    struct stat st;
    *o = (struct os_out){ 0 };
    /* Renaming over a directory would fail after all the work, and over a device would destroy it. */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) return refuse_kind(st.st_mode, path, e);
    struct buf part = { 0 };
    buf_addf(&part, "%s.part", path);
    o->part = part.p;
    o->path = mem_strdup(path);
    o->buf = mem_alloc(OUT_BUFFER, 1);
    if (part.failed || !o->path || !o->buf) {
        rc = err_where(e, err_no_memory(e, OUT_BUFFER), "%s", path);
        goto out;
    }
    rc = open_part(o, resume ? keep : 0, e);
out:
    if (rc) os_out_abandon(o, true); /* what is there belongs to another run, or to a try that can still resume */
    return rc;
}

/* How many bytes the system took: fewer than n only after an error, which errno has. */
static size_t write_all(int fd, const char *p, size_t n) {
    size_t done = 0;
    while (done < n) {
        ssize_t put = write(fd, p + done, n - done);
        if (put > 0) done += (size_t)put;
        else if (put == 0 || errno != EINTR) break;
    }
    return done;
}

enum err_code os_out_flush(struct os_out *o, struct err *e) {
    size_t done = write_all(o->fd, o->buf, o->n_buf);
    o->n_buf -= done;
    if (!o->n_buf) return ERR_NONE;
    memmove(o->buf, o->buf + done, o->n_buf); /* a second try goes on where this one ended */
    return fail_errno(o->part, "cannot write", e);
}

enum err_code os_out_write(struct os_out *o, const void *p, size_t n, struct err *e) {
    if (n > OUT_BUFFER - o->n_buf) TRY(os_out_flush(o, e));
    if (n > OUT_BUFFER) {
        if (write_all(o->fd, p, n) < n) return fail_errno(o->part, "cannot write", e);
    } else if (n) {
        memcpy(o->buf + o->n_buf, p, n);
        o->n_buf += n;
    }
    o->n += n;
    return ERR_NONE;
}

enum err_code os_out_sync(struct os_out *o, struct err *e) {
    TRY(os_out_flush(o, e));
    int failed;
    do failed = fsync(o->fd);
    while (failed && errno == EINTR);
    return failed ? fail_errno(o->part, "cannot write to the disk", e) : ERR_NONE;
}

/* Opens the directory that path stands in, so that a name in it can be made durable: everything that can fail for want
 * of something is done before the renaming. -1 in *fd: it may be written but not read, and cannot be synced. */
static enum err_code open_parent(const char *path, int *fd, struct err *e) {
    char *dir = parent_of(path);
    if (!dir) return err_where(e, err_no_memory(e, strlen(path)), "%s", path);
    *fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err_code rc = *fd < 0 && errno != EACCES ? fail_errno(dir, "cannot open", e) : ERR_NONE;
    mem_free(dir);
    return rc;
}

enum err_code os_rename(const char *from, const char *to, struct err *e) {
    int dir = -1, failed = 0;
    TRY(open_parent(to, &dir, e));
    enum err_code rc = rename(from, to) ? fail_errno(to, "cannot rename what is finished to this", e) : ERR_NONE;
    if (!rc && dir >= 0) {
        do failed = fsync(dir);
        while (failed && errno == EINTR);
        /* File systems that cannot sync a directory say EINVAL and need no more. */
        if (failed && errno != EINVAL) rc = fail_errno(to, "stands complete, but cannot get its name on the disk", e);
    }
    if (dir >= 0) close(dir);
    return rc;
}

enum err_code os_out_commit(struct os_out *o, struct err *e) {
    TRY(os_out_sync(o, e));
    /* Renamed before it is closed: closing gives up the lock. */
    enum err_code rc = os_rename(o->part, o->path, e);
    if (!rc) os_out_abandon(o, true);
    return rc;
}

void os_out_abandon(struct os_out *o, bool keep_part) {
    if (o->is_open && !keep_part) unlink(o->part);
    if (o->is_open && keep_part) (void)os_out_flush(o, NULL); /* as much as there is room for */
    if (o->is_open) close(o->fd);
    mem_free(o->path);
    mem_free(o->part);
    mem_free(o->buf);
    *o = (struct os_out){ 0 };
}

bool os_out_is_stale(const char *path) {
    struct buf part = { 0 };
    buf_addf(&part, "%s.part", path);
    int fd = part.failed ? -1 : open(part.p, O_RDWR | O_CLOEXEC);
    bool stale = fd >= 0 && lock_part(fd, part.p, NULL) == ERR_NONE;
    if (fd >= 0) close(fd);
    buf_fini(&part);
    return stale;
}

enum err_code os_write_file(const char *path, const void *p, size_t n, struct err *e) {
    enum err_code rc;
    struct os_out o;
    TRY(os_out_open(&o, path, false, 0, e));
    TRY_OUT(rc, os_out_write(&o, p, n, e));
    rc = os_out_commit(&o, e);
out:
    os_out_abandon(&o, false);
    return rc;
}

enum err_code os_free_disk(const char *path, uint64_t *bytes, struct err *e) {
    struct statvfs fs;
    char *dir = os_exists(path) ? mem_strdup(path) : parent_of(path);
    if (!dir) return err_where(e, err_no_memory(e, strlen(path)), "%s", path);
    enum err_code rc = ERR_NONE;
    if (statvfs(dir, &fs)) rc = fail_errno(dir, "cannot ask for the free space", e);
    else if (!mul_u64(fs.f_bavail, fs.f_frsize, bytes)) *bytes = UINT64_MAX;
    mem_free(dir);
    return rc;
}
