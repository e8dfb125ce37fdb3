/* Batch and layer normalisation with their gradients. Statistics are a mean and a sum of squared distances from it, never sums of squares: those
 * cancel. */
#include "graph/graph_internal.h"
#include "op/element.h"

extern const adze_op adze_op_batchnorm_grad, adze_op_layernorm_grad;

static const adze_field NORM_FIELDS[] = {ADZE_ATTR_DEF(adze_norm_attrs, eps, ADZE_F_F64, "1e-05", "added to the variance, 0 or more"), ADZE_ATTR_END};

static double eps_of(const void *attrs) {
    return ((const adze_norm_attrs *)attrs)->eps;
}

/* -- legality ------------------------------------------------------------------------------------------------------------------------------------ */

/* Input 0: (..., C) with at least min_rank axes and a positive eps. */
static int check_input(adze_sig *s, int min_rank) {
    const double eps = eps_of(s->attrs);
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_F));
    TRY(adze_check_rank(s, 0, "the input", min_rank, ADZE_MAX_RANK));
    if (!(eps >= 0) || isinf(eps)) {
        return adze_op_fail(s, ADZE_EARG, "eps is %g, it must be 0 or more", eps);
    }
    return ADZE_OK;
}

/* Input i: (C) */
static int check_channels(adze_sig *s, int i, const char *what) {
    const adze_type *x = &s->in[0], *v = &s->in[i];
    const int64_t channels = x->dims[x->rank - 1];
    TRY(adze_check_same_dtype(s, 0, i));
    if (v->rank != 1 || v->dims[0] != channels) {
        char has[160];
        return adze_op_fail(s, ADZE_ESHAPE, "the %s is %s, the input has %lld channels", what, adze_type_print(v, has, sizeof has),
                            (long long)channels);
    }
    return ADZE_OK;
}

/* Input i: as input 0 */
static int check_cotangent(adze_sig *s, int i) {
    TRY(adze_check_same_dtype(s, 0, i));
    if (!adze_same_dims(&s->in[0], &s->in[i])) {
        char x[160], dy[160];
        return adze_op_fail(s, ADZE_ESHAPE, "dy is %s, the input is %s", adze_type_print(&s->in[i], dy, sizeof dy),
                            adze_type_print(&s->in[0], x, sizeof x));
    }
    return ADZE_OK;
}

/* Rows of a tensor seen as (rows, C). */
static int64_t rows_of(int rank, const int64_t *dims) {
    return adze_dims_count(dims, 0, rank - 1);
}

static int check_some_rows(adze_sig *s) {
    if (rows_of(s->in[0].rank, s->in[0].dims) < 1) {
        char x[160];
        return adze_op_fail(s, ADZE_ESHAPE, "the input is %s: statistics need at least one value a channel", adze_type_print(&s->in[0], x, sizeof x));
    }
    return ADZE_OK;
}

static int set_as_input(adze_sig *s, int out) {
    return adze_set_out(s, out, s->in[0].dtype, s->in[0].rank, s->in[0].dims);
}

static int set_channels(adze_sig *s, int out) {
    return adze_set_out(s, out, s->in[0].dtype, 1, &s->in[0].dims[s->in[0].rank - 1]);
}

/* -- helpers of the derivative rules ------------------------------------------------------------------------------------------------------------- */

typedef adze_val (*reduction)(adze_graph *g, adze_val x, const int *axes, int naxes, bool keep);

/* Reduces all axes but the last: (..., C) -> (C) */
static adze_val over_rows(adze_graph *g, adze_val v, reduction f) {
    int axes[ADZE_MAX_RANK], n = (int)adze_val_type(g, v).rank - 1;
    for (int i = 0; i < n; i++) {
        axes[i] = i;
    }
    return n > 0 ? f(g, v, axes, n, false) : v;
}

/* Mean over the last axis: (..., C) -> (..., 1) */
static adze_val mean_last(adze_graph *g, adze_val v) {
    const int last = -1;
    return adze_mean(g, v, &last, 1, true);
}

