/* Pass "fuse". */
#include "plan_internal.h"

int adze_pass_fuse(adze_work *w) {
    (void)w;
    return ADZE_OK;
}
