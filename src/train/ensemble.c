/* Ensembles (Hansen and Salamon 1990; Lakshminarayanan et al. 2017; of snapshots: Huang et al. 2017): members judge the same examples batch by batch,
 * their answers become one, and sums over examples are kept. Probabilities are handled as logarithms, so that none is rounded to 0. */
#include "base/stats.h"
#include "train/evaluate.h"

#include <math.h>

typedef struct member {
    adze_model *owned; /* NULL: model and store are somebody else's */
    const adze_model *model;
    adze_store *store;
    double weight; /* as given */
    adze_evaluator eval;
    adze_loader *loader;
} member;

struct adze_ensemble {
    adze_ctx *ctx;
    adze_ensemble_mean mean;
    member *at;
    int n;
};

typedef struct sums { /* over examples */
    double nll, brier, sure[ADZE_BINS], hits[ADZE_BINS];
    int64_t right;
} sums;

typedef struct judging { /* what one evaluation needs */
    adze_ensemble *e;
    const adze_dataset *data;
    int64_t batch, classes;
    adze_tensor arena;
    double *logp;     /* members x batch x classes */
    int64_t *labels;  /* batch */
    double *whole;    /* classes: log probabilities of the ensemble, */
    double *votes;    /* and shares of votes */
    int64_t *answer;  /* members */
    double *weight;   /* members: shares of 1 */
    sums *sum;        /* members + 1 */
    int64_t *differs; /* members x members */
} judging;

/* -- members ------------------------------------------------------------------------------------------------------------------------------------- */

int adze_ensemble_new(adze_ctx *ctx, adze_ensemble_mean mean, adze_ensemble **out) {
    *out = NULL;
    if ((unsigned)mean > ADZE_MEAN_VOTE) {
        return adze_fail(ctx, ADZE_EARG, "there is no mean %d of an ensemble", (int)mean);
    }
    adze_ensemble *e = adze_alloc(ctx, 1, sizeof *e);
    TRY(ADZE_GOT(e));
    e->ctx = ctx;
    e->mean = mean;
    *out = e;
    return ADZE_OK;
}

static void member_close(member *m) {
    adze_loader_free(m->loader);
    adze_evaluator_close(&m->eval);
    m->loader = NULL;
}

void adze_ensemble_free(adze_ensemble *e) {
    for (int i = 0; e != NULL && i < e->n; i++) {
        member_close(&e->at[i]);
        if (e->at[i].owned != NULL) {
            adze_store_free(e->at[i].store);
            adze_model_free(e->at[i].owned);
        }
    }
    if (e != NULL) {
        adze_free(e->ctx, e->at);
        adze_free(e->ctx, e);
    }
}

int adze_ensemble_add(adze_ensemble *e, const adze_model *m, adze_store *s, double weight) {
    if (!(weight >= 0) || isinf(weight)) {
        return adze_fail(e->ctx, ADZE_EARG, "the weight of a member is a number from 0 up, not %g", weight);
    }
    if (adze_model_classes(m) < 1) {
        return adze_fail(e->ctx, ADZE_EARG, "model '%s' is no classifier, and an ensemble is made of those", adze_model_name(m));
    }
    if (e->n > 0 && adze_model_classes(m) != adze_model_classes(e->at[0].model)) {
        return adze_fail(e->ctx, ADZE_EARG, "model '%s' tells %d classes apart, but '%s' %d: they make no ensemble", adze_model_name(m),
                         adze_model_classes(m), adze_model_name(e->at[0].model), adze_model_classes(e->at[0].model));
    }
    member *more = adze_resize(e->ctx, e->at, e->n, e->n + 1, sizeof *more);
    TRY(ADZE_GOT(more));
    e->at = more;
    e->at[e->n++] = (member){.model = m, .store = s, .weight = weight};
    return ADZE_OK;
}

int adze_ensemble_load(adze_ensemble *e, const char *path, double weight) {
    adze_model *m = NULL;
    adze_store *s = NULL;
    TRY(adze_model_load(e->ctx, path, &m, &s));
    const int st = adze_ensemble_add(e, m, s, weight);
    if (st != ADZE_OK) {
        adze_store_free(s);
        adze_model_free(m);
        return st;
    }
    e->at[e->n - 1].owned = m;
    return ADZE_OK;
}

/* -- probabilities ------------------------------------------------------------------------------------------------------------------------------- */

static int64_t largest(const double *v, int64_t n) {
    int64_t best = 0;
    for (int64_t c = 1; c < n; c++) {
        best = v[c] > v[best] ? c : best;
    }
    return best;
}

