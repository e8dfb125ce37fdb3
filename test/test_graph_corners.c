/* Corners of graphs and plans that random graphs seldom reach: two guards over one value, tangents of inner values, permutations that do not commute,
 * equal nodes of different regions, and what evaluation and diagnosis must leave alone. */
#include "adze.h"
#include "base/base.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

typedef struct world {
    adze_ctx *ctx;
    adze_graph *g;
    adze_store *store;
    adze_plan *p;
    adze_session *s;
} world;

static void up(world *w) {
    *w = (world){0};
    assert_int_equal(adze_ctx_new(NULL, &w->ctx), ADZE_OK);
    assert_int_equal(adze_graph_new(w->ctx, &w->g), ADZE_OK);
    assert_int_equal(adze_store_new(w->ctx, &w->store), ADZE_OK);
}

static void down(world *w) {
    adze_session_free(w->s);
    adze_plan_free(w->p);
    adze_graph_free(w->g);
    adze_store_free(w->store);
    assert_int_equal(adze_ctx_mem_used(w->ctx), 0);
    adze_ctx_free(w->ctx);
}

static void ok(world *w, int status) {
    if (status != ADZE_OK) {
        fail_msg("%s: %s", adze_status_name(status), adze_errmsg(w->ctx));
    }
}

static void start(world *w, bool no_simplify) {
    adze_compile_opts o = {.size = sizeof o, .no_simplify = no_simplify, .poison = true};
    ok(w, adze_compile(w->g, &o, &w->p));
    ok(w, adze_session_new(w->ctx, w->p, w->store, "", &w->s));
}

static adze_type vec(int64_t n) {
    return adze_type_make(ADZE_F64, 1, &n);
}

static void set_all(adze_tensor t, const double *v, int n) {
    for (int i = 0; i < n; i++) {
        adze_tensor_set(&t, i, v[i]);
    }
}

static void set_input(world *w, const char *name, const double *v, int n) {
    adze_tensor t;
    ok(w, adze_session_input(w->s, name, &t));
    set_all(t, v, n);
}

static adze_tensor slot(world *w, const char *name) {
    adze_tensor t;
    ok(w, adze_store_tensor(w->store, adze_store_find(w->store, name), &t));
    return t;
}

static double out_at(world *w, const char *name, int i) {
    adze_tensor t;
    ok(w, adze_session_output(w->s, name, &t));
    return adze_tensor_get(&t, i);
}

static void near_by(double have, double want) {
    if (!(fabs(have - want) <= 1e-12 * fmax(1, fabs(want)))) {
        fail_msg("%.17g is not %.17g", have, want);
    }
}

/* -- derivatives -------------------------------------------------------------------------------------------------------------------------------- */

/* y = x + a sin(p x), z = y + b tanh(p y), loss = sum z^2: both guards add to the gradient of p, each only when it is taken. */
static void two_guards_share_a_parameter(void **state) {
    (void)state;
    const double X[] = {0.5, -1, 2}, P[] = {1, 0.25, -0.5};
    for (int variant = 0; variant < 8; variant++) {
        const double a = variant & 1, b = variant >> 1 & 1;
        world w;
        up(&w);
        adze_val x = adze_input(w.g, "x", vec(3)), p = adze_slot(w.g, "p", vec(3)), in[] = {x, p}, gx[2];
        ok(&w, adze_guard_begin(w.g, "one"));
        adze_val y = adze_guard_end(w.g, x, adze_sin(w.g, adze_mul(w.g, p, x)));
        ok(&w, adze_guard_begin(w.g, "two"));
        adze_val z = adze_guard_end(w.g, y, adze_tanh(w.g, adze_mul(w.g, p, y)));
        ok(&w, adze_grad(w.g, adze_sum(w.g, adze_square(w.g, z), NULL, 0, false), in, 2, gx, 0));
        ok(&w, adze_output(w.g, "gx", gx[0]));
        ok(&w, adze_output(w.g, "gp", gx[1]));
        start(&w, variant & 4);
        set_input(&w, "x", X, 3);
        set_all(slot(&w, "p"), P, 3);
        ok(&w, adze_session_trips(w.s, "one", variant & 1));
        ok(&w, adze_session_trips(w.s, "two", variant >> 1 & 1));
        ok(&w, adze_session_run(w.s));
        for (int i = 0; i < 3; i++) {
            double yi = X[i] + a * sin(P[i] * X[i]), th = tanh(P[i] * yi), zi = yi + b * th, slope = b * (1 - th * th);
            double dy = 2 * zi * (1 + slope * P[i]), c = a * cos(P[i] * X[i]);
            near_by(out_at(&w, "gx", i), dy * (1 + c * P[i]));
            near_by(out_at(&w, "gp", i), 2 * zi * slope * yi + dy * c * X[i]);
        }
        down(&w);
    }
}

