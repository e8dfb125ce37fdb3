/* K-FAC: Martens, Grosse, Optimizing neural networks with Kronecker-factored approximate curvature, 2015 (arXiv 1503.05671), algorithm 2.
 *
 * A step is a d + mu m: d the gradient times the inverse of the Kronecker-factored Fisher matrix, m the last step, a and mu the minimum of the
 * quadratic model with the exact Fisher matrix (sections 6.4 and 7). Weights without factors have the diagonal of the Fisher matrix instead. */
#include "adze/linalg.h"
#include "train/kfac_graph.h"

#include <math.h>

enum { FACTORS, DIRECTION, QUADRATIC, UPDATE, LOSS };         /* plans */
enum { LAMBDA, GAMMA, ALPHA, MU, RATIO, MODEL, NUMBERS = 8 }; /* of the slot state/kfac */

typedef struct kfac {
    adze_second head;
    adze_kfac_net net;
    double *at; /* state/kfac; found anew where it is needed */
    double *square[2], dots[ADZE_KFAC_DOTS];
    double least;                     /* damping that is never undercut, unlike the paper's: small batches are foretold well and others not */
    int64_t largest;                  /* rows of the largest factor */
    int64_t of_factors, of_quadratic; /* examples of those plans */
} kfac;

/* The paper's scale is that of a loss summed over the outputs; ours are means of them but for softmax. */
static double usual_damping(const adze_steps *s, int64_t outputs) {
    const bool classes = s->o->target == ADZE_TARGET_LABEL && (s->o->loss == ADZE_LOSS_AUTO || s->o->loss == ADZE_LOSS_SOFTMAX_XENT);
    return s->o->damping > 0 ? s->o->damping : classes ? 0.1 : 1 / (double)outputs;
}

static int state_of(kfac *k) {
    adze_tensor t;
    adze_store *store = k->head.steps->store;
    TRY(adze_store_tensor(store, adze_store_find(store, "state/kfac"), &t));
    k->at = adze_tensor_data(&t);
    return ADZE_OK;
}

/* -- opening ------------------------------------------------------------------------------------------------------------------------------------- */

static int slots(adze_second *base) {
    kfac *k = (kfac *)base;
    adze_steps *s = base->steps;
    adze_graph *g = NULL;
    adze_val y, mean;
    TRY(adze_kfac_open(s, &k->net));
    TRY(adze_graph_new(s->ctx, &g));
    int st = adze_curvature_model(s, g, 1, true, &y, &mean);
    st = st == ADZE_OK ? adze_kfac_find(s, g, &k->net) : st;
    const int64_t outputs = st == ADZE_OK ? adze_val_type(g, y).dims[1] : 1;
    adze_graph_free(g);
    TRY(st);
    TRY(adze_kfac_slots(s, &k->net));
    TRY(adze_store_add(s->store, "state/kfac", adze_type_make(ADZE_F64, 1, (int64_t[]){NUMBERS}), ADZE_SLOT_STATE, NULL));
    for (int i = 0; i < k->net.nlayers; i++) {
        const int64_t rows = k->net.layers[i].rows, cols = k->net.layers[i].cols;
        k->largest = rows > k->largest ? rows : k->largest;
        k->largest = cols > k->largest ? cols : k->largest;
    }
    for (int i = 0; i < 2; i++) {
        int64_t count;
        k->square[i] = adze_mul_size(k->largest, k->largest, &count) ? adze_alloc(s->ctx, count, sizeof(double)) : NULL;
        if (k->square[i] == NULL) {
            return adze_fail(s->ctx, ADZE_ENOMEM, "kfac: no memory for a matrix of %lld rows", (long long)k->largest);
        }
    }
    TRY(state_of(k));
    k->at[LAMBDA] = usual_damping(s, outputs);
    k->least = k->at[LAMBDA];
    k->at[GAMMA] = sqrt(k->at[LAMBDA] + s->rule.l2);
    return ADZE_OK;
}

