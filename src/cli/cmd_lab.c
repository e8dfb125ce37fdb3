/* adze lab: claims as files; runs them, stands the paper's figure beside ours, and keeps the record. */
#include "cli/lab.h"

#include <math.h>

#define TEXT_AT(member) offsetof(lab_opts, member), sizeof(((lab_opts *)0)->member)
static const adze_field FIELDS[] = {
    {"dir", ADZE_F_STR, 0, TEXT_AT(dir), "experiments", 0, 0, NULL, "folder of the experiments"},
    {"work", ADZE_F_STR, 0, TEXT_AT(work), "runs/lab", 0, 0, NULL, "run: folder of the arms' runs; what is finished there is not run again"},
    {"rows", ADZE_F_STR, 0, TEXT_AT(rows), "", 0, 0, NULL, "list, run --all: only rows that begin so, as in A or E1"},
    {"out", ADZE_F_STR, 0, TEXT_AT(out), "docs/experiments.md", 0, 0, NULL, "report: the page"},
    {"quick", ADZE_F_BOOL, 0, offsetof(lab_opts, quick), 0, NULL, 0, 0, NULL, "run: all that take seconds and whose data are here"},
    {"all", ADZE_F_BOOL, 0, offsetof(lab_opts, all), 0, NULL, 0, 0, NULL, "run: all whose data are here"},
    {"check", ADZE_F_BOOL, 0, offsetof(lab_opts, check), 0, NULL, 0, 0, NULL, "run: compare the verdict with the record's instead of writing it"},
    {"seeds", ADZE_F_I64, 0, offsetof(lab_opts, seeds), 0, "0", 0, LAB_SEEDS, NULL, "run: so many seeds instead of the file's"},
    {"seed", ADZE_F_U64, 0, offsetof(lab_opts, seed), 0, "1", 0, 0, NULL, "formula: of normal() and uniform()"},
    {0}};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    return 1;
}

/* -- list ---------------------------------------------------------------------------------------------------------------------------------------- */

static bool has_row(const lab_exp *e, const char *begin) {
    const size_t n = strlen(begin);
    for (int i = 0; i < e->nrows; i++) {
        if (strncmp(e->rows[i], begin, n) == 0) {
            return true;
        }
    }
    return n == 0;
}

typedef struct record {
    char verdict[32]; /* "-": there is none */
    bool stale, alike;
    double minutes; /* that it took, or else is thought to take */
} record;

static int recorded(cli *c, const lab_opts *o, const lab_exp *e, record *r) {
    adze_arena a = {.ctx = c->ctx};
    const adze_tree *t;
    const int status = lab_record_read(c, o, e->name, &a, &t);
    const char *result = lab_text_of(t, "result");
    snprintf(r->verdict, sizeof(r->verdict), "%s", result[0] ? result : "-");
    r->stale = t && lab_stale(e, t);
    r->alike = t && lab_alike(e, result, lab_text_of(adze_tree_get(t, "control"), "result"));
    r->minutes = t && adze_parse_f64(lab_text_of(t, "minutes"), &r->minutes) ? r->minutes : e->minutes;
    adze_arena_free(&a);
    return status;
}

