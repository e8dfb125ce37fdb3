/* Selection along one axis: topk, and the pair take_along and scatter_along, which are each other's adjoints. */
#include "op/record.h"

/* -- topk ---------------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field TOPK_ATTRS[] = {ADZE_ATTR(adze_topk_attrs, axis, ADZE_F_I64, "the axis to select along"),
                                        ADZE_ATTR_DEF(adze_topk_attrs, k, ADZE_F_I64, "1", "how many"),
                                        ADZE_ATTR(adze_topk_attrs, smallest, ADZE_F_BOOL, "the smallest instead of the largest"), ADZE_ATTR_END};

static int infer_topk(adze_sig *s) {
    const adze_topk_attrs *p = s->attrs;
    int64_t dims[ADZE_MAX_RANK];
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_NUM));
    TRY(adze_check_axis(s, p->axis, s->in[0].rank));
    int axis = (int)adze_axis(p->axis, s->in[0].rank);
    memcpy(dims, s->in[0].dims, sizeof dims);
    if (p->k < 0 || p->k > dims[axis]) {
        return adze_op_fail(s, ADZE_ESHAPE, "k is %lld, but axis %d has size %lld", (long long)p->k, axis, (long long)dims[axis]);
    }
    dims[axis] = p->k;
    TRY(adze_set_out(s, 0, s->in[0].dtype, s->in[0].rank, dims));
    return adze_set_out(s, 1, ADZE_I64, s->in[0].rank, dims);
}

static void vjp_topk(adze_adj *a) {
    const adze_topk_attrs *p = a->attrs;
    adze_type x = adze_val_type(a->g, a->x[0]);
    int axis = (int)adze_axis(p->axis, x.rank);
    if (a->t[0].id != 0) {
        a->r[0] = adze_scatter_along(a->g, a->t[0], a->y[1], axis, x.dims[axis]);
    }
}

static void jvp_topk(adze_adj *a) {
    const adze_topk_attrs *p = a->attrs;
    if (a->t[0].id != 0) {
        a->r[0] = adze_take_along(a->g, a->t[0], a->y[1], (int)p->axis);
    }
}

/* A total order: by value, NaN above all numbers, equal values by index. Does i come before j? */
static bool before(const adze_view *x, int64_t base, int64_t stride, int64_t i, int64_t j, bool smallest) {
    int64_t at = base + i * stride, bt = base + j * stride;
    int order; /* of the values: -1, 0, 1 */
    if (adze_dtype_is_float(x->dtype)) {
        double a = adze_load_f(x->data, x->dtype, at), b = adze_load_f(x->data, x->dtype, bt);
        order = isnan(a) || isnan(b) ? (isnan(a) != 0) - (isnan(b) != 0) : (a > b) - (a < b);
    } else {
        int64_t a = adze_load_i(x->data, x->dtype, at), b = adze_load_i(x->data, x->dtype, bt);
        order = (a > b) - (a < b);
    }
    return order == 0 ? i < j : smallest ? order < 0 : order > 0;
}

/* Each next element is the first, in the total order, of those behind the last one: no memory needed, and n k comparisons are few enough here. */
static void ref_topk(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_topk_attrs *p = s->attrs;
    const adze_view *x = &s->in[0];
    const adze_lines l = adze_lines_of(x, p->axis);
    size_t size = adze_dtype_size(x->dtype);
    int64_t *ids = s->out[1].data;
    if (adze_view_empty(&s->out[0])) {
        return;
    }
    for (int64_t line = 0; line < l.outer * l.inner; line++) {
        int64_t o = line / l.inner, base = adze_line_start(&l, line), last = -1;
        for (int64_t j = 0; j < p->k; j++) {
            int64_t best = -1;
            for (int64_t i = 0; i < l.n; i++) {
                bool behind = last < 0 || before(x, base, l.inner, last, i, p->smallest);
                if (behind && (best < 0 || before(x, base, l.inner, i, best, p->smallest))) {
                    best = i;
                }
            }
            int64_t to = (o * p->k + j) * l.inner + line % l.inner;
            ids[to] = last = best;
            memcpy((char *)s->out[0].data + (size_t)to * size, (const char *)x->data + (size_t)(base + best * l.inner) * size, size);
        }
    }
}

static adze_cost cost_topk(const adze_sig *s) {
    const adze_topk_attrs *p = s->attrs;
    return adze_cost_of(s, (double)adze_type_count(&s->in[0]) * (double)p->k);
}

