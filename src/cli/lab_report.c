/* docs/experiments.md: a table and a section for each record. What stands before the marker is left alone. */
#include "cli/lab.h"

#include <math.h>
#include <stdlib.h>

static const char MARKER[] = "<!-- From here on written by `adze lab report` from experiments/records. -->\n";

static double number_of(const adze_tree *t, const char *key) {
    double v;
    return adze_parse_f64(lab_text_of(t, key), &v) ? v : NAN;
}

/* In a table a bar would end the cell. */
static void cell(adze_text *t, const char *s) {
    adze_text_add(t, "| ");
    for (; *s; s++) {
        adze_text_add(t, *s == '|' ? "\\|" : *s == '\n' ? " " : "%c", *s);
    }
    adze_text_add(t, " ");
}

/* "2.31 [1.9, 2.7]" */
static void with_interval(char *out, size_t n, const adze_tree *t) {
    const double mean = number_of(t, "mean"), lo = number_of(t, "lo"), hi = number_of(t, "hi");
    if (lo < hi) {
        snprintf(out, n, "%.4g [%.4g, %.4g]", mean, lo, hi);
    } else {
        snprintf(out, n, "%.6g", mean);
    }
}

static void link_of(adze_text *t, const char *name) {
    adze_text_add(t, "| [%s](#%s) ", name, name);
}

static bool alike(const lab_exp *e, const adze_tree *r) {
    return lab_alike(e, lab_text_of(r, "result"), lab_text_of(adze_tree_get(r, "control"), "result"));
}

static void row(adze_text *t, const lab_exp *e, const adze_tree *r) {
    char number[120], ours[300];
    with_interval(number, sizeof(number), adze_tree_get(r, "ours"));
    snprintf(ours, sizeof(ours), "%s %s", number, e->paper.unit);
    link_of(t, e->name);
    cell(t, lab_text_of(r, "claim"));
    cell(t, e->paper.figure);
    cell(t, ours);
    adze_text_add(t, "| %s%s%s |\n", lab_text_of(r, "result"), lab_stale(e, r) ? ", stale" : "", alike(e, r) ? ", control alike" : "");
}

static void rules(adze_text *t, const adze_tree *verdict) {
    for (const adze_tree *k = verdict ? verdict->child : NULL; k; k = k->next) {
        char v[120];
        with_interval(v, sizeof(v), k);
        adze_text_add(t, "- `%s` = %s; confirmed when %s%s%s: %s\n", lab_text_of(k, "value"), v, lab_text_of(k, "confirmed"),
                      lab_text_of(k, "refuted")[0] ? ", refuted when " : "", lab_text_of(k, "refuted"), lab_text_of(k, "verdict"));
    }
}

static void commands(adze_text *t, const adze_tree *arms) {
    for (const adze_tree *a = arms ? arms->child : NULL; a; a = a->next) {
        const adze_tree *lines = adze_tree_get(a, "commands");
        for (const adze_tree *k = lines ? lines->child : NULL; k; k = k->next) {
            adze_text_add(t, "    %-12s adze %s\n", k == lines->child ? lab_text_of(a, "name") : "", k->text ? k->text : "");
        }
    }
}

/* What the paper says, where the claim stands and what the verdict means are the file's, not the record's: they may be said better later. */
static void section(adze_text *t, const lab_exp *e, const adze_tree *r) {
    char ours[120];
    const adze_tree *control = adze_tree_get(r, "control");
    adze_text_add(t, "\n### %s\n\n%s (notes %s; rows", e->name, lab_text_of(r, "claim"), e->notes);
    for (int i = 0; i < e->nrows; i++) {
        adze_text_add(t, " %s", e->rows[i]);
    }
    adze_text_add(t, ")\n\n**%s**%s%s", lab_text_of(r, "result"),
                  lab_stale(e, r) ? " (stale: claim, data, arms, rule, control or revision have changed since)" : "",
                  alike(e, r) ? " (control alike: nothing was shown)" : "");
    if (e->paper.cite[0]) {
        adze_text_add(t, ". Paper: %s%s%s%s%s", e->paper.cite, e->paper.where[0] ? ", " : "", e->paper.where, e->paper.figure[0] ? ": " : "",
                      e->paper.figure);
    }
    with_interval(ours, sizeof(ours), adze_tree_get(r, "ours"));
    adze_text_add(t, ". Ours: %s %s", ours, e->paper.unit);
    adze_text_add(t, "\n\n    adze lab run %s    # %.1f minutes, %d seeds\n\n", e->name, number_of(r, "minutes"),
                  adze_tree_len(adze_tree_get(r, "seeds")));
    commands(t, adze_tree_get(r, "arms"));
    adze_text_add(t, "\n");
    rules(t, adze_tree_get(r, "verdict"));
    adze_text_add(t, "\nControl, which must be %s, is %s:\n\n", lab_text_of(control, "must"), lab_text_of(control, "result"));
    if (adze_tree_len(adze_tree_get(control, "arms")) > 0) {
        commands(t, adze_tree_get(control, "arms"));
        adze_text_add(t, "\n");
    }
    rules(t, adze_tree_get(control, "verdict"));
    if (e->note[0]) {
        adze_text_add(t, "\n%s\n", e->note);
    }
    adze_text_add(t, "\n![%s](../experiments/records/%s.png)\n", e->name, e->name);
}