static int list_one(cli *c, const lab_opts *o, const lab_exp *e, adze_text *t, bool first) {
    record r;
    TRY(recorded(c, o, e, &r));
    if (!c->global.json) {
        char rows[128] = "", line[200];
        for (int i = 0; i < e->nrows; i++) {
            snprintf(rows + strlen(rows), sizeof(rows) - strlen(rows), "%s%s", i ? " " : "", e->rows[i]);
        }
        snprintf(line, sizeof(line), "%-30s %-15.15s %9.1f  %s%s%s%s", e->name, rows, r.minutes, r.verdict, r.stale ? " (stale)" : "",
                 r.alike ? " (control alike)" : "", e->quick ? "  quick" : "");
        adze_text_add(t, "%s\n", line);
        return ADZE_OK;
    }
    adze_text_add(t, "%s{\"name\":", first ? "" : ",");
    adze_json_string(t, e->name);
    adze_text_add(t, ",\"claim\":");
    adze_json_string(t, e->claim);
    adze_text_add(t, ",\"rows\":[");
    for (int i = 0; i < e->nrows; i++) {
        adze_text_add(t, i ? "," : "");
        adze_json_string(t, e->rows[i]);
    }
    adze_text_add(t, "],\"quick\":%s,\"minutes\":%g,\"verdict\":", e->quick ? "true" : "false", r.minutes);
    adze_json_string(t, r.verdict);
    adze_text_add(t, ",\"stale\":%s,\"alike\":%s}", r.stale ? "true" : "false", r.alike ? "true" : "false");
    return ADZE_OK;
}

/* Calls each for every experiment whose rows fit; the first failure ends it. */
static int for_each(cli *c, const lab_opts *o, int (*each)(cli *, const lab_opts *, lab_exp *, void *), void *arg) {
    lab_names all;
    TRY(lab_list(c, o->dir, &all));
    int status = ADZE_OK;
    for (int i = 0; i < all.n && status == ADZE_OK; i++) {
        lab_exp *e;
        status = lab_read(c, o->dir, all.name[i], &e);
        if (status == ADZE_OK && has_row(e, o->rows)) {
            status = each(c, o, e, arg);
        }
        lab_free(c, e);
    }
    adze_free(c->ctx, all.name);
    return status;
}

static int each_listed(cli *c, const lab_opts *o, lab_exp *e, void *arg) {
    adze_text *t = arg;
    return list_one(c, o, e, t, t->len > 0 && t->s[t->len - 1] == '[');
}

static int list(cli *c, const lab_opts *o) {
    adze_text t = {.ctx = c->ctx};
    adze_text_add(&t, c->global.json ? "{\"schema\":1,\"experiments\":[" : "%-30s %-15s %9s  %s\n", "experiment", "rows", "minutes",
                  "verdict (stale: the file has changed since; control alike: nothing was shown)");
    const int status = for_each(c, o, each_listed, &t);
    adze_text_add(&t, "%s", c->global.json ? "]}\n" : "");
    if (status != ADZE_OK) {
        adze_text_drop(&t);
        return status;
    }
    return cli_print_text(c, &t);
}

/* -- show and the result ------------------------------------------------------------------------------------------------------------------------- */

static void print_part(adze_text *t, const lab_part *p) {
    for (int a = 0; a < p->narms; a++) {
        for (int k = 0; k < p->arm[a].nlines; k++) {
            adze_text_add(t, "  %-12s adze %s\n", k ? "" : p->arm[a].name, p->arm[a].lines[k]);
        }
    }
    for (int m = 0; m < p->nmeasures; m++) {
        adze_text_add(t, "  %s%s%s%s\n", "measured: ", p->measure[m].name, p->measure[m].name[0] ? " = " : "", p->measure[m].text);
    }
    for (int i = 0; i < p->nrules; i++) {
        adze_text_add(t, "  rule: %s is %s%s%s\n", p->rule[i].value, p->rule[i].confirmed, p->rule[i].refuted[0] ? "; refuted when " : "",
                      p->rule[i].refuted);
    }
}

static void print_claim(adze_text *t, const lab_exp *e) {
    adze_text_add(t, "%s\n  claim: %s (notes %s)\n", e->name, e->claim, e->notes);
    if (e->paper.cite[0]) {
        adze_text_add(t, "  paper: %s%s%s\n", e->paper.cite, e->paper.where[0] ? ", " : "", e->paper.where);
    }
}

