/* The optimisers: one table of rows. A row says what its formula is, where it comes from and which settings and slots it has, and writes its update
 * of one parameter into a graph. */
#ifndef ADZE_SRC_OPTIMIZER_H
#define ADZE_SRC_OPTIMIZER_H

#include "adze/ops.h"
#include "train/options.h"

enum { ADZE_OPT_SLOTS = 6, ADZE_OPT_FACTORS = 3 };
enum { ADZE_SIDES = 2, ADZE_BASES = 4 }; /* slots of shampoo and soap: what is gathered of rows and columns; roots or bases made of it */
enum { ADZE_OF_PARAM, ADZE_OF_PLAIN, ADZE_OF_SIDE, ADZE_OF_SIDE_FULL };

typedef struct adze_opt_slot { /* one more tensor for each parameter, saved with it */
    const char *role;          /* "m": the slot "fc1:w:m"; NULL: no further one */
    double init;
    int of;      /* like the parameter; like it, and there where it is no matrix; of a side, a square or its diagonal; a square or nothing */
    size_t when; /* offset of the option without which the slot is not there; 0: it always is */
} adze_opt_slot;

typedef struct adze_opt_view { /* a parameter as a matrix: all axes but the last by the last */
    int64_t n[2];              /* rows, columns; columns are 0 of a vector */
    bool full[2];              /* a square for that side: it is at most precond_most long */
    bool matrix;               /* the rule treats it as one */
} adze_opt_view;

typedef struct adze_opt_param { /* what an update works on: one parameter */
    adze_graph *g;
    const adze_train_opts *o; /* settled */
    adze_val w, grad, slot[ADZE_OPT_SLOTS];
    adze_opt_view view;
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
    const char *formula, *paper, *cost; /* cost: beside the slots */
    adze_opt_usual usual;
    uint32_t reads; /* ADZE_OPT_.. */
    adze_opt_slot slots[ADZE_OPT_SLOTS];
    int nfactors;
    void (*factors)(const adze_train_opts *o, double t, double *c); /* t: 1 at the first update */
    void (*build)(const adze_opt_param *p);                         /* faults stick to the graph */
    void (*observe)(const adze_opt_param *p);                       /* before a step: what the host makes something of; NULL: nothing */
    const struct adze_second_kind *second;                          /* of second order: takes the place of build; else NULL */
} adze_optimizer;

const adze_optimizer *adze_optimizer_of(const adze_train_opts *o);
bool adze_optimizer_searches(const adze_train_opts *o); /* along a line for its step: it has no rate */
/* The options with the optimiser's usual settings where none were given. */
adze_train_opts adze_optimizer_settle(const adze_train_opts *o);
/* Whether a parameter has that slot; type is the parameter's and becomes the slot's. o: settled. */
bool adze_optimizer_slot(const adze_train_opts *o, int slot, const adze_opt_view *v, adze_type *type);
void adze_optimizer_factors(const adze_train_opts *o, int64_t t, double *c);

/* -- matrix.c -- */
adze_opt_view adze_optimizer_view(const adze_train_opts *o, const adze_type *type, bool matrix);
void adze_matrix_observe(const adze_opt_param *p);
void adze_shampoo_build(const adze_opt_param *p);
void adze_soap_build(const adze_opt_param *p);
void adze_muon_build(const adze_opt_param *p);
typedef struct adze_matrix { /* the host's part of shampoo and soap */
    adze_ctx *ctx;
    adze_store *store;
    const adze_train_opts *o; /* settled */
    adze_session *observe;
    const int *params; /* slots */
    int nparams;
} adze_matrix;
int64_t adze_matrix_memory(const adze_train_opts *o, const adze_opt_view *v); /* bytes that renewing roots and bases of a parameter takes */
/* Before step t, from 1, with gradients in their place: runs `observe` and renews roots and bases where that is due. *moves: a step follows; soap has
 * none in t = 1, so that no gradient makes the basis that it is seen in. */
int adze_matrix_gather(const adze_matrix *m, int64_t t, bool *moves);

/* What `groups` says of a parameter. Factors are 1 where no pattern fits; that of the decay is 0 where none `decays`. */
int adze_groups_check(adze_ctx *ctx, const char *groups, const char *const *names, int n); /* names NULL: the form alone */
void adze_groups_find(const char *groups, const char *name, bool decays, double *lr, double *decay);
const char *adze_groups_maxnorm(const char *groups, const char *name, double *bound); /* the group that says so, within groups; NULL: none */
bool adze_name_fits(const char *pattern, size_t n, const char *name);                 /* *: any run of characters, ?: any one */

#endif
