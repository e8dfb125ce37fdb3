/* The trainer: epochs of steps, validation, the best epoch, early stopping, checkpoints and callbacks. */
#include "train/trainer.h"

#include "core/type.h"
#include "model/layer.h"
#include "train/second.h"

#include <math.h>
#include <stdio.h>

enum { VAL_MOST = 5000, VAL_SHARE = 10 };

static const char *const stop_names[] = {"none", "all epochs done", "no improvement within the patience", "stopped on request", "diverged", "error"};

const char *adze_stop_name(adze_stop s) {
    return (size_t)s < ADZE_COUNT(stop_names) ? stop_names[s] : "unknown";
}

/* -- making one ---------------------------------------------------------------------------------------------------------------------------------- */

/* Splits the examples: [0, ntrain) train, [ntrain, ntrain + nval) validate. */
static int split_data(adze_trainer *t) {
    int64_t count = t->data->count, nval = t->o.val_count;
    if (nval < 0) {
        nval = count / VAL_SHARE < VAL_MOST ? count / VAL_SHARE : VAL_MOST;
    }
    if (nval >= count) {
        return adze_fail(t->ctx, ADZE_EARG, "option val_count: %lld of the %lld examples of '%s' leave none to train on", (long long)nval,
                         (long long)count, t->data->name);
    }
    t->ids = adze_alloc(t->ctx, count, sizeof *t->ids);
    TRY(ADZE_GOT(t->ids));
    TRY(adze_split_ids(t->ctx, count, nval, t->o.seed, t->ids));
    t->ntrain = count - nval;
    t->nval = t->o.limit_val > 0 && t->o.limit_val < nval ? t->o.limit_val : nval;
    int64_t *val = t->ids + t->ntrain;
    t->ntrain = t->o.limit_train > 0 && t->o.limit_train < t->ntrain ? t->o.limit_train : t->ntrain;
    memmove(t->ids + t->ntrain, val, (size_t)t->nval * sizeof *val);
    return t->nval > 0 || t->o.patience == 0 ? ADZE_OK : adze_fail(t->ctx, ADZE_EARG, "option patience needs validation examples: give val_count");
}

/* The border that makes the images as large as the model's input. */
static int choose_pad(adze_trainer *t, int64_t *pad) {
    adze_type want = adze_model_input_type(t->model, 1, ADZE_F32), have = t->data->example;
    *pad = t->o.pad >= 0 ? t->o.pad : 0;
    if (t->o.pad < 0 && want.rank == 4 && have.rank == 3) {
        *pad = (want.dims[1] - have.dims[0]) / 2 > 0 ? (want.dims[1] - have.dims[0]) / 2 : 0;
    }
    return adze_example_check(t->ctx, t->model, t->data, *pad);
}

static int prepare_model(adze_trainer *t) {
    if (t->o.drop_path[0]) {
        TRY(adze_model_set_drop_path(t->model, t->o.drop_path));
    }
    adze_preprocess p = *adze_model_preprocess(t->model);
    TRY(choose_pad(t, &p.pad));
    if (p.fixed && t->o.norm > 0) {
        return adze_fail(t->ctx, ADZE_EARG, "option norm: the preprocessing of model '%s' is fixed; take 'fixed: true' out of its file",
                         adze_model_name(t->model));
    }
    const int norm = t->o.norm > 0 ? t->o.norm - 1 : p.norm;
    const bool from_0 = t->o.loss == ADZE_LOSS_SIGMOID_XENT || t->o.loss == ADZE_LOSS_POISSON;
    if (t->o.target == ADZE_TARGET_INPUT && from_0 && norm != ADZE_NORM_NONE && norm != ADZE_NORM_MINMAX && norm != ADZE_NORM_MINMAX_FEATURE) {
        return adze_fail(t->ctx, ADZE_EARG, "loss %s wants targets from 0 %s: with target input, give norm none or minmax, not %s",
                         adze_loss_names[t->o.loss], t->o.loss == ADZE_LOSS_POISSON ? "on" : "to 1", adze_norm_names[norm]);
    }
    if (!p.fixed) {
        p.norm = norm;
        p.eps = t->o.zca_eps >= 0 ? t->o.zca_eps : p.eps;
        TRY(adze_preprocess_fit(t->ctx, t->data, t->ids, t->ntrain, &p));
    }
    adze_model_set_preprocess(t->model, &p);
    memcpy(t->model->data, t->data->name, sizeof t->model->data);
    adze_train_remember(&t->o, t->model);
    int classes = adze_model_classes(t->model);
    if (classes > 0 && t->data->classes > classes) {
        return adze_fail(t->ctx, ADZE_EARG, "data set '%s' has %d classes, but model '%s' tells %d apart", t->data->name, t->data->classes,
                         adze_model_name(t->model), classes);
    }
    if (adze_model_ends_in_softmax(t->model) && adze_loss_links(t->o.loss)) {
        return adze_fail(t->ctx, ADZE_EARG,
                         "model '%s' ends in a softmax, but loss %s wants the numbers before it: leave that layer out, prediction applies it",
                         adze_model_name(t->model), adze_loss_names[t->o.loss]);
    }
    if (t->data->class_names != NULL && t->model->nclass_names == 0 && t->data->classes == classes) {
        TRY(adze_model_set_class_names(t->model, t->data->class_names, classes));
    }
    return ADZE_OK;
}

