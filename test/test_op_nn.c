/* Values of products, convolutions, pools, softmax, normalisation and dropout: by hand, or by loops written another way; in f64 and f32, on both
 * devices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "adze/op.h"
#include "adze/ops.h"
#include "op/conv_geom.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096 };

typedef struct fixture {
    adze_ctx *ctx;
    adze_graph *g;
    adze_dtype d;       /* of values */
    const char *device; /* "ref", "cpu" */
    double tol;
    adze_rng rng;
} fixture;

#define LIST(...)                                                                                                                                    \
    {                                                                                                                                                \
        sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), {                                                                                        \
            __VA_ARGS__                                                                                                                              \
        }                                                                                                                                            \
    }
#define DIMS(...)                                                                                                                                    \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) {                                                                         \
        __VA_ARGS__                                                                                                                                  \
    }

/* A constant of the fixture's dtype. */
static adze_val value(fixture *f, int rank, const int64_t *dims, const double *v) {
    const adze_type t = adze_type_make(f->d, rank, dims);
    const int64_t n = adze_type_count(&t);
    float narrow[MOST];
    assert_true(n <= MOST);
    for (int64_t i = 0; i < n; i++) {
        narrow[i] = (float)v[i];
    }
    return adze_const(f->g, t, f->d == ADZE_F64 ? (const void *)v : narrow);
}

static adze_val labels(fixture *f, int rank, const int64_t *dims, const int32_t *v) {
    return adze_const(f->g, adze_type_make(ADZE_I32, rank, dims), v);
}

/* Computes v into out; returns the number of elements. */
static int64_t compute(fixture *f, adze_val v, double *out) {
    adze_tensor t = {0};
    const int status = adze_eval(f->g, v, NULL, 0, NULL, f->device, &t);
    assert_string_equal(adze_errmsg(f->ctx), "");
    assert_int_equal(status, ADZE_OK);
    const adze_type type = adze_tensor_type(&t);
    const int64_t n = adze_type_count(&type);
    assert_true(n <= MOST);
    for (int64_t i = 0; i < n; i++) {
        out[i] = adze_tensor_get(&t, i);
    }
    adze_tensor_free(&t);
    return n;
}

static void near(fixture *f, double got, double want, int64_t i) {
    const bool same = isnan(want) ? isnan(got) : isinf(want) ? got == want : fabs(got - want) <= f->tol * (1 + fabs(want));
    if (!same) {
        fail_msg("element %lld is %.17g, not %.17g (%s on %s)", (long long)i, got, want, adze_dtype_name(f->d), f->device);
    }
}

static void expect(fixture *f, adze_val v, int64_t n, const double *want) {
    double got[MOST];
    assert_int_equal(compute(f, v, got), n);
    for (int64_t i = 0; i < n; i++) {
        near(f, got[i], want[i], i);
    }
}
#define EXPECT(f, v, ...) expect(f, v, (int64_t)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), (double[]){__VA_ARGS__})

static void shape_is(fixture *f, adze_val v, int rank, const int64_t *dims) {
    const adze_type t = adze_val_type(f->g, v);
    assert_int_equal(t.rank, rank);
    for (int i = 0; i < rank; i++) {
        assert_int_equal(t.dims[i], dims[i]);
    }
}

static void fill(fixture *f, double *v, int64_t n) { /* quarters: sums are exact in f32 */
    for (int64_t i = 0; i < n; i++) {
        v[i] = (double)adze_rng_range(&f->rng, -8, 8) / 4;
    }
}

typedef void (*body)(fixture *f);

/* Runs the body for f64 and f32 on the reference, and for f32 on the CPU. */
static void everywhere(body run) {
    static const struct {
        adze_dtype d;
        const char *device;
        double tol;
    } PLACES[] = {{ADZE_F64, "ref", 1e-12}, {ADZE_F32, "ref", 2e-6}, {ADZE_F32, "cpu", 2e-6}};
    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
        fixture f = {.d = PLACES[i].d, .device = PLACES[i].device, .tol = PLACES[i].tol, .rng = adze_rng_make(7, 1)};
        assert_int_equal(adze_ctx_new(NULL, &f.ctx), ADZE_OK);
        assert_int_equal(adze_graph_new(f.ctx, &f.g), ADZE_OK);
        run(&f);
        adze_graph_free(f.g);
        adze_ctx_free(f.ctx);
    }
}

