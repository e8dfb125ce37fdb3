/* adze train: from a model and a data set to a judged, saved network in a run folder; resumes with no other flag. */
#include "cli/profile.h"
#include "cli/progress.h"
#include "cli/rundir.h"
#include "cli/train_maxnorm.h"
#include "cli/watch.h"
#include "train/checkpoint.h"
#include "train/trainer.h"

#include <math.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct train_opts {
    char data[512], out[512], resume[512], recipe[512], profile[512];
    bool dry_run, maxnorm_report;
    char diag[128];
    int64_t diag_every;
} train_opts;

static const adze_field FIELDS[] = {
    {"data", ADZE_F_STR, 0, offsetof(train_opts, data), sizeof(((train_opts *)0)->data), "fashion-mnist", 0, 0, NULL, "data set: a name or a folder"},
    {"out", ADZE_F_STR, 0, offsetof(train_opts, out), sizeof(((train_opts *)0)->out), "", 0, 0, NULL,
     "run folder (default runs/MODEL-001, -002, ...)"},
    {"resume", ADZE_F_STR, 0, offsetof(train_opts, resume), sizeof(((train_opts *)0)->resume), "", 0, 0, NULL,
     "go on with this run folder; needs no other flag"},
    {"recipe", ADZE_F_STR, 0, offsetof(train_opts, recipe), sizeof(((train_opts *)0)->recipe), "", 0, 0, NULL, CLI_RECIPE_HELP},
    {"profile", ADZE_F_STR, 0, offsetof(train_opts, profile), sizeof(((train_opts *)0)->profile), "", 0, 0, NULL,
     "write the times of the first updates' steps to this file, for ui.perfetto.dev, and a table to stderr"},
    {"maxnorm_report", ADZE_F_BOOL, 0, offsetof(train_opts, maxnorm_report), 0, NULL, 0, 0, NULL,
     "at the end: the multipliers of maxnorm's bounds on the saved weights, by the gradient of all training examples, as maxnorm.csv in the run folder"},
    {"dry_run", ADZE_F_BOOL, 0, offsetof(train_opts, dry_run), 0, NULL, 0, 0, NULL, "check everything, print the plan, train nothing"},
    {"diag", ADZE_F_STR, 0, offsetof(train_opts, diag), sizeof(((train_opts *)0)->diag), "", 0, 0, NULL,
     "probes that look on, such as dead,stats,gradflow; their lines go to diag.jsonl, and warnings to stderr"},
    {"diag_every", ADZE_F_I64, 0, offsetof(train_opts, diag_every), 0, "100", 1, 1e12, NULL, "steps between two looks of --diag"},
    {0}};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    t[1] = (cli_table){adze_train_fields(), NULL, "training"};
    return 2;
}

typedef struct job {
    cli *c;
    cli_progress progress;
    cli_rundir run;
    cli_profile profile;
    cli_watch watch;
    double step_began; /* while the profile watches */
    char trace[512];   /* its file; "": no profile */
    cli_run_opts ro;
    adze_train_opts o;
    adze_model *model;
    adze_dataset *data;
    adze_trainer *trainer;
    bool maxnorm_report;
    char maxnorm[320]; /* its part of the result */
    int status;        /* of a callback that failed, */
    char why[2048];    /* and its sentence */
} job;

/* A signal handler can reach the trainer only through a global; the command runs one training. */
static adze_trainer *volatile signal_trainer;

static volatile sig_atomic_t signal_bar;       /* a line is being redrawn on stderr */
static volatile sig_atomic_t keyboard_ignored; /* SIGINT was, at the start */

static void on_save(int sig) {
    (void)sig;
    adze_trainer_request_save(signal_trainer);
}

