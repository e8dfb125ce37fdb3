/* Views: reshape, transpose, broadcast and flip change how memory is read and cost nothing where consumers take strides. */
#include "op/record.h"

static void ref_copy(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    adze_view_copy(s->out[0].data, &s->in[0]);
}

/* Pure movement of elements in a shape that the output's dims describe: builds the strided view and copies it. */
static void ref_through_view(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    adze_type in = {0}, out = {0};
    in.dtype = out.dtype = s->in[0].dtype;
    in.rank = s->in[0].rank;
    out.rank = s->out[0].rank;
    memcpy(in.dims, s->in[0].dims, sizeof(in.dims));
    memcpy(out.dims, s->out[0].dims, sizeof(out.dims));
    adze_sig sig = {.op = s->op, .attrs = s->attrs, .nin = 1, .nout = 1, .in = &in, .out = &out};
    adze_view v = s->out[0];
    (void)s->op->view(&sig, &s->in[0], &v); /* the views of these ops take any strides */
    adze_view_copy(s->out[0].data, &v);
}

static void set_view(adze_view *out, const adze_view *in, const adze_type *t) {
    out->data = in->data;
    out->dtype = in->dtype;
    out->rank = t->rank;
    memcpy(out->dims, t->dims, sizeof(out->dims));
}

#define VIEW_OP(name_, attrs_, attrs_type, doc_, vjp_, ref_)                                                                                         \
    const adze_op adze_op_##name_ = {.name = #name_,                                                                                                 \
                                     ADZE_ARITY(1, 1),                                                                                               \
                                     .flags = ADZE_OP_VIEW | ADZE_OP_LINEAR | ADZE_OP_STRIDED,                                                       \
                                     ADZE_ATTRS(attrs_, attrs_type),                                                                                 \
                                     .doc = doc_,                                                                                                    \
                                     .infer = infer_##name_,                                                                                         \
                                     .vjp = vjp_,                                                                                                    \
                                     .view = view_##name_,                                                                                           \
                                     .cost = adze_cost_move,                                                                                         \
                                     .ref = ref_,                                                                                                    \
                                     .sample = sample_##name_}

/* -- reshape ------------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field DIMS_ATTRS[] = {ADZE_ATTR(adze_dims_attrs, dims, ADZE_F_INTS, "the output's shape"), ADZE_ATTR_END};

/* The builder has put a size in place of -1; one that is left had none. */
static int check_open_axis(adze_sig *s, const adze_ints *d) {
    int open = 0;
    for (int64_t k = 0; k < d->n && k < ADZE_MAX_RANK; k++) {
        open += d->v[k] == -1;
    }
    if (open > 1) {
        return adze_op_fail(s, ADZE_ESHAPE, "%d axes are -1, but only one can be worked out", open);
    }
    if (open == 1) {
        return adze_op_fail(s, ADZE_ESHAPE, "the axis -1 has no size: %s cannot be cut evenly into the other axes", ADZE_SHOWN(&s->in[0]));
    }
    return ADZE_OK;
}

static int infer_reshape(adze_sig *s) {
    const adze_ints *d = &((const adze_dims_attrs *)s->attrs)->dims;
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_ANY));
    TRY(check_open_axis(s, d));
    TRY(adze_set_out(s, 0, s->in[0].dtype, (int)d->n, d->v));
    int64_t have = adze_type_count(&s->in[0]), want = adze_type_count(&s->out[0]);
    if (have != want) {
        return adze_op_fail(s, ADZE_ESHAPE, "%s has %lld elements, %s has %lld", ADZE_SHOWN(&s->in[0]), (long long)have, ADZE_SHOWN(&s->out[0]),
                            (long long)want);
    }
    return ADZE_OK;
}

