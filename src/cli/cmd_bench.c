/* adze bench: how fast one op, or a whole network, runs here, beside what the machine can do at most in the same moment. */
#include "cli/bench.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>

static const char *const PRECISIONS[] = {"f32", "bf16", "f64", NULL};
static const adze_field FIELDS[] = {
    {"batch", ADZE_F_I64, 0, offsetof(bench_opts, batch), 0, "0", 0, 65536, NULL,
     "examples (0: 128 for model and train, the usual one for a net's list)"},
    {"runs", ADZE_F_I64, 0, offsetof(bench_opts, runs), 0, "7", 1, 1000, NULL, "samples at least; their median is printed"},
    {"seconds", ADZE_F_F64, 0, offsetof(bench_opts, seconds), 0, "0.2", 0, 600, NULL, "time for the samples of one work at least"},
    {"precision", ADZE_F_ENUM, 0, offsetof(bench_opts, precision), 0, "f32", 0, 0, PRECISIONS, "numbers of model and train"},
    {"memory", ADZE_F_I64, 0, offsetof(bench_opts, memory), 0, "0", 0, 1 << 30, NULL,
     "MiB that the values of model and train may take: they are computed twice where that is not enough; 0: no limit"},
    {"paced", ADZE_F_BOOL, 0, offsetof(bench_opts, paced), 0, NULL, 0, 0, NULL,
     "for each line 'INDEX STEPS' on stdin run that many steps of that work and print their mean seconds, the peaks beside them, operations and bytes; at "
     "the end the peak memory above the start"},
    {"list", ADZE_F_BOOL, 0, offsetof(bench_opts, list), 0, NULL, 0, 0, NULL, "print the problems that a name stands for"},
    {0}};

static const bench_kind *const KINDS[] = {&BENCH_GEMM, &BENCH_CONV, &BENCH_LAYER, &BENCH_MODEL, &BENCH_TRAIN};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    return 1;
}

/* -- opening a work ------------------------------------------------------------------------------------------------------------------------ */

static void close_work(cli *c, bench_work *w) {
    adze_session_free(w->session);
    adze_plan_free(w->plan);
    adze_graph_free(w->g);
    adze_store_free(w->store);
    adze_model_free(w->model);
    probe_room_free(c, &w->room);
    *w = (bench_work){0};
}

static int open_steps(cli *c, const bench_kind *k, const bench_opts *o, bench_work *w) {
    TRY(adze_store_new(c->ctx, &w->store));
    TRY(k->build(c, w->problem, o, w));
    TRY(adze_graph_status(w->g));
    w->opts.size = sizeof w->opts;
    TRY(adze_compile(w->g, &w->opts, &w->plan));
    TRY(adze_session_new(c->ctx, w->plan, w->store, "", &w->session));
    TRY(k->fill(c, w));
    w->info = adze_plan_describe(w->plan);
    w->flops = w->flops > 0 ? w->flops : w->info.flops - w->info.recomputed_flops;
    w->bytes = w->bytes > 0 ? w->bytes : w->info.bytes;
    const int64_t most = INT64_C(128) << 20, touched = w->info.arena_bytes + w->info.slot_bytes + w->info.input_bytes;
    return probe_room_new(c, touched < most ? touched : most, &w->room);
}

static int open_work(cli *c, const bench_kind *k, const char *problem, const bench_opts *o, bench_work *w) {
    *w = (bench_work){0};
    snprintf(w->problem, sizeof(w->problem), "%s", problem);
    int status = open_steps(c, k, o, w);
    for (int i = 0; i < 2 && status == ADZE_OK; i++) { /* the first runs touch memory for the first time */
        status = adze_session_run(w->session);
    }
    if (status != ADZE_OK) {
        close_work(c, w);
    }
    return status;
}

static int time_steps(bench_work *w, int64_t steps, double *seconds) {
    double start = adze_now();
    for (int64_t i = 0; i < steps; i++) {
        TRY(adze_session_run(w->session));
    }
    *seconds = (adze_now() - start) / (double)steps;
    return ADZE_OK;
}

/* -- measuring: a sample, the peak beside it, again and again ---------------------------------------------------------------------------- */

