/* Elementwise ops with attributes or with inputs of different dtypes: copy, scale, clip, cast, where. */
#include "op/record.h"

/* -- copy: also how the plan makes a strided value contiguous ----------------------------------------------------------------------------- */

static int infer_copy(adze_sig *s) {
    return adze_set_like(s, 0, 0);
}

static void vjp_copy(adze_adj *a) {
    a->r[0] = a->t[0];
}

static void ref_copy(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    adze_view_copy(s->out[0].data, &s->in[0]);
}

static void sample_copy(adze_rng *r, adze_case *c) {
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_ANY), 0, 4, 0);
}

const adze_op adze_op_copy = {.name = "copy",
                              ADZE_ARITY(1, 1),
                              .flags = ADZE_OP_MAP | ADZE_OP_LINEAR | ADZE_OP_STRIDED,
                              .doc = "y = x, in memory of its own; any dtype",
                              .infer = infer_copy,
                              .vjp = vjp_copy,
                              .cost = adze_cost_move,
                              .ref = ref_copy,
                              .sample = sample_copy};

adze_val adze_copy(adze_graph *g, adze_val x) {
    return adze_apply(g, &adze_op_copy, &x, 1, NULL, NULL);
}

/* -- scale ------------------------------------------------------------------------------------------------------------------------------------ */

static const adze_field SCALE_ATTRS[] = {ADZE_ATTR_DEF(adze_scale_attrs, a, ADZE_F_F64, "1", "factor"),
                                         ADZE_ATTR(adze_scale_attrs, b, ADZE_F_F64, "summand"), ADZE_ATTR_END};

static int infer_scale(adze_sig *s) {
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_F));
    return adze_set_like(s, 0, 0);
}

static void vjp_scale(adze_adj *a) { /* the Jacobian is diagonal: jvp too */
    const adze_scale_attrs *p = a->attrs;
    if (a->t[0].id != 0) {
        a->r[0] = adze_scale(a->g, a->t[0], p->a, 0.0);
    }
}

static void ref_scale(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_scale_attrs *p = s->attrs;
    adze_dtype d = s->in[0].dtype;
    adze_walk w;
    for (adze_walk_begin(&w, s->in, 1); w.i < w.count; adze_walk_next(&w)) {
        adze_store_f(s->out[0].data, d, w.i, p->a * adze_load_f(s->in[0].data, d, w.off[0]) + p->b);
    }
}

static void sample_scale(adze_rng *r, adze_case *c) {
    adze_scale_attrs *p = c->attrs;
    p->a = 4.0 * adze_rng_uniform(r) - 2.0;
    p->b = adze_sample_coin(r, 2) ? 0.0 : 4.0 * adze_rng_uniform(r) - 2.0;
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_F), 0, 4, 0);
    c->dom[0] = adze_dom_range(-2.0, 2.0);
}

const adze_op adze_op_scale = {.name = "scale",
                               ADZE_ARITY(1, 1),
                               .flags = ADZE_OP_MAP | ADZE_OP_STRIDED,
                               ADZE_ATTRS(SCALE_ATTRS, adze_scale_attrs),
                               .doc = "y = a x + b with constants a, b",
                               .infer = infer_scale,
                               .vjp = vjp_scale,
                               .jvp = vjp_scale,
                               .ref = ref_scale,
                               .sample = sample_scale};

adze_val adze_scale(adze_graph *g, adze_val x, double a, double b) {
    adze_scale_attrs p = {a, b};
    return adze_apply(g, &adze_op_scale, &x, 1, &p, NULL);
}

/* -- clip ---------------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field CLIP_ATTRS[] = {ADZE_ATTR_DEF(adze_clip_attrs, lo, ADZE_F_F64, "-1", "lower bound"),
                                        ADZE_ATTR_DEF(adze_clip_attrs, hi, ADZE_F_F64, "1", "upper bound"), ADZE_ATTR_END};

static int infer_clip(adze_sig *s) {
    const adze_clip_attrs *p = s->attrs;
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_F));
    if (!(p->lo <= p->hi)) {
        return adze_op_fail(s, ADZE_EARG, "the bounds %g and %g are not in order", p->lo, p->hi);
    }
    return adze_set_like(s, 0, 0);
}

static adze_val part_clip(adze_adj *a, int i) { /* 1 where the value went through, the bounds included */
    (void)i;
    return adze_cast(a->g, adze_eq(a->g, a->x[0], a->y[0]), adze_val_type(a->g, a->x[0]).dtype);
}

