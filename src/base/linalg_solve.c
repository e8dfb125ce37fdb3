/* Systems of equations: Cholesky and LU. */
#include "base/linalg.h"

/* -- Cholesky: a row needs only dot products with the rows above it -- */

enum { CHOLESKY_BLOCK = 32 }; /* columns finished at a time: their rows stay in the second cache */

typedef struct cholesky {
    adze_la_mat a;
    int64_t from, to; /* the block's columns */
} cholesky;

static double cholesky_rest(adze_la_mat a, int64_t i, int64_t j) {
    return la_row(a, i)[j] - la_dot(la_row(a, i), la_row(a, j), j);
}

static void cholesky_below(void *arg, la_range r) {
    const cholesky *c = arg;
    for (int64_t i = c->to + r.from; i < c->to + r.to; i++) {
        for (int64_t j = c->from; j < c->to; j++) {
            la_row(c->a, i)[j] = cholesky_rest(c->a, i, j) / la_row(c->a, j)[j];
        }
    }
}

int adze_la_cholesky(adze_ctx *ctx, adze_la_mat a) {
    TRY(la_check_square(ctx, "a", a));
    const int64_t n = a.rows;
    for (int64_t from = 0; from < n; from += CHOLESKY_BLOCK) {
        cholesky c = {a, from, la_min(from + CHOLESKY_BLOCK, n)};
        for (int64_t i = from; i < c.to; i++) {
            for (int64_t j = from; j < i; j++) {
                la_row(a, i)[j] = cholesky_rest(a, i, j) / la_row(a, j)[j];
            }
            double pivot = cholesky_rest(a, i, i);
            if (!(pivot > 0) || isinf(pivot)) {
                return adze_fail(ctx, ADZE_EARG, "a is not positive definite: pivot %lld of %lld is %g", (long long)i, (long long)n, pivot);
            }
            la_row(a, i)[i] = sqrt(pivot);
            memset(la_row(a, i) + i + 1, 0, (size_t)(n - i - 1) * sizeof(double));
        }
        la_run(ctx, cholesky_below, &c, n - c.to, 1, (double)(n - c.to) * (double)(c.to - from) * (double)c.to);
    }
    return ADZE_OK;
}

static int check_factor(adze_ctx *ctx, const char *name, adze_la_mat t) {
    TRY(la_check_square(ctx, name, t));
    for (int64_t i = 0; i < t.rows; i++) {
        if (la_row(t, i)[i] == 0) {
            return adze_fail(ctx, ADZE_EARG, "the matrix is singular: pivot %lld of %lld is 0", (long long)i, (long long)t.rows);
        }
    }
    return ADZE_OK;
}

static int check_sides(adze_ctx *ctx, adze_la_mat factor, adze_la_mat b) {
    TRY(la_check(ctx, "b", b));
    return la_check_shape(ctx, "b", b, factor.rows, b.cols);
}

int adze_la_cholesky_solve(adze_ctx *ctx, adze_la_mat l, adze_la_mat b) {
    TRY(check_factor(ctx, "l", l));
    TRY(check_sides(ctx, l, b));
    la_solve_triangle(ctx, LA_LOWER, l, b);
    la_solve_triangle(ctx, LA_LOWER_TRANSPOSED, l, b);
    return ADZE_OK;
}

/* -- the inverse from L: rows of Y = (L^-1)^T one by one, then Y Y^T; half of each is zeros, which nobody multiplies -- */

enum { INVERSE_ROWS = 8 }; /* that share what they read: 8 rows of 1,000 stay in the second cache beside the other operand's */

typedef struct inverse {
    adze_la_mat l, y, out;
} inverse;

/* Rows are dealt out in turns, from both ends, so that threads have as many long ones as short ones. */
static int64_t dealt_row(int64_t i, int64_t n) {
    return i % 2 ? n - 1 - i / 2 : i / 2;
}

static void inverse_rows(void *arg, la_range r) {
    const inverse *v = arg;
    const int64_t n = v->l.rows;
    for (int64_t k = r.from; k < r.to; k++) {
        const int64_t j = dealt_row(k, n);
        double *y = la_row(v->y, j);
        y[j] = 1 / la_row(v->l, j)[j];
        for (int64_t i = j + 1; i < n; i++) {
            y[i] = -la_dot(la_row(v->l, i) + j, y + j, i - j) / la_row(v->l, i)[i];
        }
    }
}

static void inverse_product(void *arg, la_range r) {
    const inverse *v = arg;
    const int64_t n = v->y.rows, blocks = (n + INVERSE_ROWS - 1) / INVERSE_ROWS;
    for (int64_t k = r.from; k < r.to; k++) {
        const int64_t from = dealt_row(k, blocks) * INVERSE_ROWS, to = la_min(from + INVERSE_ROWS, n);
        for (int64_t j = from; j < n; j++) {
            for (int64_t i = from; i < to && i <= j; i++) {
                la_row(v->out, i)[j] = la_dot(la_row(v->y, i) + j, la_row(v->y, j) + j, n - j);
            }
        }
    }
}

