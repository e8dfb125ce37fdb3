/* Minimisers: directions of five methods on one line search. */
#include "base/minimize.h"

#include "base/linalg.h"

static const char *const names[ADZE_MIN_METHODS] = {"gd", "cg", "bfgs", "lbfgs", "newton"};

const char *adze_min_name(int method) {
    return method >= 0 && method < ADZE_MIN_METHODS ? names[method] : NULL;
}

/* -- what is remembered: numbers, the gradient, and what the method has learnt -- */

enum {
    BEGUN,
    STEPS,
    F,
    ALPHA,
    SLOPE,
    PAIRS,
    SCALE,
    FELL,
    NUMBERS
}; /* PAIRS: learnt so far, also those forgotten; SLOPE, ALPHA, FELL: of the last step */
enum { PAIRS_MOST = 256 };

static double *matrix_of(const adze_minimizer *m) { /* bfgs: H (n, n) */
    return m->at + NUMBERS + m->fn->n;
}
static double *last_of(const adze_minimizer *m) { /* cg: the last direction */
    return m->at + NUMBERS + m->fn->n;
}
static double *pair_of(const adze_minimizer *m, int64_t i) { /* lbfgs: 1 / s'y, s, y of pair i */
    return m->at + NUMBERS + m->fn->n + (i % m->o.m) * (2 * m->fn->n + 1);
}

double *adze_min_gradient(const adze_minimizer *m) {
    return m->at + NUMBERS;
}

adze_min_opts adze_min_settle(const adze_min_opts *o) {
    adze_min_opts s = {0};
    if (o) {
        memcpy(&s, o, o->size && o->size < sizeof s ? o->size : sizeof s);
    }
    const bool steep = s.method == ADZE_MIN_GD || s.method == ADZE_MIN_CG;
    s.m = s.m > 0 ? s.m : 10;
    s.steps = s.steps > 0 ? s.steps : 1000;
    s.evals = s.evals > 0 ? s.evals : 10 * s.steps;
    s.gtol = s.gtol != 0 ? s.gtol : 1e-5;
    s.c1 = s.c1 > 0 ? s.c1 : 1e-4;
    s.c2 = s.c2 > 0 ? s.c2 : steep ? 0.1 : 0.9;
    s.scale = s.scale != ADZE_MIN_SCALE_USUAL ? s.scale : s.method == ADZE_MIN_LBFGS ? ADZE_MIN_SCALE_EACH : ADZE_MIN_SCALE_NONE;
    return s;
}

int64_t adze_min_room(const adze_min_opts *o, int64_t n) {
    const adze_min_opts s = adze_min_settle(o);
    int64_t more = 0, pair = 2 * n + 1;
    bool fits = true;
    if (s.method == ADZE_MIN_BFGS) {
        fits = adze_mul_size(n, n, &more);
    } else if (s.method == ADZE_MIN_LBFGS) {
        fits = adze_mul_size(s.m, pair, &more);
    } else if (s.method == ADZE_MIN_CG) {
        more = n;
    }
    return fits && adze_add_size(more, n + NUMBERS, &more) ? more : -1;
}

void adze_min_set(adze_minimizer *m, double f, const double *g) {
    m->at[BEGUN] = 1;
    m->at[F] = m->r.f = f;
    memcpy(adze_min_gradient(m), g, (size_t)m->fn->n * sizeof *g);
    m->r.gradient = 0;
    for (int64_t i = 0; i < m->fn->n; i++) {
        m->r.gradient = fmax(m->r.gradient, fabs(g[i]));
    }
}

int adze_min_begin(adze_minimizer *m) {
    double f = m->at[F];
    if (m->at[BEGUN] == 0) {
        m->r.evals++;
        TRY(m->fn->value(m->fn->user, m->x, &f, adze_min_gradient(m)));
        if (!isfinite(f)) {
            return adze_fail(m->ctx, ADZE_EARG, "the function is %g at the first point: nothing to go down from", f);
        }
        TRY(la_check_vector(m->ctx, "the gradient at the first point", adze_min_gradient(m), m->fn->n));
    }
    adze_min_set(m, f, adze_min_gradient(m));
    return ADZE_OK;
}

