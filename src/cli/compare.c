/* What a comparison says: means with intervals, paired differences to the first setting, tests, as text, JSON, CSV and a picture. */
#include "cli/compare.h"

#include "base/stats.h"

#include <math.h>

const char *const CMP_METRIC_NAMES[] = {"test_acc", "val_acc", "val_loss", "epochs_to", "gap", "seconds", "error", NULL};

typedef struct sample { /* some numbers and where their mean lies */
    double *v;
    int64_t n;
    double mean, sd;
    adze_interval t, boot;
} sample;

typedef struct verdict { /* on one setting; but for `all`, against the first */
    sample all, diff;
    double p_t, p_t_holm, p_sign, p_sign_holm;
    double *mcnemar; /* p of each seed; NaN where the runs have no answers to compare */
} verdict;

static double value(const cmp *k, int s, int64_t seed) {
    return k->runs[s * k->nseeds + seed].value[k->metric];
}

static int describe(cli *c, sample *s) {
    s->mean = adze_stats_mean(s->v, s->n);
    s->sd = adze_stats_sd(s->v, s->n);
    s->t = adze_t_interval(s->v, s->n);
    return adze_bootstrap_interval(c->ctx, s->v, s->n, 1, &s->boot);
}

static double mcnemar(const cmp_run *a, const cmp_run *b) {
    int64_t only_a = 0, only_b = 0;
    if (a->n == 0 || a->n != b->n) {
        return NAN;
    }
    for (int64_t i = 0; i < a->n; i++) {
        only_a += a->right[i] && !b->right[i];
        only_b += b->right[i] && !a->right[i];
    }
    return adze_mcnemar_p(only_a, only_b);
}

static int judge(const cmp *k, int s, verdict *v) {
    double *room = adze_alloc(k->c->ctx, k->nseeds, 3 * sizeof(*room));
    if (!room) {
        return ADZE_ENOMEM;
    }
    v->all.v = room;
    v->diff.v = room + k->nseeds;
    v->mcnemar = room + 2 * k->nseeds;
    for (int64_t i = 0; i < k->nseeds; i++) {
        const double mine = value(k, s, i), first = value(k, 0, i);
        if (isfinite(mine)) {
            v->all.v[v->all.n++] = mine;
        }
        if (isfinite(mine) && isfinite(first)) {
            v->diff.v[v->diff.n++] = mine - first;
        }
        v->mcnemar[i] = mcnemar(&k->runs[i], &k->runs[s * k->nseeds + i]);
    }
    TRY(describe(k->c, &v->all));
    TRY(describe(k->c, &v->diff));
    v->p_t = s > 0 ? adze_paired_t_p(v->diff.v, v->diff.n) : NAN;
    v->p_sign = s > 0 ? adze_sign_p(v->diff.v, v->diff.n) : NAN;
    return ADZE_OK;
}

static void correct(verdict *v, int n) {
    double t[CMP_SETTINGS], sign[CMP_SETTINGS];
    for (int s = 0; s < n; s++) {
        t[s] = v[s].p_t;
        sign[s] = v[s].p_sign;
    }
    adze_holm(t, n);
    adze_holm(sign, n);
    for (int s = 0; s < n; s++) {
        v[s].p_t_holm = t[s];
        v[s].p_sign_holm = sign[s];
    }
}

/* -- text --------------------------------------------------------------------------------------------------------------------------------------- */

static const char *show(char *out, size_t n, double v) {
    snprintf(out, n, isfinite(v) ? "%.4f" : "-", v);
    return out;
}

static const char *show_p(char *out, size_t n, double p) {
    snprintf(out, n, !isfinite(p) ? "-" : p < 5e-5 ? "%.1e" : "%.4f", p);
    return out;
}

static void print_interval(adze_text *t, adze_interval i) {
    char a[32], b[32], both[80];
    snprintf(both, sizeof(both), "[%s, %s]", show(a, sizeof(a), i.lo), show(b, sizeof(b), i.hi));
    adze_text_add(t, " %20s", both);
}

static void print_number(adze_text *t, double v) {
    char a[32];
    adze_text_add(t, " %9s", show(a, sizeof(a), v));
}

static void print_p(adze_text *t, double p) {
    char a[32];
    adze_text_add(t, " %9s", show_p(a, sizeof(a), p));
}

static void print_means(adze_text *t, const cmp *k, const verdict *v, int width) {
    adze_text_add(t, "%-*s %4s %9s %9s %20s %20s\n", width, CMP_METRIC_NAMES[k->metric], "runs", "mean", "sd", "95 % (t)", "95 % (bootstrap)");
    for (int s = 0; s < k->nsettings; s++) {
        adze_text_add(t, "%-*s %4lld", width, k->settings[s].label, (long long)v[s].all.n);
        print_number(t, v[s].all.mean);
        print_number(t, v[s].all.sd);
        print_interval(t, v[s].all.t);
        print_interval(t, v[s].all.boot);
        adze_text_add(t, "\n");
    }
}

