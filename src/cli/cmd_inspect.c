/* adze inspect and adze graph: the graph, every pass over it, the steps and their times, as text or for Graphviz. */
#include "cli/profile.h"
#include "cli/trainstep.h"

static const char *const PRECISIONS[] = {"full", "bf16", NULL};
static const char *const WHAT_NAMES[] = {"forward", "grad", "train", NULL};

typedef struct inspect_opts {
    int64_t batch;
    int32_t what, precision;
    bool time;
    char after[16], device[8], out[512], trace[512];
} inspect_opts;
static const adze_field FIELDS[] = {
    {"batch", ADZE_F_I64, 0, offsetof(inspect_opts, batch), 0, "32", 1, 65536, NULL, "batch size"},
    {"what", ADZE_F_ENUM, 0, offsetof(inspect_opts, what), 0, "train", 0, 0, WHAT_NAMES, "which graph"},
    {"after", ADZE_F_STR, 0, offsetof(inspect_opts, after), sizeof(((inspect_opts *)0)->after), "steps", 0, 0, NULL,
     "print after this pass: build, dead, simplify, lower, cast, fuse, kernel, recompute, order, memory, steps"},
    {"precision", ADZE_F_ENUM, 0, offsetof(inspect_opts, precision), 0, "full", 0, 0, PRECISIONS, "bf16: the plan of a mixed training"},
    {"time", ADZE_F_BOOL, 0, offsetof(inspect_opts, time), 0, NULL, 0, 0, NULL, "run it and print the time of every step"},
    {"trace", ADZE_F_STR, 0, offsetof(inspect_opts, trace), sizeof(((inspect_opts *)0)->trace), "", 0, 0, NULL,
     "run it and write the steps' times to this file, for ui.perfetto.dev"},
    {"device", ADZE_F_STR, 0, offsetof(inspect_opts, device), sizeof(((inspect_opts *)0)->device), "cpu", 0, 0, NULL, "cpu or ref"},
    {0}};
static const adze_field GRAPH_FIELDS[] = {
    {"batch", ADZE_F_I64, 0, offsetof(inspect_opts, batch), 0, "1", 1, 65536, NULL, "batch size"},
    {"what", ADZE_F_ENUM, 0, offsetof(inspect_opts, what), 0, "forward", 0, 0, WHAT_NAMES, "which graph"},
    {"out", ADZE_F_STR, 0, offsetof(inspect_opts, out), sizeof(((inspect_opts *)0)->out), "", 0, 0, NULL, "write to this file instead of stdout"},
    {0}};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    return 1;
}

static int graph_tables(cli_table *t) {
    t[0] = (cli_table){GRAPH_FIELDS, NULL, NULL};
    return 1;
}

typedef struct subject {
    adze_model *m;
    adze_store *store;
    cli_step st;
} subject;

static void subject_free(cli *c, subject *s) {
    cli_step_free(c, &s->st);
    adze_store_free(s->store);
    adze_model_free(s->m);
}

static int subject_build(cli *c, const char *name, const inspect_opts *o, subject *s) {
    TRY(cli_load_model(c, name, &s->m, &s->store));
    if (!s->store) {
        TRY(adze_store_new(c->ctx, &s->store));
        TRY(adze_model_init(s->m, s->store, ADZE_F32, 0));
    }
    return cli_step_build(c, s->m, s->store, o->batch, ADZE_F32, o->what, &s->st);
}

typedef struct dump_arg {
    adze_pass wanted;
    adze_text *t;
} dump_arg;

static void keep_dump(void *user, adze_pass after, const char *text) {
    dump_arg *d = user;
    if (after == d->wanted) {
        adze_text_put(d->t, text, strlen(text));
    }
}

enum { WARM_RUNS = 2, TIMED_RUNS = 5 };

static int add_times(cli *c, subject *s, const adze_plan *plan, const inspect_opts *o, adze_text *t) {
    adze_session *session;
    TRY(adze_session_new(c->ctx, plan, s->store, "", &session));
    cli_profile p = {.c = c};
    int status = cli_step_fill(session, s->m, 0);
    for (int i = 0; i < WARM_RUNS && status == ADZE_OK; i++) {
        status = adze_session_run(session);
    }
    if (status == ADZE_OK) {
        status = cli_profile_watch(&p, WHAT_NAMES[o->what], plan, session);
    }
    for (int i = 0; i < TIMED_RUNS && status == ADZE_OK; i++) {
        const double from = adze_now();
        status = adze_session_run(session);
        status = status == ADZE_OK ? cli_profile_take(&p, from, adze_now()) : status;
    }
    if (status == ADZE_OK && o->time) {
        adze_text_add(t, "\n");
        status = cli_profile_table(&p, false, 0, t);
    }
    if (status == ADZE_OK && o->trace[0]) {
        status = cli_profile_save(&p, o->trace);
    }
    cli_profile_free(&p);
    adze_session_free(session);
    return status;
}

static int find_pass(cli *c, const char *name, adze_pass *out) {
    const char *names[ADZE_NPASSES];
    for (int p = 0; p < ADZE_NPASSES; p++) {
        names[p] = adze_pass_name((adze_pass)p);
        if (strcmp(names[p], name) == 0) {
            *out = (adze_pass)p;
            return ADZE_OK;
        }
    }
    const char *near = adze_suggest(name, names, ADZE_NPASSES, sizeof(names[0]));
    return near ? cli_usage_error(c, "'%s' is no pass; did you mean '%s'?", name, near) : cli_usage_error(c, "'%s' is no pass", name);
}

