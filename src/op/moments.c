/* Sums over all axes but the last, as batch normalisation needs them: mean and variance, what its gradient sums up, and the gradient of a bias. The
 * compiler takes batchnorm apart into these and elementwise ops; 16-bit inputs give f32 results. */
#include "op/element.h"
#include "op/record.h"

enum { MOMENT_SET = ADZE_SET_F | 1 << ADZE_BF16 };

static int64_t rows_of(const adze_type *t) {
    return adze_dims_count(t->dims, 0, t->rank - 1);
}

static adze_dtype result_dtype(const adze_type *x) {
    return x->dtype == ADZE_BF16 ? ADZE_F32 : x->dtype;
}

static int check_rows(adze_sig *s, const char *what) {
    TRY(adze_check_dtype(s, 0, what, MOMENT_SET));
    TRY(adze_check_rank(s, 0, what, 2, ADZE_MAX_RANK));
    if (rows_of(&s->in[0]) < 1) {
        return adze_op_fail(s, ADZE_ESHAPE, "%s is %s: statistics need at least one value a channel", what, ADZE_SHOWN(&s->in[0]));
    }
    return ADZE_OK;
}

static int set_channels(adze_sig *s) { /* two outputs (C) */
    for (int o = 0; o < 2; o++) {
        TRY(adze_set_out(s, o, result_dtype(&s->in[0]), 1, &s->in[0].dims[s->in[0].rank - 1]));
    }
    return ADZE_OK;
}

/* Sums all axes but the last in the result's dtype. */
static adze_val over_rows(adze_graph *g, adze_val v) {
    return adze_over_rows(g, v, adze_sum);
}

static adze_val widened(adze_graph *g, adze_val v) {
    const adze_type t = adze_val_type(g, v);
    return adze_cast(g, v, result_dtype(&t));
}

static void sample_rows(adze_rng *r, adze_case *c, int rank) {
    const bool long_images = adze_sample_coin(r, 6);
    do {
        c->in[0] = adze_sample_type(r, c, adze_sample_dtype(r, c, MOMENT_SET), rank, 4, 1);
    } while (c->in[0].dims[c->in[0].rank - 1] < 1);
    if (long_images) { /* several leaves of the batch, and several blocks of an image */
        const int64_t dims[3] = {adze_rng_range(r, 1, 40), adze_rng_range(r, 14, 40), adze_rng_range(r, 1, 3)};
        c->in[0] = adze_type_make(c->in[0].dtype, 3, dims);
    }
}

/* -- moments: x (..., C) -> mean (C), var (C) ------------------------------------------------------------------------------------------------ */

static int infer_moments(adze_sig *s) {
    TRY(check_rows(s, "the input"));
    return set_channels(s);
}

static void ref_moments(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *x = &s->in[0];
    const int64_t c = x->dims[x->rank - 1], n = adze_view_count(x);
    const double rows = (double)adze_dims_count(x->dims, 0, x->rank - 1);
    for (int64_t k = 0; k < c; k++) {
        double mean = 0, m2 = 0;
        for (int64_t i = k; i < n; i += c) {
            mean += adze_at(x, i);
        }
        mean /= rows;
        for (int64_t i = k; i < n; i += c) {
            m2 += (adze_at(x, i) - mean) * (adze_at(x, i) - mean);
        }
        adze_store_f(s->out[0].data, s->out[0].dtype, k, mean);
        adze_store_f(s->out[1].data, s->out[1].dtype, k, m2 / rows);
    }
}

static void expand_moments(adze_adj *a) {
    adze_graph *g = a->g;
    const adze_type t = adze_val_type(g, a->x[0]);
    const double rows = t.rank > 0 ? (double)rows_of(&t) : 1;
    const adze_val x = widened(g, a->x[0]), mean = adze_scale(g, over_rows(g, x), 1 / rows, 0);
    a->r[0] = mean;
    a->r[1] = adze_scale(g, over_rows(g, adze_square(g, adze_sub(g, x, mean))), 1 / rows, 0);
}

static adze_cost cost_moments(const adze_sig *s) {
    return adze_cost_of(s, 5.0 * (double)adze_type_count(&s->in[0]));
}

static void sample_moments(adze_rng *r, adze_case *c) {
    c->nin = 1;
    sample_rows(r, c, 2);
}

const adze_op adze_op_moments = {
    .name = "moments",
    ADZE_ARITY(1, 2),
    .doc = "mean and biased variance over all axes but the last: x (..., C) -> mean (C), var (C); bf16 gives f32.",
    .infer = infer_moments,
    .expand = expand_moments,
    .cost = cost_moments,
    .ref = ref_moments,
    .sample = sample_moments,
};

