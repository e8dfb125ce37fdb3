/* From what the arms left behind to numbers, and from numbers over seeds to a verdict. Knows nothing of files and processes. */
#include "cli/lab.h"

#include "base/stats.h"

#include <math.h>
#include <stdlib.h>

/* -- JSON ---------------------------------------------------------------------------------------------------------------------------------------- */

/* A key of a map, a position in a list, or the member of a list whose "name" it is. */
static const adze_tree *step_into(const adze_tree *t, const char *word) {
    int64_t at;
    if (t->kind == ADZE_T_MAP) {
        return adze_tree_get(t, word);
    }
    if (t->kind != ADZE_T_LIST) {
        return NULL;
    }
    const bool number = adze_parse_i64(word, &at);
    for (const adze_tree *k = t->child; k; k = k->next) {
        const adze_tree *name = adze_tree_get(k, "name");
        if ((number && at-- == 0) || (!number && name && name->text && strcmp(name->text, word) == 0)) {
            return k;
        }
    }
    return NULL;
}

int lab_json_number(adze_ctx *ctx, const adze_tree *t, const char *path, double *out) {
    char word[128];
    for (const char *at = path; *at;) {
        const size_t n = strcspn(at, ".");
        snprintf(word, sizeof(word), "%.*s", (int)n, at);
        t = step_into(t, word);
        if (!t) {
            return adze_fail(ctx, ADZE_EARG, "measure '%s': the result has no '%s'", path, word);
        }
        at += n + (at[n] == '.');
    }
    if (t->kind == ADZE_T_NULL) {
        *out = NAN;
        return ADZE_OK;
    }
    const bool scalar = t->kind == ADZE_T_SCALAR || t->kind == ADZE_T_STRING;
    if (scalar && (strcmp(t->text, "true") == 0 || strcmp(t->text, "false") == 0)) {
        *out = t->text[0] == 't';
        return ADZE_OK;
    }
    return scalar && adze_parse_f64(t->text, out) ? ADZE_OK : adze_fail(ctx, ADZE_EARG, "measure '%s' is no number in the result", path);
}

/* -- metrics ------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct column {
    int at;       /* -1: there is none */
    bool percent; /* an accuracy told as the error in per cent */
} column;

static column find_column(const char *head, const char *name) {
    static const char *const SAME[][2] = {{"train_loss", "loss"},   {"train_acc", "acc"},         {"train_error", "acc"},
                                          {"val_error", "val_acc"}, {"epoch_seconds", "seconds"}, {NULL, NULL}};
    const char *real = name;
    for (int i = 0; SAME[i][0]; i++) {
        real = strcmp(SAME[i][0], name) == 0 ? SAME[i][1] : real;
    }
    const size_t n = strlen(real);
    int at = 0;
    for (const char *p = head;; at++) {
        const size_t len = strcspn(p, ",\n");
        if (len == n && strncmp(p, real, n) == 0) {
            return (column){at, real != name && strstr(name, "error")};
        }
        if (p[len] != ',') {
            return (column){-1, false};
        }
        p += len + 1;
    }
}

/* NaN where the line has no number there. */
static double cell(const char *line, column c) {
    for (int i = 0; i < c.at; i++) {
        const size_t n = strcspn(line, ",\n");
        if (line[n] != ',') {
            return NAN;
        }
        line += n + 1;
    }
    char text[64];
    double v;
    snprintf(text, sizeof(text), "%.*s", (int)strcspn(line, ",\n"), line);
    return adze_parse_f64(text, &v) ? c.percent ? 100 * (1 - v) : v : NAN;
}

enum { LAST, BEST, LEAST, MOST, MEAN, FIRST, KINDS };
static const char *const KIND_NAMES[KINDS] = {"last", "best", "min", "max", "mean", "first"};

typedef struct metric { /* a measure taken apart */
    int kind;
    column of, when;
    lab_region region;
} metric;

static double measure_rows(const char *csv, const metric *m, bool higher) {
    double value = m->kind == FIRST ? INFINITY : NAN, sum = 0;
    int64_t n = 0;
    for (const char *line = strchr(csv, '\n'); line && line[1]; line = strchr(line + 1, '\n')) {
        const double v = cell(line + 1, m->of);
        if (!strchr(line + 1, '\n') || isnan(v)) { /* a torn last line, a repeated head */
            continue;
        }
        if (m->kind == FIRST) {
            const double w = cell(line + 1, m->when);
            if (lab_region_holds(&m->region, w, w)) {
                return v;
            }
        } else if (m->kind == LAST || m->kind == MEAN || isnan(value) || (higher ? v > value : v < value)) {
            value = v;
        }
        sum += v;
        n++;
    }
    return m->kind == MEAN ? sum / (double)n : value;
}

int lab_csv_number(adze_ctx *ctx, const char *csv, const char *measure, bool *known, double *out) {
    char word[3][64] = {"", "", ""};
    int used = 0;
    metric m = {.kind = 0};
    sscanf(measure, "%63s %63s %n%63s", word[0], word[1], &used, word[2]);
    while (m.kind < KINDS && strcmp(KIND_NAMES[m.kind], word[0]) != 0) {
        m.kind++;
    }
    *known = m.kind < KINDS && word[1][0];
    if (!*known || !csv) {
        return *known ? adze_fail(ctx, ADZE_EARG, "measure '%s' wants a training's metrics, and nothing was trained", measure) : ADZE_OK;
    }
    m.of = m.when = find_column(csv, word[1]);
    if (m.kind == FIRST) {
        m.when = find_column(csv, word[2]);
        TRY(lab_region_parse(ctx, measure + used + strlen(word[2]), &m.region));
    } else if (word[2][0]) {
        return adze_fail(ctx, ADZE_EARG, "measure '%s' ends in more than a column", measure);
    }
    if (m.of.at < 0 || m.when.at < 0) {
        return adze_fail(ctx, ADZE_EARG, "measure '%s': the metrics have no column '%s'", measure, m.of.at < 0 ? word[1] : word[2]);
    }
    *out = measure_rows(csv, &m, m.kind == MOST || (m.kind == BEST && strstr(word[1], "acc")));
    return ADZE_OK;
}

