/* The thread pool: persistent workers that spin for a moment, then sleep; the caller is thread 0; a run ends with a barrier.
 *
 * The share of a worker that comes late, because it slept or because another program has its processor, is done by the caller when its own is done.
 * Whoever sets "open" to false first does the share; only then does it look at what the run is, so that a worker which comes too late for one run
 * may well be in time for the next.
 *
 * Each worker has its own door: the caller writes the number of the run on it, and knocks only when the worker has gone to sleep.
 * The flag "asleep" and the number are written before the other is read (sequentially consistent), so that one side always sees the other. */
#include "base/ctx.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum {
    SPINS = 20000, /* some hundred microseconds: more than the steps of a plan that one thread runs alone, less than a time slice */
    SPINS_YIELD = 256
};

typedef struct door {
    pthread_mutex_t lock;
    pthread_cond_t knock;
    atomic_bool asleep;
} door;

typedef struct worker {
    _Alignas(ADZE_ALIGN) atomic_uint run; /* the last run this worker is asked to take part in */
    atomic_bool open;                     /* nobody has begun its share of that run */
    door door;
    pthread_t thread;
    adze_pool *pool;
    int ith;
} worker;

struct adze_pool {
    adze_task fn; /* the next three belong to the run in progress */
    void *arg;
    int nth;
    int count; /* workers that exist */
    int spins;
    pid_t process;  /* whose threads the workers are */
    atomic_int cpu; /* where the caller runs */
    unsigned run;
    atomic_bool stop;
    door door; /* of the caller */
    _Alignas(ADZE_ALIGN) atomic_int busy;
    worker workers[ADZE_MAX_THREADS - 1];
};

/* A moment of the i-th of a row; now and then whoever waits for this processor may have it, for it may be who is waited for. */
static void relax(int i) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    if (i % SPINS_YIELD == SPINS_YIELD - 1) {
        sched_yield();
    }
}

/* Systems wake a thread where its waker runs, and may leave it there as long as the two take turns: then every run lasts twice as long and more.
 * A worker that finds itself there moves to another processor; whether that is one where nobody works is left to the system. */
static void leave_caller(const adze_pool *pool) {
    cpu_set_t all, others;
    const int cpu = atomic_load(&pool->cpu);
    if (pool->spins == 0 || sched_getcpu() != cpu || sched_getaffinity(0, sizeof all, &all) != 0) {
        return;
    }
    others = all;
    CPU_CLR((size_t)cpu, &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0) {
        (void)sched_setaffinity(0, sizeof all, &all);
    }
}

static void door_init(door *d) {
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->knock, NULL);
    atomic_init(&d->asleep, false);
}

static void door_free(door *d) {
    pthread_cond_destroy(&d->knock);
    pthread_mutex_destroy(&d->lock);
}

static void door_knock(door *d) {
    if (atomic_load(&d->asleep)) {
        pthread_mutex_lock(&d->lock);
        pthread_cond_signal(&d->knock);
        pthread_mutex_unlock(&d->lock);
    }
}

static bool worker_called(const worker *w, unsigned last) {
    return atomic_load(&w->run) != last;
}

static void *worker_main(void *arg) {
    worker *w = arg;
    adze_pool *pool = w->pool;
    for (unsigned last = 0;;) {
        for (int i = 0; i < pool->spins && !worker_called(w, last); i++) {
            relax(i);
        }
        if (!worker_called(w, last)) {
            pthread_mutex_lock(&w->door.lock);
            atomic_store(&w->door.asleep, true);
            while (!worker_called(w, last)) {
                pthread_cond_wait(&w->door.knock, &w->door.lock);
            }
            atomic_store(&w->door.asleep, false);
            pthread_mutex_unlock(&w->door.lock);
        }
        last = atomic_load(&w->run); /* before the work: once that is done, the next call may come */
        if (pool->stop) {
            return NULL;
        }
        leave_caller(pool);                                    /* also when it comes too late: there it would for ever */
        if (atomic_exchange(&w->open, false) && !pool->stop) { /* an end may be called while this one still looks at its last run */
            pool->fn(pool->arg, w->ith, pool->nth);
            if (atomic_fetch_sub(&pool->busy, 1) == 1) {
                door_knock(&pool->door);
            }
        }
    }
}

