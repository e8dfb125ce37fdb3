/* The options of commands that use a trained model: what becomes of that which training dropped at random. */
#ifndef ADZE_SRC_DROP_OPTS_H
#define ADZE_SRC_DROP_OPTS_H

#include "cli/cli.h"

typedef struct drop_opts {
    char dropout[32], dropconnect[32];
    uint64_t seed;
} drop_opts;

extern const adze_field CLI_DROP_FIELDS[];
int cli_drop_opts(cli *c, const drop_opts *d, int64_t batch, adze_eval_opts *o);

#endif
