/* Fisher matrices of small models, example by example, and the worth of a gradient step. */
#include "adze/curvature.h"
#include "base/linalg.h"
#include "train/kfac_graph.h"

enum { MOST = 4000, ROWS = 256 }; /* parameters; rows gathered before they are multiplied */

static const char *const names[ADZE_FISHER_KINDS] = {"ggn", "exact", "sampled", "empirical", "kfac"};

const char *adze_fisher_name(int kind) {
    return kind >= 0 && kind < ADZE_FISHER_KINDS ? names[kind] : NULL;
}

typedef struct fisher {
    adze_ctx *ctx;
    const adze_fisher_in *in;
    adze_steps s; /* parameters and options alone, on a copy of the store */
    adze_family family;
    int64_t n, c; /* parameters, outputs */
    adze_plan *plan;
    adze_session *run;
    adze_tensor x, label, seed, y, hs, gy;
    double *j, *h;    /* J (c, n), H (c, c) of the present example */
    adze_la_mat l, r; /* rows so far: out += l' r */
    adze_la_mat sum, out;
    int64_t held;
    adze_rng rng;
} fisher;

/* -- parameters ---------------------------------------------------------------------------------------------------------------------------------- */

int64_t adze_fisher_size(const adze_fisher_in *in) {
    int64_t n = 0;
    for (int i = 0; i < adze_store_count(in->store); i++) {
        const adze_type t = adze_store_type(in->store, i);
        n += adze_store_flags(in->store, i) & ADZE_SLOT_TRAINABLE ? adze_type_count(&t) : 0;
    }
    return n;
}

/* -- one example: rows of the Jacobian, columns of the loss's Hessian ---------------------------------------------------------------------------- */

static int pull_graph(fisher *f, adze_graph *g) {
    const adze_steps *s = &f->s;
    adze_val y, mean, hs, gy, *w = adze_alloc(f->ctx, s->nparams, 2 * sizeof *w);
    TRY(ADZE_GOT(w));
    int st = adze_curvature_model(s, g, 1, false, &y, &mean);
    const adze_val seed = adze_input(g, "seed", adze_val_type(g, y));
    for (int i = 0; i < s->nparams && st == ADZE_OK; i++) {
        w[i] = adze_curvature_slot(s, g, i, NULL);
    }
    st = st == ADZE_OK ? adze_vjp(g, &y, &seed, 1, w, s->nparams, w + s->nparams, 0) : st;
    for (int i = 0; i < s->nparams && st == ADZE_OK; i++) {
        adze_assign(g, adze_curvature_slot(s, g, i, "g"), w[s->nparams + i]);
    }
    adze_free(f->ctx, w);
    st = st == ADZE_OK ? adze_hvp(g, mean, &y, &seed, 1, &hs, 0) : st;
    st = st == ADZE_OK ? adze_grad(g, mean, &y, 1, &gy, 0) : st;
    TRY(st);
    TRY(adze_output(g, "y", y));
    TRY(adze_output(g, "hs", hs));
    TRY(adze_output(g, "gy", gy));
    return adze_compile(g, NULL, &f->plan);
}

static int open_example(fisher *f) {
    adze_graph *g = NULL;
    TRY(adze_graph_new(f->ctx, &g));
    const int st = pull_graph(f, g);
    adze_graph_free(g);
    TRY(st);
    TRY(adze_session_new(f->ctx, f->plan, f->s.store, "", &f->run));
    TRY(adze_session_input(f->run, "x", &f->x));
    TRY(adze_session_input(f->run, "label", &f->label));
    TRY(adze_session_input(f->run, "seed", &f->seed));
    TRY(adze_session_output(f->run, "y", &f->y));
    TRY(adze_session_output(f->run, "hs", &f->hs));
    TRY(adze_session_output(f->run, "gy", &f->gy));
    f->c = f->y.dims[1];
    f->j = adze_alloc(f->ctx, f->c, sizeof(double) * (size_t)f->n);
    f->h = adze_alloc(f->ctx, f->c, sizeof(double) * (size_t)f->c);
    TRY(la_new(f->ctx, ROWS, f->n, &f->l));
    TRY(la_new(f->ctx, ROWS, f->n, &f->r));
    TRY(la_new(f->ctx, f->n, f->n, &f->sum));
    return ADZE_GOT(f->j && f->h);
}

