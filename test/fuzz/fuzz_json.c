/* Fuzz target: the JSON reader, and that what it prints it reads again to the same text. */
#include "fuzz.h"

#include "base/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    adze_ctx *ctx = fuzz_ctx(n);
    adze_arena a = {.ctx = ctx}, b = {.ctx = ctx};
    adze_tree *t = NULL, *u = NULL;
    int status = adze_json_parse(&a, (const char *)bytes, n, "fuzz.json", &t);
    if (status == ADZE_OK) {
        adze_text one = {.ctx = ctx}, two = {.ctx = ctx};
        char *s = NULL, *r = NULL;
        if (adze_tree_print_json(t, &one) != ADZE_OK || adze_text_finish(&one, &s) != ADZE_OK ||
            adze_json_parse(&b, s, strlen(s), "again.json", &u) != ADZE_OK || adze_tree_print_json(u, &two) != ADZE_OK ||
            adze_text_finish(&two, &r) != ADZE_OK || strcmp(s, r) != 0) {
            abort();
        }
        adze_free(ctx, s);
        adze_free(ctx, r);
    }
    adze_arena_free(&a);
    adze_arena_free(&b);
    fuzz_verdict(ctx, status);
    return 0;
}
