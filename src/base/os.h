#ifndef BASE_OS_H
#define BASE_OS_H
/* Every call to the operating system, one body per system (os_linux.c). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

/* Monotonic, nanoseconds. */
uint64_t os_now_ns(void);
uint64_t os_total_memory(void);
/* Memory that programs can still get without swapping, page cache included. */
uint64_t os_free_memory(void);
uint64_t os_peak_rss(void);
/* Resident bytes now: file-backed and anonymous together. */
uint64_t os_rss(void);
/* A seed nobody can guess. */
uint64_t os_random_u64(void);

/* CPUs' worth of time that a container's quota allows, 0 if there is none. */
double os_cpu_quota(void);
/* Asks the system to let this process use AMX tiles; false if it does not. */
bool os_enable_amx(void);
/* Clears n bytes of heap memory (mem_alloc); whole pages become zero without being touched where the system can. */
void os_zero(void *p, size_t n);
/* Sleeps while *word == value and nobody wakes; may return early, so callers loop. */
void os_wait(_Atomic uint32_t *word, uint32_t value);
/* Wakes every thread that sleeps on word. */
void os_wake_all(_Atomic uint32_t *word);

/* --- Reading --- */
/* A whole file mapped read-only. An empty file gives n = 0. */
struct os_map { const uint8_t *p; size_t n; };
/* Directories, missing files and the like are errors that name the path. */
enum err_code os_map_open(const char *path, struct os_map *m, struct err *e);
void os_map_close(struct os_map *m);
enum os_advice { OS_SEQUENTIAL, OS_RANDOM, OS_WILLNEED, OS_DONTNEED, OS_HUGE };
/* A hint; p and n need no alignment. DONTNEED lets go of the resident pages of a mapping (they come back when read).
 * HUGE: memory that is not touched yet had better come in pages of megabytes. */
void os_advise(const void *p, size_t n, enum os_advice advice);
/* Reads a whole file of at most max bytes; data is the caller's (mem_free), one NUL behind its n bytes. */
enum err_code os_read_file(const char *path, size_t max, char **data, size_t *n, struct err *e);
bool os_is_dir(const char *path);
bool os_exists(const char *path);
/* Whether a was written after the last writing of b; false if either is not there. */
bool os_is_newer(const char *a, const char *b);
/* Names in a directory, sorted, without . and ..; caller frees each name and the array (mem_free). */
enum err_code os_list_dir(const char *path, char ***names, size_t *n, struct err *e);
/* "dir/name"; caller frees. NULL when out of memory. */
char *os_path_join(const char *dir, const char *name);
enum err_code os_make_dir(const char *path, struct err *e); /* fine if it exists */

/* --- Writing: whole or not at all --- */
/* A file that is written under a temporary name ("path.part") beside its place and takes its name on commit. */
struct os_out {
    bool is_open;
    int fd;
    char *path, *part, *buf; /* buf: the last n_buf of the n bytes, which the system does not have yet */
    size_t n_buf;
    uint64_t n;
};
/* resume: keep what an earlier, killed run left in path.part and continue after its first `keep` bytes. */
enum err_code os_out_open(struct os_out *o, const char *path, bool resume, uint64_t keep, struct err *e);
enum err_code os_out_write(struct os_out *o, const void *p, size_t n, struct err *e);
/* Makes everything written so far survive a crash of this process, ... */
enum err_code os_out_flush(struct os_out *o, struct err *e);
/* ... and of the machine. */
enum err_code os_out_sync(struct os_out *o, struct err *e);
enum err_code os_out_commit(struct os_out *o, struct err *e); /* sync, rename, sync the directory; closes */
/* Closes; removes the partial file unless keep_part. Fine after commit and on a zeroed struct. */
void os_out_abandon(struct os_out *o, bool keep_part);
/* Whether a killed run left path.part: it is there, and no process is writing it. */
bool os_out_is_stale(const char *path);
/* A file or directory gets another name, for good; what has that name already is replaced if it is a file. */
enum err_code os_rename(const char *from, const char *to, struct err *e);
/* Small files in one call, atomically. */
enum err_code os_write_file(const char *path, const void *p, size_t n, struct err *e);
/* Bytes that can be written where path is or would be. */
enum err_code os_free_disk(const char *path, uint64_t *bytes, struct err *e);
#endif
