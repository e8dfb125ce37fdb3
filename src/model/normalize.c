/* Normalisations made of other ops: group, instance and root-mean-square normalisation, local response normalisation, and weights normalised by
 * unit. All derivatives follow from the ops. */
#include "model/layer.h"

typedef struct norm {
    int64_t groups;
    double eps;
    bool affine;
    adze_act act;
} norm;

static const char *norm_check(const void *fields, char *buf, size_t n) {
    const norm *f = fields;
    return adze_activation_check(&f->act, buf, n);
}

static double numbers(const adze_type *x) { /* of one example */
    return (double)adze_type_count(x) / (double)(x->dims[0] ? x->dims[0] : 1);
}

/* The mean over the channels of each group: v (N, 1.., C) -> (N, 1.., C), equal within a group; of one group (N, 1.., 1). */
static adze_val group_means(adze_graph *g, adze_val v, int64_t groups) {
    const adze_type t = adze_val_type(g, v);
    const int64_t n = t.dims[0], width = t.dims[t.rank - 1] / groups;
    if (width == 1 || groups == 1) {
        return width == 1 ? v : adze_mean(g, v, (int[]){-1}, 1, true);
    }
    const adze_val m = adze_mean(g, adze_reshape(g, v, (int64_t[]){n, groups, width}, 3), (int[]){2}, 1, true);
    return adze_reshape(g, adze_broadcast(g, m, (int64_t[]){n, groups, width}, 3), t.dims, t.rank);
}

/* y = (x - mean) / sqrt(var + eps) * scale + shift, statistics of each example over the pixels and channels of a group. Those of its channels come
 * first: what is left to do for the groups is small. */
static adze_val normalise_groups(adze_builder *b, const norm *f, int64_t groups) {
    adze_graph *g = b->g;
    const adze_type x = adze_layer_in(b, 0);
    const int64_t c = x.dims[x.rank - 1];
    if (c % groups) {
        return adze_layer_fail(b, ADZE_ESHAPE, "the input has %lld channels, no multiple of 'groups' %lld", (long long)c, (long long)groups);
    }
    adze_layer_macs(b, 2 * numbers(&x));
    int pixels[ADZE_MAX_RANK];
    for (int i = 0; i < x.rank - 2; i++) {
        pixels[i] = i + 1;
    }
    const bool maps = x.rank > 2;
    adze_val mean = maps ? adze_mean(g, b->x[0], pixels, x.rank - 2, true) : b->x[0], d = {0}, var = {0}, off = {0};
    if (maps) {
        d = adze_sub(g, b->x[0], mean);
        var = adze_mean(g, adze_square(g, d), pixels, x.rank - 2, true);
    }
    if (groups < c || !maps) { /* of channels apart: their own variance and their distance from the group's mean */
        off = adze_sub(g, mean, group_means(g, mean, groups));
        var = group_means(g, maps ? adze_add(g, var, adze_square(g, off)) : adze_square(g, off), groups);
    }
    adze_val a = adze_rsqrt(g, adze_scale(g, var, 1, f->eps)), shift = {0};
    if (f->affine) {
        a = adze_mul(g, a, adze_layer_vector(b, "scale", c, 1, ADZE_SLOT_TRAINABLE));
        shift = adze_layer_vector(b, "shift", c, 0, ADZE_SLOT_TRAINABLE);
    }
    if (off.id) {
        off = adze_mul(g, off, a);
        shift = shift.id ? adze_add(g, off, shift) : off;
    }
    adze_val y = maps ? adze_mul(g, d, a) : shift;
    return adze_layer_activate(b, maps && shift.id ? adze_add(g, y, shift) : y, &f->act);
}

#define EPS_FIELD(what)                                                                                                                              \
    { "eps", ADZE_F_F64, 0, offsetof(norm, eps), 0, "1e-05", 1e-12, 1, NULL, "added to the " what }
#define AFFINE_FIELD(what)                                                                                                                           \
    { "affine", ADZE_F_BOOL, 0, offsetof(norm, affine), 0, "true", 0, 0, NULL, "a trainable " what " per channel" }

