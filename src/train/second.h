/* Second-order rules: what takes the place of the update plan when the optimiser wants curvature. One vtable for each rule, chosen by the option. */
#ifndef ADZE_SRC_SECOND_H
#define ADZE_SRC_SECOND_H

#include "adze/curvature.h"
#include "train/steps.h"

typedef struct adze_second adze_second;

typedef struct adze_second_step { /* of one update, whose gradient stands in the slots */
    adze_grad_plan *last;         /* ran last: it still holds its examples */
    int64_t last_count, examples; /* of that run; of the whole update */
    double loss;                  /* mean of the update, without the L2 penalty */
    double lr;
    int64_t step; /* from 1 */
} adze_second_step;

typedef struct adze_second_kind {
    size_t size;
    int (*slots)(adze_second *s);                                            /* what is saved; the options are checked here too */
    int (*plans)(adze_second *s, int64_t batch, int64_t most, int64_t rest); /* examples of the first batch, of an update, of an epoch's last batch */
    int (*bind)(adze_second *s);
    int (*step)(adze_second *s, const adze_second_step *u);
    int (*see)(adze_second *s, const adze_grad_plan *g, int64_t n, int64_t from); /* each batch of an update, after it ran; may be NULL */
    void (*close)(adze_second *s);
} adze_second_kind;

enum { ADZE_SECOND_PLANS = 6 };

struct adze_second { /* the head of every rule's struct */
    const adze_second_kind *kind;
    adze_steps *steps;
    char *weights, *statistics; /* before the step */
    adze_plan *plan[ADZE_SECOND_PLANS];
    adze_session *session[ADZE_SECOND_PLANS];
};

extern const adze_second_kind adze_second_kfac, adze_second_quasi, adze_second_free; /* kfac; newton, bfgs, lbfgs; hf */

int adze_second_open(adze_steps *s); /* nothing where the optimiser is of first order */
int adze_second_plan(adze_steps *s, int64_t batch, int64_t most, int64_t rest);
int adze_second_bind(adze_steps *s);
int adze_second_see(adze_steps *s, const adze_grad_plan *g, int64_t n, int64_t from);
/* A step. One that fails leaves parameters and statistics as they were before the update; what the rule has learnt it may keep. */
int adze_second_take(adze_steps *s, const adze_second_step *u);
void adze_second_close(adze_steps *s);
int64_t adze_second_arena(const adze_steps *s); /* the largest plan's */

/* -- curvature.c: pieces of graphs -- */

typedef enum adze_family { ADZE_FAMILY_CLASSES, ADZE_FAMILY_BITS, ADZE_FAMILY_NUMBERS } adze_family;
/* What the loss takes its targets for: losses auto (but for rbf layers), softmax_xent, sigmoid_xent and mse. */
int adze_curvature_family(adze_ctx *ctx, const adze_model *m, const adze_train_opts *o, adze_family *out);
/* A random cotangent of the outputs y (N, C) whose covariance is the loss's Hessian there: what the gradient in y would be, were the target drawn
 * from the model itself. */
int adze_curvature_sample(const adze_model *m, adze_graph *g, const adze_train_opts *o, adze_val y, adze_val *seed);
/* The model, as it trains or predicts, on inputs "x" and "label" of a batch: its outputs and the mean loss. */
int adze_curvature_model(const adze_steps *s, adze_graph *g, int64_t batch, bool train, adze_val *y, adze_val *mean);
adze_val adze_curvature_slot(const adze_steps *s, adze_graph *g, int param, const char *role); /* role NULL: the parameter itself */
double adze_curvature_decay(const adze_steps *s, int param);                                   /* L2 factor of a parameter */
/* tv = (the mean loss's Hessian, or with `gauss` its Gauss-Newton matrix) times the tangents in slots "w:d", into slots "w:h". */
int adze_curvature_product(const adze_steps *s, adze_graph *g, int64_t batch, bool gauss);
int adze_curvature_product_slots(const adze_steps *s);
/* The last run's examples, again and again until all rows are filled, under the masks that they had there. */
int adze_curvature_show(adze_session *to, const adze_steps *s, const adze_second_step *u);
int adze_curvature_losses(const adze_steps *s, adze_graph *g, int64_t batch); /* as it trains; output "loss": of each example */
int adze_curvature_loss(adze_session *run, int64_t n, double *mean);          /* runs that graph; the mean of the first n */
double adze_curvature_mean(const adze_tensor *loss, int64_t n);
/* A steps struct of parameters and options alone, which is all that the pieces of graphs read, on a store of its own with a copy of the model. */
int adze_curvature_open(adze_ctx *ctx, const adze_fisher_in *in, adze_steps *s);
void adze_curvature_close(adze_steps *s);
int adze_curvature_loader(const adze_steps *s, const adze_fisher_in *in, int64_t batch, adze_loader **out); /* of its examples, in order */
int adze_curvature_tensor(const adze_steps *s, int param, const char *role, adze_tensor *t);                /* role NULL: the parameter itself */
int adze_second_role(const adze_steps *s, int param, const char *role, adze_type type, uint32_t flags);

/* -- flat.c: all parameters, or what stands in their slots of a role, as one vector of doubles -- */
int64_t adze_flat_count(const adze_steps *s);
int adze_flat_get(const adze_steps *s, const char *role,
                  double *out); /* role NULL: the parameters; "g": their gradients, with that of the L2 penalty */
int adze_flat_put(const adze_steps *s, const char *role, const double *in);
double adze_flat_penalty(const adze_steps *s, const double *w);          /* l2 / 2 |w|^2 of what decays */
void adze_flat_decay(const adze_steps *s, const double *v, double *out); /* out += l2 v of what decays */

int adze_second_refuse(const adze_steps *s); /* options that a second-order rule does not read */

#endif
