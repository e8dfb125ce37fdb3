/* An optimiser of the table let loose on a function of a few numbers. */
#include "train/descent.h"

#include <math.h>
#include <stdio.h>

static const char *const factor_names[ADZE_OPT_FACTORS] = {"c0", "c1", "c2"};

static adze_val clipped(const adze_descent *d, adze_graph *g, adze_val grad) {
    if (d->o.clip_value > 0) {
        grad = adze_clip(g, grad, -d->o.clip_value, d->o.clip_value);
    }
    if (d->o.clip_norm > 0) { /* the largest element first: squares of what a cliff gives overflow */
        const adze_val tiny = adze_scalar(g, ADZE_F64, 1e-300), most = adze_max(g, adze_reduce_max(g, adze_abs(g, grad), NULL, 0, false), tiny);
        const adze_val unit = adze_div(g, grad, most), norm = adze_mul(g, most, adze_sqrt(g, adze_sum(g, adze_square(g, unit), NULL, 0, false)));
        const adze_val c = adze_scalar(g, ADZE_F64, d->o.clip_norm), one = adze_scalar(g, ADZE_F64, 1);
        grad = adze_mul(g, grad, adze_min(g, one, adze_div(g, c, adze_max(g, norm, tiny))));
    }
    return grad;
}

static int add_slots(adze_descent *d, adze_type vector, const adze_opt_view *view) {
    TRY(adze_store_add(d->store, "w", vector, ADZE_SLOT_TRAINABLE | ADZE_SLOT_DECAY, NULL));
    for (int k = 0; k < ADZE_OPT_SLOTS; k++) {
        adze_type type = vector;
        if (adze_optimizer_slot(&d->o, k, view, &type)) {
            char name[16];
            snprintf(name, sizeof name, "w:%s", adze_optimizer_of(&d->o)->slots[k].role);
            TRY(adze_store_add(d->store, name, type, ADZE_SLOT_STATE, &d->slot[k]));
        }
    }
    return ADZE_OK;
}

static int build(adze_descent *d, const adze_surface *s, adze_graph *g, void (*write)(const adze_opt_param *p)) {
    const adze_type vector = adze_type_make(ADZE_F64, 1, &s->n), number = adze_scalar_type(ADZE_F64);
    adze_opt_param p = {.g = g, .o = &d->o, .w = adze_slot(g, "w", vector), .lr = adze_input(g, "lr", number), .scaled = true};
    const adze_val loss = s->loss(g, p.w, s->user);
    TRY(adze_grad(g, loss, &p.w, 1, &p.grad, 0));
    adze_output(g, "loss", loss);
    adze_output(g, "grad", p.grad);
    p.grad = clipped(d, g, p.grad);
    p.l2 = d->o.l2;
    p.decay = d->o.weight_decay;
    p.view = adze_optimizer_view(&d->o, &vector, true);
    for (int k = 0; k < adze_optimizer_of(&d->o)->nfactors; k++) {
        p.factor[k] = adze_input(g, factor_names[k], number);
    }
    for (int k = 0; k < ADZE_OPT_SLOTS; k++) {
        p.slot[k] = d->slot[k] >= 0 ? adze_slot(g, adze_store_name(d->store, d->slot[k]), adze_store_type(d->store, d->slot[k])) : p.slot[k];
    }
    write(&p);
    return adze_graph_status(g);
}

static int open_plan(adze_descent *d, const adze_surface *s, adze_descent_plan *to, void (*write)(const adze_opt_param *p)) {
    const adze_compile_opts co = {.size = sizeof co, .device = "ref"}; /* a handful of numbers: nothing to gain from lanes */
    TRY(adze_graph_new(d->ctx, &to->g));
    TRY(build(d, s, to->g, write));
    TRY(adze_compile(to->g, &co, &to->plan));
    return adze_session_new(d->ctx, to->plan, d->store, "", &to->session);
}

int adze_descent_open(adze_descent *d, adze_ctx *ctx, const adze_surface *s, const adze_train_opts *o) {
    *d = (adze_descent){.ctx = ctx, .n = s->n, .slot = {-1, -1, -1, -1, -1, -1}};
    d->o = *o;
    d->o.l2 = o->l2 < 0 ? 0 : o->l2;
    d->o = adze_optimizer_settle(&d->o);
    if (adze_optimizer_of(&d->o)->second != NULL) {
        const char *name = "it";
        adze_optimizer_known(o->optimizer, &name, &(const char *){NULL}, (char[400]){""}, 400);
        return adze_fail(ctx, ADZE_EARG, "optimizer %s wants a network's curvature; probes and demonstrations run the rules of first order", name);
    }
    const adze_optimizer *row = adze_optimizer_of(&d->o);
    const adze_type vector = adze_type_make(ADZE_F64, 1, &s->n);
    const adze_opt_view view = adze_optimizer_view(&d->o, &vector, true);
    TRY(adze_store_new(ctx, &d->store));
    TRY(add_slots(d, vector, &view));
    TRY(open_plan(d, s, &d->step, row->build));
    TRY(row->observe != NULL ? open_plan(d, s, &d->observe, row->observe) : ADZE_OK);
    TRY(adze_store_tensor(d->store, adze_store_find(d->store, "w"), &d->w));
    TRY(adze_session_input(d->step.session, "lr", &d->lr));
    for (int k = 0; k < row->nfactors; k++) {
        TRY(adze_session_input(d->step.session, factor_names[k], &d->factor[k]));
    }
    return ADZE_OK;
}

static void close_plan(adze_descent_plan *p) {
    adze_session_free(p->session);
    adze_plan_free(p->plan);
    adze_graph_free(p->g);
}

