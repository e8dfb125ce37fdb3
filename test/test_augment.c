/* Augmentation: what each entry does to a picture, that it depends on (seed, epoch, example) alone, and how its text is read. */
#include "data/augment.h"
#include "data/formats.h"
#include "trainbench.h"

enum { PIC = 64, SIZE = PIC * PIC * 3 };

static adze_ctx *ctx;
static char notes[1024];

static void hear(void *user, adze_level level, const char *message) {
    (void)user;
    if (level == ADZE_WARN) {
        snprintf(notes, sizeof notes, "%s", message);
    }
}

static int setup(void **state) {
    (void)state;
    notes[0] = 0;
    return adze_ctx_new(&(adze_ctx_opts){.size = sizeof(adze_ctx_opts), .threads = 1, .log = hear}, &ctx) == ADZE_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    bool leak = adze_ctx_mem_used(ctx) != 0;
    adze_ctx_free(ctx);
    return leak ? -1 : 0;
}

static void assert_ok(int st) {
    if (st != ADZE_OK) {
        fail_msg("%s: %s", adze_status_name(st), adze_errmsg(ctx));
    }
}

static adze_augment parse(const char *text) {
    adze_augment a;
    assert_ok(adze_augment_parse(ctx, text, "test", &a));
    a.seed = 7;
    return a;
}

static adze_type picture_type(int64_t h, int64_t w, int64_t c) {
    return adze_type_make(ADZE_U8, 3, (int64_t[]){h, w, c});
}

/* Runs the list on one picture; out may be in. */
static void change(const adze_augment *a, adze_type t, double white, int64_t id, const float *in, float *out) {
    const size_t bytes = (size_t)adze_type_count(&t) * sizeof *in;
    float *buffer = malloc((size_t)adze_augment_room(a, &t) * sizeof *buffer);
    assert_non_null(buffer);
    memcpy(buffer, in, bytes);
    memcpy(out, adze_augment_run(a, &t, white, 3, id, buffer), bytes);
    free(buffer);
}

static void fill_random(float *x, int64_t n, double white) {
    adze_rng r = adze_rng_make(5, 5);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(adze_rng_uniform(&r) * white);
    }
}

/* -- moving pixels ----------------------------------------------------------------------------------------------------------------------------- */

static void flips_mirror_and_twice_they_give_the_picture_back(void **state) {
    (void)state;
    float in[5 * 4 * 3], once[5 * 4 * 3], twice[5 * 4 * 3];
    fill_random(in, 60, 255);
    for (int v = 0; v < 2; v++) {
        adze_augment a = parse(v ? "vflip:p=1" : "hflip:p=1");
        change(&a, picture_type(5, 4, 3), 255, 0, in, once);
        for (int y = 0; y < 5; y++) {
            for (int x = 0; x < 12; x++) {
                assert_true(once[y * 12 + x] == (v ? in[(4 - y) * 12 + x] : in[y * 12 + (3 - x / 3) * 3 + x % 3]));
            }
        }
        change(&a, picture_type(5, 4, 3), 255, 0, once, twice);
        assert_memory_equal(in, twice, sizeof in);
    }
}

static void crop_offsets_are_uniform(void **state) {
    (void)state;
    enum { DRAWS = 5000, CELLS = 25 };
    float in[9 * 9], out[9 * 9];
    int64_t hits[CELLS] = {0};
    adze_augment a = parse("crop:pad=2");
    for (int i = 0; i < 81; i++) {
        in[i] = (float)i;
    }
    for (int64_t id = 0; id < DRAWS; id++) {
        change(&a, picture_type(9, 9, 1), 255, id, in, out);
        const int at = (int)out[4 * 9 + 4], dy = at / 9 - 2, dx = at % 9 - 2;
        assert_true(dy >= 0 && dy < 5 && dx >= 0 && dx < 5);
        hits[dy * 5 + dx]++;
    }
    double chi = 0;
    for (int k = 0; k < CELLS; k++) {
        const double want = (double)DRAWS / CELLS, off = (double)hits[k] - want;
        chi += off * off / want;
    }
    assert_true(chi < 51.18); /* 24 degrees of freedom: exceeded once in a thousand */
    assert_true(chi > 6);     /* nor too even */
}

static void crops_see_beyond_the_edge_what_the_border_says(void **state) {
    (void)state;
    static const struct {
        const char *text;
        float row[12]; /* 1 2 3 4 with four pixels more on either side */
    } table[] = {{"crop:pad=4", {0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0}},
                 {"crop:pad=4:border=reflect", {3, 4, 3, 2, 1, 2, 3, 4, 3, 2, 1, 2}},
                 {"crop:pad=4:border=edge", {1, 1, 1, 1, 1, 2, 3, 4, 4, 4, 4, 4}}};
    const float in[16] = {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4};
    for (size_t k = 0; k < ADZE_COUNT(table); k++) {
        adze_augment a = parse(table[k].text);
        unsigned seen = 0;
        for (int64_t id = 0; id < 300; id++) {
            float out[16];
            change(&a, picture_type(4, 4, 1), 255, id, in, out);
            for (int y = 0; y < 4; y++) {
                bool found = k == 0 && out[4 * y] == 0 && out[4 * y + 1] == 0 && out[4 * y + 2] == 0 && out[4 * y + 3] == 0;
                for (unsigned from = 0; from <= 8; from++) {
                    const bool same = memcmp(out + 4 * y, table[k].row + from, 4 * sizeof *out) == 0;
                    seen |= same ? 1U << from : 0;
                    found = found || same;
                }
                assert_true(found);
            }
        }
        assert_int_equal(seen, (1 << 9) - 1);
    }
}

