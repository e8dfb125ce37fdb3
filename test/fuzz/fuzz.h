/* What the fuzz targets share: one context for the process, with a memory limit, so that a hostile file cannot ask for more than it may. */
#ifndef ADZE_TEST_FUZZ_H
#define ADZE_TEST_FUZZ_H

#include "adze.h"
#include "adze/io.h"
#include "base/base.h"

#include <stdint.h>
#include <stdlib.h>

/* A parser may hold twice its input and 64 MiB (docs/reliability.md). */
static adze_ctx *fuzz_ctx(size_t n) {
    adze_ctx *ctx = NULL;
    adze_ctx_opts o = {.size = sizeof(o), .threads = 1, .mem_limit = 2 * n + (64u << 20)};
    if (adze_ctx_new(&o, &ctx) != ADZE_OK) {
        abort();
    }
    return ctx;
}

/* A failure must come with a sentence and with one of the codes that bad content may have; nothing may stay behind. */
static void fuzz_verdict(adze_ctx *ctx, int status) {
    if (status != ADZE_OK && (adze_errmsg(ctx)[0] == 0 || status == ADZE_EBUG)) {
        abort();
    }
    adze_err_clear(ctx);
    if (adze_ctx_mem_used(ctx) != 0) {
        abort();
    }
    adze_ctx_free(ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#endif
