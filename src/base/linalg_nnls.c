/* Least squares with no negative unknown: Lawson and Hanson's active sets. */
#include "base/linalg.h"

typedef struct nnls {
    adze_la_mat a, some;  /* some: the columns of the free unknowns */
    adze_la_mat b, z;     /* (m, 1), (n, 1) */
    double *x, *w, *rest; /* w = a^T (b - a x): how fast the square shrinks with each unknown */
    int64_t *free_ones, count;
} nnls;

/* Solves for the free unknowns alone, into z. */
static int solve_free(adze_ctx *ctx, nnls *q) {
    adze_la_mat some = {q->some.at, q->a.rows, q->count, q->count}, z = {q->z.at, q->count, 1, 1};
    for (int64_t i = 0; i < some.rows; i++) {
        for (int64_t j = 0; j < some.cols; j++) {
            la_row(some, i)[j] = la_row(q->a, i)[q->free_ones[j]];
        }
    }
    return adze_la_least_squares(ctx, some, q->b, z, -1, NULL);
}

/* Goes from x towards z until the first unknown meets 0, and holds those that did. False when z itself is allowed. */
static bool step_to_bound(nnls *q) {
    double step = 1;
    int64_t first = -1;
    for (int64_t j = 0; j < q->count; j++) {
        const double x = q->x[q->free_ones[j]], z = q->z.at[j];
        if (z <= 0 && (first < 0 || x / (x - z) < step)) {
            step = x > z ? x / (x - z) : 0;
            first = j;
        }
    }
    int64_t kept = 0;
    for (int64_t j = 0; j < q->count; j++) {
        double *x = q->x + q->free_ones[j];
        *x = first < 0 ? q->z.at[j] : *x + step * (q->z.at[j] - *x);
        if (first >= 0 && (j == first || *x <= 0)) {
            *x = 0;
        } else {
            q->free_ones[kept++] = q->free_ones[j];
        }
    }
    q->count = kept;
    return first >= 0;
}

/* w, and the length of what is left. */
static double gradient(nnls *q) {
    memset(q->w, 0, (size_t)q->a.cols * sizeof *q->w);
    for (int64_t i = 0; i < q->a.rows; i++) {
        q->rest[i] = q->b.at[i] - la_dot(la_row(q->a, i), q->x, q->a.cols);
        la_axpy(q->w, q->rest[i], la_row(q->a, i), q->a.cols);
    }
    return la_norm(q->rest, q->a.rows, 1);
}

/* The unknown whose release pays most, or -1. refused[j]: its release has just led back. */
static int64_t best_release(const nnls *q, const bool *refused, double tol) {
    int64_t best = -1;
    for (int64_t j = 0; j < q->a.cols; j++) {
        if (q->x[j] == 0 && !refused[j] && q->w[j] > tol && (best < 0 || q->w[j] > q->w[best])) {
            best = j;
        }
    }
    return best;
}

static int nnls_run(adze_ctx *ctx, nnls *q, bool *refused, double *residual) {
    const int64_t n = q->a.cols, at_most = 30 * (n + 1);
    const double tol = 10 * (double)(q->a.rows + n) * DBL_EPSILON * la_largest(q->a) * la_norm(q->b.at, q->a.rows, 1);
    double left = gradient(q);
    for (int64_t rounds = 0, j; (j = best_release(q, refused, tol)) >= 0; rounds++) {
        if (rounds > at_most) {
            return adze_fail(ctx, ADZE_EBUG, "non-negative least squares have not settled after %lld rounds", (long long)at_most);
        }
        q->free_ones[q->count++] = j;
        TRY(solve_free(ctx, q));
        if (q->z.at[q->count - 1] <= 0) { /* rounding promised too much */
            q->count--;
            refused[j] = true;
            continue;
        }
        while (step_to_bound(q)) {
            TRY(solve_free(ctx, q));
        }
        memset(refused, 0, (size_t)n * sizeof *refused);
        left = gradient(q);
    }
    if (residual) {
        *residual = left;
    }
    return ADZE_OK;
}

int adze_la_nnls(adze_ctx *ctx, adze_la_mat a, const double *b, double *x, double *residual) {
    TRY(la_check(ctx, "a", a));
    TRY(la_check_vector(ctx, "b", b, a.rows));
    const int64_t n = a.cols;
    adze_la_mat some = {0}, room = {0};
    int64_t *free_ones = adze_alloc(ctx, n, sizeof *free_ones);
    bool *refused = adze_alloc(ctx, n, sizeof *refused);
    int status = free_ones && refused ? la_new(ctx, a.rows, n, &some) : ADZE_ENOMEM;
    status = status == ADZE_OK ? la_new(ctx, 1, 2 * n + a.rows, &room) : status;
    if (status == ADZE_OK) {
        memset(x, 0, (size_t)n * sizeof *x);
        nnls q = {a, some, {(double *)(uintptr_t)b, a.rows, 1, 1}, {room.at, n, 1, 1}, x, room.at + n, room.at + 2 * n, free_ones, 0};
        status = nnls_run(ctx, &q, refused, residual);
    }
    adze_free(ctx, free_ones);
    adze_free(ctx, refused);
    adze_free(ctx, some.at);
    adze_free(ctx, room.at);
    return status;
}
