/* Layers without parameters that rearrange or join: flatten, reshape, add, concat, softmax. */
#include "model/layer.h"

typedef struct nothing {
    int32_t unused;
} nothing;

static const adze_field NO_FIELDS[] = {{0}};

static int64_t example_size(const adze_type *t) {
    int64_t n = 1;
    for (int i = 1; i < t->rank; i++) {
        n *= t->dims[i];
    }
    return n;
}

static adze_val flatten_build(adze_builder *b, const void *fields) {
    (void)fields;
    adze_type x = adze_layer_in(b, 0);
    return adze_reshape(b->g, b->x[0], (int64_t[]){x.dims[0], example_size(&x)}, 2);
}

const adze_layer_kind adze_layer_flatten = {
    .name = "flatten",
    .doc = "(N, H, W, C) -> (N, H W C), in that order",
    .cost = "nothing",
    ADZE_LAYER_FIELDS(NO_FIELDS, nothing),
    ADZE_LAYER_FROM(1, 1),
    .keeps_mirror = true,
    .build = flatten_build,
};

typedef struct reshape {
    adze_ints dims;
} reshape;

static const adze_field RESHAPE_FIELDS[] = {
    {"dims", ADZE_F_INTS, ADZE_FIELD_REQUIRED, offsetof(reshape, dims), 0, NULL, 1, 1e9, NULL, "shape of one example"},
    {0},
};

static const char *reshape_check(const void *fields, char *buf, size_t n) {
    (void)buf;
    (void)n;
    const reshape *f = fields;
    return f->dims.n < 1 || f->dims.n > ADZE_MAX_RANK - 1 ? "'dims' takes 1 to 7 sizes" : NULL;
}

static adze_val reshape_build(adze_builder *b, const void *fields) {
    const reshape *f = fields;
    adze_type x = adze_layer_in(b, 0);
    int64_t dims[ADZE_MAX_RANK], n = 1;
    dims[0] = x.dims[0];
    for (int i = 0; i < (int)f->dims.n; i++) {
        dims[i + 1] = f->dims.v[i];
        if (!adze_mul_size(n, f->dims.v[i], &n)) {
            return adze_layer_fail(b, ADZE_ESHAPE, "the product of 'dims' does not fit in 64 bits");
        }
    }
    if (n != example_size(&x)) {
        return adze_layer_fail(b, ADZE_ESHAPE, "an example has %lld numbers, 'dims' makes %lld", (long long)example_size(&x), (long long)n);
    }
    return adze_reshape(b->g, b->x[0], dims, (int)f->dims.n + 1);
}

const adze_layer_kind adze_layer_reshape = {
    .name = "reshape",
    .doc = "gives each example another shape with as many numbers",
    .cost = "nothing",
    ADZE_LAYER_FIELDS(RESHAPE_FIELDS, reshape),
    ADZE_LAYER_FROM(1, 1),
    .check = reshape_check,
    .build = reshape_build,
};

typedef struct add {
    double drop_path;
    adze_act act;
} add;

static const adze_field ADD_FIELDS[] = {
    {"drop_path", ADZE_F_F64, 0, offsetof(add, drop_path), 0, "1", 1e-6, 1, NULL,
     "share of training steps in which the branch of this block runs (stochastic depth); in use it is scaled by that"},
    ADZE_ACT_FIELDS(add),
    {0},
};

static const char *add_check(const void *fields, char *buf, size_t n) {
    const add *f = fields;
    return adze_activation_check(&f->act, buf, n);
}

static adze_val add_build(adze_builder *b, const void *fields) {
    const add *f = fields;
    const adze_layer *l = &b->m->layers[b->layer];
    adze_val y = b->x[0];
    adze_type first = adze_layer_in(b, 0);
    for (int i = 1; i < b->nx; i++) {
        adze_type t = adze_layer_in(b, i);
        if (!adze_type_equal(&t, &first)) {
            return adze_layer_fail(b, ADZE_ESHAPE, "its inputs differ: %s and %s", ADZE_SHOWN(&first), ADZE_SHOWN(&t));
        }
        if (l->survival == 1) {
            y = adze_add(b->g, y, b->x[i]);
        } else {
            const adze_val branch = b->x[l->branch_input], rest = b->x[1 - l->branch_input];
            y = b->guards ? adze_guard_end(b->g, rest, branch) : adze_add(b->g, rest, b->train ? branch : adze_scale(b->g, branch, l->survival, 0));
        }
    }
    return adze_layer_activate(b, y, &f->act);
}

const adze_layer_kind adze_layer_add = {
    .name = "add",
    .doc = "fn of the sum of its inputs, which have one shape (from: [a, b])",
    .cost = "1 addition an output and further input",
    ADZE_LAYER_FIELDS(ADD_FIELDS, add),
    ADZE_LAYER_FROM(2, ADZE_LAYER_MAX_FROM),
    .check = add_check,
    .build = add_build,
};

typedef struct concat {
    int64_t axis;
} concat;

static const adze_field CONCAT_FIELDS[] = {
    {"axis", ADZE_F_I64, 0, offsetof(concat, axis), 0, "-1", -7, 6, NULL, "axis of one example; -1: the last one, the channels"},
    {0},
};

static adze_val concat_build(adze_builder *b, const void *fields) {
    const concat *f = fields;
    adze_type x = adze_layer_in(b, 0);
    int64_t axis = f->axis < 0 ? f->axis + x.rank : f->axis + 1; /* of the batch */
    if (axis < 1 || axis >= x.rank) {
        return adze_layer_fail(b, ADZE_ESHAPE, "'axis' is %lld, an example has %d axes", (long long)f->axis, x.rank - 1);
    }
    return adze_concat(b->g, b->x, b->nx, (int)axis);
}

const adze_layer_kind adze_layer_concat = {
    .name = "concat",
    .doc = "its inputs one after the other along an axis (from: [a, b])",
    .cost = "a copy of each input",
    ADZE_LAYER_FIELDS(CONCAT_FIELDS, concat),
    ADZE_LAYER_FROM(2, ADZE_LAYER_MAX_FROM),
    .build = concat_build,
};

static adze_val softmax_build(adze_builder *b, const void *fields) {
    (void)fields;
    return adze_softmax(b->g, b->x[0], -1);
}

const adze_layer_kind adze_layer_softmax = {
    .name = "softmax",
    .doc = "y = exp(x) / sum exp(x) over the last axis; not as a classifier's last layer, whose loss applies it",
    .cost = "an exponential, a comparison, an addition and a product an output",
    ADZE_LAYER_FIELDS(NO_FIELDS, nothing),
    ADZE_LAYER_FROM(1, 1),
    .build = softmax_build,
};