static adze_val inverse_sd(adze_graph *g, adze_val var, double eps) {
    return adze_rsqrt(g, adze_scale(g, var, 1, eps));
}

/* -- batchnorm: statistics over all axes but the last -------------------------------------------------------------------------------------------- */

/* x (..., C), scale (C), shift (C) -> y (..., C), mean (C), var (C) */
static int infer_batchnorm(adze_sig *s) {
    TRY(check_input(s, 2));
    TRY(check_channels(s, 1, "scale"));
    TRY(check_channels(s, 2, "shift"));
    TRY(check_some_rows(s));
    TRY(set_as_input(s, 0));
    TRY(set_channels(s, 1));
    return set_channels(s, 2);
}

static void ref_batchnorm(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *x = &s->in[0];
    const int64_t rows = rows_of(x->rank, x->dims), channels = x->dims[x->rank - 1];
    for (int64_t c = 0; c < channels; c++) {
        double mean = 0, m2 = 0;
        for (int64_t r = 0; r < rows; r++) {
            mean += adze_at(x, r * channels + c);
        }
        mean /= (double)rows;
        for (int64_t r = 0; r < rows; r++) {
            const double d = adze_at(x, r * channels + c) - mean;
            m2 += d * d;
        }
        const double var = m2 / (double)rows, a = adze_at(&s->in[1], c) / sqrt(var + eps_of(s->attrs));
        for (int64_t r = 0; r < rows; r++) {
            adze_put(&s->out[0], r * channels + c, (adze_at(x, r * channels + c) - mean) * a + adze_at(&s->in[2], c));
        }
        adze_put(&s->out[1], c, mean);
        adze_put(&s->out[2], c, var);
    }
}

/* What the cotangents of mean and var add to that of x: (dmean + 2 dvar (x - mean)) / rows, of x's shape or broadcastable to it. */
static adze_val statistics_dx(adze_adj *a) {
    adze_graph *g = a->g;
    const adze_type x = adze_val_type(g, a->x[0]);
    const double rows = x.rank > 0 ? (double)rows_of(x.rank, x.dims) : 1;
    adze_val d = {0};
    if (a->t[2].id) {
        d = adze_mul(g, adze_sub(g, a->x[0], a->y[1]), adze_scale(g, a->t[2], 2 / rows, 0));
    }
    if (a->t[1].id) {
        const adze_val m = adze_scale(g, a->t[1], 1 / rows, 0);
        d = d.id ? adze_add(g, d, m) : m;
    }
    return d;
}

static void vjp_batchnorm(adze_adj *a) {
    adze_graph *g = a->g;
    if (a->t[0].id) {
        adze_apply(g, &adze_op_batchnorm_grad, (adze_val[]){a->x[0], a->x[1], a->y[1], a->y[2], a->t[0]}, 5, a->attrs, a->r);
    }
    const adze_val d = statistics_dx(a);
    if (d.id) {
        const adze_type x = adze_val_type(g, a->x[0]);
        a->r[0] = a->r[0].id ? adze_add(g, a->r[0], d) : adze_broadcast(g, d, x.dims, x.rank);
    }
}

static void expand_batchnorm(adze_adj *a) {
    adze_graph *g = a->g;
    const adze_val mean = over_rows(g, a->x[0], adze_mean), d = adze_sub(g, a->x[0], mean), var = over_rows(g, adze_square(g, d), adze_mean);
    const adze_val hat = adze_mul(g, d, inverse_sd(g, var, eps_of(a->attrs)));
    a->r[0] = adze_add(g, adze_mul(g, hat, a->x[1]), a->x[2]);
    a->r[1] = mean;
    a->r[2] = var;
}

static uint32_t inplace_first(const adze_sig *s) {
    (void)s;
    return 1;
}

/* An element costs a sum, a distance squared and summed, and a distance scaled and shifted. */
static adze_cost cost_norm(const adze_sig *s) {
    return adze_cost_of(s, 7.0 * (double)adze_type_count(&s->in[0]));
}

