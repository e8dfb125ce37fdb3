/* Curvature of a model's loss: pieces of graphs that the second-order rules share, and what opens, binds and closes a rule. */
#include "model/layer.h"
#include "train/second.h"

#include <math.h>
#include <stdio.h>

enum { SLOT_NAME = 192 };

/* -- random cotangents --------------------------------------------------------------------------------------------------------------------------- */

/* p - e with e the unit vector of a class drawn from p = softmax(y), by Gumbel's trick. */
static adze_val sample_class(adze_graph *g, adze_val y) {
    const adze_type t = adze_val_type(g, y);
    const adze_val noise = adze_neg(g, adze_log(g, adze_neg(g, adze_log(g, adze_uniform(g, t, 0, 1)))));
    const adze_val drawn = adze_argmax(g, adze_add(g, y, noise), -1);
    return adze_sub(g, adze_softmax(g, y, -1), adze_one_hot(g, drawn, t.dims[1], t.dtype, 1, 0));
}

/* (p - b) / sqrt(C) with b drawn from p = sigmoid(y), each for itself: the loss is their mean. */
static adze_val sample_bits(adze_graph *g, adze_val y) {
    const adze_type t = adze_val_type(g, y);
    const adze_val p = adze_sigmoid(g, y), b = adze_cast(g, adze_lt(g, adze_uniform(g, t, 0, 1), p), t.dtype);
    return adze_scale(g, adze_sub(g, p, b), 1 / sqrt((double)t.dims[1]), 0);
}

static adze_val sample_numbers(adze_graph *g, adze_val y) {
    const adze_type t = adze_val_type(g, y);
    return adze_normal(g, t, 0, sqrt(2 / (double)t.dims[1]));
}

int adze_curvature_family(adze_ctx *ctx, const adze_model *m, const adze_train_opts *o, adze_family *out) {
    const bool classes = o->target == ADZE_TARGET_LABEL, own = o->loss == ADZE_LOSS_AUTO;
    const bool rbf = own && classes && m->layers[m->nlayers - 1].spec->kind == &adze_layer_rbf;
    const int loss = !own ? o->loss : classes ? ADZE_LOSS_SOFTMAX_XENT : ADZE_LOSS_MSE;
    *out = loss == ADZE_LOSS_SOFTMAX_XENT ? ADZE_FAMILY_CLASSES : loss == ADZE_LOSS_SIGMOID_XENT ? ADZE_FAMILY_BITS : ADZE_FAMILY_NUMBERS;
    return !rbf && (loss == ADZE_LOSS_MSE || *out != ADZE_FAMILY_NUMBERS)
               ? ADZE_OK
               : adze_fail(ctx, ADZE_ENOSUP, "targets are drawn for losses softmax_xent, sigmoid_xent and mse, not for %s%s",
                           adze_loss_names[o->loss], rbf ? " of an rbf layer" : "");
}

int adze_curvature_sample(const adze_model *m, adze_graph *g, const adze_train_opts *o, adze_val y, adze_val *seed) {
    adze_family family;
    TRY(adze_curvature_family(adze_graph_ctx(g), m, o, &family));
    *seed = family == ADZE_FAMILY_CLASSES ? sample_class(g, y) : family == ADZE_FAMILY_BITS ? sample_bits(g, y) : sample_numbers(g, y);
    return adze_graph_status(g);
}

/* -- on a store of its own ----------------------------------------------------------------------------------------------------------------------- */

static bool of_model(const adze_model *m, const char *slot) {
    int i = 0;
    while (i < m->nparams && strcmp(m->params[i].slot, slot) != 0) {
        i++;
    }
    return i < m->nparams;
}

static int copy_model(const adze_model *m, adze_store *from, adze_store *to) {
    for (int i = 0; i < adze_store_count(from); i++) { /* all first, so that they lie in one block */
        const char *name = adze_store_name(from, i);
        TRY(of_model(m, name) ? adze_store_add(to, name, adze_store_type(from, i), adze_store_flags(from, i), NULL) : ADZE_OK);
    }
    for (int i = 0; i < adze_store_count(to); i++) {
        adze_tensor a, b;
        TRY(adze_store_tensor(from, adze_store_find(from, adze_store_name(to, i)), &a));
        TRY(adze_store_tensor(to, i, &b));
        TRY(adze_tensor_copy(m->ctx, b, a));
    }
    return ADZE_OK;
}

