/* Penalties and bounds in training: closed forms reached by the trainer, exact zeros, priors that are what they stand for, bounds with their
 * multipliers, penalties on activations against differences, bits that nothing changes, refusals. */
#include "trainbench.h"

#include "adze/linalg.h"
#include "train/trainer.h"

#define OK(b, call) must(b, call)

static const char sig_net[] =
    "{\"name\":\"sig\",\"input\":[8,8,1],\"layers\":[{\"type\":\"conv\",\"name\":\"c1\",\"filters\":6,\"kernel\":3,\"activation\":\"sigmoid\"},"
    "{\"type\":\"maxpool\",\"name\":\"p1\",\"size\":2,\"stride\":2},{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dropout\",\"name\":\"d1\",\"p\":0.2},"
    "{\"type\":\"dense\",\"name\":\"fc1\",\"units\":16,\"activation\":\"sigmoid\"},{\"type\":\"dense\",\"name\":\"fc2\",\"units\":4}]}";

static double *weights(bench *b, const char *name, int64_t *n) {
    adze_tensor t;
    OK(b, adze_store_tensor(adze_trainer_store(b->t), adze_store_find(adze_trainer_store(b->t), name), &t));
    const adze_type type = adze_tensor_type(&t);
    *n = adze_type_count(&type);
    double *out = calloc((size_t)*n, sizeof *out);
    for (int64_t i = 0; i < *n; i++) {
        out[i] = adze_tensor_get(&t, i);
    }
    return out;
}

static int64_t zeros(bench *b, const char *name) {
    int64_t n, count = 0;
    double *w = weights(b, name, &n);
    for (int64_t i = 0; i < n; i++) {
        count += w[i] == 0;
    }
    free(w);
    return count;
}

/* -- least squares by the trainer ---------------------------------------------------------------------------------------------------------------- */

enum { FEW = 60, FEATURES = 6 };

typedef struct squares { /* the same problem for linalg: centred pixels and targets */
    double x[FEW * FEATURES], p[2][FEW], w[2][FEATURES];
} squares;

/* Full batches, mean squared error on two one-hot outputs, in f64. In units of linalg's penalties, those of the trainer are FEW times as large: its
 * loss is |x w - p|^2 / (2 FEW) for each output. */
static void descend(squares *q, const char *optimizer, double l1, double l2) {
    static uint8_t px[FEW * FEATURES];
    static int64_t class_of[FEW];
    adze_rng r = adze_rng_make(5, 5);
    setting s = usual(
        "{\"name\":\"linear\",\"input\":[1,6,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc1\",\"units\":2}]}");
    for (int i = 0; i < FEW; i++) {
        const int common = (int)adze_rng_below(&r, 60);
        for (int j = 0; j < FEATURES; j++) {
            px[i * FEATURES + j] = (uint8_t)(common + (int)adze_rng_below(&r, 190));
        }
        class_of[i] = px[i * FEATURES] + px[i * FEATURES + 1] / 2 > 190;
    }
    bench b = {0};
    OK(&b, adze_ctx_new(NULL, &b.ctx));
    OK(&b, adze_model_from_json(b.ctx, s.net, strlen(s.net), "net.json", &b.model));
    OK(&b, adze_dataset_from_memory(b.ctx, adze_type_make(ADZE_U8, 3, (int64_t[]){1, FEATURES, 1}), px, class_of, FEW, 2, &b.data));
    for (const adze_field *f = adze_train_fields(); f->name; f++) {
        const char *value = strcmp(f->name, "optimizer") == 0  ? optimizer
                            : strcmp(f->name, "schedule") == 0 ? "constant"
                            : strcmp(f->name, "loss") == 0     ? "mse"
                            : strcmp(f->name, "norm") == 0     ? "zscore_feature"
                            : strcmp(f->name, "dtype") == 0    ? "f64"
                                                               : NULL;
        if (value) {
            OK(&b, adze_field_parse(b.ctx, f, &s.o, value, "test"));
        }
    }
    s.o.batch = FEW;
    s.o.val_count = 0;
    s.o.epochs = 4000;
    s.o.lr = strcmp(optimizer, "sgd") == 0 ? 0.4 : 0.04;
    s.o.l1 = l1 / FEW;
    s.o.l2 = l2 / FEW;
    adze_stop why;
    OK(&b, adze_trainer_new(b.ctx, b.model, b.data, &s.o, NULL, NULL, &b.t));
    OK(&b, adze_trainer_run(b.t, &why));
    double share = 0;
    for (int i = 0; i < FEW; i++) {
        OK(&b, adze_preprocess_apply(adze_model_preprocess(b.model), &b.data->example, px + i * FEATURES, ADZE_F64, q->x + i * FEATURES));
        share += (double)class_of[i] / FEW;
    }
    int64_t n;
    double *w = weights(&b, "fc1:w", &n);
    for (int c = 0; c < 2; c++) {
        for (int i = 0; i < FEW; i++) {
            q->p[c][i] = (class_of[i] == c) - (c ? share : 1 - share);
        }
        for (int j = 0; j < FEATURES; j++) {
            q->w[c][j] = w[j * 2 + c];
        }
    }
    free(w);
    bench_close(&b);
}

