/* The planner on the training step of every model of the zoo: live ranges never overlap, memory reuse changes no bit, and the arena is near its
 * bounds. */
#include "adze.h"
#include "base/base.h"
#include "graph/plan_internal.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 8, ORDERS = 200, FEW_ORDERS = 20, PARAMS = 384, LARGE = 500000 /* parameters of models that are only planned */ };

typedef struct net {
    adze_ctx *ctx;
    adze_model *model;
    adze_store *store;
    adze_graph *g;
} net;

#define ok(call) assert_int_equal((call), ADZE_OK)

/* Forward, loss, gradients and momentum updates, as a training has them. */
static void build(net *n, const char *name) {
    ok(adze_ctx_new(NULL, &n->ctx));
    ok(adze_model_from_zoo(n->ctx, name, &n->model));
    ok(adze_store_new(n->ctx, &n->store));
    ok(adze_model_init(n->model, n->store, ADZE_F32, 0));
    ok(adze_graph_new(n->ctx, &n->g));
    adze_val x = adze_input(n->g, "x", adze_model_input_type(n->model, BATCH, ADZE_F32)), y, each;
    adze_val label = adze_input(n->g, "label", adze_model_label_type(n->model, BATCH)), lr = adze_input(n->g, "lr", adze_scalar_type(ADZE_F64));
    adze_build_opts o = {.size = sizeof(o), .train = true, .dtype = ADZE_F32};
    ok(adze_model_build(n->model, n->g, x, &o, &y));
    if (strncmp(name, "autoencoder", 11) == 0) { /* no classes: the target has the output's shape */
        each = adze_square(n->g, y);
    } else {
        ok(adze_model_loss(n->model, n->g, y, label, &each));
    }
    adze_val loss = adze_mean(n->g, each, NULL, 0, false), p[PARAMS], d[PARAMS];
    ok(adze_output(n->g, "loss", loss));
    int np = 0;
    for (int i = 0; i < adze_store_count(n->store); i++) {
        if (adze_store_flags(n->store, i) & ADZE_SLOT_TRAINABLE) {
            assert_true(np < PARAMS);
            p[np++] = adze_slot(n->g, adze_store_name(n->store, i), adze_store_type(n->store, i));
        }
    }
    ok(adze_grad(n->g, loss, p, np, d, 0));
    adze_sgd_attrs rule = {.momentum = 0.9};
    for (int i = 0; i < np; i++) {
        char slot[128];
        snprintf(slot, sizeof(slot), "m%d:m", i);
        adze_sgd(n->g, p[i], adze_slot(n->g, slot, adze_val_type(n->g, p[i])), d[i], lr, &rule);
    }
    ok(adze_graph_status(n->g));
}

static void drop(net *n) {
    adze_graph_free(n->g);
    adze_store_free(n->store);
    adze_model_free(n->model);
    adze_ctx_free(n->ctx);
}

/* Two steps on fixed data from fresh weights: the hash of everything that training changes, and the loss. */
static void run(const char *name, const adze_compile_opts *co, uint64_t hash[2], double *loss) {
    net n;
    build(&n, name);
    adze_plan *plan;
    adze_session *s;
    adze_tensor t;
    ok(adze_compile(n.g, co, &plan));
    ok(adze_plan_check(plan));
    ok(adze_session_new(n.ctx, plan, n.store, "", &s));
    ok(adze_session_input(s, "x", &t));
    adze_rng r = adze_rng_make(1, 2);
    adze_type type = adze_tensor_type(&t);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        adze_tensor_set(&t, i, adze_rng_normal(&r));
    }
    ok(adze_session_input(s, "label", &t));
    type = adze_tensor_type(&t);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        adze_tensor_set(&t, i, (double)adze_rng_below(&r, 10));
    }
    ok(adze_session_input(s, "lr", &t));
    adze_tensor_set(&t, 0, 0.01);
    for (uint64_t step = 0; step < 2; step++) {
        adze_session_random(s, 3, step, 0);
        ok(adze_session_run(s));
    }
    ok(adze_session_output(s, "loss", &t));
    *loss = adze_tensor_get(&t, 0);
    ok(adze_store_hash(n.store, hash));
    adze_session_free(s);
    adze_plan_free(plan);
    drop(&n);
}

static bool large(const char *name) {
    adze_ctx *ctx;
    adze_model *m;
    ok(adze_ctx_new(NULL, &ctx));
    ok(adze_model_from_zoo(ctx, name, &m));
    bool is = adze_model_params(m) > LARGE;
    adze_model_free(m);
    adze_ctx_free(ctx);
    return is;
}

static void same_bits(void **state) {
    (void)state;
    for (int i = 0; i < adze_zoo_count(); i++) {
        if (large(adze_zoo_name(i))) {
            continue;
        }
        const adze_compile_opts ways[4] = {{.size = sizeof(adze_compile_opts)},
                                           {.size = sizeof(adze_compile_opts), .no_reuse = true},
                                           {.size = sizeof(adze_compile_opts), .poison = true},
                                           {.size = sizeof(adze_compile_opts), .random_order = 77}};
        uint64_t want[2], got[2];
        double loss, again;
        run(adze_zoo_name(i), &ways[0], want, &loss);
        assert_true(loss > 0 && loss < 1e6);
        for (int k = 1; k < 4; k++) {
            run(adze_zoo_name(i), &ways[k], got, &again);
            assert_true(memcmp(&loss, &again, sizeof(loss)) == 0);
            assert_memory_equal(want, got, sizeof(want));
        }
    }
}

static void near_the_bounds(void **state) {
    (void)state;
    double worst_arena = 0, worst_order = 0;
    for (int i = 0; i < adze_zoo_count(); i++) {
        net n;
        build(&n, adze_zoo_name(i));
        adze_plan *plan;
        ok(adze_compile(n.g, NULL, &plan));
        ok(adze_plan_check(plan));
        adze_plan_info info = adze_plan_describe(plan);
        adze_plan_free(plan);
        int64_t best = INT64_MAX;
        int orders = adze_model_params(n.model) > LARGE ? FEW_ORDERS : ORDERS;
        for (uint64_t k = 1; k <= (uint64_t)orders; k++) {
            adze_compile_opts co = {.size = sizeof(co), .random_order = k};
            ok(adze_compile(n.g, &co, &plan));
            adze_plan_info other = adze_plan_describe(plan);
            best = other.live_bytes < best ? other.live_bytes : best;
            adze_plan_free(plan);
        }
        double arena = (double)info.arena_bytes / (double)info.live_bytes, order = (double)info.live_bytes / (double)best;
        print_message("%-16s arena %lld bytes, %.4f of the most live; that %.4f of the best of %d orders\n", adze_zoo_name(i),
                      (long long)info.arena_bytes, arena, order, orders);
        worst_arena = arena > worst_arena ? arena : worst_arena;
        worst_order = order > worst_order ? order : worst_order;
        drop(&n);
    }
    assert_true(worst_arena <= 1.10);
    assert_true(worst_order <= 1.15);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits), cmocka_unit_test(near_the_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
