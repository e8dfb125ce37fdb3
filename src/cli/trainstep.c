/* A model's training step as one bare graph: what bench times, check differentiates and inspect prints. */
#include "cli/trainstep.h"

static int add_param(cli *c, adze_store *s, cli_step *st, int slot) {
    st->names[st->nparams] = adze_store_name(s, slot);
    st->params[st->nparams] = adze_slot(st->g, adze_store_name(s, slot), adze_store_type(s, slot));
    st->nparams++;
    return adze_graph_status(st->g) == ADZE_OK ? ADZE_OK : adze_errcode(c->ctx);
}

static void add_updates(cli_step *st, adze_store *s, adze_val lr) {
    static const adze_sgd_attrs RULE = {.momentum = 0.9};
    for (int i = 0; i < st->nparams; i++) {
        char name[256];
        snprintf(name, sizeof(name), "%s:m", st->names[i]);
        adze_type type = adze_store_type(s, adze_store_find(s, st->names[i]));
        adze_sgd(st->g, st->params[i], adze_slot(st->g, name, type), st->grads[i], lr, &RULE);
    }
}

static int build(cli *c, const adze_model *m, adze_store *s, int64_t batch, adze_dtype d, int what, cli_step *st) {
    TRY(adze_graph_new(c->ctx, &st->g));
    st->x = adze_input(st->g, "x", adze_model_input_type(m, batch, d));
    st->label = adze_input(st->g, "label", adze_model_label_type(m, batch));
    adze_build_opts o = {.size = sizeof(o), .train = what != CLI_STEP_FORWARD, .dtype = d};
    TRY(adze_model_build(m, st->g, st->x, &o, &st->y));
    if (what == CLI_STEP_FORWARD) {
        return adze_output(st->g, "y", st->y);
    }
    adze_val each;
    TRY(adze_model_loss(m, st->g, st->y, st->label, &each));
    st->loss = adze_mean(st->g, each, NULL, 0, false);
    TRY(adze_output(st->g, "loss", st->loss));
    int n = adze_store_count(s);
    st->params = adze_alloc(c->ctx, n, sizeof(*st->params));
    st->grads = adze_alloc(c->ctx, n, sizeof(*st->grads));
    st->names = adze_alloc(c->ctx, n, sizeof(*st->names));
    if (!st->params || !st->grads || !st->names) {
        return ADZE_ENOMEM;
    }
    for (int i = 0; i < n; i++) {
        if (adze_store_flags(s, i) & ADZE_SLOT_TRAINABLE) {
            TRY(add_param(c, s, st, i));
        }
    }
    TRY(adze_grad(st->g, st->loss, st->params, st->nparams, st->grads, 0));
    if (what == CLI_STEP_UPDATE) {
        add_updates(st, s, adze_input(st->g, "lr", adze_scalar_type(ADZE_F64)));
        return adze_graph_status(st->g);
    }
    for (int i = 0; i < st->nparams; i++) {
        char name[256];
        snprintf(name, sizeof(name), "grad/%s", st->names[i]);
        TRY(adze_output(st->g, name, st->grads[i]));
    }
    return ADZE_OK;
}

int cli_step_build(cli *c, const adze_model *m, adze_store *s, int64_t batch, adze_dtype d, int what, cli_step *out) {
    *out = (cli_step){0};
    int status = build(c, m, s, batch, d, what, out);
    if (status != ADZE_OK) {
        cli_step_free(c, out);
    }
    return status;
}

void cli_step_free(cli *c, cli_step *st) {
    adze_graph_free(st->g);
    adze_free(c->ctx, st->params);
    adze_free(c->ctx, st->grads);
    adze_free(c->ctx, (void *)st->names);
    *st = (cli_step){0};
}

int cli_step_fill(adze_session *s, const adze_model *m, uint64_t seed) {
    adze_tensor x, label;
    TRY(adze_session_input(s, "x", &x));
    adze_rng r = adze_rng_make(seed, adze_hash_str("fill"));
    adze_type type = adze_tensor_type(&x);
    for (int64_t i = 0, n = adze_type_count(&type); i < n; i++) {
        adze_tensor_set(&x, i, adze_rng_normal(&r));
    }
    if (adze_session_input(s, "label", &label) == ADZE_OK) {
        adze_type labels = adze_tensor_type(&label);
        for (int64_t i = 0, n = adze_type_count(&labels); i < n; i++) {
            adze_tensor_set(&label, i, (double)adze_rng_below(&r, (uint64_t)adze_model_classes(m)));
        }
    }
    return ADZE_OK;
}
