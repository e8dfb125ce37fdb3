/* The file of an experiment: YAML into lab_exp, every fault of it told with its line. */
#include "cli/lab.h"

#include <ctype.h>
#include <stdlib.h>

const char *const LAB_VERDICT_NAMES[] = {"conditional", "confirmed", "refuted", "invalid", NULL};
static const char *const MUST[] = {"conditional", "confirmed", "refuted", "not_confirmed", NULL};

#define TEXT(type, member, flags, help)                                                                                                              \
    { #member, ADZE_F_STR, flags, offsetof(type, member), sizeof(((type *)0)->member), "", 0, 0, NULL, help }
static const adze_field TOP[] = {
    TEXT(lab_exp, claim, ADZE_FIELD_REQUIRED, "what is claimed, in one sentence"),
    TEXT(lab_exp, notes, ADZE_FIELD_REQUIRED, "where the notes say it"),
    TEXT(lab_exp, note, 0, "what the verdict means"),
    {"minutes", ADZE_F_F64, 0, offsetof(lab_exp, minutes), 0, "1", 0, 1e4, NULL, "that all arms take"},
    {"quick", ADZE_F_BOOL, 0, offsetof(lab_exp, quick), 0, NULL, 0, 0, NULL, "takes seconds: the tests run it"},
    {"revision", ADZE_F_I64, 0, offsetof(lab_exp, revision), 0, "1", 1, 1e6, NULL, "raised where a change of the program changes what is measured"},
    {0}};
#define PAPER(member, help)                                                                                                                          \
    { #member, ADZE_F_STR, 0, offsetof(lab_exp, paper.member), sizeof(((lab_exp *)0)->paper.member), "", 0, 0, NULL, help }
static const adze_field PAPER_FIELDS[] = {
    PAPER(cite, "authors, title, year"), PAPER(where, "table, figure or section"),      PAPER(figure, "what it says"),
    PAPER(unit, "of the figure"),        PAPER(ours, "our counterpart, an expression"), {0}};
static const adze_field RULE[] = {TEXT(lab_rule, value, ADZE_FIELD_REQUIRED, "arithmetic of arms"),
                                  TEXT(lab_rule, confirmed, ADZE_FIELD_REQUIRED, "where the claim holds"),
                                  TEXT(lab_rule, refuted, 0, "where it is wrong"),
                                  {0}};
static const adze_field CONTROL[] = {
    {"must", ADZE_F_ENUM, ADZE_FIELD_REQUIRED, offsetof(lab_exp, must), 0, "refuted", 0, 0, MUST, "how the control must come out"}, {0}};

typedef struct filing {
    cli *c;
    const char *file;
    adze_text faults;
    int count;
} filing;

static void fault(filing *f, const adze_tree *t, const char *what, const char *which) {
    adze_text_add(&f->faults, "%s:%d:%d: %s", f->file, t->line, t->col, what);
    adze_text_add(&f->faults, which ? " '%s'\n" : "\n", which);
    f->count++;
}

static bool is_text(const adze_tree *t) {
    return t->kind == ADZE_T_SCALAR || t->kind == ADZE_T_STRING;
}

static bool is_name(const char *s) {
    bool fine = islower((unsigned char)*s) && strlen(s) < LAB_NAME / 2;
    for (; *s; s++) {
        fine = fine && (islower((unsigned char)*s) || isdigit((unsigned char)*s) || *s == '_');
    }
    return fine;
}

/* One text or a list of texts. */
static int texts(filing *f, const adze_tree *t, const char **out, int room) {
    int n = 0;
    if (t && is_text(t)) {
        out[n++] = t->text;
    } else if (t && t->kind == ADZE_T_LIST) {
        for (const adze_tree *k = t->child; k; k = k->next) {
            if (!is_text(k) || n == room) {
                fault(f, k, n == room ? "too many entries in" : "a text is wanted in", t->key);
                break;
            }
            out[n++] = k->text;
        }
    } else if (t) {
        fault(f, t, "a text or a list of texts is wanted:", t->key);
    }
    return n;
}

static void read_arms(filing *f, const adze_tree *t, lab_part *p) {
    if (!t || t->kind != ADZE_T_MAP) {
        if (t) {
            fault(f, t, "arms: a map of names and command lines is wanted", NULL);
        }
        return;
    }
    for (const adze_tree *k = t->child; k; k = k->next) {
        if (p->narms == LAB_ARMS || !is_name(k->key)) {
            fault(f, k, p->narms == LAB_ARMS ? "too many arms:" : "an arm's name is of small letters, digits and '_', not", k->key);
            return;
        }
        lab_arm *a = &p->arm[p->narms++];
        a->name = k->key;
        a->nlines = texts(f, k, a->lines, LAB_LINES);
    }
}

static void read_measures(filing *f, const adze_tree *t, lab_part *p) {
    if (t && is_text(t)) {
        p->measure[p->nmeasures++] = (lab_measure){"", t->text};
    } else if (t && t->kind == ADZE_T_MAP) {
        for (const adze_tree *k = t->child; k; k = k->next) {
            if (p->nmeasures == LAB_MEASURES || !is_text(k) || !is_name(k->key)) {
                fault(f, k, "not a measure, or one too many:", k->key);
                return;
            }
            p->measure[p->nmeasures++] = (lab_measure){k->key, k->text};
        }
    } else if (t) {
        fault(f, t, "measure: a text, or a map of names and texts, is wanted", NULL);
    }
}

static void read_rule(filing *f, const adze_tree *t, lab_part *p) {
    adze_ctx *ctx = f->c->ctx;
    if (p->nrules == LAB_RULES) {
        fault(f, t, "too many verdict lines", NULL);
        return;
    }
    lab_rule *r = &p->rule[p->nrules++];
    adze_fields_default(RULE, r);
    const int bad = adze_tree_fields(ctx, t, RULE, r, f->file, "verdict", NULL, &f->faults);
    f->count += bad;
    if (bad == 0 &&
        (lab_region_parse(ctx, r->confirmed, &r->yes) != ADZE_OK || (r->refuted[0] && lab_region_parse(ctx, r->refuted, &r->no) != ADZE_OK))) {
        fault(f, t, adze_errmsg(ctx), NULL);
        adze_err_clear(ctx);
    }
}

static void read_rules(filing *f, const adze_tree *t, lab_part *p) {
    for (const adze_tree *k = t && t->kind == ADZE_T_LIST ? t->child : t; k; k = t->kind == ADZE_T_LIST ? k->next : NULL) {
        read_rule(f, k, p);
    }
}

/* A number of seeds from 1 on, or the seeds themselves. */
static void read_seeds(filing *f, const adze_tree *t, lab_exp *e) {
    int64_t n = 1;
    if (t && t->kind == ADZE_T_LIST) {
        const char *word[LAB_SEEDS];
        e->nseeds = texts(f, t, word, LAB_SEEDS);
        for (int i = 0; i < e->nseeds; i++) {
            if (!adze_parse_u64(word[i], &e->seeds[i])) {
                fault(f, t, "not a seed:", word[i]);
            }
        }
        return;
    }
    if (t && (!is_text(t) || !adze_parse_i64(t->text, &n) || n < 1 || n > LAB_SEEDS)) {
        fault(f, t, "seeds: 1 to 64, or a list", NULL);
        n = 1;
    }
    for (e->nseeds = 0; e->nseeds < n; e->nseeds++) {
        e->seeds[e->nseeds] = (uint64_t)e->nseeds + 1;
    }
}

/* Rules and measures are the claim's own where the control has none: its arms differ. */
static void read_control(filing *f, const adze_tree *t, lab_exp *e) {
    static const char *const skip[] = {"arms", "measure", "verdict", NULL};
    f->count += adze_tree_fields(f->c->ctx, t, CONTROL, e, f->file, "control", skip, &f->faults);
    if (t->kind != ADZE_T_MAP) {
        return;
    }
    lab_part *p = &e->control;
    read_arms(f, adze_tree_get(t, "arms"), p);
    read_measures(f, adze_tree_get(t, "measure"), p);
    read_rules(f, adze_tree_get(t, "verdict"), p);
    if (p->nmeasures == 0) {
        memcpy(p->measure, e->main.measure, sizeof(p->measure));
        p->nmeasures = e->main.nmeasures;
    }
    if (p->nrules == 0) {
        memcpy(p->rule, e->main.rule, sizeof(p->rule));
        p->nrules = e->main.nrules;
    }
    if (p->narms == 0 && !adze_tree_get(t, "verdict")) {
        fault(f, t, "control: arms or a verdict of its own are missing", NULL);
    }
}

/* The first leaves names and hashes as they were before there were any. */
void lab_hash_revision(const lab_exp *e, adze_text *t) {
    if (e->revision > 1) {
        adze_text_add(t, "\nrevision %lld", (long long)e->revision);
    }
}

static int hash_file(adze_ctx *ctx, const char *path, adze_text *t) {
    void *bytes;
    int64_t n;
    TRY(adze_read_file(ctx, path, 64 << 20, &bytes, &n));
    adze_text_add(t, "\n%016llx", (unsigned long long)adze_hash64(bytes, (size_t)n, 0));
    adze_free(ctx, bytes);
    return ADZE_OK;
}

int lab_hash_files(adze_ctx *ctx, const char *dir, const char *line, adze_text *t) {
    static const char apart[] = " \t\n'\"=", own[] = "{dir}";
    for (line += strspn(line, apart); *line; line += strspn(line, apart)) {
        const int n = (int)strcspn(line, apart);
        const bool here = strncmp(line, own, sizeof(own) - 1) == 0;
        const int skip = here ? (int)sizeof(own) - 1 : 0;
        char path[LAB_PATH];
        snprintf(path, sizeof(path), "%s%.*s", here ? dir : "", n - skip, line + skip);
        const char *end = strrchr(path, '.');
        if (end && (strcmp(end, ".yaml") == 0 || strcmp(end, ".json") == 0) && adze_path_exists(ctx, path)) {
            TRY(hash_file(ctx, path, t));
        }
        line += n;
    }
    return ADZE_OK;
}

static int hash_part(cli *c, const char *dir, const lab_part *p, adze_text *t) {
    for (int a = 0; a < p->narms; a++) {
        for (int k = 0; k < p->arm[a].nlines; k++) {
            TRY(lab_hash_files(c->ctx, dir, p->arm[a].lines[k], t));
        }
    }
    return ADZE_OK;
}

static int hash_rule(cli *c, const char *dir, const adze_tree *root, lab_exp *e) {
    static const char *const keys[] = {"claim", "data", "arms", "measure", "verdict", "control", "seeds"};
    adze_text t = {.ctx = c->ctx};
    char *s;
    for (size_t i = 0; i < ADZE_COUNT(keys); i++) {
        const adze_tree *k = adze_tree_get(root, keys[i]);
        adze_text_add(&t, "\n%s ", keys[i]);
        if (k) {
            TRY(adze_tree_print_json(k, &t));
        }
    }
    lab_hash_revision(e, &t);
    int status = hash_part(c, dir, &e->main, &t);
    status = status == ADZE_OK ? hash_part(c, dir, &e->control, &t) : status;
    if (status != ADZE_OK) {
        adze_text_drop(&t);
        return status;
    }
    TRY(adze_text_finish(&t, &s));
    snprintf(e->rule_hash, sizeof(e->rule_hash), "%016llx", (unsigned long long)adze_hash64(s, strlen(s), 0));
    adze_free(c->ctx, s);
    return ADZE_OK;
}

static void read_all(filing *f, const adze_tree *root, lab_exp *e) {
    static const char *const skip[] = {"paper", "rows", "data", "seeds", "arms", "measure", "verdict", "control", NULL};
    adze_ctx *ctx = f->c->ctx;
    f->count += adze_tree_fields(ctx, root, TOP, e, f->file, "the experiment", skip, &f->faults);
    if (root->kind != ADZE_T_MAP) {
        return;
    }
    const adze_tree *paper = adze_tree_get(root, "paper"), *control = adze_tree_get(root, "control");
    if (paper) {
        f->count += adze_tree_fields(ctx, paper, PAPER_FIELDS, e, f->file, "paper", NULL, &f->faults);
    }
    e->nrows = texts(f, adze_tree_get(root, "rows"), e->rows, LAB_ROWS);
    e->ndata = texts(f, adze_tree_get(root, "data"), e->data, LAB_DATA);
    read_seeds(f, adze_tree_get(root, "seeds"), e);
    read_arms(f, adze_tree_get(root, "arms"), &e->main);
    read_measures(f, adze_tree_get(root, "measure"), &e->main);
    read_rules(f, adze_tree_get(root, "verdict"), &e->main);
    static const char *const needed[] = {"rows", "arms", "measure", "verdict", "control"};
    for (size_t i = 0; i < ADZE_COUNT(needed); i++) {
        if (!adze_tree_get(root, needed[i])) {
            fault(f, root, "the experiment needs", needed[i]);
        }
    }
    if (control) {
        read_control(f, control, e);
    }
    e->ours = e->main.rule[0];
    if (e->paper.ours[0]) {
        memcpy(e->ours.value, e->paper.ours, sizeof(e->ours.value));
    }
}

static int fill(cli *c, const char *dir, const char *path, lab_exp *e) {
    const adze_tree *root = adze_doc_root(e->doc);
    filing f = {.c = c, .file = path, .faults = {.ctx = c->ctx}};
    char *s;
    adze_fields_default(TOP, e);
    adze_fields_default(PAPER_FIELDS, e);
    adze_fields_default(CONTROL, e);
    read_all(&f, root, e);
    TRY(adze_text_finish(&f.faults, &s));
    const int status = f.count ? adze_fail(c->ctx, ADZE_EARG, "%s%d fault%s in the experiment", s, f.count, f.count > 1 ? "s" : "") : ADZE_OK;
    adze_free(c->ctx, s);
    return status == ADZE_OK ? hash_rule(c, dir, root, e) : status;
}

static int no_such(cli *c, const char *dir, const char *name) {
    lab_names all;
    TRY(lab_list(c, dir, &all));
    const char *word[512];
    int n = 0;
    for (; n < all.n && n < (int)ADZE_COUNT(word); n++) {
        word[n] = all.name[n];
    }
    const char *near = adze_suggest(name, word, (size_t)n, sizeof(word[0]));
    const int status = near ? cli_usage_error(c, "there is no experiment '%s' in %s; did you mean '%s'?", name, dir, near)
                            : cli_usage_error(c, "there is no experiment '%s' in %s; `adze lab list` shows them", name, dir);
    adze_free(c->ctx, all.name);
    return status;
}

int lab_read(cli *c, const char *dir, const char *name, lab_exp **out) {
    adze_ctx *ctx = c->ctx;
    char path[LAB_PATH], file[80];
    void *bytes;
    int64_t n;
    *out = NULL;
    const size_t len = strlen(name);
    if (len >= sizeof((*out)->name) || strchr(name, '/')) {
        return no_such(c, dir, name);
    }
    snprintf(file, sizeof(file), "%s.yaml", name);
    TRY(adze_path_join(path, sizeof(path), dir, file));
    if (!adze_path_exists(ctx, path)) {
        return no_such(c, dir, name);
    }
    lab_exp *e = adze_alloc(ctx, 1, sizeof(*e));
    if (!e) {
        return ADZE_ENOMEM;
    }
    e->arena.ctx = ctx;
    memcpy(e->name, name, len + 1);
    int status = adze_read_file(ctx, path, 1 << 20, &bytes, &n);
    if (status == ADZE_OK) {
        status = adze_yaml_parse(ctx, bytes, (size_t)n, path, &e->doc);
        adze_free(ctx, bytes);
    }
    status = status == ADZE_OK ? fill(c, dir, path, e) : status;
    if (status != ADZE_OK) {
        lab_free(c, e);
        return status;
    }
    *out = e;
    return ADZE_OK;
}

void lab_free(cli *c, lab_exp *e) {
    if (e) {
        adze_doc_free(e->doc);
        adze_arena_free(&e->arena);
        adze_free(c->ctx, e);
    }
}

/* -- the folder ---------------------------------------------------------------------------------------------------------------------------------- */

typedef struct gather {
    cli *c;
    lab_names *to;
    int cap;
} gather;

static int each_file(void *arg, const char *name) {
    gather *g = arg;
    const size_t n = strlen(name);
    if (n < 6 || n - 5 >= sizeof(g->to->name[0]) || strcmp(name + n - 5, ".yaml") != 0 || strcmp(name, "claims.yaml") == 0) {
        return 0;
    }
    if (g->to->n == g->cap) {
        void *more = adze_resize(g->c->ctx, g->to->name, g->cap, 2 * g->cap + 32, sizeof(g->to->name[0]));
        if (!more) {
            return 1;
        }
        g->to->name = more;
        g->cap = 2 * g->cap + 32;
    }
    memcpy(g->to->name[g->to->n++], name, n - 5);
    return 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

int lab_list(cli *c, const char *dir, lab_names *out) {
    const adze_fs *fs = adze_ctx_fs(c->ctx);
    gather g = {c, out, 0};
    *out = (lab_names){0};
    if (!adze_path_exists(c->ctx, dir)) {
        return adze_fail(c->ctx, ADZE_EARG, "there is no folder '%s' of experiments; --dir names another", dir);
    }
    const int err = fs->list(fs->user, dir, each_file, &g);
    if (err < 0) {
        adze_free(c->ctx, out->name);
        *out = (lab_names){0};
        return adze_fail_errno(c->ctx, err, "list", dir);
    }
    if (out->n > 0) {
        qsort(out->name, (size_t)out->n, sizeof(out->name[0]), by_name);
    }
    return ADZE_OK;
}
