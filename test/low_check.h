/* Checks of products and convolutions in bf16 and 8-bit integers, on shapes with many blocks and odd edges: f32 results within 1e-5 of `ref` on the
 * same inputs, bf16 results rounded once, integers exact; any number of threads and any slices of the batch give the same bits; nothing outside the
 * operands is written, and nothing behind them read. The program that includes this says on which kernels: it defines check(). */
#ifndef ADZE_TEST_LOW_CHECK_H
#define ADZE_TEST_LOW_CHECK_H

#include "graph/device.h"

#include "adze/ops.h"
#include "core/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

enum { GUARD = 64, GUARD_BYTE = 0xA5 };

static adze_ctx *ctx;

typedef struct memory { /* between a guard and a page that nobody can touch */
    unsigned char *raw, *at;
    size_t bytes, mapped;
} memory;

/* step: bytes between places where it may end. */
static memory memory_new(size_t bytes, int fill, size_t step) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + step - 1) / step * step;
    memory m = {.bytes = bytes, .mapped = (room + GUARD + page - 1) / page * page + page};
    m.raw = mmap(NULL, m.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(m.raw != MAP_FAILED);
    assert_int_equal(mprotect(m.raw + m.mapped - page, page, PROT_NONE), 0);
    m.at = m.raw + m.mapped - page - room;
    memset(m.raw, GUARD_BYTE, m.mapped - page);
    memset(m.at, fill, bytes);
    return m;
}

static void *memory_at(const memory *m) {
    return m->at;
}

static void memory_free(memory *m, const char *what) {
    const unsigned char *end = m->raw + m->mapped - (size_t)sysconf(_SC_PAGESIZE);
    for (const unsigned char *p = m->at - GUARD; p < end; p = p + 1 == m->at ? m->at + m->bytes : p + 1) {
        if (*p != GUARD_BYTE) {
            fail_msg("%s: memory around it was written", what);
        }
    }
    munmap(m->raw, m->mapped);
}

/* -- a node on memory ------------------------------------------------------------------------------------------------------------------------ */

typedef struct target { /* whose kernels */
    const char *name;
    const adze_device *device;
    void (*after)(void); /* each thread's share of a phase; NULL: nothing */
} target;

typedef struct node {
    const target *on;
    adze_sig sig;
    adze_type in[2], out;
    memory min[2], mout;
    const adze_kernel *kernel;
    char text[300];
} node;

static adze_view view_of(const adze_type *t, void *data) {
    adze_view v = {.data = data, .dtype = t->dtype, .rank = t->rank};
    int64_t stride = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        v.dims[i] = t->dims[i], v.strides[i] = stride;
        stride *= t->dims[i];
    }
    return v;
}

static void fill(adze_rng *r, const adze_type *t, void *data) {
    const int64_t n = adze_type_count(t);
    for (int64_t i = 0; i < n; i++) {
        const bool real = adze_dtype_is_float(t->dtype), whole = t->dtype == ADZE_U8;
        const double v = real ? 4 * adze_rng_uniform(r) - 2 : (double)adze_rng_range(r, whole ? 0 : -128, whole ? 255 : 127);
        adze_dtype_store(t->dtype, (char *)data + (size_t)i * adze_dtype_size(t->dtype), 1, 1, &v);
    }
}

static void node_make(node *n, const char *op, const void *attrs, adze_type a, adze_type b, const target *on) {
    char t[3][80];
    adze_rng r = adze_rng_make(11, (uint64_t)a.dims[0]);
    memset(n, 0, sizeof *n);
    n->on = on;
    n->in[0] = a, n->in[1] = b;
    n->sig = (adze_sig){.ctx = ctx, .op = adze_op_find(op), .name = "test", .attrs = attrs, .nin = 2, .nout = 1, .in = n->in, .out = &n->out};
    if (n->sig.op->infer(&n->sig) != ADZE_OK) {
        fail_msg("%s", adze_errmsg(ctx));
    }
    for (int i = 0; i < 2; i++) {
        n->min[i] = memory_new((size_t)adze_type_bytes(&n->in[i]), 0, 1);
        fill(&r, &n->in[i], memory_at(&n->min[i]));
    }
    n->mout = memory_new((size_t)adze_type_bytes(&n->out), 0xFF, 1);
    n->kernel = adze_device_kernel(on->device, &n->sig);
    snprintf(n->text, sizeof n->text, "%s %s: %s, %s -> %s", on->name, op, adze_type_print(&a, t[0], sizeof t[0]),
             adze_type_print(&b, t[1], sizeof t[1]), adze_type_print(&n->out, t[2], sizeof t[2]));
    if (n->kernel == NULL) {
        fail_msg("%s: no kernel", n->text);
    }
}