/* -- norm_sums: dy, x (..., C), mean (C) -> sum dy, sum dy (x - mean) (C) ------------------------------------------------------------------------ */

static int infer_norm_sums(adze_sig *s) {
    const adze_type *dy = &s->in[0], *x = &s->in[1], *mean = &s->in[2];
    TRY(check_rows(s, "dy"));
    if (!adze_type_equal(dy, x)) {
        return adze_op_fail(s, x->dtype == dy->dtype ? ADZE_ESHAPE : ADZE_ETYPE, "dy is %s, the input is %s", ADZE_SHOWN(dy), ADZE_SHOWN(x));
    }
    if (mean->dtype != result_dtype(dy) || mean->rank != 1 || mean->dims[0] != dy->dims[dy->rank - 1]) {
        return adze_op_fail(s, mean->dtype == result_dtype(dy) ? ADZE_ESHAPE : ADZE_ETYPE, "the mean is %s, dy is %s", ADZE_SHOWN(mean),
                            ADZE_SHOWN(dy));
    }
    return set_channels(s);
}

static void ref_norm_sums(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *dy = &s->in[0], *x = &s->in[1];
    const int64_t c = x->dims[x->rank - 1], n = adze_view_count(x);
    for (int64_t k = 0; k < c; k++) {
        double sum = 0, dot = 0;
        const double mean = adze_at(&s->in[2], k);
        for (int64_t i = k; i < n; i += c) {
            sum += adze_at(dy, i);
            dot += adze_at(dy, i) * (adze_at(x, i) - mean);
        }
        adze_store_f(s->out[0].data, s->out[0].dtype, k, sum);
        adze_store_f(s->out[1].data, s->out[1].dtype, k, dot);
    }
}

static void expand_norm_sums(adze_adj *a) {
    adze_graph *g = a->g;
    const adze_val dy = widened(g, a->x[0]), x = widened(g, a->x[1]);
    a->r[0] = over_rows(g, dy);
    a->r[1] = over_rows(g, adze_mul(g, dy, adze_sub(g, x, a->x[2])));
}

static adze_cost cost_norm_sums(const adze_sig *s) {
    return adze_cost_of(s, 4.0 * (double)adze_type_count(&s->in[0]));
}

static void sample_norm_sums(adze_rng *r, adze_case *c) {
    c->nin = 3;
    sample_rows(r, c, 2);
    c->in[1] = c->in[0];
    c->in[2] = adze_type_make(result_dtype(&c->in[0]), 1, &c->in[0].dims[c->in[0].rank - 1]);
}

const adze_op adze_op_norm_sums = {
    .name = "norm_sums",
    ADZE_ARITY(3, 2),
    .doc = "what the gradient of batchnorm sums up: dy, x (..., C), mean (C) -> sum dy (C), sum dy (x - mean) (C); bf16 gives f32.",
    .infer = infer_norm_sums,
    .expand = expand_norm_sums,
    .cost = cost_norm_sums,
    .ref = ref_norm_sums,
    .sample = sample_norm_sums,
};

/* -- channel_sums: x (..., C) -> sum (C) ------------------------------------------------------------------------------------------------------ */

static int infer_channel_sums(adze_sig *s) {
    TRY(check_rows(s, "the input"));
    return adze_set_out(s, 0, result_dtype(&s->in[0]), 1, &s->in[0].dims[s->in[0].rank - 1]);
}

static void ref_channel_sums(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const int64_t c = s->in[0].dims[s->in[0].rank - 1], n = adze_view_count(&s->in[0]);
    for (int64_t k = 0; k < c; k++) {
        double sum = 0;
        for (int64_t i = k; i < n; i += c) {
            sum += adze_at(&s->in[0], i);
        }
        adze_store_f(s->out[0].data, s->out[0].dtype, k, sum);
    }
}

static void expand_channel_sums(adze_adj *a) {
    a->r[0] = over_rows(a->g, widened(a->g, a->x[0]));
}

const adze_op adze_op_channel_sums = {
    .name = "channel_sums",
    ADZE_ARITY(1, 1),
    .doc = "what the gradient of a bias sums up: x (..., C) -> sum over all axes but the last (C); bf16 gives f32.",
    .infer = infer_channel_sums,
    .expand = expand_channel_sums,
    .ref = ref_channel_sums,
    .sample = sample_moments,
};
