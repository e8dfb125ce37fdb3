/* adze schedule: the rate that a training would have at each step, as a table and a picture; and the learning-rate range test. */
#include "cli/rundir.h"
#include "train/optimizer.h"

#include <math.h>

typedef struct schedule_opts {
    char out[512], data[512], recipe[512];
    int64_t steps_per_epoch, steps;
    double lo, hi;
} schedule_opts;
static const adze_field FIELDS[] = {
    {"out", ADZE_F_STR, 0, offsetof(schedule_opts, out), sizeof(((schedule_opts *)0)->out), "", 0, 0, NULL, "picture to write: .svg or .png"},
    {"recipe", ADZE_F_STR, 0, offsetof(schedule_opts, recipe), sizeof(((schedule_opts *)0)->recipe), "", 0, 0, NULL, CLI_RECIPE_HELP},
    {"steps_per_epoch", ADZE_F_I64, 0, offsetof(schedule_opts, steps_per_epoch), 0, "100", 1, 1e9, NULL, "plot: updates of an epoch"},
    {"data", ADZE_F_STR, 0, offsetof(schedule_opts, data), sizeof(((schedule_opts *)0)->data), "fashion-mnist", 0, 0, NULL, "range: the data set"},
    {"steps", ADZE_F_I64, 0, offsetof(schedule_opts, steps), 0, "100", 10, 10000, NULL, "range: updates"},
    {"lo", ADZE_F_F64, 0, offsetof(schedule_opts, lo), 0, "1e-05", 1e-12, 1e6, NULL, "range: the rate of the first update"},
    {"hi", ADZE_F_F64, 0, offsetof(schedule_opts, hi), 0, "10", 1e-12, 1e6, NULL, "range: of the last"},
    {0}};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    t[1] = (cli_table){adze_train_fields(), NULL, "training"};
    return 2;
}

/* -- plot ---------------------------------------------------------------------------------------------------------------------------------------- */

enum { ROWS = 20, POINTS = 1000 };

typedef struct curve { /* y over x; x is what a row of the table begins with */
    const char *title, *x_name, *y_name;
    double *x, *y;
    int64_t n;
} curve;

static int curve_new(cli *c, curve *k, int64_t room) {
    k->x = adze_alloc(c->ctx, 2 * room, sizeof(*k->x));
    k->y = k->x ? k->x + room : NULL;
    return k->x ? ADZE_OK : ADZE_ENOMEM;
}

static int draw(cli *c, const curve *k, const char *out) {
    const adze_line line = {k->y_name, k->x, k->y, k->n};
    const adze_chart chart = {.title = k->title, .x_label = k->x_name, .y_label = k->y_name, .lines = &line, .nlines = 1};
    return out[0] ? adze_chart_write(c->ctx, out, &chart, 1) : ADZE_OK;
}

/* All points for programs, about ROWS of them for people. */
static void tell(cli *c, adze_text *t, const curve *k) {
    if (c->global.json) {
        adze_text_add(t, "{\"schema\":1,\"schedule\":");
        adze_json_string(t, k->title);
        adze_text_add(t, ",\"points\":[");
        for (int64_t i = 0; i < k->n; i++) {
            char a[32], b[32];
            adze_text_add(t, "%s[%s,%s]", i ? "," : "", cli_json_number(a, sizeof(a), k->x[i]), cli_json_number(b, sizeof(b), k->y[i]));
        }
        adze_text_add(t, "]");
        return;
    }
    adze_text_add(t, "%12s  %12s\n", k->x_name, k->y_name);
    const int64_t rows = k->n < ROWS ? k->n : ROWS;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t i = rows > 1 ? r * (k->n - 1) / (rows - 1) : 0;
        adze_text_add(t, "%12.5g  %12.6g\n", k->x[i], k->y[i]);
    }
}

/* A plateau's cuts depend on results: what is drawn is a training that never improves after its first epoch. */
static double rate(const adze_train_opts *o, int64_t step, int64_t per_epoch) {
    const double lr = adze_schedule_lr(o, step, per_epoch, per_epoch * o->epochs);
    const int64_t flat = step / per_epoch - 1, cuts = o->schedule == ADZE_PLATEAU && flat > 0 ? flat / o->plateau_patience : 0;
    return cuts > 0 ? fmax(lr * pow(o->gamma, (double)cuts), fmin(o->min_lr, lr)) : lr;
}

