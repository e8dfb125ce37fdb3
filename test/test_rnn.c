/* Recurrent layers against PyTorch (traces/rnn.txt, made by scripts/make_rnn_traces.py): losses and gradients on ref and cpu. And what the op table's
 * small samples cannot see: sequences longer than one concat holds, mixed precision, and how a forget gate starts. */
#include "adze.h"
#include "base/base.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifndef ADZE_TEST_DIR
#define ADZE_TEST_DIR "test" /* started from the root of the source tree */
#endif

enum { SEED = 20240607, PROJECTIONS = 4, STREAM_PROJECTION = 3000, MAX_VALUES = 12, N = 3, T = 6, I = 5, H = 7, CHARS_N = 2, CHARS = 65 };

#define ok(call) assert_int_equal((call), ADZE_OK)

typedef struct net { /* a case: values drawn from streams, a loss, gradients */
    const char *name;
    int number, n;
    adze_ctx *ctx;
    adze_graph *g;
    adze_store *store;
    adze_session *session;
    adze_plan *plan;
    adze_dtype dtype, precision;
    bool coarse; /* values that bf16 has */
    struct {
        const char *name;
        adze_val v;
        double bound;
        bool grad;
    } value[MAX_VALUES];
} net;

static void begin_on(net *t, const char *name, int number, adze_dtype dtype, const adze_ctx_opts *on) {
    *t = (net){.name = name, .number = number, .dtype = dtype};
    ok(adze_ctx_new(on, &t->ctx));
    ok(adze_graph_new(t->ctx, &t->g));
    ok(adze_store_new(t->ctx, &t->store));
}

static void begin(net *t, const char *name, int number, adze_dtype dtype) {
    begin_on(t, name, number, dtype, NULL);
}

static void drop(net *t) {
    adze_session_free(t->session);
    adze_plan_free(t->plan);
    adze_store_free(t->store);
    adze_graph_free(t->g);
    adze_ctx_free(t->ctx);
}

static adze_val add(net *t, const char *name, adze_val v, double bound, bool grad) {
    t->value[t->n].name = name, t->value[t->n].v = v, t->value[t->n].bound = bound, t->value[t->n].grad = grad;
    t->n++;
    return v;
}

static adze_val input(net *t, const char *name, int rank, const int64_t *dims, double bound, bool grad) {
    return add(t, name, adze_input(t->g, name, adze_type_make(t->dtype, rank, dims)), bound, grad);
}

static void fill(net *t, const char *name, uint64_t stream, double bound) { /* classes: bound 0 */
    adze_tensor x;
    int slot = adze_store_find(t->store, name);
    ok(slot >= 0 ? adze_store_tensor(t->store, slot, &x) : adze_session_input(t->session, name, &x));
    adze_type type = adze_tensor_type(&x);
    adze_rng r = adze_rng_make(SEED, stream);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        const double u = adze_rng_uniform(&r);
        int power = 0;
        double v = bound > 0 ? bound * (2 * u - 1) : floor(u * CHARS);
        if (t->coarse) { /* 7 binary digits */
            const double part = frexp(v, &power);
            v = ldexp(rint(ldexp(part, 7)), power - 7);
        }
        adze_tensor_set(&x, i, v);
    }
}

/* Adds the gradients, runs on a device; the values are drawn in the order in which they were added. */
static void run(net *t, adze_val loss, const char *device) {
    adze_val x[MAX_VALUES], d[MAX_VALUES];
    int n = 0;
    for (int i = 0; i < t->n; i++) {
        if (t->value[i].grad) {
            x[n++] = t->value[i].v;
        }
    }
    ok(adze_grad(t->g, loss, x, n, d, 0));
    ok(adze_output(t->g, "loss", loss));
    for (int i = 0, k = 0; i < t->n; i++) {
        char name[64];
        snprintf(name, sizeof name, "d/%s", t->value[i].name);
        if (t->value[i].grad) {
            ok(adze_output(t->g, name, d[k++]));
        }
    }
    adze_compile_opts o = {.size = sizeof o, .device = device, .precision = t->precision};
    ok(adze_compile(t->g, &o, &t->plan));
    ok(adze_session_new(t->ctx, t->plan, t->store, "", &t->session));
    for (int i = 0; i < t->n; i++) {
        fill(t, t->value[i].name, (uint64_t)(100 * t->number + i), t->value[i].bound);
    }
}

/* -- the trace --------------------------------------------------------------------------------------------------------------------------------- */

