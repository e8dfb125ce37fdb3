/* A model opened for looking into: its graph with everything asked for as outputs, bound to a copy of the weights. */
#include "train/tap.h"

#include <math.h>
#include <stdio.h>

double adze_dot(const double *a, const double *b, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) {
        s += a[i] * b[i];
    }
    return s;
}

double adze_norm_of(const double *v, int64_t n) {
    double most = 0, s = 0; /* of gradients that have vanished the squares would be 0 */
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs(v[i]));
    }
    for (int64_t i = 0; i < n && most > 0; i++) {
        s += v[i] / most * (v[i] / most);
    }
    return most * sqrt(s);
}

/* -- the copy of the weights --------------------------------------------------------------------------------------------------------------------- */

static int layer_of(const adze_model *m, const char *slot) {
    for (int i = 0; i < m->nlayers; i++) {
        const size_t n = strlen(m->layers[i].path);
        if (strncmp(slot, m->layers[i].path, n) == 0 && slot[n] == ':') {
            return i;
        }
    }
    return -1;
}

static int copy_slots(adze_tap *t) {
    const adze_model *m = t->m;
    for (int i = 0; i < m->nparams; i++) {
        adze_type type = m->params[i].type;
        type.dtype = t->dtype;
        TRY(adze_store_add(t->store, m->params[i].slot, type, m->params[i].flags, NULL));
    }
    for (int i = 0; i < m->nparams; i++) {
        const char *name = m->params[i].slot;
        const int from = adze_store_find(t->of->store, name), to = adze_store_find(t->store, name);
        adze_tensor a, b;
        if (from < 0) {
            return adze_fail(t->ctx, ADZE_EARG, "the store has no slot '%s' of model '%s'", name, m->name);
        }
        TRY(adze_store_tensor(t->of->store, from, &a));
        TRY(adze_store_tensor(t->store, to, &b));
        TRY(adze_tensor_copy(t->ctx, b, a));
        if (m->params[i].flags & ADZE_SLOT_TRAINABLE) {
            t->slot[t->nparams] = to;
            t->layer[t->nparams++] = layer_of(m, name);
            t->nweights += adze_type_count(&m->params[i].type);
        }
    }
    return ADZE_OK;
}

/* -- the graph ----------------------------------------------------------------------------------------------------------------------------------- */

static void show(adze_tap *t, const char *name, int i, adze_val v) {
    char text[32];
    snprintf(text, sizeof text, "%s/%d", name, i);
    adze_output(t->g, text, v);
}

/* Fixed random factors, so that what comes back through the last layer does not depend on what it says. */
static adze_val linear_loss(adze_tap *t) {
    const adze_type type = adze_val_type(t->g, t->y);
    const int64_t n = adze_type_count(&type);
    adze_tensor way;
    if (adze_tensor_new(t->ctx, type, &way) != ADZE_OK) {
        return (adze_val){0};
    }
    adze_rng r = adze_rng_make(t->o->seed, adze_hash_str("linear loss"));
    for (int64_t i = 0; i < n; i++) {
        adze_tensor_set(&way, i, adze_rng_normal(&r));
    }
    const adze_val v = adze_const(t->g, type, adze_tensor_data(&way));
    adze_tensor_free(&way);
    return adze_scale(t->g, adze_sum(t->g, adze_mul(t->g, t->y, v), NULL, 0, false), 1 / (double)t->batch, 0);
}

static int build_model(adze_tap *t, int mode, uint32_t what) {
    const adze_model *m = t->m;
    adze_build_opts bo = {.size = sizeof bo, .train = mode != ADZE_DIAG_EVAL, .dtype = t->dtype};
    adze_taps taps = {.sums = t->sums, .outs = t->outs, .owner = t->owner, .time = t->time, .max_states = ADZE_TAP_STATES_MOST, .all_branches = true};
    taps.states = what & ADZE_TAP_STATES ? t->states : NULL;
    t->x = adze_input(t->g, "x", adze_model_input_type(m, t->batch, t->dtype));
    TRY(adze_model_build_taps(m, t->g, t->x, &bo, &t->y, &taps));
    t->nstates = taps.nstates;
    if (adze_model_classes(m) > 0 && t->o->loss == ADZE_DIAG_OWN) {
        adze_val each, label = adze_input(t->g, "label", adze_model_label_type(m, t->batch));
        TRY(adze_model_loss(m, t->g, t->y, label, &each));
        t->loss = adze_mean(t->g, each, NULL, 0, false);
    } else {
        t->loss = linear_loss(t);
    }
    adze_output(t->g, "loss", t->loss);
    return adze_output(t->g, "y", t->y);
}

