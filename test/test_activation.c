/* Activations: value, both derivatives and ends against formulas written down a second time, in f64 and f32; what each layer makes of them; refusals.
 */
#include "context.h"

#include "adze/io.h"
#include "adze/ops.h"
#include "base/base.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 41 };

/* -- one number at a time ------------------------------------------------------------------------------------------------------------------------ */

static double sig(double x) {
    return 1 / (1 + exp(-x));
}
static double density(double x) {
    return exp(-x * x / 2) / sqrt(2 * M_PI);
}

typedef struct jet { /* value and two derivatives */
    double y, d1, d2;
} jet;

static jet f_none(double x) {
    return (jet){x, 1, 0};
}
static jet f_relu(double x) {
    return x > 0 ? (jet){x, 1, 0} : (jet){0, 0, 0};
}
static jet f_leaky(double x) {
    return x > 0 ? (jet){x, 1, 0} : (jet){0.3 * x, 0.3, 0};
}
static jet f_prelu(double x) {
    return x > 0 ? (jet){x, 1, 0} : (jet){0.25 * x, 0.25, 0};
}
static jet f_relu6(double x) {
    return x < 0 ? (jet){0, 0, 0} : x > 6 ? (jet){6, 0, 0} : (jet){x, 1, 0};
}
static jet f_elu(double x) {
    return x > 0 ? (jet){x, 1, 0} : (jet){1.5 * expm1(x), 1.5 * exp(x), 1.5 * exp(x)};
}
static jet f_selu(double x) {
    const double l = 1.0507009873554805, a = l * 1.6732632423543772;
    return x > 0 ? (jet){l * x, l, 0} : (jet){a * expm1(x), a * exp(x), a * exp(x)};
}
static jet f_gelu(double x) {
    const double p = 0.5 * erfc(-x / sqrt(2));
    return fabs(x) > 40 ? (jet){x * p, p, 0} : (jet){x * p, p + x * density(x), (2 - x * x) * density(x)};
}
static jet f_gelu_tanh(double x) {
    const double c = sqrt(2 / M_PI), t = tanh(c * (x + 0.044715 * x * x * x)), u1 = c * (1 + 3 * 0.044715 * x * x), u2 = c * 6 * 0.044715 * x;
    if (fabs(x) > 10) {
        return (jet){x > 0 ? x : 0, x > 0, 0};
    }
    return (jet){x * (1 + t) / 2, (1 + t) / 2 + x * (1 - t * t) * u1 / 2, (1 - t * t) * (u1 + x * (u2 / 2 - t * u1 * u1))};
}
static jet f_silu(double x) {
    const double s = sig(x), d = fabs(x) > 700 ? 0 : s * sig(-x);
    return d == 0 ? (jet){x * s, s, 0} : (jet){x * s, s + x * d, d * (2 + x * (1 - 2 * s))};
}
static jet f_hard_sigmoid(double x) {
    return x < -3 ? (jet){0, 0, 0} : x > 3 ? (jet){1, 0, 0} : (jet){x / 6 + 0.5, 1.0 / 6, 0};
}
static jet f_hard_swish(double x) {
    return x < -3 ? (jet){0, 0, 0} : x > 3 ? (jet){x, 1, 0} : (jet){x * (x / 6 + 0.5), x / 3 + 0.5, 1.0 / 3};
}
static jet f_softplus(double x) {
    return (jet){fmax(x, 0) + log1p(exp(-fabs(x))), sig(x), sig(x) * sig(-x)};
}
static jet f_sigmoid(double x) {
    const double s = sig(x), d = s * sig(-x);
    return (jet){s, d, d * (1 - 2 * s)};
}
static jet f_tanh(double x) {
    const double t = tanh(x);
    return (jet){t, 1 - t * t, -2 * t * (1 - t * t)};
}
static jet f_hard_tanh(double x) {
    return x < -1 ? (jet){-1, 0, 0} : x > 1 ? (jet){1, 0, 0} : (jet){x, 1, 0};
}
static jet f_lecun(double x) {
    const jet t = f_tanh(2 * x / 3);
    return (jet){1.7159 * t.y, 1.7159 * 2 / 3 * t.d1, 1.7159 * 4 / 9 * t.d2};
}

