/* Optimisers: every row of the table walks as its paper's formula says and as PyTorch does; the wrong formulas that go round do what they must; what
 * the methods are to each other. */
#include "optwalk.h"
#include "test_optimizer_torch.inc"

/* -- trajectories -------------------------------------------------------------------------------------------------------------------------------- */

/* At a gradient, the penalty's included, of 1e-6 of the first: what is divided by its own size is rounding from there on. */
static bool arrived(const trial *c, const double *w, const double *g, double *g0) {
    double with[W];
    for (int i = 0; i < W; i++) {
        with[i] = g[i] + (i < MATRIX ? c->l2 * w[i] : 0);
    }
    const double size = size_of(with, 0, W);
    *g0 = *g0 > 0 ? *g0 : size;
    return size <= 1e-6 * *g0;
}

/* Farthest from its formula that a trial comes in 500 steps, as long as the gradient is more than 1e-6 of the first. */
static double farthest(const trial *c, void (*slope)(const double *w, double *g), double *moved) {
    walk k = walk_of(c);
    const adze_train_opts o = options_of(c);
    double g[W], w[W], first[W], most = 0, g0 = 0;
    runner r;
    runner_open(&r, &o);
    memcpy(first, k.w, sizeof first);
    for (int t = 1; t <= LONG; t++) {
        slope(k.w, g);
        if (arrived(c, k.w, g, &g0)) {
            break;
        }
        walk_step(&k, c->ref, g);
        get(&r, w);
        slope(w, g);
        runner_step(&r, g);
        get(&r, w);
        const double d = distance(w, k.w);
        most = d <= most ? most : d;
    }
    *moved = distance(w, first);
    runner_close(&r);
    return most;
}

static void every_row_walks_as_its_formula(void **state) {
    (void)state;
    bool seen[FIRST_ORDER] = {false};
    for (size_t c = 0; c < ADZE_COUNT(trials); c++) {
        for (size_t p = 0; p < ADZE_COUNT(problems); p++) {
            double moved;
            const double d = farthest(&trials[c], problems[p], &moved);
            if (!(d <= 1e-10) || !(moved > 0.01)) {
                fail_msg("%s, problem %zu: %g away from its formula after a way of %g", trials[c].name, p, d, moved);
            }
        }
        seen[trials[c].optimizer] = true;
    }
    for (int i = 0; i < FIRST_ORDER; i++) {
        assert_true(seen[i]);
    }
}

static void follow_pytorch(const trial *c, void (*slope)(const double *w, double *g), const double after[3][W]) {
    static const int MARKS[] = {20, 100, LONG};
    const adze_train_opts o = options_of(c);
    double g[W], w[W], g0 = 0;
    runner r;
    runner_open(&r, &o);
    for (int t = 1, m = 0; t <= LONG; t++) {
        get(&r, w);
        slope(w, g);
        if (arrived(c, w, g, &g0)) {
            break;
        }
        runner_step(&r, g);
        get(&r, w);
        if (t == MARKS[m]) {
            const double d = distance(w, after[m++]);
            if (!(d <= 1e-10)) {
                fail_msg("%s: after %d steps %g away from PyTorch", c->name, t, d);
            }
        }
    }
    runner_close(&r);
}

static void trajectories_are_those_of_pytorch(void **state) {
    (void)state;
    for (size_t k = 0; k < ADZE_COUNT(torch_says); k++) {
        for (size_t p = 0; p < ADZE_COUNT(problems); p++) {
            follow_pytorch(find_trial(torch_says[k].name), problems[p], torch_says[k].after[p]);
        }
    }
}

/* f32 follows f64 as far as its digits go. */
static void single_precision_follows(void **state) {
    (void)state;
    for (size_t c = 0; c < ADZE_COUNT(trials); c++) {
        adze_train_opts o = options_of(&trials[c]);
        double g[W], w[W];
        walk k = walk_of(&trials[c]);
        runner r;
        o.dtype = 0;
        runner_open(&r, &o);
        for (int t = 1; t <= 20; t++) {
            quadratic(k.w, g);
            runner_step(&r, g);
            walk_step(&k, trials[c].ref, g);
        }
        get(&r, w);
        if (!(distance(w, k.w) <= 2e-5)) {
            fail_msg("%s in f32: %g away", trials[c].name, distance(w, k.w));
        }
        runner_close(&r);
    }
}

