/* adze compare: trains each setting with the same seeds and says which differences are more than chance. What is finished is never trained again. */
#include "cli/compare.h"
#include "cli/progress.h"
#include "cli/rundir.h"
#include "train/options.h"

#include <ctype.h>
#include <math.h>

typedef struct compare_opts {
    char data[512], out[512], vary[512], recipe[512], metric[64];
    int64_t seeds;
} compare_opts;
static const adze_field FIELDS[] = {
    {"vary", ADZE_F_STR, 0, offsetof(compare_opts, vary), sizeof(((compare_opts *)0)->vary), "", 0, 0, NULL,
     "KEY=A,B,..: an option of the training, or model, and its values; given more than once, every combination is a setting. The first is what the "
     "others are compared with"},
    {"seeds", ADZE_F_I64, 0, offsetof(compare_opts, seeds), 0, "5", 2, 1000, NULL, "runs of each setting, from --seed on"},
    {"metric", ADZE_F_STR, 0, offsetof(compare_opts, metric), sizeof(((compare_opts *)0)->metric), "", 0, 0, NULL,
     "test_acc, val_acc, val_loss, epochs_to:VALUE (until val_acc is as high), gap (training accuracy less test_acc), seconds, "
     "error (mean square, of the test part's numbers, with target input: the default there, else test_acc)"},
    {"data", ADZE_F_STR, 0, offsetof(compare_opts, data), sizeof(((compare_opts *)0)->data), "fashion-mnist", 0, 0, NULL,
     "data set: a name or a folder"},
    {"recipe", ADZE_F_STR, 0, offsetof(compare_opts, recipe), sizeof(((compare_opts *)0)->recipe), "", 0, 0, NULL, CLI_RECIPE_HELP},
    {"out", ADZE_F_STR, 0, offsetof(compare_opts, out), sizeof(((compare_opts *)0)->out), "", 0, 0, NULL,
     "folder of the comparison (default runs/compare-MODEL)"},
    {0}};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    t[1] = (cli_table){adze_train_fields(), NULL, "training"};
    return 2;
}

typedef struct varied { /* one --vary */
    const char *key;
    const char *values[CMP_SETTINGS];
    int n;
} varied;

typedef struct job {
    cmp k;
    compare_opts o;
    adze_train_opts train;
    cli_args args;
    const char *model;
    adze_arena arena; /* of words */
    varied vary[CMP_KEYS];
    int nvary;
    bool bar, plain, rebuilds; /* rebuilds: a setting gives its input back */
} job;

enum { BATCH = 250, WORD = 1024 };

/* -- what is asked for -------------------------------------------------------------------------------------------------------------------------- */

static int add_vary(job *j, cli *c, const char *text) {
    char *word = adze_arena_strdup(&j->arena, text), *eq = word ? strchr(word, '=') : NULL;
    if (!word) {
        return ADZE_ENOMEM;
    }
    if (!eq || eq == word || !eq[1]) {
        return cli_usage_error(c, "--vary: '%s' is not KEY=A,B,..", text);
    }
    if (j->nvary == CMP_KEYS) {
        return cli_usage_error(c, "--vary: %d keys at most", CMP_KEYS);
    }
    varied *v = &j->vary[j->nvary++];
    *eq = 0;
    for (char *p = word; *p; p++) {
        *p = *p == '-' ? '_' : *p;
    }
    *v = (varied){.key = word};
    for (char *p = eq + 1; p; v->n++) {
        if (v->n == CMP_SETTINGS) {
            return cli_usage_error(c, "--vary %s: %d values at most", word, CMP_SETTINGS);
        }
        v->values[v->n] = p;
        p = strchr(p, ',');
        if (p) {
            *p++ = 0;
        }
    }
    return ADZE_OK;
}

