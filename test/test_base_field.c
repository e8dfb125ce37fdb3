/* Numbers as text, option fields, and suggestions for misspelt names. */
#include "faulty.h"

#include "base/base.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static adze_ctx *context(void) {
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    return ctx;
}

/* -- numbers -- */

static void doubles_print_shortest(void **state) {
    (void)state;
    static const struct {
        double v;
        const char *text;
    } CASES[] = {{0.1, "0.1"},
                 {1e-7, "1e-07"},
                 {0, "0"},
                 {-0.0, "-0"},
                 {1, "1"},
                 {1e23, "1e+23"},
                 {5e-324, "5e-324"},
                 {1.0 / 3, "0.3333333333333333"},
                 {-2.5, "-2.5"},
                 {INFINITY, "inf"},
                 {-INFINITY, "-inf"},
                 {NAN, "nan"},
                 {DBL_MAX, "1.7976931348623157e+308"},
                 {123456789, "123456789"}};
    char s[64];
    for (size_t i = 0; i < ADZE_COUNT(CASES); i++) {
        assert_int_equal(adze_print_f64(s, sizeof s, CASES[i].v), strlen(CASES[i].text));
        assert_string_equal(s, CASES[i].text);
    }
    assert_true(adze_print_f64(s, 3, 0.1) < 0);
    assert_int_equal(adze_print_f64(s, 4, 0.1), 3);
}

static void doubles_survive_text(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(1, 2);
    char s[64];
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = adze_rng_u64(&r), back_bits;
        double v, back;
        if (i % 3 == 0) {
            v = (double)adze_rng_range(&r, -1000, 1000) / 100;
        } else {
            memcpy(&v, &bits, sizeof v);
        }
        if (isnan(v)) {
            continue;
        }
        assert_true(adze_print_f64(s, sizeof s, v) > 0);
        assert_true(adze_parse_f64(s, &back));
        memcpy(&bits, &v, sizeof v);
        memcpy(&back_bits, &back, sizeof v);
        assert_true(bits == back_bits);
        assert_true(strtod(s, NULL) == v); /* the C library agrees */
    }
}

static void numbers_are_read_strictly(void **state) {
    (void)state;
    static const char *const GOOD[] = {"1",
                                       "-1",
                                       "+1",
                                       "1.5",
                                       ".5",
                                       "5.",
                                       "1e3",
                                       "1E-3",
                                       "1e+3",
                                       "010",
                                       "inf",
                                       "-inf",
                                       "nan",
                                       "0.1",
                                       "1e-400",
                                       "9007199254740993",
                                       "123456789012345678901234567890e-25",
                                       "2.2250738585072011e-308",
                                       "0.000000000000000000000000000000000000000001"};
    static const char *const BAD[] = {"",         " 1",  "1 ",  "0x10", "1e",   "e1",  ".",   "-",    "--1",   "1,5",    "1.2.3",
                                      "infinity", "INF", "NaN", "1f",   "1e5x", "1e+", "+-1", "nan1", "1e400", "-1e999", "1_000"};
    double v;
    for (size_t i = 0; i < ADZE_COUNT(GOOD); i++) {
        assert_true(adze_parse_f64(GOOD[i], &v));
        if (GOOD[i][0] != 'n') {
            assert_true(v == strtod(GOOD[i], NULL));
        }
    }
    v = 42;
    for (size_t i = 0; i < ADZE_COUNT(BAD); i++) {
        assert_false(adze_parse_f64(BAD[i], &v));
        assert_true(v == 42);
    }
}

static void integers_are_read_strictly(void **state) {
    (void)state;
    int64_t i = 7;
    uint64_t u = 7;
    assert_true(adze_parse_i64("010", &i) && i == 10);
    assert_true(adze_parse_i64("-9223372036854775808", &i) && i == INT64_MIN);
    assert_true(adze_parse_i64("9223372036854775807", &i) && i == INT64_MAX);
    assert_true(adze_parse_u64("18446744073709551615", &u) && u == UINT64_MAX);
    static const char *const BAD[] = {
        "", "-", "+", "1.0", "0x1", " 1", "1 ", "1e3", "--1", "-+1", "+-1", "9223372036854775808", "-9223372036854775809"};
    for (size_t k = 0; k < ADZE_COUNT(BAD); k++) {
        assert_false(adze_parse_i64(BAD[k], &i));
    }
    assert_false(adze_parse_u64("-1", &u));
    assert_false(adze_parse_u64("18446744073709551616", &u));
}

