/* Training: options, schedules, metrics, the trainer and its checkpoints. */
#ifndef ADZE_TRAIN_H
#define ADZE_TRAIN_H

#include "data.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct adze_train_opts { /* adze_train_fields drives the command line, config.yaml and the checkpoint */
    int64_t epochs;
    int64_t batch, accumulate; /* examples held at once; batches of one update */
    int64_t val_count;         /* -1: a tenth, at most 5,000 */
    uint64_t seed;
    int32_t optimizer, schedule, loss, dtype; /* enums: adze_train_fields has their names */
    double lr;                                /* 0: the optimiser's usual one */
    double momentum, weight_decay, l2, beta1, beta2, eps;
    double warmup_epochs, min_lr, gamma;
    int64_t step_epochs;
    double clip_value, clip_norm;
    double label_smoothing, huber_delta, focal_gamma;
    int64_t patience; /* early stopping: validation checks without improvement; 0: off */
    double min_delta;
    int32_t monitor; /* val_loss, val_acc */
    int64_t shift;   /* the same as crop:pad=SHIFT and hflip at the end of augment */
    bool hflip;
    char augment[384];              /* what is done to training pictures: adze_augmentation_at has the table */
    int64_t save_every;             /* steps between checkpoints within an epoch; 0: at epochs only */
    int64_t limit_train, limit_val; /* examples; 0: all */
    int64_t pad;                    /* border of the images; -1: what the model's input needs */
    int32_t precision;              /* of arithmetic and of what lies between layers: full (the dtype), bf16 (mixed) */
    int32_t norm;                   /* 0: as the model says, else 1 + adze_norm */
    bool lsuv;                      /* first weights are scaled on a batch of data (Mishkin and Matas 2016) */
    int64_t workers;                /* threads that prepare batches; results never depend on it */
    bool bias_correction, centered; /* adam and its kin; rmsprop */
    double grow, shrink, trust;     /* rprop and delta_bar_delta; lars */
    double clip_tensor, clip_agc;   /* gradients cut tensor by tensor; 0: off */
    int64_t lookahead_k;            /* steps between two moves of the slow weights; 0: off */
    double lookahead_alpha, sam;    /* sam: radius; 0: off */
    adze_ints milestones;           /* schedules: epochs of the cuts */
    double power, cycle_factor, rise_share, start_div;
    int64_t cycle_epochs, plateau_patience;
    char groups[192];                                                        /* PATTERN:lr=FACTOR,decay=FACTOR;... */
    int32_t target;                                                          /* of the loss: label, input (an autoencoder's) */
    double damping, overlap, cg_decay, kfac_stats, kfac_products, kfac_keep; /* of second-order optimisers: the fields' table says which */
    int64_t lbfgs_m, inner, cg_steps, kfac_invert_every, kfac_gamma_every, kfac_lambda_every;
    bool kfac_momentum;
} adze_train_opts;
ADZE_API const adze_field *adze_train_fields(void);
/* Row i of the table of optimisers: name, formula, and settings with the paper (at most 400 bytes into out); ADZE_EARG when there is none. */
ADZE_API int adze_optimizer_known(int i, const char **name, const char **formula, char *out, size_t n);
/* Checks every option against its table row: API structs are no more trusted than command lines. */
ADZE_API int adze_train_check(adze_ctx *ctx, const adze_train_opts *o);
ADZE_API adze_dtype adze_train_precision(const adze_train_opts *o); /* for adze_compile_opts.precision */
ADZE_API double adze_train_lr(const adze_train_opts *o);            /* the base learning rate: lr, or the optimiser's usual one */
ADZE_API double adze_train_l2(const adze_train_opts *o);            /* the L2 factor: l2, or the optimiser's usual one */

/* Losses, in the order of option `loss`. */
typedef struct adze_loss_info {
    const char *formula, *targets, *source; /* y: outputs, p: targets; means and sums go over an example's outputs; source: where it was proposed */
} adze_loss_info;
ADZE_API const adze_loss_info *adze_loss_at(int i); /* NULL past the end */
/* The loss o->loss (auto: softmax_xent) of each example: y (N, C), target (N, C) of y's dtype -> (N). gaussian: y (N, 2 C). */
ADZE_API int adze_loss_build(adze_graph *g, const adze_train_opts *o, adze_val y, adze_val target, adze_val *loss);

/* Learning rate at `step` (from 0) of `total` by the options' schedule; docs/guide.md has the formulas. */
ADZE_API double adze_schedule_lr(const adze_train_opts *o, int64_t step, int64_t steps_per_epoch, int64_t total);

typedef struct adze_metrics {
    int64_t count, classes;
    double loss, nll, acc, top5;
    int64_t *confusion; /* classes x classes, row: true class; owned by whoever asked */
    double error;       /* squared error of a reconstruction, summed over its numbers, mean of the examples; NaN where the target is a class */
    double *scores;     /* count x classes: the model's outputs, in the order of the examples; of adze_evaluate only, else NULL */
    int64_t *labels;    /* count, likewise */
    bool probabilities; /* scores are such; else softmax makes them */
} adze_metrics;