static void ref_clip(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_clip_attrs *p = s->attrs;
    adze_dtype d = s->in[0].dtype;
    adze_walk w;
    for (adze_walk_begin(&w, s->in, 1); w.i < w.count; adze_walk_next(&w)) {
        double x = adze_load_f(s->in[0].data, d, w.off[0]);
        adze_store_f(s->out[0].data, d, w.i, x < p->lo ? p->lo : x > p->hi ? p->hi : x);
    }
}

static void sample_clip(adze_rng *r, adze_case *c) {
    adze_clip_attrs *p = c->attrs;
    p->lo = -1.5 + adze_rng_uniform(r);
    p->hi = 0.5 + adze_rng_uniform(r);
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_F), 0, 4, 0);
    c->dom[0] = adze_dom_kink(p->lo, p->hi - p->lo, 0.05); /* both bounds lie on this grid */
    if (adze_sample_coin(r, 4)) {
        p->lo = -(double)INFINITY;
        c->dom[0] = adze_dom_kink(p->hi, 0.0, 0.05);
    } else if (adze_sample_coin(r, 4)) {
        p->hi = (double)INFINITY;
        c->dom[0] = adze_dom_kink(p->lo, 0.0, 0.05);
    }
}

const adze_op adze_op_clip = {.name = "clip",
                              ADZE_ARITY(1, 1),
                              .flags = ADZE_OP_MAP | ADZE_OP_STRIDED,
                              ADZE_ATTRS(CLIP_ATTRS, adze_clip_attrs),
                              .doc = "y = min(max(x, lo), hi) (NaN stays); derivative 1 from lo to hi, both included, else 0",
                              .infer = infer_clip,
                              .partial = part_clip,
                              .ref = ref_clip,
                              .sample = sample_clip};

adze_val adze_clip(adze_graph *g, adze_val x, double lo, double hi) {
    adze_clip_attrs p = {lo, hi};
    return adze_apply(g, &adze_op_clip, &x, 1, &p, NULL);
}

/* -- where --------------------------------------------------------------------------------------------------------------------------------------- */

static int infer_where(adze_sig *s) {
    TRY(adze_check_dtype(s, 0, "the condition", ADZE_SET_BOOL));
    TRY(adze_check_same_dtype(s, 1, 2));
    if (!adze_same_dims(&s->in[0], &s->in[1]) || !adze_same_dims(&s->in[1], &s->in[2])) {
        return adze_op_fail(s, ADZE_ESHAPE, "the condition %s and the values %s and %s do not fit together", ADZE_SHOWN(&s->in[0]),
                            ADZE_SHOWN(&s->in[1]), ADZE_SHOWN(&s->in[2]));
    }
    return adze_set_like(s, 0, 1);
}

static void vjp_where(adze_adj *a) {
    adze_graph *g = a->g;
    adze_val zero = adze_zeros_like(g, a->t[0]);
    if (a->need[1]) {
        a->r[1] = adze_where(g, a->x[0], a->t[0], zero);
    }
    if (a->need[2]) {
        a->r[2] = adze_where(g, a->x[0], zero, a->t[0]);
    }
}

static void ref_where(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const uint8_t *cond = s->in[0].data;
    size_t size = adze_dtype_size(s->out[0].dtype);
    adze_walk w;
    for (adze_walk_begin(&w, s->in, 3); w.i < w.count; adze_walk_next(&w)) {
        int k = cond[w.off[0]] ? 1 : 2;
        memmove((char *)s->out[0].data + (size_t)w.i * size, (const char *)s->in[k].data + w.off[k] * (int64_t)size, size); /* may be in place */
    }
}

static void sample_where(adze_rng *r, adze_case *c) {
    c->nin = 3;
    c->in[0] = adze_sample_type(r, c, ADZE_BOOL, 0, 4, 0);
    c->in[1] = c->in[2] = c->in[0];
    c->in[1].dtype = c->in[2].dtype = adze_sample_dtype(r, c, ADZE_SET_ANY);
    c->dom[0] = adze_dom_ids(0, 2);
}

const adze_op adze_op_where = {.name = "where",
                               ADZE_ARITY(3, 1),
                               .flags = ADZE_OP_MAP | ADZE_OP_LINEAR | ADZE_OP_STRIDED,
                               .doc = "y = a where cond, else b (inputs cond, a, b; cond: bool; any dtype)",
                               .infer = infer_where,
                               .vjp = vjp_where,
                               .ref = ref_where,
                               .sample = sample_where};

adze_val adze_where(adze_graph *g, adze_val cond, adze_val a, adze_val b) {
    adze_val in[3] = {cond, a, b};
    adze_broadcast_all(g, in, 3);
    return adze_apply(g, &adze_op_where, in, 3, NULL, NULL);
}