/* A value among the x of a forward derivative has the tangent that was given, not the one that its own inputs would give it. */
static void an_inner_value_keeps_its_tangent(void **state) {
    (void)state;
    world w;
    up(&w);
    adze_val x = adze_input(w.g, "x", vec(1)), y = adze_sin(w.g, x), z = adze_mul(w.g, y, adze_mul(w.g, x, y));
    adze_val at[] = {x, y}, t[] = {adze_full(w.g, vec(1), 3), adze_full(w.g, vec(1), 5)}, tz;
    ok(&w, adze_jvp(w.g, &z, 1, at, t, 2, &tz, 0));
    ok(&w, adze_output(w.g, "tz", tz));
    start(&w, false);
    set_input(&w, "x", (const double[]){0.7}, 1);
    ok(&w, adze_session_run(w.s));
    near_by(out_at(&w, "tz", 0), 2 * sin(0.7) * 0.7 * 5 + sin(0.7) * sin(0.7) * 3);
    down(&w);
}

/* -- passes ------------------------------------------------------------------------------------------------------------------------------------- */

static void permutations_fold_in_the_right_order(void **state) {
    (void)state;
    enum { A = 2, B = 3, C = 4 };
    for (int no_simplify = 0; no_simplify < 2; no_simplify++) {
        world w;
        up(&w);
        const int64_t dims[] = {A, B, C};
        adze_val x = adze_input(w.g, "x", adze_type_make(ADZE_F64, 3, dims));
        adze_val y = adze_transpose(w.g, adze_transpose(w.g, x, (const int[]){1, 2, 0}, 3), (const int[]){0, 2, 1}, 3); /* (B, A, C) */
        ok(&w, adze_output(w.g, "y", adze_scale(w.g, y, 2, 0)));
        start(&w, no_simplify);
        double v[A * B * C];
        for (int i = 0; i < A * B * C; i++) {
            v[i] = i;
        }
        set_input(&w, "x", v, A * B * C);
        ok(&w, adze_session_run(w.s));
        for (int i = 0; i < A * B * C; i++) {
            int b = i / (A * C), a = i / C % A, c = i % C;
            near_by(out_at(&w, "y", i), 2.0 * ((a * B + b) * C + c));
        }
        down(&w);
    }
}

/* sin x stands in two guards and outside: a skipped guard must not be asked for it. */
static void equal_nodes_of_different_regions_stay_apart(void **state) {
    (void)state;
    for (int taken = 0; taken < 4; taken++) {
        world w;
        up(&w);
        adze_val x = adze_input(w.g, "x", vec(2)), y = x;
        const char *const names[] = {"one", "two"};
        for (int k = 0; k < 2; k++) {
            ok(&w, adze_guard_begin(w.g, names[k]));
            y = adze_guard_end(w.g, y, adze_sin(w.g, x));
        }
        ok(&w, adze_output(w.g, "y", y));
        ok(&w, adze_output(w.g, "sin", adze_sin(w.g, x)));
        start(&w, false);
        set_input(&w, "x", (const double[]){0.25, -1.5}, 2);
        for (int k = 0; k < 2; k++) {
            ok(&w, adze_session_trips(w.s, names[k], taken >> k & 1));
        }
        ok(&w, adze_session_run(w.s));
        for (int i = 0; i < 2; i++) {
            double xi = i ? -1.5 : 0.25;
            near_by(out_at(&w, "sin", i), sin(xi));
            near_by(out_at(&w, "y", i), xi + ((taken & 1) + (taken >> 1)) * sin(xi));
        }
        down(&w);
    }
}

/* Two guards begin from one value: each adds to a copy of its own. */
static void guards_over_one_value_have_copies_of_their_own(void **state) {
    (void)state;
    for (int taken = 0; taken < 4; taken++) {
        world w;
        up(&w);
        adze_val x = adze_input(w.g, "x", vec(1)), y[2];
        const char *const names[] = {"one", "two"};
        for (int k = 0; k < 2; k++) {
            ok(&w, adze_guard_begin(w.g, names[k]));
            y[k] = adze_guard_end(w.g, x, k ? adze_exp(w.g, x) : adze_sin(w.g, x));
            ok(&w, adze_output(w.g, names[k], y[k]));
        }
        start(&w, false);
        set_input(&w, "x", (const double[]){0.25}, 1);
        for (int k = 0; k < 2; k++) {
            ok(&w, adze_session_trips(w.s, names[k], taken >> k & 1));
        }
        ok(&w, adze_session_run(w.s));
        near_by(out_at(&w, "one", 0), 0.25 + (taken & 1) * sin(0.25));
        near_by(out_at(&w, "two", 0), 0.25 + (taken >> 1) * exp(0.25));
        down(&w);
    }
}

