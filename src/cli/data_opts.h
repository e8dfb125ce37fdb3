/* The options of `adze data`, whose commands stand in two files. */
#ifndef ADZE_SRC_DATA_OPTS_H
#define ADZE_SRC_DATA_OPTS_H

#include "cli/cli.h"

int cli_write_png(cli *c, const char *path, adze_tensor image); /* a path that ends otherwise is refused */

typedef struct data_opts {
    char part[16], out[512], augment[384], against[512], against_part[16];
    int64_t columns, rows, index, zoom, examples, permutations;
    uint64_t seed;
    bool time;
} data_opts;

int cli_data_augment(cli *c, const char *name, const data_opts *o);
int cli_data_shift(cli *c, const char *name, const data_opts *o);

#endif
