/* Compiling and running the two plans of a training step.
 *
 * They are two on purpose: the host looks at the loss and at the gradients' norm between them, so no update runs when either is not finite. */
#include "train/penalty.h"
#include "train/second.h"

#include "adze/ops.h"
#include "data/augment.h"
#include "model/layer.h"

#include <math.h>

enum { NORM_CHUNK = 1 << 15 };

/* -- slots ------------------------------------------------------------------------------------------------------------------------------------ */

/* Sorts the model's slots into parameters and state, before any slot of ours is added. */
static int find_slots(adze_steps *s) {
    int n = adze_store_count(s->store);
    s->params = adze_alloc(s->ctx, n, sizeof *s->params);
    s->grads = adze_alloc(s->ctx, n, sizeof *s->grads);
    s->state = adze_alloc(s->ctx, n, sizeof *s->state);
    TRY(ADZE_GOT(s->params && s->grads && s->state));
    int64_t bytes = 0;
    for (int i = 0; i < n; i++) {
        uint32_t flags = adze_store_flags(s->store, i);
        adze_type t = adze_store_type(s->store, i);
        if (flags & ADZE_SLOT_TRAINABLE) {
            s->params[s->nparams++] = i;
            s->nchunks += adze_type_count(&t) / NORM_CHUNK + 1;
        } else if ((flags & ADZE_SLOT_STATE) && strcmp(adze_store_name(s->store, i), ADZE_FITTED_SLOT) != 0) {
            s->state[s->nstate++] = i;
            bytes += adze_type_bytes(&t);
        }
    }
    s->outs = adze_alloc(s->ctx, s->model->nlayers, sizeof *s->outs);
    s->partial = adze_alloc(s->ctx, s->nchunks, sizeof *s->partial);
    s->backup = adze_alloc(s->ctx, bytes, 1);
    s->first = adze_alloc(s->ctx, s->o->sam > 0 ? bytes : 0, 1);
    return ADZE_GOT(s->outs && s->partial && s->backup && s->first);
}

int adze_steps_open(adze_steps *s, adze_ctx *ctx, const adze_model *m, adze_store *store, const adze_train_opts *o) {
    *s = (adze_steps){.ctx = ctx, .model = m, .store = store, .o = o, .dtype = adze_train_dtype(o)};
    char augment[ADZE_OPTION_TEXT];
    adze_augment list;
    TRY(adze_train_augment(ctx, o, augment));
    TRY(adze_augment_parse(ctx, augment, "option augment", &list));
    s->mixes = list.mixes;
    TRY(find_slots(s));
    if (s->nparams == 0) {
        return adze_fail(ctx, ADZE_EARG, "model '%s' has no parameters to train", adze_model_name(m));
    }
    TRY(adze_update_slots(s));
    TRY(adze_second_open(s));
    return adze_update_compile(s);
}

void adze_steps_close(adze_steps *s) {
    for (int i = 0; i < s->ngrad; i++) {
        adze_session_free(s->grad[i].session);
        adze_plan_free(s->grad[i].plan);
    }
    adze_second_close(s);
    adze_update_close(s);
    adze_tensor_free(&s->arena);
    adze_free(s->ctx, s->params);
    adze_free(s->ctx, s->grads);
    adze_free(s->ctx, s->state);
    adze_free(s->ctx, s->outs);
    adze_free(s->ctx, s->partial);
    adze_free(s->ctx, s->backup);
    adze_free(s->ctx, s->first);
    *s = (adze_steps){0};
}

/* -- grad plans ---------------------------------------------------------------------------------------------------------------------------------- */

/* The mean over the whole update: the sum of this batch's losses times `weight`, so the same plan serves any number of batches. */
static int grad_loss(adze_steps *s, adze_graph *g, const adze_grad_plan *p, adze_val *total) {
    const int64_t batch = p->batch;
    adze_val y = {0}, loss = {0};
    adze_train_terms terms;
    adze_build_opts opts = {.size = sizeof opts, .train = !p->in_use, .dtype = s->dtype};
    adze_val x = adze_input(g, "x", adze_model_input_type(s->model, batch, s->dtype));
    adze_val label = adze_input(g, "label", adze_type_make(ADZE_I64, 1, &batch));
    adze_val weight = adze_input(g, "weight", adze_scalar_type(s->dtype));
    TRY(adze_model_build_taps(s->model, g, x, &opts, &y, &(adze_taps){.outs = s->outs}));
    TRY(adze_train_loss(s->model, g, s->o, x, y, label, &terms));
    loss = terms.loss;
    if (s->mixes && !p->in_use) { /* each label's loss by its share: for cross-entropies the loss of the mixed target */
        adze_train_terms second;
        adze_val other = adze_input(g, "other", adze_type_make(ADZE_I64, 1, &batch));
        adze_val share = adze_input(g, "share", adze_type_make(s->dtype, 1, &batch));
        TRY(adze_train_loss(s->model, g, s->o, x, y, other, &second));
        loss = adze_add(g, second.loss, adze_mul(g, share, adze_sub(g, loss, second.loss)));
    }
    TRY(adze_penalty_activity(s, g, &loss));
    *total = adze_mul(g, adze_sum(g, loss, NULL, 0, false), weight);
    TRY(adze_output(g, "loss", loss));
    TRY(terms.error.id != 0 ? adze_output(g, "error", terms.error) : ADZE_OK);
    return adze_output(g, "y", y);
}

