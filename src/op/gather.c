/* Ops that read and write by index: gather, scatter_add, one_hot. Indices come from data, so one that is out of range (a negative one too) is no
 * error: it reads zeros and writes nothing. */
#include "core/dtype.h"
#include "op/record.h"

enum { SET_MOVE = ADZE_SET_NUM };

static int64_t index_at(const adze_view *ids, int64_t i) {
    return adze_load_i(ids->data, ids->dtype, i);
}

/* -- gather ------------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field AXIS_ATTRS[] = {ADZE_ATTR(adze_axis_attrs, axis, ADZE_F_I64, "the axis that the indices name"), ADZE_ATTR_END};

static int infer_gather(adze_sig *s) {
    const adze_axis_attrs *p = s->attrs;
    const adze_type *x = &s->in[0], *ids = &s->in[1];
    TRY(adze_check_dtype(s, 0, "the input", SET_MOVE));
    TRY(adze_check_dtype(s, 1, "ids", ADZE_SET_ID));
    TRY(adze_check_axis(s, p->axis, x->rank));
    int axis = (int)adze_axis(p->axis, x->rank), rank = 0;
    int64_t dims[2 * ADZE_MAX_RANK];
    for (int d = 0; d < axis; d++) {
        dims[rank++] = x->dims[d];
    }
    for (int d = 0; d < ids->rank; d++) {
        dims[rank++] = ids->dims[d];
    }
    for (int d = axis + 1; d < x->rank; d++) {
        dims[rank++] = x->dims[d];
    }
    return adze_set_out(s, 0, x->dtype, rank, dims);
}

static void vjp_gather(adze_adj *a) {
    const adze_axis_attrs *p = a->attrs;
    adze_type x = adze_val_type(a->g, a->x[0]);
    int axis = (int)adze_axis(p->axis, x.rank);
    if (a->need[0]) {
        a->r[0] = adze_scatter_add(a->g, a->t[0], a->x[1], axis, x.dims[axis]);
    }
}

static void ref_gather(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *x = &s->in[0], *ids = &s->in[1];
    const adze_lines l = adze_lines_of(x, ((const adze_axis_attrs *)s->attrs)->axis);
    const int64_t m = adze_view_count(ids);
    const size_t row = (size_t)l.inner * adze_dtype_size(x->dtype);
    if (adze_view_empty(&s->out[0])) {
        return;
    }
    for (int64_t o = 0; o < l.outer; o++) {
        for (int64_t k = 0; k < m; k++) {
            int64_t id = index_at(ids, k);
            char *to = (char *)s->out[0].data + (size_t)(o * m + k) * row;
            if (id >= 0 && id < l.n) {
                memcpy(to, (const char *)x->data + (size_t)(o * l.n + id) * row, row);
            } else {
                memset(to, 0, row);
            }
        }
    }
}

static void sample_gather(adze_rng *r, adze_case *c) {
    adze_axis_attrs *p = c->attrs;
    c->nin = 2;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, SET_MOVE), 1, 3, 0);
    c->in[1] =
        adze_type_make(adze_sample_any(r, ADZE_SET_ID), (int)adze_rng_range(r, 0, 2), (int64_t[]){adze_rng_range(r, 0, 4), adze_rng_range(r, 1, 3)});
    p->axis = adze_rng_range(r, -c->in[0].rank, c->in[0].rank - 1);
    c->dom[0] = adze_dom_range(-2.0, 2.0);
    c->dom[1] = adze_dom_ids(-1, c->in[0].dims[adze_axis(p->axis, c->in[0].rank)] + 1); /* now and then out of range */
}

const adze_op adze_op_gather = {.name = "gather",
                                ADZE_ARITY(2, 1),
                                .flags = ADZE_OP_LINEAR,
                                ADZE_ATTRS(AXIS_ATTRS, adze_axis_attrs),
                                .doc = "y[a..., i..., b...] = x[a..., ids[i...], b...]: ids (I...) replace the axis; an id out of range reads 0",
                                .infer = infer_gather,
                                .vjp = vjp_gather,
                                .cost = adze_cost_move,
                                .ref = ref_gather,
                                .sample = sample_gather};

