/* Products and convolutions in bf16 and 8-bit integers on every instruction set of this machine (low_check.h says what is checked). */
#include "low_check.h"

static void check(const char *op, const void *attrs, adze_type a, adze_type b) {
    for (int isa = 0; isa <= (int)adze_isa_best(); isa++) {
        const target on = {.name = adze_isa_name((adze_isa)isa), .device = adze_device_find("cpu", (adze_isa)isa)};
        check_on(&on, op, attrs, a, b);
    }
}

int main(void) {
    return cmocka_run_group_tests(LOW_TESTS, setup, teardown);
}
