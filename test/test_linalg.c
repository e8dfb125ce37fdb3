/* Linear algebra: recorded results of LAPACK on fixed matrices, bounds on backward errors over random sizes, hard cases, refusals. */
#include "faulty.h"

#include "adze/linalg.h"
#include "base/base.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "reference/linalg.inc"

enum { MOST = 90, ROOM = MOST * MOST };

static adze_ctx *ctx;

#define OK(call) assert_string_equal((call) == ADZE_OK ? "" : adze_errmsg(ctx), "")

static void refused(int status, int code, const char *part) {
    assert_int_equal(status, code);
    if (!strstr(adze_errmsg(ctx), part)) {
        fail_msg("'%s' lacks '%s'", adze_errmsg(ctx), part);
    }
}

/* The same recurrence as in reference/linalg.py. */
static adze_la_mat fixed(double *at, int64_t rows, int64_t cols, int64_t seed) {
    for (int64_t i = 0; i < rows * cols; i++) {
        seed = (seed * 1103515245 + 12345) % 2147483648;
        at[i] = (double)((seed >> 16) % 201 - 100);
    }
    return adze_la_dense(at, rows, cols);
}

static adze_la_mat normal(adze_rng *r, double *at, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows * cols; i++) {
        at[i] = adze_rng_normal(r);
    }
    return adze_la_dense(at, rows, cols);
}

static void near_to(const double *got, const double *want, size_t count, double tol) {
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(want[i]));
    }
    for (size_t i = 0; i < count; i++) {
        if (!(fabs(got[i] - want[i]) <= tol * largest)) {
            fail_msg("element %zu is %.17g, should be %.17g", i, got[i], want[i]);
        }
    }
}
#define NEAR(got, want, tol) near_to(got, want, ADZE_COUNT(want), tol)

static double norm(adze_la_mat a) {
    double sum = 0;
    for (int64_t i = 0; i < a.rows; i++) {
        for (int64_t j = 0; j < a.cols; j++) {
            sum += a.at[i * a.ld + j] * a.at[i * a.ld + j];
        }
    }
    return sqrt(sum);
}

/* |a - b| in the norm of Frobenius. */
static double apart(adze_la_mat a, adze_la_mat b) {
    static double room[ROOM];
    assert_int_equal(a.rows, b.rows);
    assert_int_equal(a.cols, b.cols);
    adze_la_mat d = adze_la_dense(room, a.rows, a.cols);
    for (int64_t i = 0; i < a.rows; i++) {
        for (int64_t j = 0; j < a.cols; j++) {
            room[i * a.cols + j] = a.at[i * a.ld + j] - b.at[i * b.ld + j];
        }
    }
    return norm(d);
}

static adze_la_mat times(double *at, adze_la_mat a, bool at_, adze_la_mat b, bool bt) {
    adze_la_mat c = adze_la_dense(at, at_ ? a.cols : a.rows, bt ? b.rows : b.cols);
    OK(adze_la_matmul(ctx, a, at_, b, bt, c));
    return c;
}

static adze_la_mat copy(double *at, adze_la_mat a) {
    adze_la_mat c = adze_la_dense(at, a.rows, a.cols);
    for (int64_t i = 0; i < a.rows; i++) {
        for (int64_t j = 0; j < a.cols; j++) {
            at[i * a.cols + j] = a.at[i * a.ld + j];
        }
    }
    return c;
}

/* |a^T a - I| */
static double skew(adze_la_mat a) {
    static double gram[ROOM], one[ROOM];
    for (int64_t i = 0; i < a.cols * a.cols; i++) {
        one[i] = i / a.cols == i % a.cols;
    }
    return apart(times(gram, a, true, a, false), adze_la_dense(one, a.cols, a.cols));
}

/* -- recorded results -- */

static void equations_agree_with_lapack(void **state) {
    (void)state;
    double a_[49], b_[14], sign, log_abs;
    int64_t rows[7];
    adze_la_mat a = fixed(a_, 7, 7, 1), b = fixed(b_, 7, 2, 2);
    OK(adze_la_lu(ctx, a, rows));
    OK(adze_la_lu_det(ctx, a, rows, &sign, &log_abs));
    NEAR(((double[]){sign, log_abs}), ref_det, 1e-14);
    OK(adze_la_lu_solve(ctx, a, rows, b));
    NEAR(b_, ref_solve, 1e-12);
    double tall_[45], spd_[25], inverse_[25];
    adze_la_mat tall = fixed(tall_, 9, 5, 3), spd = times(spd_, tall, true, tall, false), inverse = adze_la_dense(inverse_, 5, 5);
    OK(adze_la_cholesky(ctx, spd));
    NEAR(spd_, ref_cholesky, 1e-14);
    OK(adze_la_cholesky_inverse(ctx, spd, inverse));
    NEAR(inverse_, ref_inverse, 1e-13);
}