int lab_csv_curve(adze_arena *a, const char *csv, const char *measure, lab_curve *out) {
    char kind[64] = "", word[2][64] = {"", ""};
    sscanf(measure, "%63s %63s %63s", kind, word[0], word[1]);
    const column of = find_column(csv, strcmp(kind, "first") == 0 ? word[1] : word[0]);
    int lines = 0;
    for (const char *p = csv; (p = strchr(p, '\n')); p++) {
        lines++;
    }
    out->n = 0;
    out->v = adze_arena_alloc(a, (size_t)lines * sizeof(*out->v) + 1);
    if (!out->v) {
        return ADZE_ENOMEM;
    }
    for (const char *line = strchr(csv, '\n'); line && strchr(line + 1, '\n'); line = strchr(line + 1, '\n')) {
        const double v = cell(line + 1, of);
        if (!isnan(v)) {
            out->v[out->n++] = v;
        }
    }
    return ADZE_OK;
}

double lab_diverged(const char *measure) {
    if (strstr(measure, "first") || strstr(measure, "loss") || strstr(measure, "nll")) {
        return INFINITY;
    }
    return strstr(measure, "acc") ? 0 : strstr(measure, "error") ? 100 : NAN;
}

/* -- verdicts ------------------------------------------------------------------------------------------------------------------------------------ */

static int put_arms(adze_ctx *ctx, const lab_part *p, int seed, lab_vars *v) {
    for (int a = 0; p && a < p->narms; a++) {
        for (int m = 0; m < p->nmeasures; m++) {
            char name[LAB_NAME * 2];
            snprintf(name, sizeof(name), "%s%s%s", p->arm[a].name, p->measure[m].name[0] ? "." : "", p->measure[m].name);
            TRY(lab_set(ctx, v, name, strlen(name), p->arm[a].value[m][seed]));
            if (m == 0 && p->measure[0].name[0]) { /* the first measure goes by the arm's bare name too */
                TRY(lab_set(ctx, v, p->arm[a].name, strlen(p->arm[a].name), p->arm[a].value[0][seed]));
            }
        }
    }
    return ADZE_OK;
}

/* Values that are not all finite have no interval: then each seed must say the same. */
static lab_verdict decide(const lab_rule *r, int n) {
    bool finite = true, yes = true, no = true;
    for (int i = 0; i < n; i++) {
        const double v = r->at[i];
        finite = finite && isfinite(v);
        yes = yes && lab_region_holds(&r->yes, v, v);
        no = no && !isnan(v) && (r->refuted[0] ? lab_region_holds(&r->no, v, v) : !lab_region_holds(&r->yes, v, v));
    }
    if (finite) {
        yes = lab_region_holds(&r->yes, r->lo, r->hi);
        const bool apart =
            r->yes.outside ? r->lo >= r->yes.lo && r->hi <= r->yes.hi
                           : (r->yes.open_lo ? r->hi <= r->yes.lo : r->hi < r->yes.lo) || (r->yes.open_hi ? r->lo >= r->yes.hi : r->lo > r->yes.hi);
        no = r->refuted[0] ? lab_region_holds(&r->no, r->lo, r->hi) : apart;
    }
    return yes ? LAB_CONFIRMED : no ? LAB_REFUTED : LAB_CONDITIONAL;
}

int lab_judge_rule(adze_ctx *ctx, const lab_part *own, const lab_part *more, int nseeds, lab_rule *r) {
    for (int s = 0; s < nseeds; s++) {
        lab_vars v = {0};
        TRY(put_arms(ctx, more, s, &v));
        TRY(put_arms(ctx, own, s, &v));
        TRY(lab_eval(ctx, r->value, &v, &r->at[s]));
    }
    const adze_interval in = adze_t_interval(r->at, nseeds);
    r->mean = adze_stats_mean(r->at, nseeds);
    r->lo = nseeds > 1 ? in.lo : r->mean;
    r->hi = nseeds > 1 ? in.hi : r->mean;
    r->verdict = decide(r, nseeds);
    return ADZE_OK;
}

static int judge_part(adze_ctx *ctx, lab_part *own, const lab_part *more, int nseeds) {
    bool all = true, wrong = false;
    for (int i = 0; i < own->nrules; i++) {
        TRY(lab_judge_rule(ctx, own, more, nseeds, &own->rule[i]));
        all = all && own->rule[i].verdict == LAB_CONFIRMED;
        wrong = wrong || own->rule[i].verdict == LAB_REFUTED;
    }
    own->verdict = all ? LAB_CONFIRMED : wrong ? LAB_REFUTED : LAB_CONDITIONAL;
    return ADZE_OK;
}

int lab_judge(adze_ctx *ctx, lab_exp *e) {
    TRY(judge_part(ctx, &e->main, NULL, e->nseeds));
    TRY(judge_part(ctx, &e->control, &e->main, e->nseeds));
    TRY(lab_judge_rule(ctx, &e->main, NULL, e->nseeds, &e->ours));
    const bool behaves = e->must == LAB_NOT_CONFIRMED ? e->control.verdict != LAB_CONFIRMED : (int32_t)e->control.verdict == e->must;
    e->verdict = behaves ? e->main.verdict : LAB_INVALID;
    return ADZE_OK;
}