static int differentiate(fisher *f) {
    for (int64_t k = 0; k < f->c; k++) {
        for (int64_t i = 0; i < f->c; i++) {
            adze_tensor_set(&f->seed, i, i == k);
        }
        TRY(adze_session_run(f->run));
        TRY(adze_flat_get(&f->s, "g", f->j + k * f->n));
        for (int64_t i = 0; i < f->c; i++) {
            f->h[i * f->c + k] = adze_tensor_get(&f->hs, i);
        }
    }
    return ADZE_OK;
}

/* -- sums of outer products ---------------------------------------------------------------------------------------------------------------------- */

static int flush(fisher *f) {
    if (f->held == 0) {
        return ADZE_OK;
    }
    const adze_la_mat l = {f->l.at, f->held, f->n, f->n}, r = {f->r.at, f->held, f->n, f->n};
    TRY(adze_la_matmul(f->ctx, l, true, r, false, f->sum));
    for (int64_t i = 0; i < f->n; i++) {
        la_axpy(la_row(f->out, i), 1, la_row(f->sum, i), f->n);
    }
    f->held = 0;
    return ADZE_OK;
}

/* out += (J' a) (J' b)', over the examples */
static int add_outer(fisher *f, const double *a, const double *b) {
    double *l = la_row(f->l, f->held), *r = la_row(f->r, f->held);
    memset(l, 0, sizeof *l * (size_t)f->n);
    memset(r, 0, sizeof *r * (size_t)f->n);
    for (int64_t k = 0; k < f->c; k++) {
        la_axpy(l, a[k] / (double)f->in->examples, f->j + k * f->n, f->n);
        la_axpy(r, b[k], f->j + k * f->n, f->n);
    }
    f->held++;
    return f->held == ROWS ? flush(f) : ADZE_OK;
}

static void probabilities(const fisher *f, double *p) {
    const bool classes = f->family == ADZE_FAMILY_CLASSES;
    double top = -INFINITY, sum = 0;
    for (int64_t k = 0; k < f->c; k++) {
        p[k] = adze_tensor_get(&f->y, k);
        top = fmax(top, p[k]);
    }
    for (int64_t k = 0; k < f->c; k++) {
        p[k] = classes ? exp(p[k] - top) : 1 / (1 + exp(-p[k]));
        sum += p[k];
    }
    for (int64_t k = 0; k < f->c && classes; k++) {
        p[k] /= sum;
    }
}

static int64_t draw_class(fisher *f, const double *p) {
    double u = adze_rng_uniform(&f->rng);
    int64_t k = 0;
    while (k + 1 < f->c && u >= p[k]) {
        u -= p[k++];
    }
    return k;
}

/* Every target there can be, each with its share; of independent outputs one at a time, whose covariance is the same. */
static int add_exact(fisher *f, const double *p, double *v) {
    const bool classes = f->family == ADZE_FAMILY_CLASSES;
    for (int64_t k = 0; k < f->c; k++) {
        for (int64_t i = 0; i < f->c; i++) {
            v[i] = classes ? sqrt(p[k]) * (p[i] - (i == k)) : 0;
        }
        if (!classes) {
            v[k] = sqrt((f->family == ADZE_FAMILY_BITS ? p[k] * (1 - p[k]) : 2) / (double)f->c);
        }
        TRY(add_outer(f, v, v));
    }
    return ADZE_OK;
}

static int add_sampled(fisher *f, const double *p, double *v) {
    const bool classes = f->family == ADZE_FAMILY_CLASSES;
    const double scale = 1 / sqrt((double)f->in->samples), width = sqrt((double)f->c);
    for (int64_t t = 0; t < f->in->samples; t++) {
        const int64_t drawn = classes ? draw_class(f, p) : -1;
        for (int64_t i = 0; i < f->c; i++) {
            const double r = classes                         ? p[i] - (i == drawn)
                             : f->family == ADZE_FAMILY_BITS ? (p[i] - (adze_rng_uniform(&f->rng) < p[i])) / width
                                                             : sqrt(2) / width * adze_rng_normal(&f->rng);
            v[i] = scale * r;
        }
        TRY(add_outer(f, v, v));
    }
    return ADZE_OK;
}

