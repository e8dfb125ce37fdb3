/* Ten training steps of two nets against recorded PyTorch traces (test/traces, made by scripts/make_traces.py): f64 on `ref` to 1e-9, f32 on `cpu`
 * to 1e-4. Weights and data come from the same Philox streams on both sides, so a trace is a few kilobytes. */
#include "adze.h"
#include "base/base.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#ifndef ADZE_TEST_DIR
#define ADZE_TEST_DIR "test" /* started from the root of the source tree */
#endif

enum { SEED = 20240607, STEPS = 10, PROJECTIONS = 4, MAX_PARAMS = 12, STREAM_DATA = 1000, STREAM_LABEL = 2000, STREAM_PROJECTION = 3000 };

typedef struct param {
    const char *name;
    int rank;
    int64_t dims[4];
    double fan_in, base;
} param;

typedef struct net {
    int64_t image[4]; /* N, H, W, C */
    int nparams;
    param params[MAX_PARAMS];
    adze_val (*logits)(adze_graph *g, adze_val x, const adze_val *w);
} net;

typedef struct trace { /* what PyTorch computed */
    double loss[STEPS + 1];
    double norm[STEPS + 1][MAX_PARAMS], projection[STEPS + 1][MAX_PARAMS][PROJECTIONS];
    int losses, tensors; /* lines read */
} trace;

/* -- the nets --------------------------------------------------------------------------------------------------------------------------------- */

static adze_val dense(adze_graph *g, adze_val x, adze_val w, adze_val b) {
    return adze_add(g, adze_matmul(g, x, w, false, false), b);
}

static adze_val conv(adze_graph *g, adze_val x, adze_val w, int64_t stride, int64_t pad) {
    adze_conv_attrs a = {.stride = {2, {stride, stride}}, .dilation = {2, {1, 1}}, .pad_lo = {2, {pad, pad}}, .pad_hi = {2, {pad, pad}}, .groups = 1};
    return adze_conv(g, x, w, &a);
}

static adze_val halve(adze_graph *g, adze_val x) {
    adze_pool_attrs a = {.size = {2, {2, 2}}, .stride = {2, {2, 2}}};
    adze_val index;
    return adze_maxpool(g, x, &a, &index);
}

static adze_val lenet_logits(adze_graph *g, adze_val x, const adze_val *w) {
    x = halve(g, adze_add(g, conv(g, x, w[0], 1, 0), w[1]));
    x = halve(g, adze_add(g, conv(g, x, w[2], 1, 0), w[3]));
    x = adze_reshape(g, x, (int64_t[]){16, 800}, 2);
    return dense(g, adze_relu(g, dense(g, x, w[4], w[5])), w[6], w[7]);
}

static adze_val small_logits(adze_graph *g, adze_val x, const adze_val *w) {
    adze_val mean, var;
    x = adze_batchnorm(g, conv(g, x, w[0], 1, 1), w[1], w[2], 1e-5, &mean, &var);
    x = halve(g, adze_relu(g, x));
    x = adze_relu(g, adze_batchnorm(g, conv(g, x, w[3], 2, 1), w[4], w[5], 1e-5, &mean, &var));
    return dense(g, adze_global_avgpool(g, x), w[6], w[7]);
}

static const net LENET = {.image = {16, 28, 28, 1},
                          .nparams = 8,
                          .params = {{"conv1:w", 4, {5, 5, 1, 20}, 25, 0},
                                     {"conv1:b", 1, {20}, 25, 0},
                                     {"conv2:w", 4, {5, 5, 20, 50}, 500, 0},
                                     {"conv2:b", 1, {50}, 500, 0},
                                     {"fc1:w", 2, {800, 500}, 800, 0},
                                     {"fc1:b", 1, {500}, 800, 0},
                                     {"fc2:w", 2, {500, 10}, 500, 0},
                                     {"fc2:b", 1, {10}, 500, 0}},
                          .logits = lenet_logits};

static const net SMALL = {.image = {8, 12, 10, 3},
                          .nparams = 8,
                          .params = {{"conv1:w", 4, {3, 3, 3, 8}, 27, 0},
                                     {"bn1:scale", 1, {8}, 4, 1},
                                     {"bn1:shift", 1, {8}, 4, 0},
                                     {"conv2:w", 4, {3, 3, 8, 16}, 72, 0},
                                     {"bn2:scale", 1, {16}, 4, 1},
                                     {"bn2:shift", 1, {16}, 4, 0},
                                     {"fc:w", 2, {16, 10}, 16, 0},
                                     {"fc:b", 1, {10}, 16, 0}},
                          .logits = small_logits};

/* -- the trace ---------------------------------------------------------------------------------------------------------------------------------- */

static int param_find(const net *n, const char *name) {
    for (int i = 0; i < n->nparams; i++) {
        if (strcmp(n->params[i].name, name) == 0) {
            return i;
        }
    }
    fail_msg("the trace has a tensor '%s' that the net has not", name);
    return -1;
}