static void show_forward(adze_tap *t, uint32_t what) {
    for (int i = 0; i < t->m->nlayers; i++) {
        if (what & ADZE_TAP_OUTS && adze_tap_has(t, "a", i)) {
            show(t, "a", i, t->outs[i]);
        }
        if (what & ADZE_TAP_SUMS && adze_tap_has(t, "z", i)) {
            show(t, "z", i, t->sums[i]);
        }
        if (what & ADZE_TAP_SLOPES && adze_tap_has(t, "s", i)) {
            adze_val slope, ones = adze_ones_like(t->g, t->outs[i]);
            adze_vjp(t->g, &t->outs[i], &ones, 1, &t->sums[i], 1, &slope, 0);
            show(t, "s", i, slope);
        }
    }
}

/* One backward pass for all that is asked for. */
static int show_backward(adze_tap *t, uint32_t what) {
    const int nouts = what & ADZE_TAP_OUT_GRADS ? t->m->nlayers + 1 : 0, nstates = what & ADZE_TAP_STATES ? t->nstates : 0;
    const int nparams = what & ADZE_TAP_GRADS ? t->nparams : 0, n = nouts + nstates + nparams;
    adze_val *at = adze_alloc(t->ctx, 2 * (int64_t)n + 1, sizeof *at);
    TRY(ADZE_GOT(at));
    adze_val *g = at + n;
    for (int i = 0; i < nouts; i++) {
        at[i] = i > 0 && adze_tap_has(t, "a", i - 1) ? t->outs[i - 1] : t->x;
    }
    memcpy(at + nouts, t->states, (size_t)nstates * sizeof *at);
    memcpy(at + nouts + nstates, t->params, (size_t)nparams * sizeof *at);
    const int st = n > 0 ? adze_grad(t->g, t->loss, at, n, g, what & ADZE_TAP_HESSIAN ? ADZE_DIFFERENTIABLE : 0) : ADZE_OK;
    for (int i = 0; i < n && st == ADZE_OK; i++) {
        const int j = i - nouts, k = j - nstates;
        if (j < 0 && i > 0 && !adze_tap_has(t, "a", i - 1)) {
            continue;
        }
        show(t, j < 0 ? "ga" : k < 0 ? "gh" : "g", j < 0 ? i - 1 : k < 0 ? j : k, g[i]);
    }
    adze_free(t->ctx, at);
    return st;
}

static int show_hessian(adze_tap *t) {
    adze_val *hv = adze_alloc(t->ctx, t->nparams, sizeof *hv);
    TRY(ADZE_GOT(hv));
    for (int i = 0; i < t->nparams; i++) {
        char name[32];
        snprintf(name, sizeof name, "v/%d", i);
        t->v[i] = adze_input(t->g, name, adze_store_type(t->store, t->slot[i]));
    }
    const int st = adze_hvp(t->g, t->loss, t->params, t->v, t->nparams, hv, ADZE_HVP_FORWARD);
    for (int i = 0; i < t->nparams && st == ADZE_OK; i++) {
        show(t, "hv", i, hv[i]);
    }
    adze_free(t->ctx, hv);
    return st;
}

static int build(adze_tap *t, int mode, uint32_t what) {
    TRY(adze_graph_new(t->ctx, &t->g));
    for (int i = 0; i < t->nparams; i++) {
        t->params[i] = adze_slot(t->g, adze_store_name(t->store, t->slot[i]), adze_store_type(t->store, t->slot[i]));
    }
    TRY(build_model(t, mode, what));
    show_forward(t, what);
    TRY(show_backward(t, what));
    if (what & ADZE_TAP_HESSIAN) {
        TRY(show_hessian(t));
    }
    if (what & ADZE_TAP_ROW) {
        adze_val gx, pick = adze_input(t->g, "pick", adze_val_type(t->g, t->y));
        adze_vjp(t->g, &t->y, &pick, 1, &t->x, 1, &gx, 0);
        adze_output(t->g, "gx", gx);
    }
    adze_compile_opts co = {.size = sizeof co, .precision = t->o->dtype == ADZE_DIAG_BF16 ? ADZE_BF16 : ADZE_NONE};
    TRY(adze_compile(t->g, &co, &t->plan));
    TRY(adze_session_new(t->ctx, t->plan, t->store, "", &t->session));
    adze_session_random(t->session, t->o->seed, 0, 0);
    return ADZE_OK;
}

