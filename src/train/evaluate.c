/* Evaluation and prediction: batches of one size, the last one padded; rows beyond the data count nowhere and sums are divided by the true count. */
#include "train/evaluate.h"

#include "core/type.h"
#include "model/layer.h"
#include "train/steps.h"

#include <math.h>

enum { TOP = 5, PREDICT_BATCH = 64, EVAL_WORKERS = 1 };

bool adze_model_ends_in_softmax(const adze_model *m) {
    return m->nlayers > 0 && m->layers[m->nlayers - 1].spec->kind == &adze_layer_softmax;
}

/* -- scores of one example ----------------------------------------------------------------------------------------------------------------------- */

void adze_scores_row(const adze_tensor *y, int64_t row, int64_t classes, double *out) {
    const char *p = adze_tensor_data(y);
    for (int64_t c = 0; c < classes; c++) {
        out[c] = y->dtype == ADZE_F64 ? ((const double *)p)[row * classes + c] : (double)((const float *)p)[row * classes + c];
    }
}

/* The softmax of logarithms is what they are of over its sum: so scikit-learn's one-vs-rest makes probabilities of classes. */
void adze_evaluator_row(const adze_evaluator *e, int64_t row, double *out) {
    adze_scores_row(&e->y, row, e->classes, out);
    for (int64_t c = 0; e->sigmoids && c < e->classes; c++) {
        out[c] = fmin(out[c], 0) - log1p(exp(-fabs(out[c])));
    }
}

int64_t adze_scores_rank(const double *scores, int64_t classes, int64_t label) {
    int64_t above = 0;
    for (int64_t c = 0; c < classes; c++) {
        if (isnan(scores[c])) {
            return classes;
        }
        above += scores[c] > scores[label] || (scores[c] == scores[label] && c < label);
    }
    return above;
}

static int64_t scores_best(const double *scores, int64_t classes) {
    int64_t best = 0;
    for (int64_t c = 1; c < classes; c++) {
        best = scores[c] > scores[best] ? c : best;
    }
    return best;
}

void adze_scores_to_probabilities(double *s, int64_t classes) {
    double top = s[scores_best(s, classes)], sum = 0;
    for (int64_t c = 0; c < classes; c++) {
        s[c] = exp(s[c] - top);
        sum += s[c];
    }
    for (int64_t c = 0; c < classes; c++) {
        s[c] /= sum;
    }
}

static double scores_nll(const double *s, int64_t classes, int64_t label, bool probabilities) {
    if (probabilities) {
        return -log(s[label]);
    }
    double top = s[scores_best(s, classes)], sum = 0;
    for (int64_t c = 0; c < classes; c++) {
        sum += exp(s[c] - top);
    }
    return log(sum) + top - s[label];
}

/* -- the plan ------------------------------------------------------------------------------------------------------------------------------------ */

/* The dtype of the first floating slot under the prefix: what the weights are is what is computed in. */
static adze_dtype store_dtype(const adze_store *s, const char *prefix) {
    size_t n = strlen(prefix);
    for (int i = 0; i < adze_store_count(s); i++) {
        adze_dtype d = adze_store_type(s, i).dtype;
        if (strncmp(adze_store_name(s, i), prefix, n) == 0 && (d == ADZE_F32 || d == ADZE_F64)) {
            return d;
        }
    }
    return ADZE_F32;
}

static int evaluator_build(adze_evaluator *e, adze_graph *g, const adze_train_opts *o) {
    adze_val y = {0};
    adze_train_terms terms;
    adze_build_opts opts = {.size = sizeof opts,
                            .dtype = e->dtype,
                            .drops = e->how.dropout != ADZE_DROPOUT_WEIGHT_SCALE,
                            .samples = e->how.samples,
                            .statistics = e->statistics};
    adze_val x = adze_input(g, "x", adze_model_input_type(e->model, e->batch, e->dtype));
    adze_val label = adze_input(g, "label", adze_type_make(ADZE_I64, 1, &e->batch));
    TRY(adze_model_build(e->model, g, x, &opts, &y));
    TRY(adze_train_loss(e->model, g, o, x, y, label, &terms));
    adze_type t = adze_val_type(g, y);
    e->classes = t.dims[t.rank - 1];
    TRY(adze_output(g, "loss", terms.loss));
    e->rebuilds = terms.error.id != 0;
    TRY(e->rebuilds ? adze_output(g, "error", terms.error) : ADZE_OK);
    TRY(e->rebuilds && e->keep ? adze_output(g, "guess", terms.guess) : ADZE_OK);
    return adze_output(g, "y", y);
}

