/* Checkpoints: whole at any instant (processes killed while saving), two generations kept, every file call and every allocation may fail.
 *
 * ADZE_KILLS sets how many savers are killed (50 unless told; 1000 for a release). */
#include "base/base.h"
#include "faulty.h"
#include "train/checkpoint.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { NUMBERS = 5000, DEFAULT_KILLS = 50 };

typedef struct bench { /* a context, a store whose every number is the step, a folder */
    adze_ctx *ctx;
    adze_store *store;
    char dir[256];
} bench;

static int bench_open(bench *b, const adze_mem *mem, const adze_fs *fs) {
    adze_ctx_opts o = {.size = sizeof o, .threads = 1, .mem = mem, .fs = fs};
    const int64_t n = NUMBERS;
    int slot;
    b->store = NULL;
    TRY(adze_ctx_new(&o, &b->ctx));
    TRY(adze_store_new(b->ctx, &b->store));
    TRY(adze_store_add(b->store, "a:w", adze_type_make(ADZE_F32, 1, &n), ADZE_SLOT_TRAINABLE, &slot));
    TRY(adze_store_add(b->store, "a:w:m", adze_type_make(ADZE_F64, 1, &n), ADZE_SLOT_STATE, &slot));
    return adze_store_add(b->store, "a:w:g", adze_type_make(ADZE_F32, 1, &n), ADZE_SLOT_TEMP, &slot);
}

static void bench_close(bench *b) {
    adze_store_free(b->store);
    adze_ctx_free(b->ctx);
}

static int fill(bench *b, double v) {
    for (int i = 0; i < adze_store_count(b->store); i++) {
        adze_tensor t;
        TRY(adze_store_tensor(b->store, i, &t));
        for (int64_t k = 0; k < NUMBERS; k++) {
            adze_tensor_set(&t, k, v);
        }
    }
    return ADZE_OK;
}

static int save(bench *b, int64_t step, int64_t best) {
    char path[ADZE_CKPT_PATH], state[32];
    TRY(fill(b, (double)step));
    snprintf(state, sizeof state, "{\"step\":%lld}", (long long)step);
    const adze_meta meta = {"adze.checkpoint", "1"};
    adze_ckpt c = {.step = step, .best_step = best, .state = state, .meta = &meta, .nmeta = 1};
    return adze_ckpt_save(b->ctx, b->dir, b->store, &c, path);
}

/* Opens a file, reads it into the store, and holds it against the step it must be of; step < 0: any. */
static int check_file(bench *b, const char *path, int64_t step) {
    adze_safetensors *f;
    const char *state;
    char want[32];
    int64_t n;
    TRY(adze_safetensors_open(b->ctx, path, &f));
    int st = adze_ckpt_restore(b->ctx, f, path, b->store);
    if (st == ADZE_OK) {
        st = adze_ckpt_state(b->ctx, f, path, &state, &n);
    }
    if (st == ADZE_OK && step >= 0) {
        int len = snprintf(want, sizeof want, "{\"step\":%lld}", (long long)step);
        assert_int_equal(n, len);
        assert_memory_equal(state, want, (size_t)len);
        for (int i = 0; i < 2; i++) {
            adze_tensor t;
            assert_int_equal(adze_store_tensor(b->store, i, &t), ADZE_OK);
            for (int64_t k = 0; k < NUMBERS; k++) {
                assert_true(adze_tensor_get(&t, k) == (double)step);
            }
        }
    }
    adze_safetensors_close(f);
    return st;
}

