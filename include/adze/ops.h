/* One builder function per op, and the attribute structs of the ops that have any. Tensors are row-major, activations (N, spatial..., C), convolution
 * weights (spatial..., C / groups, K). Binary maps broadcast as NumPy does: a broadcast node is put in where shapes differ. Errors are sticky. */
#ifndef ADZE_OPS_H
#define ADZE_OPS_H

#include "graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* -- constants --------------------------------------------------------------------------------------------------------------------------------- */
ADZE_API adze_val adze_scalar(adze_graph *g, adze_dtype d, double v); /* rank 0 */
ADZE_API adze_val adze_full(adze_graph *g, adze_type t, double v);    /* all elements v: a broadcast scalar */
ADZE_API adze_val adze_zeros_like(adze_graph *g, adze_val x);
ADZE_API adze_val adze_ones_like(adze_graph *g, adze_val x);
ADZE_API adze_val adze_const(adze_graph *g, adze_type t, const void *data); /* copies the elements into the graph */
ADZE_API adze_val adze_iota(adze_graph *g, adze_type t, int axis);          /* index along axis */

/* -- maps: y = f(x) elementwise ------------------------------------------------------------------------------------------------------------------ */
/* Kept by hand: the formatter takes not, and, or, xor for operators. */
/* clang-format off */
#define ADZE_UNARY_MAPS(X) \
    X(neg) X(abs) X(sign) X(exp) X(expm1) X(log) X(log1p) X(sqrt) X(rsqrt) X(square) X(reciprocal) X(sin) X(cos) X(tanh) X(sigmoid) X(softplus) \
    X(erf) X(floor) X(ceil) X(round) X(relu) X(not) X(copy)
#define ADZE_BINARY_MAPS(X) \
    X(add) X(sub) X(mul) X(div) X(pow) X(min) X(max) X(eq) X(ne) X(lt) X(le) X(gt) X(ge) X(and) X(or) X(xor) X(relu_grad)
/* clang-format on */
#define ADZE_DECLARE_UNARY(name) ADZE_API adze_val adze_##name(adze_graph *g, adze_val x);
#define ADZE_DECLARE_BINARY(name) ADZE_API adze_val adze_##name(adze_graph *g, adze_val a, adze_val b);
ADZE_UNARY_MAPS(ADZE_DECLARE_UNARY)
ADZE_BINARY_MAPS(ADZE_DECLARE_BINARY)                                               /* relu_grad(t, y): t where y > 0, else 0 */
ADZE_API adze_val adze_where(adze_graph *g, adze_val cond, adze_val a, adze_val b); /* cond: bool */
typedef struct adze_clip_attrs {
    double lo, hi;
} adze_clip_attrs;
ADZE_API adze_val adze_clip(adze_graph *g, adze_val x, double lo, double hi);
typedef struct adze_cast_attrs {
    int32_t dtype;
} adze_cast_attrs;
ADZE_API adze_val adze_cast(adze_graph *g, adze_val x, adze_dtype to);
typedef struct adze_scale_attrs {
    double a, b;
} adze_scale_attrs;
ADZE_API adze_val adze_scale(adze_graph *g, adze_val x, double a, double b); /* a x + b with constants */

/* -- reductions: axes may be negative; none given means all
 * ------------------------------------------------------------------------------------------ */
typedef struct adze_reduce_attrs {
    adze_ints axes;
    bool keep;
} adze_reduce_attrs; /* keep: reduced axes stay with size 1 */
#define ADZE_REDUCTIONS(X) X(sum) X(mean) X(reduce_max) X(reduce_min) X(prod) X(logsumexp)
#define ADZE_DECLARE_REDUCTION(name) ADZE_API adze_val adze_##name(adze_graph *g, adze_val x, const int *axes, int naxes, bool keep);
ADZE_REDUCTIONS(ADZE_DECLARE_REDUCTION)
typedef struct adze_axis_attrs {
    int64_t axis;
} adze_axis_attrs;
ADZE_API adze_val adze_argmax(adze_graph *g, adze_val x, int axis); /* i64, first in order on ties; the axis goes */
ADZE_API adze_val adze_argmin(adze_graph *g, adze_val x, int axis);
typedef struct adze_cumsum_attrs {
    int64_t axis;
    bool reverse, exclusive;
} adze_cumsum_attrs;
ADZE_API adze_val adze_cumsum(adze_graph *g, adze_val x, int axis, bool reverse, bool exclusive);

