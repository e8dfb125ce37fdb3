/* The folder of one run. Everything in it is written whole or appended in whole lines; nothing is ever overwritten by another run. */
#include "cli/rundir.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

const adze_field CLI_RUN_FIELDS[] = {
    {"model", ADZE_F_STR, 0, offsetof(cli_run_opts, model), sizeof(((cli_run_opts *)0)->model), "", 0, 0, NULL, "zoo name or model file"},
    {"data", ADZE_F_STR, 0, offsetof(cli_run_opts, data), sizeof(((cli_run_opts *)0)->data), "fashion-mnist", 0, 0, NULL,
     "data set: a name or a folder"},
    {"isa", ADZE_F_STR, 0, offsetof(cli_run_opts, isa), sizeof(((cli_run_opts *)0)->isa), "", 0, 0, NULL,
     "instruction set: another one has other bits"},
    {"mem_limit", ADZE_F_STR, 0, offsetof(cli_run_opts, mem_limit), sizeof(((cli_run_opts *)0)->mem_limit), "", 0, 0, NULL, "memory it may hold"},
    {"reproducible", ADZE_F_BOOL, 0, offsetof(cli_run_opts, reproducible), 0, "false", 0, 0, NULL, "the same bits at every instruction set"},
    {"diag", ADZE_F_STR, 0, offsetof(cli_run_opts, diag), sizeof(((cli_run_opts *)0)->diag), "", 0, 0, NULL, "probes that look on"},
    {"diag_every", ADZE_F_I64, 0, offsetof(cli_run_opts, diag_every), 0, "100", 1, 1e12, NULL, "steps between two looks"},
    {0}};

enum { LINE = 512 };
static const char CSV_HEAD[] = "epoch,step,loss,acc,val_loss,val_acc,lr,seconds,items_per_s,best\n";

int cli_rundir_file(const cli_rundir *r, const char *name, char *out, size_t n) {
    return adze_path_join(out, n, r->path, name) == ADZE_OK ? ADZE_OK
                                                            : adze_fail(r->c->ctx, ADZE_EARG, "the path '%s/%s' is too long", r->path, name);
}

int cli_rundir_write(const cli_rundir *r, const char *name, const char *text) {
    char path[1024];
    TRY(cli_rundir_file(r, name, path, sizeof(path)));
    adze_piece piece = {text, (int64_t)strlen(text)};
    return adze_replace_file(r->c->ctx, path, &piece, 1);
}

static int append(const cli_rundir *r, const char *name, const char *text) {
    char path[1024];
    TRY(cli_rundir_file(r, name, path, sizeof(path)));
    return adze_append_file(r->c->ctx, path, text);
}

/* Until the process ends. A file system without locks lets everybody in. */
static int lock_folder(cli_rundir *r) {
    r->lock = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->lock < 0 && errno == ENOTDIR) {
        return adze_fail(r->c->ctx, ADZE_EARG, "'%s' is a file: give the folder of the run, which holds config.yaml", r->path);
    }
    if (r->lock > 0 && flock(r->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        return adze_fail(r->c->ctx, ADZE_ECOMM, "another process is training in '%s': wait for it, or stop it first", r->path);
    }
    return ADZE_OK;
}

/* The first number that is free; mkdir itself decides, so that two trainings started together never share a folder. */
static int claim_number(cli_rundir *r, const char *model_name) {
    adze_ctx *ctx = r->c->ctx;
    const adze_fs *fs = adze_ctx_fs(ctx);
    int err = -EEXIST;
    TRY(adze_make_dirs(ctx, "runs"));
    for (int i = 1; err == -EEXIST; i++) {
        snprintf(r->path, sizeof(r->path), "runs/%.200s-%03d", model_name, i);
        char *base = r->path + strlen("runs/");
        for (char *p = base; *p; p++) {
            bool odd = *p == '/' || iscntrl((unsigned char)*p) || (p == base && *p == '.');
            *p = odd ? '_' : *p; /* a model file may call itself ../../x */
        }
        err = fs->mkdir(fs->user, r->path);
    }
    return err < 0 ? adze_fail_errno(ctx, err, "make the folder", r->path) : ADZE_OK;
}