static void parameters_at_nothing_leave_every_bit(void **state) {
    (void)state;
    static const char *const texts[] = {"crop:pad=0",
                                        "resized_crop:area_min=1:area_max=1:ratio_min=1:ratio_max=1",
                                        "scale:zoom_min=1:zoom_max=1",
                                        "brightness:amount=0",
                                        "contrast:amount=0",
                                        "saturation:amount=0",
                                        "hue:amount=0",
                                        "jitter:brightness=0:contrast=0",
                                        "pca:sigma=0",
                                        "affine:degrees=0:translate=0",
                                        "elastic:alpha=0",
                                        "elastic:alpha=0:sigma=0",
                                        "lens:k1=0",
                                        "noise:sigma=0",
                                        "erase:area_min=0:area_max=0:p=1",
                                        "cutout:size=0",
                                        "solarize:amount=0:p=1",
                                        "posterize:bits=8:p=1",
                                        "sharpness:amount=0",
                                        "randaugment:n=0",
                                        "randaugment:p=0",
                                        "hflip:p=0",
                                        "vflip:p=0",
                                        "affine:p=0",
                                        "elastic:p=0",
                                        "cutout:p=0",
                                        ""};
    static float in[SIZE], out[SIZE];
    for (int c = 1; c <= 3; c += 2) {
        for (size_t i = 0; i < ADZE_COUNT(texts); i++) {
            for (int white = 1; white <= 255; white += 254) { /* float pictures, 8-bit pictures */
                adze_augment a = parse(texts[i]);
                a.basis[0][0] = a.basis[1][1] = a.basis[2][2] = 1;
                fill_random(in, 31 * 20 * c, white);
                adze_type t = picture_type(31, 20, c);
                if (a.n > 0) {
                    change(&a, t, white, 1, in, out);
                    if (memcmp(in, out, (size_t)(31 * 20 * c) * sizeof *in) != 0) {
                        fail_msg("%s changes %d channels at white %d", texts[i], c, white);
                    }
                }
            }
        }
    }
}

/* Where a warp looks for each pixel, and the picture that it makes. */
static void warp(const adze_augment *a, const float *in, float *map, float *out) {
    float *spare = malloc((size_t)adze_augment_room(a, &(adze_type){.dtype = ADZE_U8, .rank = 3, .dims = {PIC, PIC, 1}}) * sizeof *spare);
    static float x[PIC * PIC];
    memcpy(x, in, sizeof x);
    adze_aug_job j = {.v = &a->entry[0].v, .rng = adze_rng_make(11, 5), .h = PIC, .w = PIC, .c = 1, .white = 255, .x = x, .out = out, .spare = spare};
    assert_true(a->entry[0].kind->run(&j));
    memcpy(map, spare, 2 * PIC * PIC * sizeof *map);
    free(spare);
}

static void look_up(const float *map, double y, double x, double out[2]) { /* the map between its points */
    y = fmin(fmax(y, 0), PIC - 1.001);
    x = fmin(fmax(x, 0), PIC - 1.001);
    const int iy = (int)y, ix = (int)x;
    const double fy = y - iy, fx = x - ix;
    for (int k = 0; k < 2; k++) {
        const float *p = map + 2 * (iy * PIC + ix) + k;
        out[k] = (1 - fy) * ((1 - fx) * p[0] + fx * p[2]) + fy * ((1 - fx) * p[2 * PIC] + fx * p[2 * PIC + 2]);
    }
}

static double psnr(double squares, int64_t n) {
    return 10 * log10(255.0 * 255 / (squares / (double)n));
}

static void warps_followed_by_their_inverse_return_the_picture(void **state) {
    (void)state;
    static const char *const texts[] = {"affine:degrees=20:translate=0.1:shear=10:stretch=0.1:zoom_min=0.9:zoom_max=1.1", "lens:k1=0.3:k2=0.1",
                                        "elastic", "scale:zoom_min=1.2:zoom_max=1.3", "resized_crop:area_min=0.6:area_max=0.8"};
    static float in[PIC * PIC], out[PIC * PIC], map[2 * PIC * PIC];
    for (int i = 0; i < PIC * PIC; i++) {
        in[i] = (float)(127 + 60 * sin(0.35 * (i / PIC)) + 60 * cos(0.3 * (i % PIC)));
    }
    for (size_t k = 0; k < ADZE_COUNT(texts); k++) {
        adze_augment a = parse(texts[k]);
        warp(&a, in, map, out);
        double back = 0, there = 0;
        int64_t n = 0;
        for (int i = 0; i < PIC * PIC; i++) {
            double y = i / PIC, x = i % PIC, got[2];
            for (int step = 0; step < 100; step++) { /* where did this pixel go? */
                look_up(map, y, x, got);
                y -= got[0] - i / PIC;
                x -= got[1] - i % PIC;
            }
            if (y < 1 || x < 1 || y > PIC - 3 || x > PIC - 3) {
                continue; /* out of the picture */
            }
            const int iy = (int)y, ix = (int)x;
            const double fy = y - iy, fx = x - ix;
            const float *p = out + iy * PIC + ix;
            const double v = (1 - fy) * ((1 - fx) * p[0] + fx * p[1]) + fy * ((1 - fx) * p[PIC] + fx * p[PIC + 1]);
            back += (v - in[i]) * (v - in[i]);
            there += (out[i] - in[i]) * (out[i] - in[i]);
            n++;
        }
        if (n < PIC * PIC / 2 || psnr(back, n) < 30 || psnr(there, n) > 28) {
            fail_msg("%s: %lld pixels return with %.1f dB (away: %.1f dB)", texts[k], (long long)n, psnr(back, n), psnr(there, n));
        }
    }
}

