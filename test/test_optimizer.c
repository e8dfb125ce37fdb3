/* Optimisers: every row of the table walks as its paper's formula says, written here once more and plainly, and as PyTorch does; the wrong formulas
 * that go round do what they must; wrappers, groups and clipping; resumes and threads change no bit. */
#include "adze/linalg.h"
#include "trainbench.h"

#include "test_optimizer_torch.inc"
#include "train/trainer.h"

enum { W = 9, MATRIX = 6, STEPS = 100, LONG = 500, POINTS = 20, FIRST_ORDER = ADZE_NEWTON }; /* a matrix of 2 x 3 and a vector of 3 */

static const char linear_net[] = "{\"name\":\"linear\",\"input\":[2],\"layers\":[{\"type\":\"dense\",\"name\":\"fc1\",\"units\":3}]}";
static const char deep_net[] = "{\"name\":\"deep\",\"input\":[2],\"layers\":[{\"type\":\"dense\",\"name\":\"fc1\",\"units\":3},"
                               "{\"type\":\"dense\",\"name\":\"fc2\",\"units\":2}]}";

/* Two smooth convex problems: a quadratic with neighbours that pull on each other, and a logistic regression with a penalty. */
static void quadratic(const double *w, double *g) {
    for (int i = 0; i < W; i++) {
        g[i] = (0.5 + 0.7 * i) * (w[i] - (i % 2 ? -1 : 1) * (1 + 0.1 * i)) + 0.1 * (2 * w[i] - w[(i + W - 1) % W] - w[(i + 1) % W]);
    }
}

static void logistic(const double *w, double *g) {
    for (int i = 0; i < W; i++) {
        g[i] = 0.05 * w[i];
    }
    for (int k = 0; k < POINTS; k++) {
        double x[W], dot = 0;
        const double y = sin(5. * k) > 0 ? 1 : -1;
        for (int i = 0; i < W; i++) {
            x[i] = 2 * sin(1 + 3. * k + k * i + i * i);
            dot += x[i] * w[i];
        }
        for (int i = 0; i < W; i++) {
            g[i] -= y * x[i] / (1 + exp(y * dot)) / POINTS;
        }
    }
}

static void (*const problems[])(const double *w, double *g) = {quadratic, logistic};

/* -- the formulas, once more --------------------------------------------------------------------------------------------------------------------- */

typedef struct walk { /* weights and what a method remembers */
    double w[W], a[W], b[W], c[W], slow[W];
    double rate, rho, b1, b2, eps, l2, decay, grow, shrink, trust;
    double side[2][9], basis[2][9]; /* of the matrix's rows and columns */
    int64_t every, most;            /* precond_every; precond_most, 0: the usual one */
    bool original;                  /* muon_scale */
    int t;                          /* 1 at the first step */
} walk;

static void walk_start(walk *k) {
    for (int i = 0; i < W; i++) {
        k->w[i] = k->slow[i] = 0.2 * i - 0.7;
    }
}

static double size_of(const double *x, int from, int to) {
    double s = 0;
    for (int i = from; i < to; i++) {
        s += x[i] * x[i];
    }
    return sqrt(s);
}

static void ref_sgd(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->w[i] -= k->rate * g[i];
    }
}
static void ref_momentum(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->rho * k->a[i] + g[i];
        k->w[i] -= k->rate * k->a[i];
    }
}
static void ref_heavy_ball(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        const double v = k->rho * k->a[i] - k->rate * g[i];
        k->a[i] = v;
        k->w[i] += v;
    }
}
/* Sutskever et al., equations 3 and 4: b is the iterate itself, from which the look-ahead point w is made anew. */
static void ref_nesterov(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->b[i] = k->t == 1 ? k->w[i] : k->b[i];
        k->a[i] = k->rho * k->a[i] - k->rate * g[i];
        k->b[i] += k->a[i];
        k->w[i] = k->b[i] + k->rho * k->a[i];
    }
}
static void ref_adam(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b1 * k->a[i] + (1 - k->b1) * g[i];
        k->b[i] = k->b2 * k->b[i] + (1 - k->b2) * g[i] * g[i];
        const double m = k->a[i] / (1 - pow(k->b1, k->t)), v = k->b[i] / (1 - pow(k->b2, k->t));
        k->w[i] -= k->rate * (m / (sqrt(v) + k->eps) + (i < MATRIX ? k->decay * k->w[i] : 0));
    }
}
static void ref_adam_raw(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b1 * k->a[i] + (1 - k->b1) * g[i];
        k->b[i] = k->b2 * k->b[i] + (1 - k->b2) * g[i] * g[i];
        k->w[i] -= k->rate * k->a[i] / (sqrt(k->b[i]) + k->eps);
    }
}
static void ref_adagrad(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] += g[i] * g[i];
        k->w[i] -= k->rate * g[i] / (sqrt(k->a[i]) + k->eps);
    }
}
static void ref_adadelta(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b2 * k->a[i] + (1 - k->b2) * g[i] * g[i];
        const double step = -sqrt(k->b[i] + k->eps) / sqrt(k->a[i] + k->eps) * g[i];
        k->b[i] = k->b2 * k->b[i] + (1 - k->b2) * step * step;
        k->w[i] += k->rate * step;
    }
}
static void ref_rmsprop(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b2 * k->a[i] + (1 - k->b2) * g[i] * g[i];
        k->w[i] -= k->rate * g[i] / (sqrt(k->a[i]) + k->eps);
    }
}
static void ref_rmsprop_centered(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b2 * k->a[i] + (1 - k->b2) * g[i] * g[i];
        k->b[i] = k->b2 * k->b[i] + (1 - k->b2) * g[i];
        k->c[i] = k->rho * k->c[i] + g[i] / (sqrt(k->a[i] - k->b[i] * k->b[i]) + k->eps);
        k->w[i] -= k->rate * k->c[i];
    }
}
static void ref_amsgrad(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b1 * k->a[i] + (1 - k->b1) * g[i];
        k->b[i] = k->b2 * k->b[i] + (1 - k->b2) * g[i] * g[i];
        k->c[i] = k->b[i] > k->c[i] ? k->b[i] : k->c[i];
        k->w[i] -= k->rate * k->a[i] / (1 - pow(k->b1, k->t)) / (sqrt(k->c[i] / (1 - pow(k->b2, k->t))) + k->eps);
    }
}
static void ref_adamax(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b1 * k->a[i] + (1 - k->b1) * g[i];
        k->b[i] = fmax(k->b2 * k->b[i], fabs(g[i]) + k->eps);
        k->w[i] -= k->rate / (1 - pow(k->b1, k->t)) * k->a[i] / k->b[i];
    }
}
static void ref_nadam(walk *k, const double *g) {
    double product = 1, next = 0, now = 0;
    for (int t = 1; t <= k->t + 1; t++) {
        now = next;
        next = k->b1 * (1 - 0.5 * pow(0.96, 0.004 * t));
        product *= next;
    }
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b1 * k->a[i] + (1 - k->b1) * g[i];
        k->b[i] = k->b2 * k->b[i] + (1 - k->b2) * g[i] * g[i];
        const double m = next * k->a[i] / (1 - product) + (1 - now) * g[i] / (1 - product / next);
        k->w[i] -= k->rate * m / (sqrt(k->b[i] / (1 - pow(k->b2, k->t))) + k->eps);
    }
}
static void ref_radam(walk *k, const double *g) {
    const double end = 2 / (1 - k->b2) - 1, rho = end - 2 * k->t * pow(k->b2, k->t) / (1 - pow(k->b2, k->t));
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b1 * k->a[i] + (1 - k->b1) * g[i];
        k->b[i] = k->b2 * k->b[i] + (1 - k->b2) * g[i] * g[i];
        const double m = k->a[i] / (1 - pow(k->b1, k->t));
        if (rho > 5) {
            const double r = sqrt((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho));
            k->w[i] -= k->rate * m * r * sqrt(1 - pow(k->b2, k->t)) / (sqrt(k->b[i]) + k->eps);
        } else {
            k->w[i] -= k->rate * m;
        }
    }
}
static double sign_of(double x) {
    return x > 0 ? 1 : x < 0 ? -1 : 0;
}
static void ref_lion(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        const double c = k->b1 * k->a[i] + (1 - k->b1) * g[i];
        k->w[i] -= k->rate * (sign_of(c) + (i < MATRIX ? k->decay * k->w[i] : 0));
        k->a[i] = k->b2 * k->a[i] + (1 - k->b2) * g[i];
    }
}
static void ref_lars(walk *k, const double *g) { /* g has the penalty already: without it, for the norm */
    double raw[W];
    for (int i = 0; i < W; i++) {
        raw[i] = g[i] - (i < MATRIX ? k->l2 * k->w[i] : 0);
    }
    const double w = size_of(k->w, 0, MATRIX), local = k->trust * w / (size_of(raw, 0, MATRIX) + k->l2 * w);
    for (int i = 0; i < W; i++) {
        k->a[i] = k->rho * k->a[i] + k->rate * (i < MATRIX ? local : k->trust) * g[i];
        k->w[i] -= k->a[i];
    }
}
static void ref_lamb(walk *k, const double *g) {
    double d[W];
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b1 * k->a[i] + (1 - k->b1) * g[i];
        k->b[i] = k->b2 * k->b[i] + (1 - k->b2) * g[i] * g[i];
        d[i] = k->a[i] / (1 - pow(k->b1, k->t)) / (sqrt(k->b[i] / (1 - pow(k->b2, k->t))) + k->eps);
        d[i] += i < MATRIX ? k->decay * k->w[i] : 0;
    }
    const double ratio = size_of(k->w, 0, MATRIX) / size_of(d, 0, MATRIX);
    for (int i = 0; i < W; i++) {
        k->w[i] -= k->rate * (i < MATRIX ? ratio : 1) * d[i];
    }
}
static void ref_rprop(walk *k, const double *g) { /* a: steps, b: the gradient before */
    for (int i = 0; i < W; i++) {
        double now = g[i], s = now * k->b[i];
        k->a[i] = k->t == 1 ? k->rate : s > 0 ? fmin(k->a[i] * k->grow, 50) : s < 0 ? fmax(k->a[i] * k->shrink, 1e-6) : k->a[i];
        now = s < 0 ? 0 : now;
        k->w[i] -= sign_of(now) * k->a[i];
        k->b[i] = now;
    }
}
static void ref_delta_bar_delta(walk *k, const double *g) { /* a: rates, b: the mean of gradients */
    for (int i = 0; i < W; i++) {
        k->a[i] = k->t == 1 ? k->rate : k->a[i];
        k->a[i] += k->b[i] * g[i] > 0 ? k->grow * k->rate : k->b[i] * g[i] < 0 ? -(1 - k->shrink) * k->a[i] : 0;
        k->b[i] = (1 - k->b1) * g[i] + k->b1 * k->b[i];
        k->w[i] -= k->a[i] * g[i];
    }
}

