/* Orthogonal factors by Householder's reflections, and least squares. */
#include "base/linalg.h"

enum { QR_PANEL = 32 };

typedef struct column_norms { /* of what lies below the finished rows */
    double *now, *exact;      /* exact: when it was last summed up */
} column_norms;

/* Takes the largest of the columns from k on to place k. */
static void pivot_column(adze_la_mat a, int64_t k, column_norms norms, int64_t *order) {
    int64_t best = k;
    for (int64_t j = k + 1; j < a.cols; j++) {
        best = norms.now[j] > norms.now[best] ? j : best;
    }
    for (int64_t i = 0; i < a.rows && best != k; i++) {
        double held = la_row(a, i)[k];
        la_row(a, i)[k] = la_row(a, i)[best];
        la_row(a, i)[best] = held;
    }
    int64_t held = order[k];
    order[k] = order[best];
    order[best] = held;
    norms.now[best] = norms.now[k];
    norms.exact[best] = norms.exact[k];
}

/* Row k is final: its squares leave the norms. Where too little is left to trust the difference, the norm is summed up anew. */
static void update_norms(adze_la_mat a, int64_t k, column_norms norms) {
    for (int64_t j = k + 1; j < a.cols; j++) {
        if (norms.now[j] == 0) {
            continue;
        }
        double share = fabs(la_row(a, k)[j]) / norms.now[j], left = fmax(0, (1 - share) * (1 + share));
        double since = norms.now[j] / norms.exact[j];
        if (left * since * since <= sqrt(DBL_EPSILON)) {
            norms.exact[j] = norms.now[j] = k + 1 < a.rows ? la_norm(la_row(a, k + 1) + j, a.rows - k - 1, a.ld) : 0;
        } else {
            norms.now[j] *= sqrt(left);
        }
    }
}

/* Makes column k the vector of a reflection, and a copy of it in v (m). */
static double qr_column(adze_la_mat a, int64_t k, double *v) {
    double beta, tau = la_reflector(la_row(a, k) + k, a.rows - k, a.ld, &beta);
    memset(v, 0, (size_t)k * sizeof *v);
    for (int64_t i = k; i < a.rows; i++) {
        v[i] = la_row(a, i)[k];
    }
    la_row(a, k)[k] = beta;
    return tau;
}

static void qr_run(adze_ctx *ctx, adze_la_mat a, double *tau, int64_t *order, adze_la_mat v, column_norms norms) {
    const int64_t k = la_min(a.rows, a.cols);
    for (int64_t from = 0; from < k; from += v.rows) {
        const int64_t to = la_min(from + v.rows, k);
        for (int64_t j = from; j < to; j++) {
            if (order) {
                pivot_column(a, j, norms, order);
            }
            tau[j] = qr_column(a, j, la_row(v, j - from));
            adze_la_mat panel = la_part(a, 0, j + 1);
            panel.cols = to - j - 1;
            la_reflect(ctx, &(la_reflectors){{la_row(v, j - from), 1, a.rows, a.rows}, tau + j, j}, false, panel);
        }
        la_reflect(ctx, &(la_reflectors){{v.at, to - from, a.rows, a.rows}, tau + from, from}, false, la_part(a, 0, to));
        if (order) {
            update_norms(a, from, norms);
        }
    }
}

int adze_la_qr(adze_ctx *ctx, adze_la_mat a, double *tau, int64_t *order) {
    TRY(la_check(ctx, "a", a));
    adze_la_mat v, norms;
    TRY(la_new(ctx, order ? 1 : QR_PANEL, a.rows, &v)); /* the next pivot is known when all columns are up to date */
    int status = la_new(ctx, 2, a.cols, &norms);
    if (status == ADZE_OK) {
        for (int64_t j = 0; j < a.cols && order; j++) {
            order[j] = j;
            la_row(norms, 0)[j] = la_row(norms, 1)[j] = la_norm(a.at + j, a.rows, a.ld);
        }
        qr_run(ctx, a, tau, order, v, (column_norms){la_row(norms, 0), la_row(norms, 1)});
        adze_free(ctx, norms.at);
    }
    adze_free(ctx, v.at);
    return status;
}

int adze_la_qr_apply(adze_ctx *ctx, adze_la_mat qr, const double *tau, bool transposed, adze_la_mat b) {
    const int64_t k = la_min(qr.rows, qr.cols);
    TRY(la_check(ctx, "qr", qr));
    TRY(la_check_vector(ctx, "tau", tau, k));
    TRY(la_check(ctx, "b", b));
    TRY(la_check_shape(ctx, "b", b, qr.rows, b.cols));
    adze_la_mat v;
    TRY(la_new(ctx, k, qr.rows, &v));
    for (int64_t i = 0; i < k; i++) {
        la_row(v, i)[i] = 1;
        for (int64_t j = i + 1; j < qr.rows; j++) {
            la_row(v, i)[j] = la_row(qr, j)[i];
        }
    }
    la_reflect(ctx, &(la_reflectors){v, tau, 0}, !transposed, b);
    adze_free(ctx, v.at);
    return ADZE_OK;
}

