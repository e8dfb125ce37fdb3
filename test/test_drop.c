/* Dropout in both forms and by channel, DropConnect, and what a trained network does with them: against sums over all masks, by hand, in f64. */
#include "adze/train.h"
#include "adze/ops.h"
#include "base/base.h"
#include "model/layer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { UNITS = 10, INPUTS = 4, CLASSES = 3 };

typedef struct net {
    adze_ctx *ctx;
    adze_model *model;
    adze_store *store;
} net;

#define ok(n, call)                                                                                                                                  \
    do {                                                                                                                                             \
        if ((call) != ADZE_OK) {                                                                                                                     \
            fail_msg("%s", adze_errmsg((n)->ctx));                                                                                                   \
        }                                                                                                                                            \
    } while (0)

static net up(const char *json) {
    net n = {0};
    ok(&n, adze_ctx_new(NULL, &n.ctx));
    ok(&n, adze_model_from_json(n.ctx, json, strlen(json), "n.json", &n.model));
    ok(&n, adze_store_new(n.ctx, &n.store));
    ok(&n, adze_model_init(n.model, n.store, ADZE_F64, 3));
    return n;
}

static void down(net *n) {
    adze_store_free(n->store);
    adze_model_free(n->model);
    adze_ctx_free(n->ctx);
}

/* What the model makes of x, each example's numbers one after the other, as built with these options; returns how many numbers. */
static int64_t outputs(net *n, const adze_build_opts *o, int64_t batch, const double *x, uint64_t step, int64_t first, double *y) {
    adze_graph *g;
    adze_plan *p;
    adze_session *s;
    adze_tensor in, out;
    adze_val v;
    ok(n, adze_graph_new(n->ctx, &g));
    ok(n, adze_model_build(n->model, g, adze_input(g, "x", adze_model_input_type(n->model, batch, ADZE_F64)), o, &v));
    ok(n, adze_output(g, "y", v));
    ok(n, adze_compile(g, NULL, &p));
    ok(n, adze_session_new(n->ctx, p, n->store, "", &s));
    ok(n, adze_session_input(s, "x", &in));
    adze_type t = adze_tensor_type(&in);
    memcpy(adze_tensor_data(&in), x, sizeof *x * (size_t)adze_type_count(&t));
    adze_session_random(s, 9, step, first);
    ok(n, adze_session_run(s));
    ok(n, adze_session_output(s, "y", &out));
    t = adze_tensor_type(&out);
    for (int64_t i = 0; i < adze_type_count(&t); i++) {
        y[i] = adze_tensor_get(&out, i);
    }
    adze_session_free(s);
    adze_plan_free(p);
    adze_graph_free(g);
    return adze_type_count(&t);
}

static const double *slot(net *n, const char *name) {
    adze_tensor t;
    ok(n, adze_store_tensor(n->store, adze_store_find(n->store, name), &t));
    return adze_tensor_data(&t);
}

static const adze_build_opts TRAIN = {.size = sizeof(adze_build_opts), .train = true, .dtype = ADZE_F64},
                             USE = {.size = sizeof(adze_build_opts), .dtype = ADZE_F64};

/* -- the layer ----------------------------------------------------------------------------------------------------------------------------------- */

#define PICTURE(fields)                                                                                                                              \
    "{\"name\":\"n\",\"task\":\"regress\",\"input\":[5,4,6],\"layers\":[{\"type\":\"dropout\",\"name\":\"d\",\"p\":0.3" fields "}]}"

