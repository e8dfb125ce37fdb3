/* Around every optimiser: lookahead and SAM, groups, clipping, what is refused; resumes and threads change no bit; the table describes itself. */
#include "optwalk.h"

/* -- wrappers, groups, clipping ------------------------------------------------------------------------------------------------------------------ */

static void lookahead_moves_slow_weights_every_k_steps(void **state) {
    (void)state;
    const trial *c = find_trial("momentum");
    adze_train_opts o = options_of(c);
    walk k = walk_of(c);
    double g[W], w[W];
    runner r;
    o.lookahead_k = 5;
    o.lookahead_alpha = 0.8;
    runner_open(&r, &o);
    for (int t = 1; t <= STEPS; t++) {
        quadratic(k.w, g);
        walk_step(&k, c->ref, g);
        for (int i = 0; i < W && t % 5 == 0; i++) {
            k.slow[i] += 0.8 * (k.w[i] - k.slow[i]);
            k.w[i] = k.slow[i];
        }
        runner_step(&r, g);
        get(&r, w);
        assert_true(distance(w, k.w) < 1e-12);
    }
    runner_close(&r);
}

static void sam_climbs_and_comes_back_to_the_bit(void **state) {
    (void)state;
    adze_train_opts o = options_of(find_trial("sgd"));
    double g[W], w[W], high[W], back[W];
    runner r;
    o.sam = 0.5;
    runner_open(&r, &o);
    get(&r, w);
    quadratic(w, g);
    put(&r, r.steps.grads, g);
    fine(&r, adze_steps_climb(&r.steps, size_of(g, 0, W)));
    get(&r, high);
    for (int i = 0; i < W; i++) {
        assert_true(fabs(high[i] - (w[i] + 0.5 * g[i] / size_of(g, 0, W))) < 1e-14);
    }
    fine(&r, adze_steps_return(&r.steps));
    get(&r, back);
    assert_memory_equal(w, back, sizeof w);
    runner_close(&r);
}

enum { TINY = 64 * 4 + 4 };

/* The gradient that one step of plain descent at rate 1 has followed, from the usual weights moved by `shift`. */
static void one_gradient(double sam, double clip, const double *shift, double *g) {
    setting s = usual(tiny_net);
    bench b = {.stop_at = 1};
    double before[TINY];
    s.o.optimizer = ADZE_SGD;
    s.o.dtype = 1;
    s.o.lr = 1;
    s.o.l2 = 0;
    s.o.schedule = ADZE_CONSTANT;
    s.o.sam = sam;
    s.o.clip_value = clip;
    must(&b, bench_open(&b, &s));
    for (int pass = 0; pass < 2; pass++) {
        int at = 0;
        for (int k = 0; k < 2; k++) {
            adze_tensor x;
            adze_store *store = adze_trainer_store(b.t);
            must(&b, adze_store_tensor(store, adze_store_find(store, k ? "fc1:b" : "fc1:w"), &x));
            for (int i = 0; i < (k ? 4 : TINY - 4); i++, at++) {
                if (pass == 0) {
                    before[at] = adze_tensor_get(&x, i) + shift[at];
                    adze_tensor_set(&x, i, before[at]);
                } else {
                    g[at] = before[at] - adze_tensor_get(&x, i);
                }
            }
        }
        if (pass == 0) {
            assert_int_equal(adze_trainer_run(b.t, NULL), ADZE_ESTOPPED);
        }
    }
    bench_close(&b);
}

/* The whole way, whatever clips the gradient that the step takes there. */
static void sam_takes_the_gradient_up_the_slope(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        double shift[TINY] = {0}, plain[TINY], sharp[TINY], want[TINY], size = 0, most = 0, apart = 0, clip = k * 1e-3;
        one_gradient(0, 0, shift, plain);
        one_gradient(0.3, clip, shift, sharp);
        for (int i = 0; i < TINY; i++) {
            size += plain[i] * plain[i];
        }
        for (int i = 0; i < TINY; i++) {
            shift[i] = 0.3 * plain[i] / sqrt(size);
        }
        one_gradient(0, clip, shift, want);
        for (int i = 0; i < TINY; i++) {
            most = fmax(most, fabs(sharp[i] - want[i]));
            apart = fmax(apart, fabs(sharp[i] - plain[i]));
        }
        assert_true(most < 1e-12 && apart > 1e-3);
    }
}

/* Running statistics are those of the weights that stay: one step with sam leaves the same as one without. */
static void sam_keeps_the_statistics_of_its_first_pass(void **state) {
    (void)state;
    double seen[2][64] = {{0}};
    int n = 0;
    for (int k = 0; k < 2; k++) {
        setting s = usual(full_net);
        bench b = {.stop_at = 1};
        s.o.sam = k * 0.5;
        must(&b, bench_open(&b, &s));
        assert_int_equal(adze_trainer_run(b.t, NULL), ADZE_ESTOPPED);
        adze_store *store = adze_trainer_store(b.t);
        n = 0;
        for (int i = 0; i < adze_store_count(store); i++) {
            adze_tensor x;
            if (strstr(adze_store_name(store, i), ":mean") == NULL && strstr(adze_store_name(store, i), ":var") == NULL) {
                continue;
            }
            must(&b, adze_store_tensor(store, i, &x));
            const adze_type type = adze_tensor_type(&x);
            for (int64_t j = 0; j < adze_type_count(&type) && n < 64; j++) {
                seen[k][n++] = adze_tensor_get(&x, j);
            }
        }
        bench_close(&b);
    }
    assert_true(n > 1);
    assert_memory_equal(seen[0], seen[1], sizeof seen[0]);
}

