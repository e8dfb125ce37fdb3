/* Layers, initialisers, the zoo's networks and their losses: sizes as published, every layer learns a toy task, statistics of first weights. */
#include "context.h"

#include "adze/io.h"
#include "adze/ops.h"
#include "base/base.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- sizes -- */

typedef struct want {
    const char *name, *type;
    int64_t params, fixed, dims[3];
    double macs;
} want;

static void check_summary(adze_ctx *ctx, const char *zoo, const want *w, int n, int64_t params) {
    adze_model *m;
    must(ctx, adze_model_from_zoo(ctx, zoo, &m));
    adze_layer_row rows[16];
    assert_int_equal(adze_model_params(m), params);
    assert_int_equal(adze_model_summary(m, NULL, 0), n);
    assert_int_equal(adze_model_summary(m, rows, 16), n);
    for (int i = 0; i < n; i++) {
        assert_string_equal(rows[i].name, w[i].name);
        assert_string_equal(rows[i].type, w[i].type);
        assert_int_equal(rows[i].params, w[i].params);
        assert_int_equal(rows[i].fixed, w[i].fixed);
        assert_true(rows[i].macs == w[i].macs);
        int64_t count = 1;
        for (int k = 0; k < rows[i].out.rank; k++) {
            assert_int_equal(rows[i].out.dims[k], w[i].dims[k]);
            count *= w[i].dims[k];
        }
        assert_int_equal(rows[i].act_bytes, 4 * count);
    }
    adze_store *s = fresh_store(ctx, m, ADZE_F32, 1);
    int64_t slots = 0;
    for (int i = 0; i < adze_store_count(s); i++) {
        adze_type t = adze_store_type(s, i);
        slots += adze_type_count(&t);
    }
    assert_int_equal(slots, params + (strcmp(zoo, "lenet5") == 0 ? (96 - 60) * 25 : 0)); /* absent connections have room, not freedom */
    adze_store_free(s);
    adze_model_free(m);
}

/* LeCun et al. 1998, section II.B: the counts of trainable parameters of each layer. */
static void lenet5_has_the_published_sizes(void **state) {
    static const want w[] = {
        {"c1", "conv", 156, 0, {28, 28, 6}, 117600},   {"s2", "subsample", 12, 0, {14, 14, 6}, 1176},
        {"c3", "conv", 1516, 0, {10, 10, 16}, 150000}, {"s4", "subsample", 32, 0, {5, 5, 16}, 400},
        {"c5", "conv", 48120, 0, {1, 1, 120}, 48000},  {"flat", "flatten", 0, 0, {120}, 0},
        {"f6", "dense", 10164, 0, {84}, 10080},        {"out", "rbf", 0, 840, {10}, 840},
    };
    check_summary(*state, "lenet5", w, 8, 60000);
}

static void other_zoo_nets_have_the_published_sizes(void **state) {
    static const want caffe[] = {
        {"conv1", "conv", 520, 0, {24, 24, 20}, 288000},
        {"pool1", "maxpool", 0, 0, {12, 12, 20}, 0},
        {"conv2", "conv", 25050, 0, {8, 8, 50}, 1600000},
        {"pool2", "maxpool", 0, 0, {4, 4, 50}, 0},
        {"flat", "flatten", 0, 0, {800}, 0},
        {"ip1", "dense", 400500, 0, {500}, 400000},
        {"ip2", "dense", 5010, 0, {10}, 5000},
    };
    static const want mlp[] = {{"flat", "flatten", 0, 0, {784}, 0},
                               {"fc1", "dense", 235500, 0, {300}, 235200},
                               {"fc2", "dense", 30100, 0, {100}, 30000},
                               {"fc3", "dense", 1010, 0, {10}, 1000}};
    check_summary(*state, "lenet5-caffe", caffe, 7, 431080);
    check_summary(*state, "lenet-300-100", mlp, 4, 266610);
    check_summary(*state, "mlp", mlp, 4, 266610);
}

