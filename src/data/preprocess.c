/* Splits and preprocessing: which examples validate, and how pixels become numbers. Both are pure functions of data and seed. */
#include "data/formats.h"

#include "model/layer.h"

#include <math.h>

enum { LEVELS = 256, MAX_CHANNELS = (int)ADZE_COUNT(((adze_preprocess *)0)->mean) };

int adze_split_ids(adze_ctx *ctx, int64_t count, int64_t nval, uint64_t seed, int64_t *ids) {
    if (count < 0 || nval < 0 || nval > count) {
        return adze_fail(ctx, ADZE_EARG, "a validation part of %lld examples does not fit into a set of %lld", (long long)nval, (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        ids[i] = i;
    }
    adze_rng r = adze_rng_make(seed, adze_hash_str("data/split"));
    adze_rng_permute(&r, ids, count);
    return ADZE_OK;
}

static int64_t example_channels(const adze_type *t) {
    return t->rank > 0 ? t->dims[t->rank - 1] : 1;
}

/* Pixels are whole numbers, so the sums are exact and the fit has the same bits whatever the order of the examples. */
typedef struct pixel_sums { /* of a channel or a feature */
    uint64_t sum, square;
    uint8_t lo, hi;
} pixel_sums;

/* Element i of the example belongs to sum i % n. */
static void sum_pixels(const uint8_t *x, int64_t count, int64_t n, pixel_sums *s) {
    for (int64_t i = 0; i < count; i += n) {
        for (int64_t c = 0; c < n; c++) {
            const uint8_t v = x[i + c];
            s[c].sum += v;
            s[c].square += (uint64_t)v * v;
            s[c].lo = v < s[c].lo ? v : s[c].lo;
            s[c].hi = v > s[c].hi ? v : s[c].hi;
        }
    }
}

static int sum_examples(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, int64_t nsums, pixel_sums *s) {
    int64_t bytes = adze_type_bytes(&d->example), label;
    uint8_t *x = adze_alloc(ctx, bytes, 1);
    if (x == NULL) {
        return ADZE_ENOMEM;
    }
    for (int64_t c = 0; c < nsums; c++) {
        s[c] = (pixel_sums){.lo = LEVELS - 1};
    }
    int st = ADZE_OK;
    for (int64_t i = 0; i < n && st == ADZE_OK; i++) {
        int64_t id = ids != NULL ? ids[i] : i;
        st = d->read(d, id, x, &label);
        if (st == ADZE_OK) {
            sum_pixels(x, bytes, nsums, s);
        } else {
            st = adze_fail(ctx, st, "example %lld of data set '%s' cannot be read", (long long)id, d->name);
        }
    }
    adze_free(ctx, x);
    return st;
}

/* What is subtracted and divided by; a constant channel or feature stays 0. */
static void finish(const adze_preprocess *p, const pixel_sums *s, double count, double *mean, double *sd) {
    const double m = (double)s->sum / count, var = (double)s->square / count - m * m;
    const bool range = p->norm == ADZE_NORM_MINMAX || p->norm == ADZE_NORM_MINMAX_FEATURE;
    const bool shift_only = p->norm == ADZE_NORM_CENTER || p->norm == ADZE_NORM_CENTER_FEATURE;
    *mean = (range ? s->lo : m) * p->scale;
    *sd = (range ? s->hi - s->lo : var > 0 ? sqrt(var) : 0) * p->scale;
    *sd = shift_only || !(*sd > 0) ? 1 : *sd;
}

static int fit(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, adze_preprocess *p, int64_t nsums) {
    const bool features = adze_norm_per_feature(p);
    double *made = features ? adze_alloc(ctx, 2 * nsums, sizeof *made) : NULL;
    pixel_sums *s = adze_alloc(ctx, nsums, sizeof *s);
    int st = s != NULL && (made != NULL || !features) ? sum_examples(ctx, d, ids, n, nsums, s) : ADZE_ENOMEM;
    const double count = (double)n * (double)(adze_type_count(&d->example) / nsums);
    for (int64_t c = 0; c < nsums && st == ADZE_OK; c++) {
        finish(p, &s[c], count, features ? &made[c] : &p->mean[c], features ? &made[nsums + c] : &p->sd[c]);
    }
    adze_free(ctx, s);
    if (st != ADZE_OK) {
        adze_free(ctx, made);
        return st;
    }
    p->feature = made;
    p->nfeature = features ? nsums : 0;
    return ADZE_OK;
}

int adze_preprocess_fit(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, adze_preprocess *p) {
    const int64_t channels = example_channels(&d->example);
    const bool fitted = p->norm != ADZE_NORM_NONE && p->norm != ADZE_NORM_GCN, by_channel = fitted && adze_norm_per_channel(p);
    if (channels < 1 || (by_channel && channels > MAX_CHANNELS)) {
        return adze_fail(ctx, ADZE_ENOSUP, "data set '%s' has %lld channels; 1 to %d are supported with the norm %s; take %s", d->name,
                         (long long)channels, MAX_CHANNELS, adze_norm_names[p->norm], "zscore_feature or none");
    }
    if (n < 1) {
        return adze_fail(ctx, ADZE_EARG, "data set '%s': no training example is left to fit the preprocessing on", d->name);
    }
    p->scale = 1.0 / (LEVELS - 1);
    p->channels = channels <= MAX_CHANNELS ? (int)channels : 1;
    for (int c = 0; c < MAX_CHANNELS; c++) {
        p->mean[c] = 0;
        p->sd[c] = 1;
    }
    p->feature = NULL;
    p->nfeature = 0;
    return fitted ? fit(ctx, d, ids, n, p, by_channel ? channels : adze_type_count(&d->example)) : ADZE_OK;
}

void adze_preprocess_drop(adze_ctx *ctx, adze_preprocess *p) {
    adze_free(ctx, p->feature);
    p->feature = NULL;
}

void adze_preprocess_table(const adze_preprocess *p, int64_t channels, double *lut) {
    for (int64_t c = 0; c < channels; c++) {
        bool fitted = c < p->channels && c < MAX_CHANNELS;
        double mean = fitted ? p->mean[c] : 0, sd = fitted ? p->sd[c] : 1, scale = p->channels > 0 ? p->scale : 1.0 / (LEVELS - 1);
        for (int v = 0; v < LEVELS; v++) {
            lut[c * LEVELS + v] = ((double)v * scale - mean) / sd;
        }
    }
}

typedef struct image_dims {
    int64_t h, w, c;
} image_dims;

static image_dims image_of(const adze_type *t) {
    image_dims d = {1, 1, 1};
    if (t->rank >= 1) {
        d.c = t->dims[t->rank - 1];
    }
    if (t->rank >= 2) {
        d.w = t->dims[t->rank - 2];
    }
    if (t->rank >= 3) {
        d.h = t->dims[t->rank - 3];
    }
    return d;
}

/* An example's own mean and deviation (global contrast); of a blank one the deviation is 1. */
static void contrast(const uint8_t *x, int64_t n, double scale, double *mean, double *sd) {
    pixel_sums s = {.lo = LEVELS - 1};
    sum_pixels(x, n, 1, &s);
    finish(&(adze_preprocess){.norm = ADZE_NORM_GCN, .scale = scale}, &s, (double)n, mean, sd);
}

void adze_preprocess_image(const adze_preprocess *p, const double *lut, const adze_type *example, adze_warp w, const uint8_t *x, adze_dtype d,
                           void *out) {
    image_dims s = image_of(example);
    const int64_t pad = p->pad, count = s.h * s.w * s.c;
    const double *shift = p->feature, *divide = shift ? shift + count : NULL;
    double mean = 0, sd = 1;
    float *f = out;
    double *g = out;
    if (!lut && !shift) {
        contrast(x, count, p->scale, &mean, &sd);
    }
    for (int64_t y = -pad; y < s.h + pad; y++) {
        for (int64_t col = -pad; col < s.w + pad; col++) {
            bool inside = y >= 0 && y < s.h && col >= 0 && col < s.w;
            int64_t from_y = y - w.dy, from_x = (w.flip ? s.w - 1 - col : col) - w.dx;
            inside = inside && from_y >= 0 && from_y < s.h && from_x >= 0 && from_x < s.w;
            const int64_t at = inside ? (from_y * s.w + from_x) * s.c : 0;
            for (int64_t c = 0; c < s.c; c++) {
                const int pixel = inside ? x[at + c] : 0;
                double v;
                if (lut) {
                    v = lut[c * LEVELS + pixel];
                } else if (shift) {
                    v = inside ? (pixel * p->scale - shift[at + c]) / divide[at + c] : 0;
                } else {
                    v = (pixel * p->scale - mean) / sd;
                }
                if (d == ADZE_F64) {
                    *g++ = v;
                } else {
                    *f++ = (float)v;
                }
            }
        }
    }
}

int adze_preprocess_apply(const adze_preprocess *p, const adze_type *example, const uint8_t *x, adze_dtype d, void *out) {
    double lut[MAX_CHANNELS * LEVELS];
    image_dims s = image_of(example);
    const bool table = adze_norm_per_channel(p);
    if ((table && s.c > MAX_CHANNELS) || s.c < 0 || p->pad < 0 || (d != ADZE_F32 && d != ADZE_F64) || example->rank > 3 ||
        (adze_norm_per_feature(p) && (!p->feature || p->nfeature != adze_type_count(example)))) {
        return ADZE_EARG;
    }
    if (table) {
        adze_preprocess_table(p, s.c, lut);
    }
    adze_preprocess_image(p, table ? lut : NULL, example, (adze_warp){0}, x, d, out);
    return ADZE_OK;
}