static int grad_write(adze_steps *s, adze_graph *g, adze_val total, bool later, adze_val *w, adze_val *gw) {
    for (int i = 0; i < s->nparams; i++) {
        w[i] = adze_slot(g, adze_store_name(s->store, s->params[i]), adze_store_type(s->store, s->params[i]));
    }
    TRY(adze_grad(g, total, w, s->nparams, gw, 0));
    for (int i = 0; i < s->nparams; i++) {
        adze_val slot = adze_slot(g, adze_store_name(s->store, s->grads[i]), adze_store_type(s->store, s->grads[i]));
        if (later) {
            adze_accumulate(g, slot, gw[i]);
        } else {
            adze_assign(g, slot, gw[i]);
        }
    }
    return adze_graph_status(g);
}

static int grad_compile(adze_steps *s, int64_t memory, adze_grad_plan *p) {
    adze_graph *g = NULL;
    adze_val total = {0}, *w = adze_alloc(s->ctx, s->nparams, 2 * sizeof *w);
    TRY(ADZE_GOT(w));
    int st = adze_graph_new(s->ctx, &g);
    if (st == ADZE_OK) {
        st = grad_loss(s, g, p, &total);
    }
    if (st == ADZE_OK) {
        st = grad_write(s, g, total, p->later, w, w + s->nparams);
    }
    if (st == ADZE_OK) {
        const adze_compile_opts opts = {.size = sizeof opts, .precision = adze_train_precision(s->o), .memory = memory};
        st = adze_compile(g, &opts, &p->plan);
    }
    adze_graph_free(g);
    adze_free(s->ctx, w);
    return st;
}

static int grad_bind(adze_steps *s, adze_grad_plan *p) {
    const adze_type arena = adze_tensor_type(&s->arena); /* made for all plans but those in use */
    const bool fits = adze_plan_describe(p->plan).arena_bytes <= adze_type_bytes(&arena);
    TRY(adze_session_new_in(s->ctx, p->plan, s->store, "", fits ? s->arena : (adze_tensor){0}, &p->session));
    TRY(adze_session_input(p->session, "x", &p->x));
    TRY(adze_session_input(p->session, "label", &p->label));
    TRY(adze_session_input(p->session, "weight", &p->weight));
    if (s->mixes && !p->in_use) {
        TRY(adze_session_input(p->session, "other", &p->other));
        TRY(adze_session_input(p->session, "share", &p->share));
    }
    TRY(adze_session_output(p->session, "loss", &p->loss));
    if (s->o->target == ADZE_TARGET_INPUT) {
        TRY(adze_session_output(p->session, "error", &p->error));
    }
    return adze_session_output(p->session, "y", &p->y);
}

static adze_grad_plan *find_grad(adze_steps *s, int64_t batch, bool later) {
    for (int i = 0; i < s->ngrad; i++) {
        if (s->grad[i].batch == batch && s->grad[i].later == later) {
            return &s->grad[i];
        }
    }
    return NULL;
}

int adze_steps_plan(adze_steps *s, int64_t batch, bool later) {
    if (find_grad(s, batch, later)) {
        return ADZE_OK;
    }
    if (s->ngrad == ADZE_STEPS_MAX) {
        return adze_fail(s->ctx, ADZE_EBUG, "a training asks for more than %d sizes of batches", ADZE_STEPS_MAX);
    }
    adze_grad_plan *p = &s->grad[s->ngrad++];
    *p = (adze_grad_plan){.batch = batch, .later = later};
    return grad_compile(s, 0, p);
}

int adze_steps_shrink(adze_steps *s, int64_t memory) {
    for (int i = 0; i < s->ngrad; i++) {
        adze_grad_plan *p = &s->grad[i];
        if (adze_plan_describe(p->plan).arena_bytes > memory) {
            adze_plan_free(p->plan);
            p->plan = NULL;
            TRY(grad_compile(s, memory, p));
        }
    }
    return ADZE_OK;
}

int adze_steps_bind(adze_steps *s, int64_t arena) {
    for (int i = 0; i < ADZE_UPDATES; i++) {
        const int64_t bytes = s->update[i].plan ? adze_plan_describe(s->update[i].plan).arena_bytes : 0;
        arena = bytes > arena ? bytes : arena;
    }
    for (int i = 0; i < s->ngrad; i++) {
        const int64_t bytes = adze_plan_describe(s->grad[i].plan).arena_bytes;
        arena = bytes > arena ? bytes : arena;
    }
    arena = adze_second_arena(s) > arena ? adze_second_arena(s) : arena;
    arena = arena > 0 ? arena : 1;
    TRY(adze_memory_check(s->ctx, arena));
    TRY(adze_tensor_new(s->ctx, adze_type_make(ADZE_U8, 1, &arena), &s->arena));
    for (int i = 0; i < s->ngrad; i++) {
        TRY(grad_bind(s, &s->grad[i]));
    }
    TRY(adze_second_bind(s));
    return adze_update_bind(s);
}

