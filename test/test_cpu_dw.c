/* The weight gradient of convolutions on every instruction set of this machine: bands, pieces, padded copies, chained images and packed panels
 * against the reference; the bits for every number of threads and for every way in which a group of steps may slice the batch. */
#include "graph/device.h"

#include "adze/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

typedef struct shape {
    int64_t n, h, w, c, k, kh, kw, stride, dilation, pad, groups;
    int64_t d, kd; /* of volumes */
} shape;

static const shape SHAPES[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 0},       /* the smallest */
    {17, 8, 8, 16, 16, 3, 3, 1, 1, 1, 1, 0, 0},    /* two leaves, chained images */
    {3, 32, 32, 3, 16, 3, 3, 1, 1, 1, 1, 0, 0},    /* merged taps, padded copy, two bands */
    {33, 12, 12, 20, 50, 5, 5, 1, 1, 0, 1, 0, 0},  /* half a last vector */
    {2, 28, 28, 1, 20, 5, 5, 1, 1, 0, 1, 0, 0},    /* merged taps in place */
    {2, 40, 41, 3, 33, 7, 7, 2, 1, 3, 1, 0, 0},    /* strided first layer */
    {1, 3, 1500, 5, 9, 3, 3, 1, 1, 1, 1, 0, 0},    /* rows longer than a band, merged */
    {2, 2, 1400, 8, 40, 1, 5, 2, 1, 2, 1, 0, 0},   /* rows longer than a band, strided */
    {2, 30, 30, 14, 130, 3, 3, 1, 1, 1, 1, 0, 0},  /* packed panels of dy, more than one band */
    {3, 26, 26, 9, 300, 3, 3, 1, 1, 1, 1, 0, 0},   /* more panels than a block has */
    {18, 2, 2, 600, 500, 1, 1, 1, 1, 0, 1, 0, 0},  /* outputs are shared out: many weights, two leaves of one band each */
    {17, 7, 7, 520, 510, 1, 1, 1, 1, 0, 1, 0, 0},  /* the same, leaves of two bands */
    {18, 7, 7, 20, 130, 3, 3, 1, 1, 1, 1, 0, 0},   /* packed and chained */
    {5, 5, 6, 4, 6, 3, 3, 1, 5, 5, 1, 0, 0},       /* taps that touch next to nothing */
    {4, 1, 1, 7, 5, 3, 3, 1, 1, 1, 1, 0, 0},       /* taps that never touch the image */
    {2, 11, 13, 12, 18, 3, 3, 2, 2, 2, 3, 0, 0},   /* groups, dilation, stride */
    {20, 9, 9, 37, 37, 3, 3, 1, 1, 1, 37, 0, 0},   /* depthwise */
    {40, 5, 5, 70, 70, 3, 3, 1, 1, 1, 70, 0, 0},   /* depthwise, whole panels, chained, three leaves */
    {2, 30, 30, 96, 96, 3, 5, 2, 1, 2, 96, 0, 0},  /* depthwise, strided */
    {2, 12, 12, 64, 128, 3, 3, 1, 1, 1, 64, 0, 0}, /* two outputs for each channel */
    {18, 7, 7, 64, 64, 1, 1, 1, 1, 0, 1, 0, 0},    /* a product */
    {2, 9, 9, 3, 6, 1, 1, 3, 1, 0, 1, 0, 0},       /* few channels, one tap */
    {17, 6, 7, 18, 20, 3, 3, 1, 1, 1, 1, 5, 3},    /* volumes: two leaves, chained slices */
    {2, 9, 9, 3, 16, 3, 3, 2, 1, 1, 1, 8, 3},      /* merged taps, padded copy */
    {2, 28, 28, 12, 130, 3, 3, 1, 1, 1, 1, 3, 2},  /* packed panels of dy */
    {3, 4, 4, 5, 6, 1, 1, 1, 3, 3, 1, 2, 3},       /* slices that some taps never touch */
    {18, 3, 3, 200, 300, 2, 2, 1, 1, 1, 1, 2, 3},  /* outputs are shared out */
    {3, 7, 6, 40, 40, 3, 3, 1, 1, 1, 40, 4, 3},    /* depthwise */
};

