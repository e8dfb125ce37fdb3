/* adze fold: a trained model without its batch normalisations, for use. */
#include "cli/cli.h"

static int64_t slot_bytes(const adze_store *s) {
    int64_t sum = 0;
    for (int i = 0; i < adze_store_count(s); i++) {
        const adze_type t = adze_store_type(s, i);
        sum += adze_type_bytes(&t);
    }
    return sum;
}

static int report(cli *c, const adze_model *before, const adze_store *s, const adze_model *after, const adze_store *now, const char *path) {
    adze_text t = {.ctx = c->ctx};
    const int layers = adze_model_summary(before, NULL, 0), left = adze_model_summary(after, NULL, 0);
    if (c->global.json) {
        adze_text_add(&t, "{\"schema\":1,\"model\":");
        adze_json_string(&t, path);
        adze_text_add(&t, ",\"layers_before\":%d,\"layers\":%d,\"folded\":%d,\"bytes_before\":%lld,\"bytes\":%lld}\n", layers, left, layers - left,
                      (long long)slot_bytes(s), (long long)slot_bytes(now));
    } else {
        char a[32], b[32];
        adze_text_add(&t, "%s: %d of %d layers folded, weights %s instead of %s\n", path, layers - left, layers,
                      cli_bytes(a, sizeof(a), (double)slot_bytes(now)), cli_bytes(b, sizeof(b), (double)slot_bytes(s)));
    }
    return cli_print_text(c, &t);
}

static int fold(cli *c, const char *from, const char *to) {
    adze_model *m, *after = NULL;
    adze_store *s, *now = NULL;
    TRY(cli_load_trained(c, from, &m, &s));
    int status = adze_model_fold(m, s, &after, &now);
    if (status == ADZE_OK) {
        status = adze_model_save(after, now, "", to);
    }
    if (status == ADZE_OK) {
        status = report(c, m, s, after, now, to);
    }
    adze_store_free(now);
    adze_model_free(after);
    adze_store_free(s);
    adze_model_free(m);
    return status;
}

static int run(cli *c, int argc, const char **argv) {
    cli_args a = {0};
    int status = cli_parse(c, &a, argc, argv, 2, 2);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK) {
        status = fold(c, a.words[0], a.words[1]);
    }
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_FOLD = {"fold",
                          "batch normalisation put into the weights before it, for use",
                          "fold MODEL.safetensors OUT.safetensors",
                          "  adze fold runs/resnet20-001/model.safetensors small.safetensors\n  adze fold m.safetensors out.safetensors --json\n",
                          NULL,
                          run};
