/* Probes of the loss's shape around the weights: curvature, sharpness, what a step was to bring and what it brings, points where the gradient ends,
 * and how much the steps of lower layers change what upper layers were told. */
#include "adze/linalg.h"
#include "base/stats.h"
#include "train/tap.h"

#include <math.h>
#include <stdio.h>

static const uint32_t HESSIAN = ADZE_TAP_GRADS | ADZE_TAP_HESSIAN;

/* -- cond and rank ------------------------------------------------------------------------------------------------------------------------------- */

enum { EIGEN_MOST = 1024 }; /* of a full decomposition */

typedef struct spectrum { /* of a matrix's singular values, squared */
    double condition;     /* largest over least of those that are not 0 */
    double rank, stable, entropy;
} spectrum;

static void measure(const double *e, int64_t k, spectrum *s) { /* ascending */
    const double top = fmax(e[k - 1], 0), floor_at = top * (double)k * 2.3e-16;
    double sum = 0, roots = 0, least = top;
    int64_t rank = 0;
    for (int64_t i = 0; i < k; i++) {
        if (e[i] > floor_at) {
            rank++;
            sum += e[i];
            roots += sqrt(e[i]);
            least = fmin(least, e[i]);
        }
    }
    s->entropy = 0;
    for (int64_t i = 0; i < k; i++) {
        const double p = e[i] > floor_at ? sqrt(e[i]) / roots : 0;
        s->entropy -= p > 0 ? p * log(p) : 0;
    }
    s->entropy = exp(s->entropy);
    s->rank = (double)rank, s->condition = top / least, s->stable = sum / top;
}

/* Of a (rows, cols), through the smaller of its two Gram matrices; larger ones are left alone (NaN). */
static int spectrum_of(adze_ctx *ctx, const double *a, int64_t rows, int64_t cols, spectrum *s) {
    const int64_t k = rows < cols ? rows : cols;
    *s = (spectrum){(double)NAN, (double)NAN, (double)NAN, (double)NAN};
    if (k > EIGEN_MOST || k == 0) {
        return ADZE_OK;
    }
    double *room = adze_alloc(ctx, rows * cols + k * k + k, sizeof *room);
    TRY(ADZE_GOT(room));
    double *gram = room + rows * cols, *e = gram + k * k;
    memcpy(room, a, (size_t)(rows * cols) * sizeof *a);
    const adze_la_mat m = adze_la_dense(room, rows, cols), g = adze_la_dense(gram, k, k);
    int st = adze_la_matmul(ctx, m, cols <= rows, m, cols > rows, g);
    st = st == ADZE_OK ? adze_la_eigen(ctx, g, e, (adze_la_mat){.at = NULL}) : st;
    if (st == ADZE_OK && e[k - 1] > 0) {
        measure(e, k, s);
    }
    adze_free(ctx, room);
    return st;
}

static int data_condition(adze_tap *t, adze_findings *f) {
    const adze_type type = adze_val_type(t->g, t->x);
    const int64_t rows = t->of->x.dims[0] < EIGEN_MOST ? t->of->x.dims[0] : EIGEN_MOST, cols = adze_type_count(&type) / t->batch;
    double *x = adze_alloc(t->ctx, rows * cols, sizeof *x);
    spectrum s;
    TRY(ADZE_GOT(x));
    for (int64_t i = 0; i < rows * cols; i++) {
        x[i] = adze_tensor_get(&t->of->x, i) * t->o->xscale;
    }
    const int st = spectrum_of(t->ctx, x, rows, cols, &s);
    adze_free(t->ctx, x);
    adze_found(f, "data_condition", s.condition); /* of X'X, along directions in which there is any data */
    adze_found(f, "data_rank", s.rank);
    return st;
}

