/* JSON and trees: what is refused, where; what is read comes out the same; structs are filled with every fault told. */
#include "faulty.h"

#include "base/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static int parse(adze_arena *a, const char *text, adze_tree **t) {
    return adze_json_parse(a, text, strlen(text), "f.json", t);
}

static void malformed_texts_are_refused_with_their_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *place;
    } BAD[] = {
        {"", ":1:1:"},
        {"   ", ":1:4:"},
        {"{", ":1:2:"},
        {"[", ":1:2:"},
        {"}", ":1:1:"},
        {"]", ":1:1:"},
        {"[1,]", ":1:4:"},
        {"[,1]", ":1:2:"},
        {"[1 2]", ":1:4:"},
        {"[1}", ":1:3:"},
        {"{\"a\":1]", ":1:7:"},
        {"{\"a\":1,}", ":1:8:"},
        {"{\"a\"}", ":1:5:"},
        {"{\"a\" 1}", ":1:6:"},
        {"{\"a\":}", ":1:6:"},
        {"{a:1}", ":1:2:"},
        {"{'a':1}", ":1:2:"},
        {"{1:1}", ":1:2:"},
        {"{\"a\":1 \"b\":2}", ":1:8:"},
        {"{\"a\":1,\n \"b\":2,\n \"a\":3}", ":3:2: the key 'a'"},
        {"\"abc", ":1:2:"},
        {"\"a\\\"", ":1:2:"},
        {"\"\\x\"", ":1:3:"},
        {"\"\\u12\"", ":1:4:"},
        {"\"\\u00g0\"", ":1:4:"},
        {"\"\\u0000\"", ":1:"},
        {"\"\\ud800\"", ":1:"},
        {"\"\\ud800\\n\"", ":1:"},
        {"\"\\ud800\\u0041\"", ":1:"},
        {"\"\\udc00\"", ":1:"},
        {"\"a\nb\"", ":1:3:"},
        {"\"\t\"", ":1:2:"},
        {"\"\xff\"", ":1:2:"},
        {"\"\xc0\xaf\"", ":1:2:"},         /* overlong */
        {"\"\xe0\x80\x80\"", ":1:2:"},     /* overlong */
        {"\"\xed\xa0\x80\"", ":1:2:"},     /* a surrogate in UTF-8 */
        {"\"\xf4\x90\x80\x80\"", ":1:2:"}, /* above U+10FFFF */
        {"\"\xe2\x82\"", ":1:2:"},         /* cut short */
        {"\xef\xbb\xbf{}", ":1:1:"},       /* byte order mark */
        {"01", ":1:1:"},
        {"-", ":1:1:"},
        {"+1", ":1:1:"},
        {".5", ":1:1:"},
        {"5.", ":1:1:"},
        {"1e", ":1:1:"},
        {"1e+", ":1:1:"},
        {"0x10", ":1:2:"},
        {"NaN", ":1:1:"},
        {"Infinity", ":1:1:"},
        {"tru", ":1:1:"},
        {"truee", ":1:5:"},
        {"nul", ":1:1:"},
        {"1 2", ":1:3:"},
        {"{} {}", ":1:4:"},
        {"// comment\n1", ":1:1:"},
        {"[1,/**/2]", ":1:4:"},
        {"{\n\n  \"a\": [1,\n 2,, 3]}", ":4:4:"},
    };
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    for (size_t i = 0; i < ADZE_COUNT(BAD); i++) {
        adze_arena a = {.ctx = ctx};
        adze_tree *t = (adze_tree *)&a;
        adze_err_clear(ctx);
        if (parse(&a, BAD[i].text, &t) != ADZE_EFORMAT || !strstr(adze_errmsg(ctx), BAD[i].place)) {
            fail_msg("'%s': expected f.json%s, got '%s'", BAD[i].text, BAD[i].place, adze_errmsg(ctx));
        }
        assert_memory_equal(adze_errmsg(ctx), "f.json:", 7);
        assert_null(t);
        adze_arena_free(&a);
    }
    adze_ctx_free(ctx);
}