/* What was fitted for each feature is saved with the weights, so that a checkpoint is a whole model. */
static int keep_features(adze_trainer *t) {
    const adze_preprocess *p = adze_model_preprocess(t->model);
    int slot;
    adze_tensor to;
    if (p->feature == NULL) {
        return ADZE_OK;
    }
    const adze_type type = adze_fitted_type(p, p->nfeature);
    TRY(adze_store_add(t->store, ADZE_FITTED_SLOT, type, ADZE_SLOT_STATE, &slot));
    TRY(adze_store_tensor(t->store, slot, &to));
    memcpy(adze_tensor_data(&to), p->feature, (size_t)adze_type_bytes(&type));
    return ADZE_OK;
}

static int open_loader(adze_trainer *t) {
    char augment[ADZE_OPTION_TEXT];
    TRY(adze_train_augment(t->ctx, &t->o, augment));
    adze_loader_opts lo = {.size = sizeof lo,
                           .batch = t->o.batch,
                           .shuffle = true,
                           .seed = t->o.seed,
                           .dtype = adze_train_dtype(&t->o),
                           .workers = (int)t->o.workers,
                           .augment = augment};
    return adze_loader_new(t->ctx, t->data, t->ids, t->ntrain, adze_model_preprocess(t->model), &lo, &t->loader);
}

static int trainer_init(adze_trainer *t, const char *dir) {
    TRY(adze_train_check(t->ctx, &t->o));
    adze_schedule_remark(t->ctx, &t->o);
    adze_idle_remarks(t->ctx, &t->o);
    TRY(split_data(t));
    TRY(prepare_model(t));
    TRY(adze_store_new(t->ctx, &t->store));
    TRY(adze_model_init(t->model, t->store, adze_train_dtype(&t->o), t->o.seed));
    TRY(keep_features(t));
    TRY(adze_trainer_dictionaries(t));
    TRY(adze_trainer_lsuv(t));
    TRY(open_loader(t));
    TRY(adze_trainer_plans(t));
    if (dir == NULL) {
        return ADZE_OK;
    }
    t->dir = adze_strdup(t->ctx, dir);
    TRY(ADZE_GOT(t->dir));
    TRY(adze_make_dirs(t->ctx, dir));
    return adze_ckpt_clean(t->ctx, dir);
}

int adze_trainer_new(adze_ctx *ctx, adze_model *m, const adze_dataset *train, const adze_train_opts *o, const char *dir, const adze_callbacks *cb,
                     adze_trainer **out) {
    *out = NULL;
    adze_trainer *t = adze_alloc(ctx, 1, sizeof *t);
    TRY(ADZE_GOT(t));
    t->ctx = ctx;
    t->model = m;
    t->data = train;
    t->o = *o;
    t->cb = cb != NULL ? *cb : (adze_callbacks){0};
    t->p.best_epoch = t->p.best_step = -1;
    int st = trainer_init(t, dir);
    if (st != ADZE_OK) {
        adze_trainer_free(t);
        return st;
    }
    *out = t;
    return ADZE_OK;
}