/* The n Ritz values of the Hessian and their bounds, in memory that the caller frees: at most o->steps, and exact where as many as weights. */
static int lanczos(adze_tap *t, int64_t *n, double **ritz) {
    *n = t->nweights < t->o->steps ? t->nweights : t->o->steps;
    *ritz = adze_alloc(t->ctx, 2 * *n, sizeof **ritz);
    TRY(ADZE_GOT(*ritz));
    adze_la_ritz r = {.steps = *n, .seed = t->o->seed, .values = *ritz, .bounds = *ritz + *n};
    return adze_la_lanczos(t->ctx, (adze_la_op){.n = t->nweights, .apply = adze_tap_hessian, .user = t}, &r);
}

static int curvature(adze_tap *t, adze_findings *f, double *v) {
    int64_t n, negative = 0, some = 0;
    double *ritz;
    (void)v;
    int st = lanczos(t, &n, &ritz);
    const bool exact = n == t->nweights;
    ADZE_COLUMNS(f, "eigenvalue", "bound");
    if (st == ADZE_OK) {
        const double top = fmax(fabs(ritz[0]), fabs(ritz[n - 1])), zero = 1e-9 * top;
        double least = top;
        for (int64_t i = 0; i < n; i++) { /* within the bound there is an eigenvalue; a sample's may be none itself, and near 0 it tells nothing */
            const double size = fabs(ritz[i]), off = exact ? 0 : ritz[n + i];
            negative += ritz[i]<-zero, some += size> zero;
            least = size - off > zero ? fmin(least, size + off) : least;
            double *cell = adze_found_row(f, "%lld", (long long)i + 1);
            cell[0] = ritz[i], cell[1] = ritz[n + i];
        }
        adze_found(f, "lambda_max", ritz[n - 1]);
        adze_found(f, "lambda_min", ritz[0]);
        adze_found(f, exact ? "hessian_condition" : "condition_at_least", top / least);
        adze_found(f, "negative_share", some > 0 ? (double)negative / (double)some : 0);
        adze_found(f, "exact", exact); /* else Lanczos: the ends are right, the rest is a sample */
        st = data_condition(t, f);
    }
    adze_free(t->ctx, ritz);
    return st;
}

int adze_probe_cond(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    return adze_tap_with(ctx, s, o, f, (adze_tap_look){HESSIAN, 0, curvature});
}

static int rank_row(adze_tap *t, adze_findings *f, const char *what, const double *a, int64_t rows, int64_t cols) {
    spectrum s;
    double *cell = adze_found_row(f, "%s", what);
    TRY(spectrum_of(t->ctx, a, rows, cols, &s));
    cell[0] = (double)(rows < cols ? rows : cols), cell[1] = s.rank, cell[2] = s.stable, cell[3] = s.entropy;
    return ADZE_OK;
}

static int ranks(adze_tap *t, adze_findings *f, double *w) {
    ADZE_COLUMNS(f, "full", "rank", "stable rank", "entropy rank");
    TRY(adze_tap_weights(t, w));
    for (int i = 0; i < t->nparams; i++) {
        const adze_type type = adze_store_type(t->store, t->slot[i]);
        const int64_t n = adze_type_count(&type), cols = type.rank > 0 ? type.dims[type.rank - 1] : 1;
        if (type.rank >= 2) {
            TRY(rank_row(t, f, adze_store_name(t->store, t->slot[i]), w, n / cols, cols));
        }
        w += n;
    }
    TRY(adze_tap_run(t));
    for (int l = 0; l < t->m->nlayers; l++) {
        const adze_type type = adze_val_type(t->g, t->outs[l]);
        const double *v;
        char name[ADZE_FINDING_NAME];
        int64_t n;
        if (t->m->layers[l].params > 0 && adze_tap_has(t, "a", l)) {
            snprintf(name, sizeof name, "%.40s (activations)", t->m->layers[l].path);
            TRY(adze_tap_read(t, "a", l, &v, &n));
            TRY(rank_row(t, f, name, v, n / type.dims[type.rank - 1], type.dims[type.rank - 1]));
        }
    }
    return ADZE_OK;
}

