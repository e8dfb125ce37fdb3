/* Values computed twice so that a plan fits a memory budget: losses, gradients and running statistics keep their bits, the arena keeps to the
 * budget, and a budget that nothing can reach is refused with the least that can be. */
#include "adze.h"
#include "base/base.h"
#include "graph/plan_internal.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>

#define ok(call) assert_int_equal((call), ADZE_OK)

/* Dropout draws its mask in the forward and the backward part, and in clones; the shortcuts make every block need the one before it. */
static const char DROPOUT_NET[] =
    "{\"name\":\"d\",\"input\":[12,12,4],\"layers\":[{\"type\":\"conv\",\"name\":\"c\",\"filters\":16,\"kernel\":3,\"pad\":\"same\"},"
    "{\"repeat\":4,\"name\":\"r\",\"layers\":[{\"type\":\"conv\",\"name\":\"c\",\"filters\":16,\"kernel\":3,\"pad\":\"same\"},"
    "{\"type\":\"batchnorm\",\"name\":\"b\"},{\"type\":\"dropout\",\"name\":\"d\",\"p\":0.3},"
    "{\"type\":\"add\",\"name\":\"s\",\"from\":[\"input\",\"d\"],\"activation\":\"relu\"}]},"
    "{\"type\":\"maxpool\",\"name\":\"p\",\"size\":2},{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"o\",\"units\":5}]}";

enum { PARAMS = 128, STEPS = 2 };

typedef struct net {
    adze_ctx *ctx;
    adze_model *model;
    adze_store *store;
    adze_graph *g;
} net;

typedef struct outcome {
    uint64_t hash; /* of the loss of each step and of all slots after the last: gradients, weights, running statistics */
    adze_plan_info info;
} outcome;

/* Forward, loss, and gradients written into slots, as a training has them. */
static void build(net *n, const char *name, int64_t batch, adze_dtype d, int threads) {
    const adze_ctx_opts opts = {.size = sizeof opts, .threads = threads};
    const adze_build_opts o = {.size = sizeof o, .train = true, .dtype = d};
    adze_val y, each, p[PARAMS], dp[PARAMS];
    char slot[160];
    int np = 0;
    ok(adze_ctx_new(&opts, &n->ctx));
    ok(name ? adze_model_from_zoo(n->ctx, name, &n->model)
            : adze_model_from_json(n->ctx, DROPOUT_NET, sizeof DROPOUT_NET - 1, "net.json", &n->model));
    ok(adze_store_new(n->ctx, &n->store));
    ok(adze_model_init(n->model, n->store, d, 0));
    ok(adze_graph_new(n->ctx, &n->g));
    adze_val x = adze_input(n->g, "x", adze_model_input_type(n->model, batch, d));
    adze_val label = adze_input(n->g, "label", adze_model_label_type(n->model, batch));
    ok(adze_model_build(n->model, n->g, x, &o, &y));
    ok(adze_model_loss(n->model, n->g, y, label, &each));
    adze_val loss = adze_mean(n->g, each, NULL, 0, false);
    ok(adze_output(n->g, "loss", loss));
    for (int i = 0; i < adze_store_count(n->store); i++) {
        if (adze_store_flags(n->store, i) & ADZE_SLOT_TRAINABLE) {
            p[np++] = adze_slot(n->g, adze_store_name(n->store, i), adze_store_type(n->store, i));
        }
    }
    ok(adze_grad(n->g, loss, p, np, dp, 0));
    for (int i = 0; i < np; i++) {
        snprintf(slot, sizeof slot, "%d:g", i);
        adze_assign(n->g, adze_slot(n->g, slot, adze_val_type(n->g, p[i])), dp[i]);
    }
    ok(adze_graph_status(n->g));
}

static void drop(net *n) {
    adze_graph_free(n->g);
    adze_store_free(n->store);
    adze_model_free(n->model);
    adze_ctx_free(n->ctx);
}

static void fill(net *n, adze_session *s, uint64_t seed) {
    adze_tensor t;
    adze_rng r = adze_rng_make(seed, 2);
    ok(adze_session_input(s, "x", &t));
    adze_type type = adze_tensor_type(&t);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        adze_tensor_set(&t, i, adze_rng_normal(&r));
    }
    ok(adze_session_input(s, "label", &t));
    type = adze_tensor_type(&t);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        adze_tensor_set(&t, i, (double)adze_rng_below(&r, (uint64_t)adze_model_classes(n->model)));
    }
}

static uint64_t hash_of(const adze_tensor *t, uint64_t h) {
    const adze_type type = adze_tensor_type(t);
    return adze_hash64(adze_tensor_data(t), (size_t)adze_type_bytes(&type), h);
}

