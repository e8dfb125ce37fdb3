/* Resuming: stops, kills, damaged files and failing file calls change no bit of what a training ends with. */
#include "trainbench.h"

#include "train/trainer.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void read_all(bench *b, const char *dir, const char *name, void **bytes, int64_t *n) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    must(b, adze_read_file(b->ctx, path, 0, bytes, n));
}

/* The checkpoint that `name` leads to in both folders has the same bytes: weights, optimiser, progress, history. */
static void same_file(bench *b, const char *one, const char *two, const char *name) {
    void *x, *y;
    int64_t nx, ny;
    read_all(b, one, name, &x, &nx);
    read_all(b, two, name, &y, &ny);
    if (nx != ny || memcmp(x, y, (size_t)nx) != 0) {
        fail_msg("'%s' differs between the uninterrupted and the resumed training", name);
    }
    adze_free(b->ctx, x);
    adze_free(b->ctx, y);
}

static void stopping_at_any_step_and_resuming_changes_no_bit(void **state) {
    (void)state;
    char whole[256], parts[256];
    setting s = everything();
    bench want = {0}, b = {0};
    faulty_folder(whole, sizeof whole);
    s.dir = whole;
    train(&want, &s, false);
    assert_int_equal(want.nlosses, 8); /* 160 examples, 24 x 2 an update, two epochs */
    for (int64_t stop = 1; stop <= want.nlosses; stop++) {
        adze_stop why;
        faulty_folder(parts, sizeof parts);
        s.dir = parts;
        b = (bench){.stop_at = stop};
        must(&b, bench_open(&b, &s));
        int st = adze_trainer_run(b.t, &why);
        assert_int_equal(st, ADZE_ESTOPPED);
        assert_int_equal(why, ADZE_STOP_REQUEST);
        must_say(&b, "stopped on request");
        assert_int_equal(adze_trainer_step(b.t), stop);
        bench_close(&b);
        b = (bench){0};
        train(&b, &s, true);
        assert_int_equal(b.nlosses, want.nlosses - stop);
        same_hash(&want, &b, "stopping and resuming");
        same_file(&b, whole, parts, "last");
        same_file(&b, whole, parts, "best");
        bench_close(&b);
        faulty_folder_drop(parts);
    }
    bench_close(&want);
    faulty_folder_drop(whole);
}

static void train_until_killed(const setting *s) {
    bench b = {0};
    adze_stop why;
    int st = bench_open(&b, s);
    if (st == ADZE_OK) {
        st = adze_trainer_resume(b.t);
        st = st == ADZE_EARG ? ADZE_OK : st; /* nothing saved yet */
    }
    if (st == ADZE_OK) {
        st = adze_trainer_run(b.t, &why);
    }
    _exit(st == ADZE_OK ? 0 : 1);
}

static void a_training_killed_again_and_again_ends_in_the_same_bits(void **state) {
    (void)state;
    char whole[256], parts[256];
    setting s = everything();
    s.o.epochs = 6;
    s.o.save_every = 1;
    bench want = {0};
    faulty_folder(whole, sizeof whole);
    faulty_folder(parts, sizeof parts);
    s.dir = whole;
    train(&want, &s, false);
    s.dir = parts;
    adze_rng r = adze_rng_make(5, 2026);
    int kills = 0, status = 1;
    for (int tries = 0; tries < 500; tries++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            train_until_killed(&s);
        }
        usleep((useconds_t)(10000 + adze_rng_below(&r, 60000) + (tries > 20 ? 500000 : 0)));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status)) {
            break;
        }
        kills++;
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    print_message("killed %d times\n", kills);
    same_file(&want, whole, parts, "last");
    same_file(&want, whole, parts, "best");
    bench_close(&want);
    faulty_folder_drop(whole);
    faulty_folder_drop(parts);
}

/* -- resuming
 * ------------------------------------------------------------------------------------------------------------------------------------------ */

