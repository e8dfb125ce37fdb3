/* Kernels in bf16 and 8-bit integers on every instruction set of this machine (low_check.h says which). */
#include "low_check.h"

static void check(const kt_problem *p) {
    assert_true(kt_check_levels(p, -1, NULL) > 0);
}

int main(void) {
    return cmocka_run_group_tests(LOW_TESTS, setup, teardown);
}