/* -- shape --------------------------------------------------------------------------------------------------------------------------------------- */
typedef struct adze_dims_attrs {
    adze_ints dims;
} adze_dims_attrs;
ADZE_API adze_val adze_reshape(adze_graph *g, adze_val x, const int64_t *dims, int rank); /* one dim may be -1 */
typedef struct adze_perm_attrs {
    adze_ints perm;
} adze_perm_attrs;
ADZE_API adze_val adze_transpose(adze_graph *g, adze_val x, const int *perm, int n); /* n 0: reverses the axes */
ADZE_API adze_val adze_broadcast(adze_graph *g, adze_val x, const int64_t *dims, int rank);
ADZE_API adze_val adze_sum_to(adze_graph *g, adze_val x, const int64_t *dims, int rank); /* the adjoint of broadcast (builds sum and reshape) */
typedef struct adze_pad_attrs {
    adze_ints lo, hi;
    double value;
} adze_pad_attrs; /* per axis, >= 0 */
ADZE_API adze_val adze_pad(adze_graph *g, adze_val x, const int64_t *lo, const int64_t *hi, double value);
typedef struct adze_slice_attrs {
    adze_ints from, to, step;
} adze_slice_attrs; /* per axis; step >= 1; 0 <= from <= to <= dim */
ADZE_API adze_val adze_slice(adze_graph *g, adze_val x, const int64_t *from, const int64_t *to, const int64_t *step);
typedef struct adze_slice_grad_attrs {
    adze_ints from, to, step, dims;
} adze_slice_grad_attrs; /* scatter of a slice into zeros of `dims` */
ADZE_API adze_val adze_flip(adze_graph *g, adze_val x, const int *axes, int naxes);
ADZE_API adze_val adze_concat(adze_graph *g, const adze_val *x, int n, int axis);
typedef struct adze_split_attrs {
    int64_t axis;
    adze_ints sizes;
} adze_split_attrs;
ADZE_API int adze_split(adze_graph *g, adze_val x, int axis, const int64_t *sizes, int n, adze_val *out); /* n <= 8 */
ADZE_API adze_val adze_gather(adze_graph *g, adze_val x, adze_val ids, int axis); /* ids i32/i64 (I...): x.dims[:axis] + I + x.dims[axis+1:] */
typedef struct adze_scatter_attrs {
    int64_t axis, size;
} adze_scatter_attrs;
ADZE_API adze_val adze_scatter_add(adze_graph *g, adze_val y, adze_val ids, int axis, int64_t size); /* adjoint of gather, ascending order */
typedef struct adze_one_hot_attrs {
    int64_t depth;
    int32_t dtype;
    double on, off;
} adze_one_hot_attrs;
ADZE_API adze_val adze_one_hot(adze_graph *g, adze_val ids, int64_t depth, adze_dtype d, double on, double off);
typedef struct adze_topk_attrs {
    int64_t axis, k;
    bool smallest;
} adze_topk_attrs;
ADZE_API adze_val adze_topk(adze_graph *g, adze_val x, int axis, int64_t k, bool smallest, adze_val *ids); /* sorted; ties: lower index first */
ADZE_API adze_val adze_take_along(adze_graph *g, adze_val x, adze_val ids, int axis);                      /* ids: x's shape but for axis */
ADZE_API adze_val adze_scatter_along(adze_graph *g, adze_val y, adze_val ids, int axis, int64_t size);     /* its adjoint: adds */

/* -- products
 * ----------------------------------------------------------------------------------------------------------------------------------------- */
typedef struct adze_matmul_attrs {
    bool ta, tb;
    int32_t out; /* adze_dtype: F32 of bf16 inputs; NONE: the inputs' dtype, i32 of i8 (left: or u8) */
} adze_matmul_attrs;
/* (..., M, K) x (..., K, N) -> (..., M, N); leading axes equal, or one side has none (shared weights); ta, tb: that side is stored transposed */
ADZE_API adze_val adze_matmul(adze_graph *g, adze_val a, adze_val b, bool ta, bool tb);

typedef struct adze_conv_attrs { /* lists per spatial axis; empty: all 1 (stride, dilation), all 0 (pads) */
    adze_ints stride, dilation, pad_lo, pad_hi;
    adze_ints size; /* conv_dx: spatial size of x; conv_dw: of the kernel */
    int64_t groups;
    int32_t out; /* adze_dtype: F32 of bf16 inputs; NONE: the inputs' dtype */
} adze_conv_attrs;
ADZE_API adze_val adze_conv(adze_graph *g, adze_val x, adze_val w, const adze_conv_attrs *a);     /* x (N, S..., C), w (k..., C/groups, K) */
ADZE_API adze_val adze_conv_dx(adze_graph *g, adze_val dy, adze_val w, const adze_conv_attrs *a); /* adjoint in x; also the transposed convolution */
ADZE_API adze_val adze_conv_dw(adze_graph *g, adze_val x, adze_val dy, const adze_conv_attrs *a); /* adjoint in w */

