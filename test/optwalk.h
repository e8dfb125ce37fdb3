/* What the tests of optimisers share: two problems, every rule's formula written once more and plainly, the trials, and our rules on a model of nine
 * weights with gradients from outside. Included by one test program each. */
#ifndef ADZE_TEST_OPTWALK_H
#define ADZE_TEST_OPTWALK_H

#include "adze/linalg.h"
#include "train/trainer.h"
#include "trainbench.h"

enum { W = 9, MATRIX = 6, STEPS = 100, LONG = 500, POINTS = 20, FIRST_ORDER = ADZE_NEWTON }; /* a matrix of 2 x 3 and a vector of 3 */

static const char linear_net[] = "{\"name\":\"linear\",\"input\":[2],\"layers\":[{\"type\":\"dense\",\"name\":\"fc1\",\"units\":3}]}";
static const char deep_net[] = "{\"name\":\"deep\",\"input\":[2],\"layers\":[{\"type\":\"dense\",\"name\":\"fc1\",\"units\":3},"
                               "{\"type\":\"dense\",\"name\":\"fc2\",\"units\":2}]}";

/* Two smooth convex problems: a quadratic with neighbours that pull on each other, and a logistic regression with a penalty. */
MAYBE static void quadratic(const double *w, double *g) {
    for (int i = 0; i < W; i++) {
        g[i] = (0.5 + 0.7 * i) * (w[i] - (i % 2 ? -1 : 1) * (1 + 0.1 * i)) + 0.1 * (2 * w[i] - w[(i + W - 1) % W] - w[(i + 1) % W]);
    }
}

