/* Mixed precision: a training step whose products and stored values are bf16 gives nearly the loss and the gradients of f32, the same bits for any
 * number of threads, and leaves types that the caller sees as they were. */
#include "adze.h"
#include "base/base.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ok(call) assert_int_equal((call), ADZE_OK)
enum { PARAMS = 128 };

typedef struct result {
    double loss;
    float *grad[PARAMS];
    int64_t size[PARAMS];
    int n;
} result;

static void drop(result *r) {
    for (int i = 0; i < r->n; i++) {
        free(r->grad[i]);
    }
}

static void keep(adze_session *s, const char *name, result *r) {
    adze_tensor t;
    ok(adze_session_output(s, name, &t));
    assert_int_equal(t.dtype, ADZE_F32);
    const adze_type type = adze_tensor_type(&t);
    r->size[r->n] = adze_type_count(&type);
    r->grad[r->n] = malloc((size_t)adze_type_bytes(&type));
    assert_non_null(r->grad[r->n]);
    memcpy(r->grad[r->n++], adze_tensor_data(&t), (size_t)adze_type_bytes(&type));
}

static void step(const char *name, int64_t batch, adze_dtype precision, int threads, result *r) {
    const adze_ctx_opts opts = {.size = sizeof opts, .threads = threads};
    const adze_compile_opts co = {.size = sizeof co, .precision = precision};
    adze_ctx *ctx;
    adze_model *m;
    adze_store *store;
    adze_graph *g;
    adze_plan *plan;
    adze_session *s;
    adze_tensor t;
    *r = (result){0};
    ok(adze_ctx_new(&opts, &ctx));
    ok(adze_model_from_zoo(ctx, name, &m));
    ok(adze_store_new(ctx, &store));
    ok(adze_model_init(m, store, ADZE_F32, 0));
    ok(adze_graph_new(ctx, &g));
    adze_val x = adze_input(g, "x", adze_model_input_type(m, batch, ADZE_F32)), y, each, p[PARAMS], d[PARAMS];
    adze_val label = adze_input(g, "label", adze_type_make(ADZE_I64, 1, &batch));
    const adze_build_opts o = {.size = sizeof o, .train = true, .dtype = ADZE_F32};
    ok(adze_model_build(m, g, x, &o, &y));
    ok(adze_model_loss(m, g, y, label, &each));
    const adze_val loss = adze_mean(g, each, NULL, 0, false);
    ok(adze_output(g, "loss", loss));
    int n = 0;
    char names[PARAMS][16];
    for (int i = 0; i < adze_store_count(store); i++) {
        if (adze_store_flags(store, i) & ADZE_SLOT_TRAINABLE) {
            assert_true(n < PARAMS);
            p[n++] = adze_slot(g, adze_store_name(store, i), adze_store_type(store, i));
        }
    }
    ok(adze_grad(g, loss, p, n, d, 0));
    for (int i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "d%d", i);
        ok(adze_output(g, names[i], d[i]));
    }
    ok(adze_compile(g, &co, &plan));
    ok(adze_session_new(ctx, plan, store, "", &s));
    adze_rng rng = adze_rng_make(5, 6);
    ok(adze_session_input(s, "x", &t));
    adze_type type = adze_tensor_type(&t);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        adze_tensor_set(&t, i, adze_rng_normal(&rng));
    }
    ok(adze_session_input(s, "label", &t));
    for (int64_t i = 0; i < batch; i++) {
        adze_tensor_set(&t, i, (double)adze_rng_below(&rng, (uint64_t)adze_model_classes(m)));
    }
    ok(adze_session_run(s));
    ok(adze_session_output(s, "loss", &t));
    r->loss = adze_tensor_get(&t, 0);
    for (int i = 0; i < n; i++) {
        keep(s, names[i], r);
    }
    adze_session_free(s);
    adze_plan_free(plan);
    adze_graph_free(g);
    adze_store_free(store);
    adze_model_free(m);
    adze_ctx_free(ctx);
}

/* |a - b| / |b| over all gradients together. */
static double distance(const result *a, const result *b) {
    double off = 0, all = 0;
    for (int i = 0; i < b->n; i++) {
        for (int64_t e = 0; e < b->size[i]; e++) {
            const double diff = (double)a->grad[i][e] - (double)b->grad[i][e];
            off += diff * diff;
            all += (double)b->grad[i][e] * (double)b->grad[i][e];
        }
    }
    return sqrt(off / all);
}