static void batchnorm_state_is_fixed_not_counted(void **state) {
    adze_model *m =
        from_yaml(*state, "name: n\ninput: [4, 4, 3]\nlayers:\n  - {type: batchnorm, name: bn}\n  - {type: flatten}\n  - {type: dense, units: 2}\n");
    adze_layer_row rows[3];
    adze_model_summary(m, rows, 3);
    assert_int_equal(rows[0].params, 6);
    assert_int_equal(rows[0].fixed, 6);
    adze_store *s = fresh_store(*state, m, ADZE_F32, 1);
    assert_int_equal(adze_store_flags(s, adze_store_find(s, "bn:mean")), ADZE_SLOT_STATE);
    assert_int_equal(adze_store_flags(s, adze_store_find(s, "bn:scale")), ADZE_SLOT_TRAINABLE);
    assert_int_equal(adze_store_flags(s, adze_store_find(s, "dense1:w")), ADZE_SLOT_TRAINABLE | ADZE_SLOT_DECAY);
    assert_int_equal(adze_store_flags(s, adze_store_find(s, "dense1:b")), ADZE_SLOT_TRAINABLE);
    adze_store_free(s);
    adze_model_free(m);
}

/* -- the toy task -- */

enum { BATCH = 8, STEPS = 50, LARGE = 500000 };

typedef struct trainer {
    adze_graph *g;
    adze_plan *plan;
    adze_session *s;
} trainer;

/* A training step as one plan: loss (of labels, or the squared error against target t) and plain gradient descent. */
static void make_trainer(adze_ctx *ctx, const adze_model *m, adze_store *store, adze_dtype d, const char *device, trainer *t) {
    must(ctx, adze_graph_new(ctx, &t->g));
    adze_val x = adze_input(t->g, "x", adze_model_input_type(m, BATCH, d)), y, each;
    adze_build_opts bo = {.size = sizeof bo, .train = true, .dtype = d};
    must(ctx, adze_model_build(m, t->g, x, &bo, &y));
    if (adze_model_classes(m)) {
        adze_val label = adze_input(t->g, "label", adze_model_label_type(m, BATCH));
        must(ctx, adze_model_loss(m, t->g, y, label, &each));
    } else {
        each = adze_square(t->g, adze_sub(t->g, y, adze_input(t->g, "target", adze_val_type(t->g, y))));
    }
    adze_val loss = adze_mean(t->g, each, NULL, 0, false), lr = adze_input(t->g, "lr", adze_scalar_type(ADZE_F64)), p[192], gp[192];
    int n = 0;
    for (int i = 0; i < adze_store_count(store); i++) {
        if (adze_store_flags(store, i) & ADZE_SLOT_TRAINABLE) {
            assert_true(n < 192);
            p[n++] = adze_slot(t->g, adze_store_name(store, i), adze_store_type(store, i));
        }
    }
    must(ctx, adze_grad(t->g, loss, p, n, gp, 0));
    adze_sgd_attrs sgd = {0};
    for (int i = 0; i < n; i++) {
        adze_sgd(t->g, p[i], (adze_val){0}, gp[i], lr, &sgd);
    }
    must(ctx, adze_output(t->g, "loss", loss));
    must(ctx, adze_output(t->g, "y", y));
    adze_compile_opts co = {.size = sizeof co, .device = device};
    must(ctx, adze_compile(t->g, &co, &t->plan));
    must(ctx, adze_session_new(ctx, t->plan, store, "", &t->s));
}

static void free_trainer(trainer *t) {
    adze_session_free(t->s);
    adze_plan_free(t->plan);
    adze_graph_free(t->g);
}

static void fill(trainer *t, adze_ctx *ctx, const char *name, uint64_t stream, double lo, double hi) {
    adze_tensor x;
    must(ctx, adze_session_input(t->s, name, &x));
    adze_type type = adze_tensor_type(&x);
    adze_rng r = adze_rng_make(5, stream);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        double v = lo + (hi - lo) * adze_rng_uniform(&r);
        adze_tensor_set(&x, i, adze_dtype_is_int(x.dtype) ? floor(v) : v);
    }
}

static double run_step(trainer *t, adze_ctx *ctx, uint64_t step) {
    adze_tensor loss;
    adze_session_random(t->s, 1, step, 0);
    must(ctx, adze_session_run(t->s));
    must(ctx, adze_session_output(t->s, "loss", &loss));
    return adze_tensor_get(&loss, 0);
}

