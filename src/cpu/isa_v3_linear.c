/* Products and convolutions compiled for AVX2 with FMA (x86-64-v3): 6 x 2 register tiles of 32-byte vectors. */
#include "level_v3.inc"

#define CPU_TABLE adze_linear_v3
#include "linear.inc"
