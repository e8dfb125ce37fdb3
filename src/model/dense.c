/* Layers that join every input with every output: dense, and LeCun's RBF output with its fixed code vectors. */
#include "model/layer.h"

typedef struct dense {
    int64_t units;
    adze_act act;
    bool bias, weight_norm;
    double bias_init;
    adze_init init;
    adze_dropconnect drop;
} dense;

static const adze_field DENSE_FIELDS[] = {
    {"units", ADZE_F_I64, ADZE_FIELD_REQUIRED, offsetof(dense, units), 0, NULL, 1, 10000000, NULL, "number of outputs"},
    ADZE_ACT_FIELDS(dense),
    {"bias", ADZE_F_BOOL, 0, offsetof(dense, bias), 0, "true", 0, 0, NULL, "adds a trainable number per output"},
    {"bias_init", ADZE_F_F64, 0, offsetof(dense, bias_init), 0, "0", -1e6, 1e6, NULL, "where biases start"},
    ADZE_INIT_FIELDS(dense, "auto"),
    {"dropconnect", ADZE_F_F64, 0, offsetof(dense, drop.p), 0, "0", 0, 0.99, NULL,
     "probability that a weight is 0 in training, the others divided by 1 - this"},
    {"dropconnect_mask", ADZE_F_ENUM, 0, offsetof(dense, drop.mask), 0, "batch", 0, 0, adze_dropconnect_masks,
     "a draw for each batch, or for each example (as much memory as batch times weights)"},
    ADZE_WEIGHT_NORM_FIELD(dense),
    {0},
};

/* A picture has to be made flat first; a sequence of rank 3 may pass where steps are told apart. */
static bool needs_flat(adze_builder *b, const adze_type *x, int rank) {
    if (x->rank == 2 || x->rank == rank) {
        return false;
    }
    adze_layer_fail(b, ADZE_ESHAPE, "the input is %s; put a flatten layer before", ADZE_SHOWN(x));
    return true;
}

static const char *dense_check(const void *fields, char *buf, size_t n) {
    const dense *f = fields;
    const char *fault = adze_init_check(&f->init, buf, n);
    return fault ? fault : adze_activation_check(&f->act, buf, n);
}

static adze_val dense_build(adze_builder *b, const void *fields) {
    const dense *f = fields;
    adze_type x = adze_layer_in(b, 0);
    if (needs_flat(b, &x, 3)) {
        return (adze_val){0};
    }
    int64_t in = x.dims[x.rank - 1], sums = adze_activation_sums(&f->act, f->units);
    adze_param_desc w = {.role = "w", .flags = ADZE_SLOT_TRAINABLE | ADZE_SLOT_DECAY, .fan_in = in, .fan_out = sums};
    w.type = adze_type_make(b->dtype, 2, (int64_t[]){in, sums}); /* (in, units) */
    w.init = adze_layer_init(f->init, &f->act);
    adze_layer_mirror(b, &w, &f->act, sums);
    const adze_val weight = adze_layer_weight(b, &w, f->weight_norm);
    adze_val y = adze_dropconnect_matmul(b, b->x[0], weight, &f->drop);
    if (f->bias) {
        y = adze_add(b->g, y, adze_layer_vector(b, "b", sums, f->bias_init, ADZE_SLOT_TRAINABLE));
    }
    adze_layer_macs(b, (x.rank == 3 ? (double)x.dims[1] : 1) * (double)in * (double)sums);
    if (b->samples > 0 && f->drop.p > 0) {
        return adze_dropconnect_samples(b, y, adze_dropconnect_variance(b->g, b->x[0], weight, f->drop.p), &f->act);
    }
    return adze_layer_activate(b, y, &f->act);
}

const adze_layer_kind adze_layer_dense = {
    .name = "dense",
    .doc = "y = fn(x w + b): x (N, C), or (N, T, C) step by step; w (C, units), b (units)",
    .cost = "C multiply-adds an output; (C + 1) units parameters, with weight_norm (C + 2) units",
    ADZE_LAYER_FIELDS(DENSE_FIELDS, dense),
    ADZE_LAYER_FROM(1, 1),
    .check = dense_check,
    .build = dense_build,
};

/* -- rbf: LeCun, Bottou, Bengio, Haffner 1998, section II.C -- */