static int add_example(fisher *f, int kind, double *room) {
    double *p = room, *v = room + f->c;
    probabilities(f, p);
    if (kind == ADZE_FISHER_EXACT) {
        return add_exact(f, p, v);
    }
    if (kind == ADZE_FISHER_SAMPLED) {
        return add_sampled(f, p, v);
    }
    if (kind == ADZE_FISHER_EMPIRICAL) { /* of a mean over bits: in the scale of its Hessian */
        for (int64_t i = 0; i < f->c; i++) {
            v[i] = adze_tensor_get(&f->gy, i) * (f->family == ADZE_FAMILY_BITS ? sqrt((double)f->c) : 1);
        }
        return add_outer(f, v, v);
    }
    for (int64_t k = 0; k < f->c; k++) { /* ggn: sum over k of (J' e_k) (J' H e_k)' */
        for (int64_t i = 0; i < f->c; i++) {
            p[i] = i == k;
            v[i] = f->h[i * f->c + k];
        }
        TRY(add_outer(f, p, v));
    }
    return ADZE_OK;
}

/* -- examples ------------------------------------------------------------------------------------------------------------------------------------ */

static int by_examples(fisher *f, int kind, adze_loader *l) {
    double *room = adze_alloc(f->ctx, f->c, 2 * sizeof *room);
    int st = ADZE_GOT(room);
    for (int64_t i = 0; i < f->in->examples && st == ADZE_OK; i++) {
        int64_t n;
        st = adze_loader_next(l, f->x, f->label, &n);
        st = st == ADZE_OK ? differentiate(f) : st;
        st = st == ADZE_OK ? add_example(f, kind, room) : st;
    }
    adze_free(f->ctx, room);
    return st == ADZE_OK ? flush(f) : st;
}

/* -- Kronecker factors --------------------------------------------------------------------------------------------------------------------------- */

/* Where element (r, c) of a layer's matrix stands among all parameters. */
static int64_t place(const adze_kfac_layer *l, const int64_t *offset, int64_t r, int64_t c) {
    const int64_t top = l->rows - (l->b >= 0);
    return r < top ? offset[l->w] + r * l->cols + c : offset[l->b] + c;
}

static int assemble(fisher *f, const adze_kfac_net *net, const int64_t *offset) {
    for (int i = 0; i < net->nlayers; i++) {
        const adze_kfac_layer *l = &net->layers[i];
        adze_tensor a, s;
        TRY(adze_curvature_tensor(&f->s, l->w, "a", &a));
        TRY(adze_curvature_tensor(&f->s, l->w, "s", &s));
        for (int64_t p = 0; p < l->rows * l->cols; p++) {
            for (int64_t q = 0; q < l->rows * l->cols; q++) {
                const int64_t pr = p / l->cols, pc = p % l->cols, qr = q / l->cols, qc = q % l->cols;
                la_row(f->out, place(l, offset, pr, pc))[place(l, offset, qr, qc)] =
                    adze_tensor_get(&a, pr * l->rows + qr) * adze_tensor_get(&s, pc * l->cols + qc);
            }
        }
    }
    for (int i = 0; i < net->noutside; i++) {
        adze_tensor v;
        TRY(adze_curvature_tensor(&f->s, net->outside[i], "v", &v));
        const adze_type t = adze_tensor_type(&v);
        for (int64_t k = 0; k < adze_type_count(&t); k++) {
            const int64_t at = offset[net->outside[i]] + k;
            la_row(f->out, at)[at] = adze_tensor_get(&v, k);
        }
    }
    return ADZE_OK;
}

static int run_factors(fisher *f, adze_kfac_net *net, adze_graph *g) {
    adze_loader *l = NULL;
    adze_tensor keep;
    int64_t n;
    int st = adze_kfac_factors(&f->s, g, net, f->in->examples, false);
    st = st == ADZE_OK ? adze_compile(g, NULL, &f->plan) : st;
    st = st == ADZE_OK ? adze_session_new(f->ctx, f->plan, f->s.store, "", &f->run) : st;
    st = st == ADZE_OK ? adze_session_input(f->run, "x", &f->x) : st;
    st = st == ADZE_OK ? adze_session_input(f->run, "label", &f->label) : st;
    st = st == ADZE_OK ? adze_session_input(f->run, "keep", &keep) : st;
    st = st == ADZE_OK ? adze_curvature_loader(&f->s, f->in, f->in->examples, &l) : st;
    st = st == ADZE_OK ? adze_loader_next(l, f->x, f->label, &n) : st;
    for (int64_t t = 0; t < f->in->samples && st == ADZE_OK; t++) {
        adze_tensor_set(&keep, 0, 1 - 1 / (double)(t + 1));
        adze_session_random(f->run, f->in->seed, (uint64_t)t, 0);
        st = adze_session_run(f->run);
    }
    adze_loader_free(l);
    return st;
}

