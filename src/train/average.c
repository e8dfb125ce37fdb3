/* Averages of weights: a second model under "avg/" in the store, which follows the first, is judged in its place and becomes the model file. Polyak
 * and Juditsky (1992): the mean of all iterates; exponential; SWA (Izmailov et al. 2018): the mean of epochs at a high rate. Batchnorm's statistics
 * are estimated anew for it. And what snapshots need (Huang et al. 2017): where a cycle ends, and a model file there. */
#include "train/trainer.h"

#include "model/layer.h"

#include <math.h>
#include <stdio.h>

enum { SLOT_NAME = 192, STATISTICS = ADZE_SLOT_STATE };

/* -- options ------------------------------------------------------------------------------------------------------------------------------------- */

int64_t adze_average_start(const adze_train_opts *o) {
    if (o->average != ADZE_AVERAGE_SWA) {
        return o->average_start;
    }
    return o->swa_start >= 0 ? o->swa_start : o->epochs * 3 / 4;
}

/* The epoch, from 0, at whose end there is an average for the first time. */
static int64_t first_epoch(const adze_train_opts *o) {
    return adze_average_start(o) + (o->average == ADZE_AVERAGE_SWA && o->swa_cycle > 0 ? o->swa_cycle - 1 : 0);
}

int64_t adze_snapshot_cycle(const adze_train_opts *o, int64_t epoch) {
    return o->epochs > 0 ? ((epoch + 1) * o->snapshots - 1) / o->epochs : 0;
}

static int check_snapshots(adze_ctx *ctx, const adze_train_opts *o) {
    if (o->schedule != ADZE_RESTARTS) {
        return adze_fail(ctx, ADZE_EARG, "option snapshots takes a model at the end of each cycle of the rate: it needs schedule restarts");
    }
    if (o->cycle_factor > 1) {
        return adze_fail(ctx, ADZE_EARG, "option snapshots makes cycles of equal length: leave cycle_factor at 1");
    }
    if (o->average != ADZE_AVERAGE_NONE) {
        return adze_fail(ctx, ADZE_EARG, "options snapshots and average exclude each other: an average over cycles would mix the snapshots");
    }
    return o->epochs == 0 || o->snapshots <= o->epochs ? ADZE_OK
                                                       : adze_fail(ctx, ADZE_EARG, "option snapshots: %lld cycles do not fit into %lld epochs",
                                                                   (long long)o->snapshots, (long long)o->epochs);
}

int adze_average_check(adze_ctx *ctx, const adze_train_opts *o) {
    if (o->snapshots > 0) {
        TRY(check_snapshots(ctx, o));
    }
    if (o->average == ADZE_AVERAGE_NONE) {
        return ADZE_OK;
    }
    if (o->average == ADZE_AVERAGE_SWA && o->schedule == ADZE_PLATEAU) {
        return adze_fail(ctx, ADZE_EARG, "option average: swa sets the rate itself from swa_start on, so the cuts of schedule plateau mean nothing");
    }
    if (o->epochs > 0 && first_epoch(o) >= o->epochs) {
        return adze_fail(ctx, ADZE_EARG, "option average: the first average would be there after epoch %lld, but there are %lld",
                         (long long)first_epoch(o) + 1, (long long)o->epochs);
    }
    return ADZE_OK;
}

/* -- the second model ---------------------------------------------------------------------------------------------------------------------------- */

static int average_name(adze_ctx *ctx, const char *slot, char out[SLOT_NAME]) {
    const int n = snprintf(out, SLOT_NAME, ADZE_AVERAGE_PREFIX "%s", slot);
    return n > 0 && n < SLOT_NAME ? ADZE_OK : adze_fail(ctx, ADZE_EARG, "the parameter name '%s' is too long", slot);
}

/* Slots of the model with one of the flags (0: all) become those of its average. */
static int copy_slots(const adze_steps *s, uint32_t flags) {
    for (int i = 0; i < s->model->nparams; i++) {
        const adze_param *p = &s->model->params[i];
        char name[SLOT_NAME];
        adze_tensor from, to;
        if (flags != 0 && (p->flags & flags) == 0) {
            continue;
        }
        TRY(average_name(s->ctx, p->slot, name));
        TRY(adze_store_tensor(s->store, adze_store_find(s->store, p->slot), &from));
        TRY(adze_store_tensor(s->store, adze_store_find(s->store, name), &to));
        TRY(adze_tensor_copy(s->ctx, to, from));
    }
    return ADZE_OK;
}

