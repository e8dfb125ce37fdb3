/* Computes one value now: compiles what it needs and runs it once. */
#include "plan_internal.h"

static int fill_inputs(adze_session *s, const adze_plan *p, const adze_named *inputs, int n) {
    for (int32_t i = 0; i < p->ninputs; i++) {
        const adze_tensor *given = NULL;
        for (int k = 0; k < n; k++) {
            given = strcmp(inputs[k].name, p->inputs[i].name) == 0 ? &inputs[k].t : given;
        }
        if (!given) {
            return adze_fail(p->ctx, ADZE_EARG, "the value needs the input '%s', which was not given", p->inputs[i].name);
        }
        adze_tensor to;
        TRY(adze_session_input(s, p->inputs[i].name, &to));
        adze_type have = adze_tensor_type(given);
        have.dtype = p->inputs[i].type.dtype; /* the copy converts */
        if (!adze_type_equal(&have, &p->inputs[i].type)) {
            return adze_fail(p->ctx, ADZE_ESHAPE, "input '%s' is %s, %s was given", p->inputs[i].name, ADZE_SHOWN(&p->inputs[i].type),
                             ADZE_SHOWN(&have));
        }
        TRY(adze_tensor_copy(p->ctx, to, *given));
    }
    return ADZE_OK;
}

static int run_once(adze_ctx *ctx, const adze_plan *p, const adze_named *inputs, int ninputs, adze_store *store, adze_tensor *out) {
    adze_session *s = NULL;
    adze_tensor t, made = {0};
    TRY(adze_session_new(ctx, p, store, "", &s));
    int status = fill_inputs(s, p, inputs, ninputs);
    if (status == ADZE_OK) {
        status = adze_session_run(s);
    }
    if (status == ADZE_OK) {
        status = adze_session_output(s, "value", &t);
    }
    if (status == ADZE_OK) {
        status = adze_tensor_new(ctx, adze_tensor_type(&t), &made);
    }
    if (status == ADZE_OK) {
        status = adze_tensor_copy(ctx, made, t);
    }
    adze_session_free(s);
    if (status != ADZE_OK) {
        adze_tensor_free(&made);
        return status;
    }
    *out = made;
    return ADZE_OK;
}

int adze_eval(adze_graph *g, adze_val v, const adze_named *inputs, int ninputs, adze_store *store, const char *device, adze_tensor *out) {
    *out = (adze_tensor){0};
    if (g->status != ADZE_OK) {
        return adze_fail(g->ctx, g->status, "%s", g->message);
    }
    if (!adze_val_ok(g, v)) {
        return adze_fail(g->ctx, ADZE_EARG, "the value to compute is not a value of this graph");
    }
    v = adze_settled(g, v);
    int32_t r = adze_val_region(g, v.id);
    if (r != 0) {
        return adze_fail(g->ctx, ADZE_EARG, "the value lies inside the region '%s', which may not run", g->regions[r].name);
    }
    adze_goutput o = {"value", v.id};
    adze_compile_opts opts = {.size = sizeof opts, .device = device};
    adze_plan *p = NULL;
    TRY(adze_compile_vals(g, &opts, &o, 1, &p));
    int status = run_once(g->ctx, p, inputs, ninputs, store, out);
    adze_plan_free(p);
    return status;
}
