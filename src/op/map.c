/* Elementwise ops of the same dtype in and out, comparisons and logic: one line each in map.inc, made into records here. */
#include "op/record.h"

/* -- what the rows of the table share ------------------------------------------------------------------------------------------------------- */

static int infer_map(adze_sig *s, int set, adze_dtype result) {
    for (int i = 0; i < s->nin; i++) {
        TRY(adze_check_dtype(s, i, s->nin == 1 ? "the input" : i == 0 ? "the first input" : "the second input", set));
        TRY(adze_check_same_dtype(s, 0, i));
        if (!adze_same_dims(&s->in[0], &s->in[i])) {
            return adze_op_fail(s, ADZE_ESHAPE, "the inputs %s and %s do not fit together", ADZE_SHOWN(&s->in[0]), ADZE_SHOWN(&s->in[i]));
        }
    }
    return adze_set_out(s, 0, result == ADZE_NONE ? s->in[0].dtype : result, s->in[0].rank, s->in[0].dims);
}

typedef enum domain { DOM_ANY, DOM_KINK, DOM_NONZERO, DOM_POSITIVE, DOM_LOG1P, DOM_INTEGERS, DOM_HALVES, DOM_DIVISOR, DOM_APART, DOM_GATE } domain;

#define EVERYWHERE                                                                                                                                   \
    { .lo = -2.0, .hi = 2.0 }
#define BETWEEN(lo_, hi_)                                                                                                                            \
    { .lo = lo_, .hi = hi_ }
#define AWAY(kink_, grid_, gap_)                                                                                                                     \
    { .lo = -2.0, .hi = 2.0, .gap = gap_, .kink = kink_, .grid = grid_ }

static const adze_domain DOMAINS[][2] = {
    /* of the first and the second input */
    [DOM_ANY] = {EVERYWHERE, EVERYWHERE},
    [DOM_KINK] = {AWAY(0.0, 0.0, 0.05), EVERYWHERE},
    [DOM_NONZERO] = {AWAY(0.0, 0.0, 0.4), EVERYWHERE},
    [DOM_POSITIVE] = {BETWEEN(0.4, 2.0), EVERYWHERE},
    [DOM_LOG1P] = {BETWEEN(-0.6, 2.0), EVERYWHERE},
    [DOM_INTEGERS] = {AWAY(0.0, 1.0, 0.05), EVERYWHERE},
    [DOM_HALVES] = {AWAY(0.5, 1.0, 0.05), EVERYWHERE},
    [DOM_DIVISOR] = {EVERYWHERE, AWAY(0.0, 0.0, 0.4)},
    [DOM_APART] = {AWAY(0.0, 1.0, 0.3), AWAY(0.5, 1.0, 0.3)}, /* a near halves, b near integers: at least 0.1 between them */
    [DOM_GATE] = {EVERYWHERE, AWAY(0.0, 0.0, 0.05)},
};

static void sample_map(adze_rng *r, adze_case *c, int nin, int set, domain d) {
    adze_type t = adze_sample_type(r, c, adze_sample_dtype(r, c, set), 0, 4, 0);
    c->nin = nin;
    for (int i = 0; i < nin; i++) {
        c->in[i] = t;
        c->dom[i] = adze_dtype_is_float(t.dtype) ? DOMAINS[d][i] : adze_dom_ids(-9, 10);
    }
}

static void sample_bools(adze_rng *r, adze_case *c, int nin, int set) { /* comparisons and logic: any dtype, ties likely */
    adze_type t = adze_sample_type(r, c, adze_sample_any(r, set), 0, 4, 0);
    c->nin = nin;
    for (int i = 0; i < nin; i++) {
        c->in[i] = t;
        c->dom[i] = t.dtype == ADZE_BOOL ? adze_dom_ids(0, 2) : t.dtype == ADZE_U8 ? adze_dom_ids(0, 4) : adze_dom_ids(-2, 2);
        if (adze_dtype_is_float(t.dtype)) {
            c->dom[i] = adze_dom_range(-2.0, 2.0);
        }
    }
}

static void run_unary(const adze_step *s, double (*f)(double), int64_t (*fi)(int64_t)) {
    const void *x = s->in[0].data;
    void *y = s->out[0].data;
    adze_dtype d = s->in[0].dtype;
    bool real = adze_dtype_is_float(d);
    adze_walk w;
    for (adze_walk_begin(&w, s->in, 1); w.i < w.count; adze_walk_next(&w)) {
        if (real) {
            adze_store_f(y, d, w.i, f(adze_load_f(x, d, w.off[0])));
        } else {
            adze_store_i(y, d, w.i, fi(adze_load_i(x, d, w.off[0])));
        }
    }
}

