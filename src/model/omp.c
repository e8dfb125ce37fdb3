/* The OMP-k encoder (Coates and Ng 2011): what comes in as a sum of at most k atoms of a dictionary. */
#include "model/layer.h"

typedef struct omp {
    int64_t atoms, k;
    double tol;
    bool learn;
    int32_t start;
    adze_init init;
} omp;

static const char *const STARTS[] = {"init", "examples", "k_means", NULL};

static const adze_field FIELDS[] = {
    {"atoms", ADZE_F_I64, ADZE_FIELD_REQUIRED, offsetof(omp, atoms), 0, NULL, 1, 16384, NULL, "of the dictionary: number of outputs"},
    {"k", ADZE_F_I64, 0, offsetof(omp, k), 0, "5", 1, 1000, NULL, "atoms of one input, at most: outputs that are not 0"},
    {"tol", ADZE_F_F64, 0, offsetof(omp, tol), 0, "1e-06", 0, 0.999, NULL,
     "fewer atoms do where no more than this share of the input's length is left"},
    {"learn", ADZE_F_BOOL, 0, offsetof(omp, learn), 0, "true", 0, 0, NULL, "the dictionary is trained; false: it stays as it starts"},
    {"start", ADZE_F_ENUM, 0, offsetof(omp, start), 0, "init", 0, 0, STARTS,
     "first atoms: as 'init' says; in adze train also some of the layer's inputs, or the centres of their groups"},
    ADZE_INIT_FIELDS(omp, "lecun_normal"),
    {0},
};

static const char *check(const void *fields, char *buf, size_t n) {
    const omp *f = fields;
    return f->k > f->atoms ? "'k' cannot exceed 'atoms'" : adze_init_check(&f->init, buf, n);
}

int32_t adze_omp_start(const adze_layer *l) {
    return l->spec->kind == &adze_layer_omp ? ((const omp *)l->spec->fields)->start : ADZE_OMP_INIT;
}

/* Atoms are normalised here and not after each update: the choice goes by the cosine and does not see lengths, so only the scale of the code would
 * depend on them, and every optimiser may then change v as it likes. 1e-30: an atom of zeros stays one, and is never chosen. */
static adze_val build(adze_builder *b, const void *fields) {
    const omp *f = fields;
    adze_graph *g = b->g;
    const adze_type x = adze_layer_in(b, 0);
    const int64_t in = x.dims[x.rank - 1];
    if (x.rank < 2 || f->k > in) {
        return adze_layer_fail(b, ADZE_ESHAPE,
                               "the input is %s, and %lld atoms cannot be independent; give a smaller 'k' or put a flatten layer before",
                               ADZE_SHOWN(&x), (long long)f->k);
    }
    adze_param_desc d = {.role = "v", .flags = f->learn ? ADZE_SLOT_TRAINABLE : 0, .fan_in = in, .fan_out = f->atoms};
    d.type = adze_type_make(b->dtype, 2, (int64_t[]){in, f->atoms});
    d.init = adze_layer_init(f->init, &(adze_act){.fn = ADZE_ACT_NONE});
    const adze_val v = adze_layer_param(b, &d), square = adze_sum(g, adze_square(g, v), (int[]){0}, 1, false);
    const double rows = (double)(adze_type_count(&x) / (x.dims[0] ? x.dims[0] : 1)) / (double)in, k = (double)f->k;
    adze_layer_macs(b, rows * (double)f->atoms * ((double)in + k * (k + 1) / 2)); /* products with all atoms; what each choice leaves of them */
    return adze_omp(g, b->x[0], adze_mul(g, v, adze_rsqrt(g, adze_scale(g, square, 1, 1e-30))), f->k, f->tol, NULL);
}

const adze_layer_kind adze_layer_omp = {
    .name = "omp",
    .doc = "x (N, ..., C) as a sum of at most k of the unit columns of v (C, atoms), by orthogonal matching pursuit: their factors y (N, ..., atoms)",
    .cost = "C + k^2 / 2 multiply-adds an output in double, beside C atoms^2 a batch; C atoms parameters",
    ADZE_LAYER_FIELDS(FIELDS, omp),
    ADZE_LAYER_FROM(1, 1),
    .check = check,
    .build = build,
};