static adze_ctx *ctx;
static const adze_kernel_list *const LISTS[] = {&adze_linear_ref, &adze_linear_v2, &adze_linear_v3, &adze_linear_v4};

typedef struct node {
    adze_conv_attrs at;
    adze_type in[2], out;
    adze_sig sig;
    adze_view v[3];
    size_t bytes; /* of dw */
} node;

static adze_view view_new(const adze_type *t, uint64_t stream) {
    adze_view v = {.dtype = t->dtype, .rank = t->rank, .data = malloc((size_t)adze_type_bytes(t))};
    adze_rng r = adze_rng_make(11, stream);
    int64_t count = 1;
    assert_non_null(v.data);
    for (int i = t->rank - 1; i >= 0; i--) {
        v.dims[i] = t->dims[i], v.strides[i] = count;
        count *= t->dims[i];
    }
    for (int64_t i = 0; i < count; i++) {
        const double x = adze_rng_uniform(&r) * 2 - 1;
        if (t->dtype == ADZE_F32) {
            ((float *)v.data)[i] = (float)x;
        } else {
            ((double *)v.data)[i] = x;
        }
    }
    return v;
}

static int64_t out_size(int64_t in, int64_t size, const shape *s) {
    return (in + 2 * s->pad - (size - 1) * s->dilation - 1) / s->stride + 1;
}

static void node_types(node *n, const shape *s, adze_dtype d) {
    const int n_axes = s->d > 0 ? 3 : 2, skip = 3 - n_axes;
    const adze_ints stride = {.n = n_axes, .v = {s->stride, s->stride, s->stride}}, dil = {.n = n_axes, .v = {s->dilation, s->dilation, s->dilation}},
                    pad = {.n = n_axes, .v = {s->pad, s->pad, s->pad}};
    const int64_t size[] = {s->kd, s->kh, s->kw}, x[] = {s->n, s->d, s->h, s->w, s->c};
    const int64_t y[] = {s->n, s->d > 0 ? out_size(s->d, s->kd, s) : 0, out_size(s->h, s->kh, s), out_size(s->w, s->kw, s), s->k};
    memset(n, 0, sizeof *n);
    n->at = (adze_conv_attrs){.stride = stride, .dilation = dil, .pad_lo = pad, .pad_hi = pad, .groups = s->groups, .size = {.n = n_axes}};
    memcpy(n->at.size.v, size + skip, (size_t)n_axes * sizeof *size);
    n->in[0] = adze_type_make(d, n_axes + 2, x + skip), n->in[1] = adze_type_make(d, n_axes + 2, y + skip);
    n->in[0].dims[0] = n->in[1].dims[0] = s->n;
    n->sig = (adze_sig){.ctx = ctx, .op = adze_op_find("conv_dw"), .name = "test", .attrs = &n->at, .nin = 2, .nout = 1, .in = n->in, .out = &n->out};
    assert_int_equal(n->sig.op->infer(&n->sig), ADZE_OK);
    n->bytes = (size_t)adze_type_bytes(&n->out);
}

static void node_new(node *n, const shape *s, adze_dtype d) {
    node_types(n, s, d);
    n->v[0] = view_new(&n->in[0], 1), n->v[1] = view_new(&n->in[1], 2), n->v[2] = view_new(&n->out, 3);
}

static void node_free(node *n) {
    for (int i = 0; i < 3; i++) {
        free(n->v[i].data);
    }
}

/* -- running ---------------------------------------------------------------------------------------------------------------------------------- */

typedef struct phase {
    const adze_step *s;
    adze_kernel_fn run;
} phase;

static void run_phase(void *arg, int ith, int nth) {
    const phase *p = arg;
    p->run(p->s, ith, nth);
}

