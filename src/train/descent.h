/* An optimiser of the table let loose on a function of a few numbers: loss, gradient, clipping and update in one plan. */
#ifndef ADZE_SRC_DESCENT_H
#define ADZE_SRC_DESCENT_H

#include "train/findings.h"
#include "train/optimizer.h"

enum { ADZE_RUNNERS = 32 };

typedef struct adze_surface {
    int64_t n;
    adze_val (*loss)(adze_graph *g, adze_val w, const void *user); /* w: f64 (n); a scalar */
    const void *user;
} adze_surface;

typedef struct adze_descent_plan {
    adze_graph *g;
    adze_plan *plan;
    adze_session *session;
} adze_descent_plan;

typedef struct adze_descent {
    adze_ctx *ctx;
    adze_train_opts o; /* settled */
    adze_store *store;
    adze_descent_plan step, observe; /* observe: of rules that gather */
    adze_session *last;              /* the one of the two that ran last: loss and gradient are its outputs */
    int slot[ADZE_OPT_SLOTS];        /* -1: not there */
    adze_tensor w, lr, factor[ADZE_OPT_FACTORS], loss, grad;
    int64_t n, t; /* t: steps done */
} adze_descent;

/* Zero *d first; close it also after a failure. Penalties are off unless o asks for them. */
int adze_descent_open(adze_descent *d, adze_ctx *ctx, const adze_surface *s, const adze_train_opts *o);
void adze_descent_close(adze_descent *d);
int adze_descent_start(adze_descent *d, const double *w);                          /* from here, with nothing remembered */
int adze_descent_step(adze_descent *d, double *loss);                              /* one update; the loss before it (NULL: not wanted) */
int adze_descent_at(adze_descent *d, const double *w, double *loss, double *grad); /* without an update that moves; ends a walk. grad may be NULL */
double adze_descent_get(const adze_descent *d, int64_t i);
void adze_descent_put(adze_descent *d, int64_t i, double v);

typedef struct adze_runner { /* "adam:beta2=0.9": an optimiser of a list, with settings of its own */
    char name[ADZE_FINDING_NAME];
    adze_train_opts o;
} adze_runner;
/* The names between the commas of text, at most ADZE_RUNNERS; *n: how many. base: the settings where a name brings none. */
int adze_runners(adze_ctx *ctx, const char *text, const adze_train_opts *base, adze_runner *out, int *n);

#endif
