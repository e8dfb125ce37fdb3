/* Saving a training and going on with it: what a checkpoint must agree with, and what is done when the newest is damaged. */
#include "train/trainer.h"

#include "model/layer.h"

#include <math.h>
#include <stdio.h>

enum { META = 8, EXCERPT = 48 };

/* -- what every checkpoint says about the training it belongs to ------------------------------------------------------------------------------- */

typedef struct identity {
    char *model, *preprocess, *classes, *options;
    char data[64];
} identity;

static void identity_free(adze_ctx *ctx, identity *d) {
    adze_free(ctx, d->model);
    adze_free(ctx, d->preprocess);
    adze_free(ctx, d->classes);
    adze_free(ctx, d->options);
}

static int identity_fill(adze_trainer *t, identity *d) {
    adze_text pre = {.ctx = t->ctx}, classes = {.ctx = t->ctx};
    snprintf(d->data, sizeof d->data, "%016llx%016llx", (unsigned long long)t->data->fingerprint[0], (unsigned long long)t->data->fingerprint[1]);
    TRY(adze_options_print(t->ctx, &t->o, &d->options));
    TRY(adze_model_print(t->model, ADZE_PRINT_NET, &d->model));
    adze_preprocess_print(adze_model_preprocess(t->model), false, &pre);
    TRY(adze_text_finish(&pre, &d->preprocess));
    if (t->model->nclass_names > 0) {
        adze_class_names_print(t->model, false, &classes);
        TRY(adze_text_finish(&classes, &d->classes));
    }
    return ADZE_OK;
}

/* -- saving -------------------------------------------------------------------------------------------------------------------------------------- */

static bool is_number(adze_dtype d) {
    return d == ADZE_F32 || d == ADZE_F64;
}

static bool all_finite(const void *data, int64_t n, bool f64) {
    const float *f = data;
    const double *d = data;
    for (int64_t i = 0; i < n; i++) {
        if (!(f64 ? isfinite(d[i]) : isfinite(f[i]))) {
            return false;
        }
    }
    return true;
}

int adze_trainer_check_finite(adze_trainer *t) {
    for (int i = 0; i < adze_store_count(t->store); i++) {
        adze_tensor s;
        if (adze_store_flags(t->store, i) & ADZE_SLOT_TEMP || !is_number(adze_store_type(t->store, i).dtype)) {
            continue;
        }
        TRY(adze_store_tensor(t->store, i, &s));
        adze_type type = adze_tensor_type(&s);
        if (!all_finite(adze_tensor_data(&s), adze_type_count(&type), s.dtype == ADZE_F64)) {
            return adze_fail(t->ctx, ADZE_ENAN, "training diverged at step %lld: '%s' is no longer finite; a smaller lr or a clip_norm may help",
                             (long long)t->p.step, adze_store_name(t->store, i));
        }
    }
    return ADZE_OK;
}

static int save_as(adze_trainer *t, const identity *d) {
    char *state = NULL;
    TRY(adze_progress_print(t, &state));
    adze_meta meta[META] = {
        {"adze.checkpoint", "1"}, {"adze.data", d->data}, {"adze.model", d->model}, {"adze.options", d->options}, {"adze.preprocess", d->preprocess}};
    int n = META - 3;
    meta[n++] = (adze_meta){"adze.dataset", t->model->data};
    meta[n++] = (adze_meta){"adze.training", t->model->training};
    if (d->classes != NULL) {
        meta[n++] = (adze_meta){"adze.classes", d->classes};
    }
    adze_ckpt c = {.step = t->p.step, .best_step = t->p.best_step, .state = state, .meta = meta, .nmeta = n};
    char path[ADZE_CKPT_PATH];
    int st = adze_ckpt_save(t->ctx, t->dir, t->store, &c, path);
    adze_free(t->ctx, state);
    if (st == ADZE_OK) {
        memcpy(t->last, path, strlen(path) + 1);
    }
    return st;
}

int adze_trainer_save(adze_trainer *t) {
    if (t->dir == NULL) {
        return ADZE_OK;
    }
    TRY(adze_trainer_check_finite(t));
    identity d = {0};
    int st = identity_fill(t, &d);
    if (st == ADZE_OK) {
        st = save_as(t, &d);
    }
    identity_free(t->ctx, &d);
    t->unsaved = t->unsaved && st != ADZE_OK;
    if (st == ADZE_OK && t->cb.checkpoint != NULL && t->cb.checkpoint(t->cb.user, t, t->last) != 0) {
        adze_trainer_request_stop(t);
    }
    return st;
}

/* -- resuming ------------------------------------------------------------------------------------------------------------------------------------ */

/* Equal, or a message that shows both texts from shortly before their first difference. */
static int match_text(adze_ctx *ctx, const char *what, const char *file, const char *then, const char *now) {
    size_t i = 0;
    while (then[i] != 0 && then[i] == now[i]) {
        i++;
    }
    if (then[i] == now[i]) {
        return ADZE_OK;
    }
    size_t from = i > EXCERPT / 2 ? i - EXCERPT / 2 : 0;
    return adze_fail(ctx, ADZE_EARG, "cannot resume from '%s': the %s differs: it was '...%.*s...' and is now '...%.*s...'", file, what, EXCERPT,
                     then + from, EXCERPT, now + from);
}

