/* Second-order optimisers: their identities, the same bits for any number of threads and after a resume; Fisher matrices; reconstructions. */
#include "adze/curvature.h"
#include "adze/io.h"
#include "model/layer.h"
#include "effort.h"
#include "trainbench.h"

static const char logistic_net[] = "{\"name\":\"logistic\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},"
                                   "{\"type\":\"dense\",\"name\":\"fc1\",\"units\":4,\"init\":\"zeros\"}]}";
static const char deep_linear[] = "{\"name\":\"linear\",\"input\":[8,8,1],\"layers\":[{\"type\":\"avgpool\",\"name\":\"p\",\"size\":4},"
                                  "{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc1\",\"units\":3},"
                                  "{\"type\":\"dense\",\"name\":\"fc2\",\"units\":4}]}";
static const char small_net[] = "{\"name\":\"small\",\"input\":[8,8,1],\"layers\":[{\"type\":\"avgpool\",\"name\":\"p\",\"size\":2},"
                                "{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc1\",\"units\":5,\"activation\":\"tanh\"},"
                                "{\"type\":\"dense\",\"name\":\"fc2\",\"units\":4}]}";
static const char strided_net[] = "{\"name\":\"strided\",\"input\":[8,8,1],\"preprocess\":{\"norm\":\"none\"},\"layers\":["
                                  "{\"type\":\"conv\",\"name\":\"c1\",\"filters\":2,\"kernel\":3,\"stride\":2,\"pad\":1},"
                                  "{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc\",\"units\":4}]}";
static const char auto_net[] = "{\"name\":\"auto\",\"task\":\"regress\",\"input\":[8,8,1],\"preprocess\":{\"norm\":\"none\"},\"layers\":["
                               "{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"e\",\"units\":8,\"activation\":\"tanh\"},"
                               "{\"type\":\"dense\",\"name\":\"d\",\"units\":64}]}";
static const char spread_net[] = "{\"name\":\"spread\",\"task\":\"regress\",\"input\":[8,8,1],\"preprocess\":{\"norm\":\"none\"},\"layers\":["
                                 "{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"e\",\"units\":8,\"activation\":\"tanh\"},"
                                 "{\"type\":\"dense\",\"name\":\"d\",\"units\":128}]}"; /* means and logarithms of variances */

/* -- the trainer -- */

typedef struct rule {
    int optimizer;
    const char *net;
    double overlap;
    int64_t inner;
} rule;
static const rule rules[] = {{ADZE_KFAC, full_net, 1, 1},  {ADZE_HF, full_net, 1, 1},   {ADZE_LBFGS, full_net, 1, 2},  {ADZE_LBFGS, full_net, 0.5, 1},
                             {ADZE_LBFGS, drop_net, 0, 1}, {ADZE_BFGS, drop_net, 1, 1}, {ADZE_NEWTON, tiny_net, 1, 1}, {ADZE_KFAC, plain_net, 1, 1}};

static setting second(const rule *r) { /* a remainder batch; accumulation where the rule keeps the update's examples */
    setting s = usual(r->net);
    s.o.optimizer = r->optimizer;
    s.o.overlap = r->overlap;
    s.o.inner = r->inner;
    s.o.batch = 24;
    s.o.accumulate = r->overlap > 0 && r->overlap < 1 ? 1 : 2;
    s.o.schedule = ADZE_CONSTANT;
    s.o.lr = r->overlap < 1 ? 0.2 : 0;
    s.o.l2 = 0.001;
    s.o.epochs = 4;
    s.o.kfac_gamma_every = r->net == plain_net ? 5 : 0;
    s.o.damping = r->optimizer == ADZE_KFAC ? 1 : 0; /* batches of 24 tell little of the curvature */
    return s;
}

static void threads_change_no_bit(void **state) {
    (void)state;
    for (size_t i = 0; i < ADZE_COUNT(rules); i++) {
        bench want = {0}, b = {0};
        setting s = second(&rules[i]);
        s.threads = 1;
        train(&want, &s, false);
        s.threads = 3;
        train(&b, &s, false);
        same_hash(&want, &b, "the number of threads");
        assert_memory_equal(b.losses, want.losses, sizeof b.losses);
        if (rules[i].overlap > 0 && !(want.losses[want.nlosses - 1] < 0.8 * want.losses[0])) {
            fail_msg("optimiser %d went from %g to %g", rules[i].optimizer, want.losses[0], want.losses[want.nlosses - 1]);
        }
        bench_close(&want);
        bench_close(&b);
    }
}

