/* Augmentations that move pixels: flips and crops copy whole pixels, warps compute where each pixel comes from and sample there bilinearly. */
#include "data/augment.h"

#include <math.h>

enum { SIGMAS = 3 }; /* a Gaussian is cut off there */

static void swap_pixels(float *a, float *b, int64_t c) {
    for (int64_t k = 0; k < c; k++) {
        const float held = a[k];
        a[k] = b[k];
        b[k] = held;
    }
}

bool adze_aug_hflip(adze_aug_job *j) {
    for (int64_t y = 0; y < j->h; y++) {
        float *row = j->x + y * j->w * j->c;
        for (int64_t a = 0, b = j->w - 1; a < b; a++, b--) {
            swap_pixels(row + a * j->c, row + b * j->c, j->c);
        }
    }
    return false;
}

bool adze_aug_vflip(adze_aug_job *j) {
    for (int64_t a = 0, b = j->h - 1; a < b; a++, b--) {
        swap_pixels(j->x + a * j->w * j->c, j->x + b * j->w * j->c, j->w * j->c);
    }
    return false;
}

/* -- borders ----------------------------------------------------------------------------------------------------------------------------------- */

/* Which pixel of 0 .. n - 1 stands at i, or -1 for none: beyond the picture lies zero, its mirror image (the edge pixel once), or its edge. */
static int64_t border_at(int64_t i, int64_t n, int32_t border) {
    if (i >= 0 && i < n) {
        return i;
    }
    if (border == ADZE_BORDER_EDGE || (border == ADZE_BORDER_REFLECT && n == 1)) {
        return i < 0 ? 0 : n - 1;
    }
    if (border == ADZE_BORDER_ZERO) {
        return -1;
    }
    const int64_t period = 2 * (n - 1);
    i = (i % period + period) % period;
    return i < n ? i : period - i;
}

bool adze_aug_crop(adze_aug_job *j) {
    const int64_t dy = adze_rng_range(&j->rng, -j->v->pad, j->v->pad), dx = adze_rng_range(&j->rng, -j->v->pad, j->v->pad), c = j->c;
    const int64_t from = dx < 0 ? (-dx < j->w ? -dx : j->w) : 0, to = dx > 0 ? (dx < j->w ? j->w - dx : 0) : j->w;
    const size_t pixel = (size_t)c * sizeof(float);
    for (int64_t y = 0; y < j->h; y++) {
        const int64_t sy = border_at(y + dy, j->h, j->v->border);
        float *out = j->out + y * j->w * c;
        memset(out, 0, (size_t)j->w * pixel);
        if (sy < 0) {
            continue;
        }
        const float *in = j->x + sy * j->w * c;
        for (int64_t x = 0; x < j->w; x++) {
            if (x == from && from < to) {
                memcpy(out + from * c, in + (from + dx) * c, (size_t)(to - from) * pixel);
                x = to - 1;
                continue;
            }
            const int64_t sx = border_at(x + dx, j->w, j->v->border);
            if (sx >= 0) {
                memcpy(out + x * c, in + sx * c, pixel);
            }
        }
    }
    return true;
}

/* -- sampling ---------------------------------------------------------------------------------------------------------------------------------- */

int64_t adze_aug_map_room(const adze_aug_params *v, int64_t h, int64_t w) {
    (void)v;
    return 2 * h * w;
}

static const float *tap(const adze_aug_job *j, int64_t y, int64_t x, int32_t border) {
    static const float nothing[ADZE_AUG_MOST_CHANNELS];
    y = border_at(y, j->h, border);
    x = border_at(x, j->w, border);
    return y < 0 || x < 0 ? nothing : j->x + (y * j->w + x) * j->c;
}

/* A weight of 0 gives the pixel itself to the bit. */
static void blend(const float *const t[4], float fy, float fx, int64_t c, float *out) {
    for (int64_t k = 0; k < c; k++) {
        const float a = t[0][k] + fx * (t[1][k] - t[0][k]), b = t[2][k] + fx * (t[3][k] - t[2][k]);
        out[k] = a + fy * (b - a);
    }
}