static void run_binary(const adze_step *s, double (*f)(double, double), int64_t (*fi)(int64_t, int64_t)) {
    const void *a = s->in[0].data, *b = s->in[1].data;
    void *y = s->out[0].data;
    adze_dtype d = s->in[0].dtype;
    bool real = adze_dtype_is_float(d);
    adze_walk w;
    for (adze_walk_begin(&w, s->in, 2); w.i < w.count; adze_walk_next(&w)) {
        if (real) {
            adze_store_f(y, d, w.i, f(adze_load_f(a, d, w.off[0]), adze_load_f(b, d, w.off[1])));
        } else {
            adze_store_i(y, d, w.i, fi(adze_load_i(a, d, w.off[0]), adze_load_i(b, d, w.off[1])));
        }
    }
}

static void run_compare(const adze_step *s, bool (*f)(double, double), bool (*fi)(int64_t, int64_t)) {
    const void *a = s->in[0].data, *b = s->in[1].data;
    uint8_t *y = s->out[0].data;
    adze_dtype d = s->in[0].dtype;
    bool real = adze_dtype_is_float(d);
    adze_walk w;
    for (adze_walk_begin(&w, s->in, 2); w.i < w.count; adze_walk_next(&w)) {
        y[w.i] = real ? f(adze_load_f(a, d, w.off[0]), adze_load_f(b, d, w.off[1])) : fi(adze_load_i(a, d, w.off[0]), adze_load_i(b, d, w.off[1]));
    }
}

/* -- values: integers wrap around, hence the unsigned arithmetic ------------------------------------------------------------------------------ */

static double sigmoid(double x) {
    if (x >= 0.0) {
        return 1.0 / (1.0 + exp(-x));
    }
    double e = exp(x);
    return e / (1.0 + e);
}

static int64_t int_add(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a + (uint64_t)b);
}
static int64_t int_sub(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a - (uint64_t)b);
}
static int64_t int_mul(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a * (uint64_t)b);
}
static int64_t int_min(int64_t a, int64_t b) {
    return a <= b ? a : b;
}
static int64_t int_max(int64_t a, int64_t b) {
    return a >= b ? a : b;
}
static int64_t int_neg(int64_t x) {
    return int_sub(0, x);
}
static int64_t int_abs(int64_t x) {
    return x < 0 ? int_sub(0, x) : x;
}
static int64_t int_sign(int64_t x) {
    return (x > 0) - (x < 0);
}
static int64_t int_square(int64_t x) {
    return int_mul(x, x);
}
static int64_t int_relu(int64_t x) {
    return x > 0 ? x : 0;
}

/* -- derivatives ------------------------------------------------------------------------------------------------------------------------------ */

/* One partial derivative of a unary map, in terms of g, x (input) and y (output). */
#define PARTIAL(name, expression)                                                                                                                    \
    static adze_val part_##name(adze_adj *adj, int i) {                                                                                              \
        adze_graph *g = adj->g;                                                                                                                      \
        adze_val x = adj->x[0], y = adj->y[0];                                                                                                       \
        (void)g, (void)i, (void)x, (void)y;                                                                                                          \
        return expression;                                                                                                                           \
    }

static const double TWO_OVER_SQRT_PI = 1.1283791670955126;

PARTIAL(abs, adze_sign(g, x))
PARTIAL(exp, y)
PARTIAL(expm1, adze_scale(g, y, 1.0, 1.0))
PARTIAL(log, adze_reciprocal(g, x))
PARTIAL(log1p, adze_reciprocal(g, adze_scale(g, x, 1.0, 1.0)))
PARTIAL(sqrt, adze_scale(g, adze_reciprocal(g, y), 0.5, 0.0))
PARTIAL(rsqrt, adze_scale(g, adze_mul(g, adze_square(g, y), y), -0.5, 0.0))
PARTIAL(square, adze_scale(g, x, 2.0, 0.0))
PARTIAL(reciprocal, adze_neg(g, adze_square(g, y)))
PARTIAL(sin, adze_cos(g, x))
PARTIAL(cos, adze_neg(g, adze_sin(g, x)))
PARTIAL(tanh, adze_scale(g, adze_square(g, y), -1.0, 1.0))
PARTIAL(sigmoid, adze_mul(g, y, adze_scale(g, y, -1.0, 1.0)))
PARTIAL(softplus, adze_sigmoid(g, x))
PARTIAL(erf, adze_scale(g, adze_exp(g, adze_neg(g, adze_square(g, x))), TWO_OVER_SQRT_PI, 0.0))

