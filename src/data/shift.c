/* Whether two samples come from one distribution: feature by feature (Kolmogorov and Smirnov) and all together (maximum mean discrepancy; Gretton,
 * Borgwardt, Rasch, Schoelkopf, Smola, JMLR 13, 2012), as Rabanser, Guennemann and Lipton 2019 compare training and test data. And the weights that
 * make one sample stand for the other (Shimodaira 2000). */
#include "adze/linalg.h"
#include "base/stats.h"
#include "data/formats.h"

#include <math.h>
#include <stdlib.h>

/* -- one feature --------------------------------------------------------------------------------------------------------------------------------- */

/* P(K > x) of Kolmogorov's distribution; the first series converges quickly for large x, the second for small. */
static double kolmogorov(double x) {
    const double pi = 3.14159265358979323846;
    double sum = 0;
    for (int k = 1; k <= 100 && x > 0; k++) {
        const double odd = 2 * k - 1;
        sum += x > 1 ? (k % 2 ? 2 : -2) * exp(-2.0 * k * k * x * x) : exp(-odd * odd * pi * pi / (8 * x * x)) * sqrt(2 * pi) / x;
    }
    return x > 1 ? sum : x > 0 ? 1 - sum : 1;
}

double adze_ks(double *a, int64_t n, double *b, int64_t m, double *p) {
    double most = 0;
    qsort(a, (size_t)n, sizeof *a, adze_ascending);
    qsort(b, (size_t)m, sizeof *b, adze_ascending);
    for (int64_t i = 0, j = 0; i < n && j < m;) {
        const double v = a[i] < b[j] ? a[i] : b[j];
        while (i < n && a[i] <= v) {
            i++;
        }
        while (j < m && b[j] <= v) {
            j++;
        }
        most = fmax(most, fabs((double)i / (double)n - (double)j / (double)m));
    }
    if (p) {
        *p = fmin(1, kolmogorov(sqrt((double)n * (double)m / (double)(n + m)) * most));
    }
    return most;
}

/* -- all together -------------------------------------------------------------------------------------------------------------------------------- */

typedef struct discrepancy {
    adze_la_mat k; /* kernel of all pairs of the pooled sample */
    int64_t n, m;
} discrepancy;

/* The unbiased estimate (equation 3 of the paper) with the first n of `order` as the one sample. */
static double estimate(const discrepancy *q, const int64_t *order) {
    const int64_t all = q->n + q->m;
    double within[2] = {0}, between = 0;
    for (int64_t i = 0; i < all; i++) {
        const double *row = q->k.at + order[i] * q->k.ld;
        for (int64_t j = 0; j < i; j++) {
            if ((i < q->n) == (j < q->n)) {
                within[i >= q->n] += row[order[j]];
            } else {
                between += row[order[j]];
            }
        }
    }
    const double n = (double)q->n, m = (double)q->m;
    return 2 * (within[0] / (n * (n - 1)) + within[1] / (m * (m - 1)) - between / (n * m));
}

/* Squared distances, then exp(-d / (2 width^2)); 2 width^2 is the median of the distances that are not 0. */
static int fill_kernel(adze_ctx *ctx, discrepancy *q, adze_la_mat a, adze_la_mat b, double *width) {
    const int64_t all = q->n + q->m;
    int64_t count = 0;
    double *sorted = adze_alloc(ctx, all * (all - 1) / 2, sizeof *sorted);
    TRY(ADZE_GOT(sorted));
    for (int64_t i = 0; i < all; i++) {
        const double *x = i < q->n ? a.at + i * a.ld : b.at + (i - q->n) * b.ld;
        for (int64_t j = 0; j < i; j++) {
            const double *y = j < q->n ? a.at + j * a.ld : b.at + (j - q->n) * b.ld;
            double sum = 0;
            for (int64_t k = 0; k < a.cols; k++) {
                sum += (x[k] - y[k]) * (x[k] - y[k]);
            }
            q->k.at[i * all + j] = sum;
            sorted[count] = sum;
            count += sum > 0;
        }
    }
    qsort(sorted, (size_t)count, sizeof *sorted, adze_ascending);
    const double scale = count > 0 ? sorted[count / 2] : 1;
    for (int64_t i = 0; i < all; i++) {
        for (int64_t j = 0; j < i; j++) {
            q->k.at[i * all + j] = q->k.at[j * all + i] = exp(-q->k.at[i * all + j] / scale);
        }
    }
    *width = sqrt(scale / 2);
    adze_free(ctx, sorted);
    return ADZE_OK;
}

