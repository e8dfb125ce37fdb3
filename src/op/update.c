/* Updates: what an optimiser writes back into the store. Elements are computed in double and rounded once; outputs lie on the slots they update. */
#include "op/element.h"

/* -- what all of them check ----------------------------------------------------------------------------------------------------------------------- */

/* Inputs 0 .. n - 1: equal types, f32 or f64; output i is input i. */
static int check_tensors(adze_sig *s, int n) {
    TRY(adze_check_dtype(s, 0, "the slot", ADZE_SET_F));
    for (int i = 1; i < n; i++) {
        TRY(adze_check_same_dtype(s, 0, i));
        if (!adze_same_dims(&s->in[0], &s->in[i])) {
            char a[160], b[160];
            return adze_op_fail(s, ADZE_ESHAPE, "input %d is %s, but the slot is %s; they must be equal", i, adze_type_print(&s->in[i], b, sizeof b),
                                adze_type_print(&s->in[0], a, sizeof a));
        }
    }
    for (int i = 0; i < s->nout; i++) {
        TRY(adze_set_out(s, i, s->in[0].dtype, s->in[0].rank, s->in[0].dims));
    }
    return ADZE_OK;
}

static int check_number(adze_sig *s, int i, const char *what) {
    TRY(adze_check_dtype(s, i, what, 1 << ADZE_F64));
    return adze_check_rank(s, i, what, 0, 0);
}

static int check_factor(adze_sig *s, const char *what, double v, double hi) {
    if (v >= 0.0 && v <= hi && isfinite(v)) {
        return ADZE_OK;
    }
    if (isfinite(hi)) {
        return adze_op_fail(s, ADZE_EARG, "the %s is %g, it must be between 0 and %g", what, v, hi);
    }
    return adze_op_fail(s, ADZE_EARG, "the %s is %g, it must be finite and not negative", what, v);
}

/* Type and domain of every input: tensors like the slot, then rank-0 f64 numbers. */
static void sample_update(adze_rng *r, adze_case *c, int tensors, int numbers) {
    c->nin = tensors + numbers;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(c, ADZE_SET_F), 0, 4, 0);
    for (int i = 0; i < c->nin; i++) {
        c->in[i] = i < tensors ? c->in[0] : adze_scalar_type(ADZE_F64);
        c->dom[i] = i < tensors ? adze_dom_range(-2.0, 2.0) : adze_dom_range(0.0, 0.5);
    }
}

static double number(const adze_step *s, int i) {
    return adze_at(&s->in[i], 0);
}