static void sample_topk(adze_rng *r, adze_case *c) {
    adze_topk_attrs *p = c->attrs;
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_NUM), 1, 3, 0);
    c->dom[0] = adze_dtype_is_float(c->in[0].dtype) ? adze_dom_distinct() : adze_dom_ids(-3, 4);
    p->axis = adze_rng_range(r, -c->in[0].rank, c->in[0].rank - 1);
    p->k = adze_rng_range(r, 0, c->in[0].dims[adze_axis(p->axis, c->in[0].rank)]);
    p->smallest = adze_sample_coin(r, 2);
}

const adze_op adze_op_topk = {.name = "topk",
                              ADZE_ARITY(1, 2),
                              ADZE_ATTRS(TOPK_ATTRS, adze_topk_attrs),
                              .doc = "y, ids = the k largest (smallest) elements along the axis in order, and their indices (i64); ties: lower index "
                                     "first; NaN counts as above all numbers",
                              .infer = infer_topk,
                              .vjp = vjp_topk,
                              .jvp = jvp_topk,
                              .cost = cost_topk,
                              .ref = ref_topk,
                              .sample = sample_topk};

adze_val adze_topk(adze_graph *g, adze_val x, int axis, int64_t k, bool smallest, adze_val *ids) {
    const adze_topk_attrs p = {.axis = adze_axis(axis, adze_val_type(g, x).rank), .k = k, .smallest = smallest};
    adze_val outs[2] = {{0}, {0}};
    adze_apply(g, &adze_op_topk, &x, 1, &p, outs);
    adze_give(ids, outs[1]);
    return outs[0];
}

/* -- take_along ---------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field AXIS_ATTRS[] = {ADZE_ATTR(adze_axis_attrs, axis, ADZE_F_I64, "the axis that the indices name"), ADZE_ATTR_END};

static bool equal_but_for(const adze_type *a, const adze_type *b, int axis) {
    for (int d = 0; d < a->rank; d++) {
        if (d != axis && d < b->rank && a->dims[d] != b->dims[d]) {
            return false;
        }
    }
    return a->rank == b->rank;
}

static int infer_take_along(adze_sig *s) {
    const adze_axis_attrs *p = s->attrs;
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_NUM));
    TRY(adze_check_dtype(s, 1, "ids", ADZE_SET_ID));
    TRY(adze_check_axis(s, p->axis, s->in[0].rank));
    int axis = (int)adze_axis(p->axis, s->in[0].rank);
    if (!equal_but_for(&s->in[0], &s->in[1], axis)) {
        return adze_op_fail(s, ADZE_ESHAPE, "but for axis %d, ids %s must have the shape of the input %s", axis, ADZE_SHOWN(&s->in[1]),
                            ADZE_SHOWN(&s->in[0]));
    }
    return adze_set_out(s, 0, s->in[0].dtype, s->in[1].rank, s->in[1].dims);
}

static void vjp_take_along(adze_adj *a) {
    const adze_axis_attrs *p = a->attrs;
    adze_type x = adze_val_type(a->g, a->x[0]);
    int axis = (int)adze_axis(p->axis, x.rank);
    if (a->need[0]) {
        a->r[0] = adze_scatter_along(a->g, a->t[0], a->x[1], axis, x.dims[axis]);
    }
}

static void ref_take_along(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *x = &s->in[0], *ids = &s->in[1];
    const int64_t axis = ((const adze_axis_attrs *)s->attrs)->axis;
    const adze_lines l = adze_lines_of(x, axis), m = adze_lines_of(ids, axis);
    size_t size = adze_dtype_size(x->dtype);
    int64_t n = adze_view_count(ids);
    for (int64_t i = 0; i < n; i++) {
        int64_t id = adze_load_i(ids->data, ids->dtype, i);
        char *to = (char *)s->out[0].data + (size_t)i * size;
        if (id >= 0 && id < l.n) {
            int64_t from = (i / (m.n * m.inner) * l.n + id) * l.inner + i % m.inner;
            memcpy(to, (const char *)x->data + (size_t)from * size, size);
        } else {
            memset(to, 0, size);
        }
    }
}

static void sample_take_along(adze_rng *r, adze_case *c) {
    adze_axis_attrs *p = c->attrs;
    c->nin = 2;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_NUM), 1, 3, 0);
    p->axis = adze_rng_range(r, -c->in[0].rank, c->in[0].rank - 1);
    int axis = (int)adze_axis(p->axis, c->in[0].rank);
    c->in[1] = c->in[0];
    c->in[1].dtype = adze_sample_any(r, ADZE_SET_ID);
    c->in[1].dims[axis] = adze_rng_range(r, 0, 4);
    c->dom[0] = adze_dom_range(-2.0, 2.0);
    c->dom[1] = adze_dom_ids(-1, c->in[0].dims[axis] + 1);
}

const adze_op adze_op_take_along = {.name = "take_along",
                                    ADZE_ARITY(2, 1),
                                    .flags = ADZE_OP_LINEAR,
                                    ADZE_ATTRS(AXIS_ATTRS, adze_axis_attrs),
                                    .doc = "y[..., i, ...] = x[..., ids[..., i, ...], ...] along the axis; an id out of range reads 0",
                                    .infer = infer_take_along,
                                    .vjp = vjp_take_along,
                                    .cost = adze_cost_move,
                                    .ref = ref_take_along,
                                    .sample = sample_take_along};

adze_val adze_take_along(adze_graph *g, adze_val x, adze_val ids, int axis) {
    adze_axis_attrs p = {adze_axis(axis, adze_val_type(g, x).rank)};
    return adze_apply(g, &adze_op_take_along, (adze_val[]){x, ids}, 2, &p, NULL);
}

/* -- scatter_along ------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field SCATTER_ATTRS[] = {ADZE_ATTR(adze_scatter_attrs, axis, ADZE_F_I64, "the axis that the indices name"),
                                           ADZE_ATTR(adze_scatter_attrs, size, ADZE_F_I64, "its size in the result"), ADZE_ATTR_END};

static int infer_scatter_along(adze_sig *s) {
    const adze_scatter_attrs *p = s->attrs;
    int64_t dims[ADZE_MAX_RANK];
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_NUM));
    TRY(adze_check_dtype(s, 1, "ids", ADZE_SET_ID));
    TRY(adze_check_axis(s, p->axis, s->in[0].rank));
    if (!adze_same_dims(&s->in[0], &s->in[1])) {
        return adze_op_fail(s, ADZE_ESHAPE, "ids %s must have the shape of the input %s", ADZE_SHOWN(&s->in[1]), ADZE_SHOWN(&s->in[0]));
    }
    memcpy(dims, s->in[0].dims, sizeof dims);
    dims[adze_axis(p->axis, s->in[0].rank)] = p->size;
    return adze_set_out(s, 0, s->in[0].dtype, s->in[0].rank, dims);
}

static void vjp_scatter_along(adze_adj *a) {
    const adze_scatter_attrs *p = a->attrs;
    if (a->need[0]) {
        a->r[0] = adze_take_along(a->g, a->t[0], a->x[1], (int)p->axis);
    }
}

/* Adds in row-major order of the input. */
static void ref_scatter_along(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *x = &s->in[0], *ids = &s->in[1], *y = &s->out[0];
    const int64_t axis = ((const adze_scatter_attrs *)s->attrs)->axis;
    const adze_lines l = adze_lines_of(y, axis), m = adze_lines_of(ids, axis);
    int64_t n = adze_view_count(ids);
    memset(y->data, 0, (size_t)adze_view_count(y) * adze_dtype_size(y->dtype));
    for (int64_t i = 0; i < n; i++) {
        int64_t id = adze_load_i(ids->data, ids->dtype, i);
        if (id >= 0 && id < l.n) {
            adze_add_element(y, (i / (m.n * m.inner) * l.n + id) * l.inner + i % m.inner, x, i);
        }
    }
}

