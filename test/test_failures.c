/* Every allocation and every file call refused in turn, through a whole life: open, resume, train, save the model, load it, evaluate it.
 *
 * Whatever n is refused, the answer must be the right code, nothing may leak, the files that were there must stay good, and the same life, taken up
 * again where it failed or begun anew on the same folder, must end with the same bits. ADZE_QUICK=1 tries every 7th n. */
#include "effort.h"
#include "trainbench.h"

#include "base/ctx.h"
#include "train/checkpoint.h"

#include <errno.h>
#include <unistd.h>

enum { COUNT = 12, BATCH = 4, VAL = 4, MODEL_MOST = 1 << 20 };

static faulty_mem mem;
static faulty_fs fs;

typedef enum stage { OPEN, RESUME, RUN, SAVE, LOAD, EVALUATE, END } stage;
static const char *const stage_names[] = {"open", "resume", "run", "save", "load", "evaluate", "end"};

typedef struct life {
    bench b;
    setting s;
    char dir[256], file[300];
    adze_model *model; /* loaded */
    adze_store *store;
    double loss;
} life;

typedef struct result { /* what no failure may change */
    uint64_t trained[2], file[2], before[2];
    double loss;
} result;

static long stride(void) {
    return effort() == QUICK ? 7 : 1;
}

static int no_sync(void *user, int fd) {
    (void)user;
    (void)fd;
    return 0;
}

static int no_sync_dir(void *user, const char *path) {
    (void)user;
    (void)path;
    return 0;
}

/* Files whose syncs are counted and may fail, but need not wait for a disk: thousands of lives are led here. */
static void quick_fs(faulty_fs *f) {
    faulty_fs_init(f);
    f->under.sync = no_sync;
    f->under.sync_dir = no_sync_dir;
}

static setting small(int workers) {
    setting s = usual(tiny_net);
    s.threads = 1;
    s.count = COUNT;
    s.o.batch = BATCH;
    s.o.val_count = VAL;
    s.o.epochs = 2;
    s.o.workers = workers;
    s.o.save_every = 1;
    return s;
}

/* -- a life ----------------------------------------------------------------------------------------------------------------------------------- */

static int do_stage(life *l, stage at) {
    adze_metrics m;
    adze_stop why;
    int st;
    switch (at) {
    case OPEN:
        return bench_open(&l->b, &l->s);
    case RESUME:
        return adze_trainer_resume(l->b.t);
    case RUN:
        return adze_trainer_run(l->b.t, &why);
    case SAVE:
        return adze_model_save(l->b.model, adze_trainer_store(l->b.t), "", l->file);
    case LOAD:
        return adze_model_load(l->b.ctx, l->file, &l->model, &l->store);
    default:
        st = adze_evaluate(l->b.ctx, l->model, l->store, "", l->b.data, NULL, 0, BATCH + 1, &m);
        if (st == ADZE_OK) {
            l->loss = m.loss;
            adze_metrics_free(l->b.ctx, &m);
        }
        return st;
    }
}

static int live(life *l, stage *at) {
    for (; *at < END; (*at)++) {
        TRY(do_stage(l, *at));
    }
    return ADZE_OK;
}

static void life_end(life *l) {
    adze_store_free(l->store);
    adze_model_free(l->model);
    l->store = NULL;
    l->model = NULL;
    bench_close(&l->b);
}

static void hash_file(adze_ctx *ctx, const char *path, uint64_t hash[2]) {
    void *bytes;
    int64_t n;
    if (adze_read_file(ctx, path, MODEL_MOST, &bytes, &n) != ADZE_OK) {
        fail_msg("%s", adze_errmsg(ctx));
    }
    adze_hash128(bytes, (size_t)n, hash);
    adze_free(ctx, bytes);
}

/* -- the folder in which it begins: half a training with its checkpoints, and a model file of earlier days ------------------------------------ */

typedef struct kept_file {
    char name[64];
    char link[64]; /* not empty: where it leads */
    void *bytes;
    int64_t n;
} kept_file;

static struct folder {
    adze_ctx *ctx;
    kept_file f[8];
    int n;
} seed;

