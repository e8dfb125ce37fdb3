/* The two plans of a training step on one store: `grad` adds gradients into TEMP slots "layer:w:g", `update` turns them into new weights. */
#ifndef ADZE_SRC_STEPS_H
#define ADZE_SRC_STEPS_H

#include "train/optimizer.h"

enum { ADZE_STEPS_MAX = 6 }; /* plans kept: (batch, remainder) x (first, later), and room */

typedef struct adze_grad_plan {
    int64_t batch;
    bool later;  /* adds to the gradients of earlier batches instead of replacing them */
    bool in_use; /* the network as it predicts: nothing is dropped or mixed, statistics stay */
    adze_plan *plan;
    adze_session *session;
    adze_tensor x, label, weight, loss, y; /* weight: 1 / examples of the update; loss, y: per example */
    adze_tensor error;                     /* per example, of a reconstruction; zeroed where the target is a class */
    adze_tensor other, share;              /* the label mixed in, and the share of the first: when the augmentation mixes examples */
} adze_grad_plan;

/* What is gathered before the update, the update, and what wraps it: thresholds and bounds of weights; moving the slow weights of lookahead; climbing
 * to where sam takes its gradients, and coming back; the average. */
enum {
    ADZE_UPDATE_OBSERVE,
    ADZE_UPDATE_STEP,
    ADZE_UPDATE_LIMIT,
    ADZE_UPDATE_SLOW,
    ADZE_UPDATE_CLIMB,
    ADZE_UPDATE_RETURN,
    ADZE_UPDATE_AVERAGE,
    ADZE_UPDATES
};

typedef struct adze_update_plan {
    adze_plan *plan; /* NULL: not asked for */
    adze_session *session;
} adze_update_plan;

typedef struct adze_steps {
    adze_ctx *ctx;
    const adze_model *model;
    adze_store *store;
    const adze_train_opts *o;
    adze_dtype dtype;
    bool mixes; /* examples: each has two labels */
    int nparams;
    int *params, *grads; /* slots of each trainable parameter and of its gradient */
    adze_grad_plan grad[ADZE_STEPS_MAX];
    int ngrad;
    adze_train_opts rule; /* the options with the optimiser's usual settings filled in */
    adze_update_plan update[ADZE_UPDATES];
    adze_tensor arena; /* of all sessions: they run in turn */
    adze_tensor lr, limit_lr, clip, observe_clip, factor[ADZE_OPT_FACTORS], climb,
        share;       /* inputs of updates; zeroed when there is none of that name */
    adze_val *outs;  /* what each layer gives, while a graph is built */
    double *partial; /* of the gradient norm: one sum for each chunk */
    int64_t nchunks;
    int *state; /* slots that a grad run changes: running statistics */
    int nstate;
    char *backup, *first;       /* their bytes before the step; with sam, after its first pass */
    struct adze_second *second; /* NULL: the optimiser is of first order */
} adze_steps;

/* The model's slots are in the store already. Adds gradient and optimiser slots and compiles the update plan. Then the grad plans are compiled, made
 * smaller where they must be, and all bound. */
int adze_steps_open(adze_steps *s, adze_ctx *ctx, const adze_model *m, adze_store *store, const adze_train_opts *o);
void adze_steps_close(adze_steps *s);
int adze_steps_plan(adze_steps *s, int64_t batch, bool later);
int adze_steps_shrink(adze_steps *s, int64_t memory); /* bytes that a grad plan's values may take: those with more compute some of them twice */
int adze_steps_bind(adze_steps *s, int64_t arena);    /* arena: bytes that somebody else wants of s->arena; 0: nobody */
int adze_steps_grad(adze_steps *s, int64_t batch, bool later, adze_grad_plan **out); /* one that was compiled */
int adze_steps_grad_in_use(adze_steps *s, int64_t batch, adze_grad_plan *p);         /* the caller frees session and plan, also after a failure */
int adze_steps_norm(adze_steps *s, bool clipped, double *norm); /* of the gradients, after clip_value or before; not finite when any of them is not */
int adze_steps_update(adze_steps *s, double lr, int64_t t, double clip); /* clip: what the whole gradient is multiplied by */
int adze_steps_climb(adze_steps *s, double norm);                        /* sam: the weights move up the gradient of this norm, */
int adze_steps_return(adze_steps *s);                                    /* and back to their very bits */
int adze_steps_average(adze_steps *s, double share); /* the average goes so far towards the weights; all the way, it becomes the model to the bit */
int adze_steps_copy(adze_steps *s, const int *slots, int n, char *at, bool keep); /* the slots' bytes to `at`, or back */
int adze_steps_keep(adze_steps *s);                                               /* remembers the slots that a grad run changes */
int adze_steps_restore(adze_steps *s);                                            /* puts them back: a failed step changes nothing */
int adze_steps_forget(adze_steps *s);                                             /* zeroes the gradients */
int64_t adze_steps_memory(const adze_steps *s);                                   /* bytes of the sessions beside the arena */

/* -- average.c -- */
adze_val adze_average_toward(adze_graph *g, adze_val avg, adze_val w, adze_val share); /* avg + share (w - avg) */
int adze_average_slots(adze_steps *s);                                                 /* "avg/NAME" of every slot of the model, equal to it */
void adze_average_build(adze_steps *s, adze_graph *g);                                 /* avg += share (w - avg) for every parameter */

/* -- update.c: for steps.c -- */
int adze_update_slots(adze_steps *s);            /* those of the optimiser and of the gradients */
int64_t adze_update_memory(const adze_steps *s); /* bytes of the host's part, beside the plans */
int adze_update_compile(adze_steps *s);
int adze_update_bind(adze_steps *s);
void adze_update_close(adze_steps *s);
/* And for penalty.c. The norm of each unit: of all that leads to one output, the last axis; of a vector, the whole. */
adze_val adze_unit_norm(adze_graph *g, adze_val x);
adze_val adze_shrink_to(adze_graph *g, adze_val x, adze_val norm, adze_val most); /* x most / norm where norm > most */
bool adze_in_last_layer(const adze_steps *s, int param);
static inline bool adze_clips_whole(const adze_train_opts *o) { /* all gradients by one factor */
    return o->clip_norm > 0 || o->clip_auto > 0;
}

/* The loss per example (N) that the options ask for: x the model's input, y (N, C) its output, label i64 (N). */
typedef struct adze_train_terms {
    adze_val loss, error; /* (N); error: {0} unless the target is the input */
    adze_val guess;       /* (N, numbers of an example), likewise: what the outputs say of them */
} adze_train_terms;
int adze_train_loss(const adze_model *m, adze_graph *g, const adze_train_opts *o, adze_val x, adze_val y, adze_val label, adze_train_terms *out);

#endif