/* --vary may come more than once, which a field table does not know: taken out of the line before it is parsed. */
static int take_vary(job *j, cli *c, int argc, const char **argv, const char **rest, int *n) {
    for (int i = 0; i < argc; i++) {
        char name[128];
        const char *value = cli_flag(argv[i], name, sizeof(name));
        const bool dashes = strncmp(argv[i], "--", 2) == 0;
        if (strcmp(name, "vary") != 0 || (!dashes && !value)) {
            rest[(*n)++] = argv[i];
        } else if (value) {
            TRY(add_vary(j, c, value));
        } else if (i + 1 < argc) {
            TRY(add_vary(j, c, argv[++i]));
        } else {
            return cli_usage_error(c, "--vary needs a value: KEY=A,B,..");
        }
    }
    return ADZE_OK;
}

static bool is_varied(const job *j, const char *key) {
    for (int i = 0; i < j->nvary; i++) {
        if (strcmp(j->vary[i].key, key) == 0) {
            return true;
        }
    }
    return false;
}

static size_t count_options(void) {
    size_t n = 0;
    while (adze_train_fields()[n].name) {
        n++;
    }
    return n;
}

static int check_keys(const job *j, cli *c) {
    const size_t options = count_options();
    for (int i = 0; i < j->nvary; i++) {
        const char *key = j->vary[i].key;
        const bool model = strcmp(key, "model") == 0;
        if (strcmp(key, "seed") == 0) {
            return cli_usage_error(c, "--vary seed: every setting gets the same seeds; --seeds says how many");
        }
        if (!model && !adze_field_find(adze_train_fields(), key)) {
            const char *near = adze_suggest(key, &adze_train_fields()->name, options, sizeof(adze_field));
            return near ? cli_usage_error(c, "--vary: there is no option '%s'; did you mean '%s'?", key, near)
                        : cli_usage_error(c, "--vary: there is no option '%s'", key);
        }
        if (!model && cli_given(&j->args, 1, key)) {
            return cli_usage_error(c, "--%s is varied already; leave it out", key);
        }
        for (int b = 0; b < i; b++) {
            if (strcmp(j->vary[b].key, key) == 0) {
                return cli_usage_error(c, "--vary %s is given twice", key);
            }
        }
    }
    return ADZE_OK;
}

static int parse_metric(job *j, cli *c) {
    char name[64];
    snprintf(name, sizeof(name), "%s", j->o.metric[0] ? j->o.metric : j->k.answers ? "test_acc" : "error");
    char *colon = strchr(name, ':');
    if (colon) {
        *colon = 0;
    }
    int m = 0;
    while (CMP_METRIC_NAMES[m] && strcmp(CMP_METRIC_NAMES[m], name) != 0) {
        m++;
    }
    if (m == CMP_METRICS || (colon != NULL) != (m == CMP_EPOCHS_TO) || (colon && !adze_parse_f64(colon + 1, &j->k.target))) {
        return cli_usage_error(c, "--metric: '%s' is not one of test_acc, val_acc, val_loss, epochs_to:VALUE, gap, seconds, error", j->o.metric);
    }
    if (!j->k.answers && (m == CMP_TEST_ACC || m == CMP_VAL_ACC || m == CMP_EPOCHS_TO || m == CMP_GAP)) {
        return cli_usage_error(c, "--metric %s: with target input there is no accuracy; take error or val_loss", name);
    }
    if (!j->rebuilds && m == CMP_ERROR) {
        return cli_usage_error(c, "--metric error is of reconstructions, and no setting has target input");
    }
    j->k.metric = m;
    return ADZE_OK;
}

