/* Hand-computed values of the maps, reductions, shape, index, random and update ops where they are easily got wrong: ties, NaN, empty tensors,
 * broadcasting, indices out of range, integers, conversions, order, draws, formulas; and the sentences of refusals. */
#include "adze.h"
#include "base/base.h"

#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

static adze_ctx *ctx;
static adze_graph *g;

static int setup(void **state) {
    (void)state;
    return adze_ctx_new(NULL, &ctx) != ADZE_OK || adze_graph_new(ctx, &g) != ADZE_OK;
}

static int teardown(void **state) {
    (void)state;
    adze_graph_free(g);
    assert_int_equal(adze_ctx_mem_used(ctx), 0);
    adze_ctx_free(ctx);
    return 0;
}

/* -- helpers: constants of any dtype from doubles, and comparison of all elements on both devices ------------------------------------------------ */

#define DIMS(...) (int64_t[]){__VA_ARGS__}, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
#define VALUES(...)                                                                                                                                  \
    (double[]) {                                                                                                                                     \
        __VA_ARGS__                                                                                                                                  \
    }
#define WANT(v, ...) expect(v, (double[]){__VA_ARGS__}, (int64_t)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), __LINE__)

static adze_val make(adze_dtype d, const int64_t *dims, int rank, const double *values) {
    adze_type t = adze_type_make(d, rank, dims);
    adze_tensor x;
    assert_int_equal(adze_tensor_new(ctx, t, &x), ADZE_OK);
    for (int64_t i = 0; i < adze_type_count(&t); i++) {
        adze_tensor_set(&x, i, values[i]);
    }
    adze_val v = adze_const(g, t, adze_tensor_data(&x));
    adze_tensor_free(&x);
    return v;
}

static adze_val vec(adze_dtype d, int64_t n, const double *values) {
    return make(d, &n, 1, values);
}

static bool same(double a, double b) {
    return (isnan(a) && isnan(b)) || a == b || fabs(a - b) <= 1e-12 * fmax(1.0, fabs(b));
}

static void expect(adze_val v, const double *want, int64_t n, int line) {
    static const char *const devices[] = {"ref", "cpu"};
    for (int d = 0; d < 2; d++) {
        adze_tensor y;
        if (adze_eval(g, v, NULL, 0, NULL, devices[d], &y) != ADZE_OK) {
            fail_msg("line %d on %s: %s", line, devices[d], adze_errmsg(ctx));
        }
        adze_type t = adze_tensor_type(&y);
        if (adze_type_count(&t) != n) {
            fail_msg("line %d: %lld elements instead of %lld", line, (long long)adze_type_count(&t), (long long)n);
        }
        for (int64_t i = 0; i < n; i++) {
            if (!same(adze_tensor_get(&y, i), want[i])) {
                fail_msg("line %d on %s: element %lld is %.17g instead of %.17g", line, devices[d], (long long)i, adze_tensor_get(&y, i), want[i]);
            }
        }
        adze_tensor_free(&y);
    }
}

static void has_dims(adze_val v, const int64_t *dims, int rank) {
    adze_type t = adze_val_type(g, v), want = adze_type_make(t.dtype, rank, dims);
    assert_int_not_equal(t.dtype, ADZE_NONE);
    assert_true(adze_type_equal(&t, &want));
}

static void refused(adze_val v, int code, const char *part) { /* and starts afresh: errors are sticky */
    assert_int_equal(v.id, 0);
    assert_int_equal(adze_graph_status(g), code);
    if (!strstr(adze_errmsg(ctx), part)) {
        fail_msg("'%s' does not say '%s'", adze_errmsg(ctx), part);
    }
    adze_graph_free(g);
    adze_err_clear(ctx);
    assert_int_equal(adze_graph_new(ctx, &g), ADZE_OK);
}

static adze_val grad_of(adze_val y, adze_val x) { /* of the sum of y */
    adze_val gx = {0};
    assert_int_equal(adze_grad(g, adze_sum(g, y, NULL, 0, false), &x, 1, &gx, 0), ADZE_OK);
    return gx;
}

/* -- maps
 * --------------------------------------------------------------------------------------------------------------------------------------------- */

static void maps_keep_nan_and_do_not_overflow(void **state) {
    (void)state;
    double inf = (double)INFINITY, nan = (double)NAN;
    adze_val x = vec(ADZE_F64, 5, VALUES(-1000, -inf, 0, inf, nan));
    WANT(adze_sigmoid(g, x), 0, 0, 0.5, 1, nan);
    WANT(adze_softplus(g, vec(ADZE_F64, 3, VALUES(-1000, 0, 1000))), 0, 0.6931471805599453, 1000);
    WANT(adze_relu(g, x), 0, 0, 0, inf, nan);
    WANT(adze_sign(g, x), -1, -1, 0, 1, nan);
    WANT(adze_clip(g, x, -2, 2), -2, -2, 0, 2, nan);
    WANT(adze_round(g, vec(ADZE_F64, 6, VALUES(-1.5, -0.5, 0.5, 1.5, 2.5, 2.6))), -2, 0, 0, 2, 2, 3);
    WANT(adze_expm1(g, vec(ADZE_F64, 1, VALUES(1e-15))), 1.0000000000000005e-15);
    WANT(adze_max(g, vec(ADZE_F64, 3, VALUES(nan, 1, 2)), vec(ADZE_F64, 3, VALUES(1, nan, 3))), nan, nan, 3);
    WANT(adze_min(g, vec(ADZE_F64, 3, VALUES(nan, 1, 2)), vec(ADZE_F64, 3, VALUES(1, nan, 3))), nan, nan, 2);
    WANT(adze_relu_grad(g, vec(ADZE_F64, 3, VALUES(inf, 5, nan)), vec(ADZE_F64, 3, VALUES(0, 1e-300, -1))), 0, 5, 0);
    WANT(adze_scale(g, vec(ADZE_F64, 2, VALUES(3, -1)), 2, 1), 7, -1);
}

