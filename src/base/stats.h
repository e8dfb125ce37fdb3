/* Statistics of small samples: intervals, paired tests, ranks. Everything is deterministic; the bootstrap draws from a seed. */
#ifndef ADZE_SRC_STATS_H
#define ADZE_SRC_STATS_H

#include "base/base.h"

typedef struct adze_interval {
    double lo, hi;
} adze_interval;

int adze_ascending(const void *a, const void *b);   /* of two doubles: for qsort */
double adze_stats_mean(const double *v, int64_t n); /* NaN of nothing */
double adze_stats_sd(const double *v, int64_t n);   /* with n - 1; NaN below two */
double adze_incbeta(double a, double b, double x);  /* regularised incomplete beta function; a, b > 0, 0 <= x <= 1 */
double adze_t_cdf(double t, double df);
double adze_t_quantile(double p, double df); /* 0 < p < 1 */

/* Where the mean lies with 95 % confidence: by Student's t, and by the percentiles of resampled means (Efron 1979). NaN below two values. */
adze_interval adze_t_interval(const double *v, int64_t n);
int adze_bootstrap_interval(adze_ctx *ctx, const double *v, int64_t n, uint64_t seed, adze_interval *out);

/* Two-sided p values; d are paired differences. Zeros count for no side of the sign test. NaN where a test says nothing. */
double adze_paired_t_p(const double *d, int64_t n);
double adze_sign_p(const double *d, int64_t n);
double adze_binomial_p(int64_t k, int64_t n); /* of k or something as rare among n fair coins */
/* McNemar's test: b and c count the examples that only the one or only the other had right. Exact below 25, else chi square with Edwards'
 * correction. */
double adze_mcnemar_p(int64_t b, int64_t c);
void adze_holm(double *p, int64_t n); /* corrects p values of n tests made together (Holm 1979); n <= 64. NaN stays, and counts as no test */

/* Ranks from 1, equal values sharing the mean of theirs; order: room for n. */
void adze_midranks(const double *v, int64_t n, int64_t *order, double *rank);
double adze_pearson(const double *a, const double *b, int64_t n); /* NaN where one side does not vary */

#endif