static void the_trainer_reaches_ridge_and_lasso(void **state) {
    (void)state;
    static squares q;
    static const struct {
        const char *optimizer;
        double l1, l2;
    } cases[] = {
        {"sgd", 0, 20}, {"sgd", 8, 0}, {"sgd", 4, 6}, {"momentum", 8, 0}, {"nesterov", 4, 0}, {"heavy_ball", 4, 0}, {"nesterov_shifted", 4, 0}};
    adze_ctx *ctx = NULL;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    for (size_t k = 0; k < ADZE_COUNT(cases); k++) {
        descend(&q, cases[k].optimizer, cases[k].l1, cases[k].l2);
        const adze_la_mat x = adze_la_dense(q.x, FEW, FEATURES);
        for (int c = 0; c < 2; c++) {
            double w[FEATURES] = {0};
            int none = 0;
            adze_la_stop stop = {.tol = 1e-16, .at_most = 100000};
            if (cases[k].l1 > 0) {
                assert_int_equal(adze_la_lasso(ctx, x, q.p[c], cases[k].l1, cases[k].l2, w, &stop), ADZE_OK);
            } else {
                assert_int_equal(adze_la_ridge(ctx, x, adze_la_dense(q.p[c], FEW, 1), cases[k].l2, (adze_la_mat){0}, adze_la_dense(w, FEATURES, 1)),
                                 0);
            }
            for (int j = 0; j < FEATURES; j++) {
                if (!(fabs(q.w[c][j] - w[j]) <= (cases[k].l1 > 0 ? 1e-6 : 1e-8))) {
                    fail_msg("%s, l1 %g, l2 %g: weight %d is %.10g, should be %.10g", cases[k].optimizer, cases[k].l1, cases[k].l2, j, q.w[c][j],
                             w[j]);
                }
                assert_int_equal(q.w[c][j] == 0, w[j] == 0);
                none += w[j] == 0;
            }
            assert_true(none > 0 || cases[k].l1 < 8);
        }
    }
    adze_ctx_free(ctx);
}

/* -- zeros and priors ---------------------------------------------------------------------------------------------------------------------------- */

static void soft_thresholds_make_zeros_and_subgradients_none(void **state) {
    (void)state;
    for (int k = 0; k < 3; k++) {
        bench b = {0};
        setting s = usual(tiny_net);
        s.o.epochs = 6;
        s.o.l1 = k == 2 ? 0 : 0.05;
        s.o.l1_mode = k == 1 ? ADZE_L1_SUBGRAD : ADZE_L1_PROX;
        s.o.l2 = k == 2 ? 0.01 : 0;
        train(&b, &s, false);
        const int64_t none = zeros(&b, "fc1:w");
        assert_true(k == 0 ? none > 64 : none == 0);
        assert_true(zeros(&b, "fc1:b") == 0);
        bench_close(&b);
    }
}

