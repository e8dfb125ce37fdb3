/* RandAugment, and those of its operations that no other entry has: contrast and levels by the histogram, levels turned or cut off, sharpness. */
#include "data/augment.h"

#include <math.h>

enum { LEVELS = 256, BITS = 8 };

/* -- levels ------------------------------------------------------------------------------------------------------------------------------------ */

static int level_of(const adze_aug_job *j, float v) { /* the 8-bit one next to v */
    const float q = v * (float)((LEVELS - 1) / j->white) + 0.5F;
    return q < 0 ? 0 : q >= LEVELS ? LEVELS - 1 : (int)q;
}

bool adze_aug_autocontrast(adze_aug_job *j) {
    const int64_t n = j->h * j->w * j->c;
    for (int64_t c = 0; c < j->c; c++) {
        float lo = j->x[c], hi = lo;
        for (int64_t i = c; i < n; i += j->c) {
            lo = j->x[i] < lo ? j->x[i] : lo;
            hi = j->x[i] > hi ? j->x[i] : hi;
        }
        const float f = (float)j->white / (hi - lo);
        for (int64_t i = c; i < n && hi > lo; i += j->c) {
            j->x[i] = (j->x[i] - lo) * f;
        }
    }
    return false;
}

/* A level becomes the share of darker pixels among those that are not of the brightest level: black and white are reached. PIL does the same in whole
 * numbers, which leaves pictures of fewer than 255 pixels as they are. */
bool adze_aug_equalize(adze_aug_job *j) {
    const int64_t n = j->h * j->w * j->c;
    for (int64_t c = 0; c < j->c; c++) {
        int64_t count[LEVELS] = {0}, darker = 0;
        float to[LEVELS];
        int top = LEVELS - 1;
        for (int64_t i = c; i < n; i += j->c) {
            count[level_of(j, j->x[i])]++;
        }
        while (count[top] == 0) {
            top--;
        }
        const int64_t below = j->h * j->w - count[top];
        for (int v = 0; v <= top; v++) {
            to[v] = below > 0 ? (float)(j->white * (double)darker / (double)below) : 0;
            darker += count[v];
        }
        for (int64_t i = c; i < n && below > 0; i += j->c) {
            j->x[i] = to[level_of(j, j->x[i])];
        }
    }
    return false;
}

/* The threshold falls from one level above white, where nothing is turned, to black. */
static bool solarize(adze_aug_job *j, double amount) {
    const float white = (float)j->white, from = (float)((1 - amount) * j->white * LEVELS / (LEVELS - 1));
    for (int64_t i = 0; i < j->h * j->w * j->c; i++) {
        j->x[i] = j->x[i] >= from ? white - j->x[i] : j->x[i];
    }
    return false;
}

static bool posterize(adze_aug_job *j, int bits) {
    const float step = (float)(j->white / (LEVELS - 1));
    for (int64_t i = 0; i < j->h * j->w * j->c && bits < BITS; i++) {
        j->x[i] = (float)(level_of(j, j->x[i]) >> (BITS - bits) << (BITS - bits)) * step;
    }
    return false;
}

/* Away from the picture that a 3 x 3 filter of 1, with 5 in the middle, makes of it; the edge has no such picture and stays. */
static bool sharpen(adze_aug_job *j, double factor) {
    const float f = (float)(factor - 1), white = (float)j->white;
    const int64_t row = j->w * j->c;
    memcpy(j->out, j->x, (size_t)(j->h * row) * sizeof *j->x);
    for (int64_t y = 1; y + 1 < j->h; y++) {
        for (int64_t i = y * row + j->c; i < (y + 1) * row - j->c; i++) {
            const float *up = j->x + i - row, *on = j->x + i, *down = j->x + i + row;
            const float sum = up[-j->c] + up[0] + up[j->c] + on[-j->c] + 5 * on[0] + on[j->c] + down[-j->c] + down[0] + down[j->c];
            const float v = on[0] + f * (on[0] - sum / 13);
            j->out[i] = v < 0 ? 0 : v > white ? white : v;
        }
    }
    return true;
}

