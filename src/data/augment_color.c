/* Augmentations that change pixels where they stand: colours, noise, erased boxes; and how two examples are mixed. */
#include "data/augment.h"

#include <math.h>

enum { RED, GREEN, BLUE };

static double unit(adze_rng *r, double amount) { /* 1 - amount .. 1 + amount */
    return adze_aug_between(r, 1 - amount, 1 + amount);
}

static float clip(const adze_aug_job *j, float v) {
    const float white = (float)j->white;
    return v < 0 ? 0 : v > white ? white : v;
}

/* -- colours: the results are cut to black .. white, as 8-bit pictures would be ---------------------------------------------------------------- */

/* x = x f + to (1 - f): towards or away from `to`, which every value of the picture shares. f = 1 leaves every bit. */
static void stretch_from(adze_aug_job *j, double factor, double to) {
    const float f = (float)factor, rest = (float)(to * (1 - factor));
    for (int64_t i = 0; i < j->h * j->w * j->c; i++) {
        j->x[i] = clip(j, j->x[i] * f + rest);
    }
}

static float grey_of(const float *px, int64_t c) {
    if (c == ADZE_AUG_CHANNELS) {
        return 0.299F * px[RED] + 0.587F * px[GREEN] + 0.114F * px[BLUE];
    }
    float sum = 0;
    for (int64_t k = 0; k < c; k++) {
        sum += px[k];
    }
    return sum / (float)c;
}

bool adze_aug_set_brightness(adze_aug_job *j, double factor) {
    stretch_from(j, factor, 0);
    return false;
}

static void change_brightness(adze_aug_job *j, double amount) {
    adze_aug_set_brightness(j, unit(&j->rng, amount));
}

bool adze_aug_set_contrast(adze_aug_job *j, double factor) {
    const int64_t n = j->h * j->w;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += grey_of(j->x + i * j->c, j->c);
    }
    stretch_from(j, factor, sum / (double)n);
    return false;
}

static void change_contrast(adze_aug_job *j, double amount) {
    adze_aug_set_contrast(j, unit(&j->rng, amount));
}

bool adze_aug_set_saturation(adze_aug_job *j, double factor) {
    const float f = (float)factor, rest = 1 - f;
    for (int64_t i = 0; i < j->h * j->w; i++) {
        float *px = j->x + i * j->c;
        const float grey = rest * grey_of(px, j->c);
        for (int64_t k = 0; k < j->c; k++) {
            px[k] = clip(j, px[k] * f + grey);
        }
    }
    return false;
}

static void change_saturation(adze_aug_job *j, double amount) {
    adze_aug_set_saturation(j, unit(&j->rng, amount));
}

/* Colours turn about the axis of greys; a third of a turn makes red green, green blue and blue red. Greys stay as they are. */
static void change_hue(adze_aug_job *j, double amount) {
    const double turn = 6.283185307179586 * adze_aug_between(&j->rng, -amount, amount), co = cos(turn), si = sin(turn) / sqrt(3);
    const float same = (float)(co + (1 - co) / 3), next = (float)((1 - co) / 3 - si), last = (float)((1 - co) / 3 + si);
    for (int64_t i = 0; i < j->h * j->w && j->c == ADZE_AUG_CHANNELS; i++) {
        float *px = j->x + i * ADZE_AUG_CHANNELS;
        const float r = px[RED], g = px[GREEN], b = px[BLUE];
        px[RED] = clip(j, same * r + next * g + last * b);
        px[GREEN] = clip(j, last * r + same * g + next * b);
        px[BLUE] = clip(j, next * r + last * g + same * b);
    }
}

bool adze_aug_brightness(adze_aug_job *j) {
    change_brightness(j, j->v->amount);
    return false;
}

bool adze_aug_contrast(adze_aug_job *j) {
    change_contrast(j, j->v->amount);
    return false;
}

bool adze_aug_saturation(adze_aug_job *j) {
    change_saturation(j, j->v->amount);
    return false;
}

bool adze_aug_hue(adze_aug_job *j) {
    change_hue(j, j->v->amount);
    return false;
}

bool adze_aug_jitter(adze_aug_job *j) {
    static void (*const changes[])(adze_aug_job *, double) = {change_brightness, change_contrast, change_saturation, change_hue};
    const double amounts[] = {j->v->brightness, j->v->contrast, j->v->saturation, j->v->hue};
    int64_t order[] = {0, 1, 2, 3};
    adze_rng_permute(&j->rng, order, (int64_t)ADZE_COUNT(order));
    for (size_t i = 0; i < ADZE_COUNT(order); i++) {
        if (amounts[order[i]] > 0) {
            changes[order[i]](j, amounts[order[i]]);
        }
    }
    return false;
}

/* -- along the principal components ------------------------------------------------------------------------------------------------------------ */

bool adze_aug_pca(adze_aug_job *j) {
    double draw[ADZE_AUG_CHANNELS];
    for (int k = 0; k < ADZE_AUG_CHANNELS; k++) {
        draw[k] = j->v->sigma * adze_rng_normal(&j->rng);
    }
    for (int64_t c = 0; c < j->c; c++) {
        double sum = 0;
        for (int k = 0; k < ADZE_AUG_CHANNELS; k++) {
            sum += j->basis[c][k] * draw[k];
        }
        const float add = (float)(sum * j->white);
        for (int64_t i = c; i < j->h * j->w * j->c; i += j->c) {
            j->x[i] += add;
        }
    }
    return false;
}

