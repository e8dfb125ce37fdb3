/* The loops of linear algebra for vectors of 2 doubles. */
#define LA_LOOPS la_loops_v1
#define LA_LANES 2
#define LA_ROWS 2
#include "base/linalg_loops.inc"