/* -- quasi-Newton -- */

static void bfgs_direction(const adze_minimizer *m, double *d) {
    const int64_t n = m->fn->n;
    const double *g = adze_min_gradient(m), *h = matrix_of(m);
    for (int64_t i = 0; i < n; i++) {
        d[i] = m->at[PAIRS] > 0 ? -la_dot(h + i * n, g, n) : -g[i];
    }
}

typedef struct bfgs_rows { /* H += a s s' - rho (s q' + q s'), q = H y */
    double *h;
    const double *s, *q;
    double rho, a;
    int64_t n;
} bfgs_rows;

static void bfgs_update(void *arg, la_range r) {
    const bfgs_rows *b = arg;
    for (int64_t i = r.from; i < r.to; i++) {
        la_axpy(b->h + i * b->n, b->a * b->s[i] - b->rho * b->q[i], b->s, b->n);
        la_axpy(b->h + i * b->n, -b->rho * b->s[i], b->q, b->n);
    }
}

static void bfgs_learn(adze_minimizer *m, const double *s, const double *y, double sy) {
    const int64_t n = m->fn->n;
    double *h = matrix_of(m), *q = m->work + n; /* where the direction was */
    if (m->at[PAIRS] == 0) {
        la_identity(adze_la_dense(h, n, n));
        la_scale(adze_la_dense(h, n, n), m->o.scale == ADZE_MIN_SCALE_NONE ? 1 : sy / la_dot(y, y, n));
    }
    for (int64_t i = 0; i < n; i++) {
        q[i] = la_dot(h + i * n, y, n);
    }
    bfgs_rows b = {h, s, q, 1 / sy, (1 + la_dot(y, q, n) / sy) / sy, n};
    la_run(m->ctx, bfgs_update, &b, n, 1, 4 * (double)n * (double)n);
}

/* The two loops of NW algorithm 7.4. */
static void lbfgs_direction(const adze_minimizer *m, double *d) {
    const int64_t n = m->fn->n, count = (int64_t)m->at[PAIRS], first = count > m->o.m ? count - m->o.m : 0;
    const double *g = adze_min_gradient(m);
    double a[PAIRS_MOST];
    for (int64_t i = 0; i < n; i++) {
        d[i] = -g[i];
    }
    for (int64_t k = count - 1; k >= first; k--) {
        const double *p = pair_of(m, k), *s = p + 1, *y = s + n;
        a[k - first] = p[0] * la_dot(s, d, n);
        la_axpy(d, -a[k - first], y, n);
    }
    for (int64_t i = 0; i < n && count > 0; i++) {
        d[i] *= m->at[SCALE];
    }
    for (int64_t k = first; k < count; k++) {
        const double *p = pair_of(m, k), *s = p + 1, *y = s + n;
        la_axpy(d, a[k - first] - p[0] * la_dot(y, d, n), s, n);
    }
}

static void lbfgs_learn(adze_minimizer *m, const double *s, const double *y, double sy) {
    const int64_t n = m->fn->n;
    double *p = pair_of(m, (int64_t)m->at[PAIRS]);
    p[0] = 1 / sy;
    memcpy(p + 1, s, (size_t)n * sizeof *s);
    memcpy(p + 1 + n, y, (size_t)n * sizeof *y);
    if (m->o.scale == ADZE_MIN_SCALE_EACH || m->at[PAIRS] == 0) {
        m->at[SCALE] = m->o.scale == ADZE_MIN_SCALE_NONE ? 1 : sy / la_dot(y, y, n);
    }
}

bool adze_min_learn(adze_minimizer *m, const double *s, const double *y) {
    const int64_t n = m->fn->n;
    const double sy = la_dot(s, y, n);
    if (!(sy > 1e-14 * sqrt(la_dot(s, s, n)) * sqrt(la_dot(y, y, n)))) {
        return false;
    }
    if (m->o.method == ADZE_MIN_BFGS) {
        bfgs_learn(m, s, y, sy);
    } else if (m->o.method == ADZE_MIN_LBFGS) {
        lbfgs_learn(m, s, y, sy);
    }
    m->at[PAIRS]++;
    return true;
}