static const struct row {
    const char *name, *params;
    jet (*f)(double x);
} ROWS[] = {
    {"none", "", f_none},
    {"relu", "", f_relu},
    {"leaky_relu", ", slope: 0.3", f_leaky},
    {"prelu", "", f_prelu},
    {"prelu", ", slope_shared: true", f_prelu},
    {"relu6", "", f_relu6},
    {"elu", ", alpha: 1.5", f_elu},
    {"selu", "", f_selu},
    {"gelu", "", f_gelu},
    {"gelu_tanh", "", f_gelu_tanh},
    {"silu", "", f_silu},
    {"hard_swish", "", f_hard_swish},
    {"softplus", "", f_softplus},
    {"sigmoid", "", f_sigmoid},
    {"hard_sigmoid", "", f_hard_sigmoid},
    {"tanh", "", f_tanh},
    {"hard_tanh", "", f_hard_tanh},
    {"lecun_tanh", "", f_lecun},
};

static adze_model *layer(adze_ctx *ctx, const char *input, const char *fields) {
    char text[512];
    adze_model *m;
    snprintf(text, sizeof text, "name: n\ntask: regress\ninput: %s\nlayers:\n  - {name: a, %s}\n", input, fields);
    must(ctx, parse(ctx, text, &m));
    return m;
}

/* A row of numbers through a model: y, d sum(y) / dx and d sum(d1) / dx, whichever are asked for. */
static void jets_of(adze_ctx *ctx, const adze_model *m, adze_store *s, adze_dtype d, const char *device, const double *x, double *out[3]) {
    adze_graph *g;
    must(ctx, adze_graph_new(ctx, &g));
    adze_type t = adze_model_input_type(m, 1, d);
    adze_val v[4] = {adze_input(g, "x", t)};
    must(ctx, adze_model_build(m, g, v[0], NULL, &v[1]));
    for (int k = 1; k < 3; k++) {
        must(ctx, adze_grad(g, adze_sum(g, v[k], NULL, 0, false), v, 1, &v[k + 1], ADZE_DIFFERENTIABLE));
    }
    adze_named in = {.name = "x"};
    must(ctx, adze_tensor_new(ctx, t, &in.t));
    for (int64_t i = 0; i < adze_type_count(&t); i++) {
        adze_tensor_set(&in.t, i, x[i]);
    }
    for (int k = 0; k < 3; k++) {
        adze_tensor y;
        must(ctx, adze_eval(g, v[k + 1], &in, 1, s, device, &y));
        adze_type n = adze_tensor_type(&y);
        for (int64_t i = 0; out[k] && i < adze_type_count(&n); i++) {
            out[k][i] = adze_tensor_get(&y, i);
        }
        adze_tensor_free(&y);
    }
    adze_tensor_free(&in.t);
    adze_graph_free(g);
}

static void compare(const char *name, const char *what, double x, double got, double want, double eps) {
    if (!(fabs(got - want) <= eps * fmax(1, fabs(want)))) {
        fail_msg("%s at %g: %s is %.17g, not %.17g", name, x, what, got, want);
    }
}

static void each_has_its_formula_and_both_derivatives(void **state) {
    adze_ctx *ctx = *state;
    adze_about about;
    for (int i = 0; adze_activation_about(i, &about); i++) { /* the three that look at several channels have tests of their own */
        bool there = strcmp(about.name, "crelu") == 0 || strcmp(about.name, "maxout") == 0 || strcmp(about.name, "k_winners") == 0;
        for (size_t k = 0; k < ADZE_COUNT(ROWS); k++) {
            there = there || strcmp(ROWS[k].name, about.name) == 0;
        }
        if (!there || !about.formula || !about.derivative || !about.paper || !about.cost) {
            fail_msg("'%s' has no test or no words", about.name);
        }
    }
    double x[POINTS], y[POINTS], d1[POINTS], d2[POINTS];
    for (int i = 0; i < POINTS; i++) { /* no kink among them: those lie at 0, 1, 3 and 6 */
        x[i] = (i - POINTS / 2) * 0.437 + 0.05;
    }
    const double ends[] = {-3e38, -1e20, -1e4, -104, -88, -45, -1e-30, 1e-30, 45, 88, 104, 1e4, 1e20, 3e38};
    memcpy(x, ends, sizeof ends);
    for (size_t k = 0; k < ADZE_COUNT(ROWS); k++) {
        char fields[128];
        snprintf(fields, sizeof fields, "type: activation, fn: %s%s", ROWS[k].name, ROWS[k].params);
        adze_model *m = layer(ctx, "[41]", fields);
        for (int wide = 0; wide < 2; wide++) {
            adze_store *s;
            must(ctx, adze_store_new(ctx, &s));
            must(ctx, adze_model_init(m, s, wide ? ADZE_F64 : ADZE_F32, 1));
            jets_of(ctx, m, s, wide ? ADZE_F64 : ADZE_F32, wide ? "ref" : "cpu", x, (double *[]){y, d1, d2});
            for (int i = 0; i < POINTS; i++) {
                const double at = wide ? x[i] : (double)(float)x[i], eps = wide ? 1e-12 : 4e-6;
                const jet want = ROWS[k].f(at);
                compare(ROWS[k].name, "the value", at, y[i], want.y, eps);
                compare(ROWS[k].name, "the first derivative", at, d1[i], want.d1, eps);
                compare(ROWS[k].name, "the second derivative", at, d2[i], want.d2, eps);
            }
            adze_store_free(s);
        }
        adze_model_free(m);
    }
}