static void expect(const char *what, const char *name, double got, double want, double bound) {
    if (!(fabs(got - want) <= bound)) {
        fail_msg("%s %s: %.15g, PyTorch has %.15g (bound %.2g)", what, name, got, want, bound);
    }
}

static void compare_grad(net *t, const char *name, const double *want, double tolerance) {
    char output[64];
    adze_tensor d;
    int index = 0;
    snprintf(output, sizeof output, "d/%s", name);
    ok(adze_session_output(t->session, output, &d));
    while (strcmp(t->value[index].name, name) != 0) {
        assert_true(++index < t->n);
    }
    adze_type type = adze_tensor_type(&d);
    const int64_t n = adze_type_count(&type);
    double norm = 0;
    for (int64_t i = 0; i < n; i++) {
        norm += adze_tensor_get(&d, i) * adze_tensor_get(&d, i);
    }
    expect(t->name, name, sqrt(norm), want[0], tolerance * want[0]);
    for (int j = 0; j < PROJECTIONS; j++) {
        adze_rng r = adze_rng_make(SEED, (uint64_t)(STREAM_PROJECTION + index * PROJECTIONS + j));
        double p = 0;
        for (int64_t i = 0; i < n; i++) {
            p += adze_tensor_get(&d, i) * (2 * adze_rng_uniform(&r) - 1);
        }
        expect(t->name, name, p, want[1 + j], tolerance * want[0] * sqrt((double)n / 3));
    }
}

/* Compares a net that has run with its lines of the trace. */
static void compare(net *t, double tolerance) {
    char line[512], which[32], name[32];
    double v[1 + PROJECTIONS];
    int lines = 0, grads = 0;
    adze_tensor loss;
    ok(adze_session_run(t->session));
    ok(adze_session_output(t->session, "loss", &loss));
    FILE *f = fopen(ADZE_TEST_DIR "/traces/rnn.txt", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "loss %31s %lf", which, v) == 2 && strcmp(which, t->name) == 0) {
            expect(t->name, "loss", adze_tensor_get(&loss, 0), v[0], tolerance * fmax(1, fabs(v[0])));
            lines++;
        } else if (sscanf(line, "grad %31s %31s %lf %lf %lf %lf %lf", which, name, v, v + 1, v + 2, v + 3, v + 4) == 7 &&
                   strcmp(which, t->name) == 0) {
            compare_grad(t, name, v, tolerance);
            lines++;
        }
    }
    fclose(f);
    for (int i = 0; i < t->n; i++) {
        grads += t->value[i].grad;
    }
    assert_int_equal(lines, 1 + grads);
}

/* The cell of the net's name, a weighted sum of its states; size: examples, steps, inputs, units. */
static adze_val recurrent(net *t, const int64_t *size, double weight) {
    const bool lstm = strcmp(t->name, "lstm") == 0, gru = strcmp(t->name, "gru") == 0;
    const int64_t h = size[3], columns = (lstm ? 4 : gru ? 3 : 1) * h, state[2] = {size[0], h}, sequence[3] = {size[0], size[1], h};
    adze_rnn_in in = {.x = input(t, "x", 3, size, 1, true)};
    in.wx = input(t, "wx", 2, (int64_t[]){size[2], columns}, weight, true);
    in.wh = input(t, "wh", 2, (int64_t[]){h, columns}, weight, true);
    in.b = input(t, "b", 1, &columns, 0.5, true);
    in.h0 = input(t, "h0", 2, state, 1, true);
    adze_val last = {0}, c = {0}, y = {0};
    if (lstm) {
        in.c0 = input(t, "c0", 2, state, 1, true);
        y = adze_lstm(t->g, &in, &last, &c);
    } else if (gru) {
        in.bn = input(t, "bn", 1, &h, 1, true);
        y = adze_gru(t->g, &in, &last);
    } else {
        y = adze_rnn(t->g, &in, strcmp(t->name, "relu") == 0, &last);
    }
    ok(adze_output(t->g, "y", y));
    adze_val loss = adze_sum(t->g, adze_mul(t->g, y, input(t, "u", 3, sequence, 1, false)), NULL, 0, false);
    loss = adze_add(t->g, loss, adze_sum(t->g, adze_mul(t->g, last, input(t, "v", 2, state, 1, false)), NULL, 0, false));
    if (lstm) {
        loss = adze_add(t->g, loss, adze_sum(t->g, adze_mul(t->g, c, input(t, "w", 2, state, 1, false)), NULL, 0, false));
    }
    return loss;
}

