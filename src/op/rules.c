/* What op families share: checks and shapes for infer, walks over strided views for reference kernels, shapes and domains for random test cases. */
#include "op/record.h"

#include <stdio.h>

const char *const adze_dtype_names[] = {"none", "f64", "f32", "bf16", "f16", "i64",    "i32",    "i8", "u8",
                                        "bool", "i16", "u16", "u32",  "u64", "f8e4m3", "f8e5m2", NULL};

/* -- infer ------------------------------------------------------------------------------------------------------------------------------------ */

int adze_check_dtype(adze_sig *s, int i, const char *what, int set) {
    if (adze_in_set(set, s->in[i].dtype)) {
        return ADZE_OK;
    }
    char list[128];
    size_t n = 0;
    list[0] = '\0';
    for (int d = ADZE_NONE + 1; d < ADZE_NDTYPES; d++) {
        if (adze_in_set(set, (adze_dtype)d) && n + 12 < sizeof list) {
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n > 0 ? ", " : "", adze_dtype_name((adze_dtype)d));
        }
    }
    return adze_op_fail(s, ADZE_ETYPE, "%s is %s, but must be one of %s", what, adze_dtype_name(s->in[i].dtype), list);
}

int adze_check_same_dtype(adze_sig *s, int i, int j) {
    if (s->in[i].dtype == s->in[j].dtype) {
        return ADZE_OK;
    }
    return adze_op_fail(s, ADZE_ETYPE, "input %d is %s and input %d is %s; cast one of them", i, adze_dtype_name(s->in[i].dtype), j,
                        adze_dtype_name(s->in[j].dtype));
}

int adze_check_rank(adze_sig *s, int i, const char *what, int lo, int hi) {
    if (s->in[i].rank >= lo && s->in[i].rank <= hi) {
        return ADZE_OK;
    }
    if (lo == hi) {
        return adze_op_fail(s, ADZE_ESHAPE, "%s is %s, but must have %d axes", what, ADZE_SHOWN(&s->in[i]), lo);
    }
    return adze_op_fail(s, ADZE_ESHAPE, "%s is %s, but must have %d to %d axes", what, ADZE_SHOWN(&s->in[i]), lo, hi);
}

int adze_check_axis(adze_sig *s, int64_t axis, int rank) {
    if (axis >= -rank && axis < rank) {
        return ADZE_OK;
    }
    return adze_op_fail(s, ADZE_ESHAPE, "there is no axis %lld in a tensor of %d axes", (long long)axis, rank);
}

int adze_set_out(adze_sig *s, int i, adze_dtype d, int rank, const int64_t *dims) {
    if (d <= ADZE_NONE || d >= ADZE_NDTYPES) {
        return adze_op_fail(s, ADZE_ETYPE, "%d is not a dtype", (int)d);
    }
    if (rank < 0 || rank > ADZE_MAX_RANK) {
        return adze_op_fail(s, ADZE_ESHAPE, "the result would have %d axes; at most %d are possible", rank, ADZE_MAX_RANK);
    }
    for (int k = 0; k < rank; k++) {
        if (dims[k] < 0) {
            return adze_op_fail(s, ADZE_ESHAPE, "axis %d of the result would have size %lld", k, (long long)dims[k]);
        }
    }
    adze_type t = adze_type_make(d, rank, dims);
    if (adze_type_bytes(&t) < 0) {
        return adze_op_fail(s, ADZE_ESHAPE, "the result %s has too many elements", ADZE_SHOWN(&t));
    }
    s->out[i] = t;
    return ADZE_OK;
}

int adze_product_dtype(adze_sig *s, int32_t out, int64_t terms, adze_dtype *d) {
    const adze_dtype a = s->in[0].dtype, b = s->in[1].dtype;
    const int64_t most = INT32_MAX / (128 * (a == ADZE_U8 ? 255 : 128));
    const bool whole = b == ADZE_I8 && (a == ADZE_I8 || a == ADZE_U8);
    if (!whole) {
        TRY(adze_check_same_dtype(s, 0, 1));
    }
    if (out != ADZE_NONE && (out != ADZE_F32 || a != ADZE_BF16)) {
        return adze_op_fail(s, ADZE_ETYPE, "out is %s, but only bf16 inputs have a choice: f32", adze_dtype_name((adze_dtype)out));
    }
    if (whole && terms > most) {
        return adze_op_fail(s, ADZE_ESHAPE, "a sum of %lld products of 8-bit integers may not fit i32; at most %lld do", (long long)terms,
                            (long long)most);
    }
    *d = out != ADZE_NONE ? (adze_dtype)out : whole ? ADZE_I32 : a;
    return ADZE_OK;
}

