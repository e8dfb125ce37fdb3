/* cast: from one dtype to another, elementwise. */
#include "core/dtype.h"
#include "op/record.h"

static const adze_field CAST_ATTRS[] = {ADZE_ATTR_DTYPE(adze_cast_attrs, dtype), ADZE_ATTR_END};

enum { CAST_SET = ADZE_SET_NUM | ADZE_SET_BOOL | 1 << ADZE_U8 | 1 << ADZE_I8 | 1 << ADZE_BF16 | 1 << ADZE_F16 };

static int infer_cast(adze_sig *s) {
    const adze_cast_attrs *p = s->attrs;
    TRY(adze_check_dtype(s, 0, "the input", CAST_SET));
    if (!adze_in_set(CAST_SET, (adze_dtype)p->dtype)) {
        return adze_op_fail(s, ADZE_ETYPE, "cannot convert to %s", adze_dtype_name((adze_dtype)p->dtype));
    }
    return adze_set_out(s, 0, (adze_dtype)p->dtype, s->in[0].rank, s->in[0].dims);
}

/* Derivatives pass through conversions between floating types only. */
static void vjp_cast(adze_adj *a) {
    adze_dtype from = adze_val_type(a->g, a->x[0]).dtype;
    if (a->t[0].id != 0 && adze_dtype_is_float(from)) {
        a->r[0] = adze_cast(a->g, a->t[0], from);
    }
}

static void jvp_cast(adze_adj *a) {
    const adze_cast_attrs *p = a->attrs;
    if (a->t[0].id != 0 && adze_dtype_is_float((adze_dtype)p->dtype)) {
        a->r[0] = adze_cast(a->g, a->t[0], (adze_dtype)p->dtype);
    }
}

static void ref_cast(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *x = &s->in[0], *y = &s->out[0];
    bool exact = !adze_dtype_is_float(x->dtype) && !adze_dtype_is_float(y->dtype);
    adze_walk w;
    for (adze_walk_begin(&w, x, 1); w.i < w.count; adze_walk_next(&w)) {
        const void *from = adze_view_at(x, w.off[0]);
        void *to = adze_view_at(y, w.i);
        if (exact) {
            int64_t v;
            adze_dtype_load_int(x->dtype, from, 1, 1, &v);
            adze_dtype_store_int(y->dtype, to, 1, 1, &v);
        } else {
            double v = adze_dtype_nearest(x->dtype, from);
            if (y->dtype != ADZE_F64) { /* not the nearest double, but one that rounds once more without harm */
                adze_dtype_load(x->dtype, from, 1, 1, &v);
            }
            adze_dtype_store(y->dtype, to, 1, 1, &v);
        }
    }
}

static uint32_t inplace_cast(const adze_sig *s) {
    return adze_dtype_size(s->in[0].dtype) == adze_dtype_size(s->out[0].dtype);
}

static void sample_cast(adze_rng *r, adze_case *c) {
    adze_cast_attrs *p = c->attrs;
    bool plain = adze_sample_coin(r, 2); /* f64 to f64: the case that finite differences can judge */
    adze_dtype from = plain ? c->dtype : adze_sample_any(r, CAST_SET);
    p->dtype = (int32_t)(plain ? c->dtype : adze_sample_any(r, CAST_SET));
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, from, 0, 4, 0);
    c->dom[0] = from == ADZE_BOOL ? adze_dom_ids(0, 2) : from == ADZE_U8 ? adze_dom_ids(0, 9) : adze_dom_ids(-9, 10);
    if (adze_dtype_is_float(from)) {
        c->dom[0] = adze_dom_range(-2.0, 2.0);
        c->dom[0].constant = !plain; /* narrow results are steps: not for differences */
    }
}

const adze_op adze_op_cast = {.name = "cast",
                              ADZE_ARITY(1, 1),
                              .flags = ADZE_OP_MAP | ADZE_OP_STRIDED,
                              ADZE_ATTRS(CAST_ATTRS, adze_cast_attrs),
                              .doc = "y = x in another dtype; to integers: truncated, saturated, NaN becomes 0",
                              .infer = infer_cast,
                              .vjp = vjp_cast,
                              .jvp = jvp_cast,
                              .inplace = inplace_cast,
                              .cost = adze_cost_move,
                              .ref = ref_cast,
                              .sample = sample_cast};

adze_val adze_cast(adze_graph *g, adze_val x, adze_dtype to) {
    adze_cast_attrs p = {(int32_t)to};
    return adze_val_type(g, x).dtype == to ? x : adze_apply(g, &adze_op_cast, &x, 1, &p, NULL);
}
