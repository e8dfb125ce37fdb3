/* Chains that run as the tails of convolutions: the same bits as steps of their own, whatever kernel makes the blocks, for any number of threads and
 * with memory poisoned. */
#include "adze.h"
#include "base/base.h"
#include "graph/plan_internal.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define ok(call) assert_int_equal((call), ADZE_OK)
enum { INPUTS = 8, RESULTS = 4 };

typedef struct shape {
    int64_t batch, side, channels, groups;
    const char *conv;
} shape;

typedef struct net {
    adze_ctx *ctx;
    adze_graph *g;
    adze_plan *plan;
    adze_session *s;
} net;

static const char *const NAMES[INPUTS] = {"x", "w1", "w2", "w3", "mean", "scale", "shift", "gate"};

static adze_val affine(const net *n, adze_val x, const adze_val *in) { /* (x - mean) scale + shift, by channel */
    return adze_add(n->g, adze_mul(n->g, adze_sub(n->g, x, in[4]), in[5]), in[6]);
}

/* Residual blocks: a chain that may not write over what its convolution reads, one that waits for two convolutions, one with two results, and one
 * that reads a vector, a number for each example and one for all. */
static void build(net *n, const shape *sh, adze_dtype d, int threads, const adze_compile_opts *co) {
    const adze_ctx_opts opts = {.size = sizeof opts, .threads = threads};
    const adze_conv_attrs same = {.pad_lo = {2, {1, 1}}, .pad_hi = {2, {1, 1}}, .groups = sh->groups};
    const int64_t c = sh->channels, e = c / sh->groups;
    const adze_type types[INPUTS] = {adze_type_make(d, 4, (int64_t[]){sh->batch, sh->side, sh->side, c}),
                                     adze_type_make(d, 4, (int64_t[]){3, 3, e, c}),
                                     adze_type_make(d, 4, (int64_t[]){3, 3, e, c}),
                                     adze_type_make(d, 4, (int64_t[]){3, 3, e, c}),
                                     adze_type_make(d, 1, &c),
                                     adze_type_make(d, 1, &c),
                                     adze_type_make(d, 1, &c),
                                     adze_type_make(d, 4, (int64_t[]){sh->batch, 1, 1, c})};
    adze_val in[INPUTS];
    ok(adze_ctx_new(&opts, &n->ctx));
    ok(adze_graph_new(n->ctx, &n->g));
    for (int i = 0; i < INPUTS; i++) {
        in[i] = adze_input(n->g, NAMES[i], types[i]);
    }
    adze_val a = adze_relu(n->g, affine(n, adze_conv(n->g, in[0], in[1], &same), in));
    adze_val kept = adze_conv(n->g, a, in[2], &same), b = adze_relu(n->g, adze_add(n->g, affine(n, kept, in), a));
    adze_val p = adze_conv(n->g, b, in[1], &same), q = adze_conv(n->g, b, in[3], &same);
    adze_val sum = adze_add(n->g, affine(n, p, in), affine(n, q, in));
    adze_val r = adze_tanh(n->g, sum);
    adze_val gated = adze_mul(n->g, adze_conv(n->g, r, in[2], &same), adze_sigmoid(n->g, in[7]));
    adze_val y = adze_scale(n->g, adze_mul(n->g, adze_clip(n->g, gated, -1.5, 1.5), in[5]), 0.5, 0.25);
    ok(adze_output(n->g, "sum", sum));
    ok(adze_output(n->g, "r", r));
    ok(adze_output(n->g, "y", y));
    ok(adze_output(n->g, "kept", kept));
    ok(adze_compile(n->g, co, &n->plan));
    ok(adze_plan_check(n->plan));
    ok(adze_session_new(n->ctx, n->plan, NULL, NULL, &n->s));
}

static int tails_of(const adze_plan *p) {
    int n = 0;
    for (int32_t t = 0; t < p->nsteps; t++) {
        n += p->steps[t].follows;
    }
    return n;
}

static void fill(net *n) {
    adze_rng r = adze_rng_make(3, 4);
    adze_tensor t;
    for (int i = 0; i < INPUTS; i++) {
        ok(adze_session_input(n->s, NAMES[i], &t));
        adze_type type = adze_tensor_type(&t);
        for (int64_t k = 0; k < adze_type_count(&type); k++) {
            adze_tensor_set(&t, k, adze_rng_normal(&r));
        }
    }
}

