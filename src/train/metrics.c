/* What follows from the scores of an evaluation: precision to Matthews' coefficient, areas under curves, calibration, and the fit of numbers. */
#include "base/stats.h"
#include "train/evaluate.h"

#include <math.h>

static double ratio(double a, double b) {
    return b > 0 ? a / b : 0;
}

/* -- of the confusion matrix ------------------------------------------------------------------------------------------------------------------- */

static adze_class_report of_class(const adze_metrics *m, int64_t k) {
    const int64_t hit = m->confusion[k * m->classes + k];
    adze_class_report r = {.auc = NAN};
    for (int64_t i = 0; i < m->classes; i++) {
        r.count += m->confusion[k * m->classes + i];
        r.called += m->confusion[i * m->classes + k];
    }
    r.precision = ratio((double)hit, (double)r.called);
    r.recall = ratio((double)hit, (double)r.count);
    r.f1 = ratio(2 * (double)hit, (double)(r.count + r.called));
    return r;
}

/* The correlation of label and decision (Gorodkin 2004); for two classes that of Matthews (1975). */
static double matthews(const adze_metrics *m, const adze_class_report *of) {
    const double n = (double)m->count;
    double hit = 0, both = 0, there = 0, called = 0;
    for (int64_t k = 0; k < m->classes; k++) {
        const double t = (double)of[k].count, p = (double)of[k].called;
        hit += (double)m->confusion[k * m->classes + k];
        both += t * p;
        there += t * t;
        called += p * p;
    }
    return ratio(hit * n - both, sqrt(n * n - there) * sqrt(n * n - called));
}

static adze_class_report mean_of(const adze_class_report *of, int64_t classes) {
    adze_class_report r = {0};
    double seen = 0, judged = 0, auc = 0;
    for (int64_t k = 0; k < classes; k++) {
        r.count += of[k].count;
        r.called += of[k].called;
        seen += of[k].count + of[k].called > 0;
        r.precision += of[k].precision;
        r.recall += of[k].recall;
        r.f1 += of[k].f1;
        judged += !isnan(of[k].auc);
        auc += isnan(of[k].auc) ? 0 : of[k].auc;
    }
    r.precision = ratio(r.precision, seen);
    r.recall = ratio(r.recall, seen);
    r.f1 = ratio(r.f1, seen);
    r.auc = judged > 0 ? auc / judged : NAN;
    return r;
}

/* -- of scores ----------------------------------------------------------------------------------------------------------------------------------- */

typedef struct ranking { /* room for ranks of n values */
    double *value, *rank;
    int64_t *order;
} ranking;

static int ranking_open(adze_ctx *ctx, int64_t n, ranking *r) {
    r->value = adze_alloc(ctx, n, sizeof *r->value);
    r->rank = adze_alloc(ctx, n, sizeof *r->rank);
    r->order = adze_alloc(ctx, n, sizeof *r->order);
    return ADZE_GOT(r->value && r->rank && r->order);
}

static void ranking_close(adze_ctx *ctx, ranking *r) {
    adze_free(ctx, r->value);
    adze_free(ctx, r->rank);
    adze_free(ctx, r->order);
}

/* The positives' ranks beyond what they have among themselves count the negatives below them (Mann and Whitney 1947). */
static double auc_of_ranks(double rank_sum, int64_t positives, int64_t n) {
    const double p = (double)positives, q = (double)(n - positives);
    return p > 0 && q > 0 ? (rank_sum - p * (p + 1) / 2) / (p * q) : NAN;
}

int adze_auc(adze_ctx *ctx, const double *score, const bool *positive, int64_t n, double *out) {
    ranking r = {0};
    int st = ranking_open(ctx, n, &r);
    if (st == ADZE_OK) {
        double sum = 0;
        int64_t positives = 0;
        adze_midranks(score, n, r.order, r.rank);
        for (int64_t i = 0; i < n; i++) {
            positives += positive[i];
            sum += positive[i] ? r.rank[i] : 0;
        }
        *out = auc_of_ranks(sum, positives, n);
    }
    ranking_close(ctx, &r);
    return st;
}

static void class_auc(const adze_metrics *m, const double *probs, ranking *r, int64_t k, adze_class_report *of) {
    double sum = 0;
    for (int64_t i = 0; i < m->count; i++) {
        r->value[i] = probs[i * m->classes + k];
    }
    adze_midranks(r->value, m->count, r->order, r->rank);
    for (int64_t i = 0; i < m->count; i++) {
        sum += m->labels[i] == k ? r->rank[i] : 0;
    }
    of->auc = auc_of_ranks(sum, of->count, m->count);
}

double adze_metrics_top(const adze_metrics *m, int64_t k) {
    int64_t hits = 0;
    for (int64_t i = 0; i < m->count; i++) {
        hits += adze_scores_rank(m->scores + i * m->classes, m->classes, m->labels[i]) < k;
    }
    return (double)hits / (double)m->count;
}

/* -- calibration (Guo et al. 2017): does it hold as often as the network says? ----------------------------------------------------------------- */

int adze_bin_of(double top) { /* the upper edge belongs to the bin */
    const double at = ceil(top * ADZE_BINS) - 1;
    return at < 0 ? 0 : at >= ADZE_BINS ? ADZE_BINS - 1 : (int)at;
}