enum { CODE_W = 7, CODE_H = 12, CODE_BITS = CODE_W * CODE_H, CODES = 10 };

/* Stylised digits, 7 wide and 12 high, after the paper's figure 3. */
static const char *const DIGITS[CODES][CODE_H] = {
    {".......", "..###..", ".##.##.", "##...##", "##...##", "##...##", "##...##", "##...##", ".##.##.", "..###..", ".......", "......."},
    {"...##..", "..###..", ".####..", "...##..", "...##..", "...##..", "...##..", "...##..", "...##..", ".######", ".......", "......."},
    {".#####.", "##...##", "##...##", ".....##", "....##.", "...##..", "..##...", ".##....", "##.....", "#######", ".......", "......."},
    {"#######", ".....##", "....##.", "...##..", "..####.", ".....##", ".....##", ".....##", "##...##", ".#####.", ".......", "......."},
    {".......", "##..##.", "##..##.", "##..##.", "##..##.", "##..##.", "#######", "....##.", "....##.", "....##.", "....##.", "......."},
    {"#######", "##.....", "##.....", "##.....", "######.", "##...##", ".....##", ".....##", "##...##", ".#####.", ".......", "......."},
    {"..####.", ".##....", "##.....", "##.....", "######.", "##...##", "##...##", "##...##", "##...##", ".#####.", ".......", "......."},
    {"#######", "##...##", ".....##", "....##.", "....##.", "...##..", "...##..", "..##...", "..##...", "..##...", ".......", "......."},
    {".#####.", "##...##", "##...##", "##...##", ".#####.", "##...##", "##...##", "##...##", "##...##", ".#####.", ".......", "......."},
    {".#####.", "##...##", "##...##", "##...##", "##...##", ".######", ".....##", ".....##", "....##.", ".####..", ".......", "......."},
};

typedef struct rbf {
    int32_t codes;
} rbf;

static const char *const CODE_NAMES[] = {"digits", NULL};

static const adze_field RBF_FIELDS[] = {
    {"codes", ADZE_F_ENUM, 0, offsetof(rbf, codes), 0, "digits", 0, 0, CODE_NAMES, "code vectors; digits: 10 drawings of 7 x 12 pixels, +1 and -1"},
    {0},
};

static adze_val rbf_build(adze_builder *b, const void *fields) {
    (void)fields;
    adze_type x = adze_layer_in(b, 0);
    if (needs_flat(b, &x, 2)) {
        return (adze_val){0};
    }
    if (x.dims[1] != CODE_BITS) {
        return adze_layer_fail(b, ADZE_ESHAPE, "the input has %lld numbers, the digit codes have %d (7 x 12)", (long long)x.dims[1], CODE_BITS);
    }
    double codes[CODES][CODE_BITS];
    float codes32[CODES][CODE_BITS];
    for (int i = 0; i < CODES; i++) {
        for (int j = 0; j < CODE_BITS; j++) {
            codes[i][j] = DIGITS[i][j / CODE_W][j % CODE_W] == '#' ? 1 : -1;
            codes32[i][j] = (float)codes[i][j];
        }
    }
    adze_type t = adze_type_make(b->dtype, 2, (int64_t[]){CODES, CODE_BITS});
    adze_val c = adze_const(b->g, t, b->dtype == ADZE_F64 ? (const void *)codes : (const void *)codes32);
    adze_val wide = adze_reshape(b->g, b->x[0], (int64_t[]){x.dims[0], 1, CODE_BITS}, 3);
    adze_val d2 = adze_sum(b->g, adze_square(b->g, adze_sub(b->g, wide, c)), (int[]){2}, 1, false); /* (N, 10) */
    adze_layer_fixed(b, (int64_t)CODES * CODE_BITS);
    adze_layer_macs(b, (double)CODES * CODE_BITS);
    return adze_neg(b->g, d2);
}

const adze_layer_kind adze_layer_rbf = {
    .name = "rbf",
    .doc = "y_i = -|x - code_i|^2: minus the squared distance to fixed codes of +-1, so that the largest score is the nearest class",
    .cost = "84 subtractions and multiply-adds an output; 840 fixed numbers",
    ADZE_LAYER_FIELDS(RBF_FIELDS, rbf),
    ADZE_LAYER_FROM(1, 1),
    .build = rbf_build,
};
