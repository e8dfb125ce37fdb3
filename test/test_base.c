/* The ground floor: status codes, context, memory, text, numbers, fields, suggestions, random numbers and threads. */
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

/* -- status -- */

static void every_status_has_a_name_and_one_exit_code(void **state) {
    (void)state;
    static const int CODES[] = {0, 2, 2, 2, 6, 4, 3, 8, 1, 75, 9, 7, 5};
    for (int i = 0; i < (int)ADZE_COUNT(CODES); i++) {
        assert_int_equal(adze_status_exit_code(-i), CODES[i]);
        assert_memory_equal(adze_status_name(-i), "ADZE_", 5);
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(adze_status_name(-i), adze_status_name(-k));
        }
    }
    assert_string_equal(adze_status_name(ADZE_ESHAPE), "ADZE_ESHAPE");
    assert_int_equal(adze_status_exit_code(-999), 9);
    assert_string_equal(adze_version(), "0.1.0");
}

/* -- context -- */

static void a_message_may_quote_the_one_before_and_be_long(void **state) {
    (void)state;
    adze_ctx *ctx = context();
    assert_string_equal(adze_errmsg(ctx), "");
    assert_int_equal(adze_fail(ctx, ADZE_ESHAPE, "inner %d", 7), ADZE_ESHAPE);
    adze_fail(ctx, ADZE_EARG, "outer: %s", adze_errmsg(ctx));
    assert_string_equal(adze_errmsg(ctx), "outer: inner 7");
    assert_int_equal(adze_errcode(ctx), ADZE_EARG);
    char many[20001];
    memset(many, 'x', sizeof many - 1);
    many[sizeof many - 1] = 0;
    adze_fail(ctx, ADZE_EARG, "%s", many);
    assert_string_equal(adze_errmsg(ctx), many);
    adze_fail(ctx, ADZE_EARG, "%s!", adze_errmsg(ctx));
    assert_int_equal(strlen(adze_errmsg(ctx)), 20001);
    adze_err_clear(ctx);
    assert_string_equal(adze_errmsg(ctx), "");
    assert_int_equal(adze_ctx_mem_used(ctx), 0);
    assert_int_equal(adze_fail(NULL, ADZE_EIO, "nobody listens"), ADZE_EIO);
    adze_ctx_free(ctx);
}

static void a_long_message_without_memory_is_cut(void **state) {
    (void)state;
    faulty_mem mem;
    faulty_mem_init(&mem);
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.mem = &mem.table}, &ctx), ADZE_OK);
    char many[9001];
    memset(many, 'y', sizeof many - 1);
    many[sizeof many - 1] = 0;
    faulty_mem_arm(&mem, 1, true);
    assert_int_equal(adze_fail(ctx, ADZE_EARG, "%s", many), ADZE_EARG);
    size_t n = strlen(adze_errmsg(ctx));
    assert_in_range(n, 4000, 4095);
    assert_string_equal(adze_errmsg(ctx) + n - 3, "...");
    adze_ctx_free(ctx);
    assert_true(faulty_mem_clean(&mem));
}

static void a_context_refuses_wrong_options_in_a_sentence(void **state) {
    (void)state;
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.isa = "sse9"}, &ctx), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(ctx), "sse9"));
    assert_non_null(strstr(adze_errmsg(ctx), "ref"));
    adze_ctx_free(ctx);
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.threads = -1}, &ctx), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(ctx), "threads"));
    adze_ctx_free(ctx);
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.threads = 257}, &ctx), ADZE_EARG);
    adze_ctx_free(ctx);
    setenv("ADZE_ISA", "v9", 1);
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(ctx), "ADZE_ISA"));
    adze_ctx_free(ctx);
    setenv("ADZE_ISA", "ref", 1);
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    assert_string_equal(adze_ctx_isa(ctx), "ref");
    adze_ctx_free(ctx);
    unsetenv("ADZE_ISA");
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.isa = "ref", .threads = 3}, &ctx), ADZE_OK);
    assert_int_equal(adze_ctx_threads(ctx), 3);
    assert_int_equal(adze_ctx_isa_level(ctx), ADZE_ISA_REF);
    adze_ctx_free(ctx);
    for (int i = 0; i <= (int)adze_isa_best(); i++) {
        assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.isa = adze_isa_name((adze_isa)i)}, &ctx), ADZE_OK);
        assert_int_equal(adze_ctx_isa_level(ctx), i);
        adze_ctx_free(ctx);
    }
}

