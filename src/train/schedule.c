/* Learning-rate schedules: pure functions of the step, so a resume needs no state. Only `plateau` looks at results: its cuts are the progress's. */
#include "train/options.h"

#include <math.h>

static const adze_schedule_info infos[] = {
    [ADZE_CONSTANT] = {"lr", NULL},
    [ADZE_STEP] = {"lr gamma^floor(e / step_epochs)", NULL},
    [ADZE_EXPONENTIAL] = {"lr gamma^e", NULL},
    [ADZE_INVERSE] = {"lr / (1 + gamma e)", "Robbins and Monro, A stochastic approximation method, 1951"},
    [ADZE_COSINE] = {"min_lr + (lr - min_lr) (1 + cos(pi e / E)) / 2",
                     "Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, 2016, eq. 5, one cycle"},
    [ADZE_MILESTONES] = {"lr gamma^(how many of the milestones are at or before e)", NULL},
    [ADZE_POLYNOMIAL] = {"min_lr + (lr - min_lr) (1 - e / E)^power", NULL},
    [ADZE_RESTARTS] = {"cosine again and again: the first cycle lasts cycle_epochs, each further one cycle_factor times the one before",
                       "Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, 2016, eq. 5"},
    [ADZE_ONE_CYCLE] = {"along half cosines up from lr / start_div in rise_share of the steps, then down to min_lr",
                        "after Smith and Topin, Super-convergence, 2018"},
    [ADZE_PLATEAU] = {"lr gamma^cuts, one cut each time that plateau_patience epochs brought no improvement of the monitored figure", NULL},
    [ADZE_RANGE] = {"min_lr (lr / min_lr)^(e / E): of adze schedule range", "Smith, Cyclical learning rates for training neural networks, 2017"},
};

const adze_schedule_info *adze_schedule_at(int i) {
    return i >= 0 && i < (int)ADZE_COUNT(infos) ? &infos[i] : NULL;
}

static double half_cosine(double share) { /* 1 at 0, 0 at 1 */
    return (1 + cos(acos(-1.0) * share)) / 2;
}

static int64_t milestones_passed(const adze_train_opts *o, double epochs) {
    int64_t n = 0;
    for (int64_t i = 0; i < o->milestones.n; i++) {
        n += epochs >= (double)o->milestones.v[i];
    }
    return n;
}

void adze_schedule_remark(adze_ctx *ctx, const adze_train_opts *o) {
    if (o->epochs > 0 && o->warmup_epochs >= (double)o->epochs) {
        adze_note(ctx, ADZE_WARN, "option warmup_epochs: the rate climbs for %g of %lld epochs and never arrives at lr", o->warmup_epochs,
                  (long long)o->epochs);
    }
    if (o->schedule == ADZE_MILESTONES && milestones_passed(o, (double)(o->epochs - 1)) == 0) {
        adze_note(ctx, ADZE_WARN, "schedule milestones: no cut, the first after %lld epochs, comes within %lld: the rate stays as it is",
                  (long long)o->milestones.v[0], (long long)o->epochs);
    }
}

/* How far the cycle has gone that lasts at `epochs`; each is cycle_factor times as long as the one before. */
static double cycle_share(const adze_train_opts *o, double epochs) {
    double length = (double)o->cycle_epochs;
    if (o->cycle_factor <= 1) {
        return fmod(epochs, length) / length;
    }
    while (epochs >= length) {
        epochs -= length;
        length *= o->cycle_factor;
    }
    return epochs / length;
}

/* The same for cycles that cut all epochs into equal parts, as whole epochs go (Huang et al. 2017, with the rate of each step). */
static double snapshot_share(const adze_train_opts *o, double epochs) {
    const int64_t k = adze_snapshot_cycle(o, (int64_t)epochs);
    const double from = (double)(k * o->epochs / o->snapshots), to = (double)((k + 1) * o->epochs / o->snapshots);
    return (epochs - from) / (to - from);
}

static double swa_first(const adze_train_opts *o, double lr) {
    return o->swa_lr > 0 ? o->swa_lr : lr / 2;
}

