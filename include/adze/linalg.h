/* Linear algebra in double precision: factorisations, least squares, eigenvalues, singular values, Krylov methods, Fourier transforms, clusters.
 *
 * A matrix is a view: element (i, j) is at[i * ld + j], ld >= cols; rows or cols may be 0. A function writes only what its text says it writes, and
 * its matrices must not overlap. Shapes stand as (rows, cols) in the texts; vectors are dense. Every function that returns int can fail:
 * ADZE_ESHAPE when shapes do not fit, ADZE_EARG for a nan or an infinity in an input (the sentence names the element), ADZE_ENOMEM, and what its text
 * adds. Results are the same bits for any number of threads and any instruction set. Indices and pivots are counted from 0.
 *
 * Sources: GVL = Golub, Van Loan, Matrix Computations, 4th edition 2013; others in full. */
#ifndef ADZE_LINALG_H
#define ADZE_LINALG_H

#include "adze/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct adze_la_mat {
    double *at;
    int64_t rows, cols, ld;
} adze_la_mat;

ADZE_API adze_la_mat adze_la_dense(double *at, int64_t rows, int64_t cols); /* a view with ld = cols */

/* c (m, n) = a b; each of a and b is transposed first when its flag says so. */
ADZE_API int adze_la_matmul(adze_ctx *ctx, adze_la_mat a, bool a_transposed, adze_la_mat b, bool b_transposed, adze_la_mat c);

/* -- systems of equations ------------------------------------------------------------------------------------------------------------- */

/* a (n, n), of which the lower triangle is read, becomes L with a = L L^T and zeros above the diagonal. ADZE_EARG names the pivot where a is found
 * not to be positive definite (a is then half done). GVL 4.2.5, by rows. */
ADZE_API int adze_la_cholesky(adze_ctx *ctx, adze_la_mat a);
/* b (n, k) becomes the solution x of L L^T x = b. GVL 3.1. */
ADZE_API int adze_la_cholesky_solve(adze_ctx *ctx, adze_la_mat l, adze_la_mat b);
/* inverse (n, n) = (L L^T)^-1, symmetric to the bit. */
ADZE_API int adze_la_cholesky_inverse(adze_ctx *ctx, adze_la_mat l, adze_la_mat inverse);

/* a (n, n) becomes U on and above the diagonal, L (with ones on the diagonal) below it; row i of L U is row rows[i] of the old a. A singular a is no
 * error here: U then has a zero on its diagonal. GVL 3.4.1, partial pivoting. */
ADZE_API int adze_la_lu(adze_ctx *ctx, adze_la_mat a, int64_t *rows);
/* b (n, k) becomes the solution x of a x = b. ADZE_EARG names a pivot that is 0. */
ADZE_API int adze_la_lu_solve(adze_ctx *ctx, adze_la_mat lu, const int64_t *rows, adze_la_mat b);
/* The determinant is sign * exp(log_abs); sign is -1, 0 or 1, log_abs of a singular matrix is -inf. */
ADZE_API int adze_la_lu_det(adze_ctx *ctx, adze_la_mat lu, const int64_t *rows, double *sign, double *log_abs);

/* -- orthogonal factors and least squares --------------------------------------------------------------------------------------------- */

/* a (m, n) becomes R on and above the diagonal and below it the Householder vectors v (whose first element, 1, is not stored) of Q = H0 H1 ...,
 * H = I - tau v v^T; tau has min(m, n) elements. order NULL: a = Q R (GVL 5.2.1). Else column j of Q R is column order[j] of the old a, chosen so
 * that the diagonal of R descends in magnitude (GVL 5.4.1; norms kept as in Drmac, Bujanovic, ACM TOMS 35(2), 2008). */