static adze_step step_of(node *n, const adze_kernel *k, int nth) {
    static const adze_run RUN = {0};
    const size_t scratch = k->scratch(&n->sig), local = (k->local(&n->sig) + 63) / 64 * 64 + 64;
    adze_step s = {.op = n->sig.op, .attrs = &n->at, .nin = 2, .nout = 1, .in = n->v, .out = &n->v[2], .local_stride = local, .run = &RUN};
    s.scratch = aligned_alloc(64, (scratch + 127) / 64 * 64);
    s.local = aligned_alloc(64, local * (size_t)nth);
    assert_true(s.scratch != NULL && s.local != NULL);
    memset(s.scratch, 0xFF, scratch);
    memset(s.local, 0xFF, local * (size_t)nth); /* NaN */
    memset(n->v[2].data, 0xFF, n->bytes);
    return s;
}

static void step_free(const adze_step *s) {
    free(s->scratch);
    free(s->local);
}

/* The whole batch on nth threads at once. */
static void run_whole(node *n, const adze_kernel *k, int nth) {
    const adze_step s = step_of(n, k, nth);
    for (int i = 0; k->run[i] != NULL; i++) {
        phase p = {&s, k->run[i]};
        adze_pool_run(ctx, run_phase, &p, nth);
    }
    step_free(&s);
}

/* The batch in slices of at most `most` examples, leaf by leaf, the last leaf first; then the leaves are added by three shares. */
static void run_sliced(node *n, const adze_kernel *k, int64_t most) {
    const int64_t examples = n->in[0].dims[0], leaves = (examples + ADZE_LEAF - 1) / ADZE_LEAF;
    const size_t partial = k->partial(&n->sig), stride = (partial + 63) / 64 * 64, size = adze_dtype_size(n->out.dtype);
    assert_int_equal(partial, n->bytes);
    adze_step s = step_of(n, k, 1);
    char *partials = aligned_alloc(64, stride * (size_t)leaves);
    assert_non_null(partials);
    memset(partials, 0, stride * (size_t)leaves);
    for (int64_t leaf = leaves - 1; leaf >= 0; leaf--) {
        const int64_t end = examples < (leaf + 1) * ADZE_LEAF ? examples : (leaf + 1) * ADZE_LEAF;
        for (int64_t i = leaf * ADZE_LEAF, take; i < end; i += take) {
            adze_view in[2] = {n->v[0], n->v[1]};
            take = end - i < most ? end - i : most;
            for (int j = 0; j < 2; j++) {
                in[j].data = (char *)in[j].data + (size_t)(i * in[j].strides[0]) * size;
                in[j].dims[0] = take;
            }
            s.in = in, s.partial = partials + (size_t)leaf * stride;
            k->run[k->prepare](&s, 0, 1);
        }
    }
    s.in = n->v, s.partial = NULL;
    for (int i = 2; i >= 0; i--) {
        k->finish(&s, partials, stride, leaves, i, 3);
    }
    free(partials);
    step_free(&s);
}

/* -- tests -------------------------------------------------------------------------------------------------------------------------------------- */

static double distance(const node *n, const void *want) {
    double far = 0, norm = 0;
    const int64_t count = adze_type_count(&n->out);
    for (int64_t i = 0; i < count; i++) {
        const double a = n->out.dtype == ADZE_F32 ? (double)((const float *)n->v[2].data)[i] : ((const double *)n->v[2].data)[i];
        const double b = n->out.dtype == ADZE_F32 ? (double)((const float *)want)[i] : ((const double *)want)[i];
        far += (a - b) * (a - b), norm += b * b;
    }
    return sqrt(far) / (norm > 0 ? sqrt(norm) : 1);
}

static void expect_bits(const node *n, const void *want, const char *isa, const char *how, int64_t count) {
    if (memcmp(n->v[2].data, want, n->bytes) != 0) {
        fail_msg("%s: %s %lld changes bits of dw (%s x %s)", isa, how, (long long)count, n->sig.name, adze_dtype_name(n->out.dtype));
    }
}

