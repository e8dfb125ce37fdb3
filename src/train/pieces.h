/* What the rows of the optimisers' table are written with: pieces of an update of one parameter. */
#ifndef ADZE_SRC_PIECES_H
#define ADZE_SRC_PIECES_H

#include "train/optimizer.h"

/* A number of the step in the parameter's type. */
static inline adze_val number(const adze_opt_param *p, adze_val v) {
    const adze_dtype d = adze_val_type(p->g, p->w).dtype;
    return d == ADZE_F64 ? v : adze_cast(p->g, v, d);
}
static inline adze_val constant(const adze_opt_param *p, double v) {
    return adze_scalar(p->g, adze_val_type(p->g, p->w).dtype, v);
}
static inline adze_val mix(const adze_opt_param *p, double share, adze_val old, adze_val now) { /* share old + (1 - share) now */
    return adze_add(p->g, adze_scale(p->g, old, share, 0), adze_scale(p->g, now, 1 - share, 0));
}
static inline adze_val penalised(const adze_opt_param *p) { /* the gradient with that of the L2 penalty */
    return p->l2 > 0 ? adze_add(p->g, p->grad, adze_scale(p->g, p->w, p->l2, 0)) : p->grad;
}
static inline void keep(const adze_opt_param *p, int slot, adze_val v) {
    adze_assign(p->g, p->slot[slot], v);
}
/* w -= lr (step + decay w) */
static inline void descend(const adze_opt_param *p, adze_val step) {
    if (p->decay > 0) {
        step = adze_add(p->g, step, adze_scale(p->g, p->w, p->decay, 0));
    }
    adze_assign(p->g, p->w, adze_sub(p->g, p->w, adze_mul(p->g, number(p, p->lr), step)));
}
static inline adze_val norm(const adze_opt_param *p, adze_val x) {
    return adze_sqrt(p->g, adze_sum(p->g, adze_square(p->g, x), NULL, 0, false));
}
/* a / b where both are positive, else `otherwise` */
static inline adze_val ratio(const adze_opt_param *p, adze_val a, adze_val b, double otherwise) {
    const adze_val zero = constant(p, 0);
    return adze_where(p->g, adze_gt(p->g, adze_mul(p->g, a, b), zero), adze_div(p->g, a, b), constant(p, otherwise));
}

typedef struct moments {
    adze_val g, m, v;
} moments;

static inline moments moments_of(const adze_opt_param *p) {
    moments a = {.g = penalised(p)};
    a.m = mix(p, p->o->beta1, p->slot[0], a.g);
    a.v = mix(p, p->o->beta2, p->slot[1], adze_square(p->g, a.g));
    keep(p, 0, a.m);
    keep(p, 1, a.v);
    return a;
}

static inline adze_val times(const adze_opt_param *p, adze_val x, int factor) {
    return adze_mul(p->g, x, number(p, p->factor[factor]));
}

/* sqrt(v c) + eps, where c is the factor */
static inline adze_val divisor(const adze_opt_param *p, adze_val v, int factor) {
    return adze_scale(p->g, adze_sqrt(p->g, times(p, v, factor)), 1, p->o->eps);
}

#endif