/* The mean loss of the first and last five of the steps: the last must be well below. */
static void learns(adze_ctx *ctx, const char *what, const adze_model *m, adze_dtype d, const char *device, double lr, double factor) {
    adze_store *store = fresh_store(ctx, m, d, 1);
    trainer t;
    make_trainer(ctx, m, store, d, device, &t);
    fill(&t, ctx, "x", 1, -1, 1);
    if (adze_model_classes(m)) {
        fill(&t, ctx, "label", 2, 0, adze_model_classes(m));
    } else {
        fill(&t, ctx, "target", 2, -0.5, 0.5);
    }
    fill(&t, ctx, "lr", 3, lr, lr);
    double first = 0, last = 0;
    for (int i = 0; i < STEPS; i++) {
        double loss = run_step(&t, ctx, (uint64_t)i);
        first += i < 5 ? loss : 0;
        last += i >= STEPS - 5 ? loss : 0;
    }
    if (!(last < factor * first)) {
        fail_msg("%s (%s): the loss went from %g to %g", what, adze_dtype_name(d), first / 5, last / 5);
    }
    free_trainer(&t);
    adze_store_free(store);
}

#define NET(body) "name: n\ninput: [6, 6, 2]\nlayers:\n" body "  - {type: flatten, name: end}\n  - {type: dense, units: 3, name: out}\n"