static void small_results_keep_their_digits(void **state) {
    (void)state;
    adze_tensor y;
    adze_val x = vec(ADZE_F64, 1, VALUES(1e-15));
    adze_val v = adze_concat(g, (adze_val[]){adze_expm1(g, x), adze_log1p(g, x)}, 2, 0);
    for (int d = 0; d < 2; d++) {
        assert_int_equal(adze_eval(g, v, NULL, 0, NULL, d ? "cpu" : "ref", &y), ADZE_OK);
        assert_true(fabs(adze_tensor_get(&y, 0) / 1e-15 - 1) < 1e-12);
        assert_true(fabs(adze_tensor_get(&y, 1) / 1e-15 - 1) < 1e-12);
        adze_tensor_free(&y);
    }
}

static void binary_maps_broadcast_as_numpy_does(void **state) {
    (void)state;
    adze_val a = make(ADZE_F64, DIMS(2, 1), VALUES(10, 20)), b = vec(ADZE_F64, 3, VALUES(1, 2, 3));
    adze_val y = adze_sub(g, a, b);
    has_dims(y, DIMS(2, 3));
    WANT(y, 9, 8, 7, 19, 18, 17);
    WANT(adze_mul(g, b, adze_scalar(g, ADZE_F64, 4)), 4, 8, 12);
    WANT(grad_of(y, a), 3, 3);
    WANT(grad_of(y, b), -2, -2, -2);
    has_dims(adze_add(g, make(ADZE_F64, DIMS(0, 1), NULL), b), DIMS(0, 3));
    refused(adze_add(g, make(ADZE_F64, DIMS(2, 3), VALUES(1, 2, 3, 4, 5, 6)), vec(ADZE_F64, 2, VALUES(1, 2))), ADZE_ESHAPE, "(2, 3)");
    refused(adze_add(g, vec(ADZE_F64, 1, VALUES(1)), vec(ADZE_F32, 1, VALUES(1))), ADZE_ETYPE, "f32");
}

static void ties_give_the_gradient_to_the_first_input(void **state) {
    (void)state;
    adze_val a = vec(ADZE_F64, 3, VALUES(1, 2, 3)), b = vec(ADZE_F64, 3, VALUES(2, 2, 2));
    WANT(grad_of(adze_max(g, a, b), a), 0, 1, 1);
    WANT(grad_of(adze_max(g, a, b), b), 1, 0, 0);
    WANT(grad_of(adze_min(g, a, b), a), 1, 1, 0);
    WANT(grad_of(adze_min(g, a, b), b), 0, 0, 1);
    WANT(grad_of(adze_relu(g, vec(ADZE_F64, 3, VALUES(1, 2, 3))), a), 0, 0, 0); /* another value: no dependence */
    adze_val x = vec(ADZE_F64, 5, VALUES(-2, -1, 0, 1, 2));
    WANT(grad_of(adze_clip(g, x, -1, 1), x), 0, 1, 1, 1, 0);
    WANT(grad_of(adze_relu(g, x), x), 0, 0, 0, 1, 1);
    WANT(grad_of(adze_abs(g, x), x), -1, -1, 0, 1, 1);
}

static void powers_are_right_at_zero(void **state) {
    (void)state;
    adze_val x = vec(ADZE_F64, 4, VALUES(0, 0, 0, -2)), e = vec(ADZE_F64, 4, VALUES(0, 1, 2, 3));
    adze_val y = adze_pow(g, x, e), dx = grad_of(y, x);
    WANT(y, 1, 0, 0, -8);
    WANT(dx, 0, 1, 0, 12);
    WANT(grad_of(dx, x), 0, 0, 2, -12);
    adze_val p = vec(ADZE_F64, 2, VALUES(0, 3)), q = vec(ADZE_F64, 2, VALUES(2, 0));
    WANT(grad_of(adze_pow(g, p, q), q), 0, 1.0986122886681098);
    WANT(grad_of(grad_of(adze_pow(g, p, q), p), q), 0, 1.0 / 3); /* mixed: d/dq (q p^(q - 1)) = 1/p at q = 0; -inf times 0 never arises */
}

static void integers_wrap_and_have_their_own_maps(void **state) {
    (void)state;
    adze_dtype d[] = {ADZE_I32, ADZE_I64};
    for (int k = 0; k < 2; k++) {
        adze_val a = vec(d[k], 4, VALUES(-3, 0, 2, 7)), b = vec(d[k], 4, VALUES(5, 0, -2, 7));
        WANT(adze_add(g, a, b), 2, 0, 0, 14);
        WANT(adze_sub(g, a, b), -8, 0, 4, 0);
        WANT(adze_mul(g, a, b), -15, 0, -4, 49);
        WANT(adze_min(g, a, b), -3, 0, -2, 7);
        WANT(adze_max(g, a, b), 5, 0, 2, 7);
        WANT(adze_neg(g, a), 3, 0, -2, -7);
        WANT(adze_abs(g, a), 3, 0, 2, 7);
        WANT(adze_sign(g, a), -1, 0, 1, 1);
        WANT(adze_square(g, a), 9, 0, 4, 49);
        WANT(adze_relu(g, a), 0, 0, 2, 7);
        WANT(adze_lt(g, a, b), 1, 0, 0, 0);
        WANT(adze_sum(g, a, NULL, 0, false), 6);
        WANT(adze_prod(g, vec(d[k], 3, VALUES(2, -3, 4)), NULL, 0, false), -24);
        WANT(adze_reduce_max(g, a, NULL, 0, false), 7);
        WANT(adze_reduce_min(g, a, NULL, 0, false), -3);
        WANT(adze_cumsum(g, a, 0, true, true), 9, 9, 7, 0);
        WANT(adze_argmax(g, a, 0), 3);
        WANT(adze_argmin(g, a, 0), 0);
        WANT(adze_pad(g, a, (int64_t[]){1}, (int64_t[]){0}, 9), 9, -3, 0, 2, 7);
    }
    WANT(adze_add(g, vec(ADZE_I32, 1, VALUES(2147483647)), vec(ADZE_I32, 1, VALUES(1))), -2147483648.0);
    WANT(adze_neg(g, vec(ADZE_I32, 1, VALUES(-2147483648.0))), -2147483648.0);
    adze_val big = adze_const(g, adze_type_make(ADZE_I64, 1, (int64_t[]){2}), (int64_t[]){9007199254740993, 9007199254740992});
    WANT(adze_cast(g, adze_gt(g, adze_slice(g, big, (int64_t[]){0}, (int64_t[]){1}, NULL), adze_slice(g, big, (int64_t[]){1}, (int64_t[]){2}, NULL)),
                   ADZE_F64),
         1); /* beyond 2^53 doubles could not tell */
    refused(adze_div(g, vec(ADZE_I32, 1, VALUES(1)), vec(ADZE_I32, 1, VALUES(1))), ADZE_ETYPE, "div");
}