static void what_is_read_is_written_the_same(void **state) {
    (void)state;
    static const struct {
        const char *text, *again; /* NULL: the same */
    } GOOD[] = {
        {"{}", NULL},
        {"[]", NULL},
        {"null", NULL},
        {"true", NULL},
        {"-0", NULL},
        {"0", NULL},
        {"1E5", NULL},
        {"-12.50e-07", NULL},
        {"123456789012345678901234567890", NULL},
        {"\"\"", NULL},
        {" [ 1 , \"2\" ,\n{\"a\" : [ ] , \"b\":{}} ] ", "[1,\"2\",{\"a\":[],\"b\":{}}]"},
        {"\"\\u00e9\\ud83d\\ude00\\u20ac\\u0041\"", "\"\xc3\xa9\xf0\x9f\x98\x80\xe2\x82\xac"
                                                    "A\""},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\""},
        {"{\"z\":1,\"a\":{\"q\":false,\"\":null}}", NULL},
    };
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    for (size_t i = 0; i < ADZE_COUNT(GOOD); i++) {
        adze_arena a = {.ctx = ctx};
        adze_tree *t;
        char *out;
        adze_text text = {.ctx = ctx};
        assert_int_equal(parse(&a, GOOD[i].text, &t), ADZE_OK);
        assert_int_equal(adze_tree_print_json(t, &text), ADZE_OK);
        assert_int_equal(adze_text_finish(&text, &out), ADZE_OK);
        assert_string_equal(out, GOOD[i].again ? GOOD[i].again : GOOD[i].text);
        adze_free(ctx, out);
        adze_arena_free(&a);
    }
    adze_ctx_free(ctx);
}

static void trees_know_kinds_and_places(void **state) {
    (void)state;
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    adze_arena a = {.ctx = ctx};
    adze_tree *t;
    assert_int_equal(parse(&a, "{\n  \"name\": \"x\",\n  \"list\": [1, true,\n null]}", &t), ADZE_OK);
    assert_int_equal(t->kind, ADZE_T_MAP);
    assert_int_equal(adze_tree_len(t), 2);
    const adze_tree *name = adze_tree_get(t, "name"), *list = adze_tree_get(t, "list");
    assert_true(name->kind == ADZE_T_STRING && name->line == 2 && name->col == 3);
    assert_true(list->kind == ADZE_T_LIST && list->line == 3 && adze_tree_len(list) == 3);
    assert_true(list->child->kind == ADZE_T_SCALAR && list->child->line == 3 && list->child->col == 12 && !list->child->key);
    assert_string_equal(list->child->next->text, "true");
    assert_true(list->child->next->next->kind == ADZE_T_NULL && list->child->next->next->line == 4);
    assert_null(adze_tree_get(t, "nothing"));
    assert_null(adze_tree_get(list, "nothing"));
    assert_null(adze_tree_get(NULL, "nothing"));
    assert_int_equal(adze_json_parse(&a, "{\"a\":1}xx", 7, NULL, &t), ADZE_OK); /* the length counts, not the end of the string */
    assert_int_equal(adze_json_parse(&a, "[\0]", 3, NULL, &t), ADZE_EFORMAT);
    adze_arena_free(&a);
    adze_ctx_free(ctx);
}

static void nesting_and_numbers_of_values_are_bounded(void **state) {
    (void)state;
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    for (int depth = 30; depth < 36; depth++) {
        char text[100] = "";
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        adze_arena a = {.ctx = ctx};
        adze_tree *t;
        assert_int_equal(parse(&a, text, &t), depth <= ADZE_TREE_MAX_DEPTH ? ADZE_OK : ADZE_EFORMAT);
        adze_arena_free(&a);
    }
    size_t n = 3000000;
    char *many = malloc(n + 2);
    for (size_t i = 0; i < n; i++) {
        many[i] = i == 0 ? '[' : i % 2 ? '1' : ',';
    }
    adze_arena a = {.ctx = ctx};
    adze_tree *t;
    assert_int_equal(adze_json_parse(&a, many, n, "many", &t), ADZE_EFORMAT);
    assert_non_null(strstr(adze_errmsg(ctx), "million"));
    adze_arena_free(&a);
    memset(many, '[', n);
    assert_int_equal(adze_json_parse(&a, many, n, "deep", &t), ADZE_EFORMAT);
    adze_arena_free(&a);
    free(many);
    adze_ctx_free(ctx);
}