static outcome run(const char *name, int64_t batch, adze_dtype d, int threads, uint64_t seed, const adze_compile_opts *co) {
    net n;
    adze_plan *plan;
    adze_session *s;
    adze_tensor t;
    outcome out = {.hash = seed};
    build(&n, name, batch, d, threads);
    if (adze_compile(n.g, co, &plan) != ADZE_OK) {
        fail_msg("%s", adze_errmsg(n.ctx));
    }
    ok(adze_plan_check(plan));
    out.info = adze_plan_describe(plan);
    ok(adze_session_new(n.ctx, plan, n.store, "", &s));
    fill(&n, s, seed);
    for (int i = 0; i < STEPS; i++) {
        adze_session_random(s, seed, (uint64_t)i, 0);
        ok(adze_session_run(s));
        ok(adze_session_output(s, "loss", &t));
        out.hash = hash_of(&t, out.hash);
    }
    for (int i = 0; i < adze_store_count(n.store); i++) {
        ok(adze_store_tensor(n.store, i, &t));
        out.hash = hash_of(&t, out.hash);
    }
    adze_session_free(s);
    adze_plan_free(plan);
    drop(&n);
    return out;
}

static void check(const char *name, int64_t batch, adze_dtype d, const int *percent, int npercent) {
    const adze_compile_opts usual = {.size = sizeof usual};
    for (uint64_t seed = 1; seed <= 2; seed++) {
        for (int k = 0; k < npercent; k++) {
            const int threads = 1 + (k + (int)seed) % 3; /* groups depend on their number, and so does the arena */
            const outcome want = run(name, batch, d, threads, seed, &usual);
            const int64_t memory = want.info.arena_bytes * percent[k] / 100;
            const adze_compile_opts less = {.size = sizeof less, .memory = memory, .poison = k % 2 != 0};
            const outcome got = run(name, batch, d, threads, seed, &less), one = run(name, batch, d, 1, seed, &less);
            assert_int_equal(want.info.recomputed_steps, 0);
            assert_true(got.info.arena_bytes <= memory && one.info.arena_bytes <= memory);
            assert_true(got.info.recomputed_steps > 0);
            assert_true(got.info.recomputed_flops > 0 && got.info.flops > want.info.flops);
            assert_true(got.hash == want.hash && one.hash == want.hash);
        }
    }
}

static void test_no_bit_changes_with_dropout_and_shortcuts(void **state) {
    (void)state;
    check(NULL, 9, ADZE_F32, (const int[]){80, 66}, 2);  /* tails */
    check(NULL, 64, ADZE_F32, (const int[]){90, 80}, 2); /* groups */
    check(NULL, 5, ADZE_F64, (const int[]){75}, 1);
}

static void test_no_bit_changes_in_a_residual_network(void **state) {
    (void)state;
    check("resnet20", 32, ADZE_F32, (const int[]){75, 50}, 2);
}

/* The clones must be worth it: half of the memory for at most a third more work, and little more than what was asked for is dropped. */
static void test_little_work_is_added(void **state) {
    (void)state;
    net n;
    adze_plan *plan;
    build(&n, "resnet20", 128, ADZE_F32, 2);
    ok(adze_compile(n.g, NULL, &plan));
    const adze_plan_info whole = adze_plan_describe(plan);
    adze_plan_free(plan);
    double before = 0;
    for (int percent = 100; percent >= 50; percent -= 25) {
        const adze_compile_opts less = {.size = sizeof less, .memory = whole.arena_bytes * percent / 100};
        ok(adze_compile(n.g, &less, &plan));
        const adze_plan_info info = adze_plan_describe(plan);
        assert_true(info.recomputed_flops <= whole.flops / 3 && info.recomputed_flops >= before);
        assert_true((info.recomputed_steps == 0) == (percent == 100));
        before = info.recomputed_flops;
        adze_plan_free(plan);
    }
    drop(&n);
}

static void test_what_cannot_fit_is_refused_with_the_least(void **state) {
    (void)state;
    net n;
    adze_plan *plan;
    long long may = 0, least = 0;
    build(&n, NULL, 16, ADZE_F32, 1);
    adze_compile_opts o = {.size = sizeof o, .memory = 4096};
    assert_int_equal(adze_compile(n.g, &o, &plan), ADZE_ENOMEM);
    assert_int_equal(sscanf(adze_errmsg(n.ctx), "the plan may hold %lld bytes; the least that it can be brought to by computing values twice is %lld",
                            &may, &least),
                     2);
    assert_int_equal(may, 4096);
    o.memory = least;
    ok(adze_compile(n.g, &o, &plan));
    assert_true(adze_plan_describe(plan).arena_bytes <= least);
    adze_plan_free(plan);
    drop(&n);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_bit_changes_with_dropout_and_shortcuts),
                                       cmocka_unit_test(test_no_bit_changes_in_a_residual_network), cmocka_unit_test(test_little_work_is_added),
                                       cmocka_unit_test(test_what_cannot_fit_is_refused_with_the_least)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
