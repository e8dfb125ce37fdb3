/* Which rows of experiments/claims.yaml have an experiment with a record, a test or what a demonstration found, and which have not. That a probe or a
 * command is there tries nothing: it must be there, but does not count. */
#include "cli/lab.h"

#include <ctype.h>
#include <stdlib.h>
#include <unistd.h>

enum { TOUCHED = 4096 };

typedef struct survey {
    cli *c;
    const lab_opts *o;
    lab_names all;
    adze_arena arena;
    const char *touched[TOUCHED]; /* rows that experiments name, */
    bool ran[TOUCHED];            /* which have a record */
    int ntouched;
    adze_text out;
    int rows, open, later, faults, unrun, waiting; /* unrun: experiments without a record; waiting: rows that only such name */
} survey;

static void fault(survey *s, const char *row, const char *what, const char *why) {
    if (s->c->global.json) {
        adze_text_add(&s->out, "%s{\"row\":", s->faults + s->open ? "," : "");
        adze_json_string(&s->out, row);
        adze_text_add(&s->out, ",\"by\":");
        adze_json_string(&s->out, what);
        adze_text_add(&s->out, ",\"why\":");
        adze_json_string(&s->out, why);
        adze_text_add(&s->out, "}");
    } else {
        adze_text_add(&s->out, "%-5s %s: %s\n", row, what, why);
    }
    s->faults++;
}

/* The file's text holds the word with no letter, digit or '_' beside it. */
static int holds_word(survey *s, const char *path, const char *word, bool *holds) {
    char *text;
    int64_t n;
    const size_t len = strlen(word);
    TRY(adze_read_file(s->c->ctx, path, 16 << 20, (void **)&text, &n));
    for (const char *p = text; !*holds && (p = strstr(p, word)); p += len) {
        const char before = p > text ? p[-1] : ' ', after = p[len];
        *holds = !isalnum((unsigned char)before) && before != '_' && !isalnum((unsigned char)after) && after != '_';
    }
    adze_free(s->c->ctx, text);
    return ADZE_OK;
}

/* test_x, test_x:case (also in its test_x_*.inc), cli/x.sh */
static int check_test(survey *s, const char *row, const char *what) {
    char path[LAB_PATH], name[128];
    const size_t n = strcspn(what, ":");
    const bool script = strncmp(what, "cli/", 4) == 0;
    snprintf(name, sizeof(name), "%.*s", (int)n, what);
    snprintf(path, sizeof(path), "%.700s/../test/%s%s", s->o->dir, name, script ? "" : ".c");
    if (!adze_path_exists(s->c->ctx, path)) {
        fault(s, row, what, "there is no such test");
        return ADZE_OK;
    }
    bool holds = what[n] != ':';
    if (!holds) {
        TRY(holds_word(s, path, what + n + 1, &holds));
    }
    if (!holds) {
        fault(s, row, what, "the test has no such case");
    }
    return ADZE_OK;
}

static int open_answer(survey *s, FILE **said, char out[40]) {
    *said = tmpfile();
    if (!*said) {
        return adze_fail(s->c->ctx, ADZE_EIO, "no temporary file can be made");
    }
    snprintf(out, 40, "/proc/self/fd/%d", fileno(*said)); /* the command started anew has it too */
    return ADZE_OK;
}

/* The finding is a number that the demonstration prints. */
static int check_finding(survey *s, const char *row, const char *what, const char *demo, const char *finding) {
    const char *const words[] = {"demo", demo, "--json", NULL};
    char out[40], *text = NULL;
    int64_t n = 0;
    int code = 0;
    FILE *said;
    TRY(open_answer(s, &said, out));
    int status = lab_capture(s->c, words, out, "/dev/null", &code);
    status = status == ADZE_OK && code == 0 ? adze_read_file(s->c->ctx, out, 64 << 20, (void **)&text, &n) : status;
    fclose(said);
    if (status == ADZE_OK) {
        double v;
        adze_tree *json;
        const bool found =
            text && adze_json_parse(&s->arena, text, (size_t)n, what, &json) == ADZE_OK && lab_json_number(s->c->ctx, json, finding, &v) == ADZE_OK;
        adze_err_clear(s->c->ctx);
        if (!found) {
            fault(s, row, what, "there is no such demonstration, or it finds no such number");
        }
    }
    adze_free(s->c->ctx, text);
    return status;
}