static const struct {
    const char *net;
    int64_t batch;
    double loss,
        grad; /* how far from f32: values are rounded by 2^-9, and a share f of rectified units that change sides moves a gradient by sqrt(f) */
} NETS[] = {{"mlp", 64, 0.002, 0.06}, {"lenet5-caffe", 64, 0.002, 0.04}, {"resnet20", 64, 0.004, 0.13}};

static void gradients_are_near_those_of_f32(void **state) {
    (void)state;
    for (size_t i = 0; i < ADZE_COUNT(NETS); i++) {
        result wide, narrow;
        step(NETS[i].net, NETS[i].batch, ADZE_NONE, 2, &wide);
        step(NETS[i].net, NETS[i].batch, ADZE_BF16, 2, &narrow);
        const double loss = fabs(narrow.loss - wide.loss) / wide.loss, grad = distance(&narrow, &wide);
        printf("test_cast: %s: loss off by %.2g, gradients by %.2g\n", NETS[i].net, loss, grad);
        assert_true(loss > 0 && loss <= NETS[i].loss); /* not 0: something was rounded */
        assert_true(grad > 1e-4 && grad <= NETS[i].grad);
        drop(&wide);
        drop(&narrow);
    }
}

static void threads_change_no_bit(void **state) {
    (void)state;
    result one, many;
    step("resnet20", 64, ADZE_BF16, 1, &one);
    step("resnet20", 64, ADZE_BF16, 3, &many);
    assert_true(one.loss == many.loss);
    for (int i = 0; i < one.n; i++) {
        assert_memory_equal(one.grad[i], many.grad[i], (size_t)one.size[i] * sizeof(float));
    }
    drop(&one);
    drop(&many);
}

/* y = x w or w x, w so large that a result of its size is stored as bf16 where it lies between products. */
static void gradients_of_weights_on_either_side_are_f32(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        const bool left = i & 1, kept = i & 2; /* kept: in a slot */
        const adze_compile_opts co = {.size = sizeof co, .precision = ADZE_BF16};
        adze_ctx *ctx;
        adze_store *store;
        adze_graph *g;
        adze_plan *plan;
        adze_session *s;
        int slot;
        ok(adze_ctx_new(NULL, &ctx));
        ok(adze_store_new(ctx, &store));
        ok(adze_graph_new(ctx, &g));
        const adze_val w = adze_input(g, "w", adze_type_make(ADZE_F32, 2, (int64_t[]){520, 520}));
        const adze_val x = adze_input(g, "x", adze_type_make(ADZE_F32, 2, left ? (int64_t[]){520, 40} : (int64_t[]){40, 520}));
        const adze_val y = left ? adze_matmul(g, w, x, false, false) : adze_matmul(g, x, w, false, false);
        adze_val d;
        ok(adze_grad(g, adze_mean(g, adze_square(g, y), NULL, 0, false), &w, 1, &d, 0));
        ok(adze_store_add(store, "d", adze_val_type(g, w), ADZE_SLOT_TEMP, &slot));
        if (kept) {
            adze_assign(g, adze_slot(g, "d", adze_val_type(g, w)), d);
        } else {
            ok(adze_output(g, "d", d));
        }
        ok(adze_compile(g, &co, &plan));
        ok(adze_session_new(ctx, plan, store, "", &s));
        adze_rng rng = adze_rng_make(5, 6);
        adze_tensor t;
        for (int k = 0; k < 2; k++) {
            ok(adze_session_input(s, k ? "x" : "w", &t));
            const adze_type type = adze_tensor_type(&t);
            for (int64_t e = 0; e < adze_type_count(&type); e++) {
                adze_tensor_set(&t, e, adze_rng_normal(&rng));
            }
        }
        ok(adze_session_run(s));
        ok(kept ? adze_store_tensor(store, slot, &t) : adze_session_output(s, "d", &t));
        int finer = 0; /* than bf16 */
        for (int e = 0; e < 1000; e++) {
            const float v = (float)adze_tensor_get(&t, e);
            uint32_t bits;
            memcpy(&bits, &v, sizeof bits);
            finer += (bits & 0xFFFF) != 0;
        }
        assert_true(finer > 900);
        adze_session_free(s);
        adze_plan_free(plan);
        adze_graph_free(g);
        adze_store_free(store);
        adze_ctx_free(ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_are_near_those_of_f32), cmocka_unit_test(threads_change_no_bit),
                                       cmocka_unit_test(gradients_of_weights_on_either_side_are_f32)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
