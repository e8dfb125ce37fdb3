/* The loops of linear algebra for vectors of 8 doubles. */
#define LA_LOOPS la_loops_v4
#define LA_LANES 8
#define LA_ROWS 8
#include "base/linalg_loops.inc"