/* Every checkpoint of the folder must be whole; the newest is at least `least`, and the links lead to whole files. Returns the newest step. */
static int64_t check_folder(bench *b, int64_t least, int generations) {
    int64_t *steps, n;
    char path[ADZE_CKPT_PATH];
    assert_int_equal(adze_ckpt_steps(b->ctx, b->dir, &steps, &n), ADZE_OK);
    if (n < generations) {
        fail_msg("%d checkpoints were due, %d are there", generations, (int)n);
    }
    int64_t newest = n > 0 ? steps[0] : 0;
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(adze_ckpt_path(b->ctx, b->dir, steps[i], path), ADZE_OK);
        if (check_file(b, path, steps[i]) != ADZE_OK) {
            fail_msg("a damaged checkpoint under its final name: %s", adze_errmsg(b->ctx));
        }
    }
    adze_free(b->ctx, steps);
    assert_true(newest >= least);
    assert_int_equal(adze_path_join(path, sizeof path, b->dir, "last"), ADZE_OK);
    if (adze_path_exists(b->ctx, path)) {
        assert_int_equal(check_file(b, path, -1), ADZE_OK);
    } else {
        assert_true(least == 0);
    }
    return newest;
}

static void generations_are_kept_and_links_lead_to_them(void **state) {
    (void)state;
    bench b;
    assert_int_equal(bench_open(&b, NULL, NULL), ADZE_OK);
    faulty_folder(b.dir, sizeof b.dir);
    for (int64_t step = 1; step <= 6; step++) {
        assert_int_equal(save(&b, step, step < 3 ? -1 : 3), ADZE_OK);
    }
    int64_t *steps, n;
    assert_int_equal(adze_ckpt_steps(b.ctx, b.dir, &steps, &n), ADZE_OK);
    assert_int_equal(n, 3);
    assert_int_equal(steps[0], 6);
    assert_int_equal(steps[1], 5);
    assert_int_equal(steps[2], 3); /* the best */
    adze_free(b.ctx, steps);
    char path[300];
    snprintf(path, sizeof path, "%s/last", b.dir);
    assert_int_equal(check_file(&b, path, 6), ADZE_OK);
    snprintf(path, sizeof path, "%s/best", b.dir);
    assert_int_equal(check_file(&b, path, 3), ADZE_OK);
    adze_safetensors *f;
    assert_int_equal(adze_safetensors_open(b.ctx, path, &f), ADZE_OK);
    assert_int_equal(adze_safetensors_find(f, "a:w:g"), -1); /* temporary slots are not saved */
    adze_safetensors_close(f);
    faulty_folder_drop(b.dir);
    bench_close(&b);
}

static void leftovers_of_killed_saves_are_removed_and_nothing_else(void **state) {
    (void)state;
    bench b;
    assert_int_equal(bench_open(&b, NULL, NULL), ADZE_OK);
    faulty_folder(b.dir, sizeof b.dir);
    static const char *const names[] = {"step-00000007.safetensors.tmp-12-0", "last.tmp-link", "step-00000007.safetensors", "notes.tmp-1", "best"};
    char path[300];
    for (size_t i = 0; i < ADZE_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", b.dir, names[i]);
        assert_int_equal(adze_append_file(b.ctx, path, "x"), ADZE_OK);
    }
    assert_int_equal(adze_ckpt_clean(b.ctx, b.dir), ADZE_OK);
    for (size_t i = 0; i < ADZE_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", b.dir, names[i]);
        assert_int_equal(adze_path_exists(b.ctx, path), i >= 2);
    }
    faulty_folder_drop(b.dir);
    bench_close(&b);
}

/* The child saves step after step until it is killed; *saved is the last step whose save returned. */
static void save_for_ever(const char *dir, int64_t first, volatile int64_t *saved) {
    bench b;
    if (bench_open(&b, NULL, NULL) != ADZE_OK) {
        _exit(1);
    }
    snprintf(b.dir, sizeof b.dir, "%s", dir);
    if (adze_ckpt_clean(b.ctx, b.dir) != ADZE_OK) {
        _exit(2);
    }
    for (int64_t step = first;; step++) {
        if (save(&b, step, step - step % 5) != ADZE_OK) {
            _exit(3);
        }
        *saved = step;
    }
}

