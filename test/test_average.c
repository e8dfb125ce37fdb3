/* Averages of weights: what they are, that they are judged and saved, that no stop, thread or wrapper changes them; snapshots; the theory's variance.
 */
#include "trainbench.h"

#include "model/layer.h"
#include "train/trainer.h"

/* -- the average is the one that its definition says -------------------------------------------------------------------------------------------- */

typedef struct follower { /* the average computed beside the training, in double, from the weights after every update */
    bench b;
    const adze_train_opts *o;
    double *sum;
    int64_t n;
} follower;

static void slot_of(follower *f, const char *name, adze_tensor *out) {
    const int slot = adze_store_find(adze_trainer_store(f->b.t), name);
    assert_true(slot >= 0);
    must(&f->b, adze_store_tensor(adze_trainer_store(f->b.t), slot, out));
}

static bool counts(const adze_train_opts *o, int64_t step, int64_t steps) {
    if (o->average != ADZE_AVERAGE_SWA) {
        return (step - 1) / steps >= o->average_start;
    }
    const int64_t epoch = step / steps - o->swa_start;
    return step % steps == 0 && epoch > 0 && (o->swa_cycle == 0 || epoch % o->swa_cycle == 0);
}

static int follow(void *user, adze_trainer *t, int64_t step, int64_t steps, double loss, double lr) {
    follower *f = user;
    adze_tensor w;
    (void)t, (void)loss, (void)lr;
    if (!counts(f->o, step, steps)) {
        return 0;
    }
    slot_of(f, "fc1:w", &w);
    const adze_type type = adze_tensor_type(&w);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        const double v = adze_tensor_get(&w, i);
        const double share = f->n == 0                           ? 1
                             : f->o->average == ADZE_AVERAGE_EMA ? fmax(1 - f->o->ema_decay, 9.0 / (double)(f->n + 10))
                                                                 : 1.0 / (double)(f->n + 1);
        f->sum[i] += share * (v - f->sum[i]);
    }
    f->n++;
    return 0;
}

static void check_average(const setting *s, const char *what) {
    double sum[4096] = {0};
    follower f = {.o = &s->o, .sum = sum};
    adze_tensor w, avg;
    adze_stop why;
    must(&f.b, bench_open(&f.b, s));
    adze_trainer_free(f.b.t);
    adze_callbacks cb = {.user = &f, .step_end = follow};
    must(&f.b, adze_trainer_new(f.b.ctx, f.b.model, f.b.data, &s->o, s->dir, &cb, &f.b.t));
    must(&f.b, adze_trainer_run(f.b.t, &why));
    slot_of(&f, "fc1:w", &w);
    slot_of(&f, "avg/fc1:w", &avg);
    const adze_type type = adze_tensor_type(&w);
    double apart = 0, moved = 0;
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        apart = fmax(apart, fabs(adze_tensor_get(&avg, i) - sum[i]));
        moved = fmax(moved, fabs(adze_tensor_get(&avg, i) - adze_tensor_get(&w, i)));
    }
    assert_true(f.n > 1);
    assert_int_equal(f.b.t->p.averaged, f.n);
    if (apart > 2e-7 || moved < 1e-4) {
        fail_msg("%s: the average is off by %g; the weights lie %g away from it", what, apart, moved);
    }
    bench_close(&f.b);
}

