/* The enums behind the option table, and field tables as JSON. */
#ifndef ADZE_SRC_OPTIONS_H
#define ADZE_SRC_OPTIONS_H

#include "adze/train.h"
#include "base/base.h"
#include "base/tree.h"

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
enum { ADZE_LOSS_AUTO, ADZE_LOSS_SOFTMAX_XENT, ADZE_LOSS_MSE, ADZE_LOSS_HUBER };
enum { ADZE_PRECISION_FULL, ADZE_PRECISION_BF16 };
enum { ADZE_MONITOR_VAL_LOSS, ADZE_MONITOR_VAL_ACC };

static inline adze_dtype adze_train_dtype(const adze_train_opts *o) {
    return o->dtype == 1 ? ADZE_F64 : ADZE_F32;
}

void adze_fields_json(const adze_field *table, const void *obj, adze_text *out); /* an object; reads back through adze_tree_fields */

#endif
