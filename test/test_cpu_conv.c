/* Convolutions of every instruction set of this machine on shapes with many tiles, bands, panels, blocks and leaves, where random cases are too
 * small: what optest_kernel.h checks, and which kernel is chosen. */
#include "optest_kernel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static const kt_conv SHAPES[] = {
    {3, 30, 31, 5, 20, 5, 5, 1, 1, 2, 2, 1, 0, 0},
    {3, 12, 12, 20, 50, 5, 5, 1, 1, 0, 0, 1, 0, 0},
    {5, 8, 8, 64, 72, 3, 3, 1, 1, 1, 1, 1, 0, 0},
    {3, 9, 33, 16, 16, 3, 3, 1, 1, 1, 1, 1, 0, 0},
    {2, 41, 40, 3, 18, 7, 7, 2, 1, 3, 3, 1, 0, 0},
    {2, 35, 35, 3, 33, 11, 11, 4, 1, 2, 2, 1, 0, 0},
    {3, 7, 7, 40, 56, 1, 1, 1, 1, 0, 0, 1, 0, 0},
    {3, 9, 8, 17, 8, 1, 1, 2, 1, 0, 0, 1, 0, 0},
    {3, 14, 13, 24, 48, 3, 3, 2, 1, 1, 1, 4, 0, 0},
    {3, 15, 15, 12, 24, 3, 3, 1, 2, 2, 2, 3, 0, 0},
    {4, 19, 37, 37, 37, 3, 3, 1, 1, 1, 1, 37, 0, 0},
    {3, 18, 17, 21, 21, 5, 5, 2, 1, 2, 2, 21, 0, 0},
    {2, 2, 2, 6, 6, 5, 5, 1, 1, 2, 2, 1, 0, 0},
    {3, 4, 4, 300, 40, 3, 3, 1, 1, 1, 1, 1, 0, 0},
    {2, 17, 16, 4, 9, 2, 3, 3, 2, 1, 1, 1, 0, 0},
    {2, 23, 5, 8, 8, 3, 3, 5, 3, 4, 4, 2, 0, 0},
    {3, 5, 7, 19, 19, 1, 1, 1, 1, 0, 0, 19, 0, 0},
    {2, 3, 90, 16, 30, 3, 3, 1, 1, 1, 1, 1, 0, 0},
    {9, 6, 6, 6, 12, 3, 3, 1, 1, 1, 1, 6, 0, 0},
    /* volumes: 3x3x3, strided, slices that no tap reads, one place, dilation and groups, a kernel of depth only, depths of several blocks */
    {3, 9, 10, 16, 40, 3, 3, 1, 1, 1, 1, 1, 7, 3},
    {2, 11, 9, 5, 18, 3, 3, 2, 1, 1, 1, 1, 8, 3},
    {2, 7, 7, 8, 8, 2, 2, 4, 1, 0, 0, 1, 9, 1},
    {3, 5, 6, 9, 12, 1, 1, 1, 1, 0, 0, 1, 4, 1},
    {2, 9, 8, 12, 24, 2, 3, 1, 2, 2, 2, 3, 6, 2},
    {2, 4, 5, 20, 17, 1, 1, 1, 1, 0, 0, 1, 12, 5},
    {2, 4, 4, 300, 40, 3, 3, 1, 1, 1, 1, 1, 3, 3},
    {2, 1, 1, 3, 4, 1, 1, 1, 1, 2, 2, 1, 1, 3},
};