/* gauss:S is l2 = 1/(S^2 N), laplace:B is l1 = 1/(B N): the same bits. */
static void a_prior_is_the_penalty_it_stands_for(void **state) {
    (void)state;
    static const char *const priors[] = {"gauss:0.3", "laplace:0.2"};
    for (int k = 0; k < 2; k++) {
        bench prior = {0}, penalty = {0}, none = {0};
        setting s = usual(plain_net);
        s.o.l2 = 0;
        train(&none, &s, false);
        s.o.l2 = k ? 0 : 1 / (0.3 * 0.3 * 160);
        s.o.l1 = k ? 1 / (0.2 * 160) : 0;
        train(&penalty, &s, false);
        s.o.l1 = 0;
        s.o.l2 = -1;
        strcpy(s.o.prior, priors[k]);
        train(&prior, &s, false);
        same_hash(&prior, &penalty, priors[k]);
        assert_true(memcmp(none.hash, prior.hash, sizeof none.hash) != 0);
        bench_close(&prior);
        bench_close(&penalty);
        bench_close(&none);
    }
}

/* -- bounds -------------------------------------------------------------------------------------------------------------------------------------- */

static double largest_norm(bench *b, const char *name, int64_t units) {
    int64_t n;
    double *w = weights(b, name, &n), most = 0;
    for (int64_t j = 0; j < units; j++) {
        double square = 0;
        for (int64_t k = j; k < n; k += units) {
            square += w[k] * w[k];
        }
        most = fmax(most, sqrt(square));
    }
    free(w);
    return most;
}

static void norms_stay_within_their_bounds(void **state) {
    (void)state;
    bench b = {0};
    setting s = usual(plain_net);
    s.o.maxnorm = 0.4;
    train(&b, &s, false);
    assert_true(largest_norm(&b, "c1:w", 8) <= 0.4 * (1 + 1e-6) && largest_norm(&b, "c1:w", 8) > 0.399);
    assert_true(largest_norm(&b, "fc1:w", 16) <= 0.4 * (1 + 1e-6));
    assert_true(largest_norm(&b, "fc2:w", 4) > 0.5); /* the output layer is left alone */
    bench_close(&b);
    strcpy(s.o.groups, "fc1*:lr=0.5,maxnorm=0.3;fc2*:maxnorm=0.2;c1*:maxnorm=0");
    train(&b, &s, false);
    assert_true(largest_norm(&b, "fc1:w", 16) <= 0.3 * (1 + 1e-6));
    assert_true(largest_norm(&b, "fc2:w", 4) <= 0.2 * (1 + 1e-6));
    assert_true(largest_norm(&b, "c1:w", 8) > 0.41);
    assert_true(largest_norm(&b, "fc2:b", 1) > 0);
    bench_close(&b);
}

/* |w| is |g| there, and v has any length. */
static void normalised_weights_are_bounded_by_their_lengths(void **state) {
    (void)state;
    static const char net[] =
        "{\"name\":\"lengths\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc1\","
        "\"units\":16,\"weight_norm\":true,\"activation\":\"tanh\"},{\"type\":\"dense\",\"name\":\"fc2\",\"units\":4}]}";
    bench b = {0};
    setting s = usual(net);
    adze_maxnorm_unit *units;
    int64_t n, held = 0;
    s.o.maxnorm = 0.4;
    train(&b, &s, false);
    double *g = weights(&b, "fc1:g", &n);
    for (int64_t i = 0; i < n; i++) {
        assert_true(fabs(g[i]) <= 0.4 * (1 + 1e-6));
        held += fabs(g[i]) > 0.399;
    }
    assert_true(held > 0);
    free(g);
    OK(&b, adze_trainer_maxnorm(b.t, &units, &n));
    assert_int_equal(n, 16);
    assert_string_equal(units[15].param, "fc1:g");
    assert_true(units[15].norm <= 0.4 * (1 + 1e-6));
    adze_maxnorm_free(b.t, units);
    bench_close(&b);
    s.o.maxnorm = 0;
    strcpy(s.o.groups, "fc1:v:maxnorm=1");
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "'fc1:v' holds none");
    bench_close(&b);
}