static void print_differences(adze_text *t, const cmp *k, const verdict *v, int width) {
    const bool many = k->nsettings > 2;
    char a[32];
    adze_text_add(t, "\npaired differences to %s\n%-*s %4s %9s %20s %20s %9s %9s", k->settings[0].label, width, "", "runs", "mean", "95 % (t)",
                  "95 % (bootstrap)", "p (t)", "p (sign)");
    adze_text_add(t, "%s%s\n", many ? "  Holm (t)    (sign)" : "", k->answers ? "  McNemar's p, seed by seed" : "");
    for (int s = 1; s < k->nsettings; s++) {
        adze_text_add(t, "%-*s %4lld", width, k->settings[s].label, (long long)v[s].diff.n);
        print_number(t, v[s].diff.mean);
        print_interval(t, v[s].diff.t);
        print_interval(t, v[s].diff.boot);
        print_p(t, v[s].p_t);
        print_p(t, v[s].p_sign);
        if (many) {
            print_p(t, v[s].p_t_holm);
            print_p(t, v[s].p_sign_holm);
        }
        adze_text_add(t, k->answers ? " " : "");
        for (int64_t i = 0; i < k->nseeds && k->answers; i++) {
            adze_text_add(t, " %s", show_p(a, sizeof(a), v[s].mcnemar[i]));
        }
        adze_text_add(t, "\n");
    }
}

static void print_text(adze_text *t, const cmp *k, const verdict *v) {
    int width = 12;
    bool missing = false;
    for (int s = 0; s < k->nsettings; s++) {
        const int n = (int)strlen(k->settings[s].label);
        width = n > width ? n : width;
        missing = missing || v[s].all.n < k->nseeds;
    }
    print_means(t, k, v, width);
    print_differences(t, k, v, width);
    if (missing) {
        adze_text_add(t, "\nruns that diverged or never came to %s are left out, their pairs too\n", CMP_METRIC_NAMES[k->metric]);
    }
    adze_text_add(t, "\n%s/compare.json has all of it, runs.csv every run, compare.svg the picture\n", k->out);
}

/* -- files -------------------------------------------------------------------------------------------------------------------------------------- */

static void number(adze_text *t, const char *name, double v) {
    char text[32];
    adze_text_add(t, "\"%s\":%s,", name, cli_json_number(text, sizeof(text), v));
}

static void interval(adze_text *t, const char *name, adze_interval i) {
    char a[32], b[32];
    adze_text_add(t, "\"%s\":[%s,%s]", name, cli_json_number(a, sizeof(a), i.lo), cli_json_number(b, sizeof(b), i.hi));
}

static void sample_json(adze_text *t, const sample *s) {
    adze_text_add(t, "\"runs\":%lld,", (long long)s->n);
    number(t, "mean", s->mean);
    number(t, "sd", s->sd);
    interval(t, "t95", s->t);
    adze_text_add(t, ",");
    interval(t, "bootstrap95", s->boot);
}

static void print_json(adze_text *t, const cmp *k, const verdict *v) {
    char a[32];
    adze_text_add(t, "{\"schema\":1,\"metric\":\"%s\",", CMP_METRIC_NAMES[k->metric]);
    if (k->metric == CMP_EPOCHS_TO) {
        number(t, "target", k->target);
    }
    adze_text_add(t, "\"folder\":");
    adze_json_string(t, k->out);
    adze_text_add(t, ",\"first_seed\":%llu,\"seeds\":%lld,\"settings\":[", (unsigned long long)k->seed, (long long)k->nseeds);
    for (int s = 0; s < k->nsettings; s++) {
        adze_text_add(t, "%s{\"setting\":", s ? "," : "");
        adze_json_string(t, k->settings[s].label);
        adze_text_add(t, ",\"values\":[");
        for (int64_t i = 0; i < k->nseeds; i++) {
            adze_text_add(t, "%s%s", i ? "," : "", cli_json_number(a, sizeof(a), value(k, s, i)));
        }
        adze_text_add(t, "],");
        sample_json(t, &v[s].all);
        if (s > 0) {
            adze_text_add(t, ",\"to_first\":{");
            number(t, "p_t", v[s].p_t);
            number(t, "p_sign", v[s].p_sign);
            number(t, "p_t_holm", v[s].p_t_holm);
            number(t, "p_sign_holm", v[s].p_sign_holm);
            adze_text_add(t, "\"p_mcnemar\":[");
            for (int64_t i = 0; i < k->nseeds; i++) {
                adze_text_add(t, "%s%s", i ? "," : "", cli_json_number(a, sizeof(a), v[s].mcnemar[i]));
            }
            adze_text_add(t, "],");
            sample_json(t, &v[s].diff);
            adze_text_add(t, "}");
        }
        adze_text_add(t, "}");
    }
    adze_text_add(t, "]}\n");
}

