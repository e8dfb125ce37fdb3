/* adze fisher: the Fisher matrix of a small model in five ways, how far they are apart, and their largest eigenvalues. */
#include "adze/curvature.h"
#include "cli/cli.h"

#include <math.h>

typedef struct fisher_opts {
    char data[512];
    int32_t kind;
    int64_t examples, samples, top;
    uint64_t seed;
    double lr;
} fisher_opts;

static const char *const KIND_NAMES[] = {"all", "ggn", "exact", "sampled", "empirical", "kfac", NULL};
static const adze_field FIELDS[] = {
    {"data", ADZE_F_STR, 0, offsetof(fisher_opts, data), sizeof(((fisher_opts *)0)->data), "fashion-mnist", 0, 0, NULL,
     "data set: a name or a folder"},
    {"kind", ADZE_F_ENUM, 0, offsetof(fisher_opts, kind), 0, "all", 0, 0, KIND_NAMES, "which matrix; each is compared with ggn"},
    {"examples", ADZE_F_I64, 0, offsetof(fisher_opts, examples), 0, "100", 1, 1e6, NULL, "training examples over which it is the mean"},
    {"samples", ADZE_F_I64, 0, offsetof(fisher_opts, samples), 0, "64", 1, 1e6, NULL, "sampled, kfac: targets drawn for each example, at most"},
    {"top", ADZE_F_I64, 0, offsetof(fisher_opts, top), 0, "5", 1, 100, NULL, "eigenvalues printed"},
    {"step", ADZE_F_F64, 0, offsetof(fisher_opts, lr), 0, "0.01", 0, 1e6, NULL, "rate of the gradient step whose worth is foretold and measured"},
    {0}};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    t[1] = (cli_table){adze_train_fields(), NULL, "training"};
    return 2;
}

typedef struct job {
    cli *c;
    const fisher_opts *o;
    adze_fisher_in in;
    adze_train_opts to;
    int64_t n;
    adze_la_mat truth, other; /* ggn; the one compared */
    adze_text out;
    double slope; /* of sampled's distance over the number of samples, both as logarithms */
} job;

static double norm(adze_la_mat a) {
    double sum = 0;
    for (int64_t i = 0; i < a.rows * a.cols; i++) {
        sum += a.at[i] * a.at[i];
    }
    return sqrt(sum);
}

static double distance(adze_la_mat a, adze_la_mat b) {
    double sum = 0;
    for (int64_t i = 0; i < a.rows * a.cols; i++) {
        sum += (a.at[i] - b.at[i]) * (a.at[i] - b.at[i]);
    }
    return sqrt(sum) / norm(b);
}

static int apply(void *user, const double *x, double *y) {
    const adze_la_mat *a = user;
    for (int64_t i = 0; i < a->rows; i++) {
        double sum = 0;
        for (int64_t k = 0; k < a->cols; k++) {
            sum += a->at[i * a->ld + k] * x[k];
        }
        y[i] = sum;
    }
    return ADZE_OK;
}

static int print_kind(job *j, int kind, adze_la_mat a) {
    const int64_t steps = j->n < 60 + j->o->top ? j->n : 60 + j->o->top, top = j->o->top < steps ? j->o->top : steps;
    double *values = adze_alloc(j->c->ctx, steps, 2 * sizeof *values), trace = 0;
    if (!values) {
        return ADZE_ENOMEM;
    }
    adze_la_ritz ritz = {.steps = steps, .seed = 1, .values = values, .bounds = values + steps};
    const int status = adze_la_lanczos(j->c->ctx, (adze_la_op){j->n, apply, &a}, &ritz);
    for (int64_t i = 0; i < j->n; i++) {
        trace += a.at[i * (a.ld + 1)];
    }
    const double far = distance(a, j->truth);
    const bool json = j->c->global.json;
    adze_text_add(&j->out, json ? "%s{\"kind\":\"%s\",\"norm\":%.17g,\"trace\":%.17g,\"distance\":%.17g,\"top\":[" : "%s%-10s %11.5g %11.5g %11.3e ",
                  json && kind != ADZE_FISHER_GGN && j->o->kind == 0 ? "," : "", adze_fisher_name(kind), norm(a), trace, far);
    for (int64_t i = 0; i < top && status == ADZE_OK; i++) {
        adze_text_add(&j->out, json ? "%s%.17g" : "%s%.5g", i ? json ? "," : " " : "", values[steps - 1 - i]);
    }
    adze_text_add(&j->out, json ? "]}" : "\n");
    adze_free(j->c->ctx, values);
    return status;
}