/* Each number is 0 or x / (1 - p), classic x; over many steps the mean is x, classic (1 - p) x, which is what each is in use. */
static void test_forms_and_channels(void **state) {
    (void)state;
    enum { BATCH = 3, PIXELS = 20, CHANNELS = 6, ALL = BATCH * PIXELS * CHANNELS, STEPS = 400 };
    static const char *const NETS[] = {PICTURE(""), PICTURE(",\"form\":\"classic\""), PICTURE(",\"channel\":true"),
                                       PICTURE(",\"form\":\"classic\",\"channel\":true")};
    static double x[ALL], y[ALL], sum[ALL];
    for (int k = 0; k < 4; k++) {
        const double kept = k & 1 ? 1 : 1 / 0.7, mean = k & 1 ? 0.7 : 1;
        net n = up(NETS[k]);
        int dropped = 0;
        for (int i = 0; i < ALL; i++) {
            x[i] = 1 + 0.01 * i;
            sum[i] = 0;
        }
        assert_int_equal(outputs(&n, &USE, BATCH, x, 0, 0, y), ALL);
        for (int i = 0; i < ALL; i++) {
            assert_true(fabs(y[i] - mean * x[i]) < 1e-15 * ALL);
        }
        for (int step = 0; step < STEPS; step++) {
            outputs(&n, &TRAIN, BATCH, x, (uint64_t)step, 0, y);
            for (int i = 0; i < ALL; i++) {
                const int pixel = i / CHANNELS % PIXELS, first = i - pixel * CHANNELS;
                assert_true(y[i] == 0 || fabs(y[i] - kept * x[i]) < 1e-13);
                assert_true(k < 2 || (y[i] == 0) == (y[first] == 0));
                dropped += y[i] == 0;
                sum[i] += y[i];
            }
        }
        const double sd = kept * sqrt(0.3 * 0.7 / STEPS);
        for (int i = 0; i < ALL; i++) {
            assert_true(fabs(sum[i] / STEPS - mean * x[i]) < 5 * sd * x[i]);
        }
        const double draws = (double)STEPS * ALL / (k < 2 ? 1 : PIXELS);
        assert_true(fabs((double)dropped / ((double)STEPS * ALL) - 0.3) < 5 * sqrt(0.21 / draws));
        down(&n);
    }
}

/* -- weight scaling ------------------------------------------------------------------------------------------------------------------------------ */

#define HIDDEN(fields)                                                                                                                               \
    "{\"name\":\"n\",\"input\":[4],\"layers\":[{\"type\":\"dense\",\"name\":\"h\",\"units\":10,\"activation\":\"tanh\"},"                            \
    "{\"type\":\"dropout\",\"name\":\"d\",\"p\":0.3" fields "},{\"type\":\"dense\",\"name\":\"o\",\"units\":3}]}"

static void to_probabilities(double *s) {
    double sum = 0;
    for (int c = 0; c < CLASSES; c++) {
        s[c] = exp(s[c]);
        sum += s[c];
    }
    for (int c = 0; c < CLASSES; c++) {
        s[c] /= sum;
    }
}

static void hidden(net *n, const double *x, double *h) {
    const double *w = slot(n, "h:w"), *b = slot(n, "h:b");
    for (int j = 0; j < UNITS; j++) {
        double z = b[j];
        for (int i = 0; i < INPUTS; i++) {
            z += x[i] * w[i * UNITS + j];
        }
        h[j] = tanh(z);
    }
}

/* All 2^10 networks: the geometric mean of their probabilities, each by its own probability of being drawn, and normalised again. */
static void geometric_mean(net *n, const double *x, double kept, double *mean) {
    const double *w = slot(n, "o:w"), *b = slot(n, "o:b");
    double h[UNITS];
    hidden(n, x, h);
    memset(mean, 0, sizeof *mean * CLASSES);
    for (int mask = 0; mask < 1 << UNITS; mask++) {
        double share = 1, p[CLASSES];
        memcpy(p, b, sizeof p);
        for (int j = 0; j < UNITS; j++) {
            share *= mask >> j & 1 ? 0.7 : 0.3;
            for (int c = 0; c < CLASSES; c++) {
                p[c] += mask >> j & 1 ? kept * h[j] * w[j * CLASSES + c] : 0;
            }
        }
        to_probabilities(p);
        for (int c = 0; c < CLASSES; c++) {
            mean[c] += share * log(p[c]);
        }
    }
    to_probabilities(mean);
}

static void predict(net *n, const char *how, int64_t batch, const double *x, double *p) {
    adze_eval_opts o = {.size = sizeof o, .seed = 9};
    adze_tensor in, out;
    ok(n, adze_eval_parse(n->ctx, how, NULL, &o));
    ok(n, adze_tensor_new(n->ctx, adze_model_input_type(n->model, batch, ADZE_F64), &in));
    memcpy(adze_tensor_data(&in), x, sizeof *x * (size_t)(batch * INPUTS));
    ok(n, adze_predict_with(n->ctx, n->model, n->store, &o, in, &out));
    memcpy(p, adze_tensor_data(&out), sizeof *p * (size_t)(batch * CLASSES));
    adze_tensor_free(&in);
    adze_tensor_free(&out);
}