static const kt_conv WEIGHTS[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0},       /* the smallest */
    {17, 8, 8, 16, 16, 3, 3, 1, 1, 1, 1, 1, 0, 0},    /* two leaves, chained images */
    {3, 32, 32, 3, 16, 3, 3, 1, 1, 1, 1, 1, 0, 0},    /* merged taps, padded copy, two bands */
    {33, 12, 12, 20, 50, 5, 5, 1, 1, 0, 0, 1, 0, 0},  /* half a last vector */
    {2, 28, 28, 1, 20, 5, 5, 1, 1, 0, 0, 1, 0, 0},    /* merged taps in place */
    {2, 40, 41, 3, 33, 7, 7, 2, 1, 3, 3, 1, 0, 0},    /* strided first layer */
    {1, 3, 1500, 5, 9, 3, 3, 1, 1, 1, 1, 1, 0, 0},    /* rows longer than a band, merged */
    {2, 2, 1400, 8, 40, 1, 5, 2, 1, 2, 2, 1, 0, 0},   /* rows longer than a band, strided */
    {2, 30, 30, 14, 130, 3, 3, 1, 1, 1, 1, 1, 0, 0},  /* packed panels of dy, more than one band */
    {3, 26, 26, 9, 300, 3, 3, 1, 1, 1, 1, 1, 0, 0},   /* more panels than a block has */
    {18, 2, 2, 600, 500, 1, 1, 1, 1, 0, 0, 1, 0, 0},  /* outputs are shared out: many weights, two leaves of one band each */
    {17, 7, 7, 520, 510, 1, 1, 1, 1, 0, 0, 1, 0, 0},  /* the same, leaves of two bands */
    {18, 7, 7, 20, 130, 3, 3, 1, 1, 1, 1, 1, 0, 0},   /* packed and chained */
    {5, 5, 6, 4, 6, 3, 3, 1, 5, 5, 5, 1, 0, 0},       /* taps that touch next to nothing */
    {4, 1, 1, 7, 5, 3, 3, 1, 1, 1, 1, 1, 0, 0},       /* taps that never touch the image */
    {2, 11, 13, 12, 18, 3, 3, 2, 2, 2, 2, 3, 0, 0},   /* groups, dilation, stride */
    {20, 9, 9, 37, 37, 3, 3, 1, 1, 1, 1, 37, 0, 0},   /* depthwise */
    {40, 5, 5, 70, 70, 3, 3, 1, 1, 1, 1, 70, 0, 0},   /* depthwise, whole panels, chained, three leaves */
    {2, 30, 30, 96, 96, 3, 5, 2, 1, 2, 2, 96, 0, 0},  /* depthwise, strided */
    {2, 12, 12, 64, 128, 3, 3, 1, 1, 1, 1, 64, 0, 0}, /* two outputs for each channel */
    {18, 7, 7, 64, 64, 1, 1, 1, 1, 0, 0, 1, 0, 0},    /* a product */
    {2, 9, 9, 3, 6, 1, 1, 3, 1, 0, 0, 1, 0, 0},       /* few channels, one tap */
    {17, 6, 7, 18, 20, 3, 3, 1, 1, 1, 1, 1, 5, 3},    /* volumes: two leaves, chained slices */
    {2, 9, 9, 3, 16, 3, 3, 2, 1, 1, 1, 1, 8, 3},      /* merged taps, padded copy */
    {2, 28, 28, 12, 130, 3, 3, 1, 1, 1, 1, 1, 3, 2},  /* packed panels of dy */
    {3, 4, 4, 5, 6, 1, 1, 1, 3, 3, 3, 1, 2, 3},       /* slices that some taps never touch */
    {18, 3, 3, 200, 300, 2, 2, 1, 1, 1, 1, 1, 2, 3},  /* outputs are shared out */
    {3, 7, 6, 40, 40, 3, 3, 1, 1, 1, 1, 40, 4, 3},    /* depthwise */
};

/* Whole and partial tiles, more padding than a window and none, partial vectors of channels, several blocks of channels, one and two leaves. */
static const kt_conv WINOGRAD[] = {
    {16, 8, 8, 16, 16, 3, 3, 1, 1, 1, 1, 1, 0, 0},  {33, 9, 13, 17, 19, 3, 3, 1, 1, 1, 1, 1, 0, 0}, {18, 11, 9, 33, 40, 3, 3, 1, 1, 0, 2, 1, 0, 0},
    {2, 20, 17, 16, 65, 3, 3, 1, 1, 3, 0, 1, 0, 0}, {20, 7, 7, 70, 16, 3, 3, 1, 1, 1, 1, 1, 0, 0},  {17, 12, 12, 20, 50, 5, 5, 1, 1, 0, 0, 1, 0, 0},
    {3, 13, 22, 16, 32, 5, 5, 1, 1, 2, 2, 1, 0, 0}, {18, 6, 5, 24, 18, 5, 5, 1, 1, 4, 4, 1, 0, 0},  {18, 29, 31, 16, 20, 3, 3, 1, 1, 1, 1, 1, 0, 0},
    {1, 64, 50, 16, 16, 3, 3, 1, 1, 1, 1, 1, 0, 0}, {40, 4, 4, 130, 36, 3, 3, 1, 1, 1, 1, 1, 0, 0}, {2, 28, 28, 16, 16, 5, 5, 1, 1, 2, 2, 1, 0, 0},
    {4, 5, 5, 48, 16, 3, 3, 1, 1, 0, 0, 1, 0, 0},   {19, 8, 8, 50, 20, 5, 5, 1, 1, 4, 4, 1, 0, 0},  {2, 4, 4, 64, 64, 5, 5, 1, 1, 2, 2, 1, 0, 0},
    {2, 3, 9, 128, 64, 3, 3, 1, 1, 1, 1, 1, 0, 0}, /* the smallest images */
};

