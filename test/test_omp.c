/* Orthogonal matching pursuit as an op and as the layer omp: the codes of adze_la_omp to the bit, sparse codes found again, derivatives where the
 * choice stays, and inputs and dictionaries that could make it stumble. */
#include "adze/linalg.h"
#include "adze/ops.h"
#include "context.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void normals(double *x, int64_t n, uint64_t seed, bool narrow) {
    adze_rng r = adze_rng_make(seed, 17);
    for (int64_t i = 0; i < n; i++) {
        x[i] = narrow ? (double)(float)adze_rng_normal(&r) : adze_rng_normal(&r);
    }
}

static adze_val numbers(adze_graph *g, adze_dtype d, const double *v, int64_t rows, int64_t cols) {
    float *narrow = calloc((size_t)(rows * cols) + 1, sizeof *narrow);
    for (int64_t i = 0; i < rows * cols; i++) {
        narrow[i] = (float)v[i];
    }
    const adze_val c = adze_const(g, adze_type_make(d, 2, (int64_t[]){rows, cols}), d == ADZE_F64 ? (const void *)v : narrow);
    free(narrow);
    return c;
}

static void value_of(adze_graph *g, adze_val v, const char *device, double *out) {
    adze_tensor t;
    must(adze_graph_ctx(g), adze_eval(g, v, NULL, 0, NULL, device, &t));
    const adze_type type = adze_tensor_type(&t);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        out[i] = adze_tensor_get(&t, i);
    }
    adze_tensor_free(&t);
}

/* -- the op -------------------------------------------------------------------------------------------------------------------------------------- */

enum { N = 20, ATOMS = 37, ROWS = 70, MOST = 24 };

static void same_as_linalg(adze_ctx *ctx, adze_dtype dtype, const char *device, int64_t k, double tol) {
    static double x[ROWS * N], d[N * ATOMS], coef[ROWS * MOST], code[ROWS * ATOMS], want[ROWS * ATOMS], ids[ROWS * MOST];
    static int64_t atoms[ROWS * MOST];
    adze_graph *g;
    adze_val choice;
    normals(x, ROWS * N, 1, dtype == ADZE_F32);
    normals(d, N * ATOMS, 2, dtype == ADZE_F32);
    memset(x + 3 * N, 0, N * sizeof *x);
    must(ctx, adze_la_omp(ctx, adze_la_dense(d, N, ATOMS), adze_la_dense(x, ROWS, N), k, tol, atoms, adze_la_dense(coef, ROWS, k)));
    must(ctx, adze_graph_new(ctx, &g));
    const adze_val y = adze_omp(g, numbers(g, dtype, x, ROWS, N), numbers(g, dtype, d, N, ATOMS), k, tol, &choice);
    value_of(g, y, device, code);
    value_of(g, choice, device, ids);
    memset(want, 0, sizeof want);
    int64_t full = 0;
    for (int64_t i = 0; i < ROWS * k; i++) {
        assert_true(ids[i] == (double)atoms[i]);
        if (atoms[i] >= 0) {
            full++;
            want[i / k * ATOMS + atoms[i]] = dtype == ADZE_F32 ? (double)(float)coef[i] : coef[i];
        }
    }
    assert_true(full > ROWS && (tol == 0 || full < ROWS * k));
    assert_memory_equal(code, want, sizeof want);
    adze_graph_free(g);
}

static void codes_are_those_of_linear_algebra_to_the_bit(void **state) {
    static const adze_dtype DTYPES[] = {ADZE_F64, ADZE_F32};
    for (int i = 0; i < 2; i++) {
        same_as_linalg(*state, DTYPES[i], "cpu", 5, 0);
        same_as_linalg(*state, DTYPES[i], "ref", 5, 0);
        same_as_linalg(*state, DTYPES[i], "cpu", 12, 0.4);
        same_as_linalg(*state, DTYPES[i], "cpu", MOST, 0.01); /* more than could be independent */
    }
}

