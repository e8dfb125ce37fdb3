/* The trainer's inside: what changes while it runs (and is saved), and what is built once. */
#ifndef ADZE_SRC_TRAINER_H
#define ADZE_SRC_TRAINER_H

#include "train/checkpoint.h"
#include "train/evaluate.h"
#include "train/steps.h"

#include <stdatomic.h>

typedef struct adze_progress {     /* all state that is no tensor: with the store, this is the whole training */
    int64_t epoch, batch, step;    /* epochs done, batches done in this one, updates done in all */
    int64_t seen, right;           /* of this epoch so far */
    double loss_sum, error_sum;    /* likewise */
    double usual_norm;             /* of gradients, for clip_auto; 0: none seen */
    double best;                   /* monitored value of the best epoch */
    int64_t best_epoch, best_step; /* -1: none yet */
    int64_t waited;                /* epochs without improvement */
    bool patience_over;
    int64_t averaged;   /* weights in the average so far */
    int64_t cuts, flat; /* schedule plateau: cuts of the rate so far; epochs without improvement since the last */
} adze_progress;

struct adze_trainer {
    adze_ctx *ctx;
    adze_model *model;
    const adze_dataset *data;
    adze_train_opts o, settled; /* as asked for; with the prior as l2 or l1 */
    adze_callbacks cb;
    char *dir; /* NULL: no checkpoints */
    bool resumed;
    bool unsaved; /* an epoch ended, but its checkpoint failed: the next run begins with it */
    atomic_int stop_requested, save_requested;
    adze_store *store;
    adze_steps steps;
    adze_evaluator eval, recal; /* recal: for averaged weights of a model with batchnorm, else closed */
    adze_loader *loader;
    int64_t *ids; /* ntrain training examples, then nval validation examples */
    int64_t ntrain, nval;
    double *scores; /* one row */
    adze_progress p;
    adze_epoch_stats *history;
    int64_t nhistory, cap_history;
    double wait_before; /* the loader's wait when the epoch (or its rest) began */
    char last[ADZE_CKPT_PATH];
};

/* -- state.c -- */
int adze_progress_print(const adze_trainer *t, char **json);
int adze_progress_parse(adze_ctx *ctx, const char *json, int64_t n, const char *file, adze_progress *p, adze_epoch_stats **history,
                        int64_t *nhistory);
/* ADZE_EARG naming the first option that differs between the file's and ours; epochs may be raised. */
int adze_options_match(adze_ctx *ctx, const char *json, const char *file, const adze_train_opts *ours);
int adze_options_print(adze_ctx *ctx, const adze_train_opts *o, char **json);

/* -- plans.c -- */
int adze_trainer_plans(adze_trainer *t); /* all that its batches will want, fitted into the memory and bound */

/* -- lsuv.c -- */
int adze_trainer_lsuv(adze_trainer *t);                             /* when option lsuv is on */
int adze_trainer_first_batch(const adze_trainer *t, adze_tensor x); /* fills x, an input of no more examples than are trained on */

/* -- dictionary.c -- */
int adze_trainer_dictionaries(adze_trainer *t); /* of layers omp that start from the data */

/* -- average.c -- */
int adze_average_plan(adze_trainer *t, int64_t *arena); /* of recal; raises *arena to what it wants */
int adze_average_bind(adze_trainer *t);
int adze_average_step(adze_trainer *t);                 /* after an update, before the progress counts it */
int adze_average_settle(adze_trainer *t);               /* at the end of an epoch: makes "avg/" a model to be judged */
bool adze_average_begins(const adze_trainer *t);        /* with this epoch, the first that is judged by an average */
const char *adze_trainer_judged(const adze_trainer *t); /* prefix of the slots that are judged and become the model */
int adze_trainer_take_saved(adze_trainer *t);           /* the store's weights and statistics become those that adze_trainer_save_model writes */
int adze_trainer_snapshot(adze_trainer *t);             /* at the end of an epoch: where a cycle ends with it */

/* -- resume.c -- */
int adze_trainer_check_finite(adze_trainer *t); /* no checkpoint of a diverged model */

#endif
