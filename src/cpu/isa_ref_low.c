/* Products and convolutions in bf16 and 8-bit integers, compiled for the level ref. */
#include "level_ref.inc"

#define CPU_TABLE adze_low_ref
#include "low.inc"
