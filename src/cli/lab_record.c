/* The record of an experiment: everything that was run and found, as JSON without a path of this machine, and its picture. */
#include "cli/lab.h"

#include "base/stats.h"

#include <math.h>

void lab_number(adze_text *t, double v) {
    char s[32];
    adze_print_f64(s, sizeof(s), v);
    adze_text_add(t, isfinite(v) ? "%s" : "\"%s\"", s);
}

const char *lab_text_of(const adze_tree *t, const char *key) {
    const adze_tree *k = adze_tree_get(t, key);
    return k && k->text ? k->text : "";
}

bool lab_stale(const lab_exp *e, const adze_tree *record) {
    const adze_tree *ours = adze_tree_get(record, "ours");
    return strcmp(lab_text_of(record, "rule_hash"), e->rule_hash) != 0 || strcmp(lab_text_of(ours, "value"), e->ours.value) != 0;
}

static bool same_rule(const lab_rule *a, const lab_rule *b) {
    return strcmp(a->value, b->value) == 0 && strcmp(a->confirmed, b->confirmed) == 0 && strcmp(a->refuted, b->refuted) == 0;
}

bool lab_alike(const lab_exp *e, const char *verdict, const char *control) {
    bool own = false; /* a rule that is none of the claim's: under it the same word may say the opposite, unless the word is that it cannot tell */
    for (int i = 0; i < e->control.nrules; i++) {
        bool known = false;
        for (int k = 0; k < e->main.nrules; k++) {
            known = known || same_rule(&e->control.rule[i], &e->main.rule[k]);
        }
        own = own || !known;
    }
    return verdict[0] && strcmp(verdict, control) == 0 && (!own || strcmp(verdict, LAB_VERDICT_NAMES[LAB_CONDITIONAL]) == 0);
}

static void key_text(adze_text *t, const char *key, const char *v) {
    adze_text_add(t, "\"%s\":", key);
    adze_json_string(t, v);
}

static void numbers(adze_text *t, const char *key, const double *v, int n) {
    adze_text_add(t, "\"%s\":[", key);
    for (int i = 0; i < n; i++) {
        adze_text_add(t, i ? "," : "");
        lab_number(t, v[i]);
    }
    adze_text_add(t, "]");
}

static void interval(adze_text *t, double mean, double lo, double hi) {
    adze_text_add(t, ",\"mean\":");
    lab_number(t, mean);
    adze_text_add(t, ",\"lo\":");
    lab_number(t, lo);
    adze_text_add(t, ",\"hi\":");
    lab_number(t, hi);
}

static void put_arms(adze_text *t, const lab_part *p, int nseeds) {
    adze_text_add(t, "\"arms\":[");
    for (int a = 0; a < p->narms; a++) {
        const lab_arm *arm = &p->arm[a];
        adze_text_add(t, "%s\n  {", a ? "," : "");
        key_text(t, "name", arm->name);
        adze_text_add(t, ",\"commands\":[");
        for (int k = 0; k < arm->nlines; k++) {
            adze_text_add(t, k ? "," : "");
            adze_json_string(t, arm->lines[k]);
        }
        adze_text_add(t, "],\"seconds\":%.1f,\"measures\":[", arm->seconds);
        for (int m = 0; m < p->nmeasures; m++) {
            const double *v = arm->value[m];
            const adze_interval in = adze_t_interval(v, nseeds);
            adze_text_add(t, "%s{", m ? "," : "");
            key_text(t, "name", p->measure[m].name);
            adze_text_add(t, ",");
            key_text(t, "what", p->measure[m].text);
            adze_text_add(t, ",");
            numbers(t, "values", v, nseeds);
            interval(t, adze_stats_mean(v, nseeds), nseeds > 1 ? in.lo : v[0], nseeds > 1 ? in.hi : v[0]);
            adze_text_add(t, "}");
        }
        adze_text_add(t, "]}");
    }
    adze_text_add(t, "]");
}

static void put_rules(adze_text *t, const lab_part *p, int nseeds) {
    adze_text_add(t, "\"verdict\":[");
    for (int i = 0; i < p->nrules; i++) {
        const lab_rule *r = &p->rule[i];
        adze_text_add(t, "%s\n  {", i ? "," : "");
        key_text(t, "value", r->value);
        adze_text_add(t, ",");
        key_text(t, "confirmed", r->confirmed);
        adze_text_add(t, ",");
        key_text(t, "refuted", r->refuted);
        adze_text_add(t, ",");
        numbers(t, "values", r->at, nseeds);
        interval(t, r->mean, r->lo, r->hi);
        adze_text_add(t, ",\"verdict\":\"%s\"}", LAB_VERDICT_NAMES[r->verdict]);
    }
    adze_text_add(t, "]");
}

static void put_list(adze_text *t, const char *key, const char *const *v, int n) {
    adze_text_add(t, "\"%s\":[", key);
    for (int i = 0; i < n; i++) {
        adze_text_add(t, i ? "," : "");
        adze_json_string(t, v[i]);
    }
    adze_text_add(t, "]");
}

