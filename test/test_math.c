/* The f32 functions on every 4099th float and all special ones: less than 1 unit in the last place from the true value on every instruction set
 * (exhaustive_math.c looks at the floats between them), special values as C's Annex F has them, wherever in a line and at whatever stride a value
 * lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ulp.h"

enum { STRIDE = 4099 };

static void sample(const ulp_function *f, ulp_finding *found) {
    float x[ULP_BLOCK];
    int64_t n = 0;
    for (uint64_t u = 0; u < 1ull << 32; u += STRIDE) {
        x[n++] = ulp_float((uint32_t)u);
        if (n == ULP_BLOCK) {
            ulp_block(f, x, n, found);
            n = 0;
        }
    }
    static const float ENDS[] = {0,         1e-38f,    FLT_MIN,    FLT_TRUE_MIN, FLT_MAX, INFINITY,    NAN,         1,           88.72284f, 87.33655f,
                                 103.9721f, 103.2789f, 104,        9.010913f,    3.919f,  16.63553f,   17.32868f,   0x1p-12f,    0x1p-18f,  0x1p-25f,
                                 0x1p20f,   1e5f,      1.5707964f, 3.1415927f,   0.5f,    0.34657359f, 0.70710678f, 1.41421356f, 3.95f,     10};
    for (size_t i = 0; i < ADZE_COUNT(ENDS); i++) { /* and their neighbours, both signs */
        uint32_t u;
        memcpy(&u, &ENDS[i], sizeof u);
        for (int k = -8; k <= 8; k++) {
            x[n % ULP_BLOCK] = ulp_float(u + (uint32_t)k), n++;
            x[n % ULP_BLOCK] = ulp_float((u + (uint32_t)k) ^ 0x80000000u), n++;
            if (n >= ULP_BLOCK - 2) {
                ulp_block(f, x, n, found);
                n = 0;
            }
        }
    }
    ulp_block(f, x, n, found);
}

static void test_a_sample_of_floats(void **state) {
    (void)state;
    for (size_t i = 0; i < ADZE_COUNT(ULP_FUNCTIONS); i++) {
        ulp_finding found = {0};
        sample(&ULP_FUNCTIONS[i], &found);
        assert_true(ulp_print(&ULP_FUNCTIONS[i], &found));
    }
}

static float value_of(const char *op, int level, float x) {
    float y = 0;
    const adze_view in = {.data = &x, .dtype = ADZE_F32, .rank = 1, .dims = {1}, .strides = {1}},
                    out = {.data = &y, .dtype = ADZE_F32, .rank = 1, .dims = {1}, .strides = {1}};
    const adze_step s = {.nin = 1, .nout = 1, .in = &in, .out = &out};
    ulp_kernel(op, level)->run[0](&s, 0, 1);
    return y;
}

static void test_special_values(void **state) {
    (void)state;
    static const struct {
        const char *op;
        float x, y;
    } CASES[] = {
        {"exp", -INFINITY, 0},
        {"exp", INFINITY, INFINITY},
        {"exp", -0.0f, 1},
        {"exp", 89, INFINITY},
        {"expm1", -INFINITY, -1},
        {"expm1", -0.0f, -0.0f},
        {"log", 0, -INFINITY},
        {"log", -0.0f, -INFINITY},
        {"log", 1, 0},
        {"log", -1, NAN},
        {"log", -INFINITY, NAN},
        {"log", INFINITY, INFINITY},
        {"log1p", -1, -INFINITY},
        {"log1p", -1.5f, NAN},
        {"log1p", -0.0f, -0.0f},
        {"log1p", INFINITY, INFINITY},
        {"tanh", INFINITY, 1},
        {"tanh", -INFINITY, -1},
        {"tanh", -0.0f, -0.0f},
        {"erf", INFINITY, 1},
        {"erf", -INFINITY, -1},
        {"erf", -0.0f, -0.0f},
        {"sigmoid", -INFINITY, 0},
        {"sigmoid", INFINITY, 1},
        {"sigmoid", 0, 0.5f},
        {"softplus", -INFINITY, 0},
        {"softplus", INFINITY, INFINITY},
        {"sin", INFINITY, NAN},
        {"cos", -INFINITY, NAN},
        {"sin", -0.0f, -0.0f},
        {"cos", 0, 1},
    };
    for (int level = 0; level < ULP_LEVELS && level <= (int)adze_isa_best(); level++) {
        for (size_t i = 0; i < ADZE_COUNT(CASES); i++) {
            const float y = value_of(CASES[i].op, level, CASES[i].x);
            if (isnan(CASES[i].y) ? !isnan(y) : y != CASES[i].y || !signbit(y) != !signbit(CASES[i].y)) {
                fail_msg("%s (%s) of %g is %g instead of %g", CASES[i].op, ULP_LEVEL_NAMES[level], (double)CASES[i].x, (double)y, (double)CASES[i].y);
            }
        }
        for (size_t i = 0; i < ADZE_COUNT(ULP_FUNCTIONS); i++) {
            assert_true(isnan(value_of(ULP_FUNCTIONS[i].op, level, NAN)) && isnan(value_of(ULP_FUNCTIONS[i].op, level, -NAN)));
        }
    }
}