static int plot(cli *c, const schedule_opts *s, const adze_train_opts *o) {
    TRY(adze_train_check(c->ctx, o));
    const int64_t total = s->steps_per_epoch * o->epochs, n = total < POINTS ? total : POINTS;
    if (total < 1) {
        return adze_fail(c->ctx, ADZE_EARG, "a schedule of no epochs has no rates: give --epochs");
    }
    curve k = {.title = adze_field_find(adze_train_fields(), "schedule")->names[o->schedule], .x_name = "epoch", .y_name = "rate", .n = n};
    TRY(curve_new(c, &k, n));
    for (int64_t i = 0; i < n; i++) {
        const int64_t step = n > 1 ? (int64_t)llround((double)i * (double)(total - 1) / (double)(n - 1)) : 0;
        k.x[i] = (double)step / (double)s->steps_per_epoch;
        k.y[i] = rate(o, step, s->steps_per_epoch);
    }
    adze_text t = {.ctx = c->ctx};
    tell(c, &t, &k);
    adze_text_add(&t, "%s", c->global.json ? "}\n" : "");
    int status = draw(c, &k, s->out);
    if (status == ADZE_OK) {
        status = cli_print_text(c, &t);
    } else {
        adze_text_drop(&t);
    }
    adze_free(c->ctx, k.x);
    return status;
}

/* -- the range test (Smith, Cyclical learning rates for training neural networks, 2017, section 3.3) --------------------------------------------- */

typedef struct range_test {
    curve k;       /* log10 of the rate, smoothed loss */
    double mean;   /* running mean of the losses, */
    double weight; /* and what it would be of losses that are all 1 */
    double least;  /* smoothed */
    int64_t steps;
    bool blown; /* it ended with a loss that is no part of the curve */
} range_test;

static int on_step(void *user, adze_trainer *t, int64_t step, int64_t per_epoch, double loss, double lr) {
    enum { BLOWN = 4 }; /* times the least loss: there is nothing more to learn */
    range_test *r = user;
    (void)t, (void)step, (void)per_epoch;
    r->mean = 0.9 * r->mean + 0.1 * loss;
    r->weight = 0.9 * r->weight + 0.1;
    const double smooth = r->mean / r->weight;
    r->least = r->k.n == 0 ? smooth : fmin(r->least, smooth);
    r->blown = smooth > BLOWN * r->least;
    if (r->k.n < r->steps && !r->blown) {
        r->k.x[r->k.n] = log10(lr);
        r->k.y[r->k.n++] = smooth;
    }
    return r->k.n == r->steps || r->blown;
}

/* Where the smoothed loss falls fastest over some steps, and where it is least. */
static void judge(const range_test *r, adze_text *t, bool json) {
    enum { SPAN = 5, WARM = 10 }; /* the running mean of the first few losses is as noisy as they are */
    const curve *k = &r->k;
    int64_t steepest = -1, least = 0;
    double fall = 0;
    for (int64_t i = 0; i < k->n; i++) {
        least = i >= WARM && (least < WARM || k->y[i] < k->y[least]) ? i : least;
        if (i >= WARM + SPAN && k->y[i - SPAN] - k->y[i] > fall) {
            fall = k->y[i - SPAN] - k->y[i];
            steepest = i;
        }
    }
    const bool found = steepest >= 0 && k->y[0] - k->y[least] > 0.05 * fabs(k->y[0]), rises = r->blown || least + SPAN < k->n;
    const double most = k->n > 0 ? pow(10, k->x[least]) : 0, fast = found ? pow(10, k->x[steepest]) : 0;
    if (json) {
        char a[32], b[32], d[32];
        adze_text_add(t, ",\"steepest\":%s,\"least\":%s,\"suggested\":%s,\"rises\":%s", found ? cli_json_number(a, sizeof(a), fast) : "null",
                      cli_json_number(b, sizeof(b), most), found ? cli_json_number(d, sizeof(d), most / 10) : "null", rises ? "true" : "false");
    } else if (!found) {
        adze_text_add(t, "the loss did not fall at any of these rates: try others with --lo and --hi, or more --steps\n");
    } else {
        adze_text_add(t, "the loss falls fastest near %.2g, is least at %.2g and %s: begin with about %.1g\n", fast, most,
                      rises ? "rises beyond" : "still falls at the end, so try a larger --hi", rises ? most / 10 : fast);
    }
}

