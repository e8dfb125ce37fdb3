/* Fourier transforms of any length: small factors by Stockham's passes, everything else by a convolution with a chirp. */
#include "base/linalg.h"

typedef struct cplx {
    double re, im;
} cplx;

enum { RADIX_MOST = 13, FACTORS_MOST = 64 };

typedef struct fft_plan {
    int64_t n;
    int radices[FACTORS_MOST], count; /* count 0 and n > 1: by chirp */
    cplx *roots;                      /* (n): exp(-2 pi i k / n) */
    struct fft_plan *longer;          /* chirp: of a power of two >= 2 n - 1 */
    cplx *chirp, *kernel;             /* (n): exp(-pi i k^2 / n); (longer): transform of its conjugate, divided by the length */
} fft_plan;

static cplx times(cplx a, cplx b) {
    return (cplx){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

/* exp(-2 pi i k / n), 0 <= k < n, from an angle of at most pi / 4: symmetric to the bit. */
static cplx root(int64_t k, int64_t n) {
    const double pi = 3.14159265358979323846;
    const int64_t quarter = (int64_t)(((__int128)8 * k / n + 1) / 2 % 4); /* the nearest multiple of a quarter turn */
    const double rest = (double)((__int128)4 * k - (__int128)((8 * (__int128)k / n + 1) / 2) * n) / (double)n * (pi / 2);
    const double c = cos(rest), s = sin(rest);
    switch (quarter) {
    case 0:
        return (cplx){c, -s};
    case 1:
        return (cplx){-s, -c};
    case 2:
        return (cplx){-c, s};
    default:
        return (cplx){s, c};
    }
}

/* -- plans -- */

static void plan_free(adze_ctx *ctx, fft_plan *p) {
    if (p) {
        plan_free(ctx, p->longer);
        adze_free(ctx, p->roots);
        adze_free(ctx, p->chirp);
        adze_free(ctx, p->kernel);
        adze_free(ctx, p);
    }
}

static void fft_row(const fft_plan *p, cplx *z, cplx *room);

static int plan_new(adze_ctx *ctx, int64_t n, fft_plan **out);

static int plan_chirp(adze_ctx *ctx, fft_plan *p) {
    int64_t m = 1;
    while (m < 2 * p->n - 1) {
        m *= 2;
    }
    TRY(plan_new(ctx, m, &p->longer));
    p->chirp = adze_alloc(ctx, p->n, sizeof(cplx));
    p->kernel = adze_alloc(ctx, m, sizeof(cplx));
    cplx *room = adze_alloc(ctx, m, sizeof(cplx));
    for (int64_t k = 0; k < p->n && p->chirp && p->kernel && room; k++) {
        cplx c = p->chirp[k] = root((int64_t)((__int128)k * k % (2 * p->n)), 2 * p->n);
        p->kernel[k] = p->kernel[(m - k) % m] = (cplx){c.re / (double)m, -c.im / (double)m};
    }
    if (p->chirp && p->kernel && room) {
        fft_row(p->longer, p->kernel, room);
    }
    adze_free(ctx, room);
    return ADZE_GOT(p->chirp && p->kernel && room);
}

static int plan_new(adze_ctx *ctx, int64_t n, fft_plan **out) {
    static const int RADICES[] = {4, 2, 3, 5, 7, 11, 13};
    fft_plan *p = *out = adze_alloc(ctx, 1, sizeof *p);
    TRY(ADZE_GOT(p));
    p->n = n;
    int64_t left = n;
    for (size_t i = 0; i < ADZE_COUNT(RADICES); i++) {
        for (; left % RADICES[i] == 0; left /= RADICES[i]) {
            p->radices[p->count++] = RADICES[i];
        }
    }
    if (left > 1) {
        p->count = 0;
        return plan_chirp(ctx, p);
    }
    p->roots = adze_alloc(ctx, n, sizeof(cplx));
    for (int64_t k = 0; k < n && p->roots; k++) {
        p->roots[k] = root(k, n);
    }
    return ADZE_GOT(p->roots);
}

static int64_t plan_room(const fft_plan *p) {
    return p->longer ? 2 * p->longer->n : p->n;
}

/* -- passes -- */

/* a (radix) becomes its transform, by the definition. `roots` holds the roots of unity `apart` elements apart. */
static void small_transform(cplx *a, int radix, const cplx *roots, int64_t apart) {
    cplx out[RADIX_MOST];
    for (int j = 0; j < radix; j++) {
        out[j] = a[0];
        for (int k = 1; k < radix; k++) {
            cplx t = times(a[k], roots[j * k % radix * apart]);
            out[j] = (cplx){out[j].re + t.re, out[j].im + t.im};
        }
    }
    memcpy(a, out, (size_t)radix * sizeof *a);
}

static void transform_2(cplx *a) {
    cplx x = a[0], y = a[1];
    a[0] = (cplx){x.re + y.re, x.im + y.im};
    a[1] = (cplx){x.re - y.re, x.im - y.im};
}

static void transform_4(cplx *a) {
    cplx even[2] = {a[0], a[2]}, odd[2] = {a[1], a[3]};
    transform_2(even);
    transform_2(odd);
    a[0] = (cplx){even[0].re + odd[0].re, even[0].im + odd[0].im};
    a[1] = (cplx){even[1].re + odd[1].im, even[1].im - odd[1].re};
    a[2] = (cplx){even[0].re - odd[0].re, even[0].im - odd[0].im};
    a[3] = (cplx){even[1].re - odd[1].im, even[1].im + odd[1].re};
}

/* x (radix, left, done) to y (left, radix, done): transforms over the first axis, turned on by the place in the second. */
static void pass(const fft_plan *p, int radix, int64_t left, int64_t done, const cplx *x, cplx *y) {
    for (int64_t i = 0; i < left; i++) {
        for (int64_t q = 0; q < done; q++) {
            cplx a[RADIX_MOST];
            for (int k = 0; k < radix; k++) {
                a[k] = x[(k * left + i) * done + q];
            }
            if (radix == 4) {
                transform_4(a);
            } else if (radix == 2) {
                transform_2(a);
            } else {
                small_transform(a, radix, p->roots, p->n / radix);
            }
            for (int j = 0; j < radix; j++) {
                y[(i * radix + j) * done + q] = i && j ? times(a[j], p->roots[i * j * done]) : a[j];
            }
        }
    }
}

static void fft_chirp(const fft_plan *p, cplx *z, cplx *room) {
    const int64_t m = p->longer->n;
    cplx *long_room = room + m;
    memset(room, 0, (size_t)m * sizeof *room);
    for (int64_t k = 0; k < p->n; k++) {
        room[k] = times(z[k], p->chirp[k]);
    }
    fft_row(p->longer, room, long_room);
    for (int64_t k = 0; k < m; k++) { /* conjugated: the forward transform that follows is then the inverse one */
        cplx t = times(room[k], p->kernel[k]);
        room[k] = (cplx){t.re, -t.im};
    }
    fft_row(p->longer, room, long_room);
    for (int64_t k = 0; k < p->n; k++) {
        z[k] = times((cplx){room[k].re, -room[k].im}, p->chirp[k]);
    }
}

static void fft_row(const fft_plan *p, cplx *z, cplx *room) {
    if (p->longer) {
        fft_chirp(p, z, room);
        return;
    }
    cplx *from = z, *to = room;
    for (int64_t i = 0, done = 1, left = p->n; i < p->count; i++) {
        left /= p->radices[i];
        pass(p, p->radices[i], left, done, from, to);
        done *= p->radices[i];
        cplx *held = from;
        from = to;
        to = held;
    }
    if (from != z) {
        memcpy(z, from, (size_t)p->n * sizeof *z);
    }
}

/* -- rows -- */

typedef struct fft_rows {
    const fft_plan *p;
    int64_t count;
    bool inverse;
    cplx *z, *room;
} fft_rows;

static void conjugate(cplx *z, int64_t n, double factor) {
    for (int64_t k = 0; k < n; k++) {
        z[k] = (cplx){z[k].re * factor, -z[k].im * factor};
    }
}

static void rows_part(void *arg, int ith, int nth) {
    const fft_rows *f = arg;
    const int64_t n = f->p->n;
    int64_t from, to;
    adze_share(f->count, 1, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++) {
        if (f->inverse) { /* the conjugate of the transform of the conjugate */
            conjugate(f->z + i * n, n, 1);
        }
        fft_row(f->p, f->z + i * n, f->room + ith * plan_room(f->p));
        if (f->inverse) {
            conjugate(f->z + i * n, n, 1 / (double)n);
        }
    }
}

static int transform_rows(adze_ctx *ctx, int64_t n, int64_t count, bool inverse, cplx *z) {
    if (n == 0 || count == 0) {
        return ADZE_OK;
    }
    fft_plan *p;
    int status = plan_new(ctx, n, &p);
    if (status == ADZE_OK) {
        const int threads = (double)n * (double)count > 4096 ? adze_ctx_threads(ctx) : 1;
        cplx *room = adze_alloc(ctx, threads * plan_room(p), sizeof *room);
        status = ADZE_GOT(room);
        if (room) {
            adze_pool_run(ctx, rows_part, &(fft_rows){p, count, inverse, z, room}, threads);
            adze_free(ctx, room);
        }
    }
    plan_free(ctx, p);
    return status;
}

/* Rows of `each` doubles; a transform of n must be addressable with the room it needs. */
static int check_rows(adze_ctx *ctx, const char *name, int64_t n, int64_t count, int64_t each, const double *x) {
    int64_t total;
    if (n < 0 || count < 0 || n > INT64_MAX / 1024 || !adze_mul_size(count, each, &total) || total > INT64_MAX / 64) {
        return adze_fail(ctx, ADZE_ESHAPE, "a Fourier transform of %lld rows of %lld", (long long)count, (long long)n);
    }
    return x ? la_check(ctx, name, adze_la_dense((double *)(uintptr_t)x, count, each)) : ADZE_OK;
}

int adze_la_fft(adze_ctx *ctx, int64_t n, int64_t count, bool inverse, double *z) {
    TRY(check_rows(ctx, "z", n, count, 2 * n, z));
    return transform_rows(ctx, n, count, inverse, (cplx *)z);
}

static void transpose(const cplx *from, cplx *to, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++) {
            to[j * rows + i] = from[i * cols + j];
        }
    }
}