static void calibrate(const adze_metrics *m, const double *probs, adze_report *r) {
    double sure[ADZE_BINS] = {0}, right[ADZE_BINS] = {0}, brier = 0;
    for (int64_t i = 0; i < m->count; i++) {
        const double *p = probs + i * m->classes;
        double top = 0;
        for (int64_t k = 0; k < m->classes; k++) {
            const double e = p[k] - (m->labels[i] == k);
            brier += e * e;
            top = fmax(top, p[k]);
        }
        const int b = adze_bin_of(top);
        sure[b] += top;
        right[b] += adze_scores_rank(m->scores + i * m->classes, m->classes, m->labels[i]) == 0;
        r->bins[b].count++;
    }
    r->brier = brier / (double)m->count;
    for (int b = 0; b < ADZE_BINS; b++) {
        const double n = (double)r->bins[b].count;
        r->bins[b].confidence = n > 0 ? sure[b] / n : NAN;
        r->bins[b].accuracy = n > 0 ? right[b] / n : NAN;
        const double gap = n > 0 ? fabs(sure[b] - right[b]) / n : 0;
        r->ece += gap * n / (double)m->count;
        r->mce = fmax(r->mce, gap);
    }
}

/* -- numbers ------------------------------------------------------------------------------------------------------------------------------------- */

static int spearman(adze_ctx *ctx, const double *a, const double *b, int64_t n, double *out) {
    ranking r = {0};
    int st = ranking_open(ctx, n, &r);
    if (st == ADZE_OK) {
        adze_midranks(a, n, r.order, r.value);
        adze_midranks(b, n, r.order, r.rank);
        *out = adze_pearson(r.value, r.rank, n);
    }
    ranking_close(ctx, &r);
    return st;
}

int adze_fit_numbers(adze_ctx *ctx, const double *truth, const double *predicted, int64_t n, adze_fit *out) {
    const double mean = adze_stats_mean(truth, n), count = (double)n;
    double off = 0, squares = 0, spread = 0;
    for (int64_t i = 0; i < n; i++) {
        const double e = predicted[i] - truth[i];
        off += fabs(e);
        squares += e * e;
        spread += (truth[i] - mean) * (truth[i] - mean);
    }
    *out = (adze_fit){.mae = off / count, .rmse = sqrt(squares / count), .r2 = spread > 0 ? 1 - squares / spread : NAN};
    return spearman(ctx, truth, predicted, n, &out->spearman);
}

static int fit_class_numbers(adze_ctx *ctx, const adze_metrics *m, const double *probs, adze_fit *out) {
    double *truth = adze_alloc(ctx, m->count, 2 * sizeof *truth);
    TRY(ADZE_GOT(truth));
    double *expected = truth + m->count;
    for (int64_t i = 0; i < m->count; i++) {
        truth[i] = (double)m->labels[i];
        for (int64_t k = 0; k < m->classes; k++) {
            expected[i] += (double)k * probs[i * m->classes + k];
        }
    }
    int st = adze_fit_numbers(ctx, truth, expected, m->count, out);
    adze_free(ctx, truth);
    return st;
}

/* -- all of it ----------------------------------------------------------------------------------------------------------------------------------- */

static int report_fill(adze_ctx *ctx, const adze_metrics *m, double *probs, ranking *ranks, adze_report *r) {
    for (int64_t i = 0; i < m->count && !m->probabilities && !m->numbers; i++) {
        adze_scores_to_probabilities(probs + i * m->classes, m->classes);
    }
    for (int64_t k = 0; k < m->classes; k++) {
        r->of[k] = of_class(m, k);
        class_auc(m, probs, ranks, k, &r->of[k]);
    }
    r->macro = mean_of(r->of, m->classes);
    r->micro = (adze_class_report){m->count, m->count, m->acc, m->acc, m->acc, NAN};
    r->matthews = matthews(m, r->of);
    r->perplexity = exp(m->nll);
    r->bits = m->nll / log(2);
    if (m->numbers) {
        r->brier = r->ece = r->mce = NAN;
        r->ordinal = (adze_fit){NAN, NAN, NAN, NAN};
        return ADZE_OK;
    }
    calibrate(m, probs, r);
    return fit_class_numbers(ctx, m, probs, &r->ordinal);
}

int adze_metrics_report(adze_ctx *ctx, const adze_metrics *m, adze_report *out) {
    *out = (adze_report){0};
    if (m->scores == NULL || m->count < 1) {
        return adze_fail(ctx, ADZE_EARG, "a report needs the scores of at least one example: adze_evaluate keeps them");
    }
    const int64_t cells = m->count * m->classes;
    double *probs = adze_alloc(ctx, cells, sizeof *probs);
    ranking ranks = {0};
    out->of = adze_alloc(ctx, m->classes, sizeof *out->of);
    int st = probs != NULL && out->of != NULL ? ranking_open(ctx, m->count, &ranks) : ADZE_ENOMEM;
    if (st == ADZE_OK) {
        memcpy(probs, m->scores, sizeof *probs * (size_t)cells);
        st = report_fill(ctx, m, probs, &ranks, out);
    }
    ranking_close(ctx, &ranks);
    adze_free(ctx, probs);
    if (st != ADZE_OK) {
        adze_report_free(ctx, out);
    }
    return st;
}

void adze_report_free(adze_ctx *ctx, adze_report *r) {
    adze_free(ctx, r->of);
    *r = (adze_report){0};
}