static void the_locale_does_not_matter(void **state) {
    (void)state;
    char folder[256], command[600];
    faulty_folder(folder, sizeof folder);
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1", folder);
    bool made = system(command) == 0;
    setenv("LOCPATH", folder, 1);
    bool comma = made && setlocale(LC_ALL, "de_DE.UTF-8") && localeconv()->decimal_point[0] == ',';
    double v = 0;
    char s[64];
    bool ok = adze_parse_f64("1.2345678901234567890123e-30", &v) && v == 1.2345678901234567890123e-30 && !adze_parse_f64("1,5", &v);
    adze_print_f64(s, sizeof s, 1.0 / 3);
    setlocale(LC_ALL, "C");
    unsetenv("LOCPATH");
    faulty_folder_drop(folder);
    assert_true(ok);
    assert_string_equal(s, "0.3333333333333333");
    if (!comma) {
        skip(); /* no locale with a decimal comma can be had here */
    }
}

/* -- fields -- */

typedef struct sample {
    bool flag;
    int64_t steps;
    uint64_t seed;
    double lr;
    int32_t act;
    char name[16];
    adze_ints kernel;
} sample;

static const char *const ACTS[] = {"relu", "tanh", "sigmoid", "leaky_relu", NULL};
#define AT(m) offsetof(sample, m)
static const adze_field SAMPLE[] = {
    {"flag", ADZE_F_BOOL, 0, AT(flag), 0, "true", 0, 0, NULL, "a switch"},
    {"steps", ADZE_F_I64, 0, AT(steps), 0, "100", 1, 1e6, NULL, "steps"},
    {"seed", ADZE_F_U64, 0, AT(seed), 0, NULL, 0, 0, NULL, "seed"},
    {"lr", ADZE_F_F64, 0, AT(lr), 0, "1e-3", 0, INFINITY, NULL, "learning rate"},
    {"activation", ADZE_F_ENUM, 0, AT(act), 0, "tanh", 0, 0, ACTS, "activation"},
    {"name", ADZE_F_STR, 0, AT(name), 16, "net", 0, 0, NULL, "name"},
    {"kernel_size", ADZE_F_INTS, 0, AT(kernel), 0, "3,3", 1, 99, NULL, "kernel"},
    {.name = NULL},
};

static void defaults_come_from_the_table(void **state) {
    (void)state;
    sample s;
    memset(&s, 0xee, sizeof s);
    assert_int_equal(adze_fields_default(SAMPLE, &s), ADZE_OK);
    assert_true(s.flag && s.steps == 100 && s.seed == 0 && s.lr == 1e-3 && s.act == 1 && s.kernel.n == 2 && s.kernel.v[1] == 3);
    assert_string_equal(s.name, "net");
    for (const adze_field *f = SAMPLE; f->name; f++) {
        assert_true(adze_field_is_default(f, &s));
    }
    s.lr = 0.01;
    s.kernel.v[0] = 5;
    s.name[0] = 'p';
    assert_false(adze_field_is_default(adze_field_find(SAMPLE, "lr"), &s));
    assert_false(adze_field_is_default(adze_field_find(SAMPLE, "kernel_size"), &s));
    assert_false(adze_field_is_default(adze_field_find(SAMPLE, "name"), &s));
    adze_field wrong[] = {SAMPLE[1], {.name = NULL}};
    wrong[0].def = "0"; /* outside its own range: told, and set all the same */
    assert_int_equal(adze_fields_default(wrong, &s), ADZE_EBUG);
    assert_int_equal(s.steps, 0);
    assert_null(adze_field_find(SAMPLE, "nothing"));
}

static void faults_are_told_in_words(void **state) {
    (void)state;
    static const struct {
        const char *field, *text, *where, *message;
    } CASES[] = {
        {"lr", "2x", "--lr", "--lr: '2x' is not a number"},
        {"activation", "reluu", "layer 'c1'", "layer 'c1': activation 'reluu' is not known; did you mean 'relu'?"},
        {"activation", "quux", "n.yaml:1:2", "n.yaml:1:2: activation 'quux' is not known; legal are relu, tanh, sigmoid, leaky_relu"},
        {"steps", "0", "--steps", "--steps: '0' is out of range; it must be 1 to 1000000"},
        {"steps", "1.5", "", "steps '1.5' is not a whole number"},
        {"lr", "-1", "--lr", "--lr: '-1' is out of range; it must be at least 0"},
        {"lr", "nan", NULL, "lr 'nan' is out of range; it must be at least 0"},
        {"seed", "-1", "--seed", "--seed: '-1' is not a whole number from 0 up"},
        {"flag", "maybe", "--flag", "--flag: 'maybe' is not true or false"},
        {"name", "12345678901234567", "--name", "--name: a text of 17 bytes is too long; at most 15 are allowed"},
        {"kernel_size", "3,,3", "--kernel-size", "--kernel-size: '3,,3' is not a list of whole numbers such as 3,3"},
        {"kernel_size", "3,", "--kernel-size", "--kernel-size: '3,' is not a list of whole numbers such as 3,3"},
        {"kernel_size", "3,100", "--k", "--k: kernel_size '3,100' is out of range; it must be 1 to 99"},
        {"kernel_size", "1 2 3 4 5 6 7 8 9", "k", "k: kernel_size '1 2 3 4 5 6 7 8 9' has more than 8 members"},
    };
    adze_ctx *ctx = context();
    sample s, before;
    memset(&s, 0, sizeof s);
    adze_fields_default(SAMPLE, &s);
    before = s;
    for (size_t i = 0; i < ADZE_COUNT(CASES); i++) {
        const adze_field *f = adze_field_find(SAMPLE, CASES[i].field);
        assert_int_equal(adze_field_parse(ctx, f, &s, CASES[i].text, CASES[i].where), ADZE_EARG);
        assert_string_equal(adze_errmsg(ctx), CASES[i].message);
        assert_memory_equal(&s, &before, sizeof s);
    }
    assert_int_equal(adze_field_parse(ctx, adze_field_find(SAMPLE, "no such"), &s, "1", "here"), ADZE_EARG);
    assert_string_equal(adze_errmsg(ctx), "here: there is no such option, or no value for it");
    adze_ctx_free(ctx);
}