void adze_aug_sample(const adze_aug_job *j, const float *map, int32_t border) {
    const int64_t n = j->h * j->w, c = j->c, row = j->w * c;
    for (int64_t i = 0; i < n; i++) {
        const float sy = floorf(map[2 * i]), sx = floorf(map[2 * i + 1]), fy = map[2 * i] - sy, fx = map[2 * i + 1] - sx;
        const int64_t y = (int64_t)sy, x = (int64_t)sx;
        float *out = j->out + i * c;
        if (y >= 0 && x >= 0 && y + 1 < j->h && x + 1 < j->w) {
            const float *p = j->x + y * row + x * c;
            const float *const t[4] = {p, p + c, p + row, p + row + c};
            blend(t, fy, fx, c, out);
        } else {
            const float *const t[4] = {tap(j, y, x, border), tap(j, y, x + 1, border), tap(j, y + 1, x, border), tap(j, y + 1, x + 1, border)};
            blend(t, fy, fx, c, out);
        }
    }
}

/* -- warps ------------------------------------------------------------------------------------------------------------------------------------- */

/* A box of the picture, stretched over all of it. Where no ratio of the range fits a box of that area, the nearest one that fits is taken. */
bool adze_aug_resized_crop(adze_aug_job *j) {
    const adze_aug_params *v = j->v;
    const double h = (double)j->h, w = (double)j->w, area = adze_aug_between(&j->rng, v->area_min, v->area_max);
    const double narrowest = area * w / h, widest = w / (area * h);
    const double lo = fmin(fmax(v->ratio_min, narrowest), widest), hi = fmax(fmin(v->ratio_max, widest), narrowest);
    const double ratio = adze_aug_log_between(&j->rng, fmin(lo, hi), fmax(lo, hi));
    const double bw = fmin(w, sqrt(area * w * h * ratio)), bh = fmin(h, sqrt(area * w * h / ratio));
    const double left = adze_aug_between(&j->rng, 0, w - bw), top = adze_aug_between(&j->rng, 0, h - bh);
    float *at = j->spare;
    for (int64_t y = 0; y < j->h; y++) {
        const float sy = (float)(top + ((double)y + 0.5) * (bh / h) - 0.5);
        for (int64_t x = 0; x < j->w; x++) {
            *at++ = sy;
            *at++ = (float)(left + ((double)x + 0.5) * (bw / w) - 0.5);
        }
    }
    adze_aug_sample(j, j->spare, ADZE_BORDER_EDGE);
    return true;
}

void adze_aug_linear(adze_aug_job *j, const double to[4], const double move[2]) {
    const double cy = 0.5 * (double)(j->h - 1), cx = 0.5 * (double)(j->w - 1);
    float *at = j->spare;
    for (int64_t y = 0; y < j->h; y++) {
        for (int64_t x = 0; x < j->w; x++) {
            const double dy = (double)y - cy - move[0], dx = (double)x - cx - move[1];
            *at++ = (float)(to[1] * dx + to[0] * dy + cy);
            *at++ = (float)(to[3] * dx + to[2] * dy + cx);
        }
    }
    adze_aug_sample(j, j->spare, j->v->border);
}

/* Forwards: stretched, zoomed, sheared, rotated about the middle, then moved. The map is the inverse. `scale` is the same with a zoom alone. */
bool adze_aug_affine(adze_aug_job *j) {
    const adze_aug_params *v = j->v;
    const double radian = 0.017453292519943295;
    const double turn = radian * adze_aug_between(&j->rng, -v->degrees, v->degrees),
                 lean = tan(radian * adze_aug_between(&j->rng, -v->shear, v->shear));
    const double zoom = adze_aug_log_between(&j->rng, v->zoom_min, v->zoom_max);
    const double wide = adze_aug_log_between(&j->rng, 1 / (1 + v->stretch), 1 + v->stretch), zx = zoom * wide, zy = zoom / wide;
    const double ty = adze_aug_between(&j->rng, -v->translate, v->translate) * (double)j->h;
    const double tx = adze_aug_between(&j->rng, -v->translate, v->translate) * (double)j->w;
    const double co = cos(turn), si = sin(turn);
    adze_aug_linear(j, (double[]){co / zy, -si / zy, (si - lean * co) / zx, (co + lean * si) / zx}, (double[]){ty, tx});
    return true;
}