/* -- products -------------------------------------------------------------------------------------------------------------------------------- */

static void run_matmul(fixture *f) {
    const double a[] = {1, 2, 3, 4, 5, 6}, b[] = {1, 0, 2, -1, 3, 1}, bt[] = {1, 2, 3, 0, -1, 1}, at[] = {1, 4, 2, 5, 3, 6};
    const double want[] = {14, 1, 32, 1};
    expect(f, adze_matmul(f->g, value(f, DIMS(2, 3), a), value(f, DIMS(3, 2), b), false, false), 4, want);
    expect(f, adze_matmul(f->g, value(f, DIMS(3, 2), at), value(f, DIMS(3, 2), b), true, false), 4, want);
    expect(f, adze_matmul(f->g, value(f, DIMS(2, 3), a), value(f, DIMS(2, 3), bt), false, true), 4, want);
    expect(f, adze_matmul(f->g, value(f, DIMS(3, 2), at), value(f, DIMS(2, 3), bt), true, true), 4, want);
    /* two examples on one side or both */
    const double a2[] = {1, 2, 3, 4}, w[] = {10, 1}, w2[] = {10, 1, 100, 0};
    EXPECT(f, adze_matmul(f->g, value(f, DIMS(2, 1, 2), a2), value(f, DIMS(2, 1), w), false, false), 12, 34);
    EXPECT(f, adze_matmul(f->g, value(f, DIMS(1, 2), w), value(f, DIMS(2, 2, 1), a2), false, false), 12, 34);
    EXPECT(f, adze_matmul(f->g, value(f, DIMS(2, 1, 2), a2), value(f, DIMS(2, 2, 1), w2), false, false), 12, 300);
    /* nothing to add up gives 0; no rows give nothing */
    EXPECT(f, adze_matmul(f->g, value(f, DIMS(1, 0), a), value(f, DIMS(0, 2), a), false, false), 0, 0);
    expect(f, adze_matmul(f->g, value(f, DIMS(0, 3), a), value(f, DIMS(3, 2), b), false, false), 0, NULL);
}

static void matmul_transposed_and_batched(void **state) {
    (void)state;
    everywhere(run_matmul);
}

/* Weights shared by a batch: their gradient sums over it, for every combination of transposes and on either side. */
static void run_shared_weights(fixture *f) {
    for (int k = 0; k < 8; k++) {
        const bool ta = k & 1, tb = k & 2, left = k & 4; /* left: the left side is the shared one */
        double a[24], b[24], t[24], da[24] = {0}, db[24] = {0};
        fill(f, a, 24), fill(f, b, 24), fill(f, t, 24);
        const int64_t M = 2, N = 3, K = 4;
        for (int64_t e = 0; e < 2; e++) {
            for (int64_t i = 0; i < M * N * K; i++) {
                const int64_t m = i / (N * K), n = i / K % N, q = i % K;
                const int64_t ia = (left ? 0 : e * M * K) + (ta ? q * M + m : m * K + q), ib = (left ? e * K * N : 0) + (tb ? n * K + q : q * N + n);
                const int64_t it = (e * M + m) * N + n;
                da[ia] += t[it] * b[ib];
                db[ib] += t[it] * a[ia];
            }
        }
        const adze_val va = left ? value(f, DIMS(ta ? K : M, ta ? M : K), a) : value(f, DIMS(2, ta ? K : M, ta ? M : K), a);
        const adze_val vb = left ? value(f, DIMS(2, tb ? N : K, tb ? K : N), b) : value(f, DIMS(tb ? N : K, tb ? K : N), b);
        const adze_val y = adze_matmul(f->g, va, vb, ta, tb), seed = value(f, DIMS(2, M, N), t), x[] = {va, vb};
        adze_val g[2];
        assert_int_equal(adze_vjp(f->g, &y, &seed, 1, x, 2, g, 0), ADZE_OK);
        expect(f, g[0], left ? M * K : 2 * M * K, da);
        expect(f, g[1], left ? 2 * K * N : K * N, db);
    }
}

static void matmul_gradient_of_shared_weights(void **state) {
    (void)state;
    everywhere(run_shared_weights);
}

