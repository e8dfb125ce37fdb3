/* Convolution, with connection tables, and the layers that shrink a map: pooling and LeCun's trainable sub-sampling. */
#include "model/layer.h"
#include "op/rules.h"

#include <stdio.h>
#include <stdlib.h>

enum { TABLE_CHARS = 2048, TABLE_MAPS = 512 };

static const char *const PAD_NAMES[] = {"valid", "same", NULL};
enum { PAD_VALID, PAD_SAME };

typedef struct window { /* what convolution and pooling share */
    adze_ints size, stride, dilation, pad_lo, pad_hi;
    int32_t pad;
} window;

/* A list of one number stands for all axes, an empty one for `otherwise`. */
static bool spread(adze_builder *b, const char *name, const adze_ints *in, int axes, const adze_ints *otherwise, adze_ints *out) {
    const adze_ints *from = in->n ? in : otherwise;
    if (from->n != 1 && from->n != axes) {
        adze_layer_fail(b, ADZE_ESHAPE, "'%s' has %lld numbers, the input has %d spatial axes", name, (long long)from->n, axes);
        return false;
    }
    out->n = axes;
    for (int i = 0; i < axes; i++) {
        out->v[i] = from->v[from->n == 1 ? 0 : i];
    }
    return true;
}

/* Makes every list as long as the input has spatial axes, and turns "same" into numbers: ceil(in / stride) outputs, the odd pixel at the end. */
static bool resolve(adze_builder *b, const window *in, window *w) {
    static const adze_ints one = {.n = 1, .v = {1}}, zero = {.n = 1};
    adze_type x = adze_layer_in(b, 0);
    int axes = x.rank - 2;
    if (!adze_layer_has_map(b)) {
        return false;
    }
    *w = *in;
    const adze_ints *stride = in->stride.n ? &in->stride : &one;
    if (!spread(b, "size", &in->size, axes, &one, &w->size) || !spread(b, "stride", stride, axes, &one, &w->stride) ||
        !spread(b, "dilation", &in->dilation, axes, &one, &w->dilation) || !spread(b, "pad_lo", &in->pad_lo, axes, &zero, &w->pad_lo) ||
        !spread(b, "pad_hi", &in->pad_hi, axes, &zero, &w->pad_hi)) {
        return false;
    }
    for (int i = 0; in->pad == PAD_SAME && i < axes; i++) {
        int64_t n = x.dims[i + 1], out = (n + w->stride.v[i] - 1) / w->stride.v[i];
        int64_t all = (out - 1) * w->stride.v[i] + (w->size.v[i] - 1) * w->dilation.v[i] + 1 - n;
        all = all > 0 ? all : 0;
        w->pad_lo.v[i] = all / 2;
        w->pad_hi.v[i] = all - all / 2;
    }
    return true;
}

static const char *check_pad(const window *w) {
    return w->pad == PAD_SAME && (w->pad_lo.n || w->pad_hi.n) ? "'pad: same' and 'pad_lo' or 'pad_hi' exclude each other" : NULL;
}

#define PAD_FIELDS(S)                                                                                                                                \
    {"pad",     ADZE_F_ENUM,                                                                                                                         \
     0,         offsetof(S, w.pad),                                                                                                                  \
     0,         "valid",                                                                                                                             \
     0,         0,                                                                                                                                   \
     PAD_NAMES, "border of zeros; same: ceil(in / stride) outputs, the odd pixel at the end; a number n or list: pad_lo and pad_hi"},                \
        {"pad_lo", ADZE_F_INTS, 0, offsetof(S, w.pad_lo), 0, NULL, 0, 4096, NULL, "border before each axis, pixels"}, {                              \
        "pad_hi", ADZE_F_INTS, 0, offsetof(S, w.pad_hi), 0, NULL, 0, 4096, NULL, "border after each axis, pixels"                                    \
    }

static const adze_ints NO_INTS = {0};

/* -- conv -- */

typedef struct conv {
    int64_t filters, groups;
    window w;
    adze_act act;
    bool bias, weight_norm;
    double bias_init;
    adze_init init;
    adze_dropconnect drop;
    char table[TABLE_CHARS];
} conv;