/* Products of the Fisher matrix with d and m, between themselves: forward tangents of both, and the loss's Hessian at the outputs between them. */
static int quadratic_graph(const adze_steps *s, adze_graph *g, int64_t batch) {
    adze_val y, mean, *w = adze_alloc(s->ctx, s->nparams, 3 * sizeof *w), u[2], hu[2], row[3];
    TRY(ADZE_GOT(w));
    static const char *const roles[] = {"d", "m"};
    int st = adze_curvature_model(s, g, batch, true, &y, &mean);
    for (int which = 0; which < 2 && st == ADZE_OK; which++) {
        for (int i = 0; i < s->nparams; i++) {
            w[i] = adze_curvature_slot(s, g, i, NULL);
            w[s->nparams + i] = adze_curvature_slot(s, g, i, roles[which]);
        }
        st = adze_jvp(g, &y, 1, w, w + s->nparams, s->nparams, &u[which], 0);
    }
    for (int which = 0; which < 2 && st == ADZE_OK; which++) {
        st = adze_hvp(g, mean, &y, &u[which], 1, &hu[which], 0);
    }
    adze_free(s->ctx, w);
    TRY(st);
    const int pairs[3][2] = {{0, 0}, {0, 1}, {1, 1}};
    for (int i = 0; i < 3; i++) {
        row[i] = adze_reshape(g, adze_sum(g, adze_mul(g, hu[pairs[i][0]], u[pairs[i][1]]), NULL, 0, false), (int64_t[]){1}, 1);
    }
    return adze_output(g, "products", adze_concat(g, row, 3, 0));
}

static int update_graph(const adze_steps *s, adze_graph *g) { /* m = alpha d + mu m; w += lr m */
    const adze_type number = adze_scalar_type(s->dtype);
    const adze_val alpha = adze_input(g, "alpha", number), mu = adze_input(g, "mu", number), lr = adze_input(g, "lr", number);
    for (int i = 0; i < s->nparams; i++) {
        const adze_val w = adze_curvature_slot(s, g, i, NULL), d = adze_curvature_slot(s, g, i, "d"), m = adze_curvature_slot(s, g, i, "m");
        const adze_val next = adze_add(g, adze_mul(g, alpha, d), adze_mul(g, mu, m));
        adze_assign(g, m, next);
        adze_assign(g, w, adze_add(g, w, adze_mul(g, lr, next)));
    }
    return adze_graph_status(g);
}

static int build(kfac *k, int which, adze_graph *g, int64_t batch) {
    const adze_steps *s = k->head.steps;
    switch (which) {
    case FACTORS:
        return adze_kfac_factors(s, g, &k->net, k->of_factors, true);
    case DIRECTION:
        return adze_kfac_direction(s, g, &k->net);
    case QUADRATIC:
        return quadratic_graph(s, g, k->of_quadratic);
    case UPDATE:
        return update_graph(s, g);
    default:
        return adze_curvature_losses(s, g, batch);
    }
}

/* A share of a small batch is too few examples: it has at least so many, or all. */
static int64_t share_of(int64_t batch, double share) {
    enum { LEAST = 64 };
    const int64_t n = (int64_t)ceil((double)batch * share);
    return n >= LEAST ? n : batch < LEAST ? batch : LEAST;
}

static int plans(adze_second *base, int64_t batch, int64_t most, int64_t rest) {
    (void)most, (void)rest;
    kfac *k = (kfac *)base;
    const adze_train_opts *o = base->steps->o;
    k->of_factors = share_of(batch, o->kfac_stats);
    k->of_quadratic = share_of(batch, o->kfac_products);
    for (int i = FACTORS; i <= LOSS; i++) {
        adze_graph *g = NULL;
        TRY(adze_graph_new(base->steps->ctx, &g));
        int st = build(k, i, g, batch);
        /* Tangents read all weights twice and more: in parts of a batch they would do so for each part. */
        const adze_compile_opts co = {.size = sizeof co, .no_group = i == QUADRATIC};
        st = st == ADZE_OK ? adze_compile(g, &co, &base->plan[i]) : st;
        adze_graph_free(g);
        TRY(st);
    }
    return ADZE_OK;
}

static void close(adze_second *base) {
    kfac *k = (kfac *)base;
    adze_kfac_close(base->steps, &k->net);
    adze_free(base->steps->ctx, k->square[0]);
    adze_free(base->steps->ctx, k->square[1]);
}

/* -- inverses ------------------------------------------------------------------------------------------------------------------------------------ */

static double mean_diagonal(const adze_tensor *t, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += adze_tensor_get(t, i * n + i);
    }
    return sum / (double)n;
}

