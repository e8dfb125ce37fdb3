/* Minimisers: what theory promises, and recorded runs of SciPy and liblbfgs on functions of More, Garbow, Hillstrom (ACM TOMS 7(1), 1981). */
#include "faulty.h"

#include "adze/minimize.h"
#include "base/base.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "reference/mgh.inc"
#include "reference/minimize.inc"

static adze_ctx *ctx;

#define OK(call) assert_string_equal((call) == ADZE_OK ? "" : adze_errmsg(ctx), "")

/* -- functions -- */

static int mgh_fn(void *user, const double *x, double *f, double *g) {
    *f = mgh_value(*(const int *)user, x, g);
    return ADZE_OK;
}

/* The Hessian by central differences of the gradient: for tests of the path, not of the precision. */
static int mgh_hessian(void *user, const double *x, adze_la_mat h) {
    const int i = *(const int *)user, n = mgh[i].n;
    double at[MGH_MOST], up[MGH_MOST], down[MGH_MOST];
    memcpy(at, x, sizeof *at * (size_t)n);
    for (int k = 0; k < n; k++) {
        const double step = 1e-5 * fmax(1, fabs(x[k]));
        at[k] = x[k] + step;
        mgh_value(i, at, up);
        at[k] = x[k] - step;
        mgh_value(i, at, down);
        at[k] = x[k];
        for (int j = 0; j < n; j++) {
            h.at[j * h.ld + k] = (up[j] - down[j]) / (2 * step);
        }
    }
    return ADZE_OK;
}

enum { QUADRATIC = 12 };

typedef struct quadratic { /* x'Ax / 2 - b'x */
    double a[QUADRATIC * QUADRATIC], b[QUADRATIC];
} quadratic;

static int quadratic_fn(void *user, const double *x, double *f, double *g) {
    const quadratic *q = user;
    *f = 0;
    for (int i = 0; i < QUADRATIC; i++) {
        double sum = 0;
        for (int j = 0; j < QUADRATIC; j++) {
            sum += q->a[i * QUADRATIC + j] * x[j];
        }
        g[i] = sum - q->b[i];
        *f += x[i] * (sum / 2 - q->b[i]);
    }
    return ADZE_OK;
}

static int quadratic_hessian(void *user, const double *x, adze_la_mat h) {
    (void)x;
    memcpy(h.at, ((const quadratic *)user)->a, sizeof(double) * QUADRATIC * QUADRATIC);
    return ADZE_OK;
}

static void random_quadratic(quadratic *q) {
    adze_rng r = adze_rng_make(3, 1);
    double m[QUADRATIC * QUADRATIC];
    for (int i = 0; i < QUADRATIC * QUADRATIC; i++) {
        m[i] = adze_rng_normal(&r);
    }
    const adze_la_mat v = adze_la_dense(m, QUADRATIC, QUADRATIC);
    OK(adze_la_matmul(ctx, v, true, v, false, adze_la_dense(q->a, QUADRATIC, QUADRATIC)));
    for (int i = 0; i < QUADRATIC; i++) {
        q->a[i * (QUADRATIC + 1)] += 1;
        q->b[i] = adze_rng_normal(&r);
    }
}

static adze_min_result run_mgh(int i, adze_min_opts o, double *x) {
    const adze_min_fn fn = {.n = mgh[i].n, .value = mgh_fn, .hessian = mgh_hessian, .user = &i};
    adze_min_result r;
    o.size = sizeof o;
    mgh_start(i, x);
    OK(adze_minimize(ctx, &fn, x, &o, NULL, &r));
    return r;
}

/* -- tests -- */