/* A zero atom, twins, a row of zeros, more atoms than numbers: finite codes and gradients. A NaN stays one. */
static void nothing_makes_it_stumble(void **state) {
    adze_ctx *ctx = *state;
    const double nan = (double)NAN;
    const double d[2 * 5] = {0, 1, 2, 0.5, 1, 0, 1, 2, -2, 1};
    const double x[5 * 2] = {0, 0, 1, 1, 1, -3, nan, 1, 1, (double)INFINITY};
    double code[5 * 5], dx[3 * 2], dd[2 * 5];
    adze_graph *g;
    must(ctx, adze_graph_new(ctx, &g));
    const adze_val dict = numbers(g, ADZE_F64, d, 2, 5);
    value_of(g, adze_omp(g, numbers(g, ADZE_F64, x, 5, 2), dict, 5, 0, NULL), "cpu", code);
    for (int i = 0; i < 15; i++) {
        assert_true(isfinite(code[i]) && (i >= 5 || code[i] == 0) && (i % 5 > 0 || code[i] == 0));
    }
    assert_true(fabs(code[5 + 1] - 1) < 1e-15 && code[5 + 2] == 0 && code[5 + 4] == 0); /* of twins the first */
    for (int i = 15; i < 25; i++) {
        assert_true(isnan(code[i]));
    }
    const adze_val in = numbers(g, ADZE_F64, x, 3, 2), y = adze_omp(g, in, dict, 5, 0, NULL);
    adze_val grad[2];
    must(ctx, adze_grad(g, adze_sum(g, adze_exp(g, y), NULL, 0, false), (adze_val[]){in, dict}, 2, grad, 0));
    value_of(g, grad[0], "cpu", dx);
    value_of(g, grad[1], "cpu", dd);
    for (int i = 0; i < 10; i++) {
        assert_true(isfinite(dd[i]) && (i >= 6 || isfinite(dx[i])) && (i % 5 > 0 || dd[i] == 0));
    }
    assert_true(dx[0] == 0 && dx[1] == 0 && dx[2] != 0);
    adze_graph_free(g);
}

static void refused(adze_ctx *ctx, adze_graph *g, adze_val v, const char *sentence) {
    assert_int_equal(v.id, 0);
    if (!strstr(adze_errmsg(ctx), sentence)) {
        fail_msg("expected '%s' in: %s", sentence, adze_errmsg(ctx));
    }
    adze_graph_free(g);
    adze_err_clear(ctx);
}

static void wrong_arguments_of_the_op_are_refused(void **state) {
    adze_ctx *ctx = *state;
    for (int i = 0; i < 7; i++) {
        adze_graph *g;
        must(ctx, adze_graph_new(ctx, &g));
        const adze_val x = adze_input(g, "x", adze_type_make(ADZE_F32, 2, (int64_t[]){5, 3})),
                       d = adze_input(g, "d", adze_type_make(ADZE_F32, 2, (int64_t[]){3, 4})),
                       b = adze_input(g, "b", adze_type_make(ADZE_F32, 2, (int64_t[]){5, 4})),
                       ids = adze_input(g, "i", adze_type_make(ADZE_I32, 2, (int64_t[]){4, 2})),
                       line = adze_input(g, "l", adze_type_make(ADZE_F32, 1, (int64_t[]){3})),
                       large = adze_input(g, "w", adze_type_make(ADZE_F32, 2, (int64_t[]){3, 20000}));
        switch (i) {
        case 0:
            refused(ctx, g, adze_omp(g, x, d, 5, 0, NULL), "k 5 of 4 atoms, or the tolerance 0, is not possible");
            break;
        case 1:
            refused(ctx, g, adze_omp(g, x, d, 2, 1, NULL), "k 2 of 4 atoms, or the tolerance 1, is not possible");
            break;
        case 2:
            refused(ctx, g, adze_omp(g, b, d, 2, 0, NULL), "the input has 4 numbers a row, the dictionary (3, 4) needs 3");
            break;
        case 3:
            refused(ctx, g, adze_omp(g, line, d, 2, 0, NULL), "the input is f32 (3), but must have");
            break;
        case 4:
            refused(ctx, g, adze_omp(g, x, line, 2, 0, NULL), "the dictionary is f32 (3), but must have 2 axes");
            break;
        case 5:
            refused(ctx, g, adze_omp(g, x, large, 2, 0, NULL), "20000 atoms, of which 2 are chosen: 1 to 16384 are possible");
            break;
        default:
            refused(ctx, g, adze_omp_solve(g, b, d, ids), "axis 0 of the right side has size 5, that of ids 4");
        }
    }
}

