/* Eigenvalues and eigenvectors of symmetric matrices, and powers made of them.
 *
 * Householder's reflections bring the matrix to three diagonals, a panel of columns at a time: within it the matrix is only read, what its
 * reflections have left to do is done for all of them together (Dongarra, Sorensen, Hammarling, J. Comp. Appl. Math. 27, 1989). Implicit QL steps
 * bring three diagonals to one. The steps need the diagonals alone: their rotations are noted down and applied to the vectors many at a time, strip
 * by strip, so that a strip is read from memory once for thousands of them. */
#include "base/linalg_loops.h"

#include <stdlib.h>

/* -- three diagonals -- */

enum { PANEL = 32 };

/* Element j.. of row k as it is now. */
static void current_row(la_tridiagonal *t, double *row) {
    const int64_t k = t->done, n = t->a.rows;
    for (int64_t c = t->from; c < k; c++) {
        const double *v = la_row(t->v, c), *w = la_row(t->w, c - t->from);
        for (int64_t j = k; j < n; j++) {
            row[j] -= v[k] * w[j] + w[k] * v[j];
        }
    }
}

/* p = a v with the panel's changes to a, which nobody has made yet. */
static void current_product(adze_ctx *ctx, la_tridiagonal *t) {
    const int64_t first = t->done + 1, left = t->a.rows - first;
    const double *x = la_row(t->v, t->done) + first;
    double *p = t->p + first;
    la_run(ctx, la_loops_for(ctx)->tridiagonal_product, t, left, 4, (double)left * (double)left);
    for (int64_t c = t->from; c < t->done; c++) {
        const double *v = la_row(t->v, c) + first, *w = la_row(t->w, c - t->from) + first;
        const double along_v = la_dot(v, x, left), along_w = la_dot(w, x, left);
        la_axpy(p, -along_w, v, left);
        la_axpy(p, -along_v, w, left);
    }
}

/* Reflection k: column k becomes (.., d, e, 0, ...). */
static void tridiagonal_step(adze_ctx *ctx, la_tridiagonal *t, double *d, double *e) {
    const int64_t k = t->done, n = t->a.rows, left = n - k - 1;
    double *v = la_row(t->v, k), *row = la_row(t->a, k), *w = la_row(t->w, k - t->from);
    current_row(t, row);
    d[k] = row[k];
    if (left == 0) {
        return;
    }
    memcpy(v + k + 1, row + k + 1, (size_t)left * sizeof *v);
    t->tau[k] = la_reflector(v + k + 1, left, 1, e + k);
    current_product(ctx, t);
    const double half = t->tau[k] * t->tau[k] / 2 * la_dot(t->p + k + 1, v + k + 1, left);
    for (int64_t j = k + 1; j < n; j++) {
        w[j] = t->tau[k] * t->p[j] - half * v[j];
    }
}

static void tridiagonal_panel(adze_ctx *ctx, la_tridiagonal *t, double *d, double *e) {
    const int64_t n = t->a.rows;
    for (t->from = t->done; t->done < la_min(t->from + PANEL, n); t->done++) {
        tridiagonal_step(ctx, t, d, e);
    }
    const int64_t left = n - t->done;
    la_run(ctx, la_loops_for(ctx)->tridiagonal_update, t, left, 4, 4.0 * PANEL * (double)left * (double)left);
}

/* a is destroyed; d (n) and e (n - 1) are its diagonals afterwards, Q^T a Q, and unless z.at is NULL z = Q^T. */
static int tridiagonalise(adze_ctx *ctx, adze_la_mat a, double *d, double *e, adze_la_mat z) {
    adze_la_mat v, work;
    TRY(la_new(ctx, a.rows, a.rows, &v));
    if (la_new(ctx, 2 + PANEL, a.rows, &work) != ADZE_OK) {
        adze_free(ctx, v.at);
        return ADZE_ENOMEM;
    }
    la_tridiagonal t = {a, v, la_part(work, 2, 0), la_row(work, 0), la_row(work, 1), 0, 0};
    while (t.done < a.rows) {
        tridiagonal_panel(ctx, &t, d, e);
    }
    if (z.at && a.rows) {
        la_identity(z);
        v.rows--; /* the last row has no reflection */
        la_reflect(ctx, &(la_reflectors){v, t.tau, 1}, false, z);
    }
    adze_free(ctx, work.at);
    adze_free(ctx, v.at);
    return ADZE_OK;
}