/* Maas et al.: a leaky unit cannot die; Clevert et al.: elu with alpha 1 is smooth at 0. */
static void what_happens_at_zero(void **state) {
    adze_ctx *ctx = *state;
    const struct {
        const char *fields;
        double d1;
    } rows[] = {{"type: activation, fn: relu", 0},       {"type: activation, fn: leaky_relu", 0.01}, {"type: activation, fn: elu", 1},
                {"type: activation, fn: sigmoid", 0.25}, {"type: activation, fn: silu", 0.5},        {"type: activation, fn: gelu", 0.5}};
    for (size_t k = 0; k < ADZE_COUNT(rows); k++) {
        adze_model *m = layer(ctx, "[1]", rows[k].fields);
        double x = 0, d1;
        jets_of(ctx, m, NULL, ADZE_F64, "cpu", &x, (double *[]){NULL, &d1, NULL});
        compare(rows[k].fields, "the first derivative", 0, d1, rows[k].d1, 0);
        adze_model_free(m);
    }
}

/* -- the learnt slope ---------------------------------------------------------------------------------------------------------------------------- */

static void prelu_learns_slopes_that_do_not_decay(void **state) {
    adze_ctx *ctx = *state;
    for (int shared = 0; shared < 2; shared++) {
        adze_model *m =
            layer(ctx, "[2, 3]", shared ? "type: activation, fn: prelu, slope_shared: true, slope_init: 0.5" : "type: activation, fn: prelu");
        adze_store *s;
        must(ctx, adze_store_new(ctx, &s));
        must(ctx, adze_model_init(m, s, ADZE_F64, 1));
        assert_int_equal(adze_model_params(m), shared ? 1 : 3);
        int slot = adze_store_find(s, "a:slope");
        adze_tensor a;
        must(ctx, adze_store_tensor(s, slot, &a));
        assert_true(adze_tensor_get(&a, 0) == (shared ? 0.5 : 0.25));
        assert_int_equal(adze_store_flags(s, slot) & (ADZE_SLOT_TRAINABLE | ADZE_SLOT_DECAY), ADZE_SLOT_TRAINABLE);
        const double x[6] = {-1, 2, -3, -4, -5, 6};
        adze_graph *g;
        must(ctx, adze_graph_new(ctx, &g));
        adze_val in = adze_const(g, adze_model_input_type(m, 1, ADZE_F64), x), y, grad;
        must(ctx, adze_model_build(m, g, in, NULL, &y));
        adze_val w = adze_slot(g, "a:slope", adze_tensor_type(&a));
        must(ctx, adze_grad(g, adze_sum(g, y, NULL, 0, false), &w, 1, &grad, 0));
        adze_tensor d;
        must(ctx, adze_eval(g, grad, NULL, 0, s, "cpu", &d));
        const double want[3] = {-5, -5, -3}; /* the sums of what is negative in each channel */
        for (int i = 0; i < (shared ? 1 : 3); i++) {
            assert_true(adze_tensor_get(&d, i) == (shared ? -13 : want[i]));
        }
        adze_tensor_free(&d);
        adze_graph_free(g);
        adze_store_free(s);
        adze_model_free(m);
    }
}

/* -- several channels
 * -------------------------------------------------------------------------------------------------------------------------------- */

static void crelu_doubles_the_channels(void **state) {
    adze_ctx *ctx = *state;
    adze_model *m = layer(ctx, "[2, 2]", "type: activation, fn: crelu");
    const double x[4] = {1, -2, -3, 4}, want[8] = {1, 0, 0, 2, 0, 4, 3, 0}, slope[4] = {1, -1, -1, 1};
    double y[8], d1[4], d2[4];
    jets_of(ctx, m, NULL, ADZE_F64, "cpu", x, (double *[]){y, d1, d2});
    for (int i = 0; i < 8; i++) {
        assert_true(y[i] == want[i] && d1[i / 2] == slope[i / 2] && d2[i / 2] == 0);
    }
    adze_model_free(m);
}

