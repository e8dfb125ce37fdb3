/* Products and convolutions in bf16 and 8-bit integers, compiled for the level v3. */
#include "level_v3.inc"

#define CPU_TABLE adze_low_v3
#include "low.inc"
