/* A model from a file of any of its forms: YAML, JSON, or the trained model itself. */
#include "adze/io.h"
#include "base/base.h"

enum { MAX_BYTES = 1 << 20 };

static bool ends_in(const char *path, const char *end) {
    size_t n = strlen(path), m = strlen(end);
    return n > m && strcmp(path + n - m, end) == 0;
}

static int from_yaml(adze_ctx *ctx, const char *text, size_t n, const char *path, adze_model **out) {
    adze_doc *doc;
    TRY(adze_yaml_parse(ctx, text, n, path, &doc));
    int status = adze_model_from_tree(ctx, adze_doc_root(doc), path, out);
    adze_doc_free(doc);
    return status;
}

int adze_model_from_file(adze_ctx *ctx, const char *path, adze_model **out) {
    *out = NULL;
    if (ends_in(path, ".safetensors")) {
        return adze_model_load(ctx, path, out, NULL);
    }
    bool yaml = ends_in(path, ".yaml") || ends_in(path, ".yml");
    if (!yaml && !ends_in(path, ".json")) {
        return adze_fail(ctx, ADZE_EARG, "'%s' is no model file by its name; it must end in .yaml, .yml, .json or .safetensors", path);
    }
    void *bytes;
    int64_t n;
    TRY(adze_read_file(ctx, path, MAX_BYTES, &bytes, &n));
    int status = yaml ? from_yaml(ctx, bytes, (size_t)n, path, out) : adze_model_from_json(ctx, bytes, (size_t)n, path, out);
    adze_free(ctx, bytes);
    return status;
}
