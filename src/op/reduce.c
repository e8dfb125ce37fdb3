/* Reductions over sets of axes: sum, mean, reduce_max, reduce_min, prod, logsumexp. */
#include "op/record.h"

static const adze_field REDUCE_ATTRS[] = {ADZE_ATTR(adze_reduce_attrs, axes, ADZE_F_INTS, "axes to reduce; empty: all"),
                                          ADZE_ATTR(adze_reduce_attrs, keep, ADZE_F_BOOL, "reduced axes stay, with size 1"), ADZE_ATTR_END};

/* -- axes ---------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct axes { /* which axes of a shape go and which stay, each in order */
    int ngone, nkept;
    int gone[ADZE_MAX_RANK], kept[ADZE_MAX_RANK];
} axes;

static axes find_axes(const adze_reduce_attrs *p, int rank) {
    bool goes[ADZE_MAX_RANK] = {false};
    axes a = {0};
    for (int64_t k = 0; k < p->axes.n; k++) {
        goes[adze_axis(p->axes.v[k], rank)] = true;
    }
    for (int d = 0; d < rank; d++) {
        if (goes[d] || p->axes.n == 0) {
            a.gone[a.ngone++] = d;
        } else {
            a.kept[a.nkept++] = d;
        }
    }
    return a;
}

static int check_axes(adze_sig *s) {
    const adze_reduce_attrs *p = s->attrs;
    int rank = s->in[0].rank;
    bool seen[ADZE_MAX_RANK] = {false};
    if (p->axes.n < 0 || p->axes.n > rank) {
        return adze_op_fail(s, ADZE_EARG, "%lld axes to reduce, but the input has %d", (long long)p->axes.n, rank);
    }
    for (int64_t k = 0; k < p->axes.n; k++) {
        TRY(adze_check_axis(s, p->axes.v[k], rank));
        int d = (int)adze_axis(p->axes.v[k], rank);
        if (seen[d]) {
            return adze_op_fail(s, ADZE_EARG, "axis %d is named twice", d);
        }
        seen[d] = true;
    }
    return ADZE_OK;
}

static int infer_reduce(adze_sig *s, int set, bool empty_ok) {
    const adze_reduce_attrs *p = s->attrs;
    const adze_type *x = &s->in[0];
    TRY(adze_check_dtype(s, 0, "the input", set));
    TRY(check_axes(s));
    axes a = find_axes(p, x->rank);
    int64_t dims[ADZE_MAX_RANK];
    int rank = 0;
    for (int d = 0, k = 0; d < x->rank; d++) {
        bool gone = k < a.ngone && a.gone[k] == d;
        k += gone;
        if (gone && x->dims[d] == 0 && !empty_ok) {
            return adze_op_fail(s, ADZE_ESHAPE, "axis %d has size 0, and an empty set has no %s", d, s->op->name);
        }
        if (!gone || p->keep) {
            dims[rank++] = gone ? 1 : x->dims[d];
        }
    }
    return adze_set_out(s, 0, x->dtype, rank, dims);
}

enum { SET_SUM = ADZE_SET_NUM };

static int infer_sum(adze_sig *s) { /* prod too: an empty sum is 0, an empty product 1 */
    return infer_reduce(s, SET_SUM, true);
}
static int infer_mean(adze_sig *s) { /* logsumexp too */
    return infer_reduce(s, ADZE_SET_F, false);
}
static int infer_extreme(adze_sig *s) {
    return infer_reduce(s, SET_SUM, false);
}

/* -- reference: for each element kept, a walk over the set that is reduced ----------------------------------------------------------------------- */

typedef struct set { /* the elements that one result is made of */
    const adze_view *x;
    adze_view inner;
    int64_t base;
} set;

typedef double (*reduce_f)(const set *);
typedef int64_t (*reduce_i)(const set *);

static void run_reduce(const adze_step *s, reduce_f f, reduce_i fi) {
    const adze_view *x = &s->in[0];
    axes a = find_axes(s->attrs, x->rank);
    adze_view outer = *x;
    set one = {.x = x, .inner = *x};
    outer.rank = a.nkept;
    one.inner.rank = a.ngone;
    for (int d = 0; d < a.nkept; d++) {
        outer.dims[d] = x->dims[a.kept[d]];
        outer.strides[d] = x->strides[a.kept[d]];
    }
    for (int d = 0; d < a.ngone; d++) {
        one.inner.dims[d] = x->dims[a.gone[d]];
        one.inner.strides[d] = x->strides[a.gone[d]];
    }
    adze_walk w;
    for (adze_walk_begin(&w, &outer, 1); w.i < w.count; adze_walk_next(&w)) {
        one.base = w.off[0];
        if (adze_dtype_is_float(x->dtype)) {
            adze_store_f(s->out[0].data, x->dtype, w.i, f(&one));
        } else {
            adze_store_i(s->out[0].data, x->dtype, w.i, fi(&one));
        }
    }
}