/* -- changing pixels --------------------------------------------------------------------------------------------------------------------------- */

static void brightness_stays_within_its_bounds_and_reaches_them(void **state) {
    (void)state;
    adze_augment a = parse("brightness:amount=0.2");
    double least = 1e9, most = 0;
    for (int64_t id = 0; id < 1000; id++) {
        float v = 100;
        change(&a, picture_type(1, 1, 1), 255, id, &v, &v);
        least = fmin(least, v);
        most = fmax(most, v);
    }
    assert_true(least >= 80 && least < 80.5 && most <= 120.001 && most > 119.5);
}

static void colours_change_as_their_names_say(void **state) {
    (void)state;
    float in[6] = {200, 100, 50, 30, 60, 90}, out[6];
    const double grey0 = 0.299 * 200 + 0.587 * 100 + 0.114 * 50;
    adze_augment a = parse("saturation:amount=0.5");
    change(&a, picture_type(1, 2, 3), 255, 4, in, out);
    const double f = (out[0] - grey0) / (in[0] - grey0);
    assert_true(fabs(f - 1) > 0.01 && fabs(f - 1) <= 0.5);
    assert_true(fabs(out[2] - (grey0 + f * (in[2] - grey0))) < 1e-3);
    a = parse("contrast:amount=0.5");
    change(&a, picture_type(1, 2, 3), 255, 4, in, out);
    const double ratio = (out[0] - out[1]) / 100, middle = 0.5 * (grey0 + 0.299 * 30 + 0.587 * 60 + 0.114 * 90);
    assert_true(fabs(ratio - 1) > 0.01 && fabs((double)out[5] - (middle + ratio * (90 - middle))) < 1e-3);
    a = parse("hue:amount=0.1");
    change(&a, picture_type(1, 2, 3), 255, 4, in, out);
    assert_true(fabs(out[3] + out[4] + out[5] - 180) < 1e-2 && fabs(out[3] - in[3]) > 0.1); /* the sum stays, the colour does not */
}

static void noise_has_its_deviation(void **state) {
    (void)state;
    static float in[SIZE], out[SIZE];
    for (int white = 1; white <= 255; white += 254) {
        adze_augment a = parse("noise:sigma=0.05");
        double sum = 0, squares = 0;
        change(&a, picture_type(PIC, PIC, 3), white, 0, in, out);
        for (int i = 0; i < SIZE; i++) {
            sum += out[i] / (double)white;
            squares += (double)out[i] * out[i] / (double)white / (double)white;
        }
        assert_true(fabs(sum / SIZE) < 4 * 0.05 / sqrt(SIZE));
        assert_true(fabs(sqrt(squares / SIZE) / 0.05 - 1) < 0.03);
    }
}

static void boxes_have_the_areas_asked_for(void **state) {
    (void)state;
    static float in[PIC * PIC], out[PIC * PIC];
    adze_augment erase = parse("erase:p=1:fill=zero:area_min=0.1:area_max=0.2"), cutout = parse("cutout:size=9");
    for (int i = 0; i < PIC * PIC; i++) {
        in[i] = 1;
    }
    int64_t whole = 0;
    for (int64_t id = 0; id < 300; id++) {
        int gone = 0, cut = 0;
        change(&erase, picture_type(PIC, PIC, 1), 1, id, in, out);
        for (int i = 0; i < PIC * PIC; i++) {
            gone += out[i] == 0;
        }
        assert_true(gone > 0.09 * PIC * PIC && gone < 0.21 * PIC * PIC);
        change(&cutout, picture_type(PIC, PIC, 1), 1, id, in, out);
        for (int i = 0; i < PIC * PIC; i++) {
            cut += out[i] == 0;
        }
        assert_true(cut > 0 && cut <= 81);
        whole += cut == 81;
    }
    assert_true(whole > 150 && whole < 300); /* some hang over the edge */
}