static void averages_are_what_their_definitions_say_with_everything_that_wraps_an_update(void **state) {
    (void)state;
    static const char *const names[] = {"none", "polyak", "ema", "swa", "swa in cycles"};
    char what[128];
    for (int a = ADZE_AVERAGE_POLYAK; a <= ADZE_AVERAGE_SWA + 1; a++) {
        for (int wrap = 0; wrap < 8; wrap++) {
            setting s = usual(full_net);
            s.o.epochs = 6;
            s.o.average = a > ADZE_AVERAGE_SWA ? ADZE_AVERAGE_SWA : a;
            s.o.average_start = 1;
            s.o.ema_decay = 0.9;
            s.o.swa_start = 2;
            s.o.swa_cycle = a > ADZE_AVERAGE_SWA ? 2 : 0;
            s.o.lookahead_k = wrap == 1 ? 3 : 0;
            s.o.sam = wrap == 2 ? 0.05 : 0;
            s.o.accumulate = wrap == 3 ? 3 : 1;
            s.o.precision = wrap == 4 ? ADZE_PRECISION_BF16 : ADZE_PRECISION_FULL;
            if (wrap == 5) {
                s.o.optimizer = ADZE_ADAM;
                strcpy(s.o.groups, "*:b:lr=2,decay=0;c*:lr=0.1");
            }
            if (wrap >= 6) {
                s.o.optimizer = wrap == 6 ? ADZE_KFAC : ADZE_LBFGS;
                s.o.damping = 1;
                s.o.dtype = 1; /* their steps are long: the sum beside them must not be rounded otherwise */
            }
            snprintf(what, sizeof what, "%s, wrap %d", names[a], wrap);
            check_average(&s, what);
        }
    }
}

/* -- bits ---------------------------------------------------------------------------------------------------------------------------------------- */

static setting averaging(int average) {
    setting s = everything();
    s.o.epochs = 3;
    s.o.average = average;
    s.o.ema_decay = 0.8;
    s.o.swa_start = 1;
    s.o.average_batches = 3;
    return s;
}

static void same_file(bench *b, const char *one, const char *two, const char *name) {
    char path[512];
    void *x, *y;
    int64_t nx, ny;
    snprintf(path, sizeof path, "%s/%s", one, name);
    must(b, adze_read_file(b->ctx, path, 0, &x, &nx));
    snprintf(path, sizeof path, "%s/%s", two, name);
    must(b, adze_read_file(b->ctx, path, 0, &y, &ny));
    if (nx != ny || memcmp(x, y, (size_t)nx) != 0) {
        fail_msg("'%s' differs between the uninterrupted and the resumed training", name);
    }
    adze_free(b->ctx, x);
    adze_free(b->ctx, y);
}

static void stop_everywhere(setting s, const char *snapshot) {
    char whole[256], parts[256];
    bench want = {0}, b = {0};
    faulty_folder(whole, sizeof whole);
    s.dir = whole;
    train(&want, &s, false);
    for (int64_t stop = 1; stop <= want.nlosses; stop++) {
        adze_stop why;
        faulty_folder(parts, sizeof parts);
        s.dir = parts;
        b = (bench){.stop_at = stop};
        must(&b, bench_open(&b, &s));
        assert_int_equal(adze_trainer_run(b.t, &why), ADZE_ESTOPPED);
        bench_close(&b);
        b = (bench){0};
        train(&b, &s, true);
        same_hash(&want, &b, "stopping and resuming");
        same_file(&b, whole, parts, "last");
        same_file(&b, whole, parts, "best");
        if (snapshot != NULL) {
            same_file(&b, whole, parts, snapshot);
        }
        bench_close(&b);
        faulty_folder_drop(parts);
    }
    bench_close(&want);
    faulty_folder_drop(whole);
}

static void stopping_at_any_step_and_resuming_changes_no_bit_of_an_average(void **state) {
    (void)state;
    for (int a = ADZE_AVERAGE_POLYAK; a <= ADZE_AVERAGE_SWA; a++) {
        stop_everywhere(averaging(a), NULL);
    }
}

static void threads_change_no_bit_of_an_average_and_its_statistics(void **state) {
    (void)state;
    bench want = {0};
    setting s = averaging(ADZE_AVERAGE_EMA);
    s.threads = 1;
    train(&want, &s, false);
    for (int threads = 2; threads <= 4; threads++) {
        bench b = {0};
        s.threads = threads;
        s.o.workers = threads - 2;
        train(&b, &s, false);
        same_hash(&want, &b, "the number of threads");
        bench_close(&b);
    }
    bench_close(&want);
}

/* -- batchnorm's statistics ---------------------------------------------------------------------------------------------------------------------- */