/* -- rotations -- */

static void rotations_flush(adze_ctx *ctx, la_rotations *q) {
    if (q->z.at) {
        la_run(ctx, la_loops_for(ctx)->rotate_strips, q, q->z.cols, LA_STRIP, 6.0 * (double)q->count * (double)q->z.cols);
    }
    q->count = 0;
}

/* -- implicit QL steps -- */

/* One step with Wilkinson's shift on rows from .. to, whose e are not 0: from the bottom upwards, e[from] shrinks. */
static void ql_step(double *d, double *e, int64_t from, int64_t to, la_rotations *q) {
    double slope = (d[from + 1] - d[from]) / (2 * e[from]);
    double shift = d[from] - e[from] / (slope + copysign(hypot(slope, 1), slope));
    double c = 1, s = 1, moved = 0, bulge = d[to] - shift; /* moved: what the last rotation brought over the diagonal */
    for (int64_t i = to - 1; i >= from; i--) {
        double out = s * e[i], in = c * e[i], length = hypot(out, bulge);
        e[i + 1] = length;
        if (length == 0) { /* the block falls apart here */
            d[i + 1] -= moved;
            e[to] = 0;
            return;
        }
        s = out / length;
        c = bulge / length;
        bulge = d[i + 1] - moved;
        double turned = (d[i] - bulge) * s + 2 * c * in;
        moved = s * turned;
        d[i + 1] = bulge + moved;
        bulge = c * turned - in;
        q->r[q->count++] = (la_rotation){c, s, i};
    }
    d[from] -= moved;
    e[from] = bulge;
    e[to] = 0;
}

/* Whether e counts as 0 between diagonal elements a and b. Beside the diagonal's own small numbers first; where it has zeros of its own, as
 * indefinite matrices of low rank have, that never comes true, and beside the whole matrix is what is left. */
static bool negligible(double e, double a, double b, double whole, int64_t steps) {
    enum { PATIENCE = 20 };
    return !(fabs(e) > DBL_EPSILON * sqrt(fabs(a)) * sqrt(fabs(b)) && fabs(e) > DBL_MIN) || (steps > PATIENCE && fabs(e) <= DBL_EPSILON * whole);
}

/* d (n) becomes the eigenvalues, unordered; e (n), whose last element is room, is destroyed. */
static int ql(adze_ctx *ctx, double *d, double *e, int64_t n, la_rotations *q) {
    enum { STEPS = 60 }; /* a value; two are usual */
    double whole = 0;
    for (int64_t i = 0; i < n; i++) {
        whole = fmax(whole, fmax(fabs(d[i]), i + 1 < n ? fabs(e[i]) : 0));
    }
    for (int64_t from = 0, steps = 0; from < n;) {
        int64_t to = from;
        while (to + 1 < n && !negligible(e[to], d[to], d[to + 1], whole, steps)) {
            to++;
        }
        if (to == from) {
            from++;
            steps = 0;
            continue;
        }
        if (++steps > STEPS) {
            return adze_fail(ctx, ADZE_EBUG, "eigenvalue %lld of %lld has not settled after %d steps", (long long)from, (long long)n, STEPS);
        }
        if (q->count + n > q->cap) {
            rotations_flush(ctx, q);
        }
        ql_step(d, e, from, to, q);
    }
    rotations_flush(ctx, q);
    return ADZE_OK;
}

/* -- order -- */

typedef struct ranked {
    double value;
    int64_t row;
} ranked;

static int by_value(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    return x->value < y->value ? -1 : x->value > y->value ? 1 : x->row < y->row ? -1 : 1;
}

static void hand_over(ranked *order, const double *d, adze_la_mat z, double factor, double *values, adze_la_mat vectors) {
    const int64_t n = z.rows;
    for (int64_t i = 0; i < n; i++) {
        order[i] = (ranked){d[i], i};
    }
    qsort(order, (size_t)n, sizeof *order, by_value);
    for (int64_t j = 0; j < n; j++) {
        values[j] = order[j].value * factor;
        double largest = 0;
        for (int64_t i = 0; i < n && vectors.at; i++) {
            double v = la_row(z, order[j].row)[i];
            largest = fabs(v) > fabs(largest) ? v : largest;
        }
        for (int64_t i = 0; i < n && vectors.at; i++) {
            la_row(vectors, i)[j] = copysign(1, largest) * la_row(z, order[j].row)[i];
        }
    }
}