/* Strides of the new shape when groups of adjacent axes can be merged and cut without moving anything. */
static bool view_reshape(const adze_sig *s, const adze_view *in, adze_view *out) {
    set_view(out, in, &s->out[0]);
    int i = 0, o = 0;
    while (i < in->rank || o < out->rank) {
        int i0 = i, o0 = o;
        int64_t a = i < in->rank ? in->dims[i++] : 1, b = o < out->rank ? out->dims[o++] : 1;
        while (a != b) {
            if (a < b && i < in->rank) {
                a *= in->dims[i++];
            } else if (b < a && o < out->rank) {
                b *= out->dims[o++];
            } else {
                return false; /* an empty shape: nothing to view */
            }
        }
        int64_t stride = 1; /* of the group's last axis that is longer than 1; the others must continue it */
        int64_t next = 0;
        bool first = true;
        for (int k = i - 1; k >= i0; k--) {
            if (in->dims[k] == 1) {
                continue;
            }
            if (first) {
                stride = in->strides[k];
                first = false;
            } else if (in->strides[k] != next) {
                return false;
            }
            next = in->strides[k] * in->dims[k];
        }
        for (int k = o - 1; k >= o0; k--) {
            out->strides[k] = stride;
            stride *= out->dims[k];
        }
    }
    return true;
}

static void vjp_reshape(adze_adj *a) {
    adze_type x = adze_val_type(a->g, a->x[0]);
    if (a->t[0].id != 0) {
        a->r[0] = adze_reshape(a->g, a->t[0], x.dims, x.rank);
    }
}

static void sample_reshape(adze_rng *r, adze_case *c) {
    adze_dims_attrs *p = c->attrs;
    adze_type t = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_ANY), 0, 4, 0);
    c->nin = 1;
    c->in[0] = t;
    int n = 0;
    for (int d = 0; d < t.rank; d++) { /* cut an even axis in two, merge two axes, add axes of 1: at most two of each, so at most 8 axes */
        bool early = d < 2, even = d % 2 == 0;
        if (early && t.dims[d] > 0 && t.dims[d] % 2 == 0 && adze_sample_coin(r, 2)) {
            p->dims.v[n++] = 2;
            p->dims.v[n++] = t.dims[d] / 2;
        } else if (d + 1 < t.rank && adze_sample_coin(r, 2)) {
            p->dims.v[n++] = t.dims[d] * t.dims[d + 1];
            d++;
        } else {
            p->dims.v[n++] = t.dims[d];
        }
        if (even && adze_sample_coin(r, 4)) {
            p->dims.v[n++] = 1;
        }
    }
    p->dims.n = n;
}

VIEW_OP(reshape, DIMS_ATTRS, adze_dims_attrs, "y = x's elements in row-major order, in another shape", vjp_reshape, ref_copy);

adze_val adze_reshape(adze_graph *g, adze_val x, const int64_t *dims, int rank) {
    adze_dims_attrs p = {adze_ints_of(dims, rank)};
    adze_type t = adze_val_type(g, x);
    int64_t known = 1;
    int open = -1;
    for (int d = 0; d < rank && d < ADZE_MAX_RANK; d++) {
        if (dims[d] == -1 && open < 0) {
            open = d;
        } else if (!adze_mul_size(known, dims[d], &known)) {
            known = 0;
        }
    }
    int64_t count = adze_type_count(&t);
    if (open >= 0 && known > 0 && count % known == 0) {
        p.dims.v[open] = count / known;
    }
    if (rank == t.rank && (rank == 0 || memcmp(p.dims.v, t.dims, sizeof(int64_t) * (size_t)rank) == 0) && adze_graph_status(g) == ADZE_OK) {
        return x;
    }
    return adze_apply(g, &adze_op_reshape, &x, 1, &p, NULL);
}

