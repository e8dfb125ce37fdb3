/* Probes and demonstrations on problems whose answer is known: chains, orthonormal and constant weights, networks that are linear, dead or tied. */
#include "adze/diag.h"
#include "adze/linalg.h"
#include "base/base.h"
#include "base/tree.h"
#include "effort.h"
#include "faulty.h"
#include "train/tap.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct look {
    adze_ctx *ctx;
    adze_model *m;
    adze_diag_subject s;
    adze_diag_opts o;
    adze_findings f;
} look;

static faulty_mem mem; /* of every context: nothing may leak */

static void must(adze_ctx *ctx, int status) {
    if (status != ADZE_OK) {
        fail_msg("%s", adze_errmsg(ctx));
    }
}

/* A fresh model in f64 on n examples: normal numbers times `scale` plus `shift`, labels at random. */
static look make(const char *net, int64_t n, double scale, double shift) {
    look k = {.ctx = NULL};
    adze_store *store;
    faulty_mem_init(&mem);
    const adze_ctx_opts co = {.size = sizeof co, .mem = &mem.table};
    assert_int_equal(adze_ctx_new(&co, &k.ctx), ADZE_OK);
    must(k.ctx, adze_fields_default(adze_diag_fields(), &k.o));
    must(k.ctx, adze_model_from_json(k.ctx, net, strlen(net), "net", &k.m));
    must(k.ctx, adze_store_new(k.ctx, &store));
    must(k.ctx, adze_model_init(k.m, store, ADZE_F64, 1));
    k.s.model = k.m;
    k.s.store = store;
    const adze_type type = adze_model_input_type(k.m, n, ADZE_F64);
    must(k.ctx, adze_tensor_new(k.ctx, type, &k.s.x));
    must(k.ctx, adze_tensor_new(k.ctx, adze_type_make(ADZE_I64, 1, &n), &k.s.labels));
    adze_rng r = adze_rng_make(5, 5);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        adze_tensor_set(&k.s.x, i, scale * adze_rng_normal(&r) + shift);
    }
    for (int64_t i = 0; i < n && adze_model_classes(k.m) > 0; i++) {
        adze_tensor_set(&k.s.labels, i, (double)adze_rng_below(&r, (uint64_t)adze_model_classes(k.m)));
    }
    k.o.batch = n;
    return k;
}

static void probe(look *k, const char *what) {
    adze_findings_free(&k->f);
    must(k->ctx, adze_diag_run(k->ctx, what, &k->s, &k->o, &k->f));
}

static double key(const look *k, const char *name) {
    return adze_findings_value(&k->f, name);
}

static void done(look *k) {
    adze_findings_free(&k->f);
    adze_tensor_free(&k->s.x);
    adze_tensor_free(&k->s.labels);
    adze_store_free(k->s.store);
    adze_model_free(k->m);
    adze_ctx_free(k->ctx);
    assert_true(faulty_mem_clean(&mem));
}

static void near(double got, double want, double relative) {
    if (!(fabs(got - want) <= relative * fabs(want))) {
        fail_msg("%.17g is not %.17g within %g", got, want, relative);
    }
}

/* `count` dense layers of `units`, and whatever `more` says of each; `out`: 0 for a net that ends with them. */
static char *tower(char *text, size_t n, int input, int count, int units, const char *more, int out) {
    int at = snprintf(text, n, "{\"name\":\"tower\",\"input\":[%d],%s\"layers\":[{\"repeat\":%d,\"name\":\"b\",\"layers\":[{\"type\":\"dense\",",
                      input, out ? "" : "\"task\":\"regress\",", count);
    at += snprintf(text + at, n - (size_t)at, "\"name\":\"fc\",\"units\":%d%s}]}", units, more);
    at += out ? snprintf(text + at, n - (size_t)at, ",{\"type\":\"dense\",\"name\":\"out\",\"units\":%d}", out) : 0;
    snprintf(text + at, n - (size_t)at, "]}");
    return text;
}

/* -- what flows ---------------------------------------------------------------------------------------------------------------------------------- */

static void a_chain_multiplies_its_weights(void **state) {
    static const double weights[] = {0.5, 1.5};
    (void)state;
    for (int i = 0; i < 2; i++) {
        char net[512], more[96];
        snprintf(more, sizeof more, ",\"bias\":false,\"init\":\"constant\",\"init_value\":%g", weights[i]);
        look k = make(tower(net, sizeof net, 1, 20, 1, more, 0), 4, 1, 0);
        probe(&k, "gradflow");
        near(key(&k, "activation_first_over_last"), pow(weights[i], 20), 1e-13);
        assert_int_equal(key(&k, "vanishing"), i == 0);
        assert_int_equal(key(&k, "exploding"), i == 1);
        done(&k);
    }
}

static void larger_inputs_make_larger_gradients(void **state) {
    (void)state;
    look k = make("{\"name\":\"l\",\"input\":[7],\"layers\":[{\"type\":\"dense\",\"name\":\"fc\",\"units\":3}]}", 5, 1, 0);
    k.o.loss = 1;
    k.o.xscale = 1000;
    probe(&k, "gradflow");
    near(key(&k, "xscale_gradient_ratio"), 1000, 1e-12);
    done(&k);
}

static void gradients_through_time_follow_the_weight(void **state) {
    (void)state; /* relu in its linear part: inputs that keep all sums positive */
    look k = make("{\"name\":\"r\",\"input\":[9,3],\"task\":\"regress\",\"layers\":[{\"type\":\"rnn\",\"name\":\"r\",\"units\":1,"
                  "\"return_sequences\":false,\"activation\":\"relu\",\"init\":\"constant\",\"init_value\":0.8}]}",
                  4, 0.1, 5);
    probe(&k, "gradflow");
    near(key(&k, "time_first_over_last"), pow(0.8, 8), 1e-12);
    near(adze_findings_cell(&k.f, "r/t=6", "dL/da") / adze_findings_cell(&k.f, "r/t=9", "dL/da"), pow(0.8, 3), 1e-12);
    done(&k);
}

