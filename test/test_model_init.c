/* First weights: each law's statistics, and that a slot's bits depend on seed, name and element alone. */
#include "context.h"

#include "adze/io.h"
#include "model/layer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- first weights -- */

static void weights_follow_their_law(void **state) {
    const struct {
        const char *init;
        double sd, limit; /* of w (200, 100); limit 0: normal */
    } rows[] = {
        {"zeros", 0, 0},
        {"constant, init_value: 0.5", 0, 0},
        {"normal, init_value: 0.3", 0.3, 0},
        {"uniform, init_value: 0.3", 0.3 / sqrt(3), 0.3},
        {"lecun_normal", 1 / sqrt(200), 0},
        {"lecun_uniform", 1 / sqrt(200), sqrt(3.0 / 200)},
        {"glorot_normal", sqrt(2.0 / 300), 0},
        {"glorot_uniform", sqrt(2.0 / 300), sqrt(6.0 / 300)},
        {"auto", sqrt(2.0 / 300), sqrt(6.0 / 300)},
        {"auto, activation: relu", sqrt(2.0 / 200), 0},
        {"he_normal", sqrt(2.0 / 200), 0},
        {"he_uniform", sqrt(2.0 / 200), sqrt(6.0 / 200)},
        {"he_normal, init_fan: out", sqrt(2.0 / 100), 0},
        {"he_normal, init_fan: average, init_gain: 2", 2 * sqrt(2.0 / 150), 0},
        {"lecun98", 2.4 / 200 / sqrt(3), 2.4 / 200},
        {"orthogonal", 1 / sqrt(200), 0},
        {"delta_orthogonal", 1 / sqrt(200), 0},
        {"looks_linear", 1 / sqrt(200), 0},
        {"looks_linear, activation: relu", 1 / sqrt(200), 0},
        {"auto, activation: selu", 1 / sqrt(200), 0},
    };
    for (size_t i = 0; i < ADZE_COUNT(rows); i++) {
        char text[256];
        snprintf(text, sizeof text, "name: n\ninput: [200]\nlayers:\n  - {type: dense, name: d, units: 100, init: %s}\n", rows[i].init);
        adze_model *m = from_yaml(*state, text);
        adze_store *s = fresh_store(*state, m, ADZE_F64, 11);
        adze_tensor w = slot_of(*state, s, "d:w");
        double sum = 0, square = 0, most = 0;
        for (int k = 0; k < 20000; k++) {
            double v = adze_tensor_get(&w, k);
            sum += v;
            square += v * v;
            most = fmax(most, fabs(v));
        }
        double mean = sum / 20000, sd = sqrt(fmax(square / 20000 - mean * mean, 0));
        if (rows[i].sd == 0) {
            assert_true(sd < 1e-9 && fabs(mean - (i == 1 ? 0.5 : 0)) < 1e-12);
        } else if (fabs(mean) > 4 * rows[i].sd / sqrt(20000) || fabs(sd / rows[i].sd - 1) > 0.03 ||
                   (rows[i].limit > 0 && (most > rows[i].limit || most < 0.99 * rows[i].limit)) || (rows[i].limit == 0 && most < 3 * rows[i].sd)) {
            fail_msg("%s: mean %g, deviation %g not %g, largest %g", rows[i].init, mean, sd, rows[i].sd, most);
        }
        for (int a = 0; strcmp(rows[i].init, "orthogonal") == 0 && a < 100; a++) {
            for (int b = 0; b <= a; b++) {
                double dot = 0;
                for (int k = 0; k < 200; k++) {
                    dot += adze_tensor_get(&w, k * 100 + a) * adze_tensor_get(&w, k * 100 + b);
                }
                assert_true(fabs(dot - (a == b)) < 1e-12);
            }
        }
        adze_store_free(s);
        adze_model_free(m);
    }
}

/* -- what the laws are for -- */

enum { ROWS = 64, DEPTH = 50 };