int cli_rundir_create(cli_rundir *r, cli *c, const char *out, const char *model_name) {
    *r = (cli_rundir){.c = c};
    if (out && *out) {
        snprintf(r->path, sizeof(r->path), "%s", out);
        TRY(adze_make_dirs(c->ctx, r->path));
        TRY(lock_folder(r));
        char config[1024];
        TRY(cli_rundir_file(r, "config.yaml", config, sizeof(config)));
        if (adze_path_exists(c->ctx, config)) {
            return adze_fail(c->ctx, ADZE_EARG, "'%s' holds a run already; choose another --out, or go on with `adze train --resume %s`", out, out);
        }
    } else {
        TRY(claim_number(r, model_name));
        TRY(lock_folder(r));
    }
    char dir[1024];
    TRY(cli_rundir_file(r, "plots", dir, sizeof(dir)));
    TRY(adze_make_dirs(c->ctx, dir));
    TRY(cli_rundir_file(r, "ckpt", dir, sizeof(dir)));
    TRY(adze_make_dirs(c->ctx, dir));
    return append(r, "metrics.csv", CSV_HEAD);
}

static int add_epoch(cli_rundir *r, const adze_epoch_stats *s) {
    /* Where an epoch is there twice the later record replaces the earlier. */
    while (r->n > 0 && r->history[r->n - 1].epoch >= s->epoch) {
        r->n--;
    }
    if (r->n == r->cap) {
        int64_t cap = r->cap ? 2 * r->cap : 64;
        adze_epoch_stats *p = adze_resize(r->c->ctx, r->history, r->cap, cap, sizeof(*p));
        if (!p) {
            return ADZE_ENOMEM;
        }
        r->history = p;
        r->cap = cap;
    }
    r->history[r->n++] = *s;
    return ADZE_OK;
}