/* "bench train": the help of the command holds the word; probes and demos have lists too. */
static int check_command(survey *s, const char *row, const char *what) {
    char command[64] = "", word[64] = "", out[40];
    int code = 0;
    FILE *said;
    sscanf(what, "%63s %63s", command, word);
    TRY(open_answer(s, &said, out));
    const bool listed = strcmp(command, "diag") == 0 || strcmp(command, "demo") == 0;
    const char *const asked[][3] = {{"list", strcmp(command, "diag") == 0 ? "probes" : "demos", NULL}, {"help", command, NULL}};
    bool holds = !word[0];
    int status = ADZE_OK;
    for (int i = listed ? 0 : 1; i < 2 && status == ADZE_OK && !(holds && word[0]); i++) {
        status = lab_capture(s->c, asked[i], out, "/dev/null", &code);
        if (status == ADZE_OK && code == 0 && word[0]) {
            status = holds_word(s, out, word, &holds);
        }
    }
    fclose(said);
    if (status == ADZE_OK && (code != 0 || !holds)) {
        fault(s, row, what, code ? "there is no such command or list" : "neither its help nor its list has the word");
    }
    return status;
}

typedef enum worth { NOTHING, WAITS, COVERS } worth; /* WAITS: an experiment without a record */

static int check_one(survey *s, const char *row, const char *what, worth *w) {
    char demo[64], finding[128];
    *w = COVERS;
    if (strncmp(what, "test_", 5) == 0 || strncmp(what, "cli/", 4) == 0) {
        return check_test(s, row, what);
    }
    if (sscanf(what, "demo %63s %127s", demo, finding) == 2) {
        return check_finding(s, row, what, demo, finding);
    }
    if (strchr(what, ' ')) {
        *w = NOTHING;
        return check_command(s, row, what);
    }
    for (int i = 0; i < s->all.n; i++) {
        if (strcmp(s->all.name[i], what) == 0) {
            const adze_tree *record;
            TRY(lab_record_read(s->c, s->o, what, &s->arena, &record));
            *w = record ? COVERS : WAITS;
            return ADZE_OK;
        }
    }
    for (int i = 0; CLI_COMMANDS[i]; i++) {
        if (strcmp(CLI_COMMANDS[i]->name, what) == 0) {
            *w = NOTHING;
            return ADZE_OK;
        }
    }
    fault(s, row, what, "there is no such experiment");
    return ADZE_OK;
}

static int check_row(survey *s, const adze_tree *t) {
    static const char *const KEYS[] = {"id", "claim", "by", "later", NULL};
    const adze_tree *id = adze_tree_get(t, "id"), *by = adze_tree_get(t, "by"), *later = adze_tree_get(t, "later");
    const char *row = id && id->text ? id->text : "?";
    for (const adze_tree *k = t->child; t->kind == ADZE_T_MAP && k; k = k->next) {
        int i = 0;
        while (KEYS[i] && strcmp(KEYS[i], k->key) != 0) {
            i++;
        }
        if (!KEYS[i]) {
            return adze_fail(s->c->ctx, ADZE_EARG, "claims.yaml:%d: unknown key '%s'; legal are id, claim, by, later", k->line, k->key);
        }
    }
    if (!id || !adze_tree_get(t, "claim")) {
        return adze_fail(s->c->ctx, ADZE_EARG, "claims.yaml:%d: a row has an id and a claim", t->line);
    }
    int named = 0;
    bool waits = false;
    const int before = s->faults;
    for (const adze_tree *k = by && by->kind == ADZE_T_LIST ? by->child : by; k; k = by->kind == ADZE_T_LIST ? k->next : NULL) {
        worth w;
        TRY(check_one(s, row, k->text ? k->text : "", &w));
        named += w == COVERS;
        waits = waits || w == WAITS;
    }
    for (int i = 0; i < s->ntouched; i++) {
        const bool same = strcmp(s->touched[i], row) == 0;
        named += same && s->ran[i];
        waits = waits || (same && !s->ran[i]);
    }
    s->rows++;
    s->later += later != NULL;
    if (named == 0 && waits && !later && s->faults == before) {
        s->waiting++;
        if (!s->c->global.json) {
            adze_text_add(&s->out, "%-5s waits for an experiment that has not run\n", row);
        }
    } else if (named == 0 && !later && s->faults == before) {
        fault(s, row, "nothing", "no experiment with a record, no test and no finding of a demonstration names this row");
        s->open++;
    }
    return ADZE_OK;
}