/* to = (from + shift I)^-1. Factors are rounded to their type: where that costs them their definiteness, the shift grows tenfold until it is back. */
static int invert(kfac *k, const adze_tensor *from, const adze_tensor *to, int64_t n, double shift) {
    enum { TRIES = 10 };
    adze_ctx *ctx = k->head.steps->ctx;
    const adze_la_mat a = adze_la_dense(k->square[0], n, n), b = adze_la_dense(k->square[1], n, n);
    const adze_type square = adze_type_make(ADZE_F64, 2, (int64_t[]){n, n});
    adze_tensor va, vb;
    TRY(adze_tensor_wrap(ctx, square, a.at, &va));
    int st = adze_tensor_wrap(ctx, square, b.at, &vb);
    if (st != ADZE_OK) {
        adze_tensor_free(&va);
        return st;
    }
    st = ADZE_EARG;
    for (int t = 0; t < TRIES && st == ADZE_EARG; t++, shift *= 10) {
        st = adze_tensor_copy(ctx, va, *from);
        for (int64_t i = 0; i < n; i++) {
            a.at[i * n + i] += shift;
        }
        st = st == ADZE_OK ? adze_la_cholesky(ctx, a) : st;
    }
    st = st == ADZE_OK ? adze_la_cholesky_inverse(ctx, a, b) : st;
    st = st == ADZE_OK ? adze_tensor_copy(ctx, *to, vb) : st;
    adze_tensor_free(&va);
    adze_tensor_free(&vb);
    return st == ADZE_EARG ? adze_fail(ctx, ADZE_ENAN, "training diverged: a factor of kfac has no inverse; begin with more damping or a smaller lr")
                           : st;
}

/* Factored Tikhonov damping (section 6.3): gamma is split so that both factors have their trace's share of it. */
static int invert_all(kfac *k, double gamma) {
    const adze_steps *s = k->head.steps;
    for (int i = 0; i < k->net.nlayers; i++) {
        const adze_kfac_layer *l = &k->net.layers[i];
        adze_tensor a, ai, c, ci;
        TRY(adze_curvature_tensor(s, l->w, "a", &a));
        TRY(adze_curvature_tensor(s, l->w, "ai", &ai));
        TRY(adze_curvature_tensor(s, l->w, "s", &c));
        TRY(adze_curvature_tensor(s, l->w, "si", &ci));
        const double ta = mean_diagonal(&a, l->rows), tc = mean_diagonal(&c, l->cols);
        const double pi = ta > 0 && tc > 0 ? sqrt(ta / tc) : 1;
        TRY(invert(k, &a, &ai, l->rows, pi * gamma));
        TRY(invert(k, &c, &ci, l->cols, gamma / pi));
    }
    adze_store_touch(s->store);
    return ADZE_OK;
}

/* -- a step -------------------------------------------------------------------------------------------------------------------------------------- */

static int set_input(adze_session *s, const char *name, double v) {
    adze_tensor t;
    TRY(adze_session_input(s, name, &t));
    adze_tensor_set(&t, 0, v);
    return ADZE_OK;
}

static int factors(kfac *k, const adze_second_step *u) {
    adze_session *run = k->head.session[FACTORS];
    const double keep = fmin(1 - 1 / (double)u->step, k->head.steps->o->kfac_keep);
    TRY(adze_curvature_show(run, k->head.steps, u));
    TRY(set_input(run, "keep", keep));
    return adze_session_run(run);
}

/* d from the inverses as they stand, and the minimum of the quadratic model: alpha, mu and its value. */
static int direct(kfac *k, double lambda, double gamma) {
    adze_session *run = k->head.session[DIRECTION], *products = k->head.session[QUADRATIC];
    adze_tensor t;
    if (k->net.noutside > 0) {
        TRY(set_input(run, "shift", gamma * gamma));
    }
    TRY(adze_session_run(run));
    TRY(adze_session_output(run, "dots", &t));
    for (int i = 0; i < ADZE_KFAC_DOTS; i++) {
        k->dots[i] = adze_tensor_get(&t, i);
    }
    TRY(adze_session_run(products));
    TRY(adze_session_output(products, "products", &t));
    const double *v = k->dots;
    const double dd = adze_tensor_get(&t, 0) + lambda * v[KFAC_DD] + v[KFAC_ED], dm = adze_tensor_get(&t, 1) + lambda * v[KFAC_DM] + v[KFAC_EDM];
    const double mm = adze_tensor_get(&t, 2) + lambda * v[KFAC_MM] + v[KFAC_EM], det = dd * mm - dm * dm;
    const bool both = k->head.steps->o->kfac_momentum && mm > 0 && det > 1e-6 * dd * mm;
    k->at[ALPHA] = both ? -(mm * v[KFAC_GD] - dm * v[KFAC_GM]) / det : dd > 0 ? -v[KFAC_GD] / dd : 0;
    k->at[MU] = both ? -(dd * v[KFAC_GM] - dm * v[KFAC_GD]) / det : 0;
    k->at[MODEL] = (k->at[ALPHA] * v[KFAC_GD] + k->at[MU] * v[KFAC_GM]) / 2;
    return ADZE_OK;
}

