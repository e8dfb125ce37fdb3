/* What most test programs share: a context for each test, which must give back all of its memory; a status that must be ADZE_OK; networks from text.
 * Included by one test program each, which may say how many threads its contexts have. */
#ifndef ADZE_TEST_CONTEXT_H
#define ADZE_TEST_CONTEXT_H

#include "adze/io.h"
#include "adze/model.h"
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#ifndef CONTEXT_THREADS
#define CONTEXT_THREADS 1
#endif
#define MAYBE __attribute__((unused)) /* not every program needs everything here */

MAYBE static int setup(void **state) {
    adze_ctx *ctx;
    const adze_ctx_opts o = {.size = sizeof o, .threads = CONTEXT_THREADS};
    assert_int_equal(adze_ctx_new(&o, &ctx), ADZE_OK);
    *state = ctx;
    return 0;
}

MAYBE static int teardown(void **state) {
    adze_ctx *ctx = *state;
    adze_err_clear(ctx);
    assert_int_equal(adze_ctx_mem_used(ctx), 0); /* nothing leaks, on any path */
    adze_ctx_free(ctx);
    return 0;
}

MAYBE static void must(adze_ctx *ctx, int status) {
    if (status != ADZE_OK) {
        fail_msg("%d: %s", status, adze_errmsg(ctx));
    }
}

MAYBE static int parse(adze_ctx *ctx, const char *text, adze_model **m) {
    adze_doc *d;
    *m = NULL;
    TRY(adze_yaml_parse(ctx, text, strlen(text), "n.yaml", &d));
    const int status = adze_model_from_tree(ctx, adze_doc_root(d), "n.yaml", m);
    adze_doc_free(d);
    return status;
}

MAYBE static adze_model *from_yaml(adze_ctx *ctx, const char *text) {
    adze_model *m;
    must(ctx, parse(ctx, text, &m));
    return m;
}

MAYBE static adze_store *fresh_store(adze_ctx *ctx, const adze_model *m, adze_dtype d, uint64_t seed) {
    adze_store *s;
    must(ctx, adze_store_new(ctx, &s));
    must(ctx, adze_model_init(m, s, d, seed));
    return s;
}

MAYBE static adze_tensor slot_of(adze_ctx *ctx, adze_store *s, const char *name) {
    adze_tensor t;
    const int slot = adze_store_find(s, name);
    if (slot < 0) {
        fail_msg("no slot '%s'", name);
    }
    must(ctx, adze_store_tensor(s, slot, &t));
    return t;
}

#endif
