/* Products and convolutions in bf16 and 8-bit integers, compiled for the level v2. */
#include "level_v2.inc"

#define CPU_TABLE adze_low_v2
#include "low.inc"
