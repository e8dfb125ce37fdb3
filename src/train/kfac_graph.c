/* K-FAC's graphs: Martens and Grosse 2015 (arXiv 1503.05671) for dense layers, Grosse and Martens 2016 (arXiv 1602.01407) for convolutions. */
#include "train/kfac_graph.h"

#include "graph/graph_internal.h"

enum { TAPS_MOST = ADZE_MAX_IN }; /* of a convolution's window: its patches are joined by one node */

int adze_kfac_open(const adze_steps *s, adze_kfac_net *n) {
    n->layers = adze_alloc(s->ctx, s->nparams, sizeof *n->layers);
    n->outside = adze_alloc(s->ctx, s->nparams, sizeof *n->outside);
    return ADZE_GOT(n->layers && n->outside);
}

void adze_kfac_close(const adze_steps *s, adze_kfac_net *n) {
    adze_free(s->ctx, n->layers);
    adze_free(s->ctx, n->outside);
}

/* -- which weights ------------------------------------------------------------------------------------------------------------------------------- */

/* The parameter that a value is, seen through broadcasts and reshapes; -1: none. */
static int param_of(const adze_steps *s, const adze_graph *g, int32_t v) {
    const adze_gnode *n = adze_val_node(g, v);
    while (n->nin == 1 && (strcmp(n->op->name, "broadcast") == 0 || strcmp(n->op->name, "reshape") == 0)) {
        n = adze_val_node(g, n->in[0]);
    }
    for (int i = 0; n->op == &adze_op_slot && i < s->nparams; i++) {
        if (strcmp(n->name, adze_store_name(s->store, s->params[i])) == 0) {
            return i;
        }
    }
    return -1;
}

/* How many nodes read a parameter: one that two read has no factors of its own. */
static int readers(const adze_steps *s, const adze_graph *g, int param) {
    int count = 0;
    for (int32_t i = 0; i < g->nnodes; i++) {
        for (int k = 0; k < g->nodes[i].nin; k++) {
            const adze_gnode *from = adze_val_node(g, g->nodes[i].in[k]);
            count += from->op == &adze_op_slot && strcmp(from->name, adze_store_name(s->store, s->params[param])) == 0;
        }
    }
    return count;
}

static int bias_of(const adze_steps *s, const adze_graph *g, int32_t sums) {
    for (int32_t i = 0; i < g->nnodes; i++) {
        const adze_gnode *n = &g->nodes[i];
        const int b = strcmp(n->op->name, "add") == 0 && n->in[0] == sums ? param_of(s, g, n->in[1]) : -1;
        if (b >= 0 && readers(s, g, b) == 1) {
            return b;
        }
    }
    return -1;
}

/* A product or convolution whose weights are a parameter as it stands, with one set of weights for all channels. */
static bool has_factors(const adze_gnode *n, const adze_type *x, const adze_type *w) {
    if (strcmp(n->op->name, "matmul") == 0) {
        const adze_matmul_attrs *a = n->attrs;
        return x->rank == 2 && w->rank == 2 && !a->ta && !a->tb;
    }
    if (strcmp(n->op->name, "conv") != 0 || ((const adze_conv_attrs *)n->attrs)->groups > 1) {
        return false;
    }
    return adze_type_count(w) / (w->dims[w->rank - 1] * w->dims[w->rank - 2]) <= TAPS_MOST;
}

