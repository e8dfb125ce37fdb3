/* adze diag and adze demo: probes of a network, demonstrations on problems whose answer is known. */
#include "cli/findings.h"
#include "cli/rundir.h"

typedef struct diag_opts {
    char data[512], part[16], plot[512];
    int64_t examples;
} diag_opts;
static const adze_field FIELDS[] = {
    {"data", ADZE_F_STR, 0, offsetof(diag_opts, data), sizeof(((diag_opts *)0)->data), "", 0, 0, NULL,
     "data set: a name or a folder; empty: a run folder's own, else made-up normal numbers"},
    {"part", ADZE_F_STR, 0, offsetof(diag_opts, part), sizeof(((diag_opts *)0)->part), "train", 0, 0, NULL, "train or test"},
    {"examples", ADZE_F_I64, 0, offsetof(diag_opts, examples), 0, "1024", 0, 1e9, NULL,
     "examples that are looked at, drawn by the seed; 0: all. Unless given, most probes look at one --batch; dead, ablation and cond's data at 1024"},
    {"plot", ADZE_F_STR, 0, offsetof(diag_opts, plot), sizeof(((diag_opts *)0)->plot), "", 0, 0, NULL, "draw the findings to this .svg or .png"},
    {0}};

static int diag_tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    t[1] = (cli_table){adze_diag_fields(), NULL, "probes"};
    return 2;
}

typedef struct job {
    cli *c;
    diag_opts o;
    adze_diag_opts d;
    adze_model *model;
    adze_store *store;
    adze_dataset *data;
    const cli_args *args;
    adze_diag_subject s;
} job;

/* A run folder stands for its trained model and its data. */
static int load_model(job *j, const char *name) {
    char config[1024], model[1024];
    cli_rundir run = {.c = j->c};
    snprintf(run.path, sizeof(run.path), "%s", name);
    TRY(cli_rundir_file(&run, "config.yaml", config, sizeof(config)));
    TRY(cli_rundir_file(&run, "model.safetensors", model, sizeof(model)));
    if (adze_path_exists(j->c->ctx, config)) {
        cli_run_opts ro;
        adze_train_opts o;
        TRY(adze_fields_default(CLI_RUN_FIELDS, &ro));
        TRY(adze_fields_default(adze_train_fields(), &o));
        TRY(cli_rundir_config_load(&run, &ro, &o));
        if (!j->o.data[0]) {
            snprintf(j->o.data, sizeof(j->o.data), "%s", ro.data);
        }
        name = model;
    }
    TRY(cli_load_model(j->c, name, &j->model, &j->store));
    j->s.trained = j->store != NULL;
    if (j->store) {
        return ADZE_OK;
    }
    TRY(adze_store_new(j->c->ctx, &j->store));
    return adze_model_init(j->model, j->store, j->d.dtype == 0 ? ADZE_F64 : ADZE_F32, j->d.seed);
}

/* As a training would: the border that the model's input needs, means and deviations of this data. */
static int fit(job *j, const int64_t *ids, int64_t n) {
    adze_preprocess p = *adze_model_preprocess(j->model);
    const adze_type want = adze_model_input_type(j->model, 1, ADZE_F32), have = j->data->example;
    if (want.rank == 4 && have.rank == 3 && want.dims[1] > have.dims[0]) {
        p.pad = (want.dims[1] - have.dims[0]) / 2;
    }
    if (!p.fixed) {
        TRY(adze_preprocess_fit(j->c->ctx, j->data, ids, n, &p));
    }
    adze_model_set_preprocess(j->model, &p);
    return ADZE_OK;
}

static bool by_batch(const char *what) {
    adze_about a;
    unsigned is;
    int i = 0;
    while (adze_diag_at(i, &a, &is) == ADZE_OK && strcmp(a.name, what) != 0) {
        i++;
    }
    return adze_diag_at(i, &a, &is) == ADZE_OK && is & ADZE_PROBE_BY_BATCH;
}