/* The rows that experiments name must be rows. */
static int collect(survey *s, const adze_tree *root) {
    for (int i = 0; i < s->all.n; i++) {
        lab_exp *e;
        const adze_tree *record;
        TRY(lab_record_read(s->c, s->o, s->all.name[i], &s->arena, &record));
        TRY(lab_read(s->c, s->o->dir, s->all.name[i], &e));
        s->unrun += record == NULL;
        for (int k = 0; k < e->nrows && s->ntouched < TOUCHED; k++) {
            const char *row = adze_arena_strdup(&s->arena, e->rows[k]);
            bool known = false;
            for (const adze_tree *t = root->child; t; t = t->next) {
                const adze_tree *id = adze_tree_get(t, "id");
                known = known || (id && id->text && row && strcmp(id->text, row) == 0);
            }
            if (!known) {
                fault(s, e->rows[k], s->all.name[i], "the experiment names a row that claims.yaml has not");
            }
            s->ran[s->ntouched] = record != NULL;
            s->touched[s->ntouched++] = row ? row : "";
        }
        lab_free(s->c, e);
    }
    return ADZE_OK;
}

static int look(survey *s, const adze_tree *root) {
    const adze_tree *rows = adze_tree_get(root, "rows");
    if (!rows || rows->kind != ADZE_T_LIST) {
        return adze_fail(s->c->ctx, ADZE_EARG, "claims.yaml: a list 'rows' is wanted");
    }
    TRY(collect(s, rows));
    for (const adze_tree *t = rows->child; t; t = t->next) {
        TRY(check_row(s, t));
    }
    return ADZE_OK;
}

static int tell(survey *s) {
    if (s->c->global.json) {
        adze_text_add(&s->out, "],\"rows\":%d,\"later\":%d,\"experiments\":%d,\"not_run\":%d,\"waiting\":%d}\n", s->rows, s->later, s->all.n,
                      s->unrun, s->waiting);
    } else {
        adze_text_add(&s->out, "%d rows, %d experiments (%d not run yet); %d faults, %d rows waiting for one, %d for later\n", s->rows, s->all.n,
                      s->unrun, s->faults, s->waiting, s->later);
    }
    TRY(cli_print_text(s->c, &s->out));
    return s->faults ? adze_fail(s->c->ctx, ADZE_EDEVICE, "%d rows or names are not covered", s->faults) : ADZE_OK;
}

int lab_coverage(cli *c, const lab_opts *o) {
    char path[LAB_PATH];
    void *bytes;
    int64_t n;
    adze_doc *doc = NULL;
    survey *s = adze_alloc(c->ctx, 1, sizeof(*s));
    if (!s) {
        return ADZE_ENOMEM;
    }
    s->c = c;
    s->o = o;
    s->arena.ctx = s->out.ctx = c->ctx;
    int status = adze_path_join(path, sizeof(path), o->dir, "claims.yaml");
    status = status == ADZE_OK ? adze_read_file(c->ctx, path, 1 << 20, &bytes, &n) : status;
    if (status == ADZE_OK) {
        status = adze_yaml_parse(c->ctx, bytes, (size_t)n, path, &doc);
        adze_free(c->ctx, bytes);
    }
    status = status == ADZE_OK ? lab_list(c, o->dir, &s->all) : status;
    adze_text_add(&s->out, c->global.json ? "{\"schema\":1,\"faults\":[" : "");
    status = status == ADZE_OK ? look(s, adze_doc_root(doc)) : status;
    if (status == ADZE_OK) {
        status = tell(s);
    } else {
        adze_text_drop(&s->out);
    }
    adze_doc_free(doc);
    adze_free(c->ctx, s->all.name);
    adze_arena_free(&s->arena);
    adze_free(c->ctx, s);
    return status;
}
