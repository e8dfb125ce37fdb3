/* The table of probes, their options, and the watch that runs them again and again while a model is trained. */
#include "train/tap.h"

#include <math.h>
#include <stdio.h>

static const char *const modes[] = {"train", "eval", "auto", NULL}, *const dtypes[] = {"f64", "f32", "bf16", NULL},
                         *const losses[] = {"own", "linear", NULL};

#define AT(member) offsetof(adze_diag_opts, member)
static const adze_field fields[] = {
    {"batch", ADZE_F_I64, 0, AT(batch), 0, "64", 1, 1e6, NULL,
     "examples at once: those of a probe that looks once, a part of those of dead and ablation"},
    {"steps", ADZE_F_I64, 0, AT(steps), 0, "40", 1, 1e4, NULL,
     "of Lanczos (cond: exact from as many as there are parameters; sharpness) or of Newton's method (index)"},
    {"seed", ADZE_F_U64, 0, AT(seed), 0, "1", 0, 0, NULL, "of fresh weights, made-up data, directions and dropout"},
    {"mode", ADZE_F_ENUM, 0, AT(mode), 0, "auto", 0, 0, modes,
     "dropout and batch normalisation as in training, or in use; auto: in use where what a trained model gives is looked at (stats, dead, sparsity, rank, sensitivity)"},
    {"dtype", ADZE_F_ENUM, 0, AT(dtype), 0, "f64", 0, 0, dtypes, "arithmetic"},
    {"loss", ADZE_F_ENUM, 0, AT(loss), 0, "own", 0, 0, losses,
     "what is differentiated: the classifier's cross-entropy, or the outputs' sum with fixed random factors (always when there are no classes)"},
    {"xscale", ADZE_F_F64, 0, AT(xscale), 0, "1", 1e-30, 1e30, NULL, "factor on the inputs; gradflow then compares with 1"},
    {"lr", ADZE_F_F64, 0, AT(lr), 0, "0.1", 0, 1e30, NULL, "rate of the steps that decrease, ics and index take"},
    {"rescale", ADZE_F_F64, 0, AT(rescale), 0, "1", 1e-30, 1e30, NULL, "sharpness: the same function with a layer times this and the next over it"},
    {"eps", ADZE_F_F64, 0, AT(eps), 0, "0.001", 0, 1, NULL, "sharpness: how far each weight may go, times |w| + 1"},
    {"target", ADZE_F_F64, 0, AT(target), 0, "0.9", 0, 1, NULL, "fit: a training accuracy below this is underfitting"},
    {"optimizers", ADZE_F_STR, 0, AT(optimizers), sizeof(((adze_diag_opts *)0)->optimizers), "", 0, 0, NULL,
     "effective-lr: names between commas, settings after colons: sgd,adam:bias_correction=false; all when empty"},
    {0}};

const adze_field *adze_diag_fields(void) {
    return fields;
}