/* The noise is P diag(lambda) alpha, so its covariance is sigma^2 P diag(lambda)^2 P' = sigma^2 C C: known without an eigenvector. */
static void colour_noise_has_the_covariance_of_the_formula(void **state) {
    (void)state;
    enum { PICTURES = 40, DRAWS = 20000, BYTES = 8 * 8 * 3 };
    static uint8_t px[PICTURES * BYTES];
    static int64_t label[PICTURES];
    adze_rng r = adze_rng_make(3, 3);
    double mean[3] = {0}, c[3][3] = {{0}}, got[3][3] = {{0}};
    for (int i = 0; i < PICTURES * 64; i++) {
        const double light = adze_rng_uniform(&r), tint = adze_rng_uniform(&r);
        px[3 * i] = (uint8_t)(160 * light + 90 * tint);
        px[3 * i + 1] = (uint8_t)(200 * light);
        px[3 * i + 2] = (uint8_t)(120 * light + 100 * (1 - tint) + 30 * adze_rng_uniform(&r));
    }
    for (int i = 0; i < PICTURES * BYTES; i++) {
        mean[i % 3] += px[i] / 255.0 / (PICTURES * 64);
    }
    for (int i = 0; i < PICTURES * 64; i++) {
        for (int k = 0; k < 9; k++) {
            c[k / 3][k % 3] += (px[3 * i + k / 3] / 255.0 - mean[k / 3]) * (px[3 * i + k % 3] / 255.0 - mean[k % 3]) / (PICTURES * 64);
        }
    }
    adze_dataset *d;
    adze_augment a = parse("pca:sigma=0.1");
    assert_ok(adze_dataset_from_memory(ctx, picture_type(8, 8, 3), px, label, PICTURES, 1, &d));
    assert_ok(adze_augment_fit(ctx, &a, d, NULL, PICTURES, 1));
    for (int64_t id = 0; id < DRAWS; id++) {
        float v[3] = {0};
        change(&a, picture_type(1, 1, 3), 1, id, v, v);
        for (int k = 0; k < 9; k++) {
            got[k / 3][k % 3] += (double)v[k / 3] * v[k % 3] / DRAWS;
        }
    }
    for (int k = 0; k < 9; k++) {
        double want = 0;
        for (int m = 0; m < 3; m++) {
            want += 0.01 * c[k / 3][m] * c[m][k % 3];
        }
        assert_true(fabs(got[k / 3][k % 3] - want) < 0.05 * fabs(want));
    }
    adze_dataset_close(d);
}

/* -- RandAugment and its operations -------------------------------------------------------------------------------------------------------------- */

typedef struct frame { /* a picture of the references, whose pixels may be asked for anywhere */
    int h, w, c;
    double white;
    const float *x;
} frame;

static double pixel(const frame *f, int y, int x, int k) {
    return y < 0 || x < 0 || y >= f->h || x >= f->w ? 0 : f->x[(y * f->w + x) * f->c + k];
}

static int level(const frame *f, int y, int x, int k) {
    return (int)lround(pixel(f, y, x, k) * 255 / f->white);
}

static double between(const frame *f, double y, double x, int k) {
    const int iy = (int)floor(y), ix = (int)floor(x);
    const double fy = y - iy, fx = x - ix;
    return (1 - fy) * ((1 - fx) * pixel(f, iy, ix, k) + fx * pixel(f, iy, ix + 1, k)) +
           fy * ((1 - fx) * pixel(f, iy + 1, ix, k) + fx * pixel(f, iy + 1, ix + 1, k));
}

static double cut(const frame *f, double v) {
    return fmin(fmax(v, 0), f->white);
}

static double stretched(const frame *f, int y, int x, int k) {
    double lo = f->white, hi = 0;
    for (int i = 0; i < f->h * f->w; i++) {
        lo = fmin(lo, f->x[i * f->c + k]);
        hi = fmax(hi, f->x[i * f->c + k]);
    }
    return hi > lo ? (pixel(f, y, x, k) - lo) / (hi - lo) * f->white : pixel(f, y, x, k);
}

static double equalized(const frame *f, int y, int x, int k) {
    int darker = 0, brightest = 0, top = 0;
    for (int i = 0; i < f->h * f->w; i++) {
        const int v = level(f, i / f->w, i % f->w, k);
        darker += v < level(f, y, x, k);
        brightest = v > top ? 1 : brightest + (v == top);
        top = v > top ? v : top;
    }
    return brightest < f->h * f->w ? f->white * darker / (f->h * f->w - brightest) : pixel(f, y, x, k);
}

static double sharpened(const frame *f, int y, int x, int k, double factor) {
    double soft = 4 * pixel(f, y, x, k);
    for (int i = 0; i < 9; i++) {
        soft += pixel(f, y + i / 3 - 1, x + i % 3 - 1, k);
    }
    const bool edge = y == 0 || x == 0 || y == f->h - 1 || x == f->w - 1;
    return edge ? pixel(f, y, x, k) : cut(f, soft / 13 + factor * (pixel(f, y, x, k) - soft / 13));
}

static double grey(const frame *f, int y, int x) {
    return f->c < 3 ? 0.5 * (pixel(f, y, x, 0) + pixel(f, y, x, f->c - 1))
                    : 0.299 * pixel(f, y, x, 0) + 0.587 * pixel(f, y, x, 1) + 0.114 * pixel(f, y, x, 2);
}

static double towards(const frame *f, int y, int x, int k, double to, double s) {
    return cut(f, to + (1 + 0.9 * s) * (pixel(f, y, x, k) - to));
}

/* What operation op of RandAugment makes of a pixel. */
static double listed(const frame *f, int op, double s, int y, int x, int k) {
    const double v = pixel(f, y, x, k), my = 0.5 * (f->h - 1), mx = 0.5 * (f->w - 1), dy = y - my, dx = x - mx, turn = s * acos(-1) / 6;
    double mean = 0;
    for (int i = 0; i < f->h * f->w; i++) {
        mean += grey(f, i / f->w, i % f->w) / (f->h * f->w);
    }
    const int kept = 8 - (int)lround(4 * fabs(s)), unit = 1 << (8 - kept);
    switch (op) {
    case 1:
        return stretched(f, y, x, k);
    case 2:
        return equalized(f, y, x, k);
    case 3: /* what turns to (dx, dy) came from where it was turned back */
        return between(f, my + cos(turn) * dy - sin(turn) * dx, mx + cos(turn) * dx + sin(turn) * dy, k);
    case 4:
        return level(f, y, x, k) >= 256 * (1 - s) ? f->white - v : v;
    case 5:
        return f->c == 3 ? towards(f, y, x, k, grey(f, y, x), s) : v;
    case 6:
        return level(f, y, x, k) / unit * unit * f->white / 255;
    case 7:
        return towards(f, y, x, k, mean, s);
    case 8:
        return towards(f, y, x, k, 0, s);
    case 9:
        return sharpened(f, y, x, k, 1 + 0.9 * s);
    case 10:
        return between(f, y, x - 0.3 * s * dy, k);
    case 11:
        return between(f, y - 0.3 * s * dx, x, k);
    case 12:
        return between(f, y, x - s * 150 / 331 * f->w, k);
    case 13:
        return between(f, y - s * 150 / 331 * f->h, x, k);
    default:
        return v;
    }
}

