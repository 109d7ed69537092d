/* Writes headers and tensor data of one or more files in order. Owns the partial files and the plan; promises that no
 * file gets its name before all are complete and on disk, and that a resumed run only builds on partial files that
 * begin with the very headers it would write itself. What the bytes mean is for the formats. */
#include "format/tstream.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/os.h"

struct tstream {
    struct tstream_plan plan;
    struct os_out *outs;  /* one for each file; the first n_open are open */
    size_t *first;        /* index of each file's first slot */
    size_t n_open, n_synced;
    bool resumable;       /* the caller asked for what an earlier run has written */
    size_t n_kept;        /* slots of it that are kept */
    size_t slot;          /* the one that is being written */
    uint64_t in_slot;     /* bytes of it that are there */
};

void tstream_plan_fini(struct tstream_plan *p) {
    for (size_t i = 0; p->files && i < p->n_files; i++) {
        mem_free(p->files[i].path);
        buf_fini(&p->files[i].header);
    }
    mem_free(p->files);
    mem_free(p->slots);
    *p = (struct tstream_plan){ 0 };
}

/* Bytes of file i up to and with its first n slots. */
static uint64_t file_bytes(const struct tstream *s, size_t i, size_t n) {
    uint64_t bytes = s->plan.files[i].header.n;
    for (size_t k = s->first[i]; k < s->first[i] + n; k++) bytes += s->plan.slots[k].bytes + s->plan.slots[k].pad;
    return bytes;
}

/* How many of file i's slots are among the first n of all. */
static size_t slots_among(const struct tstream *s, size_t i, size_t n) {
    if (n <= s->first[i]) return 0;
    return (size_t)min_u64(n - s->first[i], s->plan.files[i].n_tensors);
}

/* Slots that the partial file of file i holds to their end, behind the very header that it would get now. */
static size_t slots_held(const struct tstream *s, size_t i) {
    const struct buf *header = &s->plan.files[i].header;
    struct buf part = { 0 };
    struct os_map map;
    size_t n = 0;
    buf_addf(&part, "%s.part", s->plan.files[i].path);
    if (!part.failed && os_map_open(part.p, &map, NULL) == ERR_NONE) {
        uint64_t end = header->n;
        bool same = map.n >= header->n && memcmp(map.p, header->p, header->n) == 0;
        while (same && n < s->plan.files[i].n_tensors) {
            const struct tstream_slot *slot = &s->plan.slots[s->first[i] + n];
            end += slot->bytes + slot->pad;
            if (end > map.n) break;
            n++;
        }
        os_map_close(&map);
    }
    buf_fini(&part);
    return n;
}

/* Slots that can be kept, at most n_most: those before the first that is not there to its end. */
static size_t count_kept(const struct tstream *s, size_t n_most) {
    size_t n = 0;
    for (size_t i = 0; i < s->plan.n_files && n < n_most; i++) {
        size_t held = slots_held(s, i);
        n += held;
        if (held < s->plan.files[i].n_tensors) break;
    }
    return (size_t)min_u64(n, n_most);
}

static enum err_code check_space(const struct tstream *s, struct err *e) {
    uint64_t need = 0, have;
    char need_text[32], have_text[32];
    for (size_t i = 0; i < s->plan.n_files; i++) {
        size_t n = slots_among(s, i, s->n_kept);
        need += file_bytes(s, i, s->plan.files[i].n_tensors) - (n ? file_bytes(s, i, n) : 0);
    }
    TRY(os_free_disk(s->plan.files[0].path, &have, e));
    if (need <= have) return ERR_NONE;
    enum err_code rc = err_set(e, ERR_NO_SPACE, "writing needs %s more on the disk, which has %s left",
                               format_bytes(need, need_text, sizeof(need_text)),
                               format_bytes(have, have_text, sizeof(have_text)));
    return err_where(e, rc, "%s", s->plan.files[0].path);
}

static enum err_code open_next(struct tstream *s, struct err *e) {
    size_t i = s->n_open, n = slots_among(s, i, s->n_kept);
    const struct tstream_file *file = &s->plan.files[i];
    TRY(os_out_open(&s->outs[i], file->path, n > 0, n ? file_bytes(s, i, n) : 0, e));
    s->n_open++;
    return n ? ERR_NONE : os_out_write(&s->outs[i], file->header.p, file->header.n, e);
}