/* -- sgd, momentum ---------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field SGD_ATTRS[] = {ADZE_ATTR(adze_sgd_attrs, momentum, ADZE_F_F64, "part of m that stays; needs the slot m"),
                                       ADZE_ATTR(adze_sgd_attrs, dampening, ADZE_F_F64, "part of the gradient that m does not take"),
                                       ADZE_ATTR(adze_sgd_attrs, weight_decay, ADZE_F_F64, "part of w added to the gradient"),
                                       ADZE_ATTR(adze_sgd_attrs, nesterov, ADZE_F_BOOL, "looks one step ahead"), ADZE_ATTR_END};

static int check_sgd(adze_sig *s) {
    const adze_sgd_attrs *p = s->attrs;
    TRY(check_factor(s, "momentum", p->momentum, (double)INFINITY));
    TRY(check_factor(s, "dampening", p->dampening, 1.0));
    return check_factor(s, "weight decay", p->weight_decay, (double)INFINITY);
}

static int infer_sgd(adze_sig *s) {
    const adze_sgd_attrs *p = s->attrs;
    TRY(check_sgd(s));
    if (p->momentum != 0.0 || p->dampening != 0.0) {
        return adze_op_fail(s, ADZE_EARG, "momentum %g and dampening %g need a slot for the momentum; without one both must be 0", p->momentum,
                            p->dampening);
    }
    TRY(check_tensors(s, 2));
    return check_number(s, 2, "the learning rate");
}

static int infer_momentum(adze_sig *s) {
    TRY(check_sgd(s));
    TRY(check_tensors(s, 3));
    return check_number(s, 3, "the learning rate");
}

static void ref_sgd(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_sgd_attrs *p = s->attrs;
    const double lr = number(s, 2);
    const int64_t n = adze_view_count(&s->out[0]);
    for (int64_t i = 0; i < n; i++) {
        const double w = adze_at(&s->in[0], i), g = adze_at(&s->in[1], i) + p->weight_decay * w;
        adze_put(&s->out[0], i, w - lr * g);
    }
}

static void ref_momentum(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_sgd_attrs *p = s->attrs;
    const double lr = number(s, 3);
    const int64_t n = adze_view_count(&s->out[0]);
    for (int64_t i = 0; i < n; i++) {
        const double w = adze_at(&s->in[0], i), g = adze_at(&s->in[2], i) + p->weight_decay * w;
        const double m = p->momentum * adze_at(&s->in[1], i) + (1.0 - p->dampening) * g;
        adze_put(&s->out[0], i, w - lr * (p->nesterov ? g + p->momentum * m : m));
        adze_put(&s->out[1], i, m);
    }
}

static adze_cost cost_sgd(const adze_sig *s) {
    return adze_cost_of(s, 4.0 * s->nout * (double)adze_type_count(&s->in[0]));
}

static void sample_sgd(adze_rng *r, adze_case *c) {
    adze_sgd_attrs *p = c->attrs;
    sample_update(r, c, 2, 1);
    p->weight_decay = adze_sample_coin(r, 2) ? 0.0 : 0.1 * adze_rng_uniform(r);
    p->nesterov = adze_sample_coin(r, 2); /* changes nothing where the momentum is 0 */
}

static void sample_momentum(adze_rng *r, adze_case *c) {
    adze_sgd_attrs *p = c->attrs;
    sample_update(r, c, 3, 1);
    p->momentum = adze_sample_coin(r, 6) ? 0.0 : adze_rng_uniform(r);
    p->dampening = adze_sample_coin(r, 2) ? 0.0 : adze_rng_uniform(r);
    p->weight_decay = adze_sample_coin(r, 2) ? 0.0 : 0.1 * adze_rng_uniform(r);
    p->nesterov = adze_sample_coin(r, 2);
}

const adze_op adze_op_sgd = {.name = "sgd",
                             .nin_min = 3,
                             .nin_max = 3,
                             .nout = 1,
                             .flags = ADZE_OP_UPDATE | ADZE_OP_NOGRAD,
                             .attrs = SGD_ATTRS,
                             .attrs_size = sizeof(adze_sgd_attrs),
                             .doc = "w -= lr (g + wd w); inputs w, g, lr (rank 0, f64)",
                             .infer = infer_sgd,
                             .cost = cost_sgd,
                             .ref = ref_sgd,
                             .sample = sample_sgd};

const adze_op adze_op_momentum = {.name = "momentum",
                                  .nin_min = 4,
                                  .nin_max = 4,
                                  .nout = 2,
                                  .flags = ADZE_OP_UPDATE | ADZE_OP_NOGRAD,
                                  .attrs = SGD_ATTRS,
                                  .attrs_size = sizeof(adze_sgd_attrs),
                                  .doc = "g += wd w; m = momentum m + (1 - dampening) g; w -= lr (nesterov ? g + momentum m : m);\n"
                                         "inputs w, m, g, lr (rank 0, f64); outputs w, m",
                                  .infer = infer_momentum,
                                  .cost = cost_sgd,
                                  .ref = ref_momentum,
                                  .sample = sample_momentum};

adze_val adze_sgd(adze_graph *g, adze_val w, adze_val m, adze_val grad, adze_val lr, const adze_sgd_attrs *a) {
    if (a && m.id != 0) {
        return adze_apply(g, &adze_op_momentum, (adze_val[]){w, m, grad, lr}, 4, a, NULL);
    }
    return adze_apply(g, &adze_op_sgd, (adze_val[]){w, grad, lr}, 3, a, NULL);
}