/* -- transpose ----------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field PERM_ATTRS[] = {ADZE_ATTR(adze_perm_attrs, perm, ADZE_F_INTS, "output axis k is input axis perm[k]"), ADZE_ATTR_END};

static int infer_transpose(adze_sig *s) {
    const adze_ints *p = &((const adze_perm_attrs *)s->attrs)->perm;
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_ANY));
    const adze_type *x = &s->in[0];
    if (p->n != x->rank) {
        return adze_op_fail(s, ADZE_ESHAPE, "the permutation has %lld axes, the input has %d", (long long)p->n, x->rank);
    }
    int64_t dims[ADZE_MAX_RANK];
    uint32_t seen = 0;
    for (int k = 0; k < x->rank; k++) {
        if (p->v[k] < 0 || p->v[k] >= x->rank || (seen >> p->v[k] & 1)) {
            return adze_op_fail(s, ADZE_EARG, "the permutation must name each axis from 0 to %d once; place %d says %lld", x->rank - 1, k,
                                (long long)p->v[k]);
        }
        seen |= 1u << p->v[k];
        dims[k] = x->dims[p->v[k]];
    }
    return adze_set_out(s, 0, x->dtype, x->rank, dims);
}

static bool view_transpose(const adze_sig *s, const adze_view *in, adze_view *out) {
    const adze_ints *p = &((const adze_perm_attrs *)s->attrs)->perm;
    set_view(out, in, &s->out[0]);
    for (int k = 0; k < out->rank; k++) {
        out->strides[k] = in->strides[p->v[k]];
    }
    return true;
}

static void vjp_transpose(adze_adj *a) {
    const adze_ints *p = &((const adze_perm_attrs *)a->attrs)->perm;
    int back[ADZE_MAX_RANK];
    for (int k = 0; k < p->n; k++) {
        back[p->v[k]] = k;
    }
    if (a->t[0].id != 0) {
        a->r[0] = adze_transpose(a->g, a->t[0], back, (int)p->n);
    }
}

static void sample_transpose(adze_rng *r, adze_case *c) {
    adze_perm_attrs *p = c->attrs;
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_ANY), 0, 5, 0);
    p->perm.n = c->in[0].rank;
    for (int k = 0; k < p->perm.n; k++) {
        p->perm.v[k] = k;
    }
    adze_rng_permute(r, p->perm.v, p->perm.n);
}

VIEW_OP(transpose, PERM_ATTRS, adze_perm_attrs, "y's axis k is x's axis perm[k]", vjp_transpose, ref_through_view);

adze_val adze_transpose(adze_graph *g, adze_val x, const int *perm, int n) {
    int rank = adze_val_type(g, x).rank;
    adze_perm_attrs p = {{n ? n : rank, {0}}};
    bool moves = p.perm.n != rank || adze_graph_status(g) != ADZE_OK;
    for (int k = 0; k < p.perm.n && k < ADZE_MAX_RANK; k++) {
        p.perm.v[k] = n ? adze_axis(perm[k], rank) : rank - 1 - k;
        moves = moves || p.perm.v[k] != k;
    }
    return moves ? adze_apply(g, &adze_op_transpose, &x, 1, &p, NULL) : x;
}

/* -- broadcast ----------------------------------------------------------------------------------------------------------------------------------- */

static int infer_broadcast(adze_sig *s) {
    const adze_ints *d = &((const adze_dims_attrs *)s->attrs)->dims;
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_ANY));
    TRY(adze_set_out(s, 0, s->in[0].dtype, (int)d->n, d->v));
    const adze_type *x = &s->in[0], *y = &s->out[0];
    bool fits = x->rank <= y->rank;
    for (int k = 0; fits && k < x->rank; k++) {
        int64_t have = x->dims[k], want = y->dims[k + y->rank - x->rank];
        fits = have == want || have == 1;
    }
    if (!fits) {
        return adze_op_fail(s, ADZE_ESHAPE, "%s cannot be broadcast to %s", ADZE_SHOWN(x), ADZE_SHOWN(y));
    }
    return ADZE_OK;
}

static bool view_broadcast(const adze_sig *s, const adze_view *in, adze_view *out) {
    set_view(out, in, &s->out[0]);
    for (int k = 0; k < out->rank; k++) {
        int i = k - (out->rank - in->rank);
        out->strides[k] = i < 0 || (in->dims[i] == 1 && out->dims[k] != 1) ? 0 : in->strides[i];
    }
    return true;
}

static void vjp_broadcast(adze_adj *a) {
    adze_type x = adze_val_type(a->g, a->x[0]);
    if (a->t[0].id != 0) {
        a->r[0] = adze_sum_to(a->g, a->t[0], x.dims, x.rank);
    }
}

static void sample_broadcast(adze_rng *r, adze_case *c) {
    adze_dims_attrs *p = c->attrs;
    adze_type t = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_ANY), 0, 3, 0);
    int extra = (int)adze_rng_range(r, 0, 2);
    for (int k = 0; k < extra; k++) {
        p->dims.v[k] = adze_rng_range(r, 1, 3);
    }
    for (int k = 0; k < t.rank; k++) {
        p->dims.v[extra + k] = t.dims[k];
        if (adze_sample_coin(r, 2)) {
            t.dims[k] = 1;
        }
    }
    p->dims.n = extra + t.rank;
    c->nin = 1;
    c->in[0] = t;
}