/* Each may need up to 1.2 times the evaluations of the recorded runs of its own method. */
static void test_as_few_evaluations_as_scipy_and_liblbfgs(void **state) {
    (void)state;
    int bad = 0;
    for (int i = 0; i < MGH_COUNT; i++) {
        double x[MGH_MOST];
        const struct recorded *t = &recorded[i];
        assert_string_equal(t->name, mgh[i].name);
        adze_min_result b = run_mgh(i, (adze_min_opts){.method = ADZE_MIN_BFGS}, x), l = run_mgh(i, (adze_min_opts){.method = ADZE_MIN_LBFGS}, x);
        printf("%-22s bfgs %3lld (scipy %3lld)  lbfgs %3lld (l-bfgs-b %3lld, liblbfgs %3lld)  f %g %g\n", t->name, (long long)b.evals,
               (long long)t->bfgs, (long long)l.evals, (long long)t->lbfgsb, (long long)t->liblbfgs, b.f, l.f);
        bad += (double)b.evals > 1.2 * (double)t->bfgs;
        bad += (double)l.evals > 1.2 * (double)t->lbfgsb || (double)l.evals > 1.2 * (double)t->liblbfgs;
        bad += fabs(b.f - mgh[i].least) > 1e-6 || fabs(l.f - mgh[i].least) > 1e-6;
    }
    assert_int_equal(bad, 0);
}

static void test_bfgs_solves_a_quadratic_in_n_steps_and_knows_its_inverse(void **state) {
    (void)state;
    quadratic q;
    double x[QUADRATIC] = {0}, h[QUADRATIC * QUADRATIC], product[QUADRATIC * QUADRATIC];
    random_quadratic(&q);
    const adze_min_fn fn = {.n = QUADRATIC, .value = quadratic_fn, .user = &q};
    adze_la_mat hm = adze_la_dense(h, QUADRATIC, QUADRATIC);
    adze_min_result r;
    const adze_min_opts o = {.size = sizeof o, .method = ADZE_MIN_BFGS, .exact = true, .scale = ADZE_MIN_SCALE_NONE, .gtol = 1e-8};
    OK(adze_minimize(ctx, &fn, x, &o, &hm, &r));
    assert_true(r.steps <= QUADRATIC);
    OK(adze_la_matmul(ctx, adze_la_dense(q.a, QUADRATIC, QUADRATIC), false, hm, false, adze_la_dense(product, QUADRATIC, QUADRATIC)));
    for (int i = 0; i < QUADRATIC * QUADRATIC; i++) {
        assert_true(fabs(product[i] - (i % (QUADRATIC + 1) == 0)) < 1e-8);
    }
}

typedef struct path {
    int n, steps;
    double x[200][MGH_MOST];
} path;
static path paths[2];
static int which;

static int record(void *user, int64_t step, const double *x, double f, const double *g) {
    (void)user, (void)f, (void)g;
    path *p = &paths[which];
    assert_true(step <= 200);
    p->steps = (int)step;
    memcpy(p->x[step - 1], x, sizeof *x * (size_t)p->n);
    return ADZE_OK;
}

static void test_lbfgs_that_forgets_nothing_is_bfgs(void **state) {
    (void)state;
    int problem = 4; /* wood */
    const adze_min_fn fn = {.n = mgh[problem].n, .value = mgh_fn, .step = record, .user = &problem};
    for (which = 0; which < 2; which++) {
        double x[MGH_MOST];
        adze_min_result r;
        adze_min_opts o = {.size = sizeof o, .method = which ? ADZE_MIN_LBFGS : ADZE_MIN_BFGS, .m = 200, .scale = ADZE_MIN_SCALE_NONE, .steps = 20};
        paths[which].n = mgh[problem].n;
        mgh_start(problem, x);
        OK(adze_minimize(ctx, &fn, x, &o, NULL, &r));
        assert_int_equal(r.steps, 20);
    }
    for (int k = 0; k < 20; k++) {
        for (int i = 0; i < paths[0].n; i++) {
            assert_true(fabs(paths[0].x[k][i] - paths[1].x[k][i]) < 1e-6);
        }
    }
}

