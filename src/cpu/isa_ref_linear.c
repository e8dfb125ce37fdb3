/* Products and convolutions compiled with the compiler's baseline flags: for processors that none of the other tables fits. */
#include "level_ref.inc"

#define CPU_TABLE adze_linear_ref
#include "linear.inc"
