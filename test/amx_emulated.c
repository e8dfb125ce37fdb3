/* The kernels of src/cpu/isa_amx_low.c on emulated tiles (amx_emulation.h); the rest of their code runs as it is and needs AVX512_BF16. */
#include "amx_emulated.h"

#include "cpu/level_amx.inc"

#include "amx_emulation.h"

#define CPU_TABLE amx_emulated
#include "cpu/low.inc"

bool amx_emulated_in_use(void) {
    return amx.palette != 0;
}

uint64_t amx_emulated_products(void) {
    return amx_products;
}
