/* Products and convolutions in bf16 and 8-bit integers, compiled for the level v4. */
#include "level_v4.inc"

#define CPU_TABLE adze_low_v4
#include "low.inc"