static void test_weight_scaling_is_the_geometric_mean_of_all_networks(void **state) {
    (void)state;
    const double x[] = {0.5, -1.25, 2, 0.75};
    for (int form = 0; form < 2; form++) {
        net n = up(form ? HIDDEN(",\"form\":\"classic\"") : HIDDEN(""));
        double p[CLASSES], mean[CLASSES], drawn[CLASSES];
        predict(&n, "weight-scale", 1, x, p);
        geometric_mean(&n, x, form ? 1 : 1 / 0.7, mean);
        predict(&n, "geo:5000", 1, x, drawn);
        for (int c = 0; c < CLASSES; c++) {
            assert_true(fabs(p[c] - mean[c]) < 1e-12);
            assert_true(fabs(drawn[c] - mean[c]) < 0.02);
        }
        down(&n);
    }
}

/* Three passes by hand: their arithmetic and geometric means. */
static void test_passes_are_averaged(void **state) {
    (void)state;
    enum { BATCH = 5, PASSES = 3 };
    net n = up(HIDDEN(""));
    double x[BATCH * INPUTS], p[BATCH * CLASSES], q[BATCH * CLASSES], y[PASSES][BATCH * CLASSES];
    const adze_build_opts drops = {.size = sizeof drops, .drops = true, .dtype = ADZE_F64};
    for (int i = 0; i < BATCH * INPUTS; i++) {
        x[i] = sin(i);
    }
    for (int k = 0; k < PASSES; k++) {
        outputs(&n, &drops, BATCH, x, (uint64_t)k, 0, y[k]);
        for (int i = 0; i < BATCH; i++) {
            to_probabilities(&y[k][i * CLASSES]);
        }
    }
    assert_memory_not_equal(y[0], y[1], sizeof y[0]);
    predict(&n, "mc:3", BATCH, x, p);
    predict(&n, "geo:3", BATCH, x, q);
    for (int i = 0; i < BATCH; i++) {
        double geo[CLASSES];
        for (int c = 0; c < CLASSES; c++) {
            const int at = i * CLASSES + c;
            assert_true(fabs(p[at] - (y[0][at] + y[1][at] + y[2][at]) / 3) < 1e-12);
            geo[c] = (log(y[0][at]) + log(y[1][at]) + log(y[2][at])) / 3;
        }
        to_probabilities(geo);
        for (int c = 0; c < CLASSES; c++) {
            assert_true(fabs(q[i * CLASSES + c] - geo[c]) < 1e-12);
        }
    }
    down(&n);
}

/* An evaluation's figures are those of the averaged probabilities, for any batch. */
static void test_evaluation_with_passes(void **state) {
    (void)state;
    enum { COUNT = 23 };
    static uint8_t pixels[COUNT * INPUTS];
    static int64_t labels[COUNT];
    net n = up(HIDDEN(""));
    adze_dataset *d;
    adze_metrics a, b, plain;
    for (int i = 0; i < COUNT * INPUTS; i++) {
        pixels[i] = (uint8_t)(i * 37);
        labels[i / INPUTS] = i / INPUTS % CLASSES;
    }
    ok(&n, adze_dataset_from_memory(n.ctx, adze_type_make(ADZE_U8, 1, (int64_t[]){INPUTS}), pixels, labels, COUNT, CLASSES, &d));
    for (int geo = 0; geo < 2; geo++) {
        adze_eval_opts o = {.size = sizeof o, .batch = 4, .seed = 2};
        ok(&n, adze_eval_parse(n.ctx, geo ? "geo:7" : "mc:7", NULL, &o));
        ok(&n, adze_evaluate_with(n.ctx, n.model, n.store, &o, d, NULL, COUNT, &a));
        o.batch = 0;
        ok(&n, adze_evaluate_with(n.ctx, n.model, n.store, &o, d, NULL, COUNT, &b));
        ok(&n, adze_evaluate(n.ctx, n.model, n.store, "", d, NULL, COUNT, 4, &plain));
        double nll = 0;
        for (int i = 0; i < COUNT; i++) {
            double *s = a.scores + i * CLASSES;
            if (geo) {
                to_probabilities(s);
            }
            assert_true(fabs(s[0] + s[1] + s[2] - 1) < 1e-12);
            nll -= log(s[labels[i]]) / COUNT;
        }
        assert_int_equal(a.probabilities, !geo);
        assert_true(fabs(nll - a.nll) < 1e-12 && fabs(a.nll - b.nll) < 1e-12 && fabs(a.loss - b.loss) < 1e-12);
        assert_true(fabs(a.nll - plain.nll) > 1e-6 && a.loss > a.nll); /* the mean of losses is above the loss of means (Jensen) */
        adze_metrics_free(n.ctx, &a);
        adze_metrics_free(n.ctx, &b);
        adze_metrics_free(n.ctx, &plain);
    }
    adze_dataset_close(d);
    down(&n);
}