static void maxout_takes_the_largest_piece(void **state) {
    adze_ctx *ctx = *state;
    adze_model *m = layer(ctx, "[6]", "type: activation, fn: maxout, pieces: 3");
    const double x[6] = {1, 5, -2, -7, -3, -9};
    double y[2], d1[6], d2[6];
    jets_of(ctx, m, NULL, ADZE_F64, "cpu", x, (double *[]){y, d1, d2});
    assert_true(y[0] == 5 && y[1] == -3);
    for (int i = 0; i < 6; i++) {
        assert_true(d1[i] == (i == 1 || i == 4) && d2[i] == 0);
    }
    adze_model_free(m);
}

/* Goodfellow et al. 2013: with one piece zero, or a scaled copy, maxout is relu, or leaky relu: to the bit. */
static void maxout_is_relu_and_leaky_relu(void **state) {
    adze_ctx *ctx = *state;
    static const char *const pairs[][2] = {
        {"type: dense, units: 5, activation: maxout", "type: dense, units: 5, activation: relu"},
        {"type: dense, units: 5, activation: maxout", "type: dense, units: 5, activation: leaky_relu, slope: 0.25"},
        {"type: conv, filters: 5, kernel: 3, activation: maxout", "type: conv, filters: 5, kernel: 3, activation: relu"},
        {"type: conv, filters: 5, kernel: 3, activation: maxout", "type: conv, filters: 5, kernel: 3, activation: leaky_relu, slope: 0.25"}};
    for (size_t k = 0; k < ADZE_COUNT(pairs); k++) {
        const char *input = k < 2 ? "[7]" : "[4, 4, 2]";
        const double second = k % 2 ? 0.25 : 0;
        adze_model *m[2] = {layer(ctx, input, pairs[k][0]), layer(ctx, input, pairs[k][1])};
        adze_store *s[2];
        adze_tensor w[2], b[2];
        double x[32], y[2][20], d1[2][32];
        adze_rng r = adze_rng_make(3, k);
        for (int i = 0; i < 32; i++) {
            x[i] = adze_rng_normal(&r);
        }
        for (int i = 0; i < 2; i++) {
            must(ctx, adze_store_new(ctx, &s[i]));
            must(ctx, adze_model_init(m[i], s[i], ADZE_F32, 1));
            must(ctx, adze_store_tensor(s[i], adze_store_find(s[i], "a:w"), &w[i]));
            must(ctx, adze_store_tensor(s[i], adze_store_find(s[i], "a:b"), &b[i]));
        }
        assert_int_equal(adze_model_params(m[0]), 2 * adze_model_params(m[1]));
        adze_type t = adze_tensor_type(&w[1]);
        for (int64_t i = 0; i < adze_type_count(&t); i++) {
            adze_tensor_set(&w[0], 2 * i, adze_tensor_get(&w[1], i));
            adze_tensor_set(&w[0], 2 * i + 1, second * adze_tensor_get(&w[1], i));
        }
        for (int i = 0; i < 5; i++) {
            double v = adze_rng_normal(&r);
            adze_tensor_set(&b[1], i, v);
            adze_tensor_set(&b[0], 2 * i, v);
            adze_tensor_set(&b[0], 2 * i + 1, second * adze_tensor_get(&b[1], i));
        }
        for (int i = 0; i < 2; i++) {
            jets_of(ctx, m[i], s[i], ADZE_F32, "ref", x, (double *[]){y[i], d1[i], NULL});
        }
        for (int i = 0; i < (k < 2 ? 5 : 20); i++) {
            if (y[0][i] != y[1][i]) {
                fail_msg("%s: %.9g, %s: %.9g", pairs[k][0], y[0][i], pairs[k][1], y[1][i]);
            }
        }
        for (int i = 0; i < (k < 2 ? 7 : 32); i++) { /* sums of as many terms in another order */
            assert_true(fabs(d1[0][i] - d1[1][i]) < 1e-5);
        }
        for (int i = 0; i < 2; i++) {
            adze_store_free(s[i]);
            adze_model_free(m[i]);
        }
    }
}

static void k_winners_keep_the_largest_of_each_example(void **state) {
    adze_ctx *ctx = *state;
    adze_model *m = layer(ctx, "[2, 3]", "type: activation, fn: k_winners, winners: 2");
    const double x[6] = {1, -1, 3, 3, 0, 3};
    double y[6], d1[6], d2[6];
    jets_of(ctx, m, NULL, ADZE_F64, "cpu", x, (double *[]){y, d1, d2});
    for (int i = 0; i < 6; i++) { /* of equal numbers the first win */
        bool wins = i == 2 || i == 3;
        assert_true(y[i] == (wins ? x[i] : 0) && d1[i] == wins && d2[i] == 0);
    }
    adze_model_free(m);
}