typedef struct adze_pool_attrs { /* lists per spatial axis */
    adze_ints size, stride, pad_lo, pad_hi;
    bool count_pad; /* average: padding counts in the divisor */
    bool ceil;      /* output size rounds up (a last window that starts inside) */
    adze_ints in;   /* avgpool_dx, maxpool_dx: spatial size of x */
} adze_pool_attrs;
ADZE_API adze_val adze_maxpool(adze_graph *g, adze_val x, const adze_pool_attrs *a,
                               adze_val *index); /* index i32: flat spatial position in x, first on ties */
ADZE_API adze_val adze_maxpool_dx(adze_graph *g, adze_val dy, adze_val index, const adze_pool_attrs *a);
ADZE_API adze_val adze_maxpool_at(adze_graph *g, adze_val x, adze_val index, const adze_pool_attrs *a); /* x at index: adjoint of maxpool_dx */
ADZE_API adze_val adze_avgpool(adze_graph *g, adze_val x, const adze_pool_attrs *a);
ADZE_API adze_val adze_avgpool_dx(adze_graph *g, adze_val dy, const adze_pool_attrs *a);
ADZE_API adze_val adze_global_avgpool(adze_graph *g, adze_val x); /* (N, S..., C) -> (N, C): a mean */
ADZE_API adze_val adze_global_maxpool(adze_graph *g, adze_val x);
typedef struct adze_fractional_attrs {
    adze_ints out;
    uint64_t stream;
    bool pseudo, overlap;
} adze_fractional_attrs;
/* Fractional max pooling (Graham 2014) of x (N, H, W, C) to (N, rows, cols, C): regions that step on by 1 or 2 pixels, drawn in every run, the same
 * for all examples; rows <= H <= 2 rows, with overlap (a region ends where the next begins) rows <= H - 1 <= 2 rows. */
ADZE_API adze_val adze_fractional_maxpool(adze_graph *g, adze_val x, int64_t rows, int64_t cols, bool pseudo, bool overlap);
typedef struct adze_omp_attrs {
    int64_t k;
    double tol;
} adze_omp_attrs;
/* Each row of x (..., n) as a sum of at most k columns (atoms) of d (n, atoms), as adze_la_omp chooses them: the next one is that with the largest
 * cosine to what is left, until only tol times the row's length is left (0 <= tol < 1) or no independent atom helps. Gives the coefficients c (...,
 * atoms), 0 of atoms that are not chosen, and in *ids (may be NULL), i32 (..., k), the choice in its order, -1 behind the last. A row of zeros has
 * the code 0; one with a NaN or an infinity has NaN. Derivatives of any order are those of c_S = (d_S^T d_S)^-1 d_S^T x with the choice S fixed: with
 * t the cotangent of c, u = (d_S^T d_S)^-1 t and r = x - d_S c that of x is d_S u, that of d_S is r u^T - (d_S u) c^T. Where the choice changes, c is
 * not continuous. At most 16384 atoms. Pati, Rezaiifar, Krishnaprasad 1993; Tropp, Gilbert 2007. */
ADZE_API adze_val adze_omp(adze_graph *g, adze_val x, adze_val d, int64_t k, double tol, adze_val *ids);
/* y_S = (d_S^T d_S)^-1 b_S for S = ids (..., k) of each row, 0 elsewhere; b and y (..., atoms), d (n, atoms). An id out of range, or whose column
 * depends on those before, is left out. */
ADZE_API adze_val adze_omp_solve(adze_graph *g, adze_val b, adze_val d, adze_val ids);

/* -- random: depend on the run's (seed, step), the stream and the element; f32 and f64 get the same draws
 * -------------------------------------------------- */
typedef struct adze_random_attrs {
    adze_ints dims;
    int32_t dtype;
    uint64_t stream;
    double a, b;
} adze_random_attrs;
ADZE_API adze_val adze_uniform(adze_graph *g, adze_type t, double lo, double hi);
ADZE_API adze_val adze_normal(adze_graph *g, adze_type t, double mean, double sd);
ADZE_API adze_val adze_bernoulli(adze_graph *g, adze_type t, double p); /* 1 with probability p, else 0 */