#include "test_optimizer_matrix.inc"

/* -- the cases ----------------------------------------------------------------------------------------------------------------------------------- */

typedef struct trial {
    const char *name;
    int optimizer;
    void (*ref)(walk *k, const double *g);
    double lr, momentum, beta1, beta2, eps, l2, decay, grow, shrink, trust;
    bool centered, raw, original;
    int64_t every, most;
} trial;

/* Rates and eps are such that the walks settle: a method that divides by its gradients' size and bounces for ever doubles rounding errors as it does.
 */
static const trial trials[] = {
    {"sgd", ADZE_SGD, ref_sgd, .lr = 0.05},
    {"sgd with l2", ADZE_SGD, ref_sgd, .lr = 0.05, .l2 = 0.2},
    {"momentum", ADZE_MOMENTUM, ref_momentum, .lr = 0.02, .momentum = 0.9, .l2 = 0.1},
    {"nesterov", ADZE_NESTEROV, ref_nesterov, .lr = 0.02, .momentum = 0.9},
    {"heavy_ball", ADZE_HEAVY_BALL, ref_heavy_ball, .lr = 0.02, .momentum = 0.9, .l2 = 0.1},
    {"nesterov_ahead", ADZE_NESTEROV_AHEAD, ref_nesterov, .lr = 0.02, .momentum = 0.9, .l2 = 0.1},
    {"nesterov_shifted", ADZE_NESTEROV_SHIFTED, ref_nesterov, .lr = 0.02, .momentum = 0.9, .l2 = 0.1},
    {"adam", ADZE_ADAM, ref_adam, .lr = 0.03, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .l2 = 0.1},
    {"adamw", ADZE_ADAMW, ref_adam, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .decay = 0.1},
    {"adam raw", ADZE_ADAM, ref_adam_raw, .lr = 0.003, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .raw = true},
    {"adagrad", ADZE_ADAGRAD, ref_adagrad, .lr = 0.1, .eps = 1e-7},
    {"adadelta", ADZE_ADADELTA, ref_adadelta, .lr = 1, .beta2 = 0.95, .eps = 1e-6},
    {"rmsprop", ADZE_RMSPROP, ref_rmsprop, .lr = 0.02, .beta2 = 0.9, .eps = 1e-6},
    {"rmsprop centered", ADZE_RMSPROP, ref_rmsprop_centered, .lr = 0.02, .momentum = 0.5, .beta2 = 0.9, .eps = 0.1, .centered = true},
    {"amsgrad", ADZE_AMSGRAD, ref_amsgrad, .lr = 0.03, .beta1 = 0.9, .beta2 = 0.9, .eps = 1e-8},
    {"adamax", ADZE_ADAMAX, ref_adamax, .lr = 0.03, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8},
    {"nadam", ADZE_NADAM, ref_nadam, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-3},
    {"radam", ADZE_RADAM, ref_radam, .lr = 0.03, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8},
    {"lion", ADZE_LION, ref_lion, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .decay = 0.1},
    {"lars", ADZE_LARS, ref_lars, .lr = 2, .momentum = 0.9, .trust = 0.01, .l2 = 0.1},
    {"lamb", ADZE_LAMB, ref_lamb, .lr = 0.003, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-2, .decay = 0.1},
    {"rprop", ADZE_RPROP, ref_rprop, .lr = 0.01, .grow = 1.2, .shrink = 0.5},
    {"delta_bar_delta", ADZE_DELTA_BAR_DELTA, ref_delta_bar_delta, .lr = 0.01, .beta1 = 0.7, .grow = 0.05, .shrink = 0.9},
    {"shampoo", ADZE_SHAMPOO, ref_shampoo, .lr = 0.1, .momentum = 0.5, .eps = 1e-2, .decay = 0.1, .every = 1},
    {"shampoo of old roots", ADZE_SHAMPOO, ref_shampoo, .lr = 0.1, .eps = 1e-2, .l2 = 0.1, .every = 10},
    {"shampoo of long columns", ADZE_SHAMPOO, ref_shampoo, .lr = 0.1, .eps = 1e-4, .every = 3, .most = 2},
    {"shampoo of diagonals", ADZE_SHAMPOO, ref_shampoo, .lr = 0.1, .eps = 1e-4, .every = 3, .most = 1},
    {"soap", ADZE_SOAP, ref_soap, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-3, .decay = 0.1, .every = 1},
    {"soap of old bases", ADZE_SOAP, ref_soap, .lr = 0.01, .beta1 = 0.95, .beta2 = 0.95, .eps = 1e-3, .l2 = 0.1, .every = 10},
    {"soap of long columns", ADZE_SOAP, ref_soap, .lr = 0.01, .beta1 = 0.95, .beta2 = 0.95, .eps = 1e-3, .every = 3, .most = 2},
    {"soap of no bases", ADZE_SOAP, ref_soap, .lr = 0.01, .beta1 = 0.95, .beta2 = 0.95, .eps = 1e-3, .every = 3, .most = 1},
    {"muon", ADZE_MUON, ref_muon, .lr = 0.002, .momentum = 0.95, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-7, .decay = 0.1},
    {"muon original", ADZE_MUON, ref_muon, .lr = 0.001, .momentum = 0.9, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-7, .original = true},
};