/* Every combination, the last key running fastest; each is checked as the training will check it. */
static int make_settings(job *j) {
    cmp *k = &j->k;
    int64_t n = 1;
    for (int i = 0; i < j->nvary; i++) {
        n *= j->vary[i].n;
        if (n > CMP_SETTINGS) {
            return cli_usage_error(k->c, "%d settings at most", CMP_SETTINGS);
        }
    }
    if (n < 2) {
        return cli_usage_error(k->c, "nothing to compare: --vary KEY=A,B names what differs");
    }
    k->settings = adze_alloc(k->c->ctx, n, sizeof(*k->settings));
    k->runs = adze_alloc(k->c->ctx, n * k->nseeds, sizeof(*k->runs));
    if (!k->settings || !k->runs) {
        return ADZE_ENOMEM;
    }
    for (; k->nsettings < n; k->nsettings++) {
        cmp_setting *s = &k->settings[k->nsettings];
        adze_train_opts o = j->train;
        int64_t rest = k->nsettings;
        for (int i = j->nvary - 1; i >= 0; i--) {
            s->value[i] = j->vary[i].values[rest % j->vary[i].n];
            rest /= j->vary[i].n;
        }
        for (int i = 0; i < j->nvary; i++) {
            const adze_field *f = adze_field_find(adze_train_fields(), j->vary[i].key);
            const size_t used = strlen(s->label);
            const int more = snprintf(s->label + used, sizeof(s->label) - used, "%s%s=%s", i ? " " : "", j->vary[i].key, s->value[i]);
            if (more < 0 || (size_t)more >= sizeof(s->label) - used) {
                return cli_usage_error(k->c, "--vary: the setting '%s..' has too long a name", s->label);
            }
            if (f) {
                TRY(adze_field_parse(k->c->ctx, f, &o, s->value[i], j->vary[i].key));
            }
        }
        for (int b = 0; b < k->nsettings; b++) {
            if (strcmp(k->settings[b].label, s->label) == 0) {
                return cli_usage_error(k->c, "--vary: the setting '%s' is there twice", s->label);
            }
        }
        TRY(adze_train_check(k->c->ctx, &o));
        k->answers = k->answers || o.target != ADZE_TARGET_INPUT;
        j->rebuilds = j->rebuilds || o.target == ADZE_TARGET_INPUT;
    }
    return ADZE_OK;
}

static const char *model_of(const job *j, const cmp_setting *s) {
    for (int i = 0; i < j->nvary; i++) {
        if (strcmp(j->vary[i].key, "model") == 0) {
            return s->value[i];
        }
    }
    return j->model;
}

static int read_models(job *j) {
    for (int s = 0; s < j->k.nsettings; s++) {
        adze_model *m = NULL;
        adze_store *store = NULL;
        int status = cli_load_model(j->k.c, model_of(j, &j->k.settings[s]), &m, &store);
        status = status == ADZE_OK ? adze_model_to_yaml(m, &j->k.settings[s].yaml) : status;
        adze_store_free(store);
        adze_model_free(m);
        TRY(status);
    }
    return ADZE_OK;
}

/* -- the folder ---------------------------------------------------------------------------------------------------------------------------------- */

/* What every run of the folder shares. A comparison with other options must not mix its runs with these; more values, seeds or another metric may. */
static int claim_folder(job *j) {
    cmp *k = &j->k;
    adze_text t = {.ctx = k->c->ctx};
    char path[WORD], value[WORD], *want, *have = NULL;
    int64_t n;
    adze_text_add(&t, "model: %s\ndata: %s\n", is_varied(j, "model") ? "(varied)" : j->model, j->o.data);
    for (const adze_field *f = adze_train_fields(); f->name; f++) {
        const bool own = strcmp(f->name, "seed") == 0 || is_varied(j, f->name);
        if (adze_field_print(f, &j->train, value, sizeof(value)) >= 0) {
            adze_text_add(&t, "%s: %s\n", f->name, own ? "(varied)" : value);
        }
    }
    TRY(adze_text_finish(&t, &want));
    int status = adze_make_dirs(k->c->ctx, k->out);
    status = status == ADZE_OK ? adze_path_join(path, sizeof(path), k->out, "options.txt") : status;
    if (status == ADZE_OK && adze_path_exists(k->c->ctx, path)) {
        status = adze_read_file(k->c->ctx, path, 1 << 20, (void **)&have, &n);
        if (status == ADZE_OK && strcmp(have, want) != 0) {
            size_t i = 0, line = 0;
            for (; have[i] == want[i]; i++) {
                line = have[i] == '\n' ? i + 1 : line;
            }
            status = adze_fail(k->c->ctx, ADZE_EARG, "'%s' holds a comparison with other options (there %.*s, here %.*s); choose another --out",
                               k->out, (int)strcspn(have + line, "\n"), have + line, (int)strcspn(want + line, "\n"), want + line);
        }
    } else if (status == ADZE_OK) {
        const adze_piece piece = {want, (int64_t)strlen(want)};
        status = adze_replace_file(k->c->ctx, path, &piece, 1);
    }
    adze_free(k->c->ctx, want);
    adze_free(k->c->ctx, have);
    return status;
}