static void on_stop(int sig) {
    static const char note[] = "\r\033[Kstopping after this step (press again to abort without saving)\n";
    enum { CLEAR = 4 }; /* bytes that wipe the line of a bar and of the terminal's own ^C; nothing to wipe in a log */
    const char *text = signal_bar ? note : note + CLEAR;
    const int error = errno;
    if (write(STDERR_FILENO, text, strlen(text)) < 0) {
        /* nobody is listening: stop all the same */
    }
    adze_trainer_request_stop(signal_trainer);
    signal(SIGHUP, SIG_IGN); /* these two come again and again, and must not cut the save short; the others end the process the next time */
    signal(SIGXCPU, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    if (!keyboard_ignored) {
        signal(SIGINT, SIG_DFL);
    }
    (void)sig;
    errno = error;
}

/* SIGHUP: the terminal went; SIGXCPU: the time that a batch system grants is nearly over. nohup stays in force. */
static void set_signals(bool on) {
    static const int stops[] = {SIGINT, SIGTERM, SIGHUP, SIGXCPU};
    for (size_t i = 0; i < ADZE_COUNT(stops); i++) {
        if (signal(stops[i], on ? on_stop : SIG_DFL) == SIG_IGN) {
            signal(stops[i], SIG_IGN);
            keyboard_ignored = keyboard_ignored || (on && stops[i] == SIGINT);
        }
    }
    if (signal(SIGUSR1, on ? on_save : SIG_IGN) == SIG_IGN) { /* one that comes too late must not cost the model */
        signal(SIGUSR1, SIG_IGN);
    }
}

/* The first update finds memory cold and is not taken; those after it are, until there are enough to read. */
enum { PROFILED_UPDATES = 20 };

static int take_profile(job *j, adze_trainer *t, bool last) {
    const double now = adze_now();
    cli_profile *p = &j->profile;
    adze_steps *s = &t->steps;
    if (p->nparts == 0) {
        TRY(cli_profile_watch(p, "grad", s->grad[0].plan, s->grad[0].session));
        if (s->update[ADZE_UPDATE_OBSERVE].plan != NULL) {
            TRY(cli_profile_watch(p, "gather", s->update[ADZE_UPDATE_OBSERVE].plan, s->update[ADZE_UPDATE_OBSERVE].session));
        }
        TRY(cli_profile_watch(p, "update", s->update[ADZE_UPDATE_STEP].plan, s->update[ADZE_UPDATE_STEP].session));
    } else if (!last) { /* the last update of an epoch may have run the plan of a smaller batch */
        TRY(cli_profile_take(p, j->step_began, now));
    }
    j->step_began = adze_now();
    return ADZE_OK;
}

/* Saving the checkpoint may overwrite the sentence of a callback that failed. */
static int keep_fault(job *j, int status) {
    if (status != ADZE_OK && j->status == ADZE_OK) {
        j->status = status;
        snprintf(j->why, sizeof(j->why), "%s", adze_errmsg(j->c->ctx));
    }
    return j->status;
}

static int end_profile(job *j) {
    adze_text t = {.ctx = j->c->ctx};
    TRY(cli_profile_save(&j->profile, j->trace));
    int status = cli_profile_table(&j->profile, true, 30, &t);
    char *s = NULL;
    status = status == ADZE_OK ? adze_text_finish(&t, &s) : status;
    if (status == ADZE_OK) {
        fputs(s, stderr);
    }
    adze_free(j->c->ctx, s);
    return status;
}

static int on_step(void *user, adze_trainer *t, int64_t step, int64_t steps, double loss, double lr) {
    job *j = user; /* step counts from the start of the training, people from the start of the epoch */
    if (j->trace[0] && j->profile.runs < PROFILED_UPDATES && j->status == ADZE_OK) {
        keep_fault(j, take_profile(j, t, step % steps == 0));
    }
    if (j->status == ADZE_OK) {
        keep_fault(j, cli_watch_step(&j->watch, step, &j->run, &j->progress));
    }
    cli_progress_step(&j->progress, (step - 1) / steps + 1, (step - 1) % steps + 1, steps, j->o.batch * j->o.accumulate, loss, lr);
    return j->status;
}

static int on_epoch(void *user, adze_trainer *t, const adze_epoch_stats *s) {
    (void)t;
    job *j = user;
    cli_progress_epoch(&j->progress, s);
    return keep_fault(j, cli_rundir_epoch(&j->run, s));
}

static void introduce(job *j) {
    char a[48], b[32];
    const adze_type *e = &j->data->example;
    cli_progress *p = &j->progress;
    const int64_t pad = adze_model_preprocess(j->trainer->model)->pad;
    a[0] = 0;
    if (pad > 0) {
        snprintf(a, sizeof(a), ", in a border of %lld", (long long)pad);
    }
    cli_progress_say(p, "data   %s  %lld examples, %lldx%lldx%lld%s, %d classes", j->data->name, (long long)j->data->count, (long long)e->dims[0],
                     (long long)(e->rank > 1 ? e->dims[1] : 1), (long long)(e->rank > 2 ? e->dims[2] : 1), a, j->data->classes);
    cli_progress_say(p, "model  %s  %lld params (%s)  memory %s at batch %lld", adze_model_name(j->model), (long long)adze_model_params(j->model),
                     cli_bytes(a, sizeof(a), 4.0 * (double)adze_model_params(j->model)),
                     cli_bytes(b, sizeof(b), (double)adze_trainer_memory(j->trainer)), (long long)j->o.batch);
    const adze_plan_info info = adze_plan_describe(j->trainer->steps.grad[0].plan);
    if (info.recomputed_steps > 0) {
        cli_progress_say(p, "memory %lld steps are computed twice, %.0f %% more operations: values take %s, as the limit asks",
                         (long long)info.recomputed_steps, 100 * info.recomputed_flops / (info.flops - info.recomputed_flops),
                         cli_bytes(a, sizeof(a), (double)info.arena_bytes));
    }
    cli_progress_say(p, "run    %s  seed %llu  %d threads  %s", j->run.path, (unsigned long long)j->o.seed, adze_ctx_threads(j->c->ctx),
                     adze_ctx_isa(j->c->ctx));
}

/* What a dry run found out, for programs. */
static int plan_json(job *j) {
    const adze_plan_info info = adze_plan_describe(j->trainer->steps.grad[0].plan);
    adze_text t = {.ctx = j->c->ctx};
    adze_text_add(&t, "{\"schema\":1,\"dry_run\":true,\"model\":");
    adze_json_string(&t, adze_model_name(j->model));
    adze_text_add(&t, ",\"params\":%lld,\"data\":", (long long)adze_model_params(j->model));
    adze_json_string(&t, j->data->name);
    adze_text_add(&t, ",\"examples\":%lld,\"classes\":%d,\"batch\":%lld,\"memory_bytes\":%lld,\"arena_bytes\":%lld,\"steps\":%lld,\"flops\":%.0f,",
                  (long long)j->data->count, j->data->classes, (long long)j->o.batch, (long long)adze_trainer_memory(j->trainer),
                  (long long)info.arena_bytes, (long long)info.nsteps, info.flops);
    adze_text_add(&t, "\"recomputed_steps\":%lld,\"recomputed_flops\":%.0f}\n", (long long)info.recomputed_steps, info.recomputed_flops);
    return cli_print_text(j->c, &t);
}

/* The trained net as one file that `adze predict` needs nothing else for. */
static int save_model(job *j) {
    char path[1024];
    TRY(cli_rundir_file(&j->run, "model.safetensors", path, sizeof(path)));
    return adze_trainer_save_model(j->trainer, path);
}

static void result_json(job *j, adze_text *t, adze_stop why, int status, double seconds, const adze_epoch_stats *best) {
    const adze_epoch_stats *last = j->run.n ? &j->run.history[j->run.n - 1] : NULL;
    char a[32], b[32];
    adze_text_add(t, "{\"schema\":1,\"status\":\"%s\",\"stopped\":\"%s\",\"seconds\":%.1f,\"run\":", adze_status_name(status), adze_stop_name(why),
                  seconds);
    adze_json_string(t, j->run.path);
    if (last) {
        adze_text_add(t, ",\"epochs\":%lld,\"steps\":%lld,\"loss\":%.9g,\"val_acc\":%s,\"val_loss\":%s", (long long)last->epoch + 1,
                      (long long)last->step, last->loss, cli_json_number(a, sizeof(a), last->val_acc), cli_json_number(b, sizeof(b), last->val_loss));
    }
    if (last && isfinite(last->error)) {
        adze_text_add(t, ",\"error\":%.17g,\"val_error\":%s", last->error, cli_json_number(a, sizeof(a), last->val_error));
    }
    if (best) {
        adze_text_add(t, ",\"best_epoch\":%lld", (long long)best->epoch + 1);
        adze_text_add(t, isfinite(best->val_acc) ? ",\"best_val_acc\":%.6f" : ",\"best_val_loss\":%.9g",
                      isfinite(best->val_acc) ? best->val_acc : best->val_loss);
    }
    adze_text_add(t, "%s}\n", j->maxnorm);
}

static int save_result(job *j, adze_stop why, int status, double seconds) {
    const adze_epoch_stats *best = NULL;
    for (int64_t i = 0; i < j->run.n; i++) {
        const adze_epoch_stats *e = &j->run.history[i];
        best = e->best && (isfinite(e->val_acc) || isfinite(e->val_loss)) ? e : best;
    }
    adze_text t = {.ctx = j->c->ctx};
    result_json(j, &t, why, status, seconds, best);
    char *s;
    TRY(adze_text_finish(&t, &s));
    int saved = cli_rundir_write(&j->run, "result.json", s);
    if (j->c->silent) {
        adze_free(j->c->ctx, s);
        return saved;
    }
    if (saved == ADZE_OK && j->c->global.json) {
        fputs(s, stdout);
    } else if (saved == ADZE_OK && status == ADZE_OK && best && !isfinite(best->val_acc)) {
        printf("best validation loss %.6g at epoch %lld; model saved as %s/model.safetensors\n", best->val_loss, (long long)best->epoch + 1,
               j->run.path);
    } else if (saved == ADZE_OK && status == ADZE_OK && best) {
        printf("best validation accuracy %.2f %% at epoch %lld; model saved as %s/model.safetensors\n", 100 * best->val_acc,
               (long long)best->epoch + 1, j->run.path);
    } else if (saved == ADZE_OK && status == ADZE_OK) {
        printf("last weights saved as %s/model.safetensors\n", j->run.path);
    }
    adze_free(j->c->ctx, s);
    return saved == ADZE_OK ? cli_finish_output(j->c) : saved;
}

/* What the command line changed (more epochs, say) is written down, so that the next --resume needs no other flag either. */
static int resume_run(job *j, const char *ckpt) {
    int64_t *steps = NULL, saved = 0;
    TRY(adze_ckpt_steps(j->c->ctx, ckpt, &steps, &saved));
    adze_free(j->c->ctx, steps);
    if (saved > 0) {
        TRY(adze_trainer_resume(j->trainer));
    } else { /* it ended before its first checkpoint */
        cli_progress_say(&j->progress, "resume nothing was saved yet: from the beginning");
    }
    const adze_epoch_stats *stats;
    int64_t n = adze_trainer_history(j->trainer, &stats);
    TRY(cli_rundir_restore(&j->run, stats, n));
    return cli_rundir_config_save(&j->run, &j->ro, &j->o);
}

static int train(job *j, bool resume) {
    char ckpt[1024];
    TRY(cli_rundir_file(&j->run, "ckpt", ckpt, sizeof(ckpt)));
    adze_callbacks cb = {.user = j, .step_end = on_step, .epoch_end = on_epoch};
    cli_progress_start(&j->progress, j->c, j->o.epochs);
    TRY(adze_trainer_new(j->c->ctx, j->model, j->data, &j->o, ckpt, &cb, &j->trainer));
    j->c->told = false;
    if (resume) {
        TRY(resume_run(j, ckpt));
    }
    introduce(j);
    TRY(cli_watch_start(&j->watch, j->c, j->trainer, &j->run, &j->progress));
    signal_trainer = j->trainer;
    signal_bar = j->progress.mode == CLI_PROGRESS_BAR;
    set_signals(true);
    adze_stop why = ADZE_STOP_NONE;
    double start = adze_now();
    int status = adze_trainer_run(j->trainer, &why);
    set_signals(false);
    cli_progress_end(&j->progress);
    if (j->trace[0] && j->status == ADZE_OK) {
        keep_fault(j, end_profile(j));
    }
    if (j->status != ADZE_OK) {
        const char *last = adze_trainer_last_checkpoint(j->trainer);
        return adze_fail(j->c->ctx, j->status, "%s%s%s", j->why, *last ? "; the training was saved as " : "", last);
    }
    if (status == ADZE_ESTOPPED) {
        TRY(save_result(j, why, status, adze_now() - start));
        return adze_fail(j->c->ctx, ADZE_ESTOPPED, "interrupted; saved %s -> go on with: adze train --resume %s",
                         adze_trainer_last_checkpoint(j->trainer), j->run.path);
    }
    if (status != ADZE_OK) {
        char message[2048];
        snprintf(message, sizeof(message), "%s", adze_errmsg(j->c->ctx));
        save_result(j, why, status, adze_now() - start);
        return adze_fail(j->c->ctx, status, "%s", message);
    }
    if (why == ADZE_STOP_PATIENCE) {
        cli_progress_say(&j->progress, "stopped early: no improvement in %lld validations", (long long)j->o.patience);
    }
    TRY(save_model(j));
    if (j->maxnorm_report) {
        TRY(cli_maxnorm_report(j->c, j->trainer, &j->run, &j->progress, j->maxnorm, sizeof(j->maxnorm)));
    }
    return save_result(j, why, status, adze_now() - start);
}

/* A folder is remembered by its full path: a resume may begin somewhere else. */
static int find_data(job *j) {
    const char *name, *doc;
    for (int i = 0; adze_dataset_known(i, &name, &doc) == ADZE_OK; i++) {
        if (strcmp(name, j->ro.data) == 0) {
            return ADZE_OK;
        }
    }
    adze_err_clear(j->c->ctx);
    char *full = realpath(j->ro.data, NULL);
    const bool fits = !full || strlen(full) < sizeof(j->ro.data);
    if (full && fits) {
        snprintf(j->ro.data, sizeof(j->ro.data), "%s", full);
    }
    free(full);
    return fits ? ADZE_OK
                : adze_fail(j->c->ctx, ADZE_EARG, "--data: the full path of '%s' is longer than %zu bytes", j->ro.data, sizeof(j->ro.data) - 1);
}

static int start(job *j, const train_opts *t) {
    adze_store *s = NULL;
    bool resume = t->resume[0] != 0;
    if (t->maxnorm_report && j->o.maxnorm <= 0 && !strstr(j->o.groups, "maxnorm=")) {
        return cli_usage_error(j->c, "--maxnorm-report needs a bound to report on: --maxnorm C, or maxnorm=C in --groups");
    }
    char model[1024];
    snprintf(model, sizeof(model), "%s", j->ro.model);
    if (resume) {
        TRY(cli_rundir_file(&j->run, "model.yaml", model, sizeof(model)));
    }
    int status = cli_load_model(j->c, model, &j->model, &s);
    adze_store_free(s);
    if (status != ADZE_OK) {
        return status;
    }
    snprintf(j->watch.what, sizeof(j->watch.what), "%s", j->ro.diag);
    j->watch.every = j->ro.diag_every;
    TRY(cli_watch_check(j->c, &j->watch));
    if (j->trace[0]) { /* a file that cannot be written is told before the training, not after it */
        TRY(cli_profile_save(&j->profile, j->trace));
    }
    TRY(find_data(j));
    TRY(adze_dataset_open(j->c->ctx, j->ro.data, "train", &j->data));
    if (t->dry_run) {
        adze_callbacks none = {0};
        cli_progress_start(&j->progress, j->c, j->o.epochs);
        snprintf(j->run.path, sizeof(j->run.path), "(dry run)");
        TRY(adze_trainer_new(j->c->ctx, j->model, j->data, &j->o, NULL, &none, &j->trainer));
        introduce(j);
        return j->c->global.json ? plan_json(j) : ADZE_OK;
    }
    if (!resume) { /* what a trainer refuses is told before a folder is made */
        adze_callbacks none = {0};
        TRY(adze_trainer_new(j->c->ctx, j->model, j->data, &j->o, NULL, &none, &j->trainer));
        adze_trainer_free(j->trainer);
        j->trainer = NULL;
        j->c->told = true;
        TRY(cli_rundir_create(&j->run, j->c, t->out, adze_model_name(j->model)));
        char *yaml;
        TRY(adze_model_to_yaml(j->model, &yaml));
        status = cli_rundir_write(&j->run, "model.yaml", yaml);
        adze_text_free(j->c->ctx, yaml);
        TRY(status);
        TRY(cli_rundir_env(&j->run, j->data));
        TRY(cli_rundir_config_save(&j->run, &j->ro, &j->o)); /* last: a folder with a config can be resumed */
    }
    return train(j, resume);
}

/* The folder holds model and data already: another one beside --resume is a mistake, not a wish to pass over. */
static int check_resume(cli *c, const cli_args *a) {
    if (a->nwords > 0) {
        return cli_usage_error(c, "--resume takes the model from the run's folder; leave '%s' out", a->words[0]);
    }
    static const char *const fixed[] = {"data", "out", "recipe"};
    for (size_t i = 0; i < ADZE_COUNT(fixed); i++) {
        if (cli_given(a, 0, fixed[i])) {
            return cli_usage_error(c, "--resume takes everything from the run's folder; leave --%s out", fixed[i]);
        }
    }
    return ADZE_OK;
}

/* With --resume, the folder's config.yaml gives every option that the command line (more epochs, say) does not. */
static int load_config(job *j, const train_opts *t, const cli_args *a) {
    TRY(check_resume(j->c, a));
    TRY(cli_rundir_open(&j->run, j->c, t->resume));
    const adze_train_opts given = j->o;
    TRY(adze_fields_default(CLI_RUN_FIELDS, &j->ro));
    TRY(adze_fields_default(adze_train_fields(), &j->o));
    TRY(cli_rundir_config_load(&j->run, &j->ro, &j->o));
    TRY(cli_put_given(j->c, a, 1, &given, &j->o));
    if (cli_given(a, 0, "diag")) {
        memcpy(j->ro.diag, t->diag, sizeof(j->ro.diag));
    }
    j->ro.diag_every = cli_given(a, 0, "diag_every") ? t->diag_every : j->ro.diag_every;
    return ADZE_OK;
}

static int run(cli *c, int argc, const char **argv) {
    train_opts t;
    job j = {.c = c, .profile = {.c = c}};
    cli_args a = {.tables = {{FIELDS, &t, NULL}, {adze_train_fields(), &j.o, "training"}}, .ntables = 2};
    int status = cli_parse(c, &a, argc, argv, 0, 1);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
        cli_args_free(c, &a);
        return cli_finish_output(c);
    }
    if (status == ADZE_OK && t.resume[0]) {
        status = load_config(&j, &t, &a);
    } else if (status == ADZE_OK && a.nwords == 0) {
        status = cli_usage_error(c, "usage: adze %s", c->cmd->usage);
    } else if (status == ADZE_OK && strlen(a.words[0]) >= sizeof(j.ro.model)) {
        status = cli_usage_error(c, "the model's name is %zu bytes long; at most %zu are allowed", strlen(a.words[0]), sizeof(j.ro.model) - 1);
    } else if (status == ADZE_OK) {
        status = cli_recipe_apply(c, &a, 1, t.recipe, &j.o);
        snprintf(j.ro.model, sizeof(j.ro.model), "%s", a.words[0]);
        memcpy(j.ro.data, t.data, sizeof(j.ro.data));
        memcpy(j.ro.diag, t.diag, sizeof(j.ro.diag));
        j.ro.diag_every = t.diag_every;
        j.ro.reproducible = c->global.reproducible;
        memcpy(j.ro.mem_limit, c->global.mem_limit, sizeof(j.ro.mem_limit));
        snprintf(j.ro.isa, sizeof(j.ro.isa), "%s", c->global.reproducible ? "" : adze_ctx_isa(c->ctx));
    }
    if (status == ADZE_OK) {
        memcpy(j.trace, t.profile, sizeof(j.trace));
        j.maxnorm_report = t.maxnorm_report;
        status = start(&j, &t);
    }
    cli_profile_free(&j.profile);
    cli_watch_free(&j.watch);
    adze_trainer_free(j.trainer);
    adze_dataset_close(j.data);
    adze_model_free(j.model);
    cli_rundir_close(&j.run);
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_TRAIN = {"train",
                           "train a model; everything about the run lands in one folder",
                           "train MODEL [options]",
                           "  adze train lenet5-caffe --data fashion-mnist --epochs 10\n  adze train net.yaml lr=0.01 batch=64\n"
                           "  adze train --resume runs/lenet5-caffe-001\n",
                           tables,
                           run};
