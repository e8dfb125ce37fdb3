/* Judging a model: one inference plan, kept between evaluations, and the scores of single examples. */
#ifndef ADZE_SRC_EVALUATE_H
#define ADZE_SRC_EVALUATE_H

#include "train/options.h"

typedef struct adze_evaluator {
    adze_ctx *ctx;
    const adze_model *model;
    adze_dtype dtype;
    int64_t batch, classes;
    bool probabilities; /* the model ends in a softmax: its outputs are no logits */
    bool sigmoids;      /* their sigmoids are what the loss takes for probabilities, each for itself */
    bool numbers;       /* the loss sees no probabilities in the outputs */
    bool rebuilds;      /* the target is the input: loss and error are all there is to tell */
    bool keep;          /* set before it is opened: metrics get every score and label, or how well the input was rebuilt */
    bool statistics;    /* set before it is opened: batches are run for batchnorm's statistics (average.c) */
    adze_plan *plan;
    adze_session *session;
    adze_tensor x, label, loss, error, guess, y;
    adze_eval_opts how; /* with what is dropped at random */
    double *mixed;      /* several passes or crops: for each example its loss and `classes` sums; NULL: one pass */
} adze_evaluator;

/* o: whose loss is measured; NULL: what the model was trained with. Zero *e first; close it also after a failure. `open` is `plan` and `bind` with an
 * arena of its own. */
int adze_evaluator_plan(adze_evaluator *e, adze_ctx *ctx, const adze_model *m, const adze_store *s, const char *prefix, int64_t batch,
                        const adze_train_opts *o);
int adze_evaluator_bind(adze_evaluator *e, adze_store *s, const char *prefix, adze_tensor arena);
int adze_evaluator_open(adze_evaluator *e, adze_ctx *ctx, const adze_model *m, adze_store *s, const char *prefix, int64_t batch,
                        const adze_train_opts *o);
int adze_evaluator_open_with(adze_evaluator *e, adze_ctx *ctx, const adze_model *m, adze_store *s, int64_t batch, const adze_eval_opts *how);
void adze_evaluator_close(adze_evaluator *e);
int adze_evaluator_run(adze_evaluator *e, const adze_dataset *d, const int64_t *ids, int64_t n, adze_metrics *out);

/* Are the data's examples, with a border of so many pixels, as large as the model's input? */
int adze_example_check(adze_ctx *ctx, const adze_model *m, const adze_dataset *d, int64_t pad);
int adze_evaluator_predict(adze_evaluator *e, const adze_tensor *x,
                           adze_tensor *probs); /* x (n, ..); probs (n, classes): new; or outputs, as adze_predict */

/* The outputs of a row of the batch as a softmax takes them, or probabilities, or numbers: as the loss reads them. */
void adze_evaluator_row(const adze_evaluator *e, int64_t row, double *out);
/* The row of y (.., classes) as double. */
void adze_scores_row(const adze_tensor *y, int64_t row, int64_t classes, double *out);
/* How many classes score above the label's (ties: lower index first); classes when a score is not a number. */
int64_t adze_scores_rank(const double *scores, int64_t classes, int64_t label);
int adze_bin_of(double top); /* of adze_report's bins, that of a largest probability */
void adze_scores_to_probabilities(double *scores, int64_t classes);
bool adze_model_ends_in_softmax(const adze_model *m);

#endif
