/* Command lines: every flag is a row of a field table, so that parsing, help and configuration cannot drift apart. */
#include "cli/cli.h"

#include <ctype.h>

static const char *const PROGRESS_NAMES[] = {"auto", "bar", "plain", "json", "none", NULL};
static const adze_field GLOBAL_FIELDS[] = {
    {"json", ADZE_F_BOOL, 0, offsetof(cli_global, json), 0, NULL, 0, 0, NULL, "results as JSON on stdout"},
    {"threads", ADZE_F_I64, 0, offsetof(cli_global, threads), 0, "0", 0, 256, NULL, "threads (0: all this process may use); never changes a result"},
    {"isa", ADZE_F_STR, 0, offsetof(cli_global, isa), sizeof(((cli_global *)0)->isa), "", 0, 0, NULL,
     "instruction set: ref, v2, v3, v4, avx512bf16, amx (default: the best)"},
    {"mem_limit", ADZE_F_STR, 0, offsetof(cli_global, mem_limit), sizeof(((cli_global *)0)->mem_limit), "", 0, 0, NULL,
     "refuse to hold more memory than this (4G, 512MiB); training computes values twice where that makes it fit"},
    {"reproducible", ADZE_F_BOOL, 0, offsetof(cli_global, reproducible), 0, NULL, 0, 0, NULL,
     "the same bits at every instruction set, in f32 and f64"},
    {"pin", ADZE_F_BOOL, 0, offsetof(cli_global, pin), 0, NULL, 0, 0, NULL, "bind every worker thread to one processor"},
    {"progress", ADZE_F_ENUM, 0, offsetof(cli_global, progress), 0, "auto", 0, 0, PROGRESS_NAMES, "how progress is shown on stderr"},
    {"quiet", ADZE_F_BOOL, 0, offsetof(cli_global, quiet), 0, NULL, 0, 0, NULL, "no progress and no remarks (-q)"},
    {"verbose", ADZE_F_BOOL, 0, offsetof(cli_global, verbose), 0, NULL, 0, 0, NULL, "remarks of the library too (-v)"},
    {"help", ADZE_F_BOOL, 0, offsetof(cli_global, help), 0, NULL, 0, 0, NULL, "this page (-h)"},
    {0}};

int cli_usage_error(cli *c, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return adze_fail(c->ctx, ADZE_EARG, "%s (see `adze help %s`)", text, c->cmd ? c->cmd->name : "");
}

/* "val-count" and "val_count" are one name. */
static void canonical(char *out, size_t n, const char *s, size_t len) {
    size_t i = 0;
    for (; i + 1 < n && i < len; i++) {
        out[i] = s[i] == '-' ? '_' : s[i];
    }
    out[i] = 0;
}

static void dashed(char *out, size_t n, const char *name) {
    size_t i = 0;
    for (; i + 1 < n && name[i]; i++) {
        out[i] = name[i] == '_' ? '-' : name[i];
    }
    out[i] = 0;
}

const char *cli_flag(const char *word, char *name, size_t n) {
    const char *s = strncmp(word, "--", 2) == 0 ? word + 2 : word, *eq = strchr(s, '=');
    canonical(name, n, s, eq ? (size_t)(eq - s) : strlen(s));
    return eq ? eq + 1 : NULL;
}

typedef struct found {
    const adze_field *field;
    void *obj;
    int table, index;
} found;

static bool find(const cli_args *a, const char *name, found *f) {
    for (int t = 0; t < a->ntables; t++) {
        const adze_field *row = adze_field_find(a->tables[t].fields, name);
        if (row) {
            *f = (found){row, a->tables[t].obj, t, (int)(row - a->tables[t].fields)};
            return true;
        }
    }
    return false;
}

static int unknown_flag(cli *c, const cli_args *a, const char *shown, const char *name) {
    const char *names[256];
    size_t n = 0;
    for (int t = 0; t < a->ntables; t++) {
        for (const adze_field *row = a->tables[t].fields; row->name && n < ADZE_COUNT(names); row++) {
            names[n++] = row->name;
        }
    }
    static const char *const abroad[][2] = {{"batch_size", "batch"}, {"learning_rate", "lr"}, {"num_epochs", "epochs"}, {"scheduler", "schedule"}};
    const char *near = adze_suggest(name, names, n, sizeof(names[0]));
    for (size_t i = 0; i < ADZE_COUNT(abroad); i++) { /* as other systems call it */
        for (size_t k = 0; k < n && strcmp(name, abroad[i][0]) == 0; k++) {
            near = strcmp(names[k], abroad[i][1]) == 0 ? names[k] : near;
        }
    }
    if (!near) {
        return cli_usage_error(c, "unknown option '%s'", shown);
    }
    char flag[128];
    dashed(flag, sizeof(flag), near);
    return cli_usage_error(c, "unknown option '%s'; did you mean '--%s'?", shown, flag);
}

