/* Fractional max pooling (Graham 2014): regions that step on by one or two pixels, drawn anew for every batch. */
#include "model/layer.h"

#include <math.h>

typedef struct fractional {
    double alpha;
    int32_t order;
    bool overlap;
} fractional;

static const char *const ORDER_NAMES[] = {"random", "pseudo", NULL};

static const adze_field FIELDS[] = {
    {"alpha", ADZE_F_F64, 0, offsetof(fractional, alpha), 0, "1.4142135623730951", 1, 2, NULL, "ratio of the sizes before and after, above 1 to 2"},
    {"order", ADZE_F_ENUM, 0, offsetof(fractional, order), 0, "random", 0, 0, ORDER_NAMES, "of the steps: shuffled; pseudo: as even as they can be"},
    {"overlap", ADZE_F_BOOL, 0, offsetof(fractional, overlap), 0, "true", 0, 0, NULL, "a region ends with the pixel that the next begins with"},
    {0},
};

static const char *check(const void *fields, char *buf, size_t n) {
    (void)buf;
    (void)n;
    const fractional *f = fields;
    return f->alpha > 1 ? NULL : "'alpha' must be greater than 1, or nothing is pooled";
}

/* The largest of each region along an axis. */
static adze_val pool_axis(adze_builder *b, const fractional *f, adze_val x, int axis) {
    adze_graph *g = b->g;
    const int64_t n = adze_val_type(g, x).dims[axis], sum = n - f->overlap, least = (sum + 1) / 2;
    int64_t out = (int64_t)floor((double)n / f->alpha);
    out = out < least ? least : out > sum ? sum : out;
    const adze_val pixels = adze_pool_regions(g, n, out, f->order == 1, f->overlap);
    adze_val y = {0};
    for (int64_t k = 0; k < (f->overlap ? 3 : 2); k++) {
        const adze_val row = adze_slice(g, pixels, (int64_t[]){k, 0}, (int64_t[]){k + 1, out}, (int64_t[]){1, 1});
        const adze_val v = adze_gather(g, x, adze_reshape(g, row, &out, 1), axis);
        y = y.id ? adze_max(g, y, v) : v;
    }
    return y;
}

static adze_val build(adze_builder *b, const void *fields) {
    const adze_type x = adze_layer_in(b, 0);
    adze_val y = b->x[0];
    if (x.rank < 3) {
        char text[128];
        return adze_layer_fail(b, ADZE_ESHAPE, "the input is %s, it needs at least one spatial axis (N, ..., C)",
                               adze_type_print(&x, text, sizeof text));
    }
    for (int axis = 1; axis < x.rank - 1; axis++) {
        if (x.dims[axis] < 2) {
            return adze_layer_fail(b, ADZE_ESHAPE, "spatial axis %d has %lld pixels, it needs 2", axis - 1, (long long)x.dims[axis]);
        }
        y = pool_axis(b, fields, y, axis);
    }
    return y;
}

const adze_layer_kind adze_layer_fractional_maxpool = {
    .name = "fractional_maxpool",
    .doc = "the largest number of regions that are alpha pixels apart on average; drawn for each batch, in use always the same (Graham 2014)",
    .fields = FIELDS,
    .size = sizeof(fractional),
    .from_min = 1,
    .from_max = 1,
    .check = check,
    .build = build,
};