/* Stochastic weight averaging, `step` steps after its begin: constant, or in cycles straight down (Izmailov et al. 2018, section 3.2). */
static double swa_rate(const adze_train_opts *o, double lr, int64_t step, int64_t steps_per_epoch) {
    const double from = swa_first(o, lr);
    const int64_t cycle = o->swa_cycle * steps_per_epoch;
    const double share = cycle > 0 ? (double)(step % cycle + 1) / (double)cycle : 0;
    return (1 - share) * from + share * fmin(o->min_lr, from);
}

/* Of the rate alone, at `epochs` from the start, `after` of them after the warm-up: cuts have their dates, decay begins at the top. */
static double decay_factor(const adze_train_opts *o, double epochs, double after) {
    switch (o->schedule) {
    case ADZE_STEP:
        return pow(o->gamma, floor(epochs / (double)o->step_epochs));
    case ADZE_MILESTONES:
        return pow(o->gamma, (double)milestones_passed(o, epochs));
    case ADZE_EXPONENTIAL:
        return pow(o->gamma, after);
    case ADZE_INVERSE:
        return 1 / (1 + o->gamma * after);
    default:
        return 1;
    }
}

/* Of the way from min_lr to the rate, at `share` of all steps and `epochs` after the warm-up; for snapshots, which end with an epoch, in all. */
static double way_factor(const adze_train_opts *o, double share, double epochs) {
    switch (o->schedule) {
    case ADZE_POLYNOMIAL:
        return pow(1 - share, o->power);
    case ADZE_RESTARTS:
        return half_cosine(o->snapshots > 0 ? snapshot_share(o, epochs) : cycle_share(o, epochs));
    default:
        return half_cosine(share);
    }
}

/* Up from lr / start_div over rise_share of the steps, then down to `low`, both along a half cosine. */
static double one_cycle(const adze_train_opts *o, double lr, double low, double share) {
    const bool rises = share < o->rise_share;
    const double from = rises ? lr / o->start_div : fmin(low, lr);
    const double at = rises ? 1 - share / o->rise_share : (share - o->rise_share) / (1 - o->rise_share);
    return from + (lr - from) * half_cosine(at);
}

static double range_start(const adze_train_opts *o, double lr) {
    return o->min_lr > 0 ? o->min_lr : lr * 1e-6;
}

/* What a warm-up rises to: the schedule's own beginning. */
static double top(const adze_train_opts *o, double lr) {
    return o->schedule == ADZE_ONE_CYCLE ? one_cycle(o, lr, 0, 0) : o->schedule == ADZE_RANGE ? range_start(o, lr) : lr;
}

double adze_schedule_lr(const adze_train_opts *o, int64_t step, int64_t steps_per_epoch, int64_t total) {
    double lr = adze_train_lr(o), per_epoch = (double)(steps_per_epoch > 0 ? steps_per_epoch : 1);
    double warm = floor(o->warmup_epochs * per_epoch), at = (double)step;
    if (at < warm) {
        return top(o, lr) * (at + 1) / warm;
    }
    const bool swa = o->average == ADZE_AVERAGE_SWA;
    const int64_t begin = adze_average_start(o) * steps_per_epoch;
    if (swa && step >= begin) {
        return swa_rate(o, lr, step - begin, steps_per_epoch);
    }
    /* A schedule that goes somewhere arrives where the average's rate begins. */
    const double left = (double)(swa ? begin : total) - warm, share = left > 0 ? fmin((at - warm) / left, 1) : 0;
    const double low = swa && o->schedule != ADZE_RESTARTS ? swa_first(o, lr) : o->min_lr;
    switch (o->schedule) {
    case ADZE_COSINE:
    case ADZE_RESTARTS:
    case ADZE_POLYNOMIAL:
        return low < lr ? low + (lr - low) * way_factor(o, share, (o->snapshots > 0 ? at : at - warm) / per_epoch) : lr;
    case ADZE_ONE_CYCLE:
        return one_cycle(o, lr, low, share);
    case ADZE_RANGE: {
        const double lo = range_start(o, lr);
        return lo * pow(lr / lo, left > 1 ? (at - warm) / (left - 1) : 1);
    }
    default:
        return fmax(lr * decay_factor(o, at / per_epoch, (at - warm) / per_epoch), fmin(o->min_lr, lr));
    }
}
