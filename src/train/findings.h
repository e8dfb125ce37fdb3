/* How probes and demonstrations write their findings; the first failure sticks and is returned by adze_found_status. */
#ifndef ADZE_SRC_FINDINGS_H
#define ADZE_SRC_FINDINGS_H

#include "adze/diag.h"
#include "base/base.h"
#include "base/tree.h"

void adze_found(adze_findings *f, const char *key, double v);               /* a number by name (made snake case); the last one counts */
void adze_found_columns(adze_findings *f, const char *const *names, int n); /* before the first row */
/* The same, with the names one after the other. */
#define ADZE_COLUMNS(f, ...) adze_found_columns((f), (const char *const[]){__VA_ARGS__}, (int)ADZE_COUNT(((const char *const[]){__VA_ARGS__})))
double *adze_found_row(adze_findings *f, const char *fmt, ...) ADZE_PRINTF(2, 3);       /* cells to fill, all NaN; never NULL */
adze_track *adze_found_track(adze_findings *f, const char *fmt, ...) ADZE_PRINTF(2, 3); /* valid until the next one */
void adze_found_point(adze_findings *f, adze_track *t, double x, double y);
/* What the tracks show: labels (constant texts), and a title. */
void adze_found_picture(adze_findings *f, const char *x, const char *y, const char *fmt, ...) ADZE_PRINTF(4, 5);
void adze_found_forget_tracks(adze_findings *f);
int adze_found_status(const adze_findings *f);

#endif
