/* The table of src/cpu/isa_amx_low.c on emulated tiles. */
#ifndef ADZE_TEST_AMX_EMULATED_H
#define ADZE_TEST_AMX_EMULATED_H

#include "graph/device.h"

extern const adze_kernel_list amx_emulated;

bool amx_emulated_in_use(void);       /* this thread has not released its tiles */
uint64_t amx_emulated_products(void); /* of tiles, by this thread so far */

#endif