static void every_layer_learns(void **state) {
    static const char *const nets[][2] = {
        {"dense", "name: n\ninput: [6]\nlayers:\n  - {type: dense, units: 8, activation: tanh}\n  - {type: dense, units: 3}\n"},
        {"conv", NET("  - {type: conv, filters: 4, kernel: 3, stride: 2, pad: same, activation: relu}\n")},
        {"conv", NET("  - {type: conv, filters: 4, kernel: [3, 2], pad_lo: [1, 0], pad_hi: [0, 2], dilation: [2, 1], groups: 2, bias: false}\n")},
        {"conv", NET("  - {type: conv, filters: 3, kernel: 3, pad: 1, table: '0, 1, 0 1', init: lecun98}\n")},
        {"maxpool", NET("  - {type: conv, filters: 3, kernel: 3, pad: same}\n  - {type: maxpool, size: 3, stride: 2, ceil: true}\n")},
        {"avgpool", NET("  - {type: conv, filters: 3, kernel: 3, pad: same}\n  - {type: avgpool, size: 2, pad: 1, count_pad: true}\n")},
        {"global_avgpool",
         "name: n\ninput: [6, 6, 2]\nlayers:\n  - {type: conv, filters: 16, kernel: 3, activation: relu}\n  - {type: global_avgpool}\n"
         "  - {type: dense, units: 3}\n"},
        {"global_maxpool",
         "name: n\ninput: [6, 6, 2]\nlayers:\n  - {type: conv, filters: 8, kernel: 3}\n  - {type: global_maxpool}\n  - {type: dense, units: 3}\n"},
        {"subsample", NET("  - {type: subsample, size: 2, activation: lecun_tanh}\n")},
        {"activation", NET("  - {type: conv, filters: 3, kernel: 1}\n  - {type: activation, fn: relu}\n")},
        {"activation", NET("  - {type: activation, fn: leaky_relu}\n")},
        {"activation", NET("  - {type: activation, fn: softplus}\n")},
        {"activation", NET("  - {type: activation, fn: silu}\n")},
        {"activation", NET("  - {type: activation, fn: gelu}\n")},
        {"activation", NET("  - {type: activation, fn: elu}\n")},
        {"activation", NET("  - {type: activation, fn: sigmoid}\n")},
        {"batchnorm", NET("  - {type: conv, filters: 3, kernel: 3}\n  - {type: batchnorm}\n")},
        {"layernorm", NET("  - {type: conv, filters: 3, kernel: 3}\n  - {type: layernorm}\n")},
        {"groupnorm", NET("  - {type: conv, filters: 4, kernel: 3}\n  - {type: groupnorm, groups: 2, activation: relu}\n")},
        {"instancenorm", NET("  - {type: conv, filters: 3, kernel: 3, weight_norm: true}\n  - {type: instancenorm}\n")},
        {"rmsnorm", NET("  - {type: conv, filters: 3, kernel: 3}\n  - {type: rmsnorm}\n")},
        {"lrn", NET("  - {type: conv, filters: 6, kernel: 3}\n  - {type: lrn, alpha: 1, k: 1}\n")},
        {"fractional_maxpool", NET("  - {type: conv, filters: 6, kernel: 3, pad: same}\n  - {type: fractional_maxpool, alpha: 1.2}\n")},
        {"omp", NET("  - {type: flatten}\n  - {type: omp, atoms: 40, k: 8}\n")},
        {"omp", NET("  - {type: conv, filters: 6, kernel: 3, activation: tanh}\n  - {type: omp, atoms: 9, k: 2, learn: false}\n")},
        {"dropout", NET("  - {type: dropout, p: 0.1}\n")},
        {"reshape", NET("  - {type: reshape, dims: [3, 24]}\n")},
        {"add", NET("  - {type: conv, name: a, filters: 2, kernel: 3, pad: same}\n  - {type: add, from: [a, input]}\n")},
        {"concat", NET("  - {type: conv, name: a, filters: 2, kernel: 3, pad: same}\n  - {type: concat, from: [a, input], axis: 0}\n")},
        {"concat", NET("  - {type: conv, name: a, filters: 4, kernel: 3, pad: same}\n  - {type: concat, from: [a, input]}\n")},
        {"repeat",
         NET("  - repeat: 2\n    name: block\n    layers:\n      - {type: conv, name: c, filters: 2, kernel: 3, pad: same, activation: relu}\n"
             "      - {type: add, from: [c, input]}\n")},
        {"shortcut", NET("  - {type: conv, name: a, filters: 4, kernel: 3, stride: 2, pad: 1}\n"
                         "  - {type: shortcut, name: b, from: input, filters: 4, stride: 2}\n  - {type: add, from: [a, b], activation: relu}\n")},
        {"rnn", "name: n\ninput: [5, 3]\nlayers:\n  - {type: rnn, units: 32}\n  - {type: dense, units: 3}\n"},
        {"rnn",
         "name: n\ninput: [5, 3]\nlayers:\n  - {type: rnn, units: 12, activation: relu, return_sequences: false}\n  - {type: dense, units: 3}\n"},
        {"lstm", "name: n\ninput: [5, 3]\nlayers:\n  - {type: lstm, units: 12, layers: 2, forget_bias: 1, init: glorot_uniform, init_gain: 2}\n"
                 "  - {type: dense, units: 3, init_gain: 3}\n"},
        {"gru", "name: n\ninput: [5, 3]\nlayers:\n  - {type: gru, units: 8, return_sequences: false}\n  - {type: dense, units: 3}\n"},
        {"gru",
         "name: n\ninput: [5, 3]\nlayers:\n  - {type: gru, units: 32, init: glorot_uniform, init_gain: 2, reset_after: false}\n  - {type: dense, units: 3}\n"},
        {"softmax", "name: n\ntask: regress\ninput: [6]\nlayers:\n  - {type: dense, units: 4}\n  - {type: softmax}\n  - {type: dense, units: 2}\n"},
        {"flatten", "name: n\ntask: regress\ninput: [2, 3]\nlayers:\n  - {type: flatten}\n  - {type: dense, units: 2}\n"},
        {"rbf", "name: n\ninput: [20]\nlayers:\n  - {type: dense, units: 84, activation: lecun_tanh}\n  - {type: rbf}\n"},
    };
    for (int i = 0; i < adze_layer_count(); i++) { /* no layer type is left out */
        bool there = false;
        for (size_t k = 0; k < ADZE_COUNT(nets); k++) {
            there = there || strcmp(nets[k][0], adze_layer_name(i)) == 0;
        }
        if (!there) {
            fail_msg("no toy task has a layer '%s'", adze_layer_name(i));
        }
        assert_true(strlen(adze_layer_doc(i)) > 10);
        assert_non_null(adze_layer_fields(i));
    }
    for (size_t i = 0; i < ADZE_COUNT(nets); i++) {
        adze_model *m = from_yaml(*state, nets[i][1]);
        bool rbf = strcmp(nets[i][0], "rbf") == 0, regress = adze_model_classes(m) == 0;
        learns(*state, nets[i][1], m, ADZE_F32, "cpu", rbf ? 0.01 : 0.2, regress ? 0.95 : 0.8);
        learns(*state, nets[i][1], m, ADZE_F64, "ref", rbf ? 0.01 : 0.2, regress ? 0.95 : 0.8);
        adze_model_free(m);
    }
}