ADZE_API int adze_la_qr(adze_ctx *ctx, adze_la_mat a, double *tau, int64_t *order);
/* q (m, k) becomes the first k columns of Q, k <= m: min(m, n) for the thin factor, m for the full one. GVL 5.1.6. */
ADZE_API int adze_la_qr_q(adze_ctx *ctx, adze_la_mat qr, const double *tau, adze_la_mat q);
/* b (m, k) becomes Q b, or Q^T b. */
ADZE_API int adze_la_qr_apply(adze_ctx *ctx, adze_la_mat qr, const double *tau, bool transposed, adze_la_mat b);
/* x (n, k) = the shortest of the x that minimise |a x - b|, a (m, n), b (m, k). Columns whose pivot is below rcond times the first count as dependent
 * (rcond < 0: max(m, n) times the precision); *rank (may be NULL) says how many are not. GVL 5.5.2, complete orthogonal factors. */
ADZE_API int adze_la_least_squares(adze_ctx *ctx, adze_la_mat a, adze_la_mat b, adze_la_mat x, double rcond, int64_t *rank);
/* x (n) >= 0 minimises |a x - b|, which goes to *residual (may be NULL); a (m, n), b (m). Lawson, Hanson, Solving Least Squares Problems 1974, 23.10.
 */
ADZE_API int adze_la_nnls(adze_ctx *ctx, adze_la_mat a, const double *b, double *x, double *residual);

typedef struct adze_la_stop {
    double tol;      /* relative: of |b|, or of the eigenvalue; what a text says */
    int64_t at_most; /* steps */
    int64_t steps;   /* written */
    double residual; /* written: |b - A x|, or |A x - value x| */
} adze_la_stop;

/* -- least squares with a penalty ------------------------------------------------------------------------------------------------------- */

/* x (n, k) minimises |a x - b|^2 + alpha x^T P x, a (m, n), b (m, k), alpha >= 0; P = prior (n, n), positive definite, or I when prior.at is NULL
 * (Tikhonov; with P the inverse covariance of a Gaussian prior). By QR of a with a root of the penalty below it. GVL 6.1.4. */
ADZE_API int adze_la_ridge(adze_ctx *ctx, adze_la_mat a, adze_la_mat b, double alpha, adze_la_mat prior, adze_la_mat x);
/* What is left of a quadratic's minimum along directions of these curvatures (n): of the penalty alpha |x|^2 / 2, kept = c / (c + alpha) .. */
ADZE_API void adze_la_shrunk(const double *curvature, int64_t n, double alpha, double *kept);
/* .. and of descent from 0 that stops after so many steps, kept = 1 - (1 - rate c)^steps. *gap (may be NULL): the largest difference to the penalty
 * alpha = 1 / (rate steps). ADZE_EARG for a direction in which descent diverges. Goodfellow, Bengio, Courville, Deep Learning 2016, 7.1.1 and 7.8. */
ADZE_API int adze_la_stopped(adze_ctx *ctx, const double *curvature, int64_t n, double rate, int64_t steps, double *kept, double *gap);

/* x (n), on entry the first guess, minimises |a x - b|^2 / 2 + l1 |x|_1 + l2 |x|^2 / 2; a (m, n), b (m), l1 > 0, l2 >= 0. Coordinate descent
 * (Friedman, Hastie, Tibshirani, J. Statistical Software 33(1), 2010) until the duality gap, stop->residual, is at most stop->tol times |b|^2 / 2.
 * That at_most sweeps were too few is no error. */
ADZE_API int adze_la_lasso(adze_ctx *ctx, adze_la_mat a, const double *b, double l1, double l2, double *x, adze_la_stop *stop);

typedef struct adze_la_path {
    adze_la_mat x; /* (room, n): the solution at each knot; between two knots it is linear in l1 */
    double *l1;    /* (room): descending */
    int64_t knots; /* written: <= room */
} adze_la_path;
/* The lasso's solutions for every l1, from the largest that leaves any x but 0 down to 0 or until the room is full; a (m, n), b (m). ADZE_EARG where
 * active columns depend on each other. Efron, Hastie, Johnstone, Tibshirani, Annals of Statistics 32(2), 2004, 3.1. */
