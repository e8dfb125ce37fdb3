/* The graphs of a model, and what a first build for a batch of one tells about it: shapes, slots, costs. */
#include "model/layer.h"

#include <math.h>
#include <stdio.h>

/* RBF outputs are compared with this virtual "rubbish" class at squared distance j: LeCun 1998, equation 9, leaves the constant open; 0.1 is ours. */
static const double RBF_RUBBISH = 0.1;

/* A layer's numbers for one example; -1 when there are too many. */
static int64_t checked_count(const adze_type *t) {
    int64_t n = adze_type_count(t);
    return n > ADZE_MODEL_MAX_PARAMS ? -1 : n;
}

/* "block/1/c" as three scopes; returns how many. */
static int push_path(adze_graph *g, const char *path) {
    int depth = 0;
    for (const char *s = path; *s; depth++) {
        char part[ADZE_LAYER_NAME];
        int n = (int)strcspn(s, "/");
        snprintf(part, sizeof part, "%.*s", n, s);
        adze_scope_push(g, part);
        s += n + (s[n] == '/');
    }
    return depth;
}

static int build_layer(adze_builder *b, int i, const adze_val *ys, adze_val x, adze_val *y) {
    const adze_layer *l = &b->m->layers[i];
    b->layer = i;
    b->nx = l->nfrom;
    for (int k = 0; k < l->nfrom; k++) {
        b->x[k] = l->from[k] < 0 ? x : ys[l->from[k]];
    }
    int depth = push_path(b->g, l->path);
    b->mirror_in = l->nfrom && l->from[0] >= 0 ? b->m->layers[l->from[0]].mirror : 0;
    b->mirror = 0;
    *y = l->spec->kind->build(b, l->spec->fields);
    for (; depth > 0; depth--) {
        adze_scope_pop(b->g);
    }
    if (b->failed) { /* what the layer said, not what the graph made of its refusal */
        return b->failed == ADZE_ENOMEM ? adze_fail(b->m->ctx, ADZE_ENOMEM, "out of memory while building layer '%s'", l->path)
                                        : adze_fail(b->m->ctx, b->failed, "%s", b->message);
    }
    TRY(adze_graph_status(b->g));
    if (b->probe) {
        adze_type t = adze_val_type(b->g, *y);
        if (checked_count(&t) < 0) {
            adze_layer_fail(b, ADZE_EARG, "its output has more than %d numbers for one example; use smaller layers", ADZE_MODEL_MAX_PARAMS);
            return adze_fail(b->m->ctx, b->failed, "%s", b->message);
        }
        b->probe->layers[i].out = t;
        b->probe->layers[i].mirror = l->spec->kind->keeps_mirror ? b->mirror_in : b->mirror;
    }
    return ADZE_OK;
}

/* The layers of a branch that training may skip, between the doors of its guard; the add that ends the block closes it. */
static int build_branch(adze_builder *b, int end, adze_val *ys, adze_val x) {
    const adze_model *m = b->m;
    char region[ADZE_LAYER_NAME + 16];
    adze_layer_region(&m->layers[end], region, sizeof region);
    int status = adze_guard_begin(b->g, region);
    for (int i = 0; i < end && status == ADZE_OK; i++) {
        if (m->layers[i].branch == end) {
            status = build_layer(b, i, ys, x, &ys[i]);
        }
    }
    return status;
}

static int build_all(adze_builder *b, adze_val x, adze_val *y) {
    const adze_model *m = b->m;
    adze_val *outs = b->taps ? b->taps->outs : NULL;
    adze_val *ys = outs ? outs : adze_alloc(m->ctx, m->nlayers, sizeof *ys);
    TRY(ADZE_GOT(ys));
    int status = ADZE_OK;
    for (int i = 0; i < m->nlayers && status == ADZE_OK; i++) {
        if (b->guards && m->layers[i].branch >= 0) {
            continue; /* its block's end builds it */
        }
        if (b->guards && m->layers[i].survival < 1) {
            status = build_branch(b, i, ys, x);
        }
        status = status == ADZE_OK ? build_layer(b, i, ys, x, &ys[i]) : status;
    }
    *y = status == ADZE_OK ? ys[m->nlayers - 1] : (adze_val){0};
    adze_free(m->ctx, outs ? NULL : ys);
    return status;
}

int adze_model_build(const adze_model *m, adze_graph *g, adze_val x, const adze_build_opts *opts, adze_val *y) {
    return adze_model_build_taps(m, g, x, opts, y, NULL);
}

int adze_model_build_taps(const adze_model *m, adze_graph *g, adze_val x, const adze_build_opts *opts, adze_val *y, adze_taps *taps) {
    adze_build_opts o = {0};
    *y = (adze_val){0};
    if (opts) {
        memcpy(&o, opts, opts->size && opts->size < sizeof o ? opts->size : sizeof o);
    }
    TRY(adze_graph_status(g));
    adze_type t = adze_val_type(g, x);
    o.dtype = o.dtype ? o.dtype : t.dtype;
    adze_type want = adze_model_input_type(m, t.rank > 0 ? t.dims[0] : 1, o.dtype);
    if (o.dtype != ADZE_F32 && o.dtype != ADZE_F64) {
        return adze_fail(m->ctx, ADZE_ETYPE, "model '%s' is built in f32 or f64, not %s", m->name, adze_dtype_name(o.dtype));
    }
    if (!adze_type_equal(&t, &want)) {
        return adze_fail(m->ctx, ADZE_ESHAPE, "model '%s' takes %s, the value given is %s", m->name, ADZE_SHOWN(&want), ADZE_SHOWN(&t));
    }
    adze_builder b = {.m = m,
                      .g = g,
                      .train = o.train,
                      .guards = o.train && !(taps && taps->all_branches),
                      .statistics = o.statistics,
                      .drops = o.train || o.drops,
                      .samples = o.drops ? 0 : o.samples,
                      .dtype = o.dtype,
                      .taps = taps};
    return build_all(&b, x, y);
}