MAYBE static void logistic(const double *w, double *g) {
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

MAYBE static void walk_start(walk *k) {
    for (int i = 0; i < W; i++) {
        k->w[i] = k->slow[i] = 0.2 * i - 0.7;
    }
}

MAYBE static double size_of(const double *x, int from, int to) {
    double s = 0;
    for (int i = from; i < to; i++) {
        s += x[i] * x[i];
    }
    return sqrt(s);
}

MAYBE static void ref_sgd(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->w[i] -= k->rate * g[i];
    }
}
MAYBE static void ref_momentum(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->rho * k->a[i] + g[i];
        k->w[i] -= k->rate * k->a[i];
    }
}
MAYBE static void ref_heavy_ball(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        const double v = k->rho * k->a[i] - k->rate * g[i];
        k->a[i] = v;
        k->w[i] += v;
    }
}
/* Sutskever et al., equations 3 and 4: b is the iterate itself, from which the look-ahead point w is made anew. */
MAYBE static void ref_nesterov(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->b[i] = k->t == 1 ? k->w[i] : k->b[i];
        k->a[i] = k->rho * k->a[i] - k->rate * g[i];
        k->b[i] += k->a[i];
        k->w[i] = k->b[i] + k->rho * k->a[i];
    }
}
MAYBE static void ref_adam(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b1 * k->a[i] + (1 - k->b1) * g[i];
        k->b[i] = k->b2 * k->b[i] + (1 - k->b2) * g[i] * g[i];
        const double m = k->a[i] / (1 - pow(k->b1, k->t)), v = k->b[i] / (1 - pow(k->b2, k->t));
        k->w[i] -= k->rate * (m / (sqrt(v) + k->eps) + (i < MATRIX ? k->decay * k->w[i] : 0));
    }
}
MAYBE static void ref_adam_raw(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b1 * k->a[i] + (1 - k->b1) * g[i];
        k->b[i] = k->b2 * k->b[i] + (1 - k->b2) * g[i] * g[i];
        k->w[i] -= k->rate * k->a[i] / (sqrt(k->b[i]) + k->eps);
    }
}
MAYBE static void ref_adagrad(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] += g[i] * g[i];
        k->w[i] -= k->rate * g[i] / (sqrt(k->a[i]) + k->eps);
    }
}
MAYBE static void ref_adadelta(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b2 * k->a[i] + (1 - k->b2) * g[i] * g[i];
        const double step = -sqrt(k->b[i] + k->eps) / sqrt(k->a[i] + k->eps) * g[i];
        k->b[i] = k->b2 * k->b[i] + (1 - k->b2) * step * step;
        k->w[i] += k->rate * step;
    }
}
MAYBE static void ref_rmsprop(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b2 * k->a[i] + (1 - k->b2) * g[i] * g[i];
        k->w[i] -= k->rate * g[i] / (sqrt(k->a[i]) + k->eps);
    }
}
MAYBE static void ref_rmsprop_centered(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b2 * k->a[i] + (1 - k->b2) * g[i] * g[i];
        k->b[i] = k->b2 * k->b[i] + (1 - k->b2) * g[i];
        k->c[i] = k->rho * k->c[i] + g[i] / (sqrt(k->a[i] - k->b[i] * k->b[i]) + k->eps);
        k->w[i] -= k->rate * k->c[i];
    }
}
MAYBE static void ref_amsgrad(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b1 * k->a[i] + (1 - k->b1) * g[i];
        k->b[i] = k->b2 * k->b[i] + (1 - k->b2) * g[i] * g[i];
        k->c[i] = k->b[i] > k->c[i] ? k->b[i] : k->c[i];
        k->w[i] -= k->rate * k->a[i] / (1 - pow(k->b1, k->t)) / (sqrt(k->c[i] / (1 - pow(k->b2, k->t))) + k->eps);
    }
}
MAYBE static void ref_adamax(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        k->a[i] = k->b1 * k->a[i] + (1 - k->b1) * g[i];
        k->b[i] = fmax(k->b2 * k->b[i], fabs(g[i]) + k->eps);
        k->w[i] -= k->rate / (1 - pow(k->b1, k->t)) * k->a[i] / k->b[i];
    }
}
MAYBE static void ref_nadam(walk *k, const double *g) {
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
MAYBE static void ref_radam(walk *k, const double *g) {
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
MAYBE static double sign_of(double x) {
    return x > 0 ? 1 : x < 0 ? -1 : 0;
}
MAYBE static void ref_lion(walk *k, const double *g) {
    for (int i = 0; i < W; i++) {
        const double c = k->b1 * k->a[i] + (1 - k->b1) * g[i];
        k->w[i] -= k->rate * (sign_of(c) + (i < MATRIX ? k->decay * k->w[i] : 0));
        k->a[i] = k->b2 * k->a[i] + (1 - k->b2) * g[i];
    }
}
MAYBE static void ref_lars(walk *k, const double *g) { /* g has the penalty already: without it, for the norm */
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
MAYBE static void ref_lamb(walk *k, const double *g) {
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
MAYBE static void ref_rprop(walk *k, const double *g) { /* a: steps, b: the gradient before */
    for (int i = 0; i < W; i++) {
        double now = g[i], s = now * k->b[i];
        k->a[i] = k->t == 1 ? k->rate : s > 0 ? fmin(k->a[i] * k->grow, 50) : s < 0 ? fmax(k->a[i] * k->shrink, 1e-6) : k->a[i];
        now = s < 0 ? 0 : now;
        k->w[i] -= sign_of(now) * k->a[i];
        k->b[i] = now;
    }
}
MAYBE static void ref_delta_bar_delta(walk *k, const double *g) { /* a: rates, b: the mean of gradients */
    for (int i = 0; i < W; i++) {
        k->a[i] = k->t == 1 ? k->rate : k->a[i];
        k->a[i] += k->b[i] * g[i] > 0 ? k->grow * k->rate : k->b[i] * g[i] < 0 ? -(1 - k->shrink) * k->a[i] : 0;
        k->b[i] = (1 - k->b1) * g[i] + k->b1 * k->b[i];
        k->w[i] -= k->a[i] * g[i];
    }
}

#include "optwalk_matrix.inc"

/* -- the cases ----------------------------------------------------------------------------------------------------------------------------------- */

typedef struct trial {
    const char *name;
    int optimizer;
    void (*ref)(walk *k, const double *g);
    double lr, momentum, beta1, beta2, eps, l2, decay, grow, shrink, trust;
    bool centered, raw, original;
    int64_t every, most;
} trial;

/* Rates and eps are such that the walks settle: a method that divides by its gradients' size and bounces for ever doubles rounding errors. */
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

MAYBE static adze_train_opts options_of(const trial *c) {
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

MAYBE static walk walk_of(const trial *c) {
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
MAYBE static void walk_step(walk *k, void (*ref)(walk *k, const double *g), const double *g) {
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

MAYBE static void fine(const runner *r, int st) {
    if (st != ADZE_OK) {
        fail_msg("%s: %s", adze_status_name(st), adze_errmsg(r->ctx));
    }
}

MAYBE static void put(runner *r, const int *slots, const double *v) {
    for (int k = 0, at = 0; k < 2; k++) {
        adze_tensor x;
        fine(r, adze_store_tensor(r->store, slots[k], &x));
        for (int i = 0; i < (k ? W - MATRIX : MATRIX); i++) {
            adze_tensor_set(&x, i, v[at++]);
        }
    }
}

MAYBE static void get(runner *r, double *v) {
    for (int k = 0, at = 0; k < 2; k++) {
        adze_tensor x;
        fine(r, adze_store_tensor(r->store, r->steps.params[k], &x));
        for (int i = 0; i < (k ? W - MATRIX : MATRIX); i++) {
            v[at++] = adze_tensor_get(&x, i);
        }
    }
}

MAYBE static int runner_try(runner *r, const adze_train_opts *o, const char *net) {
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

MAYBE static void runner_open(runner *r, const adze_train_opts *o) {
    int st = runner_try(r, o, o->optimizer == ADZE_MUON ? deep_net : linear_net); /* muon leaves the last layer to adamw */
    fine(r, st);
}

MAYBE static void runner_close(runner *r) {
    if (r->steps.ctx != NULL) {
        adze_steps_close(&r->steps);
    }
    adze_store_free(r->store);
    adze_model_free(r->model);
    adze_ctx_free(r->ctx);
}

MAYBE static void runner_step(runner *r, const double *g) {
    double norm;
    put(r, r->steps.grads, g);
    fine(r, adze_steps_norm(&r->steps, true, &norm));
    const double clip = r->o.clip_norm > 0 ? fmin(1, r->o.clip_norm / norm) : 1;
    fine(r, adze_steps_update(&r->steps, adze_train_lr(&r->o), ++r->t, clip));
}

MAYBE static double distance(const double *a, const double *b) {
    double most = 0;
    for (int i = 0; i < W; i++) {
        const double d = fabs(a[i] - b[i]);
        most = d <= most ? most : d; /* a NaN stays */
    }
    return most;
}

MAYBE static const trial *find_trial(const char *name) {
    for (size_t c = 0; c < ADZE_COUNT(trials); c++) {
        if (strcmp(trials[c].name, name) == 0) {
            return &trials[c];
        }
    }
    fail_msg("there is no trial '%s'", name);
    return NULL;
}

#endif