/* States that are looked at cost in proportion to the steps, past what one join holds as well. */
static void long_sequences_are_joined_once(void **state) {
    (void)state;
    double bytes[2];
    for (int i = 0; i < 2; i++) {
        char net[256];
        adze_tap t;
        const adze_val *ys;
        snprintf(net, sizeof net, "{\"name\":\"r\",\"input\":[%d,3],\"task\":\"regress\",\"layers\":[{\"type\":\"rnn\",\"name\":\"r\",\"units\":4}]}",
                 i ? 400 : 100);
        look k = make(net, 2, 1, 0);
        const double *whole, *last;
        int64_t n, m;
        must(k.ctx, adze_tap_open(&t, k.ctx, &k.s, &k.o, 2, ADZE_DIAG_EVAL, ADZE_TAP_OUTS | ADZE_TAP_STATES));
        ys = t.states;
        assert_int_equal(t.nstates, i ? 400 : 100);
        assert_true(ys[0].id != ys[1].id);
        bytes[i] = adze_plan_describe(t.plan).bytes;
        must(k.ctx, adze_tap_run(&t));
        must(k.ctx, adze_tap_read(&t, "a", 0, &whole, &n));
        assert_int_equal(n, 2 * t.nstates * 4);
        double sum = 0;
        for (int64_t j = 0; j < n; j++) {
            sum += whole[j];
        }
        adze_tap_close(&t);
        must(k.ctx, adze_tap_open(&t, k.ctx, &k.s, &k.o, 2, ADZE_DIAG_EVAL, ADZE_TAP_OUTS)); /* the whole sequence in one op */
        must(k.ctx, adze_tap_run(&t));
        must(k.ctx, adze_tap_read(&t, "a", 0, &last, &m));
        for (int64_t j = 0; j < m; j++) {
            sum -= last[j];
        }
        near(sum + 1, 1, 1e-10);
        adze_tap_close(&t);
        done(&k);
    }
    assert_true(bytes[1] < 6 * bytes[0]);
}

static const char SKIPS[] =
    "{\"name\":\"d\",\"input\":[6],\"drop_path\":\"0.3\",\"layers\":[{\"type\":\"dense\",\"name\":\"a\",\"units\":6},{\"type\":\"dense\","
    "\"name\":\"b\",\"units\":6,\"activation\":\"relu\"},{\"type\":\"add\",\"name\":\"s\",\"from\":[\"b\",\"a\"]},{\"type\":\"dense\",\"name\":\"o\","
    "\"units\":3}]}";

/* A branch that training may skip is looked into as if it always ran. */
static void branches_that_may_be_skipped_are_seen(void **state) {
    (void)state;
    static const char *const probes[] = {"stats", "dead", "sparsity", "gradflow"};
    look k = make(SKIPS, 20, 1, 0);
    for (size_t i = 0; i < ADZE_COUNT(probes); i++) {
        probe(&k, probes[i]);
    }
    probe(&k, "stats");
    near(adze_findings_cell(&k.f, "s", "mean"), adze_findings_cell(&k.f, "a", "mean") + adze_findings_cell(&k.f, "b", "mean"), 1e-12);
    assert_true(adze_findings_cell(&k.f, "b", "mean") > 0);
    done(&k);
}

static void small_weights_shrink_the_signal(void **state) {
    (void)state;
    char net[512];
    look k = make(tower(net, sizeof net, 500, 10, 500, ",\"activation\":\"tanh\",\"init\":\"normal\",\"init_value\":0.01", 10), 100, 1, 0);
    probe(&k, "stats");
    for (int i = 3; i <= 10; i++) { /* 0.01 sqrt 500; the first layers are not yet in the linear part */
        char row[32];
        snprintf(row, sizeof row, "b/%d/fc", i);
        near(adze_findings_cell(&k.f, row, "std ratio"), 0.01 * sqrt(500), 0.03);
    }
    near(adze_findings_cell(&k.f, "b/10/fc", "std"), 3e-7, 0.2);
    done(&k);
    k = make(tower(net, sizeof net, 500, 10, 500, ",\"activation\":\"tanh\",\"init\":\"normal\",\"init_value\":1", 10), 100, 1, 0);
    probe(&k, "stats");
    assert_true(adze_findings_cell(&k.f, "b/10/fc", "beyond 0.95") >= 0.9);
    assert_true(key(&k, "saturated_most") > 0.9);
    assert_int_equal(strncmp(k.f.verdict, "saturated", 9), 0);
    done(&k);
}

static void he_keeps_the_variance_that_glorot_halves(void **state) {
    (void)state;
    char net[512];
    look k = make(tower(net, sizeof net, 400, 50, 400, ",\"activation\":\"relu\",\"init\":\"he_normal\"", 10), 50, 1, 0);
    probe(&k, "stats");
    near(key(&k, "square_ratio"), 1, 0.05);
    done(&k);
    k = make(tower(net, sizeof net, 400, 30, 400, ",\"activation\":\"relu\",\"init\":\"glorot_normal\"", 10), 50, 1, 0);
    probe(&k, "stats");
    near(key(&k, "square_ratio"), 0.5, 0.05);
    done(&k);
}