bool adze_aug_solarize(adze_aug_job *j) {
    return solarize(j, j->v->amount);
}

bool adze_aug_posterize(adze_aug_job *j) {
    return posterize(j, (int)j->v->bits);
}

bool adze_aug_sharpness(adze_aug_job *j) {
    return sharpen(j, adze_aug_between(&j->rng, 1 - j->v->amount, 1 + j->v->amount));
}

/* -- the list: what strength s, a part of the largest, means to each operation ------------------------------------------------------------------- */

static bool nothing(adze_aug_job *j, double s) {
    (void)j;
    (void)s;
    return false;
}

static bool list_autocontrast(adze_aug_job *j, double s) {
    (void)s;
    return adze_aug_autocontrast(j);
}

static bool list_equalize(adze_aug_job *j, double s) {
    (void)s;
    return adze_aug_equalize(j);
}

static bool list_posterize(adze_aug_job *j, double s) {
    return posterize(j, BITS - (int)floor(4 * s + 0.5));
}

static double factor_of(double s) {
    return 1 + 0.9 * s;
}

static bool list_saturation(adze_aug_job *j, double s) { /* greys have no colour to change */
    return j->c == ADZE_AUG_CHANNELS && adze_aug_set_saturation(j, factor_of(s));
}

static bool list_contrast(adze_aug_job *j, double s) {
    return adze_aug_set_contrast(j, factor_of(s));
}

static bool list_brightness(adze_aug_job *j, double s) {
    return adze_aug_set_brightness(j, factor_of(s));
}

static bool list_sharpness(adze_aug_job *j, double s) {
    return sharpen(j, factor_of(s));
}

static bool list_rotate(adze_aug_job *j, double s) {
    const double turn = s * 0.5235987755982989 /* 30 degrees */, co = cos(turn), si = sin(turn);
    adze_aug_linear(j, (double[]){co, -si, si, co}, (double[]){0, 0});
    return true;
}

static bool list_shear_x(adze_aug_job *j, double s) {
    adze_aug_linear(j, (double[]){1, 0, -0.3 * s, 1}, (double[]){0, 0});
    return true;
}

static bool list_shear_y(adze_aug_job *j, double s) {
    adze_aug_linear(j, (double[]){1, -0.3 * s, 0, 1}, (double[]){0, 0});
    return true;
}

static bool translate(adze_aug_job *j, double y, double x) { /* the paper's 150 pixels of 331 */
    adze_aug_linear(j, (double[]){1, 0, 0, 1}, (double[]){150.0 / 331 * y * (double)j->h, 150.0 / 331 * x * (double)j->w});
    return true;
}

static bool list_translate_x(adze_aug_job *j, double s) {
    return translate(j, 0, s);
}

static bool list_translate_y(adze_aug_job *j, double s) {
    return translate(j, s, 0);
}

static const struct rand_op {
    bool (*run)(adze_aug_job *j, double s); /* true: the result lies in out */
    bool two_ways;                          /* darker or brighter, to the left or to the right */
} ops[ADZE_AUG_RAND_OPS] = {{nothing, false},         {list_autocontrast, false}, {list_equalize, false},  {list_rotate, true},
                            {solarize, false},        {list_saturation, true},    {list_posterize, false}, {list_contrast, true},
                            {list_brightness, true},  {list_sharpness, true},     {list_shear_x, true},    {list_shear_y, true},
                            {list_translate_x, true}, {list_translate_y, true}};

void adze_aug_rand_apply(adze_aug_job *j, int op, double strength) {
    if (ops[op].run(j, ops[op].two_ways ? strength : fabs(strength))) {
        float *held = j->x;
        j->x = j->out;
        j->out = held;
    }
}

bool adze_aug_randaugment(adze_aug_job *j) {
    const double s = j->v->m / ADZE_AUG_RAND_MOST;
    for (int64_t i = 0; i < j->v->n; i++) {
        const int op = (int)adze_rng_below(&j->rng, ADZE_AUG_RAND_OPS);
        adze_aug_rand_apply(j, op, adze_rng_below(&j->rng, 2) ? s : -s);
    }
    return false; /* j->x is where the last operation left it */
}