static void orthogonal_factors_agree_with_lapack(void **state) {
    (void)state;
    double tall_[45], tau[5], r[5], side[9], x[5];
    int64_t order[5], rank;
    adze_la_mat tall = fixed(tall_, 9, 5, 3);
    OK(adze_la_qr(ctx, tall, tau, NULL));
    for (int i = 0; i < 5; i++) {
        r[i] = fabs(tall_[6 * i]);
    }
    NEAR(r, ref_r, 1e-14);
    fixed(tall_, 9, 5, 3);
    OK(adze_la_qr(ctx, tall, tau, order));
    for (int i = 0; i < 5; i++) {
        r[i] = fabs(tall_[6 * i]);
        assert_int_equal(order[i], (int)ref_order[i]);
    }
    NEAR(r, ref_r_pivoted, 1e-14);
    fixed(tall_, 9, 5, 3);
    fixed(side, 9, 1, 4);
    OK(adze_la_least_squares(ctx, tall, adze_la_dense(side, 9, 1), adze_la_dense(x, 5, 1), -1, &rank));
    assert_int_equal(rank, 5);
    NEAR(x, ref_squares, 1e-13);
    double residual;
    OK(adze_la_nnls(ctx, tall, side, x, &residual));
    NEAR(x, ref_nnls, 1e-13);
    NEAR(&residual, ref_nnls_residual, 1e-14);
}

static void spectra_agree_with_lapack(void **state) {
    (void)state;
    double a_[49], tall_[45], spd_[25], out_[49], values[7];
    fixed(a_, 7, 7, 1);
    for (int i = 0; i < 7; i++) {
        for (int j = 0; j <= i; j++) {
            a_[7 * i + j] += a_[7 * j + i];
        }
    }
    OK(adze_la_eigen(ctx, adze_la_dense(a_, 7, 7), values, (adze_la_mat){0}));
    NEAR(values, ref_eigen, 1e-14);
    adze_la_mat tall = fixed(tall_, 9, 5, 3), spd = times(spd_, tall, true, tall, false), out = adze_la_dense(out_, 5, 5);
    OK(adze_la_svd(ctx, tall, (adze_la_mat){0}, values, (adze_la_mat){0}));
    NEAR(values, ref_singular, 1e-14);
    OK(adze_la_power(ctx, spd, 0, 0.5, out));
    NEAR(out_, ref_sqrt, 1e-13);
    OK(adze_la_power(ctx, spd, 10, -0.5, out));
    NEAR(out_, ref_whiten, 1e-13);
    double hilbert[36];
    for (int i = 0; i < 36; i++) {
        hilbert[i] = 1.0 / (i / 6 + i % 6 + 1);
    }
    OK(adze_la_svd(ctx, adze_la_dense(hilbert, 6, 6), (adze_la_mat){0}, values, (adze_la_mat){0}));
    NEAR(values, ref_hilbert, 1e-15);
}

static void dependent_columns_agree_with_lapack(void **state) {
    (void)state;
    double l_[24], r_[18], a_[48], b_[8], x_[6], out_[48];
    adze_la_mat a = times(a_, fixed(l_, 8, 3, 5), false, fixed(r_, 3, 6, 6), false);
    int64_t rank;
    OK(adze_la_least_squares(ctx, a, fixed(b_, 8, 1, 8), adze_la_dense(x_, 6, 1), -1, &rank));
    assert_int_equal(rank, 3);
    NEAR(x_, ref_shortest, 1e-12);
    OK(adze_la_pinv(ctx, a, -1, adze_la_dense(out_, 6, 8)));
    NEAR(out_, ref_pinv, 1e-12);
}

static void complex_fixed(double *z, int64_t n) {
    double part[64];
    for (int64_t k = 0; k < 2; k++) {
        fixed(part, 1, n, 9 + k);
        for (int64_t i = 0; i < n; i++) {
            z[2 * i + k] = part[i];
        }
    }
}

static void fourier_agrees_with_numpy(void **state) {
    (void)state;
    double z[64], x[20];
    complex_fixed(z, 12);
    OK(adze_la_fft(ctx, 12, 1, false, z));
    NEAR(z, ref_fft_12, 1e-15);
    complex_fixed(z, 17);
    OK(adze_la_fft(ctx, 17, 1, false, z));
    NEAR(z, ref_fft_17, 1e-15);
    complex_fixed(z, 12);
    OK(adze_la_fft2(ctx, 3, 4, false, z));
    NEAR(z, ref_fft2, 1e-15);
    fixed(x, 2, 10, 11);
    OK(adze_la_fft_real(ctx, 10, 2, x, z));
    NEAR(z, ref_rfft, 1e-15);
    double points[48], mean[4], variances[4], components[16];
    OK(adze_la_pca(ctx, fixed(points, 12, 4, 7), mean, variances, adze_la_dense(components, 4, 4)));
    NEAR(variances, ref_variances, 1e-14);
}

/* -- properties over random sizes -- */

static double a_[ROOM], b_[ROOM], c_[ROOM], d_[ROOM], u_[ROOM], v_[ROOM];

