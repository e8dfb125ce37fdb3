/* Products and convolutions in bf16 and 8-bit integers by the tiles of AMX. */
#include "level_amx.inc"

#define CPU_TABLE adze_low_amx
#include "low.inc"