/* Second moments of what goes into each layer's activation, for normal inputs. */
static void moments_of(adze_ctx *ctx, const adze_model *m, adze_store *s, double *moment) {
    adze_graph *g;
    adze_val y, sums[DEPTH + 1] = {{0}};
    assert_true(m->nlayers <= DEPTH + 1);
    must(ctx, adze_graph_new(ctx, &g));
    adze_type t = adze_model_input_type(m, ROWS, ADZE_F32);
    must(ctx, adze_model_build_taps(m, g, adze_input(g, "x", t), NULL, &y, &(adze_taps){.sums = sums}));
    adze_named in = {.name = "x"};
    must(ctx, adze_tensor_new(ctx, t, &in.t));
    adze_rng r = adze_rng_make(5, 0);
    for (int64_t i = 0; i < adze_type_count(&t); i++) {
        adze_tensor_set(&in.t, i, adze_rng_normal(&r));
    }
    adze_val all[DEPTH + 1];
    for (int i = 0; i < m->nlayers; i++) {
        all[i] = adze_reshape(g, adze_mean(g, adze_square(g, sums[i]), NULL, 0, false), (int64_t[]){1}, 1);
    }
    adze_tensor v;
    must(ctx, adze_eval(g, adze_concat(g, all, m->nlayers, 0), &in, 1, s, "cpu", &v));
    for (int i = 0; i < m->nlayers; i++) {
        moment[i] = adze_tensor_get(&v, i);
    }
    adze_tensor_free(&v);
    adze_tensor_free(&in.t);
    adze_graph_free(g);
}

/* He et al. 2015, section 2.2: behind relu half of the second moment is gone, which he_normal gives back and LeCun's and Glorot's laws do not. */
static void he_keeps_the_signal_of_a_deep_relu_net(void **state) {
    static const struct {
        const char *init;
        double factor; /* of the second moment, per layer */
    } rows[] = {{"he_normal", 1}, {"he_uniform", 1}, {"lecun_normal", 0.5}, {"glorot_uniform", 0.5}, {"glorot_normal", 0.5}};
    for (size_t i = 0; i < ADZE_COUNT(rows); i++) {
        char text[256];
        double sum = 0;
        snprintf(text, sizeof text,
                 "name: n\ninput: [200]\nlayers:\n  - repeat: 50\n    layers:\n      - {type: dense, units: 200, activation: relu, init: %s}\n",
                 rows[i].init);
        adze_model *m = from_yaml(*state, text);
        for (uint64_t seed = 1; seed <= 4; seed++) {
            double moment[DEPTH + 1];
            adze_store *s = fresh_store(*state, m, ADZE_F32, seed);
            moments_of(*state, m, s, moment);
            sum += log(moment[49] / moment[0]) / 49 / 4;
            adze_store_free(s);
        }
        if (fabs(exp(sum) / rows[i].factor - 1) > 0.03) { /* the mean over all layers of 4 nets; that of one net of 200 units wanders more */
            fail_msg("%s: the second moment changes by %g per layer, not %g", rows[i].init, exp(sum), rows[i].factor);
        }
        adze_model_free(m);
    }
}

/* 0.01 N(0, 1) in a tanh net of 10 x 500: 0.01 sqrt(500) per layer, once the signal is so small that tanh is straight. */
static void small_weights_starve_a_tanh_net(void **state) {
    adze_model *m = from_yaml(*state, "name: n\ninput: [500]\nlayers:\n  - repeat: 10\n    layers:\n"
                                      "      - {type: dense, units: 500, activation: tanh, init: normal, init_value: 0.01}\n");
    adze_store *s = fresh_store(*state, m, ADZE_F32, 1);
    double moment[DEPTH + 1];
    moments_of(*state, m, s, moment);
    for (int i = 3; i < 10; i++) {
        double ratio = sqrt(moment[i] / moment[i - 1]);
        if (fabs(ratio / 0.223607 - 1) > 0.02) {
            fail_msg("layer %d: the deviation shrinks by %g, not 0.2236", i + 1, ratio);
        }
    }
    adze_store_free(s);
    adze_model_free(m);
}

