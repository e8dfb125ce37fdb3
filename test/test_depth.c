/* Stochastic depth: which layers a branch is, what a skipped one leaves as it was, forward, backward and in the store, on both devices and in groups;
 * draws by (seed, step) alone; the expectation in use; and trainings with it. */
#include "trainbench.h"

#include "adze.h"
#include "graph/plan_internal.h"
#include "model/layer.h"
#include "op/chain.h"
#include "train/trainer.h"

/* Two blocks, the second with a shortcut of its own, whose layer stands among the branch's. */
static const char NET[] =
    "{\"name\":\"n\",\"input\":[16,16,4],\"drop_path\":\"linear:0.5\",\"layers\":["
    "{\"type\":\"conv\",\"name\":\"c\",\"filters\":8,\"kernel\":3,\"pad\":\"same\"},"
    "{\"type\":\"conv\",\"name\":\"a1\",\"filters\":8,\"kernel\":3,\"pad\":\"same\",\"bias\":false},{\"type\":\"batchnorm\",\"name\":\"b1\","
    "\"activation\":\"relu\"},{\"type\":\"conv\",\"name\":\"a2\",\"filters\":8,\"kernel\":3,\"pad\":\"same\",\"bias\":false},"
    "{\"type\":\"batchnorm\",\"name\":\"b2\"},{\"type\":\"add\",\"name\":\"s1\",\"from\":[\"b2\",\"c\"],\"activation\":\"relu\"},"
    "{\"type\":\"conv\",\"name\":\"a3\",\"filters\":16,\"kernel\":3,\"stride\":2,\"pad\":\"same\"},"
    "{\"type\":\"shortcut\",\"name\":\"k\",\"from\":\"s1\",\"filters\":16,\"stride\":2},"
    "{\"type\":\"batchnorm\",\"name\":\"b3\",\"from\":\"a3\"},{\"type\":\"dropout\",\"name\":\"d\",\"p\":0.2},"
    "{\"type\":\"add\",\"name\":\"s2\",\"from\":[\"d\",\"k\"],\"activation\":\"relu\"},"
    "{\"type\":\"global_avgpool\",\"name\":\"g\"},{\"type\":\"dense\",\"name\":\"o\",\"units\":5}]}";

enum { BATCH = 64, PARAMS = 32 };

typedef struct net {
    adze_ctx *ctx;
    adze_model *model;
    adze_store *store;
    adze_plan *plan;
    adze_session *session;
    int nparams;
    char names[PARAMS][64];
} net;

#define ok(n, call)                                                                                                                                  \
    do {                                                                                                                                             \
        if ((call) != ADZE_OK) {                                                                                                                     \
            fail_msg("%s", adze_errmsg((n)->ctx));                                                                                                   \
        }                                                                                                                                            \
    } while (0)

static void fill(net *n) {
    adze_tensor x, label;
    adze_rng r = adze_rng_make(7, 7);
    ok(n, adze_session_input(n->session, "x", &x));
    ok(n, adze_session_input(n->session, "label", &label));
    const adze_type t = adze_tensor_type(&x);
    for (int64_t i = 0; i < adze_type_count(&t); i++) {
        adze_tensor_set(&x, i, adze_rng_normal(&r));
    }
    for (int64_t i = 0; i < BATCH; i++) {
        adze_tensor_set(&label, i, (double)adze_rng_below(&r, 5));
    }
    adze_session_random(n->session, 3, 5, 0);
}

/* Loss and gradients as outputs; running statistics are written. */
static void build(net *n, adze_graph *g, adze_dtype d) {
    const adze_build_opts o = {.size = sizeof o, .train = true, .dtype = d};
    adze_val y, each, p[PARAMS], dp[PARAMS];
    adze_val x = adze_input(g, "x", adze_model_input_type(n->model, BATCH, d));
    adze_val label = adze_input(g, "label", adze_model_label_type(n->model, BATCH));
    ok(n, adze_model_build(n->model, g, x, &o, &y));
    ok(n, adze_model_loss(n->model, g, y, label, &each));
    adze_val loss = adze_mean(g, each, NULL, 0, false);
    ok(n, adze_output(g, "loss", loss));
    for (int i = 0; i < adze_store_count(n->store); i++) {
        if (adze_store_flags(n->store, i) & ADZE_SLOT_TRAINABLE) {
            snprintf(n->names[n->nparams], sizeof n->names[0], "%s", adze_store_name(n->store, i));
            p[n->nparams++] = adze_slot(g, adze_store_name(n->store, i), adze_store_type(n->store, i));
        }
    }
    ok(n, adze_grad(g, loss, p, n->nparams, dp, 0));
    for (int i = 0; i < n->nparams; i++) {
        ok(n, adze_output(g, n->names[i], dp[i]));
    }
}

