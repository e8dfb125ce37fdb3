/* A model's training step as one bare graph, for bench, check and inspect: input, label, loss and the gradient of every parameter (trainstep.c). */
#ifndef ADZE_SRC_CLI_TRAINSTEP_H
#define ADZE_SRC_CLI_TRAINSTEP_H

#include "cli/cli.h"

typedef struct cli_step {
    adze_graph *g;
    adze_val x, label, y, loss;
    adze_val *params, *grads;
    const char **names; /* slot names; point into the store */
    int nparams;
} cli_step;

enum { CLI_STEP_FORWARD, CLI_STEP_GRAD, CLI_STEP_UPDATE };

/* Builds it with mean loss; `what` adds gradients as outputs "grad/SLOT", or momentum-SGD updates with the rate in input "lr". The store holds the
 * model's initialised slots. */
int cli_step_build(cli *c, const adze_model *m, adze_store *s, int64_t batch, adze_dtype d, int what, cli_step *out);
void cli_step_free(cli *c, cli_step *st);
/* Fills the session's x with normal and its labels with uniform random numbers of the seed. */
int cli_step_fill(adze_session *s, const adze_model *m, uint64_t seed);

#endif
