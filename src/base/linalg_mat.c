/* Views of matrices: what is wrong with one, copies, norms, products, triangular systems, reflections. */
#include "base/linalg_loops.h"

#include "base/ctx.h"

/* -- checks -- */

int la_check_out(adze_ctx *ctx, const char *name, adze_la_mat a) {
    int64_t count;
    if (a.rows < 0 || a.cols < 0 || a.ld < a.cols) {
        return adze_fail(ctx, ADZE_ESHAPE, "%s: %lld rows of %lld columns, %lld apart, is no matrix", name, (long long)a.rows, (long long)a.cols,
                         (long long)a.ld);
    }
    if (!adze_mul_size(a.rows, a.ld, &count) || count > INT64_MAX / (int64_t)sizeof *a.at) {
        return adze_fail(ctx, ADZE_ESHAPE, "%s: %lld rows, %lld apart, are more than can be addressed", name, (long long)a.rows, (long long)a.ld);
    }
    if (!a.at && a.rows && a.cols) {
        return adze_fail(ctx, ADZE_EARG, "%s: no elements are given", name);
    }
    return ADZE_OK;
}

int la_check(adze_ctx *ctx, const char *name, adze_la_mat a) {
    TRY(la_check_out(ctx, name, a));
    for (int64_t i = 0; i < a.rows; i++) {
        for (int64_t j = 0; j < a.cols; j++) {
            if (!isfinite(la_row(a, i)[j])) {
                return adze_fail(ctx, ADZE_EARG, "%s: the element in row %lld, column %lld is %g", name, (long long)i, (long long)j, la_row(a, i)[j]);
            }
        }
    }
    return ADZE_OK;
}

int la_check_square(adze_ctx *ctx, const char *name, adze_la_mat a) {
    TRY(la_check(ctx, name, a));
    if (a.rows != a.cols) {
        return adze_fail(ctx, ADZE_ESHAPE, "%s: (%lld, %lld) is not square", name, (long long)a.rows, (long long)a.cols);
    }
    return ADZE_OK;
}

int la_check_shape(adze_ctx *ctx, const char *name, adze_la_mat a, int64_t rows, int64_t cols) {
    TRY(la_check_out(ctx, name, a));
    if (a.rows != rows || a.cols != cols) {
        return adze_fail(ctx, ADZE_ESHAPE, "%s: (%lld, %lld) should be (%lld, %lld)", name, (long long)a.rows, (long long)a.cols, (long long)rows,
                         (long long)cols);
    }
    return ADZE_OK;
}

int la_check_vector(adze_ctx *ctx, const char *name, const double *x, int64_t n) {
    if (!x && n > 0) {
        return adze_fail(ctx, ADZE_EARG, "%s: no elements are given", name);
    }
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            return adze_fail(ctx, ADZE_EARG, "%s: element %lld is %g", name, (long long)i, x[i]);
        }
    }
    return ADZE_OK;
}

/* -- views -- */

adze_la_mat adze_la_dense(double *at, int64_t rows, int64_t cols) {
    return (adze_la_mat){at, rows, cols, cols};
}

int la_new(adze_ctx *ctx, int64_t rows, int64_t cols, adze_la_mat *out) {
    int64_t count;
    if (!adze_mul_size(rows, cols, &count)) {
        return adze_fail(ctx, ADZE_ENOMEM, "out of memory: a matrix (%lld, %lld) is more than can be addressed", (long long)rows, (long long)cols);
    }
    *out = adze_la_dense(adze_alloc(ctx, count, sizeof(double)), rows, cols);
    return ADZE_GOT(out->at);
}

void la_copy(adze_la_mat from, adze_la_mat to, bool transposed) {
    for (int64_t i = 0; i < to.rows; i++) {
        for (int64_t j = 0; j < to.cols; j++) {
            la_row(to, i)[j] = transposed ? la_row(from, j)[i] : la_row(from, i)[j];
        }
    }
}

void la_identity(adze_la_mat a) {
    for (int64_t i = 0; i < a.rows; i++) {
        for (int64_t j = 0; j < a.cols; j++) {
            la_row(a, i)[j] = i == j;
        }
    }
}

void la_mirror(adze_la_mat a) {
    for (int64_t i = 0; i < a.rows; i++) {
        for (int64_t j = 0; j < i; j++) {
            la_row(a, i)[j] = la_row(a, j)[i];
        }
    }
}

adze_la_mat la_part(adze_la_mat a, int64_t row, int64_t column) {
    return (adze_la_mat){a.at + row * a.ld + column, a.rows - row, a.cols - column, a.ld};
}

double la_largest(adze_la_mat a) {
    double largest = 0;
    for (int64_t i = 0; i < a.rows; i++) {
        for (int64_t j = 0; j < a.cols; j++) {
            largest = fmax(largest, fabs(la_row(a, i)[j]));
        }
    }
    return largest;
}

double la_to_unit(double largest) {
    int exponent = 0;
    frexp(largest, &exponent);
    return largest > 0 ? ldexp(1, exponent < -1022 ? 1022 : -exponent) : 1;
}

void la_scale(adze_la_mat a, double factor) {
    for (int64_t i = 0; i < a.rows && factor != 1; i++) {
        for (int64_t j = 0; j < a.cols; j++) {
            la_row(a, i)[j] *= factor;
        }
    }
}

double la_norm(const double *x, int64_t n, int64_t stride) {
    double largest = la_largest((adze_la_mat){(double *)(uintptr_t)x, n, 1, stride}), sum = 0;
    double to_unit = la_to_unit(largest);
    for (int64_t i = 0; i < n; i++) {
        double v = x[i * stride] * to_unit;
        sum += v * v;
    }
    return sqrt(sum) / to_unit;
}

/* -- threads -- */