int adze_steps_grad(adze_steps *s, int64_t batch, bool later, adze_grad_plan **out) {
    *out = find_grad(s, batch, later);
    return *out ? ADZE_OK : adze_fail(s->ctx, ADZE_EBUG, "no plan was made for a batch of %lld", (long long)batch);
}

int adze_steps_grad_in_use(adze_steps *s, int64_t batch, adze_grad_plan *p) {
    *p = (adze_grad_plan){.batch = batch, .in_use = true};
    TRY(grad_compile(s, 0, p));
    return grad_bind(s, p);
}

/* -- the norm ------------------------------------------------------------------------------------------------------------------------------------ */

typedef struct norm_job { /* one slot: chunks of fixed size, so that the sum's bits do not depend on the threads */
    const void *data;
    int64_t n;
    bool f64;
    double clip;
    double *partial;
} norm_job;

static void norm_task(void *arg, int ith, int nth) {
    const norm_job *j = arg;
    int64_t chunks = (j->n + NORM_CHUNK - 1) / NORM_CHUNK, from, to;
    adze_share(chunks, 1, ith, nth, &from, &to);
    for (int64_t c = from; c < to; c++) {
        int64_t end = (c + 1) * NORM_CHUNK < j->n ? (c + 1) * NORM_CHUNK : j->n;
        double sum = 0;
        for (int64_t i = c * NORM_CHUNK; i < end; i++) {
            double v = j->f64 ? ((const double *)j->data)[i] : (double)((const float *)j->data)[i];
            v = v > j->clip ? j->clip : v < -j->clip ? -j->clip : v; /* a NaN stays one */
            sum += v * v;
        }
        j->partial[c] = sum;
    }
}

int adze_steps_norm(adze_steps *s, bool clipped, double *norm) {
    double sum = 0;
    for (int i = 0; i < s->nparams; i++) {
        adze_tensor t;
        TRY(adze_store_tensor(s->store, s->grads[i], &t));
        adze_type type = adze_tensor_type(&t);
        norm_job j = {.data = adze_tensor_data(&t), .n = adze_type_count(&type), .f64 = t.dtype == ADZE_F64, .partial = s->partial};
        j.clip = clipped && s->o->clip_value > 0 ? s->o->clip_value : INFINITY;
        int64_t chunks = (j.n + NORM_CHUNK - 1) / NORM_CHUNK;
        if (chunks > 1) {
            adze_pool_run(s->ctx, norm_task, &j, adze_ctx_threads(s->ctx));
        } else {
            norm_task(&j, 0, 1);
        }
        for (int64_t c = 0; c < chunks; c++) {
            sum += s->partial[c];
        }
    }
    *norm = sqrt(sum);
    return ADZE_OK;
}

/* -- undoing a failed step ----------------------------------------------------------------------------------------------------------------------- */

int adze_steps_copy(adze_steps *s, const int *slots, int n, char *at, bool keep) {
    for (int i = 0; i < n; i++) {
        adze_tensor t;
        TRY(adze_store_tensor(s->store, slots[i], &t));
        adze_type type = adze_tensor_type(&t);
        size_t bytes = (size_t)adze_type_bytes(&type);
        memcpy(keep ? at : adze_tensor_data(&t), keep ? adze_tensor_data(&t) : at, bytes);
        at += bytes;
    }
    return ADZE_OK;
}

int adze_steps_keep(adze_steps *s) {
    return adze_steps_copy(s, s->state, s->nstate, s->backup, true);
}

int adze_steps_restore(adze_steps *s) {
    return adze_steps_copy(s, s->state, s->nstate, s->backup, false);
}

int adze_steps_forget(adze_steps *s) {
    for (int i = 0; i < s->nparams; i++) {
        adze_tensor t;
        TRY(adze_store_tensor(s->store, s->grads[i], &t));
        adze_type type = adze_tensor_type(&t);
        memset(adze_tensor_data(&t), 0, (size_t)adze_type_bytes(&type));
    }
    return ADZE_OK;
}

static int64_t beside_arena(const adze_steps *s, const adze_plan *p) {
    const adze_plan_info info = adze_plan_describe(p);
    return info.packed_bytes + info.input_bytes + info.scratch_bytes * adze_ctx_threads(s->ctx);
}

int64_t adze_steps_memory(const adze_steps *s) {
    int64_t sum = adze_update_memory(s);
    for (int i = 0; i < ADZE_UPDATES; i++) {
        sum += s->update[i].plan ? beside_arena(s, s->update[i].plan) : 0;
    }
    for (int i = 0; i < s->ngrad; i++) {
        sum += beside_arena(s, s->grad[i].plan);
    }
    for (int i = 0; s->second != NULL && i < ADZE_SECOND_PLANS; i++) {
        sum += s->second->plan[i] != NULL ? beside_arena(s, s->second->plan[i]) : 0;
    }
    return sum;
}
