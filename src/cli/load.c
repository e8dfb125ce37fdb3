/* Models by name or by file, for every command that takes one. */
#include "cli/cli.h"

#include <stdlib.h>

static bool ends_with(const char *s, const char *tail) {
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

int cli_load_model(cli *c, const char *name, adze_model **m, adze_store **s) {
    *m = NULL;
    *s = NULL;
    if (ends_with(name, ".safetensors")) {
        return adze_model_load(c->ctx, name, m, s);
    }
    if (ends_with(name, ".yaml") || ends_with(name, ".yml") || ends_with(name, ".json")) {
        return adze_model_from_file(c->ctx, name, m);
    }
    if (strchr(name, '/') || adze_path_exists(c->ctx, name)) {
        return adze_fail(c->ctx, ADZE_EARG, "'%s' is neither a network of the zoo nor a model file: those end in .yaml, .json or .safetensors", name);
    }
    return adze_model_from_zoo(c->ctx, name, m);
}

/* A file of weights may be named by a finished run's folder, or by a link to it, as ckpt/best and ckpt/last are. */
static int weights_of(cli *c, const char *name, char *out, size_t n) {
    if (adze_path_join(out, n, name, "model.safetensors") == ADZE_OK && adze_path_exists(c->ctx, out)) {
        return ADZE_OK;
    }
    char *file = realpath(name, NULL);
    const bool weights = ends_with(file ? file : name, ".safetensors");
    free(file);
    snprintf(out, n, "%s", name);
    return weights ? ADZE_OK
                   : cli_usage_error(
                         c, "'%s' has no weights; a trained model is a .safetensors file or a finished run's folder, made by `adze train`", name);
}

int cli_data_of(cli *c, const char *given, const char *file, char *out, size_t n) {
    const char *name, *doc, *was = "fashion-mnist"; /* of files that do not say */
    char path[1024];
    adze_model *m = NULL;
    int status = given[0] ? ADZE_OK : weights_of(c, file, path, sizeof(path));
    status = given[0] || status != ADZE_OK ? status : adze_model_load(c->ctx, path, &m, NULL);
    if (m && adze_model_data(m)[0]) {
        was = adze_model_data(m);
    } else if (m) {
        const adze_type x = adze_model_input_type(m, 1, ADZE_F32);
        const int64_t side = 28 + 2 * adze_model_preprocess(m)->pad; /* of its pictures, grey ones */
        if (adze_type_count(&x) != side * side) {
            status = cli_usage_error(c, "'%s' does not say what it was trained on, and its input is no picture of fashion-mnist: give --data", file);
        }
    }
    bool known = given[0] != 0;
    for (int i = 0; status == ADZE_OK && !known && adze_dataset_known(i, &name, &doc) == ADZE_OK; i++) {
        known = strcmp(name, was) == 0;
    }
    if (status == ADZE_OK && !known) {
        status = cli_usage_error(c, "'%s' was trained on '%s', which is no data set with a name: give --data and its folder", file, was);
    } else if (status == ADZE_OK) {
        snprintf(out, n, "%s", given[0] ? given : was);
    }
    adze_model_free(m);
    return status;
}

int cli_load_trained(cli *c, const char *name, adze_model **m, adze_store **s) {
    char path[1024];
    *m = NULL;
    *s = NULL;
    TRY(weights_of(c, name, path, sizeof(path)));
    return adze_model_load(c->ctx, path, m, s);
}
