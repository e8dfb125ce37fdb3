/* Activation functions: as a layer of their own, and as the last part of dense, conv and others. All are made of existing maps, which the compiler
 * joins into one chain; what could overflow is bounded first where the function is flat, so that value and both derivatives are finite for every
 * finite input that leaves them finite. */
#include "model/layer.h"

#include <math.h>
#include <stdio.h>

const char *const adze_activation_names[] = {"none", "relu",      "leaky_relu", "prelu",      "relu6",    "elu",       "selu",
                                             "gelu", "gelu_tanh", "silu",       "hard_swish", "softplus", "sigmoid",   "hard_sigmoid",
                                             "tanh", "hard_tanh", "lecun_tanh", "crelu",      "maxout",   "k_winners", NULL};

static adze_val below(adze_graph *g, adze_val x) { /* min(x, 0), of derivative 1 at 0 */
    return adze_clip(g, x, -(double)INFINITY, 0);
}

static adze_val leaky_relu(adze_builder *b, adze_val x, const adze_act *a) {
    return adze_add(b->g, adze_relu(b->g, x), adze_scale(b->g, below(b->g, x), a->slope, 0));
}

static adze_val prelu(adze_builder *b, adze_val x, const adze_act *a) { /* slopes do not decay: that would pull them to relu (He et al. 2015) */
    adze_type t = adze_val_type(b->g, x);
    int64_t n = a->slope_shared || t.rank < 1 ? 1 : t.dims[t.rank - 1];
    adze_val slope = adze_layer_vector(b, "slope", n, a->slope_init, ADZE_SLOT_TRAINABLE);
    return adze_add(b->g, adze_relu(b->g, x), adze_mul(b->g, below(b->g, x), slope));
}

static adze_val relu6(adze_builder *b, adze_val x, const adze_act *a) {
    (void)a;
    return adze_clip(b->g, x, 0, 6);
}

static adze_val exponential(adze_graph *g, adze_val x, double alpha) {
    return adze_add(g, adze_relu(g, x), adze_scale(g, adze_expm1(g, below(g, x)), alpha, 0));
}

static adze_val elu(adze_builder *b, adze_val x, const adze_act *a) {
    return exponential(b->g, x, a->alpha);
}

static adze_val selu(adze_builder *b, adze_val x, const adze_act *a) { /* mean 0 and variance 1 are its fixed point (Klambauer et al. 2017) */
    (void)a;
    return adze_scale(b->g, exponential(b->g, x, 1.6732632423543772), 1.0507009873554805, 0);
}

static adze_val gelu(adze_builder *b, adze_val x, const adze_act *a) { /* beyond 40 the normal density is 0 in f64: no x^2 there */
    (void)a;
    adze_val u = adze_scale(b->g, adze_clip(b->g, x, -40, 40), 0.70710678118654752, 0);
    return adze_mul(b->g, x, adze_scale(b->g, adze_erf(b->g, u), 0.5, 0.5));
}

static adze_val gelu_tanh(adze_builder *b, adze_val x, const adze_act *a) { /* beyond 10 the tanh is 1 in f64: no x^3 there */
    (void)a;
    adze_graph *g = b->g;
    adze_val u = adze_clip(g, x, -10, 10);
    adze_val inner = adze_mul(g, u, adze_scale(g, adze_square(g, u), 0.79788456080286536 * 0.044715, 0.79788456080286536));
    return adze_mul(g, x, adze_scale(g, adze_tanh(g, inner), 0.5, 0.5));
}

static adze_val silu(adze_builder *b, adze_val x, const adze_act *a) {
    (void)a;
    return adze_mul(b->g, x, adze_sigmoid(b->g, x));
}

static adze_val hard_sigmoid(adze_builder *b, adze_val x, const adze_act *a) {
    (void)a;
    return adze_clip(b->g, adze_scale(b->g, x, 1.0 / 6, 0.5), 0, 1);
}

static adze_val hard_swish(adze_builder *b, adze_val x, const adze_act *a) {
    return adze_mul(b->g, x, hard_sigmoid(b, x, a));
}