void adze_trainer_free(adze_trainer *t) {
    if (t == NULL) {
        return;
    }
    adze_ctx *ctx = t->ctx;
    adze_loader_free(t->loader);
    adze_evaluator_close(&t->eval);
    adze_evaluator_close(&t->recal);
    if (t->steps.ctx != NULL) {
        adze_steps_close(&t->steps);
    }
    adze_store_free(t->store);
    adze_free(ctx, t->ids);
    adze_free(ctx, t->scores);
    adze_free(ctx, t->history);
    adze_free(ctx, t->dir);
    adze_free(ctx, t);
}

/* -- asking it ----------------------------------------------------------------------------------------------------------------------------------- */

void adze_trainer_request_stop(adze_trainer *t) {
    atomic_store(&t->stop_requested, 1);
}

void adze_trainer_request_save(adze_trainer *t) {
    atomic_store(&t->save_requested, 1);
}

adze_store *adze_trainer_store(adze_trainer *t) {
    return t->store;
}

const char *adze_trainer_last_checkpoint(const adze_trainer *t) {
    return t->last;
}

int64_t adze_trainer_step(const adze_trainer *t) {
    return t->p.step;
}

int64_t adze_trainer_history(const adze_trainer *t, const adze_epoch_stats **stats) {
    *stats = t->history;
    return t->nhistory;
}

/* Room for one more epoch. */
static int history_room(adze_trainer *t) {
    if (t->nhistory == t->cap_history) {
        int64_t cap = t->cap_history > 0 ? 2 * t->cap_history : 16;
        adze_epoch_stats *more = adze_resize(t->ctx, t->history, t->cap_history, cap, sizeof *more);
        TRY(ADZE_GOT(more));
        t->history = more;
        t->cap_history = cap;
    }
    return ADZE_OK;
}

/* -- a step -------------------------------------------------------------------------------------------------------------------------------------- */

static int64_t batches_per_epoch(const adze_trainer *t) {
    return adze_loader_batches(t->loader);
}

static int64_t steps_per_epoch(const adze_trainer *t) {
    return (batches_per_epoch(t) + t->o.accumulate - 1) / t->o.accumulate;
}

/* The schedule's rate, with the cuts that a plateau made. */
static double rate_at(const adze_trainer *t, int64_t step) {
    const double lr = adze_schedule_lr(&t->o, step, steps_per_epoch(t), steps_per_epoch(t) * t->o.epochs);
    return t->p.cuts > 0 ? fmax(lr * pow(t->o.gamma, (double)t->p.cuts), fmin(t->o.min_lr, lr)) : lr;
}

/* Examples of the update that begins with this batch of the epoch. */
static int64_t update_examples(const adze_trainer *t) {
    int64_t left = t->ntrain - t->p.batch * t->o.batch, whole = t->o.batch * t->o.accumulate;
    return left < whole ? left : whole;
}

static int64_t next_batch_size(const adze_trainer *t, int64_t batch) {
    int64_t left = t->ntrain - batch * t->o.batch;
    return left < t->o.batch ? left : t->o.batch;
}

typedef struct step_sums { /* of one update */
    double loss, error;
    int64_t n, right, batches, last;
} step_sums;

static void tally_batch(adze_trainer *t, const adze_grad_plan *g, int64_t n, step_sums *s) {
    adze_type y = adze_tensor_type(&g->y);
    const int64_t *label = adze_tensor_data(&g->label);
    for (int64_t i = 0; i < n; i++) {
        s->loss += adze_tensor_get(&g->loss, i);
        if (t->o.target == ADZE_TARGET_INPUT) {
            s->error += adze_tensor_get(&g->error, i);
            continue;
        }
        adze_scores_row(&g->y, i, y.dims[1], t->scores);
        s->right += adze_scores_rank(t->scores, y.dims[1], label[i]) == 0;
    }
    s->n += n;
    s->batches++;
}

static int diverged_by(adze_trainer *t, const char *why) {
    return adze_fail(t->ctx, ADZE_ENAN, "training diverged at epoch %lld, step %lld: %s; a smaller lr or a clip_norm may help%s%s",
                     (long long)t->p.epoch + 1, (long long)t->p.step + 1, why, t->last[0] != 0 ? "; the last good checkpoint is " : "", t->last);
}

