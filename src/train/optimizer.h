/* The optimisers: one table of rows. A row says what its formula is, where it comes from and which settings and slots it has, and writes its update
 * of one parameter into a graph. */
#ifndef ADZE_SRC_OPTIMIZER_H
#define ADZE_SRC_OPTIMIZER_H

#include "adze/ops.h"
#include "train/options.h"

enum { ADZE_OPT_SLOTS = 3, ADZE_OPT_FACTORS = 3 };

typedef struct adze_opt_slot { /* one more tensor for each parameter, saved with it */
    const char *role;          /* "m": the slot "fc1:w:m"; NULL: no further one */
    double init;
    size_t when; /* offset of the option without which the slot is not there; 0: it always is */
} adze_opt_slot;

typedef struct adze_opt_param { /* what an update works on: one parameter */
    adze_graph *g;
    const adze_train_opts *o; /* settled */
    adze_val w, grad, slot[ADZE_OPT_SLOTS];
    adze_val lr, factor[ADZE_OPT_FACTORS]; /* f64 (): the rate of this parameter; what depends on the step alone */
    double l2, decay;                      /* of this parameter: added to its gradient, taken off its weights */
    bool scaled;                           /* lars and lamb adapt its rate: weights, not biases and scales */
} adze_opt_param;

typedef struct adze_opt_usual { /* settings; < 0: the optimiser has none of that name */
    double lr, momentum, beta1, beta2, eps, grow, shrink, trust;
} adze_opt_usual;

enum {
    ADZE_OPT_ADAPTIVE = 1,  /* l2 is usually 0: it would be rescaled with the gradient */
    ADZE_OPT_DECOUPLES = 2, /* reads weight_decay, */
    ADZE_OPT_CORRECTS = 4,  /* bias_correction, */
    ADZE_OPT_CENTERS = 8,   /* centered */
    ADZE_OPT_DAMPS = 16     /* damping */
};

typedef struct adze_optimizer {
    const char *formula, *paper;
    adze_opt_usual usual;
    uint32_t reads; /* ADZE_OPT_.. */
    adze_opt_slot slots[ADZE_OPT_SLOTS];
    int nfactors;
    void (*factors)(const adze_train_opts *o, double t, double *c); /* t: 1 at the first update */
    void (*build)(const adze_opt_param *p);                         /* faults stick to the graph */
    const struct adze_second_kind *second;                          /* of second order: takes the place of build; else NULL */
} adze_optimizer;

const adze_optimizer *adze_optimizer_of(const adze_train_opts *o);
/* The options with the optimiser's usual settings where none were given. */
adze_train_opts adze_optimizer_settle(const adze_train_opts *o);
bool adze_optimizer_has(const adze_train_opts *o, int slot); /* o: settled */
void adze_optimizer_factors(const adze_train_opts *o, int64_t t, double *c);

/* What `groups` says of a parameter. Factors stay as they are where no pattern fits. */
int adze_groups_check(adze_ctx *ctx, const char *groups, const char *const *names, int n); /* names NULL: the form alone */
void adze_groups_find(const char *groups, const char *name, double *lr, double *decay);
const char *adze_groups_maxnorm(const char *groups, const char *name, double *bound); /* the group that says so, within groups; NULL: none */
bool adze_name_fits(const char *pattern, size_t n, const char *name);                 /* *: any run of characters, ?: any one */

#endif
