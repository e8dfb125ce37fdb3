/* Penalties and bounds: on weights (l1, a prior, the norm of each unit) and on what layers give. For options.c, steps.c and update.c. */
#ifndef ADZE_SRC_PENALTY_H
#define ADZE_SRC_PENALTY_H

#include "train/steps.h"

int adze_penalty_check(adze_ctx *ctx, const adze_train_opts *o); /* the options by themselves */

/* The gradient with that of l1 in mode subgrad; decay: the parameter's factor. */
adze_val adze_penalty_subgrad(const adze_steps *s, adze_graph *g, adze_val w, adze_val grad, double decay);
/* What happens to weights after the update: soft thresholds of l1, then bounds of norms. */
int adze_penalty_limits(const adze_steps *s, bool *any); /* whether there is anything; a bound that bounds nothing is refused */
void adze_penalty_build_limits(adze_steps *s, adze_graph *g);
double adze_penalty_bound(const adze_steps *s, int param); /* maxnorm of this parameter; 0: none */

/* Adds activity_l1 and activity_kl to the loss of each example (N), by s->outs. */
int adze_penalty_activity(const adze_steps *s, adze_graph *g, adze_val *loss);

#endif