/* What follows from a confusion matrix and scores. A quotient of nothing is 0; classes that are neither there nor called are in no mean. */
typedef struct adze_class_report {
    int64_t count, called;             /* examples of the class, examples taken for it */
    double precision, recall, f1, auc; /* auc: against all other classes; NaN when there is nothing to compare */
} adze_class_report;
enum { ADZE_BINS = 15 };
typedef struct adze_bin { /* examples whose largest probability lies in a fifteenth of 0 to 1 */
    int64_t count;
    double confidence, accuracy; /* means; NaN of none */
} adze_bin;
typedef struct adze_fit { /* of predicted numbers to true ones */
    double mae, rmse, r2, spearman;
} adze_fit;
typedef struct adze_report {
    adze_class_report *of;             /* classes */
    adze_class_report macro, micro;    /* mean over classes; over all decisions (where precision, recall and f1 are the accuracy) */
    double matthews, perplexity, bits; /* bits for each label: of characters, bits per character */
    double brier, ece, mce;            /* mean squared error of all probabilities; mean and largest gap between confidence and accuracy */
    adze_bin bins[ADZE_BINS];
    adze_fit ordinal; /* of the expected class number to the label, for classes that are in order */
} adze_report;

typedef enum adze_stop { ADZE_STOP_NONE, ADZE_STOP_EPOCHS, ADZE_STOP_PATIENCE, ADZE_STOP_REQUEST, ADZE_STOP_NAN, ADZE_STOP_ERROR } adze_stop;
ADZE_API const char *adze_stop_name(adze_stop s);

typedef struct adze_epoch_stats {
    int64_t epoch, step, examples;
    double loss, acc, val_loss, val_acc, lr, seconds, items_per_s, wait_share;
    double error, val_error; /* squared error of a reconstruction, as in adze_metrics; NaN where the target is a class */
    bool best;
} adze_epoch_stats;

typedef struct adze_trainer adze_trainer;
typedef struct adze_callbacks { /* each returns 0 to go on, else training stops with ADZE_STOP_REQUEST; any may be NULL */
    void *user;
    int (*train_begin)(void *user, adze_trainer *t);
    int (*step_end)(void *user, adze_trainer *t, int64_t step, int64_t steps_per_epoch, double loss, double lr);
    int (*epoch_end)(void *user, adze_trainer *t, const adze_epoch_stats *s);
    int (*checkpoint)(void *user, adze_trainer *t, const char *path);
    void (*train_end)(void *user, adze_trainer *t, adze_stop why);
} adze_callbacks;

/* dir: where checkpoints go ("dir/last", "dir/best"), NULL for none. The model and the data outlive the trainer. */
ADZE_API int adze_trainer_new(adze_ctx *ctx, adze_model *m, const adze_dataset *train, const adze_train_opts *o, const char *dir,
                              const adze_callbacks *cb, adze_trainer **out);
ADZE_API void adze_trainer_free(adze_trainer *t);
ADZE_API int adze_trainer_resume(adze_trainer *t); /* continues from dir's newest complete checkpoint; ADZE_EARG when there is none */
ADZE_API int adze_trainer_run(adze_trainer *t, adze_stop *why);
ADZE_API void adze_trainer_request_stop(adze_trainer *t); /* async-signal-safe: finish the step, save, return ADZE_ESTOPPED */
ADZE_API void adze_trainer_request_save(adze_trainer *t); /* async-signal-safe: a checkpoint after this step, then on */
ADZE_API adze_store *adze_trainer_store(adze_trainer *t);
ADZE_API const char *adze_trainer_last_checkpoint(const adze_trainer *t); /* path of the file last saved or resumed from; "" for none */
/* All epochs so far, those before a resume included (their times are 0: a checkpoint holds results only). */
ADZE_API int64_t adze_trainer_history(const adze_trainer *t, const adze_epoch_stats **stats);
ADZE_API int64_t adze_trainer_step(const adze_trainer *t);   /* updates made so far */
ADZE_API int adze_trainer_save(adze_trainer *t);             /* a checkpoint now, between steps; callbacks may call it */
ADZE_API int64_t adze_trainer_memory(const adze_trainer *t); /* bytes the plans and the store need, known before the first step */

/* Judges a model on (a part of) a data set: the last batch is padded and masked, sums are divided by the true count. */
ADZE_API int adze_evaluate(adze_ctx *ctx, const adze_model *m, adze_store *s, const char *prefix, const adze_dataset *d, const int64_t *ids,
                           int64_t n, int64_t batch, adze_metrics *out);
ADZE_API void adze_metrics_free(adze_ctx *ctx, adze_metrics *m);
ADZE_API int adze_metrics_report(adze_ctx *ctx, const adze_metrics *m, adze_report *out); /* m with scores */
ADZE_API void adze_report_free(adze_ctx *ctx, adze_report *r);
ADZE_API double adze_metrics_top(const adze_metrics *m, int64_t k); /* share of examples whose class is among the k best; m with scores */
/* Area under the ROC curve: the share of pairs in which the positive example scores higher, ties half. NaN when one side is empty. */
ADZE_API int adze_auc(adze_ctx *ctx, const double *score, const bool *positive, int64_t n, double *out);
ADZE_API int adze_fit_numbers(adze_ctx *ctx, const double *truth, const double *predicted, int64_t n, adze_fit *out);
/* Class probabilities (n, classes) of n preprocessed examples x (n, ...). */
ADZE_API int adze_predict(adze_ctx *ctx, const adze_model *m, adze_store *s, adze_tensor x, adze_tensor *probs);

#ifdef __cplusplus
}
#endif
#endif