static void a_resume_goes_on_with_the_same_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < ADZE_COUNT(rules); i++) {
        char dir[256];
        bench want = {0}, b = {0};
        adze_stop why;
        faulty_folder(dir, sizeof dir);
        setting s = second(&rules[i]);
        train(&want, &s, false);
        s.dir = dir;
        b.stop_at = 6;
        must(&b, bench_open(&b, &s));
        assert_int_equal(adze_trainer_run(b.t, &why), ADZE_ESTOPPED);
        bench_close(&b);
        b.stop_at = 0;
        train(&b, &s, true);
        same_hash(&want, &b, "a resume");
        bench_close(&want);
        bench_close(&b);
        faulty_folder_drop(dir);
    }
}

static int slot(bench *b, const char *name, adze_tensor *t) {
    adze_store *s = adze_trainer_store(b->t);
    return adze_store_tensor(s, adze_store_find(s, name), t);
}

/* Logistic regression: the gradient of loss and penalty vanishes in a few steps of Newton, on the whole set. */
static void newton_solves_logistic_regression(void **state) {
    (void)state;
    bench b = {0};
    setting s = usual(logistic_net);
    adze_tensor w, g;
    double most = 0;
    s.o.optimizer = ADZE_NEWTON;
    s.o.dtype = 1;
    s.o.l2 = 0.01;
    s.o.batch = N;
    s.o.epochs = 8;
    train(&b, &s, false);
    must(&b, slot(&b, "fc1:w", &w));
    must(&b, slot(&b, "fc1:w:g", &g)); /* of the last evaluation: the point that was taken */
    for (int64_t i = 0; i < 64 * 4; i++) {
        most = fmax(most, fabs(adze_tensor_get(&g, i) + 0.01 * adze_tensor_get(&w, i)));
    }
    printf("newton: |g| %g after 8 steps\n", most);
    assert_true(most < 1e-8);
    bench_close(&b);
}

enum { DESCENT = 8 };
typedef struct descent { /* |g| of loss and penalty after each step */
    bench b;
    double l2, size[DESCENT + 1];
    int64_t n;
} descent;

static int note_size(void *user, adze_trainer *t, int64_t step, int64_t steps_per_epoch, double loss, double lr) {
    descent *d = user;
    adze_tensor w, g, gb;
    double sum = 0;
    (void)step, (void)steps_per_epoch, (void)lr;
    d->b.t = t;
    must(&d->b, slot(&d->b, "fc1:w", &w));
    must(&d->b, slot(&d->b, "fc1:w:g", &g));
    must(&d->b, slot(&d->b, "fc1:b:g", &gb));
    for (int64_t i = 0; i < 64 * 10; i++) {
        sum += pow(adze_tensor_get(&g, i) + d->l2 * adze_tensor_get(&w, i), 2);
    }
    for (int64_t i = 0; i < 10; i++) {
        sum += pow(adze_tensor_get(&gb, i), 2);
    }
    d->size[d->n++] = sqrt(sum);
    printf("newton on digits, step %lld: loss before %.9f, |g| %.3g\n", (long long)step, loss, sqrt(sum));
    return 0;
}

/* Real digits, the penalty that scikit-learn calls C = 1: no rate, and eight steps to |g| < 1e-8. A full step of Newton each, programmed apart, gives
 * the same gradients, so a penalty ten times less would take nine. */
static void newton_reads_real_digits_in_eight_steps(void **state) {
    (void)state;
    static const char net[] = "{\"name\":\"digits\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},"
                              "{\"type\":\"dense\",\"name\":\"fc1\",\"units\":10,\"init\":\"zeros\"}]}";
    descent d = {0};
    setting s = usual(net);
    adze_stop why;
    d.b.cb = (adze_callbacks){.user = &d, .step_end = note_size};
    must(&d.b, adze_ctx_new(NULL, &d.b.ctx));
    must(&d.b, adze_io_register(d.b.ctx));
    const int st = adze_dataset_open(d.b.ctx, "optdigits", "test", &d.b.data);
    if (st == ADZE_EARG) { /* not installed */
        adze_ctx_free(d.b.ctx);
        skip();
    }
    must(&d.b, st);
    s.o.optimizer = ADZE_NEWTON;
    s.o.dtype = 1;
    s.o.l2 = d.l2 = 1 / (double)d.b.data->count;
    s.o.batch = d.b.data->count;
    s.o.val_count = 0;
    s.o.epochs = DESCENT;
    must(&d.b, adze_model_from_json(d.b.ctx, net, strlen(net), "net.json", &d.b.model));
    must(&d.b, adze_trainer_new(d.b.ctx, d.b.model, d.b.data, &s.o, NULL, &d.b.cb, &d.b.t));
    must(&d.b, adze_trainer_run(d.b.t, &why));
    assert_int_equal(d.n, DESCENT);
    assert_true(d.size[DESCENT - 1] < 1e-8 && d.size[DESCENT - 1] < d.size[DESCENT - 2] * sqrt(d.size[DESCENT - 2])); /* quadratic at the end */
    bench_close(&d.b);
}