int adze_average_slots(adze_steps *s) {
    for (int i = 0; i < s->model->nparams; i++) { /* all first, so that they lie in one block */
        const char *slot = s->model->params[i].slot;
        char name[SLOT_NAME];
        TRY(average_name(s->ctx, slot, name));
        TRY(adze_store_add(s->store, name, adze_store_type(s->store, adze_store_find(s->store, slot)), ADZE_SLOT_STATE, NULL));
    }
    return copy_slots(s, 0);
}

adze_val adze_average_toward(adze_graph *g, adze_val avg, adze_val w, adze_val share) {
    return adze_add(g, avg, adze_mul(g, share, adze_sub(g, w, avg)));
}

void adze_average_build(adze_steps *s, adze_graph *g) {
    const adze_val share = adze_input(g, "share", adze_scalar_type(s->dtype));
    for (int i = 0; i < s->nparams; i++) {
        const char *slot = adze_store_name(s->store, s->params[i]);
        const adze_type type = adze_store_type(s->store, s->params[i]);
        char name[SLOT_NAME];
        if (average_name(s->ctx, slot, name) != ADZE_OK) {
            return;
        }
        const adze_val w = adze_slot(g, slot, type), avg = adze_slot(g, name, type);
        adze_assign(g, avg, adze_average_toward(g, avg, w, share));
    }
}

int adze_steps_average(adze_steps *s, double share) {
    if (share == 1) { /* avg + (w - avg) is not w to the bit */
        return copy_slots(s, ADZE_SLOT_TRAINABLE);
    }
    adze_tensor_set(&s->share, 0, share);
    return adze_session_run(s->update[ADZE_UPDATE_AVERAGE].session);
}

/* -- batchnorm's statistics ---------------------------------------------------------------------------------------------------------------------- */

typedef struct statistic { /* a running statistic: the mean of its values over batches, and their squared deviations from it */
    adze_tensor t;
    int64_t n;
    double *mean, *dev;
    const struct statistic *centre; /* of a variance: the means whose spread over the batches adds to it; else NULL */
} statistic;

typedef struct statistics {
    adze_ctx *ctx;
    statistic *at;
    int n;
    double *room;
} statistics;

/* "bn1:mean" beside "bn1:var" */
static bool is_centre(const char *mean, const char *var) {
    const char *a = strrchr(mean, ':'), *b = strrchr(var, ':');
    return a != NULL && b != NULL && strcmp(a, ":mean") == 0 && strcmp(b, ":var") == 0 && a - mean == b - var &&
           strncmp(mean, var, (size_t)(a - mean)) == 0;
}

static int find_statistics(statistics *s, const adze_model *m, adze_store *store, const char *prefix) {
    int64_t cells = 0;
    s->at = adze_alloc(s->ctx, m->nparams, sizeof *s->at);
    for (int i = 0; i < m->nparams && s->at != NULL; i++) {
        if (m->params[i].flags & STATISTICS) {
            cells += adze_type_count(&m->params[i].type);
        }
    }
    s->room = adze_alloc(s->ctx, cells, 2 * sizeof *s->room);
    TRY(ADZE_GOT(s->at && s->room));
    double *room = s->room;
    const char *before = "";
    for (int i = 0; i < m->nparams; i++) {
        const adze_param *p = &m->params[i];
        char name[SLOT_NAME];
        if (!(p->flags & STATISTICS)) {
            continue;
        }
        snprintf(name, sizeof name, "%s%s", prefix, p->slot);
        statistic *x = &s->at[s->n++];
        TRY(adze_store_tensor(store, adze_store_find(store, name), &x->t));
        x->n = adze_type_count(&p->type);
        x->mean = room;
        x->dev = room + x->n;
        x->centre = is_centre(before, p->slot) && x[-1].n == x->n ? x - 1 : NULL;
        room += 2 * x->n;
        before = p->slot;
    }
    return ADZE_OK;
}

/* Batch number k, from 1 (Welford 1962). */
static void take_batch(statistics *s, double k) {
    for (int i = 0; i < s->n; i++) {
        statistic *x = &s->at[i];
        for (int64_t c = 0; c < x->n; c++) {
            const double v = adze_tensor_get(&x->t, c), off = v - x->mean[c];
            x->mean[c] += off / k;
            x->dev[c] += off * (v - x->mean[c]);
        }
    }
}