static int keep_file(void *arg, const char *name) {
    const char *dir = arg;
    char path[400];
    assert_true(seed.n < (int)ADZE_COUNT(seed.f));
    kept_file *f = &seed.f[seed.n++];
    snprintf(f->name, sizeof f->name, "%s", name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (readlink(path, f->link, sizeof f->link - 1) < 0) {
        assert_int_equal(adze_read_file(seed.ctx, path, MODEL_MOST, &f->bytes, &f->n), ADZE_OK);
    }
    return 0;
}

static void make_folder(life *l) {
    faulty_folder(l->dir, sizeof l->dir);
    snprintf(l->file, sizeof l->file, "%s/model.safetensors", l->dir);
    l->s.dir = l->dir;
    char path[400];
    for (int i = 0; i < seed.n; i++) {
        const kept_file *f = &seed.f[i];
        snprintf(path, sizeof path, "%s/%s", l->dir, f->name);
        if (f->link[0] != 0) {
            assert_int_equal(symlink(f->link, path), 0);
            continue;
        }
        FILE *out = fopen(path, "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(f->bytes, 1, (size_t)f->n, out), f->n);
        assert_int_equal(fclose(out), 0);
    }
}

static int stop_early(void *user, adze_trainer *t, int64_t step, int64_t steps_per_epoch, double loss, double lr) {
    (void)user;
    (void)t;
    (void)steps_per_epoch;
    (void)loss;
    (void)lr;
    return step == 2;
}

static void plant_seed(void) {
    assert_int_equal(adze_ctx_new(NULL, &seed.ctx), ADZE_OK);
    life l = {.s = small(0)};
    make_folder(&l);
    adze_callbacks cb = {.step_end = stop_early};
    must(&l.b, bench_open(&l.b, &l.s));
    adze_trainer_free(l.b.t);
    must(&l.b, adze_trainer_new(l.b.ctx, l.b.model, l.b.data, &l.s.o, l.dir, &cb, &l.b.t));
    assert_int_equal(adze_trainer_run(l.b.t, NULL), ADZE_ESTOPPED);
    must(&l.b, adze_model_save(l.b.model, adze_trainer_store(l.b.t), "", l.file));
    assert_int_equal(adze_fs_posix.list(NULL, l.dir, keep_file, l.dir), 0);
    assert_true(seed.n >= 4); /* two checkpoints, a link, the model */
    life_end(&l);
    faulty_folder_drop(l.dir);
}

static void drop_seed(void) {
    for (int i = 0; i < seed.n; i++) {
        adze_free(seed.ctx, seed.f[i].bytes);
    }
    adze_ctx_free(seed.ctx);
}

/* -- judging ---------------------------------------------------------------------------------------------------------------------------------- */

static void outcome(life *l, result *r) {
    must(&l->b, adze_store_hash(adze_trainer_store(l->b.t), r->trained));
    hash_file(l->b.ctx, l->file, r->file);
    r->loss = l->loss;
}

static result expected(int workers) {
    life l = {.s = small(workers)};
    result r = {0};
    stage at = OPEN;
    make_folder(&l);
    hash_file(seed.ctx, l.file, r.before);
    must(&l.b, live(&l, &at));
    outcome(&l, &r);
    life_end(&l);
    faulty_folder_drop(l.dir);
    assert_int_not_equal(r.before[0], r.file[0]);
    return r;
}

static void must_match(life *l, const result *want, const char *what, long n) {
    result got = {0};
    outcome(l, &got);
    if (memcmp(got.trained, want->trained, sizeof got.trained) != 0 || memcmp(got.file, want->file, sizeof got.file) != 0 || got.loss != want->loss) {
        fail_msg("%s, n = %ld: the training ended with other bits", what, n);
    }
}

/* Right after the failure: the model file is the old or the new one, and under the checkpoints' final names lie whole checkpoints. */
static void must_be_good(const life *l, const result *want, const char *what, long n) {
    uint64_t now[2];
    int64_t *steps, count;
    hash_file(seed.ctx, l->file, now);
    if (memcmp(now, want->before, sizeof now) != 0 && memcmp(now, want->file, sizeof now) != 0) {
        fail_msg("%s, n = %ld: the model file is neither the old nor the new one", what, n);
    }
    assert_int_equal(adze_ckpt_steps(seed.ctx, l->dir, &steps, &count), ADZE_OK);
    if (count < 2) {
        fail_msg("%s, n = %ld: a checkpoint is lost", what, n);
    }
    for (int64_t i = 0; i < count; i++) {
        char path[ADZE_CKPT_PATH];
        adze_safetensors *f;
        assert_int_equal(adze_ckpt_path(seed.ctx, l->dir, steps[i], path), ADZE_OK);
        if (adze_safetensors_open(seed.ctx, path, &f) != ADZE_OK) {
            fail_msg("%s, n = %ld: %s", what, n, adze_errmsg(seed.ctx));
        }
        for (int k = 0; k < adze_safetensors_count(f); k++) {
            adze_tensor t; /* its hash is checked here */
            assert_int_equal(adze_safetensors_tensor(f, k, &t), ADZE_OK);
        }
        adze_safetensors_close(f);
    }
    adze_free(seed.ctx, steps);
}

/* Who was told that the training is over finds its last step in the folder. */
static void must_be_saved(const life *l, const char *what, long n) {
    int64_t *steps, count;
    assert_int_equal(adze_ckpt_steps(seed.ctx, l->dir, &steps, &count), ADZE_OK);
    if (count == 0 || steps[0] != adze_trainer_step(l->b.t)) {
        fail_msg("%s, n = %ld: the checkpoint of the last step is missing", what, n);
    }
    adze_free(seed.ctx, steps);
}

/* No failure lasts: on the same folder a new start goes to the end, and leaves no temporary file. */
static int find_leftover(void *arg, const char *name) {
    return strstr(name, ".tmp-") != NULL && strncmp(name, "model.", 6) != 0 ? (*(bool *)arg = true) : 0;
}

static void start_anew(life *l, const result *want, const char *what, long n) {
    life again = {.s = l->s};
    stage at = OPEN;
    bool leftover = false;
    again.s.mem = NULL;
    again.s.fs = &fs.table; /* it fails nothing now, and does not wait for the disk */
    memcpy(again.dir, l->dir, sizeof l->dir);
    memcpy(again.file, l->file, sizeof l->file);
    again.s.dir = again.dir;
    if (live(&again, &at) != ADZE_OK) {
        fail_msg("%s, n = %ld: a new start fails at '%s': %s", what, n, stage_names[at], adze_errmsg(again.b.ctx));
    }
    must_match(&again, want, what, n);
    assert_int_equal(adze_fs_posix.list(NULL, again.dir, find_leftover, &leftover), 0);
    if (leftover) {
        fail_msg("%s, n = %ld: a temporary file stays", what, n);
    }
    life_end(&again);
}

/* -- the sweeps ------------------------------------------------------------------------------------------------------------------------------- */

static void disarm(void) {
    faulty_mem_arm(&mem, 0, false);
    faulty_fs_arm(&fs, 0, false, 0);
}

/* One life with the n-th request refused; what failed is taken up again. False: fewer than n requests are made. */
static bool try_one(const char *what, long n, bool files, bool for_ever, int error, int workers, const result *want, bool anew) {
    life l = {.s = small(workers)};
    stage at = OPEN;
    make_folder(&l);
    faulty_mem_init(&mem);
    l.s.mem = &mem.table;
    l.s.fs = &fs.table;
    if (files) {
        faulty_fs_arm(&fs, n, for_ever, error);
    } else {
        faulty_mem_arm(&mem, n, for_ever);
    }
    int st = live(&l, &at), code = files ? ADZE_EIO : ADZE_ENOMEM;
    bool hit = files ? fs.failed_call != NULL : atomic_load(&mem.calls) >= n;
    const char *call = files && hit ? fs.failed_call : "allocation";
    disarm();
    if (st != ADZE_OK && (st != code || (l.b.ctx != NULL && strlen(adze_errmsg(l.b.ctx)) < 10))) {
        fail_msg("%s, n = %ld (%s in '%s'): %s: %s", what, n, call, stage_names[at], adze_status_name(st), adze_errmsg(l.b.ctx));
    }
    must_be_good(&l, want, what, n);
    if (st != ADZE_OK && !anew) {
        if (at == OPEN) {
            bench_close(&l.b);
        }
        if (live(&l, &at) != ADZE_OK) {
            fail_msg("%s, n = %ld (%s): going on fails at '%s': %s", what, n, call, stage_names[at], adze_errmsg(l.b.ctx));
        }
    }
    if (at == END) {
        must_match(&l, want, what, n);
        must_be_good(&l, want, what, n);
        must_be_saved(&l, what, n);
    }
    life_end(&l);
    if (!faulty_mem_clean(&mem) || fs.open_files != 0) {
        fail_msg("%s, n = %ld (%s): %ld blocks leaked, %ld freed wrongly, %ld files left open", what, n, call, (long)mem.blocks,
                 (long)mem.wrong_frees, fs.open_files);
    }
    if (st != ADZE_OK && anew) {
        start_anew(&l, want, what, n);
    }
    faulty_folder_drop(l.dir);
    return hit;
}

static void sweep(const char *what, bool files, bool for_ever, int error, int workers, long least) {
    result want = expected(workers);
    long n = 1, tried = 0;
    quick_fs(&fs);
    for (; try_one(what, n, files, for_ever, error, workers, &want, tried % 2 == 1); n += stride()) {
        tried++;
    }
    print_message("%s: %ld of %ld tried\n", what, tried, n - 1);
    assert_true(n > least);
}

static void any_allocation_may_fail(void **state) {
    (void)state;
    sweep("one allocation refused", false, false, 0, 0, 300);
    sweep("all allocations refused from one on", false, true, 0, 0, 300);
}

static void any_allocation_may_fail_also_where_a_worker_makes_batches(void **state) {
    (void)state;
    sweep("one allocation refused, one worker", false, false, 0, 1, 300);
    sweep("all allocations refused from one on, one worker", false, true, 0, 1, 300);
}

static void any_file_call_may_fail(void **state) {
    (void)state;
    static const int errors[] = {EIO, ENOSPC};
    for (size_t i = 0; i < ADZE_COUNT(errors); i++) {
        for (int workers = 0; workers < 2; workers++) {
            char what[96];
            for (int for_ever = 0; for_ever < 2; for_ever++) {
                snprintf(what, sizeof what, "%s: %s, %d workers", for_ever ? "all file calls from one on" : "one file call", strerror(errors[i]),
                         workers);
                sweep(what, true, for_ever, errors[i], workers, 50);
            }
        }
    }
}

/* The calls that a signal can interrupt (signal(7)); the others never give EINTR, and need not be repeated. */
static bool is_interruptible(const char *call) {
    static const char *const calls[] = {"open", "close", "read", "write", "reserve", "sync", "sync_dir"};
    for (size_t i = 0; i < ADZE_COUNT(calls); i++) {
        if (strcmp(call, calls[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* A signal that interrupts a call is nobody's failure; calls that move a few bytes only are none either. */
static void interrupted_and_short_file_calls_change_nothing(void **state) {
    (void)state;
    result want = expected(0);
    long n = 1, lived = 0;
    bool hit = true;
    quick_fs(&fs);
    for (; hit; n += stride()) {
        life l = {.s = small(0)};
        stage at = OPEN;
        make_folder(&l);
        l.s.fs = &fs.table;
        fs.at_most = n % 2 == 1 ? 100 + (size_t)n : 0;
        faulty_fs_arm(&fs, n, false, EINTR);
        int st = live(&l, &at);
        hit = fs.failed_call != NULL;
        const char *call = hit ? fs.failed_call : "none";
        disarm();
        if (st != ADZE_OK && is_interruptible(call)) {
            fail_msg("file call %ld (%s) interrupted in '%s': %s", n, call, stage_names[at], adze_errmsg(l.b.ctx));
        }
        if (st == ADZE_OK) {
            must_match(&l, &want, "an interrupted call", n);
            lived++;
        }
        must_be_good(&l, &want, "an interrupted call", n);
        life_end(&l);
        assert_int_equal(fs.open_files, 0);
        faulty_folder_drop(l.dir);
    }
    print_message("interrupted calls: %ld lives of %ld went to their end\n", lived, (n - 1) / stride());
    assert_true(n > 50 && lived > 30 / stride());
}

int main(void) {
    if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0) { /* thousands of folders: memory is quicker than a disk */
        assert_int_equal(setenv("TMPDIR", "/dev/shm", 1), 0);
    }
    make_data();
    plant_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(any_allocation_may_fail_also_where_a_worker_makes_batches),
        cmocka_unit_test(any_file_call_may_fail),
        cmocka_unit_test(interrupted_and_short_file_calls_change_nothing),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    drop_seed();
    return failed;
}
