/* What can be learnt of an operator from its products with vectors: extreme eigenvalues (Lanczos, powers) and solutions (conjugate gradients). */
#include "base/linalg.h"

static int product(adze_ctx *ctx, adze_la_op a, const double *x, double *y) {
    TRY(a.apply(a.user, x, y));
    for (int64_t i = 0; i < a.n; i++) {
        if (!isfinite(y[i])) {
            return adze_fail(ctx, ADZE_EARG, "the operator's product with a vector has %g as element %lld", y[i], (long long)i);
        }
    }
    return ADZE_OK;
}

static int check_op(adze_ctx *ctx, adze_la_op a) {
    if (a.n < 0 || !a.apply) {
        return adze_fail(ctx, ADZE_EARG, "an operator of %lld numbers%s", (long long)a.n, a.apply ? "" : " without a function");
    }
    return ADZE_OK;
}

/* Scales x to length 1 and returns the length it had. */
static double to_length_1(double *x, int64_t n) {
    double length = la_norm(x, n, 1);
    for (int64_t i = 0; i < n && length > 0; i++) {
        x[i] /= length;
    }
    return length;
}

static void random_vector(adze_rng *r, double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        x[i] = adze_rng_normal(r);
    }
    to_length_1(x, n);
}

/* -- Lanczos -- */

/* Takes from x its parts along the first rows of v (k, n), twice: once leaves what rounding brings in. */
static void orthogonalise(adze_la_mat v, int64_t k, double *x) {
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < k; i++) {
            la_axpy(x, -la_dot(la_row(v, i), x, v.cols), la_row(v, i), v.cols);
        }
    }
}

/* Fills the symmetric t (steps, steps) with V A V^T and v (steps, n) with the basis V; *beyond is what couples it to the rest of the space. */
static int lanczos_basis(adze_ctx *ctx, adze_la_op a, uint64_t seed, adze_la_mat v, adze_la_mat t, double *beyond) {
    adze_rng r = adze_rng_make(seed, adze_hash_str("lanczos"));
    adze_la_mat next;
    TRY(la_new(ctx, 1, a.n, &next));
    int status = ADZE_OK;
    double largest = 0;
    random_vector(&r, v.at, a.n);
    for (int64_t j = 0; j < v.rows && status == ADZE_OK; j++) {
        status = product(ctx, a, la_row(v, j), next.at);
        if (status != ADZE_OK) {
            break;
        }
        la_row(t, j)[j] = la_dot(next.at, la_row(v, j), a.n);
        orthogonalise(v, j + 1, next.at);
        *beyond = to_length_1(next.at, a.n);
        largest = fmax(largest, fabs(la_row(t, j)[j]) + *beyond);
        const bool closed = *beyond <= (double)a.n * DBL_EPSILON * largest;
        *beyond = closed ? 0 : *beyond;
        if (j + 1 < v.rows) {
            for (int tries = 0; closed && tries < 3; tries++) { /* each leaves a vector that is more nearly orthogonal */
                if (tries == 0) {
                    random_vector(&r, next.at, a.n);
                }
                orthogonalise(v, j + 1, next.at);
                to_length_1(next.at, a.n);
            }
            memcpy(la_row(v, j + 1), next.at, (size_t)a.n * sizeof(double));
            la_row(t, j + 1)[j] = la_row(t, j)[j + 1] = *beyond;
        }
    }
    adze_free(ctx, next.at);
    return status;
}

int adze_la_lanczos(adze_ctx *ctx, adze_la_op a, adze_la_ritz *ritz) {
    TRY(check_op(ctx, a));
    const int64_t steps = ritz->steps;
    if (steps < 1 || steps > a.n) {
        return adze_fail(ctx, ADZE_ESHAPE, "Lanczos: %lld steps on an operator of %lld numbers; 1 to %lld are possible", (long long)steps,
                         (long long)a.n, (long long)a.n);
    }
    if (ritz->vectors.at) {
        TRY(la_check_shape(ctx, "vectors", ritz->vectors, a.n, steps));
    }
    adze_la_mat v = {0}, t = {0}, s = {0};
    double beyond = 0;
    int status = la_new(ctx, steps, a.n, &v);
    status = status == ADZE_OK ? la_new(ctx, steps, steps, &t) : status;
    status = status == ADZE_OK ? la_new(ctx, steps, steps, &s) : status;
    status = status == ADZE_OK ? lanczos_basis(ctx, a, ritz->seed, v, t, &beyond) : status;
    status = status == ADZE_OK ? adze_la_eigen(ctx, t, ritz->values, s) : status;
    if (status == ADZE_OK) {
        const double rounding = (double)a.n * DBL_EPSILON * fmax(fabs(ritz->values[0]), fabs(ritz->values[steps - 1]));
        for (int64_t i = 0; i < steps; i++) {
            ritz->bounds[i] = beyond * fabs(la_row(s, steps - 1)[i]) + rounding;
        }
        status = ritz->vectors.at ? adze_la_matmul(ctx, v, true, s, false, ritz->vectors) : ADZE_OK;
    }
    adze_free(ctx, v.at);
    adze_free(ctx, t.at);
    adze_free(ctx, s.at);
    return status;
}