static adze_val hard_tanh(adze_builder *b, adze_val x, const adze_act *a) {
    (void)a;
    return adze_clip(b->g, x, -1, 1);
}

static adze_val lecun_tanh(adze_builder *b, adze_val x, const adze_act *a) { /* f(1) is nearly 1, and its slope there is largest in curvature */
    (void)a;
    return adze_scale(b->g, adze_tanh(b->g, adze_scale(b->g, x, 2.0 / 3.0, 0)), 1.7159, 0);
}

static adze_val crelu(adze_builder *b, adze_val x, const adze_act *a) {
    (void)a;
    adze_type t = adze_val_type(b->g, x);
    adze_val both[2] = {adze_relu(b->g, x), adze_relu(b->g, adze_neg(b->g, x))};
    b->mirror = t.rank > 0 ? 2 * t.dims[t.rank - 1] : 0;
    return adze_concat(b->g, both, 2, -1);
}

static adze_val maxout(adze_builder *b, adze_val x, const adze_act *a) {
    adze_type t = adze_val_type(b->g, x);
    if (t.rank < 1 || t.dims[t.rank - 1] % a->pieces) {
        return adze_layer_fail(b, ADZE_ESHAPE, "maxout takes the largest of each %lld channels, and %lld is no multiple of that; change 'pieces'",
                               (long long)a->pieces, (long long)(t.rank > 0 ? t.dims[t.rank - 1] : 1));
    }
    int64_t from[ADZE_MAX_RANK] = {0}, step[ADZE_MAX_RANK];
    adze_val y = {0};
    for (int i = 0; i < t.rank; i++) {
        step[i] = i == t.rank - 1 ? a->pieces : 1;
    }
    for (; from[t.rank - 1] < a->pieces; from[t.rank - 1]++) { /* maps of strided views: four times the speed of so short a reduction */
        adze_val piece = adze_slice(b->g, x, from, t.dims, step);
        y = y.id ? adze_max(b->g, y, piece) : piece;
    }
    return y;
}

static adze_val k_winners(adze_builder *b, adze_val x, const adze_act *a) {
    adze_type t = adze_val_type(b->g, x);
    int64_t n = 1;
    for (int i = 1; i < t.rank; i++) {
        n *= t.dims[i];
    }
    if (a->winners > n) {
        return adze_layer_fail(b, ADZE_ESHAPE, "an example has %lld numbers, so %lld cannot win; give fewer 'winners'", (long long)n,
                               (long long)a->winners);
    }
    adze_val ids, flat = adze_reshape(b->g, x, (int64_t[]){t.dims[0], n}, 2);
    adze_val top = adze_topk(b->g, flat, 1, a->winners, false, &ids);
    return adze_reshape(b->g, adze_scatter_along(b->g, top, ids, 1, n), t.dims, t.rank);
}

/* -- the table ---------------------------------------------------------------------------------------------------------------------------------- */

typedef struct kind {
    adze_val (*build)(adze_builder *b, adze_val x, const adze_act *a); /* NULL: `map`, or nothing */
    adze_val (*map)(adze_graph *g, adze_val x);
    int32_t init; /* what "auto" stands for before it */
    const char *formula, *derivative, *paper, *cost;
} kind;

#define HE ADZE_INIT_HE_NORMAL
#define GLOROT ADZE_INIT_GLOROT_UNIFORM
#define LECUN ADZE_INIT_LECUN_NORMAL