/* -- noise and boxes --------------------------------------------------------------------------------------------------------------------------- */

/* Box and Muller: two uniform draws give two normal ones. */
bool adze_aug_noise(adze_aug_job *j) {
    const float sigma = (float)(j->v->sigma * j->white), turn = 6.2831853F;
    const int64_t n = j->h * j->w * j->c;
    for (int64_t i = 0; i < n; i += 2) {
        const float u = ((float)(adze_rng_u32(&j->rng) >> 8) + 0.5F) * 0x1p-24F, a = (float)(adze_rng_u32(&j->rng) >> 8) * 0x1p-24F;
        const float radius = sigma * sqrtf(-2 * logf(u));
        j->x[i] += radius * cosf(turn * a);
        if (i + 1 < n) {
            j->x[i + 1] += radius * sinf(turn * a);
        }
    }
    return false;
}

static void picture_mean(const adze_aug_job *j, float mean[ADZE_AUG_MOST_CHANNELS]) {
    const int64_t n = j->h * j->w;
    for (int64_t c = 0; c < j->c; c++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) {
            sum += j->x[i * j->c + c];
        }
        mean[c] = (float)(sum / (double)n);
    }
}

/* Rows top .. bottom - 1, columns left .. right - 1; what lies outside the picture is left out. */
static void fill_box(adze_aug_job *j, int64_t top, int64_t bottom, int64_t left, int64_t right) {
    float value[ADZE_AUG_MOST_CHANNELS] = {0};
    if (j->v->fill == ADZE_FILL_MEAN) {
        picture_mean(j, value);
    }
    for (int64_t y = top > 0 ? top : 0; y < bottom && y < j->h; y++) {
        for (int64_t x = left > 0 ? left : 0; x < right && x < j->w; x++) {
            for (int64_t c = 0; c < j->c; c++) {
                const bool noise = j->v->fill == ADZE_FILL_NOISE;
                j->x[(y * j->w + x) * j->c + c] = noise ? (float)(adze_rng_uniform(&j->rng) * j->white) : value[c];
            }
        }
    }
}

static int64_t side(double length, int64_t most) {
    const int64_t n = (int64_t)floor(length + 0.5);
    return n < most ? n : most;
}

bool adze_aug_erase(adze_aug_job *j) {
    const double area = adze_aug_between(&j->rng, j->v->area_min, j->v->area_max) * (double)(j->h * j->w);
    const double ratio = adze_aug_log_between(&j->rng, j->v->ratio_min, j->v->ratio_max);
    const int64_t h = side(sqrt(area / ratio), j->h), w = side(sqrt(area * ratio), j->w);
    const int64_t top = adze_rng_range(&j->rng, 0, j->h - h), left = adze_rng_range(&j->rng, 0, j->w - w);
    fill_box(j, top, top + h, left, left + w);
    return false;
}

bool adze_aug_cutout(adze_aug_job *j) {
    const int64_t size = j->v->size, top = adze_rng_range(&j->rng, 0, j->h - 1) - size / 2, left = adze_rng_range(&j->rng, 0, j->w - 1) - size / 2;
    fill_box(j, top, top + size, left, left + size);
    return false;
}

/* -- mixing ------------------------------------------------------------------------------------------------------------------------------------ */

/* Marsaglia and Tsang (2000); below 1 by way of shape + 1. */
static double gamma_draw(adze_rng *r, double shape) {
    const double small = shape < 1 ? pow(1 - adze_rng_uniform(r), 1 / shape) : 1, d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        const double x = adze_rng_normal(r), t = 1 + c * x, v = t * t * t;
        if (t > 0 && log(1 - adze_rng_uniform(r)) < 0.5 * x * x + d - d * v + d * log(v)) {
            return small * d * v;
        }
    }
}

/* A draw from Beta(alpha, alpha). Tiny draws of gamma may both be 0: then nothing mixes. */
static double beta_draw(adze_rng *r, double alpha) {
    if (alpha <= 0) {
        return 1;
    }
    const double a = gamma_draw(r, alpha), b = gamma_draw(r, alpha);
    return a + b > 0 ? a / (a + b) : 1;
}

/* The larger part, so that the example's own label keeps at least half: its partner has the same mixtures the other way round. */
adze_mix adze_aug_mixup(const adze_aug_params *v, adze_rng *r, int64_t h, int64_t w) {
    (void)h;
    (void)w;
    const double share = beta_draw(r, v->alpha);
    return (adze_mix){.share = fmax(share, 1 - share)};
}

/* The part of [0, most) that lies within length / 2 of a point drawn from it: where it begins, and its length. */
static int64_t cut(adze_rng *r, double length, int64_t most, int64_t *from) {
    const double centre = (double)adze_rng_range(r, 0, most - 1);
    *from = (int64_t)fmax(0, floor(centre - length / 2));
    return (int64_t)fmin((double)most, floor(centre + length / 2)) - *from;
}

/* The box may lie over the edge, where it is cut (Yun et al. 2019, appendix A). */
adze_mix adze_aug_cutmix(const adze_aug_params *v, adze_rng *r, int64_t h, int64_t w) {
    const double part = sqrt(1 - beta_draw(r, v->alpha));
    adze_mix m = {.box = true};
    m.height = cut(r, part * (double)h, h, &m.top);
    m.width = cut(r, part * (double)w, w, &m.left);
    m.share = 1 - (double)(m.height * m.width) / (double)(h * w);
    return m;
}