static int evaluator_plan(adze_evaluator *e, adze_ctx *ctx, const adze_model *m, const adze_store *s, const char *prefix, int64_t batch,
                          const adze_train_opts *o, const adze_eval_opts *how) {
    adze_train_opts own;
    TRY(o != NULL ? ADZE_OK : adze_train_recall(ctx, m, &own));
    o = o != NULL ? o : &own;
    *e = (adze_evaluator){
        .ctx = ctx, .model = m, .batch = batch, .dtype = store_dtype(s, prefix), .statistics = e->statistics, .keep = e->keep, .how = *how};
    e->probabilities = adze_model_ends_in_softmax(m);
    e->sigmoids = !e->probabilities && o->loss == ADZE_LOSS_SIGMOID_XENT;
    e->numbers = !e->probabilities && !adze_loss_links(o->loss);
    if (batch < 1) {
        return adze_fail(ctx, ADZE_EARG, "an evaluation needs a batch of at least 1, not %lld", (long long)batch);
    }
    adze_graph *g = NULL;
    TRY(adze_graph_new(ctx, &g));
    int st = evaluator_build(e, g, o);
    if (st == ADZE_OK) {
        const adze_compile_opts opts = {.size = sizeof opts, .keep_packed = !e->statistics, .precision = adze_train_precision(o)};
        st = adze_compile(g, &opts, &e->plan);
    }
    adze_graph_free(g);
    return st;
}

int adze_evaluator_plan(adze_evaluator *e, adze_ctx *ctx, const adze_model *m, const adze_store *s, const char *prefix, int64_t batch,
                        const adze_train_opts *o) {
    return evaluator_plan(e, ctx, m, s, prefix, batch, o, &(adze_eval_opts){0});
}

int adze_evaluator_bind(adze_evaluator *e, adze_store *s, const char *prefix, adze_tensor arena) {
    TRY(adze_session_new_in(e->ctx, e->plan, s, prefix, arena, &e->session));
    TRY(adze_session_input(e->session, "x", &e->x));
    TRY(adze_session_input(e->session, "label", &e->label));
    TRY(adze_session_output(e->session, "loss", &e->loss));
    if (e->rebuilds) {
        TRY(adze_session_output(e->session, "error", &e->error));
        TRY(e->keep ? adze_session_output(e->session, "guess", &e->guess) : ADZE_OK);
    }
    return adze_session_output(e->session, "y", &e->y);
}

int adze_evaluator_open(adze_evaluator *e, adze_ctx *ctx, const adze_model *m, adze_store *s, const char *prefix, int64_t batch,
                        const adze_train_opts *o) {
    TRY(adze_evaluator_plan(e, ctx, m, s, prefix, batch, o));
    return adze_evaluator_bind(e, s, prefix, (adze_tensor){0});
}

static double dropconnect_of(const adze_layer *l) {
    const adze_field *f = adze_field_find(l->spec->kind->fields, "dropconnect");
    return f != NULL ? *(const double *)(const void *)((const char *)l->spec->fields + f->offset) : 0;
}

