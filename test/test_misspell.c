/* A thousand one-letter misspellings of keys and enumerated values in valid model files, and of flags: every one is refused, nearly all with the
 * right suggestion. */
#include "adze.h"
#include "adze/io.h"
#include "base/base.h"
#include "effort.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_PLACES = 2000, MISSPELLINGS = 1000 };

typedef struct place { /* a word in a tree that has to be spelt right */
    const char **word;
} place;

typedef struct places {
    place at[MAX_PLACES];
    int n;
} places;

static void add(places *p, const char **word) {
    assert_true(p->n < MAX_PLACES);
    p->at[p->n++] = (place){word};
}

static const adze_field *layer_fields(const char *type) {
    for (int i = 0; i < adze_layer_count(); i++) {
        if (strcmp(adze_layer_name(i), type) == 0) {
            return adze_layer_fields(i);
        }
    }
    return NULL;
}

/* Every key, the layer types, and every value of an enumerated or boolean field. */
static void collect(adze_tree *t, places *p) {
    const char *type = NULL;
    for (adze_tree *c = t->child; c && t->kind == ADZE_T_MAP; c = c->next) {
        add(p, &c->key);
        if (strcmp(c->key, "type") == 0) {
            type = c->text;
            add(p, &c->text);
        }
    }
    const adze_field *fields = type ? layer_fields(type) : NULL;
    for (adze_tree *c = t->child; c; c = c->next) {
        const adze_field *f = fields && c->key ? adze_field_find(fields, c->key) : NULL;
        if (f && f->kind == ADZE_F_ENUM) {
            add(p, &c->text);
        }
        if (c->kind == ADZE_T_MAP || c->kind == ADZE_T_LIST) {
            collect(c, p);
        }
    }
}

static void misspell(adze_rng *r, const char *word, char *out) {
    size_t n = strlen(word), i;
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz_";
    strcpy(out, word);
    switch (n > 1 ? adze_rng_below(r, 4) : 1) {
    case 0: /* one letter less */
        i = adze_rng_below(r, n);
        memmove(out + i, out + i + 1, n - i);
        break;
    case 1: /* one more */
        i = adze_rng_below(r, n + 1);
        memmove(out + i + 1, out + i, n - i + 1);
        out[i] = letters[adze_rng_below(r, sizeof(letters) - 1)];
        break;
    case 2: /* another */
        i = adze_rng_below(r, n);
        out[i] = letters[adze_rng_below(r, sizeof(letters) - 1)];
        break;
    default: /* two exchanged */
        i = adze_rng_below(r, n - 1);
        out[i] = word[i + 1];
        out[i + 1] = word[i];
    }
}

/* Some other legal word is no misspelling that anything could notice ("pad" for "p" in a file where both exist). */
static bool is_legal_word(const char *word) {
    static const char *const top[] = {"name", "input", "task", "layers", "type", "from", "repeat", "preprocess", "classes", "train", "adze", NULL};
    for (int i = 0; top[i]; i++) {
        if (strcmp(top[i], word) == 0) {
            return true;
        }
    }
    for (int i = 0; i < adze_layer_count(); i++) {
        if (strcmp(adze_layer_name(i), word) == 0) {
            return true;
        }
        for (const adze_field *f = adze_layer_fields(i); f && f->name; f++) {
            if (strcmp(f->name, word) == 0) {
                return true;
            }
            for (int k = 0; f->kind == ADZE_F_ENUM && f->names[k]; k++) {
                if (strcmp(f->names[k], word) == 0) {
                    return true;
                }
            }
        }
    }
    return false;
}