static int notes;
static void count_note(void *user, adze_level level, const char *message) {
    assert_int_equal(level, ADZE_WARN);
    assert_string_equal(message, "3 left");
    notes += *(int *)user;
}

static void notes_reach_the_log_alone(void **state) {
    (void)state;
    adze_ctx *ctx;
    int one = 1;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.log = count_note, .log_user = &one}, &ctx), ADZE_OK);
    adze_note(ctx, ADZE_WARN, "%d left", 3);
    assert_int_equal(notes, 1);
    assert_string_equal(adze_errmsg(ctx), "");
    adze_ctx_free(ctx);
}

static void a_context_without_memory_is_no_context(void **state) {
    (void)state;
    faulty_mem mem;
    faulty_mem_init(&mem);
    faulty_mem_arm(&mem, 1, false);
    adze_ctx *ctx = (adze_ctx *)&mem;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.mem = &mem.table}, &ctx), ADZE_ENOMEM);
    assert_null(ctx);
    adze_ctx_free(NULL);
}

/* -- memory -- */

static void sizes_are_checked(void **state) {
    (void)state;
    int64_t v = 5;
    assert_true(adze_mul_size(INT64_MAX, 1, &v) && v == INT64_MAX);
    assert_true(adze_mul_size(0, INT64_MAX, &v) && v == 0);
    v = 5;
    assert_false(adze_mul_size(INT64_MAX / 2 + 1, 2, &v));
    assert_false(adze_mul_size(-1, 2, &v));
    assert_false(adze_mul_size(2, -1, &v));
    assert_false(adze_add_size(INT64_MAX, 1, &v));
    assert_false(adze_add_size(-1, 1, &v));
    assert_int_equal(v, 5);
    assert_true(adze_add_size(INT64_MAX - 1, 1, &v) && v == INT64_MAX);
}

static void blocks_are_zeroed_aligned_counted(void **state) {
    (void)state;
    faulty_mem mem; /* hands out dirty memory */
    faulty_mem_init(&mem);
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.mem = &mem.table}, &ctx), ADZE_OK);
    char *p = adze_alloc(ctx, 100, 3);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(p[i], 0);
    }
    assert_int_equal((uintptr_t)p % 64, 0);
    size_t used = adze_ctx_mem_used(ctx);
    assert_in_range(used, 300, 300 + 64);
    memset(p, 1, 300);
    p = adze_resize(ctx, p, 100, 200, 3);
    for (int i = 0; i < 600; i++) {
        assert_int_equal(p[i], i < 300);
    }
    p = adze_resize(ctx, p, 200, 10, 3);
    assert_int_equal(p[29], 1);
    void *empty = adze_alloc(ctx, 0, 8);
    assert_non_null(empty);
    adze_free(ctx, empty);
    adze_free(ctx, p);
    adze_free(ctx, NULL);
    assert_int_equal(adze_ctx_mem_used(ctx), 0);
    assert_true(adze_ctx_mem_peak(ctx) >= 900);
    assert_null(adze_alloc(ctx, INT64_MAX, 8));
    assert_int_equal(adze_errcode(ctx), ADZE_ENOMEM);
    adze_err_clear(ctx);
    assert_null(adze_alloc(ctx, -1, 8));
    assert_int_equal(adze_errcode(ctx), ADZE_ENOMEM);
    assert_null(adze_alloc_raw(ctx, INT64_MAX));
    char *s = adze_strdup(ctx, "adze");
    assert_string_equal(s, "adze");
    adze_free(ctx, s);
    adze_ctx_free(ctx);
    assert_true(faulty_mem_clean(&mem));
}

static void the_memory_limit_holds_and_says_so(void **state) {
    (void)state;
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.mem_limit = 10000}, &ctx), ADZE_OK);
    void *p = adze_alloc(ctx, 6000, 1);
    assert_non_null(p);
    assert_null(adze_alloc(ctx, 5000, 1));
    assert_int_equal(adze_errcode(ctx), ADZE_ENOMEM);
    assert_non_null(strstr(adze_errmsg(ctx), "5000"));
    assert_non_null(strstr(adze_errmsg(ctx), "10000"));
    assert_null(adze_resize(ctx, p, 6000, 9000, 1)); /* p is still ours */
    adze_free(ctx, p);
    p = adze_alloc(ctx, 9000, 1);
    assert_non_null(p);
    adze_free(ctx, p);
    adze_ctx_free(ctx);
}