static void groups_scale_rate_and_decay(void **state) {
    (void)state;
    double rate, decay;
    adze_groups_find("*:lr=2,decay=1", "fc1:b", false, &rate, &decay); /* a factor makes nothing of what has no decay */
    assert_true(rate == 2 && decay == 0);
    for (int m = 0; m < 3; m++) { /* one of the ops, one of the chains, one that decouples */
        const trial *c = find_trial(m == 0 ? "momentum" : m == 1 ? "heavy_ball" : "lion");
        adze_train_opts o = options_of(c);
        walk plain = walk_of(c), other = walk_of(c);
        double g[W], w[W];
        runner r;
        strcpy(o.groups, "*:w:decay=0;fc?:b:lr=0.25;*:lr=7");
        other.rate *= 0.25;
        plain.l2 = plain.decay = 0;
        runner_open(&r, &o);
        for (int t = 1; t <= 20; t++) {
            get(&r, w);
            quadratic(w, g);
            runner_step(&r, g);
            walk_step(&plain, c->ref, g);
            walk_step(&other, c->ref, g);
            get(&r, w);
            memcpy(plain.w + MATRIX, other.w + MATRIX, sizeof(double) * (W - MATRIX));
            assert_true(distance(w, plain.w) < 1e-12);
        }
        runner_close(&r);
    }
}

static void must_refuse(const adze_train_opts *o, const char *what) {
    runner r;
    assert_int_equal(runner_try(&r, o, linear_net), ADZE_EARG);
    if (strstr(adze_errmsg(r.ctx), what) == NULL) {
        fail_msg("expected '%s' in: %s", what, adze_errmsg(r.ctx));
    }
    runner_close(&r);
}

static void what_makes_no_sense_is_refused(void **state) {
    (void)state;
    static const char *const bad[][2] = {{"conv*:lr=2", "no parameter has a name like 'conv*'"},
                                         {"lr=2", "form"},
                                         {"*:w:rate=2", "form"},
                                         {"*:w:lr=", "form"},
                                         {"*:w:lr=-1", "form"},
                                         {"*:w:lr=1,,decay=0", "form"},
                                         {";", "form"}};
    adze_train_opts o = options_of(find_trial("sgd"));
    for (size_t i = 0; i < ADZE_COUNT(bad); i++) {
        strcpy(o.groups, bad[i][0]);
        must_refuse(&o, bad[i][1]);
    }
    o = options_of(find_trial("adam"));
    o.weight_decay = 0.1;
    must_refuse(&o, "use l2");
    o = options_of(find_trial("sgd"));
    o.clip_norm = o.clip_agc = 1;
    must_refuse(&o, "give one of them");
    o = options_of(find_trial("sgd"));
    o.sam = 0.1;
    o.accumulate = 2;
    must_refuse(&o, "accumulate must be 1");
}

/* One step of plain descent at rate 1: the change is the clipped gradient. */
static void clipped(const adze_train_opts *o, const char *net, const double *g, double *out) {
    double before[W];
    runner r;
    int st = runner_try(&r, o, net);
    fine(&r, st);
    get(&r, before);
    runner_step(&r, g);
    get(&r, out);
    for (int i = 0; i < W; i++) {
        out[i] = before[i] - out[i];
    }
    runner_close(&r);
}

static void clipping_bounds_what_it_says(void **state) {
    (void)state;
    adze_train_opts o = options_of(find_trial("sgd"));
    double g[W], c[W], w[W];
    walk start;
    walk_start(&start);
    memcpy(w, start.w, sizeof w);
    quadratic(w, g);
    o.lr = 1;
    o.clip_tensor = 2;
    clipped(&o, linear_net, g, c);
    assert_true(fabs(size_of(c, 0, MATRIX) - 2) < 1e-12 && fabs(size_of(c, MATRIX, W) - 2) < 1e-12 && size_of(g, 0, MATRIX) > 2);
    assert_true(fabs(c[0] / c[1] - g[0] / g[1]) < 1e-12);
    o.clip_tensor = 100;
    clipped(&o, linear_net, g, c);
    assert_true(distance(c, g) < 1e-12);
    o.clip_tensor = 0;
    o.clip_agc = 0.01;
    clipped(&o, linear_net, g, c);
    assert_true(distance(c, g) < 1e-12); /* the last layer is left alone, and there is no other */
    o.clip_agc = 0.5;
    clipped(&o, deep_net, g, c);
    for (int k = 0; k < 4; k++) { /* the three columns of the matrix, and the vector as a whole */
        double wide[W] = {0}, now[W] = {0}, was[W] = {0};
        for (int i = k < 3 ? k : MATRIX; i < (k < 3 ? MATRIX : W); i += k < 3 ? 3 : 1) {
            wide[i] = w[i];
            now[i] = c[i];
            was[i] = g[i];
        }
        const double most = 0.5 * fmax(size_of(wide, 0, W), 1e-3), size = size_of(was, 0, W);
        assert_true(fabs(size_of(now, 0, W) - fmin(size, most)) < 1e-12);
        for (int i = 0; i < W; i++) {
            assert_true(fabs(now[i] - was[i] * fmin(1, most / size)) < 1e-12);
        }
    }
}