/* The direction is the solution of (A + pi gamma I) (x) (S + gamma / pi I), written out as one matrix. */
static void kfac_inverts_the_kronecker_product(void **state) {
    (void)state;
    enum { ROWS = 65, COLS = 4, ALL = ROWS * COLS };
    bench b = {0};
    setting s = usual(tiny_net);
    adze_tensor a, c, gw, gb, dw, db, number;
    static double f[ALL * ALL], x[ALL];
    double ta = 0, tc = 0;
    s.o.optimizer = ADZE_KFAC;
    s.o.dtype = 1;
    s.o.batch = N;
    s.o.epochs = 1;
    s.o.damping = 0.01;
    s.o.kfac_lambda_every = 0;
    train(&b, &s, false);
    must(&b, slot(&b, "fc1:w:a", &a));
    must(&b, slot(&b, "fc1:w:s", &c));
    must(&b, slot(&b, "fc1:w:g", &gw));
    must(&b, slot(&b, "fc1:b:g", &gb));
    must(&b, slot(&b, "fc1:w:d", &dw));
    must(&b, slot(&b, "fc1:b:d", &db));
    must(&b, slot(&b, "state/kfac", &number));
    for (int i = 0; i < ROWS; i++) {
        ta += adze_tensor_get(&a, i * (ROWS + 1)) / ROWS;
    }
    for (int i = 0; i < COLS; i++) {
        tc += adze_tensor_get(&c, i * (COLS + 1)) / COLS;
    }
    const double pi = sqrt(ta / tc), gamma = sqrt(0.01);
    assert_true(fabs(adze_tensor_get(&number, 1) - gamma) < 1e-15);
    for (int p = 0; p < ALL; p++) {
        for (int q = 0; q < ALL; q++) {
            const int pr = p / COLS, pc = p % COLS, qr = q / COLS, qc = q % COLS;
            const double fa = adze_tensor_get(&a, pr * ROWS + qr) + (pr == qr ? pi * gamma : 0);
            f[p * ALL + q] = fa * (adze_tensor_get(&c, pc * COLS + qc) + (pc == qc ? gamma / pi : 0));
        }
        x[p] = p / COLS < ROWS - 1 ? adze_tensor_get(&gw, p) : adze_tensor_get(&gb, p % COLS);
    }
    must(&b, adze_la_cholesky(b.ctx, adze_la_dense(f, ALL, ALL)));
    must(&b, adze_la_cholesky_solve(b.ctx, adze_la_dense(f, ALL, ALL), adze_la_dense(x, ALL, 1)));
    for (int p = 0; p < ALL; p++) {
        const double d = p / COLS < ROWS - 1 ? adze_tensor_get(&dw, p) : adze_tensor_get(&db, p % COLS);
        assert_true(fabs(d + x[p]) < 1e-10 * fmax(1, fabs(x[p])));
    }
    bench_close(&b);
}

/* Loss and penalty are quadratic in the weights, and the curvature is that of the same examples: but for the damping, what is foretold is what
 * comes, of a part of a step too, in a smaller last batch, and under a dropout mask. */