int adze_la_fft2(adze_ctx *ctx, int64_t rows, int64_t cols, bool inverse, double *z) {
    TRY(check_rows(ctx, "z", cols, rows, 2 * cols, z));
    cplx *turned = adze_alloc(ctx, rows * cols, sizeof *turned);
    TRY(ADZE_GOT(turned));
    int status = transform_rows(ctx, cols, rows, inverse, (cplx *)z);
    if (status == ADZE_OK) {
        transpose((cplx *)z, turned, rows, cols);
        status = transform_rows(ctx, rows, cols, inverse, turned);
        transpose(turned, (cplx *)z, cols, rows);
    }
    adze_free(ctx, turned);
    return status;
}

/* -- real numbers: n of them are transformed as n/2 complex ones when n is even -- */

/* Z_k of the even places plus i times the odd ones, to X_k of both, k = 0 .. h; or back. */
static void untangle(const cplx *z, cplx *x, int64_t h) {
    for (int64_t k = 0; k <= h; k++) {
        const cplx a = z[k % h], b = z[(h - k) % h];
        const cplx even = {(a.re + b.re) / 2, (a.im - b.im) / 2}, odd = {(a.im + b.im) / 2, (b.re - a.re) / 2};
        const cplx turned = times(odd, root(k, 2 * h));
        x[k] = (cplx){even.re + turned.re, even.im + turned.im};
    }
    x[0].im = x[h].im = 0;
}

