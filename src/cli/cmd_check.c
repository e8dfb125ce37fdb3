/* adze check: the gradient of a user's own network against five-point differences in f64, parameter by parameter. */
#include "cli/trainstep.h"

#include <math.h>

typedef struct check_opts {
    int64_t batch, directions;
    uint64_t seed;
    double tolerance, step;
} check_opts;
static const adze_field FIELDS[] = {
    {"batch", ADZE_F_I64, 0, offsetof(check_opts, batch), 0, "4", 1, 4096, NULL, "examples"},
    {"directions", ADZE_F_I64, 0, offsetof(check_opts, directions), 0, "3", 1, 1000, NULL, "random directions tried for each parameter tensor"},
    {"seed", ADZE_F_U64, 0, offsetof(check_opts, seed), 0, "0", 0, 0, NULL, "of weights, data and directions"},
    {"tolerance", ADZE_F_F64, 0, offsetof(check_opts, tolerance), 0, "1e-6", 0, 1, NULL, "largest |difference - gradient| / max(1, |gradient|)"},
    {"step", ADZE_F_F64, 0, offsetof(check_opts, step), 0, "1e-4", 1e-8, 1, NULL, "of the differences; kinks (ReLU, pooling) want a small one"},
    {0}};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    return 1;
}

typedef struct check {
    cli *c;
    const adze_model *m;
    adze_store *store;
    cli_step st;
    adze_plan *plan;
    adze_session *s;
    const check_opts *o;
} check;

/* One forward and backward pass without training's side effects: the step's number stays, so dropout keeps its masks; running statistics are state
 * that the loss of a training step does not read. */
static int loss_at(check *k, adze_tensor w, const double *base, const double *dir, int64_t n, double t, double *loss) {
    double *p = adze_tensor_data(&w);
    for (int64_t i = 0; i < n; i++) {
        p[i] = base[i] + t * dir[i];
    }
    TRY(adze_session_run(k->s));
    adze_tensor out;
    TRY(adze_session_output(k->s, "loss", &out));
    *loss = adze_tensor_get(&out, 0);
    return ADZE_OK;
}

static int directional(check *k, adze_tensor w, const double *base, const double *dir, int64_t n, double *d) {
    double f[4], h = k->o->step;
    const double at[4] = {-2 * h, -h, h, 2 * h};
    for (int i = 0; i < 4; i++) {
        TRY(loss_at(k, w, base, dir, n, at[i], &f[i]));
    }
    *d = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
    return ADZE_OK;
}

/* The worst error of one parameter tensor over the directions (unit length, so that the step means the same for all). */
static int check_param(check *k, int i, double *buffer, double *worst, double *norm) {
    adze_tensor w, g;
    char name[256];
    snprintf(name, sizeof(name), "grad/%s", k->st.names[i]);
    TRY(adze_store_tensor(k->store, adze_store_find(k->store, k->st.names[i]), &w));
    TRY(adze_session_run(k->s));
    TRY(adze_session_output(k->s, name, &g));
    adze_type type = adze_tensor_type(&w);
    int64_t n = adze_type_count(&type);
    double *base = buffer, *grad = buffer + n, *dir = buffer + 2 * n;
    memcpy(base, adze_tensor_data(&w), sizeof(*base) * (size_t)n);
    memcpy(grad, adze_tensor_data(&g), sizeof(*grad) * (size_t)n);
    adze_rng r = adze_rng_make(k->o->seed, adze_hash_str(name));
    *worst = *norm = 0;
    for (int64_t j = 0; j < n; j++) {
        *norm += grad[j] * grad[j];
    }
    *norm = sqrt(*norm);
    int status = ADZE_OK;
    for (int64_t t = 0; t < k->o->directions && status == ADZE_OK; t++) {
        double len = 0, expected = 0, got = 0;
        for (int64_t j = 0; j < n; j++) {
            dir[j] = adze_rng_normal(&r);
            len += dir[j] * dir[j];
        }
        for (int64_t j = 0; j < n; j++) {
            dir[j] /= sqrt(len);
            expected += dir[j] * grad[j];
        }
        status = directional(k, w, base, dir, n, &got);
        double error = fabs(got - expected) / fmax(1, fabs(expected));
        *worst = error > *worst || isnan(error) ? error : *worst;
    }
    memcpy(adze_tensor_data(&w), base, sizeof(*base) * (size_t)n);
    return status;
}