static void lists_are_read_in_every_usual_form(void **state) {
    (void)state;
    static const char *const FORMS[] = {"3,5", "3 5", "[3, 5]", "(3,5)", " 3 , 5 ", "[ 3 5 ]"};
    sample s;
    const adze_field *f = adze_field_find(SAMPLE, "kernel_size");
    for (size_t i = 0; i < ADZE_COUNT(FORMS); i++) {
        assert_int_equal(adze_field_parse(NULL, f, &s, FORMS[i], NULL), ADZE_OK);
        assert_true(s.kernel.n == 2 && s.kernel.v[0] == 3 && s.kernel.v[1] == 5);
    }
    assert_int_equal(adze_field_parse(NULL, f, &s, "[]", NULL), ADZE_OK);
    assert_int_equal(s.kernel.n, 0);
}

static void random_sample(adze_rng *r, sample *s) {
    memset(s, 0, sizeof *s);
    s->flag = adze_rng_below(r, 2);
    s->steps = adze_rng_range(r, 1, 1000000);
    s->seed = adze_rng_u64(r);
    s->lr = fabs(adze_rng_normal(r)) * pow(10, (double)adze_rng_range(r, -300, 300));
    s->act = (int32_t)adze_rng_below(r, 4);
    for (int64_t i = adze_rng_range(r, 0, 15) - 1; i >= 0; i--) {
        s->name[i] = (char)adze_rng_range(r, ' ', '~');
    }
    s->kernel.n = adze_rng_range(r, 0, 8);
    for (int64_t i = 0; i < s->kernel.n; i++) {
        s->kernel.v[i] = adze_rng_range(r, 1, 99);
    }
}

static void fields_survive_text_and_hash_alike(void **state) {
    (void)state;
    adze_ctx *ctx = context();
    adze_rng r = adze_rng_make(3, 4);
    for (int i = 0; i < 2000; i++) {
        sample a, b, c;
        char text[256];
        random_sample(&r, &a);
        memset(&b, 0x77, sizeof b); /* what lies between and behind the values must not matter */
        for (const adze_field *f = SAMPLE; f->name; f++) {
            assert_true(adze_field_print(f, &a, text, sizeof text) >= 0);
            assert_int_equal(adze_field_parse(ctx, f, &b, text, "x"), ADZE_OK);
        }
        assert_true(adze_fields_equal(SAMPLE, &a, &b));
        assert_true(adze_fields_hash(SAMPLE, &a, 9) == adze_fields_hash(SAMPLE, &b, 9));
        assert_true(adze_fields_hash(SAMPLE, &a, 9) != adze_fields_hash(SAMPLE, &a, 10));
        random_sample(&r, &c);
        const adze_field *f = &SAMPLE[i % 7];
        bool same = adze_field_print(f, &a, text, sizeof text) >= 0 && adze_field_parse(ctx, f, &c, text, "x") == ADZE_OK;
        assert_true(same);
        assert_true(adze_fields_equal(SAMPLE, &a, &c) == (adze_fields_hash(SAMPLE, &a, 1) == adze_fields_hash(SAMPLE, &c, 1)));
    }
    char tiny[2];
    sample s;
    adze_fields_default(SAMPLE, &s);
    assert_true(adze_field_print(&SAMPLE[0], &s, tiny, sizeof tiny) < 0);
    s.act = 9;
    assert_true(adze_field_print(adze_field_find(SAMPLE, "activation"), &s, tiny, sizeof tiny) < 0);
    adze_ctx_free(ctx);
}

