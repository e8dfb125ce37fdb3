/* Orthogonal matching pursuit: signals as sums of few atoms of a dictionary. The products of atoms are taken once for all signals, and the factor of
 * the chosen ones grows by a row with each (Rubinstein, Zibulevsky, Elad, 2008). */
#include "base/linalg.h"

typedef struct batch {
    la_pursuit q;
    adze_la_mat start;         /* (block, n): products of the block's signals with atoms */
    adze_la_mat signals, coef; /* of the block */
    int64_t *atoms;
    int64_t shares; /* signals are dealt out in so many shares, each with its scratch */
    adze_la_mat scratch, size;
} batch;

int64_t la_pursuit_doubles(int64_t n, int64_t k) {
    return n + k * k + 3 * k;
}

la_place la_pursuit_place(double *at, int64_t n, int64_t k) {
    la_place p = {.corr = at, .l = at + n};
    p.y = p.l + k * k;
    p.c = p.y + k;
    p.chosen = (int64_t *)(p.c + k);
    return p;
}

/* The atom that is most like what is left, by the cosine; -1 when nothing is. */
static int64_t best_atom(const la_pursuit *q, const la_place *p, int64_t count) {
    int64_t best = -1;
    double most = 0;
    for (int64_t j = 0; j < q->gram.rows; j++) {
        const double like = q->size[j] > 0 ? p->corr[j] * p->corr[j] / q->size[j] : 0;
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
static bool grow(const la_pursuit *q, la_place *p, int64_t count, int64_t atom) {
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
static void solve(const la_pursuit *q, la_place *p, const double *start, int64_t count) {
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

bool la_pursuit_add(const la_pursuit *q, la_place *p, const double *start, int64_t count, int64_t atom) {
    if (!grow(q, p, count, atom)) {
        return false;
    }
    solve(q, p, start, count + 1);
    return true;
}

int64_t la_pursue(const la_pursuit *q, la_place *p, const double *start, double square) {
    const double enough = q->tol * q->tol * square;
    int64_t count = 0;
    double left = square; /* |x|^2 less that of its projection, |y|^2 */
    memcpy(p->corr, start, (size_t)q->gram.rows * sizeof *p->corr);
    while (count < q->k && left > enough) {
        const int64_t atom = best_atom(q, p, count);
        if (atom < 0 || !la_pursuit_add(q, p, start, count, atom)) {
            break;
        }
        left -= p->y[count] * p->y[count];
        count++;
    }
    return count;
}

static void pursue_share(void *arg, la_range shares) {
    const batch *b = arg;
    const int64_t k = b->q.k;
    for (int64_t s = shares.from; s < shares.to; s++) {
        la_place p = la_pursuit_place(la_row(b->scratch, s), b->q.gram.rows, k);
        for (int64_t i = s; i < b->signals.rows; i += b->shares) {
            const double *x = la_row(b->signals, i);
            const int64_t count = la_pursue(&b->q, &p, la_row(b->start, i), la_dot(x, x, b->signals.cols));
            for (int64_t j = 0; j < k; j++) {
                b->atoms[i * k + j] = j < count ? p.chosen[j] : -1;
                la_row(b->coef, i)[j] = j < count ? p.c[j] : 0;
            }
        }
    }
}

static int pursue_all(adze_ctx *ctx, batch *b, adze_la_mat d, adze_la_mat x, int64_t *atoms, adze_la_mat coef) {
    enum { BLOCK = 512, SHARES = 16 };
    const int64_t n = d.cols, k = b->q.k;
    b->shares = SHARES;
    TRY(la_new(ctx, n, n, &b->q.gram));
    TRY(la_new(ctx, la_min(BLOCK, x.rows), n, &b->start));
    TRY(la_new(ctx, 1, n, &b->size));
    TRY(adze_la_matmul(ctx, d, true, d, false, b->q.gram));
    for (int64_t j = 0; j < n; j++) {
        b->size.at[j] = la_row(b->q.gram, j)[j];
    }
    b->q.size = b->size.at;
    TRY(la_new(ctx, SHARES, la_pursuit_doubles(n, k), &b->scratch));
    for (int64_t from = 0; from < x.rows; from += BLOCK) {
        const int64_t rows = la_min(BLOCK, x.rows - from);
        b->signals = (adze_la_mat){la_row(x, from), rows, x.cols, x.ld};
        b->start.rows = rows;
        b->coef = (adze_la_mat){la_row(coef, from), rows, k, coef.ld};
        b->atoms = atoms + from * k;
        TRY(adze_la_matmul(ctx, b->signals, false, d, false, b->start));
        la_run(ctx, pursue_share, b, SHARES, 1, (double)rows * (double)k * (double)k * (double)n);
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
    batch b = {.q = {.k = k, .tol = tol}};
    const int status = pursue_all(ctx, &b, d, x, atoms, coef);
    adze_free(ctx, b.q.gram.at);
    adze_free(ctx, b.start.at);
    adze_free(ctx, b.scratch.at);
    adze_free(ctx, b.size.at);
    return status;
}