static int setting_path(const job *j, int s, char *out, size_t n) {
    char name[CMP_LABEL];
    snprintf(name, sizeof(name), "%s", j->k.settings[s].label);
    for (char *p = name; *p; p++) {
        *p = *p == ' ' ? ',' : *p == '/' || iscntrl((unsigned char)*p) ? '_' : *p;
    }
    return adze_path_join(out, n, j->k.out, name) == ADZE_OK ? ADZE_OK
                                                             : adze_fail(j->k.c->ctx, ADZE_EARG, "the path '%s/%s' is too long", j->k.out, name);
}

/* The model file may have changed since a setting's first run: beside its runs lies the one that they had. */
static int claim_model(job *j, int s) {
    adze_ctx *ctx = j->k.c->ctx;
    const char *yaml = j->k.settings[s].yaml;
    const adze_piece piece = {yaml, (int64_t)strlen(yaml)};
    char path[WORD], *have;
    int64_t n;
    TRY(setting_path(j, s, path, sizeof(path)));
    TRY(adze_make_dirs(ctx, path));
    if (strlen(path) + sizeof("/model.yaml") > sizeof(path)) {
        return adze_fail(ctx, ADZE_EARG, "the path '%s' is too long", path);
    }
    strcat(path, "/model.yaml");
    if (!adze_path_exists(ctx, path)) {
        return adze_replace_file(ctx, path, &piece, 1);
    }
    TRY(adze_read_file(ctx, path, 1 << 20, (void **)&have, &n));
    const bool same = strcmp(have, yaml) == 0;
    adze_free(ctx, have);
    return same ? ADZE_OK : adze_fail(ctx, ADZE_EARG, "the model is not the one that '%s' holds; choose another --out", path);
}

static int run_path(const job *j, int s, int64_t seed, const char *file, char *out, size_t n) {
    char dir[WORD];
    TRY(setting_path(j, s, dir, sizeof(dir)));
    const int len = snprintf(out, n, "%s/seed-%llu%s%s", dir, (unsigned long long)(j->k.seed + (uint64_t)seed), file[0] ? "/" : "", file);
    return len > 0 && (size_t)len < n ? ADZE_OK : adze_fail(j->k.c->ctx, ADZE_EARG, "the path '%s' is too long", dir);
}

/* -- one run ------------------------------------------------------------------------------------------------------------------------------------- */

static const char *word(job *j, const char *key, const char *v) {
    char text[WORD];
    const int n = snprintf(text, sizeof(text), "--%s=%s", key, v);
    return n > 0 && (size_t)n < sizeof(text) ? adze_arena_strdup(&j->arena, text) : NULL;
}

/* The command line of `adze train` that makes this run. */
static int train_words(job *j, int s, int64_t seed, const char *path, const char **w, int *n) {
    const cmp_setting *set = &j->k.settings[s];
    char value[WORD];
    snprintf(value, sizeof(value), "%llu", (unsigned long long)(j->k.seed + (uint64_t)seed));
    w[(*n)++] = word(j, "seed", value);
    w[(*n)++] = word(j, "data", j->o.data);
    w[(*n)++] = word(j, "out", path);
    w[(*n)++] = word(j, "recipe", j->o.recipe);
    for (int i = 0; i < j->nvary; i++) {
        if (strcmp(j->vary[i].key, "model") != 0) {
            w[(*n)++] = word(j, j->vary[i].key, set->value[i]);
        }
    }
    for (const adze_field *f = adze_train_fields(); f->name; f++) {
        if (cli_given(&j->args, 1, f->name) && strcmp(f->name, "seed") != 0 && adze_field_print(f, &j->train, value, sizeof(value)) >= 0) {
            w[(*n)++] = word(j, f->name, value);
        }
    }
    w[(*n)++] = "--";
    w[(*n)++] = model_of(j, set);
    for (int i = 0; i < *n; i++) {
        if (!w[i]) {
            return adze_fail(j->k.c->ctx, ADZE_EARG, "an option's value is too long");
        }
    }
    return ADZE_OK;
}

