/* Ops that cut and join along axes: slice and its adjoint, pad, concat, split. */
#include "graph/graph_internal.h"
#include "op/record.h"

/* The part of y that starts at `from` and steps by `step` along each axis, with x's shape. */
static adze_view part_of(const adze_view *y, int rank, const int64_t *dims, const int64_t *from, const int64_t *step) {
    adze_view v = *y;
    int64_t shift = 0, count = 1;
    for (int d = 0; d < rank; d++) {
        v.dims[d] = dims[d];
        v.strides[d] = y->strides[d] * (step ? step[d] : 1);
        shift += from[d] * y->strides[d];
        count *= dims[d];
    }
    v.data = count > 0 ? adze_view_at(y, shift) : y->data;
    return v;
}

static void copy_into(const adze_view *to, const adze_view *from) { /* equal dims, any strides */
    const adze_view both[2] = {*to, *from};
    size_t size = adze_dtype_size(to->dtype);
    adze_walk w;
    for (adze_walk_begin(&w, both, 2); w.i < w.count; adze_walk_next(&w)) {
        memcpy((char *)to->data + w.off[0] * (int64_t)size, (const char *)from->data + w.off[1] * (int64_t)size, size);
    }
}

/* -- slice -------------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field SLICE_ATTRS[] = {ADZE_ATTR(adze_slice_attrs, from, ADZE_F_INTS, "first index of each axis"),
                                         ADZE_ATTR(adze_slice_attrs, to, ADZE_F_INTS, "one past the last index of each axis"),
                                         ADZE_ATTR(adze_slice_attrs, step, ADZE_F_INTS, "steps; empty: all 1"), ADZE_ATTR_END};

/* Checks a slice of `dims` and gives its shape. */
static int slice_dims(adze_sig *s, const adze_ints *from, const adze_ints *to, const adze_ints *step, int rank, const int64_t *dims, int64_t *out) {
    if (from->n != rank || to->n != rank || (step->n != rank && step->n != 0)) {
        return adze_op_fail(s, ADZE_EARG, "the bounds have %lld, %lld and %lld axes, the tensor %d", (long long)from->n, (long long)to->n,
                            (long long)step->n, rank);
    }
    for (int d = 0; d < rank; d++) {
        int64_t a = from->v[d], b = to->v[d], k = step->n ? step->v[d] : 1;
        if (a < 0 || a > b || b > dims[d]) {
            return adze_op_fail(s, ADZE_ESHAPE, "axis %d has size %lld, which has no part from %lld to %lld", d, (long long)dims[d], (long long)a,
                                (long long)b);
        }
        if (k < 1) {
            return adze_op_fail(s, ADZE_EARG, "axis %d: the step is %lld, but must be at least 1 (flip reverses)", d, (long long)k);
        }
        out[d] = (b - a) / k + ((b - a) % k != 0);
    }
    return ADZE_OK;
}

static int infer_slice(adze_sig *s) {
    const adze_slice_attrs *p = s->attrs;
    int64_t dims[ADZE_MAX_RANK];
    TRY(slice_dims(s, &p->from, &p->to, &p->step, s->in[0].rank, s->in[0].dims, dims));
    return adze_set_out(s, 0, s->in[0].dtype, s->in[0].rank, dims);
}

extern const adze_op adze_op_slice_grad;

static void vjp_slice(adze_adj *a) {
    const adze_slice_attrs *p = a->attrs;
    adze_type x = adze_val_type(a->g, a->x[0]);
    adze_slice_grad_attrs q = {p->from, p->to, p->step, adze_ints_of(x.dims, x.rank)};
    a->r[0] = adze_apply(a->g, &adze_op_slice_grad, a->t, 1, &q, NULL);
}

static bool view_slice(const adze_sig *s, const adze_view *in, adze_view *out) {
    const adze_slice_attrs *p = s->attrs;
    *out = part_of(in, in->rank, s->out[0].dims, p->from.v, p->step.n ? p->step.v : NULL);
    return true;
}

static void ref_slice(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_slice_attrs *p = s->attrs;
    adze_view v = part_of(&s->in[0], s->in[0].rank, s->out[0].dims, p->from.v, p->step.n ? p->step.v : NULL);
    adze_view_copy(s->out[0].data, &v);
}

static void sample_bounds(adze_rng *r, const adze_type *t, adze_ints *from, adze_ints *to, adze_ints *step) {
    from->n = to->n = t->rank;
    step->n = adze_sample_coin(r, 2) ? 0 : t->rank;
    for (int d = 0; d < t->rank; d++) {
        bool whole = adze_sample_coin(r, 3);
        from->v[d] = whole ? 0 : adze_rng_range(r, 0, t->dims[d]);
        to->v[d] = whole ? t->dims[d] : adze_rng_range(r, from->v[d], t->dims[d]);
        step->v[d] = adze_rng_range(r, 1, 3);
    }
}