/* Draws of sums are for dense layers with DropConnect, whose masks are not drawn too. */
static int check_gauss(adze_ctx *ctx, const adze_model *m, const adze_eval_opts *how) {
    bool any = false;
    if (how->dropout != ADZE_DROPOUT_WEIGHT_SCALE) {
        return adze_fail(ctx, ADZE_EARG, "dropconnect in use: gauss draws sums where dropout mc and geo draw masks; give one of them");
    }
    for (int i = 0; i < m->nlayers; i++) {
        const adze_layer *l = &m->layers[i];
        any = any || dropconnect_of(l) > 0;
        if (dropconnect_of(l) > 0 && l->spec->kind != &adze_layer_dense) {
            return adze_fail(ctx, ADZE_EARG, "dropconnect in use: gauss is for dense layers, and '%s' is a %s layer; take mean, or dropout mc",
                             l->path, l->spec->kind->name);
        }
    }
    return any ? ADZE_OK : adze_fail(ctx, ADZE_EARG, "dropconnect in use: gauss draws nothing, as model '%s' has no dropconnect", m->name);
}

int adze_evaluator_open_with(adze_evaluator *e, adze_ctx *ctx, const adze_model *m, adze_store *s, int64_t batch, const adze_eval_opts *how) {
    const char *prefix = how->prefix ? how->prefix : "";
    if (how->dropout < ADZE_DROPOUT_WEIGHT_SCALE || how->dropout > ADZE_DROPOUT_GEO || how->samples < 0 ||
        how->passes < (how->dropout != ADZE_DROPOUT_WEIGHT_SCALE)) {
        return adze_fail(ctx, ADZE_EARG, "dropout in use: mc and geo take at least 1 pass");
    }
    if (how->samples > 0) {
        TRY(check_gauss(ctx, m, how));
    }
    TRY(evaluator_plan(e, ctx, m, s, prefix, batch, how->train, how));
    if (e->rebuilds && (how->passes > 0 || how->crops > 0)) {
        return adze_fail(ctx, ADZE_EARG, "passes and crops average what is said of classes, and model '%s' gives its input back", m->name);
    }
    if (how->passes > 0 || how->crops > 1) {
        e->mixed = adze_alloc(ctx, batch + 1, sizeof *e->mixed * (size_t)(e->classes + 1)); /* the last: room for a row */
        TRY(ADZE_GOT(e->mixed));
    }
    return adze_evaluator_bind(e, s, prefix, (adze_tensor){0});
}

void adze_evaluator_close(adze_evaluator *e) {
    if (e->mixed) {
        adze_free(e->ctx, e->mixed);
    }
    adze_session_free(e->session);
    adze_plan_free(e->plan);
    *e = (adze_evaluator){0};
}

/* -- passes -------------------------------------------------------------------------------------------------------------------------------------- */

static int64_t rows_of_example(const adze_evaluator *e) {
    return e->how.crops > 1 ? e->how.crops : 1;
}

/* Whether the rows are such; mean logarithms want a softmax like any scores. */
static bool gives_probabilities(const adze_evaluator *e) {
    return e->mixed && !e->numbers ? e->how.dropout != ADZE_DROPOUT_GEO : e->probabilities;
}

/* Adds the losses and the probabilities, or what softmax makes probabilities of, or numbers, of the first n rows of the batch. */
static void mix_pass(adze_evaluator *e, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double *sum = e->mixed + i / rows_of_example(e) * (e->classes + 1), *row = e->mixed + e->batch * (e->classes + 1);
        const bool mean = gives_probabilities(e);
        adze_evaluator_row(e, i, row);
        if (mean && !e->probabilities) {
            adze_scores_to_probabilities(row, e->classes);
        }
        sum[0] += adze_tensor_get(&e->loss, i);
        for (int64_t c = 0; c < e->classes; c++) {
            sum[1 + c] += e->probabilities && !mean ? log(row[c]) : row[c]; /* of logits: a mean of logarithms but for a constant */
        }
    }
}

/* The n rows that the plan holds, the first of which has this number. */
static int run_batch(adze_evaluator *e, int64_t first, int64_t n) {
    const int64_t passes = e->how.passes > 0 ? e->how.passes : 1, rows = rows_of_example(e), numbers = n / rows * (e->classes + 1);
    for (int64_t i = 0; e->mixed && i < numbers; i++) {
        e->mixed[i] = 0;
    }
    for (int64_t k = 0; k < passes; k++) {
        adze_session_random(e->session, e->how.seed, (uint64_t)k, first);
        TRY(adze_session_run(e->session));
        if (e->mixed) {
            mix_pass(e, n);
        }
    }
    for (int64_t i = 0; e->mixed && i < numbers; i++) {
        e->mixed[i] /= (double)(passes * rows);
    }
    return ADZE_OK;
}