static const adze_field CONV_FIELDS[] = {
    {"filters", ADZE_F_I64, ADZE_FIELD_REQUIRED, offsetof(conv, filters), 0, NULL, 1, 1000000, NULL, "number of output channels"},
    {"kernel", ADZE_F_INTS, ADZE_FIELD_REQUIRED, offsetof(conv, w.size), 0, NULL, 1, 4096, NULL, "size of the window, one number or one per axis"},
    {"stride", ADZE_F_INTS, 0, offsetof(conv, w.stride), 0, "1", 1, 4096, NULL, "step of the window, pixels"},
    PAD_FIELDS(conv),
    {"dilation", ADZE_F_INTS, 0, offsetof(conv, w.dilation), 0, "1", 1, 4096, NULL, "distance of the window's points, pixels"},
    {"groups", ADZE_F_I64, 0, offsetof(conv, groups), 0, "1", 1, 1000000, NULL, "blocks of channels that do not see each other"},
    {"table", ADZE_F_STR, 0, offsetof(conv, table), TABLE_CHARS, NULL, 0, 0, NULL,
     "connections: for each output map the input maps that it sees, '0 1 2, 1 2 3'; empty: all"},
    ADZE_ACT_FIELDS(conv),
    {"bias", ADZE_F_BOOL, 0, offsetof(conv, bias), 0, "true", 0, 0, NULL, "adds a trainable number per output channel"},
    {"bias_init", ADZE_F_F64, 0, offsetof(conv, bias_init), 0, "0", -1e6, 1e6, NULL, "where biases start"},
    ADZE_INIT_FIELDS(conv, "auto"),
    {"dropconnect", ADZE_F_F64, 0, offsetof(conv, drop.p), 0, "0", 0, 0.99, NULL,
     "probability that a weight is 0 in training, the others divided by 1 - this; a draw for each batch"},
    ADZE_WEIGHT_NORM_FIELD(conv),
    {0},
};

/* Reads one row "0 1 2" into column k of the mask (C, K), or only checks it when mask is NULL; *s ends at the comma or the end. */
static bool read_row(const char **s, int64_t channels, int64_t filters, int64_t k, uint8_t *mask) {
    int count = 0;
    for (*s += strspn(*s, " "); **s && **s != ','; count++) {
        char *end;
        long c = strtol(*s, &end, 10);
        if (end == *s || c < 0 || c >= channels) {
            return false;
        }
        if (mask) {
            mask[c * filters + k] = 1;
        }
        *s = end + strspn(end, " ");
    }
    return count > 0;
}

/* Reads the connection table. NULL when all is right. */
static const char *read_table(const char *text, int64_t channels, int64_t filters, uint8_t *mask, char *buf, size_t n) {
    int64_t k = 0;
    for (const char *s = text;; k++, s++) {
        const char *row = s;
        if (!read_row(&s, channels, filters, k, k < filters ? mask : NULL)) {
            int len = (int)strcspn(row, ",");
            snprintf(buf, n, "row %lld of 'table' must list input maps from 0 to %lld, not '%.*s'", (long long)k, (long long)channels - 1,
                     len < 40 ? len : 40, row);
            return buf;
        }
        if (!*s) {
            break;
        }
    }
    if (k + 1 != filters) {
        snprintf(buf, n, "'table' has %lld rows, 'filters' is %lld", (long long)k + 1, (long long)filters);
        return buf;
    }
    return NULL;
}

static const char *conv_check(const void *fields, char *buf, size_t n) {
    const conv *f = fields;
    if (check_pad(&f->w)) {
        return check_pad(&f->w);
    }
    if (f->w.size.n < 1) {
        return "'kernel' needs at least one number";
    }
    if (f->filters % f->groups) {
        snprintf(buf, n, "'filters' %lld is no multiple of 'groups' %lld", (long long)f->filters, (long long)f->groups);
        return buf;
    }
    const char *fault = adze_activation_check(&f->act, buf, n);
    fault = fault ? fault : adze_init_check(&f->init, buf, n);
    if (fault || !f->table[0]) {
        return fault;
    }
    if (f->groups != 1 || f->filters > TABLE_MAPS) {
        return "a 'table' needs groups 1 and at most 512 filters";
    }
    if (f->weight_norm) {
        return "a 'table' and 'weight_norm' exclude each other";
    }
    if (f->act.fn == ADZE_ACT_MAXOUT) {
        return "a 'table' and 'activation: maxout' exclude each other";
    }
    if (!adze_init_elementwise(&f->init)) {
        snprintf(buf, n, "a 'table' and 'init: %s' exclude each other", adze_init_names[f->init.kind]);
        return buf;
    }
    return read_table(f->table, TABLE_MAPS, f->filters, NULL, buf, n);
}