int adze_probe_rank(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    return adze_tap_with(ctx, s, o, f, (adze_tap_look){ADZE_TAP_OUTS, 1, ranks});
}

/* -- sharpness (Keskar et al. 2017, metric 2.1 with the whole space; Dinh et al. 2017, section 4) ------------------------------------------------ */

enum { ASCENTS = 10 };

static int eps_sharpness(adze_tap *t, double *room, double *out) { /* room: three vectors */
    const int64_t n = t->nweights;
    double *w = room, *z = room + n, *g = room + 2 * n, base, best, at;
    TRY(adze_tap_weights(t, w));
    TRY(adze_tap_loss(t, &base));
    best = base;
    memcpy(z, w, (size_t)n * sizeof *z);
    for (int k = 0; k < ASCENTS; k++) { /* uphill by the gradient's signs, within the box */
        TRY(adze_tap_gradient(t, g));
        for (int64_t i = 0; i < n; i++) {
            const double reach = t->o->eps * (fabs(w[i]) + 1), next = z[i] + reach * 2.5 / ASCENTS * ((g[i] > 0) - (g[i] < 0));
            z[i] = fmin(fmax(next, w[i] - reach), w[i] + reach);
        }
        TRY(adze_tap_set_weights(t, z));
        TRY(adze_tap_loss(t, &at));
        best = fmax(best, at);
    }
    *out = 100 * (best - base) / (1 + base);
    return adze_tap_set_weights(t, w);
}

static int largest(adze_tap *t, double *lambda) { /* algebraically: one negative end must not hide it */
    int64_t n;
    double *ritz;
    const int st = lanczos(t, &n, &ritz);
    *lambda = ritz != NULL ? ritz[n - 1] : 0;
    adze_free(t->ctx, ritz);
    return st;
}

/* Layer i's weights and biases times a, and the weights of the next layer with weights over a: the same function where layer i ends in a relu. */
static int rescale(adze_tap *t, double a, bool *done) {
    const adze_model *m = t->m;
    *done = false;
    for (int p = 0; p < t->nparams && !*done; p++) {
        const int l = t->layer[p];
        const adze_field *fn = l >= 0 ? adze_field_find(m->layers[l].spec->kind->fields, "activation") : NULL;
        char text[32] = "";
        if (fn == NULL || adze_field_print(fn, m->layers[l].spec->fields, text, sizeof text) < 0 || strcmp(text, "relu") != 0) {
            continue;
        }
        int next = p;
        while (next < t->nparams && (t->layer[next] == l || adze_store_type(t->store, t->slot[next]).rank < 2)) {
            next++;
        }
        for (int k = p; k <= next && next < t->nparams; k++) {
            adze_tensor w;
            const adze_type type = adze_store_type(t->store, t->slot[k]);
            const double factor = t->layer[k] == l ? a : k == next ? 1 / a : 1;
            TRY(adze_store_tensor(t->store, t->slot[k], &w));
            for (int64_t i = 0; i < adze_type_count(&type); i++) {
                adze_tensor_set(&w, i, adze_tensor_get(&w, i) * factor);
            }
        }
        *done = next < t->nparams;
    }
    return ADZE_OK;
}

static int sharp(adze_tap *t, adze_findings *f, double *v) {
    double lambda, share, before, after;
    bool done = false;
    TRY(largest(t, &lambda));
    TRY(eps_sharpness(t, v, &share));
    TRY(adze_tap_loss(t, &before));
    adze_found(f, "lambda_max", lambda);
    adze_found(f, "sharpness", share); /* percent */
    adze_found(f, "loss", before);
    if (t->o->rescale == 1) {
        return ADZE_OK;
    }
    TRY(rescale(t, t->o->rescale, &done));
    if (!done) {
        return adze_fail(t->ctx, ADZE_EARG, "option rescale needs a layer with relu followed by one with weights; model '%s' has none", t->m->name);
    }
    TRY(adze_tap_loss(t, &after));
    TRY(largest(t, &lambda));
    TRY(eps_sharpness(t, v, &share));
    adze_found(f, "lambda_max_rescaled", lambda);
    adze_found(f, "sharpness_rescaled", share);
    adze_found(f, "loss_change", fabs(after - before));
    snprintf(f->verdict, sizeof f->verdict, "the loss changed by %.2g, the largest eigenvalue by a factor of %.3g", fabs(after - before),
             lambda / adze_findings_value(f, "lambda_max"));
    return ADZE_OK;
}