typedef struct shared_run {
    la_task fn;
    void *arg;
    int64_t count, unit;
} shared_run;

static void run_share(void *arg, int ith, int nth) {
    const shared_run *s = arg;
    la_range r;
    adze_share(s->count, s->unit, ith, nth, &r.from, &r.to);
    if (r.from < r.to) {
        s->fn(s->arg, r);
    }
}

void la_run(adze_ctx *ctx, la_task fn, void *arg, int64_t count, int64_t unit, double work) {
    enum { WORTH = 30000 }; /* operations that last about as long as a thread takes to begin */
    shared_run s = {fn, arg, count, unit};
    adze_pool_run(ctx, run_share, &s, work > WORTH ? adze_ctx_threads(ctx) : 1);
}

const la_loops *la_loops_for(const adze_ctx *ctx) {
#if defined(__x86_64__)
    return ctx->isa >= ADZE_ISA_V4 ? &la_loops_v4 : ctx->isa >= ADZE_ISA_V3 ? &la_loops_v3 : &la_loops_v1;
#else
    (void)ctx;
    return &la_loops_v1;
#endif
}

/* -- products: b is packed in strips of 8 columns, so that a tile's sums stay in registers -- */

int adze_la_matmul(adze_ctx *ctx, adze_la_mat a, bool a_transposed, adze_la_mat b, bool b_transposed, adze_la_mat c) {
    TRY(la_check(ctx, "a", a));
    TRY(la_check(ctx, "b", b));
    const int64_t m = a_transposed ? a.cols : a.rows, depth = a_transposed ? a.rows : a.cols, n = b_transposed ? b.rows : b.cols;
    if ((b_transposed ? b.cols : b.rows) != depth) {
        return adze_fail(ctx, ADZE_ESHAPE, "a product: a has depth %lld, b %lld", (long long)depth, (long long)(b_transposed ? b.cols : b.rows));
    }
    TRY(la_check_shape(ctx, "c", c, m, n));
    adze_la_mat packed = {0}, plain = {0};
    TRY(la_new(ctx, (n + LA_PACKED - 1) / LA_PACKED, depth * LA_PACKED, &packed));
    if (a_transposed && la_new(ctx, m, depth, &plain) != ADZE_OK) {
        adze_free(ctx, packed.at);
        return ADZE_ENOMEM;
    }
    for (int64_t j = 0; j < n; j++) {
        for (int64_t k = 0; k < depth; k++) {
            la_row(packed, j / LA_PACKED)[k * LA_PACKED + j % LA_PACKED] = b_transposed ? la_row(b, j)[k] : la_row(b, k)[j];
        }
    }
    if (a_transposed) {
        la_copy(a, plain, true);
    }
    la_product p = {a_transposed ? plain : a, c, packed.at, depth};
    la_run(ctx, la_loops_for(ctx)->product_rows, &p, m, LA_PACKED, (double)m * (double)n * (double)depth);
    adze_free(ctx, plain.at);
    adze_free(ctx, packed.at);
    return ADZE_OK;
}

/* -- triangular systems: row by row, in strips of the right sides that stay in cache -- */

typedef struct triangle {
    la_triangle kind;
    adze_la_mat t, b;
} triangle;

static void triangle_strip(const triangle *s, double *b, int64_t width) {
    const int64_t n = s->t.rows, ld = s->b.ld;
    for (int64_t step = 0; step < n; step++) {
        const bool down = s->kind == LA_LOWER || s->kind == LA_LOWER_UNIT;
        const int64_t i = down ? step : n - 1 - step;
        const double *t = la_row(s->t, i);
        const bool before = s->kind != LA_UPPER; /* which side of the diagonal the row's elements stand on */
        if (s->kind == LA_LOWER || s->kind == LA_LOWER_UNIT || s->kind == LA_UPPER) {
            for (int64_t k = before ? 0 : i + 1; k < (before ? i : n); k++) {
                la_axpy(b + i * ld, -t[k], b + k * ld, width);
            }
        }
        for (int64_t j = 0; j < width && s->kind != LA_LOWER_UNIT; j++) {
            b[i * ld + j] /= t[i];
        }
        for (int64_t k = 0; k < i && s->kind == LA_LOWER_TRANSPOSED; k++) {
            la_axpy(b + k * ld, -t[k], b + i * ld, width);
        }
    }
}

static void triangle_strips(void *arg, la_range r) {
    const triangle *s = arg;
    for (int64_t j = r.from; j < r.to; j += LA_STRIP) {
        triangle_strip(s, s->b.at + j, la_min(LA_STRIP, r.to - j));
    }
}

void la_solve_triangle(adze_ctx *ctx, la_triangle kind, adze_la_mat t, adze_la_mat b) {
    triangle s = {kind, t, b};
    la_run(ctx, triangle_strips, &s, b.cols, LA_STRIP, (double)t.rows * (double)t.rows * (double)b.cols);
}

/* -- reflections: GVL 5.1 -- */

double la_reflector(double *x, int64_t n, int64_t stride, double *beta) {
    double rest = la_norm(x + stride, n - 1, stride), first = x[0];
    *beta = first;
    x[0] = 1;
    if (rest == 0) {
        return 0;
    }
    *beta = -copysign(hypot(first, rest), first); /* of the other sign: no cancellation in first - beta */
    for (int64_t i = 1; i < n; i++) {
        x[i * stride] /= first - *beta;
    }
    return (*beta - first) / *beta;
}

void la_reflect(adze_ctx *ctx, const la_reflectors *r, bool last_first, adze_la_mat c) {
    la_reflection f = {r, last_first, c};
    la_run(ctx, la_loops_for(ctx)->reflect_strips, &f, c.cols, LA_STRIP, 2.0 * (double)r->v.rows * (double)c.rows * (double)c.cols);
}