/* All that is neither a norm nor a product is fused: one chain for each output that shares nothing with the others, on each of the two tensors. */
static void updates_are_few_passes(void **state) {
    (void)state;
    for (size_t c = 0; c < ADZE_COUNT(trials) && trials[c].optimizer < ADZE_SHAMPOO; c++) {
        const adze_train_opts o = options_of(&trials[c]);
        const bool norms = o.optimizer == ADZE_LARS || o.optimizer == ADZE_LAMB;
        char *text;
        int chains = 0, others = 0;
        runner r;
        runner_open(&r, &o);
        fine(&r, adze_plan_dump(r.steps.update[ADZE_UPDATE_STEP].plan, &text));
        for (const char *line = strchr(text, '\n'); line != NULL && line[1] != 0; line = strchr(line + 1, '\n')) {
            const size_t n = strcspn(line + 1, "\n") + 1;
            const char *found = strstr(line, " chain ");
            const bool chain = found != NULL && found < line + n;
            found = strstr(line, " assign ");
            chains += chain;
            others += !chain && !(found != NULL && found < line + n);
        }
        if (chains > (norms ? 8 : 4) || (others > 3 && !norms)) { /* the heading and one step of an op for each tensor */
            fail_msg("%s: %d chains and %d others in\n%s", trials[c].name, chains, others, text);
        }
        adze_text_free(r.ctx, text);
        runner_close(&r);
    }
}

/* -- what the wrong formulas do ------------------------------------------------------------------------------------------------------------------ */

/* m = b1 m + (1 + b1) g is adam with 19 times the rate: it trains, and nobody notices. */
static void the_sign_slip_in_adam_is_a_rate_of_nineteen_times(void **state) {
    (void)state;
    const trial *c = find_trial("adam");
    adze_train_opts o = options_of(c);
    double g[W], w[W], wrong[W], m[W] = {0}, v[W] = {0};
    walk start;
    runner r;
    o.l2 = o.eps = 0;
    runner_open(&r, &o);
    walk_start(&start);
    memcpy(wrong, start.w, sizeof wrong);
    for (int t = 1; t <= STEPS; t++) {
        quadratic(wrong, g);
        for (int i = 0; i < W; i++) {
            m[i] = 0.9 * m[i] + (1 + 0.9) * g[i];
            v[i] = 0.99 * v[i] + (1 - 0.99) * g[i] * g[i];
            wrong[i] -= o.lr / 19 * (m[i] / (1 - pow(0.9, t))) / sqrt(v[i] / (1 - pow(0.99, t)));
        }
        get(&r, w);
        quadratic(w, g);
        runner_step(&r, g);
    }
    get(&r, w);
    assert_true(distance(w, wrong) < 1e-12);
    runner_close(&r);
}

/* s += b s + (1 - b) g^2 grows by 1 + b a step, so that the steps die; the right mean keeps them at the rate. */
static void the_sum_slip_in_rmsprop_stops_it(void **state) {
    (void)state;
    trial c = *find_trial("rmsprop");
    c.beta2 = 0.99;
    const adze_train_opts o = options_of(&c);
    double g[W], before[W], w[W], wrong = 0, right = 0;
    runner r;
    runner_open(&r, &o);
    for (int i = 0; i < W; i++) {
        g[i] = 1;
    }
    for (int t = 1; t <= STEPS; t++) {
        wrong += 0.99 * wrong + 0.01;
        right = 0.99 * right + 0.01;
        get(&r, before);
        runner_step(&r, g);
        get(&r, w);
    }
    const double step = before[0] - w[0];
    assert_true(fabs(step - o.lr / (sqrt(right) + o.eps)) < 1e-12 && step > o.lr);
    assert_true(fabs(wrong / (0.01 * (pow(1.99, STEPS) - 1) / 0.99) - 1) < 1e-9); /* 1.99^100 is 8e29 */
    assert_true(step / (o.lr / sqrt(wrong)) > 5e13);
    runner_close(&r);
}