static void note_given(cli_args *a, const found *f) {
    a->given[f->table][f->index / 64] |= UINT64_C(1) << f->index % 64;
}

/* One flag at argv[*i]; takes the next word as its value where it has one. */
static int parse_flag(cli *c, cli_args *a, int argc, const char **argv, int *i) {
    const char *word = argv[*i];
    bool dashes = word[0] == '-';
    const char *s = dashes ? word + 2 : word;
    const char *eq = strchr(s, '=');
    char name[128], where[160];
    size_t len = eq ? (size_t)(eq - s) : strlen(s);
    canonical(name, sizeof(name), s, len);
    snprintf(where, sizeof(where), "%s%.*s", dashes ? "--" : "", (int)len, s);
    found f;
    if (!find(a, name, &f)) {
        if (!eq && strncmp(name, "no_", 3) == 0 && find(a, name + 3, &f) && f.field->kind == ADZE_F_BOOL) {
            note_given(a, &f);
            return adze_field_parse(c->ctx, f.field, f.obj, "false", where);
        }
        return unknown_flag(c, a, where, name);
    }
    note_given(a, &f);
    if (eq) {
        return adze_field_parse(c->ctx, f.field, f.obj, eq + 1, where);
    }
    if (f.field->kind == ADZE_F_BOOL) {
        return adze_field_parse(c->ctx, f.field, f.obj, "true", where);
    }
    if (*i + 1 >= argc) {
        return cli_usage_error(c, "%s needs a value: %s", where, f.field->help);
    }
    return adze_field_parse(c->ctx, f.field, f.obj, argv[++*i], where);
}

/* key=value counts as an option when key looks like a name; a path with '=' in it is written ./a=b. */
static bool is_assignment(const char *word) {
    const char *eq = strchr(word, '=');
    if (!eq || eq == word) {
        return false;
    }
    for (const char *p = word; p < eq; p++) {
        if (!isalnum((unsigned char)*p) && *p != '_' && *p != '-') {
            return false;
        }
    }
    return true;
}

int cli_parse(cli *c, cli_args *a, int argc, const char **argv, int min_words, int max_words) {
    for (int t = 0; t < a->ntables; t++) {
        TRY(adze_fields_default(a->tables[t].fields, a->tables[t].obj));
    }
    if (a->ntables >= CLI_MAX_TABLES) {
        return adze_fail(c->ctx, ADZE_EBUG, "too many option tables");
    }
    a->tables[a->ntables++] = (cli_table){GLOBAL_FIELDS, &c->global, "everywhere"};
    a->words = adze_alloc(c->ctx, argc + 1, sizeof(*a->words));
    if (!a->words) {
        return ADZE_ENOMEM;
    }
    bool only_words = false;
    for (int i = 0; i < argc; i++) {
        const char *w = argv[i];
        if (!only_words && strcmp(w, "--") == 0) {
            only_words = true;
        } else if (!only_words && w[0] == '-' && w[1] == '-') {
            TRY(parse_flag(c, a, argc, argv, &i));
        } else if (!only_words && (strcmp(w, "-h") == 0 || strcmp(w, "-q") == 0 || strcmp(w, "-v") == 0)) {
            *(w[1] == 'h' ? &c->global.help : w[1] == 'q' ? &c->global.quiet : &c->global.verbose) = true;
        } else if (!only_words && w[0] == '-' && w[1]) {
            return cli_usage_error(c, "unknown option '%s'", w);
        } else if (!only_words && is_assignment(w)) {
            TRY(parse_flag(c, a, argc, argv, &i));
        } else {
            a->words[a->nwords++] = w;
        }
    }
    if (c->global.help) {
        return ADZE_OK;
    }
    int64_t limit;
    if (c->global.mem_limit[0] && (cli_parse_bytes(c->global.mem_limit, &limit) != ADZE_OK || limit == 0)) {
        return cli_usage_error(c, "--mem-limit: '%s' is no amount of memory; 512M and 4G are", c->global.mem_limit);
    }
    if (a->nwords < min_words) {
        return cli_usage_error(c, "usage: adze %s", c->cmd->usage);
    }
    if (max_words >= 0 && a->nwords > max_words) {
        return cli_usage_error(c, "one argument too many: '%s'", a->words[max_words]);
    }
    return ADZE_OK;
}