/* The distance falls as one over the root of the samples. */
static int sampling(job *j) {
    double sx = 0, sy = 0, sxx = 0, sxy = 0, count = 0;
    const int64_t most = j->in.samples;
    const bool json = j->c->global.json;
    adze_text_add(&j->out, json ? ",\"sampling\":[" : "\nsamples    distance\n");
    for (int64_t k = 1; k <= most; k *= 4) {
        j->in.samples = k;
        TRY(adze_fisher(j->c->ctx, &j->in, ADZE_FISHER_SAMPLED, j->other));
        const double d = distance(j->other, j->truth), x = log((double)k), y = log(d);
        sx += x, sy += y, sxx += x * x, sxy += x * y, count++;
        adze_text_add(&j->out, json ? "%s{\"samples\":%lld,\"distance\":%.17g}" : "%s%-10lld %.4e\n", json && k > 1 ? "," : "", (long long)k, d);
    }
    j->in.samples = most;
    j->slope = count > 1 ? (count * sxy - sx * sy) / (count * sxx - sx * sx) : NAN;
    char a[32];
    adze_text_add(&j->out, json ? "],\"sampling_slope\":%s" : "slope %s (1/sqrt: -0.5)\n", cli_json_number(a, sizeof(a), j->slope));
    return ADZE_OK;
}

static int step_worth(job *j) {
    adze_decrease d;
    char a[32], b[32];
    TRY(adze_decrease_along_gradient(j->c->ctx, &j->in, j->o->lr, &d));
    if (j->c->global.json) {
        adze_text_add(&j->out, ",\"step\":{\"lr\":%.17g,\"loss\":%.17g,\"gg\":%.17g,\"ghg\":%.17g,\"predicted\":%.17g,\"first_order\":%.17g,",
                      j->o->lr, d.loss, d.gg, d.ghg, d.predicted, d.first_order);
        adze_text_add(&j->out, "\"actual\":%.17g,\"ratio\":%s,\"critical_lr\":%s}", d.actual, cli_json_number(a, sizeof(a), d.ratio),
                      cli_json_number(b, sizeof(b), d.critical_lr));
    } else {
        adze_text_add(
            &j->out,
            "\na step of %g down the gradient: foretold %.5g (without curvature %.5g), measured %.5g, ratio %.4f; the quadratic rises beyond %.4g\n",
            j->o->lr, d.predicted, d.first_order, d.actual, d.ratio, d.critical_lr);
    }
    return ADZE_OK;
}

static int print_all(job *j) {
    const bool json = j->c->global.json;
    if (json) {
        adze_text_add(&j->out, "{\"schema\":1,\"model\":");
        adze_json_string(&j->out, adze_model_name(j->in.model));
        adze_text_add(&j->out, ",\"params\":%lld,\"examples\":%lld,\"samples\":%lld,\"kinds\":[", (long long)j->n, (long long)j->in.examples,
                      (long long)j->in.samples);
    } else {
        adze_text_add(&j->out, "%-10s %11s %11s %11s largest eigenvalues\n", "kind", "norm", "trace", "from ggn");
    }
    TRY(adze_fisher(j->c->ctx, &j->in, ADZE_FISHER_GGN, j->truth));
    for (int kind = 0; kind < ADZE_FISHER_KINDS; kind++) {
        if (j->o->kind != 0 && j->o->kind != kind + 1) {
            continue;
        }
        if (kind != ADZE_FISHER_GGN) {
            TRY(adze_fisher(j->c->ctx, &j->in, kind, j->other));
        }
        TRY(print_kind(j, kind, kind == ADZE_FISHER_GGN ? j->truth : j->other));
    }
    adze_text_add(&j->out, json ? "]" : "");
    if (j->o->kind == 0 || j->o->kind == ADZE_FISHER_SAMPLED + 1) {
        TRY(sampling(j));
    }
    TRY(step_worth(j));
    adze_text_add(&j->out, json ? "}\n" : "");
    return cli_print_text(j->c, &j->out);
}

