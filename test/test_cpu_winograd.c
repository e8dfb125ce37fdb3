/* Winograd's and Fourier's convolutions on every instruction set of this machine: against the reference in f64, with any number of threads, in slices
 * of the batch as groups of steps call them, and through tails. Random cases of the op table have too few channels to reach these kernels. */
#include "graph/device.h"

#include "adze/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

typedef struct shape {
    int64_t n, h, w, c, k, size, lo, hi; /* padding before and after, on both axes */
} shape;

/* Whole and partial tiles, more padding than a window and none, partial vectors of channels, several blocks of channels, one and two leaves. */
static const shape SHAPES[] = {
    {16, 8, 8, 16, 16, 3, 1, 1},   {33, 9, 13, 17, 19, 3, 1, 1},  {18, 11, 9, 33, 40, 3, 0, 2}, {2, 20, 17, 16, 65, 3, 3, 0},
    {20, 7, 7, 70, 16, 3, 1, 1},   {17, 12, 12, 20, 50, 5, 0, 0}, {3, 13, 22, 16, 32, 5, 2, 2}, {18, 6, 5, 24, 18, 5, 4, 4},
    {18, 29, 31, 16, 20, 3, 1, 1}, {1, 64, 50, 16, 16, 3, 1, 1},  {40, 4, 4, 130, 36, 3, 1, 1}, {2, 28, 28, 16, 16, 5, 2, 2},
    {4, 3, 3, 48, 16, 3, 0, 0},    {19, 8, 8, 50, 20, 5, 4, 4},   {17, 14, 9, 18, 35, 7, 3, 3}, {2, 40, 33, 9, 20, 11, 5, 5},
    {1, 70, 40, 3, 18, 21, 0, 13},
};
enum { ALL_SIZES = 3 }; /* every so many of them are for Fourier's kernels too; those with sizes over 5 are for them alone */

typedef struct node {
    adze_sig sig;
    adze_type in[2], out;
    adze_conv_attrs attrs;
    adze_view v[3]; /* the inputs and the output */
} node;

static adze_ctx *ctx;

static int64_t count_of(const adze_view *v) {
    int64_t n = 1;
    for (int i = 0; i < v->rank; i++) {
        n *= v->dims[i];
    }
    return n;
}

static void *take(size_t bytes) {
    void *p = aligned_alloc(64, bytes / 64 * 64 + 64);
    assert_non_null(p);
    memset(p, 0xFF, bytes / 64 * 64 + 64); /* NaN: nobody may count on zeros */
    return p;
}

static adze_view view_new(const adze_type *t, adze_rng *r) {
    adze_view v = {.dtype = t->dtype, .rank = t->rank, .data = take((size_t)adze_type_bytes(t))};
    int64_t stride = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        v.dims[i] = t->dims[i], v.strides[i] = stride;
        stride *= t->dims[i];
    }
    for (int64_t i = 0; r != NULL && i < count_of(&v); i++) {
        const float x = (float)(4 * adze_rng_uniform(r) - 2);
        if (t->dtype == ADZE_F32) {
            ((float *)v.data)[i] = x;
        } else {
            ((double *)v.data)[i] = (double)x;
        }
    }
    return v;
}