void cli_args_free(cli *c, cli_args *a) {
    adze_free(c->ctx, (void *)a->words);
    a->words = NULL;
}

bool cli_given(const cli_args *a, int table, const char *name) {
    const adze_field *row = adze_field_find(a->tables[table].fields, name);
    const size_t i = row ? (size_t)(row - a->tables[table].fields) : 0;
    return row && (a->given[table][i / 64] >> i % 64 & 1);
}

int cli_parse_bytes(const char *text, int64_t *bytes) {
    char number[32];
    size_t n = strlen(text);
    if (n == 0 || n >= sizeof(number)) {
        return ADZE_EARG;
    }
    memcpy(number, text, n + 1);
    for (size_t i = 0; i < 2 && n > 2 - i; i++) { /* "MiB" and "MB" are "M": nobody means decimal units of memory */
        const char *const endings[] = {"iB", "B"};
        const size_t len = strlen(endings[i]);
        if (strcmp(number + n - len, endings[i]) == 0) {
            number[n -= len] = 0;
        }
    }
    double unit = 1;
    const char *units = "KMGT", *u = strchr(units, toupper((unsigned char)number[n - 1]));
    if (u) {
        number[n - 1] = 0;
        for (int i = 0; i <= u - units; i++) {
            unit *= 1024;
        }
    }
    double v;
    if (!adze_parse_f64(number, &v) || !(v >= 0) || v * unit > 9e18) {
        return ADZE_EARG;
    }
    *bytes = (int64_t)(v * unit);
    return ADZE_OK;
}

/* Words in a column from HELP_LEFT to HELP_RIGHT; *at is where the line stands. */
enum { HELP_LEFT = 25, HELP_RIGHT = 80 };
static void help_words(const char *text, int *at, FILE *to) {
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (*at > HELP_LEFT && *at + n + 1 > HELP_RIGHT) {
            fprintf(to, "\n%*s", HELP_LEFT - 1, "");
            *at = HELP_LEFT - 1;
        }
        fprintf(to, " %.*s", n, text);
        *at += n + 1;
        text += (size_t)n + strspn(text + n, " ");
    }
}

static void help_row(const adze_field *f, FILE *to) {
    char name[96], left[160];
    dashed(name, sizeof(name), f->name);
    if (f->kind == ADZE_F_BOOL) {
        snprintf(left, sizeof(left), "--%s", name);
    } else {
        const char *what = f->kind == ADZE_F_STR ? "TEXT" : f->kind == ADZE_F_ENUM ? "NAME" : "N";
        snprintf(left, sizeof(left), "--%s %s", name, what);
    }
    int at = fprintf(to, "  %-22s", left);
    char text[512];
    snprintf(text, sizeof(text), "%s%s", f->help ? f->help : "", f->kind == ADZE_F_ENUM ? ":" : "");
    help_words(text, &at, to);
    for (int i = 0; f->kind == ADZE_F_ENUM && f->names[i]; i++) {
        help_words(f->names[i], &at, to);
    }
    if (f->def && f->def[0] && f->kind != ADZE_F_BOOL) {
        snprintf(left, sizeof(left), "[%s]", f->def);
        help_words(left, &at, to);
    }
    fputc('\n', to);
}

static void help_table(const cli_table *t, FILE *to) {
    fprintf(to, "\n%s\n", t->title ? t->title : "options");
    for (const adze_field *f = t->fields; f->name; f++) {
        if (!(f->flags & ADZE_FIELD_HIDDEN)) {
            help_row(f, to);
        }
    }
}

void cli_help(const cli_cmd *cmd, FILE *to) {
    fprintf(to, "adze %s\n%s\n\nexamples\n%s", cmd->usage, cmd->brief, cmd->examples);
    cli_table tables[CLI_MAX_TABLES] = {{0}};
    int n = cmd->tables ? cmd->tables(tables) : 0;
    for (int i = 0; i < n; i++) {
        help_table(&tables[i], to);
    }
    help_table(&(cli_table){GLOBAL_FIELDS, NULL, "everywhere"}, to);
}