/* Counting from 0 divides 0 by 0 in the first step; ours counts from 1. */
static void counting_steps_from_zero_is_not_a_number(void **state) {
    (void)state;
    const adze_train_opts o = options_of(find_trial("adam"));
    double g[W], w[W];
    for (int64_t from = 0; from < 2; from++) {
        runner r;
        runner_open(&r, &o);
        get(&r, w);
        quadratic(w, g);
        r.t = from - 1;
        runner_step(&r, g);
        get(&r, w);
        assert_int_equal(isfinite(w[0]), from == 1);
        runner_close(&r);
    }
}

/* Without the correction a step is (1 - b1^t) / sqrt(1 - b2^t) of the right one: 3.16 at first, 6.57 at the twelfth. */
static void adam_without_correction_begins_too_fast(void **state) {
    (void)state;
    double g[W], w[2][W], before[2][W];
    runner r[2];
    for (int k = 0; k < 2; k++) {
        adze_train_opts o = options_of(find_trial("adam"));
        o.l2 = 0;
        o.eps = 0;
        o.beta2 = 0.999;
        o.bias_correction = k == 0;
        runner_open(&r[k], &o);
    }
    for (int i = 0; i < W; i++) {
        g[i] = 1;
    }
    for (int t = 1; t <= 12; t++) {
        for (int k = 0; k < 2; k++) {
            get(&r[k], before[k]);
            runner_step(&r[k], g);
            get(&r[k], w[k]);
        }
        const double ratio = (before[1][0] - w[1][0]) / (before[0][0] - w[0][0]);
        assert_true(t > 1 || fabs(ratio - 3.16227766) < 1e-6);
        assert_true(t < 12 || fabs(ratio - 6.57) < 0.005);
    }
    runner_close(&r[0]);
    runner_close(&r[1]);
}

/* The example of Reddi, Kale and Kumar (2018, section 3): gradients 3, -1, -1 with b1 = 0, b2 = 1 / 10. Adam goes the wrong way. */
static void amsgrad_goes_down_where_adam_goes_up(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        trial c = {"", k ? ADZE_AMSGRAD : ADZE_ADAM, NULL, .lr = 0.01, .beta2 = 0.1};
        const adze_train_opts o = options_of(&c);
        double g[W], first[W], w[W];
        runner r;
        runner_open(&r, &o);
        get(&r, first);
        for (int t = 0; t < 300; t++) {
            for (int i = 0; i < W; i++) {
                g[i] = t % 3 == 0 ? 3 : -1;
            }
            runner_step(&r, g);
        }
        get(&r, w);
        assert_true(k ? w[0] < first[0] : w[0] > first[0]);
        runner_close(&r);
    }
}

/* -- what the methods are to each other ---------------------------------------------------------------------------------------------------------- */

/* Runs two trials side by side on the quadratic; the gradients of the second are times as large. */
static double apart(const trial *a, const trial *b, double times) {
    const trial *c[2] = {a, b};
    double g[W], w[2][W], most = 0;
    runner r[2];
    for (int k = 0; k < 2; k++) {
        const adze_train_opts o = options_of(c[k]);
        runner_open(&r[k], &o);
    }
    for (int t = 0; t < STEPS; t++) {
        for (int k = 0; k < 2; k++) {
            get(&r[k], w[k]);
            quadratic(w[k], g);
            for (int i = 0; i < W; i++) {
                g[i] *= k ? times : 1;
            }
            runner_step(&r[k], g);
            get(&r[k], w[k]);
        }
        const double d = distance(w[0], w[1]);
        most = d <= most ? most : d;
    }
    runner_close(&r[0]);
    runner_close(&r[1]);
    return most;
}