/* -- refusals
 * ----------------------------------------------------------------------------------------------------------------------------------------- */

static void wrong_parameters_are_refused_with_a_sentence(void **state) {
    adze_ctx *ctx = *state;
    static const char *const rows[][3] = {
        {"[6]", "type: activation, fn: leeky_relu", "did you mean 'leaky_relu'?"},
        {"[6]", "type: activation, fn: relu, slope: 0.1", "'slope' is a parameter of leaky_relu, not of relu"},
        {"[6]", "type: dense, units: 2, activation: leaky_relu, slope_init: 0.1", "'slope_init' is a parameter of prelu"},
        {"[6]", "type: dense, units: 2, slope_shared: true", "'slope_shared' is a parameter of prelu"},
        {"[6]", "type: batchnorm, activation: selu, alpha: 2", "'alpha' is a parameter of elu, not of selu"},
        {"[6]", "type: activation, fn: elu, alpha: -1", "alpha"},
        {"[6, 6, 1]", "type: conv, filters: 2, kernel: 3, pieces: 3", "'pieces' is a parameter of maxout"},
        {"[6, 6, 1]", "type: subsample, winners: 3", "'winners' is a parameter of k_winners"},
        {"[6]", "type: activation, fn: k_winners", "k_winners needs 'winners'"},
        {"[6]", "type: activation, fn: k_winners, winners: 7", "give fewer 'winners'"},
        {"[6]", "type: activation, fn: maxout, pieces: 4", "6 is no multiple of that; change 'pieces'"},
        {"[6, 6, 1]", "type: conv, filters: 1, kernel: 3, table: '0', activation: maxout", "'table' and 'activation: maxout' exclude"},
        {"[6]", "type: dense, units: 2, init: normal", "'init: normal' needs its deviation, such as init_value: 0.01"},
        {"[6]", "type: dense, units: 2, init: uniform", "needs its limit"},
        {"[6]", "type: dense, units: 2, init: he_normal, init_value: 2", "takes no 'init_value'; init_gain scales it"},
        {"[6]", "type: dense, units: 2, init: sparse, init_value: 2.5", "the number of a unit's connections"},
        {"[6]", "type: dense, units: 3, init: looks_linear, activation: relu", "3 is odd; give an even number or use crelu"},
        {"[6, 6, 1]", "type: conv, filters: 1, kernel: 3, table: '0', init: identity", "'table' and 'init: identity' exclude"},
        {"[4, 6]", "type: lstm, units: 2, init: normal", "needs its deviation"},
    };
    for (size_t i = 0; i < ADZE_COUNT(rows); i++) {
        char text[512];
        adze_model *m;
        snprintf(text, sizeof text, "name: n\ntask: regress\ninput: %s\nlayers:\n  - {name: a, %s}\n", rows[i][0], rows[i][1]);
        assert_int_equal(parse(ctx, text, &m), ADZE_EARG);
        if (!strstr(adze_errmsg(ctx), rows[i][2])) {
            fail_msg("%s: expected '%s' in: %s", rows[i][1], rows[i][2], adze_errmsg(ctx));
        }
    }
}

static void parameters_survive_the_model_file(void **state) {
    adze_ctx *ctx = *state;
    adze_model *m = layer(ctx, "[6]", "type: dense, units: 4, activation: leaky_relu, slope: 0.2"), *again;
    char *json;
    must(ctx, adze_model_to_json(m, &json));
    assert_non_null(strstr(json, "\"activation\":\"leaky_relu\",\"slope\":0.2}"));
    must(ctx, adze_model_from_json(ctx, json, strlen(json), "n.json", &again));
    adze_text_free(ctx, json);
    adze_model_free(m);
    adze_model_free(again);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_has_its_formula_and_both_derivatives, setup, teardown),
        cmocka_unit_test_setup_teardown(what_happens_at_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(prelu_learns_slopes_that_do_not_decay, setup, teardown),
        cmocka_unit_test_setup_teardown(crelu_doubles_the_channels, setup, teardown),
        cmocka_unit_test_setup_teardown(maxout_takes_the_largest_piece, setup, teardown),
        cmocka_unit_test_setup_teardown(maxout_is_relu_and_leaky_relu, setup, teardown),
        cmocka_unit_test_setup_teardown(k_winners_keep_the_largest_of_each_example, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_parameters_are_refused_with_a_sentence, setup, teardown),
        cmocka_unit_test_setup_teardown(parameters_survive_the_model_file, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