static void run_model(adze_ctx *ctx, const adze_model *m, adze_store *s, const double *x, double *out) {
    adze_graph *g;
    adze_val y;
    must(ctx, adze_graph_new(ctx, &g));
    adze_type t = adze_model_input_type(m, 1, ADZE_F64);
    must(ctx, adze_model_build(m, g, adze_const(g, t, x), NULL, &y));
    adze_tensor v;
    must(ctx, adze_eval(g, y, NULL, 0, s, "cpu", &v));
    t = adze_tensor_type(&v);
    for (int64_t i = 0; i < adze_type_count(&t); i++) {
        out[i] = adze_tensor_get(&v, i);
    }
    adze_tensor_free(&v);
    adze_graph_free(g);
}

/* Balduzzi et al. 2017: f(a x + b z) = a f(x) + b f(z) at the start, through any number of layers; without the mirrored weights it is not. */
static void looks_linear_nets_are_linear_at_first(void **state) {
    static const struct {
        const char *input, *layers;
        bool linear;
    } rows[] = {
        {"[12]", "  - repeat: 30\n    layers:\n      - {type: dense, units: 8, activation: crelu, init: looks_linear}\n", true},
        {"[12]", "  - repeat: 30\n    layers:\n      - {type: dense, units: 12, activation: relu, init: looks_linear}\n", true},
        {"[12]", "  - {type: dense, units: 8, init: looks_linear}\n  - {type: activation, fn: crelu}\n  - {type: dropout}\n", true},
        {"[4, 3, 1]",
         "  - repeat: 5\n    layers:\n      - {type: conv, filters: 4, kernel: 3, pad: same, activation: crelu, init: looks_linear}\n"
         "  - {type: avgpool, size: 2, ceil: true}\n  - {type: flatten}\n",
         true},
        {"[4, 3, 1]",
         "  - repeat: 5\n    layers:\n      - {type: conv, filters: 4, kernel: 3, pad: same, activation: relu, init: looks_linear}\n"
         "  - {type: flatten}\n",
         true},
        {"[12]", "  - repeat: 3\n    layers:\n      - {type: dense, units: 8, activation: crelu, init: orthogonal}\n", false},
    };
    for (size_t i = 0; i < ADZE_COUNT(rows); i++) {
        char text[1024];
        snprintf(text, sizeof text, "name: n\ninput: %s\nlayers:\n%s  - {type: dense, units: 3, init: looks_linear}\n", rows[i].input,
                 rows[i].layers);
        adze_model *m = from_yaml(*state, text);
        adze_store *s = fresh_store(*state, m, ADZE_F64, 7);
        double x[12], z[12], both[12], fx[3], fz[3], fb[3], worst = 0, size = 0;
        adze_rng r = adze_rng_make(1, i);
        for (int k = 0; k < 12; k++) {
            x[k] = adze_rng_normal(&r), z[k] = adze_rng_normal(&r);
            both[k] = 2.5 * x[k] - 1.5 * z[k];
        }
        run_model(*state, m, s, x, fx);
        run_model(*state, m, s, z, fz);
        run_model(*state, m, s, both, fb);
        for (int k = 0; k < 3; k++) {
            worst = fmax(worst, fabs(fb[k] - 2.5 * fx[k] + 1.5 * fz[k]));
            size = fmax(size, fabs(fb[k]));
        }
        if (size < 1e-2 || (worst < 1e-10) != rows[i].linear) {
            fail_msg("row %zu: off a straight line by %g of %g", i, worst, size);
        }
        adze_store_free(s);
        adze_model_free(m);
    }
}