static void test_lbfgs_with_m_of_n_is_bfgs_on_a_quadratic(void **state) {
    (void)state;
    quadratic q;
    random_quadratic(&q);
    const adze_min_fn fn = {.n = QUADRATIC, .value = quadratic_fn, .step = record, .user = &q};
    for (which = 0; which < 2; which++) {
        double x[QUADRATIC] = {0};
        adze_min_result r;
        adze_min_opts o = {.size = sizeof o,
                           .method = which ? ADZE_MIN_LBFGS : ADZE_MIN_BFGS,
                           .m = QUADRATIC,
                           .gtol = 1e-8,
                           .exact = true,
                           .scale = ADZE_MIN_SCALE_NONE};
        paths[which].n = QUADRATIC;
        OK(adze_minimize(ctx, &fn, x, &o, NULL, &r));
        assert_true(r.steps <= QUADRATIC);
    }
    assert_int_equal(paths[0].steps, paths[1].steps);
    for (int k = 0; k < paths[0].steps; k++) {
        for (int i = 0; i < QUADRATIC; i++) {
            assert_true(fabs(paths[0].x[k][i] - paths[1].x[k][i]) < 1e-8);
        }
    }
}

static void test_rosenbrock_in_forty_steps_of_bfgs(void **state) {
    (void)state;
    double x[MGH_MOST];
    adze_min_result r = run_mgh(0, (adze_min_opts){.method = ADZE_MIN_BFGS, .gtol = 1e-7}, x);
    printf("rosenbrock: f %g after %lld steps\n", r.f, (long long)r.steps);
    assert_true(r.f < 1e-12 && r.steps <= 40);
}

static double errors[100];
static int newton_record(void *user, int64_t step, const double *x, double f, const double *g) {
    (void)user, (void)f, (void)g;
    errors[step] = hypot(x[0] - 1, x[1] - 1);
    return ADZE_OK;
}

static int rosenbrock_hessian(void *user, const double *x, adze_la_mat h) {
    (void)user;
    h.at[0] = 1200 * x[0] * x[0] - 400 * x[1] + 2;
    h.at[2] = h.at[1] = -400 * x[0];
    h.at[3] = 200;
    return ADZE_OK;
}

/* The error's exponent doubles: e(k+1) <= C e(k)^2 with one C for the last steps. */
static void test_newton_converges_quadratically(void **state) {
    (void)state;
    int problem = 0, fast = 0;
    double x[MGH_MOST];
    adze_min_result r;
    const adze_min_fn fn = {.n = 2, .value = mgh_fn, .hessian = rosenbrock_hessian, .step = newton_record, .user = &problem};
    const adze_min_opts o = {.size = sizeof o, .method = ADZE_MIN_NEWTON, .gtol = 1e-10};
    mgh_start(problem, x);
    OK(adze_minimize(ctx, &fn, x, &o, NULL, &r));
    assert_int_equal(r.why, ADZE_MIN_GRADIENT);
    for (int64_t k = 2; k <= r.steps; k++) {
        if (errors[k - 1] < 0.05 && errors[k] > 1e-15) {
            assert_true(errors[k] <= 100 * errors[k - 1] * errors[k - 1]);
            fast++;
        }
    }
    assert_true(fast >= 2);
}

static void test_newton_takes_one_step_on_a_quadratic(void **state) {
    (void)state;
    quadratic q;
    double x[QUADRATIC] = {0};
    random_quadratic(&q);
    const adze_min_fn fn = {.n = QUADRATIC, .value = quadratic_fn, .hessian = quadratic_hessian, .user = &q};
    const adze_min_opts o = {.size = sizeof o, .method = ADZE_MIN_NEWTON, .gtol = 1e-10};
    adze_min_result r;
    OK(adze_minimize(ctx, &fn, x, &o, NULL, &r));
    assert_int_equal(r.steps, 1);
    assert_true(r.gradient <= 1e-10);
}

/* x^4/4 - x^2/2 + y^2/2: a saddle at the origin, where the gradient is 0; minima at (1, 0) and (-1, 0), both -1/4. */
static int saddle_fn(void *user, const double *x, double *f, double *g) {
    (void)user;
    *f = pow(x[0], 4) / 4 - x[0] * x[0] / 2 + x[1] * x[1] / 2;
    g[0] = pow(x[0], 3) - x[0];
    g[1] = x[1];
    return ADZE_OK;
}
static int saddle_hessian(void *user, const double *x, adze_la_mat h) {
    (void)user;
    h.at[0] = 3 * x[0] * x[0] - 1;
    h.at[1] = h.at[2] = 0;
    h.at[3] = 1;
    return ADZE_OK;
}

