/* Singular values, rank and pseudo-inverse: a QR factorisation with pivoting, then Jacobi's rotations between the rows of R.
 *
 * R = W^T diag(s) V^T: rotations from the left (W) make the rows of R orthogonal, and then their lengths are the singular values. [R | I] is rotated
 * as one matrix, which ends as [diag(s) V^T | W]. In a tournament of the rows, all pairs of one round are disjoint and may be rotated at the same
 * time. */
#include "base/linalg.h"

#include <stdlib.h>

typedef struct tournament {
    adze_la_mat x; /* (n, 2n) */
    int64_t round;
    double tol;
    bool *turned; /* one flag for each pair of a round */
} tournament;

/* Makes rows i and j orthogonal; false when they were. */
static bool jacobi(adze_la_mat x, int64_t i, int64_t j, double tol) {
    double *a = la_row(x, i), *b = la_row(x, j);
    const int64_t n = x.rows;
    const double aa = la_dot(a, a, n), bb = la_dot(b, b, n), ab = la_dot(a, b, n);
    if (fabs(ab) <= tol * sqrt(aa) * sqrt(bb)) {
        return false;
    }
    const double slope = (bb - aa) / (2 * ab);
    const double t = copysign(1, slope) / (fabs(slope) + hypot(slope, 1)), c = 1 / sqrt(1 + t * t);
    la_rotate(a, b, c, c * t, x.cols);
    return true;
}

/* Pair p of a round: with an odd number of rows, whoever meets row n has nothing to do. */
static void play(void *arg, la_range r) {
    const tournament *t = arg;
    const int64_t n = t->x.rows, circle = n + n % 2 - 1;
    for (int64_t p = r.from; p < r.to; p++) {
        int64_t i = p ? (t->round + p) % circle : circle, j = (t->round + circle - p) % circle;
        t->turned[p] = i < n && j < n && jacobi(t->x, la_min(i, j), i < j ? j : i, t->tol);
    }
}

static int rotate_rows(adze_ctx *ctx, adze_la_mat x) {
    enum { SWEEPS = 40 }; /* four to eight are usual */
    const int64_t n = x.rows, pairs = (n + 1) / 2;
    tournament t = {x, 0, DBL_EPSILON * (4 + sqrt((double)n)), adze_alloc(ctx, pairs, sizeof(bool))};
    TRY(ADZE_GOT(t.turned));
    bool any = n > 1;
    for (int sweep = 0; any && sweep < SWEEPS; sweep++) {
        any = false;
        for (t.round = 0; t.round < 2 * pairs - 1; t.round++) {
            la_run(ctx, play, &t, pairs, 1, 18.0 * (double)pairs * (double)n);
            for (int64_t p = 0; p < pairs; p++) {
                any |= t.turned[p];
            }
        }
    }
    adze_free(ctx, t.turned);
    return any ? adze_fail(ctx, ADZE_EBUG, "the singular values of %lld rows have not settled after %d sweeps", (long long)n, SWEEPS) : ADZE_OK;
}

/* Rows rank .. of v (k, n) become orthonormal to the orthonormal rows before them and to each other. */
static int complete_rows(adze_ctx *ctx, adze_la_mat v, int64_t rank) {
    adze_la_mat qr, rest;
    TRY(la_new(ctx, v.cols, rank, &qr));
    if (la_new(ctx, v.cols, v.rows - rank, &rest) != ADZE_OK) {
        adze_free(ctx, qr.at);
        return ADZE_ENOMEM;
    }
    double *tau = adze_alloc(ctx, rank, sizeof *tau);
    int status = ADZE_GOT(tau);
    if (tau) {
        la_copy(v, qr, true);
        la_identity(la_part(rest, rank, 0));
        status = adze_la_qr(ctx, qr, tau, NULL);
        status = status == ADZE_OK ? adze_la_qr_apply(ctx, qr, tau, false, rest) : status;
        adze_la_mat missing = la_part(v, rank, 0);
        la_copy(rest, missing, true);
    }
    adze_free(ctx, tau);
    adze_free(ctx, rest.at);
    adze_free(ctx, qr.at);
    return status;
}

typedef struct svd_work {
    adze_la_mat a, x, u, vt; /* a (m, n), m >= n: QR; x (n, 2n); u (m, n); vt (n, n) */
    double *tau;
    int64_t *order;
    struct length {
        double value;
        int64_t row;
    } * lengths;
    double to_unit;
} svd_work;

static const double LIFT = 0x1p400; /* squares of lengths down to 2^-900 of the largest do not underflow, nor do the largest overflow */

static int by_length(const void *a, const void *b) {
    const struct length *x = a, *y = b;
    return x->value > y->value ? -1 : x->value < y->value ? 1 : x->row < y->row ? -1 : 1;
}

static int svd_values(adze_ctx *ctx, svd_work *w, double *s) {
    const int64_t n = w->a.cols;
    la_scale(w->a, w->to_unit = la_to_unit(la_largest(w->a)));
    la_scale(w->a, LIFT);
    TRY(adze_la_qr(ctx, w->a, w->tau, w->order));
    for (int64_t i = 0; i < n; i++) {
        memcpy(la_row(w->x, i) + i, la_row(w->a, i) + i, (size_t)(n - i) * sizeof(double));
        la_row(w->x, i)[n + i] = 1;
    }
    TRY(rotate_rows(ctx, w->x));
    for (int64_t i = 0; i < n; i++) {
        w->lengths[i] = (struct length){la_norm(la_row(w->x, i), n, 1), i};
    }
    qsort(w->lengths, (size_t)n, sizeof *w->lengths, by_length);
    for (int64_t i = 0; i < n; i++) {
        s[i] = w->lengths[i].value / LIFT / w->to_unit;
    }
    return ADZE_OK;
}

