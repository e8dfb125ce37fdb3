/* A context that is reproducible: the same bits on the portable build, on AVX2 and on AVX-512, for every op in f32 and f64 and for trainings of whole
 * networks. The portable build has no fma instruction: its level of this mode calls the C library's, so the networks are small. */
#include "optest.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const LEVELS[] = {"ref", "v3", "v4"};
enum { NLEVELS = 3 };

typedef struct machines {
    adze_ctx *ctx[NLEVELS];
    int n;
} machines;

/* ref and those levels that this processor has. */
static void machines_make(machines *m, int threads) {
    static const adze_isa needs[NLEVELS] = {ADZE_ISA_REF, ADZE_ISA_V3, ADZE_ISA_V4};
    adze_ctx_opts opts = {.size = sizeof opts, .threads = threads, .reproducible = true};
    for (m->n = 0; m->n < NLEVELS && needs[m->n] <= adze_isa_best(); m->n++) {
        opts.isa = LEVELS[m->n];
        assert_int_equal(adze_ctx_new(&opts, &m->ctx[m->n]), ADZE_OK);
        assert_true(adze_ctx_reproducible(m->ctx[m->n]));
    }
}

static void machines_free(machines *m) {
    for (int i = 0; i < m->n; i++) {
        adze_ctx_free(m->ctx[i]);
    }
}

/* -- every op ------------------------------------------------------------------------------------------------------------------------------------ */

static bool run(ot_prog *p, const ot_case *c, adze_ctx *ctx) {
    ot_prog_begin(p, ctx);
    ot_prog_inputs(p, c);
    ot_prog_op(p, c);
    for (int k = 0; k < c->nout; k++) {
        ot_output(p, "y", k, p->y[k]);
    }
    if (!ot_prog_compile(p, NULL, "cpu")) {
        return false;
    }
    ot_set_case(p, c);
    return ot_prog_run(p);
}

/* Which element is the first to differ, or -1. All NaNs are one: which of two a sum passes on is the compiler's choice. */
static int64_t differs(const double *a, const double *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0 && !(isnan(a[i]) && isnan(b[i]))) {
            return i;
        }
    }
    return -1;
}

static void check_case(ot *t, ot_case *c) {
    machines *m = t->user;
    double *want[ADZE_MAX_OUT] = {0};
    for (int i = 0; i < m->n; i++) {
        ot_prog p;
        const bool ok = ot_check(t, c, run(&p, c, m->ctx[i]), "%s does not run: %s", LEVELS[i], adze_errmsg(m->ctx[i]));
        for (int k = 0; ok && k < c->nout; k++) {
            double *y = ot_get(&p, "y", k);
            if (i == 0 || !want[k]) {
                want[k] = y;
                continue;
            }
            const int64_t at = differs(y, want[k], adze_type_count(&c->out[k]));
            ot_check(t, c, at < 0, "%s: element %lld of output %d is %.17g, the portable build has %.17g", LEVELS[i], (long long)at, k,
                     at < 0 ? 0 : y[at], at < 0 ? 0 : want[k][at]);
            free(y);
        }
        ot_prog_free(&p);
    }
    for (int k = 0; k < ADZE_MAX_OUT; k++) {
        free(want[k]);
    }
}

static void every_op_has_the_same_bits_at_every_level(void **state) {
    (void)state;
    machines m;
    machines_make(&m, 1);
    const int64_t failures = ot_run("test_reproducible", ADZE_NONE, check_case, NULL, &m);
    machines_free(&m);
    assert_int_equal(failures, 0);
}

/* -- trainings ----------------------------------------------------------------------------------------------------------------------------------- */

typedef struct training {
    const char *zoo, *json; /* a network of the zoo, or its text */
    int64_t batch;
    adze_dtype dtype;
} training;

static const char CHARS[] = "{\"name\":\"chars\",\"input\":[6,32],\"layers\":[{\"type\":\"lstm\",\"name\":\"lstm\",\"units\":72},"
                            "{\"type\":\"dense\",\"name\":\"out\",\"units\":65}]}";