static adze_train_opts options_of(const trial *c) {
    adze_train_opts o;
    adze_fields_default(adze_train_fields(), &o);
    o.optimizer = c->optimizer;
    o.dtype = 1;
    o.lr = c->lr;
    o.momentum = c->momentum;
    o.beta1 = c->beta1;
    o.beta2 = c->beta2;
    o.eps = c->eps;
    o.l2 = c->l2;
    o.weight_decay = c->decay;
    o.grow = c->grow;
    o.shrink = c->shrink;
    o.trust = c->trust;
    o.centered = c->centered;
    o.bias_correction = !c->raw;
    o.precond_every = c->every > 0 ? c->every : o.precond_every;
    o.precond_most = c->most > 0 ? c->most : o.precond_most;
    o.muon_scale = c->original ? ADZE_MUON_ORIGINAL : ADZE_MUON_RMS;
    return o;
}

static walk walk_of(const trial *c) {
    walk k = {.rate = c->lr, .rho = c->momentum, .b1 = c->beta1, .b2 = c->beta2, .eps = c->eps};
    k.l2 = c->l2;
    k.decay = c->decay;
    k.grow = c->grow;
    k.shrink = c->shrink;
    k.trust = c->trust;
    k.every = c->every;
    k.most = c->most;
    k.original = c->original;
    walk_start(&k);
    return k;
}

/* One step of a walk, with the penalty of the matrix in the gradient. */
static void walk_step(walk *k, void (*ref)(walk *k, const double *g), const double *g) {
    double with[W];
    k->t++;
    for (int i = 0; i < W; i++) {
        with[i] = g[i] + (i < MATRIX ? k->l2 * k->w[i] : 0);
    }
    ref(k, with);
}

/* -- our side ------------------------------------------------------------------------------------------------------------------------------------ */

typedef struct runner { /* the update plan on a model of nine weights, with gradients from outside */
    adze_ctx *ctx;
    adze_model *model;
    adze_store *store;
    adze_train_opts o;
    adze_steps steps;
    int64_t t;
} runner;

static void fine(const runner *r, int st) {
    if (st != ADZE_OK) {
        fail_msg("%s: %s", adze_status_name(st), adze_errmsg(r->ctx));
    }
}

static void put(runner *r, const int *slots, const double *v) {
    for (int k = 0, at = 0; k < 2; k++) {
        adze_tensor x;
        fine(r, adze_store_tensor(r->store, slots[k], &x));
        for (int i = 0; i < (k ? W - MATRIX : MATRIX); i++) {
            adze_tensor_set(&x, i, v[at++]);
        }
    }
}

static void get(runner *r, double *v) {
    for (int k = 0, at = 0; k < 2; k++) {
        adze_tensor x;
        fine(r, adze_store_tensor(r->store, r->steps.params[k], &x));
        for (int i = 0; i < (k ? W - MATRIX : MATRIX); i++) {
            v[at++] = adze_tensor_get(&x, i);
        }
    }
}

static int runner_try(runner *r, const adze_train_opts *o, const char *net) {
    *r = (runner){.o = *o};
    assert_int_equal(adze_ctx_new(NULL, &r->ctx), ADZE_OK);
    fine(r, adze_model_from_json(r->ctx, net, strlen(net), "net.json", &r->model));
    fine(r, adze_store_new(r->ctx, &r->store));
    fine(r, adze_model_init(r->model, r->store, adze_train_dtype(o), 1));
    walk start;
    walk_start(&start);
    const int slots[2] = {adze_store_find(r->store, "fc1:w"), adze_store_find(r->store, "fc1:b")};
    put(r, slots, start.w);
    TRY(adze_train_check(r->ctx, &r->o));
    TRY(adze_steps_open(&r->steps, r->ctx, r->model, r->store, &r->o));
    return adze_steps_bind(&r->steps, 0);
}

static void runner_open(runner *r, const adze_train_opts *o) {
    int st = runner_try(r, o, o->optimizer == ADZE_MUON ? deep_net : linear_net); /* muon leaves the last layer to adamw */
    fine(r, st);
}

static void runner_close(runner *r) {
    if (r->steps.ctx != NULL) {
        adze_steps_close(&r->steps);
    }
    adze_store_free(r->store);
    adze_model_free(r->model);
    adze_ctx_free(r->ctx);
}

static void runner_step(runner *r, const double *g) {
    double norm;
    put(r, r->steps.grads, g);
    fine(r, adze_steps_norm(&r->steps, &norm));
    fine(r, adze_steps_update(&r->steps, adze_train_lr(&r->o), ++r->t, norm));
}

static double distance(const double *a, const double *b) {
    double most = 0;
    for (int i = 0; i < W; i++) {
        const double d = fabs(a[i] - b[i]);
        most = d <= most ? most : d; /* a NaN stays */
    }
    return most;
}

/* -- trajectories -------------------------------------------------------------------------------------------------------------------------------- */

/* At a gradient, the penalty's included, of 1e-6 of the first: what is divided by its own size is rounding from there on. */
static bool arrived(const trial *c, const double *w, const double *g, double *g0) {
    double with[W];
    for (int i = 0; i < W; i++) {
        with[i] = g[i] + (i < MATRIX ? c->l2 * w[i] : 0);
    }
    const double size = size_of(with, 0, W);
    *g0 = *g0 > 0 ? *g0 : size;
    return size <= 1e-6 * *g0;
}

/* Farthest from its formula that a trial comes in 500 steps, as long as the gradient is more than 1e-6 of the first. */
static double farthest(const trial *c, void (*slope)(const double *w, double *g), double *moved) {
    walk k = walk_of(c);
    const adze_train_opts o = options_of(c);
    double g[W], w[W], first[W], most = 0, g0 = 0;
    runner r;
    runner_open(&r, &o);
    memcpy(first, k.w, sizeof first);
    for (int t = 1; t <= LONG; t++) {
        slope(k.w, g);
        if (arrived(c, k.w, g, &g0)) {
            break;
        }
        walk_step(&k, c->ref, g);
        get(&r, w);
        slope(w, g);
        runner_step(&r, g);
        get(&r, w);
        const double d = distance(w, k.w);
        most = d <= most ? most : d;
    }
    *moved = distance(w, first);
    runner_close(&r);
    return most;
}

static void every_row_walks_as_its_formula(void **state) {
    (void)state;
    bool seen[FIRST_ORDER] = {false};
    for (size_t c = 0; c < ADZE_COUNT(trials); c++) {
        for (size_t p = 0; p < ADZE_COUNT(problems); p++) {
            double moved;
            const double d = farthest(&trials[c], problems[p], &moved);
            if (!(d <= 1e-10) || !(moved > 0.01)) {
                fail_msg("%s, problem %zu: %g away from its formula after a way of %g", trials[c].name, p, d, moved);
            }
        }
        seen[trials[c].optimizer] = true;
    }
    for (int i = 0; i < FIRST_ORDER; i++) {
        assert_true(seen[i]);
    }
}

static const trial *find_trial(const char *name) {
    for (size_t c = 0; c < ADZE_COUNT(trials); c++) {
        if (strcmp(trials[c].name, name) == 0) {
            return &trials[c];
        }
    }
    fail_msg("there is no trial '%s'", name);
    return NULL;
}

static void follow_pytorch(const trial *c, void (*slope)(const double *w, double *g), const double after[3][W]) {
    static const int MARKS[] = {20, 100, LONG};
    const adze_train_opts o = options_of(c);
    double g[W], w[W], g0 = 0;
    runner r;
    runner_open(&r, &o);
    for (int t = 1, m = 0; t <= LONG; t++) {
        get(&r, w);
        slope(w, g);
        if (arrived(c, w, g, &g0)) {
            break;
        }
        runner_step(&r, g);
        get(&r, w);
        if (t == MARKS[m]) {
            const double d = distance(w, after[m++]);
            if (!(d <= 1e-10)) {
                fail_msg("%s: after %d steps %g away from PyTorch", c->name, t, d);
            }
        }
    }
    runner_close(&r);
}

