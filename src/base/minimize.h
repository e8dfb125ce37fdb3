/* A minimiser that goes on where it was left: all it remembers lies in one array of doubles, which the caller keeps (and may save). */
#ifndef ADZE_SRC_MINIMIZE_H
#define ADZE_SRC_MINIMIZE_H

#include "adze/minimize.h"

/* Doubles that a minimiser remembers. -1: more than can be addressed. */
int64_t adze_min_room(const adze_min_opts *o, int64_t n);

typedef struct adze_minimizer {
    adze_ctx *ctx;
    const adze_min_fn *fn;
    adze_min_opts o;     /* settled: no zeros */
    double *x;           /* (n) */
    double *at;          /* adze_min_room() doubles; all 0 at the start */
    double *work;        /* 4 n doubles: nobody's between steps */
    int64_t most_trials; /* evaluations of one line search */
    adze_min_result r;
} adze_minimizer;

adze_min_opts adze_min_settle(const adze_min_opts *o);
/* f and g at x, unless they are remembered already. */
int adze_min_begin(adze_minimizer *m);
/* One step: a direction, a line search, and what is learnt from it. *moved: x changed. */
int adze_min_step(adze_minimizer *m, bool *moved);
double *adze_min_gradient(const adze_minimizer *m);

/* -- for callers that search and evaluate for themselves -- */
int adze_min_direction(adze_minimizer *m, double *d); /* from the remembered gradient */
/* The pair s, y is learnt unless s'y is too small for a positive definite matrix: false then. */
bool adze_min_learn(adze_minimizer *m, const double *s, const double *y);
void adze_min_set(adze_minimizer *m, double f, const double *g); /* what is remembered of the present x */
void adze_min_forget(adze_minimizer *m);                         /* all pairs */
double adze_min_first(const adze_minimizer *m, const double *d); /* the first trial of a line search */

/* -- minimize_line.c -- */
typedef struct adze_min_line { /* along x + a d */
    const adze_min_fn *fn;
    const double *x, *d;
    double f, slope, c1, c2;
    double first; /* trial */
    bool exact;
    int64_t most;          /* evaluations */
    double *xt, *gt;       /* written: the point taken and its gradient */
    double ft, a, slope_t; /* written; a: 0 where nothing lower was found */
    int64_t evals;         /* written */
} adze_min_line;
int adze_min_search(adze_min_line *l);

#endif