typedef struct result {
    double seconds, peak, copy; /* medians: of a run, operations a second, bytes a second */
    double peak_share, floor_share;
    int64_t samples;
} result;

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int64_t n) {
    qsort(v, (size_t)n, sizeof(*v), compare);
    return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

enum { MOST_SAMPLES = 1000 };

static double floor_seconds(const bench_work *w, double peak, double copy) {
    return fmax(w->flops / peak, w->bytes / copy);
}

/* Samples of at least a millisecond, so that the clock and the waking of threads weigh little. */
static int take_samples(cli *c, const bench_opts *o, bench_work *w, double (*v)[MOST_SAMPLES], result *r) {
    const double LEAST = 1e-3;
    double once;
    TRY(time_steps(w, 1, &once));
    const int64_t steps = once < LEAST ? (int64_t)(LEAST / fmax(once, 1e-7)) + 1 : 1;
    const double begin = adze_now();
    const int threads = adze_ctx_threads(c->ctx);
    int64_t n = 0;
    for (; n < MOST_SAMPLES && (n < o->runs || adze_now() - begin < o->seconds); n++) {
        v[1][n] = probe_ops(c, w->math, threads);
        TRY(time_steps(w, steps, &v[0][n]));
    }
    double copies[3]; /* apart: a pass over memory would leave the caches cold for the work */
    for (size_t i = 0; i < ADZE_COUNT(copies); i++) {
        copies[i] = probe_bytes(c, &w->room, PROBE_COPY, threads);
    }
    r->copy = median(copies, ADZE_COUNT(copies));
    for (int64_t i = 0; i < n; i++) {
        v[2][i] = w->flops / v[0][i] / v[1][i];
        v[3][i] = floor_seconds(w, v[1][i], r->copy) / v[0][i];
    }
    r->seconds = median(v[0], n);
    r->peak = median(v[1], n);
    r->peak_share = median(v[2], n);
    r->floor_share = median(v[3], n);
    r->samples = n;
    return ADZE_OK;
}

static int measure(cli *c, const bench_opts *o, bench_work *w, result *r) {
    double(*v)[MOST_SAMPLES] = adze_alloc(c->ctx, 4, sizeof(*v));
    int status = v ? take_samples(c, o, w, v, r) : ADZE_ENOMEM;
    adze_free(c->ctx, v);
    return status;
}

/* -- printing -------------------------------------------------------------------------------------------------------------------------------- */

static void command(cli *c, const bench_kind *k, const bench_opts *o, const char *problem, char *out, size_t n) {
    int len = snprintf(out, n, "adze bench %s %s", k->name, problem);
    if ((k == &BENCH_MODEL || k == &BENCH_TRAIN) && len > 0 && (size_t)len < n) {
        len += snprintf(out + len, n - (size_t)len, " --batch %lld", (long long)o->batch);
        if (o->precision != 0 && (size_t)len < n) {
            len += snprintf(out + len, n - (size_t)len, " --precision %s", PRECISIONS[o->precision]);
        }
        if (o->memory > 0 && (size_t)len < n) {
            len += snprintf(out + len, n - (size_t)len, " --memory %lld", (long long)o->memory);
        }
    }
    if (c->global.threads > 0 && len > 0 && (size_t)len < n) {
        len += snprintf(out + len, n - (size_t)len, " --threads %d", adze_ctx_threads(c->ctx));
    }
    if (c->global.reproducible && len > 0 && (size_t)len < n) {
        len += snprintf(out + len, n - (size_t)len, " --reproducible");
    }
    if (c->global.isa[0] && len > 0 && (size_t)len < n) {
        snprintf(out + len, n - (size_t)len, " --isa %s", c->global.isa);
    }
}

static void heading(const cli *c, const bench_kind *k) {
    if (!c->global.json) {
        const bool items = k == &BENCH_MODEL || k == &BENCH_TRAIN;
        printf("%10s %8s %7s %6s %6s %s command, %d threads, %s\n", "ms", "GFLOP/s", "GB/s", "peak", "floor", items ? " items/s" : "",
               adze_ctx_threads(c->ctx), adze_ctx_isa(c->ctx));
    }
}

static int print_json(cli *c, const bench_kind *k, const bench_opts *o, const bench_work *w, const result *r, const char *repro) {
    adze_text t = {.ctx = c->ctx};
    adze_text_add(&t, "{\"schema\":1,\"work\":\"%s\",\"problem\":", k->name);
    adze_json_string(&t, w->problem);
    adze_text_add(&t,
                  ",\"threads\":%d,\"isa\":\"%s\",\"seconds\":%.6g,\"flops\":%.0f,\"bytes\":%.0f,\"gflop_per_s\":%.2f,\"gbyte_per_s\":%.2f,"
                  "\"peak_gflop_per_s\":%.2f,\"copy_gbyte_per_s\":%.2f,\"peak_share\":%.4f,\"floor_share\":%.4f,\"samples\":%lld,",
                  adze_ctx_threads(c->ctx), adze_ctx_isa(c->ctx), r->seconds, w->flops, w->bytes, w->flops / r->seconds * 1e-9,
                  w->bytes / r->seconds * 1e-9, r->peak * 1e-9, r->copy * 1e-9, r->peak_share, r->floor_share, (long long)r->samples);
    if (w->items > 0) {
        adze_text_add(&t, "\"batch\":%lld,\"precision\":\"%s\",\"items_per_s\":%.2f,", (long long)o->batch, PRECISIONS[o->precision],
                      w->items / r->seconds);
    }
    adze_text_add(&t, "\"arena_bytes\":%lld,\"recomputed_flops\":%.0f,\"repro\":", (long long)w->info.arena_bytes, w->info.recomputed_flops);
    adze_json_string(&t, repro);
    char *s = NULL;
    TRY(adze_text_finish(&t, &s));
    printf("%s}\n", s);
    adze_free(c->ctx, s);
    return ADZE_OK;
}

static int print_result(cli *c, const bench_kind *k, const bench_opts *o, const bench_work *w, const result *r) {
    char repro[2 * BENCH_TEXT];
    command(c, k, o, w->problem, repro, sizeof(repro));
    if (c->global.json) {
        return print_json(c, k, o, w, r, repro);
    }
    const double gflops = w->flops / r->seconds * 1e-9, gbytes = w->bytes / r->seconds * 1e-9;
    printf("%10.4f %8.1f %7.1f %5.1f%% %5.1f%% ", 1000 * r->seconds, gflops, gbytes, 100 * r->peak_share, 100 * r->floor_share);
    if (w->items > 0) {
        printf("%9.1f", w->items / r->seconds);
    }
    printf(" %s\n", repro);
    return ADZE_OK;
}

/* Each problem on a line. One that cannot run is told and passed over; the command fails then. */
static int bench_all(cli *c, const bench_kind *k, const bench_opts *o, const bench_list *l) {
    double shares = 0;
    int bad = ADZE_OK, done = 0;
    for (int i = 0; i < l->n; i++) {
        bench_work w;
        result r = {0};
        int status = open_work(c, k, l->at[i], o, &w);
        if (status == ADZE_OK) {
            status = measure(c, o, &w, &r);
        }
        if (status == ADZE_OK && done == 0) {
            heading(c, k);
        }
        if (status == ADZE_OK) {
            status = print_result(c, k, o, &w, &r);
        }
        if (status == ADZE_OK) {
            shares += log(r.floor_share);
            done++;
        } else if (l->n > 1) {
            fprintf(stderr, "%s: %s\n", l->at[i], adze_errmsg(c->ctx));
        }
        bad = status == ADZE_OK ? bad : status;
        close_work(c, &w);
        if (status != ADZE_OK && l->n == 1) {
            return status;
        }
        TRY(cli_finish_output(c));
    }
    if (done > 1 && !c->global.json) {
        printf("%d works, geometric mean of the shares of the floor: %.1f %%\n", done, 100 * exp(shares / done));
    }
    return bad == ADZE_OK ? cli_finish_output(c) : adze_fail(c->ctx, bad, "%d of %d works could not be measured", l->n - done, l->n);
}

/* -- in turn with another program ---------------------------------------------------------------------------------------------------------- */

static int64_t peak_memory(void) {
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (int64_t)u.ru_maxrss * 1024 : 0;
}

static int paced_step(cli *c, bench_work *w, int64_t steps) {
    double seconds;
    TRY(time_steps(w, steps, &seconds));
    const int threads = adze_ctx_threads(c->ctx);
    const double peak = probe_ops(c, w->math, threads), copy = probe_bytes(c, &w->room, PROBE_COPY, threads);
    printf("%.9f %.6g %.6g %.6g %.6g\n", seconds, peak, copy, w->flops, w->bytes);
    return cli_finish_output(c);
}

static int paced(cli *c, const bench_kind *k, const bench_opts *o, const bench_list *l) {
    const int64_t base = peak_memory();
    bench_work w = {0};
    char line[64];
    int64_t open = -1;
    int status = ADZE_OK;
    if (l->n == 1) {
        TRY(open_work(c, k, l->at[0], o, &w));
        open = 0;
    }
    printf("ready\n");
    status = cli_finish_output(c);
    while (status == ADZE_OK && fgets(line, sizeof(line), stdin)) {
        char *end = line;
        const int64_t index = strtoll(line, &end, 10), steps = strtoll(end, NULL, 10);
        if (index < 0 || index >= l->n) {
            status = cli_usage_error(c, "there are works 0 to %d, not %lld", l->n - 1, (long long)index);
        } else if (index != open) {
            close_work(c, &w);
            status = open_work(c, k, l->at[index], o, &w);
            open = index;
        }
        status = status == ADZE_OK ? paced_step(c, &w, steps > 0 ? steps : 1) : status;
    }
    close_work(c, &w);
    if (status == ADZE_OK) { /* after a failure nothing is said that could be taken for a time */
        printf("%lld\n", (long long)(peak_memory() - base));
        status = cli_finish_output(c);
    }
    return status;
}

/* -- the command ------------------------------------------------------------------------------------------------------------------------------ */

int bench_list_add(cli *c, bench_list *l, const char *problem) {
    void *at = adze_resize(c->ctx, l->at, l->n, l->n + 1, sizeof(*l->at));
    if (!at) {
        return ADZE_ENOMEM;
    }
    l->at = at;
    if (strlen(problem) >= sizeof(*l->at)) {
        return cli_usage_error(c, "the problem '%.40s...' is longer than %d bytes", problem, BENCH_TEXT - 1);
    }
    memcpy(l->at[l->n++], problem, strlen(problem) + 1);
    return ADZE_OK;
}

static int find_kind(cli *c, const char *name, const bench_kind **k) {
    const char *names[ADZE_COUNT(KINDS) + 3];
    size_t n = 0;
    name = strcmp(name, "infer") == 0 ? "model" : name;
    for (; n < ADZE_COUNT(KINDS); n++) {
        names[n] = KINDS[n]->name;
        if (strcmp(names[n], name) == 0) {
            *k = KINDS[n];
            return ADZE_OK;
        }
    }
    names[n++] = "peak";
    names[n++] = "hessian";
    const char *near = adze_suggest(name, names, n, sizeof(names[0]));
    return cli_usage_error(c, "'%s' is no benchmark%s%s%s; there are: peak, hessian, gemm, conv, layer, model, train", name,
                           near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* An option that a benchmark does not read is a mistake of the reader's, not to be passed over. */
static int refuse_options(cli *c, const cli_args *a, const bench_kind *k, const bench_opts *o) {
    const bool net = k == &BENCH_MODEL || k == &BENCH_TRAIN;
    for (const adze_field *f = FIELDS; f->name; f++) {
        const bool of_net = strcmp(f->name, "precision") == 0 || strcmp(f->name, "memory") == 0;
        const bool of_times = strcmp(f->name, "runs") == 0 || strcmp(f->name, "seconds") == 0;
        const bool batch = strcmp(f->name, "batch") == 0;
        if (!cli_given(a, 0, f->name)) {
            continue;
        }
        if (!k || (!net && of_net) || (batch && !net && k != &BENCH_CONV)) {
            return cli_usage_error(c, "--%s says nothing to bench %s", f->name, k ? k->name : "peak");
        }
        if (of_times && (o->list || o->paced)) {
            return cli_usage_error(c, "--%s says nothing beside --%s, which takes no samples", f->name, o->list ? "list" : "paced");
        }
    }
    if (o->list && o->paced) {
        return cli_usage_error(c, "--list and --paced are two things: give one of them");
    }
    for (int i = 1; cli_given(a, 0, "batch") && k == &BENCH_CONV && i < a->nwords; i++) {
        if (strncmp(a->words[i], "mb", 2) == 0 && isdigit((unsigned char)a->words[i][2])) {
            return cli_usage_error(c, "--batch is for the list of a net; '%s' has its own behind mb", a->words[i]);
        }
    }
    return ADZE_OK;
}

static int print_problems(cli *c, const bench_kind *k, const bench_list *l) {
    adze_text t = {.ctx = c->ctx};
    if (c->global.json) {
        adze_text_add(&t, "{\"schema\":1,\"work\":\"%s\",\"problems\":[", k->name);
    }
    for (int i = 0; i < l->n; i++) {
        if (c->global.json) {
            adze_text_add(&t, i ? "," : "");
            adze_json_string(&t, l->at[i]);
        } else {
            adze_text_add(&t, "%s\n", l->at[i]);
        }
    }
    adze_text_add(&t, c->global.json ? "]}\n" : "");
    return cli_print_text(c, &t);
}

static int bench_words(cli *c, const bench_kind *k, bench_opts *o, const char **words, int nwords) {
    if (nwords == 0) {
        return cli_usage_error(c, "bench %s needs %s", k->name, k->brief);
    }
    if (k == &BENCH_MODEL || k == &BENCH_TRAIN) {
        o->batch = o->batch > 0 ? o->batch : 128;
    }
    bench_list l = {0};
    int status = ADZE_OK;
    for (int i = 0; i < nwords && status == ADZE_OK; i++) {
        status = k->expand ? k->expand(c, words[i], o, &l) : bench_list_add(c, &l, words[i]);
    }
    if (status == ADZE_OK && o->list) {
        status = print_problems(c, k, &l);
    } else if (status == ADZE_OK) {
        status = o->paced ? paced(c, k, o, &l) : bench_all(c, k, o, &l);
    }
    adze_free(c->ctx, l.at);
    return status;
}

static int run(cli *c, int argc, const char **argv) {
    bench_opts o;
    const bench_kind *k = NULL;
    cli_args a = {.tables = {{FIELDS, &o, NULL}}, .ntables = 1};
    int status = cli_parse(c, &a, argc, argv, 1, -1);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK && strcmp(a.words[0], "peak") == 0) {
        status = a.nwords == 1 ? refuse_options(c, &a, NULL, &o) : cli_usage_error(c, "one argument too many: '%s'", a.words[1]);
        status = status == ADZE_OK ? cli_bench_peak(c) : status;
    } else if (status == ADZE_OK && strcmp(a.words[0], "hessian") == 0) {
        status = a.nwords == 1 ? refuse_options(c, &a, NULL, &o) : cli_usage_error(c, "one argument too many: '%s'", a.words[1]);
        status = status == ADZE_OK ? cli_bench_hessian(c) : status;
    } else if (status == ADZE_OK) {
        status = find_kind(c, a.words[0], &k);
        status = status == ADZE_OK ? refuse_options(c, &a, k, &o) : status;
        status = status == ADZE_OK ? bench_words(c, k, &o, a.words + 1, a.nwords - 1) : status;
    }
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_BENCH = {"bench",
                           "speed of ops and networks beside this machine's limits",
                           "bench peak | hessian | gemm|conv|layer|model|train WORK... [options]",
                           "  adze bench peak\n  adze bench gemm m512n512k512 m256n500k800tb\n"
                           "  adze bench conv mb128ic16ih32oc16oh32kh3ph1,dir=dw resnet20\n"
                           "  adze bench layer softmax,128x1000 maxpool,128x24x24x20,size=2x2\n"
                           "  adze bench model lenet5 --batch 1\n  adze bench train lenet5-caffe --batch 256\n",
                           tables,
                           run};
