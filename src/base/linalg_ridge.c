/* Least squares with a quadratic penalty, and what penalties and early stopping leave of a minimum, direction by direction. */
#include "base/linalg.h"

/* The penalty as further rows, a root of the prior and the right side 0: the square of a's condition number never arises. */
static int stack(adze_ctx *ctx, adze_la_mat a, adze_la_mat b, double alpha, adze_la_mat prior, adze_la_mat all, adze_la_mat right) {
    const int64_t n = a.cols;
    adze_la_mat root = la_part(all, a.rows, 0);
    la_copy(a, (adze_la_mat){all.at, a.rows, n, all.ld}, false);
    la_copy(b, (adze_la_mat){right.at, b.rows, b.cols, right.ld}, false);
    la_identity(root);
    if (prior.at) { /* x^T P x = |L^T x|^2 */
        adze_la_mat l;
        TRY(la_new(ctx, n, n, &l));
        la_copy(prior, l, false);
        const int status = adze_la_cholesky(ctx, l);
        la_copy(l, root, true);
        adze_free(ctx, l.at);
        TRY(status);
    }
    la_scale(root, sqrt(alpha));
    return ADZE_OK;
}

int adze_la_ridge(adze_ctx *ctx, adze_la_mat a, adze_la_mat b, double alpha, adze_la_mat prior, adze_la_mat x) {
    TRY(la_check(ctx, "a", a));
    TRY(la_check(ctx, "b", b));
    TRY(la_check_shape(ctx, "b", b, a.rows, b.cols));
    TRY(la_check_shape(ctx, "x", x, a.cols, b.cols));
    if (!(alpha >= 0) || isinf(alpha)) {
        return adze_fail(ctx, ADZE_EARG, "a ridge needs a penalty of at least 0, not %g", alpha);
    }
    if (prior.at) {
        TRY(la_check_square(ctx, "prior", prior));
        TRY(la_check_shape(ctx, "prior", prior, a.cols, a.cols));
    }
    adze_la_mat all = {0}, right = {0};
    int status = la_new(ctx, a.rows + a.cols, a.cols, &all);
    status = status == ADZE_OK ? la_new(ctx, a.rows + a.cols, b.cols, &right) : status;
    status = status == ADZE_OK ? stack(ctx, a, b, alpha, prior, all, right) : status;
    status = status == ADZE_OK ? adze_la_least_squares(ctx, all, right, x, -1, NULL) : status;
    adze_free(ctx, all.at);
    adze_free(ctx, right.at);
    return status;
}

void adze_la_shrunk(const double *curvature, int64_t n, double alpha, double *kept) {
    for (int64_t i = 0; i < n; i++) {
        kept[i] = curvature[i] > 0 ? curvature[i] / (curvature[i] + alpha) : 0;
    }
}

int adze_la_stopped(adze_ctx *ctx, const double *curvature, int64_t n, double rate, int64_t steps, double *kept, double *gap) {
    TRY(la_check_vector(ctx, "curvature, rate", curvature, n));
    TRY(la_check_vector(ctx, "rate", &rate, 1));
    if (!(rate > 0) || steps < 1) {
        return adze_fail(ctx, ADZE_EARG, "descent needs a rate above 0 and at least one step, not %g and %lld", rate, (long long)steps);
    }
    double widest = 0;
    for (int64_t i = 0; i < n; i++) {
        const double l = curvature[i], step = rate * l, t = (double)steps;
        if (l < 0 || step >= 2) {
            return adze_fail(ctx, ADZE_EARG, "descent with rate %g diverges along direction %lld, of curvature %g", rate, (long long)i, l);
        }
        kept[i] = step < 1 ? -expm1(t * log1p(-step)) : 1 - (steps % 2 ? -1 : 1) * pow(step - 1, t);
        widest = fmax(widest, fabs(kept[i] - l / (l + 1 / (rate * t))));
    }
    if (gap) {
        *gap = widest;
    }
    return ADZE_OK;
}
