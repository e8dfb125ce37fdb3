/* Findings for people and programs, and the data that probes look at (findings.c). */
#ifndef ADZE_SRC_CLI_FINDINGS_H
#define ADZE_SRC_CLI_FINDINGS_H

#include "cli/cli.h"

/* Prints verdict, keys and table, or one JSON object; draws to `plot` unless it is "". */
int cli_findings_print(cli *c, const adze_findings *f, const char *plot);

/* n examples of a data set as the model takes them: x of dtype d and labels (n), new tensors. */
int cli_examples(cli *c, const adze_model *m, const adze_dataset *d, const int64_t *ids, int64_t n, adze_dtype dtype, adze_tensor *x,
                 adze_tensor *labels);
/* The same made up: normal inputs, uniform labels. */
int cli_made_up(cli *c, const adze_model *m, int64_t n, uint64_t seed, adze_dtype dtype, adze_tensor *x, adze_tensor *labels);

#endif
