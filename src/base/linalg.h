/* What the files of linear algebra share: checks of views, the loops that everything else is made of, reflections. */
#ifndef ADZE_SRC_LINALG_H
#define ADZE_SRC_LINALG_H

#include "adze/linalg.h"
#include "base/base.h"

#include <float.h>
#include <math.h>

enum { LA_STRIP = 32 }; /* columns that one thread takes at a time: 2,000 rows of them fit into the second cache */

/* One sentence for what is wrong with a view: its sizes, or an element that is not finite. `name` is what the public text calls it. */
int la_check(adze_ctx *ctx, const char *name, adze_la_mat a);     /* an input */
int la_check_out(adze_ctx *ctx, const char *name, adze_la_mat a); /* its elements are only written */
int la_check_square(adze_ctx *ctx, const char *name, adze_la_mat a);
int la_check_shape(adze_ctx *ctx, const char *name, adze_la_mat a, int64_t rows, int64_t cols); /* sizes as well as shape, not the elements */
int la_check_vector(adze_ctx *ctx, const char *name, const double *x, int64_t n);

int la_new(adze_ctx *ctx, int64_t rows, int64_t cols, adze_la_mat *out); /* zeroed; adze_free(ctx, out->at) */
void la_copy(adze_la_mat from, adze_la_mat to, bool transposed);
void la_identity(adze_la_mat a);
void la_mirror(adze_la_mat a);                                   /* the upper triangle becomes the lower one */
adze_la_mat la_part(adze_la_mat a, int64_t row, int64_t column); /* what lies below and to the right of there */
double la_largest(adze_la_mat a);                                /* |element| */
double la_norm(const double *x, int64_t n, int64_t stride);      /* Euclidean; neither overflows nor underflows on the way */
double la_to_unit(double largest);                               /* the power of 2 that brings it to between 1/2 and 1; 1 for 0 */
void la_scale(adze_la_mat a, double factor);

/* Runs fn on parts of 0 .. count - 1, multiples of `unit`, by as many threads as `work` (operations) pays for. */
typedef struct la_range {
    int64_t from, to;
} la_range;
typedef void (*la_task)(void *arg, la_range r);
void la_run(adze_ctx *ctx, la_task fn, void *arg, int64_t count, int64_t unit, double work);

/* x (n, k) of L x = b or L^T x = b, in place in b; unit: the diagonal counts as 1. The same for U. */
typedef enum la_triangle { LA_LOWER, LA_LOWER_UNIT, LA_LOWER_TRANSPOSED, LA_UPPER } la_triangle;
void la_solve_triangle(adze_ctx *ctx, la_triangle kind, adze_la_mat t, adze_la_mat b);

/* Reflections I - tau v v^T. Row i of v (count, n) holds the i-th vector, which is 0 before element first + i. */
typedef struct la_reflectors {
    adze_la_mat v;
    const double *tau;
    int64_t first;
} la_reflectors;
/* Makes x (n, stride) the v that takes it to (beta, 0, ...): x[0] becomes 1. Returns tau; 0 when nothing is to be done. */
double la_reflector(double *x, int64_t n, int64_t stride, double *beta);
void la_reflect(adze_ctx *ctx, const la_reflectors *r, bool last_first, adze_la_mat c);

/* Orthogonal matching pursuit (linalg_omp.c) of one signal at a time, of whose products with the atoms and among atoms all follows. */
typedef struct la_pursuit {
    adze_la_mat gram;   /* (n, n): products of atoms */
    const double *size; /* (n): its diagonal; of la_pursue alone */
    int64_t k;
    double tol;
} la_pursuit;
typedef struct la_place {     /* its scratch and its results */
    double *corr, *l, *y, *c; /* (n): products of atoms with the rest; (k, k): rows of the factor; (k): of L y = start; (k): coefficients */
    int64_t *chosen;          /* (k) */
} la_place;
int64_t la_pursuit_doubles(int64_t n, int64_t k); /* of scratch */
la_place la_pursuit_place(double *at, int64_t n, int64_t k);
/* Chooses atoms until k are there, tol is reached or no independent one helps; start (n): the signal's products with atoms; square: |signal|^2.
 * Returns how many: chosen and c then hold them. */
int64_t la_pursue(const la_pursuit *q, la_place *p, const double *start, double square);
/* Takes one atom more than the `count` that are there; false, and c as it was, when it depends on them. */
bool la_pursuit_add(const la_pursuit *q, la_place *p, const double *start, int64_t count, int64_t atom);

static inline double la_dot(const double *x, const double *y, int64_t n) {
    double s[8] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (int k = 0; k < 8; k++) {
            s[k] += x[i + k] * y[i + k];
        }
    }
    for (; i < n; i++) {
        rest += x[i] * y[i];
    }
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])) + rest;
}

static inline void la_axpy(double *restrict y, double a, const double *restrict x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        y[i] += a * x[i];
    }
}

/* (x, y) becomes (c x - s y, s x + c y). */
static inline void la_rotate(double *restrict x, double *restrict y, double c, double s, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double xi = x[i], yi = y[i];
        x[i] = c * xi - s * yi;
        y[i] = s * xi + c * yi;
    }
}

static inline double *la_row(adze_la_mat a, int64_t i) {
    return a.at + i * a.ld;
}

static inline int64_t la_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

#endif