static const char first_norm[] =
    "{\"name\":\"first\",\"input\":[8,8,1],\"layers\":[{\"type\":\"batchnorm\",\"name\":\"bn\"},{\"type\":\"dropout\",\"name\":\"d\",\"p\":0.5},"
    "{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"batchnorm\",\"name\":\"bn2\"},{\"type\":\"dense\",\"name\":\"fc1\",\"units\":4}]}";

/* Behind the input nothing is estimated: mean and variance are those of all pixels, however the batches fall. */
static void recalibrated_statistics_are_those_of_all_examples(void **state) {
    (void)state;
    setting s = usual(first_norm);
    bench b = {0};
    adze_tensor mean, var;
    train(&b, &s, false);
    adze_store *store = adze_trainer_store(b.t);
    const adze_preprocess *p = adze_model_preprocess(b.model);
    for (int64_t batch = 16; batch <= 50; batch += 34) {
        const int64_t batches = batch == 16 ? 5 : 0, n = batch == 16 ? 80 : N;
        double sum = 0, squares = 0, count = (double)(n * SIDE * SIDE);
        for (int64_t i = 0; i < n * SIDE * SIDE; i++) {
            const double x = (pixels[i] * p->scale - p->mean[0]) / p->sd[0];
            sum += x;
            squares += x * x;
        }
        must(&b, adze_recalibrate(b.ctx, b.model, store, "", b.data, NULL, 0, batch, batches));
        must(&b, adze_store_tensor(store, adze_store_find(store, "bn:mean"), &mean));
        must(&b, adze_store_tensor(store, adze_store_find(store, "bn:var"), &var));
        assert_true(fabs(adze_tensor_get(&mean, 0) - sum / count) < 1e-6);
        assert_true(fabs(adze_tensor_get(&var, 0) - (squares / count - sum / count * (sum / count))) < 1e-6);
        must(&b, adze_store_tensor(store, adze_store_find(store, "bn2:var"), &var));
        const double second = adze_tensor_get(&var, 7); /* bn's scale is near 1, and dropout must not be at work: it would double this */
        assert_true(second > 0.2 && second < 1.5);
    }
    assert_int_equal(adze_recalibrate(b.ctx, b.model, store, "", b.data, NULL, 0, 16, -1), ADZE_EARG);
    must_say(&b, "statistics need at least one example");
    bench_close(&b);
}

/* -- what is judged, and what becomes the model -------------------------------------------------------------------------------------------------- */

static double apart(bench *b, adze_store *one, const char *a, adze_store *two, const char *c) {
    adze_tensor x, y;
    double most = 0;
    must(b, adze_store_tensor(one, adze_store_find(one, a), &x));
    must(b, adze_store_tensor(two, adze_store_find(two, c), &y));
    const adze_type type = adze_tensor_type(&x);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        most = fmax(most, fabs(adze_tensor_get(&x, i) - adze_tensor_get(&y, i)));
    }
    return most;
}

static void the_model_file_holds_the_average_and_the_checkpoint_both(void **state) {
    (void)state;
    char dir[256], path[512];
    setting s = averaging(ADZE_AVERAGE_POLYAK);
    bench b = {0};
    adze_model *m, *plain;
    adze_store *ms, *ps;
    faulty_folder(dir, sizeof dir);
    s.dir = dir;
    s.o.val_count = 0; /* the last epoch is the best then: what is in memory is in the file */
    train(&b, &s, false);
    adze_store *store = adze_trainer_store(b.t);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    must(&b, adze_trainer_save_model(b.t, path));
    must(&b, adze_model_load(b.ctx, path, &m, &ms));
    snprintf(path, sizeof path, "%s/last", dir);
    must(&b, adze_model_load(b.ctx, path, &plain, &ps));
    static const char *const slots[] = {"c1:w", "bn1:mean", "bn1:var", "bn1:scale", "fc1:b"};
    for (size_t i = 0; i < ADZE_COUNT(slots); i++) {
        char average[64];
        snprintf(average, sizeof average, "avg/%s", slots[i]);
        assert_true(apart(&b, ms, slots[i], store, average) == 0);
        assert_true(apart(&b, ps, slots[i], store, slots[i]) == 0);
        assert_true(apart(&b, ms, slots[i], ps, slots[i]) > 0);
    }
    assert_string_equal(adze_model_data(m), b.data->name);
    adze_store_free(ms);
    adze_store_free(ps);
    adze_model_free(m);
    adze_model_free(plain);
    bench_close(&b);
    faulty_folder_drop(dir);
}