/* -- the layer ----------------------------------------------------------------------------------------------------------------------------------- */

typedef struct net {
    adze_ctx *ctx;
    adze_model *m;
    adze_store *store;
    adze_graph *g;
    adze_val x, y, v;
} net;

static int parse_layers(adze_ctx *ctx, const char *layers, int64_t in, adze_model **m) {
    char text[512];
    snprintf(text, sizeof text, "name: n\ntask: regress\ninput: [%lld]\nlayers:\n%s", (long long)in, layers);
    return parse(ctx, text, m);
}

/* x: a constant, so that values can be asked for at once. */
static net net_new(adze_ctx *ctx, const char *layers, const double *x, int64_t rows, int64_t in) {
    net n = {.ctx = ctx};
    must(ctx, parse_layers(ctx, layers, in, &n.m));
    n.store = fresh_store(ctx, n.m, ADZE_F64, 1);
    must(ctx, adze_graph_new(ctx, &n.g));
    n.x = numbers(n.g, ADZE_F64, x, rows, in);
    must(ctx, adze_model_build(n.m, n.g, n.x, &(adze_build_opts){.size = sizeof(adze_build_opts), .train = true}, &n.y));
    n.v = adze_slot(n.g, "o:v", adze_store_type(n.store, adze_store_find(n.store, "o:v")));
    return n;
}

static void net_value(const net *n, adze_val v, double *out) {
    adze_tensor t;
    must(n->ctx, adze_eval(n->g, v, NULL, 0, n->store, "cpu", &t));
    const adze_type type = adze_tensor_type(&t);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        out[i] = adze_tensor_get(&t, i);
    }
    adze_tensor_free(&t);
}

static void net_free(net *n) {
    adze_graph_free(n->g);
    adze_store_free(n->store);
    adze_model_free(n->m);
}

/* Codes of 4 atoms among 128, from 64 numbers: 2 k ln n = 39 are enough for Gaussian atoms (Tropp and Gilbert 2007). */
static void sparse_codes_are_found_again(void **state) {
    enum { IN = 64, UNITS = 128, K = 4, COUNT = 200 };
    static double x[COUNT * IN], code[COUNT * UNITS], found[COUNT * UNITS];
    const char *layer = "  - {type: omp, name: o, atoms: 128, k: 4}\n";
    net n = net_new(*state, layer, x, COUNT, IN);
    adze_tensor v = slot_of(*state, n.store, "o:v");
    adze_rng r = adze_rng_make(5, 6);
    double length[UNITS] = {0};
    for (int64_t i = 0; i < IN * UNITS; i++) {
        length[i % UNITS] += pow(adze_tensor_get(&v, i), 2);
    }
    for (int s = 0; s < COUNT; s++) {
        for (int j = 0; j < K;) {
            const int64_t at = (int64_t)adze_rng_below(&r, UNITS);
            if (code[s * UNITS + at] == 0) {
                code[s * UNITS + at] = (adze_rng_below(&r, 2) ? 1 : -1) * (1 + adze_rng_uniform(&r));
                j++;
            }
        }
        for (int64_t i = 0; i < IN * UNITS; i++) {
            x[s * IN + i / UNITS] += code[s * UNITS + i % UNITS] * adze_tensor_get(&v, i) / sqrt(length[i % UNITS]);
        }
    }
    net_free(&n);
    n = net_new(*state, layer, x, COUNT, IN);
    net_value(&n, n.y, found);
    int right = 0;
    for (int s = 0; s < COUNT; s++) {
        double far = 0;
        int others = 0;
        for (int j = 0; j < UNITS; j++) {
            far = fmax(far, fabs(found[s * UNITS + j] - code[s * UNITS + j]));
            others += found[s * UNITS + j] != 0 && code[s * UNITS + j] == 0;
        }
        right += far < 1e-12 && others == 0;
    }
    if (right * 100 < COUNT * 99) {
        fail_msg("%d of %d codes were found", right, COUNT);
    }
    net_free(&n);
}