static int inspect(cli *c, const char *name, const inspect_opts *o) {
    adze_pass pass = ADZE_PASS_STEPS;
    TRY(find_pass(c, o->after, &pass));
    subject s = {0};
    adze_plan *plan = NULL;
    adze_text t = {.ctx = c->ctx};
    int status = subject_build(c, name, o, &s);
    if (status == ADZE_OK) {
        dump_arg arg = {pass, &t};
        adze_compile_opts co = {.size = sizeof(co), .device = o->device, .dump = keep_dump, .dump_user = &arg};
        co.precision = o->precision ? ADZE_BF16 : ADZE_NONE;
        co.keep_packed = o->what == CLI_STEP_FORWARD; /* as evaluations and predictions run */
        status = adze_compile(s.st.g, &co, &plan);
    }
    if (status == ADZE_OK) {
        adze_plan_info p = adze_plan_describe(plan);
        char a[32], b[32], d[32], e[32];
        adze_text_add(&t, "\n%lld steps, %s of work, %s moved; arena %s (most live at once %s)\n", (long long)p.nsteps,
                      cli_count(a, sizeof(a), p.flops), cli_bytes(b, sizeof(b), p.bytes), cli_bytes(d, sizeof(d), (double)p.arena_bytes),
                      cli_bytes(e, sizeof(e), (double)p.live_bytes));
        if (o->time || o->trace[0]) {
            status = add_times(c, &s, plan, o, &t);
        }
    }
    if (status == ADZE_OK && c->global.json) {
        adze_plan_info p = adze_plan_describe(plan);
        adze_text j = {.ctx = c->ctx};
        adze_text_add(&j, "{\"schema\":1,\"steps\":%lld,\"flops\":%.0f,\"bytes\":%.0f,\"arena_bytes\":%lld,\"live_bytes\":%lld,\"text\":",
                      (long long)p.nsteps, p.flops, p.bytes, (long long)p.arena_bytes, (long long)p.live_bytes);
        char *text = NULL;
        status = adze_text_finish(&t, &text);
        if (status == ADZE_OK) {
            adze_json_string(&j, text);
        }
        adze_free(c->ctx, text);
        adze_text_add(&j, "}\n");
        status = status == ADZE_OK ? cli_print_text(c, &j) : status;
    } else if (status == ADZE_OK) {
        adze_text folded = {.ctx = c->ctx};
        char *text = NULL;
        status = adze_text_finish(&t, &text);
        cli_fold(&folded, text ? text : "");
        adze_free(c->ctx, text);
        status = status == ADZE_OK ? cli_print_text(c, &folded) : status;
    }
    adze_text_drop(&t);
    adze_plan_free(plan);
    subject_free(c, &s);
    return status;
}

static int graph(cli *c, const char *name, const inspect_opts *o) {
    subject s = {0};
    char *dot = NULL;
    int status = subject_build(c, name, o, &s);
    if (status == ADZE_OK) {
        status = adze_graph_dot(s.st.g, &dot);
    }
    if (status == ADZE_OK && o->out[0]) {
        adze_piece piece = {dot, (int64_t)strlen(dot)};
        status = adze_replace_file(c->ctx, o->out, &piece, 1);
    } else if (status == ADZE_OK && c->global.json) {
        adze_text j = {.ctx = c->ctx};
        adze_text_add(&j, "{\"schema\":1,\"dot\":");
        adze_json_string(&j, dot);
        adze_text_add(&j, "}\n");
        status = cli_print_text(c, &j);
    } else if (status == ADZE_OK) {
        fputs(dot, stdout);
        status = cli_finish_output(c);
    }
    adze_text_free(c->ctx, dot);
    subject_free(c, &s);
    return status;
}

static int run_with(cli *c, int argc, const char **argv, const adze_field *fields, int (*go)(cli *, const char *, const inspect_opts *)) {
    inspect_opts o = {0};
    cli_args a = {.tables = {{fields, &o, NULL}}, .ntables = 1};
    int status = cli_parse(c, &a, argc, argv, 1, 1);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK) {
        status = go(c, a.words[0], &o);
    }
    cli_args_free(c, &a);
    return status;
}

static int run_inspect(cli *c, int argc, const char **argv) {
    return run_with(c, argc, argv, FIELDS, inspect);
}

static int run_graph(cli *c, int argc, const char **argv) {
    return run_with(c, argc, argv, GRAPH_FIELDS, graph);
}

const cli_cmd CLI_INSPECT = {
    "inspect",
    "the compiled plan of a model, pass by pass, with times",
    "inspect MODEL [options]",
    "  adze inspect lenet5-caffe --what forward\n  adze inspect net.yaml --after simplify\n  adze inspect mlp --time --batch 256\n",
    tables,
    run_inspect};
const cli_cmd CLI_GRAPH = {"graph",
                           "the graph of a model for Graphviz",
                           "graph MODEL [options]",
                           "  adze graph mlp | dot -Tsvg > mlp.svg\n  adze graph net.yaml --what grad --out net.dot\n  adze graph lenet5 --batch 1\n",
                           graph_tables,
                           run_graph};
