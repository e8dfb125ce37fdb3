/* Orthogonal matching pursuit: signals as sums of few atoms of a dictionary. The products of atoms are taken once for all signals, and the factor of
 * the chosen ones grows by a row with each (Rubinstein, Zibulevsky, Elad, 2008). */
#include "base/linalg.h"

typedef struct pursuit {
    adze_la_mat gram;          /* (n, n): products of atoms */
    adze_la_mat start;         /* (block, n): products of the block's signals with atoms */
    adze_la_mat signals, coef; /* of the block */
    int64_t *atoms;
    int64_t k, shares; /* signals are dealt out in so many shares, each with its scratch */
    double tol, *scratch;
    int64_t per_share; /* doubles */
} pursuit;

typedef struct place {        /* one share's scratch */
    double *corr, *l, *y, *c; /* (n); (k, k) rows of the factor; (k); (k) */
    int64_t *chosen;
} place;

/* The atom that is most like what is left, by the cosine; -1 when nothing is. */
static int64_t best_atom(const pursuit *q, const place *p, int64_t count) {
    int64_t best = -1;
    double most = 0;
    for (int64_t j = 0; j < q->gram.rows; j++) {
        const double size = la_row(q->gram, j)[j], like = size > 0 ? p->corr[j] * p->corr[j] / size : 0;
        bool taken = false;
        for (int64_t i = 0; i < count && like > most; i++) {
            taken = taken || p->chosen[i] == j;
        }
        if (like > most && !taken) {
            most = like;
            best = j;
        }
    }
    return best;
}

/* The factor's next row; false when the atom depends on those chosen. */
static bool grow(const pursuit *q, place *p, int64_t count, int64_t atom) {
    double *row = p->l + count * q->k;
    const double *gram = la_row(q->gram, atom);
    for (int64_t i = 0; i < count; i++) {
        row[i] = (gram[p->chosen[i]] - la_dot(row, p->l + i * q->k, i)) / p->l[i * q->k + i];
    }
    const double left = gram[atom] - la_dot(row, row, count);
    p->chosen[count] = atom;
    row[count] = left > 0 ? sqrt(left) : 0;
    return left > 1e-12 * gram[atom];
}

/* Coefficients of the chosen atoms, and the correlations of what they leave. y, of L y = start, grows with the factor. */
static void solve(const pursuit *q, place *p, const double *start, int64_t count) {
    const int64_t last = count - 1;
    p->y[last] = (start[p->chosen[last]] - la_dot(p->l + last * q->k, p->y, last)) / p->l[last * q->k + last];
    memcpy(p->c, p->y, (size_t)count * sizeof *p->c);
    for (int64_t i = last; i >= 0; i--) {
        p->c[i] /= p->l[i * q->k + i];
        la_axpy(p->c, -p->c[i], p->l + i * q->k, i);
    }
    memcpy(p->corr, start, (size_t)q->gram.rows * sizeof *p->corr);
    for (int64_t i = 0; i < count; i++) {
        la_axpy(p->corr, -p->c[i], la_row(q->gram, p->chosen[i]), q->gram.rows);
    }
}

static void pursue(const pursuit *q, place *p, int64_t signal) {
    const double *start = la_row(q->start, signal), *x = la_row(q->signals, signal);
    const double square = la_dot(x, x, q->signals.cols), enough = q->tol * q->tol * square;
    int64_t count = 0;
    double left = square; /* |x|^2 less that of its projection, |y|^2 */
    memcpy(p->corr, start, (size_t)q->gram.rows * sizeof *p->corr);
    while (count < q->k && left > enough) {
        const int64_t atom = best_atom(q, p, count);
        if (atom < 0 || !grow(q, p, count, atom)) {
            break;
        }
        solve(q, p, start, ++count);
        left -= p->y[count - 1] * p->y[count - 1];
    }
    for (int64_t i = 0; i < q->k; i++) {
        q->atoms[signal * q->k + i] = i < count ? p->chosen[i] : -1;
        la_row(q->coef, signal)[i] = i < count ? p->c[i] : 0;
    }
}

static void pursue_share(void *arg, la_range shares) {
    const pursuit *q = arg;
    for (int64_t s = shares.from; s < shares.to; s++) {
        double *at = q->scratch + s * q->per_share;
        place p = {.corr = at, .l = at + q->gram.rows};
        p.y = p.l + q->k * q->k;
        p.c = p.y + q->k;
        p.chosen = (int64_t *)(p.c + q->k);
        for (int64_t i = s; i < q->signals.rows; i += q->shares) {
            pursue(q, &p, i);
        }
    }
}

static int pursue_all(adze_ctx *ctx, pursuit *q, adze_la_mat d, adze_la_mat x, int64_t *atoms, adze_la_mat coef) {
    enum { BLOCK = 512, SHARES = 16 };
    const int64_t n = d.cols;
    adze_la_mat scratch = {0};
    q->shares = SHARES;
    q->per_share = n + q->k * q->k + 3 * q->k;
    TRY(la_new(ctx, n, n, &q->gram));
    TRY(la_new(ctx, la_min(BLOCK, x.rows), n, &q->start));
    TRY(adze_la_matmul(ctx, d, true, d, false, q->gram));
    TRY(la_new(ctx, SHARES, q->per_share, &scratch));
    q->scratch = scratch.at;
    for (int64_t from = 0; from < x.rows; from += BLOCK) {
        const int64_t rows = la_min(BLOCK, x.rows - from);
        q->signals = (adze_la_mat){la_row(x, from), rows, x.cols, x.ld};
        q->start.rows = rows;
        q->coef = (adze_la_mat){la_row(coef, from), rows, q->k, coef.ld};
        q->atoms = atoms + from * q->k;
        TRY(adze_la_matmul(ctx, q->signals, false, d, false, q->start));
        la_run(ctx, pursue_share, q, SHARES, 1, (double)rows * (double)q->k * (double)q->k * (double)n);
    }
    return ADZE_OK;
}

int adze_la_omp(adze_ctx *ctx, adze_la_mat d, adze_la_mat x, int64_t k, double tol, int64_t *atoms, adze_la_mat coef) {
    TRY(la_check(ctx, "d", d));
    TRY(la_check(ctx, "x", x));
    TRY(la_check_vector(ctx, "tol", &tol, 1));
    if (x.cols != d.rows) {
        return adze_fail(ctx, ADZE_ESHAPE, "signals of %lld numbers cannot be sums of atoms of %lld", (long long)x.cols, (long long)d.rows);
    }
    if (k < 1 || k > d.cols || tol < 0) {
        return adze_fail(ctx, ADZE_EARG, "a pursuit takes 1 to %lld atoms and a tolerance of at least 0, not %lld and %g", (long long)d.cols,
                         (long long)k, tol);
    }
    TRY(la_check_shape(ctx, "coef", coef, x.rows, k));
    pursuit q = {.k = k, .tol = tol};
    const int status = pursue_all(ctx, &q, d, x, atoms, coef);
    adze_free(ctx, q.gram.at);
    adze_free(ctx, q.start.at);
    adze_free(ctx, q.scratch);
    return status;
}