static void read_row(const adze_evaluator *e, int64_t row, double *scores) {
    if (e->mixed) {
        memcpy(scores, e->mixed + row * (e->classes + 1) + 1, sizeof *scores * (size_t)e->classes);
    } else {
        adze_evaluator_row(e, row, scores);
    }
}

/* -- evaluation ---------------------------------------------------------------------------------------------------------------------------------- */

typedef struct tally { /* sums over examples, in their order; of rebuilt numbers: |off|, its square, and the square about the mean example */
    double loss, nll, error, off, squares, spread;
    int64_t right, top, n;
} tally;

/* mean: of the examples so far (Welford 1962). */
static void tally_rebuilt(const adze_evaluator *e, int64_t row, double *mean, tally *t) {
    const int64_t values = e->keep ? e->guess.dims[1] : 0;
    t->loss += adze_tensor_get(&e->loss, row);
    t->error += adze_tensor_get(&e->error, row);
    t->n++;
    for (int64_t i = 0; i < values; i++) {
        const double x = adze_tensor_get(&e->x, row * values + i), off = adze_tensor_get(&e->guess, row * values + i) - x, step = x - mean[i];
        mean[i] += step / (double)t->n;
        t->off += fabs(off);
        t->squares += off * off;
        t->spread += step * (x - mean[i]);
    }
}

static void tally_example(const adze_evaluator *e, int64_t row, double *scores, tally *t, adze_metrics *out) {
    if (e->rebuilds) {
        tally_rebuilt(e, row, scores, t);
        return;
    }
    int64_t label = ((const int64_t *)adze_tensor_data(&e->label))[row * rows_of_example(e)];
    read_row(e, row, scores);
    int64_t rank = adze_scores_rank(scores, e->classes, label);
    t->loss += e->mixed ? e->mixed[row * (e->classes + 1)] : adze_tensor_get(&e->loss, row);
    t->nll += scores_nll(scores, e->classes, label, gives_probabilities(e));
    t->right += rank == 0;
    t->top += rank < TOP;
    t->n++;
    out->confusion[label * e->classes + scores_best(scores, e->classes)]++;
    if (out->scores != NULL) {
        memcpy(out->scores + (t->n - 1) * e->classes, scores, sizeof *scores * (size_t)e->classes);
        out->labels[t->n - 1] = label;
    }
}

static int evaluator_batches(adze_evaluator *e, adze_loader *l, double *scores, adze_metrics *out) {
    tally t = {.nll = e->numbers ? NAN : 0};
    for (int64_t b = 0; b < adze_loader_batches(l); b++) {
        int64_t n = 0;
        TRY(adze_loader_next(l, e->x, e->label, &n));
        int64_t *label = adze_tensor_data(&e->label);
        for (int64_t i = n; i < e->batch; i++) {
            label[i] = -1; /* padding: no loss; x keeps what the batch before left there */
        }
        TRY(run_batch(e, b * e->batch, n));
        for (int64_t i = 0; i < n / rows_of_example(e); i++) {
            tally_example(e, i, scores, &t, out);
        }
    }
    double count = (double)t.n;
    out->count = t.n;
    out->loss = t.loss / count;
    out->nll = t.nll / count;
    out->acc = (double)t.right / count;
    out->top5 = (double)t.top / count;
    out->error = e->rebuilds ? t.error / count : NAN;
    if (e->rebuilds) {
        out->nll = out->acc = out->top5 = NAN;
        out->values = e->keep ? e->guess.dims[1] : 0;
        count *= (double)out->values;
        out->fit = (adze_fit){t.off / count, sqrt(t.squares / count), t.spread > 0 ? 1 - t.squares / t.spread : NAN, NAN};
    }
    return ADZE_OK;
}

