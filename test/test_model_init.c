/* First weights: each law's statistics, and that a slot's bits depend on seed, name and element alone. */
#include "adze/io.h"
#include "base/base.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state) {
    adze_ctx *ctx;
    adze_ctx_opts o = {.size = sizeof o, .threads = 1};
    assert_int_equal(adze_ctx_new(&o, &ctx), ADZE_OK);
    *state = ctx;
    return 0;
}

static int teardown(void **state) {
    adze_ctx *ctx = *state;
    adze_err_clear(ctx);
    assert_int_equal(adze_ctx_mem_used(ctx), 0);
    adze_ctx_free(ctx);
    return 0;
}

static void must(adze_ctx *ctx, int status) {
    if (status != ADZE_OK) {
        fail_msg("%d: %s", status, adze_errmsg(ctx));
    }
}

static adze_model *from_yaml(adze_ctx *ctx, const char *text) {
    adze_doc *d;
    adze_model *m;
    must(ctx, adze_yaml_parse(ctx, text, strlen(text), "n.yaml", &d));
    must(ctx, adze_model_from_tree(ctx, adze_doc_root(d), "n.yaml", &m));
    adze_doc_free(d);
    return m;
}

static adze_store *fresh_store(adze_ctx *ctx, const adze_model *m, adze_dtype d, uint64_t seed) {
    adze_store *s;
    must(ctx, adze_store_new(ctx, &s));
    must(ctx, adze_model_init(m, s, d, seed));
    return s;
}

static adze_tensor slot_of(adze_ctx *ctx, adze_store *s, const char *name) {
    adze_tensor t;
    int slot = adze_store_find(s, name);
    if (slot < 0) {
        fail_msg("no slot '%s'", name);
    }
    must(ctx, adze_store_tensor(s, slot, &t));
    return t;
}

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