/* The variance of all examples is the mean of the batches' variances and the variance of their means. */
static void give(statistics *s, double batches) {
    for (int i = 0; i < s->n; i++) {
        statistic *x = &s->at[i];
        for (int64_t c = 0; c < x->n; c++) {
            adze_tensor_set(&x->t, c, x->mean[c] + (x->centre != NULL ? x->centre->dev[c] / batches : 0));
        }
    }
}

static int run_batches(adze_evaluator *e, statistics *s, adze_loader *l, int64_t batches) {
    for (int64_t b = 0; b < batches; b++) {
        int64_t n = 0;
        TRY(adze_loader_next(l, e->x, e->label, &n));
        TRY(adze_session_run(e->session));
        take_batch(s, (double)(b + 1));
    }
    give(s, (double)batches);
    return ADZE_OK;
}

/* e was opened with `statistics`, on the same store and prefix; n is at least its batch. */
static int recalibrate(adze_evaluator *e, adze_store *store, const char *prefix, const adze_dataset *d, const int64_t *ids, int64_t n,
                       int64_t batches) {
    statistics s = {.ctx = e->ctx};
    adze_loader *l = NULL;
    const adze_loader_opts lo = {.size = sizeof lo, .batch = e->batch, .dtype = e->dtype, .workers = 1};
    int st = adze_loader_new(e->ctx, d, ids, n, adze_model_preprocess(e->model), &lo, &l);
    if (st == ADZE_OK) {
        st = find_statistics(&s, e->model, store, prefix);
    }
    if (st == ADZE_OK) {
        const int64_t whole = n / e->batch;
        st = run_batches(e, &s, l, batches > 0 && batches < whole ? batches : whole);
    }
    adze_store_touch(store);
    adze_free(e->ctx, s.at);
    adze_free(e->ctx, s.room);
    adze_loader_free(l);
    return st;
}

static bool has_statistics(const adze_model *m) {
    for (int i = 0; i < m->nparams; i++) {
        if (m->params[i].flags & STATISTICS) {
            return true;
        }
    }
    return false;
}

int adze_recalibrate(adze_ctx *ctx, const adze_model *m, adze_store *s, const char *prefix, const adze_dataset *d, const int64_t *ids, int64_t n,
                     int64_t batch, int64_t batches) {
    adze_evaluator e = {.statistics = true};
    prefix = prefix != NULL ? prefix : "";
    n = ids == NULL && n == 0 ? d->count : n;
    if (batches < 0 || n < 1) {
        return adze_fail(ctx, ADZE_EARG, "statistics need at least one example and a count of batches, not %lld and %lld", (long long)n,
                         (long long)batches);
    }
    if (!has_statistics(m)) {
        return ADZE_OK;
    }
    int st = adze_evaluator_open(&e, ctx, m, s, prefix, batch < n ? batch : n, NULL);
    if (st == ADZE_OK) {
        st = recalibrate(&e, s, prefix, d, ids, n, batches);
    }
    adze_evaluator_close(&e);
    return st;
}

/* -- in a training ------------------------------------------------------------------------------------------------------------------------------- */

int adze_average_plan(adze_trainer *t, int64_t *arena) {
    if (t->o.average == ADZE_AVERAGE_NONE || !has_statistics(t->model)) {
        return ADZE_OK;
    }
    const int64_t batch = t->o.batch < t->ntrain ? t->o.batch : t->ntrain;
    t->recal = (adze_evaluator){.statistics = true};
    TRY(adze_evaluator_plan(&t->recal, t->ctx, t->model, t->store, ADZE_AVERAGE_PREFIX, batch, &t->o));
    const int64_t bytes = adze_plan_describe(t->recal.plan).arena_bytes;
    *arena = bytes > *arena ? bytes : *arena;
    return ADZE_OK;
}

int adze_average_bind(adze_trainer *t) {
    return t->recal.plan != NULL ? adze_evaluator_bind(&t->recal, t->store, ADZE_AVERAGE_PREFIX, t->steps.arena) : ADZE_OK;
}