static int match_identity(adze_trainer *t, const adze_safetensors *f, const char *file, const identity *d) {
    const char *model = adze_safetensors_meta(f, "adze.model"), *options = adze_safetensors_meta(f, "adze.options");
    const char *data = adze_safetensors_meta(f, "adze.data"), *pre = adze_safetensors_meta(f, "adze.preprocess");
    if (model == NULL || options == NULL || data == NULL || pre == NULL) {
        return adze_fail(t->ctx, ADZE_EFORMAT, "'%s' is no checkpoint of a training: its metadata lacks model, options, data or preprocess", file);
    }
    TRY(match_text(t->ctx, "model", file, model, d->model));
    if (strcmp(data, d->data) != 0) {
        return adze_fail(t->ctx, ADZE_EARG, "cannot resume from '%s': the training data differ: fingerprint %s then, %s ('%s', %lld examples) now",
                         file, data, d->data, t->data->name, (long long)t->data->count);
    }
    TRY(adze_options_match(t->ctx, options, file, &t->o));
    return match_text(t->ctx, "preprocessing", file, pre, d->preprocess);
}

/* Everything is read and checked before anything of the trainer changes. */
static int resume_file(adze_trainer *t, const adze_safetensors *f, const char *file, const identity *d) {
    const char *state;
    int64_t n, nhistory = 0;
    adze_progress p;
    adze_epoch_stats *history = NULL;
    TRY(match_identity(t, f, file, d));
    TRY(adze_ckpt_state(t->ctx, f, file, &state, &n));
    TRY(adze_progress_parse(t->ctx, state, n, file, &p, &history, &nhistory));
    int st = p.batch <= adze_loader_batches(t->loader) && nhistory == p.epoch
                 ? ADZE_OK
                 : adze_fail(t->ctx, ADZE_EFORMAT, "'%s': its progress does not fit its data", file);
    if (st == ADZE_OK) {
        st = adze_ckpt_restore(t->ctx, f, file, t->store);
    }
    if (st != ADZE_OK) {
        adze_free(t->ctx, history);
        return st;
    }
    adze_free(t->ctx, t->history);
    t->history = history;
    t->nhistory = t->cap_history = nhistory;
    t->p = p;
    t->resumed = true;
    memcpy(t->last, file, strlen(file) + 1);
    return ADZE_OK;
}

static int resume_step(adze_trainer *t, int64_t step, const identity *d) {
    char path[ADZE_CKPT_PATH];
    adze_safetensors *f = NULL;
    TRY(adze_ckpt_path(t->ctx, t->dir, step, path));
    TRY(adze_safetensors_open(t->ctx, path, &f));
    int st = resume_file(t, f, path, d);
    adze_safetensors_close(f);
    return st;
}

/* Newest first. A damaged file is passed over with a note; a disagreement ends the search, for older files would disagree too. */
static int resume_any(adze_trainer *t, const int64_t *steps, int64_t n, const identity *d) {
    int st = ADZE_EFORMAT;
    for (int64_t i = 0; i < n; i++) {
        st = resume_step(t, steps[i], d);
        if (st == ADZE_OK && i > 0) {
            adze_note(t->ctx, ADZE_WARN, "resumed from '%s', %lld updates old: newer checkpoints are damaged", t->last,
                      (long long)(steps[0] - steps[i]));
        }
        if (st != ADZE_EFORMAT && st != ADZE_EIO) {
            return st;
        }
        adze_note(t->ctx, ADZE_WARN, "the checkpoint of step %lld cannot be used: %s", (long long)steps[i], adze_errmsg(t->ctx));
    }
    return adze_fail(t->ctx, st, "none of the %lld checkpoints in '%s' can be read; the last one tried: %s", (long long)n, t->dir,
                     adze_errmsg(t->ctx));
}

int adze_trainer_resume(adze_trainer *t) {
    if (t->dir == NULL) {
        return adze_fail(t->ctx, ADZE_EARG, "this training has no folder for checkpoints to resume from");
    }
    int64_t *steps = NULL, n = 0;
    TRY(adze_ckpt_steps(t->ctx, t->dir, &steps, &n));
    identity d = {0};
    int st = n == 0 ? adze_fail(t->ctx, ADZE_EARG, "there is no checkpoint in '%s' to resume from", t->dir) : identity_fill(t, &d);
    if (st == ADZE_OK) {
        st = resume_any(t, steps, n, &d);
    }
    if (st == ADZE_OK) { /* a save may have died between its file and its links */
        st = adze_ckpt_links(t->ctx, t->dir, t->p.step, t->p.best_step);
    }
    identity_free(t->ctx, &d);
    adze_free(t->ctx, steps);
    return st;
}