static void kfac_foretells_what_a_step_is_worth(void **state) {
    (void)state;
    static const char mask_net[] = "{\"name\":\"mask\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},"
                                   "{\"type\":\"dropout\",\"name\":\"d\",\"p\":0.5},{\"type\":\"dense\",\"name\":\"fc1\",\"units\":4}]}";
    static const struct {
        const char *net;
        int64_t batch, accumulate;
        double lr, products, lo, hi; /* of the ratio of what came and what was foretold */
    } cases[] = {{tiny_net, N, 1, 1, 1, 0.999, 1.001},
                 {tiny_net, N, 1, 0.3, 1, 0.999, 1.001},
                 {tiny_net, 120, 1, 0.7, 0.66, 0.999, 1.001},
                 {mask_net, N, 1, 1e-4, 1, 0.999, 1.001},
                 {mask_net, 100, 2, 1e-4, 1, 0.2, 5}}; /* the last batch's share of a gradient of two */
    for (size_t i = 0; i < ADZE_COUNT(cases); i++) {
        bench b = {0};
        setting s = usual(cases[i].net);
        adze_tensor number;
        s.o.optimizer = ADZE_KFAC;
        s.o.loss = ADZE_LOSS_MSE;
        s.o.dtype = 1;
        s.o.l2 = 0.01;
        s.o.val_count = 0;
        s.o.batch = cases[i].batch;
        s.o.accumulate = cases[i].accumulate;
        s.o.lr = cases[i].lr;
        s.o.schedule = ADZE_CONSTANT;
        s.o.damping = 1e-6;
        s.o.kfac_products = cases[i].products;
        s.o.kfac_lambda_every = 1;
        train(&b, &s, false);
        must(&b, slot(&b, "state/kfac", &number));
        const double ratio = adze_tensor_get(&number, 4);
        if (!(ratio > cases[i].lo && ratio < cases[i].hi)) {
            fail_msg("case %zu: what came is %g of what was foretold", i, ratio);
        }
        assert_true(adze_tensor_get(&number, 0) == 1e-6); /* it need not grow, and does not fall below where it began */
        bench_close(&b);
    }
}

static void expect_refusal(setting s, const char *part) {
    bench b = {0};
    assert_int_not_equal(bench_open(&b, &s), ADZE_OK);
    must_say(&b, part);
    bench_close(&b);
}

static void what_does_not_go_together_is_refused(void **state) {
    (void)state;
    setting s = usual(tiny_net);
    s.o.optimizer = ADZE_KFAC;
    s.o.clip_norm = 1;
    expect_refusal(s, "option clip_norm does not go with optimizer kfac");
    s.o.clip_norm = 0;
    s.o.loss = ADZE_LOSS_MAE;
    expect_refusal(s, "not for mae");
    for (size_t i = 0; i < ADZE_COUNT(rules); i++) {
        s = usual(tiny_net);
        s.o.optimizer = rules[i].optimizer;
        s.o.precision = ADZE_PRECISION_BF16;
        expect_refusal(s, "give precision full");
    }
    s = usual(
        "{\"name\":\"wide\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"a\",\"units\":100},"
        "{\"type\":\"dense\",\"name\":\"b\",\"units\":4}]}");
    s.o.optimizer = ADZE_NEWTON;
    expect_refusal(s, "at most 5000, not 6904");
    s = usual(tiny_net);
    s.o.optimizer = ADZE_HF;
    strcpy(s.o.augment, "mixup:alpha=1");
    expect_refusal(s, "mixed examples");
    s = usual(tiny_net);
    s.o.optimizer = ADZE_BFGS;
    s.o.l1 = 1e-3;
    expect_refusal(s, "option l1 does not go");
    s.o.l1 = 0;
    s.o.maxnorm = 2;
    expect_refusal(s, "option maxnorm does not go");
    s.o.maxnorm = 0;
    strcpy(s.o.prior, "laplace:1");
    expect_refusal(s, "option l1 does not go");
    s.o.prior[0] = 0;
    strcpy(s.o.activity_l1, "a=1e-3");
    expect_refusal(s, "option activity_l1 does not go");
}

/* -- memory -- */

static faulty_mem mem;

static int whole_life(const rule *r, long n) {
    bench b = {0};
    adze_stop why;
    setting s = second(r);
    s.mem = &mem.table;
    s.threads = 1;
    s.count = 64;
    s.o.val_count = 0;
    s.o.workers = 0;
    s.o.epochs = 1;
    faulty_mem_arm(&mem, n, false);
    int st = bench_open(&b, &s);
    st = st == ADZE_OK ? adze_trainer_run(b.t, &why) : st;
    if (st == ADZE_OK && r->net == tiny_net) {
        double f[260 * 260];
        const adze_fisher_in in = {.model = b.model, .store = adze_trainer_store(b.t), .o = &s.o, .data = b.data, .examples = 3, .samples = 1};
        adze_decrease d;
        st = adze_fisher(b.ctx, &in, ADZE_FISHER_GGN, adze_la_dense(f, 260, 260));
        st = st == ADZE_OK ? adze_fisher(b.ctx, &in, ADZE_FISHER_KFAC, adze_la_dense(f, 260, 260)) : st;
        st = st == ADZE_OK ? adze_decrease_along_gradient(b.ctx, &in, 0.1, &d) : st;
    }
    bench_close(&b);
    return st;
}