int adze_la_cholesky_inverse(adze_ctx *ctx, adze_la_mat l, adze_la_mat inverse_of) {
    TRY(check_factor(ctx, "l", l));
    TRY(la_check_shape(ctx, "inverse", inverse_of, l.rows, l.rows));
    const int64_t n = l.rows;
    inverse v = {.l = l, .out = inverse_of};
    TRY(la_new(ctx, n, n, &v.y));
    la_run(ctx, inverse_rows, &v, n, 1, (double)n * (double)n * (double)n / 3);
    la_run(ctx, inverse_product, &v, (n + INVERSE_ROWS - 1) / INVERSE_ROWS, 1, (double)n * (double)n * (double)n / 3);
    adze_free(ctx, v.y.at);
    la_mirror(inverse_of);
    return ADZE_OK;
}

/* -- LU: a panel of columns is finished, then the strips to its right are brought up to date one by one -- */

enum { LU_PANEL = 32 };

typedef struct lu_panel {
    adze_la_mat a;
    int64_t from, to;
} lu_panel;

/* Row i of some columns has the multiples of the rows above it removed that the panel found. */
static void lu_update(const lu_panel *p, int64_t column, int64_t width) {
    for (int64_t i = p->from + 1; i < p->a.rows; i++) {
        for (int64_t k = p->from; k < la_min(i, p->to); k++) {
            la_axpy(la_row(p->a, i) + column, -la_row(p->a, i)[k], la_row(p->a, k) + column, width);
        }
    }
}

static void lu_strips(void *arg, la_range r) {
    const lu_panel *p = arg;
    for (int64_t j = r.from; j < r.to; j += LA_STRIP) {
        lu_update(p, p->to + j, la_min(LA_STRIP, r.to - j));
    }
}

static void swap_rows(adze_la_mat a, int64_t i, int64_t j) {
    for (int64_t k = 0; k < a.cols && i != j; k++) {
        double held = la_row(a, i)[k];
        la_row(a, i)[k] = la_row(a, j)[k];
        la_row(a, j)[k] = held;
    }
}

static void lu_column(adze_la_mat a, int64_t k, int64_t to, int64_t *rows) {
    int64_t best = k;
    for (int64_t i = k + 1; i < a.rows; i++) {
        best = fabs(la_row(a, i)[k]) > fabs(la_row(a, best)[k]) ? i : best;
    }
    swap_rows(a, k, best);
    int64_t held = rows[k];
    rows[k] = rows[best];
    rows[best] = held;
    const double pivot = la_row(a, k)[k];
    for (int64_t i = k + 1; i < a.rows && pivot != 0; i++) {
        la_row(a, i)[k] /= pivot;
        la_axpy(la_row(a, i) + k + 1, -la_row(a, i)[k], la_row(a, k) + k + 1, to - k - 1);
    }
}

int adze_la_lu(adze_ctx *ctx, adze_la_mat a, int64_t *rows) {
    TRY(la_check_square(ctx, "a", a));
    const int64_t n = a.rows;
    for (int64_t i = 0; i < n; i++) {
        rows[i] = i;
    }
    for (int64_t from = 0; from < n; from += LU_PANEL) {
        lu_panel p = {a, from, la_min(from + LU_PANEL, n)};
        for (int64_t k = from; k < p.to; k++) {
            lu_column(a, k, p.to, rows);
        }
        la_run(ctx, lu_strips, &p, n - p.to, LA_STRIP, (double)(p.to - from) * (double)(n - from) * (double)(n - p.to));
    }
    return ADZE_OK;
}

static int check_rows(adze_ctx *ctx, const int64_t *rows, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (rows[i] < 0 || rows[i] >= n) {
            return adze_fail(ctx, ADZE_EARG, "rows: element %lld is %lld, not one of %lld rows", (long long)i, (long long)rows[i], (long long)n);
        }
    }
    return ADZE_OK;
}

int adze_la_lu_solve(adze_ctx *ctx, adze_la_mat lu, const int64_t *rows, adze_la_mat b) {
    TRY(check_factor(ctx, "lu", lu));
    TRY(check_rows(ctx, rows, lu.rows));
    TRY(check_sides(ctx, lu, b));
    adze_la_mat old;
    TRY(la_new(ctx, b.rows, b.cols, &old));
    la_copy(b, old, false);
    for (int64_t i = 0; i < b.rows; i++) {
        for (int64_t j = 0; j < b.cols; j++) {
            la_row(b, i)[j] = la_row(old, rows[i])[j];
        }
    }
    adze_free(ctx, old.at);
    la_solve_triangle(ctx, LA_LOWER_UNIT, lu, b);
    la_solve_triangle(ctx, LA_UPPER, lu, b);
    return ADZE_OK;
}

int adze_la_lu_det(adze_ctx *ctx, adze_la_mat lu, const int64_t *rows, double *sign, double *log_abs) {
    TRY(la_check_square(ctx, "lu", lu));
    TRY(check_rows(ctx, rows, lu.rows));
    bool *seen = adze_alloc(ctx, lu.rows, sizeof *seen);
    TRY(ADZE_GOT(seen));
    *sign = 1;
    *log_abs = 0;
    for (int64_t i = 0; i < lu.rows; i++) {
        double pivot = la_row(lu, i)[i];
        *sign *= pivot > 0 ? 1 : pivot < 0 ? -1 : 0;
        *log_abs += log(fabs(pivot));
        for (int64_t j = rows[i], length = 0; !seen[j]; j = rows[j], length++) { /* a cycle of even length changes the sign */
            seen[j] = true;
            *sign = length ? -*sign : *sign;
        }
    }
    adze_free(ctx, seen);
    return ADZE_OK;
}