static void zoo_nets_learn(void **state) {
    for (int i = 0; i < adze_zoo_count(); i++) {
        adze_model *m;
        must(*state, adze_model_from_zoo(*state, adze_zoo_name(i), &m));
        if (adze_model_params(m) < LARGE) {
            const bool text = strcmp(adze_zoo_name(i), "charlstm") == 0; /* many labels a batch: each has a small share in the mean loss */
            learns(*state, adze_zoo_name(i), m, ADZE_F32, "cpu", text ? 5 : 0.02, 0.9);
        }
        adze_model_free(m);
    }
}

/* -- single layers against what they must compute -- */

static adze_tensor run_model(adze_ctx *ctx, const adze_model *m, adze_store *s, bool train, int64_t n, const double *x) {
    adze_graph *g;
    adze_val y;
    adze_tensor in, out;
    must(ctx, adze_graph_new(ctx, &g));
    adze_type t = adze_model_input_type(m, n, ADZE_F64);
    must(ctx, adze_tensor_new(ctx, t, &in));
    for (int64_t i = 0; i < adze_type_count(&t); i++) {
        adze_tensor_set(&in, i, x ? x[i] : sin((double)i));
    }
    adze_build_opts o = {.size = sizeof o, .train = train, .dtype = ADZE_F64};
    must(ctx, adze_model_build(m, g, adze_input(g, "x", t), &o, &y));
    adze_named named = {"x", in};
    must(ctx, adze_eval(g, y, &named, 1, s, "ref", &out));
    adze_tensor_free(&in);
    adze_graph_free(g);
    return out;
}

static void set_all(adze_tensor t, double v) {
    adze_type type = adze_tensor_type(&t);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        adze_tensor_set(&t, i, v);
    }
}

static void subsample_sums_scales_and_shifts(void **state) {
    adze_model *m = from_yaml(*state, "name: n\ntask: regress\ninput: [2, 2, 2]\nlayers:\n  - {type: subsample, name: s}\n");
    adze_store *s = fresh_store(*state, m, ADZE_F64, 1);
    adze_tensor w = slot_of(*state, s, "s:w"), b = slot_of(*state, s, "s:b");
    assert_true(adze_tensor_get(&w, 0) == 0.25 && adze_tensor_get(&w, 1) == 0.25 && adze_tensor_get(&b, 0) == 0);
    adze_tensor_set(&w, 0, 2);
    adze_tensor_set(&w, 1, -1);
    adze_tensor_set(&b, 0, 10);
    adze_tensor_set(&b, 1, 20);
    adze_tensor y = run_model(*state, m, s, false, 1, (double[]){1, 5, 2, 6, 3, 7, 4, 8}); /* map 0: 1 2 3 4, map 1: 5 6 7 8 */
    assert_true(adze_tensor_get(&y, 0) == 30 && adze_tensor_get(&y, 1) == -6);
    adze_tensor_free(&y);
    adze_store_free(s);
    adze_model_free(m);
}

/* The pixels 0, 2, 4 of each axis, and a channel of zeros behind each pixel's own. */
static void shortcut_drops_pixels_and_adds_zeros(void **state) {
    adze_model *m = from_yaml(*state, "name: n\ntask: regress\ninput: [5, 4, 2]\nlayers:\n  - {type: shortcut, filters: 3, stride: 2}\n");
    adze_tensor y = run_model(*state, m, NULL, false, 2, NULL);
    assert_int_equal(y.dims[1], 3);
    assert_int_equal(y.dims[2], 2);
    for (int64_t i = 0; i < 2 * 3 * 2; i++) {
        int64_t x = i / 6 * 40 + i / 2 % 3 * 2 * 8 + i % 2 * 2 * 2; /* where the pixel lies in the input */
        assert_true(adze_tensor_get(&y, 3 * i) == sin((double)x) && adze_tensor_get(&y, 3 * i + 1) == sin((double)x + 1));
        assert_true(adze_tensor_get(&y, 3 * i + 2) == 0);
    }
    adze_tensor_free(&y);
    adze_model_free(m);
}