static void fan_in_keeps_the_way_forward_and_not_back(void **state) {
    (void)state;
    look k = make("{\"name\":\"l\",\"input\":[784],\"task\":\"regress\",\"layers\":[{\"type\":\"dense\",\"name\":\"fc\",\"units\":300,"
                  "\"init\":\"lecun_normal\"}]}",
                  300, 1, 0);
    probe(&k, "stats");
    near(adze_findings_cell(&k.f, "fc", "square ratio"), 1, 0.03);
    near(pow(adze_findings_cell(&k.f, "fc", "grad ratio"), 2), 300.0 / 784, 0.03);
    done(&k);
}

static void elu_hardly_saturates_at_unit_scale(void **state) {
    (void)state;
    look k = make("{\"name\":\"e\",\"input\":[2000],\"task\":\"regress\",\"layers\":[{\"type\":\"activation\",\"name\":\"a\",\"fn\":\"elu\"}]}", 100,
                  1, 0);
    probe(&k, "stats");
    near(adze_findings_cell(&k.f, "a", "saturated"), 0.00137, 0.1); /* Phi(ln 0.05) */
    done(&k);
}

/* -- zeros, the dead, signs ---------------------------------------------------------------------------------------------------------------------- */

static void only_relu_dies(void **state) {
    static const struct {
        const char *more;
        double dead;
    } cases[] = {{"relu", 30}, {"leaky_relu", 0}, {"elu", 0}, {"maxout", 0}};
    (void)state;
    for (size_t i = 0; i < ADZE_COUNT(cases); i++) {
        char net[512], more[96];
        snprintf(more, sizeof more, ",\"bias_init\":-20,\"activation\":\"%s\"", cases[i].more);
        look k = make(tower(net, sizeof net, 6, 1, 30, more, 4), 40, 1, 0);
        k.o.batch = 15; /* three batches: the whole set counts */
        probe(&k, "dead");
        near(key(&k, "dead"), cases[i].dead, 0);
        near(key(&k, "examples"), 40, 0);
        done(&k);
    }
    char net[512]; /* sums that are all equal: the first piece always wins */
    look k = make(tower(net, sizeof net, 6, 1, 30, ",\"init\":\"constant\",\"init_value\":1,\"activation\":\"maxout\",\"pieces\":3", 4), 40, 1, 0);
    probe(&k, "dead");
    near(key(&k, "unused_pieces"), 60, 0);
    done(&k);
}

static void zeros_are_counted(void **state) {
    (void)state;
    char net[512];
    look k = make(tower(net, sizeof net, 40, 1, 10, ",\"init\":\"sparse\",\"init_value\":4,\"activation\":\"k_winners\",\"winners\":3", 4), 50, 1, 0);
    probe(&k, "sparsity");
    near(adze_findings_cell(&k.f, "b/1/fc:w", "zeros"), 0.9, 1e-12);
    near(key(&k, "activation_zeros"), 0.7, 1e-12);
    done(&k);
    k = make(tower(net, sizeof net, 6, 1, 30, ",\"init\":\"constant\",\"init_value\":3,\"bias_init\":2", 0), 4, 1, 0);
    probe(&k, "sparsity");
    near(adze_findings_cell(&k.f, "b/1/fc:w", "mean"), 3, 1e-12);
    near(adze_findings_cell(&k.f, "b/1/fc:b", "mean"), 2, 1e-12);
    done(&k);
}

/* The mode that nobody chose: what a trained net gives is looked at as in use, its gradients and a fresh net as in training. */
static void a_trained_net_is_looked_at_in_use(void **state) {
    static const char net[] = "{\"name\":\"d\",\"input\":[20],\"layers\":[{\"type\":\"dense\",\"name\":\"a\",\"units\":30,\"activation\":\"relu\"},"
                              "{\"type\":\"dropout\",\"name\":\"n\",\"p\":0.5},{\"type\":\"dense\",\"name\":\"b\",\"units\":30,"
                              "\"activation\":\"relu\"},{\"type\":\"dense\",\"name\":\"o\",\"units\":4}]}";
    static const struct {
        const char *what, *row, *column;
        int in_use;
    } cases[] = {{"rank", "b (activations)", "entropy rank", ADZE_DIAG_EVAL},
                 {"sparsity", "b (activations)", "mean", ADZE_DIAG_EVAL},
                 {"stats", "b", "mean", ADZE_DIAG_EVAL},
                 {"gradflow", "a", "dL/dW", ADZE_DIAG_TRAIN}};
    (void)state;
    look k = make(net, 40, 1, 0);
    for (size_t i = 0; i < ADZE_COUNT(cases); i++) {
        double by_mode[2];
        for (k.o.mode = ADZE_DIAG_TRAIN; k.o.mode <= ADZE_DIAG_EVAL; k.o.mode++) {
            probe(&k, cases[i].what);
            by_mode[k.o.mode] = adze_findings_cell(&k.f, cases[i].row, cases[i].column);
        }
        assert_true(fabs(by_mode[0] - by_mode[1]) > 1e-3);
        must(k.ctx, adze_fields_default(adze_diag_fields(), &k.o));
        k.o.batch = 40;
        for (int trained = 0; trained < 2; trained++) {
            k.s.trained = trained;
            probe(&k, cases[i].what);
            near(adze_findings_cell(&k.f, cases[i].row, cases[i].column), by_mode[trained ? cases[i].in_use : ADZE_DIAG_TRAIN], 0);
        }
    }
    done(&k);
}

static void positive_inputs_give_gradients_of_one_sign(void **state) {
    static const char net[] = "{\"name\":\"l\",\"input\":[400],\"layers\":[{\"type\":\"dense\",\"name\":\"fc\",\"units\":10}]}";
    (void)state;
    look k = make(net, 64, 0.1, 5);
    probe(&k, "signs");
    near(key(&k, "first_batch_1"), 1, 0);
    done(&k);
    k = make(net, 64, 1, 0);
    probe(&k, "signs");
    near(key(&k, "first_batch_1"), 0.52, 0.03); /* of 400 random signs, the commoner ones */
    near(key(&k, "first_batch_64"), 0.52, 0.03);
    done(&k);
}