static const kind KINDS[] = {
    [ADZE_ACT_NONE] = {NULL, NULL, GLOROT, "x", "1", "-", "nothing"},
    [ADZE_ACT_RELU] = {NULL, adze_relu, HE, "max(x, 0)", "1 if x > 0, else 0", "Nair and Hinton 2010; Glorot, Bordes and Bengio 2011", "1 operation"},
    [ADZE_ACT_LEAKY_RELU] = {leaky_relu, NULL, HE, "x if x > 0, else slope x", "1 if x > 0, else slope", "Maas, Hannun and Ng 2013", "4 operations"},
    [ADZE_ACT_PRELU] = {prelu, NULL, HE, "x if x > 0, else a x; a is learnt, per channel or (slope_shared) one",
                        "1 if x > 0, else a; in a: min(x, 0)", "He, Zhang, Ren and Sun 2015", "4 operations"},
    [ADZE_ACT_RELU6] = {relu6, NULL, HE, "min(max(x, 0), 6)", "1 if 0 <= x <= 6, else 0", "Krizhevsky 2010", "1 operation"},
    [ADZE_ACT_ELU] = {elu, NULL, HE, "x if x > 0, else alpha (e^x - 1)", "1 if x > 0, else alpha e^x", "Clevert, Unterthiner and Hochreiter 2016",
                      "expm1 + 4 operations"},
    [ADZE_ACT_SELU] = {selu, NULL, LECUN, "1.0507 (x if x > 0, else 1.6733 (e^x - 1))", "1.0507 (1 if x > 0, else 1.6733 e^x)",
                       "Klambauer, Unterthiner, Mayr and Hochreiter 2017", "expm1 + 5 operations"},
    [ADZE_ACT_GELU] = {gelu, NULL, HE, "x Phi(x) = x (1 + erf(x / sqrt 2)) / 2", "Phi(x) + x phi(x)", "Hendrycks and Gimpel 2016",
                       "erf + 4 operations"},
    [ADZE_ACT_GELU_TANH] = {gelu_tanh, NULL, HE, "x (1 + t) / 2, t = tanh u, u = sqrt(2 / pi) (x + 0.044715 x^3)", "(1 + t) / 2 + x (1 - t^2) u' / 2",
                            "Hendrycks and Gimpel 2016", "tanh + 6 operations"},
    [ADZE_ACT_SILU] = {silu, NULL, HE, "x s, s = 1 / (1 + e^-x)", "s + x s (1 - s)",
                       "Elfwing, Uchibe and Doya 2018; Ramachandran et al. 2017 (swish)", "sigmoid + 1 operation"},
    [ADZE_ACT_HARD_SWISH] = {hard_swish, NULL, HE, "x min(max(x / 6 + 1/2, 0), 1)", "0 below -3, 1 above 3, else x / 3 + 1/2", "Howard et al. 2019",
                             "3 operations"},
    [ADZE_ACT_SOFTPLUS] = {NULL, adze_softplus, GLOROT, "ln(1 + e^x)", "1 / (1 + e^-x)", "Dugas et al. 2001", "softplus"},
    [ADZE_ACT_SIGMOID] = {NULL, adze_sigmoid, GLOROT, "s = 1 / (1 + e^-x)", "s (1 - s)", "Rumelhart, Hinton and Williams 1986", "sigmoid"},
    [ADZE_ACT_HARD_SIGMOID] = {hard_sigmoid, NULL, GLOROT, "min(max(x / 6 + 1/2, 0), 1)", "1/6 if |x| <= 3, else 0", "Howard et al. 2019",
                               "2 operations"},
    [ADZE_ACT_TANH] = {NULL, adze_tanh, GLOROT, "t = tanh x", "1 - t^2", "LeCun, Bottou, Orr and Mueller 1998", "tanh"},
    [ADZE_ACT_HARD_TANH] = {hard_tanh, NULL, GLOROT, "min(max(x, -1), 1)", "1 if |x| <= 1, else 0", "Collobert 2004", "1 operation"},
    [ADZE_ACT_LECUN_TANH] = {lecun_tanh, NULL, GLOROT, "1.7159 tanh(2 x / 3)", "1.1439 (1 - tanh(2 x / 3)^2)", "LeCun, Bottou, Orr and Mueller 1998",
                             "tanh + 2 operations"},
    [ADZE_ACT_CRELU] = {crelu, NULL, HE, "max(x, 0) beside max(-x, 0): twice the channels", "1 if x > 0, else 0; -1 if x < 0, else 0",
                        "Shang, Sohn, Almeida and Lee 2016", "3 operations and a copy"},
    [ADZE_ACT_MAXOUT] = {maxout, NULL, GLOROT, "the largest of each 'pieces' channels; dense and conv compute that many more sums",
                         "1 for the largest, else 0", "Goodfellow et al. 2013", "1 comparison"},
    [ADZE_ACT_K_WINNERS] = {k_winners, NULL, GLOROT, "x if it is among the 'winners' largest of its example, else 0", "1 for winners, else 0",
                            "Makhzani and Frey 2014", "a selection"},
};
_Static_assert(ADZE_COUNT(KINDS) + 1 == ADZE_COUNT(adze_activation_names), "every activation has a name and a row");