static int diverged(adze_trainer *t, adze_grad_plan *g, const char *what) {
    char name[160] = "", why[256];
    TRY(adze_steps_restore(&t->steps));
    TRY(adze_steps_forget(&t->steps)); /* else the gradients would be named, not what spoilt them */
    const int st = adze_session_find_nonfinite(g->session, name, sizeof name);
    snprintf(why, sizeof why, "the %s is not finite%s%s", what, name[0] != 0 ? "; first bad tensor: " : "", name);
    (void)diverged_by(t, why);
    return st == ADZE_ENOMEM ? st : ADZE_ENAN;
}

/* What the gradient of this norm is multiplied by. The usual norm is a running mean in which none counts more than ten times the mean before it: an
 * explosion leaves it nearly where it was (Pascanu, Mikolov, Bengio, 2013, section 3.2: half to ten times the average is a good bound). */
static double clip_of(adze_trainer *t, double norm) {
    double most = t->o.clip_norm > 0 ? t->o.clip_norm : INFINITY;
    if (t->o.clip_auto > 0) {
        const double usual = t->p.usual_norm > 0 ? t->p.usual_norm : norm;
        t->p.usual_norm = usual + (fmin(norm, 10 * usual) - usual) * fmax(1 / (double)(t->p.step + 1), 0.01);
        most = t->o.clip_auto * usual;
    }
    return norm > most ? most / norm : 1;
}

static int update(adze_trainer *t, double lr, double norm) {
    const double usual = t->p.usual_norm;
    const int st = adze_steps_update(&t->steps, lr, t->p.step + 1, clip_of(t, norm));
    if (st != ADZE_OK) {
        t->p.usual_norm = usual;
    }
    if (st == ADZE_ENAN) {
        char why[256];
        snprintf(why, sizeof why, "%s", adze_errmsg(t->ctx));
        return diverged_by(t, why);
    }
    return st;
}

/* One batch's share of the update: fills the inputs, runs, adds its figures up. */
static int step_batch(adze_trainer *t, int64_t examples, step_sums *s, adze_grad_plan **used) {
    adze_grad_plan *g;
    int64_t want = next_batch_size(t, t->p.batch + s->batches), n = 0;
    TRY(adze_steps_grad(&t->steps, want, s->batches > 0, &g));
    *used = g;
    TRY(adze_loader_next_mixed(t->loader, g->x, g->label, g->other, g->share, &n));
    if (n == 0) { /* that was the end of the epoch before */
        TRY(adze_loader_next_mixed(t->loader, g->x, g->label, g->other, g->share, &n));
    }
    if (n != want) {
        return adze_fail(t->ctx, ADZE_EBUG, "the loader gave %lld examples where %lld were due", (long long)n, (long long)want);
    }
    adze_tensor_set(&g->weight, 0, 1.0 / (double)examples);
    adze_session_random(g->session, t->o.seed, (uint64_t)t->p.step, s->batches * t->o.batch);
    TRY(adze_model_draw_depth(t->model, g->session, t->o.seed, (uint64_t)t->p.step));
    TRY(adze_session_run(g->session));
    tally_batch(t, g, n, s);
    s->last = n;
    TRY(adze_second_see(&t->steps, g, n, s->n - n));
    return isfinite(s->loss) ? ADZE_OK : diverged(t, g, "loss");
}

/* Sam's second pass over the batch that the plan still holds, from weights up the slope. Statistics are those of the first, at the weights that stay.
 */
static int sharp_gradient(adze_trainer *t, adze_grad_plan *g, double *norm) {
    adze_steps *k = &t->steps;
    TRY(adze_steps_norm(k, false, norm));
    TRY(adze_steps_copy(k, k->state, k->nstate, k->first, true));
    TRY(adze_steps_climb(k, *norm));
    const int st = adze_session_run(g->session);
    TRY(adze_steps_return(k));
    TRY(adze_steps_copy(k, k->state, k->nstate, k->first, false));
    if (st != ADZE_OK) {
        (void)adze_steps_restore(&t->steps);
        return st;
    }
    TRY(adze_steps_norm(&t->steps, true, norm));
    return isfinite(*norm) ? ADZE_OK : diverged(t, g, "gradient");
}

