/* Times of a plan's steps, run after run: a table for people and a Chrome trace for a viewer (profile.c). */
#ifndef ADZE_SRC_CLI_PROFILE_H
#define ADZE_SRC_CLI_PROFILE_H

#include "cli/cli.h"

typedef struct cli_profile_part { /* a plan whose session is watched */
    const char *name;
    const adze_plan *plan;
    adze_session *session;
    double *sum, *last; /* seconds by step: of all runs taken, of the last one */
    int64_t nsteps;
} cli_profile_part;

typedef struct cli_profile { /* zero-initialise; set c */
    cli *c;
    cli_profile_part parts[3];
    int nparts;
    adze_text events; /* of the trace, so far */
    double begin;     /* when the first run began */
    int64_t runs;
} cli_profile;

int cli_profile_watch(cli_profile *p, const char *name, const adze_plan *plan, adze_session *s); /* from the session's next run on */
/* Takes down the last run of all parts, which lay between two moments of adze_now. */
int cli_profile_take(cli_profile *p, double from, double to);
/* The mean times: in the plan's order, or the longest first; at most `most` rows (0: all). Lines fit 80 columns. */
int cli_profile_table(const cli_profile *p, bool sorted, int64_t most, adze_text *t);
int cli_profile_save(cli_profile *p, const char *path); /* the trace, for chrome://tracing or ui.perfetto.dev */
void cli_profile_free(cli_profile *p);                  /* before the sessions go: stops watching */

#endif