enum { TAME = 5, ALL = 7 };

/* How a random matrix may be hard: nothing, dependent columns, columns of very different lengths, equal singular values, all zero; large, small. */
static adze_la_mat hard(adze_rng *r, double *at, int64_t rows, int64_t cols, uint64_t kinds) {
    adze_la_mat a = normal(r, at, rows, cols);
    const uint64_t kind = adze_rng_below(r, kinds);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++) {
            double *v = at + i * cols + j;
            *v = kind == 1 && j % 3 == 2 ? at[i * cols + j - 1] * 2 : kind == 2 ? ldexp(*v, (int)(-3 * j)) : kind == 3 ? i == j : *v;
            *v = kind == 4 ? 0 : kind == 5 ? ldexp(*v, 900) : kind == 6 ? ldexp(*v, -900) : *v;
        }
    }
    return a;
}

static int64_t some(adze_rng *r) {
    return adze_rng_range(r, 0, adze_rng_below(r, 4) ? 12 : MOST);
}

static void orthogonal_factors_keep_their_bounds(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(1, 0);
    for (int round = 0; round < 150; round++) {
        const int64_t m = some(&r), n = some(&r), k = m < n ? m : n;
        adze_la_mat a = hard(&r, a_, m, n, ALL), qr = copy(b_, a), q = adze_la_dense(u_, m, round % 2 ? m : k);
        double tau[MOST];
        int64_t order[MOST];
        const bool pivoted = round % 3 == 0;
        OK(adze_la_qr(ctx, qr, tau, pivoted ? order : NULL));
        OK(adze_la_qr_q(ctx, qr, tau, q));
        assert_true(skew(q) <= 10 * (double)(m + 1) * DBL_EPSILON);
        for (int64_t i = 0; i < q.cols; i++) {
            for (int64_t j = 0; j < n; j++) {
                c_[i * n + j] = i <= j && i < k ? b_[i * n + j] : 0;
            }
        }
        times(d_, q, false, adze_la_dense(c_, q.cols, n), false);
        for (int64_t i = 0; i < m; i++) {
            for (int64_t j = 0; j < n; j++) {
                v_[i * n + (pivoted ? order[j] : j)] = d_[i * n + j];
            }
        }
        for (int64_t i = 1; i < k && pivoted; i++) {
            assert_true(fabs(b_[i * n + i]) <= fabs(b_[(i - 1) * n + i - 1]) * (1 + 1e-7));
        }
        double largest = 0; /* the norms must neither overflow nor underflow */
        for (int64_t i = 0; i < m * n; i++) {
            largest = fmax(largest, fabs(a_[i]));
        }
        for (int64_t i = 0; i < m * n && largest > 0; i++) {
            a_[i] = ldexp(a_[i], -ilogb(largest));
            v_[i] = ldexp(v_[i], -ilogb(largest));
        }
        assert_true(apart(adze_la_dense(v_, m, n), a) <= 10 * (double)(m + n) * DBL_EPSILON * norm(a));
    }
}

static void singular_values_keep_their_bounds(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(2, 0);
    for (int round = 0; round < 120; round++) {
        const int64_t m = some(&r), n = some(&r), k = m < n ? m : n;
        adze_la_mat a = hard(&r, a_, m, n, ALL), u = adze_la_dense(u_, m, k), vt = adze_la_dense(v_, k, n);
        double s[MOST];
        OK(adze_la_svd(ctx, a, u, s, vt));
        const double unit = k && s[0] > 0 ? ldexp(1, -ilogb(s[0])) : 1;
        for (int64_t i = 0; i < m * n; i++) {
            a_[i] *= unit;
        }
        assert_true(skew(u) <= 10 * (double)(m + 1) * DBL_EPSILON);
        for (int64_t i = 0; i < k; i++) {
            assert_true(s[i] >= 0 && (i == 0 || s[i] <= s[i - 1]));
            for (int64_t j = 0; j < m; j++) {
                b_[j * k + i] = u_[j * k + i] * s[i] * unit;
            }
        }
        adze_la_mat back = times(c_, adze_la_dense(b_, m, k), false, vt, false);
        assert_true(apart(back, a) <= 10 * (double)(m + n) * DBL_EPSILON * norm(a));
        for (int64_t i = 0; i < k; i++) {
            for (int64_t j = 0; j < n; j++) {
                d_[j * k + i] = v_[i * n + j];
            }
        }
        assert_true(skew(adze_la_dense(d_, n, k)) <= 10 * (double)(n + 1) * DBL_EPSILON);
    }
}