/* -- convolution ------------------------------------------------------------------------------------------------------------------------------ */

typedef struct spec {
    int spatial;
    int64_t n, groups, cg, kg, in[3], size[3], stride[3], dilation[3], lo[3], hi[3];
} spec;

static const spec SPECS[] = {
    {1, 2, 1, 3, 2, {7}, {3}, {1}, {1}, {1}, {1}},
    {1, 1, 1, 2, 5, {11}, {3}, {2}, {2}, {0}, {2}},
    {1, 2, 2, 3, 1, {9}, {2}, {3}, {1}, {2}, {0}},
    {2, 1, 1, 3, 4, {5, 6}, {3, 3}, {1, 1}, {1, 1}, {1, 0}, {0, 2}},
    {2, 2, 1, 1, 3, {6, 5}, {2, 3}, {2, 1}, {1, 2}, {0, 1}, {1, 1}},
    {2, 1, 5, 1, 1, {4, 7}, {3, 3}, {1, 2}, {1, 1}, {1, 1}, {1, 1}}, /* depthwise */
    {2, 1, 3, 1, 2, {4, 4}, {2, 2}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}, /* depthwise with a multiplier */
    {2, 2, 1, 4, 3, {5, 5}, {1, 1}, {3, 2}, {1, 1}, {0, 0}, {0, 0}}, /* pointwise, strided */
    {2, 1, 1, 1, 1, {1, 1}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, /* mostly padding */
    {3, 1, 2, 2, 1, {3, 4, 3}, {2, 2, 3}, {1, 2, 1}, {1, 1, 1}, {0, 1, 1}, {1, 0, 1}},
    {2, 0, 1, 2, 2, {4, 4}, {3, 3}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}, /* empty batch */
};

/* Scatters every product x w to its output, one flat loop over (example, input position, tap, channel, output channel). */
static void scatter_conv(const spec *s, const int64_t *out, const double *x, const double *w, const double *dy, double *y, double *dx, double *dw) {
    int64_t positions = 1, taps = 1, outs = 1;
    for (int i = 0; i < s->spatial; i++) {
        positions *= s->in[i], taps *= s->size[i], outs *= out[i];
    }
    const int64_t C = s->cg * s->groups, K = s->kg * s->groups, total = s->n * positions * taps * C * s->kg;
    for (int64_t flat = 0; flat < total; flat++) {
        int64_t r = flat, k = r % s->kg;
        r /= s->kg;
        const int64_t c = r % C, tap = r / C % taps, pos = r / C / taps % positions, n = r / C / taps / positions;
        int64_t at = 0, scale = 1, t = tap, p = pos;
        bool hit = true;
        for (int i = s->spatial - 1; i >= 0; i--) {
            const int64_t q = p % s->in[i] + s->lo[i] - t % s->size[i] * s->dilation[i];
            hit = hit && q >= 0 && q % s->stride[i] == 0 && q / s->stride[i] < out[i];
            at += hit ? q / s->stride[i] * scale : 0;
            scale *= out[i], p /= s->in[i], t /= s->size[i];
        }
        k += c / s->cg * s->kg;
        const int64_t ix = (n * positions + pos) * C + c, iw = (tap * s->cg + c % s->cg) * K + k, iy = (n * outs + at) * K + k;
        if (hit) {
            y[iy] += x[ix] * w[iw];
            dx[ix] += dy[iy] * w[iw];
            dw[iw] += dy[iy] * x[ix];
        }
    }
}

static void run_conv(fixture *f) {
    for (size_t i = 0; i < sizeof SPECS / sizeof SPECS[0]; i++) {
        const spec *s = &SPECS[i];
        const int r = s->spatial;
        adze_conv_attrs a = {.stride.n = r, .dilation.n = r, .pad_lo.n = r, .pad_hi.n = r, .groups = s->groups};
        int64_t xd[5] = {s->n}, wd[5] = {0}, yd[5] = {s->n}, nx = s->n * s->cg * s->groups, nw = s->cg * s->kg * s->groups,
                ny = s->n * s->kg * s->groups;
        xd[r + 1] = s->cg * s->groups, wd[r] = s->cg, wd[r + 1] = yd[r + 1] = s->kg * s->groups;
        for (int k = 0; k < r; k++) {
            a.stride.v[k] = s->stride[k], a.dilation.v[k] = s->dilation[k], a.pad_lo.v[k] = s->lo[k], a.pad_hi.v[k] = s->hi[k];
            xd[k + 1] = s->in[k], wd[k] = s->size[k];
            yd[k + 1] = (s->in[k] + s->lo[k] + s->hi[k] - s->dilation[k] * (s->size[k] - 1) - 1) / s->stride[k] + 1;
            nx *= xd[k + 1], nw *= wd[k], ny *= yd[k + 1];
        }
        double x[MOST], w[MOST], dy[MOST], y[MOST] = {0}, dx[MOST] = {0}, dw[MOST] = {0};
        fill(f, x, nx), fill(f, w, nw), fill(f, dy, ny);
        scatter_conv(s, yd + 1, x, w, dy, y, dx, dw);
        const adze_val vx = value(f, r + 2, xd, x), vw = value(f, r + 2, wd, w), vdy = value(f, r + 2, yd, dy);
        const adze_val vy = adze_conv(f->g, vx, vw, &a), in[] = {vx, vw};
        shape_is(f, vy, r + 2, yd);
        expect(f, vy, ny, y);
        adze_val grads[2];
        assert_int_equal(adze_vjp(f->g, &vy, &vdy, 1, in, 2, grads, 0), ADZE_OK);
        expect(f, grads[0], nx, dx);
        expect(f, grads[1], nw, dw);
    }
}

static void conv_and_its_gradients_equal_a_scatter(void **state) {
    (void)state;
    everywhere(run_conv);
}

/* Stride 2 loses the last position: both sizes are legal, and the longer one ends in 0. */
static void run_transposed(fixture *f) {
    const double dy[] = {1, 2, 3}, w[] = {10, 1};
    const adze_val vdy = value(f, DIMS(1, 3, 1), dy), vw = value(f, DIMS(2, 1, 1), w);
    EXPECT(f, adze_conv_dx(f->g, vdy, vw, &(adze_conv_attrs){.stride = LIST(2), .size = LIST(6)}), 10, 1, 20, 2, 30, 3);
    EXPECT(f, adze_conv_dx(f->g, vdy, vw, &(adze_conv_attrs){.stride = LIST(2), .size = LIST(7)}), 10, 1, 20, 2, 30, 3, 0);
    EXPECT(f, adze_conv_dx(f->g, vdy, vw, &(adze_conv_attrs){.size = LIST(4)}), 10, 21, 32, 3);
    EXPECT(f, adze_conv_dx(f->g, vdy, vw, &(adze_conv_attrs){.size = LIST(2), .pad_lo = LIST(1), .pad_hi = LIST(1)}), 21, 32);
    /* an input of no positions: its windows see padding only, its gradient has no elements */
    const adze_conv_attrs a = {.pad_lo = LIST(1), .pad_hi = LIST(2), .size = LIST(0)};
    const adze_val one = value(f, DIMS(1, 1, 1), w);
    EXPECT(f, adze_conv(f->g, value(f, DIMS(1, 0, 1), dy), one, &a), 0, 0, 0);
    expect(f, adze_conv_dx(f->g, vdy, one, &a), 0, NULL);
}

static void transposed_conv_sizes(void **state) {
    (void)state;
    everywhere(run_transposed);
}

static void geometry_counts_taps(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(1, 2);
    for (int k = 0; k < 2000; k++) {
        adze_window w = {.size = adze_rng_range(&r, 1, 4), .stride = adze_rng_range(&r, 1, 4), .dilation = adze_rng_range(&r, 1, 4)};
        w.lo = adze_rng_range(&r, 0, 9), w.hi = adze_rng_range(&r, 0, 9);
        w.in = (w.size - 1) * w.dilation + 1 + adze_rng_range(&r, 0, 12);
        w.out = adze_conv_out(&w);
        for (int64_t t = 0; t < w.size; t++) {
            int64_t from, to, inside = 0;
            adze_window_outputs(&w, t, &from, &to);
            for (int64_t o = 0; o < w.out; o++) {
                const int64_t p = o * w.stride + t * w.dilation - w.lo;
                const bool in = p >= 0 && p < w.in;
                inside += in;
                assert_int_equal(in, o >= from && o < to);
            }
            assert_int_equal(to - from, inside);
        }
    }
}

static void costs_are_true(void **state) {
    (void)state;
    const adze_type x = adze_type_make(ADZE_F32, 3, (int64_t[]){2, 3, 1}), w = adze_type_make(ADZE_F32, 3, (int64_t[]){3, 1, 4});
    const adze_conv_attrs a = {.pad_lo = LIST(1), .pad_hi = LIST(1), .groups = 1};
    adze_type y = adze_type_make(ADZE_F32, 3, (int64_t[]){2, 3, 4});
    adze_sig s = {.op = adze_op_find("conv"), .attrs = &a, .nin = 2, .nout = 1, .in = (adze_type[]){x, w}, .out = &y};
    adze_cost c = s.op->cost(&s);
    assert_true(c.flops == 2.0 * 2 * 4 * 7); /* 7 of the 9 taps of an example lie inside */
    assert_true(c.read == (6 + 12) * 4.0 && c.written == 24 * 4.0);
    const adze_matmul_attrs t = {.ta = true};
    adze_type out = adze_type_make(ADZE_F64, 3, (int64_t[]){5, 3, 7});
    s = (adze_sig){.op = adze_op_find("matmul"), .attrs = &t, .nin = 2, .nout = 1, .out = &out};
    s.in = (adze_type[]){adze_type_make(ADZE_F64, 3, (int64_t[]){5, 2, 3}), adze_type_make(ADZE_F64, 2, (int64_t[]){2, 7})};
    c = s.op->cost(&s);
    assert_true(c.flops == 2.0 * 5 * 3 * 7 * 2 && c.read == (30 + 14) * 8.0 && c.written == 105 * 8.0);
}

/* -- pools --------------------------------------------------------------------------------------------------------------------------------------- */

static void run_maxpool(fixture *f) {
    adze_val index;
    const double ties[] = {3, 3, 1, 3}, nans[] = {1, NAN, NAN, 2}, low[] = {-INFINITY, -INFINITY, -INFINITY, 0};
    const adze_pool_attrs two = {.size = LIST(2), .stride = LIST(1)};
    EXPECT(f, adze_maxpool(f->g, value(f, DIMS(1, 4, 1), ties), &two, &index), 3, 3, 3);
    EXPECT(f, index, 0, 1, 3);
    EXPECT(f, adze_maxpool(f->g, value(f, DIMS(1, 4, 1), nans), &two, &index), NAN, NAN, NAN);
    EXPECT(f, index, 1, 1, 2);
    EXPECT(f, adze_maxpool(f->g, value(f, DIMS(1, 4, 1), low), &two, &index), -INFINITY, -INFINITY, 0);
    EXPECT(f, index, 0, 1, 3);
    /* padding never wins, two channels keep apart, the position is flat over both axes */
    const double x[] = {-1, -9, -2, -8, -3, -7, -4, -6, -5, -5, -6, -4};
    const adze_pool_attrs pad = {.size = LIST(2, 2), .pad_lo = LIST(1, 0), .pad_hi = LIST(0, 1)};
    const adze_val v = value(f, DIMS(1, 2, 3, 2), x), y = adze_maxpool(f->g, v, &pad, &index);
    shape_is(f, y, DIMS(1, 1, 2, 2));
    EXPECT(f, y, -1, -8, -3, -7);
    EXPECT(f, index, 0, 1, 2, 2);
    const double dy[] = {10, 20, 30, 40};
    const adze_val seed = value(f, DIMS(1, 1, 2, 2), dy);
    adze_val g;
    assert_int_equal(adze_vjp(f->g, &y, &seed, 1, &v, 1, &g, 0), ADZE_OK);
    EXPECT(f, g, 10, 0, 0, 20, 30, 40, 0, 0, 0, 0, 0, 0);
    adze_val t; /* the tangent takes x's values where the maxima lie */
    assert_int_equal(adze_jvp(f->g, &y, 1, &v, &v, 1, &t, 0), ADZE_OK);
    EXPECT(f, t, -1, -8, -3, -7);
}

static void maxpool_ties_nan_and_padding(void **state) {
    (void)state;
    everywhere(run_maxpool);
}

/* Overlapping windows with one maximum: its gradient is their sum. An index that is no position is passed over. */
/* Two regions of 2 x 2, whatever is drawn; with overlap of 2 x 2 and 2 x 3. */
static void run_fractional(fixture *f) {
    const double x[] = {1, NAN, 2, 5, NAN, 3, 5, -INFINITY}, low[] = {-1, -1, -INFINITY, -INFINITY, -2, -1, -INFINITY, -INFINITY};
    for (int pseudo = 0; pseudo < 2; pseudo++) {
        const adze_val v = value(f, DIMS(1, 2, 4, 1), x), y = adze_fractional_maxpool(f->g, v, 1, 2, pseudo, false);
        EXPECT(f, y, NAN, 5);
        EXPECT(f, (adze_val){y.id + 1}, 1, 3); /* the first of equals */
        EXPECT(f, adze_fractional_maxpool(f->g, value(f, DIMS(1, 2, 4, 1), low), 1, 2, pseudo, false), -1, -INFINITY);
        EXPECT(f, adze_fractional_maxpool(f->g, value(f, DIMS(1, 2, 4, 1), (double[]){4, 3, 2, 1, 0, 1, 2, 3}), 1, 3, pseudo, true), 4, 3, 3);
    }
}

static void fractional_maxpool_ties_and_nan(void **state) {
    (void)state;
    everywhere(run_fractional);
}

static void run_maxpool_index(fixture *f) {
    const double dy[] = {1, 2, 4}, x[] = {7, 8, 9, 6};
    const adze_pool_attrs a = {.size = LIST(2), .stride = LIST(1), .in = LIST(4)};
    const adze_val one = labels(f, DIMS(1, 3, 1), (int32_t[]){1, 1, 2}), odd = labels(f, DIMS(1, 3, 1), (int32_t[]){-1, 4, 3});
    EXPECT(f, adze_maxpool_dx(f->g, value(f, DIMS(1, 3, 1), dy), one, &a), 0, 3, 4, 0);
    EXPECT(f, adze_maxpool_dx(f->g, value(f, DIMS(1, 3, 1), dy), odd, &a), 0, 0, 0, 4);
    EXPECT(f, adze_maxpool_at(f->g, value(f, DIMS(1, 4, 1), x), one, &a), 8, 8, 9);
    EXPECT(f, adze_maxpool_at(f->g, value(f, DIMS(1, 4, 1), x), odd, &a), 0, 0, 6);
}

static void maxpool_index_is_used_safely(void **state) {
    (void)state;
    everywhere(run_maxpool_index);
}

static void run_avgpool(fixture *f) {
    const double x[] = {1, 2, 3, 4, 5};
    const adze_val v = value(f, DIMS(1, 5, 1), x);
    EXPECT(f, adze_avgpool(f->g, v, &(adze_pool_attrs){.size = LIST(2)}), 1.5, 3.5);
    EXPECT(f, adze_avgpool(f->g, v, &(adze_pool_attrs){.size = LIST(2), .ceil = true}), 1.5, 3.5, 5);
    EXPECT(f, adze_avgpool(f->g, v, &(adze_pool_attrs){.size = LIST(2), .ceil = true, .count_pad = true}), 1.5, 3.5, 5);
    adze_pool_attrs a = {.size = LIST(3), .stride = LIST(2), .pad_lo = LIST(1), .pad_hi = LIST(1)};
    EXPECT(f, adze_avgpool(f->g, v, &a), 1.5, 3, 4.5);
    a.count_pad = true;
    const adze_val y = adze_avgpool(f->g, v, &a);
    EXPECT(f, y, 1, 3, 3);
    adze_val g;
    const adze_val seed = value(f, DIMS(1, 3, 1), (double[]){3, 6, 9});
    assert_int_equal(adze_vjp(f->g, &y, &seed, 1, &v, 1, &g, 0), ADZE_OK);
    EXPECT(f, g, 1, 3, 2, 5, 3);
    /* a position that no window covers gets nothing */
    a = (adze_pool_attrs){.size = LIST(1), .stride = LIST(3), .in = LIST(5)};
    EXPECT(f, adze_avgpool_dx(f->g, value(f, DIMS(1, 2, 1), (double[]){7, 8}), &a), 7, 0, 0, 8, 0);
    /* rounding up never makes a window that starts in the padding behind: 3 windows would, so there are 2 */
    a = (adze_pool_attrs){.size = LIST(2), .stride = LIST(3), .pad_lo = LIST(1), .pad_hi = LIST(1), .ceil = true};
    EXPECT(f, adze_avgpool(f->g, value(f, DIMS(1, 4, 1), x), &a), 1, 3.5);
    /* a window larger than the input is legal when rounding up */
    a = (adze_pool_attrs){.size = LIST(3), .stride = LIST(2), .ceil = true};
    EXPECT(f, adze_avgpool(f->g, value(f, DIMS(1, 2, 1), x), &a), 1.5);
    /* the divisor of a corner is a product */
    const double ones[] = {1, 1, 1, 1};
    a = (adze_pool_attrs){.size = LIST(2, 2), .stride = LIST(1, 1), .pad_lo = LIST(1, 1), .count_pad = true};
    EXPECT(f, adze_avgpool(f->g, value(f, DIMS(1, 2, 2, 1), ones), &a), 0.25, 0.5, 0.5, 1);
}

static void avgpool_ceil_and_count_pad(void **state) {
    (void)state;
    everywhere(run_avgpool);
}

static void run_global(fixture *f) {
    const double x[] = {1, 10, 2, 20, 3, 30, 6, 0};
    const adze_val v = value(f, DIMS(1, 2, 2, 2), x);
    EXPECT(f, adze_global_avgpool(f->g, v), 3, 15);
    EXPECT(f, adze_global_maxpool(f->g, v), 6, 30);
    EXPECT(f, adze_global_avgpool(f->g, value(f, DIMS(1, 2), x)), 1, 10);
}

static void global_pools(void **state) {
    (void)state;
    everywhere(run_global);
}

/* -- softmax ------------------------------------------------------------------------------------------------------------------------------------- */

static void run_softmax(fixture *f) {
    const double x[] = {0, 1e4, 1, 1e4, 2, -1e4};
    const double e = exp(1), s = 1 + e + e * e;
    const adze_val v = value(f, DIMS(1, 3, 2), x); /* along the middle axis: (0, 1, 2) and (1e4, 1e4, -1e4) */
    EXPECT(f, adze_softmax(f->g, v, 1), 1 / s, 0.5, e / s, 0.5, e * e / s, 0);
    EXPECT(f, adze_softmax(f->g, v, -2), 1 / s, 0.5, e / s, 0.5, e * e / s, 0);
    EXPECT(f, adze_log_softmax(f->g, v, 1), -log(s), -log(2), 1 - log(s), -log(2), 2 - log(s), -2e4 - log(2));
    EXPECT(f, adze_softmax(f->g, v, 0), 1, 1, 1, 1, 1, 1);
    const double masked[] = {-INFINITY, 0, 0, -INFINITY};
    EXPECT(f, adze_softmax(f->g, value(f, DIMS(2, 2), masked), -1), 0, 1, 1, 0);
    EXPECT(f, adze_softmax(f->g, value(f, DIMS(2), (double[]){NAN, 1}), 0), NAN, NAN);
    EXPECT(f, adze_log_softmax(f->g, value(f, DIMS(2, 2), masked), -1), -INFINITY, 0, 0, -INFINITY);
    EXPECT(f, adze_log_softmax(f->g, value(f, DIMS(3), (double[]){1, NAN, 2}), 0), NAN, NAN, NAN);
    EXPECT(f, adze_log_softmax(f->g, value(f, DIMS(2), (double[]){INFINITY, 1}), 0), NAN, -INFINITY);
    expect(f, adze_softmax(f->g, value(f, DIMS(2, 0), x), 1), 0, NULL);
}

static void softmax_axes_and_extremes(void **state) {
    (void)state;
    everywhere(run_softmax);
}

static void run_xent(fixture *f) {
    const double x[] = {1, 2, 3, 0, 0, 0, 1e4, 0, -1e4, 1, 1, 1, 5, 5, 5}, t[] = {2, 2, 2, 2, 2};
    const int32_t l[] = {2, -1, 1, 3, 2147483647};
    const double e = exp(1), s = 1 + e + e * e;
    const adze_val v = value(f, DIMS(5, 3), x), y = adze_softmax_xent(f->g, v, labels(f, DIMS(5), l)), seed = value(f, DIMS(5), t);
    EXPECT(f, y, log(s) - 2, 0, 1e4, NAN, NAN);
    adze_val g;
    assert_int_equal(adze_vjp(f->g, &y, &seed, 1, &v, 1, &g, 0), ADZE_OK);
    const double want[] = {2 / s, 2 * e / s, 2 * (e * e / s - 1), 0, 0, 0, 2, -2, 0, NAN, NAN, NAN, NAN, NAN, NAN};
    expect(f, g, 15, want);
    assert_int_equal(adze_vjp(f->g, &y, &seed, 1, &v, 1, &g, ADZE_DIFFERENTIABLE), ADZE_OK); /* the expansion agrees */
    double got[15];
    assert_int_equal(compute(f, g, got), 15);
    for (int i = 0; i < 9; i++) {
        near(f, got[i], want[i], i);
    }
    const adze_val rank0 = adze_softmax_xent(f->g, value(f, DIMS(3), x), adze_scalar(f->g, ADZE_I64, 0));
    EXPECT(f, rank0, log(s));
}

static void xent_of_negative_overflowing_and_huge(void **state) {
    (void)state;
    everywhere(run_xent);
}

static void run_xent_prob(fixture *f) {
    const double x[] = {1, 2, 3, 1e4, 0, -1e4}, p[] = {0.5, 0.25, 0.25, 0, 1, 0}, l[] = {3, -1000, 1000, 0};
    const double e = exp(1), lse = 3 + log(1 + 1 / e + 1 / e / e);
    EXPECT(f, adze_softmax_xent_prob(f->g, value(f, DIMS(2, 3), x), value(f, DIMS(2, 3), p)), lse - 1.75, 1e4);
    EXPECT(f, adze_sigmoid_xent(f->g, value(f, DIMS(4), l), value(f, DIMS(4), (double[]){1, 0, 0, 0.5})), log1p(exp(-3)), 0, 1000, log(2));
}

static void xent_with_probabilities(void **state) {
    (void)state;
    everywhere(run_xent_prob);
}

/* Taken apart or not, d sigmoid_xent / dx at 0 is sigmoid(0) - p. */
static void run_sigmoid_zero(fixture *f) {
    const adze_val x = value(f, DIMS(1), (double[]){0}), y = adze_sigmoid_xent(f->g, x, value(f, DIMS(1), (double[]){0.25}));
    const adze_val seed = value(f, DIMS(1), (double[]){1});
    adze_val g;
    assert_int_equal(adze_vjp(f->g, &y, &seed, 1, &x, 1, &g, ADZE_DIFFERENTIABLE), ADZE_OK);
    EXPECT(f, g, 0.25);
}

static void sigmoid_xent_is_smooth_at_zero(void **state) {
    (void)state;
    everywhere(run_sigmoid_zero);
}

/* -- normalisation and dropout ------------------------------------------------------------------------------------------------------------------- */

#include "test_op_nn_norm.inc"

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_transposed_and_batched),
        cmocka_unit_test(matmul_gradient_of_shared_weights),
        cmocka_unit_test(conv_and_its_gradients_equal_a_scatter),
        cmocka_unit_test(transposed_conv_sizes),
        cmocka_unit_test(geometry_counts_taps),
        cmocka_unit_test(costs_are_true),
        cmocka_unit_test(maxpool_ties_nan_and_padding),
        cmocka_unit_test(fractional_maxpool_ties_and_nan),
        cmocka_unit_test(maxpool_index_is_used_safely),
        cmocka_unit_test(avgpool_ceil_and_count_pad),
        cmocka_unit_test(global_pools),
        cmocka_unit_test(softmax_axes_and_extremes),
        cmocka_unit_test(xent_of_negative_overflowing_and_huge),
        cmocka_unit_test(xent_with_probabilities),
        cmocka_unit_test(sigmoid_xent_is_smooth_at_zero),
        cmocka_unit_test(batchnorm_of_constant_and_shifted_input),
        cmocka_unit_test(batchnorm_gradient_through_statistics),
        cmocka_unit_test(layernorm_by_hand),
        cmocka_unit_test(dropout_mask_and_its_derivatives),
        cmocka_unit_test(dropout_does_not_depend_on_how_a_batch_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
