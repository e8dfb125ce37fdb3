/* Least squares with penalties and pursuits: closed forms, what scikit-learn found on the diabetes data, conditions of optimality, recovery of
 * supports. */
#include "faulty.h"

#include "adze/data.h"
#include "adze/linalg.h"
#include "base/base.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "reference/penalty.inc"

enum { ROWS = (int)ADZE_COUNT(diabetes_x), COLS = (int)ADZE_COUNT(diabetes_x[0]) };

static adze_ctx *ctx;

#define OK(call) assert_string_equal((call) == ADZE_OK ? "" : adze_errmsg(ctx), "")

static void refused(int status, const char *part) {
    assert_int_not_equal(status, ADZE_OK);
    if (!strstr(adze_errmsg(ctx), part)) {
        fail_msg("'%s' lacks '%s'", adze_errmsg(ctx), part);
    }
}

static void near_to(const double *got, const double *want, int n, double tol) {
    for (int i = 0; i < n; i++) {
        if (!(fabs(got[i] - want[i]) <= tol)) {
            fail_msg("number %d is %.17g, should be %.17g", i, got[i], want[i]);
        }
    }
}

/* Columns of mean 0 and length 1, targets of mean 0. */
static double X[ROWS * COLS], Y[ROWS];
static adze_la_mat diabetes(void) {
    double mean_y = 0;
    for (int i = 0; i < ROWS; i++) {
        mean_y += diabetes_y[0][i] / ROWS;
    }
    for (int j = 0; j < COLS; j++) {
        double mean = 0, square = 0;
        for (int i = 0; i < ROWS; i++) {
            mean += diabetes_x[i][j] / ROWS;
        }
        for (int i = 0; i < ROWS; i++) {
            X[i * COLS + j] = diabetes_x[i][j] - mean;
            square += X[i * COLS + j] * X[i * COLS + j];
        }
        for (int i = 0; i < ROWS; i++) {
            X[i * COLS + j] /= sqrt(square);
        }
    }
    for (int i = 0; i < ROWS; i++) {
        Y[i] = diabetes_y[0][i] - mean_y;
    }
    return adze_la_dense(X, ROWS, COLS);
}

static void ridge_is_that_of_scikit_learn(void **state) {
    (void)state;
    const adze_la_mat x = diabetes();
    for (size_t k = 0; k < ADZE_COUNT(ridge_says); k++) {
        double w[COLS];
        OK(adze_la_ridge(ctx, x, adze_la_dense(Y, ROWS, 1), ridge_says[k][0], (adze_la_mat){0}, adze_la_dense(w, COLS, 1)));
        near_to(w, ridge_says[k] + 1, COLS, 1e-8);
    }
}

/* (X'X + a P)^-1 X'y by the normal equations, P a full covariance's inverse. */
static void ridge_with_a_prior_is_its_closed_form(void **state) {
    (void)state;
    const adze_la_mat x = diabetes();
    double p[COLS * COLS], a[COLS * COLS], w[COLS], want[COLS];
    const double alpha = 0.7;
    for (int i = 0; i < COLS; i++) {
        for (int j = 0; j < COLS; j++) {
            p[i * COLS + j] = pow(0.6, abs(i - j)) + (i == j ? 0.5 * i : 0);
        }
    }
    OK(adze_la_matmul(ctx, x, true, x, false, adze_la_dense(a, COLS, COLS)));
    for (int i = 0; i < COLS * COLS; i++) {
        a[i] += alpha * p[i];
    }
    OK(adze_la_matmul(ctx, x, true, adze_la_dense(Y, ROWS, 1), false, adze_la_dense(want, COLS, 1)));
    OK(adze_la_cholesky(ctx, adze_la_dense(a, COLS, COLS)));
    OK(adze_la_cholesky_solve(ctx, adze_la_dense(a, COLS, COLS), adze_la_dense(want, COLS, 1)));
    OK(adze_la_ridge(ctx, x, adze_la_dense(Y, ROWS, 1), alpha, adze_la_dense(p, COLS, COLS), adze_la_dense(w, COLS, 1)));
    near_to(w, want, COLS, 1e-9);
    p[0] = -1;
    refused(adze_la_ridge(ctx, x, adze_la_dense(Y, ROWS, 1), alpha, adze_la_dense(p, COLS, COLS), adze_la_dense(w, COLS, 1)), "positive definite");
    refused(adze_la_ridge(ctx, x, adze_la_dense(Y, ROWS, 1), -1, (adze_la_mat){0}, adze_la_dense(w, COLS, 1)), "at least 0");
}