int adze_curvature_open(adze_ctx *ctx, const adze_fisher_in *in, adze_steps *s) {
    *s = (adze_steps){.ctx = ctx, .model = in->model, .o = in->o, .rule = adze_optimizer_settle(in->o)};
    s->rule.l2 = 0; /* the loss alone */
    TRY(adze_store_new(ctx, &s->store));
    TRY(copy_model(in->model, in->store, s->store));
    const int count = adze_store_count(s->store);
    s->params = adze_alloc(ctx, count, sizeof *s->params);
    for (int i = 0; i < count && s->params != NULL; i++) {
        if (adze_store_flags(s->store, i) & ADZE_SLOT_TRAINABLE) {
            s->params[s->nparams++] = i;
            s->dtype = adze_store_type(s->store, i).dtype;
        }
    }
    for (int i = 0; i < s->nparams; i++) {
        TRY(adze_second_role(s, i, "g", adze_store_type(s->store, s->params[i]), ADZE_SLOT_TEMP));
    }
    return s->params == NULL ? ADZE_ENOMEM
           : s->nparams > 0  ? ADZE_OK
                             : adze_fail(ctx, ADZE_EARG, "model '%s' has no parameters to train", adze_model_name(in->model));
}

void adze_curvature_close(adze_steps *s) {
    adze_free(s->ctx, s->params);
    adze_store_free(s->store);
}

int adze_curvature_loader(const adze_steps *s, const adze_fisher_in *in, int64_t batch, adze_loader **out) {
    const adze_loader_opts lo = {.size = sizeof lo, .batch = batch, .dtype = s->dtype};
    return adze_loader_new(s->ctx, in->data, NULL, in->examples, adze_model_preprocess(in->model), &lo, out);
}

/* -- pieces -------------------------------------------------------------------------------------------------------------------------------------- */

static int model_losses(const adze_steps *s, adze_graph *g, int64_t batch, bool train, adze_val *y, adze_val *loss) {
    adze_train_terms terms;
    const adze_build_opts opts = {.size = sizeof opts, .train = train, .dtype = s->dtype};
    const adze_val x = adze_input(g, "x", adze_model_input_type(s->model, batch, s->dtype));
    const adze_val label = adze_input(g, "label", adze_type_make(ADZE_I64, 1, &batch));
    TRY(adze_model_build(s->model, g, x, &opts, y));
    TRY(adze_train_loss(s->model, g, s->o, x, *y, label, &terms));
    *loss = terms.loss;
    return adze_graph_status(g);
}

int adze_curvature_model(const adze_steps *s, adze_graph *g, int64_t batch, bool train, adze_val *y, adze_val *mean) {
    TRY(model_losses(s, g, batch, train, y, mean));
    *mean = adze_mean(g, *mean, NULL, 0, false);
    return adze_graph_status(g);
}

int adze_curvature_losses(const adze_steps *s, adze_graph *g, int64_t batch) {
    adze_val y, loss;
    TRY(model_losses(s, g, batch, true, &y, &loss));
    return adze_output(g, "loss", loss);
}

double adze_curvature_mean(const adze_tensor *loss, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += adze_tensor_get(loss, i);
    }
    return sum / (double)n;
}

int adze_curvature_loss(adze_session *run, int64_t n, double *mean) {
    adze_tensor t;
    TRY(adze_session_run(run));
    TRY(adze_session_output(run, "loss", &t));
    *mean = adze_curvature_mean(&t, n);
    return ADZE_OK;
}

/* "w:role"; role NULL: "w". Names were measured when their slots were added. */
static int role_name(const adze_steps *s, int param, const char *role, char out[SLOT_NAME]) {
    const char *own = adze_store_name(s->store, s->params[param]);
    const int len = snprintf(out, SLOT_NAME, "%s%s%s", own, role != NULL ? ":" : "", role != NULL ? role : "");
    return len > 0 && len < SLOT_NAME ? ADZE_OK : adze_fail(s->ctx, ADZE_EARG, "the parameter name '%s' is too long", own);
}

int adze_curvature_tensor(const adze_steps *s, int param, const char *role, adze_tensor *t) {
    char name[SLOT_NAME];
    TRY(role_name(s, param, role, name));
    return adze_store_tensor(s->store, adze_store_find(s->store, name), t);
}

