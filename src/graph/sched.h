/* The partial order of a plan's steps, and the lists that the order pass makes of it. */
#ifndef ADZE_SRC_SCHED_H
#define ADZE_SRC_SCHED_H

#include "plan_internal.h"

typedef enum adze_policy { ADZE_POLICY_PRIORITY, ADZE_POLICY_GREEDY, ADZE_POLICY_NOISY, ADZE_POLICY_RANDOM } adze_policy;

typedef struct adze_sched {
    adze_work *w;
    int32_t n;               /* steps */
    int32_t *node, *step_of; /* step -> node; node -> step or -1 */
    int32_t *head, *to;      /* successors of step s: to[head[s]] .. to[head[s + 1] - 1] */
    int32_t *unit;           /* by step: itself, or n + its region */
    int32_t *waits, *unit_waits;
    int32_t *readers; /* by value: steps that have still to read it */
    int32_t *kept;    /* by value: an output, or memory that is not planned: never freed */
    int64_t *priority;
    int32_t *ready, *inner, *out;
    int32_t nout;
    adze_policy how;
    adze_rng rng;
} adze_sched;

int adze_sched_build(adze_sched *s); /* from the work's steps; s->w is set, all else 0 */
int adze_sched_edges(adze_sched *s); /* again, after w->before has grown */
void adze_sched_free(adze_sched *s);
int32_t adze_sched_maker(const adze_sched *s, int32_t v); /* the step that makes a value, through views; -1: none */
int adze_sched_list(adze_sched *s);                       /* one order, by the policy s->how, in s->out (node ids) */
int adze_sched_depth_first(adze_sched *s);                /* priorities: what a step needs comes just before it */
int adze_order_reads(adze_work *w);                       /* fills w->before: reads come before the write that ends them */

#endif
