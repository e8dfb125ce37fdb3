/* Layer-sequential unit variance (Mishkin and Matas 2016): first weights that are made to fit the data, layer by layer from the input on. */
#include "train/trainer.h"

#include "model/layer.h"

#include <math.h>
#include <stdio.h>

enum { BATCH = 256, ROUNDS = 10 };
static const double TOLERANCE = 0.1; /* of the variance, as in the paper's algorithm 1 */

typedef struct lsuv {
    adze_trainer *t;
    adze_val *sums;
    adze_plan *plan;
    adze_session *session;
} lsuv;

/* What scales a layer's sums: its weights, or their lengths where those are apart (weight_norm); NULL: nothing. */
static const adze_param *weights_of(const adze_model *m, int layer) {
    const char *path = m->layers[layer].path;
    const size_t n = strlen(path);
    for (int i = 0; i < m->nparams; i++) {
        const adze_param *p = &m->params[i];
        if (strncmp(p->slot, path, n) == 0 && ((p->norms && p->slot[n] == ':') || (strcmp(p->slot + n, ":w") == 0 && p->type.rank >= 2))) {
            return p;
        }
    }
    return NULL;
}

/* What a layer starts from: orthonormal weights, unless the model says otherwise. */
static int start(const lsuv *l, int layer, const adze_param *p, adze_tensor w) {
    const adze_spec *spec = l->t->model->layers[layer].spec;
    const adze_field *f = adze_field_find(spec->kind->fields, "init");
    if (f == NULL || !adze_field_is_default(f, spec->fields) || p->mask != NULL || p->norms) {
        return ADZE_OK;
    }
    adze_param orthonormal = *p;
    orthonormal.init = (adze_init){.kind = ADZE_INIT_ORTHOGONAL, .gain = 1};
    return adze_init_tensor(l->t->ctx, &orthonormal, w, l->t->o.seed);
}

static int scale(const lsuv *l, int layer, const adze_param *p) {
    adze_tensor w, v;
    const adze_type type = p->type;
    char name[32];
    snprintf(name, sizeof name, "var%d", layer);
    TRY(adze_store_tensor(l->t->store, adze_store_find(l->t->store, p->slot), &w));
    TRY(start(l, layer, p, w));
    for (int round = 0; round < ROUNDS; round++) {
        TRY(adze_session_run(l->session));
        TRY(adze_session_output(l->session, name, &v));
        const double var = adze_tensor_get(&v, 0);
        if (!isfinite(var) || var < 1e-30) {
            return adze_fail(l->t->ctx, ADZE_EARG,
                             "option lsuv: the sums of layer '%s' have variance %g on the first batch and cannot be scaled to 1",
                             l->t->model->layers[layer].path, var);
        }
        if (fabs(var - 1) < TOLERANCE) {
            break;
        }
        for (int64_t i = 0; i < adze_type_count(&type); i++) {
            adze_tensor_set(&w, i, adze_tensor_get(&w, i) / sqrt(var));
        }
    }
    return ADZE_OK;
}

/* One plan for all layers: the variance of each layer's sums, over examples, pixels and channels. */
static int make_plan(lsuv *l, adze_graph *g, int64_t batch) {
    adze_trainer *t = l->t;
    adze_val y;
    adze_type in = adze_model_input_type(t->model, batch, adze_train_dtype(&t->o));
    adze_taps taps = {.sums = l->sums};
    TRY(adze_model_build_taps(t->model, g, adze_input(g, "x", in), &(adze_build_opts){.size = sizeof(adze_build_opts)}, &y, &taps));
    for (int i = 0; i < t->model->nlayers; i++) {
        if (weights_of(t->model, i) != NULL && l->sums[i].id != 0) {
            char name[32];
            snprintf(name, sizeof name, "var%d", i);
            adze_val mean = adze_mean(g, l->sums[i], NULL, 0, false);
            adze_output(g, name, adze_mean(g, adze_square(g, adze_sub(g, l->sums[i], mean)), NULL, 0, false));
        }
    }
    TRY(adze_compile(g, NULL, &l->plan));
    return adze_session_new(t->ctx, l->plan, t->store, "", &l->session);
}

int adze_trainer_first_batch(const adze_trainer *t, adze_tensor x) {
    adze_loader_opts lo = {.size = sizeof lo, .batch = x.dims[0], .seed = t->o.seed, .dtype = x.dtype};
    adze_loader *loader = NULL;
    adze_tensor label = {0};
    int64_t n = 0;
    TRY(adze_tensor_new(t->ctx, adze_type_make(ADZE_I64, 1, x.dims), &label));
    int st = adze_loader_new(t->ctx, t->data, t->ids, x.dims[0], adze_model_preprocess(t->model), &lo, &loader);
    if (st == ADZE_OK) {
        st = adze_loader_next(loader, x, label, &n);
    }
    adze_loader_free(loader);
    adze_tensor_free(&label);
    return st;
}

static int scale_all(lsuv *l, adze_graph *g) {
    const int64_t batch = l->t->ntrain < BATCH ? l->t->ntrain : BATCH;
    adze_tensor x;
    TRY(make_plan(l, g, batch));
    TRY(adze_session_input(l->session, "x", &x));
    TRY(adze_trainer_first_batch(l->t, x));
    for (int i = 0; i < l->t->model->nlayers; i++) {
        const adze_param *p = weights_of(l->t->model, i);
        if (p != NULL && l->sums[i].id != 0) {
            TRY(scale(l, i, p));
        }
    }
    return ADZE_OK;
}

int adze_trainer_lsuv(adze_trainer *t) {
    if (!t->o.lsuv) {
        return ADZE_OK;
    }
    lsuv l = {.t = t, .sums = adze_alloc(t->ctx, t->model->nlayers, sizeof(adze_val))};
    adze_graph *g = NULL;
    int st = l.sums != NULL ? adze_graph_new(t->ctx, &g) : ADZE_ENOMEM;
    if (st == ADZE_OK) {
        st = scale_all(&l, g);
    }
    adze_session_free(l.session);
    adze_plan_free(l.plan);
    adze_graph_free(g);
    adze_free(t->ctx, l.sums);
    return st;
}