/* -- curvature ----------------------------------------------------------------------------------------------------------------------------------- */

static void the_conditions_of_known_matrices(void **state) {
    (void)state;
    look k = make("{\"name\":\"l\",\"input\":[6],\"layers\":[{\"type\":\"dense\",\"name\":\"fc\",\"units\":3,\"bias\":false}]}", 6, 0, 0);
    for (int i = 0; i < 6; i++) { /* X'X = diag(1, 4, 9, ..) */
        adze_tensor_set(&k.s.x, 7 * i, i + 1);
    }
    probe(&k, "cond");
    near(key(&k, "data_condition"), 36, 1e-12);
    near(key(&k, "data_rank"), 6, 0);
    near(key(&k, "exact"), 1, 0);
    near(key(&k, "negative_share"), 0, 0); /* softmax regression is convex */
    assert_true(key(&k, "lambda_max") > 0 && key(&k, "lambda_max") <= 36.0 / 6 / 2);
    done(&k);
    char net[512];
    k = make(tower(net, sizeof net, 24, 1, 24, ",\"init\":\"identity\"", 0), 24, 1, 0);
    probe(&k, "rank");
    near(adze_findings_cell(&k.f, "b/1/fc:w", "stable rank"), 24, 1e-12);
    near(adze_findings_cell(&k.f, "b/1/fc:w", "entropy rank"), 24, 1e-12);
    done(&k);
    k = make(tower(net, sizeof net, 24, 1, 12, ",\"init\":\"constant\",\"init_value\":3", 0), 24, 1, 0);
    probe(&k, "rank");
    near(adze_findings_cell(&k.f, "b/1/fc:w", "rank"), 1, 0);
    near(adze_findings_cell(&k.f, "b/1/fc:w", "stable rank"), 1, 1e-9);
    done(&k);
}

/* A condition is told where every eigenvalue is known, else what it is at least. The Hessian of x A B c has eigenvalues of both signs in pairs: the
 * values that a few steps give lie near 0, where no eigenvalue is. */
static void a_sample_of_eigenvalues_gives_a_bound(void **state) {
    (void)state;
    char net[512];
    for (int both = 0; both < 2; both++) {
        look k = make(both ? tower(net, sizeof net, 3, 2, 3, ",\"bias\":false", 0) : tower(net, sizeof net, 4, 1, 3, ",\"activation\":\"tanh\"", 3),
                      40, 1, 0);
        k.o.steps = 40;
        probe(&k, "cond");
        const double exact = key(&k, "hessian_condition");
        assert_true(exact > 1 && isnan(key(&k, "condition_at_least")) && key(&k, "exact") == 1);
        double last = 0;
        for (k.o.steps = 1; k.o.steps < (both ? 18 : 27); k.o.steps++) {
            probe(&k, "cond");
            assert_true(isnan(key(&k, "hessian_condition")) && key(&k, "exact") == 0);
            last = key(&k, "condition_at_least");
            assert_true(last <= exact * (1 + 1e-9));
        }
        assert_true(last > exact / 2);
        done(&k);
    }
}

static void rescaling_changes_sharpness_and_nothing_else(void **state) {
    (void)state;
    char net[512];
    look k = make(tower(net, sizeof net, 8, 2, 12, ",\"activation\":\"relu\"", 4), 32, 1, 0);
    k.o.rescale = 4;
    probe(&k, "sharpness");
    assert_true(key(&k, "loss_change") < 1e-13);
    assert_true(key(&k, "lambda_max_rescaled") > 1.5 * key(&k, "lambda_max"));
    assert_true(key(&k, "sharpness") > 0);
    done(&k);
    k = make(tower(net, sizeof net, 8, 2, 12, ",\"activation\":\"tanh\"", 4), 32, 1, 0);
    k.o.rescale = 4;
    assert_int_equal(adze_diag_run(k.ctx, "sharpness", &k.s, &k.o, &k.f), ADZE_EARG);
    done(&k);
}

static void second_order_foretells_a_small_step(void **state) {
    (void)state;
    char net[512];
    look k = make(tower(net, sizeof net, 8, 2, 12, ",\"activation\":\"tanh\"", 4), 32, 1, 0);
    double off[2];
    for (int i = 0; i < 2; i++) { /* what is left is of third order */
        k.o.lr = i ? 0.01 : 0.02;
        probe(&k, "decrease");
        off[i] = fabs(key(&k, "actual") - key(&k, "second_order"));
    }
    near(off[0] / off[1], 8, 0.1);
    done(&k);
}

static void critical_points_have_an_index(void **state) {
    (void)state;
    char net[512];
    look k = make(tower(net, sizeof net, 3, 1, 3, ",\"activation\":\"tanh\"", 3), 24, 1, 0);
    k.o.steps = 60;
    probe(&k, "index");
    assert_true(key(&k, "critical_points") >= 3);
    for (int i = 0; i < k.f.nrows; i++) {
        const double share = adze_findings_cell(&k.f, k.f.rows[i], "index");
        assert_true(share >= 0 && share <= 1);
    }
    done(&k);
}

