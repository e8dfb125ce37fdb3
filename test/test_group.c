/* Groups of steps that pass over a batch in slices: the same bits as the plan that takes whole batches, for any number of threads, with memory
 * poisoned, and on batches that no slice or leaf divides. */
#include "adze.h"
#include "base/base.h"
#include "graph/plan_internal.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>

#define ok(call) assert_int_equal((call), ADZE_OK)
enum { CHANNELS = 16, SIDE = 12, RESULTS = 6 };

typedef struct net {
    adze_ctx *ctx;
    adze_graph *g;
    adze_plan *plan;
} net;

/* Two convolutions with a residual connection between them, pooling, and the gradients of all weights and of the input. */
static void build(net *n, int64_t batch, adze_dtype d, int threads, const adze_compile_opts *co) {
    const adze_ctx_opts opts = {.size = sizeof opts, .threads = threads};
    ok(adze_ctx_new(&opts, &n->ctx));
    ok(adze_graph_new(n->ctx, &n->g));
    adze_val x = adze_input(n->g, "x", adze_type_make(d, 4, (int64_t[]){batch, SIDE, SIDE, CHANNELS}));
    adze_val w1 = adze_input(n->g, "w1", adze_type_make(d, 4, (int64_t[]){3, 3, CHANNELS, CHANNELS}));
    adze_val w2 = adze_input(n->g, "w2", adze_type_make(d, 4, (int64_t[]){3, 3, CHANNELS, 2 * CHANNELS}));
    adze_val b = adze_input(n->g, "b", adze_type_make(d, 1, (int64_t[]){CHANNELS}));
    const adze_conv_attrs same = {.pad_lo = {2, {1, 1}}, .pad_hi = {2, {1, 1}}, .groups = 1};
    const adze_pool_attrs pool = {.size = {2, {2, 2}}, .stride = {2, {2, 2}}};
    adze_val y = adze_relu(n->g, adze_add(n->g, adze_conv(n->g, x, w1, &same), b));
    adze_val z = adze_add(n->g, adze_tanh(n->g, y), x);
    adze_val out = adze_maxpool(n->g, adze_conv(n->g, z, w2, &same), &pool, NULL);
    adze_val seen = adze_mean(n->g, adze_square(n->g, adze_global_avgpool(n->g, z)), NULL, 0, false);
    adze_val loss = adze_add(n->g, adze_mean(n->g, adze_square(n->g, out), NULL, 0, false), seen);
    adze_val of[] = {w1, w2, b, x}, d_of[4];
    ok(adze_grad(n->g, loss, of, 4, d_of, 0));
    char name[8];
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "d%d", i);
        ok(adze_output(n->g, name, d_of[i]));
    }
    ok(adze_output(n->g, "y", y));
    ok(adze_output(n->g, "loss", loss));
    ok(adze_compile(n->g, co, &n->plan));
    ok(adze_plan_check(n->plan));
}

static int groups_of(const adze_plan *p) {
    int n = 0;
    for (int32_t r = 1; r < p->nregions; r++) {
        n += p->regions[r].kind == ADZE_REGION_GROUP;
    }
    return n;
}

static void run(int64_t batch, adze_dtype d, int threads, const adze_compile_opts *co, uint64_t hash[RESULTS], int *groups) {
    static const char *const NAMES[RESULTS] = {"d0", "d1", "d2", "d3", "y", "loss"};
    static const char *const INPUTS[] = {"x", "w1", "w2", "b"};
    net n;
    adze_session *s;
    adze_tensor t;
    build(&n, batch, d, threads, co);
    *groups = groups_of(n.plan);
    ok(adze_session_new(n.ctx, n.plan, NULL, NULL, &s));
    adze_rng r = adze_rng_make(3, 4);
    for (size_t i = 0; i < ADZE_COUNT(INPUTS); i++) {
        ok(adze_session_input(s, INPUTS[i], &t));
        adze_type type = adze_tensor_type(&t);
        for (int64_t k = 0; k < adze_type_count(&type); k++) {
            adze_tensor_set(&t, k, adze_rng_normal(&r));
        }
    }
    for (int twice = 0; twice < 2; twice++) {
        ok(adze_session_run(s));
    }
    for (int i = 0; i < RESULTS; i++) {
        ok(adze_session_output(s, NAMES[i], &t));
        adze_type type = adze_tensor_type(&t);
        hash[i] = adze_hash64(adze_tensor_data(&t), (size_t)adze_type_bytes(&type), 0);
    }
    adze_session_free(s);
    adze_plan_free(n.plan);
    adze_graph_free(n.g);
    adze_ctx_free(n.ctx);
}