static void every_refused_allocation_is_survived(void **state) {
    (void)state;
    static const size_t tried[] = {0, 1, 2, 6};
    for (size_t i = 0; i < ADZE_COUNT(tried); i++) {
        faulty_mem_init(&mem);
        assert_int_equal(whole_life(&rules[tried[i]], 0), ADZE_OK);
        const long calls = atomic_load(&mem.calls), stride = calls / (effort() == QUICK ? 15 : 60) + 1;
        for (long n = 1; n <= calls; n += stride) {
            const int st = whole_life(&rules[tried[i]], n);
            if ((st != ADZE_ENOMEM && st != ADZE_OK) || !faulty_mem_clean(&mem)) {
                fail_msg("rule %zu, request %ld of %ld: status %d, %ld blocks alive", tried[i], n, calls, st, atomic_load(&mem.blocks));
            }
        }
        assert_true(faulty_mem_clean(&mem));
    }
}

/* All that the model has: weights and statistics. */
typedef struct witness {
    const adze_model *m;
    double v[2000];
} witness;

static int64_t read_model(const witness *w, adze_trainer *t, double *out) {
    int64_t n = 0;
    for (int i = 0; i < w->m->nparams; i++) {
        adze_tensor p;
        adze_store *s = adze_trainer_store(t);
        assert_int_equal(adze_store_tensor(s, adze_store_find(s, w->m->params[i].slot), &p), ADZE_OK);
        const adze_type type = adze_tensor_type(&p);
        assert_true(n + adze_type_count(&type) <= (int64_t)ADZE_COUNT(w->v));
        for (int64_t k = 0; k < adze_type_count(&type); k++) {
            out[n++] = adze_tensor_get(&p, k);
        }
    }
    return n;
}

static int remember(void *user, adze_trainer *t, int64_t step, int64_t steps, double loss, double lr) {
    witness *w = user;
    (void)step, (void)steps, (void)loss, (void)lr;
    read_model(w, t, w->v);
    return 0;
}

static int fail_at(setting *s, long n) {
    bench b = {0};
    adze_stop why;
    static witness w;
    static double now[ADZE_COUNT(w.v)];
    faulty_mem_arm(&mem, 0, false);
    must(&b, bench_open(&b, s));
    adze_trainer_free(b.t);
    w.m = b.model;
    const adze_callbacks cb = {.user = &w, .step_end = remember};
    must(&b, adze_trainer_new(b.ctx, b.model, b.data, &s->o, NULL, &cb, &b.t));
    read_model(&w, b.t, w.v);
    faulty_mem_arm(&mem, n, false);
    const int st = adze_trainer_run(b.t, &why);
    faulty_mem_arm(&mem, 0, false);
    const int64_t count = read_model(&w, b.t, now);
    for (int64_t i = 0; i < count && st != ADZE_OK; i++) {
        if (now[i] != w.v[i]) {
            fail_msg("optimiser %d: request %ld failed and left %g where %g was", s->o.optimizer, n, now[i], w.v[i]);
        }
    }
    bench_close(&b);
    return st;
}

static void a_step_that_fails_leaves_the_model_as_it_was(void **state) {
    (void)state;
    static const rule tried[] = {{ADZE_NEWTON, tiny_net, 1, 3}, {ADZE_KFAC, full_net, 1, 1}, {ADZE_HF, full_net, 1, 1}};
    for (size_t i = 0; i < ADZE_COUNT(tried); i++) {
        int failed = 0;
        faulty_mem_init(&mem);
        setting s = second(&tried[i]);
        s.mem = &mem.table;
        s.threads = 1;
        s.count = 40;
        s.o.val_count = 0;
        s.o.workers = 0;
        s.o.epochs = 2;
        for (long n = 1; n < 400; n++) {
            const int st = fail_at(&s, n);
            assert_true(st == ADZE_OK || st == ADZE_ENOMEM);
            failed += st != ADZE_OK;
            n += n / (effort() == QUICK ? 4 : 20);
        }
        assert_true(failed > 0);
        assert_true(faulty_mem_clean(&mem));
    }
}

/* -- Fisher matrices -- */

typedef struct matrices {
    bench b;
    adze_store *store;
    adze_train_opts o;
    adze_fisher_in in;
    int64_t n;
} matrices;

static void open_matrices(matrices *m, const char *net, int loss, int64_t examples) {
    setting s = usual(net);
    *m = (matrices){0};
    must(&m->b, bench_open(&m->b, &s)); /* its model has fitted preprocessing */
    must(&m->b, adze_store_new(m->b.ctx, &m->store));
    must(&m->b, adze_model_init(m->b.model, m->store, ADZE_F64, 5));
    m->o = s.o;
    m->o.loss = loss;
    m->o.dtype = 1;
    m->in = (adze_fisher_in){.model = m->b.model, .store = m->store, .o = &m->o, .data = m->b.data, .examples = examples, .samples = 1, .seed = 3};
    m->n = adze_fisher_size(&m->in);
}