int adze_set_like(adze_sig *s, int o, int i) {
    return adze_set_out(s, o, s->in[i].dtype, s->in[i].rank, s->in[i].dims);
}

bool adze_same_dims(const adze_type *a, const adze_type *b) {
    return a->rank == b->rank && (a->rank == 0 || memcmp(a->dims, b->dims, (size_t)a->rank * sizeof a->dims[0]) == 0);
}

bool adze_common_dims(const adze_graph *g, const adze_val *v, int n, adze_type *out) {
    adze_type r = {0};
    for (int k = 0; k < n; k++) {
        adze_type t = adze_val_type(g, v[k]);
        if (t.dtype == ADZE_NONE) {
            return false;
        }
        int rank = t.rank > r.rank ? t.rank : r.rank;
        int64_t dims[ADZE_MAX_RANK];
        for (int d = 0; d < rank; d++) { /* right-aligned */
            int di = d - (rank - t.rank), dr = d - (rank - r.rank);
            int64_t a = di >= 0 ? t.dims[di] : 1, b = dr >= 0 ? r.dims[dr] : 1;
            if (a != b && a != 1 && b != 1) {
                return false;
            }
            dims[d] = a == 1 ? b : a;
        }
        r = adze_type_make(t.dtype, rank, dims);
    }
    *out = r;
    return true;
}

void adze_broadcast_all(adze_graph *g, adze_val *v, int n) {
    adze_type t;
    if (!adze_common_dims(g, v, n, &t)) {
        return;
    }
    for (int k = 0; k < n; k++) {
        v[k] = adze_broadcast(g, v[k], t.dims, t.rank);
    }
}

adze_val adze_unreduce(adze_graph *g, adze_val t, adze_val x, const adze_ints *axes) {
    adze_type xt = adze_val_type(g, x);
    int64_t dims[ADZE_MAX_RANK];
    for (int d = 0; d < xt.rank; d++) {
        dims[d] = axes->n == 0 ? 1 : xt.dims[d];
    }
    for (int64_t k = 0; k < axes->n; k++) {
        dims[adze_axis(axes->v[k], xt.rank)] = 1;
    }
    return adze_broadcast(g, adze_reshape(g, t, dims, xt.rank), xt.dims, xt.rank);
}

adze_val adze_over_rows(adze_graph *g, adze_val v, adze_val (*reduce)(adze_graph *, adze_val, const int *, int, bool)) {
    int axes[ADZE_MAX_RANK], n = (int)adze_val_type(g, v).rank - 1;
    for (int i = 0; i < n; i++) {
        axes[i] = i;
    }
    return n > 0 ? reduce(g, v, axes, n, false) : v;
}

void adze_give(adze_val *to, adze_val v) {
    if (to) {
        *to = v;
    }
}

uint32_t adze_inplace_first(const adze_sig *s) {
    (void)s;
    return 1;
}

/* -- costs -------------------------------------------------------------------------------------------------------------------------------------- */

adze_cost adze_cost_of(const adze_sig *s, double flops) {
    adze_cost c = {.flops = flops};
    for (int i = 0; i < s->nin; i++) {
        c.read += (double)adze_type_bytes(&s->in[i]);
    }
    for (int i = 0; i < s->nout; i++) {
        c.written += (double)adze_type_bytes(&s->out[i]);
    }
    return c;
}

adze_cost adze_cost_move(const adze_sig *s) {
    return adze_cost_of(s, 0.0);
}

adze_cost adze_cost_input(const adze_sig *s) {
    return adze_cost_of(s, (double)adze_type_count(&s->in[0]));
}

/* -- reference kernels --------------------------------------------------------------------------------------------------------------------------- */

