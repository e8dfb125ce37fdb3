/* Pooling. {maxpool -> maxpool_dx <-> maxpool_at} and {avgpool <-> avgpool_dx} are closed under derivatives: maxpool hands out where its maxima lie,
 * and the other two move values to and from those places. Windows that lie wholly in padding are refused, so every output has at least one input. */
#include "graph/graph_internal.h"
#include "op/conv_geom.h"
#include "op/element.h"
#include "op/record.h"

#define LIST_FIELD(member, low, text)                                                                                                                \
    { .name = #member, .kind = ADZE_F_INTS, .offset = offsetof(adze_pool_attrs, member), .lo = (low), .hi = ADZE_WINDOW_MAX, .help = text }
#define COMMON_FIELDS                                                                                                                                \
    LIST_FIELD(size, 1, "window size per spatial axis"), LIST_FIELD(stride, 1, "step between windows per spatial axis; empty: the window size"),     \
        LIST_FIELD(pad_lo, 0, "padding before the input per spatial axis, less than the window; empty: 0"),                                          \
        LIST_FIELD(pad_hi, 0, "padding after the input per spatial axis, less than the window; empty: 0"),                                           \
        ADZE_ATTR(adze_pool_attrs, ceil, ADZE_F_BOOL, "output sizes round up; the last window starts inside")
#define COUNT_FIELD ADZE_ATTR(adze_pool_attrs, count_pad, ADZE_F_BOOL, "padding counts in the divisor")
#define IN_FIELD LIST_FIELD(in, 1, "spatial size of x")

static const adze_field MAXPOOL_FIELDS[] = {COMMON_FIELDS, ADZE_ATTR_END};
static const adze_field MAXPOOL_DX_FIELDS[] = {COMMON_FIELDS, IN_FIELD, ADZE_ATTR_END};
static const adze_field AVGPOOL_FIELDS[] = {COMMON_FIELDS, COUNT_FIELD, ADZE_ATTR_END};
static const adze_field AVGPOOL_DX_FIELDS[] = {COMMON_FIELDS, COUNT_FIELD, IN_FIELD, ADZE_ATTR_END};

/* -- legality ------------------------------------------------------------------------------------------------------------------------------- */

/* Windows over an input of dims x: checks them and fills the output's spatial dims y[1 ...]. */
static int lay_windows(adze_sig *s, int spatial, const int64_t *x, int64_t *y) {
    const adze_pool_attrs *a = s->attrs;
    TRY(adze_check_list(s, "size", &a->size, spatial, 1, true));
    TRY(adze_check_list(s, "stride", &a->stride, spatial, 1, false));
    TRY(adze_check_list(s, "pad_lo", &a->pad_lo, spatial, 0, false));
    TRY(adze_check_list(s, "pad_hi", &a->pad_hi, spatial, 0, false));
    const adze_geom g = adze_pool_geom(a, spatial + 2, x, y);
    for (int i = 0; i < spatial; i++) {
        const adze_window *w = &g.axis[ADZE_SPATIAL - spatial + i];
        if (w->lo >= w->size || w->hi >= w->size) {
            return adze_op_fail(s, ADZE_EARG, "padding %lld + %lld on spatial axis %d must be less than the window's size %lld on either side",
                                (long long)w->lo, (long long)w->hi, i, (long long)w->size);
        }
        y[i + 1] = adze_pool_out(w, a->ceil);
        if (w->in < 1 || y[i + 1] < 1) {
            return adze_op_fail(s, ADZE_ESHAPE, "the window of %lld does not fit on spatial axis %d: the input has %lld and padding %lld + %lld",
                                (long long)w->size, i, (long long)w->in, (long long)w->lo, (long long)w->hi);
        }
    }
    return ADZE_OK;
}

/* x: (N, S..., C) -> y: (N, O..., C) in `out` of them */
static int infer_pool(adze_sig *s) {
    int spatial;
    TRY(adze_check_spatial(s, 0, "the input", ADZE_SET_F, &spatial));
    int64_t y[ADZE_MAX_RANK] = {s->in[0].dims[0]};
    TRY(lay_windows(s, spatial, s->in[0].dims, y));
    y[spatial + 1] = s->in[0].dims[spatial + 1];
    return adze_set_out(s, 0, s->in[0].dtype, spatial + 2, y);
}

/* The flat spatial position of an element of x must fit in i32. */
static int check_positions(adze_sig *s, int spatial, const int64_t *x) {
    int64_t count = 1;
    for (int i = 0; i < spatial; i++) {
        if (!adze_mul_size(count, x[i + 1], &count) || count > INT32_MAX) {
            return adze_op_fail(s, ADZE_ESHAPE, "an image has over %lld positions: they do not fit the i32 index", (long long)INT32_MAX);
        }
    }
    return ADZE_OK;
}

static int infer_maxpool(adze_sig *s) {
    TRY(infer_pool(s));
    TRY(check_positions(s, s->in[0].rank - 2, s->in[0].dims));
    return adze_set_out(s, 1, ADZE_I32, s->out[0].rank, s->out[0].dims);
}

/* x: (N, S..., C), index: (N, O..., C) -> (N, O..., C) */
static int infer_maxpool_at(adze_sig *s) {
    TRY(infer_pool(s));
    TRY(check_positions(s, s->in[0].rank - 2, s->in[0].dims));
    TRY(adze_check_dtype(s, 1, "the index", 1 << ADZE_I32));
    if (!adze_same_dims(&s->in[1], &s->out[0])) {
        return adze_op_fail(s, ADZE_ESHAPE, "the index is %s, the windows give %s", ADZE_SHOWN(&s->in[1]), ADZE_SHOWN(&s->out[0]));
    }
    return ADZE_OK;
}

/* dy: (N, O..., C) -> dx: (N, in..., C); pooling that size must give O. */
static int infer_pool_dx(adze_sig *s) {
    const adze_pool_attrs *a = s->attrs;
    const int64_t *dy = s->in[0].dims;
    int spatial;
    TRY(adze_check_spatial(s, 0, "dy", ADZE_SET_F, &spatial));
    TRY(adze_check_list(s, "in", &a->in, spatial, 1, true));
    int64_t x[ADZE_MAX_RANK] = {dy[0]}, y[ADZE_MAX_RANK] = {dy[0]};
    for (int i = 0; i < spatial; i++) {
        x[i + 1] = a->in.v[i];
    }
    x[spatial + 1] = dy[spatial + 1];
    TRY(lay_windows(s, spatial, x, y));
    for (int i = 0; i < spatial; i++) {
        if (y[i + 1] != dy[i + 1]) {
            return adze_op_fail(s, ADZE_ESHAPE, "dy has %lld positions on spatial axis %d, but pooling an input of %lld gives %lld",
                                (long long)dy[i + 1], i, (long long)x[i + 1], (long long)y[i + 1]);
        }
    }
    return adze_set_out(s, 0, s->in[0].dtype, spatial + 2, x);
}

static int infer_maxpool_dx(adze_sig *s) {
    TRY(infer_pool_dx(s));
    TRY(check_positions(s, s->in[0].rank - 2, s->out[0].dims));
    TRY(adze_check_dtype(s, 1, "the index", 1 << ADZE_I32));
    if (!adze_same_dims(&s->in[1], &s->in[0])) {
        return adze_op_fail(s, ADZE_ESHAPE, "the index is %s, dy is %s", ADZE_SHOWN(&s->in[1]), ADZE_SHOWN(&s->in[0]));
    }
    return ADZE_OK;
}

/* -- derivatives ------------------------------------------------------------------------------------------------------------------------------ */

static adze_pool_attrs with_in(const adze_adj *a, adze_val x) {
    adze_pool_attrs b = *(const adze_pool_attrs *)a->attrs;
    const adze_type t = adze_val_type(a->g, x);
    b.in = adze_ints_of(t.dims + 1, t.rank - 2);
    return b;
}

static void vjp_maxpool(adze_adj *a) {
    if (a->t[0].id) {
        const adze_pool_attrs b = with_in(a, a->x[0]);
        a->r[0] = adze_maxpool_dx(a->g, a->t[0], a->y[1], &b);
    }
}

static void jvp_maxpool(adze_adj *a) {
    if (a->t[0].id) {
        a->r[0] = adze_maxpool_at(a->g, a->t[0], a->y[1], a->attrs);
    }
}

static void vjp_maxpool_at(adze_adj *a) {
    if (a->need[0]) {
        const adze_pool_attrs b = with_in(a, a->x[0]);
        a->r[0] = adze_maxpool_dx(a->g, a->t[0], a->x[1], &b);
    }
}

static void vjp_maxpool_dx(adze_adj *a) {
    if (a->need[0]) {
        a->r[0] = adze_maxpool_at(a->g, a->t[0], a->x[1], a->attrs);
    }
}

static void vjp_avgpool(adze_adj *a) {
    const adze_pool_attrs b = with_in(a, a->x[0]);
    a->r[0] = adze_avgpool_dx(a->g, a->t[0], &b);
}

static void vjp_avgpool_dx(adze_adj *a) {
    a->r[0] = adze_avgpool(a->g, a->t[0], a->attrs);
}

/* -- reference kernels --------------------------------------------------------------------------------------------------------------------------- */

/* A box of positions, walked in row-major order. */
typedef struct box {
    int64_t from[ADZE_SPATIAL], to[ADZE_SPATIAL];
} box;

static bool box_next(const box *b, int64_t p[ADZE_SPATIAL]) {
    for (int i = ADZE_SPATIAL - 1; i >= 0; i--) {
        if (++p[i] < b->to[i]) {
            return true;
        }
        p[i] = b->from[i];
    }
    return false;
}

static box all_of(const adze_geom *g, bool large) {
    box b = {{0}, {0}};
    for (int i = 0; i < ADZE_SPATIAL; i++) {
        b.to[i] = large ? g->axis[i].in : g->axis[i].out;
    }
    return b;
}

/* The part of output o's window that lies inside the input: never empty. */
static box window_of(const adze_geom *g, const int64_t o[ADZE_SPATIAL]) {
    box b;
    for (int i = 0; i < ADZE_SPATIAL; i++) {
        const adze_window *w = &g->axis[i];
        int64_t from = o[i] * w->stride - w->lo, to = from + w->size;
        b.from[i] = from > 0 ? from : 0;
        b.to[i] = to < w->in ? to : w->in;
    }
    return b;
}

/* The flat position of p on the large side, or of o on the small side. */
static int64_t flat(const adze_geom *g, const int64_t p[ADZE_SPATIAL], bool large) {
    const adze_window *h = &g->axis[1], *w = &g->axis[2];
    return large ? (p[0] * h->in + p[1]) * w->in + p[2] : (p[0] * h->out + p[1]) * w->out + p[2];
}

static int64_t positions(const adze_geom *g, bool large) {
    const adze_window *d = &g->axis[0], *h = &g->axis[1], *w = &g->axis[2];
    return large ? d->in * h->in * w->in : d->out * h->out * w->out;
}

/* y = the greatest x in the window, index = its position: first in window order on ties; a NaN is greater than everything. */
static void ref_maxpool(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_geom g = adze_pool_geom(s->attrs, s->in[0].rank, s->in[0].dims, s->out[0].dims);
    const box outs = all_of(&g, false);
    const int64_t np = positions(&g, true), no = positions(&g, false);
    for (int64_t n = 0; n < g.n; n++) {
        int64_t o[ADZE_SPATIAL] = {0};
        do {
            const box win = window_of(&g, o);
            for (int64_t c = 0; c < g.c; c++) {
                int64_t p[ADZE_SPATIAL] = {win.from[0], win.from[1], win.from[2]}, at = flat(&g, p, true);
                double best = adze_at(&s->in[0], (n * np + at) * g.c + c);
                while (box_next(&win, p)) {
                    double v = adze_at(&s->in[0], (n * np + flat(&g, p, true)) * g.c + c);
                    if (v > best || (isnan(v) && !isnan(best))) {
                        best = v;
                        at = flat(&g, p, true);
                    }
                }
                int64_t i = (n * no + flat(&g, o, false)) * g.c + c;
                adze_put(&s->out[0], i, best);
                ((int32_t *)s->out[1].data)[i] = (int32_t)at;
            }
        } while (box_next(&outs, o));
    }
}

/* y[n, o, c] = x[n, index[n, o, c], c]; 0 where the index is no position of x */
static void ref_maxpool_at(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_geom g = adze_pool_geom(s->attrs, s->in[0].rank, s->in[0].dims, s->out[0].dims);
    const int64_t np = positions(&g, true), per = positions(&g, false) * g.c, count = g.n * per;
    for (int64_t i = 0; i < count; i++) {
        int64_t at = ((const int32_t *)s->in[1].data)[i];
        adze_put(&s->out[0], i, at >= 0 && at < np ? adze_at(&s->in[0], (i / per * np + at) * g.c + i % g.c) : 0.0);
    }
}

/* dx[n, p, c] = sum of dy[n, o, c] over the o whose index is p, ascending; an index that is no position of x adds nothing */
static void ref_maxpool_dx(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_geom g = adze_pool_geom(s->attrs, s->in[0].rank, s->out[0].dims, s->in[0].dims);
    const int64_t np = positions(&g, true), no = positions(&g, false);
    double *sum = s->scratch; /* of one channel of one example */
    for (int64_t n = 0; n < g.n; n++) {
        for (int64_t c = 0; c < g.c; c++) {
            for (int64_t p = 0; p < np; p++) {
                sum[p] = 0;
            }
            for (int64_t o = 0; o < no; o++) {
                int64_t i = (n * no + o) * g.c + c, at = ((const int32_t *)s->in[1].data)[i];
                if (at >= 0 && at < np) {
                    sum[at] += adze_at(&s->in[0], i);
                }
            }
            for (int64_t p = 0; p < np; p++) {
                adze_put(&s->out[0], (n * np + p) * g.c + c, sum[p]);
            }
        }
    }
}

static size_t scratch_maxpool_dx(const adze_sig *s) {
    const adze_type *x = &s->out[0];
    return (size_t)adze_dims_count(x->dims, 1, x->rank - 1) * sizeof(double);
}

static double divisor(const adze_geom *g, const int64_t o[ADZE_SPATIAL], bool count_pad) {
    int64_t d = 1;
    for (int i = 0; i < ADZE_SPATIAL; i++) {
        d *= adze_window_divisor(&g->axis[i], o[i], count_pad);
    }
    return (double)d;
}

/* y[n, o, c] = sum of x over the window / divisor */
static void ref_avgpool(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_pool_attrs *a = s->attrs;
    const adze_geom g = adze_pool_geom(a, s->in[0].rank, s->in[0].dims, s->out[0].dims);
    const box outs = all_of(&g, false);
    const int64_t np = positions(&g, true), no = positions(&g, false);
    for (int64_t n = 0; n < g.n; n++) {
        int64_t o[ADZE_SPATIAL] = {0};
        do {
            const box win = window_of(&g, o);
            for (int64_t c = 0; c < g.c; c++) {
                int64_t p[ADZE_SPATIAL] = {win.from[0], win.from[1], win.from[2]};
                double sum = 0;
                do {
                    sum += adze_at(&s->in[0], (n * np + flat(&g, p, true)) * g.c + c);
                } while (box_next(&win, p));
                adze_put(&s->out[0], (n * no + flat(&g, o, false)) * g.c + c, sum / divisor(&g, o, a->count_pad));
            }
        } while (box_next(&outs, o));
    }
}

/* The outputs whose windows cover position p; false: none does. */
static bool covering(const adze_geom *g, const int64_t p[ADZE_SPATIAL], box *b) {
    bool some = true;
    for (int i = 0; i < ADZE_SPATIAL; i++) {
        const adze_window *w = &g->axis[i];
        int64_t q = p[i] + w->lo, last = q / w->stride + 1;
        b->from[i] = q < w->size ? 0 : (q - w->size) / w->stride + 1;
        b->to[i] = last < w->out ? last : w->out;
        some = some && b->from[i] < b->to[i];
    }
    return some;
}

/* dx[n, p, c] = sum over the outputs o whose windows cover p: dy[n, o, c] / divisor of o */
static void ref_avgpool_dx(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_pool_attrs *a = s->attrs;
    const adze_geom g = adze_pool_geom(a, s->in[0].rank, s->out[0].dims, s->in[0].dims);
    const box ins = all_of(&g, true);
    const int64_t np = positions(&g, true), no = positions(&g, false);
    for (int64_t n = 0; n < g.n; n++) {
        int64_t p[ADZE_SPATIAL] = {0};
        do {
            box b;
            bool some = covering(&g, p, &b);
            for (int64_t c = 0; c < g.c; c++) {
                int64_t o[ADZE_SPATIAL] = {b.from[0], b.from[1], b.from[2]};
                double sum = 0;
                bool more = some;
                while (more) {
                    sum += adze_at(&s->in[0], (n * no + flat(&g, o, false)) * g.c + c) / divisor(&g, o, a->count_pad);
                    more = box_next(&b, o);
                }
                adze_put(&s->out[0], (n * np + flat(&g, p, true)) * g.c + c, sum);
            }
        } while (box_next(&ins, p));
    }
}

/* -- cost: one operation for every (output, input) pair of a window ------------------------------------------------------------------------------ */

static adze_cost cost_pool(const adze_sig *s) {
    const adze_geom g = adze_pool_geom(s->attrs, s->in[0].rank, s->in[0].dims, s->out[0].dims);
    return adze_cost_of(s, (double)g.n * (double)g.c * adze_geom_taps(&g));
}

static adze_cost cost_pool_dx(const adze_sig *s) {
    const adze_geom g = adze_pool_geom(s->attrs, s->in[0].rank, s->out[0].dims, s->in[0].dims);
    return adze_cost_of(s, (double)g.n * (double)g.c * adze_geom_taps(&g));
}

/* -- random cases -------------------------------------------------------------------------------------------------------------------------------- */

/* x and y of a legal pool: 1 to 3 spatial axes, every attribute. */
static void draw(adze_rng *r, adze_case *c, adze_type *x, adze_type *y) {
    adze_pool_attrs *a = c->attrs;
    int spatial = (int)adze_rng_range(r, 1, 3);
    x->dtype = y->dtype = c->dtype;
    x->rank = y->rank = spatial + 2;
    x->dims[0] = y->dims[0] = c->awkward && adze_sample_coin(r, 6) ? 0 : adze_rng_range(r, 1, 2);
    x->dims[spatial + 1] = y->dims[spatial + 1] = adze_rng_range(r, 1, 3);
    bool pads = adze_sample_coin(r, 2), strides = !adze_sample_coin(r, 4); /* else empty: the defaults */
    a->ceil = adze_sample_coin(r, 2);
    a->count_pad = adze_sample_coin(r, 2);
    a->size.n = spatial;
    a->stride.n = strides ? spatial : 0;
    a->pad_lo.n = a->pad_hi.n = pads ? spatial : 0;
    for (int i = 0; i < spatial; i++) {
        adze_window w = {.size = a->size.v[i] = adze_rng_range(r, 1, 3)};
        w.stride = strides ? (a->stride.v[i] = adze_rng_range(r, 1, 3)) : w.size;
        if (pads) {
            w.lo = a->pad_lo.v[i] = adze_rng_range(r, 0, w.size - 1);
            w.hi = a->pad_hi.v[i] = adze_rng_range(r, 0, w.size - 1);
        }
        int64_t least = w.size - w.lo - w.hi - (a->ceil ? w.stride - 1 : 0);
        w.in = (least > 1 ? least : 1) + adze_rng_range(r, 0, spatial == 1 ? 8 : 4 - spatial);
        x->dims[i + 1] = w.in;
        y->dims[i + 1] = adze_pool_out(&w, a->ceil);
    }
}

static int64_t spatial_count(const adze_type *t) {
    return adze_dims_count(t->dims, 1, t->rank - 1);
}

static void sample_maxpool(adze_rng *r, adze_case *c) {
    adze_type y = {0};
    c->nin = 1;
    draw(r, c, &c->in[0], &y);
    c->dom[0] = adze_dom_distinct();
}

static void sample_maxpool_at(adze_rng *r, adze_case *c) {
    c->nin = 2;
    draw(r, c, &c->in[0], &c->in[1]);
    c->in[1].dtype = ADZE_I32;
    c->dom[1] = adze_dom_ids(0, spatial_count(&c->in[0]));
}

static void sample_maxpool_dx(adze_rng *r, adze_case *c) {
    adze_type x = {0};
    c->nin = 2;
    draw(r, c, &x, &c->in[0]);
    c->in[1] = c->in[0];
    c->in[1].dtype = ADZE_I32;
    c->dom[1] = adze_dom_ids(0, spatial_count(&x));
    ((adze_pool_attrs *)c->attrs)->in = adze_ints_of(x.dims + 1, x.rank - 2);
}

static void sample_avgpool(adze_rng *r, adze_case *c) {
    adze_type y = {0};
    c->nin = 1;
    draw(r, c, &c->in[0], &y);
}

static void sample_avgpool_dx(adze_rng *r, adze_case *c) {
    adze_type x = {0};
    c->nin = 1;
    draw(r, c, &x, &c->in[0]);
    ((adze_pool_attrs *)c->attrs)->in = adze_ints_of(x.dims + 1, x.rank - 2);
}

/* -- records and builders ------------------------------------------------------------------------------------------------------------------------ */

const adze_op adze_op_maxpool = {
    .name = "maxpool",
    ADZE_ARITY(1, 2),
    ADZE_ATTRS(MAXPOOL_FIELDS, adze_pool_attrs),
    .doc = "The greatest x in each window, and where it lies: x (N, S..., C) -> y (N, O..., C), index i32 (N, O..., C), the flat position in x.\n"
           "First in window order on ties; NaN wins. O = (S + pad_lo + pad_hi - size) / stride + 1, rounded down, or up with ceil.",
    .infer = infer_maxpool,
    .vjp = vjp_maxpool,
    .jvp = jvp_maxpool,
    .cost = cost_pool,
    .ref = ref_maxpool,
    .sample = sample_maxpool,
};

const adze_op adze_op_maxpool_dx = {
    .name = "maxpool_dx",
    ADZE_ARITY(2, 1),
    .flags = ADZE_OP_LINEAR,
    ADZE_ATTRS(MAXPOOL_DX_FIELDS, adze_pool_attrs),
    .doc = "dx[n, p, c] = sum of dy[n, o, c] over the o with index[n, o, c] = p: dy, index (N, O..., C) -> dx (N, in..., C).\n"
           "Indices outside add nothing.",
    .infer = infer_maxpool_dx,
    .vjp = vjp_maxpool_dx,
    .ref = ref_maxpool_dx,
    .ref_scratch = scratch_maxpool_dx,
    .sample = sample_maxpool_dx,
};

const adze_op adze_op_maxpool_at = {
    .name = "maxpool_at",
    ADZE_ARITY(2, 1),
    .flags = ADZE_OP_LINEAR,
    ADZE_ATTRS(MAXPOOL_FIELDS, adze_pool_attrs),
    .doc = "y[n, o, c] = x[n, index[n, o, c], c]: x (N, S..., C), index i32 (N, O..., C) -> y (N, O..., C). Indices outside give 0.",
    .infer = infer_maxpool_at,
    .vjp = vjp_maxpool_at,
    .cost = adze_cost_move,
    .ref = ref_maxpool_at,
    .sample = sample_maxpool_at,
};

const adze_op adze_op_avgpool = {
    .name = "avgpool",
    ADZE_ARITY(1, 1),
    .flags = ADZE_OP_LINEAR,
    ADZE_ATTRS(AVGPOOL_FIELDS, adze_pool_attrs),
    .doc = "The mean of x over each window: x (N, S..., C) -> y (N, O..., C). The divisor counts the positions inside x, or with count_pad those\n"
           "inside x and its padding (never what a rounded-up last window covers beyond).",
    .infer = infer_pool,
    .vjp = vjp_avgpool,
    .cost = cost_pool,
    .ref = ref_avgpool,
    .sample = sample_avgpool,
};

const adze_op adze_op_avgpool_dx = {
    .name = "avgpool_dx",
    ADZE_ARITY(1, 1),
    .flags = ADZE_OP_LINEAR,
    ADZE_ATTRS(AVGPOOL_DX_FIELDS, adze_pool_attrs),
    .doc =
        "The adjoint of avgpool: dx[n, p, c] = sum over the windows o that cover p: dy[n, o, c] / divisor of o. dy (N, O..., C) -> dx (N, in..., C).",
    .infer = infer_pool_dx,
    .vjp = vjp_avgpool_dx,
    .cost = cost_pool_dx,
    .ref = ref_avgpool_dx,
    .sample = sample_avgpool_dx,
};

adze_val adze_maxpool(adze_graph *g, adze_val x, const adze_pool_attrs *a, adze_val *index) {
    adze_val out[2] = {{0}, {0}};
    adze_apply(g, &adze_op_maxpool, &x, 1, a, out);
    adze_give(index, out[1]);
    return out[0];
}

adze_val adze_maxpool_dx(adze_graph *g, adze_val dy, adze_val index, const adze_pool_attrs *a) {
    return adze_apply(g, &adze_op_maxpool_dx, (adze_val[]){dy, index}, 2, a, NULL);
}

adze_val adze_maxpool_at(adze_graph *g, adze_val x, adze_val index, const adze_pool_attrs *a) {
    return adze_apply(g, &adze_op_maxpool_at, (adze_val[]){x, index}, 2, a, NULL);
}

adze_val adze_avgpool(adze_graph *g, adze_val x, const adze_pool_attrs *a) {
    return adze_apply(g, &adze_op_avgpool, &x, 1, a, NULL);
}

adze_val adze_avgpool_dx(adze_graph *g, adze_val dy, const adze_pool_attrs *a) {
    return adze_apply(g, &adze_op_avgpool_dx, &dy, 1, a, NULL);
}

/* Reduces the axes between the first and the last. */
static adze_val global(adze_graph *g, adze_val x, const char *name, adze_val (*reduce)(adze_graph *, adze_val, const int *, int, bool)) {
    const adze_type t = adze_val_type(g, x);
    if (t.dtype != ADZE_NONE && t.rank < 2) {
        adze_graph_fail(g, ADZE_ESHAPE, "%s: the input has rank %d, it must be (N, S..., C)", name, (int)t.rank);
        return (adze_val){0};
    }
    int axes[ADZE_MAX_RANK], n = 0;
    for (int i = 1; i < t.rank - 1; i++) {
        axes[n++] = i;
    }
    return n > 0 ? reduce(g, x, axes, n, false) : x;
}

adze_val adze_global_avgpool(adze_graph *g, adze_val x) {
    return global(g, x, "global_avgpool", adze_mean);
}

adze_val adze_global_maxpool(adze_graph *g, adze_val x) {
    return global(g, x, "global_maxpool", adze_reduce_max);
}
