/* Least squares with a penalty on absolute values: one solution by coordinate descent, and the whole path of solutions by least angles. */
#include "base/linalg.h"

/* -- coordinate descent -- */

typedef struct lasso {
    adze_la_mat at;        /* (n, m): the columns of a, as rows */
    double *rest, *square; /* b - a x; |column|^2 */
    const double *b;
    double *x, l1, l2;
} lasso;

static void lasso_sweep(lasso *q) {
    for (int64_t j = 0; j < q->at.rows; j++) {
        const double *column = la_row(q->at, j), old = q->x[j];
        const double along = la_dot(column, q->rest, q->at.cols) + q->square[j] * old, size = fabs(along) - q->l1;
        q->x[j] = size > 0 ? copysign(size, along) / (q->square[j] + q->l2) : 0;
        if (q->x[j] != old) {
            la_axpy(q->rest, old - q->x[j], column, q->at.cols);
        }
    }
}

/* How far the objective may be above its minimum. The dual point is the residual (of a with sqrt(l2) I below it), scaled until it is feasible. */
static double duality_gap(const lasso *q) {
    const int64_t n = q->at.rows, m = q->at.cols;
    double steepest = 0, size = 0;
    for (int64_t j = 0; j < n; j++) {
        steepest = fmax(steepest, fabs(la_dot(la_row(q->at, j), q->rest, m) - q->l2 * q->x[j]));
        size += fabs(q->x[j]);
    }
    const double scale = steepest > q->l1 ? q->l1 / steepest : 1, square = la_dot(q->rest, q->rest, m) + q->l2 * la_dot(q->x, q->x, n);
    return square / 2 + q->l1 * size - scale * la_dot(q->rest, q->b, m) + scale * scale / 2 * square;
}

static void lasso_run(lasso *q, adze_la_stop *stop) {
    enum { SWEEPS = 5 }; /* between two looks at the gap, which costs a sweep */
    const double target = stop->tol * la_dot(q->b, q->b, q->at.cols) / 2;
    memcpy(q->rest, q->b, (size_t)q->at.cols * sizeof *q->rest);
    for (int64_t j = 0; j < q->at.rows; j++) {
        q->square[j] = la_dot(la_row(q->at, j), la_row(q->at, j), q->at.cols);
        q->x[j] = q->square[j] + q->l2 > 0 ? q->x[j] : 0;
        la_axpy(q->rest, -q->x[j], la_row(q->at, j), q->at.cols);
    }
    stop->residual = duality_gap(q);
    for (stop->steps = 0; stop->steps < stop->at_most && stop->residual > target;) {
        for (int k = 0; k < SWEEPS && stop->steps < stop->at_most; k++, stop->steps++) {
            lasso_sweep(q);
        }
        stop->residual = duality_gap(q);
    }
}

int adze_la_lasso(adze_ctx *ctx, adze_la_mat a, const double *b, double l1, double l2, double *x, adze_la_stop *stop) {
    TRY(la_check(ctx, "a", a));
    TRY(la_check_vector(ctx, "b", b, a.rows));
    TRY(la_check_vector(ctx, "x", x, a.cols));
    TRY(la_check_vector(ctx, "l1, l2, tol", (double[]){l1, l2, stop->tol}, 3));
    if (!(l1 > 0) || l2 < 0) {
        return adze_fail(ctx, ADZE_EARG, "a lasso needs l1 above 0 and l2 of at least 0, not %g and %g; without l1 it is a ridge", l1, l2);
    }
    adze_la_mat at = {0}, room = {0};
    int status = la_new(ctx, a.cols, a.rows, &at);
    status = status == ADZE_OK ? la_new(ctx, 1, a.rows + a.cols, &room) : status;
    if (status == ADZE_OK) {
        la_copy(a, at, true);
        lasso q = {.at = at, .rest = room.at, .square = room.at + a.rows, .b = b, .x = x, .l1 = l1, .l2 = l2};
        lasso_run(&q, stop);
    }
    adze_free(ctx, at.at);
    adze_free(ctx, room.at);
    return status;
}

/* -- least angles -- */

typedef struct lars {
    adze_la_mat at, gram; /* columns of a as rows; room for the products of the active ones */
    const double *b;
    double *x, *rest, *corr, *step, *fit; /* x; b - a x; a^T rest; how x and a x change as l1 falls by 1 */
    int64_t *active, count;
    double l1;
} lars;

static void lars_correlate(lars *q) {
    memcpy(q->rest, q->b, (size_t)q->at.cols * sizeof *q->rest);
    for (int64_t j = 0; j < q->at.rows; j++) {
        la_axpy(q->rest, -q->x[j], la_row(q->at, j), q->at.cols);
    }
    for (int64_t j = 0; j < q->at.rows; j++) {
        q->corr[j] = la_dot(la_row(q->at, j), q->rest, q->at.cols);
    }
}