ADZE_API int adze_la_lars(adze_ctx *ctx, adze_la_mat a, const double *b, adze_la_path *path);

/* Each row of x (s, m) as a sum of at most k columns (atoms) of d (m, n), the next one always that with the largest cosine to what is left, which
 * becomes orthogonal to all chosen. Ends early when |rest| <= tol |x| or no independent atom helps. atoms (s, k): indices in the order of choice, -1
 * behind the last; coef (s, k). Pati, Rezaiifar, Krishnaprasad 1993; Batch-OMP: Rubinstein, Zibulevsky, Elad, Technion CS-2008-08. */
ADZE_API int adze_la_omp(adze_ctx *ctx, adze_la_mat d, adze_la_mat x, int64_t k, double tol, int64_t *atoms, adze_la_mat coef);

/* -- eigenvalues and singular values --------------------------------------------------------------------------------------------------- */

/* values (n) ascending and, unless vectors.at is NULL, vectors (n, n), one in each column, of the symmetric a (n, n), of which the lower triangle is
 * read. The sign of a vector: its largest element is positive. GVL 8.3.1 and 8.3.3: Householder's tridiagonal form, then implicit QL steps. */
ADZE_API int adze_la_eigen(adze_ctx *ctx, adze_la_mat a, double *values, adze_la_mat vectors);
/* out (n, n) = (a + shift I)^power for a symmetric, positive semi-definite a + shift I: 0.5 is the square root, -0.5 what whitens. Eigenvalues within
 * n times the precision of 0 count as 0; a negative one, or a 0 with a negative power, is ADZE_EARG. */
ADZE_API int adze_la_power(adze_ctx *ctx, adze_la_mat a, double shift, double power, adze_la_mat out);
/* a (m, n) = u diag(s) vt, k = min(m, n): u (m, k) and vt (k, n), neither when both u.at and vt.at are NULL; s (k) descends. Small values are as
 * accurate as their columns allow. Drmac, Veselic, SIAM J. Matrix Analysis 29(4), 2008: pivoted QR, then one-sided Jacobi rotations in the order of a
 * tournament. */
ADZE_API int adze_la_svd(adze_ctx *ctx, adze_la_mat a, adze_la_mat u, double *s, adze_la_mat vt);
/* How many of the k singular values exceed rcond times the largest (rcond < 0: largest, the greater side of the matrix, times the precision). */
ADZE_API int64_t adze_la_rank(const double *s, int64_t k, int64_t largest, double rcond);
/* out (n, m) = the pseudo-inverse of a (m, n); rcond as above. GVL 5.5.2. */
ADZE_API int adze_la_pinv(adze_ctx *ctx, adze_la_mat a, double rcond, adze_la_mat out);

/* -- operators known by what they do to a vector ---------------------------------------------------------------------------------------- */

typedef struct adze_la_op { /* a symmetric linear map of n numbers */
    int64_t n;
    int (*apply)(void *user, const double *x, double *y); /* y = A x; a status that is not 0 ends the call, which returns it */
    void *user;
} adze_la_op;

typedef struct adze_la_ritz {
    int64_t steps;       /* products with A; <= n */
    uint64_t seed;       /* of the first vector */
    double *values;      /* (steps): written, ascending */
    double *bounds;      /* (steps): written; an eigenvalue lies within bounds[i] of values[i] */
    adze_la_mat vectors; /* (n, steps), one in each column: written unless at is NULL */
} adze_la_ritz;

/* Ritz values of A after so many Lanczos steps; the extreme ones settle first. Every vector is made orthogonal to all before it, twice; where the
 * space closes, a new random vector opens another, so that steps = n gives every eigenvalue as often as it occurs. GVL 10.3.1; Parlett, The Symmetric
 * Eigenvalue Problem 1998, 13.2 (bounds). */