int adze_kfac_find(const adze_steps *s, adze_graph *g, adze_kfac_net *net) {
    net->nlayers = net->noutside = 0;
    bool *inside = adze_alloc(s->ctx, s->nparams, sizeof *inside);
    TRY(ADZE_GOT(inside));
    for (int32_t i = 0; i < g->nnodes; i++) {
        const adze_gnode *n = &g->nodes[i];
        const int w = n->nin == 2 && adze_val_node(g, n->in[1])->op == &adze_op_slot ? param_of(s, g, n->in[1]) : -1;
        if (w < 0 || !has_factors(n, adze_type_of(g, n->in[0]), adze_type_of(g, n->in[1])) || readers(s, g, w) != 1) {
            continue;
        }
        const adze_type tw = *adze_type_of(g, n->in[1]), ts = *adze_type_of(g, n->first);
        adze_kfac_layer *l = &net->layers[net->nlayers++];
        *l = (adze_kfac_layer){.w = w, .b = bias_of(s, g, n->first), .x = {n->in[0]}, .s = {n->first}};
        l->conv = tw.rank > 2 ? n->attrs : NULL;
        l->cols = tw.dims[tw.rank - 1];
        l->rows = adze_type_count(&tw) / l->cols + (l->b >= 0);
        l->places = adze_type_count(&ts) / (ts.dims[0] * l->cols);
        inside[w] = true;
        if (l->b >= 0) {
            inside[l->b] = true;
        }
    }
    for (int i = 0; i < s->nparams; i++) {
        if (!inside[i]) {
            net->outside[net->noutside++] = i;
        }
    }
    adze_free(s->ctx, inside);
    return ADZE_OK;
}

int adze_kfac_slots(const adze_steps *s, const adze_kfac_net *net) {
    static const char *const of_rows[] = {"a", "ai"}, *const of_cols[] = {"s", "si"};
    for (int i = 0; i < net->nlayers; i++) {
        const adze_kfac_layer *l = &net->layers[i];
        for (int k = 0; k < 2; k++) {
            TRY(adze_second_role(s, l->w, of_rows[k], adze_type_make(s->dtype, 2, (int64_t[]){l->rows, l->rows}), ADZE_SLOT_STATE));
            TRY(adze_second_role(s, l->w, of_cols[k], adze_type_make(s->dtype, 2, (int64_t[]){l->cols, l->cols}), ADZE_SLOT_STATE));
        }
    }
    for (int i = 0; i < net->noutside; i++) {
        TRY(adze_second_role(s, net->outside[i], "v", adze_store_type(s->store, s->params[net->outside[i]]), ADZE_SLOT_STATE));
    }
    for (int i = 0; i < s->nparams; i++) {
        TRY(adze_second_role(s, i, "d", adze_store_type(s->store, s->params[i]), ADZE_SLOT_TEMP));
        TRY(adze_second_role(s, i, "m", adze_store_type(s->store, s->params[i]), ADZE_SLOT_STATE));
    }
    return ADZE_OK;
}

/* -- factors ------------------------------------------------------------------------------------------------------------------------------------- */

static int64_t listed(const adze_ints *list, int axis, int64_t otherwise) {
    return list->n > axis ? list->v[axis] : otherwise;
}

/* (N places, taps C): what each position's window sees, in the order of the weights. */
static adze_val patches(adze_graph *g, const adze_kfac_layer *l, const adze_type *w) {
    const adze_conv_attrs *a = l->conv;
    const adze_type x = adze_val_type(g, l->x), y = adze_val_type(g, l->s);
    const int axes = x.rank - 2;
    int64_t lo[ADZE_MAX_RANK] = {0}, hi[ADZE_MAX_RANK] = {0}, taps = 1;
    adze_val tap[TAPS_MOST];
    for (int k = 0; k < axes; k++) {
        lo[k + 1] = listed(&a->pad_lo, k, 0);
        hi[k + 1] = listed(&a->pad_hi, k, 0);
        taps *= w->dims[k];
    }
    const adze_val padded = adze_pad(g, l->x, lo, hi, 0);
    for (int64_t t = 0; t < taps; t++) {
        int64_t from[ADZE_MAX_RANK] = {0}, to[ADZE_MAX_RANK], step[ADZE_MAX_RANK], rest = t;
        to[0] = x.dims[0];
        to[x.rank - 1] = x.dims[x.rank - 1];
        step[0] = step[x.rank - 1] = 1;
        for (int k = axes - 1; k >= 0; k--) {
            from[k + 1] = rest % w->dims[k] * listed(&a->dilation, k, 1);
            rest /= w->dims[k];
            step[k + 1] = listed(&a->stride, k, 1);
            to[k + 1] = from[k + 1] + (y.dims[k + 1] - 1) * step[k + 1] + 1;
        }
        tap[t] = adze_slice(g, padded, from, to, step);
    }
    const adze_val all = adze_concat(g, tap, (int)taps, -1);
    return adze_reshape(g, all, (int64_t[]){x.dims[0] * l->places, taps * x.dims[x.rank - 1]}, 2);
}

