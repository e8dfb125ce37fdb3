/* The loops of linear algebra for vectors of 4 doubles. */
#define LA_LOOPS la_loops_v3
#define LA_LANES 4
#define LA_ROWS 4
#include "base/linalg_loops.inc"