static void end(net *n) {
    adze_session_free(n->s);
    adze_plan_free(n->plan);
    adze_graph_free(n->g);
    adze_ctx_free(n->ctx);
}

static int run(const shape *sh, adze_dtype d, int threads, const adze_compile_opts *co, uint64_t hash[RESULTS]) {
    static const char *const OUT[RESULTS] = {"sum", "r", "y", "kept"};
    net n;
    adze_tensor t;
    build(&n, sh, d, threads, co);
    fill(&n);
    const int tails = tails_of(n.plan);
    for (int twice = 0; twice < 2; twice++) {
        ok(adze_session_run(n.s));
    }
    for (int i = 0; i < RESULTS; i++) {
        ok(adze_session_output(n.s, OUT[i], &t));
        adze_type type = adze_tensor_type(&t);
        hash[i] = adze_hash64(adze_tensor_data(&t), (size_t)adze_type_bytes(&type), 0);
    }
    end(&n);
    return tails;
}

/* Channels: a panel and more, fewer than a vector, more than a line of a tail, depthwise, in groups. */
static const shape SHAPES[] = {{2, 9, 16, 1, "direct"},   {1, 7, 70, 1, "direct"}, {2, 6, 5, 1, "direct"},    {1, 3, 520, 1, "direct"},
                               {3, 5, 24, 24, "direct"},  {2, 6, 64, 2, "direct"}, {2, 9, 16, 1, "winograd"}, {1, 32, 32, 1, "winograd"},
                               {3, 6, 64, 1, "winograd"}, {2, 10, 300, 300, NULL}};

static void test_tails_change_no_bit(void **state) {
    (void)state;
    for (size_t i = 0; i < ADZE_COUNT(SHAPES); i++) {
        for (int d = 0; d < 2; d++) {
            const adze_dtype dtype = d ? ADZE_F64 : ADZE_F32;
            const adze_compile_opts alone = {.size = sizeof alone, .conv = SHAPES[i].conv, .no_group = true},
                                    usual = {.size = sizeof usual, .conv = SHAPES[i].conv};
            uint64_t want[RESULTS], got[RESULTS];
            assert_int_equal(run(&SHAPES[i], dtype, 1, &alone, want), 0);
            for (int threads = 1; threads <= 8; threads += threads == 1 ? 1 : threads) {
                assert_int_equal(run(&SHAPES[i], dtype, threads, &usual, got), 4);
                assert_memory_equal(want, got, sizeof want);
            }
        }
    }
}

static void test_tails_touch_no_freed_memory(void **state) {
    (void)state;
    for (size_t i = 0; i < ADZE_COUNT(SHAPES); i++) {
        const char *conv = SHAPES[i].conv;
        const adze_compile_opts usual = {.size = sizeof usual, .conv = conv}, poison = {.size = sizeof poison, .conv = conv, .poison = true},
                                apart = {.size = sizeof apart, .conv = conv, .no_reuse = true},
                                packed = {.size = sizeof packed, .conv = conv, .keep_packed = true, .poison = true},
                                other = {.size = sizeof other, .conv = conv, .random_order = 5, .poison = true};
        const adze_compile_opts *const ways[] = {&poison, &apart, &packed, &other};
        uint64_t want[RESULTS], got[RESULTS];
        run(&SHAPES[i], ADZE_F32, 2, &usual, want);
        for (size_t k = 0; k < ADZE_COUNT(ways); k++) {
            assert_true(run(&SHAPES[i], ADZE_F32, 2, ways[k], got) > 0);
            assert_memory_equal(want, got, sizeof want);
        }
    }
}

/* The search for what is not finite names the step itself, though its tail writes over it. */
static void test_tails_hide_nothing(void **state) {
    (void)state;
    const adze_compile_opts usual = {.size = sizeof usual};
    net n;
    adze_tensor t;
    char name[128];
    build(&n, &SHAPES[0], ADZE_F32, 2, &usual);
    fill(&n);
    ok(adze_session_input(n.s, "w1", &t));
    for (int k = 0; k < 9 * 16 * 16; k++) {
        adze_tensor_set(&t, k, 1e38);
    }
    assert_int_equal(adze_session_find_nonfinite(n.s, name, sizeof name), ADZE_ENAN);
    assert_memory_equal(name, "conv ", 5);
    end(&n);
}

/* What depends on weights alone runs once: scale and shift of a layer, a weight and its cast. After a write it runs again, and only then; in a group
 * as well, and with memory poisoned. */