static void comparisons_and_logic(void **state) {
    (void)state;
    double nan = (double)NAN;
    adze_val a = vec(ADZE_F32, 4, VALUES(1, 2, nan, 3)), b = vec(ADZE_F32, 4, VALUES(1, 3, nan, 2));
    assert_int_equal(adze_val_type(g, adze_eq(g, a, b)).dtype, ADZE_BOOL);
    WANT(adze_eq(g, a, b), 1, 0, 0, 0);
    WANT(adze_ne(g, a, b), 0, 1, 1, 1);
    WANT(adze_lt(g, a, b), 0, 1, 0, 0);
    WANT(adze_le(g, a, b), 1, 1, 0, 0);
    WANT(adze_gt(g, a, b), 0, 0, 0, 1);
    WANT(adze_ge(g, a, b), 1, 0, 0, 1);
    adze_val p = vec(ADZE_BOOL, 4, VALUES(0, 0, 1, 1)), q = vec(ADZE_BOOL, 4, VALUES(0, 1, 0, 1));
    WANT(adze_and(g, p, q), 0, 0, 0, 1);
    WANT(adze_or(g, p, q), 0, 1, 1, 1);
    WANT(adze_xor(g, p, q), 0, 1, 1, 0);
    WANT(adze_not(g, p), 1, 1, 0, 0);
    WANT(adze_where(g, q, vec(ADZE_I32, 1, VALUES(7)), vec(ADZE_I32, 4, VALUES(1, 2, 3, 4))), 1, 7, 3, 7);
    refused(adze_where(g, adze_scalar(g, ADZE_F32, 1), adze_scalar(g, ADZE_F32, 1), adze_scalar(g, ADZE_F32, 1)), ADZE_ETYPE, "condition");
}

static void casts_between_all_dtypes(void **state) {
    (void)state;
    static const adze_dtype all[] = {ADZE_F64, ADZE_F32, ADZE_BF16, ADZE_F16, ADZE_I64, ADZE_I32, ADZE_I8, ADZE_U8, ADZE_BOOL};
    for (size_t i = 0; i < ADZE_COUNT(all); i++) {
        for (size_t j = 0; j < ADZE_COUNT(all); j++) { /* 0 and 1 survive everything, 100 all but bool */
            bool flag = all[i] == ADZE_BOOL || all[j] == ADZE_BOOL;
            adze_val y = adze_cast(g, vec(all[i], 3, VALUES(0, 1, 100)), all[j]);
            assert_int_equal(adze_val_type(g, y).dtype, all[j]);
            WANT(y, 0, 1, flag ? 1 : 100);
        }
    }
    double inf = (double)INFINITY, nan = (double)NAN;
    adze_val x = vec(ADZE_F64, 7, VALUES(-1.9, 1.9, nan, inf, -inf, 3e9, 300));
    WANT(adze_cast(g, x, ADZE_I32), -1, 1, 0, 2147483647, -2147483648.0, 2147483647, 300);
    WANT(adze_cast(g, x, ADZE_U8), 0, 1, 0, 255, 0, 255, 255);
    WANT(adze_cast(g, x, ADZE_I8), -1, 1, 0, 127, -128, 127, 127);
    WANT(adze_cast(g, vec(ADZE_F64, 3, VALUES(0, 0.5, -7)), ADZE_BOOL), 0, 1, 1);
    WANT(adze_cast(g, vec(ADZE_I32, 3, VALUES(-1, 256, 77)), ADZE_U8), 0, 255, 77);
    WANT(adze_cast(g, adze_cast(g, vec(ADZE_F32, 3, VALUES(1.00390625, 1.01171875, 3e38)), ADZE_BF16), ADZE_F32), 1, 1.015625,
         226 * 0x1p120); /* ties to even; near 3e38 the step is 2^120 */
    WANT(adze_cast(g, vec(ADZE_F64, 2, VALUES(65504, 65520)), ADZE_F16), 65504, inf);
    adze_val big = adze_const(g, adze_type_make(ADZE_I64, 1, (int64_t[]){1}), (int64_t[]){16777217 + ((int64_t)1 << 54)});
    WANT(adze_cast(g, adze_cast(g, big, ADZE_F32), ADZE_F64), 18014398509481984.0);
    adze_val odd = adze_const(g, adze_type_make(ADZE_I64, 1, (int64_t[]){2}), (int64_t[]){9007199254740993, -9007199254740993});
    WANT(adze_sub(g, adze_cast(g, odd, ADZE_F64), vec(ADZE_F64, 2, VALUES(9007199254740992.0, -9007199254740992.0))), 0, 0);
    adze_val w = vec(ADZE_F64, 2, VALUES(1.5, 2.5));
    WANT(grad_of(adze_cast(g, adze_cast(g, w, ADZE_F32), ADZE_F64), w), 1, 1);
    WANT(grad_of(adze_mul(g, adze_cast(g, adze_cast(g, w, ADZE_I32), ADZE_F64), w), w), 1, 2); /* no derivative through integers */
}

/* -- reductions
 * ------------------------------------------------------------------------------------------------------------------------------------------ */

