/* Products, convolutions and recurrent layers in bf16 and products of 8-bit integers, on shapes with many blocks and odd edges. The program that
 * includes this says on which kernels: it defines check(). */
#ifndef ADZE_TEST_LOW_CHECK_H
#define ADZE_TEST_LOW_CHECK_H

#include "optest_kernel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void check(const kt_problem *p);

static const int64_t PRODUCTS[][3] = {{37, 65, 801}, {150, 300, 78}, {64, 10, 500}, {1, 600, 33},
                                      {29, 33, 400}, {130, 24, 3},   {3, 8, 1},     {16, 40, 0}};

static void check_product(int64_t na, int64_t nb, int64_t m, int64_t n, int64_t k, adze_dtype left, adze_dtype out, int form) {
    const adze_matmul_attrs at = {.ta = form & 2, .tb = form & 1, .out = (int32_t)out};
    kt_problem p = kt_product(na, nb, m, n, k, left, left == ADZE_U8 ? ADZE_I8 : left, &at);
    p.seed = (uint64_t)(form + m), p.first = (m + form) % 3 == 0;
    check(&p);
}

static void check_products(adze_dtype left, adze_dtype out) {
    for (int i = 0; i < 4 * (int)ADZE_COUNT(PRODUCTS); i += kt_step()) {
        const int64_t *d = PRODUCTS[i / 4];
        check_product(0, 0, d[0], d[1], d[2], left, out, (i + i / 4) % 4);
    }
    check_product(5, 5, 19, 35, 21, left, out, 0); /* batched: both sides, or one for all */
    check_product(5, 5, 19, 35, 21, left, out, 2);
    check_product(5, 0, 19, 35, 21, left, out, 0);
    check_product(0, 5, 19, 35, 21, left, out, 0);
}

static void products_of_bf16_are_rounded_once(void **state) {
    (void)state;
    check_products(ADZE_BF16, ADZE_NONE);
}

static void products_of_bf16_in_f32(void **state) {
    (void)state;
    check_products(ADZE_BF16, ADZE_F32);
}

static void products_of_integers_are_exact(void **state) {
    (void)state;
    check_products(ADZE_I8, ADZE_NONE);
    check_products(ADZE_U8, ADZE_NONE);
}

static const kt_conv CONVS[] = {
    {18, 9, 13, 16, 16, 3, 3, 1, 1, 1, 1, 1, 0, 0},  {33, 8, 8, 32, 24, 3, 3, 1, 1, 1, 1, 1, 0, 0},  {5, 28, 28, 1, 20, 5, 5, 1, 1, 0, 0, 1, 0, 0},
    {17, 12, 12, 20, 50, 5, 5, 1, 1, 0, 0, 1, 0, 0}, {35, 6, 7, 16, 40, 3, 3, 2, 1, 1, 1, 1, 0, 0},  {2, 14, 14, 64, 65, 1, 1, 1, 1, 0, 0, 1, 0, 0},
    {1, 7, 7, 3, 33, 3, 5, 1, 2, 2, 2, 1, 0, 0},     {2, 10, 10, 12, 18, 3, 3, 1, 1, 1, 1, 3, 0, 0}, {2, 6, 6, 8, 8, 3, 3, 1, 1, 1, 1, 8, 0, 0},
    {1, 5, 5, 300, 40, 3, 3, 1, 1, 1, 1, 1, 0, 0},   {3, 6, 5, 6, 10, 2, 2, 1, 1, 3, 3, 1, 0, 0},    {20, 4, 4, 5, 7, 3, 3, 3, 1, 1, 1, 1, 0, 0},
    {2, 1, 40, 8, 8, 1, 9, 1, 1, 4, 4, 1, 0, 0},     {2, 9, 9, 4, 4, 1, 1, 2, 1, 0, 0, 1, 0, 0},     {1, 5, 6, 2, 6, 5, 1, 1, 2, 4, 4, 1, 0, 0},
    {3, 9, 11, 3, 34, 3, 3, 2, 1, 1, 1, 1, 0, 0},    {17, 8, 9, 3, 16, 3, 3, 1, 1, 1, 1, 1, 0, 0},   {2, 13, 9, 6, 40, 1, 1, 3, 1, 0, 0, 1, 0, 0}};

static void check_convs(adze_dtype out) {
    for (int i = 0; i < 3 * (int)ADZE_COUNT(CONVS); i += kt_step()) {
        adze_conv_attrs at;
        kt_problem p = kt_conv_problem(&CONVS[i / 3], (i + i / 3) % 3, ADZE_BF16, out, &at);
        p.seed = (uint64_t)i, p.first = i % 5 == 0;
        check(&p);
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

static void recurrent_layers_of_bf16(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(5, 3);
    for (int i = 0; i < 60; i += kt_step()) {
        adze_rnn_attrs at;
        kt_problem p = kt_recurrent(&r, ADZE_BF16, &at);
        p.seed = (uint64_t)i, p.first = i % 3 == 0;
        check(&p);
    }
}

static const struct CMUnitTest LOW_TESTS[] = {
    cmocka_unit_test(products_of_bf16_are_rounded_once), cmocka_unit_test(products_of_bf16_in_f32),
    cmocka_unit_test(products_of_integers_are_exact),    cmocka_unit_test(convolutions_of_bf16_are_rounded_once),
    cmocka_unit_test(convolutions_of_bf16_in_f32),       cmocka_unit_test(recurrent_layers_of_bf16),
};

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

#endif
