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
    double clip_value, clip_norm, clip_auto;
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
    char groups[192];                        /* PATTERN:lr=FACTOR,decay=FACTOR,maxnorm=C;... */
    double zca_eps;                          /* norm zca; -1: as the model says */
    double l1, maxnorm;                      /* factor of the sum of absolute weights; bound of each unit's incoming weights; 0: off */
    int32_t l1_mode;                         /* prox: soft threshold after the update; subgrad: the sign is added to the gradient */
    char prior[48];                          /* gauss:S, laplace:B: deviation or scale of each weight; sets l2 and l1 */
    char activity_l1[160], activity_kl[160]; /* LAYER=A,..., LAYER=A:RHO,...: penalties on what layers give */
    char drop_path[32];                      /* stochastic depth: adze_model_set_drop_path; "": as the model says */
    int32_t average;                         /* none, polyak, ema, swa: what is judged and becomes the model */
    double ema_decay, swa_lr;                /* swa_lr: 0: half of lr */
    int64_t average_start, swa_start, swa_cycle, average_batches; /* epochs; swa_start: -1: three quarters; swa_cycle: 0: a constant rate */
    int64_t snapshots;                                            /* equal cycles of restarts, a model at the end of each; 0: off */
    int32_t target;                                               /* of the loss: label, input (an autoencoder's) */
    double damping, overlap, cg_decay, kfac_stats, kfac_products, kfac_keep; /* of second-order optimisers: the fields' table says which */
    int64_t lbfgs_m, inner, cg_steps, kfac_invert_every, kfac_gamma_every, kfac_lambda_every;
    bool kfac_momentum;
    int32_t muon_scale;                              /* rms, original */
    int64_t precond_every, precond_most, muon_steps; /* shampoo, soap; muon */
} adze_train_opts;
ADZE_API const adze_field *adze_train_fields(void);
/* Row i of the table of optimisers: name, formula, and settings with cost and paper (500 bytes of out are enough); ADZE_EARG when there is none. */
ADZE_API int adze_optimizer_known(int i, const char **name, const char **formula, char *out, size_t n);
/* Checks every option against its table row: API structs are no more trusted than command lines. */
ADZE_API int adze_train_check(adze_ctx *ctx, const adze_train_opts *o);
ADZE_API adze_dtype adze_train_precision(const adze_train_opts *o); /* for adze_compile_opts.precision */
ADZE_API double adze_train_lr(const adze_train_opts *o);            /* the base learning rate: lr, or the optimiser's usual one */
ADZE_API double adze_train_l2(const adze_train_opts *o);            /* the L2 factor: l2, or the optimiser's usual one */
/* out = o with the prior written as what it stands for with n training examples: gauss:S as l2 = 1 / (S^2 n), laplace:B as l1 = 1 / (B n). */
ADZE_API int adze_train_prior(adze_ctx *ctx, const adze_train_opts *o, int64_t n, adze_train_opts *out);

/* Defaults but for what a trainer has noted in the model (or its file): loss, target, label_smoothing, huber_delta and focal_gamma. */
ADZE_API int adze_train_recall(adze_ctx *ctx, const adze_model *m, adze_train_opts *out);

/* Losses, in the order of option `loss`. */
typedef struct adze_loss_info {
    const char *formula, *targets, *source,
        *cost; /* y: outputs, p: targets; means and sums go over an example's outputs; source: where it was proposed */
} adze_loss_info;
ADZE_API const adze_loss_info *adze_loss_at(int i); /* NULL past the end */
/* The loss o->loss (auto: softmax_xent) of each example: y (N, C), target (N, C) of y's dtype -> (N). gaussian: y (N, 2 C). */
ADZE_API int adze_loss_build(adze_graph *g, const adze_train_opts *o, adze_val y, adze_val target, adze_val *loss);

