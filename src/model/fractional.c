/* Fractional max pooling (Graham 2014): regions that step on by one or two pixels, drawn anew for every batch. */
#include "model/layer.h"

#include <math.h>

typedef struct fractional {
    double alpha;
    int32_t order;
    bool overlap;
} fractional;

static const char *const ORDER_NAMES[] = {"random", "pseudo", NULL};
enum { ORDER_PSEUDO = 1 };

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

/* Regions of an axis: n / alpha, rounded down, as far as steps of 1 and 2 pixels can do it. */
static int64_t regions(const fractional *f, int64_t n) {
    const int64_t sum = n - f->overlap, least = (sum + 1) / 2, out = (int64_t)floor((double)n / f->alpha);
    return out < least ? least : out > sum ? sum : out;
}

static adze_val build(adze_builder *b, const void *fields) {
    const fractional *f = fields;
    const adze_type x = adze_layer_in(b, 0);
    if (x.rank != 4 || x.dims[1] < 2 || x.dims[2] < 2) {
        return adze_layer_fail(b, ADZE_ESHAPE, "the input is %s, it needs two spatial axes of at least 2 pixels (N, H, W, C)", ADZE_SHOWN(&x));
    }
    return adze_fractional_maxpool(b->g, b->x[0], regions(f, x.dims[1]), regions(f, x.dims[2]), f->order == ORDER_PSEUDO, f->overlap);
}

const adze_layer_kind adze_layer_fractional_maxpool = {
    .name = "fractional_maxpool",
    .doc = "the largest number of regions that are alpha pixels apart on average; drawn for each batch, in use always the same (Graham 2014)",
    .cost = "about alpha^2 comparisons an output, with overlap (alpha + 1)^2; an i32 index beside each in training",
    ADZE_LAYER_FIELDS(FIELDS, fractional),
    ADZE_LAYER_FROM(1, 1),
    .check = check,
    .build = build,
};