static void arenas_keep_small_and_large_objects(void **state) {
    (void)state;
    adze_ctx *ctx = context();
    adze_arena a = {.ctx = ctx};
    char *kept[200];
    for (int i = 0; i < 200; i++) {
        size_t n = (size_t)(i % 17 == 0 ? 9000 : i + 1);
        kept[i] = adze_arena_alloc(&a, n);
        assert_int_equal((uintptr_t)kept[i] % 16, 0);
        for (size_t k = 0; k < n; k++) {
            assert_int_equal(kept[i][k], 0);
        }
        memset(kept[i], i, n);
        char *s = adze_arena_strdup(&a, "odd");
        assert_string_equal(s, "odd");
    }
    for (int i = 0; i < 200; i++) {
        assert_int_equal((unsigned char)kept[i][0], i);
    }
    assert_string_equal(adze_arena_dup(&a, "abc", 4), "abc");
    assert_true(a.used > 100000);
    adze_arena_free(&a);
    assert_int_equal(adze_ctx_mem_used(ctx), 0);
    adze_ctx_free(ctx);
}

static void text_grows_and_its_failure_sticks(void **state) {
    (void)state;
    faulty_mem mem;
    faulty_mem_init(&mem);
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.mem = &mem.table}, &ctx), ADZE_OK);
    char *s;
    for (long n = 1; n < 20; n++) {
        adze_text t = {.ctx = ctx};
        faulty_mem_arm(&mem, n, false);
        for (int i = 0; i < 300; i++) {
            adze_text_add(&t, "%d,", i);
            adze_text_put(&t, "", 0);
        }
        bool hit = mem.calls >= n;
        assert_int_equal(adze_text_finish(&t, &s), hit ? ADZE_ENOMEM : ADZE_OK);
        assert_int_equal(hit, s == NULL);
        if (!hit) {
            assert_int_equal(strlen(s), 10 * 2 + 90 * 3 + 200 * 4);
            assert_memory_equal(s, "0,1,2,3,", 8);
        }
        adze_free(ctx, s);
    }
    faulty_mem_arm(&mem, 0, false);
    adze_text empty = {.ctx = ctx};
    assert_int_equal(adze_text_finish(&empty, &s), ADZE_OK);
    assert_string_equal(s, "");
    adze_free(ctx, s);
    adze_ctx_free(ctx);
    assert_true(faulty_mem_clean(&mem));
}

/* -- numbers -- */