/* The same numbers in both precisions. */
static void node_make(node *n, const char *op, const shape *s, adze_dtype d) {
    const int64_t oh = s->h + s->lo + s->hi - s->size + 1, ow = s->w + s->lo + s->hi - s->size + 1;
    const adze_type x = adze_type_make(d, 4, (const int64_t[]){s->n, s->h, s->w, s->c});
    const adze_type w = adze_type_make(d, 4, (const int64_t[]){s->size, s->size, s->c, s->k});
    const adze_type y = adze_type_make(d, 4, (const int64_t[]){s->n, oh, ow, s->k});
    const bool dx = strcmp(op, "conv_dx") == 0, dw = strcmp(op, "conv_dw") == 0;
    *n = (node){.in = {dx ? y : x, dw ? y : w}, .attrs = {.pad_lo = {.n = 2, .v = {s->lo, s->lo}}, .pad_hi = {.n = 2, .v = {s->hi, s->hi}}}};
    n->attrs.groups = 1;
    n->attrs.stride = n->attrs.dilation = (adze_ints){.n = 2, .v = {1, 1}};
    n->attrs.size = dx ? (adze_ints){.n = 2, .v = {s->h, s->w}} : dw ? (adze_ints){.n = 2, .v = {s->size, s->size}} : (adze_ints){0};
    n->sig = (adze_sig){.ctx = ctx, .op = adze_op_find(op), .name = "test", .attrs = &n->attrs, .nin = 2, .nout = 1, .in = n->in, .out = &n->out};
    assert_int_equal(n->sig.op->infer(&n->sig), ADZE_OK);
    adze_rng r = adze_rng_make(5, (uint64_t)s->h);
    n->v[0] = view_new(&n->in[0], &r);
    n->v[1] = view_new(&n->in[1], &r);
    n->v[2] = view_new(&n->out, NULL);
}

static void node_free(node *n) {
    for (int i = 0; i < 3; i++) {
        free(n->v[i].data);
    }
}

static size_t local_of(const adze_kernel *k, const adze_sig *s) {
    return k->local ? (k->local(s) + 63) / 64 * 64 : 0;
}

typedef struct memory {
    void *scratch;
    char *local;
} memory;

static adze_step step_make(node *n, const adze_kernel *k, int nth, memory *m) {
    static const adze_run RUN = {0};
    const size_t local = local_of(k, &n->sig);
    *m = (memory){take(k->scratch ? k->scratch(&n->sig) : 0), take(local * (size_t)nth)};
    return (adze_step){.op = n->sig.op,
                       .attrs = n->sig.attrs,
                       .nin = 2,
                       .nout = 1,
                       .in = n->v,
                       .out = &n->v[2],
                       .scratch = m->scratch,
                       .local = m->local,
                       .local_stride = local,
                       .run = &RUN};
}

static void memory_free(memory *m) {
    free(m->scratch);
    free(m->local);
}

/* The threads one after the other, the last first. */
static void phases(const adze_kernel *k, const adze_step *s, int from, int to, int nth) {
    for (int p = from; p < to && k->run[p] != NULL; p++) {
        for (int i = nth - 1; i >= 0; i--) {
            k->run[p](s, i, nth);
        }
    }
}

static void run_whole(node *n, const adze_kernel *k, int nth) {
    memory m;
    const adze_step s = step_make(n, k, nth, &m);
    phases(k, &s, 0, ADZE_MAX_PHASES, nth);
    memory_free(&m);
}

static adze_view slice(const adze_view *v, int64_t n0, int64_t n1) {
    adze_view part = *v;
    part.dims[0] = n1 - n0;
    part.data = (char *)v->data + (size_t)(n0 * v->strides[0]) * adze_dtype_size(v->dtype);
    return part;
}

/* The batch in slices of `most` examples, as a group of steps takes it. False: the kernel takes whole batches only. */
static bool run_sliced(node *n, const adze_kernel *k, int64_t most) {
    const size_t bytes = k->partial ? (k->partial(&n->sig) + 63) / 64 * 64 : 0;
    const int64_t examples = n->v[0].dims[0], leaves = (examples + ADZE_LEAF - 1) / ADZE_LEAF;
    if (k->finish && bytes == 0) {
        return false;
    }
    memory m;
    adze_step s = step_make(n, k, 1, &m);
    char *sums = take(bytes * (size_t)leaves);
    memset(sums, 0, bytes * (size_t)leaves);
    phases(k, &s, 0, k->prepare, 1);
    for (int64_t at = 0; at < examples;) {
        const int64_t leaf = at / ADZE_LEAF, end = k->finish && (leaf + 1) * ADZE_LEAF < at + most ? (leaf + 1) * ADZE_LEAF : at + most;
        const int64_t to = end < examples ? end : examples;
        const adze_view in[2] = {slice(&n->v[0], at, to), k->sliced & 2 ? slice(&n->v[1], at, to) : n->v[1]};
        const adze_view out = k->finish ? n->v[2] : slice(&n->v[2], at, to);
        adze_step part = s;
        part.in = in, part.out = &out;
        part.partial = k->finish ? sums + (size_t)leaf * bytes : NULL;
        k->run[k->prepare](&part, 0, 1);
        at = to;
    }
    for (int i = 2; k->finish && i >= 0; i--) {
        k->finish(&s, sums, bytes, leaves, i, 3);
    }
    free(sums);
    memory_free(&m);
    return true;
}