static int train(job *j, int s, int64_t seed) {
    cli *c = j->k.c;
    char path[WORD], config[WORD];
    int n = 1;
    const char **w = adze_arena_alloc(&j->arena, (CMP_KEYS + 8 + count_options()) * sizeof(*w));
    if (!w) {
        return ADZE_ENOMEM;
    }
    w[0] = "--quiet";
    TRY(run_path(j, s, seed, "", path, sizeof(path)));
    TRY(run_path(j, s, seed, "config.yaml", config, sizeof(config)));
    if (adze_path_exists(c->ctx, config)) {
        w[n++] = "--resume";
        w[n++] = path;
    } else {
        TRY(train_words(j, s, seed, path, w, &n));
    }
    const cli before = *c;
    c->cmd = &CLI_TRAIN;
    c->silent = true;
    const int status = CLI_TRAIN.run(c, n, w);
    c->cmd = before.cmd;
    c->silent = before.silent;
    c->global = before.global;
    return status == ADZE_ESTOPPED ? adze_fail(c->ctx, status, "interrupted and saved; the same command goes on where it stopped") : status;
}

/* The trained net's answers to the test part, one a line: what McNemar's test and later reports need, and the mark of a finished run. A net that
 * gives its input back has one: its squared error. */
static int answer(job *j, int s, int64_t seed) {
    cli *c = j->k.c;
    adze_model *model = NULL;
    adze_store *store = NULL;
    adze_dataset *d = NULL;
    adze_metrics m = {0};
    char path[WORD], *text = NULL;
    TRY(run_path(j, s, seed, "model.safetensors", path, sizeof(path)));
    TRY(cli_load_trained(c, path, &model, &store));
    int status = adze_dataset_open(c->ctx, j->o.data, "test", &d);
    status = status == ADZE_OK ? adze_evaluate(c->ctx, model, store, "", d, NULL, 0, BATCH, &m) : status;
    if (status == ADZE_OK) {
        adze_text t = {.ctx = c->ctx};
        char error[64];
        snprintf(error, sizeof(error), "error\n%.17g\n", m.fit.rmse * m.fit.rmse);
        adze_text_add(&t, "%s", m.classes > 0 ? "label,answer\n" : error);
        for (int64_t i = 0; i < m.count && m.classes > 0; i++) {
            const double *p = m.scores + i * m.classes;
            int64_t best = 0;
            for (int64_t k = 1; k < m.classes; k++) {
                best = p[k] > p[best] ? k : best;
            }
            adze_text_add(&t, "%lld,%lld\n", (long long)m.labels[i], (long long)best);
        }
        status = adze_text_finish(&t, &text);
    }
    status = status == ADZE_OK ? run_path(j, s, seed, "answers.csv", path, sizeof(path)) : status;
    if (status == ADZE_OK) {
        const adze_piece piece = {text, (int64_t)strlen(text)};
        status = adze_replace_file(c->ctx, path, &piece, 1);
    }
    adze_free(c->ctx, text);
    adze_metrics_free(c->ctx, &m);
    adze_dataset_close(d);
    adze_store_free(store);
    adze_model_free(model);
    return status;
}