/* Softmax regression with l2 is convex. At its minimum under bounds the multipliers satisfy Karush, Kuhn and Tucker: g = -2 mu w on the bound, 0
 * inside, and none is negative. */
static void multipliers_satisfy_their_conditions(void **state) {
    (void)state;
    bench b = {0};
    setting s = usual(tiny_net);
    adze_maxnorm_unit *units;
    int64_t n, active = 0;
    const double bound = 0.424; /* without bounds, norms are 0.423 and more */
    s.count = TINY_N;
    s.o.dtype = 1;
    s.o.batch = TINY_N;
    s.o.val_count = 0;
    s.o.optimizer = ADZE_SGD;
    s.o.schedule = ADZE_CONSTANT;
    s.o.lr = 0.2;
    s.o.l2 = 0.5;
    s.o.epochs = 1500;
    snprintf(s.o.groups, sizeof s.o.groups, "fc1:w:maxnorm=%g", bound);
    train(&b, &s, false);
    OK(&b, adze_trainer_maxnorm(b.t, &units, &n));
    assert_int_equal(n, 4);
    for (int64_t i = 0; i < n; i++) {
        assert_string_equal(units[i].param, "fc1:w");
        assert_int_equal(units[i].unit, i);
        assert_true(units[i].norm <= bound * (1 + 1e-6) && units[i].limit == bound);
        if (!(units[i].residual <= 1e-6) || units[i].mu < 0) {
            fail_msg("unit %lld: norm %g, multiplier %g, residual %g", (long long)i, units[i].norm, units[i].mu, units[i].residual);
        }
        assert_true(fabs(units[i].mu * (units[i].norm * units[i].norm - bound * bound)) <= 1e-6);
        active += units[i].mu > 1e-3;
    }
    assert_true(active > 0 && active < n); /* some are bounded, some are not */
    adze_maxnorm_free(b.t, units);
    bench_close(&b);
    s.o.groups[0] = 0;
    s.o.epochs = 1;
    train(&b, &s, false);
    assert_int_equal(adze_trainer_maxnorm(b.t, &units, &n), ADZE_EARG);
    must_say(&b, "no multipliers");
    bench_close(&b);
}

/* The weights that are reported on are those that are saved, the best epoch's, and nothing is drawn: no step's number matters. */
static void multipliers_are_of_the_saved_weights(void **state) {
    (void)state;
    char dir[64], path[96];
    bench b = {0};
    setting s = usual(sig_net);
    adze_maxnorm_unit *units[2];
    int64_t n[2];
    uint64_t before[2], after[2];
    faulty_folder(dir, sizeof dir);
    s.dir = dir;
    s.o.maxnorm = 0.3;
    s.o.epochs = 6;
    s.o.lr = 2; /* so that some epoch but the last is the best */
    s.o.schedule = ADZE_CONSTANT;
    strcpy(s.o.augment, "hflip,mixup:alpha=1");
    train(&b, &s, false);
    assert_true(b.t->p.best_epoch < b.t->p.epoch - 1);
    OK(&b, adze_store_hash(adze_trainer_store(b.t), before));
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    OK(&b, adze_trainer_save_model(b.t, path));
    for (int i = 0; i < 2; i++) {
        OK(&b, adze_trainer_maxnorm(b.t, &units[i], &n[i]));
        b.t->p.step += 1 - 2 * i;
    }
    OK(&b, adze_store_hash(adze_trainer_store(b.t), after));
    assert_memory_equal(before, after, sizeof before);
    adze_model *m;
    adze_store *saved;
    OK(&b, adze_model_load(b.ctx, path, &m, &saved));
    for (int64_t i = 0; i < n[0]; i++) {
        adze_tensor w;
        double square = 0;
        OK(&b, adze_store_tensor(saved, adze_store_find(saved, units[0][i].param), &w));
        const adze_type type = adze_tensor_type(&w);
        const int64_t each = type.dims[type.rank - 1];
        for (int64_t k = units[0][i].unit; k < adze_type_count(&type); k += each) {
            square += adze_tensor_get(&w, k) * adze_tensor_get(&w, k);
        }
        assert_true(fabs(units[0][i].norm - sqrt(square)) < 1e-12);
        assert_true(units[0][i].residual == units[1][i].residual && units[0][i].mu == units[1][i].mu);
    }
    adze_store_free(saved);
    adze_model_free(m);
    adze_maxnorm_free(b.t, units[0]);
    adze_maxnorm_free(b.t, units[1]);
    bench_close(&b);
    faulty_folder_drop(dir);
}