static void eigenvectors_keep_their_bounds(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(3, 0);
    for (int round = 0; round < 120; round++) {
        const int64_t n = some(&r);
        adze_la_mat a = hard(&r, a_, n, n, ALL), v = adze_la_dense(v_, n, n);
        double values[MOST], largest = 0;
        OK(adze_la_eigen(ctx, a, values, v));
        for (int64_t i = 0; i < n; i++) {
            largest = fmax(largest, fabs(values[i]));
            assert_true(i == 0 || values[i] >= values[i - 1]);
        }
        const double unit = largest > 0 ? ldexp(1, -ilogb(largest)) : 1;
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j <= i; j++) {
                a_[j * n + i] = a_[i * n + j] *= unit;
            }
        }
        for (int64_t i = 0; i < n * n; i++) {
            b_[i] = v_[i] * values[i % n] * unit;
        }
        assert_true(skew(v) <= 10 * (double)(n + 1) * DBL_EPSILON);
        assert_true(apart(times(c_, a, false, v, false), adze_la_dense(b_, n, n)) <= 10 * (double)(n + 1) * DBL_EPSILON * norm(a));
    }
}

static void equations_keep_their_bounds(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(4, 0);
    for (int round = 0; round < 100; round++) {
        const int64_t n = some(&r), k = adze_rng_range(&r, 0, 40);
        adze_la_mat a = normal(&r, a_, n, n), b = normal(&r, b_, n, k), x = copy(c_, b), f = copy(u_, a);
        int64_t rows[MOST];
        OK(adze_la_lu(ctx, f, rows));
        OK(adze_la_lu_solve(ctx, f, rows, x));
        assert_true(apart(times(d_, a, false, x, false), b) <= 100 * (double)(n + 1) * DBL_EPSILON * norm(a) * norm(x));
        adze_la_mat spd = times(v_, a, false, a, true);
        for (int64_t i = 0; i < n; i++) {
            v_[i * n + i] += 1;
        }
        adze_la_mat l = copy(u_, spd);
        OK(adze_la_cholesky(ctx, l));
        assert_true(apart(times(d_, l, false, l, true), spd) <= 10 * (double)(n + 1) * DBL_EPSILON * norm(spd));
        x = copy(c_, b);
        OK(adze_la_cholesky_solve(ctx, l, x));
        assert_true(apart(times(d_, spd, false, x, false), b) <= 10 * (double)(n + 1) * DBL_EPSILON * norm(spd) * norm(x));
    }
}

static void least_squares_meet_the_normal_equations(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(5, 0);
    for (int round = 0; round < 100; round++) {
        const int64_t m = 1 + some(&r) % 60, n = 1 + some(&r) % 60;
        adze_la_mat a = normal(&r, a_, m, n), b = normal(&r, b_, m, 1), x = adze_la_dense(c_, n, 1);
        for (int64_t i = 0; i < m && round % 2; i++) {
            a_[i * n] = a_[i * n + n - 1]; /* dependent */
        }
        OK(adze_la_least_squares(ctx, a, b, x, -1, NULL));
        times(d_, a, false, x, false);
        for (int64_t i = 0; i < m; i++) {
            d_[i] -= b_[i];
        }
        const double bound = 100 * (double)(m + n) * DBL_EPSILON * norm(a) * (norm(b) + norm(a) * norm(x));
        assert_true(norm(times(u_, a, true, adze_la_dense(d_, m, 1), false)) <= bound);
        double residual;
        OK(adze_la_nnls(ctx, a, b_, c_, &residual)); /* Karush, Kuhn, Tucker: x >= 0, gradient >= 0, and one of them 0 */
        times(d_, a, false, x, false);
        for (int64_t i = 0; i < m; i++) {
            d_[i] -= b_[i];
        }
        times(u_, a, true, adze_la_dense(d_, m, 1), false);
        for (int64_t j = 0; j < n; j++) {
            assert_true(c_[j] >= 0 && u_[j] >= -bound && fabs(c_[j] * u_[j]) <= bound * (1 + norm(x)));
        }
    }
}

static void products_agree_with_the_definition(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(6, 0);
    for (int round = 0; round < 60; round++) {
        const int64_t m = some(&r), n = some(&r), k = some(&r), ld = n + 3 > MOST ? n : n + 3;
        const bool ta = round & 1, tb = round & 2;
        adze_la_mat a = ta ? normal(&r, a_, k, m) : normal(&r, a_, m, k), b = tb ? normal(&r, b_, n, k) : normal(&r, b_, k, n);
        normal(&r, c_, m, ld);
        memcpy(d_, c_, sizeof c_);
        OK(adze_la_matmul(ctx, a, ta, b, tb, (adze_la_mat){c_, m, n, ld}));
        for (int64_t i = 0; i < m; i++) {
            for (int64_t j = 0; j < ld; j++) {
                double sum = j < n ? 0 : d_[i * ld + j];
                for (int64_t q = 0; q < k && j < n; q++) {
                    sum += (ta ? a_[q * m + i] : a_[i * k + q]) * (tb ? b_[j * k + q] : b_[q * n + j]);
                }
                assert_true(c_[i * ld + j] == sum);
            }
        }
    }
}