static int svd_vectors(adze_ctx *ctx, svd_work *w) {
    const int64_t n = w->a.cols;
    int64_t rank = 0;
    adze_la_mat v; /* the rows of V^T in the order of the pivots */
    TRY(la_new(ctx, n, n, &v));
    for (int64_t i = 0; i < n; i++) {
        const double *row = la_row(w->x, w->lengths[i].row), length = w->lengths[i].value;
        for (int64_t j = 0; j < n; j++) {
            la_row(v, i)[j] = length > 0 ? row[j] / length : 0;
            la_row(w->u, j)[i] = row[n + j];
        }
        rank += length > 0;
    }
    int status = rank < n ? complete_rows(ctx, v, rank) : ADZE_OK;
    for (int64_t i = 0; i < n && status == ADZE_OK; i++) {
        for (int64_t j = 0; j < n; j++) {
            la_row(w->vt, i)[w->order[j]] = la_row(v, i)[j];
        }
    }
    adze_free(ctx, v.at);
    return status == ADZE_OK ? adze_la_qr_apply(ctx, w->a, w->tau, false, w->u) : status;
}

static int svd_run(adze_ctx *ctx, svd_work *w, adze_la_mat a, double *s, bool vectors) {
    const bool wide = a.rows < a.cols;
    const int64_t m = wide ? a.cols : a.rows, n = wide ? a.rows : a.cols;
    TRY(la_new(ctx, m, n, &w->a));
    TRY(la_new(ctx, n, 2 * n, &w->x));
    w->tau = adze_alloc(ctx, n, sizeof *w->tau);
    w->order = adze_alloc(ctx, n, sizeof *w->order);
    w->lengths = adze_alloc(ctx, n, sizeof *w->lengths);
    TRY(ADZE_GOT(w->tau && w->order && w->lengths));
    la_copy(a, w->a, wide);
    TRY(svd_values(ctx, w, s));
    if (vectors) {
        TRY(la_new(ctx, m, n, &w->u));
        TRY(la_new(ctx, n, n, &w->vt));
        TRY(svd_vectors(ctx, w));
    }
    return ADZE_OK;
}

int adze_la_svd(adze_ctx *ctx, adze_la_mat a, adze_la_mat u, double *s, adze_la_mat vt) {
    TRY(la_check(ctx, "a", a));
    const int64_t k = la_min(a.rows, a.cols);
    const bool vectors = u.at || vt.at, wide = a.rows < a.cols;
    if (vectors) {
        TRY(la_check_shape(ctx, "u", u, a.rows, k));
        TRY(la_check_shape(ctx, "vt", vt, k, a.cols));
    }
    svd_work w = {0};
    int status = svd_run(ctx, &w, a, s, vectors);
    if (vectors && status == ADZE_OK) {
        la_copy(wide ? w.vt : w.u, u, wide);
        la_copy(wide ? w.u : w.vt, vt, wide);
    }
    adze_free(ctx, w.a.at);
    adze_free(ctx, w.x.at);
    adze_free(ctx, w.u.at);
    adze_free(ctx, w.vt.at);
    adze_free(ctx, w.tau);
    adze_free(ctx, w.order);
    adze_free(ctx, w.lengths);
    return status;
}

int64_t adze_la_rank(const double *s, int64_t k, int64_t largest, double rcond) {
    const double least = rcond < 0 ? (double)largest * DBL_EPSILON : rcond;
    int64_t rank = 0;
    while (rank < k && s[rank] > least * s[0]) {
        rank++;
    }
    return rank;
}

int adze_la_pinv(adze_ctx *ctx, adze_la_mat a, double rcond, adze_la_mat out) {
    TRY(la_check(ctx, "a", a));
    TRY(la_check_shape(ctx, "out", out, a.cols, a.rows));
    const int64_t k = la_min(a.rows, a.cols);
    adze_la_mat u = {0}, vt = {0}, s = {0};
    int status = la_new(ctx, a.rows, k, &u);
    status = status == ADZE_OK ? la_new(ctx, k, a.cols, &vt) : status;
    status = status == ADZE_OK ? la_new(ctx, 1, k, &s) : status;
    status = status == ADZE_OK ? adze_la_svd(ctx, a, u, s.at, vt) : status;
    if (status == ADZE_OK) {
        const int64_t rank = adze_la_rank(s.at, k, a.rows > a.cols ? a.rows : a.cols, rcond);
        for (int64_t i = 0; i < k; i++) {
            for (int64_t j = 0; j < a.cols; j++) {
                la_row(vt, i)[j] = i < rank ? la_row(vt, i)[j] / s.at[i] : 0;
            }
        }
        status = adze_la_matmul(ctx, vt, true, u, true, out);
    }
    adze_free(ctx, u.at);
    adze_free(ctx, vt.at);
    adze_free(ctx, s.at);
    return status;
}
