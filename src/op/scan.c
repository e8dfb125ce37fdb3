/* Ops along one axis: argmax, argmin and cumsum. */
#include "op/record.h"

/* -- argmax, argmin ---------------------------------------------------------------------------------------------------------------------------- */

static const adze_field AXIS_ATTRS[] = {ADZE_ATTR(adze_axis_attrs, axis, ADZE_F_I64, "the axis that goes"), ADZE_ATTR_END};

static int infer_arg(adze_sig *s) {
    const adze_axis_attrs *p = s->attrs;
    const adze_type *x = &s->in[0];
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_NUM));
    TRY(adze_check_axis(s, p->axis, x->rank));
    int axis = (int)adze_axis(p->axis, x->rank), rank = 0;
    int64_t dims[ADZE_MAX_RANK];
    if (x->dims[axis] == 0) {
        return adze_op_fail(s, ADZE_ESHAPE, "axis %d has size 0, and an empty set has no %s", axis, s->op->name);
    }
    for (int d = 0; d < x->rank; d++) {
        if (d != axis) {
            dims[rank++] = x->dims[d];
        }
    }
    return adze_set_out(s, 0, ADZE_I64, rank, dims);
}

/* Does element i come before element j? NaN comes before all, as it wins in reduce_max and reduce_min. */
static bool wins(const adze_view *x, int64_t i, int64_t j, bool largest) {
    if (adze_dtype_is_float(x->dtype)) {
        double a = adze_load_f(x->data, x->dtype, i), b = adze_load_f(x->data, x->dtype, j);
        return !isnan(b) && (isnan(a) || (largest ? a > b : a < b));
    }
    int64_t a = adze_load_i(x->data, x->dtype, i), b = adze_load_i(x->data, x->dtype, j);
    return largest ? a > b : a < b;
}

static void run_arg(const adze_step *s, bool largest) {
    const adze_view *x = &s->in[0];
    const adze_lines l = adze_lines_of(x, ((const adze_axis_attrs *)s->attrs)->axis);
    int64_t *y = s->out[0].data;
    if (adze_view_empty(&s->out[0])) {
        return;
    }
    for (int64_t line = 0; line < l.outer * l.inner; line++) {
        int64_t base = adze_line_start(&l, line), best = 0;
        for (int64_t k = 1; k < l.n; k++) {
            best = wins(x, base + k * l.inner, base + best * l.inner, largest) ? k : best;
        }
        y[line] = best;
    }
}

static void ref_argmax(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    run_arg(s, true);
}

static void ref_argmin(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    run_arg(s, false);
}

static void sample_arg(adze_rng *r, adze_case *c) {
    adze_axis_attrs *p = c->attrs;
    adze_dtype d = adze_sample_coin(r, 3) ? adze_sample_any(r, ADZE_SET_ID) : adze_sample_dtype(r, c, ADZE_SET_NUM);
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, d, 1, 4, 1);
    c->dom[0] = adze_dtype_is_float(d) ? adze_dom_range(-2.0, 2.0) : adze_dom_ids(-3, 4);
    p->axis = adze_rng_range(r, -c->in[0].rank, c->in[0].rank - 1);
}

#define ARG(name_, doc_)                                                                                                                             \
    const adze_op adze_op_##name_ = {.name = #name_,                                                                                                 \
                                     ADZE_ARITY(1, 1),                                                                                               \
                                     .flags = ADZE_OP_NOGRAD,                                                                                        \
                                     ADZE_ATTRS(AXIS_ATTRS, adze_axis_attrs),                                                                        \
                                     .doc = doc_,                                                                                                    \
                                     .infer = infer_arg,                                                                                             \
                                     .cost = adze_cost_input,                                                                                        \
                                     .ref = ref_##name_,                                                                                             \
                                     .sample = sample_arg};                                                                                          \
    adze_val adze_##name_(adze_graph *g, adze_val x, int axis) {                                                                                     \
        adze_axis_attrs p = {adze_axis(axis, adze_val_type(g, x).rank)};                                                                             \
        return adze_apply(g, &adze_op_##name_, &x, 1, &p, NULL);                                                                                     \
    }