/* A Hessian of low rank and both signs: rows of zeros, and eigenvalues that are 0 but for rounding. */
static void indefinite_matrices_of_low_rank_settle(void **state) {
    enum { SIZE = 80 };
    (void)state;
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    double *a = malloc(sizeof *a * SIZE * SIZE), values[SIZE];
    for (uint64_t seed = 0; seed < 200; seed++) {
        adze_rng r = adze_rng_make(seed, 3);
        double trace = 0, sum = 0;
        memset(a, 0, sizeof *a * SIZE * SIZE);
        for (int64_t k = adze_rng_range(&r, 1, 6); k > 0; k--) {
            double v[SIZE], size = pow(10, 6 * adze_rng_uniform(&r) - 3) * (k % 2 ? 1 : -1);
            for (int i = 0; i < SIZE; i++) {
                v[i] = adze_rng_below(&r, 3) ? 0 : adze_rng_normal(&r);
            }
            for (int i = 0; i < SIZE * SIZE; i++) {
                a[i] += size * v[i / SIZE] * v[i % SIZE];
            }
        }
        for (int i = 0; i < SIZE; i++) {
            trace += a[i * SIZE + i];
        }
        must(ctx, adze_la_eigen(ctx, adze_la_dense(a, SIZE, SIZE), values, (adze_la_mat){.at = NULL}));
        for (int i = 0; i < SIZE; i++) {
            sum += values[i];
        }
        assert_true(fabs(sum - trace) <= 1e-12 * fmax(fabs(values[0]), values[SIZE - 1]));
    }
    free(a);
    adze_ctx_free(ctx);
}

/* -- ties ---------------------------------------------------------------------------------------------------------------------------------------- */

static void normalisation_ties_a_batch_in_training(void **state) {
    static const char net[] = "{\"name\":\"n\",\"input\":[6],\"layers\":[{\"type\":\"dense\",\"name\":\"a\",\"units\":8},{\"type\":\"batchnorm\","
                              "\"name\":\"n\",\"activation\":\"relu\"},{\"type\":\"dense\",\"name\":\"out\",\"units\":3}]}";
    (void)state;
    look k = make(net, 8, 1, 0);
    probe(&k, "bn-coupling");
    assert_true(key(&k, "off_diagonal_train") > 1e-3);
    near(key(&k, "off_diagonal_eval"), 0, 0);
    done(&k);
}

static void looks_linear_is_linear(void **state) {
    (void)state;
    static const char mirrored[] =
        "{\"name\":\"n\",\"input\":[8],\"layers\":[{\"repeat\":12,\"name\":\"b\",\"layers\":[{\"type\":\"dense\",\"name\":\"fc\","
        "\"units\":16,\"activation\":\"crelu\",\"init\":\"looks_linear\"}]},{\"type\":\"dense\",\"name\":\"out\",\"units\":4,"
        "\"init\":\"looks_linear\"}]}";
    char net[512];
    look k = make(mirrored, 10, 1, 0);
    probe(&k, "linear");
    assert_true(key(&k, "linearity_error") < 1e-12);
    near(key(&k, "gradient_autocorrelation"), 1, 1e-12);
    done(&k);
    k = make(tower(net, sizeof net, 8, 12, 16, ",\"activation\":\"relu\"", 4), 10, 1, 0);
    probe(&k, "linear");
    assert_true(key(&k, "linearity_error") > 0.1 && key(&k, "gradient_autocorrelation") < 0.95);
    done(&k);
}

static void a_layer_without_others_below_shifts_nothing(void **state) {
    (void)state;
    char net[512];
    look k = make(tower(net, sizeof net, 8, 3, 16, ",\"activation\":\"relu\"", 4), 32, 1, 0);
    probe(&k, "ics");
    near(adze_findings_cell(&k.f, "b/1/fc", "difference"), 0, 0);
    near(adze_findings_cell(&k.f, "b/1/fc", "cosine"), 1, 1e-12);
    assert_true(adze_findings_cell(&k.f, "out", "difference") > 1e-4);
    k.o.lr = 0;
    probe(&k, "ics");
    near(key(&k, "relative_most"), 0, 0);
    done(&k);
}

static void data_off_centre_make_weights_touchy(void **state) {
    static const char net[] = "{\"name\":\"l\",\"input\":[20],\"layers\":[{\"type\":\"dense\",\"name\":\"fc\",\"units\":4}]}";
    double change[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        look k = make(net, 64, 1, 10 * i);
        probe(&k, "sensitivity");
        change[i] = key(&k, "output_change_most");
        done(&k);
    }
    assert_true(change[1] > 2 * change[0]);
}

/* Ten hidden units that are alike can spare eight; when one of them says all, its loss tells. */
static void deleted_units_are_missed_where_they_are_alone(void **state) {
    static const char net[] = "{\"name\":\"l\",\"input\":[20],\"layers\":[{\"type\":\"dense\",\"name\":\"h\",\"units\":10,\"activation\":\"tanh\"},"
                              "{\"type\":\"dense\",\"name\":\"o\",\"units\":4}]}";
    (void)state;
    for (int alone = 0; alone < 2; alone++) {
        look k = make(net, 64, 1, 0);
        adze_tensor w, v;
        must(k.ctx, adze_store_tensor(k.s.store, adze_store_find(k.s.store, "h:w"), &w));
        must(k.ctx, adze_store_tensor(k.s.store, adze_store_find(k.s.store, "o:w"), &v));
        for (int64_t i = 0; i < 200; i++) {
            adze_tensor_set(&w, i, adze_tensor_get(&w, i / 10 * 10));
        }
        for (int64_t i = 0; i < 40; i++) {
            adze_tensor_set(&v, i, alone && i >= 4 ? 0 : (double)(i % 4) - 1);
        }
        probe(&k, "ablation");
        if (alone) {
            assert_true(key(&k, "error_mean") != key(&k, "error"));
        } else {
            near(key(&k, "rise_50"), 0, 0);
            near(key(&k, "error_mean"), key(&k, "error"), 1e-12);
        }
        done(&k);
    }
}