static double distance(const node *a, const node *b) {
    double far = 0, size = 0;
    for (int64_t i = 0; i < count_of(&b->v[2]); i++) {
        const double x = a->v[2].dtype == ADZE_F32 ? (double)((const float *)a->v[2].data)[i] : ((const double *)a->v[2].data)[i];
        const double y = ((const double *)b->v[2].data)[i];
        far += (x - y) * (x - y), size += y * y;
    }
    return sqrt(far / size);
}

static const adze_kernel *named(adze_isa isa, const char *name, const char *op) {
    const adze_device *d = adze_device_find("cpu", isa);
    for (int i = 0; i < d->lists[0]->count; i++) {
        const adze_kernel *k = &d->lists[0]->kernels[i];
        if (strcmp(k->op, op) == 0 && strcmp(k->name, name) == 0) {
            return k;
        }
    }
    fail_msg("%s has no %s kernel", op, name);
    return NULL;
}

typedef void (*check_fn)(const adze_kernel *k, const shape *s, adze_isa isa);

static void for_every_kernel(check_fn f) {
    static const char *const OPS[] = {"conv", "conv_dx", "conv_dw"};
    for (int isa = ADZE_ISA_REF; isa <= (int)adze_isa_best() && isa <= ADZE_ISA_V4; isa++) {
        for (size_t i = 0; i < ADZE_COUNT(OPS) * ADZE_COUNT(SHAPES); i++) {
            if (SHAPES[i / 3].size <= 5) {
                f(named((adze_isa)isa, "winograd", OPS[i % 3]), &SHAPES[i / 3], (adze_isa)isa);
            }
            if (SHAPES[i / 3].size > 5 || i / 3 % ALL_SIZES == 0) {
                f(named((adze_isa)isa, "fft", OPS[i % 3]), &SHAPES[i / 3], (adze_isa)isa);
            }
        }
    }
}

static void agree(const adze_kernel *k, const shape *s, adze_isa isa) {
    node exact, n, wide;
    node_make(&exact, k->op, s, ADZE_F64);
    const adze_step ref = {.op = exact.sig.op, .attrs = exact.sig.attrs, .nin = 2, .nout = 1, .in = exact.v, .out = &exact.v[2]};
    exact.sig.op->ref(&ref, 0, 1);
    node_make(&n, k->op, s, ADZE_F32);
    node_make(&wide, k->op, s, ADZE_F64);
    run_whole(&n, k, 1);
    run_whole(&wide, k, 2);
    const double e32 = distance(&n, &exact), e64 = distance(&wide, &exact);
    if (!(e32 <= (strcmp(k->name, "fft") == 0 ? 4e-7 : 1e-6)) || !(e64 <= 1e-14)) {
        fail_msg("%s %s (%s), shape %d: the error is %.3g in f32, %.3g in f64", k->name, k->op, adze_isa_name(isa), (int)(s - SHAPES), e32, e64);
    }
    node_free(&exact);
    node_free(&n);
    node_free(&wide);
}

static void results_agree_with_the_reference(void **state) {
    (void)state;
    for_every_kernel(agree);
}