static void one_op(const frame *f, int op, double s, float *out) {
    float x[SIZE], room[SIZE], map[2 * SIZE];
    const adze_aug_params v = {.border = ADZE_BORDER_ZERO};
    const size_t bytes = (size_t)(f->h * f->w * f->c) * sizeof *x;
    adze_aug_job j = {.v = &v, .h = f->h, .w = f->w, .c = f->c, .white = f->white, .x = x, .out = room, .spare = map};
    memcpy(x, f->x, bytes);
    adze_aug_rand_apply(&j, op, s);
    memcpy(out, j.x, bytes);
}

static const frame frames[] = {{7, 5, 1, 255, NULL}, {9, 12, 3, 255, NULL}, {13, 6, 3, 1, NULL},
                               {1, 1, 1, 255, NULL}, {3, 2, 3, 1, NULL},    {17, 4, 2, 255, NULL}};

/* Whole levels between 30 and 220, several of them many times. */
static frame framed(size_t i, float *x) {
    frame f = frames[i];
    adze_rng r = adze_rng_make(i, 5);
    for (int k = 0; k < f.h * f.w * f.c; k++) {
        x[k] = (float)((double)adze_rng_range(&r, 6, 44) * 5 * f.white / 255);
    }
    f.x = x;
    return f;
}

static void levels_are_those_of_a_plain_reference(void **state) {
    (void)state;
    static const char *const texts[] = {"autocontrast:p=1", "equalize:p=1", "solarize:p=1:amount=0.4", "posterize:p=1:bits=3",
                                        "sharpness:amount=0.8"};
    float x[SIZE], out[SIZE];
    for (size_t i = 0; i < ADZE_COUNT(frames); i++) {
        const frame f = framed(i, x);
        for (size_t k = 0; k < ADZE_COUNT(texts); k++) {
            adze_augment a = parse(texts[k]);
            change(&a, picture_type(f.h, f.w, f.c), f.white, 3, x, out);
            const int middle = (f.w + 1) * f.c;
            double soft = sharpened(&f, 1, 1, 0, 0), factor = f.h > 2 && f.w > 2 ? (out[middle] - soft) / (x[middle] - soft) : 1;
            assert_true(k != 4 || (factor >= 0.2 - 1e-4 && factor <= 1.8 + 1e-4));
            for (int n = 0; n < f.h * f.w * f.c; n++) {
                const int y = n / f.c / f.w, c = n / f.c % f.w, q = n % f.c;
                const double want[] = {stretched(&f, y, c, q), equalized(&f, y, c, q), level(&f, y, c, q) >= 153.6 ? f.white - x[n] : x[n],
                                       (level(&f, y, c, q) & 0xE0) * f.white / 255, sharpened(&f, y, c, q, factor)};
                if (fabs(out[n] - want[k]) > 2e-4 * f.white) {
                    fail_msg("%s, picture %zu: %g became %g, not %g", texts[k], i, x[n], out[n], want[k]);
                }
            }
        }
    }
}

static void every_operation_of_randaugment_is_a_plain_reference(void **state) {
    (void)state;
    static const double strengths[] = {1, -1, 0.3, -0.5};
    float x[SIZE], out[SIZE];
    for (size_t i = 0; i < ADZE_COUNT(frames); i++) {
        const frame f = framed(i, x);
        for (int op = 0; op < ADZE_AUG_RAND_OPS; op++) {
            const bool two_ways = op == 3 || op == 5 || (op >= 7 && op <= 13);
            for (size_t k = 0; k < ADZE_COUNT(strengths); k++) {
                const double s = two_ways ? strengths[k] : fabs(strengths[k]);
                one_op(&f, op, strengths[k], out);
                for (int n = 0; n < f.h * f.w * f.c; n++) {
                    const double want = listed(&f, op, s, n / f.c / f.w, n / f.c % f.w, n % f.c);
                    if (fabs(out[n] - want) > 2e-4 * f.white) {
                        fail_msg("operation %d at %g, picture %zu, number %d: %g, not %g", op, s, i, n, out[n], want);
                    }
                }
            }
        }
    }
}

