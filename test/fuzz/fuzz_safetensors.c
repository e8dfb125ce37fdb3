/* Fuzz target: safetensors files; every tensor that is accepted is read in full. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    adze_ctx *ctx = fuzz_ctx(n);
    adze_safetensors *f = NULL;
    int status = adze_safetensors_parse(ctx, bytes, n, "fuzz.safetensors", &f);
    for (int i = 0; status == ADZE_OK && i < adze_safetensors_count(f); i++) {
        adze_tensor t;
        if (adze_safetensors_tensor(f, i, &t) == ADZE_OK) {
            adze_type type = adze_tensor_type(&t);
            volatile uint8_t sum = 0;
            const uint8_t *p = adze_tensor_data(&t);
            for (int64_t k = 0; k < adze_type_bytes(&type); k++) {
                sum = (uint8_t)(sum + p[k]);
            }
        }
    }
    adze_safetensors_close(f);
    fuzz_verdict(ctx, status);
    return 0;
}