/* Each output map of a conv with a table equals the sum over exactly the listed input maps. */
static void table_leaves_connections_out(void **state) {
    adze_model *m = from_yaml(
        *state, "name: n\ntask: regress\ninput: [1, 1, 3]\nlayers:\n  - {type: conv, name: c, filters: 3, kernel: 1, table: '0, 1 2, 0 1 2'}\n");
    adze_store *s = fresh_store(*state, m, ADZE_F64, 1);
    assert_int_equal(adze_model_params(m), 6 + 3);
    adze_tensor w = slot_of(*state, s, "c:w");
    /* (C, K): map 0 lacks inputs 1 and 2, map 1 lacks input 0 */
    assert_true(adze_tensor_get(&w, 1) == 0 && adze_tensor_get(&w, 3) == 0 && adze_tensor_get(&w, 6) == 0);
    assert_true(adze_tensor_get(&w, 0) != 0 && adze_tensor_get(&w, 4) != 0 && adze_tensor_get(&w, 8) != 0);
    set_all(w, 1); /* also the absent ones: they must not count */
    adze_tensor y = run_model(*state, m, s, false, 1, (double[]){1, 10, 100});
    assert_true(adze_tensor_get(&y, 0) == 1 && adze_tensor_get(&y, 1) == 110 && adze_tensor_get(&y, 2) == 111);
    adze_tensor_free(&y);
    adze_store_free(s);
    adze_model_free(m);
}

static void same_padding_keeps_ceil_of_size_by_stride(void **state) {
    for (int n = 1; n <= 7; n++) {
        for (int stride = 1; stride <= 3; stride++) {
            for (int k = 1; k <= 4; k++) {
                char text[256];
                snprintf(text, sizeof text,
                         "name: n\ntask: regress\ninput: [%d, 1]\nlayers:\n  - {type: conv, filters: 1, kernel: %d, stride: %d, pad: same}\n", n, k,
                         stride);
                adze_model *m = from_yaml(*state, text);
                adze_layer_row row;
                adze_model_summary(m, &row, 1);
                assert_int_equal(row.out.dims[0], (n + stride - 1) / stride);
                adze_model_free(m);
            }
        }
    }
}

static void batchnorm_keeps_running_statistics(void **state) {
    adze_ctx *ctx = *state;
    adze_model *m = from_yaml(ctx, "name: n\ninput: [2]\nlayers:\n  - {type: batchnorm, name: bn, momentum: 0.75, eps: 1e-12}\n");
    adze_store *s = fresh_store(ctx, m, ADZE_F64, 1);
    trainer t;
    make_trainer(ctx, m, s, ADZE_F64, "ref", &t);
    adze_tensor x;
    must(ctx, adze_session_input(t.s, "x", &x));
    for (int i = 0; i < BATCH; i++) { /* channel 0: mean 3, variance 4 over n; channel 1: mean 0, variance 0 */
        adze_tensor_set(&x, 2 * i, i % 2 ? 5 : 1);
        adze_tensor_set(&x, 2 * i + 1, 0);
    }
    fill(&t, ctx, "label", 1, 0, 2);
    fill(&t, ctx, "lr", 1, 0, 0);
    run_step(&t, ctx, 0);
    adze_tensor mean = slot_of(ctx, s, "bn:mean"), var = slot_of(ctx, s, "bn:var");
    const double var_want = 0.75 + 0.25 * 4 * BATCH / (BATCH - 1.0);
    assert_true(fabs(adze_tensor_get(&mean, 0) - 0.75) < 1e-12 && fabs(adze_tensor_get(&var, 0) - var_want) < 1e-12);
    assert_true(adze_tensor_get(&mean, 1) == 0 && fabs(adze_tensor_get(&var, 1) - 0.75) < 1e-12);
    free_trainer(&t);
    adze_tensor y = run_model(ctx, m, s, false, 1, (double[]){0.75 + sqrt(var_want), 0});
    assert_true(fabs(adze_tensor_get(&y, 0) - 1) < 1e-9); /* in use: the running ones */
    adze_tensor_free(&y);
    adze_store_free(s);
    adze_model_free(m);
}