static void fourier_transforms_follow_their_definition(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(7, 0);
    for (int64_t n = 0; n <= 130; n++) {
        normal(&r, a_, 2, 2 * n);
        memcpy(b_, a_, sizeof a_);
        OK(adze_la_fft(ctx, n, 2, false, b_));
        double size = 0;
        for (int64_t k = 0; k < 2 * n; k++) {
            size += a_[2 * n + k] * a_[2 * n + k];
        }
        for (int64_t k = 0; k < n; k++) { /* the second row */
            double re = 0, im = 0;
            for (int64_t j = 0; j < n; j++) {
                const double angle = -6.283185307179586476925 * (double)(j * k % n) / (double)n, x = a_[2 * (n + j)], y = a_[2 * (n + j) + 1];
                re += x * cos(angle) - y * sin(angle);
                im += x * sin(angle) + y * cos(angle);
            }
            assert_true(hypot(re - b_[2 * (n + k)], im - b_[2 * (n + k) + 1]) <= 1e-14 * sqrt((double)n * size));
        }
        OK(adze_la_fft(ctx, n, 2, true, b_));
        near_to(b_, a_, (size_t)(4 * n), 1e-14);
        OK(adze_la_fft_real(ctx, n, 2, a_, b_));
        OK(adze_la_fft_real_inverse(ctx, n, 2, b_, c_));
        near_to(c_, a_, (size_t)(2 * n), 1e-14);
        for (int64_t j = 0; j < n; j++) { /* of real numbers as complex ones */
            d_[2 * j] = a_[j];
            d_[2 * j + 1] = 0;
        }
        OK(adze_la_fft(ctx, n, 1, false, d_));
        near_to(b_, d_, n ? (size_t)(2 * (n / 2 + 1)) : 0, 1e-14);
    }
}

/* -- operators -- */

static int apply(void *user, const double *x, double *y) {
    const adze_la_mat *a = user;
    return adze_la_matmul(ctx, *a, false, adze_la_dense((double *)(uintptr_t)x, a->cols, 1), false, adze_la_dense(y, a->rows, 1));
}

static void ritz_values_lie_within_their_bounds(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(8, 0);
    for (int round = 0; round < 40; round++) {
        const int64_t n = 1 + some(&r) % 60, steps = 1 + (int64_t)adze_rng_below(&r, (uint64_t)n);
        adze_la_mat a = hard(&r, a_, n, n, TAME);
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j <= i; j++) {
                a_[j * n + i] = a_[i * n + j];
            }
        }
        double exact[MOST], values[MOST], bounds[MOST];
        OK(adze_la_eigen(ctx, a, exact, (adze_la_mat){0}));
        adze_la_ritz ritz = {.steps = round % 2 ? n : steps, .seed = (uint64_t)round, .values = values, .bounds = bounds};
        ritz.vectors = adze_la_dense(v_, n, ritz.steps);
        OK(adze_la_lanczos(ctx, (adze_la_op){n, apply, &a}, &ritz));
        assert_true(skew(ritz.vectors) <= 100 * (double)n * DBL_EPSILON);
        for (int64_t i = 0; i < ritz.steps; i++) {
            double nearest = INFINITY;
            for (int64_t j = 0; j < n; j++) {
                nearest = fmin(nearest, fabs(values[i] - exact[j]));
            }
            assert_true(nearest <= bounds[i] + 10 * (double)n * DBL_EPSILON * norm(a));
        }
        if (ritz.steps == n) { /* all of them, as often as they occur */
            for (int64_t i = 0; i < n; i++) {
                assert_true(fabs(values[i] - exact[i]) <= 100 * (double)n * DBL_EPSILON * norm(a));
            }
        }
    }
}

static int nan_product(void *user, const double *x, double *y) {
    (void)user;
    (void)x;
    y[0] = y[1] = NAN;
    return ADZE_OK;
}

static void gradients_and_powers_settle(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(9, 0);
    const int64_t n = 30;
    adze_la_mat half = normal(&r, u_, n, n), a = times(a_, half, true, half, false);
    for (int64_t i = 0; i < n; i++) {
        a_[i * n + i] += 10;
    }
    adze_la_mat b = normal(&r, b_, n, 1);
    adze_la_op op = {n, apply, &a};
    adze_la_stop stop = {.tol = 1e-12, .at_most = 200};
    memset(c_, 0, sizeof c_);
    OK(adze_la_cg(ctx, op, b_, c_, &stop));
    assert_true(stop.steps > 5 && stop.steps < 100);
    assert_true(apart(times(d_, a, false, adze_la_dense(c_, n, 1), false), b) <= 1e-11 * norm(b));
    assert_true(stop.residual <= 1e-11 * norm(b));
    double value, exact[30];
    memset(c_, 0, sizeof c_);
    stop = (adze_la_stop){.tol = 1e-9, .at_most = 5000};
    OK(adze_la_power_iteration(ctx, op, 1, &value, c_, &stop));
    OK(adze_la_eigen(ctx, a, exact, (adze_la_mat){0}));
    assert_true(stop.steps < 5000 && fabs(value - exact[n - 1]) <= 1e-9 * value);
    double indefinite_[] = {1, 0, 0, -1}, side[] = {0, 1}, x[] = {0, 0};
    adze_la_mat indefinite = adze_la_dense(indefinite_, 2, 2);
    refused(adze_la_cg(ctx, (adze_la_op){2, apply, &indefinite}, side, x, &stop), ADZE_EARG, "not positive definite: p'Ap is -1 at step 0");
    refused(adze_la_cg(ctx, (adze_la_op){2, nan_product, NULL}, side, x, &stop), ADZE_EARG, "has nan as element 0");
}