/* One update. Nothing of store and progress changes unless all of it succeeds. */
static int trainer_step(adze_trainer *t, double *loss, double *lr) {
    int64_t examples = update_examples(t);
    step_sums s = {0};
    double norm = 0;
    adze_grad_plan *g = NULL;
    TRY(adze_steps_keep(&t->steps));
    while (s.n < examples) {
        int st = step_batch(t, examples, &s, &g);
        if (st != ADZE_OK) {
            (void)adze_steps_restore(&t->steps);
            return st;
        }
    }
    TRY(adze_steps_norm(&t->steps, true, &norm));
    if (!isfinite(norm)) {
        return diverged(t, g, "gradient");
    }
    if (t->o.sam > 0) {
        TRY(sharp_gradient(t, g, &norm));
    }
    *lr = rate_at(t, t->p.step);
    *loss = s.loss / (double)s.n;
    if (t->steps.second != NULL) {
        const adze_second_step u = {.last = g, .last_count = s.last, .examples = s.n, .loss = *loss, .lr = *lr, .step = t->p.step + 1};
        TRY(adze_second_take(&t->steps, &u));
    } else {
        TRY(update(t, *lr, norm));
    }
    TRY(adze_average_step(t));
    t->p.step++;
    t->p.batch += s.batches;
    t->p.seen += s.n;
    t->p.right += s.right;
    t->p.loss_sum += s.loss;
    t->p.error_sum += s.error;
    return ADZE_OK;
}

/* -- an epoch ------------------------------------------------------------------------------------------------------------------------------------ */

static bool stop_wanted(const adze_trainer *t) {
    return atomic_load(&t->stop_requested) != 0;
}

static int stopped(adze_trainer *t) {
    return adze_fail(t->ctx, ADZE_ESTOPPED, "stopped on request at epoch %lld, step %lld%s%s", (long long)t->p.epoch + 1, (long long)t->p.step,
                     t->last[0] != 0 ? "; saved " : "", t->last);
}

static int after_step(adze_trainer *t, double loss, double lr) {
    bool more = t->p.batch < batches_per_epoch(t);
    if (t->cb.step_end != NULL && t->cb.step_end(t->cb.user, t, t->p.step, steps_per_epoch(t), loss, lr) != 0) {
        adze_trainer_request_stop(t);
    }
    if (stop_wanted(t)) {
        TRY(adze_trainer_save(t));
        return stopped(t);
    }
    const bool wanted = atomic_exchange(&t->save_requested, 0) != 0; /* at the end of an epoch it is saved anyway */
    const bool due = wanted || (t->o.save_every > 0 && t->p.step % t->o.save_every == 0);
    return more && due ? adze_trainer_save(t) : ADZE_OK;
}

static int validate(adze_trainer *t, adze_epoch_stats *s) {
    adze_metrics m;
    s->val_loss = s->val_acc = s->val_error = NAN;
    TRY(adze_average_settle(t));
    if (t->nval == 0) {
        return ADZE_OK;
    }
    TRY(adze_evaluator_run(&t->eval, t->data, t->ids + t->ntrain, t->nval, &m));
    s->val_loss = m.loss;
    s->val_acc = m.classes > 0 ? m.acc : NAN;
    s->val_error = m.error;
    adze_metrics_free(t->ctx, &m);
    return ADZE_OK;
}

/* Without validation examples the training figure of the same kind decides; it says nothing about an average, of which the last is taken then. What
 * was best before an average began is forgotten, for the model is to be one. */
static void judge(adze_trainer *t, adze_epoch_stats *s) {
    bool by_loss = t->o.monitor == ADZE_MONITOR_VAL_LOSS || t->o.target == ADZE_TARGET_INPUT;
    double v = by_loss ? (t->nval > 0 ? s->val_loss : s->loss) : t->nval > 0 ? s->val_acc : s->acc;
    if (adze_average_begins(t) || (t->nval == 0 && t->o.average != ADZE_AVERAGE_NONE)) {
        t->p.best_epoch = -1;
    }
    double gain = by_loss ? t->p.best - v : v - t->p.best;
    s->best = t->p.best_epoch < 0 || isnan(t->p.best) || (gain > 0 && gain >= t->o.min_delta);
    if (s->best) {
        t->p.best = v;
        t->p.best_epoch = t->p.epoch;
        t->p.best_step = t->p.step;
        t->p.waited = 0;
    } else {
        t->p.waited++;
    }
    t->p.flat = s->best ? 0 : t->p.flat + 1;
    if (t->o.schedule == ADZE_PLATEAU && t->p.flat >= t->o.plateau_patience) {
        t->p.cuts++;
        t->p.flat = 0;
    }
    t->p.patience_over = t->o.patience > 0 && t->p.waited >= t->o.patience;
}