static const char DEPTHWISE[] =
    "{\"name\":\"mobile\",\"input\":[12,12,40],\"layers\":[{\"type\":\"conv\",\"name\":\"d1\",\"filters\":40,\"kernel\":3,"
    "\"pad\":\"same\",\"groups\":40},{\"type\":\"batchnorm\",\"name\":\"n1\"},"
    "{\"type\":\"activation\",\"name\":\"a1\",\"fn\":\"silu\"},"
    "{\"type\":\"conv\",\"name\":\"p1\",\"filters\":24,\"kernel\":1},{\"type\":\"flatten\",\"name\":\"f\"},"
    "{\"type\":\"dense\",\"name\":\"out\",\"units\":10}]}";

static void must(adze_ctx *ctx, int status) {
    if (status != ADZE_OK) {
        fail_msg("%s", adze_errmsg(ctx));
    }
}

static void add_updates(adze_graph *g, adze_store *s, adze_val loss) {
    static const adze_sgd_attrs rule = {.momentum = 0.9};
    adze_val w[256], d[256];
    const char *names[256];
    int n = 0;
    for (int i = 0; i < adze_store_count(s); i++) {
        if (adze_store_flags(s, i) & ADZE_SLOT_TRAINABLE) {
            assert_true(n < 256);
            names[n] = adze_store_name(s, i);
            w[n] = adze_slot(g, names[n], adze_store_type(s, i));
            n++;
        }
    }
    assert_int_equal(adze_grad(g, loss, w, n, d, 0), ADZE_OK);
    const adze_val lr = adze_input(g, "lr", adze_scalar_type(ADZE_F64));
    for (int i = 0; i < n; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s:m", names[i]);
        (void)adze_sgd(g, w[i], adze_slot(g, name, adze_store_type(s, adze_store_find(s, names[i]))), d[i], lr, &rule);
    }
}

static void fill(adze_session *s, const char *name, int64_t classes) {
    adze_rng r = adze_rng_make(7, adze_hash_str(name));
    adze_tensor x;
    assert_int_equal(adze_session_input(s, name, &x), ADZE_OK);
    const adze_type type = adze_tensor_type(&x);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        adze_tensor_set(&x, i, classes > 0 ? (double)adze_rng_below(&r, (uint64_t)classes) : adze_rng_normal(&r));
    }
}

/* Some steps of momentum on random examples; the hash is of all weights, momenta and running statistics. */
static void train(adze_ctx *ctx, const training *what, int steps, uint64_t hash[2]) {
    adze_model *m;
    adze_store *store;
    adze_graph *g;
    adze_plan *plan;
    adze_session *session;
    adze_val y, each;
    adze_tensor lr;
    must(ctx, what->zoo ? adze_model_from_zoo(ctx, what->zoo, &m) : adze_model_from_json(ctx, what->json, strlen(what->json), NULL, &m));
    must(ctx, adze_store_new(ctx, &store));
    must(ctx, adze_model_init(m, store, what->dtype, 1));
    must(ctx, adze_graph_new(ctx, &g));
    const adze_val x = adze_input(g, "x", adze_model_input_type(m, what->batch, what->dtype));
    const adze_val label = adze_input(g, "label", adze_model_label_type(m, what->batch));
    const adze_build_opts build = {.size = sizeof build, .train = true, .dtype = what->dtype};
    must(ctx, adze_model_build(m, g, x, &build, &y));
    must(ctx, adze_model_loss(m, g, y, label, &each));
    add_updates(g, store, adze_mean(g, each, NULL, 0, false));
    must(ctx, adze_compile(g, NULL, &plan));
    must(ctx, adze_session_new(ctx, plan, store, "", &session));
    fill(session, "x", 0);
    fill(session, "label", adze_model_classes(m));
    must(ctx, adze_session_input(session, "lr", &lr));
    adze_tensor_set(&lr, 0, 0.01);
    for (int i = 0; i < steps; i++) {
        adze_session_random(session, 5, (uint64_t)i, 0);
        must(ctx, adze_session_run(session));
    }
    must(ctx, adze_store_hash(store, hash));
    adze_session_free(session);
    adze_plan_free(plan);
    adze_graph_free(g);
    adze_store_free(store);
    adze_model_free(m);
}