static void double_keys_are_found_in_large_maps(void **state) {
    (void)state;
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    for (int twice = 0; twice < 2; twice++) {
        adze_text text = {.ctx = ctx};
        char *s;
        for (int i = 0; i < 5000; i++) {
            adze_text_add(&text, "%s\"key%d\":%d", i ? ",\n" : "{", twice && i == 4321 ? 17 : i, i);
        }
        adze_text_put(&text, "}", 1);
        assert_int_equal(adze_text_finish(&text, &s), ADZE_OK);
        adze_arena a = {.ctx = ctx};
        adze_tree *t;
        assert_int_equal(parse(&a, s, &t), twice ? ADZE_EFORMAT : ADZE_OK);
        if (twice) {
            assert_string_equal(adze_errmsg(ctx), "f.json:4322:1: the key 'key17' stands here for the second time");
        } else {
            assert_string_equal(adze_tree_get(t, "key4999")->text, "4999");
        }
        adze_arena_free(&a);
        adze_free(ctx, s);
    }
    assert_int_equal(adze_ctx_mem_used(ctx), 0);
    adze_ctx_free(ctx);
}

/* Any byte in any place of a good text: an answer, never a crash; and what is accepted can be written and read again. */
static void damaged_texts_never_break_anything(void **state) {
    (void)state;
    static const char GOOD[] =
        "{\"layers\":[{\"name\":\"c1\",\"k\":[3,3],\"a\":\"\\u00e9\\ud83d\\ude00\"},-1.5e+3,null,true],\"n\":\"\xe2\x82\xac\"}";
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    adze_rng r = adze_rng_make(11, 12);
    int accepted = 0;
    for (int i = 0; i < 30000; i++) {
        char text[sizeof GOOD];
        size_t n = sizeof GOOD - 1;
        memcpy(text, GOOD, sizeof GOOD);
        for (uint64_t k = adze_rng_below(&r, 3); k < 3; k++) {
            text[adze_rng_below(&r, n)] = adze_rng_below(&r, 2) ? GOOD[adze_rng_below(&r, n)] : (char)adze_rng_below(&r, 256);
        }
        n = adze_rng_below(&r, 4) ? n : adze_rng_below(&r, n);
        char *exact = malloc(n ? n : 1); /* so that a sanitizer sees a byte too far */
        memcpy(exact, text, n);
        adze_arena a = {.ctx = ctx};
        adze_tree *t;
        if (adze_json_parse(&a, exact, n, "d", &t) == ADZE_OK) {
            adze_text out = {.ctx = ctx};
            char *s;
            adze_tree *again;
            accepted++;
            assert_int_equal(adze_tree_print_json(t, &out), ADZE_OK);
            assert_int_equal(adze_text_finish(&out, &s), ADZE_OK);
            assert_int_equal(parse(&a, s, &again), ADZE_OK);
            adze_free(ctx, s);
        }
        free(exact);
        adze_arena_free(&a);
    }
    assert_in_range(accepted, 100, 29000);
    adze_ctx_free(ctx);
}