static int finish_epoch(adze_trainer *t, double start, double lr, int64_t seen_before) {
    double seconds = adze_now() - start, n = (double)t->p.seen;
    adze_epoch_stats s = {
        .epoch = t->p.epoch, .step = t->p.step, .examples = t->p.seen, .loss = t->p.loss_sum / n, .acc = (double)t->p.right / n, .lr = lr};
    s.items_per_s = (double)(t->p.seen - seen_before) / (seconds > 0 ? seconds : 1);
    s.wait_share = (adze_loader_wait(t->loader) - t->wait_before) / (seconds > 0 ? seconds : 1);
    s.error = t->o.target == ADZE_TARGET_INPUT ? t->p.error_sum / n : NAN;
    TRY(validate(t, &s));
    TRY(adze_trainer_snapshot(t)); /* before the checkpoint: who is killed between them writes it again */
    TRY(history_room(t));
    s.seconds = adze_now() - start;
    judge(t, &s);
    t->history[t->nhistory++] = s;
    t->p.epoch++;
    t->p.batch = t->p.seen = t->p.right = 0;
    t->p.loss_sum = t->p.error_sum = 0;
    t->unsaved = true;
    TRY(adze_trainer_save(t));
    if (t->cb.epoch_end != NULL && t->cb.epoch_end(t->cb.user, t, &s) != 0) {
        adze_trainer_request_stop(t);
    }
    return ADZE_OK;
}

static int run_epoch(adze_trainer *t) {
    int64_t seen = t->p.seen;
    double start = adze_now(), loss = 0, lr = rate_at(t, t->p.step > 0 ? t->p.step - 1 : 0);
    t->wait_before = adze_loader_wait(t->loader);
    while (t->p.batch < batches_per_epoch(t)) {
        TRY(trainer_step(t, &loss, &lr));
        TRY(after_step(t, loss, lr));
    }
    return finish_epoch(t, start, lr, seen);
}

/* A folder with another training's checkpoints is not written into: a later resume could not tell them apart. */
static int check_folder(adze_trainer *t) {
    int64_t *steps = NULL, n = 0;
    if (t->dir == NULL || t->resumed || t->p.step > 0) {
        return ADZE_OK;
    }
    TRY(adze_ckpt_steps(t->ctx, t->dir, &steps, &n));
    adze_free(t->ctx, steps);
    return n == 0 ? ADZE_OK : adze_fail(t->ctx, ADZE_EARG, "'%s' already holds checkpoints: resume from them, or choose another folder", t->dir);
}

static int run_epochs(adze_trainer *t) {
    TRY(check_folder(t));
    if (t->unsaved) {
        TRY(adze_trainer_save(t));
    }
    TRY(adze_loader_seek(t->loader, t->p.epoch, t->p.batch));
    while (t->p.epoch < t->o.epochs && !t->p.patience_over) {
        if (stop_wanted(t)) {
            return stopped(t);
        }
        TRY(run_epoch(t));
    }
    return ADZE_OK;
}

int adze_trainer_run(adze_trainer *t, adze_stop *why) {
    int st = ADZE_OK;
    adze_stop reason = ADZE_STOP_ERROR;
    if (t->cb.train_begin != NULL && t->cb.train_begin(t->cb.user, t) != 0) {
        adze_trainer_request_stop(t);
    }
    st = run_epochs(t);
    if (st == ADZE_OK) {
        reason = t->p.patience_over ? ADZE_STOP_PATIENCE : ADZE_STOP_EPOCHS;
    } else if (st == ADZE_ENAN) {
        reason = ADZE_STOP_NAN;
    } else if (st == ADZE_ESTOPPED) {
        reason = ADZE_STOP_REQUEST;
        atomic_store(&t->stop_requested, 0);
    }
    if (t->cb.train_end != NULL) {
        t->cb.train_end(t->cb.user, t, reason);
    }
    if (why != NULL) {
        *why = reason;
    }
    return st;
}