static void trajectories_are_those_of_pytorch(void **state) {
    (void)state;
    for (size_t k = 0; k < ADZE_COUNT(torch_says); k++) {
        for (size_t p = 0; p < ADZE_COUNT(problems); p++) {
            follow_pytorch(find_trial(torch_says[k].name), problems[p], torch_says[k].after[p]);
        }
    }
}

/* f32 follows f64 as far as its digits go. */
static void single_precision_follows(void **state) {
    (void)state;
    for (size_t c = 0; c < ADZE_COUNT(trials); c++) {
        adze_train_opts o = options_of(&trials[c]);
        double g[W], w[W];
        walk k = walk_of(&trials[c]);
        runner r;
        o.dtype = 0;
        runner_open(&r, &o);
        for (int t = 1; t <= 20; t++) {
            quadratic(k.w, g);
            runner_step(&r, g);
            walk_step(&k, trials[c].ref, g);
        }
        get(&r, w);
        if (!(distance(w, k.w) <= 2e-5)) {
            fail_msg("%s in f32: %g away", trials[c].name, distance(w, k.w));
        }
        runner_close(&r);
    }
}

/* All that is neither a norm nor a product is fused: one chain for each output that shares nothing with the others, on each of the two tensors. */
static void updates_are_few_passes(void **state) {
    (void)state;
    for (size_t c = 0; c < ADZE_COUNT(trials) && trials[c].optimizer < ADZE_SHAMPOO; c++) {
        const adze_train_opts o = options_of(&trials[c]);
        const bool norms = o.optimizer == ADZE_LARS || o.optimizer == ADZE_LAMB;
        char *text;
        int chains = 0, others = 0;
        runner r;
        runner_open(&r, &o);
        fine(&r, adze_plan_dump(r.steps.update[ADZE_UPDATE_STEP].plan, &text));
        for (const char *line = strchr(text, '\n'); line != NULL && line[1] != 0; line = strchr(line + 1, '\n')) {
            const size_t n = strcspn(line + 1, "\n") + 1;
            const char *found = strstr(line, " chain ");
            const bool chain = found != NULL && found < line + n;
            found = strstr(line, " assign ");
            chains += chain;
            others += !chain && !(found != NULL && found < line + n);
        }
        if (chains > (norms ? 8 : 4) || (others > 3 && !norms)) { /* the heading and one step of an op for each tensor */
            fail_msg("%s: %d chains and %d others in\n%s", trials[c].name, chains, others, text);
        }
        adze_text_free(r.ctx, text);
        runner_close(&r);
    }
}

/* -- what the wrong formulas do ------------------------------------------------------------------------------------------------------------------ */

/* m = b1 m + (1 + b1) g is adam with 19 times the rate: it trains, and nobody notices. */
static void the_sign_slip_in_adam_is_a_rate_of_nineteen_times(void **state) {
    (void)state;
    const trial *c = find_trial("adam");
    adze_train_opts o = options_of(c);
    double g[W], w[W], wrong[W], m[W] = {0}, v[W] = {0};
    walk start;
    runner r;
    o.l2 = o.eps = 0;
    runner_open(&r, &o);
    walk_start(&start);
    memcpy(wrong, start.w, sizeof wrong);
    for (int t = 1; t <= STEPS; t++) {
        quadratic(wrong, g);
        for (int i = 0; i < W; i++) {
            m[i] = 0.9 * m[i] + (1 + 0.9) * g[i];
            v[i] = 0.99 * v[i] + (1 - 0.99) * g[i] * g[i];
            wrong[i] -= o.lr / 19 * (m[i] / (1 - pow(0.9, t))) / sqrt(v[i] / (1 - pow(0.99, t)));
        }
        get(&r, w);
        quadratic(w, g);
        runner_step(&r, g);
    }
    get(&r, w);
    assert_true(distance(w, wrong) < 1e-12);
    runner_close(&r);
}

/* s += b s + (1 - b) g^2 grows by 1 + b a step, so that the steps die; the right mean keeps them at the rate. */
static void the_sum_slip_in_rmsprop_stops_it(void **state) {
    (void)state;
    trial c = *find_trial("rmsprop");
    c.beta2 = 0.99;
    const adze_train_opts o = options_of(&c);
    double g[W], before[W], w[W], wrong = 0, right = 0;
    runner r;
    runner_open(&r, &o);
    for (int i = 0; i < W; i++) {
        g[i] = 1;
    }
    for (int t = 1; t <= STEPS; t++) {
        wrong += 0.99 * wrong + 0.01;
        right = 0.99 * right + 0.01;
        get(&r, before);
        runner_step(&r, g);
        get(&r, w);
    }
    const double step = before[0] - w[0];
    assert_true(fabs(step - o.lr / (sqrt(right) + o.eps)) < 1e-12 && step > o.lr);
    assert_true(fabs(wrong / (0.01 * (pow(1.99, STEPS) - 1) / 0.99) - 1) < 1e-9); /* 1.99^100 is 8e29 */
    assert_true(step / (o.lr / sqrt(wrong)) > 5e13);
    runner_close(&r);
}

/* Counting from 0 divides 0 by 0 in the first step; ours counts from 1. */
static void counting_steps_from_zero_is_not_a_number(void **state) {
    (void)state;
    const adze_train_opts o = options_of(find_trial("adam"));
    double g[W], w[W];
    for (int64_t from = 0; from < 2; from++) {
        runner r;
        runner_open(&r, &o);
        get(&r, w);
        quadratic(w, g);
        r.t = from - 1;
        runner_step(&r, g);
        get(&r, w);
        assert_int_equal(isfinite(w[0]), from == 1);
        runner_close(&r);
    }
}

/* Without the correction a step is (1 - b1^t) / sqrt(1 - b2^t) of the right one: 3.16 at first, 6.57 at the twelfth. */
static void adam_without_correction_begins_too_fast(void **state) {
    (void)state;
    double g[W], w[2][W], before[2][W];
    runner r[2];
    for (int k = 0; k < 2; k++) {
        adze_train_opts o = options_of(find_trial("adam"));
        o.l2 = 0;
        o.eps = 0;
        o.beta2 = 0.999;
        o.bias_correction = k == 0;
        runner_open(&r[k], &o);
    }
    for (int i = 0; i < W; i++) {
        g[i] = 1;
    }
    for (int t = 1; t <= 12; t++) {
        for (int k = 0; k < 2; k++) {
            get(&r[k], before[k]);
            runner_step(&r[k], g);
            get(&r[k], w[k]);
        }
        const double ratio = (before[1][0] - w[1][0]) / (before[0][0] - w[0][0]);
        assert_true(t > 1 || fabs(ratio - 3.16227766) < 1e-6);
        assert_true(t < 12 || fabs(ratio - 6.57) < 0.005);
    }
    runner_close(&r[0]);
    runner_close(&r[1]);
}

/* The example of Reddi, Kale and Kumar (2018, section 3): gradients 3, -1, -1 with b1 = 0, b2 = 1 / 10. Adam goes the wrong way. */
static void amsgrad_goes_down_where_adam_goes_up(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        trial c = {"", k ? ADZE_AMSGRAD : ADZE_ADAM, NULL, .lr = 0.01, .beta2 = 0.1};
        const adze_train_opts o = options_of(&c);
        double g[W], first[W], w[W];
        runner r;
        runner_open(&r, &o);
        get(&r, first);
        for (int t = 0; t < 300; t++) {
            for (int i = 0; i < W; i++) {
                g[i] = t % 3 == 0 ? 3 : -1;
            }
            runner_step(&r, g);
        }
        get(&r, w);
        assert_true(k ? w[0] < first[0] : w[0] > first[0]);
        runner_close(&r);
    }
}