static int read_answers(job *j, const char *path, cmp_run *r) {
    adze_ctx *ctx = j->k.c->ctx;
    char *text;
    int64_t bytes, right = 0;
    TRY(adze_read_file(ctx, path, INT64_C(1) << 30, (void **)&text, &bytes));
    r->right = adze_alloc(ctx, bytes / 4 + 1, 1); /* "0,0\n" is the shortest line */
    if (!r->right) {
        adze_free(ctx, text);
        return ADZE_ENOMEM;
    }
    if (strncmp(text, "error\n", 6) == 0) {
        text[bytes - 1] = 0;
        r->known = adze_parse_f64(text + 6, &r->value[CMP_ERROR]);
        adze_free(ctx, text);
        return ADZE_OK;
    }
    char *line = strchr(text, '\n'), *end;
    for (line = line ? line + 1 : text + bytes; (end = strchr(line, '\n')); line = end + 1) {
        char *comma = strchr(line, ',');
        *end = 0;
        if (comma && comma < end) {
            *comma = 0;
            r->right[r->n] = strcmp(line, comma + 1) == 0;
            right += r->right[r->n++];
        }
    }
    r->known = r->n > 0; /* a diverged run has no answers */
    r->value[CMP_TEST_ACC] = r->known ? (double)right / (double)r->n : NAN;
    adze_free(ctx, text);
    return ADZE_OK;
}

static int read_run(job *j, int s, int64_t seed) {
    cmp_run *r = &j->k.runs[s * j->k.nseeds + seed];
    cli_rundir dir = {0};
    char path[WORD];
    for (int i = 0; i < CMP_METRICS; i++) {
        r->value[i] = NAN;
    }
    TRY(run_path(j, s, seed, "answers.csv", path, sizeof(path)));
    TRY(read_answers(j, path, r));
    if (!r->known) {
        return ADZE_OK;
    }
    TRY(run_path(j, s, seed, "", path, sizeof(path)));
    int status = cli_rundir_open(&dir, j->k.c, path);
    double seconds = 0;
    for (int64_t i = 0; i < dir.n; i++) {
        const adze_epoch_stats *e = &dir.history[i];
        seconds += e->seconds;
        if (e->best) { /* the weights that are judged are those of the last best epoch */
            r->value[CMP_VAL_ACC] = e->val_acc;
            r->value[CMP_VAL_LOSS] = e->val_loss;
            r->value[CMP_GAP] = e->acc - r->value[CMP_TEST_ACC];
        }
        if (isnan(r->value[CMP_EPOCHS_TO]) && j->k.metric == CMP_EPOCHS_TO && e->val_acc >= j->k.target) {
            r->value[CMP_EPOCHS_TO] = (double)e->epoch + 1;
        }
    }
    r->value[CMP_SECONDS] = seconds;
    cli_rundir_close(&dir);
    return status;
}

static int mark_diverged(job *j, int s, int64_t seed) {
    char path[WORD];
    TRY(run_path(j, s, seed, "answers.csv", path, sizeof(path)));
    adze_err_clear(j->k.c->ctx);
    const adze_piece piece = {"label,answer\n", 13};
    return adze_replace_file(j->k.c->ctx, path, &piece, 1);
}

static int one_run(job *j, int s, int64_t seed) {
    char path[WORD];
    TRY(run_path(j, s, seed, "answers.csv", path, sizeof(path)));
    if (!adze_path_exists(j->k.c->ctx, path)) {
        const int status = train(j, s, seed);
        TRY(status == ADZE_ENAN ? mark_diverged(j, s, seed) : status == ADZE_OK ? answer(j, s, seed) : status);
    }
    return read_run(j, s, seed);
}

/* -- all of them --------------------------------------------------------------------------------------------------------------------------------- */

/* Seed by seed, so that an interrupted comparison has seen every setting about as often. */
static int all_runs(job *j) {
    cmp *k = &j->k;
    const int64_t total = k->nsettings * k->nseeds;
    const double start = adze_now();
    for (int64_t i = 0; i < total; i++) {
        const int s = (int)(i % k->nsettings);
        const unsigned long long seed = k->seed + (unsigned long long)(i / k->nsettings);
        if (j->bar || j->plain) {
            const double left = i > 0 ? (adze_now() - start) / (double)i * (double)(total - i) : 0;
            fprintf(stderr, "%srun %lld of %lld: %s seed %llu, %.0f s left%s", j->bar ? "\r\033[K" : "", (long long)i + 1, (long long)total,
                    k->settings[s].label, seed, left, j->bar ? "" : "\n");
            fflush(stderr);
        }
        const int status = one_run(j, s, i / k->nsettings);
        if (status != ADZE_OK || i + 1 == total) {
            fputs(j->bar ? "\r\033[K" : "", stderr);
        }
        TRY(status);
    }
    return ADZE_OK;
}

