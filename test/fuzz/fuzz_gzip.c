/* Fuzz target: gzip files as packed data sets are read: in full with a known length, and a prefix only. */
#include "data/formats.h"
#include "fuzz.h"

enum { FUZZ_ROOM = 1 << 14 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    adze_ctx *ctx = fuzz_ctx(n);
    if (adze_io_register(ctx) != ADZE_OK) {
        abort();
    }
    int status = ADZE_OK;
    for (int prefix = 0; prefix < 2; prefix++) {
        int64_t cap = prefix ? 20 : FUZZ_ROOM, got = 0;
        uint8_t *out = adze_alloc(ctx, cap, 1); /* of exactly that size: one byte more is noticed */
        if (out == NULL) {
            abort();
        }
        status = adze_ctx_formats(ctx)->gunzip(ctx, bytes, (int64_t)n, out, cap, prefix, "fuzz.gz", &got);
        if (got < 0 || got > cap) {
            abort();
        }
        adze_free(ctx, out);
    }
    fuzz_verdict(ctx, status);
    return 0;
}
