/* The Hessian-free method: Martens, Deep learning via Hessian-free optimization, 2010, without his preconditioner. Gauss-Newton products
 * (Schraudolph 2002) on an update's last batch, conjugate gradients that stop when they hardly progress, damping by how well the model foretold. */
#include "train/second.h"

#include <math.h>

enum { PRODUCT, LOSS }; /* plans */
enum { VECTORS = 5 };   /* x, g, r, p, Ap */

typedef struct hessian_free {
    adze_second head;
    int64_t n;
    double *room, *at, *last; /* at: damping; last: the step before */
} hessian_free;

static int slots(adze_second *base) {
    hessian_free *h = (hessian_free *)base;
    adze_steps *s = base->steps;
    adze_tensor t;
    h->n = adze_flat_count(s);
    const int64_t dims[] = {h->n + 1};
    int slot;
    TRY(adze_curvature_product_slots(s));
    TRY(adze_store_add(s->store, "state/second", adze_type_make(ADZE_F64, 1, dims), ADZE_SLOT_STATE, &slot));
    TRY(adze_store_tensor(s->store, slot, &t));
    adze_tensor_set(&t, 0, s->o->damping > 0 ? s->o->damping : 1);
    h->room = adze_alloc(s->ctx, h->n, VECTORS * sizeof *h->room);
    return ADZE_GOT(h->room);
}

static int plans(adze_second *base, int64_t batch, int64_t most, int64_t rest) {
    (void)most, (void)rest;
    for (int i = PRODUCT; i <= LOSS; i++) {
        adze_graph *g = NULL;
        TRY(adze_graph_new(base->steps->ctx, &g));
        int st = i == PRODUCT ? adze_curvature_product(base->steps, g, batch, true) : adze_curvature_losses(base->steps, g, batch);
        st = st == ADZE_OK ? adze_compile(g, NULL, &base->plan[i]) : st;
        adze_graph_free(g);
        TRY(st);
    }
    return ADZE_OK;
}

static void close(adze_second *base) {
    adze_free(base->steps->ctx, ((hessian_free *)base)->room);
}

static double dot(const double *a, const double *b, int64_t n) {
    double sum[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (int k = 0; k < 4; k++) {
            sum[k] += a[i + k] * b[i + k];
        }
    }
    for (; i < n; i++) {
        sum[0] += a[i] * b[i];
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* out = (G + l2 + damping) v */
static int product(hessian_free *h, const double *v, double damping, double *out) {
    TRY(adze_flat_put(h->head.steps, "d", v));
    TRY(adze_session_run(h->head.session[PRODUCT]));
    TRY(adze_flat_get(h->head.steps, "h", out));
    adze_flat_decay(h->head.steps, v, out);
    for (int64_t i = 0; i < h->n; i++) {
        out[i] += damping * v[i];
    }
    return ADZE_OK;
}

/* x of (G + damping) x = -g. *model: x'(G + damping)x / 2 + g'x. Stops where the last k steps lowered it by less than 0.0005 k of what all did. */
static int solve(hessian_free *h, double damping, const double *g, double *x, double *model) {
    const adze_train_opts *o = h->head.steps->o;
    const int64_t n = h->n, keep = o->cg_steps + 1;
    double *r = h->room + 2 * n, *p = r + n, *ap = p + n, *history = adze_alloc(h->head.steps->ctx, keep, sizeof *history);
    TRY(ADZE_GOT(history));
    int st = product(h, x, damping, ap);
    for (int64_t i = 0; i < n; i++) {
        r[i] = p[i] = -g[i] - ap[i];
    }
    double square = dot(r, r, n);
    for (int64_t i = 0; i < o->cg_steps && st == ADZE_OK && square > 1e-300; i++) {
        st = product(h, p, damping, ap);
        const double curvature = dot(p, ap, n), a = square / curvature, old = square;
        if (!(curvature > 0)) {
            break;
        }
        for (int64_t k = 0; k < n; k++) {
            x[k] += a * p[k];
            r[k] -= a * ap[k];
        }
        square = dot(r, r, n);
        for (int64_t k = 0; k < n; k++) {
            p[k] = r[k] + square / old * p[k];
        }
        history[i] = (dot(g, x, n) - dot(r, x, n)) / 2;
        const int64_t back = i / 10 > 10 ? i / 10 : 10;
        if (i > back && history[i] < 0 && (history[i] - history[i - back]) / history[i] < 0.0005 * (double)back) {
            break;
        }
    }
    *model = (dot(g, x, n) - dot(r, x, n)) / 2;
    adze_free(h->head.steps->ctx, history);
    return st;
}

static int loss_at(hessian_free *h, const adze_second_step *u, const double *d, double a, double *probe, double *loss) {
    const double *w = h->room;
    for (int64_t i = 0; i < h->n; i++) {
        probe[i] = w[i] + a * d[i];
    }
    TRY(adze_flat_put(h->head.steps, NULL, probe));
    TRY(adze_curvature_loss(h->head.session[LOSS], u->last_count, loss));
    *loss += adze_flat_penalty(h->head.steps, probe);
    return ADZE_OK;
}

static int search(hessian_free *h, const adze_second_step *u, double model) {
    enum { HALVINGS = 30 };
    const int64_t n = h->n;
    double *w = h->room, *g = w + n, *probe = w + 2 * n, start, loss, a = 1;
    const double slope = dot(g, h->last, n);
    TRY(loss_at(h, u, h->last, 0, probe, &start));
    TRY(loss_at(h, u, h->last, 1, probe, &loss));
    const double ratio = model < 0 ? (loss - start) / model : 0;
    for (int i = 0; i < HALVINGS && !(loss <= start + 1e-2 * a * slope); i++) {
        a *= 0.8;
        TRY(loss_at(h, u, h->last, a, probe, &loss));
    }
    a = loss <= start ? a : 0;
    h->at[0] *= ratio > 0.75 ? 2.0 / 3 : !(ratio >= 0.25) ? 1.5 : 1;
    for (int64_t i = 0; i < n; i++) {
        probe[i] = w[i] + u->lr * a * h->last[i];
    }
    return adze_flat_put(h->head.steps, NULL, probe);
}

static int step(adze_second *base, const adze_second_step *u) {
    hessian_free *h = (hessian_free *)base;
    adze_steps *s = base->steps;
    adze_tensor t;
    double model;
    TRY(adze_store_tensor(s->store, adze_store_find(s->store, "state/second"), &t));
    h->at = adze_tensor_data(&t);
    h->last = h->at + 1;
    TRY(adze_flat_get(s, NULL, h->room));
    TRY(adze_flat_get(s, "g", h->room + h->n));
    for (int i = PRODUCT; i <= LOSS; i++) {
        TRY(adze_curvature_show(base->session[i], s, u));
    }
    for (int64_t i = 0; i < h->n; i++) {
        h->last[i] *= s->o->cg_decay;
    }
    TRY(solve(h, h->at[0], h->room + h->n, h->last, &model));
    return search(h, u, model);
}

const adze_second_kind adze_second_free = {.size = sizeof(hessian_free), .slots = slots, .plans = plans, .step = step, .close = close};
