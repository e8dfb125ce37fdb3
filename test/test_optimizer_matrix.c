/* Optimisers that see a matrix: what their products cost, what turns change, which slots a parameter gets, sums that overflow. */
#include "optwalk.h"

/* -- rules that see a matrix --------------------------------------------------------------------------------------------------------------------- */

/* Lines of a plan that name an op. */
static int count_steps(const runner *r, int which, const char *op) {
    char *text;
    int n = 0;
    fine(r, adze_plan_dump(r->steps.update[which].plan, &text));
    for (const char *at = text; (at = strstr(at, op)) != NULL; at++) {
        n++;
    }
    adze_text_free(r->ctx, text);
    return n;
}

static void products_are_as_many_as_the_papers_count(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int observe, step;
    } counts[] = {{"shampoo", 2, 2}, {"shampoo of long columns", 1, 1}, {"soap", 2, 6}, {"soap of no bases", 0, 0}, {"muon", 0, 15}};
    for (size_t i = 0; i < ADZE_COUNT(counts); i++) {
        const adze_train_opts o = options_of(find_trial(counts[i].name));
        runner r;
        runner_open(&r, &o);
        assert_int_equal(count_steps(&r, ADZE_UPDATE_STEP, " matmul"), counts[i].step);
        assert_int_equal(r.steps.update[ADZE_UPDATE_OBSERVE].plan != NULL, o.optimizer != ADZE_MUON);
        if (o.optimizer != ADZE_MUON) {
            assert_int_equal(count_steps(&r, ADZE_UPDATE_OBSERVE, " matmul"), counts[i].observe);
        }
        runner_close(&r);
    }
}

/* The quadratic seen through other axes: w = u' x v, g = u (slope at w) v'. */
static void turned_quadratic(const double *u, const double *v, double *x, double *g) {
    double w[W];
    memcpy(w, x, sizeof w);
    multiply(0, u, true, w);
    multiply(1, v, false, w);
    quadratic(w, g);
    memcpy(x, w, sizeof w);
    multiply(0, u, false, g);
    multiply(1, v, true, g);
}

/* Gupta et al. 2018: rows and columns may be turned as they like, and the way is the same but for the turn. Adam's is not. */
static void matrices_may_be_turned(void **state) {
    (void)state;
    static const struct {
        trial t;
        bool turns;
    } cases[] = {{{"", ADZE_SHAMPOO, NULL, .lr = 0.1, .eps = 1e-4, .every = 1}, true},
                 {{"", ADZE_SHAMPOO, NULL, .lr = 0.1, .eps = 1e-4, .every = 1, .most = 1}, false}, /* its diagonal form */
                 {{"", ADZE_SOAP, NULL, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-3, .every = 5}, true},
                 {{"", ADZE_MUON, NULL, .lr = 0.001, .momentum = 0.95, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-7}, true},
                 {{"", ADZE_ADAM, NULL, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-3}, false}};
    double u[4] = {cos(0.7), -sin(0.7), sin(0.7), cos(0.7)}, v[9], values[3];
    const double any[9] = {1, 0.3, -0.2, 0.3, 2, 0.7, -0.2, 0.7, -1};
    jacobi(3, any, values, v);
    for (size_t c = 0; c < ADZE_COUNT(cases); c++) {
        const adze_train_opts o = options_of(&cases[c].t);
        double w[W], x[W], g[W], most = 0;
        runner plain, turned;
        runner_open(&plain, &o);
        runner_open(&turned, &o);
        get(&plain, x);
        multiply(0, u, false, x);
        multiply(1, v, true, x);
        put(&turned, turned.steps.params, x);
        for (int t = 0; t < STEPS; t++) {
            get(&plain, w);
            quadratic(w, g);
            runner_step(&plain, g);
            get(&turned, x);
            turned_quadratic(u, v, x, g);
            most = fmax(most, distance(w, x));
            runner_step(&turned, g);
        }
        if (!(cases[c].turns ? most < 1e-9 : most > 1e-2)) {
            fail_msg("case %zu: %g apart where the axes are turned", c, most);
        }
        runner_close(&plain);
        runner_close(&turned);
    }
}