static void trainings_have_the_same_bits_at_every_level(void **state) {
    (void)state;
    const char *text = getenv("ADZE_REPRODUCIBLE_STEPS"); /* the long checks: more steps, larger batches */
    const int steps = text ? atoi(text) : 3;
    const training list[] = {{"lenet5-caffe", NULL, text ? 64 : 20, ADZE_F32},
                             {"lenet5-caffe", NULL, 18, ADZE_F64},
                             {"resnet20", NULL, text ? 64 : 17, ADZE_F32},
                             {NULL, CHARS, 20, ADZE_F32},
                             {NULL, CHARS, 9, ADZE_F64},
                             {NULL, DEPTHWISE, 33, ADZE_F32}};
    machines m;
    machines_make(&m, 2);
    for (size_t i = 0; i < ADZE_COUNT(list); i++) {
        uint64_t first[2], none[2], hash[2];
        train(m.ctx[m.n - 1], &list[i], 0, none);
        train(m.ctx[m.n - 1], &list[i], steps, first);
        assert_memory_not_equal(first, none, sizeof first); /* it does train */
        for (int j = m.n - 2; j >= 0; j--) {
            train(m.ctx[j], &list[i], steps, hash);
            if (memcmp(hash, first, sizeof hash) != 0) {
                fail_msg("training %d: %s and %s end with different bits", (int)i, LEVELS[j], LEVELS[m.n - 1]);
            }
        }
    }
    machines_free(&m);
}

/* -- what it refuses ----------------------------------------------------------------------------------------------------------------------------- */

static void products_in_bf16_are_refused(void **state) {
    (void)state;
    adze_ctx *ctx;
    adze_graph *g;
    adze_plan *plan;
    const adze_ctx_opts opts = {.size = sizeof opts, .reproducible = true};
    assert_int_equal(adze_ctx_new(&opts, &ctx), ADZE_OK);
    assert_int_equal(adze_graph_new(ctx, &g), ADZE_OK);
    must(ctx, adze_output(g, "y", adze_input(g, "x", adze_scalar_type(ADZE_F32))));
    const adze_compile_opts low = {.size = sizeof low, .precision = ADZE_BF16};
    assert_int_equal(adze_compile(g, &low, &plan), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(ctx), "bf16"));
    assert_int_equal(adze_compile(g, NULL, &plan), ADZE_OK);
    adze_plan_free(plan);
    adze_graph_free(g);
    adze_train_opts o;
    must(ctx, adze_fields_default(adze_train_fields(), &o));
    must(ctx, adze_train_check(ctx, &o));
    o.precision = 1;
    assert_int_equal(adze_train_check(ctx, &o), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(ctx), "reproducible"));
    adze_ctx_free(ctx);
}

static void the_environment_can_ask_for_it(void **state) {
    (void)state;
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    assert_false(adze_ctx_reproducible(ctx));
    adze_ctx_free(ctx);
    setenv("ADZE_REPRODUCIBLE", "1", 1);
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    assert_true(adze_ctx_reproducible(ctx));
    adze_ctx_free(ctx);
    setenv("ADZE_REPRODUCIBLE", "perhaps", 1);
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(ctx), "perhaps"));
    adze_ctx_free(ctx);
    unsetenv("ADZE_REPRODUCIBLE");
}

int main(void) {
    unsetenv("ADZE_REPRODUCIBLE");
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_op_has_the_same_bits_at_every_level),
                                       cmocka_unit_test(trainings_have_the_same_bits_at_every_level), cmocka_unit_test(products_in_bf16_are_refused),
                                       cmocka_unit_test(the_environment_can_ask_for_it)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