static double log_sum_exp(const double *v, int64_t n, int64_t stride) {
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        top = v[i * stride] > top || isnan(v[i * stride]) ? v[i * stride] : top;
    }
    if (!isfinite(top)) {
        return top;
    }
    for (int64_t i = 0; i < n; i++) {
        sum += exp(v[i * stride] - top);
    }
    return top + log(sum);
}

/* A model's outputs as log probabilities. */
static void to_log(double *v, int64_t classes, bool probabilities) {
    const double all = probabilities ? 0 : log_sum_exp(v, classes, 1);
    for (int64_t c = 0; c < classes; c++) {
        v[c] = probabilities ? log(v[c]) : v[c] - all;
    }
}

/* whole = log of sum of w_m p_m */
static void mean_of_probabilities(const judging *j, const double *row) {
    const int64_t step = j->batch * j->classes;
    for (int64_t c = 0; c < j->classes; c++) {
        double top = -INFINITY, sum = 0;
        for (int m = 0; m < j->e->n; m++) {
            const double v = row[m * step + c];
            top = j->weight[m] > 0 && (v > top || isnan(v)) ? v : top;
        }
        for (int m = 0; m < j->e->n && isfinite(top); m++) {
            sum += j->weight[m] > 0 ? j->weight[m] * exp(row[m * step + c] - top) : 0;
        }
        j->whole[c] = isfinite(top) ? top + log(sum) : top;
    }
}

static void mean_of_logits(const judging *j, const double *row) {
    for (int64_t c = 0; c < j->classes; c++) {
        j->whole[c] = 0;
        for (int m = 0; m < j->e->n; m++) {
            j->whole[c] += j->weight[m] > 0 ? j->weight[m] * row[m * j->batch * j->classes + c] : 0;
        }
    }
    to_log(j->whole, j->classes, false);
}

/* The class that most votes are for; equal ones are told apart by the mean probability, then by their number. */
static int64_t vote(const judging *j, const double *row) {
    int64_t best = 0;
    mean_of_probabilities(j, row);
    memset(j->votes, 0, (size_t)j->classes * sizeof *j->votes);
    for (int m = 0; m < j->e->n; m++) {
        if (j->weight[m] > 0) {
            j->votes[j->answer[m]] += j->weight[m];
        }
    }
    for (int64_t c = 1; c < j->classes; c++) {
        const double more = j->votes[c] - j->votes[best];
        const bool tie = fabs(more) < 1e-12; /* weights are shares: 1/3 + 1/3 may round apart from 2/3 */
        best = (!tie && more > 0) || (tie && j->whole[c] > j->whole[best]) ? c : best;
    }
    for (int64_t c = 0; c < j->classes; c++) {
        j->whole[c] = log(j->votes[c]);
    }
    return best;
}

/* -- an evaluation ------------------------------------------------------------------------------------------------------------------------------- */

static uint8_t tally(const judging *j, sums *s, const double *logp, int64_t answer, int64_t label) {
    const uint8_t right = answer == label;
    double top = 0;
    for (int64_t c = 0; c < j->classes; c++) {
        const double p = exp(logp[c]), off = p - (c == label);
        s->brier += off * off;
        top = fmax(top, p);
    }
    s->nll -= logp[label];
    s->right += right;
    s->sure[adze_bin_of(top)] += top;
    s->hits[adze_bin_of(top)] += right;
    return right;
}

/* A member whose scores are no numbers is never right. */
static int64_t answer_of(const double *logp, int64_t classes) {
    const int64_t best = largest(logp, classes);
    for (int64_t c = 0; c < classes; c++) {
        if (isnan(logp[c])) {
            return -1;
        }
    }
    return best;
}

static void judge_example(judging *j, int64_t row, int64_t index, adze_ensemble_report *r) {
    adze_ensemble *e = j->e;
    const int64_t label = j->labels[row], step = j->batch * j->classes;
    const double *first = j->logp + row * j->classes;
    bool numbers = true;
    for (int m = 0; m < e->n; m++) {
        j->answer[m] = answer_of(first + m * step, j->classes);
        numbers = numbers && (j->answer[m] >= 0 || j->weight[m] == 0);
        r->right[m * r->count + index] = tally(j, &j->sum[m], first + m * step, j->answer[m], label);
    }
    for (int a = 0; a < e->n; a++) {
        for (int b = 0; b < e->n; b++) {
            j->differs[a * e->n + b] += j->answer[a] != j->answer[b];
        }
    }
    int64_t answer = -1;
    if (numbers && e->mean == ADZE_MEAN_VOTE) {
        answer = vote(j, first);
    } else {
        (e->mean == ADZE_MEAN_LOGIT ? mean_of_logits : mean_of_probabilities)(j, first);
        answer = answer_of(j->whole, j->classes);
    }
    r->right[e->n * r->count + index] = tally(j, &j->sum[e->n], j->whole, answer, label);
}