/* Before an average begins the plain model is judged, to the bit; from then on the average is, and only such an epoch can be the best. */
static void the_best_epoch_is_one_of_the_average(void **state) {
    (void)state;
    setting s = usual(full_net);
    bench plain = {0}, b = {0};
    const adze_epoch_stats *one, *two;
    adze_metrics m;
    s.o.epochs = 5;
    s.o.schedule = ADZE_CONSTANT;
    train(&plain, &s, false);
    s.o.average = ADZE_AVERAGE_SWA;
    s.o.swa_start = 3;
    s.o.swa_lr = 1e-9; /* such an average learns nothing new: only the rule makes it the best */
    s.o.min_delta = 0.9;
    train(&b, &s, false);
    adze_trainer_history(plain.t, &one);
    adze_trainer_history(b.t, &two);
    for (int i = 0; i < 3; i++) {
        assert_true(one[i].val_loss == two[i].val_loss && one[i].val_acc == two[i].val_acc);
        assert_int_equal(two[i].best, i == 0);
    }
    assert_true(two[3].best && !two[4].best);
    assert_int_equal(b.t->p.best_epoch, 3);
    must(&b, adze_evaluate(b.ctx, b.model, adze_trainer_store(b.t), "avg/", b.data, b.t->ids + b.t->ntrain, b.t->nval, 40, &m));
    assert_true(m.acc == two[4].val_acc && fabs(m.loss - two[4].val_loss) < 1e-12);
    adze_metrics_free(b.ctx, &m);
    bench_close(&plain);
    bench_close(&b);
}

static void what_does_not_go_together_is_refused_with_a_sentence(void **state) {
    (void)state;
    static const struct {
        int average, schedule;
        int64_t snapshots, swa_start, average_start, swa_cycle;
        double factor;
        const char *why;
    } cases[] = {{ADZE_AVERAGE_SWA, ADZE_PLATEAU, 0, -1, 0, 0, 1, "sets the rate itself"},
                 {ADZE_AVERAGE_SWA, ADZE_COSINE, 0, 4, 0, 0, 1, "there after epoch 5, but there are 4"},
                 {ADZE_AVERAGE_SWA, ADZE_COSINE, 0, 2, 0, 3, 1, "there after epoch 5, but there are 4"},
                 {ADZE_AVERAGE_EMA, ADZE_COSINE, 0, -1, 4, 0, 1, "there after epoch 5, but there are 4"},
                 {ADZE_AVERAGE_EMA, ADZE_RESTARTS, 2, -1, 0, 0, 1, "exclude each other"},
                 {ADZE_AVERAGE_NONE, ADZE_COSINE, 2, -1, 0, 0, 1, "needs schedule restarts"},
                 {ADZE_AVERAGE_NONE, ADZE_RESTARTS, 2, -1, 0, 0, 2, "cycle_factor"},
                 {ADZE_AVERAGE_NONE, ADZE_RESTARTS, 5, -1, 0, 0, 1, "do not fit into 4 epochs"}};
    for (size_t i = 0; i < ADZE_COUNT(cases); i++) {
        bench b = {0};
        setting s = usual(tiny_net);
        s.o.epochs = 4;
        s.o.average = cases[i].average;
        s.o.schedule = cases[i].schedule;
        s.o.snapshots = cases[i].snapshots;
        s.o.swa_start = cases[i].swa_start;
        s.o.average_start = cases[i].average_start;
        s.o.swa_cycle = cases[i].swa_cycle;
        s.o.cycle_factor = cases[i].factor;
        assert_int_equal(bench_open(&b, &s), ADZE_EARG);
        must_say(&b, cases[i].why);
        bench_close(&b);
    }
}