/* Three values of gamma are tried; the one whose model falls lowest stays (section 6.6). */
static int choose_gamma(kfac *k, double lambda) {
    const double factor = pow(19.0 / 20, (double)k->head.steps->o->kfac_gamma_every / 2), old = k->at[GAMMA];
    const double tried[3] = {old / factor, old * factor, old};
    double best = INFINITY, chosen = old;
    for (int i = 0; i < 3; i++) {
        TRY(invert_all(k, tried[i]));
        TRY(direct(k, lambda, tried[i]));
        if (k->at[MODEL] < best) {
            best = k->at[MODEL];
            chosen = tried[i];
        }
    }
    k->at[GAMMA] = chosen;
    if (chosen != old) { /* the last one tried */
        TRY(invert_all(k, chosen));
        TRY(direct(k, lambda, chosen));
    }
    return ADZE_OK;
}

/* lambda follows how well the model foretold the loss of the same examples (section 6.5), which was `before`. The whole step leads to the model's
 * minimum, where the model has fallen by half of what its slope promised; of it, lr times is taken. */
static int adapt(kfac *k, const adze_second_step *u, double before) {
    adze_session *run = k->head.session[LOSS];
    double after;
    TRY(adze_curvature_show(run, k->head.steps, u));
    TRY(adze_curvature_loss(run, u->last_count, &after));
    const double a = u->lr * k->at[ALPHA], m = u->lr * k->at[MU], *v = k->dots, foretold = u->lr * (2 - u->lr) * k->at[MODEL];
    const double penalty = a * v[KFAC_WD] + m * v[KFAC_WM] + (a * a * v[KFAC_ED] + 2 * a * m * v[KFAC_EDM] + m * m * v[KFAC_EM]) / 2;
    const double actual = after - before + penalty, factor = pow(19.0 / 20, (double)k->head.steps->o->kfac_lambda_every);
    k->at[RATIO] = foretold < 0 ? actual / foretold : 0;
    k->at[LAMBDA] *= k->at[RATIO] > 0.75 ? factor : !(k->at[RATIO] >= 0.25) ? 1 / factor : 1;
    k->at[LAMBDA] = fmax(k->at[LAMBDA], k->least);
    return ADZE_OK;
}

static int step(adze_second *base, const adze_second_step *u) {
    kfac *k = (kfac *)base;
    adze_steps *s = base->steps;
    const adze_train_opts *o = s->o;
    TRY(state_of(k));
    const double lambda = k->at[LAMBDA], before = adze_curvature_mean(&u->last->loss, u->last_count); /* the next run takes its place in the arena */
    TRY(factors(k, u));
    TRY(adze_curvature_show(base->session[QUADRATIC], s, u));
    if (o->kfac_gamma_every > 0 && u->step > 3 && u->step % o->kfac_gamma_every == 0) {
        TRY(choose_gamma(k, lambda));
    } else {
        if (u->step <= 3 || u->step % o->kfac_invert_every == 0) {
            k->at[GAMMA] = o->kfac_gamma_every > 0 ? k->at[GAMMA] : sqrt(lambda + s->rule.l2);
            TRY(invert_all(k, k->at[GAMMA]));
        }
        TRY(direct(k, lambda, k->at[GAMMA]));
    }
    TRY(set_input(base->session[UPDATE], "alpha", k->at[ALPHA]));
    TRY(set_input(base->session[UPDATE], "mu", k->at[MU]));
    TRY(set_input(base->session[UPDATE], "lr", u->lr));
    TRY(adze_session_run(base->session[UPDATE]));
    if (o->kfac_lambda_every > 0 && u->step % o->kfac_lambda_every == 0) {
        TRY(adapt(k, u, before));
    }
    return ADZE_OK;
}

const adze_second_kind adze_second_kfac = {.size = sizeof(kfac), .slots = slots, .plans = plans, .step = step, .close = close};