static void doubles_print_shortest(void **state) {
    (void)state;
    static const struct {
        double v;
        const char *text;
    } CASES[] = {{0.1, "0.1"},       {1e-7, "1e-07"},    {0, "0"},         {-0.0, "-0"},       {1, "1"},
                 {1e23, "1e+23"},    {5e-324, "5e-324"}, {1.0 / 3, "0.3333333333333333"},      {-2.5, "-2.5"},
                 {INFINITY, "inf"},  {-INFINITY, "-inf"}, {NAN, "nan"},    {DBL_MAX, "1.7976931348623157e+308"},
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
    static const char *const GOOD[] = {"1", "-1", "+1", "1.5", ".5", "5.", "1e3", "1E-3", "1e+3", "010", "inf", "-inf", "nan", "0.1", "1e-400",
                                       "9007199254740993", "123456789012345678901234567890e-25", "2.2250738585072011e-308",
                                       "0.000000000000000000000000000000000000000001"};
    static const char *const BAD[] = {"",    " 1",  "1 ", "0x10", "1e",  "e1",  ".",    "-",     "--1", "1,5",  "1.2.3", "infinity",
                                      "INF", "NaN", "1f", "1e5x", "1e+", "+-1", "nan1", "1e400", "-1e999", "1_000"};
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
    static const char *const BAD[] = {"", "-", "+", "1.0", "0x1", " 1", "1 ", "1e3", "--1", "-+1", "+-1", "9223372036854775808", "-9223372036854775809"};
    for (size_t k = 0; k < ADZE_COUNT(BAD); k++) {
        assert_false(adze_parse_i64(BAD[k], &i));
    }
    assert_false(adze_parse_u64("-1", &u));
    assert_false(adze_parse_u64("18446744073709551616", &u));
}

static void the_locale_does_not_matter(void **state) {
    (void)state;
    static const char *const NAMES[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
    bool any = false;
    for (size_t i = 0; i < ADZE_COUNT(NAMES) && !any; i++) {
        any = setlocale(LC_ALL, NAMES[i]) != NULL;
    }
    if (!any) {
        skip(); /* no locale with a decimal comma is installed */
    }
    double v;
    char s[64];
    bool ok = adze_parse_f64("1.2345678901234567890123e-30", &v) && v == 1.2345678901234567890123e-30 && !adze_parse_f64("1,5", &v);
    adze_print_f64(s, sizeof s, 1.0 / 3);
    setlocale(LC_ALL, "C");
    assert_true(ok);
    assert_string_equal(s, "0.3333333333333333");
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
    "data",        "model",     "epochs",       "batch",     "lr",        "optimizer",  "momentum",    "weight_decay", "schedule", "warmup_epochs",
    "min_lr",      "seed",      "threads",      "isa",       "out",       "resume",     "dtype",       "loss",         "clip_norm", "ema",
    "patience",    "monitor",   "save_every",   "save_top_k", "augment",  "hflip",      "crop",        "mixup",        "dropout",  "label_smoothing",
    "units",       "filters",   "kernel_size",  "strides",   "padding",   "dilation",   "groups",      "activation",   "use_bias", "rate",
    "relu",        "leaky_relu", "elu",         "gelu",      "sigmoid",   "tanh",       "softmax",     "swish",        "adam",     "adamw",
    "rmsprop",     "sgd",       "nesterov",     "cosine",    "linear",    "constant",   "batch_norm",  "layer_norm",   "dense",    "conv2d",
    "max_pool",    "avg_pool",  "flatten",      "embedding", "lstm",      "gru",        "on_nan",      "limit_train",  "verbose",  "progress",
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

/* -- random numbers -- */

static void philox_gives_the_published_vectors(void **state) {
    (void)state;
    static const struct { /* Random123, kat_vectors: philox4x32 10 */
        uint32_t ctr[4], key[2], out[4];
    } KNOWN[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < ADZE_COUNT(KNOWN); i++) {
        uint32_t out[4];
        adze_philox(KNOWN[i].key, KNOWN[i].ctr, out);
        assert_memory_equal(out, KNOWN[i].out, sizeof out);
    }
    adze_rng r = adze_rng_make(0, 0);
    assert_int_equal(adze_rng_u32(&r), 0x6627e8d5);
    assert_true(adze_rng_u64(&r) == UINT64_C(0xbc57ac4ce169c58d));
    adze_rng pi = adze_rng_make(UINT64_C(0x299f31d0a4093822), UINT64_C(0x0370734413198a2e));
    pi.ctr[0] = 0x243f6a88;
    pi.ctr[1] = 0x85a308d3;
    assert_int_equal(adze_rng_u32(&pi), 0xd16cfe09);
    adze_rng carry = adze_rng_make(1, 1);
    carry.ctr[0] = UINT32_MAX;
    adze_rng_u32(&carry);
    assert_true(carry.ctr[0] == 0 && carry.ctr[1] == 1 && carry.ctr[2] == 1);
}

static void draws_have_their_distributions(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(7, 8);
    enum { N = 200000 };
    double sum = 0, squares = 0, fourth = 0, uniform = 0;
    int64_t count[6] = {0};
    for (int i = 0; i < N; i++) {
        double z = adze_rng_normal(&r), u = adze_rng_uniform(&r);
        assert_true(u >= 0 && u < 1 && isfinite(z));
        sum += z;
        squares += z * z;
        fourth += z * z * z * z;
        uniform += u;
        int64_t k = adze_rng_range(&r, -2, 3);
        assert_in_range(k + 2, 0, 5);
        count[k + 2]++;
    }
    assert_true(fabs(sum / N) < 0.01 && fabs(squares / N - 1) < 0.02 && fabs(fourth / N - 3) < 0.15 && fabs(uniform / N - 0.5) < 0.004);
    for (int i = 0; i < 6; i++) {
        assert_true(fabs((double)count[i] / N - 1.0 / 6) < 0.005);
    }
    assert_int_equal(adze_rng_below(&r, 1), 0);
    assert_int_equal(adze_rng_range(&r, 5, 5), 5);
    for (int i = 0; i < 100; i++) {
        assert_true(adze_rng_below(&r, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
    }
    adze_rng_range(&r, INT64_MIN, INT64_MAX); /* all 64 bits: must not divide by zero */
}

static void a_permutation_holds_each_once(void **state) {
    (void)state;
    int64_t v[1000], seen[1000] = {0}, moved = 0;
    for (int64_t i = 0; i < 1000; i++) {
        v[i] = i;
    }
    adze_rng r = adze_rng_make(9, 10);
    adze_rng_permute(&r, v, 1000);
    for (int64_t i = 0; i < 1000; i++) {
        seen[v[i]]++;
        moved += v[i] != i;
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(seen[i], 1);
    }
    assert_true(moved > 900);
    adze_rng_permute(&r, v, 0);
    adze_rng_permute(&r, v, 1);
}

static void hashes_are_xxh3(void **state) {
    (void)state;
    uint64_t h[2];
    adze_hash128("", 0, h); /* xxhsum -H2 of nothing: 99aa06d3014798d86001c324468d497f */
    assert_true(h[0] == UINT64_C(0x99aa06d3014798d8) && h[1] == UINT64_C(0x6001c324468d497f));
    assert_true(adze_hash64("", 0, 0) == UINT64_C(0x2d06800538d394c2));
    assert_true(adze_hash_str("conv1:w") == adze_hash64("conv1:w", 7, 0));
    assert_true(adze_hash_str("conv1:w") != adze_hash_str("conv1:b"));
    assert_true(adze_hash64("a", 1, 0) != adze_hash64("a", 1, 1));
}

/* -- threads -- */

typedef struct tally {
    int calls[300];
    int nth;
    int64_t sums[300];
} tally;

static void add_up(void *arg, int ith, int nth) {
    tally *t = arg;
    int64_t from, to;
    adze_share(100000, 16, ith, nth, &from, &to);
    t->calls[ith]++;
    for (int64_t i = from; i < to; i++) {
        t->sums[ith] += i;
    }
    if (ith == 0) {
        t->nth = nth;
    }
}

static void every_thread_works_once_a_run(void **state) {
    (void)state;
    for (int threads = 1; threads <= 8; threads += threads < 3 ? 1 : 5) {
        adze_ctx *ctx;
        assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.threads = threads}, &ctx), ADZE_OK);
        for (int run = 0; run < 300; run++) {
            tally t = {{0}, 0, {0}};
            int wanted = run % 10;
            adze_pool_run(ctx, add_up, &t, wanted);
            int64_t sum = 0;
            int expected = wanted < 1 ? 1 : wanted < threads ? wanted : threads;
            assert_int_equal(t.nth, expected);
            for (int i = 0; i < 300; i++) {
                assert_int_equal(t.calls[i], i < expected);
                sum += t.sums[i];
            }
            assert_int_equal(sum, INT64_C(100000) * 99999 / 2);
        }
        adze_ctx_free(ctx);
    }
}

static void without_memory_for_threads_one_does_all(void **state) {
    (void)state;
    faulty_mem mem;
    faulty_mem_init(&mem);
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.mem = &mem.table, .threads = 4}, &ctx), ADZE_OK);
    faulty_mem_arm(&mem, 1, true);
    tally t = {{0}, 0, {0}};
    adze_pool_run(ctx, add_up, &t, 4);
    assert_int_equal(t.nth, 1);
    assert_int_equal(t.sums[0], INT64_C(100000) * 99999 / 2);
    adze_ctx_free(ctx);
    assert_true(faulty_mem_clean(&mem));
}