static void resume_names_what_differs(void **state) {
    (void)state;
    char dir[256];
    setting s = usual(tiny_net), other;
    bench b = {0};
    faulty_folder(dir, sizeof dir);
    s.dir = dir;
    must(&b, bench_open(&b, &s));
    assert_int_equal(adze_trainer_resume(b.t), ADZE_EARG);
    must_say(&b, "no checkpoint");
    bench_close(&b);
    train(&b, &s, false);
    bench_close(&b);
    other = s;
    other.o.lr = 0.125;
    must(&b, bench_open(&b, &other));
    assert_int_equal(adze_trainer_resume(b.t), ADZE_EARG);
    must_say(&b, "option lr was 0 and is now 0.125");
    bench_close(&b);
    other = s;
    other.net = plain_net;
    must(&b, bench_open(&b, &other));
    assert_int_equal(adze_trainer_resume(b.t), ADZE_EARG);
    must_say(&b, "model differs");
    bench_close(&b);
    other = s;
    other.net = "{\"name\":\"tiny\",\"input\":[8,8,1],\"preprocess\":{\"mean\":[0.5],\"sd\":[2],\"fixed\":true},\"layers\":["
                "{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc1\",\"units\":4}]}";
    must(&b, bench_open(&b, &other));
    assert_int_equal(adze_trainer_resume(b.t), ADZE_EARG);
    must_say(&b, "preprocessing differs");
    bench_close(&b);
    other = s;
    other.count = N - 1;
    must(&b, bench_open(&b, &other));
    assert_int_equal(adze_trainer_resume(b.t), ADZE_EARG);
    must_say(&b, "data differ");
    bench_close(&b);
    other = s;
    other.o.epochs = 1;
    must(&b, bench_open(&b, &other));
    assert_int_equal(adze_trainer_resume(b.t), ADZE_EARG);
    must_say(&b, "epochs");
    bench_close(&b);
    other = s;
    other.o.epochs = 3; /* more epochs, other workers and other saving are allowed */
    other.o.workers = 3;
    other.o.save_every = 2;
    train(&b, &other, true);
    const adze_epoch_stats *h;
    assert_int_equal(adze_trainer_history(b.t, &h), 3);
    bench_close(&b);
    must(&b, bench_open(&b, &s)); /* a new training does not write into an old one's folder */
    assert_int_equal(adze_trainer_run(b.t, NULL), ADZE_EARG);
    must_say(&b, "already holds checkpoints");
    bench_close(&b);
    faulty_folder_drop(dir);
}

typedef struct asked {
    int64_t at[8];
    int n;
} asked;

static int ask_at_three(void *user, adze_trainer *t, int64_t step, int64_t steps, double loss, double lr) {
    (void)user, (void)steps, (void)loss, (void)lr;
    if (step == 3) {
        adze_trainer_request_save(t);
    }
    return 0;
}

static int note_saved(void *user, adze_trainer *t, const char *path) {
    asked *a = user;
    (void)path;
    a->at[a->n++] = adze_trainer_step(t);
    return 0;
}

static void a_checkpoint_that_is_asked_for_is_written_and_training_goes_on(void **state) {
    (void)state;
    char dir[256];
    setting s = usual(tiny_net);
    bench b = {0};
    asked a = {0};
    faulty_folder(dir, sizeof dir);
    s.o.epochs = 1;
    must(&b, bench_open(&b, &s));
    adze_trainer_free(b.t);
    const adze_callbacks cb = {.user = &a, .step_end = ask_at_three, .checkpoint = note_saved};
    must(&b, adze_trainer_new(b.ctx, b.model, b.data, &s.o, dir, &cb, &b.t));
    must(&b, adze_trainer_run(b.t, NULL));
    assert_int_equal(a.n, 2);
    assert_int_equal(a.at[0], 3);
    assert_int_equal(a.at[1], 10); /* the end of the epoch */
    bench_close(&b);
    faulty_folder_drop(dir);
}

static void a_damaged_newest_checkpoint_is_passed_over_with_a_note(void **state) {
    (void)state;
    char dir[256], path[512];
    void *bytes;
    int64_t n;
    setting s = usual(tiny_net);
    bench want = {0}, b = {0};
    faulty_folder(dir, sizeof dir);
    s.dir = dir;
    train(&want, &s, false);
    snprintf(path, sizeof path, "%s", adze_trainer_last_checkpoint(want.t));
    must(&want, adze_read_file(want.ctx, path, 0, &bytes, &n));
    ((uint8_t *)bytes)[n - 3] ^= 1;
    const adze_piece piece = {bytes, n};
    must(&want, adze_replace_file(want.ctx, path, &piece, 1));
    adze_free(want.ctx, bytes);
    train(&b, &s, true);
    assert_non_null(strstr(b.notes, "cannot be used"));
    assert_non_null(strstr(b.notes, "newer checkpoints are damaged"));
    same_hash(&want, &b, "resuming from the checkpoint before");
    bench_close(&b);
    bench_close(&want);
    faulty_folder_drop(dir);
}