static void soap_without_a_turn_is_adam(void **state) {
    (void)state;
    const trial soap = {"", ADZE_SOAP, NULL, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .every = 1000000},
                adam = {"", ADZE_ADAM, NULL, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8};
    const adze_train_opts so = options_of(&soap), ao = options_of(&adam);
    double w[W], x[W], g[W];
    runner s, a;
    runner_open(&s, &so);
    runner_open(&a, &ao);
    get(&s, w);
    quadratic(w, g);
    runner_step(&s, g); /* gathers, and makes a basis */
    get(&s, x);
    assert_memory_equal(w, x, sizeof w);
    for (int side = 0; side < 2; side++) {
        adze_tensor basis;
        double apart_from_eye = 0;
        const int n = side ? COLS : ROWS;
        fine(&s, adze_store_tensor(s.store, adze_store_find(s.store, side ? "fc1:w:rbasis" : "fc1:w:lbasis"), &basis));
        for (int i = 0; i < n * n; i++) {
            apart_from_eye = fmax(apart_from_eye, fabs(adze_tensor_get(&basis, i) - (i % n == i / n)));
            adze_tensor_set(&basis, i, i % n == i / n);
        }
        assert_true(apart_from_eye > 0.1);
    }
    for (int t = 0; t < STEPS; t++) {
        get(&a, w);
        quadratic(w, g);
        runner_step(&a, g);
        get(&s, x);
        quadratic(x, g);
        runner_step(&s, g);
        get(&a, w);
        get(&s, x);
        assert_true(distance(w, x) < 1e-12);
    }
    runner_close(&s);
    runner_close(&a);
}

/* A step has the singular vectors of the momentum; each singular value s becomes the quintic's fifth iterate of s / |m|: from 0.002 on within 0.68
 * and 1.203, which its author rounds to 0.7 and 1.2. */
static void muon_makes_singular_values_one(void **state) {
    (void)state;
    enum { M = 12, K = 7 };
    static const char net[] = "{\"name\":\"tall\",\"input\":[12],\"layers\":[{\"type\":\"dense\",\"name\":\"fc1\",\"units\":7},"
                              "{\"type\":\"dense\",\"name\":\"fc2\",\"units\":2}]}";
    const trial c = {"", ADZE_MUON, NULL, .lr = 1, .momentum = 0.95, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-7};
    const adze_train_opts o = options_of(&c);
    double g[M * K], step[M * K], size = 0, s[K], want[K], u[M * K], vt[K * K], inner[K * K];
    adze_tensor w, grad;
    runner r;
    int st = runner_try(&r, &o, net);
    fine(&r, st);
    fine(&r, adze_store_tensor(r.store, r.steps.params[0], &w));
    fine(&r, adze_store_tensor(r.store, r.steps.grads[0], &grad));
    for (int i = 0; i < M * K; i++) {
        g[i] = sin(1 + 2.7 * i + 0.3 * i * i) * pow(0.6, i % K);
        size += g[i] * g[i];
        adze_tensor_set(&grad, i, g[i]);
        step[i] = adze_tensor_get(&w, i);
    }
    fine(&r, adze_steps_update(&r.steps, 1, 1, 1));
    for (int i = 0; i < M * K; i++) {
        step[i] = (step[i] - adze_tensor_get(&w, i)) / (0.2 * sqrt(M));
    }
    fine(&r, adze_la_svd(r.ctx, adze_la_dense(g, M, K), adze_la_dense(u, M, K), want, adze_la_dense(vt, K, K)));
    double room[M * K];
    fine(&r, adze_la_matmul(r.ctx, adze_la_dense(step, M, K), false, adze_la_dense(vt, K, K), true, adze_la_dense(room, M, K)));
    fine(&r, adze_la_matmul(r.ctx, adze_la_dense(u, M, K), true, adze_la_dense(room, M, K), false, adze_la_dense(inner, K, K)));
    for (int i = 0; i < K * K; i++) { /* u' step v: diagonal */
        double x = i / K == i % K ? want[i / K] / sqrt(size) : 0;
        for (int n = 0; n < 5; n++) {
            x = 3.4445 * x - 4.7750 * pow(x, 3) + 2.0315 * pow(x, 5);
        }
        assert_true(fabs(inner[i] - x) < 1e-12);
    }
    fine(&r, adze_la_svd(r.ctx, adze_la_dense(step, M, K), (adze_la_mat){0}, s, (adze_la_mat){0}));
    assert_true(want[K - 1] / sqrt(size) > 0.002 && want[K - 1] < want[0] / 20);
    assert_true(s[0] < 1.203 && s[K - 1] > 0.68);
    runner_close(&r);
}