/* Kept by hand: a row is a line. */
/* clang-format off */
static const struct {
    const char *name;
    adze_probe_fn run;
    unsigned is;
    const char *what, *paper;
} PROBES[] = {
    {"gradflow", adze_probe_gradflow, ADZE_PROBE_MODEL, "gradients' norms layer by layer and step by step: vanishing or exploding", "Hochreiter 1991; Glorot and Bengio 2010; Pascanu, Mikolov and Bengio 2013"},
    {"stats", adze_probe_stats, ADZE_PROBE_MODEL | ADZE_PROBE_IN_USE, "what layers give: mean, deviation, percentiles, saturation, and the ratios from layer to layer, forward and backward", "Glorot and Bengio 2010; He et al. 2015; Ioffe and Szegedy 2015, figure 1"},
    {"dead", adze_probe_dead, ADZE_PROBE_MODEL | ADZE_PROBE_BY_BATCH | ADZE_PROBE_IN_USE, "units that are active on no example, pieces of maxout that win on none", "Lu, Shin, Su and Karniadakis 2019"},
    {"sparsity", adze_probe_sparsity, ADZE_PROBE_MODEL | ADZE_PROBE_IN_USE, "share of zeros in weights and in activations", "Glorot, Bordes and Bengio 2011"},
    {"signs", adze_probe_signs, ADZE_PROBE_MODEL, "share of a neuron's weight gradients that have one sign, in batches of 1, 8 and 64", "LeCun, Bottou, Orr and Mueller 1998, section 4.3"},
    {"rank", adze_probe_rank, ADZE_PROBE_MODEL | ADZE_PROBE_IN_USE, "rank, stable rank and entropy rank of weights and activations", "Roy and Vetterli 2007; Rudelson and Vershynin 2007"},
    {"cond", adze_probe_cond, ADZE_PROBE_MODEL, "condition of the data's X'X and of the loss's Hessian, with its eigenvalues", "LeCun, Bottou, Orr and Mueller 1998, section 5; Sagun, Bottou and LeCun 2016"},
    {"sharpness", adze_probe_sharpness, ADZE_PROBE_MODEL, "largest eigenvalue and rise of the loss within a small box; the same after rescaling two layers", "Keskar et al. 2017; Dinh, Pascanu, Bengio and Bengio 2017"},
    {"decrease", adze_probe_decrease, ADZE_PROBE_MODEL, "what a step of descent should bring by first and second order, and what it brings", "Nocedal and Wright 2006, chapter 2"},
    {"index", adze_probe_index, ADZE_PROBE_MODEL, "share of negative curvature at points without gradient, and the loss there", "Dauphin et al. 2014"},
    {"ics", adze_probe_ics, ADZE_PROBE_MODEL, "how much a step of the layers below changes a layer's gradient", "Santurkar, Tsipras, Ilyas and Madry 2018, definition 2.1"},
    {"bn-coupling", adze_probe_coupling, ADZE_PROBE_MODEL, "whether an example's outputs depend on the batch's other examples", "Ioffe and Szegedy 2015, section 3.4"},
    {"linear", adze_probe_linear, ADZE_PROBE_MODEL, "whether f(a x + b y) = a f(x) + b f(y), and how alike gradients are along a line", "Balduzzi et al. 2017"},
    {"sensitivity", adze_probe_sensitivity, ADZE_PROBE_MODEL | ADZE_PROBE_IN_USE, "change of outputs and loss when each weight tensor turns by a hundredth", "-"},
    {"ablation", adze_probe_ablation, ADZE_PROBE_MODEL | ADZE_PROBE_BY_BATCH, "errors when more and more of the units of hidden layers are deleted", "Srivastava et al. 2014, section 7; Morcos et al. 2018"},
    {"effective-lr", adze_probe_effective_lr, 0, "an optimiser's step over its rate while the gradient stays 1", "Duchi, Hazan and Singer 2011; Kingma and Ba 2015"},
};
/* clang-format on */

int adze_diag_at(int i, adze_about *out, unsigned *is) {
    if (i < 0 || i >= (int)ADZE_COUNT(PROBES)) {
        return ADZE_EARG;
    }
    *out = (adze_about){.name = PROBES[i].name, .formula = PROBES[i].what, .paper = PROBES[i].paper};
    *is = PROBES[i].is;
    return ADZE_OK;
}