/* Along eigenvectors a ridge solution is the plain one times c / (c + a): on a quadratic of condition 1000, for a path of penalties. */
static void l2_shrinks_each_direction_by_its_curvature(void **state) {
    (void)state;
    enum { N = 8 };
    double x[N * N] = {0}, y[N], c[N], kept[N], w[N];
    for (int i = 0; i < N; i++) {
        c[i] = pow(1000, -(double)i / (N - 1));
        x[i * N + i] = sqrt(c[i]);
        y[i] = sqrt(c[i]) * (1 + i); /* the minimum is 1 + i */
    }
    for (double alpha = 1e-4; alpha < 10; alpha *= 10) {
        OK(adze_la_ridge(ctx, adze_la_dense(x, N, N), adze_la_dense(y, N, 1), alpha, (adze_la_mat){0}, adze_la_dense(w, N, 1)));
        adze_la_shrunk(c, N, alpha, kept);
        for (int i = 0; i < N; i++) {
            assert_true(fabs(w[i] - kept[i] * (1 + i)) <= 1e-8);
        }
    }
}

/* 1 - (1 - rate c)^steps by walking, and the distance to the penalty 1 / (rate steps), which is largest where rate steps c is about 1.8. */
static void early_stopping_is_nearly_l2(void **state) {
    (void)state;
    enum { N = 60 };
    double c[N], kept[N], gap, walked, widest = 0;
    const double rate = 0.01;
    for (int i = 0; i < N; i++) {
        c[i] = i == 0 ? 0 : pow(10, -4 + 6.0 * i / N);
    }
    for (int64_t steps = 1; steps <= 1000; steps *= 10) {
        OK(adze_la_stopped(ctx, c, N, rate, steps, kept, &gap));
        widest = 0;
        for (int i = 0; i < N; i++) {
            walked = 0;
            for (int64_t t = 0; t < steps; t++) {
                walked += rate * c[i] * (1 - walked);
            }
            assert_true(fabs(kept[i] - walked) <= 1e-12);
            widest = fmax(widest, fabs(walked - c[i] / (c[i] + 1 / (rate * (double)steps))));
        }
        assert_true(fabs(gap - widest) <= 1e-12);
    }
    assert_true(gap > 0.19 && gap < 0.205); /* 1 - e^-s - s / (1 + s) is at most 0.2036, at s = 1.793 */
    c[1] = 201;
    refused(adze_la_stopped(ctx, c, N, rate, 5, kept, NULL), "diverges");
    refused(adze_la_stopped(ctx, c, N, 0, 5, kept, NULL), "above 0");
}

static void lasso_is_that_of_scikit_learn(void **state) {
    (void)state;
    const adze_la_mat x = diabetes();
    for (size_t k = 0; k < ADZE_COUNT(lasso_says); k++) {
        double w[COLS] = {0};
        adze_la_stop stop = {.tol = 1e-15, .at_most = 100000};
        OK(adze_la_lasso(ctx, x, Y, lasso_says[k][0], lasso_says[k][1], w, &stop));
        near_to(w, lasso_says[k] + 2, COLS, 1e-5);
        for (int j = 0; j < COLS; j++) {
            assert_int_equal(w[j] == 0, lasso_says[k][2 + j] == 0);
        }
    }
}

/* With orthonormal columns: sign(z) max(|z| - l1, 0) / (1 + l2), z = a^T b, in one sweep. */
static void lasso_of_an_orthogonal_design_is_the_soft_threshold(void **state) {
    (void)state;
    enum { N = 6 };
    double a[N * N] = {0}, b[N] = {3, -2, 0.5, -0.25, 1, -8}, x[N];
    for (int i = 0; i < N; i++) {
        a[i * N + (i * 5 + 1) % N] = i % 2 ? -1 : 1; /* a signed permutation: sums are exact */
    }
    for (int k = 0; k < 2; k++) {
        adze_la_stop stop = {.tol = 0, .at_most = 5};
        memset(x, 0, sizeof x);
        OK(adze_la_lasso(ctx, adze_la_dense(a, N, N), b, 1, k, x, &stop));
        for (int i = 0; i < N; i++) {
            const double z = b[i] * (i % 2 ? -1 : 1), want = copysign(fmax(fabs(z) - 1, 0), z) / (1 + k);
            assert_true(x[(i * 5 + 1) % N] == want);
        }
    }
    adze_la_stop stop = {.tol = 1e-9, .at_most = 5};
    refused(adze_la_lasso(ctx, adze_la_dense(a, N, N), b, 0, 1, x, &stop), "above 0");
}

