/* Minimisers of a smooth function of n numbers in double precision: gradient descent, conjugate gradients, Newton, BFGS, L-BFGS.
 *
 * Sources: NW = Nocedal, Wright, Numerical Optimization, 2nd edition 2006; the line search: More, Thuente, ACM TOMS 20(3), 1994. */
#ifndef ADZE_MINIMIZE_H
#define ADZE_MINIMIZE_H

#include "adze/linalg.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct adze_min_fn { /* what is minimised; a status that is not 0 ends the call, which returns it */
    int64_t n;
    int (*value)(void *user, const double *x, double *f, double *g); /* f and its gradient g (n); f may be inf or nan where it has no value */
    int (*hessian)(void *user, const double *x, adze_la_mat h);      /* h (n, n), of which the lower triangle is read; newton only, else NULL */
    int (*step)(void *user, int64_t step, const double *x, double f, const double *g); /* after each step; may be NULL; not 0 ends the call */
    void *user;
} adze_min_fn;

typedef enum adze_min_method {
    ADZE_MIN_GD,     /* d = -g; the first trial keeps the last step's decrease (NW 3.60) */
    ADZE_MIN_CG,     /* Polak-Ribiere, restarted where beta < 0 (NW 5.45) */
    ADZE_MIN_BFGS,   /* NW algorithm 6.1: an approximation of the inverse Hessian, n n numbers */
    ADZE_MIN_LBFGS,  /* NW algorithm 7.5: the last m pairs; Liu and Nocedal 1989 */
    ADZE_MIN_NEWTON, /* NW algorithm 3.3: the Hessian plus as much of the identity as makes it positive definite; from a stationary point that is no
                        minimum along a direction of negative curvature */
    ADZE_MIN_METHODS
} adze_min_method;
ADZE_API const char *adze_min_name(int method); /* "lbfgs"; NULL past the end */

typedef enum adze_min_scale {                       /* what the quasi-Newton matrix starts from */
                              ADZE_MIN_SCALE_USUAL, /* bfgs: none, lbfgs: each */
                              ADZE_MIN_SCALE_NONE,  /* the identity; first trials then expect f to fall as it did last */
                              ADZE_MIN_SCALE_FIRST, /* s'y / y'y of the first pair times the identity (NW 6.20): often fewer steps */
                              ADZE_MIN_SCALE_EACH   /* of the latest pair (NW 7.20): lbfgs only */
} adze_min_scale;

typedef struct adze_min_opts { /* 0: the usual value, which stands behind each */
    size_t size;
    int32_t method, scale;
    int64_t m;     /* pairs of lbfgs: 10 */
    int64_t steps; /* at most: 1000 */
    int64_t evals; /* evaluations at most: 10 for each step allowed */
    double gtol;   /* ends where every |g_i| is at most this: 1e-5; < 0: never */
    double c1, c2; /* strong Wolfe conditions: 1e-4; 0.9, with gd and cg 0.1 */
    bool exact;    /* line search: to the zero of the slope by one secant, exact for quadratics; two evaluations a step */
} adze_min_opts;

typedef enum adze_min_why { ADZE_MIN_GRADIENT, ADZE_MIN_STEPS, ADZE_MIN_EVALS, ADZE_MIN_NO_DESCENT } adze_min_why;

typedef struct adze_min_result {
    double f, gradient;   /* at x; gradient: its largest |g_i| */
    int64_t steps, evals; /* evals: of f with g */
    int64_t hessians;
    double alpha; /* the last step over its direction */
    int32_t why;  /* adze_min_why: NO_DESCENT where rounding lets f fall no further */
} adze_min_result;

/* x (n), on entry the first guess, becomes the best point found. That the limits were too low is no error: result->why says. h: NULL, or (n, n) that
 * gets bfgs's last matrix. ADZE_EARG for a first point where f or g is not finite. */
ADZE_API int adze_minimize(adze_ctx *ctx, const adze_min_fn *fn, double *x, const adze_min_opts *o, adze_la_mat *h, adze_min_result *result);

#ifdef __cplusplus
}
#endif
#endif
