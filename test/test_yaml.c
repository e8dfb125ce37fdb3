/* The YAML reader: what becomes of scalars, where things lie, and that every forbidden or broken text is refused with its place. */
#include "context.h"

#include "adze/io.h"
#include "base/base.h"
#include "base/tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *as_json(adze_ctx *ctx, const char *yaml) {
    adze_doc *d;
    if (adze_yaml_parse(ctx, yaml, strlen(yaml), "t.yaml", &d) != ADZE_OK) {
        fail_msg("%s", adze_errmsg(ctx));
    }
    adze_text t = {.ctx = ctx};
    char *out;
    assert_int_equal(adze_tree_print_json(adze_doc_root(d), &t), ADZE_OK);
    assert_int_equal(adze_text_finish(&t, &out), ADZE_OK);
    adze_doc_free(d);
    return out;
}

static void same_as_json(void **state) {
    static const char *const rows[][2] = {
        {"a: 1", "{\"a\":1}"},
        {"a: {b: [1, 2, x]}", "{\"a\":{\"b\":[1,2,\"x\"]}}"},
        {"- a\n- b: 1\n  c: 2\n", "[\"a\",{\"b\":1,\"c\":2}]"},
        {"a: 'it''s'", "{\"a\":\"it's\"}"},
        {"a: \"x\\ty\"", "{\"a\":\"x\\ty\"}"},
        {"a: |\n  ", "{\"a\":\"\"}"}, /* a block that ends with the file */
        {"a: |\n  one\n  two\n", "{\"a\":\"one\\ntwo\\n\"}"},
        {"# only a remark\na: b # and another\n", "{\"a\":\"b\"}"},
        {"---\na: b\n...\n", "{\"a\":\"b\"}"},
        {"{\"a\": [true, null]}", "{\"a\":[true,\"null\"]}"},
        {"a:\nb: ''\n", "{\"a\":null,\"b\":\"\"}"},
        {"'1': \xc3\xa9", "{\"1\":\"\xc3\xa9\"}"},
        {"a: 'xy'", "{\"a\":\"xy\"}"}, /* libfyaml's own way leaks here */
        {"a: \"\\x41b\\x41b\\x41b\\x41b\\x41b\\x41b\\x41b\\x41b\\x41b\\x41b\\x41b\\x41b\"", "{\"a\":\"AbAbAbAbAbAbAbAbAbAbAbAb\"}"},
        {"[]", "[]"},
        {"{}", "{}"},
    };
    for (size_t i = 0; i < ADZE_COUNT(rows); i++) {
        char *json = as_json(*state, rows[i][0]);
        assert_string_equal(json, rows[i][1]);
        adze_free(*state, json);
    }
}

/* no, 1e-3, 010 and dates stay the text that they are: only a field gives a type. */
static void plain_scalars_stay_text(void **state) {
    const char *yaml = "[no, 1e-3, 010, 0x10, 2001-01-01, ~, 1_000, .5, '7']";
    static const char *const want[] = {"no", "1e-3", "010", "0x10", "2001-01-01", "~", "1_000", ".5", "7"};
    adze_doc *d;
    assert_int_equal(adze_yaml_parse(*state, yaml, strlen(yaml), "t", &d), ADZE_OK);
    int i = 0;
    for (const adze_tree *t = adze_doc_root(d)->child; t; t = t->next, i++) {
        assert_string_equal(t->text, want[i]);
        assert_int_equal(t->kind, i == 8 ? ADZE_T_STRING : ADZE_T_SCALAR);
    }
    assert_int_equal(i, 9);
    adze_doc_free(d);
}