/* eps is large unless the variance is constant: differences across a step as steep as 1 / eps would not be derivatives. */
static void sample_norm(adze_rng *r, adze_case *c, int min_rank, bool steady) {
    do {
        c->in[0] = adze_sample_type(r, c, c->dtype, min_rank, 4, min_rank == 2 ? 1 : 0);
    } while (c->in[0].dims[c->in[0].rank - 1] < 1);
    ((adze_norm_attrs *)c->attrs)->eps = steady ? 1e-5 : 0.1 + 0.9 * adze_rng_uniform(r);
    const adze_type channels = adze_type_make(c->dtype, 1, &c->in[0].dims[c->in[0].rank - 1]);
    for (int i = 1; i < c->nin; i++) {
        c->in[i] = channels;
    }
    c->dom[1] = adze_dom_range(0.5, 1.5);
}

static void sample_batchnorm(adze_rng *r, adze_case *c) {
    c->nin = 3;
    sample_norm(r, c, 2, false);
    if (adze_sample_coin(r, 8)) { /* one row: the variance is always 0 */
        for (int i = 0; i < c->in[0].rank - 1; i++) {
            c->in[0].dims[i] = 1;
        }
        ((adze_norm_attrs *)c->attrs)->eps = 1e-5;
    }
}

const adze_op adze_op_batchnorm = {
    .name = "batchnorm",
    .nin_min = 3,
    .nin_max = 3,
    .nout = 3,
    .attrs = NORM_FIELDS,
    .attrs_size = sizeof(adze_norm_attrs),
    .doc = "y = (x - mean) / sqrt(var + eps) scale + shift with mean and biased variance over all axes but the last:\n"
           "x (..., C), scale (C), shift (C) -> y (..., C), mean (C), var (C).",
    .infer = infer_batchnorm,
    .vjp = vjp_batchnorm,
    .expand = expand_batchnorm,
    .inplace = inplace_first,
    .cost = cost_norm,
    .ref = ref_batchnorm,
    .sample = sample_batchnorm,
};

/* -- batchnorm_grad: x (..., C), scale, mean, var (C), dy (..., C) -> dx (..., C), dscale (C), dshift (C) ---------------------------------------- */

static int infer_batchnorm_grad(adze_sig *s) {
    TRY(check_input(s, 2));
    TRY(check_channels(s, 1, "scale"));
    TRY(check_channels(s, 2, "mean"));
    TRY(check_channels(s, 3, "variance"));
    TRY(check_cotangent(s, 4));
    TRY(check_some_rows(s));
    TRY(set_as_input(s, 0));
    TRY(set_channels(s, 1));
    return set_channels(s, 2);
}

/* dx = scale inv (dy - mean(dy) - hat mean(dy hat)), dscale = sum dy hat, dshift = sum dy; inv = 1 / sqrt(var + eps), hat = (x - mean) inv */
static void ref_batchnorm_grad(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *x = &s->in[0], *dy = &s->in[4];
    const int64_t rows = rows_of(x->rank, x->dims), channels = x->dims[x->rank - 1];
    for (int64_t c = 0; c < channels; c++) {
        const double mean = adze_at(&s->in[2], c), inv = 1 / sqrt(adze_at(&s->in[3], c) + eps_of(s->attrs)), scale = adze_at(&s->in[1], c);
        double dscale = 0, dshift = 0;
        for (int64_t i = c; i < rows * channels; i += channels) {
            dscale += adze_at(dy, i) * (adze_at(x, i) - mean) * inv;
            dshift += adze_at(dy, i);
        }
        for (int64_t i = c; i < rows * channels; i += channels) {
            const double hat = (adze_at(x, i) - mean) * inv;
            adze_put(&s->out[0], i, scale * inv * (adze_at(dy, i) - dshift / (double)rows - hat * dscale / (double)rows));
        }
        adze_put(&s->out[1], c, dscale);
        adze_put(&s->out[2], c, dshift);
    }
}