static bool same_choice(const double *a, const double *b, int n) {
    bool same = true;
    for (int i = 0; i < n; i++) {
        same = same && (a[i] != 0) == (b[i] != 0);
    }
    return same;
}

/* Behind another layer, along a slot: wherever four steps leave all choices as they are. Returns in how many directions. */
static int agree(const net *n, const char *slot, int codes) {
    static const double AT[4] = {-2, -1, 1, 2}, WEIGHT[4] = {1, -8, 8, -1}, STEP = 1e-4;
    double g[256], before[128], after[128];
    const adze_tensor v = slot_of(n->ctx, n->store, slot);
    adze_val grad;
    const adze_type type = adze_tensor_type(&v);
    const adze_val at = adze_slot(n->g, slot, type), loss = adze_sum(n->g, adze_sin(n->g, n->y), NULL, 0, false);
    must(n->ctx, adze_grad(n->g, loss, &at, 1, &grad, 0));
    net_value(n, grad, g);
    net_value(n, n->y, before);
    int tried = 0;
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        const double was = adze_tensor_get(&v, i);
        double sum = 0, value;
        bool same = true;
        for (int j = 0; j < 4; j++) {
            adze_tensor_set(&v, i, was + AT[j] * STEP);
            net_value(n, loss, &value);
            net_value(n, n->y, after);
            sum += WEIGHT[j] * value / (12 * STEP);
            same = same && same_choice(before, after, codes);
        }
        adze_tensor_set(&v, i, was);
        tried += same;
        if (same && fabs(sum - g[i]) > 1e-8 * fmax(1, fabs(sum))) {
            fail_msg("%s, element %d: differences %.12g, gradient %.12g", slot, (int)i, sum, g[i]);
        }
    }
    return tried;
}

static void gradients_agree_with_differences_where_the_choice_stays(void **state) {
    double x[6 * 7];
    normals(x, 6 * 7, 4, false);
    net n = net_new(*state, "  - {type: dense, name: a, units: 12, activation: tanh}\n  - {type: omp, name: o, atoms: 20, k: 3}\n", x, 6, 7);
    assert_true(agree(&n, "o:v", 6 * 20) > 220);
    assert_true(agree(&n, "a:w", 6 * 20) > 70);
    net_free(&n);
}

/* What the lengths of atoms are does not matter: neither to the code nor, as they are not part of it, to the descent along them. */
static void lengths_of_atoms_do_not_matter(void **state) {
    enum { IN = 9, UNITS = 14, COUNT = 11 };
    double x[COUNT * IN], one[COUNT * UNITS], other[COUNT * UNITS], grad[IN * UNITS];
    normals(x, COUNT * IN, 8, false);
    net n = net_new(*state, "  - {type: omp, name: o, atoms: 14, k: 4}\n", x, COUNT, IN);
    adze_tensor v = slot_of(*state, n.store, "o:v");
    adze_val g;
    net_value(&n, n.y, one);
    for (int64_t i = 0; i < IN * UNITS; i++) {
        adze_tensor_set(&v, i, adze_tensor_get(&v, i) * (double)(1 << i % UNITS));
    }
    net_value(&n, n.y, other);
    must(n.ctx, adze_grad(n.g, adze_sum(n.g, adze_exp(n.g, n.y), NULL, 0, false), &n.v, 1, &g, 0));
    net_value(&n, g, grad);
    assert_true(same_choice(one, other, COUNT * UNITS));
    for (int i = 0; i < COUNT * UNITS; i++) {
        assert_true(fabs(one[i] - other[i]) <= 1e-12);
    }
    int chosen = 0;
    for (int j = 0; j < UNITS; j++) {
        double along = 0, size = 0;
        for (int64_t i = j; i < IN * UNITS; i += UNITS) {
            along += grad[i] * adze_tensor_get(&v, i);
            size += fabs(grad[i] * adze_tensor_get(&v, i));
        }
        assert_true(fabs(along) <= 1e-12 * size);
        chosen += size > 0;
    }
    assert_true(chosen > UNITS / 2);
    net_free(&n);
}