/* A folder stands where the newest checkpoint was: the system refuses to read it, and the one before is taken. */
static void a_newest_checkpoint_that_cannot_be_read_is_passed_over(void **state) {
    (void)state;
    char dir[256], path[512];
    setting s = usual(tiny_net);
    bench want = {0}, b = {0};
    faulty_folder(dir, sizeof dir);
    s.dir = dir;
    train(&want, &s, false);
    snprintf(path, sizeof path, "%s", adze_trainer_last_checkpoint(want.t));
    assert_int_equal(remove(path), 0);
    must(&want, adze_make_dirs(want.ctx, path));
    must(&b, bench_open(&b, &s));
    must(&b, adze_trainer_resume(b.t));
    assert_non_null(strstr(b.notes, "cannot be used"));
    assert_true(adze_trainer_step(b.t) < adze_trainer_step(want.t));
    bench_close(&b);
    assert_int_equal(remove(path), 0);
    train(&b, &s, true);
    same_hash(&want, &b, "resuming from the checkpoint before");
    bench_close(&b);
    bench_close(&want);
    faulty_folder_drop(dir);
}

/* A newest checkpoint whose progress cannot be of this data is passed over, and one of a diverged model is never written. */
static void progress_that_does_not_fit_and_what_is_not_finite(void **state) {
    (void)state;
    for (int fault = 0; fault < 3; fault++) {
        char dir[256];
        setting s = usual(tiny_net);
        bench b = {0}, again = {0};
        faulty_folder(dir, sizeof dir);
        s.dir = dir;
        train(&b, &s, false);
        const int64_t last = adze_trainer_step(b.t);
        if (fault == 2) {
            adze_tensor w;
            must(&b, adze_store_tensor(b.t->store, adze_store_find(b.t->store, "fc1:w"), &w));
            adze_tensor_set(&w, 3, NAN);
            assert_int_equal(adze_trainer_save(b.t), ADZE_ENAN);
            must_say(&b, "'fc1:w' is no longer finite");
        } else {
            b.t->p.batch += fault == 0 ? 1000 : 0;
            b.t->nhistory -= fault == 1;
            must(&b, adze_trainer_save(b.t));
        }
        must(&again, bench_open(&again, &s));
        must(&again, adze_trainer_resume(again.t));
        assert_int_equal(strstr(again.notes, "its progress does not fit its data") != NULL, fault < 2);
        assert_true(fault == 2 ? adze_trainer_step(again.t) == last : adze_trainer_step(again.t) < last);
        bench_close(&again);
        bench_close(&b);
        faulty_folder_drop(dir);
    }
}

static void after_any_failing_file_call_the_training_goes_on_to_the_same_bits(void **state) {
    (void)state;
    faulty_fs fs;
    faulty_fs_init(&fs);
    setting s = usual(tiny_net), sound = usual(tiny_net);
    char whole[256];
    bench want = {0};
    faulty_folder(whole, sizeof whole);
    sound.dir = whole;
    train(&want, &sound, false);
    s.fs = &fs.table;
    bool hit = true;
    for (long n = 1; hit; n += 1 + n / 20) {
        char dir[256];
        faulty_folder(dir, sizeof dir);
        s.dir = sound.dir = dir;
        bench b = {0};
        faulty_fs_arm(&fs, n, true, ENOSPC);
        int st = bench_open(&b, &s);
        st = st == ADZE_OK ? adze_trainer_run(b.t, NULL) : st;
        hit = fs.failed_call != NULL;
        faulty_fs_arm(&fs, 0, false, 0);
        if (st != ADZE_OK && st != ADZE_EIO) {
            fail_msg("file call %ld: %s: %s", n, adze_status_name(st), adze_errmsg(b.ctx));
        }
        bench_close(&b);
        must(&b, bench_open(&b, &sound));
        st = adze_trainer_resume(b.t);
        assert_true(st == ADZE_OK || st == ADZE_EARG);
        must(&b, adze_trainer_run(b.t, NULL));
        must(&b, adze_store_hash(adze_trainer_store(b.t), b.hash));
        same_hash(&want, &b, "a failing file call, then a resume,");
        same_file(&b, whole, dir, "last");
        bench_close(&b);
        faulty_folder_drop(dir);
    }
    bench_close(&want);
    faulty_folder_drop(whole);
}

int main(void) {
    make_data();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopping_at_any_step_and_resuming_changes_no_bit),
        cmocka_unit_test(a_training_killed_again_and_again_ends_in_the_same_bits),
        cmocka_unit_test(resume_names_what_differs),
        cmocka_unit_test(a_checkpoint_that_is_asked_for_is_written_and_training_goes_on),
        cmocka_unit_test(a_damaged_newest_checkpoint_is_passed_over_with_a_note),
        cmocka_unit_test(a_newest_checkpoint_that_cannot_be_read_is_passed_over),
        cmocka_unit_test(progress_that_does_not_fit_and_what_is_not_finite),
        cmocka_unit_test(after_any_failing_file_call_the_training_goes_on_to_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
