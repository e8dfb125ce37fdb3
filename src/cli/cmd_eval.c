/* adze eval: judges a trained model on a data set it was not trained on. */
#include "cli/drop_opts.h"
#include "train/evaluate.h"

#include <math.h>

typedef struct eval_opts {
    char data[512], part[16], reliability[512], loss[32], target[16];
    int64_t batch, top, bn_recal, passes, crops, crop_pad;
} eval_opts;
static const adze_field FIELDS[] = {
    {"data", ADZE_F_STR, 0, offsetof(eval_opts, data), sizeof(((eval_opts *)0)->data), "", 0, 0, NULL,
     "data set: a name or a folder (default: the one that the model was trained on)"},
    {"part", ADZE_F_STR, 0, offsetof(eval_opts, part), sizeof(((eval_opts *)0)->part), "test", 0, 0, NULL, "test or train"},
    {"batch", ADZE_F_I64, 0, offsetof(eval_opts, batch), 0, "250", 1, 65536, NULL, "examples at a time; never changes a result"},
    {"top", ADZE_F_I64, 0, offsetof(eval_opts, top), 0, "5", 1, 1e6, NULL, "an answer counts for top-k accuracy when it is among so many"},
    {"bn_recal", ADZE_F_I64, 0, offsetof(eval_opts, bn_recal), 0, "0", 0, 1e9, NULL,
     "first estimate batchnorm's statistics anew on so many batches of 128 of the training part; 0: as they are in the file"},
    {"passes", ADZE_F_I64, 0, offsetof(eval_opts, passes), 0, "1", 1, 10000, NULL,
     "mean of the probabilities of so many passes; they differ by what is drawn in use: fractional_maxpool's regions"},
    {"crops", ADZE_F_I64, 0, offsetof(eval_opts, crops), 0, "0", 0, 10, NULL,
     "mean of the probabilities of so many crops of the size the model reads: 1 the centre, 2 and mirrored, 5 and the corners, 10 and mirrored; 0: none"},
    {"crop_pad", ADZE_F_I64, 0, offsetof(eval_opts, crop_pad), 0, "0", 0, 1024, NULL, "black pixels around the pictures before the crops"},
    {"reliability", ADZE_F_STR, 0, offsetof(eval_opts, reliability), sizeof(((eval_opts *)0)->reliability), "", 0, 0, NULL,
     "draw how often the network is right against how sure it is, to this .svg or .png"},
    {"loss", ADZE_F_STR, 0, offsetof(eval_opts, loss), sizeof(((eval_opts *)0)->loss), "", 0, 0, NULL,
     "loss that is measured and by which the outputs are read (default: the one that the model was trained with)"},
    {"target", ADZE_F_STR, 0, offsetof(eval_opts, target), sizeof(((eval_opts *)0)->target), "", 0, 0, NULL,
     "label, or input: how well the model gives back what it reads (default: as it was trained)"},
    {0}};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    t[1] = (cli_table){CLI_DROP_FIELDS, NULL, "what training dropped"};
    return 2;
}

static void print_confusion(adze_text *t, const adze_model *model, const adze_metrics *m) {
    adze_text_add(t, "confusion matrix (rows: true class, columns: predicted)\n%13s", "");
    for (int64_t k = 0; k < m->classes; k++) {
        adze_text_add(t, "%6.5s", adze_model_class_name(model, (int)k));
    }
    adze_text_add(t, "\n");
    for (int64_t i = 0; i < m->classes; i++) {
        adze_text_add(t, "%-13.12s", adze_model_class_name(model, (int)i));
        for (int64_t k = 0; k < m->classes; k++) {
            adze_text_add(t, "%6lld", (long long)m->confusion[i * m->classes + k]);
        }
        adze_text_add(t, "\n");
    }
}

typedef struct judged {
    const adze_model *model;
    const adze_metrics *m;
    const eval_opts *o;
    const drop_opts *drop;
    adze_train_opts train; /* what counts of it: loss and target */
    adze_report r;
} judged;

static const char *loss_of(const judged *j) {
    const bool rebuilds = j->train.target == ADZE_TARGET_INPUT;
    return adze_loss_names[rebuilds && j->train.loss == ADZE_LOSS_AUTO ? ADZE_LOSS_MSE : j->train.loss];
}

/* What makes probabilities of the outputs; NULL: nothing does. */
static const char *reading_of(const judged *j) {
    return j->m->numbers ? NULL : adze_model_ends_in_softmax(j->model) ? "outputs" : j->train.loss == ADZE_LOSS_SIGMOID_XENT ? "sigmoids" : "softmax";
}

static const char *target_of(const judged *j) {
    return j->train.target == ADZE_TARGET_INPUT ? "input" : "label";
}