static void few_outputs_are_not_zero_and_a_frozen_dictionary_is_no_parameter(void **state) {
    enum { IN = 9, UNITS = 14, COUNT = 11 };
    static const struct {
        const char *layer;
        int most, least;
        bool learn;
    } ROWS_OF[] = {{"  - {type: omp, name: o, atoms: 14, k: 4}\n", 4, 4, true},
                   {"  - {type: omp, name: o, atoms: 14, k: 9, tol: 0.6, learn: false}\n", 8, 1, false},
                   {"  - {type: omp, name: o, atoms: 14, k: 1, init: orthogonal}\n", 1, 1, true}};
    double x[COUNT * IN], y[COUNT * UNITS];
    normals(x, COUNT * IN, 8, false);
    for (size_t i = 0; i < ADZE_COUNT(ROWS_OF); i++) {
        net n = net_new(*state, ROWS_OF[i].layer, x, COUNT, IN);
        net_value(&n, n.y, y);
        for (int r = 0; r < COUNT; r++) {
            int some = 0;
            for (int j = 0; j < UNITS; j++) {
                some += y[r * UNITS + j] != 0;
            }
            assert_in_range(some, ROWS_OF[i].least, ROWS_OF[i].most);
        }
        assert_int_equal(adze_model_params(n.m), ROWS_OF[i].learn ? IN * UNITS : 0);
        assert_int_equal(adze_store_flags(n.store, adze_store_find(n.store, "o:v")), ROWS_OF[i].learn ? ADZE_SLOT_TRAINABLE : 0);
        net_free(&n);
    }
}

static void wrong_fields_of_the_layer_are_refused(void **state) {
    static const char *const ROWS_OF[][2] = {
        {"  - {type: omp, k: 3}\n", "atoms"},
        {"  - {type: omp, atoms: 4, k: 5}\n", "'k' cannot exceed 'atoms'"},
        {"  - {type: omp, atoms: 30, k: 10}\n", "10 atoms cannot be independent; give a smaller 'k' or put a flatten layer before"},
        {"  - {type: omp, atoms: 30, init: normal}\n", "needs its deviation"},
    };
    for (size_t i = 0; i < ADZE_COUNT(ROWS_OF); i++) {
        adze_model *m;
        assert_true(parse_layers(*state, ROWS_OF[i][0], 9, &m) != ADZE_OK);
        if (!strstr(adze_errmsg(*state), ROWS_OF[i][1])) {
            fail_msg("expected '%s' in: %s", ROWS_OF[i][1], adze_errmsg(*state));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(codes_are_those_of_linear_algebra_to_the_bit, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_makes_it_stumble, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_arguments_of_the_op_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(sparse_codes_are_found_again, setup, teardown),
        cmocka_unit_test_setup_teardown(gradients_agree_with_differences_where_the_choice_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(lengths_of_atoms_do_not_matter, setup, teardown),
        cmocka_unit_test_setup_teardown(few_outputs_are_not_zero_and_a_frozen_dictionary_is_no_parameter, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_fields_of_the_layer_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