static void every_example_counts_once_when_units_are_deleted(void **state) {
    static const char net[] = "{\"name\":\"l\",\"input\":[20],\"layers\":[{\"type\":\"dense\",\"name\":\"h\",\"units\":10},"
                              "{\"type\":\"dense\",\"name\":\"o\",\"units\":4}]}";
    double error[2], mean[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        look k = make(net, 40, 1, 0);
        k.o.batch = i ? 15 : 40; /* the third batch of 15 begins with five that were seen */
        probe(&k, "ablation");
        error[i] = key(&k, "error");
        mean[i] = key(&k, "error_mean");
        done(&k);
    }
    near(error[1], error[0], 1e-12);
    near(mean[1], mean[0], 1e-12);
}

static void steps_under_a_constant_gradient(void **state) {
    (void)state;
    look k = make("{\"name\":\"l\",\"input\":[2],\"layers\":[{\"type\":\"dense\",\"name\":\"fc\",\"units\":2}]}", 2, 1, 0);
    probe(&k, "effective-lr"); /* adze_diag_run takes no subject here; one does no harm */
    near(key(&k, "adagrad_t100"), 0.1, 1e-9);
    near(key(&k, "adagrad_t2"), sqrt(0.5), 1e-9);
    near(key(&k, "rmsprop_t1000"), 1, 1e-6);
    near(key(&k, "adam_t1"), 1, 1e-6);
    near(key(&k, "adam_bias_correction_false_t1"), sqrt(10), 1e-4);
    near(key(&k, "adam_bias_correction_false_t12"), 6.57, 1e-3);
    near(key(&k, "adam_bias_correction_false_peak_at"), 12, 0);
    near(key(&k, "momentum_t1000"), 10, 1e-9);
    done(&k);
}

/* -- trainings
 * ---------------------------------------------------------------------------------------------------------------------------------------- */

static const char *fit_of(adze_ctx *ctx, const double *loss, const double *acc, const double *val_loss, const double *val_acc, int n,
                          adze_findings *f) {
    adze_epoch_stats s[8] = {{0}};
    adze_diag_opts o;
    must(ctx, adze_fields_default(adze_diag_fields(), &o));
    for (int i = 0; i < n; i++) {
        s[i] = (adze_epoch_stats){.epoch = i, .loss = loss[i], .acc = acc[i], .val_loss = val_loss[i], .val_acc = val_acc[i]};
    }
    adze_findings_free(f);
    must(ctx, adze_diag_fit(ctx, s, n, &o, f));
    return f->verdict;
}

static void a_training_is_judged_by_its_epochs(void **state) {
    (void)state;
    adze_ctx *ctx;
    adze_findings f = {.ctx = NULL};
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    const double falls[] = {1.5, 0.5, 0.2, 0.1}, rises[] = {1, 0.6, 0.7, 0.9}, high[] = {0.6, 0.8, 0.95, 0.99}, stays[] = {0.6, 0.75, 0.8, 0.8};
    const double flat[] = {2.303, 2.302, 2.301, 0.9}, low[] = {0.1, 0.1, 0.1, 0.7}, slow[] = {2, 1.8, 1.7, 1.65};
    assert_int_equal(strncmp(fit_of(ctx, falls, high, rises, stays, 4, &f), "overfit", 7), 0);
    near(adze_findings_value(&f, "gap"), 0.19, 1e-9);
    near(adze_findings_value(&f, "val_loss_rise"), 0.5, 1e-9);
    assert_int_equal(strncmp(fit_of(ctx, slow, stays, slow, stays, 4, &f), "underfit", 8), 0);
    assert_int_equal(strncmp(fit_of(ctx, flat, low, flat, low, 4, &f), "bad first weights", 17), 0);
    near(adze_findings_value(&f, "flat_epochs"), 3, 0);
    assert_int_equal(strncmp(fit_of(ctx, flat, low, flat, low, 3, &f), "bad first weights or rate", 25), 0);
    assert_string_equal(fit_of(ctx, falls + 3, high + 3, falls + 3, high + 3, 1, &f), "ok");
    assert_string_equal(fit_of(ctx, falls, high, falls, high, 4, &f), "ok");
    /* an autoencoder is never right, a training without validation has nothing to compare: losses say what can be said */
    const double never[4] = {0}, none[] = {NAN, NAN, NAN, NAN}, lies[] = {1.6, 1.58, 1.57, 1.57};
    assert_string_equal(fit_of(ctx, falls, never, falls, never, 4, &f), "ok");
    assert_int_equal(strncmp(fit_of(ctx, falls, never, rises, never, 4, &f), "overfit", 7), 0);
    assert_int_equal(strncmp(fit_of(ctx, lies, never, lies, none, 4, &f), "underfit", 8), 0);
    assert_string_equal(fit_of(ctx, falls, high, none, none, 4, &f), "ok");
    assert_int_equal(strncmp(fit_of(ctx, falls, high, rises, none, 4, &f), "overfit", 7), 0);
    adze_findings_free(&f);
    adze_ctx_free(ctx);
}