static void reductions_over_sets_of_axes(void **state) {
    (void)state;
    adze_val x = make(ADZE_F64, DIMS(2, 2, 2), VALUES(1, 2, 3, 4, 5, 6, 7, 8));
    adze_val y = adze_sum(g, x, (int[]){-1, 0}, 2, true);
    has_dims(y, DIMS(1, 2, 1));
    WANT(y, 14, 22);
    has_dims(adze_mean(g, x, (int[]){1}, 1, false), DIMS(2, 2));
    WANT(adze_mean(g, x, (int[]){1}, 1, false), 2, 3, 6, 7);
    WANT(adze_sum(g, x, NULL, 0, false), 36);
    WANT(adze_reduce_max(g, x, (int[]){0, 2}, 2, false), 6, 8);
    WANT(adze_reduce_min(g, x, (int[]){0, 2}, 2, false), 1, 3);
    WANT(adze_prod(g, x, (int[]){2}, 1, false), 2, 12, 30, 56);
    WANT(adze_logsumexp(g, vec(ADZE_F64, 2, VALUES(1000, 1000)), NULL, 0, false), 1000.6931471805599);
    WANT(adze_logsumexp(g, vec(ADZE_F64, 2, VALUES(-(double)INFINITY, -(double)INFINITY)), NULL, 0, false), -(double)INFINITY);
    WANT(adze_sum(g, adze_scalar(g, ADZE_F64, 5), NULL, 0, false), 5);
    refused(adze_sum(g, adze_scalar(g, ADZE_F64, 5), (int[]){0}, 1, false), ADZE_EARG, "sum");
    x = make(ADZE_F64, DIMS(2, 2), VALUES(1, 2, 3, 4));
    refused(adze_sum(g, x, (int[]){0, -2}, 2, false), ADZE_EARG, "axis 0 is named twice");
    x = make(ADZE_F64, DIMS(2, 2), VALUES(1, 2, 3, 4));
    refused(adze_mean(g, x, (int[]){2}, 1, false), ADZE_ESHAPE, "axis 2");
    refused(adze_mean(g, vec(ADZE_I32, 1, VALUES(1)), NULL, 0, false), ADZE_ETYPE, "i32");
}

static void sums_in_f32_are_rounded_once(void **state) {
    (void)state;
    adze_val x = vec(ADZE_F32, 4, VALUES(16777216, 1, 1, 1));
    WANT(adze_sum(g, x, NULL, 0, false), 16777220); /* 16777219 to even; float by float it would be 16777216 */
    WANT(adze_cumsum(g, vec(ADZE_F32, 3, VALUES(1e8, 1, -1e8)), 0, false, false), 1e8, 1e8, 1);
}

static void empty_sets(void **state) {
    (void)state;
    adze_val x = make(ADZE_F64, DIMS(2, 0), NULL);
    WANT(adze_sum(g, x, (int[]){1}, 1, false), 0, 0);
    WANT(adze_prod(g, x, (int[]){1}, 1, false), 1, 1);
    has_dims(adze_reduce_max(g, x, (int[]){0}, 1, false), DIMS(0)); /* nothing kept, so nothing to complain about */
    has_dims(adze_cumsum(g, x, 1, false, false), DIMS(2, 0));
    has_dims(grad_of(adze_prod(g, x, (int[]){1}, 1, false), x), DIMS(2, 0));
    refused(adze_reduce_max(g, make(ADZE_F64, DIMS(2, 0), NULL), (int[]){1}, 1, false), ADZE_ESHAPE, "axis 1 has size 0");
    refused(adze_mean(g, make(ADZE_F64, DIMS(2, 0), NULL), NULL, 0, false), ADZE_ESHAPE, "mean");
    refused(adze_logsumexp(g, make(ADZE_F64, DIMS(2, 0), NULL), NULL, 0, false), ADZE_ESHAPE, "logsumexp");
    refused(adze_argmin(g, make(ADZE_F64, DIMS(2, 0), NULL), 1), ADZE_ESHAPE, "argmin");
}

static void extremes_take_the_first_on_ties_and_nan(void **state) {
    (void)state;
    double nan = (double)NAN;
    adze_val x = make(ADZE_F64, DIMS(2, 3), VALUES(1, 5, 5, 5, 0, 0));
    WANT(grad_of(adze_reduce_max(g, x, NULL, 0, false), x), 0, 1, 0, 0, 0, 0);
    WANT(grad_of(adze_reduce_max(g, x, (int[]){0}, 1, false), x), 0, 1, 1, 1, 0, 0);
    WANT(grad_of(adze_reduce_min(g, x, (int[]){1}, 1, true), x), 1, 0, 0, 0, 1, 0);
    WANT(adze_argmax(g, x, 1), 1, 0);
    WANT(adze_argmin(g, x, -1), 0, 1);
    WANT(adze_argmax(g, x, 0), 1, 0, 0);
    adze_val y = vec(ADZE_F64, 4, VALUES(3, nan, 7, nan));
    WANT(adze_argmax(g, y, 0), 1);
    WANT(adze_argmin(g, y, 0), 1);
    WANT(adze_reduce_max(g, y, NULL, 0, false), nan);
    WANT(adze_reduce_min(g, y, NULL, 0, false), nan);
}

static void products_with_zeros_have_right_derivatives(void **state) {
    (void)state;
    adze_val none = vec(ADZE_F64, 3, VALUES(2, 3, 4)), one = vec(ADZE_F64, 3, VALUES(2, 0, 4)), two = vec(ADZE_F64, 3, VALUES(0, 3, 0));
    adze_val g1 = grad_of(adze_prod(g, none, NULL, 0, false), none), g2 = grad_of(adze_prod(g, one, NULL, 0, false), one),
             g3 = grad_of(adze_prod(g, two, NULL, 0, false), two);
    WANT(g1, 12, 8, 6);
    WANT(g2, 0, 8, 0);
    WANT(g3, 0, 0, 0);
    WANT(grad_of(g1, none), 7, 6, 5); /* row sums of the Hessian */
    WANT(grad_of(g2, one), 4, 6, 2);
    WANT(grad_of(g3, two), 3, 0, 3);
}