/* -- suggestions -- */

static const char *const OPTIONS[] = {
    "data",     "model",      "epochs",      "batch",      "lr",      "optimizer", "momentum",   "weight_decay", "schedule",  "warmup_epochs",
    "min_lr",   "seed",       "threads",     "isa",        "out",     "resume",    "dtype",      "loss",         "clip_norm", "ema",
    "patience", "monitor",    "save_every",  "save_top_k", "augment", "hflip",     "crop",       "mixup",        "dropout",   "label_smoothing",
    "units",    "filters",    "kernel_size", "strides",    "padding", "dilation",  "groups",     "activation",   "use_bias",  "rate",
    "relu",     "leaky_relu", "elu",         "gelu",       "sigmoid", "tanh",      "softmax",    "swish",        "adam",      "adamw",
    "rmsprop",  "sgd",        "nesterov",    "cosine",     "linear",  "constant",  "batch_norm", "layer_norm",   "dense",     "conv2d",
    "max_pool", "avg_pool",   "flatten",     "embedding",  "lstm",    "gru",       "on_nan",     "limit_train",  "verbose",   "progress",
};

static void misspell(adze_rng *r, const char *name, char *out) {
    static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyz";
    int64_t n = (int64_t)strlen(name), at = (int64_t)adze_rng_below(r, (uint64_t)n);
    char letter = LETTERS[adze_rng_below(r, 26)];
    strcpy(out, name);
    switch (adze_rng_below(r, 4)) {
    case 0: /* insert */
        memmove(out + at + 1, out + at, (size_t)(n - at) + 1);
        out[at] = letter;
        break;
    case 1: /* delete */
        memmove(out + at, out + at + 1, (size_t)(n - at));
        break;
    case 2: /* replace */
        out[at] = letter;
        break;
    default: /* swap */
        at = at == n - 1 ? at - 1 : at;
        out[at] = name[at + 1];
        out[at + 1] = name[at];
    }
}

static void nearly_all_slips_of_a_letter_are_set_right(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(5, 6);
    int tried = 0, right = 0;
    for (int i = 0; i < 20000; i++) {
        const char *name = OPTIONS[adze_rng_below(&r, ADZE_COUNT(OPTIONS))];
        char word[64];
        misspell(&r, name, word);
        bool legal = false;
        for (size_t k = 0; k < ADZE_COUNT(OPTIONS); k++) {
            legal |= strcmp(word, OPTIONS[k]) == 0;
        }
        if (legal) {
            continue;
        }
        tried++;
        const char *near = adze_suggest(word, OPTIONS, ADZE_COUNT(OPTIONS), sizeof OPTIONS[0]);
        right += near && strcmp(near, name) == 0;
    }
    print_message("suggestions: %d of %d right (%.2f %%)\n", right, tried, 100.0 * right / tried);
    assert_true(right >= 0.95 * tried);
}

static void suggestions_know_their_limits(void **state) {
    (void)state;
    const size_t n = ADZE_COUNT(OPTIONS), step = sizeof OPTIONS[0];
    assert_string_equal(adze_suggest("batch-norm", OPTIONS, n, step), "batch_norm");
    assert_string_equal(adze_suggest("RELU", OPTIONS, n, step), "relu");
    assert_string_equal(adze_suggest("rl", OPTIONS, n, step), "lr");
    assert_string_equal(adze_suggest("batch_normalise", (const char *const[]){"batch_normalize", "batch"}, 2, step), "batch_normalize");
    assert_null(adze_suggest("zzzzzz", OPTIONS, n, step));
    assert_null(adze_suggest("", OPTIONS, n, step));
    assert_null(adze_suggest("x", (const char *const[]){"lr"}, 1, step));
    assert_null(adze_suggest("lr", OPTIONS, 0, step));
    char longest[500];
    memset(longest, 'a', sizeof longest - 1);
    longest[499] = 0;
    assert_null(adze_suggest(longest, OPTIONS, n, step));
    assert_string_equal(adze_suggest("kernel_sise", SAMPLE, 7, sizeof SAMPLE[0]), "kernel_size"); /* names inside a table of structs */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubles_print_shortest),
        cmocka_unit_test(doubles_survive_text),
        cmocka_unit_test(numbers_are_read_strictly),
        cmocka_unit_test(integers_are_read_strictly),
        cmocka_unit_test(the_locale_does_not_matter),
        cmocka_unit_test(defaults_come_from_the_table),
        cmocka_unit_test(faults_are_told_in_words),
        cmocka_unit_test(lists_are_read_in_every_usual_form),
        cmocka_unit_test(fields_survive_text_and_hash_alike),
        cmocka_unit_test(nearly_all_slips_of_a_letter_are_set_right),
        cmocka_unit_test(suggestions_know_their_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
