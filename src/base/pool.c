/* Owns: worker threads and the handing out of a loop's pieces.
 * Promises: pieces are cut by n and grain alone; a short loop never waits for a worker that sleeps or was moved off its
 * core, since only those that came in are waited for; idle workers spin for a moment, then sleep; on demand they stay
 * on cores of their own.
 * Leaves to others: making results independent of which thread ran a piece. */
#include "base/pool.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include "base/cpu.h"
#include "base/mem.h"
#include "base/os.h"

static atomic_bool bound;

enum {
    CACHE_LINE = 64,
    MAX_THREADS = 1024,
    /* Longer than the gap between two operations of a model, about what waking a sleeping thread costs. */
    SPIN_NS = 50000,
    RELAXES_A_LOOK = 32, /* between two looks at the clock */
};
/* In `gate`: a job can be joined; the bits below count the workers inside. */
#define OPEN 0x80000000u

struct worker { pthread_t thread; struct pool *pool; unsigned index, place; };

/* Written while the gate is shut and nobody is inside, read only inside. */
struct job { size_t n, grain, pieces; pool_body *body; void *arg; };

/* A thread's part of a job, neighbours in memory for the body: the pieces from `next` to `end`. */
struct share { ALIGNED(CACHE_LINE) atomic_size_t next; size_t end; };

/* Moving a cache line from core to core is what a short loop costs. So all that starts and ends a job shares one line,
 * and the counters that every piece moves have others. */
struct pool {
    ALIGNED(CACHE_LINE) struct job job;
    _Atomic uint32_t gate;
    _Atomic uint32_t round; /* rises with every job: what idle workers watch */
    _Atomic uint32_t sleepers;
    atomic_bool caller_sleeps, quit;
    struct share *shares; /* (size) */
    unsigned size, spin_ns;
    struct worker *workers; /* (size - 1): worker i is thread i + 1 */
};

static bool take_piece(struct share *s, size_t *piece) {
    if (atomic_load_explicit(&s->next, memory_order_relaxed) >= s->end) return false; /* nothing is moved for nothing */
    *piece = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
    return *piece < s->end;
}

/* A thread's own share first, one piece after the other, so that what it reads is one long stream; then what is left of
 * the others'. */
static void run_pieces(struct pool *p, unsigned thread) {
    struct job j = p->job;
    size_t piece;
    for (unsigned i = 0; i < p->size; i++) {
        struct share *s = &p->shares[(thread + i) % p->size];
        while (take_piece(s, &piece)) {
            size_t begin = piece * j.grain, rest = j.n - begin;
            j.body(j.arg, begin, begin + (rest < j.grain ? rest : j.grain), thread);
        }
    }
}

static void deal(struct pool *p, size_t pieces) {
    size_t dealt = 0;
    for (unsigned i = 0; i < p->size; i++) {
        struct share *s = &p->shares[i];
        atomic_store_explicit(&s->next, dealt, memory_order_relaxed);
        s->end = dealt += pieces / p->size + (i < pieces % p->size);
    }
}

/* Works on the job if one can be joined. */
static void visit(struct pool *p, unsigned thread) {
    /* Acquires the job that the caller wrote before it opened the gate; leaving releases the results to the caller. */
    if (atomic_fetch_add(&p->gate, 1) & OPEN) run_pieces(p, thread);
    if (atomic_fetch_sub(&p->gate, 1) == 1 && atomic_load(&p->caller_sleeps)) os_wake_all(&p->gate);
}

/* Spins until *word differs from value (true) or the time is over (false). */
static bool spin_while(_Atomic uint32_t *word, uint32_t value, unsigned ns) {
    if (atomic_load_explicit(word, memory_order_acquire) != value) return true;
    if (!ns) return false;
    for (uint64_t end = os_now_ns() + ns; os_now_ns() < end;) {
        for (int i = 0; i < RELAXES_A_LOOK; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != value) return true;
            CPU_RELAX();
        }
    }
    return false;
}

/* The caller first raises `round` and then looks for sleepers; a worker first counts itself as a sleeper and then looks
 * at `round` (in the kernel). Both orders are sequentially consistent, so one of the two sees the other. */
static uint32_t next_round(struct pool *p, uint32_t seen) {
    if (!spin_while(&p->round, seen, p->spin_ns)) {
        atomic_fetch_add(&p->sleepers, 1);
        while (atomic_load(&p->round) == seen) os_wait(&p->round, seen);
        atomic_fetch_sub(&p->sleepers, 1);
    }
    return atomic_load(&p->round);
}