static void test_kept_steps_follow_the_store(void **state) {
    (void)state;
    enum { CHANNELS = 24, RUNS = 4 };
    const adze_conv_attrs same = {.pad_lo = {2, {1, 1}}, .pad_hi = {2, {1, 1}}};
    for (int way = 0; way < 8; way++) {
        const int64_t c = CHANNELS, batch = way & 1 ? 64 : 1;
        const adze_compile_opts once = {.size = sizeof once, .precision = way & 2 ? ADZE_BF16 : ADZE_NONE, .poison = (way & 4) != 0},
                                kept = {.size = sizeof kept, .precision = once.precision, .poison = once.poison, .keep_packed = true};
        const adze_type wide = adze_type_make(ADZE_F32, 4, (int64_t[]){3, 3, c, c});
        const adze_ctx_opts opts = {.size = sizeof opts, .threads = 2};
        adze_tensor t;
        net n, m;
        adze_store *store;
        ok(adze_ctx_new(&opts, &n.ctx));
        ok(adze_store_new(n.ctx, &store));
        ok(adze_graph_new(n.ctx, &n.g));
        adze_val x = adze_input(n.g, "x", adze_type_make(ADZE_F32, 4, (int64_t[]){batch, 17, 17, c}));
        adze_val w = adze_slot(n.g, "w", wide), s = adze_slot(n.g, "s", adze_type_make(ADZE_F32, 1, &c));
        adze_val scale = adze_exp(n.g, adze_neg(n.g, adze_tanh(n.g, s)));
        adze_val y = adze_relu(n.g, adze_mul(n.g, adze_conv(n.g, x, w, &same), scale));
        ok(adze_output(n.g, "y", adze_conv(n.g, y, adze_tanh(n.g, adze_neg(n.g, w)), &same)));
        ok(adze_output(n.g, "scale", scale));
        m = n;
        ok(adze_compile(n.g, &once, &n.plan));
        ok(adze_compile(m.g, &kept, &m.plan));
        ok(adze_plan_check(m.plan));
        ok(adze_session_new(n.ctx, n.plan, store, "", &n.s));
        ok(adze_session_new(m.ctx, m.plan, store, "", &m.s));
        int keeps = 0;
        for (int32_t i = 0; i < m.plan->nsteps; i++) {
            keeps += m.plan->steps[i].kept;
        }
        assert_true(keeps >= 2);
        uint64_t hash[2][RUNS];
        for (int run = 0; run < RUNS; run++) { /* the weights change before runs 0 and 2 */
            for (int what = run % 2 ? 2 : 0; what < 3; what++) {
                adze_rng r = adze_rng_make((uint64_t)(run / 2), (uint64_t)what);
                for (int k = 0; k < (what == 2 ? 2 : 1); k++) {
                    adze_rng again = r;
                    ok(what == 2 ? adze_session_input(k ? m.s : n.s, "x", &t)
                                 : adze_store_tensor(store, adze_store_find(store, what ? "s" : "w"), &t));
                    adze_type type = adze_tensor_type(&t);
                    for (int64_t i = 0; i < adze_type_count(&type); i++) {
                        adze_tensor_set(&t, i, 0.2 * adze_rng_normal(&again));
                    }
                }
            }
            for (int k = 0; k < 2; k++) {
                ok(adze_session_run(k ? m.s : n.s));
                hash[k][run] = 0;
                for (int o = 0; o < 2; o++) {
                    ok(adze_session_output(k ? m.s : n.s, o ? "scale" : "y", &t));
                    adze_type type = adze_tensor_type(&t);
                    hash[k][run] = adze_hash64(adze_tensor_data(&t), (size_t)adze_type_bytes(&type), hash[k][run]);
                }
            }
            assert_true(hash[0][run] == hash[1][run]);
            assert_true((hash[1][run] == hash[1][run - run % 2]) && (run < 2 || hash[1][run] != hash[1][0]));
        }
        adze_session_free(m.s);
        adze_plan_free(m.plan);
        adze_session_free(n.s);
        adze_plan_free(n.plan);
        adze_graph_free(n.g);
        adze_store_free(store);
        adze_ctx_free(n.ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tails_change_no_bit), cmocka_unit_test(test_tails_touch_no_freed_memory),
                                       cmocka_unit_test(test_tails_hide_nothing), cmocka_unit_test(test_kept_steps_follow_the_store)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