static void every_failing_allocation_is_survived(void **state) {
    (void)state;
    faulty_mem mem;
    faulty_mem_init(&mem);
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.mem = &mem.table}, &ctx), ADZE_OK);
    char text[6000] = "{";
    for (int i = 0; i < 20; i++) {
        snprintf(text + strlen(text), 300, "%s\"k%d\":[\"%0200d\",{\"x\":1}]", i ? "," : "", i, i);
    }
    strcat(text, "}");
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        for (long n = 1;; n++) {
            adze_arena a = {.ctx = ctx};
            adze_tree *t;
            faulty_mem_arm(&mem, n, for_ever);
            int status = parse(&a, text, &t);
            if (status == ADZE_OK) {
                adze_text out = {.ctx = ctx};
                char *s = NULL;
                status = adze_tree_print_json(t, &out);
                if (status == ADZE_OK) {
                    status = adze_text_finish(&out, &s);
                } else {
                    adze_text_drop(&out);
                }
                assert_true(status != ADZE_OK || strcmp(s, text) == 0);
                adze_free(ctx, s);
            }
            bool hit = mem.calls >= n;
            assert_int_equal(status, hit ? ADZE_ENOMEM : ADZE_OK);
            adze_arena_free(&a);
            assert_int_equal(adze_ctx_mem_used(ctx), 0);
            if (!hit) {
                assert_true(n > 5);
                break;
            }
        }
    }
    adze_ctx_free(ctx);
    assert_true(faulty_mem_clean(&mem));
}

/* -- fields from trees -- */

typedef struct layer {
    int64_t units;
    double rate;
    int32_t act;
    bool bias;
    adze_ints kernel;
    char name[8];
} layer;

static const char *const ACTS[] = {"linear", "relu", "tanh", NULL};
#define AT(m) offsetof(layer, m)
static const adze_field LAYER[] = {
    {"units", ADZE_F_I64, ADZE_FIELD_REQUIRED, AT(units), 0, NULL, 1, 1e6, NULL, "outputs"},
    {"rate", ADZE_F_F64, 0, AT(rate), 0, "0.5", 0, 1, NULL, "rate"},
    {"activation", ADZE_F_ENUM, 0, AT(act), 0, NULL, 0, 0, ACTS, "activation"},
    {"use_bias", ADZE_F_BOOL, 0, AT(bias), 0, "true", 0, 0, NULL, "bias"},
    {"kernel", ADZE_F_INTS, 0, AT(kernel), 0, "1", 1, 9, NULL, "kernel"},
    {"label", ADZE_F_STR, 0, AT(name), 8, NULL, 0, 0, NULL, "label"},
    {.name = NULL},
};
static const char *const SKIP[] = {"type", "from", NULL};

static int fill(adze_ctx *ctx, const char *json, layer *l, char **faults) {
    adze_arena a = {.ctx = ctx};
    adze_tree *t;
    adze_text text = {.ctx = ctx};
    assert_int_equal(parse(&a, json, &t), ADZE_OK);
    adze_fields_default(LAYER, l);
    int n = adze_tree_fields(ctx, t, LAYER, l, "n.json", "layer 'fc1'", SKIP, &text);
    assert_int_equal(adze_text_finish(&text, faults), ADZE_OK);
    adze_arena_free(&a);
    return n;
}

static void structs_are_filled_from_maps(void **state) {
    (void)state;
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    layer l;
    char *faults;
    assert_int_equal(
        fill(ctx, "{\"type\":\"dense\",\"units\":12,\"activation\":\"relu\",\"use_bias\":false,\"kernel\":[3,\"5\"],\"label\":\"no\"}", &l, &faults),
        0);
    assert_string_equal(faults, "");
    assert_true(l.units == 12 && l.rate == 0.5 && l.act == 1 && !l.bias && l.kernel.n == 2 && l.kernel.v[1] == 5);
    assert_string_equal(l.name, "no");
    adze_free(ctx, faults);
    adze_ctx_free(ctx);
}