static int by_factors(fisher *f) {
    adze_kfac_net net = {0};
    adze_graph *g = NULL, *probe = NULL;
    adze_val y, mean;
    int64_t at = 0, *offset = adze_alloc(f->ctx, f->s.nparams, sizeof *offset);
    int st = offset != NULL ? adze_kfac_open(&f->s, &net) : ADZE_ENOMEM;
    st = st == ADZE_OK ? adze_graph_new(f->ctx, &probe) : st;
    st = st == ADZE_OK ? adze_graph_new(f->ctx, &g) : st;
    st = st == ADZE_OK ? adze_curvature_model(&f->s, probe, 1, false, &y, &mean) : st;
    st = st == ADZE_OK ? adze_kfac_find(&f->s, probe, &net) : st;
    st = st == ADZE_OK ? adze_kfac_slots(&f->s, &net) : st;
    st = st == ADZE_OK ? run_factors(f, &net, g) : st;
    for (int i = 0; i < f->s.nparams && st == ADZE_OK; i++) {
        const adze_type t = adze_store_type(f->s.store, f->s.params[i]);
        offset[i] = at;
        at += adze_type_count(&t);
    }
    st = st == ADZE_OK ? assemble(f, &net, offset) : st;
    adze_graph_free(g);
    adze_graph_free(probe);
    adze_kfac_close(&f->s, &net);
    adze_free(f->ctx, offset);
    return st;
}

/* -- in all -------------------------------------------------------------------------------------------------------------------------------------- */

static int check(adze_ctx *ctx, const adze_fisher_in *in, int64_t most) {
    if (in->examples < 1 || in->examples > in->data->count || in->samples < 1) {
        return adze_fail(ctx, ADZE_EARG, "curvature: %lld examples and %lld samples; 1 to %lld and at least 1 are possible", (long long)in->examples,
                         (long long)in->samples, (long long)in->data->count);
    }
    const int64_t n = adze_fisher_size(in);
    return n <= most ? ADZE_OK
                     : adze_fail(ctx, ADZE_EARG, "model '%s' has %lld parameters; its Fisher matrix is computed up to %lld",
                                 adze_model_name(in->model), (long long)n, (long long)most);
}

static int compute(fisher *f, int kind) {
    adze_loader *l = NULL;
    TRY(adze_curvature_family(f->ctx, f->in->model, f->in->o, &f->family));
    TRY(adze_curvature_open(f->ctx, f->in, &f->s));
    for (int64_t i = 0; i < f->n; i++) {
        memset(la_row(f->out, i), 0, sizeof(double) * (size_t)f->n);
    }
    if (kind == ADZE_FISHER_KFAC) {
        return by_factors(f);
    }
    TRY(open_example(f));
    int st = adze_curvature_loader(&f->s, f->in, 1, &l);
    st = st == ADZE_OK ? by_examples(f, kind, l) : st;
    adze_loader_free(l);
    return st;
}

static void close_all(fisher *f) {
    adze_session_free(f->run);
    adze_plan_free(f->plan);
    adze_curvature_close(&f->s);
    adze_free(f->ctx, f->j);
    adze_free(f->ctx, f->h);
    adze_free(f->ctx, f->l.at);
    adze_free(f->ctx, f->r.at);
    adze_free(f->ctx, f->sum.at);
}

int adze_fisher(adze_ctx *ctx, const adze_fisher_in *in, int kind, adze_la_mat out) {
    TRY(check(ctx, in, MOST));
    fisher f = {
        .ctx = ctx, .in = in, .s = {.ctx = ctx}, .n = adze_fisher_size(in), .out = out, .rng = adze_rng_make(in->seed, adze_hash_str("fisher"))};
    if (kind < 0 || kind >= ADZE_FISHER_KINDS) {
        return adze_fail(ctx, ADZE_EARG, "there is no kind %d of Fisher matrix", kind);
    }
    TRY(la_check_shape(ctx, "out", out, f.n, f.n));
    const int st = compute(&f, kind);
    close_all(&f);
    return st;
}
