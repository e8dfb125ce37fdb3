/* adze ensemble: several trained models answer as one, beside each of them and, on request, beside a model that is no member. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>

static const char *const MEANS[] = {"prob", "logit", "vote", NULL};

typedef struct ensemble_opts {
    char data[512], part[16], against[512];
    int64_t batch;
    int32_t mean;
    char weights[512];
} ensemble_opts;
static const adze_field FIELDS[] = {
    {"data", ADZE_F_STR, 0, offsetof(ensemble_opts, data), sizeof(((ensemble_opts *)0)->data), "", 0, 0, NULL,
     "data set: a name or a folder (default: the one that the first model was trained on)"},
    {"part", ADZE_F_STR, 0, offsetof(ensemble_opts, part), sizeof(((ensemble_opts *)0)->part), "test", 0, 0, NULL, "test or train"},
    {"mean", ADZE_F_ENUM, 0, offsetof(ensemble_opts, mean), 0, "prob", 0, 0, MEANS,
     "of probabilities, of logits, or votes (ties: larger mean probability, then the first class)"},
    {"weights", ADZE_F_STR, 0, offsetof(ensemble_opts, weights), sizeof(((ensemble_opts *)0)->weights), "", 0, 0, NULL,
     "a weight for each model, as in 2,1,1 (default: equal)"},
    {"against", ADZE_F_STR, 0, offsetof(ensemble_opts, against), sizeof(((ensemble_opts *)0)->against), "", 0, 0, NULL,
     "a model that is no member, to compare with"},
    {"batch", ADZE_F_I64, 0, offsetof(ensemble_opts, batch), 0, "250", 1, 65536, NULL, "examples at a time; never changes a result"},
    {0}};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    return 1;
}

typedef struct job {
    cli *c;
    const ensemble_opts *o;
    const char **files;
    int n; /* members; the model that is none has this index */
    double *weights;
    adze_dataset *data;
    adze_ensemble *e;
    adze_ensemble_report r;
    adze_versus best, against;
} job;

static int parse_weights(job *j) {
    const char *p = j->o->weights;
    for (int i = 0; i < j->n; i++) {
        char *end = NULL;
        j->weights[i] = j->o->weights[0] ? strtod(p, &end) : 1;
        if (!j->o->weights[0]) {
            continue;
        }
        if (end == p || !(j->weights[i] >= 0) || *end != (i + 1 < j->n ? ',' : 0)) {
            return cli_usage_error(j->c, "--weights: '%s' is not %d numbers from 0 up, with commas between", j->o->weights, j->n);
        }
        p = end + 1;
    }
    return ADZE_OK;
}

/* -- text ---------------------------------------------------------------------------------------------------------------------------------------- */

static void row(adze_text *t, const adze_score *s, const char *name) {
    char nll[16];
    snprintf(nll, sizeof(nll), isfinite(s->nll) ? "%.4f" : "-", s->nll);
    adze_text_add(t, "%7.4f %8.2f %8s %8.4f %8.4f  %s\n", s->weight, 100 * s->error, nll, s->ece, s->brier, name);
}

/* The end of a path is what tells files apart. */
static const char *tail(const char *path) {
    enum { ROOM = 34 };
    const size_t n = strlen(path);
    const char *cut = n > ROOM ? strchr(path + n - ROOM, '/') : NULL;
    return n <= ROOM ? path : cut ? cut + 1 : path + n - ROOM;
}

static void versus(adze_text *t, const char *what, const adze_versus *v) {
    adze_text_add(t, "against %s:\n  %+.2f points of accuracy, 95 %% [%+.2f, %+.2f], McNemar's p %.2g\n", what, 100 * v->gain, 100 * v->lo,
                  100 * v->hi, v->p);
}

static int print_report(job *j) {
    adze_text t = {.ctx = j->c->ctx};
    const adze_ensemble_report *r = &j->r;
    adze_text_add(&t, "%s, %s part, %lld examples\n%7s %8s %8s %8s %8s\n", j->data->name, j->o->part, (long long)r->count, "weight", "error %", "nll",
                  "ece", "brier");
    for (int i = 0; i < r->nmembers; i++) {
        row(&t, &r->members[i], tail(j->files[i]));
    }
    char name[64];
    row(&t, &r->mean, "mean of the members");
    snprintf(name, sizeof(name), "ensemble (%s)", MEANS[j->o->mean]);
    row(&t, &r->whole, name);
    if (isfinite(r->mean_disagreement)) {
        adze_text_add(&t, "two members disagree on %.2f %% of the examples\n", 100 * r->mean_disagreement);
    }
    versus(&t, "its best member", &j->best);
    if (j->o->against[0]) {
        versus(&t, tail(j->o->against), &j->against);
    }
    return cli_print_text(j->c, &t);
}

/* -- JSON ---------------------------------------------------------------------------------------------------------------------------------------- */

static void number(adze_text *t, const char *name, double v) {
    char text[32];
    adze_text_add(t, "\"%s\":%s", name, cli_json_number(text, sizeof(text), v));
}

static void score_json(adze_text *t, const adze_score *s) {
    number(t, "weight", s->weight);
    adze_text_add(t, ",");
    number(t, "error", s->error);
    adze_text_add(t, ",");
    number(t, "accuracy", 1 - s->error);
    adze_text_add(t, ",");
    number(t, "nll", s->nll);
    adze_text_add(t, ",");
    number(t, "ece", s->ece);
    adze_text_add(t, ",");
    number(t, "brier", s->brier);
}