static void trace_read(const net *n, const char *file, trace *t) {
    char path[4096], line[512], name[64];
    snprintf(path, sizeof path, ADZE_TEST_DIR "/traces/%s", file);
    FILE *f = fopen(path, "r");
    if (!f) {
        fail_msg("cannot read %s", path);
    }
    memset(t, 0, sizeof *t);
    while (fgets(line, sizeof line, f)) {
        int step;
        double v[1 + PROJECTIONS];
        if (sscanf(line, "loss %d %lf", &step, &v[0]) == 2) {
            assert_in_range(step, 1, STEPS);
            t->loss[step] = v[0];
            t->losses++;
        } else if (sscanf(line, "tensor %d %63s %lf %lf %lf %lf %lf", &step, name, &v[0], &v[1], &v[2], &v[3], &v[4]) == 7) {
            assert_in_range(step, 0, STEPS);
            int i = param_find(n, name);
            t->norm[step][i] = v[0];
            memcpy(t->projection[step][i], v + 1, PROJECTIONS * sizeof *v);
            t->tensors++;
        }
    }
    fclose(f);
    assert_int_equal(t->losses, STEPS);
    assert_int_equal(t->tensors, (STEPS + 1) * n->nparams);
}

/* -- training ------------------------------------------------------------------------------------------------------------------------------------ */

typedef struct training {
    adze_ctx *ctx;
    adze_graph *g;
    adze_plan *plan;
    adze_store *store;
    adze_session *session;
    const net *n;
    double tolerance;
    bool projections;
} training;

static void ok(training *t, int status) {
    if (status != ADZE_OK) {
        fail_msg("%s", adze_errmsg(t->ctx));
    }
}

static adze_val slot(training *t, int i, const char *role, adze_dtype d) {
    char name[64];
    snprintf(name, sizeof name, "%s%s", t->n->params[i].name, role);
    return adze_slot(t->g, name, adze_type_make(d, t->n->params[i].rank, t->n->params[i].dims));
}

static void add_updates(training *t, const adze_val *w, const adze_val *dw, bool adam, adze_dtype d) {
    adze_val step = adze_input(t->g, "t", adze_scalar_type(ADZE_F64)), lr = adze_scalar(t->g, ADZE_F64, adam ? 0.01 : 0.05);
    adze_sgd_attrs sgd = {.momentum = 0.9};
    adze_adam_attrs rule = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    for (int i = 0; i < t->n->nparams; i++) {
        adze_val m = slot(t, i, ":m", d);
        adze_val done = adam ? adze_adam(t->g, w[i], m, slot(t, i, ":v", d), dw[i], lr, step, &rule) : adze_sgd(t->g, w[i], m, dw[i], lr, &sgd);
        char name[64];
        snprintf(name, sizeof name, "new %d", i);
        ok(t, adze_output(t->g, name, done));
    }
}

static void build(training *t, const net *n, const char *device, const char *isa, adze_dtype d, bool adam) {
    adze_ctx_opts opts = {.size = sizeof opts, .threads = 2, .isa = isa};
    assert_int_equal(adze_ctx_new(&opts, &t->ctx), ADZE_OK);
    t->n = n;
    ok(t, adze_graph_new(t->ctx, &t->g));
    adze_val w[MAX_PARAMS], dw[MAX_PARAMS];
    for (int i = 0; i < n->nparams; i++) {
        w[i] = slot(t, i, "", d);
    }
    adze_val x = adze_input(t->g, "x", adze_type_make(d, 4, n->image));
    adze_val label = adze_input(t->g, "label", adze_type_make(ADZE_I64, 1, n->image));
    adze_val loss = adze_mean(t->g, adze_softmax_xent(t->g, n->logits(t->g, x, w), label), NULL, 0, false);
    (void)adze_grad(t->g, loss, w, n->nparams, dw, 0);
    add_updates(t, w, dw, adam, d);
    ok(t, adze_output(t->g, "loss", loss));
    adze_compile_opts how = {.size = sizeof how, .device = device};
    ok(t, adze_store_new(t->ctx, &t->store));
    ok(t, adze_compile(t->g, &how, &t->plan));
    ok(t, adze_session_new(t->ctx, t->plan, t->store, "", &t->session));
}

static adze_tensor weight(training *t, int i) {
    adze_tensor w;
    ok(t, adze_store_tensor(t->store, adze_store_find(t->store, t->n->params[i].name), &w));
    return w;
}

static void start(training *t) {
    for (int i = 0; i < t->n->nparams; i++) {
        adze_tensor w = weight(t, i);
        adze_type type = adze_tensor_type(&w);
        adze_rng r = adze_rng_make(SEED, (uint64_t)i);
        double bound = 1 / sqrt(t->n->params[i].fan_in);
        for (int64_t e = 0; e < adze_type_count(&type); e++) {
            adze_tensor_set(&w, e, t->n->params[i].base + (2 * adze_rng_uniform(&r) - 1) * bound);
        }
    }
}