static void sample_scatter_along(adze_rng *r, adze_case *c) {
    adze_scatter_attrs *p = c->attrs;
    c->nin = 2;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_NUM), 1, 3, 0);
    c->in[1] = c->in[0];
    c->in[1].dtype = adze_sample_any(r, ADZE_SET_ID);
    p->axis = adze_rng_range(r, -c->in[0].rank, c->in[0].rank - 1);
    p->size = adze_rng_range(r, 0, 5);
    c->dom[0] = adze_dom_range(-2.0, 2.0);
    c->dom[1] = adze_dom_ids(-1, p->size + 1);
}

const adze_op adze_op_scatter_along = {.name = "scatter_along",
                                       ADZE_ARITY(2, 1),
                                       .flags = ADZE_OP_LINEAR,
                                       ADZE_ATTRS(SCATTER_ATTRS, adze_scatter_attrs),
                                       .doc =
                                           "y = zeros, then y[..., ids[..., i, ...], ...] += x[..., i, ...] along the axis; an id out of range adds "
                                           "nothing; the adjoint of take_along",
                                       .infer = infer_scatter_along,
                                       .vjp = vjp_scatter_along,
                                       .cost = adze_cost_input,
                                       .ref = ref_scatter_along,
                                       .sample = sample_scatter_along};

adze_val adze_scatter_along(adze_graph *g, adze_val y, adze_val ids, int axis, int64_t size) {
    adze_scatter_attrs p = {adze_axis(axis, adze_val_type(g, y).rank), size};
    return adze_apply(g, &adze_op_scatter_along, (adze_val[]){y, ids}, 2, &p, NULL);
}
