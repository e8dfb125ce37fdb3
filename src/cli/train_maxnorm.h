/* The report of the multipliers of maxnorm, for adze train. */
#ifndef ADZE_SRC_TRAIN_MAXNORM_H
#define ADZE_SRC_TRAIN_MAXNORM_H

#include "cli/progress.h"
#include "cli/rundir.h"

/* Writes maxnorm.csv into the run's folder, says a line and leaves a member for the result, `,"maxnorm":{...}`, in json. */
int cli_maxnorm_report(cli *c, adze_trainer *t, cli_rundir *run, cli_progress *p, char *json, size_t size);

#endif