static void a_watch_tells_when_units_died(void **state) {
    (void)state;
    char net[512], *lines, *warning;
    look k = make(tower(net, sizeof net, 6, 1, 10, ",\"activation\":\"relu\"", 4), 40, 1, 0);
    adze_diag_watch *w;
    adze_tensor bias;
    adze_text all = {.ctx = k.ctx};
    must(k.ctx, adze_diag_watch_new(k.ctx, "dead,stats", &k.s, &k.o, &w));
    must(k.ctx, adze_diag_watch_look(w, 0, &lines, &warning));
    assert_non_null(strstr(lines, "{\"probe\":\"dead\",\"step\":0,"));
    assert_non_null(strstr(lines, "\"drift_most\":0,"));
    assert_null(warning);
    adze_text_add(&all, "%s", lines);
    adze_text_free(k.ctx, lines);
    must(k.ctx, adze_store_tensor(k.s.store, adze_store_find(k.s.store, "b/1/fc:b"), &bias));
    adze_tensor_set(&bias, 3, -100);
    for (int i = 0; i < 2; i++) { /* a death is told once, and its step is that of the first look */
        must(k.ctx, adze_diag_watch_look(w, 50 + 50 * i, &lines, &warning));
        assert_non_null(strstr(lines, i ? "\"newly_dead\":0,\"first_death\":50," : "\"newly_dead\":1,\"first_death\":50,"));
        assert_null(strstr(lines, "\"drift_most\":0,"));
        if (i == 0) {
            assert_string_equal(warning, "step 50, dead: 1 of 10 units are active on no example\n");
        } else {
            assert_null(warning);
        }
        adze_text_add(&all, "%s", lines);
        adze_text_free(k.ctx, lines);
        adze_text_free(k.ctx, warning);
    }
    /* a second watch goes on by the lines of the first, less a torn one and what came after the step */
    char *kept;
    bool looked;
    for (int i = 0; i < 3; i++) {
        must(k.ctx, adze_diag_watch_look(w, 150 + 50 * i, &lines, &warning));
        adze_text_add(&all, "%s", lines);
        adze_text_free(k.ctx, lines);
        adze_text_free(k.ctx, warning);
    }
    adze_text_add(&all, "{\"probe\":\"dead\",\"st");
    adze_diag_watch_free(w);
    must(k.ctx, adze_diag_watch_new(k.ctx, "dead,stats", &k.s, &k.o, &w));
    must(k.ctx, adze_diag_watch_resume(w, all.s, 200, &kept, &looked));
    assert_true(looked && strstr(kept, "\"step\":200,") && !strstr(kept, "\"step\":250,"));
    assert_int_equal(strlen(strstr(all.s, "{\"probe\":\"dead\",\"step\":250,")) + strlen(kept), strlen(all.s));
    must(k.ctx, adze_diag_watch_look(w, 250, &lines, &warning));
    assert_non_null(strstr(lines, "\"newly_dead\":0,\"first_death\":50,"));
    assert_null(warning);
    assert_memory_equal(lines, strstr(all.s, "{\"probe\":\"dead\",\"step\":250,"), strlen(lines));
    adze_text_free(k.ctx, lines);
    adze_text_free(k.ctx, kept);
    adze_diag_watch_free(w);
    must(k.ctx, adze_diag_watch_new(k.ctx, "dead,stats,sparsity", &k.s, &k.o, &w)); /* one more probe: this step's look was not whole */
    must(k.ctx, adze_diag_watch_resume(w, all.s, 200, &kept, &looked));
    assert_true(!looked && strstr(kept, "\"step\":150,") && !strstr(kept, "\"step\":200,"));
    adze_text_free(k.ctx, kept);
    adze_text_drop(&all);
    adze_diag_watch_free(w);
    assert_int_equal(adze_diag_watch_new(k.ctx, "dead,deaf", &k.s, &k.o, &w), ADZE_EARG);
    done(&k);
}

static void a_model_stays_as_it_was(void **state) {
    static const char net[] = "{\"name\":\"n\",\"input\":[6],\"layers\":[{\"type\":\"dense\",\"name\":\"a\",\"units\":8},{\"type\":\"batchnorm\","
                              "\"name\":\"n\",\"activation\":\"relu\"},{\"type\":\"dense\",\"name\":\"out\",\"units\":3}]}";
    (void)state;
    look k = make(net, 64, 1, 0);
    k.o.steps = 5;
    uint64_t before[2], after[2];
    adze_about a;
    unsigned is;
    must(k.ctx, adze_store_hash(k.s.store, before));
    for (int i = 0; adze_diag_at(i, &a, &is) == ADZE_OK; i++) {
        char *json;
        adze_tree *tree;
        adze_arena arena = {.ctx = k.ctx};
        probe(&k, a.name);
        must(k.ctx, adze_findings_json(&k.f, &json));
        must(k.ctx, adze_json_parse(&arena, json, strlen(json), a.name, &tree));
        adze_arena_free(&arena);
        adze_text_free(k.ctx, json);
    }
    must(k.ctx, adze_store_hash(k.s.store, after));
    assert_memory_equal(before, after, sizeof before);
    k.o.dtype = 2; /* bf16 */
    probe(&k, "gradflow");
    adze_findings_free(&k.f);
    assert_int_equal(adze_diag_run(k.ctx, "cond", &k.s, &k.o, &k.f), ADZE_ENOSUP);
    assert_int_equal(adze_diag_run(k.ctx, "gradfow", &k.s, &k.o, &k.f), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(k.ctx), "did you mean 'gradflow'"));
    done(&k);
}

/* Requests for memory refused one at a time, all over each probe and demonstration: the answer is ADZE_ENOMEM or right, and nothing leaks. */
static void refuse(look *k, const char *what, bool demo) {
    adze_demo_opts d;
    long all = 0;
    must(k->ctx, adze_fields_default(adze_demo_fields(), &d));
    d.steps = 20;
    const int tries = effort() == QUICK ? 8 : 20;
    for (int i = 0; i <= tries; i++) {
        const long n = i > 0 ? all * i / tries : 0;
        faulty_mem_arm(&mem, n, i % 2);
        const int st = demo ? adze_demo_run(k->ctx, what, &d, &k->f) : adze_diag_run(k->ctx, what, &k->s, &k->o, &k->f);
        all = i > 0 ? all : atomic_load(&mem.calls);
        faulty_mem_arm(&mem, 0, false);
        if (st != ADZE_OK && st != ADZE_ENOMEM) {
            fail_msg("%s, request %ld: %s", what, n, adze_errmsg(k->ctx));
        }
        assert_true(n > 0 || st == ADZE_OK);
        adze_findings_free(&k->f);
    }
}