static void print_csv(adze_text *t, const cmp *k) {
    adze_text_add(t, "setting,seed");
    for (int m = 0; m < CMP_METRICS; m++) {
        adze_text_add(t, ",%s", CMP_METRIC_NAMES[m]);
    }
    adze_text_add(t, "\n");
    for (int64_t i = 0; i < k->nsettings * k->nseeds; i++) {
        adze_text_add(t, "%s,%llu", k->settings[i / k->nseeds].label, (unsigned long long)(k->seed + (uint64_t)(i % k->nseeds)));
        for (int m = 0; m < CMP_METRICS; m++) {
            adze_text_add(t, isfinite(k->runs[i].value[m]) ? ",%.9g" : ",", k->runs[i].value[m]);
        }
        adze_text_add(t, "\n");
    }
}

static int save(const cmp *k, const char *name, adze_text *t, char **text) {
    char path[1024];
    TRY(adze_text_finish(t, text));
    TRY(adze_path_join(path, sizeof(path), k->out, name));
    const adze_piece piece = {*text, (int64_t)strlen(*text)};
    return adze_replace_file(k->c->ctx, path, &piece, 1);
}

/* A bar from end to end of each setting's t interval with a dot at its mean; without an interval the dot alone. */
static int draw(const cmp *k, const verdict *v) {
    double x[CMP_SETTINGS][3], y[CMP_SETTINGS][3];
    adze_line lines[CMP_SETTINGS];
    const char *names[CMP_SETTINGS];
    char title[128], path[1024];
    for (int s = 0; s < k->nsettings; s++) {
        const double at[3] = {v[s].all.t.lo, v[s].all.mean, v[s].all.t.hi};
        for (int i = 0; i < 3; i++) {
            x[s][i] = s + 1;
            y[s][i] = at[i];
        }
        lines[s] = (adze_line){.name = "", .x = x[s], .y = y[s], .n = 3};
        names[s] = k->settings[s].label;
    }
    snprintf(title, sizeof(title), "%s: mean and 95 %% interval of %lld seeds", CMP_METRIC_NAMES[k->metric], (long long)k->nseeds);
    const adze_chart chart = {.title = title,
                              .x_label = "setting",
                              .y_label = CMP_METRIC_NAMES[k->metric],
                              .lines = lines,
                              .nlines = k->nsettings,
                              .x_names = names,
                              .nx_names = k->nsettings};
    static const char *const files[] = {"compare.svg", "compare.png"};
    for (int i = 0; i < 2; i++) {
        TRY(adze_path_join(path, sizeof(path), k->out, files[i]));
        TRY(adze_chart_write(k->c->ctx, path, &chart, 1));
    }
    return ADZE_OK;
}

static int write_all(cmp *k, const verdict *v) {
    adze_text json = {.ctx = k->c->ctx}, csv = {.ctx = k->c->ctx}, text = {.ctx = k->c->ctx};
    char *s = NULL, *table = NULL;
    print_json(&json, k, v);
    int status = save(k, "compare.json", &json, &s);
    if (status == ADZE_OK) {
        print_csv(&csv, k);
        status = save(k, "runs.csv", &csv, &table);
    }
    if (status == ADZE_OK) {
        status = draw(k, v);
    }
    if (status == ADZE_OK && k->c->global.json) {
        fputs(s, stdout);
        status = cli_finish_output(k->c);
    } else if (status == ADZE_OK) {
        print_text(&text, k, v);
        status = cli_print_text(k->c, &text);
    }
    adze_free(k->c->ctx, s);
    adze_free(k->c->ctx, table);
    return status;
}

int cmp_report(cmp *k) {
    verdict *v = adze_alloc(k->c->ctx, k->nsettings, sizeof(*v));
    int status = v ? ADZE_OK : ADZE_ENOMEM;
    for (int s = 0; s < k->nsettings && status == ADZE_OK; s++) {
        status = judge(k, s, &v[s]);
    }
    if (status == ADZE_OK) {
        correct(v, k->nsettings);
        status = write_all(k, v);
    }
    for (int s = 0; v && s < k->nsettings; s++) {
        adze_free(k->c->ctx, v[s].all.v);
    }
    adze_free(k->c->ctx, v);
    return status;
}