/* A model without fitted preprocessing gets that of the examples. */
static int prepare(job *j, adze_model *m, adze_dataset *d, bool trained) {
    adze_preprocess p = *adze_model_preprocess(m);
    int64_t *ids = adze_alloc(j->c->ctx, j->o->examples, sizeof *ids);
    if (!ids) {
        return ADZE_ENOMEM;
    }
    for (int64_t i = 0; i < j->o->examples; i++) {
        ids[i] = i;
    }
    int status = ADZE_OK;
    if (!trained && !p.fixed) {
        status = adze_preprocess_fit(j->c->ctx, d, ids, j->o->examples < d->count ? j->o->examples : d->count, &p);
        if (status == ADZE_OK) {
            adze_model_set_preprocess(m, &p);
        }
    }
    adze_free(j->c->ctx, ids);
    return status;
}

static int with_model(job *j, adze_model *m, adze_store *loaded, adze_dataset *d) {
    adze_store *s = loaded;
    TRY(prepare(j, m, d, loaded != NULL));
    int status = s ? ADZE_OK : adze_store_new(j->c->ctx, &s);
    if (status == ADZE_OK && !loaded) {
        status = adze_model_init(m, s, j->to.dtype == 0 ? ADZE_F32 : ADZE_F64, j->to.seed);
    }
    j->in =
        (adze_fisher_in){.model = m, .store = s, .o = &j->to, .data = d, .examples = j->o->examples, .samples = j->o->samples, .seed = j->to.seed};
    j->n = status == ADZE_OK ? adze_fisher_size(&j->in) : 0;
    if (status == ADZE_OK && j->n > 4000) {
        status = adze_fail(j->c->ctx, ADZE_EARG, "model '%s' has %lld parameters; its Fisher matrix is computed up to 4,000", adze_model_name(m),
                           (long long)j->n);
    }
    double *room = status == ADZE_OK ? adze_alloc(j->c->ctx, j->n * j->n, 2 * sizeof *room) : NULL;
    if (status == ADZE_OK && room) {
        j->truth = adze_la_dense(room, j->n, j->n);
        j->other = adze_la_dense(room + j->n * j->n, j->n, j->n);
        status = print_all(j);
    } else if (status == ADZE_OK) {
        status = ADZE_ENOMEM;
    }
    adze_text_drop(&j->out);
    adze_free(j->c->ctx, room);
    if (!loaded) {
        adze_store_free(s);
    }
    return status;
}

static int run(cli *c, int argc, const char **argv) {
    fisher_opts o;
    job j = {.c = c, .o = &o, .out = {.ctx = c->ctx}};
    cli_args a = {.tables = {{FIELDS, &o, NULL}, {adze_train_fields(), &j.to, "training"}}, .ntables = 2};
    adze_model *m = NULL;
    adze_store *s = NULL;
    adze_dataset *d = NULL;
    int status = cli_parse(c, &a, argc, argv, 1, 1);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
        cli_args_free(c, &a);
        return cli_finish_output(c);
    }
    status = status == ADZE_OK ? cli_load_model(c, a.words[0], &m, &s) : status;
    status = status == ADZE_OK ? adze_dataset_open(c->ctx, o.data, "train", &d) : status;
    status = status == ADZE_OK ? with_model(&j, m, s, d) : status;
    adze_store_free(s);
    adze_dataset_close(d);
    adze_model_free(m);
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_FISHER = {"fisher",
                            "curvature of a small model: Fisher matrices in five ways",
                            "fisher MODEL [options]",
                            "  adze fisher small.yaml --data optdigits --examples 200\n  adze fisher small.yaml --kind kfac --samples 256 --json\n",
                            tables,
                            run};
