/* First-order optimisers and averages as ops: each output i is written into the slot that input i reads, in one pass over the elements.
 * Arithmetic is in double on the stored values and rounded once at each store. */
#include "op/record.h"

/* Inputs 0 .. n - 1 (slots and gradient) must be equal floating tensors; from n on rank-0 f64 scalars. The first nout are written. */
static int infer_update(adze_sig *s, int n) {
    for (int i = 0; i < n; i++) {
        TRY(adze_check_dtype(s, i, i == 0 ? "the slot" : i < s->nout ? "a slot of the optimiser" : "the new value", ADZE_SET_F));
        TRY(adze_check_same_dtype(s, 0, i));
        if (!adze_same_dims(&s->in[0], &s->in[i])) {
            return adze_op_fail(s, ADZE_ESHAPE, "input %d is %s, but the slot is %s", i, ADZE_SHOWN(&s->in[i]), ADZE_SHOWN(&s->in[0]));
        }
    }
    for (int i = n; i < s->nin; i++) {
        if (s->in[i].dtype != ADZE_F64 || s->in[i].rank != 0) {
            return adze_op_fail(s, ADZE_ETYPE, "input %d is %s, but must be a number, f64 ()", i, ADZE_SHOWN(&s->in[i]));
        }
    }
    for (int i = 0; i < s->nout; i++) {
        TRY(adze_set_out(s, i, s->in[i].dtype, s->in[i].rank, s->in[i].dims));
    }
    return ADZE_OK;
}

static double number(const adze_view *v) {
    return *(const double *)v->data;
}
static double get(const adze_view *v, int64_t i) {
    return adze_load_f(v->data, v->dtype, i);
}
static void put(const adze_view *v, int64_t i, double x) {
    adze_store_f(v->data, v->dtype, i, x);
}

static void sample_update(adze_rng *r, adze_case *c, int n, int numbers) {
    c->nin = n + numbers;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_F), 0, 3, 0);
    for (int i = 0; i < c->nin; i++) {
        c->in[i] = i < n ? c->in[0] : adze_scalar_type(ADZE_F64);
        c->dom[i] = i < n ? adze_dom_range(-2.0, 2.0) : adze_dom_range(0.01, 1.0);
    }
}

#define UPDATE(name_, nin_, nout_, table, size, doc_)                                                                                                \
    const adze_op adze_op_##name_ = {.name = #name_,                                                                                                 \
                                     ADZE_ARITY(nin_, nout_),                                                                                        \
                                     .flags = ADZE_OP_UPDATE | ADZE_OP_NOGRAD,                                                                       \
                                     .attrs = table,                                                                                                 \
                                     .attrs_size = size,                                                                                             \
                                     .doc = doc_,                                                                                                    \
                                     .infer = infer_##name_,                                                                                         \
                                     .cost = cost_##name_,                                                                                           \
                                     .ref = ref_##name_,                                                                                             \
                                     .sample = sample_##name_};

static adze_cost cost_each(const adze_sig *s, double flops) { /* flops per element */
    return adze_cost_of(s, flops * (double)adze_type_count(&s->in[0]));
}