void adze_min_forget(adze_minimizer *m) {
    m->at[PAIRS] = 0;
}

/* -- conjugate gradients; y of the last step stands in m->work -- */

static void cg_direction(const adze_minimizer *m, double *d) {
    const int64_t n = m->fn->n;
    const double *g = adze_min_gradient(m), *last = last_of(m);
    double beta = 0;
    if (m->at[STEPS] > 0) {
        beta = fmax(0, m->at[SCALE]);
    }
    for (int64_t i = 0; i < n; i++) {
        d[i] = beta * last[i] - g[i];
    }
    if (la_dot(d, g, n) >= 0) {
        for (int64_t i = 0; i < n; i++) {
            d[i] = -g[i];
        }
    }
}

/* -- Newton -- */

static bool still(const adze_minimizer *m) {
    return m->r.gradient <= m->o.gtol;
}

static int hessian_op(void *user, const double *x, double *y) {
    const adze_la_mat *h = user;
    for (int64_t i = 0; i < h->rows; i++) {
        y[i] = la_dot(la_row(*h, i), x, h->rows);
    }
    return ADZE_OK;
}

/* Down a direction of negative curvature; d stays as it is where there is none. */
static int escape(adze_minimizer *m, adze_la_mat h, double *d) {
    enum { STEPS_MOST = 40 };
    const int64_t n = h.rows, steps = la_min(n, STEPS_MOST);
    adze_la_mat v;
    double values[STEPS_MOST], bounds[STEPS_MOST];
    TRY(la_new(m->ctx, n, steps, &v));
    adze_la_ritz ritz = {.steps = steps, .seed = (uint64_t)m->at[STEPS], .values = values, .bounds = bounds, .vectors = v};
    int status = adze_la_lanczos(m->ctx, (adze_la_op){n, hessian_op, &h}, &ritz);
    if (status == ADZE_OK && values[0] < 0) {
        double slope = 0;
        for (int64_t i = 0; i < n; i++) {
            d[i] = la_row(v, i)[0];
            slope += d[i] * adze_min_gradient(m)[i];
        }
        for (int64_t i = 0; i < n && slope > 0; i++) {
            d[i] = -d[i];
        }
    }
    adze_free(m->ctx, v.at);
    return status;
}

/* L L' = H + tau I with the first tau of 0, then tenfold, for which there is such an L (NW algorithm 3.3). *tau: what was needed. */
static int shifted_cholesky(adze_minimizer *m, adze_la_mat h, adze_la_mat l, double *tau) {
    const double beta = 1e-10; /* a singular Hessian loses nothing by so little */
    double least = INFINITY, size = 0;
    for (int64_t i = 0; i < h.rows; i++) {
        least = fmin(least, la_row(h, i)[i]);
        size = fmax(size, fabs(la_row(h, i)[i]));
    }
    const double unit = beta * fmax(size, 1e-30);
    *tau = least > 0 ? 0 : unit - least;
    for (int round = 0; round < 40; round++) {
        la_copy(h, l, false);
        for (int64_t i = 0; i < h.rows; i++) {
            la_row(l, i)[i] += *tau;
        }
        if (adze_la_cholesky(m->ctx, l) == ADZE_OK) {
            return ADZE_OK;
        }
        *tau = fmax(10 * *tau, unit);
    }
    return adze_fail(m->ctx, ADZE_EARG, "newton: no multiple of the identity makes the Hessian positive definite");
}