/* What is likely a mistake though its gradient is right. */
static int remark(check *k) {
    char *text;
    TRY(adze_model_remarks(k->m, k->o->batch, &text));
    bool json = k->c->global.json;
    int n = 0;
    printf("%s", json ? ",\"remarks\":[" : "");
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        if (json) {
            adze_text t = {.ctx = k->c->ctx};
            adze_text_add(&t, "%s", n ? "," : "");
            adze_json_string(&t, line);
            TRY(cli_print_text(k->c, &t));
        } else {
            printf("remark: %s\n", line);
        }
        n++;
    }
    printf("%s", json ? "]" : "");
    adze_text_free(k->c->ctx, text);
    return ADZE_OK;
}

static int check_all(check *k) {
    int64_t most = 0;
    for (int i = 0; i < adze_store_count(k->store); i++) {
        adze_type t = adze_store_type(k->store, i);
        most = adze_type_count(&t) > most ? adze_type_count(&t) : most;
    }
    double *buffer = adze_alloc(k->c->ctx, 3 * most, sizeof(*buffer));
    if (!buffer) {
        return ADZE_ENOMEM;
    }
    bool json = k->c->global.json;
    int bad = 0, status = ADZE_OK;
    printf(json ? "{\"schema\":1,\"params\":[" : "%-28s %12s %12s\n", "parameter", "|gradient|", "error");
    for (int i = 0; i < k->st.nparams && status == ADZE_OK; i++) {
        double worst, norm;
        status = check_param(k, i, buffer, &worst, &norm);
        if (status != ADZE_OK) {
            break;
        }
        bool ok = worst <= k->o->tolerance;
        bad += !ok;
        if (json) {
            printf("%s{\"name\":\"%s\",\"norm\":%.6g,\"error\":%.3g,\"ok\":%s}", i ? "," : "", k->st.names[i], norm, worst, ok ? "true" : "false");
        } else {
            printf("%-28s %12.4g %12.2e%s\n", k->st.names[i], norm, worst, ok ? "" : "   WRONG");
        }
    }
    printf("%s", json ? "]" : "");
    status = status == ADZE_OK ? remark(k) : status;
    if (json) {
        printf(",\"wrong\":%d}\n", bad);
    } else if (status == ADZE_OK && !bad) {
        printf("all %d gradients agree with five-point differences within %g\n", k->st.nparams, k->o->tolerance);
    }
    adze_free(k->c->ctx, buffer);
    TRY(status);
    TRY(cli_finish_output(k->c));
    if (bad) {
        return adze_fail(k->c->ctx, ADZE_EDEVICE,
                         "%d of %d gradients are off by more than %g (a kink between the points? try --step 1e-6 or another --seed)", bad,
                         k->st.nparams, k->o->tolerance);
    }
    return ADZE_OK;
}

static int check_model(cli *c, const char *name, const check_opts *o) {
    check k = {.c = c, .o = o};
    adze_model *m;
    adze_store *loaded;
    TRY(cli_load_model(c, name, &m, &loaded));
    adze_store_free(loaded); /* weights of a trained f32 file are not needed: any weights show a wrong gradient */
    k.m = m;
    int status = adze_store_new(c->ctx, &k.store);
    if (status == ADZE_OK) {
        status = adze_model_init(m, k.store, ADZE_F64, o->seed);
    }
    if (status == ADZE_OK) {
        status = cli_step_build(c, m, k.store, o->batch, ADZE_F64, CLI_STEP_GRAD, &k.st);
    }
    adze_compile_opts co = {.size = sizeof(co), .device = "ref"};
    if (status == ADZE_OK) {
        status = adze_compile(k.st.g, &co, &k.plan);
    }
    if (status == ADZE_OK) {
        status = adze_session_new(c->ctx, k.plan, k.store, "", &k.s);
    }
    if (status == ADZE_OK) {
        status = cli_step_fill(k.s, m, o->seed);
    }
    if (status == ADZE_OK) {
        status = check_all(&k);
    }
    adze_session_free(k.s);
    adze_plan_free(k.plan);
    cli_step_free(c, &k.st);
    adze_store_free(k.store);
    adze_model_free(m);
    return status;
}

static int run(cli *c, int argc, const char **argv) {
    check_opts o;
    cli_args a = {.tables = {{FIELDS, &o, NULL}}, .ntables = 1};
    int status = cli_parse(c, &a, argc, argv, 1, 1);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK) {
        status = check_model(c, a.words[0], &o);
    }
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_CHECK = {"check",
                           "gradient check of your own network, parameter by parameter",
                           "check MODEL [options]",
                           "  adze check net.yaml\n  adze check lenet5-caffe --batch 2 --step 1e-6\n  adze check net.yaml --json\n",
                           tables,
                           run};