int adze_probe_sharpness(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    return adze_tap_with(ctx, s, o, f, (adze_tap_look){HESSIAN, 3, sharp});
}

/* -- decrease ------------------------------------------------------------------------------------------------------------------------------------ */

static int step_from(adze_tap *t, const double *w, const double *g, double *at, double rate, double *loss) {
    for (int64_t i = 0; i < t->nweights; i++) {
        at[i] = w[i] - rate * g[i];
    }
    TRY(adze_tap_set_weights(t, at));
    return adze_tap_loss(t, loss);
}

static int decrease(adze_tap *t, adze_findings *f, double *v) {
    const int64_t n = t->nweights;
    double *w = v, *g = v + n, *hg = v + 2 * n, base, loss;
    TRY(adze_tap_weights(t, w));
    TRY(adze_tap_gradient(t, g));
    TRY(adze_tap_hessian(t, g, hg));
    TRY(adze_tap_loss(t, &base));
    const double gg = adze_dot(g, g, n), ghg = adze_dot(g, hg, n), flat = 2 * gg / ghg; /* beyond flat the second order says that the loss rises */
    adze_found(f, "loss", base);
    adze_found(f, "gradient_squared", gg);
    adze_found(f, "curvature", ghg / gg); /* along the gradient */
    adze_found(f, "rate_of_rise", ghg > 0 ? flat : (double)NAN);
    ADZE_COLUMNS(f, "rate", "first order", "second order", "actual");
    const double rates[] = {t->o->lr, t->o->lr / 100, t->o->lr / 10, t->o->lr * 10, flat / 2, flat * 0.9, flat * 1.1};
    for (size_t i = 0; i < (ghg > 0 ? ADZE_COUNT(rates) : 4); i++) {
        const double r = rates[i];
        double *cell = adze_found_row(f, i < 4 ? "lr x %g" : "rise x %g", i < 4 ? r / t->o->lr : r / flat);
        TRY(step_from(t, w, g, hg, r, &loss));
        cell[0] = r, cell[1] = -r * gg, cell[2] = -r * gg + r * r / 2 * ghg, cell[3] = loss - base;
        if (i == 0) {
            adze_found(f, "first_order", cell[1]);
            adze_found(f, "second_order", cell[2]);
            adze_found(f, "actual", cell[3]);
            adze_found(f, "first_over_actual", cell[1] / cell[3]);
            adze_found(f, "second_over_actual", cell[2] / cell[3]);
        }
    }
    return ADZE_OK;
}

int adze_probe_decrease(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    return adze_tap_with(ctx, s, o, f, (adze_tap_look){HESSIAN, 3, decrease});
}

/* -- index: critical points of any kind are minima of |g|^2 / 2, found by damped Gauss-Newton steps (Levenberg 1944) on the gradient ------------- */

enum { INDEX_MOST = 1000, INDEX_POINTS = 12 };
static const double INDEX_GRADIENT = 1e-3; /* below which a point counts as critical */

typedef struct search {
    adze_tap *t;
    double *w, *g, *d, *h, *gram, *e; /* h, gram: (n, n) */
} search;

static int fill_hessian(search *s) {
    const int64_t n = s->t->nweights;
    for (int64_t i = 0; i < n; i++) {
        memset(s->d, 0, (size_t)n * sizeof *s->d);
        s->d[i] = 1;
        TRY(adze_tap_hessian(s->t, s->d, s->h + i * n));
    }
    return ADZE_OK;
}