static void mmd_run(const discrepancy *q, int64_t *order, adze_shift_mmd *r) {
    const int64_t all = q->n + q->m;
    adze_rng rng = adze_rng_make(r->seed, adze_hash_str("data/shift"));
    int64_t above = 1;
    for (int64_t i = 0; i < all; i++) {
        order[i] = i;
    }
    r->mmd2 = estimate(q, order);
    for (int64_t t = 0; t < r->permutations; t++) {
        adze_rng_permute(&rng, order, all);
        above += estimate(q, order) >= r->mmd2;
    }
    r->p = (double)above / (double)(r->permutations + 1);
}

int adze_mmd(adze_ctx *ctx, adze_la_mat a, adze_la_mat b, adze_shift_mmd *r) {
    discrepancy q = {.n = a.rows, .m = b.rows};
    const int64_t all = a.rows + b.rows;
    if (a.cols != b.cols || a.rows < 2 || b.rows < 2 || r->permutations < 1) {
        return adze_fail(ctx, ADZE_ESHAPE, "two samples of at least 2 with equally many features are compared, by at least 1 permutation");
    }
    int64_t *order = adze_alloc(ctx, all, sizeof *order);
    q.k = adze_la_dense(adze_alloc(ctx, all * all, sizeof(double)), all, all);
    const int st = order && q.k.at ? fill_kernel(ctx, &q, a, b, &r->width) : ADZE_ENOMEM;
    if (st == ADZE_OK) {
        mmd_run(&q, order, r);
    }
    adze_free(ctx, q.k.at);
    adze_free(ctx, order);
    return st;
}

/* -- weights ------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct odds { /* logistic regression on 1, x and x^2: which sample does x come from? */
    adze_la_mat a, b, hess;
    double *w, *grad;
    int64_t d; /* 1 + 2 features */
} odds;

static double feature(const double *x, int64_t features, int64_t k) {
    return k == 0 ? 1 : k <= features ? x[k - 1] : x[k - 1 - features] * x[k - 1 - features];
}

static double log_odds(const odds *q, const double *x) {
    double sum = 0;
    for (int64_t k = 0; k < q->d; k++) {
        sum += q->w[k] * feature(x, q->a.cols, k);
    }
    return sum;
}

/* Adds one sample's share of gradient and Hessian; each sample weighs 1. */
static void add_sample(odds *q, adze_la_mat x, double target) {
    for (int64_t i = 0; i < x.rows; i++) {
        const double *row = x.at + i * x.ld, p = 1 / (1 + exp(-log_odds(q, row)));
        for (int64_t k = 0; k < q->d; k++) {
            const double v = feature(row, x.cols, k) / (double)x.rows;
            q->grad[k] += (p - target) * v;
            for (int64_t j = 0; j <= k; j++) {
                q->hess.at[k * q->d + j] += p * (1 - p) * v * feature(row, x.cols, j);
            }
        }
    }
}

/* Newton's steps, with a trace of l2 so that a separable sample ends too. */
static int fit_odds(adze_ctx *ctx, odds *q) {
    enum { STEPS = 50 };
    static const double ridge = 1e-6, settled = 1e-10;
    for (int t = 0; t < STEPS; t++) {
        double size = 0;
        memset(q->hess.at, 0, (size_t)(q->d * q->d) * sizeof(double));
        for (int64_t k = 0; k < q->d; k++) {
            q->grad[k] = ridge * q->w[k];
            q->hess.at[k * q->d + k] = ridge;
        }
        add_sample(q, q->a, 0);
        add_sample(q, q->b, 1);
        TRY(adze_la_cholesky(ctx, q->hess));
        TRY(adze_la_cholesky_solve(ctx, q->hess, adze_la_dense(q->grad, q->d, 1)));
        for (int64_t k = 0; k < q->d; k++) {
            q->w[k] -= q->grad[k];
            size += q->grad[k] * q->grad[k];
        }
        if (size < settled * settled) {
            break;
        }
    }
    return ADZE_OK;
}

int adze_importance(adze_ctx *ctx, adze_la_mat a, adze_la_mat b, double *weight) {
    if (a.cols != b.cols || a.rows < 1 || b.rows < 1) {
        return adze_fail(ctx, ADZE_ESHAPE, "importance weights need two samples with equally many features");
    }
    odds q = {.a = a, .b = b, .d = 1 + 2 * a.cols};
    double *room = adze_alloc(ctx, q.d * (q.d + 2), sizeof *room), sum = 0;
    TRY(ADZE_GOT(room));
    q.w = room;
    q.grad = room + q.d;
    q.hess = adze_la_dense(room + 2 * q.d, q.d, q.d);
    const int st = fit_odds(ctx, &q);
    for (int64_t i = 0; i < a.rows && st == ADZE_OK; i++) {
        weight[i] = exp(log_odds(&q, a.at + i * a.ld));
        sum += weight[i] / (double)a.rows;
    }
    for (int64_t i = 0; i < a.rows && st == ADZE_OK; i++) {
        weight[i] /= sum;
    }
    adze_free(ctx, room);
    return st;
}
