/* What a step down the gradient is worth: foretold by the quadratic around the weights, and measured. */
#include "adze/curvature.h"
#include "train/second.h"

#include <math.h>

typedef struct descent {
    adze_ctx *ctx;
    const adze_fisher_in *in;
    adze_steps s;
    adze_plan *plan;
    adze_session *run;
    double *w, *g;
} descent;

static int graph(descent *d, adze_graph *g) {
    const adze_steps *s = &d->s;
    const int n = s->nparams;
    adze_val y, mean, gg = {0}, ghg = {0}, *w = adze_alloc(d->ctx, n, 3 * sizeof *w);
    TRY(ADZE_GOT(w));
    adze_val *grad = w + n, *hv = grad + n;
    int st = adze_curvature_model(s, g, d->in->examples, false, &y, &mean);
    for (int i = 0; i < n && st == ADZE_OK; i++) {
        w[i] = adze_curvature_slot(s, g, i, NULL);
    }
    st = st == ADZE_OK ? adze_grad(g, mean, w, n, grad, ADZE_DIFFERENTIABLE) : st;
    st = st == ADZE_OK ? adze_jvp(g, grad, n, w, grad, n, hv, 0) : st;
    for (int i = 0; i < n && st == ADZE_OK; i++) {
        const adze_val a = adze_sum(g, adze_square(g, grad[i]), NULL, 0, false), b = adze_sum(g, adze_mul(g, grad[i], hv[i]), NULL, 0, false);
        gg = i > 0 ? adze_add(g, gg, a) : a;
        ghg = i > 0 ? adze_add(g, ghg, b) : b;
        adze_assign(g, adze_curvature_slot(s, g, i, "g"), grad[i]);
    }
    adze_free(d->ctx, w);
    TRY(st);
    TRY(adze_output(g, "loss", mean));
    TRY(adze_output(g, "gg", gg));
    TRY(adze_output(g, "ghg", ghg));
    return adze_compile(g, NULL, &d->plan);
}

static int show_examples(descent *d) {
    adze_loader *l = NULL;
    adze_tensor x, label;
    int64_t n;
    int st = adze_curvature_loader(&d->s, d->in, d->in->examples, &l);
    st = st == ADZE_OK ? adze_session_input(d->run, "x", &x) : st;
    st = st == ADZE_OK ? adze_session_input(d->run, "label", &label) : st;
    st = st == ADZE_OK ? adze_loader_next(l, x, label, &n) : st;
    adze_loader_free(l);
    return st;
}

static int read_output(const descent *d, const char *name, double *v) {
    adze_tensor t;
    TRY(adze_session_output(d->run, name, &t));
    *v = adze_tensor_get(&t, 0);
    return ADZE_OK;
}

static int measure(descent *d, double lr, adze_decrease *out) {
    const int64_t n = adze_flat_count(&d->s);
    double after;
    adze_graph *g = NULL;
    TRY(adze_graph_new(d->ctx, &g));
    const int st = graph(d, g);
    adze_graph_free(g);
    TRY(st);
    TRY(adze_session_new(d->ctx, d->plan, d->s.store, "", &d->run));
    TRY(show_examples(d));
    TRY(adze_session_run(d->run));
    TRY(read_output(d, "loss", &out->loss));
    TRY(read_output(d, "gg", &out->gg));
    TRY(read_output(d, "ghg", &out->ghg));
    TRY(adze_flat_get(&d->s, NULL, d->w));
    TRY(adze_flat_get(&d->s, "g", d->g));
    for (int64_t i = 0; i < n; i++) {
        d->g[i] = d->w[i] - lr * d->g[i];
    }
    TRY(adze_flat_put(&d->s, NULL, d->g));
    TRY(adze_session_run(d->run));
    TRY(read_output(d, "loss", &after));
    out->first_order = -lr * out->gg;
    out->predicted = out->first_order + lr * lr * out->ghg / 2;
    out->actual = after - out->loss;
    out->ratio = out->actual / out->predicted;
    out->critical_lr = out->ghg > 0 ? 2 * out->gg / out->ghg : INFINITY;
    return ADZE_OK;
}

int adze_decrease_along_gradient(adze_ctx *ctx, const adze_fisher_in *in, double lr, adze_decrease *out) {
    descent d = {.ctx = ctx, .in = in};
    *out = (adze_decrease){0};
    if (in->examples < 1 || in->examples > in->data->count || !(lr >= 0)) {
        return adze_fail(ctx, ADZE_EARG, "a step's worth is measured on 1 to %lld examples, not %lld, and at a rate of 0 or more",
                         (long long)in->data->count, (long long)in->examples);
    }
    int st = adze_curvature_open(ctx, in, &d.s);
    const int64_t n = st == ADZE_OK ? adze_flat_count(&d.s) : 0;
    d.w = adze_alloc(ctx, n, 2 * sizeof *d.w);
    st = st == ADZE_OK && d.w == NULL ? ADZE_ENOMEM : st;
    if (st == ADZE_OK) {
        d.g = d.w + n;
        st = measure(&d, lr, out);
    }
    adze_session_free(d.run);
    adze_plan_free(d.plan);
    adze_curvature_close(&d.s);
    adze_free(ctx, d.w);
    return st;
}