static void running(const adze_steps *s, adze_graph *g, int param, const char *role, adze_val now, double scale) {
    const adze_val slot = adze_curvature_slot(s, g, param, role), keep = adze_input(g, "keep", adze_scalar_type(s->dtype));
    now = adze_scale(g, now, scale, 0);
    adze_assign(g, slot, adze_add(g, now, adze_mul(g, keep, adze_sub(g, slot, now))));
}

static void layer_factors(const adze_steps *s, adze_graph *g, const adze_kfac_layer *l, adze_val ds, int64_t batch) {
    const int64_t n = batch * l->places;
    const adze_type w = adze_store_type(s->store, s->params[l->w]);
    adze_val x = l->conv != NULL ? patches(g, l, &w) : l->x;
    if (l->b >= 0) {
        const adze_val both[2] = {x, adze_full(g, adze_type_make(s->dtype, 2, (int64_t[]){n, 1}), 1)};
        x = adze_concat(g, both, 2, 1);
    }
    ds = adze_reshape(g, ds, (int64_t[]){n, l->cols}, 2);
    running(s, g, l->w, "a", adze_matmul(g, x, x, true, false), 1 / (double)batch);
    running(s, g, l->w, "s", adze_matmul(g, ds, ds, true, false), 1 / (double)n);
}

int adze_kfac_factors(const adze_steps *s, adze_graph *g, adze_kfac_net *net, int64_t batch, bool train) {
    adze_val y, mean, seed, *of = adze_alloc(s->ctx, s->nparams, 2 * sizeof *of);
    TRY(ADZE_GOT(of));
    adze_val *ct = of + s->nparams;
    int st = adze_curvature_model(s, g, batch, train, &y, &mean);
    st = st == ADZE_OK ? adze_kfac_find(s, g, net) : st;
    st = st == ADZE_OK ? adze_curvature_sample(s->model, g, s->o, y, &seed) : st;
    if (st == ADZE_OK) {
        for (int i = 0; i < net->nlayers; i++) {
            of[i] = net->layers[i].s;
        }
        for (int i = 0; i < net->noutside; i++) {
            of[net->nlayers + i] = adze_curvature_slot(s, g, net->outside[i], NULL);
        }
        st = adze_vjp(g, &y, &seed, 1, of, net->nlayers + net->noutside, ct, 0);
    }
    for (int i = 0; i < net->nlayers && st == ADZE_OK; i++) {
        layer_factors(s, g, &net->layers[i], ct[i], batch);
    }
    /* The square of the summed random gradient, over the examples, has the Fisher matrix's diagonal as its mean: examples are drawn independently. */
    for (int i = 0; i < net->noutside && st == ADZE_OK; i++) {
        running(s, g, net->outside[i], "v", adze_square(g, ct[net->nlayers + i]), 1 / (double)batch);
    }
    adze_free(s->ctx, of);
    return st == ADZE_OK ? adze_graph_status(g) : st;
}

/* -- the direction ------------------------------------------------------------------------------------------------------------------------------- */

static adze_val penalised(const adze_steps *s, adze_graph *g, int param) { /* the gradient with that of the L2 penalty */
    const double l2 = adze_curvature_decay(s, param);
    const adze_val grad = adze_curvature_slot(s, g, param, "g");
    return l2 > 0 ? adze_add(g, grad, adze_scale(g, adze_curvature_slot(s, g, param, NULL), l2, 0)) : grad;
}