/* Asking for multipliers in the middle of an epoch changes nothing of what follows. */
static int ask(void *user, adze_trainer *t, int64_t step, int64_t steps, double loss, double lr) {
    bench *b = user;
    adze_maxnorm_unit *units;
    int64_t n;
    (void)steps, (void)loss, (void)lr;
    if (step == 5) {
        OK(b, adze_trainer_maxnorm(t, &units, &n));
        adze_maxnorm_free(t, units);
    }
    return 0;
}

static void asking_for_multipliers_changes_no_bit(void **state) {
    (void)state;
    bench plain = {0}, asked = {0};
    setting s = everything();
    s.o.maxnorm = 0.5;
    train(&plain, &s, false);
    must(&asked, bench_open(&asked, &s));
    adze_trainer_free(asked.t);
    asked.cb.step_end = ask;
    adze_stop why;
    must(&asked, adze_trainer_new(asked.ctx, asked.model, asked.data, &s.o, NULL, &asked.cb, &asked.t));
    must(&asked, adze_trainer_run(asked.t, &why));
    must(&asked, adze_store_hash(adze_trainer_store(asked.t), asked.hash));
    /* gradients are left from the report or from the last step: the last step's in both */
    same_hash(&plain, &asked, "the report");
    bench_close(&plain);
    bench_close(&asked);
}

/* -- activations --------------------------------------------------------------------------------------------------------------------------------- */

/* The loss of the batch in the plan, mean over its examples. */
static double run_plan(bench *b, adze_grad_plan *g) {
    double sum = 0;
    OK(b, adze_session_run(g->session));
    for (int64_t i = 0; i < g->batch; i++) {
        sum += adze_tensor_get(&g->loss, i) / (double)g->batch;
    }
    return sum;
}

static double first_loss(setting *s, bench *b, adze_grad_plan **g) {
    int64_t n;
    must(b, bench_open(b, s));
    OK(b, adze_steps_grad(&b->t->steps, 16, false, g));
    OK(b, adze_loader_seek(b->t->loader, 0, 0));
    OK(b, adze_loader_next(b->t->loader, (*g)->x, (*g)->label, &n));
    adze_tensor_set(&(*g)->weight, 0, 1.0 / 16);
    adze_session_random((*g)->session, 1, 0, 0);
    return run_plan(b, *g);
}

static void penalties_on_activations_have_their_gradients(void **state) {
    (void)state;
    setting s = usual(sig_net);
    bench b = {0};
    adze_grad_plan *g;
    s.o.dtype = 1;
    strcpy(s.o.activity_l1, "c1=0.01,fc2=0.5");
    strcpy(s.o.activity_kl, "c*=0.3:0.1,fc1=0.2:0.05");
    first_loss(&s, &b, &g);
    for (int i = 0; i < b.t->steps.nparams; i++) {
        adze_tensor w, gw;
        OK(&b, adze_store_tensor(b.t->store, b.t->steps.params[i], &w));
        OK(&b, adze_store_tensor(b.t->store, b.t->steps.grads[i], &gw));
        const adze_type type = adze_tensor_type(&w);
        for (int64_t k = 0; k < adze_type_count(&type); k += 1 + adze_type_count(&type) / 7) {
            const double old = adze_tensor_get(&w, k), h = 1e-5;
            run_plan(&b, g);
            const double slope = adze_tensor_get(&gw, k);
            adze_tensor_set(&w, k, old + h);
            const double above = run_plan(&b, g);
            adze_tensor_set(&w, k, old - h);
            const double below = run_plan(&b, g), want = (above - below) / (2 * h);
            adze_tensor_set(&w, k, old);
            if (!(fabs(slope - want) <= 1e-6 * fmax(1, fabs(want)))) {
                fail_msg("%s, element %lld: gradient %g, differences %g", adze_store_name(b.t->store, b.t->steps.params[i]), (long long)k, slope,
                         want);
            }
        }
    }
    bench_close(&b);
}