/* -- adam ------------------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field ADAM_ATTRS[] = {ADZE_ATTR_DEF(adze_adam_attrs, beta1, ADZE_F_F64, "0.9", "part of m that stays"),
                                        ADZE_ATTR_DEF(adze_adam_attrs, beta2, ADZE_F_F64, "0.999", "part of v that stays"),
                                        ADZE_ATTR_DEF(adze_adam_attrs, eps, ADZE_F_F64, "1e-8", "added to the root of v"),
                                        ADZE_ATTR(adze_adam_attrs, weight_decay, ADZE_F_F64, "part of w that is taken away"),
                                        ADZE_ATTR(adze_adam_attrs, decoupled, ADZE_F_BOOL, "AdamW: decay beside the gradient, not in it"),
                                        ADZE_ATTR_END};

static int infer_adam(adze_sig *s) {
    const adze_adam_attrs *p = s->attrs;
    TRY(check_factor(s, "beta1", p->beta1, 1.0));
    TRY(check_factor(s, "beta2", p->beta2, 1.0));
    if (p->beta1 == 1.0 || p->beta2 == 1.0) {
        return adze_op_fail(s, ADZE_EARG, "beta1 %g and beta2 %g must be less than 1", p->beta1, p->beta2);
    }
    TRY(check_factor(s, "eps", p->eps, (double)INFINITY));
    TRY(check_factor(s, "weight decay", p->weight_decay, (double)INFINITY));
    TRY(check_tensors(s, 4));
    TRY(check_number(s, 4, "the learning rate"));
    return check_number(s, 5, "the update's number t");
}

static void ref_adam(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_adam_attrs *p = s->attrs;
    const double lr = number(s, 4), t = number(s, 5), whole1 = 1.0 - pow(p->beta1, t), whole2 = 1.0 - pow(p->beta2, t);
    const double l2 = p->decoupled ? 0.0 : p->weight_decay, shrink = p->decoupled ? lr * p->weight_decay : 0.0;
    const int64_t n = adze_view_count(&s->out[0]);
    for (int64_t i = 0; i < n; i++) {
        const double w = adze_at(&s->in[0], i), g = adze_at(&s->in[3], i) + l2 * w;
        const double m = p->beta1 * adze_at(&s->in[1], i) + (1.0 - p->beta1) * g;
        const double v = p->beta2 * adze_at(&s->in[2], i) + (1.0 - p->beta2) * g * g;
        adze_put(&s->out[0], i, w - shrink * w - lr * (m / whole1) / (sqrt(v / whole2) + p->eps));
        adze_put(&s->out[1], i, m);
        adze_put(&s->out[2], i, v);
    }
}

static adze_cost cost_adam(const adze_sig *s) {
    return adze_cost_of(s, 16.0 * (double)adze_type_count(&s->in[0]));
}

static void sample_adam(adze_rng *r, adze_case *c) {
    adze_adam_attrs *p = c->attrs;
    sample_update(r, c, 4, 2);
    c->dom[2] = adze_dom_range(0.0, 2.0); /* a mean of squares */
    c->dom[5] = adze_dom_range(1.0, 20.0);
    p->beta1 = adze_sample_coin(r, 6) ? 0.0 : 0.95 * adze_rng_uniform(r);
    p->beta2 = adze_sample_coin(r, 6) ? 0.0 : 0.999 * adze_rng_uniform(r);
    p->eps = adze_sample_coin(r, 2) ? 1e-8 : 1e-3;
    p->weight_decay = adze_sample_coin(r, 2) ? 0.0 : 0.1 * adze_rng_uniform(r);
    p->decoupled = adze_sample_coin(r, 2);
}

