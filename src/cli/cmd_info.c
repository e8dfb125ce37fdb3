/* adze info: what a model is, layer by layer, before anything runs. */
#include "cli/cli.h"

typedef struct info_opts {
    int64_t batch;
} info_opts;
static const adze_field FIELDS[] = {
    {"batch", ADZE_F_I64, 0, offsetof(info_opts, batch), 0, "128", 1, 65536, NULL, "batch size that the memory figures are for"}, {0}};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    return 1;
}

typedef struct totals {
    int64_t params, fixed, act;
    double macs;
} totals;

static totals add_up(const adze_layer_row *rows, int n) {
    totals sum = {0};
    for (int i = 0; i < n; i++) {
        sum.params += rows[i].params;
        sum.fixed += rows[i].fixed;
        sum.act += rows[i].act_bytes;
        sum.macs += rows[i].macs;
    }
    return sum;
}

static const char *shape_text(char *out, size_t n, const adze_type *t) {
    size_t len = (size_t)snprintf(out, n, "(");
    for (int i = 0; i < t->rank && len < n; i++) {
        len += (size_t)snprintf(out + len, n - len, "%s%lld", i ? ", " : "", (long long)t->dims[i]);
    }
    if (len < n) {
        snprintf(out + len, n - len, ")");
    }
    return out;
}

static int print_table(cli *c, const adze_model *m, const adze_layer_row *rows, int n, int64_t batch) {
    char a[32], b[32], d[64];
    totals sum = add_up(rows, n);
    adze_text t = {.ctx = c->ctx};
    adze_type in = adze_model_input_type(m, 1, ADZE_F32);
    in.rank--;
    memmove(in.dims, in.dims + 1, sizeof(in.dims[0]) * (size_t)in.rank);
    adze_text_add(&t, "%s   input %s\n\n", adze_model_name(m), shape_text(d, sizeof(d), &in));
    adze_text_add(&t, "%3s  %-24s %-18s %10s %9s %10s\n", "#", "layer (type)", "output", "params", "MACs", "memory");
    for (int i = 0; i < n; i++) {
        char name[112];
        snprintf(name, sizeof(name), "%s (%s)", rows[i].name, rows[i].type);
        adze_text_add(&t, "%3d  %-24.24s %-18s %10lld %9s %10s\n", i + 1, name, shape_text(d, sizeof(d), &rows[i].out), (long long)rows[i].params,
                      cli_count(a, sizeof(a), rows[i].macs), cli_bytes(b, sizeof(b), (double)rows[i].act_bytes));
    }
    adze_text_add(&t, "\nparameters      %lld (%s in f32)", (long long)sum.params, cli_bytes(a, sizeof(a), 4.0 * (double)sum.params));
    if (sum.fixed) {
        adze_text_add(&t, ", and %lld fixed values", (long long)sum.fixed);
    }
    adze_text_add(&t, "\nMACs            %s for one example, forward\n", cli_count(a, sizeof(a), sum.macs));
    adze_text_add(&t, "activations     %s for a batch of %lld, forward and backward\n",
                  cli_bytes(a, sizeof(a), 2.0 * (double)sum.act * (double)batch), (long long)batch);
    return cli_print_text(c, &t);
}

static int print_json(cli *c, const adze_model *m, const adze_layer_row *rows, int n, int64_t batch) {
    totals sum = add_up(rows, n);
    adze_text t = {.ctx = c->ctx};
    adze_text_add(&t, "{\"schema\":1,\"model\":");
    adze_json_string(&t, adze_model_name(m));
    adze_text_add(&t, ",\"params\":%lld,\"fixed\":%lld,\"macs\":%.0f,\"batch\":%lld,\"activation_bytes\":%lld,\"layers\":[", (long long)sum.params,
                  (long long)sum.fixed, sum.macs, (long long)batch, (long long)(2 * sum.act * batch));
    for (int i = 0; i < n; i++) {
        adze_text_add(&t, "%s{\"name\":", i ? "," : "");
        adze_json_string(&t, rows[i].name);
        adze_text_add(&t, ",\"type\":\"%s\",\"out\":", rows[i].type);
        cli_json_type(&t, &rows[i].out);
        adze_text_add(&t, ",\"params\":%lld,\"fixed\":%lld,\"macs\":%.0f}", (long long)rows[i].params, (long long)rows[i].fixed, rows[i].macs);
    }
    adze_text_add(&t, "]}\n");
    return cli_print_text(c, &t);
}

static int info(cli *c, const char *name, int64_t batch) {
    adze_model *m;
    adze_store *s;
    TRY(cli_load_model(c, name, &m, &s));
    int n = adze_model_summary(m, NULL, 0);
    adze_layer_row *rows = n > 0 ? adze_alloc(c->ctx, n, sizeof(*rows)) : NULL;
    int status = n < 0 ? n : rows ? ADZE_OK : ADZE_ENOMEM;
    if (status == ADZE_OK) {
        int got = adze_model_summary(m, rows, n);
        status = got < 0 ? got : c->global.json ? print_json(c, m, rows, n, batch) : print_table(c, m, rows, n, batch);
    }
    adze_free(c->ctx, rows);
    adze_store_free(s);
    adze_model_free(m);
    return status;
}

static int run(cli *c, int argc, const char **argv) {
    info_opts o;
    cli_args a = {.tables = {{FIELDS, &o, NULL}}, .ntables = 1};
    int status = cli_parse(c, &a, argc, argv, 1, 1);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK) {
        status = info(c, a.words[0], o.batch);
    }
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_INFO = {"info",
                          "layers, shapes, parameters, work and memory of a model",
                          "info MODEL [options]",
                          "  adze info lenet5-caffe\n  adze info net.yaml --batch 64\n  adze info runs/mlp-001/model.safetensors --json\n",
                          tables,
                          run};