/* -- snapshots ----------------------------------------------------------------------------------------------------------------------------------- */

static setting snapping(void) {
    setting s = everything();
    s.o.epochs = 5;
    s.o.schedule = ADZE_RESTARTS;
    s.o.snapshots = 3;
    return s;
}

/* Five epochs make three cycles of 1, 2 and 2; every cycle begins at the rate and ends near min_lr. */
static void snapshots_restart_the_rate_where_a_cycle_begins(void **state) {
    (void)state;
    const setting s = snapping();
    const double lr = adze_train_lr(&s.o);
    static const struct { double from, length; } cycles[] = {{0, 1}, {0, 1}, {1, 2}, {1, 2}, {1, 2}, {1, 2}, {3, 2}, {3, 2}, {3, 2}, {3, 2}};
    for (int64_t step = 0; step < 10; step++) { /* two a epoch */
        const double share = ((double)step / 2 - cycles[step].from) / cycles[step].length;
        assert_true(fabs(adze_schedule_lr(&s.o, step, 2, 10) - lr * (1 + cos(acos(-1.0) * share)) / 2) < 1e-15);
    }
}

static void swa_holds_its_rate_or_falls_in_cycles(void **state) {
    (void)state;
    adze_train_opts o = usual(tiny_net).o;
    o.epochs = 8;
    o.lr = 0.4;
    o.average = ADZE_AVERAGE_SWA; /* from epoch 6 on */
    static const int arrive[] = {ADZE_COSINE, ADZE_POLYNOMIAL, ADZE_ONE_CYCLE};
    for (size_t i = 0; i < ADZE_COUNT(arrive); i++) { /* a schedule that goes somewhere arrives there, without a leap */
        o.schedule = arrive[i];
        const double last = adze_schedule_lr(&o, 59, 10, 80);
        assert_true(last > 0.2 && last < 0.21);
    }
    o.schedule = ADZE_CONSTANT;
    assert_true(adze_schedule_lr(&o, 59, 10, 80) == 0.4);
    assert_true(adze_schedule_lr(&o, 60, 10, 80) == 0.2 && adze_schedule_lr(&o, 79, 10, 80) == 0.2);
    o.swa_lr = 0.1;
    o.min_lr = 0.02;
    o.swa_cycle = 1;
    for (int64_t i = 0; i < 20; i++) { /* the paper's t(i) = ((i - 1) mod c + 1) / c, from i = 1 */
        const double share = (double)(i % 10 + 1) / 10;
        assert_true(fabs(adze_schedule_lr(&o, 60 + i, 10, 80) - ((1 - share) * 0.1 + share * 0.02)) < 1e-15);
    }
}

static void snapshots_are_there_whole_after_any_stop(void **state) {
    (void)state;
    for (int i = 1; i <= 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "snapshot-%d.safetensors", i);
        stop_everywhere(snapping(), name);
    }
}

static void the_last_snapshot_is_the_last_model(void **state) {
    (void)state;
    char dir[256], path[512];
    setting s = snapping();
    bench b = {0};
    adze_model *m;
    adze_store *ms;
    faulty_folder(dir, sizeof dir);
    s.dir = dir;
    train(&b, &s, false);
    snprintf(path, sizeof path, "%s/snapshot-3.safetensors", dir);
    must(&b, adze_model_load(b.ctx, path, &m, &ms));
    assert_true(apart(&b, ms, "fc1:w", adze_trainer_store(b.t), "fc1:w") == 0);
    adze_store_free(ms);
    adze_model_free(m);
    snprintf(path, sizeof path, "%s/snapshot-2.safetensors", dir);
    must(&b, adze_model_load(b.ctx, path, &m, &ms));
    assert_true(apart(&b, ms, "fc1:w", adze_trainer_store(b.t), "fc1:w") > 1e-3);
    adze_store_free(ms);
    adze_model_free(m);
    bench_close(&b);
    faulty_folder_drop(dir);
}