static void small(const char *name, int number, adze_dtype dtype, const char *device, double tolerance) {
    net t;
    begin(&t, name, number, dtype);
    run(&t, recurrent(&t, (int64_t[]){N, T, I, H}, 0.5), device);
    compare(&t, tolerance);
    drop(&t);
}

static void character_net(adze_dtype dtype, const char *device, double tolerance) {
    static const char *const slots[] = {"lstm:wx", "lstm:wh", "lstm:b", "out:w", "out:b"};
    net t;
    adze_model *m;
    adze_val y, each;
    begin(&t, "charlstm", 4, dtype);
    ok(adze_model_from_zoo(t.ctx, "charlstm", &m));
    ok(adze_model_init(m, t.store, dtype, 0));
    const adze_val x = add(&t, "x", adze_input(t.g, "x", adze_model_input_type(m, CHARS_N, dtype)), 1, false);
    const adze_build_opts o = {.size = sizeof o, .train = true, .dtype = dtype};
    ok(adze_model_build(m, t.g, x, &o, &y));
    const adze_val label = adze_input(t.g, "label", adze_model_label_type(m, CHARS_N));
    ok(adze_model_loss(m, t.g, y, label, &each));
    for (size_t i = 0; i < ADZE_COUNT(slots); i++) {
        add(&t, slots[i], adze_slot(t.g, slots[i], adze_store_type(t.store, adze_store_find(t.store, slots[i]))), 1 / sqrt(256), true);
    }
    run(&t, adze_mean(t.g, each, NULL, 0, false), device);
    fill(&t, "label", 450, 0);
    compare(&t, tolerance);
    adze_model_free(m);
    drop(&t);
}

static void losses_and_gradients_are_those_of_pytorch(void **state) {
    (void)state;
    static const char *const names[] = {"tanh", "relu", "lstm", "gru"};
    for (int i = 0; i < (int)ADZE_COUNT(names); i++) {
        small(names[i], i, ADZE_F64, "ref", 1e-9);
        small(names[i], i, ADZE_F64, "cpu", 1e-9);
        small(names[i], i, ADZE_F32, "cpu", 1e-4);
    }
    character_net(ADZE_F64, "ref", 1e-9);
    character_net(ADZE_F64, "cpu", 1e-9);
    character_net(ADZE_F32, "cpu", 1e-4);
}

/* -- beside the trace ---------------------------------------------------------------------------------------------------------------------------- */

/* 150 steps: more values than one concat takes, in both directions of time. */
static void a_long_sequence_unrolls_to_the_same_gradient(void **state) {
    (void)state;
    net t;
    begin(&t, "long", 5, ADZE_F64);
    const int64_t columns = 8;
    adze_rnn_in in = {.x = input(&t, "x", 3, (int64_t[]){1, 150, 1}, 1, true)};
    in.wx = input(&t, "wx", 2, (int64_t[]){1, columns}, 1, true);
    in.wh = input(&t, "wh", 2, (int64_t[]){2, columns}, 1, true);
    in.b = input(&t, "b", 1, &columns, 1, true);
    const adze_val y = adze_lstm(t.g, &in, NULL, NULL), loss = adze_sum(t.g, adze_square(t.g, y), NULL, 0, false);
    adze_val slow[4], x[4] = {in.x, in.wx, in.wh, in.b};
    ok(adze_grad(t.g, loss, x, 4, slow, ADZE_DIFFERENTIABLE));
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "slow%d", i);
        ok(adze_output(t.g, name, slow[i]));
    }
    run(&t, loss, "cpu");
    ok(adze_session_run(t.session));
    for (int i = 0; i < 4; i++) {
        char name[16], fast[64];
        adze_tensor a, b;
        snprintf(name, sizeof name, "slow%d", i);
        snprintf(fast, sizeof fast, "d/%s", t.value[i].name);
        ok(adze_session_output(t.session, name, &a));
        ok(adze_session_output(t.session, fast, &b));
        adze_type type = adze_tensor_type(&a);
        for (int64_t e = 0; e < adze_type_count(&type); e++) {
            assert_true(fabs(adze_tensor_get(&a, e) - adze_tensor_get(&b, e)) <= 1e-10 * fmax(1, fabs(adze_tensor_get(&a, e))));
        }
    }
    drop(&t);
}