/* Near and far arguments of sin share blocks, tails are shorter than vectors, strides leave gaps: the bits of a value stay. */
static void test_a_value_does_not_depend_on_its_place(void **state) {
    (void)state;
    enum { N = 301 };
    float x[3 * N], y[N];
    for (int i = 0; i < N; i++) {
        x[3 * i] = (float)(i - N / 2) * (i % 7 == 3 && i > N / 2 ? 1e7f : 0.173f);
        x[3 * i + 1] = x[3 * i + 2] = NAN;
    }
    for (int level = 0; level < ULP_LEVELS && level <= (int)adze_isa_best(); level++) {
        for (size_t f = 0; f < ADZE_COUNT(ULP_FUNCTIONS); f++) {
            for (int nth = 1; nth <= 3; nth++) {
                const adze_view in = {.data = x, .dtype = ADZE_F32, .rank = 1, .dims = {N}, .strides = {3}};
                const adze_view out = {.data = y, .dtype = ADZE_F32, .rank = 1, .dims = {N}, .strides = {1}};
                const adze_step s = {.nin = 1, .nout = 1, .in = &in, .out = &out};
                for (int ith = 0; ith < nth; ith++) {
                    ulp_kernel(ULP_FUNCTIONS[f].op, level)->run[0](&s, ith, nth);
                }
                for (int i = 0; i < N; i++) {
                    const float alone = value_of(ULP_FUNCTIONS[f].op, level, x[3 * i]);
                    assert_true(memcmp(&alone, &y[i], sizeof alone) == 0 || (isnan(alone) && isnan(y[i])));
                }
            }
        }
    }
}

/* f64 is the C library's, or made of it: within 2 units of a double, on random numbers of all sizes that matter. */
static void test_f64_functions(void **state) {
    (void)state;
    uint64_t u = 5;
    for (int i = 0; i < 200000; i++) {
        u = u * 6364136223846793005u + 1442695040888963407u;
        const double x = ldexp((double)(int64_t)u, -63) * (i % 3 == 0 ? 700 : i % 3 == 1 ? 8 : 0.01);
        const long double e = expl(-fabsl((long double)x));
        const long double want[] = {x < 0 ? e / (1 + e) : 1 / (1 + e), (x > 0 ? (long double)x : 0) + log1pl(e)};
        static const char *const OPS[] = {"sigmoid", "softplus"};
        for (int f = 0; f < 2; f++) {
            double y;
            const adze_view in = {.data = (void *)(uintptr_t)&x, .dtype = ADZE_F64, .rank = 1, .dims = {1}, .strides = {1}};
            const adze_view out = {.data = &y, .dtype = ADZE_F64, .rank = 1, .dims = {1}, .strides = {1}};
            const adze_step s = {.nin = 1, .nout = 1, .in = &in, .out = &out};
            ulp_kernel(OPS[f], ADZE_ISA_REF)->run[0](&s, 0, 1);
            int exponent;
            frexpl(want[f], &exponent);
            const double error = (double)ldexpl(fabsl((long double)y - want[f]), 53 - exponent);
            if (!(error < 2)) {
                fail_msg("%s of %.17g in f64 is off by %.3f units", OPS[f], x, error);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_a_value_does_not_depend_on_its_place),
        cmocka_unit_test(test_f64_functions),
        cmocka_unit_test(test_a_sample_of_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