static void node_free(node *n) {
    memory_free(&n->min[0], n->text);
    memory_free(&n->min[1], n->text);
    memory_free(&n->mout, n->text);
}

typedef struct call { /* the step of a node, with its memory */
    adze_view in[2], out;
    memory scratch, local;
    adze_step step;
} call;

static void call_begin(call *c, node *n, int nth) {
    static const adze_run RUN = {.seed = 1};
    const size_t local = n->kernel->local ? (n->kernel->local(&n->sig) + 63) / 64 * 64 : 0;
    c->in[0] = view_of(&n->in[0], memory_at(&n->min[0])), c->in[1] = view_of(&n->in[1], memory_at(&n->min[1]));
    c->out = view_of(&n->out, memory_at(&n->mout));
    c->scratch = memory_new(n->kernel->scratch ? n->kernel->scratch(&n->sig) : 0, 0xFF, 64); /* NaN: nobody may count on zeros */
    c->local = memory_new(local * (size_t)nth, 0xFF, 64);
    c->step = (adze_step){.op = n->sig.op,
                          .attrs = n->sig.attrs,
                          .nin = 2,
                          .nout = 1,
                          .in = c->in,
                          .out = &c->out,
                          .scratch = memory_at(&c->scratch),
                          .local = memory_at(&c->local),
                          .local_stride = local,
                          .run = &RUN};
    memset(memory_at(&n->mout), 0xFF, n->mout.bytes);
}

static void call_end(call *c, node *n) {
    memory_free(&c->scratch, n->text);
    memory_free(&c->local, n->text);
}

static void run_phase(const node *n, const call *c, int phase, int ith, int nth) {
    n->kernel->run[phase](&c->step, ith, nth);
    if (n->on->after) {
        n->on->after();
    }
}

static void run_threads(node *n, int nth) {
    call c;
    call_begin(&c, n, nth);
    for (int p = 0; n->kernel->run[p]; p++) {
        for (int i = 0; i < nth; i++) {
            run_phase(n, &c, p, nth % 2 ? nth - 1 - i : i, nth);
        }
    }
    call_end(&c, n);
}

/* The view of examples [from, to). */
static adze_view slice(adze_view v, int64_t from, int64_t to) {
    v.data = (char *)v.data + (size_t)(from * v.strides[0]) * adze_dtype_size(v.dtype);
    v.dims[0] = to - from;
    return v;
}

/* As a group runs it: slices of uneven size, by one thread; sums go into the parts of leaves. */
static void run_slices(node *n) {
    static const int64_t SIZES[] = {1, 4, 11, 3, 13};
    const adze_kernel *k = n->kernel;
    const int64_t batch = n->in[0].dims[0], leaves = (batch + ADZE_LEAF - 1) / ADZE_LEAF;
    const size_t part = k->partial ? (k->partial(&n->sig) + 63) / 64 * 64 : 0;
    memory parts = memory_new(part * (size_t)leaves, 0, 64);
    call c;
    call_begin(&c, n, 1);
    for (int p = 0; p < k->prepare; p++) {
        run_phase(n, &c, p, 0, 1);
    }
    const call whole = c;
    for (int64_t from = 0, to, i = 0; from < batch; from = to, i++) {
        to = from + SIZES[i % 5] < batch ? from + SIZES[i % 5] : batch;
        if (part && to > (from / ADZE_LEAF + 1) * ADZE_LEAF) {
            to = (from / ADZE_LEAF + 1) * ADZE_LEAF;
        }
        for (int j = 0; j < 2; j++) {
            c.in[j] = k->sliced >> j & 1 ? slice(whole.in[j], from, to) : whole.in[j];
        }
        c.out = part ? whole.out : slice(whole.out, from, to);
        c.step.in = c.in, c.step.out = &c.out;
        c.step.partial = part ? (char *)memory_at(&parts) + part * (size_t)(from / ADZE_LEAF) : NULL;
        run_phase(n, &c, k->prepare, 0, 1);
    }
    c.in[0] = whole.in[0], c.in[1] = whole.in[1], c.out = whole.out;
    for (int i = 0; part && i < 2; i++) {
        k->finish(&c.step, memory_at(&parts), part, leaves, i, 2);
    }
    memory_free(&parts, n->text);
    call_end(&c, n);
}

/* -- checks ------------------------------------------------------------------------------------------------------------------------------------ */