/* How far the outputs of two nets are apart: at most `limit` times the second's norm, and `least` of it at least. */
static void expect_apart(const net *a, const net *b, double least, double limit) {
    for (int k = -1; k < a->n; k++) {
        char name[64] = "y";
        double far = 0, size = 0;
        adze_tensor x, y;
        if (k >= 0 && !a->value[k].grad) {
            continue;
        }
        if (k >= 0) {
            snprintf(name, sizeof name, "d/%s", a->value[k].name);
        }
        ok(adze_session_output(a->session, name, &x));
        ok(adze_session_output(b->session, name, &y));
        const adze_type type = adze_tensor_type(&x);
        for (int64_t i = 0; i < adze_type_count(&type); i++) {
            const double v = adze_tensor_get(&x, i), w = adze_tensor_get(&y, i);
            far += (v - w) * (v - w), size += w * w;
        }
        if (!(far >= least * least * size && far <= limit * limit * size)) {
            fail_msg("%s on %s: %s is %.3g apart", a->name, adze_ctx_isa(a->ctx), name, sqrt(far / size));
        }
    }
}

static net mixed(const char *name, const int64_t *size, adze_dtype precision, const char *isa, int threads) {
    const adze_ctx_opts on = {.size = sizeof on, .threads = threads, .isa = isa};
    net t;
    begin_on(&t, name, 7, ADZE_F32, &on);
    t.precision = precision, t.coarse = true;
    run(&t, recurrent(&t, size, 1 / sqrt((double)(size[2] + size[3]))), "cpu");
    ok(adze_session_run(t.session));
    return t;
}

/* Inputs, weights and the cotangent of y are exact in bf16. What is rounded, by 2^-9 of itself at most: h where it is stored, the gates' cotangents,
 * dx. Of what is rounded at a step, less than half reaches the next (gates are flat, weights small): twice that altogether in y, and as much again
 * in gradients, which y and the cotangents enter. */
static void mixed_precision_is_near_f32_on_any_number_of_threads(void **state) {
    (void)state;
    static const char *const cells[] = {"tanh", "lstm", "gru"};
    static const int64_t sizes[][4] = {{3, 4, 5, 7}, {71, 3, 33, 65}, {6, 5, 2, 300}};
    for (size_t i = 0; i < ADZE_COUNT(cells) * ADZE_COUNT(sizes); i++) {
        const char *cell = cells[i % 3];
        for (int level = 0; level <= (int)adze_isa_best(); level++) {
            const char *isa = adze_isa_name((adze_isa)level);
            net wide = mixed(cell, sizes[i / 3], ADZE_NONE, isa, 1), one = mixed(cell, sizes[i / 3], ADZE_BF16, isa, 1);
            net many = mixed(cell, sizes[i / 3], ADZE_BF16, isa, 3);
            expect_apart(&one, &wide, 1e-5, ldexp(1, -7)); /* least: something was rounded */
            expect_apart(&many, &one, 0, 0);
            drop(&wide);
            drop(&one);
            drop(&many);
        }
    }
}

static void a_forget_bias_moves_the_forget_gate_alone(void **state) {
    (void)state;
    net t;
    adze_model *m;
    begin(&t, "forget", 6, ADZE_F64);
    static const char text[] = "{\"name\":\"n\",\"task\":\"regress\",\"input\":[4,3],\"layers\":[{\"type\":\"lstm\",\"name\":\"a\",\"units\":100,"
                               "\"forget_bias\":5,\"layers\":2}]}";
    ok(adze_model_from_json(t.ctx, text, strlen(text), "n.json", &m));
    ok(adze_model_init(m, t.store, ADZE_F64, 0));
    const char *const slots[] = {"a:b", "a:b1"};
    for (int k = 0; k < 2; k++) {
        adze_tensor b;
        ok(adze_store_tensor(t.store, adze_store_find(t.store, slots[k]), &b));
        for (int64_t i = 0; i < 400; i++) {
            const double middle = i >= 100 && i < 200 ? 5 : 0;
            assert_true(fabs(adze_tensor_get(&b, i) - middle) <= 0.1); /* 1 / sqrt(100) */
        }
    }
    adze_model_free(m);
    drop(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_and_gradients_are_those_of_pytorch),
        cmocka_unit_test(a_long_sequence_unrolls_to_the_same_gradient),
        cmocka_unit_test(mixed_precision_is_near_f32_on_any_number_of_threads),
        cmocka_unit_test(a_forget_bias_moves_the_forget_gate_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
