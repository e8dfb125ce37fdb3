/* Models by name or by file, for every command that takes one. */
#include "cli/cli.h"

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

int cli_data_of(cli *c, const char *given, const char *file, char *out, size_t n) {
    const char *name, *doc, *was = "fashion-mnist"; /* of files that do not say */
    adze_model *m = NULL;
    int status = given[0] ? ADZE_OK : adze_model_load(c->ctx, file, &m, NULL);
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
    if (!ends_with(name, ".safetensors")) {
        *m = NULL;
        *s = NULL;
        return cli_usage_error(c, "'%s' has no weights; a trained model is a .safetensors file, made by `adze train`", name);
    }
    return cli_load_model(c, name, m, s);
}
