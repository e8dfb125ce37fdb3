/* The portable loops compiled with the compiler's baseline flags: for processors that none of the other tables fits. */
#define CPU_TABLE adze_kernels_ref
#define CPU_VECTOR 16 /* bytes */
#define CPU_ROWS 4    /* rows of a register tile */
#define CPU_FMA 0
#include "kernels.inc"