static void expect_bits(const adze_kernel *k, const shape *s, const node *a, const node *b, const char *what, int64_t value) {
    if (memcmp(a->v[2].data, b->v[2].data, (size_t)adze_type_bytes(&a->out)) != 0) {
        fail_msg("%s %s, shape %d: %s %d change the bits", k->name, k->op, (int)(s - SHAPES), what, (int)value);
    }
}

static void divide(const adze_kernel *k, const shape *s, adze_isa isa) {
    static const int THREADS[] = {2, 3, 8}, SLICES[] = {1, 3, 5, 16};
    (void)isa;
    node one, n;
    node_make(&one, k->op, s, ADZE_F32);
    run_whole(&one, k, 1);
    for (size_t i = 0; i < ADZE_COUNT(THREADS); i++) {
        node_make(&n, k->op, s, ADZE_F32);
        run_whole(&n, k, THREADS[i]);
        expect_bits(k, s, &n, &one, "threads:", THREADS[i]);
        node_free(&n);
    }
    for (size_t i = 0; i < ADZE_COUNT(SLICES); i++) {
        node_make(&n, k->op, s, ADZE_F32);
        if (k->sliced && run_sliced(&n, k, SLICES[i])) {
            expect_bits(k, s, &n, &one, "slices of", SLICES[i]);
        }
        node_free(&n);
    }
    node_free(&one);
}

static void threads_and_slices_change_no_bit(void **state) {
    (void)state;
    for_every_kernel(divide);
}

/* Slices must be tried on dw too, not refused for every shape. */
static void some_weight_gradients_can_be_sliced(void **state) {
    (void)state;
    int able = 0, unable = 0;
    for (size_t i = 0; i < ADZE_COUNT(SHAPES); i++) {
        node n;
        if (SHAPES[i].size > 5) {
            continue;
        }
        node_make(&n, "conv_dw", &SHAPES[i], ADZE_F32);
        const size_t bytes = named(ADZE_ISA_REF, "winograd", "conv_dw")->partial(&n.sig);
        able += bytes > 0, unable += bytes == 0;
        node_free(&n);
    }
    assert_true(able > 2 && unable > 2);
}

/* A tail that doubles its block: every element once, after its last change. */
static void twice(const adze_step *s, int64_t row, int64_t nrows, int64_t col, int64_t ncols) {
    float *y = s->out[0].data;
    const int64_t width = s->out[0].dims[3];
    for (int64_t i = row; i < row + nrows; i++) {
        for (int64_t j = col; j < col + ncols; j++) {
            y[i * width + j] *= 2;
        }
    }
}

static void tails(const adze_kernel *k, const shape *s, adze_isa isa) {
    (void)isa;
    if (!k->tail) {
        return;
    }
    node plain, n;
    node_make(&plain, k->op, s, ADZE_F32);
    node_make(&n, k->op, s, ADZE_F32);
    run_whole(&plain, k, 1);
    for (int64_t i = 0; i < count_of(&plain.v[2]); i++) {
        ((float *)plain.v[2].data)[i] *= 2;
    }
    memory m;
    adze_step st = step_make(&n, k, 3, &m);
    const adze_tail tail = {.rows = twice, .step = &st};
    st.tail = &tail;
    phases(k, &st, 0, ADZE_MAX_PHASES, 3);
    expect_bits(k, s, &n, &plain, "tails: threads", 3);
    memory_free(&m);
    node_free(&plain);
    node_free(&n);
}

static void tails_see_every_output_once(void **state) {
    (void)state;
    for_every_kernel(tails);
}

static const char *chosen(const char *op, const shape *s) {
    node n;
    node_make(&n, op, s, ADZE_F32);
    const adze_kernel *k = adze_device_kernel(adze_device_find("cpu", adze_isa_best()), &n.sig);
    node_free(&n);
    return k->name;
}