int adze_la_qr_q(adze_ctx *ctx, adze_la_mat qr, const double *tau, adze_la_mat q) {
    TRY(la_check_out(ctx, "q", q));
    if (q.cols > qr.rows || q.rows != qr.rows) {
        return adze_fail(ctx, ADZE_ESHAPE, "q: (%lld, %lld), but Q is (%lld, %lld)", (long long)q.rows, (long long)q.cols, (long long)qr.rows,
                         (long long)qr.rows);
    }
    la_identity(q);
    return adze_la_qr_apply(ctx, qr, tau, false, q);
}

/* -- least squares -- */

typedef struct squares { /* a P = Q R, and where R has dependent columns, its independent rows = S^T Z^T */
    adze_la_mat r, b, s;
    double *tau, *s_tau;
    int64_t *order;
    int64_t rank;
} squares;

static void squares_free(adze_ctx *ctx, squares *q) {
    adze_free(ctx, q->r.at);
    adze_free(ctx, q->b.at);
    adze_free(ctx, q->s.at);
    adze_free(ctx, q->tau);
    adze_free(ctx, q->s_tau);
    adze_free(ctx, q->order);
}

static int squares_factor(adze_ctx *ctx, squares *q, adze_la_mat a, adze_la_mat b, double rcond) {
    const int64_t k = la_min(a.rows, a.cols);
    TRY(la_new(ctx, a.rows, a.cols, &q->r));
    TRY(la_new(ctx, a.rows, b.cols, &q->b));
    q->tau = adze_alloc(ctx, k, sizeof *q->tau);
    q->order = adze_alloc(ctx, a.cols, sizeof *q->order);
    TRY(ADZE_GOT(q->tau && q->order));
    la_copy(a, q->r, false);
    la_copy(b, q->b, false);
    TRY(adze_la_qr(ctx, q->r, q->tau, q->order));
    TRY(adze_la_qr_apply(ctx, q->r, q->tau, true, q->b));
    double least = rcond < 0 ? (double)(a.rows > a.cols ? a.rows : a.cols) * DBL_EPSILON : rcond;
    while (q->rank < k && fabs(la_row(q->r, q->rank)[q->rank]) > least * fabs(q->r.at[0])) {
        q->rank++;
    }
    return ADZE_OK;
}

/* y (n, k): the shortest with S^T Z^T y = the first rows of b. */
static int squares_shortest(adze_ctx *ctx, squares *q, adze_la_mat y) {
    const int64_t rank = q->rank;
    adze_la_mat st = {q->r.at, rank, rank, q->r.ld};
    TRY(la_new(ctx, y.rows, rank, &q->s));
    q->s_tau = adze_alloc(ctx, rank, sizeof *q->s_tau);
    TRY(ADZE_GOT(q->s_tau));
    for (int64_t i = 0; i < y.rows; i++) {
        for (int64_t j = 0; j < rank; j++) {
            la_row(q->s, i)[j] = i >= j ? la_row(q->r, j)[i] : 0;
        }
    }
    TRY(adze_la_qr(ctx, q->s, q->s_tau, NULL));
    la_copy((adze_la_mat){q->s.at, rank, rank, q->s.ld}, st, true);
    la_solve_triangle(ctx, LA_LOWER, st, (adze_la_mat){y.at, rank, y.cols, y.ld});
    return adze_la_qr_apply(ctx, q->s, q->s_tau, false, y);
}

static int squares_solve(adze_ctx *ctx, squares *q, adze_la_mat x) {
    adze_la_mat y;
    TRY(la_new(ctx, x.rows, x.cols, &y));
    la_copy(q->b, (adze_la_mat){y.at, q->rank, y.cols, y.ld}, false);
    int status = ADZE_OK;
    if (q->rank == x.rows) {
        la_solve_triangle(ctx, LA_UPPER, (adze_la_mat){q->r.at, x.rows, x.rows, q->r.ld}, y);
    } else {
        status = squares_shortest(ctx, q, y);
    }
    for (int64_t i = 0; i < x.rows && status == ADZE_OK; i++) {
        for (int64_t j = 0; j < x.cols; j++) {
            la_row(x, q->order[i])[j] = la_row(y, i)[j];
        }
    }
    adze_free(ctx, y.at);
    return status;
}

int adze_la_least_squares(adze_ctx *ctx, adze_la_mat a, adze_la_mat b, adze_la_mat x, double rcond, int64_t *rank) {
    TRY(la_check(ctx, "a", a));
    TRY(la_check(ctx, "b", b));
    TRY(la_check_shape(ctx, "b", b, a.rows, b.cols));
    TRY(la_check_shape(ctx, "x", x, a.cols, b.cols));
    squares q = {0};
    int status = squares_factor(ctx, &q, a, b, rcond);
    status = status == ADZE_OK ? squares_solve(ctx, &q, x) : status;
    if (rank) {
        *rank = q.rank;
    }
    squares_free(ctx, &q);
    return status;
}