static void shares_cover_everything_once(void **state) {
    (void)state;
    for (int64_t n = 0; n < 70; n++) {
        for (int nth = 1; nth < 9; nth++) {
            int64_t at = 0;
            for (int ith = 0; ith < nth; ith++) {
                int64_t from, to;
                adze_share(n, 16, ith, nth, &from, &to);
                assert_int_equal(from, at);
                assert_true(to >= from && (to % 16 == 0 || to == n));
                at = to;
            }
            assert_int_equal(at, n);
        }
    }
    double before = adze_now();
    assert_true(adze_now() >= before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_name_and_one_exit_code),
        cmocka_unit_test(a_message_may_quote_the_one_before_and_be_long),
        cmocka_unit_test(a_long_message_without_memory_is_cut),
        cmocka_unit_test(a_context_refuses_wrong_options_in_a_sentence),
        cmocka_unit_test(notes_reach_the_log_alone),
        cmocka_unit_test(a_context_without_memory_is_no_context),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(blocks_are_zeroed_aligned_counted),
        cmocka_unit_test(the_memory_limit_holds_and_says_so),
        cmocka_unit_test(arenas_keep_small_and_large_objects),
        cmocka_unit_test(text_grows_and_its_failure_sticks),
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
        cmocka_unit_test(philox_gives_the_published_vectors),
        cmocka_unit_test(draws_have_their_distributions),
        cmocka_unit_test(a_permutation_holds_each_once),
        cmocka_unit_test(hashes_are_xxh3),
        cmocka_unit_test(every_thread_works_once_a_run),
        cmocka_unit_test(without_memory_for_threads_one_does_all),
        cmocka_unit_test(shares_cover_everything_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