static void up(net *n, adze_dtype d, int threads, const adze_compile_opts *opts) {
    *n = (net){0};
    const adze_ctx_opts o = {.size = sizeof o, .threads = threads};
    adze_graph *g;
    ok(n, adze_ctx_new(&o, &n->ctx));
    ok(n, adze_model_from_json(n->ctx, NET, sizeof NET - 1, "net.json", &n->model));
    ok(n, adze_store_new(n->ctx, &n->store));
    ok(n, adze_model_init(n->model, n->store, d, 1));
    ok(n, adze_graph_new(n->ctx, &g));
    build(n, g, d);
    ok(n, adze_compile(g, opts, &n->plan));
    ok(n, adze_plan_check(n->plan));
    ok(n, adze_session_new(n->ctx, n->plan, n->store, "", &n->session));
    fill(n);
    adze_graph_free(g);
}

static void down(net *n) {
    adze_session_free(n->session);
    adze_plan_free(n->plan);
    adze_store_free(n->store);
    adze_model_free(n->model);
    adze_ctx_free(n->ctx);
}

static void run(net *n, int trips) {
    ok(n, adze_session_trips(n->session, "s1/branch", trips & 1));
    ok(n, adze_session_trips(n->session, "s2/branch", trips >> 1));
    ok(n, adze_session_run(n->session));
}

static double largest(net *n, const char *output) {
    adze_tensor t;
    double most = 0;
    ok(n, adze_session_output(n->session, output, &t));
    const adze_type type = adze_tensor_type(&t);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        const double v = fabs(adze_tensor_get(&t, i));
        most = v > most || isnan(v) ? v : most;
    }
    return most;
}

static void near_each(net *a, net *b, const char *output) {
    adze_tensor x, y;
    ok(a, adze_session_output(a->session, output, &x));
    ok(b, adze_session_output(b->session, output, &y));
    const adze_type type = adze_tensor_type(&x);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        const double v = adze_tensor_get(&x, i), w = adze_tensor_get(&y, i);
        if (!(fabs(v - w) <= 1e-9 * (1 + fabs(w)))) {
            fail_msg("%s[%d]: %.17g, by ref %.17g", output, (int)i, v, w);
        }
    }
}

static double slot(net *n, const char *name) {
    adze_tensor t;
    ok(n, adze_store_tensor(n->store, adze_store_find(n->store, name), &t));
    return adze_tensor_get(&t, 0);
}

static bool in_branch(const char *name, int block) {
    return block == 0 ? name[1] < '3' && (name[0] == 'a' || name[0] == 'b') : name[1] == '3';
}

static void test_a_skipped_branch_leaves_everything_as_it_was(void **state) {
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        const adze_compile_opts ref = {.size = sizeof ref, .device = "ref"};
        const adze_compile_opts cpu = {.size = sizeof cpu, .poison = variant != 1, .no_group = variant == 2, .no_simplify = variant == 3};
        net a, b;
        up(&a, ADZE_F64, 2, &cpu);
        up(&b, ADZE_F64, 2, &ref);
        for (int step = 0; step < 6; step++) {
            const int trips = (int[]){3, 0, 1, 2, 3, 0}[step];
            const double mean[] = {slot(&a, "b2:mean"), slot(&a, "b3:mean")};
            run(&a, trips);
            run(&b, trips);
            near_each(&a, &b, "loss");
            for (int i = 0; i < a.nparams; i++) {
                near_each(&a, &b, a.names[i]);
                for (int block = 0; block < 2; block++) {
                    if (in_branch(a.names[i], block)) {
                        assert_int_equal(largest(&a, a.names[i]) > 0, trips >> block & 1);
                    }
                }
            }
            assert_int_equal(slot(&a, "b2:mean") != mean[0], trips & 1);
            assert_int_equal(slot(&a, "b3:mean") != mean[1], trips >> 1);
            assert_true(fabs(slot(&a, "b2:var") - slot(&b, "b2:var")) < 1e-12);
        }
        down(&a);
        down(&b);
    }
}