static int newton_direction(adze_minimizer *m, double *d) {
    const int64_t n = m->fn->n;
    const double *g = adze_min_gradient(m);
    adze_la_mat h = {0}, l = {0};
    double tau = 0;
    int status = la_new(m->ctx, n, n, &h);
    status = status == ADZE_OK ? la_new(m->ctx, n, n, &l) : status;
    m->r.hessians++;
    status = status == ADZE_OK ? m->fn->hessian(m->fn->user, m->x, h) : status;
    if (status == ADZE_OK) {
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = i + 1; j < n; j++) {
                la_row(h, i)[j] = la_row(h, j)[i];
            }
        }
        status = shifted_cholesky(m, h, l, &tau);
    }
    for (int64_t i = 0; i < n; i++) {
        d[i] = -g[i];
    }
    if (status == ADZE_OK && still(m)) {
        memset(d, 0, (size_t)n * sizeof *d);
        status = tau > 0 ? escape(m, h, d) : ADZE_OK;
    } else if (status == ADZE_OK) {
        status = adze_la_cholesky_solve(m->ctx, l, adze_la_dense(d, n, 1));
    }
    adze_free(m->ctx, h.at);
    adze_free(m->ctx, l.at);
    return status;
}

/* -- a step -- */

int adze_min_direction(adze_minimizer *m, double *d) {
    const double *g = adze_min_gradient(m);
    switch (m->o.method) {
    case ADZE_MIN_NEWTON:
        return newton_direction(m, d);
    case ADZE_MIN_BFGS:
        bfgs_direction(m, d);
        break;
    case ADZE_MIN_LBFGS:
        lbfgs_direction(m, d);
        break;
    case ADZE_MIN_CG:
        cg_direction(m, d);
        break;
    default:
        for (int64_t i = 0; i < m->fn->n; i++) {
            d[i] = -g[i];
        }
    }
    return ADZE_OK;
}

double adze_min_first(const adze_minimizer *m, const double *d) {
    const int64_t n = m->fn->n;
    const double size = sqrt(la_dot(d, d, n)), slope = la_dot(d, adze_min_gradient(m), n);
    const bool steep = m->o.method == ADZE_MIN_GD || m->o.method == ADZE_MIN_CG, newton = m->o.method == ADZE_MIN_NEWTON;
    if (!steep && !newton && m->o.scale == ADZE_MIN_SCALE_NONE) { /* as if f fell by as much once more (NW 3.60), at most Newton's step */
        return fmin(1, -2.02 * (m->at[FELL] > 0 ? m->at[FELL] : size / 2) / slope);
    }
    if (newton || (!steep && m->at[PAIRS] > 0)) {
        return 1;
    }
    return steep && m->at[STEPS] > 0 && slope < 0 ? m->at[ALPHA] * m->at[SLOPE] / slope : fmin(1, 1 / size);
}

/* Where no first-order descent is left, f must simply fall along d. */
static int halve(adze_minimizer *m, adze_min_line *l) {
    for (double a = 1; a > 1e-4 && la_dot(l->d, l->d, m->fn->n) > 0; a /= 2) {
        for (int64_t i = 0; i < m->fn->n; i++) {
            l->xt[i] = m->x[i] + a * l->d[i];
        }
        l->evals++;
        TRY(m->fn->value(m->fn->user, l->xt, &l->ft, l->gt));
        if (l->ft < l->f) {
            l->a = a;
            l->slope_t = la_dot(l->gt, l->d, m->fn->n);
            return ADZE_OK;
        }
    }
    return ADZE_OK;
}

/* x, f and g become the line search's point; s = x - old, y = g - old are learnt. */
static void take(adze_minimizer *m, const adze_min_line *l) {
    const int64_t n = m->fn->n;
    double *g = adze_min_gradient(m), *s = l->xt, *y = m->work, top = 0, bottom = la_dot(g, g, n);
    for (int64_t i = 0; i < n; i++) {
        const double x = l->xt[i];
        y[i] = l->gt[i] - g[i];
        top += y[i] * l->gt[i];
        s[i] = x - m->x[i];
        m->x[i] = x;
    }
    m->at[ALPHA] = m->r.alpha = l->a;
    m->at[SLOPE] = l->slope;
    m->at[FELL] = l->f - l->ft;
    m->at[STEPS]++;
    if (m->o.method == ADZE_MIN_CG) {
        m->at[SCALE] = top / bottom; /* Polak-Ribiere's beta */
        memcpy(last_of(m), l->d, (size_t)n * sizeof *y);
    } else {
        (void)adze_min_learn(m, s, y);
    }
    adze_min_set(m, l->ft, l->gt);
}

