/* Convolution and its two adjoints. All three are bilinear and give each other's derivatives, so the family is closed: conv (x, w -> y),
 * conv_dx (y, w -> x; also the transposed convolution), conv_dw (x, y -> w). Activations are (N, S..., C), weights (k..., C / groups, K). */
#include "op/conv_geom.h"
#include "op/element.h"

#define LIST_FIELD(member, low, text)                                                                                                                \
    { .name = #member, .kind = ADZE_F_INTS, .offset = offsetof(adze_conv_attrs, member), .lo = (low), .hi = ADZE_WINDOW_MAX, .help = text }
#define COMMON_FIELDS                                                                                                                                \
    LIST_FIELD(stride, 1, "step between windows per spatial axis; empty: 1"),                                                                        \
        LIST_FIELD(dilation, 1, "step between taps per spatial axis; empty: 1"),                                                                     \
        LIST_FIELD(pad_lo, 0, "zeros before the input per spatial axis; empty: 0"),                                                                  \
        LIST_FIELD(pad_hi, 0, "zeros after the input per spatial axis; empty: 0"),                                                                   \
        {.name = "groups",                                                                                                                           \
         .kind = ADZE_F_I64,                                                                                                                         \
         .offset = offsetof(adze_conv_attrs, groups),                                                                                                \
         .def = "1",                                                                                                                                 \
         .lo = 1,                                                                                                                                    \
         .hi = ADZE_WINDOW_MAX,                                                                                                                      \
         .help = "independent groups of channels"},                                                                                                  \
        ADZE_ATTR_DTYPE(adze_conv_attrs, out)

static const adze_field CONV_FIELDS[] = {COMMON_FIELDS, {0}};
static const adze_field CONV_DX_FIELDS[] = {COMMON_FIELDS, LIST_FIELD(size, 0, "spatial size of x"), {0}};
static const adze_field CONV_DW_FIELDS[] = {COMMON_FIELDS, LIST_FIELD(size, 1, "spatial size of the kernel"), {0}};

/* -- legality ------------------------------------------------------------------------------------------------------------------------------- */

/* The two inputs and the lists agree on the number of spatial axes. */
static int check_common(adze_sig *s, const char *what0, const char *what1, int *spatial, adze_dtype *d) {
    const adze_conv_attrs *a = s->attrs;
    int other;
    TRY(adze_check_spatial(s, 0, what0, ADZE_SET_BF, spatial));
    TRY(adze_check_spatial(s, 1, what1, ADZE_SET_BF, &other));
    if (other != *spatial) {
        return adze_op_fail(s, ADZE_ESHAPE, "%s has rank %d, %s has rank %d", what0, (int)s->in[0].rank, what1, (int)s->in[1].rank);
    }
    if (s->in[0].dtype != s->in[1].dtype) {
        return adze_op_fail(s, ADZE_ETYPE, "%s is %s, %s is %s", what0, adze_dtype_name(s->in[0].dtype), what1, adze_dtype_name(s->in[1].dtype));
    }
    TRY(adze_product_dtype(s, a->out, 0, d));
    TRY(adze_check_list(s, "stride", &a->stride, *spatial, 1, false));
    TRY(adze_check_list(s, "dilation", &a->dilation, *spatial, 1, false));
    TRY(adze_check_list(s, "pad_lo", &a->pad_lo, *spatial, 0, false));
    TRY(adze_check_list(s, "pad_hi", &a->pad_hi, *spatial, 0, false));
    if (a->groups < 1 || a->groups > ADZE_WINDOW_MAX) {
        return adze_op_fail(s, ADZE_EARG, "groups is %lld, it must be 1 to %lld", (long long)a->groups, (long long)ADZE_WINDOW_MAX);
    }
    return ADZE_OK;
}

/* groups divides a number of channels. */
static int check_groups(adze_sig *s, const char *what, int64_t channels) {
    int64_t groups = ((const adze_conv_attrs *)s->attrs)->groups;
    if (channels % groups != 0) {
        return adze_op_fail(s, ADZE_ESHAPE, "%lld groups do not divide the %lld %s channels", (long long)groups, (long long)channels, what);
    }
    return ADZE_OK;
}

/* Size of the convolution's output on every axis of g, whose input and kernel sizes are known. */
static int output_sizes(adze_sig *s, adze_geom *g) {
    for (int i = ADZE_SPATIAL - g->spatial; i < ADZE_SPATIAL; i++) {
        adze_window *w = &g->axis[i];
        int axis = i - (ADZE_SPATIAL - g->spatial);
        if (w->size < 1) {
            return adze_op_fail(s, ADZE_ESHAPE, "the kernel has size %lld on spatial axis %d, it must be at least 1", (long long)w->size, axis);
        }
        w->out = adze_conv_out(w);
        if (w->out < 1) {
            return adze_op_fail(
                s, ADZE_ESHAPE,
                "the kernel does not fit on spatial axis %d: it spans %lld (size %lld, dilation %lld), the input has %lld and padding %lld + %lld",
                axis, (long long)((w->size - 1) * w->dilation + 1), (long long)w->size, (long long)w->dilation, (long long)w->in, (long long)w->lo,
                (long long)w->hi);
        }
    }
    return ADZE_OK;
}

/* The adjoints: a convolution from x to y with these sizes gives y's dims. */
static int check_output(adze_sig *s, adze_geom *g, const int64_t *dy, const char *whose) {
    TRY(output_sizes(s, g));
    for (int i = 0; i < g->spatial; i++) {
        const adze_window *w = &g->axis[ADZE_SPATIAL - g->spatial + i];
        if (w->out != dy[i + 1]) {
            return adze_op_fail(s, ADZE_ESHAPE, "dy has %lld positions on spatial axis %d, but a convolution with this %s size gives %lld",
                                (long long)dy[i + 1], i, whose, (long long)w->out);
        }
    }
    return ADZE_OK;
}

/* x: (N, S..., C), w: (k..., C / groups, K) -> y: (N, O..., K) */
static int infer_conv(adze_sig *s) {
    const adze_conv_attrs *a = s->attrs;
    const int64_t *x = s->in[0].dims, *w = s->in[1].dims;
    int spatial;
    adze_dtype d;
    TRY(check_common(s, "the input", "the weight", &spatial, &d));
    int64_t expects = w[spatial] * a->groups, y[ADZE_MAX_RANK] = {x[0]};
    if (x[spatial + 1] != expects) {
        return adze_op_fail(s, ADZE_ESHAPE, "the input has %lld channels, the weight expects %lld (groups %lld)", (long long)x[spatial + 1],
                            (long long)expects, (long long)a->groups);
    }
    TRY(check_groups(s, "output", w[spatial + 1]));
    y[spatial + 1] = w[spatial + 1];
    adze_geom g = adze_conv_geom(a, spatial + 2, x, w, y);
    TRY(output_sizes(s, &g));
    for (int i = 0; i < spatial; i++) {
        y[i + 1] = g.axis[ADZE_SPATIAL - spatial + i].out;
    }
    return adze_set_out(s, 0, d, spatial + 2, y);
}

/* dy: (N, O..., K), w: (k..., C / groups, K) -> dx: (N, size..., C). Several sizes are legal when a stride is over 1. */
static int infer_conv_dx(adze_sig *s) {
    const adze_conv_attrs *a = s->attrs;
    const int64_t *dy = s->in[0].dims, *w = s->in[1].dims;
    int spatial;
    adze_dtype d;
    TRY(check_common(s, "dy", "the weight", &spatial, &d));
    TRY(adze_check_list(s, "size", &a->size, spatial, 0, true));
    if (dy[spatial + 1] != w[spatial + 1]) {
        return adze_op_fail(s, ADZE_ESHAPE, "dy has %lld channels, the weight gives %lld", (long long)dy[spatial + 1], (long long)w[spatial + 1]);
    }
    TRY(check_groups(s, "output", dy[spatial + 1]));
    int64_t x[ADZE_MAX_RANK] = {dy[0]};
    x[spatial + 1] = w[spatial] * a->groups;
    for (int i = 0; i < spatial; i++) {
        x[i + 1] = a->size.v[i];
    }
    adze_geom g = adze_conv_geom(a, spatial + 2, x, w, dy);
    TRY(check_output(s, &g, dy, "input"));
    return adze_set_out(s, 0, d, spatial + 2, x);
}

/* x: (N, S..., C), dy: (N, O..., K) -> dw: (size..., C / groups, K) */
static int infer_conv_dw(adze_sig *s) {
    const adze_conv_attrs *a = s->attrs;
    const int64_t *x = s->in[0].dims, *dy = s->in[1].dims;
    int spatial;
    adze_dtype d;
    TRY(check_common(s, "the input", "dy", &spatial, &d));
    TRY(adze_check_list(s, "size", &a->size, spatial, 1, true));
    if (x[0] != dy[0]) {
        return adze_op_fail(s, ADZE_ESHAPE, "the input has %lld examples, dy has %lld", (long long)x[0], (long long)dy[0]);
    }
    TRY(check_groups(s, "input", x[spatial + 1]));
    TRY(check_groups(s, "output", dy[spatial + 1]));
    int64_t w[ADZE_MAX_RANK] = {0};
    for (int i = 0; i < spatial; i++) {
        w[i] = a->size.v[i];
    }
    w[spatial] = x[spatial + 1] / a->groups;
    w[spatial + 1] = dy[spatial + 1];
    adze_geom g = adze_conv_geom(a, spatial + 2, x, w, dy);
    TRY(check_output(s, &g, dy, "kernel"));
    return adze_set_out(s, 0, d, spatial + 2, w);
}

/* -- derivatives: each op is linear in either input, and the adjoint in that input is another of the three --------------------------------------- */

/* The attributes of a derivative: with this size, and with the output in the inputs' dtype. */
static adze_conv_attrs with_size(const adze_conv_attrs *a, const int64_t *dims, int spatial) {
    adze_conv_attrs b = *a;
    b.out = ADZE_NONE;
    b.size.n = spatial;
    for (int i = 0; i < spatial; i++) {
        b.size.v[i] = dims[i];
    }
    return b;
}

/* The cotangent in the inputs' dtype. */
static adze_val cotangent(const adze_adj *a) {
    return adze_cast(a->g, a->t[0], adze_val_type(a->g, a->x[0]).dtype);
}

static adze_conv_attrs narrow(const adze_conv_attrs *a) {
    return with_size(a, a->size.v, (int)a->size.n);
}

static void vjp_conv(adze_adj *a) {
    const adze_val t = cotangent(a);
    const adze_type x = adze_val_type(a->g, a->x[0]), w = adze_val_type(a->g, a->x[1]);
    if (a->need[0]) {
        const adze_conv_attrs dx = with_size(a->attrs, x.dims + 1, x.rank - 2);
        a->r[0] = adze_conv_dx(a->g, t, a->x[1], &dx);
    }
    if (a->need[1]) {
        const adze_conv_attrs dw = with_size(a->attrs, w.dims, w.rank - 2);
        a->r[1] = adze_conv_dw(a->g, a->x[0], t, &dw);
    }
}

static void vjp_conv_dx(adze_adj *a) { /* inputs dy, w; t is shaped like x */
    const adze_val t = cotangent(a);
    const adze_conv_attrs same = narrow(a->attrs);
    const adze_type w = adze_val_type(a->g, a->x[1]);
    if (a->need[0]) {
        a->r[0] = adze_conv(a->g, t, a->x[1], &same);
    }
    if (a->need[1]) {
        const adze_conv_attrs dw = with_size(a->attrs, w.dims, w.rank - 2);
        a->r[1] = adze_conv_dw(a->g, t, a->x[0], &dw);
    }
}

static void vjp_conv_dw(adze_adj *a) { /* inputs x, dy; t is shaped like w */
    const adze_val t = cotangent(a);
    const adze_conv_attrs same = narrow(a->attrs);
    const adze_type x = adze_val_type(a->g, a->x[0]);
    if (a->need[0]) {
        const adze_conv_attrs dx = with_size(a->attrs, x.dims + 1, x.rank - 2);
        a->r[0] = adze_conv_dx(a->g, a->x[1], t, &dx);
    }
    if (a->need[1]) {
        a->r[1] = adze_conv(a->g, a->x[0], t, &same);
    }
}

/* -- reference kernels --------------------------------------------------------------------------------------------------------------------------- */

/* Where in an activation tensor element (n, position, c) lies. */
static int64_t act(const adze_geom *g, int64_t n, const int64_t p[3], bool large, int64_t c) {
    const adze_window *d = &g->axis[0], *h = &g->axis[1], *w = &g->axis[2];
    int64_t row = large ? ((n * d->in + p[0]) * h->in + p[1]) * w->in + p[2] : ((n * d->out + p[0]) * h->out + p[1]) * w->out + p[2];
    return row * (large ? g->c : g->k) + c;
}

/* Where in the weight element (tap, c, k) lies; c within the group. */
static int64_t weight(const adze_geom *g, const int64_t t[3], int64_t c, int64_t k) {
    int64_t tap = (t[0] * g->axis[1].size + t[1]) * g->axis[2].size + t[2];
    return (tap * (g->c / g->groups) + c) * g->k + k;
}

/* The input position under output o and tap t; false: in the padding. */
static bool input_at(const adze_geom *g, const int64_t o[3], const int64_t t[3], int64_t p[3]) {
    for (int i = 0; i < ADZE_SPATIAL; i++) {
        const adze_window *w = &g->axis[i];
        p[i] = o[i] * w->stride + t[i] * w->dilation - w->lo;
        if (p[i] < 0 || p[i] >= w->in) {
            return false;
        }
    }
    return true;
}

/* The output whose tap t lies on input position p; false: there is none. */
static bool output_at(const adze_geom *g, const int64_t p[3], const int64_t t[3], int64_t o[3]) {
    for (int i = 0; i < ADZE_SPATIAL; i++) {
        const adze_window *w = &g->axis[i];
        int64_t from = p[i] + w->lo - t[i] * w->dilation;
        o[i] = from / w->stride;
        if (from < 0 || from % w->stride != 0 || o[i] >= w->out) {
            return false;
        }
    }
    return true;
}

/* Steps p through 0 .. end-1 in row-major order; false after the last. */
static bool next(int64_t p[3], int64_t d, int64_t h, int64_t w) {
    if (++p[2] < w) {
        return true;
    }
    p[2] = 0;
    if (++p[1] < h) {
        return true;
    }
    p[1] = 0;
    return ++p[0] < d;
}

static bool next_tap(const adze_geom *g, int64_t t[3]) {
    return next(t, g->axis[0].size, g->axis[1].size, g->axis[2].size);
}

static bool next_out(const adze_geom *g, int64_t o[3]) {
    return next(o, g->axis[0].out, g->axis[1].out, g->axis[2].out);
}

/* y[n, o, k] = sum over taps t and channels c of the group of k: x[n, o stride + t dilation - lo, c] w[t, c, k] */
static double conv_sum(const adze_step *s, const adze_geom *g, int64_t n, const int64_t o[3], int64_t k) {
    int64_t cg = g->c / g->groups, first = k / (g->k / g->groups) * cg, t[3] = {0}, p[3];
    double sum = 0;
    do {
        for (int64_t c = 0; input_at(g, o, t, p) && c < cg; c++) {
            sum += adze_at(&s->in[0], act(g, n, p, true, first + c)) * adze_at(&s->in[1], weight(g, t, c, k));
        }
    } while (next_tap(g, t));
    return sum;
}

static void ref_conv(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_geom g = adze_conv_geom(s->attrs, s->in[0].rank, s->in[0].dims, s->in[1].dims, s->out[0].dims);
    for (int64_t n = 0; n < g.n; n++) {
        int64_t o[3] = {0};
        do {
            for (int64_t k = 0; k < g.k; k++) {
                adze_put(&s->out[0], act(&g, n, o, false, k), conv_sum(s, &g, n, o, k));
            }
        } while (next_out(&g, o));
    }
}

/* dx[n, p, c] = sum over taps t, outputs o with o stride + t dilation - lo = p, channels k of the group of c: dy[n, o, k] w[t, c, k] */
static double conv_dx_sum(const adze_step *s, const adze_geom *g, int64_t n, const int64_t p[3], int64_t c) {
    int64_t cg = g->c / g->groups, kg = g->k / g->groups, first = c / cg * kg, t[3] = {0}, o[3];
    double sum = 0;
    do {
        for (int64_t k = 0; output_at(g, p, t, o) && k < kg; k++) {
            sum += adze_at(&s->in[0], act(g, n, o, false, first + k)) * adze_at(&s->in[1], weight(g, t, c % cg, first + k));
        }
    } while (next_tap(g, t));
    return sum;
}

static void ref_conv_dx(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_geom g = adze_conv_geom(s->attrs, s->in[0].rank, s->out[0].dims, s->in[1].dims, s->in[0].dims);
    const adze_window *a = g.axis;
    bool empty = adze_view_count(&s->out[0]) == 0;
    for (int64_t n = 0; n < g.n && !empty; n++) {
        int64_t p[3] = {0};
        do {
            for (int64_t c = 0; c < g.c; c++) {
                adze_put(&s->out[0], act(&g, n, p, true, c), conv_dx_sum(s, &g, n, p, c));
            }
        } while (next(p, a[0].in, a[1].in, a[2].in));
    }
}

enum { SUMS = 8 }; /* outputs that dw sums at a time, so that a position is found once for all of them */

/* dw[t, c, k] = sum over examples n and outputs o: x[n, o stride + t dilation - lo, c of the group of k] dy[n, o, k], for nk <= SUMS outputs from k
 */
static void conv_dw_sums(const adze_step *s, const adze_geom *g, const int64_t t[3], int64_t c, int64_t k, int nk, double sum[SUMS]) {
    int64_t first[SUMS], p[3];
    for (int i = 0; i < nk; i++) {
        sum[i] = 0, first[i] = (k + i) / (g->k / g->groups) * (g->c / g->groups);
    }
    for (int64_t n = 0; n < g->n; n++) {
        int64_t o[3] = {0};
        do {
            if (input_at(g, o, t, p)) {
                const int64_t x = act(g, n, p, true, c), dy = act(g, n, o, false, k);
                for (int i = 0; i < nk; i++) {
                    sum[i] += adze_at(&s->in[0], x + first[i]) * adze_at(&s->in[1], dy + i);
                }
            }
        } while (next_out(g, o));
    }
}

static void ref_conv_dw(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_geom g = adze_conv_geom(s->attrs, s->in[0].rank, s->in[0].dims, s->out[0].dims, s->in[1].dims);
    int64_t t[3] = {0};
    double sum[SUMS];
    do {
        for (int64_t c = 0; c < g.c / g.groups; c++) {
            for (int64_t k = 0; k < g.k; k += SUMS) {
                const int nk = (int)(g.k - k < SUMS ? g.k - k : SUMS);
                conv_dw_sums(s, &g, t, c, k, nk, sum);
                for (int i = 0; i < nk; i++) {
                    adze_put(&s->out[0], weight(&g, t, c, k + i), sum[i]);
                }
            }
        }
    } while (next_tap(&g, t));
}

/* -- cost: multiply-adds at taps inside the input count two -------------------------------------------------------------------------------------- */

static adze_cost cost_of(const adze_sig *s, const adze_type *x, const adze_type *w, const adze_type *y) {
    const adze_geom g = adze_conv_geom(s->attrs, x->rank, x->dims, w->dims, y->dims);
    double pairs = (double)g.n * (double)g.k * (double)(g.c / g.groups);
    return adze_cost_of(s, 2 * pairs * adze_geom_taps(&g));
}

static adze_cost cost_conv(const adze_sig *s) {
    return cost_of(s, &s->in[0], &s->in[1], &s->out[0]);
}

static adze_cost cost_conv_dx(const adze_sig *s) {
    return cost_of(s, &s->out[0], &s->in[1], &s->in[0]);
}

static adze_cost cost_conv_dw(const adze_sig *s) {
    return cost_of(s, &s->in[0], &s->out[0], &s->in[1]);
}

/* -- random cases -------------------------------------------------------------------------------------------------------------------------------- */

/* x, w, y of a legal convolution with few multiply-adds: 1 to 3 spatial axes, every attribute, depthwise, empty batches. */
static void draw(adze_rng *r, adze_case *c, adze_type *x, adze_type *w, adze_type *y) {
    adze_conv_attrs *a = c->attrs;
    int spatial = (int)adze_rng_range(r, 1, 3);
    int64_t most = spatial == 1 ? 9 : spatial == 2 ? 3 : 2, pad = spatial == 3 ? 1 : 2; /* keep a case small */
    a->groups = adze_rng_range(r, 1, 3);
    int64_t cg = adze_sample_coin(r, 3) ? 1 : adze_rng_range(r, 1, 3), kg = adze_rng_range(r, 1, 2);
    x->dtype = w->dtype = y->dtype = adze_sample_dtype(r, c, ADZE_SET_BF);
    a->out = x->dtype == ADZE_BF16 && adze_sample_coin(r, 2) ? ADZE_F32 : ADZE_NONE;
    x->rank = w->rank = y->rank = spatial + 2;
    x->dims[0] = y->dims[0] = c->awkward && adze_sample_coin(r, 6) ? 0 : adze_rng_range(r, 1, 2);
    x->dims[spatial + 1] = cg * a->groups;
    y->dims[spatial + 1] = w->dims[spatial + 1] = kg * a->groups;
    w->dims[spatial] = cg;
    bool lists = !adze_sample_coin(r, 4); /* else empty: the defaults */
    a->stride.n = a->dilation.n = a->pad_lo.n = a->pad_hi.n = lists ? spatial : 0;
    for (int i = 0; i < spatial; i++) {
        adze_window v = {.size = adze_rng_range(r, 1, spatial == 3 ? 2 : 3), .stride = 1, .dilation = 1};
        if (lists) {
            v.stride = a->stride.v[i] = adze_rng_range(r, 1, 3);
            v.dilation = a->dilation.v[i] = adze_rng_range(r, 1, 3);
            v.lo = a->pad_lo.v[i] = adze_rng_range(r, 0, pad);
            v.hi = a->pad_hi.v[i] = adze_rng_range(r, 0, pad);
        }
        int64_t least = (v.size - 1) * v.dilation + 1 - v.lo - v.hi; /* the kernel just fits */
        v.in = (least > 1 ? least : 1) + adze_rng_range(r, 0, most - 1);
        x->dims[i + 1] = v.in;
        w->dims[i] = v.size;
        y->dims[i + 1] = adze_conv_out(&v);
    }
}

static void set_size(adze_case *c, const int64_t *dims, int spatial) {
    adze_conv_attrs *a = c->attrs;
    const int32_t out = a->out;
    *a = with_size(a, dims, spatial);
    a->out = out;
}

static void sample_conv(adze_rng *r, adze_case *c) {
    adze_type y = {0};
    c->nin = 2;
    draw(r, c, &c->in[0], &c->in[1], &y);
}

static void sample_conv_dx(adze_rng *r, adze_case *c) {
    adze_type x = {0};
    c->nin = 2;
    draw(r, c, &x, &c->in[1], &c->in[0]);
    set_size(c, x.dims + 1, x.rank - 2);
}

static void sample_conv_dw(adze_rng *r, adze_case *c) {
    adze_type w = {0};
    c->nin = 2;
    draw(r, c, &c->in[0], &w, &c->in[1]);
    set_size(c, w.dims, w.rank - 2);
}

/* -- records and builders ------------------------------------------------------------------------------------------------------------------------ */

const adze_op adze_op_conv = {
    .name = "conv",
    .nin_min = 2,
    .nin_max = 2,
    .nout = 1,
    .flags = ADZE_OP_BILINEAR,
    .attrs = CONV_FIELDS,
    .attrs_size = sizeof(adze_conv_attrs),
    .doc = "y[n, o, k] = sum over taps t and channels c of k's group: x[n, o stride + t dilation - pad_lo, c] w[t, c, k], zeros outside.\n"
           "x (N, S..., C), w (k..., C / groups, K) -> y (N, O..., K), O = (S + pad_lo + pad_hi - (k - 1) dilation - 1) / stride + 1, rounded down.",
    .infer = infer_conv,
    .vjp = vjp_conv,
    .cost = cost_conv,
    .ref = ref_conv,
    .sample = sample_conv,
};

const adze_op adze_op_conv_dx = {
    .name = "conv_dx",
    .nin_min = 2,
    .nin_max = 2,
    .nout = 1,
    .flags = ADZE_OP_BILINEAR,
    .attrs = CONV_DX_FIELDS,
    .attrs_size = sizeof(adze_conv_attrs),
    .doc = "The adjoint of conv in x, and the transposed convolution: dx[n, p, c] = sum over t, k and o with o stride + t dilation - pad_lo = p:\n"
           "dy[n, o, k] w[t, c, k]. dy (N, O..., K), w (k..., C / groups, K) -> dx (N, size..., C); conv of that size must give O.",
    .infer = infer_conv_dx,
    .vjp = vjp_conv_dx,
    .cost = cost_conv_dx,
    .ref = ref_conv_dx,
    .sample = sample_conv_dx,
};

const adze_op adze_op_conv_dw = {
    .name = "conv_dw",
    .nin_min = 2,
    .nin_max = 2,
    .nout = 1,
    .flags = ADZE_OP_BILINEAR,
    .attrs = CONV_DW_FIELDS,
    .attrs_size = sizeof(adze_conv_attrs),
    .doc = "The adjoint of conv in w: dw[t, c, k] = sum over n, o: x[n, o stride + t dilation - pad_lo, c] dy[n, o, k].\n"
           "x (N, S..., C), dy (N, O..., K) -> dw (size..., C / groups, K); conv of that kernel size must give O.",
    .infer = infer_conv_dw,
    .vjp = vjp_conv_dw,
    .cost = cost_conv_dw,
    .ref = ref_conv_dw,
    .sample = sample_conv_dw,
};

/* A struct of zeros means one group. */
static adze_val apply(adze_graph *g, const adze_op *op, adze_val p, adze_val q, const adze_conv_attrs *a) {
    adze_conv_attrs b = a ? *a : (adze_conv_attrs){0};
    b.groups = b.groups == 0 ? 1 : b.groups;
    return adze_apply(g, op, (adze_val[]){p, q}, 2, &b, NULL);
}

adze_val adze_conv(adze_graph *g, adze_val x, adze_val w, const adze_conv_attrs *a) {
    return apply(g, &adze_op_conv, x, w, a);
}

adze_val adze_conv_dx(adze_graph *g, adze_val dy, adze_val w, const adze_conv_attrs *a) {
    return apply(g, &adze_op_conv_dx, dy, w, a);
}

adze_val adze_conv_dw(adze_graph *g, adze_val x, adze_val dy, const adze_conv_attrs *a) {
    return apply(g, &adze_op_conv_dw, x, dy, a);
}