/* A step under a guard that is off takes no time at all. */
static void check_times(net *n) {
    double *seconds = calloc((size_t)n->plan->nsteps, sizeof *seconds);
    adze_session_profile(n->session, true);
    for (int trips = 0; trips < 2; trips++) {
        run(n, trips ? 3 : 0);
        ok(n, adze_session_times(n->session, seconds, n->plan->nsteps));
        for (int32_t t = 0; t < n->plan->nsteps; t++) {
            if (n->plan->steps[t].guard && !n->plan->steps[t].follows) {
                assert_int_equal(seconds[t] > 0, trips);
            }
        }
    }
    adze_session_profile(n->session, false);
    free(seconds);
}

/* Guards are no regions any more: their steps are in groups. Groups, tails, threads and values computed twice change no bit. */
static void test_guards_leave_chains_groups_and_bits_alone(void **state) {
    (void)state;
    uint64_t bits[4][4];
    int64_t arena = 0;
    for (int k = 0; k < 4; k++) {
        const adze_compile_opts cpu = {.size = sizeof cpu, .no_group = k == 1, .memory = k == 3 ? arena * 7 / 8 : 0};
        net n;
        up(&n, ADZE_F32, k == 2 ? 3 : 1, &cpu);
        for (int trips = 0; trips < 4; trips++) {
            adze_tensor t;
            run(&n, trips);
            ok(&n, adze_session_output(n.session, "c:w", &t));
            const adze_type type = adze_tensor_type(&t);
            bits[k][trips] = adze_hash64(adze_tensor_data(&t), (size_t)adze_type_bytes(&type), 1);
        }
        assert_int_equal(adze_plan_describe(n.plan).recomputed_steps > 0, k == 3);
        if (k == 0) {
            arena = adze_plan_describe(n.plan).arena_bytes;
            int under = 0, grouped = 0;
            for (int32_t t = 0; t < n.plan->nsteps; t++) {
                const adze_pstep *s = &n.plan->steps[t];
                assert_int_not_equal(n.plan->regions[s->region].kind, ADZE_REGION_GUARD);
                under += s->guard != 0;
                grouped += s->guard != 0 && n.plan->regions[s->region].kind == ADZE_REGION_GROUP;
            }
            assert_true(under > 20 && grouped > 10);
            check_times(&n);
        }
        down(&n);
    }
    assert_memory_equal(bits[0], bits[1], sizeof bits[0]);
    assert_memory_equal(bits[0], bits[2], sizeof bits[0]);
    assert_memory_equal(bits[0], bits[3], sizeof bits[0]);
}

static int chains_with(const net *n, const char *code) {
    int found = 0;
    for (int32_t t = 0; t < n->plan->nsteps; t++) {
        const adze_pstep *s = &n->plan->steps[t];
        found += s->op == &adze_op_chain && strstr(((const adze_chain_attrs *)s->attrs)->text, code) != NULL;
    }
    return found;
}

/* The sum that ends a block is one line of a chain, with the flag in it, forward and backward, and in bf16 as well: near what f32 gives. */
static void test_the_sum_of_a_block_is_one_line(void **state) {
    (void)state;
    const adze_compile_opts narrow = {.size = sizeof narrow, .precision = ADZE_BF16};
    net wide, n;
    up(&wide, ADZE_F32, 1, NULL);
    up(&n, ADZE_F32, 1, &narrow);
    assert_true(chains_with(&wide, "norm_add_relu_if") > 0 && chains_with(&wide, "add_gate_if") > 0);
    assert_true(chains_with(&n, "norm_add_relu_if.bf16") > 0 && chains_with(&n, "add_gate_if.bf16") > 0);
    for (int trips = 0; trips < 4; trips++) {
        run(&wide, trips);
        run(&n, trips);
        for (int i = 0; i < n.nparams; i++) {
            adze_tensor a, b;
            double apart = 0, size = 0;
            ok(&wide, adze_session_output(wide.session, n.names[i], &a));
            ok(&n, adze_session_output(n.session, n.names[i], &b));
            const adze_type type = adze_tensor_type(&a);
            for (int64_t k = 0; k < adze_type_count(&type); k++) {
                apart = hypot(apart, adze_tensor_get(&a, k) - adze_tensor_get(&b, k));
                size = hypot(size, adze_tensor_get(&a, k));
            }
            if (!(apart <= 0.1 * size + 1e-3)) {
                fail_msg("trips %d: %s is %g away in bf16, of %g", trips, n.names[i], apart, size);
            }
        }
    }
    down(&wide);
    down(&n);
}