static int report(cli *c, range_test *r, const char *out) {
    adze_text t = {.ctx = c->ctx};
    tell(c, &t, &r->k);
    judge(r, &t, c->global.json);
    adze_text_add(&t, "%s", c->global.json ? "}\n" : "");
    const int status = draw(c, &r->k, out);
    if (status != ADZE_OK) {
        adze_text_drop(&t);
        return status;
    }
    return cli_print_text(c, &t);
}

/* One training of `steps` updates, without validation and without checkpoints. */
static int run_test(cli *c, const schedule_opts *s, adze_train_opts o, adze_model *m, const adze_dataset *d) {
    range_test r = {.steps = s->steps, .k = {.title = "range", .x_name = "log10 rate", .y_name = "loss"}};
    const adze_callbacks cb = {.user = &r, .step_end = on_step};
    adze_trainer *t = NULL;
    const int64_t examples = o.batch * o.accumulate * s->steps, held = d->count < examples ? d->count : examples;
    o.schedule = ADZE_RANGE;
    o.lr = s->hi;
    o.min_lr = s->lo;
    o.warmup_epochs = 0;
    o.val_count = 0;
    o.patience = 0;
    o.limit_train = held / (o.batch * o.accumulate) > 0 ? held / (o.batch * o.accumulate) * o.batch * o.accumulate : held;
    o.epochs = (examples + o.limit_train - 1) / o.limit_train;
    TRY(curve_new(c, &r.k, s->steps));
    int status = adze_trainer_new(c->ctx, m, d, &o, NULL, &cb, &t);
    if (status == ADZE_OK) {
        status = adze_trainer_run(t, NULL);
        r.blown = r.blown || status == ADZE_ENAN;
        if (status == ADZE_ESTOPPED || status == ADZE_ENAN) {
            adze_err_clear(c->ctx);
            status = ADZE_OK;
        }
        status = status == ADZE_OK ? report(c, &r, s->out) : status;
    }
    adze_trainer_free(t);
    adze_free(c->ctx, r.k.x);
    return status;
}

static int range(cli *c, const char *name, const schedule_opts *s, const adze_train_opts *o) {
    adze_model *m = NULL;
    adze_store *store = NULL;
    adze_dataset *d = NULL;
    if (s->lo >= s->hi) {
        return cli_usage_error(c, "--lo %g must be below --hi %g", s->lo, s->hi);
    }
    if (adze_optimizer_searches(o)) {
        return cli_usage_error(c, "this optimizer searches along a line for each step: it has no rate to look for");
    }
    TRY(cli_load_model(c, name, &m, &store));
    adze_store_free(store);
    int status = adze_dataset_open(c->ctx, s->data, "train", &d);
    if (status == ADZE_OK) {
        status = run_test(c, s, *o, m, d);
        adze_dataset_close(d);
    }
    adze_model_free(m);
    return status;
}

static int run(cli *c, int argc, const char **argv) {
    schedule_opts s;
    adze_train_opts o;
    cli_args a = {.tables = {{FIELDS, &s, NULL}, {adze_train_fields(), &o, "training"}}, .ntables = 2};
    int status = cli_parse(c, &a, argc, argv, 1, 2);
    status = status == ADZE_OK ? cli_recipe_apply(c, &a, 1, s.recipe, &o) : status;
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK && a.nwords == 1 && strcmp(a.words[0], "plot") == 0) {
        status = plot(c, &s, &o);
    } else if (status == ADZE_OK && a.nwords == 2 && strcmp(a.words[0], "range") == 0) {
        status = range(c, a.words[1], &s, &o);
    } else if (status == ADZE_OK) {
        status = cli_usage_error(c, "usage: adze %s", c->cmd->usage);
    }
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_SCHEDULE = {"schedule",
                              "the rate at each step, drawn; and the learning-rate range test",
                              "schedule plot [options] | schedule range MODEL --data NAME [options]",
                              "  adze schedule plot --schedule one_cycle --epochs 30 --out rate.svg\n"
                              "  adze schedule plot --schedule restarts --cycle-epochs 10 --cycle-factor 2 --epochs 70\n"
                              "  adze schedule range lenet5 --data fashion-mnist --lo 1e-4 --hi 3 --out range.png\n",
                              tables,
                              run};