adze_val adze_curvature_slot(const adze_steps *s, adze_graph *g, int param, const char *role) {
    char name[SLOT_NAME];
    (void)role_name(s, param, role, name);
    const int found = adze_store_find(s->store, name);
    return adze_slot(g, name, adze_store_type(s->store, found < 0 ? s->params[param] : found));
}

int adze_second_role(const adze_steps *s, int param, const char *role, adze_type type, uint32_t flags) {
    char name[SLOT_NAME];
    TRY(role_name(s, param, role, name));
    return adze_store_add(s->store, name, type, flags, NULL);
}

double adze_curvature_decay(const adze_steps *s, int param) {
    return adze_store_flags(s->store, s->params[param]) & ADZE_SLOT_DECAY ? s->rule.l2 : 0;
}

int adze_curvature_product_slots(const adze_steps *s) {
    for (int i = 0; i < s->nparams; i++) {
        TRY(adze_second_role(s, i, "d", adze_store_type(s->store, s->params[i]), ADZE_SLOT_TEMP));
        TRY(adze_second_role(s, i, "h", adze_store_type(s->store, s->params[i]), ADZE_SLOT_TEMP));
    }
    return ADZE_OK;
}

/* H_L J v goes back through the net: Schraudolph 2002. */
static int gauss_newton(adze_graph *g, adze_val y, adze_val mean, const adze_val *w, const adze_val *v, int n, adze_val *out) {
    adze_val u, hu;
    TRY(adze_jvp(g, &y, 1, w, v, n, &u, 0));
    TRY(adze_hvp(g, mean, &y, &u, 1, &hu, 0));
    return adze_vjp(g, &y, &hu, 1, w, n, out, 0);
}

int adze_curvature_product(const adze_steps *s, adze_graph *g, int64_t batch, bool gauss) {
    const int n = s->nparams;
    adze_val y, mean, *w = adze_alloc(s->ctx, n, 3 * sizeof *w);
    TRY(ADZE_GOT(w));
    adze_val *v = w + n, *out = v + n;
    int st = adze_curvature_model(s, g, batch, true, &y, &mean);
    for (int i = 0; i < n && st == ADZE_OK; i++) {
        w[i] = adze_curvature_slot(s, g, i, NULL);
        v[i] = adze_curvature_slot(s, g, i, "d");
    }
    if (st == ADZE_OK) {
        st = gauss ? gauss_newton(g, y, mean, w, v, n, out) : adze_hvp(g, mean, w, v, n, out, 0);
    }
    for (int i = 0; i < n && st == ADZE_OK; i++) {
        adze_assign(g, adze_curvature_slot(s, g, i, "h"), out[i]);
    }
    adze_free(s->ctx, w);
    return st == ADZE_OK ? adze_graph_status(g) : st;
}

static void repeat_rows(const adze_tensor *to, const adze_tensor *from, int64_t n) {
    const adze_type a = adze_tensor_type(to), b = adze_tensor_type(from);
    const size_t row = (size_t)(adze_type_bytes(&b) / b.dims[0]);
    char *at = adze_tensor_data(to);
    const char *source = adze_tensor_data(from);
    for (int64_t i = 0; i < a.dims[0]; i++) {
        memcpy(at + (size_t)i * row, source + (size_t)(i % n) * row, row);
    }
}

int adze_curvature_show(adze_session *to, const adze_steps *s, const adze_second_step *u) {
    adze_tensor x, label;
    TRY(adze_session_input(to, "x", &x));
    TRY(adze_session_input(to, "label", &label));
    repeat_rows(&x, &u->last->x, u->last_count);
    repeat_rows(&label, &u->last->label, u->last_count);
    adze_session_random(to, s->o->seed, (uint64_t)u->step - 1, u->examples - u->last_count);
    return ADZE_OK;
}

/* -- opening and closing ------------------------------------------------------------------------------------------------------------------------- */