static void places_count_from_one(void **state) {
    const char *yaml = "name: x\nlayers:\n  - {type: dense,\n     units: 3}\n";
    adze_doc *d;
    assert_int_equal(adze_yaml_parse(*state, yaml, strlen(yaml), "t", &d), ADZE_OK);
    const adze_tree *layers = adze_tree_get(adze_doc_root(d), "layers"), *one = layers->child, *units = adze_tree_get(one, "units");
    assert_int_equal(layers->line, 2);
    assert_int_equal(layers->col, 1);
    assert_int_equal(one->line, 3);
    assert_int_equal(one->col, 5);
    assert_int_equal(units->line, 4);
    assert_int_equal(units->col, 6);
    adze_doc_free(d);
}

static void refused_with_place(void **state) {
    static const char *const rows[][2] = {
        {"", "t.yaml: the file is empty"},
        {"# nothing\n", "t.yaml: the file is empty"},
        {"a: &x 1", "t.yaml:1:7: anchors '&' and aliases '*' are not allowed here; use repeat, or write the values out"},
        {"a: &x [1]", "t.yaml:1:7: anchors '&' and aliases '*' are not allowed here; use repeat, or write the values out"},
        {"a: &x {b: 1}", "t.yaml:1:7: anchors '&' and aliases '*' are not allowed here; use repeat, or write the values out"},
        {"a: *x", "t.yaml:1:5: anchors '&' and aliases '*' are not allowed here; use repeat, or write the values out"},
        {"a: !!int 1", "t.yaml:1:10: tags '!' are not allowed here; the model's fields give values their types"},
        {"a: !x [1]", "t.yaml:1:7: tags '!' are not allowed here; the model's fields give values their types"},
        {"<<: {a: 1}", "t.yaml:1:1: merge keys '<<' are not allowed here; write the values out"},
        {"a: 1\n---\nb: 2\n", "t.yaml:2:1: there is a second document; a model file has one"},
        {"%YAML 1.2\n---\na: 1\n", "t.yaml:1:1: %YAML and %TAG directives are not allowed here"},
        {"a: 1\nb: 2\na: 3\n", "t.yaml:3:1: the key 'a' is there twice"},
        {"%YAML 5.4\n--Y", "t.yaml:1:1: %YAML and %TAG directives are not allowed here"},
        {"? [1]\n: 2\n", "t.yaml:1:3: a key must be a plain word, not a list or a map"},
        {"a: \x01", "t.yaml:1: byte 3 is no UTF-8 text"},
        {"a\nb\xff", "t.yaml:2: byte 3 is no UTF-8 text"},
    };
    for (size_t i = 0; i < ADZE_COUNT(rows); i++) {
        adze_doc *d = NULL;
        assert_int_equal(adze_yaml_parse(*state, rows[i][0], strlen(rows[i][0]), "t.yaml", &d), ADZE_EFORMAT);
        assert_null(d);
        assert_string_equal(adze_errmsg(*state), rows[i][1]);
    }
}

/* Whatever libfyaml finds wrong is EFORMAT with file, line and column, and a sentence. */
static void broken_texts_name_their_place(void **state) {
    static const char *const rows[] = {"a: [1, 2",  "a: {b: 1", "a: 'x",      "a: \"x", "a: b: c", "a:\n\t- b",
                                       "- a\nb: 1", "]",        "a: \"\\q\"", "a: @x",  "{a: 1}}", "a: 1\n b: 2\n"};
    for (size_t i = 0; i < ADZE_COUNT(rows); i++) {
        adze_doc *d = NULL;
        int line = 0, col = 0;
        assert_int_equal(adze_yaml_parse(*state, rows[i], strlen(rows[i]), "t.yaml", &d), ADZE_EFORMAT);
        if (sscanf(adze_errmsg(*state), "t.yaml:%d:%d: ", &line, &col) != 2 || line < 1 || col < 1 || strchr(adze_errmsg(*state), '\n')) {
            fail_msg("%s -> %s", rows[i], adze_errmsg(*state));
        }
    }
}

