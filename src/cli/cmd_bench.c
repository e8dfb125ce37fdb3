/* adze bench: how fast a model trains or answers here; figures that can be repeated, with the work behind them. */
#include "cli/trainstep.h"

#include <stdlib.h>

typedef struct bench_opts {
    int64_t batch, runs;
    double seconds;
} bench_opts;
static const adze_field FIELDS[] = {
    {"batch", ADZE_F_I64, 0, offsetof(bench_opts, batch), 0, "128", 1, 65536, NULL, "examples a step"},
    {"runs", ADZE_F_I64, 0, offsetof(bench_opts, runs), 0, "5", 1, 1000, NULL, "timed groups of steps; the median is printed"},
    {"seconds", ADZE_F_F64, 0, offsetof(bench_opts, seconds), 0, "1", 0.01, 600, NULL, "length of one group, in seconds"},
    {0}};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    return 1;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of one step: median over groups, each as long as asked for; the first group warms up. */
static int time_steps(cli *c, adze_session *s, const bench_opts *o, double *median) {
    double *t = adze_alloc(c->ctx, o->runs, sizeof(*t));
    if (!t) {
        return ADZE_ENOMEM;
    }
    int status = ADZE_OK;
    for (int64_t r = -1; r < o->runs && status == ADZE_OK; r++) {
        int64_t steps = 0;
        double start = adze_now(), now = start;
        while (status == ADZE_OK && (steps == 0 || now - start < o->seconds)) {
            status = adze_session_run(s);
            steps++;
            now = adze_now();
        }
        if (r >= 0) {
            t[r] = (now - start) / (double)steps;
        }
    }
    qsort(t, (size_t)o->runs, sizeof(*t), compare);
    *median = t[o->runs / 2];
    adze_free(c->ctx, t);
    return status;
}

static int report(cli *c, const char *what, const char *model, const bench_opts *o, const adze_plan_info *p, double seconds) {
    double items = (double)o->batch / seconds, gflops = p->flops / seconds * 1e-9, gbytes = p->bytes / seconds * 1e-9;
    if (c->global.json) {
        printf("{\"schema\":1,\"work\":\"%s\",\"model\":\"%s\",\"batch\":%lld,\"threads\":%d,\"isa\":\"%s\",\"items_per_s\":%.2f,\"step_s\":%.6g,"
               "\"gflop_per_s\":%.2f,\"gbyte_per_s\":%.2f,\"runs\":%lld}\n",
               what, model, (long long)o->batch, adze_ctx_threads(c->ctx), adze_ctx_isa(c->ctx), items, seconds, gflops, gbytes, (long long)o->runs);
    } else {
        printf("%s %s  batch %lld  %d threads  %s: %.0f items/s, %.3f ms a step, %.1f GFLOP/s, %.1f GB/s moved\n", what, model, (long long)o->batch,
               adze_ctx_threads(c->ctx), adze_ctx_isa(c->ctx), items, 1000 * seconds, gflops, gbytes);
    }
    return cli_finish_output(c);
}

static int bench_session(cli *c, const adze_model *m, adze_store *store, const adze_plan *plan, const char *what, const bench_opts *o) {
    adze_session *s;
    TRY(adze_session_new(c->ctx, plan, store, "", &s));
    int status = cli_step_fill(s, m, 0);
    adze_tensor lr;
    if (status == ADZE_OK && adze_session_input(s, "lr", &lr) == ADZE_OK) {
        adze_tensor_set(&lr, 0, 1e-4); /* small, so that random data do not make the numbers blow up */
    }
    adze_err_clear(c->ctx);
    double seconds = 1;
    if (status == ADZE_OK) {
        status = time_steps(c, s, o, &seconds);
    }
    if (status == ADZE_OK) {
        adze_plan_info info = adze_plan_describe(plan);
        status = report(c, what, adze_model_name(m), o, &info, seconds);
    }
    adze_session_free(s);
    return status;
}

static int bench_model(cli *c, const char *what, const char *name, const bench_opts *o) {
    adze_model *m;
    adze_store *store;
    TRY(cli_load_model(c, name, &m, &store));
    cli_step st = {0};
    adze_plan *plan = NULL;
    int status = ADZE_OK;
    if (!store) {
        status = adze_store_new(c->ctx, &store);
        if (status == ADZE_OK) {
            status = adze_model_init(m, store, ADZE_F32, 0);
        }
    }
    if (status == ADZE_OK) {
        status = cli_step_build(c, m, store, o->batch, ADZE_F32, strcmp(what, "train") == 0 ? CLI_STEP_UPDATE : CLI_STEP_FORWARD, &st);
    }
    if (status == ADZE_OK) {
        status = adze_compile(st.g, NULL, &plan);
    }
    if (status == ADZE_OK) {
        status = bench_session(c, m, store, plan, what, o);
    }
    adze_plan_free(plan);
    cli_step_free(c, &st);
    adze_store_free(store);
    adze_model_free(m);
    return status;
}

static int run(cli *c, int argc, const char **argv) {
    bench_opts o;
    cli_args a = {.tables = {{FIELDS, &o, NULL}}, .ntables = 1};
    int status = cli_parse(c, &a, argc, argv, 2, 2);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK && strcmp(a.words[0], "train") != 0 && strcmp(a.words[0], "infer") != 0) {
        status = cli_usage_error(c, "'%s' is no benchmark; there are: train, infer", a.words[0]);
    } else if (status == ADZE_OK) {
        status = bench_model(c, a.words[0], a.words[1], &o);
    }
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_BENCH = {"bench",
                           "items per second of training or answering",
                           "bench train|infer MODEL [options]",
                           "  adze bench train lenet5-caffe --batch 256\n  adze bench train mlp --batch 64 --threads 1 --json\n"
                           "  adze bench infer lenet5 --batch 1\n",
                           tables,
                           run};
