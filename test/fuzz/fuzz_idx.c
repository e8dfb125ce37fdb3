/* Fuzz target: IDX files, plain and gzipped. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    adze_ctx *ctx = fuzz_ctx(n);
    adze_type type;
    const void *data;
    int status = adze_idx_parse(ctx, bytes, n, "fuzz.idx", &type, &data);
    if (status == ADZE_OK) { /* every declared byte must be readable */
        volatile uint8_t sum = 0;
        int64_t size = adze_type_bytes(&type);
        for (int64_t i = 0; i < size; i++) {
            sum = (uint8_t)(sum + ((const uint8_t *)data)[i]);
        }
    }
    fuzz_verdict(ctx, status);
    return 0;
}