static const adze_field GROUPNORM_FIELDS[] = {
    {"groups", ADZE_F_I64, 0, offsetof(norm, groups), 0, "32", 1, 1000000, NULL, "groups of neighbouring channels; 1: all channels together"},
    EPS_FIELD("variance"),
    AFFINE_FIELD("scale and shift"),
    ADZE_ACT_FIELDS(norm),
    {0},
};

static adze_val groupnorm_build(adze_builder *b, const void *fields) {
    const norm *f = fields;
    return normalise_groups(b, f, f->groups);
}

const adze_layer_kind adze_layer_groupnorm = {
    .name = "groupnorm",
    .doc =
        "y = fn((x - mean) / sqrt(var + eps) * scale + shift), statistics of each example over the pixels and channels of a group (Wu and He 2018)",
    .cost = "3 passes over x forward and 3 backward, 5 operations an output forward; 2 C parameters; the same in use",
    ADZE_LAYER_FIELDS(GROUPNORM_FIELDS, norm),
    ADZE_LAYER_FROM(1, 1),
    .check = norm_check,
    .build = groupnorm_build,
};

static const adze_field INSTANCENORM_FIELDS[] = {
    EPS_FIELD("variance"),
    AFFINE_FIELD("scale and shift"),
    ADZE_ACT_FIELDS(norm),
    {0},
};

static adze_val instancenorm_build(adze_builder *b, const void *fields) {
    const adze_type x = adze_layer_in(b, 0);
    return adze_layer_has_map(b) ? normalise_groups(b, fields, x.dims[x.rank - 1]) : (adze_val){0};
}

const adze_layer_kind adze_layer_instancenorm = {
    .name = "instancenorm",
    .doc = "groupnorm with each channel a group of its own (Ulyanov, Vedaldi and Lempitsky 2016)",
    .cost = "as groupnorm",
    ADZE_LAYER_FIELDS(INSTANCENORM_FIELDS, norm),
    ADZE_LAYER_FROM(1, 1),
    .check = norm_check,
    .build = instancenorm_build,
};

static const adze_field RMSNORM_FIELDS[] = {
    EPS_FIELD("mean square"),
    AFFINE_FIELD("scale"),
    ADZE_ACT_FIELDS(norm),
    {0},
};

static adze_val rmsnorm_build(adze_builder *b, const void *fields) {
    const norm *f = fields;
    adze_graph *g = b->g;
    const adze_type x = adze_layer_in(b, 0);
    adze_layer_macs(b, 2 * numbers(&x));
    const adze_val square = adze_mean(g, adze_square(g, b->x[0]), (int[]){-1}, 1, true);
    adze_val y = adze_mul(g, b->x[0], adze_rsqrt(g, adze_scale(g, square, 1, f->eps)));
    if (f->affine) {
        y = adze_mul(g, y, adze_layer_vector(b, "scale", x.dims[x.rank - 1], 1, ADZE_SLOT_TRAINABLE));
    }
    return adze_layer_activate(b, y, &f->act);
}

const adze_layer_kind adze_layer_rmsnorm = {
    .name = "rmsnorm",
    .doc = "y = fn(x / sqrt(mean(x^2) + eps) * scale) over the last axis of each example (Zhang and Sennrich 2019)",
    .cost = "2 passes over x forward and 2 backward, 4 operations an output forward; C parameters",
    ADZE_LAYER_FIELDS(RMSNORM_FIELDS, norm),
    ADZE_LAYER_FROM(1, 1),
    .check = norm_check,
    .build = rmsnorm_build,
};

/* -- local response normalisation: Krizhevsky, Sutskever and Hinton 2012, section 3.3 -- */

enum { LRN_MOST = 1024 }; /* channels: the window is a square matrix of them */

typedef struct lrn {
    int64_t size;
    double k, alpha, beta;
    bool mean;
} lrn;

static const adze_field LRN_FIELDS[] = {
    {"size", ADZE_F_I64, 0, offsetof(lrn, size), 0, "5", 1, LRN_MOST, NULL, "channels of the window, n"},
    {"k", ADZE_F_F64, 0, offsetof(lrn, k), 0, "2", 1e-6, 1e6, NULL, "what is added"},
    {"alpha", ADZE_F_F64, 0, offsetof(lrn, alpha), 0, "0.0001", 0, 1e6, NULL, "weight of the squares"},
    {"beta", ADZE_F_F64, 0, offsetof(lrn, beta), 0, "0.75", 0, 100, NULL, "exponent"},
    {"mean", ADZE_F_BOOL, 0, offsetof(lrn, mean), 0, "false", 0, 0, NULL,
     "alpha weighs the mean of the n squares (Caffe, PyTorch), not their sum (the paper)"},
    {0},
};

