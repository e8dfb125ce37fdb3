/* Products and convolutions in bf16 and 8-bit integers by the dot products of AVX512_BF16 and AVX512_VNNI. */
#include "level_bf16.inc"

#define CPU_TABLE adze_low_bf16
#include "low.inc"