/* One member's outputs for the batch, before the next member overwrites them in the arena that they share. */
static int ask(judging *j, int m, int64_t *n) {
    adze_evaluator *v = &j->e->at[m].eval;
    TRY(adze_loader_next(j->e->at[m].loader, v->x, v->label, n));
    int64_t *label = adze_tensor_data(&v->label);
    for (int64_t i = *n; i < j->batch; i++) {
        label[i] = -1;
    }
    TRY(adze_session_run(v->session));
    for (int64_t i = 0; i < *n; i++) {
        double *row = j->logp + (m * j->batch + i) * j->classes;
        adze_evaluator_row(v, i, row);
        to_log(row, j->classes, v->probabilities);
        j->labels[i] = label[i];
    }
    return ADZE_OK;
}

static adze_score score_of(const sums *s, double weight, double n) {
    adze_score r = {.weight = weight, .error = 1 - (double)s->right / n, .nll = s->nll / n, .brier = s->brier / n};
    for (int b = 0; b < ADZE_BINS; b++) {
        r.ece += fabs(s->sure[b] - s->hits[b]) / n;
    }
    return r;
}

static bool better(const adze_score *a, const adze_score *b) {
    return a->error < b->error || (a->error == b->error && a->nll < b->nll);
}

static void conclude(const judging *j, adze_ensemble_report *r) {
    const int n = j->e->n;
    const double count = (double)r->count;
    double differ = 0, pairs = 0;
    r->whole = score_of(&j->sum[n], 1, count);
    r->mean = (adze_score){.weight = 1};
    r->best = -1;
    for (int m = 0; m < n; m++) {
        const adze_score s = r->members[m] = score_of(&j->sum[m], j->weight[m], count);
        for (int b = 0; b < n; b++) {
            r->disagreement[m * n + b] = (double)j->differs[m * n + b] / count;
        }
        if (s.weight == 0) {
            continue;
        }
        r->mean.error += s.weight * s.error;
        r->mean.nll += s.weight * s.nll;
        r->mean.brier += s.weight * s.brier;
        r->mean.ece += s.weight * s.ece;
        r->best = r->best < 0 || better(&s, &r->members[r->best]) ? m : r->best;
        for (int b = 0; b < m; b++) {
            differ += j->weight[b] > 0 ? r->disagreement[m * n + b] : 0;
            pairs += j->weight[b] > 0;
        }
    }
    r->mean_disagreement = pairs > 0 ? differ / pairs : NAN;
}

static int judge_all(judging *j, adze_ensemble_report *r) {
    for (int64_t at = 0; at < r->count;) {
        int64_t n = 0;
        for (int m = 0; m < j->e->n; m++) {
            TRY(ask(j, m, &n));
        }
        for (int64_t i = 0; i < n; i++) {
            judge_example(j, i, at + i, r);
        }
        at += n;
    }
    conclude(j, r);
    return ADZE_OK;
}

static int open_members(judging *j) {
    adze_ensemble *e = j->e;
    int64_t arena = 1;
    double all = 0;
    for (int m = 0; m < e->n; m++) {
        all += e->at[m].weight;
        TRY(adze_evaluator_plan(&e->at[m].eval, e->ctx, e->at[m].model, e->at[m].store, "", j->batch, NULL));
        if (e->at[m].eval.rebuilds) {
            return adze_fail(e->ctx, ADZE_EARG, "model '%s' gives its input back and tells no classes apart", adze_model_name(e->at[m].model));
        }
        const int64_t bytes = adze_plan_describe(e->at[m].eval.plan).arena_bytes;
        arena = bytes > arena ? bytes : arena;
    }
    if (!(all > 0)) {
        return adze_fail(e->ctx, ADZE_EARG, "an ensemble needs a member of a weight above 0");
    }
    TRY(adze_tensor_new(e->ctx, adze_type_make(ADZE_U8, 1, &arena), &j->arena));
    for (int m = 0; m < e->n; m++) {
        member *x = &e->at[m];
        const adze_loader_opts lo = {.size = sizeof lo, .batch = j->batch, .dtype = x->eval.dtype};
        j->weight[m] = x->weight / all;
        TRY(adze_evaluator_bind(&x->eval, x->store, "", j->arena));
        TRY(adze_loader_new(e->ctx, j->data, NULL, j->data->count, adze_model_preprocess(x->model), &lo, &x->loader));
    }
    return ADZE_OK;
}