/* -- what the methods are to each other ---------------------------------------------------------------------------------------------------------- */

/* Runs two trials side by side on the quadratic; the gradients of the second are times as large. */
static double apart(const trial *a, const trial *b, double times) {
    const trial *c[2] = {a, b};
    double g[W], w[2][W], most = 0;
    runner r[2];
    for (int k = 0; k < 2; k++) {
        const adze_train_opts o = options_of(c[k]);
        runner_open(&r[k], &o);
    }
    for (int t = 0; t < STEPS; t++) {
        for (int k = 0; k < 2; k++) {
            get(&r[k], w[k]);
            quadratic(w[k], g);
            for (int i = 0; i < W; i++) {
                g[i] *= k ? times : 1;
            }
            runner_step(&r[k], g);
            get(&r[k], w[k]);
        }
        const double d = distance(w[0], w[1]);
        most = d <= most ? most : d;
    }
    runner_close(&r[0]);
    runner_close(&r[1]);
    return most;
}

static void relations_of_the_papers_hold(void **state) {
    (void)state;
    const trial ahead = {"", ADZE_NESTEROV_AHEAD, NULL, .lr = 0.02, .momentum = 0.9},
                shifted = {"", ADZE_NESTEROV_SHIFTED, NULL, .lr = 0.02, .momentum = 0.9};
    assert_true(apart(&ahead, &shifted, 1) < 1e-12);
    const trial delta = {"", ADZE_ADADELTA, NULL, .lr = 1, .beta2 = 0.95, .eps = 1e-12}; /* its steps have the weights' unit */
    assert_true(apart(&delta, &delta, 1000) < 1e-6);
    const trial adam = {"", ADZE_ADAM, NULL, .lr = 0.01, .beta2 = 0.9, .eps = 0}, slow = {"", ADZE_ADAM, NULL, .lr = 0.01, .beta2 = 0.99, .eps = 0};
    assert_true(apart(&adam, &adam, 1000) < 1e-9 && apart(&adam, &slow, 1) > 1e-3);
    const trial sgd = {"", ADZE_SGD, NULL, .lr = 0.001}, heavy = {"", ADZE_HEAVY_BALL, NULL, .lr = 0.02, .momentum = 0.9, .l2 = 0.1};
    assert_true(apart(&sgd, &sgd, 10) > 0.1);
    assert_true(apart(&heavy, find_trial("momentum"), 1) < 1e-12); /* at a fixed rate the two conventions are one */
}

/* Adam without memory of directions is rmsprop whose mean square is freed of its start at 0. */
static void adam_with_beta1_of_0_is_rmsprop_with_correction(void **state) {
    (void)state;
    const trial c = {"", ADZE_ADAM, NULL, .lr = 0.01, .beta2 = 0.95, .eps = 1e-8};
    const adze_train_opts o = options_of(&c);
    double g[W], w[W], v[W] = {0};
    walk k;
    runner r;
    runner_open(&r, &o);
    walk_start(&k);
    for (int t = 1; t <= STEPS; t++) {
        quadratic(k.w, g);
        for (int i = 0; i < W; i++) {
            v[i] = 0.95 * v[i] + 0.05 * g[i] * g[i];
            k.w[i] -= 0.01 * g[i] / (sqrt(v[i] / (1 - pow(0.95, t))) + 1e-8);
        }
        get(&r, w);
        quadratic(w, g);
        runner_step(&r, g);
    }
    get(&r, w);
    assert_true(distance(w, k.w) < 1e-11);
    runner_close(&r);
}

/* Duchi et al. 2011: under a constant gradient the t-th step is lr / sqrt t, whatever the gradient's size. */
static void adagrad_slows_as_the_root_of_time(void **state) {
    (void)state;
    const trial c = {"", ADZE_ADAGRAD, NULL, .lr = 0.1, .eps = 0};
    const adze_train_opts o = options_of(&c);
    double g[W], before[W], after[W];
    runner r;
    runner_open(&r, &o);
    for (int i = 0; i < W; i++) {
        g[i] = pow(10, i - 4);
    }
    for (int t = 1; t <= STEPS; t++) {
        get(&r, before);
        runner_step(&r, g);
        get(&r, after);
        for (int i = 0; i < W; i++) {
            assert_true(fabs((before[i] - after[i]) * sqrt(t) / 0.1 - 1) < 1e-11);
        }
    }
    runner_close(&r);
}

/* -- rules that see a matrix --------------------------------------------------------------------------------------------------------------------- */

/* Lines of a plan that name an op. */
static int count_steps(const runner *r, int which, const char *op) {
    char *text;
    int n = 0;
    fine(r, adze_plan_dump(r->steps.update[which].plan, &text));
    for (const char *at = text; (at = strstr(at, op)) != NULL; at++) {
        n++;
    }
    adze_text_free(r->ctx, text);
    return n;
}

static void products_are_as_many_as_the_papers_count(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int observe, step;
    } counts[] = {{"shampoo", 2, 2}, {"shampoo of long columns", 1, 1}, {"soap", 2, 6}, {"soap of no bases", 0, 0}, {"muon", 0, 15}};
    for (size_t i = 0; i < ADZE_COUNT(counts); i++) {
        const adze_train_opts o = options_of(find_trial(counts[i].name));
        runner r;
        runner_open(&r, &o);
        assert_int_equal(count_steps(&r, ADZE_UPDATE_STEP, " matmul"), counts[i].step);
        assert_int_equal(r.steps.update[ADZE_UPDATE_OBSERVE].plan != NULL, o.optimizer != ADZE_MUON);
        if (o.optimizer != ADZE_MUON) {
            assert_int_equal(count_steps(&r, ADZE_UPDATE_OBSERVE, " matmul"), counts[i].observe);
        }
        runner_close(&r);
    }
}

/* The quadratic seen through other axes: w = u' x v, g = u (slope at w) v'. */
static void turned_quadratic(const double *u, const double *v, double *x, double *g) {
    double w[W];
    memcpy(w, x, sizeof w);
    multiply(0, u, true, w);
    multiply(1, v, false, w);
    quadratic(w, g);
    memcpy(x, w, sizeof w);
    multiply(0, u, false, g);
    multiply(1, v, true, g);
}

/* Gupta et al. 2018: rows and columns may be turned as they like, and the way is the same but for the turn. Adam's is not. */
static void matrices_may_be_turned(void **state) {
    (void)state;
    static const struct {
        trial t;
        bool turns;
    } cases[] = {{{"", ADZE_SHAMPOO, NULL, .lr = 0.1, .eps = 1e-4, .every = 1}, true},
                 {{"", ADZE_SHAMPOO, NULL, .lr = 0.1, .eps = 1e-4, .every = 1, .most = 1}, false}, /* its diagonal form */
                 {{"", ADZE_SOAP, NULL, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-3, .every = 5}, true},
                 {{"", ADZE_MUON, NULL, .lr = 0.001, .momentum = 0.95, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-7}, true},
                 {{"", ADZE_ADAM, NULL, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-3}, false}};
    double u[4] = {cos(0.7), -sin(0.7), sin(0.7), cos(0.7)}, v[9], values[3];
    const double any[9] = {1, 0.3, -0.2, 0.3, 2, 0.7, -0.2, 0.7, -1};
    jacobi(3, any, values, v);
    for (size_t c = 0; c < ADZE_COUNT(cases); c++) {
        const adze_train_opts o = options_of(&cases[c].t);
        double w[W], x[W], g[W], most = 0;
        runner plain, turned;
        runner_open(&plain, &o);
        runner_open(&turned, &o);
        get(&plain, x);
        multiply(0, u, false, x);
        multiply(1, v, true, x);
        put(&turned, turned.steps.params, x);
        for (int t = 0; t < STEPS; t++) {
            get(&plain, w);
            quadratic(w, g);
            runner_step(&plain, g);
            get(&turned, x);
            turned_quadratic(u, v, x, g);
            most = fmax(most, distance(w, x));
            runner_step(&turned, g);
        }
        if (!(cases[c].turns ? most < 1e-9 : most > 1e-2)) {
            fail_msg("case %zu: %g apart where the axes are turned", c, most);
        }
        runner_close(&plain);
        runner_close(&turned);
    }
}