/* The mask as a constant of the weight's shape, so that an absent connection is 0 and gets no gradient. */
static adze_val mask_const(adze_builder *b, const adze_type *w, const uint8_t *mask) {
    int64_t plane = w->dims[w->rank - 2] * w->dims[w->rank - 1];
    adze_type t = adze_type_make(b->dtype, 2, w->dims + w->rank - 2);
    char *data = adze_alloc(b->m->ctx, plane, adze_dtype_size(b->dtype));
    if (!data) {
        b->failed = ADZE_ENOMEM;
        return (adze_val){0};
    }
    for (int64_t i = 0; i < plane; i++) {
        adze_store_f(data, b->dtype, i, mask[i]);
    }
    adze_val v = adze_const(b->g, t, data);
    adze_free(b->m->ctx, data);
    return v;
}

/* The weight, masked by the table when there is one. */
static adze_val conv_weight(adze_builder *b, const conv *f, adze_param_desc *d, int64_t window_points) {
    if (!f->table[0]) {
        return adze_layer_weight(b, d, f->weight_norm);
    }
    int64_t channels = d->type.dims[d->type.rank - 2], plane = channels * f->filters;
    if (channels > TABLE_MAPS) {
        return adze_layer_fail(b, ADZE_EARG, "a 'table' needs at most %d input maps", TABLE_MAPS);
    }
    if (b->probe && (b->probe->table_cells += plane) > ADZE_MODEL_MAX_TABLES) {
        return adze_layer_fail(b, ADZE_EARG, "the model's connection tables have more than %d cells in all", ADZE_MODEL_MAX_TABLES);
    }
    uint8_t *mask = adze_alloc(b->m->ctx, plane, 1);
    if (!mask) {
        b->failed = ADZE_ENOMEM;
        return (adze_val){0};
    }
    char buf[256];
    const char *fault = read_table(f->table, channels, f->filters, mask, buf, sizeof buf);
    adze_val w = {0};
    if (fault) {
        adze_layer_fail(b, ADZE_ESHAPE, "%s", fault);
    } else {
        for (int64_t i = 0; i < plane; i++) {
            d->absent += mask[i] ? 0 : window_points;
        }
        d->mask = mask;
        w = adze_layer_param(b, d);
        w = adze_mul(b->g, w, mask_const(b, &d->type, mask));
    }
    adze_free(b->m->ctx, mask);
    return w;
}

static adze_val conv_build(adze_builder *b, const void *fields) {
    const conv *f = fields;
    window w;
    if (!resolve(b, &f->w, &w)) {
        return (adze_val){0};
    }
    adze_type x = adze_layer_in(b, 0);
    int64_t channels = x.dims[x.rank - 1], points = 1, filters = adze_activation_sums(&f->act, f->filters);
    if (channels % f->groups) {
        return adze_layer_fail(b, ADZE_ESHAPE, "the input has %lld channels, no multiple of 'groups' %lld", (long long)channels,
                               (long long)f->groups);
    }
    adze_param_desc d = {.role = "w", .flags = ADZE_SLOT_TRAINABLE | ADZE_SLOT_DECAY, .init = adze_layer_init(f->init, &f->act)};
    d.type = (adze_type){.dtype = b->dtype, .rank = x.rank};
    for (int i = 0; i < x.rank - 2; i++) {
        d.type.dims[i] = w.size.v[i];
        if (!adze_mul_size(points, w.size.v[i], &points) || points > ADZE_MODEL_MAX_PARAMS) {
            return adze_layer_fail(b, ADZE_EARG, "the window has more than %d points", ADZE_MODEL_MAX_PARAMS);
        }
    }
    d.type.dims[x.rank - 2] = channels / f->groups; /* (k..., C / groups, K) */
    d.type.dims[x.rank - 1] = filters;
    d.fan_in = points * (channels / f->groups);
    d.fan_out = points * (filters / f->groups);
    adze_layer_mirror(b, &d, &f->act, filters / f->groups);
    adze_val weight = adze_dropconnect_weight(b, conv_weight(b, f, &d, points), &f->drop);
    adze_conv_attrs a = {.stride = w.stride, .dilation = w.dilation, .pad_lo = w.pad_lo, .pad_hi = w.pad_hi, .groups = f->groups};
    adze_val y = adze_conv(b->g, b->x[0], weight, &a);
    if (adze_graph_status(b->g) == ADZE_OK && !b->failed) {
        adze_type t = adze_val_type(b->g, y);
        double pixels = 1;
        for (int i = 1; i < t.rank - 1; i++) {
            pixels *= (double)t.dims[i];
        }
        adze_layer_macs(b, pixels * ((double)adze_type_count(&d.type) - (double)d.absent));
    }
    if (f->bias) {
        y = adze_add(b->g, y, adze_layer_vector(b, "b", filters, f->bias_init, ADZE_SLOT_TRAINABLE));
    }
    return adze_layer_activate(b, y, &f->act);
}