static double element(const adze_type *t, const void *data, int64_t i) {
    double v;
    adze_dtype_load(t->dtype, (const char *)data + (size_t)i * adze_dtype_size(t->dtype), 1, 1, &v);
    return v;
}

static void expect_near(const node *n, const void *want) {
    double far = 0, size = 0;
    int64_t count = adze_type_count(&n->out), unequal = 0;
    for (int64_t i = 0; i < count; i++) {
        const double a = element(&n->out, memory_at(&n->mout), i), b = element(&n->out, want, i);
        far += (a - b) * (a - b), size += b * b;
        unequal += a != b;
    }
    const double limit = n->out.dtype == ADZE_F32 ? 1e-5 : n->out.dtype == ADZE_BF16 ? 4e-3 : 0;
    if (!(sqrt(far) <= limit * sqrt(size))) {
        fail_msg("%s: off by %.3g", n->text, sqrt(far / size));
    }
    if (n->out.dtype == ADZE_BF16 && unequal * 50 > count + 200) { /* sums in f32 straddle a boundary of bf16 rarely */
        fail_msg("%s: %lld of %lld elements are not the nearest", n->text, (long long)unequal, (long long)count);
    }
}

static void expect_same(const node *n, const void *want, const char *what, int number) {
    if (memcmp(memory_at(&n->mout), want, n->mout.bytes) != 0) {
        fail_msg("%s: %s %d change the bits", n->text, what, number);
    }
}

static void check_on(const target *on, const char *op, const void *attrs, adze_type a, adze_type b) {
    node n;
    node_make(&n, op, attrs, a, b, on);
    memory want = memory_new(n.mout.bytes, 0, 1), one = memory_new(n.mout.bytes, 0, 1);
    const adze_view in[2] = {view_of(&n.in[0], memory_at(&n.min[0])), view_of(&n.in[1], memory_at(&n.min[1]))};
    const adze_view out = view_of(&n.out, memory_at(&want));
    const adze_step s = {.op = n.sig.op, .attrs = attrs, .nin = 2, .nout = 1, .in = in, .out = &out};
    n.sig.op->ref(&s, 0, 1);
    run_threads(&n, 1);
    expect_near(&n, memory_at(&want));
    memcpy(memory_at(&one), memory_at(&n.mout), n.mout.bytes);
    for (int nth = 2; nth <= 8; nth++) {
        run_threads(&n, nth);
        expect_same(&n, memory_at(&one), "threads", nth);
    }
    if (n.kernel->sliced) {
        run_slices(&n);
        expect_same(&n, memory_at(&one), "slices", 0);
    }
    memory_free(&want, n.text);
    memory_free(&one, n.text);
    node_free(&n);
}

static void check(const char *op, const void *attrs, adze_type a, adze_type b);

static adze_type type(adze_dtype d, int rank, int64_t a, int64_t b, int64_t c, int64_t e) {
    return adze_type_make(d, rank, (const int64_t[]){a, b, c, e});
}

/* -- products ---------------------------------------------------------------------------------------------------------------------------------- */

static const int64_t PRODUCTS[][3] = {{37, 65, 801}, {150, 300, 78}, {64, 10, 500}, {1, 600, 33},
                                      {29, 33, 400}, {130, 24, 3},   {3, 8, 1},     {16, 40, 0}};

static void check_products(adze_dtype left, adze_dtype right, adze_dtype out) {
    for (size_t i = 0; i < 4 * ADZE_COUNT(PRODUCTS); i++) {
        const int64_t m = PRODUCTS[i / 4][0], n = PRODUCTS[i / 4][1], k = PRODUCTS[i / 4][2];
        const adze_matmul_attrs at = {.ta = i % 4 / 2 == 1, .tb = i % 2 == 1, .out = (int32_t)out};
        check("matmul", &at, type(left, 2, at.ta ? k : m, at.ta ? m : k, 0, 0), type(right, 2, at.tb ? n : k, at.tb ? k : n, 0, 0));
    }
    for (int i = 0; i < 4; i++) { /* batched: both sides, or one for all */
        const adze_matmul_attrs at = {.ta = i == 1, .out = (int32_t)out};
        const adze_type a = type(left, i == 3 ? 2 : 3, i == 3 ? 19 : 5, i == 3 ? 21 : at.ta ? 21 : 19, at.ta ? 19 : 21, 0);
        check("matmul", &at, a, i == 2 ? type(right, 2, 21, 35, 0, 0) : type(right, 3, 5, 21, 35, 0));
    }
}

static void products_of_bf16_are_rounded_once(void **state) {
    (void)state;
    check_products(ADZE_BF16, ADZE_BF16, ADZE_NONE);
}