/* Where the average begins, and where cycles end, then follows from the number of epochs. */
static void more_epochs_are_refused_where_they_would_move_what_was_done(void **state) {
    (void)state;
    const struct {
        setting s;
        int64_t swa_start;
        bool refused;
    } cases[] = {{averaging(ADZE_AVERAGE_SWA), -1, true}, {averaging(ADZE_AVERAGE_SWA), 1, false}, {snapping(), -1, true}, {everything(), -1, false}};
    for (size_t i = 0; i < ADZE_COUNT(cases); i++) {
        char dir[256];
        bench b = {0};
        setting s = cases[i].s;
        faulty_folder(dir, sizeof dir);
        s.dir = dir;
        s.o.epochs = 4;
        s.o.swa_start = cases[i].swa_start;
        train(&b, &s, false);
        bench_close(&b);
        s.o.epochs = 6;
        must(&b, bench_open(&b, &s));
        assert_int_equal(adze_trainer_resume(b.t), cases[i].refused ? ADZE_EARG : ADZE_OK);
        if (cases[i].refused) {
            must_say(&b, "option epochs was 4 and is now 6");
        }
        bench_close(&b);
        faulty_folder_drop(dir);
    }
}

/* -- theory -------------------------------------------------------------------------------------------------------------------------------------- */

/* 1000 runs in 2 dimensions know the mean square to 3 %. The last iterate's is about lr_n / 2 sigma^2 dims, twenty times the optimum. */
static void averaged_descent_attains_the_optimal_variance_and_its_last_iterate_does_not(void **state) {
    (void)state;
    bench b = {0};
    adze_regression_result r, again;
    adze_ctx_opts o = {.size = sizeof o, .threads = 2};
    adze_regression q = {.dims = 2, .steps = 10000, .runs = 1000, .lr = 0.4, .power = 0.5, .sigma = 1, .seed = 1};
    assert_int_equal(adze_ctx_new(&o, &b.ctx), ADZE_OK);
    must(&b, adze_average_regression(b.ctx, &q, &r));
    print_message("optimal %.4g, average %.4g (%.3f), last %.4g (%.1f)\n", r.optimal, r.average, r.average / r.optimal, r.last, r.last / r.optimal);
    assert_true(fabs(r.average / r.optimal - 1) < 0.1);
    assert_true(r.last > 10 * r.optimal);
    q.sigma = 0;
    q.steps = 400;
    q.runs = 20;
    must(&b, adze_average_regression(b.ctx, &q, &again)); /* without noise the last iterate arrives and the average drags its start along */
    assert_true(again.last < 1e-4 * again.average && again.optimal == 0);
    q.power = -1;
    assert_int_equal(adze_average_regression(b.ctx, &q, &again), ADZE_EARG);
    adze_ctx_free(b.ctx);
}

int main(void) {
    make_data();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(averages_are_what_their_definitions_say_with_everything_that_wraps_an_update),
        cmocka_unit_test(stopping_at_any_step_and_resuming_changes_no_bit_of_an_average),
        cmocka_unit_test(threads_change_no_bit_of_an_average_and_its_statistics),
        cmocka_unit_test(recalibrated_statistics_are_those_of_all_examples),
        cmocka_unit_test(the_model_file_holds_the_average_and_the_checkpoint_both),
        cmocka_unit_test(the_best_epoch_is_one_of_the_average),
        cmocka_unit_test(what_does_not_go_together_is_refused_with_a_sentence),
        cmocka_unit_test(snapshots_restart_the_rate_where_a_cycle_begins),
        cmocka_unit_test(swa_holds_its_rate_or_falls_in_cycles),
        cmocka_unit_test(snapshots_are_there_whole_after_any_stop),
        cmocka_unit_test(the_last_snapshot_is_the_last_model),
        cmocka_unit_test(more_epochs_are_refused_where_they_would_move_what_was_done),
        cmocka_unit_test(averaged_descent_attains_the_optimal_variance_and_its_last_iterate_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