/* -- clusters and components -- */

static void clusters_are_found_again(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(10, 0);
    const int64_t n = 600;
    for (int64_t i = 0; i < n; i++) {
        a_[2 * i] = 10 * (double)(i % 3) + 0.1 * adze_rng_normal(&r);
        a_[2 * i + 1] = 5 * (double)(i % 2) + 0.1 * adze_rng_normal(&r);
    }
    int64_t labels[600];
    adze_la_clusters c = {.centres = adze_la_dense(c_, 6, 2), .labels = labels, .seed = 3, .at_most = 50};
    OK(adze_la_kmeans(ctx, adze_la_dense(a_, n, 2), &c));
    assert_true(c.rounds <= 50 && c.inertia < 0.03 * (double)n);
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(labels[i], labels[i % 6]);
    }
}

static void more_clusters_than_values_leave_none_empty(void **state) {
    (void)state;
    double x[] = {1, 1, 1, 1, 2, 2, 2};
    int64_t labels[7];
    adze_la_clusters c = {.centres = adze_la_dense(c_, 5, 1), .labels = labels, .at_most = 20};
    OK(adze_la_kmeans(ctx, adze_la_dense(x, 7, 1), &c));
    int sizes[5] = {0};
    for (int i = 0; i < 7; i++) {
        sizes[labels[i]]++;
        assert_true(c_[labels[i]] == x[i]);
    }
    for (int i = 0; i < 5; i++) {
        assert_true(sizes[i] > 0);
    }
    assert_true(c.inertia == 0);
}