const adze_layer_kind adze_layer_conv = {
    .name = "conv",
    .doc = "y = fn(x * w + b): x (N, S..., C), w (kernel..., C / groups, filters); a table leaves connections out, as C3 of LeNet-5 does",
    .cost = "kernel C / groups multiply-adds an output; (kernel C / groups + 1) filters parameters, with weight_norm one more a filter",
    ADZE_LAYER_FIELDS(CONV_FIELDS, conv),
    ADZE_LAYER_FROM(1, 1),
    .check = conv_check,
    .build = conv_build,
};

/* -- pooling -- */

typedef struct pool {
    window w;
    bool ceil, count_pad;
} pool;

static const adze_field MAXPOOL_FIELDS[] = {
    {"size", ADZE_F_INTS, 0, offsetof(pool, w.size), 0, "2", 1, 4096, NULL, "size of the window, one number or one per axis"},
    {"stride", ADZE_F_INTS, 0, offsetof(pool, w.stride), 0, NULL, 1, 4096, NULL, "step of the window; none: its size"},
    PAD_FIELDS(pool),
    {"ceil", ADZE_F_BOOL, 0, offsetof(pool, ceil), 0, "false", 0, 0, NULL, "a last window that is only partly inside counts"},
    {0},
};

static const adze_field AVGPOOL_FIELDS[] = {
    {"size", ADZE_F_INTS, 0, offsetof(pool, w.size), 0, "2", 1, 4096, NULL, "size of the window, one number or one per axis"},
    {"stride", ADZE_F_INTS, 0, offsetof(pool, w.stride), 0, NULL, 1, 4096, NULL, "step of the window; none: its size"},
    PAD_FIELDS(pool),
    {"ceil", ADZE_F_BOOL, 0, offsetof(pool, ceil), 0, "false", 0, 0, NULL, "a last window that is only partly inside counts"},
    {"count_pad", ADZE_F_BOOL, 0, offsetof(pool, count_pad), 0, "false", 0, 0, NULL, "the border counts in the divisor"},
    {0},
};

static const char *pool_check(const void *fields, char *buf, size_t n) {
    (void)buf;
    (void)n;
    const pool *f = fields;
    return f->w.size.n < 1 ? "'size' needs at least one number" : check_pad(&f->w);
}

static bool pool_attrs(adze_builder *b, const pool *f, adze_pool_attrs *a) {
    window given = f->w, w;
    given.stride = given.stride.n ? given.stride : given.size;
    given.dilation = NO_INTS;
    if (!resolve(b, &given, &w)) {
        return false;
    }
    *a = (adze_pool_attrs){.size = w.size, .stride = w.stride, .pad_lo = w.pad_lo, .pad_hi = w.pad_hi, .count_pad = f->count_pad, .ceil = f->ceil};
    return true;
}

static adze_val maxpool_build(adze_builder *b, const void *fields) {
    adze_pool_attrs a;
    return pool_attrs(b, fields, &a) ? adze_maxpool(b->g, b->x[0], &a, NULL) : (adze_val){0};
}

static adze_val avgpool_build(adze_builder *b, const void *fields) {
    adze_pool_attrs a;
    return pool_attrs(b, fields, &a) ? adze_avgpool(b->g, b->x[0], &a) : (adze_val){0};
}

const adze_layer_kind adze_layer_maxpool = {
    .name = "maxpool",
    .doc = "the largest number of each window, per channel",
    .cost = "size comparisons an output; an i32 index beside each in training",
    ADZE_LAYER_FIELDS(MAXPOOL_FIELDS, pool),
    ADZE_LAYER_FROM(1, 1),
    .check = pool_check,
    .build = maxpool_build,
};

const adze_layer_kind adze_layer_avgpool = {
    .name = "avgpool",
    .doc = "the mean of each window, per channel",
    .cost = "size additions and 1 division an output",
    ADZE_LAYER_FIELDS(AVGPOOL_FIELDS, pool),
    ADZE_LAYER_FROM(1, 1),
    .keeps_mirror = true,
    .check = pool_check,
    .build = avgpool_build,
};

typedef struct nothing {
    int32_t unused;
} nothing;

static const adze_field NO_FIELDS[] = {{0}};

