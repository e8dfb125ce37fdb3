/* Products and convolutions compiled for AVX-512 (x86-64-v4): 14 x 2 register tiles of 64-byte vectors, masked stores. */
#include "level_v4.inc"

#define CPU_TABLE adze_linear_v4
#include "linear.inc"
