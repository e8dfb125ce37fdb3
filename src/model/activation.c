/* Activation functions: as a layer of their own, and as the last part of dense, conv and subsample. */
#include "model/layer.h"

const char *const adze_activation_names[] = {"none", "relu", "leaky_relu", "tanh", "lecun_tanh", "sigmoid", "softplus", "silu", "gelu", "elu", NULL};

enum { LEAKY_PERCENT = 1 }; /* slope below 0, in percent */

/* x where x > 0, slope * x else: the difference of two ramps, so that no comparison is differentiated. */
static adze_val leaky_relu(adze_graph *g, adze_val x) {
    const double slope = LEAKY_PERCENT / 100.0;
    return adze_add(g, adze_scale(g, adze_relu(g, x), 1 - slope, 0), adze_scale(g, x, slope, 0));
}

/* exp(min(x, 0)) - 1 + max(x, 0) (Clevert et al. 2016, alpha 1). */
static adze_val elu(adze_graph *g, adze_val x) {
    adze_val below = adze_scale(g, adze_relu(g, adze_neg(g, x)), -1, 0);
    return adze_add(g, adze_relu(g, x), adze_expm1(g, below));
}

adze_val adze_layer_activate(adze_builder *b, adze_val x, int32_t activation) {
    adze_graph *g = b->g;
    switch (activation) {
    case ADZE_ACT_RELU:
        return adze_relu(g, x);
    case ADZE_ACT_LEAKY_RELU:
        return leaky_relu(g, x);
    case ADZE_ACT_TANH:
        return adze_tanh(g, x);
    case ADZE_ACT_LECUN_TANH: /* LeCun et al. 1998, appendix A: f(1) is nearly 1, and its slope there is largest in curvature */
        return adze_scale(g, adze_tanh(g, adze_scale(g, x, 2.0 / 3.0, 0)), 1.7159, 0);
    case ADZE_ACT_SIGMOID:
        return adze_sigmoid(g, x);
    case ADZE_ACT_SOFTPLUS:
        return adze_softplus(g, x);
    case ADZE_ACT_SILU:
        return adze_mul(g, x, adze_sigmoid(g, x));
    case ADZE_ACT_GELU: /* x Phi(x), by erf */
        return adze_mul(g, x, adze_scale(g, adze_erf(g, adze_scale(g, x, 0.70710678118654752, 0)), 0.5, 0.5));
    case ADZE_ACT_ELU:
        return elu(g, x);
    default:
        return x;
    }
}

typedef struct activation {
    int32_t fn;
} activation;

static const adze_field FIELDS[] = {
    {"fn", ADZE_F_ENUM, ADZE_FIELD_REQUIRED, offsetof(activation, fn), 0, "none", 0, 0, adze_activation_names, "the function"},
    {0},
};

static adze_val build(adze_builder *b, const void *fields) {
    const activation *f = fields;
    return adze_layer_activate(b, b->x[0], f->fn);
}

const adze_layer_kind adze_layer_activation = {
    .name = "activation",
    .doc = "y = fn(x), elementwise; lecun_tanh is 1.7159 tanh(2x/3), leaky_relu has slope 0.01 below 0, gelu goes by erf",
    .fields = FIELDS,
    .size = sizeof(activation),
    .from_min = 1,
    .from_max = 1,
    .build = build,
};