static int show(cli *c, const lab_opts *o, const char *name) {
    lab_exp *e;
    record r;
    TRY(lab_read(c, o->dir, name, &e));
    adze_text t = {.ctx = c->ctx};
    print_claim(&t, e);
    print_part(&t, &e->main);
    adze_text_add(&t, "control, which must come out %s\n", e->must == LAB_NOT_CONFIRMED ? "otherwise than confirmed" : LAB_VERDICT_NAMES[e->must]);
    print_part(&t, &e->control);
    int status = recorded(c, o, e, &r);
    adze_text_add(&t, "seeds %d, revision %lld, about %.1f minutes; recorded verdict: %s%s%s\n%s%s", e->nseeds, (long long)e->revision, r.minutes,
                  r.verdict, r.stale ? " (stale: the rule has changed since)" : "", r.alike ? " (control alike)" : "", e->note,
                  e->note[0] ? "\n" : "");
    lab_free(c, e);
    if (status != ADZE_OK || c->global.json) {
        adze_text_drop(&t);
        return status != ADZE_OK ? status : cli_usage_error(c, "show prints for people; `adze lab list --json` and the records are for programs");
    }
    return cli_print_text(c, &t);
}

static void print_rules(adze_text *t, const lab_part *p) {
    for (int i = 0; i < p->nrules; i++) {
        const lab_rule *r = &p->rule[i];
        adze_text_add(t, "  %s = %.5g", r->value, r->mean);
        if (r->lo < r->hi) {
            adze_text_add(t, "  [%.5g, %.5g]", r->lo, r->hi);
        }
        adze_text_add(t, "  (%s): %s\n", r->confirmed, LAB_VERDICT_NAMES[r->verdict]);
    }
}

static void print_result(adze_text *t, const lab_exp *e) {
    print_claim(t, e);
    if (e->paper.figure[0]) {
        adze_text_add(t, "  paper's figure: %s\n  ours: %s = %.5g", e->paper.figure, e->ours.value, e->ours.mean);
        if (e->ours.lo < e->ours.hi) {
            adze_text_add(t, "  [%.5g, %.5g]", e->ours.lo, e->ours.hi);
        }
        adze_text_add(t, " %s\n", e->paper.unit);
    }
    print_rules(t, &e->main);
    adze_text_add(t, "  control (must be %s)\n", e->must == LAB_NOT_CONFIRMED ? "not confirmed" : LAB_VERDICT_NAMES[e->must]);
    print_rules(t, &e->control);
    const char *verdict = LAB_VERDICT_NAMES[e->verdict];
    adze_text_add(t, "  verdict over %d seed%s: %s%s\n", e->nseeds, e->nseeds > 1 ? "s" : "", verdict,
                  lab_alike(e, verdict, LAB_VERDICT_NAMES[e->control.verdict]) ? " (control alike: nothing was shown)" : "");
}

/* -- run ----------------------------------------------------------------------------------------------------------------------------------------- */

static int check_record(cli *c, const lab_opts *o, const lab_exp *e) {
    record r;
    TRY(recorded(c, o, e, &r));
    if (r.stale) {
        return adze_fail(c->ctx, ADZE_EDEVICE, "'%s': arms, rule or control have changed since the record was written", e->name);
    }
    return strcmp(r.verdict, LAB_VERDICT_NAMES[e->verdict]) == 0
               ? ADZE_OK
               : adze_fail(c->ctx, ADZE_EDEVICE, "'%s' comes out %s, but the record says %s", e->name, LAB_VERDICT_NAMES[e->verdict], r.verdict);
}

static int run_one(cli *c, const lab_opts *o, lab_exp *e) {
    adze_text t = {.ctx = c->ctx};
    for (int i = 0; o->seeds > 0 && i < LAB_SEEDS; i++) { /* the file's own as far as they go */
        e->seeds[i] = i < e->nseeds ? e->seeds[i] : e->seeds[i - 1] + 1;
    }
    e->nseeds = o->seeds > 0 ? (int)o->seeds : e->nseeds;
    TRY(lab_run_arms(c, o, e));
    TRY(lab_judge(c->ctx, e));
    TRY(o->check ? check_record(c, o, e) : lab_record_write(c, o, e));
    if (c->global.json) {
        lab_record_json(e, c, &t);
    } else {
        print_result(&t, e);
    }
    return cli_print_text(c, &t);
}