int adze_example_check(adze_ctx *ctx, const adze_model *m, const adze_dataset *d, int64_t pad) {
    const adze_type want = adze_model_input_type(m, 1, ADZE_F32), *have = &d->example;
    const int64_t dims[3] = {have->dims[0] + 2 * pad, have->dims[1] + 2 * pad, have->dims[2]};
    const adze_type padded = have->rank == 3 ? adze_type_make(ADZE_U8, 3, dims) : *have;
    return adze_type_count(&padded) == adze_type_count(&want)
               ? ADZE_OK
               : adze_fail(ctx, ADZE_ESHAPE, "model '%s' takes examples as %s, but those of '%s' are %s with a border of %lld", adze_model_name(m),
                           ADZE_SHOWN(&want), d->name, ADZE_SHOWN(have), (long long)pad);
}

static int evaluator_check(const adze_evaluator *e, const adze_dataset *d) {
    TRY(adze_example_check(e->ctx, e->model, d, adze_model_preprocess(e->model)->pad));
    if (d->classes > e->classes && !e->rebuilds) {
        return adze_fail(e->ctx, ADZE_EARG, "data set '%s' has %d classes, but model '%s' tells %lld apart", d->name, d->classes,
                         adze_model_name(e->model), (long long)e->classes);
    }
    return ADZE_OK;
}

/* n: rows, which come in the order of their examples. */
static int run_rows(adze_evaluator *e, const adze_dataset *d, const int64_t *ids, int64_t n, adze_metrics *out) {
    const int64_t examples = n / rows_of_example(e);
    *out = (adze_metrics){.classes = e->rebuilds ? 0 : e->classes, .probabilities = gives_probabilities(e), .numbers = e->numbers};
    TRY(evaluator_check(e, d));
    int64_t cells;
    if (!adze_mul_size(out->classes, out->classes, &cells)) {
        return adze_fail(e->ctx, ADZE_ENOMEM, "a confusion matrix of %lld classes is too large", (long long)e->classes);
    }
    adze_loader_opts lo = {.size = sizeof lo, .batch = e->batch, .dtype = e->dtype, .workers = EVAL_WORKERS};
    adze_loader *l = NULL;
    TRY(adze_loader_new(e->ctx, d, ids, n, adze_model_preprocess(e->model), &lo, &l));
    double *scores = adze_alloc(e->ctx, e->classes, sizeof *scores);
    out->confusion = adze_alloc(e->ctx, cells, sizeof *out->confusion);
    int st = ADZE_GOT(scores && out->confusion);
    if (st == ADZE_OK && e->keep && !e->rebuilds) {
        out->scores = adze_alloc(e->ctx, examples, sizeof *scores * (size_t)e->classes);
        out->labels = adze_alloc(e->ctx, examples, sizeof *out->labels);
        st = ADZE_GOT(out->scores && out->labels);
    }
    if (st == ADZE_OK) {
        st = evaluator_batches(e, l, scores, out);
    }
    adze_free(e->ctx, scores);
    adze_loader_free(l);
    if (st != ADZE_OK) {
        adze_metrics_free(e->ctx, out);
    }
    return st;
}

/* The crops of an example are rows of the batch one after the other. */
static int run_crops(adze_evaluator *e, const adze_dataset *d, const int64_t *ids, int64_t n, adze_metrics *out) {
    const adze_type t = adze_model_input_type(e->model, 1, e->dtype);
    const int64_t border = 2 * adze_model_preprocess(e->model)->pad, crops = e->how.crops;
    if (e->how.dropout == ADZE_DROPOUT_GEO) {
        return adze_fail(e->ctx, ADZE_EARG, "crops average probabilities, dropout geo their logarithms: take mc or weight-scale with crops");
    }
    adze_dataset *view;
    int64_t *rows;
    if (t.rank != 4) {
        return adze_fail(e->ctx, ADZE_EARG, "crops are cut for a model that reads pictures (H, W, C), and '%s' reads none", e->model->name);
    }
    TRY(adze_dataset_crops(e->ctx, d, t.dims[1] - border, t.dims[2] - border, crops, e->how.crop_pad, &view));
    rows = adze_alloc(e->ctx, n, sizeof *rows * (size_t)crops);
    for (int64_t i = 0; rows && i < n * crops; i++) {
        const int64_t id = ids ? ids[i / crops] : i / crops;
        rows[i] = id >= 0 && id < d->count ? id * crops + i % crops : -1;
    }
    const int st = rows ? run_rows(e, view, rows, n * crops, out) : ADZE_ENOMEM;
    adze_free(e->ctx, rows);
    adze_dataset_close(view);
    return st;
}