static int find_probe(adze_ctx *ctx, const char *what) {
    for (int i = 0; i < (int)ADZE_COUNT(PROBES); i++) {
        if (strcmp(PROBES[i].name, what) == 0) {
            return i;
        }
    }
    const char *near = adze_suggest(what, &PROBES[0].name, ADZE_COUNT(PROBES), sizeof PROBES[0]);
    return adze_fail(ctx, ADZE_EARG, "there is no probe '%s'%s%s%s (`adze list probes` names them)", what, near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}

int adze_diag_run(adze_ctx *ctx, const char *what, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *out) {
    *out = (adze_findings){.ctx = ctx};
    const int i = find_probe(ctx, what);
    TRY(i < 0 ? i : ADZE_OK);
    if (PROBES[i].is & ADZE_PROBE_MODEL && (s == NULL || s->x.rank < 1)) {
        return adze_fail(ctx, ADZE_EARG, "probe '%s' looks at a model with data", what);
    }
    adze_diag_opts mine = *o;
    mine.mode = o->mode == ADZE_DIAG_AUTO && PROBES[i].is & ADZE_PROBE_IN_USE && s->trained ? ADZE_DIAG_EVAL : o->mode;
    TRY(PROBES[i].run(ctx, s, &mine, out));
    return adze_found_status(out);
}

/* -- fit ----------------------------------------------------------------------------------------------------------------------------------------- */

/* Epochs at the start in which the loss stayed within 2 % of where it began, when it fell by more than a tenth in one epoch afterwards, or when they
 * are all that there are. */
static int64_t flat_start(const adze_epoch_stats *s, int64_t n) {
    int64_t flat = 1;
    while (flat < n && fabs(s[flat].loss - s[0].loss) < 0.02 * fabs(s[0].loss)) {
        flat++;
    }
    if (flat == n && n >= 2) {
        return n;
    }
    for (int64_t i = flat; i < n && flat >= 2; i++) {
        if (s[i].loss < 0.9 * s[i - 1].loss) {
            return flat;
        }
    }
    return 0;
}

/* Whether answers can be right: those of an autoencoder never are. */
static bool has_classes(const adze_epoch_stats *s, int64_t n) {
    int64_t i = 0;
    while (i < n && !(s[i].acc > 0)) {
        i++;
    }
    return i < n;
}

/* By accuracies; by losses where there are none: of the validation, or at all. */
static const char *fit_verdict(const adze_epoch_stats *s, int64_t n, double rise, int64_t flat, double target) {
    const adze_epoch_stats *last = &s[n - 1];
    const double gap = last->acc - last->val_acc;
    const bool classes = has_classes(s, n), ahead = gap > 0.05 || (rise > 0.1 && gap > 0.01);
    const bool still = flat == n && n > 1 && classes && last->acc < target;
    const bool woke = flat > 0 && flat < n;
    return still  ? "bad first weights or rate: the loss lies still; try another initialisation, then a larger or a smaller rate"
           : woke ? "bad first weights: the loss lay still and then fell"
           : (classes && isfinite(gap) ? ahead : rise > 0.1) ? "overfit: training is ahead of validation; more data, augmentation or regularisation"
           : (classes ? last->acc < target : n > 1 && last->loss > 0.95 * s[0].loss)
               ? "underfit: not even the training examples are fitted; a larger model, a longer training or a better rate"
               : "ok";
}

int adze_diag_fit(adze_ctx *ctx, const adze_epoch_stats *stats, int64_t n, const adze_diag_opts *o, adze_findings *out) {
    *out = (adze_findings){.ctx = ctx};
    if (n < 1) {
        return adze_fail(ctx, ADZE_EARG, "there is no epoch to judge yet");
    }
    double least = INFINITY;
    ADZE_COLUMNS(out, "loss", "val loss", "acc", "val acc", "gap");
    for (int64_t i = 0; i < n; i++) {
        const double row[] = {stats[i].loss, stats[i].val_loss, stats[i].acc, stats[i].val_acc, stats[i].acc - stats[i].val_acc};
        memcpy(adze_found_row(out, "epoch %lld", (long long)stats[i].epoch + 1), row, sizeof row);
        least = fmin(least, stats[i].val_loss);
    }
    const adze_epoch_stats *last = &stats[n - 1];
    const double rise = last->val_loss / least - 1;
    const int64_t flat = flat_start(stats, n);
    const char *verdict = fit_verdict(stats, n, rise, flat, o->target);
    adze_found(out, "gap", last->acc - last->val_acc);
    adze_found(out, "loss_gap", last->val_loss - last->loss);
    adze_found(out, "val_loss_rise", rise); /* above its least value, as a share */
    adze_found(out, "flat_epochs", (double)flat);
    adze_found(out, "overfit", strncmp(verdict, "overfit", 7) == 0);
    adze_found(out, "underfit", strncmp(verdict, "underfit", 8) == 0);
    adze_found(out, "bad_init", strncmp(verdict, "bad first", 9) == 0);
    snprintf(out->verdict, sizeof out->verdict, "%s", verdict);
    return adze_found_status(out);
}

/* -- the watch ----------------------------------------------------------------------------------------------------------------------------------- */

enum { WATCHED = 8 };

struct adze_diag_watch {
    adze_ctx *ctx;
    adze_diag_subject s;
    adze_diag_opts o;
    int probe[WATCHED], n;
    char said[WATCHED][256]; /* the last verdict of each: a sentence is said once */
    int64_t units, *died;    /* the first look at which a unit was dead that had been alive or was never seen alive; -1: alive */
    double *first;           /* percentiles at the first look: 3 for each row */
    int nfirst;
};

int adze_diag_watch_new(adze_ctx *ctx, const char *what, const adze_diag_subject *s, const adze_diag_opts *o, adze_diag_watch **out) {
    adze_diag_watch *w = adze_alloc(ctx, 1, sizeof *w);
    *out = w;
    TRY(ADZE_GOT(w));
    *w = (adze_diag_watch){.ctx = ctx, .s = *s, .o = *o};
    int st = ADZE_OK;
    for (const char *p = what; *p != 0 && st == ADZE_OK;) {
        char name[64];
        const size_t n = strcspn(p, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, p);
        const int i = find_probe(ctx, name);
        st = i < 0 ? i : w->n < WATCHED ? ADZE_OK : adze_fail(ctx, ADZE_EARG, "at most %d probes watch a training", WATCHED);
        if (st == ADZE_OK) {
            w->probe[w->n++] = i;
        }
        p += n + (p[n] == ',');
    }
    if (st != ADZE_OK) {
        adze_diag_watch_free(w);
        *out = NULL;
    }
    return st;
}

void adze_diag_watch_free(adze_diag_watch *w) {
    if (w != NULL) {
        adze_free(w->ctx, w->died);
        adze_free(w->ctx, w->first);
        adze_free(w->ctx, w);
    }
}

static int know_units(adze_diag_watch *w, int64_t n) {
    if (n > w->units) {
        int64_t *more = adze_resize(w->ctx, w->died, w->units, n, sizeof *more);
        TRY(ADZE_GOT(more));
        w->died = more;
        for (; w->units < n; w->units++) {
            w->died[w->units] = -1;
        }
    }
    return ADZE_OK;
}

/* Notes who died since the last look, and adds how many have and when. */
static int mark_dead(adze_diag_watch *w, const adze_alive *a, int64_t step, adze_findings *f) {
    int64_t fresh = 0, earliest = INT64_MAX;
    TRY(know_units(w, a->n));
    adze_track *t = adze_found_track(f, "died");
    for (int64_t i = 0; i < a->n; i++) {
        fresh += !a->unit[i] && w->died[i] < 0;
        w->died[i] = a->unit[i] ? -1 : w->died[i] < 0 ? step : w->died[i];
        if (w->died[i] >= 0) {
            earliest = w->died[i] < earliest ? w->died[i] : earliest;
            adze_found_point(f, t, (double)i, (double)w->died[i]); /* unit (counted over all layers) and the step */
        }
    }
    adze_found(f, "newly_dead", (double)fresh);
    adze_found(f, "first_death", earliest < INT64_MAX ? (double)earliest : (double)NAN);
    return ADZE_OK;
}

static const char *const DRIFTS[] = {"p15", "p50", "p85", "std"};

/* How far the percentiles of each layer have moved since the first look, in deviations of the first look: the largest of all. */
static int mark_drift(adze_diag_watch *w, adze_findings *f) {
    double most = 0;
    if (w->first == NULL) {
        w->first = adze_alloc(w->ctx, 4 * (int64_t)f->nrows, sizeof *w->first);
        w->nfirst = f->nrows;
        for (int i = 0; w->first != NULL && i < f->nrows; i++) {
            for (int k = 0; k < 4; k++) {
                w->first[4 * i + k] = adze_findings_cell(f, f->rows[i], DRIFTS[k]);
            }
        }
    }
    TRY(ADZE_GOT(w->first));
    for (int i = 0; i < f->nrows && i < w->nfirst; i++) {
        for (int k = 0; k < 3; k++) {
            const double by = fabs(adze_findings_cell(f, f->rows[i], DRIFTS[k]) - w->first[4 * i + k]) / w->first[4 * i + 3];
            most = isfinite(by) ? fmax(most, by) : most;
        }
    }
    adze_found(f, "drift_most", most);
    return ADZE_OK;
}

static int look(adze_diag_watch *w, int k, int64_t step, adze_findings *f) {
    adze_alive alive = {.n = 0};
    const adze_probe_fn run = PROBES[w->probe[k]].run;
    *f = (adze_findings){.ctx = w->ctx};
    int st = run == adze_probe_dead ? adze_probe_alive(w->ctx, &w->s, &w->o, f, &alive) : run(w->ctx, &w->s, &w->o, f);
    adze_found_forget_tracks(f); /* a line is for programs, not for pictures */
    if (st == ADZE_OK && run == adze_probe_dead) {
        st = mark_dead(w, &alive, step, f);
    } else if (st == ADZE_OK && run == adze_probe_stats) {
        st = mark_drift(w, f);
    }
    adze_free(w->ctx, alive.unit);
    return st == ADZE_OK ? adze_found_status(f) : st;
}

static void remember(adze_diag_watch *w, int k, const char *verdict) {
    snprintf(w->said[k], sizeof w->said[k], "%s", strncmp(verdict, "ok", 2) == 0 ? "" : verdict);
}

/* A verdict that is not "ok" and was not said before. */
static void warn(adze_diag_watch *w, int k, int64_t step, const adze_findings *f, adze_text *warning) {
    const bool ok = f->verdict[0] == 0 || strncmp(f->verdict, "ok", 2) == 0;
    const size_t kind = strcspn(f->verdict, ":");
    if (!ok && strncmp(w->said[k], f->verdict, kind) != 0) {
        adze_text_add(warning, "step %lld, %s: %s\n", (long long)step, PROBES[w->probe[k]].name, f->verdict);
    }
    remember(w, k, f->verdict);
}

int adze_diag_watch_look(adze_diag_watch *w, int64_t step, char **lines, char **warning) {
    adze_text t = {.ctx = w->ctx}, said = {.ctx = w->ctx};
    int st = ADZE_OK;
    *lines = *warning = NULL;
    for (int k = 0; k < w->n && st == ADZE_OK; k++) {
        adze_findings f;
        char *json = NULL;
        st = look(w, k, step, &f);
        st = st == ADZE_OK ? adze_findings_json(&f, &json) : st;
        if (st == ADZE_OK) { /* {"schema":1, ... with the probe's name and the step in front */
            adze_text_add(&t, "{\"probe\":\"%s\",\"step\":%lld,%s\n", PROBES[w->probe[k]].name, (long long)step, json + 1);
            warn(w, k, step, &f, &said);
        }
        adze_free(w->ctx, json);
        adze_findings_free(&f);
    }
    if (st == ADZE_OK) {
        st = adze_text_finish(&t, lines);
    }
    if (st == ADZE_OK && said.len > 0) {
        st = adze_text_finish(&said, warning);
    }
    adze_text_drop(&t);
    adze_text_drop(&said);
    return st;
}

/* -- going on ------------------------------------------------------------------------------------------------------------------------------------ */

static const char *text_of(const adze_tree *map, const char *key) { /* "" when absent */
    const adze_tree *t = adze_tree_get(map, key);
    return t != NULL && t->text != NULL ? t->text : "";
}

static double number_of(const adze_tree *t) { /* null: NaN */
    double v;
    return t != NULL && t->text != NULL && adze_parse_f64(t->text, &v) ? v : (double)NAN;
}

/* Who was dead after this look, and since when. */
static int recall_dead(adze_diag_watch *w, const adze_tree *line) {
    const adze_tree *tracks = adze_tree_get(line, "tracks"), *died = tracks != NULL ? tracks->child : NULL;
    const adze_tree *x = died != NULL ? adze_tree_get(died, "x") : NULL, *y = died != NULL ? adze_tree_get(died, "y") : NULL;
    for (int64_t i = 0; i < w->units; i++) {
        w->died[i] = -1;
    }
    for (x = x != NULL ? x->child : NULL, y = y != NULL ? y->child : NULL; x != NULL && y != NULL; x = x->next, y = y->next) {
        const double unit = number_of(x), since = number_of(y);
        if (unit >= 0 && unit < INT32_MAX && since >= 0 && since < 0x1p63) {
            TRY(know_units(w, (int64_t)unit + 1));
            w->died[(int64_t)unit] = (int64_t)since;
        }
    }
    return ADZE_OK;
}

static int recall_first(adze_diag_watch *w, const adze_tree *line) {
    const adze_tree *rows = adze_tree_get(line, "rows");
    if (w->first != NULL || rows == NULL) {
        return ADZE_OK;
    }
    w->first = adze_alloc(w->ctx, 4 * (int64_t)adze_tree_len(rows), sizeof *w->first);
    TRY(ADZE_GOT(w->first));
    for (const adze_tree *row = rows->child; row != NULL; row = row->next, w->nfirst++) {
        for (int k = 0; k < 4; k++) {
            w->first[4 * w->nfirst + k] = number_of(adze_tree_get(row, DRIFTS[k]));
        }
    }
    return ADZE_OK;
}

static int recall(adze_diag_watch *w, int k, const adze_tree *line) {
    const adze_probe_fn run = PROBES[w->probe[k]].run;
    remember(w, k, text_of(line, "verdict"));
    TRY(run == adze_probe_dead ? recall_dead(w, line) : ADZE_OK);
    return run == adze_probe_stats ? recall_first(w, line) : ADZE_OK;
}

typedef struct going_on {
    int64_t step;
    int64_t whole; /* of the kept text: up to the looks of this step */
    int told;      /* probes that looked at this step */
    adze_text kept;
} going_on;

static int resume_line(adze_diag_watch *w, const char *at, size_t n, going_on *r) {
    adze_arena arena = {.ctx = w->ctx};
    adze_tree *line = NULL;
    int st = adze_json_parse(&arena, at, n, "diag.jsonl", &line);
    const double step = st == ADZE_OK ? number_of(adze_tree_get(line, "step")) : (double)NAN;
    if (st != ADZE_ENOMEM) {
        adze_err_clear(w->ctx); /* a line that somebody spoilt is left out */
        st = ADZE_OK;
    }
    if (step <= (double)r->step) {
        r->whole = step < (double)r->step ? r->kept.len + (int64_t)n + 1 : r->whole;
        adze_text_put(&r->kept, at, n + 1);
        for (int k = 0; k < w->n && st == ADZE_OK; k++) {
            if (strcmp(PROBES[w->probe[k]].name, text_of(line, "probe")) == 0) {
                r->told += step == (double)r->step;
                st = recall(w, k, line);
            }
        }
    }
    adze_arena_free(&arena);
    return st;
}

int adze_diag_watch_resume(adze_diag_watch *w, const char *lines, int64_t step, char **kept, bool *looked) {
    going_on r = {.step = step, .kept = {.ctx = w->ctx}};
    int st = ADZE_OK;
    for (const char *end; st == ADZE_OK && (end = strchr(lines, '\n')) != NULL; lines = end + 1) {
        st = resume_line(w, lines, (size_t)(end - lines), &r);
    }
    *kept = NULL;
    *looked = r.told >= w->n;
    st = st == ADZE_OK ? adze_text_finish(&r.kept, kept) : st;
    if (st == ADZE_OK && !*looked) {
        (*kept)[r.whole] = 0;
    }
    adze_text_drop(&r.kept);
    return st;
}