ARG(argmax, "y = index of the largest x along the axis, i64; the first on ties; NaN counts as the largest")
ARG(argmin, "y = index of the smallest x along the axis, i64; the first on ties; NaN counts as the smallest")

/* -- cumsum -------------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field CUMSUM_ATTRS[] = {ADZE_ATTR(adze_cumsum_attrs, axis, ADZE_F_I64, "the axis to sum along"),
                                          ADZE_ATTR(adze_cumsum_attrs, reverse, ADZE_F_BOOL, "from the end"),
                                          ADZE_ATTR(adze_cumsum_attrs, exclusive, ADZE_F_BOOL, "without the element itself"), ADZE_ATTR_END};

static int infer_cumsum(adze_sig *s) {
    const adze_cumsum_attrs *p = s->attrs;
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_NUM));
    TRY(adze_check_axis(s, p->axis, s->in[0].rank));
    return adze_set_like(s, 0, 0);
}

static void vjp_cumsum(adze_adj *a) {
    const adze_cumsum_attrs *p = a->attrs;
    a->r[0] = adze_cumsum(a->g, a->t[0], (int)p->axis, !p->reverse, p->exclusive);
}

/* Reads each element before it writes there: may run in place. */
static void ref_cumsum(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_cumsum_attrs *p = s->attrs;
    const adze_view *x = &s->in[0];
    const adze_lines l = adze_lines_of(x, p->axis);
    bool real = adze_dtype_is_float(x->dtype);
    if (adze_view_empty(&s->out[0])) {
        return;
    }
    for (int64_t line = 0; line < l.outer * l.inner; line++) {
        int64_t base = adze_line_start(&l, line);
        double sum = 0.0;
        uint64_t isum = 0;
        for (int64_t k = 0; k < l.n; k++) {
            int64_t at = base + (p->reverse ? l.n - 1 - k : k) * l.inner;
            if (real) {
                double before = sum;
                sum += adze_load_f(x->data, x->dtype, at);
                adze_store_f(s->out[0].data, x->dtype, at, p->exclusive ? before : sum);
            } else {
                uint64_t before = isum;
                isum += (uint64_t)adze_load_i(x->data, x->dtype, at);
                adze_store_i(s->out[0].data, x->dtype, at, (int64_t)(p->exclusive ? before : isum));
            }
        }
    }
}

static void sample_cumsum(adze_rng *r, adze_case *c) {
    adze_cumsum_attrs *p = c->attrs;
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_NUM), 1, 4, 0);
    c->dom[0] = adze_dom_range(-2.0, 2.0);
    p->axis = adze_rng_range(r, -c->in[0].rank, c->in[0].rank - 1);
    p->reverse = adze_sample_coin(r, 2);
    p->exclusive = adze_sample_coin(r, 2);
}

const adze_op adze_op_cumsum = {.name = "cumsum",
                                ADZE_ARITY(1, 1),
                                .flags = ADZE_OP_LINEAR,
                                ADZE_ATTRS(CUMSUM_ATTRS, adze_cumsum_attrs),
                                .doc =
                                    "y[i] = sum of x[k], k <= i, along the axis (exclusive: k < i; reverse: k >= i or k > i); integers wrap around",
                                .infer = infer_cumsum,
                                .vjp = vjp_cumsum,
                                .inplace = adze_inplace_first,
                                .ref = ref_cumsum,
                                .sample = sample_cumsum};

adze_val adze_cumsum(adze_graph *g, adze_val x, int axis, bool reverse, bool exclusive) {
    const adze_cumsum_attrs p = {.axis = adze_axis(axis, adze_val_type(g, x).rank), .reverse = reverse, .exclusive = exclusive};
    return adze_apply(g, &adze_op_cumsum, &x, 1, &p, NULL);
}