static void sample_slice(adze_rng *r, adze_case *c) {
    adze_slice_attrs *p = c->attrs;
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_ANY), 0, 4, 0);
    sample_bounds(r, &c->in[0], &p->from, &p->to, &p->step);
}

const adze_op adze_op_slice = {.name = "slice",
                               ADZE_ARITY(1, 1),
                               .flags = ADZE_OP_LINEAR | ADZE_OP_VIEW | ADZE_OP_STRIDED,
                               ADZE_ATTRS(SLICE_ATTRS, adze_slice_attrs),
                               .doc = "y = x[from:to:step] on every axis; `to` is excluded",
                               .infer = infer_slice,
                               .vjp = vjp_slice,
                               .view = view_slice,
                               .cost = adze_cost_move,
                               .ref = ref_slice,
                               .sample = sample_slice};

adze_val adze_slice(adze_graph *g, adze_val x, const int64_t *from, const int64_t *to, const int64_t *step) {
    adze_type t = adze_val_type(g, x);
    adze_slice_attrs p = {adze_ints_of(from, t.rank), adze_ints_of(to, t.rank), {0}};
    bool whole = t.dtype != ADZE_NONE;
    for (int d = 0; d < t.rank; d++) {
        if (step && step[d] != 1) {
            p.step = adze_ints_of(step, t.rank);
        }
        whole = whole && from[d] == 0 && to[d] == t.dims[d];
    }
    return whole && p.step.n == 0 ? x : adze_apply(g, &adze_op_slice, &x, 1, &p, NULL);
}

/* -- slice_grad ---------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field SLICE_GRAD_ATTRS[] = {ADZE_ATTR(adze_slice_grad_attrs, from, ADZE_F_INTS, "first index of each axis"),
                                              ADZE_ATTR(adze_slice_grad_attrs, to, ADZE_F_INTS, "one past the last index of each axis"),
                                              ADZE_ATTR(adze_slice_grad_attrs, step, ADZE_F_INTS, "steps; empty: all 1"),
                                              ADZE_ATTR(adze_slice_grad_attrs, dims, ADZE_F_INTS, "shape of the result"), ADZE_ATTR_END};

static int infer_slice_grad(adze_sig *s) {
    const adze_slice_grad_attrs *p = s->attrs;
    adze_type want = {.rank = s->in[0].rank};
    TRY(adze_set_out(s, 0, s->in[0].dtype, (int)p->dims.n, p->dims.v));
    TRY(slice_dims(s, &p->from, &p->to, &p->step, s->out[0].rank, s->out[0].dims, want.dims));
    want = adze_type_make(s->in[0].dtype, s->out[0].rank, want.dims);
    if (!adze_same_dims(&want, &s->in[0])) {
        return adze_op_fail(s, ADZE_ESHAPE, "the slice is %s, the input %s", ADZE_SHOWN(&want), ADZE_SHOWN(&s->in[0]));
    }
    return ADZE_OK;
}

static void vjp_slice_grad(adze_adj *a) {
    const adze_slice_grad_attrs *p = a->attrs;
    adze_slice_attrs q = {p->from, p->to, p->step};
    a->r[0] = adze_apply(a->g, &adze_op_slice, a->t, 1, &q, NULL);
}

static void ref_slice_grad(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_slice_grad_attrs *p = s->attrs;
    const adze_view *y = &s->out[0];
    memset(y->data, 0, (size_t)adze_view_count(y) * adze_dtype_size(y->dtype));
    adze_view v = part_of(y, y->rank, s->in[0].dims, p->from.v, p->step.n ? p->step.v : NULL);
    copy_into(&v, &s->in[0]);
}

static void sample_slice_grad(adze_rng *r, adze_case *c) {
    adze_slice_grad_attrs *p = c->attrs;
    adze_type y = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_ANY), 0, 4, 0);
    sample_bounds(r, &y, &p->from, &p->to, &p->step);
    p->dims = adze_ints_of(y.dims, y.rank);
    for (int d = 0; d < y.rank; d++) {
        int64_t k = p->step.n ? p->step.v[d] : 1;
        y.dims[d] = (p->to.v[d] - p->from.v[d] + k - 1) / k;
    }
    c->nin = 1;
    c->in[0] = y;
}

const adze_op adze_op_slice_grad = {.name = "slice_grad",
                                    ADZE_ARITY(1, 1),
                                    .flags = ADZE_OP_LINEAR | ADZE_OP_STRIDED,
                                    ADZE_ATTRS(SLICE_GRAD_ATTRS, adze_slice_grad_attrs),
                                    .doc = "y = zeros of shape dims, but y[from:to:step] = x: the adjoint of slice",
                                    .infer = infer_slice_grad,
                                    .vjp = vjp_slice_grad,
                                    .cost = adze_cost_move,
                                    .ref = ref_slice_grad,
                                    .sample = sample_slice_grad};

/* -- pad ----------------------------------------------------------------------------------------------------------------------------------------- */