/* On the path, and between its knots, the solution is that of coordinate descent. */
static void lars_walks_the_path_of_scikit_learn(void **state) {
    (void)state;
    enum { ROOM = 40 };
    const adze_la_mat x = diabetes();
    double solutions[ROOM * COLS], l1[ROOM];
    adze_la_path path = {.x = adze_la_dense(solutions, ROOM, COLS), .l1 = l1};
    OK(adze_la_lars(ctx, x, Y, &path));
    assert_int_equal(path.knots, ADZE_COUNT(lars_says));
    for (int k = 0; k < (int)ADZE_COUNT(lars_says); k++) {
        assert_true(fabs(l1[k] - lars_says[k][0]) <= 1e-8);
        near_to(solutions + k * COLS, lars_says[k] + 1, COLS, 1e-7);
    }
    for (int k = 1; k < (int)ADZE_COUNT(lars_says); k++) {
        double w[COLS] = {0}, middle[COLS];
        adze_la_stop stop = {.tol = 1e-15, .at_most = 100000};
        for (int j = 0; j < COLS; j++) {
            middle[j] = (solutions[k * COLS + j] + solutions[(k - 1) * COLS + j]) / 2;
        }
        OK(adze_la_lasso(ctx, x, Y, (l1[k] + l1[k - 1]) / 2, 0, w, &stop));
        near_to(w, middle, COLS, 1e-4);
    }
    path.x.rows = 3;
    OK(adze_la_lars(ctx, x, Y, &path));
    assert_int_equal(path.knots, 3);
}

static void omp_chooses_what_scikit_learn_does(void **state) {
    (void)state;
    const adze_la_mat x = diabetes();
    for (int k = 1; k <= (int)ADZE_COUNT(omp_says); k++) {
        int64_t atoms[COLS];
        double coef[COLS], w[COLS] = {0};
        OK(adze_la_omp(ctx, x, adze_la_dense(Y, 1, ROWS), k, 0, atoms, adze_la_dense(coef, 1, k)));
        for (int i = 0; i < k; i++) {
            w[atoms[i]] = coef[i];
        }
        near_to(w, omp_says[k - 1], COLS, 1e-8);
    }
}

/* Tropp and Gilbert 2007: k of n atoms are found again from m >= 2 k ln n Gaussian measurements, nearly always (few atoms want somewhat more). The
 * coefficients are ones, the paper's hardest signals. */
static void omp_recovers_supports(void **state) {
    (void)state;
    enum { N = 1024, K = 16, M = 222, DICTS = 2, SIGNALS = 200 }; /* 2 k ln n = 221.8 */
    double *d = calloc(M * N, sizeof *d), *x = calloc(SIGNALS * M, sizeof *x);
    static double coef[SIGNALS * K];
    static int64_t atoms[SIGNALS * K], perm[SIGNALS][N];
    int found = 0;
    adze_rng r = adze_rng_make(7, 3);
    assert_true(d && x);
    for (int t = 0; t < DICTS; t++) {
        memset(x, 0, SIGNALS * M * sizeof *x);
        for (int i = 0; i < M * N; i++) {
            d[i] = adze_rng_normal(&r);
        }
        for (int s = 0; s < SIGNALS; s++) {
            for (int i = 0; i < N; i++) {
                perm[s][i] = i;
            }
            adze_rng_permute(&r, perm[s], N);
            for (int k = 0; k < K * M; k++) {
                x[s * M + k % M] += d[k % M * N + perm[s][k / M]];
            }
        }
        OK(adze_la_omp(ctx, adze_la_dense(d, M, N), adze_la_dense(x, SIGNALS, M), K, 0, atoms, adze_la_dense(coef, SIGNALS, K)));
        for (int s = 0; s < SIGNALS; s++) {
            int hits = 0;
            for (int k = 0; k < K * K; k++) {
                hits += atoms[s * K + k % K] == perm[s][k / K];
            }
            found += hits == K;
        }
    }
    free(d);
    free(x);
    if (found * 100 < DICTS * SIGNALS * 99) {
        fail_msg("%d of %d supports were found", found, DICTS * SIGNALS);
    }
}