/* With weights 0 every sigmoid gives 1/2, so both penalties are known. */
static void penalties_on_activations_have_their_values(void **state) {
    (void)state;
    double loss[3];
    for (int k = 0; k < 3; k++) {
        setting s = usual(
            "{\"name\":\"flat\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc1\",\"units\":16,"
            "\"activation\":\"sigmoid\",\"init\":\"zeros\"},{\"type\":\"dense\",\"name\":\"fc2\",\"units\":4}]}");
        bench b = {0};
        adze_grad_plan *g;
        s.o.dtype = 1;
        strcpy(s.o.activity_l1, k == 1 ? "fc1=0.25" : "");
        strcpy(s.o.activity_kl, k == 2 ? "fc1=0.25:0.1" : "");
        loss[k] = first_loss(&s, &b, &g);
        bench_close(&b);
    }
    assert_true(fabs(loss[1] - loss[0] - 0.25 * 16 * 0.5) <= 1e-12);
    assert_true(fabs(loss[2] - loss[0] - 0.25 * 16 * (0.1 * log(0.1 / 0.5) + 0.9 * log(0.9 / 0.5))) <= 1e-12);
}

/* -- bits ---------------------------------------------------------------------------------------------------------------------------------------- */

static setting all_of_it(int wrapper) {
    setting s = usual(sig_net);
    s.o.batch = 24;
    s.o.l1 = 1e-3;
    s.o.l2 = 1e-3;
    s.o.maxnorm = 0.6;
    strcpy(s.o.activity_l1, "p1=1e-3,fc1=1e-4");
    strcpy(s.o.activity_kl, "fc1=0.01:0.05,c1=0.01:0.1");
    strcpy(s.o.augment, "hflip,mixup:alpha=1:p=0.5");
    s.o.accumulate = wrapper == 0 ? 2 : 1;
    s.o.sam = wrapper == 1 ? 0.05 : 0;
    s.o.lookahead_k = wrapper == 2 ? 3 : 0;
    s.o.l1_mode = wrapper == 2;
    s.o.precision = wrapper == 3 ? ADZE_PRECISION_BF16 : ADZE_PRECISION_FULL;
    return s;
}

static void threads_and_resumes_change_no_bit(void **state) {
    (void)state;
    for (int wrapper = 0; wrapper < 4; wrapper++) {
        bench one = {0}, many = {0};
        setting s = all_of_it(wrapper);
        char dir[256];
        s.threads = 1;
        train(&one, &s, false);
        s.threads = 3;
        train(&many, &s, false);
        same_hash(&one, &many, "the number of threads");
        bench_close(&many);
        train_in_two(&many, &s, dir, sizeof dir, 4);
        same_hash(&one, &many, "a resume");
        bench_close(&many);
        s.o.l1 *= 2; /* it is part of what a checkpoint remembers */
        must(&many, bench_open(&many, &s));
        assert_int_equal(adze_trainer_resume(many.t), ADZE_EARG);
        must_say(&many, "l1");
        bench_close(&many);
        bench_close(&one);
        faulty_folder_drop(dir);
    }
}