static void bounds_hold(void **state) {
    adze_ctx *ctx = *state;
    adze_doc *d;
    size_t n = (1 << 20) + 1;
    char *big = malloc(n);
    memset(big, 'a', n);
    assert_int_equal(adze_yaml_parse(ctx, big, n, "t.yaml", &d), ADZE_EFORMAT);
    assert_string_equal(adze_errmsg(ctx), "t.yaml: the file has 1048577 bytes, at most 1048576 are allowed");
    memset(big, '[', n);
    assert_int_equal(adze_yaml_parse(ctx, big, 100, "t.yaml", &d), ADZE_EFORMAT);
    memset(big, '[', 32);
    memset(big + 32, ']', 32);
    assert_int_equal(adze_yaml_parse(ctx, big, 64, "t.yaml", &d), ADZE_OK);
    adze_doc_free(d);
    memset(big, '[', 33);
    memset(big + 33, ']', 33);
    assert_int_equal(adze_yaml_parse(ctx, big, 66, "t.yaml", &d), ADZE_EFORMAT);
    assert_string_equal(adze_errmsg(ctx), "t.yaml:1:33: lists and maps are nested more than 32 deep");
    assert_int_equal(adze_yaml_parse(ctx, "a: b\0c", 6, "t.yaml", &d), ADZE_EFORMAT);
    memset(big, '\n', n); /* libfyaml would want 8 MiB of stack for this block's empty lines */
    memcpy(big, "a: |\n x\n", 8);
    assert_int_equal(adze_yaml_parse(ctx, big, 1 << 20, "t.yaml", &d), ADZE_EFORMAT);
    assert_string_equal(adze_errmsg(ctx), "t.yaml: the file has more than 10000 empty lines");
    assert_int_equal(adze_yaml_parse(ctx, big, 10000, "t.yaml", &d), ADZE_OK);
    adze_doc_free(d);
    memset(big, '%', n);
    memcpy(big, "a: !<", 5);
    assert_int_equal(adze_yaml_parse(ctx, big, 1 << 20, "t.yaml", &d), ADZE_EFORMAT);
    assert_string_equal(adze_errmsg(ctx), "t.yaml: the file has more than 1000 percent signs");
    memset(big, 'x', n);
    memcpy(big, "a: 1\n%", 6); /* and minutes for this directive */
    assert_int_equal(adze_yaml_parse(ctx, big, 1 << 20, "t.yaml", &d), ADZE_EFORMAT);
    assert_string_equal(adze_errmsg(ctx), "t.yaml:2:1: %YAML and %TAG directives are not allowed here");
    free(big);
}

/* Bytes drawn at random from YAML's own alphabet: never a crash, never a leak, always a tree or a sentence. */
static void random_texts_never_crash(void **state) {
    static const char alphabet[] = "a: -[]{}&*!|>'\"%@`#,?\n\t \\<1";
    adze_rng r = adze_rng_make(7, 1);
    for (int i = 0; i < 20000; i++) {
        char text[48];
        size_t n = adze_rng_below(&r, sizeof text);
        for (size_t k = 0; k < n; k++) {
            text[k] = alphabet[adze_rng_below(&r, sizeof alphabet - 1)];
        }
        adze_doc *d;
        int status = adze_yaml_parse(*state, text, n, "t.yaml", &d);
        if (status == ADZE_OK) {
            assert_non_null(adze_doc_root(d));
            adze_doc_free(d);
        } else {
            assert_int_equal(status, ADZE_EFORMAT);
            assert_true(strncmp(adze_errmsg(*state), "t.yaml:", 7) == 0);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(same_as_json, setup, teardown),
        cmocka_unit_test_setup_teardown(plain_scalars_stay_text, setup, teardown),
        cmocka_unit_test_setup_teardown(places_count_from_one, setup, teardown),
        cmocka_unit_test_setup_teardown(refused_with_place, setup, teardown),
        cmocka_unit_test_setup_teardown(broken_texts_name_their_place, setup, teardown),
        cmocka_unit_test_setup_teardown(bounds_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(random_texts_never_crash, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
