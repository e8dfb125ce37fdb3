/* Probes that look at a training while it runs: what `adze train --diag` asks for (watch.c). */
#ifndef ADZE_SRC_CLI_WATCH_H
#define ADZE_SRC_CLI_WATCH_H

#include "cli/progress.h"
#include "cli/rundir.h"
#include "train/trainer.h"

typedef struct cli_watch { /* zero-initialise; set what and every */
    cli *c;
    char what[128]; /* probes' names between commas; "": none */
    int64_t every;  /* steps between two looks */
    adze_tensor x, labels;
    adze_diag_watch *w;
    adze_diag_opts o;
} cli_watch;

int cli_watch_check(cli *c, const cli_watch *w); /* the names, before anything is made */
/* Takes up to 1024 of the training examples, always the same, and looks for the first time. */
int cli_watch_start(cli_watch *w, cli *c, adze_trainer *t, const cli_rundir *run, cli_progress *p);
int cli_watch_step(cli_watch *w, int64_t step, const cli_rundir *run, cli_progress *p); /* looks when it is time: lines go to diag.jsonl */
void cli_watch_free(cli_watch *w);

#endif