int adze_model_probe(adze_model *m, int *layer) {
    *layer = 0;
    adze_type t = adze_model_input_type(m, 1, ADZE_F32);
    if (checked_count(&t) < 0) {
        return adze_fail(m->ctx, ADZE_EARG, "the input has more than %d numbers", ADZE_MODEL_MAX_PARAMS);
    }
    adze_graph *g;
    TRY(adze_graph_new(m->ctx, &g));
    adze_builder b = {.m = m, .probe = m, .g = g, .dtype = ADZE_F32};
    adze_val y;
    int status = build_all(&b, adze_input(g, "x", t), &y);
    *layer = b.layer;
    adze_graph_free(g);
    return status;
}

/* -- loss -- */

/* E = y_D + log(exp(-j) + sum_i exp(-y_i)) with y the squared distances (LeCun et al. 1998, equation 9); s are their negatives. */
static adze_val rbf_loss(adze_graph *g, adze_val s, adze_val label) {
    adze_type t = adze_val_type(g, s), l = adze_val_type(g, label);
    adze_type extra = t, row = t;
    extra.dims[1] = 1;
    row.rank = 1;
    adze_val both[2] = {s, adze_full(g, extra, -RBF_RUBBISH)};
    adze_val norm = adze_logsumexp(g, adze_concat(g, both, 2, 1), (int[]){1}, 1, false);
    adze_val right = adze_sum(g, adze_mul(g, s, adze_one_hot(g, label, t.dims[1], t.dtype, 1, 0)), (int[]){1}, 1, false);
    adze_val known = adze_ge(g, label, adze_full(g, l, 0)); /* a negative label marks padding: loss 0 */
    return adze_where(g, known, adze_sub(g, norm, right), adze_full(g, row, 0));
}

int adze_model_loss(const adze_model *m, adze_graph *g, adze_val y, adze_val label, adze_val *loss) {
    *loss = (adze_val){0};
    TRY(adze_graph_status(g));
    if (!m->classes) {
        return adze_fail(m->ctx, ADZE_EARG, "model '%s' is no classifier: its loss must be chosen by name, such as mse", m->name);
    }
    bool rbf = m->layers[m->nlayers - 1].spec->kind == &adze_layer_rbf;
    *loss = rbf ? rbf_loss(g, y, label) : adze_softmax_xent(g, y, label);
    return adze_graph_status(g);
}

/* -- slots -- */

/* out: the lengths of the columns of w (.., n) */
static void column_norms(const adze_tensor *w, adze_tensor *out) {
    const adze_type t = adze_tensor_type(w);
    const int64_t n = out->dims[0], rows = adze_type_count(&t) / n;
    for (int64_t k = 0; k < n; k++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++) {
            const double v = adze_tensor_get(w, r * n + k);
            sum += v * v;
        }
        adze_tensor_set(out, k, sqrt(sum));
    }
}

int adze_model_init(const adze_model *m, adze_store *s, adze_dtype d, uint64_t seed) {
    if (d != ADZE_F32 && d != ADZE_F64) {
        return adze_fail(m->ctx, ADZE_ETYPE, "the slots of model '%s' are f32 or f64, not %s", m->name, adze_dtype_name(d));
    }
    for (int i = 0; i < m->nparams; i++) { /* all first, so that they lie in one block */
        adze_type t = m->params[i].type;
        t.dtype = d;
        TRY(adze_store_add(s, m->params[i].slot, t, m->params[i].flags, NULL));
    }
    for (int i = 0; i < m->nparams; i++) {
        adze_tensor t, before = {0};
        TRY(adze_store_tensor(s, adze_store_find(s, m->params[i].slot), &t));
        TRY(adze_init_tensor(m->ctx, &m->params[i], t, seed));
        if (m->params[i].norms) {
            TRY(adze_store_tensor(s, adze_store_find(s, m->params[i - 1].slot), &before));
            column_norms(&before, &t);
        }
    }
    return ADZE_OK;
}

int64_t adze_model_params(const adze_model *m) {
    int64_t n = 0;
    for (int i = 0; i < m->nlayers; i++) {
        n += m->layers[i].params;
    }
    return n;
}

int adze_model_summary(const adze_model *m, adze_layer_row *rows, int n) {
    for (int i = 0; rows && i < m->nlayers && i < n; i++) {
        const adze_layer *l = &m->layers[i];
        adze_layer_row *r = &rows[i];
        *r = (adze_layer_row){.params = l->params, .fixed = l->fixed, .macs = l->macs};
        snprintf(r->name, sizeof r->name, "%s", l->path);
        snprintf(r->type, sizeof r->type, "%s", l->spec->kind->name);
        r->out = (adze_type){.dtype = l->out.dtype, .rank = l->out.rank - 1};
        memcpy(r->out.dims, l->out.dims + 1, sizeof(int64_t) * (ADZE_MAX_RANK - 1));
        r->act_bytes = adze_type_bytes(&r->out);
    }
    return m->nlayers;
}