/* Which operation made a picture is seen by what it made: all 23 results differ. */
static void randaugment_draws_evenly_and_at_strength_zero_nothing_moves(void **state) {
    (void)state;
    enum { DRAWS = 7000, RESULTS = 2 * ADZE_AUG_RAND_OPS };
    static float result[RESULTS][SIZE];
    float x[SIZE], out[SIZE];
    const frame f = framed(1, x);
    const size_t bytes = (size_t)(f.h * f.w * f.c) * sizeof *x;
    int64_t hits[ADZE_AUG_RAND_OPS] = {0}, up = 0, down = 0;
    adze_augment a = parse("randaugment:n=1:m=30");
    for (int op = 0; op < ADZE_AUG_RAND_OPS; op++) {
        one_op(&f, op, 1, result[op]);
        one_op(&f, op, -1, result[op + ADZE_AUG_RAND_OPS]);
        one_op(&f, op, 0, out);
        assert_int_equal(memcmp(out, x, bytes) == 0, op != 1 && op != 2);
    }
    for (int64_t id = 0; id < DRAWS; id++) {
        int found = 0;
        change(&a, picture_type(f.h, f.w, f.c), f.white, id, x, out);
        while (found < RESULTS && memcmp(out, result[found], bytes) != 0) {
            found++;
        }
        assert_true(found < RESULTS);
        const int op = found % ADZE_AUG_RAND_OPS;
        const bool two_ways = memcmp(result[op], result[op + ADZE_AUG_RAND_OPS], bytes) != 0;
        hits[op]++;
        up += two_ways && found < ADZE_AUG_RAND_OPS;
        down += two_ways && found >= ADZE_AUG_RAND_OPS;
    }
    double chi = 0;
    for (int op = 0; op < ADZE_AUG_RAND_OPS; op++) {
        const double want = (double)DRAWS / ADZE_AUG_RAND_OPS, off = (double)hits[op] - want;
        chi += off * off / want;
    }
    assert_true(chi > 2.6 && chi < 34.5);                                                  /* 13 degrees of freedom: outside twice in a thousand */
    assert_true(fabs((double)(up - down)) < 3.3 * sqrt((double)(up + down)) && up > 2000); /* to both sides alike */
}

/* -- the loader -------------------------------------------------------------------------------------------------------------------------------- */

enum { COUNT = 50, LOT = 16, SIDES = 8, ROOM = SIDES * SIDES * 3, LOTS = 4, ROUNDS = 2 };

typedef struct mixed { /* what a loader gave */
    float x[ROUNDS * COUNT * ROOM], share[ROUNDS * COUNT];
    int64_t label[ROUNDS * COUNT], other[ROUNDS * COUNT];
} mixed;

static uint8_t shots[COUNT * ROOM];
static int64_t kinds_of[COUNT];

static adze_dataset *shots_set(bool flat) { /* flat: picture i is 5 i everywhere, and of class i */
    adze_dataset *d;
    adze_rng r = adze_rng_make(9, 9);
    for (int i = 0; i < COUNT * ROOM; i++) {
        shots[i] = (uint8_t)(flat ? i / ROOM * 5 : (int)adze_rng_below(&r, 256));
        kinds_of[i / ROOM] = i / ROOM;
    }
    assert_ok(adze_dataset_from_memory(ctx, picture_type(SIDES, SIDES, 3), shots, kinds_of, COUNT, COUNT, &d));
    return d;
}

static void collect(const adze_dataset *d, const char *text, int workers, int64_t epoch, int64_t lot, mixed *out) {
    adze_preprocess p = {.scale = 1, .channels = 3, .sd = {1, 1, 1}};
    adze_loader_opts o = {.size = sizeof o, .batch = LOT, .shuffle = true, .seed = 4, .dtype = ADZE_F32, .workers = workers, .augment = text};
    adze_loader *l;
    assert_ok(adze_loader_new(ctx, d, NULL, COUNT, &p, &o, &l));
    assert_ok(adze_loader_seek(l, epoch, lot));
    int64_t at = epoch * COUNT + lot * LOT, n;
    while (at < ROUNDS * COUNT) {
        const int64_t left = COUNT - at % COUNT, rows = left < LOT ? left : LOT, dims[4] = {rows, SIDES, SIDES, 3};
        adze_tensor x, label, other, share;
        assert_ok(adze_tensor_wrap(ctx, adze_type_make(ADZE_F32, 4, dims), out->x + at * ROOM, &x));
        assert_ok(adze_tensor_wrap(ctx, adze_type_make(ADZE_I64, 1, dims), out->label + at, &label));
        assert_ok(adze_tensor_wrap(ctx, adze_type_make(ADZE_I64, 1, dims), out->other + at, &other));
        assert_ok(adze_tensor_wrap(ctx, adze_type_make(ADZE_F32, 1, dims), out->share + at, &share));
        assert_ok(adze_loader_next_mixed(l, x, label, other, share, &n));
        at += n;
        adze_tensor_free(&x);
        adze_tensor_free(&label);
        adze_tensor_free(&other);
        adze_tensor_free(&share);
    }
    adze_loader_free(l);
}

static void pictures_depend_on_neither_workers_nor_where_one_begins(void **state) {
    (void)state;
    static const char text[] = "hflip,vflip,crop:pad=2:border=reflect,affine:shear=5,elastic:sigma=1:alpha=2,lens,jitter:saturation=0.2:hue=0.1,pca,"
                               "noise,erase,cutout:size=3,resized_crop:p=0.5,scale:p=0.5,randaugment:n=3,mixup:p=0.7,cutmix:p=0.7";
    static mixed want, got;
    adze_dataset *d = shots_set(false);
    memset(&want, 0, sizeof want);
    collect(d, text, 0, 0, 0, &want);
    static const int workers[] = {0, 1, 3};
    for (size_t k = 0; k < ADZE_COUNT(workers); k++) {
        memset(&got, 0, sizeof got);
        collect(d, text, workers[k], 0, 0, &got);
        assert_memory_equal(&want, &got, sizeof want);
        memset(got.x + (COUNT + 2 * LOT) * ROOM, 0, sizeof got.x - (COUNT + 2 * LOT) * ROOM * sizeof *got.x);
        collect(d, text, workers[k], 1, 2, &got); /* as after a resume */
        assert_memory_equal(&want, &got, sizeof want);
    }
    assert_memory_not_equal(want.x, want.x + COUNT * ROOM, COUNT * ROOM * sizeof *want.x); /* epochs differ */
    adze_dataset_close(d);
}