static void test_modes_are_checked(void **state) {
    (void)state;
    static const char *const BAD[][2] = {{"mc:0", NULL},  {"mc:", NULL},     {"geo:x", NULL}, {"mcx", NULL},
                                         {NULL, "gauss"}, {NULL, "gauss:0"}, {NULL, "g"}};
    net n = up(HIDDEN(""));
    adze_eval_opts o = {.size = sizeof o};
    for (size_t i = 0; i < ADZE_COUNT(BAD); i++) {
        assert_int_equal(adze_eval_parse(n.ctx, BAD[i][0], BAD[i][1], &o), ADZE_EARG);
        assert_non_null(strstr(adze_errmsg(n.ctx), BAD[i][0] ? "weight-scale, mc:K or geo:K" : "mean, or gauss:K"));
    }
    ok(&n, adze_eval_parse(n.ctx, "geo", "gauss:30", &o));
    assert_true(o.dropout == ADZE_DROPOUT_GEO && o.passes == 50 && o.samples == 30);
    o.passes = 0;
    adze_tensor x, p;
    ok(&n, adze_tensor_new(n.ctx, adze_model_input_type(n.model, 1, ADZE_F64), &x));
    assert_int_equal(adze_predict_with(n.ctx, n.model, n.store, &o, x, &p), ADZE_EARG);
    adze_tensor_free(&x);
    down(&n);
}

/* -- DropConnect --------------------------------------------------------------------------------------------------------------------------------- */

/* u = sum of v_i w_i m_i / (1 - p) over all 2^10 masks m. */
static void test_moments_of_masked_sums(void **state) {
    (void)state;
    const double p = 0.35;
    double v[UNITS], w[UNITS], mean = 0, square = 0;
    net n = up(HIDDEN(""));
    adze_graph *g;
    adze_tensor a, b;
    for (int i = 0; i < UNITS; i++) {
        v[i] = cos(i);
        w[i] = 0.5 - 0.2 * i;
    }
    for (int mask = 0; mask < 1 << UNITS; mask++) {
        double share = 1, u = 0;
        for (int i = 0; i < UNITS; i++) {
            share *= mask >> i & 1 ? 1 - p : p;
            u += mask >> i & 1 ? v[i] * w[i] / (1 - p) : 0;
        }
        mean += share * u;
        square += share * u * u;
    }
    ok(&n, adze_graph_new(n.ctx, &g));
    const adze_val x = adze_const(g, adze_type_make(ADZE_F64, 2, (int64_t[]){1, UNITS}), v);
    const adze_val k = adze_const(g, adze_type_make(ADZE_F64, 2, (int64_t[]){UNITS, 1}), w);
    ok(&n, adze_eval(g, adze_matmul(g, x, k, false, false), NULL, 0, NULL, NULL, &a));
    ok(&n, adze_eval(g, adze_dropconnect_variance(g, x, k, p), NULL, 0, NULL, NULL, &b));
    assert_true(fabs(adze_tensor_get(&a, 0) - mean) < 1e-12);
    assert_true(fabs(adze_tensor_get(&b, 0) - (square - mean * mean)) < 1e-12);
    adze_tensor_free(&a);
    adze_tensor_free(&b);
    adze_graph_free(g);
    down(&n);
}

#define CONNECT(more)                                                                                                                                \
    "{\"name\":\"n\",\"task\":\"regress\",\"input\":[12],\"layers\":[{\"type\":\"dense\",\"name\":\"h\",\"units\":7,\"dropconnect\":0.4" more "}]}"