static void a_process_killed_while_saving_loses_nothing(void **state) {
    (void)state;
    const char *wish = getenv("ADZE_KILLS");
    int64_t kills = DEFAULT_KILLS;
    if (wish != NULL) {
        assert_true(adze_parse_i64(wish, &kills));
    }
    bench b;
    assert_int_equal(bench_open(&b, NULL, NULL), ADZE_OK);
    faulty_folder(b.dir, sizeof b.dir);
    volatile int64_t *saved = mmap(NULL, sizeof *saved, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true((void *)(uintptr_t)saved != MAP_FAILED);
    adze_rng r = adze_rng_make(2026, 11);
    int64_t newest = 0;
    for (int64_t k = 0; k < kills; k++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            save_for_ever(b.dir, newest + 1, saved);
        }
        usleep((useconds_t)adze_rng_below(&r, 30000));
        assert_int_equal(kill(child, SIGKILL), 0);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFSIGNALED(status)) {
            fail_msg("the saver ended by itself with code %d", WEXITSTATUS(status));
        }
        newest = check_folder(&b, *saved, *saved >= 2 ? 2 : *saved >= 1 ? 1 : 0);
    }
    assert_true(newest > kills / 10); /* the savers did save, or this test shows nothing */
    print_message("%lld savers killed, %lld checkpoints saved, none lost\n", (long long)kills, (long long)newest);
    munmap((void *)(uintptr_t)saved, sizeof *saved);
    faulty_folder_drop(b.dir);
    bench_close(&b);
}

/* Whatever file call fails, once or from then on: the save reports it, and a whole checkpoint not older than the last good one is there. */
static void sweep_file_calls(bool for_ever, int error) {
    bench b, look;
    faulty_fs fs;
    faulty_fs_init(&fs);
    assert_int_equal(bench_open(&b, NULL, &fs.table), ADZE_OK);
    assert_int_equal(bench_open(&look, NULL, NULL), ADZE_OK);
    faulty_folder(b.dir, sizeof b.dir);
    memcpy(look.dir, b.dir, sizeof b.dir);
    assert_int_equal(save(&b, 1, -1), ADZE_OK);
    assert_int_equal(save(&b, 2, -1), ADZE_OK);
    int64_t good = 2, step = 3;
    long failures = 0;
    for (long n = 1;; n++, step++) {
        faulty_fs_arm(&fs, n, for_ever, error);
        int st = save(&b, step, good);
        bool hit = fs.failed_call != NULL;
        const char *call = hit ? fs.failed_call : "";
        faulty_fs_arm(&fs, 0, false, 0);
        if (fs.open_files != 0) {
            fail_msg("call %ld (%s) failed and left a file open", n, call);
        }
        if (!hit) {
            assert_int_equal(st, ADZE_OK);
            break;
        }
        failures++;
        if (st != ADZE_OK) {
            assert_int_equal(st, ADZE_EIO);
            assert_true(strlen(adze_errmsg(b.ctx)) > 10);
        } else {
            good = step;
        }
        int64_t newest = check_folder(&look, good, 2);
        good = newest > good ? newest : good;
    }
    assert_true(failures >= 10);
    faulty_folder_drop(b.dir);
    bench_close(&look);
    bench_close(&b);
}

static void any_failing_file_call_leaves_a_whole_checkpoint(void **state) {
    (void)state;
    sweep_file_calls(false, EIO);
    sweep_file_calls(true, EIO);
    sweep_file_calls(false, ENOSPC);
    sweep_file_calls(true, ENOSPC);
}

static void interrupted_and_short_file_calls_change_nothing(void **state) {
    (void)state;
    bench b;
    faulty_fs fs;
    faulty_fs_init(&fs);
    fs.at_most = 777;
    assert_int_equal(bench_open(&b, NULL, &fs.table), ADZE_OK);
    faulty_folder(b.dir, sizeof b.dir);
    assert_int_equal(save(&b, 1, -1), ADZE_OK);
    assert_int_equal(check_folder(&b, 1, 1), 1);
    faulty_folder_drop(b.dir);
    bench_close(&b);
}

