/* Graphs: derivatives of all orders against analytic results, regions taken and skipped, messages, dumps, and failures of memory at every request. */
#include "faulty.h"

#include "adze.h"
#include "graph/plan_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct world {
    adze_ctx *ctx;
    adze_graph *g;
    adze_store *store;
} world;

static void up(world *w) {
    adze_ctx_opts o = {.size = sizeof o, .threads = 2};
    assert_int_equal(adze_ctx_new(&o, &w->ctx), ADZE_OK);
    assert_int_equal(adze_graph_new(w->ctx, &w->g), ADZE_OK);
    assert_int_equal(adze_store_new(w->ctx, &w->store), ADZE_OK);
}

static void down(world *w) {
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

static adze_type vec(int64_t n) {
    return adze_type_make(ADZE_F64, 1, &n);
}

static adze_type mat(int64_t n, int64_t m) {
    int64_t d[] = {n, m};
    return adze_type_make(ADZE_F64, 2, d);
}

static adze_val num(world *w, double v) {
    return adze_scalar(w->g, ADZE_F64, v);
}

/* Evaluates v without inputs and reads element i. */
static double at(world *w, adze_val v, int64_t i) {
    adze_tensor t;
    ok(w, adze_eval(w->g, v, NULL, 0, w->store, "ref", &t));
    double x = adze_tensor_get(&t, i);
    adze_tensor_free(&t);
    return x;
}

static void near_by(double have, double want, double tolerance) {
    if (!(fabs(have - want) <= tolerance * fmax(1, fabs(want)))) {
        fail_msg("%.17g is not %.17g", have, want);
    }
}

static void expect_error(world *w, int code, const char *part) {
    assert_int_equal(adze_graph_status(w->g), code);
    if (!strstr(adze_errmsg(w->ctx), part)) {
        fail_msg("the message '%s' does not say '%s'", adze_errmsg(w->ctx), part);
    }
}

/* -- derivatives --------------------------------------------------------------------------------------------------------------------------- */

/* cs231n's example, by hand: f = (x + s(y)) / (s(x) + (x + y)^2) at (3, -4). */
static void test_cs231n_example(void **state) {
    (void)state;
    world w;
    up(&w);
    adze_val x = num(&w, 3), y = num(&w, -4), in[] = {x, y}, gx[2];
    adze_val f = adze_div(w.g, adze_add(w.g, x, adze_sigmoid(w.g, y)), adze_add(w.g, adze_sigmoid(w.g, x), adze_square(w.g, adze_add(w.g, x, y))));
    ok(&w, adze_grad(w.g, f, in, 2, gx, 0));
    near_by(at(&w, f, 0), 1.5456, 1e-4);
    near_by(at(&w, gx[0], 0), 2.0596, 1e-4);
    near_by(at(&w, gx[1], 0), 1.5922, 1e-4);
    down(&w);
}

static void test_three_orders_of_sin_and_pow(void **state) {
    (void)state;
    world w;
    up(&w);
    double v = 0.7;
    adze_val x = num(&w, v), d[4];
    /* f = x^3 sin(x) */
    d[0] = adze_mul(w.g, adze_mul(w.g, adze_mul(w.g, x, x), x), adze_sin(w.g, x));
    for (int i = 1; i < 4; i++) {
        ok(&w, adze_grad(w.g, d[i - 1], &x, 1, &d[i], 0));
    }
    double s = sin(v), c = cos(v);
    near_by(at(&w, d[1], 0), 3 * v * v * s + v * v * v * c, 1e-12);
    near_by(at(&w, d[2], 0), 6 * v * s + 6 * v * v * c - v * v * v * s, 1e-12);
    near_by(at(&w, d[3], 0), 6 * s + 18 * v * c - 9 * v * v * s - v * v * v * c, 1e-12);
    down(&w);
}

static void test_forward_of_forward_of_reverse(void **state) {
    (void)state;
    world w;
    up(&w);
    double v = 0.3;
    adze_val x = num(&w, v), one = num(&w, 1), y = adze_exp(w.g, adze_square(w.g, x)), g1, g2, g3;
    ok(&w, adze_grad(w.g, y, &x, 1, &g1, 0));
    ok(&w, adze_jvp(w.g, &g1, 1, &x, &one, 1, &g2, 0));
    ok(&w, adze_jvp(w.g, &g2, 1, &x, &one, 1, &g3, 0));
    double e = exp(v * v);
    near_by(at(&w, g2, 0), e * (4 * v * v + 2), 1e-12);
    near_by(at(&w, g3, 0), e * (8 * v * v * v + 12 * v), 1e-12);
    down(&w);
}

static void fill(double *v, int n, uint64_t seed) {
    adze_rng r = adze_rng_make(seed, 0);
    for (int i = 0; i < n; i++) {
        v[i] = adze_rng_normal(&r);
    }
}

/* The Hessian of logistic regression is X' diag(p (1 - p)) X: both ways of the Hessian-vector product give its columns. */
static void test_hessian_of_logistic_regression(void **state) {
    (void)state;
    enum { N = 7, D = 4 };
    world w;
    up(&w);
    double X[N * D], t[N], beta[D], H[D * D] = {0};
    fill(X, N * D, 1);
    fill(t, N, 2);
    fill(beta, D, 3);
    for (int i = 0; i < N; i++) {
        double z = 0;
        t[i] = t[i] > 0;
        for (int k = 0; k < D; k++) {
            z += X[i * D + k] * beta[k];
        }
        double p = 1 / (1 + exp(-z));
        for (int a = 0; a < D; a++) {
            for (int b = 0; b < D; b++) {
                H[a * D + b] += X[i * D + a] * p * (1 - p) * X[i * D + b];
            }
        }
    }
    adze_val vx = adze_const(w.g, mat(N, D), X), vt = adze_const(w.g, mat(N, 1), t), vb = adze_const(w.g, mat(D, 1), beta);
    adze_val z = adze_matmul(w.g, vx, vb, false, false);
    adze_val loss = adze_sum(w.g, adze_sub(w.g, adze_softplus(w.g, z), adze_mul(w.g, vt, z)), NULL, 0, false);
    for (int c = 0; c < D; c++) {
        double e[D] = {0};
        e[c] = 1;
        adze_val v = adze_const(w.g, mat(D, 1), e), forward, reverse;
        ok(&w, adze_hvp(w.g, loss, &vb, &v, 1, &forward, ADZE_HVP_FORWARD));
        ok(&w, adze_hvp(w.g, loss, &vb, &v, 1, &reverse, ADZE_HVP_REVERSE));
        for (int r = 0; r < D; r++) {
            near_by(at(&w, forward, r), H[r * D + c], 1e-10);
            near_by(at(&w, reverse, r), H[r * D + c], 1e-10);
        }
    }
    down(&w);
}

static void test_vjp_and_jvp_are_adjoint(void **state) {
    (void)state;
    world w;
    up(&w);
    double a[12], b[12], u[8], v[12];
    fill(a, 12, 4);
    fill(b, 12, 5);
    fill(u, 8, 6);
    fill(v, 12, 7);
    adze_val x = adze_const(w.g, mat(4, 3), a), m = adze_const(w.g, mat(3, 2), b), seed = adze_const(w.g, mat(4, 2), u),
             dir = adze_const(w.g, mat(4, 3), v);
    adze_val y = adze_tanh(w.g, adze_matmul(w.g, adze_mul(w.g, x, x), m, false, false)), gx, ty;
    ok(&w, adze_vjp(w.g, &y, &seed, 1, &x, 1, &gx, 0));
    ok(&w, adze_jvp(w.g, &y, 1, &x, &dir, 1, &ty, 0));
    double left = at(&w, adze_sum(w.g, adze_mul(w.g, seed, ty), NULL, 0, false), 0);
    double right = at(&w, adze_sum(w.g, adze_mul(w.g, gx, dir), NULL, 0, false), 0);
    near_by(left, right, 1e-12);
    assert_true(fabs(left) > 1e-3);
    down(&w);
}

static void test_gradient_of_interior_and_unrelated_values(void **state) {
    (void)state;
    world w;
    up(&w);
    adze_val x = num(&w, 2), h = adze_square(w.g, x), y = adze_mul(w.g, h, x), far = adze_full(w.g, vec(3), 5), in[] = {x, h, far}, gx[3];
    ok(&w, adze_grad(w.g, y, in, 3, gx, 0));
    near_by(at(&w, gx[0], 0), 12, 1e-15); /* 3 x^2 */
    near_by(at(&w, gx[1], 0), 2, 1e-15);  /* x */
    near_by(at(&w, gx[2], 2), 0, 0);
    adze_type t = adze_val_type(w.g, gx[2]), want = vec(3);
    assert_true(adze_type_equal(&t, &want));
    ok(&w, adze_grad(w.g, y, &y, 1, gx, 0)); /* of itself */
    near_by(at(&w, gx[0], 0), 1, 0);
    down(&w);
}

/* -- an op from outside the table, whose expansion has an input that is an ancestor of another ------------------------------------------------- */

static int foreign_infer(adze_sig *s) {
    s->out[0] = s->in[0];
    return adze_type_equal(&s->in[0], &s->in[1]) ? ADZE_OK : adze_op_fail(s, ADZE_ESHAPE, "the sides differ");
}

static void foreign_expand(adze_adj *a) { /* (a + b)^2 - a b */
    a->r[0] = adze_sub(a->g, adze_square(a->g, adze_add(a->g, a->x[0], a->x[1])), adze_mul(a->g, a->x[0], a->x[1]));
}

static void foreign_ref(const adze_step *s, int ith, int nth) {
    (void)ith;
    (void)nth;
    const double *a = s->in[0].data, *b = s->in[1].data;
    double *y = s->out[0].data;
    int64_t n = 1;
    for (int d = 0; d < s->out[0].rank; d++) {
        n *= s->out[0].dims[d];
    }
    for (int64_t i = 0; i < n; i++) {
        y[i] = (a[i] + b[i]) * (a[i] + b[i]) - a[i] * b[i];
    }
}

static const adze_op FOREIGN = {
    .name = "foreign", .nin_min = 2, .nin_max = 2, .nout = 1, .infer = foreign_infer, .expand = foreign_expand, .ref = foreign_ref};

static void test_foreign_op_differentiates_by_expansion(void **state) {
    (void)state;
    world w;
    up(&w);
    double v = 1.3;
    adze_val x = num(&w, v), one = num(&w, 1), in[] = {x, adze_square(w.g, x)}, g1, g2, t1;
    adze_val y = adze_apply(w.g, &FOREIGN, in, 2, NULL, NULL); /* (x + x^2)^2 - x^3 = x^4 + x^3 + x^2 */
    ok(&w, adze_grad(w.g, y, &x, 1, &g1, 0));
    ok(&w, adze_grad(w.g, g1, &x, 1, &g2, ADZE_DIFFERENTIABLE));
    ok(&w, adze_jvp(w.g, &y, 1, &x, &one, 1, &t1, 0));
    near_by(at(&w, y, 0), v * v * v * v + v * v * v + v * v, 1e-12);
    near_by(at(&w, g1, 0), 4 * v * v * v + 3 * v * v + 2 * v, 1e-12);
    near_by(at(&w, t1, 0), 4 * v * v * v + 3 * v * v + 2 * v, 1e-12);
    near_by(at(&w, g2, 0), 12 * v * v + 6 * v + 2, 1e-12);
    down(&w);
}

/* -- regions ------------------------------------------------------------------------------------------------------------------------------------ */

typedef struct guarded {
    adze_val x, p, y, loss, gx, gp, ty, hx;
} guarded;

/* y = x + sin(p x) guarded, loss = sum(y^2) */
static guarded build_guarded(world *w) {
    guarded v;
    adze_graph *g = w->g;
    v.x = adze_input(g, "x", vec(3));
    v.p = adze_slot(g, "p", vec(3));
    adze_val h = adze_scale(g, v.x, 1, 0);
    ok(w, adze_guard_begin(g, "block"));
    v.y = adze_guard_end(g, h, adze_sin(g, adze_mul(g, v.p, h)));
    v.loss = adze_sum(g, adze_square(g, v.y), NULL, 0, false);
    adze_val in[] = {v.x, v.p}, out[2], one = adze_ones_like(g, v.x), hv;
    ok(w, adze_grad(g, v.loss, in, 2, out, 0));
    v.gx = out[0];
    v.gp = out[1];
    ok(w, adze_jvp(g, &v.y, 1, &v.x, &one, 1, &v.ty, 0));
    ok(w, adze_hvp(g, v.loss, &v.x, &one, 1, &hv, ADZE_HVP_REVERSE));
    v.hx = hv;
    ok(w, adze_output(g, "y", v.y));
    ok(w, adze_output(g, "gx", v.gx));
    ok(w, adze_output(g, "gp", v.gp));
    ok(w, adze_output(g, "ty", v.ty));
    ok(w, adze_output(g, "hx", v.hx));
    return v;
}

static void check_guarded(adze_session *s, world *w, int trips) {
    const double X[] = {0.5, -1, 2}, P[] = {1, 0.25, -0.5};
    const char *names[] = {"y", "gx", "gp", "ty", "hx"};
    ok(w, adze_session_trips(s, "block", trips));
    ok(w, adze_session_run(s));
    for (int i = 0; i < 3; i++) {
        double x = X[i], p = P[i], sn = trips * sin(p * x), c = trips * cos(p * x);
        double y = x + sn, dy = 1 + p * c;
        double want[] = {y, 2 * y * dy, 2 * y * x * c, dy, 2 * dy * dy - 2 * y * p * p * sn};
        for (int k = 0; k < 5; k++) {
            adze_tensor t;
            ok(w, adze_session_output(s, names[k], &t));
            near_by(adze_tensor_get(&t, i), want[k], 1e-12);
        }
    }
}

static void test_guard_taken_and_skipped_forward_and_backward(void **state) {
    (void)state;
    for (int variant = 0; variant < 8; variant++) {
        world w;
        up(&w);
        build_guarded(&w);
        adze_compile_opts o = {.size = sizeof o,
                               .device = "ref",
                               .poison = variant & 1,
                               .no_reuse = variant & 2,
                               .no_simplify = variant & 4,
                               .random_order = (uint64_t)variant};
        adze_plan *p;
        adze_session *s;
        adze_tensor x, slot;
        ok(&w, adze_compile(w.g, &o, &p));
        ok(&w, adze_plan_check(p));
        ok(&w, adze_session_new(w.ctx, p, w.store, "", &s));
        ok(&w, adze_session_input(s, "x", &x));
        ok(&w, adze_store_tensor(w.store, adze_store_find(w.store, "p"), &slot));
        const double X[] = {0.5, -1, 2}, P[] = {1, 0.25, -0.5};
        for (int i = 0; i < 3; i++) {
            adze_tensor_set(&x, i, X[i]);
            adze_tensor_set(&slot, i, P[i]);
        }
        check_guarded(s, &w, 1);
        check_guarded(s, &w, 0);
        check_guarded(s, &w, 1);
        assert_int_equal(adze_session_trips(s, "block", 2), ADZE_EARG);
        assert_int_equal(adze_session_trips(s, "other", 1), ADZE_EARG);
        adze_session_free(s);
        adze_plan_free(p);
        down(&w);
    }
}

static void test_guard_in_f32(void **state) {
    (void)state;
    static const char *const devices[] = {"ref", "cpu"};
    for (int trips = 0; trips < 4; trips++) {
        world w;
        up(&w);
        int64_t n = 3;
        adze_val x = adze_input(w.g, "x", adze_type_make(ADZE_F32, 1, &n));
        ok(&w, adze_guard_begin(w.g, "block"));
        ok(&w, adze_output(w.g, "y", adze_guard_end(w.g, x, adze_scale(w.g, x, 2, 0))));
        adze_compile_opts o = {.size = sizeof o, .device = devices[trips / 2]};
        adze_plan *p;
        adze_session *s;
        adze_tensor in, y;
        ok(&w, adze_compile(w.g, &o, &p));
        ok(&w, adze_session_new(w.ctx, p, w.store, "", &s));
        ok(&w, adze_session_input(s, "x", &in));
        for (int i = 0; i < 3; i++) {
            adze_tensor_set(&in, i, i - 0.5);
        }
        ok(&w, adze_session_trips(s, "block", trips % 2));
        ok(&w, adze_session_run(s));
        ok(&w, adze_session_output(s, "y", &y));
        for (int i = 0; i < 3; i++) {
            assert_true(adze_tensor_get(&y, i) == (i - 0.5) * (trips % 2 ? 3 : 1));
        }
        adze_session_free(s);
        adze_plan_free(p);
        down(&w);
    }
}

static void test_guarded_value_may_not_leave(void **state) {
    (void)state;
    world w;
    up(&w);
    adze_val x = adze_input(w.g, "x", vec(3));
    ok(&w, adze_guard_begin(w.g, "block"));
    adze_val h = adze_sin(w.g, x);
    adze_val y = adze_guard_end(w.g, x, h);
    adze_add(w.g, y, h);
    expect_error(&w, ADZE_EARG, "inside the region 'block'");
    down(&w);
}

/* c' = tanh(c + row), rows collected: T at most 4; trips 0, 2, 4. The swap of two carries reads both old values. */
static void test_repeat_rows_carries_and_collections(void **state) {
    (void)state;
    for (int variant = 0; variant < 8; variant++) {
        world w;
        up(&w);
        adze_graph *g = w.g;
        adze_val seq = adze_input(g, "seq", mat(4, 3)), init = adze_input(g, "init", vec(3));
        adze_val offset = adze_full(g, vec(3), 0.125); /* made outside, read in every iteration */
        adze_val shifted = adze_exp(g, adze_mul(g, init, init));
        ok(&w, adze_repeat_begin(g, "loop", 4));
        adze_val row = adze_repeat_row(g, seq), c = adze_repeat_carry(g, init), a = adze_repeat_carry(g, shifted), b = adze_repeat_carry(g, offset);
        adze_val next = adze_tanh(g, adze_add(g, adze_add(g, c, adze_mul(g, row, offset)), adze_scale(g, shifted, 0.5, 0)));
        ok(&w, adze_repeat_next(g, c, next));
        ok(&w, adze_repeat_next(g, a, b));
        ok(&w, adze_repeat_next(g, b, a));
        adze_val rows = adze_repeat_collect(g, next);
        ok(&w, adze_repeat_end(g));
        ok(&w, adze_output(g, "rows", rows));
        ok(&w, adze_output(g, "last", c));
        ok(&w, adze_output(g, "a", adze_scale(g, a, 2, 0)));
        adze_compile_opts o = {.size = sizeof o,
                               .device = "ref",
                               .poison = variant & 1,
                               .no_reuse = variant & 2,
                               .no_simplify = variant & 4,
                               .random_order = (uint64_t)variant};
        adze_plan *p;
        adze_session *s;
        ok(&w, adze_compile(g, &o, &p));
        ok(&w, adze_plan_check(p));
        ok(&w, adze_session_new(w.ctx, p, NULL, "", &s));
        adze_tensor ts, ti, tr, tl, ta;
        ok(&w, adze_session_input(s, "seq", &ts));
        ok(&w, adze_session_input(s, "init", &ti));
        for (int i = 0; i < 12; i++) {
            adze_tensor_set(&ts, i, sin(i));
        }
        for (int i = 0; i < 3; i++) {
            adze_tensor_set(&ti, i, 0.1 * i);
        }
        for (int trips = 4; trips >= 0; trips -= 1) {
            ok(&w, adze_session_trips(s, "loop", trips));
            ok(&w, adze_session_run(s));
            ok(&w, adze_session_output(s, "rows", &tr));
            ok(&w, adze_session_output(s, "last", &tl));
            ok(&w, adze_session_output(s, "a", &ta));
            for (int i = 0; i < 3; i++) {
                double cv = 0.1 * i, sh = exp(cv * cv);
                for (int k = 0; k < 4; k++) {
                    cv = k < trips ? tanh(cv + sin(k * 3 + i) * 0.125 + 0.5 * sh) : cv;
                    near_by(adze_tensor_get(&tr, k * 3 + i), k < trips ? cv : 0, 1e-14);
                }
                near_by(adze_tensor_get(&tl, i), cv, 1e-14);
                near_by(adze_tensor_get(&ta, i), 2 * (trips % 2 ? 0.125 : sh), 1e-14);
            }
        }
        adze_session_free(s);
        adze_plan_free(p);
        down(&w);
    }
}

static void test_gradient_through_repeat_is_refused(void **state) {
    (void)state;
    world w;
    up(&w);
    adze_val seq = adze_input(w.g, "seq", mat(4, 3)), gx;
    ok(&w, adze_repeat_begin(w.g, "loop", 4));
    adze_val rows = adze_repeat_collect(w.g, adze_sin(w.g, adze_repeat_row(w.g, seq)));
    ok(&w, adze_repeat_end(w.g));
    adze_val y = adze_sum(w.g, rows, NULL, 0, false);
    assert_int_equal(adze_grad(w.g, y, &seq, 1, &gx, 0), ADZE_ENOSUP);
    expect_error(&w, ADZE_ENOSUP, "repeat 'loop'");
    down(&w);
}

/* -- messages ------------------------------------------------------------------------------------------------------------------------------------ */

static void test_the_first_error_sticks(void **state) {
    (void)state;
    world w;
    up(&w);
    adze_val a = adze_input(w.g, "a", mat(2, 3)), b = adze_input(w.g, "b", mat(2, 3)), gx = {7};
    adze_scope_push(w.g, "head");
    adze_val bad = adze_matmul(w.g, a, b, false, false);
    adze_scope_pop(w.g);
    assert_int_equal(bad.id, 0);
    expect_error(&w, ADZE_ESHAPE, "matmul 'head': ");
    char first[512];
    snprintf(first, sizeof first, "%s", adze_errmsg(w.ctx));
    assert_int_equal(adze_add(w.g, a, a).id, 0);
    assert_int_equal(adze_grad(w.g, bad, &a, 1, &gx, 0), ADZE_ESHAPE);
    assert_int_equal(gx.id, 0);
    adze_err_clear(w.ctx);
    adze_plan *p;
    assert_int_equal(adze_compile(w.g, NULL, &p), ADZE_ESHAPE);
    assert_string_equal(adze_errmsg(w.ctx), first);
    assert_null(p);
    down(&w);
}

typedef struct mistake {
    int code;
    const char *says;
    void (*make)(adze_graph *g);
} mistake;

static void unknown_op(adze_graph *g) {
    adze_val x = adze_input(g, "x", vec(3));
    adze_apply_name(g, "sigmod", &x, 1, NULL, NULL);
}
static void too_many_inputs(adze_graph *g) {
    adze_val x = adze_input(g, "x", vec(3)), in[] = {x, x, x};
    adze_apply_name(g, "add", in, 3, NULL, NULL);
}
static void invalid_input(adze_graph *g) {
    adze_add(g, adze_input(g, "x", vec(3)), (adze_val){99});
}
static void vector_gradient(adze_graph *g) {
    adze_val x = adze_input(g, "x", vec(3)), gx;
    adze_grad(g, adze_sin(g, x), &x, 1, &gx, 0);
}
static void integer_gradient(adze_graph *g) {
    int64_t n = 3;
    adze_val x = adze_input(g, "ids", adze_type_make(ADZE_I64, 1, &n)), gx;
    adze_val y = adze_scalar(g, ADZE_F64, 1);
    adze_grad(g, y, &x, 1, &gx, 0);
}
static void wrong_seed(adze_graph *g) {
    adze_val x = adze_input(g, "x", vec(3)), y = adze_sin(g, x), s = adze_scalar(g, ADZE_F64, 1), gx;
    adze_vjp(g, &y, &s, 1, &x, 1, &gx, 0);
}
static void input_twice(adze_graph *g) {
    adze_input(g, "x", vec(3));
    adze_input(g, "x", vec(4));
}
static void output_twice(adze_graph *g) {
    adze_val x = adze_input(g, "x", vec(3));
    adze_output(g, "y", x);
    adze_output(g, "y", x);
}
static void assign_to_no_slot(adze_graph *g) {
    adze_val x = adze_input(g, "x", vec(3));
    adze_assign(g, x, x);
}
static void nested_regions(adze_graph *g) {
    adze_guard_begin(g, "a");
    adze_guard_begin(g, "b");
}
static void end_without_begin(adze_graph *g) {
    adze_val x = adze_input(g, "x", vec(3));
    adze_guard_end(g, x, x);
}
static void short_sequence(adze_graph *g) {
    adze_repeat_begin(g, "loop", 5);
    adze_repeat_row(g, adze_input(g, "x", mat(4, 2)));
}
static void negative_size(adze_graph *g) {
    adze_input(g, "x", vec(-1));
}
static void huge_size(adze_graph *g) {
    adze_input(g, "x", mat(INT64_MAX / 4, INT64_MAX / 4));
}

static void test_each_mistake_has_its_sentence(void **state) {
    (void)state;
    static const mistake LIST[] = {
        {ADZE_EARG, "did you mean 'sigmoid'", unknown_op},
        {ADZE_EARG, "takes 2 to 2 inputs, 3 were given", too_many_inputs},
        {ADZE_EARG, "not a value of this graph", invalid_input},
        {ADZE_ESHAPE, "needs a scalar", vector_gradient},
        {ADZE_ETYPE, "'ids'", integer_gradient},
        {ADZE_ESHAPE, "seed 0", wrong_seed},
        {ADZE_ESHAPE, "'x' is asked for as f64 (4)", input_twice},
        {ADZE_EARG, "already an output 'y'", output_twice},
        {ADZE_EARG, "must be a slot", assign_to_no_slot},
        {ADZE_EARG, "do not nest", nested_regions},
        {ADZE_EARG, "outside a guard", end_without_begin},
        {ADZE_ESHAPE, "4 rows", short_sequence},
        {ADZE_ESHAPE, "negative", negative_size},
        {ADZE_ESHAPE, "impossible", huge_size},
    };
    for (size_t i = 0; i < sizeof LIST / sizeof LIST[0]; i++) {
        world w;
        up(&w);
        LIST[i].make(w.g);
        expect_error(&w, LIST[i].code, LIST[i].says);
        down(&w);
    }
}

static void test_dumps_name_nodes_and_types(void **state) {
    (void)state;
    world w;
    up(&w);
    build_guarded(&w);
    char *text = NULL, *dot = NULL, *steps = NULL;
    adze_plan *p;
    ok(&w, adze_graph_dump(w.g, &text));
    ok(&w, adze_graph_dot(w.g, &dot));
    ok(&w, adze_compile(w.g, NULL, &p));
    ok(&w, adze_plan_dump(p, &steps));
    assert_non_null(strstr(text, "= input : f64 (3)  # x"));
    assert_non_null(strstr(text, "[guard block]"));
    assert_non_null(strstr(text, "output gx = %"));
    assert_non_null(strstr(dot, "digraph"));
    assert_non_null(strstr(steps, "guard block"));
    assert_non_null(strstr(steps, "block"));
    for (const char *line = strchr(steps, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        assert_true(strcspn(line, "\n") <= 140);
    }
    adze_text_free(w.ctx, text);
    adze_text_free(w.ctx, dot);
    adze_text_free(w.ctx, steps);
    adze_plan_free(p);
    down(&w);
}

static void test_streams_depend_on_path_and_ordinal_only(void **state) {
    (void)state;
    world w, v;
    up(&w);
    up(&v);
    adze_input(v.g, "extra", vec(2)); /* an unrelated node changes nothing */
    uint64_t s[2][3];
    for (int i = 0; i < 2; i++) {
        adze_graph *g = i ? v.g : w.g;
        adze_scope_push(g, "a");
        s[i][0] = adze_graph_stream(g);
        s[i][1] = adze_graph_stream(g);
        adze_scope_pop(g);
        adze_scope_push(g, "b");
        s[i][2] = adze_graph_stream(g);
        adze_scope_pop(g);
    }
    assert_memory_equal(s[0], s[1], sizeof s[0]);
    assert_true(s[0][0] != s[0][1] && s[0][0] != s[0][2] && s[0][1] != s[0][2]);
    down(&w);
    down(&v);
}

/* -- failures of memory
 * ------------------------------------------------------------------------------------------------------------------------------- */

/* Builds, differentiates, compiles, binds, runs and evaluates; frees everything whatever happens. */
static int whole_life(adze_ctx *ctx, double *result) {
    adze_graph *g = NULL;
    adze_store *store = NULL;
    adze_plan *p = NULL;
    adze_session *s = NULL;
    adze_tensor t = {0}, out;
    char *text = NULL;
    int status = adze_graph_new(ctx, &g);
    if (status == ADZE_OK) {
        status = adze_store_new(ctx, &store);
    }
    if (status == ADZE_OK) {
        adze_val x = adze_input(g, "x", mat(2, 3)), w = adze_slot(g, "w", mat(3, 2)), gw;
        adze_guard_begin(g, "block");
        adze_val h = adze_guard_end(g, x, adze_tanh(g, x));
        adze_val y = adze_sum(g, adze_square(g, adze_matmul(g, h, w, false, false)), NULL, 0, false);
        adze_grad(g, y, &w, 1, &gw, ADZE_DIFFERENTIABLE);
        adze_assign(g, w, adze_sub(g, adze_sub(g, w, gw), adze_transpose(g, adze_transpose(g, gw, NULL, 0), NULL, 0)));
        adze_output(g, "y", y);
        status = adze_graph_status(g);
    }
    if (status == ADZE_OK) {
        status = adze_compile(g, NULL, &p);
    }
    if (status == ADZE_OK) {
        status = adze_session_new(ctx, p, store, "", &s);
    }
    if (status == ADZE_OK) {
        adze_session_input(s, "x", &t);
        for (int i = 0; i < 6; i++) {
            adze_tensor_set(&t, i, i);
        }
        adze_store_tensor(store, 0, &out);
        for (int i = 0; i < 6; i++) {
            adze_tensor_set(&out, i, 0.1 * i);
        }
        status = adze_session_run(s);
    }
    if (status == ADZE_OK) {
        adze_session_output(s, "y", &out);
        *result = adze_tensor_get(&out, 0);
        status = adze_graph_dump(g, &text);
    }
    adze_text_free(ctx, text);
    adze_session_free(s);
    adze_plan_free(p);
    adze_graph_free(g);
    adze_store_free(store);
    return status;
}

static void test_every_refused_request_for_memory_is_reported(void **state) {
    (void)state;
    faulty_mem m;
    faulty_mem_init(&m);
    adze_ctx_opts o = {.size = sizeof o, .threads = 1, .mem = &m.table};
    adze_ctx *ctx;
    double want = 0, have = 0;
    assert_int_equal(adze_ctx_new(&o, &ctx), ADZE_OK);
    faulty_mem_arm(&m, 0, false);
    assert_int_equal(whole_life(ctx, &want), ADZE_OK);
    long requests = atomic_load(&m.calls), alive = atomic_load(&m.blocks);
    assert_true(requests > 50);
    for (long n = 1; n <= requests; n++) {
        faulty_mem_arm(&m, n, n % 2 == 0);
        int status = whole_life(ctx, &have);
        if (status != ADZE_ENOMEM) {
            fail_msg("request %ld of %ld refused: status %d, %s", n, requests, status, adze_errmsg(ctx));
        }
        assert_int_equal(atomic_load(&m.blocks), alive);
    }
    faulty_mem_arm(&m, 0, false);
    assert_int_equal(whole_life(ctx, &have), ADZE_OK);
    assert_true(have == want);
    adze_ctx_free(ctx);
    assert_true(faulty_mem_clean(&m));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cs231n_example),
        cmocka_unit_test(test_three_orders_of_sin_and_pow),
        cmocka_unit_test(test_forward_of_forward_of_reverse),
        cmocka_unit_test(test_hessian_of_logistic_regression),
        cmocka_unit_test(test_vjp_and_jvp_are_adjoint),
        cmocka_unit_test(test_gradient_of_interior_and_unrelated_values),
        cmocka_unit_test(test_foreign_op_differentiates_by_expansion),
        cmocka_unit_test(test_guard_taken_and_skipped_forward_and_backward),
        cmocka_unit_test(test_guard_in_f32),
        cmocka_unit_test(test_guarded_value_may_not_leave),
        cmocka_unit_test(test_repeat_rows_carries_and_collections),
        cmocka_unit_test(test_gradient_through_repeat_is_refused),
        cmocka_unit_test(test_the_first_error_sticks),
        cmocka_unit_test(test_each_mistake_has_its_sentence),
        cmocka_unit_test(test_dumps_name_nodes_and_types),
        cmocka_unit_test(test_streams_depend_on_path_and_ordinal_only),
        cmocka_unit_test(test_every_refused_request_for_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