static void cumsum_in_all_directions(void **state) {
    (void)state;
    adze_val x = make(ADZE_F64, DIMS(3, 2), VALUES(1, 2, 3, 4, 5, 6));
    WANT(adze_cumsum(g, x, 0, false, false), 1, 2, 4, 6, 9, 12);
    WANT(adze_cumsum(g, x, 0, false, true), 0, 0, 1, 2, 4, 6);
    WANT(adze_cumsum(g, x, 0, true, false), 9, 12, 8, 10, 5, 6);
    WANT(adze_cumsum(g, x, -1, true, true), 2, 0, 4, 0, 6, 0);
    WANT(grad_of(adze_mul(g, adze_cumsum(g, x, 0, false, true), x), x), 8, 10, 6, 8, 4, 6);
}

/* -- shape
 * -----------------------------------------------------------------------------------------------------------------------------------------------------
 */

static void shapes_are_rearranged(void **state) {
    (void)state;
    adze_val x = make(ADZE_F64, DIMS(2, 3), VALUES(1, 2, 3, 4, 5, 6));
    has_dims(adze_reshape(g, x, DIMS(-1, 2)), DIMS(3, 2));
    WANT(adze_transpose(g, x, NULL, 0), 1, 4, 2, 5, 3, 6);
    WANT(adze_reshape(g, adze_transpose(g, x, (int[]){-1, 0}, 2), DIMS(2, 3)), 1, 4, 2, 5, 3, 6);
    WANT(adze_flip(g, x, (int[]){0, -1}, 2), 6, 5, 4, 3, 2, 1);
    WANT(adze_flip(g, adze_slice(g, x, (int64_t[]){0, 0}, (int64_t[]){2, 3}, (int64_t[]){1, 2}), (int[]){1}, 1), 3, 1, 6, 4);
    WANT(adze_pad(g, vec(ADZE_F64, 2, VALUES(1, 2)), (int64_t[]){1}, (int64_t[]){2}, -5), -5, 1, 2, -5, -5);
    WANT(adze_concat(g, (adze_val[]){x, adze_flip(g, x, (int[]){1}, 1)}, 2, 1), 1, 2, 3, 3, 2, 1, 4, 5, 6, 6, 5, 4);
    adze_val parts[3];
    assert_int_equal(adze_split(g, x, -1, (int64_t[]){1, 0, 2}, 3, parts), ADZE_OK);
    WANT(parts[0], 1, 4);
    has_dims(parts[1], DIMS(2, 0));
    WANT(parts[2], 2, 3, 5, 6);
    WANT(grad_of(parts[2], x), 0, 1, 1, 0, 1, 1);
    WANT(grad_of(adze_slice(g, x, (int64_t[]){0, 0}, (int64_t[]){2, 3}, (int64_t[]){2, 2}), x), 1, 0, 1, 0, 0, 0);
    WANT(adze_sum_to(g, x, DIMS(3)), 5, 7, 9);
    WANT(adze_sum_to(g, x, DIMS(2, 1)), 6, 15);
    WANT(adze_iota(g, adze_type_make(ADZE_I32, 2, (int64_t[]){2, 3}), -2), 0, 0, 0, 1, 1, 1);
    WANT(adze_full(g, adze_type_make(ADZE_U8, 1, (int64_t[]){2}), 7), 7, 7);
    WANT(adze_scalar(g, ADZE_BOOL, 3), 1);
}

static void shapes_that_do_not_fit_are_refused_with_numbers(void **state) {
    (void)state;
#define X23 make(ADZE_F64, DIMS(2, 3), VALUES(1, 2, 3, 4, 5, 6))
    refused(adze_reshape(g, X23, DIMS(4, -1)), ADZE_ESHAPE, "(2, 3) cannot be cut");
    refused(adze_reshape(g, X23, DIMS(-1, -1)), ADZE_ESHAPE, "2 axes are -1");
    refused(adze_reshape(g, X23, DIMS(5)), ADZE_ESHAPE, "has 5");
    refused(adze_reshape(g, make(ADZE_F64, DIMS(0), NULL), DIMS(0, -1)), ADZE_ESHAPE, "-1");
    refused(adze_transpose(g, X23, (int[]){0, 0}, 2), ADZE_EARG, "place 1 says 0");
    refused(adze_broadcast(g, X23, DIMS(3, 3)), ADZE_ESHAPE, "(3, 3)");
    refused(adze_slice(g, X23, (int64_t[]){0, 2}, (int64_t[]){2, 4}, NULL), ADZE_ESHAPE, "from 2 to 4");
    refused(adze_slice(g, X23, (int64_t[]){0, 0}, (int64_t[]){2, 3}, (int64_t[]){1, 0}), ADZE_EARG, "the step is 0");
    refused(adze_pad(g, X23, (int64_t[]){0, -1}, (int64_t[]){0, 0}, 0), ADZE_EARG, "-1");
    refused(adze_concat(g, (adze_val[]){X23, make(ADZE_F64, DIMS(3, 3), VALUES(1, 2, 3, 4, 5, 6, 7, 8, 9))}, 2, 1), ADZE_ESHAPE, "input 1");
    adze_val out[2] = {{0}, {0}};
    assert_int_equal(adze_split(g, X23, 1, (int64_t[]){1, 1}, 2, out), ADZE_ESHAPE);
    refused(out[0], ADZE_ESHAPE, "add up to 2");
    assert_int_equal(adze_split(g, X23, 1, (int64_t[]){3, 0, 0, 0, 0, 0, 0, 0, 0}, 9, out), ADZE_EARG);
    refused(out[1], ADZE_EARG, "9 parts");
    refused(adze_broadcast(g, adze_scalar(g, ADZE_F64, 1), DIMS((int64_t)1 << 40, (int64_t)1 << 40)), ADZE_ESHAPE, "too many elements");
    refused(adze_clip(g, X23, 2, 1), ADZE_EARG, "2 and 1");
    refused(adze_topk(g, X23, 1, 4, false, NULL), ADZE_ESHAPE, "k is 4");
}