/* Fourier transforms: one and many tiles, sides of 16 to 64, padding on one side only, kernels that are not square. */
static const kt_conv FOURIER[] = {
    {16, 8, 8, 16, 16, 3, 3, 1, 1, 1, 1, 1, 0, 0},  {2, 20, 17, 9, 65, 3, 3, 1, 1, 3, 0, 1, 0, 0},   {17, 14, 9, 5, 18, 7, 7, 1, 1, 3, 3, 1, 0, 0},
    {2, 40, 33, 4, 9, 11, 11, 1, 1, 5, 5, 1, 0, 0}, {1, 70, 40, 2, 5, 21, 21, 1, 1, 0, 13, 1, 0, 0}, {3, 15, 9, 5, 9, 7, 1, 1, 1, 0, 0, 1, 0, 0},
    {2, 6, 19, 4, 7, 1, 9, 1, 1, 0, 0, 1, 0, 0},    {2, 13, 24, 3, 6, 11, 3, 1, 1, 1, 1, 1, 0, 0},
};

/* Each shape in f32, every other one also in f64. kernel: this one only; NULL: all that accept. */
static void check_shapes(const kt_conv *shapes, size_t n, int pass, const char *kernel) {
    for (size_t i = (size_t)pass % (size_t)kt_step(); i < n; i += (size_t)kt_step()) {
        for (int d = 0; d < 1 + (int)(i + (size_t)pass / 2) % 2; d++) {
            adze_conv_attrs at;
            kt_problem p = kt_conv_problem(&shapes[i], pass, d ? ADZE_F64 : ADZE_F32, ADZE_NONE, &at);
            p.seed = i + (size_t)d, p.first = (i + (size_t)pass) % 3 == 0;
            assert_true(kt_check_levels(&p, -1, kernel) > 0);
        }
    }
}

static void forward(void **state) {
    (void)state;
    check_shapes(SHAPES, ADZE_COUNT(SHAPES), 0, NULL);
}

static void dx(void **state) {
    (void)state;
    check_shapes(SHAPES, ADZE_COUNT(SHAPES), 1, NULL);
}

static void dw(void **state) {
    (void)state;
    check_shapes(WEIGHTS, ADZE_COUNT(WEIGHTS), 2, "direct");
}

static void winograd(void **state) {
    (void)state;
    for (int pass = 0; pass < 3; pass++) {
        check_shapes(WINOGRAD, ADZE_COUNT(WINOGRAD), pass, "winograd");
    }
}

static void fourier(void **state) {
    (void)state;
    for (int pass = 0; pass < 3; pass++) {
        check_shapes(FOURIER, ADZE_COUNT(FOURIER), pass, "fft");
    }
}

/* -- what is decided from the shape ---------------------------------------------------------------------------------------------------------- */

/* A kernel of the portable build, and the size of a leaf's sum. */
static size_t partial(const char *name, const kt_conv *s) {
    adze_conv_attrs at;
    const kt_problem p = kt_conv_problem(s, 2, ADZE_F32, ADZE_NONE, &at);
    adze_type dw_type;
    adze_sig sig = {.ctx = kt_ctx(), .op = adze_op_find("conv_dw"), .attrs = &at, .nin = 2, .nout = 1, .in = p.in, .out = &dw_type};
    assert_int_equal(sig.op->infer(&sig), ADZE_OK);
    return adze_device_kernel_named(adze_device_find("cpu", ADZE_ISA_REF), &sig, name)->partial(&sig);
}

static void sums_that_would_fill_the_memory_are_not_grouped(void **state) {
    (void)state;
    static const kt_conv SMALL = {64, 7, 7, 64, 64, 3, 3, 1, 1, 1, 1, 1, 0, 0}, LARGE = {1600, 7, 7, 512, 512, 3, 3, 1, 1, 1, 1, 1, 0, 0};
    assert_int_equal(partial("direct", &SMALL), 9 * 64 * 64 * 4);
    assert_int_equal(partial("direct", &LARGE), 0);
    int able = 0, unable = 0; /* Winograd's slices must be tried, not refused for every shape */
    for (size_t i = 0; i < ADZE_COUNT(WINOGRAD); i++) {
        const size_t bytes = partial("winograd", &WINOGRAD[i]);
        able += bytes > 0, unable += bytes == 0;
    }
    assert_true(able > 2 && unable > 2);
}