/* -- through the trainer ------------------------------------------------------------------------------------------------------------------------- */

static setting each_way(int optimizer) {
    setting s = usual(full_net);
    s.o.optimizer = optimizer;
    s.o.batch = 40;
    s.o.epochs = 1;
    s.o.dtype = optimizer % 2;
    s.o.lookahead_k = optimizer % 3 == 0 ? 2 : 0;
    s.o.sam = optimizer % 3 == 1 ? 0.05 : 0;
    s.o.clip_agc = optimizer % 4 == 2 ? 0.1 : 0;
    s.o.clip_tensor = optimizer % 4 == 3 ? 0.5 : 0;
    if (optimizer % 5 == 0) {
        strcpy(s.o.groups, "*:b:lr=2;fc1:w:decay=0");
    }
    return s;
}

static void stopping_and_threads_change_no_bit(void **state) {
    (void)state;
    for (int k = 0; k < FIRST_ORDER; k++) {
        char dir[256];
        setting s = each_way(k);
        bench want = {0}, b = {0};
        train(&want, &s, false);
        s.threads = 1;
        train(&b, &s, false);
        same_hash(&want, &b, "the number of threads");
        bench_close(&b);
        train_in_two(&b, &s, dir, sizeof dir, 3);
        same_hash(&want, &b, "stopping and resuming");
        bench_close(&b);
        faulty_folder_drop(dir);
        bench_close(&want);
    }
}

static void every_optimizer_learns_with_its_usual_settings(void **state) {
    (void)state;
    for (int k = 0; k < FIRST_ORDER; k++) {
        setting s = usual(plain_net);
        s.o.optimizer = k;
        s.o.epochs = 4;
        s.o.batch = k == ADZE_RPROP ? 160 : 8;
        s.o.epochs *= k == ADZE_RPROP ? 5 : k == ADZE_LION ? 3 : 1;
        bench b = {0};
        train(&b, &s, false);
        const adze_epoch_stats *h;
        const int64_t n = adze_trainer_history(b.t, &h);
        if (!(h[n - 1].loss < 0.9 * h[0].loss)) {
            fail_msg("optimizer %d: loss %g after %g", k, h[n - 1].loss, h[0].loss);
        }
        bench_close(&b);
    }
}

static void bf16_trains_with_all(void **state) {
    (void)state;
    for (int k = 0; k < FIRST_ORDER; k += k < ADZE_SHAMPOO - 2 ? 3 : 1) {
        setting s = each_way(k);
        s.o.dtype = 0;
        s.o.precision = ADZE_PRECISION_BF16;
        s.o.epochs = 2;
        bench b = {0};
        train(&b, &s, false);
        const adze_epoch_stats *h;
        assert_int_equal(adze_trainer_history(b.t, &h), 2);
        assert_true(isfinite(h[1].loss));
        bench_close(&b);
    }
}

static void the_table_describes_itself(void **state) {
    (void)state;
    const char *name, *formula;
    char more[500];
    for (int i = 0; i < ADZE_NOPTIMIZERS; i++) {
        assert_int_equal(adze_optimizer_known(i, &name, &formula, more, sizeof more), ADZE_OK);
        assert_true(strlen(name) >= 2 && strlen(formula) > 5 && strstr(more, "lr ") == more && strchr(more, '(') != NULL);
        assert_int_equal(more[strlen(more) - 1], ')');
    }
    assert_int_equal(adze_optimizer_known(ADZE_NOPTIMIZERS, &name, &formula, more, sizeof more), ADZE_EARG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookahead_moves_slow_weights_every_k_steps),
        cmocka_unit_test(sam_climbs_and_comes_back_to_the_bit),
        cmocka_unit_test(sam_takes_the_gradient_up_the_slope),
        cmocka_unit_test(sam_keeps_the_statistics_of_its_first_pass),
        cmocka_unit_test(groups_scale_rate_and_decay),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(clipping_bounds_what_it_says),
        cmocka_unit_test(stopping_and_threads_change_no_bit),
        cmocka_unit_test(every_optimizer_learns_with_its_usual_settings),
        cmocka_unit_test(bf16_trains_with_all),
        cmocka_unit_test(the_table_describes_itself),
    };
    make_data();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