int adze_evaluator_run(adze_evaluator *e, const adze_dataset *d, const int64_t *ids, int64_t n, adze_metrics *out) {
    return e->how.crops > 0 ? run_crops(e, d, ids, n, out) : run_rows(e, d, ids, n, out);
}

int adze_evaluate(adze_ctx *ctx, const adze_model *m, adze_store *s, const char *prefix, const adze_dataset *d, const int64_t *ids, int64_t n,
                  int64_t batch, adze_metrics *out) {
    const adze_eval_opts o = {.size = sizeof o, .prefix = prefix, .batch = batch};
    return batch < 1 ? adze_fail(ctx, ADZE_EARG, "an evaluation needs a batch of at least 1, not %lld", (long long)batch)
                     : adze_evaluate_with(ctx, m, s, &o, d, ids, n, out);
}

/* "mc:50": whether the text begins with the name; the count behind the colon, or `otherwise` where there is none (0: there must be one). */
static bool named_count(const char *text, const char *name, int64_t otherwise, int64_t *count) {
    const size_t n = strlen(name);
    if (strncmp(text, name, n) != 0 || (text[n] != 0 && text[n] != ':')) {
        return false;
    }
    *count = otherwise;
    return (text[n] == 0 || adze_parse_i64(text + n + 1, count)) && *count >= 1 && *count <= 1000000;
}

int adze_eval_parse(adze_ctx *ctx, const char *dropout, const char *dropconnect, adze_eval_opts *o) {
    enum { PASSES = 50 }; /* where Monte-Carlo catches up with weight scaling in figure 11 of Srivastava et al. */
    if (dropout != NULL) {
        o->passes = 0;
        o->dropout = named_count(dropout, "mc", PASSES, &o->passes)    ? ADZE_DROPOUT_MC
                     : named_count(dropout, "geo", PASSES, &o->passes) ? ADZE_DROPOUT_GEO
                                                                       : ADZE_DROPOUT_WEIGHT_SCALE;
        if (o->dropout == ADZE_DROPOUT_WEIGHT_SCALE && strcmp(dropout, "weight-scale") != 0) {
            return adze_fail(ctx, ADZE_EARG, "dropout in use is weight-scale, mc:K or geo:K with K networks (1 to 1000000), not '%s'", dropout);
        }
    }
    if (dropconnect != NULL) {
        o->samples = 0;
        if (strcmp(dropconnect, "mean") != 0 && !named_count(dropconnect, "gauss", 0, &o->samples)) {
            return adze_fail(ctx, ADZE_EARG, "dropconnect in use is mean, or gauss:K with K draws (1 to 1000000), not '%s'", dropconnect);
        }
    }
    return ADZE_OK;
}

static adze_eval_opts eval_opts(const adze_eval_opts *given) {
    adze_eval_opts o = {0};
    memcpy(&o, given, given->size && given->size < sizeof o ? given->size : sizeof o);
    return o;
}

int adze_evaluate_with(adze_ctx *ctx, const adze_model *m, adze_store *s, const adze_eval_opts *o, const adze_dataset *d, const int64_t *ids,
                       int64_t n, adze_metrics *out) {
    enum { BATCH = 250 };
    const adze_eval_opts how = eval_opts(o);
    const int64_t rows = how.crops > 1 ? how.crops : 1, most = how.batch != 0 ? how.batch : BATCH;
    adze_evaluator e = {.keep = true};
    *out = (adze_metrics){0};
    int64_t count = ids == NULL && n == 0 ? d->count : n;
    if (how.crops < (how.crop_pad != 0)) {
        return adze_fail(ctx, ADZE_EARG, "%lld crops with a border of %lld pixels: a border is for 1, 2, 5 or 10 of them", (long long)how.crops,
                         (long long)how.crop_pad);
    }
    int st = adze_evaluator_open_with(&e, ctx, m, s, most > 0 && most < rows ? rows : most / rows * rows, &how);
    if (st == ADZE_OK) {
        st = adze_evaluator_run(&e, d, ids, count, out);
    }
    adze_evaluator_close(&e);
    return st;
}

