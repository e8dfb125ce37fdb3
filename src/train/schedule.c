/* Learning-rate schedules: pure functions of the step, so that a resume needs no state. */
#include "train/options.h"

#include <math.h>

static double schedule_factor(const adze_train_opts *o, double epochs, double share) {
    switch (o->schedule) {
    case ADZE_STEP:
        return pow(o->gamma, floor(epochs / (double)o->step_epochs));
    case ADZE_EXPONENTIAL:
        return pow(o->gamma, epochs);
    case ADZE_INVERSE:
        return 1 / (1 + o->gamma * epochs);
    default:
        return o->schedule == ADZE_COSINE ? (1 + cos(acos(-1.0) * share)) / 2 : 1;
    }
}

double adze_schedule_lr(const adze_train_opts *o, int64_t step, int64_t steps_per_epoch, int64_t total) {
    double lr = adze_train_lr(o), per_epoch = (double)(steps_per_epoch > 0 ? steps_per_epoch : 1);
    double warm = floor(o->warmup_epochs * per_epoch), at = (double)step;
    if (at < warm) {
        return lr * (at + 1) / warm;
    }
    double left = (double)total - warm, share = left > 0 ? (at - warm) / left : 0;
    double f = schedule_factor(o, at / per_epoch, share < 1 ? share : 1);
    if (o->schedule == ADZE_COSINE) {
        return o->min_lr < lr ? o->min_lr + (lr - o->min_lr) * f : lr;
    }
    return fmax(lr * f, fmin(o->min_lr, lr));
}