static void what_omp_leaves_is_orthogonal_to_its_atoms(void **state) {
    (void)state;
    enum { N = 90, M = 25, S = 70, K = 9 };
    static double d[M * N], x[S * M], coef[S * K], again[S * K];
    static int64_t atoms[S * K], other[S * K];
    adze_rng r = adze_rng_make(11, 3);
    for (int i = 0; i < M * N; i++) {
        d[i] = adze_rng_normal(&r);
    }
    for (int i = 0; i < M; i++) {
        d[i * N + 3] = d[i * N + 2] * 2; /* two atoms of one direction: never both */
        d[i * N + 5] = 0;
    }
    for (int i = 0; i < S * M; i++) {
        x[i] = adze_rng_normal(&r);
    }
    const adze_la_mat dict = adze_la_dense(d, M, N), signals = adze_la_dense(x, S, M);
    OK(adze_la_omp(ctx, dict, signals, K, 0.05, atoms, adze_la_dense(coef, S, K)));
    for (int s = 0; s < S; s++) {
        double rest[M], left = 0, all = 0;
        int64_t count = 0;
        memcpy(rest, x + s * M, sizeof rest);
        for (; count < K && atoms[s * K + count] >= 0; count++) {
            for (int i = 0; i < M; i++) {
                rest[i] -= coef[s * K + count] * d[i * N + atoms[s * K + count]];
            }
        }
        for (int64_t k = 0; k < count; k++) {
            double along = 0;
            assert_true(atoms[s * K + k] != 5);
            for (int i = 0; i < M; i++) {
                along += rest[i] * d[i * N + atoms[s * K + k]];
            }
            assert_true(fabs(along) <= 1e-10);
        }
        for (int i = 0; i < M; i++) {
            left += rest[i] * rest[i];
            all += x[s * M + i] * x[s * M + i];
        }
        assert_true(count == K || sqrt(left / all) <= 0.05);
    }
    adze_ctx *one = NULL;
    adze_ctx_opts o = {.size = sizeof o, .threads = 1};
    assert_int_equal(adze_ctx_new(&o, &one), ADZE_OK);
    assert_int_equal(adze_la_omp(one, dict, signals, K, 0.05, other, adze_la_dense(again, S, K)), ADZE_OK);
    assert_memory_equal(atoms, other, sizeof atoms);
    assert_memory_equal(coef, again, sizeof coef);
    adze_ctx_free(one);
    refused(adze_la_omp(ctx, dict, signals, 0, 0, atoms, adze_la_dense(coef, S, 0)), "1 to 90 atoms");
    refused(adze_la_omp(ctx, dict, adze_la_dense(x, S, 3), 1, 0, atoms, adze_la_dense(coef, S, 1)), "sums of atoms");
}

static int life(adze_ctx *c) {
    const adze_la_mat x = adze_la_dense(X, ROWS, COLS), y = adze_la_dense(Y, ROWS, 1);
    double w[COLS] = {0}, solutions[3 * COLS], l1[3], p[COLS * COLS] = {0}, weight[20], coef[2];
    int64_t atoms[2];
    adze_la_stop stop = {.tol = 1e-6, .at_most = 10};
    adze_la_path path = {.x = adze_la_dense(solutions, 3, COLS), .l1 = l1};
    adze_shift_mmd mmd = {.permutations = 1};
    for (int i = 0; i < COLS; i++) {
        p[i * COLS + i] = 1;
    }
    TRY(adze_la_ridge(c, x, y, 1, adze_la_dense(p, COLS, COLS), adze_la_dense(w, COLS, 1)));
    TRY(adze_la_lasso(c, x, Y, 1, 0, w, &stop));
    TRY(adze_la_lars(c, x, Y, &path));
    TRY(adze_la_omp(c, x, adze_la_dense(Y, 1, ROWS), 2, 0, atoms, adze_la_dense(coef, 1, 2)));
    TRY(adze_mmd(c, adze_la_dense(X, 20, COLS), adze_la_dense(X + 20 * COLS, 20, COLS), &mmd));
    return adze_importance(c, adze_la_dense(X, 20, COLS), adze_la_dense(X + 20 * COLS, 20, COLS), weight);
}

static void every_refused_allocation_is_survived(void **state) {
    (void)state;
    diabetes();
    faulty_mem mem;
    faulty_mem_init(&mem);
    adze_ctx *c;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.size = sizeof(adze_ctx_opts), .mem = &mem.table}, &c), ADZE_OK);
    int status = ADZE_ENOMEM;
    long n = 1;
    for (; status != ADZE_OK; n++) {
        const long blocks = mem.blocks;
        faulty_mem_arm(&mem, n, false);
        status = life(c);
        assert_true(status == ADZE_OK || status == ADZE_ENOMEM);
        assert_int_equal(mem.blocks, blocks);
    }
    assert_true(n > 20);
    adze_ctx_free(c);
    assert_true(faulty_mem_clean(&mem));
}

static int open_ctx(void **state) {
    (void)state;
    adze_ctx_opts o = {.size = sizeof o, .threads = 2};
    return adze_ctx_new(&o, &ctx);
}

static int close_ctx(void **state) {
    (void)state;
    adze_ctx_free(ctx);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ridge_is_that_of_scikit_learn),
        cmocka_unit_test(ridge_with_a_prior_is_its_closed_form),
        cmocka_unit_test(l2_shrinks_each_direction_by_its_curvature),
        cmocka_unit_test(early_stopping_is_nearly_l2),
        cmocka_unit_test(lasso_is_that_of_scikit_learn),
        cmocka_unit_test(lasso_of_an_orthogonal_design_is_the_soft_threshold),
        cmocka_unit_test(lars_walks_the_path_of_scikit_learn),
        cmocka_unit_test(omp_chooses_what_scikit_learn_does),
        cmocka_unit_test(omp_recovers_supports),
        cmocka_unit_test(what_omp_leaves_is_orthogonal_to_its_atoms),
        cmocka_unit_test(every_refused_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, open_ctx, close_ctx);
}