/* One mask for a batch, or one for each example; sums of kept weights over 1 - p either way. */
static void test_masks_of_weights(void **state) {
    (void)state;
    enum { BATCH = 6, IN = 12, OUT = 7 };
    double x[BATCH * IN] = {0}, y[BATCH * OUT], all[BATCH * OUT];
    for (int own = 0; own < 2; own++) {
        net n = up(own ? CONNECT(",\"dropconnect_mask\":\"example\"") : CONNECT(""));
        const double *w = slot(&n, "h:w");
        int differ = 0, zeros = 0;
        for (int i = 0; i < IN; i++) { /* all examples ask for the weights of input i */
            for (int k = 0; k < BATCH * IN; k++) {
                x[k] = k % IN == i;
            }
            outputs(&n, &TRAIN, BATCH, x, 4, 0, y);
            outputs(&n, &USE, BATCH, x, 4, 0, all);
            for (int k = 0; k < BATCH * OUT; k++) {
                const double whole = w[i * OUT + k % OUT];
                assert_true(y[k] == 0 || fabs(y[k] - whole / 0.6) < 1e-12);
                assert_true(fabs(all[k] - whole) < 1e-12);
                zeros += y[k] == 0;
                differ += (y[k] == 0) != (y[k % OUT] == 0);
            }
        }
        assert_int_equal(differ > 0, own);
        assert_true(fabs((double)zeros / (BATCH * IN * OUT) - 0.4) < 5 * sqrt(0.24 / (IN * OUT)));
        down(&n);
    }
}

/* Gaussian moment matching: the mean of relu of a normal variable has a closed form. */
static void test_sums_drawn_in_use(void **state) {
    (void)state;
    enum { IN = 12, OUT = 7, DRAWS = 40000 };
    net n = up(CONNECT(",\"activation\":\"relu\""));
    const double *w = slot(&n, "h:w");
    double x[IN], y[OUT];
    for (int i = 0; i < IN; i++) {
        x[i] = sin(1 + i);
    }
    const adze_build_opts o = {.size = sizeof o, .dtype = ADZE_F64, .samples = DRAWS};
    assert_int_equal(outputs(&n, &o, 1, x, 0, 0, y), OUT);
    for (int k = 0; k < OUT; k++) {
        double m = 0, v = 0;
        for (int i = 0; i < IN; i++) {
            m += x[i] * w[i * OUT + k];
            v += x[i] * x[i] * w[i * OUT + k] * w[i * OUT + k] * 0.4 / 0.6;
        }
        const double s = sqrt(v), pi = acos(-1), want = m * 0.5 * erfc(-m / s / sqrt(2)) + s * exp(-m * m / v / 2) / sqrt(2 * pi);
        assert_true(fabs(y[k] - want) < 5 * s / sqrt(DRAWS));
        assert_true(fabs(want - (m > 0 ? m : 0)) > 5 * s / sqrt(DRAWS)); /* mean weights would not pass */
    }
    down(&n);
}

/* What gauss would not do is refused. */
static void test_draws_of_sums_are_of_dense_layers(void **state) {
    (void)state;
    static const char conv[] = "{\"name\":\"n\",\"task\":\"regress\",\"input\":[3,3,1],\"layers\":[{\"type\":\"conv\",\"name\":\"c\",\"filters\":2,"
                               "\"kernel\":3,\"dropconnect\":0.4}]}";
    static const struct {
        const char *net, *dropout, *says;
    } cases[] = {{CONNECT(""), "mc:5", "give one of them"},
                 {HIDDEN(""), NULL, "has no dropconnect"},
                 {conv, NULL, "'c' is a conv layer"},
                 {CONNECT(""), NULL, NULL}};
    for (size_t i = 0; i < ADZE_COUNT(cases); i++) {
        net n = up(cases[i].net);
        adze_eval_opts o = {.size = sizeof o};
        adze_tensor x, p;
        ok(&n, adze_eval_parse(n.ctx, cases[i].dropout, "gauss:20", &o));
        ok(&n, adze_tensor_new(n.ctx, adze_model_input_type(n.model, 1, ADZE_F64), &x));
        const int st = adze_predict_with(n.ctx, n.model, n.store, &o, x, &p);
        if (cases[i].says) {
            assert_int_equal(st, ADZE_EARG);
            assert_non_null(strstr(adze_errmsg(n.ctx), cases[i].says));
        }
        adze_tensor_free(&p);
        adze_tensor_free(&x);
        down(&n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms_and_channels),
        cmocka_unit_test(test_weight_scaling_is_the_geometric_mean_of_all_networks),
        cmocka_unit_test(test_passes_are_averaged),
        cmocka_unit_test(test_evaluation_with_passes),
        cmocka_unit_test(test_modes_are_checked),
        cmocka_unit_test(test_moments_of_masked_sums),
        cmocka_unit_test(test_masks_of_weights),
        cmocka_unit_test(test_sums_drawn_in_use),
        cmocka_unit_test(test_draws_of_sums_are_of_dense_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