static void model_files(void **state) {
    (void)state;
    static const char *const files[] = {"many.yaml", "zoo:lenet5", "zoo:lenet5-caffe", "zoo:mlp"};
    int tried = 0, refused = 0, right = 0;
    for (int k = 0; tried < MISSPELLINGS; k++) {
        adze_ctx *ctx;
        assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
        const char *file = files[(size_t)k % ADZE_COUNT(files)];
        char *text = NULL;
        int64_t n = 0;
        if (strncmp(file, "zoo:", 4) == 0) {
            adze_model *m;
            assert_int_equal(adze_model_from_zoo(ctx, file + 4, &m), ADZE_OK);
            assert_int_equal(adze_model_to_yaml(m, &text), ADZE_OK);
            n = (int64_t)strlen(text);
            adze_model_free(m);
        } else {
            char path[512];
            void *bytes;
            snprintf(path, sizeof(path), "%s/models/%s", ADZE_TEST_DIR, file);
            assert_int_equal(adze_read_file(ctx, path, 1 << 20, &bytes, &n), ADZE_OK);
            text = bytes;
        }
        adze_doc *doc;
        adze_model *m = NULL;
        assert_int_equal(adze_yaml_parse(ctx, text, (size_t)n, file, &doc), ADZE_OK);
        adze_tree *root = (adze_tree *)adze_doc_root(doc);
        int status = adze_model_from_tree(ctx, root, file, &m);
        if (status != ADZE_OK) {
            fail_msg("%s", adze_errmsg(ctx));
        }
        adze_model_free(m);
        places p = {.n = 0};
        collect(root, &p);
        assert_true(p.n > 10);
        adze_rng r = adze_rng_make(2026, (uint64_t)k);
        for (int j = 0; j < 50 && tried < MISSPELLINGS; j++) {
            const char **word = p.at[adze_rng_below(&r, (uint64_t)p.n)].word, *old = *word;
            char wrong[128], want[160];
            misspell(&r, old, wrong);
            if (is_legal_word(wrong)) {
                continue;
            }
            *word = wrong;
            m = NULL;
            tried++;
            status = adze_model_from_tree(ctx, root, file, &m);
            *word = old;
            if (status == ADZE_OK) {
                print_message("accepted: '%s' for '%s' in %s\n", wrong, old, file);
                adze_model_free(m);
                continue;
            }
            refused++;
            snprintf(want, sizeof(want), "did you mean '%s'", old);
            if (strstr(adze_errmsg(ctx), want)) {
                right++;
            } else {
                print_message("no suggestion '%s' for '%s' in %s: %.300s\n", old, wrong, file, adze_errmsg(ctx));
            }
        }
        adze_doc_free(doc);
        adze_free(ctx, text);
        adze_ctx_free(ctx);
    }
    print_message("model files: %d misspellings, %d refused, %d with the right suggestion\n", tried, refused, right);
    assert_int_equal(refused, tried);
    assert_true(right * 100 >= tried * 95);
}

/* The command itself, by its exit code and message. */
static bool command_refuses(const char *flag, const char *value, const char *want, bool *suggested) {
    char line[1024], out[4096];
    snprintf(line, sizeof(line), "%s train mlp --dry-run --%s%s%s 2>&1 >/dev/null", ADZE_COMMAND, flag, value ? "=" : "", value ? value : "");
    FILE *f = popen(line, "r");
    assert_non_null(f);
    size_t n = fread(out, 1, sizeof(out) - 1, f);
    out[n] = 0;
    int status = pclose(f);
    *suggested = strstr(out, want) != NULL;
    if (!*suggested) {
        print_message("--%s%s%s: %s", flag, value ? "=" : "", value ? value : "", out);
    }
    return status == 2 << 8;
}

static void flags(void **state) {
    (void)state;
    const adze_field *table = adze_train_fields();
    int nfields = 0, tried = 0, refused = 0, right = 0;
    while (table[nfields].name) {
        nfields++;
    }
    adze_rng r = adze_rng_make(7, 7);
    int goal = effort() == QUICK ? 40 : 300;
    while (tried < goal) {
        const adze_field *f = &table[adze_rng_below(&r, (uint64_t)nfields)];
        bool value = f->kind == ADZE_F_ENUM && adze_rng_below(&r, 2), suggested;
        int nnames = 0;
        while (f->kind == ADZE_F_ENUM && f->names[nnames]) {
            nnames++;
        }
        const char *old = value ? f->names[adze_rng_below(&r, (uint64_t)nnames)] : f->name;
        char wrong[128], want[200], dashed[128];
        misspell(&r, old, wrong);
        bool legal = adze_field_find(table, wrong) != NULL || strcmp(wrong, "data") == 0 || strcmp(wrong, "out") == 0;
        for (int i = 0; i < nnames && value; i++) {
            legal = legal || strcmp(f->names[i], wrong) == 0;
        }
        if (legal) {
            continue;
        }
        size_t i = 0;
        for (; old[i]; i++) {
            dashed[i] = !value && old[i] == '_' ? '-' : old[i];
        }
        dashed[i] = 0;
        snprintf(want, sizeof(want), "did you mean '%s%s'", value ? "" : "--", dashed);
        tried++;
        refused += value ? command_refuses(f->name, wrong, want, &suggested) : command_refuses(wrong, NULL, want, &suggested);
        right += suggested;
    }
    print_message("flags: %d misspellings, %d refused, %d with the right suggestion\n", tried, refused, right);
    assert_int_equal(refused, tried);
    assert_true(right * 100 >= tried * 95);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(model_files), cmocka_unit_test(flags)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