static void expand_batchnorm_grad(adze_adj *a) {
    adze_graph *g = a->g;
    const adze_val x = a->x[0], scale = a->x[1], mean = a->x[2], dy = a->x[4];
    const adze_type t = adze_val_type(g, x);
    const double rows = t.rank > 0 ? (double)rows_of(t.rank, t.dims) : 1;
    const adze_val inv = inverse_sd(g, a->x[3], eps_of(a->attrs)), hat = adze_mul(g, adze_sub(g, x, mean), inv);
    const adze_val dscale = over_rows(g, adze_mul(g, dy, hat), adze_sum), dshift = over_rows(g, dy, adze_sum);
    const adze_val centred = adze_sub(g, adze_sub(g, dy, adze_scale(g, dshift, 1 / rows, 0)), adze_mul(g, hat, adze_scale(g, dscale, 1 / rows, 0)));
    a->r[0] = adze_mul(g, centred, adze_mul(g, scale, inv));
    a->r[1] = dscale;
    a->r[2] = dshift;
}

static uint32_t inplace_x_dy(const adze_sig *s) { /* dx is written after the sums, element by element */
    (void)s;
    return 1 | 1 << 4;
}

/* An element costs a distance scaled, two sums, and the five operations of dx. */
static adze_cost cost_norm_grad(const adze_sig *s) {
    return adze_cost_of(s, 10.0 * (double)adze_type_count(&s->in[0]));
}

static void sample_batchnorm_grad(adze_rng *r, adze_case *c) {
    c->nin = 5;
    sample_norm(r, c, 2, adze_sample_coin(r, 2));
    c->in[4] = c->in[0];
    c->dom[3] = adze_dom_range(0.5, 2);
}

const adze_op adze_op_batchnorm_grad = {
    .name = "batchnorm_grad",
    .nin_min = 5,
    .nin_max = 5,
    .nout = 3,
    .attrs = NORM_FIELDS,
    .attrs_size = sizeof(adze_norm_attrs),
    .doc = "The gradient of batchnorm: x (..., C), scale, mean, var (C), dy (..., C) -> dx (..., C), dscale (C), dshift (C).\n"
           "With inv = 1 / sqrt(var + eps) and "
           "hat = (x - mean) inv: dshift = sum dy, dscale = sum dy hat, dx = scale inv (dy - dshift / rows - hat dscale / rows).",
    .infer = infer_batchnorm_grad,
    .expand = expand_batchnorm_grad,
    .inplace = inplace_x_dy,
    .cost = cost_norm_grad,
    .ref = ref_batchnorm_grad,
    .sample = sample_batchnorm_grad,
};

/* -- layernorm: statistics over the last axis ---------------------------------------------------------------------------------------------------- */

static int check_layer(adze_sig *s) {
    TRY(check_input(s, 1));
    TRY(check_channels(s, 1, "scale"));
    if (s->in[0].dims[s->in[0].rank - 1] < 1) {
        return adze_op_fail(s, ADZE_ESHAPE, "the last axis of the input is empty: statistics need at least one value");
    }
    return ADZE_OK;
}

/* x (..., C), scale (C), shift (C) -> y (..., C) */
static int infer_layernorm(adze_sig *s) {
    TRY(check_layer(s));
    TRY(check_channels(s, 2, "shift"));
    return set_as_input(s, 0);
}

/* Mean and 1 / sqrt(var + eps) of the n values from `start` on. */
static void row_statistics(const adze_view *x, int64_t start, int64_t n, double eps, double *mean, double *inv) {
    double sum = 0, m2 = 0;
    for (int64_t i = start; i < start + n; i++) {
        sum += adze_at(x, i);
    }
    *mean = sum / (double)n;
    for (int64_t i = start; i < start + n; i++) {
        const double d = adze_at(x, i) - *mean;
        m2 += d * d;
    }
    *inv = 1 / sqrt(m2 / (double)n + eps);
}

static void ref_layernorm(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *x = &s->in[0];
    const int64_t rows = rows_of(x->rank, x->dims), n = x->dims[x->rank - 1];
    for (int64_t r = 0; r < rows; r++) {
        double mean, inv;
        row_statistics(x, r * n, n, eps_of(s->attrs), &mean, &inv);
        for (int64_t c = 0; c < n; c++) {
            adze_put(&s->out[0], r * n + c, (adze_at(x, r * n + c) - mean) * inv * adze_at(&s->in[1], c) + adze_at(&s->in[2], c));
        }
    }
}

