/* Layers that steady the signal: batch normalisation with running statistics, and layer normalisation. */
#include "model/layer.h"

typedef struct norm {
    double eps, momentum;
    adze_act act;
} norm;

static const adze_field BATCHNORM_FIELDS[] = {
    {"eps", ADZE_F_F64, 0, offsetof(norm, eps), 0, "1e-05", 1e-12, 1, NULL, "added to the variance"},
    {"momentum", ADZE_F_F64, 0, offsetof(norm, momentum), 0, "0.9", 0, 1, NULL, "share of the old running statistics kept at each step"},
    ADZE_ACT_FIELDS(norm),
    {0},
};

static const char *batchnorm_check(const void *fields, char *buf, size_t n) {
    const norm *f = fields;
    return adze_activation_check(&f->act, buf, n);
}

static adze_val batchnorm_build(adze_builder *b, const void *fields) {
    const norm *f = fields;
    adze_type x = adze_layer_in(b, 0);
    int64_t c = x.dims[x.rank - 1];
    adze_val scale = adze_layer_vector(b, "scale", c, 1, ADZE_SLOT_TRAINABLE);
    adze_val shift = adze_layer_vector(b, "shift", c, 0, ADZE_SLOT_TRAINABLE);
    adze_val mean = adze_layer_vector(b, "mean", c, 0, ADZE_SLOT_STATE);
    adze_val var = adze_layer_vector(b, "var", c, 1, ADZE_SLOT_STATE);
    adze_layer_macs(b, (double)adze_type_count(&x) / (double)(x.dims[0] ? x.dims[0] : 1));
    if (!b->train && !b->statistics) {
        return adze_layer_activate(b, adze_batchnorm_eval(b->g, b->x[0], scale, shift, mean, var, f->eps), &f->act);
    }
    adze_val batch_mean, batch_var;
    adze_val y = adze_batchnorm(b->g, b->x[0], scale, shift, f->eps, &batch_mean, &batch_var);
    const double kept = b->statistics ? 0 : f->momentum, n = (double)adze_type_count(&x) / (double)c;
    adze_ema(b->g, mean, batch_mean, kept);
    /* Ioffe and Szegedy 2015, algorithm 2, line 10; statistics are put together from the batches' own variances */
    adze_ema(b->g, var, n > 1 && !b->statistics ? adze_scale(b->g, batch_var, n / (n - 1), 0) : batch_var, kept);
    return adze_layer_activate(b, y, &f->act);
}

const adze_layer_kind adze_layer_batchnorm = {
    .name = "batchnorm",
    .doc =
        "y = fn((x - mean) / sqrt(var + eps) * scale + shift) per channel: the batch's statistics in training, running ones (of the unbiased variance) in use",
    .cost =
        "in training 2 passes over x forward and 2 backward, 6 operations an output each way; in use 1 multiply-add; 2 C parameters, 2 C statistics",
    ADZE_LAYER_FIELDS(BATCHNORM_FIELDS, norm),
    ADZE_LAYER_FROM(1, 1),
    .check = batchnorm_check,
    .build = batchnorm_build,
};

static const adze_field LAYERNORM_FIELDS[] = {
    {"eps", ADZE_F_F64, 0, offsetof(norm, eps), 0, "1e-05", 1e-12, 1, NULL, "added to the variance"},
    {0},
};

static adze_val layernorm_build(adze_builder *b, const void *fields) {
    const norm *f = fields;
    adze_type x = adze_layer_in(b, 0);
    int64_t c = x.dims[x.rank - 1];
    adze_val scale = adze_layer_vector(b, "scale", c, 1, ADZE_SLOT_TRAINABLE);
    adze_val shift = adze_layer_vector(b, "shift", c, 0, ADZE_SLOT_TRAINABLE);
    adze_layer_macs(b, (double)adze_type_count(&x) / (double)(x.dims[0] ? x.dims[0] : 1));
    return adze_layernorm(b->g, b->x[0], scale, shift, f->eps);
}

const adze_layer_kind adze_layer_layernorm = {
    .name = "layernorm",
    .doc = "y = (x - mean) / sqrt(var + eps) * scale + shift over the last axis of each example",
    .cost = "2 passes over x forward and 2 backward, 6 operations an output each way; 2 C parameters",
    ADZE_LAYER_FIELDS(LAYERNORM_FIELDS, norm),
    ADZE_LAYER_FROM(1, 1),
    .build = layernorm_build,
};