/* -- sgd, momentum ------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field SGD_ATTRS[] = {
    {.name = "momentum", .kind = ADZE_F_F64, .offset = offsetof(adze_sgd_attrs, momentum), .lo = 0.0, .hi = 1.0, .help = "share of the old velocity"},
    {.name = "dampening",
     .kind = ADZE_F_F64,
     .offset = offsetof(adze_sgd_attrs, dampening),
     .lo = 0.0,
     .hi = 1.0,
     .help = "taken off the new gradient"},
    ADZE_ATTR(adze_sgd_attrs, weight_decay, ADZE_F_F64, "L2 coefficient"),
    ADZE_ATTR(adze_sgd_attrs, nesterov, ADZE_F_BOOL, "look ahead"),
    ADZE_ATTR_END};

static int check_sgd(adze_sig *s) {
    const adze_sgd_attrs *p = s->attrs;
    if (!(p->momentum >= 0.0 && p->momentum < 1.0) || !(p->dampening >= 0.0 && p->dampening <= 1.0) || !(p->weight_decay >= 0.0)) {
        return adze_op_fail(s, ADZE_EARG, "momentum %g must lie in [0, 1), dampening %g in [0, 1], and weight decay %g must be >= 0", p->momentum,
                            p->dampening, p->weight_decay);
    }
    return ADZE_OK;
}

static int infer_sgd(adze_sig *s) {
    const adze_sgd_attrs *p = s->attrs;
    TRY(check_sgd(s));
    if (p->momentum != 0.0 || p->dampening != 0.0) {
        return adze_op_fail(s, ADZE_EARG, "momentum is %g and dampening %g, but there is no slot for the velocity; the op `momentum` has one",
                            p->momentum, p->dampening);
    }
    return infer_update(s, 2);
}

static int infer_momentum(adze_sig *s) {
    TRY(check_sgd(s));
    return infer_update(s, 3);
}

static void ref_sgd(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_sgd_attrs *p = s->attrs;
    const double lr = number(&s->in[2]);
    int64_t n = adze_view_count(&s->out[0]);
    for (int64_t i = 0; i < n; i++) {
        double w = get(&s->in[0], i), g = get(&s->in[1], i) + p->weight_decay * w;
        put(&s->out[0], i, w - lr * g);
    }
}

static void ref_momentum(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_sgd_attrs *p = s->attrs;
    const double lr = number(&s->in[3]);
    int64_t n = adze_view_count(&s->out[0]);
    for (int64_t i = 0; i < n; i++) {
        double w = get(&s->in[0], i), g = get(&s->in[2], i) + p->weight_decay * w;
        double m = p->momentum * get(&s->in[1], i) + (1.0 - p->dampening) * g;
        put(&s->out[0], i, w - lr * (p->nesterov ? g + p->momentum * m : m));
        put(&s->out[1], i, m);
    }
}

static adze_cost cost_sgd(const adze_sig *s) {
    return cost_each(s, 4.0);
}
static adze_cost cost_momentum(const adze_sig *s) {
    return cost_each(s, 7.0);
}

static void sample_sgd(adze_rng *r, adze_case *c) {
    adze_sgd_attrs *p = c->attrs;
    p->weight_decay = adze_sample_coin(r, 2) ? 0.0 : 0.25;
    p->nesterov = adze_sample_coin(r, 2);
    sample_update(r, c, 2, 1);
}
static void sample_momentum(adze_rng *r, adze_case *c) {
    adze_sgd_attrs *p = c->attrs;
    sample_sgd(r, c);
    p->momentum = adze_sample_coin(r, 4) ? 0.0 : 0.875;
    p->dampening = adze_sample_coin(r, 2) ? 0.0 : 0.5;
    sample_update(r, c, 3, 1);
}

UPDATE(sgd, 3, 1, SGD_ATTRS, sizeof(adze_sgd_attrs), "inputs w, g, lr: g += wd w; w -= lr g")
UPDATE(momentum, 4, 2, SGD_ATTRS, sizeof(adze_sgd_attrs),
       "inputs w, m, g, lr: g += wd w; m = momentum m + (1 - dampening) g; w -= lr (nesterov ? g + momentum m : m)")

adze_val adze_sgd(adze_graph *g, adze_val w, adze_val m, adze_val grad, adze_val lr, const adze_sgd_attrs *a) {
    adze_sgd_attrs p;
    memset(&p, 0, sizeof p);
    if (a) {
        p.momentum = a->momentum;
        p.dampening = a->dampening;
        p.weight_decay = a->weight_decay;
        p.nesterov = a->nesterov;
    }
    if (m.id == 0) {
        return adze_apply(g, &adze_op_sgd, (adze_val[]){w, grad, lr}, 3, &p, NULL);
    }
    adze_val outs[2] = {{0}, {0}};
    return adze_apply(g, &adze_op_momentum, (adze_val[]){w, m, grad, lr}, 4, &p, outs);
}

/* -- adam ---------------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field ADAM_ATTRS[] = {ADZE_ATTR_DEF(adze_adam_attrs, beta1, ADZE_F_F64, "0.9", "decay of the mean"),
                                        ADZE_ATTR_DEF(adze_adam_attrs, beta2, ADZE_F_F64, "0.999", "decay of the mean square"),
                                        ADZE_ATTR_DEF(adze_adam_attrs, eps, ADZE_F_F64, "1e-8", "added to the root"),
                                        ADZE_ATTR(adze_adam_attrs, weight_decay, ADZE_F_F64, "coefficient"),
                                        ADZE_ATTR(adze_adam_attrs, decoupled, ADZE_F_BOOL, "AdamW: decay the weight itself, not the gradient"),
                                        ADZE_ATTR_END};

static int infer_adam(adze_sig *s) {
    const adze_adam_attrs *p = s->attrs;
    if (!(p->beta1 >= 0.0 && p->beta1 < 1.0) || !(p->beta2 >= 0.0 && p->beta2 < 1.0) || !(p->eps >= 0.0) || !(p->weight_decay >= 0.0)) {
        return adze_op_fail(s, ADZE_EARG, "beta1 %g and beta2 %g must lie in [0, 1), eps %g and weight decay %g must be >= 0", p->beta1, p->beta2,
                            p->eps, p->weight_decay);
    }
    return infer_update(s, 4);
}

static void ref_adam(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_adam_attrs *p = s->attrs;
    const double lr = number(&s->in[4]), t = number(&s->in[5]);
    const double c1 = 1.0 - pow(p->beta1, t), c2 = 1.0 - pow(p->beta2, t);
    int64_t n = adze_view_count(&s->out[0]);
    for (int64_t i = 0; i < n; i++) {
        double w = get(&s->in[0], i), g = get(&s->in[3], i) + (p->decoupled ? 0.0 : p->weight_decay * w);
        double m = p->beta1 * get(&s->in[1], i) + (1.0 - p->beta1) * g;
        double v = p->beta2 * get(&s->in[2], i) + (1.0 - p->beta2) * g * g;
        double decay = p->decoupled ? lr * p->weight_decay * w : 0.0;
        put(&s->out[0], i, w - decay - lr * (m / c1) / (sqrt(v / c2) + p->eps));
        put(&s->out[1], i, m);
        put(&s->out[2], i, v);
    }
}

static adze_cost cost_adam(const adze_sig *s) {
    return cost_each(s, 17.0);
}

static void sample_adam(adze_rng *r, adze_case *c) {
    adze_adam_attrs *p = c->attrs;
    p->beta1 = adze_sample_coin(r, 4) ? 0.0 : 0.875;
    p->beta2 = adze_sample_coin(r, 4) ? 0.5 : 0.96875;
    p->eps = adze_sample_coin(r, 2) ? 1e-8 : 1e-3;
    p->weight_decay = adze_sample_coin(r, 3) ? 0.0 : 0.125;
    p->decoupled = adze_sample_coin(r, 2);
    sample_update(r, c, 4, 2);
    c->dom[2] = adze_dom_range(0.1, 2.0);   /* a mean square */
    c->dom[5] = adze_dom_range(1.0, 100.0); /* a step count */
}