VIEW_OP(broadcast, DIMS_ATTRS, adze_dims_attrs, "y = x repeated along axes of size 1 and new leading axes (NumPy's rule)", vjp_broadcast,
        ref_through_view);

adze_val adze_broadcast(adze_graph *g, adze_val x, const int64_t *dims, int rank) {
    adze_dims_attrs p = {adze_ints_of(dims, rank)};
    adze_type t = adze_val_type(g, x);
    if (rank == t.rank && adze_graph_status(g) == ADZE_OK && (rank == 0 || memcmp(dims, t.dims, sizeof(int64_t) * (size_t)rank) == 0)) {
        return x;
    }
    return adze_apply(g, &adze_op_broadcast, &x, 1, &p, NULL);
}

adze_val adze_sum_to(adze_graph *g, adze_val x, const int64_t *dims, int rank) {
    adze_type t = adze_val_type(g, x);
    int axes[ADZE_MAX_RANK], n = 0;
    for (int k = 0; k < t.rank; k++) {
        int i = k - (t.rank - rank);
        if (i < 0 || (dims[i] == 1 && t.dims[k] != 1)) {
            axes[n++] = k;
        }
    }
    adze_val y = n ? adze_sum(g, x, axes, n, false) : x;
    return adze_reshape(g, y, dims, rank);
}

/* -- flip ---------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct flip_attrs {
    adze_ints axes;
} flip_attrs;

static const adze_field FLIP_ATTRS[] = {ADZE_ATTR(flip_attrs, axes, ADZE_F_INTS, "axes to reverse"), ADZE_ATTR_END};

static int infer_flip(adze_sig *s) {
    const adze_ints *p = &((const flip_attrs *)s->attrs)->axes;
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_ANY));
    uint32_t seen = 0;
    if (p->n > s->in[0].rank) {
        return adze_op_fail(s, ADZE_EARG, "%lld axes to reverse, but the input has %d", (long long)p->n, s->in[0].rank);
    }
    for (int64_t k = 0; k < p->n; k++) {
        TRY(adze_check_axis(s, p->v[k], s->in[0].rank));
        uint32_t bit = 1u << adze_axis(p->v[k], s->in[0].rank);
        if (seen & bit) {
            return adze_op_fail(s, ADZE_EARG, "axis %lld is named twice", (long long)p->v[k]);
        }
        seen |= bit;
    }
    return adze_set_like(s, 0, 0);
}

static bool view_flip(const adze_sig *s, const adze_view *in, adze_view *out) {
    const adze_ints *p = &((const flip_attrs *)s->attrs)->axes;
    set_view(out, in, &s->out[0]);
    memcpy(out->strides, in->strides, sizeof(out->strides));
    int64_t offset = 0;
    for (int64_t k = 0; k < p->n; k++) {
        int axis = (int)adze_axis(p->v[k], in->rank);
        offset += out->dims[axis] > 0 ? (in->dims[axis] - 1) * in->strides[axis] : 0;
        out->strides[axis] = -in->strides[axis];
    }
    out->data = adze_view_at(in, offset);
    return true;
}

static void vjp_flip(adze_adj *a) {
    if (a->t[0].id != 0) {
        a->r[0] = adze_apply(a->g, a->op, a->t, 1, a->attrs, NULL);
    }
}

static void sample_flip(adze_rng *r, adze_case *c) {
    flip_attrs *p = c->attrs;
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_ANY), 0, 4, 0);
    for (int k = 0; k < c->in[0].rank; k++) {
        if (adze_sample_coin(r, 2)) {
            p->axes.v[p->axes.n++] = adze_sample_coin(r, 2) ? k : k - c->in[0].rank;
        }
    }
}

VIEW_OP(flip, FLIP_ATTRS, flip_attrs, "y = x with the named axes reversed", vjp_flip, ref_through_view);

adze_val adze_flip(adze_graph *g, adze_val x, const int *axes, int naxes) {
    flip_attrs p = {{naxes, {0}}};
    for (int k = 0; k < naxes && k < 8; k++) {
        p.axes.v[k] = adze_axis(axes[k], adze_val_type(g, x).rank);
    }
    return adze_apply(g, &adze_op_flip, &x, 1, &p, NULL);
}