enum { SET_PAD = ADZE_SET_NUM };
static const adze_field PAD_ATTRS[] = {ADZE_ATTR(adze_pad_attrs, lo, ADZE_F_INTS, "elements before each axis"),
                                       ADZE_ATTR(adze_pad_attrs, hi, ADZE_F_INTS, "elements after each axis"),
                                       ADZE_ATTR(adze_pad_attrs, value, ADZE_F_F64, "what is put there"), ADZE_ATTR_END};

static int infer_pad(adze_sig *s) {
    const adze_pad_attrs *p = s->attrs;
    int rank = s->in[0].rank;
    int64_t dims[ADZE_MAX_RANK];
    TRY(adze_check_dtype(s, 0, "the input", SET_PAD));
    if (p->lo.n != rank || p->hi.n != rank) {
        return adze_op_fail(s, ADZE_EARG, "the pads have %lld and %lld axes, the input %d", (long long)p->lo.n, (long long)p->hi.n, rank);
    }
    for (int d = 0; d < rank; d++) {
        if (p->lo.v[d] < 0 || p->hi.v[d] < 0) {
            return adze_op_fail(s, ADZE_EARG, "axis %d: the pads are %lld and %lld, but must not be negative", d, (long long)p->lo.v[d],
                                (long long)p->hi.v[d]);
        }
        if (!adze_add_size(s->in[0].dims[d], p->lo.v[d], &dims[d]) || !adze_add_size(dims[d], p->hi.v[d], &dims[d])) {
            return adze_op_fail(s, ADZE_ESHAPE, "axis %d would become too long", d);
        }
    }
    return adze_set_out(s, 0, s->in[0].dtype, rank, dims);
}

static void vjp_pad(adze_adj *a) {
    const adze_pad_attrs *p = a->attrs;
    adze_type x = adze_val_type(a->g, a->x[0]);
    int64_t to[ADZE_MAX_RANK];
    for (int d = 0; d < x.rank; d++) {
        to[d] = p->lo.v[d] + x.dims[d];
    }
    a->r[0] = adze_slice(a->g, a->t[0], p->lo.v, to, NULL);
}

static void jvp_pad(adze_adj *a) {
    const adze_pad_attrs *p = a->attrs;
    if (a->t[0].id != 0) {
        a->r[0] = adze_pad(a->g, a->t[0], p->lo.v, p->hi.v, 0.0);
    }
}

static void ref_pad(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_pad_attrs *p = s->attrs;
    const adze_view *y = &s->out[0];
    int64_t n = adze_view_count(y);
    for (int64_t i = 0; i < n; i++) {
        if (adze_dtype_is_float(y->dtype)) {
            adze_store_f(y->data, y->dtype, i, p->value);
        } else {
            adze_store_i(y->data, y->dtype, i, (int64_t)p->value);
        }
    }
    adze_view v = part_of(y, y->rank, s->in[0].dims, p->lo.v, NULL);
    copy_into(&v, &s->in[0]);
}

static void sample_pad(adze_rng *r, adze_case *c) {
    adze_pad_attrs *p = c->attrs;
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, SET_PAD), 0, 4, 0);
    c->dom[0] = adze_dom_range(-2.0, 2.0);
    p->lo.n = p->hi.n = c->in[0].rank;
    for (int d = 0; d < c->in[0].rank; d++) {
        p->lo.v[d] = adze_rng_range(r, 0, 2);
        p->hi.v[d] = adze_rng_range(r, 0, 2);
    }
    p->value = adze_sample_coin(r, 2) ? 0.0 : (double)adze_rng_range(r, -3, 3);
}

const adze_op adze_op_pad = {.name = "pad",
                             ADZE_ARITY(1, 1),
                             .flags = ADZE_OP_STRIDED,
                             ADZE_ATTRS(PAD_ATTRS, adze_pad_attrs),
                             .doc = "y = x with lo elements of `value` before and hi after each axis",
                             .infer = infer_pad,
                             .vjp = vjp_pad,
                             .jvp = jvp_pad,
                             .cost = adze_cost_move,
                             .ref = ref_pad,
                             .sample = sample_pad};