static int read_metrics(cli_rundir *r) {
    char path[1024];
    void *bytes;
    int64_t n;
    TRY(cli_rundir_file(r, "metrics.csv", path, sizeof(path)));
    if (!adze_path_exists(r->c->ctx, path)) {
        return ADZE_OK;
    }
    TRY(adze_read_file(r->c->ctx, path, 64 << 20, &bytes, &n));
    int status = ADZE_OK;
    char *line = bytes, *end;
    for (; status == ADZE_OK && (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        double v[10] = {0};
        int k = 0;
        for (char *p = line; p && k < 10; k++) {
            char *comma = strchr(p, ',');
            if (comma) {
                *comma = 0;
            }
            if (!adze_parse_f64(p, &v[k])) {
                break;
            }
            p = comma ? comma + 1 : NULL;
        }
        if (k >= 9) { /* the head and a torn last line are passed over */
            adze_epoch_stats s = {(int64_t)v[0] - 1, (int64_t)v[1], 0, v[2], v[3], v[4], v[5], v[6], v[7], v[8], 0, NAN, NAN, v[9] != 0};
            status = add_epoch(r, &s);
        }
    }
    adze_free(r->c->ctx, bytes);
    return status;
}

int cli_rundir_open(cli_rundir *r, cli *c, const char *path) {
    *r = (cli_rundir){.c = c};
    snprintf(r->path, sizeof(r->path), "%s", path);
    if (!adze_path_exists(c->ctx, path)) {
        return adze_fail(c->ctx, ADZE_EARG, "there is no run at '%s'", path);
    }
    TRY(lock_folder(r));
    return read_metrics(r);
}

void cli_rundir_close(cli_rundir *r) {
    if (r->c) {
        adze_free(r->c->ctx, r->history);
    }
    if (r->lock > 0) {
        close(r->lock);
    }
    r->history = NULL;
    r->lock = 0;
}

/* YAML scalars that a person could have typed: strings are quoted, all else is plain. */
static void config_table(adze_text *t, const adze_field *table, const void *obj) {
    char value[1024];
    for (const adze_field *f = table; f->name; f++) {
        if (adze_field_print(f, obj, value, sizeof(value)) < 0) {
            continue;
        }
        adze_text_add(t, "%s: ", f->name);
        if (f->kind == ADZE_F_STR) {
            adze_json_string(t, value);
        } else {
            adze_text_add(t, "%s", value);
        }
        adze_text_add(t, "\n");
    }
}

int cli_rundir_config_save(const cli_rundir *r, const cli_run_opts *ro, const adze_train_opts *o) {
    adze_text t = {.ctx = r->c->ctx};
    adze_text_add(&t, "# What this run was started with; `adze train --resume DIR` reads it.\n");
    config_table(&t, CLI_RUN_FIELDS, ro);
    config_table(&t, adze_train_fields(), o);
    char *s;
    TRY(adze_text_finish(&t, &s));
    int status = cli_rundir_write(r, "config.yaml", s);
    adze_free(r->c->ctx, s);
    return status;
}

/* The two tables share one map: each skips the other's keys. */
static int fill_both(adze_ctx *ctx, const adze_tree *tree, const char *path, cli_run_opts *ro, adze_train_opts *o, adze_text *faults) {
    const char *skip_train[256], *skip_run[32];
    int a = 0, b = 0;
    for (const adze_field *f = adze_train_fields(); f->name && a + 1 < (int)ADZE_COUNT(skip_train); f++) {
        skip_train[a++] = f->name;
    }
    for (const adze_field *f = CLI_RUN_FIELDS; f->name && b + 1 < (int)ADZE_COUNT(skip_run); f++) {
        skip_run[b++] = f->name;
    }
    skip_train[a] = skip_run[b] = NULL;
    return adze_tree_fields(ctx, tree, CLI_RUN_FIELDS, ro, path, "config", skip_train, faults) +
           adze_tree_fields(ctx, tree, adze_train_fields(), o, path, "config", skip_run, faults);
}

int cli_options_read(cli *c, const char *path, cli_run_opts *ro, adze_train_opts *o) {
    adze_ctx *ctx = c->ctx;
    void *bytes;
    int64_t n;
    TRY(adze_read_file(ctx, path, 1 << 20, &bytes, &n));
    adze_doc *doc = NULL;
    int status = adze_yaml_parse(ctx, bytes, (size_t)n, path, &doc);
    if (status == ADZE_OK) {
        const adze_tree *tree = adze_doc_root(doc);
        adze_text faults = {.ctx = ctx};
        const int bad =
            ro ? fill_both(ctx, tree, path, ro, o, &faults) : adze_tree_fields(ctx, tree, adze_train_fields(), o, path, "the recipe", NULL, &faults);
        char *s = NULL;
        if (bad) {
            status = adze_text_finish(&faults, &s);
            status = status == ADZE_OK
                         ? adze_fail(ctx, ADZE_EARG, "%s%d fault%s in the %s", s, bad, bad == 1 ? "" : "s", ro ? "run's config" : "recipe")
                         : status;
        }
        adze_free(ctx, s);
        adze_text_drop(&faults);
    }
    adze_doc_free(doc);
    adze_free(ctx, bytes);
    return status;
}

int cli_rundir_config_load(const cli_rundir *r, cli_run_opts *ro, adze_train_opts *o) {
    char path[1024];
    TRY(cli_rundir_file(r, "config.yaml", path, sizeof(path)));
    return cli_options_read(r->c, path, ro, o);
}

int cli_rundir_env(const cli_rundir *r, const adze_dataset *d) {
    adze_ctx *ctx = r->c->ctx;
    adze_text t = {.ctx = ctx};
    adze_text_add(&t, "{\"schema\":1,\"adze\":\"%s\",\"compiler\":\"%s\",\"isa\":\"%s\",\"threads\":%d,\"data\":", adze_version(), __VERSION__,
                  adze_ctx_isa(ctx), adze_ctx_threads(ctx));
    adze_json_string(&t, d->name);
    adze_text_add(&t, ",\"data_fingerprint\":\"%016llx%016llx\",\"examples\":%lld}\n", (unsigned long long)d->fingerprint[1],
                  (unsigned long long)d->fingerprint[0], (long long)d->count);
    char *s;
    TRY(adze_text_finish(&t, &s));
    int status = cli_rundir_write(r, "env.json", s);
    adze_free(ctx, s);
    return status;
}

static int draw(const cli_rundir *r) {
    static const char *const files[2] = {"plots/curves.svg", "plots/curves.png"};
    char path[1024];
    for (int i = 0; i < 2; i++) {
        TRY(cli_rundir_file(r, files[i], path, sizeof(path)));
        TRY(adze_history_plot(r->c->ctx, path, r->history, r->n));
    }
    return ADZE_OK;
}

static void csv_line(const adze_epoch_stats *s, char *out, size_t n) {
    snprintf(out, n, "%lld,%lld,%.9g,%.6f,%.9g,%.6f,%.9g,%.3f,%.1f,%d\n", (long long)s->epoch + 1, (long long)s->step, s->loss, s->acc, s->val_loss,
             s->val_acc, s->lr, s->seconds, s->items_per_s, s->best);
}

static void json_line(const adze_epoch_stats *s, char *out, size_t n) {
    char a[32], b[32], d[32], e[32], f[32];
    snprintf(
        out, n,
        "{\"schema\":1,\"epoch\":%lld,\"step\":%lld,\"loss\":%s,\"acc\":%.6f,\"val_loss\":%s,\"val_acc\":%s,\"error\":%s,\"val_error\":%s,\"lr\":%.9g,\"seconds\":%.3f}\n",
        (long long)s->epoch + 1, (long long)s->step, cli_json_number(a, sizeof(a), s->loss), s->acc, cli_json_number(b, sizeof(b), s->val_loss),
        cli_json_number(d, sizeof(d), s->val_acc), cli_json_number(e, sizeof(e), s->error), cli_json_number(f, sizeof(f), s->val_error), s->lr,
        s->seconds);
}

int cli_rundir_epoch(cli_rundir *r, const adze_epoch_stats *s) {
    char line[LINE];
    TRY(add_epoch(r, s));
    csv_line(s, line, sizeof(line));
    TRY(append(r, "metrics.csv", line));
    json_line(s, line, sizeof(line));
    TRY(append(r, "metrics.jsonl", line));
    snprintf(line, sizeof(line), "epoch %lld: train %.4f/%.4f val %.4f/%.4f lr %.3g, %.1f s%s\n", (long long)s->epoch + 1, s->loss, s->acc,
             s->val_loss, s->val_acc, s->lr, s->seconds, s->best ? ", best" : "");
    TRY(append(r, "log.txt", line));
    if (draw(r) != ADZE_OK) { /* the numbers are safe: a training goes on without its picture */
        if (!r->c->global.quiet) {
            fprintf(stderr, "adze: no curves were drawn: %s\n", adze_errmsg(r->c->ctx));
        }
        adze_err_clear(r->c->ctx);
    }
    return ADZE_OK;
}

/* One metrics file from the whole history. */
static int rewrite(const cli_rundir *r, const char *name, const char *head, void (*print)(const adze_epoch_stats *, char *, size_t)) {
    adze_text t = {.ctx = r->c->ctx};
    char line[LINE], *s;
    adze_text_add(&t, "%s", head);
    for (int64_t i = 0; i < r->n; i++) {
        print(&r->history[i], line, sizeof(line));
        adze_text_add(&t, "%s", line);
    }
    TRY(adze_text_finish(&t, &s));
    int status = cli_rundir_write(r, name, s);
    adze_free(r->c->ctx, s);
    return status;
}

int cli_rundir_restore(cli_rundir *r, const adze_epoch_stats *stats, int64_t n) {
    cli_rundir old = *r; /* what metrics.csv held: the only place where the times are */
    r->history = NULL;
    r->n = r->cap = 0;
    int status = ADZE_OK;
    for (int64_t i = 0; i < n && status == ADZE_OK; i++) {
        adze_epoch_stats s = stats[i];
        for (int64_t k = 0; k < old.n; k++) {
            if (old.history[k].epoch == s.epoch) {
                s.seconds = old.history[k].seconds;
                s.items_per_s = old.history[k].items_per_s;
            }
        }
        status = add_epoch(r, &s);
    }
    adze_free(r->c->ctx, old.history);
    if (status == ADZE_OK) {
        status = rewrite(r, "metrics.csv", CSV_HEAD, csv_line);
    }
    return status == ADZE_OK ? rewrite(r, "metrics.jsonl", "", json_line) : status;
}