static int judging_open(judging *j, adze_ensemble_report *r) {
    adze_ctx *ctx = j->e->ctx;
    const int n = j->e->n;
    int64_t cells;
    if (!adze_mul_size(n * j->batch, j->classes, &cells)) {
        return adze_fail(ctx, ADZE_ENOMEM, "a batch of %lld is too large", (long long)j->batch);
    }
    j->logp = adze_alloc(ctx, cells, sizeof *j->logp);
    j->labels = adze_alloc(ctx, j->batch, sizeof *j->labels);
    j->whole = adze_alloc(ctx, 2 * j->classes, sizeof *j->whole);
    j->answer = adze_alloc(ctx, n, sizeof *j->answer);
    j->weight = adze_alloc(ctx, n, sizeof *j->weight);
    j->sum = adze_alloc(ctx, n + 1, sizeof *j->sum);
    j->differs = adze_alloc(ctx, (int64_t)n * n, sizeof *j->differs);
    r->members = adze_alloc(ctx, n, sizeof *r->members);
    r->disagreement = adze_alloc(ctx, (int64_t)n * n, sizeof *r->disagreement);
    r->right = adze_alloc(ctx, (n + 1) * r->count, sizeof *r->right);
    TRY(ADZE_GOT(j->logp && j->labels && j->whole && j->answer && j->weight && j->sum && j->differs && r->members && r->disagreement && r->right));
    j->votes = j->whole + j->classes;
    return open_members(j);
}

static void judging_close(judging *j) {
    adze_ctx *ctx = j->e->ctx;
    for (int m = 0; m < j->e->n; m++) {
        member_close(&j->e->at[m]);
    }
    adze_tensor_free(&j->arena);
    adze_free(ctx, j->logp);
    adze_free(ctx, j->labels);
    adze_free(ctx, j->whole);
    adze_free(ctx, j->answer);
    adze_free(ctx, j->weight);
    adze_free(ctx, j->sum);
    adze_free(ctx, j->differs);
}

int adze_ensemble_evaluate(adze_ensemble *e, const adze_dataset *d, int64_t batch, adze_ensemble_report *out) {
    *out = (adze_ensemble_report){.count = d->count, .nmembers = e->n};
    if (e->n == 0 || d->count < 1 || batch < 1) {
        return adze_fail(e->ctx, ADZE_EARG, "an ensemble needs members, examples and a batch of at least 1; there are %d, %lld and %lld", e->n,
                         (long long)d->count, (long long)batch);
    }
    out->classes = adze_model_classes(e->at[0].model);
    if (d->classes > out->classes) {
        return adze_fail(e->ctx, ADZE_EARG, "data set '%s' has %d classes, but the members tell %lld apart", d->name, d->classes,
                         (long long)out->classes);
    }
    judging j = {.e = e, .data = d, .batch = batch < d->count ? batch : d->count, .classes = out->classes};
    int st = judging_open(&j, out);
    if (st == ADZE_OK) {
        st = judge_all(&j, out);
    }
    judging_close(&j);
    if (st != ADZE_OK) {
        adze_ensemble_report_free(e->ctx, out);
    }
    return st;
}

void adze_ensemble_report_free(adze_ctx *ctx, adze_ensemble_report *r) {
    adze_free(ctx, r->members);
    adze_free(ctx, r->disagreement);
    adze_free(ctx, r->right);
    *r = (adze_ensemble_report){0};
}

int adze_ensemble_versus(adze_ctx *ctx, const adze_ensemble_report *r, int index, adze_versus *out) {
    if (index < 0 || index >= r->nmembers) {
        return adze_fail(ctx, ADZE_EARG, "there is no member %d among %d", index, r->nmembers);
    }
    const uint8_t *one = r->right + index * r->count, *whole = r->right + r->nmembers * r->count;
    int64_t only_whole = 0, only_one = 0;
    adze_interval i;
    double *d = adze_alloc(ctx, r->count, sizeof *d);
    TRY(ADZE_GOT(d));
    for (int64_t k = 0; k < r->count; k++) {
        d[k] = (double)whole[k] - (double)one[k];
        only_whole += whole[k] > one[k];
        only_one += whole[k] < one[k];
    }
    const int st = adze_bootstrap_interval(ctx, d, r->count, 1, &i);
    *out = (adze_versus){adze_stats_mean(d, r->count), i.lo, i.hi, adze_mcnemar_p(only_whole, only_one)};
    adze_free(ctx, d);
    return st;
}