static void tangle(const cplx *x, cplx *z, int64_t h) {
    for (int64_t k = 0; k < h; k++) {
        const cplx a = {x[k].re, k ? x[k].im : 0}, b = {x[h - k].re, k ? x[h - k].im : 0}, w = root(k, 2 * h);
        const cplx even = {(a.re + b.re) / 2, (a.im - b.im) / 2};
        const cplx odd = times((cplx){(a.re - b.re) / 2, (a.im + b.im) / 2}, (cplx){w.re, -w.im});
        z[k] = (cplx){even.re - odd.im, even.im + odd.re};
    }
}

int adze_la_fft_real(adze_ctx *ctx, int64_t n, int64_t count, const double *x, double *z) {
    TRY(check_rows(ctx, "x", n, count, n, x));
    const int64_t width = n % 2 ? n : n / 2, kept = n / 2 + 1;
    if (n == 0 || count == 0) {
        return ADZE_OK;
    }
    cplx *room = adze_alloc(ctx, count * width, sizeof *room);
    TRY(ADZE_GOT(room));
    for (int64_t i = 0; i < count * n && n % 2; i++) {
        room[i].re = x[i];
    }
    if (n % 2 == 0) {
        memcpy(room, x, (size_t)(count * n) * sizeof *x);
    }
    int status = transform_rows(ctx, width, count, false, room);
    for (int64_t i = 0; i < count && status == ADZE_OK; i++) {
        cplx *row = (cplx *)z + i * kept;
        if (n % 2) {
            memcpy(row, room + i * width, (size_t)kept * sizeof *row);
            row[0].im = 0;
        } else {
            untangle(room + i * width, row, width);
        }
    }
    adze_free(ctx, room);
    return status;
}

int adze_la_fft_real_inverse(adze_ctx *ctx, int64_t n, int64_t count, const double *z, double *x) {
    const int64_t width = n % 2 ? n : n / 2, kept = n / 2 + 1;
    TRY(check_rows(ctx, "z", n, count, n ? 2 * kept : 0, z));
    if (n == 0 || count == 0) {
        return ADZE_OK;
    }
    cplx *room = adze_alloc(ctx, count * width, sizeof *room);
    TRY(ADZE_GOT(room));
    for (int64_t i = 0; i < count; i++) {
        const cplx *row = (const cplx *)z + i * kept;
        if (n % 2 == 0) {
            tangle(row, room + i * width, width);
            continue;
        }
        room[i * width].re = row[0].re;
        for (int64_t k = 1; k < kept; k++) {
            room[i * width + k] = row[k];
            room[i * width + n - k] = (cplx){row[k].re, -row[k].im};
        }
    }
    int status = transform_rows(ctx, width, count, true, room);
    for (int64_t i = 0; i < count * n && status == ADZE_OK; i++) {
        x[i] = n % 2 ? room[i].re : i % 2 ? room[i / 2].im : room[i / 2].re;
    }
    adze_free(ctx, room);
    return status;
}
