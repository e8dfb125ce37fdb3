/* How probes and demonstrations write their findings; the first failure sticks and is returned by adze_found_status. */
#ifndef ADZE_SRC_FINDINGS_H
#define ADZE_SRC_FINDINGS_H

#include "adze/diag.h"
#include "base/base.h"
#include "base/tree.h"

void adze_found(adze_findings *f, const char *key, double v);                           /* a number by name (made snake case); the last one counts */
void adze_found_columns(adze_findings *f, const char *const *names, int n);             /* before the first row */
double *adze_found_row(adze_findings *f, const char *fmt, ...) ADZE_PRINTF(2, 3);       /* cells to fill, all NaN; never NULL */
adze_track *adze_found_track(adze_findings *f, const char *fmt, ...) ADZE_PRINTF(2, 3); /* valid until the next one */
void adze_found_point(adze_findings *f, adze_track *t, double x, double y);
void adze_found_forget_tracks(adze_findings *f);
int adze_found_status(const adze_findings *f);

#endif