static const char *share(char *out, size_t n, double v) {
    snprintf(out, n, isfinite(v) ? "%.4f" : "-", v);
    return out;
}

static const char *figure(char *out, size_t n, const char *format, double v) {
    if (isnan(v)) {
        return "-";
    }
    snprintf(out, n, format, v);
    return out;
}

static void print_class(adze_text *t, const char *name, const adze_class_report *r) {
    char auc[16];
    adze_text_add(t, "%-13.12s %9.4f %9.4f %9.4f %9s %9lld\n", name, r->precision, r->recall, r->f1, share(auc, sizeof(auc), r->auc),
                  (long long)r->count);
}

static int print_report(cli *c, const judged *j) {
    adze_text t = {.ctx = c->ctx};
    const adze_metrics *m = j->m;
    const char *part = j->o->part;
    if (m->classes <= 20) {
        print_confusion(&t, j->model, m);
    }
    adze_text_add(&t, "\n%-13s %9s %9s %9s %9s %9s\n", "class", "precision", "recall", "f1", "auc", "examples");
    for (int64_t k = 0; k < m->classes; k++) {
        print_class(&t, adze_model_class_name(j->model, (int)k), &j->r.of[k]);
    }
    print_class(&t, "mean", &j->r.macro);
    char a[32], b[32], d[32];
    adze_text_add(&t, "\n%s examples %lld   loss %.6g (%s)%s", part, (long long)m->count, m->loss, loss_of(j),
                  m->numbers                               ? ", for which no output is a probability"
                  : strcmp(reading_of(j), "sigmoids") == 0 ? "; probabilities are sigmoids over their sum"
                                                           : "");
    adze_text_add(&t, "\nnegative log-likelihood %s   perplexity %s   bits %s", figure(a, sizeof(a), "%.4f", m->nll),
                  figure(b, sizeof(b), "%.4g", j->r.perplexity), figure(d, sizeof(d), "%.4f", j->r.bits));
    adze_text_add(&t, "\nMatthews correlation %.4f   calibration error %s   Brier score %s", j->r.matthews, figure(a, sizeof(a), "%.4f", j->r.ece),
                  figure(b, sizeof(b), "%.4f", j->r.brier));
    if (m->classes > j->o->top) {
        adze_text_add(&t, "   top-%lld accuracy %.2f %%", (long long)j->o->top, 100 * adze_metrics_top(m, j->o->top));
    }
    adze_text_add(&t, "\n%s accuracy %.2f %%\n", part, 100 * m->acc);
    return cli_print_text(c, &t);
}

static void number(adze_text *t, const char *name, double v) {
    char text[32];
    adze_text_add(t, ",\"%s\":%s", name, cli_json_number(text, sizeof(text), v));
}

static void class_json(adze_text *t, const adze_class_report *r) {
    adze_text_add(t, "\"examples\":%lld", (long long)r->count);
    number(t, "precision", r->precision);
    number(t, "recall", r->recall);
    number(t, "f1", r->f1);
    number(t, "auc", r->auc);
    adze_text_add(t, "}");
}

static void report_json(adze_text *t, const adze_report *r, bool numbers) {
    adze_text_add(t, ",\"macro\":{");
    class_json(t, &r->macro);
    adze_text_add(t, ",\"micro\":{");
    class_json(t, &r->micro);
    number(t, "perplexity", r->perplexity);
    number(t, "bits", r->bits);
    number(t, "matthews", r->matthews);
    number(t, "brier", r->brier);
    number(t, "ece", r->ece);
    number(t, "mce", r->mce);
    adze_text_add(t, numbers ? ",\"bins\":null" : ",\"bins\":[");
    for (int b = 0; b < ADZE_BINS && !numbers; b++) {
        adze_text_add(t, "%s{\"examples\":%lld", b ? "," : "", (long long)r->bins[b].count);
        number(t, "confidence", r->bins[b].confidence);
        number(t, "accuracy", r->bins[b].accuracy);
        adze_text_add(t, "}");
    }
    adze_text_add(t, "%s,\"class_numbers\":{\"examples\":%lld", numbers ? "" : "]", (long long)r->micro.count);
    number(t, "mae", r->ordinal.mae);
    number(t, "rmse", r->ordinal.rmse);
    number(t, "r2", r->ordinal.r2);
    number(t, "spearman", r->ordinal.spearman);
    adze_text_add(t, "}");
}