static void memory_that_runs_out_is_told(void **state) {
    (void)state;
    char net[512];
    look k = make(tower(net, sizeof net, 4, 2, 3, ",\"activation\":\"relu\"", 3), 8, 1, 0);
    adze_about a;
    unsigned is;
    k.o.steps = 2;
    k.o.rescale = 2;
    for (int i = 0; adze_diag_at(i, &a, &is) == ADZE_OK; i++) {
        refuse(&k, a.name, false);
    }
    for (int i = 0; adze_demo_at(i, &a) == ADZE_OK; i++) {
        if (strcmp(a.name, "wishart") != 0 && strcmp(a.name, "rates") != 0 && strcmp(a.name, "double-well") != 0) { /* long ones */
            refuse(&k, a.name, true);
        }
    }
    done(&k);
}

/* -- remarks ------------------------------------------------------------------------------------------------------------------------------------- */

static void mistakes_are_remarked(void **state) {
    static const struct {
        const char *net, *said; /* NULL: nothing */
    } cases[] = {
        {"{\"name\":\"n\",\"input\":[6],\"layers\":[{\"type\":\"dense\",\"name\":\"a\",\"units\":8,\"activation\":\"relu\"},{\"type\":\"dense\","
         "\"name\":\"out\",\"units\":3}]}",
         NULL},
        {"{\"name\":\"n\",\"input\":[6],\"layers\":[{\"type\":\"dense\",\"name\":\"a\",\"units\":8,\"init\":\"constant\"},{\"type\":\"dense\","
         "\"name\":\"out\",\"units\":3}]}",
         "equal weights"},
        {"{\"name\":\"n\",\"input\":[6],\"layers\":[{\"type\":\"dense\",\"name\":\"a\",\"units\":8},{\"type\":\"batchnorm\",\"name\":\"b\"}]}",
         "bias: false"},
        {"{\"name\":\"n\",\"input\":[6],\"layers\":[{\"type\":\"dense\",\"name\":\"a\",\"units\":8,\"bias\":false},{\"type\":\"batchnorm\","
         "\"name\":\"b\"}]}",
         "one example at a time"},
        {"{\"name\":\"n\",\"input\":[6],\"layers\":[{\"repeat\":20,\"name\":\"r\",\"layers\":[{\"type\":\"dense\",\"name\":\"a\",\"units\":8,"
         "\"activation\":\"relu\",\"init\":\"glorot_uniform\"}]}]}",
         "he_normal"},
        {"{\"name\":\"n\",\"input\":[4,4,1],\"preprocess\":{\"scale\":1,\"mean\":[0],\"sd\":[1],\"fixed\":true},\"layers\":[{\"type\":\"conv\","
         "\"name\":\"c\",\"filters\":2,\"kernel\":3},{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"d\",\"units\":2}]}",
         "inputs up to 255"},
    };
    (void)state;
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    for (size_t i = 0; i < ADZE_COUNT(cases); i++) {
        adze_model *m;
        char *text;
        must(ctx, adze_model_from_json(ctx, cases[i].net, strlen(cases[i].net), "net", &m));
        must(ctx, adze_model_remarks(m, 1, &text));
        if (cases[i].said) {
            assert_non_null(strstr(text, cases[i].said));
        } else {
            assert_string_equal(text, "");
        }
        adze_text_free(ctx, text);
        adze_model_free(m);
    }
    adze_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_multiplies_its_weights),
        cmocka_unit_test(larger_inputs_make_larger_gradients),
        cmocka_unit_test(gradients_through_time_follow_the_weight),
        cmocka_unit_test(long_sequences_are_joined_once),
        cmocka_unit_test(branches_that_may_be_skipped_are_seen),
        cmocka_unit_test(small_weights_shrink_the_signal),
        cmocka_unit_test(he_keeps_the_variance_that_glorot_halves),
        cmocka_unit_test(fan_in_keeps_the_way_forward_and_not_back),
        cmocka_unit_test(elu_hardly_saturates_at_unit_scale),
        cmocka_unit_test(only_relu_dies),
        cmocka_unit_test(zeros_are_counted),
        cmocka_unit_test(a_trained_net_is_looked_at_in_use),
        cmocka_unit_test(positive_inputs_give_gradients_of_one_sign),
        cmocka_unit_test(the_conditions_of_known_matrices),
        cmocka_unit_test(a_sample_of_eigenvalues_gives_a_bound),
        cmocka_unit_test(rescaling_changes_sharpness_and_nothing_else),
        cmocka_unit_test(second_order_foretells_a_small_step),
        cmocka_unit_test(critical_points_have_an_index),
        cmocka_unit_test(indefinite_matrices_of_low_rank_settle),
        cmocka_unit_test(normalisation_ties_a_batch_in_training),
        cmocka_unit_test(looks_linear_is_linear),
        cmocka_unit_test(a_layer_without_others_below_shifts_nothing),
        cmocka_unit_test(data_off_centre_make_weights_touchy),
        cmocka_unit_test(deleted_units_are_missed_where_they_are_alone),
        cmocka_unit_test(every_example_counts_once_when_units_are_deleted),
        cmocka_unit_test(steps_under_a_constant_gradient),
        cmocka_unit_test(a_training_is_judged_by_its_epochs),
        cmocka_unit_test(a_watch_tells_when_units_died),
        cmocka_unit_test(a_model_stays_as_it_was),
        cmocka_unit_test(memory_that_runs_out_is_told),
        cmocka_unit_test(mistakes_are_remarked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
