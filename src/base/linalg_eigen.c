/* Eigenvalues and eigenvectors of symmetric matrices, and powers made of them.
 *
 * Householder's reflections bring the matrix to three diagonals; implicit QL steps bring those to one. The steps need the diagonals alone: their
 * rotations are noted down and applied to the vectors many at a time, strip by strip, so that a strip is read from memory once for thousands of them.
 */
#include "base/linalg.h"

#include <stdlib.h>

/* -- three diagonals -- */

typedef struct tridiagonal {
    adze_la_mat a;       /* symmetric, both triangles; what is left lies below and to the right of `done` */
    adze_la_mat v;       /* (n, n): row k is the vector of reflection k, which leaves elements 0 .. k alone */
    double *tau, *p, *w; /* of n; w: what the last reflection v has left to do, a -= v w^T + w v^T; p: a times the new v */
    int64_t done;
} tridiagonal;

/* Row by row, one pass over the matrix: the last reflection's change is made, and the row times the new vector taken. */
static void tridiagonal_rows(void *arg, la_range r) {
    const tridiagonal *t = arg;
    const int64_t k = t->done, from = k + 1, n = t->a.rows;
    const double *v = la_row(t->v, k), *old = k > 0 ? la_row(t->v, k - 1) : NULL;
    for (int64_t i = from + r.from; i < from + r.to; i++) {
        double *row = la_row(t->a, i);
        for (int64_t j = from; j < n && old; j++) {
            row[j] -= old[i] * t->w[j] + t->w[i] * old[j];
        }
        t->p[i] = la_dot(row + from, v + from, n - from);
    }
}

/* Reflection k: column k becomes (.., d, e, 0, ...). */
static void tridiagonal_step(adze_ctx *ctx, tridiagonal *t, double *d, double *e) {
    const int64_t k = t->done, n = t->a.rows, left = n - k - 1;
    double *v = la_row(t->v, k), *row = la_row(t->a, k), *w = t->w;
    const double *old = k > 0 ? la_row(t->v, k - 1) : NULL;
    for (int64_t j = k; j < n && old; j++) { /* row k, before the others */
        row[j] -= old[k] * w[j] + w[k] * old[j];
    }
    d[k] = row[k];
    if (left == 0) {
        return;
    }
    memcpy(v + k + 1, row + k + 1, (size_t)left * sizeof *v);
    t->tau[k] = la_reflector(v + k + 1, left, 1, e + k);
    la_run(ctx, tridiagonal_rows, t, left, 4, 3.0 * (double)left * (double)left);
    double half = t->tau[k] * t->tau[k] / 2 * la_dot(t->p + k + 1, v + k + 1, left);
    for (int64_t j = k + 1; j < n; j++) {
        w[j] = t->tau[k] * t->p[j] - half * v[j];
    }
}

/* a is destroyed; d (n) and e (n - 1) are its diagonals afterwards, Q^T a Q, and unless z.at is NULL z = Q^T. */
static int tridiagonalise(adze_ctx *ctx, adze_la_mat a, double *d, double *e, adze_la_mat z) {
    adze_la_mat v, work;
    TRY(la_new(ctx, a.rows, a.rows, &v));
    if (la_new(ctx, 3, a.rows, &work) != ADZE_OK) {
        adze_free(ctx, v.at);
        return ADZE_ENOMEM;
    }
    tridiagonal t = {a, v, la_row(work, 0), la_row(work, 1), la_row(work, 2), 0};
    for (; t.done < a.rows; t.done++) {
        tridiagonal_step(ctx, &t, d, e);
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

typedef struct rotation {
    double c, s;
    int64_t row; /* of the rows row and row + 1 */
} rotation;

typedef struct rotations {
    adze_la_mat z; /* at NULL: nobody wants them */
    rotation *r;
    int64_t count, cap;
} rotations;

static void rotate_strips(void *arg, la_range range) {
    const rotations *q = arg;
    for (int64_t j = range.from; j < range.to; j += LA_STRIP) {
        const int64_t width = la_min(LA_STRIP, range.to - j);
        for (int64_t i = 0; i < q->count; i++) {
            double *row = la_row(q->z, q->r[i].row) + j;
            la_rotate(row, row + q->z.ld, q->r[i].c, q->r[i].s, width);
        }
    }
}

static void rotations_flush(adze_ctx *ctx, rotations *q) {
    if (q->z.at) {
        la_run(ctx, rotate_strips, q, q->z.cols, LA_STRIP, 6.0 * (double)q->count * (double)q->z.cols);
    }
    q->count = 0;
}

/* -- implicit QL steps -- */

/* One step with Wilkinson's shift on rows from .. to, whose e are not 0: from the bottom upwards, e[from] shrinks. */
static void ql_step(double *d, double *e, int64_t from, int64_t to, rotations *q) {
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
        q->r[q->count++] = (rotation){c, s, i};
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
static int ql(adze_ctx *ctx, double *d, double *e, int64_t n, rotations *q) {
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
    rotations q;
} eigen_work;

static int eigen_run(adze_ctx *ctx, eigen_work *w, adze_la_mat a, double *values, adze_la_mat vectors) {
    const int64_t n = a.rows;
    TRY(la_new(ctx, n, n, &w->a));
    TRY(la_new(ctx, 2, n, &w->diagonals));
    w->order = adze_alloc(ctx, n, sizeof *w->order);
    w->q.cap = n * la_min(n, 32);
    w->q.r = adze_alloc(ctx, w->q.cap, sizeof *w->q.r);
    if (!w->order || !w->q.r) {
        return ADZE_ENOMEM;
    }
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