/* What the file says of the training, or the command line. */
static int training_of(cli *c, judged *j) {
    adze_train_opts *o = &j->train;
    TRY(adze_train_recall(c->ctx, j->model, o));
    if (j->o->loss[0]) {
        TRY(adze_field_parse(c->ctx, adze_field_find(adze_train_fields(), "loss"), o, j->o->loss, "--loss"));
        o->label_smoothing = adze_loss_smooths(o->loss) ? o->label_smoothing : 0;
    }
    if (j->o->target[0]) {
        TRY(adze_field_parse(c->ctx, adze_field_find(adze_train_fields(), "target"), o, j->o->target, "--target"));
    }
    if (o->target == ADZE_TARGET_INPUT && j->o->reliability[0]) {
        return cli_usage_error(c, "--reliability draws how sure a classifier is, and '%s' gives its input back", adze_model_name(j->model));
    }
    return adze_train_check(c->ctx, o);
}

/* Of a model that gives its input back. */
static int print_rebuilt(cli *c, const judged *j) {
    adze_text t = {.ctx = c->ctx};
    const adze_metrics *m = j->m;
    const double mse = m->fit.rmse * m->fit.rmse;
    if (c->global.json) {
        adze_text_add(&t, "{\"schema\":1,\"part\":\"%s\",\"examples\":%lld,\"loss_name\":\"%s\",\"target\":\"input\",\"values\":%lld", j->o->part,
                      (long long)m->count, loss_of(j), (long long)m->values);
        number(&t, "loss", m->loss);
        number(&t, "mse", mse);
        number(&t, "rmse", m->fit.rmse);
        number(&t, "mae", m->fit.mae);
        number(&t, "r2", m->fit.r2);
        adze_text_add(&t, "}\n");
    } else {
        adze_text_add(&t, "%s examples %lld   rebuilt numbers of each %lld   loss %.6g (%s)\n", j->o->part, (long long)m->count, (long long)m->values,
                      m->loss, loss_of(j));
        adze_text_add(&t, "MSE %.6g   RMSE %.6g   MAE %.6g   R2 %.4f\n", mse, m->fit.rmse, m->fit.mae, m->fit.r2);
    }
    return cli_print_text(c, &t);
}

static int print_json(cli *c, const judged *j) {
    adze_text t = {.ctx = c->ctx};
    const adze_metrics *m = j->m;
    adze_text_add(&t, "{\"schema\":1,\"part\":\"%s\",\"examples\":%lld,\"accuracy\":%.6f,\"error\":%.6g,\"top5\":%.6f", j->o->part,
                  (long long)m->count, m->acc, 100 * (1 - m->acc), m->top5);
    number(&t, "nll", m->nll);
    number(&t, "loss", m->loss);
    adze_text_add(&t, ",\"loss_name\":\"%s\",\"target\":\"%s\",\"probabilities\":", loss_of(j), target_of(j));
    if (reading_of(j)) {
        adze_json_string(&t, reading_of(j));
    }
    adze_text_add(&t, "%s", reading_of(j) ? "" : "null");
    adze_text_add(&t, ",\"dropout\":\"%s\",\"dropconnect\":\"%s\"", j->drop->dropout, j->drop->dropconnect);
    adze_text_add(&t, ",\"crops\":%lld,\"crop_pad\":%lld", (long long)j->o->crops, (long long)j->o->crop_pad);
    adze_text_add(&t, ",\"top\":{\"k\":%lld", (long long)j->o->top);
    number(&t, "accuracy", adze_metrics_top(m, j->o->top));
    adze_text_add(&t, "}");
    report_json(&t, &j->r, m->numbers);
    adze_text_add(&t, ",\"classes\":[");
    for (int64_t k = 0; k < m->classes; k++) {
        adze_text_add(&t, "%s{\"name\":", k ? "," : "");
        adze_json_string(&t, adze_model_class_name(j->model, (int)k));
        adze_text_add(&t, ",");
        class_json(&t, &j->r.of[k]);
    }
    adze_text_add(&t, "],\"confusion\":[");
    for (int64_t i = 0; i < m->classes; i++) {
        for (int64_t k = 0; k < m->classes; k++) {
            adze_text_add(&t, "%s%lld", k ? "," : i ? ",[" : "[", (long long)m->confusion[i * m->classes + k]);
        }
        adze_text_add(&t, "]");
    }
    adze_text_add(&t, "]}\n");
    return cli_print_text(c, &t);
}