static void test_draws_follow_the_rule_and_the_step(void **state) {
    (void)state;
    enum { DRAWS = 2000 };
    net n;
    int count[2] = {0};
    adze_tensor flag[2];
    up(&n, ADZE_F32, 1, NULL);
    for (int k = 0; k < 2; k++) {
        ok(&n, adze_session_input(n.session, k ? "(guard) s2/branch" : "(guard) s1/branch", &flag[k]));
    }
    for (int step = 0; step < DRAWS; step++) {
        double first[2];
        ok(&n, adze_model_draw_depth(n.model, n.session, 1, (uint64_t)step));
        for (int k = 0; k < 2; k++) {
            first[k] = adze_tensor_get(&flag[k], 0);
            count[k] += first[k] > 0;
        }
        ok(&n, adze_model_draw_depth(n.model, n.session, 1, (uint64_t)step + 1));
        ok(&n, adze_model_draw_depth(n.model, n.session, 1, (uint64_t)step));
        assert_true(adze_tensor_get(&flag[0], 0) == first[0] && adze_tensor_get(&flag[1], 0) == first[1]);
    }
    const double share[] = {0.75, 0.5}; /* 1 - l / 2 (1 - 0.5) */
    for (int k = 0; k < 2; k++) {
        assert_true(fabs(count[k] - DRAWS * share[k]) < 4 * sqrt(DRAWS * share[k] * (1 - share[k])));
    }
    down(&n);
}

/* Where the net behind the block is linear, its output in use is the mean of training's, weighted by the share. */
static void test_in_use_the_branch_is_scaled_by_its_share(void **state) {
    (void)state;
    static const char LINEAR[] =
        "{\"name\":\"l\",\"task\":\"regress\",\"input\":[6],\"layers\":[{\"type\":\"dense\",\"name\":\"a\",\"units\":6},{\"type\":\"dense\","
        "\"name\":\"f\",\"units\":6,\"activation\":\"tanh\"},{\"type\":\"add\",\"name\":\"s\",\"from\":[\"a\",\"f\"],\"drop_path\":0.3},"
        "{\"type\":\"dense\",\"name\":\"o\",\"units\":2}]}";
    net n = {0};
    double y[3][2];
    ok(&n, adze_ctx_new(NULL, &n.ctx));
    ok(&n, adze_model_from_json(n.ctx, LINEAR, sizeof LINEAR - 1, "l.json", &n.model));
    ok(&n, adze_store_new(n.ctx, &n.store));
    ok(&n, adze_model_init(n.model, n.store, ADZE_F64, 1));
    for (int k = 0; k < 3; k++) { /* skipped, taken, in use */
        adze_graph *g;
        adze_val v;
        adze_tensor x, out;
        ok(&n, adze_graph_new(n.ctx, &g));
        const adze_build_opts o = {.size = sizeof o, .train = k < 2, .dtype = ADZE_F64};
        ok(&n, adze_model_build(n.model, g, adze_input(g, "x", adze_model_input_type(n.model, 1, ADZE_F64)), &o, &v));
        ok(&n, adze_output(g, "y", v));
        ok(&n, adze_compile(g, NULL, &n.plan));
        ok(&n, adze_session_new(n.ctx, n.plan, n.store, "", &n.session));
        ok(&n, adze_session_input(n.session, "x", &x));
        for (int i = 0; i < 6; i++) {
            adze_tensor_set(&x, i, 0.3 * i - 1);
        }
        if (k < 2) {
            ok(&n, adze_session_trips(n.session, "s/branch", k));
        }
        ok(&n, adze_session_run(n.session));
        ok(&n, adze_session_output(n.session, "y", &out));
        y[k][0] = adze_tensor_get(&out, 0);
        y[k][1] = adze_tensor_get(&out, 1);
        adze_session_free(n.session);
        adze_plan_free(n.plan);
        adze_graph_free(g);
    }
    for (int i = 0; i < 2; i++) {
        assert_true(fabs(y[0][i] - y[1][i]) > 1e-3);
        assert_true(fabs(y[2][i] - (0.7 * y[0][i] + 0.3 * y[1][i])) < 1e-12);
    }
    n.session = NULL;
    n.plan = NULL;
    down(&n);
}