static const char *chosen(const kt_conv *s, int pass) {
    adze_conv_attrs at;
    const kt_problem p = kt_conv_problem(s, pass, ADZE_F32, ADZE_NONE, &at);
    adze_type out;
    adze_sig sig = {.ctx = kt_ctx(), .op = adze_op_find(p.op), .attrs = &at, .nin = 2, .nout = 1, .in = p.in, .out = &out};
    assert_int_equal(sig.op->infer(&sig), ADZE_OK);
    return adze_device_kernel(adze_device_find("cpu", adze_isa_best()), &sig)->name;
}

/* The layers for which the kernels are there, and some that are better off without. */
static void transforms_are_chosen_where_they_pay(void **state) {
    (void)state;
    static const struct {
        const char *name;
        kt_conv good, bad;
    } CASES[] = {
        {"winograd", {128, 32, 32, 16, 16, 3, 3, 1, 1, 1, 1, 1, 0, 0}, {8, 32, 32, 3, 16, 3, 3, 1, 1, 1, 1, 1, 0, 0}},
        {"winograd", {128, 8, 8, 64, 64, 3, 3, 1, 1, 1, 1, 1, 0, 0}, {1, 7, 7, 512, 512, 3, 3, 1, 1, 1, 1, 1, 0, 0}},
        {"winograd", {8, 28, 28, 128, 128, 3, 3, 1, 1, 1, 1, 1, 0, 0}, {1, 8, 8, 64, 64, 3, 3, 1, 1, 1, 1, 1, 0, 0}},
        {"fft", {8, 56, 56, 64, 64, 7, 7, 1, 1, 3, 3, 1, 0, 0}, {8, 56, 56, 64, 64, 3, 3, 1, 1, 1, 1, 1, 0, 0}},
        {"fft", {8, 56, 56, 64, 64, 11, 11, 1, 1, 5, 5, 1, 0, 0}, {8, 56, 56, 1, 4, 7, 7, 1, 1, 3, 3, 1, 0, 0}},
        {"fft", {8, 56, 56, 32, 32, 21, 21, 1, 1, 10, 10, 1, 0, 0}, {1, 7, 7, 64, 64, 7, 7, 1, 1, 0, 0, 1, 0, 0}},
    };
    for (size_t i = 0; i < ADZE_COUNT(CASES); i++) {
        for (int pass = 0; pass < 3; pass++) {
            assert_string_equal(chosen(&CASES[i].good, pass), CASES[i].name);
            assert_string_not_equal(chosen(&CASES[i].bad, pass), CASES[i].name);
        }
    }
}

/* Where the error would be more than what is promised, not even by name. */
static void winograd_takes_no_crumbs(void **state) {
    (void)state;
    static const kt_conv CRUMBS[] = {{2, 2, 9, 64, 64, 3, 3, 1, 1, 1, 1, 1, 0, 0}, {2, 9, 3, 64, 64, 5, 5, 1, 1, 2, 2, 1, 0, 0}};
    for (int i = 0; i < 6; i++) {
        adze_conv_attrs at;
        const kt_problem p = kt_conv_problem(&CRUMBS[i % 2], i / 2, ADZE_F32, ADZE_NONE, &at);
        assert_int_equal(kt_check_levels(&p, -1, "winograd"), 0);
    }
}

/* dx of a convolution without padding has fewer tiles as the transposed of the forward pass than as a convolution of dy. */
static void unpadded_dx_is_transposed(void **state) {
    (void)state;
    static const kt_conv VALID = {256, 12, 12, 20, 50, 5, 5, 1, 1, 0, 0, 1, 0, 0};
    assert_string_equal(chosen(&VALID, 1), "winograd");
}

static int setup(void **state) {
    (void)state;
    kt_setup();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    kt_teardown();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(forward),
                                       cmocka_unit_test(dx),
                                       cmocka_unit_test(dw),
                                       cmocka_unit_test(winograd),
                                       cmocka_unit_test(sums_that_would_fill_the_memory_are_not_grouped),
                                       cmocka_unit_test(fourier),
                                       cmocka_unit_test(transforms_are_chosen_where_they_pay),
                                       cmocka_unit_test(winograd_takes_no_crumbs),
                                       cmocka_unit_test(unpadded_dx_is_transposed)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