/* Above: right against sure; below: how many examples are so sure. */
static int draw_reliability(cli *c, const adze_report *r, const char *path) {
    double sure[ADZE_BINS], right[ADZE_BINS], share_of[ADZE_BINS], middle[ADZE_BINS], n = 0;
    for (int b = 0; b < ADZE_BINS; b++) {
        n += (double)r->bins[b].count;
    }
    for (int b = 0; b < ADZE_BINS; b++) {
        sure[b] = r->bins[b].confidence;
        right[b] = r->bins[b].accuracy;
        middle[b] = (b + 0.5) / ADZE_BINS;
        share_of[b] = 100 * (double)r->bins[b].count / n;
    }
    const double ends[] = {0, 1};
    const adze_line lines[] = {{"calibrated", ends, ends, 2}, {"network", sure, right, ADZE_BINS}},
                    counts = {"examples", middle, share_of, ADZE_BINS};
    char title[64];
    snprintf(title, sizeof(title), "Reliability: calibration error %.4f", r->ece);
    const adze_chart charts[] = {{.title = title, .x_label = "largest probability", .y_label = "accuracy", .lines = lines, .nlines = 2},
                                 {.title = "Examples", .x_label = "largest probability", .y_label = "%", .lines = &counts, .nlines = 1}};
    return adze_chart_write(c->ctx, path, charts, 2);
}

enum { RECAL_BATCH = 128 };

static int recalibrate(cli *c, const adze_model *model, adze_store *store, const char *data, const eval_opts *o) {
    adze_dataset *d;
    TRY(adze_dataset_open(c->ctx, data, "train", &d));
    const int status = adze_recalibrate(c->ctx, model, store, "", d, NULL, 0, RECAL_BATCH, o->bn_recal);
    adze_dataset_close(d);
    return status;
}

static int eval(cli *c, const char *name, const eval_opts *o, const drop_opts *drop) {
    adze_model *model;
    adze_store *store;
    TRY(cli_load_trained(c, name, &model, &store));
    adze_dataset *d = NULL;
    adze_metrics m = {0};
    judged j = {.model = model, .m = &m, .o = o, .drop = drop};
    char data[sizeof(o->data)];
    int status = training_of(c, &j);
    status = status == ADZE_OK ? cli_data_of(c, o->data, name, data, sizeof(data)) : status;
    if (status == ADZE_OK && o->bn_recal > 0) {
        status = recalibrate(c, model, store, data, o);
    }
    if (status == ADZE_OK) {
        status = adze_dataset_open(c->ctx, data, o->part, &d);
    }
    if (status == ADZE_OK) {
        adze_eval_opts how;
        status = cli_drop_opts(c, drop, o->batch, &how);
        if (status == ADZE_OK && o->passes > 1 && how.passes > 0) {
            status = cli_usage_error(c, "--passes and --dropout mc or geo both say how many passes: give one of them");
        }
        how.passes = o->passes > 1 ? o->passes : how.passes;
        how.crops = o->crops;
        how.crop_pad = o->crop_pad;
        how.train = &j.train;
        status = status == ADZE_OK ? adze_evaluate_with(c->ctx, model, store, &how, d, NULL, d->count, &m) : status;
    }
    const bool classes = status == ADZE_OK && m.classes > 0;
    if (classes) {
        status = adze_metrics_report(c->ctx, &m, &j.r);
    }
    if (status == ADZE_OK && m.numbers && o->reliability[0]) {
        status = cli_usage_error(c, "--reliability draws probabilities, and the outputs of a model trained with %s are none", loss_of(&j));
    }
    if (status == ADZE_OK && o->reliability[0]) {
        status = draw_reliability(c, &j.r, o->reliability);
    }
    if (status == ADZE_OK) {
        status = !classes ? print_rebuilt(c, &j) : c->global.json ? print_json(c, &j) : print_report(c, &j);
    }
    adze_report_free(c->ctx, &j.r);
    adze_metrics_free(c->ctx, &m);
    adze_dataset_close(d);
    adze_store_free(store);
    adze_model_free(model);
    return status;
}

static int run(cli *c, int argc, const char **argv) {
    eval_opts o;
    drop_opts drop;
    cli_args a = {.tables = {{FIELDS, &o, NULL}, {CLI_DROP_FIELDS, &drop, NULL}}, .ntables = 2};
    int status = cli_parse(c, &a, argc, argv, 1, 1);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK && strcmp(o.part, "test") != 0 && strcmp(o.part, "train") != 0) {
        status = cli_usage_error(c, "--part is 'test' or 'train', not '%s'", o.part);
    } else if (status == ADZE_OK) {
        status = eval(c, a.words[0], &o, &drop);
    }
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_EVAL = {
    "eval",
    "accuracy, confusion matrix, AUC, calibration; of a reconstruction its error",
    "eval MODEL.safetensors [options]",
    "  adze eval runs/mlp-001/model.safetensors\n  adze eval m.safetensors --data mnist --json\n"
    "  adze eval m.safetensors --data mnist --reliability sure.png\n"
    "  adze eval m.safetensors --loss mse\n  adze eval m.safetensors --dropout mc:50\n  adze eval m.safetensors --crops 10 --crop-pad 4\n",
    tables,
    run};