/* -- indices
 * ---------------------------------------------------------------------------------------------------------------------------------------------------
 */

static void indices_out_of_range_read_zeros_and_write_nothing(void **state) {
    (void)state;
    adze_val x = make(ADZE_F64, DIMS(3, 2), VALUES(1, 2, 3, 4, 5, 6));
    for (int k = 0; k < 2; k++) {
        adze_dtype d = k ? ADZE_I64 : ADZE_I32;
        adze_val ids = vec(d, 5, VALUES(2, -1, 3, 0, 2));
        adze_val y = adze_gather(g, x, ids, 0);
        WANT(y, 5, 6, 0, 0, 0, 0, 1, 2, 5, 6);
        WANT(grad_of(y, x), 1, 1, 0, 0, 2, 2);
        WANT(adze_scatter_add(g, vec(ADZE_F64, 5, VALUES(1, 2, 4, 8, 16)), ids, 0, 3), 8, 0, 17);
        WANT(adze_one_hot(g, vec(d, 2, VALUES(1, -1)), 3, ADZE_F64, 5, 1), 1, 5, 1, 1, 1, 1);
        adze_val along = make(d, DIMS(3, 1), VALUES(1, 2, 0));
        WANT(adze_take_along(g, x, along, 1), 2, 0, 5);
        WANT(adze_scatter_along(g, make(ADZE_F64, DIMS(3, 1), VALUES(7, 8, 9)), along, 1, 2), 0, 7, 0, 0, 9, 0);
        WANT(adze_scatter_add(g, vec(ADZE_I32, 2, VALUES(3, 4)), vec(d, 2, VALUES(1, 1)), 0, 2), 0, 7);
    }
    adze_val grid = adze_gather(g, x, make(ADZE_I32, DIMS(1, 2), VALUES(1, 0)), 1);
    has_dims(grid, DIMS(3, 1, 2));
    WANT(grid, 2, 1, 4, 3, 6, 5);
    WANT(adze_gather(g, x, adze_scalar(g, ADZE_I32, 1), 0), 3, 4);
}

static void scatter_adds_in_ascending_order(void **state) {
    (void)state;
    adze_val x = vec(ADZE_F32, 3, VALUES(1e8, 1, -1e8)), ids = vec(ADZE_I32, 3, VALUES(0, 0, 0));
    WANT(adze_scatter_add(g, x, ids, 0, 1), 0); /* (1e8 + 1) - 1e8 in f32 */
    WANT(adze_scatter_add(g, vec(ADZE_F32, 3, VALUES(1e8, -1e8, 1)), ids, 0, 1), 1);
}

static void topk_is_a_total_order(void **state) {
    (void)state;
    double nan = (double)NAN;
    adze_val ids, x = vec(ADZE_F64, 6, VALUES(2, 7, nan, 7, 1, nan));
    WANT(adze_topk(g, x, 0, 6, false, &ids), nan, nan, 7, 7, 2, 1);
    WANT(ids, 2, 5, 1, 3, 0, 4);
    WANT(adze_topk(g, x, 0, 6, true, &ids), 1, 2, 7, 7, nan, nan);
    WANT(ids, 4, 0, 1, 3, 2, 5);
    adze_val m = make(ADZE_F64, DIMS(3, 2), VALUES(1, 9, 5, 3, 3, 4)), y = adze_topk(g, m, 0, 2, false, &ids);
    WANT(y, 5, 9, 3, 4);
    WANT(ids, 1, 0, 2, 2);
    WANT(grad_of(y, m), 0, 1, 1, 0, 1, 1);
    WANT(adze_topk(g, vec(ADZE_I64, 3, VALUES(4, 4, 5)), 0, 2, false, &ids), 5, 4);
    WANT(ids, 2, 0);
    has_dims(adze_topk(g, m, 1, 0, false, NULL), DIMS(3, 0));
}

/* -- random
 * ----------------------------------------------------------------------------------------------------------------------------------------------------
 */

/* Draws of one op of (n, 5) elements in examples first .. first + n - 1 of seed 11, step 3; out: n * 5 doubles. */
static void draw(int kind, adze_dtype d, int64_t n, int64_t first, double *out) {
    adze_graph *h;
    adze_plan *plan;
    adze_session *s;
    adze_tensor y;
    assert_int_equal(adze_graph_new(ctx, &h), ADZE_OK);
    adze_type t = adze_type_make(d, 2, (int64_t[]){n, 5});
    adze_scope_push(h, "layer");
    adze_val v = kind == 0 ? adze_uniform(h, t, 0, 1) : kind == 1 ? adze_normal(h, t, 0, 1) : adze_bernoulli(h, t, 0.3);
    adze_scope_pop(h);
    assert_int_equal(adze_output(h, "y", v), ADZE_OK);
    assert_int_equal(adze_compile(h, NULL, &plan), ADZE_OK);
    assert_int_equal(adze_session_new(ctx, plan, NULL, "", &s), ADZE_OK);
    adze_session_random(s, 11, 3, first);
    assert_int_equal(adze_session_run(s), ADZE_OK);
    assert_int_equal(adze_session_output(s, "y", &y), ADZE_OK);
    for (int64_t i = 0; i < n * 5; i++) {
        out[i] = adze_tensor_get(&y, i);
    }
    adze_session_free(s);
    adze_plan_free(plan);
    adze_graph_free(h);
}