/* x - (-0) turns -0 into 0, so it is not x. */
static void only_what_changes_no_bit_is_left_out(void **state) {
    (void)state;
    world w;
    up(&w);
    adze_val x = adze_input(w.g, "x", vec(1));
    ok(&w, adze_output(w.g, "y", adze_sub(w.g, x, adze_full(w.g, vec(1), -0.0))));
    ok(&w, adze_output(w.g, "z", adze_sub(w.g, x, adze_full(w.g, vec(1), 0.0))));
    start(&w, false);
    set_input(&w, "x", (const double[]){-0.0}, 1);
    ok(&w, adze_session_run(w.s));
    assert_false(signbit(out_at(&w, "y", 0)));
    assert_true(signbit(out_at(&w, "z", 0)));
    down(&w);
}

/* -- what must stay as it is -------------------------------------------------------------------------------------------------------------------- */

static void looking_for_what_is_not_finite_updates_nothing(void **state) {
    (void)state;
    world w;
    up(&w);
    adze_val x = adze_input(w.g, "x", vec(1)), p = adze_slot(w.g, "p", vec(1));
    adze_assign(w.g, p, adze_add(w.g, p, adze_log(w.g, x)));
    start(&w, false);
    set_input(&w, "x", (const double[]){8}, 1);
    set_all(slot(&w, "p"), (const double[]){1}, 1);
    ok(&w, adze_session_run(w.s));
    adze_tensor t = slot(&w, "p");
    near_by(adze_tensor_get(&t, 0), 1 + log(8));
    char name[64];
    ok(&w, adze_session_find_nonfinite(w.s, name, sizeof name));
    near_by(adze_tensor_get(&t, 0), 1 + log(8));
    down(&w);
}

static void evaluating_a_value_updates_nothing(void **state) {
    (void)state;
    world w;
    up(&w);
    adze_val p = adze_slot(w.g, "p", vec(1)), now = adze_assign(w.g, p, adze_scale(w.g, p, 1, 1)), twice = adze_scale(w.g, p, 2, 0);
    adze_tensor y, t;
    int id;
    ok(&w, adze_store_add(w.store, "p", vec(1), 0, &id));
    set_all(slot(&w, "p"), (const double[]){3}, 1);
    ok(&w, adze_eval(w.g, twice, NULL, 0, w.store, "ref", &y));
    near_by(adze_tensor_get(&y, 0), 6);
    adze_tensor_free(&y);
    t = slot(&w, "p");
    near_by(adze_tensor_get(&t, 0), 3);
    ok(&w, adze_eval(w.g, now, NULL, 0, w.store, "ref", &y)); /* but for the update that the value is made of */
    near_by(adze_tensor_get(&y, 0), 4);
    adze_tensor_free(&y);
    near_by(adze_tensor_get(&t, 0), 4);
    down(&w);
}

static void evaluating_converts_inputs_and_names_what_is_wrong(void **state) {
    (void)state;
    world w;
    up(&w);
    const int64_t n = 2, more = 3;
    adze_val y = adze_scale(w.g, adze_input(w.g, "x", adze_type_make(ADZE_F32, 1, &n)), 3, 0);
    adze_tensor x, z, out;
    ok(&w, adze_tensor_new(w.ctx, vec(n), &x));
    ok(&w, adze_tensor_new(w.ctx, vec(more), &z));
    set_all(x, (const double[]){0.5, -2}, 2);
    adze_named given = {"x", x};
    ok(&w, adze_eval(w.g, y, &given, 1, NULL, "cpu", &out));
    assert_int_equal(out.dtype, ADZE_F32);
    near_by(adze_tensor_get(&out, 0), 1.5);
    near_by(adze_tensor_get(&out, 1), -6);
    adze_tensor_free(&out);
    given.t = z;
    assert_int_equal(adze_eval(w.g, y, &given, 1, NULL, "cpu", &out), ADZE_ESHAPE);
    assert_non_null(strstr(adze_errmsg(w.ctx), "input 'x' is f32 (2)"));
    assert_int_equal(adze_eval(w.g, y, NULL, 0, NULL, "cpu", &out), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(w.ctx), "needs the input 'x'"));
    ok(&w, adze_guard_begin(w.g, "block"));
    adze_val inside = adze_sin(w.g, y);
    adze_guard_end(w.g, y, inside);
    given.t = x;
    assert_int_equal(adze_eval(w.g, inside, &given, 1, NULL, "cpu", &out), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(w.ctx), "region 'block'"));
    adze_tensor_free(&x);
    adze_tensor_free(&z);
    down(&w);
}