static void relations_of_the_papers_hold(void **state) {
    (void)state;
    const trial ahead = {"", ADZE_NESTEROV_AHEAD, NULL, .lr = 0.02, .momentum = 0.9},
                shifted = {"", ADZE_NESTEROV_SHIFTED, NULL, .lr = 0.02, .momentum = 0.9};
    assert_true(apart(&ahead, &shifted, 1) < 1e-12);
    const trial delta = {"", ADZE_ADADELTA, NULL, .lr = 1, .beta2 = 0.95, .eps = 1e-12}; /* its steps have the weights' unit */
    assert_true(apart(&delta, &delta, 1000) < 1e-6);
    const trial adam = {"", ADZE_ADAM, NULL, .lr = 0.01, .beta2 = 0.9, .eps = 0}, slow = {"", ADZE_ADAM, NULL, .lr = 0.01, .beta2 = 0.99, .eps = 0};
    assert_true(apart(&adam, &adam, 1000) < 1e-9 && apart(&adam, &slow, 1) > 1e-3);
    const trial sgd = {"", ADZE_SGD, NULL, .lr = 0.001}, heavy = {"", ADZE_HEAVY_BALL, NULL, .lr = 0.02, .momentum = 0.9, .l2 = 0.1};
    assert_true(apart(&sgd, &sgd, 10) > 0.1);
    assert_true(apart(&heavy, find_trial("momentum"), 1) < 1e-12); /* at a fixed rate the two conventions are one */
}

/* Adam without memory of directions is rmsprop whose mean square is freed of its start at 0. */
static void adam_with_beta1_of_0_is_rmsprop_with_correction(void **state) {
    (void)state;
    const trial c = {"", ADZE_ADAM, NULL, .lr = 0.01, .beta2 = 0.95, .eps = 1e-8};
    const adze_train_opts o = options_of(&c);
    double g[W], w[W], v[W] = {0};
    walk k;
    runner r;
    runner_open(&r, &o);
    walk_start(&k);
    for (int t = 1; t <= STEPS; t++) {
        quadratic(k.w, g);
        for (int i = 0; i < W; i++) {
            v[i] = 0.95 * v[i] + 0.05 * g[i] * g[i];
            k.w[i] -= 0.01 * g[i] / (sqrt(v[i] / (1 - pow(0.95, t))) + 1e-8);
        }
        get(&r, w);
        quadratic(w, g);
        runner_step(&r, g);
    }
    get(&r, w);
    assert_true(distance(w, k.w) < 1e-11);
    runner_close(&r);
}

/* Duchi et al. 2011: under a constant gradient the t-th step is lr / sqrt t, whatever the gradient's size. */
static void adagrad_slows_as_the_root_of_time(void **state) {
    (void)state;
    const trial c = {"", ADZE_ADAGRAD, NULL, .lr = 0.1, .eps = 0};
    const adze_train_opts o = options_of(&c);
    double g[W], before[W], after[W];
    runner r;
    runner_open(&r, &o);
    for (int i = 0; i < W; i++) {
        g[i] = pow(10, i - 4);
    }
    for (int t = 1; t <= STEPS; t++) {
        get(&r, before);
        runner_step(&r, g);
        get(&r, after);
        for (int i = 0; i < W; i++) {
            assert_true(fabs((before[i] - after[i]) * sqrt(t) / 0.1 - 1) < 1e-11);
        }
    }
    runner_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_walks_as_its_formula),
        cmocka_unit_test(trajectories_are_those_of_pytorch),
        cmocka_unit_test(single_precision_follows),
        cmocka_unit_test(updates_are_few_passes),
        cmocka_unit_test(the_sign_slip_in_adam_is_a_rate_of_nineteen_times),
        cmocka_unit_test(the_sum_slip_in_rmsprop_stops_it),
        cmocka_unit_test(counting_steps_from_zero_is_not_a_number),
        cmocka_unit_test(adam_without_correction_begins_too_fast),
        cmocka_unit_test(amsgrad_goes_down_where_adam_goes_up),
        cmocka_unit_test(relations_of_the_papers_hold),
        cmocka_unit_test(adam_with_beta1_of_0_is_rmsprop_with_correction),
        cmocka_unit_test(adagrad_slows_as_the_root_of_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
