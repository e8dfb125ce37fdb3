/* The portable loops compiled for SSE4.2 (x86-64-v2): 4 x 2 register tiles of 16-byte vectors, products and sums apart. */
#define CPU_TABLE adze_kernels_v2
#define CPU_VECTOR 16 /* bytes */
#define CPU_ROWS 4    /* rows of a register tile */
#define CPU_FMA 0
#include "kernels.inc"
