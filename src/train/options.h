/* The enums behind the option table, and field tables as JSON. */
#ifndef ADZE_SRC_OPTIONS_H
#define ADZE_SRC_OPTIONS_H

#include "adze/train.h"
#include "base/base.h"
#include "base/tree.h"

enum { ADZE_OPTION_TEXT = 512 }; /* every option's value fits */
enum { ADZE_SGD, ADZE_MOMENTUM, ADZE_NESTEROV, ADZE_ADAM, ADZE_ADAMW };
enum { ADZE_CONSTANT, ADZE_STEP, ADZE_EXPONENTIAL, ADZE_INVERSE, ADZE_COSINE };
enum { ADZE_LOSS_AUTO, ADZE_LOSS_SOFTMAX_XENT, ADZE_LOSS_MSE, ADZE_LOSS_HUBER };
enum { ADZE_PRECISION_FULL, ADZE_PRECISION_BF16 };
enum { ADZE_MONITOR_VAL_LOSS, ADZE_MONITOR_VAL_ACC };

static inline adze_dtype adze_train_dtype(const adze_train_opts *o) {
    return o->dtype == 1 ? ADZE_F64 : ADZE_F32;
}

int adze_train_augment(adze_ctx *ctx, const adze_train_opts *o, char text[ADZE_OPTION_TEXT]); /* augment with shift and hflip; checked */
void adze_fields_json(const adze_field *table, const void *obj, adze_text *out);              /* an object; reads back through adze_tree_fields */

#endif