static void soap_without_a_turn_is_adam(void **state) {
    (void)state;
    const trial soap = {"", ADZE_SOAP, NULL, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .every = 1000000},
                adam = {"", ADZE_ADAM, NULL, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8};
    const adze_train_opts so = options_of(&soap), ao = options_of(&adam);
    double w[W], x[W], g[W];
    runner s, a;
    runner_open(&s, &so);
    runner_open(&a, &ao);
    get(&s, w);
    quadratic(w, g);
    runner_step(&s, g); /* gathers, and makes a basis */
    get(&s, x);
    assert_memory_equal(w, x, sizeof w);
    for (int side = 0; side < 2; side++) {
        adze_tensor basis;
        double apart_from_eye = 0;
        const int n = side ? COLS : ROWS;
        fine(&s, adze_store_tensor(s.store, adze_store_find(s.store, side ? "fc1:w:rbasis" : "fc1:w:lbasis"), &basis));
        for (int i = 0; i < n * n; i++) {
            apart_from_eye = fmax(apart_from_eye, fabs(adze_tensor_get(&basis, i) - (i % n == i / n)));
            adze_tensor_set(&basis, i, i % n == i / n);
        }
        assert_true(apart_from_eye > 0.1);
    }
    for (int t = 0; t < STEPS; t++) {
        get(&a, w);
        quadratic(w, g);
        runner_step(&a, g);
        get(&s, x);
        quadratic(x, g);
        runner_step(&s, g);
        get(&a, w);
        get(&s, x);
        assert_true(distance(w, x) < 1e-12);
    }
    runner_close(&s);
    runner_close(&a);
}

/* A step has the singular vectors of the momentum; each singular value s becomes the quintic's fifth iterate of s / |m|: from 0.002 on within 0.68
 * and 1.203, which its author rounds to 0.7 and 1.2. */
static void muon_makes_singular_values_one(void **state) {
    (void)state;
    enum { M = 12, K = 7 };
    static const char net[] = "{\"name\":\"tall\",\"input\":[12],\"layers\":[{\"type\":\"dense\",\"name\":\"fc1\",\"units\":7},"
                              "{\"type\":\"dense\",\"name\":\"fc2\",\"units\":2}]}";
    const trial c = {"", ADZE_MUON, NULL, .lr = 1, .momentum = 0.95, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-7};
    const adze_train_opts o = options_of(&c);
    double g[M * K], step[M * K], size = 0, s[K], want[K], u[M * K], vt[K * K], inner[K * K];
    adze_tensor w, grad;
    runner r;
    int st = runner_try(&r, &o, net);
    fine(&r, st);
    fine(&r, adze_store_tensor(r.store, r.steps.params[0], &w));
    fine(&r, adze_store_tensor(r.store, r.steps.grads[0], &grad));
    for (int i = 0; i < M * K; i++) {
        g[i] = sin(1 + 2.7 * i + 0.3 * i * i) * pow(0.6, i % K);
        size += g[i] * g[i];
        adze_tensor_set(&grad, i, g[i]);
        step[i] = adze_tensor_get(&w, i);
    }
    fine(&r, adze_steps_update(&r.steps, 1, 1, sqrt(size)));
    for (int i = 0; i < M * K; i++) {
        step[i] = (step[i] - adze_tensor_get(&w, i)) / (0.2 * sqrt(M));
    }
    fine(&r, adze_la_svd(r.ctx, adze_la_dense(g, M, K), adze_la_dense(u, M, K), want, adze_la_dense(vt, K, K)));
    double room[M * K];
    fine(&r, adze_la_matmul(r.ctx, adze_la_dense(step, M, K), false, adze_la_dense(vt, K, K), true, adze_la_dense(room, M, K)));
    fine(&r, adze_la_matmul(r.ctx, adze_la_dense(u, M, K), true, adze_la_dense(room, M, K), false, adze_la_dense(inner, K, K)));
    for (int i = 0; i < K * K; i++) { /* u' step v: diagonal */
        double x = i / K == i % K ? want[i / K] / sqrt(size) : 0;
        for (int n = 0; n < 5; n++) {
            x = 3.4445 * x - 4.7750 * pow(x, 3) + 2.0315 * pow(x, 5);
        }
        assert_true(fabs(inner[i] - x) < 1e-12);
    }
    fine(&r, adze_la_svd(r.ctx, adze_la_dense(step, M, K), (adze_la_mat){0}, s, (adze_la_mat){0}));
    assert_true(want[K - 1] / sqrt(size) > 0.002 && want[K - 1] < want[0] / 20);
    assert_true(s[0] < 1.203 && s[K - 1] > 0.68);
    runner_close(&r);
}

static void check_slot(bench *b, const char *name, int64_t rows, int64_t cols) {
    adze_store *s = adze_trainer_store(b->t);
    const int at = adze_store_find(s, name);
    if ((at >= 0) != (rows > 0)) {
        fail_msg("'%s' is %sthere", name, at >= 0 ? "" : "not ");
    }
    if (at >= 0) {
        const adze_type t = adze_store_type(s, at);
        assert_int_equal(t.dims[0], rows);
        assert_int_equal(t.rank > 1 ? t.dims[1] : 0, cols);
    }
}

static void tensors_are_matrices_of_their_last_axis(void **state) {
    (void)state;
    static const char net[] = "{\"name\":\"conv\",\"input\":[8,8,1],\"layers\":[{\"type\":\"conv\",\"name\":\"c1\",\"filters\":5,\"kernel\":3},"
                              "{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc\",\"units\":4},"
                              "{\"type\":\"batchnorm\",\"name\":\"bn\"}]}"; /* the last layer is the last that has weights */
    static const struct {
        int optimizer;
        const char *slot;
        int64_t rows, cols;
    } all[] = {{ADZE_SHAMPOO, "c1:w:l", 9, 9},     {ADZE_SHAMPOO, "c1:w:rroot", 5, 5}, {ADZE_SHAMPOO, "fc:w:l", 180, 0},
               {ADZE_SHAMPOO, "fc:w:lroot", 0, 0}, {ADZE_SHAMPOO, "fc:w:r", 4, 4},     {ADZE_SHAMPOO, "fc:b:l", 4, 0},
               {ADZE_SHAMPOO, "fc:b:r", 0, 0},     {ADZE_SOAP, "c1:w:lbasis", 9, 9},   {ADZE_SOAP, "fc:w:l", 0, 0},
               {ADZE_SOAP, "fc:w:rbasis", 4, 4},   {ADZE_SOAP, "fc:b:l", 0, 0},        {ADZE_MUON, "c1:w:v", 0, 0},
               {ADZE_MUON, "c1:b:v", 5, 0},        {ADZE_MUON, "fc:w:v", 180, 4}};
    for (size_t i = 0; i < ADZE_COUNT(all); i++) {
        setting s = usual(net);
        bench b = {0};
        s.o.optimizer = all[i].optimizer;
        s.o.precond_most = 100;
        must(&b, bench_open(&b, &s));
        check_slot(&b, all[i].slot, all[i].rows, all[i].cols);
        bench_close(&b);
    }
}