/* (C, C): weight where channel i lies in the window of channel j, from j - n / 2 to j + (n - 1) / 2; else 0 */
static adze_val window_matrix(adze_builder *b, int64_t c, int64_t n, double weight) {
    const adze_type t = adze_type_make(b->dtype, 2, (int64_t[]){c, c});
    double *wide = adze_alloc(b->m->ctx, c * c, sizeof *wide);
    float *narrow = adze_alloc(b->m->ctx, c * c, sizeof *narrow);
    adze_val window = {0};
    for (int64_t i = 0; i < c * c && wide && narrow; i++) {
        const int64_t d = i / c - i % c;
        wide[i] = d >= -(n / 2) && d <= (n - 1) / 2 ? weight : 0;
        narrow[i] = (float)wide[i];
    }
    if (wide && narrow) {
        window = adze_const(b->g, t, b->dtype == ADZE_F64 ? (const void *)wide : (const void *)narrow);
    } else {
        b->failed = ADZE_ENOMEM;
    }
    adze_free(b->m->ctx, wide);
    adze_free(b->m->ctx, narrow);
    return window;
}

static adze_val lrn_build(adze_builder *b, const void *fields) {
    const lrn *f = fields;
    adze_graph *g = b->g;
    const adze_type x = adze_layer_in(b, 0);
    const int64_t c = x.dims[x.rank - 1];
    if (c > LRN_MOST) {
        return adze_layer_fail(b, ADZE_ESHAPE, "the input has %lld channels, %d are the most", (long long)c, LRN_MOST);
    }
    adze_layer_macs(b, numbers(&x) * (double)c);
    const adze_val window = window_matrix(b, c, f->size, f->mean ? f->alpha / (double)f->size : f->alpha);
    const adze_val t = adze_scale(g, adze_matmul(g, adze_square(g, b->x[0]), window, false, false), 1, f->k);
    const adze_val r = adze_rsqrt(g, t); /* t^-3/4 without a logarithm */
    return adze_mul(g, b->x[0], f->beta == 0.75 ? adze_mul(g, r, adze_sqrt(g, r)) : adze_exp(g, adze_scale(g, adze_log(g, t), -f->beta, 0)));
}

const adze_layer_kind adze_layer_lrn = {
    .name = "lrn",
    .doc =
        "y = x / (k + alpha sum x^2)^beta, the sum over 'size' neighbouring channels (Krizhevsky et al. 2012); Caffe divides alpha by the size: mean",
    .cost = "C multiply-adds an output (a product with the matrix of windows), the same backward, and 4 operations; no parameters",
    ADZE_LAYER_FIELDS(LRN_FIELDS, lrn),
    ADZE_LAYER_FROM(1, 1),
    .build = lrn_build,
};

/* -- weights -- */

adze_val adze_layer_weight(adze_builder *b, const adze_param_desc *d, bool normalised) {
    if (!normalised) {
        return adze_layer_param(b, d);
    }
    adze_graph *g = b->g;
    const int rank = d->type.rank;
    adze_param_desc direction = *d, length = {.role = "g", .flags = d->flags, .fan_in = 1, .fan_out = 1, .norms = true};
    int axes[ADZE_MAX_RANK];
    for (int i = 0; i < rank - 1; i++) {
        axes[i] = i;
    }
    direction.role = "v";
    direction.flags &= ~(uint32_t)ADZE_SLOT_DECAY; /* the weights do not depend on the length of v */
    length.type = adze_type_make(b->dtype, 1, &d->type.dims[rank - 1]);
    const adze_val v = adze_layer_param(b, &direction), size = adze_layer_param(b, &length);
    const adze_val square = adze_sum(g, adze_square(g, v), axes, rank - 1, false);
    return adze_mul(g, v, adze_mul(g, size, adze_rsqrt(g, adze_scale(g, square, 1, 1e-30)))); /* a unit without weights stays 0 */
}
