/* What the files of demonstrations share. */
#ifndef ADZE_SRC_DEMO_H
#define ADZE_SRC_DEMO_H

#include "train/descent.h"

typedef struct adze_demo {
    adze_ctx *ctx;
    const adze_demo_opts *o;
    const adze_train_opts *t; /* defaults, and the rate that the options give */
    adze_findings *f;
} adze_demo;

enum { ADZE_DEMO_SGD = 0, ADZE_DEMO_HEAVY = 5 }; /* rows of the table of optimisers */

int64_t adze_demo_steps(const adze_demo *d, int64_t usual);
#define ADZE_DEMO_CLIP 0.1 /* where nothing is said, but for temporal order */
double adze_demo_clip_at(const adze_demo *d, double usual);
/* The optimisers that the options name, else `usual`. list: ADZE_RUNNERS of them. */
int adze_demo_runners(const adze_demo *d, const char *usual, adze_runner *list, int *n);
adze_runner adze_demo_runner(const adze_demo *d, int optimizer, double lr, double momentum); /* with settings of the demonstration */
void adze_demo_key(const adze_demo *d, const char *who, const char *what, double v);         /* key "who_what" */
/* Draws s (n 2) under the tracks: side x side values over the box. */
int adze_demo_surface(const adze_demo *d, const adze_surface *s, double x0, double x1, double y0, double y1);

typedef struct adze_bowl { /* for adze_demo_bowl: sum of lambda (w - at)^2 / 2 */
    int64_t n;
    const double *lambda;
    double at;
} adze_bowl;
adze_val adze_demo_bowl(adze_graph *g, adze_val w, const void *bowl);

typedef struct adze_walk { /* one optimiser on one surface */
    const adze_surface *s;
    const adze_runner *r;
    const double *from;
    int64_t most; /* steps */
    bool (*done)(const adze_descent *d, const void *user);
    const void *user;
    adze_track *track; /* of w[0] and w[1], or NULL */
    double *log;       /* w after each step (most + 1, n), or NULL */
    double longest;    /* written: the longest step, */
    double left;       /* how far from 0 it ended, */
    int64_t last;      /* the last step whose place is finite: so many and one are logged */
    int64_t steps;     /* written: until done, or -1 */
} adze_walk;
int adze_demo_walk(const adze_demo *d, adze_walk *w);

int adze_demo_valley(const adze_demo *d);
int adze_demo_saddle(const adze_demo *d);
int adze_demo_cliff(const adze_demo *d);
int adze_demo_rates(const adze_demo *d);
int adze_demo_plateau(const adze_demo *d);
int adze_demo_double_well(const adze_demo *d);
int adze_demo_oscillator(const adze_demo *d);
int adze_demo_early_stopping(const adze_demo *d);
int adze_demo_ridge(const adze_demo *d);
int adze_demo_wilson(const adze_demo *d);
int adze_demo_reddi(const adze_demo *d);
int adze_demo_wishart(const adze_demo *d);
int adze_demo_duplicate(const adze_demo *d);
int adze_demo_recurrence(const adze_demo *d);
int adze_demo_order(const adze_demo *d);
int adze_demo_clip(const adze_demo *d);

#endif