static void products_of_bf16_in_f32(void **state) {
    (void)state;
    check_products(ADZE_BF16, ADZE_BF16, ADZE_F32);
}

static void products_of_integers_are_exact(void **state) {
    (void)state;
    check_products(ADZE_I8, ADZE_I8, ADZE_NONE);
    check_products(ADZE_U8, ADZE_I8, ADZE_NONE);
}

/* -- convolutions ------------------------------------------------------------------------------------------------------------------------------ */

typedef struct conv_shape {
    int64_t n, h, w, c, k, kh, kw, stride, dilation, pad, groups;
} conv_shape;

static const conv_shape CONVS[] = {
    {18, 9, 13, 16, 16, 3, 3, 1, 1, 1, 1},  {33, 8, 8, 32, 24, 3, 3, 1, 1, 1, 1},  {5, 28, 28, 1, 20, 5, 5, 1, 1, 0, 1},
    {17, 12, 12, 20, 50, 5, 5, 1, 1, 0, 1}, {35, 6, 7, 16, 40, 3, 3, 2, 1, 1, 1},  {2, 14, 14, 64, 65, 1, 1, 1, 1, 0, 1},
    {1, 7, 7, 3, 33, 3, 5, 1, 2, 2, 1},     {2, 10, 10, 12, 18, 3, 3, 1, 1, 1, 3}, {2, 6, 6, 8, 8, 3, 3, 1, 1, 1, 8},
    {1, 5, 5, 300, 40, 3, 3, 1, 1, 1, 1},   {3, 6, 5, 6, 10, 2, 2, 1, 1, 3, 1},    {20, 4, 4, 5, 7, 3, 3, 3, 1, 1, 1},
    {2, 1, 40, 8, 8, 1, 9, 1, 1, 4, 1},     {2, 9, 9, 4, 4, 1, 1, 2, 1, 0, 1},     {1, 5, 6, 2, 6, 5, 1, 1, 2, 4, 1},
    {3, 9, 11, 3, 34, 3, 3, 2, 1, 1, 1},    {17, 8, 9, 3, 16, 3, 3, 1, 1, 1, 1},   {2, 13, 9, 6, 40, 1, 1, 3, 1, 0, 1},
};

static void check_convs(adze_dtype out) {
    for (size_t i = 0; i < ADZE_COUNT(CONVS); i++) {
        const conv_shape *s = &CONVS[i];
        const adze_ints two = {.n = 2, .v = {s->stride, s->stride}}, dil = {.n = 2, .v = {s->dilation, s->dilation}},
                        lo = {.n = 2, .v = {s->h == 1 ? 0 : s->pad, s->pad}};
        adze_conv_attrs at = {.stride = two, .dilation = dil, .pad_lo = lo, .pad_hi = lo, .groups = s->groups, .out = (int32_t)out};
        const int64_t oh = (s->h + 2 * lo.v[0] - (s->kh - 1) * s->dilation - 1) / s->stride + 1,
                      ow = (s->w + 2 * s->pad - (s->kw - 1) * s->dilation - 1) / s->stride + 1;
        const adze_type x = type(ADZE_BF16, 4, s->n, s->h, s->w, s->c), w = type(ADZE_BF16, 4, s->kh, s->kw, s->c / s->groups, s->k);
        const adze_type y = type(ADZE_BF16, 4, s->n, oh, ow, s->k);
        check("conv", &at, x, w);
        at.size = (adze_ints){.n = 2, .v = {s->h, s->w}};
        check("conv_dx", &at, y, w);
        at.size = (adze_ints){.n = 2, .v = {s->kh, s->kw}};
        check("conv_dw", &at, x, y);
    }
}

static void convolutions_of_bf16_are_rounded_once(void **state) {
    (void)state;
    check_convs(ADZE_NONE);
}

static void convolutions_of_bf16_in_f32(void **state) {
    (void)state;
    check_convs(ADZE_F32);
}

static const struct CMUnitTest LOW_TESTS[] = {
    cmocka_unit_test(products_of_bf16_are_rounded_once), cmocka_unit_test(products_of_bf16_in_f32),
    cmocka_unit_test(products_of_integers_are_exact),    cmocka_unit_test(convolutions_of_bf16_are_rounded_once),
    cmocka_unit_test(convolutions_of_bf16_in_f32),
};

static int setup(void **state) {
    (void)state;
    const adze_ctx_opts opts = {.size = sizeof opts, .threads = 1};
    return adze_ctx_new(&opts, &ctx);
}

static int teardown(void **state) {
    (void)state;
    adze_ctx_free(ctx);
    return 0;
}

#endif