/* -- conjugate gradients -- */

/* r = b - A x; returns its square. */
static int residual(adze_ctx *ctx, adze_la_op a, const double *b, const double *x, double *r, double *square) {
    TRY(product(ctx, a, x, r));
    for (int64_t i = 0; i < a.n; i++) {
        r[i] = b[i] - r[i];
    }
    *square = la_dot(r, r, a.n);
    return ADZE_OK;
}

static int cg_run(adze_ctx *ctx, adze_la_op a, const double *b, double *x, adze_la_stop *stop, adze_la_mat work) {
    double *r = la_row(work, 0), *p = la_row(work, 1), *ap = la_row(work, 2), square;
    TRY(residual(ctx, a, b, x, r, &square));
    memcpy(p, r, (size_t)a.n * sizeof *p);
    const double enough = stop->tol * la_norm(b, a.n, 1);
    for (; stop->steps < stop->at_most && sqrt(square) > enough && square > DBL_MIN; stop->steps++) {
        TRY(product(ctx, a, p, ap));
        const double curvature = la_dot(p, ap, a.n);
        if (!(curvature > 0)) {
            return adze_fail(ctx, ADZE_EARG, "conjugate gradients: the operator is not positive definite: p'Ap is %g at step %lld", curvature,
                             (long long)stop->steps);
        }
        const double step = square / curvature, old = square;
        la_axpy(x, step, p, a.n);
        la_axpy(r, -step, ap, a.n);
        square = la_dot(r, r, a.n);
        for (int64_t i = 0; i < a.n; i++) {
            p[i] = r[i] + square / old * p[i];
        }
    }
    TRY(residual(ctx, a, b, x, r, &square)); /* what the recurrence has drifted from */
    stop->residual = la_norm(r, a.n, 1);
    return ADZE_OK;
}

int adze_la_cg(adze_ctx *ctx, adze_la_op a, const double *b, double *x, adze_la_stop *stop) {
    TRY(check_op(ctx, a));
    TRY(la_check_vector(ctx, "b", b, a.n));
    TRY(la_check_vector(ctx, "x", x, a.n));
    adze_la_mat work;
    TRY(la_new(ctx, 3, a.n, &work));
    stop->steps = 0;
    int status = cg_run(ctx, a, b, x, stop, work);
    adze_free(ctx, work.at);
    return status;
}

/* -- powers -- */

int adze_la_power_iteration(adze_ctx *ctx, adze_la_op a, uint64_t seed, double *value, double *x, adze_la_stop *stop) {
    TRY(check_op(ctx, a));
    TRY(la_check_vector(ctx, "x", x, a.n));
    adze_la_mat y;
    TRY(la_new(ctx, 2, a.n, &y));
    double *rest = la_row(y, 1);
    if (to_length_1(x, a.n) == 0) {
        adze_rng r = adze_rng_make(seed, adze_hash_str("power iteration"));
        random_vector(&r, x, a.n);
    }
    int status = product(ctx, a, x, y.at);
    *value = 0;
    for (stop->steps = 0; status == ADZE_OK; stop->steps++) {
        *value = la_dot(x, y.at, a.n);
        memcpy(rest, y.at, (size_t)a.n * sizeof *rest);
        la_axpy(rest, -*value, x, a.n);
        stop->residual = la_norm(rest, a.n, 1);
        if (stop->residual <= stop->tol * fabs(*value) || stop->steps >= stop->at_most || to_length_1(y.at, a.n) == 0) {
            break;
        }
        memcpy(x, y.at, (size_t)a.n * sizeof *x);
        status = product(ctx, a, x, y.at);
    }
    adze_free(ctx, y.at);
    return status;
}
