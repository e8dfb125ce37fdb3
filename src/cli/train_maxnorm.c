/* adze train --maxnorm-report: the multipliers of the bounds on units' weights, as a file with a row for each unit and a summary. */
#include "cli/train_maxnorm.h"

#include <math.h>
#include <stdio.h>

typedef struct summary {
    int64_t active;
    double least, most, sum, residual; /* of mu over active units; the largest residual of all */
} summary;

static int write_units(cli *c, cli_rundir *run, const adze_maxnorm_unit *u, int64_t n, summary *s) {
    adze_text t = {.ctx = c->ctx};
    adze_text_add(&t, "param,unit,limit,norm,mu,residual\n");
    *s = (summary){.least = INFINITY, .most = -INFINITY};
    for (int64_t i = 0; i < n; i++) {
        adze_text_add(&t, "%s,%lld,%.17g,%.17g,%.17g,%.17g\n", u[i].param, (long long)u[i].unit, u[i].limit, u[i].norm, u[i].mu, u[i].residual);
        s->residual = fmax(s->residual, u[i].residual);
        if (u[i].mu != 0) {
            s->active++;
            s->sum += u[i].mu;
            s->least = fmin(s->least, u[i].mu);
            s->most = fmax(s->most, u[i].mu);
        }
    }
    char *text;
    TRY(adze_text_finish(&t, &text));
    const int status = cli_rundir_write(run, "maxnorm.csv", text);
    adze_text_free(c->ctx, text);
    return status;
}

int cli_maxnorm_report(cli *c, adze_trainer *t, cli_rundir *run, cli_progress *p, char *json, size_t size) {
    adze_maxnorm_unit *units;
    int64_t n;
    summary s;
    TRY(adze_trainer_maxnorm(t, &units, &n));
    const int status = write_units(c, run, units, n, &s);
    adze_maxnorm_free(t, units);
    TRY(status);
    char a[32], b[32], m[32];
    const double none = s.active > 0 ? 0 : NAN;
    snprintf(json, size, ",\"maxnorm\":{\"units\":%lld,\"active\":%lld,\"mu_min\":%s,\"mu_mean\":%s,\"mu_max\":%s,\"residual_max\":%.17g}",
             (long long)n, (long long)s.active, cli_json_number(a, sizeof a, s.least + none),
             cli_json_number(m, sizeof m, s.sum / (double)s.active + none), cli_json_number(b, sizeof b, s.most + none), s.residual);
    cli_progress_say(p,
                     "maxnorm %lld of %lld units of the saved model on their bound, multipliers %.4g to %.4g, largest residual %.4g; %s/maxnorm.csv",
                     (long long)s.active, (long long)n, s.active ? s.least : 0, s.active ? s.most : 0, s.residual, run->path);
    return ADZE_OK;
}