static void check_slot(bench *b, const char *name, int64_t rows, int64_t cols) {
    adze_store *s = adze_trainer_store(b->t);
    const int at = adze_store_find(s, name);
    if ((at >= 0) != (rows > 0)) {
        fail_msg("'%s' is %sthere", name, at >= 0 ? "" : "not ");
    }
    if (at >= 0) {
        const adze_type t = adze_store_type(s, at);
        assert_int_equal(t.dims[0], rows);
        assert_int_equal(t.rank > 1 ? t.dims[1] : 0, cols);
    }
}

static void tensors_are_matrices_of_their_last_axis(void **state) {
    (void)state;
    static const char net[] = "{\"name\":\"conv\",\"input\":[8,8,1],\"layers\":[{\"type\":\"conv\",\"name\":\"c1\",\"filters\":5,\"kernel\":3},"
                              "{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc\",\"units\":4},"
                              "{\"type\":\"batchnorm\",\"name\":\"bn\"}]}"; /* the last layer is the last that has weights */
    static const struct {
        int optimizer;
        const char *slot;
        int64_t rows, cols;
    } all[] = {{ADZE_SHAMPOO, "c1:w:l", 9, 9},     {ADZE_SHAMPOO, "c1:w:rroot", 5, 5}, {ADZE_SHAMPOO, "fc:w:l", 180, 0},
               {ADZE_SHAMPOO, "fc:w:lroot", 0, 0}, {ADZE_SHAMPOO, "fc:w:r", 4, 4},     {ADZE_SHAMPOO, "fc:b:l", 4, 0},
               {ADZE_SHAMPOO, "fc:b:r", 0, 0},     {ADZE_SOAP, "c1:w:lbasis", 9, 9},   {ADZE_SOAP, "fc:w:l", 0, 0},
               {ADZE_SOAP, "fc:w:rbasis", 4, 4},   {ADZE_SOAP, "fc:b:l", 0, 0},        {ADZE_MUON, "c1:w:v", 0, 0},
               {ADZE_MUON, "c1:b:v", 5, 0},        {ADZE_MUON, "fc:w:v", 180, 4}};
    for (size_t i = 0; i < ADZE_COUNT(all); i++) {
        setting s = usual(net);
        bench b = {0};
        s.o.optimizer = all[i].optimizer;
        s.o.precond_most = 100;
        must(&b, bench_open(&b, &s));
        check_slot(&b, all[i].slot, all[i].rows, all[i].cols);
        bench_close(&b);
    }
}

/* What is gathered is what the step sees: clipped. And a sum that is no longer finite is said before the weights move. */
static void sums_are_of_clipped_gradients_and_finite(void **state) {
    (void)state;
    adze_train_opts o = options_of(find_trial("shampoo"));
    double g[W], w[W], x[W], sum = 0;
    adze_tensor t;
    runner r;
    o.clip_norm = 0.5;
    runner_open(&r, &o);
    get(&r, w);
    quadratic(w, g);
    runner_step(&r, g);
    assert_true(size_of(g, 0, W) > 1);
    fine(&r, adze_store_tensor(r.store, adze_store_find(r.store, "fc1:w:l"), &t));
    sum += adze_tensor_get(&t, 0) + adze_tensor_get(&t, 3);
    fine(&r, adze_store_tensor(r.store, adze_store_find(r.store, "fc1:b:l"), &t));
    sum += adze_tensor_get(&t, 0) + adze_tensor_get(&t, 1) + adze_tensor_get(&t, 2);
    assert_true(fabs(sum - 0.25) < 1e-12);
    runner_close(&r);
    o.clip_norm = 0;
    for (int soap = 0; soap < 2; soap++) {
        o.optimizer = soap ? ADZE_SOAP : ADZE_SHAMPOO;
        o.momentum = 0;
        runner_open(&r, &o);
        get(&r, w);
        for (int i = 0; i < W; i++) {
            g[i] = 1e160;
        }
        put(&r, r.steps.grads, g);
        assert_int_equal(adze_steps_update(&r.steps, 0.1, 1, 1), ADZE_ENAN);
        assert_non_null(strstr(adze_errmsg(r.ctx), "is not finite"));
        get(&r, x);
        assert_memory_equal(w, x, sizeof w);
        runner_close(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_as_many_as_the_papers_count),
        cmocka_unit_test(matrices_may_be_turned),
        cmocka_unit_test(soap_without_a_turn_is_adam),
        cmocka_unit_test(muon_makes_singular_values_one),
        cmocka_unit_test(tensors_are_matrices_of_their_last_axis),
        cmocka_unit_test(sums_are_of_clipped_gradients_and_finite),
    };
    make_data();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