static void close_matrices(matrices *m) {
    adze_store_free(m->store);
    bench_close(&m->b);
}

static adze_la_mat matrix(matrices *m, int kind) {
    adze_la_mat a = adze_la_dense(malloc(sizeof(double) * (size_t)(m->n * m->n)), m->n, m->n);
    must(&m->b, adze_fisher(m->b.ctx, &m->in, kind, a));
    return a;
}

static double apart(adze_la_mat a, adze_la_mat b) { /* Frobenius, over that of b */
    double far = 0, size = 0;
    for (int64_t i = 0; i < a.rows * a.cols; i++) {
        far += (a.at[i] - b.at[i]) * (a.at[i] - b.at[i]);
        size += b.at[i] * b.at[i];
    }
    return sqrt(far / size);
}

static void the_fisher_matrix_is_gauss_newton(void **state) {
    (void)state;
    static const int losses[] = {ADZE_LOSS_SOFTMAX_XENT, ADZE_LOSS_MSE, ADZE_LOSS_SIGMOID_XENT};
    for (size_t i = 0; i < ADZE_COUNT(losses); i++) {
        matrices m;
        open_matrices(&m, small_net, losses[i], 30);
        adze_la_mat ggn = matrix(&m, ADZE_FISHER_GGN), exact = matrix(&m, ADZE_FISHER_EXACT), empirical = matrix(&m, ADZE_FISHER_EMPIRICAL);
        assert_true(apart(exact, ggn) < 1e-12);
        assert_true(apart(empirical, ggn) > 0.2); /* Kunstner et al. 2019: not a small matter */
        free(ggn.at);
        free(exact.at);
        free(empirical.at);
        close_matrices(&m);
    }
}

static void samples_approach_it_with_their_root(void **state) {
    (void)state;
    matrices m;
    double far[3];
    open_matrices(&m, small_net, ADZE_LOSS_SOFTMAX_XENT, 30);
    adze_la_mat ggn = matrix(&m, ADZE_FISHER_GGN);
    for (int i = 0; i < 3; i++) {
        m.in.samples = (int64_t)4 << (4 * i);
        adze_la_mat f = matrix(&m, ADZE_FISHER_SAMPLED);
        far[i] = apart(f, ggn);
        free(f.at);
    }
    const double slope = log(far[2] / far[0]) / log(256);
    printf("sampled: distances %g %g %g, slope %g\n", far[0], far[1], far[2], slope);
    assert_true(fabs(slope + 0.5) < 0.08);
    free(ggn.at);
    close_matrices(&m);
}

/* In a deep linear net with squared error what comes back does not depend on what came in: each layer's block is its Kronecker product. */
static void kfac_blocks_are_exact_in_deep_linear_nets(void **state) {
    (void)state;
    matrices m;
    const int64_t first = 4 * 3 + 3;
    double far[2] = {0};
    open_matrices(&m, deep_linear, ADZE_LOSS_MSE, 40);
    adze_la_mat ggn = matrix(&m, ADZE_FISHER_GGN);
    for (int t = 0; t < 2; t++) {
        m.in.samples = t == 0 ? 64 : 4096;
        adze_la_mat f = matrix(&m, ADZE_FISHER_KFAC);
        double size = 0;
        for (int64_t i = 0; i < m.n; i++) {
            for (int64_t k = 0; k < m.n; k++) {
                const bool same = (i < first) == (k < first);
                const double want = same ? ggn.at[i * m.n + k] : 0, e = f.at[i * m.n + k] - want;
                far[t] += e * e;
                size += want * want;
            }
        }
        far[t] = sqrt(far[t] / size);
        free(f.at);
    }
    printf("kfac on a linear net: %g, then %g with 64 times the samples\n", far[0], far[1]);
    assert_true(far[1] < 0.02 && far[1] < far[0] / 3);
    free(ggn.at);
    close_matrices(&m);
}

