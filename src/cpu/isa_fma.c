/* The portable loops with fused products and sums, compiled with the compiler's baseline flags: the bits of v3 and v4 for processors without them. */
#include "level_fma.inc"

#define CPU_TABLE adze_kernels_fma
#include "kernels.inc"