adze_val adze_gather(adze_graph *g, adze_val x, adze_val ids, int axis) {
    adze_axis_attrs p = {adze_axis(axis, adze_val_type(g, x).rank)};
    return adze_apply(g, &adze_op_gather, (adze_val[]){x, ids}, 2, &p, NULL);
}

/* -- scatter_add --------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field SCATTER_ATTRS[] = {ADZE_ATTR(adze_scatter_attrs, axis, ADZE_F_I64, "the axis that the indices name"),
                                           ADZE_ATTR(adze_scatter_attrs, size, ADZE_F_I64, "its size in the result"), ADZE_ATTR_END};

static int infer_scatter_add(adze_sig *s) {
    const adze_scatter_attrs *p = s->attrs;
    const adze_type *y = &s->in[0], *ids = &s->in[1];
    TRY(adze_check_dtype(s, 0, "the input", SET_MOVE));
    TRY(adze_check_dtype(s, 1, "ids", ADZE_SET_ID));
    int rank = y->rank - ids->rank + 1;
    if (rank < 1) {
        return adze_op_fail(s, ADZE_ESHAPE, "the input %s has fewer axes than ids %s", ADZE_SHOWN(y), ADZE_SHOWN(ids));
    }
    TRY(adze_check_axis(s, p->axis, rank));
    int axis = (int)adze_axis(p->axis, rank), n = 0;
    int64_t dims[ADZE_MAX_RANK + 1];
    for (int d = 0; d < ids->rank; d++) {
        if (y->dims[axis + d] != ids->dims[d]) {
            return adze_op_fail(s, ADZE_ESHAPE, "from axis %d on, the input %s must have the shape of ids %s", axis, ADZE_SHOWN(y), ADZE_SHOWN(ids));
        }
    }
    for (int d = 0; d < axis; d++) {
        dims[n++] = y->dims[d];
    }
    dims[n++] = p->size;
    for (int d = axis + ids->rank; d < y->rank; d++) {
        dims[n++] = y->dims[d];
    }
    return adze_set_out(s, 0, y->dtype, n, dims);
}

static void vjp_scatter_add(adze_adj *a) {
    const adze_scatter_attrs *p = a->attrs;
    if (a->need[0]) {
        a->r[0] = adze_gather(a->g, a->t[0], a->x[1], (int)adze_axis(p->axis, adze_val_type(a->g, a->y[0]).rank));
    }
}

/* Adds in ascending order of the position in ids. */
static void ref_scatter_add(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *x = &s->in[0], *ids = &s->in[1], *y = &s->out[0];
    const adze_lines l = adze_lines_of(y, ((const adze_scatter_attrs *)s->attrs)->axis);
    const int64_t m = adze_view_count(ids);
    if (adze_view_empty(y)) {
        return;
    }
    memset(y->data, 0, (size_t)adze_view_count(y) * adze_dtype_size(y->dtype));
    for (int64_t o = 0; o < l.outer; o++) {
        for (int64_t k = 0; k < m; k++) {
            int64_t id = index_at(ids, k);
            for (int64_t i = 0; i < l.inner && id >= 0 && id < l.n; i++) {
                adze_add_element(y, (o * l.n + id) * l.inner + i, x, (o * m + k) * l.inner + i);
            }
        }
    }
}

static void sample_scatter_add(adze_rng *r, adze_case *c) {
    adze_scatter_attrs *p = c->attrs;
    adze_type x = adze_sample_type(r, c, adze_sample_dtype(r, c, SET_MOVE), 0, 4, 0);
    int rank = (int)adze_rng_range(r, 0, x.rank < 2 ? x.rank : 2), axis = (int)adze_rng_range(r, 0, x.rank - rank);
    c->nin = 2;
    c->in[0] = x;
    c->in[1] = adze_type_make(adze_sample_any(r, ADZE_SET_ID), rank, x.dims + axis);
    p->axis = adze_sample_coin(r, 3) ? axis - (x.rank - rank + 1) : axis;
    p->size = adze_rng_range(r, 0, 5);
    c->dom[0] = adze_dom_range(-2.0, 2.0);
    c->dom[1] = adze_dom_ids(-1, p->size + 1);
}