/* What the page says above the marker. */
static int keep_head(cli *c, const char *path, adze_text *t) {
    char *old, *end;
    int64_t n;
    if (!adze_path_exists(c->ctx, path)) {
        adze_text_add(t, "# Experiments\n\n");
        return ADZE_OK;
    }
    TRY(adze_read_file(c->ctx, path, 16 << 20, (void **)&old, &n));
    end = strstr(old, MARKER);
    adze_text_put(t, old, end ? (size_t)(end - old) : (size_t)n);
    adze_text_add(t, end ? "" : "\n");
    adze_free(c->ctx, old);
    return ADZE_OK;
}

enum { TABLE, WAITING, SECTIONS, PASSES };

static int all_records(cli *c, const lab_opts *o, const lab_names *all, adze_arena *a, adze_text *t, int pass, int counts[4]) {
    int waiting = 0;
    for (int i = 0; i < all->n; i++) {
        const adze_tree *r;
        lab_exp *e;
        TRY(lab_record_read(c, o, all->name[i], a, &r));
        if (pass == WAITING && !r) {
            adze_text_add(t, "%s%s", waiting++ ? ", " : "\nWritten down and not run yet: ", all->name[i]);
        }
        if (pass == WAITING || !r) {
            continue;
        }
        TRY(lab_read(c, o->dir, all->name[i], &e));
        if (pass == TABLE) {
            row(t, e, r);
            for (int k = 0; LAB_VERDICT_NAMES[k]; k++) {
                counts[k] += strcmp(LAB_VERDICT_NAMES[k], lab_text_of(r, "result")) == 0;
            }
        } else {
            section(t, e, r);
        }
        lab_free(c, e);
    }
    adze_text_add(t, waiting ? ".\n" : "");
    return ADZE_OK;
}

int lab_report(cli *c, const lab_opts *o) {
    lab_names all = {0};
    adze_arena a = {.ctx = c->ctx};
    adze_text t = {.ctx = c->ctx};
    int counts[4] = {0}, status = keep_head(c, o->out, &t);
    char *s = NULL;
    adze_text_add(&t, "%s## Claims\n\n| experiment | claim | paper | ours | verdict |\n|---|---|---|---|---|\n", MARKER);
    status = status == ADZE_OK ? lab_list(c, o->dir, &all) : status;
    for (int pass = TABLE; pass < PASSES && status == ADZE_OK; pass++) {
        status = all_records(c, o, &all, &a, &t, pass, counts);
    }
    adze_free(c->ctx, all.name);
    adze_arena_free(&a);
    if (status != ADZE_OK) {
        adze_text_drop(&t);
        return status;
    }
    TRY(adze_text_finish(&t, &s));
    const adze_piece piece = {s, (int64_t)strlen(s)};
    status = adze_replace_file(c->ctx, o->out, &piece, 1);
    adze_free(c->ctx, s);
    TRY(status);
    t = (adze_text){.ctx = c->ctx};
    if (c->global.json) {
        adze_text_add(&t, "{\"schema\":1,\"page\":");
        adze_json_string(&t, o->out);
        adze_text_add(&t, ",\"confirmed\":%d,\"refuted\":%d,\"conditional\":%d,\"invalid\":%d}\n", counts[1], counts[2], counts[0], counts[3]);
    } else {
        adze_text_add(&t, "%s: %d confirmed, %d refuted, %d conditional, %d invalid\n", o->out, counts[1], counts[2], counts[0], counts[3]);
    }
    return cli_print_text(c, &t);
}