static int compare(job *j, cli *c) {
    cmp *k = &j->k;
    const int mode = c->global.progress;
    j->bar = !c->global.quiet && (mode == CLI_PROGRESS_BAR || (mode == CLI_PROGRESS_AUTO && cli_is_tty(stderr)));
    j->plain = !c->global.quiet && mode == CLI_PROGRESS_PLAIN;
    j->model = j->args.words[0];
    k->nseeds = j->o.seeds;
    k->seed = j->train.seed;
    const char *base = strrchr(j->model, '/');
    snprintf(k->out, sizeof(k->out), "%s%.200s", j->o.out[0] ? "" : "runs/compare-", j->o.out[0] ? "" : base ? base + 1 : j->model);
    if (j->o.out[0]) {
        memcpy(k->out, j->o.out, sizeof(k->out));
    }
    TRY(check_keys(j, c));
    TRY(make_settings(j));
    TRY(parse_metric(j, c));
    TRY(read_models(j));
    TRY(claim_folder(j));
    for (int s = 0; s < k->nsettings; s++) {
        TRY(claim_model(j, s));
    }
    TRY(all_runs(j));
    return cmp_report(k);
}

static int run(cli *c, int argc, const char **argv) {
    job *j = adze_alloc(c->ctx, 1, sizeof(*j));
    const char **rest = adze_alloc(c->ctx, argc + 1, sizeof(*rest));
    int n = 0, status = j && rest ? ADZE_OK : ADZE_ENOMEM;
    if (status == ADZE_OK) {
        j->k.c = c;
        j->arena.ctx = c->ctx;
        j->args = (cli_args){.tables = {{FIELDS, &j->o, NULL}, {adze_train_fields(), &j->train, "training"}}, .ntables = 2};
        status = take_vary(j, c, argc, argv, rest, &n);
    }
    if (status == ADZE_OK) {
        status = cli_parse(c, &j->args, n, rest, 1, 1);
        status = status == ADZE_OK ? cli_recipe_apply(c, &j->args, 1, j->o.recipe, &j->train) : status;
        if (status == ADZE_OK && c->global.help) {
            cli_help(c->cmd, stdout);
        } else if (status == ADZE_OK) {
            status = compare(j, c);
        }
        cli_args_free(c, &j->args);
    }
    for (int64_t i = 0; j && j->k.runs && i < (int64_t)j->k.nsettings * j->k.nseeds; i++) {
        adze_free(c->ctx, j->k.runs[i].right);
    }
    for (int s = 0; j && s < j->k.nsettings; s++) {
        adze_text_free(c->ctx, j->k.settings[s].yaml);
    }
    if (j) {
        adze_free(c->ctx, j->k.runs);
        adze_free(c->ctx, j->k.settings);
        adze_arena_free(&j->arena);
    }
    adze_free(c->ctx, j);
    adze_free(c->ctx, (void *)rest);
    return status;
}

const cli_cmd CLI_COMPARE = {"compare",
                             "train settings with the same seeds and say which differences are more than chance",
                             "compare MODEL --vary KEY=A,B [--vary ...] --seeds N [options]",
                             "  adze compare lenet5-caffe --vary lr=0.01,0.02 --seeds 5 --epochs 4\n"
                             "  adze compare mlp --vary optimizer=momentum,adam --vary batch=32,128 --metric val_loss\n"
                             "  adze compare mlp --vary model=mlp,lenet5-caffe --metric epochs_to:0.85\n",
                             tables,
                             run};