static void mixed_examples_carry_the_labels_and_shares_of_their_pixels(void **state) {
    (void)state;
    static const char *const texts[] = {"mixup:alpha=1", "cutmix", "mixup:alpha=0.4,cutmix:p=0.5", "hflip"};
    static mixed m;
    adze_dataset *d = shots_set(true);
    for (size_t k = 0; k < ADZE_COUNT(texts); k++) {
        collect(d, texts[k], 1, 0, 0, &m);
        int64_t mixes = 0;
        for (int64_t i = 0; i < ROUNDS * COUNT; i++) {
            double mean = 0;
            for (int q = 0; q < ROOM; q++) {
                mean += m.x[i * ROOM + q] / ROOM;
            }
            const double share = m.share[i];
            assert_true(fabs(mean - 5 * (share * (double)m.label[i] + (1 - share) * (double)m.other[i])) < 1e-3);
            assert_true(share >= (strstr(texts[k], "cutmix") ? 0 : 0.5) && share <= 1);
            mixes += share < 0.98 && m.label[i] != m.other[i];
        }
        assert_true(k == 3 ? mixes == 0 : mixes > 40);
    }
    adze_dataset_close(d);
}

static void float64_batches_are_mixed_alike(void **state) {
    (void)state;
    adze_dataset *d = shots_set(true);
    adze_preprocess p = {.scale = 1, .channels = 3, .sd = {1, 1, 1}, .pad = 1};
    adze_loader_opts o = {.size = sizeof o, .batch = 2, .seed = 4, .dtype = ADZE_F64, .augment = "cutmix"};
    adze_loader *l;
    double x[2][SIDES + 2][SIDES + 2][3];
    int64_t label[2], n, dims[4] = {2, SIDES + 2, SIDES + 2, 3};
    adze_tensor tx, tl;
    assert_ok(adze_tensor_wrap(ctx, adze_type_make(ADZE_F64, 4, dims), x, &tx));
    assert_ok(adze_tensor_wrap(ctx, adze_type_make(ADZE_I64, 1, dims), label, &tl));
    assert_ok(adze_loader_new(ctx, d, (int64_t[]){7, 9}, 2, &p, &o, &l));
    assert_ok(adze_loader_next(l, tx, tl, &n));
    int64_t from_other = 0;
    for (int y = 0; y < SIDES + 2; y++) {
        for (int c = 0; c < SIDES + 2; c++) {
            const bool border = y == 0 || c == 0 || y == SIDES + 1 || c == SIDES + 1;
            assert_true(border ? x[0][y][c][1] == 0 : x[0][y][c][1] == 35 || x[0][y][c][1] == 45);
            from_other += x[0][y][c][1] == 45;
        }
    }
    assert_true(from_other > 0 && from_other < SIDES * SIDES);
    adze_loader_free(l);
    adze_tensor_free(&tx);
    adze_tensor_free(&tl);
    adze_dataset_close(d);
}

/* -- training ---------------------------------------------------------------------------------------------------------------------------------- */

static void training_on_mixtures_is_the_same_for_any_workers_and_without_mixing_the_plain_one(void **state) {
    (void)state;
    bench a = {0}, b = {0};
    setting s = usual(full_net);
    strcpy(s.o.augment, "hflip,mixup:alpha=1,cutmix");
    s.o.workers = 0;
    train(&a, &s, false);
    const double mixed_loss = a.losses[a.nlosses - 1];
    bench_close(&a);
    s.o.workers = 3;
    train(&b, &s, false);
    bench_close(&b);
    same_hash(&a, &b, "the number of workers");
    strcpy(s.o.augment, "hflip,mixup:p=0");
    train(&a, &s, false);
    const double other_loss = a.losses[a.nlosses - 1];
    bench_close(&a);
    strcpy(s.o.augment, "");
    s.o.hflip = true;
    train(&b, &s, false);
    const double plain_loss = b.losses[b.nlosses - 1];
    bench_close(&b);
    assert_true(fabs(other_loss - plain_loss) < 1e-3 * plain_loss);
    assert_true(fabs(mixed_loss - plain_loss) > 1e-2 * plain_loss);
}

/* -- the text ---------------------------------------------------------------------------------------------------------------------------------- */