int adze_tap_open(adze_tap *t, adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, int64_t batch, int mode, uint32_t what) {
    const adze_model *m = s->model;
    *t = (adze_tap){.ctx = ctx, .of = s, .m = m, .o = o, .batch = batch, .xscale = o->xscale};
    t->dtype = o->dtype == ADZE_DIAG_F64 ? ADZE_F64 : ADZE_F32;
    if (what & ADZE_TAP_HESSIAN && o->dtype == ADZE_DIAG_BF16) {
        return adze_fail(ctx, ADZE_ENOSUP, "second derivatives are taken in f64 or f32: bf16 has too few digits for them");
    }
    if (batch < 1 || batch > s->x.dims[0]) {
        return adze_fail(ctx, ADZE_EARG, "there are %lld examples, and %lld are needed at once", (long long)s->x.dims[0], (long long)batch);
    }
    t->outs = adze_alloc(ctx, m->nlayers, sizeof *t->outs);
    t->sums = adze_alloc(ctx, m->nlayers, sizeof *t->sums);
    t->states = adze_alloc(ctx, ADZE_TAP_STATES_MOST, sizeof *t->states);
    t->owner = adze_alloc(ctx, ADZE_TAP_STATES_MOST, sizeof *t->owner);
    t->time = adze_alloc(ctx, ADZE_TAP_STATES_MOST, sizeof *t->time);
    t->params = adze_alloc(ctx, m->nparams, sizeof *t->params);
    t->v = adze_alloc(ctx, m->nparams, sizeof *t->v);
    t->slot = adze_alloc(ctx, m->nparams, sizeof *t->slot);
    t->layer = adze_alloc(ctx, m->nparams, sizeof *t->layer);
    TRY(ADZE_GOT(t->outs && t->sums && t->states && t->owner && t->time && t->params && t->v && t->slot && t->layer));
    TRY(adze_store_new(ctx, &t->store));
    TRY(copy_slots(t));
    TRY(build(t, mode, what));
    return adze_tap_fill(t, 0);
}

void adze_tap_close(adze_tap *t) {
    void *const blocks[] = {t->outs, t->sums, t->states, t->owner, t->time, t->params, t->v, t->slot, t->layer, t->read};
    if (t->ctx == NULL) {
        return;
    }
    adze_session_free(t->session);
    adze_plan_free(t->plan);
    adze_graph_free(t->g);
    adze_store_free(t->store);
    for (size_t i = 0; i < ADZE_COUNT(blocks); i++) {
        adze_free(t->ctx, blocks[i]);
    }
    *t = (adze_tap){.ctx = NULL};
}

/* -- running it ---------------------------------------------------------------------------------------------------------------------------------- */

int adze_tap_input(adze_tap *t, const char *name, adze_tensor *out) {
    return adze_session_input(t->session, name, out);
}

static int copy_rows(adze_tap *t, const char *name, adze_tensor from, int64_t first) {
    adze_tensor to, rows;
    TRY(adze_tap_input(t, name, &to));
    TRY(adze_tensor_slice(t->ctx, from, 0, first, first + t->batch, &rows));
    return adze_tensor_copy(t->ctx, to, rows);
}

int adze_tap_fill(adze_tap *t, int64_t first) {
    adze_tensor x;
    TRY(copy_rows(t, "x", t->of->x, first));
    TRY(adze_tap_input(t, "x", &x));
    const adze_type type = adze_tensor_type(&x);
    for (int64_t i = 0; i < adze_type_count(&type) && t->xscale != 1; i++) {
        adze_tensor_set(&x, i, adze_tensor_get(&x, i) * t->xscale);
    }
    const bool labelled = adze_model_classes(t->m) > 0 && t->o->loss == ADZE_DIAG_OWN;
    return labelled ? copy_rows(t, "label", t->of->labels, first) : ADZE_OK;
}

