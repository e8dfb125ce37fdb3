/* Runs the arms of an experiment: the command itself, started anew for each line. What an arm left behind is kept and never run again; a training
 * that was cut off is resumed. */
#include "cli/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS = 128 };

/* -- one process --------------------------------------------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t child, stopped;

static void on_signal(int sig) {
    stopped = 1;
    if (sig != SIGINT && child > 0) { /* the keyboard reaches the child too */
        kill((pid_t)child, sig);
    }
}

static void set_signals(void (*handler)(int)) {
    static const int which[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < ADZE_COUNT(which); i++) {
        struct sigaction old;
        if (sigaction(which[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) {
            signal(which[i], handler);
        }
    }
}

extern char **environ;

int lab_capture(cli *c, const char *const *words, const char *out, const char *log, int *code) {
    const char *argv[WORDS + 2] = {"adze"};
    int n = 1, state = 0;
    while (words[n - 1] && n <= WORDS) {
        argv[n] = words[n - 1];
        n++;
    }
    posix_spawn_file_actions_t files;
    pid_t pid;
    if (posix_spawn_file_actions_init(&files) != 0) {
        return ADZE_ENOMEM;
    }
    int err = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    err = err ? err : posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    err = err ? err : posix_spawn_file_actions_addopen(&files, STDERR_FILENO, log, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    err = err ? err : posix_spawn(&pid, "/proc/self/exe", &files, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (err != 0) {
        return adze_fail_errno(c->ctx, err, "start", "the command itself");
    }
    child = (sig_atomic_t)pid;
    while (waitpid(pid, &state, 0) < 0) {
        if (errno != EINTR) {
            child = 0;
            return adze_fail_errno(c->ctx, errno, "wait for", "a command");
        }
    }
    child = 0;
    *code = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
    return ADZE_OK;
}

/* -- one arm with one seed ----------------------------------------------------------------------------------------------------------------------- */

typedef struct task {
    cli *c;
    const lab_opts *o;
    lab_exp *e;
    lab_arm *arm;
    const lab_part *part;
    int seed;
    char dir[LAB_PATH];
    adze_arena arena; /* of words */
    const char *words[WORDS + 1];
    int nwords;
} task;

static int add_word(task *t, const char *w) {
    if (!w || t->nwords == WORDS) {
        return w ? adze_fail(t->c->ctx, ADZE_EARG, "arm '%s': a command has at most %d words", t->arm->name, WORDS) : ADZE_ENOMEM;
    }
    t->words[t->nwords++] = w;
    return ADZE_OK;
}

static int add_format(task *t, const char *fmt, const char *value) {
    char text[LAB_PATH + 32];
    snprintf(text, sizeof(text), fmt, value);
    return add_word(t, adze_arena_strdup(&t->arena, text));
}

/* {seed}, {out} and {dir} become what they stand for; other braces stay. */
static int substitute(task *t, const char *word, size_t n) {
    char seed[32], *w;
    adze_text text = {.ctx = t->c->ctx};
    snprintf(seed, sizeof(seed), "%llu", (unsigned long long)t->e->seeds[t->seed]);
    const char *const from[] = {"{seed}", "{out}", "{dir}"}, *const to[] = {seed, t->dir, t->o->dir};
    for (size_t i = 0; i < n;) {
        size_t k = 0;
        while (k < ADZE_COUNT(from) && strncmp(word + i, from[k], strlen(from[k])) != 0) {
            k++;
        }
        if (k < ADZE_COUNT(from)) {
            adze_text_put(&text, to[k], strlen(to[k]));
            i += strlen(from[k]);
        } else {
            adze_text_put(&text, word + i++, 1);
        }
    }
    TRY(adze_text_finish(&text, &w));
    const int status = add_word(t, adze_arena_strdup(&t->arena, w));
    adze_free(t->c->ctx, w);
    return status;
}

/* Words between blanks; 'quotes' and "quotes" hold one together. */
static int split(task *t, const char *line) {
    for (;;) {
        line += strspn(line, " \t\n");
        if (!*line) {
            return ADZE_OK;
        }
        const bool quoted = *line == '\'' || *line == '"';
        const char *end = quoted ? strchr(line + 1, *line) : line + strcspn(line, " \t\n");
        if (!end) {
            return adze_fail(t->c->ctx, ADZE_EARG, "arm '%s': a quote is not closed in: %s", t->arm->name, line);
        }
        TRY(substitute(t, line + quoted, (size_t)(end - line) - quoted));
        line = end + quoted;
    }
}

static bool has_flag(const task *t, const char *name) {
    for (int i = 0; i < t->nwords; i++) {
        char word[128];
        cli_flag(t->words[i], word, sizeof(word));
        if (strncmp(t->words[i], "--", 2) == 0 && strcmp(word, name) == 0) {
            return true;
        }
    }
    return false;
}

static int in_dir(const task *t, const char *name, int k, char *out) {
    const int n = snprintf(out, LAB_PATH, "%s/%s%.0d", t->dir, name, k);
    return n > 0 && n < LAB_PATH ? ADZE_OK : adze_fail(t->c->ctx, ADZE_EARG, "the path '%s' is too long", t->dir);
}

/* The words of line k of the arm: what the runner adds stands behind the verb. run: the folder of a training, else "". */
static int make_words(task *t, int k, char *run) {
    char text[32], config[LAB_PATH + 32];
    const cli_global *g = &t->c->global;
    t->nwords = 0;
    run[0] = 0;
    TRY(split(t, t->arm->lines[k]));
    if (t->nwords == 0) {
        return adze_fail(t->c->ctx, ADZE_EARG, "arm '%s' has an empty command", t->arm->name);
    }
    const bool training = strcmp(t->words[0], "train") == 0, own_out = has_flag(t, "out"), own_seed = has_flag(t, "seed");
    const int n = t->nwords;
    const char *rest[WORDS];
    memcpy(rest, t->words, sizeof(rest));
    t->nwords = 1;
    TRY(add_word(t, "--json"));
    TRY(add_word(t, "--quiet"));
    if (g->threads > 0) {
        snprintf(text, sizeof(text), "%lld", (long long)g->threads);
        TRY(add_format(t, "--threads=%s", text));
    }
    if (g->isa[0]) {
        TRY(add_format(t, "--isa=%s", g->isa));
    }
    if (training && !own_out) {
        TRY(in_dir(t, k ? "run" : ".", k, run)); /* the first training has the arm's folder: {out}/model.safetensors is its network */
        snprintf(config, sizeof(config), "%s/config.yaml", run);
        if (adze_path_exists(t->c->ctx, config)) {
            TRY(add_format(t, "--resume=%s", run));
            t->words[t->nwords] = NULL;
            return ADZE_OK;
        }
        TRY(add_format(t, "--out=%s", run));
    }
    if (training && !own_seed) {
        snprintf(text, sizeof(text), "%llu", (unsigned long long)t->e->seeds[t->seed]);
        TRY(add_format(t, "--seed=%s", text));
    }
    for (int i = 1; i < n; i++) {
        TRY(add_word(t, rest[i]));
    }
    t->words[t->nwords] = NULL;
    return ADZE_OK;
}

/* The last line of what a command said. */
static int failed(task *t, int k, int code) {
    adze_ctx *ctx = t->c->ctx;
    char path[LAB_PATH], *log = NULL;
    int64_t n = 0;
    TRY(in_dir(t, "log", k + 1, path));
    if (code == 5) {
        return adze_fail(ctx, ADZE_ESTOPPED, "interrupted; the same command goes on where it stopped");
    }
    if (adze_read_file(ctx, path, 1 << 20, (void **)&log, &n) != ADZE_OK) {
        n = 0;
    }
    while (n > 0 && log[n - 1] == '\n') {
        log[--n] = 0;
    }
    const char *last = n > 0 ? strrchr(log, '\n') : NULL;
    const int status =
        adze_fail(ctx, ADZE_EARG, "arm '%s' of '%s' ended with code %d in: adze %s: %s", t->arm->name, t->e->name, code, t->arm->lines[k],
                  last    ? last + 1
                  : n > 0 ? log
                          : "(it said nothing)");
    adze_free(ctx, log);
    return status;
}

static int write_result(task *t, int last, const char *run, bool diverged, double seconds) {
    char path[LAB_PATH], *s;
    adze_text text = {.ctx = t->c->ctx};
    adze_text_add(&text, "{\"schema\":1,\"version\":\"%s\",\"diverged\":%s,\"seconds\":%.3f,\"last\":%d,\"run\":", adze_version(),
                  diverged ? "true" : "false", seconds, last + 1);
    adze_json_string(&text, run);
    adze_text_add(&text, ",\"commands\":[");
    for (int k = 0; k < t->arm->nlines; k++) {
        adze_text_add(&text, k ? "," : "");
        adze_json_string(&text, t->arm->lines[k]);
    }
    adze_text_add(&text, "]}\n");
    TRY(adze_text_finish(&text, &s));
    int status = in_dir(t, "arm.json", 0, path);
    const adze_piece piece = {s, (int64_t)strlen(s)};
    status = status == ADZE_OK ? adze_replace_file(t->c->ctx, path, &piece, 1) : status;
    adze_free(t->c->ctx, s);
    return status;
}

static int execute(task *t) {
    char out[LAB_PATH], log[LAB_PATH], run[LAB_PATH], last_run[32] = "";
    const double start = adze_now();
    TRY(adze_make_dirs(t->c->ctx, t->dir));
    for (int k = 0; k < t->arm->nlines; k++) {
        int code = 0;
        TRY(in_dir(t, "out", k + 1, out));
        TRY(in_dir(t, "log", k + 1, log));
        TRY(make_words(t, k, run));
        TRY(lab_capture(t->c, t->words, out, log, &code));
        if (run[0]) {
            snprintf(last_run, sizeof(last_run), "%s%.0d", k ? "run" : ".", k);
        }
        if (code == adze_status_exit_code(ADZE_ENAN)) { /* what follows has no network to work on */
            return write_result(t, k, last_run, true, adze_now() - start);
        }
        if (stopped || code != 0) {
            return failed(t, k, stopped ? 5 : code);
        }
    }
    return write_result(t, t->arm->nlines - 1, last_run, false, adze_now() - start);
}

/* -- what it left behind ------------------------------------------------------------------------------------------------------------------------- */

static int read_json(task *t, const char *name, int k, adze_tree **out) {
    char path[LAB_PATH], *text;
    int64_t n;
    TRY(in_dir(t, name, k, path));
    TRY(adze_read_file(t->c->ctx, path, 64 << 20, (void **)&text, &n));
    const int status = adze_json_parse(&t->arena, text, (size_t)n, path, out);
    adze_free(t->c->ctx, text);
    return status;
}

/* The metrics of the arm's last training; *csv NULL: it trained nothing. */
static int read_metrics(task *t, const adze_tree *result, char **csv) {
    char path[LAB_PATH], name[64];
    int64_t n;
    const char *run = lab_text_of(result, "run");
    *csv = NULL;
    if (!run[0]) {
        return ADZE_OK;
    }
    snprintf(name, sizeof(name), "%.30s/metrics.csv", run);
    TRY(in_dir(t, name, 0, path));
    return adze_read_file(t->c->ctx, path, 64 << 20, (void **)csv, &n);
}

/* A number that the arm's last line printed, or with "lineK." before its key line K. */
static int measure_output(task *t, const char *text, int last, double *v) {
    adze_tree *json;
    int line = last, n = 0;
    if (sscanf(text, "line%2d.%n", &line, &n) != 1 || n == 0) {
        line = last;
        n = 0;
    }
    if (line < 1 || line > last) {
        return adze_fail(t->c->ctx, ADZE_EARG, "measure '%s': arm '%s' has the lines 1 to %d", text, t->arm->name, last);
    }
    TRY(read_json(t, "out", line, &json));
    return lab_json_number(t->c->ctx, json, text + n, v);
}

static int measure(task *t, const adze_tree *result) {
    adze_ctx *ctx = t->c->ctx;
    const bool diverged = strcmp(lab_text_of(result, "diverged"), "true") == 0;
    double last = 0, seconds = 0;
    char *csv;
    TRY(lab_json_number(ctx, result, "last", &last));
    TRY(lab_json_number(ctx, result, "seconds", &seconds));
    t->arm->seconds += seconds;
    TRY(read_metrics(t, result, &csv));
    int status = ADZE_OK;
    for (int m = 0; m < t->part->nmeasures && status == ADZE_OK; m++) {
        const char *text = t->part->measure[m].text;
        double *v = &t->arm->value[m][t->seed];
        bool known = false;
        if (diverged) {
            *v = lab_diverged(text);
            continue;
        }
        status = lab_csv_number(ctx, csv, text, &known, v);
        if (known && status == ADZE_OK && m == 0) {
            status = lab_csv_curve(&t->e->arena, csv, text, &t->arm->curve[t->seed]);
        }
        if (!known && status == ADZE_OK) {
            status = measure_output(t, text, (int)last, v);
        }
    }
    adze_free(ctx, csv);
    return status;
}

/* The folder's name holds what decides the result, so that another command, file of a model, version or revision never meets an old one. */
static int place(task *t) {
    adze_text text = {.ctx = t->c->ctx};
    char *s;
    adze_text_add(&text, "%s %llu", adze_version(), (unsigned long long)t->e->seeds[t->seed]);
    int status = ADZE_OK;
    for (int k = 0; k < t->arm->nlines && status == ADZE_OK; k++) {
        adze_text_add(&text, "\n%s", t->arm->lines[k]);
        status = lab_hash_files(t->c->ctx, t->o->dir, t->arm->lines[k], &text);
    }
    if (status != ADZE_OK) {
        adze_text_drop(&text);
        return status;
    }
    for (int d = 0; d < t->e->ndata; d++) {
        adze_text_add(&text, "\n%llx", (unsigned long long)t->e->data_hash[d][0]);
    }
    lab_hash_revision(t->e, &text);
    TRY(adze_text_finish(&text, &s));
    const int n = snprintf(t->dir, sizeof(t->dir), "%s/%s/%s%s-%llu-%08x", t->o->work, t->e->name, t->part == &t->e->control ? "control-" : "",
                           t->arm->name, (unsigned long long)t->e->seeds[t->seed], (unsigned)adze_hash64(s, strlen(s), 0));
    adze_free(t->c->ctx, s);
    return n > 0 && (size_t)n < sizeof(t->dir) ? ADZE_OK : adze_fail(t->c->ctx, ADZE_EARG, "the path '%s' is too long", t->o->work);
}

static int run_task(task *t) {
    char path[LAB_PATH];
    adze_tree *result;
    TRY(place(t));
    TRY(in_dir(t, "arm.json", 0, path));
    if (!adze_path_exists(t->c->ctx, path)) {
        TRY(execute(t));
    }
    TRY(read_json(t, "arm.json", 0, &result));
    return measure(t, result);
}

/* -- all of them --------------------------------------------------------------------------------------------------------------------------------- */

static int claim_data(cli *c, lab_exp *e) {
    for (int i = 0; i < e->ndata; i++) {
        adze_dataset *d;
        TRY(adze_dataset_open(c->ctx, e->data[i], "train", &d));
        memcpy(e->data_hash[i], d->fingerprint, sizeof(e->data_hash[i]));
        adze_dataset_close(d);
    }
    return ADZE_OK;
}

static void show_progress(const task *t, int done, int total, double start, bool bar) {
    const double now = adze_now() - start, left = done > 0 ? now / done * (total - done) : 0;
    fprintf(stderr, "%s%s: run %d of %d, %s seed %llu, %.0f s so far, %.0f s left%s", bar ? "\r\033[K" : "", t->e->name, done + 1, total,
            t->arm->name, (unsigned long long)t->e->seeds[t->seed], now, left, bar ? "" : "\n");
    fflush(stderr);
}

int lab_run_arms(cli *c, const lab_opts *o, lab_exp *e) {
    const int mode = c->global.progress, arms = e->main.narms + e->control.narms, total = arms * e->nseeds;
    const bool bar = !c->global.quiet && (mode == CLI_PROGRESS_BAR || (mode == CLI_PROGRESS_AUTO && cli_is_tty(stderr)));
    const double start = adze_now();
    int status = claim_data(c, e);
    stopped = 0;
    set_signals(on_signal);
    /* Seed by seed, so that an interrupted experiment has seen every arm about as often. */
    for (int i = 0; i < total && status == ADZE_OK; i++) {
        const int a = i % arms;
        lab_part *p = a < e->main.narms ? &e->main : &e->control;
        task t = {.c = c, .o = o, .e = e, .part = p, .arm = &p->arm[a < e->main.narms ? a : a - e->main.narms], .seed = i / arms};
        t.arena.ctx = c->ctx;
        if (bar || (!c->global.quiet && mode == CLI_PROGRESS_PLAIN)) {
            show_progress(&t, i, total, start, bar);
        }
        status = run_task(&t);
        adze_arena_free(&t.arena);
    }
    set_signals(SIG_DFL);
    fputs(bar ? "\r\033[K" : "", stderr);
    for (int a = 0; a < arms; a++) {
        e->seconds += a < e->main.narms ? e->main.arm[a].seconds : e->control.arm[a - e->main.narms].seconds;
    }
    return status;
}
