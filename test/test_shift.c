/* Shifts between samples: distances and chances against known values and against themselves, a shifted Gaussian that is seen, weights that restore a
 * risk. */
#include "adze/data.h"
#include "base/base.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static adze_ctx *ctx;

#define OK(call) assert_string_equal((call) == ADZE_OK ? "" : adze_errmsg(ctx), "")

static void fill(adze_rng *r, double *x, int n, double mean) {
    for (int i = 0; i < n; i++) {
        x[i] = mean + adze_rng_normal(r);
    }
}

/* Distances by hand, with values on both sides; chances of Kolmogorov's table. */
static void distances_are_known(void **state) {
    (void)state;
    double a[] = {3, 1, 2, 2}, b[] = {2, 4, 5}, p;
    assert_true(fabs(adze_ks(a, 4, b, 3, &p) - 2.0 / 3) <= 1e-15); /* at 2: 3/4 and 1/3; at 3: 1 and 1/3 */
    double c[] = {1, 2}, d[] = {1, 2};
    assert_true(adze_ks(c, 2, d, 2, &p) == 0 && p == 1);
    /* n = m = 2000: the quantiles 1.3581 (5 %) and 0.8276 (50 %) of the limit, times sqrt(2 / n) */
    enum { N = 2000 };
    static double x[N], y[N];
    static const double table[][2] = {{1.3581, 0.05}, {0.8276, 0.5}, {1.6276, 0.01}};
    for (int k = 0; k < 3; k++) {
        const int moved = (int)lround(table[k][0] * sqrt(2.0 * N));
        for (int i = 0; i < N; i++) { /* the second sample has `moved` of its members elsewhere: D = moved / n */
            x[i] = i;
            y[i] = i < moved ? N + i : i;
        }
        const double far = adze_ks(x, N, y, N, &p);
        assert_true(fabs(far - (double)moved / N) <= 1e-12);
        assert_true(fabs(p - table[k][1]) <= 0.05 * table[k][1]);
    }
}

/* Under one distribution a twentieth of the chances lies below 1/20; under a shift of one deviation all do. */
static void chances_are_chances(void **state) {
    (void)state;
    enum { N = 80, D = 3, TRIALS = 200 };
    double a[N * D], b[N * D], one[N], two[N], p;
    int ks = 0, mmd = 0, seen = 0;
    adze_rng r = adze_rng_make(3, 9);
    for (int t = 0; t < TRIALS; t++) {
        fill(&r, a, N * D, 0);
        fill(&r, b, N * D, 0);
        adze_shift_mmd q = {.seed = (uint64_t)t, .permutations = 39};
        OK(adze_mmd(ctx, adze_la_dense(a, N, D), adze_la_dense(b, N, D), &q));
        mmd += q.p <= 0.05;
        memcpy(one, a, sizeof one);
        memcpy(two, b, sizeof two);
        adze_ks(one, N, two, N, &p);
        ks += p <= 0.05;
        for (int i = 0; i < N && t < 10; i++) {
            b[i * D] += 1;
        }
        if (t < 10) {
            OK(adze_mmd(ctx, adze_la_dense(a, N, D), adze_la_dense(b, N, D), &q));
            seen += q.p <= 0.05;
        }
    }
    assert_true(ks >= 1 && ks <= 20); /* 10 are expected, deviation 3.1 */
    assert_true(mmd >= 1 && mmd <= 20);
    assert_int_equal(seen, 10);
}

/* The estimate itself, by its formula on two samples of two. */
static void the_discrepancy_is_its_formula(void **state) {
    (void)state;
    double a[] = {0, 1}, b[] = {3, 5};
    adze_shift_mmd q = {.permutations = 1};
    OK(adze_mmd(ctx, adze_la_dense(a, 2, 1), adze_la_dense(b, 2, 1), &q));
    const double m = 9; /* squared distances 1 4 4 9 16 25: the upper median */
    const double want = exp(-1 / m) + exp(-4 / m) - 2 * (exp(-9 / m) + exp(-25 / m) + exp(-4 / m) + exp(-16 / m)) / 4;
    assert_true(fabs(q.mmd2 - want) <= 1e-14);
    assert_true(fabs(q.width - sqrt(m / 2)) <= 1e-14);
    assert_int_equal(adze_mmd(ctx, adze_la_dense(a, 1, 2), adze_la_dense(b, 2, 1), &q), ADZE_ESHAPE);
}

/* Training examples from N(0, 1), test examples from N(1, 1); y = x^2. The training risk of the predictor 1 is that of another distribution;
 * weighted, it is the test risk, E (x^2 - 1)^2 = 7 (and 2 without weights). The density ratio exp(x - 1/2) is found as well. */
static void weights_restore_the_risk(void **state) {
    (void)state;
    enum { N = 100000 };
    static double a[N], b[N], w[N];
    adze_rng r = adze_rng_make(8, 1);
    fill(&r, a, N, 0);
    fill(&r, b, N, 0.5);
    OK(adze_importance(ctx, adze_la_dense(a, N, 1), adze_la_dense(b, N, 1), w));
    double plain = 0, weighted = 0, mean = 0, test = 0;
    for (int i = 0; i < N; i++) {
        const double loss = (a[i] * a[i] - 1) * (a[i] * a[i] - 1);
        plain += loss / N;
        weighted += w[i] * loss / N;
        test += (b[i] * b[i] - 1) * (b[i] * b[i] - 1) / N;
        mean += w[i] / N;
        assert_true(fabs(a[i]) > 2 || fabs(w[i] / exp(a[i] / 2 - 0.125) - 1) <= 0.1);
    }
    assert_true(fabs(mean - 1) <= 1e-12);
    assert_true(fabs(plain - 2) < 0.2 && fabs(test - 3.0625) < 0.2);
    assert_true(fabs(weighted - 3.0625) < 0.2);
}

static int open_ctx(void **state) {
    (void)state;
    return adze_ctx_new(NULL, &ctx);
}

static int close_ctx(void **state) {
    (void)state;
    adze_ctx_free(ctx);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances_are_known),
        cmocka_unit_test(chances_are_chances),
        cmocka_unit_test(the_discrepancy_is_its_formula),
        cmocka_unit_test(weights_restore_the_risk),
    };
    return cmocka_run_group_tests(tests, open_ctx, close_ctx);
}