typedef struct dots { /* sums over the parameters */
    adze_val sum[ADZE_KFAC_DOTS];
} dots;

static void add_dot(adze_graph *g, dots *t, int which, adze_val a, adze_val b, double factor) {
    if (factor == 0) {
        return;
    }
    const adze_val dot = adze_scale(g, adze_sum(g, adze_mul(g, a, b), NULL, 0, false), factor, 0);
    t->sum[which] = t->sum[which].id ? adze_add(g, t->sum[which], dot) : dot;
}

static void set_direction(const adze_steps *s, adze_graph *g, int param, adze_val d, dots *t) {
    const double l2 = adze_curvature_decay(s, param);
    const adze_val w = adze_curvature_slot(s, g, param, NULL), m = adze_curvature_slot(s, g, param, "m"), grad = penalised(s, g, param);
    d = adze_assign(g, adze_curvature_slot(s, g, param, "d"), d);
    add_dot(g, t, KFAC_GD, grad, d, 1);
    add_dot(g, t, KFAC_GM, grad, m, 1);
    add_dot(g, t, KFAC_DD, d, d, 1);
    add_dot(g, t, KFAC_DM, d, m, 1);
    add_dot(g, t, KFAC_MM, m, m, 1);
    add_dot(g, t, KFAC_WD, w, d, l2);
    add_dot(g, t, KFAC_WM, w, m, l2);
    add_dot(g, t, KFAC_ED, d, d, l2);
    add_dot(g, t, KFAC_EDM, d, m, l2);
    add_dot(g, t, KFAC_EM, m, m, l2);
}

static void layer_direction(const adze_steps *s, adze_graph *g, const adze_kfac_layer *l, dots *t) {
    const adze_type w = adze_store_type(s->store, s->params[l->w]);
    const int64_t top = l->rows - (l->b >= 0), one[] = {1, 1};
    adze_val grad = adze_reshape(g, penalised(s, g, l->w), (int64_t[]){top, l->cols}, 2);
    if (l->b >= 0) {
        const adze_val both[2] = {grad, adze_reshape(g, penalised(s, g, l->b), (int64_t[]){1, l->cols}, 2)};
        grad = adze_concat(g, both, 2, 0);
    }
    const adze_val left = adze_matmul(g, adze_curvature_slot(s, g, l->w, "ai"), grad, false, false);
    const adze_val d = adze_neg(g, adze_matmul(g, left, adze_curvature_slot(s, g, l->w, "si"), false, false));
    set_direction(s, g, l->w, adze_reshape(g, adze_slice(g, d, (int64_t[]){0, 0}, (int64_t[]){top, l->cols}, one), w.dims, w.rank), t);
    if (l->b >= 0) {
        const adze_val row = adze_slice(g, d, (int64_t[]){top, 0}, (int64_t[]){l->rows, l->cols}, one);
        set_direction(s, g, l->b, adze_reshape(g, row, (int64_t[]){l->cols}, 1), t);
    }
}

int adze_kfac_direction(const adze_steps *s, adze_graph *g, const adze_kfac_net *net) {
    dots t = {0};
    adze_val row[ADZE_KFAC_DOTS];
    for (int i = 0; i < net->nlayers; i++) {
        layer_direction(s, g, &net->layers[i], &t);
    }
    for (int i = 0; i < net->noutside; i++) {
        const int p = net->outside[i];
        const adze_val shift = adze_input(g, "shift", adze_scalar_type(s->dtype)), bottom = adze_add(g, adze_curvature_slot(s, g, p, "v"), shift);
        set_direction(s, g, p, adze_neg(g, adze_div(g, penalised(s, g, p), bottom)), &t);
    }
    for (int k = 0; k < ADZE_KFAC_DOTS; k++) {
        row[k] = adze_reshape(g, t.sum[k].id ? t.sum[k] : adze_scalar(g, s->dtype, 0), (int64_t[]){1}, 1);
    }
    return adze_output(g, "dots", adze_concat(g, row, ADZE_KFAC_DOTS, 0));
}
