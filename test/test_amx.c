/* The kernels of AMX on emulated tiles: the problems of low_check.h, and that tiles are used and released. An emulation shows that shapes, addresses
 * and sums are right, nothing about speed; test_cpu_low checks the real ones on a processor that has them. */
#include "low_check.h"

#include "amx_emulated.h"

#include <stdio.h>

static void expect_released(void) {
    assert_false(amx_emulated_in_use());
}

static void check(const kt_problem *p) {
    kt t;
    kt_begin(&t, p);
    t.after = expect_released;
    const uint64_t products = amx_emulated_products();
    assert_true(kt_check_list(&t, &amx_emulated, "emulated amx", NULL) > 0);
    if (adze_type_count(&p->in[0]) > 0 && adze_type_count(&p->in[1]) > 0 && amx_emulated_products() == products) {
        fail_msg("%s: no tile was multiplied", t.text);
    }
    kt_end(&t);
}

static void random_products(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(5, 1);
    for (int i = 0; i < 60; i += kt_step()) {
        const adze_dtype left = i % 3 == 0 ? ADZE_BF16 : i % 3 == 1 ? ADZE_I8 : ADZE_U8;
        const int64_t m = adze_rng_range(&r, 1, 70), n = adze_rng_range(&r, 1, 70), k = adze_rng_range(&r, 1, 200);
        check_product(0, 0, m, n, k, left, i % 6 == 0 ? ADZE_F32 : ADZE_NONE, (int)adze_rng_range(&r, 0, 3));
    }
}

static void random_convolutions(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(5, 2);
    for (int i = 0; i < 72; i += kt_step()) {
        kt_conv s = {
            .kh = adze_rng_range(&r, 1, 4), .lo = adze_rng_range(&r, 0, 2), .hi = adze_rng_range(&r, 0, 2), .stride = adze_rng_range(&r, 1, 2)};
        s.n = adze_rng_range(&r, 1, 3), s.h = adze_rng_range(&r, 4, 9), s.w = adze_rng_range(&r, 4, 50);
        s.c = adze_rng_range(&r, 1, 40), s.k = adze_rng_range(&r, 1, 50);
        s.kw = s.kh, s.dilation = s.groups = 1;
        adze_conv_attrs at;
        kt_problem p = kt_conv_problem(&s, i / 2 % 3, ADZE_BF16, i / 6 % 2 ? ADZE_F32 : ADZE_NONE, &at);
        p.seed = (uint64_t)i, p.first = i % 4 == 3;
        check(&p);
    }
}

int main(void) {
    const struct CMUnitTest random[] = {cmocka_unit_test(random_products), cmocka_unit_test(random_convolutions)};
    if (adze_isa_best() < ADZE_ISA_BF16) {
        puts("skipped: the code around the emulated tiles needs AVX512_BF16");
        return 0;
    }
    const int failed = cmocka_run_group_tests_name("AMX, emulated", LOW_TESTS, setup, teardown);
    return failed + cmocka_run_group_tests_name("AMX, emulated, random shapes", random, setup, teardown);
}