bool adze_activation_about(int i, adze_about *out) {
    if (i < 0 || i >= (int)ADZE_COUNT(KINDS)) {
        return false;
    }
    const kind *k = &KINDS[i];
    *out = (adze_about){adze_activation_names[i], k->formula, k->derivative, k->paper, k->cost};
    return true;
}

int32_t adze_activation_init(const adze_act *a) {
    return KINDS[a->fn].init;
}

int64_t adze_activation_sums(const adze_act *a, int64_t outputs) {
    return a->fn == ADZE_ACT_MAXOUT ? outputs * a->pieces : outputs;
}

const char *adze_activation_check(const adze_act *a, char *buf, size_t n) {
    typedef struct holder {
        adze_act act;
    } holder;
    static const adze_field params[] = {ADZE_ACT_PARAMS(holder), {0}};
    static const int owner[] = {ADZE_ACT_LEAKY_RELU, ADZE_ACT_PRELU, ADZE_ACT_PRELU, ADZE_ACT_ELU, ADZE_ACT_MAXOUT, ADZE_ACT_K_WINNERS};
    _Static_assert(ADZE_COUNT(owner) + 1 == ADZE_COUNT(params), "every parameter has an owner");
    for (size_t i = 0; i < ADZE_COUNT(owner); i++) {
        if (a->fn != owner[i] && !adze_field_is_default(&params[i], a)) {
            snprintf(buf, n, "'%s' is a parameter of %s, not of %s; leave it out", params[i].name, adze_activation_names[owner[i]],
                     adze_activation_names[a->fn]);
            return buf;
        }
    }
    return a->fn == ADZE_ACT_K_WINNERS && a->winners == 0 ? "k_winners needs 'winners', how many numbers of an example stay, such as winners: 10"
                                                          : NULL;
}

adze_val adze_layer_activate(adze_builder *b, adze_val x, const adze_act *a) {
    if (b->taps && b->taps->sums) {
        b->taps->sums[b->layer] = x;
    }
    const kind *k = &KINDS[a->fn];
    return k->build ? k->build(b, x, a) : k->map ? k->map(b->g, x) : x;
}

/* -- the layer ---------------------------------------------------------------------------------------------------------------------------------- */

typedef struct activation {
    adze_act act;
} activation;

static const adze_field FIELDS[] = {
    {"fn", ADZE_F_ENUM, ADZE_FIELD_REQUIRED, offsetof(activation, act.fn), 0, "none", 0, 0, adze_activation_names, "the function"},
    ADZE_ACT_PARAMS(activation),
    {0},
};

static const char *check(const void *fields, char *buf, size_t n) {
    const activation *f = fields;
    return adze_activation_check(&f->act, buf, n);
}

static adze_val build(adze_builder *b, const void *fields) {
    const activation *f = fields;
    return adze_layer_activate(b, b->x[0], &f->act);
}

const adze_layer_kind adze_layer_activation = {
    .name = "activation",
    .doc = "y = fn(x), elementwise but for crelu, maxout and k_winners; `adze list activations` has the formulas",
    .cost = "see `adze list activations`; an output is read and written once, in most places on its way through the cache",
    ADZE_LAYER_FIELDS(FIELDS, activation),
    ADZE_LAYER_FROM(1, 1),
    .check = check,
    .build = build,
};