static void all_faults_are_told_at_once(void **state) {
    (void)state;
    static const char JSON[] = "{\"unit\":12,\n \"rate\":2,\n \"activation\":\"rleu\",\n \"use_bias\":null,\n \"kernel\":[3,[1]],\n"
                               " \"label\":[1],\n \"typ\":1,\n \"qqqqqq\":{}}";
    static const char FAULTS[] = "n.json:1:2: unknown key 'unit' in layer 'fc1'; did you mean 'units'?\n"
                                 "n.json:2:2: layer 'fc1': rate '2' is out of range; it must be 0 to 1\n"
                                 "n.json:3:2: layer 'fc1': activation 'rleu' is not known; did you mean 'relu'?\n"
                                 "n.json:4:2: layer 'fc1': 'use_bias' has no value\n"
                                 "n.json:5:2: layer 'fc1': 'kernel' takes a short list of whole numbers\n"
                                 "n.json:6:2: layer 'fc1': 'label' takes a single value, not a list\n"
                                 "n.json:7:2: unknown key 'typ' in layer 'fc1'; did you mean 'type'?\n"
                                 "n.json:8:2: unknown key 'qqqqqq' in layer 'fc1'; legal are units, rate, activation, use_bias, kernel, label, type, "
                                 "from\n"
                                 "n.json:1:1: layer 'fc1' needs 'units': outputs\n";
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    layer l;
    char *faults;
    assert_int_equal(fill(ctx, JSON, &l, &faults), 9);
    assert_string_equal(faults, FAULTS);
    assert_string_equal(adze_errmsg(ctx), "");
    adze_free(ctx, faults);
    assert_int_equal(fill(ctx, "[1]", &l, &faults), 1);
    assert_string_equal(faults, "n.json:1:1: layer 'fc1' must be a map of keys and values\n");
    adze_free(ctx, faults);
    adze_ctx_free(ctx);
}

static void scalars_that_json_does_not_know_are_quoted(void **state) {
    (void)state;
    static const char *const PLAIN[] = {"010", ".5", "no", "true", "1e-3", "", "0x1", "-", "1."};
    static const char *const JSON[] = {"\"010\"", "\".5\"", "\"no\"", "true", "1e-3", "\"\"", "\"0x1\"", "\"-\"", "\"1.\""};
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    for (size_t i = 0; i < ADZE_COUNT(PLAIN); i++) {
        adze_tree t = {.kind = ADZE_T_SCALAR, .text = PLAIN[i]};
        adze_text text = {.ctx = ctx};
        char *s;
        assert_int_equal(adze_tree_print_json(&t, &text), ADZE_OK);
        assert_int_equal(adze_text_finish(&text, &s), ADZE_OK);
        assert_string_equal(s, JSON[i]);
        adze_free(ctx, s);
    }
    adze_tree broken = {.kind = ADZE_T_STRING, .text = "a\xff"};
    adze_text text = {.ctx = ctx};
    char *s;
    assert_int_equal(adze_tree_print_json(&broken, &text), ADZE_OK);
    assert_int_equal(adze_text_finish(&text, &s), ADZE_OK);
    assert_string_equal(s, "\"a\xef\xbf\xbd\"");
    adze_free(ctx, s);
    adze_tree chain[100]; /* deeper than any reader makes them */
    for (int i = 0; i < 100; i++) {
        chain[i] = (adze_tree){.kind = ADZE_T_LIST, .child = i < 99 ? &chain[i + 1] : NULL};
    }
    adze_text deep = {.ctx = ctx};
    assert_int_equal(adze_tree_print_json(chain, &deep), ADZE_EARG);
    adze_text_drop(&deep);
    adze_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_texts_are_refused_with_their_place),
        cmocka_unit_test(what_is_read_is_written_the_same),
        cmocka_unit_test(trees_know_kinds_and_places),
        cmocka_unit_test(nesting_and_numbers_of_values_are_bounded),
        cmocka_unit_test(double_keys_are_found_in_large_maps),
        cmocka_unit_test(damaged_texts_never_break_anything),
        cmocka_unit_test(every_failing_allocation_is_survived),
        cmocka_unit_test(structs_are_filled_from_maps),
        cmocka_unit_test(all_faults_are_told_at_once),
        cmocka_unit_test(scalars_that_json_does_not_know_are_quoted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