int adze_second_refuse(const adze_steps *s) {
    const adze_train_opts *o = s->o;
    const char *optimizer = adze_field_find(adze_train_fields(), "optimizer")->names[o->optimizer];
    const struct {
        const char *name;
        bool given;
    } unread[] = {{"clip_value", o->clip_value > 0},
                  {"clip_norm", o->clip_norm > 0},
                  {"clip_auto", o->clip_auto > 0},
                  {"clip_tensor", o->clip_tensor > 0},
                  {"clip_agc", o->clip_agc > 0},
                  {"lookahead_k", o->lookahead_k > 0},
                  {"sam", o->sam > 0},
                  {"groups", o->groups[0] != 0},
                  {"augment with mixed examples", s->mixes},
                  {"l1", s->rule.l1 > 0 || o->l1 > 0},
                  {"maxnorm", o->maxnorm > 0},
                  {"activity_l1", o->activity_l1[0] != 0},
                  {"activity_kl", o->activity_kl[0] != 0},
                  {"drop_path", s->model->depths > 0}};
    for (size_t i = 0; i < ADZE_COUNT(unread); i++) {
        if (unread[i].given) {
            return adze_fail(s->ctx, ADZE_EARG, "option %s does not go with optimizer %s, which chooses its steps by curvature", unread[i].name,
                             optimizer);
        }
    }
    return o->precision != ADZE_PRECISION_BF16
               ? ADZE_OK
               : adze_fail(s->ctx, ADZE_EARG, "optimizer %s compares losses more finely than bf16 tells them apart: give precision full", optimizer);
}

static char *room_for(const adze_steps *s, const int *slots, int n) {
    int64_t bytes = 0;
    for (int i = 0; i < n; i++) {
        const adze_type t = adze_store_type(s->store, slots[i]);
        bytes += adze_type_bytes(&t);
    }
    return adze_alloc(s->ctx, bytes, 1);
}

int adze_second_open(adze_steps *s) {
    const adze_second_kind *kind = adze_optimizer_of(s->o)->second;
    if (kind == NULL) {
        return ADZE_OK;
    }
    TRY(adze_second_refuse(s));
    s->second = adze_alloc(s->ctx, 1, kind->size);
    TRY(ADZE_GOT(s->second));
    s->second->kind = kind;
    s->second->steps = s;
    s->second->weights = room_for(s, s->params, s->nparams);
    s->second->statistics = room_for(s, s->state, s->nstate);
    TRY(ADZE_GOT(s->second->weights && s->second->statistics));
    return kind->slots(s->second);
}

int adze_second_plan(adze_steps *s, int64_t batch, int64_t most, int64_t rest) {
    return s->second != NULL ? s->second->kind->plans(s->second, batch, most, rest) : ADZE_OK;
}

int64_t adze_second_arena(const adze_steps *s) {
    int64_t most = 0;
    for (int i = 0; s->second != NULL && i < ADZE_SECOND_PLANS; i++) {
        const int64_t bytes = s->second->plan[i] != NULL ? adze_plan_describe(s->second->plan[i]).arena_bytes : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

int adze_second_bind(adze_steps *s) {
    for (int i = 0; s->second != NULL && i < ADZE_SECOND_PLANS; i++) {
        if (s->second->plan[i] != NULL) {
            TRY(adze_session_new_in(s->ctx, s->second->plan[i], s->store, "", s->arena, &s->second->session[i]));
        }
    }
    return s->second != NULL && s->second->kind->bind != NULL ? s->second->kind->bind(s->second) : ADZE_OK;
}

int adze_second_see(adze_steps *s, const adze_grad_plan *g, int64_t n, int64_t from) {
    return s->second != NULL && s->second->kind->see != NULL ? s->second->kind->see(s->second, g, n, from) : ADZE_OK;
}

int adze_second_take(adze_steps *s, const adze_second_step *u) {
    adze_second *r = s->second;
    TRY(adze_steps_copy(s, s->params, s->nparams, r->weights, true));
    TRY(adze_steps_copy(s, s->state, s->nstate, r->statistics, true));
    const int st = r->kind->step(r, u);
    if (st == ADZE_OK) { /* running statistics count the gradient's pass alone */
        return adze_steps_copy(s, s->state, s->nstate, r->statistics, false);
    }
    (void)adze_steps_copy(s, s->params, s->nparams, r->weights, false);
    (void)adze_steps_restore(s);
    return st;
}

void adze_second_close(adze_steps *s) {
    if (s->second == NULL) {
        return;
    }
    for (int i = 0; i < ADZE_SECOND_PLANS; i++) {
        adze_session_free(s->second->session[i]);
        adze_plan_free(s->second->plan[i]);
    }
    if (s->second->kind->close != NULL) {
        s->second->kind->close(s->second);
    }
    adze_free(s->ctx, s->second->weights);
    adze_free(s->ctx, s->second->statistics);
    adze_free(s->ctx, s->second);
    s->second = NULL;
}