int adze_min_step(adze_minimizer *m, bool *moved) {
    const int64_t n = m->fn->n;
    double *d = m->work + n;
    *moved = false;
    TRY(adze_min_direction(m, d));
    adze_min_line l = {.fn = m->fn, .x = m->x, .d = d, .f = m->r.f, .slope = la_dot(d, adze_min_gradient(m), n), .c1 = m->o.c1, .c2 = m->o.c2};
    l.first = adze_min_first(m, d);
    l.exact = m->o.exact;
    l.most = m->most_trials;
    l.xt = m->work + 2 * n;
    l.gt = m->work + 3 * n;
    const bool flat = m->o.method == ADZE_MIN_NEWTON && still(m);
    TRY(flat ? halve(m, &l) : l.slope < 0 ? adze_min_search(&l) : ADZE_OK);
    m->r.evals += l.evals;
    if (l.a > 0) {
        *moved = true;
        m->r.steps++;
        take(m, &l);
    }
    return ADZE_OK;
}

/* A stationary point ends the search; newton looks for a way down first. */
static bool arrived(const adze_minimizer *m) {
    return still(m) && m->o.method != ADZE_MIN_NEWTON;
}

static int minimize(adze_minimizer *m) {
    TRY(adze_min_begin(m));
    for (;;) {
        bool moved;
        m->most_trials = la_min(40, m->o.evals - m->r.evals);
        m->r.why = arrived(m) ? ADZE_MIN_GRADIENT : m->r.steps >= m->o.steps ? ADZE_MIN_STEPS : ADZE_MIN_EVALS;
        if (arrived(m) || m->r.steps >= m->o.steps || m->most_trials <= 0) {
            return ADZE_OK;
        }
        TRY(adze_min_step(m, &moved));
        if (!moved) {
            m->r.why = still(m) ? ADZE_MIN_GRADIENT : m->r.evals >= m->o.evals ? ADZE_MIN_EVALS : ADZE_MIN_NO_DESCENT;
            return ADZE_OK;
        }
        if (m->fn->step) {
            TRY(m->fn->step(m->fn->user, m->r.steps, m->x, m->r.f, adze_min_gradient(m)));
        }
    }
}

int adze_minimize(adze_ctx *ctx, const adze_min_fn *fn, double *x, const adze_min_opts *o, adze_la_mat *h, adze_min_result *result) {
    adze_minimizer m = {.ctx = ctx, .fn = fn, .o = adze_min_settle(o), .x = x};
    const int64_t room = adze_min_room(o, fn->n);
    *result = (adze_min_result){0};
    if (fn->n < 1 || m.o.method < 0 || m.o.method >= ADZE_MIN_METHODS || m.o.m > PAIRS_MOST || (m.o.method == ADZE_MIN_NEWTON && !fn->hessian)) {
        return adze_fail(ctx, ADZE_EARG, "minimize: wants a known method, 1 number or more, at most 256 pairs, and for newton a Hessian");
    }
    TRY(la_check_vector(ctx, "x", x, fn->n));
    if (h) {
        TRY(la_check_shape(ctx, "h", *h, fn->n, fn->n));
    }
    m.at = room < 0 ? NULL : adze_alloc(ctx, room, sizeof *m.at);
    m.work = adze_alloc(ctx, fn->n, 4 * sizeof *m.work);
    int status = m.at && m.work ? minimize(&m) : adze_fail(ctx, ADZE_ENOMEM, "minimize: no memory for %lld numbers", (long long)fn->n);
    if (status == ADZE_OK && h && m.o.method == ADZE_MIN_BFGS) {
        la_copy(adze_la_dense(matrix_of(&m), fn->n, fn->n), *h, false);
    }
    *result = m.r;
    adze_free(ctx, m.at);
    adze_free(ctx, m.work);
    return status;
}
