/* The portable loops compiled for AVX-512 (x86-64-v4): 14 x 2 register tiles of 64-byte vectors, masked stores. */
#include "level_v4.inc"

#define CPU_TABLE adze_kernels_v4
#include "kernels.inc"