static void test_newton_leaves_a_saddle(void **state) {
    (void)state;
    const adze_min_fn fn = {.n = 2, .value = saddle_fn, .hessian = saddle_hessian};
    const adze_min_opts o = {.size = sizeof o, .method = ADZE_MIN_NEWTON, .gtol = 1e-9};
    const double starts[][2] = {{0, 0}, {0.1, 0.5}, {0, 1}};
    for (size_t i = 0; i < ADZE_COUNT(starts); i++) {
        double x[2] = {starts[i][0], starts[i][1]};
        adze_min_result r;
        OK(adze_minimize(ctx, &fn, x, &o, NULL, &r));
        assert_true(fabs(r.f + 0.25) < 1e-12);
    }
}

static void test_every_method_finds_the_minimum_of_a_quadratic(void **state) {
    (void)state;
    quadratic q;
    random_quadratic(&q);
    const adze_min_fn fn = {.n = QUADRATIC, .value = quadratic_fn, .hessian = quadratic_hessian, .user = &q};
    double best = 0;
    for (int method = ADZE_MIN_METHODS - 1; method >= 0; method--) { /* newton first: it is the truth */
        double x[QUADRATIC] = {0};
        adze_min_result r;
        const adze_min_opts o = {.size = sizeof o, .method = method, .steps = 20000, .gtol = 1e-7};
        OK(adze_minimize(ctx, &fn, x, &o, NULL, &r));
        best = method == ADZE_MIN_NEWTON ? r.f : best;
        printf("%-7s %lld steps, %lld evaluations\n", adze_min_name(method), (long long)r.steps, (long long)r.evals);
        assert_int_equal(r.why, ADZE_MIN_GRADIENT);
        assert_true(fabs(r.f - best) < 1e-10 * fabs(best));
    }
    assert_null(adze_min_name(ADZE_MIN_METHODS));
}

static void test_limits_are_kept_and_nonsense_is_refused(void **state) {
    (void)state;
    double x[MGH_MOST];
    adze_min_result r = run_mgh(0, (adze_min_opts){.method = ADZE_MIN_GD, .steps = 5}, x);
    assert_int_equal(r.why, ADZE_MIN_STEPS);
    assert_int_equal(r.steps, 5);
    r = run_mgh(0, (adze_min_opts){.method = ADZE_MIN_GD, .evals = 17}, x);
    assert_int_equal(r.why, ADZE_MIN_EVALS);
    assert_true(r.evals <= 18);
    int problem = 0;
    const adze_min_fn fn = {.n = 2, .value = mgh_fn, .user = &problem};
    adze_min_opts o = {.size = sizeof o, .method = ADZE_MIN_NEWTON};
    assert_int_equal(adze_minimize(ctx, &fn, x, &o, NULL, &r), ADZE_EARG);
    o.method = ADZE_MIN_BFGS;
    x[0] = NAN;
    assert_int_equal(adze_minimize(ctx, &fn, x, &o, NULL, &r), ADZE_EARG);
    x[0] = 1e200; /* the function overflows */
    assert_int_equal(adze_minimize(ctx, &fn, x, &o, NULL, &r), ADZE_EARG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_few_evaluations_as_scipy_and_liblbfgs),
        cmocka_unit_test(test_bfgs_solves_a_quadratic_in_n_steps_and_knows_its_inverse),
        cmocka_unit_test(test_lbfgs_that_forgets_nothing_is_bfgs),
        cmocka_unit_test(test_lbfgs_with_m_of_n_is_bfgs_on_a_quadratic),
        cmocka_unit_test(test_rosenbrock_in_forty_steps_of_bfgs),
        cmocka_unit_test(test_newton_converges_quadratically),
        cmocka_unit_test(test_newton_takes_one_step_on_a_quadratic),
        cmocka_unit_test(test_newton_leaves_a_saddle),
        cmocka_unit_test(test_every_method_finds_the_minimum_of_a_quadratic),
        cmocka_unit_test(test_limits_are_kept_and_nonsense_is_refused),
    };
    if (adze_ctx_new(NULL, &ctx) != ADZE_OK) {
        return 1;
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    adze_ctx_free(ctx);
    return failed;
}