ADZE_API int adze_la_lanczos(adze_ctx *ctx, adze_la_op a, adze_la_ritz *ritz);

/* x (n), on entry the first guess, becomes the solution of A x = b for a positive definite A. That at_most was too few is no error: stop->residual
 * says. ADZE_EARG when a direction shows that A is not positive definite. GVL 11.3.3. */
ADZE_API int adze_la_cg(adze_ctx *ctx, adze_la_op a, const double *b, double *x, adze_la_stop *stop);
/* The eigenvalue of largest magnitude and its vector x (n), on entry the first guess (all 0: a random one from seed). GVL 8.2.1. */
ADZE_API int adze_la_power_iteration(adze_ctx *ctx, adze_la_op a, uint64_t seed, double *value, double *x, adze_la_stop *stop);

/* -- Fourier transforms ------------------------------------------------------------------------------------------------------------------ */

/* Complex numbers are pairs (re, im). Forward: Z_k = sum_j z_j exp(-2 pi i j k / n); inverse: the other sign, and divided by n. Any n: factors up to
 * 13 by mixed radix (Stockham's order; Van Loan, Computational Frameworks for the FFT 1992, 1.7), others by chirps (Bluestein 1970). */
ADZE_API int adze_la_fft(adze_ctx *ctx, int64_t n, int64_t count, bool inverse, double *z);    /* z (count, n) in place: each row by itself */
ADZE_API int adze_la_fft2(adze_ctx *ctx, int64_t rows, int64_t cols, bool inverse, double *z); /* z (rows, cols) in place */
/* The first n/2 + 1 of the n: the others are their conjugates. x (count, n) real, z (count, n/2 + 1). */
ADZE_API int adze_la_fft_real(adze_ctx *ctx, int64_t n, int64_t count, const double *x, double *z);
/* Back: x (count, n) from z; the imaginary parts of z_0 and, for an even n, of z_(n/2) are taken as 0. */
ADZE_API int adze_la_fft_real_inverse(adze_ctx *ctx, int64_t n, int64_t count, const double *z, double *x);

/* -- clusters and components --------------------------------------------------------------------------------------------------------------- */

typedef struct adze_la_clusters {
    adze_la_mat centres; /* (k, d): written; 1 <= k <= n */
    int64_t *labels;     /* (n): written; the nearest centre */
    uint64_t seed;
    int64_t at_most; /* rounds */
    int64_t rounds;  /* written: rounds until no label changed, at_most + 1 when some still did */
    double inertia;  /* written: sum of the squared distances to the nearest centre */
} adze_la_clusters;

/* k groups of the n points x (n, d). Begins with k-means++ (Arthur, Vassilvitskii 2007), goes on by Lloyd's rounds (1982); a centre that no point is
 * nearest to takes the place of the point that is farthest from its own. */
ADZE_API int adze_la_kmeans(adze_ctx *ctx, adze_la_mat x, adze_la_clusters *c);
/* The best k groups of n numbers x (n, 1): centres ascend, seed and at_most are not used. Memory: 4 n k bytes. Wang, Song, The R Journal 3(2), 2011,
 * by halving as in Gronlund et al., arXiv:1701.07204. */
ADZE_API int adze_la_kmeans_line(adze_ctx *ctx, adze_la_mat x, adze_la_clusters *c);

/* Principal components of the n points x (n, d), n >= 2: the rows of components (k, d), k <= min(n, d), orthonormal, largest variance (divided by n -
 * 1) first; mean (d). x - mean is about scores * components. n >= d: eigenvectors of the covariance, whose variances are good to the precision times
 * the largest; n < d: singular vectors. Jolliffe, Principal Component Analysis 2002, 3.5. */
ADZE_API int adze_la_pca(adze_ctx *ctx, adze_la_mat x, double *mean, double *variances, adze_la_mat components);

#ifdef __cplusplus
}
#endif
#endif
