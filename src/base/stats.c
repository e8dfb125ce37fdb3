/* Statistics of small samples: Student's t, the percentile bootstrap, sign and McNemar tests, Holm's correction, ranks. */
#include "base/stats.h"

#include <math.h>
#include <stdlib.h>

enum { RESAMPLES = 10000, EXACT_BELOW = 25, MAX_TESTS = 64, MAX_FRACTION = 500 };

double adze_stats_mean(const double *v, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += v[i];
    }
    return n > 0 ? sum / (double)n : NAN;
}

double adze_stats_sd(const double *v, int64_t n) {
    const double mean = adze_stats_mean(v, n);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (v[i] - mean) * (v[i] - mean);
    }
    return n > 1 ? sqrt(sum / (double)(n - 1)) : NAN;
}

/* -- Student's t --------------------------------------------------------------------------------------------------------------------------------- */

/* The continued fraction of the incomplete beta function, from the front (Lentz 1976): c and d: ratios of successive numerators and denominators. */
static double beta_fraction(double a, double b, double x) {
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double f = d;
    for (int m = 1; m < MAX_FRACTION; m++) {
        double step = 1;
        for (int odd = 0; odd < 2; odd++) {
            const double k = m, at = a + 2 * k;
            const double term = odd ? -(a + k) * (a + b + k) * x / (at * (at + 1)) : k * (b - k) * x / ((at - 1) * at);
            d = 1 + term * d;
            c = 1 + term / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            step = c * d;
            f *= step;
        }
        if (fabs(step - 1) < 1e-16) {
            break;
        }
    }
    return f;
}

double adze_incbeta(double a, double b, double x) {
    if (!(x > 0) || !(x < 1)) {
        return x <= 0 ? 0 : x >= 1 ? 1 : NAN;
    }
    if (x > (a + 1) / (a + b + 2)) { /* the fraction converges fast on the other side */
        return 1 - adze_incbeta(b, a, 1 - x);
    }
    return exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a * beta_fraction(a, b, x);
}

/* P(|T| > t): exact also far out, where 1 - cdf would be 0. */
static double t_two_sided(double t, double df) {
    return adze_incbeta(df / 2, 0.5, df / (df + t * t));
}

double adze_t_cdf(double t, double df) {
    const double tail = t_two_sided(t, df) / 2;
    return t > 0 ? 1 - tail : tail;
}

double adze_t_quantile(double p, double df) {
    if (!(p > 0 && p < 1)) {
        return NAN;
    }
    const double tail = 2 * (p < 0.5 ? p : 1 - p);
    double lo = 0, hi = 1;
    while (t_two_sided(hi, df) > tail && hi < 1e300) {
        hi *= 2;
    }
    for (int i = 0; i < 200 && lo < hi; i++) { /* bisection: certain, and nobody waits for it */
        const double mid = lo + (hi - lo) / 2;
        if (mid <= lo || mid >= hi) {
            break;
        }
        *(t_two_sided(mid, df) > tail ? &lo : &hi) = mid;
    }
    return p < 0.5 ? -hi : hi;
}

adze_interval adze_t_interval(const double *v, int64_t n) {
    if (n < 2) {
        return (adze_interval){NAN, NAN};
    }
    const double mean = adze_stats_mean(v, n), half = adze_t_quantile(0.975, (double)(n - 1)) * adze_stats_sd(v, n) / sqrt((double)n);
    return (adze_interval){mean - half, mean + half};
}

double adze_paired_t_p(const double *d, int64_t n) {
    const double mean = adze_stats_mean(d, n), sd = adze_stats_sd(d, n), rounding = 1e-10 * fabs(mean);
    if (n < 2 || !(sd > rounding)) { /* differences that are all the same leave nothing to judge chance by */
        return NAN;
    }
    return t_two_sided(mean / (sd / sqrt((double)n)), (double)(n - 1));
}

/* -- the bootstrap ------------------------------------------------------------------------------------------------------------------------------- */