static int load_data(job *j, const char *what) {
    const adze_dtype dtype = j->d.dtype == 0 ? ADZE_F64 : ADZE_F32;
    const bool chosen = cli_given(j->args, 0, "examples"), once = chosen && !by_batch(what);
    int64_t n = chosen || j->o.examples > j->d.batch ? j->o.examples : j->d.batch;
    if (once && cli_given(j->args, 1, "batch") && n != j->d.batch) {
        return cli_usage_error(j->c, "probe '%s' looks at all its examples at once: give --examples or --batch, not both", what);
    }
    if (j->o.data[0]) {
        TRY(adze_dataset_open(j->c->ctx, j->o.data, j->o.part, &j->data));
        n = n == 0 || n > j->data->count ? j->data->count : n;
    }
    n = n > 0 ? n : 1024;
    j->d.batch = once || n < j->d.batch ? n : j->d.batch;
    if (!j->o.data[0]) {
        return cli_made_up(j->c, j->model, n, j->d.seed, dtype, &j->s.x, &j->s.labels);
    }
    int64_t *ids = adze_alloc(j->c->ctx, j->data->count, sizeof(*ids));
    int status = ids ? adze_split_ids(j->c->ctx, j->data->count, 0, j->d.seed, ids) : ADZE_ENOMEM;
    if (status == ADZE_OK && !j->s.trained) {
        status = fit(j, ids, j->data->count);
    }
    if (status == ADZE_OK) {
        status = cli_examples(j->c, j->model, j->data, ids, n, dtype, &j->s.x, &j->s.labels);
    }
    adze_free(j->c->ctx, ids);
    return status;
}

static int judge_fit(job *j, const char *path, adze_findings *f) {
    cli_rundir run;
    int status = cli_rundir_open(&run, j->c, path);
    if (status == ADZE_OK) {
        status = adze_diag_fit(j->c->ctx, run.history, run.n, &j->d, f);
    }
    cli_rundir_close(&run);
    return status;
}

static int look(job *j, const char *what, const char *name, adze_findings *f) {
    if (strcmp(what, "fit") == 0) {
        return name ? judge_fit(j, name, f) : cli_usage_error(j->c, "fit judges a run: adze diag fit runs/NAME-001");
    }
    if (!name) { /* it says itself when it wants a model */
        return adze_diag_run(j->c->ctx, what, NULL, &j->d, f);
    }
    TRY(load_model(j, name));
    TRY(load_data(j, what));
    j->s.model = j->model;
    j->s.store = j->store;
    return adze_diag_run(j->c->ctx, what, &j->s, &j->d, f);
}

static int run_diag(cli *c, int argc, const char **argv) {
    job j = {.c = c};
    adze_findings f = {.ctx = NULL};
    cli_args a = {.tables = {{FIELDS, &j.o, NULL}, {adze_diag_fields(), &j.d, "probes"}}, .ntables = 2};
    int status = cli_parse(c, &a, argc, argv, 1, 2);
    j.args = &a;
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK) {
        status = look(&j, a.words[0], a.nwords > 1 ? a.words[1] : NULL, &f);
        status = status == ADZE_OK ? cli_findings_print(c, &f, j.o.plot) : status;
    }
    adze_findings_free(&f);
    adze_tensor_free(&j.s.x);
    adze_tensor_free(&j.s.labels);
    adze_dataset_close(j.data);
    adze_store_free(j.store);
    adze_model_free(j.model);
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_DIAG = {"diag",
                          "look into a network: gradients, activations, curvature, dead units",
                          "diag WHAT [MODEL | RUN] [options]",
                          "  adze diag gradflow mlp --data fashion-mnist --plot flow.png\n"
                          "  adze diag dead runs/mlp-001 --examples 0\n"
                          "  adze diag fit runs/mlp-001     (adze list probes has the names)\n",
                          diag_tables,
                          run_diag};

/* -- demo ---------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct demo_opts {
    char plot[512];
} demo_opts;
static const adze_field DEMO_FIELDS[] = {
    {"plot", ADZE_F_STR, 0, offsetof(demo_opts, plot), sizeof(((demo_opts *)0)->plot), "", 0, 0, NULL, "draw it to this .svg or .png"}, {0}};

static int demo_tables(cli_table *t) {
    t[0] = (cli_table){DEMO_FIELDS, NULL, NULL};
    t[1] = (cli_table){adze_demo_fields(), NULL, "demonstrations"};
    return 2;
}

static int run_demo(cli *c, int argc, const char **argv) {
    demo_opts o;
    adze_demo_opts d;
    adze_findings f = {.ctx = NULL};
    cli_args a = {.tables = {{DEMO_FIELDS, &o, NULL}, {adze_demo_fields(), &d, "demonstrations"}}, .ntables = 2};
    int status = cli_parse(c, &a, argc, argv, 1, 1);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK) {
        status = adze_demo_run(c->ctx, a.words[0], &d, &f);
        status = status == ADZE_OK ? cli_findings_print(c, &f, o.plot) : status;
    }
    adze_findings_free(&f);
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_DEMO = {"demo",
                          "optimisers and gradients on problems whose answer is known",
                          "demo NAME [options]",
                          "  adze demo valley --kappa 100 --rotate 45 --plot valley.png\n"
                          "  adze demo cliff --clip 0.1 --plot cliff.png\n"
                          "  adze demo saddle --optimizers sgd,adam:lr=0.01   (adze list demos has the names)\n",
                          demo_tables,
                          run_demo};