static void wait_workers(adze_pool *pool) {
    for (int i = 0; i < pool->spins && atomic_load(&pool->busy); i++) {
        relax(i);
    }
    if (atomic_load(&pool->busy)) {
        pthread_mutex_lock(&pool->door.lock);
        atomic_store(&pool->door.asleep, true);
        while (atomic_load(&pool->busy)) {
            pthread_cond_wait(&pool->door.knock, &pool->door.lock);
        }
        atomic_store(&pool->door.asleep, false);
        pthread_mutex_unlock(&pool->door.lock);
    }
}

/* The caller does what nobody has begun. */
static void help_workers(adze_pool *pool, int n) {
    for (int i = n; i-- > 0;) {
        worker *w = &pool->workers[i];
        if (atomic_load(&w->open) && atomic_exchange(&w->open, false)) {
            pool->fn(pool->arg, w->ith, pool->nth);
            atomic_fetch_sub(&pool->busy, 1);
        }
    }
}

static adze_pool *pool_new(adze_ctx *ctx) {
    int64_t workers = ctx->threads - 1;
    size_t bytes = offsetof(adze_pool, workers) + (size_t)workers * sizeof(worker);
    adze_pool *pool = adze_alloc_raw(ctx, (int64_t)bytes);
    if (pool) {
        memset(pool, 0, bytes);
        pool->spins = ctx->threads <= ctx->cores ? SPINS : 0;
        pool->process = getpid();
        door_init(&pool->door);
    }
    return pool;
}

/* Binds worker `ith` to one of the processors that this process may use, counted from the second on: the caller most likely sits on the first. A
 * system that refuses leaves the worker free. */
static void pin_worker(pthread_t thread, int ith) {
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) == 0) {
        return;
    }
    int left = ith % CPU_COUNT(&all);
    size_t cpu = 0;
    while (!CPU_ISSET(cpu, &all) || left-- > 0) {
        cpu++;
    }
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    (void)pthread_setaffinity_np(thread, sizeof one, &one);
}

/* Starts workers up to `wanted`; signals stay with the threads of the program. */
static void pool_grow(adze_ctx *ctx, adze_pool *pool, int wanted) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->count < wanted && !ctx->pool_failed) {
        worker *w = &pool->workers[pool->count];
        w->pool = pool;
        w->ith = pool->count + 1;
        atomic_init(&w->run, 0);
        atomic_init(&w->open, false);
        door_init(&w->door);
        if (pthread_create(&w->thread, NULL, worker_main, w) == 0) {
            pool->count++;
            if (ctx->pin) {
                pin_worker(w->thread, w->ith);
            }
        } else {
            door_free(&w->door);
            ctx->pool_failed = true; /* fewer threads give the same results, only later */
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void call_workers(adze_pool *pool, int n) {
    pool->run = pool->run == UINT32_MAX ? 1 : pool->run + 1; /* never 0, with which a worker starts */
    atomic_store(&pool->busy, n);
    for (int i = 0; i < n; i++) {
        atomic_store(&pool->workers[i].open, true);
        atomic_store(&pool->workers[i].run, pool->run);
        door_knock(&pool->workers[i].door);
    }
}

void adze_pool_run(adze_ctx *ctx, adze_task fn, void *arg, int nth) {
    nth = nth < ctx->threads ? nth : ctx->threads;
    if (nth > 1 && !ctx->pool && !ctx->pool_failed) {
        ctx->pool = pool_new(ctx); /* without memory this run has one thread */
    }
    adze_pool *pool = ctx->pool;
    if (nth <= 1 || !pool) {
        fn(arg, 0, 1);
        return;
    }
    pool_grow(ctx, pool, nth - 1);
    nth = nth < pool->count + 1 ? nth : pool->count + 1;
    if (nth == 1) {
        fn(arg, 0, 1);
        return;
    }
    pool->fn = fn;
    pool->arg = arg;
    pool->nth = nth;
    atomic_store(&pool->cpu, sched_getcpu());
    call_workers(pool, nth - 1);
    fn(arg, 0, nth);
    help_workers(pool, nth - 1);
    wait_workers(pool);
}

void adze_pool_free(adze_ctx *ctx) {
    adze_pool *pool = ctx->pool;
    if (!pool) {
        return;
    }
    if (pool->process == getpid()) { /* a fork's child has the memory but none of the threads, and nobody to wait for */
        pool->stop = true;
        call_workers(pool, pool->count);
        for (int i = 0; i < pool->count; i++) {
            pthread_join(pool->workers[i].thread, NULL);
            door_free(&pool->workers[i].door);
        }
        door_free(&pool->door);
    }
    adze_free(ctx, pool);
    ctx->pool = NULL;
}

double adze_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
