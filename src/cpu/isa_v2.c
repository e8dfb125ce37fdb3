/* The portable loops compiled for SSE4.2 (x86-64-v2): 4 x 2 register tiles of 16-byte vectors, products and sums apart. */
#include "level_v2.inc"

#define CPU_TABLE adze_kernels_v2
#include "kernels.inc"