UPDATE(adam, 6, 3, ADAM_ATTRS, sizeof(adze_adam_attrs),
       "inputs w, m, v, g, lr, t: g += wd w (not decoupled); m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; "
       "w -= lr wd w (decoupled) + lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps) (Kingma and Ba 2015; Loshchilov and Hutter 2019)")

adze_val adze_adam(adze_graph *g, adze_val w, adze_val m, adze_val v, adze_val grad, adze_val lr, adze_val t, const adze_adam_attrs *a) {
    adze_val outs[3] = {{0}, {0}, {0}};
    return adze_apply(g, &adze_op_adam, (adze_val[]){w, m, v, grad, lr, t}, 6, a, outs);
}

/* -- ema, accumulate ----------------------------------------------------------------------------------------------------------------------------- */

static const adze_field EMA_ATTRS[] = {ADZE_ATTR(adze_ema_attrs, decay, ADZE_F_F64, "share of the old value"), ADZE_ATTR_END};

static int infer_ema(adze_sig *s) {
    const adze_ema_attrs *p = s->attrs;
    if (!(p->decay >= 0.0 && p->decay <= 1.0)) {
        return adze_op_fail(s, ADZE_EARG, "the decay is %g, but must lie between 0 and 1", p->decay);
    }
    return infer_update(s, 2);
}

static int infer_accumulate(adze_sig *s) {
    return infer_update(s, 2);
}

static void ref_ema(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const double decay = ((const adze_ema_attrs *)s->attrs)->decay;
    int64_t n = adze_view_count(&s->out[0]);
    for (int64_t i = 0; i < n; i++) {
        put(&s->out[0], i, decay * get(&s->in[0], i) + (1.0 - decay) * get(&s->in[1], i));
    }
}

static void ref_accumulate(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    int64_t n = adze_view_count(&s->out[0]);
    for (int64_t i = 0; i < n; i++) {
        put(&s->out[0], i, get(&s->in[0], i) + get(&s->in[1], i));
    }
}

static adze_cost cost_ema(const adze_sig *s) {
    return cost_each(s, 3.0);
}
static adze_cost cost_accumulate(const adze_sig *s) {
    return cost_each(s, 1.0);
}

static void sample_ema(adze_rng *r, adze_case *c) {
    adze_ema_attrs *p = c->attrs;
    p->decay = (double)adze_rng_range(r, 0, 4) / 4.0;
    sample_update(r, c, 2, 0);
}
static void sample_accumulate(adze_rng *r, adze_case *c) {
    sample_update(r, c, 2, 0);
}

UPDATE(ema, 2, 1, EMA_ATTRS, sizeof(adze_ema_attrs), "slot = decay slot + (1 - decay) v")
UPDATE(accumulate, 2, 1, NULL, 0, "slot = slot + v")

adze_val adze_ema(adze_graph *g, adze_val slot, adze_val v, double decay) {
    adze_ema_attrs p = {decay};
    return adze_apply(g, &adze_op_ema, (adze_val[]){slot, v}, 2, &p, NULL);
}

adze_val adze_accumulate(adze_graph *g, adze_val slot, adze_val v) {
    return adze_apply(g, &adze_op_accumulate, (adze_val[]){slot, v}, 2, NULL, NULL);
}