/* What is gathered is what the step sees: clipped. And a sum that is no longer finite is said before the weights move. */
static void sums_are_of_clipped_gradients_and_finite(void **state) {
    (void)state;
    adze_train_opts o = options_of(find_trial("shampoo"));
    double g[W], w[W], x[W], sum = 0, norm;
    adze_tensor t;
    runner r;
    o.clip_norm = 0.5;
    runner_open(&r, &o);
    get(&r, w);
    quadratic(w, g);
    runner_step(&r, g);
    assert_true(size_of(g, 0, W) > 1);
    fine(&r, adze_store_tensor(r.store, adze_store_find(r.store, "fc1:w:l"), &t));
    sum += adze_tensor_get(&t, 0) + adze_tensor_get(&t, 3);
    fine(&r, adze_store_tensor(r.store, adze_store_find(r.store, "fc1:b:l"), &t));
    sum += adze_tensor_get(&t, 0) + adze_tensor_get(&t, 1) + adze_tensor_get(&t, 2);
    assert_true(fabs(sum - 0.25) < 1e-12);
    runner_close(&r);
    o.clip_norm = 0;
    for (int soap = 0; soap < 2; soap++) {
        o.optimizer = soap ? ADZE_SOAP : ADZE_SHAMPOO;
        o.momentum = 0;
        runner_open(&r, &o);
        get(&r, w);
        for (int i = 0; i < W; i++) {
            g[i] = 1e160;
        }
        put(&r, r.steps.grads, g);
        fine(&r, adze_steps_norm(&r.steps, &norm));
        assert_int_equal(adze_steps_update(&r.steps, 0.1, 1, norm), ADZE_ENAN);
        assert_non_null(strstr(adze_errmsg(r.ctx), "is not finite"));
        get(&r, x);
        assert_memory_equal(w, x, sizeof w);
        runner_close(&r);
    }
}

/* -- wrappers, groups, clipping ------------------------------------------------------------------------------------------------------------------ */

static void lookahead_moves_slow_weights_every_k_steps(void **state) {
    (void)state;
    const trial *c = find_trial("momentum");
    adze_train_opts o = options_of(c);
    walk k = walk_of(c);
    double g[W], w[W];
    runner r;
    o.lookahead_k = 5;
    o.lookahead_alpha = 0.8;
    runner_open(&r, &o);
    for (int t = 1; t <= STEPS; t++) {
        quadratic(k.w, g);
        walk_step(&k, c->ref, g);
        for (int i = 0; i < W && t % 5 == 0; i++) {
            k.slow[i] += 0.8 * (k.w[i] - k.slow[i]);
            k.w[i] = k.slow[i];
        }
        runner_step(&r, g);
        get(&r, w);
        assert_true(distance(w, k.w) < 1e-12);
    }
    runner_close(&r);
}

static void sam_climbs_and_comes_back_to_the_bit(void **state) {
    (void)state;
    adze_train_opts o = options_of(find_trial("sgd"));
    double g[W], w[W], high[W], back[W];
    runner r;
    o.sam = 0.5;
    runner_open(&r, &o);
    get(&r, w);
    quadratic(w, g);
    put(&r, r.steps.grads, g);
    fine(&r, adze_steps_climb(&r.steps, size_of(g, 0, W)));
    get(&r, high);
    for (int i = 0; i < W; i++) {
        assert_true(fabs(high[i] - (w[i] + 0.5 * g[i] / size_of(g, 0, W))) < 1e-14);
    }
    fine(&r, adze_steps_return(&r.steps));
    get(&r, back);
    assert_memory_equal(w, back, sizeof w);
    runner_close(&r);
}

enum { TINY = 64 * 4 + 4 };

/* The gradient that one step of plain descent at rate 1 has followed, from the usual weights moved by `shift`. */
static void one_gradient(double sam, const double *shift, double *g) {
    setting s = usual(tiny_net);
    bench b = {.stop_at = 1};
    double before[TINY];
    s.o.optimizer = ADZE_SGD;
    s.o.dtype = 1;
    s.o.lr = 1;
    s.o.l2 = 0;
    s.o.schedule = ADZE_CONSTANT;
    s.o.sam = sam;
    must(&b, bench_open(&b, &s));
    for (int pass = 0; pass < 2; pass++) {
        int at = 0;
        for (int k = 0; k < 2; k++) {
            adze_tensor x;
            adze_store *store = adze_trainer_store(b.t);
            must(&b, adze_store_tensor(store, adze_store_find(store, k ? "fc1:b" : "fc1:w"), &x));
            for (int i = 0; i < (k ? 4 : TINY - 4); i++, at++) {
                if (pass == 0) {
                    before[at] = adze_tensor_get(&x, i) + shift[at];
                    adze_tensor_set(&x, i, before[at]);
                } else {
                    g[at] = before[at] - adze_tensor_get(&x, i);
                }
            }
        }
        if (pass == 0) {
            assert_int_equal(adze_trainer_run(b.t, NULL), ADZE_ESTOPPED);
        }
    }
    bench_close(&b);
}

static void sam_takes_the_gradient_up_the_slope(void **state) {
    (void)state;
    double shift[TINY] = {0}, plain[TINY], sharp[TINY], want[TINY], size = 0, most = 0, apart = 0;
    one_gradient(0, shift, plain);
    one_gradient(0.3, shift, sharp);
    for (int i = 0; i < TINY; i++) {
        size += plain[i] * plain[i];
    }
    for (int i = 0; i < TINY; i++) {
        shift[i] = 0.3 * plain[i] / sqrt(size);
    }
    one_gradient(0, shift, want);
    for (int i = 0; i < TINY; i++) {
        most = fmax(most, fabs(sharp[i] - want[i]));
        apart = fmax(apart, fabs(sharp[i] - plain[i]));
    }
    assert_true(most < 1e-12 && apart > 1e-3);
}

static void groups_scale_rate_and_decay(void **state) {
    (void)state;
    for (int m = 0; m < 3; m++) { /* one of the ops, one of the chains, one that decouples */
        const trial *c = find_trial(m == 0 ? "momentum" : m == 1 ? "heavy_ball" : "lion");
        adze_train_opts o = options_of(c);
        walk plain = walk_of(c), other = walk_of(c);
        double g[W], w[W];
        runner r;
        strcpy(o.groups, "*:w:decay=0;fc?:b:lr=0.25;*:lr=7");
        other.rate *= 0.25;
        plain.l2 = plain.decay = 0;
        runner_open(&r, &o);
        for (int t = 1; t <= 20; t++) {
            get(&r, w);
            quadratic(w, g);
            runner_step(&r, g);
            walk_step(&plain, c->ref, g);
            walk_step(&other, c->ref, g);
            get(&r, w);
            memcpy(plain.w + MATRIX, other.w + MATRIX, sizeof(double) * (W - MATRIX));
            assert_true(distance(w, plain.w) < 1e-12);
        }
        runner_close(&r);
    }
}

static void must_refuse(const adze_train_opts *o, const char *what) {
    runner r;
    assert_int_equal(runner_try(&r, o, linear_net), ADZE_EARG);
    if (strstr(adze_errmsg(r.ctx), what) == NULL) {
        fail_msg("expected '%s' in: %s", what, adze_errmsg(r.ctx));
    }
    runner_close(&r);
}

static void what_makes_no_sense_is_refused(void **state) {
    (void)state;
    static const char *const bad[][2] = {{"conv*:lr=2", "no parameter has a name like 'conv*'"},
                                         {"lr=2", "form"},
                                         {"*:w:rate=2", "form"},
                                         {"*:w:lr=", "form"},
                                         {"*:w:lr=-1", "form"},
                                         {"*:w:lr=1,,decay=0", "form"},
                                         {";", "form"}};
    adze_train_opts o = options_of(find_trial("sgd"));
    for (size_t i = 0; i < ADZE_COUNT(bad); i++) {
        strcpy(o.groups, bad[i][0]);
        must_refuse(&o, bad[i][1]);
    }
    o = options_of(find_trial("adam"));
    o.weight_decay = 0.1;
    must_refuse(&o, "use l2");
    o = options_of(find_trial("sgd"));
    o.clip_norm = o.clip_agc = 1;
    must_refuse(&o, "give one of them");
    o = options_of(find_trial("sgd"));
    o.sam = 0.1;
    o.accumulate = 2;
    must_refuse(&o, "accumulate must be 1");
}