const adze_op adze_op_adam = {.name = "adam",
                              .nin_min = 6,
                              .nin_max = 6,
                              .nout = 3,
                              .flags = ADZE_OP_UPDATE | ADZE_OP_NOGRAD,
                              .attrs = ADAM_ATTRS,
                              .attrs_size = sizeof(adze_adam_attrs),
                              .doc = "m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps);\n"
                                     "before: g += wd w, or (decoupled) w -= lr wd w; inputs w, m, v, g, lr, t (rank 0, f64; t >= 1); outputs w, m, v",
                              .infer = infer_adam,
                              .cost = cost_adam,
                              .ref = ref_adam,
                              .sample = sample_adam};

adze_val adze_adam(adze_graph *g, adze_val w, adze_val m, adze_val v, adze_val grad, adze_val lr, adze_val t, const adze_adam_attrs *a) {
    return adze_apply(g, &adze_op_adam, (adze_val[]){w, m, v, grad, lr, t}, 6, a, NULL);
}

/* -- ema, accumulate -------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field EMA_ATTRS[] = {ADZE_ATTR_DEF(adze_ema_attrs, decay, ADZE_F_F64, "0.999", "part of the slot that stays"), ADZE_ATTR_END};

static int infer_ema(adze_sig *s) {
    TRY(check_factor(s, "decay", ((const adze_ema_attrs *)s->attrs)->decay, 1.0));
    return check_tensors(s, 2);
}

static int infer_accumulate(adze_sig *s) {
    return check_tensors(s, 2);
}

static void ref_ema(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const double decay = ((const adze_ema_attrs *)s->attrs)->decay;
    const int64_t n = adze_view_count(&s->out[0]);
    for (int64_t i = 0; i < n; i++) {
        adze_put(&s->out[0], i, decay * adze_at(&s->in[0], i) + (1.0 - decay) * adze_at(&s->in[1], i));
    }
}

static void ref_accumulate(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const int64_t n = adze_view_count(&s->out[0]);
    for (int64_t i = 0; i < n; i++) {
        adze_put(&s->out[0], i, adze_at(&s->in[0], i) + adze_at(&s->in[1], i));
    }
}

static adze_cost cost_ema(const adze_sig *s) {
    return adze_cost_of(s, 3.0 * (double)adze_type_count(&s->in[0]));
}

static void sample_ema(adze_rng *r, adze_case *c) {
    adze_ema_attrs *p = c->attrs;
    sample_update(r, c, 2, 0);
    p->decay = adze_sample_coin(r, 6) ? 0.0 : adze_sample_coin(r, 6) ? 1.0 : adze_rng_uniform(r);
}

static void sample_accumulate(adze_rng *r, adze_case *c) {
    sample_update(r, c, 2, 0);
}

const adze_op adze_op_ema = {.name = "ema",
                             .nin_min = 2,
                             .nin_max = 2,
                             .nout = 1,
                             .flags = ADZE_OP_UPDATE | ADZE_OP_NOGRAD,
                             .attrs = EMA_ATTRS,
                             .attrs_size = sizeof(adze_ema_attrs),
                             .doc = "slot = decay slot + (1 - decay) v; inputs slot, v",
                             .infer = infer_ema,
                             .cost = cost_ema,
                             .ref = ref_ema,
                             .sample = sample_ema};

const adze_op adze_op_accumulate = {.name = "accumulate",
                                    .nin_min = 2,
                                    .nin_max = 2,
                                    .nout = 1,
                                    .flags = ADZE_OP_UPDATE | ADZE_OP_NOGRAD,
                                    .doc = "slot += v; inputs slot, v",
                                    .infer = infer_accumulate,
                                    .ref = ref_accumulate,
                                    .sample = sample_accumulate};

adze_val adze_ema(adze_graph *g, adze_val slot, adze_val v, double decay) {
    const adze_ema_attrs p = {decay};
    return adze_apply(g, &adze_op_ema, (adze_val[]){slot, v}, 2, &p, NULL);
}

adze_val adze_accumulate(adze_graph *g, adze_val slot, adze_val v) {
    return adze_apply(g, &adze_op_accumulate, (adze_val[]){slot, v}, 2, NULL, NULL);
}