static adze_val global_avgpool_build(adze_builder *b, const void *fields) {
    (void)fields;
    return adze_layer_has_map(b) ? adze_global_avgpool(b->g, b->x[0]) : (adze_val){0};
}

static adze_val global_maxpool_build(adze_builder *b, const void *fields) {
    (void)fields;
    return adze_layer_has_map(b) ? adze_global_maxpool(b->g, b->x[0]) : (adze_val){0};
}

const adze_layer_kind adze_layer_global_avgpool = {
    .name = "global_avgpool",
    .doc = "(N, S..., C) -> (N, C): the mean of each map",
    .cost = "pixels additions an output",
    ADZE_LAYER_FIELDS(NO_FIELDS, nothing),
    ADZE_LAYER_FROM(1, 1),
    .keeps_mirror = true,
    .build = global_avgpool_build,
};

const adze_layer_kind adze_layer_global_maxpool = {
    .name = "global_maxpool",
    .doc = "(N, S..., C) -> (N, C): the largest number of each map",
    .cost = "pixels comparisons an output",
    ADZE_LAYER_FIELDS(NO_FIELDS, nothing),
    ADZE_LAYER_FROM(1, 1),
    .build = global_maxpool_build,
};

/* -- subsample: LeCun et al. 1998, section II.B, layer S2 -- */

typedef struct subsample {
    window w;
    adze_act act;
    double bias_init;
    adze_init init;
} subsample;

static const adze_field SUBSAMPLE_FIELDS[] = {
    {"size", ADZE_F_INTS, 0, offsetof(subsample, w.size), 0, "2", 1, 4096, NULL, "size of the window, one number or one per axis"},
    {"stride", ADZE_F_INTS, 0, offsetof(subsample, w.stride), 0, NULL, 1, 4096, NULL, "step of the window; none: its size"},
    ADZE_ACT_FIELDS(subsample),
    {"bias_init", ADZE_F_F64, 0, offsetof(subsample, bias_init), 0, "0", -1e6, 1e6, NULL, "where biases start"},
    ADZE_INIT_FIELDS(subsample, "auto"),
    {0},
};

static const char *subsample_check(const void *fields, char *buf, size_t n) {
    const subsample *f = fields;
    const char *fault = adze_init_check(&f->init, buf, n);
    return f->w.size.n < 1 ? "'size' needs at least one number" : fault ? fault : adze_activation_check(&f->act, buf, n);
}

static adze_val subsample_build(adze_builder *b, const void *fields) {
    const subsample *f = fields;
    pool p = {.w = f->w};
    adze_pool_attrs a;
    if (!pool_attrs(b, &p, &a)) {
        return (adze_val){0};
    }
    adze_type x = adze_layer_in(b, 0);
    int64_t c = x.dims[x.rank - 1];
    double points = 1;
    for (int i = 0; i < (int)a.size.n; i++) {
        points *= (double)a.size.v[i];
    }
    adze_param_desc d = {.role = "w", .type = adze_type_make(b->dtype, 1, &c), .flags = ADZE_SLOT_TRAINABLE | ADZE_SLOT_DECAY};
    d.fan_in = d.fan_out = (int64_t)points;
    d.init = f->init;
    if (d.init.kind == ADZE_INIT_AUTO) { /* starts as a plain mean */
        d.init = (adze_init){.kind = ADZE_INIT_CONSTANT, .gain = 1, .value = 1 / points};
    }
    adze_val sum = adze_scale(b->g, adze_avgpool(b->g, b->x[0], &a), points, 0);
    adze_val y = adze_mul(b->g, sum, adze_layer_param(b, &d));
    y = adze_add(b->g, y, adze_layer_vector(b, "b", c, f->bias_init, ADZE_SLOT_TRAINABLE));
    if (adze_graph_status(b->g) == ADZE_OK && !b->failed) {
        adze_type t = adze_val_type(b->g, y);
        adze_layer_macs(b, (double)adze_type_count(&t) / (double)(t.dims[0] ? t.dims[0] : 1));
    }
    return adze_layer_activate(b, y, &f->act);
}

const adze_layer_kind adze_layer_subsample = {
    .name = "subsample",
    .doc = "y = fn(w sum(window) + b) with one coefficient w and one bias b per map (LeCun 1998); auto: w starts at 1 / window",
    .cost = "size additions and 1 multiply-add an output; 2 parameters a channel",
    ADZE_LAYER_FIELDS(SUBSAMPLE_FIELDS, subsample),
    ADZE_LAYER_FROM(1, 1),
    .check = subsample_check,
    .build = subsample_build,
};
