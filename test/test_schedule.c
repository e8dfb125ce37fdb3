/* Schedules: their values at steps counted by hand, a rise before each of them, cuts of a plateau that survive a resume, and the range test. */
#include "trainbench.h"

#include "train/trainer.h"

static adze_train_opts schedule_of(int kind) {
    adze_train_opts o;
    adze_fields_default(adze_train_fields(), &o);
    o.schedule = kind;
    o.lr = 0.8;
    return o;
}

static void near(double got, double want, const char *what, int64_t step) {
    if (!(fabs(got - want) <= 1e-12)) {
        fail_msg("%s, step %lld: %.17g, not %.17g", what, (long long)step, got, want);
    }
}

static void milestones_cut_where_they_are(void **state) {
    (void)state;
    adze_train_opts o = schedule_of(ADZE_MILESTONES);
    o.milestones = (adze_ints){.n = 2, .v = {3, 7}};
    for (int64_t t = 0; t < 100; t++) {
        near(adze_schedule_lr(&o, t, 10, 100), t < 30 ? 0.8 : t < 70 ? 0.08 : 0.008, "milestones", t);
    }
}

static void a_polynomial_ends_at_its_floor(void **state) {
    (void)state;
    adze_train_opts o = schedule_of(ADZE_POLYNOMIAL);
    o.power = 2;
    o.min_lr = 0.1;
    for (int64_t t = 0; t <= 100; t++) {
        near(adze_schedule_lr(&o, t, 10, 100), 0.1 + 0.7 * (100 - (double)t) * (100 - (double)t) / 1e4, "polynomial", t);
    }
}

/* Cycles of 2, 4, 8 epochs: each begins with the very rate again. */
static void restarts_begin_anew_and_last_longer(void **state) {
    (void)state;
    adze_train_opts o = schedule_of(ADZE_RESTARTS);
    o.cycle_epochs = 2;
    o.cycle_factor = 2;
    o.min_lr = 0.01;
    int64_t begin = 0, length = 20;
    for (int64_t t = 0; t < 140; t++) {
        if (t == begin + length) {
            begin = t;
            length *= 2;
            assert_true(adze_schedule_lr(&o, t, 10, 140) == 0.8);
        }
        near(adze_schedule_lr(&o, t, 10, 140), 0.01 + 0.79 * (1 + cos(acos(-1) * (double)(t - begin) / (double)length)) / 2, "restarts", t);
    }
    assert_int_equal(begin, 60);
    o.cycle_factor = 1;
    for (int64_t t = 0; t < 140; t += 20) {
        assert_true(adze_schedule_lr(&o, t, 10, 140) == 0.8);
    }
}

static void one_cycle_rises_and_falls(void **state) {
    (void)state;
    adze_train_opts o = schedule_of(ADZE_ONE_CYCLE);
    o.rise_share = 0.25;
    o.start_div = 16;
    o.min_lr = 0.001;
    near(adze_schedule_lr(&o, 0, 10, 200), 0.05, "one_cycle", 0);
    near(adze_schedule_lr(&o, 25, 10, 200), (0.05 + 0.8) / 2, "one_cycle", 25);
    near(adze_schedule_lr(&o, 50, 10, 200), 0.8, "one_cycle", 50);
    near(adze_schedule_lr(&o, 125, 10, 200), (0.8 + 0.001) / 2, "one_cycle", 125);
    near(adze_schedule_lr(&o, 200, 10, 200), 0.001, "one_cycle", 200);
    for (int64_t t = 1; t < 200; t++) {
        assert_int_equal(adze_schedule_lr(&o, t, 10, 200) > adze_schedule_lr(&o, t - 1, 10, 200), t <= 50);
    }
}

static void a_range_is_a_geometric_row(void **state) {
    (void)state;
    adze_train_opts o = schedule_of(ADZE_RANGE);
    o.min_lr = 0.008;
    for (int64_t t = 0; t < 21; t++) {
        near(adze_schedule_lr(&o, t, 7, 21), 0.008 * pow(10, (double)t / 10), "range", t);
    }
}

static void warm_up_goes_before_all(void **state) {
    (void)state;
    for (int k = 0; k < ADZE_NSCHEDULES; k++) {
        adze_train_opts o = schedule_of(k);
        o.warmup_epochs = 1.5;
        o.start_div = 4;
        o.min_lr = 0.1;
        const double top = k == ADZE_ONE_CYCLE ? 0.2 : k == ADZE_RANGE ? 0.1 : 0.8; /* what the schedule itself begins with */
        for (int64_t t = 0; t < 15; t++) {
            near(adze_schedule_lr(&o, t, 10, 100), top * (double)(t + 1) / 15, "warm-up", t);
        }
        near(adze_schedule_lr(&o, 15, 10, 100), top, "the top", 15);
        assert_true(adze_schedule_lr(&o, 99, 10, 100) >= 0.1 - 1e-12);
    }
}

/* An improvement that can never be large enough: after the first epoch, every second epoch brings a cut. */
static void a_plateau_cuts_and_remembers(void **state) {
    (void)state;
    char dir[256];
    setting s = usual(tiny_net);
    s.o.schedule = ADZE_PLATEAU;
    s.o.plateau_patience = 2;
    s.o.min_delta = 1e3;
    s.o.gamma = 0.5;
    s.o.epochs = 6;
    s.o.lr = 0.08;
    s.o.min_lr = 0.03;
    bench want = {0}, b = {0};
    train(&want, &s, false);
    static const double rates[] = {0.08, 0.08, 0.08, 0.04, 0.04, 0.03};
    const adze_epoch_stats *h;
    assert_int_equal(adze_trainer_history(want.t, &h), 6);
    for (int e = 0; e < 6; e++) {
        near(h[e].lr, rates[e], "plateau, epoch", e);
    }
    train_in_two(&b, &s, dir, sizeof dir, 38);
    same_hash(&want, &b, "stopping and resuming");
    bench_close(&b);
    bench_close(&want);
    faulty_folder_drop(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(milestones_cut_where_they_are),       cmocka_unit_test(a_polynomial_ends_at_its_floor),
        cmocka_unit_test(restarts_begin_anew_and_last_longer), cmocka_unit_test(one_cycle_rises_and_falls),
        cmocka_unit_test(a_range_is_a_geometric_row),          cmocka_unit_test(warm_up_goes_before_all),
        cmocka_unit_test(a_plateau_cuts_and_remembers),
    };
    make_data();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