static void identity_and_delta_kernels_sit_at_the_centre(void **state) {
    adze_model *m = from_yaml(*state, "name: n\ntask: regress\ninput: [4, 4, 4]\nlayers:\n"
                                      "  - {type: conv, name: c, filters: 4, kernel: [3, 2], pad: same, groups: 2, init: identity}\n");
    adze_store *s = fresh_store(*state, m, ADZE_F64, 7);
    double x[64], y[64];
    for (int i = 0; i < 64; i++) {
        x[i] = i - 30.5;
    }
    run_model(*state, m, s, x, y);
    assert_memory_equal(x, y, sizeof x);
    adze_store_free(s);
    adze_model_free(m);
    m = from_yaml(*state, "name: n\ntask: regress\ninput: [4, 4, 4]\nlayers:\n"
                          "  - {type: conv, name: c, filters: 8, kernel: 3, pad: same, init: delta_orthogonal, init_gain: 2}\n");
    s = fresh_store(*state, m, ADZE_F64, 7);
    adze_tensor w = slot_of(*state, s, "c:w");
    for (int point = 0; point < 9; point++) {
        for (int a = 0; a < 4; a++) {
            for (int b = 0; b < 4; b++) {
                double dot = 0;
                for (int k = 0; k < 8; k++) {
                    dot += adze_tensor_get(&w, (point * 4 + a) * 8 + k) * adze_tensor_get(&w, (point * 4 + b) * 8 + k);
                }
                assert_true(fabs(dot - (point == 4 && a == b ? 4 : 0)) < 1e-12);
            }
        }
    }
    adze_store_free(s);
    adze_model_free(m);
}

static void sparse_units_have_few_connections(void **state) {
    for (int few = 0; few < 2; few++) {
        adze_model *m = from_yaml(*state, few ? "name: n\ninput: [3]\nlayers:\n  - {type: dense, name: d, units: 400, init: sparse}\n"
                                              : "name: n\ninput: [60]\nlayers:\n"
                                                "  - {type: dense, name: d, units: 400, init: sparse, init_value: 20, init_gain: 0.5}\n");
        adze_store *s = fresh_store(*state, m, ADZE_F64, 7);
        adze_tensor w = slot_of(*state, s, "d:w");
        double square = 0;
        int by_row[60] = {0};
        for (int k = 0; k < 400; k++) {
            int there = 0;
            for (int i = 0; i < (few ? 3 : 60); i++) {
                double v = adze_tensor_get(&w, i * 400 + k);
                there += v != 0;
                by_row[i] += v != 0;
                square += v * v;
            }
            assert_int_equal(there, few ? 3 : 20);
        }
        assert_true(fabs(square / (few ? 1200 : 8000 * 0.25) - 1) < 0.1);
        for (int i = 0; i < (few ? 0 : 60); i++) { /* 400 units choose each row with probability 1/3 */
            assert_in_range(by_row[i], 95, 172);
        }
        adze_store_free(s);
        adze_model_free(m);
    }
}

static void biases_start_where_they_are_told(void **state) {
    adze_model *m =
        from_yaml(*state, "name: n\ninput: [4, 3]\nlayers:\n  - {type: lstm, name: l, units: 5, forget_bias: 40, return_sequences: false}\n"
                          "  - {type: dense, name: d, units: 3, bias_init: 0.01}\n");
    adze_store *s = fresh_store(*state, m, ADZE_F64, 7);
    adze_tensor b = slot_of(*state, s, "l:b"), d = slot_of(*state, s, "d:b");
    for (int i = 0; i < 20; i++) { /* gates in the order i, f, g, o */
        assert_true(fabs(adze_tensor_get(&b, i) - (i >= 5 && i < 10 ? 40 : 0)) <= 1 / sqrt(5));
    }
    for (int i = 0; i < 3; i++) {
        assert_true(adze_tensor_get(&d, i) == 0.01);
    }
    adze_store_free(s);
    adze_model_free(m);
}

static void every_initialiser_has_its_words(void **state) {
    (void)state;
    adze_about a;
    int n = 0;
    while (adze_init_about(n, &a)) {
        assert_string_equal(a.name, adze_init_names[n++]);
        assert_true(strlen(a.formula) > 3 || strcmp(a.name, "zeros") == 0);
    }
    assert_null(adze_init_names[n]);
}

