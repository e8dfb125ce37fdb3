/* The progress line of a training (progress.c). */
#ifndef ADZE_SRC_CLI_PROGRESS_H
#define ADZE_SRC_CLI_PROGRESS_H

#include "cli/cli.h"

typedef struct cli_progress {
    int mode;
    bool color;
    int64_t epochs, epoch, first_step;
    double drawn, epoch_start, smooth_loss;
} cli_progress;

void cli_progress_start(cli_progress *p, cli *c, int64_t epochs);
void cli_progress_step(cli_progress *p, int64_t epoch, int64_t step, int64_t steps, int64_t batch, double loss, double lr);
void cli_progress_epoch(cli_progress *p, const adze_epoch_stats *s);
void cli_progress_end(cli_progress *p); /* wipes a bar that was left on its line */
void cli_progress_say(cli_progress *p, const char *fmt, ...) ADZE_PRINTF(2, 3);

#endif
