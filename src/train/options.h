/* The enums behind the option table, and field tables as JSON. */
#ifndef ADZE_SRC_OPTIONS_H
#define ADZE_SRC_OPTIONS_H

#include "adze/train.h"
#include "base/base.h"
#include "base/tree.h"

enum { ADZE_OPTION_TEXT = 512 }; /* every option's value fits */
enum {
    ADZE_SGD,
    ADZE_MOMENTUM,
    ADZE_NESTEROV,
    ADZE_ADAM,
    ADZE_ADAMW,
    ADZE_HEAVY_BALL,
    ADZE_NESTEROV_AHEAD,
    ADZE_NESTEROV_SHIFTED,
    ADZE_ADAGRAD,
    ADZE_ADADELTA,
    ADZE_RMSPROP,
    ADZE_AMSGRAD,
    ADZE_ADAMAX,
    ADZE_NADAM,
    ADZE_RADAM,
    ADZE_LION,
    ADZE_LARS,
    ADZE_LAMB,
    ADZE_RPROP,
    ADZE_DELTA_BAR_DELTA,
    ADZE_SHAMPOO,
    ADZE_SOAP,
    ADZE_MUON,
    ADZE_NEWTON,
    ADZE_BFGS,
    ADZE_LBFGS,
    ADZE_HF,
    ADZE_KFAC,
    ADZE_NOPTIMIZERS
};
enum {
    ADZE_CONSTANT,
    ADZE_STEP,
    ADZE_EXPONENTIAL,
    ADZE_INVERSE,
    ADZE_COSINE,
    ADZE_MILESTONES,
    ADZE_POLYNOMIAL,
    ADZE_RESTARTS,
    ADZE_ONE_CYCLE,
    ADZE_PLATEAU,
    ADZE_RANGE,
    ADZE_NSCHEDULES
};
enum {
    ADZE_LOSS_AUTO,
    ADZE_LOSS_SOFTMAX_XENT,
    ADZE_LOSS_MSE,
    ADZE_LOSS_HUBER,
    ADZE_LOSS_MAE,
    ADZE_LOSS_SIGMOID_XENT,
    ADZE_LOSS_HINGE,
    ADZE_LOSS_SQUARED_HINGE,
    ADZE_LOSS_HINGE_OVR,
    ADZE_LOSS_SQUARED_HINGE_OVR,
    ADZE_LOSS_SMOOTH_HINGE,
    ADZE_LOSS_KL,
    ADZE_LOSS_NLL,
    ADZE_LOSS_GAUSSIAN,
    ADZE_LOSS_POISSON,
    ADZE_LOSS_FOCAL
};
#define ADZE_AVERAGE_PREFIX "avg/" /* of the averaged model's slots */
enum { ADZE_AVERAGE_NONE, ADZE_AVERAGE_POLYAK, ADZE_AVERAGE_EMA, ADZE_AVERAGE_SWA };
enum { ADZE_TARGET_LABEL, ADZE_TARGET_INPUT };
enum { ADZE_PRECISION_FULL, ADZE_PRECISION_BF16 };
enum { ADZE_MUON_RMS, ADZE_MUON_ORIGINAL };
enum { ADZE_L1_PROX, ADZE_L1_SUBGRAD };
enum { ADZE_MONITOR_VAL_LOSS, ADZE_MONITOR_VAL_ACC };

static inline adze_dtype adze_train_dtype(const adze_train_opts *o) {
    return o->dtype == 1 ? ADZE_F64 : ADZE_F32;
}

void adze_train_remember(const adze_train_opts *o, adze_model *m);  /* in the model and so in its file: what adze_train_recall reads */
void adze_schedule_remark(adze_ctx *ctx, const adze_train_opts *o); /* a warning when no milestone falls within the epochs */
void adze_idle_remarks(adze_ctx *ctx, const adze_train_opts *o);    /* one for each given option that the others leave without use (idle.c) */

/* -- average.c -- */
int adze_average_check(adze_ctx *ctx, const adze_train_opts *o);
int64_t adze_average_start(const adze_train_opts *o);                 /* epochs before the average (of swa: its rate) begins */
int64_t adze_snapshot_cycle(const adze_train_opts *o, int64_t epoch); /* which of the cycles, from 0; k ends with epoch (k + 1) epochs / K */

extern const char *const adze_loss_names[]; /* NULL ends */
bool adze_loss_smooths(int loss);           /* label_smoothing applies */
bool adze_loss_takes_numbers(int loss);     /* of any kind as targets: those of a reconstruction */
bool adze_loss_links(int loss);             /* it applies a softmax or sigmoid itself */

int adze_train_augment(adze_ctx *ctx, const adze_train_opts *o, char text[ADZE_OPTION_TEXT]); /* augment with shift and hflip; checked */
void adze_fields_json(const adze_field *table, const void *obj, adze_text *out);              /* an object; reads back through adze_tree_fields */

#endif