int64_t adze_dims_count(const int64_t *dims, int from, int to) {
    uint64_t n = 1; /* a part of the axes of an empty tensor may overflow; nobody uses that number then */
    for (int d = from; d < to; d++) {
        n *= (uint64_t)dims[d];
    }
    return (int64_t)n;
}

int64_t adze_view_count(const adze_view *v) {
    return adze_dims_count(v->dims, 0, v->rank);
}

void adze_walk_begin(adze_walk *w, const adze_view *views, int n) {
    memset(w, 0, sizeof *w);
    w->rank = views[0].rank;
    w->n = n;
    w->count = adze_view_count(&views[0]);
    for (int d = 0; d < w->rank; d++) {
        w->dims[d] = views[0].dims[d];
        for (int k = 0; k < n; k++) {
            w->strides[k][d] = views[k].strides[d];
        }
    }
}

adze_lines adze_lines_of(const adze_view *x, int64_t axis) {
    const int d = (int)adze_axis(axis, x->rank);
    return (adze_lines){adze_dims_count(x->dims, 0, d), x->dims[d], adze_dims_count(x->dims, d + 1, x->rank)};
}

void adze_add_element(const adze_view *y, int64_t at, const adze_view *x, int64_t from) {
    if (adze_dtype_is_float(y->dtype)) {
        adze_store_f(y->data, y->dtype, at, adze_load_f(y->data, y->dtype, at) + adze_load_f(x->data, x->dtype, from));
    } else {
        adze_store_i(y->data, y->dtype, at, (int64_t)((uint64_t)adze_load_i(y->data, y->dtype, at) + (uint64_t)adze_load_i(x->data, x->dtype, from)));
    }
}

/* Row-major, without gaps. */
static bool dense(const adze_view *v) {
    int64_t want = 1;
    for (int d = v->rank - 1; d >= 0; d--) {
        if (v->dims[d] != 1 && v->strides[d] != want) {
            return false;
        }
        want *= v->dims[d];
    }
    return true;
}

void adze_view_copy(void *to, const adze_view *from) {
    size_t size = adze_dtype_size(from->dtype);
    if (!adze_view_empty(from) && dense(from)) {
        memmove(to, from->data, (size_t)adze_view_count(from) * size);
        return;
    }
    adze_walk w;
    for (adze_walk_begin(&w, from, 1); w.i < w.count; adze_walk_next(&w)) {
        memmove((char *)to + (size_t)w.i * size, (const char *)from->data + w.off[0] * (int64_t)size, size);
    }
}

/* -- random test cases --------------------------------------------------------------------------------------------------------------------------- */

bool adze_sample_coin(adze_rng *r, int n) {
    return adze_rng_below(r, (uint64_t)n) == 0;
}

int64_t adze_sample_size(adze_rng *r, const adze_case *c, int64_t min) {
    static const int64_t AWKWARD[] = {1, 1, 2, 3, 5, 7, 8, 9, 13, 15, 16, 17, 31, 33, 65};
    if (!c->awkward) {
        return adze_rng_range(r, 1, 5);
    }
    if (min == 0 && adze_sample_coin(r, 12)) {
        return 0;
    }
    return AWKWARD[adze_rng_below(r, ADZE_COUNT(AWKWARD))];
}

adze_type adze_sample_type(adze_rng *r, const adze_case *c, adze_dtype d, int min_rank, int max_rank, int64_t min) {
    int64_t dims[ADZE_MAX_RANK], count = 1;
    int rank = (int)adze_rng_range(r, min_rank, max_rank);
    for (int k = 0; k < rank; k++) {
        dims[k] = adze_sample_size(r, c, min);
        if (count * dims[k] > 600) {
            dims[k] = adze_rng_range(r, 1, 2);
        }
        count *= dims[k] > 0 ? dims[k] : 1;
    }
    return adze_type_make(d, rank, dims);
}

adze_dtype adze_sample_dtype(adze_rng *r, const adze_case *c, int set) {
    return c->any_dtype && (set & ~ADZE_SET_F) ? adze_sample_any(r, set) : c->dtype;
}

adze_dtype adze_sample_any(adze_rng *r, int set) {
    adze_dtype d;
    do {
        d = (adze_dtype)adze_rng_range(r, ADZE_NONE + 1, ADZE_NDTYPES - 1);
    } while (!adze_in_set(set, d));
    return d;
}