const adze_op adze_op_scatter_add = {
    .name = "scatter_add",
    ADZE_ARITY(2, 1),
    .flags = ADZE_OP_LINEAR,
    ADZE_ATTRS(SCATTER_ATTRS, adze_scatter_attrs),
    .doc = "y[a..., j, b...] = sum of x[a..., i..., b...] over ids[i...] = j, in ascending order of i; the adjoint of gather",
    .infer = infer_scatter_add,
    .vjp = vjp_scatter_add,
    .cost = adze_cost_input,
    .ref = ref_scatter_add,
    .sample = sample_scatter_add};

adze_val adze_scatter_add(adze_graph *g, adze_val y, adze_val ids, int axis, int64_t size) {
    adze_scatter_attrs p = {adze_axis(axis, adze_val_type(g, y).rank - adze_val_type(g, ids).rank + 1), size};
    return adze_apply(g, &adze_op_scatter_add, (adze_val[]){y, ids}, 2, &p, NULL);
}

/* -- one_hot ------------------------------------------------------------------------------------------------------------------------------------- */

enum { SET_HOT = ADZE_SET_NUM | ADZE_SET_BOOL | 1 << ADZE_U8 };

static const adze_field ONE_HOT_ATTRS[] = {ADZE_ATTR(adze_one_hot_attrs, depth, ADZE_F_I64, "size of the new last axis"),
                                           ADZE_ATTR_DTYPE(adze_one_hot_attrs, dtype),
                                           ADZE_ATTR_DEF(adze_one_hot_attrs, on, ADZE_F_F64, "1", "value at the index"),
                                           ADZE_ATTR(adze_one_hot_attrs, off, ADZE_F_F64, "value elsewhere"), ADZE_ATTR_END};

static int infer_one_hot(adze_sig *s) {
    const adze_one_hot_attrs *p = s->attrs;
    int64_t dims[ADZE_MAX_RANK + 1];
    TRY(adze_check_dtype(s, 0, "ids", ADZE_SET_ID));
    if (!adze_in_set(SET_HOT, (adze_dtype)p->dtype)) {
        return adze_op_fail(s, ADZE_ETYPE, "the result cannot be %s", adze_dtype_name((adze_dtype)p->dtype));
    }
    memcpy(dims, s->in[0].dims, sizeof s->in[0].dims);
    dims[s->in[0].rank] = p->depth;
    return adze_set_out(s, 0, (adze_dtype)p->dtype, s->in[0].rank + 1, dims);
}

static void ref_one_hot(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_one_hot_attrs *p = s->attrs;
    const adze_view *y = &s->out[0];
    size_t size = adze_dtype_size(y->dtype);
    int64_t n = adze_view_count(&s->in[0]);
    if (adze_view_empty(&s->out[0])) {
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t id = index_at(&s->in[0], i);
        for (int64_t k = 0; k < p->depth; k++) {
            adze_dtype_store(y->dtype, (char *)y->data + (size_t)(i * p->depth + k) * size, 1, 1, k == id ? &p->on : &p->off);
        }
    }
}

static void sample_one_hot(adze_rng *r, adze_case *c) {
    adze_one_hot_attrs *p = c->attrs;
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, adze_sample_any(r, ADZE_SET_ID), 0, 3, 0);
    p->depth = adze_rng_range(r, 0, 7);
    p->dtype = (int32_t)adze_sample_any(r, SET_HOT);
    p->on = (double)adze_rng_range(r, 1, 3);
    p->off = (double)adze_rng_range(r, 0, 1);
    c->dom[0] = adze_dom_ids(-1, p->depth + 1);
}

const adze_op adze_op_one_hot = {.name = "one_hot",
                                 ADZE_ARITY(1, 1),
                                 .flags = ADZE_OP_NOGRAD,
                                 ADZE_ATTRS(ONE_HOT_ATTRS, adze_one_hot_attrs),
                                 .doc = "y[i..., k] = on where k = ids[i...], else off; an id out of range gives off everywhere",
                                 .infer = infer_one_hot,
                                 .ref = ref_one_hot,
                                 .sample = sample_one_hot};

adze_val adze_one_hot(adze_graph *g, adze_val ids, int64_t depth, adze_dtype d, double on, double off) {
    const adze_one_hot_attrs p = {.depth = depth, .dtype = (int32_t)d, .on = on, .off = off};
    return adze_apply(g, &adze_op_one_hot, &ids, 1, &p, NULL);
}
