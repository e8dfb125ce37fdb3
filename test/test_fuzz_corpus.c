/* The fuzz targets on their corpora, without a fuzzer: what was once found by fuzzing is tried by every `make test`, and so are cut and damaged
 * forms. */
#define LLVMFuzzerTestOneInput fuzz_one_json
#include "fuzz/fuzz_json.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_one_idx
#include "fuzz/fuzz_idx.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_one_gzip
#include "fuzz/fuzz_gzip.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_one_safetensors
#include "fuzz/fuzz_safetensors.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_one_yaml
#include "fuzz/fuzz_yaml.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_one_png
#include "fuzz/fuzz_png.c"
#undef LLVMFuzzerTestOneInput

#include "base/ctx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { FILE_MOST = 1 << 16, DAMAGED = 40, LEAST_FILES = 5 };

typedef int (*fuzz_target)(const uint8_t *bytes, size_t n);

typedef struct corpus {
    adze_ctx *ctx;
    fuzz_target target;
    char dir[512];
    int files;
} corpus;

/* A copy of exactly n bytes: a sanitizer or valgrind sees a read behind them. */
static void feed(const corpus *c, const uint8_t *bytes, int64_t n) {
    uint8_t *copy = malloc((size_t)(n > 0 ? n : 1));
    assert_non_null(copy);
    memcpy(copy, bytes, (size_t)n);
    assert_int_equal(c->target(copy, (size_t)n), 0); /* what is wrong aborts */
    free(copy);
}

static int try_file(void *arg, const char *name) {
    corpus *c = arg;
    char path[1024];
    void *bytes;
    int64_t n;
    assert_int_equal(adze_path_join(path, sizeof path, c->dir, name), ADZE_OK);
    if (adze_read_file(c->ctx, path, FILE_MOST, &bytes, &n) != ADZE_OK) {
        fail_msg("%s", adze_errmsg(c->ctx));
    }
    uint8_t *b = bytes;
    feed(c, b, n);
    adze_rng r = adze_rng_make(adze_hash_str(name), 5);
    for (int i = 0; i < DAMAGED && n > 0; i++) {
        uint64_t at = adze_rng_below(&r, (uint64_t)n);
        uint8_t was = b[at];
        b[at] = i % 2 ? (uint8_t)adze_rng_u32(&r) : was ^ (uint8_t)(1u << (i / 2 % 8));
        feed(c, b, n);
        b[at] = was;
        feed(c, b, (int64_t)adze_rng_below(&r, (uint64_t)n));
    }
    adze_free(c->ctx, bytes);
    c->files++;
    return 0;
}

static void replay(const char *name, fuzz_target target) {
    corpus c = {.target = target};
    snprintf(c.dir, sizeof c.dir, "%s/fuzz/corpus/%s", ADZE_TEST_DIR, name);
    assert_int_equal(adze_ctx_new(NULL, &c.ctx), ADZE_OK);
    assert_int_equal(adze_fs_posix.list(NULL, c.dir, try_file, &c), 0);
    assert_true(c.files >= LEAST_FILES);
    adze_ctx_free(c.ctx);
}

static void json(void **state) {
    (void)state;
    replay("json", fuzz_one_json);
}

static void idx(void **state) {
    (void)state;
    replay("idx", fuzz_one_idx);
}

static void gz(void **state) {
    (void)state;
    replay("gzip", fuzz_one_gzip);
}

static void safetensors(void **state) {
    (void)state;
    replay("safetensors", fuzz_one_safetensors);
}

static void yaml(void **state) {
    (void)state;
    replay("yaml", fuzz_one_yaml);
}

static void png(void **state) {
    (void)state;
    replay("png", fuzz_one_png);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json),        cmocka_unit_test(idx),  cmocka_unit_test(gz),
        cmocka_unit_test(safetensors), cmocka_unit_test(yaml), cmocka_unit_test(png),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