#define EACH(set, w)                                                                                                                                 \
    adze_walk_begin(&(w), &(set)->inner, 1);                                                                                                         \
    (w).i < (w).count;                                                                                                                               \
    adze_walk_next(&(w))
#define GET_F(set, w) adze_load_f((set)->x->data, (set)->x->dtype, (set)->base + (w).off[0])
#define GET_I(set, w) adze_load_i((set)->x->data, (set)->x->dtype, (set)->base + (w).off[0])

static double sum_f(const set *e) {
    adze_walk w;
    double y = 0.0;
    for (EACH(e, w)) {
        y += GET_F(e, w);
    }
    return y;
}

static int64_t sum_i(const set *e) {
    adze_walk w;
    uint64_t y = 0; /* wraps around */
    for (EACH(e, w)) {
        y += (uint64_t)GET_I(e, w);
    }
    return (int64_t)y;
}

static double mean_f(const set *e) {
    return sum_f(e) / (double)adze_view_count(&e->inner);
}

static double prod_f(const set *e) {
    adze_walk w;
    double y = 1.0;
    for (EACH(e, w)) {
        y *= GET_F(e, w);
    }
    return y;
}

static int64_t prod_i(const set *e) {
    adze_walk w;
    uint64_t y = 1;
    for (EACH(e, w)) {
        y *= (uint64_t)GET_I(e, w);
    }
    return (int64_t)y;
}

static double max_f(const set *e) { /* NaN wins */
    adze_walk w;
    double y = -(double)INFINITY;
    for (EACH(e, w)) {
        double v = GET_F(e, w);
        y = v > y || isnan(v) ? v : y;
    }
    return y;
}

static int64_t max_i(const set *e) {
    adze_walk w;
    int64_t y = INT64_MIN;
    for (EACH(e, w)) {
        int64_t v = GET_I(e, w);
        y = v > y ? v : y;
    }
    return y;
}

static double min_f(const set *e) {
    adze_walk w;
    double y = (double)INFINITY;
    for (EACH(e, w)) {
        double v = GET_F(e, w);
        y = v < y || isnan(v) ? v : y;
    }
    return y;
}

static int64_t min_i(const set *e) {
    adze_walk w;
    int64_t y = INT64_MAX;
    for (EACH(e, w)) {
        int64_t v = GET_I(e, w);
        y = v < y ? v : y;
    }
    return y;
}

static double logsumexp_f(const set *e) {
    adze_walk w;
    double m = max_f(e), y = 0.0;
    if (isinf(m)) {
        return m; /* inf - inf below would lose it */
    }
    for (EACH(e, w)) {
        y += exp(GET_F(e, w) - m);
    }
    return m + log(y);
}

#define REF(name, f, fi)                                                                                                                             \
    static void ref_##name(const adze_step *s, int ith, int nth) {                                                                                   \
        (void)ith, (void)nth;                                                                                                                        \
        run_reduce(s, f, fi);                                                                                                                        \
    }
REF(sum, sum_f, sum_i)
REF(mean, mean_f, NULL)
REF(reduce_max, max_f, max_i)
REF(reduce_min, min_f, min_i)
REF(prod, prod_f, prod_i)
REF(logsumexp, logsumexp_f, NULL)

/* -- derivatives --------------------------------------------------------------------------------------------------------------------------------- */

static adze_val unreduce(adze_adj *a, adze_val t) {
    return adze_unreduce(a->g, t, a->x[0], &((const adze_reduce_attrs *)a->attrs)->axes);
}

static adze_val reduce_again(adze_adj *a, adze_val v) { /* the sum over the same axes */
    return adze_apply_name(a->g, "sum", &v, 1, a->attrs, NULL);
}

static void vjp_sum(adze_adj *a) {
    a->r[0] = unreduce(a, a->t[0]);
}

static void vjp_mean(adze_adj *a) {
    adze_type x = adze_val_type(a->g, a->x[0]), y = adze_val_type(a->g, a->y[0]);
    int64_t n = adze_type_count(&x), m = adze_type_count(&y);
    a->r[0] = unreduce(a, adze_scale(a->g, a->t[0], n > 0 ? (double)m / (double)n : 1.0, 0.0));
}