static void put_machine(adze_text *t, cli *c) {
    char line[256], cpu[160] = "unknown";
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof(line), f) && sscanf(line, "model name : %159[^\n]", cpu) != 1) {
    }
    if (f) {
        fclose(f);
    }
    adze_text_add(t, "\"machine\":{");
    key_text(t, "cpu", cpu);
    adze_text_add(t, ",\"threads\":%d,\"isa\":\"%s\"}", adze_ctx_threads(c->ctx), adze_ctx_isa(c->ctx));
}

void lab_record_json(const lab_exp *e, cli *c, adze_text *t) {
    static const char *const must[] = {"conditional", "confirmed", "refuted", "not_confirmed"};
    adze_text_add(t, "{\"schema\":1,");
    key_text(t, "name", e->name);
    adze_text_add(t, ",\n\"result\":\"%s\",\n", LAB_VERDICT_NAMES[e->verdict]);
    key_text(t, "claim", e->claim);
    adze_text_add(t, ",\n");
    key_text(t, "notes", e->notes);
    adze_text_add(t, ",\n");
    put_list(t, "rows", e->rows, e->nrows);
    adze_text_add(t, ",\n\"paper\":{");
    key_text(t, "cite", e->paper.cite);
    adze_text_add(t, ",");
    key_text(t, "where", e->paper.where);
    adze_text_add(t, ",");
    key_text(t, "figure", e->paper.figure);
    adze_text_add(t, ",");
    key_text(t, "unit", e->paper.unit);
    adze_text_add(t, "},\n\"ours\":{");
    key_text(t, "value", e->ours.value);
    interval(t, e->ours.mean, e->ours.lo, e->ours.hi);
    adze_text_add(t, "},\n\"data\":[");
    for (int i = 0; i < e->ndata; i++) {
        adze_text_add(t, "%s{", i ? "," : "");
        key_text(t, "name", e->data[i]);
        adze_text_add(t, ",\"hash\":\"%016llx%016llx\"}", (unsigned long long)e->data_hash[i][1], (unsigned long long)e->data_hash[i][0]);
    }
    adze_text_add(t, "],\n\"seeds\":[");
    for (int i = 0; i < e->nseeds; i++) {
        adze_text_add(t, "%s%llu", i ? "," : "", (unsigned long long)e->seeds[i]);
    }
    adze_text_add(t, "],\n");
    put_arms(t, &e->main, e->nseeds);
    adze_text_add(t, ",\n");
    put_rules(t, &e->main, e->nseeds);
    adze_text_add(t, ",\n\"control\":{\"must\":\"%s\",\"result\":\"%s\",\n", must[e->must], LAB_VERDICT_NAMES[e->control.verdict]);
    put_arms(t, &e->control, e->nseeds);
    adze_text_add(t, ",\n");
    put_rules(t, &e->control, e->nseeds);
    adze_text_add(t, "},\n\"minutes\":%.2f,\n", e->seconds / 60);
    put_machine(t, c);
    adze_text_add(t, ",\n\"version\":\"%s\",\n\"revision\":%lld,\n\"rule_hash\":\"%s\"}\n", adze_version(), (long long)e->revision, e->rule_hash);
}

int lab_record_path(const lab_opts *o, const char *name, const char *ending, char *out, size_t n) {
    const int len = snprintf(out, n, "%s/records/%s%s", o->dir, name, ending);
    return len > 0 && (size_t)len < n ? ADZE_OK : ADZE_EARG;
}

int lab_record_write(cli *c, const lab_opts *o, const lab_exp *e) {
    char path[LAB_PATH], *s;
    TRY(lab_record_path(o, "", "", path, sizeof(path)));
    TRY(adze_make_dirs(c->ctx, path));
    TRY(lab_record_path(o, e->name, ".json", path, sizeof(path)));
    adze_text t = {.ctx = c->ctx};
    lab_record_json(e, c, &t);
    TRY(adze_text_finish(&t, &s));
    const adze_piece piece = {s, (int64_t)strlen(s)};
    const int status = adze_replace_file(c->ctx, path, &piece, 1);
    adze_free(c->ctx, s);
    return status == ADZE_OK ? lab_draw(c, o, e) : status;
}

int lab_record_read(cli *c, const lab_opts *o, const char *name, adze_arena *a, const adze_tree **out) {
    char path[LAB_PATH], *text;
    int64_t n;
    adze_tree *t = NULL;
    *out = NULL;
    TRY(lab_record_path(o, name, ".json", path, sizeof(path)));
    if (!adze_path_exists(c->ctx, path)) {
        return ADZE_OK;
    }
    TRY(adze_read_file(c->ctx, path, 16 << 20, (void **)&text, &n));
    const int status = adze_json_parse(a, text, (size_t)n, path, &t);
    adze_free(c->ctx, text);
    *out = t;
    return status;
}
