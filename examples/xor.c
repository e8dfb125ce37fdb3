/* XOR learned by a 2-8-1 network in under 40 lines: a graph, its gradient, a plan, a session. Any failure sticks and shows at the end. */
#include <adze.h>
#include <stdio.h>
int main(void) {
    adze_ctx *ctx;
    adze_graph *g;
    adze_plan *plan = NULL;
    adze_store *store;
    adze_session *s = NULL;
    adze_tensor w, y;
    if (adze_ctx_new(NULL, &ctx) || adze_graph_new(ctx, &g) || adze_store_new(ctx, &store)) {
        return 1;
    }
    const float points[] = {0, 0, 0, 1, 1, 0, 1, 1}, answers[] = {0, 1, 1, 0};
    adze_val x = adze_const(g, (adze_type){ADZE_F32, 2, {4, 2}}, points), d[4];
    adze_val t = adze_const(g, (adze_type){ADZE_F32, 2, {4, 1}}, answers);
    adze_val p[4] = {adze_slot(g, "w1", (adze_type){ADZE_F32, 2, {2, 8}}), adze_slot(g, "b1", (adze_type){ADZE_F32, 1, {8}}),
                     adze_slot(g, "w2", (adze_type){ADZE_F32, 2, {8, 1}}), adze_slot(g, "b2", (adze_type){ADZE_F32, 1, {1}})};
    adze_val h = adze_tanh(g, adze_add(g, adze_matmul(g, x, p[0], false, false), p[1]));
    adze_val logit = adze_add(g, adze_matmul(g, h, p[2], false, false), p[3]);
    adze_grad(g, adze_mean(g, adze_sigmoid_xent(g, logit, t), NULL, 0, false), p, 4, d, 0);
    for (int i = 0; i < 4; i++) {
        adze_sgd(g, p[i], (adze_val){0}, d[i], adze_scalar(g, ADZE_F64, 0.5), NULL);
    }
    adze_output(g, "y", adze_sigmoid(g, logit));
    int bad = adze_compile(g, NULL, &plan) || adze_session_new(ctx, plan, store, "", &s) || adze_store_tensor(store, 0, &w);
    adze_rng r = adze_rng_make(0, 0);
    for (int i = 0; i < 16 && !bad; i++) { /* zeros would stay alike: the hidden weights start random */
        adze_tensor_set(&w, i, adze_rng_normal(&r));
    }
    for (int step = 0; step < 3000 && !bad; step++) {
        bad = adze_session_run(s) || adze_session_output(s, "y", &y);
    }
    for (int i = 0; i < 4 && !bad; i++)
        printf("%g xor %g = %.3f\n", points[2 * i], points[2 * i + 1], adze_tensor_get(&y, i));
    int wrong = bad ? fprintf(stderr, "%s\n", adze_errmsg(ctx)) : adze_tensor_get(&y, 1) < 0.9 || adze_tensor_get(&y, 3) > 0.1;
    adze_session_free(s), adze_plan_free(plan), adze_store_free(store), adze_graph_free(g), adze_ctx_free(ctx);
    return wrong != 0;
}