typedef struct adze_schedule_info {
    const char *formula, *source; /* e: epochs so far, E: all of them, both without the warm-up's; source: where it was proposed, or NULL */
} adze_schedule_info;
ADZE_API const adze_schedule_info *adze_schedule_at(int i); /* NULL past the end */
/* Learning rate at `step` (from 0) of `total` by the options' schedule. */
ADZE_API double adze_schedule_lr(const adze_train_opts *o, int64_t step, int64_t steps_per_epoch, int64_t total);

/* Recipes: options of published results. Row i of the table; ADZE_EARG when there is none. */
typedef struct adze_recipe {
    const char *name, *doc, *paper; /* paper: where its figures stand */
    const char *options;            /* all that it sets, as option=value with blanks between */
} adze_recipe;
ADZE_API int adze_recipe_at(int i, adze_recipe *out);
/* Sets what the recipe of that name sets, in options that hold their defaults or a person's own; ADZE_EARG with the nearest name. */
ADZE_API int adze_recipe_apply(adze_ctx *ctx, const char *name, adze_train_opts *o);

typedef struct adze_fit { /* of predicted numbers to true ones */
    double mae, rmse, r2, spearman;
} adze_fit;
typedef struct adze_metrics {
    int64_t count, classes;
    double loss, nll, acc, top5;
    int64_t *confusion; /* classes x classes, row: true class; owned by whoever asked */
    double error;       /* squared error of a reconstruction, summed over its numbers, mean of the examples; NaN where the target is a class */
    double *scores;     /* count x classes: the model's outputs (of sigmoid_xent the logarithms of their sigmoids), in the order of the examples; of
                           adze_evaluate only, else NULL */
    int64_t *labels;    /* count, likewise */
    bool probabilities; /* scores are such; else softmax makes them, of sigmoid_xent the sigmoids over their sum, */
    bool numbers;       /* or nothing does, as for mse or hinge: nll is NaN, and so is in a report what is of probabilities (auc is of scores) */
    int64_t values;     /* of a reconstruction: numbers of an example, and, of adze_evaluate only, */
    adze_fit fit;       /* theirs to those that the model read, over all examples; r2: 1 - squared error / that of the mean example */
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
ADZE_API int64_t adze_trainer_step(const adze_trainer *t); /* updates made so far */
ADZE_API int adze_trainer_save(adze_trainer *t);           /* a checkpoint now, between steps; callbacks may call it */
/* The multipliers of the bounds that maxnorm sets, of the weights that adze_trainer_save_model would write, by the gradient of the whole training
 * set in the network as it is used: nothing augmented or dropped, statistics as they stand. A unit on its bound c has mu = -(g w) / (2 c^2), one
 * inside has 0; at a minimum mu >= 0 and residual = |g + 2 mu w| = 0, where g is the gradient of the loss with its l2 and l1 penalties. Goodfellow,
 * Bengio, Courville, Deep Learning 2016, 7.2. ADZE_EARG without maxnorm. */
typedef struct adze_maxnorm_unit {
    const char *param; /* "fc1:w"; the store's */
    int64_t unit;
    double limit, norm, mu, residual;
} adze_maxnorm_unit;
ADZE_API int adze_trainer_maxnorm(adze_trainer *t, adze_maxnorm_unit **units, int64_t *n); /* adze_maxnorm_free; between steps */
ADZE_API void adze_maxnorm_free(adze_trainer *t, adze_maxnorm_unit *units);
ADZE_API int64_t adze_trainer_memory(const adze_trainer *t); /* bytes the plans and the store need, known before the first step */

/* Judges a model on (a part of) a data set: the last batch is padded and masked, sums are divided by the true count. */
ADZE_API int adze_evaluate(adze_ctx *ctx, const adze_model *m, adze_store *s, const char *prefix, const adze_dataset *d, const int64_t *ids,
                           int64_t n, int64_t batch, adze_metrics *out);
/* What a network does in use with what training drops at random. */
enum {
    ADZE_DROPOUT_WEIGHT_SCALE, /* all units, scaled (Srivastava et al. 2014): one pass */
    ADZE_DROPOUT_MC,           /* the mean of the probabilities of `passes` networks drawn at random */
    ADZE_DROPOUT_GEO           /* their geometric mean, normalised again */
};
typedef struct adze_eval_opts {
    size_t size;
    int64_t batch;      /* 0: 250 */
    const char *prefix; /* of the store's slots; NULL: "" */
    int32_t dropout;    /* of dropout and DropConnect */
    int64_t passes;     /* networks drawn; with weight-scale by what a layer draws in use (fractional_maxpool; Graham 2014, section 4); 0: one */
    int64_t samples;    /* DropConnect by Gaussian moment matching with so many draws; 0: by mean weights */
    uint64_t seed;      /* of the draws */
    int64_t crops; /* adze_evaluate_with: mean of the probabilities of so many crops, as adze_dataset_crops cuts them; 0: the pictures as they are */
    int64_t crop_pad;             /* black pixels around the pictures before they are cut */
    const adze_train_opts *train; /* whose loss and target count; NULL: those that the model was trained with */
} adze_eval_opts;
/* Reads "weight-scale", "mc:50", "geo" or "geo:50" into dropout and passes, and "mean" or "gauss:100" into samples; either text may be NULL. */
ADZE_API int adze_eval_parse(adze_ctx *ctx, const char *dropout, const char *dropconnect, adze_eval_opts *o);
/* As adze_evaluate, adze_predict. The loss of several passes is the mean of theirs; everything else is of the averaged probabilities. The masks of an
 * example do not depend on the batch, but DropConnect's masks for batches do. */
ADZE_API int adze_evaluate_with(adze_ctx *ctx, const adze_model *m, adze_store *s, const adze_eval_opts *o, const adze_dataset *d, const int64_t *ids,
                                int64_t n, adze_metrics *out);
ADZE_API int adze_predict_with(adze_ctx *ctx, const adze_model *m, adze_store *s, const adze_eval_opts *o, adze_tensor x, adze_tensor *probs);
ADZE_API void adze_metrics_free(adze_ctx *ctx, adze_metrics *m);
ADZE_API int adze_metrics_report(adze_ctx *ctx, const adze_metrics *m, adze_report *out); /* m with scores */
ADZE_API void adze_report_free(adze_ctx *ctx, adze_report *r);
ADZE_API double adze_metrics_top(const adze_metrics *m, int64_t k); /* share of examples whose class is among the k best; m with scores */
/* Area under the ROC curve: the share of pairs in which the positive example scores higher, ties half. NaN when one side is empty. */
ADZE_API int adze_auc(adze_ctx *ctx, const double *score, const bool *positive, int64_t n, double *out);
ADZE_API int adze_fit_numbers(adze_ctx *ctx, const double *truth, const double *predicted, int64_t n, adze_fit *out);
/* Estimates batchnorm's running statistics anew (Izmailov et al. 2018, section 3.2), for weights that were averaged, changed, or meet other data:
 * mean and variance over the first `batches` batches (0: all) of `batch` examples ids[0 .. n) (NULL and 0: all of d), unaugmented, each layer reading
 * what the batch's own statistics make of it. Only whole batches count, at least one; layers but batchnorm work as in use. No bit depends on the
 * threads. A model without batchnorm stays as it is. */
ADZE_API int adze_recalibrate(adze_ctx *ctx, const adze_model *m, adze_store *s, const char *prefix, const adze_dataset *d, const int64_t *ids,
                              int64_t n, int64_t batch, int64_t batches);
/* Writes the trained model: the best epoch's weights from the checkpoints, those in memory without; averaged ones where the options have an average.
 */
ADZE_API int adze_trainer_save_model(adze_trainer *t, const char *path);
/* Class probabilities (n, classes) of n preprocessed examples x (n, ...); outputs where nothing makes probabilities of them (adze_metrics.numbers).
 */
ADZE_API int adze_predict(adze_ctx *ctx, const adze_model *m, adze_store *s, adze_tensor x, adze_tensor *probs);

/* Stochastic gradient descent on linear regression, many runs at once: x of standard normal numbers, y = x . 1 + sigma noise, a new example each
 * step, from 0, with the rate lr t^-power. The mean over runs of the squared distance to the solution, of the last iterate and of the mean of all
 * (Polyak and Juditsky 1992); optimal: sigma^2 dims / steps, what least squares on all the examples attains and no other unbiased estimate undercuts.
 */
typedef struct adze_regression {
    int64_t dims, steps, runs;
    double lr, power, sigma;
    uint64_t seed;
} adze_regression;
typedef struct adze_regression_result {
    double optimal, last, average;
} adze_regression_result;
ADZE_API int adze_average_regression(adze_ctx *ctx, const adze_regression *o, adze_regression_result *out);

/* -- ensembles: several models judge the same examples, each with its own preprocessing ------------------------------------------------- */

typedef enum adze_ensemble_mean {
    ADZE_MEAN_PROB,  /* p = sum of w_m p_m: its negative log-likelihood is at most the members' mean, by Jensen's inequality */
    ADZE_MEAN_LOGIT, /* p ~ exp(sum of w_m log p_m): softmax of the mean logits */
    ADZE_MEAN_VOTE   /* p = share of the votes; equal shares: the class of the larger mean probability, then the lower number */
} adze_ensemble_mean;
typedef struct adze_ensemble adze_ensemble;

typedef struct adze_score { /* of a member or of the whole, on `count` examples */
    double weight;          /* of a member, as a share of all; of the whole 1 */
    double error, nll;      /* share of wrong answers; mean -log p(label), infinite where a label has no probability */
    double brier, ece;      /* as in adze_report */
} adze_score;
typedef struct adze_ensemble_report {
    int64_t count, classes;
    int nmembers;
    adze_score *members;      /* in the order in which they came */
    adze_score mean, whole;   /* mean: of the members' figures, by weight */
    int best;                 /* the member of weight above 0 with the least error; equal: the lower nll, then the first */
    double *disagreement;     /* nmembers x nmembers: share of examples to which two give different answers */
    double mean_disagreement; /* over pairs of members of weight above 0; NaN of fewer than two */
    uint8_t *right;           /* (nmembers + 1) x count, 1 or 0; the last row is the whole's */
} adze_ensemble_report;
typedef struct adze_versus { /* the whole against one member, on the same examples */
    double gain;             /* in accuracy */
    double lo, hi;           /* 95 % of its bootstrap (Efron 1979) over examples */
    double p;                /* McNemar's */
} adze_versus;

ADZE_API int adze_ensemble_new(adze_ctx *ctx, adze_ensemble_mean mean, adze_ensemble **out);
ADZE_API void adze_ensemble_free(adze_ensemble *e);
/* A member: a model file, or a model with its store, which are borrowed. weight >= 0; 0: judged beside the others, no part of the whole. All must
 * tell the same number of classes apart. */
ADZE_API int adze_ensemble_load(adze_ensemble *e, const char *path, double weight);
ADZE_API int adze_ensemble_add(adze_ensemble *e, const adze_model *m, adze_store *s, double weight);
/* Batch by batch: memory grows with the members and, by a byte each, with the examples. */
ADZE_API int adze_ensemble_evaluate(adze_ensemble *e, const adze_dataset *d, int64_t batch, adze_ensemble_report *out);
ADZE_API void adze_ensemble_report_free(adze_ctx *ctx, adze_ensemble_report *r);
ADZE_API int adze_ensemble_versus(adze_ctx *ctx, const adze_ensemble_report *r, int member, adze_versus *out);

#ifdef __cplusplus
}
#endif
#endif