static adze_val part_zero(adze_adj *a, int i) {
    (void)a, (void)i;
    return (adze_val){0};
}

static adze_val part_mul(adze_adj *a, int i) {
    return a->x[1 - i];
}

static adze_val part_div(adze_adj *a, int i) {
    if (i == 0) {
        return adze_reciprocal(a->g, a->x[1]);
    }
    return adze_neg(a->g, adze_div(a->g, a->y[0], a->x[1]));
}

static adze_val part_pow(adze_adj *a, int i) {
    adze_graph *g = a->g;
    adze_val x = a->x[0], e = a->x[1], zero = adze_zeros_like(g, x), one = adze_ones_like(g, x), at_zero = adze_eq(g, x, zero);
    if (i == 0) { /* e x^(e-1); at 0^0 the power is replaced by x^1, so that 0 times infinity never arises */
        adze_val both = adze_and(g, at_zero, adze_eq(g, e, zero));
        return adze_mul(g, e, adze_pow(g, x, adze_where(g, both, one, adze_scale(g, e, 1.0, -1.0))));
    }
    return adze_mul(g, a->y[0], adze_log(g, adze_where(g, at_zero, one, x)));
}

static adze_val mask(adze_adj *a, adze_val condition) {
    return adze_cast(a->g, condition, adze_val_type(a->g, a->x[0]).dtype);
}

static adze_val part_min(adze_adj *a, int i) {
    return mask(a, i == 0 ? adze_le(a->g, a->x[0], a->x[1]) : adze_gt(a->g, a->x[0], a->x[1]));
}

static adze_val part_max(adze_adj *a, int i) {
    return mask(a, i == 0 ? adze_ge(a->g, a->x[0], a->x[1]) : adze_lt(a->g, a->x[0], a->x[1]));
}

static void vjp_neg(adze_adj *a) {
    a->r[0] = adze_neg(a->g, a->t[0]);
}

static void vjp_add(adze_adj *a) {
    a->r[0] = a->t[0];
    a->r[1] = a->t[0];
}

static void vjp_sub(adze_adj *a) {
    a->r[0] = a->t[0];
    if (a->need[1]) {
        a->r[1] = adze_neg(a->g, a->t[0]);
    }
}

static void vjp_relu(adze_adj *a) { /* serves as jvp too: the Jacobian is diagonal */
    if (a->t[0].id != 0) {
        a->r[0] = adze_relu_grad(a->g, a->t[0], a->y[0]);
    }
}

static void vjp_relu_grad(adze_adj *a) { /* likewise; as a function of y it is constant but for the jump */
    if (a->t[0].id != 0) {
        a->r[0] = adze_relu_grad(a->g, a->t[0], a->x[1]);
    }
}

/* The ops whose vjp is their jvp as well; the others follow from partial or flags. */
#define jvp_vjp_relu vjp_relu
#define jvp_vjp_relu_grad vjp_relu_grad
#define jvp_vjp_neg NULL
#define jvp_vjp_add NULL
#define jvp_vjp_sub NULL
#define jvp_NULL NULL

/* -- the records --------------------------------------------------------------------------------------------------------------------------------- */

#define RECORD(name_, nin_, flags_, vjp_, jvp_, partial_, doc_)                                                                                      \
    const adze_op adze_op_##name_ = {.name = #name_,                                                                                                 \
                                     ADZE_ARITY(nin_, 1),                                                                                            \
                                     .flags = ADZE_OP_MAP | ADZE_OP_STRIDED | (flags_),                                                              \
                                     .doc = doc_,                                                                                                    \
                                     .infer = infer_##name_,                                                                                         \
                                     .vjp = vjp_,                                                                                                    \
                                     .jvp = jvp_,                                                                                                    \
                                     .partial = partial_,                                                                                            \
                                     .ref = ref_##name_,                                                                                             \
                                     .sample = sample_##name_};

#define BUILD_UNARY(name)                                                                                                                            \
    adze_val adze_##name(adze_graph *g, adze_val x) {                                                                                                \
        return adze_apply(g, &adze_op_##name, &x, 1, NULL, NULL);                                                                                    \
    }
#define BUILD_BINARY(name)                                                                                                                           \
    adze_val adze_##name(adze_graph *g, adze_val a, adze_val b) {                                                                                    \
        adze_val in[2] = {a, b};                                                                                                                     \
        adze_broadcast_all(g, in, 2);                                                                                                                \
        return adze_apply(g, &adze_op_##name, in, 2, NULL, NULL);                                                                                    \
    }