/* The direction in which all active columns keep equal correlations with what is left. */
static int lars_direction(adze_ctx *ctx, lars *q) {
    adze_la_mat gram = {q->gram.at, q->count, q->count, q->gram.ld};
    for (int64_t i = 0; i < q->count; i++) {
        for (int64_t j = 0; j <= i; j++) {
            la_row(gram, i)[j] = la_dot(la_row(q->at, q->active[i]), la_row(q->at, q->active[j]), q->at.cols);
        }
        q->step[i] = q->corr[q->active[i]] >= 0 ? 1 : -1;
    }
    TRY(adze_la_cholesky(ctx, gram));
    TRY(adze_la_cholesky_solve(ctx, gram, (adze_la_mat){q->step, q->count, 1, 1}));
    memset(q->fit, 0, (size_t)q->at.cols * sizeof *q->fit);
    for (int64_t i = 0; i < q->count; i++) {
        la_axpy(q->fit, q->step[i], la_row(q->at, q->active[i]), q->at.cols);
    }
    return ADZE_OK;
}

static bool is_active(const lars *q, int64_t j) {
    for (int64_t i = 0; i < q->count; i++) {
        if (q->active[i] == j) {
            return true;
        }
    }
    return false;
}

/* How far l1 falls until a column joins (*join) or an unknown meets 0 (*leave, a place among the active). `left`: the one that did so just now. */
static double lars_next(const lars *q, int64_t left, int64_t *join, int64_t *leave) {
    double far = q->l1;
    const double tiny = 1e-12 * q->l1;
    *join = *leave = -1;
    for (int64_t j = 0; j < q->at.rows; j++) {
        const double slope = la_dot(la_row(q->at, j), q->fit, q->at.cols);
        const double up = (q->l1 - q->corr[j]) / (1 - slope), down = (q->l1 + q->corr[j]) / (1 + slope);
        const double way[2] = {up, down};
        for (int k = 0; k < 2 && !is_active(q, j); k++) {
            if (way[k] > (j == left ? tiny : -tiny) && way[k] < far) {
                far = fmax(way[k], 0);
                *join = j;
            }
        }
    }
    for (int64_t i = 0; i < q->count; i++) {
        const double way = -q->x[q->active[i]] / q->step[i];
        if (way > tiny && way < far) {
            far = way;
            *leave = i;
            *join = -1;
        }
    }
    return far;
}

static void lars_knot(const lars *q, adze_la_path *path) {
    path->l1[path->knots] = q->l1;
    for (int64_t j = 0; j < q->at.rows; j++) {
        la_row(path->x, path->knots)[j] = q->x[j];
    }
    path->knots++;
}

static int lars_run(adze_ctx *ctx, lars *q, adze_la_path *path) {
    int64_t join = 0, leave = -1, left = -1;
    lars_correlate(q);
    for (int64_t j = 1; j < q->at.rows; j++) {
        join = fabs(q->corr[j]) > fabs(q->corr[join]) ? j : join;
    }
    q->l1 = q->at.rows > 0 ? fabs(q->corr[join]) : 0;
    const double first = q->l1;
    path->knots = 0;
    lars_knot(q, path);
    while (q->l1 > DBL_EPSILON * first && path->knots < path->x.rows) {
        if (join >= 0) {
            q->active[q->count++] = join;
        }
        TRY(lars_direction(ctx, q));
        const double way = lars_next(q, left, &join, &leave);
        for (int64_t i = 0; i < q->count; i++) {
            q->x[q->active[i]] += way * q->step[i];
        }
        left = leave >= 0 ? q->active[leave] : -1;
        if (leave >= 0) {
            q->x[left] = 0;
            memmove(q->active + leave, q->active + leave + 1, (size_t)(q->count - leave - 1) * sizeof *q->active);
            q->count--;
        }
        q->l1 = join < 0 && leave < 0 ? 0 : q->l1 - way;
        lars_correlate(q);
        lars_knot(q, path);
    }
    return ADZE_OK;
}

int adze_la_lars(adze_ctx *ctx, adze_la_mat a, const double *b, adze_la_path *path) {
    TRY(la_check(ctx, "a", a));
    TRY(la_check_vector(ctx, "b", b, a.rows));
    TRY(la_check_shape(ctx, "path->x", path->x, path->x.rows, a.cols));
    if (path->x.rows < 1) {
        return adze_fail(ctx, ADZE_EARG, "a path needs room for at least one knot");
    }
    const int64_t n = a.cols, m = a.rows;
    lars q = {.b = b, .active = adze_alloc(ctx, n + 1, sizeof *q.active)};
    adze_la_mat room = {0};
    int status = q.active ? la_new(ctx, n, m, &q.at) : ADZE_ENOMEM;
    status = status == ADZE_OK ? la_new(ctx, n, n, &q.gram) : status;
    status = status == ADZE_OK ? la_new(ctx, 1, 3 * n + 2 * m + 3, &room) : status;
    if (status == ADZE_OK) {
        la_copy(a, q.at, true);
        q.x = room.at;
        q.corr = q.x + n;
        q.step = q.corr + n + 1;
        q.rest = q.step + n + 1;
        q.fit = q.rest + m;
        status = lars_run(ctx, &q, path);
    }
    adze_free(ctx, q.active);
    adze_free(ctx, q.at.at);
    adze_free(ctx, q.gram.at);
    adze_free(ctx, room.at);
    return status;
}