/* Every allocation of open, save, list and restore refused in turn: ADZE_ENOMEM or success, nothing leaks, old checkpoints stay whole. */
static void any_failing_allocation_is_reported_and_leaks_nothing(void **state) {
    (void)state;
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        char dir[256];
        faulty_folder(dir, sizeof dir);
        faulty_mem mem;
        faulty_mem_init(&mem);
        int st = ADZE_ENOMEM;
        long n = 1;
        for (; st != ADZE_OK; n++) {
            bench b = {0};
            memcpy(b.dir, dir, sizeof dir);
            faulty_mem_arm(&mem, n, for_ever);
            st = bench_open(&b, &mem.table, NULL);
            if (st == ADZE_OK) {
                st = save(&b, n, -1);
            }
            if (st == ADZE_OK) {
                char path[ADZE_CKPT_PATH];
                st = adze_ckpt_path(b.ctx, dir, n, path);
                st = st == ADZE_OK ? check_file(&b, path, n) : st;
            }
            faulty_mem_arm(&mem, 0, false);
            if (st != ADZE_OK && st != ADZE_ENOMEM) {
                fail_msg("allocation %ld: %s: %s", n, adze_status_name(st), adze_errmsg(b.ctx));
            }
            bench_close(&b);
            if (!faulty_mem_clean(&mem)) {
                fail_msg("allocation %ld refused: %ld blocks leaked, %ld freed wrongly", n, (long)mem.blocks, (long)mem.wrong_frees);
            }
        }
        assert_true(n > 15);
        bench look;
        assert_int_equal(bench_open(&look, NULL, NULL), ADZE_OK);
        memcpy(look.dir, dir, sizeof dir);
        (void)check_folder(&look, 1, 1);
        bench_close(&look);
        faulty_folder_drop(dir);
    }
}

/* A changed byte anywhere must not pass for a checkpoint of other numbers. */
static void a_damaged_checkpoint_is_refused(void **state) {
    (void)state;
    bench b;
    assert_int_equal(bench_open(&b, NULL, NULL), ADZE_OK);
    faulty_folder(b.dir, sizeof b.dir);
    assert_int_equal(save(&b, 9, -1), ADZE_OK);
    char path[ADZE_CKPT_PATH];
    void *bytes;
    int64_t n;
    assert_int_equal(adze_ckpt_path(b.ctx, b.dir, 9, path), ADZE_OK);
    assert_int_equal(adze_read_file(b.ctx, path, 0, &bytes, &n), ADZE_OK);
    adze_rng r = adze_rng_make(4, 4);
    int refused = 0, tries = 200;
    for (int i = 0; i < tries; i++) {
        int64_t at = i < 100 ? (int64_t)adze_rng_below(&r, (uint64_t)n) : i - 100; /* anywhere, and every byte of the beginning */
        ((uint8_t *)bytes)[at] ^= 0x10;
        const adze_piece piece = {bytes, n};
        assert_int_equal(adze_replace_file(b.ctx, path, &piece, 1), ADZE_OK);
        refused += check_file(&b, path, -1) == ADZE_EFORMAT;
        ((uint8_t *)bytes)[at] ^= 0x10;
    }
    assert_int_equal(refused, tries);
    adze_free(b.ctx, bytes);
    faulty_folder_drop(b.dir);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generations_are_kept_and_links_lead_to_them),
        cmocka_unit_test(leftovers_of_killed_saves_are_removed_and_nothing_else),
        cmocka_unit_test(a_process_killed_while_saving_loses_nothing),
        cmocka_unit_test(any_failing_file_call_leaves_a_whole_checkpoint),
        cmocka_unit_test(interrupted_and_short_file_calls_change_nothing),
        cmocka_unit_test(any_failing_allocation_is_reported_and_leaks_nothing),
        cmocka_unit_test(a_damaged_checkpoint_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