#define UNARY(name, set, dom, value, integer, vjp, partial, flags, doc)                                                                              \
    static double value_##name(double x) {                                                                                                           \
        return value;                                                                                                                                \
    }                                                                                                                                                \
    static void ref_##name(const adze_step *s, int ith, int nth) {                                                                                   \
        (void)ith, (void)nth;                                                                                                                        \
        run_unary(s, value_##name, integer);                                                                                                         \
    }                                                                                                                                                \
    static int infer_##name(adze_sig *s) {                                                                                                           \
        return infer_map(s, set, ADZE_NONE);                                                                                                         \
    }                                                                                                                                                \
    static void sample_##name(adze_rng *r, adze_case *c) {                                                                                           \
        sample_map(r, c, 1, set, dom);                                                                                                               \
    }                                                                                                                                                \
    RECORD(name, 1, flags, vjp, jvp_##vjp, partial, doc)                                                                                             \
    BUILD_UNARY(name)

#define BINARY(name, set, dom, value, integer, vjp, partial, flags, doc)                                                                             \
    static double value_##name(double a, double b) {                                                                                                 \
        return value;                                                                                                                                \
    }                                                                                                                                                \
    static void ref_##name(const adze_step *s, int ith, int nth) {                                                                                   \
        (void)ith, (void)nth;                                                                                                                        \
        run_binary(s, value_##name, integer);                                                                                                        \
    }                                                                                                                                                \
    static int infer_##name(adze_sig *s) {                                                                                                           \
        return infer_map(s, set, ADZE_NONE);                                                                                                         \
    }                                                                                                                                                \
    static void sample_##name(adze_rng *r, adze_case *c) {                                                                                           \
        sample_map(r, c, 2, set, dom);                                                                                                               \
    }                                                                                                                                                \
    RECORD(name, 2, flags, vjp, jvp_##vjp, partial, doc)                                                                                             \
    BUILD_BINARY(name)

enum { SET_COMPARE = ADZE_SET_NUM | 1 << ADZE_U8 | 1 << ADZE_BOOL };

#define COMPARE(name, operator, doc)                                                                                                                 \
    static bool value_##name(double a, double b) {                                                                                                   \
        return a operator b;                                                                                                                         \
    }                                                                                                                                                \
    static bool integer_##name(int64_t a, int64_t b) {                                                                                               \
        return a operator b;                                                                                                                         \
    }                                                                                                                                                \
    static void ref_##name(const adze_step *s, int ith, int nth) {                                                                                   \
        (void)ith, (void)nth;                                                                                                                        \
        run_compare(s, value_##name, integer_##name);                                                                                                \
    }                                                                                                                                                \
    static int infer_##name(adze_sig *s) {                                                                                                           \
        return infer_map(s, SET_COMPARE, ADZE_BOOL);                                                                                                 \
    }                                                                                                                                                \
    static void sample_##name(adze_rng *r, adze_case *c) {                                                                                           \
        sample_bools(r, c, 2, SET_COMPARE);                                                                                                          \
    }                                                                                                                                                \
    RECORD(name, 2, ADZE_OP_NOGRAD, NULL, NULL, NULL, doc)                                                                                           \
    BUILD_BINARY(name)

#define LOGIC(name, value, doc)                                                                                                                      \
    static int64_t value_##name(int64_t a, int64_t b) {                                                                                              \
        return value;                                                                                                                                \
    }                                                                                                                                                \
    static void ref_##name(const adze_step *s, int ith, int nth) {                                                                                   \
        (void)ith, (void)nth;                                                                                                                        \
        run_binary(s, NULL, value_##name);                                                                                                           \
    }                                                                                                                                                \
    static int infer_##name(adze_sig *s) {                                                                                                           \
        return infer_map(s, ADZE_SET_BOOL, ADZE_BOOL);                                                                                               \
    }                                                                                                                                                \
    static void sample_##name(adze_rng *r, adze_case *c) {                                                                                           \
        sample_bools(r, c, 2, ADZE_SET_BOOL);                                                                                                        \
    }                                                                                                                                                \
    RECORD(name, 2, ADZE_OP_NOGRAD, NULL, NULL, NULL, doc)                                                                                           \
    BUILD_BINARY(name)

#include "op/map.inc"

static int64_t int_not(int64_t x) {
    return x == 0;
}
static void ref_not(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    run_unary(s, NULL, int_not);
}
static int infer_not(adze_sig *s) {
    return infer_map(s, ADZE_SET_BOOL, ADZE_BOOL);
}
static void sample_not(adze_rng *r, adze_case *c) {
    sample_bools(r, c, 1, ADZE_SET_BOOL);
}
RECORD(not, 1, ADZE_OP_NOGRAD, NULL, NULL, NULL, "y = not x, of bools")
BUILD_UNARY(not )
