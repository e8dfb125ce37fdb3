/* Splits and preprocessing: which examples validate, and how pixels become numbers. Both are pure functions of data and seed. */
#include "data/formats.h"

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
typedef struct channel_sums {
    uint64_t sum[MAX_CHANNELS], square[MAX_CHANNELS];
} channel_sums;

typedef void (*add_pixels)(const uint8_t *x, int64_t pixels, int64_t channels, void *sums);

static void sum_pixels(const uint8_t *x, int64_t pixels, int64_t channels, void *sums) {
    channel_sums *s = sums;
    for (int64_t i = 0; i < pixels; i++) {
        for (int64_t c = 0; c < channels; c++) {
            uint64_t v = x[i * channels + c];
            s->sum[c] += v;
            s->square[c] += v * v;
        }
    }
}

static int sum_examples(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, add_pixels add, void *sums) {
    int64_t bytes = adze_type_bytes(&d->example), channels = example_channels(&d->example), label;
    uint8_t *x = adze_alloc(ctx, bytes, 1);
    if (x == NULL) {
        return ADZE_ENOMEM;
    }
    int st = ADZE_OK;
    for (int64_t i = 0; i < n && st == ADZE_OK; i++) {
        int64_t id = ids != NULL ? ids[i] : i;
        st = d->read(d, id, x, &label);
        if (st == ADZE_OK) {
            add(x, bytes / channels, channels, sums);
        } else {
            st = adze_fail(ctx, st, "example %lld of data set '%s' cannot be read", (long long)id, d->name);
        }
    }
    adze_free(ctx, x);
    return st;
}

int adze_preprocess_fit(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, adze_preprocess *p) {
    int64_t channels = example_channels(&d->example);
    if (channels < 1 || channels > MAX_CHANNELS) {
        return adze_fail(ctx, ADZE_ENOSUP, "data set '%s' has %lld channels; 1 to %d are supported", d->name, (long long)channels, MAX_CHANNELS);
    }
    if (n < 1) {
        return adze_fail(ctx, ADZE_EARG, "data set '%s': no training example is left to fit the preprocessing on", d->name);
    }
    channel_sums s = {{0}, {0}};
    TRY(sum_examples(ctx, d, ids, n, sum_pixels, &s));
    double count = (double)n * (double)(adze_type_count(&d->example) / channels);
    p->scale = 1.0 / (LEVELS - 1);
    p->channels = (int)channels;
    for (int64_t c = 0; c < channels; c++) {
        double mean = (double)s.sum[c] / count, var = (double)s.square[c] / count - mean * mean;
        p->mean[c] = mean * p->scale;
        p->sd[c] = var > 0 ? sqrt(var) * p->scale : 1; /* a constant channel stays 0 */
    }
    return ADZE_OK;
}

typedef struct cross_sums {
    uint64_t sum[MAX_CHANNELS], cross[MAX_CHANNELS][MAX_CHANNELS];
} cross_sums;

static void cross_pixels(const uint8_t *x, int64_t pixels, int64_t channels, void *sums) {
    cross_sums *s = sums;
    for (int64_t i = 0; i < pixels; i++) {
        const uint8_t *px = x + i * channels;
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
    TRY(sum_examples(ctx, d, ids, n, cross_pixels, &s));
    const double count = (double)n * (double)(adze_type_count(&d->example) / channels), white = LEVELS - 1;
    for (int64_t a = 0; a < channels; a++) {
        for (int64_t b = 0; b <= a; b++) {
            const double v = (double)s.cross[a][b] / count - (double)s.sum[a] / count * ((double)s.sum[b] / count);
            cov[a * most + b] = cov[b * most + a] = v / (white * white);
        }
    }
    return ADZE_OK;
}

/* What a fit says of channel c; without one, pixels become 0 to 1. */
static void channel_norm(const adze_preprocess *p, int64_t c, double *scale, double *mean, double *sd) {
    const bool fitted = c < p->channels && c < MAX_CHANNELS;
    *mean = fitted ? p->mean[c] : 0;
    *sd = fitted ? p->sd[c] : 1;
    *scale = p->channels > 0 ? p->scale : 1.0 / (LEVELS - 1);
}

void adze_preprocess_table(const adze_preprocess *p, int64_t channels, double *lut) {
    for (int64_t c = 0; c < channels; c++) {
        double scale, mean, sd;
        channel_norm(p, c, &scale, &mean, &sd);
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

static void put(adze_dtype d, void *out, int64_t i, double v) {
    if (d == ADZE_F64) {
        ((double *)out)[i] = v;
    } else {
        ((float *)out)[i] = (float)v;
    }
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
            put(d, out, y * row + i, blank[i % s.c * step]);
        }
    }
    return pad * row + pad * s.c;
}

void adze_preprocess_image(const double *lut, int64_t pad, const adze_type *example, const uint8_t *x, adze_dtype d, void *out) {
    const image_dims s = image_of(example);
    int64_t at = put_border(s, pad, lut, LEVELS, d, out);
    for (int64_t y = 0; y < s.h; y++, at += 2 * pad * s.c) {
        for (int64_t i = 0; i < s.w; i++) {
            for (int64_t c = 0; c < s.c; c++) {
                put(d, out, at++, lut[c * LEVELS + *x++]);
            }
        }
    }
}

void adze_preprocess_floats(const adze_preprocess *p, int64_t pad, const adze_type *example, const float *x, adze_dtype d, void *out) {
    const image_dims s = image_of(example);
    double scale, mean, sd, blank[MAX_CHANNELS] = {0};
    for (int64_t c = 0; c < s.c; c++) {
        channel_norm(p, c, &scale, &mean, &sd);
        blank[c] = (0.0 * scale - mean) / sd;
    }
    const int64_t first = put_border(s, pad, blank, 1, d, out), row = (s.w + 2 * pad) * s.c;
    for (int64_t k = 0; k < s.h * s.c; k++) { /* a channel of a row at a time, so that its numbers stay in registers */
        const int64_t y = k / s.c, c = k % s.c;
        const float *from = x + y * s.w * s.c + c;
        channel_norm(p, c, &scale, &mean, &sd);
        for (int64_t i = 0, at = first + y * row + c; i < s.w; i++, at += s.c) {
            put(d, out, at, ((double)from[i * s.c] * scale - mean) / sd);
        }
    }
}

int adze_preprocess_apply(const adze_preprocess *p, const adze_type *example, const uint8_t *x, adze_dtype d, void *out) {
    double lut[MAX_CHANNELS * LEVELS];
    image_dims s = image_of(example);
    if (s.c > MAX_CHANNELS || s.c < 0 || p->pad < 0 || (d != ADZE_F32 && d != ADZE_F64) || example->rank > 3) {
        return ADZE_EARG;
    }
    adze_preprocess_table(p, s.c, lut);
    adze_preprocess_image(lut, p->pad, example, x, d, out);
    return ADZE_OK;
}