/* w -= (H H + mu I)^-1 H g */
static int newton_step(search *s, double mu) {
    const int64_t n = s->t->nweights;
    const adze_la_mat h = adze_la_dense(s->h, n, n), gram = adze_la_dense(s->gram, n, n);
    TRY(adze_la_matmul(s->t->ctx, h, true, h, false, gram));
    for (int64_t i = 0; i < n; i++) {
        s->gram[i * n + i] += mu;
        s->d[i] = adze_dot(s->h + i * n, s->g, n);
    }
    TRY(adze_la_cholesky(s->t->ctx, gram));
    TRY(adze_la_cholesky_solve(s->t->ctx, gram, adze_la_dense(s->d, n, 1)));
    for (int64_t i = 0; i < n; i++) {
        s->d[i] = s->w[i] - s->d[i];
    }
    return adze_tap_set_weights(s->t, s->d);
}

/* Newton's steps from the weights in w; the damping falls with each step that brings the gradient down and rises with one that does not. */
static int descend_gradient(search *s) {
    const int64_t n = s->t->nweights;
    double mu = 1e-2;
    TRY(adze_tap_set_weights(s->t, s->w));
    TRY(adze_tap_gradient(s->t, s->g));
    double norm = adze_norm_of(s->g, n);
    for (int64_t k = 0; k < s->t->o->steps && norm > 1e-7; k++) {
        TRY(fill_hessian(s));
        for (int tries = 0; tries < 8; tries++) {
            TRY(newton_step(s, mu * norm));
            TRY(adze_tap_gradient(s->t, s->e)); /* e: room for one gradient */
            const double next = adze_norm_of(s->e, n);
            if (next < norm) {
                norm = next, mu *= 0.3;
                TRY(adze_tap_weights(s->t, s->w));
                memcpy(s->g, s->e, (size_t)n * sizeof *s->g);
                break;
            }
            mu *= 5;
        }
    }
    TRY(adze_tap_set_weights(s->t, s->w));
    return ADZE_OK;
}

/* Point p starts from noise, small or large, on weights that plain descent has worked on for 0, 1, 3, .. 31 steps. */
static int index_point(search *s, const double *start, int p, double *cell) {
    const int64_t n = s->t->nweights;
    adze_rng r = adze_rng_make(s->t->o->seed, (uint64_t)p + 1);
    TRY(adze_tap_set_weights(s->t, start));
    for (int k = 0; k < (1 << p / 2) - 1; k++) {
        TRY(adze_tap_weights(s->t, s->w));
        TRY(adze_tap_gradient(s->t, s->g));
        for (int64_t i = 0; i < n; i++) {
            s->w[i] -= s->t->o->lr * s->g[i];
        }
        TRY(adze_tap_set_weights(s->t, s->w));
    }
    TRY(adze_tap_weights(s->t, s->w));
    for (int64_t i = 0; i < n; i++) {
        s->w[i] += (p % 2 ? 1 : 0.1) * adze_rng_normal(&r);
    }
    TRY(descend_gradient(s));
    TRY(adze_tap_loss(s->t, &cell[0]));
    TRY(adze_tap_gradient(s->t, s->g));
    cell[1] = adze_norm_of(s->g, n);
    TRY(fill_hessian(s));
    TRY(adze_la_eigen(s->t->ctx, adze_la_dense(s->h, n, n), s->e, (adze_la_mat){.at = NULL}));
    int64_t negative = 0;
    const double zero = 1e-6 * fmax(fabs(s->e[0]), fabs(s->e[n - 1]));
    for (int64_t i = 0; i < n; i++) {
        negative += s->e[i] < -zero;
    }
    cell[2] = (double)negative / (double)n, cell[3] = s->e[0], cell[4] = s->e[n - 1];
    return ADZE_OK;
}