static void versus_json(adze_text *t, const char *name, const char *file, const adze_versus *v) {
    char a[32], b[32];
    adze_text_add(t, ",\"%s\":{\"file\":", name);
    adze_json_string(t, file);
    adze_text_add(t, ",");
    number(t, "gain", v->gain);
    adze_text_add(t, ",\"bootstrap95\":[%s,%s],", cli_json_number(a, sizeof(a), v->lo), cli_json_number(b, sizeof(b), v->hi));
    number(t, "p_mcnemar", v->p);
    adze_text_add(t, "}");
}

static int print_json(job *j) {
    adze_text t = {.ctx = j->c->ctx};
    const adze_ensemble_report *r = &j->r;
    adze_text_add(&t, "{\"schema\":1,\"mean\":\"%s\",\"data\":", MEANS[j->o->mean]);
    adze_json_string(&t, j->data->name);
    adze_text_add(&t, ",\"part\":\"%s\",\"examples\":%lld,\"members\":[", j->o->part, (long long)r->count);
    for (int i = 0; i < r->nmembers; i++) {
        adze_text_add(&t, "%s{\"file\":", i ? "," : "");
        adze_json_string(&t, j->files[i]);
        adze_text_add(&t, ",");
        score_json(&t, &r->members[i]);
        adze_text_add(&t, "}");
    }
    adze_text_add(&t, "],\"mean_member\":{");
    score_json(&t, &r->mean);
    adze_text_add(&t, "},\"ensemble\":{");
    score_json(&t, &r->whole);
    adze_text_add(&t, "},");
    number(&t, "disagreement", r->mean_disagreement);
    adze_text_add(&t, ",\"pairs\":[");
    for (int i = 0; i < r->nmembers * r->nmembers; i++) {
        char text[32];
        adze_text_add(&t, "%s%s%s",
                      i % r->nmembers ? ","
                      : i             ? "],["
                                      : "[",
                      cli_json_number(text, sizeof(text), r->disagreement[i]), i + 1 == r->nmembers * r->nmembers ? "]" : "");
    }
    adze_text_add(&t, "],\"best_member\":%d", r->best);
    versus_json(&t, "against_best", j->files[r->best], &j->best);
    if (j->o->against[0]) {
        versus_json(&t, "against", j->o->against, &j->against);
    }
    adze_text_add(&t, "}\n");
    return cli_print_text(j->c, &t);
}

/* -- the command --------------------------------------------------------------------------------------------------------------------------------- */

static int load_all(job *j) {
    TRY(adze_ensemble_new(j->c->ctx, (adze_ensemble_mean)j->o->mean, &j->e));
    for (int i = 0; i < j->n; i++) {
        TRY(adze_ensemble_load(j->e, j->files[i], j->weights[i]));
    }
    return j->o->against[0] ? adze_ensemble_load(j->e, j->o->against, 0) : ADZE_OK;
}

static int judge(job *j) {
    char data[512];
    TRY(parse_weights(j));
    TRY(load_all(j));
    TRY(cli_data_of(j->c, j->o->data, j->files[0], data, sizeof(data)));
    TRY(adze_dataset_open(j->c->ctx, data, j->o->part, &j->data));
    TRY(adze_ensemble_evaluate(j->e, j->data, j->o->batch, &j->r));
    TRY(adze_ensemble_versus(j->c->ctx, &j->r, j->r.best, &j->best));
    if (j->o->against[0]) {
        TRY(adze_ensemble_versus(j->c->ctx, &j->r, j->n, &j->against));
    }
    return j->c->global.json ? print_json(j) : print_report(j);
}

static int ensemble(cli *c, const ensemble_opts *o, const char **files, int n) {
    job j = {.c = c, .o = o, .n = n, .weights = adze_alloc(c->ctx, n, sizeof(double)), .files = adze_alloc(c->ctx, n + 1, sizeof(*files))};
    int status = j.weights && j.files ? ADZE_OK : ADZE_ENOMEM;
    if (status == ADZE_OK) {
        memcpy(j.files, files, (size_t)n * sizeof(*files));
        j.files[n] = o->against;
        status = judge(&j);
    }
    adze_ensemble_report_free(c->ctx, &j.r);
    adze_ensemble_free(j.e);
    adze_dataset_close(j.data);
    adze_free(c->ctx, j.weights);
    adze_free(c->ctx, (void *)j.files);
    return status;
}

static int run(cli *c, int argc, const char **argv) {
    ensemble_opts o;
    cli_args a = {.tables = {{FIELDS, &o, NULL}}, .ntables = 1};
    int status = cli_parse(c, &a, argc, argv, 1, -1);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK && strcmp(o.part, "test") != 0 && strcmp(o.part, "train") != 0) {
        status = cli_usage_error(c, "--part is 'test' or 'train', not '%s'", o.part);
    } else if (status == ADZE_OK) {
        status = ensemble(c, &o, a.words, a.nwords);
    }
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_ENSEMBLE = {"ensemble",
                              "several models answer as one, beside each of them",
                              "ensemble A.safetensors B.safetensors ... [options]",
                              "  adze ensemble runs/mlp-00*/model.safetensors\n"
                              "  adze ensemble runs/a/ckpt/snapshot-* --against runs/b/model.safetensors\n"
                              "  adze ensemble a.safetensors b.safetensors --mean vote --json\n",
                              tables,
                              run};
