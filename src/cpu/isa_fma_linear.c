/* Products and convolutions with fused products and sums, compiled with the compiler's baseline flags: the bits of v3 and v4 without them. */
#include "level_fma.inc"

#define CPU_TABLE adze_linear_fma
#include "linear.inc"