/* One step of plain descent at rate 1: the change is the clipped gradient. */
static void clipped(const adze_train_opts *o, const char *net, const double *g, double *out) {
    double before[W];
    runner r;
    int st = runner_try(&r, o, net);
    fine(&r, st);
    get(&r, before);
    runner_step(&r, g);
    get(&r, out);
    for (int i = 0; i < W; i++) {
        out[i] = before[i] - out[i];
    }
    runner_close(&r);
}

static void clipping_bounds_what_it_says(void **state) {
    (void)state;
    adze_train_opts o = options_of(find_trial("sgd"));
    double g[W], c[W], w[W];
    walk start;
    walk_start(&start);
    memcpy(w, start.w, sizeof w);
    quadratic(w, g);
    o.lr = 1;
    o.clip_tensor = 2;
    clipped(&o, linear_net, g, c);
    assert_true(fabs(size_of(c, 0, MATRIX) - 2) < 1e-12 && fabs(size_of(c, MATRIX, W) - 2) < 1e-12 && size_of(g, 0, MATRIX) > 2);
    assert_true(fabs(c[0] / c[1] - g[0] / g[1]) < 1e-12);
    o.clip_tensor = 100;
    clipped(&o, linear_net, g, c);
    assert_true(distance(c, g) < 1e-12);
    o.clip_tensor = 0;
    o.clip_agc = 0.01;
    clipped(&o, linear_net, g, c);
    assert_true(distance(c, g) < 1e-12); /* the last layer is left alone, and there is no other */
    o.clip_agc = 0.5;
    clipped(&o, deep_net, g, c);
    for (int k = 0; k < 4; k++) { /* the three columns of the matrix, and the vector as a whole */
        double wide[W] = {0}, now[W] = {0}, was[W] = {0};
        for (int i = k < 3 ? k : MATRIX; i < (k < 3 ? MATRIX : W); i += k < 3 ? 3 : 1) {
            wide[i] = w[i];
            now[i] = c[i];
            was[i] = g[i];
        }
        const double most = 0.5 * fmax(size_of(wide, 0, W), 1e-3), size = size_of(was, 0, W);
        assert_true(fabs(size_of(now, 0, W) - fmin(size, most)) < 1e-12);
        for (int i = 0; i < W; i++) {
            assert_true(fabs(now[i] - was[i] * fmin(1, most / size)) < 1e-12);
        }
    }
}

/* -- through the trainer ------------------------------------------------------------------------------------------------------------------------- */

static setting each_way(int optimizer) {
    setting s = usual(full_net);
    s.o.optimizer = optimizer;
    s.o.batch = 40;
    s.o.epochs = 1;
    s.o.dtype = optimizer % 2;
    s.o.lookahead_k = optimizer % 3 == 0 ? 2 : 0;
    s.o.sam = optimizer % 3 == 1 ? 0.05 : 0;
    s.o.clip_agc = optimizer % 4 == 2 ? 0.1 : 0;
    s.o.clip_tensor = optimizer % 4 == 3 ? 0.5 : 0;
    if (optimizer % 5 == 0) {
        strcpy(s.o.groups, "*:b:lr=2;fc1:w:decay=0");
    }
    return s;
}

static void stopping_and_threads_change_no_bit(void **state) {
    (void)state;
    for (int k = 0; k < FIRST_ORDER; k++) {
        char dir[256];
        setting s = each_way(k);
        bench want = {0}, b = {0};
        train(&want, &s, false);
        s.threads = 1;
        train(&b, &s, false);
        same_hash(&want, &b, "the number of threads");
        bench_close(&b);
        faulty_folder(dir, sizeof dir);
        s.dir = dir;
        b = (bench){.stop_at = 3};
        must(&b, bench_open(&b, &s));
        assert_int_equal(adze_trainer_run(b.t, NULL), ADZE_ESTOPPED);
        bench_close(&b);
        b = (bench){0};
        train(&b, &s, true);
        same_hash(&want, &b, "stopping and resuming");
        bench_close(&b);
        faulty_folder_drop(dir);
        bench_close(&want);
    }
}

static void every_optimizer_learns_with_its_usual_settings(void **state) {
    (void)state;
    for (int k = 0; k < FIRST_ORDER; k++) {
        setting s = usual(plain_net);
        s.o.optimizer = k;
        s.o.epochs = 4;
        s.o.batch = k == ADZE_RPROP ? 160 : 8;
        s.o.epochs *= k == ADZE_RPROP ? 5 : k == ADZE_LION ? 3 : 1;
        bench b = {0};
        train(&b, &s, false);
        const adze_epoch_stats *h;
        const int64_t n = adze_trainer_history(b.t, &h);
        if (!(h[n - 1].loss < 0.9 * h[0].loss)) {
            fail_msg("optimizer %d: loss %g after %g", k, h[n - 1].loss, h[0].loss);
        }
        bench_close(&b);
    }
}

static void bf16_trains_with_all(void **state) {
    (void)state;
    for (int k = 0; k < FIRST_ORDER; k += k < ADZE_SHAMPOO - 2 ? 3 : 1) {
        setting s = each_way(k);
        s.o.dtype = 0;
        s.o.precision = ADZE_PRECISION_BF16;
        s.o.epochs = 2;
        bench b = {0};
        train(&b, &s, false);
        const adze_epoch_stats *h;
        assert_int_equal(adze_trainer_history(b.t, &h), 2);
        assert_true(isfinite(h[1].loss));
        bench_close(&b);
    }
}

static void the_table_describes_itself(void **state) {
    (void)state;
    const char *name, *formula;
    char more[500];
    for (int i = 0; i < ADZE_NOPTIMIZERS; i++) {
        assert_int_equal(adze_optimizer_known(i, &name, &formula, more, sizeof more), ADZE_OK);
        assert_true(strlen(name) >= 2 && strlen(formula) > 5 && strstr(more, "lr ") == more && strchr(more, '(') != NULL);
        assert_int_equal(more[strlen(more) - 1], ')');
    }
    assert_int_equal(adze_optimizer_known(ADZE_NOPTIMIZERS, &name, &formula, more, sizeof more), ADZE_EARG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_walks_as_its_formula),
        cmocka_unit_test(trajectories_are_those_of_pytorch),
        cmocka_unit_test(single_precision_follows),
        cmocka_unit_test(updates_are_few_passes),
        cmocka_unit_test(the_sign_slip_in_adam_is_a_rate_of_nineteen_times),
        cmocka_unit_test(the_sum_slip_in_rmsprop_stops_it),
        cmocka_unit_test(counting_steps_from_zero_is_not_a_number),
        cmocka_unit_test(adam_without_correction_begins_too_fast),
        cmocka_unit_test(amsgrad_goes_down_where_adam_goes_up),
        cmocka_unit_test(relations_of_the_papers_hold),
        cmocka_unit_test(adam_with_beta1_of_0_is_rmsprop_with_correction),
        cmocka_unit_test(adagrad_slows_as_the_root_of_time),
        cmocka_unit_test(products_are_as_many_as_the_papers_count),
        cmocka_unit_test(matrices_may_be_turned),
        cmocka_unit_test(soap_without_a_turn_is_adam),
        cmocka_unit_test(muon_makes_singular_values_one),
        cmocka_unit_test(tensors_are_matrices_of_their_last_axis),
        cmocka_unit_test(sums_are_of_clipped_gradients_and_finite),
        cmocka_unit_test(lookahead_moves_slow_weights_every_k_steps),
        cmocka_unit_test(sam_climbs_and_comes_back_to_the_bit),
        cmocka_unit_test(sam_takes_the_gradient_up_the_slope),
        cmocka_unit_test(groups_scale_rate_and_decay),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(clipping_bounds_what_it_says),
        cmocka_unit_test(stopping_and_threads_change_no_bit),
        cmocka_unit_test(every_optimizer_learns_with_its_usual_settings),
        cmocka_unit_test(bf16_trains_with_all),
        cmocka_unit_test(the_table_describes_itself),
    };
    make_data();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