/* The least cost of n sorted numbers in k runs, by trying all cuts. */
static double all_cuts(const double *x, int64_t n, int64_t k) {
    double best = INFINITY;
    for (int64_t last = k - 1; last < n; last++) {
        if (k == 1 && last > 0) {
            break;
        }
        double mean = 0, sum = 0;
        for (int64_t i = last; i < n; i++) {
            mean += x[i] / (double)(n - last);
        }
        for (int64_t i = last; i < n; i++) {
            sum += (x[i] - mean) * (x[i] - mean);
        }
        best = fmin(best, sum + (k > 1 ? all_cuts(x, last, k - 1) : 0));
    }
    return best;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void clusters_of_numbers_are_the_best(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(11, 0);
    for (int round = 0; round < 100; round++) {
        const int64_t n = adze_rng_range(&r, 1, 14), k = adze_rng_range(&r, 1, n < 5 ? n : 5);
        for (int64_t i = 0; i < n; i++) {
            a_[i] = round % 2 ? adze_rng_normal(&r) : (double)adze_rng_range(&r, 0, 6);
        }
        int64_t labels[14];
        adze_la_clusters c = {.centres = adze_la_dense(c_, k, 1), .labels = labels};
        OK(adze_la_kmeans_line(ctx, adze_la_dense(a_, n, 1), &c));
        double cost = 0;
        for (int64_t i = 0; i < n; i++) {
            cost += (a_[i] - c_[labels[i]]) * (a_[i] - c_[labels[i]]);
        }
        assert_true(fabs(cost - c.inertia) <= 1e-12);
        qsort(a_, (size_t)n, sizeof *a_, ascending);
        assert_true(fabs(c.inertia - all_cuts(a_, n, k)) <= 1e-12 * (1 + c.inertia));
    }
}

static void components_are_the_same_by_both_ways(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(12, 0);
    double mean[20], few[6], many[6];
    normal(&r, a_, 6, 20);
    for (int64_t i = 0; i < 120; i++) { /* the same points four times: n >= d */
        b_[i] = b_[120 + i] = b_[240 + i] = b_[360 + i] = a_[i];
    }
    OK(adze_la_pca(ctx, adze_la_dense(a_, 6, 20), mean, few, adze_la_dense(c_, 5, 20)));
    OK(adze_la_pca(ctx, adze_la_dense(b_, 24, 20), mean, many, adze_la_dense(d_, 5, 20)));
    for (int i = 0; i < 5; i++) {
        assert_true(fabs(few[i] * 5 - many[i] * 23 / 4) <= 1e-12 * few[0]);
        double dot = 0;
        for (int j = 0; j < 20; j++) {
            dot += c_[20 * i + j] * d_[20 * i + j];
        }
        assert_true(fabs(fabs(dot) - 1) <= 1e-10);
    }
}

/* -- refusals -- */

static void what_is_wrong_is_said(void **state) {
    (void)state;
    double bad_[] = {1, 2, NAN, 4}, out_[4], tau[2], s[2];
    int64_t rows[2];
    adze_la_mat bad = adze_la_dense(bad_, 2, 2), out = adze_la_dense(out_, 2, 2), none = {0};
    const char *where = "a: the element in row 1, column 0 is nan";
    refused(adze_la_cholesky(ctx, bad), ADZE_EARG, where);
    refused(adze_la_lu(ctx, bad, rows), ADZE_EARG, where);
    refused(adze_la_qr(ctx, bad, tau, NULL), ADZE_EARG, where);
    refused(adze_la_eigen(ctx, bad, s, none), ADZE_EARG, where);
    refused(adze_la_svd(ctx, bad, none, s, none), ADZE_EARG, where);
    refused(adze_la_pinv(ctx, bad, -1, out), ADZE_EARG, where);
    refused(adze_la_power(ctx, bad, 0, 1, out), ADZE_EARG, where);
    refused(adze_la_nnls(ctx, bad, s, s, NULL), ADZE_EARG, where);
    refused(adze_la_matmul(ctx, bad, false, out, false, out), ADZE_EARG, where);
    refused(adze_la_fft(ctx, 2, 1, false, bad_), ADZE_EARG, "z: the element in row 0, column 2 is nan");
    bad_[2] = 2; /* (1, 2; 2, 4) is singular, and (1, 2; 2, 3) indefinite */
    OK(adze_la_lu(ctx, copy(out_, bad), rows));
    double sign, log_abs;
    OK(adze_la_lu_det(ctx, out, rows, &sign, &log_abs));
    assert_true(sign == 0 && log_abs == -INFINITY);
    refused(adze_la_lu_solve(ctx, out, rows, bad), ADZE_EARG, "singular: pivot 1 of 2 is 0");
    refused(adze_la_power(ctx, bad, 0, -0.5, out), ADZE_EARG, "no power -0.5: eigenvalue 0 of 2");
    bad_[3] = 3;
    refused(adze_la_cholesky(ctx, bad), ADZE_EARG, "not positive definite: pivot 1 of 2 is -1");
    refused(adze_la_qr(ctx, (adze_la_mat){bad_, 2, 2, 1}, tau, NULL), ADZE_ESHAPE, "2 rows of 2 columns, 1 apart, is no matrix");
    refused(adze_la_eigen(ctx, adze_la_dense(bad_, 1, 2), s, none), ADZE_ESHAPE, "(1, 2) is not square");
    refused(adze_la_matmul(ctx, out, false, out, false, adze_la_dense(bad_, 1, 2)), ADZE_ESHAPE, "c: (1, 2) should be (2, 2)");
    refused(adze_la_qr(ctx, (adze_la_mat){bad_, INT64_MAX, 2, 2}, tau, NULL), ADZE_ESHAPE, "more than can be addressed");
    int64_t labels[2];
    adze_la_clusters c = {.centres = adze_la_dense(out_, 3, 1), .labels = labels};
    refused(adze_la_kmeans(ctx, adze_la_dense(bad_, 2, 1), &c), ADZE_EARG, "3 clusters of 2 points");
    adze_la_ritz ritz = {.steps = 3};
    refused(adze_la_lanczos(ctx, (adze_la_op){2, apply, &bad}, &ritz), ADZE_ESHAPE, "3 steps on an operator of 2");
}

/* All that allocates, in one life. */
static int life(adze_ctx *c) {
    double s[9], tau[9], tall[45], u[45], vt[25], x[45], side[9];
    int64_t labels[9];
    adze_la_mat a = fixed(tall, 9, 5, 3), b = fixed(side, 9, 1, 4);
    adze_la_clusters k = {.centres = adze_la_dense(u, 3, 5), .labels = labels, .at_most = 9};
    adze_la_clusters line = {.centres = adze_la_dense(u, 3, 1), .labels = labels};
    TRY(adze_la_svd(c, a, adze_la_dense(u, 9, 5), s, adze_la_dense(vt, 5, 5)));
    TRY(adze_la_pinv(c, a, -1, adze_la_dense(u, 5, 9)));
    TRY(adze_la_matmul(c, a, true, a, false, adze_la_dense(vt, 5, 5)));
    TRY(adze_la_power(c, adze_la_dense(vt, 5, 5), 0, 0.5, adze_la_dense(u, 5, 5)));
    TRY(adze_la_nnls(c, a, side, x, NULL));
    TRY(adze_la_least_squares(c, (adze_la_mat){tall, 4, 5, 5}, (adze_la_mat){side, 4, 1, 1}, adze_la_dense(x, 5, 1), -1, NULL));
    TRY(adze_la_kmeans(c, a, &k));
    TRY(adze_la_kmeans_line(c, b, &line));
    TRY(adze_la_pca(c, a, s, tau, adze_la_dense(u, 3, 5)));
    TRY(adze_la_fft_real(c, 9, 1, side, u));
    TRY(adze_la_fft_real_inverse(c, 8, 1, u, x));
    TRY(adze_la_fft2(c, 1, 17, true, memset(x, 0, sizeof x)));
    return adze_la_qr(c, a, tau, labels);
}

static void every_refused_allocation_is_survived(void **state) {
    (void)state;
    faulty_mem mem;
    faulty_mem_init(&mem);
    adze_ctx *c;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.size = sizeof(adze_ctx_opts), .mem = &mem.table}, &c), ADZE_OK);
    int status = ADZE_ENOMEM;
    long n = 1;
    for (; status != ADZE_OK; n++) {
        long blocks = mem.blocks;
        faulty_mem_arm(&mem, n, false);
        status = life(c);
        assert_true(status == ADZE_OK || status == ADZE_ENOMEM);
        assert_int_equal(mem.blocks, blocks);
    }
    assert_true(n > 50);
    adze_ctx_free(c);
    assert_true(faulty_mem_clean(&mem));
}