static void vjp_layernorm(adze_adj *a) {
    adze_apply(a->g, &adze_op_layernorm_grad, (adze_val[]){a->x[0], a->x[1], a->t[0]}, 3, a->attrs, a->r);
}

/* hat = (x - mean) inv; *inv: (..., 1) */
static adze_val normalised(adze_adj *a, adze_val *inv) {
    const adze_val d = adze_sub(a->g, a->x[0], mean_last(a->g, a->x[0]));
    *inv = inverse_sd(a->g, mean_last(a->g, adze_square(a->g, d)), eps_of(a->attrs));
    return adze_mul(a->g, d, *inv);
}

static void expand_layernorm(adze_adj *a) {
    adze_val inv;
    a->r[0] = adze_add(a->g, adze_mul(a->g, normalised(a, &inv), a->x[1]), a->x[2]);
}

static void sample_layernorm(adze_rng *r, adze_case *c) {
    c->nin = 3;
    sample_norm(r, c, 1, false);
}

const adze_op adze_op_layernorm = {
    .name = "layernorm",
    .nin_min = 3,
    .nin_max = 3,
    .nout = 1,
    .attrs = NORM_FIELDS,
    .attrs_size = sizeof(adze_norm_attrs),
    .doc = "y = (x - mean) / sqrt(var + eps) scale + shift with mean and biased variance over the last axis:\n"
           "x (..., C), scale (C), shift (C) -> y (..., C).",
    .infer = infer_layernorm,
    .vjp = vjp_layernorm,
    .expand = expand_layernorm,
    .inplace = inplace_first,
    .cost = cost_norm,
    .ref = ref_layernorm,
    .sample = sample_layernorm,
};

/* -- layernorm_grad: x (..., C), scale (C), dy (..., C) -> dx (..., C), dscale (C), dshift (C); the statistics are computed again -- */

static int infer_layernorm_grad(adze_sig *s) {
    TRY(check_layer(s));
    TRY(check_cotangent(s, 2));
    TRY(set_as_input(s, 0));
    TRY(set_channels(s, 1));
    return set_channels(s, 2);
}

/* dx = inv (g - mean(g) - hat mean(g hat)) with g = dy scale; dscale = sum over rows dy hat, dshift = sum over rows dy */
static void ref_layernorm_grad(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *x = &s->in[0], *scale = &s->in[1], *dy = &s->in[2];
    const int64_t rows = rows_of(x->rank, x->dims), n = x->dims[x->rank - 1];
    double *dscale = s->scratch, *dshift = dscale + n;
    memset(dscale, 0, 2 * (size_t)n * sizeof(double));
    for (int64_t r = 0; r < rows; r++) {
        double mean, inv, g = 0, ghat = 0;
        row_statistics(x, r * n, n, eps_of(s->attrs), &mean, &inv);
        for (int64_t c = 0; c < n; c++) {
            const double d = adze_at(dy, r * n + c), hat = (adze_at(x, r * n + c) - mean) * inv;
            g += d * adze_at(scale, c) / (double)n;
            ghat += d * adze_at(scale, c) * hat / (double)n;
            dscale[c] += d * hat;
            dshift[c] += d;
        }
        for (int64_t c = 0; c < n; c++) {
            const double hat = (adze_at(x, r * n + c) - mean) * inv;
            adze_put(&s->out[0], r * n + c, inv * (adze_at(dy, r * n + c) * adze_at(scale, c) - g - hat * ghat));
        }
    }
    for (int64_t c = 0; c < n; c++) {
        adze_put(&s->out[1], c, dscale[c]);
        adze_put(&s->out[2], c, dshift[c]);
    }
}

static size_t scratch_layernorm_grad(const adze_sig *s) {
    return 2 * (size_t)s->in[1].dims[0] * sizeof(double);
}