static void dropout_is_for_training_only(void **state) {
    adze_model *m = from_yaml(*state, "name: n\ntask: regress\ninput: [1000]\nlayers:\n  - {type: dropout, p: 0.25}\n");
    adze_tensor use = run_model(*state, m, NULL, false, 1, NULL), train = run_model(*state, m, NULL, true, 1, NULL);
    int zeros = 0;
    for (int i = 1; i < 1000; i++) {
        assert_true(adze_tensor_get(&use, i) == sin((double)i));
        double v = adze_tensor_get(&train, i);
        assert_true(v == 0 || fabs(v - sin((double)i) / 0.75) < 1e-12);
        zeros += v == 0;
    }
    assert_true(zeros > 190 && zeros < 310);
    adze_tensor_free(&use);
    adze_tensor_free(&train);
    adze_model_free(m);
}

/* E = y_D + log(exp(-0.1) + sum exp(-y)), computed anew from the distances; a negative label counts nothing. */
static void rbf_loss_is_equation_nine(void **state) {
    adze_ctx *ctx = *state;
    adze_model *m = from_yaml(ctx, "name: n\ninput: [84]\nlayers:\n  - {type: rbf}\n");
    adze_graph *g;
    adze_tensor in, label, loss, score;
    int64_t n = 3;
    must(ctx, adze_graph_new(ctx, &g));
    adze_type t = adze_model_input_type(m, n, ADZE_F64);
    must(ctx, adze_tensor_new(ctx, t, &in));
    must(ctx, adze_tensor_new(ctx, adze_type_make(ADZE_I64, 1, &n), &label));
    for (int i = 0; i < 3 * 84; i++) {
        adze_tensor_set(&in, i, 0.1 * sin((double)i));
    }
    adze_tensor_set(&label, 0, 4);
    adze_tensor_set(&label, 1, -1);
    adze_tensor_set(&label, 2, 9);
    adze_val x = adze_input(g, "x", t), l = adze_input(g, "label", adze_tensor_type(&label)), y, e;
    adze_build_opts o = {.size = sizeof o, .dtype = ADZE_F64};
    must(ctx, adze_model_build(m, g, x, &o, &y));
    must(ctx, adze_model_loss(m, g, y, l, &e));
    adze_named named[] = {{"x", in}, {"label", label}};
    must(ctx, adze_eval(g, y, named, 2, NULL, "ref", &score));
    must(ctx, adze_eval(g, e, named, 2, NULL, "ref", &loss));
    for (int i = 0; i < 3; i++) {
        double sum = exp(-0.1), norm2 = 0;
        for (int k = 0; k < 84; k++) {
            norm2 += adze_tensor_get(&in, i * 84 + k) * adze_tensor_get(&in, i * 84 + k);
        }
        for (int c = 0; c < 10; c++) {
            double s = adze_tensor_get(&score, i * 10 + c), rest = -s - norm2 - 84; /* |x - w|^2 = |x|^2 - 2 x.w + 84 */
            assert_true(s < 0 && fabs(rest) < 2 * 84 * 0.1);
            sum += exp(s);
        }
        int64_t d = (int64_t)adze_tensor_get(&label, i);
        double want_loss = d < 0 ? 0 : -adze_tensor_get(&score, i * 10 + d) + log(sum);
        assert_true(fabs(adze_tensor_get(&loss, i) - want_loss) < 1e-10);
    }
    adze_tensor_free(&in);
    adze_tensor_free(&label);
    adze_tensor_free(&loss);
    adze_tensor_free(&score);
    adze_graph_free(g);
    adze_model_free(m);
}

/* Scores of the codes themselves: 0 for the own class, and no two drawings closer than 8 pixels. */
static void digit_codes_differ(void **state) {
    adze_ctx *ctx = *state;
    adze_model *m = from_yaml(ctx, "name: n\ninput: [84]\nlayers:\n  - {type: rbf}\n");
    double unit[85 * 84] = {0}, codes[10 * 84];
    for (int j = 0; j < 84; j++) {
        unit[(j + 1) * 84 + j] = 1;
    }
    adze_tensor y = run_model(ctx, m, NULL, false, 85, unit), own;
    for (int i = 0; i < 10; i++) {
        for (int j = 0; j < 84; j++) { /* y(0) - y(e_j) = 1 - 2 w_j */
            codes[i * 84 + j] = (1 - (adze_tensor_get(&y, i) - adze_tensor_get(&y, (j + 1) * 10 + i))) / 2;
            assert_true(fabs(codes[i * 84 + j]) == 1);
        }
    }
    own = run_model(ctx, m, NULL, false, 10, codes);
    for (int i = 0; i < 100; i++) {
        double s = adze_tensor_get(&own, i);
        assert_true(i % 11 == 0 ? s == 0 : s <= -4 * 8);
    }
    adze_tensor_free(&y);
    adze_tensor_free(&own);
    adze_model_free(m);
}