static void a_fisher_matrix_leaves_the_store_alone(void **state) {
    (void)state;
    matrices m;
    uint64_t before[2], after[2];
    adze_decrease d;
    open_matrices(&m, full_net, ADZE_LOSS_AUTO, 6);
    const int slots = adze_store_count(m.store);
    must(&m.b, adze_store_hash(m.store, before));
    for (int kind = 0; kind < ADZE_FISHER_KINDS; kind++) {
        free(matrix(&m, kind).at);
    }
    must(&m.b, adze_decrease_along_gradient(m.b.ctx, &m.in, 0.1, &d));
    must(&m.b, adze_store_hash(m.store, after));
    assert_int_equal(adze_store_count(m.store), slots);
    assert_memory_equal(before, after, sizeof before);
    close_matrices(&m);
}

static void no_kind_of_fisher_matrix_drops_units(void **state) {
    (void)state;
    static const char *const nets[] = {small_net, "{\"name\":\"small\",\"input\":[8,8,1],\"layers\":["
                                                  "{\"type\":\"avgpool\",\"name\":\"p\",\"size\":2},{\"type\":\"flatten\",\"name\":\"f\"},"
                                                  "{\"type\":\"dropout\",\"name\":\"d\",\"p\":0.5},"
                                                  "{\"type\":\"dense\",\"name\":\"fc1\",\"units\":5,\"activation\":\"tanh\"},"
                                                  "{\"type\":\"dense\",\"name\":\"fc2\",\"units\":4}]}"};
    for (int kind = 0; kind < ADZE_FISHER_KINDS; kind++) {
        adze_la_mat f[2];
        for (int i = 0; i < 2; i++) {
            matrices m;
            open_matrices(&m, nets[i], ADZE_LOSS_AUTO, 10);
            f[i] = matrix(&m, kind);
            close_matrices(&m);
        }
        if (!(apart(f[0], f[1]) < 1e-12)) {
            fail_msg("%s of a net with dropout is off by %g", adze_fisher_name(kind), apart(f[0], f[1]));
        }
        free(f[0].at);
        free(f[1].at);
    }
}

static void an_rbf_layer_has_no_targets_to_draw(void **state) {
    (void)state;
    matrices m;
    open_matrices(&m,
                  "{\"name\":\"codes\",\"input\":[8,8,1],\"layers\":[{\"type\":\"avgpool\",\"name\":\"p\",\"size\":4},"
                  "{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc\",\"units\":84},{\"type\":\"rbf\",\"name\":\"r\"}]}",
                  ADZE_LOSS_AUTO, 3);
    adze_la_mat a = adze_la_dense(malloc(sizeof(double) * (size_t)(m.n * m.n)), m.n, m.n);
    for (int kind = 0; kind < ADZE_FISHER_KINDS; kind++) {
        assert_int_equal(adze_fisher(m.b.ctx, &m.in, kind, a), ADZE_ENOSUP);
        must_say(&m.b, "not for auto of an rbf layer");
    }
    free(a.at);
    close_matrices(&m);
}

/* Factor A of a convolution, from its definition: window, stride and border. */
static void factors_of_a_convolution_are_those_of_its_windows(void **state) {
    (void)state;
    enum { EXAMPLES = 5, ROWS = 10, OUT = 4 };
    matrices m;
    double want[ROWS][ROWS] = {{0}};
    open_matrices(&m, strided_net, ADZE_LOSS_AUTO, EXAMPLES);
    adze_la_mat f = matrix(&m, ADZE_FISHER_KFAC);
    for (int e = 0; e < EXAMPLES; e++) {
        for (int at = 0; at < OUT * OUT; at++) {
            double row[ROWS] = {0};
            row[9] = 1;
            for (int t = 0; t < 9; t++) {
                const int y = at / OUT * 2 - 1 + t / 3, x = at % OUT * 2 - 1 + t % 3;
                row[t] = y >= 0 && y < SIDE && x >= 0 && x < SIDE ? pixels[e * SIDE * SIDE + y * SIDE + x] / 255.0 : 0;
            }
            for (int i = 0; i < ROWS; i++) {
                for (int k = 0; k < ROWS; k++) {
                    want[i][k] += row[i] * row[k] / EXAMPLES;
                }
            }
        }
    }
    const double first =
        f.at[9 * 2 * (f.ld + 1)] / want[9][9]; /* element (0, 0) of factor S: the layer's block is A (x) S, and the bias comes last */
    for (int i = 0; i < ROWS * ROWS; i++) {
        const double a = f.at[i / ROWS * 2 * f.ld + i % ROWS * 2] / first;
        assert_true(fabs(a - want[i / ROWS][i % ROWS]) < 1e-9 * want[9][9]);
    }
    free(f.at);
    close_matrices(&m);
}

