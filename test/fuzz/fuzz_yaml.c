/* Fuzz target: model files in YAML; a model that is accepted must survive the way through its canonical form. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    adze_ctx *ctx = fuzz_ctx(n);
    adze_doc *d = NULL;
    adze_model *m = NULL, *again = NULL;
    int status = adze_yaml_parse(ctx, (const char *)bytes, n, "fuzz.yaml", &d);
    if (status == ADZE_OK) {
        status = adze_model_from_tree(ctx, adze_doc_root(d), "fuzz.yaml", &m);
    }
    if (status == ADZE_OK) {
        char *s = NULL;
        if (adze_model_to_json(m, &s) != ADZE_OK || adze_model_from_json(ctx, s, strlen(s), "again.json", &again) != ADZE_OK) {
            abort();
        }
        adze_text_free(ctx, s);
    }
    if (status == ADZE_ENOMEM) { /* so small a file needs little: it stands for a failure of libfyaml that we could not name */
        abort();
    }
    adze_model_free(again);
    adze_model_free(m);
    adze_doc_free(d);
    fuzz_verdict(ctx, status);
    return 0;
}