static void draws_do_not_depend_on_dtype_or_batch(void **state) {
    (void)state;
    enum { N = 400 };
    static double wide[N * 5], narrow[N * 5], part[N * 5];
    for (int kind = 0; kind < 3; kind++) {
        double sum = 0, squares = 0;
        draw(kind, ADZE_F64, N, 0, wide);
        draw(kind, ADZE_F32, N, 0, narrow);
        draw(kind, ADZE_F64, 150, 0, part);
        draw(kind, ADZE_F64, N - 150, 150, part + 150 * 5);
        for (int i = 0; i < N * 5; i++) {
            assert_true(narrow[i] == (double)(float)wide[i]);
            assert_true(kind == 1 || narrow[i] == wide[i]); /* uniform draws have 24 bits */
            assert_true(part[i] == wide[i]);
            sum += wide[i] / (N * 5);
            squares += wide[i] * wide[i] / (N * 5);
        }
        /* Mean and variance within five standard errors; the draws are fixed, so this cannot fail now and then. */
        double mean = kind == 0 ? 0.5 : kind == 1 ? 0 : 0.3, var = kind == 0 ? 1.0 / 12 : kind == 1 ? 1 : 0.21;
        assert_true(fabs(sum - mean) < 5 * sqrt(var / (N * 5)));
        assert_true(fabs(squares - sum * sum - var) < 5 * sqrt(2 * var * var / (N * 5)));
        assert_true(wide[0] != wide[5] || wide[1] != wide[6] || wide[2] != wide[7] || wide[3] != wide[8] || wide[4] != wide[9]);
    }
}

static void streams_differ_and_refuse_nonsense(void **state) {
    (void)state;
    adze_type t = adze_type_make(ADZE_F64, 1, (int64_t[]){8});
    adze_val same_twice = adze_sub(g, adze_uniform(g, t, 0, 1), adze_uniform(g, t, 0, 1));
    adze_tensor y;
    assert_int_equal(adze_eval(g, same_twice, NULL, 0, NULL, "ref", &y), ADZE_OK);
    double apart = 0;
    for (int i = 0; i < 8; i++) {
        apart += fabs(adze_tensor_get(&y, i));
    }
    assert_true(apart > 0.5); /* equal nodes but for the stream: never merged */
    adze_tensor_free(&y);
    WANT(adze_uniform(g, adze_type_make(ADZE_F64, 1, (int64_t[]){2}), 4, 4), 4, 4);
    WANT(adze_normal(g, adze_type_make(ADZE_F64, 1, (int64_t[]){2}), -3, 0), -3, -3);
    WANT(adze_bernoulli(g, adze_type_make(ADZE_F64, 1, (int64_t[]){3}), 1), 1, 1, 1);
    WANT(adze_bernoulli(g, adze_type_make(ADZE_F64, 1, (int64_t[]){3}), 0), 0, 0, 0);
    refused(adze_bernoulli(g, t, 1.5), ADZE_EARG, "1.5");
    refused(adze_uniform(g, t, 2, 1), ADZE_EARG, "2 and 1");
    refused(adze_normal(g, t, 0, -1), ADZE_EARG, "-1");
    refused(adze_uniform(g, adze_scalar_type(ADZE_I32), 0, 1), ADZE_ETYPE, "i32");
}

/* -- updates
 * ------------------------------------------------------------------------------------------------------------------------------------------------------
 */

typedef struct slots { /* a store with slots of two elements each */
    adze_store *store;
    adze_session *session;
    adze_plan *plan;
} slots;

static adze_val slot(slots *s, const char *name, double a, double b) {
    int id;
    adze_tensor t;
    adze_type type = adze_type_make(ADZE_F64, 1, (int64_t[]){2});
    assert_int_equal(adze_store_add(s->store, name, type, 0, &id), ADZE_OK);
    assert_int_equal(adze_store_tensor(s->store, id, &t), ADZE_OK);
    adze_tensor_set(&t, 0, a);
    adze_tensor_set(&t, 1, b);
    return adze_slot(g, name, type);
}

static void run_twice(slots *s, adze_val result, const char *device) {
    adze_compile_opts o = {.size = sizeof o, .device = device};
    assert_int_equal(adze_output(g, "y", result), ADZE_OK);
    if (adze_compile(g, &o, &s->plan) != ADZE_OK) {
        fail_msg("%s", adze_errmsg(ctx));
    }
    assert_int_equal(adze_session_new(ctx, s->plan, s->store, "", &s->session), ADZE_OK);
    assert_int_equal(adze_session_run(s->session), ADZE_OK);
    assert_int_equal(adze_session_run(s->session), ADZE_OK);
    adze_session_free(s->session);
    adze_plan_free(s->plan);
    adze_graph_free(g);
    assert_int_equal(adze_graph_new(ctx, &g), ADZE_OK);
}

static void slot_is(const slots *s, const char *name, double a, double b) {
    adze_tensor t;
    assert_int_equal(adze_store_tensor(s->store, adze_store_find(s->store, name), &t), ADZE_OK);
    if (!same(adze_tensor_get(&t, 0), a) || !same(adze_tensor_get(&t, 1), b)) {
        fail_msg("%s is %.17g, %.17g instead of %.17g, %.17g", name, adze_tensor_get(&t, 0), adze_tensor_get(&t, 1), a, b);
    }
}