#define BODY(fields, layers) "{\"name\":\"n\",\"input\":[6]," fields "\"layers\":[{\"type\":\"dense\",\"name\":\"a\",\"units\":6}," layers "]}"
#define DENSE(name, from) "{\"type\":\"dense\",\"name\":\"" name "\",\"units\":6,\"from\":\"" from "\"},"
#define ADD(name, from, more) "{\"type\":\"add\",\"name\":\"" name "\",\"from\":[" from "]" more "}"

static void test_what_is_no_block_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } CASES[] = {
        {BODY("\"drop_path\":\"linear:2\",", ADD("s", "\"a\",\"input\"", "")), "drop_path is the share of steps in which a block's branch runs"},
        {BODY("\"drop_path\":\"half\",", ADD("s", "\"a\",\"input\"", "")), "not 'half'"},
        {BODY("", DENSE("b", "a") DENSE("c", "a") ADD("s", "\"a\",\"b\",\"c\"", ",\"drop_path\":0.5")),
         "layer 's': drop_path: a block that may be skipped adds two inputs"},
        {BODY("", ADD("s", "\"a\",\"a\"", ",\"drop_path\":0.5")), "layer 's': drop_path: both inputs are one value: there is no branch to skip"},
        {BODY("", DENSE("b", "a") ADD("s", "\"a\",\"b\"", ",\"drop_path\":0.5") "," ADD("t", "\"s\",\"b\"", "")),
         "layer 's': drop_path: a layer outside its branch reads what is computed inside ('t')"},
        {BODY("", DENSE("b", "a") ADD("s", "\"a\",\"b\"", ",\"drop_path\":0.5") "," ADD("t", "\"s\",\"a\"", ",\"drop_path\":0.5")),
         "layer 't': drop_path: its branch holds another block that may be skipped; leave one of them out ('b')"},
        {BODY("", DENSE("b", "a") ADD("s", "\"a\",\"b\"", ",\"drop_path\":0")), "drop_path '0' is out of range"},
    };
    adze_ctx *ctx;
    adze_model *m;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    for (size_t i = 0; i < ADZE_COUNT(CASES); i++) {
        assert_int_not_equal(adze_model_from_json(ctx, CASES[i].text, strlen(CASES[i].text), "n.json", &m), ADZE_OK);
        if (!strstr(adze_errmsg(ctx), CASES[i].says)) {
            fail_msg("'%s' is not in: %s", CASES[i].says, adze_errmsg(ctx));
        }
    }
    assert_int_equal(adze_model_from_json(ctx, plain_net, strlen(plain_net), "n.json", &m), ADZE_OK);
    assert_int_equal(adze_model_set_drop_path(m, "linear:0.5"), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(ctx), "model 'plain' has no block, a layer 'add' with two inputs"));
    adze_model_free(m);
    adze_ctx_free(ctx);
}

/* -- trainings ----------------------------------------------------------------------------------------------------------------------------------- */

static const char BLOCKS[] =
    "{\"name\":\"b\",\"input\":[8,8,1],\"layers\":[{\"type\":\"conv\",\"name\":\"c\",\"filters\":8,\"kernel\":3,\"pad\":\"same\"},"
    "{\"repeat\":3,\"name\":\"r\",\"layers\":[{\"type\":\"conv\",\"name\":\"c\",\"filters\":8,\"kernel\":3,\"pad\":\"same\"},"
    "{\"type\":\"batchnorm\",\"name\":\"b\"},{\"type\":\"add\",\"name\":\"s\",\"from\":[\"b\",\"input\"],\"activation\":\"relu\"}]},"
    "{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"o\",\"units\":4}]}";

static setting with_depth(void) {
    setting s = usual(BLOCKS);
    strcpy(s.o.drop_path, "linear:0.4");
    return s;
}

