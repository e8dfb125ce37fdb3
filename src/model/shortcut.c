/* The shortcut without parameters of the first residual networks: fewer pixels and more channels, at no cost. */
#include "model/layer.h"

typedef struct shortcut {
    int64_t filters, stride;
} shortcut;

static const adze_field FIELDS[] = {
    {"filters", ADZE_F_I64, ADZE_FIELD_REQUIRED, offsetof(shortcut, filters), 0, NULL, 1, 1000000, NULL, "number of output channels"},
    {"stride", ADZE_F_I64, 0, offsetof(shortcut, stride), 0, "1", 1, 4096, NULL, "every so many pixels one is kept, from the first on"},
    {0},
};

static adze_val build(adze_builder *b, const void *fields) {
    const shortcut *f = fields;
    adze_type x = adze_layer_in(b, 0);
    int64_t channels = x.dims[x.rank - 1], from[ADZE_MAX_RANK] = {0}, step[ADZE_MAX_RANK] = {0}, more[ADZE_MAX_RANK] = {0};
    if (!adze_layer_has_map(b)) {
        return (adze_val){0};
    }
    if (f->filters < channels) {
        return adze_layer_fail(b, ADZE_ESHAPE, "the input has %lld channels, a shortcut to %lld cannot drop any", (long long)channels,
                               (long long)f->filters);
    }
    for (int i = 0; i < x.rank; i++) {
        step[i] = i == 0 || i == x.rank - 1 ? 1 : f->stride;
    }
    adze_val y = f->stride == 1 ? b->x[0] : adze_slice(b->g, b->x[0], from, x.dims, step);
    more[x.rank - 1] = f->filters - channels;
    return f->filters == channels ? y : adze_pad(b->g, y, from, more, 0);
}

const adze_layer_kind adze_layer_shortcut = {
    .name = "shortcut",
    .doc = "every stride-th pixel of each axis, and channels of zeros behind those there are (He et al. 2015, option A)",
    .cost = "a copy",
    ADZE_LAYER_FIELDS(FIELDS, shortcut),
    ADZE_LAYER_FROM(1, 1),
    .build = build,
};