static void expand_layernorm_grad(adze_adj *a) {
    adze_graph *g = a->g;
    adze_val inv;
    const adze_val hat = normalised(a, &inv), d = adze_mul(g, a->x[2], a->x[1]);
    const adze_val along = adze_mul(g, hat, mean_last(g, adze_mul(g, d, hat)));
    a->r[0] = adze_mul(g, adze_sub(g, adze_sub(g, d, mean_last(g, d)), along), inv);
    a->r[1] = over_rows(g, adze_mul(g, a->x[2], hat), adze_sum);
    a->r[2] = over_rows(g, a->x[2], adze_sum);
}

static void sample_layernorm_grad(adze_rng *r, adze_case *c) {
    c->nin = 3;
    sample_norm(r, c, 1, false);
    c->in[2] = c->in[0];
}

const adze_op adze_op_layernorm_grad = {
    .name = "layernorm_grad",
    .nin_min = 3,
    .nin_max = 3,
    .nout = 3,
    .attrs = NORM_FIELDS,
    .attrs_size = sizeof(adze_norm_attrs),
    .doc = "The gradient of layernorm: x (..., C), scale (C), dy (..., C) -> dx (..., C), dscale (C), dshift (C).\n"
           "With inv, hat as in batchnorm_grad but for "
           "each row, and g = dy scale: dx = inv (g - mean g - hat mean(g hat)), dscale = sum over rows dy hat, dshift = sum over rows dy.",
    .infer = infer_layernorm_grad,
    .expand = expand_layernorm_grad,
    .cost = cost_norm_grad,
    .ref = ref_layernorm_grad,
    .ref_scratch = scratch_layernorm_grad,
    .sample = sample_layernorm_grad,
};

/* -- builders ------------------------------------------------------------------------------------------------------------------ */

adze_val adze_batchnorm(adze_graph *g, adze_val x, adze_val scale, adze_val shift, double eps, adze_val *mean, adze_val *var) {
    const adze_norm_attrs a = {.eps = eps};
    adze_val out[3] = {{0}, {0}, {0}};
    adze_apply(g, &adze_op_batchnorm, (adze_val[]){x, scale, shift}, 3, &a, out);
    if (mean) {
        *mean = out[1];
    }
    if (var) {
        *var = out[2];
    }
    return out[0];
}

/* Evaluation is two maps: x a + b with a = scale / sqrt(var + eps) and b = shift - mean a, which the constants' size makes cheap. */
adze_val adze_batchnorm_eval(adze_graph *g, adze_val x, adze_val scale, adze_val shift, adze_val mean, adze_val var, double eps) {
    static const char *const NAMES[] = {"scale", "shift", "mean", "variance"};
    const adze_val v[] = {scale, shift, mean, var};
    const adze_type t = adze_val_type(g, x);
    for (int i = 0; i < 4; i++) {
        const adze_type c = adze_val_type(g, v[i]);
        char has[160], wants[160];
        if (t.dtype != ADZE_NONE && c.dtype != ADZE_NONE && (t.rank < 1 || c.rank != 1 || c.dims[0] != t.dims[t.rank - 1])) {
            adze_graph_fail(g, ADZE_ESHAPE, "batchnorm_eval: the %s is %s, but the input is %s; it must hold one value a channel", NAMES[i],
                            adze_type_print(&c, has, sizeof has), adze_type_print(&t, wants, sizeof wants));
        }
    }
    if (!(eps >= 0) || isinf(eps)) {
        adze_graph_fail(g, ADZE_EARG, "batchnorm_eval: eps is %g, it must be 0 or more", eps);
    }
    const adze_val a = adze_mul(g, scale, inverse_sd(g, var, eps));
    return adze_add(g, adze_mul(g, x, a), adze_sub(g, shift, adze_mul(g, mean, a)));
}

adze_val adze_layernorm(adze_graph *g, adze_val x, adze_val scale, adze_val shift, double eps) {
    const adze_norm_attrs a = {.eps = eps};
    return adze_apply(g, &adze_op_layernorm, (adze_val[]){x, scale, shift}, 3, &a, NULL);
}