static void what_cannot_be_is_said(void **state) {
    (void)state;
    static const struct {
        const char *field, *value, *says;
    } cases[] = {
        {"prior", "cauchy:1", "neither gauss:S nor laplace:B"},
        {"prior", "gauss:0", "neither"},
        {"prior", "gauss:1 l2=1", "neither"},
        {"activity_l1", "fc1", "not of the form LAYER=A "},
        {"activity_l1", "fc1=1e-3:0.5", "not of the form LAYER=A "},
        {"activity_l1", "fc1=-1", "not of the form"},
        {"activity_l1", "fc9=1", "no layer of model 'plain' has a name like 'fc9'"},
        {"activity_kl", "fc1=1", "LAYER=A:RHO"},
        {"activity_kl", "fc1=1:1", "RHO between 0 and 1"},
        {"activity_kl", "c1=1:0.1", "layer 'c1' must give numbers from 0 to 1"},
        {"activity_kl", "f=1:0.1", "layer 'f' must give numbers from 0 to 1"},
        {"groups", "fc1*:maxnorm=-1", "maxnorm=BOUND"},
        {"groups", "fc1:b:maxnorm=0.001", "'fc1:b' holds none"},
    };
    for (size_t k = 0; k < ADZE_COUNT(cases); k++) {
        bench b = {0};
        setting s = usual(plain_net);
        assert_int_equal(adze_field_parse(NULL, adze_field_find(adze_train_fields(), cases[k].field), &s.o, cases[k].value, "test"), ADZE_OK);
        assert_int_equal(bench_open(&b, &s), ADZE_EARG);
        must_say(&b, cases[k].says);
        bench_close(&b);
    }
    bench b = {0};
    setting s = usual(plain_net);
    strcpy(s.o.prior, "laplace:1");
    s.o.l2 = 0;
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "leave those two out");
    bench_close(&b);
    s.o.l2 = -1;
    s.o.lookahead_k = 5;
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "l1_mode subgrad");
    bench_close(&b);
    s.o.lookahead_k = 0;
    s.o.optimizer = ADZE_LAMB;
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "no such prior");
    bench_close(&b);
    s.o.l1_mode = ADZE_L1_SUBGRAD;
    OK(&b, bench_open(&b, &s));
    bench_close(&b);
    s = usual(plain_net);
    s.o.l1 = 1e-3;
    s.o.average = ADZE_AVERAGE_EMA;
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "l1_mode subgrad with average");
    bench_close(&b);
    s = usual(tiny_net);
    s.o.maxnorm = 1;
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "output layer alone");
    bench_close(&b);
}

static int life(adze_mem *mem) {
    bench b = {0};
    setting s = all_of_it(0);
    adze_maxnorm_unit *units = NULL;
    int64_t n;
    s.mem = mem;
    s.threads = 1;
    s.o.workers = 0;
    s.o.epochs = 1;
    s.o.limit_train = 24;
    s.o.limit_val = 4;
    s.o.norm = 1 + ADZE_NORM_ZCA;
    int st = bench_open(&b, &s);
    st = st == ADZE_OK ? adze_trainer_run(b.t, NULL) : st;
    st = st == ADZE_OK ? adze_trainer_maxnorm(b.t, &units, &n) : st;
    if (b.t != NULL) {
        adze_maxnorm_free(b.t, units);
    }
    bench_close(&b);
    return st;
}

static void every_refused_allocation_is_survived(void **state) {
    (void)state;
    int st = ADZE_ENOMEM;
    for (long n = 1; st != ADZE_OK; n += 1 + n / 40) { /* the first ones all, later ones here and there */
        faulty_mem mem;
        faulty_mem_init(&mem);
        faulty_mem_arm(&mem, n, false);
        st = life(&mem.table);
        assert_true(st == ADZE_OK || st == ADZE_ENOMEM);
        assert_true(faulty_mem_clean(&mem));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_trainer_reaches_ridge_and_lasso),
        cmocka_unit_test(soft_thresholds_make_zeros_and_subgradients_none),
        cmocka_unit_test(a_prior_is_the_penalty_it_stands_for),
        cmocka_unit_test(norms_stay_within_their_bounds),
        cmocka_unit_test(normalised_weights_are_bounded_by_their_lengths),
        cmocka_unit_test(multipliers_satisfy_their_conditions),
        cmocka_unit_test(multipliers_are_of_the_saved_weights),
        cmocka_unit_test(asking_for_multipliers_changes_no_bit),
        cmocka_unit_test(penalties_on_activations_have_their_gradients),
        cmocka_unit_test(penalties_on_activations_have_their_values),
        cmocka_unit_test(threads_and_resumes_change_no_bit),
        cmocka_unit_test(what_cannot_be_is_said),
        cmocka_unit_test(every_refused_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