/* The quadratic's curvature is the second difference of the loss; a step of more than the critical rate of a quadratic raises it. */
static void a_steps_worth_is_foretold(void **state) {
    (void)state;
    matrices m;
    adze_decrease d;
    open_matrices(&m, small_net, ADZE_LOSS_SOFTMAX_XENT, 50);
    must(&m.b, adze_decrease_along_gradient(m.b.ctx, &m.in, 1e-3, &d));
    assert_true(fabs(d.ratio - 1) < 1e-4);
    const double curvature = (d.actual - d.first_order) / (1e-6 / 2);
    assert_true(fabs(curvature / d.ghg - 1) < 1e-2);
    close_matrices(&m);
    open_matrices(&m, tiny_net, ADZE_LOSS_MSE, 50); /* quadratic in its weights */
    must(&m.b, adze_decrease_along_gradient(m.b.ctx, &m.in, 1, &d));
    assert_true(fabs(d.ratio - 1) < 1e-9);
    const double edge = d.critical_lr;
    must(&m.b, adze_decrease_along_gradient(m.b.ctx, &m.in, 1.001 * edge, &d));
    assert_true(d.actual > 0);
    must(&m.b, adze_decrease_along_gradient(m.b.ctx, &m.in, 0.999 * edge, &d));
    assert_true(d.actual < 0);
    close_matrices(&m);
}

/* -- reconstructions -- */

static void an_autoencoder_learns_its_input(void **state) {
    (void)state;
    static const struct {
        const char *net;
        int loss, optimizer;
    } tried[] = {{auto_net, ADZE_LOSS_AUTO, ADZE_KFAC},
                 {auto_net, ADZE_LOSS_SIGMOID_XENT, ADZE_KFAC},
                 {auto_net, ADZE_LOSS_POISSON, ADZE_ADAM},
                 {spread_net, ADZE_LOSS_GAUSSIAN, ADZE_ADAM}};
    for (size_t i = 0; i < ADZE_COUNT(tried); i++) {
        bench b = {0};
        setting s = usual(tried[i].net);
        const adze_epoch_stats *h;
        s.o.target = ADZE_TARGET_INPUT;
        s.o.loss = tried[i].loss;
        s.o.optimizer = tried[i].optimizer;
        s.o.lr = tried[i].optimizer == ADZE_ADAM ? 0.01 : 0;
        s.o.epochs = 6;
        train(&b, &s, false);
        const int64_t n = adze_trainer_history(b.t, &h);
        assert_true(h[n - 1].error < 0.7 * h[0].error && h[n - 1].val_error > 0 && isnan(h[n - 1].val_acc));
        bench_close(&b);
    }
    setting s = usual(auto_net);
    s.o.target = ADZE_TARGET_INPUT;
    s.o.loss = ADZE_LOSS_SIGMOID_XENT;
    s.o.norm = 1 + ADZE_NORM_ZSCORE;
    expect_refusal(s, "targets from 0 to 1");
    s.o.loss = ADZE_LOSS_POISSON;
    expect_refusal(s, "targets from 0 on");
    s.o.loss = ADZE_LOSS_HINGE;
    expect_refusal(s, "option target input goes with");
    s.o.loss = ADZE_LOSS_GAUSSIAN;
    expect_refusal(s, "a mean and a variance for each number");
    s = usual(tiny_net);
    s.o.target = ADZE_TARGET_INPUT;
    expect_refusal(s, "no reconstruction");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(a_resume_goes_on_with_the_same_bits),
        cmocka_unit_test(every_refused_allocation_is_survived),
        cmocka_unit_test(newton_solves_logistic_regression),
        cmocka_unit_test(newton_reads_real_digits_in_eight_steps),
        cmocka_unit_test(a_step_that_fails_leaves_the_model_as_it_was),
        cmocka_unit_test(kfac_inverts_the_kronecker_product),
        cmocka_unit_test(kfac_foretells_what_a_step_is_worth),
        cmocka_unit_test(what_does_not_go_together_is_refused),
        cmocka_unit_test(the_fisher_matrix_is_gauss_newton),
        cmocka_unit_test(samples_approach_it_with_their_root),
        cmocka_unit_test(kfac_blocks_are_exact_in_deep_linear_nets),
        cmocka_unit_test(a_fisher_matrix_leaves_the_store_alone),
        cmocka_unit_test(no_kind_of_fisher_matrix_drops_units),
        cmocka_unit_test(an_rbf_layer_has_no_targets_to_draw),
        cmocka_unit_test(factors_of_a_convolution_are_those_of_its_windows),
        cmocka_unit_test(a_steps_worth_is_foretold),
        cmocka_unit_test(an_autoencoder_learns_its_input),
    };
    make_data();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