typedef struct eigen_work {
    adze_la_mat a, z, diagonals;
    ranked *order;
    la_rotations q;
} eigen_work;

static int eigen_run(adze_ctx *ctx, eigen_work *w, adze_la_mat a, double *values, adze_la_mat vectors) {
    const int64_t n = a.rows;
    TRY(la_new(ctx, n, n, &w->a));
    TRY(la_new(ctx, 2, n, &w->diagonals));
    w->order = adze_alloc(ctx, n, sizeof *w->order);
    w->q.cap = n * la_min(n, 32);
    w->q.r = adze_alloc(ctx, w->q.cap, sizeof *w->q.r);
    TRY(ADZE_GOT(w->order && w->q.r));
    if (vectors.at) {
        TRY(la_new(ctx, n, n, &w->z));
    }
    la_copy(a, w->a, true); /* the lower triangle, above */
    la_mirror(w->a);
    const double to_unit = la_to_unit(la_largest(w->a));
    la_scale(w->a, to_unit);
    double *d = la_row(w->diagonals, 0), *e = la_row(w->diagonals, 1);
    TRY(tridiagonalise(ctx, w->a, d, e, w->z));
    w->q.z = w->z;
    TRY(ql(ctx, d, e, n, &w->q));
    w->z.rows = n;
    hand_over(w->order, d, w->z, 1 / to_unit, values, vectors);
    return ADZE_OK;
}

int adze_la_eigen(adze_ctx *ctx, adze_la_mat a, double *values, adze_la_mat vectors) {
    TRY(la_check_square(ctx, "a", a));
    if (vectors.at) {
        TRY(la_check_shape(ctx, "vectors", vectors, a.rows, a.rows));
    }
    eigen_work w = {0};
    int status = eigen_run(ctx, &w, a, values, vectors);
    adze_free(ctx, w.a.at);
    adze_free(ctx, w.z.at);
    adze_free(ctx, w.diagonals.at);
    adze_free(ctx, w.order);
    adze_free(ctx, w.q.r);
    return status;
}

/* -- powers -- */

static int powers(adze_ctx *ctx, double *values, int64_t n, double shift, double power) {
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        values[i] += shift;
        largest = fmax(largest, fabs(values[i]));
    }
    const double least = (double)n * DBL_EPSILON * largest;
    for (int64_t i = 0; i < n; i++) {
        if (values[i] < -least || (power < 0 && values[i] <= least)) {
            return adze_fail(ctx, ADZE_EARG, "a has no power %g: eigenvalue %lld of %lld is %g with the shift, the largest %g", power, (long long)i,
                             (long long)n, values[i], largest);
        }
        values[i] = values[i] > least ? pow(values[i], power) : power > 0 ? 0 : 1;
    }
    return ADZE_OK;
}

int adze_la_power(adze_ctx *ctx, adze_la_mat a, double shift, double power, adze_la_mat out) {
    TRY(la_check_square(ctx, "a", a));
    TRY(la_check_shape(ctx, "out", out, a.rows, a.rows));
    const int64_t n = a.rows;
    TRY(la_check_vector(ctx, "shift, power", (double[]){shift, power}, 2));
    adze_la_mat vectors = {0}, scaled = {0}, values = {0};
    int status = la_new(ctx, 1, n, &values);
    status = status == ADZE_OK ? la_new(ctx, n, n, &vectors) : status;
    status = status == ADZE_OK ? la_new(ctx, n, n, &scaled) : status;
    status = status == ADZE_OK ? adze_la_eigen(ctx, a, values.at, vectors) : status;
    status = status == ADZE_OK ? powers(ctx, values.at, n, shift, power) : status;
    for (int64_t i = 0; i < n && status == ADZE_OK; i++) {
        for (int64_t j = 0; j < n; j++) {
            la_row(scaled, i)[j] = la_row(vectors, i)[j] * values.at[j];
        }
    }
    status = status == ADZE_OK ? adze_la_matmul(ctx, scaled, false, vectors, true, out) : status;
    if (status == ADZE_OK) {
        la_mirror(out);
    }
    adze_free(ctx, values.at);
    adze_free(ctx, vectors.at);
    adze_free(ctx, scaled.at);
    return status;
}