adze_val adze_pad(adze_graph *g, adze_val x, const int64_t *lo, const int64_t *hi, double value) {
    int rank = adze_val_type(g, x).rank;
    adze_pad_attrs p = {adze_ints_of(lo, rank), adze_ints_of(hi, rank), value};
    return adze_apply(g, &adze_op_pad, &x, 1, &p, NULL);
}

/* -- concat -------------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field AXIS_ATTRS[] = {ADZE_ATTR(adze_axis_attrs, axis, ADZE_F_I64, "the axis along which the inputs lie"), ADZE_ATTR_END};

static int infer_concat(adze_sig *s) {
    const adze_axis_attrs *p = s->attrs;
    const adze_type *x = &s->in[0];
    TRY(adze_check_axis(s, p->axis, x->rank));
    int axis = (int)adze_axis(p->axis, x->rank);
    adze_type sum = *x;
    for (int i = 1; i < s->nin; i++) {
        TRY(adze_check_same_dtype(s, 0, i));
        adze_type t = s->in[i];
        int64_t size = t.rank > axis ? t.dims[axis] : 0;
        if (t.rank > axis) {
            t.dims[axis] = x->dims[axis];
        }
        if (!adze_same_dims(&t, x)) {
            return adze_op_fail(s, ADZE_ESHAPE, "input %d is %s, which does not fit beside %s on axis %d", i, ADZE_SHOWN(&s->in[i]), ADZE_SHOWN(x),
                                axis);
        }
        if (!adze_add_size(sum.dims[axis], size, &sum.dims[axis])) {
            return adze_op_fail(s, ADZE_ESHAPE, "axis %d would become too long", axis);
        }
    }
    return adze_set_out(s, 0, sum.dtype, sum.rank, sum.dims);
}

/* x[from:to] on one axis. */
static adze_val cut(adze_graph *g, adze_val x, int axis, int64_t from, int64_t to) {
    adze_type t = adze_val_type(g, x);
    int64_t lo[ADZE_MAX_RANK] = {0}, hi[ADZE_MAX_RANK];
    memcpy(hi, t.dims, sizeof hi);
    lo[axis] = from;
    hi[axis] = to;
    return adze_slice(g, x, lo, hi, NULL);
}

static void vjp_concat(adze_adj *a) {
    const adze_axis_attrs *p = a->attrs;
    int axis = (int)adze_axis(p->axis, adze_val_type(a->g, a->x[0]).rank);
    int64_t at = 0;
    for (int i = 0; i < a->nin; i++) {
        int64_t size = adze_val_type(a->g, a->x[i]).dims[axis];
        if (a->need[i]) {
            a->r[i] = cut(a->g, a->t[0], axis, at, at + size);
        }
        at += size;
    }
}

static void ref_concat(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_axis_attrs *p = s->attrs;
    int axis = (int)adze_axis(p->axis, s->out[0].rank);
    int64_t from[ADZE_MAX_RANK] = {0};
    for (int i = 0; i < s->nin; i++) {
        adze_view v = part_of(&s->out[0], s->out[0].rank, s->in[i].dims, from, NULL);
        copy_into(&v, &s->in[i]);
        from[axis] += s->in[i].dims[axis];
    }
}

static void sample_concat(adze_rng *r, adze_case *c) {
    adze_axis_attrs *p = c->attrs;
    adze_type t = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_ANY), 1, 3, 0);
    p->axis = adze_rng_range(r, -t.rank, t.rank - 1);
    c->nin = (int)adze_rng_range(r, 1, 4);
    for (int i = 0; i < c->nin; i++) {
        c->in[i] = t;
        c->in[i].dims[adze_axis(p->axis, t.rank)] = adze_rng_range(r, i == 0 ? 1 : 0, 5);
    }
}

const adze_op adze_op_concat = {.name = "concat",
                                .nin_min = 1,
                                .nin_max = ADZE_MAX_IN,
                                .nout = 1,
                                .flags = ADZE_OP_LINEAR | ADZE_OP_STRIDED,
                                ADZE_ATTRS(AXIS_ATTRS, adze_axis_attrs),
                                .doc = "y = the inputs one after the other along the axis",
                                .infer = infer_concat,
                                .vjp = vjp_concat,
                                .cost = adze_cost_move,
                                .ref = ref_concat,
                                .sample = sample_concat};

adze_val adze_concat(adze_graph *g, const adze_val *x, int n, int axis) {
    adze_axis_attrs p = {n > 0 ? adze_axis(axis, adze_val_type(g, x[0]).rank) : axis};
    return adze_apply(g, &adze_op_concat, x, n, &p, NULL);
}