static int indices(adze_tap *t, adze_findings *f, double *v) {
    const int64_t size = t->nweights;
    double loss[INDEX_POINTS], index[INDEX_POINTS];
    search s = {.t = t, .w = v + size, .g = v + 2 * size, .d = v + 3 * size, .e = v + 4 * size};
    if (size > INDEX_MOST) {
        return adze_fail(t->ctx, ADZE_EARG, "the index takes every eigenvalue, for at most %d parameters; model '%s' has %lld", INDEX_MOST,
                         t->m->name, (long long)size);
    }
    s.h = adze_alloc(t->ctx, 2 * size * size, sizeof *s.h);
    s.gram = s.h != NULL ? s.h + size * size : NULL;
    ADZE_COLUMNS(f, "loss", "gradient", "index", "least eigenvalue", "largest eigenvalue");
    int st = s.h != NULL ? adze_tap_weights(t, v) : ADZE_ENOMEM;
    for (int p = 0; p < INDEX_POINTS && st == ADZE_OK; p++) {
        double *cell = adze_found_row(f, "after %d steps, noise %g", (1 << p / 2) - 1, p % 2 ? 1 : 0.1);
        st = index_point(&s, v, p, cell);
    }
    adze_free(t->ctx, s.h);
    int n = 0;
    for (int p = 0; p < f->nrows && st == ADZE_OK; p++) {
        const double *cell = f->cells + (int64_t)p * f->ncolumns;
        if (cell[1] < INDEX_GRADIENT) {
            loss[n] = cell[0], index[n++] = cell[2];
        }
    }
    adze_found(f, "critical_points", n);
    adze_found(f, "correlation", adze_pearson(loss, index, n)); /* of loss and index over them (Dauphin et al. 2014, figure 1) */
    return st;
}

int adze_probe_index(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    return adze_tap_with(ctx, s, o, f, (adze_tap_look){HESSIAN, 5, indices});
}

/* -- ics: the gradient of a layer before and after the step of all layers below it (Santurkar et al. 2018, definition 2.1) ----------------------- */

static int shift_of(adze_tap *t, adze_findings *f, double *v) {
    const int64_t n = t->nweights;
    double *w = v, *g = v + n, *mixed = v + 2 * n, *after = v + 3 * n, worst = 0, sum = 0;
    int64_t at = 0, rows = 0;
    TRY(adze_tap_weights(t, w));
    TRY(adze_tap_gradient(t, g));
    memcpy(mixed, w, (size_t)n * sizeof *w);
    ADZE_COLUMNS(f, "difference", "relative", "cosine");
    for (int i = 0; i < t->nparams;) {
        int64_t here = 0;
        const int layer = t->layer[i];
        for (; i < t->nparams && t->layer[i] == layer; i++) {
            const adze_type type = adze_store_type(t->store, t->slot[i]);
            here += adze_type_count(&type);
        }
        TRY(adze_tap_set_weights(t, mixed)); /* the layers below have stepped */
        TRY(adze_tap_gradient(t, after));
        const double norm = adze_norm_of(g + at, here), other = adze_norm_of(after + at, here), dot = adze_dot(g + at, after + at, here);
        double *cell = adze_found_row(f, "%s", layer >= 0 ? t->m->layers[layer].path : "?");
        for (int64_t k = at; k < at + here; k++) {
            after[k] -= g[k];
            mixed[k] -= t->o->lr * g[k];
        }
        cell[0] = adze_norm_of(after + at, here), cell[1] = cell[0] / norm, cell[2] = dot / (norm * other);
        worst = fmax(worst, cell[1]), sum += at > 0 ? cell[0] : 0, rows += at > 0;
        at += here;
    }
    adze_found(f, "relative_most", worst);
    adze_found(f, "difference_mean", sum / (double)rows); /* over layers but the first, below which there is none */
    return adze_tap_set_weights(t, w);
}

int adze_probe_ics(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    return adze_tap_with(ctx, s, o, f, (adze_tap_look){ADZE_TAP_GRADS, 4, shift_of});
}
