/* Products of every instruction set of this machine, where random cases are too small: several blocks of the depth, of panels and of rows, few rows,
 * batches, outputs past the caches. What optest_kernel.h checks, and that levels which fuse multiplication and addition agree to the bit. */
#include "optest_kernel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct {
    int64_t na, nb, m, n, k; /* na, nb: matrices a and b, 0: rank 2 */
} SHAPES[] = {
    {0, 0, 1, 1, 1},     {0, 0, 1, 70, 800}, {0, 0, 8, 650, 33},    {0, 0, 5, 37, 390},    {0, 0, 9, 10, 500},   {0, 0, 64, 10, 100},
    {0, 0, 64, 100, 30}, {0, 0, 3, 1100, 7}, {0, 0, 130, 300, 400}, {0, 0, 29, 33, 1153},  {0, 0, 257, 24, 17},  {0, 0, 784, 65, 16},
    {0, 0, 33, 528, 0},  {0, 0, 2, 20, 0},   {5, 0, 7, 40, 64},     {1, 0, 3, 20, 21},     {6, 6, 17, 19, 23},   {3, 3, 64, 64, 64},
    {0, 3, 12, 31, 50},  {1, 1, 4, 50, 400}, {0, 0, 40, 560, 770},  {0, 0, 260, 16640, 3}, {0, 0, 130, 96, 384}, {0, 0, 12, 8, 8},
};
enum { FORMS = 8 }; /* either side transposed or not, f32 and f64 */

static kt_problem problem(size_t shape, int form, adze_matmul_attrs *at) {
    const adze_dtype d = form & 4 ? ADZE_F64 : ADZE_F32;
    *at = (adze_matmul_attrs){.ta = form & 1, .tb = form & 2};
    kt_problem p = kt_product(SHAPES[shape].na, SHAPES[shape].nb, SHAPES[shape].m, SHAPES[shape].n, SHAPES[shape].k, d, d, at);
    p.seed = shape + (size_t)form, p.first = form % 3 == 1;
    return p;
}

/* Each shape and layout in one of the precisions: all eight forms of small shapes, half of those of large ones. */
static bool left_out(size_t shape, int form) {
    const bool large = SHAPES[shape].m * SHAPES[shape].n * (SHAPES[shape].k + 1) > 1000000;
    return (large || kt_step() > 1) && (size_t)(form ^ form >> 1 ^ form >> 2) % 2 != shape % 2;
}

static void products(void **state) {
    (void)state;
    for (size_t i = 0; i < ADZE_COUNT(SHAPES); i++) {
        for (int form = 0; form < FORMS; form++) {
            adze_matmul_attrs at;
            const kt_problem p = problem(i, form, &at);
            assert_true(left_out(i, form) || kt_check_levels(&p, -1, NULL) > 0);
        }
    }
}

/* All kernels of the two levels, not only the first that accepts: they share one order of summation. */
static void levels_that_fuse_and_all_kernels_agree_to_the_bit(void **state) {
    (void)state;
    static const adze_kernel_list *const LISTS[] = {&adze_linear_v3, &adze_linear_v4};
    if (adze_isa_best() < ADZE_ISA_V4) {
        skip();
    }
    for (size_t i = 0; i < ADZE_COUNT(SHAPES) * FORMS; i++) {
        adze_matmul_attrs at;
        const kt_problem p = problem(i / FORMS, (int)(i % FORMS), &at);
        if (left_out(i / FORMS, (int)(i % FORMS))) {
            continue;
        }
        kt t;
        void *want = NULL;
        kt_begin(&t, &p);
        for (int j = 0; j < LISTS[0]->count + LISTS[1]->count; j++) {
            const adze_kernel *k = j < LISTS[0]->count ? &LISTS[0]->kernels[j] : &LISTS[1]->kernels[j - LISTS[0]->count];
            if (strcmp(k->op, "matmul") == 0 && k->accept(&t.sig)) {
                kt_run(&t, k, 2);
                want = want ? want : memcpy(malloc(t.mout[0].bytes), t.mout[0].at, t.mout[0].bytes);
                if (memcmp(want, t.mout[0].at, t.mout[0].bytes) != 0) {
                    fail_msg("%s: %s of %s changes bits", t.text, k->name, j < LISTS[0]->count ? "v3" : "v4");
                }
            }
        }
        free(want);
        kt_end(&t);
    }
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(products), cmocka_unit_test(levels_that_fuse_and_all_kernels_agree_to_the_bit)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
