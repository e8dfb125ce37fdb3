/* The kernels of AMX on emulated tiles: what low_check.h checks, and that tiles are used and released. An emulation shows that shapes, addresses and
 * sums are right, nothing about speed; test_cpu_low checks the real ones on a processor that has them. */
#include "low_check.h"

#include "amx_emulated.h"

static void expect_released(void) {
    assert_false(amx_emulated_in_use());
}

static void check(const char *op, const void *attrs, adze_type a, adze_type b) {
    static const adze_device DEVICE = {.name = "cpu", .lists = {&amx_emulated}};
    const target on = {.name = "emulated amx", .device = &DEVICE, .after = expect_released};
    const uint64_t products = amx_emulated_products();
    check_on(&on, op, attrs, a, b);
    if (adze_type_count(&a) > 0 && adze_type_count(&b) > 0 && amx_emulated_products() == products) {
        fail_msg("%s: no tile was multiplied", op);
    }
}

static void random_products(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(5, 1);
    for (int i = 0; i < 150; i++) {
        const adze_dtype left = i % 3 == 0 ? ADZE_BF16 : i % 3 == 1 ? ADZE_I8 : ADZE_U8;
        const int64_t m = adze_rng_range(&r, 1, 70), n = adze_rng_range(&r, 1, 70), k = adze_rng_range(&r, 1, 200);
        const adze_matmul_attrs at = {
            .ta = adze_rng_range(&r, 0, 1) == 1, .tb = adze_rng_range(&r, 0, 1) == 1, .out = i % 6 == 0 ? ADZE_F32 : ADZE_NONE};
        const adze_type a = type(left, 2, at.ta ? k : m, at.ta ? m : k, 0, 0);
        check("matmul", &at, a, type(left == ADZE_BF16 ? ADZE_BF16 : ADZE_I8, 2, at.tb ? n : k, at.tb ? k : n, 0, 0));
    }
}

static void random_convolutions(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(5, 2);
    for (int i = 0; i < 60; i++) {
        const int64_t kernel = adze_rng_range(&r, 1, 4), pad = adze_rng_range(&r, 0, 2), stride = adze_rng_range(&r, 1, 2);
        const int64_t n = adze_rng_range(&r, 1, 3), h = adze_rng_range(&r, 4, 9), w = adze_rng_range(&r, 4, 50);
        const int64_t c = adze_rng_range(&r, 1, 40), k = adze_rng_range(&r, 1, 50);
        const int64_t oh = (h + 2 * pad - kernel) / stride + 1, ow = (w + 2 * pad - kernel) / stride + 1;
        const adze_ints two = {.n = 2, .v = {stride, stride}}, lo = {.n = 2, .v = {pad, pad}};
        adze_conv_attrs at = {.stride = two, .pad_lo = lo, .pad_hi = lo, .groups = 1, .out = i % 2 ? ADZE_F32 : ADZE_NONE};
        const adze_type x = type(ADZE_BF16, 4, n, h, w, c), f = type(ADZE_BF16, 4, kernel, kernel, c, k), y = type(ADZE_BF16, 4, n, oh, ow, k);
        check("conv", &at, x, f);
        at.size = (adze_ints){.n = 2, .v = {h, w}};
        check("conv_dx", &at, y, f);
        at.size = (adze_ints){.n = 2, .v = {kernel, kernel}};
        check("conv_dw", &at, x, y);
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