static void check_kernel(node *n, const adze_kernel *k, const char *isa, const void *ref, size_t index) {
    const double bound = n->out.dtype == ADZE_F32 ? 2e-6 : 1e-14;
    void *one = malloc(n->bytes);
    assert_non_null(one);
    run_whole(n, k, 1);
    memcpy(one, n->v[2].data, n->bytes);
    const double far = distance(n, ref);
    if (!(far <= bound)) {
        fail_msg("%s: shape %zu is %.3g from the reference", isa, index, far);
    }
    for (int nth = 2; nth <= 8; nth += nth < 4 ? 1 : 4) {
        run_whole(n, k, nth);
        expect_bits(n, one, isa, "threads", nth);
    }
    static const int64_t SLICES[] = {1, 3, 5, 16};
    for (size_t i = 0; i < ADZE_COUNT(SLICES); i++) {
        run_sliced(n, k, SLICES[i]);
        expect_bits(n, one, isa, "slices of", SLICES[i]);
    }
    free(one);
}

static void for_each(adze_dtype d) {
    int64_t taken = 0;
    for (size_t i = 0; i < ADZE_COUNT(SHAPES); i++) {
        node n;
        node_new(&n, &SHAPES[i], d);
        void *ref = malloc(n.bytes);
        const adze_step s = {.op = n.sig.op, .attrs = &n.at, .nin = 2, .nout = 1, .in = n.v, .out = &n.v[2]};
        assert_non_null(ref);
        n.sig.op->ref(&s, 0, 1);
        memcpy(ref, n.v[2].data, n.bytes);
        for (int isa = 0; isa <= (int)adze_isa_best() && isa < (int)ADZE_COUNT(LISTS); isa++) {
            for (int j = 0; j < LISTS[isa]->count; j++) {
                const adze_kernel *k = &LISTS[isa]->kernels[j];
                if (strcmp(k->op, "conv_dw") == 0 && strcmp(k->name, "direct") == 0 && k->accept(&n.sig)) {
                    check_kernel(&n, k, adze_isa_name((adze_isa)isa), ref, i);
                    taken++;
                }
            }
        }
        free(ref);
        node_free(&n);
    }
    assert_true(taken >= (int64_t)ADZE_COUNT(SHAPES) * (adze_isa_best() > ADZE_ISA_V4 ? ADZE_ISA_V4 + 1 : (int)adze_isa_best() + 1));
}

static void f32_bits_depend_on_neither_threads_nor_slices(void **state) {
    (void)state;
    for_each(ADZE_F32);
}

static void f64_bits_depend_on_neither_threads_nor_slices(void **state) {
    (void)state;
    for_each(ADZE_F64);
}

static void sums_that_would_fill_the_memory_are_not_grouped(void **state) {
    (void)state;
    static const shape SMALL = {64, 7, 7, 64, 64, 3, 3, 1, 1, 1, 1, 0, 0}, LARGE = {1600, 7, 7, 512, 512, 3, 3, 1, 1, 1, 1, 0, 0};
    for (int j = 0; j < LISTS[0]->count; j++) {
        const adze_kernel *k = &LISTS[0]->kernels[j];
        if (strcmp(k->op, "conv_dw") == 0 && strcmp(k->name, "direct") == 0) {
            node n;
            node_types(&n, &SMALL, ADZE_F32);
            assert_int_equal(k->partial(&n.sig), n.bytes);
            node_types(&n, &LARGE, ADZE_F32);
            assert_int_equal(k->partial(&n.sig), 0);
            return;
        }
    }
    fail_msg("there is no kernel");
}

static int setup(void **state) {
    (void)state;
    const adze_ctx_opts opts = {.size = sizeof opts, .threads = 8};
    return adze_ctx_new(&opts, &ctx);
}

static int teardown(void **state) {
    (void)state;
    adze_ctx_free(ctx);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_bits_depend_on_neither_threads_nor_slices),
        cmocka_unit_test(f64_bits_depend_on_neither_threads_nor_slices),
        cmocka_unit_test(sums_that_would_fill_the_memory_are_not_grouped),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