static void malformed_texts_are_refused_with_the_place_and_a_suggestion(void **state) {
    (void)state;
    static const struct {
        const char *text, *place, *says;
    } table[] = {
        {"hflp", "character 1:", "did you mean 'hflip'"},
        {"hflip,crpo:pad=4", "character 7:", "did you mean 'crop'"},
        {"hflip, elastci", "character 8:", "did you mean 'elastic'"},
        {"quux", "character 1:", "adze list augmentations"},
        {"crop:pda=4", "character 6:", "did you mean 'pad'"},
        {"crop:pad", "character 6:", "write pad=4"},
        {"crop:pad=", "character 10:", "missing"},
        {"crop:pad=x", "character 10: pad", "not a whole number"},
        {"crop:pad=-1", "character 10: pad", "0 to 1024"},
        {"crop:pad=4:pad=5", "character 12:", "twice"},
        {"crop:border=mirrored", "character 13: border", "zero, reflect, edge"},
        {"crop:border=relfect", "character 13: border", "did you mean 'reflect'"},
        {"crop=4", "character 1:", "after a colon"},
        {"hflip,", "character 7:", "missing"},
        {",hflip", "character 1:", "missing"},
        {"hflip,,vflip", "character 7:", "missing"},
        {"noise:sigma=nan", "character 13: sigma", "out of range"},
        {"erase:area_min=0.5:area_max=0.2", "character 1:", "area_min is larger"},
        {"affine:zoom_min=2", "character 1:", "zoom_min is larger"},
        {"jitter:brightness=0.2;contrast=0.2", "character 19:", "not a number"},
        {"hflip,hflip,hflip,hflip,hflip,hflip,hflip,hflip,hflip,hflip,hflip,hflip,hflip,hflip,hflip,hflip,hflip", "--augment", "more than 16"},
    };
    for (size_t i = 0; i < ADZE_COUNT(table); i++) {
        assert_int_equal(adze_augmentation_check(ctx, table[i].text, "--augment"), ADZE_EARG);
        const char *said = adze_errmsg(ctx);
        if (strncmp(said, "--augment", 9) != 0 || strstr(said, table[i].place) == NULL || strstr(said, table[i].says) == NULL) {
            fail_msg("'%s' said: %s", table[i].text, said);
        }
    }
    assert_ok(adze_augmentation_check(ctx, " hflip , crop : pad = 4 : border = edge ", "--augment"));
}

static void every_row_of_the_table_has_defaults_that_its_text_takes(void **state) {
    (void)state;
    adze_augmentation row;
    for (int i = 0; adze_augmentation_at(i, &row) == ADZE_OK; i++) {
        char text[512];
        size_t n = (size_t)snprintf(text, sizeof text, "%s", row.name);
        assert_true(row.doc[0] != 0 && row.paper[0] != 0);
        for (const adze_field *f = row.fields; f->name != NULL; f++) {
            n += (size_t)snprintf(text + n, sizeof text - n, ":%s=%s", f->name, f->def);
        }
        adze_augment full = parse(text), bare = parse(row.name);
        assert_true(adze_fields_equal(row.fields, &full.entry[0].v, &bare.entry[0].v));
    }
}

static void what_does_not_fit_the_examples_is_refused_or_warned_of(void **state) {
    (void)state;
    adze_dataset *d = shots_set(false), *grey;
    assert_ok(adze_dataset_from_memory(ctx, picture_type(SIDES, SIDES, 1), shots, kinds_of, COUNT, COUNT, &grey));
    adze_augment a = parse("hue");
    assert_int_equal(adze_augment_fit(ctx, &a, grey, NULL, COUNT, 1), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(ctx), "red, green and blue"));
    assert_ok(adze_augment_fit(ctx, &a, d, NULL, COUNT, 1));
    a = parse("jitter");
    assert_ok(adze_augment_fit(ctx, &a, grey, NULL, COUNT, 1));
    a = parse("vflip");
    assert_ok(adze_augment_fit(ctx, &a, grey, NULL, COUNT, 1));
    assert_string_equal(notes, "");
    strcpy(grey->name, "mnist");
    assert_ok(adze_augment_fit(ctx, &a, grey, NULL, COUNT, 1));
    assert_non_null(strstr(notes, "vflip"));
    assert_non_null(strstr(notes, "mnist"));
    adze_dataset_close(grey);
    adze_dataset_close(d);
}

static void an_entry_draws_the_same_whatever_stands_beside_it(void **state) {
    (void)state;
    float in[16], a_out[16], b_out[16];
    fill_random(in, 16, 255);
    adze_augment a = parse("crop:pad=3"), b = parse("hflip:p=0,brightness:amount=0,crop:pad=3");
    for (int64_t id = 0; id < 20; id++) {
        change(&a, picture_type(4, 4, 1), 255, id, in, a_out);
        change(&b, picture_type(4, 4, 1), 255, id, in, b_out);
        assert_memory_equal(a_out, b_out, sizeof a_out);
    }
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(flips_mirror_and_twice_they_give_the_picture_back),
        T(crop_offsets_are_uniform),
        T(crops_see_beyond_the_edge_what_the_border_says),
        T(parameters_at_nothing_leave_every_bit),
        T(warps_followed_by_their_inverse_return_the_picture),
        T(brightness_stays_within_its_bounds_and_reaches_them),
        T(colours_change_as_their_names_say),
        T(noise_has_its_deviation),
        T(boxes_have_the_areas_asked_for),
        T(colour_noise_has_the_covariance_of_the_formula),
        T(levels_are_those_of_a_plain_reference),
        T(every_operation_of_randaugment_is_a_plain_reference),
        T(randaugment_draws_evenly_and_at_strength_zero_nothing_moves),
        T(pictures_depend_on_neither_workers_nor_where_one_begins),
        T(mixed_examples_carry_the_labels_and_shares_of_their_pixels),
        T(float64_batches_are_mixed_alike),
        T(training_on_mixtures_is_the_same_for_any_workers_and_without_mixing_the_plain_one),
        T(malformed_texts_are_refused_with_the_place_and_a_suggestion),
        T(every_row_of_the_table_has_defaults_that_its_text_takes),
        T(what_does_not_fit_the_examples_is_refused_or_warned_of),
        T(an_entry_draws_the_same_whatever_stands_beside_it),
    };
    make_data();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