static double step(training *t, int number) {
    adze_tensor x, label, count, loss;
    ok(t, adze_session_input(t->session, "x", &x));
    ok(t, adze_session_input(t->session, "label", &label));
    adze_type type = adze_tensor_type(&x);
    adze_rng r = adze_rng_make(SEED, (uint64_t)(STREAM_DATA + number));
    for (int64_t e = 0; e < adze_type_count(&type); e++) {
        adze_tensor_set(&x, e, adze_rng_uniform(&r));
    }
    r = adze_rng_make(SEED, (uint64_t)(STREAM_LABEL + number));
    for (int64_t e = 0; e < t->n->image[0]; e++) {
        adze_tensor_set(&label, e, floor(adze_rng_uniform(&r) * 10));
    }
    if (adze_session_input(t->session, "t", &count) == ADZE_OK) { /* SGD does not count its steps */
        adze_tensor_set(&count, 0, number);
    }
    ok(t, adze_session_run(t->session));
    ok(t, adze_session_output(t->session, "loss", &loss));
    return adze_tensor_get(&loss, 0);
}

static void expect(double got, double want, double bound, const char *what, int at, const char *of) {
    if (!(fabs(got - want) <= bound)) {
        fail_msg("step %d, %s%s: %.17g, PyTorch %.17g, allowed difference %.3g", at, what, of, got, want, bound);
    }
}

static void compare_tensors(training *t, const trace *want, int at) {
    for (int i = 0; i < t->n->nparams; i++) {
        adze_tensor w = weight(t, i);
        adze_type type = adze_tensor_type(&w);
        int64_t n = adze_type_count(&type);
        double sum = 0, p[PROJECTIONS] = {0};
        for (int64_t e = 0; e < n; e++) {
            sum += adze_tensor_get(&w, e) * adze_tensor_get(&w, e);
        }
        expect(sqrt(sum), want->norm[at][i], t->tolerance * want->norm[at][i], "norm of ", at, t->n->params[i].name);
        for (int j = 0; t->projections && j < PROJECTIONS; j++) {
            adze_rng r = adze_rng_make(SEED, (uint64_t)(STREAM_PROJECTION + i * PROJECTIONS + j));
            for (int64_t e = 0; e < n; e++) {
                p[j] += adze_tensor_get(&w, e) * (2 * adze_rng_uniform(&r) - 1);
            }
            /* an error of relative size tol in w moves a random projection by about tol |w| */
            expect(p[j], want->projection[at][i][j], t->tolerance * want->norm[at][i], "projection of ", at, t->n->params[i].name);
        }
    }
}

static void follow(const net *n, const char *file, const char *device, const char *isa, adze_dtype d, bool adam, double tolerance) {
    trace *want = malloc(sizeof *want);
    training t = {.tolerance = tolerance, .projections = d == ADZE_F64};
    assert_non_null(want);
    trace_read(n, file, want);
    build(&t, n, device, isa, d, adam);
    start(&t);
    compare_tensors(&t, want, 0);
    for (int at = 1; at <= STEPS; at++) {
        double loss = step(&t, at);
        expect(loss, want->loss[at], tolerance * want->loss[at], "loss", at, "");
        compare_tensors(&t, want, at);
    }
    adze_session_free(t.session);
    adze_plan_free(t.plan);
    adze_store_free(t.store);
    adze_graph_free(t.g);
    adze_ctx_free(t.ctx);
    free(want);
}

static void lenet_follows_pytorch_in_f64(void **state) {
    (void)state;
    follow(&LENET, "lenet_sgd.txt", "ref", "ref", ADZE_F64, false, 1e-9);
}

static void lenet_follows_pytorch_in_f32_on_every_instruction_set(void **state) {
    (void)state;
    for (int isa = 0; isa <= (int)adze_isa_best(); isa++) {
        follow(&LENET, "lenet_sgd.txt", "cpu", adze_isa_name((adze_isa)isa), ADZE_F32, false, 1e-4);
    }
}

static void batchnorm_net_follows_pytorch_in_f64(void **state) {
    (void)state;
    follow(&SMALL, "small_sgd.txt", "ref", "ref", ADZE_F64, false, 1e-9);
    follow(&SMALL, "small_adam.txt", "ref", "ref", ADZE_F64, true, 1e-9);
}

static void batchnorm_net_follows_pytorch_in_f32_on_every_instruction_set(void **state) {
    (void)state;
    for (int isa = 0; isa <= (int)adze_isa_best(); isa++) {
        follow(&SMALL, "small_sgd.txt", "cpu", adze_isa_name((adze_isa)isa), ADZE_F32, false, 1e-4);
        follow(&SMALL, "small_adam.txt", "cpu", adze_isa_name((adze_isa)isa), ADZE_F32, true, 1e-4);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lenet_follows_pytorch_in_f64),
        cmocka_unit_test(lenet_follows_pytorch_in_f32_on_every_instruction_set),
        cmocka_unit_test(batchnorm_net_follows_pytorch_in_f64),
        cmocka_unit_test(batchnorm_net_follows_pytorch_in_f32_on_every_instruction_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