static enum err_code write_zeros(struct os_out *o, uint64_t n, struct err *e) {
    static const char zeros[64];
    while (n) {
        size_t step = (size_t)min_u64(n, sizeof(zeros));
        TRY(os_out_write(o, zeros, step, e));
        n -= step;
    }
    return ERR_NONE;
}

/* Opens the files that begin at the current slot, and closes slots that are full, until one has room or all are done.
 */
static enum err_code settle(struct tstream *s, struct err *e) {
    for (;;) {
        while (s->n_open < s->plan.n_files && s->first[s->n_open] <= s->slot) TRY(open_next(s, e));
        if (s->slot == s->plan.n_slots || s->in_slot < s->plan.slots[s->slot].bytes) return ERR_NONE;
        TRY(write_zeros(&s->outs[s->n_open - 1], s->plan.slots[s->slot].pad, e));
        s->slot++;
        s->in_slot = 0;
    }
}

enum err_code tstream_open(struct tstream_plan *plan, size_t *n_done, struct tstream **out, struct err *e) {
    enum err_code rc = ERR_NONE;
    *out = NULL;
    struct tstream *s = NEW(struct tstream);
    if (!s) {
        tstream_plan_fini(plan);
        return err_no_memory(e, sizeof(*s));
    }
    s->plan = *plan;
    *plan = (struct tstream_plan){ 0 };
    s->outs = NEW_ARRAY(struct os_out, s->plan.n_files);
    s->first = NEW_ARRAY(size_t, s->plan.n_files);
    if (!s->outs || !s->first) TRY_OUT(rc, err_no_memory(e, s->plan.n_files * sizeof(*s->outs)));
    for (size_t i = 1; i < s->plan.n_files; i++) s->first[i] = s->first[i - 1] + s->plan.files[i - 1].n_tensors;
    s->resumable = n_done != NULL;
    s->n_kept = n_done ? count_kept(s, *n_done) : 0;
    s->slot = s->n_kept;
    TRY_OUT(rc, check_space(s, e));
    TRY_OUT(rc, settle(s, e));
    if (n_done) *n_done = s->n_kept;
    *out = s;
    return ERR_NONE;
out:
    tstream_abandon(s, s->n_kept > 0);
    return rc;
}

enum err_code tstream_put(struct tstream *s, const void *p, size_t n, struct err *e) {
    uint64_t room = s->slot < s->plan.n_slots ? s->plan.slots[s->slot].bytes - s->in_slot : 0;
    if (n > room)
        return err_set(e, ERR_INTERNAL, "%zu bytes are written where tensor number %zu takes %" PRIu64, n, s->slot,
                       room);
    TRY(os_out_write(&s->outs[s->n_open - 1], p, n, e));
    s->in_slot += n;
    return settle(s, e);
}

size_t tstream_n_done(const struct tstream *s) { return s->slot; }

enum err_code tstream_sync(struct tstream *s, struct err *e) {
    for (size_t i = s->n_synced; i < s->n_open; i++) TRY(os_out_sync(&s->outs[i], e));
    if (s->n_open) s->n_synced = s->n_open - 1; /* the last one still grows */
    return ERR_NONE;
}

enum err_code tstream_commit(struct tstream *s, struct err *e) {
    enum err_code rc = ERR_NONE;
    if (s->slot < s->plan.n_slots)
        TRY_OUT(rc, err_set(e, ERR_INTERNAL, "%zu of %zu tensors are written", s->slot, s->plan.n_slots));
    TRY_OUT(rc, tstream_sync(s, e)); /* so that little can fail between the first name and the last */
    for (size_t i = s->plan.n_files; i-- > 0; ) TRY_OUT(rc, os_out_commit(&s->outs[i], e));
out:
    tstream_abandon(s, s->resumable);
    return rc;
}

void tstream_abandon(struct tstream *s, bool keep_part) {
    if (!s) return;
    for (size_t i = 0; i < s->n_open; i++) os_out_abandon(&s->outs[i], keep_part);
    mem_free(s->outs);
    mem_free(s->first);
    tstream_plan_fini(&s->plan);
    mem_free(s);
}