static bool have_data(cli *c, const lab_exp *e) {
    bool have = true;
    for (int i = 0; i < e->ndata && have; i++) {
        adze_dataset *d;
        have = adze_dataset_open(c->ctx, e->data[i], "test", &d) == ADZE_OK;
        if (have) {
            adze_dataset_close(d);
        }
        adze_err_clear(c->ctx);
    }
    return have;
}

static int each_run(cli *c, const lab_opts *o, lab_exp *e, void *arg) {
    int *n = arg;
    if (o->quick && !e->quick) {
        return ADZE_OK;
    }
    if (!have_data(c, e)) {
        fprintf(stderr, "adze: %s is passed over: its data are not here\n", e->name);
        return ADZE_OK;
    }
    (*n)++;
    return run_one(c, o, e);
}

static int run_lab(cli *c, const lab_opts *o, const char *name) {
    if ((name != NULL) + o->quick + o->all != 1) {
        return cli_usage_error(c, "run takes a name, --quick or --all");
    }
    if (!name) {
        int n = 0;
        TRY(for_each(c, o, each_run, &n));
        return n > 0 ? ADZE_OK : cli_usage_error(c, "nothing to run in '%s'", o->dir);
    }
    lab_exp *e;
    TRY(lab_read(c, o->dir, name, &e));
    const int status = run_one(c, o, e);
    lab_free(c, e);
    return status;
}

/* -- formula ------------------------------------------------------------------------------------------------------------------------------------- */

static int formula(cli *c, const lab_opts *o, const char *script) {
    lab_vars v = {.rng = adze_rng_make(o->seed, adze_hash_str("formula"))};
    adze_text t = {.ctx = c->ctx};
    TRY(lab_script(c->ctx, script, &v));
    adze_text_add(&t, c->global.json ? "{\"schema\":1" : "");
    for (int i = 0; i < v.n; i++) {
        if (c->global.json) {
            adze_text_add(&t, ",\"%s\":", v.name[i]);
            lab_number(&t, v.value[i]);
        } else {
            adze_text_add(&t, "%s = %.10g\n", v.name[i], v.value[i]);
        }
    }
    adze_text_add(&t, c->global.json ? "}\n" : "");
    return cli_print_text(c, &t);
}

static int run(cli *c, int argc, const char **argv) {
    lab_opts o;
    cli_args a = {.tables = {{FIELDS, &o, NULL}}, .ntables = 1};
    int status = cli_parse(c, &a, argc, argv, 1, 2);
    const char *verb = status == ADZE_OK && a.nwords > 0 ? a.words[0] : "", *name = a.nwords > 1 ? a.words[1] : NULL;
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status != ADZE_OK) {
    } else if (strcmp(verb, "list") == 0 && !name) {
        status = list(c, &o);
    } else if (strcmp(verb, "show") == 0 && name) {
        status = show(c, &o, name);
    } else if (strcmp(verb, "run") == 0) {
        status = run_lab(c, &o, name);
    } else if (strcmp(verb, "report") == 0 && !name) {
        status = lab_report(c, &o);
    } else if (strcmp(verb, "coverage") == 0 && !name) {
        status = lab_coverage(c, &o);
    } else if (strcmp(verb, "formula") == 0 && name) {
        status = formula(c, &o, name);
    } else {
        status = cli_usage_error(c, "usage: adze %s", c->cmd->usage);
    }
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_LAB = {"lab",
                         "experiments: claims, the commands that try them, verdicts",
                         "lab list | show NAME | run NAME|--quick|--all | report | coverage | formula TEXT",
                         "  adze lab run he-thirty-layers\n  adze lab run --quick --check\n"
                         "  adze lab formula 's = 0; repeat 3 { s = 0.9 * s + 0.1 * t ^ 2 }'\n",
                         tables,
                         run};