/* Brown's radial model: a point at distance r from the middle (1: the corner) comes from distance r (1 + k1 r^2 + k2 r^4). */
bool adze_aug_lens(adze_aug_job *j) {
    const adze_aug_params *v = j->v;
    const double cy = 0.5 * (double)(j->h - 1), cx = 0.5 * (double)(j->w - 1), corner = cy * cy + cx * cx;
    const double k1 = adze_aug_between(&j->rng, -v->k1, v->k1), k2 = adze_aug_between(&j->rng, -v->k2, v->k2);
    float *at = j->spare;
    for (int64_t y = 0; y < j->h; y++) {
        for (int64_t x = 0; x < j->w; x++) {
            const double dy = (double)y - cy, dx = (double)x - cx, r = corner > 0 ? (dy * dy + dx * dx) / corner : 0;
            const double f = 1 + r * (k1 + r * k2);
            *at++ = (float)(cy + dy * f);
            *at++ = (float)(cx + dx * f);
        }
    }
    adze_aug_sample(j, j->spare, v->border);
    return true;
}

/* -- elastic ----------------------------------------------------------------------------------------------------------------------------------- */

static int64_t reach(const adze_aug_params *v) {
    return (int64_t)ceil(SIGMAS * v->sigma);
}

int64_t adze_aug_elastic_room(const adze_aug_params *v, int64_t h, int64_t w) {
    const int64_t r = reach(v);
    return 2 * h * w + (h + 2 * r) * (w + 2 * r) + (h + 2 * r) * w + w + 2 * r + 1;
}

/* out[i] = sum_k weight[k] in[i + k step] for a row of n: rows of neighbours are added up, so that the inner loop runs along them. */
static void blur_row(const float *weight, int64_t taps, const float *in, int64_t step, int64_t n, float *out) {
    memset(out, 0, (size_t)n * sizeof *out);
    for (int64_t k = 0; k < taps; k++) {
        const float a = weight[k], *from = in + k * step;
        for (int64_t i = 0; i < n; i++) {
            out[i] += a * from[i];
        }
    }
}

/* Adds to every second value of map one smooth field: uniform noise in -1 .. 1, wider than the picture by the kernel's reach (so that the field is
 * alike up to the edge), blurred by a Gaussian and multiplied by alpha. */
static void add_field(adze_aug_job *j, float *map) {
    const int64_t r = reach(j->v), taps = 2 * r + 1, wide = j->w + 2 * r, high = j->h + 2 * r;
    float *noise = j->spare + 2 * j->h * j->w, *rows = noise + high * wide, *line = rows + high * j->w, *weight = line + j->w;
    double sum = 0;
    for (int64_t k = 0; k < taps; k++) {
        const double t = r > 0 ? (double)(k - r) / j->v->sigma : 0;
        weight[k] = (float)exp(-0.5 * t * t);
        sum += weight[k];
    }
    for (int64_t k = 0; k < taps; k++) {
        weight[k] = (float)(weight[k] / sum);
    }
    for (int64_t i = 0; i < high * wide; i++) {
        noise[i] = (float)(int32_t)adze_rng_u32(&j->rng) * 0x1p-31F;
    }
    for (int64_t y = 0; y < high; y++) {
        blur_row(weight, taps, noise + y * wide, 1, j->w, rows + y * j->w);
    }
    for (int64_t y = 0; y < j->h; y++) {
        blur_row(weight, taps, rows + y * j->w, j->w, j->w, line);
        for (int64_t x = 0; x < j->w; x++) {
            map[2 * (y * j->w + x)] += (float)j->v->alpha * line[x];
        }
    }
}

bool adze_aug_elastic(adze_aug_job *j) {
    float *map = j->spare;
    for (int64_t y = 0; y < j->h; y++) {
        for (int64_t x = 0; x < j->w; x++) {
            map[2 * (y * j->w + x)] = (float)y;
            map[2 * (y * j->w + x) + 1] = (float)x;
        }
    }
    add_field(j, map);
    add_field(j, map + 1);
    adze_aug_sample(j, map, j->v->border);
    return true;
}