static void test_groups_change_no_bit(void **state) {
    (void)state;
    static const int64_t BATCHES[] = {64, 97, 130};
    const adze_compile_opts whole = {.size = sizeof whole, .no_group = true}, usual = {.size = sizeof usual};
    for (int d = 0; d < 2; d++) {
        for (size_t b = 0; b < ADZE_COUNT(BATCHES); b++) {
            uint64_t want[RESULTS], got[RESULTS];
            int groups = 0;
            run(BATCHES[b], d ? ADZE_F64 : ADZE_F32, 1, &whole, want, &groups);
            assert_int_equal(groups, 0);
            for (int threads = 1; threads <= 8; threads += threads == 1 ? 1 : threads) {
                run(BATCHES[b], d ? ADZE_F64 : ADZE_F32, threads, &usual, got, &groups);
                assert_true(groups > 0);
                assert_memory_equal(want, got, sizeof want);
            }
        }
    }
}

static void test_groups_touch_no_freed_memory(void **state) {
    (void)state;
    const adze_compile_opts usual = {.size = sizeof usual}, poison = {.size = sizeof poison, .poison = true},
                            apart = {.size = sizeof apart, .no_reuse = true}, other = {.size = sizeof other, .random_order = 5};
    const adze_compile_opts *const ways[] = {&poison, &apart, &other};
    uint64_t want[RESULTS], got[RESULTS];
    int groups = 0;
    run(96, ADZE_F32, 2, &usual, want, &groups);
    for (size_t i = 0; i < ADZE_COUNT(ways); i++) {
        run(96, ADZE_F32, 2, ways[i], got, &groups);
        assert_true(groups > 0);
        assert_memory_equal(want, got, sizeof want);
    }
}

static void test_small_batches_have_no_groups(void **state) {
    (void)state;
    const adze_compile_opts usual = {.size = sizeof usual};
    uint64_t hash[RESULTS];
    int groups = 0;
    run(8, ADZE_F32, 2, &usual, hash, &groups);
    assert_int_equal(groups, 0);
}

/* More values alive at once than a group keeps account of: the gradients of a deep plain net. */
static uint64_t deep(const adze_compile_opts *co, int *groups) {
    enum { DEPTH = 140 };
    const adze_ctx_opts opts = {.size = sizeof opts, .threads = 2};
    const adze_conv_attrs same = {.pad_lo = {2, {1, 1}}, .pad_hi = {2, {1, 1}}, .groups = 1};
    net n;
    adze_session *s;
    adze_tensor t;
    adze_val w[DEPTH + 1], d[DEPTH + 1];
    char name[8];
    ok(adze_ctx_new(&opts, &n.ctx));
    ok(adze_graph_new(n.ctx, &n.g));
    w[DEPTH] = adze_input(n.g, "x", adze_type_make(ADZE_F32, 4, (int64_t[]){64, 10, 8, 8}));
    adze_val y = w[DEPTH];
    for (int i = 0; i < DEPTH; i++) {
        snprintf(name, sizeof name, "w%d", i);
        w[i] = adze_input(n.g, name, adze_type_make(ADZE_F32, 4, (int64_t[]){3, 3, 8, 8}));
        y = adze_tanh(n.g, adze_conv(n.g, y, w[i], &same));
    }
    ok(adze_grad(n.g, adze_mean(n.g, adze_square(n.g, y), NULL, 0, false), w, DEPTH + 1, d, 0));
    for (int i = 0; i <= DEPTH; i++) {
        snprintf(name, sizeof name, "d%d", i);
        ok(adze_output(n.g, name, d[i]));
    }
    ok(adze_compile(n.g, co, &n.plan));
    *groups = groups_of(n.plan);
    ok(adze_session_new(n.ctx, n.plan, NULL, NULL, &s));
    adze_rng r = adze_rng_make(5, 6);
    uint64_t hash = 0;
    for (int i = 0; i <= DEPTH; i++) {
        snprintf(name, sizeof name, i < DEPTH ? "w%d" : "x", i);
        ok(adze_session_input(s, name, &t));
        const adze_type type = adze_tensor_type(&t);
        for (int64_t k = 0; k < adze_type_count(&type); k++) {
            adze_tensor_set(&t, k, 0.15 * adze_rng_normal(&r));
        }
    }
    ok(adze_session_run(s));
    for (int i = 0; i <= DEPTH; i++) {
        snprintf(name, sizeof name, "d%d", i);
        ok(adze_session_output(s, name, &t));
        const adze_type type = adze_tensor_type(&t);
        hash = adze_hash64(adze_tensor_data(&t), (size_t)adze_type_bytes(&type), hash);
    }
    adze_session_free(s);
    adze_plan_free(n.plan);
    adze_graph_free(n.g);
    adze_ctx_free(n.ctx);
    return hash;
}

static void test_deep_groups_keep_their_values(void **state) {
    (void)state;
    const adze_compile_opts whole = {.size = sizeof whole, .no_group = true}, usual = {.size = sizeof usual};
    int groups = 0;
    const uint64_t want = deep(&whole, &groups);
    assert_true(deep(&usual, &groups) == want);
    assert_true(groups > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_groups_change_no_bit), cmocka_unit_test(test_groups_touch_no_freed_memory),
                                       cmocka_unit_test(test_small_batches_have_no_groups), cmocka_unit_test(test_deep_groups_keep_their_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