int adze_ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Between the two nearest of n sorted values. */
static double percentile(const double *sorted, int64_t n, double p) {
    const double at = p * (double)(n - 1);
    const int64_t i = (int64_t)at;
    return i + 1 < n ? sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

int adze_bootstrap_interval(adze_ctx *ctx, const double *v, int64_t n, uint64_t seed, adze_interval *out) {
    *out = (adze_interval){NAN, NAN};
    if (n < 2) {
        return ADZE_OK;
    }
    double *means = adze_alloc(ctx, RESAMPLES, sizeof *means);
    TRY(ADZE_GOT(means));
    adze_rng r = adze_rng_make(seed, adze_hash_str("bootstrap"));
    for (int64_t k = 0; k < RESAMPLES; k++) {
        for (int64_t i = 0; i < n; i++) {
            means[k] += v[adze_rng_below(&r, (uint64_t)n)] / (double)n;
        }
    }
    qsort(means, RESAMPLES, sizeof *means, adze_ascending);
    *out = (adze_interval){percentile(means, RESAMPLES, 0.025), percentile(means, RESAMPLES, 0.975)};
    adze_free(ctx, means);
    return ADZE_OK;
}

/* -- counts -------------------------------------------------------------------------------------------------------------------------------------- */

double adze_binomial_p(int64_t k, int64_t n) {
    if (n == 0) {
        return 1;
    }
    const int64_t rare = k < n - k ? k : n - k;
    return 2 * rare == n ? 1 : fmin(1, 2 * adze_incbeta((double)(n - rare), (double)rare + 1, 0.5)); /* P(at most rare), and its mirror */
}

double adze_sign_p(const double *d, int64_t n) {
    int64_t up = 0, down = 0;
    for (int64_t i = 0; i < n; i++) {
        up += d[i] > 0;
        down += d[i] < 0;
    }
    return n > 0 ? adze_binomial_p(up, up + down) : NAN;
}

double adze_mcnemar_p(int64_t b, int64_t c) {
    if (b + c < EXACT_BELOW) {
        return adze_binomial_p(b, b + c);
    }
    const double gap = fabs((double)(b - c)) - 1;
    return gap <= 0 ? 1 : erfc(gap / sqrt(2 * (double)(b + c))); /* chi square of one degree is a squared normal */
}

void adze_holm(double *p, int64_t n) {
    int64_t order[MAX_TESTS], m = 0;
    for (int64_t i = 0; i < n && i < MAX_TESTS; i++) { /* sorted by insertion */
        if (isnan(p[i])) {
            continue;
        }
        int64_t k = m++;
        for (; k > 0 && p[order[k - 1]] > p[i]; k--) {
            order[k] = order[k - 1];
        }
        order[k] = i;
    }
    double most = 0;
    for (int64_t k = 0; k < m; k++) {
        most = fmax(most, fmin(1, p[order[k]] * (double)(m - k)));
        p[order[k]] = most;
    }
}

/* -- ranks --------------------------------------------------------------------------------------------------------------------------------------- */

/* A heap sort of indices: qsort has no argument for the values, and merges need memory. */
static void sift(const double *v, int64_t *order, int64_t i, int64_t n) {
    for (int64_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && v[order[child + 1]] > v[order[child]];
        if (!(v[order[child]] > v[order[i]])) {
            return;
        }
        const int64_t swap = order[i];
        order[i] = order[child];
        order[child] = swap;
    }
}

void adze_midranks(const double *v, int64_t n, int64_t *order, double *rank) {
    for (int64_t i = 0; i < n; i++) {
        order[i] = i;
    }
    for (int64_t i = n / 2 - 1; i >= 0; i--) {
        sift(v, order, i, n);
    }
    for (int64_t left = n - 1; left > 0; left--) {
        const int64_t swap = order[0];
        order[0] = order[left];
        order[left] = swap;
        sift(v, order, 0, left);
    }
    for (int64_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && v[order[to]] == v[order[from]];) {
            to++;
        }
        for (int64_t k = from; k < to; k++) {
            rank[order[k]] = 0.5 * (double)(from + to + 1);
        }
    }
}

double adze_pearson(const double *a, const double *b, int64_t n) {
    const double ma = adze_stats_mean(a, n), mb = adze_stats_mean(b, n);
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < n; i++) {
        ab += (a[i] - ma) * (b[i] - mb);
        aa += (a[i] - ma) * (a[i] - ma);
        bb += (b[i] - mb) * (b[i] - mb);
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa) / sqrt(bb) : NAN;
}