int adze_average_step(adze_trainer *t) {
    const adze_train_opts *o = &t->o;
    const int64_t epoch = t->p.epoch - adze_average_start(o), left = adze_loader_batches(t->loader) - t->p.batch;
    if (o->average == ADZE_AVERAGE_NONE || epoch < 0) {
        return ADZE_OK;
    }
    if (o->average == ADZE_AVERAGE_SWA && (left > o->accumulate || (o->swa_cycle > 0 && (epoch + 1) % o->swa_cycle != 0))) {
        return ADZE_OK;
    }
    const double n = (double)t->p.averaged; /* ema: at first it forgets faster, or a short training would end near its start */
    const double more = o->average == ADZE_AVERAGE_EMA ? fmax(1 - o->ema_decay, 9 / (n + 10)) : 1 / (n + 1);
    TRY(adze_steps_average(&t->steps, t->p.averaged == 0 ? 1 : more));
    t->p.averaged++;
    return ADZE_OK;
}

int adze_average_settle(adze_trainer *t) {
    if (t->o.average == ADZE_AVERAGE_NONE) {
        return ADZE_OK;
    }
    if (t->p.averaged == 0) {
        return copy_slots(&t->steps, ADZE_SLOT_TRAINABLE | STATISTICS);
    }
    return t->recal.plan != NULL ? recalibrate(&t->recal, t->store, ADZE_AVERAGE_PREFIX, t->data, t->ids, t->ntrain, t->o.average_batches) : ADZE_OK;
}

bool adze_average_begins(const adze_trainer *t) {
    return t->o.average != ADZE_AVERAGE_NONE && t->p.epoch == first_epoch(&t->o);
}

/* -- files --------------------------------------------------------------------------------------------------------------------------------------- */

const char *adze_trainer_judged(const adze_trainer *t) {
    return t->o.average != ADZE_AVERAGE_NONE ? ADZE_AVERAGE_PREFIX : "";
}

/* The best epoch's model in a checkpoint, without prefix; NULL where what is judged in memory is saved. */
static int best_saved(adze_trainer *t, adze_model **m, adze_store **file) {
    char best[ADZE_CKPT_PATH] = "";
    *m = NULL, *file = NULL;
    if (t->dir != NULL && adze_path_join(best, sizeof best, t->dir, "best") != ADZE_OK) {
        return adze_fail(t->ctx, ADZE_EARG, "the path '%s' is too long", t->dir);
    }
    return best[0] == 0 || !adze_path_exists(t->ctx, best) ? ADZE_OK : adze_model_load_under(t->ctx, best, adze_trainer_judged(t), m, file);
}

int adze_trainer_save_model(adze_trainer *t, const char *path) {
    adze_model *m;
    adze_store *s;
    TRY(best_saved(t, &m, &s));
    const int st = adze_model_save(t->model, s != NULL ? s : t->store, s != NULL ? "" : adze_trainer_judged(t), path);
    adze_store_free(s);
    adze_model_free(m);
    return st;
}

int adze_trainer_take_saved(adze_trainer *t) {
    adze_model *m;
    adze_store *s;
    TRY(best_saved(t, &m, &s));
    int st = ADZE_OK;
    for (int i = 0; i < t->model->nparams && st == ADZE_OK; i++) {
        const char *slot = t->model->params[i].slot;
        char name[SLOT_NAME];
        adze_tensor from, to;
        snprintf(name, sizeof name, "%s%s", s != NULL ? "" : adze_trainer_judged(t), slot);
        st = adze_store_tensor(s != NULL ? s : t->store, adze_store_find(s != NULL ? s : t->store, name), &from);
        st = st == ADZE_OK ? adze_store_tensor(t->store, adze_store_find(t->store, slot), &to) : st;
        st = st == ADZE_OK ? adze_tensor_copy(t->ctx, to, from) : st;
    }
    adze_store_free(s);
    adze_model_free(m);
    return st;
}

int adze_trainer_snapshot(adze_trainer *t) {
    char path[ADZE_CKPT_PATH], name[64];
    const int64_t cycle = adze_snapshot_cycle(&t->o, t->p.epoch);
    if (t->dir == NULL || t->o.snapshots == 0 || adze_snapshot_cycle(&t->o, t->p.epoch + 1) == cycle) {
        return ADZE_OK;
    }
    snprintf(name, sizeof name, "snapshot-%lld.safetensors", (long long)cycle + 1);
    TRY(adze_path_join(path, sizeof path, t->dir, name));
    TRY(adze_trainer_check_finite(t));
    return adze_model_save(t->model, t->store, "", path);
}
