/* Splits and preprocessing: which examples validate, and how pixels become numbers. Both are pure functions of data and seed. */
#include "data/whiten.h"

#include "model/layer.h"
#include "op/rules.h"

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

/* Adds an example of `count` numbers to sums of n kinds: element i is of kind i % n. */
typedef void (*add_pixels)(const uint8_t *x, int64_t count, int64_t n, void *sums);

static void sum_pixels(const uint8_t *x, int64_t count, int64_t n, void *sums) {
    pixel_sums *s = sums;
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

static int sum_examples(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, add_pixels add, int64_t nsums, void *sums) {
    int64_t bytes = adze_type_bytes(&d->example), label;
    uint8_t *x = adze_alloc(ctx, bytes, 1);
    TRY(ADZE_GOT(x));
    int st = ADZE_OK;
    for (int64_t i = 0; i < n && st == ADZE_OK; i++) {
        int64_t id = ids != NULL ? ids[i] : i;
        st = d->read(d, id, x, &label);
        if (st == ADZE_OK) {
            add(x, bytes, nsums, sums);
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
    for (int64_t c = 0; s != NULL && c < nsums; c++) {
        s[c] = (pixel_sums){.lo = LEVELS - 1};
    }
    int st = s != NULL && (made != NULL || !features) ? sum_examples(ctx, d, ids, n, sum_pixels, nsums, s) : ADZE_ENOMEM;
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
    if (p->norm == ADZE_NORM_ZCA) {
        return adze_whiten_fit(ctx, d, ids, n, p);
    }
    return fitted ? fit(ctx, d, ids, n, p, by_channel ? channels : adze_type_count(&d->example)) : ADZE_OK;
}

void adze_preprocess_drop(adze_ctx *ctx, adze_preprocess *p) {
    adze_free(ctx, p->feature);
    p->feature = NULL;
}

typedef struct cross_sums {
    uint64_t sum[MAX_CHANNELS], cross[MAX_CHANNELS][MAX_CHANNELS];
} cross_sums;

static void cross_pixels(const uint8_t *x, int64_t count, int64_t channels, void *sums) {
    cross_sums *s = sums;
    for (const uint8_t *px = x; px < x + count; px += channels) {
        for (int64_t a = 0; a < channels; a++) {
            s->sum[a] += px[a];
            for (int64_t b = 0; b <= a; b++) {
                s->cross[a][b] += (uint64_t)px[a] * px[b];
            }
        }
    }
}

int adze_pixel_covariance(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, double *cov, int64_t most) {
    const int64_t channels = example_channels(&d->example);
    if (channels < 1 || channels > most || most > MAX_CHANNELS || n < 1) {
        return adze_fail(ctx, ADZE_EARG, "data set '%s': no covariance of %lld channels over %lld examples", d->name, (long long)channels,
                         (long long)n);
    }
    cross_sums s = {{0}, {{0}}};
    TRY(sum_examples(ctx, d, ids, n, cross_pixels, channels, &s));
    const double count = (double)n * (double)(adze_type_count(&d->example) / channels), white = LEVELS - 1;
    for (int64_t a = 0; a < channels; a++) {
        for (int64_t b = 0; b <= a; b++) {
            const double v = (double)s.cross[a][b] / count - (double)s.sum[a] / count * ((double)s.sum[b] / count);
            cov[a * most + b] = cov[b * most + a] = v / (white * white);
        }
    }
    return ADZE_OK;
}

/* v becomes (v scale - mean) / sd. */
typedef struct norm {
    double scale, mean, sd;
} norm;

static double normed(norm n, double v) {
    return (v * n.scale - n.mean) / n.sd;
}

/* What a fit says of channel c; without one, pixels become 0 to 1. */
static norm channel_norm(const adze_preprocess *p, int64_t c) {
    const bool fitted = c < p->channels && c < MAX_CHANNELS;
    return (norm){p->channels > 0 ? p->scale : 1.0 / (LEVELS - 1), fitted ? p->mean[c] : 0, fitted ? p->sd[c] : 1};
}

void adze_preprocess_table(const adze_preprocess *p, int64_t channels, double *lut) {
    for (int64_t c = 0; c < channels; c++) {
        for (int v = 0; v < LEVELS; v++) {
            lut[c * LEVELS + v] = normed(channel_norm(p, c), v);
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

/* A picture before the norm: one of the two. */
typedef struct picture {
    const uint8_t *bytes;
    const float *floats;
} picture;

static double value_of(picture x, int64_t i) {
    return x.bytes ? x.bytes[i] : (double)x.floats[i];
}

/* By an example's own mean and deviation (global contrast); of a blank one the deviation is 1. */
static norm contrast(picture x, int64_t n, double scale) {
    double sum = 0, square = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += value_of(x, i);
    }
    const double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double v = value_of(x, i) - mean;
        square += v * v;
    }
    const double sd = sqrt(square / (double)n) * scale;
    return (norm){scale, mean * scale, sd > 0 ? sd : 1};
}

/* Fills everything but the picture's own rows with `blank`, a value for each channel `step` apart; returns where pixel (0, 0) goes. */
static int64_t put_border(image_dims s, int64_t pad, const double *blank, int64_t step, adze_dtype d, void *out) {
    const int64_t row = (s.w + 2 * pad) * s.c;
    for (int64_t y = 0; y < s.h + 2 * pad && pad > 0; y++) {
        const bool inside = y >= pad && y < s.h + pad;
        for (int64_t i = 0; i < row; i++) {
            if (inside && i == pad * s.c) {
                i += s.w * s.c;
            }
            adze_store_f(out, d, y * row + i, blank[i % s.c * step]);
        }
    }
    return pad * row + pad * s.c;
}

/* Any norm by its formula; of zca what stands before the matrix. */
static void prepare(const adze_preprocess *p, const adze_type *example, picture x, adze_dtype d, void *out) {
    const image_dims s = image_of(example);
    const int64_t count = s.h * s.w * s.c, row = (s.w + 2 * p->pad) * s.c;
    const double *feature = adze_norm_per_feature(p) ? p->feature : NULL;
    const bool by_channel = adze_norm_per_channel(p);
    double blank[MAX_CHANNELS] = {0};
    norm n = {0, 0, 1};
    if (!by_channel && !feature) {
        n = contrast(x, count, p->scale);
        blank[0] = normed(n, 0);
    }
    for (int64_t c = 0; c < s.c && by_channel; c++) {
        blank[c] = normed(channel_norm(p, c), 0);
    }
    const int64_t first = put_border(s, p->pad, blank, by_channel, d, out);
    for (int64_t k = 0; k < s.h * s.c; k++) { /* a channel of a row at a time, so that its numbers stay in registers */
        const int64_t y = k / s.c, c = k % s.c;
        n = by_channel ? channel_norm(p, c) : n;
        for (int64_t i = 0, at = first + y * row + c; i < s.w; i++, at += s.c) {
            const int64_t from = (y * s.w + i) * s.c + c;
            if (feature) {
                n = (norm){p->scale, feature[from], p->norm == ADZE_NORM_ZCA ? 1 : feature[count + from]};
            }
            adze_store_f(out, d, at, normed(n, value_of(x, from)));
        }
    }
}

void adze_preprocess_image(const adze_preprocess *p, const double *lut, const adze_type *example, const uint8_t *x, adze_dtype d, void *out) {
    if (!lut) {
        prepare(p, example, (picture){.bytes = x}, d, out);
        return;
    }
    const image_dims s = image_of(example);
    int64_t at = put_border(s, p->pad, lut, LEVELS, d, out);
    for (int64_t y = 0; y < s.h; y++, at += 2 * p->pad * s.c) {
        for (int64_t i = 0; i < s.w; i++) {
            for (int64_t c = 0; c < s.c; c++) {
                adze_store_f(out, d, at++, lut[c * LEVELS + *x++]);
            }
        }
    }
}

void adze_preprocess_floats(const adze_preprocess *p, const adze_type *example, const float *x, adze_dtype d, void *out) {
    prepare(p, example, (picture){.floats = x}, d, out);
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
    adze_preprocess_image(p, table ? lut : NULL, example, x, d, out);
    if (p->norm == ADZE_NORM_ZCA) {
        adze_whiten_one(p, example, d, out);
    }
    return ADZE_OK;
}
