/* adze eval: judges a trained model on a data set it was not trained on. */
#include "cli/cli.h"

typedef struct eval_opts {
    char data[512], part[16];
    int64_t batch;
} eval_opts;
static const adze_field FIELDS[] = {
    {"data", ADZE_F_STR, 0, offsetof(eval_opts, data), sizeof(((eval_opts *)0)->data), "fashion-mnist", 0, 0, NULL, "data set: a name or a folder"},
    {"part", ADZE_F_STR, 0, offsetof(eval_opts, part), sizeof(((eval_opts *)0)->part), "test", 0, 0, NULL, "test or train"},
    {"batch", ADZE_F_I64, 0, offsetof(eval_opts, batch), 0, "250", 1, 65536, NULL, "examples at a time; never changes a result"},
    {0}};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    return 1;
}

static double ratio(double a, double b) {
    return b > 0 ? a / b : 0;
}

typedef struct class_row {
    double precision, recall, f1;
    int64_t count;
} class_row;

static class_row judge_class(const adze_metrics *m, int64_t k) {
    int64_t hit = m->confusion[k * m->classes + k], row = 0, col = 0;
    for (int64_t i = 0; i < m->classes; i++) {
        row += m->confusion[k * m->classes + i];
        col += m->confusion[i * m->classes + k];
    }
    class_row r = {.precision = ratio((double)hit, (double)col), .recall = ratio((double)hit, (double)row), .count = row};
    r.f1 = ratio(2 * r.precision * r.recall, r.precision + r.recall);
    return r;
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

static int print_report(cli *c, const adze_model *model, const adze_metrics *m, const char *part) {
    adze_text t = {.ctx = c->ctx};
    if (m->classes <= 20) {
        print_confusion(&t, model, m);
    }
    adze_text_add(&t, "\n%-13s %9s %9s %9s %9s\n", "class", "precision", "recall", "f1", "examples");
    for (int64_t k = 0; k < m->classes; k++) {
        class_row r = judge_class(m, k);
        adze_text_add(&t, "%-13.12s %9.4f %9.4f %9.4f %9lld\n", adze_model_class_name(model, (int)k), r.precision, r.recall, r.f1,
                      (long long)r.count);
    }
    adze_text_add(&t, "\n%s examples %lld   negative log-likelihood %.4f", part, (long long)m->count, m->nll);
    if (m->classes > 5) {
        adze_text_add(&t, "   top-5 accuracy %.2f %%", 100 * m->top5);
    }
    adze_text_add(&t, "\n%s accuracy %.2f %%\n", part, 100 * m->acc);
    return cli_print_text(c, &t);
}

static int print_json(cli *c, const adze_model *model, const adze_metrics *m, const char *part) {
    adze_text t = {.ctx = c->ctx};
    adze_text_add(&t, "{\"schema\":1,\"part\":\"%s\",\"examples\":%lld,\"accuracy\":%.6f,\"top5\":%.6f,\"nll\":%.9g,\"loss\":%.9g,\"classes\":[",
                  part, (long long)m->count, m->acc, m->top5, m->nll, m->loss);
    for (int64_t k = 0; k < m->classes; k++) {
        class_row r = judge_class(m, k);
        adze_text_add(&t, "%s{\"name\":", k ? "," : "");
        adze_json_string(&t, adze_model_class_name(model, (int)k));
        adze_text_add(&t, ",\"precision\":%.6f,\"recall\":%.6f,\"f1\":%.6f,\"examples\":%lld}", r.precision, r.recall, r.f1, (long long)r.count);
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

static int eval(cli *c, const char *name, const eval_opts *o) {
    adze_model *model;
    adze_store *store;
    TRY(cli_load_trained(c, name, &model, &store));
    adze_dataset *d = NULL;
    adze_metrics m = {0};
    int status = adze_dataset_open(c->ctx, o->data, o->part, &d);
    if (status == ADZE_OK) {
        status = adze_evaluate(c->ctx, model, store, "", d, NULL, d->count, o->batch, &m);
    }
    if (status == ADZE_OK) {
        status = c->global.json ? print_json(c, model, &m, o->part) : print_report(c, model, &m, o->part);
    }
    adze_metrics_free(c->ctx, &m);
    adze_dataset_close(d);
    adze_store_free(store);
    adze_model_free(model);
    return status;
}

static int run(cli *c, int argc, const char **argv) {
    eval_opts o;
    cli_args a = {.tables = {{FIELDS, &o, NULL}}, .ntables = 1};
    int status = cli_parse(c, &a, argc, argv, 1, 1);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK && strcmp(o.part, "test") != 0 && strcmp(o.part, "train") != 0) {
        status = cli_usage_error(c, "--part is 'test' or 'train', not '%s'", o.part);
    } else if (status == ADZE_OK) {
        status = eval(c, a.words[0], &o);
    }
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_EVAL = {"eval",
                          "accuracy, confusion matrix, precision and recall on a data set",
                          "eval MODEL.safetensors [options]",
                          "  adze eval runs/mlp-001/model.safetensors\n  adze eval m.safetensors --data mnist --json\n"
                          "  adze eval m.safetensors --data mnist --part train\n",
                          tables,
                          run};