static void raise_round(struct pool *p) {
    atomic_fetch_add(&p->round, 1);
    if (atomic_load(&p->sleepers)) os_wake_all(&p->round);
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    if (w->place < cpu_places()) cpu_bind(w->place); /* a place that the system refuses is no reason to fail */
    for (uint32_t seen = 0;;) {
        seen = next_round(w->pool, seen);
        if (atomic_load(&w->pool->quit)) return NULL;
        visit(w->pool, w->index);
    }
}

/* Waits until no worker is inside the shut gate. */
static void wait_empty(struct pool *p) {
    uint32_t inside;
    uint64_t end = 0;
    for (unsigned i = 0; (inside = atomic_load_explicit(&p->gate, memory_order_acquire)) != 0; i++) {
        if (i % RELAXES_A_LOOK == 0) {
            uint64_t now = os_now_ns();
            if (!end) end = now + p->spin_ns;
            if (now >= end) break;
        }
        CPU_RELAX();
    }
    if (!inside) return;
    atomic_store(&p->caller_sleeps, true);
    while ((inside = atomic_load(&p->gate)) != 0) os_wait(&p->gate, inside);
    atomic_store(&p->caller_sleeps, false);
}

static void run_alone(size_t n, size_t grain, pool_body *body, void *arg) {
    for (size_t begin = 0; begin < n;) {
        size_t end = n - begin < grain ? n : begin + grain;
        body(arg, begin, end, 0);
        begin = end;
    }
}

void pool_run(struct pool *p, size_t n, size_t grain, pool_body *body, void *arg) {
    if (!grain) grain = 1;
    if (!p || p->size == 1 || n <= grain) {
        run_alone(n, grain, body, arg);
        return;
    }
    p->job = (struct job){ n, grain, n / grain + (n % grain != 0), body, arg };
    deal(p, p->job.pieces);
    atomic_fetch_or(&p->gate, OPEN);
    raise_round(p);
    run_pieces(p, 0);
    atomic_fetch_and(&p->gate, ~OPEN);
    wait_empty(p);
}

unsigned pool_size(const struct pool *p) {
    return p ? p->size : 1;
}

void pool_bind(bool on) {
    atomic_store(&bound, on);
}

/* Starts worker i with all signals blocked, so that they reach the program's own threads. */
static int start_worker(struct pool *p, unsigned i, unsigned place) {
    sigset_t all, old;
    p->workers[i] = (struct worker){ .pool = p, .index = i + 1, .place = place };
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int failed = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return failed;
}

enum err_code pool_open(unsigned n_threads, struct pool **out, struct err *e) {
    *out = NULL;
    unsigned cores = cpu_physical_cores();
    if (!n_threads) n_threads = cores;
    if (n_threads > MAX_THREADS)
        return err_set(e, ERR_USAGE, "%u threads: at most %d are possible", n_threads, MAX_THREADS);
    struct pool *p = NEW(struct pool);
    if (!p) return err_no_memory(e, sizeof(*p));
    p->size = 1; /* grows with each worker, so that pool_close works at any point */
    p->workers = NEW_ARRAY(struct worker, n_threads - 1);
    p->shares = NEW_ARRAY(struct share, n_threads);
    if (!p->workers || !p->shares) {
        pool_close(p);
        return err_no_memory(e, n_threads * sizeof(struct worker));
    }
    /* More threads than cores would spin at the expense of the one they wait for. */
    p->spin_ns = n_threads <= cores ? SPIN_NS : 0;
    unsigned places = cpu_places(), here = atomic_load(&bound) && n_threads <= places ? cpu_place() : places;
    for (; p->size < n_threads; p->size++) {
        /* Neighbouring cores, which share caches, from the one beside the caller's. */
        unsigned place = here < places ? (here + p->size) % places : places;
        if (start_worker(p, p->size - 1, place) == 0) continue;
        unsigned failed = p->size + 1;
        pool_close(p);
        return err_set(e, ERR_NO_MEMORY, "thread %u of %u cannot start: use fewer threads", failed, n_threads);
    }
    *out = p;
    return ERR_NONE;
}

void pool_close(struct pool *p) {
    if (!p) return;
    atomic_store(&p->quit, true);
    raise_round(p);
    for (unsigned i = 0; i + 1 < p->size; i++) pthread_join(p->workers[i].thread, NULL);
    mem_free(p->workers);
    mem_free(p->shares);
    mem_free(p);
}
