/* Fuzz target: PNG pictures. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    adze_ctx *ctx = fuzz_ctx(n);
    adze_tensor t = {0};
    int status = adze_png_parse(ctx, bytes, n, "fuzz.png", &t);
    if (status == ADZE_OK) {
        adze_tensor_free(&t);
    }
    fuzz_verdict(ctx, status);
    return 0;
}