void adze_metrics_free(adze_ctx *ctx, adze_metrics *m) {
    adze_free(ctx, m->confusion);
    adze_free(ctx, m->scores);
    adze_free(ctx, m->labels);
    *m = (adze_metrics){0};
}

/* -- prediction ---------------------------------------------------------------------------------------------------------------------------------- */

static int predict_batches(adze_evaluator *e, const adze_tensor *x, adze_tensor *probs, double *scores) {
    int64_t total = x->dims[0];
    for (int64_t at = 0; at < total; at += e->batch) {
        int64_t n = total - at < e->batch ? total - at : e->batch;
        adze_tensor from, to;
        TRY(adze_tensor_slice(e->ctx, *x, 0, at, at + n, &from));
        TRY(adze_tensor_slice(e->ctx, e->x, 0, 0, n, &to));
        TRY(adze_tensor_copy(e->ctx, to, from));
        TRY(run_batch(e, at, n));
        for (int64_t i = 0; i < n; i++) {
            read_row(e, i, scores);
            if (!gives_probabilities(e) && !e->numbers) {
                adze_scores_to_probabilities(scores, e->classes);
            }
            for (int64_t c = 0; c < e->classes; c++) {
                adze_tensor_set(probs, (at + i) * e->classes + c, scores[c]);
            }
        }
    }
    return ADZE_OK;
}

int adze_evaluator_predict(adze_evaluator *e, const adze_tensor *x, adze_tensor *probs) {
    const int64_t dims[2] = {x->dims[0], e->classes};
    double *scores = adze_alloc(e->ctx, e->classes, sizeof *scores);
    TRY(ADZE_GOT(scores));
    int64_t *label = adze_tensor_data(&e->label);
    for (int64_t i = 0; i < e->batch; i++) {
        label[i] = -1;
    }
    int st = adze_tensor_new(e->ctx, adze_type_make(e->dtype, 2, dims), probs);
    if (st == ADZE_OK) {
        st = predict_batches(e, x, probs, scores);
    }
    adze_free(e->ctx, scores);
    return st;
}

int adze_predict(adze_ctx *ctx, const adze_model *m, adze_store *s, adze_tensor x, adze_tensor *probs) {
    return adze_predict_with(ctx, m, s, &(adze_eval_opts){.size = sizeof(adze_eval_opts)}, x, probs);
}

int adze_predict_with(adze_ctx *ctx, const adze_model *m, adze_store *s, const adze_eval_opts *o, adze_tensor x, adze_tensor *probs) {
    const adze_eval_opts how = eval_opts(o);
    const int64_t most = how.batch != 0 ? how.batch : PREDICT_BATCH;
    adze_evaluator e = {0};
    *probs = (adze_tensor){0};
    if (how.crops != 0) {
        return adze_fail(ctx, ADZE_EARG, "crops are cut from the pictures of a data set, not from prepared examples");
    }
    adze_type have = adze_tensor_type(&x), want = adze_model_input_type(m, x.rank > 0 ? x.dims[0] : 0, have.dtype);
    if (!adze_type_equal(&have, &want) || have.dims[0] < 1) {
        return adze_fail(ctx, ADZE_ESHAPE, "model '%s' takes examples as %s, not %s", adze_model_name(m), ADZE_SHOWN(&want), ADZE_SHOWN(&have));
    }
    int st = adze_evaluator_open_with(&e, ctx, m, s, x.dims[0] < most ? x.dims[0] : most, &how);
    if (st == ADZE_OK) {
        st = adze_evaluator_predict(&e, &x, probs);
    }
    adze_evaluator_close(&e);
    if (st != ADZE_OK) {
        adze_tensor_free(probs);
    }
    return st;
}