/* x with the axes that stay first and those that go joined into one behind them; dims: its shape. */
static adze_val gather_axes(adze_adj *a, adze_val x, int perm[ADZE_MAX_RANK], int64_t dims[ADZE_MAX_RANK + 1], int *rank) {
    adze_type t = adze_val_type(a->g, x);
    axes e = find_axes(a->attrs, t.rank);
    int64_t n = 1;
    for (int d = 0; d < e.nkept; d++) {
        perm[d] = e.kept[d];
        dims[d] = t.dims[e.kept[d]];
    }
    for (int d = 0; d < e.ngone; d++) {
        perm[e.nkept + d] = e.gone[d];
        n *= t.dims[e.gone[d]];
    }
    dims[e.nkept] = n;
    *rank = e.nkept + 1;
    return adze_reshape(a->g, t.rank > 0 ? adze_transpose(a->g, x, perm, t.rank) : x, dims, *rank);
}

/* 1 at the first extreme element of each set in row-major order, else 0; x's shape. A constant for derivatives. */
static adze_val first_extreme(adze_adj *a) {
    adze_graph *g = a->g;
    adze_type t = adze_val_type(g, a->x[0]);
    int perm[ADZE_MAX_RANK], inverse[ADZE_MAX_RANK], rank;
    int64_t dims[ADZE_MAX_RANK + 1], turned[ADZE_MAX_RANK];
    adze_val rows = gather_axes(a, a->x[0], perm, dims, &rank);
    adze_val at = strcmp(a->op->name, "reduce_max") == 0 ? adze_argmax(g, rows, -1) : adze_argmin(g, rows, -1);
    adze_val hot = adze_one_hot(g, at, dims[rank - 1], t.dtype, 1.0, 0.0);
    for (int d = 0; d < t.rank; d++) {
        turned[d] = t.dims[perm[d]];
        inverse[perm[d]] = d;
    }
    adze_val y = adze_reshape(g, hot, turned, t.rank);
    return t.rank > 0 ? adze_transpose(g, y, inverse, t.rank) : y;
}

static void vjp_extreme(adze_adj *a) {
    a->r[0] = adze_mul(a->g, unreduce(a, a->t[0]), first_extreme(a));
}

static void jvp_extreme(adze_adj *a) {
    if (a->t[0].id != 0) {
        a->r[0] = reduce_again(a, adze_mul(a->g, a->t[0], first_extreme(a)));
    }
}

/* A tree of pairwise products: right for any number of zeros, to every order. */
static void expand_prod(adze_adj *a) {
    adze_graph *g = a->g;
    adze_type t = adze_val_type(g, a->x[0]);
    const adze_reduce_attrs *p = a->attrs;
    int perm[ADZE_MAX_RANK], rank;
    int64_t dims[ADZE_MAX_RANK + 1], from[ADZE_MAX_RANK] = {0}, to[ADZE_MAX_RANK], out[ADZE_MAX_RANK];
    adze_val v = gather_axes(a, a->x[0], perm, dims, &rank);
    axes e = find_axes(p, t.rank);
    int nout = 0, last = rank - 1;
    for (int d = 0, k = 0; d < t.rank; d++) {
        bool gone = k < e.ngone && e.gone[k] == d;
        k += gone;
        if (!gone || p->keep) {
            out[nout++] = gone ? 1 : t.dims[d];
        }
    }
    memcpy(to, dims, (size_t)rank * sizeof *to);
    if (dims[last] == 0) {
        a->r[0] = adze_full(g, adze_type_make(t.dtype, nout, out), 1.0);
        return;
    }
    for (int64_t n = dims[last]; n > 1; n = (n + 1) / 2) {
        int64_t half = n / 2;
        from[last] = 0, to[last] = half;
        adze_val low = adze_slice(g, v, from, to, NULL);
        from[last] = half, to[last] = 2 * half;
        adze_val m = adze_mul(g, low, adze_slice(g, v, from, to, NULL));
        if (n % 2 != 0) {
            from[last] = n - 1, to[last] = n;
            m = adze_concat(g, (adze_val[]){m, adze_slice(g, v, from, to, NULL)}, 2, last);
        }
        v = m;
    }
    a->r[0] = adze_reshape(g, v, out, nout);
}

static adze_val softmax_of(adze_adj *a) {
    return adze_exp(a->g, adze_sub(a->g, a->x[0], unreduce(a, a->y[0])));
}