/* -- fused
 * ------------------------------------------------------------------------------------------------------------------------------------------------ */
ADZE_API adze_val adze_softmax(adze_graph *g, adze_val x, int axis);
ADZE_API adze_val adze_log_softmax(adze_graph *g, adze_val x, int axis);
/* Cross-entropy per example, last axis the classes: x (..., C), label i32/i64 (...) -> (...). A negative label gives loss 0 and gradient 0 (padding).
 */
ADZE_API adze_val adze_softmax_xent(adze_graph *g, adze_val x, adze_val label);
ADZE_API adze_val adze_softmax_xent_prob(adze_graph *g, adze_val x, adze_val p); /* targets p (..., C): -sum p log softmax(x) */
ADZE_API adze_val adze_sigmoid_xent(adze_graph *g, adze_val x, adze_val p);      /* elementwise, with logits */
typedef struct adze_norm_attrs {
    double eps;
} adze_norm_attrs;
/* Training: statistics over all axes but the last. y, mean, var (biased) as outputs. scale, shift: (C). */
ADZE_API adze_val adze_batchnorm(adze_graph *g, adze_val x, adze_val scale, adze_val shift, double eps, adze_val *mean, adze_val *var);
ADZE_API adze_val adze_batchnorm_eval(adze_graph *g, adze_val x, adze_val scale, adze_val shift, adze_val mean, adze_val var, double eps);
ADZE_API adze_val adze_layernorm(adze_graph *g, adze_val x, adze_val scale, adze_val shift, double eps); /* over the last axis */
typedef struct adze_dropout_attrs {
    double p;
    uint64_t stream;
} adze_dropout_attrs;
ADZE_API adze_val adze_dropout(adze_graph *g, adze_val x, double p); /* inverted: kept elements are divided by 1 - p */

/* -- recurrent: a whole sequence in one op -------------------------------------------------------------------------------------------------- */
typedef struct adze_rnn_attrs {
    bool relu;        /* rnn: relu instead of tanh */
    bool reset_after; /* gru: the reset gate acts on the product with the weights, not on the state before it */
    bool dx;          /* gradients: dx is an output */
} adze_rnn_attrs;
typedef struct adze_rnn_in { /* h0, c0: (N, H); {0}: zeros */
    adze_val x, wx, wh, b;   /* (N, T, I), (I, G H), (H, G H), (G H) with G = 1 (rnn), 4 (lstm: i, f, g, o), 3 (gru: r, z, n) */
    adze_val h0, c0;
    adze_val bn; /* gru: (H), added to h wh before the reset gate acts on it; {0}: the gate acts on h */
} adze_rnn_in;
/* y (N, T, H); h, c: the last states (N, H), may be NULL */
ADZE_API adze_val adze_rnn(adze_graph *g, const adze_rnn_in *in, bool relu, adze_val *h);
ADZE_API adze_val adze_lstm(adze_graph *g, const adze_rnn_in *in, adze_val *h, adze_val *c);
ADZE_API adze_val adze_gru(adze_graph *g, const adze_rnn_in *in, adze_val *h);

/* -- updates: w, and the optimiser's slots, are adze_slot values; outputs are written back into them
 * ---------------------------------------------------------- */
typedef struct adze_sgd_attrs {
    double momentum, dampening, weight_decay;
    bool nesterov;
} adze_sgd_attrs;
/* g += wd w; m = momentum m + (1 - dampening) g; w -= lr (nesterov ? g + momentum m : m). lr: rank-0 f64. m may be {0} when momentum is 0. */
ADZE_API adze_val adze_sgd(adze_graph *g, adze_val w, adze_val m, adze_val grad, adze_val lr, const adze_sgd_attrs *a);
typedef struct adze_adam_attrs {
    double beta1, beta2, eps, weight_decay;
    bool decoupled;
} adze_adam_attrs;
/* t: rank-0 f64, 1 at the first update. decoupled: AdamW (w -= lr wd w), else L2 in the gradient. */
ADZE_API adze_val adze_adam(adze_graph *g, adze_val w, adze_val m, adze_val v, adze_val grad, adze_val lr, adze_val t, const adze_adam_attrs *a);
typedef struct adze_ema_attrs {
    double decay;
} adze_ema_attrs;
ADZE_API adze_val adze_ema(adze_graph *g, adze_val slot, adze_val v, double decay); /* slot = decay slot + (1 - decay) v */
ADZE_API adze_val adze_accumulate(adze_graph *g, adze_val slot, adze_val v);        /* slot += v */

#ifdef __cplusplus
}
#endif
#endif