void adze_descent_close(adze_descent *d) {
    close_plan(&d->step);
    close_plan(&d->observe);
    adze_store_free(d->store);
    *d = (adze_descent){.ctx = NULL};
}

double adze_descent_get(const adze_descent *d, int64_t i) {
    return ((const double *)adze_tensor_data(&d->w))[i];
}

void adze_descent_put(adze_descent *d, int64_t i, double v) {
    ((double *)adze_tensor_data(&d->w))[i] = v;
}

int adze_descent_start(adze_descent *d, const double *w) {
    memcpy(adze_tensor_data(&d->w), w, (size_t)d->n * sizeof *w);
    for (int k = 0; k < ADZE_OPT_SLOTS; k++) {
        adze_tensor slot;
        if (d->slot[k] >= 0) {
            const adze_type type = adze_store_type(d->store, d->slot[k]);
            TRY(adze_store_tensor(d->store, d->slot[k], &slot));
            for (int64_t i = 0; i < adze_type_count(&type); i++) {
                adze_tensor_set(&slot, i, adze_optimizer_of(&d->o)->slots[k].init);
            }
        }
    }
    d->t = 0;
    return ADZE_OK;
}

static int run(adze_descent *d, double lr, double *loss) {
    const adze_matrix m = {d->ctx, d->store, &d->o, d->observe.session, (int[]){adze_store_find(d->store, "w")}, 1};
    double c[ADZE_OPT_FACTORS] = {0};
    bool moves = true;
    TRY(m.observe != NULL ? adze_matrix_gather(&m, d->t + 1, &moves) : ADZE_OK);
    adze_optimizer_factors(&d->o, d->t + 1, c);
    adze_tensor_set(&d->lr, 0, lr);
    for (int k = 0; k < adze_optimizer_of(&d->o)->nfactors; k++) {
        adze_tensor_set(&d->factor[k], 0, c[k]);
    }
    TRY(moves ? adze_session_run(d->step.session) : ADZE_OK);
    d->last = moves ? d->step.session : d->observe.session;
    if (loss != NULL) {
        TRY(adze_session_output(d->last, "loss", &d->loss));
        *loss = adze_tensor_get(&d->loss, 0);
    }
    return ADZE_OK;
}

int adze_descent_step(adze_descent *d, double *loss) {
    TRY(run(d, d->o.lr, loss));
    d->t++;
    return ADZE_OK;
}

int adze_descent_at(adze_descent *d, const double *w, double *loss, double *grad) {
    TRY(adze_descent_start(d, w));
    TRY(run(d, 0, loss));
    if (grad != NULL) {
        TRY(adze_session_output(d->last, "grad", &d->grad));
        for (int64_t i = 0; i < d->n; i++) {
            grad[i] = adze_tensor_get(&d->grad, i);
        }
    }
    return ADZE_OK;
}

/* -- lists of optimisers ------------------------------------------------------------------------------------------------------------------------- */

/* What adze_descent reads; the rest of a training's options would be passed over. */
static const char *const READS[] = {
    "lr",     "momentum", "l2",         "weight_decay", "beta1",         "beta2",        "eps",        "bias_correction", "centered", "grow",
    "shrink", "trust",    "clip_value", "clip_norm",    "precond_every", "precond_most", "muon_steps", "muon_scale",      NULL};

static bool reads(const char *name) {
    int i = 0;
    while (READS[i] != NULL && strcmp(READS[i], name) != 0) {
        i++;
    }
    return READS[i] != NULL;
}

static int read_runner(adze_ctx *ctx, char *text, const adze_train_opts *base, adze_runner *r) {
    char *next = strchr(text, ':');
    snprintf(r->name, sizeof r->name, "%s", text);
    r->o = *base;
    if (next != NULL) {
        *next++ = 0;
    }
    TRY(adze_field_parse(ctx, adze_field_find(adze_train_fields(), "optimizer"), &r->o, text, "option optimizers"));
    while (next != NULL && *next != 0) {
        char *name = next, *value = strchr(name, '=');
        next = strchr(name, ':');
        if (next != NULL) {
            *next++ = 0;
        }
        if (value == NULL) {
            return adze_fail(ctx, ADZE_EARG, "option optimizers: settings look like adam:beta2=0.9, and '%s' has no value", name);
        }
        *value++ = 0;
        const adze_field *field = adze_field_find(adze_train_fields(), name);
        if (field == NULL) {
            return adze_fail(ctx, ADZE_EARG, "option optimizers: there is no setting '%s'; `adze list options` has them", name);
        }
        if (!reads(name)) {
            return adze_fail(ctx, ADZE_EARG,
                             "option optimizers: '%s' does nothing on a function of a few numbers; what is read is lr, l2, clip_norm, "
                             "clip_value and the settings of the rule itself",
                             name);
        }
        TRY(adze_field_parse(ctx, field, &r->o, value, "option optimizers"));
    }
    return adze_train_check(ctx, &r->o);
}

int adze_runners(adze_ctx *ctx, const char *text, const adze_train_opts *base, adze_runner *out, int *n) {
    char *copy = adze_strdup(ctx, text), *word = copy;
    int st = ADZE_GOT(copy);
    for (*n = 0; st == ADZE_OK && word != NULL && *word != 0; (*n)++) {
        char *next = strchr(word, ',');
        if (next != NULL) {
            *next++ = 0;
        }
        st = *n < ADZE_RUNNERS ? read_runner(ctx, word, base, &out[*n])
                               : adze_fail(ctx, ADZE_EARG, "option optimizers: at most %d of them", ADZE_RUNNERS);
        word = next;
    }
    adze_free(ctx, copy);
    return st;
}