/* Absent connections of C3 start at 0, stay 0 through training, and the others lie within 2.4 / (the map's own fan-in). */
static void masked_weights_stay_zero(void **state) {
    adze_ctx *ctx = *state;
    adze_model *m;
    must(ctx, adze_model_from_zoo(ctx, "lenet5", &m));
    adze_store *s = fresh_store(ctx, m, ADZE_F32, 1);
    trainer t;
    make_trainer(ctx, m, s, ADZE_F32, NULL, &t);
    fill(&t, ctx, "x", 1, -0.1, 1.175);
    fill(&t, ctx, "label", 2, 0, 10);
    fill(&t, ctx, "lr", 3, 0.01, 0.01);
    adze_tensor w = slot_of(ctx, s, "c3:w");
    for (int pass = 0; pass < 2; pass++) {
        int zeros = 0;
        for (int i = 0; i < 5 * 5 * 6 * 16; i++) {
            int k = i % 16, inputs = k < 6 ? 3 : k < 15 ? 4 : 6;
            double v = fabs(adze_tensor_get(&w, i));
            zeros += v == 0;
            assert_true(pass == 1 || v <= 2.4 / (25 * inputs));
        }
        assert_int_equal(zeros, (96 - 60) * 25);
        run_step(&t, ctx, (uint64_t)pass);
    }
    free_trainer(&t);
    adze_store_free(s);
    adze_model_free(m);
}

static void build_refuses_what_does_not_fit(void **state) {
    adze_ctx *ctx = *state;
    adze_model *m = from_yaml(ctx, "name: n\ninput: [5]\ntask: regress\nlayers:\n  - {type: dense, units: 7}\n");
    adze_graph *g;
    adze_val y;
    must(ctx, adze_graph_new(ctx, &g));
    adze_val x = adze_input(g, "x", adze_type_make(ADZE_F32, 2, (int64_t[]){2, 6}));
    assert_int_equal(adze_model_build(m, g, x, NULL, &y), ADZE_ESHAPE);
    assert_string_equal(adze_errmsg(ctx), "model 'n' takes f32 (2, 5), the value given is f32 (2, 6)");
    x = adze_input(g, "i", adze_type_make(ADZE_I32, 2, (int64_t[]){2, 5}));
    assert_int_equal(adze_model_build(m, g, x, NULL, &y), ADZE_ETYPE);
    assert_int_equal(adze_model_loss(m, g, x, x, &y), ADZE_EARG);
    assert_string_equal(adze_errmsg(ctx), "model 'n' is no classifier: its loss must be chosen by name, such as mse");
    adze_store *s;
    must(ctx, adze_store_new(ctx, &s));
    assert_int_equal(adze_model_init(m, s, ADZE_I32, 1), ADZE_ETYPE);
    adze_store_free(s);
    adze_graph_free(g);
    adze_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lenet5_has_the_published_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(other_zoo_nets_have_the_published_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(batchnorm_state_is_fixed_not_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(every_layer_learns, setup, teardown),
        cmocka_unit_test_setup_teardown(zoo_nets_learn, setup, teardown),
        cmocka_unit_test_setup_teardown(subsample_sums_scales_and_shifts, setup, teardown),
        cmocka_unit_test_setup_teardown(shortcut_drops_pixels_and_adds_zeros, setup, teardown),
        cmocka_unit_test_setup_teardown(table_leaves_connections_out, setup, teardown),
        cmocka_unit_test_setup_teardown(same_padding_keeps_ceil_of_size_by_stride, setup, teardown),
        cmocka_unit_test_setup_teardown(batchnorm_keeps_running_statistics, setup, teardown),
        cmocka_unit_test_setup_teardown(dropout_is_for_training_only, setup, teardown),
        cmocka_unit_test_setup_teardown(rbf_loss_is_equation_nine, setup, teardown),
        cmocka_unit_test_setup_teardown(digit_codes_differ, setup, teardown),
        cmocka_unit_test_setup_teardown(masked_weights_stay_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(build_refuses_what_does_not_fit, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