/* The bits of a slot depend on the seed, its name and the element: not on other layers, nor on the dtype but for rounding. */
static void first_weights_are_independent(void **state) {
    adze_ctx *ctx = *state;
    adze_model *a = from_yaml(ctx, "name: n\ninput: [5]\nlayers:\n  - {type: dense, name: x, units: 7}\n");
    adze_model *b =
        from_yaml(ctx, "name: other\ninput: [5]\nlayers:\n  - {type: dense, name: before, units: 5}\n  - {type: dense, name: x, units: 7}\n");
    adze_model *c = from_yaml(ctx, "name: n\ninput: [5]\nlayers:\n  - {type: dense, name: y, units: 7}\n");
    adze_store *sa = fresh_store(ctx, a, ADZE_F64, 9), *sb = fresh_store(ctx, b, ADZE_F64, 9), *sf = fresh_store(ctx, a, ADZE_F32, 9);
    adze_store *sc = fresh_store(ctx, c, ADZE_F64, 9), *s2 = fresh_store(ctx, a, ADZE_F64, 10);
    adze_tensor wa = slot_of(ctx, sa, "x:w"), wb = slot_of(ctx, sb, "x:w"), wf = slot_of(ctx, sf, "x:w"), wc = slot_of(ctx, sc, "y:w");
    adze_tensor w2 = slot_of(ctx, s2, "x:w");
    for (int i = 0; i < 35; i++) {
        double v = adze_tensor_get(&wa, i);
        assert_true(v == adze_tensor_get(&wb, i));
        assert_true((float)v == (float)adze_tensor_get(&wf, i));
        assert_true(v != adze_tensor_get(&wc, i) && v != adze_tensor_get(&w2, i));
    }
    adze_store *all[] = {sa, sb, sf, sc, s2};
    for (int i = 0; i < 5; i++) {
        adze_store_free(all[i]);
    }
    adze_model_free(a);
    adze_model_free(b);
    adze_model_free(c);
}

/* Large tensors are filled by several threads: element by element what one generator gives in order. */
static void threads_share_the_filling(void **state) {
    adze_ctx *ctx = *state, *many;
    adze_ctx_opts o = {.size = sizeof o, .threads = 3};
    assert_int_equal(adze_ctx_new(&o, &many), ADZE_OK);
    static const char *const laws[] = {"normal", "uniform"};
    for (int k = 0; k < 2; k++) {
        char text[256];
        snprintf(text, sizeof text, "name: n\ninput: [301]\nlayers:\n  - {type: dense, name: d, units: 205, init: %s, init_value: 0.5}\n", laws[k]);
        for (int t = 0; t < 2; t++) {
            adze_ctx *c = t ? many : ctx;
            adze_model *m = from_yaml(c, text);
            adze_store *s = fresh_store(c, m, t ? ADZE_F64 : ADZE_F32, 9);
            adze_tensor w = slot_of(c, s, "d:w");
            adze_rng r = adze_rng_make(9, adze_hash_str("d:w"));
            for (int64_t i = 0; i < 301 * 205; i++) {
                double v = k == 0 ? 0.5 * adze_rng_normal(&r) : 0.5 * (2 * adze_rng_uniform(&r) - 1);
                assert_true(adze_tensor_get(&w, i) == (t ? v : (double)(float)v));
            }
            adze_store_free(s);
            adze_model_free(m);
        }
    }
    adze_ctx_free(many);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(weights_follow_their_law, setup, teardown),
        cmocka_unit_test_setup_teardown(first_weights_are_independent, setup, teardown),
        cmocka_unit_test_setup_teardown(threads_share_the_filling, setup, teardown),
        cmocka_unit_test_setup_teardown(he_keeps_the_signal_of_a_deep_relu_net, setup, teardown),
        cmocka_unit_test_setup_teardown(small_weights_starve_a_tanh_net, setup, teardown),
        cmocka_unit_test_setup_teardown(looks_linear_nets_are_linear_at_first, setup, teardown),
        cmocka_unit_test_setup_teardown(identity_and_delta_kernels_sit_at_the_centre, setup, teardown),
        cmocka_unit_test_setup_teardown(sparse_units_have_few_connections, setup, teardown),
        cmocka_unit_test_setup_teardown(biases_start_where_they_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(every_initialiser_has_its_words, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