/* -- refusals ----------------------------------------------------------------------------------------------------------------------------------- */

static void says(world *w, int code, const char *part) {
    assert_int_equal(adze_graph_status(w->g), code);
    if (!strstr(adze_errmsg(w->ctx), part)) {
        fail_msg("the message '%s' does not say '%s'", adze_errmsg(w->ctx), part);
    }
}

static void regions_refuse_what_they_cannot_do(void **state) {
    (void)state;
    world w;
    const int64_t n = 2;
    up(&w);
    adze_val x = adze_input(w.g, "x", adze_type_make(ADZE_I32, 1, &n));
    ok(&w, adze_guard_begin(w.g, "block"));
    adze_guard_end(w.g, x, adze_add(w.g, x, x));
    says(&w, ADZE_ETYPE, "a guard adds f32 or f64, not i32");
    down(&w);
    up(&w);
    adze_val init = adze_input(w.g, "x", vec(2));
    ok(&w, adze_repeat_begin(w.g, "loop", 3));
    adze_val c = adze_repeat_carry(w.g, init), next = adze_sin(w.g, c);
    ok(&w, adze_repeat_next(w.g, c, next));
    assert_int_equal(adze_repeat_next(w.g, c, next), ADZE_EARG);
    says(&w, ADZE_EARG, "replaces one carried value twice");
    down(&w);
    up(&w);
    adze_val y = adze_input(w.g, "x", vec(2));
    ok(&w, adze_guard_begin(w.g, "block"));
    ok(&w, adze_output(w.g, "y", adze_guard_end(w.g, y, adze_sin(w.g, y))));
    start(&w, false);
    assert_int_equal(adze_session_trips(w.s, "block", -1), ADZE_EARG);
    ok(&w, adze_session_trips(w.s, "block", 0));
    ok(&w, adze_session_trips(w.s, "block", 1));
    assert_int_equal(adze_session_trips(w.s, "block", 2), ADZE_EARG);
    down(&w);
}

/* A kernel wider than the input by less than the stride: the number of positions is 0, not 1. */
static void a_window_that_overhangs_by_less_than_its_stride_does_not_fit(void **state) {
    (void)state;
    const int64_t x[] = {1, 2, 1}, k[] = {3, 1, 1};
    const adze_conv_attrs conv = {.stride = {1, {2}}};
    const adze_pool_attrs pool = {.size = {1, {3}}, .stride = {1, {2}}};
    for (int i = 0; i < 2; i++) {
        world w;
        up(&w);
        adze_val in = adze_input(w.g, "x", adze_type_make(ADZE_F64, 3, x)), kernel = adze_input(w.g, "w", adze_type_make(ADZE_F64, 3, k));
        adze_val y = i ? adze_avgpool(w.g, in, &pool) : adze_conv(w.g, in, kernel, &conv);
        assert_int_equal(y.id, 0);
        says(&w, ADZE_ESHAPE, "does not fit on spatial axis 0");
        down(&w);
    }
}

/* log(sum of exp) of a row with an infinite logit is infinite, not NaN: the loss says so. */
static void the_loss_of_an_infinite_logit_is_infinite(void **state) {
    (void)state;
    world w;
    up(&w);
    const double row[] = {INFINITY, 0};
    const int32_t label = 1;
    const int64_t dims[] = {1, 2};
    adze_val x = adze_const(w.g, adze_type_make(ADZE_F64, 2, dims), row), id = adze_const(w.g, adze_type_make(ADZE_I32, 1, dims), &label);
    adze_tensor y;
    ok(&w, adze_eval(w.g, adze_softmax_xent(w.g, x, id), NULL, 0, NULL, "ref", &y));
    assert_true(adze_tensor_get(&y, 0) == (double)INFINITY);
    adze_tensor_free(&y);
    down(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_guards_share_a_parameter),
        cmocka_unit_test(an_inner_value_keeps_its_tangent),
        cmocka_unit_test(permutations_fold_in_the_right_order),
        cmocka_unit_test(equal_nodes_of_different_regions_stay_apart),
        cmocka_unit_test(guards_over_one_value_have_copies_of_their_own),
        cmocka_unit_test(only_what_changes_no_bit_is_left_out),
        cmocka_unit_test(looking_for_what_is_not_finite_updates_nothing),
        cmocka_unit_test(evaluating_a_value_updates_nothing),
        cmocka_unit_test(evaluating_converts_inputs_and_names_what_is_wrong),
        cmocka_unit_test(regions_refuse_what_they_cannot_do),
        cmocka_unit_test(a_window_that_overhangs_by_less_than_its_stride_does_not_fit),
        cmocka_unit_test(the_loss_of_an_infinite_logit_is_infinite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
