/* What a training computes, planned before its first step, and the memory that all of it takes. */
#include "train/second.h"
#include "train/trainer.h"

enum { EVAL_BATCH = 256 };

static int64_t store_bytes(const adze_trainer *t) {
    int64_t sum = 0;
    for (int i = 0; i < adze_store_count(t->store); i++) {
        const adze_type type = adze_store_type(t->store, i);
        sum += adze_type_bytes(&type);
    }
    return sum;
}

/* The plans and the store, without the arena that the plans share. */
static int64_t beside_arena(const adze_trainer *t) {
    int64_t sum = adze_steps_memory(&t->steps);
    if (t->eval.plan != NULL) {
        const adze_plan_info info = adze_plan_describe(t->eval.plan);
        sum += info.packed_bytes + info.input_bytes + info.scratch_bytes * adze_ctx_threads(t->ctx);
    }
    return sum;
}

/* Under the context's memory limit: evaluation in smaller batches, and gradients that compute some values twice. What is left for the arena is what
 * nobody else will want: tables of the sessions, callbacks that draw, the loader of an evaluation, another store while a model is saved. */
static int fit_memory(adze_trainer *t) {
    enum { SPARE = 12 << 20, SPARE_SHARE = 8, LOADER = 4 };
    const int64_t left = adze_ctx_mem_left(t->ctx);
    if (left == INT64_MAX) {
        return ADZE_OK;
    }
    const int64_t pictures = t->eval.plan != NULL ? LOADER * adze_plan_describe(t->eval.plan).input_bytes : 0;
    const int64_t room = left - beside_arena(t) - pictures - store_bytes(t) - (left / SPARE_SHARE < SPARE ? left / SPARE_SHARE : SPARE);
    if (room <= 0) {
        return adze_fail(t->ctx, ADZE_ENOMEM, "the memory limit is too low: %lld bytes are left, and weights, inputs and buffers alone need %lld",
                         (long long)left, (long long)(left - room));
    }
    while (t->eval.plan != NULL && adze_plan_describe(t->eval.plan).arena_bytes > room && t->eval.batch > 1) {
        const int64_t batch = t->eval.batch / 2;
        adze_evaluator_close(&t->eval);
        TRY(adze_evaluator_plan(&t->eval, t->ctx, t->model, t->store, adze_trainer_judged(t), batch, &t->o));
    }
    return adze_steps_shrink(&t->steps, room);
}

/* Plans for every batch that will come are made now, so that their memory is known before the first step. */
int adze_trainer_plans(adze_trainer *t) {
    const adze_train_opts *o = &t->o;
    int64_t batches = adze_loader_batches(t->loader), rest = t->ntrain % o->batch;
    TRY(adze_train_prior(t->ctx, o, t->ntrain, &t->settled));
    TRY(adze_steps_open(&t->steps, t->ctx, t->model, t->store, &t->settled));
    if (t->ntrain >= o->batch) {
        TRY(adze_steps_plan(&t->steps, o->batch, false));
        if (o->accumulate > 1 && t->ntrain >= 2 * o->batch) {
            TRY(adze_steps_plan(&t->steps, o->batch, true));
        }
    }
    if (rest > 0) {
        TRY(adze_steps_plan(&t->steps, rest, (batches - 1) % o->accumulate != 0));
    }
    const int64_t first = t->ntrain < o->batch ? t->ntrain : o->batch, whole = o->batch * o->accumulate;
    TRY(adze_second_plan(&t->steps, first, t->ntrain < whole ? t->ntrain : whole, rest));
    if (t->nval > 0) {
        TRY(adze_evaluator_plan(&t->eval, t->ctx, t->model, t->store, adze_trainer_judged(t), t->nval < EVAL_BATCH ? t->nval : EVAL_BATCH, o));
    }
    TRY(fit_memory(t));
    int64_t arena = t->nval > 0 ? adze_plan_describe(t->eval.plan).arena_bytes : 0;
    TRY(adze_average_plan(t, &arena));
    TRY(adze_steps_bind(&t->steps, arena));
    TRY(adze_average_bind(t));
    if (t->nval > 0) {
        TRY(adze_evaluator_bind(&t->eval, t->store, adze_trainer_judged(t), t->steps.arena));
    }
    adze_type y = adze_tensor_type(&t->steps.grad[0].y);
    t->scores = adze_alloc(t->ctx, y.dims[1], sizeof *t->scores);
    return ADZE_GOT(t->scores);
}

int64_t adze_trainer_memory(const adze_trainer *t) {
    const adze_type arena = adze_tensor_type(&t->steps.arena);
    return beside_arena(t) + store_bytes(t) + adze_type_bytes(&arena);
}