static void vjp_logsumexp(adze_adj *a) {
    a->r[0] = adze_mul(a->g, unreduce(a, a->t[0]), softmax_of(a));
}

static void jvp_logsumexp(adze_adj *a) {
    if (a->t[0].id != 0) {
        a->r[0] = reduce_again(a, adze_mul(a->g, a->t[0], softmax_of(a)));
    }
}

/* -- records ------------------------------------------------------------------------------------------------------------------------------------- */

static void sample_reduce(adze_rng *r, adze_case *c, int dtypes, int64_t min) {
    adze_reduce_attrs *p = c->attrs;
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, dtypes), 0, 4, min);
    c->dom[0] = adze_dom_range(-2.0, 2.0);
    int rank = c->in[0].rank;
    p->keep = adze_sample_coin(r, 2);
    p->axes.n = 0;
    for (int d = 0; d < rank; d++) {
        if (adze_sample_coin(r, 2)) {
            p->axes.v[p->axes.n++] = adze_sample_coin(r, 3) ? d - rank : d;
        }
    }
}

static void sample_sum(adze_rng *r, adze_case *c) {
    sample_reduce(r, c, SET_SUM, 0);
}
static void sample_mean(adze_rng *r, adze_case *c) {
    sample_reduce(r, c, ADZE_SET_F, 1);
}
static void sample_extreme(adze_rng *r, adze_case *c) {
    sample_reduce(r, c, SET_SUM, 1);
    if (adze_dtype_is_float(c->in[0].dtype)) {
        c->dom[0] = adze_dom_distinct();
    }
}

#define REDUCTION(name_, flags_, infer_, vjp_, jvp_, expand_, sample_, doc_)                                                                         \
    const adze_op adze_op_##name_ = {.name = #name_,                                                                                                 \
                                     ADZE_ARITY(1, 1),                                                                                               \
                                     .flags = ADZE_OP_STRIDED | (flags_),                                                                            \
                                     ADZE_ATTRS(REDUCE_ATTRS, adze_reduce_attrs),                                                                    \
                                     .doc = doc_,                                                                                                    \
                                     .infer = infer_,                                                                                                \
                                     .vjp = vjp_,                                                                                                    \
                                     .jvp = jvp_,                                                                                                    \
                                     .expand = expand_,                                                                                              \
                                     .cost = adze_cost_input,                                                                                        \
                                     .ref = ref_##name_,                                                                                             \
                                     .sample = sample_};                                                                                             \
    adze_val adze_##name_(adze_graph *g, adze_val x, const int *list, int n, bool keep) {                                                            \
        return build_reduce(g, &adze_op_##name_, x, list, n, keep);                                                                                  \
    }

/* Axes are kept non-negative and in order, so that equal reductions are equal nodes. */
static adze_val build_reduce(adze_graph *g, const adze_op *op, adze_val x, const int *list, int n, bool keep) {
    adze_reduce_attrs p = {.axes = {.n = n}, .keep = keep};
    int rank = adze_val_type(g, x).rank;
    for (int k = 0; k < n && k < ADZE_MAX_RANK; k++) {
        int64_t axis = adze_axis(list[k], rank);
        int at = k;
        for (; at > 0 && p.axes.v[at - 1] > axis; at--) {
            p.axes.v[at] = p.axes.v[at - 1];
        }
        p.axes.v[at] = axis;
    }
    return adze_apply(g, op, &x, 1, &p, NULL);
}

REDUCTION(sum, ADZE_OP_LINEAR, infer_sum, vjp_sum, NULL, NULL, sample_sum, "y = sum of x over the axes; 0 for an empty set; integers wrap around")
REDUCTION(mean, ADZE_OP_LINEAR, infer_mean, vjp_mean, NULL, NULL, sample_mean, "y = sum of x over the axes / number of elements")
REDUCTION(reduce_max, 0, infer_extreme, vjp_extreme, jvp_extreme, NULL, sample_extreme,
          "y = largest x over the axes; NaN wins; the gradient goes to the first largest in row-major order")
REDUCTION(reduce_min, 0, infer_extreme, vjp_extreme, jvp_extreme, NULL, sample_extreme,
          "y = smallest x over the axes; NaN wins; the gradient goes to the first smallest in row-major order")
REDUCTION(prod, 0, infer_sum, NULL, NULL, expand_prod, sample_sum, "y = product of x over the axes; 1 for an empty set; integers wrap around")
REDUCTION(logsumexp, 0, infer_mean, vjp_logsumexp, jvp_logsumexp, NULL, sample_mean, "y = ln sum e^x over the axes, without overflow")