/* -- split --------------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field SPLIT_ATTRS[] = {ADZE_ATTR(adze_split_attrs, axis, ADZE_F_I64, "the axis to cut"),
                                         ADZE_ATTR(adze_split_attrs, sizes, ADZE_F_INTS, "sizes of the parts, in order"), ADZE_ATTR_END};

static int count_split(const adze_sig *s) {
    return (int)((const adze_split_attrs *)s->attrs)->sizes.n;
}

static int infer_split(adze_sig *s) {
    const adze_split_attrs *p = s->attrs;
    TRY(adze_check_axis(s, p->axis, s->in[0].rank));
    if (p->sizes.n < 1 || p->sizes.n > 8) {
        return adze_op_fail(s, ADZE_EARG, "%lld parts; 1 to 8 are possible", (long long)p->sizes.n);
    }
    int axis = (int)adze_axis(p->axis, s->in[0].rank);
    int64_t dims[ADZE_MAX_RANK], sum = 0;
    memcpy(dims, s->in[0].dims, sizeof dims);
    for (int i = 0; i < p->sizes.n; i++) {
        dims[axis] = p->sizes.v[i];
        TRY(adze_set_out(s, i, s->in[0].dtype, s->in[0].rank, dims));
        if (!adze_add_size(sum, p->sizes.v[i], &sum)) {
            return adze_op_fail(s, ADZE_ESHAPE, "the parts are too long");
        }
    }
    if (sum != s->in[0].dims[axis]) {
        return adze_op_fail(s, ADZE_ESHAPE, "the parts add up to %lld, but axis %d has size %lld", (long long)sum, axis,
                            (long long)s->in[0].dims[axis]);
    }
    return ADZE_OK;
}

static void vjp_split(adze_adj *a) {
    const adze_split_attrs *p = a->attrs;
    adze_val t[ADZE_MAX_OUT];
    for (int i = 0; i < a->nout; i++) {
        t[i] = a->t[i].id ? a->t[i] : adze_zeros_like(a->g, a->y[i]);
    }
    a->r[0] = adze_concat(a->g, t, a->nout, (int)p->axis);
}

static void ref_split(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_split_attrs *p = s->attrs;
    int axis = (int)adze_axis(p->axis, s->in[0].rank);
    int64_t from[ADZE_MAX_RANK] = {0};
    for (int i = 0; i < s->nout; i++) {
        adze_view v = part_of(&s->in[0], s->in[0].rank, s->out[i].dims, from, NULL);
        adze_view_copy(s->out[i].data, &v);
        from[axis] += s->out[i].dims[axis];
    }
}

static void sample_split(adze_rng *r, adze_case *c) {
    adze_split_attrs *p = c->attrs;
    adze_type t = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_ANY), 1, 3, 0);
    p->axis = adze_rng_range(r, -t.rank, t.rank - 1);
    p->sizes.n = adze_rng_range(r, 1, 8);
    int64_t sum = 0;
    for (int64_t i = 0; i < p->sizes.n; i++) {
        p->sizes.v[i] = adze_rng_range(r, 0, 4);
        sum += p->sizes.v[i];
    }
    t.dims[adze_axis(p->axis, t.rank)] = sum;
    c->nin = 1;
    c->in[0] = t;
}

const adze_op adze_op_split = {.name = "split",
                               ADZE_ARITY(1, 0),
                               .flags = ADZE_OP_LINEAR | ADZE_OP_STRIDED,
                               ADZE_ATTRS(SPLIT_ATTRS, adze_split_attrs),
                               .doc = "y_i = the i-th part of x along the axis, of size sizes[i]; up to 8 parts",
                               .infer = infer_split,
                               .count_out = count_split,
                               .vjp = vjp_split,
                               .cost = adze_cost_move,
                               .ref = ref_split,
                               .sample = sample_split};

int adze_split(adze_graph *g, adze_val x, int axis, const int64_t *sizes, int n, adze_val *out) {
    adze_split_attrs p = {adze_axis(axis, adze_val_type(g, x).rank), adze_ints_of(sizes, n)};
    adze_val parts[ADZE_MAX_OUT] = {{0}};
    if (n < 1 || n > 8) {
        return adze_graph_fail(g, ADZE_EARG, "split: %d parts; 1 to 8 are possible", n);
    }
    adze_apply(g, &adze_op_split, &x, 1, &p, parts);
    for (int i = 0; i < n; i++) {
        out[i] = parts[i];
    }
    return adze_graph_status(g);
}