int adze_tap_run(adze_tap *t) {
    return adze_session_run(t->session);
}

int adze_tap_loss(adze_tap *t, double *loss) {
    adze_tensor out;
    TRY(adze_tap_run(t));
    TRY(adze_session_output(t->session, "loss", &out));
    *loss = adze_tensor_get(&out, 0);
    return ADZE_OK;
}

bool adze_tap_has(const adze_tap *t, const char *name, int i) {
    if (name[0] == 'a' || t->outs[i].id == 0) {
        return t->outs[i].id != 0;
    }
    if (t->sums[i].id == 0 || t->sums[i].id == t->outs[i].id || name[0] == 'z') {
        return t->sums[i].id != 0 && t->sums[i].id != t->outs[i].id;
    }
    const adze_type a = adze_val_type(t->g, t->sums[i]), b = adze_val_type(t->g, t->outs[i]);
    return adze_type_equal(&a, &b);
}

int adze_tap_read(adze_tap *t, const char *name, int i, const double **v, int64_t *n) {
    char text[32];
    adze_tensor out;
    snprintf(text, sizeof text, strcmp(name, "y") == 0 || strcmp(name, "gx") == 0 ? "%s" : "%s/%d", name, i);
    TRY(adze_session_output(t->session, text, &out));
    const adze_type type = adze_tensor_type(&out);
    *n = adze_type_count(&type);
    if (*n > t->cap_read) {
        double *more = adze_resize(t->ctx, t->read, t->cap_read, *n, sizeof *more);
        TRY(ADZE_GOT(more));
        t->read = more;
        t->cap_read = *n;
    }
    for (int64_t k = 0; k < *n; k++) {
        t->read[k] = adze_tensor_get(&out, k);
    }
    *v = t->read;
    return ADZE_OK;
}

static int move_weights(adze_tap *t, double *w, const double *from) {
    for (int i = 0; i < t->nparams; i++) {
        adze_tensor p;
        TRY(adze_store_tensor(t->store, t->slot[i], &p));
        const adze_type type = adze_tensor_type(&p);
        const int64_t n = adze_type_count(&type);
        for (int64_t k = 0; k < n; k++) {
            if (from != NULL) {
                adze_tensor_set(&p, k, *from++);
            } else {
                *w++ = adze_tensor_get(&p, k);
            }
        }
    }
    return ADZE_OK;
}

int adze_tap_weights(adze_tap *t, double *w) {
    return move_weights(t, w, NULL);
}

int adze_tap_set_weights(adze_tap *t, const double *w) {
    return move_weights(t, NULL, w);
}

static int gather(adze_tap *t, const char *name, double *out) {
    for (int i = 0; i < t->nparams; i++) {
        const double *v;
        int64_t n;
        TRY(adze_tap_read(t, name, i, &v, &n));
        memcpy(out, v, (size_t)n * sizeof *v);
        out += n;
    }
    return ADZE_OK;
}

int adze_tap_gradient(adze_tap *t, double *g) {
    TRY(adze_tap_run(t));
    return gather(t, "g", g);
}

int adze_tap_hessian(void *tap, const double *v, double *hv) {
    adze_tap *t = tap;
    for (int i = 0; i < t->nparams; i++) {
        char name[32];
        adze_tensor to;
        snprintf(name, sizeof name, "v/%d", i);
        TRY(adze_tap_input(t, name, &to));
        const adze_type type = adze_tensor_type(&to);
        for (int64_t k = 0; k < adze_type_count(&type); k++) {
            adze_tensor_set(&to, k, *v++);
        }
    }
    TRY(adze_tap_run(t));
    return gather(t, "hv", hv);
}

int adze_tap_with(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f, adze_tap_look how) {
    adze_tap t = {.ctx = NULL};
    double *v = NULL;
    int st = adze_tap_open(&t, ctx, s, o, o->batch, o->mode, how.what);
    if (st == ADZE_OK && how.vectors > 0) {
        v = adze_alloc(ctx, how.vectors * t.nweights, sizeof *v);
        st = ADZE_GOT(v);
    }
    st = st == ADZE_OK ? how.look(&t, f, v) : st;
    adze_free(ctx, v);
    adze_tap_close(&t);
    return st;
}