static void test_resume_and_threads_change_no_bit(void **state) {
    (void)state;
    setting s = with_depth();
    bench one = {0}, other = {0}, resumed = {0};
    char dir[256];
    faulty_folder(dir, sizeof dir);
    train(&one, &s, false);
    bench_close(&one);
    s.threads = 1;
    train(&other, &s, false);
    bench_close(&other);
    same_hash(&one, &other, "another number of threads");
    s.dir = dir;
    s.o.save_every = 1;
    resumed.stop_at = 7;
    adze_stop why;
    must(&resumed, bench_open(&resumed, &s));
    (void)adze_trainer_run(resumed.t, &why);
    assert_int_equal(why, ADZE_STOP_REQUEST);
    bench_close(&resumed);
    resumed.stop_at = 0;
    train(&resumed, &s, true);
    assert_non_null(strstr(adze_trainer_last_checkpoint(resumed.t), dir));
    char *json;
    must(&resumed, adze_model_to_json(resumed.model, &json)); /* what is saved with the weights knows the shares */
    assert_non_null(strstr(json, "\"drop_path\":\"linear:0.4\""));
    adze_text_free(resumed.ctx, json);
    bench_close(&resumed);
    same_hash(&one, &resumed, "a resume");
    faulty_folder_drop(dir);
}

static void test_it_goes_with_bf16_accumulation_and_sam(void **state) {
    (void)state;
    for (int k = 0; k < 4; k++) {
        setting s = with_depth();
        bench b = {0};
        s.o.precision = k == 1 ? ADZE_PRECISION_BF16 : ADZE_PRECISION_FULL;
        s.o.accumulate = k == 2 ? 3 : 1;
        s.o.sam = k == 3 ? 0.05 : 0;
        s.o.epochs = 8;
        train(&b, &s, false);
        assert_true(b.losses[b.nlosses - 1] < 0.7 * b.losses[0]);
        bench_close(&b);
    }
}

/* Multipliers are of the whole network, whatever the last step has drawn. */
static void test_multipliers_see_every_branch(void **state) {
    (void)state;
    bench b = {0};
    setting s = with_depth();
    adze_maxnorm_unit *units[2];
    int64_t n[2];
    s.o.maxnorm = 0.5;
    train(&b, &s, false);
    for (int on = 0; on < 2; on++) {
        for (int i = 0; i < b.model->nlayers; i++) {
            char region[ADZE_LAYER_NAME + 16];
            adze_layer_region(&b.model->layers[i], region, sizeof region);
            for (int k = 0; k < b.t->steps.ngrad && b.model->layers[i].survival < 1; k++) {
                must(&b, adze_session_trips(b.t->steps.grad[k].session, region, on));
            }
        }
        must(&b, adze_trainer_maxnorm(b.t, &units[on], &n[on]));
    }
    assert_int_equal(n[0], n[1]);
    for (int64_t i = 0; i < n[0]; i++) {
        assert_true(units[0][i].residual > 0 && units[0][i].residual == units[1][i].residual);
    }
    adze_maxnorm_free(b.t, units[0]);
    adze_maxnorm_free(b.t, units[1]);
    bench_close(&b);
}

static void test_penalties_within_a_branch_are_refused(void **state) {
    (void)state;
    bench b = {0};
    setting s = with_depth();
    strcpy(s.o.activity_l1, "r/*/c=0.1");
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "option activity_l1: layer 'r/1/c' lies in a branch that drop_path skips");
    bench_close(&b);
    strcpy(s.o.activity_l1, "r/*/s=0.1");
    must(&b, bench_open(&b, &s));
    bench_close(&b);
}

int main(void) {
    make_data();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_skipped_branch_leaves_everything_as_it_was),
                                       cmocka_unit_test(test_guards_leave_chains_groups_and_bits_alone),
                                       cmocka_unit_test(test_the_sum_of_a_block_is_one_line),
                                       cmocka_unit_test(test_draws_follow_the_rule_and_the_step),
                                       cmocka_unit_test(test_in_use_the_branch_is_scaled_by_its_share),
                                       cmocka_unit_test(test_what_is_no_block_is_refused),
                                       cmocka_unit_test(test_resume_and_threads_change_no_bit),
                                       cmocka_unit_test(test_it_goes_with_bf16_accumulation_and_sam),
                                       cmocka_unit_test(test_multipliers_see_every_branch),
                                       cmocka_unit_test(test_penalties_within_a_branch_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