static void optimisers_follow_their_formulas_over_two_steps(void **state) {
    (void)state;
    for (int d = 0; d < 2; d++) {
        const char *device = d ? "cpu" : "ref";
        slots s = {0};
        assert_int_equal(adze_store_new(ctx, &s.store), ADZE_OK);
        /* sgd, wd 0.5, lr 0.1, g = (1, -2): w' = w - 0.1 (g + 0.5 w) = 0.95 w - 0.1 g */
        adze_sgd_attrs sgd = {.weight_decay = 0.5};
        adze_val w = slot(&s, "a", 1, 2), lr = adze_scalar(g, ADZE_F64, 0.1);
        run_twice(&s, adze_sgd(g, w, (adze_val){0}, vec(ADZE_F64, 2, VALUES(1, -2)), lr, &sgd), device);
        slot_is(&s, "a", 0.95 * 0.85 - 0.1, 0.95 * 2.1 + 0.2);
        /* momentum 0.5, dampening 0.25, no decay: m1 = 0.75 g, m2 = 1.125 g; w2 = w - 0.1 * 1.875 g */
        for (int nesterov = 0; nesterov < 2; nesterov++) {
            adze_sgd_attrs mom = {.momentum = 0.5, .dampening = 0.25, .nesterov = nesterov};
            adze_val wm = slot(&s, "b", 1, 2), m = slot(&s, "b:m", 0, 0);
            run_twice(&s, adze_sgd(g, wm, m, vec(ADZE_F64, 2, VALUES(1, -2)), adze_scalar(g, ADZE_F64, 0.1), &mom), device);
            double step = nesterov ? (1 + 0.375) + (1 + 0.5625) : 1.875;
            slot_is(&s, "b", 1 - 0.1 * step, 2 + 0.2 * step);
            slot_is(&s, "b:m", 1.125, -2.25);
        }
        /* Adam with a constant gradient and t held at 1: m1 = 0.1 g, v1 = 0.001 g^2: the first step is lr sign(g), but for eps. */
        for (int decoupled = 0; decoupled < 2; decoupled++) {
            adze_adam_attrs adam = {.beta1 = 0.5, .beta2 = 0.75, .eps = 0.25, .weight_decay = 0.5, .decoupled = decoupled};
            adze_val wa = slot(&s, "c", 4, -2), m = slot(&s, "c:m", 0, 0), v = slot(&s, "c:v", 0, 0);
            run_twice(&s, adze_adam(g, wa, m, v, vec(ADZE_F64, 2, VALUES(1, 3)), adze_scalar(g, ADZE_F64, 0.1), adze_scalar(g, ADZE_F64, 1), &adam),
                      device);
            double want[2] = {4, -2}, grad[2] = {1, 3}, mean[2] = {0, 0}, square[2] = {0, 0};
            for (int step = 0; step < 2; step++) {
                for (int i = 0; i < 2; i++) {
                    double gi = grad[i] + (decoupled ? 0 : 0.5 * want[i]);
                    mean[i] = 0.5 * mean[i] + 0.5 * gi;
                    square[i] = 0.75 * square[i] + 0.25 * gi * gi;
                    want[i] = want[i] * (decoupled ? 1 - 0.1 * 0.5 : 1) - 0.1 * (mean[i] / 0.5) / (sqrt(square[i] / 0.25) + 0.25);
                }
            }
            slot_is(&s, "c", want[0], want[1]);
            slot_is(&s, "c:m", mean[0], mean[1]);
            slot_is(&s, "c:v", square[0], square[1]);
        }
        run_twice(&s, adze_ema(g, slot(&s, "d", 8, 0), vec(ADZE_F64, 2, VALUES(0, 4)), 0.75), device);
        slot_is(&s, "d", 4.5, 1.75);
        run_twice(&s, adze_accumulate(g, slot(&s, "e", 1, 2), vec(ADZE_F64, 2, VALUES(10, 20))), device);
        slot_is(&s, "e", 21, 42);
        adze_store_free(s.store);
    }
}

static void assign_copies_also_a_slot_to_itself(void **state) {
    (void)state;
    static const char *const devices[] = {"ref", "cpu"};
    for (int d = 0; d < 2; d++) {
        slots s = {0};
        assert_int_equal(adze_store_new(ctx, &s.store), ADZE_OK);
        adze_val a = slot(&s, "a", 1, 2);
        run_twice(&s, adze_assign(g, a, a), devices[d]);
        slot_is(&s, "a", 1, 2);
        adze_val b = slot(&s, "b", 1, 2);
        run_twice(&s, adze_assign(g, b, adze_scale(g, b, 3, 0)), devices[d]);
        slot_is(&s, "b", 9, 18);
        adze_store_free(s.store);
    }
}

static void updates_refuse_what_does_not_fit(void **state) {
    (void)state;
    adze_type t = adze_type_make(ADZE_F64, 1, (int64_t[]){2});
    adze_sgd_attrs mom = {.momentum = 0.9};
    refused(adze_sgd(g, adze_slot(g, "w", t), (adze_val){0}, vec(ADZE_F64, 2, VALUES(1, 2)), adze_scalar(g, ADZE_F64, 1), &mom), ADZE_EARG, "0.9");
    refused(adze_sgd(g, adze_slot(g, "w", t), (adze_val){0}, vec(ADZE_F64, 2, VALUES(1, 2)), adze_scalar(g, ADZE_F32, 1), NULL), ADZE_ETYPE,
            "f64 ()");
    refused(adze_accumulate(g, adze_slot(g, "w", t), vec(ADZE_F64, 3, VALUES(1, 2, 3))), ADZE_ESHAPE, "(3)");
    refused(adze_ema(g, adze_slot(g, "w", t), vec(ADZE_F64, 2, VALUES(1, 2)), 1.25), ADZE_EARG, "1.25");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(maps_keep_nan_and_do_not_overflow),
        CASE(small_results_keep_their_digits),
        CASE(binary_maps_broadcast_as_numpy_does),
        CASE(ties_give_the_gradient_to_the_first_input),
        CASE(powers_are_right_at_zero),
        CASE(integers_wrap_and_have_their_own_maps),
        CASE(comparisons_and_logic),
        CASE(casts_between_all_dtypes),
        CASE(reductions_over_sets_of_axes),
        CASE(sums_in_f32_are_rounded_once),
        CASE(empty_sets),
        CASE(extremes_take_the_first_on_ties_and_nan),
        CASE(products_with_zeros_have_right_derivatives),
        CASE(cumsum_in_all_directions),
        CASE(shapes_are_rearranged),
        CASE(shapes_that_do_not_fit_are_refused_with_numbers),
        CASE(indices_out_of_range_read_zeros_and_write_nothing),
        CASE(scatter_adds_in_ascending_order),
        CASE(topk_is_a_total_order),
        CASE(draws_do_not_depend_on_dtype_or_batch),
        CASE(streams_differ_and_refuse_nonsense),
        CASE(optimisers_follow_their_formulas_over_two_steps),
        CASE(assign_copies_also_a_slot_to_itself),
        CASE(updates_refuse_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
