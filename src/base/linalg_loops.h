/* The loops in which linear algebra spends its time. They are compiled once for each level of vectors and chosen by the context's instruction set. */
#ifndef ADZE_SRC_LINALG_LOOPS_H
#define ADZE_SRC_LINALG_LOOPS_H

#include "base/linalg.h"

enum { LA_PACKED = 8 }; /* columns of a packed strip */

typedef struct la_product { /* c = a b */
    adze_la_mat a, c;
    const double *b; /* (strips, depth, LA_PACKED) */
    int64_t depth;
} la_product;

typedef struct la_reflection {
    const la_reflectors *r;
    bool last_first;
    adze_la_mat c;
} la_reflection;

typedef struct la_tridiagonal {
    adze_la_mat a;   /* symmetric, both triangles, as it was when the panel began; what is left lies below and to the right of `done` */
    adze_la_mat v;   /* (n, n): row k is the vector of reflection k, which leaves elements 0 .. k alone */
    adze_la_mat w;   /* of the panel's reflections from `from` on: what they have left to do, a -= v w^T + w v^T */
    double *tau, *p; /* of n; p: a times the new v */
    int64_t from, done;
} la_tridiagonal;

typedef struct la_rotation {
    double c, s;
    int64_t row; /* of the rows row and row + 1 */
} la_rotation;

typedef struct la_rotations {
    adze_la_mat z; /* at NULL: nobody wants them */
    la_rotation *r;
    int64_t count, cap;
} la_rotations;

typedef struct la_loops { /* arg: one of the structs above */
    la_task product_rows, reflect_strips, rotate_strips;
    la_task tridiagonal_product, tridiagonal_update; /* rows behind done: p = a v; a brought up to date */
} la_loops;

const la_loops *la_loops_for(const adze_ctx *ctx);
extern const la_loops la_loops_v1, la_loops_v3, la_loops_v4;

#endif