/* -- threads -- */

static uint64_t bits_with(int threads, const char *isa) {
    static double s[150], u[200 * 150], v[150 * 150], a[200 * 150], spd[150 * 150];
    adze_ctx *old = ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.size = sizeof(adze_ctx_opts), .threads = threads, .isa = isa}, &ctx), ADZE_OK);
    adze_rng r = adze_rng_make(13, 0);
    adze_la_mat x = normal(&r, a, 200, 150), square = times(spd, x, true, x, false);
    int64_t labels[200], rows[150];
    OK(adze_la_svd(ctx, x, adze_la_dense(u, 200, 150), s, adze_la_dense(v, 150, 150)));
    uint64_t h = adze_hash64(u, sizeof u, adze_hash64(v, sizeof v, adze_hash64(s, sizeof s, 0)));
    OK(adze_la_eigen(ctx, square, s, adze_la_dense(v, 150, 150)));
    h = adze_hash64(v, sizeof v, adze_hash64(s, sizeof s, h));
    OK(adze_la_lu(ctx, adze_la_dense(memcpy(v, spd, sizeof v), 150, 150), rows));
    h = adze_hash64(v, sizeof v, h);
    OK(adze_la_cholesky(ctx, square));
    OK(adze_la_cholesky_inverse(ctx, square, adze_la_dense(v, 150, 150)));
    h = adze_hash64(v, sizeof v, h);
    adze_la_clusters c = {.centres = adze_la_dense(s, 1, 150), .labels = labels, .at_most = 5};
    OK(adze_la_kmeans(ctx, x, &c));
    h = adze_hash64(s, sizeof s, h);
    OK(adze_la_fft2(ctx, 100, 150, false, a));
    h = adze_hash64(a, sizeof a, h);
    adze_ctx_free(ctx);
    ctx = old;
    return h;
}

static void threads_and_instruction_sets_change_no_bit(void **state) {
    (void)state;
    static const char *const sets[] = {"ref", "v2", "v3", "v4"};
    const uint64_t one = bits_with(1, NULL);
    assert_true(bits_with(2, NULL) == one);
    assert_true(bits_with(5, NULL) == one);
    for (size_t i = 0; i < ADZE_COUNT(sets); i++) {
        adze_ctx *have = NULL;
        if (adze_ctx_new(&(adze_ctx_opts){.size = sizeof(adze_ctx_opts), .isa = sets[i]}, &have) == ADZE_OK) { /* else the processor lacks it */
            adze_ctx_free(have);
            assert_true(bits_with(2, sets[i]) == one);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equations_agree_with_lapack),
        cmocka_unit_test(orthogonal_factors_agree_with_lapack),
        cmocka_unit_test(spectra_agree_with_lapack),
        cmocka_unit_test(dependent_columns_agree_with_lapack),
        cmocka_unit_test(fourier_agrees_with_numpy),
        cmocka_unit_test(products_agree_with_the_definition),
        cmocka_unit_test(equations_keep_their_bounds),
        cmocka_unit_test(orthogonal_factors_keep_their_bounds),
        cmocka_unit_test(least_squares_meet_the_normal_equations),
        cmocka_unit_test(eigenvectors_keep_their_bounds),
        cmocka_unit_test(singular_values_keep_their_bounds),
        cmocka_unit_test(fourier_transforms_follow_their_definition),
        cmocka_unit_test(ritz_values_lie_within_their_bounds),
        cmocka_unit_test(gradients_and_powers_settle),
        cmocka_unit_test(clusters_are_found_again),
        cmocka_unit_test(more_clusters_than_values_leave_none_empty),
        cmocka_unit_test(clusters_of_numbers_are_the_best),
        cmocka_unit_test(components_are_the_same_by_both_ways),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(every_refused_allocation_is_survived),
        cmocka_unit_test(threads_and_instruction_sets_change_no_bit),
    };
    if (adze_ctx_new(NULL, &ctx) != ADZE_OK) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    adze_ctx_free(ctx);
    return failed;
}