/* The layers for which the kernels are there, and some that are better off without. */
static void chosen_where_it_pays(void **state) {
    (void)state;
    static const shape GOOD[] = {{128, 32, 32, 16, 16, 3, 1, 1}, {128, 8, 8, 64, 64, 3, 1, 1}, {8, 28, 28, 128, 128, 3, 1, 1}},
                       BAD[] = {{8, 32, 32, 3, 16, 3, 1, 1}, {1, 7, 7, 512, 512, 3, 1, 1}, {1, 8, 8, 64, 64, 3, 1, 1}};
    for (size_t i = 0; i < ADZE_COUNT(GOOD); i++) {
        assert_string_equal(chosen("conv", &GOOD[i]), "winograd");
        assert_string_equal(chosen("conv_dx", &GOOD[i]), "winograd");
        assert_string_equal(chosen("conv_dw", &GOOD[i]), "winograd");
        assert_string_not_equal(chosen("conv", &BAD[i]), "winograd");
        assert_string_not_equal(chosen("conv_dx", &BAD[i]), "winograd");
        assert_string_not_equal(chosen("conv_dw", &BAD[i]), "winograd");
    }
}

/* Large kernels go through Fourier transforms in every pass, small images and small kernels do not. */
static void fourier_for_large_kernels(void **state) {
    (void)state;
    static const shape GOOD[] = {{8, 56, 56, 64, 64, 7, 3, 3}, {8, 56, 56, 64, 64, 11, 5, 5}, {8, 56, 56, 32, 32, 21, 10, 10}},
                       BAD[] = {{8, 56, 56, 64, 64, 3, 1, 1}, {8, 56, 56, 1, 4, 7, 3, 3}, {1, 7, 7, 64, 64, 7, 0, 0}};
    static const char *const OPS[] = {"conv", "conv_dx", "conv_dw"};
    for (size_t i = 0; i < 3 * ADZE_COUNT(GOOD); i++) {
        assert_string_equal(chosen(OPS[i % 3], &GOOD[i / 3]), "fft");
        assert_string_not_equal(chosen(OPS[i % 3], &BAD[i / 3]), "fft");
    }
}

/* dx of a convolution without padding has fewer tiles as the transposed of the forward pass than as a convolution of dy. */
static void unpadded_dx_is_transposed(void **state) {
    (void)state;
    static const shape VALID = {256, 12, 12, 20, 50, 5, 0, 0};
    assert_string_equal(chosen("conv_dx", &VALID), "winograd");
}

/* With fma the numbers are those of every level that has it. */
static void levels_with_fma_agree(void **state) {
    (void)state;
    if (adze_isa_best() < ADZE_ISA_V4) {
        skip();
    }
    static const char *const OPS[] = {"conv", "conv_dx", "conv_dw"};
    for (size_t i = 0; i < 3 * ADZE_COUNT(SHAPES); i += 2) {
        node a, b;
        const shape *s = &SHAPES[i / 3];
        node_make(&a, OPS[i % 3], s, ADZE_F32);
        node_make(&b, OPS[i % 3], s, ADZE_F32);
        run_whole(&a, named(ADZE_ISA_V3, "fft", OPS[i % 3]), 1);
        run_whole(&b, named(ADZE_ISA_V4, "fft", OPS[i % 3]), 2);
        expect_bits(named(ADZE_ISA_V4, "fft", OPS[i % 3]), s, &a, &b, "levels", 3);
        node_free(&a);
        node_free(&b);
    }
}

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_agree_with_the_reference),
        cmocka_unit_test(threads_and_slices_change_no_bit),
        cmocka_unit_test(some_weight_gradients_can_be_sliced),
        cmocka_unit_test(tails_see_every_output_once),
        cmocka_unit_test(chosen_where_it_pays),
        cmocka_unit_test(fourier_for_large_kernels),
        cmocka_unit_test(unpadded_dx_is_transposed),
        cmocka_unit_test(levels_with_fma_agree),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
